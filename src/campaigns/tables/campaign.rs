//! campaigns/KEY.yaml and campaigns/segments/KEY.yaml (files.md §3–4).

use super::super::fields::{Choice, Kind, Shape, Table, later, optional, required};
use super::{CLASS, message, policy, test};

static TASK: Choice = Choice { what: "task", words: &["acquire", "grow", "retain"], later: &[] };
static IF_INSIDE: Choice = Choice { what: "answer to `if_inside`", words: &["ignore", "restart", "separate"], later: &[] };
static RE_ENTRY: Choice = Choice { what: "`re_entry`", words: &["never", "always"], later: &[] };

pub static CAMPAIGN: Table = Table {
    name: "a campaign",
    fields: &[
        required("campaign", Shape::Key, "The file's name"),
        required("title", Shape::Words, "What people read in lists and reports"),
        required("owner", Shape::Email, "Email of who answers for it"),
        required("class", Shape::Word(&CLASS), "Which rules apply: advertising, informational or transactional"),
        optional("topic", Shape::Reference(Kind::Topic), "", "What customers consented to"),
        optional("category", Shape::Reference(Kind::Category), "", "Access scope"),
        optional("task", Shape::Word(&TASK), "", "acquire, grow or retain"),
        optional("goal", Shape::Map(&GOAL), "", "What counts as success: { event: purchase, value: amount, within: 7 days }"),
        optional("measures", Shape::List(&Shape::Map(&GOAL)), "none", "More of the same, also reported for each arm"),
        optional("priority", Shape::Whole { least: 0, most: 100 }, "50", "0–100, the higher wins under a cap"),
        optional("tags", Shape::List(&Shape::Key), "none", "Names for reports and rules"),
        optional("draft", Shape::Boolean, "false", "Checked, never applied"),
        required("schedule", Shape::Map(&SCHEDULE), "When"),
        optional("audience", Shape::Map(&AUDIENCE), "", "Who"),
        optional("message", Shape::Map(&message::MESSAGE), "", "What"),
        later("steps", "Several steps", "in this version a campaign sends one `message`; campaigns of several steps come later"),
        optional(
            "re_entry",
            Shape::Either(&[Shape::Word(&RE_ENTRY), Shape::Duration]),
            "always",
            "never, always, or how long since the last time that something was sent",
        ),
        optional(
            "if_inside",
            Shape::Word(&IF_INSIDE),
            "ignore",
            "With `when`, chosen again while a message waits: ignore, restart (the newest event) or separate",
        ),
        later("exit_on", "What ends a customer's way through the campaign", "it belongs to campaigns of several steps, which come later"),
        optional("variants", Shape::List(&Shape::Map(&message::VARIANT)), "none", "The arms of an experiment"),
        optional("variants_from", Shape::Reference(Kind::Attribute), "none", "The attribute whose values are the names of the arms"),
        later(
            "winner",
            "The best variant for the rest",
            "picking a winner comes with a later version; until then all variants go out by their weights",
        ),
        optional("limits", Shape::Map(&LIMITS), "none", "What cuts a run"),
        optional(
            "stop_if",
            Shape::Map(&policy::STOP_IF),
            "the policy's",
            "What holds a run until a person has looked; the stricter of this and the policy's",
        ),
        optional("tests", Shape::List(&Shape::Map(&test::TEST)), "none", "What `posthaste test` proves"),
    ],
};

static GOAL: Table = Table {
    name: "a goal",
    fields: &[
        required("event", Shape::Reference(Kind::Event), "What must happen"),
        optional("where", Shape::Properties, "", "Tests of its properties"),
        optional("value", Shape::Text, "", "The property with the money"),
        required("within", Shape::Duration, "How long after the due time it counts"),
        later("message", "A response as a goal", "goals on messages come with a later version; take an event"),
        later("step", "A step as a goal", "it belongs to campaigns of several steps, which come later"),
        later("consent", "A consent as a goal", "goals on consent come with a later version; take an event"),
        later("same", "The same value as the event that began it", "it belongs to campaigns that start by a trigger, which come later"),
    ],
};

static RUN_MISSED: Choice = Choice { what: "answer to `if_missed`", words: &["once", "skip", "all"], later: &[] };

static IF_MISSED: Table = Table {
    name: "`if_missed`",
    fields: &[
        optional("run", Shape::Word(&RUN_MISSED), "once", "once, skip or all"),
        optional("within", Shape::Duration, "1 day", "Nothing later than this"),
    ],
};

static RECIPIENT: Choice = Choice { what: "time zone", words: &["recipient"], later: &[] };
static IF_PAST: Choice = Choice { what: "answer to `if_past`", words: &["skip", "now", "next_day"], later: &[] };

static FEB29: Choice = Choice { what: "answer to `feb29`", words: &["feb28", "mar01"], later: &[] };
static IF_UNCHANGED: Choice = Choice { what: "answer to `if_unchanged`", words: &["send", "skip"], later: &[] };
static OVERLAP: Choice = Choice { what: "answer to `overlap`", words: &["forbid", "queue", "allow"], later: &[] };
/// `7` and `7 days`.
static DAYS: Shape = Shape::Either(&[Shape::Whole { least: 0, most: 366 }, Shape::Duration]);

static WINDOW: Table = Table {
    name: "a window",
    fields: &[
        optional("days", Shape::OneOrList(&Shape::Weekdays), "every day", "monday to friday, or a list"),
        optional("hours", Shape::Hours, "the whole day", "09:00 to 18:00"),
    ],
};

pub static SCHEDULE: Table = Table {
    name: "a schedule",
    fields: &[
        optional("at", Shape::DateTime, "", "Once: 2027-03-01 10:00"),
        optional("every", Shape::Every, "", "Again and again: day at 10:00"),
        optional("cron", Shape::Cron, "", "Five fields, as cron has them: \"0 10 * * MON\""),
        optional("quartz", Shape::Quartz, "", "Six or seven fields, as Quartz has them: \"0 0 10 ? * MON#1\""),
        optional("anniversary", Shape::Text, "", "A date attribute: each year on its day"),
        optional("date", Shape::Text, "", "A date attribute: once, on its day"),
        optional("when", Shape::Condition, "", "A trigger: at once, for each customer to whom it happens"),
        optional("time", Shape::Time, "10:00", "With `anniversary` or `date`: the time of day"),
        optional(
            "before",
            Shape::OneOrList(&DAYS),
            "on the day",
            "With `anniversary` or `date`: so many days before it, or a list of them",
        ),
        optional("after", Shape::OneOrList(&DAYS), "on the day", "With `anniversary` or `date`: so many days after it, or a list of them"),
        optional("feb29", Shape::Word(&FEB29), "feb28", "With `anniversary`: where 29 February goes in other years, feb28 or mar01"),
        optional(
            "zone",
            Shape::Either(&[Shape::Word(&RECIPIENT), Shape::Zone]),
            "the workspace's",
            "The time zone of all that stands here",
        ),
        optional("fallback_zone", Shape::Zone, "the workspace's", "With `zone: recipient`: of whose zone, country and phone say none"),
        optional("from", Shape::DateOrDateTime, "at once", "Nothing starts before"),
        optional("until", Shape::DateOrDateTime, "for ever", "Nothing starts after; the day itself is included"),
        optional("blackout", Shape::List(&Shape::Dates), "none", "Dates on which nothing starts: [ 2027-12-24 to 2027-12-26 ]"),
        optional(
            "windows",
            Shape::List(&Shape::Map(&WINDOW)),
            "always",
            "When messages may leave; they wait for one: [ { days: monday to friday, hours: 09:00 to 18:00 } ]",
        ),
        optional("spread", Shape::Duration, "none", "Over how long messages are spread evenly"),
        optional(
            "if_missed",
            Shape::Map(&IF_MISSED),
            "{ run: once, within: 1 day }",
            "What is done with what was missed while nothing ran",
        ),
        optional(
            "if_past",
            Shape::Word(&IF_PAST),
            "skip",
            "With `zone: recipient`, who is past the local time when it starts: skip, now or next_day",
        ),
        optional("if_unchanged", Shape::Word(&IF_UNCHANGED), "send", "Template and content are those of the run before: send or skip"),
        optional("overlap", Shape::Word(&OVERLAP), "forbid", "The run before still goes: forbid (left out), queue (waits) or allow"),
    ],
};

static ORDER_WORD: Choice = Choice { what: "order", words: &["random", "most_engaged"], later: &[] };

static ORDER: Table = Table {
    name: "an order",
    fields: &[
        optional("highest", Shape::Reference(Kind::Attribute), "", "Those with the highest value first"),
        optional("lowest", Shape::Reference(Kind::Attribute), "", "Those with the lowest value first"),
    ],
};

static HOLDOUT: Table = Table {
    name: "a hold-out",
    fields: &[
        required("attribute", Shape::Reference(Kind::Attribute), "The attribute that says who is held out"),
        required("is", Shape::Text, "Its value for those who are held out"),
    ],
};

pub static AUDIENCE: Table = Table {
    name: "an audience",
    fields: &[
        optional("segment", Shape::Reference(Kind::Segment), "everyone", "A named segment"),
        optional("where", Shape::Condition, "", "A condition"),
        optional(
            "except",
            Shape::List(&Shape::Either(&[Shape::Reference(Kind::Segment), Shape::Condition])),
            "nobody",
            "Segments or conditions of who is left out; asked again at each hand-over",
        ),
        optional("recheck", Shape::Boolean, "false", "Ask segment and where again at hand-over"),
        optional(
            "holdout",
            Shape::Either(&[Shape::Share, Shape::Map(&HOLDOUT)]),
            "0%; advertising must say it",
            "Who is kept out to measure what the campaign brings",
        ),
        optional(
            "order",
            Shape::Either(&[Shape::Word(&ORDER_WORD), Shape::Map(&ORDER)]),
            "random",
            "Who comes first under `limits.audience`",
        ),
    ],
};

static LIMITS: Table = Table {
    name: "`limits`",
    fields: &[
        optional("rate", Shape::Rate, "as fast as the providers allow", "How fast: 300 per minute, over all machines"),
        optional("audience", Shape::Whole { least: 1, most: 1_000_000_000 }, "all", "So many people at most in a run"),
        optional("cost", Shape::Money, "no limit", "So much a run may cost by the providers' prices; with `when`, a day"),
    ],
};

pub static SEGMENT: Table = Table {
    name: "a segment",
    fields: &[
        required("segment", Shape::Key, "The file's name"),
        required("title", Shape::Words, "What people read in lists"),
        required("where", Shape::Condition, "Who is in it"),
        optional("tests", Shape::List(&Shape::Map(&test::TEST)), "none", "What `posthaste test` proves"),
    ],
};
