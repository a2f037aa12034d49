//! The ledger's sums of runs that are over: kept when a report has added them up once, and read by the next ones.
//!
//! A run whose messages are all at their end (refused, accepted, failed, expired, cancelled) changes only when a person has what failed tried again, which
//! forgets its sums in the same transaction; `runs.decided` tells whoever added up meanwhile that his sums are old. What bounces and is confirmed goes
//! on, and is read from the messages themselves: an index holds those few. Runs of triggers are never settled: a late event may add a message.

use super::batch::{Connection, Field, table};
use super::reports::{CountedRun, LedgerSum};
use super::tallies::family;
use super::{Error, Store};
use crate::types::{MessageState, RunState};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;

const KEY: [(&str, Field); 6] = [
    ("run", Field::Long),
    ("arm", Field::Small),
    ("channel", Field::Small),
    ("site", Field::Text),
    ("state", Field::Small),
    ("reason", Field::Small),
];

/// States that a message leaves only when a person decides so.
const ENDS: [MessageState; 5] =
    [MessageState::Refused, MessageState::Accepted, MessageState::Failed, MessageState::Expired, MessageState::Cancelled];

#[derive(Serialize)]
struct Row<'a> {
    run: i64,
    arm: i16,
    channel: i16,
    site: &'a str,
    state: i16,
    reason: i16,
    messages: i64,
}

impl Store {
    /// The sums of runs that are settled, as [`Store::ledger_sums`] gives them, by family of the mailbox site.
    pub async fn settled_sums(&self, runs: &[CountedRun]) -> Result<Vec<LedgerSum>, Error> {
        let settled: Vec<_> = runs.iter().filter(|run| run.settled != 0).map(|run| json!({ "run": run.id })).collect();
        if settled.is_empty() {
            return Ok(Vec::new());
        }
        let (given, input) = (table(self.dialect(), &[("run", Field::Long)]), json!(settled).to_string());
        let sql = format!(
            "SELECT s.run_id, s.arm, s.channel, s.site, s.state, s.reason, s.messages, CAST(0 AS BIGINT) AS bounced, CAST(0 AS BIGINT) AS confirmed
             FROM {given} AS given JOIN settled s ON s.run_id = given.run"
        );
        let mut sums: Vec<LedgerSum> = self.read_batch("read the sums of runs that are over", sql, &input).await?;
        for (mark, is_bounce) in [("bounced_at", true), ("confirmed_at", false)] {
            let sql = format!(
                "SELECT m.run_id, m.arm, m.channel, m.site, COUNT(*) FROM {given} AS given
                 JOIN messages m ON m.run_id = given.run AND m.{mark} IS NOT NULL AND m.state = {} GROUP BY m.run_id, m.arm, m.channel, m.site",
                MessageState::Accepted.code()
            );
            let rows: Vec<(i64, i16, i16, String, i64)> = self.read_batch("count what bounced or was confirmed", sql, &input).await?;
            for (run, arm, channel, site, count) in rows {
                let is_it = |sum: &&mut LedgerSum| {
                    (sum.run_id, sum.arm, sum.channel, sum.site.as_str(), sum.state)
                        == (run, arm, channel, family(&site), MessageState::Accepted.code())
                };
                if let Some(sum) = sums.iter_mut().find(is_it) {
                    *if is_bounce { &mut sum.bounced } else { &mut sum.confirmed } += count;
                }
            }
        }
        Ok(sums)
    }

    /// Keeps the sums of a run that is over; does nothing where it is not, or where somebody has decided about its messages since `run` was read.
    pub async fn settle(&self, run: &CountedRun, sums: &[LedgerSum]) -> Result<(), Error> {
        let doing = "keep the sums of a run";
        let own = || sums.iter().filter(|sum| sum.run_id == run.id);
        let is_over = own().all(|sum| ENDS.iter().any(|state| state.code() == sum.state));
        if run.settled != 0 || run.state != RunState::Done.code() || run.by_trigger != 0 || !is_over {
            return Ok(());
        }
        let mut rows: BTreeMap<_, i64> = BTreeMap::new();
        for sum in own() {
            *rows.entry((sum.arm, sum.channel, family(&sum.site), sum.state, sum.reason)).or_default() += sum.messages;
        }
        let rows: Vec<Row> = rows
            .into_iter()
            .map(|((arm, channel, site, state, reason), messages)| Row { run: run.id, arm, channel, site, state, reason, messages })
            .collect();
        let mut change = self.change(doing).await?;
        let mut connection = change.connection();
        let marked = format!(
            "UPDATE runs SET settled = 1 FROM {} AS given WHERE runs.id = given.run AND runs.decided = given.decided AND runs.settled = 0 AND runs.state = {}",
            table(connection.dialect(), &[("run", Field::Long), ("decided", Field::Long)]),
            RunState::Done.code()
        );
        if connection.write(doing, marked, &json!([{ "run": run.id, "decided": run.decided }]).to_string()).await? == 0 {
            return Ok(());
        }
        let given = table(connection.dialect(), &[("run", Field::Long)]);
        let gone = format!("DELETE FROM settled WHERE run_id IN (SELECT run FROM {given} AS given)");
        connection.write(doing, gone, &json!([{ "run": run.id }]).to_string()).await?;
        let mut fields = KEY.to_vec();
        fields.push(("messages", Field::Long));
        let kept = format!(
            "INSERT INTO settled (run_id, arm, channel, site, state, reason, messages) SELECT run, arm, channel, site, state, reason, messages FROM {} AS given",
            table(connection.dialect(), &fields)
        );
        connection.write(doing, kept, &super::responses::json(&rows)?).await?;
        change.commit(doing).await
    }
}

impl Connection<'_> {
    /// A person has decided about messages of this run: its sums are not what they were.
    pub(super) async fn unsettle(&mut self, run: i64) -> Result<(), Error> {
        let sql = format!(
            "UPDATE runs SET settled = 0, decided = decided + 1 FROM {} AS given WHERE runs.id = given.run",
            table(self.dialect(), &[("run", Field::Long)])
        );
        self.write("forget the sums of a run", sql, &json!([{ "run": run }]).to_string()).await.map(drop)
    }
}
