//! Amazon SES, version 2 of its interface (standards.md §3.2–3.3): the MIME as it is, the account's pace.
//!
//! SES knows no idempotency key: a request without an answer stays `Unknown`. Before the first message it is asked how many a second the
//! account may send. Its clock decides whether a signature is fresh, so requests are dated by this machine's clock, never by a virtual one.

use super::Parcel;
use super::sigv4;
use crate::clock::Clock;
use crate::providers::http::{Answer, Api, ByHttp, Options, Request};
use crate::providers::settings::{Error, Keys};
use crate::providers::{Look, Outcome, Outgoing, Provider, REFERENCE};
use crate::types::{Channel, Failure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

struct Ses {
    keys: sigv4::Keys,
    configuration_set: Option<String>,
    url: String,
    /// Of `url`, as it is signed.
    host: String,
    /// Of `url`, before the paths below.
    base: String,
    clock: Clock,
}

const SEND: &str = "/v2/email/outbound-emails";
const ACCOUNT: &str = "/v2/email/account";

/// Reads region, access_key, secret_key, session_token, configuration_set, url, connections, timeout.
pub(crate) fn open(name: &str, keys: &Keys<'_>) -> Result<Arc<dyn Provider>, Error> {
    let (ses, options) = read(keys, Clock::real())?;
    Ok(Arc::new(ByHttp::new(name, &options, ses)?))
}

fn read(keys: &Keys<'_>, clock: Clock) -> Result<(Ses, Options), Error> {
    let region = keys.label("region")?;
    let options = Options::read(keys, &format!("https://email.{region}.amazonaws.com"))?;
    let url = url::Url::parse(&options.url).map_err(|error| keys.wrong("url", &error.to_string()))?;
    let host = match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_string(),
        (None, _) => return Err(keys.wrong("url", "names no host")),
    };
    let signing = sigv4::Keys {
        access_key: keys.needed("access_key")?,
        secret_key: keys.needed("secret_key")?,
        session_token: keys.text("session_token")?,
        region,
    };
    let base = url.path().trim_end_matches('/').to_string();
    let url = format!("{}://{host}", url.scheme());
    Ok((Ses { keys: signing, configuration_set: keys.text("configuration_set")?, url, host, base, clock }, options))
}

impl Ses {
    fn signed(&self, request: Request, path: &str) -> Option<Request> {
        self.keys.sign(request, &self.host, path, self.clock.now())
    }
}

impl Api for Ses {
    fn channel(&self) -> Channel {
        Channel::Email
    }

    fn request(&self, outgoing: &Outgoing) -> Result<Request, Outcome> {
        let parcel = Parcel::of(outgoing)?;
        let mut body = json!({
            "Destination": { "ToAddresses": [parcel.to.as_str()] },
            "Content": { "Raw": { "Data": STANDARD.encode(parcel.mime) } },
            "EmailTags": [{ "Name": REFERENCE, "Value": outgoing.reference() }],
        });
        if let (Some(set), Value::Object(fields)) = (&self.configuration_set, &mut body) {
            fields.insert("ConfigurationSetName".into(), json!(set));
        }
        let path = format!("{}{SEND}", self.base);
        let request = Request::post(format!("{}{path}", self.url)).json(&body);
        self.signed(request, &path).ok_or_else(|| Outcome::Broken { reply: "the access key holds what no header may hold".to_string() })
    }

    fn read(&self, answer: &Answer) -> Outcome {
        if answer.is_success() {
            return answer.accepted(answer.json::<Sent>().map(|sent| sent.message_id));
        }
        let (kind, says) = error(answer);
        let has = |words: &[&str]| words.iter().any(|word| says.contains(word));
        match kind.as_str() {
            // A day's quota is no pace: what is left today goes another way, or waits.
            _ if has(&["daily message quota", "daily quota"]) => answer.broken(),
            _ if has(&["maximum sending rate"]) => answer.later(),
            "TooManyRequestsException" | "ThrottlingException" | "Throttling" | "LimitExceededException" => answer.later(),
            "AccountSuspendedException"
            | "SendingPausedException"
            | "AccountSendingPausedException"
            | "ConfigurationSetSendingPausedException"
            | "MailFromDomainNotVerifiedException"
            | "MailFromDomainNotVerified"
            | "NotFoundException"
            | "ConfigurationSetDoesNotExist"
            | "AccessDeniedException"
            | "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "SignatureDoesNotMatch"
            | "InvalidSignatureException"
            | "ExpiredTokenException"
            | "RequestExpired"
            | "IncompleteSignatureException"
            | "MissingAuthenticationTokenException" => answer.broken(),
            "MessageRejected" | "MessageRejectedException" if has(&["not verified"]) => answer.refused(Failure::Policy),
            "MessageRejected" | "MessageRejectedException" if has(&["length", "size"]) => answer.refused(Failure::TooLarge),
            "MessageRejected" | "MessageRejectedException" => answer.refused(Failure::Content),
            "BadRequestException" | "ValidationException" | "InvalidParameterValue" => answer.refused(Failure::Rejected),
            _ => answer.by_status(true),
        }
    }

    fn tells_its_rate(&self) -> bool {
        true
    }

    fn look(&self) -> Option<Request> {
        let path = format!("{}{ACCOUNT}", self.base);
        self.signed(Request::get(format!("{}{path}", self.url)), &path)
    }

    fn looked(&self, answer: &Answer) -> Look {
        let Some(account) = answer.json::<Account>().filter(|_| answer.is_success()) else { return Look::by_status(answer) };
        let quota = account.send_quota;
        let a_day = if quota.max_24_hour_send < 0.0 { "any number".to_string() } else { quota.max_24_hour_send.to_string() };
        let says = format!("{a_day} a day, {} of them sent, {} a second", quota.sent_last_24_hours, quota.max_send_rate);
        let rate = Some(quota.max_send_rate).filter(|rate| *rate > 0.0);
        match (account.sending_enabled, account.production_access_enabled) {
            (false, _) => Look { rate, ..Look::wrong(format!("sending is switched off for this account; {says}")) },
            (true, false) => {
                let says = format!("the account is in the sandbox and reaches verified addresses only: ask for production access; {says}");
                Look { rate, ..Look::wrong(says) }
            }
            (true, true) => Look { rate, ..Look::fine(says) },
        }
    }
}

#[derive(Deserialize)]
struct Sent {
    #[serde(rename = "MessageId")]
    message_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Account {
    send_quota: Quota,
    #[serde(default = "yes")]
    sending_enabled: bool,
    #[serde(default = "yes")]
    production_access_enabled: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
struct Quota {
    /// Below zero: unlimited.
    #[serde(rename = "Max24HourSend", default)]
    max_24_hour_send: f64,
    #[serde(rename = "MaxSendRate", default)]
    max_send_rate: f64,
    #[serde(rename = "SentLast24Hours", default)]
    sent_last_24_hours: f64,
}

/// Kind of the error, and what it says in lower case.
fn error(answer: &Answer) -> (String, String) {
    let body = answer.value();
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let kind = answer.header("x-amzn-errortype").or_else(|| text("__type")).or_else(|| text("code")).unwrap_or_default();
    // `com.amazonaws.ses#MessageRejected:http://…`
    let kind = kind.split(':').next().unwrap_or_default();
    let kind = kind.rsplit('#').next().unwrap_or_default();
    (kind.to_string(), text("message").or_else(|| text("Message")).unwrap_or_default().to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::super::parts::tests::{outgoing, receipt};
    use super::*;
    use crate::providers::tests::{keys, say};

    fn ses(more: Value) -> Ses {
        let mut values = json!({ "region": "eu-west-1", "access_key": "AKIDEXAMPLE", "secret_key": "secret-example" });
        values.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let clock = Clock::standing_at("2027-03-01T10:00:00Z".parse().unwrap());
        keys(values, |keys| read(keys, clock)).unwrap().0
    }

    #[test]
    fn requests() {
        insta::assert_snapshot!(ses(json!({})).request(&receipt()).unwrap_or_else(|_| unreachable!()).written());
        let more = json!({ "configuration_set": "shop", "session_token": "lent", "url": "http://127.0.0.1:45005/x/" });
        let written = ses(more).request(&outgoing()).unwrap_or_else(|_| unreachable!()).written();
        assert!(written.starts_with("POST http://127.0.0.1:45005/x/v2/email/outbound-emails\n"), "{written}");
        assert!(written.contains("x-amz-security-token: lent") && written.contains(r#""ConfigurationSetName":"shop""#), "{written}");
    }

    #[test]
    fn answers_are_read_as_the_table_of_the_standards_says() {
        let ses = ses(json!({}));
        let error = |kind: &str, says: &str| (kind.to_string(), json!({ "message": says }).to_string());
        for (status, (kind, body), expected) in [
            (200, (String::new(), r#"{"MessageId": "0102018f"}"#.to_string()), "accepted 0102018f"),
            (200, (String::new(), "<html>".to_string()), "unknown"),
            (200, (String::new(), r#"{"MessageId": ""#.to_string()), "unknown"),
            (429, error("TooManyRequestsException", "Too many requests"), "later throttled"),
            (400, error("Throttling", "Maximum sending rate exceeded."), "later throttled"),
            (400, error("Throttling", "Daily message quota exceeded."), "broken"),
            (400, error("AccountSuspendedException", ""), "broken"),
            (400, error("SendingPausedException", ""), "broken"),
            (400, error("MailFromDomainNotVerifiedException", ""), "broken"),
            (404, error("NotFoundException", "Configuration set <x> does not exist"), "broken"),
            (403, error("SignatureDoesNotMatch", ""), "broken"),
            (403, error("com.amazon.coral.service#UnrecognizedClientException:http://x/", ""), "broken"),
            (400, error("MessageRejected", "Email address is not verified."), "policy"),
            (400, error("MessageRejected", "Message length is more than 41943040 bytes"), "too_large"),
            (400, error("MessageRejected", "Illegal filename"), "content"),
            (400, error("BadRequestException", "Missing final '@domain'"), "rejected"),
            (413, (String::new(), String::new()), "too_large"),
            (503, (String::new(), String::new()), "later throttled"),
            (500, error("InternalFailure", ""), "unknown"),
            (502, (String::new(), String::new()), "unknown"),
            (504, (String::new(), String::new()), "unknown"),
        ] {
            let mut answer = Answer::of(status, &body);
            if !kind.is_empty() {
                answer = answer.with("x-amzn-errortype", &kind);
            }
            assert_eq!(say(ses.read(&answer)), expected, "{status} {kind} {body}");
        }
    }

    #[test]
    fn the_account_says_how_fast() {
        let account = |enabled: bool, production: bool| {
            json!({ "SendQuota": { "Max24HourSend": 50000.0, "MaxSendRate": 14.0, "SentLast24Hours": 12.0 }, "SendingEnabled": enabled,
                    "ProductionAccessEnabled": production })
            .to_string()
        };
        let look = |body: &str| ses(json!({})).looked(&Answer::of(200, body));
        assert_eq!(look(&account(true, true)), Look { rate: Some(14.0), ..Look::fine("50000 a day, 12 of them sent, 14 a second".into()) });
        for (body, expected) in [(account(true, false), "in the sandbox"), (account(false, true), "switched off")] {
            assert!(look(&body).says.contains(expected));
        }
    }
}
