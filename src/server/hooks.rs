//! Webhooks of providers: `/hooks/PROVIDER` or `/hooks/PROVIDER/SECRET`, PROVIDER being the name in posthaste.yaml.
//!
//! A request is proved to be the provider's, stored once, and answered; the engine reads it afterwards (`feedback`). What is proved and cannot be
//! read is kept for people and answered well, so that nobody sends it for ever. While the database is away the answer is 503: all providers try again.

use super::{Inner, Shared, pages};
use crate::kill_points::{Point, reached};
use crate::store::hooks::{HookCount, NewHook};
use crate::store::responses::digest;
use crate::types::Time;
use crate::webhooks::{self, Door, Kind, Refused, Request, Stored, ses};
use axum::Json;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{OriginalUri, Path};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Bytes of a request at most; a batch of a thousand events has less than one million.
const LARGEST: usize = 4 << 20;
/// Requests under way at once: what they may hold in memory is bounded. Who has no place is not read.
const AT_ONCE: usize = 64;
/// How long the body of a request may take.
const BODY: Duration = Duration::from_secs(10);
/// Providers give up after two to ten seconds.
const PATIENCE: Duration = Duration::from_millis(1800);
/// Of Amazon's certificates.
const LARGEST_CERTIFICATE: usize = 64 << 10;

/// Where webhooks come in.
#[derive(Debug, Clone, Default)]
pub struct Hooks {
    /// As providers call us; without a slash at the end.
    pub public_url: String,
    /// By the provider's name.
    pub doors: BTreeMap<String, Door>,
}

/// Fetches what a webhook names: Amazon's certificates and confirmations. Whoever calls has checked the host.
pub trait Fetch: Send + Sync {
    fn get<'a>(&'a self, url: &'a str) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + 'a>>;
}

/// Fetches over the network.
pub struct Network(reqwest::Client);

impl Network {
    /// The error says why there is no client.
    pub fn new() -> Result<Network, String> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_millis(1500))
            .user_agent("posthaste")
            .build();
        client.map(Network).map_err(|error| error.to_string())
    }
}

impl Fetch for Network {
    fn get<'a>(&'a self, url: &'a str) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + 'a>> {
        Box::pin(async move {
            let mut response = self.0.get(url).send().await.map_err(|error| error.to_string())?;
            if !response.status().is_success() {
                return Err(format!("answered {}", response.status()));
            }
            let mut body = Vec::new();
            while let Some(piece) = response.chunk().await.map_err(|error| error.to_string())? {
                body.extend_from_slice(&piece);
                if body.len() > LARGEST_CERTIFICATE {
                    return Err("answered too much".into());
                }
            }
            String::from_utf8(body).map_err(|error| error.to_string())
        })
    }
}

/// What the webhooks share.
pub(super) struct Desk {
    hooks: Mutex<Arc<Hooks>>,
    fetch: Mutex<Option<Arc<dyn Fetch>>>,
    certificates: Mutex<HashMap<String, String>>,
    /// (provider, outcome, day) → how many since they were written last.
    counts: Mutex<BTreeMap<(String, &'static str, i64), i64>>,
    places: Semaphore,
}

impl Default for Desk {
    fn default() -> Self {
        Desk {
            hooks: Mutex::default(),
            fetch: Mutex::default(),
            certificates: Mutex::default(),
            counts: Mutex::default(),
            places: Semaphore::new(AT_ONCE),
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    pub fn set(&self, hooks: Hooks) {
        *lock(&self.hooks) = Arc::new(hooks);
    }

    pub fn set_fetch(&self, fetch: Arc<dyn Fetch>) {
        *lock(&self.fetch) = Some(fetch);
    }

    fn count(&self, provider: &str, outcome: &'static str, now: Time) {
        let mut counts = lock(&self.counts);
        // Only names of ours stand here: what a stranger makes up is not counted.
        *counts.entry((provider.to_string(), outcome, now.timestamp().div_euclid(86_400))).or_insert(0) += 1;
    }

    /// What was counted since the last time; whoever could not write it gives it back.
    pub fn take_counts(&self) -> Vec<HookCount> {
        let counts = std::mem::take(&mut *lock(&self.counts));
        let row = |((provider, outcome, day), count): ((String, &str, i64), i64)| HookCount {
            provider,
            outcome: outcome.to_string(),
            day,
            count,
        };
        counts.into_iter().map(row).collect()
    }

    async fn fetched(&self, url: &str) -> Result<String, String> {
        let fetch = lock(&self.fetch).clone().ok_or("nothing is fetched here")?;
        fetch.get(url).await
    }

    /// A certificate, kept for as long as the process lives: its name changes when it does.
    async fn certificate(&self, url: &str) -> Result<String, String> {
        if let Some(known) = lock(&self.certificates).get(url) {
            return Ok(known.clone());
        }
        let certificate = self.fetched(url).await?;
        let mut kept = lock(&self.certificates);
        if kept.len() >= 32 {
            kept.clear();
        }
        kept.insert(url.to_string(), certificate.clone());
        Ok(certificate)
    }
}

pub(super) async fn open(state: Shared, Path(provider): Path<String>, call: Call, body: Body) -> Response {
    take(&state.0, &provider, None, &call, body).await
}

pub(super) async fn open_secret(state: Shared, Path((provider, secret)): Path<(String, String)>, call: Call, body: Body) -> Response {
    take(&state.0, &provider, Some(&secret), &call, body).await
}

/// Everything of a request but its body.
#[derive(axum::extract::FromRequestParts)]
pub(super) struct Call {
    method: Method,
    uri: OriginalUri,
    headers: HeaderMap,
}

async fn take(inner: &Inner, provider: &str, secret: Option<&str>, call: &Call, body: Body) -> Response {
    let desk = &inner.desk;
    let hooks = lock(&desk.hooks).clone();
    let Some((name, door)) = hooks.doors.get_key_value(provider) else {
        return answer(StatusCode::NOT_FOUND, "no provider of this name takes webhooks here: see `webhooks` in posthaste.yaml");
    };
    match call.method {
        Method::POST | Method::GET => {}
        // Some look whether anybody is there before they keep an address.
        Method::HEAD => return StatusCode::OK.into_response(),
        _ => return super::response::not_allowed("GET, HEAD, POST"),
    }
    let path = call.uri.path_and_query().map_or("", |path| path.as_str());
    let url = format!("{}{path}", hooks.public_url);
    let headers: Vec<(String, String)> =
        call.headers.iter().filter_map(|(name, value)| Some((name.as_str().to_string(), value.to_str().ok()?.to_string()))).collect();
    let mut request = Request { method: call.method.as_str(), url: &url, headers: &headers, body: &[] };
    let now = inner.clock.now();
    // A stranger without the secret address or the login takes no place, and nothing of theirs is read.
    if let Err(why) = webhooks::knock(&door.locks, &request, secret) {
        return refused(desk, name, why, now);
    }
    let Ok(_place) = desk.places.try_acquire() else { return pages::busy() };
    let body = match tokio::time::timeout(BODY, to_bytes(body, LARGEST)).await {
        // A GET is its query: not every signature covers what might stand behind it.
        Ok(Ok(_)) if call.method == Method::GET => Bytes::new(),
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return answer(StatusCode::PAYLOAD_TOO_LARGE, "a webhook has at most 4 MiB"),
        Err(_) => return answer(StatusCode::REQUEST_TIMEOUT, "the request did not come to its end"),
    };
    request.body = &body;
    match tokio::time::timeout(PATIENCE, taken(inner, name, door, secret, &request, now)).await {
        Ok(Ok(outcome)) => {
            desk.count(name, outcome, now);
            let kind = if door.kind == Kind::Twilio { "text/xml" } else { "text/plain; charset=utf-8" };
            (StatusCode::OK, [(header::CONTENT_TYPE, kind)], webhooks::answer(door.kind)).into_response()
        }
        Ok(Err(NotTaken::Refused(why))) => refused(desk, name, why, now),
        Ok(Err(NotTaken::Busy(why))) => {
            tracing::warn!(provider = name, why, "a webhook is put off: its provider sends it again");
            pages::busy()
        }
        Err(_) => pages::busy(),
    }
}

fn refused(desk: &Desk, name: &str, why: Refused, now: Time) -> Response {
    desk.count(name, word(why), now);
    tracing::warn!(provider = name, %why, "a webhook is refused");
    let status = if why.is_about_login() { StatusCode::UNAUTHORIZED } else { StatusCode::FORBIDDEN };
    answer(status, &why.to_string())
}

enum NotTaken {
    Refused(Refused),
    /// The same may work later.
    Busy(String),
}

impl From<Refused> for NotTaken {
    fn from(why: Refused) -> Self {
        NotTaken::Refused(why)
    }
}

async fn taken(
    inner: &Inner,
    name: &str,
    door: &Door,
    secret: Option<&str>,
    request: &Request<'_>,
    now: Time,
) -> Result<&'static str, NotTaken> {
    let certificate = match door.kind {
        Kind::Ses => {
            // Nothing is fetched for a stranger's topic.
            match webhooks::verify(door.kind, &door.locks, request, secret, None, now) {
                Err(Refused::Certificate) => {}
                Err(why) => return Err(why.into()),
                Ok(()) => {}
            }
            let url = ses::certificate_url(request)?;
            Some(inner.desk.certificate(&url).await.map_err(NotTaken::Busy)?)
        }
        _ => None,
    };
    webhooks::verify(door.kind, &door.locks, request, secret, certificate.as_deref(), now)?;
    if door.kind == Kind::Ses
        && let Some(url) = ses::subscribe_url(request)
    {
        inner.desk.fetched(&url).await.map_err(|why| NotTaken::Busy(format!("the subscription could not be confirmed: {why}")))?;
        tracing::info!(provider = name, "an SNS subscription is confirmed");
    }
    let key = digest(&[door.kind.word().as_bytes(), &webhooks::dedupe(door.kind, request)]);
    let stored = Stored::pack(request).map_err(NotTaken::Busy)?;
    reached(Point::BeforeIntake);
    let hook = NewHook { provider: name.to_string(), kind: door.kind.word(), key, received_at: now, request: stored };
    let is_new = inner.keeping.keep(hook).await.map_err(NotTaken::Busy)?;
    reached(Point::AfterIntake);
    Ok(if is_new { "taken" } else { "repeated" })
}

/// The outcome that a refusal is counted as.
fn word(why: Refused) -> &'static str {
    match why {
        Refused::Closed => "refused: closed",
        Refused::Secret => "refused: secret",
        Refused::Login => "refused: login",
        Refused::Missing(_) | Refused::Signature => "refused: signature",
        Refused::Stale => "refused: too old",
        Refused::Topic => "refused: topic",
        Refused::Certificate => "refused: certificate",
    }
}

fn answer(status: StatusCode, why: &str) -> Response {
    (status, Json(json!({ "error": why }))).into_response()
}
