//! A backup from before an erasure brings the person back: the list of erasures tells it.

use super::person::{PEOPLE, import_people, keys, needles};
use crate::databases::databases;
use chrono::TimeDelta;
use posthaste::engine::erasing::{Again, again, erase};
use posthaste::types::{Channel, Time};
use std::collections::BTreeSet;

fn then() -> Time {
    "2027-03-01T09:00:00Z".parse().unwrap()
}

#[tokio::test]
async fn whoever_was_erased_after_the_backup_is_erased_again_and_nobody_else() {
    for (database, restored) in databases().await.into_iter().zip(databases().await) {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("erased");
        // Somebody who is known by an external id alone.
        let people = format!("{PEOPLE}CRM-NO-ADDRESS,,,Quibell,,,,,\n");
        for store in [&database.store, &restored.store] {
            assert_eq!(import_people(store, then(), &people).await.new, 3);
        }
        let later = then() + TimeDelta::days(1);
        for id in [1, 3] {
            let customer = database.store.customer(id).await.unwrap().unwrap();
            erase(&database.store, &keys(), &list, &customer, "tester", later).await.unwrap();
        }
        assert_eq!(again(&database.store, &keys(), &list, "tester", later).await.unwrap(), Again::default(), "all is known there");
        // In the restored base somebody has come since whose number is that of another.
        import_people(&restored.store, later + TimeDelta::days(1), "external_id,email\nnew,new@neighbour.example\n").await;

        let now = later + TimeDelta::days(2);
        let done = again(&restored.store, &keys(), &list, "tester", now).await.unwrap();
        assert_eq!(done, Again { people: 2, new_keys: 4, listed: 0 }, "{}", restored.name);
        assert_eq!(needles().found_in_tables(&restored.store).await, BTreeSet::new(), "{}", restored.name);
        for id in [2, 4] {
            assert_eq!(restored.store.customer(id).await.unwrap().unwrap().erased_at, None, "{}: #{id}", restored.name);
        }
        assert_eq!(again(&restored.store, &keys(), &list, "tester", now).await.unwrap().people, 0, "a second time does nothing");
        // Another machine, whose list is lost, learns it from the database; the address is suppressed.
        let other = folder.path().join("other");
        assert_eq!(again(&restored.store, &keys(), &other, "tester", now).await.unwrap().listed, 4);
        let key = keys().address(Channel::Email, "zephyrine.oquendo@quibell-post.example");
        assert_eq!(restored.store.suppressions(&[key]).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_shared_address_is_suppressed_for_both_and_the_other_one_stays() {
    for database in databases().await {
        let store = &database.store;
        import_people(store, then(), PEOPLE).await;
        let key = keys().address(Channel::Email, "zephyrine.oquendo@quibell-post.example").to_vec();
        let sql = "INSERT INTO addresses (customer_id, channel, address, key) VALUES (2, 1, 'zephyrine.oquendo@quibell-post.example', $1)";
        posthaste::on_writer!(store, pool => { sqlx::query(sql).bind(&key).execute(pool).await.unwrap(); });
        assert_eq!(store.sharing_with(1).await.unwrap(), [2], "{}", database.name);
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("erased");
        let customer = store.customer(1).await.unwrap().unwrap();
        erase(store, &keys(), &list, &customer, "tester", then()).await.unwrap();
        let other = store.customer(2).await.unwrap().unwrap();
        assert_eq!((other.erased_at, other.addresses.len()), (None, 3), "{}", database.name);
        // The list is not for them: what happened in one base is not done twice there.
        assert_eq!(again(store, &keys(), &list, "tester", then()).await.unwrap().people, 0, "{}", database.name);
        let third = "external_id,email\nthird,Zephyrine.Oquendo+news@quibell-post.example\n";
        assert_eq!(import_people(store, then(), third).await.notes, Vec::<String>::new(), "another mailbox, as far as we know");
    }
}
