//! Mailtrap: HMAC-SHA-256 of the raw body in the header `Mailtrap-Signature`; without a key, a secret address.

use super::bounces::bounced;
use super::fields::{Unreadable, at, instant, json, object, text, texts};
use super::signing::{fits, is_hex, keyed};
use super::told::{List, Told, What};
use super::{Refused, Request};
use crate::store::responses::Scope;
use crate::store::tallies::Bounce;
use crate::types::Time;
use aws_lc_rs::hmac::HMAC_SHA256;
use serde_json::Value;

pub(super) fn verify(key: &str, request: &Request<'_>, _: Time) -> Result<(), Refused> {
    let given = request.header("mailtrap-signature").ok_or(Refused::Missing("Mailtrap-Signature"))?;
    fits(is_hex(&keyed(HMAC_SHA256, key.as_bytes(), &[request.body]), given))
}

pub(super) fn read(request: &Request<'_>) -> Result<Vec<Told>, Unreadable> {
    let body = json(request.body)?;
    let rows = at(&body, &["events"]).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    Ok(rows.iter().map(told).collect())
}

fn told(row: &Value) -> Told {
    let word = text(row, &["event"]).unwrap_or_default();
    let reply = text(row, &["response"]).or_else(|| text(row, &["reason"]));
    let what = match word.as_str() {
        "delivery" => What::Delivered,
        "bounce" => match text(row, &["bounce_category"]).as_deref() {
            Some("spam" | "blocked" | "policy") => What::Bounced(Bounce::Blocked),
            _ => bounced(Bounce::Hard, reply.as_deref()),
        },
        "soft bounce" | "suspension" => What::Deferred,
        "reject" => rejected(reply.as_deref().unwrap_or_default()),
        "open" => What::Opened { machine: false },
        "click" => What::Clicked { machine: false },
        "unsubscribe" => What::Unsubscribed(Scope::Everything),
        "spam" => What::Complained,
        _ => What::Nothing,
    };
    Told::new(what, &word)
        .event(text(row, &["event_id"]).map(|id| format!("{id}|{word}")))
        .message(text(row, &["message_id"]))
        .person(text(row, &["email"]))
        .at(instant(row, &["timestamp"]))
        .reply(reply)
        .url(text(row, &["url"]))
        .agent(text(row, &["user_agent"]))
        .tags(texts(at(row, &["category"])))
        .variables(object(row, &["custom_variables"]))
        .known_by(&[&word])
}

fn rejected(reason: &str) -> What {
    match () {
        () if !reason.contains("suppression list") => What::Failed,
        () if reason.contains("unsubscri") => What::Listed(List::Unsubscribed),
        () if reason.contains("spam") => What::Listed(List::Complained),
        () if reason.contains("bounce") => What::Listed(List::Bounced),
        () => What::Listed(List::Other),
    }
}
