//! One customer at a time: found by a text, the history for the timeline; and pages for exports.

use super::customers::{Customer, Wanted};
use super::{Doing, Error, Store};
use crate::on_pool;
use sqlx::AssertSqlSafe;

/// A row of a list of customers.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow, serde::Serialize)]
pub struct Line {
    pub id: i64,
    pub external_id: Option<String>,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub email: Option<String>,
    pub phone: Option<String>,
}

/// A message in a customer's timeline, or in an export.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow, serde::Serialize)]
pub struct MessageLine {
    pub id: i64,
    pub customer_id: i64,
    pub external_id: Option<String>,
    pub campaign: String,
    pub run: i32,
    pub step: i16,
    pub channel: i16,
    pub arm: Option<String>,
    pub state: i16,
    pub reason: Option<i16>,
    pub detail: Option<String>,
    pub address: Option<String>,
    pub due_at: i64,
    pub changed_at: i64,
    pub accepted_at: Option<i64>,
    pub bounced_at: Option<i64>,
    pub confirmed_at: Option<i64>,
    pub attempts: i16,
    pub provider: Option<String>,
    pub provider_id: Option<String>,
}

/// A change of consent in the record.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct ConsentLine {
    pub topic: String,
    pub channel: i16,
    pub state: i16,
    pub at: i64,
    pub source: String,
    pub proof: Option<String>,
}

const MESSAGES: &str = "SELECT m.id, m.customer_id, c.external_id, p.key AS campaign, r.number AS run, m.step, m.channel, \
     a.name AS arm, m.state, m.reason, m.detail, m.address, m.due_at, m.changed_at, m.accepted_at, m.bounced_at, m.confirmed_at, m.attempts, \
     m.provider, m.provider_id FROM messages m JOIN runs r ON r.id = m.run_id JOIN campaigns p ON p.id = r.campaign_id \
     LEFT JOIN customers c ON c.id = m.customer_id LEFT JOIN arms a ON a.run_id = m.run_id AND a.arm = m.arm";

impl Store {
    /// Customers in whose external id, names or addresses the text stands, whatever its capitals; the lowest numbers first.
    pub async fn search_customers(&self, text: &str, limit: i64) -> Result<Vec<Line>, Error> {
        let mut pattern = String::from("%");
        for c in text.trim().chars().flat_map(char::to_lowercase) {
            if matches!(c, '%' | '_' | '\\') {
                pattern.push('\\');
            }
            pattern.push(c);
        }
        pattern.push('%');
        let like = |column: &str| format!("COALESCE(c.folded ->> '{column}', c.{column}) LIKE $1 ESCAPE '\\'");
        let sql = format!(
            "SELECT c.id, c.external_id, c.first_name, c.last_name, \
             (SELECT MIN(address) FROM addresses a WHERE a.customer_id = c.id AND a.channel = 1 AND a.is_primary = 1) AS email, \
             (SELECT MIN(address) FROM addresses a WHERE a.customer_id = c.id AND a.channel = 2 AND a.is_primary = 1) AS phone \
             FROM customers c WHERE {} OR {} OR {} \
             OR EXISTS (SELECT 1 FROM addresses a WHERE a.customer_id = c.id AND LOWER(a.address) LIKE $1 ESCAPE '\\') ORDER BY c.id LIMIT $2",
            like("external_id"),
            like("first_name"),
            like("last_name"),
        );
        on_pool!(self, pool => sqlx::query_as(AssertSqlSafe(sql)).bind(pattern).bind(limit).fetch_all(pool).await).doing("search customers")
    }

    /// One customer with addresses and consents.
    pub async fn customer(&self, id: i64) -> Result<Option<Customer>, Error> {
        let wanted = Wanted { ids: vec![id], with_consents: true, ..Wanted::default() };
        Ok(self.find_customers(&wanted).await?.customers.remove(&id))
    }

    /// The newest `limit` messages of a customer, newest first.
    pub async fn messages_of(&self, customer: i64, limit: i64) -> Result<Vec<MessageLine>, Error> {
        let sql = format!("{MESSAGES} WHERE m.customer_id = $1 ORDER BY m.id DESC LIMIT $2");
        on_pool!(self, pool => sqlx::query_as(AssertSqlSafe(sql)).bind(customer).bind(limit).fetch_all(pool).await).doing("read messages")
    }

    /// Messages and refusals after a number, in order of their numbers.
    pub async fn messages_after(&self, last: i64, limit: i64) -> Result<Vec<MessageLine>, Error> {
        let sql = format!("{MESSAGES} WHERE m.id > $1 ORDER BY m.id LIMIT $2");
        on_pool!(self, pool => sqlx::query_as(AssertSqlSafe(sql)).bind(last).bind(limit).fetch_all(pool).await).doing("read messages")
    }

    /// The newest `limit` events of a customer, newest first.
    pub async fn newest_events_of(&self, customer: i64, limit: i64) -> Result<Vec<super::events::StoredEvent>, Error> {
        let sql = "SELECT e.id, e.customer_id, c.external_id, e.name, e.occurred_at, e.received_at, CAST(e.properties AS TEXT) AS properties, \
                   e.value, e.currency, e.message_id, e.verdict FROM events e LEFT JOIN customers c ON c.id = e.customer_id \
                   WHERE e.customer_id = $1 ORDER BY e.occurred_at DESC, e.id DESC LIMIT $2";
        on_pool!(self, pool => sqlx::query_as(sql).bind(customer).bind(limit).fetch_all(pool).await).doing("read events")
    }

    /// The record of a customer's consents, newest first.
    pub async fn consent_record(&self, customer: i64) -> Result<Vec<ConsentLine>, Error> {
        let sql = "SELECT topic, channel, state, at, source, proof FROM consents WHERE customer_id = $1 ORDER BY at DESC, id DESC";
        on_pool!(self, pool => sqlx::query_as(sql).bind(customer).fetch_all(pool).await).doing("read consents")
    }

    /// Customers after a number, whole, in order of their numbers; erased ones are left out.
    pub async fn customers_after(&self, last: i64, limit: i64) -> Result<Vec<Customer>, Error> {
        let sql = "SELECT id FROM customers WHERE id > $1 AND erased_at IS NULL ORDER BY id LIMIT $2";
        let ids: Vec<(i64,)> =
            on_pool!(self, pool => sqlx::query_as(sql).bind(last).bind(limit).fetch_all(pool).await).doing("read customers")?;
        let wanted = Wanted { ids: ids.into_iter().map(|row| row.0).collect(), with_consents: true, ..Wanted::default() };
        let mut customers: Vec<Customer> = self.find_customers(&wanted).await?.customers.into_values().collect();
        customers.sort_by_key(|customer| customer.id);
        Ok(customers)
    }

    /// Topics and channels of which any consent is known.
    pub async fn consent_topics(&self) -> Result<Vec<(String, i16)>, Error> {
        on_pool!(self, pool => sqlx::query_as("SELECT DISTINCT topic, channel FROM consent_state ORDER BY topic, channel").fetch_all(pool).await)
            .doing("read the topics of consents")
    }
}
