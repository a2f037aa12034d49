//! Turns the stages: plan, then dispatch, until nothing is due; sleeps until the next is, or until another process changes something.
//!
//! One code for the real clock (`posthaste run`), for `--until-idle`, and for a virtual clock (campaign tests, simulation), where the caller moves the clock
//! to what [`Engine::turn`] gives. Told to stop it takes no new work, lets what flies land, and gives the rest back.

pub mod expectations;
pub mod trials;
mod applying;
mod outlets;

pub use applying::applying;
pub use outlets::{Opened, open};

use crate::campaigns::Workspace;
use crate::clock::Clock;
use crate::dispatch::{self, Dispatcher, Lease, Outlets};
use crate::plan::{self, Planner};
use crate::store::definitions::Loaded;
use crate::store::nodes::EngineLock;
use crate::store::{self, Store};
use crate::types::{NodeId, Time, VersionId};
use chrono::TimeDelta;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How long a process counts as alive after it last said so.
const LEASE: TimeDelta = TimeDelta::seconds(10);
/// How often other processes' changes are looked for.
const LOOK: Duration = Duration::from_millis(100);
const LOOK_POSTGRES: Duration = Duration::from_millis(500);
/// Longest sleep without looking at all.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// Makes what sends from the workspace's file; called at the start and whenever another one is applied.
pub type Open = Arc<dyn Fn(&Workspace) -> Outlets + Send + Sync>;

/// Why the engine cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Plan(#[from] plan::Error),
    #[error("nothing was applied yet: run `posthaste apply` first")]
    NothingApplied,
    #[error("the other machines gave this process up, since it did not renew its lease; start it again")]
    GivenUp,
}

impl Error {
    /// The database is away or busy; the same may work later.
    fn is_temporary(&self) -> bool {
        match self {
            Error::Store(error) | Error::Plan(plan::Error::Store(error)) => error.is_temporary(),
            _ => false,
        }
    }
}

/// What an engine is made of.
#[derive(Clone)]
pub struct Parts {
    pub store: Store,
    pub clock: Clock,
    pub open: Open,
    /// Campaign → external id → arm, for campaigns' tests.
    pub arms: BTreeMap<String, BTreeMap<String, String>>,
    pub stop: CancellationToken,
}

/// One process's engine.
pub struct Engine {
    store: Store,
    clock: Clock,
    loaded: Loaded,
    open: Open,
    planner: Planner,
    dispatcher: Dispatcher,
    node: NodeId,
    lease: Lease,
    stop: CancellationToken,
    workspace: Mutex<Option<VersionId>>,
    failed: Mutex<Vec<String>>,
    changed: Arc<Notify>,
    _lock: EngineLock,
}

impl Engine {
    /// Takes its place among the processes, and settles what a dead predecessor left. On SQLite a second engine is refused.
    pub async fn start(parts: Parts) -> Result<Engine, Error> {
        let lock = parts.store.lock_engine().await?;
        let now = parts.clock.now();
        let host = host();
        let boot = format!("{host}-{}-{}", std::process::id(), now.timestamp_micros());
        forget_the_dead(&parts.store, &host).await?;
        let node = parts.store.register_node(&boot, &host, "all", now, now + LEASE).await?;
        let loaded = Loaded::new(parts.store.clone());
        let lease = Lease::forever();
        if !parts.clock.is_virtual() {
            lease.extend(now + LEASE / 2);
        }
        let (version, workspace) = applied_workspace(&parts.store).await?.ok_or(Error::NothingApplied)?;
        let dispatcher = Dispatcher::new(dispatch::Parts {
            store: parts.store.clone(),
            loaded: loaded.clone(),
            clock: parts.clock.clone(),
            node,
            lease: lease.clone(),
            outlets: (parts.open)(&workspace),
            stop: parts.stop.clone(),
        });
        let engine = Engine {
            planner: Planner::new(parts.store.clone(), loaded.clone()).with_arms(parts.arms),
            store: parts.store,
            clock: parts.clock,
            loaded,
            open: parts.open,
            dispatcher,
            node,
            lease,
            stop: parts.stop,
            workspace: Mutex::new(Some(version)),
            failed: Mutex::default(),
            changed: Arc::new(Notify::new()),
            _lock: lock,
        };
        engine.dispatcher.recover().await?;
        Ok(engine)
    }

    /// What the last turn could not schedule or plan.
    pub fn failed(&self) -> Vec<String> {
        self.failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// The versions that this engine has read.
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// Does everything that is due at the clock's instant, and says when something is due again; `None`: never.
    pub async fn turn(&self) -> Result<Option<Time>, Error> {
        loop {
            self.refresh().await?;
            let planned = self.planner.turn(self.clock.now()).await?;
            *self.failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = planned.failed.clone();
            let sent = self.dispatcher.turn().await?;
            let next = [planned.next, sent.next].into_iter().flatten().min();
            let is_idle = planned.planned.is_empty() && sent.handed_over == 0;
            if self.stop.is_cancelled() || is_idle && next.is_none_or(|next| next > self.clock.now()) {
                return Ok(next);
            }
            if is_idle && !self.clock.is_virtual() {
                // Something is due that others hold, or just fell due.
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    /// Makes the runs that are due and plans them, and hands nothing over.
    pub async fn plan(&self) -> Result<plan::Turn, Error> {
        Ok(self.planner.turn(self.clock.now()).await?)
    }

    /// Moves a virtual clock from one due instant to the next, until `end`.
    pub async fn run_through(&self, end: Time) -> Result<(), Error> {
        loop {
            match self.turn().await? {
                Some(next) if next <= end && !self.stop.is_cancelled() => self.clock.advance_to(next),
                _ => {
                    self.clock.advance_to(end);
                    return Ok(());
                }
            }
        }
    }

    /// Does all that is due now and ends, on a real clock; what is due later, a retry too, is left to the next time.
    pub async fn run_until_idle(&self) -> Result<(), Error> {
        let beat = self.beat();
        let turns = async {
            self.turn().await?;
            Ok::<_, Error>(())
        };
        let result = tokio::select! { result = turns => result, result = beat => result };
        self.end().await?;
        result
    }

    /// Runs until told to stop.
    pub async fn run(&self) -> Result<(), Error> {
        let planning = async {
            while !self.stop.is_cancelled() {
                let turn = async {
                    self.refresh().await?;
                    Ok::<_, Error>(self.planner.turn(self.clock.now()).await?)
                };
                let Some(turn) = self.unless_temporary(turn.await).await? else { continue };
                if !turn.planned.is_empty() {
                    self.changed.notify_waiters();
                }
                self.sleep_until(turn.next).await;
            }
            Ok::<_, Error>(())
        };
        let sending = async {
            while !self.stop.is_cancelled() {
                let turn = self.dispatcher.turn().await.map_err(Error::from);
                let Some(turn) = self.unless_temporary(turn).await? else { continue };
                self.sleep_until(turn.next).await;
            }
            Ok::<_, Error>(())
        };
        let working = async { tokio::try_join!(planning, sending).map(|_| ()) };
        let result = tokio::select! { result = working => result, result = self.beat() => result, result = self.watch() => result };
        self.stop.cancel();
        self.end().await?;
        result
    }

    /// While the database is away the engine waits for it.
    async fn unless_temporary<T>(&self, result: Result<T, Error>) -> Result<Option<T>, Error> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_temporary() => {
                tracing::error!(error = &error as &dyn std::error::Error, "the database is away");
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Leaves the list of processes; everything decided is written before.
    pub async fn end(&self) -> Result<(), Error> {
        self.dispatcher.flush().await;
        self.store.release_blocks_of(self.node).await?;
        Ok(self.store.remove_node(self.node).await?)
    }

    async fn sleep_until(&self, next: Option<Time>) {
        let wait = next.map_or(LONGEST_SLEEP, |next| self.clock.until(next)).min(LONGEST_SLEEP).max(Duration::from_millis(1));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = self.changed.notified() => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// Says each second that this process is alive, and takes over from those that are not. Never ends well: only with an error.
    async fn beat(&self) -> Result<(), Error> {
        let mut beats = 0_u32;
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = self.clock.now();
            match self.store.renew_node(self.node, now + LEASE).await {
                Ok(true) => self.lease.extend(now + LEASE / 2),
                Ok(false) => return Err(Error::GivenUp),
                Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "cannot renew this process's lease"),
            }
            beats = beats.wrapping_add(1);
            if matches!(self.store, Store::Postgres(_)) && beats.is_multiple_of(5) {
                let recovered = self.dispatcher.recover().await.map_err(Error::from);
                self.unless_temporary(recovered).await?;
            }
        }
    }

    /// Wakes the stages when another process has changed something.
    async fn watch(&self) -> Result<(), Error> {
        let is_sqlite = matches!(self.store, Store::Sqlite(_));
        let mut last = self.store.data_version().await?;
        loop {
            tokio::time::sleep(if is_sqlite { LOOK } else { LOOK_POSTGRES }).await;
            let version = self.store.data_version().await.map_err(Error::from);
            let Some(version) = self.unless_temporary(version).await? else { continue };
            if version != last || !is_sqlite {
                last = version;
                self.changed.notify_waiters();
            }
        }
    }

    /// Opens the providers again when another workspace file was applied.
    async fn refresh(&self) -> Result<(), Error> {
        let Some(version) = self.store.applied_workspace_id().await? else { return Ok(()) };
        if *self.workspace.lock().unwrap_or_else(std::sync::PoisonError::into_inner) == Some(version) {
            return Ok(());
        }
        if let Some((version, workspace)) = applied_workspace(&self.store).await? {
            self.dispatcher.change_outlets((self.open)(&workspace));
            *self.workspace.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(version);
        }
        Ok(())
    }
}

/// The workspace's file as it was applied last.
pub async fn applied_workspace(store: &Store) -> Result<Option<(VersionId, Workspace)>, store::Error> {
    let Some(version) = store.applied_workspace().await? else { return Ok(None) };
    let definitions = store.load_definitions(version.id).await?;
    Ok(Some((version.id, definitions.workspace)))
}

fn host() -> String {
    let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let host = host.trim();
    if host.is_empty() { "here".to_string() } else { host.to_string() }
}

/// Processes of this machine that are gone need not be waited for until their lease ends.
async fn forget_the_dead(store: &Store, host: &str) -> Result<(), store::Error> {
    for (node, boot) in store.nodes_named(host).await? {
        let process = boot.strip_prefix(host).and_then(|rest| rest.trim_start_matches('-').split('-').next()?.parse::<u32>().ok());
        // Where processes cannot be seen this way, the lease decides.
        let is_gone = std::path::Path::new("/proc/self").exists()
            && process.is_some_and(|process| process != std::process::id() && !std::path::Path::new(&format!("/proc/{process}")).exists());
        if is_gone {
            store.remove_node(node).await?;
        }
    }
    Ok(())
}
