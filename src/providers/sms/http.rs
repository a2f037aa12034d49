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

use super::{Answer, ask, client, unsafe_value};
use crate::providers::settings::{Error, Keys};
use crate::providers::{Body, Outcome, Outgoing, Provider, Sending};
use crate::types::{Channel, Failure};
use handlebars::Handlebars;
use reqwest::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Path in the answer (or `status`) → values.
type Matches = BTreeMap<String, Vec<String>>;

pub struct Settings {
    method: reqwest::Method,
    headers: Vec<(HeaderName, HeaderValue)>,
    content_type: String,
    url: Handlebars<'static>,
    body: Handlebars<'static>,
    id: Option<String>,
    accepted: Matches,
    later: Matches,
    /// For this person for good: the number is suppressed.
    invalid: Matches,
    refused: Matches,
    broken: Matches,
    connections: usize,
}

const TEMPLATE: &str = "request";

impl Settings {
    /// Reads url, method, headers, content_type, body, id, accepted, later, invalid, refused, broken, connections.
    pub fn read(keys: &Keys<'_>) -> Result<Settings, Error> {
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
        if !url.starts_with("https://") && !url.starts_with("http://") {
            return Err(keys.wrong("url", "must begin with https://"));
        }
        let mut headers = Vec::new();
        for (name, values) in keys.mapping("headers")? {
            let header = name
                .parse::<HeaderName>()
                .map_err(|_| keys.wrong("headers", &format!("has an impossible name `{}`", name.escape_debug())))?;
            for value in values {
                let mut value =
                    HeaderValue::from_str(&value).map_err(|_| keys.wrong("headers", &format!("has an impossible value for `{name}`")))?;
                value.set_sensitive(true);
                headers.push((header.clone(), value));
            }
        }
        Ok(Settings {
            method: method.to_uppercase().parse().map_err(|_| keys.wrong("method", "must be POST, PUT or GET"))?,
            headers,
            url: template("url", &url, url_escaped)?,
            body: template("body", &keys.text("body")?.unwrap_or_default(), escape)?,
            content_type,
            id: keys.text("id")?,
            accepted: keys.mapping("accepted")?,
            later: keys.mapping("later")?,
            invalid: keys.mapping("invalid")?,
            refused: keys.mapping("refused")?,
            broken: keys.mapping("broken")?,
            connections: keys.number("connections", 10, 1, 1000)? as usize,
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

pub struct Http {
    name: String,
    settings: Settings,
    client: reqwest::Client,
}

impl Http {
    pub fn new(name: &str, settings: Settings) -> Result<Http, Error> {
        Ok(Http { name: name.to_string(), client: client(name)?, settings })
    }

    async fn deliver(&self, sender: &str, to: &str, text: &str, key: &str) -> Outcome {
        if let Some(refused) = unsafe_value(sender, to, text) {
            return refused;
        }
        let data = data(to, text, sender, key);
        let rendered = self.settings.url.render(TEMPLATE, &data).and_then(|url| Ok((url, self.settings.body.render(TEMPLATE, &data)?)));
        let (url, body) = match rendered {
            Ok(rendered) => rendered,
            Err(error) => return Outcome::Refused { class: Failure::Render, suppress: false, reply: error.to_string() },
        };
        let mut request = self.client.request(self.settings.method.clone(), url);
        for (name, value) in &self.settings.headers {
            request = request.header(name, value);
        }
        if !body.is_empty() {
            request = request.header("content-type", &self.settings.content_type).body(body);
        }
        match ask(request).await {
            Ok(answer) => self.settings.outcome(&answer),
            Err(outcome) => outcome,
        }
    }
}

impl Settings {
    fn outcome(&self, answer: &Answer) -> Outcome {
        let body: Value = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
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
            return Outcome::Later { after: answer.retry_after, throttled: true, reply };
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

/// The value at a dotted path as text; numbers in the path are places in a list.
fn found(body: &Value, path: &str) -> Option<String> {
    let value = path.split('.').try_fold(body, |value, step| match value {
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        value => value.get(step),
    })?;
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

impl Provider for Http {
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
                Body::Sms { sender, to, text, .. } => self.deliver(sender, to, text, &outgoing.key).await,
                Body::Email { .. } => {
                    Outcome::Refused { class: Failure::Protocol, suppress: false, reply: format!("{} sends SMS only", self.name) }
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(values: Value) -> Result<Settings, Error> {
        let Value::Object(values) = values else { unreachable!() };
        let keys = Keys::new("gateway", &values, &|text| Ok(text.to_string()));
        let settings = Settings::read(&keys)?;
        keys.done()?;
        Ok(settings)
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
        let word = |status: u16, body: &str| match settings.outcome(&Answer { status, retry_after: None, body: body.to_string() }) {
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
