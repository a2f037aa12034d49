//! Bird's channels, api.bird.com (standards.md §3.5); the workspace's channel is the sender. It knows no idempotency key: a request without an
//! answer stays `Unknown`.

use super::Text;
use super::messagebird::access_key;
use crate::providers::http::answer::found;
use crate::providers::http::{Answer, Api, ByHttp, Options, Request};
use crate::providers::settings::{Error, Keys};
use crate::providers::{Outcome, Outgoing, Provider};
use crate::types::Channel;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde_json::json;
use std::sync::Arc;

struct Bird {
    login: HeaderValue,
    /// That of the channel.
    url: String,
}

/// Reads workspace, sender_channel, token, url, connections, timeout.
pub(crate) fn open(name: &str, keys: &Keys<'_>) -> Result<Arc<dyn Provider>, Error> {
    let (api, options) = read(keys)?;
    Ok(Arc::new(ByHttp::new(name, &options, api)?))
}

fn read(keys: &Keys<'_>) -> Result<(Bird, Options), Error> {
    let options = Options::read(keys, "https://api.bird.com")?;
    let url = format!("{}/workspaces/{}/channels/{}", options.url, keys.label("workspace")?, keys.label("sender_channel")?);
    Ok((Bird { login: keys.secret("token", access_key)?, url }, options))
}

impl Api for Bird {
    fn channel(&self) -> Channel {
        Channel::Sms
    }

    fn request(&self, outgoing: &Outgoing) -> Result<Request, Outcome> {
        let message = Text::of(outgoing)?;
        let body = json!({
            "receiver": { "contacts": [{ "identifierKey": "phonenumber", "identifierValue": message.to }] },
            "body": { "type": "text", "text": { "text": message.text } },
            "reference": outgoing.reference(),
        });
        Ok(Request::post(format!("{}/messages", self.url)).header(AUTHORIZATION, self.login.clone()).json(&body))
    }

    fn read(&self, answer: &Answer) -> Outcome {
        match answer.is_success() {
            true => answer.accepted(found(&answer.value(), "id")),
            false => answer.by_status(false),
        }
    }

    fn look(&self) -> Option<Request> {
        Some(Request::get(self.url.clone()).header(AUTHORIZATION, self.login.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::outgoing;
    use super::*;
    use crate::providers::tests::{keys, say};

    #[test]
    fn requests_and_answers() {
        let api = keys(json!({ "token": "x", "workspace": "w-1", "sender_channel": "c-1" }), read).unwrap().0;
        insta::assert_snapshot!(api.request(&outgoing("+380501112233", "Привіт")).unwrap_or_else(|_| unreachable!()).written());
        for (status, body, expected) in [
            (202, r#"{"id": "f2c1", "status": "accepted"}"#, "accepted f2c1"),
            (202, "", "unknown"),
            (401, "", "broken"),
            (402, "", "broken"),
            (403, "", "broken"),
            (404, "", "broken"),
            (422, r#"{"code": "InvalidPayload"}"#, "rejected"),
            (429, "", "later throttled"),
            (500, "", "unknown"),
            (502, "", "unknown"),
        ] {
            assert_eq!(say(api.read(&Answer::of(status, body))), expected, "{status} {body}");
        }
    }
}
