//! Postmark's batch interface (standards.md §3.2–3.3): fields instead of a message, up to 500 of them in a request, whoever is under way at the same
//! moment. Each has its own code in the answer, in the order of the request. Postmark knows no idempotency key: a batch without an answer leaves
//! every message of it `Unknown`. Its own tracking is switched off; ours is in the letter.

use super::Parcel;
use super::parts::Parts;
use crate::providers::http::answer::found;
use crate::providers::http::gather::{Batch, Gathering, Read};
use crate::providers::http::request::secret;
use crate::providers::http::{Answer, Options, Request};
use crate::providers::settings::{Error, Keys};
use crate::providers::{Look, Outcome, Outgoing, Provider, REFERENCE, Sought};
use crate::types::{Channel, Failure};
use reqwest::header::HeaderValue;
use serde_json::{Value, json};
use std::sync::Arc;

struct Postmark {
    login: HeaderValue,
    url: String,
    /// For letters of a list that can be left.
    stream: String,
    /// For all others.
    transactional_stream: String,
    most: usize,
}

/// Reads token, stream, transactional_stream, batch, url, connections, timeout.
pub(crate) fn open(name: &str, keys: &Keys<'_>) -> Result<Arc<dyn Provider>, Error> {
    let (api, options) = read(keys)?;
    Ok(Arc::new(Gathering::new(name, &options, api)?))
}

fn read(keys: &Keys<'_>) -> Result<(Postmark, Options), Error> {
    let options =
        Options { connections: keys.number("connections", 4, 1, 1000)? as usize, ..Options::read(keys, "https://api.postmarkapp.com")? };
    let postmark = Postmark {
        login: keys.secret("token", secret)?,
        url: options.url.clone(),
        stream: keys.text("stream")?.unwrap_or_else(|| "broadcast".to_string()),
        transactional_stream: keys.text("transactional_stream")?.unwrap_or_else(|| "outbound".to_string()),
        most: keys.number("batch", 50, 1, 500)? as usize,
    };
    Ok((postmark, options))
}

impl Batch for Postmark {
    fn channel(&self) -> Channel {
        Channel::Email
    }

    fn most(&self) -> usize {
        self.most
    }

    fn item(&self, outgoing: &Outgoing) -> Result<Value, Outcome> {
        let parcel = Parcel::of(outgoing)?;
        let parts = Parts::of(parcel.mime)?;
        let from = match &parts.from.name {
            Some(name) => format!("\"{}\" <{}>", name.replace(['"', '\\'], "'"), parts.from.address),
            None => parts.from.address.clone(),
        };
        let mut headers: Vec<Value> = parts.headers.iter().map(|(name, value)| json!({ "Name": name, "Value": value })).collect();
        if let Some(id) = &parts.message_id {
            // The same on every attempt.
            headers.push(json!({ "Name": "Message-ID", "Value": id }));
            headers.push(json!({ "Name": "X-PM-KeepID", "Value": "true" }));
        }
        let mut item = json!({
            "From": from,
            "To": parcel.to.as_str(),
            "Subject": parts.subject,
            "TextBody": parts.text,
            "Headers": headers,
            "Metadata": { REFERENCE: outgoing.reference() },
            "MessageStream": if parts.is_listed() { &self.stream } else { &self.transactional_stream },
            "TrackOpens": false,
            "TrackLinks": "None",
        });
        if let Value::Object(fields) = &mut item {
            fields.extend(parts.html.map(|html| ("HtmlBody".to_string(), json!(html))));
            fields.extend(parts.reply_to.map(|address| ("ReplyTo".to_string(), json!(address))));
        }
        Ok(item)
    }

    fn request(&self, items: &[Value]) -> Request {
        Request::post(format!("{}/email/batch", self.url))
            .named("accept", HeaderValue::from_static("application/json"))
            .named("x-postmark-server-token", self.login.clone())
            .json(items)
    }

    fn read(&self, answer: &Answer, items: &[Value]) -> Read {
        let body = answer.value();
        match (answer.status, &body) {
            // Fewer or more answers than messages: whose is whose cannot be said.
            (200..=299, Value::Array(each)) if each.len() == items.len() => {
                Read::Each(each.iter().map(|one| by_code(one, answer)).collect())
            }
            (200..=299, _) => Read::All(answer.unknown()),
            (413, _) => Read::Parts(answer.refused(Failure::TooLarge)),
            (422, one) if code(one).is_some() => match by_code(one, answer) {
                // About a single message, though it does not say which.
                refused @ Outcome::Refused { .. } => Read::Parts(refused),
                other => Read::All(other),
            },
            _ => Read::All(answer.by_status(true)),
        }
    }

    /// Its messages to this person under our metadata, in either stream: a search is of one.
    fn search(&self, sought: &Sought) -> Vec<Request> {
        let name = format!("metadata_{REFERENCE}");
        let mut streams = vec![self.stream.as_str(), self.transactional_stream.as_str()];
        streams.dedup();
        let request = |stream: &str| {
            let fields =
                [("count", "50"), ("offset", "0"), ("recipient", &sought.to), (&name, &sought.reference), ("messagestream", stream)];
            Request::query(&format!("{}/messages/outbound", self.url), &fields)
                .named("accept", HeaderValue::from_static("application/json"))
                .named("x-postmark-server-token", self.login.clone())
        };
        streams.into_iter().map(request).collect()
    }

    fn found(&self, answer: &Answer, sought: &Sought) -> Result<Option<String>, String> {
        answer.row("Messages", |message| {
            let is_it = found(message, &format!("Metadata.{REFERENCE}")).as_deref() == Some(sought.reference.as_str());
            found(message, "MessageID").filter(|_| is_it)
        })
    }

    fn look(&self) -> Option<Request> {
        Some(
            Request::get(format!("{}/server", self.url))
                .named("accept", HeaderValue::from_static("application/json"))
                .named("x-postmark-server-token", self.login.clone()),
        )
    }

    fn looked(&self, answer: &Answer) -> Look {
        match found(&answer.value(), "Name").filter(|_| answer.is_success()) {
            Some(server) => Look::fine(format!("the server is {server}")),
            None => Look::by_status(answer),
        }
    }
}

fn code(one: &Value) -> Option<i64> {
    one.get("ErrorCode").and_then(Value::as_i64)
}

/// Postmark's own codes (standards.md §3.3).
fn by_code(one: &Value, answer: &Answer) -> Outcome {
    let reply = answer.reply_of(&one.to_string());
    let refused = |class, suppress| Outcome::Refused { class, suppress, reply: reply.clone() };
    match code(one) {
        Some(0) => match one.get("MessageID").and_then(Value::as_str) {
            Some(id) => Outcome::Accepted { id: Some(id.to_string()), reply },
            None => Outcome::Unknown { reply },
        },
        Some(100) => Outcome::Later { after: answer.retry_after(), throttled: false, reply },
        Some(10 | 400 | 401 | 405 | 412 | 413) => Outcome::Broken { reply },
        // It bounced or complained before, and Postmark lets nothing through to it any more.
        Some(406) => refused(Failure::Inactive, true),
        Some(_) => refused(Failure::Rejected, false),
        None => Outcome::Unknown { reply },
    }
}

#[cfg(test)]
mod tests {
    use super::super::parts::tests::{outgoing, receipt};
    use super::*;
    use crate::providers::tests::{keys, say};

    fn postmark() -> Postmark {
        keys(json!({ "token": "x", "stream": "news", "batch": 500 }), read).unwrap().0
    }

    #[test]
    fn requests() {
        let api = postmark();
        let items = [outgoing(), receipt()].map(|outgoing| api.item(&outgoing).unwrap_or_else(|_| unreachable!()));
        insta::assert_snapshot!(api.request(&items).written());
    }

    #[test]
    fn answers_are_read_as_the_table_of_the_standards_says() {
        let read = |status: u16, body: &str, items: usize| match postmark().read(&Answer::of(status, body), &vec![Value::Null; items]) {
            Read::Each(outcomes) => outcomes.into_iter().map(say).collect::<Vec<_>>().join(", "),
            Read::All(outcome) => format!("all {}", say(outcome)),
            Read::Parts(outcome) => format!("parts {}", say(outcome)),
        };
        let each = json!([
            { "ErrorCode": 0, "MessageID": "m1", "Message": "OK" }, { "ErrorCode": 406, "Message": "inactive" }, { "ErrorCode": 300 },
            { "ErrorCode": 405 }, { "ErrorCode": 100 }, {}, { "ErrorCode": 0 }
        ])
        .to_string();
        assert_eq!(read(200, &each, 7), "accepted m1, inactive_address suppress, rejected, broken, later, unknown, unknown");
        for (status, body, expected) in [
            (200, each.as_str(), "all unknown"),
            (200, "[{", "all unknown"),
            (429, "", "all later throttled"),
            (503, "", "all later throttled"),
            (401, r#"{"ErrorCode": 10}"#, "all broken"),
            (422, r#"{"ErrorCode": 10}"#, "all broken"),
            (422, r#"{"ErrorCode": 412}"#, "all broken"),
            (422, r#"{"ErrorCode": 402}"#, "parts rejected"),
            (413, "", "parts too_large"),
            (500, "", "all unknown"),
            (502, "", "all unknown"),
        ] {
            assert_eq!(read(status, body, 2), expected, "{status} {body}");
        }
    }
}
