//! The next time at which a rule fires: what clock changes do to it is decided here, and nowhere else (standards.md §8.2).

use super::zones::{self, Place};
use super::{Calendar, Every, Note, Occurrence, Rule, local_time, resolve};
use crate::types::Time;
use chrono::{Months, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};
use chrono_tz::Tz;

/// A rule that comes round at all does so within this many years: `every: 40 years`.
const HORIZON_YEARS: u32 = 41;
/// What is missing for longer is no clock change but a date that the place left out.
const LONGEST_GAP: TimeDelta = TimeDelta::hours(3);

/// The first occurrence strictly later than `after`, whatever the bounds; repetitions are counted from `from`.
pub(super) fn of(rule: &Rule, after: Time, zone: Tz, from: Option<NaiveDateTime>) -> Option<Occurrence> {
    match rule {
        Rule::Never => None,
        Rule::At(local) => Some(at(zone, *local)).filter(|found| found.instant > after),
        Rule::Instant(instant) => {
            Some(Occurrence { instant: *instant, local: local_time(zone, *instant), note: None }).filter(|found| found.instant > after)
        }
        Rule::Every(Every::Interval { minutes }) => interval(*minutes, after, zone, counted_from(from)),
        Rule::Every(every) => next(every, after, zone, counted_from(from).date()),
        Rule::Cron(cron) => next(cron, after, zone, counted_from(from).date()),
        Rule::Quartz(quartz) => next(quartz, after, zone, counted_from(from).date()),
    }
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
                self.next = date.and_time(time).checked_add_signed(TimeDelta::seconds(1))?;
                return Some(date.and_time(time));
            }
            self.next = date.succ_opt()?.and_time(NaiveTime::MIN);
        }
        None
    }
}

fn next(calendar: &impl Calendar, after: Time, zone: Tz, counted_from: NaiveDate) -> Option<Occurrence> {
    let local = local_time(zone, after);
    let last = calendar.last_date().or_else(|| local.date().checked_add_months(Months::new(12 * HORIZON_YEARS)))?;
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
