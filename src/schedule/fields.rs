//! Fields of cron and Quartz expressions: which values match, and how they are written. Both dialects have lists, ranges, steps and names;
//! they differ in whether a range may go round the end.

use super::Error;
use super::error::Token;
use chrono::{NaiveTime, Timelike};

/// One field: which values match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    /// Bit N: the value N matches.
    pub values: u64,
    /// It begins with `*` (or is `?`): of cron's two day fields, such a one restricts together with the other, not beside it.
    pub open: bool,
    /// It has a wildcard or a step.
    pub repeats: bool,
}

impl Field {
    pub const NOUGHT: Field = Field { values: 1, open: false, repeats: false };

    pub fn has(self, value: u32) -> bool {
        value < 64 && self.values >> value & 1 == 1
    }
    /// The smallest value at or above this one.
    fn from(self, value: u32) -> Option<u32> {
        let rest = if value < 64 { self.values >> value << value } else { 0 };
        (rest != 0).then(|| rest.trailing_zeros())
    }
}

/// What a field may hold.
pub(super) struct Kind {
    pub name: &'static str,
    pub low: u32,
    pub high: u32,
    pub names: &'static [&'static str],
    /// A range may go round the end: `22-2`, `FRI-MON`.
    pub wraps: bool,
}

pub(super) const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
pub(super) const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// The times of day at which an expression fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    pub seconds: Field,
    pub minutes: Field,
    pub hours: Field,
}

impl Times {
    /// The first one at or after `time`.
    pub fn from(self, time: NaiveTime) -> Option<NaiveTime> {
        let started = u32::from(time.nanosecond() > 0);
        let (hour, minute, second) = (time.hour(), time.minute(), time.second() + started);
        let first = self.seconds.from(0)?;
        if self.hours.has(hour) {
            if self.minutes.has(minute)
                && let Some(second) = self.seconds.from(second)
            {
                return NaiveTime::from_hms_opt(hour, minute, second);
            }
            if let Some(minute) = self.minutes.from(minute + 1) {
                return NaiveTime::from_hms_opt(hour, minute, first);
            }
        }
        NaiveTime::from_hms_opt(self.hours.from(hour + 1)?, self.minutes.from(0)?, first)
    }

    /// With a wildcard or a step in the hour field: it fires on every real time that matches.
    pub fn follow_the_clock(self) -> bool {
        self.hours.repeats
    }
}

/// Lists, ranges, steps, names; `?` is the same as `*`.
pub(super) fn field(token: Token, kind: &Kind) -> Result<Field, Error> {
    if token.text == "?" {
        return Ok(Field { values: span(kind.low, kind.high, 1), open: true, repeats: true });
    }
    let mut found = Field { values: 0, open: token.text.starts_with('*'), repeats: token.text.contains(['*', '/']) };
    for part in token.split(',') {
        found.values |= item(part, kind)?;
    }
    Ok(found)
}

/// `*`, `5`, `MON`, `1-5`, each with `/STEP` or without; the values as bits.
pub(super) fn item(part: Token, kind: &Kind) -> Result<u64, Error> {
    let Written { low, high, step, round } = written(part, kind)?;
    Ok(match round {
        None => span(low, high, step),
        // The steps go on over the end.
        Some(values) => (low..=high + values).step_by(step as usize).fold(0, |bits, at| {
            let value = if at > kind.high { at - values } else { at };
            bits | 1 << value
        }),
    })
}

/// An item as numbers; `round` is how many values the field has, for a range that goes over its end.
pub(super) struct Written {
    pub low: u32,
    pub high: u32,
    pub step: u32,
    round: Option<u32>,
}

pub(super) fn written(part: Token, kind: &Kind) -> Result<Written, Error> {
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
    if low > high && !kind.wraps {
        let help = format!("here a range goes upwards; write two parts, for example `{low}-{},{}-{high}`", kind.high, kind.low);
        return Err(Error::new(range.range(), format!("the range `{}` goes backwards", range.text), help));
    }
    let step = step.map_or(Ok(1), |step| step_of(step, kind))?;
    Ok(Written { low, high, step, round: (low > high).then_some(kind.high - kind.low + 1) })
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

pub(super) fn value(token: Token, kind: &Kind) -> Result<u32, Error> {
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
    let quartz = !digits && !kind.wraps && text.contains(['L', 'W', '#']);
    let hint = if quartz { "; `L`, `W` and `#` belong to `quartz`, or to `every: month on last day at 18:00`" } else { "" };
    format!("the {} is a number from {} to {}{names}{hint}", kind.name, kind.low, kind.high)
}

pub(super) fn span(low: u32, high: u32, step: u32) -> u64 {
    (low..=high).step_by(step.max(1) as usize).fold(0, |values, value| values | 1 << value)
}
