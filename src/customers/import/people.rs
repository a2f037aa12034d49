//! A row → a person: which column is what, and each cell checked.

use super::catalogue::{Catalogue, NewAttribute};
use super::{Intake, Settings};
use crate::customers::dates::Moment;
use crate::customers::email;
use crate::customers::files::{Cells, Row};
use crate::customers::phone::PhoneNumber;
use crate::customers::places;
use crate::segments::values::lower_case;
use crate::store::micros;
use crate::types::{Channel, ConsentState};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// What a cell says: nothing (leave), `null` (clear), or a value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Given<T> {
    #[default]
    Nothing,
    Clear,
    Value(T),
}

/// A checked row.
#[derive(Debug, Clone, Default)]
pub struct Person {
    pub external_id: Option<String>,
    pub email: Given<(String, [u8; 16])>,
    pub phone: Given<(String, [u8; 16])>,
    pub first_name: Given<String>,
    pub last_name: Given<String>,
    pub language: Given<String>,
    pub country: Given<String>,
    pub zone: Given<String>,
    pub created_at: Option<i64>,
    /// Dotted path → value; `null` clears.
    pub attributes: Vec<(Arc<str>, Value)>,
    pub consents: Vec<ConsentGiven>,
    /// Channels whose address must not be sent to.
    pub suppressed: Vec<Channel>,
    /// Attributes whose type was settled by this row or before it, not stored yet.
    pub new_attributes: Vec<NewAttribute>,
}

/// Consent as a row says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentGiven {
    pub topic: Arc<str>,
    pub channel: Channel,
    pub state: ConsentState,
    /// `None`: the file says no date; such a consent never lifts a withdrawal.
    pub at: Option<i64>,
    pub proof: Option<String>,
    /// When it ends by itself; later than `at`.
    pub until: Option<i64>,
}

/// What a column is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    ExternalId,
    Email,
    Phone,
    FirstName,
    LastName,
    Language,
    Country,
    Zone,
    CreatedAt,
    ConsentAt,
    ConsentProof,
    Consent { topic: Arc<str>, channel: Option<Channel> },
    Suppressed,
    Attribute(Arc<str>),
    LeftOut,
}

/// Own fields, as people write them in a mapping.
pub const OWN_FIELDS: &[&str] = &[
    "external_id",
    "email",
    "phone",
    "first_name",
    "last_name",
    "language",
    "country",
    "zone",
    "created_at",
    "consent_at",
    "consent_proof",
];

pub(crate) struct People {
    settings: Settings,
    catalogue: Catalogue,
    columns: Vec<Field>,
    by_name: HashMap<String, Field>,
    set: Vec<(Field, String)>,
    more_addresses: u64,
}

impl People {
    pub fn new(settings: Settings, catalogue: Catalogue) -> Self {
        People { settings, catalogue, columns: Vec::new(), by_name: HashMap::new(), set: Vec::new(), more_addresses: 0 }
    }

    fn field(&self, column: &str) -> Result<Field, String> {
        let mapping = &self.settings.mapping;
        let named = mapping.columns.get(column);
        let name = match named {
            Some(name) => name.clone(),
            None if mapping.only_named || column.is_empty() => return Ok(Field::LeftOut),
            None => own_name(column),
        };
        self.field_named(&name).map_err(|why| {
            if named.is_some() {
                format!("the column `{column}`: {why}")
            } else {
                format!(
                    "the column `{column}`: {why}; say what it is with --map \"{column}=NAME\", or leave it out with --map \"{column}=\""
                )
            }
        })
    }

    fn field_named(&self, name: &str) -> Result<Field, String> {
        Ok(match name {
            "" | "rejected_line" | "rejected_reason" => Field::LeftOut,
            "external_id" => Field::ExternalId,
            "email" => Field::Email,
            "phone" => Field::Phone,
            "first_name" => Field::FirstName,
            "last_name" => Field::LastName,
            "language" => Field::Language,
            "country" => Field::Country,
            "zone" => Field::Zone,
            "created_at" => Field::CreatedAt,
            "consent_at" => Field::ConsentAt,
            "consent_proof" => Field::ConsentProof,
            "suppressed" => Field::Suppressed,
            _ => match name.strip_prefix("consent.") {
                Some(rest) => self.consent_field(rest)?,
                None => match self.catalogue.refusal(name) {
                    Some(why) => return Err(why),
                    None => Field::Attribute(name.into()),
                },
            },
        })
    }

    fn consent_field(&self, rest: &str) -> Result<Field, String> {
        let (topic, channel) = match rest.split_once('.') {
            None => (rest, None),
            Some((topic, word)) => {
                let channel = Channel::from_word(word)
                    .ok_or_else(|| format!("`{word}` is no channel; these are email, sms, letter, call, webhook"))?;
                (topic, Some(channel))
            }
        };
        if topic != "*" && !self.settings.topics.is_empty() && !self.settings.topics.contains_key(topic) {
            let near = crate::diagnostics::nearest(topic, self.settings.topics.keys().map(String::as_str));
            return Err(format!("there is no topic `{topic}`{}", near.map_or(String::new(), |near| format!(" (did you mean `{near}`?)"))));
        }
        Ok(Field::Consent { topic: topic.into(), channel })
    }

    fn prepare_set(&mut self) -> Result<(), String> {
        let set: Vec<(String, String)> = self.settings.mapping.set.clone().into_iter().collect();
        self.set = set
            .into_iter()
            .map(|(name, value)| Ok((self.field_named(&name).map_err(|why| format!("`set` of the mapping: {why}"))?, value)))
            .collect::<Result<_, String>>()?;
        Ok(())
    }

    /// The field of a JSON key, looked up once.
    fn known_field(&mut self, name: &str) -> Result<Field, String> {
        if let Some(field) = self.by_name.get(name) {
            return Ok(field.clone());
        }
        let field = self.field(name)?;
        self.by_name.insert(name.to_string(), field.clone());
        Ok(field)
    }

    /// The cells of a JSON row: nested mappings become dotted names. A mapping column named as a whole keeps its name.
    fn flattened(&mut self, row: &serde_json::Map<String, Value>) -> Result<Vec<(Field, Value)>, String> {
        let mut cells = Vec::with_capacity(row.len());
        for (name, value) in row {
            self.flatten(name.clone(), value, 0, &mut cells)?;
        }
        Ok(cells)
    }

    fn flatten(&mut self, name: String, value: &Value, depth: usize, cells: &mut Vec<(Field, Value)>) -> Result<(), String> {
        match value {
            Value::Object(fields) if depth < 8 && !self.settings.mapping.columns.contains_key(&name) => {
                for (key, value) in fields {
                    self.flatten(format!("{name}.{key}"), value, depth + 1, cells)?;
                }
            }
            _ => cells.push((self.known_field(&name)?, value.clone())),
        }
        Ok(())
    }

    fn take(&mut self, person: &mut Person, extra: &mut Extra, field: &Field, written: Written<'_>, line: u64) -> Result<(), String> {
        if written.as_text().is_some_and(|text| text.trim().is_empty()) {
            return Ok(());
        }
        let clear = match written {
            Written::Cell(text) => text == "null",
            Written::Json(value) => value.is_null(),
        };
        let given = |check: &dyn Fn(&str) -> Result<String, String>| match clear {
            true => Ok(Given::Clear),
            false => Ok::<_, String>(Given::Value(check(&written.text()?)?)),
        };
        match field {
            Field::LeftOut => {}
            Field::ExternalId if !clear => person.external_id = Some(bounded(&written.text()?, 200, "external_id")?),
            Field::ExternalId => return Err("an external id cannot be cleared".into()),
            Field::FirstName => person.first_name = given(&|text| bounded(text, 200, "first_name"))?,
            Field::LastName => person.last_name = given(&|text| bounded(text, 200, "last_name"))?,
            Field::Language => {
                person.language = given(&|text| places::language(text).map_err(|why| format!("`{text}` {why} (column language)")))?
            }
            Field::Country => {
                person.country = given(&|text| places::country(text).map_err(|why| format!("`{text}` {why} (column country)")))?
            }
            Field::Zone => {
                person.zone = given(&|text| {
                    places::zone(text).map(|zone| zone.name().to_string()).map_err(|why| format!("`{text}` {why} (column zone)"))
                })?
            }
            Field::CreatedAt if !clear => person.created_at = Some(self.instant(&written.text()?, "created_at")?),
            Field::ConsentAt if !clear => extra.consent_at = Some(self.instant(&written.text()?, "consent_at")?),
            Field::ConsentProof if !clear => extra.consent_proof = Some(bounded(&written.text()?, 2000, "consent_proof")?),
            Field::CreatedAt | Field::ConsentAt | Field::ConsentProof => {}
            // People write "none" where a form wants an address: that is nothing, not a wrong address.
            Field::Email | Field::Phone if written.as_text().is_some_and(stands_for_nothing) => {}
            Field::Email if clear => person.email = Given::Clear,
            Field::Email => person.email = Given::Value(self.email(&written.text()?)?),
            // The phone waits for the row's country.
            Field::Phone if clear => person.phone = Given::Clear,
            Field::Phone => extra.phone = Some(written.text()?.into_owned()),
            Field::Consent { .. } | Field::Suppressed if clear => {}
            Field::Consent { topic, channel } => self.consent(person, topic, *channel, written)?,
            Field::Suppressed => person.suppressed = channels(&written.value()).ok_or("`suppressed` is a list of channels")?,
            Field::Attribute(path) if clear => person.attributes.push((path.clone(), Value::Null)),
            Field::Attribute(path) => {
                let value = match written {
                    Written::Cell(text) => self.catalogue.text(path, text.trim(), line)?,
                    Written::Json(value) => self.catalogue.value(path, value, line)?,
                };
                person.attributes.push((path.clone(), value));
            }
        }
        Ok(())
    }

    fn instant(&self, text: &str, column: &str) -> Result<i64, String> {
        Moment::read(text, self.settings.mapping.dates.as_ref()).map(|moment| micros(moment.instant(self.settings.zone))).ok_or_else(|| {
            format!("`{text}` is no date (column {column}); write it like 2027-03-01, or name its pattern in a mapping (`dates`)")
        })
    }

    fn email(&mut self, cell: &str) -> Result<(String, [u8; 16]), String> {
        let (address, more) = email::in_cell(cell).map_err(|(written, why)| format!("the email address `{written}` {why}"))?;
        self.more_addresses += u64::from(more);
        let key = self.settings.keys.address(Channel::Email, address.as_str());
        Ok((address.into_string(), key))
    }

    /// The first of several numbers in a cell is the one.
    fn phone(&mut self, cell: &str, country: Option<&str>) -> Result<(String, [u8; 16]), String> {
        let mut parts = cell.split([';', ',']).flat_map(|part| part.split(" / ")).map(str::trim).filter(|part| !part.is_empty());
        let first = parts.next().unwrap_or("");
        let number = PhoneNumber::parse(first, country).map_err(|why| format!("the phone number `{first}` {why}"))?;
        if parts.next().is_some() {
            self.more_addresses += 1;
        }
        let key = self.settings.keys.address(Channel::Sms, number.as_str());
        Ok((number.into_string(), key))
    }

    fn consent(&self, person: &mut Person, topic: &Arc<str>, channel: Option<Channel>, written: Written<'_>) -> Result<(), String> {
        let all = || match (channel, self.settings.topics.get(&**topic)) {
            (Some(channel), _) => vec![channel],
            (None, Some(channels)) => channels.clone(),
            (None, None) => vec![Channel::Email],
        };
        let word = written.as_text().map(|text| lower_case(text.trim()));
        let (channels, state) = if let Some(state) = word.as_deref().and_then(ConsentState::from_word) {
            (all(), state)
        } else if let (None, Some(channels)) = (channel, channels(&written.value())) {
            (channels, ConsentState::Granted)
        } else {
            let text = word.unwrap_or_else(|| written.value().to_string());
            match self.settings.reading().truth(&text) {
                Some(true) => (all(), ConsentState::Granted),
                Some(false) => (all(), ConsentState::Withdrawn),
                None => {
                    return Err(format!(
                        "`{text}` is no consent (topic {topic}); write true or false, granted, confirmed, pending, withdrawn or objected, or the channels, or list what means true in a mapping (`true_is`)"
                    ));
                }
            }
        };
        person.consents.extend(given(topic, channels, state, None, None, None));
        Ok(())
    }
}

/// What a row gives or takes; an objection is one to everything, whatever topic and channel it is written for.
pub(super) fn given(
    topic: &Arc<str>,
    channels: Vec<Channel>,
    state: ConsentState,
    at: Option<i64>,
    proof: Option<&String>,
    until: Option<i64>,
) -> Vec<ConsentGiven> {
    let (topic, channels) = match state {
        ConsentState::Objected => ("*".into(), Channel::ALL.to_vec()),
        _ => (topic.clone(), channels),
    };
    channels.into_iter().map(|channel| ConsentGiven { topic: topic.clone(), channel, state, at, proof: proof.cloned(), until }).collect()
}

/// A value as it stands in the file.
#[derive(Debug, Clone, Copy)]
enum Written<'a> {
    /// In a table, where everything is text.
    Cell(&'a str),
    Json(&'a Value),
}

impl<'a> Written<'a> {
    fn as_text(self) -> Option<&'a str> {
        match self {
            Written::Cell(text) => Some(text),
            Written::Json(value) => value.as_str(),
        }
    }

    /// A plain value as text, without blanks around it.
    fn text(self) -> Result<Cow<'a, str>, String> {
        match self {
            Written::Cell(text) => Ok(text.trim().into()),
            Written::Json(Value::String(text)) => Ok(text.trim().into()),
            Written::Json(Value::Number(number)) => Ok(number.to_string().into()),
            Written::Json(Value::Bool(truth)) => Ok(truth.to_string().into()),
            Written::Json(_) => Err("a plain value is wanted here, no list or mapping".to_string()),
        }
    }

    fn value(self) -> Cow<'a, Value> {
        match self {
            Written::Cell(text) => Cow::Owned(Value::from(text)),
            Written::Json(value) => Cow::Borrowed(value),
        }
    }
}

/// Cells that need others of their row.
#[derive(Default)]
struct Extra {
    phone: Option<String>,
    consent_at: Option<i64>,
    consent_proof: Option<String>,
}

impl Intake for People {
    type Item = Person;

    fn columns(&mut self, header: &[String]) -> Result<(), String> {
        let missing: Vec<&str> =
            self.settings.mapping.columns.keys().map(String::as_str).filter(|column| !header.iter().any(|name| name == column)).collect();
        if let Some(column) = missing.first() {
            return Err(format!("the file has no column `{column}`, which the mapping names; its columns are {}", listed(header)));
        }
        let mut wrong = Vec::new();
        for column in header {
            match self.field(column) {
                Ok(field) => {
                    if !matches!(field, Field::LeftOut | Field::Attribute(_)) && self.columns.contains(&field) {
                        wrong.push(format!("the column `{column}` is given a field that another column has already"));
                    }
                    self.columns.push(field);
                }
                Err(why) => wrong.push(why),
            }
        }
        if !wrong.is_empty() {
            return Err(wrong.join("\n"));
        }
        let names_someone = |field: &Field| matches!(field, Field::ExternalId | Field::Email | Field::Phone);
        if !self.columns.iter().any(names_someone) && self.settings.number_rows.is_none() {
            return Err(format!(
                "no column says who a customer is: external_id, email or phone is needed; the file has {}. Name one with --map \"COLUMN=email\", or let --number-rows PREFIX number the rows",
                listed(header)
            ));
        }
        self.prepare_set()
    }

    fn sample(&mut self, rows: &[Row]) -> Result<(), String> {
        if self.columns.is_empty() {
            self.prepare_set()?;
        }
        for row in rows {
            match &row.cells {
                Cells::Texts(cells) => {
                    for (field, cell) in self.columns.iter().zip(cells) {
                        let cell = cell.trim();
                        if let Field::Attribute(path) = field
                            && !cell.is_empty()
                            && cell != "null"
                        {
                            self.catalogue.look_at(path, &Value::String(cell.to_string()), true);
                        }
                    }
                }
                Cells::Object(fields) => {
                    for (field, value) in self.flattened(fields).unwrap_or_default() {
                        if let Field::Attribute(path) = field
                            && value.as_str() != Some("")
                        {
                            self.catalogue.look_at(&path, &value, false);
                        }
                    }
                }
                Cells::Unread(_) => {}
            }
        }
        self.catalogue.settle();
        Ok(())
    }

    fn read(&mut self, row: &Row) -> Result<Person, String> {
        let mut person = Person::default();
        let mut extra = Extra::default();
        let set = std::mem::take(&mut self.set);
        let taken = self.take_cells(&mut person, &mut extra, &set, row);
        self.set = set;
        taken?;
        if let (None, Some(prefix)) = (&person.external_id, &self.settings.number_rows) {
            person.external_id = Some(format!("{prefix}{}", row.number));
        }
        if let Some(cell) = &extra.phone {
            let country = match &person.country {
                Given::Value(country) => Some(country.clone()),
                _ => self.settings.country.clone(),
            };
            person.phone = Given::Value(self.phone(cell, country.as_deref())?);
        }
        for consent in &mut person.consents {
            consent.at = extra.consent_at;
            consent.proof.clone_from(&extra.consent_proof);
        }
        if person.external_id.is_none() && !matches!(person.email, Given::Value(_)) && !matches!(person.phone, Given::Value(_)) {
            return Err("the row has no external_id, email or phone, so nobody knows who it is".into());
        }
        person.new_attributes = self.catalogue.take_new();
        Ok(person)
    }

    fn notes(&mut self) -> Vec<String> {
        let mut notes = self.catalogue.notes();
        if self.more_addresses > 0 {
            notes.push(format!("{} cells held more than one email address or phone number; the first was taken", self.more_addresses));
        }
        notes
    }
}

impl People {
    fn take_cells(&mut self, person: &mut Person, extra: &mut Extra, set: &[(Field, String)], row: &Row) -> Result<(), String> {
        for (field, value) in set {
            self.take(person, extra, field, Written::Cell(value), row.line)?;
        }
        match &row.cells {
            Cells::Texts(cells) => {
                let columns = std::mem::take(&mut self.columns);
                let mut result = Ok(());
                for (field, cell) in columns.iter().zip(cells) {
                    if cell.is_empty() || *field == Field::LeftOut {
                        continue;
                    }
                    result = self.take(person, extra, field, Written::Cell(cell), row.line);
                    if result.is_err() {
                        break;
                    }
                }
                self.columns = columns;
                result
            }
            Cells::Object(fields) => {
                for (field, value) in self.flattened(fields)? {
                    self.take(person, extra, &field, Written::Json(&value), row.line)?;
                }
                Ok(())
            }
            Cells::Unread(_) => Err("the row cannot be read".into()),
        }
    }
}

/// `-`, `нет`, `n/a`: what stands in a cell that somebody had nothing to put into.
fn stands_for_nothing(text: &str) -> bool {
    // None of these words has an @ or a digit, as what stands here mostly has.
    if text.bytes().any(|byte| byte == b'@' || byte.is_ascii_digit()) && text.bytes().any(|byte| byte.is_ascii_alphanumeric()) {
        return false;
    }
    let text = text.trim().to_lowercase();
    !text.chars().any(char::is_alphanumeric)
        || ["нет", "немає", "нема", "ні", "n/a", "na", "none", "no", "nil", "brak", "отсутствует"].contains(&text.as_str())
}

/// A header as the name of a field: `First Name` → `first_name`.
pub(super) fn own_name(column: &str) -> String {
    match column.trim().to_lowercase().replace([' ', '-'], "_") {
        name if name == "e_mail" => "email".into(),
        name => name,
    }
}

pub(super) fn listed(header: &[String]) -> String {
    header.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// A list of channel words, or one text with blanks between them; `None` where something else stands.
pub(super) fn channels(value: &Value) -> Option<Vec<Channel>> {
    match value {
        Value::Array(items) => items.iter().map(|item| item.as_str().and_then(Channel::from_word)).collect(),
        Value::String(text) => {
            let words: Option<Vec<Channel>> = text.split([' ', ',', ';']).filter(|word| !word.is_empty()).map(Channel::from_word).collect();
            words.filter(|channels| !channels.is_empty())
        }
        _ => None,
    }
}

/// A text of bounded length without control characters.
pub(super) fn bounded(text: &str, most: usize, column: &str) -> Result<String, String> {
    if text.len() > most && text.chars().count() > most {
        return Err(format!("the value of {column} is longer than {most} characters"));
    }
    if text.chars().any(|c| c.is_control()) {
        return Err(format!("the value of {column} has control characters, such as a line end"));
    }
    Ok(text.to_string())
}
