//! Reads one mail that came back: a bounce, a warning of delay, a delivery receipt, a complaint, an answer of a machine, a wish to be left
//! out, an answer of a person, or none of these.
//!
//! Pure, for any bytes, without panic. Recognition goes by general rules: the reports of RFC 3464 and RFC 5965 first; then texts of mail
//! systems, by where addresses stand in them and what is said about them; the class by the table that also reads replies of mail servers
//! ([`crate::providers::email::reply`]). Whom it concerns in our base, and what follows, is the business of others.

mod addresses;
mod automatic;
mod class;
mod complaint;
mod fields;
mod letter;
mod notice;
mod report;
mod words;

pub use class::{Verdict, bounce, reason, word};
pub use letter::LONGEST_READ;
pub use words::{is_stop, is_stop_all};

use letter::Letter;

/// What a mail is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A message was not delivered, for good.
    Bounce,
    /// Not delivered yet; the system goes on trying.
    Delayed,
    /// It was delivered.
    Delivered,
    /// Somebody called a message spam, or the report of a filter.
    Complaint,
    /// Nobody wrote it by hand: out of office, an acknowledgement.
    AutoReply,
    /// A wish to get no more mail.
    Unsubscribe,
    /// An answer of a person.
    Reply,
    /// Any other mail.
    None,
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Kind::Bounce => "bounce",
            Kind::Delayed => "delayed",
            Kind::Delivered => "delivered",
            Kind::Complaint => "complaint",
            Kind::AutoReply => "auto_reply",
            Kind::Unsubscribe => "unsubscribe",
            Kind::Reply => "reply",
            Kind::None => "none",
        }
    }
}

/// What a mail says.
#[derive(Debug, Clone)]
pub struct Reading {
    pub kind: Kind,
    /// One for each address that a report names; none where it names none.
    pub recipients: Vec<Recipient>,
    /// The type of a complaint: `abuse`, `fraud`, `not-spam` …
    pub feedback: Option<String>,
    /// Message-IDs of the mail that it is about, the likeliest first, without angle brackets.
    pub about: Vec<String>,
    /// The headers and the start of the text of the mail that it is about, for tokens in its links.
    pub copy: String,
    /// Who wrote it.
    pub from: String,
    pub subject: String,
    /// What it says itself; of an answer, without what is quoted.
    pub text: String,
}

/// What a report says of one address.
#[derive(Debug, Clone)]
pub struct Recipient {
    /// As the report names it; empty where only the mail as a whole is known to have failed.
    pub address: String,
    /// The address before it was forwarded, where it is told.
    pub original: Option<String>,
    pub kind: Kind,
    /// RFC 3463, as it stands in the report.
    pub status: Option<String>,
    /// What the remote server said, at most 1 KiB.
    pub diagnostic: String,
    /// Of bounces and delays.
    pub verdict: Option<Verdict>,
}

impl Recipient {
    /// The class by its word (standards.md §1.8).
    pub fn class(&self) -> Option<&'static str> {
        self.verdict.as_ref().map(|verdict| word(verdict, &self.diagnostic))
    }
}

/// Reads any bytes.
pub fn read(raw: &[u8]) -> Reading {
    of_letter(&letter::open(raw), 0)
}

fn of_letter(letter: &Letter, depth: usize) -> Reading {
    let mut reading = Reading {
        kind: Kind::None,
        recipients: Vec::new(),
        feedback: None,
        about: about(letter),
        copy: letter.copy.as_ref().map(|copy| copy.text.clone()).unwrap_or_default(),
        from: letter.from.clone(),
        subject: letter.subject.clone(),
        text: letter.text.trim().to_string(),
    };
    if let Some(complaint) = complaint::read(letter) {
        (reading.kind, reading.recipients, reading.feedback) = (Kind::Complaint, complaint.recipients, Some(complaint.kind));
        return reading;
    }
    reading.recipients = report::read(letter);
    if !reading.recipients.is_empty() {
        reading.kind = reading.recipients.iter().map(|recipient| recipient.kind).min().unwrap_or(Kind::None);
        return reading;
    }
    if automatic::is_unsubscribe(letter) {
        reading.kind = Kind::Unsubscribe;
        return reading;
    }
    let from_daemon = notice::is_from_daemon(letter);
    if !from_daemon && automatic::says_so(letter) {
        reading.kind = Kind::AutoReply;
        return reading;
    }
    if let Some(recipients) = notice::read(letter) {
        // A relay that packs another's report into its own.
        let inner = letter
            .attached
            .as_ref()
            .filter(|_| depth == 0 && recipients.iter().all(|recipient| !recipient.is_sure))
            .map(|inner| of_letter(inner, 1));
        if let Some(inner) = inner.filter(|inner| matches!(inner.kind, Kind::Bounce | Kind::Delayed) && !inner.recipients.is_empty()) {
            return inner;
        }
        reading.recipients = recipients.into_iter().map(|found| found.recipient).collect();
        reading.kind = reading.recipients.iter().map(|recipient| recipient.kind).min().unwrap_or(Kind::Bounce);
        return reading;
    }
    reading.kind = if automatic::says_so(letter) || automatic::sounds_so(letter) {
        Kind::AutoReply
    } else if automatic::answers(letter) && !from_daemon {
        Kind::Reply
    } else {
        Kind::None
    };
    if reading.kind == Kind::Reply {
        reading.text = automatic::without_quotation(&letter.text);
        // "Stop" as the whole answer.
        if is_stop(&reading.text) {
            reading.kind = Kind::Unsubscribe;
        }
    }
    reading
}

/// The sender and the recipients of a mail's envelope, as far as its headers keep them: what a mailbox is given is without its envelope.
pub fn envelope(raw: &[u8]) -> (String, Vec<String>) {
    let letter = letter::open(raw);
    let path = letter.headers.get("return-path");
    // Where no path is kept, the writer is who may be answered.
    let sender = path.map_or_else(|| Some(letter.from.clone()), addresses::first).unwrap_or_default();
    let mut recipients: Vec<String> = Vec::new();
    for name in ["delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "to", "cc"] {
        for address in letter.headers.all(name).flat_map(addresses::all).take(50) {
            if !recipients.iter().any(|known| known.eq_ignore_ascii_case(&address)) {
                recipients.push(address);
            }
        }
    }
    (sender, recipients)
}

/// Message-IDs of what a mail is about.
fn about(letter: &Letter) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    let copied = letter.copy.iter().flat_map(|copy| copy.headers.all("message-id"));
    let answered = letter.headers.all("in-reply-to").chain(letter.headers.all("references"));
    let reported = letter.status.iter().flat_map(|block| block.all("original-message-id").chain(block.all("x-original-message-id")));
    for value in copied.chain(reported).chain(answered) {
        for id in
            value.split(|letter: char| letter.is_whitespace() || matches!(letter, '<' | '>' | ',')).filter(|id| id.contains('@')).rev()
        {
            if !ids.iter().any(|known| known == id) && ids.len() < 20 {
                ids.push(id.to_string());
            }
        }
    }
    ids
}

/// At most 1 KiB, on one line.
fn short(text: &str) -> String {
    let mut short = String::new();
    for word in text.split_whitespace() {
        if short.len() + word.len() >= 1_024 {
            break;
        }
        if !short.is_empty() {
            short.push(' ');
        }
        short.push_str(word);
    }
    short
}
