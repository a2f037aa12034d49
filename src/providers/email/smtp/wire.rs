//! The stream under a connection: TCP without Nagle's delay, plain or in TLS.
//!
//! STARTTLS is spoken here, before lettre sees the stream: whatever a server sends between its answer and the TLS handshake would be
//! read as if it had come protected (the fault behind CVE-2011-0411), so it is refused.

use super::replies::{Replies, Reply};
use super::settings::{Security, Settings};
use crate::providers::Outcome;
use crate::providers::email::reply::classify;
use crate::providers::tls::{self, Fault};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Bytes to and from a server, after TLS where there is TLS.
#[derive(Debug)]
pub struct Wire {
    /// Read before the stream: stands for the greeting, which STARTTLS has used up already.
    greeting: &'static [u8],
    stream: Stream,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    #[error("cannot reach {host}:{port}")]
    Network { host: String, port: u16, source: io::Error },
    #[error("{0}")]
    Broken(String),
    #[error("{code} {text}")]
    Said { code: u16, text: String },
}

impl Failed {
    /// Nothing left: the relay is asked again, unless it will never take us as we are set up.
    pub fn outcome(self) -> Outcome {
        match self {
            Failed::Network { ref source, .. } => Outcome::Unreachable { after: None, reply: format!("{self}: {source}") },
            Failed::Broken(reply) => Outcome::Broken { reply },
            Failed::Said { code, text } => match classify(code, &text).outcome(code, format!("{code} {text}")) {
                // What is refused before any message was named is about us, not about a person.
                Outcome::Refused { reply, .. } => Outcome::Broken { reply },
                other => other,
            },
        }
    }
}

impl Wire {
    /// Connects and does TLS as the settings say. The caller bounds the time.
    pub async fn open(settings: &Settings) -> Result<Wire, Failed> {
        let network = |source: io::Error| Failed::Network { host: settings.host.clone(), port: settings.port, source };
        let mut tcp = TcpStream::connect((settings.host.as_str(), settings.port)).await.map_err(network)?;
        tcp.set_nodelay(true).map_err(network)?;
        Ok(match settings.security {
            Security::None => Wire { greeting: b"", stream: Stream::Plain(tcp) },
            Security::Tls => Wire { greeting: b"", stream: protect(settings, tcp).await? },
            Security::StartTls => {
                start_tls(settings, &mut tcp).await?;
                Wire { greeting: b"220 protected\r\n", stream: protect(settings, tcp).await? }
            }
        })
    }
}

async fn protect(settings: &Settings, tcp: TcpStream) -> Result<Stream, Failed> {
    match tls::connect(&settings.host, tcp, settings.roots.as_ref()).await {
        Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
        Err(fault @ Fault::Refused { .. }) => Err(Failed::Broken(fault.to_string())),
        Err(Fault::Interrupted { host, source }) => Err(Failed::Network { host, port: settings.port, source }),
    }
}

fn positive(reply: Reply) -> Result<Reply, Failed> {
    if reply.is_positive() { Ok(reply) } else { Err(Failed::Said { code: reply.code, text: reply.text }) }
}

async fn start_tls(settings: &Settings, tcp: &mut TcpStream) -> Result<(), Failed> {
    let network = |source: io::Error| Failed::Network { host: settings.host.clone(), port: settings.port, source };
    let mut replies = Replies::default();
    positive(replies.next(tcp).await.map_err(network)?)?;
    tcp.write_all(format!("EHLO {}\r\n", settings.hello).as_bytes()).await.map_err(network)?;
    let hello = positive(replies.next(tcp).await.map_err(network)?)?;
    let offered = hello.text.to_ascii_uppercase().split_whitespace().any(|word| word == "STARTTLS");
    if !offered {
        let why = "does not offer STARTTLS; write `security: tls` where it listens with TLS, or `security: none` in a private network";
        return Err(Failed::Broken(format!("{} {why}", settings.host)));
    }
    tcp.write_all(b"STARTTLS\r\n").await.map_err(network)?;
    positive(replies.next(tcp).await.map_err(network)?)?;
    match replies.has_more() {
        false => Ok(()),
        true => Err(Failed::Broken(format!(
            "{} sent something unprotected after its answer to STARTTLS: somebody may be in between",
            settings.host
        ))),
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.greeting.is_empty() {
            let (now, later) = self.greeting.split_at(self.greeting.len().min(buffer.remaining()));
            buffer.put_slice(now);
            self.greeting = later;
            return Poll::Ready(Ok(()));
        }
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }
    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(context, parts),
        }
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

impl Wire {
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match &self.stream {
            Stream::Plain(stream) => stream.peer_addr(),
            Stream::Tls(stream) => stream.get_ref().0.peer_addr(),
        }
    }
}
