//! Parked connections, their number, and the pause after a relay could not be reached.

use super::connection::Connection;
use super::settings::Settings;
use crate::providers::Outcome;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// The first pause after a failed connect; it doubles up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

pub struct Pool {
    settings: Settings,
    state: Mutex<State>,
    /// Connections that are open or being opened for a message.
    permits: Semaphore,
}

#[derive(Default)]
struct State {
    parked: Vec<Connection>,
    /// Nobody connects before; and how long the last pause was.
    pause: Option<(Instant, Duration)>,
}

/// A connection that counts among the pool's while it is held.
pub struct Leased<'a> {
    pub connection: Connection,
    _permit: SemaphorePermit<'a>,
}

impl std::ops::Deref for Leased<'_> {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl std::ops::DerefMut for Leased<'_> {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

impl Leased<'_> {
    /// Says goodbye; the place is free for another connection at once.
    pub fn retire(self) {
        self.connection.retire();
    }
}

impl Pool {
    pub fn new(settings: Settings) -> Pool {
        let permits = Semaphore::new(settings.connections);
        Pool { settings, state: Mutex::default(), permits }
    }

    /// A connection, and whether it is fresh; or what to tell about the message that nothing was done for. Parked ones are taken
    /// only with `parked`.
    pub async fn lease(&self, parked: bool) -> Result<(Leased<'_>, bool), Outcome> {
        // The semaphore is never closed; were it, the message would simply wait for its next turn.
        let Ok(permit) = self.permits.acquire().await else {
            return Err(Outcome::Unreachable { after: None, reply: "the provider is closed".to_string() });
        };
        if parked && let Some(connection) = self.unpark() {
            return Ok((Leased { connection, _permit: permit }, false));
        }
        if let Some((until, _)) = self.state().pause
            && let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
        {
            let reply = format!("{} could not be reached a moment ago", self.settings.host);
            return Err(Outcome::Unreachable { after: Some(left), reply });
        }
        match Connection::open(&self.settings).await {
            Ok(connection) => {
                self.state().pause = None;
                Ok((Leased { connection, _permit: permit }, true))
            }
            Err(failed) => Err(self.paused(failed.outcome())),
        }
    }

    /// Takes a connection back after a complete dialogue.
    pub fn park(&self, leased: Leased<'_>) {
        let mut connection = leased.connection;
        connection.parked = Instant::now();
        self.state().parked.push(connection);
    }

    /// The one that was used last, if the server may still hold it open.
    fn unpark(&self) -> Option<Connection> {
        let mut state = self.state();
        let connection = state.parked.pop()?;
        match connection.parked.elapsed() < self.settings.timeouts.idle {
            true => Some(connection),
            false => {
                // All others were parked before it.
                let old = std::mem::take(&mut state.parked);
                drop(state);
                old.into_iter().chain([connection]).for_each(Connection::retire);
                None
            }
        }
    }

    /// Many messages may fail together: only the first of them lengthens the pause.
    fn paused(&self, outcome: Outcome) -> Outcome {
        let now = Instant::now();
        let mut state = self.state();
        if state.pause.is_none_or(|(until, _)| until <= now)
            && let Outcome::Later { reply, .. } | Outcome::Away { reply, .. } | Outcome::Unreachable { reply, .. } = &outcome
        {
            let reply = crate::providers::masked(reply, None);
            tracing::warn!(host = self.settings.host, %reply, "no connection: messages wait, and are tried again");
        }
        let (until, length) = match state.pause {
            Some((until, length)) if until > now => (until, length),
            Some((_, length)) => (now + (length * 2).min(LONGEST_PAUSE), (length * 2).min(LONGEST_PAUSE)),
            None => (now + PAUSE, PAUSE),
        };
        state.pause = Some((until, length));
        match outcome {
            Outcome::Later { after: None, throttled, reply } => Outcome::Later { after: Some(until - now), throttled, reply },
            Outcome::Away { after: None, reply } => Outcome::Away { after: Some(until - now), reply },
            Outcome::Unreachable { after: None, reply } => Outcome::Unreachable { after: Some(until - now), reply },
            other => other,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
