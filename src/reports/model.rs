//! A campaign's report as one value: what the table, the JSON, the CSV and the page are all made from.
//!
//! The JSON keys of design.md §4 are a contract; more may be added, none is renamed. Money is in major units, one block a currency,
//! nothing converted. Rates are fractions, not percentages.

use crate::types::{Channel, Class, Time};
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub campaign: String,
    pub title: String,
    pub class: Class,
    pub as_of: Time,
    /// Numbers of the runs that are counted; test runs never are.
    pub runs: Vec<i32>,
    /// The first and the last due time of these runs.
    pub first_due: Option<Time>,
    pub last_due: Option<Time>,
    pub funnel: Funnel,
    pub responses: Responses,
    pub attributed: Vec<Attributed>,
    pub measures: Vec<MeasureReport>,
    pub variants: Vec<VariantReport>,
    pub links: Vec<LinkReport>,
    pub sites: Vec<SiteReport>,
    /// Human opens and clicks by hour, from the first due time on; hours without any are left out.
    pub hours: Vec<HourReport>,
    pub channels: Vec<ChannelReport>,
}

/// Selected = refused + messages; messages = waiting + held + uncertain + accepted + failed + expired + cancelled (design.md §6).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Funnel {
    pub selected: u64,
    /// By reason, in the order in which reasons are asked; the five first stand even at 0.
    pub refused: serde_json::Map<String, serde_json::Value>,
    pub messages: u64,
    pub waiting: u64,
    pub held: u64,
    pub uncertain: u64,
    pub accepted: u64,
    pub failed: u64,
    pub expired: u64,
    pub cancelled: u64,
    /// Of those accepted.
    pub bounced: u64,
    /// Accepted − bounced.
    pub delivered: u64,
    /// Receipts.
    pub confirmed: u64,
}

impl Funnel {
    pub fn refused_in_all(&self) -> u64 {
        self.refused.values().filter_map(serde_json::Value::as_u64).sum()
    }
    /// The sums of design.md §6.
    pub fn adds_up(&self) -> bool {
        let Funnel { waiting, held, uncertain, accepted, failed, expired, cancelled, .. } = self;
        self.selected == self.refused_in_all() + self.messages
            && self.messages == waiting + held + uncertain + accepted + failed + expired + cancelled
            && self.delivered == accepted - self.bounced.min(*accepted)
    }
}

/// `all` counts every hit, `human` all but those of machines, `unique` messages with at least one human hit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Hits {
    pub all: u64,
    pub human: u64,
    pub unique: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Responses {
    pub opens: Hits,
    pub clicks: Hits,
    pub unsubscribes: u64,
    pub complaints: u64,
    pub bounces: Bounces,
    pub replies: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Bounces {
    pub hard: u64,
    pub soft: u64,
    pub blocked: u64,
}

/// Credited to the last human click within the window; else to nothing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Attributed {
    pub event: String,
    pub conversions: u64,
    /// Of `value`; none where the event brings no money.
    pub currency: Option<String>,
    pub value: f64,
}

/// By intention to treat: everyone drawn, within the window from the due time, held-out people too.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MeasureReport {
    pub event: String,
    pub goal: bool,
    pub within_seconds: i64,
    pub currency: String,
    pub arms: Vec<Arm>,
    pub lifts: Vec<Lift>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Arm {
    /// `held_out` for those kept out, whatever the file calls them.
    pub arm: String,
    pub held_out: bool,
    pub customers: u64,
    pub converted: u64,
    pub rate: f64,
    pub value: f64,
    pub value_per_customer: f64,
}

/// 95 % intervals. `relative…` and their bounds are absent (null) where the reference is zero.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lift {
    pub arm: String,
    pub against: String,
    /// `rate` or `value_per_customer`.
    pub metric: String,
    pub difference: f64,
    pub low: f64,
    pub high: f64,
    pub relative: Option<f64>,
    pub relative_low: Option<f64>,
    pub relative_high: Option<f64>,
    pub p_value: f64,
}

impl Lift {
    /// Chance alone hardly gives so much: the interval does not touch zero.
    pub fn is_clear(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VariantReport {
    pub variant: String,
    pub messages: u64,
    pub delivered: u64,
    pub opens: Hits,
    pub clicks: Hits,
    pub unsubscribes: u64,
    pub complaints: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LinkReport {
    pub number: i32,
    pub target: String,
    pub clicks: Hits,
}

/// By mailbox site family: gmail, outlook, …, other.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SiteReport {
    pub site: String,
    pub messages: u64,
    pub delivered: u64,
    pub bounced: u64,
    pub opens_unique: u64,
    pub clicks_unique: u64,
    pub complaints: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HourReport {
    /// The hour's beginning.
    pub at: Time,
    pub opens: u64,
    pub clicks: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChannelReport {
    pub channel: Channel,
    pub messages: u64,
    pub accepted: u64,
}

/// A part of a whole; 0 of nothing is 0.
pub fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Names of refusals for people who read, not for machines.
pub fn refusal_in_words(word: &str) -> &'static str {
    match word {
        "no_address" => "has no address on the channel",
        "unsupported_address" => "has an address that cannot be reached",
        "duplicate_address" => "same address as somebody already in the run",
        "suppressed" => "address must not be sent to",
        "no_consent" => "has not agreed",
        "held_out" => "held out, to measure the lift",
        "past_local_time" => "local time had passed",
        "capped" => "had enough messages",
        "over_audience" => "above the audience limit",
        "over_cost" => "above the cost limit",
        "excluded" => "excluded meanwhile",
        "left_audience" => "left the audience meanwhile",
        "no_coupon" => "no coupon was left",
        "missing_data" => "a value for the text is missing",
        "by_template" => "the template said no",
        "erased" => "was erased",
        _ => "another reason",
    }
}

/// How many times each word; kept for the funnel's first five reasons.
pub fn refusals(counts: &BTreeMap<String, u64>) -> serde_json::Map<String, serde_json::Value> {
    let mut map = serde_json::Map::new();
    for refusal in crate::types::Refusal::ALL {
        let count = counts.get(refusal.word()).copied().unwrap_or(0);
        let always = matches!(refusal.word(), "no_address" | "suppressed" | "no_consent" | "held_out" | "capped");
        if always || count > 0 {
            map.insert(refusal.word().to_string(), count.into());
        }
    }
    map
}
