//! `posthaste providers`: what sends, whether it answers, and what its webhooks of the last seven days came to.

use super::{Exit, Global, table};
use crate::engine::applied_workspace;
use crate::store::from_micros;
use crate::store::hooks::HookCount;
use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Arguments of `providers`.
#[derive(Debug, Args)]
pub struct Arguments {}

const COLUMNS: [&str; 10] = ["provider", "channel", "kind", "weight", "backup", "state", "since", "node", "why", "webhooks"];

pub async fn run(global: &Global, _: Arguments) -> anyhow::Result<Exit> {
    let store = global.store().await?;
    let (_, workspace) = applied_workspace(&store).await?.context("nothing was applied yet: run `posthaste apply` first")?;
    let breakers = store.breakers().await?;
    let today = global.clock().now().timestamp().div_euclid(86_400);
    let counts = store.hook_counts(today - 6).await?;
    let mut rows: Vec<Value> = Vec::new();
    for (name, settings) in &workspace.providers {
        let row = |state: &str, since: Option<String>, node: Option<String>, why: Option<&str>| {
            json!({ "provider": name, "channel": settings.channel, "kind": settings.kind, "weight": settings.weight, "backup": settings.backup,
                    "state": state, "since": since, "node": node, "why": why, "webhooks": webhooks(&counts, name) })
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

/// `12 taken, 3 refused: signature`; nothing where none came.
fn webhooks(counts: &[HookCount], provider: &str) -> Option<String> {
    let mut outcomes: BTreeMap<&str, i64> = BTreeMap::new();
    for count in counts.iter().filter(|count| count.provider == provider) {
        *outcomes.entry(&count.outcome).or_insert(0) += count.count;
    }
    let words: Vec<String> = outcomes.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
    (!words.is_empty()).then(|| words.join(", "))
}
