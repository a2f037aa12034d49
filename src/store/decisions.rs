//! What people decide about messages that the engine is done with: failed ones are tried again, uncertain ones settled.

use super::audit::Audit;
use super::batch::{Connection, Field, table};
use super::ledger::WAKE;
use super::{Doing, Error, Store, micros};
use crate::types::{Failure, MessageState, RunId, RunState, Time};
use crate::{in_transaction, on_pool};

/// What becomes of an uncertain message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// It is taken for accepted, at the time of its hand-over.
    Accepted,
    /// It is sent once more; whoever got the first gets it twice.
    Again,
    /// It is taken for lost.
    Failed,
}

/// A message that waits for a person's decision.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Open {
    pub id: i64,
    pub customer: i64,
    pub external_id: Option<String>,
    pub address: Option<String>,
    pub reason: Option<i16>,
    pub detail: Option<String>,
    pub provider: Option<String>,
    pub attempts: i64,
    pub changed_at: i64,
    pub due_at: i64,
}

/// Messages changed in one transaction.
const TOGETHER: usize = 1000;

impl Store {
    /// The failed, or the uncertain, messages of a run, in the order of their numbers.
    pub async fn open_messages(&self, run: RunId, state: MessageState) -> Result<Vec<Open>, Error> {
        let sql = "SELECT m.id, m.customer_id AS customer, c.external_id, m.address, m.reason, m.detail, m.provider, CAST(m.attempts AS BIGINT) AS attempts, m.changed_at, m.due_at
                   FROM messages m LEFT JOIN customers c ON c.id = m.customer_id WHERE m.run_id = $1 AND m.state = $2 ORDER BY m.id";
        on_pool!(self, pool => sqlx::query_as(sql).bind(run.0).bind(state.code()).fetch_all(pool).await).doing("list messages of a run")
    }

    /// Failed messages are due again, under the same key; their expiry, consent and suppression are asked again as ever. Gives how many.
    pub async fn retry_failed(&self, run: RunId, messages: &[i64], who: &str, now: Time) -> Result<u64, Error> {
        let set = format!("state = {}, next_at = $2, reason = NULL, detail = NULL", MessageState::Retry.code());
        self.decide(run, messages, MessageState::Failed, &set, now, who, "runs.retry_failed").await
    }

    /// Uncertain messages become what a person says. Gives how many.
    pub async fn settle_uncertain(&self, run: RunId, messages: &[i64], settlement: Settlement, who: &str, now: Time) -> Result<u64, Error> {
        let (set, action) = match settlement {
            Settlement::Accepted => (
                format!("state = {}, accepted_at = changed_at, detail = 'taken for accepted by decision'", MessageState::Accepted.code()),
                "runs.uncertain_accepted",
            ),
            Settlement::Again => (format!("state = {}, next_at = $2", MessageState::Retry.code()), "runs.uncertain_again"),
            Settlement::Failed => (
                format!("state = {}, reason = {}, changed_at = $2", MessageState::Failed.code(), Failure::Unanswered.code()),
                "runs.uncertain_failed",
            ),
        };
        self.decide(run, messages, MessageState::Uncertain, &set, now, who, action).await
    }

    /// Uncertain messages that their provider has under these numbers are accepted, since the try that was in doubt. Gives how many.
    pub async fn settle_found(&self, run: RunId, found: &[(i64, String)], who: &str, now: Time) -> Result<u64, Error> {
        for chunk in found.chunks(TOGETHER) {
            let rows: Vec<_> = chunk.iter().map(|(id, number)| serde_json::json!({ "id": id, "number": number })).collect();
            let mut change = self.change("note what was found").await?;
            let mut connection = change.connection();
            let sql = format!(
                "UPDATE messages SET provider_id = given.number FROM {} AS given WHERE messages.id = given.id AND messages.state = {}",
                table(connection.dialect(), &[("id", Field::Long), ("number", Field::Text)]),
                MessageState::Uncertain.code()
            );
            connection.write("note what was found", sql, &serde_json::Value::Array(rows).to_string()).await?;
            change.commit("note what was found").await?;
        }
        let ids: Vec<i64> = found.iter().map(|(id, _)| *id).collect();
        let set = format!("state = {}, accepted_at = changed_at, detail = 'found at its provider'", MessageState::Accepted.code());
        self.decide(run, &ids, MessageState::Uncertain, &set, now, who, "runs.uncertain_found").await
    }

    /// What providers call the messages that went to these customers.
    pub async fn provider_ids_of(&self, customers: &[i64]) -> Result<Vec<(i64, String)>, Error> {
        if customers.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<_> = customers.iter().map(|id| serde_json::json!({ "id": id })).collect();
        let sql = format!(
            "SELECT m.customer_id, m.provider_id FROM messages m WHERE m.provider_id IS NOT NULL AND m.customer_id IN (SELECT id FROM {} AS given)",
            table(self.dialect(), &[("id", Field::Long)])
        );
        self.read_batch("read what providers call messages", sql, &serde_json::Value::Array(rows).to_string()).await
    }

    #[allow(clippy::too_many_arguments, reason = "one private place for both decisions")]
    async fn decide(
        &self,
        run: RunId,
        messages: &[i64],
        from: MessageState,
        set: &str,
        now: Time,
        who: &str,
        action: &str,
    ) -> Result<u64, Error> {
        let among =
            self.pick("SELECT value FROM json_each($1)", "SELECT value::bigint FROM jsonb_array_elements_text($1::jsonb) AS e(value)");
        let sql = format!("UPDATE messages SET {set} WHERE id IN ({among}) AND run_id = $3 AND state = {} AND $2 > 0", from.code());
        let mut decided = 0;
        for chunk in messages.chunks(TOGETHER) {
            let list = serde_json::to_string(chunk).unwrap_or_default();
            let text = sql.clone();
            // What is taken for accepted counts for caps.
            let confirmed = serde_json::json!(chunk.iter().map(|id| serde_json::json!({ "id": id })).collect::<Vec<_>>()).to_string();
            decided += in_transaction!(self, "decide about messages", transaction => {
                let done = sqlx::query(sqlx::AssertSqlSafe(text)).bind(&list).bind(micros(now)).bind(run.0)
                    .execute(&mut *transaction).await.doing("decide about messages")?.rows_affected();
                sqlx::query(self.pick(WAKE.0, WAKE.1)).bind(&list).bind(RunState::Running.code()).bind(RunState::Done.code())
                    .execute(&mut *transaction).await.doing("go on with a run")?;
                let mut connection = Connection::from(&mut *transaction);
                connection.unsettle(run.0).await?;
                connection.confirm_settled(&confirmed).await?;
                done
            });
        }
        let detail = Some(format!("{decided} messages"));
        self.audit(&Audit { at: now, who: who.into(), action: action.into(), subject: format!("run #{run}"), detail }).await?;
        self.tell().await?;
        Ok(decided)
    }
}
