//! Messages to a system instead of a person: JSON by POST, signed by the scheme of Standard Webhooks.
//!
//! The receiver knows a message again by its `webhook-id`, the same on every try, as the scheme asks of it. So nothing is left unknown here: what was not
//! answered is tried again by the ledger's schedule, and at worst arrives twice under one id.

use super::http::{Answer, Api, ByHttp, Options, Request};
use super::settings::{Error, Keys};
use super::{Body, Outcome, Outgoing, Provider, Sending};
use crate::clock::Clock;
use crate::types::{Channel, Failure};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;
use std::sync::Arc;
use std::time::Duration;

struct Webhook {
    url: String,
    /// The first is today's; those behind it are on their way out, and sign too, so that the receiver may change in its own time.
    keys: Vec<hmac::Key>,
    clock: Clock,
}

/// Reads url, secret (one or a list), connections, timeout.
pub(crate) fn open(name: &str, keys: &Keys<'_>) -> Result<Arc<dyn Provider>, Error> {
    let (webhook, options) = read(keys, Clock::real())?;
    Ok(Arc::new(Certain(ByHttp::new(name, &options, webhook)?)))
}

fn read(keys: &Keys<'_>, clock: Clock) -> Result<(Webhook, Options), Error> {
    let options = Options::read(keys, "")?;
    let secrets = keys.list("secret")?;
    if secrets.is_empty() {
        return Err(keys.wrong("secret", "is missing"));
    }
    let read = |secret: &String| {
        let bytes = STANDARD.decode(secret.strip_prefix("whsec_").unwrap_or(secret)).ok().filter(|bytes| (18..=64).contains(&bytes.len()));
        let bytes = bytes.ok_or_else(|| keys.wrong("secret", "must be `whsec_` and 24 to 64 random bytes in base64"))?;
        Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
    };
    Ok((Webhook { url: keys.needed("url")?, keys: secrets.iter().map(read).collect::<Result<_, Error>>()?, clock }, options))
}

impl Webhook {
    fn signature(&self, id: &str, timestamp: i64, body: &str) -> String {
        let one = |key| format!("v1,{}", STANDARD.encode(hmac::sign(key, format!("{id}.{timestamp}.{body}").as_bytes())));
        self.keys.iter().map(one).collect::<Vec<_>>().join(" ")
    }
}

impl Api for Webhook {
    fn channel(&self) -> Channel {
        Channel::Webhook
    }

    fn request(&self, outgoing: &Outgoing) -> Result<Request, Outcome> {
        let Body::Webhook { json, .. } = &outgoing.body else { return Err(outgoing.body.strange(Channel::Webhook)) };
        let (id, timestamp) = (format!("msg_{}", outgoing.key), self.clock.now().timestamp());
        let header = |text: &str| HeaderValue::from_str(text).map_err(|error| Outcome::Broken { reply: error.to_string() });
        Ok(Request::post(self.url.clone())
            .named("content-type", HeaderValue::from_static("application/json"))
            .named("webhook-id", header(&id)?)
            .named("webhook-timestamp", HeaderValue::from(timestamp))
            .named("webhook-signature", header(&self.signature(&id, timestamp, json))?)
            .body(json.clone().into_bytes()))
    }

    fn read(&self, answer: &Answer) -> Outcome {
        match answer.status {
            200..=299 => Outcome::Accepted { id: None, reply: answer.reply() },
            429 => answer.later(),
            // Nobody is there who knows us: 410 means that nothing shall be sent there any more.
            401..=407 | 410 => answer.broken(),
            413 => answer.refused(Failure::TooLarge),
            400 | 409 | 411 | 412 | 414..=428 | 430..=499 => answer.refused(Failure::Rejected),
            _ => Outcome::Away { after: answer.retry_after(), reply: answer.reply() },
        }
    }
}

/// Where a second try does no harm, no answer is no more than an absence.
struct Certain(ByHttp<Webhook>);

impl Provider for Certain {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn channel(&self) -> Channel {
        Channel::Webhook
    }
    fn width(&self) -> usize {
        self.0.width()
    }
    fn send<'a>(&'a self, outgoing: &'a Outgoing) -> Sending<'a> {
        Box::pin(async move {
            match self.0.send(outgoing).await {
                Outcome::Unknown { reply } => Outcome::Away { after: None, reply },
                outcome => outcome,
            }
        })
    }
    fn pause(&self) -> Option<Duration> {
        self.0.pause()
    }
    fn look(&self) -> super::Looking<'_> {
        self.0.look()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::tests::{keys, say};
    use crate::types::MessageId;
    use serde_json::{Value, json};

    fn webhook(secret: Value) -> Result<Webhook, Error> {
        let clock = Clock::standing_at("2027-03-01T10:00:00Z".parse().unwrap());
        keys(json!({ "url": "https://crm.shop.example/hook/", "secret": secret }), |keys| read(keys, clock)).map(|(webhook, _)| webhook)
    }

    #[test]
    fn the_signature_is_that_of_the_scheme() {
        let signed = |secret| {
            let body = r#"{"event_type":"ping","data":{"success":true}}"#;
            webhook(secret).unwrap().signature("msg_loFOjxBNrRLzqYUf", 1_731_705_121, body)
        };
        let expected = "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=";
        assert_eq!(signed(json!("whsec_plJ3nmyCDGBKInavdOK15jsl")), expected);
        let both = signed(json!(["whsec_plJ3nmyCDGBKInavdOK15jsl", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"]));
        assert!(both.starts_with(&format!("{expected} v1,")), "{both}");
        for secret in [json!("whsec_short"), json!("no base64!"), json!([])] {
            assert!(webhook(secret).is_err());
        }
    }

    #[test]
    fn requests() {
        let body = Body::Webhook { to: "K7".into(), json: r#"{"type":"message"}"#.into() };
        let outgoing = Outgoing { message: MessageId(7), body, key: "0123456789abcdef0123456789abcdef".into() };
        let webhook = webhook(json!("whsec_plJ3nmyCDGBKInavdOK15jsl")).unwrap();
        insta::assert_snapshot!(webhook.request(&outgoing).unwrap_or_else(|_| unreachable!()).written());
    }

    #[test]
    fn what_a_receiver_answers_is_tried_again_refused_or_stops_it() {
        let webhook = webhook(json!("whsec_plJ3nmyCDGBKInavdOK15jsl")).unwrap();
        for (status, expected) in [
            (200, "accepted"),
            (204, "accepted"),
            (302, "away"),
            (400, "rejected"),
            (401, "broken"),
            (404, "broken"),
            (408, "away"),
            (410, "broken"),
            (413, "too_large"),
            (422, "rejected"),
            (429, "later throttled"),
            (500, "away"),
            (502, "away"),
            (503, "away"),
        ] {
            assert_eq!(say(webhook.read(&Answer::of(status, ""))), expected, "{status}");
        }
    }
}
