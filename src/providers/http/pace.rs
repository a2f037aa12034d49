//! How long a provider wants to be left alone, by what it says itself: `Retry-After`, and how many requests are left until when.

use super::Answer;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Without a word on how long.
const USUAL: Duration = Duration::from_secs(1);
/// A limit by time is waited for at most so long, in seconds; then the provider is asked.
const LONGEST_WINDOW: f64 = 3600.0;

/// Names of "how many are left" and "when there are more", as providers write them.
const LEFT: [(&str, &str); 2] = [("x-ratelimit-remaining", "x-ratelimit-reset"), ("x-sib-ratelimit-remaining", "x-sib-ratelimit-reset")];

#[derive(Default)]
pub(super) struct Pace {
    until: Mutex<Option<Instant>>,
}

impl Pace {
    /// Listens to an answer.
    pub fn heard(&self, answer: &Answer) {
        if let Some(wait) = wait(answer) {
            let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
            *until = (*until).max(Some(Instant::now() + wait));
        }
    }

    pub fn pause(&self) -> Option<Duration> {
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.map(|until| until.saturating_duration_since(Instant::now())).filter(|pause| !pause.is_zero())
    }
}

/// How long an answer wants us to wait.
fn wait(answer: &Answer) -> Option<Duration> {
    match answer.status {
        429 => Some(answer.retry_after().or_else(|| used_up(answer)).unwrap_or(USUAL)),
        503 => answer.retry_after(),
        _ => used_up(answer),
    }
}

/// No request is left: until when. A reset is given in seconds from now, or as seconds or milliseconds since 1970, which are compared
/// with the provider's own clock.
fn used_up(answer: &Answer) -> Option<Duration> {
    LEFT.iter().find_map(|(left, reset)| {
        let number = |name: &str| answer.header(name)?.parse::<f64>().ok().filter(|number| number.is_finite());
        if number(left)? > 0.0 {
            return None;
        }
        let now = answer.date().map(|date| date.timestamp() as f64);
        let seconds = match (number(reset)?, now) {
            (reset, Some(now)) if reset > 1e12 => reset / 1000.0 - now,
            (reset, Some(now)) if reset > 1e9 => reset - now,
            (reset, None) if reset > 1e9 => 1.0,
            (reset, _) => reset,
        };
        Some(Duration::from_secs_f64(seconds.clamp(1.0, LONGEST_WINDOW)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_provider_says_is_heard_to_the_second() {
        let now = 1_803_895_200_i64;
        let date = chrono::DateTime::from_timestamp(now, 0).unwrap().to_rfc2822();
        let (remaining, reset) = ("x-ratelimit-remaining", "x-ratelimit-reset");
        let (left, again) = ("x-sib-ratelimit-remaining", "x-sib-ratelimit-reset");
        let (seconds, millis) = ((now + 20).to_string(), ((now + 30) * 1000).to_string());
        for (status, headers, expected) in [
            (202, vec![], None),
            (202, vec![(remaining, "5"), (reset, "60")], None),
            (202, vec![(remaining, "0"), (reset, &seconds)], Some(20)),
            (200, vec![(remaining, "0"), (reset, &millis)], Some(30)),
            (200, vec![(remaining, "0"), (reset, "NaN")], None),
            (201, vec![(left, "0"), (again, "12")], Some(12)),
            (429, vec![(left, "0"), (again, "12")], Some(12)),
            (429, vec![("retry-after", "7")], Some(7)),
            (429, vec![], Some(1)),
            (503, vec![], None),
            (503, vec![("retry-after", "9")], Some(9)),
        ] {
            let answer = headers.iter().fold(Answer::of(status, ""), |answer, (name, value)| answer.with(name, value));
            assert_eq!(wait(&answer.with("date", &date)), expected.map(Duration::from_secs), "{status} {headers:?}");
        }
    }

    #[test]
    fn a_wait_that_was_heard_holds_and_a_shorter_one_takes_nothing_back() {
        let pace = Pace::default();
        pace.heard(&Answer::of(200, ""));
        assert_eq!(pace.pause(), None);
        pace.heard(&Answer::of(429, "").with("retry-after", "90"));
        pace.heard(&Answer::of(429, ""));
        assert!(pace.pause().is_some_and(|pause| pause > Duration::from_secs(80)));
    }
}
