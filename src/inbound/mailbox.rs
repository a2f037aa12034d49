//! Reads a mailbox by IMAP, for those without an MX.
//!
//! What has not been seen is kept in the database first and marked as seen after; a crash in between leads to a mail that is known already.
//! Nothing is deleted. Whom a mail was for is told by the headers of whoever put it there.

use crate::campaigns::Mailbox;
use crate::clock::Clock;
use crate::providers::tls::{self, Fault};
use crate::store::inbound::NewMail;
use crate::store::{self, Store};
use async_imap::Session;
use futures_util::TryStreamExt;
use std::fmt::Debug;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// How often a mailbox is looked into.
pub const EACH: Duration = Duration::from_secs(60);
/// For one visit.
const PATIENCE: Duration = Duration::from_secs(600);
/// Mails taken in one visit; the rest at the next.
const MOST: usize = 500;
/// A larger mail is no bounce, and is left for a person.
const LARGEST: u32 = 26_214_400;

/// Why a mailbox could not be read. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("`inbound.mailbox` names the secret {0}, which is not set: write it to .env or the environment")]
    NoSecret(String),
    #[error("cannot reach {0}")]
    Network(String, #[source] std::io::Error),
    #[error("{0} does not answer in time")]
    Slow(String),
    #[error(transparent)]
    Tls(#[from] Fault),
    #[error("{0} refuses the user or the password")]
    Login(String, #[source] async_imap::error::Error),
    #[error("the mailbox at {0} cannot be read")]
    Imap(String, #[source] async_imap::error::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Keeps what has not been seen; gives how many mails were new.
pub async fn visit(
    store: &Store,
    clock: &Clock,
    mailbox: &Mailbox,
    resolve: &(dyn Fn(&str) -> Result<String, String> + Send + Sync),
) -> Result<usize, Error> {
    let resolved = |text: &str| resolve(text).map_err(Error::NoSecret);
    let (host, user, password) = (resolved(&mailbox.host)?, resolved(&mailbox.user)?, resolved(&mailbox.password)?);
    let near = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    let tls = mailbox.tls.unwrap_or(!near);
    if !tls && !near {
        let why = "`security: none` would send the password unprotected; leave it out".to_string();
        return Err(Fault::Refused { host, why }.into());
    }
    let port = mailbox.port.unwrap_or(if tls { 993 } else { 143 });
    let visited = async {
        let tcp = TcpStream::connect((host.as_str(), port)).await.map_err(|error| Error::Network(format!("{host}:{port}"), error))?;
        let login = Login { host: &host, user: &user, password: &password, folder: &mailbox.folder };
        if tls { read(tls::connect(&host, tcp, None).await?, &login, store, clock).await } else { read(tcp, &login, store, clock).await }
    };
    tokio::time::timeout(PATIENCE, visited).await.unwrap_or_else(|_| Err(Error::Slow(host.clone())))
}

struct Login<'a> {
    host: &'a str,
    user: &'a str,
    password: &'a str,
    folder: &'a str,
}

async fn read<T: AsyncRead + AsyncWrite + Unpin + Debug + Send>(
    stream: T,
    login: &Login<'_>,
    store: &Store,
    clock: &Clock,
) -> Result<usize, Error> {
    let failed = |error| Error::Imap(login.host.to_string(), error);
    let mut client = async_imap::Client::new(stream);
    let greeting = client.read_response().await.map_err(|error| failed(error.into()))?;
    if greeting.is_none() {
        return Err(failed(async_imap::error::Error::ConnectionLost));
    }
    let mut session = client.login(login.user, login.password).await.map_err(|(error, _)| Error::Login(login.host.to_string(), error))?;
    session.select(login.folder).await.map_err(failed)?;
    let mut unseen: Vec<u32> = session.uid_search("UNSEEN UNDELETED").await.map_err(failed)?.into_iter().collect();
    unseen.sort_unstable();
    let mut new = 0;
    for uid in unseen.into_iter().take(MOST) {
        match take(&mut session, uid, login, store, clock).await {
            // One that cannot be kept must not stand in the way of the others.
            Err(Error::Store(error)) if !error.is_temporary() => {
                tracing::error!(uid, error = &error as &dyn std::error::Error, "a mail of the mailbox cannot be kept; it is tried again");
            }
            taken => new += usize::from(taken?),
        }
    }
    // A server that hangs up first has said goodbye too.
    let _ = session.logout().await;
    Ok(new)
}

/// Keeps one mail and marks it as seen; true when it was new.
async fn take<T: AsyncRead + AsyncWrite + Unpin + Debug + Send>(
    session: &mut Session<T>,
    uid: u32,
    login: &Login<'_>,
    store: &Store,
    clock: &Clock,
) -> Result<bool, Error> {
    let failed = |error| Error::Imap(login.host.to_string(), error);
    let sizes: Vec<_> =
        session.uid_fetch(uid.to_string(), "(UID RFC822.SIZE)").await.map_err(failed)?.try_collect().await.map_err(failed)?;
    let size = sizes.iter().find_map(|fetched| fetched.size).unwrap_or(0);
    let mut is_new = false;
    if size > LARGEST {
        tracing::warn!(uid, size, "a mail of the mailbox is too large to be a bounce or an answer: it is left there");
    } else {
        let fetched: Vec<_> =
            session.uid_fetch(uid.to_string(), "(UID BODY.PEEK[])").await.map_err(failed)?.try_collect().await.map_err(failed)?;
        let Some(raw) = fetched.iter().find_map(|fetched| fetched.body()) else { return Ok(false) };
        let (sender, recipients) = super::mail::envelope(raw);
        is_new = store.keep_mail(&NewMail { sender, recipients, raw: raw.to_vec(), received_at: clock.now() }).await?;
    }
    let _: Vec<_> =
        session.uid_store(uid.to_string(), "+FLAGS.SILENT (\\Seen)").await.map_err(failed)?.try_collect().await.map_err(failed)?;
    Ok(is_new)
}
