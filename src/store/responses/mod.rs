//! What came back, recorded: event, firsts, tallies, and what follows for consent, suppression and the message, in one transaction.
//!
//! Recording is idempotent (an event has a `source_key`) and does not depend on the order in which responses come: for each message
//! that is touched, all its events are read, judged anew (a later hit may show that an earlier one was a machine's), and the tallies move by
//! the difference. Verdicts look at most ten minutes around a hit, save for the late click of another browser, so they settle by themselves.

mod consequences;
mod rebuild;
mod write;

use super::batch::{Connection, Field, table};
use super::conversions::{self, Changed};
use super::erasure;
use super::strikes::Strike;
use super::tallies::{Answer, Bounce, Place};
use super::{Error, Store, micros};
use crate::types::{Channel, ConsentState, MessageId, Response, RunId, Time, Verdict};
use chrono::TimeDelta;
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// One response to one message, as it came. Its JSON is what a journal keeps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResponseRow {
    pub message: MessageId,
    pub response: Response,
    /// When it happened; later than five minutes after `received_at` is clamped to it.
    pub at: Time,
    pub received_at: Time,
    /// The link's number; 0 for anything but a click.
    pub link: i32,
    /// Who came, for opens and clicks of our own pages: what the verdict is made from.
    pub visit: Option<Visit>,
    /// The verdict of who has no `visit`: a provider's word (`sg_machine_open`), else human.
    pub verdict: Verdict,
    /// For a bounce: how.
    pub bounce: Option<Bounce>,
    /// For an unsubscription: how far it goes.
    pub scope: Scope,
    /// Where it came from, for people who read the history: `one_click`, `page`, `complaint`, a provider's name.
    pub source: String,
    /// 16 bytes that are the same for the same response told twice.
    pub source_key: [u8; 16],
}

/// What is known of a response beyond its row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Detail {
    /// How a bounce weighs for its address; by [`Bounce`] alone where nothing is said.
    pub weight: Option<Weight>,
    /// The address belongs to somebody else now, whose consent nobody has.
    pub drops_consent: bool,
    /// The provider had the message and did not send it: no proof that one which is to be tried again has arrived.
    pub not_sent: bool,
    /// RFC 3463.
    pub status: Option<String>,
    /// The class of standards.md §1.8.
    pub class: Option<String>,
    /// What a server or a person said; bounded by whoever gives it.
    pub text: Option<String>,
}

/// What a bounce does to its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// It is suppressed at once.
    AtOnce,
    /// It is suppressed when this comes again (`store::strikes`).
    Strike(Strike),
    /// Nothing: it speaks of us.
    Nothing,
}

impl Weight {
    fn of(row: &ResponseRow, detail: Option<&Detail>) -> Option<Weight> {
        let usual = match row.bounce {
            Some(Bounce::Hard) => Weight::AtOnce,
            Some(Bounce::Soft) => Weight::Strike(Strike::Soft),
            Some(Bounce::Blocked) | None => Weight::Nothing,
        };
        (row.response == Response::Bounced).then(|| detail.and_then(|detail| detail.weight).unwrap_or(usual))
    }
}

/// How far an unsubscription goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The topic of the message's campaign, on its channel; all topics where it has none.
    #[default]
    Topic,
    /// All topics, on the message's channel.
    Everything,
}

/// Who asked for an address of ours. Kept with the event, so that verdicts can be made again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Visit {
    /// The user agent, at most 256 characters.
    pub agent: String,
    /// The network it came from: an IPv4 address without its last byte, an IPv6 one's first 48 bits.
    pub network: String,
    /// HEAD or OPTIONS rather than GET.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub head: bool,
    #[serde(default)]
    pub accept: Accept,
    /// The same network asked for messages of several people of this run within a second.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub crowd: bool,
}

/// What the `Accept` header allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Accept {
    /// There is none.
    #[default]
    Absent,
    /// Images (or anything) are accepted.
    Image,
    /// Something else is asked for.
    Other,
}

/// What is known about a message when its hits are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Letter {
    pub channel: Channel,
    /// Microseconds; `None` while no provider has said so.
    pub accepted_at: Option<i64>,
    /// Tracked links of its version.
    pub links: usize,
}

/// An open or a click that has a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit<'a> {
    pub response: Response,
    pub at: i64,
    pub link: i32,
    pub visit: &'a Visit,
}

/// Says for each hit of one message who made it, whatever their order (`tracking::judge::judge`).
pub type Judge = fn(&Letter, &[Hit]) -> Vec<Verdict>;

/// How responses are counted.
#[derive(Debug, Clone, Copy)]
pub struct Counting {
    /// The workspace's zone.
    pub zone: Tz,
    /// This node's rows of the tallies.
    pub slot: i16,
    pub judge: Judge,
}

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    New,
    /// It was known; nothing changed.
    Repeat,
    /// There is no such message; nothing was kept.
    Unknown,
    /// The message has more hits than are kept ([`MOST_HITS`]).
    TooMany,
}

/// Opens and clicks kept for one message; further ones are answered and dropped, so that nobody can fill the database with one address.
pub const MOST_HITS: usize = 500;

/// What is read about a message when something comes back to it.
#[derive(Debug, Clone, sqlx::FromRow)]
struct Facts {
    id: i64,
    run_id: i64,
    customer_id: i64,
    step: i16,
    arm: i16,
    channel: i16,
    site: String,
    address: Option<String>,
    accepted_at: Option<i64>,
    is_test: i16,
    topic: Option<String>,
    links: i64,
    state: i16,
    /// Whether some campaign is started by what comes back to messages.
    triggers: i64,
    /// Whether some campaign measures what follows.
    measures: i64,
    /// The person was erased: it is counted what came, and nothing is kept of who came or what was said.
    #[sqlx(skip)]
    erased: bool,
}

impl Facts {
    fn place(&self) -> Place {
        Place { run: self.run_id, step: self.step, arm: self.arm, site: self.site.clone() }
    }
    fn letter(&self) -> Letter {
        let channel = Channel::from_code(self.channel).unwrap_or(Channel::Email);
        Letter { channel, accepted_at: self.accepted_at, links: usize::try_from(self.links).unwrap_or(0) }
    }
}

/// An event of a message, stored or about to be.
#[derive(Debug, Clone)]
struct Event {
    /// `None` for one that is new.
    id: Option<i64>,
    answer: Answer,
    visit: Option<Visit>,
    key: [u8; 16],
}

/// What is written as an event's `properties`.
#[derive(Debug, Serialize, Deserialize)]
struct Properties {
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    visit: Option<Visit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bounce: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    /// The clock that told `at` was ahead of ours.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    skew: bool,
    /// Which rules made the verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<i16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

/// The version of the rules behind `Counting::judge`; raised when they change.
pub const RULES: i16 = 1;

impl Store {
    /// Records responses in one transaction; the answer stands in the order of `rows`. When it returns, they are durable.
    pub async fn record_responses(&self, rows: &[ResponseRow], counting: &Counting) -> Result<Vec<Recorded>, Error> {
        self.record_told_responses(rows, &[], counting).await
    }

    /// [`Store::record_responses`] with what more is known of each row; `details` stand in the order of `rows`, as far as there are any.
    pub async fn record_told_responses(
        &self,
        rows: &[ResponseRow],
        details: &[Detail],
        counting: &Counting,
    ) -> Result<Vec<Recorded>, Error> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut change = self.change("record responses").await?;
        let (recorded, clicked) = record(&mut change.connection(), rows, details, counting).await?;
        // What a customer did after a click was mostly not there before it.
        if !clicked.is_empty() {
            let disputed = conversions::disputed(&mut change.connection(), &clicked).await?;
            if !disputed.is_empty() {
                let measures = self.applied_measures(counting.zone).await?;
                conversions::find_anew(&mut change.connection(), &disputed, &measures).await?;
            }
        }
        change.commit("record responses").await?;
        Ok(recorded)
    }

    /// Counts the responses of these runs anew from their events, and puts the result in the place of the tallies and firsts. In one transaction:
    /// nothing is recorded meanwhile. Verdicts are those that are stored.
    pub async fn rebuild_tallies(&self, runs: &[RunId], counting: &Counting) -> Result<(), Error> {
        for run in runs {
            let mut change = self.change("rebuild the tallies").await?;
            rebuild::rebuild(&mut change.connection(), *run, counting).await?;
            change.commit("rebuild the tallies").await?;
        }
        Ok(())
    }
}

/// A response that was not known, its message, and what more is known of it.
type New<'a> = (&'a ResponseRow, &'a Facts, Option<&'a Detail>);

/// [`Store::record_responses`] inside a transaction; gives also whose human clicks have changed, and since when.
async fn record(
    connection: &mut Connection<'_>,
    rows: &[ResponseRow],
    details: &[Detail],
    counting: &Counting,
) -> Result<(Vec<Recorded>, Vec<Changed>), Error> {
    let facts = read_facts(connection, rows).await?;
    let mut events = read_events(connection, facts.keys().copied()).await?;
    let granted = read_granted(connection, rows, &facts).await?;
    let before: BTreeMap<i64, Vec<Event>> = events.clone();
    let mut fresh: Vec<(usize, [u8; 16])> = Vec::new();
    let mut recorded = Vec::with_capacity(rows.len());
    for (index, row) in rows.iter().enumerate() {
        let Some(facts) = facts.get(&row.message.0) else {
            recorded.push(Recorded::Unknown);
            continue;
        };
        let known = events.entry(facts.id).or_default();
        let key = match row.response {
            // A new consent may be withdrawn again by the same old letter.
            Response::Unsubscribed => unsubscription_key(row, granted.get(&(facts.customer_id, facts.channel)).copied().unwrap_or(0)),
            _ => row.source_key,
        };
        let is_hit = matches!(row.response, Response::Opened | Response::Clicked);
        recorded.push(if known.iter().any(|event| event.key == key) {
            Recorded::Repeat
        } else if is_hit && known.iter().filter(|event| event.visit.is_some()).count() >= MOST_HITS {
            Recorded::TooMany
        } else {
            known.push(Event { id: None, answer: answer(row), visit: row.visit.clone(), key });
            fresh.push((index, key));
            Recorded::New
        });
    }
    if fresh.is_empty() {
        return Ok((recorded, Vec::new()));
    }
    for (message, events) in &mut events {
        if let Some(facts) = facts.get(message) {
            judge(&facts.letter(), events, counting.judge);
        }
    }
    write::write_events(connection, rows, details, &fresh, &facts, &events).await?;
    write::write_verdicts(connection, &before, &events).await?;
    write::write_counts(connection, &facts, &before, &events, counting).await?;
    let new: Vec<New> =
        fresh.iter().filter_map(|(index, _)| Some((&rows[*index], facts.get(&rows[*index].message.0)?, details.get(*index)))).collect();
    consequences::write_consequences(connection, &new, &events).await?;
    Ok((recorded, changed_clicks(&facts, &before, &events)))
}

/// Customers whose human clicks are not what they were, each with the first that came, went or changed sides.
fn changed_clicks(facts: &HashMap<i64, Facts>, before: &BTreeMap<i64, Vec<Event>>, after: &BTreeMap<i64, Vec<Event>>) -> Vec<Changed> {
    let is_human = |event: &Event| event.answer.response == Response::Clicked && event.answer.verdict != Verdict::Machine;
    let mut since: BTreeMap<i64, i64> = BTreeMap::new();
    for (message, events) in after {
        let Some(facts) = facts.get(message).filter(|facts| facts.measures > 0) else { continue };
        let old = before.get(message).map_or(&[][..], Vec::as_slice);
        // Stored events come first and keep their places.
        let changed = events.iter().enumerate().filter(|(place, event)| is_human(event) != old.get(*place).is_some_and(is_human));
        if let Some(at) = changed.map(|(_, event)| event.answer.at).min() {
            let first = since.entry(facts.customer_id).or_insert(at);
            *first = at.min(*first);
        }
    }
    since.into_iter().map(|(customer, since)| Changed { customer, since }).collect()
}

fn answer(row: &ResponseRow) -> Answer {
    Answer { response: row.response, link: row.link, verdict: row.verdict, at: micros(occurred(row).0), bounce: row.bounce }
}

/// When it happened, and whether the teller's clock was ahead of ours.
fn occurred(row: &ResponseRow) -> (Time, bool) {
    if row.at > row.received_at + TimeDelta::minutes(5) { (row.received_at, true) } else { (row.at, false) }
}

fn judge(letter: &Letter, events: &mut [Event], judge: Judge) {
    let places: Vec<usize> = (0..events.len()).filter(|at| events[*at].visit.is_some()).collect();
    let hits: Vec<Hit> = places
        .iter()
        .filter_map(|at| {
            let event = &events[*at];
            Some(Hit { response: event.answer.response, at: event.answer.at, link: event.answer.link, visit: event.visit.as_ref()? })
        })
        .collect();
    let verdicts = judge(letter, &hits);
    for (at, verdict) in places.into_iter().zip(verdicts) {
        events[at].answer.verdict = verdict;
    }
}

fn unsubscription_key(row: &ResponseRow, granted_at: i64) -> [u8; 16] {
    let scope = scope_word(row.scope);
    digest(&[b"unsubscribed", &row.message.0.to_be_bytes(), scope.as_bytes(), &granted_at.to_be_bytes()])
}

fn scope_word(scope: Scope) -> &'static str {
    match scope {
        Scope::Topic => "topic",
        Scope::Everything => "all",
    }
}

/// 16 bytes of a hash over parts of any length.
pub fn digest(parts: &[&[u8]]) -> [u8; 16] {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut out = [0; 16];
    out.copy_from_slice(&context.finish().as_ref()[..16]);
    out
}

/// Rows as the JSON text that `batch::table` reads.
pub(super) fn json<T: Serialize>(rows: &T) -> Result<String, Error> {
    serde_json::to_string(rows).map_err(|error| Error::Unexpected { doing: "write rows", what: error.to_string() })
}

#[derive(Serialize)]
struct Id {
    id: i64,
}

async fn read_facts(connection: &mut Connection<'_>, rows: &[ResponseRow]) -> Result<HashMap<i64, Facts>, Error> {
    let ids: BTreeSet<i64> = rows.iter().map(|row| row.message.0).collect();
    // On PostgreSQL the messages are locked, in the order of their ids: two machines that record for one message wait for each other.
    let lock = connection.pick("", "FOR NO KEY UPDATE OF m");
    let sql = format!(
        "SELECT m.id, m.run_id, m.customer_id, m.step, m.arm, m.channel, m.site, m.address, m.accepted_at, r.is_test, c.topic,
                (SELECT COUNT(*) FROM links l WHERE l.version_id = r.version_id) AS links, m.state,
                (SELECT COUNT(*) FROM triggers t WHERE t.name LIKE 'message.%') AS triggers,
                (SELECT COUNT(*) FROM measures) AS measures
         FROM messages m JOIN runs r ON r.id = m.run_id JOIN campaigns c ON c.id = r.campaign_id
         WHERE m.id IN (SELECT id FROM {} AS given) ORDER BY m.id {lock}",
        table(connection.dialect(), &[("id", Field::Long)])
    );
    let ids = json(&ids.into_iter().map(|id| Id { id }).collect::<Vec<_>>())?;
    let mut facts: Vec<Facts> = connection.read("read messages", sql, &ids).await?;
    // Asked when the messages are ours: an erasure that was under way is over.
    let customers: Vec<i64> = facts.iter().map(|facts| facts.customer_id).collect();
    let erased = erasure::erased_customers(connection, &customers).await?;
    facts.iter_mut().for_each(|facts| facts.erased = erased.contains(&facts.customer_id));
    Ok(facts.into_iter().map(|facts| (facts.id, facts)).collect())
}

#[derive(sqlx::FromRow)]
struct EventRow {
    id: i64,
    message_id: i64,
    name: String,
    link: Option<i32>,
    verdict: i16,
    occurred_at: i64,
    properties: String,
    source_key: Vec<u8>,
}

impl EventRow {
    fn event(self) -> Option<Event> {
        let response = Response::from_word(self.name.strip_prefix("message.")?)?;
        let properties: Option<serde_json::Value> = serde_json::from_str(&self.properties).ok();
        let bounce = properties.as_ref().and_then(|all| Bounce::from_word(all.get("bounce")?.as_str()?));
        let visit = properties.filter(|all| all.get("agent").is_some()).and_then(|all| serde_json::from_value(all).ok());
        let verdict = Verdict::from_code(self.verdict).unwrap_or(Verdict::Human);
        Some(Event {
            id: Some(self.id),
            answer: Answer { response, link: self.link.unwrap_or(0), verdict, at: self.occurred_at, bounce },
            visit,
            key: self.source_key.try_into().ok()?,
        })
    }
}

async fn read_events(connection: &mut Connection<'_>, messages: impl Iterator<Item = i64>) -> Result<BTreeMap<i64, Vec<Event>>, Error> {
    let sql = format!(
        "SELECT id, message_id, name, link, verdict, occurred_at, {} AS properties, source_key FROM events
         WHERE message_id IN (SELECT id FROM {} AS given) ORDER BY id",
        connection.pick("properties", "properties::text"),
        table(connection.dialect(), &[("id", Field::Long)])
    );
    let ids = json(&messages.map(|id| Id { id }).collect::<Vec<_>>())?;
    let rows: Vec<EventRow> = connection.read("read the events of messages", sql, &ids).await?;
    let mut events: BTreeMap<i64, Vec<Event>> = BTreeMap::new();
    for row in rows {
        let message = row.message_id;
        events.entry(message).or_default().extend(row.event());
    }
    Ok(events)
}

/// When each customer who unsubscribes last agreed to something on that channel.
async fn read_granted(
    connection: &mut Connection<'_>,
    rows: &[ResponseRow],
    facts: &HashMap<i64, Facts>,
) -> Result<HashMap<(i64, i16), i64>, Error> {
    let ids: BTreeSet<i64> = rows
        .iter()
        .filter(|row| row.response == Response::Unsubscribed)
        .filter_map(|row| Some(facts.get(&row.message.0)?.customer_id))
        .collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = format!(
        "SELECT customer_id, channel, MAX(at) FROM consents WHERE state IN ({}, {}) AND customer_id IN (SELECT id FROM {} AS given)
         GROUP BY customer_id, channel",
        ConsentState::Granted.code(),
        ConsentState::Confirmed.code(),
        table(connection.dialect(), &[("id", Field::Long)])
    );
    let ids = json(&ids.into_iter().map(|id| Id { id }).collect::<Vec<_>>())?;
    let rows: Vec<(i64, i16, i64)> = connection.read("read consents", sql, &ids).await?;
    Ok(rows.into_iter().map(|(customer, channel, at)| ((customer, channel), at)).collect())
}
