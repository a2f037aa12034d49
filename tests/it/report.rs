//! What a campaign achieved: the sums of the ledger, responses, arms by intention to treat; test runs are never counted.

use crate::databases::{Database, databases, sqlite};
use chrono::TimeDelta;
use posthaste::reports::{self, Question, model::Report};
use posthaste::store::batch::Field;
use posthaste::store::conversions::Measures;
use posthaste::store::responses::{Accept, Counting, ResponseRow, Scope, Visit, digest};
use posthaste::store::tallies::Bounce;
use posthaste::store::{Store, batch, micros};
use posthaste::tracking::judge::judge;
use posthaste::types::{MessageId, MessageState, Refusal, Response, RunId, RunState, Time, Verdict};
use serde_json::{Value, json};

const KYIV: chrono_tz::Tz = chrono_tz::Europe::Kyiv;
const COUNTING: Counting = Counting { zone: KYIV, slot: 0, judge };
const BROWSER: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0.0.0 Safari/537.36";

fn due() -> Time {
    "2027-03-01T08:00:00Z".parse().unwrap()
}

fn later(minutes: i64) -> Time {
    due() + TimeDelta::minutes(minutes)
}

async fn add(store: &Store, into: &str, fields: &[(&str, Field)], rows: Value) {
    let columns = fields.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let given = batch::table(store.dialect(), fields);
    let mut change = store.change("add rows").await.unwrap();
    let sql = format!("INSERT INTO {into} ({columns}) SELECT {columns} FROM {given} AS given");
    change.connection().write("add rows", sql, &rows.to_string()).await.unwrap();
    change.commit("add rows").await.unwrap();
}

/// 1,000 people selected in run 1: 0–99 held out, then `plain` and `gift` in turn; 100–149 without consent (never drawn), 990–994 failed,
/// 995–999 waiting. Run 2 is a test. Everybody else's message was accepted.
async fn seed(store: &Store) {
    use Field::*;
    let at = micros(due());
    let people: Vec<Value> = (0..1000)
        .map(|id| json!({ "id": id, "external_id": format!("c{id}"), "draw_key": id.to_string(), "created_at": at, "updated_at": at }))
        .collect();
    let fields = [("id", Long), ("external_id", Text), ("draw_key", Text), ("created_at", Long), ("updated_at", Long)];
    add(store, "customers", &fields, json!(people)).await;
    let fields = [
        ("id", Long),
        ("key", Text),
        ("title", Text),
        ("class", Small),
        ("topic", Text),
        ("first_applied_at", Long),
        ("scheduled_until", Long),
    ];
    add(
        store,
        "campaigns",
        &fields,
        json!([{ "id": 1, "key": "spring-sale", "title": "Spring sale", "class": 1, "topic": "offers", "first_applied_at": at, "scheduled_until": at }]),
    )
    .await;
    let fields = [
        ("id", Long),
        ("campaign_id", Long),
        ("number", Number),
        ("version_id", Long),
        ("occurrence", Text),
        ("is_test", Small),
        ("due_at", Long),
        ("state", Small),
        ("planned_at", Long),
    ];
    let run = |id: i64, test: i16| {
        json!({ "id": id, "campaign_id": 1, "number": id, "version_id": 1, "occurrence": id.to_string(), "is_test": test, "due_at": at, "state": 4,
                "planned_at": at })
    };
    add(store, "runs", &fields, json!([run(1, 0), run(2, 1)])).await;
    let arm = |run: i64, arm: i16, name: &str| json!({ "run_id": run, "arm": arm, "name": name, "held_out": i16::from(arm == 0) });
    let fields = [("run_id", Long), ("arm", Small), ("name", Text), ("held_out", Small)];
    add(store, "arms", &fields, json!([arm(1, 0, "held_out"), arm(1, 1, "plain"), arm(1, 2, "gift"), arm(2, 1, "plain")])).await;
    let links = json!([{ "version_id": 1, "number": 1, "target": "https://shop.example/lamps" }, { "version_id": 1, "number": 2, "target": "https://shop.example/sale" }]);
    add(store, "links", &[("version_id", Long), ("number", Number), ("target", Text)], links).await;
    let fields = [("version_id", Long), ("number", Small), ("event", Text), ("value", Text), ("within", Text)];
    let measures = json!([{ "version_id": 1, "number": 0, "event": "purchase", "value": "amount", "within": "7 days" },
                          { "version_id": 1, "number": 1, "event": "visit", "within": "3 days" }]);
    add(store, "measures", &fields, measures).await;
    let mut messages: Vec<Value> = (0..1000).map(message).collect();
    let mut test = message(500);
    (test["id"], test["run_id"]) = (json!(5000), json!(2));
    messages.push(test);
    let fields = [
        ("id", Long),
        ("run_id", Long),
        ("customer_id", Long),
        ("channel", Small),
        ("arm", Small),
        ("state", Small),
        ("reason", Small),
        ("site", Text),
        ("due_at", Long),
        ("changed_at", Long),
        ("accepted_at", Long),
    ];
    add(store, "messages", &fields, json!(messages)).await;
}

fn message(customer: i64) -> Value {
    let (mut arm, mut reason, mut state) = (1 + customer % 2, None, MessageState::Accepted);
    match customer {
        0..100 => (arm, state, reason) = (0, MessageState::Refused, Some(Refusal::HeldOut.code())),
        100..150 => (arm, state, reason) = (-1, MessageState::Refused, Some(Refusal::NoConsent.code())),
        990..995 => (state, reason) = (MessageState::Failed, Some(102)),
        995.. => state = MessageState::Planned,
        _ => {}
    }
    // A message a second.
    let changed = micros(due()) + if state == MessageState::Accepted { customer * 1_000_000 } else { 0 };
    json!({ "id": 1000 + customer, "run_id": 1, "customer_id": customer, "channel": 1, "arm": arm, "state": state.code(), "reason": reason,
            "site": if customer % 3 == 0 { "gmail" } else { "shop.example" }, "due_at": micros(due()), "changed_at": changed,
            "accepted_at": (state == MessageState::Accepted).then_some(changed) })
}

fn response(customer: i64, response: Response, link: i32, at: Time) -> ResponseRow {
    let hit = matches!(response, Response::Opened | Response::Clicked);
    let visit = Visit { agent: BROWSER.into(), network: format!("203.0.{}.0", customer % 250), accept: Accept::Image, ..Visit::default() };
    ResponseRow {
        message: MessageId(1000 + customer),
        response,
        at,
        received_at: at,
        link,
        visit: hit.then_some(visit),
        verdict: Verdict::Human,
        bounce: (response == Response::Bounced).then_some(Bounce::Hard),
        scope: Scope::Topic,
        source: "story".into(),
        source_key: digest(&[response.word().as_bytes(), &customer.to_be_bytes(), &link.to_be_bytes(), &micros(at).to_be_bytes()]),
    }
}

/// Opens, clicks, bounces, complaints and purchases, at their hours.
async fn respond(store: &Store) -> Measures {
    use Field::*;
    let mut rows = Vec::new();
    for customer in 200..300 {
        rows.push(response(customer, Response::Opened, 0, later(30 + customer % 60)));
    }
    for customer in 200..240 {
        rows.push(response(customer, Response::Clicked, 1 + (customer % 2) as i32, later(100)));
    }
    rows.extend((400..410).map(|customer| response(customer, Response::Bounced, 0, later(20))));
    rows.push(response(201, Response::Complained, 0, later(200)));
    rows.push(response(203, Response::Unsubscribed, 0, later(210)));
    // The message of the test run.
    rows.push(ResponseRow { message: MessageId(5000), ..response(500, Response::Clicked, 1, later(100)) });
    store.record_responses(&rows, &COUNTING).await.unwrap();
    // 2 of 100 held-out people buy, 30 of 425 of `gift`, 20 of 425 of `plain`; a day after the due time, for 10 UAH each.
    let buyers: Vec<i64> =
        (0..2).chain((150..).filter(|id| id % 2 == 1).take(30)).chain((150..).filter(|id| id % 2 == 0).take(20)).collect();
    let at = micros(later(24 * 60));
    let events: Vec<Value> = buyers
        .iter()
        .map(|id| {
            json!({ "customer_id": id, "name": "purchase", "occurred_at": at, "received_at": at, "properties": { "amount": 10 },
                          "source_key": format!("{id:032x}") })
        })
        .collect();
    let fields =
        [("customer_id", Long), ("name", Text), ("occurred_at", Long), ("received_at", Long), ("properties", Json), ("source_key", Bytes)];
    add(store, "events", &fields, json!(events)).await;
    let measures = store.measures(KYIV, "UAH").await.unwrap();
    store.rebuild_conversions(RunId(1), &measures).await.unwrap();
    store.rebuild_conversions(RunId(2), &measures).await.unwrap();
    measures
}

async fn report(store: &Store, measures: &Measures, as_of: Option<Time>) -> Report {
    let campaign = store.counted_campaigns(Some("spring-sale")).await.unwrap().remove(0);
    let question = Question { run: None, as_of, now: later(30 * 24 * 60), measures };
    reports::gather(store, &campaign, &question).await.unwrap()
}

#[tokio::test]
async fn a_report_adds_up_and_leaves_tests_out() {
    for Database { store, name, .. } in databases().await {
        seed(&store).await;
        let measures = respond(&store).await;
        let report = report(&store, &measures, None).await;
        assert!(report.funnel.adds_up(), "{name}: {:?}", report.funnel);
        let funnel = &report.funnel;
        assert_eq!((funnel.selected, funnel.messages, funnel.accepted, funnel.failed, funnel.waiting), (1000, 850, 840, 5, 5), "{name}");
        assert_eq!((funnel.refused["held_out"].clone(), funnel.refused["no_consent"].clone()), (json!(100), json!(50)));
        assert_eq!((funnel.bounced, funnel.delivered), (10, 830));
        let responses = report.responses;
        assert_eq!((responses.opens.unique, responses.clicks.unique, responses.bounces.hard), (100, 40, 10), "{name}");
        assert_eq!((responses.complaints, responses.unsubscribes), (1, 1));
        assert_eq!(report.links.iter().map(|link| link.clicks.unique).collect::<Vec<_>>(), [20, 20]);
        assert_eq!(report.variants.iter().map(|variant| variant.messages).sum::<u64>(), funnel.messages);
        assert_eq!(report.sites.iter().map(|site| site.messages).sum::<u64>(), funnel.messages);
        assert_eq!(report.sites.iter().map(|site| site.opens_unique).sum::<u64>(), responses.opens.unique);
        assert_eq!(report.hours.iter().map(|hour| hour.clicks).sum::<u64>(), responses.clicks.human);
        assert_eq!(report.hours.first().map(|hour| hour.at), Some(due()), "the hour begins on the workspace's clock");
    }
}

#[tokio::test]
async fn arms_are_everyone_drawn_and_each_is_held_against_those_held_out() {
    for Database { store, name, .. } in databases().await {
        seed(&store).await;
        let measures = respond(&store).await;
        let report = report(&store, &measures, None).await;
        let goal = &report.measures[0];
        assert!(goal.goal && goal.event == "purchase" && goal.within_seconds == 604_800 && goal.currency == "UAH");
        let arms: Vec<_> = goal.arms.iter().map(|arm| (arm.arm.as_str(), arm.customers, arm.converted, arm.value)).collect();
        assert_eq!(arms, [("held_out", 100, 2, 20.0), ("plain", 425, 20, 200.0), ("gift", 425, 30, 300.0)], "{name}");
        let lift = goal
            .lifts
            .iter()
            .find(|lift| (lift.arm.as_str(), lift.against.as_str(), lift.metric.as_str()) == ("all", "held_out", "rate"))
            .unwrap();
        assert!((lift.difference - (50.0 / 850.0 - 0.02)).abs() < 1e-12 && lift.low < lift.difference && lift.difference < lift.high);
        let worth =
            goal.lifts.iter().find(|lift| lift.metric == "value_per_customer" && lift.arm == "gift" && lift.against == "plain").unwrap();
        assert!((worth.difference - 100.0 / 425.0).abs() < 1e-9);
        // Who clicked at 100 minutes and bought a day later: 201, 203, 205, 207 and 209.
        let clicked_and_bought = report.attributed.iter().find(|row| row.event == "purchase").unwrap();
        assert_eq!((clicked_and_bought.conversions, clicked_and_bought.value), (5, 50.0), "{name}");
        assert_eq!(report.measures[1].event, "visit");
    }
}

#[tokio::test]
async fn a_report_of_the_past_shows_what_was_known_then() {
    for Database { store, name, .. } in databases().await {
        seed(&store).await;
        let measures = respond(&store).await;
        // 5 minutes in: 300 seconds of messages, those of people 150 to 300; nobody answered.
        let early = report(&store, &measures, Some(later(5))).await;
        assert!(early.funnel.adds_up());
        assert_eq!((early.funnel.accepted, early.funnel.bounced, early.responses.opens.all), (151, 0, 0), "{name}");
        // In the middle of an hour: opens come at minutes 50 to 89 and 30 to 49, so to 60 of each hundred.
        let middle = report(&store, &measures, Some(later(45))).await;
        let opened = (200..300).filter(|customer| 30 + customer % 60 <= 45).count() as u64;
        assert_eq!((middle.responses.opens.all, middle.responses.opens.unique), (opened, opened), "{name}");
        assert_eq!(middle.funnel.bounced, 10);
        assert_eq!(middle.measures[0].arms.iter().map(|arm| arm.converted).sum::<u64>(), 0);
        let end = report(&store, &measures, Some(later(30 * 24 * 60))).await;
        assert_eq!(end, Report { as_of: end.as_of, ..report(&store, &measures, None).await }, "{name}");
    }
}

#[tokio::test]
async fn the_sums_of_a_run_that_is_over_are_kept_and_follow_what_still_happens_to_it() {
    for Database { store, name, .. } in databases().await {
        seed(&store).await;
        let measures = respond(&store).await;
        let (done, expired) = (RunState::Done.code(), MessageState::Expired.code());
        let mut change = store.change("end the run").await.unwrap();
        for sql in [
            format!("UPDATE messages SET state = {expired} WHERE state = {} -- $1", MessageState::Planned.code()),
            format!("UPDATE runs SET state = {done} WHERE id = 1 -- $1"),
        ] {
            change.connection().write("end the run", sql, "").await.unwrap();
        }
        change.commit("end the run").await.unwrap();
        let campaign = store.counted_campaigns(Some("spring-sale")).await.unwrap().remove(0);
        let settled = async || store.counted_runs(campaign.id, None, None).await.unwrap()[0].settled;
        let counted = report(&store, &measures, None).await;
        assert_eq!((counted.funnel.expired, settled().await), (5, 1), "{name}: kept when it was added up once");
        assert_eq!(report(&store, &measures, None).await, counted, "{name}: the same from what is kept");

        store.record_responses(&[response(700, Response::Bounced, 0, later(40))], &COUNTING).await.unwrap();
        let bounced = report(&store, &measures, None).await;
        assert_eq!((bounced.funnel.bounced, settled().await), (11, 1), "{name}");
        assert_eq!(bounced.sites.iter().map(|site| site.bounced).sum::<u64>(), 11, "{name}");

        let failed: Vec<i64> = store
            .messages_after(0, 10_000)
            .await
            .unwrap()
            .into_iter()
            .filter(|message| message.state == MessageState::Failed.code())
            .map(|message| message.id)
            .collect();
        store.retry_failed(RunId(1), &failed[..1], "ada", later(60)).await.unwrap();
        let again = report(&store, &measures, None).await;
        assert_eq!((again.funnel.failed, again.funnel.waiting, settled().await), (4, 1, 0), "{name}: it goes on");
    }
}

#[tokio::test]
async fn the_report_reads_well_in_a_terminal_in_json_and_as_rows() {
    let database = sqlite().await;
    seed(&database.store).await;
    let measures = respond(&database.store).await;
    let report = report(&database.store, &measures, None).await;
    let table = reports::table(&report, KYIV);
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
    insta::assert_snapshot!("report_table", table);
    insta::assert_snapshot!("report_json", serde_json::to_string_pretty(&report).unwrap());
    let rows: Vec<String> = reports::rows(&report).iter().map(|row| row.join(" | ")).collect();
    insta::assert_snapshot!("report_rows", rows.join("\n"));
    insta::assert_snapshot!("report_overview", reports::overview_table(std::slice::from_ref(&report)));
    let page = reports::page::page(&report, KYIV);
    assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("<link"));
    // Names that somebody writes into files, or sends in, are words on the page and nothing else.
    let mut hostile = report.clone();
    let evil = "\"><script>alert('x')</script><img src=x onerror=alert(1)>";
    hostile.title = evil.into();
    hostile.campaign = evil.into();
    hostile.measures[0].event = evil.into();
    hostile.measures[0].arms[1].arm = evil.into();
    hostile.measures[0].lifts.iter_mut().for_each(|lift| lift.arm = evil.into());
    hostile.measures[0].currency = evil.into();
    hostile.attributed[0].event = evil.into();
    hostile.attributed[0].currency = Some(evil.into());
    hostile.variants[0].variant = evil.into();
    hostile.links[0].target = evil.into();
    hostile.sites[0].site = evil.into();
    let shown = reports::page::page(&hostile, KYIV);
    assert!(!shown.contains("<script") && !shown.contains("<img") && shown.contains("&lt;script&gt;"));
    if let Some(path) = std::env::var_os("POSTHASTE_SHOW_REPORT") {
        std::fs::write(path, page).unwrap();
    }
}

/// What the command prints, with the number of its exit code.
fn posthaste(url: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_posthaste"))
        .args(arguments)
        .args(["--database", url, "--workspace", env!("CARGO_TARGET_TMPDIR"), "--now", "2027-03-31T08:00:00Z"])
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    format!("{}{}exit {}", text(output.stdout), text(output.stderr), output.status.code().unwrap_or(-1))
}

#[tokio::test]
async fn why_gives_one_exact_reason_for_each_customer() {
    use Field::*;
    for database in databases().await {
        let store = &database.store;
        seed(store).await;
        respond(store).await;
        let at = micros(later(-60 * 24));
        let withdrawn = json!([{ "customer_id": 120, "topic": "offers", "channel": 1, "state": 4, "at": at, "has_proof": 1 }]);
        let fields = [("customer_id", Long), ("topic", Text), ("channel", Small), ("state", Small), ("at", Long), ("has_proof", Small)];
        add(store, "consent_state", &fields, withdrawn).await;
        let attempt = json!([{ "message_id": 1991, "number": 1, "at": at, "provider": "relay", "outcome": "failed", "reply": "550 5.1.2 no such domain" }]);
        let fields = [("message_id", Long), ("number", Small), ("at", Long), ("provider", Text), ("outcome", Text), ("reply", Text)];
        add(store, "attempts", &fields, attempt).await;
        let newcomer =
            json!([{ "id": 2000, "external_id": "newcomer", "draw_key": "n", "first_name": "Nina", "created_at": at, "updated_at": at }]);
        let fields =
            [("id", Long), ("external_id", Text), ("draw_key", Text), ("first_name", Text), ("created_at", Long), ("updated_at", Long)];
        add(store, "customers", &fields, newcomer).await;
        let mut said = Vec::new();
        for customer in ["c203", "c400", "c7", "c110", "c120", "c991", "c996", "newcomer", "nobody"] {
            said.push(format!("$ posthaste why {customer} spring-sale\n{}", posthaste(&database.url, &["why", customer, "spring-sale"])));
        }
        said.push(format!("$ posthaste why 203 spring-salt\n{}", posthaste(&database.url, &["why", "203", "spring-salt"])));
        said.push(format!(
            "$ posthaste why c991 spring-sale --format json\n{}",
            posthaste(&database.url, &["why", "c991", "spring-sale", "--format", "json"])
        ));
        insta::assert_snapshot!("why", said.join("\n\n"));
    }
}
