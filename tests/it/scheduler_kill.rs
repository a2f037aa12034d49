//! A year of schedules with two schedulers that are killed again and again: each instant has exactly one run, and each run its people once.
//!
//! A scheduler is killed by dropping it between two of its waits for the database, wherever that is: between the statements of a plan, inside a
//! transaction, before or after a commit. On PostgreSQL two of them work at the same time; on SQLite, where there is one engine, the
//! next begins where the killed one stopped. And one is frozen at every one of those waits, while another takes over.

use crate::databases::{Database, databases};
use crate::world::World;
use chrono::{Datelike, NaiveDate, TimeDelta, Weekday};
use posthaste::on_pool;
use posthaste::plan::Planner;
use posthaste::store::Store;
use posthaste::store::definitions::Loaded;
use posthaste::types::{NodeId, Time};
use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;

/// Polls a future so often; gives its output when it ends before.
async fn poll_so_often<F: Future>(polls: usize, future: &mut Pin<Box<F>>) -> Option<F::Output> {
    let mut left = polls;
    std::future::poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

/// Polls a future so often, and then drops it as it stands.
async fn killed_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    poll_so_often(polls, &mut Box::pin(future)).await
}

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// A process that schedules: what it has read, and its connections, die with it.
struct Scheduler<'a> {
    database: &'a Database,
    store: Store,
    node: NodeId,
}

impl<'a> Scheduler<'a> {
    async fn new(database: &'a Database) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let start: Time = "2027-01-01T00:00:00Z".parse().unwrap();
        let store = if database.name == "postgres" { Store::connect(&database.url).await.unwrap() } else { database.store.clone() };
        let node =
            store.register_node(&format!("scheduler {number}"), "here", "scheduler", start, start + TimeDelta::days(366)).await.unwrap();
        Scheduler { database, store, node }
    }

    /// `true` when it was killed in the middle; the next one is another process then.
    async fn turn(&mut self, now: Time, polls: Option<usize>) -> bool {
        let planner = Planner::new(self.store.clone(), Loaded::new(self.store.clone()), posthaste::dispatch::count_parts(), self.node);
        let Some(polls) = polls else {
            planner.turn(now).await.unwrap();
            return false;
        };
        if let Some(turn) = killed_after(polls, planner.turn(now)).await {
            turn.unwrap();
            return false;
        }
        if self.database.name == "postgres" {
            self.store.close().await;
        }
        // Whoever starts on the same machine sees that it is gone.
        self.database.store.remove_node(self.node).await.unwrap();
        *self = Scheduler::new(self.database).await;
        true
    }
}

const REST: &str = "class: advertising\ntopic: offers\ncategory: retail\ntask: grow\ngoal: { event: purchase, within: 1 day }\n\
                    audience: { segment: everyone, holdout: 0% }\nmessage: { template: hello, subject: \"Hello\" }\n";
const MISSED: &str = "overlap: allow, if_missed: { run: all, within: 60 days }";

#[tokio::test]
async fn a_year_with_two_schedulers_killed_at_random_has_one_run_for_each_instant() {
    for database in databases().await {
        let mut world = World::new(&database);
        let campaigns = [
            ("night", "every: day at 03:30, zone: Europe/Kyiv"),
            ("work", "cron: \"0 9 * * 1-5\", zone: America/New_York"),
            ("own", "every: sunday at 10:00, zone: recipient"),
        ];
        for (key, schedule) in campaigns {
            world.campaign(key, &format!("{REST}schedule: {{ {schedule}, {MISSED} }}\n"));
        }
        for number in 0..3 {
            world.person(&format!("p{number}@example.org")).await;
        }
        if database.name == "sqlite" {
            // It is processes that die here, not machines: what was committed need not be on the disk.
            world.execute("PRAGMA synchronous = OFF").await;
        }
        let start: Time = "2027-01-01T00:00:00Z".parse().unwrap();
        let end = start + TimeDelta::days(365);
        world.clock = posthaste::clock::Clock::standing_at(start);
        world.apply().await;
        let (mut now, mut numbers, mut killed) = (start, Numbers(7), 0);
        // PostgreSQL takes connections anew for each scheduler: longer steps there.
        let step = if database.name == "postgres" { 18 * 60 } else { 9 * 60 };
        let mut schedulers = (Scheduler::new(&database).await, Scheduler::new(&database).await);
        while now < end {
            now = (now + TimeDelta::minutes(numbers.below(step) as i64)).min(end);
            let mut polls = || (numbers.below(3) > 0).then(|| 1 + numbers.below(40) as usize);
            let (one, other) = (polls(), polls());
            if database.name == "postgres" {
                let (first, second) = tokio::join!(schedulers.0.turn(now, one), schedulers.1.turn(now, other));
                killed += u32::from(first) + u32::from(second);
            } else {
                killed += u32::from(schedulers.0.turn(now, one).await);
                killed += u32::from(schedulers.1.turn(now, other).await);
            }
        }
        // The last one lives; on PostgreSQL it may first wait for the lock of a dead one to go.
        for _ in 0..50 {
            schedulers.0.turn(end, None).await;
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert!(killed > 150, "{}: {killed} kills", database.name);
        let dates: Vec<NaiveDate> = start.date_naive().iter_days().take(366).collect();
        let night: BTreeSet<String> = dates.iter().filter_map(|date| due("Europe/Kyiv", *date, 3, 30, start, end)).collect();
        let is_working = |date: &&NaiveDate| !matches!(date.weekday(), Weekday::Sat | Weekday::Sun);
        let work: BTreeSet<String> =
            dates.iter().filter(is_working).filter_map(|date| due("America/New_York", *date, 9, 0, start, end)).collect();
        // A run in each person's zone begins 26 hours before ten o'clock of the workspace's zone, which is UTC here.
        let until = end + TimeDelta::hours(26);
        let sundays = start.date_naive().iter_days().take(368).filter(|date| date.weekday() == Weekday::Sun);
        let own: BTreeSet<String> = sundays
            .map(|date| date.and_hms_opt(10, 0, 0).unwrap())
            .filter(|wall| wall.and_utc() <= until)
            .map(|wall| wall.format("%Y-%m-%dT%H:%M:%S").to_string())
            .collect();
        for (key, expected) in [("night", night), ("work", work), ("own", own)] {
            let runs = world.store.runs_of(Some(key)).await.unwrap();
            assert!(runs.iter().all(|run| run.planned_at.is_some()), "{}: {key}: all are planned", database.name);
            let found: Vec<String> = runs.into_iter().map(|run| run.occurrence).collect();
            assert_eq!(found.iter().cloned().collect::<BTreeSet<_>>().len(), found.len(), "{}: {key}: no run twice", database.name);
            assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected, "{}: {key}", database.name);
        }
        // Each run has its three people once: in blocks that hold them all, or refused, where a run in each person's zone came to be planned only
        // after their ten o'clock.
        let runs: i64 = world.number("SELECT COUNT(*) FROM runs").await;
        let late = "SELECT COUNT(*) FROM messages m JOIN runs r ON r.id = m.run_id JOIN campaigns c ON c.id = r.campaign_id
                    WHERE m.state = 0 AND m.reason = 7 AND c.key = 'own' AND r.planned_at > m.due_at";
        let late = world.number(late).await;
        assert_eq!(world.number("SELECT COUNT(*) FROM messages").await, 3 * runs);
        assert_eq!(world.number("SELECT COUNT(*) FROM messages WHERE state = 1").await, 3 * runs - late);
        let wrong = "SELECT COUNT(*) FROM (SELECT r.id FROM runs r LEFT JOIN messages m ON m.run_id = r.id GROUP BY r.id HAVING COUNT(DISTINCT m.customer_id) <> 3) AS x";
        assert_eq!(world.number(wrong).await, 0);
        let held: i64 = on_pool!(&world.store, pool => sqlx::query_as::<_, (i64,)>(
            "SELECT COUNT(*) FROM messages m JOIN blocks b ON b.run_id = m.run_id AND m.id BETWEEN b.first_id AND b.last_id").fetch_one(pool).await.unwrap().0);
        assert_eq!(held, 3 * runs - late);
    }
}

/// The name of the run of a local time: its instant, found by looking at the wall's clock every minute.
fn due(zone: &str, date: NaiveDate, hour: u32, minute: u32, start: Time, end: Time) -> Option<String> {
    let zone: chrono_tz::Tz = zone.parse().unwrap();
    let wanted = date.and_hms_opt(hour, minute, 0).unwrap();
    let mut now = wanted.and_utc() - TimeDelta::hours(6);
    while now.with_timezone(&zone).naive_local() < wanted {
        now += TimeDelta::minutes(1);
    }
    (now > start && now <= end).then(|| now.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}

#[tokio::test]
async fn a_planner_that_is_frozen_at_any_moment_writes_nothing_after_another_has_taken_over() {
    for database in databases().await {
        let mut world = World::new(&database);
        world.campaign("night", &format!("{REST}schedule: {{ every: day at 03:30, overlap: allow }}\n"));
        for number in 0..3 {
            world.person(&format!("p{number}@example.org")).await;
        }
        world.clock = posthaste::clock::Clock::standing_at("2027-01-01T00:00:00Z".parse().unwrap());
        world.apply().await;
        let first: Time = "2027-01-01T03:30:00Z".parse().unwrap();
        // The leases of both have ended: each may take over from the other at any time.
        let store = world.store.clone();
        let planner = async |name: &str| {
            let node = store.register_node(name, "here", "scheduler", first, first - TimeDelta::days(1)).await.unwrap();
            Planner::new(store.clone(), Loaded::new(store.clone()), posthaste::dispatch::count_parts(), node)
        };
        let (one, other) = (planner("one").await, planner("other").await);
        let (mut taken_over, mut inside, days) = (0, 0, 90);
        for day in 0..days {
            let now = first + TimeDelta::days(day);
            let mut frozen = Box::pin(one.turn(now));
            let ended = poll_so_often(1 + day as usize % 45, &mut frozen).await;
            // One that was frozen inside a transaction keeps it until it wakes, or the server ends it.
            let turn = tokio::time::timeout(std::time::Duration::from_millis(200), other.turn(now)).await;
            match turn {
                Ok(Ok(turn)) if ended.is_none() && !turn.planned.is_empty() => taken_over += 1,
                Ok(Err(error)) => panic!("{}: {error}", database.name),
                _ => inside += 1,
            }
            if ended.is_none() {
                frozen.await.unwrap();
            }
            for planner in [&other, &one] {
                let turn = planner.turn(now).await.unwrap();
                assert_eq!(turn.failed, Vec::<String>::new());
            }
            let rows = world.number("SELECT COUNT(*) FROM messages").await;
            assert_eq!(rows, 3 * (day + 1), "{}: frozen after {} waits", database.name, 1 + day % 45);
        }
        assert!(taken_over >= 3, "{}: {taken_over} take-overs of {days}, {inside} inside a transaction or after the end", database.name);
        assert_eq!(world.number("SELECT COUNT(*) FROM runs WHERE state = 2").await, days, "{}: all are ready", database.name);
        assert_eq!(world.number("SELECT COUNT(*) FROM blocks").await, days);
        assert_eq!(world.number("SELECT COUNT(*) FROM arms WHERE held_out = 0").await, days);
        assert_eq!(store.ledger_faults().await.unwrap(), Vec::<String>::new());
        eprintln!("{}: {taken_over} of {days} frozen planners were taken over from in the middle", database.name);
    }
}
