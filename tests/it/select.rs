//! Who: random rules over random people, values of mixed and malformed types. Both databases give what the plain evaluation in memory gives.
//!
//! POSTHASTE_RULES is the number of rules (400 when it is not set), POSTHASTE_SEED the first seed of their chance (1).

mod chance;
mod fill;
mod people;
mod rules;
mod scale;

use crate::databases::databases;
use chance::*;
use fill::fill;
use people::*;
use posthaste::segments::*;
use rules::*;
use serde_json::json;
use std::collections::BTreeMap;

#[tokio::test]
async fn both_databases_select_whom_the_plain_evaluation_selects() {
    let (rules, seed) = (setting("POSTHASTE_RULES", 400), setting("POSTHASTE_SEED", 1));
    let rows = BTreeMap::from([
        (("shops".to_string(), "S1".to_string()), json!({ "city": "Kyiv", "region": "S2" })),
        (("shops".to_string(), "S2".to_string()), json!({ "city": "Львів", "region": 5 })),
        (("shops".to_string(), "S3".to_string()), json!({ "city": null, "region": "S1" })),
        (("products".to_string(), "S1".to_string()), json!({ "city": "wrong catalog" })),
    ]);
    let mut chance = Chance(seed);
    let people: Vec<Made> = (0..100).map(|number| person(&mut chance, number, &rows)).collect();
    let databases = databases().await;
    for database in &databases {
        fill(database, &people, &rows).await;
    }
    let rates = BTreeMap::from([("EUR".to_string(), 48.2), ("JPY".to_string(), 0.3)]);
    let mut segments = BTreeMap::from([("first".to_string(), condition(&mut chance, 2))]);
    segments.insert("second".to_string(), Condition::Not(Box::new(Condition::Segment("first".into()))));
    let mut wrong = Vec::new();
    let mut spent = BTreeMap::new();
    let (mut selected, mut telling) = (0, 0);
    for number in 0..rules {
        let mut chance = Chance(seed.wrapping_mul(1_000_003).wrapping_add(number));
        let rule = condition(&mut chance, 0);
        let zone = match chance.below(3) {
            0 => ZoneInForce::Fixed(chrono_tz::Europe::Kyiv),
            1 => ZoneInForce::Fixed(chrono_tz::America::New_York),
            _ => ZoneInForce::Recipient { fallback: chrono_tz::Europe::Kyiv },
        };
        let now = time(chance.pick(&["2027-03-01T10:30:00Z", "2027-02-28T22:00:00Z", "2028-02-28T23:00:00Z"]));
        for database in &databases {
            let samples = database.store.draw_samples(&[&rule], &segments, "seed").await.unwrap();
            let moment = Moment { now, zone, segments: &segments, currency: "UAH", rates: &rates, seed: "seed", samples: &samples };
            let expected = |rule: &Condition| -> Vec<i64> {
                people.iter().enumerate().filter(|(_, made)| evaluate(rule, &made.person, &moment)).map(|(id, _)| id as i64 + 1).collect()
            };
            let started = std::time::Instant::now();
            let found = database.store.audience(&rule, &moment).await;
            *spent.entry(database.name).or_insert(std::time::Duration::ZERO) += started.elapsed();
            let expected_all = expected(&rule);
            selected += expected_all.len();
            telling += u64::from((1..people.len()).contains(&expected_all.len()));
            if found.as_ref().is_ok_and(|found| *found == expected_all) {
                continue;
            }
            // The smallest parts that are wrong say where.
            let mut parts = Vec::new();
            rule.walk(&mut |part| {
                if !matches!(part, Condition::All(_) | Condition::Any(_) | Condition::Not(_)) {
                    parts.push(part);
                }
            });
            for part in parts {
                let found = database.store.audience(part, &moment).await;
                let expected = expected(part);
                match found {
                    Ok(found) if found == expected => {}
                    Ok(found) => {
                        let id = (1..=100).find(|id| found.contains(id) != expected.contains(id)).unwrap();
                        let person = &people[id as usize - 1].person;
                        wrong.push(format!(
                            "{} rule {number} at {now} in {zone:?}: {part:?}\n  memory says {} of {id}: {}\n  events {:?}",
                            database.name,
                            expected.contains(&id),
                            person.attributes,
                            person.events.iter().map(|e| format!("{} {} {}", e.name, e.at, e.properties)).collect::<Vec<_>>()
                        ));
                    }
                    Err(error) => wrong.push(format!("{} rule {number}: {part:?}\n  {:?}", database.name, error)),
                }
            }
            if wrong.is_empty() {
                wrong.push(format!("{} rule {number}: {rule:?}\n  {found:?} instead of {expected_all:?}", database.name));
            }
        }
        if wrong.len() > 5 {
            break;
        }
    }
    eprintln!("{rules} rules, {telling} answers tell people apart: {spent:?}");
    assert!(wrong.is_empty(), "{} differences, the first are:\n{}", wrong.len(), wrong.join("\n\n"));
    let asked = rules * databases.len() as u64;
    assert!(selected > 0 && telling * 4 > asked, "{telling} of {asked} answers tell people apart; more should");
}

#[tokio::test]
async fn a_template_gets_the_newest_ten_events_that_a_condition_kept() {
    let mut chance = Chance(3);
    let mut people: Vec<Made> = (0..2).map(|number| person(&mut chance, number, &BTreeMap::new())).collect();
    let event = |name: &str, minute: u32, sku: &str| posthaste::segments::person::PastEvent {
        name: name.into(),
        at: time(&format!("2027-02-28T10:{minute:02}:00Z")),
        properties: json!({ "sku": sku }),
    };
    people[0].person.events = (0..12).map(|minute| event("viewed", minute, &format!("S{minute}"))).collect();
    people[0].person.events.push(event("purchase", 30, "S11"));
    people[1].person.events = Vec::new();
    let same = Some((path("sku"), path("sku")));
    let seen = EventCondition {
        name: "viewed".into(),
        window: Window::default(),
        filter: PropertyTests::default(),
        measure: Measure::Count,
        tests: vec![(Comparison::AtLeast, Operand::Number(0.0))],
        edge: None,
        without: Some(Without { name: "purchase".into(), filter: PropertyTests::default(), same }),
        save_as: Some("seen".into()),
    };
    for database in databases().await {
        fill(&database, &people, &BTreeMap::new()).await;
        let moment = Moment {
            now: time("2027-03-01T10:30:00Z"),
            zone: ZoneInForce::Fixed(chrono_tz::Europe::Kyiv),
            segments: &BTreeMap::new(),
            currency: "UAH",
            rates: &BTreeMap::new(),
            seed: "seed",
            samples: Samples::NONE,
        };
        let found = database.store.saved_events(&[1, 2], &[("seen".to_string(), seen.clone())], &moment).await.unwrap();
        let list = found[&1]["seen"].as_array().unwrap();
        assert_eq!(list.len(), 10, "{}", database.name);
        assert_eq!(list[0], json!({ "sku": "S10", "at": "2027-02-28T10:10:00Z" }), "{}: what was bought is left out", database.name);
        assert_eq!(list[9]["sku"], "S1");
        assert_eq!(found[&2]["seen"], json!([]), "{}: nothing is an empty list", database.name);
    }
}
