//! Erasure of people: what names them goes, what counts them stays.
//!
//! What stays of a person: the number, the ledger's rows without address, events with name, time and value, changes of consent without proof, and
//! suppressions under their keys, so that who was erased is not written to when an old list is imported again. The keys are kept as *erasures* too: what
//! comes in about them later is not stored, and a restored backup is cleaned by them.
//!
//! An erasure is one transaction in a fixed order: first the customer, then their messages, then all else. Whoever records something of a message
//! holds the message's row, so it is either before the erasure, and erased with the rest, or sees that the person is erased. Writers that hold nothing
//! (an import that had found the person before) may come too late: [`Store::sweep_erased`] erases once more what they left.
//!
//! Leaves to others: what providers told and nobody has read (`feedback`), and the list outside of the database (`engine::erasing`).

use super::audit::{self, Audit};
use super::batch::{Connection, Field, table};
use super::suppressions::{self, SuppressionRow};
use super::tallies::FAMILIES;
use super::{Doing, Error, Store, micros};
use crate::on_pool;
use crate::types::{MessageState, Refusal, SuppressionReason, Time};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use std::collections::HashSet;
use std::time::Duration;

const DOING: &str = "erase the customer";
/// The channel of an external id's key.
pub const EXTERNAL_ID: i16 = 0;
/// What stands for a text that named an erased person.
const GONE: &str = "(erased with the person whom it named)";
/// Tables from which an erasure takes personal data.
const TOUCHED: &str = "customers, addresses, messages, attempts, events, consents, consent_state, inbound_mail, orphans, hooks, audit";

/// What an erasure touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Erasure {
    pub addresses: i64,
    pub events: i64,
    pub messages: i64,
    pub consents: i64,
}

/// Something that an erased person was known by, under its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Erased {
    pub key: [u8; 16],
    /// [`EXTERNAL_ID`], or the channel of an address.
    pub channel: i16,
    /// Microseconds.
    pub at: i64,
}

impl Store {
    /// What an erasure would touch.
    pub async fn erasure(&self, customer: i64) -> Result<Erasure, Error> {
        let sql = "SELECT (SELECT COUNT(*) FROM addresses WHERE customer_id = $1), (SELECT COUNT(*) FROM events WHERE customer_id = $1), \
                   (SELECT COUNT(*) FROM messages WHERE customer_id = $1), (SELECT COUNT(*) FROM consents WHERE customer_id = $1)";
        let (addresses, events, messages, consents): (i64, i64, i64, i64) =
            on_pool!(self, pool => sqlx::query_as(sql).bind(customer).fetch_one(pool).await).doing("count what would be erased")?;
        Ok(Erasure { addresses, events, messages, consents })
    }

    /// Erases a person. `external_id` is the key of the external id, where there is one. Messages that have not been handed over are refused as
    /// erased, and none is marked for hand-over any more. Gives what they were known by; nothing for who is erased already.
    pub async fn erase_customer(&self, id: i64, external_id: Option<[u8; 16]>, who: &str, now: Time) -> Result<Vec<Erased>, Error> {
        let Some(customer) = self.customer(id).await?.filter(|customer| customer.erased_at.is_none()) else { return Ok(Vec::new()) };
        let at = micros(now);
        let addresses = customer.addresses.iter().map(|address| Erased { key: address.key, channel: address.channel, at });
        let erased: Vec<Erased> = addresses.chain(external_id.map(|key| Erased { key, channel: EXTERNAL_ID, at })).collect();
        let mut change = self.change(DOING).await?;
        let mut connection = change.connection();
        wipe(&mut connection, &[id], at).await?;
        let named: Vec<&str> = customer.addresses.iter().map(|address| address.address.as_str()).collect();
        wipe_texts(&mut connection, &named).await?;
        keep(&mut connection, &erased).await?;
        let line = Audit { at: now, who: who.into(), action: "customers.erase".into(), subject: format!("#{id}"), detail: None };
        audit::write(&mut connection, &line).await?;
        change.commit(DOING).await?;
        self.tell().await?;
        Ok(erased)
    }

    /// Erases once more what came in too late about those who were erased since then: an event of an import that had found them before. Gives of how many.
    pub async fn sweep_erased(&self, since: Time) -> Result<u64, Error> {
        let sql = "SELECT id, erased_at FROM customers WHERE erased_at >= $1 ORDER BY id";
        let recent: Vec<(i64, i64)> =
            on_pool!(self, pool => sqlx::query_as(sql).bind(micros(since)).fetch_all(pool).await).doing("look for who was erased")?;
        for (id, at) in &recent {
            let mut change = self.change(DOING).await?;
            wipe(&mut change.connection(), &[*id], *at).await?;
            change.commit(DOING).await?;
        }
        Ok(recent.len() as u64)
    }

    /// Which of these keys belonged to people who were erased.
    pub async fn erased_among(&self, keys: &[[u8; 16]]) -> Result<HashSet<[u8; 16]>, Error> {
        if keys.is_empty() || !self.has_erasures().await? {
            return Ok(HashSet::new());
        }
        let given = table(self.dialect(), &[("key", Field::Bytes)]);
        let sql = format!("SELECT e.key FROM {given} AS given JOIN erasures e ON e.key = given.key");
        let rows: Vec<Value> = keys.iter().map(|key| json!({ "key": hex::encode(key) })).collect();
        let found: Vec<(Vec<u8>,)> = self.read_batch("look for who was erased", sql, &Value::Array(rows).to_string()).await?;
        Ok(found.into_iter().filter_map(|(key,)| key.try_into().ok()).collect())
    }

    async fn has_erasures(&self) -> Result<bool, Error> {
        let sql = "SELECT channel FROM erasures LIMIT 1";
        let row: Option<(i16,)> =
            on_pool!(self, pool => sqlx::query_as(sql).fetch_optional(pool).await).doing("look for who was erased")?;
        Ok(row.is_some())
    }

    /// All that erased people were known by.
    pub async fn erasures(&self) -> Result<Vec<Erased>, Error> {
        let sql = "SELECT key, channel, at FROM erasures ORDER BY at, key";
        let rows: Vec<(Vec<u8>, i16, i64)> =
            on_pool!(self, pool => sqlx::query_as(sql).fetch_all(pool).await).doing("read who was erased")?;
        Ok(rows.into_iter().filter_map(|(key, channel, at)| Some(Erased { key: key.try_into().ok()?, channel, at })).collect())
    }

    /// Keeps keys of erased people, with the suppressions that go with them.
    pub async fn keep_erasures(&self, erased: &[Erased]) -> Result<(), Error> {
        let mut change = self.change("keep who was erased").await?;
        keep(&mut change.connection(), erased).await?;
        change.commit("keep who was erased").await
    }

    /// People who are not erased, and were there when somebody with one of these addresses was.
    pub async fn owners_before(&self, erased: &[Erased]) -> Result<Vec<i64>, Error> {
        let given = table(self.dialect(), &[("key", Field::Bytes), ("at", Field::Long)]);
        let sql = format!(
            "SELECT DISTINCT c.id FROM {given} AS given JOIN addresses a ON a.key = given.key JOIN customers c ON c.id = a.customer_id
             WHERE c.erased_at IS NULL AND c.created_at <= given.at ORDER BY c.id"
        );
        let rows: Vec<Value> = erased.iter().map(|erased| json!({ "key": hex::encode(erased.key), "at": erased.at })).collect();
        let found: Vec<(i64,)> = self.read_batch("look for who is to be erased again", sql, &Value::Array(rows).to_string()).await?;
        Ok(found.into_iter().map(|(id,)| id).collect())
    }

    /// Number, external id and age of customers after a number, in their order.
    pub async fn external_ids_after(&self, last: i64, limit: i64) -> Result<Vec<(i64, String, i64)>, Error> {
        let sql = "SELECT id, external_id, created_at FROM customers WHERE id > $1 AND external_id IS NOT NULL ORDER BY id LIMIT $2";
        on_pool!(self, pool => sqlx::query_as(sql).bind(last).bind(limit).fetch_all(pool).await).doing("read external ids")
    }

    /// Other customers with one of a customer's addresses.
    pub async fn sharing_with(&self, customer: i64) -> Result<Vec<i64>, Error> {
        let sql = "SELECT DISTINCT o.customer_id FROM addresses a JOIN addresses o ON o.key = a.key AND o.customer_id <> a.customer_id \
                   WHERE a.customer_id = $1 ORDER BY o.customer_id";
        let found: Vec<(i64,)> =
            on_pool!(self, pool => sqlx::query_as(sql).bind(customer).fetch_all(pool).await).doing("look for a shared address")?;
        Ok(found.into_iter().map(|(id,)| id).collect())
    }

    /// Takes what was erased out of the files of the database, as far as it is in our hands; false when something still holds it there.
    ///
    /// SQLite: what was deleted is overwritten at once (secure_delete), and the log is folded in and emptied here, which other processes that read just now
    /// put off: tried for some seconds, never so that writers wait. PostgreSQL: the tables are vacuumed, beside all other work.
    pub async fn scour(&self) -> Result<bool, Error> {
        match self {
            Store::Sqlite(sqlite) => {
                let mut connection = sqlite.write.acquire().await.doing(DOING)?;
                // Whoever empties the log keeps writers out while it waits for readers: so it hardly waits, and tries again.
                sqlx::query("PRAGMA busy_timeout = 50").execute(&mut *connection).await.doing(DOING)?;
                let mut is_empty = Ok(false);
                for _ in 0..40 {
                    let row: Result<(i64, i64, i64), sqlx::Error> =
                        sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *connection).await;
                    match row {
                        Ok((0, ..)) => {
                            is_empty = Ok(true);
                            break;
                        }
                        Ok(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                        Err(error) => {
                            is_empty = Err(error);
                            break;
                        }
                    }
                }
                sqlx::query("PRAGMA busy_timeout = 30000").execute(&mut *connection).await.doing(DOING)?;
                is_empty.doing(DOING)
            }
            Store::Postgres(pool) => {
                let sql = format!("VACUUM {TOUCHED}");
                Ok(sqlx::query(AssertSqlSafe(sql)).execute(pool).await.is_ok())
            }
        }
    }

    /// Mail that is kept with its text, after a number: number, envelope sender, text.
    pub async fn kept_mail_after(&self, last: i64, limit: i64) -> Result<Vec<(i64, String, Vec<u8>)>, Error> {
        let sql = "SELECT id, sender, raw FROM inbound_mail WHERE raw IS NOT NULL AND id > $1 ORDER BY id LIMIT $2";
        on_pool!(self, pool => sqlx::query_as(sql).bind(last).bind(limit).fetch_all(pool).await).doing("read kept mail")
    }

    /// Drops the texts of these mails.
    pub async fn drop_mail(&self, ids: &[i64]) -> Result<(), Error> {
        let mut change = self.change(DOING).await?;
        let mut connection = change.connection();
        let given = table(connection.dialect(), &[("id", Field::Long)]);
        let sql = format!(
            "UPDATE inbound_mail SET raw = NULL, next_at = NULL, sender = '', recipients = '[]', detail = NULL WHERE id IN (SELECT id FROM {given} AS given)"
        );
        connection.write(DOING, sql, &numbered(ids)).await?;
        change.commit(DOING).await
    }

    /// Webhooks that are kept with their requests, after a number: number, the provider's kind, request, and whether they wait to be read.
    pub async fn kept_hooks_after(&self, last: i64, limit: i64) -> Result<Vec<KeptHook>, Error> {
        let waits = self.pick("why IS NULL", "(why IS NULL)::int");
        let sql = format!(
            "SELECT id, kind, request, CAST({waits} AS BIGINT) AS waits FROM hooks WHERE request IS NOT NULL AND id > $1 ORDER BY id LIMIT $2"
        );
        on_pool!(self, pool => sqlx::query_as(AssertSqlSafe(sql)).bind(last).bind(limit).fetch_all(pool).await).doing("read kept webhooks")
    }

    /// Drops the requests of webhooks that could not be read.
    pub async fn drop_hooks(&self, ids: &[i64]) -> Result<(), Error> {
        let mut change = self.change(DOING).await?;
        let mut connection = change.connection();
        let given = table(connection.dialect(), &[("id", Field::Long)]);
        let sql = format!("UPDATE hooks SET request = NULL, why = '{GONE}' WHERE id IN (SELECT id FROM {given} AS given)");
        connection.write(DOING, sql, &numbered(ids)).await?;
        change.commit(DOING).await
    }
}

/// A webhook with its request.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct KeptHook {
    pub id: i64,
    pub kind: String,
    pub request: Vec<u8>,
    /// 1 when it waits to be read.
    pub waits: i64,
}

fn numbered(ids: &[i64]) -> String {
    Value::Array(ids.iter().map(|id| json!({ "id": id })).collect()).to_string()
}

/// Which of these customers are erased.
pub(super) async fn erased_customers(connection: &mut Connection<'_>, ids: &[i64]) -> Result<HashSet<i64>, Error> {
    let given = table(connection.dialect(), &[("id", Field::Long)]);
    let sql = format!("SELECT c.id FROM {given} AS given JOIN customers c ON c.id = given.id WHERE c.erased_at IS NOT NULL");
    let found: Vec<(i64,)> = connection.read("look for who was erased", sql, &numbered(ids)).await?;
    Ok(found.into_iter().map(|(id,)| id).collect())
}

async fn keep(connection: &mut Connection<'_>, erased: &[Erased]) -> Result<(), Error> {
    let addresses = erased.iter().filter(|erased| erased.channel != EXTERNAL_ID);
    let suppressed: Vec<SuppressionRow> = addresses
        .map(|erased| SuppressionRow {
            key: erased.key,
            channel: erased.channel,
            reason: SuppressionReason::Erased,
            since: erased.at,
            until: None,
            source: "erasure".into(),
        })
        .collect();
    suppressions::suppress(connection, &suppressed).await?;
    let given = table(connection.dialect(), &[("key", Field::Bytes), ("channel", Field::Small), ("at", Field::Long)]);
    let rows: Vec<Value> =
        erased.iter().map(|erased| json!({ "key": hex::encode(erased.key), "channel": erased.channel, "at": erased.at })).collect();
    let rows = Value::Array(rows).to_string();
    // An earlier suppression may spare transactional messages, or be lifted by a keyword: an erased one does and is neither.
    let sql = format!(
        "UPDATE suppressions SET reason = {erased}, since = given.at, source = 'erasure' FROM {given} AS given
         WHERE suppressions.key = given.key AND given.channel <> {EXTERNAL_ID} AND suppressions.reason NOT IN ({erased}, {hard}, {complaint})",
        erased = SuppressionReason::Erased.code(),
        hard = SuppressionReason::HardBounce.code(),
        complaint = SuppressionReason::Complaint.code(),
    );
    connection.write("keep who was erased", sql, &rows).await?;
    let sql = format!(
        "INSERT INTO erasures (key, channel, at) SELECT key, channel, MAX(at) FROM {given} AS given WHERE true GROUP BY key, channel
         ON CONFLICT (key) DO UPDATE SET at = excluded.at WHERE excluded.at > erasures.at"
    );
    connection.write("keep who was erased", sql, &rows).await.map(drop)
}

/// Empties all rows of these customers. What is empty already is not written again.
pub(super) async fn wipe(connection: &mut Connection<'_>, ids: &[i64], at: i64) -> Result<(), Error> {
    let given = table(connection.dialect(), &[("id", Field::Long), ("at", Field::Long)]);
    let rows = Value::Array(ids.iter().map(|id| json!({ "id": id, "at": at })).collect()).to_string();
    let (empty, is_full) = connection.pick(("'{}'", "properties <> '{}'"), ("'{}'::jsonb", "properties <> '{}'::jsonb"));
    // Keys of what was imported are hashes of the rows, address and all; those of responses know duplicates, and nothing personal is in them.
    let anonymous = connection.pick("CAST(printf('%016d', id) AS BLOB)", "convert_to(lpad(id::text, 16, '0'), 'UTF8')");
    // A provider's name; what it said may stand behind.
    let first_word = connection.pick(
        "CASE WHEN instr(source, ':') > 0 THEN substr(source, 1, instr(source, ':') - 1) ELSE source END",
        "split_part(source, ':', 1)",
    );
    let says_more = connection.pick("instr(source, ':') > 0", "strpos(source, ':') > 0");
    let families: Vec<String> = FAMILIES.iter().map(|family| format!("'{family}'")).collect();
    let families = families.join(", ");
    let waiting =
        [MessageState::Planned, MessageState::Retry, MessageState::Deferred, MessageState::Held].map(|state| state.code().to_string());
    let waiting = format!("state IN ({})", waiting.join(", "));
    let (refused, erased) = (MessageState::Refused.code(), Refusal::Erased.code());
    let these = format!("(SELECT id FROM {given} AS given)");
    let messages = format!("(SELECT id FROM messages WHERE customer_id IN {these})");
    for sql in [
        format!(
            "UPDATE customers SET external_id = NULL, draw_key = 'erased #' || customers.id, first_name = NULL, last_name = NULL, language = NULL,
                    country = NULL, zone = NULL, attributes = {empty}, folded = NULL, updated_at = given.at, erased_at = given.at
             FROM {given} AS given WHERE customers.id = given.id"
        ),
        // A domain that is not one of the large ones may be the person's own.
        format!(
            "UPDATE messages SET address = NULL, snapshot = NULL, detail = NULL,
                    site = CASE WHEN site = '' OR site IN ({families}) THEN site ELSE 'other' END,
                    reason = CASE WHEN {waiting} THEN {erased} ELSE reason END, next_at = CASE WHEN {waiting} THEN NULL ELSE next_at END,
                    node_id = CASE WHEN {waiting} THEN NULL ELSE node_id END,
                    changed_at = CASE WHEN {waiting} THEN given.at ELSE changed_at END, state = CASE WHEN {waiting} THEN {refused} ELSE state END
             FROM {given} AS given WHERE messages.customer_id = given.id
               AND ({waiting} OR address IS NOT NULL OR snapshot IS NOT NULL OR detail IS NOT NULL OR site NOT IN ('', 'other', {families}))"
        ),
        format!("UPDATE attempts SET reply = NULL WHERE reply IS NOT NULL AND message_id IN {messages}"),
        format!(
            "UPDATE inbound_mail SET raw = NULL, next_at = NULL, sender = '', recipients = '[]', detail = NULL
             WHERE message_id IN {messages} AND (raw IS NOT NULL OR detail IS NOT NULL)"
        ),
        format!("UPDATE events SET properties = {empty}, folded = NULL WHERE customer_id IN {these} AND ({is_full} OR folded IS NOT NULL)"),
        format!("UPDATE events SET source_key = {anonymous} WHERE customer_id IN {these} AND message_id IS NULL AND source_key <> {anonymous}"),
        format!("UPDATE consents SET proof = NULL, source = {first_word} WHERE customer_id IN {these} AND (proof IS NOT NULL OR {says_more})"),
        format!("DELETE FROM consent_state WHERE customer_id IN {these}"),
        format!("DELETE FROM starts WHERE customer_id IN {these}"),
        format!("DELETE FROM strikes WHERE key IN (SELECT key FROM addresses WHERE customer_id IN {these})"),
        format!("DELETE FROM signup_asks WHERE key IN (SELECT key FROM addresses WHERE customer_id IN {these})"),
        format!("DELETE FROM keyword_answers WHERE key IN (SELECT key FROM addresses WHERE customer_id IN {these})"),
        format!("DELETE FROM signups WHERE customer_id IN {these}"),
        format!(
            "UPDATE suppressions SET source = {first_word}
             WHERE {says_more} AND key IN (SELECT key FROM addresses WHERE customer_id IN {these})"
        ),
        format!("DELETE FROM addresses WHERE customer_id IN {these}"),
    ] {
        connection.write(DOING, sql, &rows).await?;
    }
    Ok(())
}

/// Texts that belong to nobody and may name the person: the audit log, and why a provider does not answer.
async fn wipe_texts(connection: &mut Connection<'_>, named: &[&str]) -> Result<(), Error> {
    let find = connection.pick("instr", "strpos");
    let given = table(connection.dialect(), &[("needle", Field::Text)]);
    let rows = Value::Array(named.iter().map(|name| json!({ "needle": name.to_lowercase() })).collect()).to_string();
    let names = |column: &str| format!("EXISTS (SELECT 1 FROM {given} AS given WHERE {find}(LOWER({column}), given.needle) > 0)");
    for (place, column) in [("audit", "subject"), ("audit", "detail"), ("breakers", "why")] {
        let sql = format!("UPDATE {place} SET {column} = '{GONE}' WHERE {}", names(&format!("{place}.{column}")));
        connection.write(DOING, sql, &rows).await?;
    }
    Ok(())
}
