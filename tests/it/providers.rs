//! Providers with an HTTP interface against a server that answers as it is told: what arrives, and what every kind of silence means.

use crate::databases::databases;
use crate::deliver::settings;
use crate::world::World;
use aws_lc_rs::hmac;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use posthaste::providers::email::mime::{Letter, ListUnsubscribe, Mailbox, build};
use posthaste::providers::{Body, Found, LookState, Outcome, Outgoing, Provider, Sought, open};
use posthaste::types::{Channel, Class, MessageId};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Every kind with the least that it needs, what an accepting answer looks like, and the number that stands in it.
fn kinds() -> Vec<(&'static str, Channel, Value, u16, String, &'static str)> {
    use Channel::{Email, Sms};
    let text = |value: Value| value.to_string();
    vec![
        (
            "ses",
            Email,
            json!({ "region": "eu-west-1", "access_key": "AK", "secret_key": "s" }),
            200,
            text(json!({ "MessageId": "n-1" })),
            "n-1",
        ),
        ("sendgrid", Email, json!({ "token": "t" }), 202, String::new(), ""),
        ("mailgun", Email, json!({ "token": "t", "domain": "mg.shop.example" }), 200, text(json!({ "id": "<n-1>" })), "<n-1>"),
        ("postmark", Email, json!({ "token": "t" }), 200, text(json!([{ "ErrorCode": 0, "MessageID": "n-1" }])), "n-1"),
        (
            "sparkpost",
            Email,
            json!({ "token": "t" }),
            200,
            text(json!({ "results": { "total_accepted_recipients": 1, "total_rejected_recipients": 0, "id": "n-1" } })),
            "n-1",
        ),
        ("brevo", Email, json!({ "token": "t" }), 201, text(json!({ "messageId": "<n-1>" })), "<n-1>"),
        ("twilio", Sms, json!({ "account": "AC1", "token": "t" }), 201, text(json!({ "sid": "SM1" })), "SM1"),
        (
            "vonage",
            Sms,
            json!({ "key": "k", "token": "t" }),
            200,
            text(json!({ "messages": [{ "status": "0", "message-id": "n-1" }] })),
            "n-1",
        ),
        ("messagebird", Sms, json!({ "token": "t" }), 201, text(json!({ "id": "n-1" })), "n-1"),
        ("bird", Sms, json!({ "token": "t", "workspace": "w", "sender_channel": "c" }), 202, text(json!({ "id": "n-1" })), "n-1"),
        ("plivo", Sms, json!({ "account": "MA1", "token": "t" }), 202, text(json!({ "message_uuid": ["n-1"] })), "n-1"),
        ("smsc", Sms, json!({ "token": "t" }), 200, text(json!({ "id": 7, "cnt": 1 })), "7"),
        (
            "smsru",
            Sms,
            json!({ "token": "t" }),
            200,
            text(json!({ "status_code": 100, "sms": { "380501112233": { "status_code": 100, "sms_id": "n-1" } } })),
            "n-1",
        ),
        (
            "turbosms",
            Sms,
            json!({ "token": "t" }),
            200,
            text(json!({ "response_code": 800, "response_result": [{ "response_code": 0, "message_id": "n-1" }] })),
            "n-1",
        ),
    ]
}

/// Those that know a request again, so that one without an answer is made once more.
const TAKES_ONCE: [&str; 2] = ["brevo", "turbosms"];

fn provider(kind: &str, channel: Channel, mut values: Value, url: &str) -> Arc<dyn Provider> {
    values["url"] = json!(url);
    values["timeout"] = json!("1 second");
    provider_at(kind, kind, channel, values)
}

fn provider_at(name: &str, kind: &str, channel: Channel, values: Value) -> Arc<dyn Provider> {
    let settings = settings(channel, kind, values);
    open(name, &settings, &|text| Ok(text.to_string())).unwrap_or_else(|error| panic!("{kind}: {error}"))
}

fn outgoing(channel: Channel, number: i64) -> Outgoing {
    let to = format!("ada{number}@example.org");
    let letter = Letter {
        class: Class::Advertising,
        from: Mailbox { name: "Крамниця", address: "news@mail.shop.example" },
        to: Mailbox { name: "", address: &to },
        reply_to: None,
        subject: "Весна",
        text: "Привіт",
        html: Some("<p>Привіт</p>"),
        known_text: None,
        known_html: None,
        date: "2027-03-01T10:00:00Z".parse().unwrap(),
        message_id: "k7d2m@mail.shop.example",
        boundary: "k7d2m",
        list_unsubscribe: Some(ListUnsubscribe { https: "https://go.shop.example/u/TOKEN", mailto: None }),
        list_id: None,
        feedback_id: None,
        auto_submitted: false,
        headers: &[],
    };
    let body = match channel {
        Channel::Email => Body::Email { from: "news@mail.shop.example".into(), to: to.clone(), mime: build(&letter).unwrap() },
        _ => Body::Sms { sender: "SHOP".into(), to: "+380501112233".into(), text: "Привіт".into(), parts: 1, lasts: None },
    };
    Outgoing { message: MessageId(number), body, key: format!("{number:032x}") }
}

pub fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Accepted { .. } => "accepted",
        Outcome::Later { .. } => "later",
        Outcome::Away { .. } => "away",
        Outcome::Unreachable { .. } => "unreachable",
        Outcome::Refused { .. } => "refused",
        Outcome::Broken { .. } => "broken",
        Outcome::Unknown { .. } => "unknown",
    }
}

/// What a raw server does with a request that it has read.
#[derive(Clone)]
enum Deed {
    /// Writes this and closes.
    Says(Vec<u8>),
    /// Closes with a reset.
    Resets,
    /// Says nothing.
    Hangs,
}

/// Does the deeds one after another, one for each connection; the last one again and again. Counts what it read.
async fn raw(deeds: Vec<Deed>) -> (String, Arc<Mutex<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(Mutex::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        let mut deeds = VecDeque::from(deeds);
        loop {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let deed = if deeds.len() > 1 { deeds.pop_front().unwrap() } else { deeds[0].clone() };
            let counted = counted.clone();
            tokio::spawn(async move {
                let (mut read, mut buffer) = (Vec::new(), [0; 65536]);
                loop {
                    let length = stream.read(&mut buffer).await.unwrap_or(0);
                    read.extend_from_slice(&buffer[..length]);
                    if length == 0 || is_whole(&read) {
                        break;
                    }
                }
                // The question about the account is answered by nothing that is known.
                if read.starts_with(b"GET ") {
                    let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
                    return;
                }
                *counted.lock().unwrap() += 1;
                match deed {
                    Deed::Says(bytes) => {
                        let _ = stream.write_all(&bytes).await;
                        let _ = stream.shutdown().await;
                    }
                    Deed::Resets => drop(stream.set_zero_linger()),
                    Deed::Hangs => tokio::time::sleep(Duration::from_secs(30)).await,
                }
            });
        }
    });
    (url, count)
}

/// The head and as much of a body as it promises.
fn is_whole(read: &[u8]) -> bool {
    let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&read[..end]).to_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok()).unwrap_or(0);
    read.len() >= end + 4 + length
}

fn says(status: u16, body: &str, promised: usize) -> Deed {
    let head = format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {promised}\r\nConnection: close\r\n\r\n");
    Deed::Says(format!("{head}{body}").into_bytes())
}

#[tokio::test]
async fn whatever_leaves_a_message_without_a_complete_answer_leaves_it_unknown() {
    for (kind, channel, settings, status, body, id) in kinds() {
        let half = &body[..body.len() / 2];
        let after = |deed: Deed| vec![deed];
        let mut cases = vec![
            ("reset after the body", after(Deed::Resets), "unknown"),
            ("502", after(says(502, "bad gateway", 11)), "unknown"),
            ("504", after(says(504, "", 0)), "unknown"),
            ("closed without a word", after(Deed::Says(Vec::new())), "unknown"),
            ("half a head", after(Deed::Says(b"HTTP/1.1 20".to_vec())), "unknown"),
            ("silent past the time", after(Deed::Hangs), "unknown"),
            ("taken", after(says(status, &body, body.len())), "accepted"),
        ];
        if !body.is_empty() {
            cases.push(("truncated", after(says(status, half, body.len())), "unknown"));
            cases.push(("half of the JSON", after(says(status, half, half.len())), "unknown"));
        }
        // Where nothing comes twice, it is tried again at once; to try it with every silence would take long.
        if TAKES_ONCE.contains(&kind) {
            cases.retain(|(name, _, _)| *name == "taken");
            cases.push(("reset, then taken", vec![Deed::Resets, says(status, &body, body.len())], "accepted"));
            cases.push(("reset, then busy, then taken", vec![Deed::Resets, says(429, "", 0), says(status, &body, body.len())], "accepted"));
        }
        for (name, deeds, expected) in cases {
            let wanted = deeds.len();
            let (url, count) = raw(deeds).await;
            let outcome = provider(kind, channel, settings.clone(), &url).send(&outgoing(channel, 7)).await;
            assert_eq!(word(&outcome), expected, "{kind}, {name}: {outcome:?}");
            assert_eq!(*count.lock().unwrap(), wanted, "{kind}, {name}: nothing is asked again that may have been taken");
            if let Outcome::Accepted { id: found, .. } = outcome {
                assert_eq!(found.unwrap_or_default(), id, "{kind}");
            }
        }
        let nobody = provider(kind, channel, settings, "http://127.0.0.1:1").send(&outgoing(channel, 7)).await;
        assert_eq!(word(&nobody), "unreachable", "{kind}: {nobody:?}");
    }
}

/// A request as it arrived.
#[derive(Debug, Clone)]
struct Arrived {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

#[derive(Clone, Default)]
struct Told {
    answers: Arc<Mutex<VecDeque<Response>>>,
    arrived: Arc<Mutex<Vec<Arrived>>>,
    wait: Duration,
}

impl Told {
    async fn serve(&self) -> String {
        async fn answer(State(told): State<Told>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
            told.arrived.lock().unwrap().push(Arrived { method, path: uri.to_string(), headers, body });
            tokio::time::sleep(told.wait).await;
            let answer = told.answers.lock().unwrap().pop_front();
            answer.unwrap_or_else(|| StatusCode::IM_A_TEAPOT.into_response())
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(answer).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        url
    }

    fn will_say(&self, answer: impl IntoResponse) {
        self.answers.lock().unwrap().push_back(answer.into_response());
    }
}

#[tokio::test]
async fn messages_that_are_under_way_together_share_a_request_and_each_gets_its_own_answer() {
    let told = Told { wait: Duration::from_millis(200), ..Told::default() };
    let url = told.serve().await;
    let postmark = provider("postmark", Channel::Email, json!({ "token": "t", "connections": 1, "batch": 10 }), &url);
    let each = |codes: &[u16]| {
        let each: Vec<Value> =
            codes.iter().enumerate().map(|(place, code)| json!({ "ErrorCode": code, "MessageID": place.to_string() })).collect();
        axum::Json(Value::Array(each))
    };
    told.will_say(each(&[0]));
    // The eleven behind it: ten, and one. Of the ten, two are refused.
    told.will_say(each(&[0, 406, 0, 0, 300, 0, 0, 0, 0, 0]));
    told.will_say(StatusCode::BAD_GATEWAY);
    let letters: Vec<Outgoing> = (1..=12).map(|number| outgoing(Channel::Email, number)).collect();
    let sends = letters.iter().map(|letter| postmark.send(letter));
    let outcomes: Vec<&str> = futures_util::future::join_all(sends).await.iter().map(word).collect();
    let expected = "accepted accepted refused accepted accepted refused accepted accepted accepted accepted accepted unknown";
    assert_eq!(outcomes.join(" "), expected);
    let arrived = told.arrived.lock().unwrap().clone();
    let sizes: Vec<usize> = arrived.iter().map(|one| serde_json::from_slice::<Vec<Value>>(&one.body).unwrap().len()).collect();
    assert_eq!(sizes, [1, 10, 1]);
    assert_eq!((arrived[0].method.as_str(), arrived[0].path.as_str()), ("POST", "/email/batch"));
    assert_eq!(arrived[0].headers["x-postmark-server-token"], "t");
}

#[tokio::test]
async fn a_batch_that_is_refused_for_one_message_is_halved_until_that_one_stands_alone() {
    let told = Told { wait: Duration::from_millis(100), ..Told::default() };
    let url = told.serve().await;
    let postmark = provider("postmark", Channel::Email, json!({ "token": "t", "connections": 1 }), &url);
    let fine = |count: usize| axum::Json(Value::Array(vec![json!({ "ErrorCode": 0, "MessageID": "m" }); count]));
    let bad = || (StatusCode::UNPROCESSABLE_ENTITY, axum::Json(json!({ "ErrorCode": 402, "Message": "invalid JSON" })));
    told.will_say(fine(1));
    told.will_say(bad());
    told.will_say(fine(2));
    told.will_say(bad());
    told.will_say(bad());
    told.will_say(fine(1));
    let letters: Vec<Outgoing> = (1..=5).map(|number| outgoing(Channel::Email, number)).collect();
    let sends = letters.iter().map(|letter| postmark.send(letter));
    let outcomes: Vec<&str> = futures_util::future::join_all(sends).await.iter().map(word).collect();
    assert_eq!(outcomes, ["accepted", "accepted", "accepted", "refused", "accepted"]);
}

#[tokio::test]
async fn a_provider_that_asks_to_be_left_alone_says_so_before_the_next_message_is_marked() {
    let told = Told::default();
    let url = told.serve().await;
    let sendgrid = provider("sendgrid", Channel::Email, json!({ "token": "t" }), &url);
    assert_eq!(sendgrid.pause(), None);
    told.will_say((StatusCode::TOO_MANY_REQUESTS, [("retry-after", "7")]));
    let begun = Instant::now();
    let outcome = sendgrid.send(&outgoing(Channel::Email, 1)).await;
    let Outcome::Later { after: Some(after), throttled: true, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(after, Duration::from_secs(7));
    let pause = sendgrid.pause().unwrap() + begun.elapsed();
    assert!(pause >= Duration::from_secs(7) && pause < Duration::from_secs(9), "{pause:?}");
}

#[tokio::test]
async fn the_account_is_asked_before_the_first_message_and_says_how_fast() {
    let told = Told::default();
    let url = told.serve().await;
    let settings = json!({ "region": "eu-west-1", "access_key": "AK", "secret_key": "s" });
    let ses = provider("ses", Channel::Email, settings, &url);
    let quota = json!({ "SendQuota": { "Max24HourSend": 200.0, "MaxSendRate": 14.0, "SentLast24Hours": 1.0 } });
    told.will_say(axum::Json(quota.clone()));
    told.will_say(axum::Json(json!({ "MessageId": "a" })));
    told.will_say(axum::Json(json!({ "MessageId": "b" })));
    told.will_say(axum::Json(quota));
    told.will_say(StatusCode::FORBIDDEN);
    assert_eq!(ses.rate(), None);
    for number in [1, 2] {
        assert_eq!(word(&ses.send(&outgoing(Channel::Email, number)).await), "accepted");
    }
    assert_eq!(ses.rate(), Some(14.0));
    let paths: Vec<String> = told.arrived.lock().unwrap().iter().map(|one| one.path.clone()).collect();
    assert_eq!(paths, ["/v2/email/account", "/v2/email/outbound-emails", "/v2/email/outbound-emails"]);
    let look = ses.look().await;
    assert!(look.state == LookState::Fine && look.date.is_some() && look.says.contains("14 a second"), "{look:?}");
    assert_eq!(ses.look().await.state, LookState::Wrong);
}

/// A system that is told of people, as a campaign's file says it.
#[tokio::test]
async fn a_system_is_told_of_everybody_under_a_signature_and_again_under_the_same_id() {
    for database in databases().await {
        let mut world = World::new(&database);
        let told = Told::default();
        let url = told.serve().await;
        let (url, secret) = (format!("{url}/crm/"), "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3");
        world.policy(&format!("  crm: {{ channel: webhook, kind: webhook, url: \"{url}\", secret: \"${{CRM_SECRET}}\" }}"));
        world.others.push(provider_at("crm", "webhook", Channel::Webhook, json!({ "url": url, "secret": secret })));
        world.campaign(
            "crm",
            "class: transactional\naudience: { segment: everyone }\nschedule: { at: 2027-03-01 10:00 }\n\
             message: { channel: webhook, text: \"{{default loyalty.tier 'no tier'}}\", content: { list: spring, points: 5 } }\n",
        );
        let (gold, nobody) = (world.stranger("gold@example.org").await, world.stranger("").await);
        world.apply().await;
        told.will_say(StatusCode::SERVICE_UNAVAILABLE);
        told.will_say(StatusCode::OK);
        told.will_say(StatusCode::NO_CONTENT);
        world.run_until("2027-03-01T11:00:00Z").await;
        assert_eq!(world.sums("crm").await, "selected 2, accepted 2", "{}", database.name);
        let arrived = told.arrived.lock().unwrap().clone();
        assert_eq!(arrived.len(), 3);
        let mut ids = BTreeMap::new();
        for one in &arrived {
            let header = |name: &str| one.headers[name].to_str().unwrap().to_string();
            let body = std::str::from_utf8(&one.body).unwrap();
            let key = hmac::Key::new(hmac::HMAC_SHA256, b"0123456789abcdef01234567");
            let signed = format!("{}.{}.{body}", header("webhook-id"), header("webhook-timestamp"));
            let expected = format!("v1,{}", STANDARD.encode(hmac::sign(&key, signed.as_bytes())));
            assert_eq!(header("webhook-signature"), expected);
            let data: Value = serde_json::from_str(body).unwrap();
            let bodies: &mut Vec<Value> = ids.entry(header("webhook-id")).or_default();
            bodies.push(data);
        }
        let mut bodies: Vec<Value> = ids.values().map(|bodies| bodies[0].clone()).collect();
        assert!(ids.values().all(|bodies| bodies.iter().all(|body| *body == bodies[0])), "the same under the same id");
        bodies.sort_by_key(|body| body["data"]["customer"]["id"].as_i64());
        assert_eq!(
            bodies[0],
            json!({
                "type": "message", "timestamp": "2027-03-01T10:00:00Z",
                "data": {
                    "message": bodies[0]["data"]["message"], "campaign": "crm", "run": 1, "test": false, "variant": "all",
                    "class": "transactional", "topic": null, "customer": { "id": gold, "external_id": format!("c{gold}"), "language": "en" },
                    "text": "gold", "content": { "list": "spring", "points": 5 }
                }
            })
        );
        assert_eq!((&bodies[1]["data"]["customer"]["id"], &bodies[1]["data"]["text"]), (&json!(nobody), &json!("no tier")));
    }
}

#[tokio::test]
async fn every_kind_tells_whether_its_login_is_right() {
    for (kind, channel, settings, ..) in kinds() {
        let told = Told::default();
        let url = told.serve().await;
        let provider = provider(kind, channel, settings, &url);
        told.will_say(StatusCode::UNAUTHORIZED);
        told.will_say(StatusCode::BAD_GATEWAY);
        assert_eq!(provider.look().await.state, LookState::Wrong, "{kind}");
        assert_eq!(provider.look().await.state, LookState::Silent, "{kind}");
        assert_eq!(told.arrived.lock().unwrap().len(), 2, "{kind}");
    }
}

/// What is sought at each of those that can be searched, and what the list says that has it.
#[tokio::test]
async fn a_message_whose_answer_nobody_heard_is_found_at_those_who_have_lists() {
    let at = |text: &str| text.parse().unwrap();
    let sought = |to: &str| Sought {
        reference: "7-0123456789abcdef".into(),
        to: to.into(),
        from: at("2027-03-01T09:55:00Z"),
        until: at("2027-03-01T11:00:00Z"),
        known: vec!["SM0".into()],
    };
    let (ours, another) = ("7-0123456789abcdef", "8-0123456789abcdef");
    let event = |reference: &str, id: &str| json!({ "user-variables": { "posthaste_message": reference }, "message": { "headers": { "message-id": id } } });
    let text = |sid: &str, direction: &str, time: &str| json!({ "sid": sid, "direction": direction, "date_created": format!("Mon, 01 Mar 2027 {time} +0000") });
    let cases = [
        (
            "mailgun",
            "ada@example.org",
            vec!["/v3/mg.shop.example/events?event=accepted&recipient=ada%40example.org&begin=1803894900&end=1803898800&limit=300"],
            json!({ "items": [event(another, "a@b"), event(ours, "n-1@b")] }),
            json!({ "items": [event(another, "a@b")] }),
            "<n-1@b>",
        ),
        (
            "postmark",
            "ada@example.org",
            vec![
                "/messages/outbound?count=50&offset=0&recipient=ada%40example.org&metadata_posthaste_message=7-0123456789abcdef&messagestream=broadcast",
                "/messages/outbound?count=50&offset=0&recipient=ada%40example.org&metadata_posthaste_message=7-0123456789abcdef&messagestream=outbound",
            ],
            json!({ "TotalCount": 1, "Messages": [{ "MessageID": "n-1", "Metadata": { "posthaste_message": ours } }] }),
            json!({ "TotalCount": 1, "Messages": [{ "MessageID": "n-0", "Metadata": { "posthaste_message": another } }] }),
            "n-1",
        ),
        (
            "sparkpost",
            "ada@example.org",
            vec![
                "/api/v1/events/message?events=injection&recipients=ada%40example.org&from=2027-03-01T09%3A55%3A00Z&to=2027-03-01T11%3A00%3A00Z&per_page=1000",
            ],
            json!({ "results": [{ "transmission_id": "n-1", "rcpt_meta": { "posthaste_message": ours } }] }),
            json!({ "results": [{ "transmission_id": "n-0", "rcpt_meta": {} }] }),
            "n-1",
        ),
        (
            "twilio",
            "+380501112233",
            vec!["/2010-04-01/Accounts/AC1/Messages.json?To=%2B380501112233&DateSent%3E=2027-03-01&DateSent%3C=2027-03-02&PageSize=1000"],
            json!({ "messages": [
                text("SM9", "inbound", "10:00:01"),
                text("SM0", "outbound-api", "10:00:02"),
                text("SM1", "outbound-api", "10:00:03"),
                text("SM2", "outbound-api", "15:00:00"),
            ] }),
            json!({ "messages": [text("SM0", "outbound-api", "10:00:02")] }),
            "SM1",
        ),
    ];
    for (kind, channel, settings, ..) in kinds() {
        let told = Told::default();
        let url = told.serve().await;
        let provider = provider(kind, channel, settings, &url);
        let Some((_, to, paths, there, not_there, number)) = cases.iter().find(|case| case.0 == kind) else {
            assert_eq!(provider.search(&sought("ada@example.org")).await, Found::CannotBeAsked, "{kind}");
            continue;
        };
        let sought = sought(to);
        for _ in paths {
            told.will_say(axum::Json(not_there.clone()));
        }
        assert_eq!(provider.search(&sought).await, Found::NotThere, "{kind}");
        let asked: Vec<String> = told.arrived.lock().unwrap().iter().map(|one| one.path.clone()).collect();
        assert_eq!(asked, *paths, "{kind}");
        assert!(told.arrived.lock().unwrap().iter().all(|one| one.method == Method::GET && one.body.is_empty()), "{kind}");
        told.will_say(axum::Json(there.clone()));
        assert_eq!(provider.search(&sought).await, Found::Taken(number.to_string()), "{kind}");
        // What says nothing is no "not there".
        for answer in [
            StatusCode::UNAUTHORIZED.into_response(),
            StatusCode::TOO_MANY_REQUESTS.into_response(),
            axum::Json(json!({})).into_response(),
            "no JSON".into_response(),
        ] {
            told.will_say(answer);
            assert!(matches!(provider.search(&sought).await, Found::Silent(_)), "{kind}");
        }
    }
}
