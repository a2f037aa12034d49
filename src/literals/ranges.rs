//! Ranges: `21:00 to 09:00`, `monday to friday`, `2027-12-24 to 2027-12-26`.

use super::dates;
use crate::diagnostics::nearest;
use chrono::{Datelike, NaiveDate, NaiveTime, Weekday};

/// Hours of a day, `from` included and `to` not; they may pass midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HourRange {
    pub from: NaiveTime,
    pub to: NaiveTime,
}

impl HourRange {
    pub fn read(text: &str) -> Result<HourRange, String> {
        let (from, to) = text.split_once(" to ").ok_or_else(|| format!("`{text}` is no range of hours; write `21:00 to 09:00`"))?;
        let range = HourRange { from: dates::time(from.trim())?, to: dates::time(to.trim())? };
        if range.from == range.to { Err(format!("`{text}` begins and ends at the same time")) } else { Ok(range) }
    }

    pub fn contains(self, time: NaiveTime) -> bool {
        if self.from < self.to { time >= self.from && time < self.to } else { time >= self.from || time < self.to }
    }
}

const WEEKDAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Mon),
    ("tuesday", Weekday::Tue),
    ("wednesday", Weekday::Wed),
    ("thursday", Weekday::Thu),
    ("friday", Weekday::Fri),
    ("saturday", Weekday::Sat),
    ("sunday", Weekday::Sun),
];

/// A day of the week, written out in English.
pub fn weekday(text: &str) -> Result<Weekday, String> {
    WEEKDAYS.iter().find(|(word, _)| *word == text).map(|(_, day)| *day).ok_or_else(|| {
        let short = WEEKDAYS.iter().find(|(word, _)| text.len() >= 3 && word.starts_with(&text.to_lowercase())).map(|(word, _)| *word);
        match short.or_else(|| nearest(text, WEEKDAYS.iter().map(|(word, _)| *word))) {
            Some(near) => format!("`{text}` is no day of the week; did you mean `{near}`?"),
            None => format!("`{text}` is no day of the week; write it out, like `monday`"),
        }
    })
}

/// Days of the week, both ends included; `friday to monday` goes over the weekend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeekdayRange {
    pub from: Weekday,
    pub to: Weekday,
}

impl WeekdayRange {
    pub fn read(text: &str) -> Result<WeekdayRange, String> {
        let (from, to) = text.split_once(" to ").unwrap_or((text, text));
        Ok(WeekdayRange { from: weekday(from.trim())?, to: weekday(to.trim())? })
    }

    pub fn contains(self, day: Weekday) -> bool {
        day.days_since(self.from) <= self.to.days_since(self.from)
    }
}

/// Dates, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DateRange {
    pub from: NaiveDate,
    pub to: NaiveDate,
}

impl DateRange {
    pub fn read(text: &str) -> Result<DateRange, String> {
        let (from, to) = text.split_once(" to ").unwrap_or((text, text));
        let range = DateRange { from: dates::date(from.trim())?, to: dates::date(to.trim())? };
        if range.from > range.to { Err(format!("`{text}` ends before it begins")) } else { Ok(range) }
    }

    pub fn contains(self, day: NaiveDate) -> bool {
        day.num_days_from_ce() >= self.from.num_days_from_ce() && day <= self.to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_include_what_they_should() {
        let night = HourRange::read("21:00 to 09:00").unwrap();
        let at = |text: &str| dates::time(text).unwrap();
        assert!(night.contains(at("21:00")) && night.contains(at("03:00")) && !night.contains(at("09:00")) && !night.contains(at("12:00")));
        let week = WeekdayRange::read("friday to monday").unwrap();
        assert!(week.contains(Weekday::Sun) && week.contains(Weekday::Mon) && !week.contains(Weekday::Tue));
        let feast = DateRange::read("2027-12-24 to 2027-12-26").unwrap();
        assert!(feast.contains(dates::date("2027-12-26").unwrap()) && !feast.contains(dates::date("2027-12-27").unwrap()));
        assert!(DateRange::read("2027-12-26 to 2027-12-24").is_err());
        assert!(weekday("mon").unwrap_err().contains("`monday`"));
        assert!(weekday("wendesday").unwrap_err().contains("`wednesday`"));
    }
}
