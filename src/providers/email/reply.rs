//! What a reply of a mail server means: text first, then the enhanced code, then the three digits (standards.md §1.8).
//!
//! Pure. A block or policy reply is about us and never suppresses a person; only an unambiguous "no such mailbox" does.

use super::phrases::{LISTS, PATTERNS};
use crate::providers::Outcome;
use crate::types::Failure;
use std::time::Duration;

/// What a negative reply says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// No such mailbox: suppress the address now.
    Invalid,
    /// The mailbox has another owner: suppress.
    OwnerChanged,
    /// The domain takes no mail; suppressed only after a second time at least 24 hours later.
    Domain,
    /// The mailbox is disabled; as for the domain.
    Inactive,
    /// The mailbox is full, also where the code says "for good".
    Quota,
    /// Too large.
    Size,
    /// The form of the message is refused: the author's fault.
    Content,
    /// Try again.
    Transient,
    /// Try again after a while: greylisting.
    Greylisted,
    /// Try again, and slow down towards this site.
    Throttle,
    /// Our address, domain or content is blocked.
    Block,
    /// SPF, DKIM, DMARC, reverse DNS: our set-up is refused.
    Authentication,
    /// The relay does not know us: wrong user or password, no right to relay.
    Credentials,
    /// The dialogue was not understood.
    Protocol,
    /// Refused for good, without a reason that we know.
    Rejected,
}

impl Class {
    /// The class as the sender's outcome; `reply` is kept with the attempt.
    pub fn outcome(self, code: u16, reply: String) -> Outcome {
        let temporary = (400..500).contains(&code);
        let refused = |class: Failure, suppress: bool, reply: String| Outcome::Refused { class, suppress, reply };
        let later =
            |after: Option<u64>, throttled: bool, reply: String| Outcome::Later { after: after.map(Duration::from_secs), throttled, reply };
        match self {
            Class::Invalid => refused(Failure::InvalidAddress, true, reply),
            Class::OwnerChanged => refused(Failure::OwnerChanged, true, reply),
            Class::Domain => refused(Failure::InvalidDomain, false, reply),
            Class::Inactive => refused(Failure::Inactive, false, reply),
            Class::Size => refused(Failure::TooLarge, false, reply),
            Class::Content => refused(Failure::Content, false, reply),
            // "Service not available" and "system not accepting messages" are said by the server, of itself.
            Class::Transient if code == 421 || temporary && enhanced(&reply) == Some((3, 2)) => Outcome::Away { after: None, reply },
            Class::Quota | Class::Transient => later(None, false, reply),
            Class::Greylisted => later(Some(300), false, reply),
            Class::Throttle => later(None, true, reply),
            Class::Block if temporary => later(None, true, reply),
            Class::Block => refused(Failure::Blocked, false, reply),
            Class::Authentication if temporary => later(None, true, reply),
            Class::Authentication => refused(Failure::Policy, false, reply),
            Class::Credentials if temporary => later(None, false, reply),
            Class::Credentials => Outcome::Broken { reply },
            Class::Protocol => refused(Failure::Protocol, false, reply),
            Class::Rejected => refused(Failure::Rejected, false, reply),
        }
    }
}

/// Reads a negative reply. `text` may still hold the enhanced code and may be several lines joined.
pub fn classify(code: u16, text: &str) -> Class {
    informed(code, text).unwrap_or_else(|| by_code(code))
}

/// What the words and the enhanced code of a reply say; `None` when only its three digits could tell.
pub fn informed(code: u16, text: &str) -> Option<Class> {
    let enhanced = enhanced(text);
    let temporary = (400..500).contains(&code);
    let said = enhanced
        .filter(|code| is_exact(*code))
        .and_then(|(subject, detail)| by_enhanced(code, temporary, subject, detail))
        .or_else(|| by_words(code, text));
    match (said, enhanced) {
        // Only what is unambiguous suppresses at once: a mailbox that is there, though disabled, is not "unknown".
        (Some(Class::Invalid), Some((2, 0 | 1))) => Some(Class::Inactive),
        (Some(Class::Inactive), Some((1, 1))) if !temporary => Some(Class::Invalid),
        (said, _) => said,
    }
    .or_else(|| enhanced.and_then(|(subject, detail)| by_enhanced(code, temporary, subject, detail)))
}

/// What the words of a reply say, its enhanced code left aside.
pub fn by_words(code: u16, text: &str) -> Option<Class> {
    let (words, links) = spoken(text);
    by_text(code, (400..500).contains(&code), &words, &links)
}

/// What an enhanced code says by itself; `None` for those that say nothing (`5.0.0`).
pub fn by_status(code: u16, subject: u16, detail: u16) -> Option<Class> {
    by_enhanced(code, (400..500).contains(&code), subject, detail)
}

/// Codes that say more than any words beside them: how our mail is authenticated, and Gmail's rate limit.
fn is_exact(code: (u16, u16)) -> bool {
    matches!(code, (7, 17 | 18 | 23..=32 | 40 | 509 | 515))
}

/// Subject and detail of the first enhanced status code (`5.1.1` → 1, 1).
pub fn enhanced(text: &str) -> Option<(u16, u16)> {
    text.split(|c: char| c.is_whitespace() || matches!(c, '#' | '(' | ')' | '[' | ']' | ',' | ';' | ':' | '-' | '<' | '>')).find_map(
        |word| {
            let mut parts = word.trim_end_matches('.').split('.');
            let (class, subject, detail) = (parts.next()?, parts.next()?, parts.next()?);
            let number = |text: &str| text.parse::<u16>().ok().filter(|_| text.len() <= 3);
            (matches!(class, "4" | "5") && parts.next().is_none()).then_some((number(subject)?, number(detail)?))
        },
    )
}

/// The text in lower case without addresses and links, which are not what the server says (`spam@example.org` is no spam), and the links.
fn spoken(text: &str) -> (String, String) {
    let (mut words, mut links) = (String::with_capacity(text.len()), String::new());
    for word in text.split_whitespace().filter(|word| !word.contains('@')) {
        let place = if word.contains("://") { &mut links } else { &mut words };
        place.push_str(&word.to_lowercase());
        place.push(' ');
    }
    (words, links)
}

fn by_text(code: u16, temporary: bool, words: &str, links: &str) -> Option<Class> {
    // A wrong password is told by its code: its text may be anything.
    if matches!(code, 530 | 534 | 535 | 538 | 454) {
        return Some(Class::Credentials);
    }
    if LISTS.iter().any(|list| links.contains(list)) {
        return Some(Class::Block);
    }
    PATTERNS
        .iter()
        .filter(|(kind, _, _)| *kind == '*' || (*kind == '4') == temporary)
        .find(|(_, _, patterns)| patterns.iter().any(|pattern| contains_word(words, pattern)))
        .map(|(_, class, _)| *class)
}

/// `pattern` in `text`, not inside a longer word before it: `rbl` is not in `marble`.
fn contains_word(text: &str, pattern: &str) -> bool {
    text.match_indices(pattern).any(|(at, _)| !text[..at].ends_with(|c: char| c.is_ascii_alphanumeric()))
}

fn by_enhanced(code: u16, temporary: bool, subject: u16, detail: u16) -> Option<Class> {
    Some(match (subject, detail) {
        (2, 2) | (3, 1) => Class::Quota,
        (2, 3) | (3, 4) if !temporary => Class::Size,
        (5, 3) => Class::Throttle,
        (1, 7 | 8) if !temporary => Class::Authentication,
        (4, 4) if !temporary => Class::Domain,
        (3, 0) if !temporary => return None,
        (7, 28) => Class::Throttle,
        (2, 1) if temporary => Class::Throttle,
        (7, 0) if temporary && code == 421 => Class::Throttle,
        (7, 23..=27 | 29..=32 | 40 | 509 | 515) => Class::Authentication,
        (7, _) if temporary => Class::Block,
        _ if temporary => Class::Transient,
        (1, 1 | 3 | 6 | 10) => Class::Invalid,
        (1, 2) | (7, 18) => Class::Domain,
        (2, 1) | (7, 13) => Class::Inactive,
        (7, 17) => Class::OwnerChanged,
        (7, 8 | 9 | 11) => Class::Credentials,
        (6, 7) => Class::Rejected,
        (6, _) => Class::Content,
        (7, _) => Class::Block,
        (5, 0) => return None,
        (5, _) => Class::Protocol,
        // The relay gave up on the way: x.4.x and x.3.x are about the path, also when they come as 5.
        (3 | 4, _) => Class::Transient,
        _ => return None,
    })
}

/// What three digits say without words.
pub fn by_code(code: u16) -> Class {
    match code {
        452 => Class::Transient,
        454 => Class::Credentials,
        400..=499 => Class::Transient,
        500..=504 | 521 => Class::Protocol,
        525 => Class::Inactive,
        530 | 534 | 535 | 538 => Class::Credentials,
        551 | 553 => Class::Invalid,
        552 => Class::Size,
        554 => Class::Block,
        556 => Class::Domain,
        _ => Class::Rejected,
    }
}

#[cfg(test)]
mod tests {
    use super::Class::*;
    use super::*;

    /// Replies as real servers give them.
    const REPLIES: &[(Class, u16, &str)] = &[
        (
            Invalid,
            550,
            "5.1.1 The email account that you tried to reach does not exist. Please try double-checking the recipient's email address for typos or unnecessary spaces. https://support.google.com/mail/?p=NoSuchUser",
        ),
        (Invalid, 550, "5.1.1 <ada@example.org>: Recipient address rejected: User unknown in virtual mailbox table"),
        (Invalid, 550, "5.1.1 <ada@example.org>: Recipient address rejected: User unknown in local recipient table"),
        (Invalid, 550, "5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup"),
        (Invalid, 550, "5.1.0 <ada@example.org> User unknown"),
        (Invalid, 550, "No such user!"),
        (Invalid, 550, "Unknown user"),
        (Invalid, 550, "Invalid recipient <ada@example.org>"),
        (Invalid, 550, "no mailbox here by that name"),
        (Invalid, 553, "5.3.0 <ada@example.org>... User unknown"),
        (Invalid, 551, "not our customer"),
        (Invalid, 554, "delivery error: dd This user doesn't have a yahoo.com account (ada@yahoo.com) [0] - mta1234.mail.ne1.yahoo.com"),
        (Invalid, 550, "5.4.1 Recipient address rejected: Access denied. [AM5EUR02FT012.eop-EUR02.prod.protection.outlook.com]"),
        (Invalid, 550, "5.7.1 <spam@example.org>: Recipient address rejected: user unknown"),
        (Invalid, 550, "5.1.3 bad destination mailbox address syntax"),
        (Invalid, 550, "Message was not accepted -- invalid mailbox.  Local mailbox ada@mail.ru is unavailable: user not found"),
        (Invalid, 550, "5.1.6 recipient no longer on server: ada@example.org"),
        (OwnerChanged, 550, "5.7.17 mailbox owner has changed"),
        (Inactive, 550, "5.2.1 The email account that you tried to reach is disabled."),
        (
            Inactive,
            550,
            "5.2.1 The email account that you tried to reach is inactive. For more information, go to https://support.google.com/mail/?p=DisabledUser",
        ),
        (Inactive, 554, "5.2.1 This mailbox has been deactivated"),
        (Inactive, 525, "5.7.13 User Account Disabled"),
        (Inactive, 550, "5.5.0 Requested action not taken: mailbox unavailable (S2017062302)."),
        (Domain, 550, "5.1.2 <ada@exmaple.org>: Recipient address rejected: Domain not found"),
        (Domain, 556, "5.1.10 <ada@example.org>: Recipient address rejected: Domain example.org does not accept mail (nullMX)"),
        (Domain, 550, "5.7.18 Domain has null MX"),
        (Domain, 550, "Unrouteable address"),
        (
            Quota,
            452,
            "4.2.2 The email account that you tried to reach is over quota. Please direct the recipient to https://support.google.com/mail/?p=OverQuotaTemp",
        ),
        (Quota, 552, "5.2.2 The email account that you tried to reach is over quota and inactive."),
        (Quota, 552, "5.2.2 <ada@example.org>: Recipient address rejected: Mailbox full"),
        (Quota, 452, "4.3.1 Insufficient system storage"),
        (Quota, 554, "5.2.2 mailbox full; Quota exceeded"),
        (Quota, 550, "5.2.2 user has exceeded storage allocation"),
        (Size, 552, "5.3.4 Message size exceeds fixed limit"),
        (Size, 552, "5.2.3 Your message exceeded Google's message size limits."),
        (Content, 550, "5.6.0 Lone CR or LF in headers (see RFC2822 section 2.2)"),
        (Content, 554, "5.6.1 Messages with 8-bit content are not accepted here"),
        (Transient, 451, "4.3.0 Mail server temporarily rejected message."),
        (Transient, 451, "4.4.1 Connection timed out"),
        (Transient, 421, "Service not available, closing transmission channel"),
        (Transient, 450, "4.1.8 <news@shop.example>: Sender address rejected: Domain lookup failed"),
        (Transient, 450, "4.2.0 <ada@example.org>: Recipient address rejected: please come back later"),
        (Transient, 451, "Temporary local problem - please try later"),
        (Transient, 421, "4.3.2 System not accepting network messages"),
        (Transient, 450, "4.1.1 <ada@example.org>: Recipient address rejected: unverified address: Address verification in progress"),
        (
            Greylisted,
            450,
            "4.2.0 <ada@example.org>: Recipient address rejected: Greylisted, see http://postgrey.schweikert.ch/help/example.org.html",
        ),
        (Greylisted, 451, "4.7.1 Greylisting in action, please come back later"),
        (
            Throttle,
            421,
            "4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your IP address. To protect our users from spam, mail sent from your IP address has been temporarily rate limited.",
        ),
        (
            Throttle,
            450,
            "4.2.1 The user you are trying to contact is receiving mail at a rate that prevents additional messages from being delivered.",
        ),
        (
            Throttle,
            421,
            "4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints - 4.16.55.1",
        ),
        (Throttle, 421, "4.7.0 [TS03] All messages from 192.0.2.1 will be permanently deferred; Retrying will NOT succeed."),
        (Throttle, 452, "4.5.3 Too many recipients"),
        (Throttle, 552, "5.5.3 too many recipients"),
        (Throttle, 451, "4.7.500 Server busy. Please try again later from [192.0.2.1]. (AS77712)"),
        (Throttle, 421, "RP-001 The mail server IP connecting to Outlook.com server has exceeded the rate limit allowed."),
        (Throttle, 421, "4.7.0 Try again later, closing connection."),
        (Throttle, 421, "Too many concurrent SMTP connections; please try again later."),
        (
            Block,
            550,
            "5.7.1 [192.0.2.1] Our system has detected that this message is likely unsolicited mail. To reduce the amount of spam sent to Gmail, this message has been blocked.",
        ),
        (
            Block,
            550,
            "5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. Please contact your Internet service provider since part of their network is on our block list (S3150).",
        ),
        (Block, 554, "5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org"),
        (
            Block,
            550,
            "spam message rejected. Please visit http://help.mail.ru/notspam-support/id?c=x or report details to abuse@corp.mail.ru. Error code: 1234.",
        ),
        (Block, 554, "5.7.1 [2] Message rejected under suspicion of SPAM; https://ya.cc/1IrBc"),
        (Block, 553, "5.7.1 [BL21] Connections will not be accepted from 192.0.2.1, because the ip is in Spamhaus's list"),
        (Block, 421, "4.7.1 Connection refused - 192.0.2.1 has a poor reputation on Cloudmark Sender Intelligence"),
        (Block, 554, "Transaction failed"),
        (Block, 550, "5.7.606 Access denied, banned sending IP [192.0.2.1]"),
        (Block, 541, "5.4.1 Mail rejected by local policy"),
        (Block, 554, "5.7.0 Virus Eicar-Test-Signature found"),
        (
            Authentication,
            550,
            "5.7.26 This mail has been blocked because the sender is unauthenticated. Gmail requires all senders to authenticate with either SPF or DKIM.",
        ),
        (
            Authentication,
            550,
            "5.7.509 Access denied, sending domain shop.example does not pass DMARC verification and has a DMARC policy of reject.",
        ),
        (Authentication, 550, "5.7.515 Access denied, sending domain shop.example doesn't meet the required authentication level."),
        (Authentication, 550, "5.7.23 The message was rejected because of Sender Policy Framework violation"),
        (Authentication, 550, "5.7.25 [192.0.2.1] The IP address sending this message does not have a PTR record setup"),
        (Credentials, 535, "5.7.8 Error: authentication failed: UGFzc3dvcmQ6"),
        (Credentials, 530, "5.7.0 Authentication required"),
        (Credentials, 554, "5.7.1 <ada@example.org>: Relay access denied"),
        (Credentials, 454, "4.7.0 Temporary authentication failure: generic failure"),
        (Protocol, 501, "5.5.4 Syntax: MAIL FROM:<address>"),
        (Protocol, 503, "5.5.1 Error: need MAIL command"),
        (Protocol, 500, "unrecognized command"),
        (Rejected, 550, "Requested action not taken"),
    ];

    #[test]
    fn real_replies_are_read_as_the_table_of_the_standards_says() {
        let wrong: Vec<String> = REPLIES
            .iter()
            .filter_map(|(expected, code, text)| {
                let class = classify(*code, text);
                (class != *expected).then(|| format!("{expected:?} expected, {class:?} read: {code} {text}"))
            })
            .collect();
        assert!(REPLIES.len() >= 60 && wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn only_a_permanent_reply_about_the_mailbox_itself_suppresses() {
        for (class, code, text) in REPLIES {
            let outcome = class.outcome(*code, String::new());
            let suppresses = matches!(outcome, Outcome::Refused { suppress: true, .. });
            assert_eq!(suppresses, matches!(class, Invalid | OwnerChanged), "{text}");
            assert!(!(suppresses && *code < 500), "{text}");
            // A temporary code is never the end of a message.
            assert!(*code >= 500 || matches!(outcome, Outcome::Later { .. } | Outcome::Away { .. }), "{text}");
        }
    }
}
