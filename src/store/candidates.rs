//! Who is selected, with all that decisions need, streamed from one snapshot a window at a time.
//!
//! Reading goes by customer number, so that the joins walk every table in its own order; nothing is sorted by the database and
//! memory does not grow with the audience.

use super::audience::{Bind, Sql};
use super::people_once::PeopleOnce;
use super::{Dialect, Doing, Error, Store, micros};
use crate::policy::Consent;
use crate::types::{CampaignId, Channel, ConsentState, MessageState, Refusal, SuppressionReason, Time};
use futures_util::TryStreamExt;
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteConnection;
use std::collections::HashSet;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Rows that are read, decided and written together.
pub const WINDOW: usize = 4096;

/// Whom to read and what of them.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Over the alias `c`: segment and where, without except.
    pub condition: Sql,
    pub topic: Option<String>,
    /// Channels that some message of the campaign uses.
    pub channels: Vec<Channel>,
    /// Attribute paths whose values are wanted, in order.
    pub attributes: Vec<String>,
    pub re_entry: Option<ReEntry>,
    /// The channel (by its place) of whose address the last engagement is wanted.
    pub engagement: Option<usize>,
    /// Whether it is wanted what says in which zone the customer lives.
    pub places: bool,
    /// Where many previews are made, what they read in common.
    pub once: Option<Arc<PeopleOnce>>,
}

/// Leaves out who had something of this campaign since then (`None`: ever).
#[derive(Debug, Clone)]
pub struct ReEntry {
    pub campaign: CampaignId,
    pub since: Option<Time>,
}

/// One selected customer.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub id: i64,
    pub draw_key: String,
    pub country: Option<String>,
    /// As `Selection::channels`.
    pub ways: Vec<Way>,
    /// As `Selection::attributes`: JSON text, `None` when missing.
    pub attributes: Vec<Option<String>>,
    pub engaged_at: Option<i64>,
    /// With `Selection::places`; the phone only where the country is not known.
    pub zone: Option<String>,
    pub phone: Option<String>,
}

/// A customer on one channel.
#[derive(Debug, Clone, Default)]
pub struct Way {
    pub address: Option<Arc<str>>,
    pub site: Arc<str>,
    pub suppression: Option<(SuppressionReason, Option<i64>)>,
    pub consent: Option<Consent>,
    pub consent_to_all: Option<Consent>,
}

/// Candidates that are decided together, in the order of their numbers.
#[derive(Debug, Clone)]
pub struct Window {
    people: Arc<Vec<Candidate>>,
    /// The places of those meant; `None`: all.
    chosen: Option<Vec<u32>>,
}

impl Window {
    /// All of these.
    pub fn of(people: Vec<Candidate>) -> Self {
        Window { people: Arc::new(people), chosen: None }
    }

    /// Those at the places `chosen` among people whom others look at too.
    pub fn among(people: Arc<Vec<Candidate>>, chosen: Vec<u32>) -> Self {
        Window { people, chosen: Some(chosen) }
    }

    pub fn len(&self) -> usize {
        self.chosen.as_ref().map_or(self.people.len(), Vec::len)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn iter(&self) -> impl Iterator<Item = &Candidate> {
        (0..self.len()).filter_map(|place| match &self.chosen {
            Some(chosen) => self.people.get(*chosen.get(place)? as usize),
            None => self.people.get(place),
        })
    }

    /// The people themselves; whom others look at too is copied.
    pub fn into_people(self) -> Vec<Candidate> {
        match self.chosen {
            None => Arc::try_unwrap(self.people).unwrap_or_else(|people| people.to_vec()),
            Some(_) => self.iter().cloned().collect(),
        }
    }
}

/// One view of the database, held open.
pub enum Snapshot {
    Sqlite(sqlx::Transaction<'static, sqlx::Sqlite>),
    Postgres(sqlx::Transaction<'static, sqlx::Postgres>),
}

/// Binds every value of an [`Sql`] in order.
macro_rules! bound {
    ($query:expr, $binds:expr) => {{
        let mut query = $query;
        for bind in $binds {
            query = match bind {
                Bind::Text(value) => query.bind(value.clone()),
                Bind::Integer(value) => query.bind(*value),
                Bind::Float(value) => query.bind(*value),
            };
        }
        query
    }};
}
pub(crate) use bound;

impl Store {
    /// Opens a reading snapshot.
    pub async fn snapshot(&self) -> Result<Snapshot, Error> {
        let doing = "open a reading snapshot";
        Ok(match self {
            Store::Sqlite(sqlite) => Snapshot::Sqlite(sqlite.read.begin().await.doing(doing)?),
            Store::Postgres(pool) => {
                Snapshot::Postgres(pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.doing(doing)?)
            }
        })
    }
}

/// Columns before those of the ways.
const FIXED: usize = 6;
/// Columns of each way.
const EACH: usize = 8;

pub(crate) fn consent(state: Option<i16>, at: Option<i64>) -> Option<Consent> {
    Some(Consent { state: ConsentState::from_code(state?)?, at: at? })
}

impl Snapshot {
    pub(super) async fn read_shared_addresses(&mut self, channel: Channel) -> Result<HashSet<String>, Error> {
        // By key, which has an index: nothing is sorted. A key holds the channel and the address in lower case.
        let sql = "SELECT DISTINCT a.address FROM addresses a WHERE a.channel = $1
                   AND a.key IN (SELECT key FROM addresses GROUP BY key HAVING COUNT(*) > 1)";
        let rows: Vec<(String,)> = match self {
            Snapshot::Sqlite(transaction) => sqlx::query_as(sql).bind(channel.code()).fetch_all(&mut **transaction).await,
            Snapshot::Postgres(transaction) => sqlx::query_as(sql).bind(channel.code()).fetch_all(&mut **transaction).await,
        }
        .doing("look for shared addresses")?;
        Ok(rows.into_iter().map(|(address,)| address).collect())
    }

    /// As [`Snapshot::candidates`], from the database.
    pub(super) async fn stream(&mut self, selection: &Selection, windows: mpsc::Sender<Window>) -> Result<(), Error> {
        match self {
            Snapshot::Sqlite(transaction) => {
                let lines = Lines::new(selection);
                // A long list among the values is read by SQLite again for each statement: then one brings more people.
                let bytes: usize = lines.sql.binds.iter().map(|bind| if let Bind::Text(text) = bind { text.len() } else { 8 }).sum();
                let most = WINDOW * (1 + bytes / 65_536).min(16);
                let mut next = Some(lines.after(transaction, i64::MIN, most).await?);
                while let Some((last, written)) = next {
                    // While these are unpacked, SQLite looks for the next.
                    let (found, sent) = tokio::join!(
                        async {
                            match last {
                                Some(last) => lines.after(transaction, last, most).await.map(Some),
                                None => Ok(None),
                            }
                        },
                        async {
                            let mut people = lines.read(&written)?;
                            // A second primary address would be a second line, here or at the head of the next; the first is the one.
                            people.dedup_by_key(|candidate| candidate.id);
                            while !people.is_empty() {
                                let rest = people.split_off(people.len().min(WINDOW));
                                if windows.send(Window::of(std::mem::replace(&mut people, rest))).await.is_err() {
                                    return Ok(false);
                                }
                            }
                            Ok::<_, Error>(true)
                        }
                    );
                    if !sent? {
                        return Ok(());
                    }
                    next = found?;
                }
                Ok(())
            }
            Snapshot::Postgres(transaction) => {
                let sql = question(selection, Dialect::Postgres);
                let mut rows = bound!(sqlx::query(sqlx::AssertSqlSafe(sql.text.clone())), &sql.binds).fetch(&mut **transaction);
                let mut window: Vec<Candidate> = Vec::with_capacity(WINDOW);
                while let Some(row) = rows.try_next().await.doing(READING)? {
                    let candidate = unpacked(selection, &row).doing(READING)?;
                    if window.last().is_some_and(|last| last.id == candidate.id) {
                        continue;
                    }
                    if window.len() == WINDOW
                        && windows.send(Window::of(std::mem::replace(&mut window, Vec::with_capacity(WINDOW)))).await.is_err()
                    {
                        return Ok(());
                    }
                    window.push(candidate);
                }
                let _ = windows.send(Window::of(window)).await;
                Ok(())
            }
        }
    }
}

const READING: &str = "read the audience";

/// A row as PostgreSQL gives it.
fn unpacked(selection: &Selection, row: &PgRow) -> Result<Candidate, sqlx::Error> {
    let mut ways = Vec::with_capacity(selection.channels.len());
    for way in 0..selection.channels.len() {
        let at = FIXED + way * EACH;
        ways.push(Way {
            address: row.try_get::<Option<&str>, _>(at)?.map(Arc::from),
            site: row.try_get::<Option<&str>, _>(at + 1)?.unwrap_or_default().into(),
            suppression: suppression(row.try_get(at + 2)?, row.try_get(at + 3)?),
            consent: consent(row.try_get(at + 4)?, row.try_get(at + 5)?),
            consent_to_all: consent(row.try_get(at + 6)?, row.try_get(at + 7)?),
        });
    }
    let at = FIXED + selection.channels.len() * EACH;
    Ok(Candidate {
        id: row.try_get(0)?,
        draw_key: row.try_get(1)?,
        country: row.try_get(2)?,
        engaged_at: row.try_get(3)?,
        zone: row.try_get(4)?,
        phone: row.try_get(5)?,
        ways,
        attributes: (0..selection.attributes.len()).map(|index| row.try_get(at + index)).collect::<Result<_, _>>()?,
    })
}

fn suppression(code: Option<i16>, until: Option<i64>) -> Option<(SuppressionReason, Option<i64>)> {
    code.map(|code| (SuppressionReason::from_code(code).unwrap_or(SuppressionReason::Manual), until))
}

/// How SQLite gives the people of a window: in one text, a line for each, since what a driver does for a row and each of its values costs
/// several times as much as to find them.
struct Lines {
    /// Two more values: after which number, and how many at most.
    sql: Sql,
    channels: usize,
    attributes: usize,
}

/// Between the values of a line, and behind each line: control characters, which no external id, address, name of a zone or JSON text holds.
const VALUE_END: char = '\u{1f}';
const LINE_END: char = '\u{1e}';

impl Lines {
    fn new(selection: &Selection) -> Self {
        let (channels, attributes) = (selection.channels.len(), selection.attributes.len());
        let values = FIXED + channels * EACH + attributes;
        let form = vec!["%s"; values].join(&VALUE_END.to_string());
        let mut sql = Sql::new(Dialect::Sqlite);
        sql.push(&format!("SELECT COUNT(*), MAX(id), group_concat(line, '{LINE_END}') FROM (SELECT c.id AS id, format('{form}', "));
        columns(&mut sql, selection);
        sql.push(") AS line");
        tables(&mut sql, selection);
        restricted(&mut sql, selection);
        let (after, most) = (sql.binds.len() + 1, sql.binds.len() + 2);
        sql.push(&format!(" AND c.id > ${after} ORDER BY c.id LIMIT ${most})"));
        Lines { sql, channels, attributes }
    }

    /// Up to so many lines after a number: the number of the last one where others may follow, and the lines.
    async fn after(&self, connection: &mut SqliteConnection, after: i64, most: usize) -> Result<(Option<i64>, String), Error> {
        let text = sqlx::AssertSqlSafe(self.sql.text.clone());
        let query = bound!(sqlx::query_as(text), &self.sql.binds).bind(after).bind(most as i64);
        let (count, last, written): (i64, Option<i64>, Option<String>) = query.fetch_one(connection).await.doing(READING)?;
        Ok((last.filter(|_| count >= most as i64), written.unwrap_or_default()))
    }

    /// In the order of their numbers, which SQLite does not promise.
    fn read(&self, text: &str) -> Result<Vec<Candidate>, Error> {
        let mut people = Vec::with_capacity(WINDOW);
        // Sites are few: mailbox providers, mostly.
        let mut sites: HashSet<Arc<str>> = HashSet::new();
        for line in text.split(LINE_END).filter(|line| !line.is_empty()) {
            let candidate = self.candidate(line, &mut sites).ok_or_else(|| {
                let shown: String = line.chars().take(100).collect();
                Error::Unexpected { doing: READING, what: format!("a customer's line that cannot be read: {shown:?}") }
            })?;
            people.push(candidate);
        }
        // Stable: of two lines about one customer the first stays the first.
        people.sort_by_key(|candidate| candidate.id);
        Ok(people)
    }

    fn candidate(&self, line: &str, sites: &mut HashSet<Arc<str>>) -> Option<Candidate> {
        let mut values = line.split(VALUE_END);
        let mut text = || values.next().map(|value| Some(value).filter(|value| !value.is_empty()));
        let number = |value: Option<&str>| value.map(str::parse::<i64>).transpose().ok();
        let small = |value: Option<&str>| value.map(str::parse::<i16>).transpose().ok();
        let (id, draw_key, country) = (number(text()?)??, text()?.unwrap_or_default().to_string(), text()?.map(String::from));
        let (engaged_at, zone, phone) = (number(text()?)?, text()?.map(String::from), text()?.map(String::from));
        let mut ways = Vec::with_capacity(self.channels);
        for _ in 0..self.channels {
            let address = text()?.map(Arc::from);
            let site = text()?.unwrap_or_default();
            let site = match sites.get(site) {
                Some(site) => site.clone(),
                None => {
                    let site: Arc<str> = Arc::from(site);
                    if sites.len() < 1000 {
                        sites.insert(site.clone());
                    }
                    site
                }
            };
            let (reason, until) = (small(text()?)?, number(text()?)?);
            let (state, at) = (small(text()?)?, number(text()?)?);
            let (state_of_all, at_of_all) = (small(text()?)?, number(text()?)?);
            ways.push(Way {
                address,
                site,
                suppression: suppression(reason, until),
                consent: consent(state, at),
                consent_to_all: consent(state_of_all, at_of_all),
            });
        }
        let attributes = (0..self.attributes).map(|_| Some(text()?.map(String::from))).collect::<Option<_>>()?;
        values.next().is_none().then_some(Candidate { id, draw_key, country, ways, attributes, engaged_at, zone, phone })
    }
}

/// What is read of an audience, a row for each customer.
fn question(selection: &Selection, dialect: Dialect) -> Sql {
    let mut sql = Sql::new(dialect);
    sql.push("SELECT ");
    columns(&mut sql, selection);
    tables(&mut sql, selection);
    chosen(&mut sql, selection);
    sql
}

/// [`FIXED`] columns, [`EACH`] for each way, then the attributes.
fn columns(sql: &mut Sql, selection: &Selection) {
    let dialect = sql.dialect;
    sql.push("c.id, c.draw_key, c.country");
    match selection.engagement {
        Some(way) => sql.push(&format!(", a{way}.engaged_at")),
        None => sql.push(", CAST(NULL AS BIGINT)"),
    }
    sql.push(match selection.places {
        true => {
            ", c.zone, CASE WHEN c.country IS NULL THEN
                 (SELECT p.address FROM addresses p WHERE p.customer_id = c.id AND p.channel = 2 AND p.is_primary = 1 LIMIT 1) END"
        }
        false => ", CAST(NULL AS TEXT), CAST(NULL AS TEXT)",
    });
    for (way, channel) in selection.channels.iter().enumerate() {
        sql.push(&match channel {
            // A system is told of everybody, under the number by which it knows them.
            Channel::Webhook => {
                ", COALESCE(c.external_id, '#' || c.id), CAST('' AS TEXT), CAST(NULL AS SMALLINT), CAST(NULL AS BIGINT)".to_string()
            }
            _ => format!(", a{way}.address, a{way}.site, s{way}.reason, s{way}.until"),
        });
        sql.push(&match &selection.topic {
            Some(_) => format!(", t{way}.state, t{way}.at, w{way}.state, w{way}.at"),
            None => ", CAST(NULL AS SMALLINT), CAST(NULL AS BIGINT), CAST(NULL AS SMALLINT), CAST(NULL AS BIGINT)".to_string(),
        });
    }
    for path in &selection.attributes {
        sql.push(", ");
        push_attribute(sql, path, dialect);
    }
}

fn tables(sql: &mut Sql, selection: &Selection) {
    sql.push(" FROM customers c");
    for (way, channel) in selection.channels.iter().enumerate() {
        let has_addresses = *channel != Channel::Webhook;
        let channel = channel.code();
        if has_addresses {
            sql.push(&format!(
                " LEFT JOIN addresses a{way} ON a{way}.customer_id = c.id AND a{way}.channel = {channel} AND a{way}.is_primary = 1
                  LEFT JOIN suppressions s{way} ON s{way}.key = a{way}.key"
            ));
        }
        if let Some(topic) = &selection.topic {
            sql.push(&format!(
                " LEFT JOIN consent_state t{way} ON t{way}.customer_id = c.id AND t{way}.channel = {channel} AND t{way}.topic = "
            ));
            sql.bind(Bind::Text(topic.clone()));
            sql.push(&format!(
                " LEFT JOIN consent_state w{way} ON w{way}.customer_id = c.id AND w{way}.channel = {channel} AND w{way}.topic = '*'"
            ));
        }
    }
}

/// Who is selected, in the order of their numbers.
pub(super) fn chosen(sql: &mut Sql, selection: &Selection) {
    restricted(sql, selection);
    sql.push(" ORDER BY c.id");
}

fn restricted(sql: &mut Sql, selection: &Selection) {
    sql.push(" WHERE ");
    is_selected(sql, selection);
}

/// Whether a customer is selected, as a condition over the alias `c`.
pub(super) fn is_selected(sql: &mut Sql, selection: &Selection) {
    sql.push("c.erased_at IS NULL AND (");
    sql.append(&selection.condition);
    sql.push(")");
    if let Some(re_entry) = &selection.re_entry {
        push_re_entry(sql, re_entry);
    }
}

/// The attribute as JSON text, or NULL.
pub(crate) fn push_attribute(sql: &mut Sql, path: &str, dialect: Dialect) {
    let own = ["external_id", "first_name", "last_name", "language", "country", "zone"];
    match dialect {
        Dialect::Sqlite if own.contains(&path) => sql.push(&format!("CASE WHEN c.{path} IS NULL THEN NULL ELSE json_quote(c.{path}) END")),
        Dialect::Postgres if own.contains(&path) => sql.push(&format!("to_json(c.{path})::text")),
        Dialect::Sqlite => {
            sql.push("c.attributes -> ");
            let quoted: Vec<String> = path.split('.').map(|part| format!("\"{part}\"")).collect();
            sql.bind(Bind::Text(format!("$.{}", quoted.join("."))));
        }
        Dialect::Postgres => {
            sql.push("(c.attributes");
            for name in path.split('.') {
                sql.push(" -> CAST(");
                sql.bind(Bind::Text(name.to_string()));
                sql.push(" AS text)");
            }
            sql.push(")::text");
        }
    }
}

/// Something was sent, or will be, or the person was held out.
fn push_re_entry(sql: &mut Sql, re_entry: &ReEntry) {
    let (refused, failed, expired, cancelled) =
        (MessageState::Refused.code(), MessageState::Failed.code(), MessageState::Expired.code(), MessageState::Cancelled.code());
    sql.push(
        " AND NOT EXISTS (SELECT 1 FROM messages mr JOIN runs rr ON rr.id = mr.run_id
            WHERE mr.customer_id = c.id AND rr.is_test = 0 AND rr.campaign_id = ",
    );
    sql.bind(Bind::Integer(re_entry.campaign.0));
    sql.push(&format!(
        " AND (mr.state NOT IN ({refused}, {failed}, {expired}, {cancelled}) OR (mr.state = {refused} AND mr.reason = {}))",
        Refusal::HeldOut.code()
    ));
    if let Some(since) = re_entry.since {
        sql.push(" AND COALESCE(mr.accepted_at, mr.due_at) >= ");
        sql.bind(Bind::Integer(micros(since)));
    }
    sql.push(")");
}
