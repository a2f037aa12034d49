//! MailerSend: HMAC-SHA-256 of the raw body in the header `Signature`.

use super::bounces::bounced;
use super::fields::{Unreadable, at, instant, json, text, texts};
use super::signing::{fits, is_hex, keyed};
use super::told::{Told, What};
use super::{Refused, Request};
use crate::store::responses::Scope;
use crate::store::tallies::Bounce;
use crate::types::Time;
use aws_lc_rs::hmac::HMAC_SHA256;

pub(super) fn verify(key: &str, request: &Request<'_>, _: Time) -> Result<(), Refused> {
    let given = request.header("signature").ok_or(Refused::Missing("Signature"))?;
    fits(is_hex(&keyed(HMAC_SHA256, key.as_bytes(), &[request.body]), given))
}

pub(super) fn read(request: &Request<'_>) -> Result<Vec<Told>, Unreadable> {
    let body = json(request.body)?;
    let part = |path: &[&str]| text(&body, path);
    let word = part(&["data", "type"]).unwrap_or_default();
    let reason = part(&["data", "morph", "reason"]);
    let what = match word.as_str() {
        "sent" => What::Accepted,
        "delivered" => What::Delivered,
        "deferred" => What::Deferred,
        "hard_bounced" => bounced(Bounce::Hard, reason.as_deref()),
        "soft_bounced" => bounced(Bounce::Soft, reason.as_deref()),
        // What follows the first of its kind is told both ways; both have one number of the event.
        "opened" | "opened_unique" => What::Opened { machine: false },
        "clicked" | "clicked_unique" => What::Clicked { machine: false },
        "unsubscribed" => What::Unsubscribed(Scope::Everything),
        "spam_complaint" => What::Complained,
        _ => What::Nothing,
    };
    let event = part(&["data", "morph", "id"]).filter(|_| word.ends_with("_unique")).or_else(|| part(&["data", "id"]));
    let told = Told::new(what, &word)
        .event(event)
        .message(part(&["data", "email", "message", "id"]))
        .person(part(&["data", "email", "recipient", "email"]))
        .at(instant(&body, &["data", "created_at"]))
        .note(reason)
        .url(part(&["data", "morph", "url"]))
        .agent(part(&["data", "morph", "user_agent"]))
        .tags(texts(at(&body, &["data", "email", "tags"])))
        .known_by(&[&word]);
    Ok(vec![told])
}
