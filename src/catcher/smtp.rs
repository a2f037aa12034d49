//! The catcher's SMTP server: PIPELINING, 8BITMIME, SMTPUTF8, SIZE; no TLS, no login.
//!
//! The beginning of the part before @ of a recipient says what happens:
//!
//! | begins with | answer |
//! |---|---|
//! | `busy` | 450 at RCPT |
//! | `refuse`, `unknown` | 550 5.1.1 at RCPT |
//! | `full` | 452 4.2.2 at RCPT |
//! | `blocked` | 550 5.7.1 after the final dot |
//! | `close` | 421 at RCPT, and the connection closes |
//! | `drop` | the connection closes in the middle of DATA |
//! | `hang` | the whole message is taken, and no answer comes |

use super::Inbox;
use crate::types::Channel;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const SIZE: usize = 26_214_400;
/// A command line is far shorter; what is longer is no SMTP.
const LONGEST_LINE: usize = 8192;

pub(super) async fn serve(listener: TcpListener, inbox: Arc<Inbox>, stop: CancellationToken) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let session = Session {
                    stream,
                    inbox: inbox.clone(),
                    input: Vec::with_capacity(32768),
                    read: 0,
                    output: Vec::new(),
                    from: None,
                    to: Vec::new(),
                };
                tokio::spawn(stop.clone().run_until_cancelled_owned(session.run()));
            }
            // Out of file descriptors: the next round may have some again.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

struct Session {
    stream: TcpStream,
    inbox: Arc<Inbox>,
    /// What came in; the first `read` octets are used up.
    input: Vec<u8>,
    read: usize,
    /// Replies that wait until all pipelined commands are read.
    output: Vec<u8>,
    from: Option<String>,
    to: Vec<String>,
}

/// What a command leads to.
enum Next {
    Go,
    Body,
    Close,
}

impl Session {
    /// The end of a session, whatever it was, ends the connection.
    async fn run(mut self) {
        let _ = self.stream.set_nodelay(true);
        self.say("220 catcher.localhost ESMTP Posthaste catcher");
        let _ = self.dialogue().await;
    }

    async fn dialogue(&mut self) -> std::io::Result<()> {
        loop {
            let Some(line) = self.line().await? else { return Ok(()) };
            match self.command(&line) {
                Next::Go => {}
                Next::Close => return self.flush().await,
                Next::Body => {
                    if !self.body().await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn say(&mut self, reply: &str) {
        self.output.extend_from_slice(reply.as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }

    async fn flush(&mut self) -> std::io::Result<()> {
        self.stream.write_all(&self.output).await?;
        self.output.clear();
        Ok(())
    }

    /// Reads more; false at the end.
    async fn fill(&mut self) -> std::io::Result<bool> {
        if !self.output.is_empty() {
            self.flush().await?;
        }
        if self.read > 0 {
            self.input.drain(..self.read);
            self.read = 0;
        }
        Ok(self.stream.read_buf(&mut self.input).await? > 0)
    }

    async fn line(&mut self) -> std::io::Result<Option<String>> {
        loop {
            let rest = &self.input[self.read..];
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line = String::from_utf8_lossy(&rest[..end]).trim_end().to_string();
                self.read += end + 1;
                return Ok(Some(line));
            }
            if rest.len() > LONGEST_LINE {
                self.say("500 5.5.2 line too long");
                self.flush().await?;
                return Ok(None);
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    fn command(&mut self, line: &str) -> Next {
        let upper = line.to_ascii_uppercase();
        if upper.starts_with("MAIL FROM:") {
            self.to.clear();
            self.from = Some(path(line));
            self.say("250 2.1.0 Ok");
        } else if upper.starts_with("RCPT TO:") {
            return self.recipient(path(line));
        } else if upper == "DATA" {
            if self.to.is_empty() {
                self.say("503 5.5.1 no valid recipients");
                return Next::Go;
            }
            self.say("354 End data with <CR><LF>.<CR><LF>");
            return Next::Body;
        } else if upper.starts_with("EHLO") {
            self.reset();
            self.say(&format!(
                "250-catcher.localhost\r\n250-PIPELINING\r\n250-SIZE {SIZE}\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 SMTPUTF8"
            ));
        } else if upper.starts_with("HELO") || upper == "RSET" {
            self.reset();
            self.say("250 2.0.0 Ok");
        } else if upper.starts_with("NOOP") {
            self.say("250 2.0.0 Ok");
        } else if upper == "QUIT" {
            self.say("221 2.0.0 Bye");
            return Next::Close;
        } else {
            self.say("502 5.5.2 command not recognized");
        }
        Next::Go
    }

    fn reset(&mut self) {
        self.from = None;
        self.to.clear();
    }

    fn recipient(&mut self, address: String) -> Next {
        let begins = |word: &str| address.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
        if self.from.is_none() {
            self.say("503 5.5.1 MAIL first");
        } else if begins("busy") {
            self.say("450 4.2.0 the mailbox is busy, try again later");
        } else if begins("refuse") || begins("unknown") {
            self.say("550 5.1.1 no such user here");
        } else if begins("full") {
            self.say("452 4.2.2 the mailbox is full");
        } else if begins("close") {
            self.say("421 4.3.2 closing the connection");
            return Next::Close;
        } else if self.to.len() >= 100 {
            self.say("452 4.5.3 too many recipients");
        } else {
            self.to.push(address);
            self.say("250 2.1.5 Ok");
        }
        Next::Go
    }

    /// Takes the body after DATA; false when the connection ends here.
    async fn body(&mut self) -> std::io::Result<bool> {
        let first = self.to.first().cloned().unwrap_or_default().to_ascii_lowercase();
        let mut searched = self.read;
        let end = loop {
            if let Some(end) = end_of_body(&self.input, self.read, searched) {
                break end;
            }
            // The end may have begun in the last four octets.
            let unread = self.input.len() - self.read;
            if unread > SIZE + 4 {
                self.say("552 5.3.4 message too large");
                self.flush().await?;
                return Ok(false);
            }
            if !self.fill().await? {
                return Ok(false);
            }
            if first.starts_with("drop") {
                return Ok(false);
            }
            searched = self.read + unread.saturating_sub(4);
        };
        let raw = unstuffed(&self.input[self.read..end]);
        self.read = end + 3;
        if first.starts_with("hang") {
            let mut nothing = [0; 1];
            let _ = self.stream.read(&mut nothing).await;
            return Ok(false);
        }
        let from = self.from.take().unwrap_or_default();
        let to = std::mem::take(&mut self.to);
        if first.starts_with("blocked") {
            self.say("550 5.7.1 message looks like spam and was blocked");
            return Ok(true);
        }
        let number = self.inbox.keep(Channel::Email, from, to.join(", "), raw);
        self.say(&format!("250 2.0.0 Ok: queued as C{number}"));
        Ok(true)
    }
}

/// Where the lone dot stands: `input[start..end]` is the body with its last CRLF.
fn end_of_body(input: &[u8], start: usize, searched: usize) -> Option<usize> {
    if input[start..].starts_with(b".\r\n") {
        return Some(start);
    }
    let from = searched.max(start);
    input[from..].windows(5).position(|window| window == b"\r\n.\r\n").map(|at| from + at + 2)
}

/// One dot less at the start of each line that has one (RFC 5321 §4.5.2).
fn unstuffed(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body;
    while !rest.is_empty() {
        rest = rest.strip_prefix(b".").unwrap_or(rest);
        let end = rest.windows(3).position(|window| window == b"\r\n.").map_or(rest.len(), |at| at + 2);
        out.extend_from_slice(&rest[..end]);
        rest = &rest[end..];
    }
    out
}

/// What stands between the angle brackets of MAIL and RCPT.
fn path(line: &str) -> String {
    let rest = line.split_once(':').map_or("", |(_, rest)| rest).trim();
    match rest.split_once('<').and_then(|(_, rest)| rest.split_once('>')) {
        Some((address, _)) => address.to_string(),
        None => rest.split_whitespace().next().unwrap_or("").to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubled_dot_becomes_one_again() {
        for (wire, expected) in [
            ("", ""),
            ("a\r\n", "a\r\n"),
            ("..\r\n", ".\r\n"),
            ("...\r\n..a\r\nb..\r\n", "..\r\n.a\r\nb..\r\n"),
            ("a\r\n..\r\n", "a\r\n.\r\n"),
        ] {
            assert_eq!(String::from_utf8(unstuffed(wire.as_bytes())).unwrap(), expected, "{wire:?}");
        }
    }

    #[test]
    fn the_end_is_a_dot_alone_on_its_line() {
        for (input, expected) in
            [(".\r\n", Some(0)), ("a\r\n.\r\n", Some(3)), ("a\r\n..\r\n", None), ("a.\r\n", None), ("a\r\n.\r\nMAIL", Some(3))]
        {
            assert_eq!(end_of_body(input.as_bytes(), 0, 0), expected, "{input:?}");
        }
    }
}
