//! What was written is what another library reads, whatever the characters.

use crate::processes::free_port;
use mail_parser::{Address, MessageParser};
use posthaste::catcher::Catcher;
use posthaste::clock::Clock;
use posthaste::providers::email::mime::{Letter, ListUnsubscribe, Mailbox, build};
use posthaste::providers::email::smtp::{Settings, Smtp};
use posthaste::providers::{Body, Outcome, Outgoing, Provider};
use posthaste::types::{Class, MessageId};
use proptest::prelude::*;
use std::io::Write;
use std::process::{Child, Command, Stdio};

fn letter<'a>(name: &'a str, subject: &'a str, text: &'a str, html: Option<&'a str>) -> Letter<'a> {
    Letter {
        class: Class::Advertising,
        from: Mailbox { name, address: "news@mail.shop.example" },
        to: Mailbox { name, address: "ada@example.org" },
        reply_to: None,
        subject,
        text,
        html,
        known_text: None,
        known_html: None,
        date: "2027-03-01T10:00:00Z".parse().unwrap(),
        message_id: "k7d2m@mail.shop.example",
        boundary: "k7d2m",
        list_unsubscribe: Some(ListUnsubscribe { https: "https://go.shop.example/u/TOKEN", mailto: None }),
        list_id: Some((name, "offers.mail.shop.example")),
        feedback_id: None,
        auto_submitted: true,
        headers: &[],
    }
}

fn crlf(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n")
}

/// Text for a header: any characters, many of them at the borders of what must be quoted or encoded, no control characters.
fn header() -> impl Strategy<Value = String> {
    let piece = prop_oneof!["[ -~]{0,40}", "[а-яіїєґ ]{0,30}", "[🌷👩‍👧é=?_\"\\\\ ]{0,12}", "\\PC{0,30}", Just("=?utf-8?Q?x?=".to_string())];
    prop::collection::vec(piece, 1..4).prop_map(|pieces| {
        let text: String = pieces.concat().chars().filter(|c| !c.is_control() && *c != '\u{2028}' && *c != '\u{2029}').collect();
        text.trim().to_string()
    })
}

/// A body: lines of any length with any line ends, dots and spaces at their edges.
fn body() -> impl Strategy<Value = String> {
    let line =
        prop_oneof!["[ -~]{0,200}", "[.=\t ]{0,90}", "[а-яіїєґ \t]{0,120}", "\\PC{0,80}", Just("x".repeat(2000)), Just(".".to_string())];
    let end = prop_oneof![Just("\n"), Just("\r\n"), Just("\r")];
    prop::collection::vec((line, end), 0..12).prop_map(|lines| lines.into_iter().map(|(line, end)| line + end).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn another_library_reads_the_same_headers_and_parts(name in header(), subject in header(), text in body(), html in body()) {
        let built = build(&letter(&name, &subject, &text, Some(&html))).unwrap();
        prop_assert!(built.is_ascii());
        let lines = String::from_utf8(built.clone()).unwrap();
        prop_assert!(lines.ends_with("\r\n") && !lines.replace("\r\n", "").contains(['\r', '\n']), "only CRLF ends a line");
        prop_assert!(lines.split("\r\n").all(|line| line.len() <= 76), "{lines}");
        prop_assert_eq!(lines.matches("--=_k7d2m").count(), 3, "the boundary stands nowhere else");

        let read = MessageParser::default().parse(&built).unwrap();
        prop_assert_eq!(read.subject().unwrap_or(""), &subject, "{}", lines);
        let from = read.from().and_then(Address::first).unwrap();
        prop_assert_eq!(from.name().unwrap_or(""), &name, "{}", lines);
        prop_assert_eq!(from.address(), Some("news@mail.shop.example"));
        prop_assert_eq!(read.text_body_count(), 1);
        prop_assert_eq!(read.body_text(0).unwrap_or_default(), crlf(&text), "{}", lines);
        prop_assert_eq!(read.body_html(0).unwrap_or_default(), crlf(&html), "{}", lines);
        prop_assert_eq!(read.message_id(), Some("k7d2m@mail.shop.example"));
        prop_assert_eq!(read.attachment_count(), 0);
    }
}

/// The second opinion: Python's own email package, for one letter with everything difficult in it.
#[test]
fn python_reads_the_same() {
    let script = "import sys, json, email, email.policy\n\
        m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)\n\
        part = lambda kind: m.get_body(preferencelist=(kind,)).get_content()\n\
        a = m['From'].addresses[0]\n\
        print(json.dumps([m['Subject'], a.display_name, a.addr_spec, part('plain'), part('html'), m['List-Unsubscribe-Post'], [str(d) for d in m.defects]]))\n";
    if !Command::new("python3").args(["-c", "import email"]).stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        eprintln!("left out: python3 is not on this machine");
        return;
    }
    let name = "Олена «О'Ніл», \"the\" \\ 🌷";
    let subject = "Олено, весна вже тут 🌷👩‍👩‍👧 — знижки до 50 %: тільки сьогодні, і тільки для вас, не проґавте!";
    let text = format!(".\n..\n.dots\n{}\nДовгий рядок {}\nend \n", "x".repeat(2000), "слово ".repeat(200));
    let html = format!("<p>{}</p>\n<a href=\"https://x.example/?a=1&b=2\">🌷</a>\n", "слово ".repeat(300));
    let mut python = Command::new("python3").args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    python.stdin.take().unwrap().write_all(&build(&letter(name, subject, &text, Some(&html))).unwrap()).unwrap();
    let output = python.wait_with_output().unwrap();
    let read: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected = serde_json::json!([subject, name, "news@mail.shop.example", text, html, "List-Unsubscribe=One-Click", []]);
    // Python gives line ends as \n.
    assert_eq!(read.to_string().replace("\\r\\n", "\\n"), expected.to_string());
}

struct Stopped(Child);
impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_message_arrives_byte_for_byte_at_receivers_of_others() {
    let text = format!(".\n..\n.dots\n{}\nкінець\n", ".".repeat(2000));
    let mime = build(&letter("Олена 🌷", "Весна", &text, Some("<p>.</p>\n.\n"))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut tried = 0;

    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.starts_with(b"0"));
    let python = "import asyncio, sys\nfrom aiosmtpd.controller import Controller\n\
        class Keep:\n    async def handle_DATA(self, server, session, envelope):\n        open(sys.argv[2], 'wb').write(envelope.original_content)\n        return '250 kept'\n\
        c = Controller(Keep(), hostname='127.0.0.1', port=int(sys.argv[1]))\nc.start()\nsys.stdin.read()\n";
    if root {
        // smtp-sink writes as nobody.
        let _ = Command::new("chmod").arg("777").arg(folder.path()).status();
    }
    for (name, program) in [("smtp-sink", "/usr/sbin/smtp-sink"), ("aiosmtpd", "python3")] {
        let port = free_port();
        let kept = folder.path().join(name);
        let mut command = Command::new(program);
        if name == "smtp-sink" {
            std::fs::create_dir(&kept).unwrap();
            let _ = Command::new("chmod").arg("777").arg(&kept).status();
            if root {
                command.args(["-u", "nobody"]);
            }
            command.arg("-d").arg(kept.join("%M.")).arg(format!("127.0.0.1:{port}")).arg("10");
        } else {
            if !Command::new("python3").args(["-c", "import aiosmtpd"]).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
            {
                eprintln!("left out: {name} is not on this machine");
                continue;
            }
            command.args(["-c", python, &port.to_string()]).arg(&kept);
        }
        let Ok(child) = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
            eprintln!("left out: {name} is not on this machine");
            continue;
        };
        let _stopped = Stopped(child);
        let relay = Smtp::new("relay", Settings::plain("127.0.0.1", port));
        let body = Body::Email { from: "b-1@bounce.shop.example".to_string(), to: "ada@example.org".to_string(), mime: mime.clone() };
        let outgoing = Outgoing { message: MessageId(1), body, key: "k".to_string() };
        // The receiver needs a moment to listen; the provider's own pause between attempts is the waiting.
        let mut outcome = relay.send(&outgoing).await;
        for _ in 0..20 {
            let Outcome::Unreachable { after, .. } = &outcome else { break };
            tokio::time::sleep(after.unwrap_or_default()).await;
            outcome = relay.send(&outgoing).await;
        }
        assert!(matches!(outcome, Outcome::Accepted { .. }), "{name}: {outcome:?}");
        let file = match name {
            "smtp-sink" => std::fs::read_dir(&kept).unwrap().next().unwrap().unwrap().path(),
            _ => kept,
        };
        let arrived = std::fs::read(file).unwrap();
        // smtp-sink keeps its own lines before the message and LF as line ends.
        let arrived = String::from_utf8(arrived).unwrap().replace("\r\n", "\n");
        let sent = String::from_utf8(mime.clone()).unwrap().replace("\r\n", "\n");
        assert!(arrived.trim_end().ends_with(sent.trim_end()), "{name}: {arrived}");
        tried += 1;
    }
    eprintln!("{tried} receivers of others were tried");
}

#[tokio::test]
async fn hundreds_of_connections_at_once_lose_nothing() {
    let catcher = Catcher::anywhere(Clock::real()).await.unwrap();
    let relay = std::sync::Arc::new(Smtp::new(
        "relay",
        Settings { connections: 200, messages: 7, ..Settings::plain("127.0.0.1", catcher.smtp().port()) },
    ));
    let mime = build(&letter("Ada", "Hello", "Hi\n", None)).unwrap();
    let senders: Vec<_> = (0..3000_i64)
        .map(|number| {
            let (relay, mime) = (relay.clone(), mime.clone());
            tokio::spawn(async move {
                let body = Body::Email { from: String::new(), to: format!("c{number}@example.org"), mime };
                relay.send(&Outgoing { message: MessageId(number), body, key: number.to_string() }).await
            })
        })
        .collect();
    for sender in senders {
        assert!(matches!(sender.await.unwrap(), Outcome::Accepted { .. }));
    }
    catcher.wait_for(3000).await;
    let mut to: Vec<String> = catcher.messages().iter().map(|message| message.to.clone()).collect();
    to.sort();
    to.dedup();
    assert_eq!((to.len(), catcher.count()), (3000, 3000), "each arrived once");
}
