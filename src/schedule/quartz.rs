//! Quartz expressions: second, minute, hour, day of the month, month, day of the week, and a year where wanted (standards.md §8.1).
//!
//! The week is 1 to 7 from Sunday, ranges may go round the end, exactly one of the two day fields is `?`, and days can be counted from
//! the end of the month (`L`, `L-3`), taken as the nearest working day (`15W`, `LW`), or as a weekday of the month (`6#3`, `6L`). A month
//! without that day is left out.

use super::error::Token;
use super::every::{MonthDay, last_day};
use super::fields::{Field, Kind, MONTHS, Times, WEEKDAYS, field, item, value, written};
use super::{Calendar, Error};
use chrono::{Datelike, NaiveDate, NaiveTime, Weekday};
use std::collections::BTreeSet;

/// A Quartz expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quartz {
    times: Times,
    days: Days,
    months: Field,
    /// `None`: every year.
    years: Option<BTreeSet<i32>>,
}

/// Which days of a month: one of these suffices.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Days {
    /// Days of the month 1 to 31, as bits.
    numbers: u64,
    /// Days of the week, as bits; 1 is Sunday.
    weekdays: u64,
    special: Vec<Special>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Special {
    /// So many days before the last one.
    BeforeLast(u32),
    /// The working day nearest to so many days before the last one, in the same month.
    WorkingDayBeforeLast(u32),
    /// The working day nearest to this day, in the same month.
    WorkingDayNear(u32),
    Of(MonthDay),
}

const fn kind(name: &'static str, low: u32, high: u32, names: &'static [&'static str]) -> Kind {
    Kind { name, low, high, names, wraps: true }
}

const TIMES: [Kind; 3] = [kind("second", 0, 59, &[]), kind("minute", 0, 59, &[]), kind("hour", 0, 23, &[])];
const DAY: Kind = kind("day of the month", 1, 31, &[]);
const MONTH: Kind = kind("month", 1, 12, MONTHS);
const WEEKDAY: Kind = kind("day of the week", 1, 7, WEEKDAYS);
const YEAR: Kind = Kind { name: "year", low: 1970, high: 2199, names: &[], wraps: false };

const FIELDS: &str = "write second, minute, hour, day of the month, month, day of the week, and a year if it is wanted; \
                      for example `0 0 10 ? * MON#1`";

impl Quartz {
    /// Reads six fields, or seven with a year.
    pub fn read(text: &str) -> Result<Quartz, Error> {
        let tokens = Token::all(text);
        if let Some(extra) = tokens.get(7) {
            return Err(Error::new(extra.range(), "one field too many", FIELDS));
        }
        let [seconds, minutes, hours, days, months, weekdays, year @ ..] = tokens.as_slice() else {
            let help = if tokens.len() == 5 { "five fields are written under `cron`; Quartz begins with the second" } else { FIELDS };
            return Err(Error::new(0..text.len(), format!("{} of six or seven fields", tokens.len()), help));
        };
        let quartz = Quartz {
            times: Times { seconds: clock(*seconds, 0)?, minutes: clock(*minutes, 1)?, hours: clock(*hours, 2)? },
            days: Days::read(*days, *weekdays)?,
            months: without_question(*months, &MONTH)?,
            years: year.first().map_or(Ok(None), |year| years(*year))?,
        };
        let place = days.start..tokens.last().map_or(days.start, |last| last.range().end);
        match &quartz.years {
            None => super::comes_often_enough(|date| quartz.matches_date(date), place)?,
            Some(years) => {
                let first = |year: i32| NaiveDate::from_ymd_opt(year, 1, 1).into_iter();
                let mut dates =
                    years.iter().flat_map(|year| first(*year).flat_map(|first| first.iter_days().take_while(|d| d.year() == *year)));
                if !dates.any(|date| quartz.matches_date(date)) {
                    return Err(Error::new(place, "this date never comes", "none of its months has that day in these years"));
                }
            }
        }
        Ok(quartz)
    }

    /// True when the hour field has a wildcard or a step: it then fires on every real time that matches.
    pub fn follows_the_clock(&self) -> bool {
        self.times.follow_the_clock()
    }

    fn matches_date(&self, date: NaiveDate) -> bool {
        self.months.has(date.month())
            && self.years.as_ref().is_none_or(|years| years.contains(&date.year()))
            && (self.days.numbers >> date.day() & 1 == 1
                || self.days.weekdays >> date.weekday().number_from_sunday() & 1 == 1
                || self.days.special.iter().any(|special| special.is(date)))
    }
}

impl Calendar for Quartz {
    fn fires_on(&self, date: NaiveDate, _counted_from: NaiveDate) -> bool {
        self.matches_date(date)
    }

    fn time_from(&self, time: NaiveTime) -> Option<NaiveTime> {
        self.times.from(time)
    }

    fn is_fixed(&self) -> bool {
        !self.follows_the_clock()
    }

    fn last_date(&self) -> Option<NaiveDate> {
        self.years.as_ref().and_then(|years| NaiveDate::from_ymd_opt(*years.last()?, 12, 31))
    }
}

impl Special {
    fn is(self, date: NaiveDate) -> bool {
        let last = last_day(date);
        let working = |day: u32| nearest_working_day(date, day, last);
        match self {
            Special::BeforeLast(days) => last.checked_sub(days) == Some(date.day()),
            Special::WorkingDayBeforeLast(days) => last.checked_sub(days).filter(|day| *day > 0).and_then(working) == Some(date.day()),
            Special::WorkingDayNear(day) => day <= last && working(day) == Some(date.day()),
            Special::Of(day) => day.is(date),
        }
    }
}

/// Saturday becomes the Friday before, Sunday the Monday after; at the ends of the month the other side, so that it stays in the month.
fn nearest_working_day(month: NaiveDate, day: u32, last: u32) -> Option<u32> {
    Some(match month.with_day(day)?.weekday() {
        Weekday::Sat if day == 1 => 3,
        Weekday::Sat => day - 1,
        Weekday::Sun if day == last => day - 2,
        Weekday::Sun => day + 1,
        _ => day,
    })
}

impl Days {
    fn read(days: Token, weekdays: Token) -> Result<Days, Error> {
        let mut found = Days { numbers: 0, weekdays: 0, special: Vec::new() };
        match (days.text == "?", weekdays.text == "?") {
            (true, true) => {
                let help = "write `*` in one of the two for every day";
                return Err(Error::new(days.start..weekdays.range().end, "both day fields are `?`", help));
            }
            (false, false) => {
                let help = "Quartz takes one of them: write `?` for the day of the month or for the day of the week";
                return Err(Error::new(days.start..weekdays.range().end, "both day fields say something", help));
            }
            (false, true) => days.split(',').try_for_each(|part| found.day(part))?,
            (true, false) => weekdays.split(',').try_for_each(|part| found.weekday(part))?,
        }
        Ok(found)
    }

    /// `15`, `L`, `L-3`, `LW`, `L-3W`, `15W`, ranges and steps.
    fn day(&mut self, part: Token) -> Result<(), Error> {
        let upper = part.text.to_ascii_uppercase();
        let working = upper.strip_suffix('W');
        if let Some(rest) = working.unwrap_or(&upper).strip_prefix('L') {
            let days = match rest.strip_prefix('-') {
                None if rest.is_empty() => Some(0),
                Some(days) if days.bytes().all(|byte| byte.is_ascii_digit()) => days.parse::<u32>().ok().filter(|days| *days <= 30),
                _ => None,
            };
            let help = "write `L` for the last day, `L-3` for three days before it, `LW` for the last working day";
            let days = days.ok_or_else(|| Error::new(part.range(), format!("`{}` is no day of the month", part.text), help))?;
            self.special.push(if working.is_some() { Special::WorkingDayBeforeLast(days) } else { Special::BeforeLast(days) });
        } else if working.is_some() {
            let number = Token { text: &part.text[..part.text.len() - 1], ..part };
            self.special.push(Special::WorkingDayNear(value(number, &DAY)?));
        } else {
            self.numbers |= item(part, &DAY)?;
        }
        Ok(())
    }

    /// `2`, `MON`, `6L`, `FRIL`, `6#3`, `L` (Saturday), ranges and steps.
    fn weekday(&mut self, part: Token) -> Result<(), Error> {
        if part.text.eq_ignore_ascii_case("l") {
            self.weekdays |= 1 << 7;
        } else if let Some((_, _)) = part.text.split_once('#') {
            let mut halves = part.split('#');
            let (day, number) = (halves.next().unwrap_or(part), halves.next().unwrap_or(part));
            let day = weekday(value(day, &WEEKDAY)?);
            match number.text {
                "1" | "2" | "3" | "4" | "5" if halves.next().is_none() => {
                    let number = u32::from(number.text.as_bytes()[0] - b'0');
                    self.special.push(Special::Of(MonthDay::Nth(number, day)));
                }
                _ => {
                    let help = "a month has a first to a fifth of each weekday: `MON#1` is the first Monday";
                    return Err(Error::new(number.start..part.range().end, format!("`{}` is no count here", number.text), help));
                }
            }
        } else if part.text.len() > 1 && part.text.ends_with(['L', 'l']) {
            let day = Token { text: &part.text[..part.text.len() - 1], ..part };
            self.special.push(Special::Of(MonthDay::LastOf(weekday(value(day, &WEEKDAY)?))));
        } else {
            self.weekdays |= item(part, &WEEKDAY)?;
        }
        Ok(())
    }
}

/// 1 is Sunday.
fn weekday(number: u32) -> Weekday {
    (1..number).fold(Weekday::Sun, |day, _| day.succ())
}

fn clock(token: Token, place: usize) -> Result<Field, Error> {
    without_question(token, &TIMES[place])
}

fn without_question(token: Token, kind: &Kind) -> Result<Field, Error> {
    if token.text == "?" {
        return Err(Error::new(token.range(), format!("`?` is no {}", kind.name), "only one of the two day fields is `?`; write `*` here"));
    }
    field(token, kind)
}

/// `*` is every year.
fn years(token: Token) -> Result<Option<BTreeSet<i32>>, Error> {
    if token.text == "*" {
        return Ok(None);
    }
    let mut found = BTreeSet::new();
    for part in token.split(',') {
        let written = written(part, &YEAR)?;
        found.extend((written.low..=written.high).step_by(written.step as usize).filter_map(|year| i32::try_from(year).ok()));
    }
    Ok(Some(found))
}
