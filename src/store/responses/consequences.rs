//! What follows from a response: consent, suppression, the message's marks, the address's last engagement.

use super::{Detail, Event, Facts, New, Scope, Weight, digest, json, occurred};
use crate::store::batch::{Connection, Field, table};
use crate::store::consents::{self, ConsentRow};
use crate::store::strikes::{self, StrikeRow};
use crate::store::tallies::Bounce;
use crate::store::{Error, micros};
use crate::types::{ConsentState, MessageId, MessageState, Response, SuppressionReason, Verdict};
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};

/// Consent, suppression, the message's marks and the address's last engagement.
pub(super) async fn write_consequences(
    connection: &mut Connection<'_>,
    new: &[New<'_>],
    events: &BTreeMap<i64, Vec<Event>>,
) -> Result<(), Error> {
    withdraw_consents(connection, new).await?;
    suppress(connection, new).await?;
    strike(connection, new).await?;
    mark_messages(connection, new).await?;
    settle_proven(connection, new).await?;
    mark_addresses(connection, new, events).await
}

async fn withdraw_consents(connection: &mut Connection<'_>, new: &[New<'_>]) -> Result<(), Error> {
    let withdrawn = |(row, facts, detail): &New<'_>| {
        let topic = match (row.response, row.scope) {
            (Response::Unsubscribed, Scope::Topic) => facts.topic.as_deref().unwrap_or("*"),
            (Response::Unsubscribed, Scope::Everything) | (Response::Complained, _) => "*",
            (Response::Bounced, _) if detail.is_some_and(|detail| detail.drops_consent) => "*",
            _ => return None,
        };
        let at = micros(occurred(row).0);
        Some(ConsentRow {
            customer: facts.customer_id,
            topic: topic.to_string(),
            channel: facts.channel,
            state: ConsentState::Withdrawn,
            at,
            received_at: micros(row.received_at),
            source: if row.source.is_empty() || facts.erased { row.response.word().to_string() } else { row.source.clone() },
            proof: Some(format!("message {}", facts.id)),
            until: None,
            source_key: digest(&[b"withdrawn", &facts.id.to_be_bytes(), topic.as_bytes(), &at.to_be_bytes()]),
        })
    };
    let rows: Vec<ConsentRow> = new.iter().filter_map(withdrawn).collect();
    consents::append(connection, &rows).await?;
    consents::keep_starts(connection, &rows).await
}

/// What comes back to a message proves that its provider had taken it; what a provider says of a message that it did not send, only that it had it.
async fn settle_proven(connection: &mut Connection<'_>, new: &[New<'_>]) -> Result<(), Error> {
    let is_open = |facts: &Facts, detail: Option<&Detail>| match MessageState::from_code(facts.state) {
        Some(MessageState::Uncertain) => true,
        Some(MessageState::Retry | MessageState::Deferred) => detail.is_none_or(|detail| !detail.not_sent),
        _ => false,
    };
    let proven: Vec<MessageId> = new.iter().filter(|(_, facts, detail)| is_open(facts, *detail)).map(|(row, ..)| row.message).collect();
    connection.settle_proven(&proven).await.map(drop)
}

/// Complaints and hard bounces suppress the address that the message went to.
async fn suppress(connection: &mut Connection<'_>, new: &[New<'_>]) -> Result<(), Error> {
    #[derive(Serialize)]
    struct Suppressed<'a> {
        customer_id: i64,
        channel: i16,
        address: &'a str,
        reason: i16,
        since: i64,
        source: &'a str,
    }
    let mut rows: BTreeMap<(i64, i16), Suppressed> = BTreeMap::new();
    for (row, facts, detail) in new {
        let reason = match (row.response, Weight::of(row, *detail)) {
            (Response::Complained, _) => SuppressionReason::Complaint,
            (_, Some(Weight::AtOnce)) => SuppressionReason::HardBounce,
            _ => continue,
        };
        let Some(address) = facts.address.as_deref() else { continue };
        let since = micros(occurred(row).0);
        let suppressed = Suppressed {
            customer_id: facts.customer_id,
            channel: facts.channel,
            address,
            reason: reason.code(),
            since,
            source: &row.source,
        };
        // Of a complaint and a bounce at once, the complaint stays.
        let kept = rows.entry((facts.customer_id, facts.channel)).or_insert(suppressed);
        if reason == SuppressionReason::Complaint {
            kept.reason = reason.code();
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    let given = table(
        connection.dialect(),
        &[
            ("customer_id", Field::Long),
            ("channel", Field::Small),
            ("address", Field::Text),
            ("reason", Field::Small),
            ("since", Field::Long),
            ("source", Field::Text),
        ],
    );
    let sql = format!(
        "INSERT INTO suppressions (key, channel, reason, since, until, source)
         SELECT a.key, given.channel, MAX(given.reason), MIN(given.since), NULL, MAX(given.source)
         FROM {given} AS given JOIN addresses a ON a.customer_id = given.customer_id AND a.channel = given.channel AND a.address = given.address
         WHERE true GROUP BY a.key, given.channel ORDER BY a.key
         ON CONFLICT (key) DO UPDATE SET reason = excluded.reason, until = NULL, source = excluded.source
         WHERE suppressions.until IS NOT NULL OR excluded.reason = {complaint}",
        complaint = SuppressionReason::Complaint.code()
    );
    connection.write("suppress addresses", sql, &json(&rows.into_values().collect::<Vec<_>>())?).await?;
    Ok(())
}

/// Bounces that suppress their address only when they come again.
async fn strike(connection: &mut Connection<'_>, new: &[New<'_>]) -> Result<(), Error> {
    #[derive(Serialize)]
    struct Struck<'a> {
        place: usize,
        customer_id: i64,
        channel: i16,
        address: &'a str,
    }
    let struck = |(place, (row, facts, detail)): (usize, &New<'_>)| match Weight::of(row, *detail) {
        Some(Weight::Strike(strike)) => Some((place, strike, occurred(row).0, facts.channel)),
        _ => None,
    };
    let strikes: Vec<_> = new.iter().enumerate().filter_map(struck).collect();
    let rows: Vec<Struck> = strikes
        .iter()
        .filter_map(|(place, ..)| {
            let (_, facts, _) = new.get(*place)?;
            Some(Struck { place: *place, customer_id: facts.customer_id, channel: facts.channel, address: facts.address.as_deref()? })
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let given = table(
        connection.dialect(),
        &[("place", Field::Long), ("customer_id", Field::Long), ("channel", Field::Small), ("address", Field::Text)],
    );
    let sql = format!(
        "SELECT given.place, a.key FROM {given} AS given
         JOIN addresses a ON a.customer_id = given.customer_id AND a.channel = given.channel AND a.address = given.address"
    );
    let keys: Vec<(i64, Vec<u8>)> = connection.read("read keys of addresses", sql, &json(&rows)?).await?;
    let rows: Vec<StrikeRow> = keys
        .into_iter()
        .filter_map(|(place, key)| {
            let (_, strike, at, channel) = strikes.iter().find(|(known, ..)| i64::try_from(*known) == Ok(place))?;
            Some(StrikeRow { key, channel: *channel, strike: *strike, at: *at })
        })
        .collect();
    strikes::strike(connection, &rows).await
}

async fn mark_messages(connection: &mut Connection<'_>, new: &[New<'_>]) -> Result<(), Error> {
    #[derive(Serialize)]
    struct Marked {
        id: i64,
        bounced_at: Option<i64>,
        confirmed_at: Option<i64>,
    }
    let mut marks: BTreeMap<i64, Marked> = BTreeMap::new();
    for (row, facts, _) in new {
        let mark = marks.entry(facts.id).or_insert(Marked { id: facts.id, bounced_at: None, confirmed_at: None });
        let place = match row.response {
            Response::Bounced => &mut mark.bounced_at,
            Response::Delivered => &mut mark.confirmed_at,
            _ => continue,
        };
        let at = micros(occurred(row).0);
        *place = Some(place.map_or(at, |earlier| earlier.min(at)));
    }
    marks.retain(|_, mark| mark.bounced_at.is_some() || mark.confirmed_at.is_some());
    if marks.is_empty() {
        return Ok(());
    }
    let given = table(connection.dialect(), &[("id", Field::Long), ("bounced_at", Field::Long), ("confirmed_at", Field::Long)]);
    let least = connection.pick("MIN", "LEAST");
    let earlier = |column: &str| {
        format!(
            "CASE WHEN messages.{column} IS NULL OR given.{column} IS NULL THEN COALESCE(messages.{column}, given.{column}) ELSE {least}(messages.{column}, given.{column}) END"
        )
    };
    let sql = format!(
        "UPDATE messages SET bounced_at = {}, confirmed_at = {} FROM {given} AS given WHERE messages.id = given.id",
        earlier("bounced_at"),
        earlier("confirmed_at")
    );
    connection.write("mark messages", sql, &json(&marks.into_values().collect::<Vec<_>>())?).await?;
    Ok(())
}

async fn mark_addresses(connection: &mut Connection<'_>, new: &[New<'_>], events: &BTreeMap<i64, Vec<Event>>) -> Result<(), Error> {
    #[derive(Serialize)]
    struct Marked<'a> {
        customer_id: i64,
        channel: i16,
        address: &'a str,
        engaged_at: i64,
        soft: i32,
    }
    let mut marks: BTreeMap<(i64, i16, &str), Marked> = BTreeMap::new();
    let mut engaged: HashSet<i64> = HashSet::new();
    for (row, facts, _) in new {
        let Some(address) = facts.address.as_deref() else { continue };
        let soft = i32::from(row.response == Response::Bounced && row.bounce == Some(Bounce::Soft));
        let humans = events
            .get(&facts.id)
            .into_iter()
            .flatten()
            .map(|event| event.answer)
            .filter(|answer| matches!(answer.response, Response::Opened | Response::Clicked) && answer.verdict != Verdict::Machine);
        let engaged_at = if engaged.insert(facts.id) { humans.map(|answer| answer.at).max().unwrap_or(0) } else { 0 };
        if soft > 0 || engaged_at > 0 {
            let mark = marks.entry((facts.customer_id, facts.channel, address)).or_insert(Marked {
                customer_id: facts.customer_id,
                channel: facts.channel,
                address,
                engaged_at: 0,
                soft: 0,
            });
            mark.engaged_at = mark.engaged_at.max(engaged_at);
            mark.soft += soft;
        }
    }
    if marks.is_empty() {
        return Ok(());
    }
    let given = table(
        connection.dialect(),
        &[
            ("customer_id", Field::Long),
            ("channel", Field::Small),
            ("address", Field::Text),
            ("engaged_at", Field::Long),
            ("soft", Field::Number),
        ],
    );
    let greatest = connection.pick("MAX", "GREATEST");
    let sql = format!(
        "UPDATE addresses SET soft_bounces = CASE WHEN given.engaged_at > 0 THEN given.soft ELSE soft_bounces + given.soft END,
                engaged_at = CASE WHEN given.engaged_at = 0 THEN addresses.engaged_at
                                  WHEN given.customer_id IN (SELECT customer_id FROM consent_state WHERE state = {objected}) THEN NULL
                                  ELSE {greatest}(COALESCE(addresses.engaged_at, 0), given.engaged_at) END
         FROM {given} AS given
         WHERE addresses.customer_id = given.customer_id AND addresses.channel = given.channel AND addresses.address = given.address",
        objected = ConsentState::Objected.code()
    );
    let marks = json(&marks.into_values().collect::<Vec<_>>())?;
    connection.write("mark addresses", sql, &marks).await?;
    // Somebody is there: what failed before counts no more.
    let sql = format!(
        "DELETE FROM strikes WHERE key IN (SELECT a.key FROM {given} AS given
           JOIN addresses a ON a.customer_id = given.customer_id AND a.channel = given.channel AND a.address = given.address
           WHERE given.engaged_at > strikes.last_at)"
    );
    connection.write("forget failures", sql, &marks).await?;
    Ok(())
}
