//! Conditions on many customers.

use super::chance::{micros, setting, time};
use super::rules::path;
use crate::databases::databases;
use posthaste::literals::{DateExpression, Duration, Money, Unit};
use posthaste::segments::*;
use posthaste::store::Store;
use std::collections::BTreeMap;

/// How fast conditions are on many customers: prints times and SQLite's plans. Not part of the usual run:
/// `POSTHASTE_CUSTOMERS=1000000 cargo test --test it at_scale -- --ignored --nocapture`
#[tokio::test]
#[ignore = "takes minutes and gigabytes"]
async fn conditions_at_scale_go_by_indexes() {
    let customers = setting("POSTHASTE_CUSTOMERS", 20_000);
    let rates = BTreeMap::new();
    let segments = BTreeMap::new();
    let kyiv = ZoneInForce::Fixed(chrono_tz::Europe::Kyiv);
    let recipient = ZoneInForce::Recipient { fallback: chrono_tz::Europe::Kyiv };
    for database in databases().await {
        let store = &database.store;
        let (random, number) = store.pick(("abs(random())", "value"), ("(random() * 1000000000)::bigint", "value"));
        let series = |count: u64| {
            store.pick(
                format!("(WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < {count}) SELECT value FROM n) AS n"),
                format!("(SELECT generate_series(1, {count}) AS value) AS n"),
            )
        };
        let (json, source) = store.pick(("", "CAST(value AS BLOB)"), ("::jsonb", "int8send(value::bigint)"));
        let now = micros(time("2027-03-01T10:30:00Z"));
        let statements = [
            format!(
                "INSERT INTO customers (id, external_id, draw_key, zone, attributes, created_at, updated_at) SELECT {number}, 'k' || {number}, 'k' || {number}, \
                 'Europe/Berlin', ('{{\"city\":\"' || CASE WHEN {random} % 10 = 0 THEN 'Kyiv' ELSE 'Lviv' END || '\",\"birthday\":\"19' || ({random} % 89 + 10) || '-0' \
                 || ({random} % 9 + 1) || '-1' || ({random} % 10) || '\",\"points\":' || ({random} % 1000) || '}}'){json}, {now}, {now} FROM {}",
                series(customers)
            ),
            format!(
                "INSERT INTO events (customer_id, name, occurred_at, received_at, properties, source_key) SELECT {random} % {customers} + 1, \
                 CASE {random} % 3 WHEN 0 THEN 'purchase' WHEN 1 THEN 'visit' ELSE 'viewed' END, {now} - ({random} % 31536000) * 1000000, {now}, \
                 ('{{\"amount\":\"' || ({random} % 1000) || ' UAH\",\"sku\":\"S' || ({random} % 100) || '\"}}'){json}, {source} FROM {}",
                series(customers * 5)
            ),
            "ANALYZE".to_string(),
        ];
        for statement in statements {
            let started = std::time::Instant::now();
            let sql = sqlx::AssertSqlSafe(statement.clone());
            match store {
                Store::Sqlite(sqlite) => drop(sqlx::raw_sql(sql).execute(&sqlite.write).await.unwrap()),
                Store::Postgres(pool) => drop(sqlx::raw_sql(sql).execute(pool).await.unwrap()),
            }
            eprintln!("{} filled in {:?}: {}", database.name, started.elapsed(), &statement[..40.min(statement.len())]);
        }
        let attribute = |path_of: &str, test: Test| Condition::Attribute(AttributeCondition { path: path(path_of), tests: vec![test] });
        let days = |count: u32| Window { within: Some(Duration { count, unit: Unit::Day }), ..Window::default() };
        let plain = |name: &str, window: Window| EventCondition {
            name: name.into(),
            window,
            filter: PropertyTests::default(),
            measure: Measure::Count,
            tests: vec![(Comparison::AtLeast, Operand::Number(1.0))],
            edge: None,
            without: None,
            save_as: None,
        };
        let event = |event: EventCondition| Condition::Event(Box::new(event));
        let hryvnias = |minor: i64| Operand::Money(Money { minor, currency: "UAH".into() });
        let soon = || attribute("birthday", Test::Anniversary(vec![DateTest::WithinNext(Duration { count: 7, unit: Unit::Day })]));
        for (name, zone, rule) in [
            ("everyone", kyiv, Condition::EVERYONE),
            ("city is Kyiv", kyiv, attribute("city", Test::Is(vec![Operand::Text("Kyiv".into())]))),
            ("points at least 900", kyiv, attribute("points", Test::Compare(Comparison::AtLeast, Operand::Number(900.0)))),
            (
                "birthday before 1950",
                kyiv,
                attribute(
                    "birthday",
                    Test::Date(DateTest::Before(DateOperand::Expression(DateExpression::Date("1950-01-01".parse().unwrap())))),
                ),
            ),
            ("birthday in the next 7 days", kyiv, soon()),
            ("birthday in the next 7 days of their own zones", recipient, soon()),
            ("bought within 90 days", kyiv, event(plain("purchase", days(90)))),
            ("not bought within 90 days", kyiv, Condition::Not(Box::new(event(plain("purchase", days(90)))))),
            (
                "bought at least 3 times",
                kyiv,
                event(EventCondition { tests: vec![(Comparison::AtLeast, Operand::Number(3.0))], ..plain("purchase", Window::default()) }),
            ),
            (
                "bought S7",
                kyiv,
                event(EventCondition {
                    filter: PropertyTests { tests: vec![(path("sku"), vec![Test::Is(vec![Operand::Text("S7".into())])])] },
                    ..plain("purchase", days(365))
                }),
            ),
            (
                "bought for at least 2000 UAH",
                kyiv,
                event(EventCondition {
                    measure: Measure::Sum(path("amount"), Kind::Money),
                    tests: vec![(Comparison::AtLeast, hryvnias(200_000))],
                    ..plain("purchase", days(365))
                }),
            ),
            (
                "last bought 90 to 180 days ago",
                kyiv,
                event(EventCondition {
                    edge: Some(Edge {
                        last: true,
                        dates: [180, 90]
                            .map(|count| DateOperand::Expression(DateExpression::Ago(Duration { count, unit: Unit::Day })))
                            .into_iter()
                            .zip([true, false])
                            .map(|(date, from)| if from { DateTest::From(date) } else { DateTest::Until(date) })
                            .collect(),
                        filter: PropertyTests::default(),
                    }),
                    ..plain("purchase", Window::default())
                }),
            ),
            (
                "viewed within 7 days and not bought since",
                kyiv,
                event(EventCondition {
                    without: Some(Without {
                        name: "purchase".into(),
                        filter: PropertyTests::default(),
                        same: Some((path("sku"), path("sku"))),
                    }),
                    ..plain("viewed", days(7))
                }),
            ),
            (
                "a message of any campaign was opened",
                kyiv,
                Condition::Message(Box::new(MessageCondition {
                    campaigns: vec![],
                    was: vec![Was::Opened, Was::Clicked],
                    variant: vec![],
                    channel: vec![],
                    topic: vec![],
                    class: vec![],
                    category: vec![],
                    tag: vec![],
                    link: vec![],
                    reason: vec![],
                    window: days(30),
                    tests: vec![(Comparison::AtLeast, 1.0)],
                    machine: false,
                })),
            ),
        ] {
            let moment = Moment {
                now: time("2027-03-01T10:30:00Z"),
                zone,
                segments: &segments,
                currency: "UAH",
                rates: &rates,
                seed: "seed",
                samples: Samples::NONE,
            };
            let started = std::time::Instant::now();
            let count = store.count_audience(&rule, &moment).await.unwrap();
            eprintln!("{:8} {:>9.2?} {count:>9}  {name}", database.name, started.elapsed());
            if let Store::Sqlite(_) = store {
                let mut sql = posthaste::store::audience::Sql::new(store.dialect());
                sql.push("EXPLAIN QUERY PLAN SELECT COUNT(*) FROM customers c WHERE ");
                posthaste::store::audience::compile(&rule, &moment, store.dialect(), &mut sql);
                let plan: Vec<(i64, i64, i64, String)> = sql.fetch(store, "explain").await.unwrap();
                for (_, _, _, step) in &plan {
                    assert!(
                        !["SCAN e", "SCAN f", "SCAN m ", "SCAN h", "SCAN r "]
                            .iter()
                            .any(|scan| step.starts_with(scan) && !step.contains("VIRTUAL")),
                        "{name}: {step}"
                    );
                }
            }
        }
    }
}
