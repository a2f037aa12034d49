//! What the previews of many campaigns ask of the same people, read once.
//!
//! `posthaste plan` previews every campaign over the whole base. What is wanted of a person (address, suppression, consent) is mostly the same for all of
//! them, so it is kept, and of each campaign only the numbers are read whom its audience has, for several campaigns in one walk: what an attribute holds
//! is then read once for all of them. In small bases only (`MOST`): memory would grow with the people. A customer who comes in between is seen by the
//! campaigns that are looked at later.

use super::audience::{Bind, Sql};
use super::candidates::{Candidate, Selection, Snapshot, WINDOW, Window, bound, chosen, is_selected};
use super::{Dialect, Doing, Error};
use crate::types::Channel;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::{Mutex, mpsc};

/// People of whom something is kept.
const MOST: usize = 100_000;
/// Values of one statement: SQLite takes 32,766.
const MOST_VALUES: usize = 30_000;
/// Kinds of what is wanted that are kept.
const KINDS: usize = 8;

/// Shared by the previews of one command.
#[derive(Debug, Default)]
pub struct PeopleOnce {
    known: Mutex<HashMap<Kind, Arc<Vec<Candidate>>>>,
    shared: Mutex<HashMap<Channel, HashSet<String>>>,
    /// By the text of the question and what is bound in it: whom a selection has, in their order, until it is asked for.
    found: Mutex<HashMap<String, Vec<i64>>>,
}

/// What is wanted of each person.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Kind {
    topic: Option<String>,
    channels: Vec<Channel>,
    attributes: Vec<String>,
    engagement: Option<usize>,
    places: bool,
}

impl Snapshot {
    /// Addresses of a channel that more than one customer has.
    pub async fn shared_addresses(&mut self, channel: Channel, once: Option<&PeopleOnce>) -> Result<HashSet<String>, Error> {
        let Some(once) = once else { return self.read_shared_addresses(channel).await };
        let mut shared = once.shared.lock().await;
        if let Some(addresses) = shared.get(&channel) {
            return Ok(addresses.clone());
        }
        let addresses = self.read_shared_addresses(channel).await?;
        shared.insert(channel, addresses.clone());
        Ok(addresses)
    }

    /// Finds out for several selections whom they have, in one walk over the people; each is asked for once.
    pub async fn learn(&mut self, once: &PeopleOnce, selections: &[&Selection]) -> Result<(), Error> {
        if selections.len() < 2 || self.is_large().await? {
            return Ok(());
        }
        let mut sql = Sql::new(self.dialect());
        sql.push(match self.dialect() {
            Dialect::Sqlite => "SELECT group_concat(id || ':' || marks, ' ') FROM (SELECT c.id",
            Dialect::Postgres => "SELECT string_agg(CAST(id AS TEXT) || ':' || marks, ' ') FROM (SELECT c.id",
        });
        for (place, selection) in selections.iter().enumerate() {
            sql.push(if place == 0 { ", " } else { " || " });
            sql.push("CASE WHEN ");
            is_selected(&mut sql, selection);
            sql.push(" THEN '1' ELSE '0' END");
        }
        // Then each is asked alone: a statement takes so many values at most.
        if sql.binds.len() > MOST_VALUES {
            return Ok(());
        }
        sql.push(" AS marks FROM customers c WHERE c.erased_at IS NULL) AS people");
        let text = self.text(&sql).await?;
        let mut found: Vec<Vec<i64>> = vec![Vec::new(); selections.len()];
        for (id, marks) in text.split_ascii_whitespace().filter_map(|one| one.split_once(':')) {
            let Ok(id) = id.parse::<i64>() else { continue };
            found.iter_mut().zip(marks.bytes()).filter(|(_, mark)| *mark == b'1').for_each(|(found, _)| found.push(id));
        }
        let mut known = once.found.lock().await;
        for (selection, mut numbers) in selections.iter().zip(found) {
            // Neither database promises an order here.
            numbers.sort_unstable();
            known.insert(asked(self.dialect(), selection), numbers);
        }
        Ok(())
    }

    /// Streams the selected customers in the order of their numbers, a window at a time; stops when nobody listens any more.
    pub async fn candidates(&mut self, selection: &Selection, windows: mpsc::Sender<Window>) -> Result<(), Error> {
        let people = match &selection.once {
            Some(once) => self.everybody(once, selection).await?,
            None => None,
        };
        let Some(people) = people else { return self.stream(selection, windows).await };
        let found = match &selection.once {
            Some(once) => once.found.lock().await.remove(&asked(self.dialect(), selection)),
            None => None,
        };
        let wanted = match found {
            Some(found) => found,
            None => self.numbers(selection).await?,
        };
        let mut wanted = wanted.into_iter().peekable();
        let mut window = Vec::with_capacity(WINDOW);
        for (place, candidate) in (0..).zip(people.iter()) {
            while wanted.next_if(|id| *id < candidate.id).is_some() {}
            if wanted.next_if_eq(&candidate.id).is_none() {
                continue;
            }
            window.push(place);
            if window.len() == WINDOW {
                let full = std::mem::replace(&mut window, Vec::with_capacity(WINDOW));
                if windows.send(Window::among(people.clone(), full)).await.is_err() {
                    return Ok(());
                }
            }
        }
        let _ = windows.send(Window::among(people, window)).await;
        Ok(())
    }

    /// All customers, from memory where they are there already; `None` where they are too many.
    async fn everybody(&mut self, once: &PeopleOnce, selection: &Selection) -> Result<Option<Arc<Vec<Candidate>>>, Error> {
        let kind = Kind {
            topic: selection.topic.clone(),
            channels: selection.channels.clone(),
            attributes: selection.attributes.clone(),
            engagement: selection.engagement,
            places: selection.places,
        };
        // Held while it is read, so that two previews do not both read it.
        let mut known = once.known.lock().await;
        if let Some(people) = known.get(&kind) {
            return Ok(Some(people.clone()));
        }
        if known.len() >= KINDS || self.is_large().await? {
            return Ok(None);
        }
        let mut condition = Sql::new(self.dialect());
        condition.push("1 = 1");
        let all = Selection { condition, re_entry: None, once: None, ..selection.clone() };
        let (windows, mut read) = mpsc::channel::<Window>(4);
        let collect = async {
            let mut people = Vec::new();
            while let Some(window) = read.recv().await {
                people.extend(window.into_people());
            }
            people
        };
        let (streamed, people) = tokio::join!(self.stream(&all, windows), collect);
        streamed?;
        let people = Arc::new(people);
        known.insert(kind, people.clone());
        Ok(Some(people))
    }

    async fn is_large(&mut self) -> Result<bool, Error> {
        let sql = format!("SELECT COUNT(*) FROM (SELECT 1 FROM customers LIMIT {}) AS first_ones", MOST + 1);
        let sql = sqlx::AssertSqlSafe(sql);
        let (count,): (i64,) = match self {
            Snapshot::Sqlite(transaction) => sqlx::query_as(sql).fetch_one(&mut **transaction).await,
            Snapshot::Postgres(transaction) => sqlx::query_as(sql).fetch_one(&mut **transaction).await,
        }
        .doing("count the customers")?;
        Ok(count > MOST as i64)
    }

    /// The numbers of those selected, in their order. They come as one text: a row for each would cost more than to find it.
    async fn numbers(&mut self, selection: &Selection) -> Result<Vec<i64>, Error> {
        let mut sql = Sql::new(self.dialect());
        sql.push(match self.dialect() {
            Dialect::Sqlite => "SELECT group_concat(id, ' ') FROM (SELECT c.id FROM customers c",
            Dialect::Postgres => "SELECT string_agg(CAST(id AS TEXT), ' ') FROM (SELECT c.id FROM customers c",
        });
        chosen(&mut sql, selection);
        sql.push(") AS chosen");
        let found = self.text(&sql).await?;
        let mut numbers: Vec<i64> = found.split_ascii_whitespace().filter_map(|id| id.parse().ok()).collect();
        // Neither database promises an order here.
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The one text that a question gives.
    async fn text(&mut self, sql: &Sql) -> Result<String, Error> {
        let text = sqlx::AssertSqlSafe(sql.text.clone());
        let (found,): (Option<String>,) = match self {
            Snapshot::Sqlite(transaction) => bound!(sqlx::query_as(text), &sql.binds).fetch_one(&mut **transaction).await,
            Snapshot::Postgres(transaction) => bound!(sqlx::query_as(text), &sql.binds).fetch_one(&mut **transaction).await,
        }
        .doing("read the audience")?;
        Ok(found.unwrap_or_default())
    }

    fn dialect(&self) -> Dialect {
        match self {
            Snapshot::Sqlite(_) => Dialect::Sqlite,
            Snapshot::Postgres(_) => Dialect::Postgres,
        }
    }
}

/// The same for selections that have the same people.
fn asked(dialect: Dialect, selection: &Selection) -> String {
    let mut sql = Sql::new(dialect);
    is_selected(&mut sql, selection);
    format!("{:?}", (sql.text, sql.binds))
}
