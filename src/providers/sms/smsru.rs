//! SMS.ru (standards.md §3.5–3.6): up to a hundred numbers in a request, each with its own text and its own code in the answer, under the number.
//! SMS.ru knows no idempotency key: a request without an answer leaves every message of it `Unknown`.

use super::Text;
use crate::providers::http::answer::found;
use crate::providers::http::gather::{Batch, Gathering, Read};
use crate::providers::http::{Answer, Options, Request};
use crate::providers::settings::{Error, Keys};
use crate::providers::{Look, Outcome, Outgoing, Provider};
use crate::types::{Channel, Failure};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

struct SmsRu {
    token: String,
    url: String,
    most: usize,
}

/// Reads token, batch, url, connections, timeout.
pub(crate) fn open(name: &str, keys: &Keys<'_>) -> Result<Arc<dyn Provider>, Error> {
    let (api, options) = read(keys)?;
    Ok(Arc::new(Gathering::new(name, &options, api)?))
}

fn read(keys: &Keys<'_>) -> Result<(SmsRu, Options), Error> {
    let options = Options { connections: keys.number("connections", 4, 1, 1000)? as usize, ..Options::read(keys, "https://sms.ru")? };
    let api = SmsRu { token: keys.needed("token")?, url: options.url.clone(), most: keys.number("batch", 50, 1, 100)? as usize };
    Ok((api, options))
}

fn text<'a>(item: &'a Value, name: &str) -> &'a str {
    item.get(name).and_then(Value::as_str).unwrap_or_default()
}

impl Batch for SmsRu {
    fn channel(&self) -> Channel {
        Channel::Sms
    }

    fn most(&self) -> usize {
        self.most
    }

    fn item(&self, outgoing: &Outgoing) -> Result<Value, Outcome> {
        let message = Text::of(outgoing)?;
        if message.digits().is_empty() || !message.digits().bytes().all(|byte| byte.is_ascii_digit()) {
            let reply = "the phone number is none".to_string();
            return Err(Outcome::Refused { class: Failure::UnsafeValue, suppress: false, reply });
        }
        Ok(json!({ "to": message.digits(), "from": message.sender, "text": message.text }))
    }

    /// One sender in a request, and no number twice: the answer goes by numbers.
    fn excludes(&self, one: &Value, other: &Value) -> bool {
        text(one, "from") != text(other, "from") || text(one, "to") == text(other, "to")
    }

    fn request(&self, items: &[Value]) -> Request {
        let numbers: Vec<String> = items.iter().map(|item| format!("to[{}]", text(item, "to"))).collect();
        let mut form = vec![("api_id", self.token.as_str()), ("json", "1")];
        form.extend(items.first().map(|item| ("from", text(item, "from"))));
        form.extend(numbers.iter().zip(items).map(|(number, item)| (number.as_str(), text(item, "text"))));
        Request::post(format!("{}/sms/send", self.url)).form(&form)
    }

    fn read(&self, answer: &Answer, items: &[Value]) -> Read {
        let body = answer.value();
        match (body.get("status_code").and_then(Value::as_u64), body.get("sms")) {
            (Some(100), Some(Value::Object(each))) => {
                let missing = || Outcome::Unknown { reply: answer.reply() };
                Read::Each(items.iter().map(|item| each.get(text(item, "to")).map_or_else(missing, |one| of_one(one, answer))).collect())
            }
            (Some(code), None) if code != 100 => Read::All(by_code(code, None, answer.reply())),
            _ if answer.is_success() => Read::All(answer.unknown()),
            _ => Read::All(answer.by_status(false)),
        }
    }

    fn look(&self) -> Option<Request> {
        Some(Request::post(format!("{}/my/balance", self.url)).form(&[("api_id", self.token.as_str()), ("json", "1")]))
    }

    fn looked(&self, answer: &Answer) -> Look {
        let body = answer.value();
        match (found(&body, "status_code").as_deref(), found(&body, "balance")) {
            (Some("100"), Some(balance)) => Look::fine(format!("the balance is {balance} RUB")),
            (Some(_), _) => Look::wrong(answer.reply()),
            (None, _) => Look::by_status(answer),
        }
    }
}

fn of_one(one: &Value, answer: &Answer) -> Outcome {
    let reply = answer.reply_of(&one.to_string());
    match one.get("status_code").and_then(Value::as_u64) {
        Some(code) => by_code(code, found(one, "sms_id"), reply),
        None => Outcome::Unknown { reply },
    }
}

/// SMS.ru's own codes (standards.md §3.6).
fn by_code(code: u64, id: Option<String>, reply: String) -> Outcome {
    let later = |seconds: Option<u64>, reply| Outcome::Later { after: seconds.map(Duration::from_secs), throttled: true, reply };
    const DAY: u64 = 24 * 3600;
    match code {
        100..=103 => Outcome::Accepted { id, reply },
        220 | 500 => later(None, reply),
        // So many a minute to one number; a day's limit, of ours or of the number.
        231 => later(Some(61), reply),
        206 | 230 | 232 => later(Some(DAY), reply),
        200 | 201 | 204 | 221 | 300..=305 => Outcome::Broken { reply },
        202 | 150 => Outcome::Refused { class: Failure::InvalidAddress, suppress: true, reply },
        209 | 215 => Outcome::Refused { class: Failure::OptedOut, suppress: true, reply },
        _ => Outcome::Refused { class: Failure::Rejected, suppress: false, reply },
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::outgoing;
    use super::*;
    use crate::providers::tests::{keys, say};

    fn api() -> SmsRu {
        keys(json!({ "token": "k" }), read).unwrap().0
    }

    #[test]
    fn requests() {
        let items = [("+79991112233", "Привет & bye"), ("+79991112244", "x")].map(|(to, text)| api().item(&outgoing(to, text)).unwrap());
        insta::assert_snapshot!(api().request(&items).written());
        let [one, other] = items;
        assert!(!api().excludes(&one, &other) && api().excludes(&one, &one));
        assert_eq!(api().item(&outgoing("+7999]=x", "x")).map(drop).map_err(say), Err("unsafe_value".to_string()));
    }

    #[test]
    fn answers_are_read_as_the_table_of_the_standards_says() {
        let items: Vec<Value> = ["1", "2", "3"].iter().map(|to| json!({ "to": to, "from": "S", "text": "x" })).collect();
        let read = |status: u16, body: String| match api().read(&Answer::of(status, &body), &items) {
            Read::Each(outcomes) => outcomes.into_iter().map(say).collect::<Vec<_>>().join(", "),
            Read::All(outcome) => format!("all {}", say(outcome)),
            Read::Parts(_) => unreachable!(),
        };
        let mixed = json!({ "status": "OK", "status_code": 100, "sms": {
            "2": { "status": "ERROR", "status_code": 207, "status_text": "x" }, "1": { "status": "OK", "status_code": 100, "sms_id": "000-1" } } });
        assert_eq!(read(200, mixed.to_string()), "accepted 000-1, rejected, unknown");
        let one = |code: u16| json!({ "status": "ERROR", "status_code": code }).to_string();
        let mut cases = vec![
            (200, String::new(), "unknown"),
            (200, one(100), "unknown"),
            (429, String::new(), "later throttled"),
            (502, String::new(), "unknown"),
        ];
        for (codes, expected) in [
            (&[220, 500][..], "later throttled"),
            (&[231], "later throttled after 61"),
            (&[206, 230, 232], "later throttled after 86400"),
            (&[200, 201, 204, 221, 300, 301, 302, 303, 304, 305], "broken"),
            (&[203, 205, 207, 208, 211, 212, 213, 216, 217], "rejected"),
            (&[202, 150], "invalid_address suppress"),
            (&[209, 215], "opted_out suppress"),
        ] {
            cases.extend(codes.iter().map(|code| (200, one(*code), expected)));
        }
        for (status, body, expected) in cases {
            assert_eq!(read(status, body.clone()), format!("all {expected}"), "{status} {body}");
        }
    }
}
