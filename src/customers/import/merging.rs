//! A batch of checked rows against who is stored: who is meant, what changes, what must be rejected.
//!
//! Found by external id, then email, then phone. Two different customers, or an email or phone of somebody with another external id, reject
//! the row and both are named. An empty cell leaves, `null` clears. Rows of one batch see each other in their order.

use super::first::First;
use super::people::{ConsentGiven, Given, Person};
use super::{Outcome, Settings, Sink};
use crate::customers::email;
use crate::segments::values;
use crate::store::addresses::{AddressRow, StoredAddress};
use crate::store::consents::{ConsentRow, StoredConsent};
use crate::store::customers::{Changes, Customer, Found, Wanted};
use crate::store::suppressions::SuppressionRow;
use crate::store::{self, Store, micros};
use crate::types::{Channel, ConsentState, SuppressionReason, Time};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Writes people.
pub(crate) struct Writer {
    store: Store,
    source: String,
    now: Time,
    dry_run: bool,
    /// While this import is the first one into an empty base.
    first: Option<First>,
    /// Rows with an address of somebody who was erased.
    erased: u64,
}

impl Writer {
    pub fn new(store: Store, settings: &Settings) -> Writer {
        Writer { store, source: settings.source.clone(), now: settings.now, dry_run: settings.dry_run, first: None, erased: 0 }
    }

    async fn end_first(&mut self) -> Result<(), store::Error> {
        match self.first.take() {
            Some(first) => first.finish(&self.store).await,
            None => Ok(()),
        }
    }

    async fn erased_among(&self, people: &[Person]) -> Result<u64, store::Error> {
        let keys: Vec<[u8; 16]> = people.iter().flat_map(address_keys).collect();
        let erased = self.store.erased_among(&keys).await?;
        Ok(people.iter().filter(|person| address_keys(person).any(|key| erased.contains(&key))).count() as u64)
    }

    /// Fills an empty base without its indexes, to build them at the end: several times faster. Nothing else may write customers meanwhile; false
    /// where somebody else works in the base.
    pub async fn first_import(&mut self) -> Result<bool, store::Error> {
        self.first = First::begin(&self.store, self.now).await?;
        Ok(self.first.is_some())
    }
}

impl Sink for Writer {
    type Item = Person;

    async fn write(&mut self, mut people: Vec<Person>) -> Result<Vec<Outcome>, store::Error> {
        let new_attributes: Vec<_> = people.iter_mut().flat_map(|person| std::mem::take(&mut person.new_attributes)).collect();
        if !self.dry_run && !new_attributes.is_empty() {
            if let Some(first) = &mut self.first {
                first.commit().await?;
            }
            self.store.keep_attribute_types(&new_attributes, self.now).await?;
        }
        self.erased += self.erased_among(&people).await?;
        let (source, now) = (&self.source, micros(self.now));
        let Some(first) = &mut self.first else {
            let wanted = wanted(&people);
            let (_, (outcomes, _)) = self.store.upsert_customers(&wanted, self.dry_run, |found| merge(people, found, source, now)).await?;
            return Ok(outcomes);
        };
        let hashes = first.hashes(&people);
        let found = first.found(&self.store, &people, &hashes).await?;
        let (changes, (outcomes, numbers)) = merge(people, found, source, now);
        first.write(changes, &hashes, &numbers).await?;
        if first.is_full() {
            self.end_first().await?;
        }
        Ok(outcomes)
    }

    async fn finish(&mut self) -> Result<Vec<String>, store::Error> {
        self.end_first().await?;
        Ok(match self.erased {
            0 => Vec::new(),
            1 => vec!["1 row has an address of somebody who was erased: nothing is sent there. Take it out of the file".to_string()],
            count => {
                vec![format!("{count} rows have an address of somebody who was erased: nothing is sent there. Take them out of the file")]
            }
        })
    }
}

fn address_keys(person: &Person) -> impl Iterator<Item = [u8; 16]> + '_ {
    [&person.email, &person.phone].into_iter().filter_map(|given| match given {
        Given::Value((_, key)) => Some(*key),
        _ => None,
    })
}

fn wanted(people: &[Person]) -> Wanted {
    let keys = people.iter().flat_map(address_keys);
    Wanted {
        external_ids: people.iter().filter_map(|person| person.external_id.clone()).collect(),
        keys: keys.collect(),
        with_consents: people.iter().any(|person| !person.consents.is_empty()),
        ..Wanted::default()
    }
}

/// Outcome of each row, and the number of the customer it went to (negative: the n-th new one).
type Merged = (Vec<Outcome>, Vec<Option<i64>>);

/// Pure: what a batch of people makes of who was found.
pub(crate) fn merge(people: Vec<Person>, found: Found, source: &str, now: i64) -> (Changes, Merged) {
    let mut merging = Merging {
        found,
        source,
        now,
        fresh: Vec::with_capacity(people.len()),
        changed: BTreeSet::new(),
        readdressed: Vec::new(),
        said: None,
        cleared: BTreeSet::new(),
        changes: Changes::default(),
    };
    let (mut outcomes, mut numbers) = (Vec::with_capacity(people.len()), Vec::with_capacity(people.len()));
    for person in people {
        match merging.take(person) {
            Ok((id, outcome)) => {
                outcomes.push(outcome);
                numbers.push(Some(id));
            }
            Err(reason) => {
                outcomes.push(Outcome::Rejected(reason));
                numbers.push(None);
            }
        }
    }
    (merging.finish(), (outcomes, numbers))
}

struct Merging<'a> {
    found: Found,
    source: &'a str,
    now: i64,
    /// New customers; their ids are -1, -2, …
    fresh: Vec<Customer>,
    changed: BTreeSet<i64>,
    /// Of one customer one behind the other, mostly.
    readdressed: Vec<(i64, i16)>,
    /// What the last consent said, and its key: mostly the next one says the same.
    said: Option<(ConsentGiven, [u8; 16])>,
    cleared: BTreeSet<(i64, i16)>,
    changes: Changes,
}

impl Merging<'_> {
    fn customer(&self, id: i64) -> Option<&Customer> {
        match fresh_place(id) {
            Some(place) => self.fresh.get(place),
            None => self.found.customers.get(&id),
        }
    }

    fn take(&mut self, person: Person) -> Result<(i64, Outcome), String> {
        match self.who(&person)? {
            Some(id) => {
                let changed = self.change(id, &person)?;
                Ok((id, if changed { Outcome::Changed } else { Outcome::Unchanged }))
            }
            None => {
                let id = self.add(person)?;
                Ok((id, Outcome::New))
            }
        }
    }

    /// The one customer that the row means, if there is one.
    fn who(&self, person: &Person) -> Result<Option<i64>, String> {
        let by_external_id = person.external_id.as_ref().and_then(|external_id| self.found.by_external_id.get(external_id)).copied();
        let mut who = by_external_id.map(|id| (id, format!("the external id `{}`", person.external_id.as_deref().unwrap_or(""))));
        for (given, word) in [(&person.email, "email"), (&person.phone, "phone")] {
            let Given::Value((address, key)) = given else { continue };
            let Some(owners) = self.found.by_key.get(key).filter(|owners| !owners.is_empty()) else { continue };
            match &who {
                Some((id, _)) if owners.contains(id) => {}
                Some((id, how)) => {
                    return Err(format!("{how} belongs to {}, and the {word} `{address}` to {}", self.named(*id), self.named(owners[0])));
                }
                None if owners.len() > 1 => {
                    return Err(format!("the {word} `{address}` belongs to both {} and {}", self.named(owners[0]), self.named(owners[1])));
                }
                None => who = Some((owners[0], format!("the {word} `{address}`"))),
            }
        }
        let Some((id, how)) = who else { return Ok(None) };
        let theirs = self.customer(id).and_then(|customer| customer.external_id.as_ref());
        if let (Some(given), Some(theirs)) = (&person.external_id, theirs)
            && given != theirs
        {
            return Err(format!("{how} belongs to {}, but the row's external id is `{given}`", self.named(id)));
        }
        Ok(Some(id))
    }

    fn named(&self, id: i64) -> String {
        let external_id = self.customer(id).and_then(|customer| customer.external_id.as_deref());
        match (external_id, id > 0) {
            (Some(external_id), true) => format!("the customer `{external_id}` (#{id})"),
            (Some(external_id), false) => format!("the new customer `{external_id}` of a row above"),
            (None, true) => format!("the customer #{id}"),
            (None, false) => "a new customer of a row above".into(),
        }
    }

    fn add(&mut self, mut person: Person) -> Result<i64, String> {
        let address = [&person.email, &person.phone].into_iter().find_map(|given| match given {
            Given::Value((address, _)) => Some(address.clone()),
            _ => None,
        });
        let id = -(self.fresh.len() as i64 + 1);
        let mut customer = Customer {
            id,
            external_id: None,
            draw_key: person.external_id.clone().or(address).unwrap_or_default(),
            first_name: None,
            last_name: None,
            language: None,
            country: None,
            zone: None,
            attributes: Map::with_capacity(person.attributes.len()),
            folded: None,
            created_at: self.now,
            updated_at: self.now,
            erased_at: None,
            addresses: Vec::with_capacity(2),
            consents: Vec::with_capacity(person.consents.len()),
        };
        own_fields(&mut customer, &person);
        for (path, value) in std::mem::take(&mut person.attributes) {
            if value.is_null() {
                clear(&mut customer.attributes, &path);
            } else {
                set(&mut customer.attributes, &path, value)?;
            }
        }
        self.fresh.push(customer);
        self.register(id, &person);
        self.addresses(id, &person);
        self.consents(id, &person);
        Ok(id)
    }

    fn change(&mut self, id: i64, person: &Person) -> Result<bool, String> {
        let Some(customer) = stored(&mut self.fresh, &mut self.found, id) else { return Ok(false) };
        let attributes = if person.attributes.iter().all(|(path, value)| at_path(&customer.attributes, path) == Some(value)) {
            None
        } else {
            let mut attributes = customer.attributes.clone();
            set_attributes(&mut attributes, person)?.then_some(attributes)
        };
        let mut changed = own_fields(customer, person);
        if let Some(attributes) = attributes {
            customer.attributes = attributes;
            changed = true;
        }
        if changed {
            self.changed.insert(id);
        }
        self.register(id, person);
        let readdressed = self.addresses(id, person);
        let consented = self.consents(id, person);
        if readdressed {
            self.changed.insert(id);
        }
        Ok(changed || readdressed || consented)
    }

    fn register(&mut self, id: i64, person: &Person) {
        if let Some(external_id) = &person.external_id {
            self.found.by_external_id.insert(external_id.clone(), id);
        }
    }

    fn addresses(&mut self, id: i64, person: &Person) -> bool {
        let mut changed = false;
        for (channel, given) in [(Channel::Email, &person.email), (Channel::Sms, &person.phone)] {
            let Some(customer) = stored(&mut self.fresh, &mut self.found, id) else { continue };
            let channel = channel.code();
            match given {
                Given::Nothing => {}
                Given::Clear => {
                    let gone: Vec<[u8; 16]> =
                        customer.addresses.iter().filter(|address| address.channel == channel).map(|address| address.key).collect();
                    customer.addresses.retain(|address| address.channel != channel);
                    for key in &gone {
                        if let Some(owners) = self.found.by_key.get_mut(key) {
                            owners.retain(|owner| *owner != id);
                        }
                    }
                    if !gone.is_empty() {
                        self.cleared.insert((id, channel));
                        self.readdressed.push((id, channel));
                        changed = true;
                    }
                }
                Given::Value((address, key)) => {
                    if customer.addresses.iter().any(|known| known.key == *key && known.is_primary) {
                        continue;
                    }
                    changed = true;
                    for known in customer.addresses.iter_mut().filter(|known| known.channel == channel) {
                        known.is_primary = known.key == *key;
                    }
                    if !customer.addresses.iter().any(|known| known.key == *key) {
                        let (address, key) = (address.clone(), *key);
                        customer.addresses.push(StoredAddress {
                            channel,
                            address,
                            is_primary: true,
                            key,
                            verified_at: None,
                            engaged_at: None,
                        });
                        let owners = self.found.by_key.entry(key).or_default();
                        if !owners.contains(&id) {
                            owners.push(id);
                        }
                    }
                    self.readdressed.push((id, channel));
                }
            }
        }
        for channel in &person.suppressed {
            let Some(customer) = stored(&mut self.fresh, &mut self.found, id) else { continue };
            for address in customer.addresses.iter().filter(|address| address.channel == channel.code() && address.is_primary) {
                self.changes.suppressions.push(SuppressionRow {
                    key: address.key,
                    channel: address.channel,
                    reason: SuppressionReason::Import,
                    since: self.now,
                    until: None,
                    source: self.source.to_string(),
                });
            }
        }
        changed
    }

    fn consents(&mut self, id: i64, person: &Person) -> bool {
        let mut changed = false;
        let Some(customer) = stored(&mut self.fresh, &mut self.found, id) else { return false };
        for given in &person.consents {
            let channel = given.channel.code();
            let known = customer.consents.iter_mut().find(|known| known.topic == *given.topic && known.channel == channel);
            if given.at.is_none() && known.as_ref().is_some_and(|known| adds_nothing(known.state, given.state)) {
                continue;
            }
            let row = match &self.said {
                Some((said, key)) if said == given => consent_row_with(id, given, self.source, self.now, *key),
                _ => {
                    let row = consent_row(id, given, self.source, self.now);
                    self.said = Some((given.clone(), row.source_key));
                    row
                }
            };
            match known {
                Some(known) if row.at == known.at && row.state == known.state => continue,
                Some(known) => {
                    if row.beats(known.state, known.at) {
                        (known.state, known.at, known.has_proof) = (row.state, row.at, row.proof.is_some());
                        changed = true;
                    }
                }
                None => {
                    customer.consents.push(StoredConsent {
                        topic: row.topic.clone(),
                        channel,
                        state: row.state,
                        at: row.at,
                        has_proof: row.proof.is_some(),
                    });
                    changed = true;
                }
            }
            self.changes.consents.push(row);
        }
        changed
    }

    fn finish(mut self) -> Changes {
        // New customers in the order in which they are numbered: the database appends to its tables then.
        self.readdressed.sort_by_key(|(id, channel)| (*id < 0, id.abs(), *channel));
        self.readdressed.dedup();
        self.changes.addresses.reserve(self.readdressed.len());
        for (id, channel) in &self.readdressed {
            let Some(customer) = stored(&mut self.fresh, &mut self.found, *id) else { continue };
            for address in customer.addresses.iter().filter(|address| address.channel == *channel) {
                let domain = address.address.rsplit_once('@').map(|(_, domain)| domain);
                self.changes.addresses.push(AddressRow {
                    customer: *id,
                    channel: *channel,
                    address: address.address.clone(),
                    is_primary: address.is_primary,
                    key: address.key,
                    site: domain.map_or_else(String::new, |domain| email::site(domain).to_string()),
                });
            }
        }
        self.changes.cleared = self.cleared.into_iter().filter(|(id, _)| *id > 0).collect();
        for customer in &mut self.fresh {
            customer.folded = folded(customer);
        }
        self.changes.new = self.fresh;
        for id in self.changed.into_iter().filter(|id| *id > 0) {
            if let Some(mut customer) = self.found.customers.remove(&id) {
                customer.folded = folded(&mut customer);
                customer.updated_at = self.now;
                self.changes.changed.push(customer);
            }
        }
        self.changes
    }
}

/// Where among the new customers of a batch this number stands, if it is one of theirs.
fn fresh_place(id: i64) -> Option<usize> {
    usize::try_from(-id - 1).ok()
}

/// The customer of this number: a new one of the batch, or one who was found.
fn stored<'a>(fresh: &'a mut [Customer], found: &'a mut Found, id: i64) -> Option<&'a mut Customer> {
    match fresh_place(id) {
        Some(place) => fresh.get_mut(place),
        None => found.customers.get_mut(&id),
    }
}

/// Lower-cased copies of own fields, primary addresses and attributes, for `contains`; only where they differ.
fn folded(customer: &mut Customer) -> Option<String> {
    let attributes = Value::Object(std::mem::take(&mut customer.attributes));
    let address = |channel: Channel| {
        let primary = customer.addresses.iter().find(|address| address.channel == channel.code() && address.is_primary);
        primary.map(|address| address.address.as_str())
    };
    let own = [
        ("external_id", customer.external_id.as_deref()),
        ("email", address(Channel::Email)),
        ("phone", address(Channel::Sms)),
        ("first_name", customer.first_name.as_deref()),
        ("last_name", customer.last_name.as_deref()),
        ("language", customer.language.as_deref()),
        ("country", customer.country.as_deref()),
        ("zone", customer.zone.as_deref()),
    ];
    let folded = values::folded(&attributes, own);
    if let Value::Object(attributes) = attributes {
        customer.attributes = attributes;
    }
    folded
}

/// An undated consent is a mere "yes" or "no": it repeats what is known, or would lift a withdrawal, which it never does.
pub(super) fn adds_nothing(known: ConsentState, given: ConsentState) -> bool {
    use ConsentState::{Confirmed, Objected, Withdrawn};
    known == given
        || known == Objected
        || known == Withdrawn && given != Objected
        || known == Confirmed && !matches!(given, Withdrawn | Objected)
}

pub(crate) fn consent_row(customer: i64, given: &ConsentGiven, source: &str, now: i64) -> ConsentRow {
    let at = given.at.unwrap_or(now);
    let parts: [&[u8]; 5] = [
        source.as_bytes(),
        given.topic.as_bytes(),
        &given.channel.code().to_be_bytes(),
        &given.state.code().to_be_bytes(),
        &at.to_be_bytes(),
    ];
    consent_row_with(customer, given, source, now, store::responses::digest(&parts))
}

/// With a key that is known.
fn consent_row_with(customer: i64, given: &ConsentGiven, source: &str, now: i64, source_key: [u8; 16]) -> ConsentRow {
    ConsentRow {
        customer,
        topic: given.topic.to_string(),
        channel: given.channel.code(),
        state: given.state,
        at: given.at.unwrap_or(now),
        received_at: now,
        source: source.to_string(),
        proof: given.proof.clone(),
        until: given.until,
        source_key,
    }
}

fn own_fields(customer: &mut Customer, person: &Person) -> bool {
    let mut changed = false;
    if let (None, Some(external_id)) = (&customer.external_id, &person.external_id) {
        customer.external_id = Some(external_id.clone());
        changed = true;
    }
    for (field, given) in [
        (&mut customer.first_name, &person.first_name),
        (&mut customer.last_name, &person.last_name),
        (&mut customer.language, &person.language),
        (&mut customer.country, &person.country),
        (&mut customer.zone, &person.zone),
    ] {
        let value = match given {
            Given::Nothing => continue,
            Given::Clear => None,
            Given::Value(value) => Some(value),
        };
        if field.as_ref() != value {
            *field = value.cloned();
            changed = true;
        }
    }
    if let Some(created_at) = person.created_at.filter(|at| *at != customer.created_at) {
        customer.created_at = created_at;
        changed = true;
    }
    changed
}

fn at_path<'a>(attributes: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let mut parts = path.split('.');
    let mut value = attributes.get(parts.next()?)?;
    for part in parts {
        value = value.as_object()?.get(part)?;
    }
    Some(value)
}

/// Sets and clears; says whether anything changed. An error leaves the map half done: callers work on a copy, or drop it.
fn set_attributes(attributes: &mut Map<String, Value>, person: &Person) -> Result<bool, String> {
    let mut changed = false;
    for (path, value) in &person.attributes {
        changed |= if value.is_null() { clear(attributes, path) } else { set(attributes, path, value.clone())? };
    }
    Ok(changed)
}

fn set(attributes: &mut Map<String, Value>, path: &str, value: Value) -> Result<bool, String> {
    match path.split_once('.') {
        None => {
            if attributes.get(path) == Some(&value) {
                return Ok(false);
            }
            attributes.insert(path.to_string(), value);
            Ok(true)
        }
        Some((first, rest)) => match attributes.entry(first).or_insert_with(|| Value::Object(Map::new())) {
            Value::Object(inner) => set(inner, rest, value),
            _ => Err(format!("`{first}` holds a plain value, so `{first}.{rest}` cannot be set inside it")),
        },
    }
}

fn clear(attributes: &mut Map<String, Value>, path: &str) -> bool {
    match path.split_once('.') {
        None => attributes.shift_remove(path).is_some(),
        Some((first, rest)) => match attributes.get_mut(first) {
            Some(Value::Object(inner)) => clear(inner, rest),
            _ => false,
        },
    }
}
