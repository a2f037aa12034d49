//! Caps: at most so many messages to one person in a window, and who gives way.
//!
//! Pure: callers load what a person has [`Taken`] under lock and write the [`Verdict`]. A cap counts what is reserved and what was accepted.
//! Every rule that matches must have room. A message of higher priority takes the place of lower ones that are not handed over yet;
//! otherwise the strictest `if_reached` of the rules without room decides: refuse, then otherwise, then wait.
//!
//! Windows (definitions.md §13): a calendar window is the day, the week from Monday or the month of the person's zone; a sliding one is (t − d, t]: what
//! lies exactly so long back is outside, so that a weekly letter at the same hour passes `at_most: 1, in: 7 days`.

use crate::campaigns::{CapRule, CapWindow, IfReached, MOST_CAPS};
use crate::literals::{Duration, Unit, resolve};
use crate::types::{Time, from_micros, micros};
use chrono::{Datelike, Days, Months, NaiveDate, NaiveTime};
use chrono_tz::Tz;

/// A set of rules, a bit for each place in [`Caps`].
pub type Mask = u64;

/// The caps of a policy.
#[derive(Debug, Clone, Default)]
pub struct Caps {
    rules: Vec<CapRule>,
    /// Calendar windows found last, since the messages of a run are due together: zone, window, a time in it, its bounds.
    known: Vec<(Tz, CapWindow, i64, (i64, i64))>,
}

/// A message that counts, of one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub message: i64,
    /// When it counts, in microseconds.
    pub at: i64,
    pub campaign: i64,
    pub channel: i16,
    pub priority: u8,
    /// It was handed over, or cannot give way for another reason.
    pub is_fixed: bool,
    /// The rules that count it.
    pub rules: Mask,
}

/// A message that wants a place.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    /// Microseconds.
    pub at: i64,
    pub priority: u8,
    /// The rules that hold for it and its person.
    pub rules: Mask,
    pub zone: Tz,
    /// Not sent later than this: waiting longer makes no sense.
    pub expires_at: Option<i64>,
    /// It has a place already and is about to be handed over: what is planned for later is asked when its own time comes.
    pub is_leaving: bool,
}

/// What becomes of a wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// There is room, once those who give way (places in the list of the taken) have gone.
    Fits {
        displaced: Vec<usize>,
        rule: Option<usize>,
    },
    /// There is room later.
    Waits {
        until: i64,
        rule: usize,
    },
    /// Another channel may be tried; if it has no room either: no room by this rule, taken by this campaign.
    Otherwise {
        rule: usize,
        by: Option<i64>,
    },
    Full {
        rule: usize,
        by: Option<i64>,
    },
}

impl Caps {
    pub fn new(rules: &[CapRule]) -> Self {
        Caps { rules: rules.iter().take(MOST_CAPS).cloned().collect(), known: Vec::new() }
    }

    /// Those of the rules for which this holds.
    pub fn mask(&self, holds: impl Fn(&CapRule) -> bool) -> Mask {
        self.rules.iter().enumerate().filter(|(_, rule)| holds(rule)).fold(0, |mask, (place, _)| mask | 1 << place)
    }

    /// `at most 1 per day`, as people read it.
    pub fn words(&self, rule: usize) -> String {
        self.rules.get(rule).map_or_else(String::new, words)
    }

    /// Decides about one message; `quiet` moves a time out of quiet hours.
    pub fn decide(&mut self, taken: &[Taken], wish: &Wish, quiet: impl Fn(i64) -> i64) -> Verdict {
        let all = vec![true; taken.len()];
        let full = self.full(taken, &all, wish, wish.at);
        let Some(first) = full.first().copied() else { return Verdict::Fits { displaced: Vec::new(), rule: None } };
        if let Some(displaced) = self.displaced(taken, wish) {
            return Verdict::Fits { displaced, rule: Some(first) };
        }
        // From the weakest to the strictest answer.
        let strictest = |place: &usize| self.rules.get(*place).map(|rule| strictness(rule.if_reached));
        let rule = full.iter().copied().max_by_key(strictest).unwrap_or(first);
        let by = self.by(taken, wish, rule);
        match self.rules.get(rule).map(|rule| rule.if_reached) {
            Some(IfReached::Otherwise) => Verdict::Otherwise { rule, by },
            Some(IfReached::Wait(longest)) => match self.later(taken, wish, longest, quiet) {
                Some(until) => Verdict::Waits { until, rule },
                None => Verdict::Full { rule, by },
            },
            _ => Verdict::Full { rule, by },
        }
    }

    /// The rules without room at a time, among those of the taken that still stand.
    fn full(&mut self, taken: &[Taken], stands: &[bool], wish: &Wish, at: i64) -> Vec<usize> {
        (0..self.rules.len())
            .filter(|place| wish.rules & 1 << place != 0 && self.crowd(taken, stands, wish, at, *place).is_some())
            .collect()
    }

    /// Those who fill a rule's window so that one more is too many; `None` when there is room.
    fn crowd(&mut self, taken: &[Taken], stands: &[bool], wish: &Wish, at: i64, place: usize) -> Option<Vec<usize>> {
        let (at_most, window) = self.rules.get(place).map(|rule| (rule.at_most, rule.window))?;
        let counts = |other: &(usize, &Taken)| other.1.rules & 1 << place != 0 && stands.get(other.0).copied().unwrap_or(false);
        // After `from`, up to `to`.
        let within = |from: i64, to: i64| -> Vec<usize> {
            taken.iter().enumerate().filter(counts).filter(|(_, other)| other.at > from && other.at <= to).map(|(index, _)| index).collect()
        };
        let CapWindow::Sliding(duration) = window else {
            let (from, to) = self.bounds(wish.zone, window, at);
            let crowd = within(from - 1, to - 1);
            return (crowd.len() >= at_most as usize).then_some(crowd);
        };
        let back = |time: i64| micros(duration.subtracted(from_micros(time), wish.zone));
        let crowd = within(back(at), at);
        if crowd.len() >= at_most as usize {
            return Some(crowd);
        }
        if wish.is_leaving {
            return None;
        }
        // Those who come later look back on this one.
        let later = taken.iter().enumerate().filter(counts).filter(|(_, other)| other.at > at && back(other.at) < at);
        later.map(|(_, other)| within(back(other.at), other.at)).find(|crowd| crowd.len() >= at_most as usize)
    }

    /// Who must give way so that there is room everywhere; `None` when that cannot be had. The lowest priority goes first, then who came last.
    fn displaced(&mut self, taken: &[Taken], wish: &Wish) -> Option<Vec<usize>> {
        let mut stands = vec![true; taken.len()];
        let mut gone = Vec::new();
        let mut place = 0;
        while place < self.rules.len() {
            if wish.rules & 1 << place == 0 {
                place += 1;
                continue;
            }
            let Some(crowd) = self.crowd(taken, &stands, wish, wish.at, place) else {
                place += 1;
                continue;
            };
            let weakest = crowd
                .into_iter()
                .filter_map(|index| Some((index, taken.get(index)?)))
                .filter(|(_, other)| !other.is_fixed && other.priority < wish.priority)
                .min_by_key(|(_, other)| (other.priority, std::cmp::Reverse((other.at, other.message))))?;
            *stands.get_mut(weakest.0)? = false;
            gone.push(weakest.0);
        }
        Some(gone)
    }

    /// Whose message filled the rule last.
    fn by(&mut self, taken: &[Taken], wish: &Wish, rule: usize) -> Option<i64> {
        let crowd = self.crowd(taken, &vec![true; taken.len()], wish, wish.at, rule)?;
        crowd.into_iter().filter_map(|index| taken.get(index)).max_by_key(|other| (other.priority, other.at)).map(|other| other.campaign)
    }

    /// The first time within `longest` at which every rule has room and it is not quiet.
    fn later(&mut self, taken: &[Taken], wish: &Wish, longest: Duration, quiet: impl Fn(i64) -> i64) -> Option<i64> {
        let last = micros(longest.added(from_micros(wish.at), wish.zone)).min(wish.expires_at.map_or(i64::MAX, |at| at - 1));
        let stands = vec![true; taken.len()];
        let mut at = wish.at;
        // Each step leaves at least one of the taken behind, or a window.
        for _ in 0..taken.len() * 2 + 64 {
            let Some(place) = self.full(taken, &stands, wish, at).first().copied() else {
                let loud = quiet(at);
                if loud <= at {
                    return Some(at);
                }
                at = loud;
                if at > last {
                    return None;
                }
                continue;
            };
            let crowd = self.crowd(taken, &stands, wish, at, place).unwrap_or_default();
            let (at_most, window) = self.rules.get(place).map(|rule| (rule.at_most, rule.window))?;
            at = match window {
                CapWindow::Sliding(duration) => {
                    let mut times: Vec<i64> = crowd.iter().filter_map(|index| taken.get(*index)).map(|other| other.at).collect();
                    times.sort_unstable();
                    // When so many have left the window that one has room.
                    let leaves = *times.get(times.len().checked_sub(at_most as usize)?)?;
                    micros(duration.added(from_micros(leaves), wish.zone)).max(at + 1)
                }
                calendar => self.bounds(wish.zone, calendar, at).1,
            };
            if at > last {
                return None;
            }
        }
        None
    }

    /// When the day around an instant ends.
    pub fn day_end(&mut self, zone: Tz, at: i64) -> i64 {
        self.bounds(zone, CapWindow::Day, at).1
    }

    /// The calendar window around an instant: its beginning, and the beginning of the next one.
    fn bounds(&mut self, zone: Tz, window: CapWindow, at: i64) -> (i64, i64) {
        let known =
            |entry: &&(Tz, CapWindow, i64, (i64, i64))| entry.0 == zone && entry.1 == window && (entry.3.0..entry.3.1).contains(&at);
        if let Some((.., bounds)) = self.known.iter().find(known) {
            return *bounds;
        }
        let bounds = bounds(zone, window, from_micros(at));
        let bounds = (micros(bounds.0), micros(bounds.1));
        if self.known.len() > 256 {
            self.known.clear();
        }
        self.known.push((zone, window, at, bounds));
        bounds
    }
}

fn bounds(zone: Tz, window: CapWindow, at: Time) -> (Time, Time) {
    let today = at.with_timezone(&zone).date_naive();
    let midnight = |date: NaiveDate| resolve(zone, date.and_time(NaiveTime::MIN));
    let (first, next) = match window {
        CapWindow::Week => {
            let monday = today.checked_sub_days(Days::new(u64::from(today.weekday().num_days_from_monday()))).unwrap_or(today);
            (monday, monday.checked_add_days(Days::new(7)))
        }
        CapWindow::Month => {
            let first = today.with_day(1).unwrap_or(today);
            (first, first.checked_add_months(Months::new(1)))
        }
        CapWindow::Day | CapWindow::Sliding(_) => (today, today.checked_add_days(Days::new(1))),
    };
    (midnight(first), midnight(next.unwrap_or(NaiveDate::MAX)))
}

fn strictness(answer: IfReached) -> (u8, std::cmp::Reverse<i64>) {
    match answer {
        IfReached::Refuse => (2, std::cmp::Reverse(0)),
        IfReached::Otherwise => (1, std::cmp::Reverse(0)),
        IfReached::Wait(longest) => (0, std::cmp::Reverse(longest.seconds())),
    }
}

fn words(rule: &CapRule) -> String {
    let window = match rule.window {
        CapWindow::Day => "per day".to_string(),
        CapWindow::Week => "per week".to_string(),
        CapWindow::Month => "per month".to_string(),
        CapWindow::Sliding(duration) => format!("in {duration}"),
    };
    let by: Vec<&str> = rule.narrowed.channel.iter().map(|channel| channel.word()).collect();
    let channel = if by.is_empty() { String::new() } else { format!(" by {}", by.join(" or ")) };
    format!("at most {}{channel} {window}", rule.at_most)
}

/// How far back a reservation can matter to any of the rules.
pub fn horizon(rules: &[CapRule]) -> Duration {
    let days = rules.iter().map(|rule| match rule.window {
        CapWindow::Day => 2,
        CapWindow::Week => 8,
        CapWindow::Month => 32,
        CapWindow::Sliding(duration) => duration.seconds() / 86_400 + 2,
    });
    Duration { count: u32::try_from(days.max().unwrap_or(1)).unwrap_or(400), unit: Unit::Day }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaigns::Narrowed;
    use proptest::prelude::*;

    const HOUR: i64 = 3_600_000_000;
    const DAY: i64 = 24 * HOUR;

    fn rule(at_most: u32, window: CapWindow, if_reached: IfReached) -> CapRule {
        CapRule { narrowed: Narrowed::default(), at_most, window, if_reached }
    }

    fn days(count: u32) -> CapWindow {
        CapWindow::Sliding(Duration::days(count))
    }

    /// Monday, 1 March 2027, 10:00 UTC.
    fn monday() -> i64 {
        micros("2027-03-01T10:00:00Z".parse().unwrap())
    }

    fn taken(message: i64, at: i64, priority: u8, is_fixed: bool) -> Taken {
        Taken { message, at, campaign: message * 10, channel: 1, priority, is_fixed, rules: Mask::MAX }
    }

    fn wish(at: i64, priority: u8) -> Wish {
        Wish { at, priority, rules: Mask::MAX, zone: Tz::UTC, expires_at: None, is_leaving: false }
    }

    fn decide(rules: &[CapRule], taken: &[Taken], wish: Wish) -> Verdict {
        Caps::new(rules).decide(taken, &wish, |at| at)
    }

    fn fits() -> Verdict {
        Verdict::Fits { displaced: vec![], rule: None }
    }

    #[test]
    fn a_calendar_day_is_that_of_the_persons_zone() {
        let one_a_day = [rule(1, CapWindow::Day, IfReached::Refuse)];
        // 23:30 and 00:30 in Kyiv are one day in UTC.
        let evening = micros("2027-03-01T21:30:00Z".parse().unwrap());
        let before = [taken(1, evening, 50, true)];
        let in_kyiv = Wish { zone: Tz::Europe__Kyiv, ..wish(evening + HOUR, 50) };
        assert_eq!(decide(&one_a_day, &before, in_kyiv), fits());
        assert_eq!(decide(&one_a_day, &before, wish(evening + HOUR, 50)), Verdict::Full { rule: 0, by: Some(10) });
    }

    #[test]
    fn weeks_begin_on_monday_and_months_on_the_first() {
        let sunday = monday() - 12 * HOUR;
        for (window, gap, expected) in [
            (CapWindow::Week, 0, fits()),
            (CapWindow::Week, 6 * DAY, Verdict::Full { rule: 0, by: Some(10) }),
            (CapWindow::Month, 0, fits()),
            (CapWindow::Month, 30 * DAY, Verdict::Full { rule: 0, by: Some(10) }),
            (CapWindow::Month, 31 * DAY, fits()),
        ] {
            let before = if gap == 0 { sunday } else { monday() };
            let verdict = decide(&[rule(1, window, IfReached::Refuse)], &[taken(1, before, 50, true)], wish(monday() + gap, 50));
            assert_eq!(verdict, expected, "{window:?} {gap}");
        }
    }

    #[test]
    fn any_seven_days_look_back_and_ahead_and_what_is_seven_days_away_is_outside() {
        let one = [rule(1, days(7), IfReached::Refuse)];
        let full = Verdict::Full { rule: 0, by: Some(10) };
        for (gap, expected) in [(7 * DAY - 1, full.clone()), (7 * DAY, fits()), (1 - 7 * DAY, full), (-7 * DAY, fits())] {
            assert_eq!(decide(&one, &[taken(1, monday(), 50, true)], wish(monday() + gap, 50)), expected, "{gap}");
        }
        // About to leave, it does not make room for what is planned for later: that is asked when its own time comes.
        let leaving = Wish { is_leaving: true, ..wish(monday() - DAY, 50) };
        assert_eq!(decide(&one, &[taken(1, monday(), 50, false)], leaving), fits());
    }

    #[test]
    fn a_higher_priority_takes_the_place_of_the_lowest_that_has_not_been_handed_over() {
        let two = [rule(2, CapWindow::Day, IfReached::Refuse)];
        let others = [taken(1, monday(), 40, false), taken(2, monday() + HOUR, 30, false)];
        assert_eq!(decide(&two, &others, wish(monday(), 50)), Verdict::Fits { displaced: vec![1], rule: Some(0) });
        assert_eq!(decide(&two, &others, wish(monday(), 30)), Verdict::Full { rule: 0, by: Some(10) });
        let sent = [taken(1, monday(), 40, true), taken(2, monday(), 30, true)];
        assert_eq!(decide(&two, &sent, wish(monday(), 50)), Verdict::Full { rule: 0, by: Some(10) });
    }

    #[test]
    fn nobody_gives_way_when_that_makes_no_room() {
        let both = [rule(1, CapWindow::Day, IfReached::Refuse), rule(1, CapWindow::Week, IfReached::Refuse)];
        let others = [taken(1, monday() + DAY, 10, false), taken(2, monday() + 2 * DAY, 90, true)];
        assert_eq!(decide(&both, &others, wish(monday() + DAY, 50)), Verdict::Full { rule: 1, by: Some(20) });
    }

    #[test]
    fn the_strictest_answer_of_the_full_rules_counts() {
        let wait = IfReached::Wait(Duration::days(2));
        let full = |first, second| {
            let rules = [rule(1, CapWindow::Day, first), rule(1, CapWindow::Week, second)];
            decide(&rules, &[taken(1, monday(), 50, true)], wish(monday() + HOUR, 50))
        };
        assert_eq!(full(wait, IfReached::Refuse), Verdict::Full { rule: 1, by: Some(10) });
        assert_eq!(full(IfReached::Otherwise, wait), Verdict::Otherwise { rule: 0, by: Some(10) });
    }

    #[test]
    fn a_message_waits_for_room_out_of_quiet_hours_and_not_past_its_expiry() {
        let waits = [rule(1, CapWindow::Day, IfReached::Wait(Duration::days(2)))];
        let before = [taken(1, monday(), 50, true)];
        let midnight = monday() + 14 * HOUR;
        assert_eq!(decide(&waits, &before, wish(monday() + HOUR, 50)), Verdict::Waits { until: midnight, rule: 0 });
        let quiet = Caps::new(&waits).decide(&before, &wish(monday() + HOUR, 50), |at| at.max(midnight + 9 * HOUR));
        assert_eq!(quiet, Verdict::Waits { until: midnight + 9 * HOUR, rule: 0 });
        let soon = Wish { expires_at: Some(midnight), ..wish(monday() + HOUR, 50) };
        assert_eq!(decide(&waits, &before, soon), Verdict::Full { rule: 0, by: Some(10) });
        let sliding = [rule(1, days(1), IfReached::Wait(Duration::days(2)))];
        assert_eq!(
            decide(&sliding, &before, wish(monday() + HOUR, 50)),
            Verdict::Waits { until: monday() + DAY, rule: 0 },
            "when the day is over"
        );
    }

    #[test]
    fn a_cap_of_nought_never_has_room() {
        let none = [rule(0, days(7), IfReached::Wait(Duration::days(30)))];
        assert_eq!(decide(&none, &[], wish(monday(), 100)), Verdict::Full { rule: 0, by: None });
        let none = [rule(0, CapWindow::Day, IfReached::Wait(Duration::days(30)))];
        assert_eq!(decide(&none, &[], wish(monday(), 100)), Verdict::Full { rule: 0, by: None });
    }

    /// Whether nothing exceeds the rules: every window is looked at in the plainest way.
    fn holds(rules: &[CapRule], taken: &[Taken], zone: Tz) -> bool {
        rules.iter().all(|rule| {
            taken.iter().all(|end| {
                let within = |other: &&Taken| match rule.window {
                    CapWindow::Sliding(duration) => {
                        let from = micros(duration.subtracted(from_micros(end.at), zone));
                        other.at > from && other.at <= end.at
                    }
                    window => bounds(zone, window, from_micros(other.at)) == bounds(zone, window, from_micros(end.at)),
                };
                taken.iter().filter(within).count() <= rule.at_most as usize
            })
        })
    }

    proptest! {
        #[test]
        fn whatever_is_asked_no_window_is_exceeded_and_a_higher_priority_is_never_refused_for_a_lower_one_that_could_go(
            asked in prop::collection::vec((0..40_i64 * 24, 0..4_u8, any::<bool>()), 1..40),
            limits in (1..3_u32, 1..5_u32, 1..10_u32),
            answer in 0..2_u8,
        ) {
            let wait = if answer == 0 { IfReached::Refuse } else { IfReached::Wait(Duration::days(3)) };
            let rules = [rule(limits.0, CapWindow::Day, wait), rule(limits.1, days(7), wait), rule(limits.2, CapWindow::Month, wait)];
            let zone = Tz::Europe__Kyiv;
            let mut caps = Caps::new(&rules);
            let mut all: Vec<Taken> = Vec::new();
            for (message, (hour, priority, is_fixed)) in asked.into_iter().enumerate() {
                let wish = Wish { zone, ..wish(monday() + hour * HOUR, priority) };
                let at = match caps.decide(&all, &wish, |at| at) {
                    Verdict::Fits { displaced, .. } => {
                        for place in &displaced {
                            prop_assert!(!all[*place].is_fixed && all[*place].priority < priority);
                        }
                        let mut place = 0;
                        all.retain(|_| { place += 1; !displaced.contains(&(place - 1)) });
                        wish.at
                    }
                    Verdict::Waits { until, .. } => { prop_assert!(until > wish.at); until }
                    Verdict::Full { rule, .. } => {
                        // Without everybody who could give way there still is no room.
                        let stands: Vec<Taken> = all.iter().filter(|one| one.is_fixed || one.priority >= priority).cloned().collect();
                        let mine = Taken { is_fixed: true, ..taken(message as i64, wish.at, priority, true) };
                        let with: Vec<Taken> = stands.into_iter().chain([mine]).collect();
                        prop_assert!(!holds(&rules, &with, zone), "refused by rule {rule} though there was room");
                        continue;
                    }
                    Verdict::Otherwise { .. } => unreachable!(),
                };
                all.push(Taken { at, ..taken(message as i64, at, priority, is_fixed) });
                prop_assert!(holds(&rules, &all, zone));
            }
        }
    }
}
