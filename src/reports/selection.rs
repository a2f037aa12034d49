//! Why a customer is or is not in an audience: the first condition that decides it, with the value that it saw.
//!
//! Pure: it follows `segments::evaluate`, so that the answer is never another one than the engine's.

use crate::campaigns::Audience;
use crate::literals::DateExpression;
use crate::segments::{
    AttributeCondition, Comparison, Condition, ConsentCondition, EventCondition, MessageCondition, Moment, Operand, Path, Person, Start,
    Test, Window, evaluate,
};
use serde_json::Value;

/// The reason why an audience leaves the person out; `None` when it does not.
pub fn left_out(audience: &Audience, person: &Person, moment: &Moment<'_>) -> Option<String> {
    let segment = audience.segment.iter().map(|key| Condition::Segment(key.clone()));
    for condition in segment.chain(audience.condition.clone()) {
        if !evaluate(&condition, person, moment) {
            return Some(reason(&condition, true, person, moment, 0));
        }
    }
    let excepted = audience.except.iter().find(|condition| evaluate(condition, person, moment))?;
    Some(format!("left out by `except`: {}", reason(excepted, false, person, moment, 0)))
}

/// Segments that name segments are followed so deep.
const DEEPEST: usize = 32;

/// Why the condition does not come out as `wanted`.
fn reason(condition: &Condition, wanted: bool, person: &Person, moment: &Moment<'_>, depth: usize) -> String {
    let deciding = |parts: &[Condition]| -> Vec<String> {
        let decide = parts.iter().filter(|part| evaluate(part, person, moment) != wanted);
        decide.map(|part| reason(part, wanted, person, moment, depth)).collect()
    };
    match condition {
        Condition::All(parts) if wanted => deciding(parts).into_iter().next().unwrap_or_else(|| "everyone is meant".into()),
        Condition::All(parts) => deciding(parts).join(" and "),
        Condition::Any(parts) if wanted => format!("none of these: {}", deciding(parts).join("; ")),
        Condition::Any(parts) => deciding(parts).into_iter().next().unwrap_or_default(),
        Condition::Not(part) => reason(part, !wanted, person, moment, depth),
        Condition::Segment(name) => match moment.segments.get(name).filter(|_| depth < DEEPEST) {
            Some(inner) => {
                let is = if wanted { "not in" } else { "in" };
                format!("{is} the segment `{name}`: {}", reason(inner, wanted, person, moment, depth + 1))
            }
            None => format!("there is no segment `{name}`"),
        },
        Condition::Attribute(attribute) => of_attribute(attribute, person),
        Condition::Event(event) => of_event(event, person),
        Condition::Message(message) => of_message(message, wanted),
        Condition::Consent(consent) => of_consent(consent, person),
        Condition::Reachable { channel, topic } => {
            let about = topic.as_ref().map(|topic| format!(" about {topic}")).unwrap_or_default();
            format!("{} be reached by {channel}{about}", if wanted { "cannot" } else { "can" })
        }
        Condition::Suppressed { channel, .. } => {
            format!("the {channel} address is {}suppressed", if wanted { "not " } else { "" })
        }
        Condition::Sample { share, draw } => format!("{} in the sample of {share} drawn as `{draw}`", if wanted { "not" } else { "is" }),
    }
}

fn of_attribute(condition: &AttributeCondition, person: &Person) -> String {
    let tests: Vec<String> = condition.tests.iter().map(test).collect();
    format!("{} is {}, and the rule asks for: {}", condition.path.written, seen(&condition.path, person), tests.join(" and "))
}

/// The value under a path, as far as it stands with the customer.
fn seen(path: &Path, person: &Person) -> String {
    use crate::segments::OwnField;
    let own = |value: &Option<String>| value.clone().map(Value::from);
    let mut found = match &path.start {
        Start::Own(OwnField::ExternalId) => own(&person.external_id),
        Start::Own(OwnField::Email) => own(&person.email),
        Start::Own(OwnField::Phone) => own(&person.phone),
        Start::Own(OwnField::FirstName) => own(&person.first_name),
        Start::Own(OwnField::LastName) => own(&person.last_name),
        Start::Own(OwnField::Language) => own(&person.language),
        Start::Own(OwnField::Country) => own(&person.country),
        Start::Own(OwnField::Zone) => own(&person.zone),
        Start::Own(OwnField::CreatedAt) => Some(Value::from(person.created_at.to_rfc3339())),
        Start::Names(names) => inside(&person.attributes, names).cloned(),
    };
    for (catalog, names) in &path.through {
        let row = found.as_ref().and_then(Value::as_str).and_then(|key| person.rows.get(&(catalog.clone(), key.to_string())));
        found = row.and_then(|row| inside(row, names)).cloned();
    }
    match found {
        None | Some(Value::Null) => "missing".into(),
        Some(Value::String(text)) => format!("`{text}`"),
        Some(other) => format!("`{other}`"),
    }
}

fn inside<'v>(value: &'v Value, names: &[String]) -> Option<&'v Value> {
    names.iter().try_fold(value, |value, name| value.get(name))
}

fn test(test: &Test) -> String {
    match test {
        Test::Missing(true) => "missing".into(),
        Test::Missing(false) => "any value".into(),
        Test::Is(operands) => format!("is {}", operands.iter().map(operand).collect::<Vec<_>>().join(" or ")),
        Test::StartsWith(text) => format!("starts with `{text}`"),
        Test::EndsWith(text) => format!("ends with `{text}`"),
        Test::Contains(text) => format!("contains `{text}`"),
        Test::Compare(comparison, value) => format!("{} {}", compared(*comparison), operand(value)),
        Test::Date(_) | Test::AnyDate(_) => "another date".into(),
        Test::Anniversary(_) => "another anniversary".into(),
        Test::DayOfYear(days) => format!("a day on {}", days.iter().map(String::as_str).collect::<Vec<_>>().join(" or ")),
        Test::HasAny(_) | Test::HasAll(_) => "other items in the list".into(),
        Test::Size(_) => "another number of items".into(),
    }
}

fn operand(operand: &Operand) -> String {
    match operand {
        Operand::Text(text) | Operand::Loose(text) => format!("`{text}`"),
        Operand::Number(number) => number.to_string(),
        Operand::Money(money) => money.to_string(),
        Operand::Boolean(truth) => truth.to_string(),
        Operand::Attribute(path, _) => format!("the same as {}", path.written),
    }
}

fn compared(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Is => "exactly",
        Comparison::MoreThan => "more than",
        Comparison::LessThan => "less than",
        Comparison::AtLeast => "at least",
        Comparison::AtMost => "at most",
    }
}

fn of_event(condition: &EventCondition, person: &Person) -> String {
    let events: Vec<_> = person.events.iter().filter(|event| event.name == condition.name).collect();
    let last = events.iter().map(|event| event.at).max().map(|at| format!(", the last on {}", at.format("%Y-%m-%d"))).unwrap_or_default();
    let tests: Vec<String> =
        condition.tests.iter().map(|(comparison, value)| format!("{} {}", compared(*comparison), operand(value))).collect();
    let what = match &condition.measure {
        crate::segments::Measure::Count => "a count of",
        _ => "a measure of",
    };
    let narrowed = if condition.filter.tests.is_empty() { "" } else { ", with certain properties" };
    let number = events.len();
    format!(
        "{number} {} on record in all{last}; the rule asks for {what} {}{}{narrowed}",
        if number == 1 { format!("event `{}`", condition.name) } else { format!("events `{}`", condition.name) },
        tests.join(" and "),
        window(&condition.window)
    )
}

fn of_message(condition: &MessageCondition, wanted: bool) -> String {
    let was: Vec<&str> = condition.was.iter().map(|was| was.word()).collect();
    let campaigns = if condition.campaigns.is_empty() { "any campaign".to_string() } else { condition.campaigns.join(" or ") };
    let tests: Vec<String> = condition.tests.iter().map(|(comparison, number)| format!("{} {number}", compared(*comparison))).collect();
    let does = if wanted { "does not have" } else { "has" };
    format!("{does} {} messages of {campaigns} that were {}{}", tests.join(" and "), was.join(" or "), window(&condition.window))
}

fn of_consent(condition: &ConsentCondition, person: &Person) -> String {
    let states = person.consents.iter().filter(|consent| consent.topic == condition.topic || consent.topic == "*");
    let states = states.filter(|consent| condition.channel.is_none_or(|channel| channel == consent.channel));
    let known: Vec<String> = states.map(|consent| format!("{} by {}", consent.state, consent.channel)).collect();
    let known = if known.is_empty() { "unknown".to_string() } else { known.join(", ") };
    let asked: Vec<&str> = condition.is.iter().map(|is| is.word()).collect();
    format!("consent to {} is {known}, and the rule asks for: {}{}", condition.topic, asked.join(" or "), window(&condition.window))
}

fn window(window: &Window) -> String {
    let date = |expression: &DateExpression| match expression {
        DateExpression::Date(date) => date.to_string(),
        DateExpression::Today => "today".into(),
        DateExpression::Now => "now".into(),
        DateExpression::Ago(duration) => format!("{duration} ago"),
        DateExpression::In(duration) => format!("in {duration}"),
        DateExpression::Time(_) => "a certain time".into(),
    };
    let within = window.within.map(|within| format!(" within {within}"));
    let from = window.from.as_ref().map(|from| format!(" from {}", date(from)));
    let until = window.until.as_ref().map(|until| format!(" until {}", date(until)));
    [within, from, until].into_iter().flatten().collect()
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
            events: vec![PastEvent { name: "purchase".into(), at: "2026-01-05T00:00:00Z".parse().unwrap(), properties: Value::Null }],
            ..Person::default()
        };
        let segments = BTreeMap::from([("buyers".to_string(), condition("{ event: purchase, within: 90 days }"))]);
        let rates = BTreeMap::new();
        let zone = ZoneInForce::Fixed(Tz::UTC);
        let moment = Moment { now, zone, segments: &segments, currency: "UAH", rates: &rates, seed: "shop", samples: Samples::NONE };
        let cases = [
            ("{ attribute: city, is: Kyiv }", "city is `Lviv`, and the rule asks for: is `Kyiv`"),
            ("{ attribute: city, is: Lviv }", ""),
            ("{ attribute: street, missing: false }", "street is missing, and the rule asks for: any value"),
            (
                "all: [ { attribute: city, is: Lviv }, { attribute: loyalty.points, at_least: 100 } ]",
                "loyalty.points is `40`, and the rule asks for: at least 100",
            ),
            (
                "{ segment: buyers }",
                "not in the segment `buyers`: 1 event `purchase` on record in all, the last on 2026-01-05; the rule asks for a count of at least 1 within 90 days",
            ),
            ("not: { attribute: city, in: [ Lviv, Odesa ] }", "city is `Lviv`, and the rule asks for: is `Lviv` or `Odesa`"),
            ("{ consent: offers, is: granted }", "consent to offers is unknown, and the rule asks for: granted"),
            ("{ reachable: email, topic: offers }", "cannot be reached by email about offers"),
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
        assert_eq!(excepted.as_deref(), Some("left out by `except`: city is `Lviv`, and the rule asks for: is `Lviv`"));
    }
}
