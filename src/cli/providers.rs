//! `posthaste providers`: what sends, and whether it answers.

use super::{Exit, Global, table};
use crate::engine::applied_workspace;
use crate::store::from_micros;
use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

/// Arguments of `providers`.
#[derive(Debug, Args)]
pub struct Arguments {}

const COLUMNS: [&str; 9] = ["provider", "channel", "kind", "weight", "backup", "state", "since", "node", "why"];

pub async fn run(global: &Global, _: Arguments) -> anyhow::Result<Exit> {
    let store = global.store().await?;
    let (_, workspace) = applied_workspace(&store).await?.context("nothing was applied yet: run `posthaste apply` first")?;
    let breakers = store.breakers().await?;
    let mut rows: Vec<Value> = Vec::new();
    for (name, settings) in &workspace.providers {
        let row = |state: &str, since: Option<String>, node: Option<String>, why: Option<&str>| {
            json!({ "provider": name, "channel": settings.channel, "kind": settings.kind, "weight": settings.weight, "backup": settings.backup,
                    "state": state, "since": since, "node": node, "why": why })
        };
        let open: Vec<Value> = breakers
            .iter()
            .filter(|(_, _, provider, _, _)| provider == name)
            .map(|(machine, node, _, since, why)| {
                let since = from_micros(*since).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
                row("does not answer", Some(since), Some(format!("{machine} ({node})")), Some(why))
            })
            .collect();
        if open.is_empty() {
            rows.push(row("usual", None, None, None));
        }
        rows.extend(open);
    }
    table::print(global.format, &COLUMNS, &rows)?;
    store.close().await;
    Ok(Exit::Done)
}
