//! What is kept for a time only goes in time, and not before.

use crate::databases::databases;
use crate::world::{World, advertising};
use posthaste::campaigns;
use posthaste::types::Time;

const LETTER: &str = advertising!(
    "audience: { segment: everyone, holdout: 0% }\n",
    "schedule: { at: 2027-03-01 10:00 }\n",
    "message: { template: hello, subject: \"Hello {{first_name}}\" }\n",
);

/// An engine that drops what is old lives until this instant.
async fn live_until(world: &World, end: &str) {
    let engine = world.engine().await.keeping();
    engine.run_through(end.parse::<Time>().unwrap()).await.unwrap();
    engine.turn().await.unwrap();
    engine.end().await.unwrap();
}

async fn event(world: &World, name: &str, at: &str) {
    let at = at.parse::<Time>().unwrap().timestamp_micros();
    let sql = format!(
        "INSERT INTO events (customer_id, name, occurred_at, received_at, source_key) VALUES (1, '{name}', {at}, {at}, {})",
        world.store.pick(format!("CAST('{name}' AS BLOB)"), format!("convert_to('{name}', 'UTF8')"))
    );
    posthaste::on_writer!(&world.store, pool => { sqlx::query(sqlx::AssertSqlSafe(sql)).execute(pool).await.unwrap(); });
}

async fn names(world: &World) -> String {
    let sql = "SELECT name FROM events WHERE name NOT LIKE 'message.%' ORDER BY name";
    let names: Vec<(String,)> = posthaste::on_pool!(&world.store, pool => sqlx::query_as(sql).fetch_all(pool).await.unwrap());
    names.into_iter().map(|name| name.0).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn events_and_content_go_when_their_time_is_over_and_what_was_counted_stays() {
    for database in databases().await {
        let mut world = World::new(&database);
        world.policy("retention: { events: 13 months, content: 30 days }");
        world.campaign("letter", LETTER);
        world.person("ada@example.org").await;
        world.apply().await;
        for (name, at) in [("a_fresh", "2027-02-28T00:00:00Z"), ("b_edge", "2026-02-02T09:00:00Z"), ("c_old", "2026-01-31T00:00:00Z")] {
            event(&world, name, at).await;
        }
        live_until(&world, "2027-03-01T12:00:00Z").await;
        assert_eq!(names(&world).await, "a_fresh b_edge", "{}", database.name);
        assert_eq!(world.number("SELECT COUNT(*) FROM messages WHERE snapshot IS NOT NULL").await, 1, "{}", database.name);
        // Not twice a day.
        event(&world, "d_old", "2025-01-01T00:00:00Z").await;
        live_until(&world, "2027-03-01T20:00:00Z").await;
        assert_eq!(names(&world).await, "a_fresh b_edge d_old", "{}", database.name);
        live_until(&world, "2027-03-31T09:00:00Z").await;
        assert_eq!(names(&world).await, "a_fresh", "{}", database.name);
        assert_eq!(
            world.number("SELECT COUNT(*) FROM messages WHERE snapshot IS NOT NULL").await,
            1,
            "{}: it is not 30 days old",
            database.name
        );
        live_until(&world, "2027-04-01T10:30:00Z").await;
        assert_eq!(world.number("SELECT COUNT(*) FROM messages WHERE snapshot IS NOT NULL").await, 0, "{}", database.name);
        assert_eq!(world.sums("letter").await, "selected 1, accepted 1", "{}", database.name);
    }
}

#[tokio::test]
async fn what_an_applied_rule_looks_back_at_is_kept_as_long_and_check_says_so() {
    for database in databases().await {
        let mut world = World::new(&database);
        world.policy("retention: { events: 3 months }");
        world
            .files
            .insert("campaigns/segments/loyal.yaml", "segment: loyal\ntitle: \"Loyal\"\nwhere: { event: purchase, within: 2 years }\n");
        world.campaign("letter", &LETTER.replace("segment: everyone", "segment: loyal"));
        world.person("ada@example.org").await;
        let (definitions, problems) = campaigns::read(&world.files);
        assert!(definitions.is_some());
        let warning = problems.render(&world.files, false, 140);
        assert!(warning.contains("this looks back 2 years, and `retention` keeps events for 3 months"), "{warning}");
        assert!(warning.contains("campaigns/segments/loyal.yaml:3"), "{warning}");
        world.apply().await;
        event(&world, "a_kept", "2025-06-01T00:00:00Z").await;
        event(&world, "b_old", "2024-06-01T00:00:00Z").await;
        live_until(&world, "2027-03-01T12:00:00Z").await;
        assert_eq!(names(&world).await, "a_kept", "{}", database.name);
        // Nothing written: for ever.
        world.policy("");
        world.apply().await;
        event(&world, "b_old", "2014-06-01T00:00:00Z").await;
        live_until(&world, "2027-03-03T12:00:00Z").await;
        assert_eq!(names(&world).await, "a_kept b_old", "{}", database.name);
    }
}

/// The figure for the notes: `POSTHASTE_MANY=1000000 cargo test … a_million -- --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_old_events_go_in_small_pieces_while_others_write() {
    let many: i64 = std::env::var("POSTHASTE_MANY").ok().and_then(|many| many.parse().ok()).unwrap_or(3_000);
    for database in databases().await {
        let mut world = World::new(&database);
        world.policy("retention: { events: 13 months }");
        world.campaign("letter", LETTER);
        world.person("ada@example.org").await;
        world.apply().await;
        let key = world.store.pick("CAST(printf('%016d', i) AS BLOB)", "convert_to(lpad(i::text, 16, '0'), 'UTF8')");
        let properties = world.store.pick("'{\"page\":\"/lamps\",\"sku\":\"L1\"}'", "'{\"page\":\"/lamps\",\"sku\":\"L1\"}'::jsonb");
        // Half of them are old.
        let sql = format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
             INSERT INTO events (customer_id, name, occurred_at, received_at, properties, source_key)
             SELECT 1 + i % 1000, 'visit', CASE WHEN i % 2 = 0 THEN 1700000000000000 ELSE 1803800000000000 END, 1803800000000000, {properties}, {key} FROM n"
        );
        posthaste::on_writer!(&world.store, pool => { sqlx::query(sqlx::AssertSqlSafe(sql)).bind(many).execute(pool).await.unwrap(); });
        let store = world.store.clone();
        let stop = tokio_util::sync::CancellationToken::new();
        let other = tokio::spawn({
            let stop = stop.clone();
            async move {
                let (mut longest, mut writes) = (std::time::Duration::ZERO, 0_u64);
                while !stop.is_cancelled() {
                    let began = std::time::Instant::now();
                    store.keep_setting("someone", &writes.to_string()).await.unwrap();
                    longest = longest.max(began.elapsed());
                    writes += 1;
                    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                }
                (longest, writes)
            }
        });
        let began = std::time::Instant::now();
        live_until(&world, "2027-03-01T12:00:00Z").await;
        let took = began.elapsed();
        stop.cancel();
        let (longest, writes) = other.await.unwrap();
        eprintln!(
            "{}: {} of {many} events dropped in {took:?}; {writes} writes of others meanwhile, the longest {longest:?}",
            database.name,
            many / 2
        );
        assert_eq!(world.number("SELECT COUNT(*) FROM events WHERE name = 'visit'").await, many - many / 2, "{}", database.name);
        assert!(longest < std::time::Duration::from_secs(5), "{}: {longest:?}", database.name);
    }
}
