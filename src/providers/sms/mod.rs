//! Short messages through HTTP interfaces. What they share: one client, and what a failed request means (standards.md §3.1).

pub mod http;
pub mod twilio;

use super::Outcome;
use crate::providers::settings::Error;
use crate::types::Failure;
use std::time::Duration;

/// How long a whole request may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A complete answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub retry_after: Option<Duration>,
    pub body: String,
}

/// A client that follows no redirection (the login would go with it) and keeps connections open.
pub(crate) fn client(provider: &str) -> Result<reqwest::Client, Error> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(LIMIT)
        .connect_timeout(Duration::from_secs(20))
        .tcp_nodelay(true)
        .user_agent("posthaste")
        .build()
        .map_err(|error| Error::Other { provider: provider.to_string(), why: error.to_string() })
}

/// Sends the request. Without a complete answer: `Unreachable` where no connection came about, else `Unknown`.
pub(crate) async fn ask(request: reqwest::RequestBuilder) -> Result<Answer, Outcome> {
    let response = request.send().await.map_err(unanswered)?;
    let status = response.status().as_u16();
    let retry_after =
        response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse().ok()).map(Duration::from_secs);
    let body = response.bytes().await.map_err(unanswered)?;
    let mut body = String::from_utf8_lossy(&body).into_owned();
    body.truncate(body.floor_char_boundary(65536));
    Ok(Answer { status, retry_after, body })
}

fn unanswered(error: reqwest::Error) -> Outcome {
    let before = error.is_connect() || error.is_builder();
    let mut reply = error.without_url().to_string();
    reply.truncate(reply.floor_char_boundary(1024));
    match before {
        true => Outcome::Unreachable { after: None, reply },
        false => Outcome::Unknown { reply },
    }
}

impl Answer {
    /// The status and the beginning of the body, as it is kept with the attempt.
    pub fn reply(&self) -> String {
        let end = self.body.floor_char_boundary(900);
        format!("{} {}", self.status, self.body[..end].trim())
    }

    /// What the status alone says. `busy_is_safe`: the provider documents that 503 means "not taken".
    pub fn by_status(&self, busy_is_safe: bool) -> Outcome {
        let reply = self.reply();
        let after = Some(self.retry_after.unwrap_or(Duration::from_secs(1)).clamp(Duration::from_secs(1), Duration::from_secs(3600)));
        let after = self.retry_after.and(after);
        match self.status {
            200..=299 => Outcome::Accepted { id: None, reply },
            429 => Outcome::Later { after, throttled: true, reply },
            503 if busy_is_safe => Outcome::Later { after, throttled: true, reply },
            401 | 402 | 403 | 404 | 405 | 407 | 410 | 300..=399 => Outcome::Broken { reply },
            413 => Outcome::Refused { class: Failure::TooLarge, suppress: false, reply },
            408 => Outcome::Unknown { reply },
            400..=499 => Outcome::Refused { class: Failure::Rejected, suppress: false, reply },
            _ => Outcome::Unknown { reply },
        }
    }
}

/// Values that reach a provider hold no control characters but line breaks (in a text) and tabs.
pub(crate) fn unsafe_value(sender: &str, to: &str, text: &str) -> Option<Outcome> {
    let breaks = |c: char| c.is_control() || c == '\u{2028}' || c == '\u{2029}';
    let what = if sender.chars().any(breaks) {
        "the sender"
    } else if to.chars().any(breaks) {
        "the phone number"
    } else if text.chars().any(|c| c != '\n' && c != '\r' && c != '\t' && breaks(c)) {
        "the text"
    } else {
        return None;
    };
    Some(Outcome::Refused { class: Failure::UnsafeValue, suppress: false, reply: format!("{what} holds a control character") })
}
