//! When: each in the own zone, and what happens to runs over the clock changes of a year.

use crate::databases::databases;
use crate::processes::posthaste;
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

/// `campaign`: state and reason of each run, in order.
async fn runs(world: &World, campaign: &str) -> Vec<(i64, String, Option<String>)> {
    let runs = world.store.runs_of(Some(campaign)).await.unwrap();
    runs.into_iter().map(|run| (run.number, run.state.to_string(), run.left_out)).collect()
}

/// Lets the workspace know of dates.
fn with_dates(world: &mut World) {
    let text = world.files.text("posthaste.yaml").unwrap().replace("attributes: {", "attributes: { birthday: date, trial_ends: date,");
    world.files.insert("posthaste.yaml", text);
}

async fn has_date(world: &World, customer: i64, attribute: &str, date: &str) {
    let json = world.store.pick("json_set(attributes, '$.' || $1, $2)", "attributes || jsonb_build_object($1::text, $2::text)");
    let sql = format!("UPDATE customers SET attributes = {json} WHERE id = $3");
    posthaste::on_writer!(&world.store, pool => { sqlx::query(sqlx::AssertSqlSafe(sql)).bind(attribute).bind(date).bind(customer).execute(pool).await.unwrap(); });
}

#[tokio::test]
async fn birthdays_come_once_a_year_in_the_zone_in_force_and_those_of_29_february_on_the_28th() {
    for database in databases().await {
        let mut world = World::new(&database);
        with_dates(&mut world);
        world.clock = posthaste::clock::Clock::standing_at(instant("2027-02-20T00:00:00Z"));
        world
            .campaign("own", &format!("{OFFERS}schedule: {{ anniversary: birthday, time: 10:00, zone: recipient }}\nre_entry: 300 days\n"));
        world.campaign(
            "fixed",
            &format!("{OFFERS}schedule: {{ anniversary: birthday, zone: Europe/Kyiv, before: [ 7, 1 day ], feb29: mar01 }}\n"),
        );
        let (nina, ada, leap, stranger) = (
            world.person("nina@example.org").await,
            world.person("ada@example.org").await,
            world.person("leap@example.org").await,
            world.person("stranger@example.org").await,
        );
        live_in(&world, nina, "zone", "America/New_York").await;
        has_date(&world, nina, "birthday", "1990-02-28").await;
        has_date(&world, ada, "birthday", "1985-03-01").await;
        has_date(&world, leap, "birthday", "2000-02-29").await;
        has_date(&world, stranger, "birthday", "1999-09-09").await;
        world.apply().await;
        world.run_until("2027-03-03T00:00:00Z").await;
        // The birthday moves, and a second one in the same year brings nothing.
        has_date(&world, nina, "birthday", "1990-03-05").await;
        world.run_until("2027-03-10T00:00:00Z").await;
        let id = |customer: i64| format!("c{customer}");
        let expected = |list: &[(i64, &[&str])]| -> BTreeMap<String, Vec<Time>> {
            list.iter().map(|(customer, at)| (id(*customer), at.iter().map(|at| instant(at)).collect())).collect()
        };
        let own = expected(&[(nina, &["2027-02-28T15:00:00Z"]), (ada, &["2027-03-01T10:00:00Z"]), (leap, &["2027-02-28T10:00:00Z"])]);
        assert_eq!(accepted(&world, "own").await, own, "{}", database.name);
        // A week and a day before the day; the 29th is the first of March here.
        let fixed = expected(&[
            (nina, &["2027-02-21T08:00:00Z", "2027-02-27T08:00:00Z", "2027-03-04T08:00:00Z"]),
            (ada, &["2027-02-22T08:00:00Z", "2027-02-28T08:00:00Z"]),
            (leap, &["2027-02-22T08:00:00Z", "2027-02-28T08:00:00Z"]),
        ]);
        assert_eq!(accepted(&world, "fixed").await, fixed, "{}", database.name);
    }
}

#[tokio::test]
async fn a_date_comes_once() {
    for database in databases().await {
        let mut world = World::new(&database);
        with_dates(&mut world);
        world.campaign("ends", &format!("{OFFERS}schedule: {{ date: trial_ends, time: 09:00, before: 3, after: 1 }}\n"));
        let (ada, bo) = (world.person("ada@example.org").await, world.person("bo@example.org").await);
        has_date(&world, ada, "trial_ends", "2027-03-05").await;
        has_date(&world, bo, "trial_ends", "2026-03-05").await;
        world.apply().await;
        world.run_until("2027-04-01T00:00:00Z").await;
        let found = accepted(&world, "ends").await;
        assert_eq!(found, BTreeMap::from([(format!("c{ada}"), vec![instant("2027-03-02T09:00:00Z"), instant("2027-03-06T09:00:00Z")])]));
        // A day on which it is nobody's day leaves an empty run, that is done.
        assert!(runs(&world, "ends").await.iter().all(|(_, state, _)| state == "done"));
    }
}

#[tokio::test]
async fn the_birthday_example_passes_its_own_test() {
    use posthaste::{campaigns, engine::trials};
    let mut world = World::new(&crate::databases::sqlite().await);
    with_dates(&mut world);
    world.campaign(
        "birthday",
        &format!(
            "{OFFERS}schedule: {{ anniversary: birthday, time: 10:00, zone: recipient, feb29: feb28 }}\nre_entry: 300 days\ntests:\n  \
             - name: born on 29 February, greeted on the 28th at ten of her own clock\n    at: 2027-02-27 00:00\n    run_for: 3 days\n    \
             people: [ {{ external_id: nina, email: nina@example.org, language: en, zone: America/New_York, first_name: Nina, \
             birthday: 2000-02-29, consent: {{ offers: [ email ] }} }} ]\n    \
             expect: {{ messages: 1, to: {{ nina: {{ at: 2027-02-28T10:00:00-05:00, contains: [ \"Nina\" ] }} }} }}\n"
        ),
    );
    let (definitions, problems) = campaigns::read(&world.files);
    let definitions = definitions.unwrap_or_else(|| panic!("{}", problems.render(&world.files, false, 140)));
    let test = definitions.campaigns["birthday"].tests[0].clone();
    assert_eq!(trials::campaign(&world.files, definitions, "birthday", &test).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn messages_are_spread_evenly_and_wait_for_a_window() {
    for database in databases().await {
        let mut world = World::new(&database);
        // Monday, 1 March.
        world.campaign("even", &format!("{OFFERS}schedule: {{ at: 2027-03-01 10:00, spread: 4 hours }}\n"));
        let windows = "windows: [ { days: monday to friday, hours: 09:00 to 18:00 } ]";
        world.campaign("late", &format!("{OFFERS}schedule: {{ at: 2027-03-05 17:00, spread: 2 hours, {windows} }}\n"));
        for number in 0..200 {
            world.person(&format!("p{number}@example.org")).await;
        }
        world.apply().await;
        world.run_until("2027-03-09T00:00:00Z").await;
        let even: Vec<Time> = accepted(&world, "even").await.into_values().flatten().collect();
        let hour = |hour: i64| instant("2027-03-01T10:00:00Z") + TimeDelta::hours(hour);
        let in_hour: Vec<usize> =
            (0..4).map(|number| even.iter().filter(|at| (hour(number)..hour(number + 1)).contains(at)).count()).collect();
        assert_eq!(in_hour.iter().sum::<usize>(), 200);
        assert!(in_hour.iter().all(|count| (25..=75).contains(count)), "{in_hour:?}");
        // Who would be after six on Friday waits until nine on Monday.
        let late: Vec<Time> = accepted(&world, "late").await.into_values().flatten().collect();
        let friday = late.iter().filter(|at| **at < instant("2027-03-05T18:00:00Z")).count();
        assert_eq!(late.iter().filter(|at| **at == instant("2027-03-08T09:00:00Z")).count(), 200 - friday);
        assert!((60..=140).contains(&friday), "{friday}");
    }
}

#[tokio::test]
async fn who_comes_too_late_for_the_window_waits_for_the_next() {
    for database in databases().await {
        let mut world = World::new(&database);
        let windows = "windows: [ { hours: 09:00 to 18:00 } ]";
        world.campaign("late", &format!("{OFFERS}schedule: {{ at: 2027-03-01 17:00, {windows} }}\n"));
        world.person("ada@example.org").await;
        world.apply().await;
        world.clock.advance_to(instant("2027-03-01T17:00:00Z"));
        let engine = world.engine().await;
        engine.plan().await.unwrap();
        // Nothing is handed over before seven in the evening.
        world.clock.advance_to(instant("2027-03-01T19:00:00Z"));
        engine.turn().await.unwrap();
        engine.end().await.unwrap();
        drop(engine);
        assert_eq!(world.sums("late").await, "selected 1, deferred 1");
        world.run_until("2027-03-02T12:00:00Z").await;
        let found: Vec<Time> = accepted(&world, "late").await.into_values().flatten().collect();
        assert_eq!(found, [instant("2027-03-02T09:00:00Z")]);
    }
}

#[tokio::test]
async fn a_newsletter_that_nobody_changed_is_left_out() {
    for database in databases().await {
        let mut world = World::new(&database);
        let file = |subject: &str| OFFERS.replace("Hello", subject) + "schedule: { every: day at 10:00, if_unchanged: skip }\n";
        world.campaign("news", &file("One"));
        world.person("ada@example.org").await;
        world.apply().await;
        world.run_until("2027-03-03T00:00:00Z").await;
        world.campaign("news", &(file("One") + "priority: 60\n"));
        world.apply().await;
        world.run_until("2027-03-04T00:00:00Z").await;
        world.campaign("news", &file("Two"));
        world.apply().await;
        world.run_until("2027-03-05T00:00:00Z").await;
        let template = world.files.text("templates/hello.hbs").unwrap().replace("Hello", "Good day");
        world.files.insert("templates/hello.hbs", template);
        world.apply().await;
        world.run_until("2027-03-06T00:00:00Z").await;
        let same = |run: i64| Some(format!("if_unchanged: template and content are those of run {run}"));
        let (done, left_out) = ("done".to_string(), "cancelled".to_string());
        let expected =
            [(1, done.clone(), None), (2, left_out.clone(), same(1)), (3, left_out, same(1)), (4, done.clone(), None), (5, done, None)];
        assert_eq!(runs(&world, "news").await, expected, "{}", database.name);
        assert_eq!(world.outbox().len(), 3);
    }
}

#[tokio::test]
async fn a_run_beside_one_that_still_goes_is_left_out_or_waits_or_starts() {
    for database in databases().await {
        let mut world = World::new(&database);
        for (key, overlap) in [("forbid", ""), ("queue", ", overlap: queue"), ("allow", ", overlap: allow")] {
            let schedule =
                format!("schedule: {{ every: hour, from: 2027-03-01 10:00, until: 2027-03-01 12:00, spread: 3 hours{overlap} }}\n");
            world.campaign(key, &format!("{OFFERS}{schedule}"));
        }
        for number in 0..40 {
            world.person(&format!("p{number}@example.org")).await;
        }
        world.apply().await;
        world.run_until("2027-03-01T20:00:00Z").await;
        let goes = |run: i64| Some(format!("overlap: run {run} still handed messages over"));
        let expected = [(1, "done".to_string(), None), (2, "cancelled".to_string(), goes(1)), (3, "cancelled".to_string(), goes(1))];
        assert_eq!(runs(&world, "forbid").await, expected);
        for key in ["queue", "allow"] {
            assert_eq!(world.sums(key).await, "selected 120, accepted 120", "{key}");
            assert!(runs(&world, key).await.iter().all(|(_, state, left_out)| state == "done" && left_out.is_none()), "{key}");
        }
        // The second run began when the first had ended, or beside it.
        let started = "SELECT r.planned_at FROM runs r JOIN campaigns g ON g.id = r.campaign_id WHERE g.key = $1 AND r.number = 2";
        for (key, least, most) in
            [("queue", "2027-03-01T12:30:00Z", "2027-03-01T13:00:00Z"), ("allow", "2027-03-01T11:00:00Z", "2027-03-01T11:00:00Z")]
        {
            let (at,): (i64,) = on_pool!(&world.store, pool => sqlx::query_as(started).bind(key).fetch_one(pool).await).unwrap();
            assert!((instant(least)..=instant(most)).contains(&from_micros(at)), "{key}: {}", from_micros(at));
        }
    }
}

#[test]
fn the_next_ten_dates_say_what_clock_changes_and_blackouts_do() {
    let mut world_files = posthaste::diagnostics::Files::default();
    for (path, text) in [
        ("posthaste.yaml", crate::world::WORKSPACE.to_string()),
        ("templates/hello.hbs", "<p>Hello {{unsubscribe_url}} {{identity.postal_address}}</p>".to_string()),
    ] {
        world_files.insert(path, text);
    }
    let campaign =
        |key: &str, schedule: &str| format!("campaign: {key}\ntitle: \"A story\"\nowner: ada@example.org\n{OFFERS}schedule: {schedule}\n");
    let night = "{ every: day at 03:30, zone: Europe/Kyiv, blackout: [ 2027-03-25 to 2027-03-26 ], until: 2027-03-29 }";
    world_files.insert("campaigns/night.yaml", campaign("night", night));
    world_files.insert("campaigns/own.yaml", campaign("own", "{ every: month on last day at 10:00, zone: recipient }"));
    let (definitions, problems) = posthaste::campaigns::read(&world_files);
    let definitions = definitions.unwrap_or_else(|| panic!("{}", problems.render(&world_files, false, 140)));
    let lines = |key: &str| {
        let dates = posthaste::cli::dates::next(&definitions.campaigns[key].schedule, instant("2027-03-23T12:00:00Z"));
        dates.iter().map(|date| date.line()).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(format!("{}\n\n{}", lines("night"), lines("own")));
}

#[tokio::test]
async fn what_went_by_while_nobody_looked_is_told_with_its_reason() {
    for database in databases().await {
        let mut world = World::new(&database);
        world.campaign("once", &format!("{OFFERS}schedule: {{ at: 2027-03-01 10:00, if_missed: {{ run: once, within: 6 hours }} }}\n"));
        world.campaign("daily", &format!("{OFFERS}schedule: {{ every: day at 10:00 }}\n"));
        world.campaign("skips", &format!("{OFFERS}schedule: {{ every: day at 10:00, if_missed: {{ run: skip, within: 3 days }} }}\n"));
        world.campaign("later", &format!("{OFFERS}schedule: {{ at: 2027-03-20 10:00 }}\n"));
        world.person("ada@example.org").await;
        world.apply().await;
        // Nobody looks for four days.
        world.clock.advance_to(instant("2027-03-04T11:00:00Z"));
        world.run_until("2027-03-04T12:00:00Z").await;
        // Whoever looks again finds nothing new.
        world.run_until("2027-03-04T13:00:00Z").await;
        assert_eq!(runs(&world, "once").await, []);
        assert_eq!(runs(&world, "daily").await, [(1, "done".to_string(), None)]);
        let folder = tempfile::tempdir().unwrap();
        for (path, content) in &world.files.0 {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let said = |arguments: &[&str]| {
            let arguments: Vec<&str> = arguments.iter().copied().chain(["--now", "2027-03-04T13:00:00Z"]).collect();
            posthaste(folder.path(), &database.url, &arguments).stdout
        };
        let mut all = Vec::new();
        for campaign in ["once", "daily", "skips", "later"] {
            let shown = said(&["campaigns", "show", campaign]);
            let lines: Vec<&str> = shown.lines().filter(|line| line.contains("missed")).collect();
            all.push(format!("$ posthaste campaigns show {campaign}\n{}", lines.join("\n")));
            all.push(format!("$ posthaste why c1 {campaign}\n{}", said(&["why", "c1", campaign])));
        }
        let shown: serde_json::Value = serde_json::from_str(&said(&["campaigns", "show", "skips", "--format", "json"])).unwrap();
        all.push(format!("{:#}", shown["missed"]));
        let why: serde_json::Value = serde_json::from_str(&said(&["why", "c1", "skips", "--format", "json"])).unwrap();
        assert_eq!(why["missed"], shown["missed"], "{}", database.name);
        insta::assert_snapshot!("missed", all.join("\n\n"));
    }
}
