//! `posthaste replies`: texts of people who may have meant to leave. Nothing is sent to them until somebody has decided.

use super::customers::named;
use super::{Exit, Global, git, table};
use crate::config::PEPPER;
use crate::customers::keys::Keys;
use crate::feedback::TEXT_EVENT;
use crate::store::audit::Audit;
use crate::store::consents::ConsentRow;
use crate::store::customers::Customer;
use crate::store::replies::{IN_REVIEW, Review};
use crate::store::responses::digest;
use crate::store::{Store, from_micros, micros};
use crate::types::{Channel, ConsentState, Time};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// Arguments of `replies`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// They did not mean to leave: send to them again
    Keep {
        /// External id, phone number, or number like #12
        customer: String,
    },
    /// They meant to leave: withdraw their consent to everything by SMS
    Stop {
        /// External id, phone number, or number like #12
        customer: String,
    },
}

const COLUMNS: [&str; 4] = ["customer", "external_id", "at", "text"];
/// Rows of one listing.
const MOST: i64 = 1000;

pub async fn run(global: &Global, arguments: Arguments) -> anyhow::Result<Exit> {
    let Some(action) = arguments.action else {
        let store = global.store().await?;
        let rows: Vec<Value> = store.replies_in_review(TEXT_EVENT, MOST).await?.iter().map(row).collect();
        table::print(global.format, &COLUMNS, &rows)?;
        match rows.is_empty() {
            true => eprintln!("Nobody waits for a decision"),
            false => eprintln!("Nothing is sent to them by SMS; `posthaste replies keep|stop CUSTOMER` decides"),
        }
        store.close().await;
        return Ok(Exit::Done);
    };
    let workspace = global.workspace();
    let Some(definitions) = super::import::definitions(&workspace.files()?) else { return Ok(Exit::Problems) };
    let keys = Keys::new(workspace.secret(PEPPER)?);
    let store = workspace.store(definitions.workspace.database.as_deref()).await?;
    let (Action::Keep { customer } | Action::Stop { customer }) = &action;
    let exit = match named(&store, customer, &keys, definitions.workspace.country.as_deref()).await? {
        Some(customer) => {
            let who = git::who(&workspace.folder);
            decide(&store, &customer, matches!(action, Action::Stop { .. }), &who, global.clock().now()).await?
        }
        None => Exit::Failed,
    };
    store.close().await;
    Ok(exit)
}

fn row(review: &Review) -> Value {
    let properties: Value = serde_json::from_str(&review.properties).unwrap_or_default();
    json!({ "customer": format!("#{}", review.customer_id), "external_id": review.external_id,
            "at": from_micros(review.occurred_at).to_rfc3339_opts(chrono::SecondsFormat::Secs, true), "text": properties["text"] })
}

async fn decide(store: &Store, customer: &Customer, is_stop: bool, who: &str, now: Time) -> anyhow::Result<Exit> {
    let keys: Vec<[u8; 16]> =
        customer.addresses.iter().filter(|address| address.channel == Channel::Sms.code()).map(|address| address.key).collect();
    if is_stop {
        // Before the review ends: nothing is sent in between.
        let row = ConsentRow {
            customer: customer.id,
            topic: "*".into(),
            channel: Channel::Sms.code(),
            state: ConsentState::Withdrawn,
            at: micros(now),
            received_at: micros(now),
            source: "operator".into(),
            proof: Some(format!("{who} read their reply so")),
            until: None,
            source_key: digest(&[b"reviewed", &customer.id.to_be_bytes(), &micros(now).to_be_bytes()]),
        };
        store.append_consents(&[row], true).await?;
    }
    let lifted = store.lift_reviews(&keys, &[IN_REVIEW]).await?;
    if lifted == 0 {
        eprintln!("No reply of customer #{} waits for a decision", customer.id);
        return Ok(Exit::Failed);
    }
    let action = if is_stop { "replies.stop" } else { "replies.keep" };
    store.audit(&Audit { at: now, who: who.into(), action: action.into(), subject: format!("#{}", customer.id), detail: None }).await?;
    match is_stop {
        true => eprintln!("Customer #{} gets nothing more by SMS", customer.id),
        false => eprintln!("Customer #{} is sent to again", customer.id),
    }
    Ok(Exit::Done)
}
