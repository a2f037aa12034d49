//! `posthaste bounces explain`: what a mail that came back says, without any base.

use super::{Exit, Global, table};
use crate::inbound::mail::{self, Kind, Reading, Recipient};
use crate::store::tallies::Bounce;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::io::Read;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say of each mail whether it is a bounce, a complaint or an answer, whom it is about, and why
    Explain {
        /// Files with one mail each (.eml); `-` reads one from standard input
        #[arg(required = true, value_name = "FILE")]
        files: Vec<String>,
    },
}

pub async fn run(global: &Global, arguments: Arguments) -> anyhow::Result<Exit> {
    let Command::Explain { files } = arguments.command;
    let mut rows = Vec::new();
    let mut exit = Exit::Done;
    for file in files {
        match bytes(&file) {
            Ok(raw) => rows.extend(explained(&file, &mail::read(&raw))),
            Err(error) => {
                eprintln!("{file} cannot be read: {error}");
                exit = Exit::Failed;
            }
        }
    }
    if !rows.is_empty() {
        table::print(global.format, &["file", "kind", "recipient", "class", "reason", "hard", "status", "said"], &rows)?;
    }
    Ok(exit)
}

/// As much of a mail as is ever looked at.
fn bytes(file: &str) -> std::io::Result<Vec<u8>> {
    let mut raw = Vec::new();
    let most = mail::LONGEST_READ as u64;
    if file == "-" {
        std::io::stdin().lock().take(most).read_to_end(&mut raw)?;
    } else {
        if std::fs::metadata(file)?.is_dir() {
            return Err(std::io::Error::other("it is a folder; name the files in it"));
        }
        std::fs::File::open(file)?.take(most).read_to_end(&mut raw)?;
    }
    Ok(raw)
}

/// One row for each recipient, or one for a mail that names none.
pub fn explained(file: &str, reading: &Reading) -> Vec<Value> {
    if reading.recipients.is_empty() {
        return vec![json!({
            "file": file, "kind": reading.kind.word(), "recipient": null, "class": null,
            "reason": reading.feedback.clone(), "hard": false, "status": null, "said": null,
        })];
    }
    reading.recipients.iter().map(|recipient| row(file, reading, recipient)).collect()
}

fn row(file: &str, reading: &Reading, recipient: &Recipient) -> Value {
    let verdict = recipient.verdict.as_ref();
    let hard = recipient.kind == Kind::Bounce && verdict.is_some_and(|verdict| mail::bounce(verdict.class) == Bounce::Hard);
    let said = Some(&recipient.diagnostic).filter(|said| !said.is_empty());
    json!({
        "file": file,
        "kind": recipient.kind.word(),
        "recipient": Some(&recipient.address).filter(|address| !address.is_empty()),
        "class": recipient.class(),
        "reason": verdict.map(|verdict| mail::reason(verdict).to_string()).or_else(|| reading.feedback.clone()),
        "hard": hard,
        "status": recipient.status,
        "said": said,
    })
}
