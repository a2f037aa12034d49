//! Mailgun's messages.mime (standards.md §3.2–3.3): the MIME as it is. Mailgun knows no idempotency key: a request without an answer stays
//! `Unknown`. Its own tracking is switched off; ours is in the letter.

use super::Parcel;
use crate::providers::http::answer::found;
use crate::providers::http::request::basic;
use crate::providers::http::{Answer, Api, ByHttp, Options, Request};
use crate::providers::settings::{Error, Keys};
use crate::providers::{Look, Outcome, Outgoing, Provider, REFERENCE, Sought};
use crate::types::Channel;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use std::sync::Arc;

struct Mailgun {
    login: HeaderValue,
    domain: String,
    url: String,
}

/// Reads domain, token, region, url, connections, timeout.
pub(crate) fn open(name: &str, keys: &Keys<'_>) -> Result<Arc<dyn Provider>, Error> {
    let (api, options) = read(keys)?;
    Ok(Arc::new(ByHttp::new(name, &options, api)?))
}

fn read(keys: &Keys<'_>) -> Result<(Mailgun, Options), Error> {
    let url = match keys.word("region", &["us", "eu"])? {
        "eu" => "https://api.eu.mailgun.net",
        _ => "https://api.mailgun.net",
    };
    let options = Options::read(keys, url)?;
    let login = keys.secret("token", |token| basic("api", token))?;
    Ok((Mailgun { login, domain: keys.label("domain")?, url: options.url.clone() }, options))
}

impl Api for Mailgun {
    fn channel(&self) -> Channel {
        Channel::Email
    }

    fn request(&self, outgoing: &Outgoing) -> Result<Request, Outcome> {
        let parcel = Parcel::of(outgoing)?;
        // Made from the message's key, which nobody can know who wrote a part of the message.
        let boundary = format!("posthaste-{}", outgoing.key);
        let mut body = Vec::with_capacity(parcel.mime.len() + 1024);
        let field = |name: &str, value: &str| format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        for (name, value) in [("to", parcel.to.as_str()), ("o:tracking", "no"), (&format!("v:{REFERENCE}"), &outgoing.reference())] {
            body.extend_from_slice(field(name, value).as_bytes());
        }
        let file = "Content-Disposition: form-data; name=\"message\"; filename=\"message.mime\"\r\nContent-Type: message/rfc822\r\n\r\n";
        body.extend_from_slice(format!("--{boundary}\r\n{file}").as_bytes());
        body.extend_from_slice(parcel.mime);
        body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        let kind = HeaderValue::from_str(&format!("multipart/form-data; boundary={boundary}"));
        let kind = kind.map_err(|error| Outcome::Broken { reply: error.to_string() })?;
        let request = Request::post(format!("{}/v3/{}/messages.mime", self.url, self.domain)).header(AUTHORIZATION, self.login.clone());
        Ok(request.named("content-type", kind).body(body))
    }

    fn read(&self, answer: &Answer) -> Outcome {
        match answer.is_success() {
            true => answer.accepted(found(&answer.value(), "id")),
            false => answer.by_status(false),
        }
    }

    /// Its events of this person: what it has accepted bears our variable.
    fn search(&self, sought: &Sought) -> Vec<Request> {
        let (begin, end) = (sought.from.timestamp().to_string(), sought.until.timestamp().to_string());
        let fields = [("event", "accepted"), ("recipient", &sought.to), ("begin", &begin), ("end", &end), ("limit", "300")];
        let request = Request::query(&format!("{}/v3/{}/events", self.url, self.domain), &fields);
        vec![request.header(AUTHORIZATION, self.login.clone())]
    }

    fn found(&self, answer: &Answer, sought: &Sought) -> Result<Option<String>, String> {
        answer.row("items", |event| {
            let is_it = found(event, &format!("user-variables.{REFERENCE}")).as_deref() == Some(sought.reference.as_str());
            let number = found(event, "message.headers.message-id").filter(|_| is_it)?;
            // As the answer to the message would have said it.
            Some(format!("<{}>", number.trim_matches(['<', '>'])))
        })
    }

    fn look(&self) -> Option<Request> {
        Some(Request::get(format!("{}/v3/domains/{}", self.url, self.domain)).header(AUTHORIZATION, self.login.clone()))
    }

    fn looked(&self, answer: &Answer) -> Look {
        match found(&answer.value(), "domain.state").as_deref().filter(|_| answer.is_success()) {
            Some("active") => Look::fine(format!("{} is active", self.domain)),
            Some(state) => Look::wrong(format!("the domain {} is {state}, not active: verify its DNS records at Mailgun", self.domain)),
            None if answer.status == 403 => Look::fine("the key is known; it may not ask for the domain".into()),
            None => Look::by_status(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parts::tests::outgoing;
    use super::*;
    use crate::providers::Body;
    use crate::providers::tests::{keys, say};
    use serde_json::json;

    fn mailgun(values: serde_json::Value) -> Mailgun {
        keys(values, read).unwrap().0
    }

    #[test]
    fn requests() {
        let api = mailgun(json!({ "token": "key-x", "domain": "mg.shop.example", "region": "eu" }));
        let mut outgoing = outgoing();
        let written = api.request(&outgoing).unwrap_or_else(|_| unreachable!()).written();
        insta::assert_snapshot!(written.replace('\r', ""));
        let Body::Email { mime, to, .. } = &mut outgoing.body else { unreachable!() };
        assert!(written.contains(std::str::from_utf8(mime).unwrap()), "the message goes as it is");
        *to = "a@b.example\r\nX: y".into();
        assert_eq!(api.request(&outgoing).map(drop).map_err(say), Err("unsafe_value".to_string()));
    }

    #[test]
    fn answers_are_read_as_the_table_of_the_standards_says() {
        let api = mailgun(json!({ "token": "key-x", "domain": "mg.shop.example" }));
        for (status, body, expected) in [
            (200, r#"{"id": "<2027.1@mg>", "message": "Queued. Thank you."}"#, "accepted <2027.1@mg>"),
            (200, "Mailgun Magnificent API", "unknown"),
            (429, "", "later throttled"),
            (401, "Forbidden", "broken"),
            (402, "", "broken"),
            (403, "", "broken"),
            (404, "", "broken"),
            (400, r#"{"message": "to parameter is not a valid address"}"#, "rejected"),
            (413, "", "too_large"),
            (500, "", "unknown"),
            (502, "", "unknown"),
            (503, "", "unknown"),
        ] {
            assert_eq!(say(api.read(&Answer::of(status, body))), expected, "{status} {body}");
        }
    }
}
