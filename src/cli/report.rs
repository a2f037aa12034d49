//! `posthaste report CAMPAIGN` and `posthaste report overview`: what campaigns achieved.

use super::sheet::Sheet;
use super::{Exit, Format, Global};
use crate::campaigns;
use crate::reports::{self, Question, model::Report};
use crate::schedule::{self, Rule};
use crate::store::Store;
use crate::store::conversions::Measures;
use crate::types::Time;
use anyhow::Context;
use chrono_tz::Tz;
use clap::Args;

#[derive(Debug, Args)]
pub struct Arguments {
    /// The campaign's key, or `overview` for all campaigns
    campaign: String,
    /// Only the run with this number
    #[arg(long, value_name = "N")]
    run: Option<i64>,
    /// The figures as they stood then: an instant, or local time like `2027-03-02 09:00`
    #[arg(long, value_name = "TIME")]
    as_of: Option<String>,
}

pub async fn run(global: &Global, arguments: Arguments) -> anyhow::Result<Exit> {
    let store = global.store().await?;
    let measures = measures(global, &store).await?;
    let as_of = arguments.as_of.as_deref().map(|text| instant(text, measures.zone)).transpose()?;
    let question = Question { run: arguments.run, as_of, now: global.clock().now(), measures: &measures };
    if arguments.campaign == "overview" {
        anyhow::ensure!(arguments.run.is_none(), "--run belongs to the report of one campaign");
        return overview(global, &store, &question).await;
    }
    let found = store.counted_campaigns(Some(&arguments.campaign)).await?;
    let Some(campaign) = found.first() else { anyhow::bail!(unknown(&store, &arguments.campaign).await?) };
    let report = reports::gather(&store, campaign, &question).await?;
    if report.runs.is_empty()
        && let Some(number) = arguments.run
    {
        anyhow::bail!("`{}` has no run {number}; `posthaste runs list` shows its runs", campaign.key);
    }
    print(global.format, &report, measures.zone)?;
    Ok(Exit::Done)
}

async fn overview(global: &Global, store: &Store, question: &Question<'_>) -> anyhow::Result<Exit> {
    let mut all = Vec::new();
    for campaign in store.counted_campaigns(None).await? {
        all.push(reports::gather(store, &campaign, question).await?);
    }
    match global.format {
        Format::Table if all.is_empty() => eprintln!("No campaign was applied yet; `posthaste apply` does it"),
        Format::Table => print!("{}", reports::overview_table(&all)),
        Format::Json => println!("{:#}", reports::overview_json(&all)),
        Format::Csv => {
            let mut sheet = Sheet::new(std::io::stdout(), ["campaign", "section", "name", "value"])?;
            for report in &all {
                for [section, name, value] in reports::rows(report).iter().filter(|row| row[0] == "funnel" || row[0] == "responses") {
                    sheet.row([&report.campaign, section, name, value])?;
                }
            }
            sheet.flush()?;
        }
        Format::Html => anyhow::bail!("the overview is written as a table, json or csv; the report of one campaign as html too"),
    }
    Ok(Exit::Done)
}

fn print(format: Format, report: &Report, zone: Tz) -> anyhow::Result<()> {
    match format {
        Format::Table => print!("{}", reports::table(report, zone)),
        Format::Json => println!("{}", serde_json::to_string_pretty(report)?),
        Format::Html => print!("{}", reports::page::page(report, zone)),
        Format::Csv => {
            let mut sheet = Sheet::new(std::io::stdout(), ["section", "name", "value"])?;
            for row in reports::rows(report) {
                sheet.row(row)?;
            }
            sheet.flush()?;
        }
    }
    Ok(())
}

/// The measures of all applied versions, with the zone and the currency of the workspace as it was applied last.
pub async fn measures(global: &Global, store: &Store) -> anyhow::Result<Measures> {
    let files = match store.applied_workspace().await? {
        Some(applied) => store.files_of(&applied.manifest).await?,
        None => global.workspace().files().unwrap_or_default(),
    };
    let workspace = campaigns::read(&files).0.map(|definitions| definitions.workspace);
    let zone = workspace.as_ref().map_or(Tz::UTC, |workspace| workspace.zone);
    let currency = workspace.map(|workspace| workspace.currency).unwrap_or_default();
    Ok(store.measures(zone, &currency).await?)
}

/// What to say about a campaign that was never applied.
pub async fn unknown(store: &Store, key: &str) -> anyhow::Result<String> {
    let keys: Vec<String> = store.counted_campaigns(None).await?.into_iter().map(|campaign| campaign.key).collect();
    let near = keys.iter().map(|known| (strsim::damerau_levenshtein(key, known), known)).min().filter(|(distance, _)| *distance <= 3);
    Ok(match near {
        Some((_, known)) => format!("there is no campaign `{key}`; did you mean `{known}`?"),
        None if keys.is_empty() => format!("there is no campaign `{key}`: none was applied yet; `posthaste apply` does it"),
        None => format!("there is no campaign `{key}`; there are: {}", keys.join(", ")),
    })
}

/// An instant, or a local time of the workspace's zone.
fn instant(text: &str, zone: Tz) -> anyhow::Result<Time> {
    match Rule::read_at(text) {
        Ok(Rule::At(local)) => Ok(schedule::resolve(zone, local)),
        Ok(Rule::Instant(instant)) => Ok(instant),
        Ok(_) => anyhow::bail!("`{text}` is no time"),
        Err(error) => Err(error).context("--as-of cannot be read"),
    }
}
