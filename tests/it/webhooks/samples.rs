//! Events: every published sample is read as its collector expects, whatever the two vocabularies call things.

use super::{Hook, keys, kind, seconds, shared};
use posthaste::store::tallies::Bounce;
use posthaste::types::Time;
use posthaste::webhooks::{Kind, List, Refused, Told, What, read};
use serde_json::{Map, Value};

fn hook(sample: &Value) -> Hook {
    use base64::Engine as _;
    let path = sample["path"].as_str().unwrap();
    let url = if path.starts_with("http") { path.to_string() } else { format!("https://hooks.example.com{path}") };
    let body = match &sample["body_b64"] {
        Value::String(coded) => base64::engine::general_purpose::STANDARD.decode(coded).unwrap(),
        _ => sample["body"].as_str().unwrap_or_default().as_bytes().to_vec(),
    };
    let mut hook = Hook::post(&url, sample["content_type"].as_str().unwrap_or_default(), body);
    hook.method = sample["method"].as_str().unwrap_or("POST").to_string();
    for (name, value) in sample["headers"].as_object().into_iter().flatten() {
        hook.headers.push((name.to_lowercase(), value.as_str().unwrap().to_string()));
    }
    hook
}

/// The instant that the signature names; the samples are old.
fn now(kind: Kind, hook: &Hook) -> Time {
    let header = |name: &str| hook.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let named = match kind {
        Kind::SendGrid => header("x-twilio-email-event-webhook-timestamp"),
        Kind::Resend => header("svix-timestamp"),
        Kind::Mailgun => serde_json::from_slice::<Value>(&hook.body)
            .ok()
            .and_then(|body| body["signature"]["timestamp"].as_str().map(str::to_string))
            .or_else(|| {
                String::from_utf8_lossy(&hook.body).rsplit_once("name=\"timestamp\"\r\n\r\n").map(|(_, rest)| rest[..10].to_string())
            }),
        _ => None,
    };
    seconds(named.and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0) as i64)
}

#[test]
fn every_published_sample_is_proved_as_it_says() {
    let mut proved = 0;
    for sample in shared("events.jsonl") {
        let (id, kind, hook) = (sample["id"].as_str().unwrap(), kind(sample["provider"].as_str().unwrap()), hook(&sample));
        // The keys of the others are not published.
        let Some(key) = sample["keys"].as_object().and_then(|keys| keys.values().next()).and_then(Value::as_str) else { continue };
        proved += 1;
        let verified = hook.verify(kind, &keys(key), now(kind, &hook));
        match sample["expect"]["accepted"].as_bool() {
            // These name words instead of a time, which could be sent again for ever; the signature itself fits.
            Some(true) if hook.headers.iter().any(|(_, value)| value == "data timestamp") => {
                assert_eq!(verified, Err(Refused::Stale), "{id}")
            }
            Some(true) => assert_eq!(verified, Ok(()), "{id}"),
            Some(false) => assert!(verified.is_err(), "{id}"),
            None => {}
        }
    }
    eprintln!("{proved} samples carry the key that they were signed with");
}

#[test]
fn every_published_sample_is_read_as_expected() {
    let mut wrong = Vec::new();
    for sample in shared("events.jsonl") {
        let expect = &sample["expect"];
        if expect["accepted"] == Value::Bool(false) {
            continue;
        }
        let (id, kind, hook) = (sample["id"].as_str().unwrap(), kind(sample["provider"].as_str().unwrap()), hook(&sample));
        let told = match read(kind, &hook.request()) {
            Ok(told) => told,
            Err(why) => {
                wrong.push(format!("{id}: {why}"));
                continue;
            }
        };
        let expected = expect["events"].as_array().unwrap();
        if told.len() != expected.len() {
            wrong.push(format!("{id}: {} events instead of {}", told.len(), expected.len()));
            continue;
        }
        for (told, expected) in told.iter().zip(expected) {
            let compared = match expect["scheme"].as_str().unwrap() {
                "anymail" => anymail(kind, told, expected),
                "symfony" => symfony(kind, told, expected),
                _ => plain(told, expected),
            };
            wrong.extend(
                compared.into_iter().chain(common(kind, told, expected)).map(|why| format!("{id}: {why}\n   {told:?}\n   {expected}")),
            );
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn differs(what: &str, ours: impl std::fmt::Debug, theirs: &Value) -> String {
    format!("{what} is {ours:?} and not {theirs}")
}

/// django-anymail's words.
fn anymail(kind: Kind, told: &Told, expected: &Value) -> Vec<String> {
    let types: &[&str] = match &told.what {
        What::Accepted => &["queued", "sent"],
        What::Deferred => &["deferred"],
        What::Delivered => &["delivered"],
        // It calls everything that a provider drops after trying rejected, too.
        What::Bounced(_) if told.word == "dropped" => &["rejected"],
        What::Bounced(_) => &["bounced"],
        // Postmark tells of its list as of a bounce.
        What::Listed(List::Bounced) if kind == Kind::Postmark => &["bounced"],
        What::Listed(_) => &["rejected"],
        What::Failed => &["failed", "rejected"],
        What::Opened { .. } => &["opened"],
        What::Clicked { .. } => &["clicked"],
        What::Complained => &["complained"],
        What::Unsubscribed(_) => &["unsubscribed"],
        What::Subscribed => &["subscribed"],
        What::Answered => &["autoresponded"],
        What::Text { .. } => &["inbound"],
        What::Nothing => &["unknown"],
    };
    let reasons: &[&str] = match &told.what {
        What::Bounced(Bounce::Hard) => &["bounced", "invalid"],
        What::Bounced(Bounce::Soft) => &["bounced", "timed_out", "other"],
        What::Bounced(Bounce::Blocked) => &["bounced", "blocked", "spam", "other"],
        What::Listed(List::Bounced) => &["bounced"],
        What::Listed(List::Invalid) => &["invalid"],
        What::Listed(List::Complained) => &["spam"],
        What::Listed(List::Unsubscribed) => &["unsubscribed", "blocked"],
        What::Listed(List::Other) => &["blocked", "other"],
        What::Deferred => &["other", "bounced"],
        What::Complained => &["spam"],
        What::Unsubscribed(_) => &["unsubscribed"],
        _ => &[],
    };
    let mut wrong = Vec::new();
    if !types.contains(&expected["event_type"].as_str().unwrap()) {
        wrong.push(differs("what", &told.what, &expected["event_type"]));
    }
    if let Some(reason) = expected["reject_reason"].as_str()
        && !reasons.contains(&reason)
    {
        wrong.push(differs("the reason", &told.what, &expected["reject_reason"]));
    }
    for name in ["mta_response", "description"] {
        if let Some(text) = expected[name].as_str()
            && told.reply.as_deref() != Some(text)
            && told.note.as_deref() != Some(text)
        {
            wrong.push(differs(name, (&told.reply, &told.note), &expected[name]));
        }
    }
    for (name, value) in expected["metadata"].as_object().unwrap_or(&Map::new()) {
        // Where a variable has the name of a field, the field is ours and the variable is left out.
        let is_field = kind == Kind::Mailgun && ["event", "recipient", "token", "timestamp", "signature"].contains(&name.as_str());
        if !is_field && told.variables.get(name) != Some(value) {
            wrong.push(differs(name, &told.variables, value));
        }
    }
    // It takes SNS's own time where we take the event's, and milliseconds where Brevo writes seconds.
    if let Some(text) = expected["timestamp"].as_str().filter(|text| kind != Kind::Ses && !text.starts_with("1970")) {
        let at: Time = text.parse().unwrap();
        if told.at.is_none_or(|ours| (ours - at).num_milliseconds().abs() > 1_000) {
            wrong.push(differs("the time", told.at, &expected["timestamp"]));
        }
    }
    if let Some(id) = expected["event_id"].as_str()
        && !told.id.contains(id)
    {
        wrong.push(differs("the event's number", &told.id, &expected["event_id"]));
    }
    for (name, ours) in [("click_url", &told.url), ("user_agent", &told.agent)] {
        if expected[name].is_string() && ours.as_deref() != expected[name].as_str() {
            wrong.push(differs(name, ours, &expected[name]));
        }
    }
    wrong
}

/// Symfony's words.
fn symfony(kind: Kind, told: &Told, expected: &Value) -> Vec<String> {
    let types: &[&str] = match &told.what {
        What::Accepted => &["received"],
        What::Deferred => &["deferred"],
        What::Delivered => &["delivered"],
        // It says of an address that is none that Brevo has dropped the message, where the other collector says bounced.
        What::Bounced(_) if told.word == "invalid_email" => &["dropped"],
        What::Bounced(_) => &["bounce", "failed"],
        // It tells of every change of Postmark's list as of an unsubscription.
        What::Listed(_) if kind == Kind::Postmark => &["unsubscribe"],
        What::Listed(_) | What::Failed => &["dropped", "failed"],
        What::Opened { .. } => &["open"],
        What::Clicked { .. } => &["click"],
        What::Complained => &["spam"],
        What::Unsubscribed(_) => &["unsubscribe"],
        _ => &[],
    };
    let mut wrong = Vec::new();
    if !types.contains(&expected["type"].as_str().unwrap()) {
        wrong.push(differs("what", &told.what, &expected["type"]));
    }
    if let Some(reason) = expected["reason"].as_str().filter(|reason| !reason.is_empty())
        && told.reply.as_deref() != Some(reason)
        && told.note.as_deref() != Some(reason)
    {
        wrong.push(differs("the reason", (&told.reply, &told.note), &expected["reason"]));
    }
    if let Some(date) = expected["date"].as_str() {
        let at = match date.parse::<f64>() {
            Ok(seconds) => Time::from_timestamp_micros((seconds * 1e6) as i64).unwrap(),
            Err(_) => date.parse().unwrap(),
        };
        if told.at.is_none_or(|ours| (ours - at).num_milliseconds().abs() > 1_000) {
            wrong.push(differs("the time", told.at, &expected["date"]));
        }
    }
    wrong
}

/// Fields without a vocabulary.
fn plain(told: &Told, expected: &Value) -> Vec<String> {
    let word = match &told.what {
        What::Bounced(_) | What::Listed(_) => "bounce",
        What::Complained => "complaint",
        What::Delivered => "delivery",
        What::Failed => "reject",
        What::Opened { .. } => "open",
        What::Unsubscribed(_) | What::Subscribed => "subscription",
        What::Text { .. } => "inbound",
        _ => "another",
    };
    let mut wrong = Vec::new();
    if expected["type"] != word {
        wrong.push(differs("what", &told.what, &expected["type"]));
    }
    if let Some(class) = expected["bounce_type"].as_str() {
        let note = format!("{class}: {}", expected["bounce_subtype"].as_str().unwrap());
        if told.note.as_deref() != Some(&note) {
            wrong.push(differs("the class", &told.note, &expected["bounce_type"]));
        }
    }
    if let Some(status) = expected["status"].as_str()
        && told.reply.as_ref().is_none_or(|reply| !reply.contains(status))
    {
        wrong.push(differs("the status", &told.reply, &expected["status"]));
    }
    if expected["feedback_type"].is_string() && told.note.as_deref() != expected["feedback_type"].as_str() {
        wrong.push(differs("the kind of complaint", &told.note, &expected["feedback_type"]));
    }
    if expected["user_agent"].is_string() && told.agent.as_deref() != expected["user_agent"].as_str() {
        wrong.push(differs("the agent", &told.agent, &expected["user_agent"]));
    }
    if let What::Text { to, text, .. } = &told.what
        && (expected["recipient"] != to.as_str()
            || expected["text"] != text.as_str()
            || expected["sender"].as_str() != told.person.as_deref())
    {
        wrong.push(differs("the text", &told.what, expected));
    }
    wrong
}

/// Person, message and tags, which all collectors name alike.
fn common(kind: Kind, told: &Told, expected: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let is_text = matches!(told.what, What::Text { .. });
    if expected["recipient"].is_string() && !is_text && told.person.as_deref() != expected["recipient"].as_str() {
        wrong.push(differs("the person", &told.person, &expected["recipient"]));
    }
    let id = match &expected["message_id"] {
        Value::String(id) => id.clone(),
        Value::Number(id) => id.to_string(),
        _ => String::new(),
    };
    // Anymail and Symfony prefer other names of the message now and then: a variable of their own, the number of the event.
    let is_known = told.ids.contains(&id) || told.echoes.contains(&id) || told.id.split('|').any(|part| part == id);
    if !id.is_empty() && !is_known && kind != Kind::Mailomat {
        wrong.push(differs("the message", (&told.ids, &told.echoes), &expected["message_id"]));
    }
    let mut tags = Vec::new();
    flatten(&expected["tags"], &mut tags);
    if !tags.is_empty() && told.tags.iter().filter(|tag| !tag.is_empty()).ne(tags.iter().filter(|tag| !tag.is_empty())) {
        wrong.push(differs("tags", &told.tags, &expected["tags"]));
    }
    wrong
}

fn flatten(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| flatten(item, into)),
        Value::String(text) => into.push(text.clone()),
        _ => {}
    }
}

/// A small generator of our own, so that every run tries the same.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit.max(1)
    }
}

fn mutated(body: &[u8], others: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut body = body.to_vec();
    for _ in 0..=chance.below(4) {
        let at = chance.below(body.len());
        match chance.below(7) {
            0 if !body.is_empty() => body[at] = chance.below(256) as u8,
            1 => body.truncate(at),
            2 => body.splice(at..at, b"\"\\{[&=%,:-\0\xff"[chance.below(13)..].to_vec()).for_each(drop),
            3 if !body.is_empty() => drop(body.drain(at..(at + 1 + chance.below(40)).min(body.len()))),
            4 => {
                let end = (at + chance.below(60)).min(body.len());
                let piece = body[at..end].to_vec();
                body.extend(piece);
            }
            5 => {
                let other = &others[chance.below(others.len())];
                let from = chance.below(other.len());
                body.splice(at..at, other[from..(from + 80).min(other.len())].to_vec()).for_each(drop);
            }
            _ => body
                .splice(at..at, ["null", "-1", "1e999", "[]", "\u{1f44d}", "99999999999999999999", "\"\""][chance.below(7)].bytes())
                .for_each(drop),
        }
    }
    body
}

/// Nothing that anybody sends makes us fall, and nothing altered is taken for proved by chance.
#[test]
fn mutated_requests_are_read_or_refused_and_nothing_falls() {
    let mut hooks: Vec<(Kind, Hook)> =
        shared("events.jsonl").iter().map(|sample| (kind(sample["provider"].as_str().unwrap()), hook(sample))).collect();
    hooks.extend(
        Kind::ALL.iter().flat_map(|kind| {
            bodies().into_iter().map(|(content, body)| (*kind, Hook::post("https://hooks.example.com/?a=1", content, body)))
        }),
    );
    let others: Vec<Vec<u8>> = hooks.iter().map(|(_, hook)| hook.body.clone()).collect();
    let mut chance = Chance(2027);
    let each = 40_000 / hooks.len();
    for (kind, hook) in &hooks {
        for _ in 0..each {
            let altered = Hook { body: mutated(&hook.body, &others, &mut chance), ..hook.clone() };
            let _ = read(*kind, &altered.request());
            let _ = posthaste::webhooks::dedupe(*kind, &altered.request());
            assert!(altered.verify(*kind, &keys("a key that signed none of these"), seconds(1_700_000_000)).is_err());
        }
    }
}

fn bodies() -> [(&'static str, &'static str); 6] {
    [
        ("application/json", r#"[{"event":"bounce","email":"a@b.c","timestamp":1,"reason":"550 5.1.1 x"}]"#),
        ("application/json", r#"{"event":"x","payload":{"message":{"id":1,"to":"a"},"status":"HardFail"},"data":{"to":["a"],"type":"b"}}"#),
        ("application/x-www-form-urlencoded", "MessageSid=1&MessageStatus=failed&ErrorCode=30005&data[0]=sms_status%0A1%0A103%0A1"),
        ("multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"event\"\r\n\r\nbounced\r\n--x--\r\n"),
        ("application/json", r#"{"Type":"Notification","Message":"{\"eventType\":\"Bounce\",\"bounce\":{\"bouncedRecipients\":[{}]}}"}"#),
        (
            "application/json",
            r#"{"events_by_user":[{"events":[{"event_name":"transactional_email_status","event_data":{"status":"sent"}}]}]}"#,
        ),
    ]
}
