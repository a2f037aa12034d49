//! SMPP: against an operator of our own that tears, throttles and vanishes, and against npm's `smpp` as a real one.

use crate::databases::databases;
use crate::deliver::settings;
use crate::providers::word;
use crate::world::World;
use posthaste::providers::inbox::{Inbox, Receipt, ReceiptState, Taking, Told};
use posthaste::providers::{Body, LookState, Outcome, Outgoing, Provider, open};
use posthaste::types::{Channel, MessageId};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls;

fn provider(port: u16, more: Value) -> Arc<dyn Provider> {
    let mut values = json!({ "host": "127.0.0.1", "port": port, "user": "shop", "password": "s3cret", "timeout": "5 seconds" });
    values.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let settings = settings(Channel::Sms, "smpp", values);
    open("operator", &settings, &|text| Ok(text.to_string())).unwrap()
}

fn sms(number: i64, text: &str) -> Outgoing {
    let body = Body::Sms { sender: "SHOP".into(), to: format!("+38050{number:07}"), text: text.into(), parts: 1, lasts: None };
    Outgoing { message: MessageId(number), body, key: format!("{number:032x}") }
}

fn count(outcomes: &[Outcome]) -> HashMap<&'static str, usize> {
    outcomes.iter().fold(HashMap::new(), |mut counts, outcome| {
        *counts.entry(word(outcome)).or_default() += 1;
        counts
    })
}

const BIND: u32 = 9;
const SUBMIT: u32 = 4;
const DELIVER: u32 = 5;
const ENQUIRE: u32 = 0x15;
const ANSWER: u32 = 0x8000_0000;

/// One side of a link, spoken by hand.
struct Operator {
    stream: TcpStream,
}

impl Operator {
    async fn bound(listener: &TcpListener, status: u32) -> Operator {
        let mut operator = Operator { stream: listener.accept().await.unwrap().0 };
        let (id, number, body) = operator.next().await.unwrap();
        assert_eq!(id, BIND);
        assert!(body.starts_with(b"shop\0s3cret\0\0\x34"), "{body:?}");
        operator.say(BIND | ANSWER, status, number, b"OP\0").await;
        operator
    }

    async fn say(&mut self, id: u32, status: u32, number: u32, body: &[u8]) {
        let mut frame = (16 + body.len() as u32).to_be_bytes().to_vec();
        [id, status, number].iter().for_each(|word| frame.extend_from_slice(&word.to_be_bytes()));
        frame.extend_from_slice(body);
        self.stream.write_all(&frame).await.unwrap();
    }

    /// Command, number and body of the next frame; `None` when the other side is gone.
    async fn next(&mut self) -> Option<(u32, u32, Vec<u8>)> {
        let mut head = [0; 16];
        self.stream.read_exact(&mut head).await.ok()?;
        let at = |place: usize| u32::from_be_bytes(head[place..place + 4].try_into().unwrap());
        let mut body = vec![0; at(0) as usize - 16];
        self.stream.read_exact(&mut body).await.ok()?;
        Some((at(4), at(12), body))
    }

    async fn submit(&mut self) -> u32 {
        let (id, number, _) = self.next().await.unwrap();
        assert_eq!(id, SUBMIT);
        number
    }
}

fn receipt(words: &str) -> Vec<u8> {
    let mut body = b"\0\x01\x01380500000001\0\x05\0SHOP\0\x04\0\0\0\0\0\0\0\0".to_vec();
    body.push(words.len() as u8);
    body.extend_from_slice(words.as_bytes());
    body
}

/// Keeps what is told, after as many refusals as it is told to make.
#[derive(Default)]
struct Kept {
    refusals: AtomicUsize,
    told: Mutex<Vec<Told>>,
}

impl Inbox for Kept {
    fn take<'a>(&'a self, _provider: &'a str, told: Told) -> Taking<'a> {
        Box::pin(async move {
            if self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
                return false;
            }
            self.told.lock().unwrap().push(told);
            true
        })
    }
}

#[tokio::test]
async fn a_window_of_ten_is_never_exceeded_and_a_lost_link_leaves_exactly_the_unanswered_ones_unknown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let provider = provider(listener.local_addr().unwrap().port(), json!({}));
    let operator = tokio::spawn(async move {
        let mut operator = Operator::bound(&listener, 0).await;
        for _ in 0..3 {
            let mut numbers = Vec::new();
            for _ in 0..10 {
                numbers.push(operator.submit().await);
            }
            let more = tokio::time::timeout(Duration::from_millis(100), operator.stream.peek(&mut [0])).await;
            assert!(more.is_err(), "ten are unanswered, and nothing more comes");
            // Answered in any order.
            for number in numbers.iter().rev() {
                operator.say(SUBMIT | ANSWER, 0, *number, format!("{number:06X}\0").as_bytes()).await;
            }
        }
        for _ in 0..7 {
            operator.submit().await;
        }
    });
    let messages: Vec<Outgoing> = (0..37).map(|number| sms(number, "Hello")).collect();
    let outcomes = futures_util::future::join_all(messages.iter().map(|message| provider.send(message))).await;
    operator.await.unwrap();
    assert_eq!(count(&outcomes), HashMap::from([("accepted", 30), ("unknown", 7)]));
    let Outcome::Accepted { id: Some(id), .. } = &outcomes[20] else { panic!() };
    assert!(!id.starts_with('0') && *id == id.to_lowercase(), "{id}");
    let nobody = provider.send(&messages[0]).await;
    assert_eq!(word(&nobody), "unreachable", "{nobody:?}");
}

#[tokio::test]
async fn what_is_told_is_answered_when_it_is_stored_and_torn_or_unreadable_frames_end_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let provider = provider(listener.local_addr().unwrap().port(), json!({ "receipt_ids": "decimal", "enquire": "1 second" }));
    let kept = Arc::new(Kept { refusals: AtomicUsize::new(1), ..Kept::default() });
    provider.listen(kept.clone());
    let operator = tokio::spawn(async move {
        let mut operator = Operator::bound(&listener, 0).await;
        let words = receipt("id:0002587 sub:001 dlvrd:001 submit date:2703011000 done date:2703011001 stat:DELIVRD err:000 text:Hi");
        // Not stored: told again, and then byte after byte.
        operator.say(DELIVER, 0, 1, &words).await;
        let (id, number, _) = operator.next().await.unwrap();
        assert_eq!((id, number), (DELIVER | ANSWER, 1));
        let mut frame = (16 + words.len() as u32).to_be_bytes().to_vec();
        [DELIVER, 0, 2].iter().for_each(|word| frame.extend_from_slice(&word.to_be_bytes()));
        frame.extend_from_slice(&words);
        for byte in frame {
            operator.stream.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(operator.next().await.unwrap().1, 2);
        // Nobody can read this one; the link goes on.
        operator.say(DELIVER, 0, 3, b"\xff\xff").await;
        assert_eq!(operator.next().await.unwrap().1, 3);
        operator.say(0x0777, 0, 4, b"").await;
        assert_eq!(operator.next().await.unwrap().0, ANSWER);
        // A person writes, in UCS-2.
        let mut text = b"\0\x01\x01380500000001\0\x05\0SHOP\0\0\0\0\0\0\0\0\x08\0\x08".to_vec();
        text.extend("СТОП".encode_utf16().flat_map(u16::to_be_bytes));
        operator.say(DELIVER, 0, 5, &text).await;
        assert_eq!(operator.next().await.unwrap().1, 5);
        // Silence: it asks whether we are there, and ends when nobody says so.
        let mut asked = 0;
        while let Some((id, _, _)) = operator.next().await {
            assert_eq!(id, ENQUIRE);
            asked += 1;
        }
        asked
    });
    let asked = operator.await.unwrap();
    assert_eq!(asked, 2, "two misses, then it is opened again");
    let told = kept.told.lock().unwrap().clone();
    let Told::Receipt(Receipt { id, state: ReceiptState::Delivered, error: None, to, .. }) = &told[0] else { panic!("{told:?}") };
    assert_eq!((id.as_str(), to.as_str()), ("a1b", "380500000001"), "hexadecimal, as the answer would have been");
    assert!(matches!(&told[1], Told::Text(text) if text.text == "СТОП" && text.from == "380500000001" && text.part.is_none()));
    assert_eq!(told.len(), 2);
}

/// What a submit asks for: the receipt's byte and the validity period.
fn asked_for(body: &[u8]) -> (u8, String) {
    // service_type, source (2 bytes and text), destination (2 bytes and text), esm_class, protocol, priority, schedule, validity, receipt
    let mut rest = body;
    let text = |rest: &mut &[u8]| {
        let end = rest.iter().position(|byte| *byte == 0).unwrap();
        let text = String::from_utf8(rest[..end].to_vec()).unwrap();
        *rest = &rest[end + 1..];
        text
    };
    text(&mut rest);
    for _ in 0..2 {
        rest = &rest[2..];
        text(&mut rest);
    }
    rest = &rest[3..];
    text(&mut rest);
    let validity = text(&mut rest);
    (rest[0], validity)
}

#[tokio::test]
async fn each_part_asks_for_a_receipt_and_a_text_dies_with_its_campaign_over_tls_too() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let operator = tokio::spawn(async move {
        let mut asked = Vec::new();
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            // Whoever does not trust us goes away.
            let Ok(mut stream) = acceptor.accept(tcp).await else { continue };
            loop {
                let mut head = [0; 16];
                if stream.read_exact(&mut head).await.is_err() {
                    break;
                }
                let at = |place: usize| u32::from_be_bytes(head[place..place + 4].try_into().unwrap());
                let mut body = vec![0; at(0) as usize - 16];
                stream.read_exact(&mut body).await.unwrap();
                if at(4) == SUBMIT {
                    asked.push(asked_for(&body));
                }
                let answer = format!("{:X}\0", 0xA0 + asked.len());
                let mut frame = (16 + answer.len() as u32).to_be_bytes().to_vec();
                [at(4) | ANSWER, 0, at(12)].iter().for_each(|word| frame.extend_from_slice(&word.to_be_bytes()));
                frame.extend_from_slice(answer.as_bytes());
                stream.write_all(&frame).await.unwrap();
                if asked.len() == 4 {
                    return asked;
                }
            }
        }
    });
    let secure = json!({ "host": "localhost", "security": "tls" });
    let stranger = provider(port, secure.clone()).send(&sms(1, "Hello")).await;
    assert_eq!(word(&stranger), "broken", "{stranger:?}");
    let mut trusting = secure;
    trusting["trust"] = json!(made.cert.pem());
    let provider = provider(port, trusting);
    let mut long = sms(1, &"a".repeat(400));
    long.lasts(Duration::from_secs(26 * 3600 + 61));
    let Outcome::Accepted { id, .. } = provider.send(&long).await else { panic!() };
    assert_eq!(id.as_deref(), Some("a1 a2 a3"), "all of them");
    assert_eq!(word(&provider.send(&sms(2, "Hello")).await), "accepted");
    let asked = operator.await.unwrap();
    let day = (1, "000001020101000R".to_string());
    assert_eq!(asked, [day.clone(), day.clone(), day, (1, String::new())]);
}

#[tokio::test]
async fn slower_is_obeyed_and_half_of_a_text_is_not_called_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let provider = provider(listener.local_addr().unwrap().port(), json!({}));
    let operator = tokio::spawn(async move {
        let mut operator = Operator::bound(&listener, 0).await;
        for status in [0x58, 0x0b, 0x45, 0x08, 0, 0x14] {
            let number = operator.submit().await;
            // With an error there may be no body at all.
            operator.say(SUBMIT | ANSWER, status, number, if status == 0 { b"1\0" } else { b"" }).await;
        }
        let number = operator.submit().await;
        operator.say(ANSWER, 0x03, number, b"").await;
        operator
    });
    assert_eq!(provider.pause(), None);
    let outcome = provider.send(&sms(1, "Hello")).await;
    let Outcome::Later { after: Some(after), throttled: true, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(after, Duration::from_secs(1));
    assert!(provider.pause().is_some() && provider.rate().is_some());
    for (number, text, expected) in [
        (2, "Hello".to_string(), "refused"),
        (3, "Hello".to_string(), "refused"),
        (4, "Hello".to_string(), "unknown"),
        (5, "a".repeat(161), "unknown"),
        (6, "Hello".to_string(), "refused"),
    ] {
        let outcome = provider.send(&sms(number, &text)).await;
        assert_eq!(word(&outcome), expected, "{number}: {outcome:?}");
    }
    drop(operator.await.unwrap());
}

#[tokio::test]
async fn a_refused_login_is_told_and_a_dropped_provider_says_goodbye() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let operator = tokio::spawn(async move {
        drop(Operator::bound(&listener, 0x0e).await);
        let mut operator = Operator::bound(&listener, 0).await;
        operator.next().await.unwrap().0
    });
    let refused = provider(port, json!({})).look().await;
    assert_eq!(refused.state, LookState::Wrong, "{refused:?}");
    let fine = provider(port, json!({}));
    assert_eq!(fine.look().await.state, LookState::Fine);
    drop(fine);
    assert_eq!(operator.await.unwrap(), 6, "unbind");
    assert_eq!(provider(1, json!({})).look().await.state, LookState::Silent);
}

/// An operator made of npm's `smpp`. Numbers are hexadecimal in answers and decimal in receipts; every third receipt comes before the answer. In the
/// middle it leaves ten submits unanswered and cuts the link; receipts that were not answered are told again over the next one.
const OPERATOR: &str = r#"
const smpp = require('smpp');
let taken = 0, unanswered = 0, acknowledged = 0, cut = false, links = 0, current = null;
const owed = new Map();
const tell = (number) => {
  if (!current || !owed.has(number)) return;
  current.deliver_sm({ source_addr: owed.get(number).to, destination_addr: 'SHOP', esm_class: 4, short_message: owed.get(number).words },
    (reply) => { if (reply.command_status !== 0) setTimeout(() => tell(number), 50); else if (owed.delete(number)) acknowledged++; });
};
const server = smpp.createServer((session) => {
  links++;
  const gone = () => { if (current === session) current = null; };
  session.on('error', gone);
  session.on('close', gone);
  session.on('bind_transceiver', (pdu) => {
    session.send(pdu.response({ system_id: 'OP' }));
    current = session;
    [...owed.keys()].forEach(tell);
  });
  session.on('enquire_link', (pdu) => session.send(pdu.response()));
  session.on('unbind', (pdu) => { session.send(pdu.response()); session.close(); });
  session.on('submit_sm', (pdu) => {
    if (!cut && taken >= 5000) {
      unanswered++;
      if (unanswered === 10) { cut = true; session.socket.destroy(); }
      return;
    }
    const number = ++taken;
    const answer = () => session.send(pdu.response({ message_id: number.toString(16).toUpperCase().padStart(8, '0') }));
    const words = `id:${String(number).padStart(10, '0')} sub:001 dlvrd:001 submit date:2703011000 done date:2703011001 stat:DELIVRD err:000 text:`;
    owed.set(number, { to: pdu.destination_addr, words });
    if (number % 3 === 0) { tell(number); answer(); } else { answer(); setTimeout(() => tell(number), 5); }
  });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.on('data', () => console.log(JSON.stringify({ taken, unanswered, acknowledged, links })));
process.stdin.on('end', () => process.exit(0));
"#;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_texts_through_a_real_operator_that_drops_the_link_in_the_middle() {
    let found = Command::new("node").args(["-e", "require('smpp')"]).stderr(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        eprintln!("left out: node with npm's `smpp` is not here (NODE_PATH may name it)");
        return;
    }
    let databases = databases().await;
    let database = &databases[0];
    let mut operator =
        Command::new("node").args(["-e", OPERATOR]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("node starts");
    let mut lines = BufReader::new(operator.stdout.take().unwrap()).lines();
    let port: u16 = lines.next().unwrap().unwrap().parse().unwrap();
    let mut world = World::new(database);
    world.crowd(10_000, &["UTC"]).await;
    let key =
        world.store.pick("CAST(printf('p%015d', customer_id) AS BLOB)", "convert_to('p' || lpad(customer_id::text, 15, '0'), 'UTF8')");
    let number = world.store.pick("'+38050' || printf('%07d', customer_id)", "'+38050' || lpad(customer_id::text, 7, '0')");
    let phones = format!(
        "INSERT INTO addresses (customer_id, channel, address, key, site) SELECT customer_id, 2, {number}, {key}, '' FROM addresses"
    );
    posthaste::on_writer!(&world.store, pool => { sqlx::query(sqlx::AssertSqlSafe(phones)).execute(pool).await.unwrap(); });
    world.campaign(
        "texts",
        "class: informational\ntopic: offers\ncategory: retail\ntask: retain\naudience: { segment: everyone }\nschedule: { at: 2027-03-01 10:00 }\n\
         message: { channel: sms, text: \"Hello\" }\n",
    );
    let operator_of_ours = provider(port, json!({ "receipt_ids": "decimal", "window": 10 }));
    let kept = Arc::new(Kept::default());
    operator_of_ours.listen(kept.clone());
    // The one that obeys addresses takes no texts here.
    world.others.push(operator_of_ours.clone());
    world.only_others = true;
    world.apply().await;
    let begun = std::time::Instant::now();
    world.run_until("2027-03-01T18:00:00Z").await;
    let took = begun.elapsed();
    let sums = world.sums("texts").await;
    let mut stats = Value::Null;
    for _ in 0..100 {
        operator.stdin.as_mut().unwrap().write_all(b"?\n").unwrap();
        stats = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        if stats["acknowledged"] == stats["taken"] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    eprintln!("10,000 texts in {took:?}: {sums}; the operator: {stats}");
    assert_eq!(stats["unanswered"], 10);
    assert_eq!(sums, "selected 10000, uncertain 10, accepted 9990");
    assert_eq!(stats["taken"], 9_990, "nothing was sent twice");
    assert_eq!(stats["links"], 2);
    // Every receipt is of a message that the ledger knows by that number.
    let rows: Vec<(Option<String>, i16)> = posthaste::on_pool!(&world.store, pool =>
        sqlx::query_as("SELECT provider_id, state FROM messages").fetch_all(pool).await.unwrap());
    let known: HashMap<String, i16> = rows.into_iter().filter_map(|(id, state)| Some((id?, state))).collect();
    assert_eq!(known.len(), 9_990);
    let told = kept.told.lock().unwrap();
    let ids = told.iter().map(|told| match told {
        Told::Receipt(receipt) if receipt.state == ReceiptState::Delivered => receipt.id.clone(),
        other => panic!("{other:?}"),
    });
    let ids: HashSet<String> = ids.collect();
    assert!(ids.len() == 9_990 && ids.iter().all(|id| known.contains_key(id)), "{} of {stats}", ids.len());
    drop(operator.stdin.take());
    operator.wait().unwrap();
}
