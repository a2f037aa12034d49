//! Which message a mail concerns: by the token in its address, else in the Message-ID that it answers or returns, else in the
//! unsubscribe link of the copy that it encloses.

use super::mail::Reading;
use super::ways::{Address, Ways};
use crate::tracking::{Addressed, Kind, Tokens};
use crate::types::{MessageId, Time};

/// Whom a mail concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    Message {
        message: MessageId,
        /// It came to the address by which the message's topic is left.
        leaves: bool,
    },
    /// A token of ours that is too old, or one that is not ours: nothing may change.
    Nothing(&'static str),
    /// No token at all.
    Nobody,
}

impl Whom {
    pub fn message(&self) -> Option<MessageId> {
        match self {
            Whom::Message { message, .. } => Some(*message),
            Whom::Nothing(_) | Whom::Nobody => None,
        }
    }
}

pub fn whom(reading: &Reading, recipients: &[String], ways: &Ways, tokens: &Tokens, now: Time) -> Whom {
    let mut refused = None;
    for recipient in recipients {
        match ways.address(recipient, tokens, now) {
            Address::Bounce(message) => return Whom::Message { message, leaves: false },
            Address::Leave(message) => return Whom::Message { message, leaves: true },
            Address::Expired => refused = Some("its token is too old"),
            Address::Forged => refused = refused.or(Some("its token is not ours")),
            Address::Open | Address::Unknown | Address::Foreign => {}
        }
    }
    if let Some(why) = refused {
        return Whom::Nothing(why);
    }
    let by_id = reading.about.iter().find_map(|id| {
        let token = id.split('@').next().unwrap_or_default();
        match tokens.read_address(Kind::Letter, token, now) {
            Addressed::Message(message) => Some(message),
            Addressed::Expired(_) | Addressed::Unknown => None,
        }
    });
    let by_link = || links(&reading.copy).find_map(|token| tokens.read(Kind::Unsubscribe, &token));
    match by_id.or_else(by_link) {
        Some(message) => Whom::Message { message, leaves: false },
        None => Whom::Nobody,
    }
}

/// What stands behind `/u/` in a copy, with the soft line ends of quoted-printable taken out.
fn links(copy: &str) -> impl Iterator<Item = String> {
    let plain = copy.replace("=\r\n", "").replace("=\n", "");
    let found: Vec<String> = plain
        .match_indices("/u/")
        .take(50)
        .map(|(at, _)| {
            let rest = plain.get(at + 3..).unwrap_or_default();
            rest.chars().take_while(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_')).take(200).collect()
        })
        .collect();
    found.into_iter()
}
