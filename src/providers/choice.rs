//! Which of several providers takes a message: by country, by weight, back-ups last. Pure.
//!
//! The choice depends on the message's key alone, so every attempt and every machine chooses alike, and when one provider goes only its
//! own messages move (rendezvous hashing).

use aws_lc_rs::digest::{SHA256, digest};

/// One provider of the message's channel.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    pub name: &'a str,
    /// Countries that it serves; `None`: all.
    pub countries: Option<&'a std::collections::BTreeSet<String>>,
    /// Its part of the messages; 0 takes none.
    pub weight: u32,
    /// Asked only when no other can.
    pub backup: bool,
}

/// Positions in `candidates` in the order in which they should be tried for a message to `country`. Empty: nobody serves it.
pub fn order(candidates: &[Candidate<'_>], country: Option<&str>, key: &str) -> Vec<usize> {
    let serves = |candidate: &Candidate<'_>| {
        candidate.weight > 0 && candidate.countries.is_none_or(|countries| country.is_some_and(|country| countries.contains(country)))
    };
    let mut fit: Vec<(bool, f64, usize)> = candidates
        .iter()
        .enumerate()
        .filter(|(_, candidate)| serves(candidate))
        .map(|(place, candidate)| (candidate.backup, -share(candidate, key), place))
        .collect();
    fit.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2)));
    fit.into_iter().map(|(_, _, place)| place).collect()
}

/// The first of [`order`] that `can` (is open, not paused, not throttled).
pub fn pick(candidates: &[Candidate<'_>], country: Option<&str>, key: &str, can: impl Fn(usize) -> bool) -> Option<usize> {
    order(candidates, country, key).into_iter().find(|place| can(*place))
}

/// Weighted rendezvous: −weight / ln(u), the largest wins, and each wins in proportion to its weight.
fn share(candidate: &Candidate<'_>, key: &str) -> f64 {
    let hash = digest(&SHA256, format!("provider\0{}\0{key}", candidate.name).as_bytes());
    let bits = hash.as_ref().iter().take(8).fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    let drawn = ((bits >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    -f64::from(candidate.weight) / drawn.ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn messages_spread_by_weight_and_only_those_of_a_lost_provider_move() {
        let all = [
            Candidate { name: "one", countries: None, weight: 3, backup: false },
            Candidate { name: "two", countries: None, weight: 1, backup: false },
            Candidate { name: "spare", countries: None, weight: 1, backup: true },
        ];
        let mut counts = [0; 3];
        for number in 0..10_000 {
            let key = number.to_string();
            let first = pick(&all, None, &key, |_| true).unwrap();
            counts[first] += 1;
            assert_eq!(pick(&all, None, &key, |_| true), Some(first));
            let without_two = pick(&all, None, &key, |place| place != 1).unwrap();
            assert!(first == 1 || without_two == first);
            assert_eq!(pick(&all, None, &key, |place| place == 2), Some(2));
        }
        assert!((7_300..7_700).contains(&counts[0]) && counts[2] == 0, "{counts:?}");
    }

    #[test]
    fn a_provider_serves_only_its_countries() {
        let ukraine = BTreeSet::from(["UA".to_string()]);
        let all = [
            Candidate { name: "local", countries: Some(&ukraine), weight: 1, backup: false },
            Candidate { name: "world", countries: None, weight: 1, backup: true },
            Candidate { name: "off", countries: None, weight: 0, backup: false },
        ];
        for (country, expected) in [(Some("UA"), vec![0, 1]), (Some("PL"), vec![1]), (None, vec![1])] {
            assert_eq!(order(&all, country, "k"), expected, "{country:?}");
        }
    }
}
