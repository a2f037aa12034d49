//! Hits while the database is away: answered when they are in the journal of the machine, and counted once when the database is back.

use crate::databases::{Database, databases, postgres};
use crate::processes::{command, posthaste};
use crate::respond::{accepted, add, read, seed};
use posthaste::clock::Clock;
use posthaste::server::{self, Settings, Site, State};
use posthaste::store::Store;
use posthaste::store::batch::Field;
use posthaste::tracking::{Click, Journal, Kind, Tokens};
use posthaste::types::{Channel, MessageId, VersionId};
use reqwest::{Client, StatusCode};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const BROWSER: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0.0.0 Safari/537.36";
const SIGNING: &str = "k1:signing-key-for-tests-only";

/// Holds the database so that nothing can be recorded, until it is dropped.
struct Held(Option<tokio::task::JoinHandle<()>>, Option<tokio::sync::oneshot::Sender<()>>);

impl Held {
    async fn hold(store: &Store) -> Held {
        let (held, is_held) = tokio::sync::oneshot::channel();
        let (release, released) = tokio::sync::oneshot::channel();
        let store = store.clone();
        let task = tokio::spawn(async move {
            let mut change = store.change("hold the database").await.unwrap();
            if let Store::Postgres(_) = store {
                change.connection().write("hold", "LOCK TABLE events IN ACCESS EXCLUSIVE MODE".into(), "").await.unwrap_or_default();
            }
            held.send(()).unwrap();
            let _ = released.await;
        });
        is_held.await.unwrap();
        Held(Some(task), Some(release))
    }

    async fn release(mut self) {
        let _ = self.1.take().unwrap().send(());
        self.0.take().unwrap().await.unwrap();
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    files
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so().await {
        assert!(Instant::now() < deadline, "{what}: not within 30 seconds");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn events(store: &Store) -> i64 {
    read(store, "SELECT COUNT(*), COUNT(*), COUNT(*) FROM events").await[0].0
}

/// A server in this process over a seeded base of a hundred people, with a journal.
struct Serving {
    tokens: Tokens,
    client: Client,
    address: String,
    state: State,
    folder: tempfile::TempDir,
    stop: CancellationToken,
}

impl Serving {
    async fn start(store: &Store) -> Serving {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().to_path_buf();
        let mut serving = Serving::start_with(store, &journal).await;
        serving.folder = folder;
        serving
    }

    async fn start_with(store: &Store, journal: &Path) -> Serving {
        let state = State::new(Settings {
            store: store.clone(),
            clock: Clock::standing_at(accepted() + chrono::TimeDelta::minutes(5)),
            tokens: Arc::new(Tokens::new(SIGNING).unwrap()),
            site: Site {
                workspace: "shop".into(),
                zone: chrono_tz::Europe::Kyiv,
                currency: "UAH".into(),
                link_hosts: BTreeSet::new(),
                languages: vec!["en".into()],
                fallback: BTreeMap::new(),
                topics: BTreeMap::new(),
                senders: BTreeMap::new(),
                sender: None,
            },
            slot: 0,
            api_key: None,
            view: None,
            intake: None,
            journal: Some(Journal::open(journal).unwrap()),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        tokio::spawn(server::serve(listener, state.clone(), stop.clone()));
        let client = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).user_agent(BROWSER).build().unwrap();
        Serving { tokens: Tokens::new(SIGNING).unwrap(), client, address, state, folder: tempfile::tempdir().unwrap(), stop }
    }

    /// Clicks on the first link of these people's messages, all at once; how long the slowest answer took.
    async fn clicks(&self, people: std::ops::RangeInclusive<i64>) -> Duration {
        let started = Instant::now();
        let clicks = people.map(|message| {
            let click =
                Click { message: MessageId(message), version: VersionId(1), link: 1, channel: Channel::Email, utm: false, target: None };
            let request = self.client.get(format!("{}/c/{}", self.address, self.tokens.sign_click(&click)));
            tokio::spawn(async move {
                let answer = request.send().await.unwrap();
                assert_eq!(
                    (answer.status(), &answer.headers()["location"]),
                    (StatusCode::FOUND, &"https://shop.example/1?a=1&b=2".parse().unwrap())
                );
            })
        });
        for click in clicks.collect::<Vec<_>>() {
            click.await.unwrap();
        }
        started.elapsed()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The version of the links that `seed` makes.
async fn define(store: &Store) {
    use Field::*;
    let fields = [
        ("id", Long),
        ("kind", Text),
        ("key", Text),
        ("version", Number),
        ("hash", Text),
        ("manifest", Json),
        ("state", Text),
        ("git_commit", Text),
        ("applied_by", Text),
        ("applied_at", Long),
    ];
    let definition = json!([{ "id": 1, "kind": "campaign", "key": "spring-sale", "version": 1, "hash": "", "manifest": {}, "state": "active",
                              "git_commit": "", "applied_by": "", "applied_at": 0 }]);
    add(store, "definitions", &fields, definition).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_database_delays_no_redirect_and_every_hit_counts_once() {
    for Database { store, name, .. } in databases().await {
        seed(&store, 100).await;
        define(&store).await;
        let serving = Serving::start(&store).await;
        serving.state.learn_links().await.unwrap();
        serving.clicks(1..=1).await;
        // On a machine that is busy even this one may come by way of the journal.
        until(name, async || events(&store).await == 1).await;
        let held = Held::hold(&store).await;
        let took = serving.clicks(2..=100).await;
        assert!(took < Duration::from_secs(5), "{name}: a hundred answers took {took:?}");
        assert!(!files(serving.folder.path()).is_empty(), "{name}: they are in the journal");
        held.release().await;
        until(name, async || events(&store).await == 100).await;
        until(name, async || files(serving.folder.path()).is_empty()).await;
        assert_eq!(events(&store).await, 100, "{name}: what was both in the queue and in the journal is there once");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_stops_writes_what_waits_and_leaves_the_rest_of_the_journal_to_the_next() {
    for Database { store, name, .. } in databases().await {
        seed(&store, 100).await;
        define(&store).await;
        let serving = Serving::start(&store).await;
        serving.state.learn_links().await.unwrap();
        let held = Held::hold(&store).await;
        serving.clicks(1..=100).await;
        let finishing = tokio::time::timeout(Duration::from_millis(200), serving.state.finish()).await;
        assert!(finishing.is_err(), "{name}: nothing can be written yet");
        held.release().await;
        serving.state.finish().await;
        assert_eq!(events(&store).await, 100, "{name}: what waited is written before the end");

        // Somebody else's hits are being replayed when the database is closed.
        let left = tempfile::tempdir().unwrap();
        let folder = left.path().join("hits");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(files(serving.folder.path()).first().unwrap(), folder.join("000001.hits")).unwrap();
        let kept = std::fs::read(folder.join("000001.hits")).unwrap();
        let held = Held::hold(&store).await;
        let next = Serving::start_with(&store, &folder).await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let closing = tokio::spawn({
            let store = store.clone();
            async move { store.close().await }
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        held.release().await;
        closing.await.unwrap();
        tokio::time::timeout(Duration::from_secs(30), next.state.finish()).await.unwrap();
        let left = files(&folder);
        // PostgreSQL writes them as soon as it is not held any more: then nothing is left.
        assert!(left.len() == 1 || matches!(store, Store::Postgres(_)), "{name}: {left:?}");
        for file in left {
            assert_eq!(std::fs::read(&file).unwrap(), kept, "{name}: {}", file.display());
            assert_eq!(file.file_name().unwrap(), "000001.hits", "{name}: it is as it was, for the next process");
        }
    }
}

/// A gate between the program and PostgreSQL that can be shut: what is open breaks, and nothing new is let in.
struct Gate {
    port: u16,
    is_open: Arc<AtomicBool>,
}

impl Gate {
    async fn to(address: String) -> Gate {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_open = Arc::new(AtomicBool::new(true));
        let seen = is_open.clone();
        tokio::spawn(async move {
            while let Ok((mut inside, _)) = listener.accept().await {
                if !seen.load(Ordering::SeqCst) {
                    continue;
                }
                let (seen, address) = (seen.clone(), address.clone());
                tokio::spawn(async move {
                    let mut outside = tokio::net::TcpStream::connect(address).await.unwrap();
                    let shut = async {
                        while seen.load(Ordering::SeqCst) {
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                    };
                    tokio::select! { _ = tokio::io::copy_bidirectional(&mut inside, &mut outside) => {}, () = shut => {} }
                });
            }
        });
        Gate { port, is_open }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_postgresql_away_links_lead_on_and_hits_are_counted_when_it_is_back() {
    let Some(database) = postgres().await else { return };
    seed(&database.store, 60).await;
    define(&database.store).await;
    let (server, name) = database.url.strip_prefix("postgres://postgres@").unwrap().split_once('/').unwrap();
    let gate = Gate::to(server.to_string()).await;
    let store = Store::connect(&format!("postgres://postgres@127.0.0.1:{}/{name}", gate.port)).await.unwrap();
    let serving = Serving::start(&store).await;
    // Nobody has clicked yet: the links are known from the start.
    serving.state.learn_links().await.unwrap();
    gate.is_open.store(false, Ordering::SeqCst);
    let took = serving.clicks(1..=50).await;
    assert!(took < Duration::from_secs(5), "fifty answers took {took:?}");
    let token = Tokens::new(SIGNING).unwrap().sign(Kind::Unsubscribe, MessageId(1));
    let form = serving.client.post(format!("{}/u/{token}", serving.address)).form(&[("List-Unsubscribe", "One-Click")]);
    let unsubscription = tokio::spawn(form.send());
    assert_eq!(events(&database.store).await, 0);
    assert!(!files(serving.folder.path()).is_empty());
    gate.is_open.store(true, Ordering::SeqCst);
    until("the journal is replayed", async || files(serving.folder.path()).is_empty()).await;
    assert_eq!(unsubscription.await.unwrap().unwrap().status(), 200, "it waited, and was answered when it was stored");
    until("the unsubscription", async || events(&database.store).await == 51).await;
    serving.clicks(51..=60).await;
    until("later clicks", async || events(&database.store).await == 61).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_between_the_answer_and_the_replay_loses_no_hit_and_counts_none_twice() {
    for database in databases().await {
        let (store, name) = (&database.store, database.name);
        let folder = tempfile::tempdir().unwrap();
        let workspace = folder.path();
        write_workspace(workspace);
        posthaste(workspace, &database.url, &["import", "customers", "customers.csv"]);
        posthaste(workspace, &database.url, &["apply", "--yes", "--now", "2027-03-01T09:00:00Z"]);
        posthaste(workspace, &database.url, &["run", "--plan-only", "--now", "2027-03-01T10:00:00Z"]);
        posthaste(workspace, &database.url, &["campaigns", "pause", "letter"]);
        let journal = workspace.join(".posthaste/hits");

        let (engine, address) = start(workspace, &database.url);
        // The links of the version are in memory a moment after the start.
        let tokens = Tokens::new(SIGNING).unwrap();
        let version = read(store, "SELECT MAX(version_id), MAX(version_id), MAX(version_id) FROM runs").await[0].0;
        let client = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).user_agent(BROWSER).build().unwrap();
        let preview =
            Click { message: MessageId(0), version: VersionId(version), link: 1, channel: Channel::Email, utm: false, target: None };
        let seen = client.get(format!("{address}/c/{}", tokens.sign_click(&preview))).send().await.unwrap();
        assert_eq!(seen.headers()["location"], "https://shop.kill.example/new", "{name}");
        let held = Held::hold(store).await;
        for message in 1..=20 {
            let open = client.get(format!("{address}/o/{}", tokens.sign(Kind::Open, MessageId(message)))).send().await.unwrap();
            assert_eq!(open.status(), 200, "{name}");
            let click = Click { message: MessageId(message), ..preview.clone() };
            let click = client.get(format!("{address}/c/{}", tokens.sign_click(&click))).send().await.unwrap();
            assert_eq!(click.status(), 302, "{name}");
        }
        drop(engine);
        held.release().await;
        assert_eq!(events(store).await, 0, "{name}: nothing had come to the database");
        let left = files(&journal);
        // Readers of SQLite are served while its writer waits: then a replay has begun, and a second file.
        assert!((1..=2).contains(&left.len()), "{name}: {left:?}");
        // A record that the kill tore: its length, and a part of what it promises.
        let mut file = std::fs::OpenOptions::new().append(true).open(left.last().unwrap()).unwrap();
        file.write_all(&[200, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, b'{', b'"']).unwrap();
        drop(file);
        let kept: Vec<Vec<u8>> = left.iter().map(|path| std::fs::read(path).unwrap()).collect();

        let (engine, _) = start(workspace, &database.url);
        until(name, async || files(&journal).is_empty()).await;
        assert_eq!(events(store).await, 40, "{name}: all that was answered, once");
        drop(engine);
        // As if the kill had come behind the replay and before the file was removed.
        for (number, content) in kept.iter().enumerate() {
            std::fs::write(journal.join(format!("00001{number}.hits")), content).unwrap();
        }
        let (engine, _) = start(workspace, &database.url);
        until(name, async || files(&journal).is_empty()).await;
        assert_eq!(events(store).await, 40, "{name}: a second replay repeats nothing");
        drop(engine);
    }
}

/// An engine with its server; kill -9 ends it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts an engine at a free port, and gives the address that it says.
fn start(workspace: &Path, database: &str) -> (Running, String) {
    let mut command = command(workspace, database, &["run", "--listen", "127.0.0.1:0", "--now", "2027-03-01T10:30:00Z"]);
    let mut running = Running(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    let mut said = String::new();
    let mut lines = BufReader::new(running.0.stderr.take().unwrap());
    loop {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).unwrap() > 0, "the engine ended:\n{said}");
        if let Some((_, rest)) = line.split_once("answers on ") {
            let address = rest.split(';').next().unwrap().to_string();
            // Its later lines must not fill the pipe.
            std::thread::spawn(move || lines.lines().for_each(drop));
            return (running, address);
        }
        said.push_str(&line);
    }
}

fn write_workspace(workspace: &Path) {
    let mut customers = String::from("external_id,email,first_name,consent.offers\n");
    for number in 0..20 {
        customers.push_str(&format!("K{number},person.{number}@kill.example,Person {number},email\n"));
    }
    for (path, text) in [
        (".env", format!("POSTHASTE_PEPPER=pepper-for-tests-only\nPOSTHASTE_SIGNING={SIGNING}\n")),
        ("customers.csv", customers),
        (
            "posthaste.yaml",
            "workspace: kill\npublic_url: https://go.kill.example\nzone: UTC\nlanguages: [ en ]\ncurrency: USD\ncategories: [ retail ]\n\
             topics: { offers: { title: \"Offers\", channels: [ email ], from: shop } }\n\
             identities: { shop: { postal_address: \"1 Main Street\", email: { name: \"The Shop\", address: news@mail.kill.example } } }\n\
             providers: { sink: { channel: email, kind: catcher } }\n"
                .into(),
        ),
        (
            "campaigns/letter.yaml",
            "campaign: letter\ntitle: \"A letter\"\nowner: ada@kill.example\nclass: advertising\ntopic: offers\ntask: grow\ncategory: retail\n\
             goal: { event: purchase, within: 7 days }\naudience: { segment: everyone, holdout: 0% }\nschedule: { at: 2027-03-01 10:00 }\n\
             message: { template: letter, subject: \"For you\" }\n"
                .into(),
        ),
        (
            "templates/letter.hbs",
            "<p>Hello {{first_name}} <a href=\"https://shop.kill.example/new\">see</a></p>\
             <p>{{identity.postal_address}} <a href=\"{{unsubscribe_url}}\">Unsubscribe</a></p>"
                .into(),
        ),
    ] {
        let path = workspace.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}
