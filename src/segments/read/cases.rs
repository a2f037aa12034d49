//! Tables of conditions that are read, and of problems at their words.

use super::*;
use crate::literals::ValueType;
use crate::yaml;
use std::collections::{BTreeMap, BTreeSet};

fn field(name: &str, declared: ValueType) -> (String, ValueType) {
    (name.to_string(), declared)
}

fn list(item: ValueType) -> ValueType {
    ValueType::List(Box::new(item))
}

/// The workspace of files.md §6, and a little more.
struct Workspace {
    attributes: BTreeMap<String, ValueType>,
    events: BTreeMap<String, BTreeMap<String, ValueType>>,
    catalogs: BTreeMap<String, Catalog>,
    rates: BTreeMap<String, f64>,
    names: BTreeSet<String>,
}

impl Workspace {
    fn new() -> Self {
        use ValueType::*;
        Workspace {
            attributes: BTreeMap::from([
                field("birthday", Date),
                field("seen_at", DateTime),
                field("home_shop", Catalog("shops".into())),
                field("city", Text),
                field("vip", Boolean),
                field("clv", Money),
                field("loyalty", Nested(BTreeMap::from([field("tier", Text), field("points", Number)]))),
                field("interests", list(Text)),
            ]),
            events: BTreeMap::from([
                ("visit".into(), BTreeMap::from([field("page", Text)])),
                ("product_viewed".into(), BTreeMap::from([field("sku", Catalog("products".into())), field("price", Money)])),
                (
                    "purchase".into(),
                    BTreeMap::from([
                        field("order_id", Text),
                        field("amount", Money),
                        field(
                            "items",
                            list(Nested(BTreeMap::from([
                                field("sku", Catalog("products".into())),
                                field("category", Text),
                                field("price", Number),
                            ]))),
                        ),
                    ]),
                ),
            ]),
            catalogs: BTreeMap::from([
                (
                    "products".into(),
                    super::Catalog {
                        key: "sku".into(),
                        fields: BTreeMap::from([field("sku", Text), field("title", Text), field("price", Money)]),
                    },
                ),
                ("shops".into(), super::Catalog { key: "shop".into(), fields: BTreeMap::from([field("city", Text)]) }),
            ]),
            rates: BTreeMap::from([("EUR".to_string(), 48.2)]),
            names: ["offers", "news", "spring-sale", "engaged-30-days"].map(String::from).into(),
        }
    }

    fn read(&self, text: &str, declared: bool) -> (Option<Condition>, Vec<String>) {
        let known = Known {
            zone: chrono_tz::Europe::Kyiv,
            currency: "UAH",
            rates: &self.rates,
            attributes: declared.then_some(&self.attributes),
            events: declared.then_some(&self.events),
            catalogs: &self.catalogs,
            topics: &self.names,
            categories: &self.names,
            segments: &self.names,
            campaigns: &self.names,
        };
        let mut problems = Problems::default();
        let node = yaml::read("x.yaml", text, &mut problems).expect("the case is YAML");
        let condition = read("x.yaml", &node, &known, &mut problems);
        let problems = problems
            .iter()
            .map(|problem| {
                let words = problem.span.and_then(|span| text.get(span.start..span.end)).unwrap_or("");
                format!("{words} | {} | {}", problem.title, problem.help.join(" "))
            })
            .collect();
        (condition, problems)
    }
}

#[test]
fn every_subject_and_test_of_the_language_is_read() {
    let workspace = Workspace::new();
    for text in [
        "{ attribute: city, is: Kyiv }",
        "{ attribute: city, in: [ Kyiv, NO, 01001 ] }",
        "{ attribute: city, missing: true }",
        "{ attribute: city, starts_with: Ky, ends_with: v, contains: YI }",
        "{ attribute: city, is: { attribute: home_shop.city } }",
        "{ attribute: home_shop, is: S1 }",
        "{ attribute: home_shop.shop, is: S1 }",
        "{ attribute: email, ends_with: '@example.org' }",
        "{ attribute: created_at, within: 6 hours }",
        "{ attribute: loyalty.points, between: [ 10, 20.5 ] }",
        "{ attribute: loyalty.points, more_than: -1, less_than: 5 }",
        "{ attribute: clv, at_least: 500 }",
        "{ attribute: clv, at_least: 10 EUR }",
        "{ attribute: vip, is: true }",
        "{ attribute: birthday, is: today }",
        "{ attribute: birthday, in: [ 2000-01-01, today ] }",
        "{ attribute: birthday, before: 18 years ago }",
        "{ attribute: birthday, between: [ 2000-01-01, 2001-01-01 ] }",
        "{ attribute: birthday, anniversary: { within_next: 7 days } }",
        "{ attribute: seen_at, after: 2027-03-01 10:00 }",
        "{ attribute: interests, has: shoes }",
        "{ attribute: interests, has_any: [ shoes, care ], size: { at_least: 2 } }",
        "{ attribute: interests, has_all: [ shoes, care ] }",
        "{ event: visit }",
        "{ event: visit, within: 30 days, at_least: 3 }",
        "{ event: visit, from: 2027-01-01, until: today, is: 0 }",
        "{ event: visit, where: { page: [ a, b ] } }",
        "{ event: purchase, where: { amount: { more_than: 0 UAH }, items: { has: { category: shoes, price: { more_than: 100 } } } } }",
        "{ event: purchase, where: { items: { has: { sku.title: Lamp } } } }",
        "{ event: purchase, sum: amount, within: 1 year, more_than: 500 EUR }",
        "{ event: purchase, average: amount, between: [ 10, 20 ] }",
        "{ event: purchase, distinct: order_id, at_least: 2 }",
        "{ event: purchase, last: { between: [ 180 days ago, 90 days ago ] } }",
        "{ event: purchase, first: { within: 30 days, where: { order_id: A } } }",
        "{ event: product_viewed, within: 7 days, without: { event: purchase, same: { sku: items.sku } }, as: seen }",
        "{ event: product_viewed, at_least: 0, as: seen }",
        "{ event: survey_answered, where: { survey: nps, score: { at_most: 6 } } }",
        "{ message: any, was: [ opened, clicked ], within: 30 days }",
        "{ message: spring-sale, was: converted, variant: gift, channel: [ email, sms ], topic: offers, class: advertising, tag: x, at_least: 2 }",
        "{ message: [ spring-sale ], was: clicked, link: 'https://shop.example', machine: true }",
        "{ message: any, was: refused, reason: capped }",
        "{ consent: offers, is: granted, channel: email, within: 7 days }",
        "{ consent: offers, is: [ pending, none ] }",
        "{ consent: offers, is: confirmed, proof: missing }",
        "{ reachable: email, topic: offers }",
        "{ suppressed: sms, reason: hard_bounce }",
        "{ segment: engaged-30-days }",
        "{ segment: everyone }",
        "{ sample: 10%, draw: pilot }",
        "{ all: [ { not: { event: visit } }, { any: [ { segment: everyone } ] } ] }",
    ] {
        let (condition, problems) = workspace.read(text, true);
        assert!(condition.is_some() && problems.is_empty(), "{text}: {problems:?}");
        // Catalogs are known only through declarations.
        if !["title", "home_shop"].iter().any(|word| text.contains(word)) {
            let (condition, problems) = workspace.read(text, false);
            assert!(condition.is_some() && problems.is_empty(), "undeclared: {text}: {problems:?}");
        }
    }
}

#[test]
fn each_problem_stands_at_its_words_and_says_what_to_do() {
    let workspace = Workspace::new();
    for (text, expected) in [
        ("Kyiv", "Kyiv | a condition is expected"),
        ("{ atribute: city, is: Kyiv }", "atribute | there is no subject `atribute` | did you mean `attribute`?"),
        ("{ is: Kyiv }", "is | this condition has no subject"),
        ("{ attribute: city, event: visit }", "event | a condition has one subject, and here are `attribute` and `event`"),
        ("{ attribute: citty, is: Kyiv }", "citty | there is no attribute `citty` | did you mean `city`?"),
        ("{ attribute: loyalty.teer, is: gold }", "teer | there is no attribute `loyalty.teer` | did you mean `tier`?"),
        (
            "{ attribute: loyalty, is: gold }",
            "is | `is` cannot be asked of `loyalty` | ask for one of its values: `loyalty.points`, `loyalty.tier`",
        ),
        ("{ attribute: city.name, is: gold }", "name | nothing is inside `city`"),
        ("{ attribute: interests.a, is: b }", "a | `interests` is a list"),
        ("{ attribute: city }", "city | nothing is asked of `city`"),
        ("{ attribute: city, iss: Kyiv }", "city | nothing is asked of `city`"),
        (
            "{ attribute: city, is: Kyiv, start_with: K }",
            "start_with | the key `start_with` does not belong to `attribute` | did you mean `starts_with`?",
        ),
        ("{ attribute: city, more_than: 5 }", "more_than | `more_than` cannot be asked of `city`"),
        ("{ attribute: loyalty.points, is: gold }", "gold | `gold` is no number"),
        ("{ attribute: loyalty.points, more_than: 1,5 }", "5 |"),
        ("{ attribute: vip, is: yes }", "yes | `yes` is neither true nor false"),
        ("{ attribute: clv, is: 5 USD }", "5 USD | USD has no rate"),
        ("{ attribute: clv, is: 5 UHA }", "5 UHA |"),
        ("{ attribute: birthday, before: 01.03.2027 }", "01.03.2027 | `01.03.2027` is no date"),
        ("{ attribute: birthday, within: 6 hours }", "6 hours | a date has no hours"),
        ("{ attribute: birthday, within: 7d }", "7d |"),
        ("{ attribute: loyalty.points, between: [ 20, 10 ] }", "[ 20, 10 ] | nothing lies between these two"),
        ("{ attribute: loyalty.points, more_than: 5, at_most: 5 }", "loyalty.points | nobody can satisfy this"),
        ("{ attribute: city, missing: true, is: Kyiv }", "city | nobody can satisfy this"),
        ("{ attribute: city, in: Kyiv }", "Kyiv | `in` wants a list"),
        ("{ attribute: city, in: [] }", "[] | an empty list"),
        ("{ attribute: city, is: }", " | a value is expected"),
        ("{ attribute: city, is: { attribute: loyalty.points } }", "loyalty.points | `loyalty.points` cannot be compared here"),
        ("{ attribute: city, is: { property: x } }", "property | a value of the event at hand cannot be used yet"),
        ("{ attribute: clv, top: 5% }", "top | the test `top` cannot be used yet"),
        ("{ attribute: interests, has: { category: a } }", "category | a value cannot be `category`"),
        ("{ event: purchas }", "purchas | there is no event `purchas` | did you mean `purchase`?"),
        ("{ event: message.opened }", "message.opened | `message.opened` is not asked for as an event"),
        ("{ event: purchase, where: { amont: 5 } }", "amont | event `purchase` has no property `amont` | did you mean `amount`?"),
        ("{ event: purchase, where: { items: shoes } }", "shoes | `is` cannot be asked of `items`"),
        ("{ event: purchase, where: { items: { has: shoes } } }", "shoes | the rows of this list have several values"),
        ("{ event: purchase, sum: order_id, at_least: 5 }", "order_id | `order_id` cannot be measured"),
        ("{ event: purchase, sum: amount }", "purchase | nothing is asked of what is measured"),
        ("{ event: purchase, sum: amount, top: 5% }", "top | the test `top` cannot be used yet"),
        ("{ event: purchase, at_least: 0 }", "purchase | everybody satisfies this"),
        ("{ event: purchase, less_than: 0 }", "purchase | nobody can satisfy this"),
        ("{ event: purchase, within: 7 days, from: today }", "from | `within` and `from` cannot stand together"),
        ("{ event: purchase, from: today, until: 7 days ago }", "7 days ago | the window ends before it begins"),
        (
            "{ event: purchase, last: { between: [ 90 days ago, 180 days ago ] } }",
            "[ 90 days ago, 180 days ago ] | nothing lies between these two",
        ),
        ("{ event: purchase, last: {} }", "{} | nothing is asked of the last one"),
        ("{ event: visit, without: { event: purchase, same: sku } }", "sku | event `visit` has no property `sku`"),
        ("{ event: visit, from: entry }", "entry | a window from the entry cannot be used yet"),
        ("{ message: spring-sael, was: opened }", "spring-sael | there is no campaign `spring-sael` | did you mean `spring-sale`?"),
        ("{ message: any, was: openned }", "openned | there is no word for what became of a message: `openned` | did you mean `opened`?"),
        ("{ message: any }", "any | what became of the message is not said"),
        ("{ message: any, was: opened, link: x }", "x | only a click has a link"),
        ("{ message: any, was: opened, step: hello }", "step | `step` cannot be used yet"),
        ("{ consent: ofers, is: granted }", "ofers | there is no topic `ofers` | did you mean `offers`?"),
        ("{ consent: offers, is: given }", "given | there is no state of consent `given`"),
        ("{ consent: offers, is: none, within: 7 days }", "7 days | where there is no consent, nothing changed"),
        ("{ reachable: emial }", "emial | there is no channel `emial` | did you mean `email`?"),
        ("{ segment: engaged }", "engaged | there is no segment `engaged`"),
        ("{ enrolled: welcome }", "enrolled | the subject `enrolled` cannot be used yet"),
        ("{ step: hello, was: clicked }", "step | the subject `step` cannot be used yet"),
        ("{ sample: 10, draw: x }", "10 | `10` has no percent sign | write `10%`"),
        ("{ sample: 10% }", "10% | a sample needs the name of its draw"),
        ("{ all: [] }", "[] | `all` has no conditions"),
        ("{ all: { segment: everyone } }", "{ segment: everyone } | `all` wants a list"),
        (
            "{ all: [ { attribute: city, is: Kyiv }, { attribute: city, is: Lviv } ] }",
            "{ attribute: city, is: Lviv } | nobody can satisfy this: `city` cannot be two different things at once",
        ),
    ] {
        let (condition, problems) = workspace.read(text, true);
        assert!(condition.is_none() || text.contains("Lviv"), "{text} was read");
        assert!(problems.iter().any(|problem| problem.starts_with(expected)), "{text}:\n  {}", problems.join("\n  "));
    }
}

#[test]
fn all_problems_of_a_condition_come_at_once() {
    let (_, problems) = Workspace::new()
        .read("{ all: [ { attribute: citty, is: a }, { event: visitt, within: 7d }, { not: { reachable: emial } } ] }", true);
    assert_eq!(problems.len(), 4, "{problems:?}");
}
