//! posthaste.yaml (files.md §2).

use super::super::fields::{Choice, Kind, Shape, Table, later, optional, required};
use super::{CHANNEL, policy};

pub static WORKSPACE: Table = Table {
    name: "posthaste.yaml",
    fields: &[
        required("workspace", Shape::Key, "The workspace's key"),
        required("public_url", Shape::Url, "Address of tracked links, unsubscribe and preference pages"),
        optional(
            "link_hosts",
            Shape::List(&Shape::Host),
            "none",
            "Hosts that a personal link may lead to, besides those written out in templates",
        ),
        optional("database", Shape::Text, "sqlite:posthaste.db", "Where everything is remembered: sqlite:FILE or \"${DATABASE_URL}\""),
        optional("seed", Shape::Text, "the workspace's key", "What chance is drawn from; never changed"),
        required("zone", Shape::Zone, "The time zone of everything that names none"),
        optional("country", Shape::Country, "", "The country of phone numbers without a prefix"),
        required("languages", Shape::List(&Shape::Language), "The languages of texts; the first is the last resort"),
        optional(
            "fallback",
            Shape::Each(&Shape::Language, &Shape::Language),
            "the first language",
            "Which language a person gets whose own has no text",
        ),
        required("currency", Shape::Currency, "The currency of bare numbers where money is wanted"),
        optional("rates", Shape::Each(&Shape::Currency, &Shape::Price), "none", "Prices of other currencies, for conditions only"),
        optional("attributes", Shape::Each(&Shape::Name, &Shape::Type), "all allowed", "Name → type of what is known about customers"),
        optional(
            "events",
            Shape::Each(&Shape::Name, &Shape::Each(&Shape::Name, &Shape::Type)),
            "all allowed",
            "Name → properties and their types of what happens to customers",
        ),
        optional("catalogs", Shape::Each(&Shape::Name, &Shape::Anything), "none", "Things that are not customers: products, shops"),
        optional("coupons", Shape::Each(&Shape::Key, &Shape::Map(&COUPON)), "none", "Codes that are drawn for messages"),
        later("surveys", "Questions with a scale", "surveys come with a later version"),
        required("topics", Shape::Each(&Shape::Key, &Shape::Map(&TOPIC)), "What customers consent to"),
        optional("forms", Shape::Each(&Shape::Key, &Shape::Map(&FORM)), "none", "How people sign up: pages at PUBLIC_URL/f/NAME"),
        required("identities", Shape::Each(&Shape::Key, &Shape::Map(&IDENTITY)), "Who we send as"),
        optional("domains", Shape::Each(&Shape::Host, &Shape::Map(&DOMAIN)), "none", "Sending domains"),
        optional("inbound", Shape::Map(&INBOUND), "none", "How mail that comes back reaches us: bounces, complaints, answers"),
        required("providers", Shape::Each(&Shape::Key, &Shape::Provider), "What accepts messages from us"),
        optional("policy", Shape::Map(&policy::POLICY), "advertising needs granted consent", "The contact policy"),
        optional("categories", Shape::List(&Shape::Key), "none", "Access scopes that campaigns may name"),
        optional("retention", Shape::Map(&RETENTION), "for ever; content 90 days", "How long history is kept"),
    ],
};

static COUPON: Table = Table {
    name: "a coupon",
    fields: &[
        optional("code", Shape::Text, "", "One code for all: SPRING20"),
        optional("pattern", Shape::Text, "", "Codes that are made, each # a digit: \"BD-######\""),
        optional("imported", Shape::Boolean, "", "Codes of `posthaste import coupons NAME FILE`, each drawn once"),
        optional("valid", Shape::Duration, "for ever", "How long after its hand-over: 14 days"),
    ],
};

static TOPIC: Table = Table {
    name: "a topic",
    fields: &[
        required("title", Shape::Words, "What customers read on the preference page"),
        required("channels", Shape::List(&Shape::Word(&CHANNEL)), "By which channels it may be sent"),
        optional("from", Shape::Reference(Kind::Identity), "", "The identity when a message names none"),
        optional("confirm", Shape::Boolean, "false", "Double opt-in: consent must be confirmed"),
    ],
};

static FORM: Table = Table {
    name: "a form",
    fields: &[
        required("title", Shape::Words, "The heading of the form's page"),
        optional("intro", Shape::Words, "", "What stands below the heading"),
        required("topics", Shape::List(&Shape::Reference(Kind::Topic)), "What people sign up for; of several they choose"),
        required("asks", Shape::List(&Shape::Word(&ASKS)), "Which addresses are asked for: [ email, phone ]; the first must be given"),
        optional(
            "fields",
            Shape::Each(&Shape::Name, &Shape::Words),
            "none",
            "What else is asked, with its label: { first_name: \"First name\" }; nobody must answer",
        ),
        required("consent", Shape::Words, "What people agree to by ticking a box, word for word: it is kept as proof"),
        optional("thanks", Shape::Url, "our own page", "Where people go afterwards, on a host of yours"),
        optional("sites", Shape::List(&Shape::Host), "none", "Hosts whose pages may hold the form, besides ours: [ shop.example ]"),
        optional("remind", Shape::Duration, "never", "After so long, who has not confirmed is asked once more: 2 days"),
        optional("rate", Shape::Rate, "1000 per hour", "How many posts are taken from everybody together"),
    ],
};

static ASKS: Choice = Choice { what: "address to ask for", words: &["email", "phone"], later: &[] };

static IDENTITY: Table = Table {
    name: "an identity",
    fields: &[
        optional("postal_address", Shape::Words, "", "Postal address, needed in advertising email"),
        optional("email", Shape::Map(&EMAIL_IDENTITY), "", "Name and address of the sender"),
        optional("sms", Shape::Map(&SMS_IDENTITY), "", "Sender of short messages"),
        later("letter", "Name and address of letters", "letters come with a later version"),
        later("call", "The team that calls", "calls come with a later version"),
    ],
};

static EMAIL_IDENTITY: Table = Table {
    name: "an email identity",
    fields: &[
        required("name", Shape::Words, "The name that customers see"),
        required("address", Shape::Email, "The address that customers see"),
        optional("reply_to", Shape::Email, "the address", "Where answers go"),
    ],
};

static SMS_IDENTITY: Table = Table {
    name: "an sms identity",
    fields: &[required(
        "sender",
        Shape::Either(&[Shape::Text, Shape::Each(&Shape::Anything, &Shape::Text)]),
        "Name or number of the sender, or one for each country: { UA: SHOP, other: SHOPINT }",
    )],
};

static DOMAIN: Table = Table {
    name: "a domain",
    fields: &[
        optional("bounces", Shape::Host, "", "Domain of the envelope sender, where bounces come back"),
        optional("dkim", Shape::Map(&DKIM), "", "Signatures of this domain"),
        optional(
            "warm_up",
            Shape::Map(&WARM_UP),
            "none",
            "Numbers a day for each mailbox site, most engaged first, while the domain is new",
        ),
    ],
};

static INBOUND: Table = Table {
    name: "inbound",
    fields: &[
        optional("listen", Shape::Text, "none", "Address and port where mail is taken, for MX or a relay: 0.0.0.0:25, or \"${NAME}\""),
        optional("protocol", Shape::Word(&PROTOCOL), "smtp", "smtp, or lmtp for a mail server on the same machine"),
        optional("hello", Shape::Host, "localhost", "The name by which the listener greets"),
        optional(
            "certificate",
            Shape::Text,
            "no TLS",
            "File with the listener's certificate and its chain (PEM), for STARTTLS; may be \"${NAME}\"",
        ),
        optional("key", Shape::Text, "no TLS", "File with the certificate's private key (PEM); may be \"${NAME}\""),
        optional(
            "domains",
            Shape::List(&Shape::Host),
            "the domains of `bounces`",
            "More domains whose mail is taken, whatever stands before the @: where answers go",
        ),
        optional("mailbox", Shape::Map(&MAILBOX), "none", "A mailbox that is read by IMAP, for those without an MX"),
        optional("forward_replies_to", Shape::Email, "nobody", "Who gets the answers that people write"),
    ],
};

static PROTOCOL: Choice = Choice { what: "protocol", words: &["smtp", "lmtp"], later: &[] };

static MAILBOX: Table = Table {
    name: "a mailbox",
    fields: &[
        required("host", Shape::Text, "Host of the IMAP server"),
        optional("port", Shape::Whole { least: 1, most: 65_535 }, "993; with security none 143", "Port of the IMAP server"),
        required("user", Shape::Text, "User name"),
        required("password", Shape::Secret, "Password, as \"${NAME}\""),
        optional("folder", Shape::Text, "INBOX", "The folder; what was read there is marked as seen"),
        optional("security", Shape::Word(&MAILBOX_SECURITY), "tls; none on this machine", "tls from the first byte, or none"),
    ],
};

static MAILBOX_SECURITY: Choice = Choice { what: "security", words: &["tls", "none"], later: &[] };

static RAMP: Choice = Choice { what: "plan", words: &["conservative", "moderate", "aggressive"], later: &[] };
static WAIT: Choice = Choice { what: "answer to `beyond`", words: &["wait"], later: &[] };

static WARM_UP: Table = Table {
    name: "a warm-up",
    fields: &[
        required("from", Shape::Date, "The first day"),
        optional("plan", Shape::Word(&RAMP), "", "How fast the numbers grow"),
        optional(
            "days",
            Shape::List(&Shape::Whole { least: 1, most: 1_000_000_000 }),
            "",
            "Own numbers instead of a plan, a day each: [ 50, 100, 500 ]",
        ),
        optional(
            "beyond",
            Shape::Either(&[Shape::Word(&WAIT), Shape::Reference(Kind::Identity)]),
            "wait",
            "What is beyond the day's number waits, or is sent by this identity",
        ),
    ],
};

static DKIM: Table = Table {
    name: "dkim",
    fields: &[
        required("selector", Shape::Host, "The selector in DNS"),
        optional("key", Shape::Secret, "", "RSA private key (PEM)"),
        optional("ed25519", Shape::Secret, "", "Ed25519 private key"),
    ],
};

static RETENTION: Table = Table {
    name: "retention",
    fields: &[
        optional("events", Shape::Duration, "for ever", "How long events are kept; never less than an applied rule looks back"),
        optional(
            "content",
            Shape::Duration,
            "90 days",
            "How long what a message said can be shown; mail and webhooks that could not be read go then too",
        ),
    ],
};
