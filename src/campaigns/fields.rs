//! Field tables: what keys a mapping may have, what stands under them, and what is said about them.
//!
//! One table serves three purposes: it drives the check of a file (`super::shapes`), names the nearest key for a mistake, and
//! gives the JSON Schema (`super::schema`). Keys of files.md that are not built yet stand here too, with `later`: they are known, and refused.

/// A kind of mapping.
#[derive(Debug)]
pub struct Table {
    /// As in "no key of …": `a campaign`, `a message`.
    pub name: &'static str,
    pub fields: &'static [Field],
}

impl Table {
    pub fn field(&self, key: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.key == key)
    }
    pub fn keys(&self) -> impl Iterator<Item = &'static str> {
        self.fields.iter().map(|field| field.key)
    }
}

/// One key of a mapping.
#[derive(Debug)]
pub struct Field {
    pub key: &'static str,
    pub shape: Shape,
    pub required: bool,
    /// What holds where the key is not written; empty when nothing does.
    pub default: &'static str,
    /// One line for the schema and for help.
    pub about: &'static str,
    /// Known, and not built yet: what to say about it.
    pub later: Option<&'static str>,
}

/// A key that must be there.
pub const fn required(key: &'static str, shape: Shape, about: &'static str) -> Field {
    Field { key, shape, required: true, default: "", about, later: None }
}

/// A key that may lack; `default` holds then.
pub const fn optional(key: &'static str, shape: Shape, default: &'static str, about: &'static str) -> Field {
    Field { key, shape, required: false, default, about, later: None }
}

/// A key of later work.
pub const fn later(key: &'static str, about: &'static str, instead: &'static str) -> Field {
    Field { key, shape: Shape::Anything, required: false, default: "", about, later: Some(instead) }
}

/// A closed list of words.
#[derive(Debug)]
pub struct Choice {
    /// As in "`x` is no …": `channel`, `class`.
    pub what: &'static str,
    pub words: &'static [&'static str],
    /// Words of files.md that are not built yet.
    pub later: &'static [&'static str],
}

/// A name that something else must declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Topic,
    Identity,
    Segment,
    Campaign,
    Category,
    Catalog,
    Coupon,
    Event,
    /// A path like `loyalty.tier`, through catalogs.
    Attribute,
}

impl Kind {
    /// As in "there is no …".
    pub const fn word(self) -> &'static str {
        match self {
            Kind::Topic => "topic",
            Kind::Identity => "identity",
            Kind::Segment => "segment",
            Kind::Campaign => "campaign",
            Kind::Category => "category",
            Kind::Catalog => "catalog",
            Kind::Coupon => "coupon",
            Kind::Event => "event",
            Kind::Attribute => "attribute",
        }
    }
    /// Where it would be declared.
    pub const fn home(self) -> &'static str {
        match self {
            Kind::Topic => "`topics` of posthaste.yaml",
            Kind::Identity => "`identities` of posthaste.yaml",
            Kind::Segment => "campaigns/segments/",
            Kind::Campaign => "campaigns/",
            Kind::Category => "`categories` of posthaste.yaml",
            Kind::Catalog => "`catalogs` of posthaste.yaml",
            Kind::Coupon => "`coupons` of posthaste.yaml",
            Kind::Event => "`events` of posthaste.yaml",
            Kind::Attribute => "`attributes` of posthaste.yaml",
        }
    }
}

/// What may stand under a key.
#[derive(Debug)]
pub enum Shape {
    /// Any text, not empty.
    Text,
    /// A text, or one for each language of the workspace.
    Words,
    /// `lower-case-with-hyphens`, at most 64.
    Key,
    /// `lower_case`, with a dot for what is inside.
    Name,
    Email,
    /// `https://…`
    Url,
    Host,
    Duration,
    /// A date-time, local or with an offset.
    DateTime,
    Date,
    DateOrDateTime,
    Share,
    Money,
    /// The price of a currency's unit, in the workspace's currency.
    Price,
    Rate,
    Whole {
        least: u64,
        most: u64,
    },
    Boolean,
    Language,
    Country,
    Zone,
    Currency,
    /// A text that must be written as `"${NAME}"`.
    Secret,
    /// `day at 10:00`
    Every,
    /// Five fields
    Cron,
    /// Six or seven fields
    Quartz,
    /// A date, or a range of dates.
    Dates,
    /// `21:00 to 09:00`
    Hours,
    /// `sunday`, `monday to friday`
    Weekdays,
    /// `10:00`
    Time,
    Word(&'static Choice),
    Reference(Kind),
    List(&'static Shape),
    /// One, or a list of them.
    OneOrList(&'static Shape),
    Map(&'static Table),
    /// A mapping with free keys.
    Each(&'static Shape, &'static Shape),
    /// The first that fits what is written; told apart by value, list or mapping, then in order.
    Either(&'static [Shape]),
    /// A provider: its own keys go by its `kind`.
    Provider,
    /// The type of an attribute or property.
    Type,
    Condition,
    /// Tests of an event's properties.
    Properties,
    /// `content`: any data.
    Content,
    /// Checked elsewhere, or not at all.
    Anything,
}

impl Shape {
    /// In a marketer's words: `a duration, like 3 days`.
    pub fn example(&self) -> String {
        match self {
            Shape::Text => "a text".into(),
            Shape::Words => "a text, or one for each language: { uk: \"…\", en: \"…\" }".into(),
            Shape::Key => "a word in lower-case-with-hyphens".into(),
            Shape::Name => "a name in lower_case".into(),
            Shape::Email => "an email address".into(),
            Shape::Url => "an address like https://shop.example".into(),
            Shape::Host => "a host like shop.example".into(),
            Shape::Duration => "a duration like `3 days`".into(),
            Shape::DateTime => "a date-time like `2027-03-01 10:00`".into(),
            Shape::Date => "a date like `2027-03-01`".into(),
            Shape::DateOrDateTime => "a date like `2027-03-01`, or a date-time".into(),
            Shape::Share => "a percentage like `10%`".into(),
            Shape::Money => "an amount like `500 UAH`".into(),
            Shape::Price => "a price like `48.20 UAH`".into(),
            Shape::Rate => "a rate like `300 per minute`".into(),
            Shape::Whole { least, most: u64::MAX } => format!("a whole number from {least}"),
            Shape::Whole { least, most } => format!("a whole number from {least} to {most}"),
            Shape::Boolean => "`true` or `false`".into(),
            Shape::Language => "a language's code like `uk`".into(),
            Shape::Country => "a country's code like `UA`".into(),
            Shape::Zone => "a time zone like `Europe/Kyiv`".into(),
            Shape::Currency => "a currency's code like `UAH`".into(),
            Shape::Secret => "the name of a secret like \"${SMTP_PASSWORD}\"".into(),
            Shape::Every => "a repetition like `day at 10:00`".into(),
            Shape::Cron => "five fields like \"0 10 * * MON\"".into(),
            Shape::Quartz => "six or seven fields like \"0 0 10 ? * MON#1\"".into(),
            Shape::Hours => "hours like `21:00 to 09:00`".into(),
            Shape::Weekdays => "days like `sunday` or `monday to friday`".into(),
            Shape::Time => "a time of day like `10:00`".into(),
            Shape::Dates => "a date like `2027-12-24`, or `2027-12-24 to 2027-12-26`".into(),
            Shape::Word(choice) => format!("one of {}", quoted(choice.words.iter().copied())),
            Shape::Reference(kind) => format!("the name of a {}", kind.word()),
            Shape::List(item) => format!("a list: [ … ], each {}", item.example()),
            Shape::OneOrList(item) => format!("{}, or a list of them", item.example()),
            Shape::Map(table) => {
                format!("a mapping with {}", quoted(table.fields.iter().filter(|f| f.later.is_none()).take(6).map(|f| f.key)))
            }
            Shape::Each(_, value) => format!("a mapping, under each name {}", value.example()),
            Shape::Either(shapes) => shapes.iter().map(Shape::example).collect::<Vec<_>>().join("; or "),
            Shape::Provider => "a provider like { channel: email, kind: smtp, host: smtp.relay.example }".into(),
            Shape::Type => "a type: text, number, money, boolean, date, datetime, a catalog, [ type ] or { name: type }".into(),
            Shape::Condition => "a condition like { attribute: city, is: Kyiv }".into(),
            Shape::Properties => "properties of the event like { page: cart }".into(),
            Shape::Content => "data for the template like { discount: 20% }".into(),
            Shape::Anything => "a value".into(),
        }
    }
}

/// "`a`, `b` and `c`"
pub fn quoted<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match words.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
