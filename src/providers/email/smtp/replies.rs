//! A server's replies, read from a stream (RFC 5321 §4.2): a code of three digits, and text over one line or several.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// No reply is longer (its lines together): whoever goes on does not speak SMTP.
const LONGEST: usize = 65_536;

/// One reply; its lines joined by a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    pub text: String,
}

impl Reply {
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }
}

/// What came of replies that have not been asked for yet.
#[derive(Debug, Default)]
pub struct Replies {
    buffer: Vec<u8>,
    /// So much of it has been read.
    read: usize,
}

impl Replies {
    /// Whether something came that nobody has asked for.
    pub fn has_more(&self) -> bool {
        self.read < self.buffer.len()
    }

    /// The next reply. What was read beyond it is kept for the one after.
    pub async fn next<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> io::Result<Reply> {
        let mut reply: Option<Reply> = None;
        let mut looked_at = self.read;
        loop {
            while let Some(length) = memchr::memchr(b'\n', self.buffer.get(looked_at..).unwrap_or_default()) {
                let line = self.buffer.get(self.read..looked_at + length).unwrap_or_default();
                let (code, goes_on, text) = line_of(line).ok_or_else(|| io::Error::other("the server does not speak SMTP"))?;
                match &mut reply {
                    None => reply = Some(Reply { code, text }),
                    Some(reply) => {
                        reply.code = code;
                        reply.text.push(' ');
                        reply.text.push_str(&text);
                    }
                }
                self.read = looked_at + length + 1;
                looked_at = self.read;
                if !goes_on && let Some(reply) = reply.take() {
                    if !self.has_more() {
                        self.buffer.clear();
                        self.read = 0;
                    }
                    return Ok(reply);
                }
            }
            self.buffer.drain(..self.read);
            self.read = 0;
            looked_at = self.buffer.len();
            if looked_at + reply.as_ref().map_or(0, |reply| reply.text.len()) > LONGEST {
                return Err(io::Error::other("the server's reply does not end"));
            }
            self.buffer.reserve(256);
            if stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
            }
        }
    }
}

/// Code, whether another line follows, and text.
fn line_of(line: &[u8]) -> Option<(u16, bool, String)> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (code, rest) = line.split_at_checked(3)?;
    let code = code.iter().try_fold(0_u16, |code, digit| digit.is_ascii_digit().then(|| code * 10 + u16::from(digit - b'0')))?;
    let (goes_on, text) = match rest.split_first() {
        None => (false, rest),
        Some((b' ', text)) => (false, text),
        Some((b'-', text)) => (true, text),
        Some(_) => return None,
    };
    (200..600).contains(&code).then(|| (code, goes_on, String::from_utf8_lossy(text).trim_end().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use tokio::io::ReadBuf;

    /// Gives its bytes `most` at a time.
    struct Drops<'a> {
        bytes: &'a [u8],
        most: usize,
    }

    impl AsyncRead for Drops<'_> {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            let length = self.bytes.len().min(self.most).min(buffer.remaining());
            let (now, later) = self.bytes.split_at(length);
            buffer.put_slice(now);
            self.bytes = later;
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn replies_are_the_same_however_they_are_cut() {
        let sent = b"220 ready\r\n250-first\r\n250-\r\n250 last \r\n354\r\n550 5.1.1 nobody\n421 4.3.2 \xff bye\r\n";
        for most in 1..sent.len() {
            let mut stream = Drops { bytes: sent, most };
            let mut replies = Replies::default();
            for (code, text) in [(220, "ready"), (250, "first  last"), (354, ""), (550, "5.1.1 nobody"), (421, "4.3.2 \u{fffd} bye")] {
                assert_eq!(replies.next(&mut stream).await.unwrap(), Reply { code, text: text.into() }, "{most} at a time");
            }
            assert!(!replies.has_more());
            assert_eq!(replies.next(&mut stream).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[tokio::test]
    async fn what_is_no_reply_is_an_error() {
        for sent in [&b"hello\r\n"[..], b"25\r\n", b"250_x\r\n", b"999 x\r\n", b"\r\n", b"250-x\r\n"] {
            assert!(Replies::default().next(&mut Drops { bytes: sent, most: 100 }).await.is_err(), "{sent:?}");
        }
        let endless = "250-and so on\r\n".repeat(LONGEST);
        let error = Replies::default().next(&mut Drops { bytes: endless.as_bytes(), most: 1000 }).await.unwrap_err();
        assert_eq!(error.to_string(), "the server's reply does not end");
    }
}
