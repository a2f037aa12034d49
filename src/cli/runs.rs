//! `posthaste runs`: occurrences with their sums.

use super::{Exit, Global, table};
use crate::store::Store;
use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// Arguments of `runs`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// All runs, or those of one campaign
    List { campaign: Option<String> },
    /// One run: refusals by reason, messages by state, arms
    Show { campaign: String, number: i64 },
}

/// Columns of the listing.
pub const COLUMNS: [&str; 10] = ["campaign", "run", "state", "due", "selected", "refused", "messages", "waiting", "accepted", "failed"];

pub async fn run(global: &Global, arguments: Arguments) -> anyhow::Result<Exit> {
    let store = global.store().await?;
    match arguments.what {
        What::List { campaign } => table::print(global.format, &COLUMNS, &rows(&store, campaign.as_deref()).await?)?,
        What::Show { campaign, number } => {
            let Some(run) = store.runs_of(Some(&campaign)).await?.into_iter().find(|run| run.number == number) else {
                bail!("campaign `{campaign}` has no run {number}: `posthaste runs list {campaign}` shows all");
            };
            let funnel = store.funnel(&campaign, Some(number)).await?;
            let mut sums = vec![json!({ "what": "selected", "count": funnel.selected() })];
            sums.extend(funnel.refused.iter().map(|(word, count)| json!({ "what": format!("refused: {word}"), "count": count })));
            sums.extend(funnel.messages.iter().map(|(state, count)| json!({ "what": state.word(), "count": count })));
            let arms: Vec<String> = store.arms(run.id).await?.into_iter().map(|arm| arm.name).collect();
            eprintln!("{campaign}, run {number}, due {}, {}; arms: {}", run.due_at, run.state, arms.join(", "));
            table::print(global.format, &["what", "count"], &sums)?;
        }
    }
    store.close().await;
    Ok(Exit::Done)
}

/// A row for each run.
pub async fn rows(store: &Store, campaign: Option<&str>) -> anyhow::Result<Vec<Value>> {
    let mut rows = Vec::new();
    for run in store.runs_of(campaign).await? {
        let funnel = store.funnel(&run.key, Some(run.number)).await?;
        rows.push(json!({
            "campaign": run.key, "run": run.number, "state": run.state, "due": run.due_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            "selected": funnel.selected(), "refused": funnel.refused(), "messages": funnel.all_messages(), "waiting": funnel.waiting(),
            "accepted": funnel.accepted(), "failed": funnel.in_state(crate::types::MessageState::Failed),
        }));
    }
    Ok(rows)
}
