//! `policy` of posthaste.yaml (files.md §2): whom not to disturb, as written and checked.
//!
//! Every rule that matches holds, their order means nothing, and the strictest wins; how they are asked is `crate::policy`'s.

use super::part::Part;
use super::tables::policy::HOLIDAYS;
use crate::diagnostics::Problems;
use crate::literals::{DateRange, Duration, HourRange, Share, WeekdayRange};
use crate::types::{Channel, Class, ConsentState};
use crate::yaml::Node;
use std::collections::BTreeMap;

/// The contact policy.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Defaults of files.md §2 are added when the file says nothing for a class.
    pub consent: Vec<ConsentRule>,
    pub caps: Vec<CapRule>,
    pub quiet_hours: Vec<QuietRule>,
    /// Country → its holidays.
    pub holidays: BTreeMap<String, Vec<DateRange>>,
    /// Dates without advertising.
    pub blackout: Vec<DateRange>,
    /// Share of all customers who get no advertising from any campaign.
    pub holdout: Share,
    /// For every campaign.
    pub stop_if: StopIf,
    pub approval: Option<Approval>,
}

/// When somebody other than the one who applied a campaign must agree before a run of it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Empty: all.
    pub class: Vec<Class>,
    /// More messages in a run than this.
    pub above: u64,
}

/// What holds a run until a person has looked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StopIf {
    /// People selected.
    pub audience_below: Option<u64>,
    pub audience_above: Option<u64>,
    /// Shares of what was delivered, from 500 on.
    pub complaints: Option<Share>,
    pub hard_bounces: Option<Share>,
    pub unsubscribes: Option<Share>,
    pub failures: Option<Share>,
}

impl StopIf {
    /// Where nothing is written.
    pub const ALWAYS: StopIf = StopIf {
        audience_below: None,
        audience_above: None,
        complaints: Some(Share(30)),
        hard_bounces: Some(Share(500)),
        unsubscribes: None,
        failures: None,
    };

    pub fn read(part: Option<Part<'_>>) -> Self {
        let Some(part) = part else { return StopIf::default() };
        StopIf {
            audience_below: part.whole("audience_below"),
            audience_above: part.whole("audience_above"),
            complaints: part.share("complaints"),
            hard_bounces: part.share("hard_bounces"),
            unsubscribes: part.share("unsubscribes"),
            failures: part.share("failures"),
        }
    }

    /// What is written here, else there.
    pub fn or(self, other: Self) -> Self {
        StopIf {
            audience_below: self.audience_below.or(other.audience_below),
            audience_above: self.audience_above.or(other.audience_above),
            complaints: self.complaints.or(other.complaints),
            hard_bounces: self.hard_bounces.or(other.hard_bounces),
            unsubscribes: self.unsubscribes.or(other.unsubscribes),
            failures: self.failures.or(other.failures),
        }
    }

    /// Both hold: the stricter of the two counts.
    pub fn and(self, other: Self) -> Self {
        let least = |one: Option<Share>, two: Option<Share>| [one, two].into_iter().flatten().min();
        StopIf {
            audience_below: self.audience_below.max(other.audience_below),
            audience_above: [self.audience_above, other.audience_above].into_iter().flatten().min(),
            complaints: least(self.complaints, other.complaints),
            hard_bounces: least(self.hard_bounces, other.hard_bounces),
            unsubscribes: least(self.unsubscribes, other.unsubscribes),
            failures: least(self.failures, other.failures),
        }
    }
}

#[derive(Debug, Clone)]
pub struct ConsentRule {
    pub narrowed: Narrowed,
    pub needs: ConsentNeed,
}

/// From weakest to strictest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConsentNeed {
    None,
    NotWithdrawn,
    Granted,
    Confirmed,
}

impl ConsentNeed {
    /// Whether this state of consent is enough.
    pub fn is_met_by(self, state: Option<ConsentState>) -> bool {
        match self {
            ConsentNeed::None => true,
            ConsentNeed::NotWithdrawn => !matches!(state, Some(ConsentState::Withdrawn | ConsentState::Objected)),
            ConsentNeed::Granted => matches!(state, Some(ConsentState::Granted | ConsentState::Confirmed)),
            ConsentNeed::Confirmed => state == Some(ConsentState::Confirmed),
        }
    }
}

/// At most so many messages in a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapRule {
    pub narrowed: Narrowed,
    pub at_most: u32,
    pub window: CapWindow,
    pub if_reached: IfReached,
}

/// The time over which a cap counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CapWindow {
    /// By the calendar in the person's zone; weeks begin on Monday.
    Day,
    Week,
    Month,
    /// Any time so long.
    Sliding(Duration),
}

/// What becomes of a message for which a cap has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfReached {
    /// Waits for room, at most so long.
    Wait(Duration),
    /// Goes by the message's `otherwise`, where there is room on its channel.
    Otherwise,
    Refuse,
}

/// When nothing is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuietRule {
    pub narrowed: Narrowed,
    /// The whole day where there are none. Hours that pass midnight belong to the day on which they begin.
    pub hours: Option<HourRange>,
    /// Every day where there are none.
    pub days: Vec<QuietDay>,
    /// Over how long what waited is spread.
    pub release: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuietDay {
    Weekdays(WeekdayRange),
    /// Of the person's country.
    Holidays,
}

/// To what a policy rule applies; an empty list means everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Narrowed {
    pub class: Vec<Class>,
    pub channel: Vec<Channel>,
    pub topic: Vec<String>,
    pub category: Vec<String>,
    pub tag: Vec<String>,
    pub country: Vec<String>,
}

/// Reads what stands under `policy`; `None`: nothing does.
pub fn read(part: Option<Part<'_>>, problems: &mut Problems) -> Policy {
    let Some(part) = part else {
        return Policy { consent: with_defaults(Vec::new()), stop_if: StopIf::ALWAYS, ..Policy::default() };
    };
    let inner = |node| Part { file: part.file, node };
    if part.items("caps").len() > MOST_CAPS {
        problems.push(
            part.problem(part.key_span("caps"), format!("more than {MOST_CAPS} caps"))
                .label("so many cannot be told apart")
                .help("put those together that differ only in channels, topics or countries: they may be lists"),
        );
    }
    let quiet_hours: Vec<QuietRule> = part.items("quiet_hours").iter().filter_map(|node| quiet_rule(inner(node), part, problems)).collect();
    Policy {
        consent: with_defaults(part.items("consent").iter().filter_map(|node| consent_rule(inner(node))).collect()),
        caps: part.items("caps").iter().filter_map(|node| cap_rule(inner(node), problems)).collect(),
        holidays: part.entries("holidays").map(|(country, _, node)| (country.to_string(), dates(node))).collect(),
        blackout: part.get("blackout").map(dates).unwrap_or_default(),
        holdout: part.share("holdout").unwrap_or(Share(0)),
        stop_if: StopIf::read(part.inner("stop_if")).or(StopIf::ALWAYS),
        quiet_hours,
        approval: part.inner("approval").and_then(|approval| {
            Some(Approval {
                class: approval.texts("class").iter().filter_map(|word| Class::from_word(word)).collect(),
                above: approval.whole("above")?,
            })
        }),
    }
}

fn dates(node: &Node) -> Vec<DateRange> {
    let items = node.list().unwrap_or(std::slice::from_ref(node));
    items.iter().filter_map(Node::text).filter_map(|text| DateRange::read(text).ok()).collect()
}

fn narrowed(rule: Part<'_>) -> Narrowed {
    Narrowed {
        class: rule.texts("class").iter().filter_map(|word| Class::from_word(word)).collect(),
        channel: rule.texts("channel").iter().filter_map(|word| Channel::from_word(word)).collect(),
        topic: rule.texts("topic"),
        category: rule.texts("category"),
        tag: rule.texts("tag"),
        country: rule.texts("country"),
    }
}

/// Caps and quiet hours without `class` spare transactional messages.
fn sparing(mut narrowed: Narrowed) -> Narrowed {
    if narrowed.class.is_empty() {
        narrowed.class = vec![Class::Advertising, Class::Informational];
    }
    narrowed
}

fn consent_rule(rule: Part<'_>) -> Option<ConsentRule> {
    let needs = match rule.text("needs")? {
        "none" => ConsentNeed::None,
        "not_withdrawn" => ConsentNeed::NotWithdrawn,
        "granted" => ConsentNeed::Granted,
        "confirmed" => ConsentNeed::Confirmed,
        _ => return None,
    };
    Some(ConsentRule { narrowed: narrowed(rule), needs })
}

fn cap_rule(rule: Part<'_>, problems: &mut Problems) -> Option<CapRule> {
    let window = match (rule.text("per"), rule.duration("in")) {
        (Some("day"), None) => CapWindow::Day,
        (Some("week"), None) => CapWindow::Week,
        (Some("month"), None) => CapWindow::Month,
        (None, Some(duration)) => CapWindow::Sliding(duration),
        (None, None) if !rule.has("per") && !rule.has("in") => {
            problems.push(rule.problem(rule.start(), "the cap has no window").label("over what time does it count?").help(
                "write `per: day`, `per: week` or `per: month` (by the calendar in the person's zone), or `in: 7 days` (any 7 days)",
            ));
            return None;
        }
        (Some(_), Some(_)) => {
            problems.push(
                rule.problem(rule.key_span("in"), "a cap has `per` or `in`, not both")
                    .label("the second one")
                    .help("keep one of them; every rule holds, so make two rules where both are meant"),
            );
            return None;
        }
        _ => return None,
    };
    if let CapWindow::Sliding(duration) = window
        && duration.seconds() > LONGEST_CAP_DAYS * 86_400
    {
        problems.push(
            rule.problem(rule.span("in"), format!("a cap counts over {LONGEST_CAP_DAYS} days at most"))
                .label("longer than that")
                .help("take a shorter time"),
        );
        return None;
    }
    let if_reached = match (rule.text("if_reached"), rule.inner("if_reached")) {
        (Some("otherwise"), _) => IfReached::Otherwise,
        (None, Some(inner)) => IfReached::Wait(inner.duration("wait")?),
        _ => IfReached::Refuse,
    };
    Some(CapRule { narrowed: sparing(narrowed(rule)), at_most: u32::try_from(rule.whole("at_most")?).ok()?, window, if_reached })
}

/// So many caps a policy may have.
pub const MOST_CAPS: usize = 64;
/// How far back a cap may look.
pub const LONGEST_CAP_DAYS: i64 = 366;

fn quiet_rule(rule: Part<'_>, policy: Part<'_>, problems: &mut Problems) -> Option<QuietRule> {
    if !rule.has("hours") && !rule.has("days") {
        problems.push(
            rule.problem(rule.start(), "quiet hours need `hours` or `days`")
                .label("when is it quiet?")
                .help("write `hours: 21:00 to 09:00`, `days: [ sunday, holidays ]`, or both"),
        );
        return None;
    }
    let mut days = Vec::new();
    for node in rule.items("days") {
        let text = node.text()?;
        if !HOLIDAYS.words.contains(&text) {
            days.push(QuietDay::Weekdays(WeekdayRange::read(text).ok()?));
            continue;
        }
        if !policy.has("holidays") {
            problems.push(
                rule.problem(node.span, "no holidays are written")
                    .warning()
                    .label("means the dates under `holidays`")
                    .help("add them to `policy`: holidays: { FR: [ 2027-05-01 ] }"),
            );
        }
        days.push(QuietDay::Holidays);
    }
    let hours = match rule.text("hours") {
        Some(text) => Some(HourRange::read(text).ok()?),
        None => None,
    };
    Some(QuietRule { narrowed: sparing(narrowed(rule)), hours, days, release: rule.duration("release") })
}

/// Adds the default of each class for which no rule speaks in every case.
fn with_defaults(mut rules: Vec<ConsentRule>) -> Vec<ConsentRule> {
    for (class, needs) in [
        (Class::Advertising, ConsentNeed::Granted),
        (Class::Informational, ConsentNeed::NotWithdrawn),
        (Class::Transactional, ConsentNeed::None),
    ] {
        let speaks = |rule: &ConsentRule| {
            let Narrowed { class: classes, channel, topic, category, tag, country } = &rule.narrowed;
            (classes.is_empty() || classes.contains(&class))
                && channel.is_empty()
                && topic.is_empty()
                && category.is_empty()
                && tag.is_empty()
                && country.is_empty()
        };
        if !rules.iter().any(speaks) {
            rules.push(ConsentRule { narrowed: Narrowed { class: vec![class], ..Narrowed::default() }, needs });
        }
    }
    rules
}
