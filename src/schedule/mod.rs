//! When: one-off times, repetition in words, and cron, in a time zone (files.md §3, standards.md §8).
//!
//! Pure. Local times in a gap fall on the first valid instant after it, in an overlap on the first of the two; expressions
//! with a wildcard or step in the hour field fire on every real matching minute.

/// When a campaign runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// Once, at a local time (or an instant when written with an offset).
    At(chrono::NaiveDateTime),
}
