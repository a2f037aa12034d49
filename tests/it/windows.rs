//! An audience is read window by window: everybody once, in the order of their numbers, the same from both databases.

use crate::databases::databases;
use posthaste::customers::files::EncodingHint;
use posthaste::customers::import::{self, Input, Settings};
use posthaste::customers::keys::Keys;
use posthaste::store::Store;
use posthaste::store::audience::{Bind, Sql};
use posthaste::store::candidates::{Candidate, Selection, WINDOW, Window};
use posthaste::types::{Channel, Time};

/// More than three windows.
const PEOPLE: i64 = 14_000;

fn now() -> Time {
    "2027-03-01T10:00:00Z".parse().unwrap()
}

async fn filled(store: &Store) {
    let mut file = String::from("external_id,email,phone,country,zone,city,consent.news,suppressed\n");
    for number in 1..=PEOPLE {
        let (country, zone) = if number % 3 == 0 { ("UA", "Europe/Kyiv") } else { ("", "") };
        let suppressed = if number % 100 == 0 { "email" } else { "" };
        file.push_str(&format!(
            "p{number},p{number}@example.org,+38067{number:07},{country},{zone},\"Київ, \"\"{number}\"\"\",yes,{suppressed}\n"
        ));
    }
    let input = Input::Bytes(Box::new(std::io::Cursor::new(file)), EncodingHint::default());
    import::first_customers(store, &Settings::plain(Keys::new("pepper"), now()), input, &mut |_| {}).await.unwrap();
    // A fault that must make nobody two people, at the last of a window and the first of the next.
    for number in [1, 4096, 4097, 8192, PEOPLE] {
        let sql = "INSERT INTO addresses (customer_id, channel, address, is_primary, key, site) \
                   SELECT customer_id, channel, 'z' || address, 1, key, site FROM addresses WHERE customer_id = $1 AND channel = 1";
        posthaste::on_writer!(store, pool => sqlx::query(sql).bind(number).execute(pool).await.map(drop)).unwrap();
    }
}

async fn read(store: &Store, condition: Sql) -> Vec<Candidate> {
    let selection = Selection {
        condition,
        topic: Some("news".into()),
        channels: vec![Channel::Email, Channel::Sms],
        attributes: vec!["city".into(), "external_id".into(), "missing".into()],
        re_entry: None,
        engagement: Some(0),
        places: true,
        once: None,
    };
    let (windows, mut read) = tokio::sync::mpsc::channel::<Window>(4);
    let mut snapshot = store.snapshot().await.unwrap();
    let collecting = async {
        let mut people = Vec::new();
        while let Some(window) = read.recv().await {
            assert!(window.len() <= WINDOW);
            people.extend(window.into_people());
        }
        people
    };
    let (result, people) = tokio::join!(snapshot.candidates(&selection, windows), collecting);
    result.unwrap();
    people
}

#[tokio::test]
async fn everybody_is_read_once_and_the_same_from_both_databases() {
    let mut seen: Option<String> = None;
    for database in databases().await {
        let store = &database.store;
        filled(store).await;
        let mut all = Sql::new(store.dialect());
        all.push("1 = 1");
        let people = read(store, all).await;
        assert!(people.iter().map(|one| one.id).eq(1..=PEOPLE), "{}", database.name);

        // A list as long as that of a sample, whose people fill more than a window of SQLite's statements.
        let even: Vec<String> = (1..=PEOPLE).filter(|id| id % 5 != 0).map(|id| id.to_string()).collect();
        let (open, close) = store.pick(("[", "]"), ("{", "}"));
        let mut some = Sql::new(store.dialect());
        let list = some.hold(Bind::Text(format!("{open}{}{close}", even.join(", "))));
        some.push(&store.pick(format!("c.id IN (SELECT value FROM json_each({list}))"), format!("c.id = ANY (CAST({list} AS bigint[]))")));
        assert!(matches!(&some.binds[0], Bind::Text(text) if text.len() > 65_536));
        let chosen = read(store, some).await;
        assert!(chosen.iter().map(|one| one.id).eq((1..=PEOPLE).filter(|id| id % 5 != 0)), "{}", database.name);

        let mut nobody = Sql::new(store.dialect());
        nobody.push("1 = 0");
        assert!(read(store, nobody).await.is_empty());

        // Which of two primary addresses is the first nobody promises.
        let told: Vec<&Candidate> = people.iter().filter(|one| ![1, 4096, 4097, 8192, PEOPLE].contains(&one.id)).collect();
        let told = format!("{told:?}");
        assert!(told.contains(r#"attributes: [Some("\"Київ, \\\"2\\\"\""), Some("\"p2\""), None]"#), "{}", &told[..1000]);
        assert!(seen.get_or_insert_with(|| told.clone()) == &told, "{} reads other people", database.name);
    }
}
