//! Who comes first. A transactional message does not stand in line: while large runs are sent as fast as a slow receiver takes them, it leaves at once. And of
//! large runs that of higher priority gets more of the receiver, but never all.

use crate::databases::databases;
use crate::processes::{command, free_port, posthaste};
use crate::receivers::Receivers;
use crate::shop::{Shop, take_events, write_customers};
use std::io::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

const ORDER: &str = "campaign: order
title: \"Your order\"
owner: ada@kill.example
class: transactional
audience: { segment: everyone }
schedule: { when: { event: purchase } }
message: { from: shop, template: letter, subject: \"Your order\" }
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transactional_message_overtakes_large_runs_that_wait_for_a_slow_receiver() {
    for database in databases().await {
        let folder = tempfile::tempdir().unwrap();
        let workspace = folder.path();
        let receivers = Receivers::start("127.0.0.1").await;
        Shop::letters(receivers.smtp.port(), 4).write(workspace);
        // Five runs of 3,000 letters each: more than fit into the places for blocks.
        let letter = std::fs::read_to_string(workspace.join("campaigns/letter.yaml")).unwrap();
        for number in 2..=5 {
            let name = format!("campaigns/letter-{number}.yaml");
            std::fs::write(workspace.join(name), letter.replace("campaign: letter", &format!("campaign: letter-{number}"))).unwrap();
        }
        std::fs::write(workspace.join("campaigns/order.yaml"), ORDER).unwrap();
        write_customers(workspace, 3_000);
        let mut customers = std::fs::OpenOptions::new().append(true).open(workspace.join("customers.csv")).unwrap();
        writeln!(customers, "BUYER,buyer@kill.example,,Buyer,").unwrap();
        take_events(workspace);
        posthaste(workspace, &database.url, &["import", "customers", "customers.csv"]);
        posthaste(workspace, &database.url, &["apply", "--yes", "--now", "2027-02-28T10:00:00Z"]);
        let port = free_port();
        let listen = format!("127.0.0.1:{port}");
        // Forty letters a second.
        receivers.be_slow(100);
        let mut run = command(workspace, &database.url, &["run", "--listen", &listen, "--now", "2027-03-01T10:00:00Z"]);
        let mut engine = run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let begun = Instant::now();
        while receivers.count() < 400 {
            assert!(begun.elapsed() < Duration::from_secs(120), "{}: only {} letters", database.name, receivers.count());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let client = reqwest::Client::new();
        let event = serde_json::json!({ "customer": "BUYER", "event": "purchase", "at": "2027-03-01T10:00:00Z", "id": "order-1" });
        let asked = Instant::now();
        let sent = client.post(format!("http://{listen}/events")).bearer_auth("key-for-tests").json(&event).send().await.unwrap();
        assert!(sent.status().is_success(), "{}", sent.status());
        while !receivers.taken().contains_key("buyer@kill.example") {
            assert!(asked.elapsed() < Duration::from_secs(60), "{}: the order's letter does not come", database.name);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let took = asked.elapsed();
        let (taken, running) = (receivers.count(), engine.try_wait().unwrap().is_none());
        let _ = engine.kill();
        let _ = engine.wait();
        eprintln!(
            "urgent, {}: {:.2} s from the event to the letter, {taken} of 15,001 letters were out",
            database.name,
            took.as_secs_f64()
        );
        assert!(running && taken < 14_000, "{}: the large runs were over", database.name);
        assert!(took < Duration::from_secs(3), "{}: {took:?}", database.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_large_runs_the_more_important_one_gets_more_and_the_other_does_not_starve() {
    const HIGH: usize = 5_000;
    const LOW: usize = 2_000;
    for database in databases().await {
        let folder = tempfile::tempdir().unwrap();
        let workspace = folder.path();
        let receivers = Receivers::start("127.0.0.1").await;
        Shop::letters(receivers.smtp.port(), 4).write(workspace);
        let letter = std::fs::read_to_string(workspace.join("campaigns/letter.yaml")).unwrap();
        std::fs::remove_file(workspace.join("campaigns/letter.yaml")).unwrap();
        let mut customers = String::from("external_id,email,phone,first_name,consent.offers\n");
        for (key, priority, count) in [("high", 90, HIGH), ("low", 10, LOW)] {
            let audience = format!("audience: {{ where: {{ attribute: external_id, starts_with: {key} }}, holdout");
            let file = letter.replace("campaign: letter", &format!("campaign: {key}\npriority: {priority}"));
            std::fs::write(
                workspace.join(format!("campaigns/{key}.yaml")),
                file.replace("audience: { segment: agreed, holdout", &audience),
            )
            .unwrap();
            customers.extend((0..count).map(|number| format!("{key}{number},{key}.{number}@kill.example,,Ada,email\n")));
        }
        std::fs::write(workspace.join("customers.csv"), customers).unwrap();
        posthaste(workspace, &database.url, &["import", "customers", "customers.csv"]);
        posthaste(workspace, &database.url, &["apply", "--yes", "--now", "2027-02-28T10:00:00Z"]);
        // Both are planned before anything leaves.
        posthaste(workspace, &database.url, &["run", "--plan-only", "--now", "2027-03-01T10:00:00Z"]);
        receivers.be_slow(2);
        posthaste(workspace, &database.url, &["run", "--until-idle", "--now", "2027-03-01T10:00:30Z"]);
        let log = receivers.log();
        assert_eq!(log.len(), HIGH + LOW, "{}", database.name);
        // While both had something to send.
        let first_low = log.iter().position(|to| to.starts_with("low")).unwrap();
        let last_high = log.iter().rposition(|to| to.starts_with("high")).unwrap();
        assert!(first_low < 1_000 && last_high > HIGH, "{}: {first_low} {last_high}", database.name);
        let both = &log[first_low..last_high];
        let low = both.iter().filter(|to| to.starts_with("low")).count();
        let share = low as f64 / both.len() as f64;
        eprintln!("shares, {}: {low} of {} letters were of the less important run", database.name, both.len());
        // By the weights it is one place of eight.
        assert!((0.04..=0.3).contains(&share), "{}: {share}", database.name);
    }
}
