//! Campaigns that start by what happens to a customer: events, responses, consent.

use crate::databases::{Database, databases};
use crate::world::{PEPPER, WORKSPACE, World};
use chrono::TimeDelta;
use posthaste::campaigns;
use posthaste::customers::import::{self, EventOptions, Input, Settings};
use posthaste::customers::keys::Keys;
use posthaste::on_pool;
use posthaste::providers::Body;
use posthaste::store::consents::ConsentRow;
use posthaste::store::responses::{Counting, ResponseRow, Scope, digest};
use posthaste::store::{from_micros, micros};
use posthaste::tracking::judge::judge;
use posthaste::types::{Channel, ConsentState, MessageId, Response, Time, Verdict};
use serde_json::{Map, Value, json};

const REST: &str = "class: advertising\ntopic: offers\ncategory: retail\ntask: grow\ngoal: { event: purchase, within: 1 day }\n";
const TO_ALL: &str = "audience: { segment: everyone, holdout: 0% }\nmessage: { template: cart, subject: \"{{event.title}} waits\" }\n";
const HELLO: &str = "audience: { segment: everyone, holdout: 0% }\nmessage: { template: hello, subject: \"Hello\" }\n";

fn world(database: &Database) -> World {
    let mut world = World::new(database);
    world.files.insert(
        "posthaste.yaml",
        WORKSPACE.replace("purchase: { amount: money }", "purchase: { amount: money }, cart: { total: money, title: text }"),
    );
    world.files.insert("templates/cart.hbs", "<p>{{event.title}}: {{format_money event.total}} of {{event.at}}</p><a href=\"{{unsubscribe_url}}\">x</a> {{identity.postal_address}}");
    world
}

/// A cart of customer number `customer`, as the shop's server tells it; `starts` as with `import --start`.
async fn cart(world: &World, customer: i64, at: Time, total: i64, title: &str, starts: bool) {
    let (definitions, _) = campaigns::read(&world.files);
    let settings = Settings::of(&definitions.unwrap().workspace, Keys::new(PEPPER), world.clock.now());
    let measures = world.store.measures(settings.zone, &settings.currency).await.unwrap();
    let row = json!({ "customer": format!("c{customer}"), "event": "cart", "at": at.to_rfc3339(), "total": total, "title": title });
    let rows: Vec<Map<String, Value>> = vec![row.as_object().unwrap().clone()];
    let options = EventOptions { starts, ..EventOptions::default() };
    let summary = import::events(&world.store, &settings, &options, &measures, Input::Rows(rows), &mut |_| {}).await.unwrap();
    assert_eq!((summary.new, summary.rejected), (1, 0));
}

fn subjects(world: &World) -> Vec<String> {
    let letters = world.outbox.letters.lock().unwrap();
    let subject = |mime: &[u8]| mail_parser::MessageParser::default().parse(mime).unwrap().subject().unwrap().to_string();
    letters
        .iter()
        .map(|letter| match &letter.body {
            Body::Email { mime, .. } => subject(mime),
            Body::Sms { text, .. } => text.clone(),
            Body::Webhook { json, .. } => json.clone(),
        })
        .collect()
}

async fn later(world: &World, minutes: i64) {
    let end = world.clock.now() + TimeDelta::minutes(minutes);
    world.run_until(&end.to_rfc3339()).await;
}

#[tokio::test]
async fn an_event_starts_a_message_at_once_with_the_event_in_it() {
    for database in databases().await {
        let mut world = world(&database);
        let when = "schedule: { when: { event: cart, where: { total: { more_than: 10 EUR } } }, if_missed: { within: 2 hours } }\nre_entry: 3 days\n";
        world.campaign("cart", &format!("{REST}{TO_ALL}{when}"));
        let (ada, bo) = (world.person("ada@example.org").await, world.person("bo@example.org").await);
        let stranger = world.stranger("stranger@example.org").await;
        world.apply().await;
        let now = world.clock.now();
        later(&world, 180).await;
        let now = now + TimeDelta::hours(3);
        cart(&world, ada, now, 20, "Lamp", true).await;
        cart(&world, ada, now - TimeDelta::minutes(5), 30, "Sofa", true).await;
        // Too small, too old, only imported, and to somebody who never agreed.
        cart(&world, bo, now, 5, "Nail", true).await;
        cart(&world, bo, now - TimeDelta::minutes(121), 50, "Table", true).await;
        cart(&world, bo, now, 60, "Bed", false).await;
        cart(&world, stranger, now, 70, "Door", true).await;
        later(&world, 1).await;
        // The first entry counts: the second came while the first was inside, or too soon.
        assert_eq!(subjects(&world), ["Lamp waits"], "{}", database.name);
        assert_eq!(world.sums("cart").await, "selected 2, no_consent 1, accepted 1");
        let rows: Vec<(String, i64, i64, i64)> = on_pool!(&world.store, pool => sqlx::query_as(
            "SELECT r.occurrence, m.entry, e.id, m.due_at FROM messages m JOIN runs r ON r.id = m.run_id JOIN events e ON e.id = m.entry WHERE m.state = 7")
            .fetch_all(pool).await).unwrap();
        assert_eq!((rows.len(), rows[0].0.as_str(), rows[0].1), (1, "when:2027-03-01:v1", rows[0].2));
        assert!(from_micros(rows[0].3) - now < TimeDelta::seconds(1));
        // Within three days nothing more, after them again; in another run, since the day is another.
        cart(&world, ada, world.clock.now(), 20, "Chair", true).await;
        later(&world, 3 * 24 * 60).await;
        cart(&world, ada, world.clock.now(), 20, "Shelf", true).await;
        later(&world, 1).await;
        assert_eq!(subjects(&world), ["Lamp waits", "Shelf waits"], "{}", database.name);
        assert_eq!(world.number("SELECT COUNT(*) FROM runs").await, 2);
        assert_eq!(world.number("SELECT COUNT(*) FROM starts").await, 0);
        // What happened while the campaign was not applied starts nothing later.
        world.files.0.remove("campaigns/cart.yaml");
        world.apply().await;
        cart(&world, bo, world.clock.now(), 20, "Mat", true).await;
        world.campaign("cart", &format!("{REST}{TO_ALL}{when}"));
        world.apply().await;
        later(&world, 1).await;
        assert_eq!(subjects(&world).len(), 2);
    }
}

#[tokio::test]
async fn who_is_chosen_again_while_a_message_waits_is_treated_as_the_file_says() {
    for database in databases().await {
        let mut world = world(&database);
        // It is nine in the morning; messages wait for noon.
        let when = "schedule: { when: { event: cart }, windows: [ { hours: 12:00 to 13:00 } ] }\n";
        for (key, inside) in [("ignore", ""), ("restart", "if_inside: restart\n"), ("separate", "if_inside: separate\n")] {
            world.campaign(
                key,
                &format!("{REST}{}{when}{inside}", TO_ALL.replace("{{event.title}} waits", &format!("{key} {{{{event.title}}}}"))),
            );
        }
        let ada = world.person("ada@example.org").await;
        world.apply().await;
        for title in ["Lamp", "Sofa", "Bed"] {
            later(&world, 10).await;
            cart(&world, ada, world.clock.now(), 20, title, true).await;
            later(&world, 1).await;
        }
        assert_eq!(subjects(&world), Vec::<String>::new());
        later(&world, 24 * 60).await;
        let mut found = subjects(&world);
        found.sort();
        assert_eq!(found, ["ignore Lamp", "restart Bed", "separate Bed", "separate Lamp", "separate Sofa"], "{}", database.name);
        assert_eq!(world.sums("restart").await, "selected 3, accepted 1, cancelled 2");
        assert_eq!(world.sums("ignore").await, "selected 1, accepted 1");
    }
}

#[tokio::test]
async fn responses_and_changes_of_consent_start_campaigns() {
    for database in databases().await {
        let mut world = world(&database);
        world.campaign("first", &format!("{REST}{HELLO}schedule: {{ at: 2027-03-01 10:00 }}\n"));
        world.campaign("clicked", &format!("{REST}{HELLO}schedule: {{ when: {{ message: first, was: clicked }} }}\n"));
        world.campaign("agreed", &format!("{REST}{HELLO}schedule: {{ when: {{ consent: offers, is: granted, channel: email }} }}\n"));
        let (ada, bo) = (world.person("ada@example.org").await, world.person("bo@example.org").await);
        let cy = world.stranger("cy@example.org").await;
        world.apply().await;
        world.run_until("2027-03-01T10:05:00Z").await;
        let now = world.clock.now();
        let (message,): (i64,) =
            on_pool!(&world.store, pool => sqlx::query_as("SELECT id FROM messages WHERE customer_id = $1").bind(ada).fetch_one(pool).await).unwrap();
        let click = |response, verdict| ResponseRow {
            message: MessageId(message),
            response,
            at: now,
            received_at: now,
            link: i32::from(response == Response::Clicked),
            visit: None,
            verdict,
            bounce: None,
            scope: Scope::Topic,
            source: "story".into(),
            source_key: digest(&[response.word().as_bytes(), &micros(now).to_be_bytes(), &verdict.code().to_be_bytes()]),
        };
        let counting = Counting { zone: chrono_tz::UTC, slot: 0, judge };
        let rows = [click(Response::Opened, Verdict::Human), click(Response::Clicked, Verdict::Human)];
        world.store.record_responses(&rows, &counting).await.unwrap();
        let agrees = |customer: i64, channel: Channel, state: ConsentState| ConsentRow {
            customer,
            topic: "offers".into(),
            channel: channel.code(),
            state,
            at: micros(now),
            received_at: micros(now),
            source: "story".into(),
            proof: None,
            until: None,
            source_key: digest(&[&customer.to_be_bytes(), &channel.code().to_be_bytes()]),
        };
        let changes = [
            agrees(cy, Channel::Email, ConsentState::Granted),
            agrees(cy, Channel::Sms, ConsentState::Granted),
            agrees(bo, Channel::Email, ConsentState::Withdrawn),
        ];
        world.store.append_consents(&changes, true).await.unwrap();
        later(&world, 1).await;
        assert_eq!(world.sums("clicked").await, "selected 1, accepted 1", "{}", database.name);
        assert_eq!(world.sums("agreed").await, "selected 1, accepted 1", "{}", database.name);
        assert_eq!(world.outbox(), ["ada@example.org", "ada@example.org", "bo@example.org", "cy@example.org"]);
    }
}
