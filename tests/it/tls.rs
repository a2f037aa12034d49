//! Protected relays: STARTTLS, TLS from the first byte, logins only under TLS, and what is not trusted.

use posthaste::providers::email::smtp::{Security, Settings, Smtp, Timeouts};
use posthaste::providers::{Body, Outcome, Outgoing, Provider};
use posthaste::types::MessageId;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};

/// What a test's relay does.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    StartTls,
    /// Sends a reply beyond the one to STARTTLS, unprotected.
    Injecting,
    NoStartTls,
    Tls,
}

struct Relay {
    port: u16,
    roots: Arc<RootCertStore>,
    /// All that clients said under TLS.
    heard: Arc<Mutex<Vec<String>>>,
}

async fn relay(kind: Kind) -> Relay {
    let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let said = heard.clone();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, said) = (acceptor.clone(), said.clone());
            tokio::spawn(async move {
                let mut tcp = BufReader::new(tcp);
                if kind != Kind::Tls {
                    let offer = if kind == Kind::NoStartTls { "250 relay\r\n" } else { "250-relay\r\n250 STARTTLS\r\n" };
                    tcp.get_mut().write_all(b"220 relay\r\n").await.ok()?;
                    loop {
                        let mut line = String::new();
                        tcp.read_line(&mut line).await.ok().filter(|length| *length > 0)?;
                        if line.starts_with("STARTTLS") {
                            let reply: &[u8] = if kind == Kind::Injecting { b"220 go\r\n250 injected\r\n" } else { b"220 go\r\n" };
                            tcp.get_mut().write_all(reply).await.ok()?;
                            break;
                        }
                        tcp.get_mut().write_all(offer.as_bytes()).await.ok()?;
                    }
                }
                let tls = acceptor.accept(tcp.into_inner()).await.ok()?;
                serve(BufReader::new(tls), kind == Kind::Tls, said).await
            });
        }
    });
    Relay { port, roots: Arc::new(roots), heard }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: BufReader<S>, greets: bool, said: Arc<Mutex<Vec<String>>>) -> Option<()> {
    if greets {
        stream.write_all(b"220 relay\r\n").await.ok()?;
        stream.flush().await.ok()?;
    }
    let mut body = false;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|length| *length > 0)?;
        let line = line.trim_end().to_string();
        said.lock().unwrap().push(line.clone());
        let reply = match line.split(' ').next().unwrap_or("") {
            "." => {
                body = false;
                "250 2.0.0 Ok\r\n"
            }
            _ if body => continue,
            "EHLO" => "250-relay\r\n250-AUTH PLAIN LOGIN\r\n250 PIPELINING\r\n",
            // user \0 shop \0 right
            "AUTH" if line.ends_with("AHNob3AAcmlnaHQ=") => "235 2.7.0 Ok\r\n",
            "AUTH" => "535 5.7.8 wrong\r\n",
            "DATA" => {
                body = true;
                "354 go\r\n"
            }
            _ => "250 2.0.0 Ok\r\n",
        };
        stream.write_all(reply.as_bytes()).await.ok()?;
        stream.flush().await.ok()?;
    }
}

fn settings(relay: &Relay, security: Security) -> Settings {
    let brief = Duration::from_secs(5);
    Settings {
        security,
        roots: Some(relay.roots.clone()),
        timeouts: Timeouts { connect: brief, command: brief, body: brief, idle: brief },
        ..Settings::plain("localhost", relay.port)
    }
}

async fn send(settings: Settings) -> Outcome {
    let body =
        Body::Email { from: "a@shop.example".to_string(), to: "ada@example.org".to_string(), mime: b"Subject: x\r\n\r\nx\r\n".to_vec() };
    Smtp::new("relay", settings).send(&Outgoing { message: MessageId(1), body, key: "k".to_string() }).await
}

#[tokio::test]
async fn a_message_and_a_login_go_through_both_kinds_of_tls() {
    for (kind, security) in [(Kind::StartTls, Security::StartTls), (Kind::Tls, Security::Tls)] {
        let relay = relay(kind).await;
        let login = Some(("shop".to_string(), "right".to_string()));
        let outcome = send(Settings { login, ..settings(&relay, security) }).await;
        assert!(matches!(outcome, Outcome::Accepted { .. }), "{outcome:?}");
        let heard = relay.heard.lock().unwrap();
        assert!(heard.iter().any(|line| line.starts_with("AUTH PLAIN")) && heard.iter().any(|line| line == "Subject: x"), "{heard:?}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_set_up_stops_the_provider_and_nothing_is_sent_unprotected() {
    let right = Some(("shop".to_string(), "right".to_string()));
    let wrong = Some(("shop".to_string(), "wrong".to_string()));
    let no_roots = Some(Arc::new(RootCertStore::empty()));
    for (name, kind, security, login, roots, says) in [
        ("a wrong password", Kind::StartTls, Security::StartTls, &wrong, None, "refused the login"),
        ("no STARTTLS", Kind::NoStartTls, Security::StartTls, &right, None, "does not offer STARTTLS"),
        ("something unprotected after STARTTLS", Kind::Injecting, Security::StartTls, &right, None, "unprotected"),
        (
            "a certificate that nobody trusts",
            Kind::StartTls,
            Security::StartTls,
            &right,
            no_roots.clone(),
            "TLS with localhost cannot begin",
        ),
        ("the same from the first byte", Kind::Tls, Security::Tls, &right, no_roots.clone(), "TLS with localhost cannot begin"),
    ] {
        let relay = relay(kind).await;
        let base = settings(&relay, security);
        let outcome = send(Settings { login: login.clone(), roots: roots.or(base.roots.clone()), ..base }).await;
        assert!(matches!(&outcome, Outcome::Broken { reply } if reply.contains(says)), "{name}: {outcome:?}");
        assert!(!relay.heard.lock().unwrap().iter().any(|line| line.starts_with("MAIL")), "{name}");
    }
}
