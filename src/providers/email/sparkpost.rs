//! SparkPost's transmissions (standards.md §3.2–3.3): the MIME as it is. SparkPost knows no idempotency key: a request without an answer
//! stays `Unknown`. Its own tracking is switched off; ours is in the letter.

use super::Parcel;
use super::parts::Parts;
use crate::providers::http::answer::found;
use crate::providers::http::request::secret;
use crate::providers::http::{Answer, Api, ByHttp, Options, Request};
use crate::providers::settings::{Error, Keys};
use crate::providers::{Look, Outcome, Outgoing, Provider, REFERENCE, Sought};
use crate::types::{Channel, Failure};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

struct SparkPost {
    login: HeaderValue,
    url: String,
}

/// Reads token, region, url, connections, timeout.
pub(crate) fn open(name: &str, keys: &Keys<'_>) -> Result<Arc<dyn Provider>, Error> {
    let (api, options) = read(keys)?;
    Ok(Arc::new(ByHttp::new(name, &options, api)?))
}

fn read(keys: &Keys<'_>) -> Result<(SparkPost, Options), Error> {
    let url = match keys.word("region", &["us", "eu"])? {
        "eu" => "https://api.eu.sparkpost.com",
        _ => "https://api.sparkpost.com",
    };
    let options = Options::read(keys, url)?;
    Ok((SparkPost { login: keys.secret("token", secret)?, url: options.url.clone() }, options))
}

impl Api for SparkPost {
    fn channel(&self) -> Channel {
        Channel::Email
    }

    fn request(&self, outgoing: &Outgoing) -> Result<Request, Outcome> {
        let parcel = Parcel::of(outgoing)?;
        let parts = Parts::of(parcel.mime)?;
        let mime = std::str::from_utf8(parcel.mime)
            .map_err(|_| super::refused(Failure::Content, "the message is not UTF-8, and SparkPost takes nothing else".to_string()))?;
        let mut body = json!({
            "options": { "transactional": !parts.is_listed(), "open_tracking": false, "click_tracking": false },
            "recipients": [{ "address": { "email": parcel.to.as_str() }, "metadata": { REFERENCE: outgoing.reference() } }],
            "content": { "email_rfc822": mime },
        });
        // It takes a return path only of a domain that is verified for bounces; who names none in posthaste.yaml gets SparkPost's own.
        if !parcel.from.eq_ignore_ascii_case(&parts.from.address)
            && let Value::Object(fields) = &mut body
        {
            fields.insert("return_path".into(), json!(parcel.from));
        }
        let request = Request::post(format!("{}/api/v1/transmissions?num_rcpt_errors=1", self.url));
        Ok(request.header(AUTHORIZATION, self.login.clone()).json(&body))
    }

    fn read(&self, answer: &Answer) -> Outcome {
        let body = answer.value();
        let number = |path: &str| found(&body, path).and_then(|number| number.parse::<u64>().ok());
        match answer.status {
            200..=299 => match (number("results.total_accepted_recipients"), number("results.total_rejected_recipients")) {
                (Some(0), Some(1..)) => answer.refused(Failure::Rejected),
                (Some(1..), _) => answer.accepted(found(&body, "results.id")),
                _ => answer.unknown(),
            },
            // Enough for today.
            420 => answer.later_after(Duration::from_secs(3600)),
            _ => answer.by_status(false),
        }
    }

    /// Its events of this person: what it has taken in bears our metadata.
    fn search(&self, sought: &Sought) -> Vec<Request> {
        let time = |at: crate::types::Time| at.format("%Y-%m-%dT%H:%M:%SZ").to_string();
        let (from, to) = (time(sought.from), time(sought.until));
        let fields = [("events", "injection"), ("recipients", sought.to.as_str()), ("from", &from), ("to", &to), ("per_page", "1000")];
        vec![Request::query(&format!("{}/api/v1/events/message", self.url), &fields).header(AUTHORIZATION, self.login.clone())]
    }

    fn found(&self, answer: &Answer, sought: &Sought) -> Result<Option<String>, String> {
        answer.row("results", |event| {
            let is_it = found(event, &format!("rcpt_meta.{REFERENCE}")).as_deref() == Some(sought.reference.as_str());
            found(event, "transmission_id").filter(|_| is_it)
        })
    }

    fn look(&self) -> Option<Request> {
        Some(Request::get(format!("{}/api/v1/sending-domains", self.url)).header(AUTHORIZATION, self.login.clone()))
    }

    fn looked(&self, answer: &Answer) -> Look {
        match answer.status {
            403 => Look::fine("the key is known; it may not ask for the sending domains".into()),
            _ => Look::by_status(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parts::tests::{outgoing, receipt};
    use super::*;
    use crate::providers::tests::{keys, say};

    fn sparkpost(values: Value) -> SparkPost {
        keys(values, read).unwrap().0
    }

    #[test]
    fn requests() {
        let api = sparkpost(json!({ "token": "x" }));
        insta::assert_snapshot!(api.request(&outgoing()).unwrap_or_else(|_| unreachable!()).written());
        let written = api.request(&receipt()).unwrap_or_else(|_| unreachable!()).written();
        assert!(written.contains(r#""transactional":true"#) && written.contains(r#""return_path":"b7@bounces.shop.example""#), "{written}");
    }

    #[test]
    fn answers_are_read_as_the_table_of_the_standards_says() {
        let api = sparkpost(json!({ "token": "x", "region": "eu" }));
        let taken = |accepted: u8, rejected: u8| {
            json!({ "results": { "total_rejected_recipients": rejected, "total_accepted_recipients": accepted, "id": "11668" } })
                .to_string()
        };
        for (status, body, expected) in [
            (200, taken(1, 0), "accepted 11668"),
            (200, taken(0, 1), "rejected"),
            (200, taken(0, 0), "unknown"),
            (200, String::new(), "unknown"),
            (429, String::new(), "later throttled"),
            (420, String::new(), "later throttled after 3600"),
            (401, String::new(), "broken"),
            (403, String::new(), "broken"),
            (400, r#"{"errors": [{"message": "required field is missing", "code": "1400"}]}"#.into(), "rejected"),
            (422, String::new(), "rejected"),
            (500, String::new(), "unknown"),
            (502, String::new(), "unknown"),
            (503, String::new(), "unknown"),
        ] {
            assert_eq!(say(api.read(&Answer::of(status, &body))), expected, "{status} {body}");
        }
    }
}
