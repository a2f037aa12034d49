//! SMTP relays: connections of our own, each message's dialogue bounded by time.
//!
//! lettre says EHLO and logs in (`hello`). Its pool and its sockets are not used: the sockets keep Nagle's algorithm on (40 ms a message), and the pool takes
//! back a connection whose dialogue was cut off, so that later replies belong to earlier messages. Nor is its dialogue: it copies each message, and
//! a tenth of all processor time went there. Here a connection goes back only when it is parked, after a complete dialogue; a dropped one closes.
//!
//! What failed before a byte of the body left is `Later`; after that, without a complete answer, it is `Unknown` (design.md §6).

mod connection;
mod hello;
mod pool;
mod replies;
mod settings;
mod wire;

pub use settings::{Security, Settings, Timeouts};

use crate::providers::email::Address;
use crate::providers::email::reply::classify;
use crate::providers::{Body, Look, Looking, Outcome, Outgoing, Provider, Sending};
use crate::types::{Channel, Failure};
use connection::{Dialogue, Envelope};
use pool::Pool;

/// A relay, with its connections.
pub struct Smtp {
    name: String,
    settings: Settings,
    pool: Pool,
}

impl Smtp {
    pub fn new(name: &str, settings: Settings) -> Smtp {
        let pool = Pool::new(settings.clone());
        Smtp { name: name.to_string(), settings, pool }
    }

    async fn deliver(&self, from: &str, to: &str, mime: &[u8]) -> Outcome {
        let envelope = match Envelope::read(from, to) {
            Ok(envelope) => envelope,
            Err(error) => return Outcome::Refused { class: Failure::UnsafeValue, suppress: false, reply: error.to_string() },
        };
        // A parked connection may have been closed by the server meanwhile: that shows before the body, and one fresh connection is tried.
        let mut may_be_stale = true;
        loop {
            let lease = match self.pool.lease(may_be_stale).await {
                Ok(lease) => lease,
                Err(outcome) => return outcome,
            };
            let (mut connection, fresh) = lease;
            match connection.hand_over(&envelope, mime, &self.settings.timeouts).await {
                Dialogue::Complete { outcome, reusable } => {
                    if reusable {
                        self.pool.park(connection);
                    } else {
                        connection.retire();
                    }
                    return outcome;
                }
                Dialogue::Closing { .. } | Dialogue::LostBefore { .. } if !fresh && may_be_stale => may_be_stale = false,
                Dialogue::Closing { code, text } => return classify(code, &text).outcome(code, format!("{code} {text}")),
                Dialogue::LostBefore { why } => return Outcome::Later { after: None, throttled: false, reply: why },
                Dialogue::LostAfter { why } => return Outcome::Unknown { reply: why },
            }
        }
    }
}

impl Provider for Smtp {
    fn name(&self) -> &str {
        &self.name
    }
    fn channel(&self) -> Channel {
        Channel::Email
    }
    fn width(&self) -> usize {
        self.settings.connections
    }
    fn send<'a>(&'a self, outgoing: &'a Outgoing) -> Sending<'a> {
        Box::pin(async move {
            match &outgoing.body {
                Body::Email { from, to, mime } => self.deliver(from, to, mime).await,
                other => other.strange(Channel::Email),
            }
        })
    }
    fn look(&self) -> Looking<'_> {
        Box::pin(self.greet())
    }
}

impl Smtp {
    /// Greets and logs in over a connection of its own.
    async fn greet(&self) -> Look {
        match self.pool.lease(false).await {
            Ok((connection, _)) => {
                connection.retire();
                let login = if self.settings.login.is_some() { " and takes our login" } else { "" };
                Look::fine(format!("{}:{} answers{login}", self.settings.host, self.settings.port))
            }
            Err(Outcome::Broken { reply } | Outcome::Refused { reply, .. }) => Look::wrong(reply),
            Err(Outcome::Unreachable { reply, .. } | Outcome::Later { reply, .. } | Outcome::Away { reply, .. }) => Look::silent(reply),
            Err(Outcome::Unknown { reply } | Outcome::Accepted { reply, .. }) => Look::silent(reply),
        }
    }
}

impl Envelope {
    /// An empty `from` is the null sender `<>`.
    fn read(from: &str, to: &str) -> Result<Envelope, crate::providers::email::address::UnsafeValue> {
        let from = match from {
            "" => None,
            from => Some(Address::read("the sender's address", from)?),
        };
        Ok(Envelope { from, to: Address::read("the customer's address", to)? })
    }
}
