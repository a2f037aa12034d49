//! Once a day: what posthaste.yaml says is kept for a time only (`retention`) goes, in small pieces, while everything else goes on.
//!
//! - *events* that happened longer ago go, but never what a rule or a measure of an applied version still looks back at. What was counted of them stays
//!   counted: tallies, conversions and sums are rows of their own.
//! - *content*: after that time a message cannot be shown any more, since what its template had read is dropped. Mail that came back and webhooks that could
//!   not be read are kept no longer than that either, and never longer than 30 days.
//! - Visitors' addresses need no time: their last part is never stored (`server::visitor`).
//! - What came in too late about people erased in the last days is erased once more (`store::erasure`).
//!
//! One process does it at a time. One that dies leaves its turn to others after an hour; what it has dropped is dropped.

use super::Error;
use crate::campaigns::Definitions;
use crate::clock::Clock;
use crate::literals::Duration;
use crate::store::definitions::Loaded;
use crate::store::retention::Old;
use crate::store::{self, Store};
use crate::types::Time;
use chrono::TimeDelta;
use chrono_tz::Tz;
use std::sync::{Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

const EACH: TimeDelta = TimeDelta::hours(24);
/// How long a turn belongs to the process that took it.
const LEASE: TimeDelta = TimeDelta::hours(1);
/// Mail and webhooks that nobody could read are kept so long at most.
const UNREAD: TimeDelta = TimeDelta::days(30);
/// Webhooks that were read are remembered so long, so that they are known when they come again.
const READ: TimeDelta = TimeDelta::days(7);
/// Whoever was erased so long ago gets nothing more from writers that came too late.
const LATE: TimeDelta = TimeDelta::days(7);
/// Between two pieces others have the database.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(5);

/// What was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    pub events: u64,
    pub snapshots: u64,
}

/// Drops what is old.
pub struct Keeping {
    store: Store,
    loaded: Loaded,
    clock: Clock,
    stop: CancellationToken,
    /// Not before this time.
    due: Mutex<Option<Time>>,
}

impl Keeping {
    pub fn new(store: Store, loaded: Loaded, clock: Clock, stop: CancellationToken) -> Keeping {
        Keeping { store, loaded, clock, stop, due: Mutex::default() }
    }

    /// Does what is due; `None` when nothing is, or another process does it.
    pub async fn turn(&self) -> Result<Option<Dropped>, Error> {
        let now = self.clock.now();
        if self.due.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|due| due > now) {
            return Ok(None);
        }
        let taken = self.store.take_retention(now, now + LEASE).await?;
        let dropped = if taken { Some(self.drop_what_is_old(now).await?) } else { None };
        if taken && !self.stop.is_cancelled() {
            self.store.end_retention(now + EACH).await?;
        }
        let due = self.store.retention_due().await?;
        *self.due.lock().unwrap_or_else(PoisonError::into_inner) = due;
        Ok(dropped)
    }

    async fn drop_what_is_old(&self, now: Time) -> Result<Dropped, Error> {
        let mut dropped = Dropped::default();
        self.store.sweep_erased(now - LATE).await?;
        let Some((_, workspace)) = super::applied_workspace(&self.store).await? else { return Ok(dropped) };
        let content = workspace.retention.content.subtracted(now, workspace.zone);
        dropped.snapshots = self.drop_all(Old::Snapshots, content).await?;
        let unread = content.max(now - UNREAD);
        while self.store.forget_mail(unread).await? > 0 && !self.stop.is_cancelled() {}
        while self.store.forget_hooks(now - READ, unread).await? > 0 && !self.stop.is_cancelled() {}
        if let Some(kept) = workspace.retention.events {
            let before = self.longest_look(kept, now, workspace.zone).await?;
            dropped.events = self.drop_all(Old::Events, before).await?;
        }
        tracing::info!(events = dropped.events, snapshots = dropped.snapshots, "what was kept long enough is dropped");
        Ok(dropped)
    }

    async fn drop_all(&self, what: Old, before: Time) -> Result<u64, store::Error> {
        let (mut last, mut count) = (0, 0);
        while let Some(page) = self.store.old_after(what, last, before).await? {
            last = page.last;
            let mut old = page.old.as_slice();
            while !old.is_empty() {
                if self.stop.is_cancelled() {
                    return Ok(count);
                }
                let before = old.len();
                old = self.store.drop_old(what, old).await?;
                count += (before - old.len()) as u64;
                if !self.clock.is_virtual() {
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        Ok(count)
    }

    /// The time before which events go: as long ago as posthaste.yaml says, or as an applied version looks back, if that is longer.
    async fn longest_look(&self, kept: Duration, now: Time, zone: Tz) -> Result<Time, store::Error> {
        let mut before = kept.subtracted(now, zone);
        for row in self.store.campaigns().await? {
            let Some(version) = row.version else { continue };
            let definitions = self.loaded.definitions(version).await?;
            before = looks_back(&definitions).map(|window| window.subtracted(now, zone)).chain([before]).min().unwrap_or(before);
        }
        Ok(before)
    }
}

/// How long ago the events are that these definitions ask for.
fn looks_back(definitions: &Definitions) -> impl Iterator<Item = Duration> + '_ {
    let segments = definitions.segments.values().flat_map(|segment| segment.condition.windows());
    let campaigns = definitions.campaigns.values().flat_map(|campaign| {
        let audience = campaign.audience.condition.iter().chain(&campaign.audience.except).flat_map(|condition| condition.windows());
        let measures = campaign.goal.iter().chain(&campaign.measures).map(|measure| measure.within);
        audience.chain(measures).collect::<Vec<_>>()
    });
    segments.chain(campaigns)
}
