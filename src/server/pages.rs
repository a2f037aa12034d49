//! How our pages look: no script, no cookie, readable with every eye and every screen reader.

use super::words;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use handlebars::Handlebars;
use serde_json::{Value, json};
use std::sync::LazyLock;

static TEMPLATES: LazyLock<Handlebars<'static>> = LazyLock::new(|| {
    let mut templates = Handlebars::new();
    for (name, text) in [
        ("layout", include_str!("pages/layout.hbs")),
        ("unsubscribe", include_str!("pages/unsubscribe.hbs")),
        ("unsubscribed", include_str!("pages/unsubscribed.hbs")),
        ("confirm", include_str!("pages/confirm.hbs")),
        ("confirmed", include_str!("pages/confirmed.hbs")),
        ("preferences", include_str!("pages/preferences.hbs")),
        ("not_found", include_str!("pages/not_found.hbs")),
        ("gone", include_str!("pages/gone.hbs")),
        ("form", include_str!("pages/form.hbs")),
        ("form_taken", include_str!("pages/form_taken.hbs")),
    ] {
        if let Err(error) = templates.register_template_string(name, text) {
            tracing::error!(%error, name, "a page's template is broken");
        }
    }
    templates
});

/// A page in one of `words::LANGUAGES`.
pub fn page(status: StatusCode, name: &str, language: &str, data: &Value) -> Response {
    let title = match name {
        "unsubscribe" => "unsubscribe_title",
        "unsubscribed" => "unsubscribed_title",
        "preferences" => "preferences_title",
        "confirm" => "confirm_title",
        "confirmed" => "confirmed_title",
        "gone" => "gone_title",
        _ => "not_found_title",
    };
    let texts = words::texts(language);
    let title = texts.get(title).cloned().unwrap_or_default();
    titled(status, name, language, &title, &texts, data)
}

/// A page with a title and texts of its own.
pub fn titled(status: StatusCode, name: &str, language: &str, title: &Value, texts: &Value, data: &Value) -> Response {
    let body = TEMPLATES.render(name, &json!({ "t": texts, "d": data })).unwrap_or_default();
    let html = TEMPLATES.render("layout", &json!({ "language": language, "title": title, "body": body })).unwrap_or_default();
    let mut response = (status, Html(html)).into_response();
    let policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    guard(response.headers_mut());
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
