//! Who converted: everyone drawn in a run, held-out people too, by intention to treat (design.md §7).
//!
//! An event counts for a measure when it happened in [due, due + within) of the person's first message or refusal in the run. It is counted at
//! ingest, in the event's transaction ([`keep`]); what was there before the run was planned is counted by [`Store::convert_earlier`]. Both
//! add up, so that events imported before and after sending give the same result. `figures` reads what reports show.

mod credits;
mod figures;
mod sums;

pub(super) use credits::{Changed, disputed, find_anew};
pub use figures::{Attributed, Converted};

use super::batch::{Connection, Field, table, table_in};
use super::responses::json;
use super::{Doing, Error, Store, from_micros};
use crate::campaigns::{Campaign, Workspace};
use crate::literals::{Duration, Money, Unit, decimal, minor_digits};
use crate::segments::{Moment, PropertyTests, Samples, ZoneInForce, properties_hold};
use crate::types::{RunId, RunState, Time, VersionId};
use chrono_tz::Tz;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use sums::{Difference, Differences, Kind};

/// Whether an event with these properties, at this time, counts.
pub type Qualifies = Arc<dyn Fn(&Value, Time) -> bool + Send + Sync>;

/// What an applied version measures.
#[derive(Clone)]
pub struct Measure {
    pub version: VersionId,
    /// 0 is the goal.
    pub number: i16,
    pub event: String,
    /// The property with the money; a path with dots.
    pub value: Option<String>,
    pub within: Duration,
    /// The goal's `where`.
    pub condition: Option<Qualifies>,
}

impl std::fmt::Debug for Measure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "measure {} of {}: {} within {:?}", self.number, self.version, self.event, self.within)
    }
}

/// The measures of all applied versions, and how their windows and values are read.
#[derive(Debug, Clone)]
pub struct Measures {
    pub all: Vec<Measure>,
    /// The workspace's: a window of days keeps its wall clock.
    pub zone: Tz,
    /// The workspace's: of money that names none.
    pub currency: String,
}

impl Measures {
    /// Those of one version, with their conditions.
    pub fn of(version: VersionId, campaign: &Campaign, workspace: &Workspace) -> Self {
        let all = campaign.goal.iter().chain(&campaign.measures).map(|measure| Measure {
            version,
            number: measure.number,
            event: measure.event.clone(),
            value: measure.value.clone(),
            within: measure.within,
            condition: measure.condition.clone().map(|tests| qualifies(tests, workspace)),
        });
        Measures { all: all.collect(), zone: workspace.zone, currency: workspace.currency.clone() }
    }

    /// As the JSON rows that the statements read.
    fn rows(&self) -> Vec<Value> {
        let row = |measure: &Measure| {
            let reads = measure.value.is_some() || measure.condition.is_some();
            json!({ "version": measure.version.0, "number": measure.number, "event": measure.event,
                    "longest": longest(measure.within), "reads": i16::from(reads) })
        };
        self.all.iter().map(row).collect()
    }
}

fn qualifies(tests: PropertyTests, workspace: &Workspace) -> Qualifies {
    let (zone, currency, rates, seed) = (workspace.zone, workspace.currency.clone(), workspace.rates.clone(), workspace.seed.clone());
    Arc::new(move |properties, at| {
        let moment = Moment {
            now: at,
            zone: ZoneInForce::Fixed(zone),
            segments: &BTreeMap::new(),
            currency: &currency,
            rates: &rates,
            seed: &seed,
            samples: Samples::NONE,
        };
        properties_hold(&tests, properties, None, &moment)
    })
}

const MEASURES: [(&str, Field); 5] =
    [("version", Field::Long), ("number", Field::Small), ("event", Field::Text), ("longest", Field::Long), ("reads", Field::Small)];

/// Microseconds that a duration never exceeds, whatever the clocks do.
fn longest(duration: Duration) -> i64 {
    let seconds = match duration.unit {
        Unit::Second => 1,
        Unit::Minute => 60,
        Unit::Hour => 3600,
        Unit::Day => 86_400,
        Unit::Week => 7 * 86_400,
        Unit::Month => 31 * 86_400,
        Unit::Year => 366 * 86_400,
    };
    (i64::from(duration.count) * seconds + 2 * 86_400).saturating_mul(1_000_000)
}

/// An event that may count for a run.
#[derive(Debug, sqlx::FromRow)]
struct Candidate {
    event: i64,
    customer: i64,
    at: i64,
    properties: Option<String>,
    value: Option<i64>,
    currency: Option<String>,
    run: i64,
    version: i64,
    measure: i16,
    arm: i16,
    due: i64,
}

/// The lock that keeps [`keep`] (shared) and a rebuild (alone) apart on PostgreSQL.
const LOCK: i64 = 0x706f_7374_636f_6e76;

/// Counts events that the same transaction has just recorded. `events` are their numbers, each given once and for the first time.
pub async fn keep(connection: &mut Connection<'_>, events: &[i64], measures: &Measures) -> Result<(), Error> {
    if events.is_empty() || measures.all.is_empty() {
        return Ok(());
    }
    lock(connection, "pg_advisory_xact_lock_shared").await?;
    let dialect = connection.dialect();
    // MATERIALIZED: the JSON is read once, not for every row that is joined, and people are found by customer before runs are looked at,
    // whatever the planner thinks of tables that it has no statistics of. CROSS JOIN: SQLite goes through the tables in this order.
    let sql = format!(
        "WITH given AS MATERIALIZED {events}, ms AS MATERIALIZED {measures},
         met AS MATERIALIZED (
             SELECT e.id, e.name, e.customer_id, e.occurred_at, m.run_id, m.arm, m.due_at
             FROM given {cross} JOIN events e ON e.id = given.id {cross} JOIN messages m ON m.customer_id = e.customer_id
             WHERE m.step = 0 AND m.arm >= 0 AND m.due_at <= e.occurred_at AND e.name IN (SELECT event FROM ms))
         SELECT met.id AS event, met.customer_id AS customer, met.occurred_at AS at, CASE WHEN ms.reads = 1 THEN {properties} END AS properties,
                e.value, e.currency, r.id AS run, r.version_id AS version, ms.number AS measure, met.arm, met.due_at AS due
         FROM met {cross} JOIN runs r ON r.id = met.run_id AND r.is_test = 0 AND r.state <> {planning}
         {cross} JOIN ms ON ms.version = r.version_id AND ms.event = met.name AND met.occurred_at < met.due_at + ms.longest
         {cross} JOIN events e ON e.id = met.id",
        cross = connection.pick("CROSS", ""),
        properties = connection.pick("e.properties", "e.properties::text"),
        planning = RunState::Planning.code(),
        events = table_in(dialect, Some("events"), &[("id", Field::Long)]),
        measures = table_in(dialect, Some("measures"), &MEASURES),
    );
    let ids: Vec<Value> = events.iter().map(|id| json!({ "id": id })).collect();
    let input = json(&json!({ "events": ids, "measures": measures.rows() }))?;
    if let Connection::Postgres(_) = connection {
        let sql = format!(
            "SELECT DISTINCT e.customer_id FROM {} AS given JOIN events e ON e.id = given.id WHERE e.name IN (SELECT event FROM {} AS ms)",
            table_in(dialect, Some("events"), &[("id", Field::Long)]),
            table_in(dialect, Some("measures"), &MEASURES)
        );
        let customers: Vec<(i64,)> = connection.read("find whom events concern", sql, &input).await?;
        credits::lock(connection, customers.into_iter().map(|(customer,)| customer).collect()).await?;
    }
    let candidates: Vec<Candidate> = connection.read("find who converted", sql, &input).await?;
    add(connection, &candidates, measures).await?;
    credits::keep(connection, events, measures).await
}

impl Store {
    /// The measures of all applied versions. Those with a condition are read from their version's file; others cost one query together.
    pub async fn measures(&self, zone: Tz, currency: &str) -> Result<Measures, Error> {
        /// Version, number, event, value, within, whether conditional, the campaign's key.
        type Row = (i64, i16, String, Option<String>, String, i16, String);
        let doing = "read the measures";
        let sql = "SELECT m.version_id, m.number, m.event, m.value, m.within, m.conditional, COALESCE(d.key, '')
                   FROM measures m LEFT JOIN definitions d ON d.id = m.version_id ORDER BY m.version_id, m.number";
        let rows: Vec<Row> = crate::on_pool!(self, pool => sqlx::query_as(sql).fetch_all(pool).await).doing(doing)?;
        let mut read: HashMap<i64, Measures> = HashMap::new();
        let mut all = Vec::with_capacity(rows.len());
        for (version, number, event, value, within, conditional, key) in rows {
            let within = Duration::read(&within).map_err(|what| Error::Unexpected { doing, what })?;
            let mut measure = Measure { version: VersionId(version), number, event, value, within, condition: None };
            if conditional != 0 {
                if let Entry::Vacant(place) = read.entry(version) {
                    let definitions = self.load_definitions(measure.version).await?;
                    let campaign = definitions.campaigns.get(&key);
                    let campaign =
                        campaign.ok_or_else(|| Error::Unexpected { doing, what: format!("version {version} does not hold `{key}`") })?;
                    place.insert(Measures::of(measure.version, campaign, &definitions.workspace));
                }
                let written = read.get(&version).and_then(|read| read.all.iter().find(|written| written.number == number));
                measure.condition = written.and_then(|written| written.condition.clone());
            }
            all.push(measure);
        }
        Ok(Measures { all, zone, currency: currency.to_string() })
    }

    /// Counts, after a run was planned, what had come in before: events between the due time and the plan. Costs one look where there are none.
    pub async fn convert_earlier(&self, run: RunId, measures: &Measures) -> Result<(), Error> {
        let doing = "look for earlier conversions";
        if measures.all.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "WITH given AS MATERIALIZED {from}, ms AS MATERIALIZED {measures},
             early AS MATERIALIZED (
               SELECT r.id AS run_id, e.customer_id, e.occurred_at, ms.longest
               FROM given {cross} JOIN runs r ON r.id = given.run {cross} JOIN ms ON ms.version = r.version_id
               {cross} JOIN events e ON e.name = ms.event AND e.occurred_at >= r.due_at - {day})
             SELECT m.customer_id FROM early
             {cross} JOIN messages m ON m.run_id = early.run_id AND m.customer_id = early.customer_id AND m.step = 0 AND m.arm >= 0
                                  AND early.occurred_at >= m.due_at AND early.occurred_at < m.due_at + early.longest
             LIMIT 1",
            // Events first: mostly there are none, and a planner that sees LIMIT 1 would look for the events of each message.
            // A person's own due time is at most so much before that of the run.
            day = 26 * 3_600_000_000_i64,
            cross = self.pick("CROSS", ""),
            from = table_in(self.dialect(), Some("from"), &[("run", Field::Long)]),
            measures = table_in(self.dialect(), Some("measures"), &MEASURES),
        );
        let input = json(&json!({ "from": [{ "run": run.0 }], "measures": measures.rows() }))?;
        let found: Vec<(i64,)> = match self {
            // There is one writer: what was recorded before the plan is to be seen, what comes now sees the plan.
            Store::Sqlite(_) => self.read_batch(doing, sql, &input).await?,
            Store::Postgres(_) => {
                let mut change = self.change(doing).await?;
                lock(&mut change.connection(), "pg_advisory_xact_lock").await?;
                change.connection().read(doing, sql, &input).await?
            }
        };
        if found.is_empty() { Ok(()) } else { self.rebuild_converted(run, measures).await }
    }

    /// Counts the conversions of a run, and what followed its clicks, anew from all events: when measures or windows were in doubt.
    pub async fn rebuild_conversions(&self, run: RunId, measures: &Measures) -> Result<(), Error> {
        self.rebuild_converted(run, measures).await?;
        self.rebuild_credits(run, measures).await
    }

    /// In slices of two thousand people, each in a transaction of its own that is right by itself.
    async fn rebuild_converted(&self, run: RunId, measures: &Measures) -> Result<(), Error> {
        let doing = "rebuild the conversions";
        let mut last = -1;
        loop {
            let mut change = self.change(doing).await?;
            let end = rebuild_slice(&mut change.connection(), run, last, measures).await?;
            change.commit(doing).await?;
            match end {
                Some(end) => last = end,
                None => return Ok(()),
            }
        }
    }
}

async fn lock(connection: &mut Connection<'_>, kind: &str) -> Result<(), Error> {
    if let Connection::Postgres(_) = connection {
        connection.write("wait for a rebuild of conversions", format!("SELECT {kind}(CAST($1 AS BIGINT))"), &LOCK.to_string()).await?;
    }
    Ok(())
}

/// Counts two thousand messages' people of a run, from the customer after `last`; gives the last customer it looked at, or `None` at the end.
async fn rebuild_slice(connection: &mut Connection<'_>, run: RunId, last: i64, measures: &Measures) -> Result<Option<i64>, Error> {
    let doing = "rebuild the conversions";
    lock(connection, "pg_advisory_xact_lock").await?;
    let number = |connection: &Connection<'_>, name: &str| {
        connection.pick(format!("CAST($1 ->> '{name}' AS INTEGER)"), format!("($1::jsonb ->> '{name}')::bigint"))
    };
    let (from, after, until) = (number(connection, "run"), number(connection, "after"), number(connection, "until"));
    let sql = format!(
        "SELECT MAX(customer_id) FROM (SELECT customer_id FROM messages WHERE run_id = {from} AND customer_id > {after} ORDER BY customer_id LIMIT 2000) AS slice"
    );
    let ends: Vec<(Option<i64>,)> = connection.read(doing, sql, &json(&json!({ "run": run.0, "after": last }))?).await?;
    let Some(end) = ends.first().and_then(|end| end.0) else { return Ok(None) };
    let input = json(&json!({ "run": run.0, "after": last, "until": end, "measures": measures.rows() }))?;
    // `+ 0`: the people of the slice are found by customer, not all of the run.
    let slice = format!("conversions WHERE run_id + 0 = {from} AND customer_id > {after} AND customer_id <= {until}");
    let sql = format!(
        "SELECT measure, arm, currency, COUNT(*), CAST(SUM(events) AS BIGINT), CAST(SUM(value) AS BIGINT), SUM(CAST(value AS DOUBLE PRECISION) * value)
         FROM {slice} GROUP BY measure, arm, currency"
    );
    let gone: Vec<(i16, i16, String, i64, i64, i64, f64)> = connection.read(doing, sql, &input).await?;
    let mut differences = Differences::default();
    for (measure, arm, currency, customers, events, value, squares) in gone {
        let less = Difference { customers: -customers, events: -events, value: -value, squares: -squares };
        differences.add((Kind::Converted, run.0, measure, arm, currency), less);
    }
    differences.write(connection).await?;
    connection.write(doing, format!("DELETE FROM {slice}"), &input).await?;
    let sql = format!(
        "WITH ms AS MATERIALIZED {measures}
         SELECT e.id AS event, e.customer_id AS customer, e.occurred_at AS at, CASE WHEN ms.reads = 1 THEN {properties} END AS properties,
                e.value, e.currency, r.id AS run, r.version_id AS version, ms.number AS measure, m.arm, m.due_at AS due
         FROM runs r {cross} JOIN ms ON ms.version = r.version_id
         {cross} JOIN messages m ON m.run_id = r.id AND m.customer_id > {after} AND m.customer_id <= {until} AND m.step = 0 AND m.arm >= 0
         {cross} JOIN events e ON e.name = ms.event AND e.customer_id = m.customer_id
                              AND e.occurred_at >= m.due_at AND e.occurred_at < m.due_at + ms.longest
         WHERE r.id = {from} AND r.is_test = 0",
        cross = connection.pick("CROSS", ""),
        properties = connection.pick("e.properties", "e.properties::text"),
        measures = table_in(connection.dialect(), Some("measures"), &MEASURES),
    );
    let candidates: Vec<Candidate> = connection.read(doing, sql, &input).await?;
    add(connection, &candidates, measures).await?;
    Ok(Some(end))
}

/// A candidate that counts, and its worth.
struct Counted<'a> {
    candidate: &'a Candidate,
    value: i64,
    currency: String,
}

/// The candidates inside their windows that qualify, each event once a run and measure.
fn counted<'a>(candidates: &'a [Candidate], measures: &Measures) -> Vec<Counted<'a>> {
    let index: HashMap<(i64, i16), &Measure> = measures.all.iter().map(|measure| ((measure.version.0, measure.number), measure)).collect();
    let mut ends: HashMap<(i64, i64, i16), i64> = HashMap::new();
    let mut seen: HashSet<(i64, i64, i16)> = HashSet::new();
    let mut counted = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let Some(measure) = index.get(&(candidate.version, candidate.measure)) else { continue };
        let end = *ends
            .entry((candidate.due, candidate.version, candidate.measure))
            .or_insert_with(|| super::micros(measure.within.added(from_micros(candidate.due), measures.zone)));
        if candidate.at >= end {
            continue;
        }
        let properties = candidate.properties.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok()).unwrap_or(Value::Null);
        if measure.condition.as_ref().is_some_and(|qualifies| !qualifies(&properties, from_micros(candidate.at)))
            || !seen.insert((candidate.event, candidate.run, candidate.measure))
        {
            continue;
        }
        let (value, currency) = match &measure.value {
            Some(path) => worth(candidate, &properties, path, &measures.currency),
            None => (0, String::new()),
        };
        counted.push(Counted { candidate, value, currency });
    }
    counted
}

/// Minor units and currency of a property: a number in the event's currency (else the workspace's), or written with its own, `300 UAH`.
/// What is no money counts as an event without a value.
fn worth(candidate: &Candidate, properties: &Value, path: &str, workspace: &str) -> (i64, String) {
    let found = path.split('.').try_fold(properties, |value, name| value.get(name));
    let currency = properties.get("currency").and_then(Value::as_str).filter(|code| minor_digits(code).is_some());
    let currency = candidate.currency.as_deref().or(currency).unwrap_or(workspace);
    let money = match found {
        Some(Value::Number(number)) => {
            let digits = minor_digits(currency).unwrap_or(2);
            decimal(&number.to_string(), digits)
                .ok()
                .or_else(|| number.as_f64().and_then(|number| rounded(number, digits)))
                .map(|minor| (minor, currency.to_string()))
        }
        Some(Value::String(text)) => Money::read(text, currency).ok().map(|money| (money.minor, money.currency)),
        _ => None,
    };
    money.or_else(|| Some((candidate.value?, candidate.currency.clone()?))).unwrap_or((0, String::new()))
}

/// Major units as written with more decimals than the currency has, rounded to minor units.
fn rounded(number: f64, digits: u32) -> Option<i64> {
    let minor = (number * 10f64.powi(digits as i32)).round();
    (minor.abs() < 9e15).then_some(minor as i64)
}

async fn add(connection: &mut Connection<'_>, candidates: &[Candidate], measures: &Measures) -> Result<(), Error> {
    #[derive(Serialize)]
    struct Row {
        run: i64,
        measure: i16,
        customer: i64,
        currency: String,
        arm: i16,
        first_at: i64,
        events: i32,
        value: i64,
    }
    let mut rows: BTreeMap<(i64, i16, i64, String), Row> = BTreeMap::new();
    for Counted { candidate, value, currency } in counted(candidates, measures) {
        let Candidate { run, measure, customer, arm, at, .. } = *candidate;
        let row = rows.entry((run, measure, customer, currency.clone())).or_insert(Row {
            run,
            measure,
            customer,
            currency,
            arm,
            first_at: at,
            events: 0,
            value: 0,
        });
        row.first_at = row.first_at.min(at);
        row.events += 1;
        row.value = row.value.saturating_add(value);
    }
    if rows.is_empty() {
        return Ok(());
    }
    let given = table(
        connection.dialect(),
        &[
            ("run", Field::Long),
            ("measure", Field::Small),
            ("customer", Field::Long),
            ("currency", Field::Text),
            ("arm", Field::Small),
            ("first_at", Field::Long),
            ("events", Field::Number),
            ("value", Field::Long),
        ],
    );
    let rows = json(&rows.into_values().collect::<Vec<_>>())?;
    let sql = format!(
        "SELECT given.run, given.measure, COALESCE(v.arm, given.arm) AS arm, given.currency, given.events, given.value, v.value AS before
         FROM {given} AS given LEFT JOIN conversions v ON v.run_id = given.run AND v.measure = given.measure AND v.customer_id = given.customer
             AND v.currency = given.currency"
    );
    let known: Vec<(i64, i16, i16, String, i32, i64, Option<i64>)> = connection.read("read conversions", sql, &rows).await?;
    let mut differences = Differences::default();
    for (run, measure, arm, currency, events, value, before) in known {
        let square = |value: i64| value as f64 * value as f64;
        let squares = square(before.unwrap_or(0).saturating_add(value)) - square(before.unwrap_or(0));
        let more = Difference { customers: i64::from(before.is_none()), events: i64::from(events), value, squares };
        differences.add((Kind::Converted, run, measure, arm, currency), more);
    }
    let sql = format!(
        "INSERT INTO conversions (run_id, measure, customer_id, currency, arm, first_at, events, value)
         SELECT run, measure, customer, currency, arm, first_at, events, value FROM {given} AS given WHERE true
         ORDER BY run, measure, customer, currency
         ON CONFLICT (run_id, measure, customer_id, currency) DO UPDATE SET events = conversions.events + excluded.events,
             value = conversions.value + excluded.value, first_at = {least}(conversions.first_at, excluded.first_at)",
        least = connection.pick("MIN", "LEAST")
    );
    connection.write("record conversions", sql, &rows).await?;
    differences.write(connection).await
}
