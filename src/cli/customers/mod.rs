//! `posthaste customers show|find|export|erase|erase-again`.

pub mod erase;
mod export;

use super::sheet::Sheet;
use super::{Exit, Format, Global};
use crate::config::PEPPER;
use crate::customers::keys::Keys;
use crate::customers::reference::Reference;
use crate::store::customers::Customer;
use crate::store::people::{ConsentLine, MessageLine};
use crate::store::{Store, from_micros};
use crate::types::{Channel, ConsentState, Failure, MessageState, Refusal};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct Customers {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// One person: attributes, addresses, consents, suppressions, and what happened, newest first
    Show {
        /// External id, email address, phone number, or number like #12
        customer: String,
        /// How many lines of what happened
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(0..=10_000))]
        limit: i64,
    },
    /// People in whose external id, names or addresses a text stands
    Find {
        text: String,
        /// How many at most
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=10_000))]
        limit: i64,
    },
    /// All that is known of a person, for whoever asks what you keep about them
    Export {
        /// External id, email address, phone number, or number like #12
        customer: String,
        /// Write JSON and CSV files into this folder instead of JSON to the standard output
        #[arg(long, value_name = "FOLDER")]
        to: Option<PathBuf>,
    },
    /// Erase a person's data for good; the ledger's sums and suppressions stay
    Erase {
        /// External id, email address, phone number, or number like #12
        customer: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// After an older backup was restored: erase again whoever was erased since; the engine does it too when it starts
    EraseAgain {
        /// A list of erasures from elsewhere, beside the workspace's own .posthaste/erased
        #[arg(long, value_name = "FILE")]
        list: Option<PathBuf>,
    },
}

pub async fn run(global: &Global, arguments: Customers) -> anyhow::Result<Exit> {
    let workspace = global.workspace();
    let Some(definitions) = super::import::definitions(&workspace.files()?) else { return Ok(Exit::Problems) };
    let keys = Keys::new(workspace.secret(PEPPER)?);
    let store = workspace.store(definitions.workspace.database.as_deref()).await?;
    let country = definitions.workspace.country.as_deref();
    let exit = match &arguments.action {
        Action::Find { text, limit } => find(global, &store, text, *limit).await?,
        Action::Show { customer, limit } => match named(&store, customer, &keys, country).await? {
            Some(customer) => show(global, &store, &customer, *limit).await?,
            None => Exit::Failed,
        },
        Action::Erase { customer, yes } => match named(&store, customer, &keys, country).await? {
            Some(customer) => erase::erase(global, &store, &keys, &customer, *yes).await?,
            None => Exit::Failed,
        },
        Action::Export { customer, to } => match named(&store, customer, &keys, country).await? {
            Some(customer) => export::export(global, &store, &customer, to.as_deref()).await?,
            None => Exit::Failed,
        },
        Action::EraseAgain { list } => erase::again(global, &store, &keys, list.as_deref()).await?,
    };
    store.close().await;
    Ok(exit)
}

/// The customer that a text names; says so when there is none.
pub async fn named(store: &Store, text: &str, keys: &Keys, country: Option<&str>) -> anyhow::Result<Option<Customer>> {
    let reference = Reference::read(text, keys, country);
    let numbers = store.customer_numbers(&Reference::wanted([&reference])).await?;
    match reference.find(&numbers) {
        Ok(id) => Ok(store.customer(id).await?),
        Err(why) => {
            eprintln!("`{text}` {why}; `posthaste customers find` searches names and addresses");
            Ok(None)
        }
    }
}

async fn find(global: &Global, store: &Store, text: &str, limit: i64) -> anyhow::Result<Exit> {
    let found = store.search_customers(text, limit).await?;
    let none = String::new();
    let rows = found.iter().map(|line| {
        let text = |field: &Option<String>| field.clone().unwrap_or_else(|| none.clone());
        vec![
            format!("#{}", line.id),
            text(&line.external_id),
            text(&line.first_name),
            text(&line.last_name),
            text(&line.email),
            text(&line.phone),
        ]
    });
    listing(
        global.format,
        &["number", "external_id", "first_name", "last_name", "email", "phone"],
        rows.collect(),
        &serde_json::to_value(&found)?,
    )?;
    if found.len() as i64 == limit {
        eprintln!("There may be more: only the first {limit} are shown (--limit)");
    }
    Ok(Exit::Done)
}

/// Prints rows as a table, as CSV, or a value as JSON.
fn listing(format: Format, header: &[&str], rows: Vec<Vec<String>>, value: &Value) -> anyhow::Result<()> {
    match format {
        Format::Json => println!("{value:#}"),
        Format::Csv => {
            let mut sheet = Sheet::new(std::io::stdout().lock(), header)?;
            for row in rows {
                sheet.row(row)?;
            }
            sheet.flush()?;
        }
        Format::Table | Format::Html => {
            let mut table = comfy_table::Table::new();
            table.load_style(comfy_table::presets::NOTHING).set_header(header.to_vec());
            for row in rows {
                table.add_row(row);
            }
            println!("{table}");
        }
    }
    Ok(())
}

async fn show(global: &Global, store: &Store, customer: &Customer, limit: i64) -> anyhow::Result<Exit> {
    let keys: Vec<[u8; 16]> = customer.addresses.iter().map(|address| address.key).collect();
    let suppressions = store.suppressions(&keys).await?;
    let addresses: Vec<Value> = customer
        .addresses
        .iter()
        .map(|address| {
            let suppressed = suppressions.iter().find(|row| row.key == address.key);
            json!({
                "channel": channel(address.channel), "address": address.address, "primary": address.is_primary,
                "suppressed": suppressed.map(|row| json!({"reason": row.reason, "since": from_micros(row.since), "until": row.until.map(from_micros)})),
            })
        })
        .collect();
    let consents: Vec<Value> = customer
        .consents
        .iter()
        .map(|consent| json!({"topic": consent.topic, "channel": channel(consent.channel), "state": consent.state, "at": from_micros(consent.at), "proof": consent.has_proof}))
        .collect();
    let history = history(store, customer.id, limit).await?;
    let card = json!({
        "number": customer.id, "external_id": customer.external_id, "first_name": customer.first_name, "last_name": customer.last_name,
        "language": customer.language, "country": customer.country, "zone": customer.zone, "created_at": from_micros(customer.created_at),
        "updated_at": from_micros(customer.updated_at), "erased_at": customer.erased_at.map(from_micros),
        "attributes": customer.attributes, "addresses": addresses, "consents": consents,
        "history": history.iter().map(|moment| moment.value.clone()).collect::<Vec<_>>(),
    });
    match global.format {
        Format::Json => println!("{card:#}"),
        Format::Csv => {
            let rows = history.iter().map(|moment| vec![moment.when(), moment.what.clone()]).collect();
            listing(Format::Csv, &["at", "what"], rows, &Value::Null)?;
        }
        Format::Table | Format::Html => print!("{}", text_of(&card, &history)),
    }
    Ok(Exit::Done)
}

/// The card as lines that a person reads.
fn text_of(card: &Value, history: &[Moment]) -> String {
    let mut out = format!("Customer #{}\n", card["number"]);
    let mut line = |name: &str, value: String| out.push_str(&format!("  {name:<12} {value}\n"));
    for name in ["external_id", "first_name", "last_name", "language", "country", "zone", "created_at", "updated_at", "erased_at"] {
        if let Some(text) = card[name].as_str() {
            line(name, text.to_string());
        }
    }
    for (name, value) in card["attributes"].as_object().into_iter().flatten() {
        line(name, value.as_str().map_or_else(|| value.to_string(), str::to_string));
    }
    for address in card["addresses"].as_array().into_iter().flatten() {
        let text = |value: &Value| value.as_str().unwrap_or("").to_string();
        let second = if address["primary"] == json!(true) { "" } else { " (not the primary one)" };
        let suppressed = match &address["suppressed"] {
            Value::Null => String::new(),
            row => format!(", suppressed: {} since {}", text(&row["reason"]), text(&row["since"])),
        };
        line(&text(&address["channel"]), format!("{}{second}{suppressed}", text(&address["address"])));
    }
    for consent in card["consents"].as_array().into_iter().flatten() {
        let text = |name: &str| consent[name].as_str().unwrap_or("").to_string();
        line("consent", format!("{} by {}: {} since {}", text("topic"), text("channel"), text("state"), text("at")));
    }
    out.push('\n');
    if history.is_empty() {
        out.push_str("Nothing has happened yet\n");
    }
    for moment in history {
        out.push_str(&format!("  {}  {}\n", moment.when(), moment.what));
    }
    out
}

/// A line of the timeline.
struct Moment {
    at: i64,
    what: String,
    value: Value,
}

impl Moment {
    fn when(&self) -> String {
        from_micros(self.at).format("%Y-%m-%d %H:%M:%S UTC").to_string()
    }
}

/// Messages, events and changes of consent, newest first.
async fn history(store: &Store, customer: i64, limit: i64) -> anyhow::Result<Vec<Moment>> {
    let mut all: Vec<Moment> = store.messages_of(customer, limit).await?.iter().map(message).collect();
    for event in store.newest_events_of(customer, limit).await? {
        let properties: Value = serde_json::from_str(&event.properties).unwrap_or_default();
        let shown = if properties.as_object().is_some_and(serde_json::Map::is_empty) { String::new() } else { format!(" {properties}") };
        all.push(Moment {
            at: event.occurred_at,
            what: format!("event {}{shown}", event.name),
            value: json!({"at": from_micros(event.occurred_at), "event": event.name, "properties": properties, "value": event.value,
                          "currency": event.currency, "message": event.message_id}),
        });
    }
    all.extend(store.consent_record(customer).await?.iter().map(consent));
    all.sort_by_key(|moment| std::cmp::Reverse(moment.at));
    all.truncate(usize::try_from(limit).unwrap_or(0));
    Ok(all)
}

fn message(row: &MessageLine) -> Moment {
    let state = MessageState::from_code(row.state).map_or("?", MessageState::word);
    let reason = row.reason.and_then(reason);
    let at = row.accepted_at.unwrap_or(row.changed_at);
    let why = reason.map_or_else(String::new, |reason| format!(" ({reason})"));
    let arm = row.arm.as_deref().filter(|arm| *arm != "all").map_or_else(String::new, |arm| format!(", {arm}"));
    Moment {
        at,
        what: format!("message of {} run {} by {}{arm}: {state}{why}", row.campaign, row.run, channel(row.channel)),
        value: json!({"at": from_micros(at), "message": row.id, "campaign": row.campaign, "run": row.run, "step": row.step, "channel": channel(row.channel),
                      "arm": row.arm, "state": state, "reason": reason, "due_at": from_micros(row.due_at)}),
    }
}

fn consent(row: &ConsentLine) -> Moment {
    let state = ConsentState::from_code(row.state).map_or("?", ConsentState::word);
    Moment {
        at: row.at,
        what: format!("consent to {} by {}: {state} ({})", row.topic, channel(row.channel), row.source),
        value: json!({"at": from_micros(row.at), "consent": row.topic, "channel": channel(row.channel), "state": state, "source": row.source, "proof": row.proof}),
    }
}

/// The word of a channel's number.
pub fn channel(code: i16) -> &'static str {
    Channel::from_code(code).map_or("?", Channel::word)
}

/// The word of a refusal's or failure's number.
pub fn reason(code: i16) -> Option<&'static str> {
    Refusal::from_code(code).map(Refusal::word).or_else(|| Failure::from_code(code).map(Failure::word))
}
