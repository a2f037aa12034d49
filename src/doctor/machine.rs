//! The machine itself: database, clock, disk.

use super::Finding;
use crate::clock::Clock;
use crate::store::Store;
use chrono::TimeDelta;
use std::path::Path;

/// A clock that is further off is wrong: signatures of requests are refused, and messages leave at another minute than was written.
pub(super) const FAR: TimeDelta = TimeDelta::seconds(30);
const MEBIBYTE: u64 = 1 << 20;
/// Less free space is too little for anything.
const LEAST: u64 = 1024 * MEBIBYTE;

/// Whether it answers, and whose clock is right.
pub async fn database(store: &Store, clock: &Clock) -> Vec<Finding> {
    let asked = clock.now();
    match store.server_clock().await {
        Err(error) => vec![Finding::wrong("database", error.to_string(), "see that it runs and takes connections from this machine")],
        Ok(None) => vec![Finding::fine("database", "SQLite answers")],
        Ok(Some(theirs)) => {
            let answered = clock.now();
            let middle = asked + (answered - asked) / 2;
            let offset = TimeDelta::microseconds(theirs - middle.timestamp_micros());
            vec![
                Finding::fine("database", format!("PostgreSQL answers in {} ms", (answered - asked).num_milliseconds())),
                offset_of("clock, by the database", offset),
            ]
        }
    }
}

/// `offset` is by how much the other clock is ahead of ours.
pub(super) fn offset_of(about: impl Into<String>, offset: TimeDelta) -> Finding {
    let seconds = offset.num_milliseconds().unsigned_abs() as f64 / 1000.0;
    let way = if offset < TimeDelta::zero() { "ahead of" } else { "behind" };
    match offset.abs() > FAR {
        true => Finding::wrong(
            about,
            format!("this machine's clock is {seconds:.0} seconds {way} it"),
            "let the machine keep its clock by NTP (`timedatectl set-ntp true`)",
        ),
        false => Finding::fine(about, "this machine's clock agrees"),
    }
}

/// Whether there is room where this machine keeps its files.
pub fn disk(folder: &Path) -> Finding {
    match rustix::fs::statvfs(folder) {
        Ok(found) => space(found.f_bavail.saturating_mul(found.f_frsize), found.f_blocks.saturating_mul(found.f_frsize)),
        Err(error) => Finding::silent("disk", format!("{}: {error}", folder.display()), "see that the folder can be read"),
    }
}

/// What so many free bytes of all mean.
pub fn space(free: u64, all: u64) -> Finding {
    let share = if all == 0 { 0.0 } else { free as f64 / all as f64 * 100.0 };
    let says = format!("{} MB are free ({share:.0}%)", free / MEBIBYTE);
    if free < LEAST {
        Finding::wrong(
            "disk",
            says,
            "make room: a full disk stops everything, and what people answer is lost when neither database nor journal can write",
        )
    } else if share < 10.0 {
        Finding::note("disk", says, "make room soon")
    } else {
        Finding::fine("disk", says)
    }
}
