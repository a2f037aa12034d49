//! Double opt-in: a page with a button; only its POST confirms, never a GET, so that scanners confirm nobody.

use super::visitor::Visitor;
use super::{Inner, Shared, forms, pages, unsubscribe, words};
use crate::customers::signup::{self, Confirmation};
use crate::store::links::{Addressed, Choice};
use crate::tracking::Kind;
use crate::types::{Channel, ConsentState, MessageId};
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

pub async fn page(
    axum::extract::State(inner): Shared,
    method: Method,
    Path(token): Path<String>,
    headers: HeaderMap,
    visitor: Visitor,
    body: Bytes,
) -> Response {
    let (message, addressed) = match super::opened(&inner, Kind::Confirm, &token, &method, &headers).await {
        Ok(opened) => opened,
        Err(answer) => return *answer,
    };
    // A message without a topic asks for nothing that could be confirmed.
    let Some(topic) = addressed.topic.clone() else { return pages::not_found(&headers) };
    if inner.clock.now() > crate::store::from_micros(addressed.at) + signup::LINK_LIFE {
        return pages::not_found(&headers);
    }
    if method == Method::POST {
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !unsubscribe::fields(content_type, &body).iter().any(|(name, _)| name == "confirm") {
            return (StatusCode::BAD_REQUEST, "the button of the page was not pressed\n").into_response();
        }
        if !confirm(&inner, &addressed, &topic, message, &visitor).await {
            return pages::busy();
        }
    }
    let site = inner.site();
    let language = words::language(&site, addressed.language.as_deref(), &headers);
    let title = site.topics.get(&topic).map(|(title, ..)| title.pick(&words::chain(&site, language)).to_string());
    let address = addressed.address.as_deref().map(pages::masked);
    let name = if method == Method::POST { "confirmed" } else { "confirm" };
    pages::page(StatusCode::OK, name, language, &json!({ "topic": title.unwrap_or(topic), "address": address }))
}

/// False when the database is away. Who has confirmed already, and who has withdrawn since the message, stays as they are.
async fn confirm(inner: &Inner, addressed: &Addressed, topic: &str, message: MessageId, visitor: &Visitor) -> bool {
    let channel = Channel::from_code(addressed.channel).unwrap_or(Channel::Email);
    let network = forms::network(visitor.address, &visitor.visit.network);
    let confirmation = Confirmation {
        message,
        customer: addressed.customer_id,
        channel,
        topic,
        address: addressed.address.as_deref(),
        network: &network,
        agent: &visitor.visit.agent,
        at: inner.clock.now(),
    };
    match signup::confirm(&inner.store, &confirmation).await {
        Ok(forms) if forms.is_empty() => {}
        Ok(forms) => {
            forms.iter().for_each(|form| inner.forms.count(form, "confirmed", confirmation.at));
            return true;
        }
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, message = message.0, "a confirmation was not stored");
            return false;
        }
    }
    // Not by a form: brought in by an import as pending, or confirmed already.
    let Ok(consents) = inner.store.consents_of(addressed.customer_id).await else { return false };
    match consents.get(&(topic.to_string(), addressed.channel)) {
        Some((ConsentState::Confirmed, _)) => return true,
        Some((ConsentState::Withdrawn, since)) if *since > addressed.at => return true,
        _ => {}
    }
    let choice = Choice { topic: topic.to_string(), channel, state: ConsentState::Confirmed };
    inner.store.record_choices(addressed.customer_id, &[choice], inner.clock.now(), message).await.is_ok()
}
