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
        optional("user", Shape::Text, "none", "User name; together with `password`"),
        optional("password", Shape::Secret, "none", "Password, as \"${NAME}\""),
        optional("security", Shape::Word(&SECURITY), "starttls; none on this machine", "starttls, tls from the first byte, or none"),
        optional("connections", CONNECTIONS, "10", "Open connections at most"),
        optional(
            "messages_per_connection",
            Shape::Whole { least: 1, most: 1_000_000 },
            "100",
            "Messages over one connection before it is closed",
        ),
        optional("hello", Shape::Host, "localhost", "The name by which we greet the relay"),
    ],
};

static TWILIO: Table = Table {
    name: "a twilio provider",
    fields: &[
        required("account", Shape::Text, "Account SID"),
        required("token", Shape::Secret, "Auth token, or the secret of `api_key`, as \"${NAME}\""),
        optional("api_key", Shape::Text, "the account", "SID of an API key"),
        optional("messaging_service", Shape::Text, "the identity's sender", "SID of a messaging service that chooses the sender"),
        optional("status_callback", Shape::Url, "none", "Where receipts are sent"),
        optional("url", Shape::Url, "https://api.twilio.com", "Base address"),
        optional("connections", CONNECTIONS, "10", "Requests under way at most"),
    ],
};

static METHOD: Choice = Choice { what: "method", words: &["POST", "PUT", "GET"], later: &[] };
static CONTENT_TYPE: Choice = Choice {
    what: "kind of body",
    words: &["application/json", "application/x-www-form-urlencoded", "application/xml", "text/xml", "text/plain"],
    later: &[],
};

const CONNECTIONS: Shape = Shape::Whole { least: 1, most: 1000 };
/// Values of the answer: `{ status: [ 200, 201 ], response_code: 0 }`.
const ANSWER: Shape = Shape::Each(&Shape::Anything, &Shape::OneOrList(&Shape::Text));

static HTTP: Table = Table {
    name: "an http provider",
    fields: &[
        required("url", Shape::Text, "Address of the request; {{to}}, {{text}}, {{sender}} and {{key}} are filled in"),
        optional("method", Shape::Word(&METHOD), "POST", "Method of the request"),
        optional("headers", Shape::Each(&Shape::Anything, &Shape::Text), "none", "Headers; secrets as \"${NAME}\""),
        optional("content_type", Shape::Word(&CONTENT_TYPE), "application/json", "Kind of the body; values are escaped for it"),
        optional("body", Shape::Text, "none", "Body of the request; {{to}}, {{to_digits}}, {{text}}, {{sender}} and {{key}} are filled in"),
        optional("id", Shape::Text, "none", "Path of the message's id in the JSON answer"),
        optional("accepted", ANSWER, "2xx", "Answers that mean: taken; { status: 200 } or a path in the answer"),
        optional("later", ANSWER, "429 and 5xx", "Answers that mean: try again"),
        optional("invalid", ANSWER, "none", "Answers that mean: there is no such number"),
        optional("refused", ANSWER, "other 4xx", "Answers that mean: not this message"),
        optional("broken", ANSWER, "401, 402 and 403", "Answers that mean: this provider cannot send"),
        optional("connections", CONNECTIONS, "10", "Requests under way at most"),
    ],
};

static CATCHER: Table = Table {
    name: "a catcher",
    fields: &[
        optional("address", Shape::Text, "the built-in catcher's", "Where a catcher listens: HOST:PORT"),
        optional("connections", CONNECTIONS, "10", "Connections at most"),
    ],
};

/// The one channel that a kind serves; `None` when it serves any.
pub fn only_channel(kind: &str) -> Option<Channel> {
    match kind {
        "smtp" => Some(Channel::Email),
        "twilio" | "http" => Some(Channel::Sms),
        _ => None,
    }
}
