//! Providers: what all have, and each kind's own keys.

mod email;
mod sms;

use super::super::fields::{Choice, Field, Shape, Table, optional, required};
use super::CHANNEL;
use crate::types::Channel;

static KIND: Choice = Choice {
    what: "kind of provider",
    words: &[
        "smtp",
        "ses",
        "sendgrid",
        "mailgun",
        "postmark",
        "sparkpost",
        "brevo",
        "twilio",
        "vonage",
        "messagebird",
        "bird",
        "plivo",
        "smsc",
        "smsru",
        "turbosms",
        "smpp",
        "http",
        "webhook",
        "catcher",
    ],
    later: &["folder"],
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
        optional(
            "stop_reply",
            Shape::Words,
            "none",
            "Of sms: what is sent back once to who writes STOP, where the provider itself sends nothing",
        ),
        optional(
            "help_reply",
            Shape::Words,
            "none",
            "Of sms: what is sent back to who writes HELP, where the provider itself sends nothing",
        ),
        optional("webhooks", Shape::Map(&super::webhooks::WEBHOOKS), "none", "How what it tells us is checked"),
    ],
};

/// What there is of a kind.
struct Kind {
    word: &'static str,
    /// The one channel that it serves; `None`: any.
    channel: Option<Channel>,
    table: &'static Table,
}

static KINDS: [Kind; 19] = [
    Kind { word: "smtp", channel: Some(Channel::Email), table: &email::SMTP },
    Kind { word: "ses", channel: Some(Channel::Email), table: &email::SES },
    Kind { word: "sendgrid", channel: Some(Channel::Email), table: &email::SENDGRID },
    Kind { word: "mailgun", channel: Some(Channel::Email), table: &email::MAILGUN },
    Kind { word: "postmark", channel: Some(Channel::Email), table: &email::POSTMARK },
    Kind { word: "sparkpost", channel: Some(Channel::Email), table: &email::SPARKPOST },
    Kind { word: "brevo", channel: Some(Channel::Email), table: &email::BREVO },
    Kind { word: "twilio", channel: Some(Channel::Sms), table: &sms::TWILIO },
    Kind { word: "vonage", channel: Some(Channel::Sms), table: &sms::VONAGE },
    Kind { word: "messagebird", channel: Some(Channel::Sms), table: &sms::MESSAGEBIRD },
    Kind { word: "bird", channel: Some(Channel::Sms), table: &sms::BIRD },
    Kind { word: "plivo", channel: Some(Channel::Sms), table: &sms::PLIVO },
    Kind { word: "smsc", channel: Some(Channel::Sms), table: &sms::SMSC },
    Kind { word: "smsru", channel: Some(Channel::Sms), table: &sms::SMSRU },
    Kind { word: "turbosms", channel: Some(Channel::Sms), table: &sms::TURBOSMS },
    Kind { word: "smpp", channel: Some(Channel::Sms), table: &sms::SMPP },
    Kind { word: "http", channel: Some(Channel::Sms), table: &sms::HTTP },
    Kind { word: "webhook", channel: Some(Channel::Webhook), table: &WEBHOOK },
    Kind { word: "catcher", channel: None, table: &CATCHER },
];

fn kind(word: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.word == word)
}

/// The own keys of a kind.
pub fn of_kind(word: &str) -> Option<&'static Table> {
    kind(word).map(|kind| kind.table)
}

/// Whether there is such a kind.
pub fn is_kind(word: &str) -> bool {
    kind(word).is_some()
}

/// All kinds that are built, with their tables.
pub fn kinds() -> impl Iterator<Item = (&'static str, &'static Table)> {
    KINDS.iter().map(|kind| (kind.word, kind.table))
}

/// The one channel that a kind serves; `None` when it serves any.
pub fn only_channel(word: &str) -> Option<Channel> {
    kind(word)?.channel
}

const CONNECTIONS: Shape = Shape::Whole { least: 1, most: 1000 };

const fn connections() -> Field {
    optional("connections", CONNECTIONS, "10", "Requests under way at most")
}
const fn timeout() -> Field {
    optional(
        "timeout",
        Shape::Duration,
        "60 seconds",
        "How long an answer is waited for; without one nobody knows whether the message was taken",
    )
}
const fn url(default: &'static str) -> Field {
    optional("url", Shape::Url, default, "Base address")
}

static WEBHOOK: Table = Table {
    name: "a webhook provider",
    fields: &[
        required("url", Shape::Url, "Where messages are posted"),
        required(
            "secret",
            Shape::OneOrList(&Shape::Secret),
            "What they are signed with, as \"${NAME}\": `whsec_` and 24 to 64 random bytes in base64; in a list the first is today's and all sign",
        ),
        connections(),
        timeout(),
    ],
};

static CATCHER: Table = Table {
    name: "a catcher",
    fields: &[
        optional("address", Shape::Text, "the built-in catcher's", "Where a catcher listens: HOST:PORT"),
        optional("connections", CONNECTIONS, "10", "Connections at most"),
    ],
};
