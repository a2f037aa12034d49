//! What accepts messages from us: one trait, one file a provider.
//!
//! A provider turns one [`Outgoing`] into one [`Outcome`] and keeps nothing. Whether it may be asked (rate, retry, ledger) is
//! `dispatch`'s business: the hand-over mark is durable **before** [`Provider::send`] is called.

pub mod choice;
pub mod email;
mod http;
pub mod inbox;
mod look;
mod masked;
pub mod settings;
pub mod sms;
pub mod tls;
pub mod webhook;

pub use look::{Found, Look, LookState, Looking, Searching, Sought};
pub use masked::masked;

use crate::campaigns::is_kind;
use crate::campaigns::model::ProviderSettings;
use crate::types::{Channel, MessageId};
use settings::{Error, Keys, Resolve};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
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
    /// `sender` as the identity gives it for the country; `parts` as counted from `text`; `lasts`: how much longer it may be delivered.
    Sms { sender: String, to: String, text: String, parts: u16, lasts: Option<Duration> },
    /// For a system; `to` is the customer's external id, else a number of ours.
    Webhook { to: String, json: String },
}

impl Outgoing {
    /// So much longer it may be delivered, for providers that can be told so: what waits there for a phone that is off must not arrive late.
    pub fn lasts(&mut self, left: Duration) {
        if let Body::Sms { lasts, .. } = &mut self.body {
            *lasts = Some(left);
        }
    }

    /// What a provider hands back with everything that it tells of this message, as custom argument, tag or metadata under the name
    /// [`REFERENCE`]: the message's number and the first half of its key, which only we can say of it.
    pub fn reference(&self) -> String {
        format!("{}-{}", self.message, self.key.get(..16).unwrap_or(&self.key))
    }
}

/// The name under which providers keep [`Outgoing::reference`].
pub const REFERENCE: &str = "posthaste_message";

impl Body {
    /// What a provider of `channel` says to a message of another one.
    fn strange(&self, channel: Channel) -> Outcome {
        let reply = format!("this provider sends {channel}, and this is {}", self.channel());
        Outcome::Refused { class: crate::types::Failure::Protocol, suppress: false, reply }
    }

    pub fn channel(&self) -> Channel {
        match self {
            Body::Email { .. } => Channel::Email,
            Body::Sms { .. } => Channel::Sms,
            Body::Webhook { .. } => Channel::Webhook,
        }
    }
}

/// What the provider said (standards.md §1.8 and §3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Taken. `id` is the provider's own, if it gives one; of a text that went in parts those of all of them, with blanks between.
    Accepted { id: Option<String>, reply: String },
    /// Certainly not taken; the same message may be tried again, not before `after` if that is given.
    Later { after: Option<Duration>, throttled: bool, reply: String },
    /// Certainly not taken, because the provider takes nothing at all now: as `Later`, and its circuit breaker counts it as absent.
    Away { after: Option<Duration>, reply: String },
    /// Nobody was there to be asked: no connection came about, and nothing was said of this message. The try does not count.
    Unreachable { after: Option<Duration>, reply: String },
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
    /// True for one that only remembers what it was given: nothing leaves, so nothing needs to be marked before.
    fn only_records(&self) -> bool {
        false
    }
    /// How long it wants to be left alone, as it said itself; nothing is marked for it until then.
    fn pause(&self) -> Option<Duration> {
        None
    }
    /// Messages a second that it said it takes from us.
    fn rate(&self) -> Option<f64> {
        None
    }
    /// From now on, hands in what the provider tells over the line on which it takes messages, whether something is sent or not. To be called inside a runtime.
    fn listen(&self, _inbox: Arc<dyn inbox::Inbox>) {}
    /// Asks it what sends nothing, to see whether it would take our messages.
    fn look(&self) -> Looking<'_> {
        Box::pin(std::future::ready(Look::fine("it has no login".to_string())))
    }
    /// Asks whether it has taken a message whose answer nobody heard.
    fn search<'a>(&'a self, _sought: &'a Sought) -> Searching<'a> {
        Box::pin(std::future::ready(Found::CannotBeAsked))
    }
}

/// Where the built-in catcher listens unless it is told otherwise; also what a provider of kind `catcher` looks for.
pub const CATCHER_SMTP: &str = "127.0.0.1:2525";
pub const CATCHER_HTTP: &str = "127.0.0.1:8025";

/// Opens the provider `name` as posthaste.yaml describes it. Nothing is sent yet and no connection made: a relay that is away shows
/// when the first message leaves. `resolve` replaces `${NAME}`.
pub fn open(name: &str, settings: &ProviderSettings, resolve: Resolve<'_>) -> Result<Arc<dyn Provider>, Error> {
    let keys = Keys::new(name, &settings.settings, resolve);
    let provider: Arc<dyn Provider> = match (settings.kind.as_str(), settings.channel) {
        ("smtp", Channel::Email) => Arc::new(email::smtp::Smtp::new(name, email::smtp::Settings::read(&keys)?)),
        ("ses", Channel::Email) => email::ses::open(name, &keys)?,
        ("sendgrid", Channel::Email) => email::sendgrid::open(name, &keys)?,
        ("mailgun", Channel::Email) => email::mailgun::open(name, &keys)?,
        ("postmark", Channel::Email) => email::postmark::open(name, &keys)?,
        ("sparkpost", Channel::Email) => email::sparkpost::open(name, &keys)?,
        ("brevo", Channel::Email) => email::brevo::open(name, &keys)?,
        ("catcher", Channel::Email) => {
            let address = keys.text("address")?.unwrap_or_else(|| CATCHER_SMTP.to_string());
            let (host, port) = address
                .rsplit_once(':')
                .and_then(|(host, port)| Some((host, port.parse().ok()?)))
                .ok_or_else(|| keys.wrong("address", "must be HOST:PORT, where the catcher takes mail"))?;
            let connections = keys.number("connections", 10, 1, 1000)? as usize;
            let plain = email::smtp::Settings { connections, ..email::smtp::Settings::plain(host.trim_matches(['[', ']']), port) };
            Arc::new(email::smtp::Smtp::new(name, plain))
        }
        ("twilio", Channel::Sms) => sms::twilio::open(name, &keys)?,
        ("vonage", Channel::Sms) => sms::vonage::open(name, &keys)?,
        ("messagebird", Channel::Sms) => sms::messagebird::open(name, &keys)?,
        ("bird", Channel::Sms) => sms::bird::open(name, &keys)?,
        ("plivo", Channel::Sms) => sms::plivo::open(name, &keys)?,
        ("smsc", Channel::Sms) => sms::smsc::open(name, &keys)?,
        ("smsru", Channel::Sms) => sms::smsru::open(name, &keys)?,
        ("turbosms", Channel::Sms) => sms::turbosms::open(name, &keys)?,
        ("smpp", Channel::Sms) => sms::smpp::open(name, &keys)?,
        ("webhook", Channel::Webhook) => webhook::open(name, &keys)?,
        ("http", Channel::Sms) => sms::http::open(name, &keys)?,
        ("catcher", Channel::Sms) => {
            let address = keys.text("address")?.unwrap_or_else(|| CATCHER_HTTP.to_string());
            let connections = keys.number("connections", 10, 1, 1000)? as usize;
            sms::twilio::catcher(name, &address, connections)?
        }
        (kind, channel) => {
            let why = match is_kind(kind) {
                true => format!("kind `{kind}` cannot send {channel}"),
                false => format!("kind `{kind}` is not built yet"),
            };
            return Err(Error::Other { provider: name.to_string(), why });
        }
    };
    keys.done()?;
    Ok(provider)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// Reads settings as a provider does; a key that nobody reads is an error.
    pub fn keys<T>(values: Value, read: impl FnOnce(&Keys<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let Value::Object(values) = values else { unreachable!("settings are an object") };
        let resolve = |text: &str| Ok(text.to_string());
        let keys = Keys::new("p", &values, &resolve);
        let made = read(&keys)?;
        keys.done()?;
        Ok(made)
    }

    /// An outcome in a few words.
    pub fn say(outcome: Outcome) -> String {
        match outcome {
            Outcome::Accepted { id, .. } => format!("accepted {}", id.unwrap_or_default()).trim().to_string(),
            Outcome::Later { after, throttled, .. } => {
                let after = after.map(|after| format!(" after {}", after.as_secs())).unwrap_or_default();
                format!("later{}{after}", if throttled { " throttled" } else { "" })
            }
            Outcome::Away { .. } => "away".to_string(),
            Outcome::Unreachable { .. } => "unreachable".to_string(),
            Outcome::Refused { class, suppress, .. } => format!("{class}{}", if suppress { " suppress" } else { "" }),
            Outcome::Broken { .. } => "broken".to_string(),
            Outcome::Unknown { .. } => "unknown".to_string(),
        }
    }
}
