//! kill -9 during import, twenty times: nobody is lost and nobody is there twice. For sending see `kill_matrix`.

use crate::databases;
use crate::processes::{command, posthaste};
use crate::shop::{Shop, write_customers};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const KILLS: usize = 20;

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
