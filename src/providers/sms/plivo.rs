//! Plivo's messages (standards.md §3.5–3.6). Plivo knows no idempotency key: a request without an answer stays `Unknown`. It hands nothing back
//! with a receipt but the address that it was told, so our reference stands in that.

use super::{Text, with_reference};
use crate::providers::http::answer::found;
use crate::providers::http::request::basic;
use crate::providers::http::{Answer, Api, ByHttp, Options, Request};
use crate::providers::settings::{Error, Keys};
use crate::providers::{Look, Outcome, Outgoing, Provider};
use crate::types::{Channel, Failure};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde_json::{Value, json};
use std::sync::Arc;

struct Plivo {
    login: HeaderValue,
    status_callback: Option<String>,
    /// That of the account.
    url: String,
}

/// Reads account, token, status_callback, url, connections, timeout.
pub(crate) fn open(name: &str, keys: &Keys<'_>) -> Result<Arc<dyn Provider>, Error> {
    let (api, options) = read(keys)?;
    Ok(Arc::new(ByHttp::new(name, &options, api)?))
}

fn read(keys: &Keys<'_>) -> Result<(Plivo, Options), Error> {
    let options = Options::read(keys, "https://api.plivo.com")?;
    let account = keys.label("account")?;
    let login = keys.secret("token", |token| basic(&account, token))?;
    let plivo = Plivo { login, status_callback: keys.text("status_callback")?, url: format!("{}/v1/Account/{account}", options.url) };
    Ok((plivo, options))
}

impl Api for Plivo {
    fn channel(&self) -> Channel {
        Channel::Sms
    }

    fn request(&self, outgoing: &Outgoing) -> Result<Request, Outcome> {
        let message = Text::of(outgoing)?;
        // `<` joins several numbers.
        if message.to.contains('<') {
            let reply = "the phone number holds a `<`".to_string();
            return Err(Outcome::Refused { class: Failure::UnsafeValue, suppress: false, reply });
        }
        let mut body = json!({ "src": message.bare_sender(), "dst": message.digits(), "text": message.text, "type": "sms" });
        if let (Some(callback), Value::Object(fields)) = (&self.status_callback, &mut body) {
            fields.insert("url".into(), json!(with_reference(callback, outgoing)));
            fields.insert("method".into(), json!("POST"));
        }
        Ok(Request::post(format!("{}/Message/", self.url)).header(AUTHORIZATION, self.login.clone()).json(&body))
    }

    fn read(&self, answer: &Answer) -> Outcome {
        let body = answer.value();
        if answer.is_success() {
            return answer.accepted(found(&body, "message_uuid.0"));
        }
        let code = found(&body, "error_code").and_then(|code| code.parse::<u16>().ok());
        code.and_then(|code| by_code(code, answer)).unwrap_or_else(|| answer.by_status(false))
    }

    fn look(&self) -> Option<Request> {
        Some(Request::get(format!("{}/", self.url)).header(AUTHORIZATION, self.login.clone()))
    }

    fn looked(&self, answer: &Answer) -> Look {
        match found(&answer.value(), "cash_credits").filter(|_| answer.is_success()) {
            Some(credits) => Look::fine(format!("{credits} USD are left")),
            None => Look::by_status(answer),
        }
    }
}

/// Plivo's own codes (standards.md §3.6).
fn by_code(code: u16, answer: &Answer) -> Option<Outcome> {
    Some(match code {
        20 | 80 => Outcome::Later { after: answer.retry_after(), throttled: false, reply: answer.reply() },
        40 | 900 | 910 => answer.broken(),
        30 => answer.refused(Failure::Blocked),
        110 => answer.refused(Failure::TooLarge),
        10 | 60 | 90 | 100 | 420 => answer.refused(Failure::Rejected),
        50 | 70 => answer.suppress(Failure::InvalidAddress),
        200 => answer.suppress(Failure::OptedOut),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::outgoing;
    use super::*;
    use crate::providers::tests::{keys, say};

    #[test]
    fn requests() {
        let values = json!({ "account": "MA1", "token": "t", "status_callback": "https://go.shop.example/plivo" });
        let api = keys(values, read).unwrap().0;
        insta::assert_snapshot!(api.request(&outgoing("+380501112233", "Привіт")).unwrap_or_else(|_| unreachable!()).written());
        assert_eq!(api.request(&outgoing("+3805<+3806", "x")).map(drop).map_err(say), Err("unsafe_value".to_string()));
    }

    #[test]
    fn answers_are_read_as_the_table_of_the_standards_says() {
        let api = keys(json!({ "account": "MA1", "token": "t" }), read).unwrap().0;
        let error = |code: u16| json!({ "api_id": "a", "error": "x", "error_code": code }).to_string();
        for (status, body, expected) in [
            (202, r#"{"message": "message(s) queued", "message_uuid": ["db3c"], "api_id": "a"}"#.to_string(), "accepted db3c"),
            (202, String::new(), "unknown"),
            (400, error(20), "later"),
            (400, error(80), "later"),
            (400, error(40), "broken"),
            (400, error(900), "broken"),
            (400, error(910), "broken"),
            (400, error(10), "rejected"),
            (400, error(30), "blocked"),
            (400, error(60), "rejected"),
            (400, error(90), "rejected"),
            (400, error(100), "rejected"),
            (400, error(110), "too_large"),
            (400, error(420), "rejected"),
            (400, error(50), "invalid_address suppress"),
            (400, error(70), "invalid_address suppress"),
            (400, error(200), "opted_out suppress"),
            (400, r#"{"error": "dst parameter is not valid"}"#.to_string(), "rejected"),
            (401, String::new(), "broken"),
            (402, String::new(), "broken"),
            (429, String::new(), "later throttled"),
            (500, String::new(), "unknown"),
            (502, String::new(), "unknown"),
        ] {
            assert_eq!(say(api.read(&Answer::of(status, &body))), expected, "{status} {body}");
        }
    }
}
