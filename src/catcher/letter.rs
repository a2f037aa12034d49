//! A caught message taken apart for people: subject, text, HTML, headers.

use super::Message;
use crate::types::Channel;
use mail_parser::{Address, MessageParser};
use serde::Serialize;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Letter {
    pub from: String,
    pub to: String,
    pub subject: String,
    pub text: String,
    pub html: Option<String>,
    /// Names and unfolded values, in order.
    pub headers: Vec<(String, String)>,
}

impl Letter {
    pub(super) fn of(message: &Message) -> Letter {
        if message.channel != Channel::Email {
            let text = String::from_utf8_lossy(&message.raw).into_owned();
            return Letter { from: message.from.clone(), to: message.to.clone(), text, ..Letter::default() };
        }
        let Some(mail) = MessageParser::default().parse(&message.raw) else {
            let text = String::from_utf8_lossy(&message.raw).into_owned();
            return Letter {
                from: message.from.clone(),
                to: message.to.clone(),
                subject: "(cannot be read)".to_string(),
                text,
                ..Letter::default()
            };
        };
        let headers = mail
            .headers_raw()
            .map(|(name, value)| {
                (name.to_string(), value.split(['\r', '\n']).map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" "))
            })
            .collect();
        Letter {
            from: mailbox(mail.from()).unwrap_or_else(|| message.from.clone()),
            to: mailbox(mail.to()).unwrap_or_else(|| message.to.clone()),
            subject: mail.subject().unwrap_or("").to_string(),
            text: mail.body_text(0).unwrap_or_default().into_owned(),
            // `body_html` makes HTML of a text where there is none; here only what was sent counts.
            html: mail
                .html_body
                .first()
                .and_then(|part| mail.parts.get(*part as usize))
                .filter(|part| part.is_text_html())
                .and(mail.body_html(0))
                .map(Into::into),
            headers,
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

fn mailbox(address: Option<&Address<'_>>) -> Option<String> {
    let first = address?.first()?;
    let address = first.address()?;
    Some(match first.name() {
        Some(name) if !name.is_empty() => format!("{name} <{address}>"),
        _ => address.to_string(),
    })
}
