//! A due campaign becomes a run: everyone selected is a message or a refusal, once.

use crate::databases::databases;
use crate::world::{World, advertising};
use posthaste::types::{Channel, ConsentState};

const SALE: &str = advertising!("schedule: { at: 2027-03-01 10:00 }\n", "message: { template: hello, subject: \"Hello\" }\n",);

fn sale(audience: &str) -> String {
    format!("{SALE}audience: {{ segment: everyone, {audience} }}\n")
}

#[tokio::test]
async fn the_first_no_is_the_reason_and_the_sums_hold() {
    for database in databases().await {
        let mut world = World::new(&database);
        world.campaign("sale", &sale("holdout: 0%"));
        world.person("ada@example.org").await;
        world.person("").await;
        world.person("жена@example.org").await;
        world.person("ada@example.org").await;
        world.person("bo@example.org").await;
        world.suppress(Channel::Email, "bo@example.org").await;
        world.stranger("cy@example.org").await;
        let withdrawn = world.person("di@example.org").await;
        world.consent(withdrawn, Channel::Email, ConsentState::Withdrawn).await;
        world.apply().await;
        world.run_until("2027-03-01T11:00:00Z").await;
        assert_eq!(
            world.sums("sale").await,
            "selected 7, duplicate_address 1, no_address 1, no_consent 2, suppressed 1, unsupported_address 1, accepted 1",
            "{}",
            database.name
        );
        assert_eq!(world.outbox(), ["ada@example.org"]);
        // Another turn finds nothing to do.
        world.run_until("2027-03-01T12:00:00Z").await;
        assert_eq!(world.outbox().len(), 1);
        assert_eq!(world.number("SELECT COUNT(*) FROM runs WHERE state = 4").await, 1);
    }
}

#[tokio::test]
async fn otherwise_is_taken_by_whom_the_first_channel_cannot_reach() {
    for database in databases().await {
        let mut world = World::new(&database);
        let other = sale("holdout: 0%")
            .replace("subject: \"Hello\" }", "subject: \"Hello\", otherwise: { channel: sms, text: \"Hello from the shop\" } }");
        world.campaign("sale", &other);
        world.person("ada@example.org").await;
        let phone_only = world.person("").await;
        world.address(phone_only, Channel::Sms, "+380671234567").await;
        let landline = world.person("").await;
        world.address(landline, Channel::Sms, "+380442345678").await;
        world.apply().await;
        world.run_until("2027-03-01T11:00:00Z").await;
        assert_eq!(world.outbox(), ["+380671234567", "ada@example.org"], "{}", database.name);
        assert_eq!(world.sums("sale").await, "selected 3, no_address 1, accepted 2", "{}", database.name);
    }
}

#[tokio::test]
async fn a_limit_cuts_by_draw_and_held_out_people_are_an_arm() {
    for database in databases().await {
        let mut world = World::new(&database);
        world.campaign("sale", &format!("{}limits: {{ audience: 30 }}\n", sale("holdout: 20%")));
        for number in 0..200 {
            world.person(&format!("p{number}@example.org")).await;
        }
        world.apply().await;
        world.run_until("2027-03-01T11:00:00Z").await;
        let funnel = world.funnel("sale").await;
        assert_eq!((funnel.selected(), funnel.accepted()), (200, 30), "{}", database.name);
        let held_out = funnel.refused["held_out"];
        assert!((20..=60).contains(&held_out), "{held_out}");
        assert_eq!(funnel.refused["over_audience"] + held_out + 30, 200);
        assert_eq!(
            world
                .number("SELECT COUNT(*) FROM arms WHERE (arm = 0 AND name = 'held_out' AND held_out = 1) OR (arm = 1 AND name = 'all')")
                .await,
            2
        );
        assert_eq!(world.number("SELECT COUNT(*) FROM messages WHERE (arm = 0) = (state = 0 AND reason = 6)").await, 200);
    }
}

#[tokio::test]
async fn variants_take_their_shares_and_forced_arms_are_obeyed() {
    for database in databases().await {
        let mut world = World::new(&database);
        world
            .campaign("sale", &format!("{}variants: [ {{ name: plain }}, {{ name: gift, subject: \"A gift\" }} ]\n", sale("holdout: 50%")));
        for number in 0..40 {
            world.person(&format!("p{number}@example.org")).await;
        }
        world
            .arms
            .insert("sale".into(), [("c1".into(), "gift".into()), ("c2".into(), "held_out".into()), ("c3".into(), "plain".into())].into());
        world.apply().await;
        world.run_until("2027-03-01T11:00:00Z").await;
        assert_eq!(world.sums("sale").await, "selected 40, held_out 1, accepted 39", "{}", database.name);
        assert_eq!(world.number("SELECT COUNT(*) FROM messages WHERE (customer_id, arm) IN ((1, 2), (2, 0), (3, 1))").await, 3);
        let gifts = world.number("SELECT COUNT(*) FROM messages WHERE arm = 2").await;
        assert!((8..=32).contains(&gifts), "{gifts}");
    }
}

#[tokio::test]
async fn a_value_that_names_no_arm_is_missing_data() {
    for database in databases().await {
        let mut world = World::new(&database);
        world.campaign("sale", &format!("{}variants_from: arm\n", sale("holdout: { attribute: arm, is: nobody }")));
        for (id, arm) in [(1, "red"), (2, "nobody"), (3, "blue"), (4, "red")] {
            let person = world.person(&format!("p{id}@example.org")).await;
            assert_eq!(person, id);
            let json = world.store.pick("$2", "$2::jsonb");
            let sql = format!("UPDATE customers SET attributes = {json} WHERE id = $1");
            posthaste::on_writer!(&world.store, pool => { sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).bind(format!("{{\"arm\":\"{arm}\"}}")).execute(pool).await.unwrap(); });
        }
        world.person("p5@example.org").await;
        world.apply().await;
        world.run_until("2027-03-01T11:00:00Z").await;
        assert_eq!(world.sums("sale").await, "selected 5, held_out 1, missing_data 1, accepted 3", "{}", database.name);
        assert_eq!(world.number("SELECT COUNT(*) FROM arms WHERE name IN ('red', 'blue', 'held_out')").await, 3);
    }
}

#[tokio::test]
async fn an_unfinished_plan_is_dropped_and_begun_anew() {
    for database in databases().await {
        let mut world = World::new(&database);
        world.campaign("sale", &sale("holdout: 0%"));
        for number in 0..10 {
            world.person(&format!("p{number}@example.org")).await;
        }
        world.apply().await;
        // What a planner leaves that is killed after its first window: a run in planning, rows and a block.
        world.execute("INSERT INTO runs (id, campaign_id, number, version_id, occurrence, due_at, state) SELECT 7, id, 1, version_id, '2027-03-01T10:00:00Z', 1803895200000000, 1 FROM campaigns").await;
        world
            .execute(
                "INSERT INTO messages (id, run_id, customer_id, channel, arm, state, due_at, changed_at) VALUES (1, 7, 3, 1, 1, 1, 0, 0)",
            )
            .await;
        world.execute("INSERT INTO blocks (id, run_id, first_id, last_id, due_at) VALUES (1, 7, 1, 1, 0)").await;
        world.execute("INSERT INTO settings (name, value) VALUES ('next_message', '2')").await;
        world.run_until("2027-03-01T11:00:00Z").await;
        assert_eq!(world.sums("sale").await, "selected 10, accepted 10", "{}", database.name);
        assert_eq!(world.outbox().len(), 10);
        assert_eq!(world.number("SELECT COUNT(*) FROM runs").await, 1);
    }
}

#[tokio::test]
async fn occurrences_that_were_missed_run_once_and_those_before_the_first_apply_never() {
    for database in databases().await {
        let mut world = World::new(&database);
        world.campaign(
            "daily",
            &sale("holdout: 0%").replace("at: 2027-03-01 10:00", "every: day at 10:00, if_missed: { run: once, within: 3 days }"),
        );
        world.person("ada@example.org").await;
        world.clock.advance_to("2027-03-01T12:00:00Z".parse().unwrap());
        world.apply().await;
        world.run_until("2027-03-01T13:00:00Z").await;
        assert_eq!(world.outbox().len(), 0, "{}: today's was before the apply", database.name);
        // The engine is away for five days.
        world.clock.advance_to("2027-03-06T11:00:00Z".parse().unwrap());
        world.run_until("2027-03-06T11:00:00Z").await;
        assert_eq!(world.outbox().len(), 1, "{}", database.name);
        world.run_until("2027-03-08T10:30:00Z").await;
        assert_eq!(world.outbox().len(), 3, "{}", database.name);
        assert_eq!(world.number("SELECT CAST(MAX(number) AS BIGINT) FROM runs").await, 3);
    }
}

#[tokio::test]
async fn re_entry_keeps_out_who_had_it_and_who_was_held_out() {
    for database in databases().await {
        let mut world = World::new(&database);
        world.campaign(
            "daily",
            &format!("{}re_entry: 2 days\n", sale("holdout: 30%").replace("at: 2027-03-01 10:00", "every: day at 10:00")),
        );
        for number in 0..20 {
            world.person(&format!("p{number}@example.org")).await;
        }
        world.apply().await;
        world.run_until("2027-03-02T11:00:00Z").await;
        assert_eq!(world.funnel("daily").await.selected(), 20, "{}", database.name);
        world.run_until("2027-03-03T11:00:00Z").await;
        let funnel = world.funnel("daily").await;
        assert!(funnel.selected() <= 40, "{}", database.name);
    }
}
