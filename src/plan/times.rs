//! When each person's message of a run is due: at the occurrence, or at its local time in the own zone; spread over a period, and then at the
//! first window (files.md §3).
//!
//! Worked out once for each zone and part of the period, not for each person.

use super::due::Occurrence;
use crate::campaigns::{Campaign, IfPast, Schedule};
use crate::experiments::{Drawing, Purpose};
use crate::literals::zone_of;
use crate::schedule::resolve;
use crate::types::Time;
use chrono::{Days, NaiveDateTime};
use chrono_tz::Tz;
use std::collections::HashMap;

/// Into how many parts a period is cut over which messages are spread: those of a part are due together and make full blocks.
const PARTS: u32 = 240;

/// The times of one run.
#[derive(Clone)]
pub struct Times<'a> {
    schedule: &'a Schedule,
    occurrence: Occurrence,
    /// When the run starts: who is past the local time then, is.
    starts: Time,
    spread: Drawing,
    known: HashMap<(Tz, u32), When>,
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
    pub fn new(seed: &str, campaign: &'a Campaign, occurrence: Occurrence, starts: Time) -> Self {
        let spread = Drawing::new(seed, Purpose::Spread, &campaign.key, None);
        Times { schedule: &campaign.schedule, occurrence, starts, spread, known: HashMap::new() }
    }

    /// For a customer with this draw key, zone, country and phone.
    pub fn of(&mut self, draw_key: &str, zone: Option<&str>, country: Option<&str>, phone: Option<&str>) -> When {
        let zone = match self.schedule.recipient {
            true => zone_of(zone, country, phone).unwrap_or(self.schedule.zone),
            false => self.schedule.zone,
        };
        let part = match self.schedule.spread {
            // The draw as a fraction, in whole parts.
            Some(_) => ((u128::from(self.spread.draw(draw_key).0) * u128::from(PARTS)) >> 64) as u32,
            None => 0,
        };
        let (schedule, occurrence, starts) = (self.schedule, self.occurrence, self.starts);
        *self.known.entry((zone, part)).or_insert_with(|| in_zone(schedule, occurrence, starts, zone, part))
    }
}

fn in_zone(schedule: &Schedule, occurrence: Occurrence, starts: Time, zone: Tz, part: u32) -> When {
    let (due, past) =
        if occurrence.recipient { at_the_wall(zone, occurrence.wall, starts, schedule.if_past) } else { (occurrence.at, false) };
    let due = match schedule.spread {
        Some(spread) => due + (spread.added(due, zone) - due) * i32::try_from(part).unwrap_or(0) / i32::try_from(PARTS).unwrap_or(1),
        None => due,
    };
    When { due: schedule.open_from(due, zone), zone, past }
}

/// The instant of a local time, and whether it has passed for good.
fn at_the_wall(zone: Tz, wall: NaiveDateTime, starts: Time, if_past: IfPast) -> (Time, bool) {
    let due = resolve(zone, wall);
    match if_past {
        _ if due >= starts => (due, false),
        IfPast::Skip => (due, true),
        IfPast::Now => (starts, false),
        IfPast::NextDay => {
            let next = |wall: &NaiveDateTime| wall.checked_add_days(Days::new(1));
            let later = std::iter::successors(next(&wall), next).map(|wall| resolve(zone, wall)).find(|due| *due >= starts);
            (later.unwrap_or(starts), false)
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
            assert_eq!(at_the_wall(zone.parse().unwrap(), wall, starts, if_past), (instant(due), past), "{zone} {if_past:?}");
        }
        // A run that starts days late finds the first of the days to come.
        let late = at_the_wall(Tz::Europe__Kyiv, wall, instant("2027-03-04T08:00:01Z"), IfPast::NextDay);
        assert_eq!(late, (instant("2027-03-05T08:00:00Z"), false));
    }
}
