//! Forms to sign up: the page `/f/NAME` and what is posted there, from it or from a form on the shop's own site.
//!
//! `GET` shows the page, or, to who asks for JSON, what a site needs to build its own form: the text that is agreed to, its hash, a stamp. `POST` takes
//! urlencoded, multipart and JSON bodies. Whoever posts learns nothing of who is known: every post that can be read is answered the same, after the same
//! time, and so is what a program posts (a field that people do not see, or sooner than people type). A post from a page of a foreign origin is refused.
//! A post without a fresh stamp is shown our page, filled in, with the button to press once more. What a sign-up does is `customers::signup`'s.

use super::limits::{Limit, Limits};
use super::visitor::Visitor;
use super::{Inner, Shared, Site, pages, response, unsubscribe, words};
use crate::campaigns::forms::{TRAP, asked_word};
use crate::campaigns::{Form, Workspace};
use crate::customers::import::Settings;
use crate::customers::keys::Keys;
use crate::customers::signup::{self, Fault, Post};
use crate::literals::ValueType;
use crate::store::signups::FormCount;
use crate::types::{Channel, Time};
use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::TimeDelta;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes of a post at most, and how long they may take to come.
const LARGEST: usize = 16 << 10;
const BODY: Duration = Duration::from_secs(10);
/// No person fills in a form sooner; a stamp is good for a day.
const SOONEST: TimeDelta = TimeDelta::seconds(2);
const LATEST: TimeDelta = TimeDelta::hours(24);
/// Who only has to press the button once more is as quick as this.
const ONCE_MORE: TimeDelta = TimeDelta::milliseconds(1500);
/// Answers that must not tell what is known leave at multiples of this time.
const EVEN: Duration = Duration::from_millis(200);

/// The forms of what is applied, and what is needed to read and take what is posted.
#[derive(Debug, Clone)]
pub struct Forms {
    pub workspace: Workspace,
    pub keys: Keys,
    /// The number of the applied version.
    pub version: i64,
}

impl Forms {
    /// What may post here: our own pages, and those of the form's sites.
    fn is_ours(&self, form: &Form, origin: &str) -> bool {
        let Ok(origin) = url::Url::parse(origin) else { return false };
        let own = url::Url::parse(&self.workspace.public_url).ok();
        let is_own = own.is_some_and(|own| own.origin() == origin.origin());
        let host = origin.host_str().unwrap_or_default();
        is_own || matches!(origin.scheme(), "http" | "https") && form.sites.iter().any(|site| site.eq_ignore_ascii_case(host))
    }

    /// Whether a `Host` is that of our own pages, whatever a proxy before us has made of it.
    fn is_same(&self, headers: &HeaderMap, origin: &str) -> bool {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let origin = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        host.is_some() && host == origin
    }
}

/// What the forms share.
#[derive(Default)]
pub(super) struct Desk {
    forms: Mutex<Option<Arc<Forms>>>,
    limits: Limits,
    /// (form, outcome, day) → how many since they were written last.
    counts: Mutex<BTreeMap<(String, &'static str, i64), i64>>,
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    pub fn set(&self, forms: Forms) {
        *lock(&self.forms) = Some(Arc::new(forms));
    }

    pub fn count(&self, form: &str, outcome: &'static str, now: Time) {
        *lock(&self.counts).entry((form.to_string(), outcome, now.timestamp().div_euclid(86_400))).or_insert(0) += 1;
    }

    /// What was counted since the last time.
    pub fn take_counts(&self) -> Vec<FormCount> {
        let counts = std::mem::take(&mut *lock(&self.counts));
        let row = |((form, outcome, day), count): ((String, &str, i64), i64)| FormCount { form, outcome: outcome.to_string(), day, count };
        counts.into_iter().map(row).collect()
    }
}

/// Everything of a request but its body.
#[derive(axum::extract::FromRequestParts)]
pub(super) struct Call {
    method: Method,
    headers: HeaderMap,
    visitor: Visitor,
}

/// A form that is asked for.
struct Asked<'a> {
    inner: &'a Inner,
    forms: &'a Forms,
    name: &'a str,
    form: &'a Form,
    site: &'a Site,
    call: &'a Call,
    /// Who reads: one of the workspace's languages, and the nearest that our own words speak.
    reader: String,
    language: &'static str,
    now: Time,
}

pub(super) async fn page(axum::extract::State(inner): Shared, Path(name): Path<String>, call: Call, body: Body) -> Response {
    let forms = lock(&inner.forms.forms).clone();
    let Some(forms) = forms else { return pages::not_found(&call.headers) };
    let Some((name, form)) = forms.workspace.forms.get_key_value(&name) else { return pages::not_found(&call.headers) };
    let site = inner.site();
    let reader = reader(&forms.workspace, &call.headers);
    let mut asked = Asked {
        inner: &inner,
        forms: &forms,
        name,
        form,
        site: &site,
        call: &call,
        language: words::language(&site, Some(&reader), &call.headers),
        reader,
        now: inner.clock.now(),
    };
    let mut answer = match call.method {
        Method::GET | Method::HEAD if wants_json(&call.headers) => asked.described(),
        Method::GET | Method::HEAD => asked.shown(StatusCode::OK, &[], &BTreeMap::new(), None, asked.now),
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        Method::POST => match tokio::time::timeout(BODY, to_bytes(body, LARGEST)).await {
            Ok(Ok(body)) => asked.posted(&body).await,
            Ok(Err(_)) => (StatusCode::PAYLOAD_TOO_LARGE, "this is more than a form holds\n").into_response(),
            Err(_) => (StatusCode::REQUEST_TIMEOUT, "the form did not come to its end\n").into_response(),
        },
        _ => response::not_allowed("GET, HEAD, POST, OPTIONS"),
    };
    asked.open_to_sites(&mut answer);
    answer
}

/// The first language of the browser's list that the workspace speaks, else the workspace's first.
fn reader(workspace: &Workspace, headers: &HeaderMap) -> String {
    let list = headers.get(header::ACCEPT_LANGUAGE).and_then(|list| list.to_str().ok()).unwrap_or_default();
    let spoken = list.split(',').take(20).find_map(|entry| {
        let language = entry.split([';', '-']).next()?.trim().to_ascii_lowercase();
        let instead = workspace.fallback.get(&language).cloned();
        [Some(language), instead].into_iter().flatten().find(|language| workspace.languages.contains(language))
    });
    spoken.or_else(|| workspace.languages.first().cloned()).unwrap_or_else(|| "en".to_string())
}

fn wants_json(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    accept.contains("application/json") && !accept.contains("text/html")
}

impl Asked<'_> {
    fn chain(&self) -> Vec<String> {
        self.forms.workspace.language_chain(Some(&self.reader))
    }

    fn consent(&self) -> String {
        self.form.consent.pick(&self.chain()).to_string()
    }

    /// One of our own words for forms.
    fn text(&self, name: &str) -> &'static str {
        words::text(self.language, &format!("form_{name}"))
    }

    /// What is said beside a field.
    fn fault(&self, fault: Fault) -> &'static str {
        self.text(match fault {
            Fault::Missing => "fault_missing",
            Fault::Email => "fault_email",
            Fault::Phone => "fault_phone",
            Fault::NotAgreed => "fault_not_agreed",
            Fault::NoTopic => "fault_no_topic",
            Fault::TooLong => "fault_too_long",
            Fault::Unreadable => "fault_unreadable",
        })
    }

    /// What a site needs to build a form of its own.
    fn described(&self) -> Response {
        let chain = self.chain();
        let consent = self.consent();
        let asks: Vec<&str> = self.form.asks.iter().map(|channel| asked_word(*channel)).collect();
        let fields: Vec<Value> =
            self.form.fields.iter().map(|field| json!({ "name": field.name, "label": field.label.pick(&chain) })).collect();
        let topics: Vec<Value> =
            self.form.topics.iter().map(|topic| json!({ "topic": topic, "title": self.topic_title(topic, &chain) })).collect();
        let mut answer = Json(json!({
            "form": self.name, "title": self.form.title.pick(&chain), "asks": asks, "fields": fields, "topics": topics,
            "language": self.reader, "consent": consent, "wording": signup::hash(&consent), "trap": TRAP,
            "stamp": self.inner.tokens.stamp(self.name, self.now),
        }))
        .into_response();
        pages::guard(answer.headers_mut());
        answer
    }

    fn topic_title(&self, topic: &str, chain: &[String]) -> String {
        self.site.topics.get(topic).map_or(topic, |(title, ..)| title.pick(chain)).to_string()
    }

    /// The page of the form, with what was typed and what is wrong with it.
    fn shown(
        &self,
        status: StatusCode,
        typed: &[(String, String)],
        faults: &BTreeMap<String, Fault>,
        notice: Option<&str>,
        opened: Time,
    ) -> Response {
        let chain = self.chain();
        let value = |name: &str| typed.iter().find(|(typed, _)| typed == name).map_or("", |(_, value)| value.as_str());
        let fault = |name: &str| faults.get(name).map(|fault| self.fault(*fault));
        let mut fields = Vec::new();
        for (place, channel) in self.form.asks.iter().enumerate() {
            let word = asked_word(*channel);
            let (kind, autocomplete) = if *channel == Channel::Sms { ("tel", "tel") } else { ("email", "email") };
            fields.push(json!({
                "name": word, "label": self.text(word), "type": kind, "mode": kind, "autocomplete": autocomplete, "longest": 254,
                "value": value(word), "required": place == 0, "error": fault(word),
            }));
        }
        for field in &self.form.fields {
            let (kind, mode) = match field.kind {
                ValueType::Date => ("date", None),
                ValueType::Number => ("text", Some("decimal")),
                _ => ("text", None),
            };
            let autocomplete = match field.name.as_str() {
                "first_name" => "given-name",
                "last_name" => "family-name",
                "country" => "country",
                "city" => "address-level2",
                "birthday" => "bday",
                _ => "on",
            };
            fields.push(json!({
                "name": field.name, "label": field.label.pick(&chain), "type": kind, "mode": mode, "autocomplete": autocomplete, "longest": 200,
                "value": value(&field.name), "required": false, "tick": field.kind == ValueType::Boolean, "error": fault(&field.name),
            }));
        }
        let chosen = |topic: &str| typed.iter().any(|(name, value)| name == "topic" && value == topic);
        let topics: Vec<Value> = self
            .form
            .topics
            .iter()
            .filter(|_| self.form.topics.len() > 1)
            .map(|topic| json!({ "key": topic, "title": self.topic_title(topic, &chain), "on": chosen(topic) }))
            .collect();
        let consent = self.consent();
        let public = self.forms.workspace.public_url.as_str();
        let path = url::Url::parse(public).map(|url| url.path().trim_end_matches('/').to_string()).unwrap_or_default();
        let data = json!({
            "intro": self.form.intro.as_ref().map(|intro| intro.pick(&chain)),
            "notice": notice, "faulty": !faults.is_empty(), "action": format!("{path}/f/{}", self.name),
            "stamp": self.inner.tokens.stamp(self.name, opened), "language": self.reader, "wording": signup::hash(&consent),
            "fields": fields, "topics": topics, "topic_error": fault("topic"), "consent": consent,
            // Agreed to is what is read: a changed text is not ticked.
            "agreed": notice != Some(self.text("changed")) && !value("agree").is_empty(), "agree_error": fault("agree"), "trap": TRAP,
        });
        self.our_page(self.titled(status, "form", self.form.title.pick(&chain), data))
    }

    /// May be framed by the form's sites, and leads to where people go afterwards.
    fn our_page(&self, mut answer: Response) -> Response {
        let thanks = self.form.thanks.as_deref().and_then(|thanks| Some(url::Url::parse(thanks).ok()?.origin().ascii_serialization()));
        let sites: Vec<String> = self.form.sites.iter().map(|site| format!("https://{site}")).collect();
        let framed = if sites.is_empty() { "'none'".to_string() } else { sites.join(" ") };
        let policy = pages::policy(&format!("'self' {}", thanks.unwrap_or_default()), &framed);
        if let Ok(policy) = HeaderValue::from_str(&policy) {
            answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        // Without it a browser would not say where the post of our own page comes from.
        answer.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
        answer
    }

    /// Lets scripts of the form's sites read the answer.
    fn open_to_sites(&self, answer: &mut Response) {
        let headers = answer.headers_mut();
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = self.call.headers.get(header::ORIGIN) else { return };
        if origin.to_str().is_ok_and(|origin| self.forms.is_ours(self.form, origin)) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type"));
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        }
    }

    /// The page from which a post comes, without what stands behind `?`; `Err` where it is a foreign one. Who names none is no browser.
    fn page(&self) -> Result<String, ()> {
        let headers = &self.call.headers;
        let text = |name: header::HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let is_allowed = |origin: &str| self.forms.is_ours(self.form, origin) || self.forms.is_same(headers, origin);
        let fetch_site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
        match text(header::ORIGIN) {
            Some("null") if fetch_site == Some("same-origin") => {}
            Some(origin) if is_allowed(origin) => {}
            Some(_) => return Err(()),
            None if fetch_site.is_some_and(|site| site == "cross-site") => return Err(()),
            None => {}
        }
        let own = || format!("{}/f/{}", self.forms.workspace.public_url, self.name);
        let Some(referer) = text(header::REFERER) else {
            return Ok(text(header::ORIGIN).filter(|origin| *origin != "null").map_or_else(own, str::to_string));
        };
        let Ok(mut referer) = url::Url::parse(referer) else { return Err(()) };
        if !is_allowed(&referer.origin().ascii_serialization()) {
            return Err(());
        }
        referer.set_query(None);
        referer.set_fragment(None);
        Ok(referer.as_str().chars().take(300).collect())
    }

    fn count(&self, outcome: &'static str) {
        self.inner.forms.count(self.name, outcome, self.now);
    }

    fn refused(&self, status: StatusCode, error: &str) -> Response {
        if self.is_json() {
            return (status, Json(json!({ "error": error }))).into_response();
        }
        self.titled(status, "form_taken", self.text(&format!("{error}_title")), json!({ "text": self.text(error) }))
    }

    /// A page of ours, from whom the form's first topic comes.
    fn titled(&self, status: StatusCode, name: &str, title: &str, data: Value) -> Response {
        let sender = pages::sender(self.site, self.form.topics.first().map(String::as_str), self.language);
        pages::titled(status, name, self.language, title, &pages::with(json!({ "sender": sender }), data))
    }

    fn is_json(&self) -> bool {
        content_type(&self.call.headers).starts_with("application/json")
    }

    async fn posted(&mut self, body: &[u8]) -> Response {
        let started = tokio::time::Instant::now();
        let Ok(page) = self.page() else {
            self.count("foreign page");
            return self.refused(StatusCode::FORBIDDEN, "foreign");
        };
        let limit = Limit::from(self.form.rate);
        if !self.inner.forms.limits.takes(&self.inner.tokens, self.call.visitor.address, (self.name, limit), self.now) {
            self.count("too many");
            let mut answer = self.refused(StatusCode::TOO_MANY_REQUESTS, "too_many");
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("180"));
            return answer;
        }
        let Some(posted) = fields(&self.call.headers, body) else {
            self.count("unreadable");
            let text = "this is no form: send application/x-www-form-urlencoded, or a JSON object\n";
            return (StatusCode::UNSUPPORTED_MEDIA_TYPE, text).into_response();
        };
        let of =
            |name: &str| posted.iter().find(|(posted, _)| posted == name).map(|(_, value)| value.trim()).filter(|value| !value.is_empty());
        if let Some(language) = of("language").filter(|language| self.forms.workspace.languages.iter().any(|known| known == language)) {
            self.reader = language.to_string();
            self.language = words::language(self.site, Some(language), &self.call.headers);
        }
        let stamp = of("stamp").and_then(|stamp| self.inner.tokens.read_stamp(self.name, stamp)).filter(|at| self.now - *at < LATEST);
        if of(TRAP).is_some() {
            self.count("trap");
            return self.taken(started).await;
        }
        if stamp.is_some_and(|at| self.now - at < SOONEST) {
            self.count("too fast");
            return self.taken(started).await;
        }
        let settings = Settings::of(&self.forms.workspace, self.forms.keys.clone(), self.now);
        let entry = match signup::read(self.form, &settings, &posted) {
            Ok(entry) => entry,
            Err(faults) => {
                self.count("incomplete");
                return self.told(&posted, &faults, None, stamp.unwrap_or(self.now - ONCE_MORE));
            }
        };
        let consent = self.consent();
        let is_changed = of("wording").is_some_and(|wording| wording != signup::hash(&consent));
        if stamp.is_none() || is_changed {
            self.count("shown once more");
            let notice = self.text(if is_changed { "changed" } else { "once_more" });
            return self.told(&posted, &BTreeMap::new(), Some(notice), self.now - ONCE_MORE);
        }
        let visit = &self.call.visitor.visit;
        let network = network(self.call.visitor.address, &visit.network);
        let post = Post {
            form: self.name,
            entry,
            language: &self.reader,
            wording: &consent,
            version: self.forms.version,
            page: &page,
            network: &network,
            agent: &visit.agent,
            at: self.now,
        };
        match signup::take(&self.inner.store, &self.forms.workspace, &post).await {
            Ok(outcome) => {
                self.count(outcome.word());
                self.taken(started).await
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, form = self.name, "a sign-up was not stored");
                pages::busy()
            }
        }
    }

    /// What has to be put right before the post can be taken.
    fn told(&self, posted: &[(String, String)], faults: &BTreeMap<String, Fault>, notice: Option<&str>, opened: Time) -> Response {
        let status = if faults.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
        if !self.is_json() {
            return self.shown(status, posted, faults, notice, opened);
        }
        let errors: BTreeMap<&str, &str> = faults.iter().map(|(field, fault)| (field.as_str(), self.fault(*fault))).collect();
        let consent = self.consent();
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let stamp = self.inner.tokens.stamp(self.name, opened);
        (status, Json(json!({ "errors": errors, "notice": notice, "stamp": stamp, "consent": consent, "wording": signup::hash(&consent) })))
            .into_response()
    }

    /// The one answer to all that was taken, or looks as if.
    async fn taken(&self, started: tokio::time::Instant) -> Response {
        let steps = started.elapsed().as_nanos() / EVEN.as_nanos() + 1;
        tokio::time::sleep_until(started + EVEN * u32::try_from(steps).unwrap_or(1)).await;
        let must_confirm = self.form.topics.iter().any(|topic| self.site.topics.get(topic).is_some_and(|(_, _, confirm)| *confirm));
        if self.is_json() {
            return Json(json!({ "taken": true, "confirm": must_confirm, "thanks": self.form.thanks })).into_response();
        }
        if let Some(thanks) = self.form.thanks.as_deref().and_then(|thanks| HeaderValue::from_str(thanks).ok()) {
            let mut answer = (StatusCode::SEE_OTHER, [(header::LOCATION, thanks)]).into_response();
            pages::guard(answer.headers_mut());
            return answer;
        }
        let chain = self.chain();
        let (title, text) = match must_confirm {
            true => (self.text("taken_title"), self.text("taken_confirm")),
            false => (self.form.title.pick(&chain), self.text("taken")),
        };
        self.titled(StatusCode::OK, "form_taken", title, json!({ "text": text }))
    }
}

fn content_type(headers: &HeaderMap) -> &str {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Fields of a post; `None` where the body is of a kind that no form has.
fn fields(headers: &HeaderMap, body: &[u8]) -> Option<Vec<(String, String)>> {
    let content_type = content_type(headers);
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        "application/x-www-form-urlencoded" | "multipart/form-data" => Some(unsubscribe::fields(content_type, body)),
        "application/json" => {
            let Ok(Value::Object(object)) = serde_json::from_slice(body) else { return None };
            let text = |value: &Value| match value {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                Value::Bool(truth) => Some(truth.to_string()),
                Value::Null | Value::Array(_) | Value::Object(_) => None,
            };
            let of = |(name, value): (String, Value)| match value {
                Value::Array(items) => items.iter().filter_map(text).map(|text| (name.clone(), text)).collect(),
                value => text(&value).map(|text| (name, text)).into_iter().collect::<Vec<_>>(),
            };
            Some(object.into_iter().flat_map(of).take(200).collect())
        }
        _ => None,
    }
}

/// The network of a visitor as a proof keeps it.
pub(super) fn network(address: Option<IpAddr>, network: &str) -> String {
    match address {
        Some(IpAddr::V4(_)) => format!("{network}/24"),
        Some(IpAddr::V6(_)) => format!("{network}/48"),
        None => String::new(),
    }
}
