//! mappings/NAME.yaml (files.md §2).

use super::super::fields::{Choice, Shape, Table, optional, required};

static FOR: Choice = Choice { what: "kind of import", words: &["customers", "events", "consents", "suppressions"], later: &[] };

pub static MAPPING: Table = Table {
    name: "a mapping",
    fields: &[
        required("mapping", Shape::Key, "The file's name"),
        required("for", Shape::Word(&FOR), "customers, events, consents or suppressions"),
        required("columns", Shape::Each(&Shape::Anything, &Shape::Text), "Column of the file → what it is: { \"E-mail\": email }"),
        optional("dates", Shape::Text, "YYYY-MM-DD", "How dates are written: \"DD.MM.YYYY\""),
        optional("true_is", Shape::List(&Shape::Text), "true", "What means yes: [ \"да\", \"+\", \"1\" ]"),
        optional("set", Shape::Each(&Shape::Name, &Shape::Text), "nothing", "Values for what the file lacks: { country: UA }"),
    ],
};
