//! The figures that reports show: who converted and what it was worth, and what followed a click.
//!
//! Both are kept at ingest (`credits`) and added up (`sums`). As they stood at an earlier time they are counted anew: *converted* from the events of those
//! people, *attributed* from clicks and what followed them.

use super::sums::Kind;
use super::{Candidate, MEASURES, Measures, counted};
use crate::store::batch::{Field, table, table_in};
use crate::store::responses::json;
use crate::store::{Error, Store, micros};
use crate::types::{Response, RunId, Time, Verdict};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// People of an arm who converted, and what it was worth.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Converted {
    pub run_id: i64,
    pub measure: i16,
    pub arm: i16,
    /// '' for those without a value.
    pub currency: String,
    /// People; one who has values in two currencies stands under both.
    pub customers: i64,
    pub events: i64,
    /// Minor units.
    pub value: i64,
    /// Sum of the squares of each person's value, for intervals.
    pub squares: f64,
}

/// Conversions after a click.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attributed {
    pub run: RunId,
    pub measure: i16,
    pub arm: i16,
    pub currency: String,
    pub conversions: i64,
    /// Minor units.
    pub value: i64,
}

/// The sums of what followed clicks are rows of the same shape.
impl From<Converted> for Attributed {
    fn from(sum: Converted) -> Self {
        let Converted { run_id, measure, arm, currency, events, value, .. } = sum;
        Attributed { run: RunId(run_id), measure, arm, currency, conversions: events, value }
    }
}

/// People whose events are read at once.
const SLICE: i64 = 5000;

impl Store {
    /// Who converted in these runs, by run, measure, arm and currency; with `until`, as it stood just before that instant.
    pub async fn conversions(&self, runs: &[RunId], measures: &Measures, until: Option<Time>) -> Result<Vec<Converted>, Error> {
        if let Some(until) = until {
            let mut converted = Vec::new();
            for run in runs {
                converted.extend(self.conversions_until(*run, measures, micros(until)).await?);
            }
            return Ok(converted);
        }
        if let Some(sums) = self.sums(Kind::Converted, runs).await? {
            return Ok(sums);
        }
        self.conversions_counted(runs).await
    }

    /// The same from all conversions.
    pub async fn conversions_counted(&self, runs: &[RunId]) -> Result<Vec<Converted>, Error> {
        let rows: Vec<Value> = runs.iter().map(|run| json!({ "run": run.0 })).collect();
        let sql = format!(
            "SELECT v.run_id, v.measure, v.arm, v.currency, COUNT(*) AS customers, CAST(SUM(v.events) AS BIGINT) AS events,
                    CAST(SUM(v.value) AS BIGINT) AS value, SUM(CAST(v.value AS DOUBLE PRECISION) * v.value) AS squares
             FROM {given} AS given JOIN conversions v ON v.run_id = given.run
             GROUP BY v.run_id, v.measure, v.arm, v.currency ORDER BY v.run_id, v.measure, v.arm, v.currency",
            given = table(self.dialect(), &[("run", Field::Long)])
        );
        self.read_batch("read the conversions", sql, &json(&rows)?).await
    }

    /// The table knows when a person converted first and what all of it was worth, not what it was worth by then: so the events before `until` of
    /// those who had converted are counted, a slice of people at a time.
    async fn conversions_until(&self, run: RunId, measures: &Measures, until: i64) -> Result<Vec<Converted>, Error> {
        let doing = "read the conversions of an earlier time";
        // A measure at a time, as its people stand in the table: a slice costs the same wherever it is.
        let given = |name: &str| self.pick(format!("CAST($1 ->> '{name}' AS INTEGER)"), format!("($1::jsonb ->> '{name}')::bigint"));
        let people = format!(
            "SELECT DISTINCT customer_id FROM conversions WHERE run_id = {} AND measure = {} AND customer_id > {} AND first_at < {}
             ORDER BY customer_id LIMIT {SLICE}",
            given("run"),
            given("measure"),
            given("after"),
            given("until")
        );
        let numbers = format!(
            "SELECT s.number FROM {} AS given JOIN runs r ON r.id = given.run JOIN measures s ON s.version_id = r.version_id ORDER BY s.number",
            table(self.dialect(), &[("run", Field::Long)])
        );
        let numbers: Vec<(i16,)> = self.read_batch(doing, numbers, &json(&json!([{ "run": run.0 }]))?).await?;
        let sql = format!(
            "WITH ms AS MATERIALIZED {measures}, people AS MATERIALIZED {people}, given AS MATERIALIZED {given}
             SELECT e.id AS event, e.customer_id AS customer, e.occurred_at AS at, CASE WHEN ms.reads = 1 THEN {properties} END AS properties,
                    e.value, e.currency, r.id AS run, r.version_id AS version, ms.number AS measure, m.arm, m.due_at AS due
             FROM given {cross} JOIN runs r ON r.id = given.run {cross} JOIN ms ON ms.version = r.version_id AND ms.number = given.measure CROSS JOIN people
             {cross} JOIN messages m ON m.run_id = r.id AND m.customer_id = people.id AND m.step = 0 AND m.arm >= 0
             {cross} JOIN events e ON e.name = ms.event AND e.customer_id = m.customer_id
                                  AND e.occurred_at >= m.due_at AND e.occurred_at < m.due_at + ms.longest AND e.occurred_at < given.until
             WHERE r.is_test = 0",
            cross = self.pick("CROSS", ""),
            properties = self.pick("e.properties", "e.properties::text"),
            measures = table_in(self.dialect(), Some("measures"), &MEASURES),
            people = table_in(self.dialect(), Some("people"), &[("id", Field::Long)]),
            given = table_in(self.dialect(), Some("given"), &[("run", Field::Long), ("measure", Field::Small), ("until", Field::Long)]),
        );
        let mut sums: BTreeMap<(i16, i16, String), Converted> = BTreeMap::new();
        let mut numbers = numbers.into_iter();
        let mut next = numbers.next().map(|(number,)| (number, -1));
        while let Some((number, after)) = next {
            let input = json(&json!({ "run": run.0, "measure": number, "after": after, "until": until }))?;
            let slice: Vec<(i64,)> = self.read_batch(doing, people.clone(), &input).await?;
            let Some((last,)) = slice.last() else {
                next = numbers.next().map(|(number,)| (number, -1));
                continue;
            };
            next = Some((number, *last));
            let ids: Vec<Value> = slice.iter().map(|(id,)| json!({ "id": id })).collect();
            let input =
                json!({ "measures": measures.rows(), "people": ids, "given": [{ "run": run.0, "measure": number, "until": until }] });
            let candidates: Vec<Candidate> = self.read_batch(doing, sql.clone(), &json(&input)?).await?;
            let mut worth: BTreeMap<(i16, i16, String, i64), (i64, i64)> = BTreeMap::new();
            for found in counted(&candidates, measures) {
                let Candidate { measure, arm, customer, .. } = *found.candidate;
                let person = worth.entry((measure, arm, found.currency, customer)).or_default();
                *person = (person.0 + 1, person.1.saturating_add(found.value));
            }
            for ((measure, arm, currency, _), (events, value)) in worth {
                let sum = sums.entry((measure, arm, currency.clone())).or_insert(Converted {
                    run_id: run.0,
                    measure,
                    arm,
                    currency,
                    customers: 0,
                    events: 0,
                    value: 0,
                    squares: 0.0,
                });
                sum.customers += 1;
                sum.events += events;
                sum.value = sum.value.saturating_add(value);
                sum.squares += value as f64 * value as f64;
            }
        }
        Ok(sums.into_values().collect())
    }

    /// Events before `until` that followed a human click in these runs within the measure's window, where that click was the customer's last one
    /// (in any campaign) before the event. An event credits one message at most.
    pub async fn attributed(&self, runs: &[RunId], measures: &Measures, until: Option<Time>) -> Result<Vec<Attributed>, Error> {
        if until.is_none()
            && let Some(sums) = self.sums(Kind::Credited, runs).await?
        {
            return Ok(sums.into_iter().map(Attributed::from).collect());
        }
        self.attributed_found(runs, measures, until).await
    }

    /// The same from all clicks and what followed them.
    pub async fn attributed_found(&self, runs: &[RunId], measures: &Measures, until: Option<Time>) -> Result<Vec<Attributed>, Error> {
        let until = until.map_or(i64::MAX, micros);
        let input = json!({ "runs": runs.iter().map(|run| json!({ "run": run.0, "until": until })).collect::<Vec<_>>(), "measures": measures.rows() });
        let dialect = self.dialect();
        let human = |event: &str| format!("{event}.name = 'message.clicked' AND {event}.verdict <> {}", Verdict::Machine.code());
        // The last click before the event: the latest, then of the message with the higher number.
        let sql = format!(
            "WITH given AS MATERIALIZED {runs}, ms AS MATERIALIZED {measures}
             SELECT e.id AS event, e.customer_id AS customer, e.occurred_at AS at, CASE WHEN ms.reads = 1 THEN {properties} END AS properties,
                    e.value, e.currency, r.id AS run, r.version_id AS version, ms.number AS measure, m.arm, MAX(k.occurred_at) AS due
             FROM given JOIN runs r ON r.id = given.run AND r.is_test = 0 JOIN messages m ON m.run_id = r.id
             JOIN firsts f ON f.message_id = m.id AND f.kind = {kind} AND f.link = 0
             JOIN events k ON k.message_id = m.id AND {clicked}
             JOIN ms ON ms.version = r.version_id
             JOIN events e ON e.name = ms.event AND e.customer_id = k.customer_id AND e.occurred_at >= k.occurred_at
                          AND e.occurred_at < k.occurred_at + ms.longest AND e.occurred_at < given.until
             WHERE NOT EXISTS (SELECT 1 FROM events o WHERE o.customer_id = k.customer_id AND {other} AND o.occurred_at <= e.occurred_at
                               AND (o.occurred_at > k.occurred_at OR (o.occurred_at = k.occurred_at AND o.message_id > k.message_id)))
             GROUP BY e.id, r.id, r.version_id, ms.number, ms.reads, m.arm",
            properties = self.pick("e.properties", "e.properties::text"),
            runs = table_in(dialect, Some("runs"), &[("run", Field::Long), ("until", Field::Long)]),
            measures = table_in(dialect, Some("measures"), &MEASURES),
            // Only messages with a human click.
            kind = Response::Clicked.code(),
            clicked = human("k"),
            other = human("o"),
        );
        let candidates: Vec<Candidate> = self.read_batch("find attributed conversions", sql, &json(&input)?).await?;
        let mut sums: BTreeMap<(i64, i16, i16, String), (i64, i64)> = BTreeMap::new();
        for counted in counted(&candidates, measures) {
            let key = (counted.candidate.run, counted.candidate.measure, counted.candidate.arm, counted.currency);
            let sum = sums.entry(key).or_default();
            *sum = (sum.0 + 1, sum.1.saturating_add(counted.value));
        }
        let attributed = |((run, measure, arm, currency), (conversions, value))| Attributed {
            run: RunId(run),
            measure,
            arm,
            currency,
            conversions,
            value,
        };
        Ok(sums.into_iter().map(attributed).collect())
    }
}
