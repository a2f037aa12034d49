//! Any SMS gateway with an HTTP interface, described in posthaste.yaml: request as a template, answer by status and matching values.
//!
//! ```yaml
//! turbo:
//!   channel: sms
//!   kind: http
//!   url: https://api.turbosms.ua/message/send.json
//!   headers: { Authorization: "Bearer ${TURBOSMS_TOKEN}" }
//!   body: '{"recipients": ["{{to}}"], "sms": {"sender": "{{sender}}", "text": "{{text}}"}, "sequence_id": "{{key}}"}'
//!   id: response_result.0.message_id
//!   accepted: { response_code: [ 0, 800, 801 ] }
//!   later: { response_code: 503 }
//!   broken: { response_code: [ 103, 400, 401 ] }
//! ```
//!
//! Values are escaped for the kind of the body (JSON, form, XML) and for the URL, so a text can never change the request around it.
//! `status` in a mapping is the HTTP status; any other name is a path in the JSON answer. An accepting answer must match `accepted`
//! where that is given: a 2xx that does not is `Unknown`.

use super::Text;
use crate::providers::http::answer::found;
use crate::providers::http::request::secret;
use crate::providers::http::{Answer, Api, ByHttp, Options, Request};
use crate::providers::settings::{Error, Keys};
use crate::providers::{Outcome, Outgoing, Provider};
use crate::types::{Channel, Failure};
use handlebars::Handlebars;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Path in the answer (or `status`) → values.
type Matches = BTreeMap<String, Vec<String>>;

struct Gateway {
    method: Method,
    headers: Vec<(HeaderName, HeaderValue)>,
    content_type: HeaderValue,
    url: Handlebars<'static>,
    body: Handlebars<'static>,
    id: Option<String>,
    accepted: Matches,
    later: Matches,
    /// For this person for good: the number is suppressed.
    invalid: Matches,
    refused: Matches,
    broken: Matches,
}

const TEMPLATE: &str = "request";

/// Reads url, method, headers, content_type, body, id, accepted, later, invalid, refused, broken, connections, timeout.
pub(crate) fn open(name: &str, keys: &Keys<'_>) -> Result<Arc<dyn Provider>, Error> {
    let gateway = Gateway::read(keys)?;
    Ok(Arc::new(ByHttp::new(name, &Options::read(keys, "")?, gateway)?))
}

impl Gateway {
    fn read(keys: &Keys<'_>) -> Result<Gateway, Error> {
        let content_type = keys.text("content_type")?.unwrap_or_else(|| "application/json".to_string());
        let escape: fn(&str) -> String = match content_type.split(';').next().unwrap_or("").trim() {
            "application/json" => json_escaped,
            "application/x-www-form-urlencoded" => url_escaped,
            "application/xml" | "text/xml" => handlebars::html_escape,
            "text/plain" => handlebars::no_escape,
            _ => {
                return Err(keys
                    .wrong("content_type", "must be application/json, application/x-www-form-urlencoded, application/xml or text/plain"));
            }
        };
        let template = |key: &'static str, text: &str, escape: fn(&str) -> String| {
            let mut template = Handlebars::new();
            template.set_strict_mode(true);
            template.register_escape_fn(escape);
            template.register_template_string(TEMPLATE, text).map_err(|error| keys.wrong(key, &error.to_string()))?;
            template.render(TEMPLATE, &data("", "", "", "")).map_err(|error| keys.wrong(key, &error.to_string()))?;
            Ok::<_, Error>(template)
        };
        let method = keys.text("method")?.unwrap_or_else(|| "POST".to_string());
        let url = keys.needed("url")?;
        let mut headers = Vec::new();
        for (name, values) in keys.mapping("headers")? {
            let header = name
                .parse::<HeaderName>()
                .map_err(|_| keys.wrong("headers", &format!("has an impossible name `{}`", name.escape_debug())))?;
            for value in values {
                let value = secret(&value).ok_or_else(|| keys.wrong("headers", &format!("has an impossible value for `{name}`")))?;
                headers.push((header.clone(), value));
            }
        }
        Ok(Gateway {
            method: method.to_uppercase().parse().map_err(|_| keys.wrong("method", "must be POST, PUT or GET"))?,
            headers,
            url: template("url", &url, url_escaped)?,
            body: template("body", &keys.text("body")?.unwrap_or_default(), escape)?,
            content_type: HeaderValue::from_str(&content_type).map_err(|_| keys.wrong("content_type", "is no kind of body"))?,
            id: keys.text("id")?,
            accepted: keys.mapping("accepted")?,
            later: keys.mapping("later")?,
            invalid: keys.mapping("invalid")?,
            refused: keys.mapping("refused")?,
            broken: keys.mapping("broken")?,
        })
    }
}

/// `to_digits`: the number without its plus, as many gateways want it.
fn data(to: &str, text: &str, sender: &str, key: &str) -> Value {
    json!({ "to": to, "to_digits": to.trim_start_matches('+'), "text": text, "sender": sender, "key": key })
}

fn json_escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_string()
}

fn url_escaped(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

impl Api for Gateway {
    fn channel(&self) -> Channel {
        Channel::Sms
    }

    fn request(&self, outgoing: &Outgoing) -> Result<Request, Outcome> {
        let Text { sender, to, text, .. } = Text::of(outgoing)?;
        let data = data(to, text, sender, &outgoing.key);
        let rendered = self.url.render(TEMPLATE, &data).and_then(|url| Ok((url, self.body.render(TEMPLATE, &data)?)));
        let (url, body) =
            rendered.map_err(|error| Outcome::Refused { class: Failure::Render, suppress: false, reply: error.to_string() })?;
        let mut request = Request::new(self.method.clone(), url);
        for (name, value) in &self.headers {
            request.headers.append(name, value.clone());
        }
        Ok(if body.is_empty() { request } else { request.header(CONTENT_TYPE, self.content_type.clone()).body(body.into_bytes()) })
    }

    fn read(&self, answer: &Answer) -> Outcome {
        let body = answer.value();
        let reply = answer.reply();
        let is = |matches: &Matches| {
            matches.iter().any(|(path, values)| match path.as_str() {
                "status" => values.contains(&answer.status.to_string()),
                path => found(&body, path).is_some_and(|value| values.contains(&value)),
            })
        };
        if is(&self.broken) {
            return Outcome::Broken { reply };
        }
        if is(&self.later) {
            return answer.later();
        }
        if is(&self.invalid) {
            return Outcome::Refused { class: Failure::InvalidAddress, suppress: true, reply };
        }
        if is(&self.refused) {
            return Outcome::Refused { class: Failure::Rejected, suppress: false, reply };
        }
        let id = self.id.as_deref().and_then(|path| found(&body, path));
        match answer.by_status(false) {
            Outcome::Accepted { .. } if self.accepted.is_empty() || is(&self.accepted) => Outcome::Accepted { id, reply },
            Outcome::Accepted { .. } => Outcome::Unknown { reply },
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::tests::keys;

    fn settings(values: Value) -> Result<Gateway, Error> {
        keys(values, |keys| Gateway::read(keys).and_then(|gateway| Options::read(keys, "").map(|_| gateway)))
    }

    #[test]
    fn a_text_cannot_change_the_request_around_it() {
        let text = "\"}], \"to\": \"+1\n& 50% ї";
        for (kind, body, expected) in [
            ("application/json", r#"{"text":"{{text}}"}"#, r#"{"text":"\"}], \"to\": \"+1\n& 50% ї"}"#),
            (
                "application/x-www-form-urlencoded",
                "m={{text}}&to={{to_digits}}",
                "m=%22%7D%5D%2C+%22to%22%3A+%22%2B1%0A%26+50%25+%D1%97&to=380501112233",
            ),
        ] {
            let settings = settings(json!({ "url": "https://x.example/", "content_type": kind, "body": body })).unwrap();
            assert_eq!(settings.body.render(TEMPLATE, &data("+380501112233", text, "SHOP", "k")).unwrap(), expected);
        }
    }

    #[test]
    fn an_answer_is_read_by_its_values() {
        let settings = settings(json!({
            "url": "https://x.example/", "id": "result.0.id", "accepted": { "code": [0, 800] }, "later": { "code": 503, "status": 420 },
            "broken": { "code": [103] }, "invalid": { "code": "404" }, "refused": { "code": 405 }
        }))
        .unwrap();
        let word = |status: u16, body: &str| match settings.read(&Answer::of(status, body)) {
            Outcome::Accepted { id, .. } => id.unwrap_or_else(|| "accepted".to_string()),
            Outcome::Later { .. } | Outcome::Away { .. } => "later".to_string(),
            Outcome::Refused { suppress, .. } => if suppress { "suppress" } else { "refused" }.to_string(),
            Outcome::Broken { .. } => "broken".to_string(),
            Outcome::Unreachable { .. } => "unreachable".to_string(),
            Outcome::Unknown { .. } => "unknown".to_string(),
        };
        for (status, body, expected) in [
            (200, r#"{"code": 0, "result": [{"id": 77}]}"#, "77"),
            (200, r#"{"code": 800}"#, "accepted"),
            (200, r#"{"code": 7}"#, "unknown"),
            (200, "", "unknown"),
            (200, r#"{"code": 503}"#, "later"),
            (420, "", "later"),
            (200, r#"{"code": 103}"#, "broken"),
            (200, r#"{"code": 404}"#, "suppress"),
            (200, r#"{"code": 405}"#, "refused"),
            (429, "", "later"),
            (400, "", "refused"),
            (401, "", "broken"),
            (503, "", "unknown"),
        ] {
            assert_eq!(word(status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn a_mistake_in_the_description_is_told_before_anything_is_sent() {
        for (values, expected) in [
            (json!({}), "`url` is missing"),
            (json!({ "url": "ftp://x" }), "must begin with https"),
            (json!({ "url": "https://x", "body": "{{nobody}}" }), "nobody"),
            (json!({ "url": "https://x", "boddy": "" }), "did you mean `body`?"),
            (json!({ "url": "https://x", "headers": { "X": "a\nb" } }), "impossible value"),
        ] {
            let error = settings(values.clone()).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(expected), "{values}: {error}");
        }
    }
}
