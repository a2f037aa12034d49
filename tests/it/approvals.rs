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
