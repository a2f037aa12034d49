//! Takes mail by SMTP or LMTP, for our own addresses only.
//!
//! A mail is in the database before it is acknowledged. Sizes, recipients, commands, waiting and connections are bounded; whoever is one too
//! many is told to come again.

use super::session::Session;
use super::tls::ServerTls;
use super::ways::Ways;
use crate::clock::Clock;
use crate::store::Store;
use crate::tracking::Tokens;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Sessions at once.
const SESSIONS: usize = 200;
/// How long those under way may take to end when the process is told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// What a session may do.
#[derive(Debug, Clone)]
pub struct Settings {
    pub hello: String,
    /// LMTP: LHLO, and an answer for each recipient.
    pub lmtp: bool,
    /// Of one mail.
    pub most_bytes: usize,
    /// Of all mails that are coming in at the same time.
    pub most_together: usize,
    /// For a command, or for more of a mail.
    pub patience: Duration,
}

impl Settings {
    pub fn new(hello: &str, lmtp: bool) -> Settings {
        Settings { hello: hello.to_string(), lmtp, most_bytes: 26_214_400, most_together: 67_108_864, patience: Duration::from_secs(300) }
    }
}

/// What all sessions share; whose mail is taken changes with what is applied.
pub struct Door {
    pub store: Store,
    pub clock: Clock,
    pub tokens: Arc<Tokens>,
    pub settings: Settings,
    /// Bytes of mails that all sessions together may still hold in memory.
    pub room: Semaphore,
    ways: RwLock<Arc<Ways>>,
    tls: RwLock<Option<ServerTls>>,
}

impl Door {
    pub fn new(store: Store, clock: Clock, tokens: Arc<Tokens>, settings: Settings, ways: Ways) -> Arc<Door> {
        Arc::new(Door {
            store,
            clock,
            tokens,
            room: Semaphore::new(settings.most_together),
            settings,
            ways: RwLock::new(Arc::new(ways)),
            tls: RwLock::default(),
        })
    }

    /// What STARTTLS is answered with; without it, it is not offered.
    pub fn tls(&self) -> Option<ServerTls> {
        self.tls.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sessions from now on; a certificate is renewed like this.
    pub fn set_tls(&self, tls: Option<ServerTls>) {
        *self.tls.write().unwrap_or_else(PoisonError::into_inner) = tls;
    }

    pub fn ways(&self) -> Arc<Ways> {
        self.ways.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_ways(&self, ways: Ways) {
        *self.ways.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ways);
    }
}

/// Takes mail until told to stop; sessions under way may finish their mail.
pub async fn serve(listener: TcpListener, door: Arc<Door>, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(SESSIONS));
    let sessions = TaskTracker::new();
    loop {
        let accepted = tokio::select! { () = stop.cancelled() => break, accepted = listener.accept() => accepted };
        match (accepted, places.clone().try_acquire_owned()) {
            (Ok((stream, _)), Ok(place)) => {
                let (door, stop) = (door.clone(), stop.clone());
                sessions.spawn(async move {
                    let _ = stream.set_nodelay(true);
                    Session::new(Box::new(stream), door).run(stop).await;
                    drop(place);
                });
            }
            (Ok((stream, _)), Err(_)) => drop(sessions.spawn(turn_away(stream))),
            (Err(error), _) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a connection of the mail listener failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    sessions.close();
    let _ = tokio::time::timeout(GRACE, sessions.wait()).await;
}

async fn turn_away(mut stream: TcpStream) {
    let said = stream.write_all(b"421 4.3.2 too many connections; come again later\r\n");
    let _ = tokio::time::timeout(Duration::from_secs(5), said).await;
}
