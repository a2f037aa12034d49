//! Evaluates a condition over one person in memory: what the databases are held against, and what explanations are made from.

use super::model::*;
use super::moment::{Here, Moment, Range};
use super::person::*;
use super::values::{self, Currencies, DAY, StoredDate};
use crate::types::{Channel, ConsentState, MessageState, Refusal, Response, Time, Verdict};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Whether the condition holds for the person at the moment.
pub fn evaluate(condition: &Condition, person: &Person, moment: &Moment<'_>) -> bool {
    Evaluation::new(person, moment).holds(condition, 0)
}

/// Whether the tests hold for the properties of an event. Values that come from the customer are missing without a `person`.
pub fn properties_hold(tests: &PropertyTests, properties: &Value, person: Option<&Person>, moment: &Moment<'_>) -> bool {
    let nobody = Person::default();
    Evaluation::new(person.unwrap_or(&nobody), moment).properties(tests, properties)
}

/// Segments that name segments are followed so deep; deeper is a cycle, which `check` has refused, and holds for nobody.
pub const DEEPEST: usize = 32;

/// A value that was found.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Seen<'p> {
    Value(Cow<'p, Value>),
    /// `created_at`.
    Instant(Time),
}

/// What a measure came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Measured {
    Number(f64),
    /// Minor units of the workspace's currency.
    Money(i128),
    /// Sum and count: compared without a division.
    Average(f64, f64),
    Missing,
}

pub(super) struct Evaluation<'p, 'm> {
    pub(super) person: &'p Person,
    pub(super) moment: &'m Moment<'m>,
    pub(super) here: Here,
    pub(super) currencies: Currencies,
}

impl<'p, 'm> Evaluation<'p, 'm> {
    pub(super) fn new(person: &'p Person, moment: &'m Moment<'m>) -> Self {
        let here =
            Here { now: moment.now, zone: moment.zone.of(person.zone.as_deref(), person.country.as_deref(), person.phone.as_deref()) };
        Evaluation { person, moment, here, currencies: Currencies::new(moment.currency, moment.rates) }
    }

    pub(super) fn holds(&self, condition: &Condition, depth: usize) -> bool {
        match condition {
            Condition::All(parts) => parts.iter().all(|part| self.holds(part, depth)),
            Condition::Any(parts) => parts.iter().any(|part| self.holds(part, depth)),
            Condition::Not(part) => !self.holds(part, depth),
            Condition::Attribute(AttributeCondition { path, tests }) => {
                let seen = self.find(path, &self.person.attributes);
                // Databases fold the capitals of addresses themselves, and only those of ASCII.
                let address = matches!(path.start, Start::Own(OwnField::Email | OwnField::Phone));
                tests.iter().all(|test| match (test, &seen) {
                    (Test::Contains(part), Some(Seen::Value(value))) if address => {
                        value.as_str().is_some_and(|text| text.to_ascii_lowercase().contains(part))
                    }
                    _ => self.test(test, seen.as_ref()),
                })
            }
            Condition::Event(event) => self.event(event),
            Condition::Message(message) => {
                let count = self.messages(message) as f64;
                message.tests.iter().all(|(comparison, number)| compare(*comparison, count.partial_cmp(number)))
            }
            Condition::Consent(consent) => self.consent(consent),
            Condition::Reachable { channel, topic } => {
                let addressed = |address: &PastAddress| address.channel == *channel && !self.is_suppressed(address, None);
                let granted = |state| matches!(state, ConsentState::Granted | ConsentState::Confirmed);
                self.person.addresses.iter().any(addressed)
                    && topic.as_ref().is_none_or(|topic| self.consent_on(topic, *channel).is_some_and(|consent| granted(consent.state)))
            }
            Condition::Suppressed { channel, reason } => {
                self.person.addresses.iter().any(|address| address.channel == *channel && self.is_suppressed(address, *reason))
            }
            Condition::Segment(name) => {
                depth < DEEPEST && self.moment.segments.get(name).is_some_and(|condition| self.holds(condition, depth + 1))
            }
            Condition::Sample { share, draw } => super::is_drawn(self.moment.seed, draw, &self.person.draw_key, *share),
        }
    }

    /// The value under a path: in the document, or an own field. Null is no value.
    pub(super) fn find<'v>(&self, path: &Path, document: &'v Value) -> Option<Seen<'v>>
    where
        'p: 'v,
    {
        let mut found: Seen<'v> = match &path.start {
            Start::Own(OwnField::CreatedAt) => Seen::Instant(self.person.created_at),
            Start::Own(field) => Seen::Value(Cow::Owned(Value::String(self.own(*field)?.to_string()))),
            Start::Names(names) => Seen::Value(Cow::Borrowed(inside(document, names)?)),
        };
        for (catalog, names) in &path.through {
            let Seen::Value(value) = &found else { return None };
            let row: &'v Value = self.person.rows.get(&(catalog.clone(), value.as_str()?.to_string()))?;
            found = Seen::Value(Cow::Borrowed(inside(row, names)?));
        }
        match &found {
            Seen::Value(value) if value.is_null() => None,
            _ => Some(found),
        }
    }

    fn own(&self, field: OwnField) -> Option<&'p str> {
        let person = self.person;
        match field {
            OwnField::ExternalId => person.external_id.as_deref(),
            OwnField::Email => person.email.as_deref(),
            OwnField::Phone => person.phone.as_deref(),
            OwnField::FirstName => person.first_name.as_deref(),
            OwnField::LastName => person.last_name.as_deref(),
            OwnField::Language => person.language.as_deref(),
            OwnField::Country => person.country.as_deref(),
            OwnField::Zone => person.zone.as_deref(),
            OwnField::CreatedAt => None,
        }
    }

    /// The customer's value that an operand names.
    fn other(&self, path: &Path) -> Option<Seen<'p>> {
        self.find(path, &self.person.attributes)
    }

    pub(super) fn test(&self, test: &Test, seen: Option<&Seen<'_>>) -> bool {
        if let Test::Missing(missing) = test {
            return seen.is_none() == *missing;
        }
        let Some(seen) = seen else { return false };
        match (test, seen) {
            (Test::Date(test), seen) => self.date(test, seen),
            (Test::AnyDate(tests), seen) => tests.iter().any(|test| self.date(test, seen)),
            (_, Seen::Instant(_)) => false,
            (_, Seen::Value(value)) => self.test_value(test, value),
        }
    }

    fn test_value(&self, test: &Test, value: &Value) -> bool {
        match test {
            Test::Is(operands) => operands.iter().any(|operand| self.equal(value, operand)),
            Test::StartsWith(part) => value.as_str().is_some_and(|text| text.starts_with(part)),
            Test::EndsWith(part) => value.as_str().is_some_and(|text| text.ends_with(part)),
            Test::Contains(part) => value.as_str().is_some_and(|text| values::lower_case(text).contains(part)),
            Test::Compare(comparison, operand) => self.compare(*comparison, value, operand),
            Test::Anniversary(tests) => day_of_year(value).is_some_and(|day| self.here.returning_days(tests).contains(day)),
            Test::DayOfYear(days) => day_of_year(value).is_some_and(|day| days.contains(day)),
            Test::HasAny(items) => value.as_array().is_some_and(|list| items.iter().any(|item| self.has(list, item))),
            Test::HasAll(items) => value.as_array().is_some_and(|list| items.iter().all(|item| self.has(list, item))),
            Test::Size(tests) => value
                .as_array()
                .is_some_and(|list| tests.iter().all(|(comparison, number)| compare(*comparison, (list.len() as f64).partial_cmp(number)))),
            Test::Missing(_) | Test::Date(_) | Test::AnyDate(_) => false,
        }
    }

    fn has(&self, list: &[Value], item: &Item) -> bool {
        match item {
            Item::Value(operand) => list.iter().any(|value| self.equal(value, operand)),
            Item::Row(tests) => list.iter().any(|row| row.is_object() && self.properties(tests, row)),
        }
    }

    pub(super) fn properties(&self, tests: &PropertyTests, document: &Value) -> bool {
        tests.tests.iter().all(|(path, tests)| {
            let seen = self.find(path, document);
            tests.iter().all(|test| self.test(test, seen.as_ref()))
        })
    }

    fn equal(&self, value: &Value, operand: &Operand) -> bool {
        match operand {
            Operand::Text(text) => value.as_str() == Some(text),
            Operand::Number(number) => values::number(value) == Some(*number),
            Operand::Money(money) => {
                let wanted = self.currencies.convert(money).map(i128::from);
                wanted.is_some() && self.currencies.money(value) == wanted
            }
            Operand::Boolean(truth) => value.as_bool() == Some(*truth),
            Operand::Loose(text) => match value {
                Value::String(found) => found == text,
                Value::Bool(truth) => text == if *truth { "true" } else { "false" },
                value => values::spelled_number(text).is_some_and(|number| values::number(value) == Some(number)),
            },
            Operand::Attribute(path, kind) => {
                let Some(Seen::Value(other)) = self.other(path) else { return false };
                let text = || value.as_str().is_some_and(|text| other.as_str() == Some(text));
                let number = || values::number(value).is_some_and(|number| values::number(&other) == Some(number));
                let truth = || value.as_bool().is_some_and(|truth| other.as_bool() == Some(truth));
                match kind {
                    Kind::Text => text(),
                    Kind::Number => number(),
                    Kind::Boolean => truth(),
                    Kind::Money => self.currencies.money(value).is_some_and(|minor| self.currencies.money(&other) == Some(minor)),
                    Kind::Loose => text() || number() || truth(),
                    Kind::Date => false,
                }
            }
        }
    }

    fn compare(&self, comparison: Comparison, value: &Value, operand: &Operand) -> bool {
        let number = |other: f64| values::number(value).and_then(|number| number.partial_cmp(&other));
        let money = |other: i128| self.currencies.money(value).map(|minor| minor.cmp(&other));
        let order = match operand {
            Operand::Number(other) => number(*other),
            Operand::Money(other) => self.currencies.convert(other).map(i128::from).and_then(money),
            Operand::Attribute(path, kind) => match (self.other(path), kind) {
                (Some(Seen::Value(other)), Kind::Money) => self.currencies.money(&other).and_then(money),
                (Some(Seen::Value(other)), Kind::Number) => values::number(&other).and_then(number),
                _ => None,
            },
            Operand::Text(_) | Operand::Boolean(_) | Operand::Loose(_) => None,
        };
        compare(comparison, order)
    }

    fn date(&self, test: &DateTest, seen: &Seen<'_>) -> bool {
        let Some(date) = stored_date(seen) else { return false };
        if let Some(ranges) = self.here.ranges(test) {
            return match date {
                StoredDate::Day(at) => ranges.day.contains(at),
                StoredDate::Local(at) => ranges.local.contains(at),
                StoredDate::Instant(at) => ranges.instant.contains(at),
            };
        }
        let (DateTest::Is(DateOperand::Attribute(path))
        | DateTest::Before(DateOperand::Attribute(path))
        | DateTest::After(DateOperand::Attribute(path))
        | DateTest::From(DateOperand::Attribute(path))
        | DateTest::Until(DateOperand::Attribute(path))) = test
        else {
            return false;
        };
        let Some(other) = self.other(path).as_ref().and_then(stored_date) else { return false };
        let is = matches!(test, DateTest::Is(_));
        let (date, other) = match (date, other) {
            (StoredDate::Instant(date), StoredDate::Instant(other)) => (date, other),
            (StoredDate::Local(date), StoredDate::Local(other)) if !is => (date, other),
            (StoredDate::Instant(_), _) | (_, StoredDate::Instant(_)) => return false,
            (StoredDate::Day(date) | StoredDate::Local(date), StoredDate::Day(other) | StoredDate::Local(other)) => {
                (date.div_euclid(DAY), other.div_euclid(DAY))
            }
        };
        match test {
            DateTest::Before(_) => date < other,
            DateTest::After(_) => date > other,
            DateTest::From(_) => date >= other,
            DateTest::Until(_) => date <= other,
            _ => date == other,
        }
    }

    /// The events that count: by name, window, properties, and without a later other one.
    pub(super) fn counted(&self, event: &EventCondition) -> Vec<&'p PastEvent> {
        let window = self.here.window(&event.window);
        self.person
            .events
            .iter()
            .filter(|past| past.name == event.name && window.contains(past.at.timestamp_micros()))
            .filter(|past| self.properties(&event.filter, &past.properties))
            .filter(|past| event.without.as_ref().is_none_or(|without| !self.followed(past, without)))
            .collect()
    }

    fn followed(&self, past: &PastEvent, without: &Without) -> bool {
        self.person.events.iter().any(|later| {
            later.name == without.name
                && later.at > past.at
                && later.at <= self.moment.now
                && self.properties(&without.filter, &later.properties)
                && without.same.as_ref().is_none_or(|(own, other)| {
                    let Some(Seen::Value(own)) = self.find(own, &past.properties) else { return false };
                    let Start::Names(names) = &other.start else { return false };
                    in_any_row(&later.properties, names, true).iter().any(|value| same_value(&own, value))
                })
        })
    }

    fn event(&self, event: &EventCondition) -> bool {
        let counted = self.counted(event);
        if let Some(edge) = &event.edge {
            let found = counted.iter().enumerate();
            let found = match edge.last {
                true => found.max_by_key(|(number, past)| (past.at, *number)),
                false => found.min_by_key(|(number, past)| (past.at, *number)),
            };
            let Some((_, past)) = found else { return false };
            let at = Seen::Instant(past.at);
            if !edge.dates.iter().all(|test| self.date(test, &at)) || !self.properties(&edge.filter, &past.properties) {
                return false;
            }
        }
        let measured = self.measured(&event.measure, &counted);
        event.tests.iter().all(|(comparison, operand)| self.measures_up(measured, *comparison, operand))
    }

    pub(super) fn measured(&self, measure: &Measure, events: &[&PastEvent]) -> Measured {
        let found = |path: &Path| -> Vec<Value> {
            let values = events.iter().filter_map(|past| self.find(path, &past.properties));
            values.filter_map(|seen| if let Seen::Value(value) = seen { Some(value.into_owned()) } else { None }).collect()
        };
        let (path, kind) = match measure {
            Measure::Count => return Measured::Number(events.len() as f64),
            Measure::Distinct(path) => return Measured::Number(distinct(&found(path)) as f64),
            Measure::Sum(path, kind) | Measure::Average(path, kind) | Measure::Smallest(path, kind) | Measure::Largest(path, kind) => {
                (path, *kind)
            }
        };
        let found = found(path);
        if kind == Kind::Money {
            let minors: Vec<i128> = found.iter().filter_map(|value| self.currencies.money(value)).collect();
            return match measure {
                Measure::Sum(..) => Measured::Money(minors.iter().sum()),
                Measure::Average(..) if minors.is_empty() => Measured::Missing,
                Measure::Average(..) => Measured::Average(minors.iter().sum::<i128>() as f64, minors.len() as f64),
                Measure::Smallest(..) => minors.into_iter().min().map_or(Measured::Missing, Measured::Money),
                _ => minors.into_iter().max().map_or(Measured::Missing, Measured::Money),
            };
        }
        let numbers: Vec<f64> = found.iter().filter_map(values::number).collect();
        match measure {
            Measure::Sum(..) => Measured::Number(six_decimals(sum(&numbers))),
            Measure::Average(..) if numbers.is_empty() => Measured::Missing,
            Measure::Average(..) => Measured::Average(sum(&numbers), numbers.len() as f64),
            Measure::Smallest(..) => numbers.into_iter().min_by(f64::total_cmp).map_or(Measured::Missing, Measured::Number),
            _ => numbers.into_iter().max_by(f64::total_cmp).map_or(Measured::Missing, Measured::Number),
        }
    }

    fn measures_up(&self, measured: Measured, comparison: Comparison, operand: &Operand) -> bool {
        let wanted = match operand {
            Operand::Number(number) => Some(*number),
            Operand::Money(money) => self.currencies.convert(money).map(|minor| minor as f64),
            Operand::Attribute(path, kind) => match self.other(path) {
                Some(Seen::Value(other)) if *kind == Kind::Money => self.currencies.money(&other).map(|minor| minor as f64),
                Some(Seen::Value(other)) => values::number(&other),
                _ => None,
            },
            Operand::Text(_) | Operand::Boolean(_) | Operand::Loose(_) => None,
        };
        let Some(wanted) = wanted else { return false };
        let order = match measured {
            Measured::Number(number) => number.partial_cmp(&wanted),
            Measured::Money(minor) => minor.partial_cmp(&(wanted as i128)),
            Measured::Average(sum, count) => six_decimals(sum - wanted * count).partial_cmp(&0.0),
            Measured::Missing => None,
        };
        compare(comparison, order)
    }

    /// How many messages are what the condition asks for.
    pub(super) fn messages(&self, condition: &MessageCondition) -> usize {
        let window = self.here.window(&condition.window);
        self.person.messages.iter().filter(|message| narrowed(condition, message) && was(condition, message, window)).count()
    }

    /// What holds for the topic on the channel: the later of the topic's own and that for all topics; on a tie, withdrawn. An objection outweighs
    /// what came later.
    pub(super) fn consent_on(&self, topic: &str, channel: Channel) -> Option<&'p PastConsent> {
        self.person
            .consents
            .iter()
            .filter(|consent| consent.channel == channel && (consent.topic == topic || consent.topic == "*"))
            .max_by_key(|consent| {
                let state = consent.state;
                (state == ConsentState::Objected, consent.at, state == ConsentState::Withdrawn, consent.topic != "*")
            })
    }

    fn consent(&self, condition: &ConsentCondition) -> bool {
        let channels: &[Channel] = condition.channel.as_ref().map_or(Channel::ALL, std::slice::from_ref);
        let states: Vec<&PastConsent> = channels.iter().filter_map(|channel| self.consent_on(&condition.topic, *channel)).collect();
        if states.is_empty() {
            return condition.is.contains(&ConsentIs::None);
        }
        let window = (!condition.window.is_empty()).then(|| self.here.window(&condition.window));
        states.iter().any(|consent| {
            condition.is.iter().any(|is| is_in(*is, consent.state))
                && window.is_none_or(|window| window.contains(consent.at.timestamp_micros()))
                && !(condition.proof_missing && consent.has_proof)
        })
    }

    fn is_suppressed(&self, address: &PastAddress, reason: Option<crate::types::SuppressionReason>) -> bool {
        address.suppressed.is_some_and(|suppression| {
            suppression.until.is_none_or(|until| until > self.moment.now) && reason.is_none_or(|reason| reason == suppression.reason)
        })
    }
}

fn is_in(is: ConsentIs, state: ConsentState) -> bool {
    match is {
        ConsentIs::Granted => matches!(state, ConsentState::Granted | ConsentState::Confirmed),
        ConsentIs::Confirmed => state == ConsentState::Confirmed,
        ConsentIs::Pending => state == ConsentState::Pending,
        ConsentIs::Withdrawn => matches!(state, ConsentState::Withdrawn | ConsentState::Objected),
        ConsentIs::None => false,
    }
}

fn narrowed(condition: &MessageCondition, message: &PastMessage) -> bool {
    fn among<T: PartialEq>(list: &[T], value: Option<&T>) -> bool {
        list.is_empty() || value.is_some_and(|value| list.contains(value))
    }
    among(&condition.campaigns, Some(&message.campaign))
        && among(&condition.variant, message.variant.as_ref())
        && among(&condition.channel, Some(&message.channel))
        && among(&condition.topic, message.topic.as_ref())
        && among(&condition.class, Some(&message.class))
        && among(&condition.category, message.category.as_ref())
        && (condition.tag.is_empty() || message.tags.iter().any(|tag| condition.tag.contains(tag)))
        && (condition.reason.is_empty() || message.reason.is_some_and(|code| condition.reason.iter().any(|reason| reason.code() == code)))
}

/// Whether one of the words is true of the message, and became true in the window.
fn was(condition: &MessageCondition, message: &PastMessage, window: Range) -> bool {
    let at = |time: Time| window.contains(time.timestamp_micros());
    let accepted = || message.state == MessageState::Accepted && message.accepted_at.is_some_and(at);
    condition.was.iter().any(|was| match was {
        Was::Selected => at(message.selected_at),
        Was::Refused => message.state == MessageState::Refused && at(message.changed_at),
        Was::HeldOut => message.state == MessageState::Refused && message.reason == Some(Refusal::HeldOut.code()) && at(message.changed_at),
        Was::Accepted => accepted(),
        Was::Delivered => accepted() && message.bounced_at.is_none(),
        Was::Bounced => message.bounced_at.is_some_and(at),
        Was::Failed => message.state == MessageState::Failed && at(message.changed_at),
        Was::Converted => message.converted_at.is_some_and(at),
        Was::Opened | Was::Clicked | Was::Replied | Was::Unsubscribed | Was::Complained => message.responses.iter().any(|response| {
            Some(response.response) == response_of(*was)
                && at(response.at)
                && (condition.machine || response.verdict == Verdict::Human)
                && (condition.link.is_empty() || response.link.as_ref().is_some_and(|link| condition.link.contains(link)))
        }),
    })
}

/// The response that a word asks for.
pub fn response_of(was: Was) -> Option<Response> {
    match was {
        Was::Opened => Some(Response::Opened),
        Was::Clicked => Some(Response::Clicked),
        Was::Replied => Some(Response::Replied),
        Was::Unsubscribed => Some(Response::Unsubscribed),
        Was::Complained => Some(Response::Complained),
        _ => None,
    }
}

fn stored_date(seen: &Seen<'_>) -> Option<StoredDate> {
    match seen {
        Seen::Value(value) => values::date(value),
        Seen::Instant(at) => Some(StoredDate::Instant(at.timestamp_micros())),
    }
}

fn inside<'v>(document: &'v Value, names: &[String]) -> Option<&'v Value> {
    names.iter().try_fold(document, |value, name| value.as_object()?.get(name))
}

/// The values under a path, of which one part may be a list.
fn in_any_row<'v>(document: &'v Value, names: &[String], lists: bool) -> Vec<&'v Value> {
    match (document, names.split_first()) {
        (Value::Array(items), _) if lists => items.iter().flat_map(|item| in_any_row(item, names, false)).collect(),
        (value, None) => vec![value],
        (Value::Object(fields), Some((name, rest))) => fields.get(name).map_or(Vec::new(), |value| in_any_row(value, rest, lists)),
        _ => Vec::new(),
    }
}

fn same_value(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::String(one), Value::String(other)) => one == other,
        (Value::Bool(one), Value::Bool(other)) => one == other,
        (Value::Number(_), Value::Number(_)) => values::number(one).is_some_and(|number| values::number(other) == Some(number)),
        _ => false,
    }
}

fn distinct(found: &[Value]) -> usize {
    let texts: BTreeSet<&str> = found.iter().filter_map(Value::as_str).collect();
    let truths: BTreeSet<bool> = found.iter().filter_map(Value::as_bool).collect();
    let numbers: BTreeSet<u64> = found.iter().filter_map(values::number).map(|number| (number + 0.0).to_bits()).collect();
    texts.len() + truths.len() + numbers.len()
}

/// A sum whose rounding does not depend on the order (Neumaier).
fn sum(numbers: &[f64]) -> f64 {
    let (mut sum, mut lost) = (0.0_f64, 0.0_f64);
    for number in numbers {
        let next = sum + number;
        lost += if sum.abs() >= number.abs() { (sum - next) + number } else { (number - next) + sum };
        sum = next;
    }
    sum + lost
}

fn six_decimals(number: f64) -> f64 {
    format!("{number:.6}").parse().unwrap_or(number)
}

fn compare(comparison: Comparison, order: Option<std::cmp::Ordering>) -> bool {
    order.is_some_and(|order| match comparison {
        Comparison::Is => order.is_eq(),
        Comparison::MoreThan => order.is_gt(),
        Comparison::LessThan => order.is_lt(),
        Comparison::AtLeast => order.is_ge(),
        Comparison::AtMost => order.is_le(),
    })
}

/// Month and day of a date, as written.
fn day_of_year(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| values::date_of(text).is_some())?.get(5..10)
}
