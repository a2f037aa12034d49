//! When a campaign runs and when its messages may leave, checked (files.md §3, schedule). Pure: the engine asks, nothing here acts.

use super::trigger::Trigger;
use crate::literals::{DateExpression, Duration, HourRange, Unit, WeekdayRange};
use crate::schedule::{Bounds, Rule, local_time, resolve};
use crate::segments::{AttributeCondition, Condition, DateOperand, DateTest, Path, Test, ZoneInForce};
use crate::types::Time;
use chrono::{Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};
use chrono_tz::Tz;
use std::collections::BTreeSet;

/// When.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// With `anniversary` and `date`: each day at their time.
    pub rule: Rule,
    /// `when`: what happens to a customer starts it, and the rule is [`Rule::Never`].
    pub when: Option<Trigger>,
    /// `anniversary`, `date`: only those are selected whose day it is.
    pub own_day: Option<OwnDay>,
    /// The zone in force; with `zone: recipient` that of whose own is not known.
    pub zone: Tz,
    /// `zone: recipient`: each at the local time of the own zone.
    pub recipient: bool,
    /// From when until when, and on which dates nothing starts.
    pub bounds: Bounds,
    /// When messages may leave; none: always.
    pub windows: Vec<Window>,
    /// Over how long they are spread.
    pub spread: Option<Duration>,
    /// `if_missed: { within }`, and whether missed occurrences run.
    pub missed: Missed,
    /// With `zone: recipient`.
    pub if_past: IfPast,
    /// `if_unchanged: skip`: a run is left out whose template and content are those of the run before.
    pub skips_unchanged: bool,
    pub overlap: Overlap,
}

impl Schedule {
    /// Whose days and local times count.
    pub fn zone_in_force(&self) -> ZoneInForce {
        if self.recipient { ZoneInForce::Recipient { fallback: self.zone } } else { ZoneInForce::Fixed(self.zone) }
    }

    /// The first moment from `instant` on at which a message may leave, where `zone` is in force.
    pub fn open_from(&self, instant: Time, zone: Tz) -> Time {
        if self.windows.is_empty() || self.windows.iter().any(|window| window.contains(local_time(zone, instant))) {
            return instant;
        }
        let today = local_time(zone, instant).date();
        // A window that comes each week comes within eight days, or a week later where the clocks skip its hours.
        let begins = (0..16).filter_map(|days| today.checked_add_days(Days::new(days))).flat_map(|date| {
            let of_the_day = self.windows.iter().filter(move |window| window.is_on(date));
            of_the_day.map(move |window| resolve(zone, date.and_time(window.begins())))
        });
        let fits = |begin: &Time| *begin >= instant && self.windows.iter().any(|window| window.contains(local_time(zone, *begin)));
        begins.filter(fits).min().unwrap_or(instant)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed {
    pub run: MissedRun,
    pub within: Duration,
}

impl Missed {
    /// How long ago something may have happened and still start a campaign.
    pub fn longest_ago(self) -> Duration {
        match self.run {
            MissedRun::Skip => Duration { count: 5, unit: Unit::Minute },
            MissedRun::Once | MissedRun::All => self.within,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissedRun {
    Once,
    Skip,
    All,
}

/// What is done for those who are past the local time when a run in each person's own zone starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfPast {
    /// Refused `past_local_time`.
    Skip,
    Now,
    /// At the same local time of the next day.
    NextDay,
}

/// What is done with an occurrence while the run before still hands messages over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// Its run is left out, and says so.
    Forbid,
    /// Its run waits.
    Queue,
    Allow,
}

/// Customers' own days: a date attribute, each year or once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnDay {
    pub path: Path,
    /// `anniversary`; else `date`.
    pub each_year: bool,
    /// Days from the customer's day to that of the run: −7 is a week before.
    pub offsets: BTreeSet<i64>,
    pub feb29: Feb29,
}

/// Where 29 February goes in a year that lacks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feb29 {
    Feb28,
    Mar01,
}

impl OwnDay {
    /// Holds for those for whom this is the day.
    pub fn condition(&self, day: NaiveDate) -> Condition {
        let days = self.offsets.iter().filter_map(|offset| day.checked_sub_signed(TimeDelta::days(*offset)));
        let test = if self.each_year {
            Test::DayOfYear(days.flat_map(|day| self.returning_on(day)).collect())
        } else {
            Test::AnyDate(days.map(|day| DateTest::Is(DateOperand::Expression(DateExpression::Date(day)))).collect())
        };
        Condition::Attribute(AttributeCondition { path: self.path.clone(), tests: vec![test] })
    }

    /// Month and day of the dates that return on this day.
    fn returning_on(&self, day: NaiveDate) -> Vec<String> {
        let stand_in = match self.feb29 {
            Feb29::Feb28 => (2, 28),
            Feb29::Mar01 => (3, 1),
        };
        let mut days = vec![day.format("%m-%d").to_string()];
        if !day.leap_year() && (day.month(), day.day()) == stand_in {
            days.push("02-29".to_string());
        }
        days
    }
}

/// When messages may leave: on these days, at these hours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Empty: every day.
    pub days: Vec<WeekdayRange>,
    /// `None`: the whole day. Hours that pass midnight belong to the day on which they begin.
    pub hours: Option<HourRange>,
}

impl Window {
    fn contains(&self, local: NaiveDateTime) -> bool {
        let (date, time) = (local.date(), local.time());
        match self.hours {
            None => self.is_on(date),
            Some(hours) if !hours.contains(time) => false,
            Some(hours) if hours.from < hours.to || time >= hours.from => self.is_on(date),
            Some(_) => date.pred_opt().is_some_and(|before| self.is_on(before)),
        }
    }

    fn is_on(&self, date: NaiveDate) -> bool {
        self.days.is_empty() || self.days.iter().any(|days| days.contains(date.weekday()))
    }

    fn begins(&self) -> NaiveTime {
        self.hours.map_or(NaiveTime::MIN, |hours| hours.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A campaign each day at ten in Kyiv.
    fn daily(windows: &[(&str, &str)]) -> Schedule {
        let window = |(days, hours): &(&str, &str)| Window {
            days: if days.is_empty() { vec![] } else { vec![WeekdayRange::read(days).unwrap()] },
            hours: if hours.is_empty() { None } else { Some(HourRange::read(hours).unwrap()) },
        };
        Schedule {
            rule: Rule::read_every("day at 10:00").unwrap(),
            when: None,
            own_day: None,
            zone: Tz::Europe__Kyiv,
            recipient: false,
            bounds: Bounds::default(),
            windows: windows.iter().map(window).collect(),
            spread: None,
            missed: Missed { run: MissedRun::Once, within: Duration::days(1) },
            if_past: IfPast::Skip,
            skips_unchanged: false,
            overlap: Overlap::Forbid,
        }
    }

    #[test]
    fn messages_wait_for_the_next_window() {
        let office: &[(&str, &str)] = &[("monday to friday", "09:00 to 18:00")];
        let night: &[(&str, &str)] = &[("friday", "22:00 to 02:00")];
        let mixed: &[(&str, &str)] = &[("monday to friday", "09:00 to 18:00"), ("saturday", "11:00 to 14:00")];
        let weekend: &[(&str, &str)] = &[("saturday to sunday", "")];
        // 1 March 2027 is a Monday.
        let cases = [
            (office, "2027-03-01 10:00", "2027-03-01 10:00"),
            (office, "2027-03-01 08:59", "2027-03-01 09:00"),
            (office, "2027-03-01 18:00", "2027-03-02 09:00"),
            (office, "2027-03-05 18:30", "2027-03-08 09:00"),
            (mixed, "2027-03-05 18:30", "2027-03-06 11:00"),
            (night, "2027-03-06 01:30", "2027-03-06 01:30"),
            (night, "2027-03-06 02:00", "2027-03-12 22:00"),
            (night, "2027-03-05 01:00", "2027-03-05 22:00"),
            (weekend, "2027-03-01 10:00", "2027-03-06 00:00"),
            (&[], "2027-03-01 03:00", "2027-03-01 03:00"),
            // The clocks skip the hour from three to four.
            (&[("", "03:15 to 03:45")], "2027-03-28 01:00", "2027-03-29 03:15"),
            (&[("", "03:30 to 05:00")], "2027-03-28 01:00", "2027-03-28 04:00"),
        ];
        for (windows, at, expected) in cases {
            let local = |text| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap();
            let found = daily(windows).open_from(resolve(Tz::Europe__Kyiv, local(at)), Tz::Europe__Kyiv);
            assert_eq!(local_time(Tz::Europe__Kyiv, found), local(expected), "{windows:?} at {at}");
        }
    }

    #[test]
    fn a_day_is_that_of_all_who_have_it_then_with_29_february_where_the_file_puts_it() {
        let days = |day: &str, offsets: &[i64], feb29| {
            let path = Path { written: "birthday".into(), start: crate::segments::Start::Names(vec!["birthday".into()]), through: vec![] };
            let own = OwnDay { path, each_year: true, offsets: offsets.iter().copied().collect(), feb29 };
            match own.condition(day.parse().unwrap()) {
                Condition::Attribute(AttributeCondition { tests, .. }) => match tests.as_slice() {
                    [Test::DayOfYear(days)] => days.iter().cloned().collect::<Vec<_>>(),
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(days("2027-02-28", &[0], Feb29::Feb28), ["02-28", "02-29"]);
        assert_eq!(days("2027-02-28", &[0], Feb29::Mar01), ["02-28"]);
        assert_eq!(days("2027-03-01", &[0], Feb29::Mar01), ["02-29", "03-01"]);
        assert_eq!(days("2028-02-28", &[0], Feb29::Feb28), ["02-28"]);
        assert_eq!(days("2028-02-29", &[0], Feb29::Feb28), ["02-29"]);
        // A week before, and the day itself; across the end of the year too.
        assert_eq!(days("2027-02-21", &[-7, 0], Feb29::Feb28), ["02-21", "02-28", "02-29"]);
        assert_eq!(days("2027-12-28", &[-7], Feb29::Feb28), ["01-04"]);
        assert_eq!(days("2027-03-03", &[3], Feb29::Feb28), ["02-28", "02-29"]);
    }
}
