//! The open pixel and the redirect.

use super::visitor::Visitor;
use super::{Inner, Shared, pages};
use crate::store::micros;
use crate::store::responses::{ResponseRow, Scope, digest};
use crate::tracking::recorder::NotRecorded;
use crate::tracking::{Click, Kind, Utm, utm};
use crate::types::{MessageId, Response as Answer, Verdict};
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::time::Duration;

/// A transparent GIF of one pixel (standards.md §6).
const PIXEL: [u8; 43] = *b"GIF89a\x01\0\x01\0\xf0\0\0\0\0\0\0\0\0\x21\xf9\x04\x01\0\0\0\0\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0\x3b";

/// How long a person waits, where there is no journal, before the answer comes without the database; the hit stays in its queue.
const PATIENCE: Duration = Duration::from_secs(3);

/// The same for good and bad tokens.
pub fn pixel() -> Response {
    let headers = [
        ("content-type", "image/gif"),
        ("cache-control", "no-store, no-cache, must-revalidate, private, max-age=0"),
        ("pragma", "no-cache"),
        ("expires", "0"),
        ("cross-origin-resource-policy", "cross-origin"),
        ("x-robots-tag", "noindex"),
    ];
    (headers, PIXEL.as_slice()).into_response()
}

pub async fn open(axum::extract::State(inner): Shared, method: Method, Path(token): Path<String>, visitor: Visitor) -> Response {
    if !is_visit(&method) {
        return not_allowed("GET, HEAD, OPTIONS");
    }
    let token = token.strip_suffix(".gif").unwrap_or(&token);
    if let Some(message) = inner.tokens.read(Kind::Open, token) {
        hit(&inner, Answer::Opened, message, 0, visitor).await;
    }
    pixel()
}

pub async fn click(
    axum::extract::State(inner): Shared,
    method: Method,
    Path(token): Path<String>,
    headers: HeaderMap,
    visitor: Visitor,
) -> Response {
    if !is_visit(&method) {
        return not_allowed("GET, HEAD, OPTIONS");
    }
    let Some(click) = inner.tokens.read_click(&token) else { return pages::not_found(&headers) };
    let target = match tokio::time::timeout(PATIENCE, target(&inner, &click)).await {
        Ok(Ok(Some(target))) => target,
        Ok(Ok(None)) => return pages::not_found(&headers),
        Ok(Err(error)) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a link cannot be looked up");
            return pages::busy();
        }
        Err(_) => {
            tracing::warn!(version = click.version.0, "a link that is not in memory cannot be looked up: the database does not answer");
            return pages::busy();
        }
    };
    hit(&inner, Answer::Clicked, click.message, i32::try_from(click.link).unwrap_or(i32::MAX), visitor).await;
    redirect(&target)
}

/// Where a click leads: the version's literal target, or the sealed personal one if its host is allowed. `None` when there is no such link.
async fn target(inner: &Inner, click: &Click) -> Result<Option<String>, crate::store::Error> {
    let Some(links) = inner.links(click.version).await? else { return Ok(None) };
    let site = inner.site();
    let target = match &click.target {
        Some(personal) if links.allows(personal, &site.link_hosts) => personal.clone(),
        Some(_) => {
            tracing::warn!(version = click.version.0, link = click.link, "a personal link leads to a host that is not in link_hosts");
            return Ok(None);
        }
        None => {
            let Some(literal) = links.literal(click.link) else { return Ok(None) };
            let utm = Utm { source: &site.workspace, medium: click.channel.word(), campaign: &links.campaign };
            if click.utm { utm::added(literal, &utm, click.link) } else { literal.to_string() }
        }
    };
    Ok(Some(with_conversion_key(inner, target, click.message)))
}

/// An author who writes an empty parameter `ck=` into a link gets the conversion token there: the shop keeps it and gives it back with a purchase.
fn with_conversion_key(inner: &Inner, target: String, message: MessageId) -> String {
    let (address, fragment) = target.find('#').map_or((target.as_str(), ""), |at| target.split_at(at));
    let Some((path, query)) = address.split_once('?') else { return target };
    if message.0 == 0 || !query.split('&').any(|pair| pair == "ck=") {
        return target;
    }
    let token = inner.tokens.sign(Kind::Conversion, message);
    let filled: Vec<String> = query.split('&').map(|pair| if pair == "ck=" { format!("ck={token}") } else { pair.to_string() }).collect();
    format!("{path}?{}{fragment}", filled.join("&"))
}

fn redirect(target: &str) -> Response {
    let Ok(location) = ascii(target).parse::<HeaderValue>() else { return pages::busy() };
    let headers = [
        (header::LOCATION, location),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::REFERRER_POLICY, HeaderValue::from_static("strict-origin-when-cross-origin")),
        (header::HeaderName::from_static("x-robots-tag"), HeaderValue::from_static("noindex")),
    ];
    (StatusCode::FOUND, headers).into_response()
}

/// An address that a header can carry: what is not ASCII or is a space is percent-encoded, a host in another script is in its ASCII form.
fn ascii(target: &str) -> String {
    if target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return target.to_string();
    }
    url::Url::parse(target).map_or_else(|_| url::form_urlencoded::byte_serialize(target.as_bytes()).collect(), String::from)
}

/// Records an open or a click and waits until it is durable, for a while. Message 0 is nobody's.
async fn hit(inner: &Inner, response: Answer, message: MessageId, link: i32, visitor: Visitor) {
    if message.0 == 0 {
        return;
    }
    let now = inner.clock.now();
    // Two seconds are one hit: the same for the same visitor, message and link.
    let seconds = micros(now) / 2_000_000;
    let address = visitor.address.map(|address| address.to_string()).unwrap_or_default();
    let kind = [response.code() as u8, u8::from(visitor.visit.head)];
    let source_key = digest(&[
        b"hit",
        &kind,
        &message.0.to_be_bytes(),
        &link.to_be_bytes(),
        &seconds.to_be_bytes(),
        address.as_bytes(),
        visitor.visit.agent.as_bytes(),
    ]);
    let row = ResponseRow {
        message,
        response,
        at: now,
        received_at: now,
        link,
        visit: Some(visitor.visit),
        verdict: Verdict::Human,
        bounce: None,
        scope: Scope::Topic,
        source: String::new(),
        source_key,
    };
    match inner.recorder.hit(row, visitor.address, PATIENCE).await {
        Ok(_) | Err(NotRecorded::Refused) => {}
        Err(error) => tracing::warn!(%error, message = message.0, "a hit was answered before it was stored"),
    }
}

fn is_visit(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

pub fn not_allowed(allowed: &'static str) -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, allowed)]).into_response()
}
