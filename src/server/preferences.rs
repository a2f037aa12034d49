//! The preferences page: topics by channel, each to be had or not. Opened by a token, without a login.

use super::{Inner, Shared, Site, pages, unsubscribe, words};
use crate::store::links::{Addressed, Choice};
use crate::tracking::Kind;
use crate::types::{Channel, ConsentState, MessageId};
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use serde_json::json;
use std::collections::BTreeMap;

pub async fn page(
    axum::extract::State(inner): Shared,
    method: Method,
    Path(token): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (message, addressed) = match super::opened(&inner, Kind::Preferences, &token, &method, &headers).await {
        Ok(opened) => opened,
        Err(answer) => return *answer,
    };
    let saved = method == Method::POST;
    if saved && !save(&inner, message, &addressed, &headers, &body).await {
        return pages::busy();
    }
    match inner.store.consents_of(addressed.customer_id).await {
        Ok(consents) => show(&inner, &addressed, &consents, &token, &headers, saved),
        Err(_) => pages::busy(),
    }
}

type Consents = BTreeMap<(String, i16), (ConsentState, i64)>;

/// What a person is told to have: the later of the topic's own state and that of all topics; on a tie, withdrawn.
fn has(consents: &Consents, topic: &str, channel: Channel) -> bool {
    let of = |topic: &str| consents.get(&(topic.to_string(), channel.code())).copied();
    let agreed = |state| matches!(state, ConsentState::Granted | ConsentState::Confirmed);
    match (of(topic), of("*")) {
        (Some((own, at)), Some((all, since))) if at == since => agreed(own) && agreed(all),
        (Some((own, at)), Some((all, since))) => agreed(if since > at { all } else { own }),
        (one, other) => one.or(other).is_some_and(|(state, _)| agreed(state)),
    }
}

/// The switches of the page: every channel that a topic is sent on. A topic that must be confirmed can only be switched on here for the
/// channel on which the page's token came, since that proves the address.
fn switches<'a>(site: &'a Site, consents: &Consents, channel: i16) -> Vec<(&'a str, Channel, bool)> {
    let mut switches = Vec::new();
    for (topic, (_, channels, confirm)) in &site.topics {
        for way in channels {
            let is_on = has(consents, topic, *way);
            if is_on || !confirm || way.code() == channel {
                switches.push((topic.as_str(), *way, is_on));
            }
        }
    }
    switches
}

fn show(inner: &Inner, addressed: &Addressed, consents: &Consents, token: &str, headers: &HeaderMap, saved: bool) -> Response {
    let site = inner.site();
    let language = words::language(&site, addressed.language.as_deref(), headers);
    let chain = words::chain(&site, language);
    let mut topics: Vec<serde_json::Value> = Vec::new();
    for (topic, way, is_on) in switches(&site, consents, addressed.channel) {
        let title = site.topics.get(topic).map_or(topic, |(title, ..)| title.pick(&chain));
        topics.push(json!({ "field": format!("{topic}/{way}"), "title": title, "channel": words::channel(language, way), "on": is_on }));
    }
    let address = addressed.address.as_deref().map(pages::masked);
    pages::page(StatusCode::OK, "preferences", language, &json!({ "topics": topics, "address": address, "token": token, "saved": saved }))
}

/// Stores what was changed. What is not on the page is not touched. False when the database is away.
async fn save(inner: &Inner, message: MessageId, addressed: &Addressed, headers: &HeaderMap, body: &[u8]) -> bool {
    let Ok(consents) = inner.store.consents_of(addressed.customer_id).await else { return false };
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let ticked = unsubscribe::fields(content_type, body);
    if !ticked.iter().any(|(name, _)| name == "save") {
        return true;
    }
    let site = inner.site();
    let mut choices = Vec::new();
    for (topic, channel, is_on) in switches(&site, &consents, addressed.channel) {
        let wanted = ticked.iter().any(|(name, _)| *name == format!("{topic}/{channel}"));
        if wanted == is_on {
            continue;
        }
        let state = match (wanted, channel.code() == addressed.channel) {
            (false, _) => ConsentState::Withdrawn,
            // The token came to that very address.
            (true, true) => ConsentState::Confirmed,
            (true, false) => ConsentState::Granted,
        };
        choices.push(Choice { topic: topic.to_string(), channel, state });
    }
    choices.sort_by(|a, b| (&a.topic, a.channel).cmp(&(&b.topic, b.channel)));
    inner.store.record_choices(addressed.customer_id, &choices, inner.clock.now(), message).await.is_ok()
}
