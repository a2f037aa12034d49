//! What time it is. No other module asks the machine.
//!
//! A clock is real, or real but started at another instant (`--now`), or virtual: it stands until it is moved, as in
//! `posthaste test` and `simulate`.

use crate::types::Time;
use chrono::{TimeDelta, Utc};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// A source of the present instant; cheap to clone, all clones show the same time.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    /// The machine's clock, shifted by so many microseconds. One that was started at another instant is not corrected.
    Real { shift: AtomicI64, is_set: bool },
    /// Microseconds since 1970; moves only when told.
    Virtual(AtomicI64),
}

impl Clock {
    /// The machine's clock.
    pub fn real() -> Self {
        Clock(Arc::new(Kind::Real { shift: AtomicI64::new(0), is_set: false }))
    }

    /// A clock that shows `start` now and goes on at real speed.
    pub fn starting_at(start: Time) -> Self {
        let shift = start.timestamp_micros() - Utc::now().timestamp_micros();
        Clock(Arc::new(Kind::Real { shift: AtomicI64::new(shift), is_set: true }))
    }

    /// A clock that stands at `start` until it is moved.
    pub fn standing_at(start: Time) -> Self {
        Clock(Arc::new(Kind::Virtual(AtomicI64::new(start.timestamp_micros()))))
    }

    /// The present instant, to the microsecond.
    pub fn now(&self) -> Time {
        let micros = match &*self.0 {
            Kind::Real { shift, .. } => Utc::now().timestamp_micros() + shift.load(Ordering::SeqCst),
            Kind::Virtual(micros) => micros.load(Ordering::SeqCst),
        };
        Time::from_timestamp_micros(micros).unwrap_or(Time::MAX_UTC)
    }

    /// Takes another clock's time for right: `theirs` was its time between `asked` and `answered` of this one, in microseconds since 1970. Machines that share
    /// a database go by its clock, so that they mean the same instant by the same number. Gives by how much this clock was moved.
    pub fn correct(&self, theirs: i64, asked: i64, answered: i64) -> i64 {
        match &*self.0 {
            Kind::Real { shift, is_set: false } => {
                let difference = theirs - (asked + (answered - asked) / 2);
                // Half of the way there and back is not known: less than that is no difference.
                if difference.abs() <= (answered - asked) / 2 {
                    return 0;
                }
                shift.fetch_add(difference, Ordering::SeqCst);
                difference
            }
            _ => 0,
        }
    }

    /// Moves a virtual clock forward to `instant`; a real clock and an instant in the past change nothing.
    pub fn advance_to(&self, instant: Time) {
        if let Kind::Virtual(micros) = &*self.0 {
            micros.fetch_max(instant.timestamp_micros(), Ordering::SeqCst);
        }
    }

    /// True when time passes only by `advance_to`.
    pub fn is_virtual(&self) -> bool {
        matches!(&*self.0, Kind::Virtual(_))
    }

    /// How long to wait in real time until `instant`; zero when it has come, or when the clock is virtual.
    pub fn until(&self, instant: Time) -> std::time::Duration {
        if self.is_virtual() {
            return std::time::Duration::ZERO;
        }
        (instant - self.now()).max(TimeDelta::zero()).to_std().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_virtual_clock_stands_and_never_goes_back() {
        let start = "2027-03-01T10:00:00Z".parse::<Time>().unwrap();
        let clock = Clock::standing_at(start);
        assert_eq!(clock.now(), start);
        clock.advance_to(start + TimeDelta::hours(1));
        clock.advance_to(start);
        assert_eq!(clock.now(), start + TimeDelta::hours(1));
    }
    #[test]
    fn a_clock_goes_by_the_servers_and_one_that_was_set_does_not() {
        let clock = Clock::real();
        let now = clock.now().timestamp_micros();
        assert_eq!(clock.correct(now + 3_000_000, now, now + 2_000), 2_999_000);
        assert!((clock.now().timestamp_micros() - now - 2_999_000) < 1_000_000);
        assert_eq!(clock.correct(now + 500, now, now + 2_000), 0, "less than the way there and back says nothing");
        let set = Clock::starting_at("2027-03-01T10:00:00Z".parse().unwrap());
        assert_eq!(set.correct(now, 0, 0), 0);
    }
}
