//! Several processes on one PostgreSQL: one run started once, one message sent once, one pace kept together; who dies, freezes or loses the database is
//! survived, and its work is taken over.
//!
//! Small ones are always run. The big ones, with a release build, as root for the one that cuts a network:
//!
//! ```sh
//! cargo build --release
//! POSTHASTE_BINARY=$PWD/target/release/posthaste cargo test --test it machines -- --ignored --nocapture --test-threads 1
//! ```

use crate::databases;
use crate::processes::{command, posthaste};
use crate::receivers::Receivers;
use crate::shop::{Shop, write_customers};
use posthaste::store::Store;
use posthaste::types::RunState;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const NOW: &str = "2027-03-01T10:00:00Z";

/// Processes that end with the test.
struct Node(Child);

impl Node {
    fn start(mut command: Command) -> Node {
        Node(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn engine(workspace: &Path, database: &str) -> Node {
        Node::start(command(workspace, database, &["run", "--only", "scheduler,sender", "--now", NOW]))
    }

    fn signal(&self, signal: &str) {
        let done = Command::new("kill").args([signal, &self.0.id().to_string()]).status().unwrap();
        assert!(done.success());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn prepare(workspace: &Path, database: &str, shop: &Shop, people: usize) {
    shop.write(workspace);
    write_customers(workspace, people);
    posthaste(workspace, database, &["import", "customers", "customers.csv"]);
    posthaste(workspace, database, &["apply", "--yes", "--now", "2027-02-28T10:00:00Z"]);
}

fn with_rate(shop: Shop, per_second: usize) -> Shop {
    Shop { providers: shop.providers.replace(", connections:", &format!(", rate: {per_second} per second, connections:")), ..shop }
}

async fn until(what: &str, patience: Duration, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !done() {
        assert!(Instant::now() < deadline, "waited {patience:?} in vain until {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn run_of(workspace: &Path, database: &str) -> serde_json::Value {
    let mut runs = posthaste(workspace, database, &["runs", "list", "letter", "--format", "json"]).json();
    assert_eq!(runs.as_array().unwrap().len(), 1, "one occurrence is one run, whoever started it: {runs}");
    runs[0].take()
}

/// Each key is 0 or 1 times at the receiver, 0 only where it is uncertain. Gives how many are uncertain.
fn check(workspace: &Path, database: &str, receivers: &Receivers, people: usize) -> usize {
    let listed = posthaste(workspace, database, &["export", "messages", "--format", "json"]).stdout;
    let taken = receivers.taken();
    let mut states: BTreeMap<String, usize> = BTreeMap::new();
    for line in listed.lines().filter(|line| !line.trim().is_empty()) {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let (address, state) = (row["address"].as_str().unwrap(), row["state"].as_str().unwrap());
        let times = taken.get(address).copied().unwrap_or(0);
        assert!(times == 1 || times == 0 && state == "uncertain", "{address} is {state} and was taken {times} times");
        *states.entry(state.to_string()).or_default() += 1;
    }
    assert_eq!(states.values().sum::<usize>(), people, "{states:?}");
    let uncertain = states.get("uncertain").copied().unwrap_or(0);
    assert_eq!(states.get("accepted").copied().unwrap_or(0) + uncertain, people, "{states:?}");
    uncertain
}

/// Two processes: one is frozen for twice its lease and wakes, then the other is killed.
async fn frozen_and_killed(people: usize, connections: usize, per_second: usize) {
    let Some(database) = databases::postgres().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let workspace = folder.path();
    let receivers = Receivers::start("127.0.0.1").await;
    prepare(workspace, &database.url, &with_rate(Shop::letters(receivers.smtp.port(), connections), per_second), people);
    let (frozen, killed) = (Node::engine(workspace, &database.url), Node::engine(workspace, &database.url));
    let part = |share: f64| (people as f64 * share) as u64;
    until("a quarter is there", Duration::from_secs(300), || receivers.count() > part(0.15)).await;
    frozen.signal("-STOP");
    tokio::time::sleep(Duration::from_secs(20)).await;
    let nodes = posthaste(workspace, &database.url, &["nodes", "--format", "json", "--now", "2027-03-01T10:00:30Z"]).json();
    assert_eq!(nodes.as_array().unwrap().len(), 2, "{nodes}");
    frozen.signal("-CONT");
    let woken = receivers.count();
    until("more is there", Duration::from_secs(300), || receivers.count() > woken + part(0.1) || receivers.count() > part(0.9)).await;
    let at_death = receivers.count();
    drop(killed);
    until("the run is done", Duration::from_secs(600), || run_of(workspace, &database.url)["state"] == "done").await;
    let uncertain = check(workspace, &database.url, &receivers, people);
    assert!(uncertain <= 2 * 2 * connections, "{uncertain} uncertain: more than were in flight at the freeze and at the death");
    assert!(at_death < people as u64, "all was over before the death");
    eprintln!(
        "machines: {people} letters, frozen at {}, woken at {woken}, killed at {at_death}: {uncertain} uncertain, nobody doubled",
        part(0.15)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_one_freezes_and_one_dies_and_nobody_is_lost_or_doubled() {
    frozen_and_killed(6_000, 8, 150).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "100,000 messages: see the head of this file"]
async fn of_two_processes_with_16_workers_one_freezes_and_one_dies_in_100_000_messages() {
    frozen_and_killed(100_000, 16, 1_500).await;
}

/// The run's state and how many rows it has.
async fn plan_so_far(store: &Store) -> (Option<RunState>, i64) {
    let Store::Postgres(pool) = store else { unreachable!() };
    let (rows,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM messages").fetch_one(pool).await.unwrap();
    (store.runs_of(Some("letter")).await.unwrap().first().map(|run| run.state), rows)
}

/// A process that is frozen in the middle of planning loses the right to plan: another one drops what was written and plans anew. When the first wakes,
/// it writes nothing more of its plan, and lives on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_freezes_while_it_plans_loses_the_run_to_another_and_writes_nothing_when_it_wakes() {
    let Some(database) = databases::postgres().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let workspace = folder.path();
    let receivers = Receivers::start("127.0.0.1").await;
    let people = 60_000;
    let shop = Shop::letters(receivers.smtp.port(), 8);
    shop.write(workspace);
    // A long plan, and few letters.
    let campaign = workspace.join("campaigns/letter.yaml");
    let text = std::fs::read_to_string(&campaign).unwrap().replace("holdout: 0%", "holdout: 99%");
    std::fs::write(&campaign, text).unwrap();
    write_customers(workspace, people);
    posthaste(workspace, &database.url, &["import", "customers", "customers.csv"]);
    posthaste(workspace, &database.url, &["apply", "--yes", "--now", "2027-02-28T10:00:00Z"]);
    let frozen = Node::engine(workspace, &database.url);
    let deadline = Instant::now() + Duration::from_secs(60);
    while plan_so_far(&database.store).await.1 == 0 {
        assert!(Instant::now() < deadline, "nothing was planned");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    frozen.signal("-STOP");
    let (state, written) = plan_so_far(&database.store).await;
    assert!(state == Some(RunState::Planning) && written < people as i64, "the plan was complete before the freeze: {state:?}, {written}");
    let other = Node::engine(workspace, &database.url);
    until("the run is done", Duration::from_secs(120), || run_of(workspace, &database.url)["state"] == "done").await;
    let before = (plan_so_far(&database.store).await, receivers.count());
    assert_eq!(before.0, (Some(RunState::Done), people as i64));
    let letters = receivers.count();
    frozen.signal("-CONT");
    // Long enough for it to write, to ask for the right again, and to look for work.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((plan_so_far(&database.store).await, receivers.count()), before, "who woke has written or sent something");
    assert!(receivers.taken().values().all(|times| *times == 1) && receivers.taken().len() as u64 == letters, "somebody was doubled");
    assert_eq!(database.store.ledger_faults().await.unwrap(), Vec::<String>::new());
    let (mut frozen, mut other) = (frozen, other);
    assert!(frozen.0.try_wait().unwrap().is_none() && other.0.try_wait().unwrap().is_none(), "both live on");
    eprintln!(
        "machines: frozen with {written} of {people} rows planned; another process planned the run anew and sent its {letters} letters"
    );
}

/// Most that arrived within any second.
fn most_in_a_second(arrivals: &[Instant]) -> usize {
    let mut most = 0;
    let mut first = 0;
    for (index, at) in arrivals.iter().enumerate() {
        while at.duration_since(arrivals[first]) >= Duration::from_secs(1) {
            first += 1;
        }
        most = most.max(index - first + 1);
    }
    most
}

/// Three processes keep one pace together: at the receiver at most 1.05 × rate + burst in any second, where the burst is a tenth of a second's worth.
async fn keep_a_pace(people: usize, per_second: usize) {
    let Some(database) = databases::postgres().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let workspace = folder.path();
    let receivers = Receivers::start("127.0.0.1").await;
    prepare(workspace, &database.url, &with_rate(Shop::letters(receivers.smtp.port(), 8), per_second), people);
    let nodes: Vec<Node> = (0..3).map(|_| Node::engine(workspace, &database.url)).collect();
    let patience = Duration::from_secs(60 + 3 * (people / per_second) as u64);
    until("all are there", patience, || receivers.count() == people as u64).await;
    until("the run is done", Duration::from_secs(60), || run_of(workspace, &database.url)["state"] == "done").await;
    drop(nodes);
    assert_eq!(check(workspace, &database.url, &receivers, people), 0);
    let arrivals = receivers.arrivals();
    let most = most_in_a_second(&arrivals);
    let took = arrivals.last().unwrap().duration_since(arrivals[0]).as_secs_f64();
    let reached = people as f64 / took;
    eprintln!(
        "machines: {people} letters by three processes at {per_second} per second: at most {most} in a second, {reached:.1} on average"
    );
    let bound = 1.05 * per_second as f64 + (per_second as f64 / 10.0).max(1.0);
    assert!(most as f64 <= bound, "{most} in a second are more than {bound}");
    // The pace is kept, not only not exceeded.
    assert!(reached > 0.5 * per_second as f64, "{reached} on average");
}

/// `limits.rate` of a campaign, by one process, on both databases: its provider would be faster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_keeps_its_own_pace() {
    let (people, per_second) = (120, 40);
    for database in databases::databases().await {
        let folder = tempfile::tempdir().unwrap();
        let workspace = folder.path();
        let receivers = Receivers::start("127.0.0.1").await;
        let shop = Shop::letters(receivers.smtp.port(), 8);
        let schedule = format!("{}\nlimits: {{ rate: {per_second} per second }}", shop.schedule);
        prepare(workspace, &database.url, &Shop { schedule, ..shop }, people);
        let node = Node::start(command(workspace, &database.url, &["run", "--until-idle", "--now", NOW]));
        until("all are there", Duration::from_secs(60), || receivers.count() == people as u64).await;
        until("the run is done", Duration::from_secs(60), || run_of(workspace, &database.url)["state"] == "done").await;
        drop(node);
        assert_eq!(check(workspace, &database.url, &receivers, people), 0);
        // A tenth of a second's worth may come at once.
        let most = most_in_a_second(&receivers.arrivals());
        assert!(most as f64 <= 1.05 * f64::from(per_second) + 4.0, "{}: {most} in a second", database.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_keep_one_pace_together() {
    keep_a_pace(1_500, 150).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a quiet machine: see the head of this file"]
async fn three_processes_keep_a_fast_and_a_slow_pace_together() {
    keep_a_pace(20_000, 600).await;
    keep_a_pace(100, 4).await;
}

fn ip(arguments: &str) -> bool {
    Command::new("ip").args(arguments.split_whitespace()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Two machines as network namespaces, each with a line to the database and one to the receiver.
struct Network;

impl Network {
    fn build() -> Option<Network> {
        drop(Network);
        for number in [1, 2] {
            let built = ip(&format!("netns add posthaste{number}"))
                && [("data", 10), ("mail", 20)].iter().all(|(line, net)| {
                    let net = net + number;
                    ip(&format!("link add ph{line}{number} type veth peer name {line} netns posthaste{number}"))
                        && ip(&format!("addr add 10.231.{net}.1/30 dev ph{line}{number}"))
                        && ip(&format!("link set ph{line}{number} up"))
                        && ip(&format!("-n posthaste{number} addr add 10.231.{net}.2/30 dev {line}"))
                        && ip(&format!("-n posthaste{number} link set {line} up"))
                })
                // One address for the receiver, whichever way leads there.
                && ip(&format!("-n posthaste{number} route add 10.231.99.1/32 via 10.231.{}.1", 20 + number));
            if !built {
                return None;
            }
        }
        ip("addr add 10.231.99.1/32 dev lo").then_some(Network)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for number in [1, 2] {
            ip(&format!("netns del posthaste{number}"));
            ip(&format!("link del phdata{number}"));
            ip(&format!("link del phmail{number}"));
        }
        ip("addr del 10.231.99.1/32 dev lo");
    }
}

/// Each of the two machines loses the database for half a minute in the middle of the run, one after the other; then everything completes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and network namespaces: see the head of this file"]
async fn who_loses_the_database_for_half_a_minute_hands_nothing_over_and_everything_completes() {
    let Some(_network) = Network::build() else { panic!("network namespaces cannot be made here") };
    let server = databases::Server::start("0.0.0.0").unwrap();
    let local = server.database("cut").await;
    let folder = tempfile::tempdir().unwrap();
    let workspace = folder.path();
    let receivers = Receivers::start("0.0.0.0").await;
    let people = 40_000;
    let shop = with_rate(Shop::letters(receivers.smtp.port(), 16), 500);
    let shop = Shop { providers: shop.providers.replace("127.0.0.1", "10.231.99.1"), ..shop };
    prepare(workspace, &local, &shop, people);
    let nodes: Vec<Node> = [1, 2]
        .iter()
        .map(|number| {
            let database = server.url(&format!("10.231.{}.1", 10 + number), "cut");
            let inner = command(workspace, &database, &["run", "--only", "scheduler,sender", "--now", NOW]);
            let mut outer = Command::new("ip");
            outer
                .args(["netns", "exec", &format!("posthaste{number}")])
                .arg(inner.get_program())
                .args(inner.get_args())
                .current_dir(workspace);
            Node::start(outer)
        })
        .collect();
    until("the run is under way", Duration::from_secs(120), || receivers.count() > 3_000).await;
    let mut counts = Vec::new();
    for number in [1, 2] {
        let before = receivers.count();
        assert!(ip(&format!("link set phdata{number} down")));
        tokio::time::sleep(Duration::from_secs(30)).await;
        counts.push((before, receivers.count()));
        assert!(ip(&format!("link set phdata{number} up")));
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    // While the first was cut off, the second went on. (The first needs a while to find its way back to the database.)
    assert!(counts[0].1 > counts[0].0 + 2_000, "{counts:?}");
    until("the run is done", Duration::from_secs(400), || run_of(workspace, &local)["state"] == "done").await;
    let uncertain = check(workspace, &local, &receivers, people);
    assert!(uncertain <= 2 * 2 * 16, "{uncertain}");
    eprintln!(
        "machines: database cut off twice for 30 s, letters before and after {counts:?} of {people}: {uncertain} uncertain, nobody doubled, nobody lost"
    );
    drop(nodes);
}

/// The sample set-up in `deploy/` starts processes that this command understands.
#[test]
fn the_commands_of_the_sample_set_up_are_understood() {
    use clap::Parser;
    use posthaste::cli::{Cli, Command as Known};
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let fill = |text: &str| {
        let text = text.replace("${ROLES}", "scheduler,sender").replace("${LISTEN}", "127.0.0.1:8080");
        text.replace("${DATABASE_URL}", "postgres://db/posthaste")
    };
    let mut commands: Vec<Vec<String>> = Vec::new();
    for line in read("systemd/posthaste.service").lines().filter_map(|line| line.strip_prefix("ExecStart=")) {
        commands.push(fill(line).split_whitespace().skip(1).map(str::to_string).collect());
    }
    for line in read("compose.yaml").lines().filter_map(|line| line.trim().strip_prefix("command: [")) {
        // The quotes keep the comma of the roles.
        let words = line.trim_end_matches(']').split(", ").map(|word| word.trim().trim_matches('"').to_string());
        commands.push(words.collect());
    }
    assert_eq!(commands.len(), 5);
    for command in &commands {
        let known = Cli::try_parse_from(std::iter::once("posthaste".to_string()).chain(command.iter().cloned()));
        assert!(matches!(known.unwrap_or_else(|error| panic!("{command:?}: {error}")).command, Known::Run(_) | Known::Apply(_)));
    }
}
