//! Cron expressions of five fields, by cronie's rules (standards.md §8.1).
//!
//! Written here and not taken from the crate `cron`: that one is Quartz's dialect (six fields, 1 is Sunday), joins the two day fields
//! with *and*, loses the day of a clock change, and its errors do not say where in the expression the fault is.

use super::error::Token;
use super::fields::{Field, Kind, MONTHS, Times, WEEKDAYS, field};
use super::{Calendar, Error};
use chrono::{Datelike, NaiveDate, NaiveTime};

/// A cron expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    pub(super) times: Times,
    days: Field,
    months: Field,
    /// 0 is Sunday.
    weekdays: Field,
}

const fn kind(name: &'static str, low: u32, high: u32, names: &'static [&'static str]) -> Kind {
    Kind { name, low, high, names, wraps: false }
}

/// For the samples that have seconds before the five fields.
#[cfg(test)]
pub(super) const SECOND: Kind = kind("second", 0, 59, &[]);
const KINDS: [Kind; 5] = [
    kind("minute", 0, 59, &[]),
    kind("hour", 0, 23, &[]),
    kind("day of the month", 1, 31, &[]),
    kind("month", 1, 12, MONTHS),
    kind("day of the week", 0, 7, WEEKDAYS),
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
            let help = "this is `cron` with five fields; an expression that begins with seconds is written under `quartz` (`schedule next --quartz`)";
            return Err(Error::new(extra.range(), "one field too many", help));
        }
        let [minutes, hours, days, months, weekdays] = tokens.as_slice() else {
            return Err(Error::new(0..text.len(), format!("{} of five fields", tokens.len()), FIELDS));
        };
        let cron = Cron {
            times: Times { seconds: Field::NOUGHT, minutes: field(*minutes, &KINDS[0])?, hours: field(*hours, &KINDS[1])? },
            days: field(*days, &KINDS[2])?,
            months: field(*months, &KINDS[3])?,
            weekdays: sunday_is_0(field(*weekdays, &KINDS[4])?),
        };
        super::comes_often_enough(|date| cron.matches_date(date), days.start..weekdays.range().end)?;
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
        self.times.follow_the_clock()
    }

    fn matches_date(&self, date: NaiveDate) -> bool {
        if !self.months.has(date.month()) {
            return false;
        }
        let day = self.days.has(date.day());
        let weekday = self.weekdays.has(date.weekday().num_days_from_sunday());
        if self.days.open || self.weekdays.open { day && weekday } else { day || weekday }
    }
}

impl Calendar for Cron {
    fn fires_on(&self, date: NaiveDate, _counted_from: NaiveDate) -> bool {
        self.matches_date(date)
    }

    fn time_from(&self, time: NaiveTime) -> Option<NaiveTime> {
        self.times.from(time)
    }

    fn is_fixed(&self) -> bool {
        !self.follows_the_clock()
    }
}

/// 7 is Sunday as well.
fn sunday_is_0(field: Field) -> Field {
    Field { values: (field.values | field.values >> 7) & 0x7f, ..field }
}
