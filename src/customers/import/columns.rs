//! What files of events, consents and suppressions share: columns by name, and who is meant by a row.

use super::Settings;
use super::people::{listed, own_name};
use crate::customers::dates::Moment;
use crate::customers::email;
use crate::customers::files::{Cells, Row};
use crate::customers::phone::PhoneNumber;
use crate::customers::reference::Reference;
use crate::store::micros;
use crate::types::Channel;
use serde_json::Value;

/// A row's cells by field name; empty ones are left out.
pub(super) struct Columns {
    settings: Settings,
    /// By column of a CSV file; an empty name is left out.
    header: Vec<String>,
}

/// Columns that name the customer.
pub(super) const CUSTOMER: &[&str] = &["customer", "external_id", "email", "phone"];

impl Columns {
    pub fn new(settings: Settings) -> Self {
        Columns { settings, header: Vec::new() }
    }

    fn name(&self, column: &str) -> String {
        let mapping = &self.settings.mapping;
        match mapping.columns.get(column) {
            Some(name) => name.clone(),
            None if mapping.only_named || column.is_empty() => String::new(),
            None => match own_name(column) {
                name if name == "rejected_line" || name == "rejected_reason" => String::new(),
                name => name,
            },
        }
    }

    /// `check` says what is wrong with a field of that name.
    pub fn header(&mut self, header: &[String], who: bool, check: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
        let missing = self.settings.mapping.columns.keys().find(|column| !header.contains(column));
        if let Some(column) = missing {
            return Err(format!("the file has no column `{column}`, which the mapping names; its columns are {}", listed(header)));
        }
        self.header = header.iter().map(|column| self.name(column)).collect();
        let mut wrong = Vec::new();
        for (at, name) in self.header.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            if self.header[..at].contains(name) {
                wrong.push(format!("two columns are `{name}`"));
            }
            if let Some(why) = check(name) {
                let column = &header[at];
                wrong.push(format!(
                    "the column `{column}`: {why}; say what it is with --map \"{column}=NAME\", or leave it out with --map \"{column}=\""
                ));
            }
        }
        let set = &self.settings.mapping.set;
        if who && !self.header.iter().map(String::as_str).chain(set.keys().map(String::as_str)).any(|name| CUSTOMER.contains(&name)) {
            wrong.push(format!(
                "no column says whose it is: customer (external id, email or phone), external_id, email or phone is needed; the file has {}",
                listed(header)
            ));
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }

    /// Fields of a row; texts of CSV cells come trimmed as JSON texts, and the flag says so.
    pub fn fields(&self, row: &Row) -> Result<(Vec<(String, Value)>, bool), String> {
        let mut fields: Vec<(String, Value)> = Vec::new();
        let is_text = match &row.cells {
            Cells::Texts(cells) => {
                for (name, cell) in self.header.iter().zip(cells) {
                    let cell = cell.trim();
                    if !name.is_empty() && !cell.is_empty() {
                        fields.push((name.clone(), Value::String(cell.to_string())));
                    }
                }
                true
            }
            Cells::Object(object) => {
                for (column, value) in object {
                    let name = self.name(column);
                    if !name.is_empty() && !value.is_null() && value.as_str() != Some("") {
                        fields.push((name, value.clone()));
                    }
                }
                false
            }
            Cells::Unread(_) => return Err("the row cannot be read".into()),
        };
        for (name, value) in &self.settings.mapping.set {
            if !fields.iter().any(|(field, _)| field == name) {
                fields.push((name.clone(), Value::String(value.clone())));
            }
        }
        Ok((fields, is_text))
    }

    /// Takes the columns that name the customer out of the fields.
    pub fn who(&self, fields: &mut Vec<(String, Value)>) -> Result<Reference, String> {
        let (settings, mut who) = (&self.settings, Reference::default());
        let country = settings.country.as_deref();
        // Beside a column `customer`, email and phone are properties like any other.
        let names = if fields.iter().any(|(name, _)| name == "customer") { &CUSTOMER[..1] } else { CUSTOMER };
        for name in names {
            let Some(value) = take(fields, name) else { continue };
            let text = text(&value, name)?;
            let read = match *name {
                "customer" => Reference::read(&text, &settings.keys, country),
                "external_id" => Reference { external_id: Some(text.clone()), text, ..Reference::default() },
                "email" => {
                    let (address, _) = email::in_cell(&text).map_err(|(written, why)| format!("the email address `{written}` {why}"))?;
                    Reference { keys: vec![settings.keys.address(Channel::Email, address.as_str())], text, ..Reference::default() }
                }
                _ => {
                    let number = PhoneNumber::parse(&text, country).map_err(|why| format!("the phone number `{text}` {why}"))?;
                    Reference { keys: vec![settings.keys.address(Channel::Sms, number.as_str())], text, ..Reference::default() }
                }
            };
            if who.text.is_empty() {
                who = read;
            }
        }
        if who.text.is_empty() {
            return Err("the row does not say whose it is: customer, external_id, email and phone are empty".into());
        }
        Ok(who)
    }

    pub fn instant(&self, value: &Value, column: &str) -> Result<i64, String> {
        let text = text(value, column)?;
        Moment::read(&text, self.settings.mapping.dates.as_ref())
            .map(|moment| micros(moment.instant(self.settings.zone)))
            .ok_or_else(|| format!("`{text}` is no date or time (column {column}); write it like 2027-03-01 10:00, or name its pattern in a mapping (`dates`)"))
    }
}

pub(super) fn take(fields: &mut Vec<(String, Value)>, name: &str) -> Option<Value> {
    fields.iter().position(|(field, _)| field == name).map(|at| fields.remove(at).1)
}

pub(super) fn text(value: &Value, column: &str) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.trim().to_string()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(truth) => Ok(truth.to_string()),
        _ => Err(format!("the column {column} wants a plain value, no list or mapping")),
    }
}
