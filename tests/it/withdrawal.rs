//! Whoever leaves gets nothing more, whatever the way and however far the run is; and consent as countries want it.

use crate::databases::{Database, databases};
use crate::signup::Site;
use crate::webhooks::office::{Office, feedback};
use crate::webhooks::texts::says;
use crate::world::{PEPPER, SIGNING, World, advertising};
use chrono::TimeDelta;
use posthaste::campaigns;
use posthaste::clock::Clock;
use posthaste::customers::import::{self, Input, Settings};
use posthaste::customers::keys::Keys;
use posthaste::tracking::{Kind, Tokens};
use posthaste::types::{Channel, ConsentState, MessageId};
use posthaste::webhooks::{Kind as Hook, Locks};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// Signs a link of the message that went to this customer.
async fn link(site: &Site, kind: Kind, customer: i64) -> String {
    let sql = "SELECT MIN(id) FROM messages WHERE customer_id = $1";
    let (message,): (i64,) =
        posthaste::on_pool!(&site.world().store, pool => sqlx::query_as(sql).bind(customer).fetch_one(pool).await.unwrap());
    Tokens::new(SIGNING).unwrap().sign(kind, MessageId(message))
}

async fn consents(world: &World, rows: &[Value]) -> import::Summary {
    let (definitions, _) = campaigns::read(&world.files);
    let settings = Settings::of(&definitions.unwrap().workspace, Keys::new(PEPPER), world.clock.now());
    let rows = rows.iter().map(|row| row.as_object().unwrap().clone()).collect();
    import::consents(&world.store, &settings, Input::Rows(rows), &mut |_| {}).await.unwrap()
}

const PACED: &str = advertising!(
    "schedule: { at: 2027-03-02 10:00 }\n",
    "audience: { segment: everyone, holdout: 0% }\n",
    "limits: { rate: 2 per second }\n",
);

#[tokio::test]
async fn who_leaves_while_a_paced_run_is_under_way_gets_nothing_more_though_the_block_was_claimed() {
    async fn story(database: Database) {
        let mut world = World::new(&database);
        world.campaign(
            "first",
            advertising!(
                "schedule: { at: 2027-03-01 10:00 }\n",
                "audience: { segment: everyone, holdout: 0% }\n",
                "message: { channel: sms, text: \"Hello\" }\n"
            ),
        );
        world.campaign("paced", &format!("{PACED}message: {{ channel: sms, text: \"Again\" }}\n"));
        let people = 30;
        for number in 0..people {
            let id = world.person("").await;
            world.address(id, Channel::Sms, &format!("+38050123{number:04}")).await;
        }
        let site = Site::open(world).await;
        site.engine_until("2027-03-02T09:59:00Z").await;
        assert_eq!(site.world().texts().len(), people);
        // From here on the clock goes by itself: what is claimed waits for its turn.
        let Site { office, client } = site;
        let mut world = World::new(&database);
        world.files = office.world.files.clone();
        world.outbox = office.world.outbox.clone();
        world.clock = Clock::starting_at("2027-03-02T10:00:00Z".parse().unwrap());
        let site = Site { office: Office::open(world).await, client };
        site.office.admit(Hook::Twilio, Locks { keys: vec!["12345".into()], ..Locks::default() });
        let engine = std::sync::Arc::new(site.world().engine().await.hearing(feedback(site.world())));
        let running = tokio::spawn({
            let engine = engine.clone();
            async move { engine.run().await }
        });
        while site.world().texts().len() < people + 2 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert_eq!(
            site.number("SELECT COUNT(*) FROM blocks WHERE node_id IS NOT NULL").await,
            1,
            "{}: the block is claimed",
            database.name
        );
        // The last ones leave: their turn comes more than ten seconds later.
        let [one_click, page, all, text, objection] = [26, 27, 28, 29, 30];
        let form = [("content-type", "application/x-www-form-urlencoded")];
        let unsubscribe = format!("/u/{}", link(&site, Kind::Unsubscribe, one_click).await);
        assert_eq!(site.send(Method::POST, &unsubscribe, &form, "List-Unsubscribe=One-Click".into()).await.0.status, StatusCode::OK);
        let preferences = format!("/p/{}", link(&site, Kind::Preferences, page).await);
        assert_eq!(site.send(Method::POST, &preferences, &form, "save=1".into()).await.0.status, StatusCode::OK);
        let everything = format!("/u/{}", link(&site, Kind::Unsubscribe, all).await);
        assert_eq!(site.send(Method::POST, &everything, &form, "scope=all".into()).await.0.status, StatusCode::OK);
        says(&site.office, 1, &format!("+38050123{:04}", text - 1), "STOP", None).await;
        let row = json!({ "customer": format!("c{objection}"), "topic": "*", "channel": "sms", "state": "withdrawn", "source": "objection", "at": "2027-03-02T10:00:01Z" });
        assert_eq!(consents(site.world(), &[row]).await.new, 1, "{}", database.name);
        let left = site.world().texts().len();
        assert!(left < people + 20, "the machine was too slow to tell anything: {left}");
        let done = async {
            while site.number("SELECT COUNT(*) FROM messages WHERE state IN (1, 2, 3, 4)").await > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(90), done).await.expect("the run ends");
        running.abort();
        assert_eq!(site.world().sums("paced").await, "selected 30, no_consent 5, accepted 25", "{}", database.name);
    }
    futures_util::future::join_all(databases().await.into_iter().map(story)).await;
}

#[tokio::test]
async fn who_leaves_between_planning_and_sending_gets_nothing_whatever_the_way() {
    for database in databases().await {
        let mut world = World::new(&database);
        world.campaign(
            "first",
            advertising!(
                "schedule: { at: 2027-03-01 10:00 }\n",
                "audience: { segment: everyone, holdout: 0% }\n",
                "message: { template: hello, subject: \"Hello\" }\n"
            ),
        );
        world.campaign(
            "second",
            advertising!(
                "schedule: { at: 2027-03-02 10:00 }\n",
                "audience: { segment: everyone, holdout: 0% }\n",
                "message: { template: hello, subject: \"Hello\" }\n"
            ),
        );
        for name in ["one", "page", "all", "objects", "stays"] {
            world.person(&format!("{name}@example.org")).await;
        }
        let site = Site::open(world).await;
        site.engine_until("2027-03-02T09:59:59Z").await;
        site.pass(TimeDelta::seconds(1));
        {
            let engine = site.world().engine().await;
            engine.plan().await.unwrap();
            engine.end().await.unwrap();
        }
        assert_eq!(site.world().sums("second").await, "selected 5, planned 5", "{}", database.name);
        let form = [("content-type", "application/x-www-form-urlencoded")];
        for (kind, letter, customer, body) in [
            (Kind::Unsubscribe, 'u', 1, "List-Unsubscribe=One-Click"),
            (Kind::Preferences, 'p', 2, "save=1"),
            (Kind::Unsubscribe, 'u', 3, "scope=all"),
        ] {
            let path = format!("/{letter}/{}", link(&site, kind, customer).await);
            assert_eq!(site.send(Method::POST, &path, &form, body.into()).await.0.status, StatusCode::OK);
        }
        let now = site.world().clock.now().to_rfc3339();
        consents(
            site.world(),
            &[json!({ "customer": "c4", "topic": "*", "channel": "email", "state": "withdrawn", "source": "objection", "at": now })],
        )
        .await;
        site.engine_until("2027-03-02T10:01:00Z").await;
        assert_eq!(site.world().sums("second").await, "selected 5, no_consent 4, accepted 1", "{}", database.name);
    }
}

#[tokio::test]
async fn germany_wants_it_confirmed_and_canada_s_implied_consent_ends_by_itself() {
    for database in databases().await {
        let mut world = World::new(&database);
        world.policy(
            "policy: { consent: [ { class: advertising, needs: granted }, { class: advertising, country: DE, needs: confirmed } ] }",
        );
        let text = "message: { channel: sms, text: \"20% off\" }\n";
        world.campaign(
            "mail",
            advertising!(
                "schedule: { every: day at 10:00 }\n",
                "audience: { segment: everyone, holdout: 0% }\n",
                "message: { template: hello, subject: \"Hello\" }\n"
            ),
        );
        world.campaign(
            "text",
            &format!("{}{text}", advertising!("schedule: { at: 2027-03-01 10:30 }\n", "audience: { segment: everyone, holdout: 0% }\n")),
        );
        let people = [
            ("granted@example.org", "DE", ConsentState::Granted),
            ("confirmed@example.org", "DE", ConsentState::Confirmed),
            ("pending@example.org", "DE", ConsentState::Pending),
            ("fr@example.org", "FR", ConsentState::Granted),
        ];
        for (email, country, state) in people {
            let id = world.person(email).await;
            world.live_in_country(id, country).await;
            world.consent(id, Channel::Email, state).await;
        }
        // Whose country nobody knows, but whose number is German.
        let id = world.person("").await;
        world.address(id, Channel::Sms, "+4915123456789").await;
        let id = world.person("").await;
        world.address(id, Channel::Sms, "+380501234567").await;
        // A purchase two years ago, to the minute.
        let implied = world.stranger("implied@example.org").await;
        world.apply().await;
        let row = |until: &str| json!({ "customer": format!("c{implied}"), "topic": "offers", "channel": "email", "state": "granted", "at": "2025-03-02T10:00:00Z", "until": until, "source": "purchase 17", "proof": "implied, CASL 10(10)" });
        let wrong = consents(&world, &[row("2025-03-01T10:00:00Z")]).await;
        assert_eq!((wrong.rejected, wrong.new), (1, 0), "it cannot end before it begins");
        assert_eq!(consents(&world, &[row("2027-03-02T10:00:00Z")]).await.new, 1);
        world.run_until("2027-03-01T10:45:00Z").await;
        assert_eq!(
            world.outbox(),
            ["+380501234567", "confirmed@example.org", "fr@example.org", "implied@example.org"],
            "{}",
            database.name
        );
        // On the day, at the minute.
        world.run_until("2027-03-02T10:05:00Z").await;
        let to = world.outbox();
        assert_eq!(to.iter().filter(|to| *to == "implied@example.org").count(), 1, "{}: {to:?}", database.name);
        assert_eq!(to.iter().filter(|to| *to == "fr@example.org").count(), 2);
        assert_eq!(world.number("SELECT COUNT(*) FROM consents WHERE source = 'ended' AND state = 4 AND at = 1803981600000000").await, 1);
        // A new purchase begins anew.
        consents(&world, &[json!({ "customer": format!("c{implied}"), "topic": "offers", "channel": "email", "state": "granted", "at": "2027-03-02T12:00:00Z", "until": "2029-03-02T12:00:00Z" })]).await;
        world.run_until("2027-03-03T10:05:00Z").await;
        assert_eq!(world.outbox().iter().filter(|to| *to == "implied@example.org").count(), 2, "{}", database.name);
        assert_eq!(world.number("SELECT COUNT(*) FROM suppressions").await, 0);
    }
}
