//! Twilio's Messages resource (standards.md §3.5–3.6). The base address is a setting, so the built-in catcher can stand in for it.
//!
//! Twilio knows no idempotency key: a request without an answer stays `Unknown`.

use super::{Text, with_reference};
use crate::providers::http::answer::found;
use crate::providers::http::request::basic;
use crate::providers::http::{Answer, Api, ByHttp, Options, Request};
use crate::providers::settings::{Error, Keys};
use crate::providers::{Look, Outcome, Outgoing, Provider, Sought};
use crate::types::{Channel, Failure};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

struct Twilio {
    /// Account SID.
    account: String,
    login: HeaderValue,
    /// Sends through this service instead of from the sender.
    messaging_service: Option<String>,
    status_callback: Option<String>,
    url: String,
    /// What is asked to see whether the login is right.
    look_at: String,
}

/// Reads account, token, api_key, messaging_service, status_callback, url, connections, timeout.
pub(crate) fn open(name: &str, keys: &Keys<'_>) -> Result<Arc<dyn Provider>, Error> {
    let (api, options) = read(keys)?;
    Ok(Arc::new(ByHttp::new(name, &options, api)?))
}

/// The built-in catcher at `HOST:PORT`.
pub(crate) fn catcher(name: &str, address: &str, connections: usize) -> Result<Arc<dyn Provider>, Error> {
    let options = Options { connections, ..Options::at(format!("http://{address}")) };
    let twilio = Twilio {
        account: "ACcatcher".to_string(),
        login: HeaderValue::from_static("Basic QUNjYXRjaGVyOmNhdGNoZXI="),
        messaging_service: None,
        status_callback: None,
        look_at: format!("{}/", options.url),
        url: options.url.clone(),
    };
    Ok(Arc::new(ByHttp::new(name, &options, twilio)?))
}

fn read(keys: &Keys<'_>) -> Result<(Twilio, Options), Error> {
    let options = Options::read(keys, "https://api.twilio.com")?;
    let account = keys.needed("account")?;
    if !account.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(keys.wrong("account", "must be an account SID: letters and digits"));
    }
    let user = keys.text("api_key")?.unwrap_or_else(|| account.clone());
    let twilio = Twilio {
        login: keys.secret("token", |token| basic(&user, token))?,
        messaging_service: keys.text("messaging_service")?,
        status_callback: keys.text("status_callback")?,
        look_at: format!("{}/2010-04-01/Accounts/{account}.json", options.url),
        url: options.url.clone(),
        account,
    };
    Ok((twilio, options))
}

impl Api for Twilio {
    fn channel(&self) -> Channel {
        Channel::Sms
    }

    fn request(&self, outgoing: &Outgoing) -> Result<Request, Outcome> {
        let Text { sender, to, text, lasts } = Text::of(outgoing)?;
        let callback = self.status_callback.as_ref().map(|callback| with_reference(callback, outgoing));
        let mut form: Vec<(&str, &str)> = vec![("To", to), ("Body", text)];
        match &self.messaging_service {
            Some(service) => form.push(("MessagingServiceSid", service)),
            None => form.push(("From", sender)),
        }
        // As long as it keeps a text at most.
        let lasts = lasts.map(|lasts| lasts.as_secs().clamp(1, 36_000).to_string());
        form.extend(lasts.as_deref().map(|seconds| ("ValidityPeriod", seconds)));
        form.extend(callback.as_deref().map(|callback| ("StatusCallback", callback)));
        let request = Request::post(format!("{}/2010-04-01/Accounts/{}/Messages.json", self.url, self.account));
        Ok(request.header(AUTHORIZATION, self.login.clone()).form(&form))
    }

    fn read(&self, answer: &Answer) -> Outcome {
        read_answer(answer)
    }

    /// Its messages to this number on those days. They bear nothing of ours: what went out in that time and is none of the others that are known is it.
    fn search(&self, sought: &Sought) -> Vec<Request> {
        let day = |at: crate::types::Time| at.format("%Y-%m-%d").to_string();
        let (first, last) = (day(sought.from), day(sought.until + chrono::TimeDelta::days(1)));
        let fields = [("To", sought.to.as_str()), ("DateSent>", &first), ("DateSent<", &last), ("PageSize", "1000")];
        let url = format!("{}/2010-04-01/Accounts/{}/Messages.json", self.url, self.account);
        vec![Request::query(&url, &fields).header(AUTHORIZATION, self.login.clone())]
    }

    fn found(&self, answer: &Answer, sought: &Sought) -> Result<Option<String>, String> {
        let ours = |message: &Value| {
            let is_out = found(message, "direction").is_some_and(|direction| direction.starts_with("outbound"));
            let made = found(message, "date_created").and_then(|at| chrono::DateTime::parse_from_rfc2822(&at).ok())?;
            let is_then = (sought.from..=sought.until).contains(&made.to_utc());
            found(message, "sid").filter(|sid| is_out && is_then && !sought.known.contains(sid))
        };
        let all = answer.value();
        let Some(Value::Array(messages)) = all.get("messages") else { return Err(answer.reply()) };
        let candidates: Vec<String> = messages.iter().filter_map(ours).collect();
        match candidates.as_slice() {
            [] => Ok(None),
            [only] => Ok(Some(only.clone())),
            several => Err(format!("{} messages went to this number in that time, and nothing says which is it", several.len())),
        }
    }

    fn look(&self) -> Option<Request> {
        Some(Request::get(self.look_at.clone()).header(AUTHORIZATION, self.login.clone()))
    }

    fn looked(&self, answer: &Answer) -> Look {
        match found(&answer.value(), "status").filter(|_| answer.is_success()).as_deref() {
            Some("active") => Look::fine("the account is active".into()),
            Some(state) => Look::wrong(format!("the account is {state}, not active")),
            None => Look::by_status(answer),
        }
    }
}

#[derive(Deserialize)]
struct Reply {
    sid: Option<String>,
    code: Option<u32>,
    error_code: Option<u32>,
}

fn read_answer(answer: &Answer) -> Outcome {
    let body: Option<Reply> = answer.json();
    let reply = answer.reply();
    match (answer.status, body) {
        (200..=299, Some(Reply { sid: Some(id), .. })) => Outcome::Accepted { id: Some(id), reply },
        // Something accepted the request, but it does not answer like Twilio: it may have been sent.
        (200..=299, _) => Outcome::Unknown { reply },
        (_, Some(Reply { code: Some(code), .. } | Reply { error_code: Some(code), .. })) => by_code(code, answer),
        _ => answer.by_status(true),
    }
}

/// Twilio's own codes (standards.md §3.6). 21408 and 21612 are about one recipient's country and route: they fail that message alone
/// instead of stopping the provider.
fn by_code(code: u32, answer: &Answer) -> Outcome {
    let reply = answer.reply();
    let refused = |class, suppress, reply| Outcome::Refused { class, suppress, reply };
    match code {
        20003 | 21606 | 30002 | 30034 => Outcome::Broken { reply },
        20429 | 21611 | 30001 | 63038 => Outcome::Later { after: answer.retry_after(), throttled: true, reply },
        30003 | 30008 => Outcome::Later { after: answer.retry_after(), throttled: false, reply },
        21610 => refused(Failure::OptedOut, true, reply),
        21211 | 21614 | 21635 | 30005 | 30006 => refused(Failure::InvalidAddress, true, reply),
        21617 => refused(Failure::TooLarge, false, reply),
        21408 | 21612 => refused(Failure::Policy, false, reply),
        30004 | 30007 => refused(Failure::Blocked, false, reply),
        30036 => refused(Failure::Rejected, false, reply),
        _ => answer.by_status(true),
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
        let values = json!({ "account": "AC1", "token": "t", "status_callback": "https://go.shop.example/twilio?x=1" });
        let api = keys(values, read).unwrap().0;
        let request = api.request(&outgoing("+380501112233", "Привіт & bye")).unwrap_or_else(|_| unreachable!());
        insta::assert_snapshot!(request.written());
    }

    #[test]
    fn answers_are_read_as_the_table_of_the_standards_says() {
        for (status, body, expected) in [
            (201, r#"{"sid": "SM1", "status": "queued", "error_code": null}"#, "accepted SM1"),
            (201, "<html>", "unknown"),
            (
                400,
                r#"{"code": 21211, "message": "The 'To' number is not a valid phone number.", "status": 400}"#,
                "invalid_address suppress",
            ),
            (400, r#"{"code": 21610, "message": "Attempt to send to unsubscribed recipient", "status": 400}"#, "opted_out suppress"),
            (400, r#"{"code": 21614, "status": 400}"#, "invalid_address suppress"),
            (400, r#"{"code": 21617, "status": 400}"#, "too_large"),
            (400, r#"{"code": 21606, "status": 400}"#, "broken"),
            (400, r#"{"code": 21408, "status": 400}"#, "policy"),
            (400, r#"{"code": 99999, "status": 400}"#, "rejected"),
            (400, "", "rejected"),
            (401, r#"{"code": 20003, "status": 401}"#, "broken"),
            (403, "", "broken"),
            (404, "", "broken"),
            (429, r#"{"code": 20429, "status": 429}"#, "later throttled"),
            (429, "", "later throttled"),
            (503, "", "later throttled"),
            (500, "", "unknown"),
            (502, "", "unknown"),
            (504, "", "unknown"),
        ] {
            let read = say(read_answer(&Answer::of(status, body)));
            assert_eq!(read, expected, "{status} {body}");
        }
    }
}
