//! MessageBird's older interface, rest.messagebird.com (standards.md §3.5–3.6); [`super::bird`] is the newer one. It knows no idempotency key: a
//! request without an answer stays `Unknown`.

use super::Text;
use crate::providers::http::answer::found;
use crate::providers::http::request::secret;
use crate::providers::http::{Answer, Api, ByHttp, Options, Request};
use crate::providers::settings::{Error, Keys};
use crate::providers::{Look, Outcome, Outgoing, Provider};
use crate::types::{Channel, Failure};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde_json::{Value, json};
use std::sync::Arc;

struct MessageBird {
    login: HeaderValue,
    url: String,
}

/// Reads token, url, connections, timeout.
pub(crate) fn open(name: &str, keys: &Keys<'_>) -> Result<Arc<dyn Provider>, Error> {
    let (api, options) = read(keys)?;
    Ok(Arc::new(ByHttp::new(name, &options, api)?))
}

fn read(keys: &Keys<'_>) -> Result<(MessageBird, Options), Error> {
    let options = Options::read(keys, "https://rest.messagebird.com")?;
    Ok((MessageBird { login: keys.secret("token", access_key)?, url: options.url.clone() }, options))
}

/// `Authorization: AccessKey …`
pub(super) fn access_key(token: &str) -> Option<HeaderValue> {
    secret(&format!("AccessKey {token}"))
}

impl Api for MessageBird {
    fn channel(&self) -> Channel {
        Channel::Sms
    }

    fn request(&self, outgoing: &Outgoing) -> Result<Request, Outcome> {
        let message = Text::of(outgoing)?;
        let body = json!({
            "originator": message.bare_sender(),
            "recipients": [message.digits()],
            "body": message.text,
            "datacoding": "auto",
            "reference": outgoing.reference(),
        });
        Ok(Request::post(format!("{}/messages", self.url)).header(AUTHORIZATION, self.login.clone()).json(&body))
    }

    fn read(&self, answer: &Answer) -> Outcome {
        let body = answer.value();
        if answer.is_success() {
            return answer.accepted(found(&body, "id"));
        }
        match body.get("errors").and_then(Value::as_array).and_then(|errors| errors.first()?.get("code")?.as_i64()) {
            Some(2 | 25 | 98) => answer.broken(),
            Some(9 | 10 | 20 | 21) => answer.refused(Failure::Rejected),
            Some(99) => answer.unknown(),
            _ => answer.by_status(false),
        }
    }

    fn look(&self) -> Option<Request> {
        Some(Request::get(format!("{}/balance", self.url)).header(AUTHORIZATION, self.login.clone()))
    }

    fn looked(&self, answer: &Answer) -> Look {
        let body = answer.value();
        match (found(&body, "amount"), found(&body, "type")) {
            (Some(amount), Some(unit)) if answer.is_success() => Look::fine(format!("the balance is {amount} {unit}")),
            _ => Look::by_status(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::outgoing;
    use super::*;
    use crate::providers::tests::{keys, say};

    #[test]
    fn requests() {
        let api = keys(json!({ "token": "x" }), read).unwrap().0;
        insta::assert_snapshot!(api.request(&outgoing("+380501112233", "Привіт\n\"bye\"")).unwrap_or_else(|_| unreachable!()).written());
    }

    #[test]
    fn answers_are_read_as_the_table_of_the_standards_says() {
        let api = keys(json!({ "token": "x" }), read).unwrap().0;
        let error = |code: u16| json!({ "errors": [{ "code": code, "description": "x", "parameter": null }] }).to_string();
        for (status, body, expected) in [
            (201, r#"{"id": "e8077d803532c0b5937c639b60216938"}"#.to_string(), "accepted e8077d803532c0b5937c639b60216938"),
            (201, String::new(), "unknown"),
            (401, error(2), "broken"),
            (402, error(25), "broken"),
            (404, error(98), "broken"),
            (422, error(9), "rejected"),
            (422, error(10), "rejected"),
            (404, error(20), "rejected"),
            (422, error(21), "rejected"),
            (500, error(99), "unknown"),
            (429, String::new(), "later throttled"),
            (502, String::new(), "unknown"),
        ] {
            assert_eq!(say(api.read(&Answer::of(status, &body))), expected, "{status} {body}");
        }
    }
}
