//! Signing up by forms: what people see, what is kept, and what strangers cannot do with it.

use crate::databases::{Database, databases};
use crate::webhooks::office::Office;
use crate::world::{PEPPER, SIGNING, WORKSPACE, World};
use chrono::TimeDelta;
use posthaste::campaigns::{self, Form};
use posthaste::customers::import::Settings;
use posthaste::customers::keys::Keys;
use posthaste::customers::signup;
use posthaste::providers::Body;
use posthaste::server::Forms;
use posthaste::tracking::Tokens;
use posthaste::types::{Channel, ConsentState};
use proptest::prelude::*;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

const FORMS: &str = r#"
forms:
  letters:
    title: { uk: "Листи крамниці", en: "Letters of the shop" }
    intro: "Once a week"
    topics: [ letters ]
    asks: [ email, phone ]
    fields: { first_name: "First name", city: { uk: "Місто", en: "City" }, children: "Children", birthday: "Birthday", pets: "I have pets" }
    consent: { uk: "Так, надсилайте мені листи", en: "Yes, send me your letters" }
    sites: [ shop.example ]
    thanks: https://shop.example/thanks
    remind: 2 days
  choice:
    title: "What you like"
    topics: [ letters, offers ]
    asks: [ email ]
    consent: "I agree"
    sites: [ shop.example ]
"#;

const CONFIRM: &str = "class: transactional\ntopic: letters\nschedule: { when: { consent: letters, is: pending, channel: email } }\n\
                       message: { template: confirm, subject: \"Is it you?\" }\n";
/// Whoever gets this has agreed.
const LETTER: &str = "category: retail\ntask: grow\nclass: advertising\ntopic: letters\ngoal: { event: purchase, within: 7 days }\n\
                      audience: { segment: everyone, holdout: 0% }\nmessage: { template: hello, subject: \"A letter\" }\n";

fn world(database: &Database) -> World {
    let mut world = World::new(database);
    let topics = "  letters: { title: { uk: \"Листи\", en: \"Letters\" }, channels: [ email ], from: news, confirm: true }\n";
    let yaml = WORKSPACE
        .replace("languages: [ en ]", "languages: [ en, uk ]\ncountry: UA")
        .replace("topics:\n", &format!("topics:\n{topics}"))
        .replace("arm: text }", "arm: text, city: text, children: number, birthday: date, pets: boolean }");
    world.files.insert("posthaste.yaml", format!("{yaml}{FORMS}"));
    world.files.insert("templates/confirm.hbs", "<p>{{default first_name 'Hello'}}, <a href=\"{{confirm_url}}\">yes</a></p>");
    world.campaign("confirm", CONFIRM);
    world
}

/// A shop with its forms, and somebody with a browser.
pub struct Site {
    pub office: Office,
    pub client: Client,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: StatusCode,
    pub location: String,
    pub body: String,
}

impl Site {
    pub async fn open(world: World) -> Site {
        world.apply().await;
        if let posthaste::store::Store::Postgres(pool) = &world.store {
            // The world has numbered its people itself.
            let sql = "SELECT setval(pg_get_serial_sequence('customers', 'id'), (SELECT COALESCE(MAX(id), 0) + 1 FROM customers), false)";
            sqlx::query(sql).execute(pool).await.unwrap();
        }
        let (definitions, _) = campaigns::read(&world.files);
        let office = Office::open(world).await;
        let forms = Forms { workspace: definitions.unwrap().workspace, keys: Keys::new(PEPPER), version: 7 };
        office.state.set_forms(forms);
        let client = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).user_agent("Browser 1").build().unwrap();
        Site { office, client }
    }

    pub fn world(&self) -> &World {
        &self.office.world
    }

    pub fn pass(&self, time: TimeDelta) {
        let clock = &self.world().clock;
        clock.advance_to(clock.now() + time);
    }

    /// The engine works until it has nothing to do.
    async fn engine(&self) {
        self.office.run_until(&self.world().clock.now().to_rfc3339()).await;
    }

    pub async fn engine_until(&self, end: &str) {
        self.office.run_until(end).await;
    }

    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: String) -> (Answer, HeaderMap) {
        let mut request = self.client.request(method, format!("{}{path}", self.office.address)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let headers = response.headers().clone();
        let location = headers.get("location").map_or("", |value| value.to_str().unwrap()).to_string();
        (Answer { status: response.status(), location, body: response.text().await.unwrap() }, headers)
    }

    /// What a site reads to build its own form.
    async fn description(&self, form: &str) -> Value {
        let (answer, _) = self.send(Method::GET, &format!("/f/{form}"), &[("accept", "application/json")], String::new()).await;
        serde_json::from_str(&answer.body).unwrap()
    }

    /// Opens a form, takes five seconds, and posts these fields from `from`.
    async fn post_from(&self, from: &str, form: &str, fields: &[(&str, &str)]) -> Answer {
        let stamp = self.description(form).await["stamp"].as_str().unwrap().to_string();
        self.pass(TimeDelta::seconds(5));
        let mut all = vec![("stamp", stamp.as_str()), ("agree", "true"), ("language", "en")];
        all.extend(fields);
        self.raw(
            form,
            &[("x-forwarded-for", from), ("origin", "https://shop.example"), ("referer", "https://shop.example/footer?x=1#y")],
            &all,
        )
        .await
    }

    async fn post(&self, form: &str, fields: &[(&str, &str)]) -> Answer {
        self.post_from("203.0.113.9", form, fields).await
    }

    async fn raw(&self, form: &str, headers: &[(&str, &str)], fields: &[(&str, &str)]) -> Answer {
        let body = Serializer::new(String::new()).extend_pairs(fields).finish();
        let mut headers = headers.to_vec();
        headers.push(("content-type", "application/x-www-form-urlencoded"));
        self.send(Method::POST, &format!("/f/{form}"), &headers, body).await.0
    }

    /// The path of the newest confirming link that went to this address.
    fn confirm_path(&self, to: &str) -> String {
        let letters = self.world().outbox.letters.lock().unwrap();
        let html = letters.iter().rev().find_map(|letter| match &letter.body {
            Body::Email { to: address, mime, .. } if address == to => {
                let html = mail_parser::MessageParser::default().parse(mime).unwrap().body_html(0).unwrap().into_owned();
                html.contains("https://go.shop.example/k/").then_some(html)
            }
            _ => None,
        });
        let html = html.unwrap_or_else(|| panic!("no confirming link went to {to}"));
        let (_, rest) = html.split_once("https://go.shop.example/k/").unwrap_or_else(|| panic!("no link in {html}"));
        format!("/k/{}", rest.split('"').next().unwrap())
    }

    async fn press(&self, path: &str) -> Answer {
        let headers = [("content-type", "application/x-www-form-urlencoded"), ("x-forwarded-for", "198.51.100.7")];
        self.send(Method::POST, path, &headers, "confirm=1".into()).await.0
    }

    pub async fn number(&self, sql: &'static str) -> i64 {
        self.world().number(sql).await
    }

    async fn state(&self, email: &str, topic: &str) -> Option<ConsentState> {
        let key = Keys::new(PEPPER).address(Channel::Email, email);
        let wanted = posthaste::store::customers::Wanted { keys: vec![key], with_consents: true, ..Default::default() };
        let found = self.world().store.find_customers(&wanted).await.unwrap();
        let customer = found.customers.values().next()?;
        customer.consents.iter().find(|consent| consent.topic == topic && consent.channel == 1).map(|consent| consent.state)
    }

    async fn texts(&self, sql: &'static str) -> Vec<String> {
        let rows: Vec<(Option<String>,)> =
            posthaste::on_pool!(&self.world().store, pool => sqlx::query_as(sql).fetch_all(pool).await.unwrap());
        rows.into_iter().map(|row| row.0.unwrap_or_default()).collect()
    }

    async fn count(&self, form: &str, outcome: &str) -> i64 {
        self.office.state.write_counts().await;
        let counts = self.world().store.form_counts(0).await.unwrap();
        counts.iter().filter(|count| count.form == form && count.outcome == outcome).map(|count| count.count).sum()
    }
}

#[tokio::test]
async fn a_sign_up_becomes_consent_by_the_button_and_by_nothing_else() {
    for database in databases().await {
        let mut world = world(&database);
        world.campaign("before", &format!("{LETTER}schedule: {{ at: 2027-03-01 09:30 }}\n"));
        world.campaign("after", &format!("{LETTER}schedule: {{ at: 2027-03-01 11:00 }}\n"));
        let site = Site::open(world).await;
        let fields =
            [("email", " Ada@Example.org "), ("first_name", "Ada"), ("city", "Lviv"), ("children", "2"), ("birthday", "1990-02-01")];
        let answer = site.post("letters", &fields).await;
        assert_eq!((answer.status, answer.location.as_str()), (StatusCode::SEE_OTHER, "https://shop.example/thanks"), "{answer:?}");
        site.engine().await;
        assert_eq!(site.world().outbox(), ["Ada@example.org"], "{}: only the question", database.name);
        assert_eq!(site.state("ada@example.org", "letters").await, Some(ConsentState::Pending));
        // Advertising finds nobody.
        site.engine_until("2027-03-01T10:00:00Z").await;
        assert_eq!(site.world().sums("before").await, "selected 1, no_consent 1");
        let path = site.confirm_path("Ada@example.org");
        for method in [Method::GET, Method::HEAD, Method::GET, Method::OPTIONS, Method::PUT] {
            site.send(method, &path, &[], String::new()).await;
        }
        assert_eq!(site.send(Method::POST, &path, &[], String::new()).await.0.status, StatusCode::BAD_REQUEST, "no button was pressed");
        assert_eq!(site.state("ada@example.org", "letters").await, Some(ConsentState::Pending), "scanners confirm nobody");
        assert_eq!(site.press(&path).await.status, StatusCode::OK);
        assert_eq!(site.state("ada@example.org", "letters").await, Some(ConsentState::Confirmed), "{}", database.name);
        let records = site.number("SELECT COUNT(*) FROM consents").await;
        assert_eq!(site.press(&path).await.status, StatusCode::OK);
        assert_eq!(site.number("SELECT COUNT(*) FROM consents").await, records, "a second press changes nothing");
        assert_eq!(site.number("SELECT COUNT(*) FROM signups").await, 0);
        assert_eq!(site.number("SELECT COUNT(*) FROM addresses WHERE verified_at IS NOT NULL").await, 1);
        let proof: Value = serde_json::from_str(&site.texts("SELECT proof FROM consents WHERE state = 2").await[0]).unwrap();
        let wording = site.world().store.wording(proof["wording"].as_str().unwrap()).await.unwrap();
        assert_eq!(wording.as_deref(), Some("Yes, send me your letters"));
        assert_eq!(
            (&proof["form"], &proof["version"], &proof["language"], &proof["page"], &proof["network"], &proof["agent"]),
            (
                &json!("letters"),
                &json!(7),
                &json!("en"),
                &json!("https://shop.example/footer"),
                &json!("203.0.113.0/24"),
                &json!("Browser 1")
            )
        );
        assert_eq!(proof["at"], json!("2027-03-01T09:00:05Z"));
        assert_eq!(proof["confirmed"]["network"], json!("198.51.100.0/24"));
        assert_eq!(proof["confirmed"]["at"], json!("2027-03-01T10:00:00Z"));
        let person = site.texts("SELECT first_name || ' ' || language || ' ' || CAST(attributes AS TEXT) FROM customers").await;
        assert!(person[0].starts_with("Ada en ") && person[0].contains("Lviv") && person[0].contains("1990-02-01"), "{person:?}");
        site.engine_until("2027-03-01T11:01:00Z").await;
        assert_eq!(site.world().sums("after").await, "selected 1, accepted 1", "{}", database.name);
        assert_eq!((site.count("letters", "asked to confirm").await, site.count("letters", "confirmed").await), (1, 1));
    }
}

#[tokio::test]
async fn a_stranger_learns_nothing_and_changes_nothing_of_somebody_else() {
    for database in databases().await {
        let mut world = world(&database);
        world.person("ada@example.org").await;
        world.person("gone@example.org").await;
        world.suppress(Channel::Email, "gone@example.org").await;
        world.suppress(Channel::Email, "never@example.org").await;
        world.execute("UPDATE suppressions SET reason = 2").await;
        let site = Site::open(world).await;
        let fields = |email: &'static str| [("email", email), ("first_name", "Eve"), ("city", "Lviv"), ("phone", "+380501234567")];
        let mut answers = Vec::new();
        for (place, email) in
            ["ada@example.org", "gone@example.org", "never@example.org", "new@example.org", "ada@example.org"].into_iter().enumerate()
        {
            let started = std::time::Instant::now();
            answers.push(site.post_from(&format!("203.0.{place}.9"), "letters", &fields(email)).await);
            assert!(started.elapsed() >= std::time::Duration::from_millis(200), "all take the same time");
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "{}: {answers:?}", database.name);
        site.engine().await;
        assert_eq!(site.world().outbox(), ["ada@example.org", "new@example.org"], "{}", database.name);
        // Nobody was made for who is suppressed, and nothing of Ada is another.
        assert_eq!(site.number("SELECT COUNT(*) FROM customers").await, 3);
        assert_eq!(site.texts("SELECT first_name FROM customers WHERE id = 1").await, ["ada"]);
        assert_eq!(site.number("SELECT COUNT(*) FROM addresses WHERE customer_id = 1").await, 1, "no number of a stranger");
        assert_eq!(site.number("SELECT COUNT(*) FROM addresses WHERE customer_id = 3 OR customer_id > 3").await, 2);
        assert_eq!(site.count("letters", "suppressed").await, 2);
        assert_eq!(site.count("letters", "asked too often").await, 1);
        // Ada's own button fills in what is empty, and no more.
        site.press(&site.confirm_path("ada@example.org")).await;
        let ada = site.texts("SELECT first_name || ' ' || CAST(attributes AS TEXT) FROM customers WHERE id = 1").await;
        assert!(ada[0].starts_with("ada ") && ada[0].contains("Lviv"), "{ada:?}");
    }
}

#[tokio::test]
async fn only_its_owner_lifts_an_unsubscription_and_who_has_agreed_loses_nothing_meanwhile() {
    for database in databases().await {
        let mut world = world(&database);
        world.stranger("ada@example.org").await;
        world.stranger("bo@example.org").await;
        world.execute("INSERT INTO consent_state (customer_id, topic, channel, state, at) VALUES (1, 'letters', 1, 4, 5), (2, 'letters', 1, 1, 5), (1, 'offers', 1, 1, 5)").await;
        world.suppress(Channel::Email, "ada@example.org").await;
        world.execute("UPDATE suppressions SET reason = 3").await;
        world.campaign("letter", &format!("{LETTER}schedule: {{ every: day at 12:00 }}\n"));
        let site = Site::open(world).await;
        site.post("letters", &[("email", "ada@example.org")]).await;
        site.post("letters", &[("email", "bo@example.org")]).await;
        // A topic without double opt-in: the unsubscribed address must confirm all the same.
        site.post_from("192.0.2.1", "choice", &[("email", "ada@example.org"), ("topic", "offers")]).await;
        site.engine().await;
        assert_eq!(site.state("ada@example.org", "letters").await, Some(ConsentState::Withdrawn), "{}", database.name);
        assert_eq!(site.state("bo@example.org", "letters").await, Some(ConsentState::Granted), "who had agreed has agreed");
        assert_eq!(site.world().outbox(), ["ada@example.org", "bo@example.org"]);
        site.engine_until("2027-03-01T12:01:00Z").await;
        assert_eq!(site.world().sums("letter").await, "selected 2, suppressed 1, accepted 1");
        site.press(&site.confirm_path("ada@example.org")).await;
        assert_eq!(site.number("SELECT COUNT(*) FROM suppressions").await, 0);
        site.engine_until("2027-03-02T12:01:00Z").await;
        assert_eq!(site.world().sums("letter").await, "selected 4, suppressed 1, accepted 3", "{}", database.name);
        // Who leaves after the question is not brought back by its button.
        let path = site.confirm_path("bo@example.org");
        site.world().execute("UPDATE consent_state SET state = 4, at = 2000000000000000 WHERE customer_id = 2").await;
        site.press(&path).await;
        assert_eq!(site.state("bo@example.org", "letters").await, Some(ConsentState::Withdrawn));
    }
}

#[tokio::test]
async fn a_pause_of_advertising_keeps_nobody_from_signing_up_and_goes_on() {
    for database in databases().await {
        let mut world = world(&database);
        world.stranger("ada@example.org").await;
        world.suppress(Channel::Email, "ada@example.org").await;
        world.execute("UPDATE suppressions SET reason = 9, until = 2000000000000000").await;
        let site = Site::open(world).await;
        site.post("letters", &[("email", "ada@example.org")]).await;
        site.engine().await;
        site.pass(TimeDelta::minutes(1));
        site.press(&site.confirm_path("ada@example.org")).await;
        assert_eq!(site.state("ada@example.org", "letters").await, Some(ConsentState::Confirmed), "{}", database.name);
        assert_eq!(site.number("SELECT COUNT(*) FROM suppressions WHERE reason = 9").await, 1, "{}", database.name);
    }
}

#[tokio::test]
async fn an_address_is_asked_three_times_a_day_reminded_once_and_forgotten_after_a_month() {
    for database in databases().await {
        let site = Site::open(world(&database)).await;
        let post = async |minutes: i64| {
            site.pass(TimeDelta::minutes(minutes));
            site.post("letters", &[("email", "ada@example.org")]).await;
            site.engine().await;
            site.world().outbox().len()
        };
        assert_eq!(
            (post(0).await, post(1).await, post(9).await, post(9).await, post(11).await, post(12).await),
            (1, 1, 2, 2, 3, 3),
            "{}",
            database.name
        );
        // Somebody else is made by the same form and says more.
        site.post("letters", &[("email", "bo@example.org")]).await;
        site.engine().await;
        site.world().execute("INSERT INTO consent_state (customer_id, topic, channel, state, at) SELECT customer_id, 'offers', 1, 1, 1 FROM addresses WHERE address = 'bo@example.org'").await;
        assert_eq!(site.world().outbox().len(), 4);
        site.engine_until("2027-03-03T12:00:00Z").await;
        assert_eq!(site.world().outbox().len(), 6, "{}: one reminder each", database.name);
        site.engine_until("2027-03-09T12:00:00Z").await;
        assert_eq!(site.world().outbox().len(), 6, "and no second one");
        let old = site.confirm_path("ada@example.org");
        site.engine_until("2027-03-12T12:00:00Z").await;
        assert_eq!(site.press(&old).await.status, StatusCode::NOT_FOUND, "a link lives for seven days");
        assert_eq!(site.number("SELECT COUNT(*) FROM signups").await, 2);
        site.engine_until("2027-04-02T12:00:00Z").await;
        assert_eq!(site.number("SELECT COUNT(*) FROM signups").await, 0, "{}", database.name);
        assert_eq!(site.number("SELECT COUNT(*) FROM consent_state WHERE state = 3").await, 0);
        assert_eq!(site.number("SELECT COUNT(*) FROM consents WHERE state = 3").await, 0);
        assert_eq!(site.texts("SELECT address FROM addresses").await, ["bo@example.org"], "{}: of whom more is known stays", database.name);
        assert_eq!(site.texts("SELECT address FROM messages WHERE address LIKE 'ada%'").await, Vec::<String>::new());
        assert_eq!(site.number("SELECT COUNT(*) FROM customers WHERE draw_key LIKE 'ada%'").await, 0);
        site.world().funnel("confirm").await;
    }
}

#[tokio::test]
async fn traps_foreign_pages_and_programs_get_nowhere_and_are_counted() {
    for database in databases().await {
        let site = Site::open(world(&database)).await;
        let good = site.post("letters", &[("email", "ada@example.org")]).await;
        let people = site.number("SELECT COUNT(*) FROM customers").await;
        // Answered as if all went well: the field that nobody sees, and quicker than people are.
        assert_eq!(site.post("letters", &[("email", "trap@example.org"), ("fax_number", "1")]).await, good, "{}", database.name);
        let stamp = site.description("letters").await["stamp"].as_str().unwrap().to_string();
        let fields = [("email", "fast@example.org"), ("agree", "1"), ("stamp", stamp.as_str())];
        let ours = [("origin", "https://go.shop.example")];
        assert_eq!(site.raw("letters", &ours, &fields).await, good);
        assert_eq!((site.count("letters", "trap").await, site.count("letters", "too fast").await), (1, 1));
        // A page that we do not know, whatever it says of itself.
        site.pass(TimeDelta::seconds(5));
        for (name, value) in [
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("origin", "https://shop.example.evil.example"),
            ("referer", "https://evil.example/shop.example"),
            ("sec-fetch-site", "cross-site"),
        ] {
            let answer = site.raw("letters", &[(name, value)], &fields).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{name}: {value}");
        }
        // No stamp, an old one, that of another form, a changed text: the page once more, filled in, nothing kept.
        let old = stamp.clone();
        site.pass(TimeDelta::hours(25));
        let other = site.description("choice").await["stamp"].as_str().unwrap().to_string();
        site.pass(TimeDelta::seconds(3));
        let fresh = Tokens::new(SIGNING).unwrap().stamp("letters", site.world().clock.now() - TimeDelta::seconds(3));
        for (place, extra) in
            [vec![], vec![("stamp", old.as_str())], vec![("stamp", other.as_str())], vec![("stamp", fresh.as_str()), ("wording", "0")]]
                .into_iter()
                .enumerate()
        {
            let mut fields = vec![("email", "late@example.org"), ("agree", "1"), ("first_name", "\"><script>alert(1)</script>")];
            fields.extend(extra);
            let answer = site.raw("letters", &[("x-forwarded-for", "192.0.2.4"), ("accept-language", "uk")], &fields).await;
            assert_eq!(answer.status, StatusCode::OK, "{place}");
            assert!(
                answer.body.contains("late@example.org") && answer.body.contains("натисніть кнопку ще раз"),
                "{place}: {}",
                answer.body
            );
            assert!(!answer.body.contains("<script>"));
        }
        assert_eq!(site.count("letters", "shown once more").await, 4);
        // Nothing that a header or a letter could be broken with.
        for (field, value) in [
            ("first_name", "Ada\r\nBcc: eve@example.org"),
            ("email", "ada@example.org\r\nBcc: eve@example.org"),
            ("email", "ada@example.org, eve@example.org"),
            ("email", ""),
            ("phone", "call me"),
            ("city", &"x".repeat(201)),
            ("children", "some"),
            ("birthday", "yesterday"),
            ("agree", "false"),
        ] {
            let mut fields = vec![(field, value), ("stamp", fresh.as_str())];
            fields.extend([("email", "crlf@example.org"), ("agree", "1")].into_iter().filter(|(name, _)| *name != field));
            let answer = site.raw("letters", &[("x-forwarded-for", "192.0.2.5")], &fields).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{field}: {value}");
        }
        let body = format!("email=big@example.org&agree=1&city={}", "x".repeat(20_000));
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        assert_eq!(site.send(Method::POST, "/f/letters", &headers, body).await.0.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(
            site.send(Method::POST, "/f/letters", &[("content-type", "text/xml")], "<a/>".into()).await.0.status,
            StatusCode::UNSUPPORTED_MEDIA_TYPE
        );
        assert_eq!(site.send(Method::DELETE, "/f/letters", &[], String::new()).await.0.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(site.send(Method::GET, "/f/nothing", &[], String::new()).await.0.status, StatusCode::NOT_FOUND);
        assert_eq!(site.number("SELECT COUNT(*) FROM customers").await, people, "{}", database.name);
    }
}

#[tokio::test]
async fn ten_thousand_posts_from_one_block_fill_nothing() {
    for database in databases().await {
        let site = Site::open(world(&database)).await;
        let stamp = site.description("letters").await["stamp"].as_str().unwrap().to_string();
        site.pass(TimeDelta::seconds(5));
        let mut statuses = std::collections::BTreeMap::new();
        for round in 0..100 {
            let posts = (0..100).map(|number| {
                let (site, stamp) = (&site, &stamp);
                async move {
                    let email = format!("bot{round}.{number}@example.org");
                    let from = format!("198.51.100.{}", (round * 100 + number) % 250 + 1);
                    let fields = [("email", email.as_str()), ("agree", "1"), ("stamp", stamp.as_str())];
                    site.raw("letters", &[("x-forwarded-for", &from)], &fields).await.status
                }
            });
            for status in futures_util::future::join_all(posts).await {
                *statuses.entry(status.as_u16()).or_insert(0) += 1;
            }
        }
        assert_eq!(statuses, [(303, 60), (429, 9940)].into(), "{}", database.name);
        assert_eq!(site.number("SELECT COUNT(*) FROM customers").await, 60);
        // Somebody elsewhere signs up meanwhile, by JSON from the shop's page.
        let body = json!({ "email": "ada@example.org", "agree": true, "stamp": stamp, "topic": ["letters"] }).to_string();
        let headers = [("content-type", "application/json"), ("x-forwarded-for", "192.0.2.8"), ("origin", "https://shop.example")];
        let (answer, headers) = site.send(Method::POST, "/f/letters", &headers, body).await;
        assert_eq!((answer.status, headers["access-control-allow-origin"].to_str().unwrap()), (StatusCode::OK, "https://shop.example"));
        assert_eq!(answer.body, r#"{"taken":true,"confirm":true,"thanks":"https://shop.example/thanks"}"#);
        assert_eq!(site.number("SELECT COUNT(*) FROM customers").await, 61);
        assert_eq!(site.count("letters", "too many").await, 9940);
        // After an hour a block may post again.
        site.pass(TimeDelta::hours(1));
        let answer = site.post_from("198.51.100.7", "letters", &[("email", "late@example.org")]).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
    }
}

#[tokio::test]
async fn the_page_can_be_read_by_every_eye_and_every_screen_reader() {
    let database = crate::databases::sqlite().await;
    let site = Site::open(world(&database)).await;
    let (page, headers) = site.send(Method::GET, "/f/letters", &[("accept-language", "uk,en;q=0.5")], String::new()).await;
    assert_eq!(page.status, StatusCode::OK);
    for text in [
        "lang=\"uk\"",
        "<h1>Листи крамниці</h1>",
        "Так, надсилайте мені листи",
        "Місто",
        "autocomplete=\"email\"",
        "autocomplete=\"tel\"",
        "autocomplete=\"given-name\"",
        "autocomplete=\"bday\"",
    ] {
        assert!(page.body.contains(text), "{text} is missing in {}", page.body);
    }
    assert!(!page.body.contains(" checked") && !page.body.contains("<script"), "nothing is ticked beforehand");
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.contains("form-action 'self' https://shop.example;") && policy.contains("frame-ancestors https://shop.example;"),
        "{policy}"
    );
    assert_eq!(headers["referrer-policy"], "same-origin", "or a browser would post with `Origin: null`");
    let faulty = site.raw("choice", &[], &[("email", "nobody"), ("stamp", "x")]).await;
    assert_eq!(faulty.status, StatusCode::UNPROCESSABLE_ENTITY);
    for body in [&page.body, &faulty.body] {
        // Every field has its label, every description is there.
        for (place, _) in body.match_indices("<input id=\"") {
            let id = body[place + 11..].split('"').next().unwrap();
            assert!(body.contains(&format!("<label for=\"{id}\">")), "{id} has no label");
        }
        for (place, _) in body.match_indices("aria-describedby=\"") {
            let id = body[place + 18..].split('"').next().unwrap();
            assert!(body.contains(&format!(" id=\"{id}\"")), "{id} is not there");
        }
    }
    for id in ["email-error", "topic-error", "agree-error"] {
        assert!(faulty.body.contains(&format!("aria-describedby=\"{id}\"")), "{id}: {}", faulty.body);
    }
    assert!(faulty.body.contains("role=\"alert\""));
    // What is chosen stays chosen, and of two topics only those are agreed to.
    site.post("choice", &[("email", "ada@example.org"), ("topic", "offers")]).await;
    assert_eq!(site.state("ada@example.org", "offers").await, Some(ConsentState::Granted));
    assert_eq!(site.state("ada@example.org", "letters").await, None);
    site.post("choice", &[("email", "bo@example.org"), ("topic", "offers"), ("topic", "letters")]).await;
    site.engine().await;
    assert_eq!(site.world().outbox(), ["bo@example.org"]);
    assert_eq!(site.state("bo@example.org", "letters").await, Some(ConsentState::Pending));
}

fn form() -> (Form, Settings) {
    let mut files = posthaste::diagnostics::Files::default();
    let database_free = WORKSPACE
        .replace("languages: [ en ]", "languages: [ en, uk ]\ncountry: UA")
        .replace("topics:\n", "topics:\n  letters: { title: \"Letters\", channels: [ email ], from: news }\n")
        .replace("arm: text }", "arm: text, city: text, children: number, birthday: date, pets: boolean }");
    files.insert("posthaste.yaml", format!("{database_free}{FORMS}"));
    let (definitions, problems) = campaigns::read(&files);
    let workspace = definitions.unwrap_or_else(|| panic!("{}", problems.render(&files, false, 140))).workspace;
    let settings = Settings::of(&workspace, Keys::new(PEPPER), "2027-03-01T09:00:00Z".parse().unwrap());
    (workspace.forms["letters"].clone(), settings)
}

proptest! {
    #[test]
    fn whatever_is_posted_is_read_or_told_what_is_wrong(
        posted in proptest::collection::vec(
            (
                prop_oneof!["email|phone|first_name|city|children|birthday|pets|agree|topic|stamp|language|country", "\\PC{0,12}"],
                prop_oneof!["[a-z.]{1,8}@[a-z]{1,6}\\.[a-z]{2,4}", "\\+?[0-9 ()-]{0,20}", "(?s).{0,30}", "true|1|on|[a-z]{300}|1990-0[0-9]-3[0-2]"],
            ),
            0..12,
        )
    ) {
        let (form, settings) = form();
        match signup::read(&form, &settings, &posted) {
            Ok(entry) => {
                prop_assert!(entry.addresses.first().is_some_and(|(channel, ..)| *channel == Channel::Email));
                for (_, address, _) in &entry.addresses {
                    prop_assert!(address.len() <= 254 && !address.chars().any(|c| c.is_control() || c.is_whitespace()), "{address:?}");
                }
                for (name, value) in &entry.fields {
                    prop_assert!(form.fields.iter().any(|field| field.name == *name));
                    if let Value::String(text) = value {
                        prop_assert!(text.chars().count() <= 200 && !text.chars().any(char::is_control), "{text:?}");
                    }
                }
                prop_assert!(posted.iter().any(|(name, _)| name == "agree"), "nobody agrees by saying nothing");
            }
            Err(faults) => prop_assert!(!faults.is_empty()),
        }
    }
}

#[test]
fn mistakes_in_forms_are_one_message_each() {
    let forms = |old: &str, new: &str, with_campaign: bool, with_link: bool| {
        let mut files = posthaste::diagnostics::Files::default();
        let yaml = WORKSPACE
            .replace("languages: [ en ]", "languages: [ en, uk ]")
            .replace("topics:\n", "topics:\n  letters: { title: \"Letters\", channels: [ email ], from: news, confirm: true }\n  texts: { title: \"Texts\", channels: [ sms ] }\n")
            .replace("arm: text }", "arm: text, city: text, children: number, birthday: date, pets: boolean }");
        let changed = format!("{yaml}{FORMS}").replacen(old, new, 1);
        assert!(old.is_empty() || changed != format!("{yaml}{FORMS}"), "{old}");
        files.insert("posthaste.yaml", changed);
        files.insert("templates/confirm.hbs", if with_link { "<p><a href=\"{{confirm_url}}\">yes</a></p>" } else { "<p>yes</p>" });
        if with_campaign {
            files.insert("campaigns/confirm.yaml", format!("campaign: confirm\ntitle: \"A story\"\nowner: ada@example.org\n{CONFIRM}"));
        }
        let (_, problems) = campaigns::read(&files);
        (problems.count(), problems.render(&files, false, 140))
    };
    let good = forms("", "", true, true);
    assert_eq!(good.0, 0, "{}", good.1);
    let mut shown = String::new();
    for (old, new) in [
        ("topics: [ letters ]", "topics: [ lettres ]"),
        ("asks: [ email, phone ]", "asks: [ mail ]"),
        ("children: \"Children\"", "email: \"Email\""),
        ("children: \"Children\"", "agree: \"Agree\""),
        ("children: \"Children\"", "childs: \"Children\""),
        ("children: \"Children\"", "loyalty: \"Loyalty\""),
        ("https://shop.example/thanks", "https://elsewhere.example/thanks"),
        ("remind: 2 days", "remind: 7 days"),
        ("consent: \"I agree\"", "concent: \"I agree\""),
        ("topics: [ letters, offers ]", "topics: [ texts, offers ]"),
    ] {
        let (count, text) = forms(old, new, true, true);
        assert!(count >= 1, "{new} is taken");
        shown.push_str(&text);
    }
    // Nobody asks for the confirmation, or without the link to it.
    for (with_campaign, with_link) in [(false, true), (true, false)] {
        let (count, text) = forms("", "", with_campaign, with_link);
        assert!(count >= 1);
        shown.push_str(&text);
    }
    insta::assert_snapshot!(shown);
}
