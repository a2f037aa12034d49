//! When a run is held until a person has looked: the audience is smaller or larger than meant, or too much of what was delivered comes back
//! (standards.md §2.2).

use crate::campaigns::{Approval, StopIf};
use crate::literals::Share;
use crate::types::Class;

/// From so many on shares say something.
const ENOUGH: u64 = 500;

/// What came of a run so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Accepted and not bounced.
    pub delivered: u64,
    pub complaints: u64,
    pub unsubscribes: u64,
    /// Addresses that do not exist: refused at once, or bounced later.
    pub hard_bounces: u64,
    /// Of which some are hard bounces.
    pub failures: u64,
}

/// Why a run of so many selected people is held before anything is sent.
pub fn audience(stop: &StopIf, selected: u64) -> Option<String> {
    match (stop.audience_below, stop.audience_above) {
        (Some(least), _) if selected < least => Some(format!("the audience is {selected}, fewer than {least}")),
        (_, Some(most)) if selected > most => Some(format!("the audience is {selected}, more than {most}")),
        _ => None,
    }
}

/// Why somebody other than the one who applied must agree before a run of so many messages goes.
pub fn approval(rule: Option<&Approval>, class: Class, messages: u64) -> Option<String> {
    let rule = rule.filter(|rule| rule.class.is_empty() || rule.class.contains(&class))?;
    (messages > rule.above).then(|| format!("a second person must agree: {messages} messages, more than {}", rule.above))
}

/// Why a run is held, after what came back. Shares are of what was delivered; of bounces and failures of what was tried, since
/// what fails is never delivered.
pub fn share(stop: &StopIf, seen: &Seen) -> Option<String> {
    let tried = seen.delivered + seen.hard_bounces.max(seen.failures);
    let cases = [
        ("complaints", stop.complaints, seen.complaints, seen.delivered, "delivered"),
        ("hard bounces", stop.hard_bounces, seen.hard_bounces, tried, "tried"),
        ("unsubscribes", stop.unsubscribes, seen.unsubscribes, seen.delivered, "delivered"),
        ("failures", stop.failures, seen.failures, tried, "tried"),
    ];
    cases.into_iter().find_map(|(what, limit, count, of, word)| {
        let limit: Share = limit?;
        let reached = of >= ENOUGH && count > 0 && u128::from(count) * 10_000 >= u128::from(of) * u128::from(limit.0);
        reached.then(|| format!("{count} {what} of {of} {word} are {:.2}%; the limit is {limit}", count as f64 * 100.0 / of as f64))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_count_from_500_on_and_hold_at_the_limit() {
        let stop = StopIf::ALWAYS;
        let seen = |delivered, complaints, hard_bounces| Seen { delivered, complaints, hard_bounces, ..Seen::default() };
        assert_eq!(share(&stop, &seen(499, 100, 0)), None);
        assert_eq!(share(&stop, &seen(1000, 2, 0)), None);
        assert_eq!(share(&stop, &seen(1000, 3, 0)).unwrap(), "3 complaints of 1000 delivered are 0.30%; the limit is 0.3%");
        assert_eq!(share(&stop, &seen(475, 0, 25)).unwrap(), "25 hard bounces of 500 tried are 5.00%; the limit is 5%");
        assert_eq!(share(&stop, &seen(476, 0, 24)), None);
        // All that is tried fails: nothing is delivered, and yet it stops.
        let failing = StopIf { failures: Some(Share(1000)), ..StopIf::default() };
        assert!(share(&failing, &Seen { failures: 500, ..Seen::default() }).is_some());
        assert_eq!(share(&StopIf::default(), &seen(1000, 900, 0)), None);
    }

    #[test]
    fn an_audience_outside_of_its_bounds_holds() {
        let stop = StopIf { audience_below: Some(10), audience_above: Some(20), ..StopIf::default() };
        assert_eq!(audience(&stop, 9).unwrap(), "the audience is 9, fewer than 10");
        assert_eq!(audience(&stop, 21).unwrap(), "the audience is 21, more than 20");
        assert_eq!((audience(&stop, 10), audience(&stop, 20)), (None, None));
    }

    #[test]
    fn a_second_person_is_asked_from_one_message_more_on() {
        let rule = Approval { class: vec![Class::Advertising], above: 10 };
        let asked = |class, messages| approval(Some(&rule), class, messages).is_some();
        assert_eq!((asked(Class::Advertising, 10), asked(Class::Advertising, 11), asked(Class::Informational, 11)), (false, true, false));
        assert!(approval(Some(&Approval { class: vec![], above: 10 }), Class::Informational, 11).is_some());
        assert_eq!(approval(None, Class::Advertising, 1_000_000), None);
    }

    #[test]
    fn the_stricter_of_campaign_and_policy_counts() {
        let own = StopIf { complaints: Some(Share(10)), hard_bounces: Some(Share(900)), ..StopIf::default() };
        let both = own.and(StopIf::ALWAYS);
        assert_eq!((both.complaints, both.hard_bounces), (Some(Share(10)), Some(Share(500))));
    }
}
