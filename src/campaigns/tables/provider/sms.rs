//! Keys of the kinds that send short messages.

use super::super::super::fields::{Choice, Shape, Table, optional, required};
use super::{CONNECTIONS, connections, timeout, url};

pub static TWILIO: Table = Table {
    name: "a twilio provider",
    fields: &[
        required("account", Shape::Text, "Account SID"),
        required("token", Shape::Secret, "Auth token, or the secret of `api_key`, as \"${NAME}\""),
        optional("api_key", Shape::Text, "the account", "SID of an API key"),
        optional("messaging_service", Shape::Text, "the identity's sender", "SID of a messaging service that chooses the sender"),
        optional("status_callback", Shape::Url, "none", "Where receipts are sent"),
        url("https://api.twilio.com"),
        connections(),
        timeout(),
    ],
};

pub static VONAGE: Table = Table {
    name: "a vonage provider",
    fields: &[
        required("key", Shape::Text, "API key"),
        required("token", Shape::Secret, "API secret, as \"${NAME}\""),
        optional("status_callback", Shape::Url, "the account's", "Where receipts are sent"),
        url("https://rest.nexmo.com"),
        connections(),
        timeout(),
    ],
};

pub static MESSAGEBIRD: Table = Table {
    name: "a messagebird provider",
    fields: &[
        required("token", Shape::Secret, "Access key, as \"${NAME}\""),
        url("https://rest.messagebird.com"),
        connections(),
        timeout(),
    ],
};

pub static BIRD: Table = Table {
    name: "a bird provider",
    fields: &[
        required("workspace", Shape::Text, "Workspace's id"),
        required("sender_channel", Shape::Text, "Id of the SMS channel that sends"),
        required("token", Shape::Secret, "Access key, as \"${NAME}\""),
        url("https://api.bird.com"),
        connections(),
        timeout(),
    ],
};

pub static PLIVO: Table = Table {
    name: "a plivo provider",
    fields: &[
        required("account", Shape::Text, "Auth ID"),
        required("token", Shape::Secret, "Auth token, as \"${NAME}\""),
        optional("status_callback", Shape::Url, "none", "Where receipts are sent"),
        url("https://api.plivo.com"),
        connections(),
        timeout(),
    ],
};

pub static SMSC: Table = Table {
    name: "an smsc provider",
    fields: &[
        optional("token", Shape::Secret, "none", "API key, as \"${NAME}\"; or `user` and `password`"),
        optional("user", Shape::Text, "none", "Login; together with `password`"),
        optional("password", Shape::Secret, "none", "Password, as \"${NAME}\""),
        url("https://smsc.ru"),
        connections(),
        timeout(),
    ],
};

pub static SMSRU: Table = Table {
    name: "an smsru provider",
    fields: &[
        required("token", Shape::Secret, "api_id, as \"${NAME}\""),
        optional("batch", Shape::Whole { least: 1, most: 100 }, "50", "Messages in a request at most"),
        url("https://sms.ru"),
        optional("connections", CONNECTIONS, "4", "Requests under way at most"),
        timeout(),
    ],
};

pub static TURBOSMS: Table = Table {
    name: "a turbosms provider",
    fields: &[required("token", Shape::Secret, "Token, as \"${NAME}\""), url("https://api.turbosms.ua"), connections(), timeout()],
};

static LONG: Choice = Choice { what: "way of long texts", words: &["header", "sar", "payload"], later: &[] };
static ALPHABET: Choice = Choice { what: "alphabet", words: &["gsm", "latin1"], later: &[] };
static RECEIPT_IDS: Choice = Choice { what: "way to write numbers", words: &["same", "decimal", "hexadecimal"], later: &[] };

static SMPP_SECURITY: Choice = Choice { what: "security", words: &["none", "tls"], later: &[] };

pub static SMPP: Table = Table {
    name: "an smpp provider",
    fields: &[
        required("host", Shape::Text, "Host of the operator"),
        optional("port", Shape::Whole { least: 1, most: 65_535 }, "2775; with security tls 3550", "Port of the operator"),
        optional("security", Shape::Word(&SMPP_SECURITY), "none", "none (over a private line), or tls from the first byte"),
        optional(
            "trust",
            Shape::Text,
            "those of this machine",
            "File with the certificates (PEM) to trust, where the operator made its own",
        ),
        required("user", Shape::Text, "system_id, 15 characters at most"),
        required("password", Shape::Secret, "Password, 8 characters at most, as \"${NAME}\""),
        optional("system_type", Shape::Text, "none", "system_type, where the operator wants one"),
        optional("window", CONNECTIONS, "10", "Messages that are unanswered at once"),
        optional(
            "long",
            Shape::Word(&LONG),
            "header",
            "How a text of several parts travels: a header before each, sar fields, or whole as message_payload",
        ),
        optional("alphabet", Shape::Word(&ALPHABET), "gsm", "The operator's default alphabet; what it lacks travels as UCS-2"),
        optional(
            "receipt_ids",
            Shape::Word(&RECEIPT_IDS),
            "same",
            "How receipts write a message's number: as the answer did, decimal where that was hexadecimal, or the other way round",
        ),
        timeout(),
        optional(
            "enquire",
            Shape::Duration,
            "30 seconds",
            "After so long without a word the operator is asked whether it is there; three times unheard, the link is opened again",
        ),
    ],
};

static METHOD: Choice = Choice { what: "method", words: &["POST", "PUT", "GET"], later: &[] };
static CONTENT_TYPE: Choice = Choice {
    what: "kind of body",
    words: &["application/json", "application/x-www-form-urlencoded", "application/xml", "text/xml", "text/plain"],
    later: &[],
};

/// Values of the answer: `{ status: [ 200, 201 ], response_code: 0 }`.
const ANSWER: Shape = Shape::Each(&Shape::Anything, &Shape::OneOrList(&Shape::Text));

pub static HTTP: Table = Table {
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
        connections(),
        timeout(),
    ],
};
