//! `posthaste check`: every problem of every file, without a database.

use super::sheet::Sheet;
use super::{Exit, Format, Global};
use crate::campaigns;
use crate::diagnostics::{Files, Problems};
use clap::Args;
use std::io::IsTerminal;

/// Columns at which long lines are cut.
const WIDTH: usize = 120;

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct Check {}

pub async fn run(global: &Global, _arguments: Check) -> anyhow::Result<Exit> {
    let files = global.workspace().files()?;
    let (_, problems) = campaigns::read(&files);
    match global.format {
        Format::Json => println!("{:#}", problems.to_json(&files)),
        Format::Csv => lines(&problems, &files)?,
        Format::Table | Format::Html => show(&problems, &files),
    }
    eprintln!("{}", summary(&files, &problems));
    Ok(if problems.count() > 0 { Exit::Problems } else { Exit::Done })
}

/// Prints problems as a person reads them; colours where the output is a terminal.
pub fn show(problems: &Problems, files: &Files) {
    print!("{}", problems.render(files, std::io::stdout().is_terminal(), WIDTH));
}

/// One line a problem.
fn lines(problems: &Problems, files: &Files) -> anyhow::Result<()> {
    let columns = ["severity", "file", "line", "column", "message", "label", "help"];
    let mut sheet = Sheet::new(std::io::stdout(), columns)?;
    for problem in problems.to_json(files).as_array().into_iter().flatten() {
        sheet.row(columns.map(|column| match &problem[column] {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Array(items) => items.iter().filter_map(serde_json::Value::as_str).collect::<Vec<_>>().join("; "),
            serde_json::Value::Null => String::new(),
            other => other.to_string(),
        }))?;
    }
    Ok(sheet.flush()?)
}

/// One line: what was read, and what is to be mended.
pub fn summary(files: &Files, problems: &Problems) -> String {
    let kind = |folder: &str| {
        files
            .under(folder)
            .filter(|(path, _)| path.ends_with(".yaml") && path.matches('/').count() == folder.matches('/').count() + 1)
            .count()
    };
    let (campaigns, segments) = (kind("campaigns"), kind("campaigns/segments"));
    let templates = files.under("templates").count();
    let read =
        format!("{}, {} and {} read", counted(campaigns, "campaign"), counted(segments, "segment"), counted(templates, "template file"));
    let warnings = match problems.warnings() {
        0 => String::new(),
        count => format!(", {}", counted(count, "warning")),
    };
    match problems.count() {
        0 => format!("{read}: no problems{warnings}"),
        count => format!("{read}: {}{warnings}", counted(count, "problem")),
    }
}

fn counted(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}
