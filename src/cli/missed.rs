//! Occurrences that went by without a run, as `campaigns show` and `why` say them.

use crate::plan::MOST_MISSED;
use crate::reports::why::wall;
use crate::store::missed::MissedRow;
use crate::types::Time;
use chrono_tz::Tz;

/// One line: which, and why they were not run.
pub fn line(missed: &MissedRow, zone: Tz) -> String {
    let day = |occurrence: &str, at: Time| match occurrence.ends_with('Z') {
        true => wall(at, zone),
        false => format!("{} in each person's zone", occurrence.replace('T', " ")),
    };
    let (first, last) = (day(&missed.first, missed.first_at), day(&missed.last, missed.last_at));
    let which = match missed.occurrences {
        1 => first,
        count if count >= MOST_MISSED => format!("{count} times or more from {first} on"),
        count => format!("{count} times from {first} to {last}"),
    };
    format!("{which}: not run, since {} (noticed {})", missed.why, wall(missed.noticed_at, zone))
}
