//! The types of attributes: declared in posthaste.yaml, else known from imports before, else inferred from the file's first rows.
//!
//! The catalogue keeps the type it has. A value that does not read as an inferred type is kept as text, as it was written, so nothing is
//! lost, and the summary says how many there were. A value that does not read as a *declared* type rejects its row.

use super::Settings;
use crate::customers::values::{self, Reading};
use crate::literals::ValueType;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

pub struct Catalogue {
    declared: Option<BTreeMap<String, ValueType>>,
    reading: Reading,
    known: HashMap<String, (ValueType, bool)>,
    sampled: HashMap<String, ValueType>,
    /// Not stored yet.
    new: Vec<NewAttribute>,
    misfits: BTreeMap<String, Misfits>,
}

/// Path, type as the catalogue writes it, whether it is declared.
pub type NewAttribute = (String, String, bool);

struct Misfits {
    count: u64,
    first_line: u64,
    first: String,
}

impl Catalogue {
    /// `stored`: path → type as text.
    pub fn new(stored: Vec<(String, String)>, settings: &Settings) -> Self {
        let mut known: HashMap<String, (ValueType, bool)> =
            stored.into_iter().map(|(path, kind)| (path, (values::type_of(&kind), false))).collect();
        let mut new = Vec::new();
        for (name, kind) in settings.attributes.iter().flatten() {
            declare(name.clone(), kind, &mut known, &mut new);
        }
        Catalogue {
            declared: settings.attributes.clone(),
            reading: settings.reading(),
            known,
            sampled: HashMap::new(),
            new,
            misfits: BTreeMap::new(),
        }
    }

    /// Why an attribute of this name cannot be imported, if so.
    pub fn refusal(&self, path: &str) -> Option<String> {
        if let Some(wrong) = wrong_name(path) {
            return Some(wrong);
        }
        let declared = self.declared.as_ref()?;
        if declares(declared, path) {
            return None;
        }
        let near = crate::diagnostics::nearest(path, declared.keys().map(String::as_str));
        let hint = near.map_or(String::new(), |near| format!(" (did you mean `{near}`?)"));
        Some(format!("posthaste.yaml declares no attribute `{path}`{hint}"))
    }

    /// Takes a value of the sample into account.
    pub fn look_at(&mut self, path: &str, value: &Value, is_text: bool) {
        if self.known.contains_key(path) || value.is_null() {
            return;
        }
        let kind = match value {
            Value::String(text) if is_text => self.reading.infer(text),
            other => self.reading.infer_json(other),
        };
        let kind = match self.sampled.remove(path) {
            Some(before) => values::common(before, kind),
            None => kind,
        };
        self.sampled.insert(path.to_string(), kind);
    }

    /// What the sample showed becomes the type.
    pub fn settle(&mut self) {
        let mut sampled: Vec<_> = self.sampled.drain().collect();
        sampled.sort_by(|a, b| a.0.cmp(&b.0));
        for (path, kind) in sampled {
            self.known.insert(path.clone(), (kind.clone(), false));
            self.new.push((path, values::type_text(&kind), false));
        }
    }

    /// A JSON value as the attribute's type.
    pub fn value(&mut self, path: &str, value: &Value, line: u64) -> Result<Value, String> {
        if !self.known.contains_key(path) {
            self.look_at(path, value, false);
            self.settle();
        }
        let Some((kind, _)) = self.known.get(path) else { return Ok(value.clone()) };
        match self.reading.json(value, kind) {
            Some(read) => Ok(read),
            // As written: a list or a mapping stays what it is, a number or truth value where text is wanted has been read above.
            None => self.misfit(path, value, line).map(|()| value.clone()),
        }
    }

    /// The text of a cell, without blanks around it, as the attribute's type.
    pub fn text(&mut self, path: &str, text: &str, line: u64) -> Result<Value, String> {
        if !self.known.contains_key(path) {
            self.look_at(path, &Value::from(text), true);
            self.settle();
        }
        let Some((kind, _)) = self.known.get(path) else { return Ok(text.into()) };
        match self.reading.typed(text, kind) {
            Some(read) => Ok(read),
            None => self.misfit(path, &Value::from(text), line).map(|()| text.into()),
        }
    }

    /// What is not of the attribute's type is an error where that is declared, and counted where it was inferred.
    fn misfit(&mut self, path: &str, value: &Value, line: u64) -> Result<(), String> {
        let Some((kind, declared)) = self.known.get(path) else { return Ok(()) };
        if *declared {
            let help = match kind {
                ValueType::Date | ValueType::DateTime => {
                    "; write it like 1990-01-31, or name how dates are written in a mapping: dates: \"DD.MM.YYYY\""
                }
                _ => "",
            };
            return Err(format!("{} is no {} (attribute `{path}`){help}", shown(value), values::type_word(kind)));
        }
        let misfits = self.misfits.entry(path.to_string()).or_insert_with(|| Misfits { count: 0, first_line: line, first: shown(value) });
        misfits.count += 1;
        Ok(())
    }

    pub fn take_new(&mut self) -> Vec<NewAttribute> {
        std::mem::take(&mut self.new)
    }

    pub fn notes(&self) -> Vec<String> {
        self.misfits
            .iter()
            .map(|(path, misfits)| {
                let kind = self.known.get(path).map_or("text", |(kind, _)| values::type_word(kind));
                let (verb, values) = if misfits.count == 1 { ("is", "value") } else { ("are", "values") };
                format!(
                    "{} {values} of the attribute `{path}` {verb} no {kind} and kept as written, first {} on line {}",
                    misfits.count, misfits.first, misfits.first_line
                )
            })
            .collect()
    }
}

fn declare(path: String, kind: &ValueType, known: &mut HashMap<String, (ValueType, bool)>, new: &mut Vec<NewAttribute>) {
    if let ValueType::Nested(fields) = kind {
        for (name, kind) in fields {
            declare(format!("{path}.{name}"), kind, known, new);
        }
        return;
    }
    new.push((path.clone(), values::type_text(kind), true));
    known.insert(path, (kind.clone(), true));
}

fn declares(declared: &BTreeMap<String, ValueType>, path: &str) -> bool {
    match path.split_once('.') {
        None => declared.contains_key(path),
        Some((first, rest)) => match declared.get(first) {
            Some(ValueType::Nested(fields)) => declares(fields, rest),
            _ => false,
        },
    }
}

/// What is wrong with a name of an attribute or property; `None` for `lower_case` with dots.
pub fn wrong_name(path: &str) -> Option<String> {
    let good = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase())
            && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            && part.len() <= 64
    };
    let parts = path.split('.').count();
    (!path.split('.').all(good) || parts > 8)
        .then(|| format!("`{path}` cannot be the name of an attribute or property: these are lower_case, in Latin letters"))
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let short: String = text.chars().take(40).collect();
    if short.len() < text.len() { format!("`{short}…`") } else { format!("`{short}`") }
}
