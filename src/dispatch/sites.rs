//! Mailbox sites that ask us to slow down, or block us (standards.md §1.9): the site is spared, not the one message that was told so.
//!
//! Large sites say in known words what they want; a relay passes those words on. So the words decide, whoever carries them: after so many of
//! them within an hour the site gets nothing for a time, or one message each so many seconds. Where a site says in other words that it wants less, three
//! times within ten minutes, its messages are put off for five minutes at first, twice as long each time that it happens again, at most 90 minutes; meanwhile
//! one message a minute goes and finds out. What was put off comes back spread over as long again, and where a site was spared it gets little at
//! first ([`Ramp`]): ten messages in the first minute, twice as many in each minute after one in which it took some and asked for nothing.
//!
//! All providers that are built are relays or gateways, which keep connections to the sites themselves: how many, how many messages over each, whether by TLS
//! and how slowly a new site begins is theirs to decide, and a ramp of our own before them would slow every run for nothing. So only what sites say is
//! obeyed here. Kept by each process for itself. Pure: the caller brings the time.

use super::ramp::Ramp;
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
/// Words of known sites are counted over this time.
const WITHIN: TimeDelta = TimeDelta::hours(1);

/// What a site gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Measure {
    Nothing {
        minutes: i64,
    },
    /// One message each so many milliseconds.
    One {
        each: i64,
        minutes: i64,
    },
}

/// Words in lower case, all of which must be there; how often within an hour; what follows.
const REACTIONS: &[(&[&str], usize, Measure)] = &[
    // Google
    (&["our system has detected"], 5, Measure::Nothing { minutes: 60 }),
    (&["unusual rate"], 2, Measure::One { each: 6_000, minutes: 30 }),
    // Yahoo and AOL
    (&["tss04"], 1, Measure::Nothing { minutes: 120 }),
    (&["tss05"], 1, Measure::Nothing { minutes: 240 }),
    (&["[ts02]"], 3, Measure::One { each: 60_000, minutes: 90 }),
    (&["[ts03]"], 1, Measure::One { each: 6_000, minutes: 30 }),
    (&["553", "[bl"], 5, Measure::Nothing { minutes: 120 }),
    // Microsoft
    (&["block list"], 5, Measure::Nothing { minutes: 120 }),
    (&["server busy"], 1, Measure::Nothing { minutes: 30 }),
    (&["access denied", "later"], 1, Measure::Nothing { minutes: 60 }),
    // Comcast: ten thousand an hour
    (&["rl000000"], 1, Measure::One { each: 360, minutes: 120 }),
    (&["rl000010"], 1, Measure::Nothing { minutes: 5 }),
];

/// By provider and site.
#[derive(Debug, Default)]
pub struct Sites(HashMap<(String, String), Site>);

#[derive(Debug)]
struct Site {
    /// In words that are not known.
    told: Vec<Time>,
    /// In known words: the place in [`REACTIONS`], and when.
    heard: Vec<(usize, Time)>,
    spared_until: Time,
    length: TimeDelta,
    next_probe: Time,
    /// Between two messages while it is spared; `None`: none goes.
    probe_each: Option<TimeDelta>,
    /// How it comes back to what it got before; from its first message after the time in which it was spared.
    ramp: Option<Ramp>,
    /// It was spared, and has got nothing since.
    is_to_begin: bool,
}

fn fits(words: &str, patterns: &[&str]) -> bool {
    patterns.iter().all(|pattern| words.contains(pattern))
}

impl Site {
    fn new() -> Site {
        let never = Time::UNIX_EPOCH;
        Site {
            told: Vec::new(),
            heard: Vec::new(),
            spared_until: never,
            length: TimeDelta::zero(),
            next_probe: never,
            probe_each: None,
            ramp: None,
            is_to_begin: false,
        }
    }

    fn spare(&mut self, now: Time, length: TimeDelta, probe_each: Option<TimeDelta>) {
        self.spared_until = now + length;
        self.length = length;
        self.probe_each = probe_each;
        self.next_probe = now + probe_each.unwrap_or_default();
        self.ramp = None;
        self.is_to_begin = true;
    }

    /// Whether one more may go after the site was spared; else when it asks again.
    fn comes_back(&mut self, draw: u64, now: Time) -> Option<Time> {
        if std::mem::take(&mut self.is_to_begin) && now - self.spared_until <= FORGOTTEN {
            self.ramp = Some(Ramp::begin(self.probe_each, now));
        }
        let answer = self.ramp.as_mut()?.ask(draw, now);
        if answer.is_over {
            self.ramp = None;
        }
        answer.until
    }

    /// A known site's words; `false` when these are none.
    fn hears(&mut self, words: &str, now: Time) -> bool {
        let mut is_known = false;
        self.heard.retain(|(_, at)| now - *at <= WITHIN);
        for (place, (patterns, enough, measure)) in REACTIONS.iter().enumerate() {
            if !fits(words, patterns) {
                continue;
            }
            is_known = true;
            self.heard.push((place, now));
            if self.heard.iter().filter(|(heard, _)| *heard == place).count() < *enough {
                continue;
            }
            self.heard.retain(|(heard, _)| *heard != place);
            let (minutes, each) = match *measure {
                Measure::Nothing { minutes } => (minutes, None),
                Measure::One { each, minutes } => (minutes, Some(TimeDelta::milliseconds(each))),
            };
            // The longer wins.
            if now + TimeDelta::minutes(minutes) > self.spared_until {
                self.spare(now, TimeDelta::minutes(minutes), each);
            }
        }
        is_known
    }
}

impl Sites {
    /// The site told a message to come later because of our pace (`throttled`), or refused it because it blocks us; `reply` with its code.
    pub fn said(&mut self, provider: &str, name: &str, reply: &str, throttled: bool, now: Time) {
        let words = reply.to_lowercase();
        if !throttled && !REACTIONS.iter().any(|(patterns, ..)| fits(&words, patterns)) {
            return;
        }
        let site = self.0.entry((provider.to_string(), name.to_string())).or_insert_with(Site::new);
        if let Some(ramp) = &mut site.ramp {
            ramp.told(now);
        }
        if site.hears(&words, now) || !throttled {
            return;
        }
        if site.told.last().is_some_and(|last| now - *last > FORGOTTEN) {
            site.length = TimeDelta::zero();
        }
        site.told.retain(|at| now - *at <= TOGETHER);
        site.told.push(now);
        if site.told.len() >= ENOUGH && site.spared_until <= now {
            site.told.clear();
            site.told.push(now);
            let length = if site.length.is_zero() { FIRST } else { (site.length * 2).min(LONGEST) };
            site.spare(now, length, Some(PROBE_EACH));
        }
    }

    /// The site took a message.
    pub fn took(&mut self, provider: &str, name: &str, now: Time) {
        if self.0.is_empty() {
            return;
        }
        let site = self.0.get_mut(&(provider.to_string(), name.to_string()));
        if let Some(ramp) = site.and_then(|site| site.ramp.as_mut()) {
            ramp.took(now);
        }
    }

    /// Until when a message to this site waits; `None`: it may go. `draw` spreads those that wait.
    pub fn wait(&mut self, provider: &str, name: &str, draw: u64, now: Time) -> Option<Time> {
        if self.0.is_empty() {
            return None;
        }
        let site = self.0.get_mut(&(provider.to_string(), name.to_string()))?;
        if site.spared_until <= now {
            return site.comes_back(draw, now);
        }
        let spread = |length: TimeDelta| length / 65_536 * (draw >> 48) as i32;
        match site.probe_each {
            Some(each) if site.next_probe <= now => {
                site.next_probe = now + each;
                None
            }
            // Many may go meanwhile: they come back all along.
            Some(each) if each < PROBE_EACH => Some(now + each + spread(site.spared_until - now)),
            _ => Some(site.spared_until + spread(site.length)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::Outcome;
    use crate::providers::email::reply::classify;
    use crate::types::Failure;

    const START: &str = "2027-03-01T10:00:00Z";

    #[test]
    fn a_site_that_asks_is_spared_longer_each_time_and_others_are_not() {
        let start: Time = START.parse().unwrap();
        let at = |minutes: i64| start + TimeDelta::minutes(minutes);
        let mut sites = Sites::default();
        let throttled = |sites: &mut Sites, now| sites.said("relay", "google", "450 4.2.1 come back later", true, now);
        throttled(&mut sites, start);
        throttled(&mut sites, start);
        assert_eq!(sites.wait("relay", "google", 0, start), None, "two may be chance");
        throttled(&mut sites, start);
        assert_eq!(sites.wait("relay", "google", 0, start), Some(at(5)));
        let spread = sites.wait("relay", "google", u64::MAX, start).unwrap();
        assert!(spread > at(9) && spread <= at(10), "{spread}");
        assert_eq!((sites.wait("relay", "yahoo", 0, start), sites.wait("other", "google", 0, start)), (None, None));
        assert_eq!(sites.wait("relay", "google", 0, at(1)), None, "one a minute finds out");
        assert_eq!(sites.wait("relay", "google", 0, at(1)), Some(at(5)));
        assert_eq!(sites.wait("relay", "google", 0, at(5)), None);
        for expected in [10, 20, 40, 80, 90, 90] {
            let now = sites.0[&("relay".to_string(), "google".to_string())].spared_until;
            (0..3).for_each(|_| throttled(&mut sites, now));
            assert_eq!(sites.wait("relay", "google", 0, now), Some(now + TimeDelta::minutes(expected)));
        }
    }

    /// Replies as the sites give them: how many it takes, for how many minutes the site is spared, and what goes in the first ten minutes of them when one
    /// message asks each second.
    #[test]
    fn the_words_of_large_sites_bring_what_they_want() {
        const TABLE: &[(&str, usize, i64, usize)] = &[
            (
                "421 4.7.0 [203.0.113.7 15] Our system has detected that this message is suspicious due to the very low reputation of the sending IP address.",
                5,
                60,
                0,
            ),
            ("421 4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your IP address.", 2, 30, 100),
            (
                "421 4.7.0 [TSS04] Messages from 203.0.113.7 temporarily deferred due to unexpected volume or user complaints - 4.16.55.1",
                1,
                120,
                0,
            ),
            ("421 4.7.0 [TSS05] Messages from 203.0.113.7 temporarily deferred due to user complaints - 4.16.55.1", 1, 240, 0),
            ("421 4.7.0 [TS02] Messages from 203.0.113.7 temporarily deferred due to user complaints - 4.16.56.1", 3, 90, 10),
            ("421 4.7.1 [TS03] All messages from 203.0.113.7 will be permanently deferred; Retrying will NOT succeed.", 1, 30, 100),
            ("553 5.7.1 [BL21] Connections will not be accepted from 203.0.113.7, because the ip is in Spamhaus's list", 5, 120, 0),
            (
                "550 5.7.1 Unfortunately, messages from [203.0.113.7] weren't sent. Please contact your Internet service provider since part of their network is on our block list (S3150).",
                5,
                120,
                0,
            ),
            ("451 4.7.500 Server busy. Please try again later from [203.0.113.7]. (S77719)", 1, 30, 0),
            ("451 4.7.1 Access denied, please try again later", 1, 60, 0),
            ("421 4.1.0 203.0.113.7 Throttled - too many messages RL000000", 1, 120, 600),
            ("421 4.1.0 203.0.113.7 Throttled - too many connections RL000010", 1, 5, 0),
        ];
        let start: Time = START.parse().unwrap();
        for (reply, times, minutes, go) in TABLE {
            let mut sites = Sites::default();
            let (code, text) = reply.split_once(' ').unwrap();
            let code = code.parse().unwrap();
            let throttled = match classify(code, text).outcome(code, reply.to_string()) {
                Outcome::Later { throttled: true, .. } => true,
                Outcome::Refused { class: Failure::Blocked, suppress: false, .. } => false,
                other => panic!("{reply} is {other:?}"),
            };
            for _ in 1..*times {
                sites.said("relay", "site", reply, throttled, start);
                assert_eq!(sites.wait("relay", "site", 0, start), None, "too early: {reply}");
            }
            sites.said("relay", "site", reply, throttled, start);
            let end = start + TimeDelta::minutes(*minutes);
            let went = (0..600).filter(|second| {
                let now = start + TimeDelta::seconds(*second);
                now < end && sites.wait("relay", "site", 0, now + TimeDelta::milliseconds(999)).is_none()
            });
            assert!(went.count().abs_diff(*go) <= 1, "{reply}");
            assert!(sites.wait("relay", "site", 0, end - TimeDelta::milliseconds(1)).is_some() || *go > 0, "{reply}");
            assert_eq!(sites.wait("relay", "site", 0, end), None, "it is over: {reply}");
            assert_eq!(sites.wait("relay", "other", 0, start), None);
        }
    }

    #[test]
    fn what_is_said_rarely_or_to_single_messages_spares_nobody() {
        let start: Time = START.parse().unwrap();
        let mut sites = Sites::default();
        for hour in 0..10 {
            let now = start + TimeDelta::hours(2 * hour);
            (0..4).for_each(|_| sites.said("relay", "site", "550 5.7.1 your network is on our block list (S3150)", false, now));
            assert_eq!(sites.wait("relay", "site", 0, now), None, "four an hour are not five");
        }
        (0..100).for_each(|_| sites.said("relay", "site", "550 5.7.1 this message looks like spam", false, start));
        assert_eq!(sites.wait("relay", "site", 0, start), None);
    }
}
