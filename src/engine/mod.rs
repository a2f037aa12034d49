//! Turns the stages: plan, then dispatch, until nothing is due; sleeps until the next is, or until another process changes something.
//!
//! One code for the real clock (`posthaste run`), for `--until-idle`, and for a virtual clock (campaign tests, simulation), where the caller moves the clock
//! to what [`Engine::turn`] gives. Told to stop it takes no new work, lets what flies land, and gives the rest back.

pub mod erasing;
pub mod expectations;
pub mod keeping;
pub mod simulation;
pub mod trials;
mod applying;
mod passing;
mod outlets;
mod process;

pub use applying::applying;
pub use outlets::{Opened, open};

use crate::campaigns::Workspace;
use crate::clock::Clock;
use crate::dispatch::{self, Dispatcher, Lease, Outlets};
use crate::feedback::{self, Feedback};
use crate::plan::{self, Planner};
use crate::store::definitions::Loaded;
use crate::store::nodes::{EngineLock, Pulse};
use crate::store::{self, Store};
use crate::types::{NodeId, Time, VersionId};
use chrono::TimeDelta;
use keeping::Keeping;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How long a process counts as alive after it last said so.
pub const LEASE: TimeDelta = TimeDelta::seconds(10);
/// How long a renewal of the lease is waited for.
const RENEWAL: Duration = Duration::from_secs(3);
/// How often the brakes are looked at when nobody tells of a change.
const LOOK: Duration = Duration::from_millis(500);
/// How often it is asked whether the day's dropping of what is old is due.
const KEEP: Duration = Duration::from_secs(60);
/// While something is due that others hold.
const A_MOMENT: Duration = Duration::from_millis(100);
/// How often answers to words like STOP are looked for.
const ANSWERS: Duration = Duration::from_secs(1);
/// After so long something that failed on the side is tried again.
const BROKEN: Duration = Duration::from_secs(5);
/// How often, in beats of a second, the dead are looked for, and the server's clock.
const RECOVER_EACH: u32 = 5;
const CLOCK_EACH: u32 = 60;
/// Longest sleep without looking at all; shorter where news can be lost on the way.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
const LONGEST_SLEEP_POSTGRES: Duration = Duration::from_secs(5);

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
    pub roles: Roles,
    pub stop: CancellationToken,
}

/// What this process does of the engine's work; who serves the public addresses is up to the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// Makes runs and plans them.
    pub scheduler: bool,
    /// Hands messages over.
    pub sender: bool,
    /// Answers the public addresses.
    pub server: bool,
}

impl Roles {
    pub const ALL: Roles = Roles { scheduler: true, sender: true, server: true };
}

impl std::fmt::Display for Roles {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words: Vec<&str> = [("scheduler", self.scheduler), ("sender", self.sender), ("server", self.server)]
            .into_iter()
            .filter_map(|(word, is_on)| is_on.then_some(word))
            .collect();
        formatter.pad(&words.join(", "))
    }
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
    roles: Roles,
    stop: CancellationToken,
    workspace: Mutex<Option<VersionId>>,
    failed: Mutex<Vec<String>>,
    changed: Arc<Notify>,
    /// Reads what providers have told; nobody does without it.
    feedback: Option<Feedback>,
    passing: passing::Passing,
    /// Drops what is kept for a time only; nobody does without it.
    keeping: Option<Keeping>,
    _lock: EngineLock,
}

impl Engine {
    /// Takes its place among the processes, and settles what a dead predecessor left. On SQLite a second engine is refused.
    pub async fn start(parts: Parts) -> Result<Engine, Error> {
        let lock = parts.store.lock_engine().await?;
        set_clock(&parts.store, &parts.clock).await?;
        let now = parts.clock.now();
        let here = process::Here::now(now);
        for (node, boot) in parts.store.nodes_named(&here.host).await? {
            // Processes of this machine that are gone need not be waited for until their lease ends.
            if here.is_gone(&boot) {
                parts.store.remove_node(node).await?;
            }
        }
        let node = parts.store.register_node(&here.boot, &here.host, &parts.roles.to_string(), now, now + LEASE).await?;
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
            planner: Planner::new(parts.store.clone(), loaded.clone(), dispatch::count_parts(), node).with_arms(parts.arms),
            store: parts.store,
            clock: parts.clock,
            loaded,
            open: parts.open,
            dispatcher,
            node,
            lease,
            roles: parts.roles,
            stop: parts.stop,
            workspace: Mutex::new(Some(version)),
            failed: Mutex::default(),
            changed: Arc::new(Notify::new()),
            feedback: None,
            passing: passing::Passing::new(workspace),
            keeping: None,
            _lock: lock,
        };
        if engine.roles.sender {
            engine.dispatcher.recover().await?;
        }
        Ok(engine)
    }

    /// Reads also what providers have told.
    pub fn hearing(mut self, feedback: Feedback) -> Engine {
        self.feedback = Some(feedback);
        self.listen(&self.dispatcher.outlets());
        self
    }

    /// Drops also what is kept for a time only, where this process plans.
    pub fn keeping(mut self) -> Engine {
        self.keeping = Some(Keeping::new(self.store.clone(), self.loaded.clone(), self.clock.clone(), self.stop.clone()));
        self
    }

    async fn keep(&self) -> Result<(), Error> {
        match self.keeping.as_ref().filter(|_| self.roles.scheduler) {
            Some(keeping) => keeping.turn().await.map(drop),
            None => Ok(()),
        }
    }

    /// Providers that tell what became of a message over the line on which they take it are listened to, by who sends.
    fn listen(&self, outlets: &Outlets) {
        if self.feedback.is_none() || !self.roles.sender || self.clock.is_virtual() {
            return;
        }
        let line = Arc::new(feedback::Line { store: self.store.clone(), clock: self.clock.clone() });
        outlets.lanes.providers().for_each(|provider| provider.listen(line.clone()));
    }

    /// The engine's ear, where it has one and this process answers the public addresses.
    async fn hear(&self) -> Result<feedback::Turn, Error> {
        match self.feedback.as_ref().filter(|_| self.roles.server) {
            Some(feedback) => Ok(feedback.turn(self.clock.now()).await?),
            None => Ok(feedback::Turn::default()),
        }
    }

    /// Answers to words like STOP, by who sends.
    async fn answer(&self) -> Result<feedback::Turn, Error> {
        if self.feedback.is_none() || !self.roles.sender {
            return Ok(feedback::Turn::default());
        }
        let providers: Vec<_> = self.dispatcher.outlets().lanes.providers().cloned().collect();
        Ok(feedback::answers::send(&self.store, &providers, self.clock.now()).await?)
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
        self.keep().await?;
        loop {
            self.refresh().await?;
            let planned = if self.roles.scheduler { self.schedule().await? } else { plan::Turn::default() };
            *self.failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = planned.failed.clone();
            let sent = if self.roles.sender { self.dispatcher.turn().await? } else { dispatch::Turn::default() };
            let heard = self.hear().await?;
            let answered = self.answer().await?;
            let next = [planned.next, sent.next, heard.next, answered.next].into_iter().flatten().min();
            let is_idle = planned.planned.is_empty() && sent.handed_over == 0 && heard.done == 0 && answered.done == 0;
            if self.stop.is_cancelled() || is_idle && next.is_none_or(|next| next > self.clock.now()) {
                return Ok(next);
            }
            if is_idle && !self.clock.is_virtual() {
                // Something is due that others hold, or just fell due.
                tokio::time::sleep(A_MOMENT).await;
            }
        }
    }

    /// What time alone brings, then what is due to be planned.
    async fn schedule(&self) -> Result<plan::Turn, Error> {
        let kept = self.passing.turn(&self.store, self.clock.now()).await?;
        let turn = self.planner.turn(self.clock.now()).await?;
        Ok(plan::Turn { next: [turn.next, kept].into_iter().flatten().min(), ..turn })
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
            loop {
                self.turn().await?;
                // What a dead process still had on its way to the database when this one began is seen by now.
                if !self.roles.sender || self.stop.is_cancelled() || self.dispatcher.recover().await? == 0 {
                    return Ok::<_, Error>(());
                }
            }
        };
        let result = tokio::select! { result = turns => result, result = beat => result, result = self.watch() => result };
        self.end().await?;
        result
    }

    /// Runs until told to stop.
    pub async fn run(&self) -> Result<(), Error> {
        let planning = async {
            while self.roles.scheduler && !self.stop.is_cancelled() {
                let turn = async {
                    self.refresh().await?;
                    self.schedule().await
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
            while self.roles.sender && !self.stop.is_cancelled() {
                let turn = async {
                    self.refresh().await?;
                    Ok::<_, Error>(self.dispatcher.turn().await?)
                };
                let turn = turn.await;
                let Some(turn) = self.unless_temporary(turn).await? else { continue };
                self.sleep_until(turn.next).await;
            }
            Ok::<_, Error>(())
        };
        let hearing = async {
            while self.feedback.is_some() && self.roles.server && !self.stop.is_cancelled() {
                let Some(turn) = self.unless_broken(self.hear().await, "what came in cannot be read now").await else { continue };
                if turn.done == 0 {
                    self.sleep_until(turn.next).await;
                }
            }
            Ok::<_, Error>(())
        };
        let keeping = async {
            while self.keeping.is_some() && self.roles.scheduler && !self.stop.is_cancelled() {
                let kept = self.keep().await;
                self.unless_temporary(kept).await?;
                tokio::select! { () = tokio::time::sleep(KEEP) => {}, () = self.stop.cancelled() => {} }
            }
            Ok::<_, Error>(())
        };
        let answering = async {
            while self.feedback.is_some() && self.roles.sender && !self.stop.is_cancelled() {
                let Some(turn) = self.unless_broken(self.answer().await, "answers cannot be sent now").await else { continue };
                if turn.done == 0 {
                    tokio::select! { () = tokio::time::sleep(ANSWERS) => {}, () = self.stop.cancelled() => {} }
                }
            }
            Ok::<_, Error>(())
        };
        let stopped = async {
            self.stop.cancelled().await;
            Ok::<_, Error>(())
        };
        // Who has no role but to serve lives until it is told to stop.
        let working = async { tokio::try_join!(planning, sending, hearing, keeping, answering, stopped).map(|_| ()) };
        let result = tokio::select! { result = working => result, result = self.beat() => result, result = self.watch() => result };
        self.stop.cancel();
        self.end().await?;
        result
    }

    /// Whatever is wrong with what strangers tell, sending goes on.
    async fn unless_broken<T>(&self, result: Result<T, Error>, what: &'static str) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "{what}: it is tried again");
                tokio::select! { () = tokio::time::sleep(BROKEN) => {}, () = self.stop.cancelled() => {} }
                None
            }
        }
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
        self.dispatcher.land().await;
        self.store.release_blocks_of(self.node, self.clock.now()).await?;
        Ok(self.store.remove_node(self.node).await?)
    }

    async fn sleep_until(&self, next: Option<Time>) {
        let longest = self.store.pick(LONGEST_SLEEP, LONGEST_SLEEP_POSTGRES);
        let wait = next.map_or(longest, |next| self.clock.until(next)).min(longest).max(Duration::from_millis(1));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = self.changed.notified() => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// Says each second that this process is alive, and takes over from those that are not. Never ends well: only with an error.
    async fn beat(&self) -> Result<(), Error> {
        let mut beats = 0_u32;
        let mut pulse = Pulse::new(self.store.clone());
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = self.clock.now();
            match tokio::time::timeout(RENEWAL, pulse.renew(self.node, now + LEASE)).await {
                Ok(Ok(true)) => self.lease.extend(now + LEASE / 2),
                Ok(Ok(false)) => return Err(Error::GivenUp),
                Ok(Err(error)) => tracing::error!(error = &error as &dyn std::error::Error, "cannot renew this process's lease"),
                Err(_) => tracing::error!("the database does not answer: this process's lease is not renewed"),
            }
            beats = beats.wrapping_add(1);
            if self.roles.sender && beats.is_multiple_of(RECOVER_EACH) && self.lease.holds(self.clock.now()) {
                let recovered = self.dispatcher.recover().await.map_err(Error::from);
                if self.unless_temporary(recovered).await?.is_some_and(|taken| taken > 0) {
                    self.changed.notify_waiters();
                }
            }
            if beats.is_multiple_of(CLOCK_EACH) {
                let set = set_clock(&self.store, &self.clock).await.map_err(Error::from);
                self.unless_temporary(set).await?;
            }
        }
    }

    /// Wakes the stages when another process has changed something, and looks at the brakes. Never ends well: only with an error.
    async fn watch(&self) -> Result<(), Error> {
        let mut looked = tokio::time::Instant::now();
        loop {
            let news = self.store.news().await.map_err(Error::from);
            let Some(mut news) = self.unless_temporary(news).await? else { continue };
            loop {
                let changed = match news.wait(LOOK).await {
                    Ok(changed) => changed,
                    Err(error) if error.is_temporary() => break,
                    Err(error) => return Err(error.into()),
                };
                if !changed && looked.elapsed() < LOOK {
                    continue;
                }
                looked = tokio::time::Instant::now();
                if self.roles.sender {
                    let brakes = self.dispatcher.look_at_brakes().await.map_err(Error::from);
                    if self.unless_temporary(brakes).await?.is_none() {
                        break;
                    }
                }
                // What comes in over this process's own addresses changes nothing in the eyes of the database.
                let mut wakes = changed;
                if self.roles.scheduler {
                    let waiting = self.store.starts_wait().await.map_err(Error::from);
                    match self.unless_temporary(waiting).await? {
                        Some(waiting) => wakes |= waiting,
                        None => break,
                    }
                }
                if let Some(feedback) = self.feedback.as_ref().filter(|_| self.roles.server) {
                    let waiting = feedback.waits().await.map_err(Error::from);
                    match self.unless_temporary(waiting).await? {
                        Some(waiting) => wakes |= waiting,
                        None => break,
                    }
                }
                if wakes {
                    self.changed.notify_waiters();
                }
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
            let outlets = (self.open)(&workspace);
            self.listen(&outlets);
            self.dispatcher.change_outlets(outlets);
            self.passing.set(workspace);
            *self.workspace.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(version);
        }
        Ok(())
    }
}

/// The workspace's file as it was applied last.
pub async fn applied_workspace(store: &Store) -> Result<Option<(VersionId, Workspace)>, store::Error> {
    let Some(version) = store.applied_workspace().await? else { return Ok(None) };
    Ok(Some((version.id, store.load_workspace(version.id).await?)))
}

/// Machines that share a database go by its clock.
async fn set_clock(store: &Store, clock: &Clock) -> Result<(), store::Error> {
    let asked = clock.now().timestamp_micros();
    if let Some(theirs) = store.server_clock().await? {
        let moved = clock.correct(theirs, asked, clock.now().timestamp_micros());
        if moved.abs() > 1_000_000 {
            tracing::warn!(seconds = moved as f64 / 1e6, "this machine's clock differs from the database's, which is taken for right");
        }
    }
    Ok(())
}
