//! What a condition is once it has been read and checked: every name exists, every value has its type.

use crate::literals::{DateExpression, Duration, Money, Share, ValueType};
use crate::types::{Channel, Class, Failure, Refusal, SuppressionReason};
use chrono_tz::Tz;
use std::collections::{BTreeMap, BTreeSet};

/// A checked condition over one customer. `All` of nothing holds for everyone.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    Attribute(AttributeCondition),
    Event(Box<EventCondition>),
    Message(Box<MessageCondition>),
    Consent(ConsentCondition),
    /// Has an address on the channel that is not suppressed and, with a topic, consent to advertising about it.
    Reachable {
        channel: Channel,
        topic: Option<String>,
    },
    /// Has an address on the channel that is suppressed (for this reason).
    Suppressed {
        channel: Channel,
        reason: Option<SuppressionReason>,
    },
    Segment(String),
    /// The same draw gives the same people everywhere.
    Sample {
        share: Share,
        draw: String,
    },
}

/// All tests hold for the value under the path.
#[derive(Debug, Clone, PartialEq)]
pub struct AttributeCondition {
    pub path: Path,
    pub tests: Vec<Test>,
}

/// Where a value stands: first inside a document (or in an own field), then through rows of catalogs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// As the marketer wrote it.
    pub written: String,
    pub start: Start,
    /// Each: take the text found so far as the key of a row of this catalog, and go on by these names in the row.
    pub through: Vec<(String, Vec<String>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    Own(OwnField),
    /// Names from the outermost in, in the attributes, the properties of an event, or a row of a list. Empty: the value itself.
    Names(Vec<String>),
}

/// A customer's own fields: attributes that need no declaration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OwnField {
    ExternalId,
    Email,
    Phone,
    FirstName,
    LastName,
    Language,
    Country,
    Zone,
    CreatedAt,
}

impl OwnField {
    pub const ALL: &'static [(OwnField, &'static str)] = &[
        (OwnField::ExternalId, "external_id"),
        (OwnField::Email, "email"),
        (OwnField::Phone, "phone"),
        (OwnField::FirstName, "first_name"),
        (OwnField::LastName, "last_name"),
        (OwnField::Language, "language"),
        (OwnField::Country, "country"),
        (OwnField::Zone, "zone"),
        (OwnField::CreatedAt, "created_at"),
    ];
    /// The name that people write.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(field, _)| *field == self).map_or("", |(_, word)| word)
    }
    pub fn from_word(word: &str) -> Option<OwnField> {
        Self::ALL.iter().find(|(_, known)| *known == word).map(|(field, _)| *field)
    }
}

/// As what a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Not declared: texts equal texts, numbers equal numbers, true and false equal themselves.
    Loose,
    Text,
    Number,
    Money,
    Boolean,
    /// A date, or a date with a time.
    Date,
}

/// One test on one value. What is missing, or of another type, satisfies none but `Missing(true)`.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// `missing: true` (or `false`): no value, or null.
    Missing(bool),
    /// Equal to one of these.
    Is(Vec<Operand>),
    StartsWith(String),
    EndsWith(String),
    /// Capitals do not count. The text is in lower case ([`super::values::lower_case`]).
    Contains(String),
    /// For numbers and money.
    Compare(Comparison, Operand),
    Date(DateTest),
    /// One of these dates (`in`).
    AnyDate(Vec<DateTest>),
    /// All of these for the next return of the date's day, today included.
    Anniversary(Vec<DateTest>),
    /// The date's month and day, as written, are among these (`03-01`): what a schedule by anniversary asks, and no file.
    DayOfYear(BTreeSet<String>),
    /// A list that has one of the items.
    HasAny(Vec<Item>),
    /// A list that has every item.
    HasAll(Vec<Item>),
    /// The number of items of a list.
    Size(Vec<(Comparison, f64)>),
}

/// What a list is asked for: an equal value, or a row that satisfies tests.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    Value(Operand),
    Row(PropertyTests),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Is,
    MoreThan,
    LessThan,
    AtLeast,
    AtMost,
}

/// What a value is compared with.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    Text(String),
    Number(f64),
    Money(Money),
    Boolean(bool),
    /// As written, for what is not declared: equals the text, and the number or truth value that it spells.
    Loose(String),
    /// The customer's own value under a path, compared as this kind.
    Attribute(Path, Kind),
}

/// A test on a date or a date with a time. `From` and `Until` include their day.
#[derive(Debug, Clone, PartialEq)]
pub enum DateTest {
    Is(DateOperand),
    Before(DateOperand),
    After(DateOperand),
    From(DateOperand),
    Until(DateOperand),
    /// Up to now: [now − d, now); for days without a time, so many days up to today.
    Within(Duration),
    /// From now on: [now, now + d); for days without a time, so many days from today on.
    WithinNext(Duration),
}

#[derive(Debug, Clone, PartialEq)]
pub enum DateOperand {
    Expression(DateExpression),
    Attribute(Path),
}

/// Tests on the properties of one event, or on the values of one row of a list; all hold.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PropertyTests {
    pub tests: Vec<(Path, Vec<Test>)>,
}

/// When it happened. Nothing written: ever, up to now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Window {
    /// [now − d, now)
    pub within: Option<Duration>,
    /// Included.
    pub from: Option<DateExpression>,
    /// Included.
    pub until: Option<DateExpression>,
}

impl Window {
    pub fn is_empty(&self) -> bool {
        *self == Window::default()
    }
}

/// The customer's events of a name, in a window, with properties; how many, how much, the first or last, without a later other one.
#[derive(Debug, Clone, PartialEq)]
pub struct EventCondition {
    pub name: String,
    pub window: Window,
    pub filter: PropertyTests,
    pub measure: Measure,
    /// On the measure; all hold. Never empty: `count` at least 1 when nothing is written.
    pub tests: Vec<(Comparison, Operand)>,
    pub edge: Option<Edge>,
    pub without: Option<Without>,
    /// The name under which the template finds the newest ten.
    pub save_as: Option<String>,
}

impl EventCondition {
    /// `count: at least 1`, the default: whether there is one at all.
    pub fn is_plain(&self) -> bool {
        self.measure == Measure::Count && self.tests == [(Comparison::AtLeast, Operand::Number(1.0))]
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Measure {
    Count,
    Sum(Path, Kind),
    Average(Path, Kind),
    Smallest(Path, Kind),
    Largest(Path, Kind),
    /// Different values.
    Distinct(Path),
}

/// The first or the last of the events satisfies these.
#[derive(Debug, Clone, PartialEq)]
pub struct Edge {
    pub last: bool,
    pub dates: Vec<DateTest>,
    pub filter: PropertyTests,
}

/// Only events after which no such event came.
#[derive(Debug, Clone, PartialEq)]
pub struct Without {
    pub name: String,
    pub filter: PropertyTests,
    /// Own property = the other event's property, which may stand in any row of a list.
    pub same: Option<(Path, Path)>,
}

/// What became of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Was {
    Selected,
    Refused,
    HeldOut,
    Accepted,
    Delivered,
    Opened,
    Clicked,
    Replied,
    Unsubscribed,
    Complained,
    Bounced,
    Converted,
    Failed,
}

impl Was {
    pub const ALL: &'static [(Was, &'static str)] = &[
        (Was::Selected, "selected"),
        (Was::Refused, "refused"),
        (Was::HeldOut, "held_out"),
        (Was::Accepted, "accepted"),
        (Was::Delivered, "delivered"),
        (Was::Opened, "opened"),
        (Was::Clicked, "clicked"),
        (Was::Replied, "replied"),
        (Was::Unsubscribed, "unsubscribed"),
        (Was::Complained, "complained"),
        (Was::Bounced, "bounced"),
        (Was::Converted, "converted"),
        (Was::Failed, "failed"),
    ];
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(was, _)| *was == self).map_or("", |(_, word)| word)
    }
    pub fn from_word(word: &str) -> Option<Was> {
        Self::ALL.iter().find(|(_, known)| *known == word).map(|(was, _)| *was)
    }
}

/// The customer's messages of which one of the words is true. Empty lists narrow nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct MessageCondition {
    /// Empty: any.
    pub campaigns: Vec<String>,
    pub was: Vec<Was>,
    pub variant: Vec<String>,
    pub channel: Vec<Channel>,
    pub topic: Vec<String>,
    pub class: Vec<Class>,
    pub category: Vec<String>,
    pub tag: Vec<String>,
    /// Targets of links, as written in the template; narrows `clicked`.
    pub link: Vec<String>,
    pub reason: Vec<Reason>,
    /// When it was so.
    pub window: Window,
    /// On the number of messages; all hold. Never empty.
    pub tests: Vec<(Comparison, f64)>,
    /// Opens and clicks by machines count too.
    pub machine: bool,
}

impl MessageCondition {
    /// At least one.
    pub fn is_plain(&self) -> bool {
        self.tests == [(Comparison::AtLeast, 1.0)]
    }
}

/// Why a message was refused or failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Refusal(Refusal),
    Failure(Failure),
}

impl Reason {
    pub fn from_word(word: &str) -> Option<Reason> {
        Refusal::from_word(word).map(Reason::Refusal).or_else(|| Failure::from_word(word).map(Reason::Failure))
    }
    pub fn word(self) -> &'static str {
        match self {
            Reason::Refusal(refusal) => refusal.word(),
            Reason::Failure(failure) => failure.word(),
        }
    }
    /// The number in `messages.reason`.
    pub fn code(self) -> i16 {
        match self {
            Reason::Refusal(refusal) => refusal.code(),
            Reason::Failure(failure) => failure.code(),
        }
    }
}

/// What a customer agreed to.
#[derive(Debug, Clone, PartialEq)]
pub struct ConsentCondition {
    pub topic: String,
    pub is: Vec<ConsentIs>,
    /// Else on any channel.
    pub channel: Option<Channel>,
    /// When it changed.
    pub window: Window,
    pub proof_missing: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsentIs {
    /// Confirmed too.
    Granted,
    Confirmed,
    Pending,
    Withdrawn,
    /// Nothing is known; without a channel: on no channel.
    None,
}

impl ConsentIs {
    pub const ALL: &'static [(ConsentIs, &'static str)] = &[
        (ConsentIs::Granted, "granted"),
        (ConsentIs::Confirmed, "confirmed"),
        (ConsentIs::Pending, "pending"),
        (ConsentIs::Withdrawn, "withdrawn"),
        (ConsentIs::None, "none"),
    ];
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(is, _)| *is == self).map_or("", |(_, word)| word)
    }
    pub fn from_word(word: &str) -> Option<ConsentIs> {
        Self::ALL.iter().find(|(_, known)| *known == word).map(|(is, _)| *is)
    }
}

/// Things that are not customers: the key's field and the other fields of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalog {
    pub key: String,
    pub fields: BTreeMap<String, ValueType>,
}

/// What a condition is checked against: what the workspace declares, and the names of the other files.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    pub zone: Tz,
    pub currency: &'a str,
    /// Currency → price of one unit in the workspace's currency.
    pub rates: &'a BTreeMap<String, f64>,
    /// `None`: all names are allowed.
    pub attributes: Option<&'a BTreeMap<String, ValueType>>,
    pub events: Option<&'a BTreeMap<String, BTreeMap<String, ValueType>>>,
    pub catalogs: &'a BTreeMap<String, Catalog>,
    pub topics: &'a BTreeSet<String>,
    pub categories: &'a BTreeSet<String>,
    pub segments: &'a BTreeSet<String>,
    pub campaigns: &'a BTreeSet<String>,
}

impl Condition {
    /// Holds for every customer.
    pub const EVERYONE: Condition = Condition::All(Vec::new());

    /// This condition and all conditions inside it, outermost first.
    pub fn walk<'a>(&'a self, visit: &mut dyn FnMut(&'a Condition)) {
        visit(self);
        match self {
            Condition::All(parts) | Condition::Any(parts) => parts.iter().for_each(|part| part.walk(visit)),
            Condition::Not(part) => part.walk(visit),
            _ => {}
        }
    }

    fn names(&self, of: impl Fn(&Condition) -> Vec<String>) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        self.walk(&mut |condition| names.extend(of(condition)));
        names
    }

    /// Segments that it names itself (not those that they name).
    pub fn segments(&self) -> BTreeSet<String> {
        self.names(|condition| match condition {
            Condition::Segment(name) => vec![name.clone()],
            _ => Vec::new(),
        })
    }

    /// Campaigns that it names.
    pub fn campaigns(&self) -> BTreeSet<String> {
        self.names(|condition| match condition {
            Condition::Message(message) => message.campaigns.clone(),
            _ => Vec::new(),
        })
    }

    /// Paths of attributes that it names, as written.
    pub fn attributes(&self) -> BTreeSet<String> {
        self.names(|condition| {
            let mut paths = Vec::new();
            match condition {
                Condition::Attribute(attribute) => {
                    paths.push(attribute.path.written.clone());
                    attribute.tests.iter().for_each(|test| test.attributes(&mut paths));
                }
                Condition::Event(event) => {
                    event.filter.attributes(&mut paths);
                    if let Some(edge) = &event.edge {
                        edge.filter.attributes(&mut paths);
                        edge.dates.iter().for_each(|test| test.attributes(&mut paths));
                    }
                    if let Some(without) = &event.without {
                        without.filter.attributes(&mut paths);
                    }
                    for (_, operand) in &event.tests {
                        operand.attributes(&mut paths);
                    }
                }
                _ => {}
            }
            paths
        })
    }

    /// Names of events that it asks for.
    pub fn events(&self) -> BTreeSet<String> {
        self.names(|condition| match condition {
            Condition::Event(event) => {
                std::iter::once(event.name.clone()).chain(event.without.iter().map(|without| without.name.clone())).collect()
            }
            _ => Vec::new(),
        })
    }

    /// Topics that it names.
    pub fn topics(&self) -> BTreeSet<String> {
        self.names(|condition| match condition {
            Condition::Consent(consent) => vec![consent.topic.clone()],
            Condition::Reachable { topic: Some(topic), .. } => vec![topic.clone()],
            Condition::Message(message) => message.topic.clone(),
            _ => Vec::new(),
        })
    }

    /// What templates may read under an `as:` name: the name and its condition.
    pub fn saved(&self) -> Vec<(&str, &EventCondition)> {
        let mut saved = Vec::new();
        self.walk(&mut |condition| {
            if let Condition::Event(event) = condition
                && let Some(name) = &event.save_as
            {
                saved.push((name.as_str(), event.as_ref()));
            }
        });
        saved
    }

    /// Windows back from now that it names, for retention.
    pub fn windows(&self) -> Vec<Duration> {
        let mut windows = Vec::new();
        self.walk(&mut |condition| match condition {
            Condition::Event(event) => windows.extend(event.window.within),
            Condition::Message(message) => windows.extend(message.window.within),
            _ => {}
        });
        windows
    }
}

impl PropertyTests {
    fn attributes(&self, paths: &mut Vec<String>) {
        self.tests.iter().flat_map(|(_, tests)| tests).for_each(|test| test.attributes(paths));
    }
    /// Whether a value is taken from the customer (`{ attribute: PATH }`).
    pub fn needs_customer(&self) -> bool {
        let mut paths = Vec::new();
        self.attributes(&mut paths);
        !paths.is_empty()
    }
}

impl Test {
    fn attributes(&self, paths: &mut Vec<String>) {
        match self {
            Test::Is(operands) => operands.iter().for_each(|operand| operand.attributes(paths)),
            Test::Compare(_, operand) => operand.attributes(paths),
            Test::Date(test) => test.attributes(paths),
            Test::AnyDate(tests) | Test::Anniversary(tests) => tests.iter().for_each(|test| test.attributes(paths)),
            Test::HasAny(items) | Test::HasAll(items) => items.iter().for_each(|item| match item {
                Item::Value(operand) => operand.attributes(paths),
                Item::Row(tests) => tests.attributes(paths),
            }),
            Test::Missing(_) | Test::StartsWith(_) | Test::EndsWith(_) | Test::Contains(_) | Test::Size(_) | Test::DayOfYear(_) => {}
        }
    }
}

impl DateTest {
    /// Whether it compares with another value of the customer.
    pub fn needs_customer(&self) -> bool {
        let mut paths = Vec::new();
        self.attributes(&mut paths);
        !paths.is_empty()
    }
    fn attributes(&self, paths: &mut Vec<String>) {
        if let DateTest::Is(operand)
        | DateTest::Before(operand)
        | DateTest::After(operand)
        | DateTest::From(operand)
        | DateTest::Until(operand) = self
            && let DateOperand::Attribute(path) = operand
        {
            paths.push(path.written.clone());
        }
    }
}

impl Operand {
    fn attributes(&self, paths: &mut Vec<String>) {
        if let Operand::Attribute(path, _) = self {
            paths.push(path.written.clone());
        }
    }
}
