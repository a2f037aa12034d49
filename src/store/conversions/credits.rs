//! What followed a click: which message each measured event credits, the one of the customer's last human click (in any campaign) before it, if that
//! was within the measure's window. Kept when the event comes in, and found anew where a click comes later than what followed it, or its verdict changes.
//!
//! On PostgreSQL both lock the customers, in the order of their numbers: of a click and an event at the same moment the second sees the first.

use super::sums::{Difference, Differences, Kind};
use super::{Candidate, Counted, MEASURES, Measures, counted};
use crate::store::batch::{Connection, Field, table, table_in};
use crate::store::responses::json;
use crate::store::{Error, Store};
use crate::types::{RunId, Verdict};
use chrono_tz::Tz;
use serde::Serialize;
use serde_json::{Value, json};

/// A customer whose clicks have changed, and from when on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Changed {
    pub customer: i64,
    pub since: i64,
}

const CHANGED: [(&str, Field); 2] = [("customer", Field::Long), ("since", Field::Long)];

/// Waits for others who write about these customers.
pub(super) async fn lock(connection: &mut Connection<'_>, mut customers: Vec<i64>) -> Result<(), Error> {
    if let Connection::Postgres(_) = connection
        && !customers.is_empty()
    {
        customers.sort_unstable();
        customers.dedup();
        let rows: Vec<Value> = customers.iter().map(|id| json!({ "id": id })).collect();
        let given = table(connection.dialect(), &[("id", Field::Long)]);
        let sql = format!("SELECT c.id FROM customers c WHERE c.id IN (SELECT id FROM {given} AS given) ORDER BY c.id FOR NO KEY UPDATE");
        let _: Vec<(i64,)> = connection.read("lock customers", sql, &json(&rows)?).await?;
    }
    Ok(())
}

/// Credits events that the same transaction has just recorded, with their numbers.
pub(super) async fn keep(connection: &mut Connection<'_>, events: &[i64], measures: &Measures) -> Result<(), Error> {
    let events: Vec<Value> = events.iter().map(|id| json!({ "id": id })).collect();
    let given = table_in(connection.dialect(), Some("events"), &[("id", Field::Long)]);
    let from = format!("SELECT e.id FROM {given} AS given {} JOIN events e ON e.id = given.id", connection.pick("CROSS", ""));
    let found = candidates(connection, &from, json!({ "events": events, "measures": measures.rows() })).await?;
    write(connection, counted(&found, measures), Differences::default()).await
}

/// Those among these customers to whom something measured has happened since.
pub async fn disputed(connection: &mut Connection<'_>, changed: &[Changed]) -> Result<Vec<Changed>, Error> {
    lock(connection, changed.iter().map(|changed| changed.customer).collect()).await?;
    let sql = format!(
        "SELECT DISTINCT given.customer, given.since FROM {} AS given CROSS JOIN (SELECT DISTINCT event FROM measures) AS n
         {join} JOIN events e ON e.name = n.event AND e.customer_id = given.customer AND e.occurred_at >= given.since",
        table(connection.dialect(), &CHANGED),
        join = connection.pick("CROSS", "")
    );
    let rows: Vec<(i64, i64)> = connection.read("look what followed clicks", sql, &json(&changed)?).await?;
    Ok(rows.into_iter().map(|(customer, since)| Changed { customer, since }).collect())
}

/// Finds anew what these customers' events credit, from the moment on that is given.
pub async fn find_anew(connection: &mut Connection<'_>, changed: &[Changed], measures: &Measures) -> Result<(), Error> {
    let given = table(connection.dialect(), &CHANGED);
    let among = format!(
        "(customer_id, event_id, measure) IN (SELECT c.customer_id, c.event_id, c.measure FROM {given} AS given JOIN credits c ON c.customer_id = given.customer AND c.at >= given.since)"
    );
    let differences = forget(connection, &among, &json(&changed)?).await?;
    let given = table_in(connection.dialect(), Some("changed"), &CHANGED);
    let from = format!(
        "SELECT DISTINCT e.id FROM {given} AS given CROSS JOIN (SELECT DISTINCT event FROM ms) AS n
         {join} JOIN events e ON e.name = n.event AND e.customer_id = given.customer AND e.occurred_at >= given.since",
        join = connection.pick("CROSS", "")
    );
    let found = candidates(connection, &from, json!({ "changed": changed, "measures": measures.rows() })).await?;
    write(connection, counted(&found, measures), differences).await
}

/// Takes credits away; gives by what the sums move.
async fn forget(connection: &mut Connection<'_>, among: &str, input: &str) -> Result<Differences, Error> {
    let sql = format!("DELETE FROM credits WHERE {among} RETURNING run_id, measure, arm, currency, value");
    let gone: Vec<(i64, i16, i16, String, i64)> = connection.read("take credits back", sql, input).await?;
    let mut differences = Differences::default();
    for (run, measure, arm, currency, value) in gone {
        differences.add((Kind::Credited, run, measure, arm, currency), Difference { events: -1, value: -value, ..Difference::default() });
    }
    Ok(differences)
}

/// The events that `from` selects by number, each with the message of the last click before it, by measure of that message's version.
async fn candidates(connection: &mut Connection<'_>, from: &str, input: Value) -> Result<Vec<Candidate>, Error> {
    let sql = format!(
        "WITH ms AS MATERIALIZED {measures},
         happened AS MATERIALIZED (
             SELECT e.id, e.name, e.customer_id, e.occurred_at,
                    (SELECT k.id FROM events k WHERE k.name = 'message.clicked' AND k.customer_id = e.customer_id AND k.occurred_at <= e.occurred_at
                        AND k.verdict <> {machine} ORDER BY k.occurred_at DESC, k.message_id DESC LIMIT 1) AS click
             FROM ({from}) AS f {cross} JOIN events e ON e.id = f.id WHERE e.name IN (SELECT event FROM ms))
         SELECT h.id AS event, h.customer_id AS customer, h.occurred_at AS at, CASE WHEN ms.reads = 1 THEN {properties} END AS properties,
                e.value, e.currency, r.id AS run, r.version_id AS version, ms.number AS measure, m.arm, k.occurred_at AS due
         FROM happened h {cross} JOIN events k ON k.id = h.click {cross} JOIN messages m ON m.id = k.message_id
         {cross} JOIN runs r ON r.id = m.run_id AND r.is_test = 0
         {cross} JOIN ms ON ms.version = r.version_id AND ms.event = h.name AND h.occurred_at < k.occurred_at + ms.longest
         {cross} JOIN events e ON e.id = h.id",
        cross = connection.pick("CROSS", ""),
        machine = Verdict::Machine.code(),
        properties = connection.pick("e.properties", "e.properties::text"),
        measures = table_in(connection.dialect(), Some("measures"), &MEASURES),
    );
    connection.read("find what followed clicks", sql, &json(&input)?).await
}

async fn write(connection: &mut Connection<'_>, counted: Vec<Counted<'_>>, mut differences: Differences) -> Result<(), Error> {
    #[derive(Serialize)]
    struct Row {
        customer: i64,
        event: i64,
        measure: i16,
        run: i64,
        arm: i16,
        at: i64,
        currency: String,
        value: i64,
    }
    let mut rows = Vec::with_capacity(counted.len());
    for Counted { candidate, value, currency } in counted {
        let Candidate { customer, event, measure, run, arm, at, .. } = *candidate;
        let key = (Kind::Credited, run, measure, arm, currency.clone());
        differences.add(key, Difference { events: 1, value, ..Difference::default() });
        rows.push(Row { customer, event, measure, run, arm, at, currency, value });
    }
    if !rows.is_empty() {
        rows.sort_by_key(|row| (row.customer, row.event, row.measure));
        let fields = [
            ("customer", Field::Long),
            ("event", Field::Long),
            ("measure", Field::Small),
            ("run", Field::Long),
            ("arm", Field::Small),
            ("at", Field::Long),
            ("currency", Field::Text),
            ("value", Field::Long),
        ];
        let sql = format!(
            "INSERT INTO credits (customer_id, event_id, measure, run_id, arm, at, currency, value)
             SELECT customer, event, measure, run, arm, at, currency, value FROM {} AS given",
            table(connection.dialect(), &fields)
        );
        connection.write("credit messages", sql, &json(&rows)?).await?;
    }
    differences.write(connection).await
}

impl Store {
    /// The measures of all applied versions, in the zone given and the currency of the workspace as it was applied last.
    pub(in crate::store) async fn applied_measures(&self, zone: Tz) -> Result<Measures, Error> {
        let currency = match self.applied_workspace_id().await? {
            Some(version) => self.load_workspace(version).await?.currency,
            None => String::new(),
        };
        self.measures(zone, &currency).await
    }

    /// Credits the messages of a run anew from all its clicks, in one transaction: for runs that were there before credits were kept.
    pub async fn rebuild_credits(&self, run: RunId, measures: &Measures) -> Result<(), Error> {
        let doing = "rebuild what followed clicks";
        let mut change = self.change(doing).await?;
        let mut connection = change.connection();
        let given = table(connection.dialect(), &[("run", Field::Long)]);
        let input = json(&json!([{ "run": run.0 }]))?;
        let gone = forget(&mut connection, &format!("run_id IN (SELECT run FROM {given} AS given)"), &input).await?;
        let clickers = format!(
            "SELECT DISTINCT m.customer_id FROM {given} AS given JOIN messages m ON m.run_id = given.run
             JOIN events k ON k.message_id = m.id AND k.name = 'message.clicked' AND k.verdict <> {}",
            Verdict::Machine.code()
        );
        let clickers: Vec<(i64,)> = connection.read(doing, clickers, &input).await?;
        let changed: Vec<Changed> = clickers.into_iter().map(|(customer,)| Changed { customer, since: i64::MIN / 2 }).collect();
        gone.write(&mut connection).await?;
        find_anew(&mut connection, &changed, measures).await?;
        change.commit(doing).await
    }
}
