//! Files of suppressions: address (or email, or phone), reason, since, until, source.

use super::columns::{Columns, take, text};
use super::{Intake, Outcome, Settings, Sink};
use crate::customers::email;
use crate::customers::files::Row;
use crate::customers::phone::PhoneNumber;
use crate::store::suppressions::SuppressionRow;
use crate::store::{self, Store, micros};
use crate::types::{Channel, SuppressionReason};
use serde_json::Value;
use std::collections::HashMap;

pub(crate) struct Suppressions {
    settings: Settings,
    columns: Columns,
}

const FIELDS: &[&str] = &["address", "email", "phone", "channel", "reason", "since", "until", "source"];

impl Suppressions {
    pub fn new(settings: Settings) -> Self {
        Suppressions { columns: Columns::new(settings.clone()), settings }
    }

    fn address(&self, fields: &mut Vec<(String, Value)>) -> Result<(Channel, [u8; 16]), String> {
        let channel = take(fields, "channel").map(|word| text(&word, "channel")).transpose()?;
        let written = [("email", Some(Channel::Email)), ("phone", Some(Channel::Sms)), ("address", None)]
            .into_iter()
            .find_map(|(name, channel)| take(fields, name).map(|value| (text(&value, name), channel)));
        let Some((cell, by_column)) = written else { return Err("the row names no address (column address, email or phone)".into()) };
        let cell = cell?;
        let channel = match (channel, by_column) {
            (Some(word), _) => {
                Channel::from_word(&word).ok_or_else(|| format!("`{word}` is no channel; these are email, sms, letter, call, webhook"))?
            }
            (None, Some(channel)) => channel,
            (None, None) if cell.contains('@') => Channel::Email,
            (None, None) => Channel::Sms,
        };
        let address = if channel == Channel::Email {
            let (address, _) = email::in_cell(&cell).map_err(|(written, why)| format!("the email address `{written}` {why}"))?;
            address.into_string()
        } else {
            let number =
                PhoneNumber::parse(&cell, self.settings.country.as_deref()).map_err(|why| format!("the phone number `{cell}` {why}"))?;
            number.into_string()
        };
        Ok((channel, self.settings.keys.address(channel, &address)))
    }
}

impl Intake for Suppressions {
    type Item = SuppressionRow;

    fn columns(&mut self, header: &[String]) -> Result<(), String> {
        self.columns.header(header, false, &|name| {
            (!FIELDS.contains(&name)).then(|| {
                format!(
                    "`{name}` is no field of a suppression; these are address (or email, phone), channel, reason, since, until and source"
                )
            })
        })
    }

    fn read(&mut self, row: &Row) -> Result<SuppressionRow, String> {
        let (mut fields, _) = self.columns.fields(row)?;
        let (channel, key) = self.address(&mut fields)?;
        let reason = match take(&mut fields, "reason") {
            None => SuppressionReason::Import,
            Some(word) => {
                let word = text(&word, "reason")?.to_lowercase().replace([' ', '-'], "_");
                SuppressionReason::from_word(&word).ok_or_else(|| {
                    let all: Vec<&str> = SuppressionReason::ALL.iter().map(|reason| reason.word()).collect();
                    format!("`{word}` is no reason; these are {}", all.join(", "))
                })?
            }
        };
        let mut instant = |name: &str| take(&mut fields, name).map(|at| self.columns.instant(&at, name)).transpose();
        let (since, until) = (instant("since")?, instant("until")?);
        let source = take(&mut fields, "source").map(|source| text(&source, "source")).transpose()?;
        if let Some((name, _)) = fields.first() {
            return Err(format!("`{name}` is no field of a suppression"));
        }
        let since = since.unwrap_or_else(|| micros(self.settings.now));
        if until.is_some_and(|until| until <= since) {
            return Err("it ends before it begins (columns since and until)".into());
        }
        let source = source.unwrap_or_else(|| self.settings.source.clone());
        Ok(SuppressionRow { key, channel: channel.code(), reason, since, until, source })
    }
}

pub(crate) struct Writer {
    store: Store,
    dry_run: bool,
}

impl Writer {
    pub fn new(store: Store, settings: &Settings) -> Self {
        Writer { store, dry_run: settings.dry_run }
    }
}

impl Sink for Writer {
    type Item = SuppressionRow;

    async fn write(&mut self, items: Vec<SuppressionRow>) -> Result<Vec<Outcome>, store::Error> {
        let keys: Vec<[u8; 16]> = items.iter().map(|item| item.key).collect();
        let mut known: HashMap<[u8; 16], Option<i64>> =
            self.store.suppressions(&keys).await?.into_iter().map(|row| (row.key, row.until)).collect();
        let mut outcomes = Vec::with_capacity(items.len());
        for item in &items {
            let outcome = match known.get(&item.key) {
                None => Outcome::New,
                Some(Some(until)) if item.until.is_none_or(|longer| longer > *until) => Outcome::Changed,
                Some(_) => Outcome::Unchanged,
            };
            if outcome != Outcome::Unchanged {
                known.insert(item.key, item.until);
            }
            outcomes.push(outcome);
        }
        if !self.dry_run {
            self.store.keep_suppressions(&items).await?;
        }
        Ok(outcomes)
    }

    async fn finish(&mut self) -> Result<Vec<String>, store::Error> {
        Ok(Vec::new())
    }
}
