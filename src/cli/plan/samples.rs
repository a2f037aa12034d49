//! Three messages of a campaign as real customers would get them: the same code that sends, without sending.

use super::view::Sample;
use crate::campaigns::Definitions;
use crate::dispatch::{Identity, Sending, Unsendable};
use crate::plan::{Preview, add_saved};
use crate::store::Store;
use crate::store::blocks::{Due, Person};
use crate::store::planning::Planned;
use crate::templates::sms;
use crate::tracking::Tokens;
use crate::types::{Channel, Time};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Renders for people of the base without a run: for `plan`, `preview` and `send-test`.
pub struct Studio {
    pub identity: Identity,
    pub sending: Sending,
}

impl Studio {
    /// `identity` gives real or invented addresses to the links; nothing is looked up when they are followed.
    pub fn new(definitions: Arc<Definitions>, key: &str, identity: Identity, now: Time) -> Self {
        Studio { identity, sending: Sending::alone(definitions, key, now) }
    }

    /// With links that lead nowhere.
    pub fn with_invented_links(definitions: Arc<Definitions>, key: &str, now: Time) -> anyhow::Result<Self> {
        let identity = Identity::new(Tokens::new("p:previews-sign-nothing-real")?, "preview", BTreeMap::new());
        Ok(Studio::new(definitions, key, identity, now))
    }
}

/// A row of the ledger that was never written.
pub fn due(customer: i64, person: Person, channel: Channel, arm: i16, address: Option<String>, now: Time) -> Due {
    Due { id: customer, customer, ..Due::alone(channel, arm, address, now, person) }
}

/// The samples of a preview, rendered.
pub async fn rendered(
    store: &Store,
    definitions: &Arc<Definitions>,
    key: &str,
    preview: &Preview,
    now: Time,
) -> anyhow::Result<Vec<Sample>> {
    let mut studio = Studio::with_invented_links(definitions.clone(), key, now)?;
    studio.sending.arms = preview.arms.iter().map(|arm| (arm.arm, arm.name.clone())).collect();
    let mut samples = Vec::new();
    for row in &preview.samples {
        if let Some(mut person) = store.sample_person(row.customer).await? {
            if let Some(campaign) = definitions.campaigns.get(key) {
                add_saved(store, definitions, campaign, vec![(row.customer, &mut person)], now).await?;
            }
            let mut due = due(row.customer, person, row.channel, row.arm, row.address.as_deref().map(String::from), now);
            due.event = last_event(store, definitions, key, row.customer).await?;
            samples.push(sample(&studio, row, due, now));
        }
    }
    Ok(samples)
}

/// The customer's last event of the kind that starts the campaign; `None` where none does, or none happened.
pub async fn last_event(store: &Store, definitions: &Definitions, key: &str, customer: i64) -> anyhow::Result<Option<(String, i64)>> {
    let trigger = definitions.campaigns.get(key).and_then(|campaign| campaign.schedule.when.as_ref());
    match trigger.and_then(|trigger| trigger.event()) {
        Some(name) => Ok(store.last_event(customer, name).await?),
        None => Ok(None),
    }
}

fn sample(studio: &Studio, row: &Planned, due: Due, now: Time) -> Sample {
    let person = &due.person;
    let name = [&person.first_name, &person.last_name].into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" ");
    let id = person.external_id.clone().unwrap_or_else(|| format!("#{}", row.customer));
    let mut sample = Sample {
        customer: if name.is_empty() { id } else { format!("{name} ({id})") },
        channel: row.channel.to_string(),
        arm: studio.sending.arms.get(&row.arm).cloned().unwrap_or_default(),
        language: String::new(),
        subject: None,
        text: String::new(),
        bytes: None,
        parts: None,
        failed: None,
    };
    match studio.identity.fill(&studio.sending, &due, now) {
        Ok(filled) => {
            sample.language = filled.language.clone();
            sample.subject = (row.channel == Channel::Email).then(|| filled.subject.clone());
            sample.parts = (row.channel == Channel::Sms).then(|| u16::try_from(sms::parts(&filled.text).parts).unwrap_or(u16::MAX));
            sample.bytes = filled.html.as_ref().map(String::len);
            sample.text = beginning(&filled.text);
        }
        Err(Unsendable::Refused(refusal, detail)) => sample.failed = Some(format!("refused {refusal}: {detail}")),
        Err(Unsendable::Failed(failure, detail)) => sample.failed = Some(format!("{failure}: {detail}")),
    }
    sample
}

/// The first words, on one line.
fn beginning(text: &str) -> String {
    const MOST: usize = 100;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= MOST { line } else { format!("{}…", line.chars().take(MOST).collect::<String>()) }
}
