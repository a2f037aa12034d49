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
mod zones;

pub use cron::Cron;
pub use error::Error;
pub use every::{Every, MonthDay};
pub use zones::{TIME_ZONE_DATA, local_time, resolve};

use crate::types::Time;
use chrono::{Months, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};
use chrono_tz::Tz;
use zones::Place;

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
}

/// One time at which a rule fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occurrence {
    pub instant: Time,
    /// What a clock on the wall shows at that instant.
    pub local: NaiveDateTime,
    pub note: Option<Note>,
}

/// What a clock change did to an occurrence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// The wall clock skips `wanted`; this is the first instant after the gap.
    Gap { wanted: NaiveDateTime },
    /// The wall clock shows this time twice; fixed times take the first, hourly ones both.
    Overlap { second: bool },
    /// `wanted`, the time before this one, does not exist, since more than three hours are missing; it was left out.
    Skipped { wanted: NaiveDateTime },
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
        }
    }
}

/// A rule that comes round at all does so within this many years (29 February on a Sunday: 40 years around 2100).
const HORIZON_YEARS: u32 = 41;
/// What is missing for longer is no clock change but a date that the place left out.
const LONGEST_GAP: TimeDelta = TimeDelta::hours(3);

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

    /// The first occurrence strictly later than `after`, within `from` and `until` (both included), if there is one.
    ///
    /// `from` is also what repetitions are counted from (`6 hours`, `2 weeks on monday at 10:00`); without it they are counted from
    /// Monday, 3 January 2000, 00:00 local time.
    pub fn after(&self, after: Time, zone: Tz, from: Option<NaiveDateTime>, until: Option<NaiveDateTime>) -> Option<Occurrence> {
        // What is at `from` itself is included: look from just before it.
        let after = from.map_or(after, |from| after.max(resolve(zone, from) - TimeDelta::microseconds(1)));
        let found = match self {
            Rule::At(local) => Some(at(zone, *local)),
            Rule::Instant(instant) => Some(Occurrence { instant: *instant, local: local_time(zone, *instant), note: None }),
            Rule::Every(Every::Interval { minutes }) => interval(*minutes, after, zone, counted_from(from)),
            Rule::Every(every) => next(every, after, zone, counted_from(from).date()),
            Rule::Cron(cron) => next(cron, after, zone, counted_from(from).date()),
        }
        .filter(|found| found.instant > after)?;
        let last = until.map(|until| zones::resolve_last(zone, until));
        last.is_none_or(|last| found.instant <= last).then_some(found)
    }
}

/// A rule by the calendar: on which dates, at which times of day.
trait Calendar {
    fn fires_on(&self, date: NaiveDate, counted_from: NaiveDate) -> bool;
    /// The first of its times at or after `time`.
    fn time_from(&self, time: NaiveTime) -> Option<NaiveTime>;
    /// Times are fixed (whatever the clocks do, once), or follow the wall clock minute by minute.
    fn is_fixed(&self) -> bool;
}

/// Local times that match, at or after a given one, as they stand in the calendar (existing in the zone or not).
struct Candidates<'a, C> {
    calendar: &'a C,
    counted_from: NaiveDate,
    next: NaiveDateTime,
    last: NaiveDate,
}

impl<C: Calendar> Iterator for Candidates<'_, C> {
    type Item = NaiveDateTime;

    fn next(&mut self) -> Option<NaiveDateTime> {
        while self.next.date() <= self.last {
            let date = self.next.date();
            if self.calendar.fires_on(date, self.counted_from)
                && let Some(time) = self.calendar.time_from(self.next.time())
            {
                self.next = date.and_time(time).checked_add_signed(TimeDelta::minutes(1))?;
                return Some(date.and_time(time));
            }
            self.next = date.succ_opt()?.and_time(NaiveTime::MIN);
        }
        None
    }
}

fn next(calendar: &impl Calendar, after: Time, zone: Tz, counted_from: NaiveDate) -> Option<Occurrence> {
    let local = local_time(zone, after);
    let last = local.date().checked_add_months(Months::new(12 * HORIZON_YEARS))?;
    if calendar.is_fixed() {
        // `resolve` never goes back as local times go on, so what fires after `after` is later on the wall too.
        let mut skipped = None;
        for wanted in (Candidates { calendar, counted_from, next: local, last }) {
            match zones::place(zone, wanted) {
                Place::Gap { missing, .. } if missing > LONGEST_GAP => skipped = skipped.or(Some(Note::Skipped { wanted })),
                _ => {
                    let occurrence = at(zone, wanted);
                    if occurrence.instant > after {
                        return Some(Occurrence { note: occurrence.note.or(skipped), ..occurrence });
                    }
                }
            }
        }
        return None;
    }
    // Clocks that are about to go back show again what they have shown already: begin there.
    let back = zones::falls_back_soon(zone, after);
    let mut best: Option<Occurrence> = None;
    for wanted in (Candidates { calendar, counted_from, next: local.checked_sub_signed(back)?, last }) {
        let (first, second) = match zones::place(zone, wanted) {
            Place::Gap { .. } => continue,
            Place::Once(instant) => (Occurrence { instant, local: wanted, note: None }, None),
            Place::Twice(first, second) => {
                let pass = |instant, second| Occurrence { instant, local: wanted, note: Some(Note::Overlap { second }) };
                (pass(first, false), Some(pass(second, true)))
            }
        };
        if best.is_some_and(|best| first.instant >= best.instant) {
            break;
        }
        for found in std::iter::once(first).chain(second).filter(|found| found.instant > after) {
            if best.is_none_or(|best| found.instant < best.instant) {
                best = Some(found);
            }
        }
        if best.is_some_and(|best| best.note.is_none()) {
            break;
        }
    }
    best
}

/// The occurrence of one fixed local time.
fn at(zone: Tz, wanted: NaiveDateTime) -> Occurrence {
    match zones::place(zone, wanted) {
        Place::Once(instant) => Occurrence { instant, local: wanted, note: None },
        Place::Twice(first, _) => Occurrence { instant: first, local: wanted, note: Some(Note::Overlap { second: false }) },
        Place::Gap { end, .. } => Occurrence { instant: end, local: local_time(zone, end), note: Some(Note::Gap { wanted }) },
    }
}

fn counted_from(from: Option<NaiveDateTime>) -> NaiveDateTime {
    from.unwrap_or_else(|| NaiveDate::from_ymd_opt(2000, 1, 3).unwrap_or_default().and_time(NaiveTime::MIN))
}

/// Every so many minutes of real time, counted from an instant.
fn interval(minutes: u32, after: Time, zone: Tz, counted_from: NaiveDateTime) -> Option<Occurrence> {
    let step = i64::from(minutes.max(1)) * 60_000_000;
    let start = resolve(zone, counted_from).timestamp_micros();
    let passed = (after.timestamp_micros() - start).div_euclid(step);
    let instant = Time::from_timestamp_micros(start.checked_add(passed.checked_add(1)?.checked_mul(step)?)?)?;
    Some(Occurrence { instant, local: local_time(zone, instant), note: None })
}

#[cfg(test)]
mod tests;
