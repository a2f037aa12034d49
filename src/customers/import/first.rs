//! The first import: who is stored is known without asking, so the next rows are merged while the last are written.

use super::people::{Given, Person};
use crate::store::customers::{Changes, Found, Wanted};
use crate::store::filling::Filling;
use crate::store::{self, Store};
use crate::types::Time;
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

/// Beyond so many entries memory would grow too much: the indexes are built, and the import goes on with them.
const MOST_KNOWN: usize = 6_000_000;

/// A first import under way.
pub(super) struct First {
    filling: Filling,
    /// Hash of external id or address key → number: everybody who is stored. Two halves, so that an entry is twelve bytes.
    everybody: HashMap<[u32; 2], u32, BuildHasherDefault<Hashed>>,
    hasher: RandomState,
    /// The last number given.
    last: i64,
}

/// What names a person: external id, email, phone.
pub(super) type Hashes = [Option<[u32; 2]>; 3];

impl First {
    /// The base must be empty. `None` where somebody else works in it.
    pub async fn begin(store: &Store, now: Time) -> Result<Option<First>, store::Error> {
        let filling = store.fill(now).await?;
        Ok(filling.map(|filling| First { filling, everybody: HashMap::default(), hasher: RandomState::new(), last: 0 }))
    }

    pub fn hashes(&self, people: &[Person]) -> Vec<Hashes> {
        let hash = |bytes: &[u8]| {
            let hash = self.hasher.hash_one(bytes);
            [(hash >> 32) as u32, hash as u32]
        };
        // A key is a hash already, that nobody without the pepper can choose.
        let key = |given: &Given<(String, [u8; 16])>| match given {
            Given::Value((_, [a, b, c, d, e, f, g, h, ..])) => {
                Some([u32::from_be_bytes([*a, *b, *c, *d]), u32::from_be_bytes([*e, *f, *g, *h])])
            }
            _ => None,
        };
        let of = |person: &Person| [person.external_id.as_deref().map(|id| hash(id.as_bytes())), key(&person.email), key(&person.phone)];
        people.iter().map(of).collect()
    }

    /// Who of these people is stored already; only then the database is asked.
    pub async fn found(&mut self, store: &Store, people: &[Person], hashes: &[Hashes]) -> Result<Found, store::Error> {
        let ids: BTreeSet<i64> =
            hashes.iter().flatten().flatten().filter_map(|hash| self.everybody.get(hash).copied()).map(i64::from).collect();
        if ids.is_empty() {
            return Ok(Found::default());
        }
        self.filling.commit().await?;
        let with_consents = people.iter().any(|person| !person.consents.is_empty());
        let mut found = store.find_customers(&Wanted { ids: ids.into_iter().collect(), with_consents, ..Wanted::default() }).await?;
        for customer in found.customers.values() {
            if let Some(external_id) = &customer.external_id {
                found.by_external_id.insert(external_id.clone(), customer.id);
            }
            for address in &customer.addresses {
                let owners = found.by_key.entry(address.key).or_default();
                if !owners.contains(&customer.id) {
                    owners.push(customer.id);
                }
            }
        }
        Ok(found)
    }

    /// Queues what became of a batch. `numbers`: of each person, as merging gave them.
    pub async fn write(&mut self, changes: Changes, hashes: &[Hashes], numbers: &[Option<i64>]) -> Result<(), store::Error> {
        let before = self.last;
        self.last += changes.new.len() as i64;
        for (hashes, number) in hashes.iter().zip(numbers) {
            let Some(number) = number.map(|number| if number < 0 { before - number } else { number }) else { continue };
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            self.everybody.extend(hashes.iter().flatten().map(|hash| (*hash, number)));
        }
        if changes.is_empty() { Ok(()) } else { self.filling.write(changes, before).await }
    }

    /// Stores what is queued.
    pub async fn commit(&mut self) -> Result<(), store::Error> {
        self.filling.commit().await
    }

    /// Too many people are known to go on like this.
    pub fn is_full(&self) -> bool {
        self.everybody.len() >= MOST_KNOWN
    }

    /// Stores what is queued and builds the indexes.
    pub async fn finish(self, store: &Store) -> Result<(), store::Error> {
        drop(self.everybody);
        self.filling.finish(store).await
    }
}

/// The key is a hash already, keyed by chance, so no file can be made that fills one place of the table.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for half in bytes.chunks(4) {
            self.write_u32(half.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)));
        }
    }

    fn write_u32(&mut self, half: u32) {
        self.0 = self.0 << 32 | u64::from(half);
    }

    fn write_usize(&mut self, _length: usize) {}
}
