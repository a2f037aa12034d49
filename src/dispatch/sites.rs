//! Mailbox sites that ask us to slow down (standards.md §1.9): the site is spared, not the one message that was told so.
//!
//! When a site has told three messages of a provider to come later because of our pace within ten minutes, its other messages are put off: five minutes at
//! first, twice as long each time that it happens again, at most 90 minutes. Meanwhile one message a minute goes and finds out; what was put off comes back
//! spread over as long again. Kept by each process for itself. Pure: the caller brings the time.

use crate::types::Time;
use chrono::TimeDelta;
use std::collections::HashMap;

const ENOUGH: usize = 3;
const TOGETHER: TimeDelta = TimeDelta::minutes(10);
const FIRST: TimeDelta = TimeDelta::minutes(5);
const LONGEST: TimeDelta = TimeDelta::minutes(90);
const PROBE_EACH: TimeDelta = TimeDelta::minutes(1);
/// Who has had no complaint for so long begins anew.
const FORGOTTEN: TimeDelta = TimeDelta::hours(6);

/// By provider and site.
#[derive(Debug, Default)]
pub struct Sites(HashMap<(String, String), Site>);

#[derive(Debug)]
struct Site {
    told: Vec<Time>,
    spared_until: Time,
    length: TimeDelta,
    next_probe: Time,
}

impl Sites {
    /// The site told a message to come later because of our pace.
    pub fn throttled(&mut self, provider: &str, name: &str, now: Time) {
        let site = self.0.entry((provider.to_string(), name.to_string())).or_insert_with(|| Site {
            told: Vec::new(),
            spared_until: Time::UNIX_EPOCH,
            length: TimeDelta::zero(),
            next_probe: Time::UNIX_EPOCH,
        });
        if site.told.last().is_some_and(|last| now - *last > FORGOTTEN) {
            site.length = TimeDelta::zero();
        }
        site.told.retain(|at| now - *at <= TOGETHER);
        site.told.push(now);
        if site.told.len() >= ENOUGH && site.spared_until <= now {
            site.told.clear();
            site.told.push(now);
            site.length = if site.length.is_zero() { FIRST } else { (site.length * 2).min(LONGEST) };
            site.spared_until = now + site.length;
            site.next_probe = now + PROBE_EACH;
        }
    }

    /// Until when a message to this site waits; `None`: it may go. `draw` spreads those that wait.
    pub fn wait(&mut self, provider: &str, name: &str, draw: u64, now: Time) -> Option<Time> {
        if self.0.is_empty() {
            return None;
        }
        let site = self.0.get_mut(&(provider.to_string(), name.to_string()))?;
        if site.spared_until <= now {
            return None;
        }
        if site.next_probe <= now {
            site.next_probe = now + PROBE_EACH;
            return None;
        }
        Some(site.spared_until + site.length / 65_536 * (draw >> 48) as i32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_that_asks_is_spared_longer_each_time_and_others_are_not() {
        let start: Time = "2027-03-01T10:00:00Z".parse().unwrap();
        let at = |minutes: i64| start + TimeDelta::minutes(minutes);
        let mut sites = Sites::default();
        sites.throttled("relay", "google", start);
        sites.throttled("relay", "google", start);
        assert_eq!(sites.wait("relay", "google", 0, start), None, "two may be chance");
        sites.throttled("relay", "google", start);
        assert_eq!(sites.wait("relay", "google", 0, start), Some(at(5)));
        let spread = sites.wait("relay", "google", u64::MAX, start).unwrap();
        assert!(spread > at(9) && spread <= at(10), "{spread}");
        assert_eq!((sites.wait("relay", "yahoo", 0, start), sites.wait("other", "google", 0, start)), (None, None));
        assert_eq!(sites.wait("relay", "google", 0, at(1)), None, "one a minute finds out");
        assert_eq!(sites.wait("relay", "google", 0, at(1)), Some(at(5)));
        assert_eq!(sites.wait("relay", "google", 0, at(5)), None);
        for expected in [10, 20, 40, 80, 90, 90] {
            let now = sites.0[&("relay".to_string(), "google".to_string())].spared_until;
            (0..3).for_each(|_| sites.throttled("relay", "google", now));
            assert_eq!(sites.wait("relay", "google", 0, now), Some(now + TimeDelta::minutes(expected)));
        }
    }
}
