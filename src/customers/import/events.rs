//! Files of events. All columns but customer, event, at and id are properties.

use super::catalogue::wrong_name;
use super::columns::{Columns, take, text};
use super::{EventOptions, Intake, Outcome, Settings, Sink};
use crate::customers::files::Row;
use crate::customers::reference::Reference;
use crate::customers::values::{self, Reading};
use crate::literals::{Money, ValueType, minor_digits};
use crate::segments;
use crate::store::conversions::Measures;
use crate::store::customers::Numbers;
use crate::store::events::NewEvent;
use crate::store::filling_events::FillingEvents;
use crate::store::responses::digest;
use crate::store::{self, Store, micros};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An event whose customer is not looked up yet.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    who: Reference,
    event: NewEvent,
}

pub(crate) struct Events {
    settings: Settings,
    options: EventOptions,
    columns: Columns,
    reading: Reading,
    /// Hash of a row without an id of its own → how many such rows came before. Grows by 16 bytes for each different row.
    ordinals: HashMap<u64, u32>,
    misfits: u64,
}

impl Events {
    pub fn new(settings: Settings, options: EventOptions) -> Self {
        let reading = settings.reading();
        Events { columns: Columns::new(settings.clone()), settings, options, reading, ordinals: HashMap::new(), misfits: 0 }
    }

    /// `Err` where events are declared and this one is not.
    fn is_known(&self, event: &str) -> Result<(), String> {
        let Some(events) = self.settings.events.as_ref().filter(|events| !events.contains_key(event)) else { return Ok(()) };
        let near = crate::diagnostics::nearest(event, events.keys().map(String::as_str));
        let hint = near.map_or(String::new(), |near| format!(" (did you mean `{near}`?)"));
        Err(format!("posthaste.yaml declares no event `{event}`{hint}"))
    }

    /// The declared type of a property; `Err` where the event is declared and lacks it.
    fn kind(&self, event: &str, path: &str) -> Result<Option<&ValueType>, String> {
        let Some(properties) = self.settings.events.as_ref().and_then(|events| events.get(event)) else { return Ok(None) };
        let mut parts = path.split('.');
        let mut kind = parts.next().and_then(|first| properties.get(first));
        for part in parts {
            kind = match kind {
                Some(ValueType::Nested(fields)) => fields.get(part),
                _ => None,
            };
        }
        kind.map(Some).ok_or_else(|| {
            let near = crate::diagnostics::nearest(path, properties.keys().map(String::as_str));
            let hint = near.map_or(String::new(), |near| format!(" (did you mean `{near}`?)"));
            format!("the event `{event}` has no property `{path}` in posthaste.yaml{hint}")
        })
    }

    fn property(&mut self, event: &str, path: &str, value: &Value, is_text: bool) -> Result<Value, String> {
        match self.kind(event, path)? {
            Some(kind) => self
                .reading
                .json(value, kind)
                .ok_or_else(|| format!("`{}` is no {} (property `{path}` of `{event}`)", plain(value), values::type_word(kind))),
            None => Ok(match value {
                Value::String(text) if is_text => self.reading.typed(text, &self.reading.infer(text)).unwrap_or_else(|| value.clone()),
                other => other.clone(),
            }),
        }
    }

    /// The money of the event in minor units, and its currency.
    fn value(&mut self, event: &str, properties: &Map<String, Value>) -> (Option<i64>, Option<String>) {
        let declared = self.settings.events.as_ref().and_then(|events| events.get(event));
        let money = |name: &str| declared.and_then(|properties| properties.get(name)) == Some(&ValueType::Money);
        let chosen = self.options.value.clone().or_else(|| {
            let usual = ["amount", "value", "total", "revenue", "price"].into_iter().find(|name| money(name)).map(str::to_string);
            usual.or_else(|| {
                declared.and_then(|properties| properties.iter().find(|(_, kind)| **kind == ValueType::Money)).map(|(name, _)| name.clone())
            })
        });
        let Some(value) = chosen.and_then(|path| at_path(properties, &path).cloned()) else { return (None, None) };
        let written = properties.get("currency").and_then(Value::as_str).filter(|code| minor_digits(code).is_some());
        match minor(&value, written.unwrap_or(&self.settings.currency)) {
            Some(money) => (Some(money.minor), Some(money.currency)),
            None => {
                self.misfits += 1;
                (None, None)
            }
        }
    }

    fn identity(&mut self, id: Option<String>, who: &Reference, name: &str, at: i64, properties: &str) -> [u8; 16] {
        if let Some(id) = id {
            return digest(&[b"id", self.settings.source.as_bytes(), id.as_bytes()]);
        }
        let row = digest(&[b"row", who.text.as_bytes(), name.as_bytes(), &at.to_be_bytes(), properties.as_bytes()]);
        let mut short = [0; 8];
        short.copy_from_slice(&row[..8]);
        let ordinal = self.ordinals.entry(u64::from_be_bytes(short)).or_insert(0);
        let number = *ordinal;
        *ordinal += 1;
        digest(&[b"row", self.settings.source.as_bytes(), name.as_bytes(), &at.to_be_bytes(), properties.as_bytes(), &number.to_be_bytes()])
    }
}

impl Intake for Events {
    type Item = Event;

    fn columns(&mut self, header: &[String]) -> Result<(), String> {
        let known = ["customer", "external_id", "email", "phone", "event", "at", "id"];
        self.columns.header(header, true, &|name| if known.contains(&name) { None } else { wrong_name(name) })?;
        let names: Vec<String> = header
            .iter()
            .map(|name| self.settings.mapping.columns.get(name).cloned().unwrap_or_else(|| super::people::own_name(name)))
            .collect();
        let has = |name: &str| names.iter().any(|column| column == name) || self.settings.mapping.set.contains_key(name);
        if self.options.event.is_none() && !has("event") {
            return Err("no column says what happened: a column `event` is needed, or --event NAME for the whole file".into());
        }
        if self.options.at.is_none() && !has("at") {
            return Err("no column says when it happened: a column `at` is needed, or --at TIME for the whole file".into());
        }
        Ok(())
    }

    fn read(&mut self, row: &Row) -> Result<Event, String> {
        let (mut fields, is_text) = self.columns.fields(row)?;
        let who = self.columns.who(&mut fields)?;
        let name = match (take(&mut fields, "event"), &self.options.event) {
            (Some(name), _) => text(&name, "event")?,
            (None, Some(name)) => name.clone(),
            (None, None) => return Err("the row does not say what happened (column event)".into()),
        };
        if let Some(why) = wrong_name(&name) {
            return Err(why);
        }
        self.is_known(&name)?;
        let at = match (take(&mut fields, "at"), self.options.at) {
            (Some(at), _) => self.columns.instant(&at, "at")?,
            (None, Some(at)) => micros(at),
            (None, None) => return Err("the row does not say when it happened (column at)".into()),
        };
        let id = take(&mut fields, "id").map(|id| text(&id, "id")).transpose()?;
        let mut properties = Map::new();
        for (path, value) in fields {
            if !is_text && let Some(why) = wrong_name(&path) {
                return Err(why);
            }
            let value = self.property(&name, &path, &value, is_text)?;
            place(&mut properties, &path, value)?;
        }
        let (value, currency) = self.value(&name, &properties);
        let document = Value::Object(properties);
        let properties = document.to_string();
        let event = NewEvent {
            customer: 0,
            occurred_at: at,
            received_at: micros(self.settings.now),
            folded: segments::values::folded(&document, []),
            value,
            currency,
            source_key: self.identity(id, &who, &name, at, &properties),
            properties,
            name,
        };
        Ok(Event { who, event })
    }

    fn notes(&mut self) -> Vec<String> {
        match self.misfits {
            0 => Vec::new(),
            count => vec![format!("{count} events have no readable money, so they count without a value")],
        }
    }
}

/// Money as written: `300 UAH`, or a number in `currency`; halves of a minor unit go away from zero.
fn minor(value: &Value, currency: &str) -> Option<Money> {
    match value {
        Value::String(text) => Money::read(text, currency).ok(),
        Value::Number(number) => {
            let digits = minor_digits(currency).unwrap_or(2);
            let minor = (number.as_f64()? * 10f64.powi(digits as i32)).round();
            (minor.abs() < 9e15).then(|| Money { minor: minor as i64, currency: currency.to_string() })
        }
        _ => None,
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string).chars().take(40).collect()
}

fn at_path<'a>(properties: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let mut parts = path.split('.');
    let mut value = properties.get(parts.next()?)?;
    for part in parts {
        value = value.as_object()?.get(part)?;
    }
    Some(value)
}

fn place(properties: &mut Map<String, Value>, path: &str, value: Value) -> Result<(), String> {
    match path.split_once('.') {
        None => {
            properties.insert(path.to_string(), value);
            Ok(())
        }
        Some((first, rest)) => match properties.entry(first).or_insert_with(|| Value::Object(Map::new())) {
            Value::Object(inner) => place(inner, rest, value),
            _ => Err(format!("`{first}` holds a plain value, so `{first}.{rest}` cannot stand inside it")),
        },
    }
}

/// Finds the customers, and records.
pub(crate) struct Writer {
    store: Store,
    measures: Measures,
    dry_run: bool,
    starts: bool,
    finder: Finder,
    /// In a base where nothing has happened yet.
    filling: Option<FillingEvents>,
    repeated: Arc<AtomicU64>,
}

impl Writer {
    pub fn new(store: Store, settings: &Settings, measures: Measures, starts: bool) -> Self {
        let finder = Finder::new(store.clone());
        Writer { finder, store, measures, dry_run: settings.dry_run, starts, filling: None, repeated: Arc::default() }
    }

    /// Writes into a table without indexes, which are built at the end. What comes twice in the file is known only then: gives the place where it is counted.
    pub async fn first_import(&mut self) -> Result<Arc<AtomicU64>, store::Error> {
        self.filling = Some(self.store.fill_events().await?);
        Ok(self.repeated.clone())
    }
}

impl Sink for Writer {
    type Item = Event;

    async fn write(&mut self, items: Vec<Event>) -> Result<Vec<Outcome>, store::Error> {
        let found = self.finder.find(items.iter().map(|item| &item.who)).await?;
        let mut outcomes = Vec::with_capacity(items.len());
        let mut events = Vec::with_capacity(items.len());
        for (item, found) in items.into_iter().zip(found) {
            match found {
                Ok(customer) => {
                    events.push(NewEvent { customer, ..item.event });
                    outcomes.push(Outcome::New);
                }
                Err(why) => outcomes.push(Outcome::Rejected(why)),
            }
        }
        if self.dry_run {
            return Ok(outcomes);
        }
        if let Some(filling) = &mut self.filling {
            filling.write(events).await?;
            return Ok(outcomes);
        }
        let mut numbers = self.store.ingest_events(&events, &self.measures, self.starts).await?.into_iter();
        for outcome in outcomes.iter_mut().filter(|outcome| **outcome == Outcome::New) {
            if numbers.next().flatten().is_none() {
                *outcome = Outcome::Unchanged;
            }
        }
        Ok(outcomes)
    }

    async fn finish(&mut self) -> Result<Vec<String>, store::Error> {
        if let Some(filling) = self.filling.take() {
            self.repeated.store(filling.finish(&self.store).await?, Ordering::Relaxed);
        }
        Ok(Vec::new())
    }
}

/// Looks customers up, and remembers those that come again and again.
pub(super) struct Finder {
    store: Store,
    /// By a hash of what they are called in the file, keyed by chance: no file can be made in which two are taken for one.
    known: HashMap<u64, i64>,
    hasher: RandomState,
}

/// Seventeen bytes each.
const MOST_KNOWN: usize = 3_600_000;

impl Finder {
    pub fn new(store: Store) -> Self {
        Finder { store, known: HashMap::new(), hasher: RandomState::new() }
    }

    /// For each reference the customer, or why there is none.
    pub async fn find<'a>(
        &mut self,
        references: impl Iterator<Item = &'a Reference> + Clone,
    ) -> Result<Vec<Result<i64, String>>, store::Error> {
        if self.known.len() > MOST_KNOWN {
            self.known.clear();
        }
        let hashes: Vec<u64> = references.clone().map(|reference| self.hasher.hash_one(&reference.text)).collect();
        let unknown = references.clone().zip(&hashes).filter(|(_, hash)| !self.known.contains_key(hash));
        let wanted = Reference::wanted(unknown.map(|(reference, _)| reference));
        let numbers = match wanted.is_empty() {
            true => Numbers::default(),
            false => self.store.customer_numbers(&wanted).await?,
        };
        let mut found = Vec::with_capacity(hashes.len());
        for (reference, hash) in references.zip(hashes) {
            if let Some(id) = self.known.get(&hash) {
                found.push(Ok(*id));
                continue;
            }
            let id = reference.find(&numbers);
            if let Ok(id) = id {
                self.known.insert(hash, id);
            }
            found.push(id.map_err(|why| format!("`{}` {why}", reference.text)));
        }
        Ok(found)
    }
}
