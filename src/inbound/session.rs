//! One SMTP or LMTP session.

use super::listener::Door;
use super::tls::ServerTls;
use super::ways::Address;
use crate::kill_points::{Point, reached};
use crate::store::Error;
use crate::store::inbound::NewMail;
use smtp_proto::request::receiver::DataReceiver;
use smtp_proto::{Error as Fault, Request};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::SemaphorePermit;
use tokio_util::sync::CancellationToken;

/// A command's longest line, with its end.
const LONGEST_LINE: usize = 4_096;
const MOST_RECIPIENTS: usize = 100;
/// Commands that are refused before the session ends.
const MOST_FAULTS: usize = 20;
/// Mails of one session.
const MOST_MAILS: usize = 1_000;

/// Bytes to and from a client, under TLS or not.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

pub struct Session {
    stream: Box<dyn Stream>,
    /// It is under TLS.
    is_protected: bool,
    door: Arc<Door>,
    /// What came in and is not used up.
    input: Vec<u8>,
    output: Vec<u8>,
    greeted: bool,
    sender: Option<String>,
    recipients: Vec<String>,
    faults: usize,
    mails: usize,
}

enum Next {
    Go,
    Body,
    Protect(ServerTls),
    Close,
}

impl Session {
    pub fn new(stream: Box<dyn Stream>, door: Arc<Door>) -> Self {
        Session {
            stream,
            is_protected: false,
            door,
            input: Vec::new(),
            output: Vec::new(),
            greeted: false,
            sender: None,
            recipients: Vec::new(),
            faults: 0,
            mails: 0,
        }
    }

    /// The end of a session, whatever it was, ends the connection.
    pub async fn run(mut self, stop: CancellationToken) {
        let kind = if self.door.settings.lmtp { "LMTP" } else { "ESMTP" };
        self.say(&format!("220 {} {kind} Posthaste", self.door.settings.hello.clone()));
        let _ = self.dialogue(&stop).await;
        let _ = self.stream.shutdown().await;
    }

    async fn dialogue(&mut self, stop: &CancellationToken) -> std::io::Result<()> {
        loop {
            let line = tokio::select! {
                // A command that has come is still answered; between mails nobody is kept waiting.
                biased;
                line = self.line() => line?,
                () = stop.cancelled() => {
                    self.say("421 4.3.2 closing; come again later");
                    return self.flush().await;
                }
            };
            let Some(line) = line else { return self.flush().await };
            match self.command(&line) {
                Next::Go => {}
                Next::Close => return self.flush().await,
                Next::Protect(tls) => self.protect(&tls).await?,
                Next::Body => {
                    if !self.body().await? {
                        return self.flush().await;
                    }
                }
            }
            if self.faults > MOST_FAULTS {
                self.say("421 4.7.0 too many errors");
                return self.flush().await;
            }
        }
    }

    /// Everything said before TLS is forgotten (RFC 3207 §4.2).
    async fn protect(&mut self, tls: &ServerTls) -> std::io::Result<()> {
        self.flush().await?;
        let plain = std::mem::replace(&mut self.stream, Box::new(tokio::io::empty()));
        let greeting = tokio::time::timeout(self.door.settings.patience, tls.0.accept(plain)).await;
        self.stream = Box::new(greeting.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))?);
        self.is_protected = true;
        self.greeted = false;
        self.input.clear();
        self.reset();
        Ok(())
    }

    fn say(&mut self, reply: &str) {
        self.output.extend_from_slice(reply.as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }

    fn refuse(&mut self, reply: &str) -> Next {
        self.faults += 1;
        self.say(reply);
        Next::Go
    }

    async fn flush(&mut self) -> std::io::Result<()> {
        let patience = self.door.settings.patience;
        let written = tokio::time::timeout(patience, self.stream.write_all(&self.output)).await;
        self.output.clear();
        written.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
    }

    /// Reads more; false at the end.
    async fn fill(&mut self) -> std::io::Result<bool> {
        if !self.output.is_empty() {
            self.flush().await?;
        }
        let patience = self.door.settings.patience;
        self.input.reserve(16_384);
        match tokio::time::timeout(patience, self.stream.read_buf(&mut self.input)).await {
            Ok(read) => Ok(read? > 0),
            Err(_) => {
                self.say("421 4.4.2 nothing came for too long");
                Ok(false)
            }
        }
    }

    /// The next command with its end; `None` when the session is over. Dropped while it waits, it loses nothing.
    async fn line(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.input) {
                return Ok(Some(self.input.drain(..=end).collect()));
            }
            if self.input.len() >= LONGEST_LINE {
                self.say("500 5.5.2 the line is too long");
                return Ok(None);
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    fn command(&mut self, line: &[u8]) -> Next {
        let request = match Request::parse(&mut line.iter()) {
            Ok(request) => request,
            Err(Fault::UnknownCommand | Fault::NeedsMoreData { .. }) => return self.refuse("500 5.5.1 this command is not known"),
            Err(Fault::InvalidSenderAddress) => return self.refuse("501 5.1.7 the sender's address cannot be read"),
            Err(Fault::InvalidRecipientAddress) => return self.refuse("501 5.1.3 the recipient's address cannot be read"),
            Err(Fault::UnsupportedParameter { .. }) => return self.refuse("555 5.5.4 this parameter is not supported"),
            Err(_) => return self.refuse("501 5.5.4 the command cannot be read"),
        };
        match request {
            Request::Ehlo { .. } | Request::Helo { .. } if self.door.settings.lmtp => self.refuse("500 5.5.1 this is LMTP: say LHLO"),
            Request::Lhlo { .. } if !self.door.settings.lmtp => self.refuse("500 5.5.1 this is SMTP: say EHLO"),
            Request::Helo { .. } => {
                self.greet();
                self.say(&format!("250 {}", self.door.settings.hello.clone()));
                Next::Go
            }
            Request::Ehlo { .. } | Request::Lhlo { .. } => {
                self.greet();
                let (hello, size) = (self.door.settings.hello.clone(), self.door.settings.most_bytes);
                let tls = if !self.is_protected && self.door.tls().is_some() { "250-STARTTLS\r\n" } else { "" };
                self.say(&format!(
                    "250-{hello}\r\n250-PIPELINING\r\n250-SIZE {size}\r\n{tls}250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 SMTPUTF8"
                ));
                Next::Go
            }
            Request::Mail { from } => self.mail(&from.address, from.size),
            // RFC 5321 §4.5.1: the one address that may stand without a domain, which the parser leaves out.
            Request::Rcpt { to } if to.address.is_empty() && line.to_ascii_uppercase().starts_with(b"RCPT TO:<POSTMASTER>") => {
                self.recipient("postmaster")
            }
            Request::Rcpt { to } => self.recipient(&to.address),
            Request::Data if self.recipients.is_empty() => self.refuse("503 5.5.1 there is no recipient"),
            Request::Data => {
                self.say("354 end with a lone dot");
                Next::Body
            }
            Request::Rset => {
                self.reset();
                self.say("250 2.0.0 ok");
                Next::Go
            }
            Request::StartTls if self.is_protected => self.refuse("503 5.5.1 this is TLS already"),
            Request::StartTls => match self.door.tls() {
                None => self.refuse("502 5.5.1 there is no TLS here"),
                // What stands behind it came unprotected, and would be taken for protected.
                Some(_) if !self.input.is_empty() => {
                    self.say("501 5.5.1 nothing may stand behind STARTTLS");
                    Next::Close
                }
                Some(tls) => {
                    self.say("220 2.0.0 go ahead");
                    Next::Protect(tls)
                }
            },
            Request::Noop { .. } => {
                self.say("250 2.0.0 ok");
                Next::Go
            }
            Request::Vrfy { .. } => self.refuse("252 2.5.2 send a mail and see"),
            Request::Quit => {
                self.say("221 2.0.0 bye");
                Next::Close
            }
            _ => self.refuse("502 5.5.1 this command is not served"),
        }
    }

    fn greet(&mut self) {
        self.greeted = true;
        self.reset();
    }

    fn reset(&mut self) {
        self.sender = None;
        self.recipients.clear();
    }

    fn mail(&mut self, address: &str, size: usize) -> Next {
        if !self.greeted {
            return self.refuse("503 5.5.1 greet first");
        }
        if self.sender.is_some() {
            return self.refuse("503 5.5.1 one mail after the other");
        }
        if size > self.door.settings.most_bytes {
            return self.refuse("552 5.3.4 the mail is too large");
        }
        if self.mails >= MOST_MAILS {
            self.say("421 4.5.3 enough mails for one session");
            return Next::Close;
        }
        self.sender = Some(address.to_string());
        self.say("250 2.1.0 ok");
        Next::Go
    }

    fn recipient(&mut self, address: &str) -> Next {
        if self.sender.is_none() {
            return self.refuse("503 5.5.1 MAIL first");
        }
        if self.recipients.len() >= MOST_RECIPIENTS {
            return self.refuse("452 4.5.3 too many recipients");
        }
        match self.door.ways().address(address, &self.door.tokens, self.door.clock.now()) {
            // What is too old is taken, and changes nothing: its sender can do nothing about it.
            Address::Bounce(_) | Address::Leave(_) | Address::Open | Address::Expired => {
                self.recipients.push(address.to_string());
                self.say("250 2.1.5 ok");
                Next::Go
            }
            Address::Forged | Address::Unknown => self.refuse("550 5.1.1 there is no such address here"),
            Address::Foreign => self.refuse("550 5.7.1 we take no mail for others"),
        }
    }

    /// Takes the mail after DATA, keeps it, and answers; false when the session ends.
    async fn body(&mut self) -> std::io::Result<bool> {
        let door = self.door.clone();
        let most = door.settings.most_bytes;
        let mut receiver = DataReceiver::new();
        let mut raw = Vec::new();
        // What of the common room this mail has; it goes back with it.
        let mut held: Option<SemaphorePermit<'_>> = None;
        let mut refused = None;
        loop {
            let taken = std::mem::take(&mut self.input);
            let mut bytes = taken.iter();
            let complete = receiver.ingest(&mut bytes, &mut raw);
            self.input = bytes.as_slice().to_vec();
            // What is not kept is read to its end all the same, so that its sender hears why.
            if refused.is_some() || raw.len() > most {
                refused = refused.or(Some("552 5.3.4 the mail is too large"));
                (raw, held) = (Vec::new(), None);
            }
            let missing = raw.len().saturating_sub(held.as_ref().map_or(0, SemaphorePermit::num_permits));
            match door.room.try_acquire_many(u32::try_from(missing).unwrap_or(u32::MAX)) {
                Ok(more) => match &mut held {
                    Some(held) => held.merge(more),
                    None => held = Some(more),
                },
                Err(_) => {
                    refused = Some("452 4.3.1 too much mail comes at once; come again later");
                    (raw, held) = (Vec::new(), None);
                }
            }
            if complete {
                break;
            }
            if !self.fill().await? {
                return Ok(false);
            }
        }
        self.mails += 1;
        let recipients = std::mem::take(&mut self.recipients);
        let answers = if self.door.settings.lmtp { recipients.len() } else { 1 };
        let sender = self.sender.take().unwrap_or_default();
        let reply = match refused {
            Some(why) => why,
            None => match keep(&door, NewMail { sender, recipients, raw, received_at: self.door.clock.now() }).await {
                Ok(_) => "250 2.0.0 kept",
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "a mail could not be kept; its sender is asked to come again"
                    );
                    "451 4.3.0 it could not be kept; come again later"
                }
            },
        };
        (0..answers).for_each(|_| self.say(reply));
        Ok(true)
    }
}

async fn keep(door: &Door, mail: NewMail) -> Result<bool, Error> {
    reached(Point::BeforeIntake);
    let kept = door.store.keep_mail(&mail).await?;
    reached(Point::AfterIntake);
    Ok(kept)
}
