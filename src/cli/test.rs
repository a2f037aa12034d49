//! `posthaste test`: the tests that stand in campaign and segment files.

use super::{Exit, Format, Global, check};
use crate::campaigns::{self, Test};
use crate::engine::trials;
use clap::Args;
use serde_json::json;

/// Arguments of `test`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only these campaigns and segments
    pub only: Vec<String>,
}

/// One test's result.
struct Tried {
    file: String,
    name: String,
    /// Empty when all is as expected.
    differences: Vec<String>,
}

pub async fn run(global: &Global, arguments: Arguments) -> anyhow::Result<Exit> {
    let files = global.workspace().files()?;
    let (Some(definitions), problems) = campaigns::read(&files) else {
        let (_, problems) = campaigns::read(&files);
        check::show(&problems, &files);
        eprintln!("{}", check::summary(&files, &problems));
        return Ok(Exit::Problems);
    };
    drop(problems);
    let wanted = |key: &str| arguments.only.is_empty() || arguments.only.iter().any(|one| one == key);
    for key in &arguments.only {
        anyhow::ensure!(
            definitions.campaigns.contains_key(key) || definitions.segments.contains_key(key),
            "there is no campaign and no segment `{key}`"
        );
    }
    let mut tried = Vec::new();
    for (key, segment) in definitions.segments.iter().filter(|(key, _)| wanted(key)) {
        for test in &segment.tests {
            let result = trials::segment(&definitions, key, test).await;
            tried.push(show(global, format!("campaigns/segments/{key}.yaml"), test, result));
        }
    }
    for (key, campaign) in definitions.campaigns.iter().filter(|(key, _)| wanted(key)) {
        for test in &campaign.tests {
            // An engine takes the definitions as its own: they are read again for each test.
            let (Some(own), _) = campaigns::read(&files) else { anyhow::bail!("the files changed while they were read") };
            let result = trials::campaign(&files, own, key, test).await;
            tried.push(show(global, format!("campaigns/{key}.yaml"), test, result));
        }
    }
    let failed = tried.iter().filter(|test| !test.differences.is_empty()).count();
    if global.format == Format::Json {
        let list: Vec<_> = tried.iter().map(|test| json!({ "file": test.file, "name": test.name, "passed": test.differences.is_empty(), "differences": test.differences })).collect();
        println!("{:#}", json!({ "passed": tried.len() - failed, "failed": failed, "tests": list }));
    }
    eprintln!("{} passed, {failed} failed", tried.len() - failed);
    Ok(if failed == 0 { Exit::Done } else { Exit::Failed })
}

fn show(global: &Global, file: String, test: &Test, result: Result<Vec<String>, trials::Error>) -> Tried {
    let differences = result.unwrap_or_else(|error| vec![super::explained(&error.into())]);
    if global.format != Format::Json {
        println!("{} {file}: {}", if differences.is_empty() { "passed" } else { "FAILED" }, test.name);
        for difference in &differences {
            println!("         {difference}");
        }
    }
    Tried { file, name: test.name.clone(), differences }
}
