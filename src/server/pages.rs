//! How our pages look: no script, no cookie, readable with every eye and every screen reader, on a phone of 320 pixels and at fourfold size.
//!
//! Text is escaped where it is put in; the only style is the one in `pages/style.css`, and the policy names it by its hash, so that nothing
//! that somebody smuggles into a title runs, loads or paints anything. Nobody may put the pages into a frame.

use super::{Site, words};
use crate::store::links::Addressed;
use aws_lc_rs::digest;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use handlebars::Handlebars;
use serde_json::{Value, json};
use std::sync::LazyLock;

const STYLE: &str = include_str!("pages/style.css");

static TEMPLATES: LazyLock<Handlebars<'static>> = LazyLock::new(|| {
    let mut templates = Handlebars::new();
    for (name, text) in [
        ("layout", include_str!("pages/layout.hbs")),
        ("title", include_str!("pages/title.hbs")),
        ("facts", include_str!("pages/facts.hbs")),
        ("message", include_str!("pages/message.hbs")),
        ("unsubscribe", include_str!("pages/unsubscribe.hbs")),
        ("unsubscribed", include_str!("pages/unsubscribed.hbs")),
        ("confirm", include_str!("pages/confirm.hbs")),
        ("confirmed", include_str!("pages/confirmed.hbs")),
        ("preferences", include_str!("pages/preferences.hbs")),
        ("form", include_str!("pages/form.hbs")),
        ("form_taken", include_str!("pages/form_taken.hbs")),
    ] {
        if let Err(error) = templates.register_template_string(name, text) {
            tracing::error!(%error, name, "a page's template is broken");
        }
    }
    templates
});

static STYLE_HASH: LazyLock<String> = LazyLock::new(|| STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes())));

/// What a page may do: wear our style, post to `targets`, and be framed by `framed`.
pub fn policy(targets: &str, framed: &str) -> String {
    let style = &*STYLE_HASH;
    format!("default-src 'none'; style-src 'sha256-{style}'; form-action {}; frame-ancestors {framed}; base-uri 'none'", targets.trim_end())
}

static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let policy = policy("'self'", "'none'");
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"))
});

/// A page in one of `words::LANGUAGES`; its heading is the text `NAME_title`. Of the data, the layout shows `sender` ([`about`]), and puts
/// `announce` before the title of the window, so that what happened is heard first. A page without a template of its own says `NAME_text`.
pub fn page(status: StatusCode, name: &str, language: &str, data: &Value) -> Response {
    let title = words::text(language, &format!("{name}_title"));
    let mut response = titled(status, name, language, title, data);
    response.headers_mut().insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    response
}

/// A page with a title of its own. Without a template of its name it says its text `NAME_text`.
pub fn titled(status: StatusCode, name: &str, language: &str, title: &str, data: &Value) -> Response {
    let texts = words::texts(language);
    let (template, message) = match TEMPLATES.has_template(name) {
        true => (name, None),
        false => ("message", texts.get(format!("{name}_text"))),
    };
    let rendered = TEMPLATES.render(template, &json!({ "t": texts, "d": data, "message": message })).and_then(|body| {
        let whole = json!({ "language": language, "title": title, "body": body, "style": STYLE, "t": texts, "d": data });
        TEMPLATES.render("layout", &whole)
    });
    let html = rendered.unwrap_or_else(|error| {
        tracing::error!(%error, name, "a page could not be rendered");
        String::new()
    });
    let mut response = (status, Html(html)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_str(language).unwrap_or(HeaderValue::from_static("en")));
    guard(headers);
    response
}

/// Headers of everything that opens by a token.
pub fn guard(headers: &mut HeaderMap) {
    for (name, value) in [
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-robots-tag", "noindex"),
        ("x-content-type-options", "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// As [`guard`], for whatever an address answers.
pub async fn guarded(mut response: Response) -> Response {
    guard(response.headers_mut());
    response
}

/// What a page says of its message: the sender, the topic, the address as its owner recognises it.
pub fn about(site: &Site, addressed: Option<&Addressed>, language: &str) -> Value {
    let topic = addressed.and_then(|addressed| addressed.topic.as_deref());
    let title = topic.map(|topic| match site.topics.get(topic) {
        Some((title, ..)) => words::titled(site, title, language),
        None => json!({ "text": topic }),
    });
    json!({
        "sender": sender(site, topic, language),
        "topic": title,
        "address": addressed.and_then(|addressed| addressed.address.as_deref()).map(masked),
    })
}

/// Who sends a topic: the head of a page, and its foot.
pub fn sender(site: &Site, topic: Option<&str>, language: &str) -> Value {
    let sender = topic.and_then(|topic| site.senders.get(topic)).or(site.sender.as_ref());
    let name = sender.map_or_else(|| json!({ "text": site.workspace }), |sender| words::titled(site, &sender.name, language));
    let initial: String =
        name.get("text").and_then(Value::as_str).unwrap_or_default().chars().find(|c| c.is_alphanumeric()).into_iter().collect();
    json!({
        "name": name,
        "initial": initial.to_uppercase(),
        "postal_address": sender.and_then(|sender| sender.postal_address.as_ref()).map(|address| words::titled(site, address, language)),
        "contact": sender.and_then(|sender| sender.contact.as_deref()),
    })
}

/// [`about`], and more.
pub fn with(mut about: Value, more: Value) -> Value {
    if let (Value::Object(about), Value::Object(more)) = (&mut about, more) {
        about.extend(more);
    }
    about
}

pub fn not_found(headers: &HeaderMap) -> Response {
    page(StatusCode::NOT_FOUND, "not_found", words::from_browser(headers).unwrap_or("en"), &Value::Null)
}

/// A message that can no longer be shown.
pub fn gone(headers: &HeaderMap) -> Response {
    page(StatusCode::GONE, "gone", words::from_browser(headers).unwrap_or("en"), &Value::Null)
}

/// We cannot answer now; the same request may be made again.
pub fn busy() -> Response {
    let text = "We cannot answer right now. Please try again in a minute.\n";
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "30"), (header::CACHE_CONTROL, "no-store")], text).into_response()
}

/// As [`busy`], for people.
pub fn away(headers: &HeaderMap) -> Response {
    let mut response = page(StatusCode::SERVICE_UNAVAILABLE, "away", words::from_browser(headers).unwrap_or("en"), &Value::Null);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("30"));
    response
}

/// An address as its owner recognises it and nobody else learns it: `a…@example.org`, `+380…67`.
pub fn masked(address: &str) -> String {
    let first: String = address.chars().take(1).collect();
    match address.rsplit_once('@') {
        Some((_, domain)) => format!("{first}…@{domain}"),
        None => {
            let count = address.chars().count();
            let start: String = address.chars().take(4.min(count / 2)).collect();
            let end: String = address.chars().skip(count.saturating_sub(2)).collect();
            format!("{start}…{end}")
        }
    }
}
