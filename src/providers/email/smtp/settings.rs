//! The keys of a provider of kind `smtp`.

use crate::providers::settings::{Error, Keys};
use std::time::Duration;

/// How a connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// TLS after STARTTLS, which the server must offer.
    StartTls,
    /// TLS from the first byte (port 465).
    Tls,
    /// No TLS: for a relay on this machine or in a private network.
    None,
}

#[derive(Clone)]
pub struct Settings {
    pub host: String,
    pub port: u16,
    /// User and password.
    pub login: Option<(String, String)>,
    pub security: Security,
    /// Connections at once.
    pub connections: usize,
    /// Messages over one connection before it is closed (standards.md §1.9: 100).
    pub messages: u32,
    /// The name said in EHLO.
    pub hello: String,
    pub timeouts: Timeouts,
    /// Certificates to trust; `None`: those of the machine.
    pub roots: Option<std::sync::Arc<tokio_rustls::rustls::RootCertStore>>,
}

/// How long an answer is waited for (RFC 5321 §4.5.3.2; standards.md §1.7).
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Connect, TLS, greeting, EHLO, AUTH, together.
    pub connect: Duration,
    /// MAIL, RCPT, DATA.
    pub command: Duration,
    /// The body and the answer to its final dot: long, since giving up early means not knowing.
    pub body: Duration,
    /// A parked connection older than this is not used again.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Timeouts { connect: seconds(60), command: seconds(300), body: seconds(600), idle: seconds(50) }
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Settings")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("security", &self.security)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// A relay without TLS and login, as in tests and for the built-in catcher.
    pub fn plain(host: &str, port: u16) -> Settings {
        Settings {
            host: host.to_string(),
            port,
            login: None,
            security: Security::None,
            connections: 10,
            messages: 100,
            hello: "localhost".to_string(),
            timeouts: Timeouts::default(),
            roots: None,
        }
    }

    /// Reads host, port, user, password, security, connections, messages_per_connection, hello.
    pub fn read(keys: &Keys<'_>) -> Result<Settings, Error> {
        let host = keys.needed("host")?;
        let near = is_loopback(&host);
        let security = match keys.text("security")?.as_deref() {
            None if near => Security::None,
            None | Some("starttls") => Security::StartTls,
            Some("tls") => Security::Tls,
            Some("none") => Security::None,
            Some(other) => return Err(keys.wrong("security", &format!("`{other}` is none of starttls, tls, none"))),
        };
        let login = match (keys.text("user")?, keys.text("password")?) {
            (Some(user), Some(password)) => Some((user, password)),
            (None, None) => None,
            (Some(_), None) => return Err(keys.wrong("password", "is missing beside `user`")),
            (None, Some(_)) => return Err(keys.wrong("user", "is missing beside `password`")),
        };
        if login.is_some() && security == Security::None && !near {
            return Err(keys.wrong("security", "`none` would send the password unprotected; write starttls or tls"));
        }
        let usual = match security {
            Security::StartTls => 587,
            Security::Tls => 465,
            Security::None => 25,
        };
        Ok(Settings {
            port: keys.number("port", usual, 1, 65535)? as u16,
            login,
            security,
            connections: keys.number("connections", 10, 1, 1000)? as usize,
            messages: keys.number("messages_per_connection", 100, 1, 1_000_000)? as u32,
            hello: keys.text("hello")?.unwrap_or_else(|| "localhost".to_string()),
            timeouts: Timeouts::default(),
            roots: None,
            host,
        })
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
