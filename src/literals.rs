//! What marketers write as values: durations, money, shares, rates, words by language, types (files.md §1).
//!
//! A value is read as written and takes the type of its key or attribute; here are the types and their readers.

use std::collections::BTreeMap;

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
        self.0
            .get(Self::ALL)
            .or_else(|| chain.iter().find_map(|language| self.0.get(language)))
            .or_else(|| self.0.values().next())
            .map_or("", String::as_str)
    }
}

/// A duration as written: hours and less are exact, days and more keep the wall clock (files.md §1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duration {
    pub count: u32,
    pub unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
