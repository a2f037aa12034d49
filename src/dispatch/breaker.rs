//! A provider's circuit breaker (standards.md §7.3): who does not answer is left alone, and asked again by one message each half minute.
//!
//! Closed: all messages go. When at least half of the last twenty tries found nobody, or got no answer, it opens: messages take other providers, or wait.
//! Half-open: one message is let through; an answer, whatever it says, closes the breaker. Pure: the caller brings the time.

use crate::types::Time;
use chrono::TimeDelta;
use std::collections::VecDeque;

/// Tries that are looked at.
const LAST: usize = 20;
/// Between two probes.
const PROBE_EACH: TimeDelta = TimeDelta::seconds(30);
/// A provider that said that it cannot send at all is asked again after so long.
const BROKEN_FOR: TimeDelta = TimeDelta::minutes(1);

/// One provider's, in one process.
#[derive(Debug, Default)]
pub struct Breaker {
    /// The last tries: whether the provider was there.
    last: VecDeque<bool>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    next_probe: Time,
}

/// The breaker has changed its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Opened { since: Time, why: String },
    Closed,
}

/// A message may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Usual,
    /// It is the one that finds out whether the provider is back.
    Probe,
}

impl Breaker {
    /// Whether a message may go now; a probe is given once each half minute.
    pub fn admit(&mut self, now: Time) -> Option<Admission> {
        match &mut self.open {
            None => Some(Admission::Usual),
            Some(open) if open.next_probe <= now => {
                open.next_probe = now + PROBE_EACH;
                Some(Admission::Probe)
            }
            Some(_) => None,
        }
    }

    pub fn is_closed(&self) -> bool {
        self.open.is_none()
    }

    /// When the next probe may go, while it is open.
    pub fn next_probe(&self) -> Option<Time> {
        self.open.as_ref().map(|open| open.next_probe)
    }

    /// A try found the provider there, or not.
    pub fn note(&mut self, now: Time, was_there: bool, reply: &str) -> Option<Change> {
        if self.open.is_some() {
            if !was_there {
                return None;
            }
            self.open = None;
            self.last.clear();
            return Some(Change::Closed);
        }
        if self.last.len() == LAST {
            self.last.pop_front();
        }
        self.last.push_back(was_there);
        let missed = self.last.iter().filter(|was_there| !**was_there).count();
        (missed >= LAST / 2).then(|| self.opened(now, PROBE_EACH, reply))
    }

    /// It said that it cannot send at all (a wrong password, no credit).
    pub fn trip(&mut self, now: Time, reply: &str) -> Option<Change> {
        match &mut self.open {
            Some(open) => {
                open.next_probe = now + BROKEN_FOR;
                None
            }
            None => Some(self.opened(now, BROKEN_FOR, reply)),
        }
    }

    fn opened(&mut self, now: Time, wait: TimeDelta, why: &str) -> Change {
        self.open = Some(Open { next_probe: now + wait });
        Change::Opened { since: now, why: why.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_at_half_of_the_last_twenty_lets_one_through_each_half_minute_and_closes_at_an_answer() {
        let start: Time = "2027-03-01T10:00:00Z".parse().unwrap();
        let at = |seconds: i64| start + TimeDelta::seconds(seconds);
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            assert_eq!(breaker.note(start, true, ""), None);
        }
        for _ in 0..9 {
            assert_eq!(breaker.note(start, false, "no route"), None);
        }
        assert_eq!(breaker.admit(start), Some(Admission::Usual));
        assert_eq!(breaker.note(start, false, "no route"), Some(Change::Opened { since: start, why: "no route".into() }));
        assert_eq!((breaker.admit(at(29)), breaker.is_closed()), (None, false));
        assert_eq!((breaker.admit(at(30)), breaker.admit(at(30))), (Some(Admission::Probe), None), "one probe");
        assert_eq!(breaker.note(at(31), false, "no route"), None);
        assert_eq!((breaker.admit(at(59)), breaker.admit(at(60))), (None, Some(Admission::Probe)));
        assert_eq!(breaker.note(at(61), true, ""), Some(Change::Closed));
        assert_eq!(breaker.admit(at(61)), Some(Admission::Usual));
        // What was before is forgotten.
        assert_eq!(breaker.note(at(62), false, ""), None);
    }

    #[test]
    fn who_cannot_send_at_all_is_left_alone_at_once() {
        let now: Time = "2027-03-01T10:00:00Z".parse().unwrap();
        let mut breaker = Breaker::default();
        assert!(matches!(breaker.trip(now, "535 bad password"), Some(Change::Opened { .. })));
        assert_eq!(breaker.trip(now, "535 bad password"), None, "it is open already");
        assert_eq!((breaker.admit(now + TimeDelta::seconds(59)), breaker.next_probe()), (None, Some(now + BROKEN_FOR)));
        assert_eq!(breaker.admit(now + BROKEN_FOR), Some(Admission::Probe));
    }
}
