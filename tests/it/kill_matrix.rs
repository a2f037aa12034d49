//! The kill matrix: processes die at every labelled point of the way of a message, and at random moments. Nobody is lost, and nobody gets it twice but within
//! the bound that the ledger promises: under hold never, and what is not known is listed; under resend at most what was in flight at each death.
//!
//! There are two receivers, one over SMTP (letters) and one over HTTP (short messages by the provider kind `http`); both have each key on the disk before
//! they answer. A small matrix is always run. The big one does 100,000 messages, every point and 200 random deaths eight times: over SMTP and over HTTP,
//! under hold and under resend, on SQLite and on PostgreSQL. It says at the end how long that took; the goal is 20 minutes on two quiet cores:
//!
//! ```sh
//! cargo build --release --features kill-points
//! POSTHASTE_BINARY=$PWD/target/release/posthaste cargo test --test it the_whole_kill_matrix -- --ignored --nocapture
//! ```
//!
//! POSTHASTE_KILL_MESSAGES and POSTHASTE_KILLS make it smaller.

use crate::databases::{Database, databases};
use crate::processes::{command, free_port, posthaste};
use crate::receivers::{Moment, Receivers};
use crate::shop::{Shop, take_events, write_customers};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 8;
/// Marked and unanswered (design.md §6): twice the connections.
const IN_FLIGHT: usize = 2 * CONNECTIONS;

/// Points inside the process, in the words of `src/kill_points.rs`, and how often they are met before the process dies there.
const POINTS: [(&str, &[i64]); 7] = [
    ("mid-plan", &[1]),
    ("after-claim", &[1, 3]),
    ("after-render", &[1, 40]),
    ("before-mark", &[1, 9]),
    ("after-mark", &[1, 11]),
    ("after-reply", &[1, 60]),
    ("after-commit", &[1, 12]),
];

struct Matrix {
    messages: usize,
    random: usize,
    /// Each point is met so many times over.
    rounds: usize,
    sms: bool,
    resend: bool,
}

impl Matrix {
    fn name(&self, database: &Database) -> String {
        let what = if self.sms { "short messages" } else { "letters" };
        format!("{} {what} on {}, {}", self.messages, database.name, if self.resend { "resend" } else { "hold" })
    }

    async fn run(&self, database: &Database) {
        let begun = Instant::now();
        let folder = tempfile::tempdir().unwrap();
        let workspace = folder.path();
        let receivers = Receivers::start("127.0.0.1").await;
        let shop = Shop::letters(receivers.smtp.port(), CONNECTIONS);
        let gateway = format!(
            "{{ gate: {{ channel: sms, kind: http, url: \"http://{}/\", connections: {CONNECTIONS}, body: '{{\"to\": \"{{{{to}}}}\", \"key\": \"{{{{key}}}}\"}}' }} }}",
            receivers.http
        );
        let providers = if self.sms { gateway } else { shop.providers.clone() };
        Shop { providers, sms: self.sms, transactional: self.resend, ..shop }.write(workspace);
        write_customers(workspace, self.messages);
        posthaste(workspace, &database.url, &["import", "customers", "customers.csv"]);
        posthaste(workspace, &database.url, &["apply", "--yes", "--now", "2027-02-28T10:00:00Z"]);
        let mut life = Life { workspace, database, receivers: &receivers, started: 0, killed: 0, deaths: BTreeMap::new() };
        for _ in 0..self.rounds {
            for (point, counts) in POINTS {
                for count in counts {
                    life.dies_at_point(point, *count).await;
                }
            }
            for moment in Moment::ALL {
                for nth in [1, 50] {
                    life.dies_at_moment(moment, nth).await;
                }
            }
        }
        // Spread over what is left, so that each of them meets a process at work; each draws how much it gets done before.
        let mut chance = 0x9e37_79b9_7f4a_7c15_u64;
        for done in 0..self.random {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // What is uncertain under hold is done with too.
            let done_with = receivers.count() + if self.resend { 0 } else { (life.killed * IN_FLIGHT) as u64 };
            let each = (self.messages as u64).saturating_sub(done_with) / (self.random - done + 1) as u64;
            life.dies_after(1 + (chance >> 33) % (2 * each).saturating_sub(1).max(1)).await;
        }
        life.ends().await;
        let (killed, deaths) = (life.killed, std::mem::take(&mut life.deaths));
        self.check(workspace, database, &receivers, killed);
        eprintln!("  deaths on {}: {deaths:?}; {} s in all", database.name, begun.elapsed().as_secs());
        // With room for them, all of the random moments fall into a life.
        if self.messages >= 4 * IN_FLIGHT * (self.random + 40) {
            assert_eq!(deaths.get("at random").copied().unwrap_or(0), self.random, "{}: deaths at random moments", self.name(database));
        }
    }

    fn check(&self, workspace: &Path, database: &Database, receivers: &Receivers, killed: usize) {
        let name = self.name(database);
        let listed = posthaste(workspace, &database.url, &["export", "messages", "--format", "json"]).stdout;
        let mut states: BTreeMap<String, String> = BTreeMap::new();
        for line in listed.lines().filter(|line| !line.trim().is_empty()) {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            states.insert(row["address"].as_str().unwrap_or_default().to_string(), row["state"].as_str().unwrap_or_default().to_string());
        }
        assert_eq!(states.len(), self.messages, "{name}: the ledger names everybody once");
        let taken = receivers.taken();
        let strangers = taken.keys().filter(|key| !states.contains_key(*key)).count();
        assert_eq!(strangers, 0, "{name}: whoever got something stands in the ledger");
        let (mut uncertain, mut doubled, mut lost) = (0, 0, Vec::new());
        for (address, state) in &states {
            let times = taken.get(address).copied().unwrap_or(0);
            doubled += times.saturating_sub(1);
            match (state.as_str(), times) {
                ("accepted", 0) => lost.push(address),
                ("accepted", _) => {}
                ("uncertain", _) => uncertain += 1,
                (other, _) => {
                    let row = listed.lines().find(|line| line.contains(&format!("\"{address}\"")));
                    panic!("{name}: {address} is {other}: {row:?}")
                }
            }
        }
        eprintln!(
            "kill matrix, {name}: {killed} deaths, {} taken, {uncertain} listed as uncertain, {doubled} doubled, {} lost",
            taken.len(),
            lost.len()
        );
        assert_eq!(lost, Vec::<&String>::new(), "{name}: nobody is lost");
        if self.resend {
            assert_eq!(uncertain, 0, "{name}");
            assert!(doubled <= killed * IN_FLIGHT, "{name}: {doubled} doubled after {killed} deaths");
        } else {
            assert_eq!(doubled, 0, "{name}: nobody gets it twice");
            assert!(uncertain <= killed * IN_FLIGHT, "{name}: {uncertain} uncertain after {killed} deaths");
        }
    }
}

/// One life of the engine after the other.
struct Life<'a> {
    workspace: &'a Path,
    database: &'a Database,
    receivers: &'a Receivers,
    started: u32,
    killed: usize,
    deaths: BTreeMap<String, usize>,
}

impl Life<'_> {
    /// The engine, a minute later than the one before.
    fn command(&mut self) -> Command {
        self.started += 1;
        let now = format!("2027-03-01T{:02}:{:02}:00Z", 10 + self.started / 60, self.started % 60);
        let mut command = command(self.workspace, &self.database.url, &["run", "--until-idle", "--now", &now]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    async fn dies_at_point(&mut self, point: &str, count: i64) {
        let mut command = self.command();
        let child = command.env("POSTHASTE_KILL_AT", format!("{point}:{count}")).spawn().unwrap();
        let child = Arc::new(Mutex::new(child));
        self.ended(point, &child).await;
    }

    async fn dies_at_moment(&mut self, moment: Moment, nth: i64) {
        let child = Arc::new(Mutex::new(self.command().spawn().unwrap()));
        self.receivers.kill_at(moment, nth, child.clone());
        self.ended(&format!("{moment:?}"), &child).await;
        self.receivers.disarm();
    }

    async fn dies_after(&mut self, taken: u64) {
        let at = self.receivers.count() + taken;
        let child = Arc::new(Mutex::new(self.command().spawn().unwrap()));
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.receivers.count() < at && child.lock().unwrap().try_wait().unwrap().is_none() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let _ = child.lock().unwrap().kill();
        self.ended("at random", &child).await;
    }

    async fn ended(&mut self, point: &str, child: &Mutex<Child>) {
        let deadline = Instant::now() + Duration::from_secs(300);
        let status = loop {
            if let Some(status) = child.lock().unwrap().try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "{point}: the process neither dies nor ends");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        // Who has ended by itself was not met by the point: everything was done before.
        if status.code().is_none() {
            self.killed += 1;
            *self.deaths.entry(point.to_string()).or_default() += 1;
        } else {
            assert!(status.success(), "{point}: {status}");
        }
    }

    async fn ends(&mut self) {
        for _ in 0..3 {
            let status = self.command().status().unwrap();
            assert!(status.success(), "the last life ends well: {status}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_die_at_every_point_lose_nobody_and_double_nobody_beyond_the_bound() {
    for database in databases().await {
        // Each kind of message and each rule once, on one of the two databases.
        let is_sqlite = database.name == "sqlite";
        Matrix { messages: 2_500, random: 6, rounds: 1, sms: false, resend: !is_sqlite }.run(&database).await;
        if is_sqlite {
            continue;
        }
        let Some(second) = crate::databases::postgres().await else { continue };
        Matrix { messages: 1_500, random: 3, rounds: 1, sms: true, resend: false }.run(&second).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "100,000 messages and more than 200 deaths each, some minutes: see the head of this file"]
async fn the_whole_kill_matrix() {
    let number = |name: &str, usual: usize| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let (messages, random) = (number("POSTHASTE_KILL_MESSAGES", 100_000), number("POSTHASTE_KILLS", 200));
    let begun = Instant::now();
    for (sms, resend) in [(false, false), (false, true), (true, false), (true, true)] {
        for database in databases().await {
            Matrix { messages, random, rounds: 1, sms, resend }.run(&database).await;
        }
    }
    eprintln!("kill matrix: the whole took {:.1} minutes", begun.elapsed().as_secs_f64() / 60.0);
}

/// Events that come in over HTTP: what was answered is there, and what was not and is sent again is there once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_came_in_while_a_process_died_is_there_once() {
    for database in databases().await {
        let folder = tempfile::tempdir().unwrap();
        let workspace = folder.path();
        Shop::letters(25, 1).write(workspace);
        write_customers(workspace, 3);
        take_events(workspace);
        posthaste(workspace, &database.url, &["import", "customers", "customers.csv"]);
        posthaste(workspace, &database.url, &["apply", "--yes", "--now", "2027-02-28T10:00:00Z"]);
        let port = free_port();
        let listen = format!("127.0.0.1:{port}");
        let client = reqwest::Client::new();
        let mut died = 0;
        for (number, kill) in ["before-intake:1", "after-intake:1", "after-intake:2", ""].into_iter().enumerate() {
            let arguments = ["run", "--listen", &listen, "--now", "2027-02-28T11:00:00Z"];
            let mut command = command(workspace, &database.url, &arguments);
            let mut child = command.env("POSTHASTE_KILL_AT", kill).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let deadline = Instant::now() + Duration::from_secs(60);
            while std::net::TcpStream::connect(&listen).is_err() {
                assert!(Instant::now() < deadline, "the server did not start");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            // The shop sends everything again that it got no answer for, and the last time all of it.
            for id in 0..=number.min(2) {
                let event = serde_json::json!({ "customer": format!("K{id}"), "event": "purchase", "at": "2027-02-28T10:30:00Z", "id": format!("order-{id}") });
                let sent = client.post(format!("http://{listen}/events")).bearer_auth("key-for-tests").json(&event).send().await;
                died += usize::from(sent.is_err());
            }
            let _ = child.kill();
            child.wait().unwrap();
        }
        assert!(died >= 3, "{}: three lives ended in the middle of an event, not {died}", database.name);
        let events = posthaste(workspace, &database.url, &["export", "events", "--format", "json"]).stdout;
        assert_eq!(events.lines().filter(|line| line.contains("purchase")).count(), 3, "{}: {events}", database.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_is_killed_is_completed_by_the_next() {
    for number in 0..12_u64 {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("new.db").display());
        Shop::letters(25, 1).write(folder.path());
        let mut child = command(folder.path(), &url, &["migrate"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(4 * number));
        let _ = child.kill();
        child.wait().unwrap();
        posthaste(folder.path(), &url, &["migrate"]);
        posthaste(folder.path(), &url, &["runs", "list"]);
    }
}
