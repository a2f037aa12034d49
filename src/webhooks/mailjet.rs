//! Mailjet: one event, or an array of them. Nothing is signed: a secret address, and a login where it is set.

use super::Request;
use super::bounces::bounced;
use super::fields::{Unreadable, at, instant, is_true, json, object_or_text, rows, text, texts};
use super::told::{List, Told, What};
use crate::store::responses::Scope;
use crate::store::tallies::Bounce;
use serde_json::Value;

pub(super) fn read(request: &Request<'_>) -> Result<Vec<Told>, Unreadable> {
    Ok(rows(json(request.body)?)?.iter().map(told).collect())
}

fn told(row: &Value) -> Told {
    let word = text(row, &["event"]).unwrap_or_default();
    let error = text(row, &["error"]).filter(|error| !error.is_empty());
    let related = text(row, &["error_related_to"]);
    let reply = text(row, &["smtp_reply"]).or_else(|| text(row, &["comment"])).filter(|reply| !reply.is_empty());
    let what = match word.as_str() {
        "sent" => What::Delivered,
        "bounce" if error.as_deref() == Some("greylisted") => What::Deferred,
        "bounce" if is_true(row, &["hard_bounce"]) => bounced(Bounce::Hard, reply.as_deref()),
        "bounce" => match related.as_deref() {
            Some("policy issue" | "spam" | "content") => What::Bounced(Bounce::Blocked),
            _ => bounced(Bounce::Soft, reply.as_deref()),
        },
        "blocked" => match error.as_deref() {
            Some("user unknown" | "mailbox inactive" | "invalid domain") => What::Listed(List::Invalid),
            _ => What::Listed(List::Other),
        },
        "spam" => What::Complained,
        "unsub" => What::Unsubscribed(Scope::Everything),
        "open" => What::Opened { machine: false },
        "click" => What::Clicked { machine: false },
        _ => What::Nothing,
    };
    Told::new(what, &word)
        .message(text(row, &["MessageID"]))
        .message(text(row, &["Message_GUID"]))
        .person(text(row, &["email"]))
        .at(instant(row, &["time"]))
        .reply(reply)
        .note(related.or(error))
        .url(text(row, &["url"]))
        .agent(text(row, &["agent"]))
        .tags(texts(at(row, &["CustomID"])).into_iter().chain(texts(at(row, &["customcampaign"]))).filter(|tag| !tag.is_empty()).collect())
        .echo(text(row, &["Payload"]))
        .variables(object_or_text(at(row, &["Payload"])).as_ref())
        .known_by(&[&word, &text(row, &["url"]).unwrap_or_default()])
}
