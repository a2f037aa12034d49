//! One customer: shown, found, erased; everybody exported.

use crate::databases::{Database, databases};
use posthaste::customers::files::EncodingHint;
use posthaste::customers::import::{self, EventOptions, Input, Settings};
use posthaste::customers::keys::Keys;
use posthaste::store::Store;
use posthaste::store::conversions::Measures;
use posthaste::types::{Channel, Time};

fn now() -> Time {
    "2027-03-01T10:00:00Z".parse().unwrap()
}

async fn filled(database: &Database) {
    let settings = Settings { country: Some("UA".into()), ..Settings::plain(Keys::new("pepper"), now()) };
    let people = "external_id,email,phone,first_name,city,consent.news.email\nada,Ada@Example.org,0501234567,Ада,Kyiv,yes\nbo,bo_b@example.org,,Bo,Lviv,\n";
    import::customers(&database.store, &settings, input(people), &mut |_| {}).await.unwrap();
    let events = "customer,event,at,amount,note\nada,purchase,2027-02-01,12,secret words\nbo,visit,2027-02-02,,\n";
    let measures = Measures { all: Vec::new(), zone: settings.zone, currency: settings.currency.clone() };
    let options = EventOptions { value: Some("amount".into()), ..EventOptions::default() };
    import::events(&database.store, &settings, &options, &measures, input(events), &mut |_| {}).await.unwrap();
    for sql in [
        "INSERT INTO campaigns (id, key, class, first_applied_at, scheduled_until) VALUES (1, 'sale', 1, 0, 0)",
        "INSERT INTO runs (id, campaign_id, number, version_id, occurrence, due_at, state) VALUES (1, 1, 1, 1, 'x', 0, 4)",
        "INSERT INTO arms (run_id, arm, name) VALUES (1, 1, 'gift')",
        "INSERT INTO messages (id, run_id, customer_id, channel, arm, state, address, due_at, changed_at, accepted_at, detail) \
         VALUES (1, 1, 1, 1, 1, 7, 'Ada@example.org', 1800000000000000, 1800000000000000, 1800000000000000, '250 ok ada@example.org')",
    ] {
        posthaste::on_writer!(&database.store, pool => sqlx::query(sql).execute(pool).await.map(|_| ())).unwrap();
    }
}

fn input(text: &str) -> Input {
    Input::Bytes(Box::new(std::io::Cursor::new(text.to_string())), EncodingHint::default())
}

#[tokio::test]
async fn people_are_found_whatever_their_capitals() {
    for database in databases().await {
        filled(&database).await;
        for (text, expected) in [("ада", "ada"), ("EXAMPLE", "ada bo"), ("bo_b", "bo"), ("b%", ""), ("050", "ada"), ("+38050", "ada")] {
            let found = database.store.search_customers(text, 10).await.unwrap();
            let found: Vec<&str> = found.iter().filter_map(|line| line.external_id.as_deref()).collect();
            assert_eq!(found.join(" "), expected, "{}: {text}", database.name);
        }
    }
}

#[tokio::test]
async fn an_erased_person_leaves_numbers_and_suppressions_but_no_data() {
    for database in databases().await {
        filled(&database).await;
        let store = &database.store;
        store.erase_customer(1, None, "tester", now()).await.unwrap();
        assert!(store.scour().await.unwrap(), "{}", database.name);
        let ada = store.customer(1).await.unwrap().unwrap();
        assert_eq!((ada.external_id, ada.first_name, ada.attributes.len(), ada.addresses.len(), ada.folded), (None, None, 0, 0, None));
        assert_eq!((ada.draw_key.as_str(), ada.erased_at), ("erased #1", Some(now().timestamp_micros())));
        let event = &store.newest_events_of(1, 10).await.unwrap()[0];
        assert_eq!((event.name.as_str(), event.value, event.properties.as_str()), ("purchase", Some(1200), "{}"));
        let message = &store.messages_of(1, 10).await.unwrap()[0];
        assert_eq!((message.customer_id, message.address.as_deref(), message.detail.as_deref()), (1, None, None));
        let keys = Keys::new("pepper");
        let kept = store
            .suppressions(&[keys.address(Channel::Email, "ada@example.org"), keys.address(Channel::Sms, "+380501234567")])
            .await
            .unwrap();
        assert_eq!(kept.iter().map(|row| row.reason.word()).collect::<Vec<_>>(), ["erased", "erased"], "{}", database.name);
        let audit: Vec<(String, String)> =
            posthaste::on_pool!(store, pool => sqlx::query_as("SELECT action, subject FROM audit").fetch_all(pool).await).unwrap();
        assert_eq!(audit, [("customers.erase".to_string(), "#1".to_string())]);
        if let Some(path) = database.url.strip_prefix("sqlite:") {
            for file in [path.to_string(), format!("{path}-wal")] {
                let bytes = std::fs::read(&file).unwrap_or_default();
                for secret in ["Ada@example.org", "secret words", "+380501234567"] {
                    assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret} is still in {file}");
                }
            }
        }
    }
}

/// The command itself, in a workspace of its own.
struct Shop {
    folder: tempfile::TempDir,
}

impl Shop {
    fn new() -> Shop {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("posthaste.yaml"),
            "workspace: shop\npublic_url: https://go.shop.example\nzone: Europe/Kyiv\ncountry: UA\nlanguages: [ en ]\ncurrency: UAH\n\
             topics: { news: { title: \"News\", channels: [ email ], from: shop } }\n\
             identities: { shop: { postal_address: \"1 Main St\", email: { name: \"Shop\", address: news@shop.example } } }\n\
             providers: { letters: { channel: email, kind: catcher } }\n",
        )
        .unwrap();
        std::fs::write(folder.path().join(".env"), "POSTHASTE_PEPPER=pepper\nPOSTHASTE_SIGNING=k1:signing\n").unwrap();
        Shop { folder }
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.folder.path().join(name), content).unwrap();
    }

    /// Exit code, standard output, standard error.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_posthaste"))
            .args(arguments)
            .args(["--now", "2027-03-01T10:00:00Z"])
            .current_dir(self.folder.path())
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }
}

#[test]
fn the_commands_tell_a_whole_story() {
    let shop = Shop::new();
    shop.write(
        "people.csv",
        "external_id,email,phone,first_name,city,consent.news\nada,Ada@Example.org,0501234567,Ада,Kyiv,yes\nbo,bo@,,Bo,Lviv,\n",
    );
    shop.write("events.csv", "customer,event,at,amount\nada,purchase,2027-02-01 10:00,12\n");
    let mut story = String::new();
    for arguments in [
        vec!["import", "customers", "people.csv", "--dry-run"],
        vec!["import", "customers", "people.csv"],
        vec!["import", "customers", "people.csv", "--format", "json"],
        vec!["import", "events", "events.csv"],
        vec!["import", "events", "events.csv", "--start"],
        vec!["import", "customers", "people.csv", "--map", "crm"],
        vec!["customers", "find", "ада"],
        vec!["customers", "show", "+380501234567"],
        vec!["customers", "show", "eve"],
        vec!["export", "customers"],
        vec!["export", "customers", "--format", "json"],
        vec!["export", "events"],
        vec!["export", "messages"],
        vec!["customers", "erase", "ada"],
        vec!["customers", "erase", "#1", "--yes"],
        vec!["customers", "show", "ada"],
    ] {
        let (code, out, err) = shop.run(&arguments);
        story.push_str(&format!("$ posthaste {}\n{out}", arguments.join(" ")));
        story.push_str(&err.lines().map(|line| format!("! {line}\n")).collect::<String>());
        story.push_str(&format!("= {code}\n\n"));
    }
    let rejects = std::fs::read_to_string(shop.folder.path().join("people.csv.rejected")).unwrap();
    // The clock goes on while the commands work.
    insta::with_settings!({filters => [(r"2027-03-01([T ])10:0\d:\d\d(\.\d+)?", "2027-03-01${1}10:00:00")]}, {
        insta::assert_snapshot!(format!("{story}people.csv.rejected:\n{rejects}"));
    });
}

#[test]
fn what_is_exported_can_be_imported_again() {
    let shop = Shop::new();
    shop.write("people.csv", "external_id,email,phone,first_name,city,loyalty.tier,points,consent.news\nada,Ada@Example.org,0501234567,Ада,Kyiv,gold,12,yes\nbo,bo@example.org,,Bo,,,,no\n");
    assert_eq!(shop.run(&["import", "customers", "people.csv"]).0, 0);
    for (format, name) in [("csv", "all.csv"), ("json", "all.jsonl")] {
        assert_eq!(shop.run(&["export", "customers", "--format", format, "--to", name]).0, 0);
        let (_, out, err) = shop.run(&["import", "customers", name]);
        assert_eq!(out, "2 rows of customers read: 0 new, 0 changed, 2 unchanged, 0 rejected\n", "{err}");
        let fresh = Shop::new();
        std::fs::copy(shop.folder.path().join(name), fresh.folder.path().join(name)).unwrap();
        let (_, out, err) = fresh.run(&["import", "customers", name]);
        assert_eq!(out, "2 rows of customers read: 2 new, 0 changed, 0 unchanged, 0 rejected\n", "{err}");
        let (_, again, _) = fresh.run(&["export", "customers", "--format", "csv"]);
        assert_eq!(again, shop.run(&["export", "customers", "--format", "csv"]).1);
    }
}

#[tokio::test]
async fn a_killed_first_import_is_completed_by_running_it_again() {
    let database = crate::databases::sqlite().await;
    // What a kill leaves: some batches, and no indexes.
    filled(&database).await;
    drop(database.store.fill(now()).await.unwrap().unwrap());
    database.store.close().await;
    let store = Store::open(&database.url).await.unwrap();
    let settings = Settings { country: Some("UA".into()), ..Settings::plain(Keys::new("pepper"), now()) };
    let file = "external_id,email\nada,ada@example.org\neve,eve@example.org\n";
    let summary = import::first_customers(&store, &settings, input(file), &mut |_| {}).await.unwrap();
    assert_eq!((summary.new, summary.unchanged), (1, 1));
}
