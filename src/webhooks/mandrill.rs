//! Mailchimp Transactional (Mandrill): a form with the field `mandrill_events`, signed over the address and the sorted fields.

use super::bounces::bounced;
use super::fields::{Unreadable, at, form_or_json, instant, json, object, pairs, rows, text, texts, value};
use super::signing::{fits, is_base64, keyed};
use super::told::{List, Told, What};
use super::{Refused, Request};
use crate::store::responses::Scope;
use crate::store::tallies::Bounce;
use crate::types::Time;
use aws_lc_rs::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY;
use serde_json::Value;

pub(super) fn verify(key: &str, request: &Request<'_>, _: Time) -> Result<(), Refused> {
    let given = request.header("x-mandrill-signature").ok_or(Refused::Missing("X-Mandrill-Signature"))?;
    let mut fields = pairs(request.body);
    fields.sort();
    let mut signed = request.url.to_string();
    fields.iter().for_each(|(name, value)| signed.extend([name.as_str(), value.as_str()]));
    fits(is_base64(&keyed(HMAC_SHA1_FOR_LEGACY_USE_ONLY, key.as_bytes(), &[signed.as_bytes()]), given))
}

pub(super) fn read(request: &Request<'_>) -> Result<Vec<Told>, Unreadable> {
    let events = match value(&form_or_json(request), "mandrill_events") {
        Some(text) => json(text.as_bytes())?,
        None => json(request.body)?.get("mandrill_events").cloned().ok_or(Unreadable::Shape("without `mandrill_events`"))?,
    };
    Ok(rows(events)?.iter().map(told).collect())
}

fn told(row: &Value) -> Told {
    let word = text(row, &["event"]).unwrap_or_default();
    let (diag, described) = (text(row, &["msg", "diag"]), text(row, &["msg", "bounce_description"]));
    let what = match word.as_str() {
        "send" => What::Accepted,
        "delivered" => What::Delivered,
        "deferral" => What::Deferred,
        "hard_bounce" => bounced(Bounce::Hard, diag.as_deref()),
        "soft_bounce" => bounced(Bounce::Soft, diag.as_deref()),
        "reject" => match text(row, &["msg", "reject", "reason"]).as_deref() {
            Some("hard-bounce" | "soft-bounce") => What::Listed(List::Bounced),
            Some("spam") => What::Listed(List::Complained),
            Some("unsub") => What::Listed(List::Unsubscribed),
            Some("custom") => What::Listed(List::Other),
            _ => What::Failed,
        },
        "spam" => What::Complained,
        "unsub" => What::Unsubscribed(Scope::Everything),
        "open" => What::Opened { machine: false },
        "click" => What::Clicked { machine: false },
        _ => What::Nothing,
    };
    Told::new(what, &word)
        .message(text(row, &["msg", "_id"]).or_else(|| text(row, &["_id"])))
        .person(text(row, &["msg", "email"]))
        .at(instant(row, &["ts"]))
        .reply(diag)
        .note(described)
        .url(text(row, &["url"]))
        .agent(text(row, &["user_agent"]))
        .tags(texts(at(row, &["msg", "tags"])))
        .variables(object(row, &["msg", "metadata"]))
        .known_by(&[&word, &text(row, &["url"]).unwrap_or_default()])
}
