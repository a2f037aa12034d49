//! Proof that a provider had taken a message after all: something came back to it, or the provider tells of it.
//!
//! Until then it was in doubt, or was to be tried again because its provider had said "later" and took it all the same. From the moment of the proof it is
//! accepted, since its last try: nobody gets it twice. Whoever is about to try it again holds a lease that ends here, and is granted no mark any more.

use super::batch::{Connection, Field, table};
use super::responses::json;
use super::{Error, Store};
use crate::types::{MessageId, MessageState};
use serde::Serialize;

#[derive(Serialize)]
struct Proven {
    id: i64,
}

impl Store {
    /// These messages are proven to be taken. Gives how many were not known to be.
    pub async fn settle_proven(&self, messages: &[MessageId]) -> Result<u64, Error> {
        if messages.is_empty() {
            return Ok(0);
        }
        let mut change = self.change("settle what is proven").await?;
        let settled = change.connection().settle_proven(messages).await?;
        change.commit("settle what is proven").await?;
        Ok(settled)
    }
}

impl Connection<'_> {
    /// [`Store::settle_proven`] inside of a transaction.
    pub(super) async fn settle_proven(&mut self, messages: &[MessageId]) -> Result<u64, Error> {
        if messages.is_empty() {
            return Ok(0);
        }
        let mut ids: Vec<i64> = messages.iter().map(|message| message.0).collect();
        ids.sort_unstable();
        let rows = json(&ids.into_iter().map(|id| Proven { id }).collect::<Vec<_>>())?;
        let given = table(self.dialect(), &[("id", Field::Long)]);
        let sql = format!(
            "UPDATE messages SET state = {accepted}, accepted_at = changed_at, reason = NULL, detail = NULL, next_at = NULL, node_id = NULL
             FROM {given} AS given WHERE messages.id = given.id
               AND (messages.state IN ({uncertain}, {retry}) OR messages.state = {deferred} AND messages.attempts > 0)",
            accepted = MessageState::Accepted.code(),
            uncertain = MessageState::Uncertain.code(),
            retry = MessageState::Retry.code(),
            deferred = MessageState::Deferred.code(),
        );
        let settled = self.write("settle what is proven", sql, &rows).await?;
        if settled > 0 {
            self.confirm_settled(&rows).await?;
        }
        Ok(settled)
    }

    /// Those of these messages that are accepted count for caps from their hand-over on, and give way to nobody: rows of JSON with `id`.
    pub(super) async fn confirm_settled(&mut self, rows: &str) -> Result<(), Error> {
        let greatest = self.pick("MAX", "GREATEST");
        let sql = format!(
            "UPDATE reservations SET at = {greatest}(reservations.at, m.accepted_at), is_handed_over = 1
             FROM messages m WHERE m.id IN (SELECT id FROM {given} AS given) AND m.state = {accepted}
               AND reservations.customer_id = m.customer_id AND reservations.message_id = m.id",
            given = table(self.dialect(), &[("id", Field::Long)]),
            accepted = MessageState::Accepted.code(),
        );
        self.write("confirm places", sql, rows).await.map(drop)
    }
}
