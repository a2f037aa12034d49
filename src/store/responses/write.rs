//! The rows of recorded responses: events, verdicts that changed, tallies, firsts.

use super::{Counting, Detail, Event, Facts, Properties, RULES, ResponseRow, json, occurred, scope_word};
use crate::store::batch::{Connection, Field, table};
use crate::store::starts;
use crate::store::tallies::{self, Answer, Firsts, Key, contribution};
use crate::store::{Error, micros};
use crate::types::Response;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

pub(super) async fn write_events(
    connection: &mut Connection<'_>,
    rows: &[ResponseRow],
    details: &[Detail],
    fresh: &[(usize, [u8; 16])],
    facts: &HashMap<i64, Facts>,
    events: &BTreeMap<i64, Vec<Event>>,
) -> Result<(), Error> {
    #[derive(Serialize)]
    struct New<'a> {
        customer_id: i64,
        name: String,
        occurred_at: i64,
        received_at: i64,
        properties: &'a Properties,
        message_id: i64,
        link: i32,
        verdict: i16,
        source_key: String,
    }
    let given = table(
        connection.dialect(),
        &[
            ("customer_id", Field::Long),
            ("name", Field::Text),
            ("occurred_at", Field::Long),
            ("received_at", Field::Long),
            ("properties", Field::Json),
            ("message_id", Field::Long),
            ("link", Field::Number),
            ("verdict", Field::Small),
            ("source_key", Field::Bytes),
        ],
    );
    let sql = format!(
        "INSERT INTO events (customer_id, name, occurred_at, received_at, properties, message_id, link, verdict, source_key)
         SELECT customer_id, name, occurred_at, received_at, properties, message_id, link, verdict, source_key FROM {given} AS given WHERE true
         ON CONFLICT (customer_id, source_key) DO NOTHING"
    );
    let is_erased = |row: &ResponseRow| facts.get(&row.message.0).is_some_and(|facts| facts.erased);
    let properties: Vec<Properties> = fresh
        .iter()
        .map(|(index, _)| match &rows[*index] {
            row if is_erased(row) => anonymous(row),
            row => properties(row, details.get(*index)),
        })
        .collect();
    let mut new = Vec::with_capacity(fresh.len());
    for ((index, key), properties) in fresh.iter().zip(&properties) {
        let row = &rows[*index];
        let Some(facts) = facts.get(&row.message.0) else { continue };
        let event = events.get(&facts.id).and_then(|events| events.iter().find(|event| event.key == *key));
        new.push(New {
            customer_id: facts.customer_id,
            name: format!("message.{}", row.response),
            occurred_at: micros(occurred(row).0),
            received_at: micros(row.received_at),
            properties,
            message_id: facts.id,
            link: row.link,
            verdict: event.map_or(row.verdict, |event| event.answer.verdict).code(),
            source_key: hex::encode(key),
        });
    }
    connection.write("record events", sql, &json(&new)?).await?;
    let keys: Vec<(i64, [u8; 16])> = fresh
        .iter()
        .filter_map(|(index, key)| Some((facts.get(&rows[*index].message.0).filter(|facts| facts.triggers > 0)?.customer_id, *key)))
        .collect();
    starts::keep_by_key(connection, starts::Kept::Events, &keys).await
}

fn properties(row: &ResponseRow, detail: Option<&Detail>) -> Properties {
    Properties {
        rules: row.visit.as_ref().map(|_| RULES),
        visit: row.visit.clone(),
        bounce: row.bounce.map(|bounce| bounce.word().to_string()),
        scope: (row.response == Response::Unsubscribed).then(|| scope_word(row.scope).to_string()),
        source: (!row.source.is_empty()).then(|| row.source.clone()),
        skew: occurred(row).1,
        class: detail.and_then(|detail| detail.class.clone()),
        status: detail.and_then(|detail| detail.status.clone()),
        text: detail.and_then(|detail| detail.text.clone()),
    }
}

/// What is kept when the person was erased: how it is counted.
fn anonymous(row: &ResponseRow) -> Properties {
    Properties { visit: None, rules: None, source: None, ..properties(row, None) }
}

pub(super) async fn write_verdicts(
    connection: &mut Connection<'_>,
    before: &BTreeMap<i64, Vec<Event>>,
    after: &BTreeMap<i64, Vec<Event>>,
) -> Result<(), Error> {
    #[derive(Serialize)]
    struct Changed {
        id: i64,
        verdict: i16,
    }
    let mut changed = Vec::new();
    for (message, events) in before {
        // Stored events come first and keep their places.
        for (old, new) in events.iter().zip(after.get(message).into_iter().flatten()) {
            if let Some(id) = old.id.filter(|_| old.answer.verdict != new.answer.verdict) {
                changed.push(Changed { id, verdict: new.answer.verdict.code() });
            }
        }
    }
    if changed.is_empty() {
        return Ok(());
    }
    let given = table(connection.dialect(), &[("id", Field::Long), ("verdict", Field::Small)]);
    let sql = format!("UPDATE events SET verdict = given.verdict FROM {given} AS given WHERE events.id = given.id");
    connection.write("settle verdicts", sql, &json(&changed)?).await?;
    Ok(())
}

pub(super) async fn write_counts(
    connection: &mut Connection<'_>,
    facts: &HashMap<i64, Facts>,
    before: &BTreeMap<i64, Vec<Event>>,
    after: &BTreeMap<i64, Vec<Event>>,
    counting: &Counting,
) -> Result<(), Error> {
    let mut differences: BTreeMap<Key, i64> = BTreeMap::new();
    let (mut gained, mut lost) = (Vec::new(), Vec::new());
    let nothing = Vec::new();
    for (message, events) in after {
        // Tests are never counted.
        let Some(facts) = facts.get(message).filter(|facts| facts.is_test == 0) else { continue };
        let (old, old_firsts) = counted(facts, before.get(message).unwrap_or(&nothing), counting);
        let (new, new_firsts) = counted(facts, events, counting);
        new.into_iter().for_each(|(key, count)| *differences.entry(key).or_insert(0) += count);
        old.into_iter().for_each(|(key, count)| *differences.entry(key).or_insert(0) -= count);
        let first = |(&(kind, link), &at): (&(i16, i32), &i64)| First { message_id: *message, kind, link, at };
        gained.extend(new_firsts.iter().filter(|(key, at)| old_firsts.get(*key) != Some(*at)).map(first));
        lost.extend(old_firsts.iter().filter(|(key, _)| !new_firsts.contains_key(*key)).map(first));
    }
    tallies::add(connection, &differences, counting.slot).await?;
    write_firsts(connection, &gained, &lost).await
}

pub(super) fn counted(facts: &Facts, events: &[Event], counting: &Counting) -> (BTreeMap<Key, i64>, Firsts) {
    let answers: Vec<Answer> = events.iter().map(|event| event.answer).collect();
    contribution(&facts.place(), &answers, counting.zone)
}

#[derive(Serialize)]
pub(super) struct First {
    pub message_id: i64,
    pub kind: i16,
    pub link: i32,
    pub at: i64,
}

const FIRSTS: [(&str, Field); 4] = [("message_id", Field::Long), ("kind", Field::Small), ("link", Field::Number), ("at", Field::Long)];

pub(super) async fn write_firsts(connection: &mut Connection<'_>, gained: &[First], lost: &[First]) -> Result<(), Error> {
    let given = table(connection.dialect(), &FIRSTS);
    if !gained.is_empty() {
        let sql = format!(
            "INSERT INTO firsts (message_id, kind, link, at) SELECT message_id, kind, link, at FROM {given} AS given WHERE true
             ORDER BY message_id, kind, link ON CONFLICT (message_id, kind, link) DO UPDATE SET at = excluded.at"
        );
        connection.write("record first responses", sql, &json(&gained)?).await?;
    }
    if !lost.is_empty() {
        let sql = format!("DELETE FROM firsts WHERE (message_id, kind, link) IN (SELECT message_id, kind, link FROM {given} AS given)");
        connection.write("take back first responses", sql, &json(&lost)?).await?;
    }
    Ok(())
}
