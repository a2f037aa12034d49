//! What accepts messages from us: one trait, one file a provider.
//!
//! A provider turns one [`Outgoing`] into one [`Outcome`] and keeps nothing. Whether it may be asked (rate, retry, ledger) is
//! `dispatch`'s business: the hand-over mark is durable **before** [`Provider::send`] is called.

use crate::types::{Channel, MessageId};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// One message, ready to leave.
#[derive(Debug, Clone)]
pub struct Outgoing {
    pub message: MessageId,
    pub body: Body,
    /// The same for every attempt of a message: idempotency key, client reference.
    pub key: String,
}

/// What leaves, by channel.
#[derive(Debug, Clone)]
pub enum Body {
    /// A complete MIME message (CRLF line ends, signed, not dot-stuffed) with its envelope.
    Email { from: String, to: String, mime: Vec<u8> },
    /// `sender` as the identity gives it for the country; `parts` as counted from `text`.
    Sms { sender: String, to: String, text: String, parts: u16 },
}

impl Body {
    pub fn channel(&self) -> Channel {
        match self {
            Body::Email { .. } => Channel::Email,
            Body::Sms { .. } => Channel::Sms,
        }
    }
}

/// What the provider said (standards.md §1.8 and §3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Taken. `id` is the provider's own, if it gives one.
    Accepted { id: Option<String>, reply: String },
    /// Certainly not taken; the same message may be tried again, not before `after` if that is given.
    Later { after: Option<Duration>, throttled: bool, reply: String },
    /// Refused for this message or person, for good.
    Refused { class: crate::types::Failure, suppress: bool, reply: String },
    /// This provider cannot send at all (wrong key, no credit): stop it, tell someone, keep the queue.
    Broken { reply: String },
    /// It may have been taken: no complete answer came after the body left.
    Unknown { reply: String },
}

pub type Sending<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// A way out. Implementations bound their own connections and never panic.
pub trait Provider: Send + Sync {
    /// The name in posthaste.yaml.
    fn name(&self) -> &str;
    fn channel(&self) -> Channel;
    /// How many sends may be under way at once (SMTP: connections).
    fn width(&self) -> usize;
    fn send<'a>(&'a self, outgoing: &'a Outgoing) -> Sending<'a>;
}
