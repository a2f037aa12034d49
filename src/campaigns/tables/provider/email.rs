//! Keys of the kinds that send email.

use super::super::super::fields::{Choice, Shape, Table, optional, required};
use super::{CONNECTIONS, connections, timeout, url};

static SECURITY: Choice = Choice { what: "security", words: &["starttls", "tls", "none"], later: &[] };

pub static SMTP: Table = Table {
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

pub static SES: Table = Table {
    name: "an ses provider",
    fields: &[
        required("region", Shape::Text, "Region of the account, like eu-west-1"),
        required("access_key", Shape::Text, "Access key's id"),
        required("secret_key", Shape::Secret, "Secret access key, as \"${NAME}\""),
        optional("session_token", Shape::Secret, "none", "Token of keys that are lent for a while, as \"${NAME}\""),
        optional("configuration_set", Shape::Text, "the account's", "Configuration set, for its events"),
        url("https://email.REGION.amazonaws.com"),
        connections(),
        timeout(),
    ],
};

static SENDGRID_REGION: Choice = Choice { what: "region", words: &["global", "eu"], later: &[] };

pub static SENDGRID: Table = Table {
    name: "a sendgrid provider",
    fields: &[
        required("token", Shape::Secret, "API key with the permission Mail Send, as \"${NAME}\""),
        optional("region", Shape::Word(&SENDGRID_REGION), "global", "Where the account is: global or eu"),
        url("that of the region"),
        connections(),
        timeout(),
    ],
};

static REGION: Choice = Choice { what: "region", words: &["us", "eu"], later: &[] };

pub static MAILGUN: Table = Table {
    name: "a mailgun provider",
    fields: &[
        required("domain", Shape::Host, "Sending domain at Mailgun"),
        required("token", Shape::Secret, "API key, as \"${NAME}\""),
        optional("region", Shape::Word(&REGION), "us", "Where the domain is: us or eu"),
        url("that of the region"),
        connections(),
        timeout(),
    ],
};

pub static POSTMARK: Table = Table {
    name: "a postmark provider",
    fields: &[
        required("token", Shape::Secret, "Server's API token, as \"${NAME}\""),
        optional("stream", Shape::Text, "broadcast", "Message stream of letters that can be unsubscribed from"),
        optional("transactional_stream", Shape::Text, "outbound", "Message stream of all others"),
        optional("batch", Shape::Whole { least: 1, most: 500 }, "50", "Letters in a request at most"),
        url("https://api.postmarkapp.com"),
        optional("connections", CONNECTIONS, "4", "Requests under way at most"),
        timeout(),
    ],
};

pub static SPARKPOST: Table = Table {
    name: "a sparkpost provider",
    fields: &[
        required("token", Shape::Secret, "API key, as \"${NAME}\""),
        optional("region", Shape::Word(&REGION), "us", "Where the account is: us or eu"),
        url("that of the region"),
        connections(),
        timeout(),
    ],
};

pub static BREVO: Table = Table {
    name: "a brevo provider",
    fields: &[required("token", Shape::Secret, "API key, as \"${NAME}\""), url("https://api.brevo.com"), connections(), timeout()],
};
