//! Limits of a run: how many people, how much money, how fast.

use crate::databases::{Database, databases};
use crate::world::{PEPPER, WORKSPACE, World, advertising};
use posthaste::campaigns;
use posthaste::customers::import::{self, EventOptions, Input, Settings};
use posthaste::customers::keys::Keys;
use posthaste::dispatch::count_parts;
use posthaste::engine::applying;
use posthaste::engine::simulation::simulate;
use posthaste::plan;
use posthaste::templates::sms;
use posthaste::types::{Channel, Refusal};
use serde_json::json;
use std::sync::Arc;

const SALE: &str = advertising!("audience: { segment: everyone, holdout: 0% }\n",);

/// Short messages cost 0.85 a part to Ukraine, and 2 elsewhere; letters are free.
fn world(database: &Database) -> World {
    let mut world = World::new(database);
    let priced = "texts: { channel: sms, kind: catcher, price: { UA: 0.85 EUR, other: 2 EUR } }";
    world.files.insert("posthaste.yaml", WORKSPACE.replace("texts: { channel: sms, kind: catcher }", priced));
    world
}

/// Twelve people with phones; every third has a name that makes the text longer than one part, and the last two live in Poland.
async fn people(world: &mut World) {
    for number in 0..12 {
        let name = if number % 3 == 0 { format!("maximiliana.{number}") } else { format!("bo.{number}") };
        let id = world.person(&format!("{name}@example.org")).await;
        let phone = if number < 10 { format!("+38067123450{number}") } else { format!("+4851200000{}", number - 10) };
        world.address(id, Channel::Sms, &phone).await;
    }
}

/// 150 characters with a name of four or five letters.
fn text() -> String {
    format!("message: {{ channel: sms, text: \"{{{{first_name}}}} {}\" }}\n", "x".repeat(150))
}

/// To whom the campaign went under this limit, sorted; its first run, in a base of its own.
async fn kept(database: &Database, limits: &str, message: &str) -> (World, Vec<String>) {
    let mut world = world(database);
    people(&mut world).await;
    world.campaign("sale", &format!("{SALE}schedule: {{ at: 2027-03-01 10:00 }}\n{message}limits: {{ {limits} }}\n"));
    world.apply().await;
    world.run_until("2027-03-01T10:30:00Z").await;
    let outbox = world.outbox();
    (world, outbox)
}

#[tokio::test]
async fn who_costs_too_much_is_refused_in_the_order_of_the_audiences_limit() {
    let same = "message: { channel: sms, text: \"Sale\" }\n";
    for (by_people, by_cost) in databases().await.iter().zip(databases().await.iter()) {
        let (_, four) = kept(by_people, "audience: 4", same).await;
        // Two of the twelve cost 2 EUR: what four people cost follows from who they are.
        let cost: i64 = four.iter().map(|phone| if phone.starts_with("+48") { 200 } else { 85 }).sum();
        let limit = format!("cost: {}.{:02} EUR", cost / 100, cost % 100);
        let (world, within) = kept(by_cost, &limit, same).await;
        assert_eq!(within, four, "{}", by_cost.name);
        assert_eq!(world.sums("sale").await, "selected 12, over_cost 8, accepted 4");
        assert_eq!(world.number("SELECT cost FROM runs").await, cost);
    }
}

#[tokio::test]
async fn short_messages_cost_by_their_parts_and_plan_simulation_and_ledger_say_the_same() {
    for database in databases().await {
        let mut world = world(&database);
        people(&mut world).await;
        world.campaign("sale", &format!("{SALE}schedule: {{ at: 2027-03-01 10:00 }}\n{}limits: {{ cost: 9 EUR }}\n", text()));
        let (definitions, problems) = campaigns::read(&world.files);
        assert_eq!(problems.count(), 0);
        let definitions = Arc::new(definitions.unwrap());
        let campaign = &definitions.campaigns["sale"];
        // What is planned before the first apply is run 1 of it.
        let now = world.clock.now();
        let foreseen = plan::foresee(&world.store, &definitions, campaign, None, &Arc::default(), now).await.unwrap();
        let preview = plan::preview(&world.store, &definitions, campaign, foreseen, &count_parts(), now).await.unwrap();
        let apply = applying(world.files.clone(), campaigns::read(&world.files).0.unwrap(), "dirty".into(), "ada".into(), now);
        let simulation = simulate(&world.store, Some(apply), now, 1).await.unwrap();
        world.apply().await;
        world.run_until("2027-03-01T10:30:00Z").await;

        let funnel = world.funnel("sale").await;
        let (sent, refused) = (funnel.accepted(), funnel.refused["over_cost"]);
        assert_eq!(sent + refused, 12);
        // Counted from what was handed over, by nothing that plans.
        let cost = |world: &World| -> i64 {
            let parts = world.texts().iter().map(|text| sms::parts(text).parts as i64).collect::<Vec<_>>();
            assert!(parts.contains(&2) && parts.contains(&1), "{parts:?}");
            let letters = world.outbox.letters.lock().unwrap();
            let price = |body: &posthaste::providers::Body| match body {
                posthaste::providers::Body::Sms { to, .. } if to.starts_with("+48") => 200,
                _ => 85,
            };
            letters.iter().zip(parts).map(|(letter, parts)| price(&letter.body) * parts).sum()
        };
        let cost = cost(&world);
        assert!(cost <= 900 && cost + 2 * 200 > 900, "{cost} of 900, so that one more could not have been paid for");
        assert_eq!(world.number("SELECT cost FROM runs").await, cost, "{}", database.name);
        assert_eq!((preview.refused[&Refusal::OverCost], preview.cost["EUR"]), (refused, cost), "{}", database.name);
        let day = &simulation.days[0].campaigns[0];
        assert_eq!((day.refused["over_cost"], day.messages, day.cost["EUR"]), (refused, sent, cost as f64 / 100.0));
    }
}

#[tokio::test]
async fn what_is_free_is_never_over_and_the_audiences_limit_comes_first() {
    for database in databases().await {
        let message = "message: { template: hello, subject: \"Hello\", otherwise: { channel: sms, text: \"Hello\" } }\n";
        let mut world = world(&database);
        people(&mut world).await;
        for number in 0..4 {
            let id = world.person("").await;
            world.address(id, Channel::Sms, &format!("+38050123450{number}")).await;
        }
        world.campaign("free", &format!("{SALE}schedule: {{ at: 2027-03-01 10:00 }}\n{message}limits: {{ cost: 1.70 EUR }}\n"));
        world.campaign("both", &format!("{SALE}schedule: {{ at: 2027-03-01 11:00 }}\n{message}limits: {{ audience: 15, cost: 0 EUR }}\n"));
        world.apply().await;
        world.run_until("2027-03-01T12:00:00Z").await;
        assert_eq!(world.sums("free").await, "selected 16, over_cost 2, accepted 14", "{}", database.name);
        let funnel = world.funnel("both").await;
        assert_eq!(funnel.refused["over_audience"], 1, "{}", database.name);
        assert!((3..=4).contains(&funnel.refused["over_cost"]) && funnel.all_messages() + funnel.refused["over_cost"] == 15);
    }
}

#[tokio::test]
async fn what_triggers_start_costs_no_more_in_a_day_whatever_the_version() {
    for database in databases().await {
        let mut world = world(&database);
        let carts = world
            .files
            .text("posthaste.yaml")
            .unwrap()
            .replace("purchase: { amount: money }", "purchase: { amount: money }, cart: { title: text }");
        world.files.insert("posthaste.yaml", carts);
        people(&mut world).await;
        let file = |text: &str| {
            let when = "schedule: { when: { event: cart }, if_missed: { within: 2 hours } }\n";
            format!("{SALE}{when}message: {{ channel: sms, text: \"{text} {{{{event.title}}}}\" }}\nlimits: {{ cost: 2.60 EUR }}\n")
        };
        world.campaign("cart", &file("Your"));
        world.apply().await;
        for (customers, text) in [(vec![2, 3], "Your"), (vec![4, 5], "Still your")] {
            world.campaign("cart", &file(text));
            world.apply().await;
            carts_of(&world, &customers).await;
            let end = world.clock.now() + chrono::TimeDelta::minutes(1);
            world.run_until(&end.to_rfc3339()).await;
        }
        assert_eq!(world.sums("cart").await, "selected 4, over_cost 1, accepted 3", "{}", database.name);
        assert_eq!(world.number("SELECT COUNT(*) FROM runs").await, 2, "each version has its run");
        // The next day begins anew.
        world.run_until("2027-03-02T10:00:00Z").await;
        carts_of(&world, &[6, 7, 8, 9]).await;
        world.run_until("2027-03-02T10:01:00Z").await;
        assert_eq!(world.sums("cart").await, "selected 8, over_cost 2, accepted 6", "{}", database.name);
    }
}

async fn carts_of(world: &World, customers: &[i64]) {
    let (definitions, _) = campaigns::read(&world.files);
    let settings = Settings::of(&definitions.unwrap().workspace, Keys::new(PEPPER), world.clock.now());
    let measures = world.store.measures(settings.zone, &settings.currency).await.unwrap();
    let at = world.clock.now().to_rfc3339();
    let row = |customer: &i64| {
        json!({ "customer": format!("c{customer}"), "event": "cart", "at": at, "title": "Lamp" }).as_object().unwrap().clone()
    };
    let options = EventOptions { starts: true, ..EventOptions::default() };
    let rows = Input::Rows(customers.iter().map(row).collect());
    let summary = import::events(&world.store, &settings, &options, &measures, rows, &mut |_| {}).await.unwrap();
    assert_eq!(summary.rejected, 0);
}
