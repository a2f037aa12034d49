//! Events and conversions from outside.
//!
//! `POST /events` — `Authorization: Bearer POSTHASTE_API_KEY`; one JSON object or an array of at most 1,000:
//! `{"customer": "external id" | "email": … | "phone": …, "event": "purchase", "at": "2027-03-01T10:00:00Z", "id": "order-17", "amount": 300}`; what
//! has no other meaning is a property (or stands in `properties`). The same `id` is taken once; without one, the same content.
//!
//! `POST /conversions` — from a shop's server: `{"conversion_id", "click_id" | "customer" | "email" | "phone", "type", "value", "currency",
//! "occurred_at", "source", "properties"}`, value in minor units; it becomes an event `type` with the money in
//! its money property (`value` where none is declared).
//! Header `Posthaste-Timestamp` holds the seconds since 1970, at most five minutes off, and `Posthaste-Signature` the
//! HMAC-SHA-256, in hexadecimal digits, of `timestamp.body` under POSTHASTE_API_KEY. (source, conversion_id) is taken once.
//!
//! `GET /conversion.gif?ck=TOKEN&id=…&type=…&value=…&currency=…` (or `/x/TOKEN.gif?id=…`) — an image on the thank-you page. The token is what a link
//! with an empty parameter `ck=` was given on the redirect. Value in major units, as the page writes it.

use super::visitor::Visitor;
use super::{Inner, Shared, pages, response};
use crate::literals::{decimal, minor_digits};
use crate::store::responses::digest;
use crate::tracking::Kind;
use crate::types::Time;
use aws_lc_rs::{constant_time, hmac};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::TimeDelta;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;

/// To whom an event happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The number in the base.
    Customer(i64),
    ExternalId(String),
    Email(String),
    Phone(String),
}

/// An event from outside.
#[derive(Debug, Clone, PartialEq)]
pub struct Incoming {
    pub subject: Subject,
    pub event: String,
    pub at: Time,
    pub properties: Map<String, Value>,
    /// What a conversion is worth; goes into the property with the money.
    pub worth: Option<Worth>,
    /// `source` and `id` together are taken once.
    pub source: String,
    pub id: String,
}

/// Money of a conversion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worth {
    /// Major units, as a decimal number.
    pub amount: String,
    /// The workspace's where there is none.
    pub currency: Option<String>,
}

/// What became of the events of a call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Taken {
    pub accepted: usize,
    /// They were known.
    pub repeated: usize,
    /// Place and reason, for the sender.
    pub rejected: Vec<(usize, String)>,
}

/// Takes events into the base; what it accepted is durable when it returns.
pub trait Intake: Send + Sync {
    /// The error is for the log; the sender is asked to try again, and what went in meanwhile is then repeated.
    fn take<'a>(&'a self, events: Vec<Incoming>) -> Pin<Box<dyn Future<Output = Result<Taken, String>> + Send + 'a>>;
}

/// Events of one request.
const MOST: usize = 1000;
/// How far a sender's clock may be off.
const SKEW: TimeDelta = TimeDelta::minutes(5);

fn refused(status: StatusCode, why: &str) -> Response {
    (status, Json(json!({ "error": why }))).into_response()
}

fn closed() -> Response {
    refused(StatusCode::FORBIDDEN, "this address is closed: set POSTHASTE_API_KEY to open it")
}

pub async fn events(axum::extract::State(inner): Shared, headers: HeaderMap, body: Bytes) -> Response {
    let Some(key) = &inner.api_key else { return closed() };
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.strip_prefix("Bearer "));
    if given.is_none_or(|given| constant_time::verify_slices_are_equal(given.trim().as_bytes(), key.as_bytes()).is_err()) {
        return refused(StatusCode::UNAUTHORIZED, "the header `Authorization: Bearer KEY` is missing or its key is not ours");
    }
    let rows = match serde_json::from_slice::<Value>(&body) {
        Ok(Value::Array(rows)) => rows,
        Ok(row @ Value::Object(_)) => vec![row],
        Ok(_) => return refused(StatusCode::BAD_REQUEST, "an event is a JSON object; several are an array of them"),
        Err(error) => return refused(StatusCode::BAD_REQUEST, &format!("the body is no JSON: {error}")),
    };
    if rows.len() > MOST {
        return refused(StatusCode::PAYLOAD_TOO_LARGE, &format!("at most {MOST} events at once"));
    }
    let now = inner.clock.now();
    let read: Vec<Result<Incoming, String>> = rows.into_iter().map(|row| event(row, now)).collect();
    take(&inner, read).await
}

/// Hands over what could be read, and reports by place.
async fn take(inner: &Inner, read: Vec<Result<Incoming, String>>) -> Response {
    let Some(intake) = &inner.intake else { return closed() };
    let good: Vec<Incoming> = read.iter().filter_map(|read| read.as_ref().ok().cloned()).collect();
    let places: Vec<usize> = (0..read.len()).filter(|place| read[*place].is_ok()).collect();
    let taken = match intake.take(good).await {
        Ok(taken) => taken,
        Err(why) => {
            tracing::warn!(why, "events could not be taken");
            return pages::busy();
        }
    };
    let unread = read.into_iter().enumerate().filter_map(|(place, read)| Some((place, read.err()?)));
    let refused = taken.rejected.into_iter().filter_map(|(place, why)| Some((*places.get(place)?, why)));
    let mut rejected: Vec<(usize, String)> = unread.chain(refused).collect();
    rejected.sort();
    let status = match taken.accepted + taken.repeated {
        0 if !rejected.is_empty() => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::OK,
    };
    let rejected: Vec<Value> = rejected.into_iter().map(|(index, reason)| json!({ "index": index, "reason": reason })).collect();
    (status, Json(json!({ "accepted": taken.accepted, "repeated": taken.repeated, "rejected": rejected }))).into_response()
}

fn text(row: &mut Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match row.shift_remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(_) => Err(format!("`{name}` must be a text")),
    }
}

fn subject(row: &mut Map<String, Value>) -> Result<Option<Subject>, String> {
    let (customer, email, phone) = (text(row, "customer")?, text(row, "email")?, text(row, "phone")?);
    Ok(customer.map(Subject::ExternalId).or(email.map(Subject::Email)).or(phone.map(Subject::Phone)))
}

fn instant(row: &mut Map<String, Value>, name: &str, now: Time) -> Result<Time, String> {
    let Some(written) = text(row, name)? else { return Ok(now) };
    let at = written.parse::<Time>().map_err(|_| format!("`{name}`: `{written}` is no instant; write one like 2027-03-01T10:00:00Z"))?;
    Ok(if at > now + SKEW { now } else { at })
}

fn event(row: Value, now: Time) -> Result<Incoming, String> {
    let content = row.to_string();
    let Value::Object(mut row) = row else { return Err("an event is a JSON object".into()) };
    let subject = subject(&mut row)?.ok_or("`customer`, `email` or `phone` must say to whom it happened")?;
    let event = text(&mut row, "event")?.ok_or("`event` is missing: the name of what happened")?;
    let was_given = row.contains_key("at");
    let at = instant(&mut row, "at", now)?;
    let id = text(&mut row, "id")?.unwrap_or_else(|| {
        let moment = if was_given { 0 } else { now.timestamp_micros() };
        hex::encode(digest(&[content.as_bytes(), &moment.to_be_bytes()]))
    });
    let source = text(&mut row, "source")?.unwrap_or_else(|| "api".into());
    let mut properties = match row.shift_remove("properties") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(properties)) => properties,
        Some(_) => return Err("`properties` must be an object".into()),
    };
    properties.extend(row);
    checked(Incoming { subject, event, at, properties, worth: None, source, id })
}

/// Names as files.md allows them; `message.…` is written by us alone.
fn checked(incoming: Incoming) -> Result<Incoming, String> {
    let is_name = |name: &str| {
        (1..=64).contains(&name.len())
            && name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    if !is_name(&incoming.event) {
        return Err(format!("`{}` cannot be the name of an event: small Latin letters, digits and _", incoming.event));
    }
    if let Some(name) = incoming.properties.keys().find(|name| !is_name(name)) {
        return Err(format!("`{name}` cannot be the name of a property: small Latin letters, digits and _"));
    }
    Ok(incoming)
}

pub async fn conversion(axum::extract::State(inner): Shared, headers: HeaderMap, body: Bytes) -> Response {
    let Some(key) = &inner.api_key else { return closed() };
    let now = inner.clock.now();
    if let Err(why) = verified(key, &headers, &body, now) {
        return refused(StatusCode::UNAUTHORIZED, why);
    }
    let read = match serde_json::from_slice::<Value>(&body) {
        Ok(Value::Object(row)) => row,
        Ok(_) => return refused(StatusCode::BAD_REQUEST, "a conversion is a JSON object"),
        Err(error) => return refused(StatusCode::BAD_REQUEST, &format!("the body is no JSON: {error}")),
    };
    match converted(&inner, read, now).await {
        Ok(read) => take(&inner, vec![read]).await,
        Err(busy) => *busy,
    }
}

fn verified(key: &str, headers: &HeaderMap, body: &[u8], now: Time) -> Result<(), &'static str> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let timestamp = header("posthaste-timestamp").ok_or("the header Posthaste-Timestamp is missing")?;
    let signature = header("posthaste-signature").ok_or("the header Posthaste-Signature is missing")?;
    let seconds: i64 = timestamp.parse().map_err(|_| "Posthaste-Timestamp must be seconds since 1970")?;
    if now.timestamp().abs_diff(seconds) > SKEW.num_seconds().unsigned_abs() {
        return Err("Posthaste-Timestamp is more than five minutes off");
    }
    let signature = hex::decode(signature.strip_prefix("sha256=").unwrap_or(signature))
        .map_err(|_| "Posthaste-Signature must be hexadecimal digits")?;
    let mut message = format!("{timestamp}.").into_bytes();
    message.extend_from_slice(body);
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), &message, &signature).map_err(|_| "Posthaste-Signature does not fit")
}

/// The event of a conversion; the outer error is the answer when the database is away.
async fn converted(inner: &Inner, mut row: Map<String, Value>, now: Time) -> Result<Result<Incoming, String>, Box<Response>> {
    let click = match text(&mut row, "click_id") {
        Ok(click) => click,
        Err(why) => return Ok(Err(why)),
    };
    let clicked = match click {
        Some(token) => match customer_of(inner, &token).await.map_err(|()| Box::new(pages::busy()))? {
            Some(customer) => Some(Subject::Customer(customer)),
            None => return Ok(Err("`click_id` is none of ours".into())),
        },
        None => None,
    };
    Ok(conversion_event(row, clicked, now))
}

fn conversion_event(mut row: Map<String, Value>, clicked: Option<Subject>, now: Time) -> Result<Incoming, String> {
    let named = subject(&mut row)?;
    let subject = clicked.or(named).ok_or("`click_id`, `customer`, `email` or `phone` must say who converted")?;
    let id = text(&mut row, "conversion_id")?.ok_or("`conversion_id` is missing")?;
    let event = text(&mut row, "type")?.ok_or("`type` is missing: the name of the event, such as purchase")?;
    let source = text(&mut row, "source")?.unwrap_or_else(|| "conversions".into());
    let at = instant(&mut row, "occurred_at", now)?;
    let properties = match row.shift_remove("properties") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(properties)) => properties,
        Some(_) => return Err("`properties` must be an object".into()),
    };
    let currency = text(&mut row, "currency")?;
    let mut worth = None;
    if let Some(value) = row.shift_remove("value").filter(|value| !value.is_null()) {
        let minor = value.as_i64().ok_or("`value` must be a whole number of minor units")?;
        let currency = currency.ok_or("`currency` is missing beside `value`")?;
        let digits = minor_digits(&currency).ok_or_else(|| format!("`{currency}` is no currency"))?;
        worth = Some(Worth { amount: major(minor, digits), currency: Some(currency) });
    }
    checked(Incoming { subject, event, at, properties, worth, source, id })
}

/// 1999 with two digits is 19.99.
fn major(minor: i64, digits: u32) -> String {
    let unit = 10u64.pow(digits);
    let (sign, minor) = (if minor < 0 { "-" } else { "" }, minor.unsigned_abs());
    match digits {
        0 => format!("{sign}{minor}"),
        _ => format!("{sign}{}.{:0width$}", minor / unit, minor % unit, width = digits as usize),
    }
}

/// The customer of a conversion token; the error says that the database is away.
async fn customer_of(inner: &Inner, token: &str) -> Result<Option<i64>, ()> {
    let Some(message) = inner.tokens.read(Kind::Conversion, token) else { return Ok(None) };
    let addressed = inner.store.addressed(message).await.map_err(|_| ())?;
    Ok(addressed.filter(|addressed| addressed.is_test == 0).map(|addressed| addressed.customer_id))
}

pub async fn image_of_token(
    state: Shared,
    method: Method,
    Path(token): Path<String>,
    Query(mut query): Query<HashMap<String, String>>,
    visitor: Visitor,
) -> Response {
    query.insert("ck".into(), token.strip_suffix(".gif").unwrap_or(&token).to_string());
    image(state, method, Query(query), visitor).await
}

/// Always the same image; what cannot be taken is told in the log.
pub async fn image(
    axum::extract::State(inner): Shared,
    method: Method,
    Query(mut query): Query<HashMap<String, String>>,
    visitor: Visitor,
) -> Response {
    // A HEAD, or a robot that follows addresses, converts nobody.
    if method != Method::GET || crate::tracking::judge::agent(&visitor.visit.agent) == crate::tracking::judge::Agent::Robot {
        return response::pixel();
    }
    if let (Some(intake), Some(incoming)) = (&inner.intake, posted_back(&inner, &mut query).await)
        && let Err(why) = intake.take(vec![incoming]).await
    {
        tracing::warn!(why, "a conversion image was answered before it was stored");
    }
    response::pixel()
}

async fn posted_back(inner: &Inner, query: &mut HashMap<String, String>) -> Option<Incoming> {
    let customer = customer_of(inner, &query.remove("ck")?).await.ok().flatten()?;
    let id = query.remove("id").filter(|id| (1..=200).contains(&id.len()))?;
    let currency = query.remove("currency").filter(|currency| minor_digits(currency).is_some());
    // What is no number is left out: the page of a stranger may say anything.
    let amount = query.remove("value").filter(|written| written.len() <= 20 && decimal(written, 6).is_ok());
    let worth = amount.map(|amount| Worth { amount, currency });
    let event = query.remove("type").unwrap_or_else(|| "purchase".into());
    let at = inner.clock.now();
    checked(Incoming { subject: Subject::Customer(customer), event, at, properties: Map::new(), worth, source: "image".into(), id }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Time {
        "2027-03-01T10:00:00Z".parse().unwrap()
    }

    #[test]
    fn an_event_is_read_or_the_reason_is_said() {
        let read =
            event(json!({ "email": "ada@example.org", "event": "purchase", "amount": 300, "properties": { "order_id": "7" } }), now())
                .unwrap();
        assert_eq!(read.subject, Subject::Email("ada@example.org".into()));
        assert_eq!(Value::Object(read.properties), json!({ "order_id": "7", "amount": 300 }));
        assert_eq!(read.at, now());
        for (row, expected) in [
            (json!(7), "an event is a JSON object"),
            (json!({ "event": "x" }), "`customer`, `email` or `phone` must say to whom it happened"),
            (json!({ "customer": "a" }), "`event` is missing: the name of what happened"),
            (json!({ "customer": ["a"], "event": "x" }), "`customer` must be a text"),
            (
                json!({ "customer": 17, "event": "message.opened" }),
                "`message.opened` cannot be the name of an event: small Latin letters, digits and _",
            ),
            (
                json!({ "customer": "a", "event": "x", "at": "yesterday" }),
                "`at`: `yesterday` is no instant; write one like 2027-03-01T10:00:00Z",
            ),
            (
                json!({ "customer": "a", "event": "x", "Bad": 1 }),
                "`Bad` cannot be the name of a property: small Latin letters, digits and _",
            ),
        ] {
            assert_eq!(event(row, now()).unwrap_err(), expected);
        }
        let far = event(json!({ "customer": "a", "event": "x", "at": "2027-03-01T11:00:00Z" }), now()).unwrap();
        assert_eq!(far.at, now(), "a clock that is ahead is clamped");
    }

    #[test]
    fn a_conversion_s_minor_units_become_major_ones() {
        let row = |value: Value| {
            let Value::Object(row) = value else { unreachable!() };
            conversion_event(row, Some(Subject::Customer(1)), now())
        };
        let read = row(json!({ "conversion_id": 17, "type": "purchase", "value": -1999, "currency": "UAH" })).unwrap();
        assert_eq!((read.id.as_str(), read.worth), ("17", Some(Worth { amount: "-19.99".into(), currency: Some("UAH".into()) })));
        let read = row(json!({ "conversion_id": "a", "type": "purchase", "value": 500, "currency": "JPY" })).unwrap();
        assert_eq!(read.worth.unwrap().amount, "500");
        assert_eq!(
            row(json!({ "conversion_id": "a", "type": "p", "value": 1.5, "currency": "UAH" })).unwrap_err(),
            "`value` must be a whole number of minor units"
        );
        assert_eq!(row(json!({ "conversion_id": "a", "type": "p", "value": 1 })).unwrap_err(), "`currency` is missing beside `value`");
        assert_eq!(row(json!({ "type": "p" })).unwrap_err(), "`conversion_id` is missing");
    }

    #[test]
    fn a_signature_holds_for_its_body_and_five_minutes() {
        let key = "secret";
        let sign = |timestamp: i64, body: &str| {
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), format!("{timestamp}.{body}").as_bytes());
            let mut headers = HeaderMap::new();
            headers.insert("posthaste-timestamp", timestamp.to_string().parse().unwrap());
            headers.insert("posthaste-signature", hex::encode(tag).parse().unwrap());
            headers
        };
        let at = now().timestamp();
        assert_eq!(verified(key, &sign(at, "{}"), b"{}", now()), Ok(()));
        assert_eq!(verified(key, &sign(at - 300, "{}"), b"{}", now()), Ok(()));
        assert!(verified(key, &sign(at - 301, "{}"), b"{}", now()).is_err());
        assert!(verified(key, &sign(at + 301, "{}"), b"{}", now()).is_err());
        assert!(verified(key, &sign(at, "{}"), b"{ }", now()).is_err());
        assert!(verified("other", &sign(at, "{}"), b"{}", now()).is_err());
        assert!(verified(key, &HeaderMap::new(), b"{}", now()).is_err());
    }
}
