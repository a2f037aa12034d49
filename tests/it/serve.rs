//! The public addresses over HTTP: what each answers, and what it changes.

use crate::databases::{Database, databases};
use crate::respond::{accepted, add, measures, read, seed, tallies};
use aws_lc_rs::hmac;
use posthaste::clock::Clock;
use posthaste::literals::Words;
use posthaste::server::{self, Incoming, Intake, Sender, Settings, Site, State, Subject, Taken, View, Viewed};
use posthaste::store::Store;
use posthaste::store::batch::Field;
use posthaste::store::tallies::Metric;
use posthaste::tracking::{Click, Kind, Tokens};
use posthaste::types::{Channel, MessageId, VersionId};
use proptest::prelude::*;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use tokio_util::sync::CancellationToken;

const BROWSER: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0.0.0 Safari/537.36";
const KEY: &str = "a key of the shop";

/// A server over a seeded database, at five minutes after acceptance.
pub struct World {
    pub store: Store,
    pub name: &'static str,
    pub tokens: Arc<Tokens>,
    pub clock: Clock,
    client: Client,
    address: String,
    taken: Arc<Basket>,
    stop: CancellationToken,
    _database: Database,
}

/// Events that came in, each (source, id) once.
#[derive(Default)]
struct Basket(Mutex<Vec<Incoming>>);

impl Intake for Basket {
    fn take<'a>(&'a self, events: Vec<Incoming>) -> Pin<Box<dyn Future<Output = Result<Taken, String>> + Send + 'a>> {
        let mut basket = self.0.lock().unwrap();
        let mut taken = Taken::default();
        for (place, event) in events.into_iter().enumerate() {
            if basket.iter().any(|known| (&known.source, &known.id) == (&event.source, &event.id)) {
                taken.repeated += 1;
            } else if event.subject == Subject::ExternalId("nobody".into()) {
                taken.rejected.push((place, "there is no such customer".into()));
            } else {
                basket.push(event);
                taken.accepted += 1;
            }
        }
        Box::pin(async move { Ok(taken) })
    }
}

struct Letters;

impl View for Letters {
    fn render<'a>(&'a self, viewed: &'a Viewed) -> Pin<Box<dyn Future<Output = Option<String>> + Send + 'a>> {
        Box::pin(async move { Some(format!("<p>{} {} {}</p>", viewed.campaign, viewed.variables["name"], viewed.version)) })
    }
}

fn site() -> Site {
    let words = |uk: &str, en: &str| Words(BTreeMap::from([("uk".to_string(), uk.to_string()), ("en".to_string(), en.to_string())]));
    Site {
        workspace: "shop".into(),
        zone: chrono_tz::Europe::Kyiv,
        currency: "UAH".into(),
        link_hosts: BTreeSet::from(["pay.example".to_string()]),
        languages: vec!["uk".into(), "en".into()],
        fallback: BTreeMap::from([("be".to_string(), "ru".to_string())]),
        topics: BTreeMap::from([
            ("news".to_string(), (words("Новини", "News"), vec![Channel::Email], true)),
            ("offers".to_string(), (words("Знижки", "Offers"), vec![Channel::Email, Channel::Sms], false)),
        ]),
        senders: BTreeMap::new(),
        sender: Some(Sender {
            name: words("Крамниця", "The Shop"),
            postal_address: Some(words("вул. Садова 1, Київ", "1 Garden Street, Kyiv")),
            contact: Some("help@shop.example".into()),
        }),
    }
}

pub async fn worlds() -> Vec<World> {
    worlds_of(3).await
}

/// With so many people and messages.
pub async fn worlds_of(people: i64) -> Vec<World> {
    let mut worlds = Vec::new();
    for database in databases().await {
        let store = database.store.clone();
        seed(&store, people).await;
        use Field::*;
        let fields = [
            ("id", Long),
            ("kind", Text),
            ("key", Text),
            ("version", Number),
            ("hash", Text),
            ("manifest", Json),
            ("state", Text),
            ("git_commit", Text),
            ("applied_by", Text),
            ("applied_at", Long),
        ];
        let definition = json!([{ "id": 1, "kind": "campaign", "key": "spring-sale", "version": 1, "hash": "", "manifest": {}, "state": "active",
                                  "git_commit": "", "applied_by": "", "applied_at": 0 }]);
        add(&store, "definitions", &fields, definition).await;
        let extra = json!([{ "version_id": 1, "number": 4, "target": "https://{{shop}}.example/{{path}}", "personal": 1 },
                           { "version_id": 1, "number": 5, "target": "https://shop.example/thanks?ck=#top", "personal": 0 },
                           { "version_id": 1, "number": 6, "target": "https://крамниця.example/ш?x=й", "personal": 0 }]);
        add(&store, "links", &[("version_id", Long), ("number", Number), ("target", Text), ("personal", Small)], extra).await;
        let tokens = Arc::new(Tokens::new("k1:0123456789abcdef").unwrap());
        let clock = Clock::standing_at(accepted() + chrono::TimeDelta::minutes(5));
        let taken = Arc::new(Basket::default());
        let state = State::new(Settings {
            store: store.clone(),
            clock: clock.clone(),
            tokens: tokens.clone(),
            site: site(),
            slot: 0,
            api_key: Some(KEY.into()),
            view: Some(Arc::new(Letters)),
            intake: Some(taken.clone()),
            journal: None,
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        tokio::spawn(server::serve(listener, state, stop.clone()));
        let client = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).user_agent(BROWSER).build().unwrap();
        worlds.push(World { store, name: database.name, tokens, clock, client, address, taken, stop, _database: database });
    }
    worlds
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl World {
    pub async fn ask(&self, method: Method, path: &str) -> Answer {
        self.send(self.client.request(method, format!("{}{path}", self.address)).header("accept", "*/*")).await
    }
    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path).await
    }
    pub async fn post(&self, path: &str, content_type: &str, body: &str) -> Answer {
        self.send(self.client.post(format!("{}{path}", self.address)).header("content-type", content_type).body(body.to_string())).await
    }
    /// As a program that calls itself so and says that it comes from there.
    pub async fn visit(&self, method: Method, path: &str, agent: &str, from: &str) -> StatusCode {
        let request = self.client.request(method, format!("{}{path}", self.address));
        self.send(request.header("accept", "*/*").header("user-agent", agent).header("x-forwarded-for", from)).await.status
    }
    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        Answer {
            status: response.status(),
            headers: response.headers().clone(),
            body: String::from_utf8_lossy(&response.bytes().await.unwrap()).into(),
        }
    }
    pub fn link(&self, message: i64, link: u32, utm: bool, target: Option<&str>) -> String {
        let click = Click {
            message: MessageId(message),
            version: VersionId(1),
            link,
            channel: Channel::Email,
            utm,
            target: target.map(str::to_string),
        };
        format!("/c/{}", self.tokens.sign_click(&click))
    }
    pub fn path(&self, letter: char, kind: Kind, message: i64) -> String {
        format!("/{letter}/{}", self.tokens.sign(kind, MessageId(message)))
    }
    async fn events(&self) -> i64 {
        read(&self.store, "SELECT COUNT(*), COUNT(*), COUNT(*) FROM events").await[0].0
    }
    pub async fn consents(&self) -> Vec<(i64, i64, i64)> {
        read(&self.store, "SELECT CAST(state AS BIGINT), COUNT(*), MIN(customer_id) FROM consents GROUP BY state ORDER BY 1").await
    }
}

pub const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test]
async fn the_pixel_is_43_bytes_for_everyone_and_an_event_for_good_tokens_only() {
    for world in worlds().await {
        let good = world.path('o', Kind::Open, 1);
        for path in
            [good.clone(), format!("{good}.gif"), "/o/x".into(), "/o/k1.AQ.AAAAAAAAAAAAAAAAAAAAAA".into(), world.path('o', Kind::Click, 1)]
        {
            let answer = world.get(&path).await;
            assert_eq!(answer.status, 200);
            let raw = world.client.get(format!("{}{path}", world.address)).send().await.unwrap().bytes().await.unwrap();
            assert_eq!(hex::encode(&raw), "47494638396101000100f0000000000000000021f90401000000002c00000000010001000002024401003b");
            assert_eq!(answer.header("content-type"), "image/gif");
            assert_eq!(answer.header("cache-control"), "no-store, no-cache, must-revalidate, private, max-age=0");
            assert_eq!((answer.header("pragma"), answer.header("expires")), ("no-cache", "0"));
            assert_eq!((answer.header("cross-origin-resource-policy"), answer.header("set-cookie")), ("cross-origin", ""));
        }
        assert_eq!(world.events().await, 1, "{}: repeats within two seconds are one", world.name);
        assert_eq!(world.ask(Method::POST, &good).await.status, 405);
    }
}

#[tokio::test]
async fn a_click_redirects_to_the_author_s_target_and_is_stored_when_it_is_answered() {
    for world in worlds().await {
        let answer = world.get(&world.link(1, 2, false, None)).await;
        assert_eq!((answer.status, answer.header("location")), (StatusCode::FOUND, "https://shop.example/2?a=1&b=2"));
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("referrer-policy"), "strict-origin-when-cross-origin");
        assert_eq!(answer.header("x-robots-tag"), "noindex");
        assert_eq!(tallies(&world.store).await.get(&(Metric::Clicks.code(), 2)), Some(&1), "{}", world.name);
        let location = |link, utm, target: Option<&'static str>| {
            let path = world.link(2, link, utm, target);
            let world = &world;
            async move { world.get(&path).await.header("location").to_string() }
        };
        assert_eq!(
            location(2, true, None).await,
            "https://shop.example/2?a=1&b=2&utm_source=shop&utm_medium=email&utm_campaign=spring-sale&utm_content=2"
        );
        assert_eq!(location(4, true, Some("https://pay.example/ada?x=1")).await, "https://pay.example/ada?x=1");
        assert_eq!(location(4, false, Some("https://evil.example/")).await, "", "a host that nobody named");
        assert_eq!(location(6, false, None).await, "https://xn--80aqejfp0c4d.example/%D1%88?x=%D0%B9");
        let thanks = location(5, false, None).await;
        let token = thanks.strip_prefix("https://shop.example/thanks?ck=").unwrap().strip_suffix("#top").unwrap();
        assert_eq!(world.tokens.read(Kind::Conversion, token), Some(MessageId(2)));
        for path in [world.link(1, 99, false, None), "/c/nonsense".into(), format!("/c/{}", world.tokens.sign(Kind::Open, MessageId(1)))] {
            let answer = world.get(&path).await;
            assert_eq!((answer.status, answer.header("content-type")), (StatusCode::NOT_FOUND, "text/html; charset=utf-8"));
        }
        assert_eq!(world.ask(Method::HEAD, &world.link(3, 1, false, None)).await.status, 302);
        assert_eq!(tallies(&world.store).await.get(&(Metric::ClicksMachine.code(), 1)), Some(&1), "HEAD is never a person's");
        let before = world.events().await;
        assert_eq!(world.get(&world.link(0, 1, false, None)).await.status, 302, "a preview's links work");
        assert_eq!(world.events().await, before);
    }
}

#[tokio::test]
async fn a_changed_token_leads_nowhere_and_records_nothing() {
    for world in worlds().await {
        let path = world.link(1, 1, false, None);
        for at in ("/c/".len()..path.len()).step_by(3) {
            let mut bytes = path.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(world.get(&changed).await.status, 404, "{changed}");
            let open = changed.replacen("/c/", "/o/", 1);
            assert_eq!(world.get(&open).await.status, 200);
        }
        assert_eq!(world.events().await, 0, "{}", world.name);
    }
}

#[tokio::test]
async fn fetching_addresses_a_thousand_times_changes_no_consent_and_posting_a_hundred_times_gives_one_record() {
    for world in worlds().await {
        let paths = [world.path('u', Kind::Unsubscribe, 1), world.path('p', Kind::Preferences, 1), world.link(1, 1, false, None)];
        for turn in 0..(1000 / 6) {
            for path in &paths {
                let method = if turn % 2 == 0 { Method::GET } else { Method::HEAD };
                let answer = world.ask(method.clone(), path).await;
                assert!(answer.status == 200 || answer.status == 302);
                assert_eq!(answer.header("set-cookie"), "");
            }
        }
        assert_eq!(world.consents().await, []);
        let page = world.get(&paths[0]).await;
        assert!(
            page.body.contains("<form method=\"post\">") && page.body.contains("p…@example.org") && !page.body.contains("<script"),
            "{}",
            page.body
        );
        for _ in 0..100 {
            let answer = world.post(&paths[0], FORM, "List-Unsubscribe=One-Click").await;
            assert_eq!((answer.status, answer.header("location"), answer.header("set-cookie")), (StatusCode::OK, "", ""));
        }
        assert_eq!(world.consents().await, [(4, 1, 1)], "{}", world.name);
        for method in [Method::PUT, Method::DELETE, Method::PATCH] {
            assert_eq!(world.ask(method, &paths[0]).await.status, 405);
        }
        assert_eq!(world.post(&paths[0], FORM, "x=y").await.status, 400);
        assert_eq!(world.post("/u/nonsense", FORM, "List-Unsubscribe=One-Click").await.status, 404);
        let unknown = world.path('u', Kind::Unsubscribe, 4711);
        assert_eq!(world.post(&unknown, FORM, "List-Unsubscribe=One-Click").await.status, 200, "well signed and long gone");
    }
}

#[tokio::test]
async fn the_samples_of_rfc_8058_do_what_they_say() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/mail_auth/unsubscribe/one_click_requests.json");
    let samples = std::fs::read_to_string(path).unwrap_or_else(|_| {
        eprintln!("the samples of one-click requests are not here: {path}");
        r#"[{"id": "own", "request": {"method": "POST", "content_type": "application/x-www-form-urlencoded", "body": "List-Unsubscribe=One-Click"}, "unsubscribes": true},
            {"id": "own-get", "request": {"method": "GET"}, "unsubscribes": false}]"#
            .into()
    });
    let samples: Vec<Value> = serde_json::from_str(&samples).unwrap();
    for world in worlds().await {
        for (message, sample) in (1..=3).cycle().zip(&samples) {
            let path = world.path('u', Kind::Unsubscribe, message);
            let before = world.consents().await.iter().map(|(_, count, _)| count).sum::<i64>();
            let request = &sample["request"];
            let answer = match request["method"].as_str().unwrap() {
                "POST" => world.post(&path, request["content_type"].as_str().unwrap(), request["body"].as_str().unwrap()).await,
                method => world.ask(method.parse().unwrap(), &path).await,
            };
            assert_eq!(answer.status, 200, "{}", sample["id"]);
            let after = world.consents().await.iter().map(|(_, count, _)| count).sum::<i64>();
            assert_eq!(after > before, sample["unsubscribes"].as_bool().unwrap(), "{} on {}", sample["id"], world.name);
        }
    }
}

#[tokio::test]
async fn the_pages_speak_the_customer_s_language() {
    for world in worlds().await {
        let mut change = world.store.change("prepare").await.unwrap();
        for (id, language) in [(1, "uk"), (2, "be"), (3, "pl")] {
            let sql = format!("UPDATE customers SET language = '{language}' WHERE id = {id} -- $1");
            change.connection().write("prepare", sql, "").await.unwrap();
        }
        change.commit("prepare").await.unwrap();
        let page = |message| {
            let path = world.path('u', Kind::Unsubscribe, message);
            let world = &world;
            async move { world.get(&path).await.body }
        };
        assert!(page(1).await.contains("<dd>Знижки</dd>"));
        assert!(page(2).await.contains("<html lang=\"ru\">"));
        assert!(page(3).await.contains("<html lang=\"uk\">"), "the workspace's first language");
        let done = world.post(&world.path('u', Kind::Unsubscribe, 1), FORM, "scope=all").await;
        assert!(done.status == 200 && done.body.contains("Вас відписано"), "{}", done.body);
        let polish = world.send(world.client.get(format!("{}/nowhere", world.address)).header("accept-language", "pl-PL, ru;q=0.8")).await;
        assert!(polish.status == 404 && polish.body.contains("Страница не найдена"));
    }
}

#[tokio::test]
async fn preferences_give_and_take_topics_by_channel() {
    for world in worlds().await {
        let path = world.path('p', Kind::Preferences, 1);
        let phone = json!([{ "customer_id": 1, "channel": 2, "address": "+380671234567", "key": format!("{:032x}", 901) }]);
        add(
            &world.store,
            "addresses",
            &[("customer_id", Field::Long), ("channel", Field::Small), ("address", Field::Text), ("key", Field::Bytes)],
            phone,
        )
        .await;
        let state = "SELECT CAST(channel AS BIGINT), CAST(state AS BIGINT), customer_id FROM consent_state ORDER BY topic, channel";
        let saved = world.post(&path, FORM, "save=1&news%2Femail=1&offers%2Fsms=1").await;
        assert!(saved.status == 200 && saved.body.contains("Збережено"), "{}", saved.body);
        assert_eq!(read(&world.store, state).await, [(1, 2, 1), (2, 1, 1)], "{}: the address of the token is confirmed", world.name);
        world.clock.advance_to(world.clock.now() + chrono::TimeDelta::seconds(1));
        world.post(&world.path('u', Kind::Unsubscribe, 1), FORM, "scope=all").await;
        assert!(!world.get(&path).await.body.contains("name=\"news/email\" value=\"1\" checked"));
        world.clock.advance_to(world.clock.now() + chrono::TimeDelta::seconds(1));
        world.post(&path, FORM, "save=1&offers%2Femail=1&offers%2Fsms=1").await;
        let page = world.get(&path).await.body;
        assert!(
            page.contains("name=\"offers/email\" value=\"1\" checked") && !page.contains("name=\"news/email\" value=\"1\" checked"),
            "{page}"
        );
        let before = world.consents().await;
        world.post(&path, FORM, "news%2Femail=1").await;
        assert_eq!(world.consents().await, before, "without the button nothing is saved");
        assert_eq!(world.post(&path.replacen("/p/", "/u/", 1), FORM, "scope=all").await.status, 404, "a token is good for its kind only");
    }
}

#[tokio::test]
async fn only_the_button_confirms_a_subscription_and_only_for_a_week() {
    for world in worlds().await {
        let path = world.path('k', Kind::Confirm, 1);
        assert!(world.get(&path).await.body.contains("name=\"confirm\""));
        assert_eq!(world.ask(Method::HEAD, &path).await.status, 200);
        assert_eq!(world.post(&path, FORM, "x=1").await.status, 400);
        assert_eq!(world.consents().await, []);
        for _ in 0..3 {
            assert_eq!(world.post(&path, FORM, "confirm=1").await.status, 200);
            world.clock.advance_to(world.clock.now() + chrono::TimeDelta::seconds(1));
        }
        assert_eq!(world.consents().await, [(2, 1, 1)], "{}: confirmed once", world.name);
        world.post(&world.path('u', Kind::Unsubscribe, 1), FORM, "List-Unsubscribe=One-Click").await;
        world.clock.advance_to(world.clock.now() + chrono::TimeDelta::seconds(1));
        world.post(&path, FORM, "confirm=1").await;
        assert_eq!(world.consents().await, [(2, 1, 1), (4, 1, 1)], "who withdrew later is not brought back by the old letter");
        world.clock.advance_to(accepted() + chrono::TimeDelta::days(8));
        assert_eq!(world.get(&world.path('k', Kind::Confirm, 2)).await.status, 404);
    }
}

#[tokio::test]
async fn a_message_is_shown_in_the_browser_from_its_snapshot() {
    for world in worlds().await {
        let snapshot = zstd::encode_all(&br#"{"name": "Ada"}"#[..], 3).unwrap();
        let mut change = world.store.change("prepare").await.unwrap();
        let bytes = world.store.pick("unhex", "decode");
        let form = world.store.pick("", ", 'hex'");
        let sql = format!("UPDATE messages SET snapshot = {bytes}('{}'{form}) WHERE id = 1 -- $1", hex::encode(snapshot));
        change.connection().write("prepare", sql, "").await.unwrap();
        change.commit("prepare").await.unwrap();
        let answer = world.get(&world.path('v', Kind::View, 1)).await;
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, "<p>spring-sale \"Ada\" 1</p>"), "{}", world.name);
        assert!(answer.header("content-security-policy").contains("sandbox"));
        assert_eq!(world.get(&world.path('v', Kind::View, 2)).await.status, 410);
        assert_eq!(world.get("/v/x").await.status, 404);
    }
}

#[tokio::test]
async fn conversions_and_events_are_taken_once_and_only_when_signed() {
    for world in worlds().await {
        let token = world.tokens.sign(Kind::Conversion, MessageId(2));
        let body = json!({ "conversion_id": "o-17", "click_id": token, "type": "purchase", "value": 1999, "currency": "UAH" }).to_string();
        let post = |timestamp: i64, key: &str, body: &str| {
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), format!("{timestamp}.{body}").as_bytes());
            world.send(
                world
                    .client
                    .post(format!("{}/conversions", world.address))
                    .header("posthaste-timestamp", timestamp)
                    .header("posthaste-signature", hex::encode(tag))
                    .body(body.to_string()),
            )
        };
        let now = world.clock.now().timestamp();
        let first = post(now, KEY, &body).await;
        assert_eq!((first.status, first.body.as_str()), (StatusCode::OK, r#"{"accepted":1,"repeated":0,"rejected":[]}"#));
        assert_eq!(post(now - 200, KEY, &body).await.body, r#"{"accepted":0,"repeated":1,"rejected":[]}"#);
        assert_eq!(post(now - 301, KEY, &body).await.status, 401);
        assert_eq!(post(now, "another key", &body).await.status, 401);
        assert_eq!(post(now, KEY, "[").await.status, 400);
        assert_eq!(post(now, KEY, r#"{"conversion_id": 1, "click_id": "x", "type": "p"}"#).await.status, 422);
        for path in [
            format!("/conversion.gif?ck={token}&id=i-1&value=12.50&currency=EUR"),
            format!("/x/{token}.gif?id=i-1"),
            "/conversion.gif?id=1".into(),
        ] {
            assert_eq!(world.get(&path).await.header("content-type"), "image/gif");
        }
        let events = |key: &str, body: &str| {
            world.send(world.client.post(format!("{}/events", world.address)).bearer_auth(key).body(body.to_string()))
        };
        assert_eq!(events("wrong", "{}").await.status, 401);
        assert_eq!(events(KEY, "nonsense").await.status, 400);
        let mixed = events(
            KEY,
            r#"[{"customer": "ada", "event": "visit", "id": "v1"}, {"customer": "nobody", "event": "visit"}, {"event": "visit"}]"#,
        )
        .await;
        let report: Value = serde_json::from_str(&mixed.body).unwrap();
        assert_eq!(
            (mixed.status, &report["accepted"], &report["rejected"][0]["index"], &report["rejected"][1]["index"]),
            (StatusCode::OK, &json!(1), &json!(1), &json!(2))
        );
        let huge = events(KEY, &"x".repeat(2 << 20)).await;
        assert_eq!(huge.status, 413);
        let taken: Vec<String> = {
            let basket = world.taken.0.lock().unwrap();
            basket.iter().map(|event| format!("{} {:?}", event.id, event.worth)).collect()
        };
        let expected = [
            r#"o-17 Some(Worth { amount: "19.99", currency: Some("UAH") })"#,
            r#"i-1 Some(Worth { amount: "12.50", currency: Some("EUR") })"#,
            "v1 None",
        ];
        assert_eq!(taken, expected);
        assert_eq!(world.get("/healthz").await.body, "ok\n");
    }
}

#[tokio::test]
async fn redirects_work_from_memory_while_the_database_is_away_and_unsubscriptions_are_asked_to_come_again() {
    for world in worlds().await {
        let path = world.link(1, 1, false, None);
        assert_eq!(world.get(&path).await.status, 302);
        world.store.close().await;
        assert_eq!(world.get(&path).await.header("location"), "https://shop.example/1?a=1&b=2", "{}", world.name);
        assert_eq!(world.get(&world.path('u', Kind::Unsubscribe, 1)).await.status, 503);
        assert_eq!(world.get("/healthz").await.status, 503);
    }
}

#[test]
fn whatever_is_asked_a_redirect_leads_to_a_link_of_the_author_s() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let world = runtime.block_on(async { worlds().await.remove(0) });
    let targets: BTreeSet<String> = (1..=3).map(|number| format!("https://shop.example/{number}?a=1&b=2")).collect();
    let mut runner =
        proptest::test_runner::TestRunner::new(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() });
    let paths = prop_oneof![
        (0..4i64, 0..5u32, 0..3i64).prop_map(|(message, link, version)| (Some((message, link, version)), String::new())),
        "[A-Za-z0-9_.:/%?=&-]{0,80}".prop_map(|path| (None, path)),
    ];
    runner
        .run(&paths, |(link, path)| {
            let path = match link {
                Some((message, link, version)) => {
                    let click = Click {
                        message: MessageId(message),
                        version: VersionId(version),
                        link,
                        channel: Channel::Email,
                        utm: false,
                        target: None,
                    };
                    world.tokens.sign_click(&click)
                }
                None => path,
            };
            let answer = runtime.block_on(world.get(&format!("/c/{path}")));
            if answer.status == 302 {
                assert!(targets.contains(answer.header("location")), "{}", answer.header("location"));
            }
            assert!(answer.status != 500);
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn a_scanner_s_storm_makes_no_human_click_and_no_unsubscription() {
    for world in worlds().await {
        let _ = measures(&world.store).await;
        for message in 1..=3 {
            for link in 1..=3 {
                for method in [Method::GET, Method::HEAD, Method::GET] {
                    assert_eq!(world.ask(method, &world.link(message, link, false, None)).await.status, 302);
                }
            }
            assert_eq!(world.get(&world.path('u', Kind::Unsubscribe, message)).await.status, 200);
            assert_eq!(world.get(&world.path('p', Kind::Preferences, message)).await.status, 200);
        }
        let tallies = tallies(&world.store).await;
        assert!(
            tallies.keys().all(|(metric, _)| ![Metric::ClicksHuman.code(), Metric::ClicksUnique.code()].contains(metric)),
            "{}: {tallies:?}",
            world.name
        );
        assert_eq!(world.consents().await, []);
    }
}

#[tokio::test]
async fn what_is_too_large_or_meant_for_another_address_changes_nothing() {
    for world in worlds().await {
        let large = "x".repeat(2 << 20);
        let request = world.client.post(format!("{}/events", world.address)).bearer_auth(KEY).body(format!("[{{\"a\": \"{large}\"}}]"));
        assert_eq!(world.send(request).await.status, 413, "{}", world.name);
        let unsubscribe = world.path('u', Kind::Unsubscribe, 1);
        let body = format!("List-Unsubscribe=One-Click&x={large}");
        assert_eq!(world.post(&unsubscribe, FORM, &body).await.status, 413);
        assert_eq!(world.post("/conversions", "application/json", &large).await.status, 413);
        // A token opens the door that it was made for, and no other.
        let open = world.tokens.sign(Kind::Open, MessageId(1));
        for door in ['u', 'p', 'k', 'v'] {
            assert_eq!(world.get(&format!("/{door}/{open}")).await.status, 404, "/{door}");
        }
        let view = world.tokens.sign(Kind::View, MessageId(1));
        assert_eq!(world.post(&format!("/u/{view}"), FORM, "List-Unsubscribe=One-Click").await.status, 404);
        assert_eq!(world.get(&format!("/conversion.gif?ck={open}&id=1&value=5")).await.status, 200);
        for (path, body) in [("/events", "[".repeat(200_000)), ("/events", "{\"a\":".repeat(100_000))] {
            let request = world.client.post(format!("{}{path}", world.address)).bearer_auth(KEY).body(body);
            assert_eq!(world.send(request).await.status, 400);
        }
        assert_eq!((world.events().await, world.consents().await.len(), world.taken.0.lock().unwrap().len()), (0, 0, 0), "{}", world.name);
    }
}
