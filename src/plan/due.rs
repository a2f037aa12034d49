//! Which occurrences of a schedule are due, and which were missed (files.md §3, `if_missed`).

use crate::campaigns::{MissedRun, Schedule};
use crate::schedule::{Note, local_time, resolve};
use crate::store::missed::MissedRow;
use crate::store::runs::Run;
use crate::types::Time;
use chrono::{NaiveDateTime, TimeDelta};
use chrono_tz::Tz;

/// What `if_missed: skip` still takes as on time.
pub const GRACE: TimeDelta = TimeDelta::minutes(5);
/// How long before the local time of the schedule's own zone a run in each person's zone is planned: between the first zone (UTC+14) and the
/// last (UTC−12) lie 26 hours, so nobody's time has passed by then, whatever that zone is.
pub const LEAD: TimeDelta = TimeDelta::hours(26);
/// Of those that are too old no more are gone through one by one: a clock of every minute that stood for a year is no reason to stand still.
pub const MOST_MISSED: i64 = 10_000;

/// One time of a schedule: what a run is made for, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occurrence {
    /// With `zone: recipient`, of the schedule's own zone: only what is missed is counted from it.
    pub at: Time,
    /// What the wall shows then; with `zone: recipient`, in each person's zone.
    pub wall: NaiveDateTime,
    pub recipient: bool,
    pub note: Option<Note>,
}

impl Occurrence {
    /// The first one after `after`.
    pub fn next(schedule: &Schedule, after: Time) -> Option<Occurrence> {
        if !schedule.recipient {
            let found = schedule.rule.after(after, schedule.zone, &schedule.bounds)?;
            return Some(Occurrence { at: found.instant, wall: found.local, recipient: false, note: found.note });
        }
        let mut wall = local_time(schedule.zone, after);
        loop {
            // In UTC every local time comes once: what is left is the wall's calendar.
            let found = schedule.rule.after(wall.and_utc(), Tz::UTC, &schedule.bounds)?;
            wall = found.local;
            let at = resolve(schedule.zone, wall);
            if at > after {
                return Some(Occurrence { at, wall, recipient: true, note: found.note });
            }
        }
    }

    /// The one that a run was made for.
    pub fn of(run: &Run, schedule: &Schedule) -> Occurrence {
        match NaiveDateTime::parse_from_str(&run.occurrence, WALL) {
            Ok(wall) if schedule.recipient => Occurrence { at: run.due_at, wall, recipient: true, note: None },
            _ => Occurrence { at: run.due_at, wall: local_time(schedule.zone, run.due_at), recipient: false, note: None },
        }
    }

    /// As of now, for what would be if a run were planned now.
    pub fn now(schedule: &Schedule, now: Time) -> Occurrence {
        Occurrence { at: now, wall: local_time(schedule.zone, now), recipient: schedule.recipient, note: None }
    }

    /// When its run is planned.
    pub fn begins(self) -> Time {
        if self.recipient { self.at - LEAD } else { self.at }
    }

    /// How it is named in `runs`: the instant in UTC, or the local wall time.
    pub fn name(self) -> String {
        if self.recipient { self.wall.format(WALL).to_string() } else { self.at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true) }
    }
}

const WALL: &str = "%Y-%m-%dT%H:%M:%S";

/// The answer to "what is due now".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Oldest first.
    pub occurrences: Vec<Occurrence>,
    /// What went by and is not run, oldest first.
    pub missed: Vec<MissedRow>,
    /// Everything up to here has been looked at.
    pub looked_until: Time,
    /// When the next one begins, after now.
    pub next: Option<Time>,
}

/// Looks at the occurrences after `since` that have begun: of several that were missed, `once` keeps the latest, `all` keeps each, `skip` what is
/// not older than five minutes; nothing older than `within`.
pub fn look(schedule: &Schedule, since: Time, now: Time) -> Due {
    let within = schedule.missed.within.subtracted(now, schedule.zone);
    let oldest = if schedule.missed.run == MissedRun::Skip { within.max(now - GRACE) } else { within };
    let mut gone_by = GoneBy { missed: Vec::new(), now };
    let mut after =
        gone_by.walk(schedule, since, within, || format!("it was later than `if_missed: {{ within: {} }}` allows", schedule.missed.within));
    after = gone_by.walk(schedule, after, oldest, || "`if_missed: { run: skip }` runs nothing that was missed".into());
    let mut occurrences: Vec<Occurrence> = Vec::new();
    let next = loop {
        match Occurrence::next(schedule, after) {
            Some(occurrence) if occurrence.begins() <= now => {
                after = occurrence.at;
                if schedule.missed.run != MissedRun::All && occurrence.at <= now {
                    for earlier in occurrences.drain(..) {
                        gone_by.add(earlier, "`if_missed: { run: once }` runs only the latest of what was missed".into());
                    }
                }
                occurrences.push(occurrence);
            }
            later => break later.map(Occurrence::begins),
        }
    };
    // Where nothing fell due, nothing is written.
    let looked_until = occurrences.last().map(|last| last.at).max(gone_by.missed.last().map(|last| last.last_at)).unwrap_or(since);
    Due { occurrences, missed: gone_by.missed, looked_until, next }
}

/// Collects what is not run.
struct GoneBy {
    missed: Vec<MissedRow>,
    now: Time,
}

impl GoneBy {
    /// Adds what lies after `since` and before `end`; gives the time after which to look on.
    fn walk(&mut self, schedule: &Schedule, since: Time, end: Time, why: impl Fn() -> String) -> Time {
        let (mut after, mut left) = (since, MOST_MISSED);
        while let Some(occurrence) = Occurrence::next(schedule, after).filter(|occurrence| occurrence.at < end) {
            if left == 0 {
                return end - TimeDelta::microseconds(1);
            }
            self.add(occurrence, why());
            (after, left) = (occurrence.at, left - 1);
        }
        after
    }

    fn add(&mut self, occurrence: Occurrence, why: String) {
        match self.missed.last_mut() {
            Some(last) if last.why == why => {
                (last.last_at, last.last) = (occurrence.at, occurrence.name());
                last.occurrences += 1;
            }
            _ => self.missed.push(MissedRow {
                first_at: occurrence.at,
                last_at: occurrence.at,
                first: occurrence.name(),
                last: occurrence.name(),
                occurrences: 1,
                why,
                noticed_at: self.now,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaigns::{IfPast, Missed, Overlap};
    use crate::literals::Duration;
    use crate::schedule::{Bounds, Rule};

    /// Days of March 2027 at ten, in UTC.
    fn ten(day: u32) -> Time {
        format!("2027-03-{day:02}T10:00:00Z").parse().unwrap()
    }

    fn daily(run: MissedRun, within: &str) -> Schedule {
        Schedule {
            rule: Rule::read_every("day at 10:00").unwrap(),
            when: None,
            own_day: None,
            zone: chrono_tz::UTC,
            recipient: false,
            bounds: Bounds::default(),
            windows: Vec::new(),
            spread: None,
            missed: Missed { run, within: Duration::read(within).unwrap() },
            if_past: IfPast::Skip,
            skips_unchanged: false,
            overlap: Overlap::Forbid,
        }
    }

    fn at(due: &Due) -> Vec<Time> {
        due.occurrences.iter().map(|occurrence| occurrence.at).collect()
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
            assert_eq!((at(&due), due.next), (expected, Some(ten(6))), "{run:?} within {within}");
        }
    }

    #[test]
    fn what_is_not_run_is_told_with_its_reason_once() {
        use MissedRun::*;
        let now = ten(5) + TimeDelta::hours(1);
        let told = |due: &Due| -> Vec<(Time, Time, i64, bool, bool)> {
            let row = |one: &MissedRow| (one.first_at, one.last_at, one.occurrences, one.why.contains("within"), one.why.contains("skip"));
            due.missed.iter().map(row).collect()
        };
        for (run, within, expected) in [
            (Once, "1 day", vec![(ten(2), ten(4), 3, true, false)]),
            (Once, "30 minutes", vec![(ten(2), ten(5), 4, true, false)]),
            (Once, "10 days", vec![(ten(2), ten(4), 3, false, false)]),
            (All, "2 days", vec![(ten(2), ten(3), 2, true, false)]),
            (All, "10 days", vec![]),
            (Skip, "2 days", vec![(ten(2), ten(3), 2, true, false), (ten(4), ten(5), 2, false, true)]),
        ] {
            let schedule = daily(run, within);
            let due = look(&schedule, ten(1), now);
            assert_eq!((told(&due), due.looked_until), (expected, ten(5)), "{run:?} within {within}");
            let again = look(&schedule, due.looked_until, now + TimeDelta::minutes(1));
            assert_eq!((at(&again), told(&again)), (vec![], vec![]), "{run:?} within {within}");
        }
    }

    #[test]
    fn a_clock_of_every_minute_that_stood_for_a_year_is_looked_at_in_bounds() {
        let schedule = Schedule { rule: Rule::read_every("1 minute").unwrap(), ..daily(MissedRun::Once, "1 day") };
        let due = look(&schedule, ten(5) - TimeDelta::days(365), ten(5));
        assert_eq!(due.missed[0].occurrences, MOST_MISSED);
        assert_eq!((at(&due), due.looked_until), (vec![ten(5)], ten(5)));
    }

    #[test]
    fn what_is_on_time_runs_whatever_the_file_says_of_missed_ones() {
        for run in [MissedRun::Once, MissedRun::Skip, MissedRun::All] {
            let due = look(&daily(run, "1 day"), ten(4), ten(5));
            assert_eq!((at(&due), due.looked_until), (vec![ten(5)], ten(5)));
        }
    }

    #[test]
    fn where_nothing_is_due_nothing_is_looked_past() {
        let due = look(&daily(MissedRun::Once, "1 day"), ten(5), ten(5) + TimeDelta::hours(3));
        assert_eq!(due, Due { occurrences: vec![], missed: vec![], looked_until: ten(5), next: Some(ten(6)) });
    }

    #[test]
    fn a_run_in_each_persons_zone_begins_before_the_first_zone_has_its_time() {
        let schedule = Schedule { recipient: true, zone: chrono_tz::Europe::Kyiv, ..daily(MissedRun::Once, "1 day") };
        // Ten in Kyiv is eight in UTC; the run of the 6th begins at six on the 5th.
        let eight = |day| ten(day) - TimeDelta::hours(2);
        let before = look(&schedule, eight(5), eight(6) - LEAD - TimeDelta::seconds(1));
        assert_eq!((at(&before), before.next), (vec![], Some(eight(6) - LEAD)));
        let begun = look(&schedule, eight(5), eight(6) - LEAD);
        assert_eq!((at(&begun), begun.looked_until, begun.next), (vec![eight(6)], eight(6), Some(eight(7) - LEAD)));
        assert_eq!(begun.occurrences[0].name(), "2027-03-06T10:00:00");
        // Ten on Kiritimati, the first zone of all.
        assert!(begun.occurrences[0].begins() < resolve(chrono_tz::Pacific::Kiritimati, begun.occurrences[0].wall));
        // Of what was missed the latest; what has only begun is not missed.
        let late = look(&schedule, eight(2), eight(5) + TimeDelta::hours(1));
        assert_eq!(at(&late), [eight(5), eight(6)]);
    }
}
