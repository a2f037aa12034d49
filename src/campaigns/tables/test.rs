//! `tests:` of campaigns and segments (files.md §3).

use super::super::fields::{Choice, Shape, Table, later, optional, required};
use super::{ANY_NUMBER, CHANNEL};

pub static TEST: Table = Table {
    name: "a test",
    fields: &[
        required("name", Shape::Text, "What it proves"),
        required("at", Shape::DateTime, "Where the clock stands"),
        optional("run_for", Shape::Duration, "until what is due is done", "How long the clock runs"),
        required("people", Shape::Either(&[Shape::Text, Shape::List(&Shape::Anything)]), "Customers: a list, or a file under campaigns/"),
        optional(
            "events",
            Shape::Either(&[Shape::Text, Shape::List(&Shape::Anything)]),
            "none",
            "What happens: a list, or a file under campaigns/",
        ),
        optional("catalogs", Shape::Each(&Shape::Name, &Shape::List(&Shape::Anything)), "none", "Rows of catalogs"),
        optional(
            "arms",
            Shape::Each(&Shape::Anything, &Shape::Text),
            "drawn; nobody is held out",
            "Who is in which arm: { ada: gift, bo: held_out }",
        ),
        required("expect", Shape::Map(&EXPECT), "What must come out"),
    ],
};

pub static EXPECT: Table = Table {
    name: "`expect`",
    fields: &[
        optional("selected", ANY_NUMBER, "", "How many are in the audience"),
        optional("messages", ANY_NUMBER, "", "How many messages there are"),
        optional("waiting", ANY_NUMBER, "", "How many still wait"),
        optional("deferred", ANY_NUMBER, "", "How many of them wait by rule: quiet hours, a cap, warm-up"),
        optional("held", ANY_NUMBER, "", "How many wait for a person"),
        optional("uncertain", ANY_NUMBER, "", "How many are uncertain"),
        optional("accepted", ANY_NUMBER, "", "How many a provider took"),
        optional("failed", ANY_NUMBER, "", "How many failed"),
        optional("expired", ANY_NUMBER, "", "How many came too late"),
        optional("cancelled", ANY_NUMBER, "", "How many were cancelled"),
        optional("bounced", ANY_NUMBER, "", "How many came back"),
        optional("delivered", ANY_NUMBER, "", "How many were accepted and did not come back"),
        optional("confirmed", ANY_NUMBER, "", "How many have a receipt"),
        optional("refused", Shape::Each(&Shape::Word(&REFUSAL), &ANY_NUMBER), "", "How many get none, by reason"),
        later("exited", "How customers left", "it belongs to campaigns of several steps, which come later"),
        optional("members", Shape::List(&Shape::Text), "", "External ids of who is in the segment"),
        optional("not_to", Shape::Each(&Shape::Anything, &Shape::Word(&REFUSAL)), "", "Who gets none, and why: { bo: no_consent }"),
        optional(
            "to",
            Shape::Each(&Shape::Anything, &Shape::OneOrList(&Shape::Map(&EXPECTED_MESSAGE))),
            "",
            "What somebody gets, by external id, email or phone",
        ),
    ],
};

pub static REFUSAL: Choice = Choice {
    what: "reason of a refusal",
    words: &[
        "no_address",
        "unsupported_address",
        "duplicate_address",
        "suppressed",
        "no_consent",
        "held_out",
        "past_local_time",
        "capped",
        "over_audience",
        "over_cost",
        "excluded",
        "left_audience",
        "no_coupon",
        "missing_data",
        "by_template",
        "erased",
    ],
    later: &[],
};

static EXPECTED_MESSAGE: Table = Table {
    name: "an expected message",
    fields: &[
        later("step", "The step", "it belongs to campaigns of several steps, which come later"),
        optional("channel", Shape::Word(&CHANNEL), "", "Its channel"),
        optional("variant", Shape::Text, "", "Its variant"),
        optional("language", Shape::Language, "", "Its language"),
        optional("at", Shape::DateTime, "", "When it is due"),
        optional("subject", Shape::Text, "", "Its subject, exactly"),
        optional("preheader", Shape::Text, "", "Its preheader, exactly"),
        optional("contains", Shape::OneOrList(&Shape::Text), "", "Words that stand in it"),
        optional("lacks", Shape::OneOrList(&Shape::Text), "", "Words that do not stand in it"),
        optional("parts", Shape::Whole { least: 1, most: 255 }, "", "How many SMS parts it has"),
    ],
};
