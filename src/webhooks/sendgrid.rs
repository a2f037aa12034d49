//! SendGrid's Event Webhook: an array of events, signed by ECDSA over the timestamp and the raw body. Repetitions keep the first timestamp for a day.

use super::bounces::bounced;
use super::fields::{Unreadable, at, instant, is_true, json, rows, text, texts};
use super::signing::{decoded, fits, holds, is_fresh};
use super::told::{List, Told, What};
use super::{A_DAY, Refused, Request};
use crate::store::responses::Scope;
use crate::store::tallies::Bounce;
use crate::types::Time;
use aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1;
use serde_json::{Map, Value};

const SIGNATURE: &str = "x-twilio-email-event-webhook-signature";
const TIMESTAMP: &str = "x-twilio-email-event-webhook-timestamp";

pub(super) fn verify(key: &str, request: &Request<'_>, now: Time) -> Result<(), Refused> {
    let given = request.header(SIGNATURE).ok_or(Refused::Missing(SIGNATURE))?;
    let timestamp = request.header(TIMESTAMP).ok_or(Refused::Missing(TIMESTAMP))?;
    let key = decoded(key).ok_or(Refused::Signature)?;
    let signed = [timestamp.as_bytes(), request.body].concat();
    fits(holds(&ECDSA_P256_SHA256_ASN1, &key, &signed, given))?;
    is_fresh(timestamp, now, A_DAY)
}

pub(super) fn read(request: &Request<'_>) -> Result<Vec<Told>, Unreadable> {
    Ok(rows(json(request.body)?)?.iter().map(told).collect())
}

/// What SendGrid writes itself; every other name is a custom argument.
const OWN: &[&str] = &[
    "email",
    "timestamp",
    "event",
    "smtp-id",
    "useragent",
    "ip",
    "sg_event_id",
    "sg_message_id",
    "reason",
    "status",
    "response",
    "tls",
    "url",
    "urloffset",
    "url_offset",
    "attempt",
    "category",
    "asm_group_id",
    "newsletter",
    "type",
    "sg_machine_open",
    "pool",
    "cert_err",
    "sg_content_type",
    "sg_template_id",
    "sg_template_name",
    "marketing_campaign_id",
    "bounce_classification",
];

fn told(row: &Value) -> Told {
    let word = text(row, &["event"]).unwrap_or_default();
    let machine = is_true(row, &["sg_machine_open"]);
    let reason = text(row, &["reason"]);
    let what = match word.as_str() {
        "processed" => What::Accepted,
        "deferred" => What::Deferred,
        "delivered" => What::Delivered,
        "bounce" | "blocked" => {
            let is_block = word == "blocked" || text(row, &["type"]).as_deref() == Some("blocked");
            bounced(if is_block { Bounce::Blocked } else { Bounce::Hard }, reason.as_deref().or(text(row, &["status"]).as_deref()))
        }
        "dropped" => dropped(reason.as_deref().unwrap_or_default()),
        "open" => What::Opened { machine },
        "click" => What::Clicked { machine },
        "spamreport" => What::Complained,
        "unsubscribe" => What::Unsubscribed(Scope::Everything),
        "group_unsubscribe" => What::Unsubscribed(Scope::Topic),
        "group_resubscribe" => What::Subscribed,
        _ => What::Nothing,
    };
    let custom: Map<String, Value> = row
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| !OWN.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    // `X-Message-Id` of the answer is what stands before the first dot.
    let own = text(row, &["sg_message_id"]);
    let start = own.as_deref().and_then(|id| id.split_once('.')).map(|(start, _)| start.to_string());
    Told::new(what, &word)
        .event(text(row, &["sg_event_id"]).map(|id| format!("{id}|{word}")))
        .message(start)
        .message(own)
        .message(text(row, &["smtp-id"]))
        .person(text(row, &["email"]))
        .at(instant(row, &["timestamp"]))
        .reply(text(row, &["response"]).or(reason))
        .url(text(row, &["url"]))
        .agent(text(row, &["useragent"]))
        .tags(texts(at(row, &["category"])))
        .variables(Some(&custom))
        .known_by(&[&word])
}

fn dropped(reason: &str) -> What {
    let lower = reason.to_lowercase();
    let is = |word: &str| lower.contains(word);
    match () {
        () if is("bounced") => What::Listed(List::Bounced),
        () if is("unsubscribed") => What::Listed(List::Unsubscribed),
        () if is("spam report") || is("reported as spam") => What::Listed(List::Complained),
        () if is("invalid") && !is("smtpapi") => What::Listed(List::Invalid),
        () => What::Failed,
    }
}
