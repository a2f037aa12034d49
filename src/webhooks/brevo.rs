//! Brevo. Nothing is signed: a secret address, and a login where it is set. There is no number of the event.

use super::Request;
use super::bounces::bounced;
use super::fields::{Unreadable, at, instant, json, object_or_text, rows, text, texts};
use super::told::{List, Told, What};
use crate::store::responses::Scope;
use crate::store::tallies::Bounce;
use serde_json::{Map, Value};

pub(super) fn read(request: &Request<'_>) -> Result<Vec<Told>, Unreadable> {
    Ok(rows(json(request.body)?)?.iter().map(told).collect())
}

fn told(row: &Value) -> Told {
    let word = text(row, &["event"]).unwrap_or_default();
    let reason = text(row, &["reason"]);
    // What is told once more of the first one is the same happening.
    let kind = word.strip_prefix("unique_").unwrap_or(&word);
    let what = match kind {
        "request" | "sent" => What::Accepted,
        "delivered" => What::Delivered,
        "deferred" => What::Deferred,
        "hard_bounce" => bounced(Bounce::Hard, reason.as_deref()),
        "invalid_email" | "invalid" => What::Bounced(Bounce::Hard),
        "soft_bounce" => bounced(Bounce::Soft, reason.as_deref()),
        "blocked" => match reason.as_deref() {
            Some(reason) if reason.contains("unsubscribed") => What::Listed(List::Unsubscribed),
            _ => What::Listed(List::Other),
        },
        "error" => What::Failed,
        "spam" | "complaint" => What::Complained,
        "unsubscribe" | "unsubscribed" => What::Unsubscribed(Scope::Everything),
        "opened" | "open" => What::Opened { machine: false },
        "proxy_open" => What::Opened { machine: true },
        "click" => What::Clicked { machine: false },
        _ => What::Nothing,
    };
    let tags = [at(row, &["tags"]), at(row, &["tag"])].into_iter().flatten().map(|tags| texts(Some(tags))).next().unwrap_or_default();
    let custom = text(row, &["X-Mailin-custom"]);
    let variables: Option<Map<String, Value>> = object_or_text(at(row, &["X-Mailin-custom"]));
    Told::new(what, &word)
        .message(text(row, &["message-id"]))
        .person(text(row, &["email"]))
        .at(["ts_event", "ts_epoch"].iter().find_map(|name| instant(row, &[*name])))
        .reply(reason)
        .url(text(row, &["link"]))
        .agent(text(row, &["user_agent"]))
        .tags(tags)
        .echo(custom)
        .variables(variables.as_ref())
        .known_by(&[kind, &text(row, &["link"]).unwrap_or_default()])
}
