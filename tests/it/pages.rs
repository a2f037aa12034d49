//! The pages of people over HTTP: what each says, keeps and never does. How they look is in `browser_pages`.

use crate::respond::{add, read};
use crate::serve::{Answer, FORM, World, worlds};
use posthaste::store::batch::Field;
use posthaste::tracking::{Kind, Tokens};
use posthaste::types::{Channel, ConsentState, MessageId, SuppressionReason};
use reqwest::{Method, StatusCode};
use serde_json::json;

const STATE: &str = "SELECT CAST(channel AS BIGINT), CAST(state AS BIGINT), customer_id FROM consent_state ORDER BY topic, channel";

impl World {
    /// Words of the workspace for one statement; `$1` is unused.
    async fn change(&self, sql: &str) {
        let mut change = self.store.change("prepare").await.unwrap();
        change.connection().write("prepare", format!("{sql} -- $1"), "").await.unwrap();
        change.commit("prepare").await.unwrap();
    }
    async fn speaks(&self, customer: i64, language: &str) {
        self.change(&format!("UPDATE customers SET language = '{language}' WHERE id = {customer}")).await;
    }
    async fn has_phone(&self, customer: i64) {
        let fields = [("customer_id", Field::Long), ("channel", Field::Small), ("address", Field::Text), ("key", Field::Bytes)];
        let phone =
            json!([{ "customer_id": customer, "channel": 2, "address": "+380671234567", "key": format!("{:032x}", 900 + customer) }]);
        add(&self.store, "addresses", &fields, phone).await;
    }
    fn later(&self, seconds: i64) {
        self.clock.advance_to(self.clock.now() + chrono::TimeDelta::seconds(seconds));
    }
    /// Without tokens and the style, which are another every time or no news.
    fn masked(&self, answer: &Answer) -> String {
        let mut page = answer.body.clone();
        for message in 1..=3 {
            page = page.replace(&self.tokens.sign(Kind::Preferences, MessageId(message)), "TOKEN");
        }
        let (before, rest) = page.split_once("<style>").unwrap();
        let (_, after) = rest.split_once("</style>").unwrap();
        format!("{before}<style>…</style>{after}")
    }
}

#[tokio::test]
async fn each_page_reads_like_this_in_english_and_in_ukrainian() {
    let world = worlds().await.remove(0);
    for (customer, language) in [(1, "en"), (2, "uk")] {
        world.speaks(customer, language).await;
        world.has_phone(customer).await;
        let path = |letter, kind| world.path(letter, kind, customer);
        let (unsubscribe, preferences, confirm) = (path('u', Kind::Unsubscribe), path('p', Kind::Preferences), path('k', Kind::Confirm));
        let seen = async |name: &str, answer: Answer| {
            assert!(answer.status == 200 && answer.body.contains(&format!("<html lang=\"{language}\">")), "{name}: {}", answer.body);
            insta::assert_snapshot!(format!("{name}_{language}"), world.masked(&answer));
        };
        seen("confirm", world.get(&confirm).await).await;
        seen("confirmed", world.post(&confirm, FORM, "confirm=1").await).await;
        seen("preferences", world.get(&preferences).await).await;
        seen("preferences_saved", world.post(&preferences, FORM, "save=1&offers%2Femail=1&offers%2Fsms=1&pause=30").await).await;
        seen("unsubscribe", world.get(&unsubscribe).await).await;
        seen("unsubscribed", world.post(&unsubscribe, FORM, "scope=topic").await).await;
        seen("unsubscribed_all", world.post(&unsubscribe, FORM, "scope=all").await).await;
        world.later(1);
        seen("objected", world.post(&preferences, FORM, "objection=raise").await).await;
        let wrong = world.post(&preferences, FORM, "save=1&language=xx").await;
        assert_eq!(wrong.status, 422);
        insta::assert_snapshot!(format!("preferences_wrong_{language}"), world.masked(&wrong));
    }
}

#[tokio::test]
async fn an_objection_stands_for_everything_until_its_person_takes_it_back() {
    for world in worlds().await {
        let path = world.path('p', Kind::Preferences, 1);
        world.has_phone(1).await;
        world.post(&path, FORM, "save=1&offers%2Femail=1&offers%2Fsms=1").await;
        world.change("UPDATE addresses SET engaged_at = 1").await;
        world.later(1);
        for method in [Method::GET, Method::HEAD] {
            world.ask(method, &format!("{path}?objection=raise")).await;
        }
        assert_eq!(read(&world.store, STATE).await, [(1, 2, 1), (2, 1, 1)], "{}: a GET objects to nothing", world.name);
        for _ in 0..3 {
            let page = world.post(&path, FORM, "objection=raise").await;
            assert!(page.body.contains("role=\"status\"") && !page.body.contains("name=\"offers/email\""), "{}", page.body);
            world.later(1);
        }
        let objected: Vec<(i64, i64, i64)> = (1..=5).map(|channel| (channel, 5, 1)).collect();
        assert_eq!(read(&world.store, STATE).await[..5], objected, "{}", world.name);
        let proofs =
            "SELECT COUNT(*), CAST(COUNT(DISTINCT proof) AS BIGINT), CAST(MIN(LENGTH(proof)) AS BIGINT) FROM consents WHERE state = 5";
        let (count, distinct, length) = read(&world.store, proofs).await[0];
        assert!(count == 5 && distinct == 1 && length > 40, "{}: one objection, with proof", world.name);
        let scores = "SELECT COUNT(*), COUNT(engaged_at), MIN(customer_id) FROM addresses WHERE customer_id = 1";
        assert_eq!(read(&world.store, scores).await, [(2, 0, 1)], "who objected is not scored");
        // Neither an old page, nor the way out, nor an old letter of confirmation lifts it.
        world.post(&path, FORM, "save=1&offers%2Femail=1").await;
        world.post(&world.path('u', Kind::Unsubscribe, 1), FORM, "scope=all").await;
        let late = world.post(&world.path('k', Kind::Confirm, 1), FORM, "confirm=1").await;
        assert!(late.status == 200 && late.body.contains("Нічого не змінено"), "{}", late.body);
        assert_eq!(read(&world.store, STATE).await[..5], objected, "{}", world.name);
        let stands = world.get(&path).await.body;
        assert!(stands.contains("value=\"take_back\"") && stands.contains("1 березня 2027 р."), "{stands}");

        world.later(1);
        let back = world.post(&path, FORM, "objection=take_back").await.body;
        assert!(back.contains("name=\"offers/email\" value=\"1\">") && back.contains("value=\"raise\""), "nothing comes to life: {back}");
        let withdrawn: Vec<(i64, i64, i64)> = (1..=5).map(|channel| (channel, 4, 1)).collect();
        assert_eq!(read(&world.store, STATE).await[..5], withdrawn, "{}", world.name);
        world.later(1);
        world.post(&path, FORM, "save=1&offers%2Femail=1").await;
        assert!(world.get(&path).await.body.contains("name=\"offers/email\" value=\"1\" checked"), "{}", world.name);
    }
}

#[tokio::test]
async fn who_objected_before_the_letter_came_takes_it_back_by_confirming_and_is_told_so() {
    for world in worlds().await {
        let rows = "INSERT INTO consent_state (customer_id, topic, channel, state, at) VALUES (1, '*', 1, 5, 7), (1, '*', 2, 5, 7)";
        world.change(rows).await;
        let path = world.path('k', Kind::Confirm, 1);
        assert!(world.get(&path).await.body.contains("class=\"notice\""));
        assert!(world.post(&path, FORM, "confirm=1").await.body.contains("role=\"status\""));
        assert_eq!(read(&world.store, STATE).await[..3], [(1, 4, 1), (2, 4, 1), (3, 4, 1)], "{}: all is withdrawn", world.name);
        assert!(read(&world.store, STATE).await.contains(&(1, ConsentState::Confirmed.code().into(), 1)), "and this one confirmed");
    }
}

#[tokio::test]
async fn a_pause_lasts_as_long_as_was_chosen_last_and_ends_when_its_person_ends_it() {
    const PAUSES: &str = "SELECT CAST(reason AS BIGINT), until, since FROM suppressions ORDER BY key";
    for world in worlds().await {
        let path = world.path('p', Kind::Preferences, 1);
        world.has_phone(1).await;
        let days = |days: i64| (world.clock.now() + chrono::TimeDelta::days(days)).timestamp_micros();
        let paused = i64::from(SuppressionReason::Paused.code());
        for wanted in [90, 30, 60, 60] {
            let page = world.post(&path, FORM, &format!("save=1&pause={wanted}")).await;
            assert!(page.status == 200 && page.body.contains("value=\"keep\" checked"), "{}", page.body);
            let rows: Vec<_> = read(&world.store, PAUSES).await.into_iter().map(|(reason, until, _)| (reason, until)).collect();
            assert_eq!(rows, [(paused, days(wanted)), (paused, days(wanted))], "{}: of both addresses", world.name);
        }
        world.post(&path, FORM, "save=1&pause=keep").await;
        assert_eq!(read(&world.store, PAUSES).await[0].1, days(60));
        for wrong in ["31", "-30", "x", "9999999999999999999"] {
            let page = world.post(&path, FORM, &format!("save=1&offers%2Femail=1&pause={wrong}")).await;
            assert!(page.status == 422 && page.body.contains("id=\"break-error\"") && page.body.contains("role=\"alert\""), "{wrong}");
        }
        assert_eq!(read(&world.store, STATE).await, [], "{}: with an error nothing is kept", world.name);
        world.post(&path, FORM, "save=1&pause=none").await;
        assert_eq!(read(&world.store, PAUSES).await, [], "{}", world.name);
        // What stands for another reason is neither shortened nor lifted.
        world.change("INSERT INTO suppressions (key, channel, reason, since) SELECT key, channel, 2, 5 FROM addresses WHERE customer_id = 1 AND channel = 1").await;
        world.post(&path, FORM, "save=1&pause=30").await;
        world.post(&path, FORM, "save=1&pause=none").await;
        let complaint = "SELECT CAST(reason AS BIGINT), COALESCE(until, 0), since FROM suppressions";
        assert_eq!(read(&world.store, complaint).await, [(2, 0, 5)], "{}", world.name);
    }
}

#[tokio::test]
async fn the_language_is_chosen_among_those_of_the_workspace_and_the_page_speaks_it_at_once() {
    for world in worlds().await {
        let path = world.path('p', Kind::Preferences, 1);
        let page = world.get(&path).await.body;
        assert!(page.contains("<option value=\"uk\" lang=\"uk\" selected>Українська</option>"), "{page}");
        let english = world.post(&path, FORM, "save=1&language=en").await;
        assert!(english.body.contains("<html lang=\"en\">") && english.body.contains("Saved."), "{}", english.body);
        assert_eq!(english.header("content-language"), "en");
        let wrong = world.post(&path, FORM, "save=1&language=%22%3E%3Cscript%3E&news%2Femail=1").await;
        assert!(wrong.status == 422 && wrong.body.contains("aria-invalid=\"true\"") && !wrong.body.contains("<script"), "{}", wrong.body);
        assert_eq!(read(&world.store, STATE).await, [], "{}", world.name);
        assert!(world.get(&path).await.body.contains("<html lang=\"en\">"), "{}", world.name);
    }
}

#[tokio::test]
async fn what_somebody_smuggles_in_is_text_and_no_page_may_be_framed_kept_or_scripted() {
    for world in worlds().await {
        let smuggled = "<script>alert(1)</script>\" onload=\"x";
        world.change(&format!("UPDATE messages SET address = '{smuggled}@example.org' WHERE id = 1")).await;
        world.change(&format!("UPDATE campaigns SET topic = '{smuggled}'")).await;
        world.change(&format!("UPDATE customers SET language = '{smuggled}', first_name = '{smuggled}' WHERE id = 1")).await;
        for path in [
            world.path('u', Kind::Unsubscribe, 1),
            world.path('p', Kind::Preferences, 1),
            world.path('k', Kind::Confirm, 1),
            "/u/%3Cscript%3E".into(),
        ] {
            for body in [None, Some("scope=topic"), Some("confirm=1"), Some("save=1&%3Cscript%3E=1"), Some("stop=all"), Some("x")] {
                let answer = match body {
                    None => world.get(&path).await,
                    Some(body) => world.post(&path, FORM, body).await,
                };
                assert!(!answer.body.contains("<script") && !answer.body.contains("onload=\"x"), "{}", answer.body);
                assert_eq!(answer.header("cache-control"), "no-store", "{path} {body:?}");
                assert_eq!((answer.header("referrer-policy"), answer.header("x-content-type-options")), ("no-referrer", "nosniff"));
                assert_eq!((answer.header("set-cookie"), answer.header("location")), ("", ""));
                if answer.header("content-type").starts_with("text/html") {
                    let policy = answer.header("content-security-policy");
                    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
                    assert!(policy.contains("style-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
                    assert_eq!(answer.header("x-frame-options"), "DENY");
                }
            }
        }
        let lined = world.get(&format!("/p/{}%0D%0Aset-cookie:%20a=b", world.tokens.sign(Kind::Preferences, MessageId(1)))).await;
        assert_eq!((lined.status, lined.header("set-cookie")), (StatusCode::NOT_FOUND, ""), "{}", world.name);
    }
}

#[tokio::test]
async fn a_letter_of_sixty_days_opens_its_pages_after_the_key_was_changed() {
    for world in worlds().await {
        world.clock.advance_to(world.clock.now() + chrono::TimeDelta::days(60));
        // The server's keys are `k1` here; the letter was signed when there was no other.
        let before = Tokens::new("k1:0123456789abcdef").unwrap();
        let after = Tokens::new("k2:another-key-of-the-shop,k1:0123456789abcdef").unwrap();
        for kind in [Kind::Unsubscribe, Kind::Preferences] {
            assert_eq!(after.read(kind, &before.sign(kind, MessageId(1))), Some(MessageId(1)));
            assert_ne!(before.sign(kind, MessageId(1)), after.sign(kind, MessageId(1)));
        }
        let path = world.path('p', Kind::Preferences, 1);
        assert_eq!(world.get(&path).await.status, 200);
        world.post(&path, FORM, "save=1&offers%2Femail=1").await;
        assert_eq!(read(&world.store, STATE).await, [(1, 2, 1)], "{}", world.name);
        assert_eq!(world.post(&world.path('u', Kind::Unsubscribe, 1), FORM, "List-Unsubscribe=One-Click").await.status, 200);
        let expired = world.get(&world.path('k', Kind::Confirm, 1)).await;
        assert!(expired.status == 404 && expired.body.contains("Термін дії посилання минув"), "{}", expired.body);
    }
}

#[tokio::test]
async fn leaving_everything_closes_every_channel_and_counts_as_an_unsubscription() {
    for world in worlds().await {
        let path = world.path('p', Kind::Preferences, 1);
        world.has_phone(1).await;
        world.post(&path, FORM, "save=1&offers%2Femail=1&offers%2Fsms=1").await;
        world.later(1);
        for _ in 0..2 {
            let page = world.post(&path, FORM, "stop=all").await.body;
            assert!(!page.contains(" checked><span>Елек") && page.contains("Вас відписано від усього"), "{page}");
        }
        for channel in [Channel::Email, Channel::Sms] {
            let withdrawn = (i64::from(channel.code()), i64::from(ConsentState::Withdrawn.code()), 1);
            assert!(read(&world.store, STATE).await.contains(&withdrawn), "{}", world.name);
        }
        let unsubscribed = "SELECT COUNT(*), MIN(customer_id), MIN(message_id) FROM events WHERE name = 'message.unsubscribed'";
        assert_eq!(read(&world.store, unsubscribed).await, [(1, 1, 1)], "{}", world.name);
    }
}

#[tokio::test]
async fn of_an_erased_person_nothing_is_left_to_choose() {
    for world in worlds().await {
        world.store.erase_customer(1, None, "ada", world.clock.now()).await.unwrap();
        for (letter, kind, body) in [('p', Kind::Preferences, "save=1&offers%2Femail=1"), ('k', Kind::Confirm, "confirm=1")] {
            let path = world.path(letter, kind, 1);
            assert_eq!(world.get(&path).await.status, 410, "{}", world.name);
            assert_eq!(world.post(&path, FORM, body).await.status, 410);
        }
        assert_eq!(world.post(&world.path('u', Kind::Unsubscribe, 1), FORM, "List-Unsubscribe=One-Click").await.status, 200);
        assert!(read(&world.store, STATE).await.iter().all(|(_, state, _)| *state == i64::from(ConsentState::Withdrawn.code())));
    }
}
