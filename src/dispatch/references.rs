//! What a provider was given to hand back with all it tells of a message: the message's number and half of its key, which only we can say of it.

use crate::types::MessageId;
use aws_lc_rs::{constant_time, hmac};

/// 32 letters and digits that only who has the key can say of this message.
pub(super) fn mark(key: &hmac::Key, purpose: &str, message: i64) -> String {
    let tag = hmac::sign(key, format!("{purpose}\0{message}").as_bytes());
    hex::encode(tag.as_ref().get(..16).unwrap_or_default())
}

/// What a message's key is marked for.
pub(super) const KEY: &str = "key";

/// Reads references; `secret` is the composer's.
#[derive(Debug, Clone)]
pub struct References(hmac::Key);

impl References {
    pub fn new(secret: &str) -> References {
        References(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()))
    }

    /// What the provider of this message was given ([`crate::providers::Outgoing::reference`]).
    pub fn of(&self, message: MessageId) -> String {
        format!("{message}-{}", mark(&self.0, KEY, message.0).get(..16).unwrap_or_default())
    }

    /// The message of a reference `NUMBER-KEY`, or the first one inside of a longer text (`posthaste_message:7-…`), as providers hand it back;
    /// `None` for everything that only looks like one.
    pub fn read(&self, text: &str) -> Option<MessageId> {
        text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').take(16).find_map(|word| {
            let (number, key) = word.split_once('-').filter(|(_, key)| key.len() >= 16)?;
            let message: i64 = number.parse().ok().filter(|message| *message > 0)?;
            let expected = mark(&self.0, KEY, message);
            constant_time::verify_slices_are_equal(expected.get(..key.len())?.as_bytes(), key.as_bytes()).ok()?;
            Some(MessageId(message))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_we_have_given_away_is_read() {
        let references = References::new("pepper");
        let key = mark(&references.0, KEY, 7);
        let reference = format!("7-{}", &key[..16]);
        assert_eq!(references.read(&reference), Some(MessageId(7)));
        assert_eq!(references.read(&format!("7-{key}")), Some(MessageId(7)));
        assert_eq!(references.read(&format!("posthaste_message:{reference}")), Some(MessageId(7)));
        assert_eq!(references.read(&format!("{{\"a\":\"b\",\"posthaste_message\":\"{reference}\"}}")), Some(MessageId(7)));
        for wrong in [
            format!("8-{}", &key[..16]),
            format!("7-{}", &key[1..17]),
            format!("7-{}", &key[..15]),
            format!("-7-{key}"),
            "7-".into(),
            String::new(),
        ] {
            assert_eq!(references.read(&wrong), None, "{wrong}");
        }
        assert_eq!(References::new("salt").read(&reference), None);
    }
}
