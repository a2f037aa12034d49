//! What somebody meets who follows the steps that `init` prints, and takes a wrong one.

use crate::processes::command;
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
    assert!(told.contains("no connection"), "{told}");
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
