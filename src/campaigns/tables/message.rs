//! A message, and a variant of one (files.md §3).

use super::super::fields::{Choice, Field, Kind, Shape, Table, later, optional, required};
use super::CHANNEL;

static IF_UNCERTAIN: Choice = Choice { what: "answer to `if_uncertain`", words: &["hold", "resend"], later: &[] };

static TRACK: Table = Table {
    name: "`track`",
    fields: &[
        optional("opens", Shape::Boolean, "true", "Count opens"),
        optional("clicks", Shape::Boolean, "true", "Count clicks"),
        optional("utm", Shape::Boolean, "true", "Add utm parameters to links"),
    ],
};

/// The keys of `message`, of `otherwise`, and of a variant.
macro_rules! message_fields {
    ($($more:expr),* $(,)?) => {
        &[
            $($more,)*
            optional("channel", Shape::Word(&CHANNEL), "email", "How it is sent"),
            optional("from", Shape::Reference(Kind::Identity), "the topic's", "Who it is sent as"),
            optional("template", Shape::Key, "", "The file templates/NAME.LANGUAGE.mjml or .hbs, without its endings"),
            optional("text", Shape::Words, "", "Short words in place of a template, for sms and webhook"),
            optional("subject", Shape::Words, "", "The subject of an email"),
            optional("preheader", Shape::Words, "", "What an inbox shows behind the subject"),
            optional("reply_to", Shape::Email, "the identity's", "Where answers go"),
            optional("content", Shape::Content, "none", "Data for the template: { discount: 20% } is {{content.discount}}"),
            optional("coupon", Shape::Reference(Kind::Coupon), "none", "A code for each message: {{coupon.code}}, {{coupon.valid_until}}"),
            later("attach", "Files under templates/", "attachments come with a later version"),
            optional(
                "expires",
                Shape::Either(&[Shape::Duration, Shape::DateTime]),
                "3 days; sms 1 day",
                "Not sent later than this long after its due time, or than this date-time",
            ),
            optional("if_uncertain", Shape::Word(&IF_UNCERTAIN), "hold; transactional resend", "What is done when a crash leaves it open whether it was sent"),
            optional("track", Shape::Either(&[Shape::Boolean, Shape::Map(&TRACK)]), "true; transactional false", "What is counted"),
        ]
    };
}

static MESSAGE_FIELDS: &[Field] = message_fields![optional(
    "otherwise",
    Shape::Map(&OTHERWISE),
    "none",
    "A message for whom this one cannot reach: no or unsupported address, suppressed, no consent on the channel"
)];

pub static MESSAGE: Table = Table { name: "a message", fields: MESSAGE_FIELDS };

static OTHERWISE: Table = Table { name: "a message", fields: MESSAGE_FIELDS };

pub static VARIANT: Table = Table {
    name: "a variant",
    fields: message_fields![
        required("name", Shape::Key, "Its name in reports"),
        optional("weight", Shape::Share, "equal parts", "Share of the audience; all make 100%"),
    ],
};
