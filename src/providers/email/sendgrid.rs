//! SendGrid's Mail Send, version 3 (standards.md §3.2–3.3): fields instead of a message, one person in each request, since no two letters are
//! alike. It knows no idempotency key: a request without an answer stays `Unknown`. Its own tracking is switched off; ours is in the letter.

use super::Parcel;
use super::parts::Parts;
use crate::providers::http::request::bearer;
use crate::providers::http::{Answer, Api, ByHttp, Options, Request};
use crate::providers::settings::{Error, Keys};
use crate::providers::{Look, Outcome, Outgoing, Provider, REFERENCE};
use crate::types::Channel;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde_json::{Map, Value, json};
use std::sync::Arc;

struct SendGrid {
    login: HeaderValue,
    url: String,
}

/// Reads token, region, url, connections, timeout.
pub(crate) fn open(name: &str, keys: &Keys<'_>) -> Result<Arc<dyn Provider>, Error> {
    let (api, options) = read(keys)?;
    Ok(Arc::new(ByHttp::new(name, &options, api)?))
}

fn read(keys: &Keys<'_>) -> Result<(SendGrid, Options), Error> {
    let url = match keys.word("region", &["global", "eu"])? {
        "eu" => "https://api.eu.sendgrid.com",
        _ => "https://api.sendgrid.com",
    };
    let options = Options::read(keys, url)?;
    Ok((SendGrid { login: keys.secret("token", bearer)?, url: options.url.clone() }, options))
}

impl Api for SendGrid {
    fn channel(&self) -> Channel {
        Channel::Email
    }

    fn request(&self, outgoing: &Outgoing) -> Result<Request, Outcome> {
        let parcel = Parcel::of(outgoing)?;
        let parts = Parts::of(parcel.mime)?;
        let mut from = json!({ "email": parts.from.address });
        if let (Some(name), Value::Object(from)) = (&parts.from.name, &mut from) {
            from.insert("name".into(), json!(name));
        }
        let mut content = vec![json!({ "type": "text/plain", "value": parts.text })];
        content.extend(parts.html.as_ref().map(|html| json!({ "type": "text/html", "value": html })));
        let headers: Map<String, Value> = parts.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let mut body = json!({
            "personalizations": [{ "to": [{ "email": parcel.to.as_str() }], "custom_args": { REFERENCE: outgoing.reference() } }],
            "from": from,
            "subject": parts.subject,
            "content": content,
            "headers": headers,
            "tracking_settings": {
                "click_tracking": { "enable": false, "enable_text": false },
                "open_tracking": { "enable": false },
                "subscription_tracking": { "enable": false },
            },
        });
        if let (Some(address), Value::Object(fields)) = (&parts.reply_to, &mut body) {
            fields.insert("reply_to".into(), json!({ "email": address }));
        }
        Ok(Request::post(format!("{}/v3/mail/send", self.url)).header(AUTHORIZATION, self.login.clone()).json(&body))
    }

    fn read(&self, answer: &Answer) -> Outcome {
        match answer.status {
            // Only this one means that it is queued; the number stands in a header.
            202 => Outcome::Accepted { id: answer.header("x-message-id").map(str::to_string), reply: answer.reply() },
            // 200 is the answer of its sandbox: checked, and not sent.
            200..=299 => answer.unknown(),
            _ => answer.by_status(true),
        }
    }

    fn look(&self) -> Option<Request> {
        Some(Request::get(format!("{}/v3/scopes", self.url)).header(AUTHORIZATION, self.login.clone()))
    }

    fn looked(&self, answer: &Answer) -> Look {
        let body = answer.value();
        match body.get("scopes").and_then(Value::as_array).filter(|_| answer.is_success()) {
            Some(scopes) if scopes.iter().any(|scope| scope == "mail.send") => Look::fine("the key may send mail".into()),
            Some(_) => Look::wrong("the key may not send mail: give it the permission Mail Send".into()),
            None => Look::by_status(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parts::tests::{outgoing, receipt};
    use super::*;
    use crate::providers::tests::{keys, say};

    fn sendgrid(values: Value) -> SendGrid {
        keys(values, read).unwrap().0
    }

    #[test]
    fn requests() {
        let eu = sendgrid(json!({ "token": "SG.x", "region": "eu" }));
        insta::assert_snapshot!(eu.request(&outgoing()).unwrap_or_else(|_| unreachable!()).written());
        let written = sendgrid(json!({ "token": "SG.x" })).request(&receipt()).unwrap_or_else(|_| unreachable!()).written();
        assert!(!written.contains("List-Unsubscribe") && !written.contains("reply_to") && written.contains("Auto-Submitted"), "{written}");
    }

    #[test]
    fn answers_are_read_as_the_table_of_the_standards_says() {
        let api = sendgrid(json!({ "token": "SG.x" }));
        for (status, expected) in [
            (202, "accepted X1"),
            (200, "unknown"),
            (429, "later throttled"),
            (503, "later throttled"),
            (401, "broken"),
            (403, "broken"),
            (400, "rejected"),
            (413, "too_large"),
            (500, "unknown"),
            (502, "unknown"),
            (504, "unknown"),
        ] {
            assert_eq!(say(api.read(&Answer::of(status, "").with("x-message-id", "X1"))), expected, "{status}");
        }
        assert_eq!(say(api.read(&Answer::of(202, ""))), "accepted");
        assert_eq!(api.looked(&Answer::of(200, r#"{"scopes": ["stats.read"]}"#)).state, crate::providers::LookState::Wrong);
    }
}
