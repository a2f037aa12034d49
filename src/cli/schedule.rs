//! `posthaste schedule next EXPR`: when a schedule would fire, on the wall and in UTC, and what clock changes do to it.

use super::sheet::Sheet;
use super::{Exit, Format, Global};
use crate::diagnostics::Problems;
use crate::schedule::{self, Bounds, Rule, TIME_ZONE_DATA};
use crate::types::Time;
use crate::yaml;
use anyhow::Context;
use chrono::{NaiveDateTime, Timelike};
use chrono_tz::Tz;
use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// When would this fire: local time, UTC, and a note about clock changes
    Next(Next),
}

#[derive(Debug, Args)]
struct Next {
    /// A cron expression of five fields, words like `monday and thursday at 10:00`, or a date and time
    expression: String,
    /// Read it as Quartz does: six or seven fields that begin with the second, the week from 1 (Sunday) to 7
    #[arg(long)]
    quartz: bool,
    /// Dates on which nothing starts, like `2027-12-24` or `2027-12-24 to 2027-12-26`; may be given again
    #[arg(long, value_name = "DATES", value_parser = crate::literals::DateRange::read)]
    blackout: Vec<crate::literals::DateRange>,
    /// The time zone (default: that of the workspace, else UTC)
    #[arg(long, value_name = "ZONE", value_parser = crate::literals::codes::zone)]
    zone: Option<Tz>,
    /// Times strictly later than this: an instant, or local time like `2027-03-01 10:00` (default: now)
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// How many
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: u32,
}

pub async fn run(global: &Global, arguments: Arguments) -> anyhow::Result<Exit> {
    let Action::Next(next) = arguments.action;
    let rule = match if next.quartz { Rule::read_quartz(&next.expression) } else { read(&next.expression) } {
        Ok(rule) => rule,
        Err(error) => {
            eprintln!("{}", pointed(&next.expression, &error));
            return Ok(Exit::Usage);
        }
    };
    let zone = next.zone.or_else(|| zone_of(global)).unwrap_or(Tz::UTC);
    let from = next.from.as_deref().map_or_else(|| Ok(global.clock().now()), |text| instant(text, zone))?;
    let bounds = Bounds { blackout: next.blackout, ..Bounds::default() };
    let occurrences: Vec<_> = std::iter::successors(rule.after(from, zone, &bounds), |last| rule.after(last.instant, zone, &bounds))
        .take(next.count as usize)
        .collect();
    if occurrences.is_empty() {
        eprintln!("It does not fire after {}", from.format("%Y-%m-%d %H:%M UTC"));
    }
    print(global.format, zone, &occurrences)?;
    Ok(Exit::Done)
}

/// Words, cron or a single time: told apart by how they begin, since no expression is two of them.
fn read(expression: &str) -> Result<Rule, schedule::Error> {
    let cron = |c: char| c.is_ascii_digit() || "*,-/?@".contains(c);
    let first = expression.split_whitespace().next().unwrap_or_default();
    if let Ok(at) = Rule::read_at(expression) {
        return Ok(at);
    }
    let second = expression.split_whitespace().nth(1).unwrap_or_default();
    let counted_words = first.chars().all(|c| c.is_ascii_digit()) && second.chars().all(char::is_alphabetic) && !second.is_empty();
    if first.chars().all(cron) && !counted_words { Rule::read_cron(expression) } else { Rule::read_every(expression) }
}

/// The expression with what is at fault underlined.
fn pointed(expression: &str, error: &schedule::Error) -> String {
    let before = expression.get(..error.range.start).unwrap_or_default().chars().count();
    let length = expression.get(error.range.clone()).unwrap_or_default().chars().count().max(1);
    format!("{}\n\n    {expression}\n    {}{}\n\n{}", error.message, " ".repeat(before), "^".repeat(length), error.help)
}

/// The zone of posthaste.yaml, where there is one that can be read.
fn zone_of(global: &Global) -> Option<Tz> {
    let text = std::fs::read_to_string(global.workspace.join("posthaste.yaml")).ok()?;
    let root = yaml::read("posthaste.yaml", &text, &mut Problems::default())?;
    root.get("zone")?.text()?.parse().ok()
}

fn instant(text: &str, zone: Tz) -> anyhow::Result<Time> {
    match Rule::read_at(text) {
        Ok(Rule::At(local)) => Ok(schedule::resolve(zone, local)),
        Ok(Rule::Instant(instant)) => Ok(instant),
        Ok(_) => anyhow::bail!("`{text}` is no time"),
        Err(error) => Err(error).context("--from cannot be read"),
    }
}

/// Seconds only where there are some.
fn wall(local: NaiveDateTime) -> String {
    let seconds = if local.second() > 0 { ":%S" } else { "" };
    local.format(&format!("%a %Y-%m-%d %H:%M{seconds}")).to_string()
}

fn utc(instant: Time) -> String {
    instant.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn print(format: Format, zone: Tz, occurrences: &[schedule::Occurrence]) -> anyhow::Result<()> {
    let note = |occurrence: &schedule::Occurrence| occurrence.note.map(|note| note.to_string()).unwrap_or_default();
    match format {
        Format::Json => {
            let rows: Vec<_> = occurrences
                .iter()
                .map(|occurrence| {
                    let local = occurrence.local.format("%Y-%m-%dT%H:%M:%S").to_string();
                    serde_json::json!({ "local": local, "utc": utc(occurrence.instant), "note": occurrence.note.map(|note| note.to_string()) })
                })
                .collect();
            let all = serde_json::json!({ "zone": zone.name(), "time_zone_data": TIME_ZONE_DATA, "occurrences": rows });
            println!("{}", serde_json::to_string_pretty(&all)?);
        }
        Format::Csv => {
            let mut sheet = Sheet::new(std::io::stdout(), ["local", "utc", "note"])?;
            for occurrence in occurrences {
                let local = occurrence.local.format("%Y-%m-%d %H:%M:%S").to_string();
                sheet.row([local, utc(occurrence.instant), note(occurrence)])?;
            }
            sheet.flush()?;
        }
        Format::Table => {
            for occurrence in occurrences {
                println!("{}  {}  {}", wall(occurrence.local), utc(occurrence.instant), note(occurrence));
            }
            eprintln!("{zone}, time zone data {TIME_ZONE_DATA}");
        }
        Format::Html => anyhow::bail!("schedule next is written as a table, json or csv"),
    }
    Ok(())
}
