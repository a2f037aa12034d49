//! `posthaste customers export`: all that is known of one person, as JSON and as CSV files, for whoever asks what is kept about them.

use super::{channel, reason};
use crate::campaigns;
use crate::cli::sheet::Sheet;
use crate::cli::{Exit, Global};
use crate::feedback;
use crate::segments::{Condition, Moment, ZoneInForce, evaluate};
use crate::server::unpacked;
use crate::store::audit::Audit;
use crate::store::customers::Customer;
use crate::store::people::MessageLine;
use crate::store::{Store, from_micros};
use crate::types::{ConsentState, MessageState, SuppressionReason, Verdict};
use anyhow::Context;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What stands for whom the rows are, or serves the database alone.
const INTERNAL: [&str; 8] = ["key", "source_key", "folded", "node_id", "digest", "draw_key", "next_at", "warm_up_day"];

pub async fn export(global: &Global, store: &Store, customer: &Customer, to: Option<&Path>) -> anyhow::Result<Exit> {
    let now = global.clock().now();
    let who = global.workspace().secrets.get("USER").unwrap_or("command line").to_string();
    // Written before anything is given out.
    let subject = format!("#{}", customer.id);
    store.audit(&Audit { at: now, who, action: "customers.export".into(), subject, detail: None }).await?;
    let mut sections = sections(store, customer).await?;
    if let Some(segments) = segments(global, store, customer).await? {
        sections.insert("segments".into(), segments);
    }
    let Some(folder) = to else {
        println!("{:#}", whole(customer, now, &sections));
        return Ok(Exit::Done);
    };
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let path = folder.join("customer.json");
    std::fs::write(&path, format!("{:#}\n", whole(customer, now, &sections)))
        .with_context(|| format!("cannot write {}", path.display()))?;
    for (name, rows) in &sections {
        let path = folder.join(format!("{name}.csv"));
        write_sheet(&path, rows).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let rows: usize = sections.values().map(Vec::len).sum();
    eprintln!(
        "All that is known of the customer #{} is in {}: {rows} rows, as customer.json and as CSV files",
        customer.id,
        folder.display()
    );
    eprintln!("Delete the folder when it was handed over: it is not erased with the person");
    Ok(Exit::Done)
}

type Rows = Vec<Map<String, Value>>;

fn whole(customer: &Customer, now: crate::types::Time, sections: &BTreeMap<String, Rows>) -> Value {
    let mut whole = Map::new();
    whole.insert("customer".into(), json!(customer.id));
    whole.insert("exported_at".into(), json!(now));
    for (name, rows) in sections {
        whole.insert(name.clone(), json!(rows));
    }
    Value::Object(whole)
}

async fn sections(store: &Store, customer: &Customer) -> anyhow::Result<BTreeMap<String, Rows>> {
    let lines: BTreeMap<i64, MessageLine> =
        store.messages_of(customer.id, i64::MAX).await?.into_iter().map(|line| (line.id, line)).collect();
    let runs: BTreeMap<i64, (String, i64)> = store.runs_named().await?;
    let mut sections = BTreeMap::new();
    for (table, rows) in store.portrait(customer.id).await? {
        let rows = rows.into_iter().map(|row| readable(&table, row, &lines, &runs)).collect();
        sections.insert(section(&table).to_string(), rows);
    }
    let addresses: Vec<String> = customer.addresses.iter().map(|address| address.address.clone()).collect();
    let told = feedback::told_of(store, &addresses).await?;
    if !told.is_empty() {
        sections.insert("told_by_providers".into(), told);
    }
    let arms: BTreeSet<(&str, i32, &str)> =
        lines.values().filter_map(|line| Some((line.campaign.as_str(), line.run, line.arm.as_deref()?))).collect();
    if !arms.is_empty() {
        let arm = |(campaign, run, arm)| object([("campaign", json!(campaign)), ("run", json!(run)), ("arm", json!(arm))]);
        sections.insert("experiments".into(), arms.into_iter().map(arm).collect());
    }
    Ok(sections)
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
}

/// What a table is called in an export.
fn section(table: &str) -> &str {
    match table {
        "customers" => "profile",
        "consent_state" => "consents_today",
        "inbound_mail" => "mail_received",
        "strikes" => "delivery_failures",
        "reservations" => "counted_for_caps",
        "firsts" => "first_responses",
        "credits" => "attributed",
        "starts" => "starting_campaigns",
        "audit" => "changes_by_staff",
        other => other,
    }
}

/// A row with words for numbers, and times as times.
fn readable(
    table: &str,
    row: Map<String, Value>,
    messages: &BTreeMap<i64, MessageLine>,
    runs: &BTreeMap<i64, (String, i64)>,
) -> Map<String, Value> {
    let mut out = Map::new();
    let message = row.get(if table == "messages" { "id" } else { "message_id" }).and_then(Value::as_i64);
    let run = row.get("run_id").and_then(Value::as_i64).and_then(|run| runs.get(&run)).cloned();
    let line = message.and_then(|message| messages.get(&message));
    if let Some((campaign, run)) = run.or(line.map(|line| (line.campaign.clone(), i64::from(line.run)))) {
        out.extend(object([("campaign", json!(campaign)), ("run", json!(run))]));
    }
    for (name, value) in row {
        if INTERNAL.contains(&name.as_str()) || name == "run_id" {
            continue;
        }
        let (name, value) = match (table, name.as_str()) {
            ("messages", "snapshot") => ("content", value.as_str().and_then(content).unwrap_or_default()),
            ("messages", "arm") => ("arm", json!(line.and_then(|line| line.arm.clone()))),
            ("inbound_mail", "raw") => ("text", json!(value.as_str().and_then(|text| hex::decode(text).ok()).map(lossy))),
            _ => (name.as_str(), told(table, &name, value)),
        };
        out.insert(name.to_string(), value);
    }
    out
}

fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What the template of a message had read.
fn content(snapshot: &str) -> Option<Value> {
    unpacked(&hex::decode(snapshot).ok()?)
}

fn told(table: &str, name: &str, value: Value) -> Value {
    let code = value.as_i64().and_then(|code| i16::try_from(code).ok());
    let word = match (table, name) {
        (_, "channel") => code.map(channel),
        ("messages", "state") => code.and_then(MessageState::from_code).map(MessageState::word),
        ("consents" | "consent_state", "state") => code.and_then(ConsentState::from_code).map(ConsentState::word),
        ("messages", "reason") => code.and_then(reason),
        ("suppressions", "reason") => code.and_then(SuppressionReason::from_code).map(SuppressionReason::word),
        (_, "verdict") => code.and_then(Verdict::from_code).map(Verdict::word),
        _ => None,
    };
    if let Some(word) = word {
        return json!(word);
    }
    let is_time = name.ends_with("_at") || matches!(name, "at" | "since" | "until");
    match value {
        Value::Number(number) if is_time => number.as_i64().map_or(Value::Null, |at| json!(from_micros(at))),
        // SQLite keeps JSON as text.
        Value::String(text) if matches!(name, "properties" | "attributes" | "recipients") => {
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        }
        other => other,
    }
}

/// The segments of the workspace's files that hold the person now; `None`, with a word about it, when the files have problems.
async fn segments(global: &Global, store: &Store, customer: &Customer) -> anyhow::Result<Option<Rows>> {
    let (Some(definitions), _) = campaigns::read(&global.workspace().files()?) else {
        eprintln!("The files have problems (`posthaste check` shows them), so the export does not say which segments hold the person");
        return Ok(None);
    };
    let Some(person) = store.person(customer.id).await? else { return Ok(None) };
    let segments: BTreeMap<String, Condition> =
        definitions.segments.iter().map(|(key, segment)| (key.clone(), segment.condition.clone())).collect();
    let workspace = &definitions.workspace;
    let samples = store.draw_samples(&segments.values().collect::<Vec<_>>(), &segments, &workspace.seed).await?;
    let moment = Moment {
        now: global.clock().now(),
        zone: ZoneInForce::Fixed(workspace.zone),
        segments: &segments,
        currency: &workspace.currency,
        rates: &workspace.rates,
        seed: &workspace.seed,
        samples: &samples,
    };
    let holding = segments.iter().filter(|(_, condition)| evaluate(condition, &person, &moment));
    Ok(Some(holding.map(|(key, _)| object([("segment", json!(key))])).collect()))
}

fn write_sheet(path: &Path, rows: &Rows) -> anyhow::Result<()> {
    let mut columns: Vec<&str> = Vec::new();
    for name in rows.iter().flat_map(Map::keys) {
        if !columns.contains(&name.as_str()) {
            columns.push(name);
        }
    }
    let mut sheet = Sheet::new(std::fs::File::create(path)?, &columns)?;
    for row in rows {
        sheet.row(columns.iter().map(|column| match row.get(*column) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }))?;
    }
    Ok(sheet.flush()?)
}
