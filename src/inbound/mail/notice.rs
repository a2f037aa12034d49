//! Notices in a mail system's own words: who is meant, by where addresses stand, and what is said about them.

use super::class::{self, Evidence};
use super::letter::Letter;
use super::words::{self, DAEMONS, PHRASES_OF_DELAY, PHRASES_OF_NOTICES, SUBJECTS_OF_NOTICES};
use super::{Kind, Recipient, addresses, short};

/// A recipient, and whether the notice itself names it.
pub struct Found {
    pub recipient: Recipient,
    pub is_sure: bool,
}

/// Whether a program about delivery wrote this.
pub fn is_from_daemon(letter: &Letter) -> bool {
    let from = letter.headers.get("from").unwrap_or_default().to_lowercase();
    letter.headers.has("x-failed-recipients")
        || words::any(&from, DAEMONS)
        || words::any(&letter.from.to_lowercase(), DAEMONS)
        || from.contains("<>")
}

/// The failed recipients, where this is such a notice; possibly with an empty address.
pub fn read(letter: &Letter) -> Option<Vec<Found>> {
    let text = letter.text.to_lowercase();
    let subject = letter.subject.to_lowercase();
    let phrase = words::any(&text, PHRASES_OF_NOTICES);
    let by_subject = words::any(&subject, SUBJECTS_OF_NOTICES);
    let daemon = is_from_daemon(letter);
    let null = letter.headers.get("return-path").is_some_and(|path| path.trim() == "<>");
    let is_answer = automatic_answer(letter);
    let is_notice = letter.headers.has("x-failed-recipients")
        || daemon && (phrase || by_subject || class::reply_code(&text).is_some())
        || letter.is_report && (phrase || by_subject)
        || by_subject && phrase && !is_answer
        || null && phrase && (class::reply_code(&text).is_some() || by_subject);
    if !is_notice {
        return None;
    }
    let delayed =
        words::any(&text, PHRASES_OF_DELAY) || subject.contains("delayed") || subject.starts_with("warning") && !text.contains("permanent");
    let found = find(letter);
    let is_sure = !found.is_empty();
    let addresses = if is_sure { found } else { vec![of_copy(letter).unwrap_or_default()] };
    let of_one = |address: &String| {
        let (near, whole) = told(&letter.text, &letter.subject, address, &addresses);
        let evidence = Evidence { near: &near, whole: &whole, delayed, ..Evidence::default() };
        let verdict = class::judge(&evidence);
        let kind = if delayed { Kind::Delayed } else { Kind::Bounce };
        let status = class::status(&near).filter(|(class, _, _)| *class != 2);
        let status = status.map(|(class, subject, detail)| format!("{class}.{subject}.{detail}"));
        let diagnostic = if near.trim().is_empty() { short(&letter.text) } else { short(&near) };
        Found {
            recipient: Recipient { address: address.clone(), original: None, kind, status, diagnostic, verdict: Some(verdict) },
            is_sure,
        }
    };
    Some(addresses.iter().map(of_one).collect())
}

/// `Re:` of a conversation: somebody who writes about a failure, not a system.
fn automatic_answer(letter: &Letter) -> bool {
    let subject = letter.subject.trim_start().to_lowercase();
    subject.starts_with("re:") && letter.headers.has("in-reply-to")
}

/// The failed addresses that a notice names, the surest way first.
pub fn find(letter: &Letter) -> Vec<String> {
    let failed: Vec<String> = letter.headers.all("x-failed-recipients").flat_map(addresses::all).collect();
    if !failed.is_empty() {
        return failed;
    }
    let ours = ours(letter);
    let is_ours = |address: &String| ours.iter().any(|known| known.eq_ignore_ascii_case(address));
    for exclude in [true, false] {
        let wanted = |address: &String| !(is_helper(address) || address.eq_ignore_ascii_case(&letter.from) || exclude && is_ours(address));
        let by_place: Vec<String> = unique(lines(&letter.text).filter_map(|line| leading(line).filter(&wanted)));
        if !by_place.is_empty() {
            return by_place;
        }
        let by_words: Vec<String> =
            unique(lines(&letter.text).filter(|line| is_about_failure(line)).flat_map(addresses::all).filter(&wanted));
        if !by_words.is_empty() {
            return by_words;
        }
        let any = lines(&letter.text).chain([letter.subject.as_str()]).flat_map(addresses::all).find(&wanted);
        if let Some(address) = any {
            return vec![address];
        }
    }
    Vec::new()
}

fn unique(found: impl Iterator<Item = String>) -> Vec<String> {
    let mut unique: Vec<String> = Vec::new();
    for address in found {
        if unique.len() < 100 && !unique.iter().any(|known| known.eq_ignore_ascii_case(&address)) {
            unique.push(address);
        }
    }
    unique
}

/// Lines in which addresses of recipients may stand.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().take(2_000).filter(|line| {
        let line = line.to_lowercase();
        !words::any(
            &line,
            &[
                "message-id",
                "message id",
                "message identifier",
                "mail from:",
                "envelope-from",
                "http://",
                "https://",
                "contact",
                "please call",
                "e-mail address of",
                "your username",
                "from:",
            ],
        ) || leading(&line).is_some()
            || line.contains("rcpt to")
    })
}

/// The address that a line opens with.
fn leading(line: &str) -> Option<String> {
    let line = line.trim_start_matches([' ', '\t', '*', '<', '>', '-', '[', '(', '"', '\'', '•', '·', '+']);
    let line = line.strip_prefix("mailto:").unwrap_or(line);
    let address = addresses::first(line)?;
    line.get(..address.len()).is_some_and(|start| start.eq_ignore_ascii_case(&address)).then_some(address)
}

fn is_about_failure(line: &str) -> bool {
    words::any(
        &line.to_lowercase(),
        &[
            "rcpt to",
            "recipient",
            "failed",
            "fail",
            "to:",
            "user",
            "deliver",
            "unknown",
            "address",
            "mailbox",
            "account",
            "550",
            "553",
            "554",
            "552",
            "generated from",
            "could not",
            "does not",
            "not a member",
            "rejected",
            "reach",
            "доставлен",
            "получател",
            "宛",
        ],
    )
}

/// Addresses that notices name as help.
fn is_helper(address: &str) -> bool {
    let local = address.split('@').next().unwrap_or_default().to_ascii_lowercase();
    matches!(local.as_str(), "mailer-daemon" | "abuse" | "support" | "helpdesk" | "hostmaster")
}

/// Addresses of the sender: to them the notice went, from them the mail came.
fn ours(letter: &Letter) -> Vec<String> {
    let outer = ["to", "delivered-to", "x-original-to", "envelope-to"].into_iter().flat_map(|name| letter.headers.all(name));
    let inner = letter
        .copy
        .iter()
        .flat_map(|copy| ["from", "return-path", "sender", "reply-to", "errors-to"].into_iter().flat_map(|name| copy.headers.all(name)));
    outer.chain(inner).flat_map(addresses::all).collect()
}

/// The one recipient of the returned mail.
fn of_copy(letter: &Letter) -> Option<String> {
    let copy = letter.copy.as_ref()?;
    let one = |values: Vec<String>| (values.len() == 1).then(|| values.into_iter().next()).flatten();
    let passed = || {
        copy.headers
            .all("received")
            .find_map(|line| line.split_once(" for ").and_then(|(_, rest)| addresses::first(rest.split(';').next().unwrap_or_default())))
    };
    one(copy.headers.all("x-failed-recipients").flat_map(addresses::all).collect())
        .or_else(|| one(copy.headers.all("to").flat_map(addresses::all).collect()))
        .or_else(passed)
}

/// What a text says of one address (from the line that opens with it to the next address, and every other line that names it), and all
/// of it but what it says of `others`; the subject speaks of an address that is alone.
pub fn told(text: &str, subject: &str, address: &str, others: &[String]) -> (String, String) {
    let near = parted(text, address).0;
    let mut whole = text.to_string();
    let mut alone = true;
    for other in others.iter().filter(|other| !other.eq_ignore_ascii_case(address)).take(20) {
        whole = parted(&whole, other).1;
        alone = false;
    }
    if alone {
        whole.push('\n');
        whole.push_str(subject);
    }
    (near, whole)
}

/// The lines about an address, and the rest.
fn parted(text: &str, address: &str) -> (String, String) {
    let (mut near, mut rest) = (String::new(), String::new());
    let address = address.to_lowercase();
    let mut open = false;
    for line in text.lines().take(2_000) {
        if let Some(led) = leading(line) {
            open = led.to_lowercase() == address;
        }
        let is_near = !address.is_empty() && (open || line.to_lowercase().contains(&address));
        let place = if is_near { &mut near } else { &mut rest };
        if !is_near || place.len() < 4_000 {
            place.push_str(line);
            place.push('\n');
        }
    }
    (near, rest)
}
