//! Values of attributes and properties: read as their declared type, else as the type that the file's first values suggest.
//!
//! What is kept: numbers and truth values as in JSON, dates as `2027-03-01` or ISO date-times, money as written (a number, or `300 UAH`),
//! everything else as text. Digits with a leading zero and numbers too long to be exact are text, so that codes survive.

use super::dates::{Moment, Pattern};
use crate::literals::{Money, ValueType};
use serde_json::{Number, Value};

/// How texts of this file are read.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    pub dates: Option<Pattern>,
    /// In lower case, besides `true`, `yes` and `1`.
    pub true_is: Vec<String>,
    /// Of money without one.
    pub currency: String,
}

impl Reading {
    /// A text as this type; `None` when it is not one.
    pub fn typed(&self, text: &str, kind: &ValueType) -> Option<Value> {
        match kind {
            ValueType::Text | ValueType::Catalog(_) => Some(Value::String(text.to_string())),
            ValueType::Number => declared_number(text),
            ValueType::Money => {
                if let Some(number) = plain_number(text) {
                    return Some(number);
                }
                Money::read(text, &self.currency).ok().map(|_| Value::String(text.to_string()))
            }
            ValueType::Boolean => self.truth(text).map(Value::Bool),
            ValueType::Date => Moment::read(text, self.dates.as_ref()).map(|moment| Value::String(Moment::Date(moment.date()).text())),
            ValueType::DateTime => Moment::read(text, self.dates.as_ref()).map(|moment| Value::String(moment.text())),
            ValueType::List(item) => {
                if let Ok(Value::Array(items)) = serde_json::from_str::<Value>(text) {
                    return self.json(&Value::Array(items), kind);
                }
                text.split([';', ','])
                    .map(str::trim)
                    .filter(|part| !part.is_empty())
                    .map(|part| self.typed(part, item))
                    .collect::<Option<_>>()
                    .map(Value::Array)
            }
            ValueType::Nested(_) => match serde_json::from_str::<Value>(text) {
                Ok(value @ Value::Object(_)) => self.json(&value, kind),
                _ => None,
            },
        }
    }

    /// A JSON value as this type; `None` when it is not one. Texts are read as [`Reading::typed`] reads them.
    pub fn json(&self, value: &Value, kind: &ValueType) -> Option<Value> {
        match (value, kind) {
            (Value::Null, _) => Some(Value::Null),
            (Value::Array(items), ValueType::List(item)) => {
                items.iter().map(|value| self.json(value, item)).collect::<Option<_>>().map(Value::Array)
            }
            (Value::Object(fields), ValueType::Nested(kinds)) => fields
                .iter()
                .map(|(name, value)| match kinds.get(name) {
                    Some(kind) => Some((name.clone(), self.json(value, kind)?)),
                    None => Some((name.clone(), value.clone())),
                })
                .collect::<Option<serde_json::Map<_, _>>>()
                .map(Value::Object),
            (Value::Array(_) | Value::Object(_), _) => None,
            (Value::Number(_), ValueType::Number | ValueType::Money) | (Value::Bool(_), ValueType::Boolean) => Some(value.clone()),
            (Value::String(text), _) => self.typed(text, kind),
            (Value::Number(number), _) => self.typed(&number.to_string(), kind),
            (Value::Bool(truth), _) => self.typed(if *truth { "true" } else { "false" }, kind),
        }
    }

    /// True or false, in the ways people write it; with `true_is`, whatever else stands there is false.
    pub fn truth(&self, text: &str) -> Option<bool> {
        let lower = text.trim().to_lowercase();
        if self.true_is.contains(&lower) || matches!(lower.as_str(), "true" | "yes" | "1" | "y" | "t" | "on" | "да" | "так" | "+") {
            return Some(true);
        }
        let no = matches!(lower.as_str(), "false" | "no" | "0" | "n" | "f" | "off" | "нет" | "ні" | "-");
        (no || !self.true_is.is_empty()).then_some(false)
    }

    /// The narrowest type of one text, for attributes that nobody declared. Only unmistakable forms count.
    pub fn infer(&self, text: &str) -> ValueType {
        if plain_number(text).is_some() {
            ValueType::Number
        } else if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") {
            ValueType::Boolean
        } else {
            match Moment::read(text, self.dates.as_ref()) {
                Some(Moment::Date(_)) => ValueType::Date,
                Some(_) => ValueType::DateTime,
                None => ValueType::Text,
            }
        }
    }

    /// The type of one JSON value.
    pub fn infer_json(&self, value: &Value) -> ValueType {
        match value {
            Value::Number(_) => ValueType::Number,
            Value::Bool(_) => ValueType::Boolean,
            Value::Array(items) => ValueType::List(Box::new(items.first().map_or(ValueType::Text, |item| self.infer_json(item)))),
            Value::Object(fields) => ValueType::Nested(fields.iter().map(|(name, value)| (name.clone(), self.infer_json(value))).collect()),
            // A number in quotes was meant as text.
            Value::String(text) => match self.infer(text) {
                kind @ (ValueType::Date | ValueType::DateTime) => kind,
                _ => ValueType::Text,
            },
            Value::Null => ValueType::Text,
        }
    }
}

/// The type that takes both: a date is a date-time too, everything else together is text.
pub fn common(a: ValueType, b: ValueType) -> ValueType {
    match (a, b) {
        (a, b) if a == b => a,
        (ValueType::Date, ValueType::DateTime) | (ValueType::DateTime, ValueType::Date) => ValueType::DateTime,
        _ => ValueType::Text,
    }
}

/// `-12`, `0.5`, `142.44`; no leading zeros, no `+`, no exponent, at most 15 digits.
pub fn plain_number(text: &str) -> Option<Value> {
    let bytes = text.as_bytes();
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    if digits.is_empty() || digits.len() > 16 || !digits[0].is_ascii_digit() || !digits[digits.len() - 1].is_ascii_digit() {
        return None;
    }
    if digits[0] == b'0' && digits.len() > 1 && digits[1] != b'.' {
        return None;
    }
    let mut dots = 0;
    for byte in digits {
        match byte {
            b'0'..=b'9' => {}
            b'.' => dots += 1,
            _ => return None,
        }
    }
    if dots > 1 || digits.len() - dots > 15 {
        return None;
    }
    if dots == 0 && text != "-0" {
        return text.parse::<i64>().ok().map(Value::from);
    }
    text.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number)
}

/// Where a number is declared, blanks between thousands and one decimal comma are read too, and leading zeros.
fn declared_number(text: &str) -> Option<Value> {
    if let Some(number) = plain_number(text) {
        return Some(number);
    }
    let mut plain: String = text.chars().filter(|c| !matches!(c, ' ' | '\u{a0}' | '\u{202f}' | '\'')).collect();
    if plain.matches(',').count() == 1 && !plain.contains('.') {
        // `1,234` may be a thousand or one and a bit: refused rather than guessed.
        let decimals = plain.len() - plain.find(',').unwrap_or(0) - 1;
        if decimals == 3 {
            return None;
        }
        plain = plain.replace(',', ".");
    }
    if !plain.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E')) {
        return None;
    }
    if let Ok(whole) = plain.parse::<i64>() {
        return Some(Value::from(whole));
    }
    plain.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number)
}

/// As the attribute catalogue keeps a type: `number`, `[text]`, `{city: text}`, a catalog's name.
pub fn type_text(kind: &ValueType) -> String {
    match kind {
        ValueType::Text => "text".into(),
        ValueType::Number => "number".into(),
        ValueType::Money => "money".into(),
        ValueType::Boolean => "boolean".into(),
        ValueType::Date => "date".into(),
        ValueType::DateTime => "datetime".into(),
        ValueType::Catalog(name) => name.clone(),
        ValueType::List(item) => format!("[{}]", type_text(item)),
        ValueType::Nested(fields) => {
            let fields: Vec<String> = fields.iter().map(|(name, kind)| format!("{name}: {}", type_text(kind))).collect();
            format!("{{{}}}", fields.join(", "))
        }
    }
}

/// Back from the catalogue; the items of nested types are not needed again and come back empty.
pub fn type_of(text: &str) -> ValueType {
    match text {
        "text" => ValueType::Text,
        "number" => ValueType::Number,
        "money" => ValueType::Money,
        "boolean" => ValueType::Boolean,
        "date" => ValueType::Date,
        "datetime" => ValueType::DateTime,
        _ => match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(item) => ValueType::List(Box::new(type_of(item))),
            None if text.starts_with('{') => ValueType::Nested(Default::default()),
            None => ValueType::Catalog(text.to_string()),
        },
    }
}

/// A word for people.
pub fn type_word(kind: &ValueType) -> &'static str {
    match kind {
        ValueType::Text => "text",
        ValueType::Number => "number",
        ValueType::Money => "money",
        ValueType::Boolean => "true or false",
        ValueType::Date => "date",
        ValueType::DateTime => "date and time",
        ValueType::Catalog(_) => "key of a catalog",
        ValueType::List(_) => "list",
        ValueType::Nested(_) => "mapping",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn reading() -> Reading {
        Reading { dates: Some(Pattern::read("DD.MM.YYYY").unwrap()), true_is: Vec::new(), currency: "UAH".into() }
    }

    #[test]
    fn only_unmistakable_forms_are_inferred() {
        for (text, expected) in [
            ("12", ValueType::Number),
            ("-0.5", ValueType::Number),
            ("142.44", ValueType::Number),
            ("007", ValueType::Text),
            ("+79", ValueType::Text),
            ("1e5", ValueType::Text),
            ("12345678901234567890", ValueType::Text),
            ("1.", ValueType::Text),
            ("1.2.3", ValueType::Text),
            ("TRUE", ValueType::Boolean),
            ("yes", ValueType::Text),
            ("2027-03-01", ValueType::Date),
            ("01.03.2027", ValueType::Date),
            ("2027-03-01T10:00:00Z", ValueType::DateTime),
            ("NO", ValueType::Text),
        ] {
            assert_eq!(reading().infer(text), expected, "{text}");
        }
    }

    #[test]
    fn a_declared_type_reads_what_people_write() {
        let check =
            |text: &str, kind: ValueType, expected: Option<Value>| assert_eq!(reading().typed(text, &kind), expected, "{text} as {kind:?}");
        check("1 234,50", ValueType::Number, Some(json!(1234.5)));
        check("1,234", ValueType::Number, None);
        check("007", ValueType::Number, Some(json!(7)));
        check("007", ValueType::Text, Some(json!("007")));
        check("да", ValueType::Boolean, Some(json!(true)));
        check("0", ValueType::Boolean, Some(json!(false)));
        check("maybe", ValueType::Boolean, None);
        check("1970-06-08 00:00:00", ValueType::Date, Some(json!("1970-06-08")));
        check("300 UAH", ValueType::Money, Some(json!("300 UAH")));
        check("300", ValueType::Money, Some(json!(300)));
        check("300 ZZZ", ValueType::Money, None);
        check("a; b", ValueType::List(Box::new(ValueType::Text)), Some(json!(["a", "b"])));
        check("[1,2]", ValueType::List(Box::new(ValueType::Number)), Some(json!([1, 2])));
    }

    #[test]
    fn a_type_comes_back_from_the_catalogue() {
        for kind in [ValueType::Number, ValueType::List(Box::new(ValueType::Text)), ValueType::Catalog("shops".into())] {
            assert_eq!(type_of(&type_text(&kind)), kind);
        }
    }
}
