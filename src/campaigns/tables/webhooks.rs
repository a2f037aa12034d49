//! How the webhooks of a provider are checked.

use super::super::fields::{Choice, Shape, Table, optional};

/// Whose webhooks can be read; a test holds it against `webhooks::Kind`.
pub static OF: Choice = Choice {
    what: "provider whose webhooks can be read",
    words: &[
        "ses",
        "sendgrid",
        "mailgun",
        "postmark",
        "sparkpost",
        "brevo",
        "mailersend",
        "mailjet",
        "mailtrap",
        "mandrill",
        "postal",
        "resend",
        "unisender-go",
        "mailomat",
        "sweego",
        "twilio",
        "vonage",
        "messagebird",
        "bird",
        "plivo",
        "smsc",
        "smsru",
        "turbosms",
    ],
    later: &[],
};

pub static WEBHOOKS: Table = Table {
    name: "webhooks",
    fields: &[
        optional("of", Shape::Word(&OF), "the provider's kind", "Whose webhooks they are, where mail goes to them by smtp"),
        optional(
            "key",
            Shape::OneOrList(&Shape::Secret),
            "none",
            "What they are signed with, as \"${NAME}\"; several while keys are exchanged",
        ),
        optional("secret", Shape::Secret, "none", "Last part of the address, at least 22 random characters, as \"${NAME}\""),
        optional("login", Shape::Secret, "none", "Basic login: \"${NAME}\", which holds user:password"),
        optional("topics", Shape::OneOrList(&Shape::Text), "none", "SNS topics of ours, for ses: arn:aws:sns:eu-west-1:123456789012:mail"),
    ],
};
