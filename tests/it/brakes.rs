//! Pause, cancel, stop-all: nothing leaves any more, at once, and what waits is neither lost nor forgotten.

use crate::databases::{Database, databases};
use crate::processes::{SmtpSink, command, posthaste};
use crate::shop::{Shop, write_customers};
use crate::world::{World, advertising};
use posthaste::policy::stops::Seen;
use posthaste::store::control::Stopped;
use posthaste::store::ledger::{Answer, Batch, Claim, Mark};
use posthaste::store::nodes::Working;
use posthaste::store::stops::OUTCOMES_OF_RUN;
use posthaste::store::{Dialect, Store};
use posthaste::types::{RunId, RunState, Time};
use std::process::Stdio;
use std::time::{Duration, Instant};

const SALE: &str = advertising!(
    "audience: { segment: everyone, holdout: 0% }\n",
    "schedule: { at: 2027-03-01 10:00 }\n",
    "message: { template: hello, subject: \"Hello\" }\n",
);

async fn world(database: &Database) -> World {
    let mut world = World::new(database);
    world.campaign("sale", SALE);
    world.person("ada@example.org").await;
    world.person("bo@example.org").await;
    world.apply().await;
    world
}

/// The run is planned, and the engine that did it is gone.
async fn plan(world: &World) {
    world.clock.advance_to(at("10:00"));
    let engine = world.engine().await;
    engine.plan().await.unwrap();
    engine.end().await.unwrap();
}

fn at(time: &str) -> Time {
    format!("2027-03-01T{time}:00Z").parse().unwrap()
}

#[tokio::test]
async fn stopped_as_a_whole_nothing_is_planned_or_sent_and_afterwards_all_is() {
    for database in databases().await {
        let world = world(&database).await;
        let stopped = Stopped { at: at("09:30"), who: "ada".into(), reason: "wrong prices".into() };
        world.store.stop_all(&stopped).await.unwrap();
        world.store.stop_all(&Stopped { who: "bo".into(), ..stopped.clone() }).await.unwrap();
        assert_eq!(world.store.stopped().await.unwrap(), Some(stopped), "{}: the first word stands", database.name);
        world.run_until("2027-03-01T10:30:00Z").await;
        assert_eq!((world.outbox().len(), world.sums("sale").await.as_str()), (0, "selected 0"), "{}", database.name);
        assert!(world.store.resume_all("ada", at("10:30")).await.unwrap());
        assert!(!world.store.resume_all("ada", at("10:30")).await.unwrap(), "nothing was stopped any more");
        world.run_until("2027-03-01T10:31:00Z").await;
        assert_eq!(world.sums("sale").await, "selected 2, accepted 2", "{}", database.name);
        assert_eq!(world.number("SELECT COUNT(*) FROM audit WHERE action IN ('stop_all', 'resume_all')").await, 3);
    }
}

#[tokio::test]
async fn a_paused_run_goes_on_where_it_stood_and_a_cancelled_one_never_does() {
    for database in databases().await {
        let world = world(&database).await;
        plan(&world).await;
        let run = world.store.runs_of(Some("sale")).await.unwrap().remove(0);
        assert!(world.store.pause_run(run.id).await.unwrap());
        assert!(!world.store.pause_run(run.id).await.unwrap());
        world.run_until("2027-03-01T10:10:00Z").await;
        assert_eq!(world.sums("sale").await, "selected 2, planned 2", "{}", database.name);
        assert!(world.store.resume_run(run.id).await.unwrap());
        assert!(!world.store.resume_run(run.id).await.unwrap());
        assert_eq!(world.store.run(run.id).await.unwrap().unwrap().state, RunState::Ready);
        assert_eq!(world.store.cancel_run(run.id, at("10:11")).await.unwrap(), 2);
        assert_eq!(world.store.cancel_run(run.id, at("10:12")).await.unwrap(), 0);
        world.run_until("2027-03-01T10:20:00Z").await;
        assert_eq!(world.sums("sale").await, "selected 2, cancelled 2", "{}", database.name);
        assert_eq!(world.number("SELECT COUNT(*) FROM blocks").await, 0);
        assert!(world.outbox().is_empty());
    }
}

#[tokio::test]
async fn a_run_paused_while_it_is_planned_is_planned_anew_when_it_goes_on() {
    for database in databases().await {
        let world = world(&database).await;
        plan(&world).await;
        // As after a planner that has begun and not finished: the run stands in state planning with rows.
        world.execute("UPDATE runs SET state = 1, planned_at = NULL").await;
        let run = world.store.runs_of(Some("sale")).await.unwrap().remove(0);
        assert!(world.store.pause_run(run.id).await.unwrap());
        world.run_until("2027-03-01T10:05:00Z").await;
        assert!(world.outbox().is_empty(), "{}", database.name);
        assert!(world.store.resume_run(run.id).await.unwrap());
        world.run_until("2027-03-01T10:10:00Z").await;
        assert_eq!(world.sums("sale").await, "selected 2, accepted 2", "{}", database.name);
    }
}

#[tokio::test]
async fn what_a_process_has_marked_when_its_run_is_cancelled_is_settled_by_who_takes_over() {
    for database in databases().await {
        let world = world(&database).await;
        plan(&world).await;
        let (store, now) = (&world.store, at("10:00"));
        let dead = store.register_node("dead", "elsewhere", "sender", now, now - chrono::TimeDelta::seconds(1)).await.unwrap();
        let block = store.claim_blocks(dead, now, 1, &[]).await.unwrap().pop().unwrap();
        let claim = Claim { block: block.id, fence: block.fence };
        let mark = |message| Mark { message, claim, provider: "obedient".into(), attempt: 1 };
        let batch = |marks| Batch { marks, ..Batch::default() };
        assert_eq!(store.commit_batch(dead, now, &batch(vec![mark(block.id)])).await.unwrap(), [block.id]);
        assert_eq!(store.cancel_run(block.run, now).await.unwrap(), 1, "{}: the other one", database.name);
        assert_eq!(store.commit_batch(dead, now, &batch(vec![mark(block.id + 1)])).await.unwrap(), Vec::<i64>::new());
        world.run_until("2027-03-01T10:10:00Z").await;
        assert_eq!(world.sums("sale").await, "selected 2, uncertain 1, cancelled 1", "{}", database.name);
        assert_eq!(world.number("SELECT COUNT(*) FROM blocks").await, 0, "{}", database.name);
    }
}

#[tokio::test]
async fn a_mark_whose_commit_nobody_knows_of_is_taken_back_and_a_claim_whose_answer_was_lost_is_found() {
    for database in databases().await {
        let world = world(&database).await;
        plan(&world).await;
        let (store, now) = (&world.store, at("10:00"));
        let node = store.register_node("here", "here", "sender", now, now + chrono::TimeDelta::days(1)).await.unwrap();
        let block = store.claim_blocks(node, now, 1, &[]).await.unwrap().pop().unwrap();
        let claim = Claim { block: block.id, fence: block.fence };
        let mark = Mark { message: block.id, claim, provider: "obedient".into(), attempt: 1 };
        store.commit_batch(node, now, &Batch { marks: vec![mark], ..Batch::default() }).await.unwrap();
        // The answer to that commit was lost: nothing left, and the next batch takes the mark back; so does a second time.
        for _ in 0..2 {
            let back = Answer::not_sent((block.id, claim), 1, "obedient".into(), now);
            store.commit_batch(node, now, &Batch { answers: vec![back], ..Batch::default() }).await.unwrap();
            assert_eq!(world.number("SELECT COUNT(*) FROM messages WHERE state = 3 AND attempts = 0").await, 1, "{}", database.name);
        }
        // The process knows of no block, and finds its own in the database; one that it works on it leaves alone.
        let working = Working { blocks: [block.id].into(), ..Working::default() };
        assert_eq!(store.take_over(node, &working, now).await.unwrap().1, [], "{}", database.name);
        let found = store.take_over(node, &Working::default(), now).await.unwrap().1;
        assert_eq!(found, [Claim { block: block.id, fence: block.fence + 1 }], "{}", database.name);
        store.release_blocks_of(node, now).await.unwrap();
        store.remove_node(node).await.unwrap();
        world.run_until("2027-03-01T10:10:00Z").await;
        assert_eq!(world.sums("sale").await, "selected 2, accepted 2", "{}", database.name);
    }
}

#[tokio::test]
async fn marks_that_are_on_their_way_when_their_process_dies_are_found_by_whoever_takes_over() {
    for database in databases().await {
        let Store::Postgres(pool) = &database.store else { continue };
        let world = world(&database).await;
        plan(&world).await;
        // The commit of a mark stands still until the test lets it go.
        for sql in [
            "CREATE FUNCTION stand_still() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END'",
            "CREATE CONSTRAINT TRIGGER stand_still AFTER UPDATE ON messages DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.state = 2) EXECUTE FUNCTION stand_still()",
        ] {
            world.execute(sql).await;
        }
        let mut gate = pool.acquire().await.unwrap();
        sqlx::query("SELECT pg_advisory_lock(4711)").execute(&mut *gate).await.unwrap();
        let (store, now) = (world.store.clone(), at("10:00"));
        let node = async |name: &str| store.register_node(name, name, "sender", now, now + chrono::TimeDelta::days(1)).await.unwrap();
        let (dying, next) = (node("dying").await, node("next").await);
        let block = store.claim_blocks(dying, now, 1, &[]).await.unwrap().pop().unwrap();
        let claim = Claim { block: block.id, fence: block.fence };
        let mark = Mark { message: block.id, claim, provider: "obedient".into(), attempt: 1 };
        let marking = tokio::spawn({
            let store = store.clone();
            async move { store.commit_batch(dying, now, &Batch { marks: vec![mark], ..Batch::default() }).await }
        });
        while world.number("SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted").await == 0 {
            tokio::task::yield_now().await;
        }
        // The process is dead, and its last commit is still under way: what it holds is left for the next look.
        store.remove_node(dying).await.unwrap();
        assert_eq!(store.take_over(next, &Working::default(), now).await.unwrap().1, []);
        sqlx::query("SELECT pg_advisory_unlock(4711)").execute(&mut *gate).await.unwrap();
        assert_eq!(marking.await.unwrap().unwrap(), [block.id]);
        let (orphans, claims) = store.take_over(next, &Working::default(), now).await.unwrap();
        assert_eq!((orphans.len(), orphans[0].message.0, claims.len()), (1, block.id, 1));
        store.settle_orphans(&[(orphans[0].message, false)], now).await.unwrap();
        store.release_blocks_of(next, now).await.unwrap();
        store.remove_node(next).await.unwrap();
        drop(gate);
        world.run_until("2027-03-01T10:10:00Z").await;
        assert_eq!(world.sums("sale").await, "selected 2, uncertain 1, accepted 1");
    }
}

const PEOPLE: usize = 20_000;

/// Must show 6 of the ledger's issue: at full speed a pause holds within a second, and so does the brake over everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_full_speed_a_pause_and_a_stop_hold_within_a_second() {
    for database in databases().await {
        let folder = tempfile::tempdir().unwrap();
        let workspace = folder.path();
        let sink = SmtpSink::start();
        Shop::letters(sink.port(), 16).write(workspace);
        write_customers(workspace, PEOPLE);
        let does = |arguments: &[&str]| posthaste(workspace, &database.url, arguments);
        does(&["import", "customers", "customers.csv"]);
        does(&["apply", "--yes", "--now", "2027-02-28T10:00:00Z"]);
        let mut engine = command(workspace, &database.url, &["run", "--listen", "127.0.0.1:0", "--now", "2027-03-01T10:00:00Z"]);
        let mut engine = engine.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let brakes: [(&[&str], &[&str]); 3] = [
            (&["campaigns", "pause", "letter"], &["campaigns", "resume", "letter"]),
            (&["stop-all"], &["resume-all", "--yes"]),
            (&["runs", "pause", "letter", "1"], &["runs", "resume", "letter", "1"]),
        ];
        for (round, (pull, release)) in brakes.iter().enumerate() {
            let begun = sink.received();
            wait_until("letters leave", || sink.received() > begun + 300);
            let asked = Instant::now();
            does(pull);
            let took = asked.elapsed();
            // What the command has committed holds within a second from its end.
            std::thread::sleep(Duration::from_secs(1));
            let after = sink.received();
            std::thread::sleep(Duration::from_secs(2));
            let later = sink.received();
            assert!(later < PEOPLE as u64, "{}: it was all over before", database.name);
            assert_eq!(after, later, "{}: {pull:?} holds", database.name);
            eprintln!("brakes on {}: round {round}, {pull:?} took {took:?}, {later} letters so far", database.name);
            does(release);
        }
        wait_until("all are there", || sink.received() == PEOPLE as u64);
        wait_until("the run is done", || does(&["runs", "list", "letter", "--format", "json"]).json()[0]["state"] == "done");
        let run = &does(&["runs", "list", "letter", "--format", "json"]).json()[0];
        assert_eq!((run["accepted"].as_u64(), run["waiting"].as_u64()), (Some(PEOPLE as u64), Some(0)), "{}: {run}", database.name);
        engine.kill().unwrap();
        engine.wait().unwrap();
        sink.assert_received(PEOPLE as u64, database.name);
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(180);
    while !done() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test]
async fn an_automatic_stop_adds_up_one_run_without_reading_the_others() {
    for database in databases().await {
        let world = World::new(&database);
        // Fifty runs of two hundred messages, their numbers taken by turns: accepted, accepted and bounced, no such address, another failure.
        let number = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)";
        let sql = format!(
            "{number} INSERT INTO messages (id, run_id, customer_id, channel, arm, state, reason, due_at, changed_at, bounced_at)
             SELECT i, i % 50 + 1, i / 50, 1, 1, CASE WHEN i / 50 % 4 < 2 THEN 7 ELSE 8 END, CASE i / 50 % 4 WHEN 2 THEN 101 WHEN 3 THEN 109 END, 0, 0,
                    CASE WHEN i / 50 % 4 = 1 THEN 5 END FROM n"
        );
        posthaste::on_writer!(&world.store, pool => { sqlx::query(sqlx::AssertSqlSafe(sql)).execute(pool).await.unwrap(); });
        world.execute("ANALYZE messages").await;
        let seen = world.store.seen_of_run(RunId(7)).await.unwrap();
        assert_eq!(seen, Seen { delivered: 50, failures: 100, hard_bounces: 50, ..Seen::default() }, "{}", database.name);
        let explained = match (&world.store, world.store.dialect()) {
            (Store::Sqlite(sqlite), Dialect::Sqlite) => {
                let sql = format!("EXPLAIN QUERY PLAN {OUTCOMES_OF_RUN}");
                let rows: Vec<(i64, i64, i64, String)> =
                    sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(7_i64).fetch_all(&sqlite.read).await.unwrap();
                rows.into_iter().map(|row| row.3).collect::<Vec<_>>()
            }
            (Store::Postgres(pool), _) => {
                let sql = format!("EXPLAIN {OUTCOMES_OF_RUN}");
                let rows: Vec<(String,)> = sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(7_i64).fetch_all(pool).await.unwrap();
                rows.into_iter().map(|row| row.0).collect()
            }
            _ => unreachable!(),
        };
        let explained = explained.join("\n");
        assert!(explained.to_lowercase().contains("index") && explained.contains("run_id"), "{explained}");
        assert!(!explained.contains("SCAN messages") && !explained.contains("Seq Scan"), "{explained}");
    }
}
