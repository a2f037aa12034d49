//! Delivering: a message arrives as it was written, and every way in which a relay fails leads to the right outcome.

use posthaste::campaigns::model::ProviderSettings;
use posthaste::catcher::Catcher;
use posthaste::clock::Clock;
use posthaste::providers::email::mime::{Letter, ListUnsubscribe, Mailbox, build};
use posthaste::providers::email::smtp::{Settings, Smtp, Timeouts};
use posthaste::providers::{Body, Outcome, Outgoing, Provider, open};
use posthaste::types::{Channel, Class, Failure, MessageId};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

fn letter<'a>(to: &'a str, text: &'a str, html: Option<&'a str>) -> Letter<'a> {
    Letter {
        class: Class::Advertising,
        from: Mailbox { name: "Крамниця «Світло», \"Lamps & Co.\"", address: "news@mail.shop.example" },
        to: Mailbox { name: "Олена О'Ніл 🌷", address: to },
        reply_to: Some("help@shop.example"),
        subject: "Олено, весна вже тут 🌷👩‍👩‍👧 — знижки до 50 %, тільки сьогодні і тільки для вас, не проґавте",
        text,
        html,
        known_text: None,
        known_html: None,
        date: "2027-03-01T10:00:00Z".parse().unwrap(),
        message_id: "k7d2m@mail.shop.example",
        boundary: "k7d2m",
        list_unsubscribe: Some(ListUnsubscribe {
            https: "https://go.shop.example/u/TOKEN",
            mailto: Some("mailto:u+TOKEN@go.shop.example"),
        }),
        list_id: Some(("Знижки", "offers.mail.shop.example")),
        feedback_id: Some("12:offers:email:posthaste"),
        auto_submitted: false,
        headers: &[("X-Message", "k7d2m")],
    }
}

fn email(to: &str, mime: Vec<u8>) -> Outgoing {
    let body = Body::Email { from: "b-1@bounce.shop.example".to_string(), to: to.to_string(), mime };
    Outgoing { message: MessageId(1), body, key: "k".to_string() }
}

fn plain(to: &str) -> Outgoing {
    email(to, build(&letter(to, "Hello", None)).unwrap())
}

fn sms(to: &str, text: &str) -> Outgoing {
    let body = Body::Sms { sender: "SHOP".to_string(), to: to.to_string(), text: text.to_string(), parts: 1, lasts: None };
    Outgoing { message: MessageId(1), body, key: "k".to_string() }
}

pub fn settings(channel: Channel, kind: &str, settings: serde_json::Value) -> ProviderSettings {
    let serde_json::Value::Object(settings) = settings else { unreachable!() };
    ProviderSettings {
        channel,
        kind: kind.to_string(),
        rate: None,
        price: Default::default(),
        countries: None,
        weight: 1,
        backup: false,
        settings,
    }
}

async fn catcher() -> Catcher {
    Catcher::anywhere(Clock::standing_at("2027-03-01T10:00:00Z".parse().unwrap())).await.unwrap()
}

/// One word for an outcome, as tables of cases want it.
fn word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Accepted { .. } => "accepted".to_string(),
        Outcome::Later { throttled: true, .. } => "later, throttled".to_string(),
        Outcome::Later { .. } => "later".to_string(),
        Outcome::Away { .. } => "away".to_string(),
        Outcome::Refused { class, suppress: true, .. } => format!("refused {class}, suppress"),
        Outcome::Refused { class, .. } => format!("refused {class}"),
        Outcome::Broken { .. } => "broken".to_string(),
        Outcome::Unreachable { .. } => "unreachable".to_string(),
        Outcome::Unknown { .. } => "unknown".to_string(),
    }
}

#[tokio::test]
async fn a_message_with_every_difficulty_arrives_byte_for_byte() {
    let catcher = catcher().await;
    let settings = settings(Channel::Email, "smtp", serde_json::json!({ "host": "127.0.0.1", "port": catcher.smtp().port() }));
    let relay = open("relay", &settings, &|text| Ok(text.to_string())).unwrap();
    let long = "довгий рядок без кінця ".repeat(90);
    let text = format!(
        ".\n..\n.a line with a dot\r\nbare CR\rand \"quotes\" = 'more' <angles>\n{}\n{long}\ntrailing space \ntab\t\nFrom here\n\n🌷👩‍👩‍👧 end\n.\n",
        "x".repeat(2000)
    );
    let html = format!("<p>.</p>\n.\n<p>{}</p><a href=\"https://go.shop.example/?a=1&b=2\">Їжак</a>\n{long}", "y".repeat(2000));
    let mime = build(&letter("olena@example.org", &text, Some(&html))).unwrap();
    assert!(mime.is_ascii() && mime.split(|byte| *byte == b'\n').all(|line| line.len() <= 77), "7-bit, in lines of at most 76");

    let outcome = relay.send(&email("olena@example.org", mime.clone())).await;
    assert_eq!(outcome, Outcome::Accepted { id: Some("C1".to_string()), reply: "250 2.0.0 Ok: queued as C1".to_string() });
    catcher.wait_for(1).await;

    let caught = catcher.messages().pop().unwrap();
    assert_eq!((caught.from.as_str(), caught.to.as_str()), ("b-1@bounce.shop.example", "olena@example.org"));
    assert_eq!(caught.raw, mime, "not one byte is changed on the way");
    let read = caught.letter();
    let crlf = |text: &str| text.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n");
    assert_eq!(read.text, crlf(&text));
    assert_eq!(read.html, Some(crlf(&html)));
    assert_eq!(read.subject, letter("", "", None).subject);
    assert_eq!(read.from, "Крамниця «Світло», \"Lamps & Co.\" <news@mail.shop.example>");
    assert_eq!(read.to, "Олена О'Ніл 🌷 <olena@example.org>");
    assert_eq!(read.header("List-Unsubscribe"), Some("<https://go.shop.example/u/TOKEN>, <mailto:u+TOKEN@go.shop.example>"));
}

#[tokio::test]
async fn a_line_break_in_an_address_never_reaches_the_dialogue() {
    let catcher = catcher().await;
    let relay = Smtp::new("relay", Settings::plain("127.0.0.1", catcher.smtp().port()));
    for bad in [
        "ada@example.org>\r\nRCPT TO:<eve@example.org",
        "ada@example.org\nDATA",
        "ada@example.org, eve@example.org",
        "<ada@example.org>",
        "",
    ] {
        let outcome = relay.send(&email(bad, b"Subject: x\r\n\r\nx\r\n".to_vec())).await;
        assert_eq!(word(&outcome), "refused unsafe_value", "{bad:?}: {outcome:?}");
    }
    assert_eq!(catcher.count(), 0);
}

#[tokio::test]
async fn each_answer_of_a_receiver_leads_to_its_outcome_over_one_connection() {
    let catcher = catcher().await;
    let timeouts = Timeouts { body: Duration::from_millis(300), ..Timeouts::default() };
    let relay = Smtp::new("relay", Settings { connections: 1, timeouts, ..Settings::plain("127.0.0.1", catcher.smtp().port()) });
    for (to, expected) in [
        ("ada@example.org", "accepted"),
        ("busy@example.org", "later"),
        ("ada@example.org", "accepted"),
        ("refuse.me@example.org", "refused invalid_address, suppress"),
        ("unknown@example.org", "refused invalid_address, suppress"),
        ("full@example.org", "later"),
        ("blocked@example.org", "refused blocked"),
        ("close@example.org", "away"),
        ("ada@example.org", "accepted"),
        ("drop@example.org", "unknown"),
        ("hang@example.org", "unknown"),
        ("ada@example.org", "accepted"),
        ("юзер@пошта.укр", "accepted"),
    ] {
        let outcome = relay.send(&plain("ada@example.org").to(to)).await;
        assert_eq!(word(&outcome), expected, "{to}: {outcome:?}");
    }
    assert_eq!(catcher.count(), 5, "what was not accepted did not arrive either");
}

/// The same message to another recipient.
trait To {
    fn to(self, to: &str) -> Self;
}
impl To for Outgoing {
    fn to(mut self, address: &str) -> Outgoing {
        if let Body::Email { to, .. } = &mut self.body {
            *to = address.to_string();
        }
        self
    }
}

/// What a scripted server does after it has read a line (or the body).
#[derive(Clone, Copy)]
enum Act {
    Say(&'static str),
    /// Byte by byte, each in a packet of its own.
    Dribble(&'static str),
    Hang,
    Close,
}

/// A server that plays a script on every connection: the greeting, then one act for each command line; the body counts as one line.
async fn scripted(script: &'static [Act]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.set_nodelay(true).unwrap();
                let mut stream = BufReader::new(stream);
                let mut body = false;
                for (number, act) in script.iter().enumerate() {
                    if number > 0 {
                        read_one(&mut stream, body).await;
                    }
                    match act {
                        Act::Say(reply) => {
                            body = reply.starts_with("354");
                            let _ = stream.get_mut().write_all(reply.as_bytes()).await;
                        }
                        Act::Dribble(reply) => {
                            body = reply.starts_with("354");
                            for byte in reply.bytes() {
                                let _ = stream.get_mut().write_all(&[byte]).await;
                                tokio::task::yield_now().await;
                            }
                        }
                        Act::Hang => std::future::pending().await,
                        Act::Close => return,
                    }
                }
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest).await;
            });
        }
    });
    port
}

async fn read_one(stream: &mut BufReader<tokio::net::TcpStream>, body: bool) {
    let mut line = String::new();
    while stream.read_line(&mut line).await.is_ok_and(|length| length > 0) {
        if !body || line == ".\r\n" {
            return;
        }
        line.clear();
    }
}

const HELLO: Act = Act::Say("250-relay.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n");
const BARE: Act = Act::Say("250 relay.example\r\n");

#[tokio::test]
async fn a_relay_that_fails_before_the_body_leaves_the_message_for_later_and_after_it_unknown() {
    use Act::{Close, Dribble, Hang, Say};
    const OK: Act = Say("250 2.0.0 Ok\r\n");
    const GO: Act = Say("354 go\r\n");
    let cases: &[(&str, &'static [Act], &str)] = &[
        ("all goes well", &[Say("220 hi\r\n"), HELLO, OK, OK, GO, OK], "accepted"),
        ("without pipelining", &[Say("220 hi\r\n"), BARE, OK, OK, GO, OK], "accepted"),
        (
            "replies of several lines, a byte at a time",
            &[
                Dribble("220-relay.example\r\n220-hello\r\n220 \r\n"),
                Dribble("250-relay.example\r\n250-PIPELINING\r\n250-SIZE 0\r\n250 8BITMIME\r\n"),
                Dribble("250-2.1.0 sender\r\n250 2.1.0 ok\r\n"),
                Dribble("250 2.1.5 ok\r\n"),
                Dribble("354-now\r\n354 go\r\n"),
                Dribble("250-2.0.0 taken\r\n250 2.0.0 queued as 77AB\r\n"),
            ],
            "accepted",
        ),
        ("no greeting", &[Hang], "unreachable"),
        ("closed at once", &[Close], "unreachable"),
        ("greeted with 421", &[Say("421 4.3.2 too many connections\r\n")], "later, throttled"),
        ("greeted with 554", &[Say("554 5.7.1 you are blocked using a list\r\n")], "broken"),
        ("no SMTP at all", &[Say("HTTP/1.1 400 Bad Request\r\n")], "unreachable"),
        ("EHLO hangs", &[Say("220 hi\r\n"), Hang], "unreachable"),
        ("MAIL hangs", &[Say("220 hi\r\n"), HELLO, Hang], "later"),
        (
            "MAIL refused",
            &[
                Say("220 hi\r\n"),
                HELLO,
                Say("550 5.7.1 sender is on a blocklist\r\n"),
                Say("503 5.5.1 no\r\n"),
                Say("503 5.5.1 no\r\n"),
                OK,
            ],
            "refused blocked",
        ),
        (
            "MAIL refused for now",
            &[Say("220 hi\r\n"), HELLO, Say("451 4.3.0 later\r\n"), Say("503 5.5.1 no\r\n"), Say("503 5.5.1 no\r\n"), OK],
            "later",
        ),
        ("MAIL answered 421", &[Say("220 hi\r\n"), HELLO, Say("421 4.3.2 bye\r\n"), Close], "away"),
        (
            "RCPT refused, DATA still says go",
            &[Say("220 hi\r\n"), HELLO, OK, Say("550 5.1.1 no such user\r\n"), GO, Say("554 5.5.1 no recipients\r\n"), OK],
            "refused invalid_address, suppress",
        ),
        (
            "RCPT refused without pipelining",
            &[Say("220 hi\r\n"), BARE, OK, Say("550 5.1.1 no such user\r\n"), OK],
            "refused invalid_address, suppress",
        ),
        (
            "RCPT over quota for good",
            &[Say("220 hi\r\n"), HELLO, OK, Say("552 5.2.2 mailbox full\r\n"), Say("503 5.5.1 no\r\n"), OK],
            "later",
        ),
        ("RCPT closes", &[Say("220 hi\r\n"), HELLO, OK, Close], "later"),
        ("DATA refused", &[Say("220 hi\r\n"), HELLO, OK, OK, Say("451 4.3.1 no space\r\n"), OK], "later"),
        ("DATA hangs", &[Say("220 hi\r\n"), HELLO, OK, OK, Hang], "later"),
        ("DATA answered with 250", &[Say("220 hi\r\n"), HELLO, OK, OK, OK], "later"),
        ("go, then nothing", &[Say("220 hi\r\n"), HELLO, OK, OK, GO, Hang], "unknown"),
        ("go, then closed", &[Say("220 hi\r\n"), HELLO, OK, OK, GO, Close], "unknown"),
        ("a broken answer to the final dot", &[Say("220 hi\r\n"), HELLO, OK, OK, GO, Say("25\r\n")], "unknown"),
        ("an impossible answer to the final dot", &[Say("220 hi\r\n"), HELLO, OK, OK, GO, GO], "unknown"),
        ("half an answer to the final dot", &[Say("220 hi\r\n"), HELLO, OK, OK, GO, Say("250-2.0.0 almost\r\n"), Close], "unknown"),
        ("content refused", &[Say("220 hi\r\n"), HELLO, OK, OK, GO, Say("554 5.7.1 looks like spam\r\n")], "refused blocked"),
        ("content refused for now", &[Say("220 hi\r\n"), HELLO, OK, OK, GO, Say("451 4.7.1 greylisted\r\n")], "later"),
        ("too large", &[Say("220 hi\r\n"), Say("250-x\r\n250 SIZE 100\r\n")], "refused too_large"),
    ];
    for (name, script, expected) in cases {
        let brief = Duration::from_millis(200);
        let timeouts = Timeouts { connect: brief, command: brief, body: brief, idle: brief };
        let relay = Smtp::new("relay", Settings { timeouts, ..Settings::plain("127.0.0.1", scripted(script).await) });
        let outcome = relay.send(&plain("ada@example.org")).await;
        assert_eq!(word(&outcome), *expected, "{name}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_relay_that_closes_after_so_many_messages_loses_none() {
    // 421 at the second MAIL of a connection: the message goes over a fresh one at once.
    const OK: Act = Act::Say("250 2.0.0 Ok\r\n");
    const SCRIPT: &[Act] = &[
        Act::Say("220 hi\r\n"),
        HELLO,
        OK,
        OK,
        Act::Say("354 go\r\n"),
        OK,
        Act::Say("421 4.7.0 enough for one connection\r\n"),
        Act::Close,
    ];
    let relay = Smtp::new("relay", Settings { connections: 1, ..Settings::plain("127.0.0.1", scripted(SCRIPT).await) });
    for _ in 0..5 {
        assert_eq!(word(&relay.send(&plain("ada@example.org")).await), "accepted");
    }
}

#[tokio::test]
async fn a_relay_that_is_away_is_asked_again_only_after_a_pause() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let relay = Smtp::new("relay", Settings::plain("127.0.0.1", port));
    for _ in 0..2 {
        let outcome = relay.send(&plain("ada@example.org")).await;
        assert!(matches!(&outcome, Outcome::Unreachable { after: Some(pause), .. } if *pause <= Duration::from_secs(1)), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_short_message_reaches_the_catcher_and_each_answer_has_its_outcome() {
    let catcher = catcher().await;
    let settings = settings(Channel::Sms, "catcher", serde_json::json!({ "address": catcher.http().to_string() }));
    let provider = open("texts", &settings, &|text| Ok(text.to_string())).unwrap();
    let text = "20% до 7.03: shop.example/s & \"більше\" = 🌷\nдругий рядок";
    for (to, expected) in [
        ("+380501112233", "accepted"),
        ("+15005550001", "refused invalid_address, suppress"),
        ("+15005550002", "refused policy"),
        ("+15005550003", "refused policy"),
        ("+15005550004", "refused opted_out, suppress"),
        ("+15005550009", "refused invalid_address, suppress"),
        ("+15005550429", "later, throttled"),
        ("+380501112233\r\nX: y", "refused unsafe_value"),
    ] {
        let outcome = provider.send(&sms(to, text)).await;
        assert_eq!(word(&outcome), expected, "{to}: {outcome:?}");
    }
    let caught = catcher.messages();
    assert_eq!((caught.len(), caught[0].letter().text.as_str(), caught[0].to.as_str()), (1, text, "+380501112233"));
}

#[tokio::test]
async fn a_provider_with_a_missing_secret_or_an_unknown_key_does_not_open() {
    let unset = |text: &str| if text.contains("${") { Err("SMTP_PASSWORD".to_string()) } else { Ok(text.to_string()) };
    for (channel, kind, values, expected) in [
        (
            Channel::Email,
            "smtp",
            serde_json::json!({ "host": "r.example", "user": "u", "password": "${SMTP_PASSWORD}" }),
            "names the secret SMTP_PASSWORD, which is not set",
        ),
        (Channel::Email, "smtp", serde_json::json!({ "hots": "r.example" }), "`host` is missing"),
        (Channel::Email, "smtp", serde_json::json!({ "host": "r.example", "prot": 25 }), "`prot` is not known; did you mean `port`?"),
        (
            Channel::Email,
            "smtp",
            serde_json::json!({ "host": "r.example", "security": "none", "user": "u", "password": "p" }),
            "unprotected",
        ),
        (Channel::Sms, "smtp", serde_json::json!({ "host": "r.example" }), "cannot send sms"),
        (Channel::Sms, "smpp", serde_json::json!({}), "`host` is missing"),
    ] {
        let error = open("relay", &settings(channel, kind, values), &unset).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(expected), "{error}");
    }
    assert!(matches!(Failure::from_word("unsafe_value"), Some(Failure::UnsafeValue)));
}

#[tokio::test]
async fn a_gateway_described_in_the_file_is_asked_as_written_and_its_failures_have_their_outcomes() {
    use axum::http::{HeaderMap, StatusCode};
    let app = axum::Router::new().route(
        "/send",
        axum::routing::post(async |headers: HeaderMap, body: String| {
            let asked: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!((headers["authorization"].to_str().unwrap(), asked["key"].as_str()), ("Bearer s3cret", Some("k")));
            match asked["to"].as_str().unwrap() {
                "+1" => (
                    StatusCode::OK,
                    HeaderMap::new(),
                    format!(r#"{{"code": 0, "results": [{{"id": {}}}]}}"#, asked["text"].to_string().len()),
                ),
                "+2" => (
                    StatusCode::TOO_MANY_REQUESTS,
                    HeaderMap::from_iter([(axum::http::header::RETRY_AFTER, "90".parse().unwrap())]),
                    String::new(),
                ),
                "+3" => (StatusCode::UNAUTHORIZED, HeaderMap::new(), String::new()),
                "+4" => (StatusCode::OK, HeaderMap::new(), r#"{"code": 103}"#.to_string()),
                "+5" => (StatusCode::BAD_GATEWAY, HeaderMap::new(), String::new()),
                "+6" => (
                    StatusCode::FOUND,
                    HeaderMap::from_iter([(axum::http::header::LOCATION, "http://127.0.0.1:1/".parse().unwrap())]),
                    String::new(),
                ),
                // Closed without an answer.
                _ => panic!("as a gateway may"),
            }
        }),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/send", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let gateway = |url: &str| {
        let values = serde_json::json!({
            "url": url, "headers": { "Authorization": "Bearer ${TOKEN}" }, "body": r#"{"to": "{{to}}", "text": "{{text}}", "key": "{{key}}"}"#,
            "id": "results.0.id", "accepted": { "code": 0 }, "broken": { "code": [103] }
        });
        open("gateway", &settings(Channel::Sms, "http", values), &|text| Ok(text.replace("${TOKEN}", "s3cret"))).unwrap()
    };
    let provider = gateway(&url);
    for (to, expected) in [
        ("+1", "accepted"),
        ("+2", "later, throttled"),
        ("+3", "broken"),
        ("+4", "broken"),
        ("+5", "unknown"),
        ("+6", "broken"),
        ("+7", "unknown"),
    ] {
        let outcome = provider.send(&sms(to, "\"quotes\"\nand ї")).await;
        assert_eq!(word(&outcome), expected, "{to}: {outcome:?}");
        if let Outcome::Later { after, .. } = outcome {
            assert_eq!(after, Some(Duration::from_secs(90)));
        }
    }
    let nobody = gateway("http://127.0.0.1:1/send").send(&sms("+1", "x")).await;
    assert_eq!(word(&nobody), "unreachable", "{nobody:?}");
}
