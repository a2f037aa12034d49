//! The honest ledger: what happens to a message is written once, a crash loses nobody, and what could have been sent twice is listed.

use crate::databases::databases;
use crate::world::{World, advertising};
use posthaste::clock::Clock;
use posthaste::plan::Planner;
use posthaste::providers::{Outcome, Outgoing, Provider, Sending};
use posthaste::store::Store;
use posthaste::store::blocks::{Again, Which};
use posthaste::store::definitions::Loaded;
use posthaste::store::ledger::{Answer, Batch, Claim, Mark};
use posthaste::store::nodes::Working;
use posthaste::store::runs::{Finish, Looked};
use posthaste::types::{Channel, ConsentState, MessageState, NodeId, Time};
use std::sync::{Arc, Mutex};

const SALE: &str = advertising!(
    "audience: { segment: everyone, holdout: 0% }\n",
    "schedule: { at: 2027-03-01 10:00 }\n",
    "message: { template: hello, subject: \"Hello\" }\n",
);

const NOTICE: &str = "
class: transactional
audience: { segment: everyone }
schedule: { at: 2027-03-01 10:00 }
message: { from: news, template: hello, subject: \"Your order\" }
";

async fn world(database: &crate::databases::Database, file: &str, people: &[&str]) -> World {
    let mut world = World::new(database);
    world.campaign("sale", file);
    for email in people {
        world.person(email).await;
    }
    world.apply().await;
    world
}

#[tokio::test]
async fn a_busy_receiver_is_tried_again_and_a_refusal_suppresses() {
    for database in databases().await {
        let people = ["ada@example.org", "busy@example.org", "refuse@example.org", "blocked@example.org"];
        let world = world(&database, SALE, &people).await;
        world.run_until("2027-03-01T10:01:00Z").await;
        assert_eq!(world.outbox(), ["ada@example.org"], "{}", database.name);
        assert_eq!(world.sums("sale").await, "selected 4, retry 1, accepted 1, failed 2");
        // 20 minutes, then 40, with jitter.
        world.run_until("2027-03-01T12:00:00Z").await;
        assert_eq!(world.outbox(), ["ada@example.org", "busy@example.org"], "{}", database.name);
        assert_eq!(world.sums("sale").await, "selected 4, accepted 2, failed 2");
        // A refused address is suppressed; a block of ours is nobody's fault.
        assert_eq!(world.number("SELECT COUNT(*) FROM suppressions WHERE reason = 1").await, 1);
        assert_eq!(
            world
                .number("SELECT COUNT(*) FROM addresses a JOIN suppressions s ON s.key = a.key WHERE a.address = 'refuse@example.org'")
                .await,
            1
        );
        // Every try is kept but a first one that was accepted.
        assert_eq!(world.number("SELECT COUNT(*) FROM attempts").await, 5);
        assert_eq!(
            world
                .number("SELECT COUNT(*) FROM attempts a JOIN messages m ON m.id = a.message_id WHERE m.address = 'busy@example.org'")
                .await,
            3
        );
        assert_eq!(world.number("SELECT COUNT(*) FROM runs WHERE state = 4").await, 1);
        assert_eq!(world.number("SELECT COUNT(*) FROM blocks").await, 0);
    }
}

/// Wants to be left alone for twenty seconds when it is asked first, as an answer 429 with `Retry-After` says it.
struct Stopping {
    clock: Clock,
    until: Mutex<Option<Time>>,
    asked: Mutex<Vec<Time>>,
}

impl Provider for Stopping {
    fn name(&self) -> &str {
        "stopping"
    }
    fn channel(&self) -> Channel {
        Channel::Email
    }
    fn width(&self) -> usize {
        1
    }
    fn pause(&self) -> Option<std::time::Duration> {
        let until = (*self.until.lock().unwrap())?;
        (until - self.clock.now()).to_std().ok().filter(|pause| !pause.is_zero())
    }
    fn send<'a>(&'a self, _: &'a Outgoing) -> Sending<'a> {
        let now = self.clock.now();
        self.asked.lock().unwrap().push(now);
        let first = self.until.lock().unwrap().is_none();
        if first {
            *self.until.lock().unwrap() = Some(now + chrono::TimeDelta::seconds(20));
        }
        let after = Some(std::time::Duration::from_secs(20));
        Box::pin(std::future::ready(match first {
            true => Outcome::Later { after, throttled: true, reply: "429 too many requests".into() },
            false => Outcome::Accepted { id: None, reply: "202".into() },
        }))
    }
}

#[tokio::test]
async fn a_message_whose_provider_asks_to_be_left_alone_goes_when_that_is_over_and_no_try_is_counted() {
    for database in databases().await {
        let mut world = World::new(&database);
        world.campaign("sale", SALE);
        world.person("ada@example.org").await;
        let stopping = Arc::new(Stopping { clock: world.clock.clone(), until: Mutex::default(), asked: Mutex::default() });
        world.others.push(stopping.clone());
        world.only_others = true;
        world.apply().await;
        world.run_until("2027-03-01T10:05:00Z").await;
        assert_eq!(world.sums("sale").await, "selected 1, accepted 1", "{}", database.name);
        let asked = stopping.asked.lock().unwrap().clone();
        let [first, second] = asked.as_slice() else { panic!("{}: {asked:?}", database.name) };
        let waited = (*second - *first).num_seconds();
        assert!((20..=22).contains(&waited), "{}: after {waited} seconds", database.name);
        assert_eq!(world.number("SELECT CAST(attempts AS BIGINT) FROM messages").await, 1, "{}", database.name);
    }
}

#[tokio::test]
async fn a_message_that_never_gets_an_answer_is_sent_five_times_and_then_waits_for_a_person() {
    for database in databases().await {
        let world = world(&database, NOTICE, &["ada@example.org"]).await;
        let nothing = Outcome::Unknown { reply: "no complete answer in time".into() };
        *world.outbox.outage.lock().unwrap() = Some((world.clock.clone(), "2027-03-09T00:00:00Z".parse().unwrap(), nothing));
        world.run_until("2027-03-05T00:00:00Z").await;
        assert_eq!(world.sums("sale").await, "selected 1, uncertain 1", "{}", database.name);
        assert_eq!(world.outbox.in_vain.lock().unwrap().len(), 5, "{}: each of them may have arrived", database.name);
    }
}

#[tokio::test]
async fn a_relay_that_says_whose_the_mailbox_is_now_ends_the_consent_too() {
    for database in databases().await {
        let world = world(&database, SALE, &["ada@example.org"]).await;
        let reply = "550 5.7.17 mailbox owner has changed";
        let outcome = posthaste::providers::email::reply::classify(550, &reply[4..]).outcome(550, reply.into());
        *world.outbox.outage.lock().unwrap() = Some((world.clock.clone(), "2027-03-02T00:00:00Z".parse().unwrap(), outcome));
        world.run_until("2027-03-01T10:05:00Z").await;
        assert_eq!(world.sums("sale").await, "selected 1, failed 1", "{}", database.name);
        assert_eq!(world.number("SELECT COUNT(*) FROM suppressions WHERE reason = 1").await, 1, "{}", database.name);
        let withdrawn =
            "SELECT COUNT(*) FROM consents WHERE state = 4 AND topic = '*' AND channel = 1 AND source = 'obedient: owner_changed'";
        assert_eq!(world.number(withdrawn).await, 1, "{}", database.name);
        assert_eq!(world.number("SELECT COUNT(*) FROM consent_state WHERE state = 4 AND topic = '*'").await, 1, "{}", database.name);
    }
}

#[tokio::test]
async fn a_reply_that_no_database_can_store_holds_up_nobody() {
    let reply = "5.1.1 no such \0 user";
    let refused = posthaste::providers::email::reply::classify(550, reply).outcome(550, reply.into());
    let accepted = Outcome::Accepted { id: Some("7\0B1".into()), reply: "250 2.0.0 queued as 7\0B1".into() };
    for (outcome, sums) in [(accepted, "selected 2, accepted 2"), (refused, "selected 2, failed 2")] {
        for database in databases().await {
            let world = world(&database, SALE, &["ada@example.org", "bo@example.org"]).await;
            *world.outbox.outage.lock().unwrap() = Some((world.clock.clone(), "2027-03-02T00:00:00Z".parse().unwrap(), outcome.clone()));
            let done = tokio::time::timeout(std::time::Duration::from_secs(60), world.run_until("2027-03-01T10:05:00Z")).await;
            assert!(done.is_ok(), "{}: the ledger waits for ever", database.name);
            assert_eq!(world.sums("sale").await, sums, "{}", database.name);
        }
    }
}

#[tokio::test]
async fn all_attempts_of_a_message_are_the_same_message() {
    for database in databases().await {
        let world = world(&database, NOTICE, &["lost@example.org"]).await;
        world.run_until("2027-03-01T12:00:00Z").await;
        let letters = world.outbox.letters.lock().unwrap().clone();
        assert_eq!(letters.len(), 2, "{}: no answer means another try, for transactional messages", database.name);
        let bytes = |index: usize| match &letters[index] {
            posthaste::providers::Outgoing { body: posthaste::providers::Body::Email { mime, .. }, key, .. } => (mime.clone(), key.clone()),
            _ => unreachable!(),
        };
        assert!(bytes(0) == bytes(1), "{}: date, Message-ID and boundaries stay", database.name);
    }
}

#[tokio::test]
async fn no_answer_leaves_an_advertisement_uncertain_and_never_sends_it_again() {
    for database in databases().await {
        let world = world(&database, SALE, &["lost@example.org", "ada@example.org"]).await;
        world.run_until("2027-03-03T10:00:00Z").await;
        assert_eq!(world.outbox(), ["ada@example.org", "lost@example.org"], "{}", database.name);
        assert_eq!(world.sums("sale").await, "selected 2, uncertain 1, accepted 1");
    }
}

/// What a process leaves behind that plans, claims its block, and dies; with `mark`, after it marked the first message.
async fn die(world: &World, mark: bool) {
    let now: Time = "2027-03-01T10:00:00Z".parse().unwrap();
    world.clock.advance_to(now);
    let engine = world.engine().await;
    engine.plan().await.unwrap();
    engine.end().await.unwrap();
    let store = &world.store;
    let dead = store.register_node("dead", "elsewhere", "all", now, now - chrono::TimeDelta::seconds(1)).await.unwrap();
    let block = store.claim_blocks(dead, now, 1, &[]).await.unwrap().pop().unwrap();
    if mark {
        let claim = Claim { block: block.id, fence: block.fence };
        let mark = Mark { message: block.id, claim, provider: "obedient".into(), attempt: 1 };
        let granted = store.commit_batch(dead, now, &Batch { marks: vec![mark], ..Batch::default() }).await.unwrap();
        assert_eq!(granted, [block.id]);
    }
}

#[tokio::test]
async fn a_crash_before_the_mark_loses_nobody_and_doubles_nobody() {
    for database in databases().await {
        let world = world(&database, SALE, &["ada@example.org", "bo@example.org"]).await;
        die(&world, false).await;
        world.run_until("2027-03-01T10:30:00Z").await;
        assert_eq!(world.outbox(), ["ada@example.org", "bo@example.org"], "{}", database.name);
        assert_eq!(world.sums("sale").await, "selected 2, accepted 2");
    }
}

#[tokio::test]
async fn a_crash_after_the_mark_holds_an_advertisement_and_resends_a_transactional_message() {
    for database in databases().await {
        let world = world(&database, SALE, &["ada@example.org", "bo@example.org"]).await;
        die(&world, true).await;
        world.run_until("2027-03-02T10:30:00Z").await;
        assert_eq!(world.outbox(), ["bo@example.org"], "{}", database.name);
        assert_eq!(world.sums("sale").await, "selected 2, uncertain 1, accepted 1");
    }
    for database in databases().await {
        let world = world(&database, NOTICE, &["ada@example.org", "bo@example.org"]).await;
        die(&world, true).await;
        world.run_until("2027-03-02T10:30:00Z").await;
        assert_eq!(world.outbox(), ["ada@example.org", "bo@example.org"], "{}", database.name);
        assert_eq!(world.sums("sale").await, "selected 2, accepted 2");
        assert_eq!(world.number("SELECT CAST(MAX(attempts) AS BIGINT) FROM messages").await, 2);
    }
}

#[tokio::test]
async fn two_workers_never_hold_one_block_and_a_lost_fence_writes_nothing() {
    for database in databases().await {
        let world = world(&database, SALE, &[]).await;
        let mut world = world;
        for number in 0..600 {
            world.stranger(&format!("p{number}@example.org")).await;
        }
        world
            .execute("INSERT INTO consent_state (customer_id, topic, channel, state, at) SELECT id, 'offers', 1, 1, 1 FROM customers")
            .await;
        let now: Time = "2027-03-01T10:00:00Z".parse().unwrap();
        world.clock.advance_to(now);
        let engine = world.engine().await;
        engine.plan().await.unwrap();
        engine.end().await.unwrap();
        let store = world.store.clone();
        let node = async |name: &str| store.register_node(name, name, "all", now, now + chrono::TimeDelta::days(1)).await.unwrap();
        let (one, two) = (node("one").await, node("two").await);
        let claim = async |node: NodeId, store: &Store| store.claim_blocks(node, now, 2, &[]).await.unwrap();
        let (first, second) = tokio::join!(claim(one, &store), claim(two, &store));
        let mut all: Vec<i64> = first.iter().chain(&second).map(|block| block.id).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 3, "{}: 600 messages are three blocks, each held once", database.name);
        let rows = store.load_due(&Which::Blocks(vec![first[0]]), &Again::default()).await.unwrap();
        assert!(rows.len() == 256 || rows.len() == 88, "{}", database.name);
        // The block is taken over: its old holder's mark is refused, the new one's is granted.
        let block = first[0];
        let mark = |fence| Batch {
            marks: vec![Mark { message: block.id, claim: Claim { block: block.id, fence }, provider: "x".into(), attempt: 1 }],
            ..Batch::default()
        };
        store.remove_node(one).await.unwrap();
        let (_, taken) = store
            .take_over(two, &Working { blocks: second.iter().map(|block| block.id).collect(), ..Working::default() }, now)
            .await
            .unwrap();
        let taken = taken.into_iter().find(|claim| claim.block == block.id).unwrap();
        assert_eq!(store.commit_batch(one, now, &mark(block.fence)).await.unwrap(), Vec::<i64>::new(), "{}", database.name);
        assert_eq!(store.commit_batch(two, now, &mark(taken.fence)).await.unwrap(), [block.id], "{}", database.name);
        // A second mark for the same message is refused, and so is an answer to another attempt.
        assert_eq!(store.commit_batch(two, now, &mark(taken.fence)).await.unwrap(), Vec::<i64>::new());
        let answer = |attempt| Batch {
            answers: vec![Answer {
                message: block.id,
                claim: Claim { block: block.id, fence: taken.fence },
                attempt,
                provider: "x".into(),
                at: now,
                began: now,
                state: MessageState::Accepted,
                reason: None,
                reply: None,
                provider_id: None,
                next_at: None,
                snapshot: None,
                uncounted: false,
                reserved_for: None,
            }],
            ..Batch::default()
        };
        store.commit_batch(two, now, &answer(2)).await.unwrap();
        assert_eq!(world.number("SELECT COUNT(*) FROM messages WHERE state = 7").await, 0);
        store.commit_batch(two, now, &answer(1)).await.unwrap();
        assert_eq!(world.number("SELECT COUNT(*) FROM messages WHERE state = 7").await, 1);
    }
}

#[tokio::test]
async fn who_unsubscribes_between_planning_and_hand_over_gets_nothing() {
    for database in databases().await {
        let world = world(&database, SALE, &["ada@example.org", "bo@example.org", "cy@example.org", "di@example.org"]).await;
        die(&world, false).await;
        world.consent(1, Channel::Email, ConsentState::Withdrawn).await;
        world.suppress(Channel::Email, "bo@example.org").await;
        world.execute("UPDATE customers SET erased_at = 1 WHERE id = 3").await;
        world.run_until("2027-03-01T10:30:00Z").await;
        assert_eq!(world.outbox(), ["di@example.org"], "{}", database.name);
        assert_eq!(world.sums("sale").await, "selected 4, erased 1, no_consent 1, suppressed 1, accepted 1");
    }
}

#[tokio::test]
async fn what_is_excluded_or_expired_at_hand_over_does_not_leave() {
    for database in databases().await {
        let file = SALE
            .replace("holdout: 0%", "holdout: 0%, except: [ { attribute: loyalty.tier, is: gold } ]")
            .replace("subject: \"Hello\" }", "subject: \"Hello\", expires: 1 hour }");
        let world = world(&database, &file, &["ada@example.org", "bo@example.org"]).await;
        die(&world, false).await;
        let json = world.store.pick(
            "UPDATE customers SET attributes = '{\"loyalty\":{\"tier\":\"gold\"}}' WHERE id = 1",
            "UPDATE customers SET attributes = '{\"loyalty\":{\"tier\":\"gold\"}}'::jsonb WHERE id = 1",
        );
        world.execute(json).await;
        world.run_until("2027-03-01T10:30:00Z").await;
        assert_eq!(world.sums("sale").await, "selected 2, excluded 1, accepted 1", "{}", database.name);
    }
    for database in databases().await {
        let file = SALE.replace("subject: \"Hello\" }", "subject: \"Hello\", expires: 1 hour }");
        let world = world(&database, &file, &["ada@example.org"]).await;
        die(&world, false).await;
        world.clock.advance_to("2027-03-01T11:00:00Z".parse().unwrap());
        world.run_until("2027-03-01T11:30:00Z").await;
        assert_eq!(world.sums("sale").await, "selected 1, expired 1", "{}", database.name);
    }
}

#[tokio::test]
async fn a_value_that_is_missing_refuses_that_message_alone() {
    for database in databases().await {
        let world = world(&database, &SALE.replace("template: hello", "template: needy"), &["gold@example.org", "bo@example.org"]).await;
        world.run_until("2027-03-01T10:30:00Z").await;
        assert_eq!(world.outbox(), ["gold@example.org"], "{}", database.name);
        assert_eq!(world.sums("sale").await, "selected 2, missing_data 1, accepted 1");
    }
}

#[tokio::test]
async fn a_provider_that_cannot_send_keeps_its_queue() {
    for database in databases().await {
        let world = world(&database, SALE, &["broken@example.org", "ada@example.org"]).await;
        world.run_until("2027-03-01T10:00:30Z").await;
        let funnel = world.funnel("sale").await;
        assert_eq!((funnel.waiting() + funnel.accepted(), funnel.selected()), (2, 2), "{}", database.name);
        assert_eq!(
            world.number("SELECT CAST(COALESCE(MAX(attempts), 0) AS BIGINT) FROM messages WHERE address = 'broken@example.org'").await,
            0
        );
    }
}

#[tokio::test]
async fn paused_waits_and_cancelled_never_leaves() {
    for database in databases().await {
        let world = world(&database, SALE, &["ada@example.org", "bo@example.org"]).await;
        die(&world, false).await;
        let now = world.clock.now();
        world.store.pause_campaign("sale", Some(now)).await.unwrap();
        world.run_until("2027-03-01T10:30:00Z").await;
        assert_eq!(world.sums("sale").await, "selected 2, planned 2", "{}", database.name);
        world.store.pause_campaign("sale", None).await.unwrap();
        assert_eq!(world.store.cancel_campaign("sale", now).await.unwrap(), 2);
        world.run_until("2027-03-01T11:30:00Z").await;
        assert_eq!(world.sums("sale").await, "selected 2, cancelled 2", "{}", database.name);
        assert!(world.outbox().is_empty());
    }
}

#[tokio::test]
async fn an_unchanged_campaign_gets_no_new_version_and_a_vanished_one_is_retired() {
    for database in databases().await {
        let mut world = world(&database, SALE, &["ada@example.org"]).await;
        world.apply().await;
        world.campaign("other", &SALE.replace("2027-03-01", "2027-03-02"));
        world.apply().await;
        let versions = world.store.applied_versions().await.unwrap();
        let found: Vec<(&str, i64)> = versions.iter().map(|(key, version)| (key.as_str(), version.version)).collect();
        assert_eq!(found, [("other", 1), ("sale", 1)], "{}", database.name);
        world.campaign("sale", &SALE.replace("Hello", "Good day"));
        world.files.0.remove("campaigns/other.yaml");
        world.apply().await;
        let versions = world.store.applied_versions().await.unwrap();
        let found: Vec<(&str, i64)> = versions.iter().map(|(key, version)| (key.as_str(), version.version)).collect();
        assert_eq!(found, [("sale", 2)], "{}", database.name);
        world.run_until("2027-03-03T10:00:00Z").await;
        assert_eq!(world.outbox().len(), 1, "{}: the retired one does not run", database.name);
        assert_eq!(world.number("SELECT COUNT(*) FROM links").await, 3, "{}: each version has its link", database.name);
        assert_eq!(world.number("SELECT COUNT(*) FROM measures WHERE event = 'purchase' AND within = '7 days'").await, 3);
    }
}

#[tokio::test]
async fn who_has_lost_the_right_to_plan_writes_nothing_of_a_plan() {
    for database in databases().await {
        let world = world(&database, SALE, &["ada@example.org", "bo@example.org"]).await;
        let now: Time = "2027-03-01T10:00:00Z".parse().unwrap();
        let store = world.store.clone();
        let later = now + chrono::TimeDelta::seconds(11);
        let node = async |name: &str, alive: Time| store.register_node(name, name, "all", now, alive).await.unwrap();
        let (old, new) = (node("old", now + chrono::TimeDelta::seconds(10)).await, node("new", later + chrono::TimeDelta::days(1)).await);
        let right = store.take_right_to_plan(old, None, now).await.unwrap().unwrap();
        assert_eq!(store.take_right_to_plan(old, Some(right), now).await.unwrap(), Some(right), "{}: it is kept", database.name);
        if database.name == "postgres" {
            assert_eq!(store.take_right_to_plan(new, None, now).await.unwrap(), None, "while the lease lasts");
        }
        let campaign = store.campaigns().await.unwrap().remove(0);
        let version = campaign.version.unwrap();
        let looked = |name: &str| Looked { occurrences: vec![(name.into(), now)], missed: Vec::new(), until: now };
        store.create_runs(campaign.id, version, &looked("one"), right).await.unwrap();
        let run = store.runs_of(Some("sale")).await.unwrap().remove(0).id;
        let planner = Planner::new(store.clone(), Loaded::new(store.clone()), posthaste::dispatch::count_parts(), new);
        assert_eq!(planner.turn(later).await.unwrap().planned, [run], "{}", database.name);
        let before = world.sums("sale").await;
        assert_eq!(before, "selected 2, planned 2");
        // The old one wakes.
        let is_taken_over =
            |result: Result<(), posthaste::store::Error>| assert!(matches!(result, Err(posthaste::store::Error::TakenOver)));
        is_taken_over(store.create_runs(campaign.id, version, &looked("two"), right).await);
        is_taken_over(store.drop_plan(run, right).await);
        is_taken_over(store.finish_planning(run, &[], &Finish::default(), later, right).await);
        is_taken_over(store.leave_run_out(run, "why", later, right).await);
        is_taken_over(store.drop_starts(campaign.id, &[1], right).await);
        is_taken_over(store.run_of_triggers(campaign.id, version, "2027-03-01", later, right).await.map(drop));
        is_taken_over(store.change("write a plan").await.unwrap().connection().still_plans(right).await);
        assert_eq!((world.sums("sale").await, store.runs_of(Some("sale")).await.unwrap().len()), (before, 1), "{}", database.name);
        if database.name == "postgres" {
            assert_eq!(store.take_right_to_plan(old, Some(right), later).await.unwrap(), None, "the new one lives");
        }
    }
}

/// An hour in which the provider takes nothing, in each of the ways to say so.
#[tokio::test]
async fn after_an_hour_of_outage_all_messages_end_and_few_were_tried_again_in_vain() {
    let reply = |text: &str| text.to_string();
    let ways = [
        ("no connection", Outcome::Unreachable { after: None, reply: reply("connection refused") }, 3_000),
        ("it says so of itself", Outcome::Away { after: None, reply: reply("421 4.3.2 closing") }, 3_000),
        // Said of each message, as greylisting says it too: only the budget for trying again holds the herd back.
        ("it says so of each message", Outcome::Later { after: None, throttled: false, reply: reply("451 4.3.0 try again") }, 600),
    ];
    for (name, outcome, people) in ways {
        for database in databases().await {
            let mut world = world(&database, SALE, &[]).await;
            world.crowd(people, &["UTC"]).await;
            let end: Time = "2027-03-01T11:00:00Z".parse().unwrap();
            *world.outbox.outage.lock().unwrap() = Some((world.clock.clone(), end, outcome.clone()));
            world.run_until("2027-03-02T10:00:00Z").await;
            let name = format!("{name}, {}", database.name);
            assert_eq!(world.sums("sale").await, format!("selected {people}, accepted {people}"), "{name}");
            assert_eq!(world.outbox().len() as i64, people, "{name}");
            let tried: Vec<String> = world.outbox.in_vain.lock().unwrap().clone();
            let first: std::collections::BTreeSet<&String> = tried.iter().collect();
            let again = tried.len() - first.len();
            eprintln!("outage, {name}: {} of {people} were tried in it, {again} times again in vain", first.len());
            if matches!(outcome, Outcome::Later { .. }) {
                // What a budget starts with, and two a minute; nothing was answered that could earn more.
                assert!(first.len() as i64 == people && again <= 50 + 121, "{name}: {again}");
            } else {
                // Who was tried in the outage is tried again after it.
                let retries = tried.len();
                assert!(retries as i64 <= people / 10, "{name}: {retries} retries are more than a tenth of {people}");
            }
        }
    }
}

#[tokio::test]
async fn a_site_that_was_spared_gets_little_at_first_and_twice_as_much_each_minute() {
    for database in databases().await {
        let mut world = World::new(&database);
        world.campaign("sale", SALE);
        world.crowd(400, &["UTC"]).await;
        world.apply().await;
        // The site asks to slow down, and is over it before it is asked again.
        let slower = Outcome::Later { after: None, throttled: true, reply: "421 4.7.0 too fast for us".into() };
        let calm: Time = "2027-03-01T10:03:00Z".parse().unwrap();
        *world.outbox.outage.lock().unwrap() = Some((world.clock.clone(), calm, slower));
        world.run_until("2027-03-01T12:00:00Z").await;
        assert_eq!(world.sums("sale").await, "selected 400, accepted 400", "{}", database.name);
        let sql = "SELECT accepted_at FROM messages ORDER BY accepted_at";
        let rows: Vec<(i64,)> = posthaste::on_pool!(&world.store, pool => sqlx::query_as(sql).fetch_all(pool).await).unwrap();
        let first = rows[0].0;
        assert!(first >= posthaste::types::micros(calm), "{}", database.name);
        let mut minutes: Vec<usize> = Vec::new();
        for (at,) in rows {
            let minute = ((at - first) / 60_000_000) as usize;
            minutes.resize(minutes.len().max(minute + 1), 0);
            minutes[minute] += 1;
        }
        // The queue waits from the first minute on; who was told to come later comes by its own retry, after it.
        assert_eq!(minutes[..4], [10, 20, 40, 80], "{}: {minutes:?}", database.name);
        // How many were told so depends on how many were on their way at the first refusal: on a busy machine they are many, and the queue ends sooner.
        let told: std::collections::BTreeSet<String> = world.outbox.in_vain.lock().unwrap().iter().cloned().collect();
        let is_through = minutes[..5].iter().sum::<usize>() >= 400 - told.len();
        let message = format!("{}: {minutes:?}, {} were told to come later", database.name, told.len());
        assert!((minutes[4] > 80 || is_through) && minutes[4..].iter().all(|count| *count <= 160), "{message}");
    }
}
