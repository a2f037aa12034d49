//! `posthaste runs`: occurrences with their sums, and the brakes of one.

use super::{Exit, Global, table};
use crate::store::Store;
use crate::store::runs::Run;
use anyhow::{Context, bail};
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
    /// Hand nothing of this run over any more, until it is resumed
    Pause { campaign: String, number: i64 },
    /// Go on after a pause; consent, suppression and expiry are asked again
    Resume { campaign: String, number: i64 },
    /// Cancel what has not been handed over of this run
    Cancel {
        campaign: String,
        number: i64,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Columns of the listing.
pub const COLUMNS: [&str; 11] =
    ["campaign", "run", "state", "due", "selected", "refused", "messages", "waiting", "accepted", "failed", "left_out"];

pub async fn run(global: &Global, arguments: Arguments) -> anyhow::Result<Exit> {
    let store = global.store().await?;
    match arguments.what {
        What::List { campaign } => table::print(global.format, &COLUMNS, &rows(&store, campaign.as_deref()).await?)?,
        What::Show { campaign, number } => {
            let run = named(&store, &campaign, number).await?;
            let funnel = store.funnel(&campaign, Some(number)).await?;
            let mut sums = vec![json!({ "what": "selected", "count": funnel.selected() })];
            sums.extend(funnel.refused.iter().map(|(word, count)| json!({ "what": format!("refused: {word}"), "count": count })));
            sums.extend(funnel.messages.iter().map(|(state, count)| json!({ "what": state.word(), "count": count })));
            let arms: Vec<String> = store.arms(run.id).await?.into_iter().map(|arm| arm.name).collect();
            eprintln!("{campaign}, run {number}, due {}, {}; arms: {}", run.due_at, run.state, arms.join(", "));
            table::print(global.format, &["what", "count"], &sums)?;
        }
        What::Pause { campaign, number } => {
            let run = named(&store, &campaign, number).await?;
            if !store.pause_run(run.id).await? {
                bail!("run {number} of {campaign} is {}: there is nothing to pause", run.state);
            }
            eprintln!("Run {number} of {campaign} is paused; `posthaste runs resume {campaign} {number}` lets it go on");
        }
        What::Resume { campaign, number } => {
            let run = named(&store, &campaign, number).await?;
            if !store.resume_run(run.id).await? {
                bail!("run {number} of {campaign} is {}, not paused", run.state);
            }
            eprintln!("Run {number} of {campaign} goes on");
        }
        What::Cancel { campaign, number, yes } => {
            let run = named(&store, &campaign, number).await?;
            let waiting = store.funnel(&campaign, Some(number)).await?.waiting();
            eprintln!("{waiting} messages of {campaign}, run {number}, wait");
            if !yes && !super::apply::agreed("Cancel them?")? {
                return Ok(Exit::Refused);
            }
            let cancelled = store.cancel_run(run.id, global.clock().now()).await?;
            eprintln!("{cancelled} cancelled; what was under way is finished");
        }
    }
    store.close().await;
    Ok(Exit::Done)
}

async fn named(store: &Store, campaign: &str, number: i64) -> anyhow::Result<Run> {
    let found = store.runs_of(Some(campaign)).await?.into_iter().find(|run| run.number == number);
    found.with_context(|| format!("campaign `{campaign}` has no run {number}: `posthaste runs list {campaign}` shows all"))
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
            "left_out": run.left_out,
        }));
    }
    Ok(rows)
}
