//! What `why` reads: the rows of the ledger of one customer in one campaign, what was tried, and what came back.

use super::batch::{Field, table};
use super::{Error, Store};
use serde_json::json;

/// A row of the ledger with its run and arm.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct LedgerRow {
    pub id: i64,
    pub run: i64,
    pub due_at: i64,
    pub step: i16,
    pub channel: i16,
    pub arm: i16,
    pub arm_name: Option<String>,
    pub state: i16,
    pub reason: Option<i16>,
    pub detail: Option<String>,
    pub address: Option<String>,
    pub next_at: Option<i64>,
    pub expires_at: Option<i64>,
    pub attempts: i64,
    pub provider: Option<String>,
    pub provider_id: Option<String>,
    pub changed_at: i64,
    pub accepted_at: Option<i64>,
    pub bounced_at: Option<i64>,
    pub confirmed_at: Option<i64>,
    /// Why the run waits for a person.
    pub held: Option<String>,
}

/// A run of a campaign, tests too.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct PastRun {
    pub id: i64,
    pub number: i64,
    pub version_id: i64,
    pub due_at: i64,
    pub state: i16,
    pub planned_at: Option<i64>,
    pub is_test: i16,
}

/// A try to hand a message over.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Attempt {
    pub message_id: i64,
    pub number: i64,
    pub at: i64,
    pub provider: String,
    pub outcome: String,
    pub reply: Option<String>,
}

/// What came back to a message: the first of a kind, and how often.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct CameBack {
    pub message_id: i64,
    /// `message.opened` …
    pub name: String,
    pub verdict: i16,
    pub first_at: i64,
    pub count: i64,
}

impl Store {
    /// The runs of a campaign, the last first.
    pub async fn past_runs(&self, campaign: i64) -> Result<Vec<PastRun>, Error> {
        let sql = format!(
            "SELECT r.id, CAST(r.number AS BIGINT) AS number, r.version_id, r.due_at, r.state, r.planned_at, r.is_test
             FROM {} AS given JOIN runs r ON r.campaign_id = given.id ORDER BY r.number DESC",
            table(self.dialect(), &[("id", Field::Long)])
        );
        self.read_batch("read the runs", sql, &json!([{ "id": campaign }]).to_string()).await
    }

    /// The customer's rows in a campaign, those of the last run first.
    pub async fn rows_of_customer(&self, campaign: i64, customer: i64) -> Result<Vec<LedgerRow>, Error> {
        let sql = format!(
            "SELECT m.id, CAST(r.number AS BIGINT) AS run, m.due_at, m.step, m.channel, m.arm, a.name AS arm_name, m.state, m.reason, m.detail,
                    m.address, m.next_at, m.expires_at, CAST(m.attempts AS BIGINT) AS attempts, m.provider, m.provider_id, m.changed_at,
                    m.accepted_at, m.bounced_at, m.confirmed_at, CASE WHEN r.held_at IS NOT NULL AND r.approval_why IS NOT NULL AND r.approved_at IS NULL THEN r.approval_why
                         WHEN r.held_at IS NOT NULL THEN r.held_why END AS held
             FROM {} AS given JOIN messages m ON m.customer_id = given.customer
             JOIN runs r ON r.id = m.run_id AND r.campaign_id = given.campaign LEFT JOIN arms a ON a.run_id = m.run_id AND a.arm = m.arm
             ORDER BY r.number DESC, m.step, m.id",
            table(self.dialect(), &[("campaign", Field::Long), ("customer", Field::Long)])
        );
        self.read_batch("read a customer's messages", sql, &json!([{ "campaign": campaign, "customer": customer }]).to_string()).await
    }

    pub async fn attempts_of(&self, messages: &[i64]) -> Result<Vec<Attempt>, Error> {
        let sql = format!(
            "SELECT t.message_id, CAST(t.number AS BIGINT) AS number, t.at, t.provider, t.outcome, t.reply
             FROM {} AS given JOIN attempts t ON t.message_id = given.id ORDER BY t.message_id, t.number",
            table(self.dialect(), &[("id", Field::Long)])
        );
        self.read_batch("read the attempts", sql, &numbers(messages)).await
    }

    pub async fn responses_of(&self, messages: &[i64]) -> Result<Vec<CameBack>, Error> {
        let sql = format!(
            "SELECT e.message_id, e.name, e.verdict, MIN(e.occurred_at) AS first_at, COUNT(*) AS count
             FROM {} AS given JOIN events e ON e.message_id = given.id GROUP BY e.message_id, e.name, e.verdict ORDER BY e.message_id, first_at",
            table(self.dialect(), &[("id", Field::Long)])
        );
        self.read_batch("read what came back", sql, &numbers(messages)).await
    }
}

fn numbers(ids: &[i64]) -> String {
    json!(ids.iter().map(|id| json!({ "id": id })).collect::<Vec<_>>()).to_string()
}
