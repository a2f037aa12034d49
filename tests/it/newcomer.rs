//! What somebody meets who follows the steps that `init` prints, and takes a wrong one.

use crate::processes::{command, free_port};
use std::path::Path;

fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = command(folder, "sqlite:newcomer.db", arguments).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into(), String::from_utf8_lossy(&output.stderr).into())
}

#[test]
fn an_engine_says_what_it_did_and_what_waits_and_a_time_gone_by_is_not_applied() {
    let outside = tempfile::tempdir().unwrap();
    let (code, said, _) = run(outside.path(), &["init", "shop", "--people", "30"]);
    assert_eq!(code, Some(0));
    assert!(said.contains("posthaste catcher"), "{said}");
    let shop = outside.path().join("shop");
    // Nobody listens there.
    let file = shop.join("posthaste.yaml");
    let written = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        written
            .replace("letters: { channel: email, kind: catcher }", "letters: { channel: email, kind: catcher, address: \"127.0.0.1:9\" }"),
    )
    .unwrap();

    assert_eq!(run(&shop, &["import", "customers", "sample/customers.csv"]).0, Some(0));
    let (code, problems, _) = run(&shop, &["apply", "--yes", "--now", "2028-01-01T10:00:00Z"]);
    assert_eq!(code, Some(3), "{problems}");
    assert!(problems.contains("the campaign's time is in the past") && problems.contains("campaigns/spring-sale.yaml"), "{problems}");
    assert_eq!(run(&shop, &["apply", "--yes", "--now", "2027-03-01T20:00:00Z"]).0, Some(3));
    assert_eq!(run(&shop, &["apply", "--yes", "--now", "2027-02-28T10:00:00Z"]).0, Some(0));
    // Applied once, it may stay: other files change after it was sent.
    assert_eq!(run(&shop, &["apply", "--yes", "--now", "2028-01-01T10:00:00Z"]).0, Some(0));

    let (code, _, told) = run(&shop, &["run", "--until-idle", "--now", "2027-03-02T10:00:10Z"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("service-notice run 1") && told.contains("messages wait"), "{told}");
    assert!(told.contains("no connection") && !told.contains('\u{1b}'), "no colours where nobody looks: {told}");
}

struct Catcher(std::process::Child);

impl Drop for Catcher {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Every line of the README's ten minutes, as it is written there; only the catcher's ports, the day and the answer to `apply` are the test's own.
#[test]
fn the_ten_minutes_of_the_readme_bring_the_sale_to_everyone_who_is_to_have_it() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let (_, from) = readme.split_once("## Ten minutes\n\n```sh\n").unwrap();
    let (lines, _) = from.split_once("```").unwrap();
    let outside = tempfile::tempdir().unwrap();
    let mut folder = outside.path().to_path_buf();
    let (smtp, http) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
    let mut catcher = None;
    let steps =
        lines.lines().filter(|line| !line.starts_with("cargo ")).flat_map(|line| line.split('#').next().unwrap_or_default().split("&&"));
    for step in steps.map(str::trim) {
        if let Some(inside) = step.strip_prefix("cd ") {
            folder.push(inside);
            let file = folder.join("posthaste.yaml");
            let written = std::fs::read_to_string(&file).unwrap();
            let written = written.replace("channel: email, kind: catcher", &format!("channel: email, kind: catcher, address: \"{smtp}\""));
            std::fs::write(
                &file,
                written.replace("channel: sms, kind: catcher", &format!("channel: sms, kind: catcher, address: \"{http}\"")),
            )
            .unwrap();
            continue;
        }
        let mut arguments: Vec<&str> = step.split_whitespace().collect();
        assert_eq!(arguments.remove(0), "posthaste", "{step}");
        if !arguments.contains(&"--now") {
            arguments.extend(["--now", "2027-02-27T10:00:00Z"]);
        }
        match arguments[0] {
            "catcher" => {
                arguments.extend(["--smtp", &smtp, "--http", &http]);
                let quiet = std::process::Stdio::null;
                catcher =
                    Some(Catcher(command(&folder, "sqlite:newcomer.db", &arguments).stdout(quiet()).stderr(quiet()).spawn().unwrap()));
                while std::net::TcpStream::connect(&smtp).is_err() || std::net::TcpStream::connect(&http).is_err() {
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
                continue;
            }
            "apply" => arguments.push("--yes"),
            _ => {}
        }
        let (code, said, told) = run(&folder, &arguments);
        assert_eq!(code, Some(0), "{step}\n{said}\n{told}");
        match arguments[0] {
            "report" => assert!(!said.contains("waiting") && !said.contains("had passed"), "{said}"),
            "why" => assert!(said.contains("spring-sale") && (said.contains("Sent") || said.contains("Not sent")), "{said}"),
            _ => {}
        }
    }
    assert!(catcher.is_some());
    let (_, report, _) = run(&folder, &["report", "spring-sale", "--format", "json", "--now", "2027-03-01T13:00:00Z"]);
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let funnel = &report["funnel"];
    assert!(funnel["accepted"].as_u64().unwrap() > 50 && funnel["accepted"] == funnel["messages"], "{funnel}");
}

#[test]
fn html_is_only_for_reports() {
    let outside = tempfile::tempdir().unwrap();
    let (code, _, told) = run(outside.path(), &["schedule", "next", "day at 10:00", "--format", "html"]);
    assert_eq!(code, Some(2));
    assert!(told.contains("only `posthaste report`, `preview` and `render` write html"), "{told}");
}

#[test]
fn a_reader_that_stops_early_is_no_panic() {
    let outside = tempfile::tempdir().unwrap();
    let mut command = command(outside.path(), "sqlite:newcomer.db", &["schedule", "next", "15 minutes", "--count", "10000"]);
    let mut child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
}
