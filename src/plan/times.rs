//! When each person's message of a run is due: at the occurrence, or at its local time in the own zone (files.md §3).
//!
//! Worked out once for each zone of a run, not for each person.

use super::due::Occurrence;
use crate::campaigns::{IfPast, Schedule};
use crate::literals::zone_of;
use crate::schedule::resolve;
use crate::types::Time;
use chrono::{Days, NaiveDateTime};
use chrono_tz::Tz;
use std::collections::HashMap;

/// The times of one run.
#[derive(Debug, Clone)]
pub struct Times<'a> {
    schedule: &'a Schedule,
    occurrence: Occurrence,
    /// When the run starts: who is past the local time then, is.
    starts: Time,
    known: HashMap<Tz, When>,
}

/// One person's time, and the zone that it was reckoned in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct When {
    pub due: Time,
    pub zone: Tz,
    /// The local time has passed, and the campaign says `if_past: skip`.
    pub past: bool,
}

impl<'a> Times<'a> {
    pub fn new(schedule: &'a Schedule, occurrence: Occurrence, starts: Time) -> Self {
        Times { schedule, occurrence, starts, known: HashMap::new() }
    }

    /// For a customer with this zone, country and phone.
    pub fn of(&mut self, zone: Option<&str>, country: Option<&str>, phone: Option<&str>) -> When {
        if !self.occurrence.recipient {
            return When { due: self.occurrence.at, zone: self.schedule.zone, past: false };
        }
        let zone = zone_of(zone, country, phone).unwrap_or(self.schedule.zone);
        *self.known.entry(zone).or_insert_with(|| in_zone(zone, self.occurrence.wall, self.starts, self.schedule.if_past))
    }
}

fn in_zone(zone: Tz, wall: NaiveDateTime, starts: Time, if_past: IfPast) -> When {
    let due = resolve(zone, wall);
    let when = |due, past| When { due, zone, past };
    match if_past {
        _ if due >= starts => when(due, false),
        IfPast::Skip => when(due, true),
        IfPast::Now => when(starts, false),
        IfPast::NextDay => {
            let next = |wall: &NaiveDateTime| wall.checked_add_days(Days::new(1));
            let later = std::iter::successors(next(&wall), next).map(|wall| resolve(zone, wall)).find(|due| *due >= starts);
            when(later.unwrap_or(starts), false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_past_the_local_time_is_left_out_or_gets_it_now_or_the_next_day() {
        let instant = |text: &str| text.parse::<Time>().unwrap();
        let wall = "2027-03-01T10:00:00".parse().unwrap();
        let starts = instant("2027-03-01T08:30:00Z");
        let cases = [
            ("America/New_York", IfPast::Skip, "2027-03-01T15:00:00Z", false),
            ("Europe/Kyiv", IfPast::Skip, "2027-03-01T08:00:00Z", true),
            ("Europe/Kyiv", IfPast::Now, "2027-03-01T08:30:00Z", false),
            ("Europe/Kyiv", IfPast::NextDay, "2027-03-02T08:00:00Z", false),
            ("America/New_York", IfPast::NextDay, "2027-03-01T15:00:00Z", false),
        ];
        for (zone, if_past, due, past) in cases {
            let zone: Tz = zone.parse().unwrap();
            assert_eq!(in_zone(zone, wall, starts, if_past), When { due: instant(due), zone, past }, "{zone} {if_past:?}");
        }
        // A run that starts days late finds the first of the days to come.
        let late = in_zone(Tz::Europe__Kyiv, wall, instant("2027-03-04T08:00:01Z"), IfPast::NextDay);
        assert_eq!(late.due, instant("2027-03-05T08:00:00Z"));
    }
}
