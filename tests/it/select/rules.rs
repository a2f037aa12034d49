//! Random rules: every subject and test, with values that fit and values that do not.

use super::chance::*;
use super::people::*;
use posthaste::literals::{DateExpression, Duration, Money, Share, Unit, WrittenTime};
use posthaste::segments::values::lower_case;
use posthaste::segments::*;
use posthaste::types::*;

pub fn duration(chance: &mut Chance) -> Duration {
    Duration {
        count: 1 + chance.below(7) as u32,
        unit: chance.pick(&[Unit::Minute, Unit::Hour, Unit::Day, Unit::Week, Unit::Month, Unit::Year]),
    }
}

pub fn expression(chance: &mut Chance) -> DateExpression {
    match chance.below(6) {
        0 => DateExpression::Date(chance.pick(&["2027-03-01", "2027-02-28", "1990-12-31", "2024-02-29"]).parse().unwrap()),
        1 => DateExpression::Time(
            WrittenTime::read(chance.pick(&["2027-03-01 10:00", "2027-03-01 12:30", "2027-03-01T10:30:00Z", "2027-03-28 03:30"])).unwrap(),
        ),
        2 => DateExpression::Today,
        3 => DateExpression::Now,
        4 => DateExpression::Ago(duration(chance)),
        _ => DateExpression::In(duration(chance)),
    }
}

pub fn comparison(chance: &mut Chance) -> Comparison {
    chance.pick(&[Comparison::Is, Comparison::MoreThan, Comparison::LessThan, Comparison::AtLeast, Comparison::AtMost])
}

pub fn path(written: &str) -> Path {
    let through = match written {
        "home_shop.city" | "sku.city" => vec![("shops".to_string(), vec!["city".to_string()])],
        "home_shop.region.city" => vec![("shops".to_string(), vec!["region".to_string()]), ("shops".to_string(), vec!["city".to_string()])],
        _ => Vec::new(),
    };
    let start = match OwnField::from_word(written) {
        Some(field) => Start::Own(field),
        None if !through.is_empty() => Start::Names(vec![written.split('.').next().unwrap_or("").to_string()]),
        None => Start::Names(written.split('.').map(String::from).collect()),
    };
    Path { written: written.to_string(), start, through }
}

pub const OWN: &[&str] = &["external_id", "email", "phone", "first_name", "last_name", "language", "country", "zone", "created_at"];
pub const PATHS: &[&str] = &[
    "city",
    "points",
    "clv",
    "vip",
    "birthday",
    "seen_at",
    "tags",
    "items",
    "loyalty",
    "loyalty.tier",
    "loyalty.points",
    "home_shop",
    "home_shop.city",
    "home_shop.region.city",
    "nothing",
];
pub const PROPERTY_PATHS: &[&str] = &["sku", "sku.city", "total", "amount", "tags", "items", "order_id", "seen_at", "nothing"];
pub const ITEM_PATHS: &[&str] = &["sku", "category", "price", "at", "title", "tier", "a"];

pub fn attribute_path(chance: &mut Chance) -> Path {
    if chance.percent(20) { path(chance.pick(OWN)) } else { path(chance.pick(PATHS)) }
}

pub fn money(chance: &mut Chance) -> Money {
    Money {
        minor: chance.pick(&[0, 45, 46, 50_000, 1_250, -46, 60_250, 500]),
        currency: chance.pick(&["UAH", "UAH", "EUR", "JPY", "USD"]).to_string(),
    }
}

pub fn rule_number(chance: &mut Chance) -> f64 {
    chance.pick(&[0.0, 1.0, -1.0, 5.0, 10.0, 10.5, 0.1, 0.3, 1e15, 1e300, 500.0, 2.0, 9007199254740992.0])
}

pub fn operand(chance: &mut Chance) -> Operand {
    match chance.below(7) {
        0 | 1 => Operand::Text(chance.pick(TEXTS).to_string()),
        2 => Operand::Number(rule_number(chance)),
        3 => Operand::Money(money(chance)),
        4 => Operand::Boolean(chance.percent(50)),
        5 => Operand::Loose(if chance.percent(50) { chance.pick(TEXTS).to_string() } else { rule_number(chance).to_string() }),
        _ => Operand::Attribute(attribute_path(chance), chance.pick(&[Kind::Loose, Kind::Text, Kind::Number, Kind::Money, Kind::Boolean])),
    }
}

pub fn size_operand(chance: &mut Chance) -> Operand {
    match chance.below(6) {
        0..=2 => Operand::Number(rule_number(chance)),
        3 | 4 => Operand::Money(money(chance)),
        _ => Operand::Attribute(attribute_path(chance), chance.pick(&[Kind::Number, Kind::Money])),
    }
}

pub fn date_test(chance: &mut Chance, references: bool) -> DateTest {
    let operand = |chance: &mut Chance| match references && chance.percent(25) {
        true => DateOperand::Attribute(path(chance.pick(&["birthday", "seen_at", "created_at", "city"]))),
        false => DateOperand::Expression(expression(chance)),
    };
    match chance.below(7) {
        0 => DateTest::Is(operand(chance)),
        1 => DateTest::Before(operand(chance)),
        2 => DateTest::After(operand(chance)),
        3 => DateTest::From(operand(chance)),
        4 => DateTest::Until(operand(chance)),
        5 => DateTest::Within(duration(chance)),
        _ => DateTest::WithinNext(duration(chance)),
    }
}

pub fn test(chance: &mut Chance, depth: usize) -> Test {
    let part = |chance: &mut Chance| {
        let text: Vec<char> = chance
            .pick(&["Kyiv", "львів", "a'b\"c", "100%", "Straße", "İstanbul", "😀 emoji", "ΟΔΟΣ", "5.0", "ext-1", "@Example", "ЇЖ"])
            .chars()
            .collect();
        let from = chance.below(text.len());
        text[from..(from + 1 + chance.below(3)).min(text.len())].iter().collect::<String>()
    };
    match chance.below(if depth > 1 { 10 } else { 13 }) {
        0 => Test::Missing(chance.percent(70)),
        1 | 2 => Test::Is(chance.list(1, 3, operand)),
        3 => Test::StartsWith(part(chance)),
        4 => Test::EndsWith(part(chance)),
        5 => Test::Contains(lower_case(&part(chance))),
        6 | 7 => Test::Compare(comparison(chance), size_operand(chance)),
        8 => Test::Date(date_test(chance, true)),
        9 => {
            if chance.percent(50) {
                Test::AnyDate(chance.list(1, 3, |chance| DateTest::Is(DateOperand::Expression(expression(chance)))))
            } else {
                Test::Anniversary(chance.list(1, 2, |chance| date_test(chance, false)))
            }
        }
        10 => Test::HasAny(chance.list(1, 3, |chance| item(chance, depth))),
        11 => Test::HasAll(chance.list(1, 2, |chance| item(chance, depth))),
        _ => Test::Size(vec![(comparison(chance), chance.below(4) as f64)]),
    }
}

pub fn item(chance: &mut Chance, depth: usize) -> Item {
    if chance.percent(50) { Item::Value(operand(chance)) } else { Item::Row(properties(chance, ITEM_PATHS, depth + 1)) }
}

pub fn properties(chance: &mut Chance, paths: &[&str], depth: usize) -> PropertyTests {
    PropertyTests { tests: chance.list(1, 2, |chance| (path(chance.pick(paths)), chance.list(1, 2, |chance| test(chance, depth)))) }
}

pub fn window(chance: &mut Chance) -> Window {
    match chance.below(4) {
        0 => Window::default(),
        1 => Window { within: Some(duration(chance)), ..Window::default() },
        _ => Window { within: None, from: chance.some(60, expression), until: chance.some(60, expression) },
    }
}

pub fn filter(chance: &mut Chance) -> PropertyTests {
    if chance.percent(40) { properties(chance, PROPERTY_PATHS, 0) } else { PropertyTests::default() }
}

pub fn event(chance: &mut Chance) -> EventCondition {
    let property = |chance: &mut Chance| path(chance.pick(&["total", "amount", "sku", "order_id", "nothing"]));
    let kind = chance.pick(&[Kind::Number, Kind::Money]);
    let measure = match chance.below(9) {
        0..=3 => Measure::Count,
        4 => Measure::Sum(property(chance), kind),
        5 => Measure::Average(property(chance), kind),
        6 => Measure::Smallest(property(chance), kind),
        7 => Measure::Largest(property(chance), kind),
        _ => Measure::Distinct(property(chance)),
    };
    let counts = matches!(measure, Measure::Count | Measure::Distinct(_));
    let tests = match chance.percent(40) && counts {
        true => vec![(Comparison::AtLeast, Operand::Number(1.0))],
        false => chance.list(1, 2, |chance| {
            let operand = match (counts, kind) {
                (true, _) => Operand::Number(chance.below(4) as f64),
                (_, Kind::Money) => {
                    if chance.percent(80) {
                        Operand::Money(money(chance))
                    } else {
                        Operand::Attribute(attribute_path(chance), Kind::Money)
                    }
                }
                _ => {
                    if chance.percent(80) {
                        Operand::Number(rule_number(chance))
                    } else {
                        Operand::Attribute(attribute_path(chance), Kind::Number)
                    }
                }
            };
            (comparison(chance), operand)
        }),
    };
    EventCondition {
        name: chance.pick(EVENTS).into(),
        window: window(chance),
        filter: filter(chance),
        measure,
        tests,
        edge: chance.some(25, |chance| Edge {
            last: chance.percent(50),
            dates: chance.list(0, 2, |chance| date_test(chance, true)),
            filter: filter(chance),
        }),
        without: chance.some(25, |chance| Without {
            name: chance.pick(EVENTS).into(),
            filter: filter(chance),
            same: chance.some(70, |chance| {
                (
                    path(chance.pick(&["sku", "order_id", "total"])),
                    path(chance.pick(&["sku", "order_id", "items.sku", "tags", "total", "items.a.tier"])),
                )
            }),
        }),
        save_as: None,
    }
}

pub fn message(chance: &mut Chance) -> MessageCondition {
    let strings = |chance: &mut Chance, percent: usize, list: &[&str]| {
        if chance.percent(percent) { chance.list(1, 2, |chance| chance.pick(list).to_string()) } else { Vec::new() }
    };
    let was: Vec<Was> = chance.list(1, 3, |chance| chance.pick(Was::ALL).0);
    MessageCondition {
        campaigns: strings(chance, 40, &["spring", "news", "receipt"]),
        variant: strings(chance, 20, &["plain", "gift", "held_out"]),
        channel: if chance.percent(20) { vec![chance.pick(&[Channel::Email, Channel::Sms])] } else { Vec::new() },
        topic: strings(chance, 15, &["offers", "news"]),
        class: if chance.percent(15) { vec![chance.pick(Class::ALL)] } else { Vec::new() },
        category: strings(chance, 15, &["retail", "orders"]),
        tag: strings(chance, 15, &["sale", "a\"b", "none"]),
        link: if was == [Was::Clicked] { strings(chance, 60, LINKS) } else { Vec::new() },
        reason: if chance.percent(15) { chance.list(1, 3, |chance| Reason::Refusal(chance.pick(Refusal::ALL))) } else { Vec::new() },
        was,
        window: window(chance),
        tests: if chance.percent(60) { vec![(Comparison::AtLeast, 1.0)] } else { vec![(comparison(chance), chance.below(4) as f64)] },
        machine: chance.percent(30),
    }
}

pub fn condition(chance: &mut Chance, depth: usize) -> Condition {
    match chance.below(if depth > 2 { 12 } else { 16 }) {
        0..=5 => {
            Condition::Attribute(AttributeCondition { path: attribute_path(chance), tests: chance.list(1, 2, |chance| test(chance, 0)) })
        }
        6 | 7 => Condition::Event(Box::new(event(chance))),
        8 => Condition::Message(Box::new(message(chance))),
        9 => {
            let none = chance.percent(20);
            Condition::Consent(ConsentCondition {
                topic: chance.pick(&["offers", "news"]).into(),
                is: if none { vec![ConsentIs::None, ConsentIs::Pending] } else { vec![chance.pick(ConsentIs::ALL).0] },
                channel: chance.some(50, |chance| chance.pick(&[Channel::Email, Channel::Sms, Channel::Letter])),
                window: if none { Window::default() } else { window(chance) },
                proof_missing: !none && chance.percent(20),
            })
        }
        10 => {
            let channel = chance.pick(&[Channel::Email, Channel::Sms, Channel::Letter]);
            match chance.percent(50) {
                true => Condition::Reachable { channel, topic: chance.some(50, |chance| chance.pick(&["offers", "news"]).to_string()) },
                false => Condition::Suppressed { channel, reason: chance.some(50, |chance| chance.pick(SuppressionReason::ALL)) },
            }
        }
        11 => match chance.percent(50) {
            true => Condition::Segment(chance.pick(&["first", "second", "unknown"]).into()),
            false => {
                Condition::Sample { share: Share(chance.pick(&[0, 1000, 5000, 10000])), draw: chance.pick(&["pilot", "other"]).into() }
            }
        },
        12 => Condition::All(chance.list(0, 3, |chance| condition(chance, depth + 1))),
        13 => Condition::Any(chance.list(0, 3, |chance| condition(chance, depth + 1))),
        _ => Condition::Not(Box::new(condition(chance, depth + 1))),
    }
}
