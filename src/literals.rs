//! What marketers write as values: durations, money, shares, rates, words by language, types (files.md §1).
//!
//! A value is read as written and takes the type of its key or attribute; here are the types and their readers. The error of
//! every reader is a sentence for a marketer: what is wrong with the value, and how such a value is written.

pub mod codes;
mod dates;
mod durations;
mod money;
mod places;
mod ranges;

pub use codes::minor_digits;
pub use dates::{DateExpression, WrittenTime, date, local, resolve, time};
pub use money::{decimal, price};
pub use places::{COUNTRIES, LONGEST_CALLING_CODE, zone_of};
pub use ranges::{DateRange, HourRange, WeekdayRange, weekday};

use std::collections::BTreeMap;
use std::fmt;

/// A text, or one for each language.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Words(pub BTreeMap<String, String>);

impl Words {
    /// The key under which a text for all languages stands.
    pub const ALL: &'static str = "";
    pub fn of(text: impl Into<String>) -> Self {
        Words(BTreeMap::from([(Self::ALL.to_string(), text.into())]))
    }
    /// The words for the first language of `chain` that has some (see `campaigns::Workspace::language_chain`), else any.
    pub fn pick<'a>(&'a self, chain: &[String]) -> &'a str {
        self.pick_with_language(chain).1
    }
    /// As [`Words::pick`], after the language that they are written in ([`Words::ALL`] where they stand for all).
    pub fn pick_with_language<'a>(&'a self, chain: &[String]) -> (&'a str, &'a str) {
        self.0
            .get_key_value(Self::ALL)
            .or_else(|| chain.iter().find_map(|language| self.0.get_key_value(language)))
            .or_else(|| self.0.iter().next())
            .map_or((Self::ALL, ""), |(language, text)| (language, text))
    }
}

/// A duration as written: hours and less are exact, days and more keep the wall clock (files.md §1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duration {
    pub count: u32,
    pub unit: Unit,
}

/// A unit of time, from the shortest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

/// Money as written: minor units by the currency's ISO 4217 exponent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Money {
    pub minor: i64,
    pub currency: String,
}

/// A share in hundredths of a percent: `10%` is 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Share(pub u32);

/// So many in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub count: u32,
    pub per: Unit,
}

impl Rate {
    pub fn per_second(self) -> f64 {
        f64::from(self.count)
            / match self.per {
                Unit::Second => 1.0,
                Unit::Minute => 60.0,
                Unit::Hour => 3600.0,
                _ => 86400.0,
            }
    }
}

/// The type of an attribute or property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueType {
    Text,
    Number,
    Money,
    Boolean,
    Date,
    DateTime,
    /// The key of a row of this catalog.
    Catalog(String),
    List(Box<ValueType>),
    Nested(BTreeMap<String, ValueType>),
}

impl fmt::Display for ValueType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueType::Text => formatter.write_str("text"),
            ValueType::Number => formatter.write_str("number"),
            ValueType::Money => formatter.write_str("money"),
            ValueType::Boolean => formatter.write_str("boolean"),
            ValueType::Date => formatter.write_str("date"),
            ValueType::DateTime => formatter.write_str("datetime"),
            ValueType::Catalog(name) => formatter.write_str(name),
            ValueType::List(inner) => write!(formatter, "[ {inner} ]"),
            ValueType::Nested(fields) => {
                formatter.write_str("{ ")?;
                for (number, (name, inner)) in fields.iter().enumerate() {
                    write!(formatter, "{}{name}: {inner}", if number > 0 { ", " } else { "" })?;
                }
                formatter.write_str(" }")
            }
        }
    }
}

/// A whole number, written with digits only.
pub fn whole(text: &str) -> Result<u64, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("`{text}` is no whole number"));
    }
    text.parse().map_err(|_| format!("`{text}` is too large"))
}

/// `true` or `false`; other spellings get a hint.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ if matches!(text.to_lowercase().as_str(), "yes" | "on" | "true" | "1") => {
            Err(format!("`{text}` is neither true nor false; write `true`"))
        }
        _ if matches!(text.to_lowercase().as_str(), "no" | "off" | "false" | "0") => {
            Err(format!("`{text}` is neither true nor false; write `false`"))
        }
        _ => Err(format!("`{text}` is neither true nor false")),
    }
}
