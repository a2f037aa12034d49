//! TurboSMS (standards.md §3.5–3.6). Its answer is always 200, with a code for the request and one for the number.
//!
//! A request carries a key by which TurboSMS takes it only once, so one without an answer is made again; that it was taken before is then the
//! code 507, with what was said the first time.

use super::Text;
use crate::providers::http::answer::found;
use crate::providers::http::request::bearer;
use crate::providers::http::{Answer, Api, ByHttp, Options, REPEATS, Request};
use crate::providers::settings::{Error, Keys};
use crate::providers::{Look, Outcome, Outgoing, Provider};
use crate::types::{Channel, Failure};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

struct TurboSms {
    login: HeaderValue,
    url: String,
}

/// Reads token, url, connections, timeout.
pub(crate) fn open(name: &str, keys: &Keys<'_>) -> Result<Arc<dyn Provider>, Error> {
    let (api, options) = read(keys)?;
    Ok(Arc::new(ByHttp::new(name, &options, api)?))
}

fn read(keys: &Keys<'_>) -> Result<(TurboSms, Options), Error> {
    let options = Options::read(keys, "https://api.turbosms.ua")?;
    Ok((TurboSms { login: keys.secret("token", bearer)?, url: options.url.clone() }, options))
}

impl Api for TurboSms {
    fn channel(&self) -> Channel {
        Channel::Sms
    }

    fn request(&self, outgoing: &Outgoing) -> Result<Request, Outcome> {
        let message = Text::of(outgoing)?;
        let body = json!({
            "recipients": [message.digits()],
            "sms": { "sender": message.sender, "text": message.text },
            "sequence_id": outgoing.key,
        });
        Ok(Request::post(format!("{}/message/send.json", self.url)).header(AUTHORIZATION, self.login.clone()).json(&body))
    }

    fn read(&self, answer: &Answer) -> Outcome {
        if !answer.is_success() {
            return answer.by_status(false);
        }
        let body = answer.value();
        let code = |value: &Value| value.get("response_code").and_then(Value::as_i64);
        // Of the number where it is named, else of the request as a whole.
        let one = body.get("response_result").and_then(|result| result.get(0)).filter(|one| code(one).is_some());
        match (code(&body), one) {
            (Some(0 | 507 | 800..=803), Some(one)) => by_code(code(one), found(one, "message_id"), answer),
            (Some(code @ (0 | 800 | 801)), None) => by_code(Some(code), None, answer),
            // Made before, and what was said then does not stand here.
            (Some(507), None) => answer.unknown(),
            (code, _) => by_code(code, None, answer),
        }
    }

    fn repeats(&self) -> &'static [Duration] {
        REPEATS
    }

    fn look(&self) -> Option<Request> {
        Some(Request::post(format!("{}/user/balance.json", self.url)).header(AUTHORIZATION, self.login.clone()))
    }

    fn looked(&self, answer: &Answer) -> Look {
        let body = answer.value();
        match (found(&body, "response_code").as_deref(), found(&body, "response_result.balance")) {
            (Some("0"), Some(balance)) => Look::fine(format!("the balance is {balance} credits")),
            (Some(_), _) => Look::wrong(answer.reply()),
            (None, _) => Look::by_status(answer),
        }
    }
}

/// TurboSMS' own codes (standards.md §3.6).
fn by_code(code: Option<i64>, id: Option<String>, answer: &Answer) -> Outcome {
    match code {
        Some(0 | 800 | 801) => Outcome::Accepted { id, reply: answer.reply() },
        Some(503) => answer.later(),
        Some(103 | 400 | 401) => answer.broken(),
        Some(305) => answer.suppress(Failure::InvalidAddress),
        Some(404) => answer.suppress(Failure::OptedOut),
        // The same text went to this number within the last 90 seconds: by us, or not.
        Some(427) => answer.unknown(),
        // Their own faults: nobody knows how far it came.
        Some(500..=506) | None => answer.unknown(),
        Some(_) => answer.refused(Failure::Rejected),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::outgoing;
    use super::*;
    use crate::providers::tests::{keys, say};

    fn api() -> TurboSms {
        keys(json!({ "token": "k" }), read).unwrap().0
    }

    #[test]
    fn requests() {
        insta::assert_snapshot!(api().request(&outgoing("+380501112233", "Привіт")).unwrap_or_else(|_| unreachable!()).written());
    }

    #[test]
    fn answers_are_read_as_the_table_of_the_standards_says() {
        let both = |whole: u16, one: u16| {
            json!({ "response_code": whole, "response_status": "x",
                    "response_result": [{ "phone": "380501112233", "response_code": one, "message_id": "f83f", "response_status": "x" }] })
            .to_string()
        };
        let whole = |code: u16| json!({ "response_code": code, "response_status": "x", "response_result": null }).to_string();
        let mut cases = vec![
            (200, both(801, 0), "accepted f83f"),
            (200, both(0, 0), "accepted f83f"),
            (200, both(507, 0), "accepted f83f"),
            (200, both(802, 404), "opted_out suppress"),
            (200, both(803, 405), "rejected"),
            (200, whole(801), "accepted"),
            (200, whole(507), "unknown"),
            (200, whole(427), "unknown"),
            (200, "<html>".to_string(), "unknown"),
            (200, whole(503), "later throttled"),
            (200, whole(305), "invalid_address suppress"),
            (200, whole(404), "opted_out suppress"),
            (429, String::new(), "later throttled"),
            (502, String::new(), "unknown"),
        ];
        for (codes, expected) in
            [(&[103, 400, 401][..], "broken"), (&[403, 405, 406, 409, 412, 413], "rejected"), (&[500, 501, 502, 504, 505, 506], "unknown")]
        {
            cases.extend(codes.iter().map(|code| (200, whole(*code), expected)));
        }
        for (status, body, expected) in cases {
            assert_eq!(say(api().read(&Answer::of(status, &body))), expected, "{status} {body}");
        }
    }
}
