//! Durations: `30 minutes`, `7 days`, `3 months`; and how they move an instant or a local time.

use super::{Duration, Rate, Unit, dates, whole};
use crate::diagnostics::nearest;
use crate::types::Time;
use chrono::{Months, NaiveDateTime, TimeDelta};
use chrono_tz::Tz;
use std::fmt;

impl Unit {
    /// From the shortest.
    pub const ALL: &'static [Unit] = &[Unit::Second, Unit::Minute, Unit::Hour, Unit::Day, Unit::Week, Unit::Month, Unit::Year];

    /// As written for one of it.
    pub const fn word(self) -> &'static str {
        match self {
            Unit::Second => "second",
            Unit::Minute => "minute",
            Unit::Hour => "hour",
            Unit::Day => "day",
            Unit::Week => "week",
            Unit::Month => "month",
            Unit::Year => "year",
        }
    }

    /// Nominal length in seconds: a month is 30 days, a year 365.
    pub const fn seconds(self) -> i64 {
        match self {
            Unit::Second => 1,
            Unit::Minute => 60,
            Unit::Hour => 3_600,
            Unit::Day => 86_400,
            Unit::Week => 7 * 86_400,
            Unit::Month => 30 * 86_400,
            Unit::Year => 365 * 86_400,
        }
    }

    /// Days and longer keep the wall clock; hours and shorter are exact.
    pub const fn keeps_the_wall_clock(self) -> bool {
        matches!(self, Unit::Day | Unit::Week | Unit::Month | Unit::Year)
    }

    /// `Err`: the unit that was probably meant.
    fn read(word: &str) -> Result<Unit, Option<Unit>> {
        if let Some(unit) = Unit::ALL.iter().find(|unit| word.strip_suffix('s').unwrap_or(word) == unit.word()) {
            return Ok(*unit);
        }
        let short = match word {
            "s" | "sec" | "secs" => Some(Unit::Second),
            "m" | "min" | "mins" => Some(Unit::Minute),
            "h" | "hr" | "hrs" => Some(Unit::Hour),
            "d" => Some(Unit::Day),
            "w" | "wk" | "wks" => Some(Unit::Week),
            "mo" | "mon" => Some(Unit::Month),
            "y" | "yr" | "yrs" => Some(Unit::Year),
            _ => nearest(word.strip_suffix('s').unwrap_or(word), Unit::ALL.iter().map(|unit| unit.word()))
                .and_then(|near| Unit::ALL.iter().find(|unit| unit.word() == near).copied()),
        };
        Err(short)
    }
}

impl Duration {
    /// So many days.
    pub const fn days(count: u32) -> Self {
        Duration { count, unit: Unit::Day }
    }

    /// Reads `3 days`: a whole number from 1 and one unit, with a space between.
    pub fn read(text: &str) -> Result<Duration, String> {
        let example = "write a whole number and a unit, like `3 days`";
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, word) = text.split_at(digits);
        if number.is_empty() {
            return Err(format!("`{text}` is no duration; {example}"));
        }
        if word.trim().is_empty() {
            return Err(format!("`{text}` has no unit; {example}"));
        }
        if word.starts_with(['.', ',']) {
            return Err(format!("`{text}` is no whole number of anything; take a smaller unit, like `90 minutes` for an hour and a half"));
        }
        let unit = Unit::read(word.trim()).map_err(|meant| match meant {
            Some(unit) => {
                format!("`{text}` is no duration; did you mean `{number} {}{}`?", unit.word(), if number == "1" { "" } else { "s" })
            }
            None => format!("`{}` is no unit of time; units are seconds, minutes, hours, days, weeks, months and years", word.trim()),
        })?;
        if !word.starts_with(' ') {
            return Err(format!("`{text}` lacks a space; write `{number} {}`", word.trim()));
        }
        let count = whole(number)?;
        if count == 0 {
            return Err(format!("`{text}` is no time at all; the least is `1 {}`", unit.word()));
        }
        if count.saturating_mul(unit.seconds() as u64) > 200 * Unit::Year.seconds() as u64 {
            return Err(format!("`{text}` is longer than 200 years"));
        }
        Ok(Duration { count: count as u32, unit })
    }

    /// Nominal length in seconds (a month is 30 days, a year 365); exact for weeks and shorter where no clock is changed.
    pub const fn seconds(self) -> i64 {
        self.count as i64 * self.unit.seconds()
    }

    /// The local time so much later. 31 January + 1 month is 28 or 29 February.
    pub fn after(self, local: NaiveDateTime) -> NaiveDateTime {
        match self.months() {
            Some(months) => local.checked_add_months(Months::new(months)),
            None => local.checked_add_signed(self.delta()),
        }
        .unwrap_or(NaiveDateTime::MAX)
    }

    /// The local time so much earlier. 31 March − 1 month is 28 or 29 February.
    pub fn before(self, local: NaiveDateTime) -> NaiveDateTime {
        match self.months() {
            Some(months) => local.checked_sub_months(Months::new(months)),
            None => local.checked_sub_signed(self.delta()),
        }
        .unwrap_or(NaiveDateTime::MIN)
    }

    /// The instant so much later: exact for hours and shorter, by the zone's wall clock for days and longer.
    pub fn added(self, instant: Time, zone: Tz) -> Time {
        if self.unit.keeps_the_wall_clock() {
            dates::resolve(zone, self.after(instant.with_timezone(&zone).naive_local()))
        } else {
            instant.checked_add_signed(self.delta()).unwrap_or(Time::MAX_UTC)
        }
    }

    /// The instant so much earlier; as [`Duration::added`].
    pub fn subtracted(self, instant: Time, zone: Tz) -> Time {
        if self.unit.keeps_the_wall_clock() {
            dates::resolve(zone, self.before(instant.with_timezone(&zone).naive_local()))
        } else {
            instant.checked_sub_signed(self.delta()).unwrap_or(Time::MIN_UTC)
        }
    }

    fn months(self) -> Option<u32> {
        match self.unit {
            Unit::Month => Some(self.count),
            Unit::Year => Some(self.count.saturating_mul(12)),
            _ => None,
        }
    }

    fn delta(self) -> TimeDelta {
        TimeDelta::try_seconds(self.seconds()).unwrap_or(TimeDelta::MAX)
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}{}", self.count, self.unit.word(), if self.count == 1 { "" } else { "s" })
    }
}

impl Rate {
    /// Reads `300 per minute`.
    pub fn read(text: &str) -> Result<Rate, String> {
        let example = "write it like `300 per minute`";
        let mut words = text.split_whitespace();
        let (Some(number), Some("per"), Some(unit), None) = (words.next(), words.next(), words.next(), words.next()) else {
            return Err(format!("`{text}` is no rate; {example}"));
        };
        let count = whole(number).map_err(|why| format!("{why}; {example}"))?;
        let per = match unit {
            "second" => Unit::Second,
            "minute" => Unit::Minute,
            "hour" => Unit::Hour,
            "day" => Unit::Day,
            _ => return Err(format!("a rate is per second, minute, hour or day, not per `{unit}`")),
        };
        match u32::try_from(count) {
            Ok(0) => Err(format!("`{text}` would send nothing; the least is 1")),
            Ok(count) => Ok(Rate { count, per }),
            Err(_) => Err(format!("`{text}` is too fast to mean anything")),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} per {}", self.count, self.per.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        match (Duration::read(text), expected) {
            (Ok(duration), Ok(expected)) => assert_eq!(duration.to_string(), expected),
            (Err(why), Err(expected)) => assert!(why.contains(expected), "{text}: {why}"),
            (read, expected) => panic!("{text}: {read:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn durations_are_a_whole_number_and_a_unit() {
        check("30 minutes", Ok("30 minutes"));
        check("1 day", Ok("1 day"));
        check("3 months", Ok("3 months"));
        check("7d", Err("did you mean `7 days`"));
        check("7days", Err("write `7 days`"));
        check("7 dais", Err("did you mean `7 days`"));
        check("2 fortnights", Err("no unit of time"));
        check("3", Err("has no unit"));
        check("1.5 hours", Err("smaller unit"));
        check("0 days", Err("the least"));
        check("99999999999999999999 days", Err("too large"));
        check("4000000000 years", Err("200 years"));
        check("", Err("no duration"));
    }

    #[test]
    fn days_and_longer_keep_the_wall_clock() {
        let local = |text: &str| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap();
        let read = |text: &str| Duration::read(text).unwrap();
        assert_eq!(read("1 month").after(local("2027-01-31 10:00")), local("2027-02-28 10:00"));
        assert_eq!(read("1 year").after(local("2028-02-29 10:00")), local("2029-02-28 10:00"));
        assert_eq!(read("1 month").before(local("2027-03-31 10:00")), local("2027-02-28 10:00"));
        let kyiv = chrono_tz::Europe::Kyiv;
        let before_spring: Time = "2027-03-27T10:00:00Z".parse().unwrap();
        assert_eq!(read("1 day").added(before_spring, kyiv), "2027-03-28T09:00:00Z".parse::<Time>().unwrap());
        assert_eq!(read("24 hours").added(before_spring, kyiv), "2027-03-28T10:00:00Z".parse::<Time>().unwrap());
        assert_eq!(read("200 years").after(NaiveDateTime::MAX), NaiveDateTime::MAX);
    }

    #[test]
    fn rates_have_a_period() {
        assert_eq!(Rate::read("300 per minute").unwrap().to_string(), "300 per minute");
        assert!(Rate::read("300/min").unwrap_err().contains("300 per minute"));
        assert!(Rate::read("300 per week").unwrap_err().contains("per second, minute, hour or day"));
        assert!(Rate::read("0 per day").is_err());
    }
}
