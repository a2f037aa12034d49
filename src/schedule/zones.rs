//! Local times and instants: what a time zone makes of a time on the wall.

use crate::types::Time;
use chrono::{MappedLocalTime, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::{GapInfo, Tz};

/// The version of the time zone data that is compiled in, for example `2026b`.
pub const TIME_ZONE_DATA: &str = chrono_tz::IANA_TZDB_VERSION;

/// Where a local time is found among instants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Once(Time),
    /// The clocks go back and show it again: the first and the second instant.
    Twice(Time, Time),
    /// The clocks skip it: the first instant after the gap, and how much of the wall's time is missing.
    Gap {
        end: Time,
        missing: TimeDelta,
    },
}

pub(super) fn place(zone: Tz, local: NaiveDateTime) -> Place {
    match zone.from_local_datetime(&local) {
        MappedLocalTime::Single(instant) => Place::Once(instant.with_timezone(&Utc)),
        MappedLocalTime::Ambiguous(first, second) => {
            let (first, second) = (first.with_timezone(&Utc), second.with_timezone(&Utc));
            Place::Twice(first.min(second), first.max(second))
        }
        MappedLocalTime::None => gap(zone, local),
    }
}

fn gap(zone: Tz, local: NaiveDateTime) -> Place {
    let info = GapInfo::new(&local, &zone);
    let begin = info.as_ref().and_then(|info| info.begin).map(|(begin, _)| begin);
    let end = info.and_then(|info| info.end);
    match (begin, end) {
        (Some(begin), Some(end)) => Place::Gap { missing: end.naive_local() - begin, end: end.with_timezone(&Utc) },
        // Only at the ends of time, where no date of a campaign is: read it as UTC.
        _ => Place::Once(local.and_utc()),
    }
}

/// The instant of a local time. In a gap: the first instant after it; in an overlap: the first of the two.
pub fn resolve(zone: Tz, local: NaiveDateTime) -> Time {
    match place(zone, local) {
        Place::Once(instant) | Place::Twice(instant, _) | Place::Gap { end: instant, .. } => instant,
    }
}

/// Like [`resolve`], but the second instant in an overlap: the end of a span that includes this local time.
pub(super) fn resolve_last(zone: Tz, local: NaiveDateTime) -> Time {
    match place(zone, local) {
        Place::Twice(_, second) => second,
        Place::Once(instant) | Place::Gap { end: instant, .. } => instant,
    }
}

/// What a clock on the wall shows at an instant.
pub fn local_time(zone: Tz, instant: Time) -> NaiveDateTime {
    instant.with_timezone(&zone).naive_local()
}

/// By how much the clocks go back within the next day; zero when they do not.
pub(super) fn falls_back_soon(zone: Tz, after: Time) -> TimeDelta {
    let offset = |instant: Time| i64::from(zone.offset_from_utc_datetime(&instant.naive_utc()).fix().local_minus_utc());
    let later = after.checked_add_signed(TimeDelta::hours(25)).unwrap_or(after);
    TimeDelta::seconds((offset(after) - offset(later)).max(0))
}
