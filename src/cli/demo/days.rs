//! Lets the demo's days pass: the engine sends what falls due, people react, and the clock jumps to whatever comes next.

use super::crowd::{self, Action, Planned, Received};
use crate::catcher::{Catcher, Message};
use crate::cli::serving;
use crate::clock::Clock;
use crate::engine::Engine;
use crate::store::Store;
use crate::types::{Channel, Refusal, Time};
use anyhow::Context;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What the days are made of.
pub struct Days<'a> {
    pub engine: &'a Engine,
    pub store: &'a Store,
    pub clock: &'a Clock,
    pub catcher: &'a Catcher,
    /// Where tracked links begin.
    pub tracker: String,
    /// Opens POST /events.
    pub key: String,
    pub ends: Time,
}

/// Requests under way at once.
const AT_ONCE: usize = 32;

/// Until the last day; says what happened.
pub async fn pass(days: Days<'_>) -> anyhow::Result<String> {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build()?;
    // By time, then in the order planned.
    let mut coming: BTreeMap<(Time, usize), Action> = BTreeMap::new();
    let (mut seen, mut counted, mut planned) = (0usize, 0u64, 0usize);
    let mut held_out_react = true;
    let mut next_turn = Some(days.clock.now());
    loop {
        let now = days.clock.now();
        if next_turn.is_some_and(|next| next <= now) {
            next_turn = days.engine.turn().await?;
            let mut plan = |actions: Vec<Planned>| {
                for one in actions {
                    planned += 1;
                    coming.insert((one.at, planned), one.action);
                }
            };
            for message in days.catcher.messages().iter().skip(seen) {
                plan(reaction(message, &days.tracker, now));
            }
            seen = days.catcher.messages().len();
            if held_out_react && let Some(held_out) = held_out(days.store).await? {
                plan(held_out.iter().filter_map(|address| crowd::unprompted(address, now)).collect());
                held_out_react = false;
            }
        }
        let next = [next_turn, coming.keys().next().map(|(at, _)| *at)].into_iter().flatten().min();
        let Some(next) = next.filter(|next| *next <= days.ends) else { break };
        days.clock.advance_to(next);
        let actions = due(&mut coming, days.clock.now());
        counted += actions.len() as u64;
        carry_out(&days, &client, actions).await?;
    }
    days.clock.advance_to(days.ends);
    Ok(format!("{} messages caught, {counted} things that people and machines did with them", days.catcher.count()))
}

/// What happens at this instant; people's actions of the same half minute are taken together, as they do not depend on each other.
fn due(coming: &mut BTreeMap<(Time, usize), Action>, now: Time) -> Vec<Action> {
    let later = coming.split_off(&(now + chrono::TimeDelta::milliseconds(1), 0));
    std::mem::replace(coming, later).into_values().collect()
}

fn reaction(message: &Message, tracker: &str, now: Time) -> Vec<Planned> {
    let letter = message.letter();
    let content = letter.html.as_deref().unwrap_or(&letter.text);
    let one_click = letter.header("List-Unsubscribe").and_then(|value| value.split(['<', '>']).find(|part| part.starts_with("http")));
    let sells = message.channel == Channel::Sms && content.contains('%') || letter.from.contains("news@");
    crowd::reaction(&Received { address: &message.to, content, one_click, at: now, sells }, tracker)
}

/// Addresses of those who were held out of the sale; `None` before it was planned.
async fn held_out(store: &Store) -> anyhow::Result<Option<Vec<String>>> {
    let rows = store.trial_rows("spring-sale").await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let held_out = rows.into_iter().filter(|row| row.refusal == Some(Refusal::HeldOut));
    Ok(Some(held_out.filter_map(|row| row.email.or(row.phone)).collect()))
}

async fn carry_out(days: &Days<'_>, client: &reqwest::Client, actions: Vec<Action>) -> anyhow::Result<()> {
    let results: Vec<anyhow::Result<()>> =
        stream::iter(actions.into_iter().map(|action| one(days, client, action))).buffered(AT_ONCE).collect().await;
    results.into_iter().collect()
}

async fn one(days: &Days<'_>, client: &reqwest::Client, action: Action) -> anyhow::Result<()> {
    let request = match action {
        Action::Open { url, agent } => client.get(url).header("User-Agent", agent).header("Accept", "image/avif,image/webp,image/*"),
        Action::Click { url, agent } => client.get(url).header("User-Agent", agent).header("Accept", "text/html"),
        Action::Unsubscribe { url } => client.post(url).form(&[("List-Unsubscribe", "One-Click")]),
        Action::Visit { address } => event(days, client, &address, "visit", json!({ "page": "/sale" })),
        Action::Buy { address, minor } => event(
            days,
            client,
            &address,
            "purchase",
            json!({ "order_id": format!("D-{address}"), "amount": format!("{}.{:02}", minor / 100, minor % 100) }),
        ),
        Action::Complain { address } => return complain(days, &address).await,
    };
    let answer = request.send().await.context("the demo's own server does not answer")?;
    anyhow::ensure!(answer.status().as_u16() < 400, "{} answered {}", answer.url(), answer.status());
    Ok(())
}

fn event(days: &Days<'_>, client: &reqwest::Client, address: &str, name: &str, mut content: Value) -> reqwest::RequestBuilder {
    let at = days.clock.now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    if let Some(content) = content.as_object_mut() {
        content.insert(if address.contains('@') { "email" } else { "phone" }.into(), address.into());
        content.insert("event".into(), name.into());
        content.insert("at".into(), at.into());
    }
    client.post(format!("{}/events", days.tracker)).bearer_auth(&days.key).json(&content)
}

/// Complaints come from mailbox providers by reports of their own, not over our addresses.
async fn complain(days: &Days<'_>, address: &str) -> anyhow::Result<()> {
    for campaign in ["spring-sale", "birthday", "service-notice"] {
        if days.store.message_to(campaign, address).await?.is_some() {
            return serving::complaint(days.store, campaign, address, days.clock.now()).await;
        }
    }
    Ok(())
}
