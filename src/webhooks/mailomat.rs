//! Mailomat. Signed are the event's number, kind and time, which all stand in the headers; the body is not covered, so the number is taken once.

use super::bounces::bounced;
use super::fields::{Unreadable, instant, json, text};
use super::signing::{fits, is_fresh, is_hex, keyed};
use super::told::{Told, What};
use super::{Refused, Request};
use crate::store::tallies::Bounce;
use crate::types::Time;
use aws_lc_rs::hmac::HMAC_SHA256;
use chrono::TimeDelta;

pub(super) fn verify(key: &str, request: &Request<'_>, now: Time) -> Result<(), Refused> {
    let header = |name: &'static str| request.header(name).ok_or(Refused::Missing(name));
    let (id, event, timestamp) = (header("x-mom-webhook-id")?, header("x-mom-webhook-event")?, header("x-mom-webhook-timestamp")?);
    let given = header("x-mom-webhook-signature")?.strip_prefix("sha256=").ok_or(Refused::Signature)?;
    fits(is_hex(&keyed(HMAC_SHA256, key.as_bytes(), &[format!("{id}.{event}.{timestamp}").as_bytes()]), given))?;
    is_fresh(timestamp, now, TimeDelta::hours(12))
}

pub(super) fn read(request: &Request<'_>) -> Result<Vec<Told>, Unreadable> {
    let body = json(request.body)?;
    let word = text(&body, &["eventType"]).unwrap_or_default();
    let status = |name: &str| text(&body, &["payload", "delivery-status", name]);
    let reply = status("message").map(|message| format!("{} {message}", status("code").unwrap_or_default()));
    let what = match word.as_str() {
        "accepted" => What::Accepted,
        "not_accepted" => What::Failed,
        "delivered" => What::Delivered,
        "failure_tmp" => What::Deferred,
        "failure_perm" => bounced(Bounce::Hard, reply.as_deref()),
        "opened" => What::Opened { machine: false },
        "clicked" => What::Clicked { machine: false },
        _ => What::Nothing,
    };
    let told = Told::new(what, &word)
        .event(text(&body, &["id"]).map(|id| format!("{id}|{word}")))
        .message(text(&body, &["messageUuid"]))
        .message(text(&body, &["messageId"]))
        .person(text(&body, &["recipient"]))
        .at(instant(&body, &["occurredAt"]))
        .reply(reply)
        .note(text(&body, &["payload", "reason"]))
        .url(text(&body, &["payload", "url"]))
        .agent(text(&body, &["payload", "client-info", "user-agent"]))
        .known_by(&[&word]);
    Ok(vec![told])
}
