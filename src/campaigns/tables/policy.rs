//! `policy` of posthaste.yaml (files.md §2).

use super::super::fields::{Choice, Field, Kind, Shape, Table, optional, required};
use super::{CHANNEL, CLASS};

pub static POLICY: Table = Table {
    name: "the policy",
    fields: &[
        optional(
            "consent",
            Shape::List(&Shape::Map(&CONSENT_RULE)),
            "advertising granted, informational not_withdrawn, transactional none",
            "What consent is needed; every rule that matches holds, the strictest wins",
        ),
        optional("caps", Shape::List(&Shape::Map(&CAP_RULE)), "none", "How many messages a customer gets at most"),
        optional("quiet_hours", Shape::List(&Shape::Map(&QUIET_RULE)), "none", "Hours and days without messages, in the person's zone"),
        optional(
            "holidays",
            Shape::Each(&Shape::Country, &Shape::OneOrList(&Shape::Dates)),
            "none",
            "Holidays by country: { FR: [ 2027-05-01 ] }",
        ),
        optional("blackout", Shape::OneOrList(&Shape::Dates), "none", "Dates without advertising, in the person's zone"),
        optional("holdout", Shape::Share, "0%", "Share of all customers who get no advertising from any campaign"),
        optional(
            "stop_if",
            Shape::Map(&STOP_IF),
            "complaints 0.3%, hard_bounces 5%",
            "When a run of any campaign is held until a person has looked",
        ),
        optional("approval", Shape::Map(&APPROVAL), "never", "When a second person must agree: { class: advertising, above: 10000 }"),
    ],
};

static APPROVAL: Table = Table {
    name: "`approval`",
    fields: &[
        optional("class", Shape::OneOrList(&Shape::Word(&CLASS)), "all", "Only for campaigns of this class"),
        required("above", super::ANY_NUMBER, "Runs of more messages than this"),
    ],
};

/// Of the policy and of a campaign.
pub static STOP_IF: Table = Table {
    name: "`stop_if`",
    fields: &[
        optional("audience_below", super::ANY_NUMBER, "", "Fewer people are selected than this"),
        optional("audience_above", super::ANY_NUMBER, "", "More people are selected than this"),
        optional("complaints", Shape::Share, "0.3%", "Share of complaints in what was delivered, from 500 on"),
        optional("hard_bounces", Shape::Share, "5%", "Share of addresses that do not exist in what was tried, from 500 on"),
        optional("unsubscribes", Shape::Share, "", "Share of unsubscribes in what was delivered, from 500 on"),
        optional("failures", Shape::Share, "", "Share of failures in what was tried, from 500 on"),
    ],
};

/// The keys that narrow a rule, and those of its own.
macro_rules! rule_fields {
    ($($more:expr),* $(,)?) => {
        &[
            optional("class", Shape::OneOrList(&Shape::Word(&CLASS)), RULE_CLASS, "Only for campaigns of this class"),
            optional("channel", Shape::OneOrList(&Shape::Word(&CHANNEL)), "all", "Only on this channel"),
            optional("topic", Shape::OneOrList(&Shape::Reference(Kind::Topic)), "all", "Only for this topic"),
            optional("category", Shape::OneOrList(&Shape::Reference(Kind::Category)), "all", "Only for campaigns of this category"),
            optional("tag", Shape::OneOrList(&Shape::Key), "all", "Only for campaigns with this tag"),
            optional("country", Shape::OneOrList(&Shape::Country), "all", "Only for customers in this country"),
            $($more,)*
        ]
    };
}

static NEED: Choice = Choice { what: "need", words: &["none", "not_withdrawn", "granted", "confirmed"], later: &[] };

static CONSENT_RULE: Table = {
    const RULE_CLASS: &str = "all";
    static FIELDS: &[Field] = rule_fields![required("needs", Shape::Word(&NEED), "What consent is needed")];
    Table { name: "a consent rule", fields: FIELDS }
};

const RULE_CLASS: &str = "advertising and informational";

static PER: Choice = Choice { what: "calendar window", words: &["day", "week", "month"], later: &[] };
static IF_REACHED: Choice = Choice { what: "answer to `if_reached`", words: &["refuse", "otherwise"], later: &[] };

static WAIT: Table =
    Table { name: "`if_reached`", fields: &[required("wait", Shape::Duration, "How long a message waits for room at most")] };

static CAP_FIELDS: &[Field] = rule_fields![
    required("at_most", Shape::Whole { least: 0, most: 1_000_000 }, "So many messages"),
    optional("per", Shape::Word(&PER), "", "day, week or month, by the calendar in the person's zone"),
    optional("in", Shape::Duration, "", "Any time so long: 7 days"),
    optional(
        "if_reached",
        Shape::Either(&[Shape::Word(&IF_REACHED), Shape::Map(&WAIT)]),
        "refuse",
        "refuse, otherwise (the message's other channel) or { wait: 2 days }"
    ),
];

static CAP_RULE: Table = Table { name: "a cap", fields: CAP_FIELDS };

/// The word for the days under `holidays`.
pub static HOLIDAYS: Choice = Choice { what: "day", words: &["holidays"], later: &[] };

static QUIET_FIELDS: &[Field] = rule_fields![
    optional("hours", Shape::Hours, "the whole day", "From when to when: 21:00 to 09:00"),
    optional(
        "days",
        Shape::OneOrList(&Shape::Either(&[Shape::Word(&HOLIDAYS), Shape::Weekdays])),
        "every day",
        "On which days: [ sunday, holidays ]"
    ),
    optional("release", Shape::Duration, "at once", "Over how long what waited is spread: 30 minutes"),
];

static QUIET_RULE: Table = Table { name: "quiet hours", fields: QUIET_FIELDS };
