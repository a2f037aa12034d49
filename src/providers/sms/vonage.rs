//! Vonage's SMS interface (standards.md §3.5–3.6). Its answer is always 200, with one status for each part of the text. Vonage knows no
//! idempotency key: a request without an answer stays `Unknown`.

use super::Text;
use crate::providers::http::answer::found;
use crate::providers::http::{Answer, Api, ByHttp, Options, Request};
use crate::providers::settings::{Error, Keys};
use crate::providers::{Look, Outcome, Outgoing, Provider};
use crate::templates::sms::{Alphabet, parts};
use crate::types::{Channel, Failure};
use serde::Deserialize;
use std::sync::Arc;

struct Vonage {
    key: String,
    secret: String,
    callback: Option<String>,
    url: String,
}

/// Reads key, token, status_callback, url, connections, timeout.
pub(crate) fn open(name: &str, keys: &Keys<'_>) -> Result<Arc<dyn Provider>, Error> {
    let (api, options) = read(keys)?;
    Ok(Arc::new(ByHttp::new(name, &options, api)?))
}

fn read(keys: &Keys<'_>) -> Result<(Vonage, Options), Error> {
    let options = Options::read(keys, "https://rest.nexmo.com")?;
    let vonage = Vonage {
        key: keys.needed("key")?,
        secret: keys.needed("token")?,
        callback: keys.text("status_callback")?,
        url: options.url.clone(),
    };
    Ok((vonage, options))
}

impl Api for Vonage {
    fn channel(&self) -> Channel {
        Channel::Sms
    }

    fn request(&self, outgoing: &Outgoing) -> Result<Request, Outcome> {
        let message = Text::of(outgoing)?;
        let reference = outgoing.reference();
        let kind = if parts(message.text).alphabet == Alphabet::Ucs2 { "unicode" } else { "text" };
        let mut form = vec![
            ("api_key", self.key.as_str()),
            ("api_secret", &self.secret),
            ("from", message.bare_sender()),
            ("to", message.digits()),
            ("text", message.text),
            ("type", kind),
            ("client-ref", &reference),
        ];
        // Milliseconds, within what it takes.
        let lasts = message.lasts.map(|lasts| (lasts.as_secs() * 1000).clamp(20_000, 604_800_000).to_string());
        form.extend(lasts.as_deref().map(|millis| ("ttl", millis)));
        form.extend(self.callback.as_deref().map(|callback| ("callback", callback)));
        Ok(Request::post(format!("{}/sms/json", self.url)).form(&form))
    }

    fn read(&self, answer: &Answer) -> Outcome {
        if !answer.is_success() {
            return answer.by_status(false);
        }
        let parts = answer.json::<Reply>().map(|reply| reply.messages).unwrap_or_default();
        // Where one part was taken, the others are not asked for again: what was taken would come twice.
        // Each part has a number and a receipt of its own.
        let taken: Vec<&Part> = parts.iter().filter(|part| part.status == "0").collect();
        if !taken.is_empty() {
            let ids: Vec<&str> = taken.iter().filter_map(|part| part.message_id.as_deref()).collect();
            return Outcome::Accepted { id: Some(ids.join(" ")).filter(|ids| !ids.is_empty()), reply: answer.reply() };
        }
        match parts.first() {
            Some(part) => by_code(&part.status, answer),
            None => answer.unknown(),
        }
    }

    fn look(&self) -> Option<Request> {
        let login = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("api_key", &self.key)
            .append_pair("api_secret", &self.secret)
            .finish();
        Some(Request::get(format!("{}/account/get-balance?{login}", self.url)))
    }

    fn looked(&self, answer: &Answer) -> Look {
        match found(&answer.value(), "value").filter(|_| answer.is_success()) {
            Some(balance) => Look::fine(format!("the balance is {balance} EUR")),
            None => Look::by_status(answer),
        }
    }
}

#[derive(Deserialize)]
struct Reply {
    messages: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    status: String,
    #[serde(rename = "message-id")]
    message_id: Option<String>,
}

/// Vonage's own codes (standards.md §3.6).
fn by_code(code: &str, answer: &Answer) -> Outcome {
    match code {
        "1" | "10" => answer.later(),
        "5" => Outcome::Later { after: answer.retry_after(), throttled: false, reply: answer.reply() },
        "4" | "8" | "9" | "14" | "29" | "33" => answer.broken(),
        "7" => answer.suppress(Failure::OptedOut),
        "2" | "3" | "6" | "11" | "12" | "15" | "22" | "23" => answer.refused(Failure::Rejected),
        _ => answer.unknown(),
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
        let api = keys(json!({ "key": "k", "token": "s", "status_callback": "https://go.shop.example/hooks" }), read).unwrap().0;
        let written = |text: &str| api.request(&outgoing("+380501112233", text)).unwrap_or_else(|_| unreachable!()).written();
        insta::assert_snapshot!(written("Привіт & bye"));
        assert!(written("Hello").contains("type=text&"));
    }

    #[test]
    fn answers_are_read_as_the_table_of_the_standards_says() {
        let api = keys(json!({ "key": "k", "token": "s" }), read).unwrap().0;
        let one = |status: &str| json!({ "message-count": "1", "messages": [{ "status": status, "message-id": "0A" }] }).to_string();
        let two = json!({ "messages": [{ "status": "9" }, { "status": "0", "message-id": "0B" }] }).to_string();
        let mut cases = vec![
            (200, one("0"), "accepted 0A"),
            (200, two, "accepted 0B"),
            (200, json!({ "messages": [] }).to_string(), "unknown"),
            (200, "<html>".to_string(), "unknown"),
            (200, one("99"), "unknown"),
            (429, String::new(), "later throttled"),
            (401, String::new(), "broken"),
            (500, String::new(), "unknown"),
            (502, String::new(), "unknown"),
            (200, one("5"), "later"),
            (200, one("7"), "opted_out suppress"),
        ];
        for (codes, expected) in [
            (&["1", "10"][..], "later throttled"),
            (&["4", "8", "9", "14", "29", "33"], "broken"),
            (&["2", "3", "6", "11", "12", "15", "22", "23"], "rejected"),
        ] {
            cases.extend(codes.iter().map(|code| (200, one(code), expected)));
        }
        for (status, body, expected) in cases {
            assert_eq!(say(api.read(&Answer::of(status, &body))), expected, "{status} {body}");
        }
    }
}
