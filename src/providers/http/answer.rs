//! A complete answer, and what its status alone says (standards.md §3.1).

use crate::providers::{Look, LookState, Outcome};
use crate::types::{Failure, Time};
use reqwest::header::HeaderMap;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;

#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// At most a mebibyte of it.
    pub body: String,
}

impl Answer {
    #[cfg(test)]
    pub fn of(status: u16, body: &str) -> Answer {
        Answer { status, headers: HeaderMap::new(), body: body.to_string() }
    }

    #[cfg(test)]
    pub fn with(mut self, name: &'static str, value: &str) -> Answer {
        self.headers.insert(name, value.parse().unwrap());
        self
    }

    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok().map(str::trim)
    }

    /// The body as JSON of that form.
    pub fn json<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(&self.body).ok()
    }

    /// The body as any JSON; null when it is none.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    /// What the provider's clock showed.
    pub fn date(&self) -> Option<Time> {
        instant(self.header("date")?)
    }

    /// How long the provider wants to be left alone, from one second to one hour: seconds, or a date, which is compared with its own clock.
    pub fn retry_after(&self) -> Option<Duration> {
        let written = self.header("retry-after")?;
        let seconds = match written.parse::<f64>() {
            Ok(seconds) if seconds.is_finite() => seconds.ceil(),
            _ => (instant(written)? - self.date()?).num_seconds() as f64,
        };
        Some(Duration::from_secs(seconds.clamp(1.0, 3600.0) as u64))
    }

    /// The status and the beginning of the body, as it is kept with the attempt.
    pub fn reply(&self) -> String {
        self.reply_of(&self.body)
    }

    /// The same of what one item of the body says.
    pub fn reply_of(&self, text: &str) -> String {
        let end = text.floor_char_boundary(900);
        format!("{} {}", self.status, text.get(..end).unwrap_or_default().trim()).trim_end().to_string()
    }

    pub fn later(&self) -> Outcome {
        Outcome::Later { after: self.retry_after(), throttled: true, reply: self.reply() }
    }

    /// Certainly not taken, and asking again before so long is of no use.
    pub fn later_after(&self, after: Duration) -> Outcome {
        Outcome::Later { after: Some(self.retry_after().unwrap_or(after)), throttled: true, reply: self.reply() }
    }

    pub fn refused(&self, class: Failure) -> Outcome {
        Outcome::Refused { class, suppress: false, reply: self.reply() }
    }

    /// This address will never take anything from us.
    pub fn suppress(&self, class: Failure) -> Outcome {
        Outcome::Refused { class, suppress: true, reply: self.reply() }
    }

    pub fn broken(&self) -> Outcome {
        Outcome::Broken { reply: self.reply() }
    }

    pub fn unknown(&self) -> Outcome {
        Outcome::Unknown { reply: self.reply() }
    }

    /// Taken, when the provider says under which number; without one something else than the provider has answered.
    pub fn accepted(&self, id: Option<String>) -> Outcome {
        match id.filter(|id| !id.is_empty()) {
            Some(id) => Outcome::Accepted { id: Some(id), reply: self.reply() },
            None => self.unknown(),
        }
    }

    /// What the status alone says. `busy_is_safe`: the provider documents that 503 means "not taken".
    pub fn by_status(&self, busy_is_safe: bool) -> Outcome {
        match self.status {
            200..=299 => Outcome::Accepted { id: None, reply: self.reply() },
            429 => self.later(),
            503 if busy_is_safe => self.later(),
            401 | 402 | 403 | 404 | 405 | 407 | 410 | 300..=399 => self.broken(),
            413 => self.refused(Failure::TooLarge),
            408 => self.unknown(),
            400..=499 => self.refused(Failure::Rejected),
            _ => self.unknown(),
        }
    }
}

impl Look {
    /// What the status says of the login.
    pub(crate) fn by_status(answer: &Answer) -> Look {
        let state = match answer.status {
            200..=299 => LookState::Fine,
            401..=404 => LookState::Wrong,
            _ => LookState::Silent,
        };
        let says = if state == LookState::Fine { "the login is right".to_string() } else { answer.reply() };
        Look { state, says, date: None, rate: None }
    }

    /// Fine, and so much more is said.
    pub(crate) fn fine(says: String) -> Look {
        Look { state: LookState::Fine, says, date: None, rate: None }
    }

    pub(crate) fn wrong(says: String) -> Look {
        Look { state: LookState::Wrong, says, date: None, rate: None }
    }

    pub(crate) fn silent(says: String) -> Look {
        Look { state: LookState::Silent, says, date: None, rate: None }
    }
}

/// A date of HTTP.
fn instant(text: &str) -> Option<Time> {
    chrono::DateTime::parse_from_rfc2822(text).ok().map(|date| date.to_utc())
}

impl Answer {
    /// The first of the rows at `path` for which `number` gives one; the error says that there are no rows.
    pub fn row(&self, path: &str, number: impl Fn(&Value) -> Option<String>) -> Result<Option<String>, String> {
        match self.value().get(path) {
            Some(Value::Array(rows)) => Ok(rows.iter().find_map(number)),
            _ => Err(self.reply()),
        }
    }
}

/// The text or number at a dotted path; numbers in the path are places in a list.
pub(crate) fn found(body: &Value, path: &str) -> Option<String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_read_in_seconds_or_as_a_date_and_kept_within_bounds() {
        let date = "Mon, 01 Mar 2027 10:00:00 GMT";
        for (written, expected) in [
            ("7", Some(7)),
            ("0", Some(1)),
            ("0.4", Some(1)),
            ("86400", Some(3600)),
            ("-5", Some(1)),
            ("Mon, 01 Mar 2027 10:02:30 GMT", Some(150)),
            ("Mon, 01 Mar 2027 09:00:00 GMT", Some(1)),
            ("soon", None),
            ("NaN", None),
        ] {
            let after = Answer::of(429, "").with("date", date).with("retry-after", written).retry_after();
            assert_eq!(after, expected.map(Duration::from_secs), "{written}");
        }
        assert_eq!(Answer::of(429, "").with("retry-after", date).retry_after(), None, "nothing to compare with");
    }
}
