//! Twilio's Messages resource (standards.md §3.5–3.6). The base address is a setting, so the built-in catcher can stand in for it.
//!
//! Twilio knows no idempotency key: a request without an answer stays `Unknown`.

use super::{Answer, ask, client, unsafe_value};
use crate::providers::settings::{Error, Keys};
use crate::providers::{Body, Outcome, Outgoing, Provider, Sending};
use crate::types::{Channel, Failure};
use serde::Deserialize;

#[derive(Clone)]
pub struct Settings {
    /// Account SID.
    account: String,
    /// API key SID, or the account again.
    user: String,
    secret: String,
    /// Sends through this service instead of from the sender.
    messaging_service: Option<String>,
    status_callback: Option<String>,
    /// Without a slash at the end.
    url: String,
    connections: usize,
}

impl Settings {
    /// Reads account, token, api_key, messaging_service, status_callback, url, connections.
    pub fn read(keys: &Keys<'_>) -> Result<Settings, Error> {
        let account = keys.needed("account")?;
        let url = keys.text("url")?.unwrap_or_else(|| "https://api.twilio.com".to_string());
        if !url.starts_with("https://") && !url.starts_with("http://") {
            return Err(keys.wrong("url", "must begin with https://"));
        }
        if !account.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(keys.wrong("account", "must be an account SID: letters and digits"));
        }
        Ok(Settings {
            user: keys.text("api_key")?.unwrap_or_else(|| account.clone()),
            secret: keys.needed("token")?,
            messaging_service: keys.text("messaging_service")?,
            status_callback: keys.text("status_callback")?,
            connections: keys.number("connections", 10, 1, 1000)? as usize,
            url: url.trim_end_matches('/').to_string(),
            account,
        })
    }

    /// The built-in catcher at `HOST:PORT`.
    pub fn catcher(address: &str) -> Settings {
        Settings {
            account: "ACcatcher".to_string(),
            user: "ACcatcher".to_string(),
            secret: "catcher".to_string(),
            messaging_service: None,
            status_callback: None,
            url: format!("http://{address}"),
            connections: 10,
        }
    }
}

pub struct Twilio {
    name: String,
    settings: Settings,
    url: String,
    client: reqwest::Client,
}

impl Twilio {
    pub fn new(name: &str, settings: Settings) -> Result<Twilio, Error> {
        let url = format!("{}/2010-04-01/Accounts/{}/Messages.json", settings.url, settings.account);
        Ok(Twilio { name: name.to_string(), client: client(name)?, url, settings })
    }

    async fn deliver(&self, sender: &str, to: &str, text: &str) -> Outcome {
        if let Some(refused) = unsafe_value(sender, to, text) {
            return refused;
        }
        let mut form: Vec<(&str, &str)> = vec![("To", to), ("Body", text)];
        match &self.settings.messaging_service {
            Some(service) => form.push(("MessagingServiceSid", service)),
            None => form.push(("From", sender)),
        }
        if let Some(callback) = &self.settings.status_callback {
            form.push(("StatusCallback", callback));
        }
        let request = self.client.post(&self.url).basic_auth(&self.settings.user, Some(&self.settings.secret)).form(&form);
        match ask(request).await {
            Ok(answer) => read(&answer),
            Err(outcome) => outcome,
        }
    }
}

impl Provider for Twilio {
    fn name(&self) -> &str {
        &self.name
    }
    fn channel(&self) -> Channel {
        Channel::Sms
    }
    fn width(&self) -> usize {
        self.settings.connections
    }
    fn send<'a>(&'a self, outgoing: &'a Outgoing) -> Sending<'a> {
        Box::pin(async move {
            match &outgoing.body {
                Body::Sms { sender, to, text, .. } => self.deliver(sender, to, text).await,
                Body::Email { .. } => {
                    Outcome::Refused { class: Failure::Protocol, suppress: false, reply: format!("{} sends SMS only", self.name) }
                }
            }
        })
    }
}

#[derive(Deserialize)]
struct Reply {
    sid: Option<String>,
    code: Option<u32>,
    error_code: Option<u32>,
}

fn read(answer: &Answer) -> Outcome {
    let body: Option<Reply> = serde_json::from_str(&answer.body).ok();
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
        20429 | 21611 | 30001 | 63038 => Outcome::Later { after: answer.retry_after, throttled: true, reply },
        30003 | 30008 => Outcome::Later { after: answer.retry_after, throttled: false, reply },
        21610 => refused(Failure::Rejected, true, reply),
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
    use super::*;

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
            (400, r#"{"code": 21610, "message": "Attempt to send to unsubscribed recipient", "status": 400}"#, "rejected suppress"),
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
            let read = match read(&Answer { status, retry_after: None, body: body.to_string() }) {
                Outcome::Accepted { id, .. } => format!("accepted {}", id.unwrap_or_default()),
                Outcome::Away { .. } => "away".to_string(),
                Outcome::Later { throttled, .. } => format!("later{}", if throttled { " throttled" } else { "" }),
                Outcome::Refused { class, suppress, .. } => format!("{class}{}", if suppress { " suppress" } else { "" }),
                Outcome::Broken { .. } => "broken".to_string(),
                Outcome::Unreachable { .. } => "unreachable".to_string(),
                Outcome::Unknown { .. } => "unknown".to_string(),
            };
            assert_eq!(read, expected, "{status} {body}");
        }
    }
}
