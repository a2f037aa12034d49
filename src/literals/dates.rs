//! Dates, times, date-times and date expressions, as files.md §1 writes them; and the rule for local times that a clock change skips or repeats.

use super::Duration;
use crate::types::Time;
use chrono::{DateTime, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

/// A date like `2027-03-01`.
pub fn date(text: &str) -> Result<NaiveDate, String> {
    let shaped = text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() });
    if shaped {
        return NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|_| format!("there is no {text} in the calendar"));
    }
    Err(match other_order(text) {
        Some(meant) => format!("`{text}` is no date; write year, month, day: `{meant}`"),
        None => format!("`{text}` is no date; write it like `2027-03-01`"),
    })
}

/// `01.03.2027` and `1/3/2027` as they were probably meant.
fn other_order(text: &str) -> Option<String> {
    let parts: Vec<&str> = text.split(['.', '/', '-']).collect();
    let [day, month, year] = parts.as_slice() else { return None };
    let (day, month, year) = (day.parse::<u32>().ok()?, month.parse::<u32>().ok()?, year.parse::<i32>().ok()?);
    let date = if day > 31 { NaiveDate::from_ymd_opt(day as i32, month, year as u32)? } else { NaiveDate::from_ymd_opt(year, month, day)? };
    (date.format("%Y").to_string().len() == 4).then(|| date.to_string())
}

/// A time of day like `10:00` (24 hours); seconds are allowed.
pub fn time(text: &str) -> Result<NaiveTime, String> {
    let digits = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = text.split(':').collect();
    let number = |at: usize| parts.get(at).map_or(Some(0), |part| part.parse::<u32>().ok());
    if matches!(parts.len(), 2 | 3) && parts.iter().all(|part| digits(part)) {
        return match (number(0), number(1), number(2)) {
            (Some(24), _, _) => Err(format!("`{text}` is no time of day; midnight is `00:00`")),
            (Some(hour), Some(minute), Some(second)) => {
                NaiveTime::from_hms_opt(hour, minute, second).ok_or_else(|| format!("there is no {text} on the clock"))
            }
            _ => Err(format!("there is no {text} on the clock")),
        };
    }
    if let [hour, minute] = parts.as_slice()
        && hour.len() == 1
        && hour.bytes().all(|byte| byte.is_ascii_digit())
        && digits(minute)
    {
        return Err(format!("`{text}` is no time; write two digits for the hour: `0{text}`"));
    }
    Err(format!("`{text}` is no time; write 24 hours with two digits, like `09:30`"))
}

/// A date-time as written: in the zone in force, or one fixed instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrittenTime {
    Local(NaiveDateTime),
    Instant(Time),
}

impl WrittenTime {
    /// Reads `2027-03-01 10:00` or `2027-03-01T10:00:00+02:00`.
    pub fn read(text: &str) -> Result<WrittenTime, String> {
        let Some((day, clock)) = text.split_once([' ', 'T']) else {
            return match date(text) {
                Ok(day) => Err(format!("`{text}` has no time; write `{day} 10:00`")),
                Err(_) => Err(format!("`{text}` is no date-time; write it like `2027-03-01 10:00`")),
            };
        };
        let day = date(day)?;
        if let Ok(clock) = time(clock.trim()) {
            return Ok(WrittenTime::Local(day.and_time(clock)));
        }
        if clock.contains(['+', '-', 'Z', 'z']) {
            return DateTime::parse_from_rfc3339(&text.replacen(' ', "T", 1))
                .map(|instant| WrittenTime::Instant(instant.with_timezone(&Utc)))
                .map_err(|_| format!("`{text}` is no instant; write it like `2027-03-01T10:00:00+02:00`"));
        }
        time(clock.trim()).map(|clock| WrittenTime::Local(day.and_time(clock)))
    }

    /// The instant, where `zone` is in force.
    pub fn instant(self, zone: Tz) -> Time {
        match self {
            WrittenTime::Local(local) => resolve(zone, local),
            WrittenTime::Instant(instant) => instant,
        }
    }

    /// The local time in `zone`.
    pub fn local(self, zone: Tz) -> NaiveDateTime {
        match self {
            WrittenTime::Local(local) => local,
            WrittenTime::Instant(instant) => instant.with_timezone(&zone).naive_local(),
        }
    }
}

/// A date-time without an offset.
pub fn local(text: &str) -> Result<NaiveDateTime, String> {
    match WrittenTime::read(text)? {
        WrittenTime::Local(local) => Ok(local),
        WrittenTime::Instant(_) => Err(format!("`{text}` has an offset; here the local time is written: `2027-03-01 10:00`")),
    }
}

/// The instant of a local time: in a gap the first valid instant after it, in an overlap the first of the two (standards.md §8).
pub fn resolve(zone: Tz, local: NaiveDateTime) -> Time {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(instant) => instant.with_timezone(&Utc),
        LocalResult::Ambiguous(first, second) => first.min(second).with_timezone(&Utc),
        LocalResult::None => after_gap(zone, local),
    }
}

/// The instant at which the clock is put forward over `local`, found by halving.
fn after_gap(zone: Tz, local: NaiveDateTime) -> Time {
    let as_utc = |local: NaiveDateTime| Utc.from_utc_datetime(&local);
    let day = TimeDelta::days(2);
    let (Some(low), Some(high)) = (local.checked_sub_signed(day), local.checked_add_signed(day)) else { return as_utc(local) };
    let (mut low, mut high) = (as_utc(low).timestamp(), as_utc(high).timestamp());
    // Local time rises with the instant but for changes of the clock: the last instant that shows less than `local` is before the gap.
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        let shown = Utc.timestamp_opt(middle, 0).single().map(|instant| instant.with_timezone(&zone).naive_local());
        if shown.is_some_and(|shown| shown < local) { low = middle } else { high = middle }
    }
    Utc.timestamp_opt(high, 0).single().unwrap_or_else(|| as_utc(local))
}

/// Where a condition wants a date: `2027-03-01`, `today`, `now`, `90 days ago`, `in 3 days`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateExpression {
    Date(NaiveDate),
    Time(WrittenTime),
    Today,
    Now,
    Ago(Duration),
    In(Duration),
}

impl DateExpression {
    pub fn read(text: &str) -> Result<DateExpression, String> {
        if text == "today" {
            return Ok(DateExpression::Today);
        }
        if text == "now" {
            return Ok(DateExpression::Now);
        }
        if let Some(duration) = text.strip_suffix(" ago") {
            return Duration::read(duration).map(DateExpression::Ago);
        }
        if let Some(duration) = text.strip_prefix("in ") {
            return Duration::read(duration).map(DateExpression::In);
        }
        if let Ok(duration) = Duration::read(text) {
            return Err(format!("`{text}` is a duration, not a date; write `{duration} ago` or `in {duration}`"));
        }
        if text == "yesterday" {
            return Err("`yesterday` is not known; write `1 day ago`".into());
        }
        if text == "tomorrow" {
            return Err("`tomorrow` is not known; write `in 1 day`".into());
        }
        if text.len() > 10 && text.starts_with(|c: char| c.is_ascii_digit()) {
            return WrittenTime::read(text).map(DateExpression::Time);
        }
        date(text).map(DateExpression::Date).map_err(|why| match why.contains("calendar") || why.contains("year, month") {
            true => why,
            false => format!("`{text}` is no date; write `2027-03-01`, `today`, `now`, `90 days ago` or `in 3 days`"),
        })
    }

    /// The instant it means at `now`, where `zone` is in force: of a day, its first.
    pub fn instant(self, now: Time, zone: Tz) -> Time {
        match self {
            DateExpression::Date(day) => resolve(zone, day.and_time(NaiveTime::MIN)),
            DateExpression::Time(written) => written.instant(zone),
            DateExpression::Today => resolve(zone, now.with_timezone(&zone).date_naive().and_time(NaiveTime::MIN)),
            DateExpression::Now => now,
            DateExpression::Ago(duration) => duration.subtracted(now, zone),
            DateExpression::In(duration) => duration.added(now, zone),
        }
    }

    /// The local day it means.
    pub fn day(self, now: Time, zone: Tz) -> NaiveDate {
        match self {
            DateExpression::Date(day) => day,
            _ => self.instant(now, zone).with_timezone(&zone).date_naive(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_are_written_one_way() {
        assert!(date("2027-03-01").is_ok());
        assert_eq!(date("2027-02-29").unwrap_err(), "there is no 2027-02-29 in the calendar");
        assert!(date("01.03.2027").unwrap_err().contains("`2027-03-01`"));
        assert!(date("2027-3-1").is_err());
        assert!(date("märz").is_err());
        assert_eq!(time("10:00").unwrap().to_string(), "10:00:00");
        assert!(time("9:30").unwrap_err().contains("`09:30`"));
        assert!(time("24:00").unwrap_err().contains("00:00"));
        assert!(time("25:00").is_err());
        assert!(time("10 am").unwrap_err().contains("24 hours"));
        assert_eq!(WrittenTime::read("2027-03-01T10:00:00+02:00").unwrap(), WrittenTime::Instant("2027-03-01T08:00:00Z".parse().unwrap()));
        assert!(WrittenTime::read("2027-03-01").unwrap_err().contains("has no time"));
        assert!(matches!(WrittenTime::read("2027-03-01 10:00").unwrap(), WrittenTime::Local(_)));
    }

    #[test]
    fn a_skipped_time_is_the_first_after_the_gap_and_a_repeated_one_the_first() {
        let kyiv = chrono_tz::Europe::Kyiv;
        let at = |text: &str| resolve(kyiv, local(text).unwrap()).to_rfc3339();
        assert_eq!(at("2027-03-28 03:30"), "2027-03-28T01:00:00+00:00");
        assert_eq!(at("2027-10-31 03:30"), "2027-10-31T00:30:00+00:00");
        // Samoa left out a whole day.
        assert_eq!(resolve(chrono_tz::Pacific::Apia, local("2011-12-30 12:00").unwrap()).to_rfc3339(), "2011-12-30T10:00:00+00:00");
        resolve(kyiv, NaiveDateTime::MAX);
        resolve(kyiv, NaiveDateTime::MIN);
    }

    #[test]
    fn date_expressions_are_seen_from_now() {
        let now: Time = "2027-03-01T23:30:00Z".parse().unwrap();
        let kyiv = chrono_tz::Europe::Kyiv;
        let day = |text: &str| DateExpression::read(text).unwrap().day(now, kyiv).to_string();
        assert_eq!(day("today"), "2027-03-02");
        assert_eq!(day("90 days ago"), "2026-12-02");
        assert_eq!(day("in 3 days"), "2027-03-05");
        assert!(DateExpression::read("90 days").unwrap_err().contains("90 days ago"));
        assert!(DateExpression::read("yesterday").unwrap_err().contains("1 day ago"));
        assert!(DateExpression::read("soon").is_err());
    }
}
