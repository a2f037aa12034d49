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

/// Without a word on how long, each time that it is told again: twice as long, up to this.
const LONGEST_USUAL: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Pace(Mutex<State>);

#[derive(Default)]
struct State {
    until: Option<Instant>,
    /// How long the last wait was for which it did not say how long.
    usual: Option<Duration>,
}

impl Pace {
    /// Listens to an answer.
    pub fn heard(&self, answer: &Answer) {
        self.heard_at(answer, Instant::now());
    }

    fn heard_at(&self, answer: &Answer, now: Instant) {
        let asked = wait(answer);
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = match (answer.status, asked) {
            (_, Some(asked)) => asked,
            // Those that were under way together are told together.
            (429, None) if state.until.is_some_and(|until| until > now) => return,
            (429, None) => {
                let wait = state.usual.map_or(USUAL, |last| (last * 2).min(LONGEST_USUAL));
                state.usual = Some(wait);
                wait
            }
            (200..=299, None) => {
                state.usual = None;
                return;
            }
            (_, None) => return,
        };
        state.until = state.until.max(Some(now + wait));
    }

    pub fn pause(&self) -> Option<Duration> {
        self.pause_at(Instant::now())
    }

    fn pause_at(&self, now: Instant) -> Option<Duration> {
        let until = self.0.lock().unwrap_or_else(PoisonError::into_inner).until;
        until.map(|until| until.saturating_duration_since(now)).filter(|pause| !pause.is_zero())
    }
}

/// How long an answer wants us to wait, where it says so.
fn wait(answer: &Answer) -> Option<Duration> {
    match answer.status {
        429 => answer.retry_after().or_else(|| used_up(answer)),
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
            (429, vec![], None),
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

    #[test]
    fn a_provider_that_does_not_say_how_long_is_left_alone_for_longer_each_time() {
        let (pace, mut now) = (Pace::default(), Instant::now());
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            // Two that were under way together.
            pace.heard_at(&Answer::of(429, ""), now);
            pace.heard_at(&Answer::of(429, ""), now);
            assert_eq!(pace.pause_at(now), Some(Duration::from_secs(seconds)));
            now += Duration::from_secs(seconds);
            assert_eq!(pace.pause_at(now), None);
        }
        pace.heard_at(&Answer::of(202, ""), now);
        pace.heard_at(&Answer::of(429, ""), now);
        assert_eq!(pace.pause_at(now), Some(Duration::from_secs(1)), "it has taken one meanwhile");
    }
}
