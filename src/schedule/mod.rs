//! When: one-off times, repetition in words, and cron, in a time zone (files.md §3, standards.md §8).
//!
//! Pure, and the only place that knows what a clock change does to a schedule. Its promises:
//! - a fixed local time that a clock change skips fires once, at the first instant after the gap; if more than three hours are
//!   missing (Apia had no 30 December 2011) it is skipped;
//! - a fixed local time that comes twice fires the first time only;
//! - a cron expression with a wildcard or a step in its hour field fires on every real minute that matches, in both passes;
//! - times that fall on one instant are one occurrence, and each occurrence is strictly later than the one before.

mod cron;
mod error;
mod every;
mod fields;
mod next;
mod quartz;
mod zones;

pub use cron::Cron;
pub use error::Error;
pub use every::{Every, MonthDay};
pub use quartz::Quartz;
pub use zones::{TIME_ZONE_DATA, local_time, resolve};

use crate::literals::DateRange;
use crate::types::Time;
use chrono::{Months, NaiveDate, NaiveDateTime, NaiveTime};
use chrono_tz::Tz;
use std::ops::Range;

/// When a campaign runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// Once, at a local time of the zone in force.
    At(NaiveDateTime),
    /// Once, at an instant (written with its offset), whatever the zone.
    Instant(Time),
    /// Again and again, in words.
    Every(Every),
    /// Five fields, by cronie's rules.
    Cron(Cron),
    /// Six or seven fields, by Quartz's rules.
    Quartz(Quartz),
    /// No time of its own: something else starts it.
    Never,
}

/// Between which times a rule fires, and on which dates it does not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bounds {
    /// Included; also what repetitions are counted from (`6 hours`, `2 weeks on monday at 10:00`). Without it they are counted from
    /// Monday, 3 January 2000, 00:00 local time.
    pub from: Option<NaiveDateTime>,
    /// Included.
    pub until: Option<NaiveDateTime>,
    /// Dates of the zone in force on which nothing starts.
    pub blackout: Vec<DateRange>,
}

/// One time at which a rule fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occurrence {
    pub instant: Time,
    /// What a clock on the wall shows at that instant.
    pub local: NaiveDateTime,
    pub note: Option<Note>,
}

/// What a clock change or a blackout did to an occurrence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// The wall clock skips `wanted`; this is the first instant after the gap.
    Gap { wanted: NaiveDateTime },
    /// The wall clock shows this time twice; fixed times take the first, hourly ones both.
    Overlap { second: bool },
    /// `wanted`, the time before this one, does not exist, since more than three hours are missing; it was left out.
    Skipped { wanted: NaiveDateTime },
    /// `wanted`, a time before this one, lies in a blackout; it was left out.
    Blackout { wanted: NaiveDateTime },
}

impl std::fmt::Display for Note {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Note::Gap { wanted } => {
                write!(formatter, "gap: the clocks skip {}, so it is the first moment after that", wanted.format("%H:%M"))
            }
            Note::Overlap { second: false } => formatter.write_str("overlap: the clocks show this time twice; this is the first"),
            Note::Overlap { second: true } => formatter.write_str("overlap: the clocks show this time twice; this is the second"),
            Note::Skipped { wanted } => write!(formatter, "skipped before it: {} does not exist here", wanted.format("%Y-%m-%d %H:%M")),
            Note::Blackout { wanted } => write!(formatter, "skipped before it: {} lies in the blackout", wanted.format("%Y-%m-%d %H:%M")),
        }
    }
}

impl Rule {
    /// Reads `schedule.at`: `2027-03-01 10:00`, or an instant, `2027-03-01T10:00:00+02:00`.
    pub fn read_at(text: &str) -> Result<Rule, Error> {
        for format in ["%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"] {
            if let Ok(local) = NaiveDateTime::parse_from_str(text, format) {
                return Ok(Rule::At(local));
            }
        }
        if text.contains('T')
            && let Ok(instant) = text.parse::<Time>()
        {
            return Ok(Rule::Instant(instant));
        }
        let help = "write a date and a time like `2027-03-01 10:00`, or a fixed instant like `2027-03-01T10:00:00+02:00`";
        Err(Error::new(0..text.len(), format!("`{text}` is no date and time"), help))
    }

    /// Reads `schedule.every`: `15 minutes`, `day at 10:00`, `month on last day at 18:00` …
    pub fn read_every(text: &str) -> Result<Rule, Error> {
        Every::read(text).map(Rule::Every)
    }

    /// Reads `schedule.cron`: five fields, or `@daily` and its like.
    pub fn read_cron(text: &str) -> Result<Rule, Error> {
        Cron::read(text).map(Rule::Cron)
    }

    /// Reads `schedule.quartz`: six fields, or seven with a year.
    pub fn read_quartz(text: &str) -> Result<Rule, Error> {
        Quartz::read(text).map(Rule::Quartz)
    }

    /// The first occurrence strictly later than `after`, within the bounds, if there is one.
    pub fn after(&self, after: Time, zone: Tz, bounds: &Bounds) -> Option<Occurrence> {
        // What is at `from` itself is included: look from just before it.
        let mut after = bounds.from.map_or(after, |from| after.max(resolve(zone, from) - chrono::TimeDelta::microseconds(1)));
        let last = bounds.until.map(|until| zones::resolve_last(zone, until));
        let mut left_out = None;
        loop {
            let found = next::of(self, after, zone, bounds.from).filter(|found| last.is_none_or(|last| found.instant <= last))?;
            let Some(blackout) = bounds.blackout.iter().find(|dates| dates.contains(found.local.date())) else {
                return Some(Occurrence { note: found.note.or(left_out), ..found });
            };
            left_out = left_out.or(Some(Note::Blackout { wanted: found.local }));
            // Past the whole of the dates at once, however often the rule fires.
            let behind = blackout.to.succ_opt()?.and_time(NaiveTime::MIN);
            after = found.instant.max(resolve(zone, behind) - chrono::TimeDelta::microseconds(1));
        }
    }

    /// Whether it follows real time instead of naming times of the wall clock: it then has no meaning in each person's own zone.
    pub fn follows_real_time(&self) -> bool {
        match self {
            Rule::At(_) | Rule::Never => false,
            Rule::Instant(_) => true,
            Rule::Every(every) => matches!(every, Every::Interval { .. }),
            Rule::Cron(cron) => cron.follows_the_clock(),
            Rule::Quartz(quartz) => quartz.follows_the_clock(),
        }
    }
}

/// A rule by the calendar: on which dates, at which times of day.
trait Calendar {
    fn fires_on(&self, date: NaiveDate, counted_from: NaiveDate) -> bool;
    /// The first of its times at or after `time`.
    fn time_from(&self, time: NaiveTime) -> Option<NaiveTime>;
    /// Times are fixed (whatever the clocks do, once), or follow the wall clock from one time to the next.
    fn is_fixed(&self) -> bool;
    /// The last date on which it can fire, where it knows one.
    fn last_date(&self) -> Option<NaiveDate> {
        None
    }
}

/// The longest wait that is still a repetition: around 2100, 29 February is eight years away.
const LONGEST_WAIT: Months = Months::new(12 * 8);

/// An expression whose dates never come, or are more than eight years apart, is a mistake. The Gregorian calendar repeats itself after 400 years.
fn comes_often_enough(matches: impl Fn(NaiveDate) -> bool, place: Range<usize>) -> Result<(), Error> {
    let cycle = |year: i32| NaiveDate::from_ymd_opt(year, 1, 1).unwrap_or_default();
    let Some(mut last) = cycle(2000).iter_days().take_while(|date| *date < cycle(2400)).find(|date| matches(*date)) else {
        return Err(Error::new(place, "this date never comes", "no month that it names has that day; write a day that exists"));
    };
    while last < cycle(2400) {
        let Some(latest) = last.checked_add_months(LONGEST_WAIT) else { break };
        // Backwards: most expressions come again just before that.
        match latest.iter_days().rev().take_while(|date| *date > last).find(|date| matches(*date)) {
            Some(date) => last = date,
            None => {
                let help = format!("after {last} it does not come for more than eight years; write a date that comes more often, or `at`");
                return Err(Error::new(place, "this date comes too rarely", help));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
