//! A table of rules, as written, over small people: the edges of windows, days, zones, anniversaries, and what is missing.

use super::person::*;
use super::*;
use crate::diagnostics::Problems;
use crate::types::{Channel, ConsentState, Time};
use crate::yaml;
use chrono_tz::Tz;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

fn time(text: &str) -> Time {
    text.parse().unwrap()
}

fn known_names() -> BTreeSet<String> {
    ["offers", "first"].map(String::from).into()
}

fn rule(text: &str) -> Condition {
    let (names, rates, catalogs) = (known_names(), BTreeMap::new(), BTreeMap::new());
    let known = Known {
        zone: Tz::Europe__Kyiv,
        currency: "UAH",
        rates: &rates,
        attributes: None,
        events: None,
        catalogs: &catalogs,
        topics: &names,
        categories: &names,
        segments: &names,
        campaigns: &names,
    };
    let mut problems = Problems::default();
    let node = yaml::read("x.yaml", text, &mut problems).unwrap();
    read("x.yaml", &node, &known, &mut problems).unwrap_or_else(|| panic!("{text}: {problems:?}"))
}

/// Attributes and events: `[name, instant, properties]`.
fn person(attributes: Value, events: Value) -> Person {
    let events = events.as_array().unwrap().iter().map(|event| PastEvent {
        name: event[0].as_str().unwrap().to_string(),
        at: time(event[1].as_str().unwrap()),
        properties: event.get(2).cloned().unwrap_or(json!({})),
    });
    Person { events: events.collect(), attributes, ..Person::default() }
}

fn holds(text: &str, person: &Person, now: &str, zone: ZoneInForce) -> bool {
    let condition = rule(text);
    let (rates, segments) =
        (BTreeMap::from([("EUR".to_string(), 50.0)]), BTreeMap::from([("first".to_string(), rule("{ event: visit }"))]));
    let moment = Moment { now: time(now), zone, segments: &segments, currency: "UAH", rates: &rates, seed: "shop", samples: Samples::NONE };
    let held = evaluate(&condition, person, &moment);
    assert_eq!(explain(&condition, person, &moment).held, held, "{text}: the explanation says the same");
    held
}

const KYIV: ZoneInForce = ZoneInForce::Fixed(Tz::Europe__Kyiv);

/// In Kyiv at noon of 1 March 2027.
fn check(text: &str, person: &Person, expected: bool) {
    assert_eq!(holds(text, person, "2027-03-01T10:00:00Z", KYIV), expected, "{text} over {} {:?}", person.attributes, person.events);
}

#[test]
fn a_window_includes_its_beginning_and_excludes_now() {
    for (at, within_a_day, within_a_month, ever) in [
        ("2027-03-01T10:00:00Z", false, false, true),
        ("2027-03-01T09:59:59.999999Z", true, true, true),
        ("2027-02-28T10:00:00Z", true, true, true),
        ("2027-02-28T09:59:59.999999Z", false, true, true),
        ("2027-02-01T10:00:00Z", false, true, true),
        ("2027-02-01T09:59:59.999999Z", false, false, true),
        ("2027-03-01T10:00:00.000001Z", false, false, false),
    ] {
        let person = person(json!({}), json!([["visit", at]]));
        check("{ event: visit, within: 1 day }", &person, within_a_day);
        check("{ event: visit, within: 1 month }", &person, within_a_month);
        check("{ event: visit }", &person, ever);
        check("{ not: { event: visit } }", &person, !ever);
        check("{ segment: first }", &person, ever);
    }
}

#[test]
fn from_until_and_between_include_their_days_in_the_zone_in_force() {
    // In Kyiv 28 February lasts from 22:00Z of the 27th to 22:00Z of the 28th.
    for (at, on_the_28th) in [
        ("2027-02-27T21:59:59.999999Z", false),
        ("2027-02-27T22:00:00Z", true),
        ("2027-02-28T21:59:59.999999Z", true),
        ("2027-02-28T22:00:00Z", false),
    ] {
        let person = person(json!({ "seen_at": at }), json!([["visit", at]]));
        check("{ event: visit, from: 2027-02-28, until: 2027-02-28 }", &person, on_the_28th);
        check("{ event: visit, from: 1 day ago, until: 1 day ago }", &person, on_the_28th);
        check("{ event: visit, last: { between: [ 2027-02-28, 2027-02-28 ] } }", &person, on_the_28th);
        check("{ event: visit, last: { is: 1 day ago } }", &person, on_the_28th);
    }
    let person = person(json!({ "points": 10, "day": "2027-02-28" }), json!([]));
    check("{ attribute: points, between: [ 10, 20 ] }", &person, true);
    check("{ attribute: points, between: [ 0, 10 ] }", &person, true);
    check("{ attribute: points, between: [ 11, 20 ] }", &person, false);
    check("{ attribute: day, between: [ 2027-02-28, 2027-03-05 ] }", &person, true);
    check("{ attribute: day, after: 2027-02-28 }", &person, false);
    check("{ attribute: day, before: 2027-02-28 }", &person, false);
}

#[test]
fn days_without_a_time_are_counted_as_days() {
    for (day, within, within_next, before_today) in [
        ("2027-02-22", false, false, true),
        ("2027-02-23", true, false, true),
        ("2027-03-01", true, true, false),
        ("2027-03-07", false, true, false),
        ("2027-03-08", false, false, false),
    ] {
        let person = person(json!({ "day": day }), json!([]));
        check("{ attribute: day, within: 7 days }", &person, within);
        check("{ attribute: day, within_next: 7 days }", &person, within_next);
        check("{ attribute: day, before: today }", &person, before_today);
    }
}

#[test]
fn a_birthday_returns_each_year_and_that_of_29_february_on_the_28th_in_between() {
    for (birthday, now, today, in_a_week) in [
        ("1990-03-01", "2027-03-01T10:00:00Z", true, true),
        ("1990-03-07", "2027-03-01T10:00:00Z", false, true),
        ("1990-03-08", "2027-03-01T10:00:00Z", false, false),
        ("1990-02-28", "2027-03-01T10:00:00Z", false, false),
        ("2000-02-29", "2027-02-28T10:00:00Z", true, true),
        ("2000-02-29", "2027-02-27T10:00:00Z", false, true),
        ("2000-02-29", "2027-03-01T10:00:00Z", false, false),
        ("2000-02-29", "2028-02-28T10:00:00Z", false, true),
        ("2000-02-29", "2028-02-29T10:00:00Z", true, true),
        ("2000-02-28", "2028-02-28T10:00:00Z", true, true),
        ("1990-01-02", "2027-12-30T10:00:00Z", false, true),
        ("1990-12-31", "2027-12-31T21:59:00Z", true, true),
        ("1990-12-31", "2027-12-31T22:00:00Z", false, false),
        ("2001-02-29", "2027-02-28T10:00:00Z", false, false),
        ("1990-03-01T23:00:00-05:00", "2027-03-01T10:00:00Z", true, true),
    ] {
        let person = person(json!({ "birthday": birthday }), json!([]));
        assert_eq!(holds("{ attribute: birthday, anniversary: { is: today } }", &person, now, KYIV), today, "{birthday} at {now}");
        assert_eq!(
            holds("{ attribute: birthday, anniversary: { within_next: 7 days } }", &person, now, KYIV),
            in_a_week,
            "{birthday} within a week of {now}"
        );
    }
}

#[test]
fn the_zone_in_force_says_which_day_it_is() {
    let mut somebody = person(json!({ "day": "2027-03-01" }), json!([]));
    let is_today = |person: &Person, zone| holds("{ attribute: day, is: today }", person, "2027-02-28T23:00:00Z", zone);
    let recipient = ZoneInForce::Recipient { fallback: Tz::America__New_York };
    assert!(is_today(&somebody, KYIV));
    assert!(!is_today(&somebody, recipient), "without a zone, the fallback's");
    somebody.phone = Some("+380671234567".into());
    assert!(is_today(&somebody, recipient), "the phone's country says where");
    somebody.country = Some("US".into());
    assert!(!is_today(&somebody, recipient), "the country rather than the phone");
    somebody.zone = Some("Europe/Kyiv".into());
    assert!(is_today(&somebody, recipient));
    somebody.zone = Some("Mars/Olympus".into());
    assert!(!is_today(&somebody, recipient), "an unknown zone is none");
}

#[test]
fn what_is_missing_or_of_another_type_satisfies_no_test() {
    for attributes in [json!({}), json!({ "a": null }), json!({ "a": {} }), json!({ "a": [] }), json!({ "a": "x" })] {
        let person = person(attributes.clone(), json!([]));
        for text in
            ["is: 5", "more_than: 1", "at_most: 100", "starts_with: y", "contains: Y", "before: 2030-01-01", "within: 100 years", "has: y"]
        {
            check(&format!("{{ attribute: a, {text} }}"), &person, false);
            check(&format!("{{ not: {{ attribute: a, {text} }} }}"), &person, true);
        }
        let missing = attributes.get("a").is_none_or(Value::is_null);
        check("{ attribute: a, missing: true }", &person, missing);
        check("{ attribute: a, missing: false }", &person, !missing);
    }
}

#[test]
fn undeclared_values_equal_what_they_spell() {
    for (value, text, expected) in [
        (json!("NO"), "NO", true),
        (json!(false), "NO", false),
        (json!(false), "false", true),
        (json!("01001"), "01001", true),
        (json!(1001), "01001", false),
        (json!(1001), "1001", true),
        (json!("1001"), "1001", true),
        (json!(5.0), "5", true),
        (json!("kyiv"), "Kyiv", false),
        (json!("500 UAH"), "500 UAH", true),
        (json!("10 EUR"), "500 UAH", true),
        (json!(500), "500 UAH", true),
        (json!("10 USD"), "500 UAH", false),
    ] {
        let person = person(json!({ "a": value }), json!([]));
        check(&format!("{{ attribute: a, is: {text} }}"), &person, expected);
    }
    let person = person(json!({ "city": "ЛЬВІВ", "list": ["a", 5, { "b": "c", "n": 7 }] }), json!([]));
    check("{ attribute: city, contains: ьВі }", &person, true);
    check("{ attribute: city, starts_with: Ль }", &person, false);
    check("{ attribute: list, has_all: [ a, 5 ] }", &person, true);
    check("{ attribute: list, has_any: [ x, 5 ] }", &person, true);
    check("{ attribute: list, has: { b: c, n: { more_than: 6 } } }", &person, true);
    check("{ attribute: list, has: { b: c, n: { more_than: 7 } } }", &person, false);
    check("{ attribute: list, size: 3 }", &person, true);
}

#[test]
fn events_are_counted_measured_and_followed() {
    let somebody = person(
        json!({ "best": "S2" }),
        json!([
            ["viewed", "2027-02-20T10:00:00Z", { "sku": "S1" }],
            ["viewed", "2027-02-21T10:00:00Z", { "sku": "S2" }],
            ["purchase", "2027-02-22T10:00:00Z", { "amount": "100.10 UAH", "items": [{ "sku": "S1" }] }],
            ["purchase", "2027-02-23T10:00:00Z", { "amount": 200.2, "items": [{ "sku": "S9" }] }],
            ["purchase", "2027-02-24T10:00:00Z", { "amount": "5 USD" }],
        ]),
    );
    for (text, expected) in [
        ("{ event: purchase, at_least: 3 }", true),
        ("{ event: purchase, more_than: 3 }", false),
        ("{ event: visit, is: 0 }", true),
        ("{ event: purchase, sum: amount, is: 300.30 UAH }", true),
        ("{ event: visit, sum: amount, at_most: 0 UAH }", true),
        ("{ event: visit, largest: amount, at_most: 0 UAH }", false),
        ("{ event: purchase, average: amount, is: 150.15 UAH }", true),
        ("{ event: purchase, smallest: amount, is: 100.10 UAH }", true),
        ("{ event: viewed, distinct: sku, is: 2 }", true),
        ("{ event: purchase, first: { is: 2027-02-22 } }", true),
        ("{ event: purchase, last: { is: 2027-02-22 } }", false),
        ("{ event: viewed, without: { event: purchase } }", false),
        ("{ event: viewed, without: { event: purchase, same: { sku: items.sku } } }", true),
        ("{ event: viewed, where: { sku: S1 }, without: { event: purchase, same: { sku: items.sku } } }", false),
        ("{ event: viewed, where: { sku: { attribute: best } } }", true),
        ("{ event: viewed, where: { sku: [ S3, S2 ] } }", true),
    ] {
        check(text, &somebody, expected);
    }
}

#[test]
fn the_later_consent_counts_and_on_a_tie_the_withdrawal() {
    let consent =
        |topic: &str, state, at: &str| PastConsent { topic: topic.into(), channel: Channel::Email, state, at: time(at), has_proof: true };
    let (early, late) = ("2027-01-01T00:00:00Z", "2027-02-01T00:00:00Z");
    for (consents, granted) in [
        (vec![consent("offers", ConsentState::Confirmed, early)], true),
        (vec![consent("offers", ConsentState::Granted, early), consent("*", ConsentState::Withdrawn, late)], false),
        (vec![consent("offers", ConsentState::Granted, late), consent("*", ConsentState::Withdrawn, early)], true),
        (vec![consent("offers", ConsentState::Granted, late), consent("*", ConsentState::Withdrawn, late)], false),
        (vec![consent("*", ConsentState::Granted, late)], true),
        // An objection outweighs what came later.
        (vec![consent("offers", ConsentState::Confirmed, late), consent("*", ConsentState::Objected, early)], false),
        (vec![], false),
    ] {
        let none = consents.is_empty();
        let mut somebody = person(json!({}), json!([]));
        somebody.consents = consents;
        somebody.addresses = vec![PastAddress { channel: Channel::Email, suppressed: None }];
        check("{ consent: offers, is: granted }", &somebody, granted);
        check("{ consent: offers, is: granted, channel: sms }", &somebody, false);
        check("{ consent: offers, is: none }", &somebody, none);
        check("{ reachable: email, topic: offers }", &somebody, granted);
        check("{ reachable: email }", &somebody, true);
        check("{ reachable: sms }", &somebody, false);
    }
}

#[test]
fn an_explanation_says_in_words_what_was_asked_and_seen() {
    let somebody = person(json!({ "city": "Lviv" }), json!([["visit", "2027-02-28T10:00:00Z"]]));
    let condition = rule("{ all: [ { attribute: city, in: [ Kyiv, Odesa ] }, { not: { event: visit, within: 7 days, at_least: 2 } } ] }");
    let (rates, segments) = (BTreeMap::new(), BTreeMap::new());
    let moment = Moment {
        now: time("2027-03-01T10:00:00Z"),
        zone: KYIV,
        segments: &segments,
        currency: "UAH",
        rates: &rates,
        seed: "shop",
        samples: Samples::NONE,
    };
    let explanation = explain(&condition, &somebody, &moment);
    let lines: Vec<String> = explanation
        .lines()
        .into_iter()
        .map(|(depth, part)| format!("{depth} {} {} | {}", part.held, part.words, part.seen.clone().unwrap_or_default()))
        .collect();
    assert_eq!(
        lines,
        [
            "0 false all of these hold | ",
            "1 false `city` is Kyiv or Odesa | `city` is “Lviv”",
            "1 true this does not hold | ",
            "2 false `visit` happened within the last 7 days, and the number is at least 2 | 1 such event, at 2027-02-28 12:00",
        ]
    );
    assert_eq!(explanation.deciding().len(), 1);
}
