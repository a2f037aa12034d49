//! All that is known of one person, for whoever asks: complete, without neighbours, and harmless in a spreadsheet.

use super::person::{EMAIL, EXTERNAL_ID, PEOPLE, import_events, shop};
use super::processes::write_workspace;
use crate::databases::databases;
use crate::processes::posthaste;
use crate::webhooks::office::Office;
use posthaste::store::Store;
use serde_json::Value;
use std::collections::BTreeMap;

/// Every table whose rows belong to a customer, with the number of rows of customer 1: by the catalogue, so that none is forgotten.
async fn rows(store: &Store) -> BTreeMap<String, i64> {
    let sql = match store {
        Store::Sqlite(_) => {
            "SELECT m.name, p.name FROM sqlite_master m JOIN pragma_table_info(m.name) p WHERE m.type = 'table' AND p.name IN ('customer_id', 'message_id')"
        }
        Store::Postgres(_) => {
            "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT) FROM information_schema.columns WHERE column_name IN ('customer_id', 'message_id') AND table_schema = current_schema()"
        }
    };
    let columns: Vec<(String, String)> = posthaste::on_pool!(store, pool => sqlx::query_as(sql).fetch_all(pool).await.unwrap());
    let mut of_customer: BTreeMap<String, String> = BTreeMap::new();
    for (table, column) in columns {
        let place = of_customer.entry(table).or_insert(column.clone());
        if column == "customer_id" {
            *place = column;
        }
    }
    let mut rows = BTreeMap::new();
    for (table, column) in of_customer {
        let of = if column == "customer_id" { "customer_id = 1" } else { "message_id IN (SELECT id FROM messages WHERE customer_id = 1)" };
        let sql = format!("SELECT COUNT(*) FROM {table} WHERE {of}");
        let (count,): (i64,) =
            posthaste::on_pool!(store, pool => sqlx::query_as(sqlx::AssertSqlSafe(sql.clone())).fetch_one(pool).await.unwrap());
        rows.insert(table, count);
    }
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_has_everything_of_the_person_and_nothing_of_others() {
    for database in databases().await {
        let (world, ..) = shop(&database).await;
        let office = Office::open(world).await;
        office.run_until("2027-03-01T13:30:00Z").await;
        import_events(&office, &format!("customer,event,at,amount,note\n{EXTERNAL_ID},purchase,2027-03-01 13:10,12,=cmd|calc\nCRM-BO-1,purchase,2027-03-01 13:10,77,of Bo\n")).await;
        let store = &office.world.store;
        // What the story does not fill by itself.
        for sql in [
            "INSERT INTO strikes (key, kind, channel, first_at, last_at, count) SELECT key, 1, 1, 1, 2, 3 FROM addresses WHERE customer_id = 1 AND channel = 1",
            "INSERT INTO suppressions (key, channel, reason, since) SELECT key, channel, 6, 5 FROM addresses WHERE customer_id IN (1, 2) AND channel = 1",
            "INSERT INTO firsts (message_id, kind, link, at) SELECT id, 1, 0, 5 FROM messages WHERE customer_id IN (1, 2)",
            "INSERT INTO starts (campaign_id, entry, customer_id, at) VALUES (1, 900, 1, 5), (1, 901, 2, 5)",
            "INSERT INTO conversions (run_id, customer_id, measure, arm, first_at, events) VALUES (1, 1, 9, 1, 5, 1), (1, 2, 9, 1, 5, 1)",
            "INSERT INTO credits (run_id, measure, arm, event_id, customer_id, at, currency, value) VALUES (1, 9, 1, 900, 1, 5, 'EUR', 12), (1, 9, 1, 901, 2, 5, 'EUR', 77)",
            "INSERT INTO inbound_mail (digest, received_at, sender, recipients, state, message_id, detail) SELECT key, 5, 'x', '[]', 3, (SELECT MIN(id) FROM messages WHERE customer_id = 1), 'replied' FROM addresses WHERE customer_id = 1 AND channel = 1",
            "INSERT INTO orphans (provider, key, told, received_at, next_at) SELECT 'obedient', key, '{\"person\":\"ZEPHYRINE.oquendo@quibell-post.example\"}', 5, 6 FROM addresses WHERE customer_id = 1 AND channel = 1",
            "INSERT INTO reservations (customer_id, message_id, campaign_id, channel, priority, at) SELECT customer_id, MIN(id), 1, 1, 50, 5 FROM messages WHERE customer_id IN (1, 2) GROUP BY customer_id",
            "INSERT INTO message_parts (message_id, provider_id) SELECT MIN(id), 'part of ' || customer_id FROM messages WHERE customer_id IN (1, 2) GROUP BY customer_id",
            "INSERT INTO signups (customer_id, form, channel, key, topics, fields, proof, made, asked_at) SELECT customer_id, 'letters', 1, key, '[]', '{}', '{}', 1, 5 FROM addresses WHERE customer_id IN (1, 2) AND channel = 1",
            "UPDATE customers SET last_name = '=1+1' WHERE id = 1",
        ] {
            posthaste::on_writer!(store, pool => { sqlx::query(sql).execute(pool).await.unwrap(); });
        }
        let folder = tempfile::tempdir().unwrap();
        let workspace = folder.path();
        write_workspace(workspace, 1);
        let run = |arguments: &[&str]| posthaste(workspace, &database.url, &[arguments, &["--now", "2027-03-01T14:00:00Z"]].concat());
        run(&["customers", "export", EMAIL, "--to", "hers"]);
        let whole = run(&["customers", "export", "#1"]).json();
        let written: Value = serde_json::from_str(&std::fs::read_to_string(workspace.join("hers/customer.json")).unwrap()).unwrap();
        assert_eq!(written["events"], whole["events"], "{}", database.name);
        let called = |table: &str| match table {
            "consent_state" => "consents_today".to_string(),
            "inbound_mail" => "mail_received".into(),
            "reservations" => "counted_for_caps".into(),
            "firsts" => "first_responses".into(),
            "credits" => "attributed".into(),
            "starts" => "starting_campaigns".into(),
            other => other.to_string(),
        };
        let rows = rows(store).await;
        assert!(rows.len() >= 12, "{rows:?}");
        for (table, count) in &rows {
            assert!(*count > 0, "{}: {table} was not seeded: a table that was added later needs its row here", database.name);
            let section = called(table);
            assert_eq!(whole[&section].as_array().map(Vec::len), Some(*count as usize), "{}: {section} of {whole:#}", database.name);
            let sheet = std::fs::read_to_string(workspace.join(format!("hers/{section}.csv"))).unwrap();
            assert!(sheet.lines().count() > *count as usize, "{}: {section}", database.name);
        }
        let profile = &whole["profile"][0];
        assert_eq!((profile["external_id"].as_str(), profile["attributes"]["town"].as_str()), (Some(EXTERNAL_ID), Some("Vrbovsko")));
        let proofs: Vec<&str> = whole["consents"].as_array().unwrap().iter().filter_map(|consent| consent["proof"].as_str()).collect();
        assert!(proofs.contains(&"signed as Oquendo-Quibell"), "{proofs:?}");
        let messages = whole["messages"].as_array().unwrap();
        let gift = messages.iter().find(|message| message["campaign"] == "gift").unwrap();
        assert_eq!(
            (gift["state"].as_str(), gift["channel"].as_str(), gift["address"].as_str()),
            (Some("accepted"), Some("email"), Some(EMAIL))
        );
        assert_eq!(gift["content"]["town"], "Vrbovsko", "what the letter said, while it is kept: {gift:#}");
        assert!(gift["code"].as_str().is_some_and(|code| code.starts_with("BD-")));
        assert!(
            whole["attempts"]
                .as_array()
                .unwrap()
                .iter()
                .any(|attempt| attempt["reply"].as_str().is_some_and(|reply| reply.contains(EMAIL)))
        );
        assert_eq!(whole["suppressions"].as_array().map(Vec::len), Some(1));
        assert_eq!(whole["delivery_failures"].as_array().map(Vec::len), Some(1));
        assert_eq!(whole["told_by_providers"].as_array().map(Vec::len), Some(1));
        assert!(whole["experiments"].as_array().unwrap().len() >= 4);
        assert_eq!(whole["segments"], serde_json::json!([{ "segment": "buyers" }]), "{}", database.name);
        assert!(whole["events"].as_array().unwrap().iter().any(|event| event["properties"]["note"] == "=cmd|calc"));
        // Nothing of the neighbour.
        for text in [
            whole.to_string(),
            std::fs::read_dir(workspace.join("hers")).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect(),
        ] {
            for word in ["bo@neighbour", "CRM-BO-1", "Lviv", "of Bo", "+380671111111", "Plain"] {
                assert!(!text.contains(word), "{}: {word} in {text}", database.name);
            }
        }
        // No formula in any sheet; in JSON they are as they were.
        let sheet = std::fs::read_to_string(workspace.join("hers/profile.csv")).unwrap();
        assert!(sheet.contains("'=1+1") && sheet.contains(EXTERNAL_ID), "{sheet}");
        assert_eq!(profile["last_name"], "=1+1");
        let audited = "SELECT COUNT(*), COUNT(*), COUNT(*) FROM audit WHERE action = 'customers.export' AND subject = '#1'";
        assert_eq!(crate::respond::read(store, audited).await[0].0, 2, "{}", database.name);
        // The other exports guard their cells too, and an import takes the guard off.
        let everybody = run(&["export", "customers", "--format", "csv"]).stdout;
        assert!(everybody.contains(",'=1+1,"), "{everybody}");
        std::fs::write(workspace.join("all.csv"), everybody).unwrap();
        let again = run(&["import", "customers", "all.csv"]).stdout;
        assert!(again.starts_with("2 rows of customers read: 0 new, 0 changed, 2 unchanged"), "{again}");
        let _ = PEOPLE;
    }
}
