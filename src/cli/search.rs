//! Asks providers whether they have taken messages of which nobody heard the answer.

use super::Global;
use crate::config::PEPPER;
use crate::dispatch::References;
use crate::engine::applied_workspace;
use crate::providers::{self, Found, Provider, Sought};
use crate::store::decisions::Open;
use crate::store::{Store, from_micros};
use crate::types::{MessageId, Time};
use anyhow::Context;
use chrono::TimeDelta;
use futures_util::{StreamExt as _, stream};
use indicatif::ProgressBar;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// Searches under way at once: providers let nobody search as fast as send.
const AT_ONCE: usize = 4;
/// A provider's clock may be so far off, and its lists may be so much behind.
const EARLIER: TimeDelta = TimeDelta::minutes(5);
const LATER: TimeDelta = TimeDelta::hours(1);
/// A provider that wants to be left alone for longer is not waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What was found of each message, in their order. Nothing is changed.
pub async fn search(global: &Global, store: &Store, open: &[Open]) -> anyhow::Result<Vec<Found>> {
    let workspace = global.workspace();
    let references = References::new(workspace.secret(PEPPER)?);
    let (_, applied) = applied_workspace(store).await?.context("nothing was applied yet: run `posthaste apply` first")?;
    let names: BTreeSet<&str> = open.iter().filter_map(|message| message.provider.as_deref()).collect();
    let mut opened: BTreeMap<&str, Result<Arc<dyn Provider>, String>> = BTreeMap::new();
    for name in names {
        let provider = match applied.providers.get(name) {
            Some(settings) => providers::open(name, settings, &|text| workspace.secrets.resolve(text)).map_err(|error| error.to_string()),
            None => Err(format!("`{name}` stands in posthaste.yaml no more")),
        };
        opened.insert(name, provider);
    }
    let customers: BTreeSet<i64> = open.iter().map(|message| message.customer).collect();
    let mut known: HashMap<i64, Vec<String>> = HashMap::new();
    for (customer, number) in store.provider_ids_of(&customers.into_iter().collect::<Vec<_>>()).await? {
        known.entry(customer).or_default().push(number);
    }
    let now = global.clock().now();
    // Shown on a terminal only.
    let progress = ProgressBar::new(open.len() as u64);
    let one = |message: &Open| {
        let provider = message.provider.as_deref().and_then(|name| opened.get(name)).cloned();
        let sought = message.address.as_ref().map(|to| Sought {
            reference: references.of(MessageId(message.id)),
            to: to.clone(),
            from: from_micros(message.due_at) - EARLIER,
            until: end(message, now),
            known: known.get(&message.customer).cloned().unwrap_or_default(),
        });
        let progress = progress.clone();
        async move {
            let found = match (provider, sought) {
                (Some(Ok(provider)), Some(sought)) => asked(provider.as_ref(), &sought).await,
                (Some(Err(why)), _) => Found::Silent(why),
                (None, _) | (_, None) => Found::CannotBeAsked,
            };
            progress.inc(1);
            found
        }
    };
    let found = stream::iter(open.iter().map(one)).buffered(AT_ONCE).collect().await;
    progress.finish_and_clear();
    Ok(found)
}

/// A provider is not asked for what is still to come.
fn end(message: &Open, now: Time) -> Time {
    (from_micros(message.changed_at) + LATER).min(now)
}

/// Waits for as long as the provider wants to be left alone, and asks.
async fn asked(provider: &dyn Provider, sought: &Sought) -> Found {
    if let Some(pause) = provider.pause() {
        if pause > LONGEST_PAUSE {
            return Found::Silent(format!("it wants to be left alone for {} seconds", pause.as_secs()));
        }
        tokio::time::sleep(pause).await;
    }
    provider.search(sought).await
}

/// In words for a table.
pub fn word(found: &Found) -> String {
    match found {
        Found::Taken(number) => format!("taken, as {number}"),
        Found::NotThere => "not there".to_string(),
        Found::Silent(why) => format!("no answer: {why}"),
        Found::CannotBeAsked => "cannot be asked".to_string(),
    }
}
