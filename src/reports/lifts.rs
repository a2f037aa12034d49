//! Which arms are compared with which, by intention to treat.

use super::gather::HELD_OUT;
use super::model::{Arm, Lift};
use crate::experiments::statistics::{self, Counts, Sums, lift_of_means, lift_of_rates};

/// Every arm that was sent to, together; also the name of the only arm of a campaign without variants.
pub const ALL: &str = "all";
/// Of the intervals.
const CONFIDENCE: f64 = 0.95;

/// What is known about an arm, in major units.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct ArmSums {
    pub name: String,
    pub held_out: bool,
    pub customers: u64,
    pub converted: u64,
    pub value: f64,
    pub squares: f64,
}

impl ArmSums {
    pub fn named((name, held_out): (String, bool)) -> Self {
        ArmSums { name, held_out, ..ArmSums::default() }
    }

    fn together<'a>(name: &str, arms: impl Iterator<Item = &'a ArmSums>) -> Self {
        arms.fold(ArmSums::named((name.to_string(), false)), |mut all, arm| {
            all.customers += arm.customers;
            all.converted += arm.converted;
            all.value += arm.value;
            all.squares += arm.squares;
            all
        })
    }

    fn counts(&self) -> Counts {
        Counts { customers: self.customers, converted: self.converted }
    }

    fn sums(&self) -> Sums {
        Sums { customers: self.customers, sum: self.value, squares: self.squares }
    }

    pub fn shown(&self) -> Arm {
        Arm {
            arm: self.name.clone(),
            held_out: self.held_out,
            customers: self.customers,
            converted: self.converted,
            rate: self.counts().rate(),
            value: to_cents(self.value),
            value_per_customer: self.sums().mean(),
        }
    }
}

/// Sums of major units, without what binary fractions leave behind.
pub(super) fn to_cents(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Each variant and `all` against those held out, then variants against each other, both ways round; rates first, then values.
pub(super) fn lifts(arms: &[ArmSums], with_value: bool) -> Vec<Lift> {
    let (held_out, sent_to): (Vec<&ArmSums>, Vec<&ArmSums>) = arms.iter().partition(|arm| arm.held_out);
    let mut pairs: Vec<(ArmSums, ArmSums)> = Vec::new();
    if !held_out.is_empty() && !sent_to.is_empty() {
        let control = ArmSums { held_out: true, ..ArmSums::together(HELD_OUT, held_out.into_iter()) };
        pairs.push((ArmSums::together(ALL, sent_to.iter().copied()), control.clone()));
        if sent_to.len() > 1 || sent_to.iter().any(|arm| arm.name != ALL) {
            pairs.extend(sent_to.iter().map(|arm| ((*arm).clone(), control.clone())));
        }
    }
    for one in &sent_to {
        let others = sent_to.iter().filter(|other| other.name != one.name);
        pairs.extend(others.map(|other| ((*one).clone(), (*other).clone())));
    }
    let rates = pairs.iter().filter_map(|(arm, against)| {
        let lift = lift_of_rates(arm.counts(), against.counts(), CONFIDENCE)?;
        Some(shown(arm, against, "rate", lift))
    });
    let values = pairs.iter().filter(|_| with_value).filter_map(|(arm, against)| {
        let lift = lift_of_means(arm.sums(), against.sums(), CONFIDENCE)?;
        Some(shown(arm, against, "value_per_customer", lift))
    });
    rates.chain(values).collect()
}

fn shown(arm: &ArmSums, against: &ArmSums, metric: &str, lift: statistics::Lift) -> Lift {
    Lift {
        arm: arm.name.clone(),
        against: against.name.clone(),
        metric: metric.to_string(),
        difference: lift.difference,
        low: lift.low,
        high: lift.high,
        relative: lift.relative.map(|relative| relative.change),
        relative_low: lift.relative.map(|relative| relative.low),
        relative_high: lift.relative.map(|relative| relative.high),
        p_value: lift.p_value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm(name: &str, customers: u64, converted: u64) -> ArmSums {
        ArmSums { name: name.into(), held_out: name == HELD_OUT, customers, converted, value: converted as f64, squares: converted as f64 }
    }

    fn names(lifts: &[Lift], metric: &str) -> Vec<String> {
        lifts.iter().filter(|lift| lift.metric == metric).map(|lift| format!("{} vs {}", lift.arm, lift.against)).collect()
    }

    #[test]
    fn all_arms_sent_to_come_first_against_those_held_out() {
        let found = lifts(&[arm(HELD_OUT, 100, 5), arm("plain", 450, 30), arm("gift", 450, 60)], true);
        let expected = ["all vs held_out", "plain vs held_out", "gift vs held_out", "plain vs gift", "gift vs plain"];
        assert_eq!(names(&found, "rate"), expected);
        assert_eq!(names(&found, "value_per_customer"), expected);
        assert!((found[0].difference - 0.05).abs() < 1e-9);
    }

    #[test]
    fn one_arm_is_compared_once_and_nothing_with_nobody() {
        assert_eq!(names(&lifts(&[arm(HELD_OUT, 100, 5), arm(ALL, 900, 90)], false), "rate"), ["all vs held_out"]);
        assert_eq!(lifts(&[arm(ALL, 900, 90)], true), []);
        assert_eq!(lifts(&[arm(HELD_OUT, 0, 0), arm(ALL, 900, 90)], true), []);
    }
}
