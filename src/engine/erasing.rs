//! Erases people everywhere, and again after an old backup was restored.
//!
//! Beside the database a *list of erasures* is kept, a file with nothing in it but keyed hashes and times. A backup of the database from before an erasure
//! brings the person back; the list tells it, and whoever the list names, was there at that time and is there now is erased again: when an engine starts, and
//! by `posthaste customers erase-again`. The list also learns from the database what other machines have erased.

use crate::customers::keys::Keys;
use crate::feedback::{self, Forgotten};
use crate::store::customers::Customer;
use crate::store::erasure::{EXTERNAL_ID, Erased};
use crate::store::{self, Store, from_micros};
use crate::types::{Channel, Time};
use std::collections::HashMap;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Where the workspace's folder keeps the list.
pub const LIST: &str = ".posthaste/erased";
const HEAD: &str = "# Keyed hashes of what erased people were known by, and when. Keep this file when a backup of the database is restored:\n\
                    # the engine erases them again when it starts, and so does `posthaste customers erase-again`.\n";
const EXTERNAL_ID_WORD: &str = "external_id";
/// Customers whose external ids are looked at together.
const PAGE: i64 = 5_000;

/// Why an erasure is not complete.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("cannot read or write the list of erasures {}", .path.display())]
    List { path: PathBuf, source: std::io::Error },
    #[error("line {line} of the list of erasures {} is no erasure: `{text}`; it should read TIME CHANNEL KEY", .path.display())]
    Line { path: PathBuf, line: usize, text: String },
}

/// What was done beside the erasure itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Done {
    pub forgotten: Forgotten,
    /// Nothing of what was erased is left in the database's own files, as far as it is in our hands.
    pub is_scoured: bool,
}

/// What the list led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Again {
    /// People who were erased again.
    pub people: usize,
    /// Keys that the database did not know.
    pub new_keys: usize,
    /// Keys that the list did not know.
    pub listed: usize,
}

/// Erases a person, and writes it down in the list.
pub async fn erase(store: &Store, keys: &Keys, list: &Path, customer: &Customer, who: &str, now: Time) -> Result<Done, Error> {
    let external_id = customer.external_id.as_deref().map(|external_id| keys.external_id(external_id));
    let erased = store.erase_customer(customer.id, external_id, who, now).await?;
    append(list, &erased)?;
    let addresses: Vec<String> = customer.addresses.iter().map(|address| address.address.clone()).collect();
    let forgotten = feedback::forget(store, &addresses).await?;
    Ok(Done { forgotten, is_scoured: store.scour().await? })
}

/// Erases again whom the list names and the database has from before, and adds to the list what only the database knows.
pub async fn again(store: &Store, keys: &Keys, list: &Path, who: &str, now: Time) -> Result<Again, Error> {
    let listed = newest(read(list)?);
    let known = newest(store.erasures().await?);
    let newer = |one: &HashMap<_, i64>, other: &HashMap<_, i64>| -> Vec<Erased> {
        let mut newer: Vec<Erased> = one
            .iter()
            .filter(|(place, at)| other.get(*place).is_none_or(|known| known < *at))
            .map(|((key, channel), at)| Erased { key: *key, channel: *channel, at: *at })
            .collect();
        newer.sort_by_key(|erased| (erased.at, erased.key));
        newer
    };
    let (missing, unlisted) = (newer(&listed, &known), newer(&known, &listed));
    let mut again = Again { new_keys: missing.len(), listed: unlisted.len(), people: 0 };
    if !missing.is_empty() {
        let mut people = store.owners_before(&missing).await?;
        people.extend(named_before(store, keys, &missing).await?);
        people.sort_unstable();
        people.dedup();
        for id in people {
            let Some(customer) = store.customer(id).await? else { continue };
            erase(store, keys, list, &customer, who, now).await?;
            again.people += 1;
        }
        store.keep_erasures(&missing).await?;
    }
    append(list, &unlisted)?;
    Ok(again)
}

/// People who are known by an external id of the list, and were when it was erased.
async fn named_before(store: &Store, keys: &Keys, missing: &[Erased]) -> Result<Vec<i64>, store::Error> {
    let named: HashMap<[u8; 16], i64> =
        missing.iter().filter(|erased| erased.channel == EXTERNAL_ID).map(|erased| (erased.key, erased.at)).collect();
    let (mut found, mut last) = (Vec::new(), 0);
    while !named.is_empty() {
        let page = store.external_ids_after(last, PAGE).await?;
        let Some((end, ..)) = page.last() else { break };
        last = *end;
        let was_there = |(_, external_id, created_at): &&(i64, String, i64)| {
            named.get(&keys.external_id(external_id)).is_some_and(|at| created_at <= at)
        };
        found.extend(page.iter().filter(was_there).map(|(id, ..)| *id));
    }
    Ok(found)
}

fn newest(erased: Vec<Erased>) -> HashMap<([u8; 16], i16), i64> {
    let mut newest = HashMap::new();
    for Erased { key, channel, at } in erased {
        let place = newest.entry((key, channel)).or_insert(at);
        *place = at.max(*place);
    }
    newest
}

fn append(list: &Path, erased: &[Erased]) -> Result<(), Error> {
    if erased.is_empty() {
        return Ok(());
    }
    let write = || {
        if let Some(folder) = list.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(list)?;
        let mut text = String::new();
        if file.metadata()?.len() == 0 {
            text.push_str(HEAD);
        }
        for Erased { key, channel, at } in erased {
            let at = from_micros(*at).to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
            let word = Channel::from_code(*channel).map_or(EXTERNAL_ID_WORD, Channel::word);
            text.push_str(&format!("{at} {word} {}\n", hex::encode(key)));
        }
        // In one piece: another process may write at the same moment.
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source| Error::List { path: list.to_path_buf(), source })
}

/// The lines of the list; none where there is no file.
fn read(list: &Path) -> Result<Vec<Erased>, Error> {
    let text = match std::fs::read_to_string(list) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::List { path: list.to_path_buf(), source }),
    };
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .map(|(number, line)| {
            erased(line).ok_or_else(|| Error::Line { path: list.to_path_buf(), line: number + 1, text: line.to_string() })
        })
        .collect()
}

fn erased(line: &str) -> Option<Erased> {
    let mut words = line.split_ascii_whitespace();
    let (at, word, key) = (words.next()?, words.next()?, words.next()?);
    let channel = if word == EXTERNAL_ID_WORD { EXTERNAL_ID } else { Channel::from_word(word)?.code() };
    let key = hex::decode(key).ok()?.try_into().ok()?;
    Some(Erased { key, channel, at: store::micros(at.parse().ok()?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_comes_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("kept/erased");
        assert_eq!(read(&list).unwrap(), []);
        let all = [Erased { key: [7; 16], channel: EXTERNAL_ID, at: 1_800_000_000_123_456 }, Erased { key: [9; 16], channel: 2, at: 5 }];
        append(&list, &all[..1]).unwrap();
        append(&list, &all[1..]).unwrap();
        assert_eq!(read(&list).unwrap(), all);
        std::fs::write(&list, "2027-03-01T10:00:00Z email 00\n").unwrap();
        assert!(matches!(read(&list), Err(Error::Line { line: 1, .. })));
    }
}
