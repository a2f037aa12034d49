//! Sign-ups by forms: those that wait to be confirmed, how often an address was asked, the texts that people agreed to, and how many came.
//!
//! What a sign-up and a confirmation do is decided by `customers::signup` and written here, each in one transaction. A sign-up that waits is
//! personal data and goes with its confirmation, or after its time ([`Store::forget_signups`]).

use super::batch::{Connection, Field, table};
use super::consents::{self, ConsentRow};
use super::customers::{self, Changes, Found, Wanted, among_ids};
use super::suppressions::SuppressionRow;
use super::{Doing, Error, Store, erasure, micros};
use crate::on_pool;
use crate::types::{ConsentState, MessageState, SuppressionReason, Time};
use chrono::TimeDelta;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A sign-up that waits to be confirmed.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// Negative for a customer whom this sign-up makes.
    pub customer: i64,
    pub form: String,
    pub channel: i16,
    pub key: [u8; 16],
    pub topics: Vec<String>,
    /// What was typed besides the address.
    pub fields: Value,
    pub proof: Value,
    pub made: bool,
    /// Microseconds.
    pub asked_at: i64,
    pub reminded_at: Option<i64>,
}

/// What a decision needs to know, read in the transaction that writes what comes of it.
pub struct Known {
    pub found: Found,
    pub suppressions: Vec<SuppressionRow>,
    /// When each address was asked, in microseconds.
    pub asks: Vec<([u8; 16], i64)>,
    /// The sign-ups of these addresses.
    pub waiting: Vec<Waiting>,
}

/// What is written. New customers have negative numbers everywhere.
#[derive(Default)]
pub struct Written {
    pub people: Changes,
    /// Kept in the record, with no change of the state: a question to somebody whose state only the answer may change.
    pub questions: Vec<ConsentRow>,
    /// Keys of changes that start no campaign: another one asks for them too.
    pub quiet: Vec<[u8; 16]>,
    pub waiting: Vec<Waiting>,
    /// Confirmed: they wait no longer.
    pub settled: Vec<(i64, String, i16)>,
    /// Addresses that are asked to confirm now.
    pub asks: Vec<[u8; 16]>,
    /// Hash, language and text.
    pub wording: Option<(String, String, String)>,
    /// Addresses whose own unsubscription ends.
    pub lifted: Vec<[u8; 16]>,
    /// Customer, channel and address that was proved.
    pub verified: Option<(i64, i16, String)>,
}

/// How many posts of a form came to the same on a day.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, sqlx::FromRow)]
pub struct FormCount {
    pub form: String,
    pub outcome: String,
    /// Days since 1970.
    pub day: i64,
    pub count: i64,
}

const DOING: &str = "keep a sign-up";
/// Over which time it is counted how often an address was asked.
pub const COUNTED: TimeDelta = TimeDelta::hours(24);

impl Store {
    /// Looks up, lets `decide` say what follows, and writes it, in one transaction.
    pub async fn sign_up<T>(&self, wanted: &Wanted, now: Time, decide: impl FnOnce(Known) -> (Written, T)) -> Result<T, Error> {
        let mut change = self.change(DOING).await?;
        let mut connection = change.connection();
        customers::lock(&mut connection).await?;
        let found = customers::find(&mut connection, wanted).await?;
        let mut keys = wanted.keys.clone();
        keys.extend(found.customers.values().flat_map(|customer| customer.addresses.iter().map(|address| address.key)));
        keys.sort_unstable();
        keys.dedup();
        let known = Known {
            suppressions: suppressions(&mut connection, &keys).await?,
            asks: asks(&mut connection, &keys).await?,
            waiting: waiting(&mut connection, &found.customers.keys().copied().collect::<Vec<_>>()).await?,
            found,
        };
        let (written, result) = decide(known);
        write(&mut connection, written, micros(now)).await?;
        change.commit(DOING).await?;
        self.tell().await?;
        Ok(result)
    }

    /// How many sign-ups wait, by form.
    pub async fn signups_waiting(&self) -> Result<BTreeMap<String, i64>, Error> {
        let sql = "SELECT form, COUNT(*) FROM signups GROUP BY form";
        let rows: Vec<(String, i64)> = on_pool!(self, pool => sqlx::query_as(sql).fetch_all(pool).await).doing("count sign-ups")?;
        Ok(rows.into_iter().collect())
    }

    /// Adds to the counts of a day.
    pub async fn count_forms(&self, counts: &[FormCount]) -> Result<(), Error> {
        if counts.is_empty() {
            return Ok(());
        }
        let mut change = self.change("count sign-ups").await?;
        let fields = [("form", Field::Text), ("outcome", Field::Text), ("day", Field::Long), ("count", Field::Long)];
        let given = table(self.dialect(), &fields);
        let sql = format!(
            "INSERT INTO form_counts (form, outcome, day, count) SELECT form, outcome, day, count FROM {given} AS given WHERE true
             ORDER BY form, outcome, day ON CONFLICT (form, outcome, day) DO UPDATE SET count = form_counts.count + excluded.count"
        );
        change.connection().write("count sign-ups", sql, &json!(counts).to_string()).await?;
        change.commit("count sign-ups").await
    }

    /// The counts from a day on.
    pub async fn form_counts(&self, since_day: i64) -> Result<Vec<FormCount>, Error> {
        let sql = "SELECT form, outcome, day, count FROM form_counts WHERE day >= $1 ORDER BY form, outcome, day";
        on_pool!(self, pool => sqlx::query_as(sql).bind(since_day).fetch_all(pool).await).doing("read the counts of sign-ups")
    }

    /// The text that somebody agreed to, by its hash.
    pub async fn wording(&self, hash: &str) -> Result<Option<String>, Error> {
        let sql = "SELECT text FROM wordings WHERE hash = $1";
        let row: Option<(String,)> =
            on_pool!(self, pool => sqlx::query_as(sql).bind(hash).fetch_optional(pool).await).doing("read what was agreed to")?;
        Ok(row.map(|row| row.0))
    }

    /// The customers of sign-ups of a form that were made from `after` until `until` and have not been asked again.
    pub async fn signups_to_remind(&self, form: &str, after: Time, until: Time) -> Result<Vec<i64>, Error> {
        let sql = "SELECT DISTINCT customer_id FROM signups WHERE form = $1 AND reminded_at IS NULL AND asked_at > $2 AND asked_at <= $3 ORDER BY customer_id LIMIT 1000";
        let rows: Vec<(i64,)> =
            on_pool!(self, pool => sqlx::query_as(sql).bind(form).bind(micros(after)).bind(micros(until)).fetch_all(pool).await)
                .doing("look for sign-ups to remind of")?;
        Ok(rows.into_iter().map(|row| row.0).collect())
    }

    /// The oldest sign-up of each form: whether it has been reminded of, and when it was made.
    pub async fn oldest_signups(&self) -> Result<Vec<(String, bool, i64)>, Error> {
        let sql =
            "SELECT form, CAST(CASE WHEN reminded_at IS NULL THEN 0 ELSE 1 END AS SMALLINT), MIN(asked_at) FROM signups GROUP BY 1, 2";
        let rows: Vec<(String, i16, i64)> =
            on_pool!(self, pool => sqlx::query_as(sql).fetch_all(pool).await).doing("look for old sign-ups")?;
        Ok(rows.into_iter().map(|(form, reminded, at)| (form, reminded != 0, at)).collect())
    }

    /// Forgets sign-ups that were made until then and never confirmed, with the customers whom they made and of whom nothing else is known.
    /// Who has rows of the ledger leaves an empty customer behind, as an erasure does. Gives how many were forgotten.
    pub async fn forget_signups(&self, until: Time, now: Time) -> Result<u64, Error> {
        const DOING: &str = "forget sign-ups that nobody confirmed";
        let mut change = self.change(DOING).await?;
        let mut connection = change.connection();
        // Like an import: nobody may find a customer while it goes.
        customers::lock(&mut connection).await?;
        let old = [json!({ "until": micros(until) })];
        let given = table(connection.dialect(), &[("until", Field::Long)]);
        let waiting: Vec<String> = MessageState::WAITING.iter().map(|state| state.code().to_string()).collect();
        let busy = format!("EXISTS (SELECT 1 FROM messages m WHERE m.customer_id = s.customer_id AND m.state IN ({}))", waiting.join(", "));
        let sql = format!(
            "SELECT s.customer_id, s.form, s.channel, s.made FROM signups s JOIN {given} AS given ON s.asked_at <= given.until
             WHERE NOT {busy} ORDER BY s.customer_id LIMIT 500"
        );
        let gone: Vec<(i64, String, i16, i16)> = connection.read(DOING, sql, &json!(old).to_string()).await?;
        if gone.is_empty() {
            return Ok(0);
        }
        let rows: Vec<Value> = gone
            .iter()
            .map(|(customer, form, channel, made)| {
                json!({ "customer": customer, "form": form, "channel": channel, "made": made, "source": source(form) })
            })
            .collect();
        let given = table(
            connection.dialect(),
            &[("customer", Field::Long), ("form", Field::Text), ("channel", Field::Small), ("made", Field::Small), ("source", Field::Text)],
        );
        let pending = ConsentState::Pending.code();
        for sql in [
            format!("DELETE FROM signups WHERE (customer_id, form, channel) IN (SELECT customer, form, channel FROM {given} AS given)"),
            format!(
                "DELETE FROM consents WHERE state = {pending} AND (customer_id, source, channel) IN (SELECT customer, source, channel FROM {given} AS given)"
            ),
            // A pending state of which no record is left.
            format!(
                "DELETE FROM consent_state WHERE state = {pending} AND customer_id IN (SELECT customer FROM {given} AS given)
                   AND NOT EXISTS (SELECT 1 FROM consents c WHERE c.customer_id = consent_state.customer_id AND c.topic = consent_state.topic
                                     AND c.channel = consent_state.channel AND c.state = {pending})"
            ),
        ] {
            connection.write(DOING, sql, &json!(rows).to_string()).await?;
        }
        // Made by a sign-up, and nothing but what sign-ups and their messages have left.
        let alone = format!(
            "SELECT DISTINCT c.id FROM customers c JOIN {given} AS given ON given.customer = c.id AND given.made = 1
             WHERE c.external_id IS NULL AND c.erased_at IS NULL AND NOT EXISTS (SELECT 1 FROM signups s WHERE s.customer_id = c.id)
               AND NOT EXISTS (SELECT 1 FROM consent_state t WHERE t.customer_id = c.id)
               AND NOT EXISTS (SELECT 1 FROM events e WHERE e.customer_id = c.id AND e.message_id IS NULL)
             ORDER BY c.id"
        );
        let alone: Vec<(i64,)> = connection.read(DOING, alone, &json!(rows).to_string()).await?;
        let alone: Vec<i64> = alone.into_iter().map(|(id,)| id).collect();
        erasure::wipe(&mut connection, &alone, micros(now)).await?;
        let given = table(connection.dialect(), &[("id", Field::Long)]);
        let of_nothing = format!(
            "SELECT given.id FROM {given} AS given WHERE NOT EXISTS (SELECT 1 FROM messages m WHERE m.customer_id = given.id)
               AND NOT EXISTS (SELECT 1 FROM events e WHERE e.customer_id = given.id)"
        );
        let alone: Vec<Value> = alone.iter().map(|id| json!({ "id": id })).collect();
        for (place, column) in [("consents", "customer_id"), ("customers", "id")] {
            connection.write(DOING, format!("DELETE FROM {place} WHERE {column} IN ({of_nothing})"), &json!(alone).to_string()).await?;
        }
        change.commit(DOING).await?;
        Ok(gone.len() as u64)
    }
}

/// Where a consent comes from that a form has asked for.
pub fn source(form: &str) -> String {
    format!("form {form}")
}

async fn suppressions(connection: &mut Connection<'_>, keys: &[[u8; 16]]) -> Result<Vec<SuppressionRow>, Error> {
    let sql = format!(
        "SELECT s.key, s.channel, s.reason, s.since, s.until, s.source FROM suppressions s JOIN {given} AS given ON given.key = s.key",
        given = keys_given(connection)
    );
    let rows: Vec<(Vec<u8>, i16, i16, i64, Option<i64>, String)> = connection.read("read suppressions", sql, &keys_json(keys)).await?;
    Ok(rows
        .into_iter()
        .filter_map(|(key, channel, reason, since, until, source)| {
            let reason = SuppressionReason::from_code(reason)?;
            Some(SuppressionRow { key: key.try_into().ok()?, channel, reason, since, until, source })
        })
        .collect())
}

async fn asks(connection: &mut Connection<'_>, keys: &[[u8; 16]]) -> Result<Vec<([u8; 16], i64)>, Error> {
    let sql = format!("SELECT a.key, a.at FROM signup_asks a JOIN {given} AS given ON given.key = a.key", given = keys_given(connection));
    let rows: Vec<(Vec<u8>, i64)> = connection.read("read earlier sign-ups", sql, &keys_json(keys)).await?;
    Ok(rows.into_iter().filter_map(|(key, at)| Some((key.try_into().ok()?, at))).collect())
}

async fn waiting(connection: &mut Connection<'_>, customers: &[i64]) -> Result<Vec<Waiting>, Error> {
    let sql = "SELECT customer_id, form, channel, key, topics, fields, proof, made, asked_at, reminded_at FROM signups WHERE customer_id @
               ORDER BY customer_id, form, channel";
    type Row = (i64, String, i16, Vec<u8>, String, String, String, i16, i64, Option<i64>);
    let rows: Vec<Row> = among_ids(connection, sql, customers).await?;
    Ok(rows
        .into_iter()
        .filter_map(|(customer, form, channel, key, topics, fields, proof, made, asked_at, reminded_at)| {
            Some(Waiting {
                customer,
                form,
                channel,
                key: key.try_into().ok()?,
                topics: serde_json::from_str(&topics).ok()?,
                fields: serde_json::from_str(&fields).unwrap_or_default(),
                proof: serde_json::from_str(&proof).unwrap_or_default(),
                made: made != 0,
                asked_at,
                reminded_at,
            })
        })
        .collect())
}

fn keys_given(connection: &Connection<'_>) -> String {
    table(connection.dialect(), &[("key", Field::Bytes)])
}

fn keys_json(keys: &[[u8; 16]]) -> String {
    json!(keys.iter().map(|key| json!({ "key": hex::encode(key) })).collect::<Vec<_>>()).to_string()
}

async fn write(connection: &mut Connection<'_>, mut written: Written, now: i64) -> Result<(), Error> {
    let new_ids = if written.people.is_empty() { Vec::new() } else { customers::write(connection, &mut written.people).await? };
    let real = |id: i64| if id < 0 { new_ids.get(usize::try_from(-id - 1).unwrap_or(usize::MAX)).copied().unwrap_or(id) } else { id };
    written.questions.iter_mut().for_each(|row| row.customer = real(row.customer));
    written.waiting.iter_mut().for_each(|row| row.customer = real(row.customer));
    consents::record(connection, &written.questions).await?;
    let changes = written.people.consents.iter().chain(&written.questions);
    let starting: Vec<ConsentRow> = changes.filter(|row| !written.quiet.contains(&row.source_key)).cloned().collect();
    consents::keep_starts(connection, &starting).await?;
    keep_waiting(connection, &written.waiting).await?;
    if !written.settled.is_empty() {
        let rows: Vec<Value> =
            written.settled.iter().map(|(id, form, channel)| json!({ "id": id, "form": form, "channel": channel })).collect();
        let given = table(connection.dialect(), &[("id", Field::Long), ("form", Field::Text), ("channel", Field::Small)]);
        let sql = format!("DELETE FROM signups WHERE (customer_id, form, channel) IN (SELECT id, form, channel FROM {given} AS given)");
        connection.write(DOING, sql, &json!(rows).to_string()).await?;
    }
    if !written.asks.is_empty() {
        let sql = format!(
            "INSERT INTO signup_asks (key, at) SELECT given.key, {now} FROM {given} AS given WHERE true ON CONFLICT (key, at) DO NOTHING",
            given = keys_given(connection)
        );
        connection.write(DOING, sql, &keys_json(&written.asks)).await?;
        let given = table(connection.dialect(), &[("until", Field::Long)]);
        let sql = format!("DELETE FROM signup_asks WHERE at <= (SELECT until FROM {given} AS given)");
        connection.write(DOING, sql, &json!([{ "until": now - COUNTED.num_microseconds().unwrap_or(0) }]).to_string()).await?;
    }
    if let Some((hash, language, text)) = &written.wording {
        let given = table(connection.dialect(), &[("hash", Field::Text), ("language", Field::Text), ("text", Field::Text)]);
        let sql = format!(
            "INSERT INTO wordings (hash, language, text, first_at) SELECT given.hash, given.language, given.text, {now} FROM {given} AS given
             WHERE true ON CONFLICT (hash) DO NOTHING"
        );
        connection.write(DOING, sql, &json!([{ "hash": hash, "language": language, "text": text }]).to_string()).await?;
    }
    if !written.lifted.is_empty() {
        let sql = format!(
            "DELETE FROM suppressions WHERE reason = {} AND key IN (SELECT key FROM {} AS given)",
            SuppressionReason::Unsubscribe.code(),
            keys_given(connection)
        );
        connection.write(DOING, sql, &keys_json(&written.lifted)).await?;
    }
    if let Some((customer, channel, address)) = &written.verified {
        let given = table(connection.dialect(), &[("customer", Field::Long), ("channel", Field::Small), ("address", Field::Text)]);
        let sql = format!(
            "UPDATE addresses SET verified_at = COALESCE(verified_at, {now}) FROM {given} AS given
             WHERE addresses.customer_id = given.customer AND addresses.channel = given.channel AND addresses.address = given.address"
        );
        connection.write(DOING, sql, &json!([{ "customer": customer, "channel": channel, "address": address }]).to_string()).await?;
    }
    Ok(())
}

async fn keep_waiting(connection: &mut Connection<'_>, waiting: &[Waiting]) -> Result<(), Error> {
    if waiting.is_empty() {
        return Ok(());
    }
    let rows: Vec<Value> = waiting
        .iter()
        .map(|row| {
            json!({ "customer": row.customer, "form": row.form, "channel": row.channel, "key": hex::encode(row.key),
                    "topics": json!(row.topics).to_string(), "fields": row.fields.to_string(), "proof": row.proof.to_string(),
                    "made": i16::from(row.made), "asked_at": row.asked_at, "reminded_at": row.reminded_at })
        })
        .collect();
    let given = table(
        connection.dialect(),
        &[
            ("customer", Field::Long),
            ("form", Field::Text),
            ("channel", Field::Small),
            ("key", Field::Bytes),
            ("topics", Field::Text),
            ("fields", Field::Text),
            ("proof", Field::Text),
            ("made", Field::Small),
            ("asked_at", Field::Long),
            ("reminded_at", Field::Long),
        ],
    );
    let sql = format!(
        "INSERT INTO signups (customer_id, form, channel, key, topics, fields, proof, made, asked_at, reminded_at)
         SELECT customer, form, channel, key, topics, fields, proof, made, asked_at, reminded_at FROM {given} AS given WHERE true
         ON CONFLICT (customer_id, form, channel) DO UPDATE SET key = excluded.key, topics = excluded.topics, fields = excluded.fields,
           proof = excluded.proof, made = excluded.made, asked_at = excluded.asked_at, reminded_at = excluded.reminded_at"
    );
    connection.write(DOING, sql, &json!(rows).to_string()).await.map(drop)
}
