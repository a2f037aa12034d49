//! The contact policy: whom not to disturb, when and how often.

use crate::databases::{Database, databases};
use crate::processes::{command, posthaste};
use crate::shop::Shop;
use crate::world::{World, advertising};
use posthaste::types::{Channel, ConsentState, Time};

const SALE: &str = advertising!();

/// An advertising campaign to everyone; `rest` says when, how, and with what priority.
fn advertising(world: &mut World, key: &str, at: &str, rest: &str) {
    let message = if rest.contains("message:") { "" } else { "message: { template: hello, subject: \"Hello\" }\n" };
    world.campaign(key, &format!("{SALE}schedule: {{ at: {at} }}\naudience: {{ segment: everyone, holdout: 0% }}\n{message}{rest}\n"));
}

const TEXT: &str = "message: { channel: sms, text: \"20% off at shop.example\" }";

async fn detail(world: &World, sql: &'static str) -> Vec<String> {
    let rows: Vec<(String,)> = posthaste::on_pool!(&world.store, pool => sqlx::query_as(sql).fetch_all(pool).await.unwrap());
    rows.into_iter().map(|row| row.0).collect()
}

#[tokio::test]
async fn what_is_due_at_night_waits_for_the_morning_of_each_person_and_is_asked_again() {
    for database in databases().await {
        let mut world = World::new(&database);
        world.policy("policy: { quiet_hours: [ { channel: sms, hours: 20:00 to 09:00, release: 30 minutes } ] }");
        advertising(&mut world, "night", "2027-03-01 21:00", TEXT);
        for (phone, zone) in [("+380671234567", "Europe/Kyiv"), ("+380671234568", "America/New_York"), ("+380671234569", "Europe/Kyiv")] {
            let id = world.person("").await;
            world.address(id, Channel::Sms, phone).await;
            world.live_in(id, zone).await;
        }
        world.apply().await;
        world.run_until("2027-03-01T22:00:00Z").await;
        // In New York it is four in the afternoon.
        assert_eq!(world.outbox(), ["+380671234568"], "{}", database.name);
        assert_eq!(world.sums("night").await, "selected 3, deferred 2, accepted 1");
        assert_eq!(detail(&world, "SELECT detail FROM messages WHERE state = 4").await, ["quiet hours", "quiet hours"]);
        world.suppress(Channel::Sms, "+380671234569").await;
        world.run_until("2027-03-02T06:59:59Z").await;
        assert_eq!(world.outbox().len(), 1);
        world.run_until("2027-03-02T08:00:00Z").await;
        assert_eq!(world.sums("night").await, "selected 3, suppressed 1, accepted 2", "{}", database.name);
        // Nine in Kyiv is seven in UTC; what waited is spread over half an hour.
        let at = world.number("SELECT MAX(accepted_at) FROM messages WHERE address = '+380671234567'").await;
        let morning = "2027-03-02T07:00:00Z".parse::<Time>().unwrap().timestamp_micros();
        assert!((morning..morning + 1_800_000_000).contains(&at));
    }
}

#[tokio::test]
async fn a_message_whose_expiry_comes_before_the_morning_expires_and_transactional_ones_know_no_night() {
    for database in databases().await {
        let mut world = World::new(&database);
        world.policy("policy: { quiet_hours: [ { hours: 20:00 to 09:00 } ], blackout: [ 2027-03-03 to 2027-03-04 ] }");
        advertising(&mut world, "brief", "2027-03-01 21:00", "message: { template: hello, subject: \"Hello\", expires: 2 hours }");
        advertising(&mut world, "blackout", "2027-03-03 12:00", "");
        world.campaign(
            "parcel",
            "class: transactional\nschedule: { at: 2027-03-01 21:00 }\nmessage: { from: news, template: hello, subject: \"Your parcel\" }\n",
        );
        world.person("ada@example.org").await;
        world.apply().await;
        world.run_until("2027-03-02T10:00:00Z").await;
        assert_eq!(world.sums("brief").await, "selected 1, expired 1", "{}", database.name);
        assert_eq!(world.sums("parcel").await, "selected 1, accepted 1");
        world.run_until("2027-03-04T10:00:00Z").await;
        assert_eq!(world.sums("blackout").await, "selected 1, deferred 1");
        assert_eq!(detail(&world, "SELECT detail FROM messages WHERE state = 4").await, ["a date without advertising"]);
        world.run_until("2027-03-05T10:00:00Z").await;
        assert_eq!(world.sums("blackout").await, "selected 1, accepted 1");
        // Midnight ends the blackout, and the night goes on until nine.
        let nine = "2027-03-05T09:00:00Z".parse::<Time>().unwrap().timestamp_micros();
        assert_eq!(world.number("SELECT MAX(accepted_at) FROM messages").await, nine, "{}", database.name);
    }
}

#[tokio::test]
async fn the_important_message_wins_and_takes_the_place_of_one_that_still_waits() {
    for database in databases().await {
        let mut world = World::new(&database);
        world.policy(
            "policy: { caps: [ { class: advertising, at_most: 1, per: day } ], quiet_hours: [ { channel: email, hours: 00:00 to 11:00 } ] }",
        );
        // Both due at once: the higher priority is planned first. And one that waits for the end of the quiet hours gives way.
        advertising(&mut world, "a-low", "2027-03-01 10:00", "priority: 20");
        advertising(&mut world, "b-high", "2027-03-01 10:00", "priority: 70");
        advertising(&mut world, "c-higher", "2027-03-01 10:30", "priority: 80");
        advertising(&mut world, "d-late", "2027-03-01 15:00", "priority: 100");
        world.person("ada@example.org").await;
        world.apply().await;
        world.run_until("2027-03-01T10:05:00Z").await;
        assert_eq!(world.sums("a-low").await, "selected 1, capped 1", "{}", database.name);
        assert_eq!(world.sums("b-high").await, "selected 1, deferred 1");
        world.run_until("2027-03-01T18:00:00Z").await;
        assert_eq!(world.sums("b-high").await, "selected 1, capped 1", "{}", database.name);
        assert_eq!(world.sums("c-higher").await, "selected 1, accepted 1");
        assert_eq!(world.sums("d-late").await, "selected 1, capped 1", "what was handed over gives way to nobody");
        let details = "SELECT m.detail FROM messages m JOIN runs r ON r.id = m.run_id JOIN campaigns c ON c.id = r.campaign_id
                       WHERE m.reason = 8 ORDER BY c.key";
        let by = |campaign: &str| format!("by {campaign}: at most 1 per day");
        assert_eq!(detail(&world, details).await, [by("b-high"), by("c-higher"), by("c-higher")]);
        assert_eq!(world.outbox().len(), 1);
    }
}

#[tokio::test]
async fn a_full_cap_refuses_waits_or_goes_another_way_as_its_rule_says() {
    for database in databases().await {
        let mut world = World::new(&database);
        world.policy(
            "policy:
  caps:
    - { channel: email, at_most: 1, per: day, tag: patient, if_reached: { wait: 2 days } }
    - { channel: email, at_most: 1, per: day, tag: flexible, if_reached: otherwise }
    - { class: advertising, topic: offers, country: DE, at_most: 0, per: week }",
        );
        advertising(&mut world, "first", "2027-03-01 10:00", "tags: [ patient, flexible ]");
        advertising(&mut world, "waits", "2027-03-01 11:00", "tags: [ patient ]");
        advertising(&mut world, "also-waits", "2027-03-01 11:30", "tags: [ patient ]");
        advertising(&mut world, "too-late", "2027-03-01 12:00", "tags: [ patient ]");
        advertising(
            &mut world,
            "otherwise",
            "2027-03-01 13:00",
            "tags: [ flexible ]\nmessage: { template: hello, subject: \"Hello\", otherwise: { channel: sms, text: \"Hello\" } }",
        );
        let ada = world.person("ada@example.org").await;
        world.address(ada, Channel::Sms, "+380671234567").await;
        let german = world.person("uwe@example.org").await;
        world.live_in_country(german, "DE").await;
        world.apply().await;
        world.run_until("2027-03-01T20:00:00Z").await;
        assert_eq!(world.sums("first").await, "selected 2, capped 1, accepted 1", "{}", database.name);
        assert_eq!(world.sums("waits").await, "selected 2, capped 1, deferred 1");
        assert_eq!(world.sums("also-waits").await, "selected 2, capped 1, deferred 1");
        assert_eq!(world.sums("too-late").await, "selected 2, capped 2");
        assert_eq!(world.sums("otherwise").await, "selected 2, capped 1, accepted 1");
        assert_eq!(world.outbox(), ["+380671234567", "ada@example.org"]);
        world.run_until("2027-03-02T00:00:00Z").await;
        assert_eq!(world.sums("waits").await, "selected 2, capped 1, accepted 1", "{}", database.name);
        world.run_until("2027-03-03T00:00:00Z").await;
        assert_eq!(world.sums("also-waits").await, "selected 2, capped 1, accepted 1");
    }
}

#[tokio::test]
async fn a_cap_counts_what_was_sent_before_it_was_written_and_forgets_what_failed_or_was_cancelled() {
    for database in databases().await {
        let mut world = World::new(&database);
        advertising(&mut world, "before", "2027-03-01 10:00", "");
        for email in ["ada@example.org", "refuse@example.org"] {
            world.person(email).await;
        }
        world.apply().await;
        world.run_until("2027-03-01T10:30:00Z").await;
        assert_eq!(world.number("SELECT COUNT(*) FROM reservations").await, 0, "nothing is kept while there are no caps");
        world.policy("policy: { caps: [ { at_most: 1, in: 7 days } ] }");
        advertising(&mut world, "after", "2027-03-02 10:00", "");
        advertising(&mut world, "later", "2027-03-09 12:00", "");
        world.apply().await;
        world.execute("UPDATE suppressions SET until = 1").await;
        world.run_until("2027-03-02T10:30:00Z").await;
        assert_eq!(world.sums("before").await, "selected 2, accepted 1, failed 1");
        // To refuse@ nothing was sent; the second try fails as well.
        assert_eq!(world.sums("after").await, "selected 2, capped 1, failed 1", "{}", database.name);
        assert_eq!(world.number("SELECT COUNT(*) FROM reservations").await, 1);
        world.execute("UPDATE suppressions SET until = 1").await;
        world.run_until("2027-03-09T13:00:00Z").await;
        assert_eq!(world.sums("later").await, "selected 2, accepted 1, failed 1", "{}", database.name);
    }
}

#[tokio::test]
async fn a_message_that_slips_into_another_day_is_asked_again_there() {
    for database in databases().await {
        let mut world = World::new(&database);
        world.policy("policy: { caps: [ { at_most: 1, per: day } ] }");
        // busy… is told to come later twice.
        advertising(&mut world, "late", "2027-03-01 23:55", "");
        advertising(&mut world, "next-day", "2027-03-02 00:01", "");
        world.person("busy@example.org").await;
        world.apply().await;
        world.run_until("2027-03-02T12:00:00Z").await;
        // The place of the second day was taken by the campaign of that day while the first one was tried again.
        assert_eq!(world.sums("late").await, "selected 1, capped 1", "{}", database.name);
        assert_eq!(world.sums("next-day").await, "selected 1, accepted 1", "{}", database.name);
        assert_eq!(world.number("SELECT COUNT(*) FROM reservations WHERE is_handed_over = 1").await, 1);
    }
}

#[tokio::test]
async fn a_cap_met_when_the_time_has_come_sends_on_by_the_other_channel_as_when_planned() {
    for database in databases().await {
        let world = asked_too_late(&database, "").await;
        // Three have no other way; three wait until it is no longer quiet.
        assert_eq!(world.sums("late").await, "selected 6, capped 3, deferred 3", "{}", database.name);
        world.run_until("2027-03-02T12:00:00Z").await;
        assert_eq!(world.sums("late").await, "selected 6, capped 3, accepted 3", "{}", database.name);
        let texts: Vec<String> = world.outbox().into_iter().filter(|to| to.starts_with('+')).collect();
        assert_eq!(texts, ["+380671234501", "+380671234502", "+380671234506"], "{}", database.name);
        let rows = "SELECT COUNT(*) FROM messages m JOIN reservations r ON r.message_id = m.id AND r.channel = m.channel AND r.is_handed_over = 1 WHERE m.channel = 2";
        assert_eq!(world.number(rows).await, 3, "{}", database.name);
        let given = "SELECT CAST(COALESCE(SUM(given), 0) - (SELECT COUNT(*) FROM warm_up_freed) AS BIGINT) FROM warm_up_days";
        assert_eq!(world.number(given).await, 6, "{}: a letter that did not go takes no day of a warm-up", database.name);
    }
    for database in databases().await {
        // What the texts would cost was not reckoned when it was planned.
        let world = asked_too_late(&database, "limits: { cost: 100 EUR }\n").await;
        assert_eq!(world.sums("late").await, "selected 6, capped 6", "{}", database.name);
    }
}

/// The campaign `late` was planned for the evening and stopped until after midnight; by then everyone has had the day's letter.
async fn asked_too_late(database: &Database, rest: &str) -> World {
    let mut world = World::new(database);
    world.policy(
        "policy:
  quiet_hours: [ { channel: sms, hours: 00:00 to 09:00 } ]
  caps: [ { channel: email, at_most: 1, per: day, if_reached: otherwise }, { channel: sms, at_most: 1, per: day } ]",
    );
    let text = world.files.text("posthaste.yaml").unwrap().replace("kind: catcher }", "kind: catcher, price: 0.01 EUR }");
    let warm_up = "domains: { mail.shop.example: { warm_up: { from: 2027-03-01, days: [ 100, 100 ] } } }";
    world.files.insert("posthaste.yaml", format!("{text}{warm_up}\n"));
    let both = "message: { template: hello, subject: \"Hello\", otherwise: { channel: sms, text: \"Hello\" } }";
    advertising(&mut world, "late", "2027-03-01 19:00", &format!("{rest}{both}"));
    advertising(&mut world, "next-day", "2027-03-02 00:01", "");
    // Two with a phone, one without, one who wants no texts, and two people with one phone.
    for (email, phone) in [
        ("ada@example.org", "+380671234501"),
        ("bo@example.org", "+380671234502"),
        ("phoneless@example.org", ""),
        ("silent@example.org", "+380671234504"),
        ("elder@example.org", "+380671234506"),
        ("younger@example.org", "+380671234506"),
    ] {
        let id = world.person(email).await;
        if !phone.is_empty() {
            world.address(id, Channel::Sms, phone).await;
        }
        if email.starts_with("silent") {
            world.consent(id, Channel::Sms, ConsentState::Withdrawn).await;
        }
    }
    world.apply().await;
    world.clock.advance_to("2027-03-01T19:00:00Z".parse().unwrap());
    let engine = world.engine().await;
    engine.plan().await.unwrap();
    engine.end().await.unwrap();
    drop(engine);
    world.store.pause_campaign("late", Some(world.clock.now())).await.unwrap();
    world.run_until("2027-03-02T00:30:00Z").await;
    assert_eq!(world.sums("next-day").await, "selected 6, accepted 6", "{}", database.name);
    world.store.pause_campaign("late", None).await.unwrap();
    world.run_until("2027-03-02T01:00:00Z").await;
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_engines_that_send_on_by_another_channel_at_once_never_exceed_its_cap() {
    for database in databases().await {
        let mut world = World::new(&database);
        world.policy(
            "policy: { caps: [ { channel: email, at_most: 1, per: day, if_reached: otherwise }, { channel: sms, at_most: 1, per: day } ] }",
        );
        let both = "message: { template: hello, subject: \"Hello\", expires: 10 days, otherwise: { channel: sms, text: \"Hello\", expires: 10 days } }";
        for key in ["one", "two", "three"] {
            // Each on a day of its own, so that none is in the other's way when they are planned.
            let day = ["one", "two", "three"].iter().position(|other| *other == key).unwrap();
            advertising(&mut world, key, &format!("2027-03-0{} 10:00", day + 1), both);
        }
        advertising(&mut world, "first", "2027-03-04 10:00", "");
        for number in 0..600 {
            let id = world.person(&format!("p{number}@example.org")).await;
            // Neighbours share a phone.
            world.address(id, Channel::Sms, &format!("+38067{:07}", 1_000_000 + number / 2)).await;
        }
        world.apply().await;
        for day in 1..=3 {
            world.clock.advance_to(format!("2027-03-0{day}T10:00:00Z").parse().unwrap());
            let engine = world.engine().await;
            engine.plan().await.unwrap();
            engine.end().await.unwrap();
            world.store.pause_campaign(["one", "two", "three"][day - 1], Some(world.clock.now())).await.unwrap();
        }
        world.run_until("2027-03-04T10:30:00Z").await;
        assert_eq!(world.sums("first").await, "selected 600, accepted 600", "{}", database.name);
        for key in ["one", "two", "three"] {
            world.store.pause_campaign(key, None).await.unwrap();
        }
        // On SQLite there is only one.
        let mut engines = vec![world.engine().await];
        if database.name == "postgres" {
            world.clock.advance_to(world.clock.now() + chrono::TimeDelta::seconds(1));
            engines.push(world.engine().await);
        }
        for _ in 0..4 {
            for turn in futures_util::future::join_all(engines.iter().map(|engine| engine.turn())).await {
                turn.unwrap();
            }
        }
        for engine in engines {
            engine.end().await.unwrap();
        }
        let texts: Vec<String> = world.outbox().into_iter().filter(|to| to.starts_with('+')).collect();
        let each: std::collections::BTreeSet<&String> = texts.iter().collect();
        // Of two with one phone the elder keeps it, as when it is planned.
        assert_eq!((texts.len(), each.len()), (300, 300), "{}: one text a phone", database.name);
        let twice = "SELECT COUNT(*) FROM (SELECT customer_id FROM messages WHERE channel = 2 AND state = 7 GROUP BY customer_id HAVING COUNT(*) > 1) AS twice";
        assert_eq!(world.number(twice).await, 0, "{}", database.name);
        let shared = "SELECT COUNT(*) FROM (SELECT run_id, address FROM messages WHERE channel = 2 AND state = 7 GROUP BY run_id, address HAVING COUNT(*) > 1) AS shared";
        assert_eq!(world.number(shared).await, 0, "{}", database.name);
        for key in ["one", "two", "three"] {
            world.funnel(key).await;
        }
    }
}

#[tokio::test]
async fn a_message_that_was_tried_and_slips_into_another_day_goes_by_the_other_channel() {
    for database in databases().await {
        let mut world = World::new(&database);
        world.policy("policy: { caps: [ { channel: email, at_most: 1, per: day, if_reached: otherwise } ] }");
        let otherwise = "otherwise: { channel: sms, text: \"Hello\" } }";
        advertising(&mut world, "late", "2027-03-01 21:55", &format!("message: {{ template: hello, subject: \"Hello\", {otherwise}"));
        advertising(&mut world, "next-day", "2027-03-01 22:01", "");
        let busy = world.person("busy@example.org").await;
        world.address(busy, Channel::Sms, "+380671234501").await;
        // In Kyiv, where the number is from, the day ends at ten.
        world.apply().await;
        world.run_until("2027-03-02T12:00:00Z").await;
        assert_eq!(world.sums("late").await, "selected 1, accepted 1", "{}", database.name);
        assert_eq!(world.outbox(), ["+380671234501", "busy@example.org"], "{}", database.name);
    }
}

#[tokio::test]
async fn a_weekly_letter_at_the_same_hour_goes_every_week_under_one_in_seven_days() {
    for database in databases().await {
        let mut world = World::new(&database);
        world.policy("policy: { caps: [ { at_most: 1, in: 7 days } ] }");
        let weekly = |every: &str| {
            format!(
                "{SALE}schedule: {{ every: {every} }}\naudience: {{ segment: everyone, holdout: 0% }}\nmessage: {{ template: hello, subject: \"Hello\" }}\n"
            )
        };
        world.campaign("weekly", &weekly("monday at 10:00"));
        // A letter between two of them is one too many, on whichever side it looks.
        world.campaign("between", &weekly("thursday at 10:00"));
        world.person("ada@example.org").await;
        // In New York the clock springs forward on 14 March: it is 7 days by the wall there all the same.
        let bo = world.person("bo@example.org").await;
        world.live_in(bo, "America/New_York").await;
        // Told to come later, it leaves a while after it was due; next week's does not suffer for that.
        world.person("busy@example.org").await;
        world.apply().await;
        world.run_until("2027-03-29T11:00:00Z").await;
        assert_eq!(world.sums("weekly").await, "selected 15, accepted 15", "{}", database.name);
        assert_eq!(world.sums("between").await, "selected 12, capped 12", "{}", database.name);
        let late = "SELECT COUNT(*) FROM messages WHERE address = 'busy@example.org' AND accepted_at > due_at";
        assert!(world.number(late).await > 0, "{}", database.name);
    }
}

/// A sent or refused message, as the independent check reads it.
type Row = (i64, String, String, i64, i64, Option<i64>);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_campaigns_at_once_never_exceed_a_cap_and_the_higher_priority_wins_wherever_both_were_due() {
    for database in databases().await {
        fifty_campaigns(&database).await;
    }
}

async fn fifty_campaigns(database: &Database) {
    const PEOPLE: i64 = 10_000;
    let mut world = World::new(database);
    world.policy("policy: { caps: [ { class: advertising, at_most: 1, per: day }, { class: advertising, at_most: 3, per: week } ] }");
    let mut times = std::collections::BTreeSet::new();
    for campaign in 0..50 {
        let at = format!("2027-03-{:02} {}:00", 1 + campaign % 5, ["10", "10", "15"][campaign % 3]);
        let rest = format!("priority: {}\nmessage: {{ template: hello, subject: \"Hello\" }}", campaign * 7 % 100);
        let audience = format!("audience: {{ where: {{ sample: 20%, draw: d{campaign} }}, holdout: 0% }}");
        world.campaign(&format!("c{campaign:02}"), &format!("{SALE}schedule: {{ at: {at} }}\n{audience}\n{rest}\n"));
        times.insert(format!("{}:00Z", at.replace(' ', "T")));
    }
    world.crowd(PEOPLE, &["Europe/Kyiv", "America/New_York", "Asia/Tokyo"]).await;
    world.apply().await;
    // On PostgreSQL three machines plan and send at the same time; on SQLite there is one engine.
    let machines = if database.name == "postgres" { 3 } else { 1 };
    let mut engines = Vec::new();
    for _ in 0..machines {
        // Machines of one process have their names from when they started.
        world.clock.advance_to(world.clock.now() + chrono::TimeDelta::microseconds(1));
        engines.push(std::sync::Arc::new(world.engine().await));
    }
    let mut due = 0;
    for time in &times {
        world.clock.advance_to(time.parse::<Time>().unwrap());
        due += (0..50)
            .filter(|campaign| *time == format!("2027-03-{:02}T{}:00:00Z", 1 + campaign % 5, ["10", "10", "15"][campaign % 3]))
            .count();
        let work = engines.iter().map(|engine| {
            let (engine, store) = (engine.clone(), world.store.clone());
            tokio::spawn(async move {
                loop {
                    engine.turn().await.unwrap();
                    let done = "SELECT COUNT(*) FROM runs WHERE state = 4";
                    let done: (i64,) = posthaste::on_pool!(&store, pool => sqlx::query_as(done).fetch_one(pool).await.unwrap());
                    if done.0 == due as i64 {
                        break;
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            })
        });
        for work in work.collect::<Vec<_>>() {
            work.await.unwrap();
        }
    }
    assert_eq!(world.store.ledger_faults().await.unwrap(), Vec::<String>::new());
    // The independent check: from the ledger and the customers' zones alone.
    let sql = "SELECT m.customer_id, c.zone, g.key, CAST(m.state AS BIGINT), m.due_at, m.accepted_at
               FROM messages m JOIN customers c ON c.id = m.customer_id JOIN runs r ON r.id = m.run_id JOIN campaigns g ON g.id = r.campaign_id";
    let rows: Vec<Row> = posthaste::on_pool!(&world.store, pool => sqlx::query_as(sql).fetch_all(pool).await.unwrap());
    let priority = |key: &str| key[1..].parse::<i64>().unwrap() * 7 % 100;
    let (mut days, mut weeks) = (std::collections::BTreeMap::new(), std::collections::BTreeMap::new());
    let mut sent = std::collections::BTreeMap::new();
    for (customer, zone, key, _, due, accepted_at) in &rows {
        let Some(at) = accepted_at else { continue };
        use chrono::Datelike;
        let local = Time::from_timestamp_micros(*at).unwrap().with_timezone(&zone.parse::<chrono_tz::Tz>().unwrap()).date_naive();
        *days.entry((*customer, local)).or_insert(0) += 1;
        *weeks.entry((*customer, local.iso_week())).or_insert(0) += 1;
        sent.insert((*customer, *due), priority(key));
    }
    assert!(days.values().all(|count| *count == 1), "{}: one a day is exceeded", database.name);
    assert!(weeks.values().all(|count| *count <= 3), "{}: three a week are exceeded", database.name);
    // Every place was used: who was capped had three in that week, or one on that day.
    assert!(weeks.values().filter(|count| **count == 3).count() > 8000, "{}", database.name);
    let (mut capped, mut robbed) = (0, 0);
    for (customer, _, key, state, due, _) in &rows {
        if *state == 0 {
            capped += 1;
            robbed += i64::from(sent.get(&(*customer, *due)).is_some_and(|sent| *sent < priority(key)));
        }
    }
    assert_eq!(robbed, 0, "{}: a lower priority was sent where a higher one was refused", database.name);
    assert_eq!(sent.len() as i64 + capped, rows.len() as i64, "{}", database.name);
    eprintln!("{}: {} selected, {} sent, {capped} capped", database.name, rows.len(), sent.len());
}

#[tokio::test]
async fn an_audience_outside_of_its_bounds_is_held_before_anything_is_sent_until_a_person_lets_it_go() {
    for database in databases().await {
        let mut world = World::new(&database);
        advertising(&mut world, "sale", "2027-03-01 10:00", "stop_if: { audience_above: 2 }");
        for email in ["ada@example.org", "bo@example.org", "cy@example.org"] {
            world.person(email).await;
        }
        world.apply().await;
        world.run_until("2027-03-01T11:00:00Z").await;
        assert_eq!(world.sums("sale").await, "selected 3, held 3", "{}", database.name);
        assert_eq!(world.outbox(), Vec::<String>::new());
        let run = world.store.runs_of(Some("sale")).await.unwrap().remove(0);
        assert_eq!((run.is_held, run.held_why.as_deref()), (true, Some("the audience is 3, more than 2")));
        assert!(world.store.resume_run(run.id).await.unwrap());
        world.run_until("2027-03-01T12:00:00Z").await;
        assert_eq!(world.sums("sale").await, "selected 3, accepted 3", "{}", database.name);
    }
}

#[tokio::test]
async fn a_run_is_held_when_complaints_pass_their_share_and_goes_on_when_a_person_has_looked() {
    for database in databases().await {
        let mut world = World::new(&database);
        world.campaign(
            "sale",
            &format!("{SALE}schedule: {{ at: 2027-03-01 10:00, spread: 4 hours }}\naudience: {{ segment: everyone, holdout: 0% }}\nmessage: {{ template: hello, subject: \"Hello\" }}\n"),
        );
        world.crowd(1200, &["UTC"]).await;
        world.apply().await;
        world.run_until("2027-03-01T12:30:00Z").await;
        let sent = world.funnel("sale").await.accepted();
        assert!((600..900).contains(&sent), "{sent}");
        // Three in a thousand are the limit; as `respond` would count them.
        let complaints = "INSERT INTO tallies (run_id, step, arm, metric, link, hour, site, slot, count) SELECT id, 0, 1, 22, 0, 0, 'other', 0, 3 FROM runs";
        world.execute(complaints).await;
        world.run_until("2027-03-01T14:30:00Z").await;
        let funnel = world.funnel("sale").await;
        assert_eq!((funnel.accepted(), funnel.waiting()), (sent, 0), "{}", database.name);
        assert_eq!(funnel.in_state(posthaste::types::MessageState::Held), 1200 - sent);
        let run = world.store.runs_of(Some("sale")).await.unwrap().remove(0);
        assert!(run.held_why.as_deref().unwrap().starts_with("3 complaints of"), "{:?}", run.held_why);
        // Who was warned decides; the run is not stopped a second time.
        assert!(world.store.resume_run(run.id).await.unwrap());
        world.run_until("2027-03-01T15:00:00Z").await;
        assert_eq!(world.funnel("sale").await.accepted(), 1200, "{}", database.name);
    }
}

#[tokio::test]
async fn each_message_draws_one_code_that_never_changes_and_who_comes_when_none_is_left_gets_no_message() {
    for database in databases().await {
        let mut world = World::new(&database);
        world.policy(
            "coupons:
  shared: { code: SPRING20 }
  made: { pattern: \"BD-######\", valid: 14 days }
  bought: { imported: true }",
        );
        let text =
            |coupon: &str, more: &str| format!("message: {{ channel: sms, text: \"{{{{coupon.code}}}} {more}\", coupon: {coupon} }}");
        advertising(&mut world, "shared", "2027-03-01 10:00", &text("shared", ""));
        advertising(&mut world, "made", "2027-03-01 10:00", &text("made", "until {{format_date coupon.valid_until}}"));
        advertising(&mut world, "bought", "2027-03-01 10:00", &text("bought", ""));
        for number in 0..3 {
            let id = world.person("").await;
            world.address(id, Channel::Sms, &format!("+38067123456{number}")).await;
        }
        world.apply().await;
        assert_eq!(world.store.import_codes("bought", &["B-1".into(), "B-2".into(), "B-1".into()]).await.unwrap(), 2);
        assert_eq!(world.store.import_codes("bought", &["B-2".into()]).await.unwrap(), 0, "a second time changes nothing");
        world.run_until("2027-03-01T11:00:00Z").await;
        assert_eq!(world.sums("shared").await, "selected 3, accepted 3", "{}", database.name);
        assert_eq!(world.sums("bought").await, "selected 3, no_coupon 1, accepted 2", "{}", database.name);
        let codes = "SELECT m.code || ' ' || g.key FROM messages m JOIN runs r ON r.id = m.run_id JOIN campaigns g ON g.id = r.campaign_id WHERE m.code IS NOT NULL ORDER BY 1";
        let codes = detail(&world, codes).await;
        assert_eq!(codes[..2], ["B-1 bought", "B-2 bought"]);
        assert_eq!(codes[5..], ["SPRING20 shared"; 3]);
        let made = &codes[2..5];
        assert!(made.iter().all(|code| code.starts_with("BD-") && code.len() == "BD-123456 made".len()), "{made:?}");
        assert!(made[0] != made[1] && made[1] != made[2]);
        // What was sent says what the ledger says.
        let sent: Vec<String> = world.texts();
        for code in made {
            let code = code.split(' ').next().unwrap();
            assert_eq!(sent.iter().filter(|text| text.starts_with(code) && text.contains("until ")).count(), 1, "{code} {sent:?}");
        }
        assert_eq!(world.number("SELECT COUNT(*) FROM coupons WHERE message_id IS NOT NULL").await, 5);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bought_codes_are_imported_from_a_file_and_what_is_no_code_is_named() {
    for database in databases().await {
        let folder = tempfile::tempdir().unwrap();
        let workspace = folder.path();
        Shop::letters(25, 1).write(workspace);
        let definitions = std::fs::read_to_string(workspace.join("posthaste.yaml")).unwrap();
        std::fs::write(
            workspace.join("posthaste.yaml"),
            format!("{definitions}coupons: {{ bought: {{ imported: true }}, shared: {{ code: SPRING20 }} }}\n"),
        )
        .unwrap();
        let long = "X".repeat(65);
        std::fs::write(workspace.join("codes.csv"), format!("\u{feff}Code,Value\nB-1,10\n\"B-2\";10\r\n\nB-1,10\n{long}\n")).unwrap();
        let import = |name: &str| posthaste(workspace, &database.url, &["import", "coupons", name, "codes.csv"]).stderr;
        assert_eq!(
            import("bought"),
            format!("line 6: `{long}` is no code: at most 64 characters\n2 new codes of bought, 1 known already, 1 rejected\n"),
            "{}",
            database.name
        );
        assert!(import("bought").ends_with("0 new codes of bought, 3 known already, 1 rejected\n"));
        for (name, said) in [
            ("other", "posthaste.yaml has no coupon `other`: write coupons: { other: { imported: true } }"),
            ("shared", "the codes of `shared` are not imported"),
        ] {
            let refused = command(workspace, &database.url, &["import", "coupons", name, "codes.csv"]).output().unwrap();
            assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains(said), "{refused:?}");
        }
    }
}

#[tokio::test]
async fn a_message_that_is_tried_again_keeps_its_code() {
    for database in databases().await {
        let mut world = World::new(&database);
        world.policy("coupons: { made: { pattern: \"BD-####\" } }");
        world.files.insert("templates/code.hbs", "<p>{{coupon.code}} {{unsubscribe_url}} {{identity.postal_address}}</p>");
        advertising(&mut world, "sale", "2027-03-01 10:00", "message: { template: code, subject: \"Hello\", coupon: made }");
        world.person("busy@example.org").await;
        world.apply().await;
        world.run_until("2027-03-01T10:00:01Z").await;
        let first = detail(&world, "SELECT code FROM messages").await;
        assert_eq!(world.sums("sale").await, "selected 1, retry 1", "{}", database.name);
        world.run_until("2027-03-01T18:00:00Z").await;
        assert_eq!(world.sums("sale").await, "selected 1, accepted 1", "{}", database.name);
        assert_eq!(detail(&world, "SELECT code FROM messages").await, first);
        assert_eq!(detail(&world, "SELECT code FROM coupons").await, first, "one code was drawn for all tries");
    }
}
