//! `posthaste stop-all` and `resume-all`: the brake over everything.

use super::{Exit, Global, git};
use crate::store::control::Stopped;
use clap::Args;

/// Arguments of `stop-all`.
#[derive(Debug, Args)]
pub struct StopAll {
    /// Why, for those who find everything stopped
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

/// Arguments of `resume-all`.
#[derive(Debug, Args)]
pub struct ResumeAll {
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Asks nobody: whoever pulls a brake is in a hurry.
pub async fn stop(global: &Global, arguments: StopAll) -> anyhow::Result<Exit> {
    let store = global.store().await?;
    let who = git::who(&global.workspace().folder);
    store.stop_all(&Stopped { at: global.clock().now(), who, reason: arguments.reason }).await?;
    eprintln!(
        "Everything is stopped: nothing is planned and no message leaves, but for those under way; `posthaste resume-all` lets it go on"
    );
    store.close().await;
    Ok(Exit::Done)
}

pub async fn resume(global: &Global, arguments: ResumeAll) -> anyhow::Result<Exit> {
    let store = global.store().await?;
    let Some(stopped) = store.stopped().await? else {
        eprintln!("Nothing is stopped as a whole; `posthaste campaigns list` shows what is paused");
        return Ok(Exit::Done);
    };
    let why = if stopped.reason.is_empty() { String::new() } else { format!(": {}", stopped.reason) };
    eprintln!("Everything is stopped since {} by {}{why}", stopped.at.format("%Y-%m-%d %H:%M UTC"), stopped.who);
    let waiting = store.waiting().await?;
    for (campaign, run, count) in &waiting {
        eprintln!("  {count} messages of {campaign}, run {run}, wait");
    }
    if waiting.is_empty() {
        eprintln!("  No message waits");
    }
    if !arguments.yes && !super::apply::agreed("Let it go on?")? {
        return Ok(Exit::Refused);
    }
    let who = git::who(&global.workspace().folder);
    store.resume_all(&who, global.clock().now()).await?;
    eprintln!("Everything goes on; consent, suppression and expiry are asked again before each message");
    store.close().await;
    Ok(Exit::Done)
}
