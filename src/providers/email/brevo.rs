//! Brevo's transactional email (standards.md §3.2–3.3): fields instead of a message. Its batches (`messageVersions`) share their headers, so that
//! no letter could have its own `List-Unsubscribe`: each goes alone.
//!
//! A request carries a key by which Brevo takes it only once (for 15 minutes at least), so one without an answer is made again; that it was
//! taken before is then the answer `duplicate_parameter`.

use super::Parcel;
use super::parts::Parts;
use crate::providers::http::answer::found;
use crate::providers::http::request::secret;
use crate::providers::http::{Answer, Api, ByHttp, Options, REPEATS, Request};
use crate::providers::settings::{Error, Keys};
use crate::providers::{Look, Outcome, Outgoing, Provider, REFERENCE};
use crate::types::Channel;
use reqwest::header::HeaderValue;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

struct Brevo {
    login: HeaderValue,
    url: String,
}

/// Reads token, url, connections, timeout.
pub(crate) fn open(name: &str, keys: &Keys<'_>) -> Result<Arc<dyn Provider>, Error> {
    let (api, options) = read(keys)?;
    Ok(Arc::new(ByHttp::new(name, &options, api)?))
}

fn read(keys: &Keys<'_>) -> Result<(Brevo, Options), Error> {
    let options = Options::read(keys, "https://api.brevo.com")?;
    Ok((Brevo { login: keys.secret("token", secret)?, url: options.url.clone() }, options))
}

/// The message's key in the form of a UUID; of version 8, whose bits are the application's own.
fn uuid(key: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.as_bytes());
    let mut bits = digest.as_ref().iter().take(16).fold(0_u128, |bits, byte| (bits << 8) | u128::from(*byte));
    bits = (bits & !(0xf << 76)) | (0x8 << 76);
    bits = (bits & !(0x3 << 62)) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

impl Api for Brevo {
    fn channel(&self) -> Channel {
        Channel::Email
    }

    fn request(&self, outgoing: &Outgoing) -> Result<Request, Outcome> {
        let parcel = Parcel::of(outgoing)?;
        let parts = Parts::of(parcel.mime)?;
        let mut headers: Map<String, Value> = parts.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        headers.insert("idempotencyKey".into(), json!(uuid(&outgoing.key)));
        // What Brevo's webhooks hand back.
        headers.insert("X-Mailin-custom".into(), json!(format!("{REFERENCE}:{}", outgoing.reference())));
        let mut sender = json!({ "email": parts.from.address });
        if let (Some(name), Value::Object(sender)) = (&parts.from.name, &mut sender) {
            sender.insert("name".into(), json!(name));
        }
        let mut body = json!({ "sender": sender, "to": [{ "email": parcel.to.as_str() }], "subject": parts.subject });
        if let Value::Object(fields) = &mut body {
            if let Some(address) = &parts.reply_to {
                fields.insert("replyTo".into(), json!({ "email": address }));
            }
            if let Some(html) = &parts.html {
                fields.insert("htmlContent".into(), json!(html));
            }
            fields.insert("textContent".into(), json!(parts.text));
            fields.insert("headers".into(), Value::Object(headers));
        }
        Ok(Request::post(format!("{}/v3/smtp/email", self.url)).named("api-key", self.login.clone()).json(&body))
    }

    fn read(&self, answer: &Answer) -> Outcome {
        let body = answer.value();
        match (answer.status, found(&body, "code").as_deref()) {
            (200..=299, _) => answer.accepted(found(&body, "messageId")),
            // Taken before, and its number was in an answer that never came.
            (400..=499, Some("duplicate_parameter")) => Outcome::Accepted { id: None, reply: answer.reply() },
            (400..=499, Some("not_enough_credits" | "account_under_validation" | "permission_denied")) => answer.broken(),
            _ => answer.by_status(false),
        }
    }

    fn repeats(&self) -> &'static [Duration] {
        REPEATS
    }

    fn look(&self) -> Option<Request> {
        Some(Request::get(format!("{}/v3/account", self.url)).named("api-key", self.login.clone()))
    }

    fn looked(&self, answer: &Answer) -> Look {
        let body = answer.value();
        match (found(&body, "relay.enabled").as_deref(), found(&body, "plan.0.credits")) {
            (Some("false"), _) => Look::wrong("transactional email is not switched on for this account: ask Brevo's support".into()),
            (_, Some(credits)) if answer.is_success() => Look::fine(format!("{credits} credits are left")),
            _ => Look::by_status(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parts::tests::outgoing;
    use super::*;
    use crate::providers::tests::{keys, say};

    #[test]
    fn requests() {
        let api = keys(json!({ "token": "xkeysib-x" }), read).unwrap().0;
        insta::assert_snapshot!(api.request(&outgoing()).unwrap_or_else(|_| unreachable!()).written());
    }

    #[test]
    fn answers_are_read_as_the_table_of_the_standards_says() {
        let api = keys(json!({ "token": "xkeysib-x" }), read).unwrap().0;
        for (status, body, expected) in [
            (201, r#"{"messageId": "<2027@smtp-relay.example>"}"#, "accepted <2027@smtp-relay.example>"),
            (201, "", "unknown"),
            (400, r#"{"code": "duplicate_parameter", "message": "used"}"#, "accepted"),
            (400, r#"{"code": "invalid_parameter", "message": "email is not valid in to"}"#, "rejected"),
            (400, r#"{"code": "not_enough_credits"}"#, "broken"),
            (429, "", "later throttled"),
            (401, r#"{"code": "unauthorized"}"#, "broken"),
            (402, "", "broken"),
            (403, "", "broken"),
            (500, "", "unknown"),
            (502, "", "unknown"),
        ] {
            assert_eq!(say(api.read(&Answer::of(status, body))), expected, "{status} {body}");
        }
    }
}
