//! Providers: what all have, and each kind's own keys.

use super::super::fields::{Choice, Shape, Table, optional, required};
use super::CHANNEL;
use crate::types::Channel;

static KIND: Choice = Choice {
    what: "kind of provider",
    words: &["smtp", "twilio", "http", "catcher"],
    later: &["ses", "sendgrid", "mailgun", "postmark", "turbosms", "vonage", "smpp", "folder", "webhook"],
};

/// The keys of every provider; what else stands there is checked by [`of_kind`].
pub static PROVIDER: Table = Table {
    name: "a provider",
    fields: &[
        required("channel", Shape::Word(&CHANNEL), "The channel that it serves"),
        required("kind", Shape::Word(&KIND), "What it is"),
        optional("rate", Shape::Rate, "none", "How fast it may be used"),
        optional(
            "price",
            Shape::Either(&[Shape::Money, Shape::Each(&Shape::Anything, &Shape::Money)]),
            "",
            "Price of a message or an SMS part, or one for each country: { UA: 0.85 UAH, other: 3 UAH }",
        ),
        optional("countries", Shape::List(&Shape::Country), "all", "Only for addresses in these countries"),
        optional("weight", Shape::Whole { least: 0, most: 1000 }, "1", "Share of the messages among providers of one channel"),
        optional("backup", Shape::Boolean, "false", "Used only when the others cannot"),
    ],
};

/// The own keys of a kind.
pub fn of_kind(kind: &str) -> Option<&'static Table> {
    match kind {
        "smtp" => Some(&SMTP),
        "twilio" => Some(&TWILIO),
        "http" => Some(&HTTP),
        "catcher" => Some(&CATCHER),
        _ => None,
    }
}

/// All kinds that are built, with their tables.
pub fn kinds() -> impl Iterator<Item = (&'static str, &'static Table)> {
    KIND.words.iter().filter_map(|kind| Some((*kind, of_kind(kind)?)))
}

static SECURITY: Choice = Choice { what: "security", words: &["starttls", "tls", "none"], later: &[] };

static SMTP: Table = Table {
    name: "an smtp provider",
    fields: &[
        required("host", Shape::Text, "Host of the relay"),
        optional("port", Shape::Whole { least: 1, most: 65_535 }, "587; with tls 465; with none 25", "Port of the relay"),
        optional("user", Shape::Text, "none", "User name"),
        optional("password", Shape::Secret, "none", "Password, as \"${NAME}\""),
        optional("security", Shape::Word(&SECURITY), "starttls", "starttls, tls from the first byte, or none"),
        optional("connections", Shape::Whole { least: 1, most: 1000 }, "10", "Open connections at most"),
    ],
};

static TWILIO: Table = Table {
    name: "a twilio provider",
    fields: &[
        required("account", Shape::Text, "Account SID"),
        required("token", Shape::Secret, "Auth token, as \"${NAME}\""),
        optional("from", Shape::Text, "the identity's sender", "Sender for all messages"),
        optional("messaging_service", Shape::Text, "none", "SID of a messaging service that chooses the sender"),
        optional("url", Shape::Url, "https://api.twilio.com", "Base address"),
        optional("connections", Shape::Whole { least: 1, most: 1000 }, "10", "Requests under way at most"),
    ],
};

static METHOD: Choice = Choice { what: "method", words: &["POST", "PUT", "GET"], later: &[] };

static HTTP: Table = Table {
    name: "an http provider",
    fields: &[
        required("url", Shape::Text, "Address of the request; a template"),
        optional("method", Shape::Word(&METHOD), "POST", "Method of the request"),
        optional("headers", Shape::Each(&Shape::Anything, &Shape::Text), "none", "Headers; secrets as \"${NAME}\""),
        optional("body", Shape::Text, "none", "Body of the request; a template"),
        optional("id", Shape::Text, "none", "Path of the message's id in the JSON answer"),
        optional("accepted", ANSWER_SHAPE, "2xx", "Answers that mean: taken"),
        optional("later", ANSWER_SHAPE, "429 and 5xx", "Answers that mean: try again"),
        optional("refused", ANSWER_SHAPE, "other 4xx", "Answers that mean: not to this person"),
        optional("broken", ANSWER_SHAPE, "401, 402 and 403", "Answers that mean: this provider cannot send"),
        optional("connections", Shape::Whole { least: 1, most: 1000 }, "10", "Requests under way at most"),
    ],
};

const ANSWER_SHAPE: Shape = Shape::Either(&[Shape::Text, Shape::List(&Shape::Anything), Shape::Map(&ANSWER)]);

static ANSWER: Table = Table {
    name: "a match of answers",
    fields: &[
        optional("status", Shape::OneOrList(&Shape::Text), "any", "Status codes like 200 or 2xx"),
        optional("body", Shape::OneOrList(&Shape::Text), "any", "Words that the answer contains"),
        optional("path", Shape::Text, "none", "Path in the JSON answer"),
        optional("is", Shape::OneOrList(&Shape::Text), "none", "Values that it has there"),
    ],
};

static CATCHER: Table = Table {
    name: "a catcher",
    fields: &[
        optional("address", Shape::Text, "the built-in catcher's", "Address of a running catcher: HOST:PORT or an address"),
        optional("connections", Shape::Whole { least: 1, most: 1000 }, "10", "Connections at most"),
    ],
};

/// The one channel that a kind serves; `None` when it serves any.
pub fn only_channel(kind: &str) -> Option<Channel> {
    match kind {
        "smtp" => Some(Channel::Email),
        "twilio" => Some(Channel::Sms),
        _ => None,
    }
}
