//! MessageBird (a token that names the hashes of address and body, or the older signed header) and its successor Bird.

use super::fields::{Unreadable, at, form_or_json, instant, json, owned, pairs, text, written};
use super::signing::{claims_hash, fits, is_base64, is_fresh, is_in_force, keyed, sha256, token};
use super::told::{List, Told, What};
use super::{Refused, Request, SKEW};
use crate::store::tallies::Bounce;
use crate::types::Time;
use aws_lc_rs::hmac::HMAC_SHA256;
use chrono::TimeDelta;
use serde_json::Value;

const SIGNATURE: &str = "messagebird-signature";
const TIMESTAMP: &str = "messagebird-request-timestamp";

pub(super) fn verify_message_bird(key: &str, request: &Request<'_>, now: Time) -> Result<(), Refused> {
    let Some(given) = request.header("messagebird-signature-jwt") else {
        let mut query = pairs(request.query().as_bytes());
        query.sort();
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        return signed(key, request, &query, now);
    };
    let claims = token(key, given)?;
    fits(claims.get("iss").and_then(Value::as_str) == Some("MessageBird"))?;
    if !claims.contains_key("exp") || !claims.contains_key("nbf") {
        return Err(Refused::Stale);
    }
    fits(claims_hash(&claims, "url_hash", request.url.as_bytes()))?;
    fits(match (request.body.is_empty(), claims.contains_key("payload_hash")) {
        (true, false) => true,
        (true, true) | (false, false) => false,
        (false, true) => claims_hash(&claims, "payload_hash", request.body),
    })?;
    is_in_force(&claims, now, TimeDelta::seconds(1))
}

pub(super) fn verify(key: &str, request: &Request<'_>, now: Time) -> Result<(), Refused> {
    signed(key, request, request.url, now)
}

/// Time, address (or its query) and the body's hash, on a line each.
fn signed(key: &str, request: &Request<'_>, address: &str, now: Time) -> Result<(), Refused> {
    let given = request.header(SIGNATURE).ok_or(Refused::Missing("MessageBird-Signature"))?;
    let timestamp = request.header(TIMESTAMP).ok_or(Refused::Missing("MessageBird-Request-Timestamp"))?;
    let parts: [&[u8]; 5] = [timestamp.as_bytes(), b"\n", address.as_bytes(), b"\n", &sha256(&[request.body])];
    fits(is_base64(&keyed(HMAC_SHA256, key.as_bytes(), &parts), given))?;
    is_fresh(timestamp, now, SKEW)
}

pub(super) fn read(request: &Request<'_>) -> Result<Vec<Told>, Unreadable> {
    if let Ok(body) = json(request.body)
        && let Some(payload) = at(&body, &["payload"])
    {
        return Ok(vec![channel(&body, payload)]);
    }
    // MessageBird's reports come as a query, its texts as a form.
    let mut fields = pairs(request.query().as_bytes());
    if !request.body.is_empty() {
        fields.extend(form_or_json(request));
    }
    let first = |names: &[&str]| names.iter().find_map(|name| owned(&fields, name)).filter(|text| !text.is_empty());
    let id = first(&["id", "message_id"]);
    if id.is_none() {
        return Err(Unreadable::Shape("without `id`"));
    }
    let Some(status) = first(&["status"]) else {
        let what = What::Text {
            to: first(&["recipient"]).unwrap_or_default(),
            text: first(&["body", "payload"]).unwrap_or_default(),
            keyword: None,
        };
        let at = first(&["createdDatetime", "created_at"]).as_deref().and_then(written);
        return Ok(vec![Told::new(what, "received").event(id.clone()).message(id).person(first(&["originator", "sender"])).at(at)]);
    };
    let reason = first(&["statusReason"]);
    let code = first(&["statusErrorCode"]);
    let what = by_status(&status, reason.as_deref());
    Ok(vec![
        Told::new(what, &status)
            .event(id.as_ref().map(|id| format!("{id}|{}|{status}", first(&["recipient"]).unwrap_or_default())))
            .message(id)
            .echo(first(&["reference"]))
            .person(first(&["recipient"]))
            .at(first(&["statusDatetime"]).as_deref().and_then(written))
            .reply(code)
            .note(reason),
    ])
}

fn by_status(status: &str, reason: Option<&str>) -> What {
    match status {
        "scheduled" | "sent" | "buffered" | "accepted" | "processing" | "queued" => What::Accepted,
        "delivered" => What::Delivered,
        "expired" => What::Bounced(Bounce::Soft),
        "delivery_failed" | "failed" | "rejected" | "sending_failed" | "skipped" => match reason.unwrap_or_default() {
            "unknown subscriber" | "invalid_destination" | "unallocated number" => What::Bounced(Bounce::Hard),
            "opted out" | "opted_out" => What::Listed(List::Unsubscribed),
            "carrier rejected" | "capacity limit reached" | "generic filter" | "sender id blocked" => What::Bounced(Bounce::Blocked),
            _ => What::Bounced(Bounce::Soft),
        },
        _ => What::Nothing,
    }
}

/// An event of a channel of Bird.
fn channel(body: &Value, payload: &Value) -> Told {
    let event = text(body, &["event"]).unwrap_or_default();
    let id = text(payload, &["id"]);
    let number = |side: &str| {
        let contact = at(payload, &[side, "contact"]).or_else(|| at(payload, &[side, "contacts"])?.as_array()?.first());
        contact.and_then(|contact| text(contact, &["identifierValue"]))
    };
    if event.ends_with("inbound") {
        let to = number("receiver").or_else(|| text(payload, &["receiver", "connector", "identifierValue"])).unwrap_or_default();
        let what = What::Text { to, text: text(payload, &["body", "text", "text"]).unwrap_or_default(), keyword: None };
        return Told::new(what, &event).event(id.clone()).message(id).person(number("sender")).at(instant(payload, &["createdAt"]));
    }
    let status = text(payload, &["status"]).unwrap_or_default();
    let reason = text(payload, &["failure", "code"]).or_else(|| text(payload, &["reason"]));
    Told::new(by_status(&status, reason.as_deref()), &status)
        .event(id.as_ref().map(|id| format!("{id}|{status}")))
        .message(id)
        .echo(text(payload, &["reference"]))
        .person(number("receiver"))
        .at(instant(payload, &["lastStatusAt"]).or_else(|| instant(payload, &["updatedAt"])))
        .reply(reason)
        .note(text(payload, &["failure", "description"]))
}
