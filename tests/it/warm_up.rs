//! A new sending domain is warmed up: no mailbox site gets more letters a day than the plan says, and the most engaged get theirs first.

use crate::databases::databases;
use crate::world::{WORKSPACE, World, advertising};
use posthaste::campaigns;
use posthaste::engine::applying;
use posthaste::engine::simulation::simulate;
use posthaste::providers::Body;
use posthaste::types::Time;
use std::collections::BTreeMap;

const REST: &str = advertising!();

/// The workspace whose domain has this warm-up, and an older identity beside.
fn warm_up(world: &mut World, plan: &str) {
    let old = "identities:\n  old: { postal_address: \"1 Old Street\", email: { name: \"The Shop\", address: news@old.example } }\n";
    let workspace = WORKSPACE.replace("identities:\n", old);
    world.files.insert("posthaste.yaml", format!("{workspace}domains: {{ mail.shop.example: {{ warm_up: {plan} }} }}\n"));
}

fn sale(world: &mut World, key: &str, at: &str, rest: &str) {
    let message = if rest.contains("message:") { "" } else { "message: { template: hello, subject: \"Hello\" }\n" };
    world.campaign(key, &format!("{REST}schedule: {{ at: {at} }}\naudience: {{ segment: everyone, holdout: 0% }}\n{message}{rest}\n"));
}

/// So many people at a site, each more engaged than the one before; the first never was.
async fn people(world: &mut World, site: &str, count: i64) {
    for number in 0..count {
        let id = world.person(&format!("p{number}@{site}")).await;
        let sql = "UPDATE addresses SET engaged_at = NULLIF($2, 0) WHERE customer_id = $1";
        posthaste::on_writer!(&world.store, pool => { sqlx::query(sql).bind(id).bind(number).execute(pool).await.unwrap(); });
    }
}

/// Site → day of March → numbers of the people (see [`people`]) whose letters were accepted then, by a query of its own.
async fn by_day(world: &World) -> BTreeMap<(String, i64), Vec<i64>> {
    let sql = "SELECT m.site, (m.accepted_at - 1803859200000000) / 86400000000 + 1, m.address FROM messages m WHERE m.state = 7 AND m.channel = 1";
    let rows: Vec<(String, i64, String)> = posthaste::on_pool!(&world.store, pool => sqlx::query_as(sql).fetch_all(pool).await.unwrap());
    let mut days: BTreeMap<(String, i64), Vec<i64>> = BTreeMap::new();
    for (site, day, address) in rows {
        let number = address.split('@').next().unwrap().trim_start_matches(char::is_alphabetic).parse().unwrap();
        days.entry((site, day)).or_default().push(number);
    }
    days.values_mut().for_each(|numbers| numbers.sort_unstable());
    days
}

/// The beginning of a statement that records complaints.
macro_rules! complaint {
    () => {
        "INSERT INTO events (customer_id, name, occurred_at, received_at, message_id, source_key)
         SELECT customer_id, 'message.complained', accepted_at, accepted_at, id, "
    };
}

#[tokio::test]
async fn each_site_gets_its_number_a_day_and_the_most_engaged_come_first() {
    for database in databases().await {
        let mut world = World::new(&database);
        warm_up(&mut world, "{ from: 2027-03-01, days: [ 3, 5, 8 ] }");
        people(&mut world, "gmail.com", 20).await;
        people(&mut world, "example.org", 4).await;
        sale(&mut world, "sale", "2027-03-01 10:00", "");
        world.apply().await;
        world.run_until("2027-03-01T12:00:00Z").await;
        assert_eq!(world.sums("sale").await, "selected 24, deferred 18, accepted 6", "{}", database.name);
        let next = "SELECT MIN(next_at) FROM messages WHERE state = 4";
        assert_eq!(
            world.number(next).await,
            "2027-03-02T10:00:00Z".parse::<Time>().unwrap().timestamp_micros(),
            "at the same time of the day"
        );
        let waits = "SELECT COUNT(*) FROM messages WHERE state = 4 AND detail = 'warm-up of mail.shop.example: its day is 2027-03-02'";
        assert_eq!(world.number(waits).await, 6);
        world.run_until("2027-03-05T12:00:00Z").await;
        // Three days of waiting are longer than letters usually live: their expiry has moved with them.
        assert_eq!(world.sums("sale").await, "selected 24, accepted 24", "{}", database.name);
        let expected = BTreeMap::from([
            (("gmail".to_string(), 1), (17..20).collect()),
            (("gmail".to_string(), 2), (12..17).collect()),
            (("gmail".to_string(), 3), (4..12).collect()),
            (("gmail".to_string(), 4), (0..4).collect::<Vec<i64>>()),
            (("example.org".to_string(), 1), (1..4).collect()),
            (("example.org".to_string(), 2), vec![0]),
        ]);
        assert_eq!(by_day(&world).await, expected, "{}", database.name);
    }
}

#[tokio::test]
async fn all_campaigns_share_the_numbers_tries_after_midnight_ask_again_and_transactional_letters_never_wait() {
    for database in databases().await {
        let mut world = World::new(&database);
        warm_up(&mut world, "{ from: 2027-03-01, days: [ 4, 6, 6, 6, 6, 6, 6, 6, 6 ] }");
        people(&mut world, "example.org", 5).await;
        for number in 0..3 {
            // The most engaged of all, and twice told to come later: their third try is after midnight.
            world.person(&format!("busy{number}@example.org")).await;
        }
        world.execute("UPDATE addresses SET engaged_at = 100 WHERE address LIKE 'busy%'").await;
        sale(&mut world, "first", "2027-03-01 23:59", "");
        sale(&mut world, "second", "2027-03-02 08:00", "limits: { audience: 5 }");
        let parcel = "class: transactional\nschedule: { at: 2027-03-02 09:00 }\naudience: { segment: everyone }\n";
        world.campaign("parcel", &format!("{parcel}message: {{ from: news, template: hello, subject: \"Your parcel\" }}\n"));
        world.apply().await;
        world.run_until("2027-03-02T09:30:00Z").await;
        assert!(!world.sums("parcel").await.contains("deferred"), "{}", database.name);
        world.run_until("2027-03-09T12:00:00Z").await;
        assert_eq!(world.sums("first").await, "selected 8, accepted 8", "{}", database.name);
        assert_eq!(world.sums("second").await, "selected 8, over_audience 3, accepted 5", "{}", database.name);
        let most = "SELECT COALESCE(MAX(count), 0) FROM (SELECT COUNT(*) AS count FROM messages m JOIN runs r ON r.id = m.run_id
             JOIN campaigns c ON c.id = r.campaign_id WHERE c.class = 1 AND m.accepted_at >= 1803945600000000
             GROUP BY (m.accepted_at - 1803945600000000) / 86400000000) AS days";
        assert!(world.number(most).await <= 6, "{}", database.name);
        let first = "SELECT COUNT(*) FROM messages WHERE accepted_at < 1803945600000000";
        assert!(world.number(first).await <= 4, "{}", database.name);
        assert_eq!(world.number("SELECT COUNT(*) FROM warm_up_freed").await, 0);
    }
}

#[tokio::test]
async fn what_is_beyond_the_number_goes_as_another_identity_where_the_file_says_so() {
    for database in databases().await {
        let mut world = World::new(&database);
        warm_up(&mut world, "{ from: 2027-03-01, days: [ 2 ], beyond: old }");
        people(&mut world, "example.org", 5).await;
        sale(&mut world, "sale", "2027-03-01 10:00", "");
        world.apply().await;
        world.run_until("2027-03-01T12:00:00Z").await;
        assert_eq!(world.sums("sale").await, "selected 5, accepted 5", "{}", database.name);
        let mut senders: Vec<(String, String, bool)> = Vec::new();
        for letter in world.outbox.letters.lock().unwrap().iter() {
            let Body::Email { from, to, mime } = &letter.body else { panic!("a letter") };
            let text = String::from_utf8_lossy(mime).to_string();
            senders.push((to.clone(), from.clone(), text.contains("1 Old Street")));
        }
        senders.sort();
        let new = |to: &str| (to.to_string(), "news@mail.shop.example".to_string(), false);
        let old = |to: &str| (to.to_string(), "news@old.example".to_string(), true);
        let expected = [old("p0@example.org"), old("p1@example.org"), old("p2@example.org"), new("p3@example.org"), new("p4@example.org")];
        assert_eq!(senders, expected, "{}", database.name);
    }
}

#[tokio::test]
async fn a_day_with_complaints_takes_the_next_step_back_and_the_least_engaged_lose_their_day() {
    for database in databases().await {
        let mut world = World::new(&database);
        warm_up(&mut world, "{ from: 2027-03-01, days: [ 2, 4, 8 ] }");
        people(&mut world, "example.org", 14).await;
        sale(&mut world, "sale", "2027-03-01 10:00", "");
        world.apply().await;
        world.run_until("2027-03-01T12:00:00Z").await;
        world
            .execute(match database.name {
                "sqlite" => concat!(complaint!(), "CAST(address AS BLOB) FROM messages WHERE address LIKE 'p13%'"),
                _ => concat!(complaint!(), "convert_to(address, 'UTF8') FROM messages WHERE address LIKE 'p13%'"),
            })
            .await;
        world.run_until("2027-03-08T12:00:00Z").await;
        assert_eq!(world.sums("sale").await, "selected 14, accepted 14", "{}", database.name);
        let days: Vec<(i64, Vec<i64>)> = by_day(&world).await.into_iter().map(|((_, day), numbers)| (day, numbers)).collect();
        // One complaint of two takes the second day back to the first step; from then on the site is a day behind the plan.
        let expected = [(1, vec![12, 13]), (2, vec![10, 11]), (3, vec![4, 5, 6, 7]), (4, vec![0, 1, 2, 3, 8, 9])];
        assert_eq!(days, expected, "{}", database.name);
    }
}

#[tokio::test]
async fn a_cancelled_run_frees_its_days_and_what_expires_first_takes_none() {
    for database in databases().await {
        let mut world = World::new(&database);
        warm_up(&mut world, "{ from: 2027-03-01, days: [ 2, 2, 2, 2, 2 ] }");
        people(&mut world, "example.org", 6).await;
        sale(&mut world, "first", "2027-03-01 10:00", "");
        sale(&mut world, "brief", "2027-03-02 11:00", "message: { template: hello, subject: \"Today\", expires: \"2027-03-03 12:00\" }");
        world.apply().await;
        world.run_until("2027-03-01T12:00:00Z").await;
        assert_eq!(world.sums("first").await, "selected 6, deferred 4, accepted 2", "{}", database.name);
        assert_eq!(world.store.cancel_campaign("first", world.clock.now()).await.unwrap(), 4);
        world.run_until("2027-03-04T12:00:00Z").await;
        assert_eq!(world.sums("first").await, "selected 6, accepted 2, cancelled 4", "{}", database.name);
        assert_eq!(world.sums("brief").await, "selected 6, accepted 4, expired 2", "{}", database.name);
    }
}

#[tokio::test]
async fn the_days_of_a_warm_up_are_foretold_by_plan_and_simulation() {
    for database in databases().await {
        let mut world = World::new(&database);
        warm_up(&mut world, "{ from: 2027-03-01, days: [ 2, 3, 4 ] }");
        people(&mut world, "example.org", 12).await;
        sale(&mut world, "sale", "2027-03-01 10:00", "");
        let (definitions, _) = campaigns::read(&world.files);
        let apply = applying(world.files.clone(), definitions.unwrap(), "dirty".into(), "ada".into(), world.clock.now());
        let simulation = simulate(&world.store, Some(apply), world.clock.now(), 5).await.unwrap();
        let sent: Vec<(String, u64)> = simulation
            .days
            .iter()
            .flat_map(|day| day.campaigns.iter().map(|campaign| (day.date.to_string(), campaign.sent())))
            .filter(|(_, sent)| *sent > 0)
            .collect();
        let on = |date: &str, sent| (date.to_string(), sent);
        assert_eq!(sent, [on("2027-03-01", 2), on("2027-03-02", 3), on("2027-03-03", 4), on("2027-03-04", 3)], "{}", database.name);
        world.apply().await;
        world.run_until("2027-03-06T00:00:00Z").await;
        let real: Vec<u64> = by_day(&world).await.values().map(|numbers| numbers.len() as u64).collect();
        assert_eq!(real, [2, 3, 4, 3], "{}", database.name);
    }
}
