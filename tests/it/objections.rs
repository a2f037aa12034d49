//! Who objected to advertising and profiling, and who takes a break: what still comes, and what `why` says.

use crate::databases::{Database, databases};
use crate::processes::{command, posthaste};
use crate::shop::{Shop, write_customers};
use crate::world::{World, advertising};
use posthaste::store::Store;
use posthaste::store::consents::ConsentRow;
use posthaste::store::wishes::{Asked, Objection, Pause, Wishes};
use posthaste::types::{Channel, ConsentState, Time};

/// As the preferences page does it.
async fn wish(store: &Store, customer: i64, at: Time, wishes: Wishes) {
    store.keep_wishes(&Asked { customer, at, proof: "a story" }, &wishes).await.unwrap();
}

fn raise() -> Wishes {
    Wishes { objection: Some(Objection::Raise), ..Wishes::default() }
}

const INFORMATION: &str = "category: retail\ntask: retain\nclass: informational\ntopic: offers\n";

fn campaigns(world: &mut World) {
    let audience = "audience: { segment: everyone, holdout: 0% }\nmessage: { template: hello, subject: \"Hello\" }\n";
    world.campaign("sale", &format!("{}schedule: {{ at: 2027-03-01 10:00 }}\n{audience}", advertising!()));
    world.campaign(
        "notice",
        &format!("{INFORMATION}schedule: {{ at: 2027-03-01 11:00 }}\naudience: {{ segment: everyone }}\nmessage: {{ template: hello, subject: \"Hello\" }}\n"),
    );
    world.campaign(
        "parcel",
        "class: transactional\nschedule: { at: 2027-03-01 12:00 }\nmessage: { from: news, template: hello, subject: \"Your parcel\" }\n",
    );
    // Whatever consent is asked for: here, none.
    world.policy("policy: { consent: [ { class: advertising, needs: none }, { class: informational, needs: none } ] }");
}

#[tokio::test]
async fn who_objected_is_not_even_looked_at_for_advertising_and_gets_the_parcel_s_notice() {
    for database in databases().await {
        let mut world = World::new(&database);
        campaigns(&mut world);
        let ada = world.person("ada@example.org").await;
        world.person("bo@example.org").await;
        wish(&world.store, ada, world.clock.now(), raise()).await;
        // Whatever comes later from elsewhere: no import and no form lifts it.
        let later = |topic: &str, state| ConsentRow {
            customer: ada,
            topic: topic.into(),
            channel: Channel::Email.code(),
            state,
            at: world.clock.now().timestamp_micros() + 1,
            received_at: 0,
            source: "import".into(),
            proof: Some("a list".into()),
            until: None,
            source_key: [state as u8; 16],
        };
        for row in [later("*", ConsentState::Granted), later("offers", ConsentState::Confirmed)] {
            world.store.append_consents(&[row], true).await.unwrap();
        }
        world.apply().await;
        world.run_until("2027-03-01T13:00:00Z").await;
        assert_eq!(world.sums("sale").await, "selected 1, accepted 1", "{}", database.name);
        assert_eq!(world.sums("notice").await, "selected 1, accepted 1", "{}", database.name);
        assert_eq!(world.sums("parcel").await, "selected 2, accepted 2", "{}", database.name);
        assert_eq!(world.outbox().iter().filter(|to| *to == "ada@example.org").count(), 1);
    }
}

#[tokio::test]
async fn an_objection_stops_what_is_planned_already_and_a_pause_stops_advertising_until_it_ends() {
    for database in databases().await {
        let mut world = World::new(&database);
        campaigns(&mut world);
        // Planned before the letters leave: they wait for the window.
        world.campaign(
            "slow",
            &format!(
                "{}schedule: {{ at: 2027-03-01 10:00, windows: [ {{ hours: 15:00 to 18:00 }} ] }}\n\
                 audience: {{ segment: everyone, holdout: 0% }}\nmessage: {{ template: hello, subject: \"Hello\" }}\n",
                advertising!()
            ),
        );
        let (ada, bo) = (world.person("ada@example.org").await, world.person("bo@example.org").await);
        let until = "2027-03-01T16:30:00Z".parse().unwrap();
        wish(&world.store, bo, world.clock.now(), Wishes { pause: Some(Pause::Until(until)), ..Wishes::default() }).await;
        world.apply().await;
        world.run_until("2027-03-01T14:00:00Z").await;
        assert_eq!(world.sums("sale").await, "selected 2, suppressed 1, accepted 1", "{}: a pause is a refusal by its word", database.name);
        assert_eq!(world.sums("notice").await, "selected 2, accepted 2", "{}: and stops advertising only", database.name);
        wish(&world.store, ada, world.clock.now(), raise()).await;
        world.run_until("2027-03-01T17:00:00Z").await;
        assert_eq!(world.sums("slow").await, "selected 2, no_consent 1, suppressed 1", "{}", database.name);
    }
}

#[tokio::test]
async fn an_import_s_suppression_takes_the_place_of_a_pause_and_keeps_its_length() {
    use posthaste::store::suppressions::SuppressionRow;
    use posthaste::types::SuppressionReason;
    for Database { store, name, .. } in databases().await {
        let row = |reason, until| SuppressionRow { key: [7; 16], channel: 1, reason, since: 1, until, source: "a story".into() };
        for (reason, until, expected) in [
            (SuppressionReason::Paused, Some(100), (SuppressionReason::Paused, Some(100))),
            (SuppressionReason::Import, Some(50), (SuppressionReason::Import, Some(100))),
            (SuppressionReason::Paused, Some(60), (SuppressionReason::Import, Some(100))),
            (SuppressionReason::Complaint, None, (SuppressionReason::Complaint, None)),
            (SuppressionReason::Paused, Some(900), (SuppressionReason::Complaint, None)),
        ] {
            store.keep_suppressions(&[row(reason, until)]).await.unwrap();
            let kept = store.suppressions(&[[7; 16]]).await.unwrap();
            assert_eq!(kept.first().map(|row| (row.reason, row.until)), Some(expected), "{name} {reason}");
        }
    }
}

#[tokio::test]
async fn files_bring_objections_lift_none_and_why_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let workspace = folder.path();
    Shop::letters(9, 1).write(workspace);
    write_customers(workspace, 2);
    let database = "sqlite:story.db";
    let run_at = |now: &str, arguments: &[&str]| posthaste(workspace, database, &[arguments, &["--now", now]].concat());
    run_at("2027-01-20T10:00:00Z", &["import", "customers", "customers.csv"]);
    let run = |arguments: &[&str]| run_at("2027-02-20T10:00:00Z", arguments);
    let objections = "customer,topic,channel,state,at\nK0,offers,email,objected,2027-02-01\n";
    std::fs::write(workspace.join("objections.csv"), objections).unwrap();
    run(&["import", "consents", "objections.csv"]);
    let again = "external_id,email,consent.offers\nK0,person.0@kill.example,granted\n";
    std::fs::write(workspace.join("again.csv"), again).unwrap();
    run(&["import", "customers", "again.csv"]);
    std::fs::write(
        workspace.join("consents.csv"),
        "customer,topic,channel,state,at\nK0,*,email,granted,2027-02-19\nK0,offers,email,confirmed,2027-02-19\n",
    )
    .unwrap();
    run(&["import", "consents", "consents.csv"]);
    run(&["apply", "--yes"]);
    let why = run(&["why", "K0", "letter"]).stdout;
    assert!(why.contains("The customer objected to advertising and profiling on 2027-02-01"), "{why}");
    assert!(run(&["why", "K1", "letter"]).stdout.contains("would be in the audience"));
    let shown = command(workspace, database, &["customers", "show", "K0"]).output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).to_string();
    assert!(shown.contains("objected"), "{shown}");
    let count = run(&["segments", "count", "agreed"]).stdout;
    assert!(count.contains("1 of 2 customers"), "who objected agrees to nothing: {count}");
}
