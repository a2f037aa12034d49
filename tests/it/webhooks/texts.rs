//! Texts from outside: who leaves, who comes back, and who may have meant to.

use super::office::{Office, PROVIDER, sent};
use crate::databases::{Database, databases};
use crate::processes::{command, posthaste};
use crate::world::{PEPPER, World, advertising};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use posthaste::customers::keys::Keys;
use posthaste::feedback::Line;
use posthaste::providers::inbox::{Inbox, Receipt, ReceiptState, Told};
use posthaste::providers::{Body, Outcome, Outgoing};
use posthaste::store::consents::ConsentRow;
use posthaste::types::{Channel, ConsentState};
use posthaste::webhooks::{Kind, Locks};
use reqwest::StatusCode;
use url::form_urlencoded::Serializer;

const TEXT: &str = advertising!(
    "audience: { segment: everyone, holdout: 0% }\n",
    "schedule: { at: 2027-03-01 10:00 }\n",
    "message: { channel: sms, text: \"20% off\" }\n",
);

const AGAIN: &str = advertising!(
    "audience: { segment: everyone, holdout: 0% }\n",
    "schedule: { at: 2027-03-02 10:00 }\n",
    "message: { channel: sms, text: \"Last day\" }\n",
);

/// People with these numbers, who agreed to offers by SMS with a record, and to whom a text has gone.
async fn texted(database: &Database, numbers: &[&str]) -> Office {
    let mut world = World::new(database);
    world.campaign("sale", TEXT);
    world.campaign("again", AGAIN);
    let mut consents = Vec::new();
    for number in numbers {
        let id = world.stranger("").await;
        world.address(id, Channel::Sms, number).await;
        consents.push(ConsentRow {
            customer: id,
            topic: "offers".into(),
            channel: Channel::Sms.code(),
            state: ConsentState::Granted,
            at: 1,
            received_at: 1,
            source: "form".into(),
            proof: Some("a form".into()),
            until: None,
            source_key: [id as u8; 16],
        });
    }
    world.store.append_consents(&consents, false).await.unwrap();
    world.apply().await;
    let office = Office::open(world).await;
    office.run_until("2027-03-01T10:01:00Z").await;
    assert_eq!(office.world.texts().len(), numbers.len());
    office.admit(Kind::Twilio, Locks { keys: vec!["12345".into()], ..Locks::default() });
    office
}

/// A text as Twilio hands it on.
pub async fn says(office: &Office, number: u32, from: &str, text: &str, keyword: Option<&str>) {
    office.world.clock.advance_to(office.world.clock.now() + chrono::TimeDelta::seconds(1));
    let id = format!("SM{number}");
    let mut fields = vec![("MessageSid", id.as_str()), ("SmsStatus", "received"), ("From", from), ("To", "+14155550100"), ("Body", text)];
    fields.extend(keyword.map(|keyword| ("OptOutType", keyword)));
    let answer = twilio(office, &fields).await;
    assert_eq!(
        answer,
        (StatusCode::OK, "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response/>".to_string()),
        "nothing is sent back to the person"
    );
}

async fn twilio(office: &Office, fields: &[(&str, &str)]) -> (StatusCode, String) {
    let mut sorted = fields.to_vec();
    sorted.sort_unstable();
    let signed = sorted.iter().fold(format!("https://go.shop.example/hooks/{PROVIDER}"), |signed, (name, value)| signed + name + value);
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"12345");
    let signature = STANDARD.encode(aws_lc_rs::hmac::sign(&key, signed.as_bytes()));
    let headers = [("x-twilio-signature", signature), ("content-type", "application/x-www-form-urlencoded".to_string())];
    office.post("", &headers, Serializer::new(String::new()).extend_pairs(fields).finish()).await
}

/// To whom the next campaign goes.
async fn next(office: &Office) -> Vec<String> {
    let before = office.world.outbox().len();
    office.run_until("2027-03-02T10:01:00Z").await;
    let letters = office.world.outbox.letters.lock().unwrap();
    let mut to: Vec<String> = letters
        .iter()
        .skip(before)
        .map(|outgoing| match &outgoing.body {
            posthaste::providers::Body::Sms { to, .. } => to.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    to.sort();
    to
}

#[tokio::test]
async fn who_leaves_by_a_word_gets_nothing_more_and_start_brings_back_what_a_word_had_ended() {
    let numbers = ["+380501110001", "+380501110002", "+380501110003", "+380501110004", "+380501110005", "+380501110006"];
    for database in databases().await {
        let office = texted(&database, &numbers).await;
        let [stop, cyrillic, back, page, doubtful, answer] = numbers;
        says(&office, 1, stop, "STOP", Some("STOP")).await;
        says(&office, 2, cyrillic, "CTOП!", None).await;
        says(&office, 3, back, "стоп", None).await;
        says(&office, 4, back, "Start", None).await;
        office.world.execute("UPDATE consent_state SET state = 4, at = 5 WHERE customer_id = 4").await;
        office.world.execute("INSERT INTO consents (customer_id, topic, channel, state, at, received_at, source, source_key) SELECT 4, 'offers', 2, 4, 5, 5, 'page', source_key FROM consents WHERE customer_id = 5").await;
        says(&office, 5, page, "START", None).await;
        says(&office, 6, doubtful, "don't stop", None).await;
        says(&office, 7, answer, "Дякую, яка ціна?", None).await;
        says(&office, 8, "+380509999999", "стоп", None).await;
        office.run_until("2027-03-01T10:02:00Z").await;
        let proofs = "SELECT COUNT(*) FROM consents WHERE source = 'keyword' AND proof IS NOT NULL AND state = 4 AND topic = 'offers'";
        assert!(office.number(proofs).await >= 3, "{}", database.name);
        assert_eq!(office.number("SELECT COUNT(*) FROM consents WHERE source = 'keyword' AND state = 1").await, 1, "{}", database.name);
        assert_eq!(office.number("SELECT COUNT(*) FROM events WHERE name = 'sms_received'").await, 7, "all of them are in the history");
        let tallies = crate::respond::tallies(&office.world.store).await;
        use posthaste::store::tallies::Metric;
        assert_eq!(
            (tallies.get(&(Metric::Unsubscribes.code(), 0)), tallies.get(&(Metric::Replies.code(), 0))),
            (Some(&3), Some(&2)),
            "{}",
            database.name
        );
        let strange = Keys::new(PEPPER).address(Channel::Sms, "+380509999999");
        assert_eq!(office.world.store.suppressions(&[strange]).await.unwrap().len(), 1, "who is not known yet is not written to later");
        let review = office.world.store.replies_in_review("sms_received", 10).await.unwrap();
        assert_eq!(review.len(), 1, "{}", database.name);
        assert!(review[0].properties.contains("don't stop"));
        assert_eq!(next(&office).await, [back, answer], "{}", database.name);
    }
}

#[tokio::test]
async fn a_receipt_that_tells_of_the_provider_s_own_list_is_taken_over() {
    for database in databases().await {
        let office = texted(&database, &["+380501110001", "+380501110002", "+380501110003"]).await;
        let told = |number: &'static str, id: &'static str, status: &'static str, error: &'static str| {
            [("MessageSid", id), ("MessageStatus", status), ("ErrorCode", error), ("To", number)]
        };
        for fields in [
            told("+380501110001", "id-+380501110001", "failed", "21610"),
            told("+380501110002", "id-+380501110002", "undelivered", "30005"),
            told("+380501110003", "id-+380501110003", "delivered", ""),
        ] {
            assert_eq!(twilio(&office, &fields).await.0, StatusCode::OK);
        }
        office.run_until("2027-03-01T10:02:00Z").await;
        assert_eq!(office.world.funnel("sale").await.confirmed, 1, "{}", database.name);
        assert_eq!(office.number("SELECT COUNT(*) FROM consents WHERE state = 4 AND topic = '*' AND channel = 2").await, 1);
        assert_eq!(
            office.number("SELECT COUNT(*) FROM suppressions WHERE reason = 1").await,
            1,
            "{}: a number that does not exist",
            database.name
        );
        assert_eq!(next(&office).await, ["+380501110003"], "{}", database.name);
    }
}

#[tokio::test]
async fn a_person_decides_what_a_doubtful_reply_meant() {
    let folder = tempfile::tempdir().unwrap();
    let workspace = folder.path();
    let database = crate::databases::sqlite().await;
    let office = texted(&database, &["+380501110001", "+380501110002"]).await;
    for (path, content) in &office.world.files.0 {
        let path = workspace.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    std::fs::write(workspace.join(".env"), format!("POSTHASTE_PEPPER=\"{PEPPER}\"\nPOSTHASTE_SIGNING={}\n", crate::world::SIGNING))
        .unwrap();
    says(&office, 1, "+380501110001", "please stop this", None).await;
    says(&office, 2, "+380501110002", "why stop now, go on", None).await;
    office.run_until("2027-03-01T10:02:00Z").await;
    let listed = posthaste(workspace, &database.url, &["replies", "--format", "csv"]).stdout;
    assert!(listed.contains("#1,c1,2027-03-01T10:01:01Z,please stop this"), "{listed}");
    let decide = |arguments: &[&str]| command(workspace, &database.url, arguments).output().unwrap();
    assert!(decide(&["replies", "stop", "c1"]).status.success());
    assert!(decide(&["replies", "keep", "#2"]).status.success());
    assert!(!decide(&["replies", "keep", "#2"]).status.success(), "it is decided");
    assert_eq!(next(&office).await, ["+380501110002"]);
}

#[tokio::test]
async fn a_text_of_nobody_s_number_and_an_empty_one_change_nothing() {
    let databases = databases().await;
    let office = sent(&databases[0], &["ada@a.example"]).await;
    office.admit(Kind::Twilio, Locks { keys: vec!["12345".into()], ..Locks::default() });
    for (number, from, text) in [(1, "SHOP", "stop"), (2, "+1", "stop"), (3, "+380501110001", ""), (4, "+380501110001", "hello")] {
        says(&office, number, from, text, None).await;
    }
    office.run_until("2027-03-01T10:02:00Z").await;
    assert_eq!(office.number("SELECT COUNT(*) FROM events").await + office.number("SELECT COUNT(*) FROM suppressions").await, 0);
    assert_eq!(office.world.store.orphan_count().await.unwrap(), 0);
}

/// What an operator tells over the line on which we send (SMPP) comes the same way.
#[tokio::test]
async fn receipts_and_texts_of_a_line_are_stored_before_they_are_acknowledged_and_read_like_webhooks() {
    use posthaste::feedback::Line;
    use posthaste::providers::inbox::{Inbox, Receipt, ReceiptState, Text, Told};
    for database in databases().await {
        let office = texted(&database, &["+380501110001", "+380501110002"]).await;
        let line = Line { store: office.world.store.clone(), clock: office.world.clock.clone() };
        let receipt = || {
            let words = "id:1 stat:DELIVRD".to_string();
            Told::Receipt(Receipt {
                id: "id-+380501110001".into(),
                state: ReceiptState::Delivered,
                error: None,
                to: "380501110001".into(),
                words,
            })
        };
        let text = || Told::Text(Text { from: "380501110002".into(), to: "7744".into(), text: "Стоп".into(), part: None });
        for _ in 0..2 {
            assert!(line.take(PROVIDER, receipt()).await && line.take(PROVIDER, text()).await);
        }
        assert_eq!(office.number("SELECT COUNT(*) FROM hooks").await, 2, "{}: told twice, stored once", database.name);
        office.run_until("2027-03-01T10:02:00Z").await;
        assert_eq!(office.world.funnel("sale").await.confirmed, 1, "{}", database.name);
        assert_eq!(next(&office).await, ["+380501110001"], "{}", database.name);
    }
}

/// An operator's word of a part, over the line.
async fn receipt(office: &Office, id: &str, to: &str, state: ReceiptState) {
    let line = Line { store: office.world.store.clone(), clock: office.world.clock.clone() };
    let words = format!("id:{id} stat:{state:?}");
    let receipt = Receipt { id: id.into(), state, error: None, to: to.trim_start_matches('+').into(), words };
    assert!(line.take(PROVIDER, Told::Receipt(receipt)).await);
}

#[tokio::test]
async fn a_text_in_parts_has_arrived_when_all_of_them_have_and_failed_once_when_one_did() {
    for database in databases().await {
        let mut world = World::new(&database);
        world.campaign("sale", TEXT);
        for number in ["+380500000001", "+380500000002", "+380500000003"] {
            let id = world.stranger("").await;
            world.address(id, Channel::Sms, number).await;
            world.consent(id, Channel::Sms, ConsentState::Granted).await;
        }
        world.apply().await;
        // Numbers of parts may come again for another person.
        let taken = Outcome::Accepted { id: Some("a1 a2 a3".into()), reply: "SMPP status 0".into() };
        *world.outbox.outage.lock().unwrap() = Some((world.clock.clone(), "2027-03-02T00:00:00Z".parse().unwrap(), taken));
        let office = Office::open(world).await;
        office.run_until("2027-03-01T09:59:59Z").await;
        // A receipt that overtakes the answer is kept until that is known.
        receipt(&office, "a1", "+380500000001", ReceiptState::Delivered).await;
        office.run_until("2027-03-01T10:01:00Z").await;
        assert_eq!(office.world.sums("sale").await, "selected 3, accepted 3", "{}", database.name);
        use ReceiptState::{Delivered, Undeliverable};
        let all = [
            ("a2", "+380500000001", Delivered),
            ("a1", "+380500000002", Delivered),
            ("a2", "+380500000002", Undeliverable),
            ("a3", "+380500000002", Undeliverable),
            ("a1", "+380500000003", Delivered),
            ("a3", "+380500000003", Delivered),
            ("a2", "+380500000003", Delivered),
        ];
        for (id, to, state) in all {
            receipt(&office, id, to, state).await;
        }
        office.run_until("2027-03-01T10:02:00Z").await;
        let sums = |funnel: &posthaste::store::ledger::Funnel| (funnel.accepted(), funnel.confirmed, funnel.bounced);
        assert_eq!(sums(&office.world.funnel("sale").await), (3, 1, 1), "{}: the first waits for its third part", database.name);
        receipt(&office, "a3", "+380500000001", Delivered).await;
        // Told again, another day.
        receipt(&office, "a2", "+380500000003", Delivered).await;
        office.run_until("2027-03-01T10:03:00Z").await;
        assert_eq!(sums(&office.world.funnel("sale").await), (3, 2, 1), "{}", database.name);
        let once = "SELECT COUNT(*) FROM events WHERE name IN ('message.delivered', 'message.bounced')";
        assert_eq!(office.number(once).await, 3, "{}: each once", database.name);
    }
}

#[tokio::test]
async fn who_leaves_or_asks_for_help_is_answered_once_where_the_provider_does_not_do_it_itself() {
    for database in databases().await {
        let office = texted(&database, &["+380501112233", "+380501112244"]).await;
        let workspace = crate::world::WORKSPACE.to_string()
            + "  obedient: { channel: sms, kind: catcher, stop_reply: { en: \"You get no more texts of ours.\" }, help_reply: \"The Shop, shop.example/help\" }\n";
        let mut files = office.world.files.clone();
        files.insert("posthaste.yaml", workspace);
        let (definitions, problems) = posthaste::campaigns::read(&files);
        let definitions = definitions.unwrap_or_else(|| panic!("{}", problems.render(&files, false, 140)));
        let applying = posthaste::engine::applying(files, definitions, "dirty".into(), "ada".into(), office.world.clock.now());
        office.world.store.apply(&applying).await.unwrap();
        let sent = || -> Vec<(String, String)> {
            let letters = office.world.outbox.letters.lock().unwrap();
            let answer = |outgoing: &Outgoing| match &outgoing.body {
                Body::Sms { sender, to, text, .. } if outgoing.message.0 == 0 => {
                    assert_eq!(sender, "+14155550100", "from the number that was written to");
                    Some((to.clone(), text.clone()))
                }
                _ => None,
            };
            letters.iter().filter_map(answer).collect()
        };
        let first = "+380501112233";
        says(&office, 1, first, "STOP", None).await;
        office.run_until("2027-03-01T10:02:00Z").await;
        let confirmed = (first.to_string(), "You get no more texts of ours.".to_string());
        assert_eq!(sent(), std::slice::from_ref(&confirmed), "{}", database.name);
        // Once: whatever they write again, and whatever is told again.
        says(&office, 1, first, "STOP", None).await;
        says(&office, 2, first, "stop!", None).await;
        says(&office, 3, first, "HELP", None).await;
        // Nobody's number leaves too; Twilio answers its own keywords itself.
        says(&office, 4, "+380501112299", "СТОП", None).await;
        says(&office, 5, "+380501112244", "STOP", Some("STOP")).await;
        says(&office, 6, first, "Thank you", None).await;
        office.run_until("2027-03-01T10:04:00Z").await;
        let mut all = sent();
        all.sort();
        let help = (first.to_string(), "The Shop, shop.example/help".to_string());
        let strangers = ("+380501112299".to_string(), confirmed.1.clone());
        assert_eq!(all, [help, confirmed.clone(), strangers], "{}", database.name);
        assert_eq!(office.number("SELECT COUNT(*) FROM keyword_answers WHERE state = 3 AND recipient = ''").await, 3, "{}", database.name);
        // One that cannot be sent within five minutes is not sent at all.
        let away = Outcome::Away { after: None, reply: "away".into() };
        *office.world.outbox.outage.lock().unwrap() = Some((office.world.clock.clone(), "2027-03-02T12:10:00Z".parse().unwrap(), away));
        office.world.clock.advance_to("2027-03-02T12:00:00Z".parse().unwrap());
        says(&office, 7, first, "STOP", None).await;
        office.run_until("2027-03-02T13:00:00Z").await;
        assert_eq!(sent().len(), 3, "{}", database.name);
        assert_eq!(office.number("SELECT COUNT(*) FROM keyword_answers WHERE detail = 'away' AND state = 3").await, 1, "{}", database.name);
        // What a dead process was sending is not sent again.
        *office.world.outbox.outage.lock().unwrap() = None;
        office.world.clock.advance_to("2027-03-04T12:00:00Z".parse().unwrap());
        says(&office, 8, first, "STOP", None).await;
        let heard = super::office::feedback(&office.world);
        heard.turn(office.world.clock.now()).await.unwrap();
        assert_eq!(office.world.store.claim_answers(office.world.clock.now(), 10).await.unwrap().len(), 1);
        office.run_until("2027-03-04T13:00:00Z").await;
        assert_eq!(sent().len(), 3, "{}", database.name);
    }
}
