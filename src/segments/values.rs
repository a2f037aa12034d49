//! What a stored value is taken for. A value that is not of the wanted type is missing to the test; nothing fails.
//!
//! - a **text** is a JSON text; a **truth value** is true or false;
//! - a **number** is a JSON number between 1e-300 and 1e300 in size, or zero, as a double;
//! - **money** is a text like `500 UAH` or `0.45`, or a number, in the workspace's currency when none is written; converted by the
//!   workspace's rates to minor units of its currency, halves away from zero. Without a rate it is missing;
//! - a **date** is a text like `2027-03-01` (a day), `2027-03-01 10:00` (local) or `2027-03-01T10:00:00+02:00` (an instant), seconds and their
//!   fraction may stand there; read to the second.

use super::model::OwnField;
use crate::literals::{Money, minor_digits};
use chrono::NaiveDate;
use serde_json::Value;
use std::collections::BTreeMap;

/// Lower case without regard to neighbours, so that a part of a text stays a part of it.
pub fn lower_case(text: &str) -> String {
    if text.is_ascii() { text.to_ascii_lowercase() } else { text.chars().flat_map(char::to_lowercase).collect() }
}

/// The lower-cased copies that `contains` searches, as a JSON object: dotted path → text, only where lower case differs from what is written. Items of
/// lists go by their number from 0 (`items.0.title`). `None` when nothing differs.
pub fn folded<'a>(document: &Value, own: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> Option<String> {
    let mut copies = Copies { path: String::new(), json: String::new() };
    for (name, text) in own {
        if let Some(text) = text {
            copies.path.push_str(name);
            copies.fold(text);
            copies.path.clear();
        }
    }
    copies.collect(document);
    if copies.json.is_empty() {
        return None;
    }
    copies.json.push('}');
    Some(copies.json)
}

/// The copies found so far, and where in the document it is looked for more. Each path is met once.
struct Copies {
    path: String,
    json: String,
}

impl Copies {
    fn fold(&mut self, text: &str) {
        if text.is_ascii() && !text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return;
        }
        let lower = lower_case(text);
        if lower != text {
            self.json.push(if self.json.is_empty() { '{' } else { ',' });
            self.quote(None);
            self.json.push(':');
            self.quote(Some(&lower));
        }
    }

    /// Writes the path, or this text.
    fn quote(&mut self, text: Option<&str>) {
        let text = text.unwrap_or(&self.path);
        match text.bytes().any(|byte| byte < 0x20 || matches!(byte, b'"' | b'\\')) {
            true => self.json.push_str(&Value::from(text).to_string()),
            false => self.json.extend(["\"", text, "\""]),
        }
    }

    fn collect(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.fold(text),
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(number, item)| self.deeper(&number.to_string(), item));
            }
            Value::Object(fields) => {
                let outermost = self.path.is_empty();
                fields.iter().filter(|(name, _)| !is_out_of_reach(name, outermost)).for_each(|(name, value)| self.deeper(name, value));
            }
            _ => {}
        }
    }

    fn deeper(&mut self, name: &str, value: &Value) {
        let before = self.path.len();
        if before > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        self.collect(value);
        self.path.truncate(before);
    }
}

/// A key that no path can name (`a.b`) would be mistaken for another's path; an own field hides an attribute of its name.
fn is_out_of_reach(name: &str, outermost: bool) -> bool {
    name.is_empty() || name.contains(['.', '"', '\\']) || outermost && OwnField::from_word(name).is_some()
}

/// The largest size of a number; what is beyond is taken for no number.
pub const LARGEST: f64 = 1e300;
/// The smallest size of a number besides zero.
pub const SMALLEST: f64 = 1e-300;
/// The largest amount of money, in major units.
pub const LARGEST_AMOUNT: f64 = 1e13;

pub fn number(value: &Value) -> Option<f64> {
    value.as_f64().filter(|number| *number == 0.0 || (SMALLEST..=LARGEST).contains(&number.abs()))
}

/// The number that a text of a rule spells: no leading zeros, no exponent.
pub fn spelled_number(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').map_or((unsigned, None), |(whole, fraction)| (whole, Some(fraction)));
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let shaped = plain(whole) && (whole.len() == 1 || !whole.starts_with('0')) && fraction.is_none_or(plain);
    shaped.then(|| text.parse::<f64>().ok()).flatten().filter(|number| number.abs() <= LARGEST)
}

/// The workspace's currency and those that have a rate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Currencies {
    pub own: String,
    /// Code → minor units in a major one, and millionths of the own minor unit for one minor unit.
    pub factors: BTreeMap<String, (i64, i64)>,
}

impl Currencies {
    pub fn new(own: &str, rates: &BTreeMap<String, f64>) -> Self {
        let digits = |currency: &str| minor_digits(currency).unwrap_or(2);
        let mut factors = BTreeMap::new();
        for (currency, rate) in rates {
            let factor = rate * 10f64.powi(digits(own) as i32 - digits(currency) as i32) * 1e6;
            if (1.0..1e15).contains(&factor) {
                factors.insert(currency.clone(), (10i64.pow(digits(currency)), factor.round() as i64));
            }
        }
        factors.insert(own.to_string(), (10i64.pow(digits(own)), 1_000_000));
        Currencies { own: own.to_string(), factors }
    }

    /// Minor units of the own currency; `None` for a currency without a rate.
    pub fn convert(&self, money: &Money) -> Option<i64> {
        let (_, factor) = self.factors.get(&money.currency)?;
        i64::try_from(scaled(money.minor, *factor)).ok()
    }

    /// A stored value as minor units of the own currency.
    pub fn money(&self, value: &Value) -> Option<i128> {
        let (amount, currency) = match value {
            Value::Number(_) => (number(value)?, self.own.as_str()),
            Value::String(text) => amount(text)?,
            _ => return None,
        };
        let (unit, factor) = self.factors.get(if currency.is_empty() { self.own.as_str() } else { currency })?;
        if amount.abs() >= LARGEST_AMOUNT {
            return None;
        }
        let minor = (amount.abs() * *unit as f64 + 0.5).floor() as i64;
        Some(scaled(if amount < 0.0 { -minor } else { minor }, *factor))
    }
}

fn scaled(minor: i64, factor: i64) -> i128 {
    let size = (i128::from(minor.unsigned_abs()) * i128::from(factor) + 500_000) / 1_000_000;
    if minor < 0 { -size } else { size }
}

/// The amount and the currency (or nothing) of a text.
fn amount(text: &str) -> Option<(f64, &str)> {
    let (number, currency) = match text.split_once(' ') {
        Some((number, currency)) if currency.len() == 3 && currency.bytes().all(|byte| byte.is_ascii_uppercase()) => (number, currency),
        Some(_) => return None,
        None => (text, ""),
    };
    let (whole, fraction) = number
        .strip_prefix('-')
        .unwrap_or(number)
        .split_once('.')
        .map_or_else(|| (number.strip_prefix('-').unwrap_or(number), None), |(whole, fraction)| (whole, Some(fraction)));
    let digits = |part: &str, most: usize| (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    (digits(whole, 13) && fraction.is_none_or(|fraction| digits(fraction, 9))).then_some(())?;
    Some((number.parse().ok()?, currency))
}

/// A stored date, in microseconds; a day and a local time are counted as if they were in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredDate {
    Day(i64),
    Local(i64),
    Instant(i64),
}

pub const DAY: i64 = 86_400_000_000;

/// The date of a stored value.
pub fn date(value: &Value) -> Option<StoredDate> {
    date_of(value.as_str()?)
}

/// `YYYY-MM-DD`, then maybe `T` or a blank and `HH:MM`, `:SS`, `.fraction`, then maybe `Z` or `+HH:MM` (14 hours at most).
pub fn date_of(text: &str) -> Option<StoredDate> {
    if !text.is_ascii() {
        return None;
    }
    let two = |part: &str| (part.len() == 2).then(|| digits(part)).flatten();
    let (day, rest) = text.split_at_checked(10)?;
    let (year, month) = (digits(day.get(0..4)?)?, two(day.get(5..7)?)?);
    (day.get(4..5)? == "-" && day.get(7..8)? == "-").then_some(())?;
    let days = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, two(day.get(8..10)?)?)?;
    let micros = days.and_hms_opt(0, 0, 0)?.and_utc().timestamp_micros();
    if rest.is_empty() {
        return Some(StoredDate::Day(micros));
    }
    let (clock, offset) = if let Some(clock) = rest.strip_suffix('Z') {
        (clock, Some(0))
    } else if let Some((clock, offset)) = rest.len().checked_sub(6).and_then(|at| rest.split_at_checked(at))
        && let Some(sign) = offset.strip_prefix('+').map(|_| 1).or_else(|| offset.strip_prefix('-').map(|_| -1))
        && offset.get(3..4) == Some(":")
    {
        let (hours, minutes) = (two(&offset[1..3])?, two(&offset[4..6])?);
        (hours < 15 && minutes < 60).then_some(())?;
        (clock, Some(sign * i64::from(hours * 60 + minutes) * 60))
    } else {
        (rest, None)
    };
    matches!(clock.get(0..1)?, "T" | " ").then_some(())?;
    (clock.get(3..4)? == ":").then_some(())?;
    let (hour, minute) = (two(clock.get(1..3)?)?, two(clock.get(4..6)?)?);
    let second = match clock.get(6..)? {
        "" => 0,
        seconds => {
            let second = two(seconds.strip_prefix(':')?.get(0..2)?)?;
            if let Some(fraction) = seconds.get(3..).filter(|fraction| !fraction.is_empty()) {
                let fraction = fraction.strip_prefix('.')?;
                ((1..=9).contains(&fraction.len()) && fraction.bytes().all(|byte| byte.is_ascii_digit())).then_some(())?;
            }
            second
        }
    };
    (hour < 24 && minute < 60 && second < 60).then_some(())?;
    let micros = micros + i64::from(hour * 3600 + minute * 60 + second) * 1_000_000;
    Some(match offset {
        Some(offset) => StoredDate::Instant(micros - offset * 1_000_000),
        None => StoredDate::Local(micros),
    })
}

fn digits(part: &str) -> Option<u32> {
    part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn dates_are_read_in_their_forms_and_nothing_else_is_a_date() {
        let hour = 3_600_000_000;
        let day = 20_879 * DAY; // 2027-03-02
        for (text, expected) in [
            ("2027-03-02", Some(StoredDate::Day(day))),
            ("2027-03-02 10:00", Some(StoredDate::Local(day + 10 * hour))),
            ("2027-03-02T10:00:30.123", Some(StoredDate::Local(day + 10 * hour + 30_000_000))),
            ("2027-03-02T10:00Z", Some(StoredDate::Instant(day + 10 * hour))),
            ("2027-03-02T10:00:00+02:00", Some(StoredDate::Instant(day + 8 * hour))),
            ("2027-03-02T10:00:00-02:30", Some(StoredDate::Instant(day + 12 * hour + hour / 2))),
            ("2027-02-29", None),
            ("2027-3-2", None),
            ("2027-03-02T", None),
            ("2027-03-02Z", None),
            ("2027-03-02+02:00", None),
            ("2027-03-02T24:00", None),
            ("2027-03-02T10:00+14:00", Some(StoredDate::Instant(day - 4 * hour))),
            ("2027-03-02T10:00+15:00", None),
            ("2027-03-02T10:00:60", None),
            ("2027-03-02T10:00:00.", None),
            ("2027-03-02T10:00 Z", None),
            ("+027-03-02", None),
            ("сегодня", None),
            ("", None),
        ] {
            assert_eq!(date_of(text), expected, "{text}");
        }
    }

    #[test]
    fn money_is_converted_and_rounded_halves_away_from_zero() {
        let currencies = Currencies::new("UAH", &BTreeMap::from([("EUR".to_string(), 48.2), ("JPY".to_string(), 0.3)]));
        for (value, expected) in [
            (json!("500 UAH"), Some(50_000)),
            (json!(12.5), Some(1_250)),
            (json!("0.455"), Some(46)),
            (json!("-0.455 UAH"), Some(-46)),
            (json!("10 EUR"), Some(48_200)),
            (json!("100 JPY"), Some(3_000)),
            (json!("5 USD"), None),
            (json!("5 eur"), None),
            (json!("5,5"), None),
            (json!(".5"), None),
            (json!("1e3"), None),
            (json!(1e13), None),
            (json!(true), None),
            (json!(null), None),
        ] {
            assert_eq!(currencies.money(&value), expected, "{value}");
        }
    }

    #[test]
    fn copies_in_lower_case_are_kept_only_where_they_differ() {
        let document = json!({ "city": "Київ", "plain": "low", "items": [ { "title": "Lamp" }, "B" ] });
        assert_eq!(
            folded(&document, [("first_name", Some("Ada")), ("last_name", None)]).as_deref(),
            Some(r#"{"first_name":"ada","city":"київ","items.0.title":"lamp","items.1":"b"}"#)
        );
        assert_eq!(folded(&json!({ "a": "\"A\\\n" }), []).as_deref(), Some(r#"{"a":"\"a\\\n"}"#));
        assert_eq!(folded(&json!({ "a": 1 }), []), None);
    }
}
