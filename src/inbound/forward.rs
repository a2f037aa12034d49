//! Passes what people wrote on to a person.
//!
//! The letter goes as it came, so that its reader answers the writer; before it stand headers that say so (RFC 5322 §3.6.6). It leaves with
//! `MAIL FROM:<>`: whatever becomes of it, nobody answers us. What has been passed on once, or through too many hands, is not passed on again, nor
//! is what machines wrote. A letter that was not answered for, or whose process died, is passed on again: better twice than never. It is the same letter
//! then, to the byte but for a header that counts the tries, with the same Message-ID and Resent-Message-ID, by which mail programs show it once.

use crate::campaigns::Workspace;
use crate::providers::{Body, Outcome, Outgoing, Provider};
use crate::store::inbound::{Fate, StoredMail};
use crate::types::{MessageId, Time};
use chrono::TimeDelta;
use std::sync::Arc;

const MARK: &str = "X-Posthaste-Forwarded";
/// More hands than any mail goes through that is not in a circle.
const MOST_HANDS: usize = 30;
const TRIES: i64 = 10;

/// Who gets the letters, and by what way.
#[derive(Clone)]
pub struct Forwarder {
    to: String,
    /// The address that passes them on.
    from: String,
    hello: String,
    provider: Arc<dyn Provider>,
}

impl Forwarder {
    /// `from` is the address of ours that passes letters on.
    pub fn new(to: &str, from: &str, hello: &str, provider: Arc<dyn Provider>) -> Forwarder {
        Forwarder { to: to.to_string(), from: from.to_string(), hello: hello.to_string(), provider }
    }

    /// `None` where nobody is named or nothing sends mail.
    pub fn of(workspace: &Workspace, providers: &[Arc<dyn Provider>]) -> Option<Forwarder> {
        let inbound = workspace.inbound.as_ref()?;
        let to = inbound.forward_replies_to.clone()?;
        let from = workspace.identities.values().find_map(|identity| identity.email.as_ref()).map(|email| email.address.clone())?;
        let provider = providers.iter().find(|provider| provider.channel() == crate::types::Channel::Email)?.clone();
        Some(Forwarder { to, from, hello: inbound.hello.clone(), provider })
    }

    pub async fn forward(&self, mail: &StoredMail, now: Time) -> Fate {
        let key = hex::encode(mail.digest);
        let body = Body::Email { from: String::new(), to: self.to.clone(), mime: self.letter(mail) };
        let outcome = self.provider.send(&Outgoing { message: MessageId(0), body, key }).await;
        match outcome {
            Outcome::Accepted { .. } => Fate::Forwarded,
            Outcome::Refused { reply, .. } => Fate::GivenUp { why: format!("{} does not take it: {reply}", self.to) },
            Outcome::Later { reply, .. }
            | Outcome::Away { reply, .. }
            | Outcome::Unreachable { reply, .. }
            | Outcome::Broken { reply }
            | Outcome::Unknown { reply } => {
                if mail.tries > TRIES {
                    return Fate::GivenUp { why: format!("tried {TRIES} times to pass it on: {reply}") };
                }
                let wait = TimeDelta::minutes(5) * 2_i32.pow(u32::try_from(mail.tries.clamp(0, 6)).unwrap_or(0));
                Fate::Later { at: now + wait, why: reply }
            }
        }
    }

    fn letter(&self, mail: &StoredMail) -> Vec<u8> {
        let date = mail.received_at.to_rfc2822();
        let domain = self.from.rsplit('@').next().unwrap_or_default();
        let id = hex::encode(mail.digest);
        // The first claim was for reading it, the second for passing it on.
        let again = if mail.tries > 2 { format!("; try {}, it may have come before", mail.tries - 1) } else { String::new() };
        let head = format!(
            "Received: by {} (Posthaste); {date}\r\nResent-From: <{}>\r\nResent-To: <{}>\r\nResent-Date: {}\r\nResent-Message-ID: <{id}@{domain}>\r\n{MARK}: yes{again}\r\n",
            self.hello,
            self.from,
            self.to,
            // Of the letter, not of the try.
            mail.received_at.to_rfc2822(),
        );
        let mut letter = Vec::with_capacity(head.len() + mail.raw.len() + 2);
        letter.extend_from_slice(head.as_bytes());
        letter.extend_from_slice(&with_line_ends(&mail.raw));
        letter
    }
}

/// Whether a mail may be passed on: it has a sender that may be answered, and is not on its way in a circle.
pub fn may_be(mail: &StoredMail) -> bool {
    let mut hands = 0;
    for line in mail.raw.split(|byte| *byte == b'\n').take(2_000) {
        let line = line.trim_ascii_end();
        if line.is_empty() {
            break;
        }
        let starts = |name: &str| {
            line.get(..name.len() + 1).is_some_and(|start| {
                start.last() == Some(&b':') && start.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
            })
        };
        if starts(MARK) {
            return false;
        }
        hands += usize::from(starts("Received"));
    }
    !mail.sender.is_empty() && hands <= MOST_HANDS
}

/// Every line ended as SMTP wants it, the last one too.
fn with_line_ends(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len() + 64);
    let mut last = 0;
    for byte in raw {
        match (last, *byte) {
            (b'\r', b'\n') => out.push(b'\n'),
            (b'\r', other) => out.extend_from_slice(&[b'\n', other]),
            (_, b'\n') => out.extend_from_slice(b"\r\n"),
            (_, other) => out.push(other),
        }
        last = *byte;
    }
    match out.last() {
        Some(b'\n') => {}
        Some(b'\r') => out.push(b'\n'),
        _ => out.extend_from_slice(b"\r\n"),
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(sender: &str, raw: &str) -> StoredMail {
        let received_at = "2027-03-01T10:00:00Z".parse().unwrap();
        StoredMail {
            id: 1,
            digest: [7; 16],
            sender: sender.into(),
            recipients: vec![],
            raw: raw.into(),
            received_at,
            to_forward: true,
            tries: 1,
        }
    }

    #[test]
    fn what_is_on_its_way_in_a_circle_or_may_not_be_answered_is_not_passed_on() {
        assert!(may_be(&mail("ada@example.org", "Received: a\r\nSubject: Re: Spring\r\n\r\nX-Posthaste-Forwarded: yes\r\n")));
        assert!(!may_be(&mail("", "Subject: Re: Spring\r\n\r\n")));
        assert!(!may_be(&mail("ada@example.org", "x-posthaste-forwarded: yes\r\n\r\n")));
        assert!(!may_be(&mail("ada@example.org", &"Received: a\r\n".repeat(31))));
    }

    #[test]
    fn lines_end_as_smtp_wants_them() {
        for (raw, expected) in
            [("a", "a\r\n"), ("a\n", "a\r\n"), ("a\r\nb", "a\r\nb\r\n"), ("a\rb\n", "a\r\nb\r\n"), ("", "\r\n"), ("a\r", "a\r\n")]
        {
            assert_eq!(String::from_utf8(with_line_ends(raw.as_bytes())).unwrap(), expected, "{raw:?}");
        }
    }
}
