//! kill -9 during import and during sending, twenty times each: nobody is lost, and nobody gets it twice but those listed as uncertain.
//!
//! The receiver is Postfix's smtp-sink, which keeps every letter it took in a file of its own.

use crate::databases;
use crate::processes::{command, posthaste};
use crate::shop::{Shop, write_customers};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const KILLS: usize = 20;
const CUSTOMERS: usize = 6_000;
const NOW: &str = "2027-03-01T10:00:00Z";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_is_killed_twenty_times_ends_with_everybody_once() {
    for database in databases::databases().await {
        let folder = tempfile::tempdir().unwrap();
        let workspace = folder.path();
        Shop::letters(25, 8).write(workspace);
        write_customers(workspace, 60_000);
        let mut killed = 0;
        for kill in 0..KILLS {
            let mut child = quiet(command(workspace, &database.url, &["import", "customers", "customers.csv"])).spawn().unwrap();
            // A little later each time, so that every stage of the work is met.
            let ended = wait_until(Duration::from_millis(40 + 60 * kill as u64), || child.try_wait().unwrap().is_some());
            if !ended {
                child.kill().unwrap();
                killed += 1;
            }
            child.wait().unwrap();
        }
        let last = posthaste(workspace, &database.url, &["import", "customers", "customers.csv", "--format", "json"]).json();
        assert_eq!(last["read"], 60_000, "{}: {last}", database.name);
        assert_eq!(last["rejected"], 0, "{}: {last}", database.name);
        let count = posthaste(workspace, &database.url, &["segments", "count", "agreed", "--format", "json"]).json();
        assert_eq!(count["customers"], 60_000, "{}: everybody is there once, with consent: {count}", database.name);
        eprintln!("kill: import on {}: {killed} of {KILLS} kills met a living process", database.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_killed_twenty_times_loses_nobody_and_doubles_nobody() {
    let Some(sink_program) = ["/usr/sbin/smtp-sink", "/usr/local/sbin/smtp-sink"].into_iter().find(|path| Path::new(path).exists()) else {
        eprintln!("kill: Postfix's smtp-sink is not installed; the story of killed runs is left out");
        return;
    };
    for database in databases::databases().await {
        let folder = tempfile::tempdir().unwrap();
        let workspace = folder.path();
        let sink = Sink::start(sink_program);
        Shop::letters(sink.port, 8).write(workspace);
        write_customers(workspace, CUSTOMERS);
        posthaste(workspace, &database.url, &["import", "customers", "customers.csv"]);
        posthaste(workspace, &database.url, &["apply", "--yes", "--now", "2027-02-28T10:00:00Z"]);
        let mut killed = 0;
        for kill in 0..KILLS {
            let mut child = quiet(command(workspace, &database.url, &["run", "--until-idle", "--now", NOW])).spawn().unwrap();
            // At so many letters received; the first kills meet planning.
            let at = if kill < 4 { 0 } else { sink.received() + 1 + (kill * 37) % 300 };
            let patience = if kill < 4 { Duration::from_millis(80 + 120 * kill as u64) } else { Duration::from_secs(20) };
            wait_until(patience, || child.try_wait().unwrap().is_some() || (at > 0 && sink.received() >= at));
            if child.try_wait().unwrap().is_none() {
                child.kill().unwrap();
                killed += 1;
            }
            child.wait().unwrap();
        }
        posthaste(workspace, &database.url, &["run", "--until-idle", "--now", NOW]);
        check(workspace, &database.url, &sink, database.name, killed);
    }
}

fn check(workspace: &Path, database: &str, sink: &Sink, name: &str, killed: usize) {
    let report = posthaste(workspace, database, &["report", "letter", "--format", "json", "--now", NOW]).json();
    let funnel = &report["funnel"];
    let number = |key: &str| funnel[key].as_u64().unwrap_or_else(|| panic!("{name}: {key} in {funnel}")) as usize;
    let (accepted, uncertain) = (number("accepted"), number("uncertain"));
    assert_eq!(number("selected"), CUSTOMERS, "{name}: {funnel}");
    assert_eq!(accepted + uncertain, CUSTOMERS, "{name}: nobody is lost: {funnel}");
    // In flight: twice the connections, design.md §6.
    assert!(uncertain <= killed * 2 * 8, "{name}: {uncertain} uncertain after {killed} kills");
    let listed = posthaste(workspace, database, &["export", "messages", "--format", "json"]).stdout;
    let mut states: BTreeMap<String, String> = BTreeMap::new();
    for line in listed.lines().filter(|line| !line.trim().is_empty()) {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        states.insert(row["address"].as_str().unwrap_or_default().to_string(), row["state"].as_str().unwrap_or_default().to_string());
    }
    assert_eq!(states.len(), CUSTOMERS, "{name}: the export names everybody once");
    let received = sink.letters();
    for (address, times) in &received {
        let state = states.get(address).unwrap_or_else(|| panic!("{name}: {address} got a letter and stands in no row"));
        assert!(*times == 1, "{name}: {address} ({state}) got {times} letters");
    }
    for (address, state) in &states {
        let times = received.get(address).copied().unwrap_or(0);
        match state.as_str() {
            "accepted" => assert_eq!(times, 1, "{name}: {address} is accepted"),
            "uncertain" => assert!(times <= 1, "{name}: {address} is uncertain"),
            other => panic!("{name}: {address} is {other}"),
        }
    }
    eprintln!("kill: sending on {name}: {killed} kills, {accepted} accepted, {uncertain} listed as uncertain, no letter twice");
}

struct Sink {
    port: u16,
    folder: tempfile::TempDir,
    child: Child,
}

impl Sink {
    fn start(program: &str) -> Sink {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("kept");
        std::fs::create_dir(&kept).unwrap();
        #[cfg(unix)]
        for path in [folder.path(), &kept] {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(program);
        if Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.starts_with(b"0")) {
            command.args(["-u", "nobody"]);
        }
        let child = quiet(command).args(["-d", &format!("{}/%M.", kept.display()), &format!("127.0.0.1:{port}"), "1000"]).spawn().unwrap();
        assert!(
            wait_until(Duration::from_secs(10), || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()),
            "smtp-sink did not start"
        );
        Sink { port, folder, child }
    }

    fn received(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("kept")).unwrap().count()
    }

    /// Address → how many whole letters.
    fn letters(&self) -> BTreeMap<String, usize> {
        let mut letters = BTreeMap::new();
        for entry in std::fs::read_dir(self.folder.path().join("kept")).unwrap() {
            let text = String::from_utf8_lossy(&std::fs::read(entry.unwrap().path()).unwrap()).into_owned();
            // A letter that was cut off in the middle was not taken: its last line is missing.
            if !text.contains("Unsubscribe") && !text.contains("List-Unsubscribe") {
                continue;
            }
            let address = text
                .lines()
                .find_map(|line| line.strip_prefix("X-Rcpt-Args: "))
                .map(|line| line.trim_start_matches('<').split('>').next().unwrap_or_default().to_string())
                .unwrap_or_default();
            *letters.entry(address).or_default() += 1;
        }
        letters
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn quiet(mut command: Command) -> Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Whether it came true within the time. A kill needs a moment of its own: this is the one place where tests look at the machine's time.
fn wait_until(patience: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
