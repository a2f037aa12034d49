//! The whole round: applied, sent, answered over HTTP, reported.

use crate::databases::databases;
use crate::world::{PEPPER, SIGNING, World};
use mail_parser::MessageParser;
use posthaste::campaigns;
use posthaste::cli::serving;
use posthaste::config::{Secrets, Workspace};
use posthaste::providers::Body;
use posthaste::reports::{self, Question};
use reqwest::Client;
use serde_json::{Value, json};

const BROWSER: &str =
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.2 Safari/605.1.15";
const KEY: &str = "the shop's key";

/// The address that follows `before` in a letter, as a path of ours.
fn path(letter: &str, before: &str) -> String {
    let rest = letter.split(before).nth(1).unwrap_or_else(|| panic!("{before} is not in {letter}"));
    let address: String = rest.chars().take_while(|character| !"\"<> \r\n".contains(*character)).collect();
    address.strip_prefix("https://go.shop.example").unwrap_or_else(|| panic!("{address} is none of ours")).to_string()
}

#[tokio::test]
async fn what_people_do_with_a_letter_is_in_the_report_when_they_are_answered() {
    for database in databases().await {
        let name = database.name;
        let mut world = World::new(&database);
        world.files.insert(
            "templates/letter.hbs",
            "<p>Hello {{default first_name 'friend'}} <a href=\"https://shop.example/sale\">see</a> <a href=\"{{view_url}}\">in the browser</a></p>\
             <p><a href=\"{{unsubscribe_url}}\">unsubscribe</a> {{identity.postal_address}}</p>",
        );
        world.campaign(
            "spring",
            "category: retail\ntask: grow\nclass: advertising\ntopic: offers\n\
             goal: { event: purchase, where: { amount: { more_than: 10 EUR } }, value: amount, within: 7 days }\n\
             audience: { segment: everyone, holdout: 0% }\nschedule: { at: 2027-03-01 10:00 }\n\
             message: { template: letter, subject: \"Spring\", track: { opens: true, clicks: true, utm: true } }\n",
        );
        for person in ["ada@example.org", "bob@example.org", "eva@example.org"] {
            world.person(person).await;
        }
        world.apply().await;
        world.run_until("2027-03-01T10:00:00Z").await;
        assert_eq!(world.outbox().len(), 3, "{name}");

        let secrets = [("POSTHASTE_SIGNING", SIGNING), ("POSTHASTE_PEPPER", PEPPER), ("POSTHASTE_API_KEY", KEY)];
        let secrets = Secrets::of(secrets.map(|(name, value)| (name.to_string(), value.to_string())));
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace { folder: folder.path().into(), secrets, database: None };
        let applied = campaigns::read(&world.files).0.unwrap().workspace;
        let serving =
            serving::start(&world.store, &applied, &workspace, world.clock.clone(), "127.0.0.1:0".parse().unwrap()).await.unwrap();
        let client = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).user_agent(BROWSER).build().unwrap();
        let url = |path: &str| format!("http://{}{path}", serving.address);

        world.clock.advance_to("2027-03-01T10:20:00Z".parse().unwrap());
        let letters = world.outbox.letters.lock().unwrap().clone();
        let letter = |to: &str| {
            let found = letters.iter().find_map(|outgoing| match &outgoing.body {
                Body::Email { to: who, mime, .. } if who == to => Some(mime.clone()),
                _ => None,
            });
            let mime = found.unwrap();
            let read = MessageParser::default().parse(&mime).unwrap();
            read.body_html(0).unwrap().to_string()
        };
        let ada = letter("ada@example.org");
        let pixel = client.get(url(&path(&ada, "<img src=\""))).header("accept", "image/avif,image/*").send().await.unwrap();
        assert_eq!(pixel.bytes().await.unwrap().len(), 43);
        let click = client.get(url(&path(&ada, "Hello ada <a href=\""))).send().await.unwrap();
        assert_eq!(
            click.headers()["location"],
            "https://shop.example/sale?utm_source=story&utm_medium=email&utm_campaign=spring&utm_content=1"
        );
        let shown = client.get(url(&path(&ada, "see</a> <a href=\""))).send().await.unwrap().text().await.unwrap();
        assert!(shown.contains("Hello ada") && shown.contains("1 Garden Street"), "{name}: {shown}");

        let bob = letter("bob@example.org");
        let form = [("List-Unsubscribe", "One-Click")];
        let done = client.post(url(&path(&bob, "<p><a href=\""))).form(&form).send().await.unwrap();
        assert_eq!(done.status(), 200);

        let bought = json!([
            { "email": "ada@example.org", "event": "purchase", "amount": 25, "id": "o1" },
            { "email": "ada@example.org", "event": "purchase", "amount": 5, "id": "o2" },
            { "email": "eva@example.org", "event": "purchase", "amount": "12.50 EUR", "id": "o3" },
            { "email": "nobody@example.org", "event": "purchase", "amount": 1, "id": "o4" },
            { "email": "eva@example.org", "event": "purchased", "amount": 1, "id": "o5" },
        ]);
        for expected in [(2 + 1, 0), (0, 3)] {
            let answer = client.post(url("/events")).bearer_auth(KEY).json(&bought).send().await.unwrap();
            let report: Value = answer.json().await.unwrap();
            assert_eq!((&report["accepted"], &report["repeated"]), (&json!(expected.0), &json!(expected.1)), "{name}: {report}");
            let places: Vec<&Value> = report["rejected"].as_array().unwrap().iter().map(|row| &row["index"]).collect();
            assert_eq!(places, [&json!(3), &json!(4)], "{report}");
        }
        serving.end().await.unwrap();

        let measures = world.store.measures(chrono_tz::UTC, "EUR").await.unwrap();
        let question = Question { run: None, as_of: None, now: world.clock.now(), measures: &measures };
        let found = world.store.counted_campaigns(Some("spring")).await.unwrap();
        let report = reports::gather(&world.store, &found[0], &question).await.unwrap();
        let report = serde_json::to_value(&report).unwrap();
        assert_eq!(report["funnel"]["accepted"], 3);
        assert_eq!(report["responses"]["opens"], json!({ "all": 1, "human": 1, "unique": 1 }), "{name}");
        assert_eq!(report["responses"]["clicks"], json!({ "all": 1, "human": 1, "unique": 1 }), "{name}");
        assert_eq!(report["responses"]["unsubscribes"], 1);
        assert_eq!(report["attributed"][0], json!({ "event": "purchase", "conversions": 1, "currency": "EUR", "value": 25.0 }), "{name}");
        let arms = report["measures"][0]["arms"].as_array().unwrap();
        let converted: u64 = arms.iter().map(|arm| arm["converted"].as_u64().unwrap()).sum();
        let value: f64 = arms.iter().map(|arm| arm["value"].as_f64().unwrap()).sum();
        assert_eq!((converted, value), (2, 37.5), "{name}: the smaller purchase does not fit the goal: {report}");
    }
}

#[tokio::test]
async fn an_event_right_behind_an_apply_counts_for_what_was_applied() {
    for database in databases().await {
        let name = database.name;
        let mut world = World::new(&database);
        world.person("ada@example.org").await;
        let campaign = |event: &str, at: &str| {
            format!(
                "category: retail\ntask: grow\nclass: advertising\ntopic: offers\ngoal: {{ event: {event}, within: 7 days }}\n\
                 audience: {{ segment: everyone, holdout: 0% }}\nschedule: {{ at: 2027-03-01 {at} }}\nmessage: {{ template: hello, subject: \"Spring\" }}\n"
            )
        };
        world.campaign("first", &campaign("purchase", "10:00"));
        world.apply().await;
        let secrets = [("POSTHASTE_SIGNING", SIGNING), ("POSTHASTE_PEPPER", PEPPER), ("POSTHASTE_API_KEY", KEY)];
        let secrets = Secrets::of(secrets.map(|(name, value)| (name.to_string(), value.to_string())));
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace { folder: folder.path().into(), secrets, database: None };
        let applied = campaigns::read(&world.files).0.unwrap().workspace;
        let serving =
            serving::start(&world.store, &applied, &workspace, world.clock.clone(), "127.0.0.1:0".parse().unwrap()).await.unwrap();
        let client = Client::builder().no_proxy().build().unwrap();
        let tell = async |id: &str| -> Value {
            let event = json!({ "email": "ada@example.org", "event": "visit", "id": id });
            let request = client.post(format!("http://{}/events", serving.address)).bearer_auth(KEY).json(&event);
            request.send().await.unwrap().json().await.unwrap()
        };
        assert_eq!(tell("v1").await["accepted"], 0, "{name}: the workspace knows no visits yet");
        let declared = String::from_utf8(world.files.0["posthaste.yaml"].clone()).unwrap();
        world.files.insert("posthaste.yaml", declared.replace("events: { ", "events: { visit: { page: text }, "));
        world.apply().await;
        assert_eq!(tell("v1").await["accepted"], 1, "{name}");
        // Only a campaign's file is new.
        world.campaign("second", &campaign("visit", "11:00"));
        world.apply().await;
        world.run_until("2027-03-01T11:00:00Z").await;
        world.clock.advance_to("2027-03-01T11:30:00Z".parse().unwrap());
        assert_eq!(tell("v2").await["accepted"], 1, "{name}");
        serving.end().await.unwrap();
        assert_eq!(world.number("SELECT COUNT(*) FROM conversions").await, 1, "{name}: the visit counts for the second campaign");
    }
}
