//! Which version: stable draws by keyed hash, and verdicts from counts (design.md §4 and §7, definitions.md §3, §4, §6).
//!
//! Pure. Who is drawn for what depends on nothing but the seed, the campaign and the customer's draw key: the same on every machine,
//! in every language that has SHA-256, and again after a crash. What was counted is judged by [`statistics`].

pub mod statistics;

use crate::literals::Share;
use aws_lc_rs::digest::{Context, SHA256};

/// What is drawn; each purpose is a draw of its own, so that a hold-out says nothing about the variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Purpose {
    Holdout,
    Variant,
    /// Anew in each run.
    Sample,
    /// Who comes first under a limit; anew in each run.
    Audience,
    Spread,
}

impl Purpose {
    /// The word that is hashed; never changed, since it decides who is in which arm.
    pub const fn word(self) -> &'static str {
        match self {
            Purpose::Holdout => "holdout",
            Purpose::Variant => "variant",
            Purpose::Sample => "sample",
            Purpose::Audience => "audience",
            Purpose::Spread => "spread",
        }
    }
}

/// A number drawn evenly from [0, 1), in units of 2⁻⁶⁴.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Draw(pub u64);

/// 100% in hundredths of a percent.
const WHOLE: u128 = 10_000;

impl Draw {
    /// Whether the draw is below this share: true for just that part of all people.
    pub fn is_within(self, share: Share) -> bool {
        u128::from(self.0) * WHOLE < u128::from(share.0) << 64
    }

    /// Which of the arms, cut at their cumulative weights in the order given; `None` when all weights are 0.
    ///
    /// Weights are taken relative to their sum: thirds need not make 100% to the hundredth.
    pub fn arm(self, weights: impl IntoIterator<Item = Share> + Clone) -> Option<usize> {
        let whole: u128 = weights.clone().into_iter().map(|weight| u128::from(weight.0)).sum();
        let mut upper = 0u128;
        weights.into_iter().position(|weight| {
            upper += u128::from(weight.0);
            u128::from(self.0) * whole < upper << 64
        })
    }

    /// As a fraction of 1, for showing.
    pub fn fraction(self) -> f64 {
        self.0 as f64 / 2f64.powi(64)
    }
}

/// SHA-256(seed, purpose, campaign, run, draw key) / 2⁶⁴.
///
/// What is hashed, in this order: each part as UTF-8 after its length in bytes as four bytes, most significant first, so that no two
/// lists of parts make the same bytes. The run is its number in decimal digits, or an empty part. The draw is the digest's first
/// eight bytes, most significant first.
pub fn draw(seed: &str, purpose: Purpose, campaign: &str, run: Option<i64>, draw_key: &str) -> Draw {
    Drawing::new(seed, purpose, campaign, run).draw(draw_key)
}

/// A draw for many people: what they share is hashed once.
#[derive(Clone)]
pub struct Drawing(Context);

impl Drawing {
    pub fn new(seed: &str, purpose: Purpose, campaign: &str, run: Option<i64>) -> Self {
        let mut context = Context::new(&SHA256);
        let run = run.map(|run| run.to_string()).unwrap_or_default();
        for part in [seed, purpose.word(), campaign, &run] {
            add(&mut context, part);
        }
        Drawing(context)
    }

    pub fn draw(&self, draw_key: &str) -> Draw {
        let mut context = self.0.clone();
        add(&mut context, draw_key);
        let digest = context.finish();
        Draw(digest.as_ref().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}

fn add(context: &mut Context, part: &str) {
    context.update(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
    context.update(part.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_never_changes() {
        // printf '\0\0\0\4shop\0\0\0\7holdout\0\0\0\13spring-sale\0\0\0\0\0\0\0\3ada' | sha256sum
        assert_eq!(draw("shop", Purpose::Holdout, "spring-sale", None, "ada"), Draw(0xbc2524beaa445533));
        // printf '\0\0\0\4shop\0\0\0\6sample\0\0\0\13spring-sale\0\0\0\00212\0\0\0\3ada' | sha256sum
        assert_eq!(draw("shop", Purpose::Sample, "spring-sale", Some(12), "ada"), Draw(0xf72d75d215b30d52));
    }

    #[test]
    fn parts_are_not_run_together() {
        let one = draw("shop", Purpose::Variant, "spring", None, "sale1");
        assert_ne!(one, draw("shop", Purpose::Variant, "springsale", None, "1"));
        assert_ne!(draw("a", Purpose::Sample, "b", Some(1), "2"), draw("a", Purpose::Sample, "b", None, "12"));
    }

    #[test]
    fn shares_are_kept_to_the_hundredth_of_a_percent() {
        let keys: Vec<String> = (0..200_000).map(|number| format!("customer-{number}")).collect();
        let drawing = Drawing::new("shop", Purpose::Holdout, "spring-sale", None);
        for share in [Share(0), Share(5), Share(1000), Share(3333), Share(10_000)] {
            let within = keys.iter().filter(|key| drawing.draw(key).is_within(share)).count() as f64;
            let expected = f64::from(share.0) / 10_000.0 * keys.len() as f64;
            assert!((within - expected).abs() <= 4.5 * expected.sqrt(), "{share:?}: {within}");
        }
        assert!(Draw(u64::MAX).is_within(Share(10_000)) && !Draw(0).is_within(Share(0)));
    }

    #[test]
    fn arms_are_cut_at_cumulative_weights() {
        let half = [Share(5000), Share(5000)];
        assert_eq!(Draw(0).arm(half), Some(0));
        assert_eq!(Draw((1 << 63) - 1).arm(half), Some(0));
        assert_eq!(Draw(1 << 63).arm(half), Some(1));
        assert_eq!(Draw(u64::MAX).arm(half), Some(1));
        assert_eq!(Draw(0).arm([Share(0), Share(10_000)]), Some(1));
        assert_eq!(Draw(u64::MAX).arm([Share(3333); 3]), Some(2), "thirds that make 99.99% leave nobody out");
        assert_eq!(Draw(7).arm([Share(0)]), None);
    }

    #[test]
    fn holdout_and_variant_are_independent() {
        let keys: Vec<String> = (0..100_000).map(|number| format!("customer-{number}")).collect();
        let holdout = Drawing::new("shop", Purpose::Holdout, "spring-sale", None);
        let variant = Drawing::new("shop", Purpose::Variant, "spring-sale", None);
        let held_out: Vec<&String> = keys.iter().filter(|key| holdout.draw(key).is_within(Share(1000))).collect();
        let first = held_out.iter().filter(|key| variant.draw(key).arm([Share(5000), Share(5000)]) == Some(0)).count() as f64;
        assert!((first / held_out.len() as f64 - 0.5).abs() < 0.02);
    }
}
