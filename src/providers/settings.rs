//! The kind's own keys of a provider in posthaste.yaml, read with `${NAME}` resolved.

use crate::literals;
use crate::types::Time;
use reqwest::header::HeaderValue;
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

/// Why a provider cannot open. It closes that provider, not the process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the provider `{provider}` cannot open: `{key}` {why}")]
    Key { provider: String, key: String, why: String },
    #[error("the provider `{provider}` cannot open: {why}")]
    Other { provider: String, why: String },
}

/// What replaces `${NAME}` in a text; the error is the first name that has no value.
pub type Resolve<'a> = &'a dyn Fn(&str) -> Result<String, String>;

/// The keys of one provider. Each read notes its key, so that [`Keys::done`] finds those that nobody knows.
pub struct Keys<'a> {
    provider: &'a str,
    values: &'a Map<String, Value>,
    resolve: Resolve<'a>,
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Keys<'a> {
    pub fn new(provider: &'a str, values: &'a Map<String, Value>, resolve: Resolve<'a>) -> Keys<'a> {
        Keys { provider, values, resolve, known: RefCell::default() }
    }

    pub fn wrong(&self, key: &str, why: &str) -> Error {
        Error::Key { provider: self.provider.to_string(), key: key.to_string(), why: why.to_string() }
    }

    fn value(&self, key: &'static str) -> Option<&'a Value> {
        self.known.borrow_mut().push(key);
        self.values.get(key).filter(|value| !value.is_null())
    }

    /// A text with its secrets in place. Numbers and booleans count as their text.
    pub fn text(&self, key: &'static str) -> Result<Option<String>, Error> {
        self.value(key).map(|value| self.resolved(key, value)).transpose()
    }

    pub fn needed(&self, key: &'static str) -> Result<String, Error> {
        self.text(key)?.filter(|text| !text.is_empty()).ok_or_else(|| self.wrong(key, "is missing"))
    }

    fn resolved(&self, key: &str, value: &Value) -> Result<String, Error> {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(value) => value.to_string(),
            _ => return Err(self.wrong(key, "must be a text")),
        };
        (self.resolve)(&text)
            .map_err(|name| self.wrong(key, &format!("names the secret {name}, which is not set: write it to .env or the environment")))
    }

    pub fn number(&self, key: &'static str, default: u64, smallest: u64, largest: u64) -> Result<u64, Error> {
        let Some(text) = self.text(key)? else { return Ok(default) };
        match text.parse::<u64>() {
            Ok(number) if (smallest..=largest).contains(&number) => Ok(number),
            _ => Err(self.wrong(key, &format!("must be a whole number from {smallest} to {largest}, not `{text}`"))),
        }
    }

    /// A duration as the files write it, `30 seconds`.
    pub fn wait(&self, key: &'static str, default: Duration, shortest: Duration, longest: Duration) -> Result<Duration, Error> {
        let Some(text) = self.text(key)? else { return Ok(default) };
        let start = Time::UNIX_EPOCH;
        let read = literals::Duration::read(&text).map_err(|why| self.wrong(key, &why))?;
        match (read.added(start, chrono_tz::UTC) - start).to_std() {
            Ok(wait) if (shortest..=longest).contains(&wait) => Ok(wait),
            _ => Err(self.wrong(key, &format!("must be from {} to {} seconds, not `{text}`", shortest.as_secs(), longest.as_secs()))),
        }
    }

    /// A secret that goes into a header.
    pub(crate) fn secret(&self, key: &'static str, header: impl Fn(&str) -> Option<HeaderValue>) -> Result<HeaderValue, Error> {
        header(&self.needed(key)?).ok_or_else(|| self.wrong(key, "holds a character that no header may hold"))
    }

    /// One of these words, the first when it is not written.
    pub fn word(&self, key: &'static str, words: &[&'static str]) -> Result<&'static str, Error> {
        let Some(text) = self.text(key)? else { return Ok(words.first().copied().unwrap_or_default()) };
        let found = words.iter().find(|word| **word == text).copied();
        found.ok_or_else(|| self.wrong(key, &format!("`{text}` is none of {}", words.join(", "))))
    }

    /// A text that becomes a part of an address: letters, digits, dots and hyphens.
    pub fn label(&self, key: &'static str) -> Result<String, Error> {
        let text = self.needed(key)?;
        let fits = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
        if fits { Ok(text) } else { Err(self.wrong(key, "may hold letters, digits, dots, hyphens and underscores only")) }
    }

    /// A text or a list of texts.
    pub fn list(&self, key: &'static str) -> Result<Vec<String>, Error> {
        match self.value(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => items.iter().map(|item| self.resolved(key, item)).collect(),
            Some(value) => Ok(vec![self.resolved(key, value)?]),
        }
    }

    /// Names with a text or a list of texts each.
    pub fn mapping(&self, key: &'static str) -> Result<BTreeMap<String, Vec<String>>, Error> {
        let Some(value) = self.value(key) else { return Ok(BTreeMap::new()) };
        let Value::Object(fields) = value else { return Err(self.wrong(key, "must be a mapping")) };
        let texts = |value: &Value| match value {
            Value::Array(items) => items.iter().map(|item| self.resolved(key, item)).collect(),
            value => Ok(vec![self.resolved(key, value)?]),
        };
        fields.iter().map(|(name, value)| Ok((name.clone(), texts(value)?))).collect()
    }

    /// After all known keys were read: one that is not among them is an error.
    pub fn done(self) -> Result<(), Error> {
        let known = self.known.borrow();
        let Some(unknown) = self.values.keys().find(|key| !known.contains(&key.as_str())) else { return Ok(()) };
        let near = known.iter().map(|name| (strsim::jaro_winkler(unknown, name), name)).max_by(|a, b| a.0.total_cmp(&b.0));
        let why = match near {
            Some((score, name)) if score > 0.75 => format!("is not known; did you mean `{name}`?"),
            _ => format!("is not known; the keys are {}", known.join(", ")),
        };
        Err(self.wrong(unknown, &why))
    }
}
