//! One connection and the dialogue of one message over it.

use super::settings::{Settings, Timeouts};
use super::wire::{Failed, Wire};
use crate::providers::Outcome;
use crate::providers::email::Address;
use crate::providers::email::reply::classify;
use crate::types::Failure;
use lettre::transport::smtp::Error as LettreError;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Ehlo, Rset};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::Response;
use std::error::Error as _;
use std::fmt::Write as _;
use std::future::Future;
use std::time::Duration;
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
    inner: AsyncSmtpConnection,
    offers: Offers,
    sent: u32,
    limit: u32,
    pub(super) parked: Instant,
}

/// What the server's EHLO offers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Offers {
    pipelining: bool,
    eight_bit: bool,
    utf8: bool,
    /// Octets; `None`: no limit was named.
    size: Option<usize>,
    /// SIZE is understood at MAIL FROM.
    sized: bool,
}

/// A negative reply, or none.
enum Trouble {
    Said { code: u16, text: String },
    Lost(String),
}

impl Connection {
    pub async fn open(settings: &Settings) -> Result<Connection, Failed> {
        let limit = settings.timeouts.connect;
        let late = || Failed::Network { host: settings.host.clone(), port: settings.port, source: std::io::ErrorKind::TimedOut.into() };
        timeout(limit, Connection::opened(settings)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn opened(settings: &Settings) -> Result<Connection, Failed> {
        let failed = |error: LettreError| match trouble(error) {
            Trouble::Said { code, text } => Failed::Said { code, text },
            Trouble::Lost(why) => Failed::Network { host: settings.host.clone(), port: settings.port, source: std::io::Error::other(why) },
        };
        let hello = ClientId::Domain(settings.hello.clone());
        let wire = Wire::open(settings).await?;
        let mut inner = AsyncSmtpConnection::connect_with_transport(Box::new(wire), &hello).await.map_err(failed)?;
        // lettre keeps of EHLO only what it uses itself; PIPELINING and SIZE are not in that, so it is asked once more.
        let offers = Offers::read(&inner.command(Ehlo::new(hello)).await.map_err(failed)?);
        if let Some((user, password)) = &settings.login {
            let known = [Mechanism::Plain, Mechanism::Login];
            if inner.server_info().get_auth_mechanism(&known).is_none() {
                return Err(Failed::Broken(format!("{} offers no login by PLAIN or LOGIN", settings.host)));
            }
            let credentials = Credentials::new(user.clone(), password.clone());
            inner.auth(&known, &credentials).await.map_err(|error| match failed(error) {
                Failed::Said { code, text } if code >= 500 => Failed::Broken(format!("{} refused the login: {code} {text}", settings.host)),
                other => other,
            })?;
        }
        Ok(Connection { inner, offers, sent: 0, limit: settings.messages, parked: Instant::now() })
    }

    /// Hands one message over. The caller parks the connection again only after `Complete { reusable: true }`.
    pub async fn hand_over(&mut self, envelope: &Envelope, mime: &[u8], timeouts: &Timeouts) -> Dialogue {
        let is_ascii = mime.is_ascii();
        if let Some(refused) = self.unfit(envelope, mime, is_ascii) {
            return Dialogue::Complete { outcome: refused, reusable: true };
        }
        self.sent += 1;
        match self.announce(&self.mail(envelope, mime.len(), is_ascii), envelope, timeouts.command).await {
            Ok(()) => self.body(mime, timeouts.body).await,
            Err(Trouble::Lost(why)) => Dialogue::LostBefore { why },
            Err(Trouble::Said { code: 421, text }) => Dialogue::Closing { code: 421, text },
            Err(Trouble::Said { code, text }) => {
                let outcome = classify(code, &text).outcome(code, format!("{code} {text}"));
                // Nothing of this message may stick to the next one.
                let reset = answered(timeouts.command, self.inner.command(Rset)).await.is_ok();
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
    async fn announce(&mut self, mail: &str, envelope: &Envelope, limit: Duration) -> Result<(), Trouble> {
        let rcpt = format!("RCPT TO:<{}>\r\n", envelope.to.as_str());
        if !self.offers.pipelining {
            answered(limit, self.inner.command(mail)).await?;
            answered(limit, self.inner.command(rcpt)).await?;
            let data = answered(limit, self.inner.command("DATA\r\n")).await?;
            return go_ahead(&data);
        }
        // Each reply is read, whatever the one before says: the next message's replies must not be taken for these.
        let mail = answered(limit, self.inner.command(format!("{mail}{rcpt}DATA\r\n"))).await;
        if let Err(Trouble::Lost(why)) = mail {
            return Err(Trouble::Lost(why));
        }
        if let Err(Trouble::Said { code: 421, .. }) = mail {
            return mail.map(|_| ());
        }
        let rcpt = answered(limit, self.inner.read_response()).await;
        if let Err(Trouble::Lost(why)) = rcpt {
            return Err(Trouble::Lost(why));
        }
        if let Err(Trouble::Said { code: 421, .. }) = rcpt {
            return rcpt.map(|_| ());
        }
        let data = answered(limit, self.inner.read_response()).await;
        match (mail.and(rcpt), data) {
            (Ok(_), Ok(data)) => go_ahead(&data),
            (Ok(_), Err(trouble)) => Err(trouble),
            (Err(refused), Ok(data)) if data.has_code(354) => {
                // It waits for a body although nobody gets it: the lone dot ends that (standards.md §1.7).
                match answered(limit, self.inner.command(".\r\n")).await {
                    Err(Trouble::Lost(why)) => Err(Trouble::Lost(why)),
                    _ => Err(refused),
                }
            }
            (Err(_), Err(Trouble::Lost(why))) => Err(Trouble::Lost(why)),
            (Err(refused), _) => Err(refused),
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
    async fn body(&mut self, mime: &[u8], limit: Duration) -> Dialogue {
        let sent = match std::str::from_utf8(mime) {
            Ok(text) => answered(limit, self.inner.command(stuffed(text))).await,
            // Never made here; a message from elsewhere goes through lettre's own encoder, in two writes.
            Err(_) => answered(limit, self.inner.message(mime)).await,
        };
        match sent {
            Ok(response) if u16::from(response.code()) / 100 == 2 => {
                let reply = joined(&response);
                Dialogue::Complete { outcome: Outcome::Accepted { id: queue_id(&reply), reply }, reusable: self.may_go_on() }
            }
            Ok(response) => Dialogue::LostAfter { why: format!("an answer that cannot be: {}", joined(&response)) },
            Err(Trouble::Lost(why)) => Dialogue::LostAfter { why },
            Err(Trouble::Said { code, text }) => {
                let outcome = classify(code, &text).outcome(code, format!("{code} {text}"));
                Dialogue::Complete { outcome, reusable: code != 421 && self.may_go_on() }
            }
        }
    }

    /// Says QUIT and closes, in the background: nobody waits for a goodbye.
    pub fn retire(self) {
        let mut inner = self.inner;
        tokio::spawn(async move {
            let _ = timeout(Duration::from_secs(5), inner.quit()).await;
        });
    }
}

async fn answered(limit: Duration, reply: impl Future<Output = Result<Response, LettreError>>) -> Result<Response, Trouble> {
    match timeout(limit, reply).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(trouble(error)),
        Err(_) => Err(Trouble::Lost(format!("no answer within {} s", limit.as_secs_f64()))),
    }
}

fn go_ahead(response: &Response) -> Result<(), Trouble> {
    match response.has_code(354) {
        true => Ok(()),
        false => Err(Trouble::Lost(format!("DATA was answered with {}", joined(response)))),
    }
}

fn trouble(error: LettreError) -> Trouble {
    let text = error.source().map(ToString::to_string);
    match error.status() {
        Some(code) => Trouble::Said { code: code.into(), text: shortened(text.unwrap_or_default()) },
        None => Trouble::Lost(shortened(format!("{error}"))),
    }
}

fn joined(response: &Response) -> String {
    let mut text = response.code().to_string();
    for line in response.message() {
        text.push(' ');
        text.push_str(line);
    }
    shortened(text)
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

impl Offers {
    fn read(hello: &Response) -> Offers {
        let mut offers = Offers::default();
        for line in hello.message().skip(1) {
            let mut words = line.split_whitespace();
            match words.next().unwrap_or("").to_ascii_uppercase().as_str() {
                "PIPELINING" => offers.pipelining = true,
                "8BITMIME" => offers.eight_bit = true,
                "SMTPUTF8" => offers.utf8 = true,
                "SIZE" => {
                    offers.sized = true;
                    offers.size = words.next().and_then(|size| size.parse().ok()).filter(|size| *size > 0);
                }
                _ => {}
            }
        }
        offers
    }
}

/// A message as it goes over the wire: a dot before each line that begins with one, and the final dot (RFC 5321 §4.5.2).
fn stuffed(message: &str) -> String {
    let mut out = String::with_capacity(message.len() + 64);
    let mut rest = message;
    if rest.starts_with('.') {
        out.push('.');
    }
    while let Some(at) = memchr::memmem::find(rest.as_bytes(), b"\n.") {
        let (line, after) = rest.split_at(at + 1);
        out.push_str(line);
        out.push('.');
        rest = after;
    }
    out.push_str(rest);
    out.push_str(if message.is_empty() || message.ends_with("\r\n") { ".\r\n" } else { "\r\n.\r\n" });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_at_the_start_of_a_line_is_doubled_and_the_end_is_one_lone_dot() {
        for (message, expected) in [
            ("", ".\r\n"),
            ("a\r\n", "a\r\n.\r\n"),
            ("a", "a\r\n.\r\n"),
            (".\r\n", "..\r\n.\r\n"),
            ("..\r\n.\r\n", "...\r\n..\r\n.\r\n"),
            ("a\r\n.b\r\n.", "a\r\n..b\r\n..\r\n.\r\n"),
        ] {
            assert_eq!(stuffed(message), expected, "{message:?}");
        }
    }

    #[test]
    fn the_relays_own_number_is_found() {
        assert_eq!(queue_id("250 2.0.0 Ok: queued as 4F2B9C1"), Some("4F2B9C1".to_string()));
        assert_eq!(queue_id("250 OK id=1sTxYz-0004Ab-2Q"), Some("1sTxYz-0004Ab-2Q".to_string()));
        assert_eq!(queue_id("250 2.0.0 Ok"), None);
    }
}
