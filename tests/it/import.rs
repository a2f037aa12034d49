//! People, events, consents and suppressions from files.

use crate::databases::{Database, databases};
use posthaste::customers::files::EncodingHint;
use posthaste::customers::import::{self, EventOptions, Input, Rejected, Report, Settings, Summary};
use posthaste::customers::keys::Keys;
use posthaste::customers::mapping::Mapping;
use posthaste::literals::ValueType;
use posthaste::store::Store;
use posthaste::store::conversions::Measures;
use posthaste::store::customers::{Customer, Wanted};
use posthaste::store::events::NewEvent;
use posthaste::types::Time;

fn now() -> Time {
    "2027-03-01T10:00:00Z".parse().unwrap()
}

fn later() -> Time {
    "2027-03-02T10:00:00Z".parse().unwrap()
}

fn settings() -> Settings {
    Settings { country: Some("UA".into()), currency: "UAH".into(), ..Settings::plain(Keys::new("pepper"), now()) }
}

fn shared(path: &str) -> Option<Vec<u8>> {
    let full = format!("{}/../shared/data/{path}", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&full).ok();
    if bytes.is_none() {
        eprintln!("the sample data {path} is not here; the stories with our own samples prove the same classes");
    }
    bytes
}

async fn people(database: &Database, settings: &Settings, file: impl Into<Vec<u8>>) -> (Summary, Vec<Rejected>) {
    let mut rejected = Vec::new();
    let input = Input::Bytes(Box::new(std::io::Cursor::new(file.into())), EncodingHint::default());
    let summary = import::customers(&database.store, settings, input, &mut |report| {
        if let Report::Rejected(row) = report {
            rejected.push(row.clone());
        }
    })
    .await
    .unwrap_or_else(|error| panic!("{}: {error}", database.name));
    assert_eq!(summary.read, summary.new + summary.changed + summary.unchanged + summary.rejected, "the sum adds up");
    assert_eq!(summary.rejected, rejected.len() as u64);
    (summary, rejected)
}

async fn events(database: &Database, settings: &Settings, options: &EventOptions, file: impl Into<Vec<u8>>) -> (Summary, Vec<Rejected>) {
    let measures = Measures { all: Vec::new(), zone: settings.zone, currency: settings.currency.clone() };
    let mut rejected = Vec::new();
    let input = Input::Bytes(Box::new(std::io::Cursor::new(file.into())), EncodingHint::default());
    let summary = import::events(&database.store, settings, options, &measures, input, &mut |report| keep(report, &mut rejected)).await;
    (summary.unwrap(), rejected)
}

/// While nobody else works in the base: an empty table is filled without its indexes.
async fn events_alone(database: &Database, settings: &Settings, file: &str) -> (Summary, Vec<Rejected>) {
    let measures = Measures { all: Vec::new(), zone: settings.zone, currency: settings.currency.clone() };
    let mut rejected = Vec::new();
    let input = Input::Bytes(Box::new(std::io::Cursor::new(file.to_string())), EncodingHint::default());
    let options = EventOptions { alone: true, ..EventOptions::default() };
    let summary = import::events(&database.store, settings, &options, &measures, input, &mut |report| keep(report, &mut rejected)).await;
    (summary.unwrap(), rejected)
}

async fn consents(database: &Database, file: &str) -> (Summary, Vec<Rejected>) {
    let mut rejected = Vec::new();
    let input = Input::Bytes(Box::new(std::io::Cursor::new(file.to_string())), EncodingHint::default());
    let summary = import::consents(&database.store, &settings(), input, &mut |report| keep(report, &mut rejected)).await;
    (summary.unwrap(), rejected)
}

async fn suppressions(database: &Database, file: &str) -> (Summary, Vec<Rejected>) {
    let mut rejected = Vec::new();
    let input = Input::Bytes(Box::new(std::io::Cursor::new(file.to_string())), EncodingHint::default());
    let summary = import::suppressions(&database.store, &settings(), input, &mut |report| keep(report, &mut rejected)).await;
    (summary.unwrap(), rejected)
}

fn keep(report: Report<'_>, rejected: &mut Vec<Rejected>) {
    if let Report::Rejected(row) = report {
        rejected.push(row.clone());
    }
}

fn counts(summary: &Summary) -> (u64, u64, u64, u64, u64) {
    (summary.read, summary.new, summary.changed, summary.unchanged, summary.rejected)
}

async fn person(store: &Store, external_id: &str) -> Customer {
    let wanted = Wanted { external_ids: vec![external_id.into()], with_consents: true, ..Wanted::default() };
    let found = store.find_customers(&wanted).await.unwrap();
    found.customers.into_values().next().unwrap_or_else(|| panic!("{external_id} is stored"))
}

#[tokio::test]
async fn the_same_file_twice_changes_nothing() {
    for database in databases().await {
        let file = "external_id,email,phone,first_name,language,city,loyalty.tier,points,code,born\n\
                    ada,Ada@Example.org,050 123 45 67,Ада,uk,Київ,gold,12,007,1990-02-28\n\
                    bo,bo@example.org,,Bo,en,,,,,\n";
        let (summary, _) = people(&database, &settings(), file).await;
        assert_eq!(counts(&summary), (2, 2, 0, 0, 0), "{}", database.name);
        let ada = person(&database.store, "ada").await;
        assert_eq!(ada.draw_key, "ada");
        assert_eq!(
            serde_json::Value::Object(ada.attributes.clone()),
            serde_json::json!({"city": "Київ", "loyalty": {"tier": "gold"}, "points": 12, "code": "007", "born": "1990-02-28"})
        );
        let addresses: Vec<(i16, &str)> = ada.addresses.iter().map(|address| (address.channel, address.address.as_str())).collect();
        assert_eq!(addresses, [(1, "Ada@example.org"), (2, "+380501234567")]);
        let folded: serde_json::Value = serde_json::from_str(ada.folded.as_deref().unwrap()).unwrap();
        assert_eq!(folded, serde_json::json!({"email": "ada@example.org", "first_name": "ада", "city": "київ"}));

        let (summary, _) = people(&database, &Settings { now: later(), ..settings() }, file).await;
        assert_eq!(counts(&summary), (2, 0, 0, 2, 0), "{}", database.name);
        assert_eq!(person(&database.store, "ada").await, ada, "{}", database.name);
    }
}

#[tokio::test]
async fn an_empty_cell_leaves_and_null_clears() {
    for database in databases().await {
        people(&database, &settings(), "external_id,email,phone,first_name,city\nada,ada@example.org,0501234567,Ada,Kyiv\n").await;
        let (summary, _) =
            people(&database, &Settings { now: later(), ..settings() }, "external_id,email,phone,first_name,city\nada,,null,,null\n").await;
        assert_eq!(counts(&summary), (1, 0, 1, 0, 0), "{}", database.name);
        let ada = person(&database.store, "ada").await;
        assert_eq!((ada.first_name.as_deref(), ada.attributes.len(), ada.addresses.len()), (Some("Ada"), 0, 1));
        assert_eq!(ada.updated_at, later().timestamp_micros());
    }
}

#[tokio::test]
async fn whom_a_row_means_is_never_guessed() {
    for database in databases().await {
        people(&database, &settings(), "external_id,email,phone\nada,ada@example.org,0501234567\nbo,bo@example.org,\n,eve@example.org,\n")
            .await;
        let (summary, rejected) = people(
            &database,
            &settings(),
            "external_id,email,phone\n\
             ada,bo@example.org,\n\
             cy,ada@example.org,\n\
             cy,,0501234567\n\
             eve,EVE@example.org,\n\
             ,eve@example.org,0501234568\n\
             ,,0501234568\n\
             ,bo@example.org,0501234567\n\
             ,,\n\
             dan,dan@,\n\
             dan,dan@example.org\n",
        )
        .await;
        assert_eq!(counts(&summary), (9, 0, 2, 1, 6), "{}: {rejected:#?}", database.name);
        let reasons: Vec<String> = rejected.iter().map(|row| format!("{}: {}", row.row.line, row.reason)).collect();
        insta::allow_duplicates! { insta::assert_snapshot!(reasons.join("\n")) };
        let eve = person(&database.store, "eve").await;
        assert_eq!((eve.draw_key.as_str(), eve.addresses.len()), ("eve@example.org", 2), "{}", database.name);
    }
}

#[tokio::test]
async fn rows_of_one_file_see_each_other() {
    for database in databases().await {
        let file = "external_id,email,city\nada,ada@example.org,Kyiv\n,ADA@example.org,Lviv\nada,new@example.org,\nbo,ada@example.org,\n";
        let (summary, rejected) = people(&database, &settings(), file).await;
        assert_eq!(counts(&summary), (4, 1, 2, 0, 1), "{}: {rejected:?}", database.name);
        let ada = person(&database.store, "ada").await;
        assert_eq!(ada.attributes["city"], "Lviv");
        let addresses: Vec<(&str, bool)> = ada.addresses.iter().map(|address| (address.address.as_str(), address.is_primary)).collect();
        assert_eq!(addresses, [("new@example.org", true), ("ada@example.org", false)], "{}", database.name);
    }
}

#[tokio::test]
async fn consents_without_a_date_never_lift_a_withdrawal() {
    for database in databases().await {
        let topics = [("offers".to_string(), vec![posthaste::types::Channel::Email, posthaste::types::Channel::Sms])].into();
        let settings = Settings { topics, ..settings() };
        let check = async |expected: &str| {
            let ada = person(&database.store, "ada").await;
            let states: Vec<String> = ada.consents.iter().map(|c| format!("{} {} {}", c.topic, c.channel, c.state)).collect();
            assert_eq!(states.join(", "), expected, "{}", database.name);
        };
        let mut file = "external_id,consent.offers,consent_at\nada,yes,2027-01-01\n".to_string();
        people(&database, &settings, file.clone()).await;
        check("offers 1 granted, offers 2 granted").await;
        file = "external_id,consent.offers.email,consent_at\nada,нет,2027-02-01\n".into();
        people(&database, &settings, file.clone()).await;
        check("offers 1 withdrawn, offers 2 granted").await;
        for (cell, at, expected) in [
            ("email sms", "", "offers 1 withdrawn, offers 2 granted"),
            ("yes", "2027-01-15", "offers 1 withdrawn, offers 2 granted"),
            ("yes", "2027-02-01", "offers 1 withdrawn, offers 2 granted"),
            ("confirmed", "2027-02-02", "offers 1 confirmed, offers 2 confirmed"),
        ] {
            people(&database, &settings, format!("external_id,consent.offers,consent_at\nada,{cell},{at}\n")).await;
            check(expected).await;
        }
        let (summary, rejected) = people(&database, &settings, "external_id,consent.offers\nada,perhaps\n").await;
        assert_eq!(summary.rejected, 1);
        assert!(rejected[0].reason.starts_with("`perhaps` is no consent"), "{}", rejected[0].reason);
    }
}

#[tokio::test]
async fn four_encodings_of_one_file_give_the_same_people() {
    for name in ["utf8_comma.csv", "utf8_bom_semicolon.csv", "cp1251_semicolon.csv", "utf16le_bom_tab.txt"] {
        let Some(bytes) = shared(&format!("customers/encodings/{name}")) else { return };
        let database = crate::databases::sqlite().await;
        let mut mapping = Mapping { only_named: true, ..Mapping::default() };
        for pair in ["ID=external_id", "ФИО=full_name", "Город=city", "Комментарий=note"] {
            mapping.add(pair).unwrap();
        }
        let (summary, rejected) = people(&database, &Settings { mapping, ..settings() }, bytes).await;
        assert_eq!(counts(&summary), (200, 200, 0, 0, 0), "{name}: {rejected:?}");
        let ninth = person(&database.store, "9").await;
        assert_eq!(ninth.attributes["full_name"], "Бунев Тихон", "{name}");
        assert_eq!(ninth.attributes["city"], "КАЗАНЬ", "{name}");
        let lines = person(&database.store, "21").await;
        assert_eq!(lines.attributes["note"].as_str().map(|note| note.lines().count()), Some(2), "{name}");
    }
}

#[tokio::test]
async fn a_messy_export_comes_in_and_its_sums_add_up() {
    let (Some(bytes), Some(truth)) = (shared("customers/base_made.csv.gz"), shared("customers/base_made_truth.csv.gz")) else { return };
    let mut faulty = std::collections::BTreeMap::new();
    let mut reader = csv::Reader::from_reader(flate2::read::GzDecoder::new(truth.as_slice()));
    for record in reader.records() {
        let record = record.unwrap();
        faulty.insert(record[0].parse::<u64>().unwrap(), record[3].to_string());
    }
    for database in databases().await {
        let mut mapping =
            Mapping { only_named: true, true_is: ["да", "+", "согласен"].map(str::to_string).to_vec(), ..Mapping::default() };
        for pair in ["E-mail=email", "Город=city", "Согласие на рассылку=consent.news"] {
            mapping.add(pair).unwrap();
        }
        mapping.dates = Some(posthaste::customers::dates::Pattern::read("DD.MM.YYYY").unwrap());
        let settings = Settings { mapping, country: Some("RU".into()), ..settings() };
        let (summary, rejected) = people(&database, &settings, bytes.clone()).await;
        assert_eq!(summary.read, 3025, "{}", database.name);
        assert!(rejected.iter().all(|row| row.row.line > 1 && !row.reason.is_empty()));
        let unfit = rejected
            .iter()
            .filter(|row| faulty.get(&row.row.number).is_some_and(|fault| fault.is_empty() || fault == "typo"))
            .collect::<Vec<_>>();
        let unexplained: Vec<_> =
            unfit.iter().filter(|row| !row.reason.contains("has no external_id, email or phone")).map(|row| &row.reason).collect();
        assert!(unexplained.is_empty(), "{unexplained:#?}");
        let (again, _) = people(&database, &Settings { now: later(), ..settings }, bytes.clone()).await;
        assert_eq!((again.new, again.rejected), (0, summary.rejected), "{}", database.name);
    }
}

#[tokio::test]
async fn events_come_in_once_with_their_money() {
    let beside_others = databases().await.into_iter().map(|database| (database, false));
    for (database, alone) in beside_others.chain(databases().await.into_iter().map(|database| (database, true))) {
        people(&database, &settings(), "external_id,email\nada,ada@example.org\nbo,bo@example.org\n").await;
        let declared =
            [("purchase".to_string(), [("amount".to_string(), ValueType::Money), ("sku".to_string(), ValueType::Text)].into())].into();
        let settings = Settings { events: Some(declared), ..settings() };
        let file = "customer,event,at,id,amount,sku\n\
                    ada,purchase,2027-01-05 10:00,o1,300.50,007\n\
                    bo@example.org,purchase,2027-01-06T10:00:00+02:00,,12 EUR,B\n\
                    bo,purchase,2027-01-06T10:00:00+02:00,,1,B\n\
                    bo,purchase,2027-01-06T10:00:00+02:00,,1,B\n\
                    ada,purchase,2027-01-05 10:00,o1,300.50,007\n\
                    eve,purchase,2027-01-06,,1,B\n\
                    ada,purchased,2027-01-06,,1,B\n\
                    ada,purchase,soon,,1,B\n\
                    ada,purchase,2027-01-06,,much,B\n";
        let (summary, rejected) = match alone {
            true => events_alone(&database, &settings, file).await,
            false => events(&database, &settings, &EventOptions::default(), file).await,
        };
        assert_eq!(counts(&summary), (9, 4, 0, 1, 4), "{}: {rejected:?}", database.name);
        let reasons: Vec<String> = rejected.iter().map(|row| format!("{}: {}", row.row.line, row.reason)).collect();
        insta::allow_duplicates! { insta::assert_snapshot!("rejected_events", reasons.join("\n")) };
        let stored = database.store.events_after(0, 100, None).await.unwrap();
        let mut money: Vec<(Option<i64>, Option<&str>)> = stored.iter().map(|event| (event.value, event.currency.as_deref())).collect();
        money.sort();
        assert_eq!(money, [(Some(100), Some("UAH")), (Some(100), Some("UAH")), (Some(1200), Some("EUR")), (Some(30050), Some("UAH"))]);
        let ada = stored.iter().find(|event| event.external_id.as_deref() == Some("ada")).unwrap();
        assert_eq!(ada.properties.parse::<serde_json::Value>().unwrap(), serde_json::json!({"amount": 300.5, "sku": "007"}));
        let (again, _) = events(&database, &settings, &EventOptions::default(), file).await;
        assert_eq!(counts(&again), (9, 0, 0, 5, 4), "{}", database.name);
        let (again, _) = events_alone(&database, &settings, file).await;
        assert_eq!(counts(&again), (9, 0, 0, 5, 4), "{}", database.name);
    }
}

#[tokio::test]
async fn a_first_import_of_events_that_was_killed_leaves_each_event_once() {
    let database = crate::databases::sqlite().await;
    people(&database, &settings(), "external_id,email\nada,ada@example.org\n").await;
    let visit = |key| NewEvent {
        customer: 1,
        name: "visit".into(),
        occurred_at: 1,
        received_at: 1,
        properties: "{}".into(),
        folded: None,
        value: None,
        currency: None,
        source_key: [key; 16],
    };
    let mut filling = database.store.fill_events().await.unwrap();
    filling.write(vec![visit(1), visit(2), visit(1)]).await.unwrap();
    // Nobody builds the indexes; what was queued is stored, and the base is opened again.
    drop(filling);
    while database.store.events_after(0, 10, None).await.unwrap().len() < 3 {
        tokio::task::yield_now().await;
    }
    let again = Store::open(&database.url).await.unwrap();
    assert_eq!(again.events_after(0, 10, None).await.unwrap().len(), 2);
    let measures = Measures { all: Vec::new(), zone: chrono_tz::UTC, currency: "UAH".into() };
    let recorded = again.ingest_events(&[visit(2), visit(3)], &measures, false).await.unwrap();
    assert_eq!(recorded.iter().filter(|number| number.is_some()).count(), 1, "the index tells events apart again");
}

#[tokio::test]
async fn properties_of_json_lines_keep_their_shape() {
    for database in databases().await {
        people(&database, &settings(), "external_id\nada\n").await;
        let options = EventOptions { event: Some("order".into()), value: Some("total".into()), at: Some(now()), ..EventOptions::default() };
        let file = "{\"customer\": \"ada\", \"total\": 10, \"items\": [{\"sku\": \"L1\", \"price\": 5}], \"shop.city\": \"Kyiv\"}\n";
        let (summary, rejected) = events(&database, &settings(), &options, file).await;
        assert_eq!(counts(&summary), (1, 1, 0, 0, 0), "{}: {rejected:?}", database.name);
        let stored = &database.store.events_after(0, 100, None).await.unwrap()[0];
        let expected = serde_json::json!({"total": 10, "items": [{"sku": "L1", "price": 5}], "shop": {"city": "Kyiv"}});
        assert_eq!(stored.properties.parse::<serde_json::Value>().unwrap(), expected);
        assert_eq!((stored.value, stored.currency.as_deref(), stored.occurred_at), (Some(1000), Some("UAH"), now().timestamp_micros()));
    }
}

#[tokio::test]
async fn a_file_of_consents_obeys_the_later_date() {
    for database in databases().await {
        people(&database, &settings(), "external_id,email\nada,ada@example.org\n").await;
        let file = "customer,topic,channel,state,at,proof\n\
                    ada@example.org,news,email,granted,2027-01-01,form 12\n\
                    ada,news,email,withdrawn,2027-02-01,\n\
                    ada,news,email,granted,2027-01-15,\n\
                    ada,news,email,granted,,\n\
                    eve,news,email,granted,,\n\
                    ada,news,pigeon,granted,,\n";
        let (summary, rejected) = consents(&database, file).await;
        assert_eq!(counts(&summary), (6, 1, 1, 2, 2), "{}: {rejected:?}", database.name);
        let ada = person(&database.store, "ada").await;
        assert_eq!((ada.consents.len(), ada.consents[0].state), (1, posthaste::types::ConsentState::Withdrawn), "{}", database.name);
        assert_eq!(counts(&consents(&database, file).await.0), (6, 0, 0, 4, 2), "{}", database.name);
    }
}

#[tokio::test]
async fn a_file_of_suppressions_lifts_and_shortens_nothing() {
    for database in databases().await {
        let file = "address,reason,until\nAda@example.org,complaint,\n+380501234567,manual,2028-01-01\nada@,,\n";
        let (summary, rejected) = suppressions(&database, file).await;
        assert_eq!(counts(&summary), (3, 2, 0, 0, 1), "{}: {rejected:?}", database.name);
        let again = "email,phone,until\nada@example.org,,2027-06-01\n,050 123 45 67,2029-01-01\n,0501234567,2028-06-01\n";
        assert_eq!(counts(&suppressions(&database, again).await.0), (3, 0, 1, 2, 0), "{}", database.name);
        let key = Keys::new("pepper").address(posthaste::types::Channel::Email, "ada@example.org");
        let kept = database.store.suppressions(&[key]).await.unwrap();
        assert_eq!((kept.len(), kept[0].until, kept[0].reason.word()), (1, None, "complaint"));
    }
}

#[tokio::test]
async fn a_first_import_without_indexes_gives_the_same_people() {
    let file = "external_id,email,city,consent.news\nada,ada@example.org,Kyiv,yes\n,ADA@example.org,Lviv,\nbo,bo@example.org,,no\nbo,ada@example.org,,\n,eve@example.org,,\neve,eve@example.org,,yes\n";
    for database in databases().await {
        let mut rejected = Vec::new();
        let input = Input::Bytes(Box::new(std::io::Cursor::new(file.as_bytes())), EncodingHint::default());
        let summary = import::first_customers(&database.store, &settings(), input, &mut |report| {
            if let Report::Rejected(row) = report {
                rejected.push(row.reason.clone());
            }
        })
        .await
        .unwrap();
        assert_eq!(counts(&summary), (6, 3, 2, 0, 1), "{}: {rejected:?}", database.name);
        assert_eq!(built(&database.store).await, 3, "{}", database.name);
        let (again, _) = people(&database, &Settings { now: later(), ..settings() }, file).await;
        assert_eq!((again.new, again.rejected), (0, 1));
        let eve = person(&database.store, "eve").await;
        assert_eq!((eve.draw_key.as_str(), eve.consents.len()), ("eve@example.org", 1));
    }
}

/// How many stand of the two indexes that a first import leaves out, and of the reference (on SQLite that is always there).
async fn built(store: &Store) -> i64 {
    let sql = store.pick(
        "SELECT 1 + COUNT(*) FROM sqlite_master WHERE name IN ('addresses_by_key', 'customers_by_external_id')",
        "SELECT (SELECT COUNT(*) FROM pg_class WHERE relname IN ('addresses_by_key', 'customers_by_external_id'))
              + (SELECT COUNT(*) FROM pg_constraint WHERE conname = 'addresses_customer_id_fkey')",
    );
    posthaste::on_pool!(store, pool => sqlx::query_scalar(sql).fetch_one(pool).await).unwrap()
}

#[tokio::test]
async fn a_first_import_into_postgresql_has_it_alone_and_what_it_leaves_out_is_built_after_it_dies() {
    let Some(database) = crate::databases::postgres().await else { return };
    let store = &database.store;
    // An engine works here: nothing is left out.
    let soon = now() + chrono::TimeDelta::minutes(1);
    let node = store.register_node("boot", "here", "all", now(), soon).await.unwrap();
    assert!(store.fill(now()).await.unwrap().is_none());
    assert_eq!(built(store).await, 3);
    store.remove_node(node).await.unwrap();

    let filling = store.fill(now()).await.unwrap().expect("nobody works here");
    assert_eq!(built(store).await, 0);
    assert!(store.fill(now()).await.unwrap().is_none(), "a second one finds it taken");
    // Whoever opens the base meanwhile leaves it alone.
    Store::open(&database.url).await.unwrap();
    assert_eq!(built(store).await, 0);

    // It dies between the two commits: what belongs to its people is there, and they are not.
    let Store::Postgres(pool) = store else { unreachable!() };
    let theirs = "INSERT INTO addresses (customer_id, channel, address, key) VALUES (7, 1, 'nobody@example.org', '\\x00');
                  INSERT INTO consents (customer_id, topic, channel, state, at, received_at, source, source_key) VALUES (7, 'offers', 1, 1, 0, 0, '', '\\x00');
                  INSERT INTO consent_state (customer_id, topic, channel, state, at) VALUES (7, 'offers', 1, 1, 0)";
    sqlx::raw_sql(theirs).execute(pool).await.unwrap();
    // Somebody signs up before anybody has built the indexes.
    let next = "INSERT INTO customers (id, draw_key, created_at, updated_at) VALUES (8, 'next', 0, 0)";
    sqlx::raw_sql(next).execute(pool).await.unwrap();
    drop(filling);
    for _ in 0..100 {
        Store::open(&database.url).await.unwrap();
        if built(store).await == 3 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(built(store).await, 3);
    let left = "SELECT (SELECT COUNT(*) FROM addresses) + (SELECT COUNT(*) FROM consents) + (SELECT COUNT(*) FROM consent_state)";
    assert_eq!(sqlx::query_scalar::<_, i64>(left).fetch_one(pool).await.unwrap(), 0, "what belonged to nobody is gone");
    sqlx::raw_sql("DELETE FROM customers").execute(pool).await.unwrap();
    sqlx::raw_sql("SELECT setval(pg_get_serial_sequence('customers', 'id'), 1, false)").execute(pool).await.unwrap();
    // A base with somebody in it is not filled.
    people(&database, &settings(), "external_id,email\nada,ada@example.org\n").await;
    assert!(store.fill(now()).await.unwrap().is_none());
}

#[tokio::test]
async fn hillstrom_without_ids_is_numbered() {
    let Some(bytes) = shared("hillstrom/hillstrom.csv.gz") else { return };
    let database = crate::databases::sqlite().await;
    let settings = Settings { number_rows: Some("h".into()), ..settings() };
    let (summary, rejected) = people(&database, &settings, bytes.clone()).await;
    assert_eq!(counts(&summary), (64_000, 64_000, 0, 0, 0), "{rejected:?}");
    let first = person(&database.store, "h1").await;
    assert_eq!(first.attributes["history"], 142.44);
    assert_eq!(first.attributes["segment"], "Womens E-Mail");
    let (again, _) = people(&database, &settings, bytes).await;
    assert_eq!(counts(&again), (64_000, 0, 0, 64_000, 0));
}

#[tokio::test]
async fn unknown_columns_and_files_without_people_are_refused_with_what_to_do() {
    let database = crate::databases::sqlite().await;
    let attributes = Some([("city".to_string(), ValueType::Text)].into());
    let mut texts = Vec::new();
    for (settings, file) in [
        (Settings { attributes: attributes.clone(), ..settings() }, "external_id,citi\n1,x\n"),
        (settings(), "name,city\nAda,Kyiv\n"),
        (settings(), "external_id,Город\n1,x\n"),
        (settings(), "external_id,email,E-Mail\n1,x,y\n"),
        (settings(), "external_id,external_id\n1,2\n"),
        (settings(), ""),
    ] {
        let input = Input::Bytes(Box::new(std::io::Cursor::new(file)), EncodingHint::default());
        let error = import::customers(&database.store, &settings, input, &mut |_| {})
            .await
            .map(|summary| format!("{summary:?}"))
            .unwrap_or_else(|error| error.to_string());
        texts.push(error);
    }
    insta::assert_snapshot!(texts.join("\n\n"));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(40))]
    #[test]
    fn no_bytes_make_an_import_panic(bytes: Vec<u8>, header in "[a-z_.;,\t\"]{0,40}") {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let database = crate::databases::sqlite().await;
            let mut file = format!("external_id,{header}\n").into_bytes();
            file.extend(&bytes);
            for file in [bytes.clone(), file] {
                let _ = import::customers(&database.store, &settings(), Input::Bytes(Box::new(std::io::Cursor::new(file)), EncodingHint::default()), &mut |_| {}).await;
            }
        });
    }
}

#[tokio::test]
async fn beside_a_customer_an_email_is_a_property() {
    for database in databases().await {
        people(&database, &settings(), "external_id,email\nada,ada@example.org\n").await;
        let file = "customer,event,at,id,email\n#1,visit,2027-02-01,1,given@example.org\n";
        let (summary, rejected) = events(&database, &settings(), &EventOptions::default(), file).await;
        assert_eq!(counts(&summary), (1, 1, 0, 0, 0), "{}: {rejected:?}", database.name);
        let stored = &database.store.events_after(0, 10, None).await.unwrap()[0];
        assert_eq!(stored.properties.parse::<serde_json::Value>().unwrap(), serde_json::json!({"email": "given@example.org"}));
    }
}
