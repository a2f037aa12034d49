//! One connection and the dialogue of one message over it.

use super::hello::{self, Offers};
use super::replies::{Replies, Reply};
use super::settings::{Settings, Timeouts};
use super::wire::{Failed, Wire};
use crate::providers::Outcome;
use crate::providers::email::Address;
use crate::providers::email::reply::classify;
use crate::types::Failure;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::future::Future;
use std::io::{self, IoSlice};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};

/// Whom the server is told; no sender is the null sender.
pub struct Envelope {
    pub from: Option<Address>,
    pub to: Address,
}

/// How the dialogue of one message ended.
#[derive(Debug)]
pub enum Dialogue {
    /// The server answered.
    Complete { outcome: Outcome, reusable: bool },
    /// The server closes (421) before the body was offered.
    Closing { code: u16, text: String },
    /// No answer, and no byte of the body had left.
    LostBefore { why: String },
    /// The body left, and no complete answer came.
    LostAfter { why: String },
}

/// An open connection that has said EHLO and, where needed, has logged in.
pub struct Connection {
    wire: Wire,
    replies: Replies,
    offers: Offers,
    sent: u32,
    limit: u32,
    pub(super) parked: Instant,
}

/// A negative reply, or none.
enum Trouble {
    Said(Reply),
    Lost(String),
}

impl Connection {
    pub async fn open(settings: &Settings) -> Result<Connection, Failed> {
        let limit = settings.timeouts.connect;
        let late = || Failed::Network { host: settings.host.clone(), port: settings.port, source: io::ErrorKind::TimedOut.into() };
        timeout(limit, Connection::opened(settings)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn opened(settings: &Settings) -> Result<Connection, Failed> {
        let (wire, offers) = hello::say(settings, Wire::open(settings).await?).await?;
        Ok(Connection { wire, replies: Replies::default(), offers, sent: 0, limit: settings.messages, parked: Instant::now() })
    }

    /// Hands one message over. The caller parks the connection again only after `Complete { reusable: true }`.
    pub async fn hand_over(&mut self, envelope: &Envelope, mime: &[u8], timeouts: &Timeouts) -> Dialogue {
        let is_ascii = mime.is_ascii();
        if let Some(refused) = self.unfit(envelope, mime, is_ascii) {
            return Dialogue::Complete { outcome: refused, reusable: true };
        }
        self.sent += 1;
        let mail = self.mail(envelope, mime.len(), is_ascii);
        match within(timeouts.command, self.announce(mail, envelope)).await {
            Ok(()) => match within(timeouts.body, self.body(mime)).await {
                Ok(reply) => {
                    let reply = whole(reply.code, reply.text);
                    Dialogue::Complete { outcome: Outcome::Accepted { id: queue_id(&reply), reply }, reusable: self.may_go_on() }
                }
                Err(Trouble::Lost(why)) => Dialogue::LostAfter { why },
                Err(Trouble::Said(reply)) => {
                    Dialogue::Complete { reusable: reply.code != 421 && self.may_go_on(), outcome: refusal(reply) }
                }
            },
            Err(Trouble::Lost(why)) => Dialogue::LostBefore { why },
            Err(Trouble::Said(Reply { code: 421, text })) => Dialogue::Closing { code: 421, text: shortened(text) },
            Err(Trouble::Said(reply)) => {
                let outcome = refusal(reply);
                // Nothing of this message may stick to the next one.
                let reset = within(timeouts.command, self.asked(b"RSET\r\n")).await.is_ok();
                Dialogue::Complete { outcome, reusable: reset && self.may_go_on() }
            }
        }
    }

    fn may_go_on(&self) -> bool {
        self.sent < self.limit
    }

    /// What this server cannot take, before anything is said.
    fn unfit(&self, envelope: &Envelope, mime: &[u8], is_ascii: bool) -> Option<Outcome> {
        let refused = |class, reply: String| Some(Outcome::Refused { class, suppress: false, reply });
        if let Some(limit) = self.offers.size.filter(|limit| mime.len() > *limit) {
            return refused(Failure::TooLarge, format!("5.3.4 the message has {} octets and the relay takes {limit}", mime.len()));
        }
        let utf8 = envelope.to.needs_utf8() || envelope.from.as_ref().is_some_and(Address::needs_utf8);
        if utf8 && !self.offers.utf8 {
            return refused(Failure::Rejected, "5.6.7 the relay takes no addresses beyond ASCII (SMTPUTF8)".to_string());
        }
        if !is_ascii && !self.offers.eight_bit {
            return refused(Failure::Content, "5.6.3 the message is not 7-bit, and the relay takes nothing else (8BITMIME)".to_string());
        }
        None
    }

    /// MAIL, RCPT and DATA: in one write where the server allows it. `Ok` means that it waits for the body.
    async fn announce(&mut self, mail: String, envelope: &Envelope) -> Result<(), Trouble> {
        let mut commands = mail;
        if !self.offers.pipelining {
            self.asked(commands.as_bytes()).await?;
            self.asked(format!("RCPT TO:<{}>\r\n", envelope.to.as_str()).as_bytes()).await?;
            self.say(b"DATA\r\n").await?;
            let data = self.heard().await?;
            return go_ahead(data);
        }
        let _ = write!(commands, "RCPT TO:<{}>\r\nDATA\r\n", envelope.to.as_str());
        self.say(commands.as_bytes()).await?;
        // Each reply is read, whatever the one before says: the next message's replies must not be taken for these.
        let mail = self.heard().await?;
        if mail.code == 421 {
            return Err(Trouble::Said(mail));
        }
        let rcpt = self.heard().await?;
        if rcpt.code == 421 {
            return Err(Trouble::Said(rcpt));
        }
        let data = self.heard().await?;
        match positive(mail).and_then(|_| positive(rcpt)) {
            Ok(_) => go_ahead(data),
            Err(refused) => {
                if data.code == 354 {
                    // It waits for a body although nobody gets it: the lone dot ends that (standards.md §1.7).
                    self.say(b".\r\n").await?;
                    self.heard().await?;
                }
                Err(refused)
            }
        }
    }

    fn mail(&self, envelope: &Envelope, length: usize, is_ascii: bool) -> String {
        let mut line = format!("MAIL FROM:<{}>", envelope.from.as_ref().map_or("", Address::as_str));
        if self.offers.sized {
            let _ = write!(line, " SIZE={length}");
        }
        let utf8 = envelope.to.needs_utf8() || envelope.from.as_ref().is_some_and(Address::needs_utf8);
        if !is_ascii || utf8 && self.offers.eight_bit {
            line.push_str(" BODY=8BITMIME");
        }
        if utf8 {
            line.push_str(" SMTPUTF8");
        }
        line.push_str("\r\n");
        line
    }

    /// The point of no return: body and final dot in one write.
    async fn body(&mut self, mime: &[u8]) -> Result<Reply, Trouble> {
        let body = stuffed(mime);
        let end: &[u8] = if body.is_empty() || body.ends_with(b"\r\n") { b".\r\n" } else { b"\r\n.\r\n" };
        self.wire_all(&body, end).await.map_err(lost)?;
        let reply = self.heard().await?;
        match reply.code {
            200..=299 | 400.. => positive(reply),
            code => Err(Trouble::Lost(whole(code, format!("is an answer to a message that cannot be: {}", reply.text)))),
        }
    }

    async fn wire_all(&mut self, body: &[u8], end: &[u8]) -> io::Result<()> {
        let mut both = [IoSlice::new(body), IoSlice::new(end)];
        let mut left = &mut both[..];
        while !left.is_empty() {
            match self.wire.write_vectored(left).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => IoSlice::advance_slices(&mut left, written),
            }
        }
        self.wire.flush().await
    }

    async fn say(&mut self, commands: &[u8]) -> Result<(), Trouble> {
        self.wire.write_all(commands).await.map_err(lost)?;
        self.wire.flush().await.map_err(lost)
    }

    async fn heard(&mut self) -> Result<Reply, Trouble> {
        self.replies.next(&mut self.wire).await.map_err(lost)
    }

    /// One command and its reply, which must be positive.
    async fn asked(&mut self, command: &[u8]) -> Result<Reply, Trouble> {
        self.say(command).await?;
        positive(self.heard().await?)
    }

    /// Says QUIT and closes, in the background: nobody waits for a goodbye.
    pub fn retire(mut self) {
        tokio::spawn(async move {
            let _ = timeout(Duration::from_secs(5), self.asked(b"QUIT\r\n")).await;
        });
    }
}

async fn within<T>(limit: Duration, dialogue: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    let late = || Err(Trouble::Lost(format!("no answer within {} s", limit.as_secs_f64())));
    timeout(limit, dialogue).await.unwrap_or_else(|_| late())
}

fn positive(reply: Reply) -> Result<Reply, Trouble> {
    if reply.is_positive() { Ok(reply) } else { Err(Trouble::Said(reply)) }
}

fn go_ahead(reply: Reply) -> Result<(), Trouble> {
    match reply.code {
        354 => Ok(()),
        400.. => Err(Trouble::Said(reply)),
        code => Err(Trouble::Lost(format!("DATA was answered with {}", whole(code, reply.text)))),
    }
}

fn lost(error: io::Error) -> Trouble {
    Trouble::Lost(shortened(format!("the connection broke: {error}")))
}

fn refusal(reply: Reply) -> Outcome {
    let Reply { code, text } = reply;
    let text = shortened(text);
    classify(code, &text).outcome(code, whole(code, text))
}

fn whole(code: u16, text: String) -> String {
    shortened(format!("{code} {text}"))
}

/// At most 1 KiB of a reply is kept (standards.md §1.8).
fn shortened(mut text: String) -> String {
    if text.len() > 1024 {
        text.truncate(text.floor_char_boundary(1024));
    }
    text
}

/// The relay's own number of the message, where it says one: Postfix's `queued as 4F2B…`, others' `id=…`.
fn queue_id(reply: &str) -> Option<String> {
    let after = reply.split_once("queued as ").or_else(|| reply.split_once("id="))?.1;
    let id: String = after.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@')).take(128).collect();
    (!id.is_empty()).then_some(id)
}

/// A message with a dot before each line that begins with one (RFC 5321 §4.5.2). What we make has no such line.
fn stuffed(message: &[u8]) -> Cow<'_, [u8]> {
    let next = |rest: &[u8]| memchr::memmem::find(rest, b"\n.");
    if !message.starts_with(b".") && next(message).is_none() {
        return Cow::Borrowed(message);
    }
    let mut out = Vec::with_capacity(message.len() + 64);
    let mut rest = message;
    if rest.starts_with(b".") {
        out.push(b'.');
    }
    while let Some(at) = next(rest) {
        let (line, after) = rest.split_at(at + 1);
        out.extend_from_slice(line);
        out.push(b'.');
        rest = after;
    }
    out.extend_from_slice(rest);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_at_the_start_of_a_line_is_doubled() {
        for (message, expected) in [
            ("", ""),
            ("a.\r\n", "a.\r\n"),
            (".", ".."),
            (".\r\n", "..\r\n"),
            ("..\r\n.\r\n", "...\r\n..\r\n"),
            ("a\r\n.b\r\n.", "a\r\n..b\r\n.."),
        ] {
            assert_eq!(stuffed(message.as_bytes()), expected.as_bytes(), "{message:?}");
        }
    }

    #[test]
    fn the_relays_own_number_is_found() {
        assert_eq!(queue_id("250 2.0.0 Ok: queued as 4F2B9C1"), Some("4F2B9C1".to_string()));
        assert_eq!(queue_id("250 OK id=1sTxYz-0004Ab-2Q"), Some("1sTxYz-0004Ab-2Q".to_string()));
        assert_eq!(queue_id("250 2.0.0 Ok"), None);
    }
}
