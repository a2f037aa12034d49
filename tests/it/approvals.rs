//! Runs so large that a second person must agree.

use crate::databases::databases;
use crate::processes::{command, posthaste};
use crate::shop::{Shop, write_customers};
use crate::world::{World, advertising};
use posthaste::engine::simulation::simulate;
use posthaste::store::approvals::Agreement;
use posthaste::types::Time;
use std::path::Path;
use std::process::Command;

const SALE: &str = advertising!("audience: { segment: everyone, holdout: 0% }\n", "schedule: { at: 2027-03-01 10:00 }\n",);
const RULE: &str = "policy: { approval: { class: advertising, above: 2 } }";

async fn world(database: &crate::databases::Database, rest: &str) -> World {
    let mut world = World::new(database);
    world.policy(RULE);
    world.campaign("sale", &format!("{SALE}{rest}message: {{ template: hello, subject: \"Hello\", expires: 1 day }}\n"));
    world.campaign("small", &format!("{SALE}limits: {{ audience: 2 }}\nmessage: {{ template: hello, subject: \"Hello\" }}\n"));
    for email in ["ada@example.org", "bo@example.org", "cy@example.org"] {
        world.person(email).await;
    }
    world
}

fn at(text: &str) -> Time {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_large_run_is_held_until_somebody_other_than_who_applied_it_agrees() {
    for database in databases().await {
        let world = world(&database, "").await;
        world.apply().await;
        let simulation = simulate(&world.store, None, at("2027-03-01T09:00:00Z"), 1).await.unwrap();
        assert_eq!(simulation.days[0].campaigns[0].other["held"], 3, "{}: nobody agrees in a simulation", database.name);
        world.run_until("2027-03-01T11:00:00Z").await;
        assert_eq!(world.sums("sale").await, "selected 3, held 3", "{}", database.name);
        assert_eq!(world.sums("small").await, "selected 3, over_audience 1, accepted 2");
        let run = world.store.runs_of(Some("sale")).await.unwrap().remove(0);
        assert!(run.is_held && run.waits_for_approval());
        assert_eq!(run.approval.as_ref().unwrap().why, "a second person must agree: 3 messages, more than 2");
        let row = world.store.rows_of_customer(run.campaign.0, 1).await.unwrap().remove(0);
        assert_eq!(row.held, run.approval.map(|approval| approval.why), "what `why` says");
        // Neither the one who applied nor a resume lets it go.
        let now = at("2027-03-01T11:00:00Z");
        assert_eq!(world.store.applied_by(run.id).await.unwrap().as_deref(), Some("ada"));
        assert_eq!(world.store.approve_run(run.id, "ada", now).await.unwrap(), Agreement::Refused);
        assert!(!world.store.resume_run(run.id).await.unwrap());
        assert_eq!(world.number("SELECT COUNT(*) FROM audit WHERE action = 'runs.approve'").await, 0);
        assert_eq!(world.store.approve_run(run.id, "bo", now).await.unwrap(), Agreement::Given);
        assert_eq!(world.store.approve_run(run.id, "cy", now).await.unwrap(), Agreement::Refused, "{}: once is enough", database.name);
        world.run_until("2027-03-01T12:00:00Z").await;
        assert_eq!(world.sums("sale").await, "selected 3, accepted 3", "{}", database.name);
        let run = world.store.run(run.id).await.unwrap().unwrap();
        assert_eq!(run.approval.unwrap().by, Some(("bo".to_string(), now)));
        assert_eq!(world.number("SELECT COUNT(*) FROM audit WHERE action = 'runs.approve' AND who = 'bo'").await, 1);
    }
}

#[tokio::test]
async fn what_waits_for_agreement_expires_or_is_cancelled_as_ever_and_another_stop_holds_on_its_own() {
    for database in databases().await {
        let world = world(&database, "stop_if: { audience_above: 2 }\n").await;
        world.apply().await;
        world.run_until("2027-03-01T11:00:00Z").await;
        let run = world.store.runs_of(Some("sale")).await.unwrap().remove(0);
        // Both reasons hold, each until somebody has decided.
        assert!(!world.store.resume_run(run.id).await.unwrap(), "{}", database.name);
        assert_eq!(world.store.approve_run(run.id, "bo", at("2027-03-01T11:00:00Z")).await.unwrap(), Agreement::StillHeld);
        world.run_until("2027-03-02T11:00:00Z").await;
        assert_eq!(world.sums("sale").await, "selected 3, held 3", "{}", database.name);
        assert!(world.store.resume_run(run.id).await.unwrap());
        world.run_until("2027-03-02T11:10:00Z").await;
        assert_eq!(world.sums("sale").await, "selected 3, expired 3", "{}: expiry went on", database.name);
    }
    for database in databases().await {
        let world = world(&database, "").await;
        world.apply().await;
        world.run_until("2027-03-01T11:00:00Z").await;
        assert_eq!(world.store.cancel_campaign("sale", at("2027-03-01T11:00:00Z")).await.unwrap(), 3, "{}", database.name);
        world.run_until("2027-03-01T12:00:00Z").await;
        assert_eq!(world.sums("sale").await, "selected 3, cancelled 3", "{}", database.name);
        let run = world.store.runs_of(Some("sale")).await.unwrap().remove(0);
        assert!(!run.is_held);
        assert_eq!(world.store.approve_run(run.id, "bo", at("2027-03-01T12:00:00Z")).await.unwrap(), Agreement::Refused);
    }
}

/// Who works in this workspace, by git's settings.
fn becomes(workspace: &Path, who: &str) {
    let git = |arguments: &[&str]| assert!(Command::new("git").arg("-C").arg(workspace).args(arguments).output().unwrap().status.success());
    git(&["init", "--quiet"]);
    git(&["config", "user.email", who]);
}

#[test]
fn the_commands_name_who_must_agree_and_refuse_the_one_who_applied() {
    let folder = tempfile::tempdir().unwrap();
    let workspace = folder.path();
    let mut shop = Shop::letters(1, 1);
    shop.providers = "{ texts: { channel: sms, kind: catcher }, mail: { channel: email, kind: catcher } }".into();
    shop.write(workspace);
    let file = workspace.join("posthaste.yaml");
    std::fs::write(&file, format!("{}policy: {{ approval: {{ above: 2 }} }}\n", std::fs::read_to_string(&file).unwrap())).unwrap();
    write_customers(workspace, 3);
    let url = format!("sqlite:{}", workspace.join("posthaste.db").display());
    let does = |arguments: &[&str]| posthaste(workspace, &url, arguments);
    let refused = |arguments: &[&str]| {
        let output = command(workspace, &url, arguments).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    becomes(workspace, "ada@shop.example");
    does(&["import", "customers", "customers.csv"]);
    let plan = does(&["plan", "--now", "2027-02-28T10:00:00Z"]).stdout;
    assert!(plan.contains("approval  a second person must agree: 3 messages, more than 2"), "{plan}");
    does(&["apply", "--yes", "--now", "2027-02-28T10:00:00Z"]);
    does(&["run", "--until-idle", "--now", "2027-03-01T10:00:00Z"]);
    let run = &does(&["runs", "list", "letter", "--format", "json"]).json()[0];
    assert_eq!((run["state"].as_str(), run["held"].as_u64()), (Some("held"), Some(3)), "{run}");
    assert!(does(&["runs", "show", "letter", "1"]).stderr.contains("`posthaste runs approve letter 1`"));
    assert!(does(&["why", "K1", "letter"]).stdout.contains("a second person must agree"));
    let report = does(&["report", "letter", "--format", "json"]).json();
    assert_eq!((report["funnel"]["held"].as_u64(), report["funnel"]["messages"].as_u64()), (Some(3), Some(3)));
    let (code, said) = refused(&["runs", "approve", "letter", "1", "--yes"]);
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("ada@shop.example applied this version of letter, so somebody else must agree"), "{said}");
    assert_eq!(refused(&["runs", "resume", "letter", "1"]).0, Some(5));
    becomes(workspace, "bo@shop.example");
    // Nobody is at the terminal to say yes.
    assert_eq!(refused(&["runs", "approve", "letter", "1"]).0, Some(5));
    let said = does(&["runs", "approve", "letter", "1", "--yes", "--now", "2027-03-01T10:05:00Z"]).stderr;
    assert!(said.contains("applied by ada@shop.example") && said.contains("3 messages wait"), "{said}");
    assert!(does(&["runs", "show", "letter", "1"]).stderr.contains("bo@shop.example agreed on 2027-03-01"));
    let (code, said) = refused(&["runs", "approve", "letter", "1", "--yes"]);
    assert_eq!(code, Some(1), "{said}");
}

/// Who has a number from 1 to `count` bought something; `entry` keeps the events of several calls apart.
async fn buys(world: &World, count: i64, entry: u8) {
    let key = world.store.pick("CAST(printf('%014d', c.id) || $2 AS BLOB)", "convert_to(lpad(c.id::text, 14, '0') || $2, 'UTF8')");
    let none = world.store.pick("'{}'", "'{}'::jsonb");
    let sql = format!(
        "INSERT INTO events (customer_id, name, occurred_at, received_at, properties, source_key)
         SELECT c.id, 'purchase', $3, $3, {none}, {key} FROM customers c WHERE c.id <= $1"
    );
    let now = posthaste::types::micros(world.clock.now());
    let entry = format!("{entry:02}");
    posthaste::on_writer!(&world.store, pool => { sqlx::query(sqlx::AssertSqlSafe(sql)).bind(count).bind(&entry).bind(now).execute(pool).await.unwrap(); });
    world
        .execute(
            "INSERT INTO starts (campaign_id, entry, customer_id, at) SELECT k.id, e.id, e.customer_id, e.occurred_at FROM events e
             JOIN campaigns k ON k.key = 'thanks' WHERE e.name = 'purchase' AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.entry = e.id)",
        )
        .await;
}

#[tokio::test]
async fn what_triggers_start_is_held_with_the_first_message_too_many_and_none_of_that_batch_has_left() {
    for database in databases().await {
        let mut world = World::new(&database);
        world.policy("policy: { approval: { class: advertising, above: 1500 } }");
        world.campaign(
            "thanks",
            &format!(
                "{}message: {{ template: hello, subject: \"Hello\", expires: 2 days }}\n",
                advertising!(
                    "audience: { segment: everyone, holdout: 0% }\n",
                    "schedule: { when: { event: purchase } }\n",
                    "if_inside: separate\n"
                )
            ),
        );
        world.crowd(900, &["UTC"]).await;
        world.apply().await;
        buys(&world, 900, 1).await;
        world.run_until("2027-03-01T09:10:00Z").await;
        assert_eq!(world.sums("thanks").await, "selected 900, accepted 900", "{}", database.name);
        // Exactly as many as may go.
        buys(&world, 600, 2).await;
        world.run_until("2027-03-01T09:20:00Z").await;
        assert_eq!(world.sums("thanks").await, "selected 1500, accepted 1500", "{}", database.name);
        // A person had paused the run: with the first message too many it waits for the agreement all the same.
        let run = world.store.runs_of(Some("thanks")).await.unwrap().remove(0);
        assert!(world.store.pause_run(run.id).await.unwrap());
        buys(&world, 1, 3).await;
        world.run_until("2027-03-01T09:30:00Z").await;
        let held = world.store.run(run.id).await.unwrap().unwrap();
        assert_eq!(held.approval.unwrap().why, "a second person must agree: 1501 messages, more than 1500", "{}", database.name);
        assert!(held.is_held && !world.store.resume_run(run.id).await.unwrap(), "{}", database.name);
        // What comes after it waits with it.
        buys(&world, 5, 4).await;
        world.run_until("2027-03-01T09:40:00Z").await;
        assert_eq!(world.sums("thanks").await, "selected 1506, held 6, accepted 1500", "{}", database.name);
        assert_eq!(world.number("SELECT COUNT(*) FROM audit WHERE action = 'hold'").await, 1, "{}", database.name);
        assert_eq!(world.store.approve_run(run.id, "ada", at("2027-03-01T09:40:00Z")).await.unwrap(), Agreement::Refused);
        assert_eq!(world.store.approve_run(run.id, "bo", at("2027-03-01T09:40:00Z")).await.unwrap(), Agreement::Given);
        buys(&world, 100, 5).await;
        world.run_until("2027-03-01T09:50:00Z").await;
        assert_eq!(world.sums("thanks").await, "selected 1606, accepted 1606", "{}: it is asked once", database.name);
    }
}

#[tokio::test]
async fn one_batch_of_triggers_over_the_threshold_waits_as_a_whole() {
    for database in databases().await {
        let mut world = World::new(&database);
        world.policy("policy: { approval: { above: 10 } }");
        world.campaign(
            "thanks",
            &format!(
                "{}message: {{ template: hello, subject: \"Hello\" }}\n",
                advertising!("audience: { segment: everyone, holdout: 0% }\n", "schedule: { when: { event: purchase } }\n")
            ),
        );
        world.crowd(1000, &["UTC"]).await;
        world.apply().await;
        buys(&world, 1000, 1).await;
        // Sending and planning by turns, as in the engine: sending comes right after the plan is written.
        world.run_until("2027-03-01T10:00:00Z").await;
        assert_eq!(world.sums("thanks").await, "selected 1000, held 1000", "{}", database.name);
        let run = world.store.runs_of(Some("thanks")).await.unwrap().remove(0);
        assert_eq!(run.approval.unwrap().why, "a second person must agree: 1000 messages, more than 10", "{}", database.name);
        assert!(world.outbox().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_right_after_the_rows_of_a_trigger_leaves_them_held() {
    for database in databases().await {
        let folder = tempfile::tempdir().unwrap();
        let workspace = folder.path();
        let mut shop = Shop::letters(1, 1);
        shop.providers = "{ mail: { channel: email, kind: catcher } }".into();
        shop.schedule = "{ when: { event: purchase } }".into();
        shop.write(workspace);
        let file = workspace.join("posthaste.yaml");
        std::fs::write(&file, format!("{}policy: {{ approval: {{ above: 4 }} }}\n", std::fs::read_to_string(&file).unwrap())).unwrap();
        write_customers(workspace, 5);
        posthaste(workspace, &database.url, &["import", "customers", "customers.csv"]);
        posthaste(workspace, &database.url, &["apply", "--yes", "--now", "2027-02-28T10:00:00Z"]);
        let events: String = (0..5).map(|number| format!("K{number},purchase,2027-02-28T11:00:00Z\n")).collect();
        std::fs::write(workspace.join("events.csv"), format!("customer,event,at\n{events}")).unwrap();
        posthaste(workspace, &database.url, &["import", "events", "events.csv", "--start", "--now", "2027-02-28T11:00:00Z"]);
        let mut dies = command(workspace, &database.url, &["run", "--until-idle", "--now", "2027-02-28T11:01:00Z"]);
        assert!(!dies.env("POSTHASTE_KILL_AT", "mid-plan:1").output().unwrap().status.success(), "{}", database.name);
        let runs = posthaste(workspace, &database.url, &["runs", "list", "letter", "--format", "json"]).json();
        assert_eq!((runs[0]["state"].as_str(), runs[0]["held"].as_u64()), (Some("held"), Some(5)), "{}: {runs}", database.name);
    }
}
