//! Short messages, one file a provider: through HTTP interfaces, and [`smpp`] straight to an operator; what their answers mean stands in standards.md §3.5–3.6.

pub mod bird;
pub mod http;
pub mod messagebird;
pub mod plivo;
pub mod smsc;
pub mod smpp;
pub mod smsru;
pub mod turbosms;
pub mod twilio;
pub mod vonage;

use super::{Body, Outcome, Outgoing, REFERENCE};
use crate::types::{Channel, Failure};
use std::time::Duration;

/// A text on its way.
struct Text<'a> {
    sender: &'a str,
    to: &'a str,
    text: &'a str,
    /// How much longer it may be delivered.
    lasts: Option<Duration>,
}

impl<'a> Text<'a> {
    /// Values that reach a provider hold no control characters but line breaks and tabs in the text.
    fn of(outgoing: &'a Outgoing) -> Result<Text<'a>, Outcome> {
        let Body::Sms { sender, to, text, lasts, .. } = &outgoing.body else { return Err(outgoing.body.strange(Channel::Sms)) };
        let breaks = |c: char| c.is_control() || c == '\u{2028}' || c == '\u{2029}';
        let what = if sender.chars().any(breaks) {
            "the sender"
        } else if to.chars().any(breaks) {
            "the phone number"
        } else if text.chars().any(|c| c != '\n' && c != '\r' && c != '\t' && breaks(c)) {
            "the text"
        } else {
            return Ok(Text { sender, to, text, lasts: *lasts });
        };
        Err(Outcome::Refused { class: Failure::UnsafeValue, suppress: false, reply: format!("{what} holds a control character") })
    }

    /// The number without its plus.
    fn digits(&self) -> &'a str {
        self.to.trim_start_matches('+')
    }

    /// The sender without a plus, where it is a number.
    fn bare_sender(&self) -> &'a str {
        self.sender.trim_start_matches('+')
    }
}

/// The address for receipts, with our reference in it, for providers that hand nothing else back.
fn with_reference(callback: &str, outgoing: &Outgoing) -> String {
    let joint = if callback.contains('?') { '&' } else { '?' };
    format!("{callback}{joint}{REFERENCE}={}", outgoing.reference())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::MessageId;

    /// A text of the shop on its way, number 7.
    pub fn outgoing(to: &str, text: &str) -> Outgoing {
        let body = Body::Sms { sender: "SHOP".into(), to: to.into(), text: text.into(), parts: 1, lasts: None };
        Outgoing { message: MessageId(7), body, key: "0123456789abcdef0123456789abcdef".into() }
    }

    #[test]
    fn a_control_character_reaches_nobody() {
        for (sender, to, text, expected) in [
            ("SHOP", "+380501112233", "Hello\nthere", None),
            ("SH\0P", "+380501112233", "x", Some("the sender")),
            ("SHOP", "+38050\r\n", "x", Some("the phone number")),
            ("SHOP", "+380501112233", "x\u{7}", Some("the text")),
            ("SHOP", "+380501112233", "x\u{2028}", Some("the text")),
        ] {
            let body = Body::Sms { sender: sender.into(), to: to.into(), text: text.into(), parts: 1, lasts: None };
            let outgoing = Outgoing { message: MessageId(7), body, key: String::new() };
            let found = match Text::of(&outgoing) {
                Err(Outcome::Refused { class: Failure::UnsafeValue, reply, .. }) => Some(reply),
                _ => None,
            };
            assert_eq!(found, expected.map(|what| format!("{what} holds a control character")));
        }
    }

    #[test]
    fn receipts_come_back_with_our_reference() {
        let outgoing = outgoing("+380501112233", "x");
        assert_eq!(with_reference("https://a.example/r", &outgoing), "https://a.example/r?posthaste_message=7-0123456789abcdef");
        assert_eq!(with_reference("https://a.example/r?a=1", &outgoing), "https://a.example/r?a=1&posthaste_message=7-0123456789abcdef");
    }
}
