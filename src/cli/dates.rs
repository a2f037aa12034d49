//! The coming dates of a campaign, as `plan` and `campaigns show` say them.

use crate::campaigns::Schedule;
use crate::plan::Occurrence;
use crate::types::Time;
use serde::Serialize;

/// How many are shown.
const DATES: usize = 10;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NextDate {
    /// As the wall shows it: in the schedule's zone, or in each person's own.
    pub local: String,
    /// With `zone: recipient`, for those whose zone is not known.
    pub at: Time,
    /// With `zone: recipient`: each at that time of the own zone.
    pub recipient: bool,
    pub note: Option<String>,
}

impl NextDate {
    pub fn line(&self) -> String {
        let note = self.note.as_ref().map_or(String::new(), |note| format!("  {note}"));
        match self.recipient {
            true => format!("{} in each person's zone{note}", self.local),
            false => format!("{}  ({} UTC){note}", self.local, self.at.format("%d %b %H:%M")),
        }
    }
}

/// The next ones after `now`, with notes on what clock changes and blackouts do to them.
pub fn next(schedule: &Schedule, now: Time) -> Vec<NextDate> {
    let first = Occurrence::next(schedule, now);
    let all = std::iter::successors(first, |last| Occurrence::next(schedule, last.at));
    all.take(DATES).map(|occurrence| date(schedule, occurrence)).collect()
}

fn date(schedule: &Schedule, occurrence: Occurrence) -> NextDate {
    let local = match occurrence.recipient {
        true => occurrence.wall.format("%a %-d %b %Y %H:%M").to_string(),
        false => occurrence.at.with_timezone(&schedule.zone).format("%a %-d %b %Y %H:%M %Z").to_string(),
    };
    NextDate { local, at: occurrence.at, recipient: occurrence.recipient, note: occurrence.note.map(|note| note.to_string()) }
}
