//! Paths of attributes and properties, resolved against what is declared.

use super::Reader;
use crate::diagnostics::{Span, nearest};
use crate::literals::ValueType;
use crate::segments::model::*;
use std::collections::BTreeMap;

pub(super) type Fields = BTreeMap<String, ValueType>;

/// A resolved path and its declared type; `None`: nothing is declared.
pub(super) type Resolved = (Path, Option<ValueType>);

impl Reader<'_, '_> {
    /// The path of an attribute or an own field.
    pub(super) fn attribute_path(&mut self, span: Span, written: &str) -> Option<Resolved> {
        if let Some(field) = OwnField::from_word(written) {
            let declared = if field == OwnField::CreatedAt { ValueType::DateTime } else { ValueType::Text };
            return Some((Path { written: written.to_string(), start: Start::Own(field), through: Vec::new() }, Some(declared)));
        }
        let own: Vec<&str> = OwnField::ALL.iter().map(|(_, word)| *word).collect();
        self.path(span, written, self.known.attributes, None, &own)
    }

    /// The path of a property, where `of` says of what (`event `purchase``).
    pub(super) fn property_path(&mut self, span: Span, written: &str, fields: Option<&Fields>, of: &str) -> Option<Resolved> {
        self.path(span, written, fields, Some(of), &[])
    }

    fn path(&mut self, span: Span, written: &str, fields: Option<&Fields>, of: Option<&str>, also: &[&str]) -> Option<Resolved> {
        let names: Vec<&str> = written.split('.').collect();
        if let Some(bad) = names.iter().find(|name| !is_name(name)) {
            let title = format!("`{written}` is no name of {}", if of.is_some() { "a property" } else { "an attribute" });
            let label = if bad.is_empty() {
                "a part is empty".to_string()
            } else {
                format!("`{bad}` is more than letters, digits and _, or begins with a digit")
            };
            self.problem(span, title, label, "names are written in lower_case, with a dot for what is inside: `loyalty.tier`");
            return None;
        }
        let mut path = Path { written: written.to_string(), start: Start::Names(Vec::new()), through: Vec::new() };
        let Some(fields) = fields else {
            path.start = Start::Names(names.iter().map(ToString::to_string).collect());
            return Some((path, None));
        };
        let mut fields = fields.clone();
        let mut reached: Option<ValueType> = None;
        let mut place = 0;
        for (number, name) in names.iter().enumerate() {
            let part = Span { start: span.start + place, end: span.start + place + name.len() };
            let part = if span.end - span.start == written.len() { part } else { span };
            place += name.len() + 1;
            match reached.take() {
                None => {}
                Some(ValueType::Nested(inner)) => fields = inner,
                Some(ValueType::Catalog(catalog)) => {
                    let Some(declared) = self.known.catalogs.get(&catalog) else {
                        self.problem(
                            part,
                            format!("the catalog `{catalog}` is not declared"),
                            "leads there",
                            "declare it under `catalogs` in posthaste.yaml",
                        );
                        return None;
                    };
                    if *name == declared.key {
                        // The key of the row is what the attribute itself holds.
                        reached = Some(ValueType::Text);
                        continue;
                    }
                    path.through.push((catalog, Vec::new()));
                    fields = declared.fields.clone();
                }
                Some(ValueType::List(_)) => {
                    let list = names[..number].join(".");
                    self.problem(
                        part,
                        format!("`{list}` is a list"),
                        "a list has no names",
                        format!("ask for an item of it: `{list}: {{ has: {{ {name}: … }} }}`"),
                    );
                    return None;
                }
                Some(other) => {
                    self.problem(
                        part,
                        format!("nothing is inside `{}`", names[..number].join(".")),
                        format!("it is of the type {other}"),
                        "",
                    );
                    return None;
                }
            }
            let Some(declared) = fields.get(*name) else {
                let known: Vec<&str> =
                    fields.keys().map(String::as_str).chain(if number == 0 { also } else { &[] }.iter().copied()).collect();
                let help = match nearest(name, known.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if known.is_empty() => "none are declared in posthaste.yaml".to_string(),
                    None => format!("declared are: {}", known.join(", ")),
                };
                let missing = names[..=number].join(".");
                let title = match of {
                    Some(of) => format!("{of} has no property `{missing}`"),
                    None => format!("there is no attribute `{missing}`"),
                };
                self.problem(part, title, "not declared in posthaste.yaml", help);
                return None;
            };
            match (path.through.last_mut(), &mut path.start) {
                (Some((_, inside)), _) => inside.push(name.to_string()),
                (None, Start::Names(inside)) => inside.push(name.to_string()),
                (None, Start::Own(_)) => {}
            }
            reached = Some(declared.clone());
        }
        Some((path, reached))
    }
}

/// A letter, then letters, digits, `_` and `-`: what can stand in a path of JSON without being mistaken for an index or a sign.
fn is_name(name: &str) -> bool {
    name.len() <= 128
        && name.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')
}
