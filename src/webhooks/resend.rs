//! Resend: the Standard Webhooks scheme in Svix's headers.

use super::bounces::bounced;
use super::fields::{Unreadable, at, instant, json, object, text, texts};
use super::signing::standard;
use super::told::{List, Told, What};
use super::{Refused, Request};
use crate::store::tallies::Bounce;
use crate::types::Time;
use serde_json::{Map, Value};

pub(super) fn verify(key: &str, request: &Request<'_>, now: Time) -> Result<(), Refused> {
    let names = match request.header("svix-id") {
        Some(_) => ["svix-id", "svix-timestamp", "svix-signature"],
        None => ["webhook-id", "webhook-timestamp", "webhook-signature"],
    };
    standard(key, request, names, "v1,", now)
}

pub(super) fn read(request: &Request<'_>) -> Result<Vec<Told>, Unreadable> {
    let body = json(request.body)?;
    let word = text(&body, &["type"]).unwrap_or_default();
    let reply = text(&body, &["data", "bounce", "message"]);
    let what = match word.as_str() {
        "email.sent" | "email.scheduled" => What::Accepted,
        "email.delivered" => What::Delivered,
        "email.delivery_delayed" => What::Deferred,
        "email.bounced" => {
            match (text(&body, &["data", "bounce", "type"]).as_deref(), text(&body, &["data", "bounce", "subType"]).as_deref()) {
                (_, Some("Suppressed" | "OnAccountSuppressionList")) => What::Listed(List::Bounced),
                (Some("Transient" | "Undetermined"), _) => bounced(Bounce::Soft, reply.as_deref()),
                _ => bounced(Bounce::Hard, reply.as_deref()),
            }
        }
        "email.suppressed" => What::Listed(List::Other),
        "email.failed" => What::Failed,
        "email.complained" => What::Complained,
        "email.opened" => What::Opened { machine: false },
        "email.clicked" => What::Clicked { machine: false },
        _ => What::Nothing,
    };
    let id = request.header("svix-id").or(request.header("webhook-id"));
    let tags: Option<Map<String, Value>> = match at(&body, &["data", "tags"]) {
        Some(Value::Array(rows)) => {
            Some(rows.iter().filter_map(|row| Some((text(row, &["name"])?, at(row, &["value"])?.clone()))).collect())
        }
        _ => object(&body, &["data", "tags"]).cloned(),
    };
    let people = texts(at(&body, &["data", "to"]));
    let people: Vec<Option<String>> = if people.is_empty() { vec![None] } else { people.into_iter().map(Some).collect() };
    let several = people.len() > 1;
    let told = |person: Option<String>| {
        let event = id.map(|id| if several { format!("{id}|{}", person.as_deref().unwrap_or_default()) } else { id.to_string() });
        Told::new(what.clone(), &word)
            .event(event)
            .message(text(&body, &["data", "email_id"]))
            .person(person)
            .at(instant(&body, &["created_at"]))
            .reply(reply.clone())
            .url(text(&body, &["data", "click", "link"]))
            .agent(text(&body, &["data", "click", "userAgent"]))
            .variables(tags.as_ref())
            .known_by(&[&word])
    };
    Ok(people.into_iter().map(told).collect())
}
