//! What webhooks change: counted once, whatever the order, and nobody is suppressed who should not be.

use super::office::{Office, PROVIDER, feedback, sent};
use crate::databases::{Database, databases};
use crate::world::{PEPPER, SIGNING, World, advertising};
use posthaste::customers::keys::Keys;
use posthaste::providers::Outcome;
use posthaste::store::responses::digest;
use posthaste::tracking::Tokens;
use posthaste::types::{Channel, MessageId, SuppressionReason};
use posthaste::webhooks::{Kind, Locks};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub const SALE: &str = advertising!(
    "audience: { segment: everyone, holdout: 0% }\n",
    "schedule: { at: 2027-03-01 10:00 }\n",
    "message: { template: hello, subject: \"Hello\" }\n",
);

/// An event of SendGrid's about the letter to this person.
fn event(number: u32, email: &str, rest: Value) -> Value {
    let mut event = json!({ "email": email, "timestamp": 1_803_895_300 + number, "sg_event_id": format!("e{number}"), "sg_message_id": format!("id-{email}") });
    event.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    event
}

async fn suppressed(office: &Office, email: &str) -> Option<SuppressionReason> {
    let key = Keys::new(PEPPER).address(Channel::Email, email);
    office.world.store.suppressions(&[key]).await.unwrap().first().map(|row| row.reason)
}

#[tokio::test]
async fn bounces_complaints_and_departures_change_what_they_should_and_blocks_nothing() {
    for database in databases().await {
        let people = [
            "hard@a.example",
            "soft@a.example",
            "spam@a.example",
            "listed@a.example",
            "left@a.example",
            "full@a.example",
            "cross@a.example",
            "read@a.example",
        ];
        let office = sent(&database, &people).await;
        let events = json!([
            event(1, "hard@a.example", json!({ "event": "bounce", "type": "bounce", "reason": "550 5.1.1 no such user" })),
            event(2, "soft@a.example", json!({ "event": "bounce", "type": "bounce", "reason": "552 5.2.2 mailbox full" })),
            event(3, "spam@a.example", json!({ "event": "bounce", "type": "bounce", "reason": "554 5.7.1 rejected as spam" })),
            event(4, "listed@a.example", json!({ "event": "dropped", "reason": "Bounced Address" })),
            event(5, "left@a.example", json!({ "event": "group_unsubscribe", "asm_group_id": 3 })),
            event(6, "full@a.example", json!({ "event": "unsubscribe" })),
            event(7, "cross@a.example", json!({ "event": "spamreport" })),
            event(8, "read@a.example", json!({ "event": "delivered" })),
            event(9, "read@a.example", json!({ "event": "open", "sg_machine_open": true, "useragent": "Mozilla/5.0" })),
            event(
                10,
                "read@a.example",
                json!({ "event": "open", "useragent": "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0" })
            ),
            event(11, "read@a.example", json!({ "event": "click", "url": "https://go.shop.example/c/k1.abc.def" })),
        ]);
        assert_eq!(office.tell(&events).await, StatusCode::OK, "{}", database.name);
        assert_eq!(office.number("SELECT COUNT(*) FROM events").await, 0, "nothing is read before it is answered");
        office.run_until("2027-03-01T10:02:00Z").await;
        let reasons: Vec<_> = futures(&office, &people).await;
        use SuppressionReason::{Complaint, HardBounce, Provider};
        assert_eq!(reasons, [Some(HardBounce), None, None, Some(Provider), None, None, Some(Complaint), None], "{}", database.name);
        let withdrawn = office.number("SELECT COUNT(*) FROM consents WHERE state = 4 AND topic = 'offers'").await;
        let all = office.number("SELECT COUNT(*) FROM consents WHERE state = 4 AND topic = '*'").await;
        assert_eq!((withdrawn, all), (1, 2), "{}: the topic; everything", database.name);
        let funnel = office.world.funnel("sale").await;
        assert_eq!((funnel.accepted(), funnel.bounced, funnel.confirmed), (8, 4, 1), "{}", database.name);
        let verdicts = "SELECT SUM(CASE WHEN verdict = 1 THEN 10 ELSE 1 END) FROM events WHERE name = 'message.opened'";
        assert_eq!(office.number(verdicts).await, 11, "{}: one open of a machine, one of a person", database.name);
        assert_eq!(office.number("SELECT COUNT(*) FROM events WHERE name = 'message.clicked'").await, 0, "our own links count themselves");
        assert_eq!(office.number("SELECT COUNT(*) FROM hooks WHERE request IS NOT NULL").await, 0, "what is read is not kept");
    }
}

/// What SendGrid tells of a letter by its Message-ID.
fn told_of(message: i64, number: u32, email: &str, rest: Value) -> Value {
    let at = "2027-03-01T10:00:00Z".parse().unwrap();
    let token = Tokens::new(SIGNING).unwrap().sign_address(posthaste::tracking::Kind::Letter, MessageId(message), at, None);
    let mut event = event(number, email, rest);
    event["smtp-id"] = json!(format!("<{token}@mail.shop.example>"));
    event.as_object_mut().unwrap().remove("sg_message_id");
    event
}

#[tokio::test]
async fn a_message_that_waits_to_be_tried_again_is_settled_by_what_its_provider_tells_and_counts_for_caps() {
    for database in databases().await {
        let mut world = World::new(&database);
        world.policy("policy: { caps: [ { class: advertising, at_most: 9, in: 7 days } ] }");
        world.campaign("sale", SALE);
        for name in ["busy.one", "busy.two", "busy.three", "busy.four"] {
            world.person(&format!("{name}@a.example")).await;
        }
        world.apply().await;
        let office = Office::open(world).await;
        office.run_until("2027-03-01T10:01:00Z").await;
        assert_eq!(office.world.sums("sale").await, "selected 4, retry 4", "{}", database.name);
        // It said "later", and took them all the same.
        let events = json!([
            told_of(1, 1, "busy.one@a.example", json!({ "event": "delivered" })),
            told_of(2, 2, "busy.two@a.example", json!({ "event": "bounce", "type": "bounce", "reason": "550 5.1.1 no such user" })),
            told_of(3, 3, "busy.three@a.example", json!({ "event": "processed" })),
            // This it has not sent.
            told_of(4, 4, "busy.four@a.example", json!({ "event": "dropped", "reason": "SMTPAPI header is invalid" })),
        ]);
        assert_eq!(office.tell(&events).await, StatusCode::OK);
        office.run_until("2027-03-01T10:02:00Z").await;
        assert_eq!(office.world.sums("sale").await, "selected 4, retry 1, accepted 3", "{}", database.name);
        let confirmed =
            "SELECT COUNT(*) FROM reservations r JOIN messages m ON m.id = r.message_id WHERE r.is_handed_over = 1 AND m.state = 7";
        assert_eq!(office.number(confirmed).await, 3, "{}: they count for caps from now on", database.name);
        office.run_until("2027-03-01T14:00:00Z").await;
        assert_eq!(office.world.outbox(), ["busy.four@a.example"], "{}: nobody gets it twice", database.name);
        let funnel = office.world.funnel("sale").await;
        assert_eq!((funnel.accepted(), funnel.confirmed), (4, 1), "{}", database.name);
    }
}

#[tokio::test]
async fn a_nul_in_what_a_provider_says_keeps_nothing_else_from_being_written() {
    for database in databases().await {
        let mut world = World::new(&database);
        world.campaign("sale", SALE);
        for email in ["ada@a.example", "bo@a.example", "refuse@a.example"] {
            world.person(email).await;
        }
        world.apply().await;
        // A server's answer: it would have stopped every hand-over for good.
        let refused = Outcome::Later { after: None, throttled: false, reply: "451 4.3.0 no\0room".into() };
        let until = "2027-03-01T10:00:30Z".parse().unwrap();
        *world.outbox.outage.lock().unwrap() = Some((world.clock.clone(), until, refused));
        let office = Office::open(world).await;
        office.run_until("2027-03-01T10:01:00Z").await;
        assert_eq!(office.world.sums("sale").await, "selected 3, retry 3", "{}", database.name);
        office.run_until("2027-03-01T11:00:00Z").await;
        assert_eq!(office.world.sums("sale").await, "selected 3, accepted 2, failed 1", "{}", database.name);
        // A webhook: it would have stopped all webhooks.
        let events = json!([
            event(1, "ada@a.example", json!({ "event": "bounce", "type": "bounce", "reason": "552 5.2.2 full\0\0", "useragent": "\0" })),
            event(2, "bo@a.example", json!({ "event": "delivered", "response": "\0" })),
        ]);
        assert_eq!(office.tell(&events).await, StatusCode::OK);
        office.run_until("2027-03-01T11:02:00Z").await;
        let funnel = office.world.funnel("sale").await;
        assert_eq!((funnel.bounced, funnel.confirmed), (1, 1), "{}", database.name);
        assert!(office.world.store.unread_hooks(9).await.unwrap().is_empty());
    }
}

async fn futures(office: &Office, people: &[&str]) -> Vec<Option<SuppressionReason>> {
    let mut reasons = Vec::new();
    for email in people {
        reasons.push(suppressed(office, email).await);
    }
    reasons
}

#[tokio::test]
async fn what_is_not_proved_changes_nothing_and_is_counted() {
    for database in databases().await {
        let office = sent(&database, &["ada@a.example"]).await;
        let events = json!([event(1, "ada@a.example", json!({ "event": "spamreport" }))]);
        let (status, why) = office.post("", &[], events.to_string()).await;
        assert_eq!((status, why.contains("the signature is missing")), (StatusCode::UNAUTHORIZED, true), "{why}");
        let forged = [
            ("x-twilio-email-event-webhook-timestamp", "1803895300".to_string()),
            ("x-twilio-email-event-webhook-signature", "AAAA".to_string()),
        ];
        assert_eq!(office.post("", &forged, events.to_string()).await.0, StatusCode::FORBIDDEN);
        assert_eq!(office.ask(Method::POST, "/hooks/nobody").await, StatusCode::NOT_FOUND);
        assert_eq!(office.ask(Method::PUT, &format!("/hooks/{PROVIDER}")).await, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(office.ask(Method::HEAD, &format!("/hooks/{PROVIDER}")).await, StatusCode::OK);
        let (status, _) = office.post("", &[], "x".repeat(5 << 20)).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
        office.state.write_counts().await;
        let counts = office.world.store.hook_counts(0).await.unwrap();
        let counts: Vec<(&str, i64)> = counts.iter().map(|count| (count.outcome.as_str(), count.count)).collect();
        assert_eq!(counts, [("refused: signature", 2)], "{}", database.name);
        assert_eq!(office.number("SELECT COUNT(*) FROM hooks").await, 0);
        office.run_until("2027-03-01T10:02:00Z").await;
        assert_eq!(suppressed(&office, "ada@a.example").await, None);
    }
}

#[tokio::test]
async fn a_request_that_comes_again_is_one_and_a_poisoned_one_is_kept_and_answered_well() {
    for database in databases().await {
        let office = sent(&database, &["ada@a.example"]).await;
        let events = json!([event(1, "ada@a.example", json!({ "event": "bounce", "type": "bounce", "reason": "452 4.2.2 full" }))]);
        for _ in 0..3 {
            assert_eq!(office.tell(&events).await, StatusCode::OK);
        }
        assert_eq!(office.number("SELECT COUNT(*) FROM hooks").await, 1, "{}", database.name);
        assert_eq!(office.tell(&json!("no event at all")).await, StatusCode::OK);
        office.run_until("2027-03-01T10:02:00Z").await;
        let unread = office.world.store.unread_hooks(10).await.unwrap();
        assert_eq!(unread.iter().map(|(_, _, _, why)| why.as_str()).collect::<Vec<_>>(), ["the body is neither an object nor an array"]);
        assert!(!office.world.store.hooks_wait().await.unwrap(), "nobody reads it again");
        assert_eq!(office.tell(&json!("no event at all")).await, StatusCode::OK, "nor is it sent for ever");
        assert_eq!(office.number("SELECT SUM(soft_bounces) FROM addresses").await, 1);
        for day in ["2027-03-12T10:00:00Z", "2027-03-12T10:01:00Z"] {
            office.run_until(day).await;
        }
        assert_eq!(office.number("SELECT COUNT(*) FROM hooks").await, 1, "{}: what was read is forgotten after a week", database.name);
        for day in ["2027-04-12T10:00:00Z", "2027-04-12T10:01:00Z"] {
            office.run_until(day).await;
        }
        assert_eq!(office.number("SELECT COUNT(*) FROM hooks").await, 0);
    }
}

#[tokio::test]
async fn a_webhook_that_comes_before_our_own_commit_finds_its_message_later() {
    for database in databases().await {
        let office = sent(&database, &["ada@a.example", "bo@a.example"]).await;
        office.world.execute("UPDATE messages SET provider_id = NULL").await;
        let told = json!([
            event(1, "ada@a.example", json!({ "event": "bounce", "type": "bounce", "reason": "550 5.1.1 no such user" })),
            event(2, "stranger@a.example", json!({ "event": "delivered" })),
        ]);
        assert_eq!(office.tell(&told).await, StatusCode::OK);
        office.run_until("2027-03-01T10:01:01Z").await;
        assert_eq!(
            (office.world.store.orphan_count().await.unwrap(), office.world.funnel("sale").await.bounced),
            (2, 0),
            "{}",
            database.name
        );
        office.world.execute("UPDATE messages SET provider_id = 'id-' || address").await;
        office.run_until("2027-03-01T10:02:00Z").await;
        assert_eq!(
            (office.world.store.orphan_count().await.unwrap(), office.world.funnel("sale").await.bounced),
            (1, 1),
            "{}",
            database.name
        );
        assert_eq!(suppressed(&office, "ada@a.example").await, Some(SuppressionReason::HardBounce));
        office.run_until("2027-03-04T09:00:00Z").await;
        assert_eq!(office.world.store.orphan_count().await.unwrap(), 1, "a stranger's is waited for 72 hours");
        office.run_until("2027-03-04T17:00:00Z").await;
        assert_eq!(office.world.store.orphan_count().await.unwrap(), 0, "{}", database.name);
    }
}

#[tokio::test]
async fn what_comes_back_with_our_reference_proves_an_uncertain_message() {
    for database in databases().await {
        let office = sent(&database, &["lost-1@a.example", "lost-2@a.example", "lost-3@a.example"]).await;
        assert_eq!(office.world.sums("sale").await, "selected 3, uncertain 3", "{}", database.name);
        let custom = |number: u32, email: &str, word: &str, reference: String| {
            event(number, email, json!({ "event": word, "sg_message_id": "never seen", "posthaste_message": reference }))
        };
        let forged = format!("{}0", &office.reference("lost-3@a.example")[..17]);
        let told = json!([
            custom(1, "lost-1@a.example", "processed", office.reference("lost-1@a.example")),
            custom(2, "lost-2@a.example", "delivered", office.reference("lost-2@a.example")),
            custom(3, "lost-3@a.example", "processed", forged),
        ]);
        assert_eq!(office.tell(&told).await, StatusCode::OK);
        office.run_until("2027-03-01T10:02:00Z").await;
        assert_eq!(office.world.sums("sale").await, "selected 3, uncertain 1, accepted 2", "{}", database.name);
        assert_eq!(office.world.funnel("sale").await.confirmed, 1);
    }
}

#[tokio::test]
async fn a_disabled_mailbox_is_suppressed_when_it_is_told_again_a_day_later() {
    for database in databases().await {
        let office = sent(&database, &["ada@a.example"]).await;
        let told = |number: u32| {
            let at = office.world.clock.now().timestamp();
            let disabled = json!({ "event": "bounce", "type": "bounce", "reason": "550 5.2.1 mailbox disabled", "timestamp": at });
            json!([event(number, "ada@a.example", disabled)])
        };
        assert_eq!(office.tell(&told(1)).await, StatusCode::OK);
        office.run_until("2027-03-02T11:00:00Z").await;
        assert_eq!(suppressed(&office, "ada@a.example").await, None, "{}: it may come back", database.name);
        assert_eq!(office.world.funnel("sale").await.bounced, 1);
        assert_eq!(office.tell(&told(3)).await, StatusCode::OK);
        office.run_until("2027-03-03T10:00:00Z").await;
        assert_eq!(suppressed(&office, "ada@a.example").await, Some(SuppressionReason::HardBounce), "{}", database.name);
    }
}

#[tokio::test]
async fn the_letter_s_own_message_id_names_it() {
    for database in databases().await {
        let office = sent(&database, &["ada@a.example"]).await;
        office.world.execute("UPDATE messages SET provider_id = NULL").await;
        let id = office.message_id("ada@a.example");
        let told = event(1, "ada@a.example", json!({ "event": "spamreport", "sg_message_id": "x.y", "smtp-id": format!("<{id}>") }));
        assert_eq!(office.tell(&json!([told])).await, StatusCode::OK);
        office.run_until("2027-03-01T10:02:00Z").await;
        assert_eq!(office.number("SELECT COUNT(*) FROM events WHERE name = 'message.complained'").await, 1, "{}", database.name);
    }
}

#[tokio::test]
async fn a_number_of_a_whole_batch_names_the_message_to_that_address() {
    for database in databases().await {
        let office = sent(&database, &["ada@a.example", "bo@a.example", "cy@a.example"]).await;
        office.world.execute("UPDATE messages SET provider_id = 'batch' WHERE address <> 'cy@a.example'").await;
        let told = |number, email: &str| {
            event(
                number,
                email,
                json!({ "event": "bounce", "type": "bounce", "reason": "550 5.1.1 unknown", "sg_message_id": "batch.x.1" }),
            )
        };
        // Cy's has not been committed yet, and another one's must not be taken for it.
        assert_eq!(office.tell(&json!([told(1, "BO@a.example"), told(2, "cy@a.example")])).await, StatusCode::OK);
        office.run_until("2027-03-01T10:01:01Z").await;
        let bounced = office
            .number("SELECT SUM(CASE WHEN address = 'bo@a.example' THEN 1 ELSE 100 END) FROM messages WHERE bounced_at IS NOT NULL")
            .await;
        assert_eq!((bounced, office.world.store.orphan_count().await.unwrap()), (1, 1), "{}", database.name);
    }
}

/// Everything that webhooks change, in a form that can be compared.
async fn final_state(office: &Office) -> BTreeMap<String, Vec<(i64, i64, i64)>> {
    let queries = [
        ("events", "SELECT CAST(message_id AS BIGINT), CAST(verdict AS BIGINT), occurred_at FROM events ORDER BY name, 1, 3"),
        ("messages", "SELECT id, COALESCE(bounced_at, 0), COALESCE(confirmed_at, 0) FROM messages ORDER BY id"),
        ("state", "SELECT id, CAST(state AS BIGINT), COALESCE(accepted_at, 0) FROM messages ORDER BY id"),
        ("consents", "SELECT customer_id, CAST(state AS BIGINT), at FROM consent_state ORDER BY 1, topic, channel"),
        ("addresses", "SELECT customer_id, CAST(soft_bounces AS BIGINT), COALESCE(engaged_at, 0) FROM addresses ORDER BY 1, 2"),
        ("suppressions", "SELECT CAST(reason AS BIGINT), COUNT(*), COUNT(*) FROM suppressions GROUP BY reason ORDER BY 1"),
        (
            "tallies",
            "SELECT CAST(metric AS BIGINT), CAST(link AS BIGINT), CAST(SUM(count) AS BIGINT) FROM tallies GROUP BY 1, 2 HAVING SUM(count) <> 0 ORDER BY 1, 2",
        ),
        ("firsts", "SELECT message_id, CAST(kind AS BIGINT), at FROM firsts ORDER BY 1, 2, link"),
    ];
    let mut state = BTreeMap::new();
    for (name, sql) in queries {
        state.insert(name.to_string(), crate::respond::read(&office.world.store, sql).await);
    }
    state
}

#[tokio::test]
async fn shuffled_and_doubled_the_same_webhooks_leave_the_same_state() {
    const CHROME: &str = "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0";
    let people = ["a@a.example", "b@a.example", "c@a.example", "lost@a.example"];
    let mut first: Option<BTreeMap<String, Vec<(i64, i64, i64)>>> = None;
    for turn in 0..4_u64 {
        for database in databases().await {
            let office = sent(&database, &people).await;
            let reference = office.reference("lost@a.example");
            let mut events = vec![
                event(1, "a@a.example", json!({ "event": "processed" })),
                event(2, "a@a.example", json!({ "event": "delivered" })),
                event(3, "a@a.example", json!({ "event": "open", "useragent": CHROME })),
                event(4, "a@a.example", json!({ "event": "open", "useragent": "Mozilla/5.0" })),
                event(5, "a@a.example", json!({ "event": "click", "useragent": CHROME, "url": "https://shop.example/" })),
                event(6, "a@a.example", json!({ "event": "spamreport" })),
                event(7, "b@a.example", json!({ "event": "deferred", "response": "451 later" })),
                event(8, "b@a.example", json!({ "event": "bounce", "type": "bounce", "reason": "550 5.1.1 no such user" })),
                event(9, "b@a.example", json!({ "event": "delivered" })),
                event(10, "c@a.example", json!({ "event": "bounce", "type": "bounce", "reason": "452 4.2.2 full" })),
                event(11, "c@a.example", json!({ "event": "group_unsubscribe" })),
                event(12, "c@a.example", json!({ "event": "unsubscribe" })),
                event(13, "lost@a.example", json!({ "event": "delivered", "posthaste_message": reference })),
            ];
            // In order and once; then in other orders, each told twice, in requests of one or two.
            if turn > 0 {
                events.extend(events.clone());
                events.sort_by_key(|event| digest(&[&turn.to_be_bytes(), event.to_string().as_bytes(), &[]]));
                let half = events.len() / 2;
                events.rotate_left((turn as usize * 7) % half);
            }
            for (number, pair) in events.chunks(1 + turn as usize % 2).enumerate() {
                // A field that nobody reads makes each request another one.
                let mut pair: Vec<Value> = pair.to_vec();
                pair[0]["attempt"] = json!(number.to_string());
                assert_eq!(office.tell(&Value::Array(pair)).await, StatusCode::OK);
                if number % 5 == 4 {
                    feedback(&office.world).turn(office.world.clock.now()).await.unwrap();
                }
            }
            office.run_until("2027-03-01T10:10:00Z").await;
            let state = final_state(&office).await;
            assert_eq!(office.world.funnel("sale").await.accepted(), 4);
            let known = first.get_or_insert_with(|| state.clone());
            assert_eq!(*known, state, "{}, turn {turn}", database.name);
        }
    }
}

#[tokio::test]
async fn amazon_s_topic_is_confirmed_and_its_certificate_fetched_once() {
    use super::signatures::Topic;
    let databases: Vec<Database> = databases().await;
    let office = sent(&databases[0], &["ada@a.example"]).await;
    office.admit(Kind::Ses, Locks { topics: vec!["arn:ours".into()], ..Locks::default() });
    let topic = Topic::new();
    let body = |changes: &[(&str, &str)]| String::from_utf8(topic.says("2", changes).body).unwrap();
    let confirmation =
        |url: &str| body(&[("Type", "SubscriptionConfirmation"), ("Token", "t"), ("SubscribeURL", url), ("MessageId", "m0")]);
    let confirm = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=t";
    assert_eq!(
        office.post("", &[], confirmation(confirm)).await.0,
        StatusCode::SERVICE_UNAVAILABLE,
        "the certificate is away: Amazon tries again"
    );
    let page = |url: &str, text: &str| office.answers.pages.lock().unwrap().insert(url.into(), text.into());
    page("https://sns.eu-west-1.amazonaws.com/x.pem", &topic.certificate);
    page(confirm, "<ok/>");
    assert_eq!(office.post("", &[], confirmation(confirm)).await.0, StatusCode::OK);
    assert_eq!(office.post("", &[], body(&[("TopicArn", "arn:theirs")])).await.0, StatusCode::FORBIDDEN);
    let bounce = json!({ "eventType": "Bounce", "mail": { "messageId": "id-ada@a.example" },
                         "bounce": { "bounceType": "Permanent", "bounceSubType": "General", "bouncedRecipients": [{ "emailAddress": "ada@a.example" }] } });
    assert_eq!(office.post("", &[], body(&[("Message", &bounce.to_string())])).await.0, StatusCode::OK);
    let asked = office.answers.asked.lock().unwrap().clone();
    assert_eq!(asked, ["https://sns.eu-west-1.amazonaws.com/x.pem", "https://sns.eu-west-1.amazonaws.com/x.pem", confirm]);
    office.run_until("2027-03-01T10:02:00Z").await;
    assert_eq!(suppressed(&office, "ada@a.example").await, Some(SuppressionReason::HardBounce));
}

#[tokio::test]
async fn who_signs_nothing_comes_in_by_a_secret_address() {
    let databases: Vec<Database> = databases().await;
    let office = sent(&databases[0], &["ada@a.example"]).await;
    office.admit(Kind::Postmark, Locks { secret: Some("0123456789abcdefghijkl".into()), ..Locks::default() });
    let bounce =
        json!({ "RecordType": "Bounce", "ID": 7, "Type": "HardBounce", "MessageID": "id-ada@a.example", "Email": "ada@a.example" });
    assert_eq!(office.post("", &[], bounce.to_string()).await.0, StatusCode::FORBIDDEN);
    assert_eq!(office.post("/0123456789abcdefghijkm", &[], bounce.to_string()).await.0, StatusCode::FORBIDDEN);
    assert_eq!(office.post("/0123456789abcdefghijkl", &[], bounce.to_string()).await.0, StatusCode::OK);
    office.run_until("2027-03-01T10:02:00Z").await;
    assert_eq!(suppressed(&office, "ada@a.example").await, Some(SuppressionReason::HardBounce));
}
