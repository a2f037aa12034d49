//! Lower-cased copies of a customer's texts, which `contains` in conditions searches: dotted path → text, only where lower case differs.

use crate::store::customers::Customer;
use crate::types::Channel;
use serde_json::{Map, Value};

/// The copies of own fields, primary addresses and attributes; `None` when nothing differs.
pub fn of_customer(customer: &Customer) -> Option<String> {
    let address = |channel: Channel| {
        customer
            .addresses
            .iter()
            .find(|address| address.channel == channel.code() && address.is_primary)
            .map(|address| address.address.as_str())
    };
    of(
        &customer.attributes,
        [
            ("external_id", customer.external_id.as_deref()),
            ("email", address(Channel::Email)),
            ("phone", address(Channel::Sms)),
            ("first_name", customer.first_name.as_deref()),
            ("last_name", customer.last_name.as_deref()),
            ("language", customer.language.as_deref()),
            ("country", customer.country.as_deref()),
            ("zone", customer.zone.as_deref()),
        ],
    )
}

/// The copies of any document, and of texts by name beside it.
pub fn of<'a>(document: &Map<String, Value>, own: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> Option<String> {
    let mut copies = Map::new();
    for (name, text) in own {
        if let Some(text) = text {
            fold(name, text, &mut copies);
        }
    }
    for (name, value) in document {
        collect(name, value, &mut copies);
    }
    (!copies.is_empty()).then(|| Value::Object(copies).to_string())
}

fn fold(path: &str, text: &str, copies: &mut Map<String, Value>) {
    // Letter by letter, without regard to neighbours, so that a part of a text stays a part of it.
    if text.chars().any(|c| c.is_uppercase() || !c.is_ascii() && !c.to_lowercase().eq(std::iter::once(c))) {
        let lower: String = text.chars().flat_map(char::to_lowercase).collect();
        if lower != text {
            copies.insert(path.to_string(), Value::String(lower));
        }
    }
}

fn collect(path: &str, value: &Value, copies: &mut Map<String, Value>) {
    match value {
        Value::String(text) => fold(path, text, copies),
        Value::Array(items) => items.iter().enumerate().for_each(|(number, item)| collect(&format!("{path}.{number}"), item, copies)),
        Value::Object(fields) => fields.iter().for_each(|(name, value)| collect(&format!("{path}.{name}"), value, copies)),
        _ => {}
    }
}
