//! What a campaign's test reads when its people have been through the engine: a handful of rows, with their names.

use super::{Doing, Error, Store};
use crate::on_pool;
use crate::types::{Channel, MessageState, Refusal};

/// A row of the ledger with the names of its customer.
#[derive(Debug, Clone)]
pub struct TrialRow {
    pub id: i64,
    pub external_id: Option<String>,
    pub email: Option<String>,
    pub phone: Option<String>,
    pub language: Option<String>,
    pub channel: Channel,
    pub arm: String,
    pub state: MessageState,
    pub refusal: Option<Refusal>,
    pub detail: Option<String>,
}

type Row = (i64, Option<String>, Option<String>, Option<String>, Option<String>, i16, Option<String>, i16, Option<i16>, Option<String>);

impl Store {
    /// All rows of a campaign, in planning order. For the small databases of tests: it reads everything at once.
    pub async fn trial_rows(&self, campaign: &str) -> Result<Vec<TrialRow>, Error> {
        let sql = format!(
            "SELECT m.id, c.external_id,
                (SELECT a.address FROM addresses a WHERE a.customer_id = c.id AND a.channel = 1 AND a.is_primary = 1 LIMIT 1),
                (SELECT a.address FROM addresses a WHERE a.customer_id = c.id AND a.channel = 2 AND a.is_primary = 1 LIMIT 1),
                c.language, m.channel, (SELECT r.name FROM arms r WHERE r.run_id = m.run_id AND r.arm = m.arm), {}, m.reason, m.detail
             FROM messages m JOIN customers c ON c.id = m.customer_id JOIN runs u ON u.id = m.run_id JOIN campaigns g ON g.id = u.campaign_id
             WHERE g.key = $1 ORDER BY m.id",
            super::stops::seen_state("m", "u")
        );
        let rows: Vec<Row> = on_pool!(self, pool => sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(campaign).fetch_all(pool).await)
            .doing("read the rows of a test")?;
        rows.into_iter()
            .map(|(id, external_id, email, phone, language, channel, arm, state, reason, detail)| {
                let unexpected = |what: String| Error::Unexpected { doing: "read the rows of a test", what };
                let state = MessageState::from_code(state).ok_or_else(|| unexpected(format!("state {state}")))?;
                Ok(TrialRow {
                    id,
                    external_id,
                    email,
                    phone,
                    language,
                    channel: Channel::from_code(channel).ok_or_else(|| unexpected(format!("channel {channel}")))?,
                    arm: arm.unwrap_or_default(),
                    refusal: reason.filter(|_| state == MessageState::Refused).and_then(Refusal::from_code),
                    state,
                    detail,
                })
            })
            .collect()
    }
}
