//! A mailbox that is read by IMAP: what has not been seen is kept, marked as seen after, and read once.

use crate::databases::databases;
use posthaste::campaigns::Mailbox;
use posthaste::clock::Clock;
use posthaste::inbound::mailbox::{Error, visit};
use posthaste::types::Time;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A server with one folder: mails, and whether each was seen.
#[derive(Default)]
struct Server {
    mails: Mutex<Vec<(String, bool)>>,
    /// The connection ends before this many mails are marked.
    cut_after: Mutex<Option<usize>>,
    stored: Mutex<usize>,
}

impl Server {
    async fn start(self: &Arc<Self>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move {
                    let _ = server.session(stream).await;
                });
            }
        });
        address
    }

    async fn session(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        stream.get_mut().write_all(b"* OK IMAP4rev1 ready\r\n").await?;
        let mut line = String::new();
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let mut words = line.split_whitespace();
            let (tag, command) = (words.next().unwrap_or_default().to_string(), line.to_ascii_uppercase());
            let mut answer = String::new();
            let mut end = "OK done";
            if command.contains(" LOGIN ") {
                end = if command.contains("\"SECRET\"") { "OK welcome" } else { "NO [AUTHENTICATIONFAILED] wrong" };
            } else if command.contains(" SELECT ") {
                let count = self.mails.lock().unwrap().len();
                answer = format!("* FLAGS (\\Seen \\Deleted)\r\n* {count} EXISTS\r\n* 0 RECENT\r\n* OK [UIDVALIDITY 1]\r\n");
                end = "OK [READ-WRITE] selected";
            } else if command.contains(" UID SEARCH ") {
                let mails = self.mails.lock().unwrap();
                let unseen: Vec<String> =
                    (1..).zip(mails.iter()).filter(|(_, (_, seen))| !seen).map(|(uid, _): (usize, _)| uid.to_string()).collect();
                answer = format!("* SEARCH {}\r\n", unseen.join(" "));
            } else if command.contains(" UID FETCH ") || command.contains(" UID STORE ") {
                let uid: usize = words.nth(2).unwrap().parse().unwrap();
                if command.contains("STORE") {
                    let count = {
                        let mut stored = self.stored.lock().unwrap();
                        *stored += 1;
                        *stored
                    };
                    if self.cut_after.lock().unwrap().is_some_and(|most| count > most) {
                        return Ok(());
                    }
                    self.mails.lock().unwrap()[uid - 1].1 = true;
                } else {
                    let mail = self.mails.lock().unwrap()[uid - 1].0.clone();
                    answer = if command.contains("RFC822.SIZE") {
                        let size = if mail.starts_with("huge") { 99_999_999 } else { mail.len() };
                        format!("* {uid} FETCH (UID {uid} RFC822.SIZE {size})\r\n")
                    } else {
                        format!("* {uid} FETCH (UID {uid} BODY[] {{{}}}\r\n{mail})\r\n", mail.len())
                    };
                }
            } else if command.contains(" LOGOUT") {
                answer = "* BYE\r\n".to_string();
            }
            stream.get_mut().write_all(format!("{answer}{tag} {end}\r\n").as_bytes()).await?;
        }
    }
}

fn mailbox(address: SocketAddr) -> Mailbox {
    Mailbox {
        host: address.ip().to_string(),
        port: Some(address.port()),
        user: "bounces".into(),
        password: "${MAILBOX_PASSWORD}".into(),
        folder: "INBOX".into(),
        tls: None,
    }
}

fn secret(text: &str) -> Result<String, String> {
    Ok(text.replace("${MAILBOX_PASSWORD}", "secret"))
}

#[tokio::test]
async fn a_mailbox_is_read_once_whatever_happens_in_between() {
    for database in databases().await {
        let (store, clock) = (&database.store, Clock::standing_at("2027-03-01T10:00:00Z".parse::<Time>().unwrap()));
        let server = Arc::new(Server::default());
        for number in 1..=3 {
            let mail = format!(
                "Return-Path: <>\r\nDelivered-To: b-{number}@b.shop.example\r\nTo: x@b.shop.example\r\nSubject: {number}\r\n\r\n{number}\r\n"
            );
            server.mails.lock().unwrap().push((mail, false));
        }
        server.mails.lock().unwrap().push(("huge\r\n".into(), false));
        // The connection is cut between keeping the second mail and marking it.
        *server.cut_after.lock().unwrap() = Some(1);
        let mailbox = mailbox(server.start().await);
        assert!(matches!(visit(store, &clock, &mailbox, &secret).await, Err(Error::Imap(..))), "{}", database.name);
        *server.cut_after.lock().unwrap() = None;
        assert_eq!(visit(store, &clock, &mailbox, &secret).await.unwrap(), 1, "the second was known, the third is new");
        assert_eq!(visit(store, &clock, &mailbox, &secret).await.unwrap(), 0);
        assert!(server.mails.lock().unwrap().iter().all(|(_, seen)| *seen));
        let kept = store.claim_mail(clock.now(), clock.now() + chrono::TimeDelta::minutes(1), 10).await.unwrap();
        assert_eq!(kept.len(), 3, "{}", database.name);
        assert_eq!(
            (kept[0].sender.as_str(), kept[0].recipients.as_slice()),
            ("", &["b-1@b.shop.example".to_string(), "x@b.shop.example".to_string()][..])
        );
        assert_eq!(kept[0].raw, server.mails.lock().unwrap()[0].0.as_bytes());
    }
}

#[tokio::test]
async fn a_mailbox_that_cannot_be_read_says_why() {
    let database = crate::databases::sqlite().await;
    let clock = Clock::real();
    let server = Arc::new(Server::default());
    let open = mailbox(server.start().await);
    let why = |error: Error| posthaste::cli::explained(&error.into());
    let wrong = |_: &str| Ok("wrong".to_string());
    let error = visit(&database.store, &clock, &Mailbox { host: "127.0.0.1".into(), ..open.clone() }, &|text| {
        if text.contains("${") { wrong(text) } else { Ok(text.into()) }
    })
    .await;
    assert!(why(error.unwrap_err()).starts_with("127.0.0.1 refuses the user or the password"));
    let unset =
        visit(&database.store, &clock, &open, &|text| if text.contains("${") { Err("MAILBOX_PASSWORD".into()) } else { Ok(text.into()) })
            .await;
    assert_eq!(
        why(unset.unwrap_err()),
        "`inbound.mailbox` names the secret MAILBOX_PASSWORD, which is not set: write it to .env or the environment"
    );
    let plain = visit(&database.store, &clock, &Mailbox { host: "imap.example".into(), tls: Some(false), ..open.clone() }, &secret).await;
    assert_eq!(
        why(plain.unwrap_err()),
        "TLS with imap.example cannot begin: `security: none` would send the password unprotected; leave it out"
    );
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(why(visit(&database.store, &clock, &mailbox(nobody), &secret).await.unwrap_err()).starts_with("cannot reach 127.0.0.1:"));
}
