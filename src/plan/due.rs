//! Which occurrences of a schedule are due, and which were missed (files.md §3, `if_missed`).

use crate::campaigns::{MissedRun, Schedule};
use crate::types::Time;
use chrono::TimeDelta;

/// What `if_missed: skip` still takes as on time.
const GRACE: TimeDelta = TimeDelta::minutes(5);

/// The answer to "what is due now".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Oldest first.
    pub occurrences: Vec<Time>,
    /// Everything up to here has been looked at.
    pub looked_until: Time,
    /// The next occurrence after now.
    pub next: Option<Time>,
}

/// Looks at the occurrences in (`since`, `now`]: of several that were missed, `once` keeps the latest, `all` keeps each, `skip` what is not older than
/// five minutes; nothing older than `within`.
pub fn look(schedule: &Schedule, since: Time, now: Time) -> Due {
    let oldest = schedule.missed.within.subtracted(now, schedule.zone);
    let oldest = if schedule.missed.run == MissedRun::Skip { oldest.max(now - GRACE) } else { oldest };
    let mut occurrences = Vec::new();
    // Occurrences that are too old need not be walked through one by one.
    let mut after = since.max(oldest - TimeDelta::microseconds(1));
    let next = loop {
        match schedule.rule.after(after, schedule.zone, schedule.from, schedule.until) {
            Some(occurrence) if occurrence.instant <= now => {
                after = occurrence.instant;
                if schedule.missed.run != MissedRun::All {
                    occurrences.clear();
                }
                occurrences.push(occurrence.instant);
            }
            later => break later.map(|occurrence| occurrence.instant),
        }
    };
    // Where nothing fell due, nothing is written.
    let looked_until = occurrences.last().copied().unwrap_or(since);
    Due { occurrences, looked_until, next }
}

/// How an occurrence is named in `runs`: its instant in UTC.
pub fn name(instant: Time) -> String {
    instant.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}
