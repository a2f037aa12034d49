//! SMSC.ru (standards.md §3.5–3.6). It refuses the same text to the same number within a minute, and knows no other idempotency: a request
//! without an answer stays `Unknown`. Our number of the message is its number there too, so that its callbacks name it.

use super::Text;
use crate::providers::http::answer::found;
use crate::providers::http::{Answer, Api, ByHttp, Options, Request};
use crate::providers::settings::{Error, Keys};
use crate::providers::{Look, Outcome, Outgoing, Provider};
use crate::types::{Channel, Failure};
use std::sync::Arc;
use std::time::Duration;

struct Smsc {
    /// Names and values of the login.
    login: Vec<(&'static str, String)>,
    url: String,
}

/// Its numbers end here.
const LARGEST_ID: i64 = 2_147_483_647;

/// Reads user, password or token, url, connections, timeout.
pub(crate) fn open(name: &str, keys: &Keys<'_>) -> Result<Arc<dyn Provider>, Error> {
    let (api, options) = read(keys)?;
    Ok(Arc::new(ByHttp::new(name, &options, api)?))
}

fn read(keys: &Keys<'_>) -> Result<(Smsc, Options), Error> {
    let options = Options::read(keys, "https://smsc.ru")?;
    let login = match (keys.text("token")?, keys.text("user")?, keys.text("password")?) {
        (Some(token), None, None) => vec![("apikey", token)],
        (None, Some(user), Some(password)) => vec![("login", user), ("psw", password)],
        _ => return Err(keys.wrong("token", "is missing; write either `token`, or `user` and `password`")),
    };
    Ok((Smsc { login, url: options.url.clone() }, options))
}

impl Smsc {
    fn asked(&self, path: &str, more: &[(&str, &str)]) -> Request {
        let mut form: Vec<(&str, &str)> = self.login.iter().map(|(name, value)| (*name, value.as_str())).collect();
        form.extend_from_slice(more);
        form.push(("fmt", "3"));
        Request::post(format!("{}/sys/{path}", self.url)).form(&form)
    }
}

impl Api for Smsc {
    fn channel(&self) -> Channel {
        Channel::Sms
    }

    fn request(&self, outgoing: &Outgoing) -> Result<Request, Outcome> {
        let message = Text::of(outgoing)?;
        // These join several numbers.
        if message.to.contains([',', ';']) {
            let reply = "the phone number is more than one".to_string();
            return Err(Outcome::Refused { class: Failure::UnsafeValue, suppress: false, reply });
        }
        let id = outgoing.message.to_string();
        let mut form = vec![("phones", message.to), ("mes", message.text), ("sender", message.sender), ("charset", "utf-8"), ("cost", "3")];
        if (1..=LARGEST_ID).contains(&outgoing.message.0) {
            form.push(("id", &id));
        }
        Ok(self.asked("send.php", &form))
    }

    fn read(&self, answer: &Answer) -> Outcome {
        let body = answer.value();
        let code = found(&body, "error_code").and_then(|code| code.parse::<u16>().ok());
        match code {
            Some(code) => by_code(code, &found(&body, "error").unwrap_or_default().to_lowercase(), answer),
            None if answer.is_success() => answer.accepted(found(&body, "id")),
            None => answer.by_status(false),
        }
    }

    fn look(&self) -> Option<Request> {
        Some(self.asked("balance.php", &[("cur", "1")]))
    }

    fn looked(&self, answer: &Answer) -> Look {
        let body = answer.value();
        match (found(&body, "balance"), found(&body, "error_code")) {
            (Some(balance), _) => Look::fine(format!("the balance is {balance} {}", found(&body, "currency").unwrap_or_default())),
            (None, Some(_)) => Look::wrong(answer.reply()),
            (None, None) => Look::by_status(answer),
        }
    }
}

/// SMSC's own codes (standards.md §3.6).
fn by_code(code: u16, says: &str, answer: &Answer) -> Outcome {
    match code {
        // Fifteen requests at once are too many …
        9 if says.contains("concurrent") => answer.later(),
        // … or the same text went to this number within the last minute.
        9 => answer.later_after(Duration::from_secs(61)),
        // Too many wrong requests: our address is locked out for a while.
        4 => answer.later_after(Duration::from_secs(60)),
        220 => answer.later(),
        2 | 3 | 244 | 246 | 247 | 251 | 254 => answer.broken(),
        7 | 8 | 13 | 22 | 250 | 252 => answer.suppress(Failure::InvalidAddress),
        253 => answer.refused(Failure::Blocked),
        _ => answer.refused(Failure::Rejected),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::outgoing;
    use super::*;
    use crate::providers::tests::{keys, say};
    use serde_json::json;

    #[test]
    fn requests() {
        let api = keys(json!({ "user": "shop", "password": "p" }), read).unwrap().0;
        insta::assert_snapshot!(api.request(&outgoing("+79991112233", "Привет & bye")).unwrap_or_else(|_| unreachable!()).written());
        assert_eq!(api.request(&outgoing("+7999,+7998", "x")).map(drop).map_err(say), Err("unsafe_value".to_string()));
        let api = keys(json!({ "token": "k" }), read).unwrap().0;
        assert!(api.request(&outgoing("+79991112233", "x")).unwrap_or_else(|_| unreachable!()).written().contains("apikey=k&"));
        assert!(keys(json!({ "user": "shop" }), read).is_err());
    }

    #[test]
    fn answers_are_read_as_the_table_of_the_standards_says() {
        let api = keys(json!({ "token": "k" }), read).unwrap().0;
        let error = |code: u16, says: &str| json!({ "error": says, "error_code": code }).to_string();
        let mut cases = vec![
            (200, json!({ "id": 7, "cnt": 1, "cost": "1.4", "balance": "100.5" }).to_string(), "accepted 7"),
            (200, String::new(), "unknown"),
            (200, error(9, "too many concurrent requests"), "later throttled"),
            (200, error(9, "duplicate request, wait a minute"), "later throttled after 61"),
            (200, error(4, "IP is blocked"), "later throttled after 60"),
            (200, error(220, "queue"), "later throttled"),
            (200, error(253, "filter"), "blocked"),
            (429, String::new(), "later throttled"),
            (403, String::new(), "broken"),
            (500, String::new(), "unknown"),
            (502, String::new(), "unknown"),
        ];
        for (codes, expected) in [
            (&[2, 3, 244, 246, 247, 251, 254][..], "broken"),
            (&[1, 5, 6, 248], "rejected"),
            (&[7, 8, 13, 22, 250, 252], "invalid_address suppress"),
        ] {
            cases.extend(codes.iter().map(|code| (200, error(*code, ""), expected)));
        }
        for (status, body, expected) in cases {
            assert_eq!(say(api.read(&Answer::of(status, &body))), expected, "{status} {body}");
        }
    }
}
