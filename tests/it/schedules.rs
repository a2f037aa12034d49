//! When: each in the own zone, and what happens to runs over the clock changes of a year.

use crate::databases::databases;
use crate::world::World;
use chrono::{Days, NaiveDate, TimeDelta};
use chrono_tz::Tz;
use posthaste::on_pool;
use posthaste::store::from_micros;
use posthaste::types::Time;
use std::collections::BTreeMap;

fn instant(text: &str) -> Time {
    text.parse().unwrap()
}

const OFFERS: &str = "class: advertising\ntopic: offers\ncategory: retail\ntask: grow\ngoal: { event: purchase, within: 1 day }\naudience: { segment: everyone, holdout: 0% }\n\
                      message: { template: hello, subject: \"Hello\", expires: 7 days }\n";

/// Customer's external id → when each of the messages was accepted, and the state of those that were not.
async fn accepted(world: &World, campaign: &str) -> BTreeMap<String, Vec<Time>> {
    let sql = "SELECT c.external_id, m.accepted_at FROM messages m JOIN customers c ON c.id = m.customer_id JOIN runs r ON r.id = m.run_id
               JOIN campaigns g ON g.id = r.campaign_id WHERE g.key = $1 AND m.accepted_at IS NOT NULL ORDER BY m.accepted_at";
    let rows: Vec<(String, i64)> = on_pool!(&world.store, pool => sqlx::query_as(sql).bind(campaign).fetch_all(pool).await).unwrap();
    let mut found: BTreeMap<String, Vec<Time>> = BTreeMap::new();
    for (customer, at) in rows {
        found.entry(customer).or_default().push(from_micros(at));
    }
    found
}

async fn refused(world: &World, campaign: &str) -> BTreeMap<i16, i64> {
    let sql = "SELECT m.reason, COUNT(*) FROM messages m JOIN runs r ON r.id = m.run_id JOIN campaigns g ON g.id = r.campaign_id
               WHERE g.key = $1 AND m.state = 0 GROUP BY m.reason";
    let rows: Vec<(i16, i64)> = on_pool!(&world.store, pool => sqlx::query_as(sql).bind(campaign).fetch_all(pool).await).unwrap();
    rows.into_iter().collect()
}

async fn live_in(world: &World, customer: i64, column: &str, value: &str) {
    let sql = format!("UPDATE customers SET {column} = $1 WHERE id = $2");
    posthaste::on_writer!(&world.store, pool => { sqlx::query(sqlx::AssertSqlSafe(sql)).bind(value).bind(customer).execute(pool).await.unwrap(); });
}

/// The first moment at which a clock on that wall shows this time or a later one: found by looking at every minute.
fn first_shown(zone: Tz, date: NaiveDate, hour: u32, minute: u32) -> Time {
    let wanted = date.and_hms_opt(hour, minute, 0).unwrap();
    let mut now = wanted.and_utc() - TimeDelta::hours(15);
    while now.with_timezone(&zone).naive_local() < wanted {
        now += TimeDelta::minutes(1);
    }
    now
}

#[tokio::test]
async fn ten_oclock_comes_once_to_everyone_on_earth_at_the_right_moment_while_clocks_change() {
    for database in databases().await {
        let mut world = World::new(&database);
        world.clock.advance_to(instant("2027-03-11T00:00:00Z"));
        // The days around the changes in America, Europe and Australia, in spring and in autumn.
        world.campaign(
        "ten",
        &format!(
            "{OFFERS}schedule: {{ every: day at 10:00, zone: recipient, from: 2027-03-13, until: 2027-11-07, \
             blackout: [ 2027-03-15 to 2027-03-26, 2027-03-29 to 2027-04-02, 2027-04-05 to 2027-10-01, 2027-10-04 to 2027-10-29, 2027-11-01 to 2027-11-05 ] }}\n"
        ),
    );
        let mut zones = BTreeMap::new();
        // Every zone on one of the two databases; the other asks some of them again.
        let step = if database.name == "sqlite" { 1 } else { 12 };
        for zone in chrono_tz::TZ_VARIANTS.into_iter().step_by(step) {
            let id = world.person(&format!("zone{}@example.org", zones.len())).await;
            live_in(&world, id, "zone", zone.name()).await;
            zones.insert(format!("c{id}"), zone);
        }
        world.apply().await;
        world.run_until("2027-11-10T00:00:00Z").await;
        let days: Vec<NaiveDate> = ["2027-03-13", "2027-03-27", "2027-04-03", "2027-10-02", "2027-10-30", "2027-11-06"]
            .iter()
            .flat_map(|saturday| {
                let saturday: NaiveDate = saturday.parse().unwrap();
                [saturday, saturday + Days::new(1)]
            })
            .collect();
        let found = accepted(&world, "ten").await;
        assert_eq!(found.len(), zones.len());
        for (customer, zone) in zones {
            let expected: Vec<Time> = days.iter().map(|day| first_shown(zone, *day, 10, 0)).collect();
            assert_eq!(found[&customer], expected, "{zone}");
        }
        assert_eq!(refused(&world, "ten").await, BTreeMap::new());
    }
}

#[tokio::test]
async fn the_zone_is_the_own_one_else_that_of_the_country_or_phone_else_the_fallback() {
    for database in databases().await {
        use posthaste::types::Channel;
        let mut world = World::new(&database);
        world.campaign("ten", &format!("{OFFERS}schedule: {{ at: 2027-03-02 10:00, zone: recipient, fallback_zone: Asia/Tokyo }}\n"));
        let (own, country, phone, nothing) = (
            world.person("a@example.org").await,
            world.person("b@example.org").await,
            world.person("c@example.org").await,
            world.person("d@example.org").await,
        );
        live_in(&world, own, "zone", "America/New_York").await;
        live_in(&world, own, "country", "UA").await;
        live_in(&world, country, "country", "UA").await;
        world.address(country, Channel::Sms, "+12125550123").await;
        world.address(phone, Channel::Sms, "+380671234567").await;
        world.apply().await;
        world.run_until("2027-03-04T00:00:00Z").await;
        let found = accepted(&world, "ten").await;
        let at = |id: i64| found[&format!("c{id}")].clone();
        assert_eq!(at(own), [instant("2027-03-02T15:00:00Z")]);
        assert_eq!(at(country), [instant("2027-03-02T08:00:00Z")]);
        assert_eq!(at(phone), [instant("2027-03-02T08:00:00Z")]);
        assert_eq!(at(nothing), [instant("2027-03-02T01:00:00Z")]);
    }
}

#[tokio::test]
async fn who_is_past_the_local_time_when_a_run_starts_is_treated_as_the_file_says() {
    for database in databases().await {
        let mut world = World::new(&database);
        // Nine in the morning in UTC: it is past ten in Kyiv, and the campaigns are written just now.
        for (key, if_past) in [("skip", ""), ("now", ", if_past: now"), ("next", ", if_past: next_day")] {
            let schedule = format!("schedule: {{ at: 2027-03-01 10:00, zone: recipient, fallback_zone: America/New_York{if_past} }}\n");
            world.campaign(key, &format!("{OFFERS}{schedule}"));
        }
        let (kyiv, york) = (world.person("a@example.org").await, world.person("b@example.org").await);
        live_in(&world, kyiv, "zone", "Europe/Kyiv").await;
        world.apply().await;
        world.run_until("2027-03-04T00:00:00Z").await;
        let york_at = vec![instant("2027-03-01T15:00:00Z")];
        for (key, expected, left_out) in [
            ("skip", None, 1),
            ("now", Some(vec![instant("2027-03-01T09:00:00Z")]), 0),
            ("next", Some(vec![instant("2027-03-02T08:00:00Z")]), 0),
        ] {
            let found = accepted(&world, key).await;
            assert_eq!(found.get(&format!("c{kyiv}")).cloned(), expected, "{key}");
            assert_eq!(found[&format!("c{york}")], york_at, "{key}");
            let past = refused(&world, key).await.get(&posthaste::types::Refusal::PastLocalTime.code()).copied().unwrap_or(0);
            assert_eq!(past, left_out, "{key}");
        }
    }
}
