//! Mail that comes in: taken for our own addresses only, kept before it is acknowledged, read once, and turned into what it says.

use crate::databases::{Database, databases};
use crate::world::{Obedient, Outbox, SIGNING, World, advertising};
use chrono::TimeDelta;
use posthaste::clock::Clock;
use posthaste::inbound::forward::Forwarder;
use posthaste::inbound::listener::{Door, Settings, serve};
use posthaste::inbound::tls::ServerTls;
use posthaste::inbound::{Processor, Ways};
use posthaste::providers::Body;
use posthaste::store::Store;
use posthaste::store::inbound::NewMail;
use posthaste::tracking::{Kind, Tokens};
use posthaste::types::{Channel, MessageId, Time};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls;
use tokio_util::sync::CancellationToken;

fn ways() -> Ways {
    Ways::new(["b.shop.example".to_string()].into(), ["answers.shop.example".to_string()].into())
}

fn tokens() -> Arc<Tokens> {
    Arc::new(Tokens::new(SIGNING).unwrap())
}

/// The return path of a message.
fn path(message: i64, now: Time) -> String {
    format!("b-{}@b.shop.example", tokens().sign_address(Kind::Bounce, MessageId(message), now, Some(30)))
}

/// The headers by which an answer names a message.
fn about(message: i64) -> String {
    format!("<{}@mail.shop.example>", tokens().sign_address(Kind::Letter, MessageId(message), crate::respond::accepted(), None))
}

/// A listener on a free port.
async fn listen(store: &Store, clock: &Clock, settings: Settings) -> (SocketAddr, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let door = Door::new(store.clone(), clock.clone(), tokens(), settings, ways());
    tokio::spawn(serve(listener, door, stop.clone()));
    (address, stop)
}

/// Says lines to a server, and gives the first word of each answer (and the text of the last).
struct Dialogue<S> {
    stream: BufReader<S>,
}

impl Dialogue<TcpStream> {
    async fn open(address: SocketAddr) -> Dialogue<TcpStream> {
        let mut dialogue = Dialogue { stream: BufReader::new(TcpStream::connect(address).await.unwrap()) };
        assert!(dialogue.answer().await.starts_with("220 "));
        dialogue
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Dialogue<S> {
    async fn answer(&mut self) -> String {
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).await.unwrap();
            if line.as_bytes().get(3) != Some(&b'-') {
                return line.trim_end().to_string();
            }
        }
    }

    async fn say(&mut self, line: &str) -> String {
        self.stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
        self.answer().await
    }

    /// A whole mail in one transaction; the last answer.
    async fn mail(&mut self, from: &str, to: &str, mail: &str) -> String {
        assert!(self.say(&format!("MAIL FROM:<{from}>")).await.starts_with("250"));
        let taken = self.say(&format!("RCPT TO:<{to}>")).await;
        if !taken.starts_with("250") {
            self.say("RSET").await;
            return taken;
        }
        assert!(self.say("DATA").await.starts_with("354"));
        self.say(&format!("{}\r\n.", mail.trim_end().replace("\n.", "\n.."))).await
    }
}

fn bounce(fields: &str) -> String {
    format!(
        "From: MAILER-DAEMON@mx.example\r\nSubject: Undelivered Mail\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=x\r\n\r\n\
         --x\r\nContent-Type: text/plain\r\n\r\nYour mail could not be delivered.\r\n--x\r\nContent-Type: message/delivery-status\r\n\r\n\
         Reporting-MTA: dns; mx.example\r\n\r\nFinal-Recipient: rfc822; somebody@example.org\r\n{fields}\r\n--x--\r\n"
    )
}

const INVALID: &str = "Action: failed\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1 User unknown\r\n";
const QUOTA: &str = "Action: failed\r\nStatus: 5.2.2\r\nDiagnostic-Code: smtp; 552 5.2.2 Mailbox full\r\n";
const BLOCKED: &str = "Action: failed\r\nStatus: 5.7.1\r\nDiagnostic-Code: smtp; 554 5.7.1 blocked using zen.spamhaus.org\r\n";
const DISABLED: &str = "Action: failed\r\nStatus: 5.2.1\r\nDiagnostic-Code: smtp; 550 5.2.1 mailbox is disabled\r\n";
const OWNER: &str = "Action: failed\r\nStatus: 5.7.17\r\nDiagnostic-Code: smtp; 550 5.7.17 mailbox owner has changed\r\n";
const DELAYED: &str = "Action: delayed\r\nStatus: 4.4.1\r\nDiagnostic-Code: smtp; connection timed out\r\n";

struct Desk {
    store: Store,
    clock: Clock,
    processor: Processor,
    outbox: Arc<Outbox>,
}

impl Desk {
    /// Five people of `respond::seed`, each with a message.
    async fn new(database: &Database) -> Desk {
        crate::respond::seed(&database.store, 9).await;
        let outbox: Arc<Outbox> = Arc::default();
        let provider = Arc::new(Obedient { channel: Channel::Email, outbox: outbox.clone() });
        let processor = Processor {
            store: database.store.clone(),
            tokens: tokens(),
            zone: chrono_tz::UTC,
            ways: ways(),
            forwarder: Some(Forwarder::new("desk@shop.example", "news@mail.shop.example", "in.shop.example", provider)),
        };
        Desk { store: database.store.clone(), clock: Clock::standing_at(crate::respond::accepted()), processor, outbox }
    }

    /// Keeps a mail as the listener does, and reads all that waits.
    async fn take(&self, sender: &str, to: &str, raw: &str) {
        let mail = NewMail { sender: sender.into(), recipients: vec![to.into()], raw: raw.into(), received_at: self.clock.now() };
        self.store.keep_mail(&mail).await.unwrap();
        self.read().await;
    }

    async fn read(&self) {
        while self.processor.turn(self.clock.now()).await.unwrap() > 0 {}
    }

    fn path(&self, message: i64) -> String {
        path(message, self.clock.now())
    }

    /// Customers whose address is suppressed, with the reason's number.
    async fn suppressed(&self) -> Vec<(i64, i64, i64)> {
        let sql = "SELECT a.customer_id, CAST(s.reason AS BIGINT), CAST(0 AS BIGINT) FROM suppressions s JOIN addresses a ON a.key = s.key ORDER BY a.customer_id";
        crate::respond::read(&self.store, sql).await
    }

    /// Events of messages by customer.
    async fn events(&self, name: &'static str) -> Vec<i64> {
        let sql =
            format!("SELECT customer_id, CAST(0 AS BIGINT), CAST(0 AS BIGINT) FROM events WHERE name = '{name}' ORDER BY customer_id");
        crate::respond::read(&self.store, &sql).await.into_iter().map(|(customer, ..)| customer).collect()
    }
}

#[tokio::test]
async fn a_bounce_does_to_the_address_what_its_class_says_and_a_block_does_nothing() {
    for database in databases().await {
        let desk = Desk::new(&database).await;
        for (message, fields) in [(1, INVALID), (2, QUOTA), (3, BLOCKED), (4, DISABLED), (5, OWNER), (6, DELAYED)] {
            let path = desk.path(message);
            desk.take("", &path, &bounce(fields)).await;
        }
        assert_eq!(desk.suppressed().await, [(1, 1, 0), (5, 1, 0)], "{}", database.name);
        assert_eq!(desk.events("message.bounced").await, [1, 2, 3, 4, 5], "{}", database.name);
        let withdrawn = "SELECT customer_id, CAST(state AS BIGINT), CAST(0 AS BIGINT) FROM consents WHERE topic = '*'";
        assert_eq!(crate::respond::read(&desk.store, withdrawn).await, [(5, 4, 0)], "who owns the address now agreed to nothing");
        // The same mail, given again by a relay that had not heard our answer, changes nothing.
        let path = desk.path(4);
        desk.take("", &path, &bounce(DISABLED)).await;
        let counted = "SELECT CAST(count AS BIGINT), CAST(kind AS BIGINT), CAST(0 AS BIGINT) FROM strikes ORDER BY kind";
        assert_eq!(crate::respond::read(&desk.store, counted).await, [(1, 1, 0), (1, 2, 0)], "{}", database.name);
        // Disabled again a day later: now it is suppressed. A full mailbox must be full five times over 30 days.
        for day in 1..=5 {
            desk.clock.advance_to(crate::respond::accepted() + TimeDelta::days(day * 8));
            if day == 1 {
                let path = desk.path(4);
                desk.take("", &path, &bounce(DISABLED)).await;
                assert_eq!(desk.suppressed().await, [(1, 1, 0), (4, 1, 0), (5, 1, 0)], "{}", database.name);
            }
            let before = desk.suppressed().await.len();
            let path = desk.path(2);
            desk.take("", &path, &bounce(QUOTA)).await;
            assert_eq!(desk.suppressed().await.len(), before + usize::from(day == 4), "day {day} on {}", database.name);
        }
        assert_eq!(desk.suppressed().await[1], (2, 5, 0));
        // What was read long ago is forgotten; the same mail would be another one then.
        let count = "SELECT COUNT(*), CAST(0 AS BIGINT), CAST(0 AS BIGINT) FROM inbound_mail";
        desk.processor.forget(desk.clock.now()).await.unwrap();
        assert_eq!(crate::respond::read(&desk.store, count).await, [(4, 0, 0)], "{}", database.name);
        // Read mail leaves no text behind.
        let left = "SELECT COUNT(*), CAST(0 AS BIGINT), CAST(0 AS BIGINT) FROM inbound_mail WHERE raw IS NOT NULL OR next_at IS NOT NULL";
        assert_eq!(crate::respond::read(&desk.store, left).await, [(0, 0, 0)], "{}", database.name);
    }
}

/// A report about one or more recipients, each with its fields.
fn report(recipients: &[(&str, &str)]) -> String {
    let blocks: Vec<String> =
        recipients.iter().map(|(address, fields)| format!("Final-Recipient: rfc822; {address}\r\n{fields}\r\n")).collect();
    bounce("").replace("Final-Recipient: rfc822; somebody@example.org\r\n", &blocks.join("\r\n"))
}

/// The letter went to `pN@example.org`. What is said of another address is not said of that one.
#[tokio::test]
async fn a_bounce_behind_a_forwarding_suppresses_neither_the_address_we_wrote_to_nor_the_one_it_was_passed_on_to() {
    const DELIVERED: &str = "Action: delivered\r\nStatus: 2.0.0\r\n";
    for database in databases().await {
        let desk = Desk::new(&database).await;
        let passed_on = |message: i64| format!("Original-Recipient: rfc822; p{message}@example.org\r\n{INVALID}");
        let reports = [
            (1, report(&[("somebody@elsewhere.example", &passed_on(1))])),
            (2, report(&[("somebody@elsewhere.example", INVALID)])),
            (3, report(&[("owner@elsewhere.example", OWNER)])),
            // A list of several: ours has arrived.
            (4, report(&[("somebody@elsewhere.example", INVALID), ("P4@Example.org", DELIVERED)])),
            // The address itself, and another name of it in the same house.
            (5, report(&[("p5@example.org", INVALID)])),
            (6, report(&[("p6@mailbox.example.org", INVALID)])),
            // Ours has failed too.
            (7, report(&[("somebody@elsewhere.example", QUOTA), ("p7@example.org", INVALID)])),
        ];
        for (message, raw) in &reports {
            let path = desk.path(*message);
            desk.take("", &path, raw).await;
        }
        assert_eq!(desk.suppressed().await, [(5, 1, 0), (6, 1, 0), (7, 1, 0)], "{}", database.name);
        assert_eq!(desk.events("message.bounced").await, [1, 2, 3, 5, 6, 7], "{}", database.name);
        assert_eq!(desk.events("message.delivered").await, [4], "{}", database.name);
        let withdrawn = "SELECT COUNT(*), CAST(0 AS BIGINT), CAST(0 AS BIGINT) FROM consents";
        assert_eq!(
            crate::respond::read(&desk.store, withdrawn).await,
            [(0, 0, 0)],
            "{}: whose mailbox that is agreed to nothing",
            database.name
        );
        let soft = "SELECT customer_id, CAST(0 AS BIGINT), CAST(0 AS BIGINT) FROM events WHERE properties ->> 'bounce' = 'soft' ORDER BY customer_id";
        assert_eq!(crate::respond::read(&desk.store, soft).await, [(1, 0, 0), (2, 0, 0), (3, 0, 0)], "{}", database.name);
        let told = "SELECT COUNT(*), CAST(0 AS BIGINT), CAST(0 AS BIGINT) FROM events WHERE properties ->> 'text' LIKE 'passed on to another address%'";
        assert_eq!(crate::respond::read(&desk.store, told).await, [(3, 0, 0)], "{}", database.name);
        // For weeks: then nobody reads what is sent there.
        for day in 1..=4 {
            desk.clock.advance_to(crate::respond::accepted() + TimeDelta::days(day * 8));
            let path = desk.path(1);
            desk.take("", &path, &reports[0].1).await;
        }
        assert_eq!(desk.suppressed().await[0], (1, 5, 0), "{}", database.name);
    }
}

#[tokio::test]
async fn a_mail_with_a_nul_in_it_is_read_like_any_other_and_takes_no_other_with_it() {
    for database in databases().await {
        let desk = Desk::new(&database).await;
        let strange = bounce(QUOTA).replace("Mailbox full", "Mailbox\0full");
        let mail = |message: i64, sender: &str, raw: &str| NewMail {
            sender: sender.into(),
            recipients: vec![desk.path(message)],
            raw: raw.into(),
            received_at: desk.clock.now(),
        };
        let answer = format!("From: a\r\nSubject: Re: \0\r\nIn-Reply-To: {}\r\n\r\nA \0 in a text\r\n", about(2));
        for mail in [mail(1, "", &strange), mail(2, "ada\0@example.org", &answer), mail(3, "", &bounce(INVALID))] {
            assert!(desk.store.keep_mail(&mail).await.unwrap(), "{}", database.name);
        }
        desk.read().await;
        assert_eq!(desk.events("message.bounced").await, [1, 3], "{}", database.name);
        assert_eq!(desk.events("message.replied").await, [2], "{}", database.name);
        assert_eq!(desk.suppressed().await, [(3, 1, 0)], "{}", database.name);
    }
}

#[tokio::test]
async fn a_letter_that_is_passed_on_again_after_a_crash_is_the_same_letter_and_says_so() {
    for database in databases().await {
        let desk = Desk::new(&database).await;
        let raw = format!("Message-ID: <its-own@example.org>\r\nSubject: Re: a\r\nReferences: {}\r\n\r\nHello?\r\n", about(1));
        desk.take("ada@example.org", "x@answers.shop.example", &raw).await;
        // The provider took it, and the process died before it was written down.
        let again = "UPDATE inbound_mail SET state = 2, next_at = 0, sender = 'ada@example.org', raw = $1";
        posthaste::on_writer!(&desk.store, pool => { sqlx::query(again).bind(raw.as_bytes()).execute(pool).await.unwrap(); });
        desk.clock.advance_to(desk.clock.now() + TimeDelta::minutes(7));
        desk.read().await;
        let letters = desk.outbox.letters.lock().unwrap().clone();
        let texts: Vec<String> = letters
            .iter()
            .map(|letter| match &letter.body {
                Body::Email { mime, .. } => String::from_utf8_lossy(mime).into_owned(),
                _ => panic!("no email"),
            })
            .collect();
        let [first, second] = texts.as_slice() else { panic!("{}: {} letters", database.name, texts.len()) };
        assert!(second.contains("X-Posthaste-Forwarded: yes; try 2, it may have come before\r\n"), "{second}");
        assert_eq!(first, &second.replace("; try 2, it may have come before", ""), "{}", database.name);
        assert_eq!(letters[0].key, letters[1].key, "a provider that knows a request again takes it once");
    }
}

#[tokio::test]
async fn forged_and_expired_tokens_change_nothing() {
    for database in databases().await {
        let desk = Desk::new(&database).await;
        let old = format!("b-{}@b.shop.example", tokens().sign_address(Kind::Bounce, MessageId(1), desk.clock.now(), Some(-1)));
        let mut forged = desk.path(2);
        forged.replace_range(4..6, if forged.starts_with("b-aaaa") { "bb" } else { "aa" });
        for to in [old.as_str(), &forged, "b-@b.shop.example", "postmaster@b.shop.example"] {
            desk.take("", to, &bounce(INVALID)).await;
        }
        // A token of ours inside helps nobody whose address has a forged one.
        let raw =
            bounce(INVALID).replace("--x--", &format!("--x\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: {}\r\n--x--", about(3)));
        desk.take("", &forged, &raw).await;
        assert_eq!(desk.suppressed().await, [], "{}", database.name);
        assert_eq!(desk.events("message.bounced").await, [0; 0]);
        // The same mail to the postmaster is about message 3 by its Message-ID.
        desk.take("", "postmaster@b.shop.example", &raw).await;
        assert_eq!(desk.suppressed().await, [(3, 1, 0)], "{}", database.name);
    }
}

#[tokio::test]
async fn complaints_answers_and_wishes_to_leave_reach_the_history_and_people() {
    for database in databases().await {
        let desk = Desk::new(&database).await;
        let complaint = |kind: &str, message: i64, body: &str| {
            format!(
                "From: fbl@provider.example\r\nContent-Type: multipart/report; report-type=feedback-report; boundary=x\r\n\r\n--x\r\nContent-Type: message/feedback-report\r\n\r\n\
                 Feedback-Type: {kind}\r\nUser-Agent: x\r\nVersion: 1\r\n\r\n--x\r\nContent-Type: message/rfc822\r\n\r\nFrom: news@mail.shop.example\r\nMessage-ID: {}\r\nTo: redacted\r\n\r\n{body}\r\n--x--\r\n",
                if message == 0 { "<hidden@example>".to_string() } else { about(message) }
            )
        };
        let open = "anything@answers.shop.example";
        desk.take("fbl@provider.example", open, &complaint("abuse", 1, "")).await;
        desk.take("fbl@provider.example", open, &complaint("not-spam", 2, "")).await;
        let link = format!("https://go.shop.example/u/{}", tokens().sign(Kind::Unsubscribe, MessageId(3)));
        desk.take("fbl@provider.example", open, &complaint("abuse", 0, &format!("see {link} =\r\n"))).await;
        assert_eq!(desk.suppressed().await, [(1, 2, 0), (3, 2, 0)], "{}", database.name);
        assert_eq!(desk.events("message.complained").await, [1, 3], "{}", database.name);

        let answer = |message: i64, more: &str, text: &str| {
            format!("From: Ada <ada@example.org>\r\nSubject: Re: Spring\r\nIn-Reply-To: {}\r\n{more}\r\n{text}\r\n", about(message))
        };
        let ada = "ada@example.org";
        desk.take(ada, open, &answer(4, "", "Do you have it in red?\r\n\r\nOn Monday The Shop wrote:\r\n> Spring")).await;
        desk.take(ada, open, &answer(5, "Auto-Submitted: auto-replied\r\n", "I am away until Monday; stop by later")).await;
        desk.take(ada, open, &answer(6, "", "СТОП!")).await;
        let leave = format!("u-{}@b.shop.example", tokens().sign_address(Kind::Leave, MessageId(7), desk.clock.now(), Some(30)));
        desk.take(ada, &leave, "From: ada@example.org\r\nSubject: whatever\r\n\r\n").await;
        assert_eq!(desk.events("message.replied").await, [4], "{}", database.name);
        assert_eq!(desk.events("message.auto_replied").await, [5], "{}", database.name);
        assert_eq!(desk.events("message.unsubscribed").await, [6, 7], "{}", database.name);
        let state = "SELECT customer_id, CAST(state AS BIGINT), CAST(channel AS BIGINT) FROM consent_state WHERE topic = 'offers' ORDER BY customer_id";
        assert_eq!(crate::respond::read(&desk.store, state).await, [(6, 4, 1), (7, 4, 1)], "{}", database.name);
        let text =
            "SELECT customer_id, CAST(0 AS BIGINT), CAST(0 AS BIGINT) FROM events WHERE properties ->> 'text' = 'Do you have it in red?'";
        assert_eq!(crate::respond::read(&desk.store, text).await, [(4, 0, 0)], "{}", database.name);

        // Only what a person wrote is passed on, from nobody, as it came.
        let letters = desk.outbox.letters.lock().unwrap().clone();
        let [letter] = letters.as_slice() else { panic!("{} letters were passed on", letters.len()) };
        let Body::Email { from, to, mime } = &letter.body else { panic!("no email") };
        let mime = String::from_utf8_lossy(mime);
        assert_eq!((from.as_str(), to.as_str()), ("", "desk@shop.example"));
        assert!(
            mime.starts_with("Received: by in.shop.example")
                && mime.contains("\r\nFrom: Ada <ada@example.org>\r\n")
                && mime.contains("> Spring"),
            "{mime}"
        );
        // It comes back in a circle: it is not passed on again.
        desk.take(ada, open, &mime).await;
        assert_eq!(desk.outbox.letters.lock().unwrap().len(), 1);
        assert_eq!(desk.events("message.replied").await, [4, 4], "{}", database.name);
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_passed_on_now_is_passed_on_later() {
    for database in databases().await {
        let desk = Desk::new(&database).await;
        let outage = posthaste::providers::Outcome::Away { after: None, reply: "421 4.3.2 away".into() };
        *desk.outbox.outage.lock().unwrap() = Some((desk.clock.clone(), desk.clock.now() + TimeDelta::minutes(15), outage));
        desk.take("ada@example.org", "x@answers.shop.example", &format!("Subject: Re: a\r\nReferences: {}\r\n\r\nHello?\r\n", about(1)))
            .await;
        assert_eq!(desk.outbox.in_vain.lock().unwrap().len(), 1);
        for _ in 0..3 {
            let next = desk.store.next_mail().await.unwrap().expect("it waits");
            desk.clock.advance_to(next);
            desk.read().await;
            if desk.store.next_mail().await.unwrap().is_none() {
                break;
            }
        }
        assert_eq!(desk.outbox.letters.lock().unwrap().len(), 1, "{}", database.name);
        assert_eq!(desk.events("message.replied").await, [1], "{}", database.name);
    }
}

#[tokio::test]
async fn a_crash_after_the_acknowledgement_loses_nothing_and_one_after_reading_doubles_nothing() {
    for database in databases().await {
        let desk = Desk::new(&database).await;
        let mail = NewMail {
            sender: String::new(),
            recipients: vec![desk.path(1)],
            raw: bounce(QUOTA).into_bytes(),
            received_at: desk.clock.now(),
        };
        assert!(desk.store.keep_mail(&mail).await.unwrap());
        assert!(!desk.store.keep_mail(&mail).await.unwrap(), "the same mail again");
        // A process took it and died.
        let taken = desk.store.claim_mail(desk.clock.now(), desk.clock.now() + TimeDelta::minutes(5), 10).await.unwrap();
        assert_eq!(taken.len(), 1);
        desk.read().await;
        assert_eq!(desk.events("message.bounced").await, [0; 0], "it is the other's for five minutes");
        desk.clock.advance_to(desk.clock.now() + TimeDelta::minutes(5));
        desk.read().await;
        assert_eq!(desk.events("message.bounced").await, [1], "{}", database.name);
        // It died after what it read was written, before it said so.
        let sql = "UPDATE inbound_mail SET state = 1, next_at = 0, raw = $1";
        let raw = mail.raw.clone();
        posthaste::on_writer!(&desk.store, pool => { sqlx::query(sql).bind(raw).execute(pool).await.unwrap(); });
        desk.read().await;
        assert_eq!(desk.events("message.bounced").await, [1], "{}", database.name);
        let counted = "SELECT CAST(count AS BIGINT), CAST(kind AS BIGINT), CAST(0 AS BIGINT) FROM strikes";
        assert_eq!(crate::respond::read(&desk.store, counted).await, [(1, 1, 0)], "{}", database.name);
    }
}

#[tokio::test]
async fn the_listener_takes_mail_for_us_and_is_no_relay() {
    for database in databases().await {
        let desk = Desk::new(&database).await;
        let settings = Settings { most_bytes: 10_000, ..Settings::new("in.shop.example", false) };
        let (address, stop) = listen(&desk.store, &desk.clock, settings).await;
        let mut dialogue = Dialogue::open(address).await;
        assert_eq!(dialogue.say("MAIL FROM:<>").await, "503 5.5.1 greet first");
        assert!(dialogue.say("LHLO x").await.starts_with("500"));
        assert!(dialogue.say("EHLO mx.example").await.starts_with("250 "));
        assert!(dialogue.say("RCPT TO:<a@b.example>").await.starts_with("503"));
        assert!(dialogue.say("DATA").await.starts_with("503"));
        assert!(dialogue.say("MAIL FROM:<> SIZE=99999").await.starts_with("552 5.3.4"));
        for (to, expected) in [
            ("ada@example.org", "550 5.7.1 we take no mail for others"),
            ("b-forged@b.shop.example", "550 5.1.1 there is no such address here"),
            ("anybody@b.shop.example", "550 5.1.1 there is no such address here"),
            (&desk.path(1), "250 2.0.0 kept"),
            (&desk.path(1).to_uppercase(), "250 2.0.0 kept"),
            ("postmaster@b.shop.example", "250 2.0.0 kept"),
        ] {
            assert_eq!(dialogue.mail("", to, &bounce(INVALID)).await, expected, "{to}");
        }
        assert_eq!(dialogue.mail("", &desk.path(2), &"x".repeat(20_000)).await, "552 5.3.4 the mail is too large");
        assert!(dialogue.say("WIZ").await.starts_with("500"));
        assert!(dialogue.say("AUTH PLAIN AAAA").await.starts_with("50"));
        assert!(dialogue.say("QUIT").await.starts_with("221"));
        // A lone dot with a bare line end does not end a mail.
        let mut dialogue = Dialogue::open(address).await;
        dialogue.say("EHLO mx.example").await;
        let smuggled = format!("{}\r\n\n.\nMAIL FROM:<evil@example.org>\r\n", bounce(QUOTA));
        assert_eq!(dialogue.mail("", &desk.path(2), &smuggled).await, "250 2.0.0 kept");
        let kept = "SELECT COUNT(*), CAST(0 AS BIGINT), CAST(0 AS BIGINT) FROM inbound_mail";
        assert_eq!(crate::respond::read(&desk.store, kept).await, [(3, 0, 0)], "{}: the case of a token is no difference", database.name);
        desk.read().await;
        assert_eq!(desk.suppressed().await, [(1, 1, 0)], "{}", database.name);
        assert_eq!(desk.events("message.bounced").await, [1, 2]);
        // Whoever says nothing but nonsense is sent away.
        let mut dialogue = Dialogue::open(address).await;
        let mut last = String::new();
        for _ in 0..21 {
            last = dialogue.say("NONSENSE").await;
        }
        assert!(last.starts_with("500") && dialogue.answer().await.starts_with("421"));
        stop.cancel();
    }
}

#[tokio::test]
async fn the_listener_speaks_tls_with_a_certificate_of_its_own_and_forgets_what_was_said_before() {
    let database = crate::databases::sqlite().await;
    let desk = Desk::new(&database).await;
    let made = rcgen::generate_simple_self_signed(["in.shop.example".to_string()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("chain.pem"), made.cert.pem()).unwrap();
    let read = |certificate: &str, key: &str| ServerTls::read(certificate, key, folder.path());
    assert!(read("nothing.pem", "key.pem").is_err_and(|error| error.to_string().contains("nothing.pem")));
    assert!(read("chain.pem", "-----BEGIN nonsense").is_err_and(|error| error.to_string().contains("inbound.key")));
    let tls = read("chain.pem", &made.signing_key.serialize_pem()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let door = Door::new(desk.store.clone(), desk.clock.clone(), tokens(), Settings::new("in.shop.example", false), ways());
    tokio::spawn(serve(listener, door.clone(), stop.clone()));
    // Without a certificate it is not offered, and not taken.
    let mut dialogue = Dialogue::open(address).await;
    dialogue.say("EHLO mx.example").await;
    assert!(dialogue.say("STARTTLS").await.starts_with("502"));
    door.set_tls(Some(tls));
    // A command behind it, which came unprotected, ends the session.
    let mut dialogue = Dialogue::open(address).await;
    dialogue.say("EHLO mx.example").await;
    assert!(dialogue.say("STARTTLS\r\nMAIL FROM:<evil@example.org>").await.starts_with("501"));
    let mut dialogue = Dialogue::open(address).await;
    dialogue.stream.get_mut().write_all(b"EHLO mx.example\r\n").await.unwrap();
    let mut offered = String::new();
    while !offered.contains("250 SMTPUTF8") {
        dialogue.stream.read_line(&mut offered).await.unwrap();
    }
    assert!(offered.contains("250-STARTTLS\r\n"), "{offered}");
    assert!(dialogue.say("MAIL FROM:<>").await.starts_with("250"));
    assert!(dialogue.say("STARTTLS").await.starts_with("220"));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = rustls::pki_types::ServerName::try_from("in.shop.example").unwrap();
    let stream = connector.connect(name, dialogue.stream.into_inner()).await.unwrap();
    let mut dialogue = Dialogue { stream: BufReader::new(stream) };
    assert!(dialogue.say(&format!("RCPT TO:<{}>", desk.path(1))).await.starts_with("503"), "the sender was said before");
    assert!(dialogue.say("EHLO mx.example").await.starts_with("250 "));
    assert!(dialogue.say("STARTTLS").await.starts_with("503"));
    assert_eq!(dialogue.mail("", &desk.path(1), &bounce(INVALID)).await, "250 2.0.0 kept");
    desk.read().await;
    assert_eq!(desk.suppressed().await, [(1, 1, 0)]);
    stop.cancel();
}

#[tokio::test]
async fn mails_that_come_at_once_have_so_much_room_together_and_no_more() {
    for database in databases().await {
        let desk = Desk::new(&database).await;
        let settings = Settings { most_together: 15_000, ..Settings::new("in.shop.example", false) };
        let (address, stop) = listen(&desk.store, &desk.clock, settings).await;
        let large = "x".repeat(72).replace("xxxxxx", "large ") + "\r\n";
        let large = large.repeat(140);
        let mut slow = Dialogue::open(address).await;
        slow.say("EHLO mx.example").await;
        slow.say("MAIL FROM:<>").await;
        slow.say(&format!("RCPT TO:<{}>", desk.path(1))).await;
        assert!(slow.say("DATA").await.starts_with("354"));
        slow.stream.get_mut().write_all(large.as_bytes()).await.unwrap();
        let mut other = Dialogue::open(address).await;
        other.say("EHLO mx.example").await;
        let mut answer = String::new();
        for _ in 0..200 {
            // Until the slow one's lines have been read.
            answer = other.mail("", &desk.path(2), &large).await;
            if answer.starts_with("452") {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert_eq!(answer, "452 4.3.1 too much mail comes at once; come again later", "{}", database.name);
        assert_eq!(other.mail("", &desk.path(2), "Subject: small\r\n\r\nThere is room for this.").await, "250 2.0.0 kept");
        assert_eq!(slow.say("\r\n.").await, "250 2.0.0 kept");
        assert_eq!(other.mail("", &desk.path(2), &large).await, "250 2.0.0 kept", "the room is free again");
        stop.cancel();
    }
}

#[tokio::test]
async fn over_lmtp_each_recipient_has_its_answer() {
    for database in databases().await {
        let desk = Desk::new(&database).await;
        let (address, stop) = listen(&desk.store, &desk.clock, Settings::new("in.shop.example", true)).await;
        let mut dialogue = Dialogue::open(address).await;
        assert!(dialogue.say("EHLO x").await.starts_with("500"));
        assert!(dialogue.say("LHLO x").await.starts_with("250"));
        dialogue.say("MAIL FROM:<>").await;
        assert!(dialogue.say(&format!("RCPT TO:<{}>", desk.path(1))).await.starts_with("250"));
        assert!(dialogue.say("RCPT TO:<ada@example.org>").await.starts_with("550"));
        assert!(dialogue.say("RCPT TO:<postmaster>").await.starts_with("250"));
        dialogue.say("DATA").await;
        assert_eq!(dialogue.say(&format!("{}\r\n.", bounce(INVALID))).await, "250 2.0.0 kept");
        assert_eq!(dialogue.answer().await, "250 2.0.0 kept");
        desk.read().await;
        assert_eq!(desk.suppressed().await, [(1, 1, 0)], "{}", database.name);
        stop.cancel();
    }
}

#[tokio::test]
async fn letters_leave_with_a_return_path_of_their_own_and_what_bounces_to_it_stops_the_next() {
    for database in databases().await {
        let mut world = World::new(&database);
        world.policy("domains: { mail.shop.example: { bounces: b.shop.example } }");
        world.campaign("one", advertising!("audience: { segment: everyone, holdout: 0% }\nschedule: { at: 2027-03-01 10:00 }\nmessage: { template: hello, subject: Hello }\n"));
        let ada = world.person("ada@example.org").await;
        world.apply().await;
        world.run_until("2027-03-01T11:00:00Z").await;
        let letters = world.outbox.letters.lock().unwrap().clone();
        let [letter] = letters.as_slice() else { panic!("{} letters left", letters.len()) };
        let Body::Email { from, mime, .. } = &letter.body else { panic!("no email") };
        let mime = String::from_utf8_lossy(mime).to_string();
        let (local, domain) = from.rsplit_once('@').unwrap();
        assert!(local.starts_with("b-") && local.len() <= 64 && domain == "b.shop.example", "{from}");
        assert!(
            mime.contains(">,\r\n <mailto:u-")
                && mime.contains("@b.shop.example>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"),
            "{mime}"
        );
        let processor = Processor { store: world.store.clone(), tokens: tokens(), zone: chrono_tz::UTC, ways: ways(), forwarder: None };
        let mail = NewMail {
            sender: String::new(),
            recipients: vec![from.clone()],
            raw: bounce(INVALID).into_bytes(),
            received_at: world.clock.now(),
        };
        world.store.keep_mail(&mail).await.unwrap();
        assert_eq!(processor.turn(world.clock.now()).await.unwrap(), 1);
        assert_eq!(world.number("SELECT COUNT(*) FROM suppressions").await, 1, "{ada} on {}", database.name);
        // The Message-ID alone would have been enough.
        let id = mime.lines().find_map(|line| line.strip_prefix("Message-ID: ")).unwrap().trim_end();
        let answer = format!("From: ada@example.org\r\nSubject: Re: Hello\r\nIn-Reply-To: {id}\r\n\r\nThank you!\r\n");
        let mail =
            NewMail { sender: "ada@example.org".into(), recipients: vec![], raw: answer.into_bytes(), received_at: world.clock.now() };
        world.store.keep_mail(&mail).await.unwrap();
        assert_eq!(processor.turn(world.clock.now()).await.unwrap(), 1);
        assert_eq!(world.number("SELECT COUNT(*) FROM events WHERE name = 'message.replied'").await, 1, "{}", database.name);
    }
}

#[test]
fn what_inbound_cannot_mean_is_a_problem() {
    for (inbound, expected) in [
        ("{ domains: [ a.example ] }", "names no way for mail to come in"),
        ("{ listen: everywhere }", "is no address to listen at"),
        ("{ listen: 0.0.0.0:25, domains: [ a.example ], forward_replies_to: desk@a.example }", "would come back to us"),
        ("{ listen: 0.0.0.0:25, protocol: smpt }", "smpt"),
        ("{ listen: 0.0.0.0:25, certificate: chain.pem }", "stands without `key`"),
        ("{ listen: 0.0.0.0:25, certificate: chain.pem, key: \"${KEY_FILE}\" }", ""),
        ("{ mailbox: { host: a.example, user: b, password: plain } }", "plain"),
        ("{ mailbox: { host: a.example, user: b, password: \"${P}\" }, listen: \"${MAIL_LISTEN}\" }", ""),
    ] {
        let mut files = posthaste::diagnostics::Files::default();
        files.insert("posthaste.yaml", format!("{}inbound: {inbound}\n", crate::world::WORKSPACE));
        let (definitions, problems) = posthaste::campaigns::read(&files);
        let shown = problems.render(&files, false, 120);
        assert_eq!(definitions.is_some(), expected.is_empty(), "{inbound}\n{shown}");
        assert!(problems.count() == usize::from(!expected.is_empty()) && shown.contains(expected), "{inbound}\n{shown}");
    }
}
