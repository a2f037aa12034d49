//! The tallies of a run counted anew from its events.

use super::write::{First, counted, write_firsts};
use super::{Counting, Facts, Id, json, read_events};
use crate::store::Error;
use crate::store::batch::{Connection, Field, table};
use crate::store::tallies::{self, Key};
use crate::types::RunId;
use std::collections::BTreeMap;

pub(super) async fn rebuild(connection: &mut Connection<'_>, run: RunId, counting: &Counting) -> Result<(), Error> {
    let doing = "rebuild the tallies";
    if let Connection::Postgres(_) = connection {
        connection.write(doing, "SELECT pg_advisory_xact_lock(hashtext('rebuild tallies' || $1))".into(), &run.0.to_string()).await?;
    }
    let mut counts: BTreeMap<Key, i64> = BTreeMap::new();
    let mut firsts = Vec::new();
    let mut last = 0;
    loop {
        let lock = connection.pick("", "FOR NO KEY UPDATE OF m");
        let sql = format!(
            "SELECT m.id, m.run_id, m.customer_id, m.step, m.arm, m.channel, m.site, m.address, m.accepted_at, r.is_test,
                    CAST(NULL AS TEXT) AS topic, CAST(0 AS BIGINT) AS links, m.state, CAST(0 AS BIGINT) AS triggers, CAST(0 AS BIGINT) AS measures
             FROM {given} AS given JOIN runs r ON r.id = given.run JOIN messages m ON m.run_id = r.id AND m.id > given.last
             WHERE r.is_test = 0 AND EXISTS (SELECT 1 FROM events e WHERE e.message_id = m.id) ORDER BY m.id LIMIT 2000 {lock}",
            given = table(connection.dialect(), &[("run", Field::Long), ("last", Field::Long)])
        );
        let page: Vec<Facts> = connection.read(doing, sql, &json(&[serde_json::json!({ "run": run.0, "last": last })])?).await?;
        let Some(end) = page.last().map(|facts| facts.id) else { break };
        let events = read_events(connection, page.iter().map(|facts| facts.id)).await?;
        for facts in &page {
            let (new, new_firsts) = counted(facts, events.get(&facts.id).map_or(&[], Vec::as_slice), counting);
            new.into_iter().for_each(|(key, count)| *counts.entry(key).or_insert(0) += count);
            firsts.extend(new_firsts.iter().map(|(&(kind, link), &at)| First { message_id: facts.id, kind, link, at }));
        }
        last = end;
    }
    let given = table(connection.dialect(), &[("id", Field::Long)]);
    let ids = json(&[Id { id: run.0 }])?;
    connection.write(doing, format!("DELETE FROM tallies WHERE run_id IN (SELECT id FROM {given} AS given)"), &ids).await?;
    let sql = format!("DELETE FROM firsts WHERE message_id IN (SELECT id FROM messages WHERE run_id IN (SELECT id FROM {given} AS given))");
    connection.write(doing, sql, &ids).await?;
    tallies::add(connection, &counts, counting.slot).await?;
    for page in firsts.chunks(5000) {
        write_firsts(connection, page, &[]).await?;
    }
    Ok(())
}
