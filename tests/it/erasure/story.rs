//! The whole story inside one process: she is written to, answers, bounces, is told of by webhooks and mail, and is erased.

use super::person::{EMAIL, EXTERNAL_ID, PHONE, import_events, import_people, keys, needles, shop};
use crate::databases::{Database, databases};
use crate::webhooks::office::{Office, PROVIDER};
use crate::webhooks::texts::says;
use crate::world::SIGNING;
use chrono::TimeDelta;
use posthaste::campaigns;
use posthaste::engine::erasing::erase;
use posthaste::engine::{applying, simulation};
use posthaste::inbound::{Processor, Ways};
use posthaste::store::inbound::NewMail;
use posthaste::tracking::{Kind as Page, Tokens};
use posthaste::types::{Channel, MessageId, SuppressionReason};
use posthaste::webhooks::{Kind, Locks};
use reqwest::{Method, StatusCode};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

fn tokens() -> Tokens {
    Tokens::new(SIGNING).unwrap()
}

async fn mail(office: &Office, sender: &str, to: &str, raw: &str) {
    let store = office.world.store.clone();
    let received_at = office.world.clock.now();
    let mail = NewMail { sender: sender.into(), recipients: vec![to.into()], raw: raw.into(), received_at };
    store.keep_mail(&mail).await.unwrap();
    let ways = Ways::new(["b.shop.example".to_string()].into(), ["answers.shop.example".to_string()].into());
    let processor = Processor { store, tokens: Arc::new(tokens()), zone: chrono_tz::UTC, ways, forwarder: None };
    while processor.turn(received_at).await.unwrap() > 0 {}
}

/// The number of her message of a campaign.
async fn message(office: &Office, campaign: &str) -> i64 {
    let sql = format!(
        "SELECT m.id, m.id, m.id FROM messages m JOIN runs r ON r.id = m.run_id JOIN campaigns c ON c.id = r.campaign_id WHERE m.customer_id = 1 AND c.key = '{campaign}'"
    );
    crate::respond::read(&office.world.store, &sql).await[0].0
}

/// State and reason of her message of a campaign.
async fn state(office: &Office, campaign: &str) -> (i64, i64) {
    let id = message(office, campaign).await;
    let sql = format!("SELECT CAST(state AS BIGINT), CAST(COALESCE(reason, 0) AS BIGINT), CAST(0 AS BIGINT) FROM messages WHERE id = {id}");
    let row = crate::respond::read(&office.world.store, &sql).await[0];
    (row.0, row.1)
}

/// All that can be told of her: by webhook, by mail, by text, by visit. Every `round` tells something new.
async fn everything_is_told(office: &Office, round: u32) {
    let gift = message(office, "gift").await;
    let at = office.world.clock.now();
    let reference = |rest: serde_json::Value, number: u32| {
        let mut event = json!({ "email": EMAIL, "timestamp": at.timestamp(), "sg_event_id": format!("e{round}-{number}") });
        event.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        event
    };
    let told = json!([
        reference(json!({ "event": "delivered", "sg_message_id": format!("id-{gift}"), "response": format!("250 <{EMAIL}> ok") }), 1),
        reference(
            json!({ "event": "bounce", "type": "blocked", "sg_message_id": format!("id-{gift}"), "reason": format!("550 <{EMAIL}> Oquendo") }),
            2
        ),
        // Of a message that we do not know.
        reference(json!({ "event": "bounce", "type": "bounce", "sg_message_id": "unheard-of", "reason": "550 Zephyrine is unknown" }), 3),
        reference(json!({ "event": "dropped", "sg_message_id": "unheard-of-too", "reason": format!("Bounced Address {EMAIL}") }), 4),
    ]);
    assert_eq!(office.tell(&told).await, StatusCode::OK);
    for (kind, path) in [(Page::Open, "o"), (Page::View, "v")] {
        office.ask(Method::GET, &format!("/{path}/{}", tokens().sign(kind, MessageId(gift)))).await;
    }
    let return_path = format!("b-{}@b.shop.example", tokens().sign_address(Page::Bounce, MessageId(gift), at, Some(30)));
    let bounce = format!(
        "From: MAILER-DAEMON@mx.example\r\nSubject: Undelivered Mail {round}\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=x\r\n\r\n\
         --x\r\nContent-Type: text/plain\r\n\r\nYour mail to {EMAIL} could not be delivered.\r\n--x\r\nContent-Type: message/delivery-status\r\n\r\n\
         Reporting-MTA: dns; mx.example\r\n\r\nFinal-Recipient: rfc822; {EMAIL}\r\nAction: failed\r\nStatus: 5.2.2\r\n\
         Diagnostic-Code: smtp; 552 5.2.2 <{EMAIL}>: Mailbox of Zephyrine full\r\n--x--\r\n"
    );
    mail(office, "", &return_path, &bounce).await;
    let about = format!("<{}@mail.shop.example>", tokens().sign_address(Page::Letter, MessageId(gift), at, None));
    let reply = format!(
        "From: Zephyrine Oquendo-Quibell <{EMAIL}>\r\nSubject: Re: For Zephyrine ({round})\r\nIn-Reply-To: {about}\r\n\r\nWhere is my periwinkle teapot? Зефірина\r\n"
    );
    mail(office, EMAIL, "answers@answers.shop.example", &reply).await;
    office.admit(Kind::Twilio, Locks { keys: vec!["12345".into()], ..Locks::default() });
    says(office, 100 + round, PHONE, "Is the periwinkle teapot ready for Zephyrine?", None).await;
    office.admit(Kind::SendGrid, Locks { keys: vec![office.public_key()], ..Locks::default() });
    let next = office.world.clock.now() + TimeDelta::seconds(3);
    office.run_until(&next.to_rfc3339()).await;
}

/// Texts of strangers and mails that nobody understands, which are kept for a person to look at.
async fn what_nobody_understands(office: &Office) {
    let store = &office.world.store;
    let now = office.world.clock.now();
    let body = format!("{{ \"to\": \"{EMAIL}\" ");
    let request =
        posthaste::webhooks::Request { method: "POST", url: "https://go.shop.example/hooks/x", headers: &[], body: body.as_bytes() };
    let packed = posthaste::webhooks::Stored::pack(&request).unwrap();
    let hook = posthaste::store::hooks::NewHook {
        provider: PROVIDER.to_string(),
        kind: "sendgrid",
        key: [77; 16],
        received_at: now,
        request: packed,
    };
    store.keep_hooks(&[hook]).await.unwrap();
    let strange = NewMail {
        sender: EMAIL.into(),
        recipients: vec!["answers@answers.shop.example".into()],
        raw: format!("From: {EMAIL}\r\n\r\nOquendo\r\n").into(),
        received_at: now,
    };
    store.keep_mail(&strange).await.unwrap();
    let given_up = posthaste::store::inbound::Fate::GivenUp { why: format!("tried in vain to pass on the mail of {EMAIL}") };
    let mails = store.claim_mail(now, now + TimeDelta::minutes(5), 50).await.unwrap();
    store.settle_mail(&mails.iter().map(|mail| (mail.id, given_up.clone())).collect::<Vec<_>>()).await.unwrap();
    let line = posthaste::store::audit::Audit {
        at: now,
        who: "ada".into(),
        action: "note".into(),
        subject: "#1".into(),
        detail: Some(format!("asked about {EMAIL}")),
    };
    store.audit(&line).await.unwrap();
}

fn bytes_of(database: &Database) -> BTreeSet<String> {
    let Some(path) = database.url.strip_prefix("sqlite:") else { return BTreeSet::new() };
    let mut found = BTreeSet::new();
    for file in [path.to_string(), format!("{path}-wal")] {
        let content = std::fs::read(&file).unwrap_or_default();
        found.extend(
            needles().found_in(&content).into_iter().map(|needle| format!("{}: {needle}", if file == path { "file" } else { "wal" })),
        );
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_person_is_named_nowhere_and_is_never_written_to_again() {
    for database in databases().await {
        let (world, her, neighbour) = shop(&database).await;
        let store = world.store.clone();
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("erased");
        let office = Office::open(world).await;
        office.run_until("2027-03-01T13:30:00Z").await;
        import_events(
            &office,
            &format!("customer,event,at,amount,note\n{EXTERNAL_ID},purchase,2027-03-01 13:10,12,the periwinkle teapot for Zephyrine\n"),
        )
        .await;
        everything_is_told(&office, 1).await;
        what_nobody_understands(&office).await;
        office.run_until("2027-03-01T14:00:00Z").await;
        let (definitions, _) = campaigns::read(&office.world.files);
        let apply = applying(office.world.files.clone(), definitions.unwrap(), "dirty".into(), "ada".into(), office.world.clock.now());
        simulation::simulate(&store, Some(apply), office.world.clock.now(), 5).await.unwrap();
        // The story is worth something only if she is everywhere before.
        let before = needles().found_in_tables(&store).await;
        let places: BTreeSet<&str> = before.iter().filter_map(|found| found.split(':').next()).collect();
        for place in [
            "customers.external_id",
            "customers.attributes",
            "addresses.address",
            "messages.address",
            "messages.snapshot",
            "messages.detail",
            "attempts.reply",
            "events.properties",
            "consents.proof",
            "inbound_mail.raw",
            "inbound_mail.sender",
            "hooks.request",
            "orphans.told",
            "audit.detail",
        ] {
            assert!(places.contains(place), "{}: {place} does not name her: {before:#?}", database.name);
        }
        assert_eq!(
            [
                state(&office, "gift").await.0,
                state(&office, "second").await.0,
                state(&office, "third").await.0,
                state(&office, "local").await.0
            ],
            [7, 3, 8, 1],
            "{}",
            database.name
        );
        assert_eq!(
            office.ask(Method::GET, &format!("/u/{}", tokens().sign(Page::Unsubscribe, MessageId(message(&office, "gift").await)))).await,
            StatusCode::OK
        );

        let customer = store.customer(her).await.unwrap().unwrap();
        let done = erase(&store, &keys(), &list, &customer, "tester", office.world.clock.now()).await.unwrap();
        assert!(done.is_scoured, "{}", database.name);
        let nothing = BTreeSet::<String>::new();
        assert_eq!(needles().found_in_tables(&store).await, nothing, "{}", database.name);
        assert_eq!(bytes_of(&database), nothing, "{}", database.name);
        assert_eq!(needles().found_in_files(folder.path()), nothing, "the list of erasures");
        // What waited is refused as erased, and the sums hold.
        for campaign in ["second", "local"] {
            assert_eq!(state(&office, campaign).await, (0, 16), "{}: {campaign}", database.name);
            assert_eq!(office.world.funnel(campaign).await.selected(), 2);
        }
        let bo = store.customer(neighbour).await.unwrap().unwrap();
        assert_eq!((bo.first_name.as_deref(), bo.addresses.len(), bo.consents.len()), (Some("Bo"), 2, 2), "{}", database.name);

        // Her letters are still out there, and so are those who tell of her.
        let gift = MessageId(message(&office, "gift").await);
        let page = |kind, path: &str| format!("/{path}/{}", tokens().sign(kind, gift));
        assert_eq!(office.ask(Method::GET, &page(Page::View, "v")).await, StatusCode::GONE);
        assert_eq!(office.ask(Method::GET, &page(Page::Preferences, "p")).await, StatusCode::GONE);
        assert_eq!(office.ask(Method::GET, &page(Page::Unsubscribe, "u")).await, StatusCode::OK);
        assert_eq!(office.form(&page(Page::Unsubscribe, "u"), &[("List-Unsubscribe", "One-Click")]).await, StatusCode::OK);
        assert_eq!(office.form(&page(Page::Unsubscribe, "u"), &[("List-Unsubscribe", "One-Click")]).await, StatusCode::OK, "again");
        everything_is_told(&office, 2).await;
        import_events(
            &office,
            &format!("customer,event,at,amount,note\n{EXTERNAL_ID},purchase,2027-03-01 13:20,12,another periwinkle teapot\n"),
        )
        .await;
        office.run_until("2027-03-20T00:00:00Z").await;
        let found = needles().found_in_tables(&store).await;
        // The suppressions are hashes, and what came in was counted.
        assert_eq!(found, nothing, "{}: after more was told", database.name);
        let counted = "SELECT COUNT(*), COUNT(*), COUNT(*) FROM events WHERE customer_id = 1 AND name IN ('message.bounced', 'message.replied', 'message.opened')";
        assert!(crate::respond::read(&store, counted).await[0].0 >= 5, "{}", database.name);
        assert_eq!(store.orphan_count().await.unwrap(), 0);

        // An old list is imported again, written otherwise.
        let again =
            "email,phone,first_name,consent.offers\nZEPHYRINE.oquendo@QUIBELL-POST.example,+38 (067) 123-09-87,Zephyrine,email sms\n";
        let summary = import_people(&store, office.world.clock.now(), again).await;
        assert_eq!(summary.new, 1);
        assert_eq!(summary.notes, ["1 row has an address of somebody who was erased: nothing is sent there. Take it out of the file"]);
        let mut office = office;
        for (key, message) in [("again", "{ template: hello, subject: \"Hello\" }"), ("again-text", "{ channel: sms, text: \"Hello\" }")] {
            let rest = "audience: { segment: everyone, holdout: 0% }\nschedule: { at: 2027-03-21 10:00 }\n";
            office.world.campaign(key, &format!("{}{rest}message: {message}\n", crate::world::advertising!()));
        }
        let urgent = "class: transactional\naudience: { segment: everyone }\nschedule: { at: 2027-03-21 10:00 }\nmessage: { from: news, template: hello, subject: \"Hello\" }\n";
        office.world.campaign("urgent", urgent);
        office.world.apply().await;
        office.world.outbox.letters.lock().unwrap().clear();
        office.run_until("2027-03-22T00:00:00Z").await;
        for campaign in ["again", "again-text", "urgent"] {
            assert_eq!(office.world.sums(campaign).await, "selected 2, suppressed 1, accepted 1", "{}: {campaign}", database.name);
        }
        let kept = store.suppressions(&[keys().address(Channel::Email, EMAIL), keys().address(Channel::Sms, PHONE)]).await.unwrap();
        assert_eq!(kept.len(), 2);
        assert!(kept.iter().any(|row| row.reason == SuppressionReason::Erased), "{kept:?}");
        assert!(
            office.world.outbox().iter().all(|to| to == "bo@neighbour.example" || to == "+380671111111"),
            "{:?}",
            office.world.outbox()
        );
    }
}
