//! `posthaste simulate`: what all campaigns together would do in the coming days. Nothing is sent, and nothing of the base is touched.

use super::{Exit, Format, Global, check, git};
use crate::campaigns;
use crate::engine::applying;
use crate::engine::simulation::{CampaignDay, MANY, Simulation, simulate};
use crate::types::Time;
use clap::Args;
use serde_json::json;
use std::fmt::Write;

/// Arguments of `simulate`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// How many days to look ahead, today included
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=366))]
    days: u32,
    /// The first instant, for example 2027-03-01T00:00:00Z (default: now)
    #[arg(long, value_name = "TIME", value_parser = super::instant)]
    from: Option<Time>,
    /// Go by what is applied instead of by the workspace's files
    #[arg(long)]
    applied: bool,
    /// The same as --format json
    #[arg(long)]
    json: bool,
}

pub async fn run(global: &Global, arguments: Arguments) -> anyhow::Result<Exit> {
    let workspace = global.workspace();
    let from = arguments.from.unwrap_or_else(|| global.clock().now());
    let (store, apply) = if arguments.applied {
        (global.store().await?, None)
    } else {
        let files = workspace.files()?;
        let (definitions, problems) = campaigns::read(&files);
        let Some(definitions) = definitions else {
            check::show(&problems, &files);
            eprintln!("{}", check::summary(&files, &problems));
            return Ok(Exit::Problems);
        };
        let store = workspace.store(definitions.workspace.database.as_deref()).await?;
        let apply = applying(files, definitions, git::state(&workspace.folder), "simulation".into(), from);
        (store, Some(apply))
    };
    let result = simulate(&store, apply, from, arguments.days).await;
    store.close().await;
    let simulation = result?;
    match global.format {
        _ if arguments.json => println!("{}", serde_json::to_string_pretty(&simulation)?),
        Format::Json => println!("{}", serde_json::to_string_pretty(&simulation)?),
        Format::Csv => super::table::print(Format::Csv, COLUMNS, &rows(&simulation))?,
        _ => print!("{}", text(&simulation)),
    }
    Ok(if simulation.failed.is_empty() { Exit::Done } else { Exit::Failed })
}

const COLUMNS: &[&str] = &["date", "campaign", "runs", "selected", "refused", "messages", "sent", "waited"];

fn rows(simulation: &Simulation) -> Vec<serde_json::Value> {
    let of_day = |date: &chrono::NaiveDate, day: &CampaignDay| {
        json!({ "date": date.to_string(), "campaign": day.campaign, "runs": day.runs.len(), "selected": day.selected,
                "refused": day.refused.values().sum::<u64>(), "messages": day.messages, "sent": day.sent(), "waited": day.waited.values().sum::<u64>() })
    };
    simulation.days.iter().flat_map(|day| day.campaigns.iter().map(|campaign| of_day(&day.date, campaign))).collect()
}

/// As people read it.
pub fn text(simulation: &Simulation) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "From {} to {}, days and hours in {}. Nothing was sent; nobody answers in a simulation.",
        simulation.from.format("%Y-%m-%d %H:%M UTC"),
        simulation.until.format("%Y-%m-%d %H:%M UTC"),
        simulation.zone
    );
    if simulation.days.is_empty() {
        let _ = writeln!(out, "\nNothing falls due in these days.");
    }
    let end = simulation
        .zone
        .parse::<chrono_tz::Tz>()
        .map_or(simulation.until.date_naive(), |zone| simulation.until.with_timezone(&zone).date_naive());
    for day in &simulation.days {
        // Runs in each person's zone are planned a day before.
        let ahead = if day.date < end { "" } else { ": planned ahead, it leaves after these days" };
        let _ = writeln!(out, "\n{}{ahead}", day.date.format("%A, %-d %B %Y"));
        for campaign in &day.campaigns {
            one(&mut out, campaign);
        }
    }
    if !simulation.providers.is_empty() {
        let _ = writeln!(out, "\nProviders");
    }
    for peak in &simulation.providers {
        let at = peak.at.format("%Y-%m-%d %H:%M UTC");
        let _ = write!(out, "  {}: {} in all; most in a quarter of an hour: {} at {at}", peak.provider, peak.messages, peak.due);
        let _ = match (peak.rate_per_second, peak.minutes) {
            (Some(rate), Some(minutes)) if minutes > 15.0 => {
                writeln!(out, "; at {rate} a second they take {minutes} minutes, so they leave later than they are due")
            }
            (Some(rate), Some(minutes)) => writeln!(out, "; at {rate} a second they take {minutes} minutes"),
            _ => writeln!(out),
        };
    }
    let crowded: Vec<_> = simulation.weeks.iter().filter(|week| week.crowded > 0).collect();
    if !crowded.is_empty() {
        let _ = writeln!(out, "\nToo much for some: {MANY} campaigns or more in one week");
    }
    for week in crowded {
        let _ = writeln!(out, "  week of {}: {} customers", week.begins.format("%-d %B"), week.crowded);
        for example in &week.examples {
            let _ = writeln!(out, "    {}: {} messages of {}", example.customer, example.messages, example.campaigns.join(", "));
        }
    }
    for failed in &simulation.failed {
        let _ = writeln!(out, "\nfailed: {failed}");
    }
    out
}

fn one(out: &mut String, day: &CampaignDay) {
    let _ = write!(out, "  {}", day.campaign);
    if !day.runs.is_empty() {
        let refused: Vec<String> = day.refused.iter().map(|(word, count)| format!("{count} {word}")).collect();
        let refused = if refused.is_empty() { String::new() } else { format!(", refused {}", refused.join(", ")) };
        let _ = write!(out, ": selected {}{refused}, messages {}", day.selected, day.messages);
    }
    let _ = writeln!(out);
    if !day.sent.is_empty() {
        let hours: Vec<String> = day.sent.iter().map(|hour| format!("{:02}:00 {} {}", hour.hour, hour.channel, hour.messages)).collect();
        let _ = writeln!(out, "    sent {}: {}", day.sent(), hours.join(", "));
    }
    for (why, count) in &day.waited {
        let _ = writeln!(out, "    {count} of them waited: {why}");
    }
    for (word, count) in &day.other {
        let _ = writeln!(out, "    {count} {word} at the end");
    }
    for (currency, amount) in &day.cost {
        let _ = writeln!(out, "    cost {amount:.2} {currency}");
    }
}
