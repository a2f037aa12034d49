//! EHLO and the login of a new connection, by lettre. The wire is lent to it and taken back: the dialogue of a message is our own.

use super::settings::Settings;
use super::wire::{Failed, Wire};
use lettre::transport::smtp::Error as LettreError;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::extension::ClientId;
use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// So much of what the server says first is looked at for what it offers.
const HEARD: usize = 16_384;

/// What the server's EHLO offers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Offers {
    pub pipelining: bool,
    pub eight_bit: bool,
    pub utf8: bool,
    /// Octets; `None`: no limit was named.
    pub size: Option<usize>,
    /// SIZE is understood at MAIL FROM.
    pub sized: bool,
}

/// Says EHLO, and logs in where the settings have a login.
pub async fn say(settings: &Settings, wire: Wire) -> Result<(Wire, Offers), Failed> {
    let network = |why: String| Failed::Network { host: settings.host.clone(), port: settings.port, source: io::Error::other(why) };
    let failed = |error: LettreError| match error.status() {
        Some(code) => Failed::Said { code: code.into(), text: error.source().map(ToString::to_string).unwrap_or_default() },
        None => network(error.to_string()),
    };
    let lent = Lent(Arc::new(Mutex::new(Talk { wire, heard: Vec::new() })));
    let ours = lent.clone();
    let mut lettre =
        AsyncSmtpConnection::connect_with_transport(Box::new(lent), &ClientId::Domain(settings.hello.clone())).await.map_err(failed)?;
    // lettre keeps of EHLO only what it uses itself; PIPELINING and SIZE are not in that.
    let offers = Offers::read(&String::from_utf8_lossy(&ours.talk().heard));
    if let Some((user, password)) = &settings.login {
        let known = [Mechanism::Plain, Mechanism::Login];
        if lettre.server_info().get_auth_mechanism(&known).is_none() {
            return Err(Failed::Broken(format!("{} offers no login by PLAIN or LOGIN", settings.host)));
        }
        let credentials = Credentials::new(user.clone(), password.clone());
        lettre.auth(&known, &credentials).await.map_err(|error| match failed(error) {
            Failed::Said { code, text } if code >= 500 => Failed::Broken(format!("{} refused the login: {code} {text}", settings.host)),
            other => other,
        })?;
    }
    drop(lettre);
    let talk = Arc::into_inner(ours.0).ok_or_else(|| network("the connection is still in use".to_string()))?;
    Ok((talk.into_inner().unwrap_or_else(PoisonError::into_inner).wire, offers))
}

impl Offers {
    /// From the replies so far: the greeting, and EHLO's.
    fn read(heard: &str) -> Offers {
        let mut offers = Offers::default();
        let hello = heard.lines().filter_map(|line| line.strip_prefix("250")).filter_map(|line| line.strip_prefix(['-', ' ']));
        for line in hello.skip(1) {
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

struct Talk {
    wire: Wire,
    heard: Vec<u8>,
}

/// The wire while lettre speaks over it.
#[derive(Clone)]
struct Lent(Arc<Mutex<Talk>>);

impl Lent {
    fn talk(&self) -> MutexGuard<'_, Talk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Lent {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.talk().wire.fmt(formatter)
    }
}

impl AsyncRead for Lent {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut talk = self.talk();
        let before = buffer.filled().len();
        let read = Pin::new(&mut talk.wire).poll_read(context, buffer);
        let room = HEARD.saturating_sub(talk.heard.len());
        let new = buffer.filled().get(before..).unwrap_or_default();
        talk.heard.extend(new.iter().take(room));
        read
    }
}

impl AsyncWrite for Lent {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.talk().wire).poll_write(context, bytes)
    }
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.talk().wire).poll_flush(context)
    }
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.talk().wire).poll_shutdown(context)
    }
}

impl AsyncTokioStream for Lent {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.talk().wire.peer_addr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_offers_is_read_from_its_hello() {
        let heard = "220-PIPELINING host\r\n220 ready\r\n250-SIZE mail.example\r\n250-pipelining\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n";
        let expected = Offers { pipelining: true, eight_bit: true, utf8: true, size: Some(1000), sized: true };
        assert_eq!(Offers::read(heard), expected);
        assert_eq!(Offers::read("220 x\r\n250 PIPELINING\r\n"), Offers::default());
        assert_eq!(Offers::read("250-x\r\n250 SIZE 0\r\n"), Offers { sized: true, ..Offers::default() });
    }
}
