//! What may start campaigns by a trigger (`when`): kept in the transaction of what happened, taken out in that of the messages that came of it.
//!
//! Work waits in rows: nobody remembers how far the events have been read, so what commits late is not passed over.

use super::batch::{Connection, Field, table};
use super::planning_right::Right;
use super::runs::{Arm, Run};
use super::{Doing, Error, Store, micros};
use crate::types::{CampaignId, MessageState, RunId, RunState, Time, VersionId};
use crate::{in_transaction, on_pool};
use serde_json::json;

/// Something that happened to a customer, and may start a campaign.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Start {
    /// The number of the event, or of the change of consent.
    pub entry: i64,
    pub customer_id: i64,
    /// When it happened.
    pub at: i64,
    /// Of an event.
    pub properties: Option<String>,
    /// Of a response: its message's campaign and more, and whether a machine made it.
    pub verdict: Option<i16>,
    pub campaign: Option<String>,
    pub class: Option<i16>,
    pub topic: Option<String>,
    pub category: Option<String>,
    pub tags: Option<String>,
    pub channel: Option<i16>,
    pub variant: Option<String>,
    /// Of a change of consent.
    pub state: Option<i16>,
}

/// Keeps the events with these numbers for the campaigns that they may start.
pub(super) async fn keep_events(connection: &mut Connection<'_>, events: &[i64]) -> Result<(), Error> {
    if events.is_empty() {
        return Ok(());
    }
    let given = table(connection.dialect(), &[("id", Field::Long)]);
    let sql = format!(
        "INSERT INTO starts (campaign_id, entry, customer_id, at) SELECT t.campaign_id, e.id, e.customer_id, e.occurred_at
         FROM {given} AS given JOIN events e ON e.id = given.id JOIN triggers t ON t.name = e.name
         WHERE e.occurred_at >= t.since ON CONFLICT (campaign_id, entry) DO NOTHING"
    );
    connection.write("keep what may start a campaign", sql, &numbers(events)).await.map(drop)
}

/// The same, for rows of `table` by customer and source key; `name` is the trigger's name of the row `e`.
pub(super) async fn keep_by_key(connection: &mut Connection<'_>, from: Kept, rows: &[(i64, [u8; 16])]) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let (of, name, at) = match from {
        Kept::Events => ("events", "e.name", "e.occurred_at"),
        Kept::Consents => ("consents", "'consent.' || e.topic", "e.at"),
    };
    let given = table(connection.dialect(), &[("customer_id", Field::Long), ("source_key", Field::Bytes)]);
    let sql = format!(
        "INSERT INTO starts (campaign_id, entry, customer_id, at) SELECT DISTINCT t.campaign_id, e.id, e.customer_id, {at}
         FROM {given} AS given JOIN {of} e ON e.customer_id = given.customer_id AND e.source_key = given.source_key
         JOIN triggers t ON t.name = {name} WHERE {at} >= t.since ON CONFLICT (campaign_id, entry) DO NOTHING"
    );
    let rows: Vec<_> = rows.iter().map(|(customer, key)| json!({ "customer_id": customer, "source_key": hex::encode(key) })).collect();
    connection.write("keep what may start a campaign", sql, &json!(rows).to_string()).await.map(drop)
}

/// Where the rows stand that may start a campaign.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kept {
    Events,
    Consents,
}

impl Store {
    /// Whether anything waits to start a campaign.
    pub async fn starts_wait(&self) -> Result<bool, Error> {
        let sql = "SELECT entry FROM starts LIMIT 1";
        let row: Option<(i64,)> =
            on_pool!(self, pool => sqlx::query_as(sql).fetch_optional(pool).await).doing("look what may start campaigns")?;
        Ok(row.is_some())
    }

    /// What waits to start a campaign, the oldest entries first; `of_consent` says where the rows stand. What has a message of this campaign already
    /// is left out.
    pub async fn starts(&self, campaign: CampaignId, of_consent: bool, limit: i64) -> Result<Vec<Start>, Error> {
        let properties = self.pick("e.properties", "e.properties::text");
        let tags = self.pick("k.tags", "k.tags::text");
        let (columns, joins) = match of_consent {
            false => (
                format!("{properties} AS properties, e.verdict, k.key AS campaign, k.class, k.topic, k.category, {tags} AS tags, m.channel, x.name AS variant, CAST(NULL AS SMALLINT) AS state"),
                "LEFT JOIN events e ON e.id = s.entry LEFT JOIN messages m ON m.id = e.message_id LEFT JOIN runs r ON r.id = m.run_id AND r.is_test = 0
                 LEFT JOIN campaigns k ON k.id = r.campaign_id LEFT JOIN arms x ON x.run_id = m.run_id AND x.arm = m.arm",
            ),
            true => (
                "CAST(NULL AS TEXT) AS properties, CAST(NULL AS SMALLINT) AS verdict, CAST(NULL AS TEXT) AS campaign, CAST(NULL AS SMALLINT) AS class, e.topic,
                 CAST(NULL AS TEXT) AS category, CAST(NULL AS TEXT) AS tags, e.channel, CAST(NULL AS TEXT) AS variant, e.state"
                    .to_string(),
                "LEFT JOIN consents e ON e.id = s.entry",
            ),
        };
        let sql = format!(
            "SELECT s.entry, s.customer_id, s.at, {columns} FROM starts s {joins} WHERE s.campaign_id = $1
               AND NOT EXISTS (SELECT 1 FROM messages d JOIN runs q ON q.id = d.run_id
                               WHERE d.customer_id = s.customer_id AND d.entry = s.entry AND q.campaign_id = s.campaign_id)
             ORDER BY s.entry LIMIT $2"
        );
        on_pool!(self, pool => sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(campaign.0).bind(limit).fetch_all(pool).await)
            .doing("read what starts campaigns")
    }

    /// The customer's last event of this name, its properties and when it was: what a message would say that it had started.
    pub async fn last_event(&self, customer: i64, name: &str) -> Result<Option<(String, i64)>, Error> {
        let properties = self.pick("properties", "properties::text");
        let sql = format!(
            "SELECT {properties}, occurred_at FROM events WHERE name = $1 AND customer_id = $2 ORDER BY occurred_at DESC, id DESC LIMIT 1"
        );
        on_pool!(self, pool => sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(name).bind(customer).fetch_optional(pool).await)
            .doing("read the last event of a customer")
    }

    /// Forgets what starts nothing after all.
    pub async fn drop_starts(&self, campaign: CampaignId, entries: &[i64], right: Right) -> Result<(), Error> {
        if entries.is_empty() {
            return Ok(());
        }
        let list: Vec<String> = entries.iter().map(i64::to_string).collect();
        let sql = format!("DELETE FROM starts WHERE campaign_id = $1 AND entry IN ({})", list.join(", "));
        in_transaction!(self, "forget what starts nothing", transaction => {
            Connection::from(&mut *transaction).still_plans(right).await?;
            sqlx::query(sqlx::AssertSqlSafe(sql)).bind(campaign.0).execute(&mut *transaction).await.doing("forget what starts nothing")?;
        });
        Ok(())
    }

    /// The run that takes up what happens on a day to customers of one version, made when it is not there.
    pub async fn run_of_triggers(
        &self,
        campaign: CampaignId,
        version: VersionId,
        day: &str,
        now: Time,
        right: Right,
    ) -> Result<RunId, Error> {
        let ready = RunState::Ready.code();
        Ok(RunId(in_transaction!(self, "make a run", transaction => {
            Connection::from(&mut *transaction).still_plans(right).await?;
            let (number,): (i64,) = sqlx::query_as("SELECT CAST(version AS BIGINT) FROM definitions WHERE id = $1")
                .bind(version.0).fetch_one(&mut *transaction).await.doing("read a version's number")?;
            let occurrence = format!("when:{day}:v{number}");
            sqlx::query(
                "INSERT INTO runs (campaign_id, number, version_id, occurrence, is_test, due_at, state, planned_at)
                 SELECT $1, COALESCE((SELECT MAX(number) FROM runs WHERE campaign_id = $1), 0) + 1, $2, $3, 0, $4, $5, $4 WHERE true
                 ON CONFLICT (campaign_id, occurrence) DO NOTHING")
                .bind(campaign.0).bind(version.0).bind(&occurrence).bind(micros(now)).bind(ready)
                .execute(&mut *transaction).await.doing("make a run")?;
            let (run,): (i64,) = sqlx::query_as("SELECT id FROM runs WHERE campaign_id = $1 AND occurrence = $2")
                .bind(campaign.0).bind(&occurrence).fetch_one(&mut *transaction).await.doing("make a run")?;
            run
        })))
    }

    /// Customers among these who are inside the campaign: a message of it waits for them.
    pub async fn inside(&self, campaign: CampaignId, customers: &[i64]) -> Result<Vec<i64>, Error> {
        let waiting: Vec<String> = MessageState::WAITING.iter().map(|state| state.code().to_string()).collect();
        let list: Vec<String> = customers.iter().map(i64::to_string).collect();
        let sql = format!(
            "SELECT DISTINCT m.customer_id FROM messages m JOIN runs r ON r.id = m.run_id
             WHERE m.customer_id IN ({}) AND m.state IN ({}) AND r.campaign_id = $1 AND r.is_test = 0",
            list.join(", "),
            waiting.join(", ")
        );
        let rows: Vec<(i64,)> = on_pool!(self, pool => sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(campaign.0).fetch_all(pool).await)
            .doing("look who is inside")?;
        Ok(rows.into_iter().map(|(customer,)| customer).collect())
    }

    /// How many messages a campaign's triggers have made on a day, refusals left out, and what they cost in minor units of the limit's currency.
    pub async fn day_so_far(&self, campaign: CampaignId, day: &str) -> Result<(u64, i64), Error> {
        let sql = format!(
            "SELECT CAST(COALESCE(SUM((SELECT COUNT(*) FROM messages m WHERE m.run_id = r.id AND m.state <> {})), 0) AS BIGINT), CAST(COALESCE(SUM(r.cost), 0) AS BIGINT)
             FROM runs r WHERE r.campaign_id = $1 AND r.occurrence LIKE $2",
            MessageState::Refused.code()
        );
        let of_day = format!("when:{day}:%");
        let (count, cost): (i64, i64) =
            on_pool!(self, pool => sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(campaign.0).bind(&of_day).fetch_one(pool).await)
                .doing("add up a day of triggers")?;
        Ok((u64::try_from(count).unwrap_or(0), cost))
    }
}

/// What goes with the rows that a trigger started.
#[derive(Debug, Clone)]
pub struct Started {
    /// Taken out: they wait no longer.
    pub entries: Vec<i64>,
    pub arms: Vec<Arm>,
    /// Messages of the campaign that wait for the same customers are cancelled for the new ones, before caps are asked.
    pub restarts: bool,
    /// What the messages cost, in minor units of the limit's currency.
    pub cost: i64,
}

impl Connection<'_> {
    /// Cancels the messages of a campaign that wait for these customers: the newest event's take their place.
    pub async fn restart(&mut self, campaign: CampaignId, customers: &[i64], now: Time) -> Result<(), Error> {
        let sql = format!(
            "UPDATE messages SET state = {cancelled}, changed_at = {now}, next_at = NULL
             WHERE customer_id IN (SELECT id FROM {given} AS given) AND state IN ({planned}, {retry}, {deferred})
               AND run_id IN (SELECT id FROM runs WHERE campaign_id = {campaign} AND is_test = 0)",
            given = table(self.dialect(), &[("id", Field::Long)]),
            cancelled = MessageState::Cancelled.code(),
            planned = MessageState::Planned.code(),
            retry = MessageState::Retry.code(),
            deferred = MessageState::Deferred.code(),
            now = micros(now),
            campaign = campaign.0,
        );
        self.write("cancel what waits", sql, &numbers(customers)).await.map(drop)
    }

    /// Takes out what waited, in the transaction that writes the rows; a run that was done goes on.
    pub async fn take_starts(&mut self, run: &Run, started: &Started) -> Result<(), Error> {
        const DOING: &str = "take out what a trigger started";
        let given = table(self.dialect(), &[("id", Field::Long)]);
        let arms = format!(
            "INSERT INTO arms (run_id, arm, name, held_out) SELECT {run}, arm, name, held_out FROM {given} AS given WHERE true
             ON CONFLICT (run_id, arm) DO NOTHING",
            run = run.id.0,
            given = table(self.dialect(), &[("arm", Field::Small), ("name", Field::Text), ("held_out", Field::Small)])
        );
        let rows: Vec<_> =
            started.arms.iter().map(|arm| json!({ "arm": arm.arm, "name": arm.name, "held_out": i16::from(arm.held_out) })).collect();
        self.write(DOING, arms, &json!(rows).to_string()).await?;
        if started.cost > 0 {
            let costs = format!("UPDATE runs SET cost = cost + {} WHERE id IN (SELECT id FROM {given} AS given)", started.cost);
            self.write(DOING, costs, &numbers(&[run.id.0])).await?;
        }
        let goes_on = format!(
            "UPDATE runs SET state = {running}, finished_at = NULL WHERE state = {done} AND id IN (SELECT id FROM {given} AS given)",
            running = RunState::Running.code(),
            done = RunState::Done.code(),
        );
        self.write(DOING, goes_on, &numbers(&[run.id.0])).await?;
        let taken = format!("DELETE FROM starts WHERE campaign_id = {} AND entry IN (SELECT id FROM {given} AS given)", run.campaign.0);
        self.write(DOING, taken, &numbers(&started.entries)).await.map(drop)
    }
}

fn numbers(numbers: &[i64]) -> String {
    json!(numbers.iter().map(|id| json!({ "id": id })).collect::<Vec<_>>()).to_string()
}
