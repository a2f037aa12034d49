//! How many messages of 14 KB a second go through the SMTP provider alone, beside Postfix's own generator.
//!
//! `cargo bench --bench wire`; wants Postfix's smtp-sink and smtp-source, and does nothing without them. What is measured is the wire:
//! no ledger, no rendering, one built message for all.

use posthaste::providers::email::mime::{Letter, Mailbox, build};
use posthaste::providers::email::smtp::{Settings, Smtp};
use posthaste::providers::{Body, Outcome, Outgoing, Provider};
use posthaste::types::{Class, MessageId};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn program(name: &str) -> Option<String> {
    ["/usr/sbin", "/usr/local/sbin", "/usr/bin"]
        .iter()
        .map(|folder| format!("{folder}/{name}"))
        .find(|path| std::path::Path::new(path).exists())
}

struct Stopped(Child);
impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() {
    let (Some(sink), Some(source)) = (program("smtp-sink"), program("smtp-source")) else {
        eprintln!("left out: smtp-sink and smtp-source of Postfix are not on this machine");
        return;
    };
    let Some(port) = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).map(|address| address.port()).ok()
    else {
        return;
    };
    let address = format!("127.0.0.1:{port}");
    let mut command = Command::new(sink);
    if Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.starts_with(b"0")) {
        command.args(["-u", "nobody"]);
    }
    let Ok(child) = command.args([address.as_str(), "1000"]).stdout(Stdio::null()).spawn() else { return };
    let _stopped = Stopped(child);
    for _ in 0..100 {
        if std::net::TcpStream::connect(&address).is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let count: usize = std::env::var("MESSAGES").ok().and_then(|count| count.parse().ok()).unwrap_or(40_000);
    let Ok(runtime) = tokio::runtime::Builder::new_multi_thread().enable_all().build() else { return };
    for connections in [1, 10, 50, 100] {
        let count = if connections == 1 { count / 8 } else { count };
        let started = Instant::now();
        let sessions = connections.to_string();
        let sent = Command::new(&source)
            .args(["-d", "-s", &sessions, "-l", "14000", "-m", &count.to_string(), "-f", "a@example.com", "-t", "b@example.com", &address])
            .status();
        let limit = count as f64 / started.elapsed().as_secs_f64();
        let ours = runtime.block_on(rate(port, connections, count));
        println!(
            "{connections:>4} connections: {ours:>7.0} messages/s; smtp-source {limit:>7.0}{}",
            if sent.is_ok_and(|status| status.success()) { "" } else { " (failed)" }
        );
    }
}

async fn rate(port: u16, connections: usize, count: usize) -> f64 {
    let sentence = "<p>Twenty in a hundred off all lamps, today only.</p>\n";
    let html = sentence.repeat(12_000 / sentence.len());
    let letter = Letter {
        class: Class::Advertising,
        from: Mailbox { name: "Shop", address: "news@mail.shop.example" },
        to: Mailbox { name: "", address: "ada@example.org" },
        reply_to: None,
        subject: "Spring is here",
        text: &"Twenty in a hundred off.\n".repeat(60),
        html: Some(&html),
        known_text: None,
        known_html: None,
        date: Default::default(),
        message_id: "k7d@mail.shop.example",
        boundary: "k7d",
        list_unsubscribe: None,
        list_id: None,
        feedback_id: None,
        auto_submitted: false,
        headers: &[],
    };
    let Ok(mime) = build(&letter) else { return 0.0 };
    let relay = Arc::new(Smtp::new("relay", Settings { connections, ..Settings::plain("127.0.0.1", port) }));
    let body = Body::Email { from: "a@example.com".to_string(), to: "b@example.com".to_string(), mime };
    let outgoing = Arc::new(Outgoing { message: MessageId(1), body, key: "k".to_string() });
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let senders: Vec<_> = (0..connections)
        .map(|_| {
            let (relay, outgoing, next) = (relay.clone(), outgoing.clone(), next.clone());
            tokio::spawn(async move {
                while next.fetch_add(1, Ordering::Relaxed) < count {
                    let outcome = relay.send(&outgoing).await;
                    assert!(matches!(outcome, Outcome::Accepted { .. }), "{outcome:?}");
                }
            })
        })
        .collect();
    for sender in senders {
        let _ = sender.await;
    }
    count as f64 / started.elapsed().as_secs_f64()
}
