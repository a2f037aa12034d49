//! Repetition in words: `6 hours`, `weekday at 09:00`, `2 weeks on monday at 10:00`, `month on last day at 18:00`.

use super::error::Token;
use super::{Calendar, Error};
use chrono::{Datelike, NaiveDate, NaiveTime, Weekday};

/// A repetition as written in `schedule.every`. `every` counts units from `from` (or from Monday, 3 January 2000).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Every {
    /// So many minutes of real time.
    Interval {
        minutes: u32,
    },
    Days {
        every: u32,
        time: NaiveTime,
    },
    /// On these days of the week, in every so many weeks; a week begins on Monday.
    Weeks {
        every: u32,
        days: Vec<Weekday>,
        time: NaiveTime,
    },
    Months {
        every: u32,
        on: Vec<MonthDay>,
        time: NaiveTime,
    },
    /// On a date of the year; 29 February is the 28th in other years.
    Years {
        every: u32,
        month: u32,
        day: u32,
        time: NaiveTime,
    },
}

/// A day of a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MonthDay {
    /// 1 to 31; in a shorter month its last day.
    Day(u32),
    Last,
    /// The first (1) to fifth (5) of a weekday; a month without a fifth is left out.
    Nth(u32, Weekday),
    LastOf(Weekday),
}

impl Calendar for Every {
    fn fires_on(&self, date: NaiveDate, counted_from: NaiveDate) -> bool {
        let monday = |date: NaiveDate| i64::from(date.num_days_from_ce()) - i64::from(date.weekday().num_days_from_monday());
        let months = |date: NaiveDate| i64::from(date.year()) * 12 + i64::from(date.month0());
        let counts = |every: u32, passed: i64| passed.rem_euclid(i64::from(every.max(1))) == 0;
        match self {
            Every::Interval { .. } => false,
            Every::Days { every, .. } => counts(*every, (date - counted_from).num_days()),
            Every::Weeks { every, days, .. } => days.contains(&date.weekday()) && counts(*every, (monday(date) - monday(counted_from)) / 7),
            Every::Months { every, on, .. } => on.iter().any(|day| day.is(date)) && counts(*every, months(date) - months(counted_from)),
            Every::Years { every, month, day, .. } => {
                date.month() == *month
                    && MonthDay::Day(*day).is(date)
                    && counts(*every, i64::from(date.year()) - i64::from(counted_from.year()))
            }
        }
    }

    fn time_from(&self, from: NaiveTime) -> Option<NaiveTime> {
        match self {
            Every::Interval { .. } => None,
            Every::Days { time, .. } | Every::Weeks { time, .. } | Every::Months { time, .. } | Every::Years { time, .. } => {
                (*time >= from).then_some(*time)
            }
        }
    }

    fn is_fixed(&self) -> bool {
        true
    }
}

impl MonthDay {
    pub(super) fn is(self, date: NaiveDate) -> bool {
        let last = last_day(date);
        match self {
            MonthDay::Day(day) => date.day() == day.min(last),
            MonthDay::Last => date.day() == last,
            MonthDay::Nth(number, weekday) => date.weekday() == weekday && date.day().div_ceil(7) == number,
            MonthDay::LastOf(weekday) => date.weekday() == weekday && date.day() + 7 > last,
        }
    }
}

pub(super) fn last_day(date: NaiveDate) -> u32 {
    (28..=31).rev().find(|day| date.with_day(*day).is_some()).unwrap_or(28)
}

/// What comes round more rarely is no repetition, but a date.
const MOST_YEARS: u32 = 40;
const FORMS: &str = "write for example `15 minutes`, `day at 10:00`, `weekday at 09:00`, `monday and thursday at 10:00`, \
                     `2 weeks on monday at 10:00`, `month on last day at 18:00` or `year on 12-24 at 10:00`";
const UNITS: &[&str] = &[
    "minute",
    "minutes",
    "hour",
    "hours",
    "day",
    "days",
    "weekday",
    "week",
    "weeks",
    "month",
    "months",
    "year",
    "years",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];
const WEEKDAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Mon),
    ("tuesday", Weekday::Tue),
    ("wednesday", Weekday::Wed),
    ("thursday", Weekday::Thu),
    ("friday", Weekday::Fri),
    ("saturday", Weekday::Sat),
    ("sunday", Weekday::Sun),
];
const ORDINALS: [&str; 6] = ["first", "second", "third", "fourth", "fifth", "last"];

impl Every {
    pub(super) fn read(text: &str) -> Result<Every, Error> {
        let mut words = Words { tokens: Token::all(text), next: 0, end: text.len() };
        let (count, counted) = words.count()?;
        let Some(unit) = words.take() else { return Err(words.missing("a unit or a day", FORMS)) };
        let every = match unit.text {
            "minute" | "minutes" => Every::Interval { minutes: count },
            "hour" | "hours" => match count.checked_mul(60) {
                Some(minutes) => Every::Interval { minutes },
                None => return Err(Error::new(0..text.len(), "that is too long", "write at most 9999 hours")),
            },
            "day" | "days" => Every::Days { every: count, time: words.at()? },
            "week" | "weeks" => {
                words.word("on", "`2 weeks on monday at 10:00`")?;
                let days = words.weekdays()?;
                Every::Weeks { every: count, days, time: words.at()? }
            }
            "month" | "months" => {
                words.word("on", "`month on 15 at 10:00` or `month on last day at 18:00`")?;
                let on = words.month_days()?;
                Every::Months { every: count, on, time: words.at()? }
            }
            "year" | "years" => {
                words.word("on", "`year on 12-24 at 10:00`")?;
                let (month, day) = words.date_of_year()?;
                Every::Years { every: count, month, day, time: words.at()? }
            }
            "weekday" if !counted => {
                let days = WEEKDAYS[..5].iter().map(|(_, day)| *day).collect();
                Every::Weeks { every: 1, days, time: words.at()? }
            }
            name if weekday(name).is_some() && !counted => {
                words.next -= 1;
                let days = words.weekdays()?;
                Every::Weeks { every: 1, days, time: words.at()? }
            }
            _ => return Err(unknown(unit, UNITS, FORMS)),
        };
        let most = match unit.text.trim_end_matches('s') {
            "day" => MOST_YEARS * 365,
            "week" => MOST_YEARS * 52,
            "month" => MOST_YEARS * 12,
            "year" => MOST_YEARS,
            _ => u32::MAX,
        };
        if count > most {
            let help = format!("write at most {most} {}", unit.text);
            return Err(Error::new(0..unit.range().end, "that is too long", help));
        }
        match words.take() {
            None => Ok(every),
            Some(extra) => Err(Error::new(extra.start..text.trim_end().len(), format!("`{}` is one word too many", extra.text), FORMS)),
        }
    }
}

fn weekday(name: &str) -> Option<Weekday> {
    WEEKDAYS.iter().find(|(word, _)| *word == name).map(|(_, day)| *day)
}

fn unknown(token: Token, known: &[&str], forms: &str) -> Error {
    let lower = token.text.to_lowercase();
    let nearest = known.iter().map(|word| (strsim::damerau_levenshtein(&lower, word), word)).min().filter(|(distance, _)| *distance <= 2);
    let help = nearest.map_or_else(|| forms.to_string(), |(_, word)| format!("did you mean `{word}`?"));
    Error::new(token.range(), format!("`{}` is not understood here", token.text), help)
}

/// The words of an expression, taken one by one.
struct Words<'a> {
    tokens: Vec<Token<'a>>,
    next: usize,
    end: usize,
}

impl<'a> Words<'a> {
    fn take(&mut self) -> Option<Token<'a>> {
        let token = self.tokens.get(self.next).copied();
        self.next += usize::from(token.is_some());
        token
    }

    fn missing(&self, what: &str, help: &str) -> Error {
        Error::new(self.end..self.end, format!("{what} is missing at the end"), help)
    }

    /// The number at the beginning (1 where there is none), and whether it is there.
    fn count(&mut self) -> Result<(u32, bool), Error> {
        let Some(first) = self.tokens.first().filter(|token| token.text.starts_with(|c: char| c.is_ascii_digit() || c == '-')) else {
            return Ok((1, false));
        };
        self.next = 1;
        match first.text.parse::<u32>() {
            Ok(count @ 1..=9999) => Ok((count, true)),
            _ => Err(Error::new(
                first.range(),
                format!("`{}` is no count", first.text),
                "write a whole number from 1 to 9999, a blank, and the unit",
            )),
        }
    }

    fn word(&mut self, word: &str, example: &str) -> Result<(), Error> {
        match self.take() {
            Some(token) if token.text == word => Ok(()),
            Some(token) => {
                Err(Error::new(token.range(), format!("`{word}` is expected before `{}`", token.text), format!("write it like {example}")))
            }
            None => Err(self.missing(&format!("`{word}`"), &format!("write it like {example}"))),
        }
    }

    /// `at 10:00`
    fn at(&mut self) -> Result<NaiveTime, Error> {
        self.word("at", "`day at 10:00`")?;
        let Some(token) = self.take() else { return Err(self.missing("the time", "write hours and minutes like `10:00`")) };
        let digits = token.text.len() == 5 && token.text.is_ascii();
        NaiveTime::parse_from_str(token.text, "%H:%M").ok().filter(|_| digits).ok_or_else(|| {
            Error::new(
                token.range(),
                format!("`{}` is no time", token.text),
                "write 24 hours with two digits each, like `09:00` or `18:30`",
            )
        })
    }

    /// Things joined by `and`, or by commas.
    fn list<T>(&mut self, mut one: impl FnMut(&mut Self, Token<'a>) -> Result<T, Error>, what: &str) -> Result<Vec<T>, Error> {
        let mut found = Vec::new();
        loop {
            let Some(token) = self.take() else { return Err(self.missing(what, FORMS)) };
            let bare = Token { text: token.text.trim_end_matches(','), ..token };
            found.push(one(self, bare)?);
            let comma = self.tokens.get(self.next - 1).is_some_and(|last| last.text.ends_with(','));
            let and = self.tokens.get(self.next).is_some_and(|token| token.text == "and");
            self.next += usize::from(and);
            if !and && !comma {
                return Ok(found);
            }
        }
    }

    /// `monday and thursday`, `monday to friday`
    fn weekdays(&mut self) -> Result<Vec<Weekday>, Error> {
        let days = self.list(
            |words, token| {
                if token.text == "weekday" {
                    return Ok(WEEKDAYS[..5].iter().map(|(_, day)| *day).collect::<Vec<_>>());
                }
                let first = weekday(token.text).ok_or_else(|| unknown(token, UNITS, "write a day of the week, like `monday`"))?;
                if words.tokens.get(words.next).is_none_or(|token| token.text != "to") {
                    return Ok(vec![first]);
                }
                words.next += 1;
                let Some(last) = words.take() else {
                    return Err(words.missing("the last day", "write it like `monday to friday at 10:00`"));
                };
                let last = Token { text: last.text.trim_end_matches(','), ..last };
                let last = weekday(last.text).ok_or_else(|| unknown(last, UNITS, "write a day of the week, like `friday`"))?;
                let days = std::iter::successors(Some(first), |day| (*day != last).then(|| day.succ()));
                Ok(days.collect())
            },
            "the day of the week",
        )?;
        let mut days: Vec<Weekday> = days.into_iter().flatten().collect();
        days.sort_by_key(Weekday::num_days_from_monday);
        days.dedup();
        Ok(days)
    }

    /// `15`, `last day`, `first monday`
    fn month_days(&mut self) -> Result<Vec<MonthDay>, Error> {
        const HELP: &str = "write a number from 1 to 31, `last day`, or a weekday like `first monday`";
        self.list(
            |words, token| {
                if token.text.bytes().all(|byte| byte.is_ascii_digit()) {
                    return match token.text.parse::<u32>() {
                        Ok(day @ 1..=31) => Ok(MonthDay::Day(day)),
                        _ => Err(Error::new(token.range(), format!("no month has a day `{}`", token.text), HELP)),
                    };
                }
                let Some(ordinal) = ORDINALS.iter().position(|word| *word == token.text) else {
                    return Err(unknown(token, &ORDINALS, HELP));
                };
                let Some(day) = words.take() else { return Err(words.missing("the day", HELP)) };
                let name = Token { text: day.text.trim_end_matches(','), ..day };
                match (ordinal, name.text, weekday(name.text)) {
                    (5, "day", _) => Ok(MonthDay::Last),
                    (5, _, Some(weekday)) => Ok(MonthDay::LastOf(weekday)),
                    (_, _, Some(weekday)) => Ok(MonthDay::Nth(ordinal as u32 + 1, weekday)),
                    (_, "day", _) => Err(Error::new(
                        token.start..name.range().end,
                        "only the last day is written so",
                        "write the day's number, like `month on 1 at 10:00`",
                    )),
                    _ => Err(unknown(name, UNITS, HELP)),
                }
            },
            "the day",
        )
    }

    /// `12-24`
    fn date_of_year(&mut self) -> Result<(u32, u32), Error> {
        const HELP: &str = "write month and day with two digits each, like `12-24`";
        let Some(token) = self.take() else { return Err(self.missing("the date", HELP)) };
        // 2000 is a leap year: 29 February can be written.
        let date = NaiveDate::parse_from_str(&format!("2000-{}", token.text), "%Y-%m-%d").ok().filter(|_| token.text.len() == 5);
        date.map(|date| (date.month(), date.day()))
            .ok_or_else(|| Error::new(token.range(), format!("`{}` is no date of the year", token.text), HELP))
    }
}
