//! Sign-ups by forms: what was posted is read and checked, and decided in the light of who is known.
//!
//! Whoever posts may be a stranger, so a sign-up that is not confirmed takes nothing away and overwrites nothing:
//! - a person who is not known is made, with what was typed; an existing person stays as they are, and what is *empty* is filled in when they confirm;
//! - a further address is taken only for a person whom the sign-up makes, and only if it is nobody's;
//! - a topic with `confirm: true` becomes pending where nothing was said before; who had agreed or withdrawn keeps that state until they confirm. So it is
//!   with any topic for an address that was unsubscribed: only a confirmation lifts that;
//! - an address that is suppressed for another reason (bounces, a complaint, erasure, by hand) is not written to, and nothing is kept.
//!
//! The confirming message goes out by a campaign that the pending consent starts. An address is asked at most [`MOST_ASKS`] times in 24 hours and not again
//! within [`PAUSE`]; a form may remind once; after [`LIFE`] it is forgotten ([`tidy`]).

use super::import::people::{ConsentGiven, Given, Person};
use super::import::{Settings, merging};
use super::phone::PhoneNumber;
use super::values::Reading;
use super::{email, places};
use crate::campaigns::forms::{asked_word, exact};
use crate::campaigns::{Form, Workspace};
use crate::literals::ValueType;
use crate::policy::{Consent, state};
use crate::store::consents::ConsentRow;
use crate::store::customers::{Customer, Found, Wanted};
use crate::store::responses::digest;
use crate::store::signups::{COUNTED, Known, Waiting, Written, source};
use crate::store::{self, Store, from_micros, micros};
use crate::types::{Channel, ConsentState, MessageId, SuppressionReason, Time};
use aws_lc_rs::digest::{SHA256, digest as sha256};
use chrono::TimeDelta;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Confirming messages to one address in 24 hours, and the least time between two.
pub const MOST_ASKS: usize = 3;
pub const PAUSE: TimeDelta = TimeDelta::minutes(10);
/// A sign-up that nobody confirms is kept so long.
pub const LIFE: TimeDelta = TimeDelta::days(30);
/// The link of a confirming message.
pub const LINK_LIFE: TimeDelta = TimeDelta::days(7);
/// Reminded of is what is younger, so that the first link may still be used.
const REMINDED_UNTIL: TimeDelta = TimeDelta::days(6);
/// Characters of a text.
const LONGEST: usize = 200;

/// What is wrong with a field, for whoever words it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    Missing,
    Email,
    Phone,
    NotAgreed,
    NoTopic,
    TooLong,
    /// Control characters, or not of the field's type.
    Unreadable,
}

/// A post that can be taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Channel, address and its key, in the order of `asks`; the first says who it is.
    pub addresses: Vec<(Channel, String, [u8; 16])>,
    /// Own fields and attributes.
    pub fields: Vec<(String, Value)>,
    pub topics: Vec<String>,
}

/// Reads what was posted. Names that the form does not have are passed over; all faults come at once, by field.
pub fn read(form: &Form, settings: &Settings, posted: &[(String, String)]) -> Result<Entry, BTreeMap<String, Fault>> {
    let mut faults = BTreeMap::new();
    let of = |name: &str| posted.iter().find(|(posted, _)| posted == name).map(|(_, value)| value.trim()).filter(|value| !value.is_empty());
    let country = form.fields.iter().any(|field| field.name == "country").then(|| of("country")).flatten();
    let country = country.and_then(|country| places::country(country).ok()).or_else(|| settings.country.clone());
    let mut addresses = Vec::new();
    for (place, channel) in form.asks.iter().enumerate() {
        let word = asked_word(*channel);
        let read = match (of(word), channel) {
            (None, _) if place == 0 => Err(Fault::Missing),
            (None, _) => continue,
            (Some(written), Channel::Sms) => {
                PhoneNumber::parse(written, country.as_deref()).map(PhoneNumber::into_string).map_err(|_| Fault::Phone)
            }
            (Some(written), _) => email::EmailAddress::parse(written).map(email::EmailAddress::into_string).map_err(|_| Fault::Email),
        };
        match read {
            Ok(address) => {
                let key = settings.keys.address(*channel, &address);
                addresses.push((*channel, address, key));
            }
            Err(fault) => drop(faults.insert(word.to_string(), fault)),
        }
    }
    let reading = Reading { currency: settings.currency.clone(), ..Reading::default() };
    let mut fields = Vec::new();
    for field in &form.fields {
        let Some(written) = of(&field.name) else { continue };
        match value(&field.name, &field.kind, written, &reading) {
            Ok(value) => fields.push((field.name.clone(), value)),
            Err(fault) => drop(faults.insert(field.name.clone(), fault)),
        }
    }
    let topics: Vec<String> = match form.topics.as_slice() {
        [only] => vec![only.clone()],
        several => {
            let is_chosen = |topic: &String| posted.iter().any(|(name, value)| name == "topic" && value.trim() == topic);
            several.iter().filter(|topic| is_chosen(topic)).cloned().collect()
        }
    };
    if topics.is_empty() {
        faults.insert("topic".into(), Fault::NoTopic);
    }
    let has_agreed = of("agree").and_then(|agree| reading.truth(agree)).unwrap_or(false);
    if !has_agreed {
        faults.insert("agree".into(), Fault::NotAgreed);
    }
    if faults.is_empty() { Ok(Entry { addresses, fields, topics }) } else { Err(faults) }
}

fn value(name: &str, kind: &ValueType, written: &str, reading: &Reading) -> Result<Value, Fault> {
    if written.chars().count() > LONGEST {
        return Err(Fault::TooLong);
    }
    if written.chars().any(char::is_control) {
        return Err(Fault::Unreadable);
    }
    if name == "country" {
        return places::country(written).map(Value::String).map_err(|_| Fault::Unreadable);
    }
    reading.typed(written, kind).ok_or(Fault::Unreadable)
}

/// The hash by which a proof names what was agreed to.
pub fn hash(wording: &str) -> String {
    hex::encode(sha256(&SHA256, wording.as_bytes()))
}

/// Who posted what, and where.
#[derive(Debug, Clone)]
pub struct Post<'a> {
    pub form: &'a str,
    pub entry: Entry,
    /// Of the page, one of the workspace's.
    pub language: &'a str,
    pub wording: &'a str,
    /// The applied version of posthaste.yaml in which it stands.
    pub version: i64,
    pub page: &'a str,
    /// Cut: no whole address is kept.
    pub network: &'a str,
    pub agent: &'a str,
    pub at: Time,
}

impl Post<'_> {
    fn proof(&self) -> Value {
        json!({ "form": self.form, "wording": hash(self.wording), "version": self.version, "language": self.language, "page": self.page,
                "at": self.at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true), "network": self.network, "agent": self.agent })
    }
}

/// What became of a post. Nobody outside is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A confirming message goes out.
    Asked,
    Granted,
    /// All of it was agreed to before.
    Known,
    AskedTooOften,
    Suppressed,
}

impl Outcome {
    /// As it is counted.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Asked => "asked to confirm",
            Outcome::Granted => "granted",
            Outcome::Known => "known already",
            Outcome::AskedTooOften => "asked too often",
            Outcome::Suppressed => "suppressed",
        }
    }
}

/// Takes a post; when it returns, what follows is stored.
pub async fn take(store: &Store, workspace: &Workspace, post: &Post<'_>) -> Result<Outcome, store::Error> {
    let keys = post.entry.addresses.iter().map(|(_, _, key)| *key).collect();
    let wanted = Wanted { keys, with_consents: true, ..Wanted::default() };
    store.sign_up(&wanted, post.at, |known| decide(known, workspace, post)).await
}

/// What stands in the way of writing to an address.
enum Bar {
    None,
    /// Only its owner lifts it, by a confirmation.
    Unsubscribed,
    ForGood,
}

fn bar(known: &Known, key: &[u8; 16], now: Time) -> Bar {
    let found = known.suppressions.iter().find(|row| row.key == *key && row.until.is_none_or(|until| until > micros(now)));
    match found.map(|row| row.reason) {
        // A pause stops advertising until its end, and nothing else.
        None | Some(SuppressionReason::Paused) => Bar::None,
        Some(SuppressionReason::Unsubscribe) => Bar::Unsubscribed,
        Some(_) => Bar::ForGood,
    }
}

/// Whether the address may be asked (again).
fn may_ask(known: &Known, key: &[u8; 16], now: Time) -> bool {
    let since = |span: TimeDelta| known.asks.iter().filter(|(asked, at)| asked == key && *at > micros(now - span)).count();
    since(COUNTED) < MOST_ASKS && since(PAUSE) == 0
}

/// The state of consent that counts: of the topic or of all, as the policy weighs them.
fn agreed(customer: &Customer, topic: &str, channel: i16) -> Option<ConsentState> {
    let of = |topic: &str| {
        let known = customer.consents.iter().find(|known| known.topic == topic && known.channel == channel);
        known.map(|known| Consent { state: known.state, at: known.at })
    };
    state(of(topic), of("*"))
}

/// Pure: what a post changes.
fn decide(mut known: Known, workspace: &Workspace, post: &Post<'_>) -> (Written, Outcome) {
    let (now, entry) = (post.at, &post.entry);
    let Some((_, _, first)) = entry.addresses.first() else { return (Written::default(), Outcome::Known) };
    if matches!(bar(&known, first, now), Bar::ForGood) {
        return (Written::default(), Outcome::Suppressed);
    }
    let owners = |known: &Known, key: &[u8; 16]| known.found.by_key.get(key).cloned().unwrap_or_default();
    let person = owners(&known, first).into_iter().min();
    let mut written = Written::default();
    let mut outcomes = Vec::new();
    let (mut given, mut addresses) = (Vec::new(), Vec::new());
    for (channel, address, key) in &entry.addresses {
        let is_theirs = match person {
            Some(person) => owners(&known, key).contains(&person),
            None => owners(&known, key).is_empty(),
        };
        if !is_theirs || matches!(bar(&known, key, now), Bar::ForGood) {
            continue;
        }
        addresses.push((*channel, address.clone(), *key));
        let customer = person.and_then(|person| known.found.customers.get(&person));
        let (mut asking, mut granting) = (Vec::new(), Vec::new());
        for topic in &entry.topics {
            let Some(declared) = workspace.topics.get(topic).filter(|declared| declared.channels.contains(channel)) else { continue };
            let has = customer.and_then(|customer| agreed(customer, topic, channel.code()));
            let must_confirm = declared.confirm || matches!(bar(&known, key, now), Bar::Unsubscribed);
            match (has, must_confirm) {
                (Some(ConsentState::Confirmed), _) if !matches!(bar(&known, key, now), Bar::Unsubscribed) => {}
                (Some(ConsentState::Granted), false) => {}
                (None | Some(ConsentState::Pending), false) => granting.push(topic.clone()),
                (None, true) => asking.push((topic.clone(), true)),
                _ => asking.push((topic.clone(), false)),
            }
        }
        let consent = |topic: &str, state| ConsentGiven {
            topic: topic.into(),
            channel: *channel,
            state,
            at: Some(micros(now)),
            proof: Some(post.proof().to_string()),
            until: None,
        };
        if !granting.is_empty() {
            outcomes.push(Outcome::Granted);
            given.extend(granting.iter().map(|topic| consent(topic, ConsentState::Granted)));
        }
        if asking.is_empty() {
            continue;
        }
        if !may_ask(&known, key, now) {
            outcomes.push(Outcome::AskedTooOften);
            continue;
        }
        outcomes.push(Outcome::Asked);
        written.asks.push(*key);
        for (place, (topic, is_first)) in asking.iter().enumerate() {
            let consent = consent(topic, ConsentState::Pending);
            let row = merging::consent_row(person.unwrap_or(-1), &consent, &source(post.form), micros(now));
            // One message asks for all topics: that of the first.
            if place > 0 {
                written.quiet.push(row.source_key);
            }
            if *is_first { given.push(consent) } else { written.questions.push(row) }
        }
        let before =
            known.waiting.iter().find(|row| Some(row.customer) == person && row.form == post.form && row.channel == channel.code());
        let mut topics: Vec<String> = before.map(|row| row.topics.clone()).unwrap_or_default();
        topics.extend(asking.into_iter().map(|(topic, _)| topic));
        topics.sort();
        topics.dedup();
        let fields = if person.is_some() { entry.fields.iter().cloned().collect() } else { Map::new() };
        written.waiting.push(Waiting {
            customer: person.unwrap_or(-1),
            form: post.form.to_string(),
            channel: channel.code(),
            key: *key,
            topics,
            fields: Value::Object(fields),
            proof: post.proof(),
            made: person.is_none() || before.is_some_and(|row| row.made),
            asked_at: micros(now),
            reminded_at: before.and_then(|row| row.reminded_at),
        });
    }
    let outcome = [Outcome::Asked, Outcome::Granted, Outcome::AskedTooOften].into_iter().find(|outcome| outcomes.contains(outcome));
    let Some(outcome) = outcome else { return (Written::default(), Outcome::Known) };
    if given.is_empty() && written.questions.is_empty() {
        // Asked too often, and nothing else: nobody is made for it either.
        return (Written::default(), outcome);
    }
    written.wording = Some((hash(post.wording), post.language.to_string(), post.wording.to_string()));
    match person {
        None => {
            let mut made = Person { consents: given, language: Given::Value(post.language.to_string()), ..Person::default() };
            for (channel, address, key) in addresses {
                let place = if channel == Channel::Sms { &mut made.phone } else { &mut made.email };
                *place = Given::Value((address, key));
            }
            fill(&mut made, entry.fields.iter().cloned(), None);
            let (changes, _) = merging::merge(vec![made], std::mem::take(&mut known.found), &source(post.form), micros(now));
            written.people = changes;
        }
        Some(person) => {
            let rows = given.iter().map(|given| merging::consent_row(person, given, &source(post.form), micros(now)));
            written.people.consents = rows.collect();
        }
    }
    (written, outcome)
}

/// Gives a person what was typed; of an existing `customer` only what is empty.
fn fill(person: &mut Person, fields: impl IntoIterator<Item = (String, Value)>, customer: Option<&Customer>) {
    for (name, value) in fields {
        let own = match name.as_str() {
            "first_name" => Some((&mut person.first_name, customer.and_then(|customer| customer.first_name.as_ref()))),
            "last_name" => Some((&mut person.last_name, customer.and_then(|customer| customer.last_name.as_ref()))),
            "country" => Some((&mut person.country, customer.and_then(|customer| customer.country.as_ref()))),
            _ => None,
        };
        match (own, value) {
            (Some((place, None)), Value::String(text)) => *place = Given::Value(text),
            (Some(_), _) => {}
            (None, value) => {
                if !customer.is_some_and(|customer| customer.attributes.contains_key(&name)) {
                    person.attributes.push((name.into(), value));
                }
            }
        }
    }
}

/// The message whose button was pressed.
#[derive(Debug, Clone, Copy)]
pub struct Confirmation<'a> {
    pub message: MessageId,
    pub customer: i64,
    pub channel: Channel,
    pub topic: &'a str,
    /// To which it went.
    pub address: Option<&'a str>,
    pub network: &'a str,
    pub agent: &'a str,
    pub at: Time,
}

/// Confirms the sign-ups for which a message asked; gives their forms. Without one there is nothing to do: it is confirmed already, or was not by a form.
pub async fn confirm(store: &Store, confirmation: &Confirmation<'_>) -> Result<Vec<String>, store::Error> {
    let wanted = Wanted { ids: vec![confirmation.customer], with_consents: true, ..Wanted::default() };
    store.sign_up(&wanted, confirmation.at, |known| confirmed(known, confirmation)).await
}

/// Pure: what a confirmation changes.
fn confirmed(known: Known, confirmation: &Confirmation<'_>) -> (Written, Vec<String>) {
    let (mut written, mut forms) = (Written::default(), Vec::new());
    let (channel, now) = (confirmation.channel.code(), micros(confirmation.at));
    let Some(customer) = known.found.customers.get(&confirmation.customer) else { return (written, forms) };
    let is_meant = |row: &&Waiting| row.channel == channel && row.topics.iter().any(|topic| topic == confirmation.topic);
    let mut filled = Person::default();
    for row in known.waiting.iter().filter(is_meant) {
        let mut proof = row.proof.clone();
        if let Value::Object(proof) = &mut proof {
            let at = confirmation.at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
            proof.insert(
                "confirmed".into(),
                json!({ "at": at, "message": confirmation.message, "network": confirmation.network, "agent": confirmation.agent }),
            );
        }
        for topic in row.topics.iter().filter(|topic| !is_withdrawn_since(customer, topic, channel, row.asked_at)) {
            written.people.consents.push(ConsentRow {
                customer: customer.id,
                topic: topic.clone(),
                channel,
                state: ConsentState::Confirmed,
                at: now,
                received_at: now,
                source: source(&row.form),
                proof: Some(proof.to_string()),
                until: None,
                source_key: digest(&[
                    b"confirmed",
                    row.form.as_bytes(),
                    topic.as_bytes(),
                    &channel.to_be_bytes(),
                    &row.asked_at.to_be_bytes(),
                ]),
            });
        }
        if let Value::Object(fields) = row.fields.clone() {
            fill(&mut filled, fields, Some(customer));
        }
        written.settled.push((customer.id, row.form.clone(), channel));
        written.lifted.push(row.key);
        forms.push(row.form.clone());
    }
    if forms.is_empty() {
        return (Written::default(), forms);
    }
    written.verified = confirmation.address.map(|address| (customer.id, channel, address.to_string()));
    // By an address of theirs `merge` knows whom it is about; it is the primary one already.
    let primary = customer.addresses.iter().find(|address| address.is_primary);
    if let Some(primary) = primary {
        let id = customer.id;
        let place = if primary.channel == Channel::Sms.code() { &mut filled.phone } else { &mut filled.email };
        *place = Given::Value((primary.address.clone(), primary.key));
        let found = Found { by_key: [(primary.key, vec![id])].into(), customers: known.found.customers, ..Found::default() };
        let consents = std::mem::take(&mut written.people.consents);
        let (changes, _) = merging::merge(vec![filled], found, "form", now);
        written.people = changes;
        written.people.consents = consents;
    }
    (written, forms)
}

/// Who has left after the question is not brought back by an old button.
fn is_withdrawn_since(customer: &Customer, topic: &str, channel: i16, asked_at: i64) -> bool {
    customer.consents.iter().any(|known| {
        known.channel == channel
            && (known.topic == topic || known.topic == "*")
            && matches!(known.state, ConsentState::Withdrawn | ConsentState::Objected)
            && known.at > asked_at
    })
}

/// Reminds and forgets; gives when something is due next.
pub async fn tidy(store: &Store, workspace: &Workspace, now: Time) -> Result<Option<Time>, store::Error> {
    let oldest = store.oldest_signups().await?;
    let Some(first) = oldest.iter().map(|(_, _, at)| from_micros(*at)).min() else { return Ok(None) };
    for (name, form) in &workspace.forms {
        let Some(after) = form.remind.map(exact) else { continue };
        let mut before = Vec::new();
        loop {
            let customers = store.signups_to_remind(name, now - REMINDED_UNTIL, now - after).await?;
            if customers.is_empty() || customers == before {
                break;
            }
            before.clone_from(&customers);
            let wanted = Wanted { ids: customers, with_consents: true, ..Wanted::default() };
            store.sign_up(&wanted, now, |known| (reminded(&known, name, now - after, now), ())).await?;
        }
    }
    while first <= now - LIFE && store.forget_signups(now - LIFE, now).await? > 0 {}
    let due = store.oldest_signups().await?.into_iter().flat_map(|(form, is_reminded, at)| {
        let at = from_micros(at);
        let remind = workspace.forms.get(&form).and_then(|form| form.remind).filter(|_| !is_reminded).map(|after| at + exact(after));
        [Some(at + LIFE), remind]
    });
    Ok(due.flatten().filter(|due| *due > now).min())
}

/// Pure: the sign-ups of a form that are old enough are asked once more, if nothing was said since.
fn reminded(known: &Known, form: &str, until: Time, now: Time) -> Written {
    let mut written = Written::default();
    for row in known.waiting.iter().filter(|row| row.form == form && row.reminded_at.is_none() && row.asked_at <= micros(until)) {
        written.waiting.push(Waiting { reminded_at: Some(micros(now)), ..row.clone() });
        let Some(customer) = known.found.customers.get(&row.customer) else { continue };
        let open = row.topics.iter().find(|topic| {
            let is_confirmed = agreed(customer, topic, row.channel) == Some(ConsentState::Confirmed);
            !is_confirmed && !is_withdrawn_since(customer, topic, row.channel, row.asked_at)
        });
        let Some(topic) = open.filter(|_| may_ask(known, &row.key, now)) else { continue };
        let consent = ConsentGiven {
            topic: topic.as_str().into(),
            channel: Channel::from_code(row.channel).unwrap_or(Channel::Email),
            state: ConsentState::Pending,
            at: Some(micros(now)),
            proof: Some(row.proof.to_string()),
            until: None,
        };
        written.asks.push(row.key);
        written.questions.push(merging::consent_row(row.customer, &consent, &source(form), micros(now)));
    }
    written
}
