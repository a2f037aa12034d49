//! `posthaste nodes`: the processes that share this database.

use super::{Exit, Global, table};
use crate::store::from_micros;
use crate::store::nodes::Node;
use crate::types::Time;
use clap::Args;
use serde_json::{Value, json};

/// Arguments of `nodes`.
#[derive(Debug, Args)]
pub struct Arguments {}

const COLUMNS: [&str; 8] = ["node", "machine", "process", "roles", "state", "started", "seen", "blocks"];

pub async fn run(global: &Global, _: Arguments) -> anyhow::Result<Exit> {
    let store = global.store().await?;
    let now = global.clock().now();
    let rows: Vec<Value> = store.nodes().await?.iter().map(|node| row(node, now)).collect();
    table::print(global.format, &COLUMNS, &rows)?;
    if rows.is_empty() {
        eprintln!("No engine runs; `posthaste run` starts one");
    }
    store.close().await;
    Ok(Exit::Done)
}

fn row(node: &Node, now: Time) -> Value {
    let until = from_micros(node.alive_until);
    let process = node.boot_id.rsplit('/').nth(1).and_then(|process| process.parse::<u32>().ok());
    let instant = |time: Time| time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    json!({
        "node": node.id, "machine": node.name, "process": process, "roles": node.roles, "state": if until > now { "alive" } else { "gone" },
        "started": instant(from_micros(node.started_at)), "seen": instant(until - crate::engine::LEASE), "blocks": node.blocks,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_did_not_renew_its_lease_is_gone() {
        let now: Time = "2027-03-01T10:00:10Z".parse().unwrap();
        let node = |alive_until: &str| Node {
            id: 7,
            boot_id: "mail-1/ab12-402/311/1".into(),
            name: "mail-1".into(),
            roles: "sender".into(),
            started_at: 1_803_888_000_000_000,
            alive_until: alive_until.parse::<Time>().unwrap().timestamp_micros(),
            blocks: 3,
        };
        let alive = row(&node("2027-03-01T10:00:19Z"), now);
        assert_eq!(
            (alive["state"].as_str(), alive["process"].as_u64(), alive["seen"].as_str()),
            (Some("alive"), Some(311), Some("2027-03-01T10:00:09Z"))
        );
        assert_eq!(row(&node("2027-03-01T10:00:09Z"), now)["state"], "gone");
    }
}
