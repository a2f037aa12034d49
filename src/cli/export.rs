//! `posthaste export customers|events|messages`: CSV, or JSON lines with `--format json`, page by page, as large as the base may be.

use super::customers::{channel, reason};
use super::sheet::Sheet;
use super::{Exit, Format, Global};
use crate::store::customers::Customer;
use crate::store::{Store, from_micros};
use crate::types::{Channel, MessageState};
use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};
use std::io::{BufWriter, Write};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct Export {
    what: What,
    /// Write to this file instead of the standard output
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    /// People with addresses, attributes and consents, in the form that `import customers` reads
    Customers,
    /// What happened to people
    Events,
    /// The ledger: a row for each message and each refusal
    Messages,
}

const PAGE: i64 = 2000;

pub async fn run(global: &Global, arguments: Export) -> anyhow::Result<Exit> {
    let workspace = global.workspace();
    let Some(definitions) = super::import::definitions(&workspace.files()?) else { return Ok(Exit::Problems) };
    let store = workspace.store(definitions.workspace.database.as_deref()).await?;
    let file: Box<dyn Write + Send> = match &arguments.to {
        Some(path) => Box::new(std::fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?),
        None => Box::new(std::io::stdout()),
    };
    let file = BufWriter::new(file);
    let count = match arguments.what {
        What::Customers => customers(&store, global.format, file).await,
        What::Events => events(&store, global.format, file).await,
        What::Messages => messages(&store, global.format, file).await,
    };
    store.close().await;
    match count {
        Ok(count) => {
            eprintln!("{count} rows written");
            Ok(Exit::Done)
        }
        // Whoever reads our output has seen enough, as in `| head`.
        Err(error)
            if error.chain().any(|cause| {
                cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
            }) =>
        {
            Ok(Exit::Done)
        }
        Err(error) => Err(error),
    }
}

/// Rows in one of two forms.
enum Out<W: Write> {
    Csv(Box<Sheet<W>>, Vec<String>),
    Lines(W),
}

impl<W: Write> Out<W> {
    fn new(format: Format, file: W, columns: Vec<String>) -> anyhow::Result<Self> {
        if format == Format::Json {
            return Ok(Out::Lines(file));
        }
        Ok(Out::Csv(Box::new(Sheet::new(file, &columns)?), columns))
    }

    fn row(&mut self, row: &Map<String, Value>) -> anyhow::Result<()> {
        match self {
            Out::Lines(file) => {
                serde_json::to_writer(&mut *file, row)?;
                file.write_all(b"\n")?;
            }
            Out::Csv(sheet, columns) => {
                let cells = columns.iter().map(|column| match row.get(column) {
                    None | Some(Value::Null) => String::new(),
                    Some(Value::String(text)) => text.clone(),
                    Some(other) => other.to_string(),
                });
                sheet.row(cells)?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        match self {
            Out::Csv(sheet, _) => sheet.flush()?,
            Out::Lines(file) => file.flush()?,
        }
        Ok(())
    }
}

async fn customers(store: &Store, format: Format, file: impl Write) -> anyhow::Result<u64> {
    let own = ["external_id", "email", "phone", "first_name", "last_name", "language", "country", "zone", "created_at"];
    let mut columns: Vec<String> = own.iter().map(|name| (*name).to_string()).collect();
    columns.extend(store.attribute_types().await?.into_iter().map(|(path, _)| path));
    columns.extend(store.consent_topics().await?.into_iter().map(|(topic, code)| format!("consent.{topic}.{}", channel(code))));
    let mut out = Out::new(format, file, columns)?;
    let (mut last, mut count) = (0, 0);
    loop {
        let page = store.customers_after(last, PAGE).await?;
        let Some(end) = page.last() else { break };
        last = end.id;
        count += page.len() as u64;
        for customer in &page {
            out.row(&person(customer, format))?;
        }
    }
    out.flush()?;
    Ok(count)
}

fn person(customer: &Customer, format: Format) -> Map<String, Value> {
    let address = |channel: Channel| {
        customer.addresses.iter().find(|address| address.channel == channel.code() && address.is_primary).map(|address| &address.address)
    };
    let mut row = Map::new();
    let mut set = |name: &str, value: Value| {
        if !value.is_null() {
            row.insert(name.to_string(), value);
        }
    };
    set("external_id", json!(customer.external_id));
    set("email", json!(address(Channel::Email)));
    set("phone", json!(address(Channel::Sms)));
    set("first_name", json!(customer.first_name));
    set("last_name", json!(customer.last_name));
    set("language", json!(customer.language));
    set("country", json!(customer.country));
    set("zone", json!(customer.zone));
    set("created_at", json!(from_micros(customer.created_at)));
    for consent in &customer.consents {
        set(&format!("consent.{}.{}", consent.topic, channel(consent.channel)), json!(consent.state));
    }
    for (name, value) in &customer.attributes {
        attribute(&mut row, name.clone(), value, format);
    }
    row
}

/// In CSV, what is nested becomes dotted columns; in JSON lines it keeps its shape.
fn attribute(row: &mut Map<String, Value>, path: String, value: &Value, format: Format) {
    match value {
        Value::Object(fields) if format != Format::Json => {
            for (name, value) in fields {
                attribute(row, format!("{path}.{name}"), value, format);
            }
        }
        _ => drop(row.insert(path, value.clone())),
    }
}

async fn events(store: &Store, format: Format, file: impl Write) -> anyhow::Result<u64> {
    let columns = ["number", "customer", "event", "at", "received_at", "value", "currency", "message", "properties"];
    let mut out = Out::new(format, file, columns.iter().map(|name| (*name).to_string()).collect())?;
    let (mut last, mut count) = (0, 0);
    loop {
        let page = store.events_after(last, PAGE, None).await?;
        let Some(end) = page.last() else { break };
        last = end.id;
        count += page.len() as u64;
        for event in &page {
            let row = json!({
                "number": event.id, "customer": event.external_id.clone().unwrap_or_else(|| format!("#{}", event.customer_id)), "event": event.name,
                "at": from_micros(event.occurred_at), "received_at": from_micros(event.received_at), "value": event.value,
                "currency": event.currency, "message": event.message_id,
                "properties": serde_json::from_str::<Value>(&event.properties).unwrap_or_default(),
            });
            if let Value::Object(row) = row {
                out.row(&row)?;
            }
        }
    }
    out.flush()?;
    Ok(count)
}

async fn messages(store: &Store, format: Format, file: impl Write) -> anyhow::Result<u64> {
    let columns = [
        "number",
        "customer",
        "campaign",
        "run",
        "step",
        "channel",
        "arm",
        "state",
        "reason",
        "detail",
        "address",
        "due_at",
        "changed_at",
        "accepted_at",
        "bounced_at",
        "confirmed_at",
        "attempts",
        "provider",
        "provider_id",
    ];
    let mut out = Out::new(format, file, columns.iter().map(|name| (*name).to_string()).collect())?;
    let (mut last, mut count) = (0, 0);
    loop {
        let page = store.messages_after(last, PAGE).await?;
        let Some(end) = page.last() else { break };
        last = end.id;
        count += page.len() as u64;
        for message in &page {
            let row = json!({
                "number": message.id, "customer": message.external_id.clone().unwrap_or_else(|| format!("#{}", message.customer_id)),
                "campaign": message.campaign, "run": message.run, "step": message.step, "channel": channel(message.channel), "arm": message.arm,
                "state": MessageState::from_code(message.state).map(MessageState::word), "reason": message.reason.and_then(reason),
                "detail": message.detail, "address": message.address, "due_at": from_micros(message.due_at),
                "changed_at": from_micros(message.changed_at), "accepted_at": message.accepted_at.map(from_micros),
                "bounced_at": message.bounced_at.map(from_micros), "confirmed_at": message.confirmed_at.map(from_micros),
                "attempts": message.attempts, "provider": message.provider, "provider_id": message.provider_id,
            });
            if let Value::Object(row) = row {
                out.row(&row)?;
            }
        }
    }
    out.flush()?;
    Ok(count)
}
