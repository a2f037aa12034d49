//! `posthaste doctor`: what sending depends on and nobody sees, and what to change.

use super::{Exit, Format, Global, check, table};
use crate::campaigns;
use crate::config::{PEPPER, SIGNING};
use crate::doctor::{Dns, Finding, Patient, State};
use anyhow::anyhow;
use clap::Args;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The DNS server to ask, instead of this machine's
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub resolver: Option<SocketAddr>,
}

const COLUMNS: [&str; 4] = ["state", "about", "says", "change"];

pub async fn run(global: &Global, arguments: Arguments) -> anyhow::Result<Exit> {
    let place = global.workspace();
    let files = place.files()?;
    let (definitions, problems) = campaigns::read(&files);
    let Some(definitions) = definitions else {
        check::show(&problems, &files);
        eprintln!("{}", check::summary(&files, &problems));
        return Ok(Exit::Problems);
    };
    let dns = Dns::new(arguments.resolver).map_err(|why| anyhow!("cannot ask DNS: {why}"))?;
    let mut findings = Vec::new();
    for name in [PEPPER, SIGNING] {
        findings.push(match place.secret(name) {
            Ok(_) => Finding::fine(name, "is set"),
            Err(error) => Finding::wrong(name, error.to_string(), "copy .env to this machine, or set it in the environment"),
        });
    }
    match global.store().await {
        Ok(store) => {
            let patient = Patient {
                workspace: &definitions.workspace,
                secrets: &place.secrets,
                store: &store,
                clock: &global.clock(),
                folder: &place.folder,
                dns: &dns,
            };
            findings.extend(patient.examine().await);
            store.close().await;
        }
        Err(error) => {
            findings.push(Finding::wrong("database", super::explained(&error), "see that it runs and takes connections from this machine"))
        }
    }
    print(global.format, &findings)?;
    let ill = findings.iter().filter(|finding| finding.state >= State::Silent).count();
    Ok(if ill == 0 { Exit::Done } else { Exit::Failed })
}

fn print(format: Format, findings: &[Finding]) -> anyhow::Result<()> {
    if matches!(format, Format::Json | Format::Csv) {
        let rows: Vec<Value> = findings.iter().map(|one| json!(one)).collect();
        return table::print(format, &COLUMNS, &rows);
    }
    print!("{}", written(findings));
    Ok(())
}

/// One finding a line, and under it what to change.
pub fn written(findings: &[Finding]) -> String {
    let width = findings.iter().map(|one| one.about.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for one in findings {
        let mark = match one.state {
            State::Fine => "fine  ",
            State::Note => "note  ",
            State::Silent => "silent",
            State::Wrong => "WRONG ",
        };
        out.push_str(&format!("{mark}  {:width$}  {}\n", one.about, one.says));
        if let Some(change) = &one.change {
            out.push_str(&format!("        {:width$}  → {change}\n", ""));
        }
    }
    let ill = findings.iter().filter(|one| one.state >= State::Silent).count();
    out.push_str(&match ill {
        0 => "\nNothing must be changed\n".to_string(),
        1 => "\n1 thing must be seen to\n".to_string(),
        ill => format!("\n{ill} things must be seen to\n"),
    });
    out
}
