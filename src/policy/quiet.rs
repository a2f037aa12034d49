//! Quiet hours, holidays and dates without advertising: when a message may not be handed over, and until when it waits.

use super::{Subject, Zones};
use crate::campaigns::{Policy, QuietDay, QuietRule};
use crate::literals::{DateRange, Duration, resolve};
use crate::types::{Class, Time};
use chrono::{Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};
use chrono_tz::Tz;
use std::collections::BTreeMap;

/// What of the policy can keep a campaign's messages quiet on a channel; only the person is left to ask.
#[derive(Debug, Clone, Default)]
pub struct Quiet {
    rules: Vec<QuietRule>,
    holidays: BTreeMap<String, Vec<DateRange>>,
    blackout: Vec<DateRange>,
}

/// It is quiet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    pub until: Time,
    /// Over how long after the end what waited is spread.
    pub release: Option<Duration>,
    pub why: &'static str,
}

/// A person's quiet time may be made of so many pieces before we stop looking; policies that never let anything out end here.
const MOST_PIECES: usize = 400;
const LONGEST: TimeDelta = TimeDelta::days(400);

impl Quiet {
    pub fn new(policy: &Policy, subject: &Subject<'_>) -> Self {
        Quiet {
            rules: policy.quiet_hours.iter().filter(|rule| subject.is_touched_by(&rule.narrowed)).cloned().collect(),
            holidays: policy.holidays.clone(),
            blackout: if subject.class == Class::Advertising { policy.blackout.clone() } else { Vec::new() },
        }
    }

    /// True when nothing can ever keep a message.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.blackout.is_empty()
    }

    /// Until when a message that would be handed over at `at` waits; `None`: it may go. Where the person may live in several zones it must be
    /// quiet in none of them (standards.md §4.3).
    pub fn at(&self, at: Time, country: Option<&str>, zones: Zones) -> Option<Wait> {
        let mut wait: Option<Wait> = None;
        let mut time = at;
        for _ in 0..MOST_PIECES {
            let Some(piece) = self.piece(time, country, zones) else { break };
            // Where the clocks are set back, a local end may lie behind us.
            time = if piece.until > time { piece.until } else { time + TimeDelta::minutes(1) };
            let release = wait.and_then(|wait| wait.release).max_by_length(piece.release);
            wait = Some(Wait { until: time, release, why: wait.map_or(piece.why, |wait| wait.why) });
            if time - at > LONGEST {
                break;
            }
        }
        wait
    }

    /// The longest of what is quiet at an instant.
    fn piece(&self, at: Time, country: Option<&str>, zones: Zones) -> Option<Wait> {
        let mut longest: Option<Wait> = None;
        for zone in zones.all() {
            let local = at.with_timezone(zone).naive_local();
            let rules = self.rules.iter().filter(|rule| super::has_country(&rule.narrowed, country));
            let pieces = rules.filter_map(|rule| {
                let (end, why) = self.end(rule, local, country)?;
                Some(Wait { until: resolve(*zone, end), release: rule.release, why })
            });
            let blackout = self.blackout.iter().any(|dates| dates.contains(local.date())).then(|| Wait {
                until: resolve(*zone, tomorrow(local.date())),
                release: None,
                why: "a date without advertising",
            });
            longest = pieces.chain(blackout).chain(longest).max_by_key(|wait| wait.until);
        }
        longest
    }

    /// The local end of a rule that holds at this local time.
    fn end(&self, rule: &QuietRule, local: NaiveDateTime, country: Option<&str>) -> Option<(NaiveDateTime, &'static str)> {
        let (date, time) = (local.date(), local.time());
        let Some(hours) = rule.hours else {
            return self.day(rule, date, country).map(|why| (tomorrow(date), why));
        };
        let hours_of = |day: NaiveDate| self.day(rule, day, country).map(|why| if why == "a holiday" { why } else { "quiet hours" });
        if hours.from < hours.to {
            return hours_of(date).filter(|_| hours.contains(time)).map(|why| (date.and_time(hours.to), why));
        }
        if time >= hours.from {
            hours_of(date).map(|why| (tomorrow(date).date().and_time(hours.to), why))
        } else if time < hours.to {
            hours_of(yesterday(date)).map(|why| (date.and_time(hours.to), why))
        } else {
            None
        }
    }

    /// Whether a day is one of the rule's, and what it is called.
    fn day(&self, rule: &QuietRule, day: NaiveDate, country: Option<&str>) -> Option<&'static str> {
        use chrono::Datelike;
        if rule.days.is_empty() {
            return Some("quiet hours");
        }
        let holidays = country.and_then(|country| self.holidays.get(country));
        rule.days.iter().find_map(|quiet| match quiet {
            QuietDay::Weekdays(days) => days.contains(day.weekday()).then_some("a quiet day"),
            QuietDay::Holidays => holidays.is_some_and(|dates| dates.iter().any(|range| range.contains(day))).then_some("a holiday"),
        })
    }
}

trait Longest {
    fn max_by_length(self, other: Self) -> Self;
}

impl Longest for Option<Duration> {
    fn max_by_length(self, other: Self) -> Self {
        [self, other].into_iter().flatten().max_by_key(|duration| duration.seconds())
    }
}

fn tomorrow(date: NaiveDate) -> NaiveDateTime {
    date.checked_add_days(Days::new(1)).unwrap_or(date).and_time(NaiveTime::MIN)
}

fn yesterday(date: NaiveDate) -> NaiveDate {
    date.checked_sub_days(Days::new(1)).unwrap_or(date)
}

/// Where in a release a message of this draw goes: from the end of the quiet time over `release`.
pub fn released(wait: &Wait, draw: u64, zone: Tz) -> Time {
    match wait.release {
        None => wait.until,
        Some(release) => {
            let length = (release.added(wait.until, zone) - wait.until).num_microseconds().unwrap_or(0);
            wait.until + TimeDelta::microseconds(((u128::from(draw) * length.max(0) as u128) >> 64) as i64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaigns::Narrowed;
    use crate::literals::{HourRange, WeekdayRange};
    use crate::policy::zones_of;
    use crate::types::Channel;

    fn quiet(rules: Vec<QuietRule>) -> Quiet {
        let policy = Policy {
            quiet_hours: rules,
            holidays: BTreeMap::from([("FR".to_string(), vec![DateRange::read("2027-05-01").unwrap()])]),
            blackout: vec![DateRange::read("2027-12-24 to 2027-12-26").unwrap()],
            ..Policy::default()
        };
        let subject = Subject { class: Class::Advertising, channel: Channel::Sms, topic: None, category: None, tags: &[] };
        Quiet::new(&policy, &subject)
    }

    fn rule(hours: &str, days: &[&str], country: &str) -> QuietRule {
        let day = |word: &&str| match *word {
            "holidays" => QuietDay::Holidays,
            word => QuietDay::Weekdays(WeekdayRange::read(word).unwrap()),
        };
        QuietRule {
            narrowed: Narrowed { country: country.split_whitespace().map(str::to_string).collect(), ..Narrowed::default() },
            hours: (!hours.is_empty()).then(|| HourRange::read(hours).unwrap()),
            days: days.iter().map(day).collect(),
            release: None,
        }
    }

    fn until(quiet: &Quiet, at: &str, country: Option<&str>, zone: Option<&str>) -> Option<String> {
        let zones = zones_of(zone, country, Tz::Europe__Kyiv);
        quiet.at(at.parse().unwrap(), country, zones).map(|wait| wait.until.format("%Y-%m-%dT%H:%M:%SZ").to_string())
    }

    #[test]
    fn hours_include_their_beginning_and_not_their_end_on_every_edge_minute() {
        let night = quiet(vec![rule("20:00 to 09:00", &[], "")]);
        for (at, expected) in [
            ("2027-01-13T17:59:59Z", None),
            ("2027-01-13T18:00:00Z", Some("2027-01-14T07:00:00Z")),
            ("2027-01-13T22:30:00Z", Some("2027-01-14T07:00:00Z")),
            ("2027-01-14T06:59:59Z", Some("2027-01-14T07:00:00Z")),
            ("2027-01-14T07:00:00Z", None),
        ] {
            assert_eq!(until(&night, at, None, None).as_deref(), expected, "{at}");
        }
    }

    #[test]
    fn a_night_of_ten_hours_on_the_wall_is_eleven_in_autumn_and_nine_in_spring() {
        // definitions.md §14: Kyiv, 24–25 October 2026 and 28–29 March 2026.
        let night = quiet(vec![rule("22:00 to 08:00", &[], "")]);
        for (begins, ends, hours) in
            [("2026-10-24T19:00:00Z", "2026-10-25T06:00:00Z", 11), ("2026-03-28T20:00:00Z", "2026-03-29T05:00:00Z", 9)]
        {
            assert_eq!(until(&night, begins, None, None).as_deref(), Some(ends));
            assert_eq!((ends.parse::<Time>().unwrap() - begins.parse::<Time>().unwrap()).num_hours(), hours);
        }
    }

    #[test]
    fn sundays_and_holidays_follow_each_other_and_the_night_as_one_quiet_time() {
        let rules = vec![rule("22:00 to 08:00", &[], ""), rule("", &["sunday", "holidays"], "FR")];
        // Saturday, 1 May 2027, is a holiday in France; after it comes Sunday, and then the night until Monday at eight.
        let france = quiet(rules);
        assert_eq!(until(&france, "2027-05-01T10:00:00Z", Some("FR"), None).as_deref(), Some("2027-05-03T06:00:00Z"));
        assert_eq!(until(&france, "2027-05-01T10:00:00Z", Some("UA"), None), None);
    }

    #[test]
    fn hours_past_midnight_belong_to_the_day_on_which_they_begin() {
        let saturday = quiet(vec![rule("21:00 to 09:00", &["saturday"], "")]);
        assert_eq!(until(&saturday, "2027-01-17T06:00:00Z", None, None).as_deref(), Some("2027-01-17T07:00:00Z"), "Sunday at eight");
        assert_eq!(until(&saturday, "2027-01-16T06:00:00Z", None, None), None, "Saturday at eight");
    }

    #[test]
    fn who_may_live_in_several_zones_gets_what_all_of_them_allow() {
        // The lower 48 would be 11:00 to 20:00 Eastern; with Hawaii it begins at 14:00 Eastern in summer (standards.md §4.3).
        let states = quiet(vec![rule("20:00 to 08:00", &[], "US")]);
        assert_eq!(until(&states, "2027-07-14T15:00:00Z", Some("US"), None).as_deref(), Some("2027-07-14T18:00:00Z"));
        assert_eq!(until(&states, "2027-07-14T15:00:00Z", Some("US"), Some("America/New_York")), None);
    }

    #[test]
    fn dates_without_advertising_keep_advertising_and_a_policy_without_any_gap_ends_somewhere() {
        let some = quiet(Vec::new());
        assert_eq!(until(&some, "2027-12-24T10:00:00Z", None, None).as_deref(), Some("2027-12-26T22:00:00Z"));
        let never = quiet(vec![rule("09:00 to 21:00", &[], ""), rule("21:00 to 09:00", &[], "")]);
        assert!(until(&never, "2027-01-14T10:00:00Z", None, None).is_some());
    }

    #[test]
    fn what_waited_is_spread_over_the_release() {
        let wait = Wait { until: "2027-01-14T07:00:00Z".parse().unwrap(), release: Some(Duration::read("30 minutes").unwrap()), why: "" };
        let at = |draw| released(&wait, draw, Tz::UTC) - wait.until;
        assert_eq!((at(0), at(1 << 63)), (TimeDelta::zero(), TimeDelta::minutes(15)));
        assert!(at(u64::MAX) < TimeDelta::minutes(30) && at(u64::MAX) > TimeDelta::minutes(29));
    }
}
