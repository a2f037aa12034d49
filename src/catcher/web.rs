//! The catcher's page, its JSON, and a stand-in for Twilio's Messages resource.
//!
//! Numbers that begin with +1500555 answer as Twilio's own test numbers do: …0001 is no number (21211), …0002 cannot be reached (21612),
//! …0003 is in a country that is not allowed (21408), …0004 has said STOP (21610), …0009 takes no SMS (21614); …0429 is told to wait,
//! …0999 is taken and never answered.

use super::{Inbox, Message};
use crate::types::Channel;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::net::TcpListener;

pub(super) async fn serve(listener: TcpListener, inbox: Arc<Inbox>) {
    let router = Router::new()
        .route("/", get(async || Html(include_str!("page.html"))))
        .route("/messages.json", get(list).delete(clear))
        .route("/messages/{number}", get(one))
        .route("/messages/{number}/html", get(html))
        .route("/messages/{number}/source", get(source))
        .route("/2010-04-01/Accounts/{account}/Messages.json", post(twilio))
        .with_state(inbox);
    let _ = axum::serve(listener, router).await;
}

type Shared = State<Arc<Inbox>>;

#[derive(Deserialize)]
struct Page {
    /// Only those with a smaller number.
    before: Option<u64>,
    limit: Option<usize>,
    /// Only those where this stands in sender, recipient or subject.
    find: Option<String>,
}

/// Newest first.
async fn list(State(inbox): Shared, Query(page): Query<Page>) -> Json<Value> {
    let (count, kept) = {
        let state = inbox.state();
        (state.count, state.messages.iter().rev().cloned().collect::<Vec<_>>())
    };
    let find = page.find.unwrap_or_default().to_lowercase();
    let messages: Vec<Value> = kept
        .iter()
        .filter(|message| page.before.is_none_or(|before| message.number < before))
        .map(|message| summary(message))
        .filter(|summary| {
            find.is_empty()
                || ["from", "to", "subject"].iter().any(|key| summary[key].as_str().is_some_and(|text| text.to_lowercase().contains(&find)))
        })
        .take(page.limit.unwrap_or(100).min(1000))
        .collect();
    Json(json!({ "count": count, "kept": kept.len(), "messages": messages }))
}

fn summary(message: &Message) -> Value {
    let letter = message.letter();
    let subject = match message.channel {
        Channel::Email => letter.subject,
        _ => letter.text.chars().take(200).collect(),
    };
    json!({
        "number": message.number, "received": message.received, "channel": message.channel, "from": letter.from, "to": letter.to,
        "envelope_from": message.from, "envelope_to": message.to, "subject": subject, "octets": message.raw.len()
    })
}

async fn clear(State(inbox): Shared) -> StatusCode {
    inbox.clear();
    StatusCode::NO_CONTENT
}

async fn one(State(inbox): Shared, Path(number): Path<u64>) -> Response {
    let Some(message) = inbox.find(number) else { return gone() };
    let mut all = summary(&message);
    let letter = message.letter();
    all["text"] = json!(letter.text);
    all["html"] = json!(letter.html);
    all["headers"] = json!(letter.headers.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect::<Vec<_>>());
    Json(all).into_response()
}

/// The HTML part by itself: shown in a frame without scripts, where links open a new window.
async fn html(State(inbox): Shared, Path(number): Path<u64>) -> Response {
    let Some(html) = inbox.find(number).and_then(|message| message.letter().html) else { return gone() };
    let policy =
        "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; img-src * data:; style-src 'unsafe-inline' *; font-src *";
    let headers = [(header::CONTENT_SECURITY_POLICY, policy), (header::REFERRER_POLICY, "no-referrer")];
    (headers, Html(format!("<base target=\"_blank\">{html}"))).into_response()
}

async fn source(State(inbox): Shared, Path(number): Path<u64>) -> Response {
    let Some(message) = inbox.find(number) else { return gone() };
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (headers, message.raw.clone()).into_response()
}

fn gone() -> Response {
    (StatusCode::NOT_FOUND, "this message is not kept any more").into_response()
}

async fn twilio(
    State(inbox): Shared,
    Path(account): Path<String>,
    headers: HeaderMap,
    Form(form): Form<BTreeMap<String, String>>,
) -> Response {
    let refused = |status: u16, code: u32, message: &str| {
        let body = json!({ "code": code, "message": message, "more_info": format!("https://www.twilio.com/docs/errors/{code}"), "status": status });
        (StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST), Json(body)).into_response()
    };
    if !headers.contains_key(header::AUTHORIZATION) {
        return refused(401, 20003, "Authenticate");
    }
    let value = |name: &str| form.get(name).cloned().unwrap_or_default();
    let (to, text) = (value("To"), value("Body"));
    let from = form.get("From").or_else(|| form.get("MessagingServiceSid")).cloned().unwrap_or_default();
    if to.is_empty() || from.is_empty() || text.is_empty() {
        return refused(400, 21604, "To, From and Body are needed");
    }
    match to.strip_prefix("+1500555") {
        Some("0001") => return refused(400, 21211, "The 'To' number is not a valid phone number"),
        Some("0002") => return refused(400, 21612, "The 'To' phone number is not currently reachable"),
        Some("0003") => return refused(400, 21408, "Permission to send an SMS has not been enabled for the region"),
        Some("0004") => return refused(400, 21610, "Attempt to send to unsubscribed recipient"),
        Some("0009") => return refused(400, 21614, "'To' number is not a valid mobile number"),
        Some("0429") => return ([(header::RETRY_AFTER, "7")], refused(429, 20429, "Too Many Requests")).into_response(),
        Some("0999") => return std::future::pending().await,
        _ => {}
    }
    if text.chars().count() > 1600 {
        return refused(400, 21617, "The concatenated message body exceeds the 1600 character limit");
    }
    let number = inbox.keep(Channel::Sms, from.clone(), to.clone(), text.clone().into_bytes());
    let sid = format!("SM{number:032x}");
    let answer = json!({ "sid": sid, "account_sid": account, "status": "queued", "from": from, "to": to, "body": text, "error_code": null, "error_message": null });
    (StatusCode::CREATED, Json(answer)).into_response()
}
