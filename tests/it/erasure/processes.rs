//! The same with real processes: files of the workspace, the journal of hits, the logs, and what the commands say.

use super::person::{EMAIL, EXTERNAL_ID, PEOPLE, PHONE, needles};
use crate::databases::databases;
use crate::processes::{Output, command, posthaste};
use crate::world::{PEPPER, SIGNING};
use posthaste::catcher::Catcher;
use posthaste::clock::Clock;
use posthaste::store::Store;
use posthaste::store::responses::{ResponseRow, Scope, Visit};
use posthaste::tracking::Journal;
use posthaste::types::{MessageId, Response, Time, Verdict};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

/// A workspace with a letter at ten and another at eleven, over SMTP at this port.
pub fn write_workspace(folder: &Path, port: u16) {
    let campaign = |key: &str, at: &str| {
        format!(
            "campaign: {key}\ntitle: \"A letter\"\nowner: ada@shop.example\nclass: advertising\ntopic: offers\ntask: grow\ncategory: retail\n\
             goal: {{ event: purchase, within: 7 days }}\naudience: {{ segment: everyone, holdout: 0% }}\nschedule: {{ at: {at} }}\n\
             message: {{ template: letter, subject: \"For you, {{{{first_name}}}}\" }}\n"
        )
    };
    for (path, text) in [
        (".env", format!("POSTHASTE_PEPPER={PEPPER}\nPOSTHASTE_SIGNING={SIGNING}\n")),
        (
            "posthaste.yaml",
            format!(
                "workspace: story\npublic_url: https://go.shop.example\nzone: UTC\ncountry: UA\nlanguages: [ en ]\ncurrency: EUR\ncategories: [ retail ]\n\
                 topics: {{ offers: {{ title: \"Offers\", channels: [ email, sms ], from: shop }} }}\n\
                 identities: {{ shop: {{ postal_address: \"1 Main Street\", email: {{ name: \"The Shop\", address: news@mail.shop.example }}, sms: {{ sender: SHOP }} }} }}\n\
                 providers: {{ sink: {{ channel: email, kind: smtp, host: 127.0.0.1, port: {port}, security: none }} }}\n\
                 retention: {{ events: 13 months, content: 90 days }}\n"
            ),
        ),
        ("campaigns/letter.yaml", campaign("letter", "2027-03-01 10:00")),
        ("campaigns/again.yaml", campaign("again", "2027-03-02 10:00")),
        ("campaigns/segments/buyers.yaml", "segment: buyers\ntitle: \"Buyers\"\nwhere: { event: purchase, within: 30 days }\n".into()),
        (
            "campaigns/segments/sleepers.yaml",
            "segment: sleepers\ntitle: \"Sleepers\"\nwhere: { not: { event: purchase, within: 30 days } }\n".into(),
        ),
        (
            "templates/letter.hbs",
            "<p>Hello {{first_name}} {{last_name}} of {{default town 'nowhere'}} <a href=\"https://shop.example/new\">see</a></p>\
             <p>{{identity.postal_address}} <a href=\"{{unsubscribe_url}}\">Unsubscribe</a></p>"
                .into(),
        ),
    ] {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

fn run(workspace: &Path, database: &str, arguments: &[&str], now: &str) -> Output {
    posthaste(workspace, database, &[arguments, &["--now", now]].concat())
}

/// Runs the engine with its log as talkative as `info`; gives the log.
fn engine(workspace: &Path, database: &str, now: &str) -> String {
    let mut command = command(workspace, database, &["run", "--until-idle", "--now", now]);
    let output = command.env("RUST_LOG", "posthaste=info").output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{log}");
    log
}

/// An open in the journal of this machine, as a database that was away leaves it.
async fn journaled(workspace: &Path, message: i64) {
    let at: Time = "2027-03-01T10:20:00Z".parse().unwrap();
    let visit = Visit { agent: "Oquendo-Browser/1.0".into(), network: "198.51.100.0".into(), ..Visit::default() };
    let row = ResponseRow {
        message: MessageId(message),
        response: Response::Opened,
        at,
        received_at: at,
        link: 0,
        visit: Some(visit),
        verdict: Verdict::Human,
        bounce: None,
        scope: Scope::Topic,
        source: String::new(),
        source_key: [5; 16],
    };
    Journal::open(&workspace.join(".posthaste/hits")).unwrap().append(&row, Default::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_logs_and_commands_keep_nothing_of_an_erased_person() {
    for database in databases().await {
        let catcher = Catcher::anywhere(Clock::standing_at("2027-03-01T09:00:00Z".parse().unwrap())).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let workspace = folder.path();
        write_workspace(workspace, catcher.smtp().port());
        let own_file = workspace.join("posthaste.db");
        // The workspace's own file on SQLite, so that it is under the scan.
        let url = database.url.strip_prefix("sqlite:").map_or(database.url.clone(), |_| format!("sqlite:{}", own_file.display()));
        std::fs::write(workspace.join("people.csv"), format!("{PEOPLE}CRM-XX,Zephyrine@,,Oquendo,,,,,\n")).unwrap();
        std::fs::write(
            workspace.join("events.csv"),
            format!("customer,event,at,note\n{EXTERNAL_ID},purchase,2027-02-20,a periwinkle teapot\n"),
        )
        .unwrap();
        let mut logs = String::new();
        run(workspace, &url, &["import", "customers", "people.csv"], "2027-03-01T09:00:00Z");
        run(workspace, &url, &["import", "events", "events.csv"], "2027-03-01T09:00:00Z");
        run(workspace, &url, &["apply", "--yes"], "2027-03-01T09:00:00Z");
        run(workspace, &url, &["simulate", "--days", "3"], "2027-03-01T09:10:00Z");
        run(workspace, &url, &["plan"], "2027-03-01T09:10:00Z");
        run(workspace, &url, &["test"], "2027-03-01T09:10:00Z");
        logs += &engine(workspace, &url, "2027-03-01T10:00:30Z");
        assert_eq!(catcher.count(), 2, "{}: both were written to\n{logs}", database.name);
        run(workspace, &url, &["export", "customers", "--format", "csv", "--to", "everybody.csv"], "2027-03-01T10:10:00Z");
        run(workspace, &url, &["customers", "export", EXTERNAL_ID, "--to", "hers"], "2027-03-01T10:10:00Z");
        let store = Store::connect(&url).await.unwrap();
        let hers = crate::respond::read(&store, "SELECT id, id, id FROM messages WHERE customer_id = 1 ORDER BY id LIMIT 1").await[0].0;
        journaled(workspace, hers).await;

        let erased = run(workspace, &url, &["customers", "erase", PHONE, "--yes"], "2027-03-01T10:30:00Z");
        for file in ["people.csv", "people.csv.rejected", "events.csv", "everybody.csv", "hers/customer.json"] {
            assert!(
                erased.stderr.contains(&format!("{file}\n")) || file == "people.csv.rejected",
                "{}: {file} is not named\n{}",
                database.name,
                erased.stderr
            );
        }
        assert!(erased.stderr.contains(".posthaste/erased"), "{}", erased.stderr);
        for file in ["people.csv", "people.csv.rejected", "events.csv", "everybody.csv"] {
            let _ = std::fs::remove_file(workspace.join(file));
        }
        std::fs::remove_dir_all(workspace.join("hers")).unwrap();
        // The journal is replayed by an engine that serves.
        let mut serving = command(workspace, &url, &["run", "--listen", "127.0.0.1:0", "--now", "2027-03-01T10:40:00Z"]);
        let log = std::fs::File::create(workspace.join("engine.log")).unwrap();
        let mut serving = serving.env("RUST_LOG", "posthaste=info").stderr(log).spawn().unwrap();
        let began = Instant::now();
        while std::fs::read_dir(workspace.join(".posthaste/hits")).unwrap().next().is_some() {
            assert!(began.elapsed() < Duration::from_secs(60), "the journal is not replayed");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        std::process::Command::new("kill").arg(serving.id().to_string()).status().unwrap();
        serving.wait().unwrap();
        let opened = "SELECT COUNT(*), COUNT(*), COUNT(*) FROM events WHERE name = 'message.opened' AND customer_id = 1";
        assert_eq!(crate::respond::read(&store, opened).await[0].0, 1, "{}: it was counted", database.name);
        assert!(store.scour().await.unwrap(), "{}", database.name);
        let nothing = BTreeSet::<String>::new();
        assert_eq!(needles().found_in_files(workspace), nothing, "{}", database.name);
        assert_eq!(needles().found_in_tables(&store).await, nothing, "{}", database.name);
        assert_eq!(needles().found_in(logs.as_bytes()), BTreeSet::new(), "{}: {logs}", database.name);

        // An old list comes back.
        std::fs::write(
            workspace.join("old.csv"),
            format!("external_id,email,first_name,consent.offers\nnew-id,{},Zephyrine,email\n", EMAIL.to_uppercase()),
        )
        .unwrap();
        let imported = run(workspace, &url, &["import", "customers", "old.csv"], "2027-03-02T09:00:00Z");
        assert!(imported.stderr.contains("1 row has an address of somebody who was erased: nothing is sent there"), "{}", imported.stderr);
        let log = engine(workspace, &url, "2027-03-02T10:00:30Z");
        assert_eq!(catcher.count(), 3, "{}: only the neighbour\n{log}", database.name);
        let why = run(workspace, &url, &["why", "new-id", "again"], "2027-03-02T10:10:00Z").stdout;
        assert!(why.contains("suppressed for erased since 2027-03-01"), "{}: {why}", database.name);
        let why = run(workspace, &url, &["why", "1", "again"], "2027-03-02T10:10:00Z").stdout;
        assert!(why.contains("erased on 2027-03-01"), "{}: {why}", database.name);
        store.close().await;
    }
}
