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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaigns::Missed;
    use crate::literals::Duration;
    use crate::schedule::Rule;

    /// Days of March 2027 at ten, in UTC.
    fn ten(day: u32) -> Time {
        format!("2027-03-{day:02}T10:00:00Z").parse().unwrap()
    }

    fn daily(run: MissedRun, within: &str) -> Schedule {
        Schedule {
            rule: Rule::read_every("day at 10:00").unwrap(),
            zone: chrono_tz::UTC,
            from: None,
            until: None,
            missed: Missed { run, within: Duration::read(within).unwrap() },
        }
    }

    #[test]
    fn what_was_missed_runs_as_the_file_says() {
        use MissedRun::*;
        // The engine last looked at the occurrence of the 1st, and looks again on the 5th at eleven.
        let now = ten(5) + TimeDelta::hours(1);
        for (run, within, expected) in [
            (Once, "1 day", vec![ten(5)]),
            (Once, "30 minutes", vec![]),
            (All, "1 day", vec![ten(5)]),
            (All, "2 days", vec![ten(4), ten(5)]),
            (All, "10 days", vec![ten(2), ten(3), ten(4), ten(5)]),
            (Skip, "10 days", vec![]),
        ] {
            let due = look(&daily(run, within), ten(1), now);
            assert_eq!((due.occurrences, due.next), (expected, Some(ten(6))), "{run:?} within {within}");
        }
    }

    #[test]
    fn what_is_on_time_runs_whatever_the_file_says_of_missed_ones() {
        for run in [MissedRun::Once, MissedRun::Skip, MissedRun::All] {
            let due = look(&daily(run, "1 day"), ten(4), ten(5));
            assert_eq!((due.occurrences, due.looked_until), (vec![ten(5)], ten(5)));
        }
    }

    #[test]
    fn where_nothing_is_due_nothing_is_looked_past() {
        let due = look(&daily(MissedRun::Once, "1 day"), ten(5), ten(5) + TimeDelta::hours(3));
        assert_eq!(due, Due { occurrences: vec![], looked_until: ten(5), next: Some(ten(6)) });
    }
}
