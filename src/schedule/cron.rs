//! Cron expressions of five fields, by cronie's rules (standards.md §8.1).
//!
//! Written here and not taken from the crate `cron`: that one is Quartz's dialect (six fields, 1 is Sunday), joins the two day fields
//! with *and*, loses the day of a clock change, and its errors do not say where in the expression the fault is.

use super::error::Token;
use super::{Calendar, Error};
use chrono::{Datelike, NaiveDate, NaiveTime, Timelike};

/// A cron expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    minutes: Field,
    hours: Field,
    days: Field,
    months: Field,
    /// 0 is Sunday.
    weekdays: Field,
}

/// One field: which values match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Field {
    /// Bit N: the value N matches.
    values: u64,
    /// It begins with `*` (or is `?`): of the two day fields, such a one restricts together with the other, not beside it.
    open: bool,
    /// It has a wildcard or a step.
    repeats: bool,
}

impl Field {
    fn has(self, value: u32) -> bool {
        value < 64 && self.values >> value & 1 == 1
    }
    /// The smallest value at or above this one.
    fn from(self, value: u32) -> Option<u32> {
        let rest = if value < 64 { self.values >> value << value } else { 0 };
        (rest != 0).then(|| rest.trailing_zeros())
    }
}

/// What a field may hold.
struct Kind {
    name: &'static str,
    low: u32,
    high: u32,
    names: &'static [&'static str],
}

const KINDS: [Kind; 5] = [
    Kind { name: "minute", low: 0, high: 59, names: &[] },
    Kind { name: "hour", low: 0, high: 23, names: &[] },
    Kind { name: "day of the month", low: 1, high: 31, names: &[] },
    Kind { name: "month", low: 1, high: 12, names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"] },
    Kind { name: "day of the week", low: 0, high: 7, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] },
];

const FIELDS: &str = "write five fields: minute, hour, day of the month, month, day of the week, for example `0 10 * * MON`";

impl Cron {
    /// Reads five fields, or `@hourly`, `@daily`, `@midnight`, `@weekly`, `@monthly`, `@yearly`, `@annually`.
    pub fn read(text: &str) -> Result<Cron, Error> {
        let tokens = Token::all(text);
        if let Some(word) = tokens.first().filter(|word| word.text.starts_with('@')) {
            return Self::nickname(text, word, tokens.get(1));
        }
        if let Some(extra) = tokens.get(5) {
            let help = "this is `cron` with five fields; an expression that begins with seconds is written under `quartz`";
            return Err(Error::new(extra.range(), "one field too many", help));
        }
        let [minutes, hours, days, months, weekdays] = tokens.as_slice() else {
            return Err(Error::new(0..text.len(), format!("{} of five fields", tokens.len()), FIELDS));
        };
        let cron = Cron {
            minutes: field(*minutes, &KINDS[0])?,
            hours: field(*hours, &KINDS[1])?,
            days: field(*days, &KINDS[2])?,
            months: field(*months, &KINDS[3])?,
            weekdays: sunday_is_0(field(*weekdays, &KINDS[4])?),
        };
        if !cron.ever_fires() {
            let help = "no month that it names has that day; write a day that exists";
            return Err(Error::new(days.start..weekdays.range().end, "this date never comes", help));
        }
        Ok(cron)
    }

    fn nickname(text: &str, word: &Token, extra: Option<&Token>) -> Result<Cron, Error> {
        if let Some(extra) = extra {
            return Err(Error::new(extra.start..text.trim_end().len(), format!("nothing can follow {}", word.text), "write it alone"));
        }
        match word.text.to_ascii_lowercase().as_str() {
            "@hourly" => Cron::read("0 * * * *"),
            "@daily" | "@midnight" => Cron::read("0 0 * * *"),
            "@weekly" => Cron::read("0 0 * * 0"),
            "@monthly" => Cron::read("0 0 1 * *"),
            "@yearly" | "@annually" => Cron::read("0 0 1 1 *"),
            "@reboot" => Err(Error::new(word.range(), "@reboot is no time", "a campaign starts by the clock; write when")),
            _ => {
                let help = "known are @hourly, @daily, @weekly, @monthly and @yearly";
                Err(Error::new(word.range(), format!("`{}` is unknown", word.text), help))
            }
        }
    }

    /// True when the hour field has a wildcard or a step: it then fires on every real minute that matches.
    pub fn follows_the_clock(&self) -> bool {
        self.hours.repeats
    }

    fn matches_date(&self, date: NaiveDate) -> bool {
        if !self.months.has(date.month()) {
            return false;
        }
        let day = self.days.has(date.day());
        let weekday = self.weekdays.has(date.weekday().num_days_from_sunday());
        if self.days.open || self.weekdays.open { day && weekday } else { day || weekday }
    }

    /// The Gregorian calendar repeats itself after 400 years. Most expressions match within the first week or month of it.
    fn ever_fires(&self) -> bool {
        NaiveDate::from_ymd_opt(2000, 1, 1).is_some_and(|start| start.iter_days().take(146_097).any(|date| self.matches_date(date)))
    }
}

impl Calendar for Cron {
    fn fires_on(&self, date: NaiveDate, _counted_from: NaiveDate) -> bool {
        self.matches_date(date)
    }

    fn time_from(&self, time: NaiveTime) -> Option<NaiveTime> {
        let started = u32::from(time.second() > 0 || time.nanosecond() > 0);
        let (hour, minute) = (time.hour(), time.minute() + started);
        if self.hours.has(hour)
            && let Some(minute) = self.minutes.from(minute)
        {
            return NaiveTime::from_hms_opt(hour, minute, 0);
        }
        NaiveTime::from_hms_opt(self.hours.from(hour + 1)?, self.minutes.from(0)?, 0)
    }

    fn is_fixed(&self) -> bool {
        !self.follows_the_clock()
    }
}

/// 7 is Sunday as well.
fn sunday_is_0(field: Field) -> Field {
    Field { values: (field.values | field.values >> 7) & 0x7f, ..field }
}

fn field(token: Token, kind: &Kind) -> Result<Field, Error> {
    let day = kind.name.starts_with("day");
    if token.text == "?" && day {
        return Ok(Field { values: span(kind.low, kind.high, 1), open: true, repeats: true });
    }
    let mut found = Field { values: 0, open: token.text.starts_with('*'), repeats: token.text.contains(['*', '/']) };
    for part in token.split(',') {
        found.values |= item(part, kind)?;
    }
    Ok(found)
}

/// `*`, `5`, `MON`, `1-5`, each with `/STEP` or without.
fn item(part: Token, kind: &Kind) -> Result<u64, Error> {
    let mut halves = part.split('/');
    let range = halves.next().unwrap_or(part);
    let step = halves.next();
    if let Some(more) = halves.next() {
        return Err(Error::new(more.range(), "a second step", "write one `/`, for example `*/15`"));
    }
    let (low, high) = if range.text == "*" {
        (kind.low, kind.high)
    } else {
        let mut ends = range.split('-');
        let first = ends.next().unwrap_or(range);
        let low = value(first, kind)?;
        match (ends.next(), ends.next()) {
            (None, _) if step.is_some() => (low, kind.high),
            (None, _) => (low, low),
            (Some(last), None) => (low, value(last, kind)?),
            (Some(_), Some(_)) => return Err(Error::new(range.range(), "a range has two ends", "write it like `1-5`")),
        }
    };
    if low > high {
        let help = format!("in `cron` a range goes upwards; write two parts, for example `{low}-{},{}-{high}`", kind.high, kind.low);
        return Err(Error::new(range.range(), format!("the range `{}` goes backwards", range.text), help));
    }
    let step = step.map_or(Ok(1), |step| step_of(step, kind))?;
    Ok(span(low, high, step))
}

fn step_of(token: Token, kind: &Kind) -> Result<u32, Error> {
    let most = kind.high - kind.low + 1;
    match token.text.parse::<u32>() {
        Ok(step) if (1..=most).contains(&step) && token.text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(step),
        _ => {
            let help = format!("a step of the {} is a number from 1 to {most}; it starts anew in each field", kind.name);
            Err(Error::new(token.range(), format!("`{}` is no step here", token.text), help))
        }
    }
}

fn value(token: Token, kind: &Kind) -> Result<u32, Error> {
    if let Some(index) = kind.names.iter().position(|name| name.eq_ignore_ascii_case(token.text)) {
        return Ok(index as u32 + kind.low.min(1));
    }
    let digits = !token.text.is_empty() && token.text.bytes().all(|byte| byte.is_ascii_digit());
    match token.text.parse::<u32>() {
        Ok(number) if digits && (kind.low..=kind.high).contains(&number) => Ok(number),
        _ => Err(Error::new(token.range(), format!("`{}` is no {}", token.text, kind.name), expected(token.text, digits, kind))),
    }
}

fn expected(text: &str, digits: bool, kind: &Kind) -> String {
    let names = match kind.names {
        [first, .., last] => format!(", or a name from {} to {}", first.to_uppercase(), last.to_uppercase()),
        _ => String::new(),
    };
    let quartz = !digits && text.contains(['L', 'W', '#', '?']);
    let hint = if quartz { "; `L`, `W`, `#` and `?` belong to `quartz`, or to `every: month on last day at 18:00`" } else { "" };
    format!("the {} is a number from {} to {}{names}{hint}", kind.name, kind.low, kind.high)
}

fn span(low: u32, high: u32, step: u32) -> u64 {
    (low..=high).step_by(step.max(1) as usize).fold(0, |values, value| values | 1 << value)
}
