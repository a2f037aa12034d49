//! A condition in plain English, for people who did not write it.

use super::model::*;
use crate::literals::{DateExpression, Duration};
use std::fmt;

impl fmt::Display for Condition {
    /// One line. `All` and `Any` only say how their parts are joined; explanations list the parts below.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Condition::All(parts) if parts.is_empty() => "everyone".to_string(),
            Condition::All(_) => "all of these hold".to_string(),
            Condition::Any(_) => "at least one of these holds".to_string(),
            Condition::Not(_) => "this does not hold".to_string(),
            Condition::Attribute(attribute) => tests(&attribute.path, &attribute.tests),
            Condition::Event(event) => event_words(event),
            Condition::Message(message) => message_words(message),
            Condition::Consent(consent) => consent_words(consent),
            Condition::Reachable { channel, topic: None } => format!("can be reached by {channel}"),
            Condition::Reachable { channel, topic: Some(topic) } => format!("can be reached by {channel} with advertising about `{topic}`"),
            Condition::Suppressed { channel, reason: None } => format!("the {channel} address is suppressed"),
            Condition::Suppressed { channel, reason: Some(reason) } => format!("the {channel} address is suppressed ({reason})"),
            Condition::Segment(name) => format!("is in the segment `{name}`"),
            Condition::Sample { share, draw } => format!("is among the {share} drawn as `{draw}`"),
        };
        formatter.write_str(&text)
    }
}

fn list(items: impl IntoIterator<Item = String>, word: &str) -> String {
    let mut items: Vec<String> = items.into_iter().collect();
    match (items.pop(), items.as_slice()) {
        (Some(last), []) => last,
        (Some(last), _) => format!("{} {word} {last}", items.join(", ")),
        (None, _) => "nothing".to_string(),
    }
}

fn tests(path: &Path, tests: &[Test]) -> String {
    format!("`{}` {}", path.written, list(tests.iter().map(test), "and"))
}

fn properties(tests_of: &PropertyTests) -> String {
    list(tests_of.tests.iter().map(|(path, all)| tests(path, all)), "and")
}

fn test(test: &Test) -> String {
    match test {
        Test::Missing(true) => "has no value".to_string(),
        Test::Missing(false) => "has a value".to_string(),
        Test::Is(operands) => format!("is {}", list(operands.iter().map(operand), "or")),
        Test::StartsWith(text) => format!("starts with “{text}”"),
        Test::EndsWith(text) => format!("ends with “{text}”"),
        Test::Contains(text) => format!("contains “{text}”"),
        Test::Compare(how, value) => format!("is {} {}", comparison(*how), operand(value)),
        Test::Date(test) => date_test(test),
        Test::AnyDate(tests) => list(tests.iter().map(date_test), "or"),
        Test::Anniversary(tests) => format!("returns on a day that {}", list(tests.iter().map(date_test), "and")),
        Test::DayOfYear(days) => format!("has its day on {}", list(days.iter().cloned(), "or")),
        Test::HasAny(items) => format!("has {}", list(items.iter().map(item), "or")),
        Test::HasAll(items) => format!("has {}", list(items.iter().map(item), "and")),
        Test::Size(tests) => format!("has {} items", numbers(tests)),
    }
}

fn item(item: &Item) -> String {
    match item {
        Item::Value(value) => operand(value),
        Item::Row(tests) => format!("a row where {}", properties(tests)),
    }
}

fn comparison(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Is => "exactly",
        Comparison::MoreThan => "more than",
        Comparison::LessThan => "less than",
        Comparison::AtLeast => "at least",
        Comparison::AtMost => "at most",
    }
}

fn numbers(tests: &[(Comparison, f64)]) -> String {
    list(tests.iter().map(|(how, number)| format!("{} {number}", comparison(*how))), "and")
}

fn operand(operand: &Operand) -> String {
    match operand {
        Operand::Text(text) | Operand::Loose(text) if text.is_empty() => "an empty text".to_string(),
        Operand::Text(text) | Operand::Loose(text) => text.clone(),
        Operand::Number(number) => number.to_string(),
        Operand::Money(money) => money.to_string(),
        Operand::Boolean(truth) => truth.to_string(),
        Operand::Attribute(path, _) => format!("the same as `{}`", path.written),
    }
}

fn date_test(test: &DateTest) -> String {
    match test {
        DateTest::Is(date) => format!("is {}", date_operand(date)),
        DateTest::Before(date) => format!("is before {}", date_operand(date)),
        DateTest::After(date) => format!("is after {}", date_operand(date)),
        DateTest::From(date) => format!("is {} or later", date_operand(date)),
        DateTest::Until(date) => format!("is {} or earlier", date_operand(date)),
        DateTest::Within(duration) => format!("is within the last {}", span(*duration)),
        DateTest::WithinNext(duration) => format!("is within the next {}", span(*duration)),
    }
}

/// `7 days`, and `year` for one.
fn span(duration: Duration) -> String {
    let words = duration.to_string();
    words.strip_prefix("1 ").map_or(words.clone(), String::from)
}

fn date_operand(operand: &DateOperand) -> String {
    match operand {
        DateOperand::Expression(expression) => date(*expression),
        DateOperand::Attribute(path) => format!("`{}`", path.written),
    }
}

fn date(expression: DateExpression) -> String {
    use crate::literals::WrittenTime;
    match expression {
        DateExpression::Date(day) => day.to_string(),
        DateExpression::Time(WrittenTime::Local(local)) => local.format("%Y-%m-%d %H:%M").to_string(),
        DateExpression::Time(WrittenTime::Instant(instant)) => instant.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
        DateExpression::Today => "today".to_string(),
        DateExpression::Now => "now".to_string(),
        DateExpression::Ago(duration) => format!("{duration} ago"),
        DateExpression::In(duration) => format!("in {duration}"),
    }
}

/// With a blank before it; nothing for no window.
fn window(window: &Window) -> String {
    let mut words = String::new();
    if let Some(within) = window.within {
        words.push_str(&format!(" within the last {}", span(within)));
    }
    if let Some(from) = window.from {
        words.push_str(&format!(" from {}", date(from)));
    }
    if let Some(until) = window.until {
        words.push_str(&format!(" until {}", date(until)));
    }
    words
}

/// What is measured of the events, as an explanation names it.
pub(super) fn measure(measure: &Measure) -> String {
    match measure {
        Measure::Count => "the number".to_string(),
        Measure::Sum(path, _) => format!("the sum of `{}`", path.written),
        Measure::Average(path, _) => format!("the average `{}`", path.written),
        Measure::Smallest(path, _) => format!("the smallest `{}`", path.written),
        Measure::Largest(path, _) => format!("the largest `{}`", path.written),
        Measure::Distinct(path) => format!("the number of different `{}`", path.written),
    }
}

fn event_words(event: &EventCondition) -> String {
    let mut words = format!("`{}` happened{}", event.name, window(&event.window));
    if !event.filter.tests.is_empty() {
        words.push_str(&format!(" where {}", properties(&event.filter)));
    }
    if let Some(without) = &event.without {
        words.push_str(&format!(" and no later `{}`", without.name));
        if !without.filter.tests.is_empty() {
            words.push_str(&format!(" where {}", properties(&without.filter)));
        }
        if let Some((own, other)) = &without.same {
            match own.written == other.written {
                true => words.push_str(&format!(" with the same `{}`", own.written)),
                false => words.push_str(&format!(" with `{}` the same as `{}`", other.written, own.written)),
            }
        }
    }
    if let Some(edge) = &event.edge {
        let tests =
            edge.dates.iter().map(date_test).chain((!edge.filter.tests.is_empty()).then(|| format!("has {}", properties(&edge.filter))));
        words.push_str(&format!(", and the {} of them {}", if edge.last { "last" } else { "first" }, list(tests, "and")));
    }
    if !event.is_plain() {
        let tests = event.tests.iter().map(|(how, value)| format!("{} {}", comparison(*how), operand(value)));
        words.push_str(&format!(", and {} is {}", measure(&event.measure), list(tests, "and")));
    }
    words
}

fn message_words(message: &MessageCondition) -> String {
    let campaigns = match message.campaigns.as_slice() {
        [] => "any campaign".to_string(),
        names => list(names.iter().map(|name| format!("`{name}`")), "or"),
    };
    let narrowed: Vec<String> = [
        ("variant", message.variant.clone()),
        ("channel", message.channel.iter().map(ToString::to_string).collect()),
        ("topic", message.topic.clone()),
        ("class", message.class.iter().map(ToString::to_string).collect()),
        ("category", message.category.clone()),
        ("tag", message.tag.clone()),
        ("link", message.link.clone()),
        ("reason", message.reason.iter().map(|reason| reason.word().to_string()).collect::<Vec<String>>()),
    ]
    .into_iter()
    .filter(|(_, values)| !values.is_empty())
    .map(|(word, values)| format!("{word} {}", list(values, "or")))
    .collect();
    let was = list(message.was.iter().map(|was| was.word().replace('_', " ")), "or");
    let mut words = format!("a message of {campaigns}");
    if !narrowed.is_empty() {
        words.push_str(&format!(" ({})", narrowed.join(", ")));
    }
    words.push_str(&format!(" was {was}{}", window(&message.window)));
    if message.machine {
        words.push_str(", by people or machines");
    }
    if !message.is_plain() {
        words.push_str(&format!(", and the number of such messages is {}", numbers(&message.tests)));
    }
    words
}

fn consent_words(consent: &ConsentCondition) -> String {
    let is = list(consent.is.iter().map(|is| is.word().to_string()), "or");
    let channel = consent.channel.map_or("on any channel".to_string(), |channel| format!("by {channel}"));
    let proof = if consent.proof_missing { ", without proof" } else { "" };
    let changed = if consent.window.is_empty() { String::new() } else { format!(", changed{}", window(&consent.window)) };
    format!("consent to `{}` {channel} is {is}{changed}{proof}", consent.topic)
}
