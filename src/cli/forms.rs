//! `posthaste forms`: the forms to sign up, who waits to be confirmed, and what the posts of the last seven days came to.

use super::{Exit, Global, table};
use crate::engine::applied_workspace;
use crate::store::signups::FormCount;
use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Arguments of `forms`.
#[derive(Debug, Args)]
pub struct Arguments {}

const COLUMNS: [&str; 5] = ["form", "page", "topics", "waiting", "last_7_days"];

pub async fn run(global: &Global, _: Arguments) -> anyhow::Result<Exit> {
    let store = global.store().await?;
    let (_, workspace) = applied_workspace(&store).await?.context("nothing was applied yet: run `posthaste apply` first")?;
    let today = global.clock().now().timestamp().div_euclid(86_400);
    let counts = store.form_counts(today - 6).await?;
    let waiting = store.signups_waiting().await?;
    let row = |(name, form): (&String, &crate::campaigns::Form)| {
        json!({ "form": name, "page": format!("{}/f/{name}", workspace.public_url), "topics": form.topics.join(", "),
                "waiting": waiting.get(name).copied().unwrap_or(0), "last_7_days": came_to(&counts, name) })
    };
    let rows: Vec<Value> = workspace.forms.iter().map(row).collect();
    if rows.is_empty() {
        eprintln!("There are no forms: see `forms` of posthaste.yaml in the README");
    }
    table::print(global.format, &COLUMNS, &rows)?;
    store.close().await;
    Ok(Exit::Done)
}

/// `12 asked to confirm, 9 confirmed, 3 trap`; nothing where none came.
fn came_to(counts: &[FormCount], form: &str) -> Option<String> {
    let mut outcomes: BTreeMap<&str, i64> = BTreeMap::new();
    for count in counts.iter().filter(|count| count.form == form) {
        *outcomes.entry(&count.outcome).or_insert(0) += count.count;
    }
    let words: Vec<String> = outcomes.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
    (!words.is_empty()).then(|| words.join(", "))
}
