//! Sums over who converted and over what followed a click, moved by the difference in the transaction that changes those: a report reads a few rows,
//! however many people there are.

use super::Converted;
use crate::store::batch::{Connection, Field, table};
use crate::store::responses::json;
use crate::store::{Error, Store};
use crate::types::RunId;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;

/// What a row adds up. The numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i16)]
pub(super) enum Kind {
    Converted = 1,
    Credited = 2,
}

/// A row's key: kind, run, measure, arm, currency.
pub(super) type Key = (Kind, i64, i16, i16, String);

/// What is added to it, or taken away.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Difference {
    pub customers: i64,
    pub events: i64,
    pub value: i64,
    pub squares: f64,
}

/// Differences to be written together.
#[derive(Debug, Default)]
pub(super) struct Differences(BTreeMap<Key, Difference>);

impl Differences {
    pub fn add(&mut self, key: Key, more: Difference) {
        let sum = self.0.entry(key).or_default();
        sum.customers += more.customers;
        sum.events += more.events;
        sum.value = sum.value.saturating_add(more.value);
        sum.squares += more.squares;
    }

    /// Moves the sums, in the order of their keys.
    pub async fn write(self, connection: &mut Connection<'_>) -> Result<(), Error> {
        #[derive(Serialize)]
        struct Row {
            kind: i16,
            run: i64,
            measure: i16,
            arm: i16,
            currency: String,
            customers: i64,
            events: i64,
            value: i64,
            /// As text: a JSON number would lose its last digits on the way.
            squares: String,
        }
        let changed = self.0.into_iter().filter(|(_, difference)| *difference != Difference::default());
        let rows: Vec<Row> = changed
            .map(|((kind, run, measure, arm, currency), sum)| Row {
                kind: kind as i16,
                run,
                measure,
                arm,
                currency,
                customers: sum.customers,
                events: sum.events,
                value: sum.value,
                squares: sum.squares.to_string(),
            })
            .collect();
        if rows.is_empty() {
            return Ok(());
        }
        let given = table(
            connection.dialect(),
            &[
                ("kind", Field::Small),
                ("run", Field::Long),
                ("measure", Field::Small),
                ("arm", Field::Small),
                ("currency", Field::Text),
                ("customers", Field::Long),
                ("events", Field::Long),
                ("value", Field::Long),
                ("squares", Field::Text),
            ],
        );
        let sql = format!(
            "INSERT INTO sums (kind, run_id, measure, arm, currency, customers, events, value, squares)
             SELECT kind, run, measure, arm, currency, customers, events, value, CAST(squares AS DOUBLE PRECISION) FROM {given} AS given WHERE true
             ORDER BY kind, run, measure, arm, currency
             ON CONFLICT (kind, run_id, measure, arm, currency) DO UPDATE SET customers = sums.customers + excluded.customers,
                 events = sums.events + excluded.events, value = sums.value + excluded.value, squares = sums.squares + excluded.squares"
        );
        connection.write("add up conversions", sql, &json(&rows)?).await.map(drop)
    }
}

impl Store {
    /// The sums of these runs; `None` when one of them was there before sums were kept.
    pub(super) async fn sums(&self, kind: Kind, runs: &[RunId]) -> Result<Option<Vec<Converted>>, Error> {
        let given = table(self.dialect(), &[("run", Field::Long)]);
        let input = json(&runs.iter().map(|run| json!({ "run": run.0 })).collect::<Vec<_>>())?;
        let doing = "read the sums of conversions";
        let old = format!("SELECT r.id FROM {given} AS given JOIN runs r ON r.id = given.run AND r.unsummed <> 0 LIMIT 1");
        let old: Vec<(i64,)> = self.read_batch(doing, old, &input).await?;
        if !old.is_empty() {
            return Ok(None);
        }
        let sql = format!(
            "SELECT s.run_id, s.measure, s.arm, s.currency, s.customers, s.events, s.value, s.squares FROM {given} AS given
             JOIN sums s ON s.kind = {} AND s.run_id = given.run WHERE s.events <> 0 ORDER BY s.run_id, s.measure, s.arm, s.currency",
            kind as i16
        );
        self.read_batch(doing, sql, &input).await.map(Some)
    }
}
