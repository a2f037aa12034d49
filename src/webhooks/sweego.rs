//! Sweego: the Standard Webhooks scheme, its signature without the `v1,` before it.

use super::bounces::bounced;
use super::fields::{Unreadable, instant, json, object, text};
use super::signing::standard;
use super::told::{List, Told, What};
use super::{Refused, Request};
use crate::store::responses::Scope;
use crate::store::tallies::Bounce;
use crate::types::Time;

pub(super) fn verify(key: &str, request: &Request<'_>, now: Time) -> Result<(), Refused> {
    standard(key, request, ["webhook-id", "webhook-timestamp", "webhook-signature"], "", now)
}

pub(super) fn read(request: &Request<'_>) -> Result<Vec<Told>, Unreadable> {
    let body = json(request.body)?;
    let word = text(&body, &["event_type"]).unwrap_or_default();
    let reply = text(&body, &["details"]).or_else(|| text(&body, &["reason"]));
    let what = match word.as_str() {
        "email_sent" => What::Accepted,
        "delivered" => What::Delivered,
        "soft-bounce" | "soft_bounce" => bounced(Bounce::Soft, reply.as_deref()),
        "hard_bounce" | "hard-bounce" => bounced(Bounce::Hard, reply.as_deref()),
        "list_unsub" | "unsubscribe" => What::Unsubscribed(Scope::Everything),
        "complaint" => What::Complained,
        "blocked" | "suppressed" => What::Listed(List::Other),
        "email_opened" | "open" => What::Opened { machine: false },
        "email_clicked" | "click" => What::Clicked { machine: false },
        _ => What::Nothing,
    };
    let told = Told::new(what, &word)
        .event(text(&body, &["event_id"]))
        .message(text(&body, &["headers", "x-transaction-id"]))
        .message(text(&body, &["swg_uid"]))
        .person(text(&body, &["recipient"]))
        .at(instant(&body, &["timestamp"]))
        .reply(reply)
        .url(text(&body, &["url"]))
        .agent(text(&body, &["user_agent"]))
        .variables(object(&body, &["headers"]))
        .known_by(&[&word]);
    Ok(vec![told])
}
