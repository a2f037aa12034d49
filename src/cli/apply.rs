//! `posthaste apply`: what the files say becomes what engines do.

use super::{Exit, Format, Global, check, git};
use crate::campaigns::{self, Definitions};
use crate::diagnostics::{Files, Problems};
use crate::engine::applying;
use crate::store::Store;
use crate::store::definitions::{Change, ChangeKind, WORKSPACE, manifest, manifest_hash};
use crate::types::Time;
use clap::Args;
use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal, Write};

/// Arguments of `apply`.
#[derive(Debug, Args)]
pub struct Apply {
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

pub async fn run(global: &Global, arguments: Apply) -> anyhow::Result<Exit> {
    let workspace = global.workspace();
    let files = workspace.files()?;
    let (definitions, problems) = campaigns::read(&files);
    let Some(definitions) = definitions else {
        check::show(&problems, &files);
        eprintln!("{}", check::summary(&files, &problems));
        return Ok(Exit::Problems);
    };
    let drafts: Vec<String> =
        definitions.campaigns.values().filter(|campaign| campaign.draft).map(|campaign| campaign.key.clone()).collect();
    let store = workspace.store(definitions.workspace.database.as_deref()).await?;
    let late = late(&store, &files, &definitions, global.clock().now()).await?;
    if late.count() > 0 {
        check::show(&late, &files);
        eprintln!("Nothing was applied");
        return Ok(Exit::Problems);
    }
    let who = git::who(&workspace.folder);
    let apply = applying(files, definitions, git::state(&workspace.folder), who, global.clock().now());
    let reaches: BTreeMap<&str, String> =
        apply.campaigns.iter().map(|campaign| (campaign.key.as_str(), manifest_hash(&manifest(&apply.files, &campaign.reaches)))).collect();
    let coming = coming(&store, &reaches).await?;
    if !coming.is_empty() && !arguments.yes {
        for line in &coming {
            eprintln!("{line}");
        }
        if !agreed("Apply?")? {
            eprintln!("Nothing was applied");
            return Ok(Exit::Refused);
        }
    }
    let changes = store.apply(&apply).await?;
    store.tell().await?;
    show(global, &changes, &apply.commit, &drafts)?;
    store.close().await;
    Ok(Exit::Done)
}

/// Campaigns that were never applied and whose only time has gone by.
async fn late(store: &Store, files: &Files, definitions: &Definitions, now: Time) -> anyhow::Result<Problems> {
    let applied = store.applied_versions().await?;
    let mut problems = Problems::default();
    for campaign in definitions.campaigns.values().filter(|campaign| !campaign.draft && !applied.contains_key(&campaign.key)) {
        if let Some(problem) = campaigns::in_the_past(files, campaign, now) {
            problems.push(problem);
        }
    }
    Ok(problems)
}

/// What an apply would change, a line each.
async fn coming(store: &Store, reaches: &BTreeMap<&str, String>) -> anyhow::Result<Vec<String>> {
    let applied = store.applied_versions().await?;
    let mut lines = Vec::new();
    for (key, hash) in reaches {
        match applied.get(*key) {
            None => lines.push(format!("  add     {key}")),
            Some(version) if version.hash != *hash => lines.push(format!("  change  {key} (version {} is in force)", version.version)),
            Some(_) => {}
        }
    }
    lines.extend(applied.keys().filter(|key| !reaches.contains_key(key.as_str())).map(|key| format!("  retire  {key}")));
    if !lines.is_empty() {
        lines.insert(0, format!("An apply would change {} of the {WORKSPACE}:", counted(lines.len())));
    }
    Ok(lines)
}

fn counted(count: usize) -> String {
    format!("{count} {}", if count == 1 { "campaign" } else { "campaigns" })
}

/// Asks the person at the terminal; nobody there is a no.
pub fn agreed(question: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        eprintln!("Nobody is there to ask; write --yes");
        return Ok(false);
    }
    eprint!("{question} [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn word(change: ChangeKind) -> &'static str {
    match change {
        ChangeKind::Added => "added",
        ChangeKind::Changed => "changed",
        ChangeKind::Unchanged => "unchanged",
        ChangeKind::Retired => "retired",
    }
}

fn show(global: &Global, changes: &[Change], commit: &str, drafts: &[String]) -> anyhow::Result<()> {
    match global.format {
        Format::Json => {
            let rows: Vec<_> = changes
                .iter()
                .map(|change| serde_json::json!({ "campaign": change.key, "change": word(change.change), "version": change.version, "commit": commit }))
                .collect();
            println!("{}", serde_json::to_string_pretty(&rows)?);
        }
        _ => {
            for change in changes {
                println!("{:<10} {} (version {})", word(change.change), change.key, change.version);
            }
            for draft in drafts {
                println!("{:<10} {draft}", "draft");
            }
        }
    }
    let changed = changes.iter().filter(|change| change.change != ChangeKind::Unchanged).count();
    eprintln!("{} changed, commit {commit}", counted(changed));
    Ok(())
}
