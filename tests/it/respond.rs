//! What comes back: recorded once, counted once, whatever the order.

use crate::databases::{Database, databases};
use chrono::TimeDelta;
use posthaste::store::batch::Field;
use posthaste::store::conversions::{self, Attributed, Converted, Measures};
use posthaste::store::responses::{Accept, Counting, Recorded, ResponseRow, Scope, Visit, digest};
use posthaste::store::tallies::{Bounce, Metric};
use posthaste::store::{Store, batch, micros};
use posthaste::tracking::judge::judge;
use posthaste::types::{MessageId, Response, RunId, Time, Verdict};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const BROWSER: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0.0.0 Safari/537.36";
const COUNTING: Counting = Counting { zone: chrono_tz::Europe::Kyiv, slot: 0, judge };

pub fn accepted() -> Time {
    "2027-03-01T10:00:00Z".parse().unwrap()
}

/// Adds rows to a table; columns and their types as given, bytes as hexadecimal digits.
pub async fn add(store: &Store, into: &str, fields: &[(&str, Field)], rows: Value) {
    let columns = fields.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let given = batch::table(store.dialect(), fields);
    let mut change = store.change("add rows").await.unwrap();
    let sql = format!("INSERT INTO {into} ({columns}) SELECT {columns} FROM {given} AS given");
    change.connection().write("add rows", sql, &rows.to_string()).await.unwrap();
    change.commit("add rows").await.unwrap();
}

pub async fn read(store: &Store, sql: &str) -> Vec<(i64, i64, i64)> {
    store.read_batch("read", format!("{sql} -- $1"), "").await.unwrap()
}

/// People 1..=count with an email address each; a campaign about `offers` with three links; run 1 with a message for each person, accepted at
/// [`accepted`], and run 2, a test.
pub async fn seed(store: &Store, count: i64) {
    use Field::*;
    let at = micros(accepted());
    let people: Vec<Value> =
        (1..=count).map(|id| json!({ "id": id, "draw_key": id.to_string(), "created_at": at, "updated_at": at })).collect();
    add(store, "customers", &[("id", Long), ("draw_key", Text), ("created_at", Long), ("updated_at", Long)], json!(people)).await;
    let addresses: Vec<Value> = (1..=count)
        .map(|id| json!({ "customer_id": id, "channel": 1, "address": format!("p{id}@example.org"), "key": format!("{id:032x}") }))
        .collect();
    add(store, "addresses", &[("customer_id", Long), ("channel", Small), ("address", Text), ("key", Bytes)], json!(addresses)).await;
    add(
        store,
        "campaigns",
        &[("id", Long), ("key", Text), ("class", Small), ("topic", Text), ("version_id", Long), ("first_applied_at", Long), ("scheduled_until", Long)],
        json!([{ "id": 1, "key": "spring-sale", "class": 1, "topic": "offers", "version_id": 1, "first_applied_at": at, "scheduled_until": at }]),
    )
    .await;
    add(
        store,
        "runs",
        &[("id", Long), ("campaign_id", Long), ("number", Number), ("version_id", Long), ("occurrence", Text), ("is_test", Small), ("due_at", Long), ("state", Small)],
        json!([{ "id": 1, "campaign_id": 1, "number": 1, "version_id": 1, "occurrence": "a", "is_test": 0, "due_at": at, "state": 4 },
               { "id": 2, "campaign_id": 1, "number": 2, "version_id": 1, "occurrence": "test:1", "is_test": 1, "due_at": at, "state": 4 }]),
    )
    .await;
    let message = |id: i64, run: i64, customer: i64| {
        json!({ "id": id, "run_id": run, "customer_id": customer, "channel": 1, "arm": customer % 2, "state": 7, "site": "gmail",
                "address": format!("p{customer}@example.org"), "due_at": at, "changed_at": at, "accepted_at": at })
    };
    let mut messages: Vec<Value> = (1..=count).map(|id| message(id, 1, id)).collect();
    // The one of the test run stands behind all others.
    messages.push(message(count.max(999) + 1, 2, 1));
    add(
        store,
        "messages",
        &[
            ("id", Long),
            ("run_id", Long),
            ("customer_id", Long),
            ("channel", Small),
            ("arm", Small),
            ("state", Small),
            ("site", Text),
            ("address", Text),
            ("due_at", Long),
            ("changed_at", Long),
            ("accepted_at", Long),
        ],
        json!(messages),
    )
    .await;
    let links: Vec<Value> = (1..=3)
        .map(|number| json!({ "version_id": 1, "number": number, "target": format!("https://shop.example/{number}?a=1&b=2") }))
        .collect();
    add(store, "links", &[("version_id", Long), ("number", Number), ("target", Text)], json!(links)).await;
}

/// A purchase of someone, so many seconds after the due time; gives its number.
async fn purchase(store: &Store, id: i64, customer: i64, seconds: i64, properties: Value) -> i64 {
    use Field::*;
    let at = micros(accepted()) + seconds * 1_000_000;
    let fields = [
        ("id", Long),
        ("customer_id", Long),
        ("name", Text),
        ("occurred_at", Long),
        ("received_at", Long),
        ("properties", Json),
        ("source_key", Bytes),
    ];
    let event = json!([{ "id": id, "customer_id": customer, "name": "purchase", "occurred_at": at, "received_at": at, "properties": properties,
                         "source_key": format!("{id:032x}") }]);
    add(store, "events", &fields, event).await;
    id
}

pub async fn measures(store: &Store) -> Measures {
    use Field::*;
    let fields = [("version_id", Long), ("number", Small), ("event", Text), ("value", Text), ("within", Text)];
    let rows = json!([{ "version_id": 1, "number": 0, "event": "purchase", "value": "amount", "within": "1 hour" },
                      { "version_id": 1, "number": 1, "event": "purchase", "within": "2 days" }]);
    add(store, "measures", &fields, rows).await;
    let mut measures = store.measures(chrono_tz::Europe::Kyiv, "UAH").await.unwrap();
    measures.all[1].condition = Some(Arc::new(|properties, _| properties["category"] == "shoes"));
    measures
}

fn row(message: i64, response: Response, seconds: i64) -> ResponseRow {
    let at = accepted() + TimeDelta::seconds(seconds);
    ResponseRow {
        message: MessageId(message),
        response,
        at,
        received_at: at,
        link: 0,
        visit: None,
        verdict: Verdict::Human,
        bounce: None,
        scope: Scope::Topic,
        source: "story".into(),
        source_key: digest(&[response.word().as_bytes(), &message.to_be_bytes(), &seconds.to_be_bytes()]),
    }
}

fn hit(message: i64, response: Response, link: i32, seconds: i64) -> ResponseRow {
    let visit = Visit { agent: BROWSER.into(), network: "203.0.113.0".into(), accept: Accept::Image, ..Visit::default() };
    let row = row(message, response, seconds);
    let source_key = digest(&[&row.source_key, &link.to_be_bytes()]);
    ResponseRow { link, visit: Some(visit), source_key, ..row }
}

/// (metric, link) → count of run 1.
pub async fn tallies(store: &Store) -> BTreeMap<(i16, i32), i64> {
    let mut sums = BTreeMap::new();
    for tally in store.tallies(&[RunId(1), RunId(2)], None).await.unwrap() {
        assert_eq!(tally.run_id, 1, "tests are never counted");
        *sums.entry((tally.metric, tally.link)).or_insert(0) += tally.count;
    }
    sums
}

#[tokio::test]
async fn a_response_told_twice_is_recorded_once_and_tests_are_not_counted() {
    for Database { store, name, .. } in databases().await {
        seed(&store, 3).await;
        let rows = [
            hit(1, Response::Opened, 0, 100),
            hit(1, Response::Clicked, 2, 200),
            hit(1, Response::Clicked, 2, 200),
            hit(1000, Response::Clicked, 1, 300),
            hit(77, Response::Clicked, 1, 300),
        ];
        let recorded = store.record_responses(&rows, &COUNTING).await.unwrap();
        use Recorded::*;
        assert_eq!(recorded, [New, New, Repeat, New, Unknown], "{name}");
        assert_eq!(store.record_responses(&rows, &COUNTING).await.unwrap(), [Repeat, Repeat, Repeat, Repeat, Unknown]);
        let one = |metric: Metric, link| ((metric.code(), link), 1);
        use Metric::*;
        let expected = [
            one(Opens, 0),
            one(OpensHuman, 0),
            one(OpensUnique, 0),
            one(Clicks, 2),
            one(ClicksHuman, 2),
            one(ClicksUnique, 0),
            one(ClicksUniqueByLink, 2),
        ];
        assert_eq!(tallies(&store).await, BTreeMap::from(expected));
        let engaged =
            read(&store, "SELECT customer_id, engaged_at, customer_id FROM addresses WHERE engaged_at IS NOT NULL ORDER BY 1").await;
        assert_eq!(engaged, [(1, micros(accepted() + TimeDelta::seconds(300)), 1)], "{name}");
    }
}

#[tokio::test]
async fn a_click_that_later_evidence_shows_to_be_a_machine_s_leaves_the_unique_ones() {
    for Database { store, .. } in databases().await {
        seed(&store, 1).await;
        store.record_responses(&[hit(1, Response::Opened, 0, 90), hit(1, Response::Clicked, 1, 100)], &COUNTING).await.unwrap();
        assert_eq!(tallies(&store).await.get(&(Metric::ClicksUnique.code(), 0)), Some(&1));
        store.record_responses(&[hit(1, Response::Clicked, 2, 101), hit(1, Response::Clicked, 3, 102)], &COUNTING).await.unwrap();
        let after = tallies(&store).await;
        assert_eq!(after.get(&(Metric::ClicksUnique.code(), 0)), None);
        assert_eq!(after.get(&(Metric::ClicksMachine.code(), 1)), Some(&1));
        assert_eq!(
            read(&store, "SELECT message_id, CAST(kind AS BIGINT), at FROM firsts").await,
            [(1, 1, micros(accepted()) + 90_000_000)]
        );
    }
}

#[tokio::test]
async fn an_unsubscription_withdraws_consent_once_and_again_after_a_new_consent() {
    use Field::*;
    for Database { store, name, .. } in databases().await {
        seed(&store, 2).await;
        let count = "SELECT COUNT(*), CAST(COALESCE(MAX(state), 0) AS BIGINT), COALESCE(MAX(at), 0) FROM consents WHERE state = 4";
        for seconds in 0..100 {
            store.record_responses(&[row(1, Response::Unsubscribed, 60 + seconds)], &COUNTING).await.unwrap();
        }
        let at = micros(accepted()) + 60_000_000;
        assert_eq!(read(&store, count).await, [(1, 4, at)], "{name}");
        let state = "SELECT customer_id, CAST(state AS BIGINT), at FROM consent_state ORDER BY 1, topic";
        assert_eq!(read(&store, state).await, [(1, 4, at)]);
        let fields = [
            ("customer_id", Long),
            ("topic", Text),
            ("channel", Small),
            ("state", Small),
            ("at", Long),
            ("received_at", Long),
            ("source", Text),
            ("source_key", Bytes),
        ];
        let again = json!([{ "customer_id": 1, "topic": "offers", "channel": 1, "state": 1, "at": at + 500_000_000, "received_at": at, "source": "form", "source_key": "00" }]);
        add(&store, "consents", &fields, again).await;
        store.record_responses(&[row(1, Response::Unsubscribed, 700), row(1, Response::Unsubscribed, 701)], &COUNTING).await.unwrap();
        assert_eq!(read(&store, state).await, [(1, 4, micros(accepted()) + 700_000_000)], "{name}");
        let everything = ResponseRow { scope: Scope::Everything, ..row(1, Response::Unsubscribed, 800) };
        store.record_responses(&[everything], &COUNTING).await.unwrap();
        assert_eq!(read(&store, state).await.len(), 2);
        assert_eq!(tallies(&store).await, BTreeMap::from([((Metric::Unsubscribes.code(), 0), 1)]), "a message unsubscribes once");
    }
}

#[tokio::test]
async fn complaints_and_hard_bounces_suppress_the_address_and_a_block_does_not() {
    for Database { store, name, .. } in databases().await {
        seed(&store, 4).await;
        let bounce = |message, bounce| ResponseRow { bounce: Some(bounce), ..row(message, Response::Bounced, 30) };
        let rows = [
            bounce(1, Bounce::Hard),
            bounce(2, Bounce::Blocked),
            bounce(3, Bounce::Soft),
            row(4, Response::Complained, 50),
            row(1, Response::Delivered, 20),
        ];
        store.record_responses(&rows, &COUNTING).await.unwrap();
        store.record_responses(&rows, &COUNTING).await.unwrap();
        let suppressed = read(&store, "SELECT CAST(channel AS BIGINT), CAST(reason AS BIGINT), since FROM suppressions ORDER BY key").await;
        let at = micros(accepted());
        assert_eq!(suppressed, [(1, 1, at + 30_000_000), (1, 2, at + 50_000_000)], "{name}");
        let bounced =
            read(&store, "SELECT id, bounced_at, COALESCE(confirmed_at, 0) FROM messages WHERE bounced_at IS NOT NULL ORDER BY id").await;
        assert_eq!(bounced, [(1, at + 30_000_000, at + 20_000_000), (2, at + 30_000_000, 0), (3, at + 30_000_000, 0)]);
        let soft = "SELECT customer_id, CAST(soft_bounces AS BIGINT), customer_id FROM addresses WHERE soft_bounces > 0";
        assert_eq!(read(&store, soft).await, [(3, 1, 3)]);
        let expected = [Metric::BouncesHard, Metric::BouncesSoft, Metric::BouncesBlocked, Metric::Complaints, Metric::Delivered];
        assert_eq!(tallies(&store).await, expected.map(|metric| ((metric.code(), 0), 1)).into_iter().collect());
    }
}

/// Everything that counting writes.
async fn counted(store: &Store) -> (BTreeMap<(i16, i32), i64>, Vec<(i64, i64, i64)>, Vec<(i64, i64, i64)>) {
    let hours = read(store, "SELECT CAST(hour AS BIGINT), CAST(metric AS BIGINT) * 100 + arm, CAST(SUM(count) AS BIGINT) FROM tallies GROUP BY 1, 2 HAVING SUM(count) <> 0 ORDER BY 1, 2").await;
    let firsts = read(store, "SELECT message_id, CAST(kind AS BIGINT) * 1000 + link, at FROM firsts ORDER BY 1, 2").await;
    (tallies(store).await, hours, firsts)
}

fn responses() -> impl Strategy<Value = Vec<ResponseRow>> {
    let one = (1..=4i64, 0..7usize, 1..=3i32, prop_oneof![0..20i64, 0..9000i64], any::<bool>()).prop_map(
        |(message, kind, link, seconds, head)| {
            let mut row = match kind {
                0 | 1 => hit(message, Response::Opened, 0, seconds),
                2..=4 => hit(message, Response::Clicked, link, seconds),
                5 => row(message, Response::Unsubscribed, seconds),
                _ => ResponseRow { bounce: Some(Bounce::Hard), ..row(message, Response::Bounced, seconds) },
            };
            if let Some(visit) = &mut row.visit {
                visit.head = head && link == 1;
            }
            row
        },
    );
    proptest::collection::vec(one, 1..40)
}

#[test]
fn shuffled_and_repeated_responses_count_like_a_clean_stream() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut runner =
        proptest::test_runner::TestRunner::new(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() });
    let strategy = (responses(), any::<u64>());
    runner
        .run(&strategy, |(mut ordered, seed_of_chance)| {
            ordered.sort_by_key(|row| (row.at, row.source_key));
            // The first of equal unsubscriptions is the one that is recorded: they differ by nothing else but time.
            ordered.retain(|row| row.response != Response::Unsubscribed);
            let mut shuffled: Vec<ResponseRow> = ordered.iter().chain(ordered.iter().take(9)).cloned().collect();
            shuffled.sort_by_key(|row| digest(&[&row.source_key, &seed_of_chance.to_be_bytes()]));
            runtime.block_on(async {
                for (first, second) in databases().await.into_iter().zip(databases().await) {
                    seed(&first.store, 4).await;
                    seed(&second.store, 4).await;
                    first.store.record_responses(&ordered, &COUNTING).await.unwrap();
                    for part in shuffled.chunks(3) {
                        second.store.record_responses(part, &COUNTING).await.unwrap();
                    }
                    let expected = counted(&first.store).await;
                    assert_eq!(counted(&second.store).await, expected, "{}", first.name);
                    second.store.rebuild_tallies(&[RunId(1), RunId(2)], &COUNTING).await.unwrap();
                    assert_eq!(counted(&second.store).await, expected, "rebuilt on {}", first.name);
                }
            });
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn whoever_was_drawn_converts_within_the_window_and_importing_before_or_after_is_the_same() {
    for Database { store, name, .. } in databases().await {
        seed(&store, 5).await;
        let measures = measures(&store).await;
        // Held out, and refused before anything was drawn.
        let mut change = store.change("prepare").await.unwrap();
        for sql in [
            "UPDATE messages SET state = 0, reason = 6, arm = 0 WHERE id = 4 -- $1",
            "UPDATE messages SET state = 0, reason = 5, arm = -1 WHERE id = 5 -- $1",
        ] {
            change.connection().write("prepare", sql.into(), "").await.unwrap();
        }
        change.commit("prepare").await.unwrap();
        let purchases = [
            (1, 1, -1, json!({ "amount": 10 })),
            (2, 1, 0, json!({ "amount": 19.99, "category": "shoes" })),
            (3, 1, 3599, json!({ "amount": "5 EUR" })),
            (4, 1, 3600, json!({ "amount": 7 })),
            (5, 2, 60, json!({ "amount": 100 })),
            (6, 2, 90, json!({ "amount": 0.005 })),
            (7, 4, 100, json!({ "amount": 50 })),
            (8, 5, 100, json!({ "amount": 50 })),
            (9, 3, 7200, json!({ "amount": 50, "category": "shoes" })),
            (10, 3, 7300, json!({ "amount": 50, "category": "hats" })),
        ];
        let mut events = Vec::new();
        for (id, customer, seconds, properties) in purchases {
            events.push(purchase(&store, id, customer, seconds, properties).await);
        }
        store.rebuild_conversions(RunId(1), &measures).await.unwrap();
        let planned_after = store.conversions(&[RunId(1)], &measures, None).await.unwrap();
        let mut change = store.change("prepare").await.unwrap();
        for sql in ["DELETE FROM conversions -- $1", "DELETE FROM credits -- $1", "DELETE FROM sums -- $1"] {
            change.connection().write("prepare", sql.into(), "").await.unwrap();
        }
        change.commit("prepare").await.unwrap();
        for part in events.chunks(3) {
            let mut change = store.change("ingest").await.unwrap();
            conversions::keep(&mut change.connection(), part, &measures).await.unwrap();
            change.commit("ingest").await.unwrap();
        }
        assert_eq!(store.conversions(&[RunId(1)], &measures, None).await.unwrap(), planned_after, "{name}");
        assert_eq!(store.conversions_counted(&[RunId(1)]).await.unwrap(), planned_after, "{name}: the sums are those of all conversions");
        let converted = |measure, arm, currency: &str, customers, events, value: i64, squares| Converted {
            run_id: 1,
            measure,
            arm,
            currency: currency.into(),
            customers,
            events,
            value,
            squares,
        };
        let expected = [
            converted(0, 0, "UAH", 2, 3, 15001, 5000.0 * 5000.0 + 10001.0 * 10001.0),
            converted(0, 1, "EUR", 1, 1, 500, 250_000.0),
            converted(0, 1, "UAH", 1, 1, 1999, 1999.0 * 1999.0),
            converted(1, 1, "", 2, 2, 0, 0.0),
        ];
        assert_eq!(planned_after, expected, "{name}");
        // As it stood after a minute and a half: what the same people did later is not in it.
        let until = |seconds| Some(accepted() + TimeDelta::seconds(seconds));
        let then = store.conversions(&[RunId(1)], &measures, until(90)).await.unwrap();
        let expected = [
            converted(0, 0, "UAH", 1, 1, 10_000, 10_000.0 * 10_000.0),
            converted(0, 1, "UAH", 1, 1, 1999, 1999.0 * 1999.0),
            converted(1, 1, "", 1, 1, 0, 0.0),
        ];
        assert_eq!(then, expected, "{name}");
        assert_eq!(store.conversions(&[RunId(1)], &measures, until(1_000_000)).await.unwrap(), planned_after, "{name}");
        assert_eq!(store.conversions(&[RunId(1)], &measures, until(0)).await.unwrap(), [], "{name}");
    }
}

#[tokio::test]
async fn an_event_is_attributed_to_the_last_human_click_within_the_window_or_to_nothing() {
    for Database { store, name, .. } in databases().await {
        seed(&store, 3).await;
        let measures = measures(&store).await;
        let clicks = [
            hit(1, Response::Opened, 0, 90),
            hit(1, Response::Clicked, 1, 100),
            hit(1, Response::Clicked, 2, 200),
            hit(2, Response::Opened, 0, 90),
            hit(2, Response::Clicked, 1, 100),
            hit(3, Response::Clicked, 1, 2),
        ];
        store.record_responses(&clicks, &COUNTING).await.unwrap();
        purchase(&store, 101, 1, 150, json!({ "amount": 10 })).await;
        purchase(&store, 102, 1, 200 + 3599, json!({ "amount": 5 })).await;
        purchase(&store, 103, 1, 200 + 3600, json!({ "amount": 3 })).await;
        purchase(&store, 104, 2, 99, json!({ "amount": 1 })).await;
        purchase(&store, 105, 3, 60, json!({ "amount": 1 })).await;
        let found = store.attributed_found(&[RunId(1)], &measures, None).await.unwrap();
        store.rebuild_credits(RunId(1), &measures).await.unwrap();
        assert_eq!(store.attributed(&[RunId(1)], &measures, None).await.unwrap(), found, "{name}: counted anew and kept");
        assert_eq!(
            found,
            [Attributed { run: RunId(1), measure: 0, arm: 1, currency: "UAH".into(), conversions: 2, value: 1500 }],
            "{name}"
        );
        let earlier = store.attributed(&[RunId(1)], &measures, Some(accepted() + TimeDelta::seconds(151))).await.unwrap();
        assert_eq!(earlier.first().map(|found| (found.conversions, found.value)), Some((1, 1000)), "{name}");
    }
}

/// What comes to the database, in some order.
enum Comes {
    Click(ResponseRow),
    Purchase(i64, i64, i64),
}

#[tokio::test]
async fn what_followed_a_click_adds_up_in_whatever_order_it_comes() {
    let clicks = [
        hit(1, Response::Opened, 0, 90),
        hit(1, Response::Clicked, 1, 100),
        hit(1, Response::Clicked, 2, 200),
        hit(2, Response::Clicked, 1, 100),
        // Too fast for a person, with the one before: the first click's verdict changes when this one comes.
        hit(2, Response::Clicked, 2, 101),
        hit(2, Response::Clicked, 3, 102),
        hit(3, Response::Opened, 0, 10),
        hit(3, Response::Clicked, 1, 300),
    ];
    // Their numbers leave room for those of the clicks.
    let purchases =
        [(1000, 1, 150), (2000, 1, 200 + 3599), (3000, 1, 200 + 3600), (4000, 2, 99), (5000, 2, 400), (6000, 3, 301), (7000, 3, 299)];
    for order in 0..4 {
        let mut all: Vec<Comes> = clicks.iter().cloned().map(Comes::Click).collect();
        let bought = purchases.map(|(id, customer, seconds)| Comes::Purchase(id, customer, seconds));
        match order {
            0 => all.extend(bought),
            1 => all.splice(0..0, bought).for_each(drop),
            _ => bought.into_iter().enumerate().for_each(|(place, one)| all.insert((place * 2 + order) % (all.len() + 1), one)),
        }
        for Database { store, name, .. } in databases().await {
            seed(&store, 3).await;
            // As they are read where a click comes late.
            measures(&store).await;
            let measures = store.measures(chrono_tz::Europe::Kyiv, "UAH").await.unwrap();
            for one in &all {
                match one {
                    Comes::Click(row) => _ = store.record_responses(std::slice::from_ref(row), &COUNTING).await.unwrap(),
                    Comes::Purchase(id, customer, seconds) => {
                        let id = purchase(&store, *id, *customer, *seconds, json!({ "amount": id, "currency": "UAH" })).await;
                        let mut change = store.change("ingest").await.unwrap();
                        conversions::keep(&mut change.connection(), &[id], &measures).await.unwrap();
                        change.commit("ingest").await.unwrap();
                    }
                }
            }
            let found = store.attributed_found(&[RunId(1)], &measures, None).await.unwrap();
            assert!(!found.is_empty());
            assert_eq!(store.attributed(&[RunId(1)], &measures, None).await.unwrap(), found, "{name}, order {order}");
        }
    }
}
