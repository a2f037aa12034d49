//! `posthaste segments`: which there are, how many people are in one, who they are, and what its rule says of a customer.
//!
//! The files of the workspace are asked, and the database it names: so a rule can be tried before it is applied.

use super::{Exit, Format, Global, check, table, why};
use crate::campaigns::{self, Definitions, Segment};
use crate::diagnostics::nearest;
use crate::segments::{Condition, Explanation, Moment, Samples, ZoneInForce, explain, outline};
use crate::store::Store;
use crate::store::audience::Member;
use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// The segments of this workspace, and the campaigns that use them
    List,
    /// How many customers are in a segment now
    Count {
        /// The segment's key, or `everyone`
        segment: String,
    },
    /// Some of the customers in a segment
    Sample {
        /// The segment's key, or `everyone`
        segment: String,
        /// How many to show
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        count: u32,
    },
    /// What the rule of a segment says, and for a customer which part of it holds
    Explain {
        /// The segment's key
        segment: String,
        /// External id, email address, phone number, or the number in the base
        #[arg(long, value_name = "CUSTOMER")]
        customer: Option<String>,
    },
}

pub async fn run(global: &Global, arguments: Arguments) -> anyhow::Result<Exit> {
    let files = global.workspace().files()?;
    let (definitions, problems) = campaigns::read(&files);
    let Some(definitions) = definitions else {
        check::show(&problems, &files);
        eprintln!("{}", check::summary(&files, &problems));
        return Ok(Exit::Problems);
    };
    match arguments.action {
        Action::List => list(global, &definitions)?,
        Action::Count { segment } => count(global, &definitions, &segment).await?,
        Action::Sample { segment, count } => sample(global, &definitions, &segment, count as usize).await?,
        Action::Explain { segment, customer: None } => rule(global, &definitions, &segment)?,
        Action::Explain { segment, customer: Some(customer) } => explained(global, &definitions, &segment, &customer).await?,
    }
    Ok(Exit::Done)
}

/// The condition under a key, with a hint for one that is not there.
fn condition(definitions: &Definitions, key: &str) -> anyhow::Result<Condition> {
    if key == "everyone" {
        return Ok(Condition::EVERYONE);
    }
    Ok(segment(definitions, key)?.condition.clone())
}

fn segment<'d>(definitions: &'d Definitions, key: &str) -> anyhow::Result<&'d Segment> {
    definitions.segments.get(key).with_context(|| match nearest(key, definitions.segments.keys().map(String::as_str)) {
        Some(near) => format!("there is no segment `{key}`; did you mean `{near}`?"),
        None => format!("there is no segment `{key}`; `posthaste segments list` shows those there are"),
    })
}

fn title(definitions: &Definitions, segment: &Segment) -> String {
    segment.title.pick(&definitions.workspace.languages).to_string()
}

fn list(global: &Global, definitions: &Definitions) -> anyhow::Result<()> {
    let users = |key: &str| -> Vec<&str> {
        let uses = |condition: &Condition| condition.segments().contains(key);
        let campaigns = definitions.campaigns.values().filter(|campaign| {
            let audience = &campaign.audience;
            audience.segment.as_deref() == Some(key) || audience.condition.iter().chain(&audience.except).any(uses)
        });
        let segments = definitions.segments.values().filter(|segment| uses(&segment.condition));
        campaigns.map(|campaign| campaign.key.as_str()).chain(segments.map(|segment| segment.key.as_str())).collect()
    };
    let rows: Vec<(&str, String, Vec<&str>)> =
        definitions.segments.values().map(|segment| (segment.key.as_str(), title(definitions, segment), users(&segment.key))).collect();
    match global.format {
        Format::Json => {
            let rows: Vec<_> = rows.iter().map(|(key, title, users)| json!({ "segment": key, "title": title, "used_by": users })).collect();
            println!("{:#}", json!(rows));
        }
        _ => {
            let cells = rows.into_iter().map(|(key, title, users)| vec![key.to_string(), title, users.join(" ")]).collect();
            print(global.format, &["segment", "title", "used_by"], cells)?;
        }
    }
    Ok(())
}

/// What the database is asked with.
struct Question {
    store: Store,
    condition: Condition,
    segments: BTreeMap<String, Condition>,
    samples: Samples,
}

impl Question {
    async fn new(global: &Global, definitions: &Definitions, key: &str) -> anyhow::Result<Question> {
        let condition = condition(definitions, key)?;
        let store = global.store().await?;
        let segments: BTreeMap<String, Condition> =
            definitions.segments.iter().map(|(key, segment)| (key.clone(), segment.condition.clone())).collect();
        let samples = store.draw_samples(&[&condition], &segments, &definitions.workspace.seed).await?;
        Ok(Question { store, condition, segments, samples })
    }

    fn moment<'q>(&'q self, global: &Global, definitions: &'q Definitions) -> Moment<'q> {
        let workspace = &definitions.workspace;
        Moment {
            now: global.clock().now(),
            zone: ZoneInForce::Fixed(workspace.zone),
            segments: &self.segments,
            currency: &workspace.currency,
            rates: &workspace.rates,
            seed: &workspace.seed,
            samples: &self.samples,
        }
    }
}

async fn count(global: &Global, definitions: &Definitions, key: &str) -> anyhow::Result<()> {
    let question = Question::new(global, definitions, key).await?;
    let count = question.store.count_audience(&question.condition, &question.moment(global, definitions)).await?;
    let all = question.store.count_audience(&Condition::EVERYONE, &question.moment(global, definitions)).await?;
    match global.format {
        Format::Json => println!("{:#}", json!({ "segment": key, "customers": count, "of": all })),
        Format::Csv => {
            print(Format::Csv, &["segment", "customers", "of"], vec![vec![key.to_string(), count.to_string(), all.to_string()]])?
        }
        _ => println!("{count} of {all} customers are in `{key}`"),
    }
    Ok(())
}

async fn sample(global: &Global, definitions: &Definitions, key: &str, count: usize) -> anyhow::Result<()> {
    let question = Question::new(global, definitions, key).await?;
    let (members, all) = question.store.sample_audience(&question.condition, &question.moment(global, definitions), count).await?;
    let name = |member: &Member| {
        let names: Vec<&str> = [&member.first_name, &member.last_name].into_iter().flatten().map(String::as_str).collect();
        names.join(" ")
    };
    if global.format == Format::Json {
        let rows: Vec<_> = members
            .iter()
            .map(|member| {
                json!({ "number": member.id, "external_id": member.external_id, "name": name(member), "email": member.email, "phone": member.phone })
            })
            .collect();
        println!("{:#}", json!({ "segment": key, "customers": all, "sample": rows }));
        return Ok(());
    }
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let rows = members
        .iter()
        .map(|member| vec![member.id.to_string(), text(&member.external_id), name(member), text(&member.email), text(&member.phone)])
        .collect();
    print(global.format, &["number", "external_id", "name", "email", "phone"], rows)?;
    eprintln!("{} of {all} customers in `{key}`", members.len());
    Ok(())
}

fn rule(global: &Global, definitions: &Definitions, key: &str) -> anyhow::Result<()> {
    let segment = segment(definitions, key)?;
    let lines = outline(&segment.condition);
    match global.format {
        Format::Json => {
            let rule: Vec<_> = lines.iter().map(|(depth, words)| json!({ "depth": depth, "words": words })).collect();
            println!("{:#}", json!({ "segment": key, "title": title(definitions, segment), "rule": rule }));
        }
        Format::Csv => {
            print(Format::Csv, &["depth", "words"], lines.into_iter().map(|(depth, words)| vec![depth.to_string(), words]).collect())?
        }
        _ => {
            println!("{}: {}\n", key, title(definitions, segment));
            lines.iter().for_each(|(depth, words)| println!("{}{words}", "    ".repeat(*depth)));
        }
    }
    Ok(())
}

async fn explained(global: &Global, definitions: &Definitions, key: &str, customer: &str) -> anyhow::Result<()> {
    let question = Question::new(global, definitions, key).await?;
    let customer = why::customer(global, &question.store, customer).await?;
    let person = question.store.person(customer.id).await?.context("the customer has gone meanwhile")?;
    let explanation = explain(&question.condition, &person, &question.moment(global, definitions));
    match global.format {
        Format::Json => {
            println!("{:#}", json!({ "segment": key, "customer": customer.id, "in": explanation.held, "explanation": explanation }))
        }
        Format::Csv => {
            let rows = explanation.lines().into_iter().map(|(depth, part)| {
                vec![depth.to_string(), part.held.to_string(), part.words.clone(), part.seen.clone().unwrap_or_default()]
            });
            print(Format::Csv, &["depth", "held", "words", "seen"], rows.collect())?;
        }
        _ => {
            let name = person.external_id.as_deref().or(person.email.as_deref()).map_or(format!("number {}", customer.id), String::from);
            println!("{name} is {}in `{key}`\n", if explanation.held { "" } else { "not " });
            show(&explanation);
        }
    }
    Ok(())
}

/// The tree, a line for each part: whether it held, and what was seen.
fn show(explanation: &Explanation) {
    for (depth, part) in explanation.lines() {
        let seen = part.seen.as_ref().map_or(String::new(), |seen| format!(": {seen}"));
        println!("{} {}{}{seen}", if part.held { "yes" } else { "no " }, "    ".repeat(depth), part.words);
    }
}

/// Rows of texts under these columns.
fn print(format: Format, names: &[&str], rows: Vec<Vec<String>>) -> anyhow::Result<()> {
    let row = |cells: Vec<String>| names.iter().zip(cells).map(|(name, cell)| (name.to_string(), Value::String(cell))).collect();
    let rows: Vec<Value> = rows.into_iter().map(|cells| Value::Object(row(cells))).collect();
    table::print(format, names, &rows)
}
