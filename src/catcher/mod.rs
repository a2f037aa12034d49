//! A receiver for the demo, for tests and for trying things: takes mail over SMTP and short messages over Twilio's interface, keeps the
//! last ones in memory and shows them on a page. Nothing leaves the machine.
//!
//! It obeys the address, so that every answer of a real server can be had: the tables stand in smtp.rs for mail and in web.rs for SMS.

mod letter;
mod smtp;
mod web;

pub use letter::Letter;

use crate::clock::Clock;
use crate::types::{Channel, Time};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

/// At most so many messages are kept; all are counted.
pub const KEPT: usize = 10_000;
/// And at most so many octets of them.
const KEPT_OCTETS: usize = 64 << 20;

/// A running catcher; dropping it closes its ports.
#[derive(Debug)]
pub struct Catcher {
    smtp: SocketAddr,
    http: SocketAddr,
    inbox: Arc<Inbox>,
    _stop: DropGuard,
}

/// One message as it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// From 1, in order of arrival.
    pub number: u64,
    pub received: Time,
    pub channel: Channel,
    /// Of the envelope, or the sender of an SMS.
    pub from: String,
    pub to: String,
    /// The whole mail as sent, without dot-stuffing; the text of an SMS.
    pub raw: Vec<u8>,
}

impl Message {
    /// The mail taken apart; of an SMS its text.
    pub fn letter(&self) -> Letter {
        Letter::of(self)
    }
}

impl Catcher {
    /// Listens on both addresses (port 0 takes any free one).
    pub async fn start(smtp: SocketAddr, http: SocketAddr, clock: Clock) -> std::io::Result<Catcher> {
        let stop = CancellationToken::new();
        let inbox = Arc::new(Inbox { clock, state: Mutex::default(), arrived: Notify::new() });
        let mail = TcpListener::bind(smtp).await?;
        let web = TcpListener::bind(http).await?;
        let (smtp, http) = (mail.local_addr()?, web.local_addr()?);
        tokio::spawn(stop.clone().run_until_cancelled_owned(smtp::serve(mail, inbox.clone(), stop.clone())));
        tokio::spawn(stop.clone().run_until_cancelled_owned(web::serve(web, inbox.clone())));
        Ok(Catcher { smtp, http, inbox, _stop: stop.drop_guard() })
    }

    /// On free ports of this machine, for tests.
    pub async fn anywhere(clock: Clock) -> std::io::Result<Catcher> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Catcher::start(any, any, clock).await
    }

    pub fn smtp(&self) -> SocketAddr {
        self.smtp
    }
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// What is kept, oldest first.
    pub fn messages(&self) -> Vec<Arc<Message>> {
        self.inbox.state().messages.iter().cloned().collect()
    }

    /// How many came in since the start.
    pub fn count(&self) -> u64 {
        self.inbox.state().count
    }

    /// Waits until `count` messages have come in since the start.
    pub async fn wait_for(&self, count: u64) {
        loop {
            let arrived = self.inbox.arrived.notified();
            tokio::pin!(arrived);
            // Registered before looking, so that nothing that arrives in between is missed.
            arrived.as_mut().enable();
            if self.count() >= count {
                return;
            }
            arrived.await;
        }
    }
}

#[derive(Debug)]
struct Inbox {
    clock: Clock,
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    messages: VecDeque<Arc<Message>>,
    octets: usize,
    count: u64,
}

impl Inbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a message and returns its number.
    fn keep(&self, channel: Channel, from: String, to: String, raw: Vec<u8>) -> u64 {
        let received = self.clock.now();
        let mut state = self.state();
        state.count += 1;
        let number = state.count;
        state.octets += raw.len();
        state.messages.push_back(Arc::new(Message { number, received, channel, from, to, raw }));
        while state.messages.len() > KEPT || state.octets > KEPT_OCTETS && state.messages.len() > 1 {
            let Some(oldest) = state.messages.pop_front() else { break };
            state.octets -= oldest.raw.len();
        }
        drop(state);
        self.arrived.notify_waiters();
        number
    }

    fn find(&self, number: u64) -> Option<Arc<Message>> {
        let state = self.state();
        let first = state.messages.front()?.number;
        state.messages.get(usize::try_from(number.checked_sub(first)?).ok()?).cloned()
    }

    fn clear(&self) {
        let mut state = self.state();
        state.messages.clear();
        state.octets = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_messages_are_kept_and_all_are_counted() {
        let inbox = Inbox { clock: Clock::standing_at(Time::UNIX_EPOCH), state: Mutex::default(), arrived: Notify::new() };
        for _ in 0..KEPT + 5 {
            inbox.keep(Channel::Sms, String::new(), String::new(), Vec::new());
        }
        // One look at a time: a second one inside the same expression would wait for the first for ever.
        assert_eq!(inbox.state().messages.len(), KEPT);
        assert_eq!(inbox.state().count, KEPT as u64 + 5);
        assert_eq!((inbox.find(5), inbox.find(6).map(|message| message.number)), (None, Some(6)));
        for _ in 0..70 {
            inbox.keep(Channel::Email, String::new(), String::new(), vec![b'x'; 1 << 20]);
        }
        assert_eq!(inbox.state().messages.len(), 64);
        assert_eq!(inbox.state().octets, KEPT_OCTETS);
    }
}
