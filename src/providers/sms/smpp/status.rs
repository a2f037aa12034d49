//! What an operator's status says (standards.md §3.8), and how its "slower" is obeyed.

use crate::providers::Outcome;
use crate::types::Failure;
use std::time::Duration;
use tokio::time::Instant;

pub const OK: u32 = 0;
/// Answers of ours to what an operator tells: later, and never.
pub const TEMPORARY: u32 = 0x64;
pub const PERMANENT: u32 = 0x65;

/// Of a submit_sm that was not taken.
pub fn outcome(status: u32) -> Outcome {
    let reply = format!("SMPP status {status:#010x}");
    let refused = |class, reply| Outcome::Refused { class, suppress: false, reply };
    match status {
        0x14 | 0x58 => Outcome::Later { after: Some(Duration::from_secs(1)), throttled: true, reply },
        0x64 => Outcome::Later { after: Some(Duration::from_secs(1)), throttled: false, reply },
        // Nobody says how far it came.
        0x08 | 0xfe | 0xff => Outcome::Unknown { reply },
        0x04 | 0x05 | 0x0d | 0x0e | 0x0f => Outcome::Broken { reply },
        0x01 => refused(Failure::TooLarge, reply),
        0x0a => refused(Failure::Policy, reply),
        0x0b => refused(Failure::InvalidAddress, reply),
        _ => refused(Failure::Rejected, reply),
    }
}

/// Of a bind that was refused. One that is bound already, after a link was lost, frees itself.
pub fn of_bind(status: u32) -> Outcome {
    let reply = format!("the operator refused the login: SMPP status {status:#010x}");
    match status {
        0x04 | 0x0d | 0x0e | 0x0f => Outcome::Broken { reply },
        _ => Outcome::Unreachable { after: None, reply },
    }
}

/// After how long without a "slower" it goes faster again, step by step.
const CALM: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(60);

/// Listens to "slower": nothing for a second (doubled each time), then half as fast as before.
#[derive(Debug, Default)]
pub struct Pace {
    until: Option<Instant>,
    wait: Duration,
    last_slower: Option<Instant>,
    rate: Option<f64>,
    /// Begin of the second that is counted, what was taken in it, and in the one before.
    second: Option<Instant>,
    count: u32,
    before: u32,
}

impl Pace {
    pub fn taken(&mut self, now: Instant) {
        match self.second {
            Some(second) if now - second < Duration::from_secs(1) => self.count += 1,
            _ => (self.before, self.count, self.second) = (self.count, 1, Some(now)),
        }
        if self.last_slower.is_some_and(|slower| now - slower >= CALM) {
            (self.last_slower, self.wait) = (Some(now), Duration::ZERO);
            // Once it is faster than what there is to send, nothing holds it back.
            self.rate = self.rate.map(|rate| rate * 1.5).filter(|rate| *rate <= f64::from(self.count.max(self.before)) * 4.0);
        }
    }

    pub fn slower(&mut self, now: Instant) {
        if self.until.is_some_and(|until| until > now) {
            // Those that were under way together say it together.
            return;
        }
        self.wait = (self.wait * 2).clamp(Duration::from_secs(1), LONGEST);
        self.until = Some(now + self.wait);
        self.last_slower = Some(now);
        let seen = f64::from(self.count.max(self.before));
        self.rate = Some((self.rate.unwrap_or(seen).min(seen.max(2.0)) / 2.0).max(1.0));
    }

    pub fn pause(&self, now: Instant) -> Option<Duration> {
        self.until.map(|until| until.saturating_duration_since(now)).filter(|pause| !pause.is_zero())
    }

    pub fn rate(&self) -> Option<f64> {
        self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::tests::say;

    #[test]
    fn statuses_are_read_as_the_table_of_the_standards_says() {
        for (status, expected) in [
            (0x14, "later throttled after 1"),
            (0x58, "later throttled after 1"),
            (0x64, "later after 1"),
            (0x08, "unknown"),
            (0x0a, "policy"),
            (0x0b, "invalid_address"),
            (0x45, "rejected"),
            (0x61, "rejected"),
            (0x62, "rejected"),
            (0x65, "rejected"),
            (0x66, "rejected"),
            (0x0d, "broken"),
            (0x0e, "broken"),
            (0x0f, "broken"),
            (0x05, "broken"),
            (0x400, "rejected"),
        ] {
            assert_eq!(say(outcome(status)), expected, "{status:#x}");
        }
        assert_eq!((say(of_bind(0x0e)), say(of_bind(0x05))), ("broken".into(), "unreachable".into()));
    }

    #[test]
    fn slower_is_a_pause_and_half_the_rate_and_goes_by() {
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        let mut pace = Pace::default();
        for number in 0..200 {
            pace.taken(at(number * 10));
        }
        assert_eq!((pace.pause(at(2_000)), pace.rate()), (None, None));
        pace.slower(at(2_000));
        pace.slower(at(2_001));
        assert_eq!((pace.pause(at(2_000)), pace.rate()), (Some(Duration::from_secs(1)), Some(50.0)));
        assert_eq!(pace.pause(at(3_000)), None);
        pace.slower(at(3_100));
        assert_eq!((pace.pause(at(3_100)), pace.rate()), (Some(Duration::from_secs(2)), Some(25.0)));
        pace.taken(at(34_000));
        assert_eq!(pace.rate(), Some(37.5), "after half a minute it may go faster");
    }
}
