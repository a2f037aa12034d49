//! Mailgun: JSON with `signature` and `event-data`, and the older forms. What is signed is a timestamp and a token, not the event: the token is taken once.

use super::bounces::bounced;
use super::fields::{Unreadable, at, form, instant, json, object, object_or_text, owned, text, texts, written};
use super::signing::{fits, is_fresh, is_hex, keyed};
use super::told::{List, Told, What};
use super::{A_DAY, Refused, Request};
use crate::store::responses::Scope;
use crate::store::tallies::Bounce;
use crate::types::Time;
use aws_lc_rs::hmac::HMAC_SHA256;
use serde_json::{Map, Value};

type Pairs = Vec<(String, String)>;

fn is_json(request: &Request<'_>) -> bool {
    request.body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

/// Timestamp, token and signature.
fn signature(request: &Request<'_>) -> Option<[String; 3]> {
    let names = ["timestamp", "token", "signature"];
    if is_json(request) {
        let body: Value = serde_json::from_slice(request.body).ok()?;
        let [timestamp, token, signature] = names.map(|name| text(&body, &["signature", name]));
        return Some([timestamp?, token?, signature?]);
    }
    let pairs = form(request);
    let [timestamp, token, signature] = names.map(|name| last(&pairs, name));
    Some([timestamp?, token?, signature?])
}

/// In the older forms a variable of the sender's may have the name of a field of Mailgun's, which comes after it.
fn last(pairs: &Pairs, name: &str) -> Option<String> {
    pairs.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone())
}

pub(super) fn token(request: &Request<'_>) -> Option<String> {
    signature(request).map(|[_, token, _]| token)
}

pub(super) fn verify(key: &str, request: &Request<'_>, now: Time) -> Result<(), Refused> {
    let [timestamp, token, given] = signature(request).ok_or(Refused::Missing("timestamp, token or signature"))?;
    fits(is_hex(&keyed(HMAC_SHA256, key.as_bytes(), &[timestamp.as_bytes(), token.as_bytes()]), &given))?;
    is_fresh(&timestamp, now, A_DAY)
}

pub(super) fn read(request: &Request<'_>) -> Result<Vec<Told>, Unreadable> {
    let token = token(request);
    if !is_json(request) {
        return Ok(vec![older(&form(request), token)]);
    }
    let body = json(request.body)?;
    let event = at(&body, &["event-data"]).ok_or(Unreadable::Shape("a JSON object without `event-data`"))?;
    Ok(vec![told(event, token)])
}

fn told(event: &Value, token: Option<String>) -> Told {
    let word = text(event, &["event"]).unwrap_or_default();
    let reason = text(event, &["reason"]).unwrap_or_default();
    let status = |name: &str| text(event, &["delivery-status", name]).filter(|text| !text.is_empty());
    let reply = status("message");
    let spoken = match (status("code"), &reply) {
        (Some(code), Some(reply)) => Some(format!("{code} {reply}")),
        (_, reply) => reply.clone(),
    };
    let what = match word.as_str() {
        "accepted" | "stored" => What::Accepted,
        "delivered" => What::Delivered,
        "failed" if text(event, &["severity"]).as_deref() == Some("temporary") => What::Deferred,
        "failed" => listed(&reason).unwrap_or_else(|| match reason.as_str() {
            "old" => What::Bounced(Bounce::Soft),
            "espblock" => What::Bounced(Bounce::Blocked),
            _ => bounced(Bounce::Hard, spoken.as_deref()),
        }),
        "rejected" => What::Failed,
        "opened" => What::Opened { machine: is_machine(event) },
        "clicked" => What::Clicked { machine: is_machine(event) },
        "unsubscribed" => What::Unsubscribed(Scope::Everything),
        "complained" => What::Complained,
        _ => What::Nothing,
    };
    Told::new(what, &word)
        .event(token)
        .message(text(event, &["message", "headers", "message-id"]))
        .echo(text(event, &["id"]))
        .person(text(event, &["recipient"]))
        .at(instant(event, &["timestamp"]))
        .reply(reply)
        .note(status("description").or(Some(reason)).filter(|note| !note.is_empty()))
        .url(text(event, &["url"]))
        .agent(text(event, &["client-info", "user-agent"]))
        .tags(texts(at(event, &["tags"])))
        .variables(object(event, &["user-variables"]))
        .known_by(&[&word])
}

/// Mailgun names the bots that it knows.
fn is_machine(event: &Value) -> bool {
    let bot = text(event, &["client-info", "bot"]).filter(|bot| !bot.is_empty());
    bot.is_some() || text(event, &["client-info", "client-type"]).as_deref() == Some("robot")
}

fn listed(reason: &str) -> Option<What> {
    Some(What::Listed(match reason {
        "suppress-bounce" | "hardfail" => List::Bounced,
        "suppress-unsubscribe" => List::Unsubscribed,
        "suppress-complaint" => List::Complained,
        _ if reason.starts_with("suppress") => List::Other,
        _ => return None,
    }))
}

/// Fields of the forms that came before 2018; whatever else stands there is a variable of the sender's.
const OWN: &[&str] = &[
    "event",
    "recipient",
    "domain",
    "message-headers",
    "message-id",
    "timestamp",
    "token",
    "signature",
    "reason",
    "code",
    "description",
    "error",
    "notification",
    "ip",
    "country",
    "region",
    "city",
    "user-agent",
    "device-type",
    "client-type",
    "client-name",
    "client-os",
    "campaign-id",
    "campaign-name",
    "tag",
    "mailing-list",
    "url",
    "attachment-count",
    "body-plain",
    "my_var_1",
    "x-mailgun-sid",
    "x-mailgun-tag",
    "h",
];

fn older(pairs: &Pairs, token: Option<String>) -> Told {
    let first = |name: &str| owned(pairs, name);
    let word = first("event").unwrap_or_default();
    let (code, error, note) = (first("code").unwrap_or_default(), first("error"), first("description"));
    let reason = first("reason").unwrap_or_default();
    let spoken = error.as_ref().map(|error| format!("{code} {error}"));
    let what = match word.as_str() {
        "delivered" => What::Delivered,
        "bounced" => bounced(Bounce::Hard, spoken.as_deref()),
        "dropped" => match code.as_str() {
            "605" => What::Listed(List::Bounced),
            "606" => What::Listed(List::Unsubscribed),
            "607" => What::Listed(List::Complained),
            _ if reason == "old" => What::Bounced(Bounce::Soft),
            _ => listed(&reason).unwrap_or(What::Failed),
        },
        "opened" => What::Opened { machine: false },
        "clicked" => What::Clicked { machine: false },
        "unsubscribed" => What::Unsubscribed(Scope::Everything),
        "complained" => What::Complained,
        _ => What::Nothing,
    };
    let tags = pairs.iter().filter(|(name, _)| name.eq_ignore_ascii_case("tag") || name.eq_ignore_ascii_case("x-mailgun-tag"));
    let variables: Map<String, Value> = pairs
        .iter()
        .filter(|(name, _)| !OWN.contains(&name.to_ascii_lowercase().as_str()))
        .map(|(name, value)| {
            (name.clone(), object_or_text(Some(&Value::String(value.clone()))).map_or(Value::from(value.clone()), Value::Object))
        })
        .collect();
    Told::new(what, &word)
        .event(token)
        .message(first("Message-Id").or_else(|| first("message-id")))
        .person(first("recipient"))
        .at(last(pairs, "timestamp").as_deref().and_then(written))
        .reply(error)
        .note(note)
        .url(first("url"))
        .agent(first("user-agent"))
        .tags(tags.map(|(_, value)| value.clone()).collect())
        .variables(Some(&variables))
        .known_by(&[&word])
}
