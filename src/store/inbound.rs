//! Mail that came in and is not yet read: kept once, whoever gives it how often, and taken by one process at a time.

use super::batch::{Field, table};
use super::{Doing, Error, Store, micros};
use crate::types::{MessageId, Time};
use crate::{on_pool, on_writer};
use serde_json::json;
use sqlx::AssertSqlSafe;

/// A mail as it was given to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMail {
    /// The envelope's; empty for what may not be answered.
    pub sender: String,
    pub recipients: Vec<String>,
    pub raw: Vec<u8>,
    pub received_at: Time,
}

/// A mail that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMail {
    pub id: i64,
    pub digest: [u8; 16],
    pub sender: String,
    pub recipients: Vec<String>,
    pub raw: Vec<u8>,
    pub received_at: Time,
    /// It has been read, and is to be passed on to a person.
    pub to_forward: bool,
    pub tries: i64,
}

/// What became of a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Read; the text is dropped.
    Done { kind: &'static str, message: Option<MessageId>, detail: String },
    /// Read; a person is to have it too.
    Forward { kind: &'static str, message: Option<MessageId>, detail: String, at: Time },
    /// Passed on; the text is dropped.
    Forwarded,
    /// Tried in vain.
    Later { at: Time, why: String },
    /// Given up; the text stays for whoever looks.
    GivenUp { why: String },
}

const WAITING: i16 = 1;
const TO_FORWARD: i16 = 2;
const DONE: i16 = 3;
const GIVEN_UP: i16 = 4;

type Row = (i64, Vec<u8>, i64, String, String, Option<Vec<u8>>, i16, i64);

impl Store {
    /// Keeps a mail durably; false when it was there before.
    pub async fn keep_mail(&self, mail: &NewMail) -> Result<bool, Error> {
        let digest = digest_of(mail);
        let recipients = json!(mail.recipients).to_string();
        // PostgreSQL keeps no text with a NUL; the mail itself is kept as it came.
        let sender = mail.sender.replace('\0', "\u{fffd}");
        let sql =
            "INSERT INTO inbound_mail (digest, received_at, sender, recipients, raw, state, next_at) VALUES ($1, $2, $3, $4, $5, $6, $2)
                   ON CONFLICT (digest) DO NOTHING";
        let kept =
            on_writer!(self, pool => sqlx::query(sql).bind(&digest[..]).bind(micros(mail.received_at)).bind(&sender).bind(recipients)
            .bind(&mail.raw).bind(WAITING).execute(pool).await.map(|done| done.rows_affected()))
            .doing("keep a mail")?;
        Ok(kept > 0)
    }

    /// Takes mails that are due; nobody else gets them before `until`.
    pub async fn claim_mail(&self, now: Time, until: Time, most: i64) -> Result<Vec<StoredMail>, Error> {
        let lock = self.pick("", "FOR UPDATE SKIP LOCKED");
        let tries = self.pick("tries", "tries::bigint");
        let sql = format!(
            "UPDATE inbound_mail SET next_at = $2, tries = tries + 1
             WHERE id IN (SELECT id FROM inbound_mail WHERE next_at IS NOT NULL AND next_at <= $1 ORDER BY next_at, id LIMIT $3 {lock})
             RETURNING id, digest, received_at, sender, recipients, raw, state, {tries}"
        );
        let rows: Vec<Row> = on_writer!(self, pool => sqlx::query_as(AssertSqlSafe(sql)).bind(micros(now)).bind(micros(until)).bind(most)
            .fetch_all(pool).await)
        .doing("take mail that came in")?;
        let mut mails: Vec<StoredMail> = rows
            .into_iter()
            .map(|(id, digest, received_at, sender, recipients, raw, state, tries)| StoredMail {
                id,
                digest: digest.try_into().unwrap_or_default(),
                sender,
                recipients: serde_json::from_str(&recipients).unwrap_or_default(),
                raw: raw.unwrap_or_default(),
                received_at: super::from_micros(received_at),
                to_forward: state == TO_FORWARD,
                tries,
            })
            .collect();
        mails.sort_by_key(|mail| mail.id);
        Ok(mails)
    }

    /// Writes what became of mails, in one transaction.
    pub async fn settle_mail(&self, fates: &[(i64, Fate)]) -> Result<(), Error> {
        if fates.is_empty() {
            return Ok(());
        }
        let rows: Vec<_> = fates.iter().map(|(id, fate)| row(*id, fate)).collect();
        let mut change = self.change("settle mail").await?;
        let mut connection = change.connection();
        let given = table(
            connection.dialect(),
            &[
                ("id", Field::Long),
                ("state", Field::Small),
                ("kind", Field::Text),
                ("message", Field::Long),
                ("detail", Field::Text),
                ("next_at", Field::Long),
                ("keeps", Field::Small),
            ],
        );
        let sql = format!(
            "UPDATE inbound_mail SET state = COALESCE(given.state, inbound_mail.state), kind = COALESCE(given.kind, inbound_mail.kind),
                    message_id = COALESCE(given.message, inbound_mail.message_id), detail = COALESCE(given.detail, inbound_mail.detail),
                    next_at = given.next_at, raw = CASE WHEN given.keeps = 1 THEN inbound_mail.raw ELSE NULL END,
                    sender = CASE WHEN given.keeps = 1 THEN inbound_mail.sender ELSE '' END
             FROM {given} AS given WHERE inbound_mail.id = given.id"
        );
        connection.write("settle mail", sql, &serde_json::Value::Array(rows).to_string()).await?;
        change.commit("settle mail").await
    }

    /// Drops the traces of some of the oldest mails that are done with and came before `before`; gives how many.
    pub async fn forget_mail(&self, before: Time) -> Result<u64, Error> {
        let sql = "DELETE FROM inbound_mail WHERE id IN (
                     SELECT id FROM (SELECT id, received_at, next_at FROM inbound_mail ORDER BY id LIMIT 500) AS oldest
                     WHERE received_at < $1 AND next_at IS NULL)";
        on_writer!(self, pool => sqlx::query(sql).bind(micros(before)).execute(pool).await.map(|done| done.rows_affected()))
            .doing("forget old mail")
    }

    /// When the next waiting mail is due.
    pub async fn next_mail(&self) -> Result<Option<Time>, Error> {
        let sql = "SELECT MIN(next_at) FROM inbound_mail WHERE next_at IS NOT NULL";
        let (next,): (Option<i64>,) = on_pool!(self, pool => sqlx::query_as(sql).fetch_one(pool).await).doing("look for mail")?;
        Ok(next.map(super::from_micros))
    }
}

fn row(id: i64, fate: &Fate) -> serde_json::Value {
    match fate {
        Fate::Done { kind, message, detail } => {
            json!({ "id": id, "state": DONE, "kind": kind, "message": message.map(|message| message.0), "detail": detail, "keeps": 0 })
        }
        Fate::Forward { kind, message, detail, at } => {
            json!({ "id": id, "state": TO_FORWARD, "kind": kind, "message": message.map(|message| message.0), "detail": detail, "next_at": micros(*at), "keeps": 1 })
        }
        Fate::Forwarded => json!({ "id": id, "state": DONE, "keeps": 0 }),
        Fate::Later { at, why } => json!({ "id": id, "detail": why, "next_at": micros(*at), "keeps": 1 }),
        Fate::GivenUp { why } => json!({ "id": id, "state": GIVEN_UP, "detail": why, "keeps": 1 }),
    }
}

/// The same for the same mail to the same recipients, however often it is given.
fn digest_of(mail: &NewMail) -> [u8; 16] {
    let mut recipients: Vec<String> = mail.recipients.iter().map(|recipient| recipient.to_lowercase()).collect();
    recipients.sort();
    super::responses::digest(&[b"mail", recipients.join("\0").as_bytes(), &mail.raw])
}
