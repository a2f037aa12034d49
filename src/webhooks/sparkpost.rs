//! SparkPost: an array of `{"msys": {CLASS: {…}}}`; an empty `msys` is a ping. Nothing is signed: a secret address, and a login where it is set.

use super::Request;
use super::bounces::bounced;
use super::fields::{Unreadable, at, instant, is_true, json, object, rows, text, texts};
use super::told::{List, Told, What};
use crate::store::responses::Scope;
use crate::store::tallies::Bounce;
use serde_json::Value;

pub(super) fn read(request: &Request<'_>) -> Result<Vec<Told>, Unreadable> {
    let rows = rows(json(request.body)?)?;
    Ok(rows.iter().filter_map(|row| object(row, &["msys"])?.values().next()).map(told).collect())
}

fn told(event: &Value) -> Told {
    let word = text(event, &["type"]).unwrap_or_default();
    let reply = text(event, &["raw_reason"]).or_else(|| text(event, &["reason"]));
    let machine = is_true(event, &["is_prefetched"]) || is_true(event, &["user_agent_parsed", "is_prefetched"]);
    let what = match word.as_str() {
        "injection" => What::Accepted,
        "delivery" => What::Delivered,
        "delay" => What::Deferred,
        "bounce" | "out_of_band" => by_class(text(event, &["bounce_class"]).as_deref(), reply.as_deref()),
        "policy_rejection" | "generation_rejection" => match reply.as_deref() {
            Some(reply) if reply.contains("suppress") => What::Listed(List::Other),
            _ => What::Failed,
        },
        "generation_failure" => What::Failed,
        "spam_complaint" if text(event, &["fbtype"]).as_deref() == Some("not-spam") => What::Nothing,
        "spam_complaint" => What::Complained,
        "list_unsubscribe" | "link_unsubscribe" => What::Unsubscribed(Scope::Topic),
        "open" | "initial_open" | "amp_open" | "amp_initial_open" => What::Opened { machine },
        "click" | "amp_click" => What::Clicked { machine },
        _ => What::Nothing,
    };
    Told::new(what, &word)
        .event(text(event, &["event_id"]))
        .message(text(event, &["transmission_id"]))
        .message(text(event, &["message_id"]))
        .person(text(event, &["raw_rcpt_to"]).or_else(|| text(event, &["rcpt_to"])))
        .at(instant(event, &["timestamp"]))
        .reply(reply)
        .url(text(event, &["target_link_url"]))
        .agent(text(event, &["user_agent"]))
        .tags(texts(at(event, &["rcpt_tags"])))
        .variables(object(event, &["rcpt_meta"]))
        .known_by(&[&word])
}

fn by_class(class: Option<&str>, reply: Option<&str>) -> What {
    match class.and_then(|class| class.parse::<u32>().ok()).unwrap_or(1) {
        10 | 30 => bounced(Bounce::Hard, reply),
        90 => What::Unsubscribed(Scope::Everything),
        50..=54 => What::Bounced(Bounce::Blocked),
        60 => What::Answered,
        80 => What::Subscribed,
        _ => bounced(Bounce::Soft, reply),
    }
}
