//! Texts from outside: whose number they come from, what was sent there last, and those that a person must look at.

use super::batch::{Field, table};
use super::{Doing, Error, Store};
use crate::on_pool;
use crate::types::{Channel, MessageId, SuppressionReason};
use serde_json::json;

/// The suppression of an address whose owner may have meant to leave says so, until a person has decided.
pub const IN_REVIEW: &str = "in review";

/// A customer with an address.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Owner {
    pub customer_id: i64,
    pub address: String,
    pub language: Option<String>,
}

/// The last message that went to an address.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct LastMessage {
    pub id: i64,
    pub topic: Option<String>,
}

impl LastMessage {
    pub fn message(&self) -> MessageId {
        MessageId(self.id)
    }
}

/// A text that waits for a person's decision.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Review {
    pub event_id: i64,
    pub customer_id: i64,
    pub external_id: Option<String>,
    pub occurred_at: i64,
    /// JSON, as the event was written.
    pub properties: String,
}

impl Store {
    /// Who has an address with this key on a channel.
    pub async fn owners(&self, key: [u8; 16], channel: Channel) -> Result<Vec<Owner>, Error> {
        let sql = "SELECT a.customer_id, a.address, c.language FROM addresses a JOIN customers c ON c.id = a.customer_id
                   WHERE a.key = $1 AND a.channel = $2 ORDER BY a.customer_id";
        on_pool!(self, pool => sqlx::query_as(sql).bind(key.as_slice()).bind(channel.code()).fetch_all(pool).await)
            .doing("find whose address it is")
    }

    /// The message that went to a customer's address last.
    pub async fn last_message_to(&self, owner: &Owner, channel: Channel) -> Result<Option<LastMessage>, Error> {
        let sql = "SELECT m.id, c.topic FROM messages m JOIN runs r ON r.id = m.run_id JOIN campaigns c ON c.id = r.campaign_id
                   WHERE m.customer_id = $1 AND m.channel = $2 AND m.address = $3 AND m.accepted_at IS NOT NULL ORDER BY m.accepted_at DESC, m.id DESC LIMIT 1";
        on_pool!(self, pool => sqlx::query_as(sql).bind(owner.customer_id).bind(channel.code()).bind(&owner.address).fetch_optional(pool).await)
            .doing("find what was sent last")
    }

    /// Texts of people whose address is suppressed until somebody has decided what they meant; the oldest first.
    pub async fn replies_in_review(&self, event: &str, limit: i64) -> Result<Vec<Review>, Error> {
        let sql = "SELECT e.id AS event_id, e.customer_id, c.external_id, e.occurred_at, CAST(e.properties AS TEXT) AS properties
                   FROM suppressions s JOIN addresses a ON a.key = s.key AND a.channel = s.channel
                   JOIN events e ON e.customer_id = a.customer_id AND e.name = $1 JOIN customers c ON c.id = a.customer_id
                   WHERE s.source = $2 AND e.properties ->> 'meaning' = 'doubtful' ORDER BY e.id LIMIT $3";
        on_pool!(self, pool => sqlx::query_as(sql).bind(event).bind(IN_REVIEW).bind(limit).fetch_all(pool).await)
            .doing("read replies in review")
    }

    /// Ends a review of these keys: they may be sent to again. Other suppressions stay. Gives how many were lifted.
    pub async fn lift_reviews(&self, keys: &[[u8; 16]], sources: &[&str]) -> Result<u64, Error> {
        if keys.is_empty() {
            return Ok(0);
        }
        let rows: Vec<_> = keys.iter().map(|key| json!({ "key": hex::encode(key) })).collect();
        let given = table(self.dialect(), &[("key", Field::Bytes)]);
        // Words of ours, no values from outside.
        let sources = sources.iter().map(|source| format!("'{source}'")).collect::<Vec<_>>().join(", ");
        let sql = format!(
            "DELETE FROM suppressions WHERE reason = {} AND source IN ({sources}) AND key IN (SELECT key FROM {given} AS given)",
            SuppressionReason::Unsubscribe.code()
        );
        let mut change = self.change("end a review").await?;
        let lifted = change.connection().write("end a review", sql, &json!(rows).to_string()).await?;
        change.commit("end a review").await?;
        Ok(lifted)
    }
}
