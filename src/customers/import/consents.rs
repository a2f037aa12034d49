//! Files of consents: customer, topic, channel, state, and at, until, source, proof where they are known.
//!
//! `until` is when a consent ends by itself: Canada's implied consent lives two years after a purchase, half a year after a question.

use super::columns::{CUSTOMER, Columns, take, text};
use super::events::Finder;
use super::people::ConsentGiven;
use super::{Intake, Outcome, Settings, Sink};
use crate::customers::files::Row;
use crate::customers::reference::Reference;
use crate::store::consents::ConsentRow;
use crate::store::customers::Wanted;
use crate::store::responses::digest;
use crate::store::{self, Store, micros};
use crate::types::{Channel, ConsentState};

pub(crate) struct Consent {
    who: Reference,
    given: Vec<ConsentGiven>,
    source: String,
}

pub(crate) struct Consents {
    settings: Settings,
    columns: Columns,
}

const FIELDS: &[&str] = &["topic", "channel", "state", "at", "until", "source", "proof"];

impl Consents {
    pub fn new(settings: Settings) -> Self {
        Consents { columns: Columns::new(settings.clone()), settings }
    }
}

impl Intake for Consents {
    type Item = Consent;

    fn columns(&mut self, header: &[String]) -> Result<(), String> {
        self.columns.header(header, true, &|name| {
            (!CUSTOMER.contains(&name) && !FIELDS.contains(&name)).then(|| {
                format!("`{name}` is no field of a consent; these are customer, topic, channel, state, at, until, source and proof")
            })
        })
    }

    fn read(&mut self, row: &Row) -> Result<Consent, String> {
        let (mut fields, _) = self.columns.fields(row)?;
        let who = self.columns.who(&mut fields)?;
        let topic = text(&take(&mut fields, "topic").ok_or("the row names no topic")?, "topic")?;
        if topic != "*" && !self.settings.topics.is_empty() && !self.settings.topics.contains_key(&topic) {
            return Err(format!("there is no topic `{topic}` in posthaste.yaml"));
        }
        let channels = match take(&mut fields, "channel") {
            Some(value) => super::people::channels(&value).ok_or("the channel is none of email, sms, letter, call, webhook")?,
            None => self.settings.topics.get(&topic).cloned().unwrap_or_else(|| vec![Channel::Email]),
        };
        let written = text(&take(&mut fields, "state").ok_or("the row does not say what was agreed to (column state)")?, "state")?;
        let state = match ConsentState::from_word(&written.to_lowercase()) {
            Some(state) => state,
            None => match self.settings.reading().truth(&written) {
                Some(true) => ConsentState::Granted,
                Some(false) => ConsentState::Withdrawn,
                None => {
                    return Err(format!(
                        "`{written}` is no state of consent; these are granted, confirmed, pending, withdrawn and objected"
                    ));
                }
            },
        };
        let at = take(&mut fields, "at").map(|at| self.columns.instant(&at, "at")).transpose()?;
        let until = take(&mut fields, "until").map(|until| self.columns.instant(&until, "until")).transpose()?;
        if until.is_some_and(|until| until <= at.unwrap_or(micros(self.settings.now))) {
            return Err("the consent ends before it begins: `until` must be later than `at`, or than now where there is no `at`".into());
        }
        if until.is_some() && !matches!(state, ConsentState::Granted | ConsentState::Confirmed) {
            return Err(format!("only what is granted or confirmed can end by itself: leave out `until` with {state}"));
        }
        let proof = take(&mut fields, "proof").map(|proof| text(&proof, "proof")).transpose()?;
        let source = take(&mut fields, "source").map(|source| text(&source, "source")).transpose()?;
        if let Some((name, _)) = fields.first() {
            return Err(format!("`{name}` is no field of a consent"));
        }
        let given = super::people::given(&topic.into(), channels, state, at, proof.as_ref(), until);
        Ok(Consent { who, given, source: source.unwrap_or_else(|| self.settings.source.clone()) })
    }
}

pub(crate) struct Writer {
    store: Store,
    finder: Finder,
    now: i64,
    dry_run: bool,
}

impl Writer {
    pub fn new(store: Store, settings: &Settings) -> Self {
        Writer { finder: Finder::new(store.clone()), store, now: micros(settings.now), dry_run: settings.dry_run }
    }
}

impl Sink for Writer {
    type Item = Consent;

    async fn write(&mut self, items: Vec<Consent>) -> Result<Vec<Outcome>, store::Error> {
        let found = self.finder.find(items.iter().map(|item| &item.who)).await?;
        let ids = found.iter().filter_map(|found| found.as_ref().ok().copied()).collect();
        let mut stored = self.store.find_customers(&Wanted { ids, with_consents: true, ..Wanted::default() }).await?.customers;
        let (mut outcomes, mut rows) = (Vec::with_capacity(items.len()), Vec::new());
        for (item, found) in items.into_iter().zip(found) {
            let customer = match found {
                Ok(customer) => customer,
                Err(why) => {
                    outcomes.push(Outcome::Rejected(why));
                    continue;
                }
            };
            let Some(stored) = stored.get_mut(&customer) else {
                outcomes.push(Outcome::Rejected(format!("`{}` is no customer in the base", item.who.text)));
                continue;
            };
            let mut outcome = Outcome::Unchanged;
            for given in &item.given {
                let known = stored.consents.iter().find(|known| known.topic == *given.topic && known.channel == given.channel.code());
                if given.at.is_none() && known.is_some_and(|known| super::merging::adds_nothing(known.state, given.state)) {
                    continue;
                }
                let row = super::merging::consent_row(customer, given, &item.source, self.now);
                let (is_new, beats) = (known.is_none(), known.is_none_or(|known| row.beats(known.state, known.at)));
                let is_same = known.is_some_and(|known| known.at == row.at && known.state == row.state);
                if beats && !is_same {
                    outcome = if is_new && outcome != Outcome::Changed { Outcome::New } else { Outcome::Changed };
                    stored.consents.retain(|known| known.topic != *given.topic || known.channel != given.channel.code());
                    stored.consents.push(store::consents::StoredConsent {
                        topic: row.topic.clone(),
                        channel: row.channel,
                        state: row.state,
                        at: row.at,
                        has_proof: row.proof.is_some(),
                    });
                }
                rows.push(row);
            }
            outcomes.push(outcome);
        }
        if !self.dry_run {
            self.store.append_consents(&distinct(rows), false).await?;
        }
        Ok(outcomes)
    }

    async fn finish(&mut self) -> Result<Vec<String>, store::Error> {
        Ok(Vec::new())
    }
}

/// Without exact repetitions inside the batch.
fn distinct(rows: Vec<ConsentRow>) -> Vec<ConsentRow> {
    let mut seen = std::collections::HashSet::new();
    rows.into_iter().filter(|row| seen.insert(digest(&[&row.customer.to_be_bytes(), &row.source_key]))).collect()
}
