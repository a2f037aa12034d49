//! What reports read: the ledger's sums, who was drawn for which arm, who converted, what came back by hour and by site.
//!
//! Everything is summed in the database and comes as few rows, whatever the number of people. Test runs are never among the runs.
//! With `until`, the ledger is read as it stood then: what changed later counts as still waiting, what bounced later as not bounced.

use super::batch::{Field, table};
use super::tallies::{Answer, Bounce, Key, Metric, Place, contribution, hour};
use super::{Error, Store, micros};
use crate::types::{MessageState, Response, Time, Verdict};
use chrono_tz::Tz;
use serde_json::json;
use std::collections::BTreeMap;

/// A run that is counted.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct CountedRun {
    pub id: i64,
    pub number: i64,
    pub version_id: i64,
    pub due_at: i64,
    pub state: i16,
    /// 1 for a run of triggers: a customer may have several messages.
    pub by_trigger: i16,
    /// 1 where its sums are kept, and how often a person has decided about its messages (`settled`).
    pub settled: i16,
    pub decided: i64,
}

/// A campaign that was applied at some time.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct CountedCampaign {
    pub id: i64,
    pub key: String,
    pub title: String,
    pub class: i16,
    pub topic: Option<String>,
}

/// The arm of a run, with its name.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct NamedArm {
    pub run_id: i64,
    pub arm: i16,
    pub name: String,
    pub held_out: i16,
}

/// Rows of the ledger that are alike.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct LedgerSum {
    pub run_id: i64,
    pub arm: i16,
    pub channel: i16,
    pub site: String,
    pub state: i16,
    /// A refusal's or a failure's number; 0 for none.
    pub reason: i16,
    pub messages: i64,
    pub bounced: i64,
    pub confirmed: i64,
}

/// People of an arm, each once a run.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Drawn {
    pub run_id: i64,
    pub arm: i16,
    pub customers: i64,
}

/// People of an arm who did what is measured, each once whatever the currency.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct ConvertedPeople {
    pub run_id: i64,
    pub measure: i16,
    pub arm: i16,
    pub customers: i64,
}

/// A measure of an applied version, as stored.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredMeasure {
    pub version_id: i64,
    pub number: i16,
    pub event: String,
    pub value: Option<String>,
    pub within: String,
}

/// A tracked link of an applied version.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredLink {
    pub version_id: i64,
    pub number: i32,
    pub target: String,
}

/// Counts of a metric in an hour of the workspace's zone.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct HourTally {
    pub metric: i16,
    pub hour: i32,
    pub count: i64,
}

/// Counts of a metric at a mailbox site family.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct SiteTally {
    pub metric: i16,
    pub site: String,
    pub count: i64,
}

const RUN: [(&str, Field); 2] = [("run", Field::Long), ("until", Field::Long)];

impl Store {
    /// Campaigns by key: all of them, or the one with this key.
    pub async fn counted_campaigns(&self, key: Option<&str>) -> Result<Vec<CountedCampaign>, Error> {
        let given = table(self.dialect(), &[("key", Field::Text)]);
        let sql = format!(
            "SELECT c.id, c.key, c.title, c.class, c.topic FROM {given} AS given JOIN campaigns c ON given.key = '' OR c.key = given.key ORDER BY c.key"
        );
        self.read_batch("read the campaigns", sql, &json!([{ "key": key.unwrap_or("") }]).to_string()).await
    }

    /// The runs of a campaign that a report counts: no tests, none that is still being planned, none planned after `until`; all numbers or one.
    pub async fn counted_runs(&self, campaign: i64, number: Option<i64>, until: Option<Time>) -> Result<Vec<CountedRun>, Error> {
        let given = table(self.dialect(), &[("campaign", Field::Long), ("number", Field::Long), ("until", Field::Long)]);
        let sql = format!(
            "SELECT r.id, CAST(r.number AS BIGINT) AS number, r.version_id, r.due_at, r.state,
                    CAST(CASE WHEN r.occurrence LIKE 'when:%' THEN 1 ELSE 0 END AS SMALLINT) AS by_trigger, r.settled, r.decided
             FROM {given} AS given JOIN runs r ON r.campaign_id = given.campaign
             WHERE r.is_test = 0 AND r.state <> 1 AND (given.number < 0 OR r.number = given.number) AND COALESCE(r.planned_at, r.due_at) <= given.until
             ORDER BY r.number"
        );
        let input = json!([{ "campaign": campaign, "number": number.unwrap_or(-1), "until": until_micros(until) }]);
        self.read_batch("read the runs", sql, &input.to_string()).await
    }

    pub async fn named_arms(&self, runs: &[CountedRun]) -> Result<Vec<NamedArm>, Error> {
        let sql = format!(
            "SELECT a.run_id, a.arm, a.name, a.held_out FROM {} AS given JOIN arms a ON a.run_id = given.run ORDER BY a.run_id, a.arm",
            table(self.dialect(), &RUN)
        );
        self.read_batch("read the arms", sql, &input(runs, None)).await
    }

    /// The ledger's sums.
    pub async fn ledger_sums(&self, runs: &[CountedRun], until: Option<Time>) -> Result<Vec<LedgerSum>, Error> {
        let (accepted, planned) = (MessageState::Accepted.code(), MessageState::Planned.code());
        let sql = format!(
            "SELECT run_id, arm, channel, site, state, CAST(CASE WHEN state = known THEN reason ELSE 0 END AS SMALLINT) AS reason, COUNT(*) AS messages,
                    CAST(SUM(bounced) AS BIGINT) AS bounced, CAST(SUM(confirmed) AS BIGINT) AS confirmed
             FROM (SELECT m.run_id, m.arm, m.channel, m.site, m.state AS known, CAST(COALESCE(m.reason, 0) AS SMALLINT) AS reason,
                          CAST(CASE WHEN m.changed_at <= given.until THEN {seen} WHEN m.accepted_at <= given.until THEN {accepted} ELSE {planned} END AS SMALLINT) AS state,
                          CASE WHEN m.state = {accepted} AND m.accepted_at <= given.until AND m.bounced_at <= given.until THEN 1 ELSE 0 END AS bounced,
                          CASE WHEN m.state = {accepted} AND m.confirmed_at <= given.until THEN 1 ELSE 0 END AS confirmed
                   FROM {given} AS given JOIN messages m ON m.run_id = given.run JOIN runs u ON u.id = m.run_id) AS ledger
             GROUP BY run_id, arm, channel, site, state, CASE WHEN state = known THEN reason ELSE 0 END",
            seen = super::stops::seen_state("m", "u"),
            given = table(self.dialect(), &RUN)
        );
        self.read_batch("add up the ledger", sql, &input(runs, until)).await
    }

    /// Who was drawn into runs of triggers: people by run and arm, whatever happened to them later. In other runs everybody has one row of the ledger.
    pub async fn drawn(&self, runs: &[CountedRun]) -> Result<Vec<Drawn>, Error> {
        let sql = format!(
            "SELECT m.run_id, m.arm, COUNT(DISTINCT m.customer_id) AS customers FROM {} AS given JOIN messages m ON m.run_id = given.run
             WHERE m.step = 0 AND m.arm >= 0 GROUP BY m.run_id, m.arm",
            table(self.dialect(), &RUN)
        );
        self.read_batch("count the arms", sql, &input(runs, None)).await
    }

    /// Who converted by `until`: people by run, measure and arm.
    pub async fn converted_people(&self, runs: &[CountedRun], until: Option<Time>) -> Result<Vec<ConvertedPeople>, Error> {
        let sql = format!(
            "SELECT v.run_id, v.measure, v.arm, COUNT(DISTINCT v.customer_id) AS customers
             FROM {} AS given JOIN conversions v ON v.run_id = given.run AND v.first_at <= given.until GROUP BY v.run_id, v.measure, v.arm",
            table(self.dialect(), &RUN)
        );
        self.read_batch("count who converted", sql, &input(runs, until)).await
    }

    /// The measures of the versions that these runs keep.
    pub async fn measures_of(&self, runs: &[CountedRun]) -> Result<Vec<StoredMeasure>, Error> {
        let sql = format!(
            "SELECT DISTINCT s.version_id, s.number, s.event, s.value, s.within FROM {} AS given JOIN runs r ON r.id = given.run
             JOIN measures s ON s.version_id = r.version_id ORDER BY s.version_id DESC, s.number",
            table(self.dialect(), &RUN)
        );
        self.read_batch("read the measures", sql, &input(runs, None)).await
    }

    /// The tracked links of the versions that these runs keep.
    pub async fn links_of(&self, runs: &[CountedRun]) -> Result<Vec<StoredLink>, Error> {
        let sql = format!(
            "SELECT DISTINCT l.version_id, l.number, l.target FROM {} AS given JOIN runs r ON r.id = given.run
             JOIN links l ON l.version_id = r.version_id ORDER BY l.version_id, l.number",
            table(self.dialect(), &RUN)
        );
        self.read_batch("read the links", sql, &input(runs, None)).await
    }

    /// Human opens and clicks by hour before `until`, an hour of the workspace's zone.
    pub async fn tallies_by_hour(&self, runs: &[CountedRun], until: Option<i32>) -> Result<Vec<HourTally>, Error> {
        let sql = format!(
            "SELECT t.metric, t.hour, CAST(SUM(t.count) AS BIGINT) AS count FROM {} AS given JOIN tallies t ON t.run_id = given.run
             WHERE t.metric IN ({}, {}) AND t.hour < given.until GROUP BY t.metric, t.hour HAVING SUM(t.count) <> 0 ORDER BY t.hour, t.metric",
            table(self.dialect(), &RUN),
            Metric::OpensHuman.code(),
            Metric::ClicksHuman.code()
        );
        self.read_batch("read the tallies by hour", sql, &hours(runs, until)).await
    }

    /// What came back by mailbox site family before `until`, an hour of the workspace's zone.
    pub async fn tallies_by_site(&self, runs: &[CountedRun], until: Option<i32>) -> Result<Vec<SiteTally>, Error> {
        let sql = format!(
            "SELECT t.metric, t.site, CAST(SUM(t.count) AS BIGINT) AS count FROM {} AS given JOIN tallies t ON t.run_id = given.run
             WHERE t.metric IN ({}, {}, {}) AND t.hour < given.until GROUP BY t.metric, t.site",
            table(self.dialect(), &RUN),
            Metric::OpensUnique.code(),
            Metric::ClicksUnique.code(),
            Metric::Complaints.code()
        );
        self.read_batch("read the tallies by site", sql, &hours(runs, until)).await
    }
}

/// An event of a message, as far as counting goes.
#[derive(Debug, sqlx::FromRow)]
struct Answered {
    message_id: i64,
    run_id: i64,
    step: i16,
    arm: i16,
    site: String,
    name: String,
    link: Option<i32>,
    verdict: i16,
    occurred_at: i64,
    bounce: Option<String>,
}

impl Answered {
    fn answer(&self) -> Option<Answer> {
        Some(Answer {
            response: Response::from_word(self.name.strip_prefix("message.")?)?,
            link: self.link.unwrap_or(0),
            verdict: Verdict::from_code(self.verdict)?,
            at: self.occurred_at,
            bounce: self.bounce.as_deref().and_then(Bounce::from_word),
        })
    }
}

impl Store {
    /// What came back in the hour that `until` cuts, up to `until`: tallies know whole hours only, so this one is counted from its events.
    pub async fn counts_of_the_hour(&self, runs: &[CountedRun], until: Time, zone: Tz) -> Result<BTreeMap<Key, i64>, Error> {
        let cut = hour(micros(until), zone);
        // The hour of the wall began at most so long ago, also where the clocks went back within it.
        let since = micros(until) - 2 * 3_600_000_000;
        let fields = [("run", Field::Long), ("until", Field::Long), ("since", Field::Long)];
        let sql = format!(
            "SELECT e.message_id, m.run_id, m.step, m.arm, m.site, e.name, e.link, e.verdict, e.occurred_at, e.properties ->> 'bounce' AS bounce
             FROM {given} AS given JOIN messages m ON m.run_id = given.run
             JOIN events e ON e.message_id = m.id AND e.occurred_at <= given.until
             WHERE EXISTS (SELECT 1 FROM events late WHERE late.message_id = m.id AND late.occurred_at >= given.since AND late.occurred_at <= given.until)
             ORDER BY e.message_id",
            given = table(self.dialect(), &fields)
        );
        let input: Vec<_> = runs.iter().map(|run| json!({ "run": run.id, "until": micros(until), "since": since })).collect();
        let rows: Vec<Answered> = self.read_batch("read the responses of an hour", sql, &json!(input).to_string()).await?;
        let mut counts = BTreeMap::new();
        for events in rows.chunk_by(|one, other| one.message_id == other.message_id) {
            let Some(first) = events.first() else { continue };
            let place = Place { run: first.run_id, step: first.step, arm: first.arm, site: first.site.clone() };
            let answers: Vec<Answer> = events.iter().filter_map(Answered::answer).collect();
            for (key, count) in contribution(&place, &answers, zone).0 {
                if key.hour == cut {
                    *counts.entry(key).or_insert(0) += count;
                }
            }
        }
        Ok(counts)
    }
}

fn until_micros(until: Option<Time>) -> i64 {
    until.map_or(i64::MAX, micros)
}

fn input(runs: &[CountedRun], until: Option<Time>) -> String {
    let rows: Vec<_> = runs.iter().map(|run| json!({ "run": run.id, "until": until_micros(until) })).collect();
    json!(rows).to_string()
}

fn hours(runs: &[CountedRun], until: Option<i32>) -> String {
    let rows: Vec<_> = runs.iter().map(|run| json!({ "run": run.id, "until": until.unwrap_or(i32::MAX) })).collect();
    json!(rows).to_string()
}
