//! What the ledger leaves to people, and what it settles by itself: failed messages tried again, uncertain ones decided or proven, providers that do not answer.

use crate::databases::databases;
use crate::processes::{command, posthaste};
use crate::receivers::Receivers;
use crate::shop::{Shop, write_customers};
use crate::world::{PEPPER, SIGNING, World, advertising};
use posthaste::dispatch::{Identity, Lane, Lanes, Outlets};
use posthaste::engine::{Engine, Parts, Roles};
use posthaste::providers::{Outcome, Outgoing, Provider, Sending};
use posthaste::store::decisions::Settlement;
use posthaste::store::responses::{Counting, ResponseRow, Scope};
use posthaste::tracking::{Tokens, judge};
use posthaste::types::{Channel, Failure, MessageId, MessageState, Response, Time, Verdict};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio_util::sync::CancellationToken;

const SALE: &str = advertising!(
    "audience: { segment: everyone, holdout: 0% }\n",
    "schedule: { every: day at 10:00, from: 2027-03-01 }\n",
    "message: { template: hello, subject: \"Hello\" }\n",
);

async fn world(database: &crate::databases::Database, people: &[&str]) -> World {
    let mut world = World::new(database);
    world.campaign("sale", SALE);
    for email in people {
        world.person(email).await;
    }
    world.apply().await;
    world
}

fn at(time: &str) -> Time {
    format!("2027-03-01T{time}:00Z").parse().unwrap()
}

#[tokio::test]
async fn what_failed_is_tried_again_when_a_person_says_so_and_only_that() {
    for database in databases().await {
        let world = world(&database, &["ada@example.org", "blocked@example.org", "refuse@example.org"]).await;
        world.run_until("2027-03-01T10:10:00Z").await;
        assert_eq!(world.sums("sale").await, "selected 3, accepted 1, failed 2", "{}", database.name);
        let run = world.store.runs_of(Some("sale")).await.unwrap().remove(0);
        let failed = world.store.open_messages(run.id, MessageState::Failed).await.unwrap();
        let blocked: Vec<i64> =
            failed.iter().filter(|message| message.reason == Some(Failure::Blocked.code())).map(|message| message.id).collect();
        assert_eq!((failed.len(), blocked.len()), (2, 1));
        // Those that did not fail are not touched, whoever asks.
        let all: Vec<i64> = (1..=3).collect();
        world.store.settle_uncertain(run.id, &all, Settlement::Again, "ada", at("10:11")).await.unwrap();
        assert_eq!(world.store.retry_failed(run.id, &blocked, "ada", at("10:11")).await.unwrap(), 1);
        assert_eq!(world.sums("sale").await, "selected 3, retry 1, accepted 1, failed 1", "{}", database.name);
        world.execute("UPDATE messages SET address = 'mended@example.org' WHERE address = 'blocked@example.org'").await;
        world.execute("UPDATE addresses SET address = 'mended@example.org' WHERE address = 'blocked@example.org'").await;
        world.run_until("2027-03-01T10:20:00Z").await;
        assert_eq!(world.sums("sale").await, "selected 3, accepted 2, failed 1", "{}", database.name);
        assert_eq!(world.outbox(), ["ada@example.org", "mended@example.org"]);
        assert_eq!(world.number("SELECT COUNT(*) FROM runs WHERE state = 4").await, 1, "{}: the run is done again", database.name);
    }
}

#[tokio::test]
async fn an_uncertain_message_becomes_what_a_person_says() {
    for database in databases().await {
        for (settlement, expected, letters) in [
            (Settlement::Accepted, "selected 2, accepted 2", 2),
            (Settlement::Again, "selected 2, accepted 2", 3),
            (Settlement::Failed, "selected 2, accepted 1, failed 1", 2),
        ] {
            let Some(database) = again(&database).await else { continue };
            let world = world(&database, &["lost@example.org", "ada@example.org"]).await;
            world.run_until("2027-03-01T10:10:00Z").await;
            assert_eq!(world.sums("sale").await, "selected 2, uncertain 1, accepted 1", "{}", database.name);
            let run = world.store.runs_of(Some("sale")).await.unwrap().remove(0);
            let open: Vec<i64> =
                world.store.open_messages(run.id, MessageState::Uncertain).await.unwrap().iter().map(|message| message.id).collect();
            assert_eq!(world.store.settle_uncertain(run.id, &open, settlement, "ada", at("10:11")).await.unwrap(), 1);
            assert_eq!(
                world.store.settle_uncertain(run.id, &open, settlement, "ada", at("10:11")).await.unwrap(),
                0,
                "a second time there is none"
            );
            world.run_until("2027-03-01T10:20:00Z").await;
            assert_eq!((world.sums("sale").await.as_str(), world.outbox().len()), (expected, letters), "{}: {settlement:?}", database.name);
        }
    }
}

/// A fresh database of the same kind.
async fn again(database: &crate::databases::Database) -> Option<crate::databases::Database> {
    match database.name {
        "sqlite" => Some(crate::databases::sqlite().await),
        _ => crate::databases::postgres().await,
    }
}

#[tokio::test]
async fn what_comes_back_to_an_uncertain_message_proves_that_it_arrived() {
    for database in databases().await {
        let world = world(&database, &["lost@example.org", "ada@example.org"]).await;
        world.run_until("2027-03-01T10:10:00Z").await;
        let lost = world.number("SELECT id FROM messages WHERE state = 6").await;
        let opened = ResponseRow {
            message: MessageId(lost),
            response: Response::Opened,
            at: at("10:15"),
            received_at: at("10:15"),
            link: 0,
            visit: None,
            verdict: Verdict::Machine,
            bounce: None,
            scope: Scope::default(),
            source: "pixel".into(),
            source_key: [7; 16],
        };
        let counting = Counting { zone: chrono_tz::UTC, slot: 0, judge: judge::judge };
        world.store.record_responses(&[opened], &counting).await.unwrap();
        assert_eq!(world.sums("sale").await, "selected 2, accepted 2", "{}: even a machine opens only what arrived", database.name);
    }
}

/// Is away, or takes everything.
struct Moody {
    name: &'static str,
    is_away: AtomicBool,
    taken: AtomicUsize,
}

impl Provider for Moody {
    fn name(&self) -> &str {
        self.name
    }
    fn channel(&self) -> Channel {
        Channel::Email
    }
    fn width(&self) -> usize {
        2
    }
    fn send<'a>(&'a self, _: &'a Outgoing) -> Sending<'a> {
        Box::pin(async move {
            if self.is_away.load(Ordering::SeqCst) {
                return Outcome::Unreachable { after: None, reply: "no route to host".into() };
            }
            self.taken.fetch_add(1, Ordering::SeqCst);
            Outcome::Accepted { id: None, reply: "250 ok".into() }
        })
    }
}

#[tokio::test]
async fn who_does_not_answer_hands_its_messages_to_the_backup_and_gets_them_back() {
    for database in databases().await {
        let people: Vec<String> = (0..40).map(|number| format!("p{number}@example.org")).collect();
        let world = world(&database, &people.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let moody = |name, is_away| Arc::new(Moody { name, is_away: AtomicBool::new(is_away), taken: AtomicUsize::new(0) });
        let (first, spare) = (moody("first", true), moody("spare", false));
        let open = {
            let (first, spare) = (first.clone(), spare.clone());
            move |_: &posthaste::campaigns::Workspace| {
                let mut backup = Lane::new(spare.clone());
                backup.backup = true;
                let composer = Identity::new(Tokens::new(SIGNING).unwrap(), PEPPER, Default::default());
                Outlets { composer: Arc::new(composer), lanes: Arc::new(Lanes::new(vec![Lane::new(first.clone()), backup])) }
            }
        };
        let parts = Parts {
            store: world.store.clone(),
            clock: world.clock.clone(),
            open: Arc::new(open),
            arms: Default::default(),
            roles: Roles::ALL,
            stop: CancellationToken::new(),
        };
        let engine = Engine::start(parts).await.unwrap();
        engine.run_through(at("10:05")).await.unwrap();
        let taken = |provider: &Moody| provider.taken.load(Ordering::SeqCst);
        assert_eq!((taken(&first), taken(&spare)), (0, 40), "{}", database.name);
        assert_eq!(world.sums("sale").await, "selected 40, accepted 40", "{}: nobody was doubled or lost", database.name);
        assert_eq!(world.number("SELECT CAST(MAX(attempts) AS BIGINT) FROM messages").await, 1, "a try that met nobody does not count");
        let open = world.store.breakers().await.unwrap();
        assert_eq!((open.len(), open[0].2.as_str(), open[0].4.as_str()), (1, "first", "no route to host"), "{}", database.name);
        // The next day it is back: one message finds out, and from then on it has all of them again.
        first.is_away.store(false, Ordering::SeqCst);
        engine.run_through("2027-03-02T10:05:00Z".parse().unwrap()).await.unwrap();
        assert!(taken(&first) >= 1 && taken(&first) + taken(&spare) == 80, "{}", database.name);
        let before = taken(&first);
        engine.run_through("2027-03-03T10:05:00Z".parse().unwrap()).await.unwrap();
        assert_eq!(taken(&first) - before, 40, "{}", database.name);
        assert!(world.store.breakers().await.unwrap().is_empty());
        engine.end().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_show_what_is_uncertain_and_settle_it() {
    for database in databases().await {
        let folder = tempfile::tempdir().unwrap();
        let workspace = folder.path();
        let receivers = Receivers::start("127.0.0.1").await;
        Shop::letters(receivers.smtp.port(), 4).write(workspace);
        write_customers(workspace, 60);
        let does = |arguments: &[&str]| posthaste(workspace, &database.url, arguments);
        does(&["import", "customers", "customers.csv"]);
        does(&["apply", "--yes", "--now", "2027-02-28T10:00:00Z"]);
        let mut dying = command(workspace, &database.url, &["run", "--until-idle", "--now", "2027-03-01T10:00:00Z"]);
        let died = dying.env("POSTHASTE_KILL_AT", "after-mark:2").stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert_eq!(died.code(), None, "{}: it was killed", database.name);
        does(&["run", "--until-idle", "--now", "2027-03-01T10:01:00Z"]);
        let listed = does(&["runs", "uncertain", "letter", "1", "--format", "json"]).json();
        let open = listed.as_array().unwrap().clone();
        assert!(!open.is_empty() && open.len() <= 8, "{}: {listed}", database.name);
        let one = open[0]["customer"].as_str().unwrap();
        let said = does(&["runs", "uncertain", "letter", "1", "--settle", "failed", "--customer", one, "--yes"]).stderr;
        assert!(said.contains("1 uncertain messages of letter, run 1, would be taken for lost") && said.contains("1 settled"), "{said}");
        let said = does(&["runs", "uncertain", "letter", "1", "--settle", "again", "--yes"]).stderr;
        assert!(said.contains(&format!("{} settled", open.len() - 1)) || open.len() == 1, "{said}");
        let failed = does(&["runs", "failed", "letter", "1", "--format", "json"]).json();
        assert_eq!((failed.as_array().unwrap().len(), failed[0]["reason"].as_str()), (1, Some("unanswered")), "{failed}");
        let said = does(&["runs", "retry-failed", "letter", "1", "--reason", "blocked", "--yes"]).stderr;
        assert!(said.contains("1 unanswered: left as they are") && said.contains("0 of 1 failed messages"), "{said}");
        let said = does(&["runs", "retry-failed", "letter", "1", "--yes"]).stderr;
        assert!(said.contains("1 are due again"), "{said}");
        does(&["run", "--until-idle", "--now", "2027-03-01T12:00:00Z"]);
        let run = &does(&["runs", "list", "letter", "--format", "json"]).json()[0];
        assert_eq!((run["accepted"].as_u64(), run["state"].as_str()), (Some(60), Some("done")), "{}: {run}", database.name);
        let providers = does(&["providers", "--format", "json"]).json();
        assert_eq!((providers[0]["provider"].as_str(), providers[0]["state"].as_str()), (Some("sink"), Some("usual")), "{providers}");
    }
}
