//! `posthaste campaigns`: what is applied, and the brakes.

use super::{Exit, Format, Global, dates, missed, table};
use crate::store::definitions::CampaignRow;
use crate::types::Time;
use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// Arguments of `campaigns`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// All campaigns that were ever applied
    List,
    /// One campaign with its runs
    Show { campaign: String },
    /// Hand nothing over any more, until it is resumed
    Pause { campaign: String },
    /// Go on after a pause; consent, suppression and expiry are asked again
    Resume { campaign: String },
    /// Cancel what has not been handed over of its unfinished runs
    Cancel {
        campaign: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

pub async fn run(global: &Global, arguments: Arguments) -> anyhow::Result<Exit> {
    let store = global.store().await?;
    let now = global.clock().now();
    match arguments.what {
        What::List => {
            let versions = store.applied_versions().await?;
            let rows: Vec<Value> = store
                .campaigns()
                .await?
                .iter()
                .map(|row| {
                    let version = versions.get(&row.key);
                    json!({
                        "campaign": row.key, "title": row.title, "class": row.class, "state": state(row),
                        "version": version.map(|version| version.version), "commit": version.map(|version| version.commit.as_str()),
                    })
                })
                .collect();
            table::print(global.format, &["campaign", "title", "class", "state", "version", "commit"], &rows)?;
        }
        What::Show { campaign } => {
            let Some(row) = store.campaign(&campaign).await? else { bail!(unknown(&campaign)) };
            let schedule = match row.version {
                Some(version) => store.load_definitions(version).await?.campaigns.remove(&campaign).map(|campaign| campaign.schedule),
                None => None,
            };
            let next = schedule.map(|schedule| dates::next(&schedule, now)).unwrap_or_default();
            let runs = super::runs::rows(&store, Some(&campaign)).await?;
            let zone = super::report::measures(global, &store).await?.zone;
            let gone_by = store.missed_of(row.id, Time::UNIX_EPOCH).await?;
            if global.format == Format::Json {
                let all = json!({ "campaign": row.key, "title": row.title, "class": row.class, "state": state(&row), "next": next, "missed": gone_by, "runs": runs });
                println!("{all:#}");
            } else {
                if global.format == Format::Table {
                    println!("{}: {} ({}, {})", row.key, row.title, row.class, state(&row));
                    next.iter().for_each(|date| println!("  next  {}", date.line()));
                    gone_by.iter().for_each(|one| println!("  missed  {}", missed::line(one, zone)));
                }
                table::print(global.format, &super::runs::COLUMNS, &runs)?;
            }
        }
        What::Pause { campaign } => {
            if !store.pause_campaign(&campaign, Some(now)).await? {
                bail!(unknown(&campaign));
            }
            eprintln!("{campaign} is paused; `posthaste campaigns resume {campaign}` lets it go on");
        }
        What::Resume { campaign } => {
            if !store.pause_campaign(&campaign, None).await? {
                bail!(unknown(&campaign));
            }
            eprintln!("{campaign} goes on");
        }
        What::Cancel { campaign, yes } => {
            let Some(row) = store.campaign(&campaign).await? else { bail!(unknown(&campaign)) };
            let waiting = store.funnel(&row.key, None).await?.waiting();
            eprintln!("{waiting} messages of {campaign} wait");
            if !yes && !super::apply::agreed("Cancel them?")? {
                return Ok(Exit::Refused);
            }
            let cancelled = store.cancel_campaign(&campaign, now).await?;
            eprintln!("{cancelled} cancelled; what was under way is finished");
        }
    }
    store.close().await;
    Ok(Exit::Done)
}

fn unknown(key: &str) -> String {
    format!("there is no campaign `{key}` in the database: `posthaste campaigns list` shows all")
}

fn state(row: &CampaignRow) -> &'static str {
    match (row.version, row.paused_at) {
        (None, _) => "retired",
        (Some(_), Some(_)) => "paused",
        (Some(_), None) => "active",
    }
}
