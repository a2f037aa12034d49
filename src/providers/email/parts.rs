//! The parts of our own MIME, for providers that take fields instead of a message. They sign it themselves; all headers that are ours, such as
//! `List-Unsubscribe`, go with it.

use super::refused;
use crate::providers::Outcome;
use crate::types::Failure;
use mail_parser::{MessageParser, PartType};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parts {
    pub from: Mailbox,
    pub reply_to: Option<String>,
    pub subject: String,
    pub text: String,
    pub html: Option<String>,
    /// With its angle brackets.
    pub message_id: Option<String>,
    /// What is left, unfolded, in the order of the message.
    pub headers: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mailbox {
    pub name: Option<String>,
    pub address: String,
}

/// Headers that the provider writes from the fields, or by itself.
const WRITTEN_BY_THEM: [&str; 10] =
    ["from", "to", "cc", "bcc", "reply-to", "subject", "date", "message-id", "mime-version", "dkim-signature"];

impl Parts {
    pub fn of(mime: &[u8]) -> Result<Parts, Outcome> {
        let strange = |why: &str| refused(Failure::Content, format!("the message cannot be handed over in fields: {why}"));
        let message = MessageParser::default().parse(mime).ok_or_else(|| strange("it is no MIME"))?;
        let from = message.from().and_then(|from| from.first()).ok_or_else(|| strange("it has no From"))?;
        let address = from.address().ok_or_else(|| strange("its From has no address"))?.to_string();
        let (mut text, mut html) = (None, None);
        for part in &message.parts {
            match &part.body {
                PartType::Text(found) if text.is_none() => text = Some(lines(found)),
                PartType::Html(found) if html.is_none() => html = Some(lines(found)),
                PartType::Multipart(_) => {}
                _ => return Err(strange("it has a part that is neither its text nor its HTML")),
            }
        }
        let headers = message
            .headers_raw()
            .filter(|(name, _)| {
                let name = name.to_ascii_lowercase();
                !name.starts_with("content-") && !WRITTEN_BY_THEM.contains(&name.as_str())
            })
            .map(|(name, value)| (name.to_string(), unfolded(value)))
            .collect();
        Ok(Parts {
            from: Mailbox { name: from.name().map(str::to_string).filter(|name| !name.is_empty()), address },
            reply_to: message.reply_to().and_then(|to| to.first()).and_then(|to| to.address()).map(str::to_string),
            subject: message.subject().unwrap_or_default().to_string(),
            text: text.unwrap_or_default(),
            html,
            message_id: message.message_id().map(|id| format!("<{id}>")),
            headers,
        })
    }

    /// Of a list that can be left: no transactional letter.
    pub fn is_listed(&self) -> bool {
        self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("list-unsubscribe"))
    }
}

fn lines(text: &str) -> String {
    text.replace("\r\n", "\n")
}

fn unfolded(value: &str) -> String {
    value.replace("\r\n", "").replace(['\r', '\n'], "").trim().to_string()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::mime::{self, Letter, ListUnsubscribe};
    use super::*;
    use crate::providers::{Body, Outgoing};
    use crate::types::{Class, MessageId};
    use proptest::prelude::*;

    fn letter<'a>(subject: &'a str, text: &'a str, html: Option<&'a str>) -> Letter<'a> {
        Letter {
            class: Class::Advertising,
            from: mime::Mailbox { name: "Крамниця", address: "news@mail.shop.example" },
            to: mime::Mailbox { name: "", address: "ada@example.org" },
            reply_to: Some("olena@shop.example"),
            subject,
            text,
            html,
            known_text: None,
            known_html: None,
            date: "2027-03-01T10:00:00Z".parse().unwrap(),
            message_id: "k7d2m@mail.shop.example",
            boundary: "k7d2m",
            list_unsubscribe: Some(ListUnsubscribe { https: "https://go.shop.example/u/TOKEN", mailto: None }),
            list_id: Some(("Знижки", "offers.mail.shop.example")),
            feedback_id: Some("spring-1:offers:email:shop"),
            auto_submitted: false,
            headers: &[],
        }
    }

    /// A letter of the shop on its way, number 7.
    pub fn outgoing() -> Outgoing {
        let letter = letter("Весна вже тут", "Привіт, Ада!\nhttps://shop.example/s", Some("<p>Привіт, <b>Ада</b>!</p>"));
        let mime = mime::build(&letter).unwrap();
        let body = Body::Email { from: "news@mail.shop.example".into(), to: "ada@example.org".into(), mime };
        Outgoing { message: MessageId(7), body, key: "0123456789abcdef0123456789abcdef".into() }
    }

    /// The same as a receipt: no list that could be left.
    pub fn receipt() -> Outgoing {
        let letter = Letter {
            class: Class::Transactional,
            reply_to: None,
            list_unsubscribe: None,
            list_id: None,
            feedback_id: None,
            ..letter("Receipt", "Paid.\n", None)
        };
        let mime = mime::build(&letter).unwrap();
        let body = Body::Email { from: "b7@bounces.shop.example".into(), to: "ada@example.org".into(), mime };
        Outgoing { message: MessageId(8), body, key: "fedcba9876543210fedcba9876543210".into() }
    }

    #[test]
    fn what_stands_in_our_mime_comes_out_again() {
        let Body::Email { mime, .. } = outgoing().body else { unreachable!() };
        let parts = Parts::of(&mime).unwrap();
        assert!(parts.is_listed());
        insta::assert_debug_snapshot!(parts);
    }

    #[test]
    fn what_fields_cannot_carry_is_refused_and_not_left_out() {
        for (mime, why) in [
            ("", "no MIME"),
            ("Subject: x\r\n\r\nx", "no From"),
            (
                "From: a@b.example\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain\r\n\r\nx\r\n\
                 --x\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment\r\n\r\nx\r\n--x--\r\n",
                "a part that is neither",
            ),
        ] {
            let Err(Outcome::Refused { class: Failure::Content, suppress: false, reply }) = Parts::of(mime.as_bytes()) else {
                panic!("{mime}")
            };
            assert!(reply.contains(why), "{reply}");
        }
    }

    proptest! {
        #[test]
        fn any_words_come_out_as_they_went_in(subject in "[^\\p{C}\\p{Zl}\\p{Zp}]{1,80}", text in "[^\\r\\p{Cc}]{1,200}", html in "[ -~а-яїєґ\\n]{1,200}") {
            let mime = mime::build(&letter(&subject, &text, Some(&html))).unwrap();
            let parts = Parts::of(&mime).unwrap();
            prop_assert_eq!(parts.text, text);
            prop_assert_eq!(parts.html.unwrap(), html);
            prop_assert_eq!(parts.subject.split_whitespace().collect::<Vec<_>>(), subject.split_whitespace().collect::<Vec<_>>());
        }
    }
}
