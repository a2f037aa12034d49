//! Why a customer is or is not in an audience: the first condition that decides it, with the value that it saw.
//!
//! Pure: it follows `segments::evaluate`, so that the answer is never another one than the engine's.

use crate::campaigns::Audience;
use crate::segments::{Condition, Explanation, Moment, Person, explain};

/// The reason why an audience leaves the person out; `None` when it does not.
pub fn left_out(audience: &Audience, person: &Person, moment: &Moment<'_>) -> Option<String> {
    let segment = audience.segment.iter().filter(|key| *key != EVERYONE).map(|key| Condition::Segment(key.clone()));
    for condition in segment.chain(audience.condition.clone()) {
        let told = explain(&condition, person, moment);
        if !told.held {
            return Some(reason(&condition, &told, moment));
        }
    }
    audience.except.iter().find_map(|condition| {
        let told = explain(condition, person, moment);
        told.held.then(|| format!("left out by `except`: {}", reason(condition, &told, moment)))
    })
}

/// The reserved name of the segment without a rule.
const EVERYONE: &str = "everyone";

/// Why the condition came out as it did: the parts that decided, each with what was seen.
fn reason(condition: &Condition, told: &Explanation, moment: &Moment<'_>) -> String {
    let deciding = |parts: &[Condition]| -> Vec<String> {
        let decide = parts.iter().zip(&told.parts).filter(|(_, part)| part.held == told.held);
        decide.map(|(condition, part)| reason(condition, part, moment)).collect()
    };
    match (condition, told.held) {
        (Condition::All(parts), false) => deciding(parts).join("; "),
        (Condition::All(parts), true) => deciding(parts).join(" and "),
        (Condition::Any(parts), false) => format!("none of these: {}", deciding(parts).join("; ")),
        (Condition::Any(parts), true) => deciding(parts).into_iter().next().unwrap_or_default(),
        (Condition::Not(part), _) => told.parts.first().map_or_else(String::new, |told| reason(part, told, moment)),
        (Condition::Segment(name), held) => match (moment.segments.get(name), told.parts.first()) {
            (Some(inner), Some(part)) => {
                format!("{} the segment `{name}`: {}", if held { "in" } else { "not in" }, reason(inner, part, moment))
            }
            _ => format!("there is no segment `{name}`"),
        },
        (_, false) => match &told.seen {
            Some(seen) => format!("{seen}, and the rule asks for: {}", told.words),
            None => format!("it is not so that the customer {}", told.words),
        },
        (_, true) => match &told.seen {
            Some(seen) => format!("{}: {seen}", told.words),
            None => format!("the customer {}", told.words),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaigns::{Holdout, Order};
    use crate::diagnostics::Problems;
    use crate::literals::Share;
    use crate::segments::person::PastEvent;
    use crate::segments::{Known, Samples, ZoneInForce};
    use crate::types::Time;
    use chrono_tz::Tz;
    use std::collections::{BTreeMap, BTreeSet};

    fn condition(text: &str) -> Condition {
        let (rates, catalogs, none) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        let (topics, segments) = (BTreeSet::from(["offers".to_string()]), BTreeSet::from(["buyers".to_string()]));
        let known = Known {
            zone: Tz::UTC,
            currency: "UAH",
            rates: &rates,
            attributes: None,
            events: None,
            catalogs: &catalogs,
            topics: &topics,
            categories: &none,
            segments: &segments,
            campaigns: &none,
        };
        let mut problems = Problems::default();
        let node = crate::yaml::read("test.yaml", text, &mut problems).unwrap();
        crate::segments::read("test.yaml", &node, &known, &mut problems).unwrap_or_else(|| panic!("{text}: {problems:?}"))
    }

    #[test]
    fn the_first_condition_that_decides_is_named_with_what_it_saw() {
        let now: Time = "2027-03-01T08:00:00Z".parse().unwrap();
        let person = Person {
            attributes: serde_json::json!({ "city": "Lviv", "loyalty": { "points": 40 } }),
            events: vec![PastEvent {
                name: "purchase".into(),
                at: "2026-01-05T00:00:00Z".parse().unwrap(),
                properties: serde_json::Value::Null,
            }],
            ..Person::default()
        };
        let segments = BTreeMap::from([("buyers".to_string(), condition("{ event: purchase, within: 90 days }"))]);
        let rates = BTreeMap::new();
        let zone = ZoneInForce::Fixed(Tz::UTC);
        let moment = Moment { now, zone, segments: &segments, currency: "UAH", rates: &rates, seed: "shop", samples: Samples::NONE };
        let cases = [
            ("{ attribute: city, is: Kyiv }", "`city` is “Lviv”, and the rule asks for: `city` is Kyiv"),
            ("{ attribute: city, is: Lviv }", ""),
            ("{ attribute: street, missing: false }", "`street` is missing, and the rule asks for: `street` has a value"),
            (
                "all: [ { attribute: city, is: Lviv }, { attribute: loyalty.points, at_least: 100 } ]",
                "`loyalty.points` is 40, and the rule asks for: `loyalty.points` is at least 100",
            ),
            (
                "{ segment: buyers }",
                "not in the segment `buyers`: no such event, and the rule asks for: `purchase` happened within the last 90 days",
            ),
            ("not: { attribute: city, in: [ Lviv, Odesa ] }", "`city` is Lviv or Odesa: `city` is “Lviv”"),
            (
                "{ consent: offers, is: granted }",
                "no consent is known, and the rule asks for: consent to `offers` on any channel is granted",
            ),
            (
                "{ reachable: email, topic: offers }",
                "no address for email; no consent is known, and the rule asks for: can be reached by email with advertising about `offers`",
            ),
        ];
        let audience = |condition: Option<Condition>, except: Vec<Condition>| Audience {
            segment: None,
            condition,
            except,
            recheck: false,
            holdout: Holdout::Share(Share(0)),
            order: Order::Random,
        };
        for (text, expected) in cases {
            let found = left_out(&audience(Some(condition(text)), Vec::new()), &person, &moment);
            assert_eq!(found.unwrap_or_default(), expected, "{text}");
        }
        let excepted = left_out(&audience(None, vec![condition("{ attribute: city, is: Lviv }")]), &person, &moment);
        assert_eq!(excepted.as_deref(), Some("left out by `except`: `city` is Lviv: `city` is “Lviv”"));
    }
}
