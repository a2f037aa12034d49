//! What the coming days would bring is what they bring, as long as nobody answers.

use crate::databases::databases;
use crate::world::{World, advertising};
use posthaste::campaigns;
use posthaste::engine::applying;
use posthaste::engine::simulation::{Simulation, simulate};
use posthaste::store::from_micros;
use posthaste::types::{Channel, Time};
use std::collections::BTreeMap;

const REST: &str = advertising!();

/// Four campaigns that meet each other, over people of all kinds.
async fn shop(world: &mut World) {
    let daily = "schedule: { every: day at 10:00 }\naudience: { segment: everyone, holdout: 10% }\nmessage: { template: hello, subject: \"Hello {{default first_name 'friend'}}\" }\n";
    let twice = "schedule: { every: monday and thursday at 18:00 }\naudience: { segment: everyone, holdout: 0% }\nmessage: { channel: sms, text: \"Hello {{default first_name 'friend'}}\" }\n";
    let needy = "schedule: { every: tuesday at 10:00 }\naudience: { segment: everyone, holdout: 0% }\nmessage: { template: needy, subject: \"Your tier\" }\n";
    let once = "schedule: { at: 2027-03-03 12:00 }\naudience: { segment: everyone, holdout: 0% }\nlimits: { audience: 7 }\nmessage: { template: hello, subject: \"Once\" }\nvariants: [ { name: a }, { name: b, subject: \"Twice\" } ]\n";
    for (key, rest) in [("daily", daily), ("twice", twice), ("needy", needy), ("once", once)] {
        world.campaign(key, &format!("{REST}{rest}"));
    }
    for number in 0..40 {
        let name = if number % 4 == 0 { "gold" } else { "plain" };
        let id = if number % 7 == 0 {
            world.stranger(&format!("{name}{number}@example.org")).await
        } else {
            world.person(&format!("{name}{number}@example.org")).await
        };
        if number % 3 == 0 {
            world.address(id, Channel::Sms, &format!("+38067{:07}", number)).await;
        }
    }
    world.person("").await;
}

async fn ahead(world: &World, days: u32) -> Simulation {
    let (definitions, problems) = campaigns::read(&world.files);
    let definitions = definitions.unwrap_or_else(|| panic!("{}", problems.render(&world.files, false, 140)));
    let from = world.clock.now();
    let apply = applying(world.files.clone(), definitions, "dirty".into(), "ada".into(), from);
    simulate(&world.store, Some(apply), from, days).await.unwrap()
}

/// Campaign, day, hour → messages, by a query of its own over the real ledger.
async fn sent(world: &World) -> BTreeMap<(String, String, u32), u64> {
    let sql =
        "SELECT c.key, m.accepted_at, COUNT(*) FROM messages m JOIN runs r ON r.id = m.run_id JOIN campaigns c ON c.id = r.campaign_id
               WHERE m.state = 7 GROUP BY c.key, m.accepted_at";
    let rows: Vec<(String, i64, i64)> = posthaste::on_pool!(&world.store, pool => sqlx::query_as(sql).fetch_all(pool).await.unwrap());
    let mut sent = BTreeMap::new();
    for (key, at, count) in rows {
        let at = from_micros(at);
        let hour = at.format("%H").to_string().parse().unwrap();
        *sent.entry((key, at.format("%Y-%m-%d").to_string(), hour)).or_default() += count as u64;
    }
    sent
}

#[tokio::test]
async fn the_same_days_bring_what_the_simulation_said_and_the_base_is_untouched() {
    for database in databases().await {
        let mut world = World::new(&database);
        shop(&mut world).await;
        let simulation = ahead(&world, 7).await;
        assert_eq!(world.number("SELECT COUNT(*) FROM runs").await + world.number("SELECT COUNT(*) FROM definitions").await, 0);
        let (first, second) = (serde_json::to_string(&simulation).unwrap(), serde_json::to_string(&ahead(&world, 7).await).unwrap());
        assert_eq!(first, second, "the same to the byte");

        world.apply().await;
        world.run_until("2027-03-07T23:59:59.999999Z").await;
        let mut said = BTreeMap::new();
        for day in &simulation.days {
            for campaign in &day.campaigns {
                for hour in &campaign.sent {
                    *said.entry((campaign.campaign.clone(), day.date.to_string(), hour.hour)).or_default() += hour.messages;
                }
            }
        }
        assert_eq!(said, sent(&world).await, "{}", database.name);
        for key in ["daily", "twice", "needy", "once"] {
            let funnel = world.funnel(key).await;
            let of = |count: &dyn Fn(&posthaste::engine::simulation::CampaignDay) -> u64| -> u64 {
                simulation.days.iter().flat_map(|day| &day.campaigns).filter(|day| day.campaign == key).map(count).sum()
            };
            assert_eq!((of(&|day| day.selected), of(&|day| day.messages)), (funnel.selected(), funnel.all_messages()), "{key}");
            for (word, count) in &funnel.refused {
                assert_eq!(of(&|day| day.refused.get(*word).copied().unwrap_or(0)), *count, "{key} {word}");
            }
        }
        // Three campaigns by email and SMS in the first week, for whom all of them reach.
        assert!(simulation.weeks[0].customers_by_campaigns.keys().any(|campaigns| *campaigns >= 3), "{:?}", simulation.weeks);
        insta::assert_snapshot!("a_week_ahead", posthaste::cli::simulate::text(&simulation));
    }
}

#[tokio::test]
async fn what_is_applied_is_simulated_from_where_the_base_stands() {
    for database in databases().await {
        let mut world = World::new(&database);
        shop(&mut world).await;
        world.apply().await;
        world.run_until("2027-03-02T12:00:00Z").await;
        let runs = world.number("SELECT COUNT(*) FROM runs").await;
        let from: Time = "2027-03-02T12:00:00Z".parse().unwrap();
        let simulation = simulate(&world.store, None, from, 2).await.unwrap();
        let days: Vec<String> = simulation.days.iter().map(|day| day.date.to_string()).collect();
        assert_eq!(days, ["2027-03-03"], "{}", database.name);
        let campaigns: Vec<&str> = simulation.days[0].campaigns.iter().map(|day| day.campaign.as_str()).collect();
        assert_eq!(campaigns, ["daily", "once"]);
        assert_eq!(world.number("SELECT COUNT(*) FROM runs").await, runs);
    }
}
