//! Unsubscription: a page with a button (GET changes nothing), and the one-click POST of RFC 8058.

use super::visitor::Visitor;
use super::{Inner, Shared, pages, words};
use crate::store::links::Addressed;
use crate::store::responses::{Recorded, ResponseRow, Scope};
use crate::tracking::Kind;
use crate::types::{MessageId, Response as Answer, Verdict};
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::time::Duration;

/// A mailbox provider waits longer than a person, and tries again after a 503.
const PATIENCE: Duration = Duration::from_secs(20);

pub async fn page(
    axum::extract::State(inner): Shared,
    method: Method,
    Path(token): Path<String>,
    headers: HeaderMap,
    _visitor: Visitor,
    body: Bytes,
) -> Response {
    let Some(message) = inner.tokens.read(Kind::Unsubscribe, &token) else { return pages::not_found(&headers) };
    match method {
        Method::GET | Method::HEAD => show(&inner, message, &headers).await,
        Method::POST => act(&inner, message, &headers, &body).await,
        _ => super::response::not_allowed("GET, HEAD, POST"),
    }
}

async fn show(inner: &Inner, message: MessageId, headers: &HeaderMap) -> Response {
    let addressed = match inner.store.addressed(message).await {
        Ok(addressed) => addressed,
        Err(_) => return pages::away(headers),
    };
    let (language, about) = about(inner, message, addressed.as_ref(), headers);
    pages::page(StatusCode::OK, "unsubscribe", language, &about)
}

/// The language of the page, and what it says of its message.
fn about(inner: &Inner, message: MessageId, addressed: Option<&Addressed>, headers: &HeaderMap) -> (&'static str, Value) {
    let site = inner.site();
    let language = words::language(&site, addressed.and_then(|addressed| addressed.language.as_deref()), headers);
    let preferences = (!site.topics.is_empty()).then(|| inner.tokens.sign(Kind::Preferences, message));
    (language, pages::with(pages::about(&site, addressed, language), json!({ "preferences": preferences })))
}

/// What a POST asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    OneClick,
    Button(Scope),
}

async fn act(inner: &Inner, message: MessageId, headers: &HeaderMap, body: &[u8]) -> Response {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Some(asked) = asked(content_type, body) else {
        return (StatusCode::BAD_REQUEST, "List-Unsubscribe=One-Click is missing from the request\n").into_response();
    };
    let scope = match asked {
        Asked::OneClick => Scope::Topic,
        Asked::Button(scope) => scope,
    };
    let source = if asked == Asked::OneClick { "one_click" } else { "page" };
    if !record(inner, message, scope, source).await {
        return if asked == Asked::OneClick { pages::busy() } else { pages::away(headers) };
    }
    if asked == Asked::OneClick {
        return (StatusCode::OK, [(header::CACHE_CONTROL, "no-store")], "Unsubscribed\n").into_response();
    }
    let addressed = inner.store.addressed(message).await.ok().flatten();
    let (language, about) = about(inner, message, addressed.as_ref(), headers);
    let is_of_topic = scope == Scope::Topic && about.get("topic").is_some_and(|topic| !topic.is_null());
    let mut more = json!({ "all": !is_of_topic });
    if !is_of_topic {
        more["topic"] = Value::Null;
    }
    pages::page(StatusCode::OK, "unsubscribed", language, &pages::with(about, more))
}

/// Records that the message's reader unsubscribes. False when the database is away.
pub(super) async fn record(inner: &Inner, message: MessageId, scope: Scope, source: &str) -> bool {
    let now = inner.clock.now();
    let row = ResponseRow {
        message,
        response: Answer::Unsubscribed,
        at: now,
        received_at: now,
        link: 0,
        visit: None,
        verdict: Verdict::Human,
        bounce: None,
        scope,
        source: source.into(),
        source_key: [0; 16],
    };
    match inner.recorder.record(row, PATIENCE).await {
        // What is well signed and unknown has nothing left to unsubscribe.
        Ok(Recorded::New | Recorded::Repeat | Recorded::Unknown | Recorded::TooMany) => true,
        Err(error) => {
            tracing::warn!(%error, message = message.0, "an unsubscription was not stored");
            false
        }
    }
}

fn asked(content_type: &str, body: &[u8]) -> Option<Asked> {
    let fields = fields(content_type, body);
    let value = |name: &str| fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
    if value("List-Unsubscribe").is_some_and(|value| value.eq_ignore_ascii_case("One-Click")) {
        return Some(Asked::OneClick);
    }
    match value("scope")? {
        "topic" => Some(Asked::Button(Scope::Topic)),
        "all" => Some(Asked::Button(Scope::Everything)),
        _ => None,
    }
}

/// The fields of the form that a page sent.
pub(super) fn form(headers: &HeaderMap, body: &[u8]) -> Vec<(String, String)> {
    fields(headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default(), body)
}

/// The fields of a form, urlencoded or multipart. Anything else has none.
pub(super) fn fields(content_type: &str, body: &[u8]) -> Vec<(String, String)> {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        "application/x-www-form-urlencoded" | "" => url::form_urlencoded::parse(body).into_owned().take(200).collect(),
        "multipart/form-data" => multipart(content_type, body).unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// Small text fields of a multipart form (RFC 7578); files are of no interest here.
fn multipart(content_type: &str, body: &[u8]) -> Option<Vec<(String, String)>> {
    let boundary = content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
    })?;
    let text = String::from_utf8_lossy(body);
    let mut fields = Vec::new();
    for part in text.split(&format!("--{boundary}")).skip(1).take(200) {
        let Some((head, value)) = part.split_once("\r\n\r\n").or_else(|| part.split_once("\n\n")) else { continue };
        let Some(name) = head.split(['\r', '\n', ';']).find_map(|word| word.trim().strip_prefix("name=")) else { continue };
        fields.push((name.trim_matches('"').to_string(), value.trim_end_matches(['\r', '\n']).to_string()));
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_click_and_the_page_s_buttons_ask_for_something() {
        let form = "application/x-www-form-urlencoded";
        let parts = "multipart/form-data; boundary=---FormBoundaryjWmhtjORrn";
        for (content_type, body, expected) in [
            (form, "List-Unsubscribe=One-Click", Some(Asked::OneClick)),
            ("application/x-www-form-urlencoded; charset=utf-8", "list-unsubscribe=one-click", Some(Asked::OneClick)),
            (
                parts,
                "-----FormBoundaryjWmhtjORrn\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n-----FormBoundaryjWmhtjORrn--\r\n",
                Some(Asked::OneClick),
            ),
            (form, "scope=all", Some(Asked::Button(Scope::Everything))),
            (form, "scope=topic", Some(Asked::Button(Scope::Topic))),
            (form, "scope=x", None),
            (form, "", None),
            (form, "List-Unsubscribe=Two-Click", None),
            ("application/json", "{\"List-Unsubscribe\":\"One-Click\"}", None),
            ("multipart/form-data", "List-Unsubscribe=One-Click", None),
            (parts, "\u{fffd}---", None),
        ] {
            assert_eq!(asked(content_type, body.as_bytes()), expected, "{content_type} {body}");
        }
    }
}
