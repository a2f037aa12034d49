//! View in browser: the message as it was, from the stored version and the snapshot of the variables that the template read.

use super::{Inner, Shared, pages};
use crate::store::links::Addressed;
use crate::store::responses::{ResponseRow, Scope, digest};
use crate::tracking::Kind;
use crate::types::{Channel, MessageId, Response as Answer, RunId, Verdict, VersionId};
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{Html, IntoResponse, Response};
use std::future::Future;
use std::io::Read;
use std::pin::Pin;
use std::time::Duration;

/// What is known about the message to be shown.
#[derive(Debug, Clone)]
pub struct Viewed {
    pub message: MessageId,
    pub run: RunId,
    pub version: VersionId,
    pub campaign: String,
    pub channel: Channel,
    pub arm: i16,
    pub customer: i64,
    pub address: Option<String>,
    pub due_at: crate::types::Time,
    pub language: Option<String>,
    pub zone: Option<String>,
    /// What the template read when it was rendered.
    pub variables: serde_json::Value,
    /// When it was handed over.
    pub at: crate::types::Time,
}

/// Renders a message again.
pub trait View: Send + Sync {
    /// The complete HTML with its marks replaced; `None` when it cannot be rendered any more.
    fn render<'a>(&'a self, viewed: &'a Viewed) -> Pin<Box<dyn Future<Output = Option<String>> + Send + 'a>>;
}

/// A snapshot never unpacks to more.
const LARGEST: u64 = 1 << 20;

pub async fn page(axum::extract::State(inner): Shared, method: Method, Path(token): Path<String>, headers: HeaderMap) -> Response {
    let Some(message) = inner.tokens.read(Kind::View, &token) else { return pages::not_found(&headers) };
    let addressed = match inner.store.addressed(message).await {
        Ok(Some(addressed)) => addressed,
        Ok(None) => return pages::gone(&headers),
        Err(_) => return pages::away(&headers),
    };
    let (Some(view), Some(variables)) = (&inner.view, addressed.snapshot.as_deref().and_then(unpacked)) else {
        return pages::gone(&headers);
    };
    let Some(html) = view.render(&viewed(&addressed, variables)).await else { return pages::gone(&headers) };
    if method == Method::GET {
        record(&inner, message).await;
    }
    let mut response = Html(html).into_response();
    let headers = response.headers_mut();
    // The letter's own HTML: it may show and link, and nothing else.
    let policy = "default-src 'none'; img-src * data:; style-src 'unsafe-inline' *; font-src *; media-src *; sandbox allow-popups allow-top-navigation-by-user-activation";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    pages::guard(headers);
    response
}

/// A view counts once an hour.
async fn record(inner: &Inner, message: MessageId) {
    let now = inner.clock.now();
    let hour = now.timestamp().div_euclid(3600);
    let row = ResponseRow {
        message,
        response: Answer::Viewed,
        at: now,
        received_at: now,
        link: 0,
        visit: None,
        verdict: Verdict::Human,
        bounce: None,
        scope: Scope::Topic,
        source: String::new(),
        source_key: digest(&[b"viewed", &message.0.to_be_bytes(), &hour.to_be_bytes()]),
    };
    if let Err(error) = inner.recorder.hit(row, None, Duration::from_secs(3)).await {
        tracing::warn!(%error, message = message.0, "a view was answered before it was stored");
    }
}

fn viewed(addressed: &Addressed, variables: serde_json::Value) -> Viewed {
    Viewed {
        message: MessageId(addressed.message_id),
        run: RunId(addressed.run_id),
        version: VersionId(addressed.version_id),
        campaign: addressed.campaign.clone(),
        channel: Channel::from_code(addressed.channel).unwrap_or(Channel::Email),
        arm: addressed.arm,
        customer: addressed.customer_id,
        address: addressed.address.clone(),
        due_at: crate::store::from_micros(addressed.due_at),
        language: addressed.language.clone(),
        zone: addressed.zone.clone(),
        variables,
        at: crate::store::from_micros(addressed.at),
    }
}

/// What a template had read: JSON, compressed by Zstandard unless it is short.
pub fn unpacked(snapshot: &[u8]) -> Option<serde_json::Value> {
    if snapshot.starts_with(b"{") {
        return serde_json::from_slice(snapshot).ok();
    }
    let mut text = Vec::new();
    zstd::stream::read::Decoder::new(snapshot).ok()?.take(LARGEST).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}
