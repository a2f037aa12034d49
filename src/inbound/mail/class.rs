//! The class of a failed delivery (standards.md §1.8), from all that a report says: diagnostic, status, the words around the address.

use crate::providers::email::reply::{self, Class};
use crate::store::tallies::Bounce;

/// What a report says of one recipient, before it is judged.
#[derive(Debug, Default, Clone)]
pub struct Evidence<'a> {
    /// The remote server's words, if they are told apart.
    pub diagnostic: &'a str,
    /// RFC 3463, as the report gives it.
    pub status: Option<(u16, u16, u16)>,
    /// The words about this recipient.
    pub near: &'a str,
    /// All that the notice says, and its subject.
    pub whole: &'a str,
    /// The report says that it is not over yet.
    pub delayed: bool,
}

/// The judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub class: Class,
    /// The three digits of the reply, where they stand.
    pub code: Option<u16>,
    /// The relay gave up after trying for its time.
    pub expired: bool,
}

pub fn judge(evidence: &Evidence) -> Verdict {
    let code = [evidence.diagnostic, evidence.near, evidence.whole].into_iter().find_map(|text| reply_code(text).map(|(code, _)| code));
    // The reply in the text says whether the server meant "for good"; else the status, else what the report calls it.
    let assumed = match (code, evidence.status) {
        (Some(code), _) => code,
        (None, Some((4, _, _))) => 450,
        (None, None) if evidence.delayed => 450,
        _ => 550,
    };
    let texts = [evidence.diagnostic, after_code(evidence.near), evidence.near, after_code(evidence.whole), evidence.whole];
    let by_status = evidence.status.and_then(|(class, subject, detail)| {
        let code = code.unwrap_or(if class == 4 { 450 } else { 550 });
        reply::by_status(code, subject, detail)
    });
    let read = |text: &str| if text.trim().is_empty() { None } else { reply::informed(assumed, text) };
    let class = texts[..1]
        .iter()
        .find_map(|text| read(text))
        .or_else(|| read(texts[1]))
        .or_else(|| read(texts[2]))
        .or(by_status)
        .or_else(|| read(texts[3]))
        .or_else(|| read(texts[4]))
        .unwrap_or_else(|| code.map_or(Class::Rejected, reply::by_code));
    // Who took the recipient and says after the whole message that there is none does not speak of the mailbox alone.
    let class = match class {
        Class::Invalid if !is_about_address(evidence) && after_data(evidence) => Class::Rejected,
        // And who says it to the name alone does, whatever the code beside it.
        Class::Inactive if after_name(evidence) && says_unknown(assumed, evidence) => Class::Invalid,
        class => class,
    };
    let all = format!("{} {} {}", evidence.diagnostic, evidence.near, evidence.whole).to_lowercase();
    let gave_up = matches!(evidence.status, Some((_, 4, 7))) || super::words::any(&all, GAVE_UP);
    let expired = !evidence.delayed && gave_up && matches!(class, Class::Transient | Class::Greylisted | Class::Throttle | Class::Rejected);
    Verdict { class, code, expired }
}

/// The server's own words carry a code of RFC 3463 that speaks of the address.
fn is_about_address(evidence: &Evidence) -> bool {
    matches!(evidence.status, Some((5, 1, _))) || matches!(reply::enhanced(evidence.diagnostic), Some((1, _)))
}

/// The reply came to the recipient's name.
fn after_name(evidence: &Evidence) -> bool {
    let near = format!("{}\n{}", evidence.near, evidence.diagnostic).to_lowercase();
    let near = near.split_whitespace().collect::<Vec<_>>().join(" ");
    super::words::any(&near, &["reply to rcpt", "after rcpt", "[rcpt_to]", "rcpt to:<"])
}

fn says_unknown(code: u16, evidence: &Evidence) -> bool {
    let said = [evidence.diagnostic, after_code(evidence.near), evidence.near].into_iter().find(|text| !text.trim().is_empty());
    said.is_some_and(|text| reply::by_words(code, text) == Some(Class::Invalid))
}

/// The reply came after the text of the message, not to the recipient's name.
fn after_data(evidence: &Evidence) -> bool {
    let near = format!("{}\n{}", evidence.near, evidence.diagnostic).to_lowercase();
    let near = near.split_whitespace().collect::<Vec<_>>().join(" ");
    if super::words::any(&near, &["reply to end of data", "after end of data", "reply to data"]) {
        return true;
    }
    // A transcript: what was said last before the refusal.
    let mut command = "";
    for line in evidence.whole.lines().map(str::trim) {
        if let Some(said) = line.strip_prefix(">>>") {
            command = said.trim();
        } else if line == "DATA" {
            return true;
        } else if line.strip_prefix("<<<").is_some_and(|reply| reply.trim_start().starts_with('5')) {
            return command.eq_ignore_ascii_case("DATA") || command == ".";
        }
    }
    false
}

const GAVE_UP: &[&str] = &[
    "expired",
    "retry time",
    "retry timeout",
    "delivery time",
    "too long",
    "giving up",
    "unable to deliver this message after",
    "timed out",
    "maximum delivery attempts",
    "message timeout",
    "attempts",
    "retried",
];

/// The first `4xx` or `5xx` that stands like a reply code, and where.
pub fn reply_code(text: &str) -> Option<(u16, usize)> {
    let bytes = text.as_bytes();
    for (at, window) in bytes.windows(3).enumerate() {
        let [first @ (b'4' | b'5'), second @ b'0'..=b'7', third] = window else { continue };
        if !third.is_ascii_digit() {
            continue;
        }
        let before = at.checked_sub(1).and_then(|place| bytes.get(place));
        let after = bytes.get(at + 3);
        let opens = before.is_none_or(|byte| byte.is_ascii_whitespace() || b":;[(<'\">|,".contains(byte));
        let closes = after.is_none_or(|byte| byte.is_ascii_whitespace() || b"-:;,])".contains(byte));
        // A size, a port, a number of hours: not followed by words of a server, or preceded by what counts.
        let counted = after == Some(&b' ') && text.get(at + 4..).is_some_and(|rest| COUNTED.iter().any(|unit| rest.starts_with(unit)));
        if opens && closes && !counted {
            let code = u16::from(first - b'0') * 100 + u16::from(second - b'0') * 10 + u16::from(third - b'0');
            return Some((code, at));
        }
    }
    None
}

const COUNTED: &[&str] = &["bytes", "KB", "MB", "hours", "days", "minutes", "seconds", "messages", "lines", "byte", "kB"];

/// The text from the reply code on.
fn after_code(text: &str) -> &str {
    let Some((_, at)) = reply_code(text) else { return "" };
    let rest = text.get(at..).unwrap_or_default();
    let end = (0..=rest.len().min(700)).rev().find(|end| rest.is_char_boundary(*end)).unwrap_or_default();
    rest.get(..end).unwrap_or_default()
}

/// `5.1.1` anywhere in a field `Status`.
pub fn status(text: &str) -> Option<(u16, u16, u16)> {
    text.split(|letter: char| !(letter.is_ascii_digit() || letter == '.')).find_map(|word| {
        let mut parts = word.split('.').map(|part| part.parse::<u16>().ok().filter(|_| part.len() <= 3));
        let (class, subject, detail) = (parts.next()??, parts.next()??, parts.next()??);
        (matches!(class, 2 | 4 | 5) && parts.next().is_none()).then_some((class, subject, detail))
    })
}

/// Hard, soft or blocked: what is counted.
pub fn bounce(class: Class) -> Bounce {
    match class {
        Class::Invalid | Class::OwnerChanged | Class::Domain => Bounce::Hard,
        Class::Block | Class::Authentication | Class::Credentials | Class::Protocol => Bounce::Blocked,
        Class::Inactive
        | Class::Quota
        | Class::Size
        | Class::Content
        | Class::Transient
        | Class::Greylisted
        | Class::Throttle
        | Class::Rejected => Bounce::Soft,
    }
}

/// The class by its word in standards.md §1.8; which of ours is blocked is told by the text.
pub fn word(verdict: &Verdict, text: &str) -> &'static str {
    if verdict.expired {
        return "expired";
    }
    match verdict.class {
        Class::Invalid => "hard:invalid",
        Class::OwnerChanged => "hard:owner_changed",
        Class::Domain => "hard:domain",
        Class::Inactive => "hard:inactive",
        Class::Quota => "soft:quota",
        Class::Size | Class::Content => "soft:message",
        Class::Transient | Class::Greylisted => "transient",
        Class::Throttle => "throttle",
        Class::Block => blocked(&text.to_lowercase()),
        Class::Authentication | Class::Credentials => "policy:auth",
        Class::Protocol => "protocol",
        Class::Rejected => "rejected",
    }
}

fn blocked(text: &str) -> &'static str {
    const CONTENT: &[&str] = &["spam", "virus", "content", "phish", "malware", "url", "attachment", "header", "filter", "message looks"];
    const ADDRESS: &[&str] = &[
        "client host",
        " ip ",
        "[ip]",
        "spamhaus",
        "dnsbl",
        "rbl",
        "blacklist",
        "blocklist",
        "block list",
        "listed",
        "reputation",
        "connecting host",
        "host rejected",
    ];
    const DOMAIN: &[&str] =
        &["sender address", "sender domain", "your domain", "from domain", "domain of sender", "sender rejected", "mail from"];
    if super::words::any(text, ADDRESS) {
        "block:ip"
    } else if super::words::any(text, DOMAIN) {
        "block:domain"
    } else if super::words::any(text, CONTENT) {
        "block:content"
    } else {
        "block:ip"
    }
}

/// Why, in plain words.
pub fn reason(verdict: &Verdict) -> &'static str {
    if verdict.expired {
        return "given up after trying for too long";
    }
    match verdict.class {
        Class::Invalid => "no such mailbox",
        Class::OwnerChanged => "the mailbox has another owner",
        Class::Domain => "the domain takes no mail",
        Class::Inactive => "the mailbox is disabled",
        Class::Quota => "the mailbox is full",
        Class::Size => "the message is too large",
        Class::Content => "the form of the message is refused",
        Class::Transient => "temporary trouble",
        Class::Greylisted => "greylisted",
        Class::Throttle => "too much at once",
        Class::Block => "our address, domain or content is blocked",
        Class::Authentication => "our mail is not authenticated as asked",
        Class::Credentials => "the relay does not know us",
        Class::Protocol => "the dialogue was not understood",
        Class::Rejected => "refused without a reason that is known",
    }
}
