//! Takes a mail apart: its headers, what it says itself, the reports in it, and the copy of another mail that it brings along.
//!
//! Any bytes are a mail. Where MIME is absent or broken, the text is taken as it stands, and a copy inside the text is told by its headers.

use super::fields::{Fields, field};
use mail_parser::decoders::html::html_to_text;
use mail_parser::{Message, MessageParser, MessagePart, MimeHeaders, PartType};

/// Bytes of a mail that are read; what follows is a copy of ours that tells nothing more.
pub const LONGEST_READ: usize = 2 * 1024 * 1024;
/// Bytes of text that are looked through.
const LONGEST_TEXT: usize = 64 * 1024;
/// Mails in mails that are opened.
const DEEPEST: usize = 3;

/// A mail, taken apart.
#[derive(Debug, Default)]
pub struct Letter {
    pub headers: Fields,
    /// Decoded.
    pub subject: String,
    /// The first address of the From header, or what stands there instead.
    pub from: String,
    /// What it says itself: its text parts up to the copy.
    pub text: String,
    /// The blocks of `message/delivery-status`, or of fields in the text that say the same.
    pub status: Vec<Fields>,
    /// The fields of `message/feedback-report`.
    pub feedback: Option<Fields>,
    /// The mail that it is about.
    pub copy: Option<Enclosed>,
    /// Whether it calls itself a report about delivery.
    pub is_report: bool,
    /// A whole mail that is attached.
    pub attached: Option<Box<Letter>>,
}

/// The mail that a report is about, as far as it was returned.
#[derive(Debug, Default)]
pub struct Enclosed {
    pub headers: Fields,
    /// The start of its text, for tokens in links.
    pub text: String,
}

/// Opens any bytes.
pub fn open(raw: &[u8]) -> Letter {
    let raw = raw.get(..LONGEST_READ).unwrap_or(raw);
    // Empty lines before the headers would end them.
    let raw = raw.trim_ascii_start();
    // A defect of the parser must not cost more than this mail's structure.
    let structured = std::panic::catch_unwind(|| MessageParser::default().parse(raw).map(|message| taken_apart(&message, 0)));
    match structured {
        Ok(Some(letter)) => letter,
        Ok(None) | Err(_) => {
            let mut letter = Letter { text: lossy(raw), ..Letter::default() };
            letter.cut_copy();
            letter
        }
    }
}

fn taken_apart(message: &Message, depth: usize) -> Letter {
    let mut letter = Letter { headers: headers(message), ..Letter::default() };
    letter.subject = message.subject().map(|subject| subject.chars().take(1_000).collect()).unwrap_or_default();
    letter.from = message
        .from()
        .and_then(|from| from.first())
        .and_then(|first| first.address().or(first.name()))
        .map(str::to_string)
        .or_else(|| letter.headers.get("from").map(str::to_string))
        .unwrap_or_default();
    letter.is_report = message.content_type().is_some_and(|kind| {
        kind.ctype().eq_ignore_ascii_case("multipart") && kind.subtype().is_some_and(|subtype| subtype.eq_ignore_ascii_case("report"))
    });
    let mut plain = String::new();
    let mut html = String::new();
    for part in &message.parts {
        letter.part(part, &mut plain, &mut html, depth);
    }
    letter.text = if plain.trim().is_empty() { html_to_text(&html) } else { plain };
    if letter.text.trim().is_empty() && letter.status.is_empty() {
        // A multipart whose parts cannot be found: the text stands between the headers and the end all the same.
        letter.text = lossy(body(message));
    }
    letter.cut_copy();
    letter
}

impl Letter {
    fn part(&mut self, part: &MessagePart, plain: &mut String, html: &mut String, depth: usize) {
        let kind = part.content_type();
        let subtype = kind.and_then(|kind| kind.subtype()).unwrap_or_default().to_ascii_lowercase();
        let is_message = kind.is_some_and(|kind| kind.ctype().eq_ignore_ascii_case("message"));
        let attached = part.content_disposition().is_some_and(|disposition| disposition.is_attachment());
        match &part.body {
            PartType::Message(inner) => {
                if self.copy.is_none() {
                    self.copy = Some(enclosed(inner));
                }
                if depth < DEEPEST && self.attached.is_none() {
                    self.attached = Some(Box::new(taken_apart(inner, depth + 1)));
                }
            }
            PartType::Binary(bytes) | PartType::InlineBinary(bytes) if is_message => self.report(&subtype, &lossy(bytes)),
            PartType::Text(text) if is_message => self.report(&subtype, text),
            PartType::Text(text) if subtype == "rfc822-headers" => self.report("rfc822-headers", text),
            PartType::Text(text) if attached && self.copy.is_none() && looks_like_headers(text) => self.report("rfc822-headers", text),
            PartType::Text(text) => add(plain, text),
            PartType::Html(text) => add(html, text),
            PartType::Binary(_) | PartType::InlineBinary(_) | PartType::Multipart(_) => {}
        }
    }

    fn report(&mut self, subtype: &str, text: &str) {
        match subtype {
            "delivery-status" | "global-delivery-status" => self.status.extend(Fields::blocks(text)),
            "feedback-report" => self.feedback = self.feedback.take().or_else(|| Some(Fields::read(text))),
            "rfc822-headers" | "global-headers" | "partial" | "rfc822" | "global" if self.copy.is_none() => {
                self.copy = Some(Enclosed { headers: Fields::read(text), text: start(text).to_string() });
            }
            _ => {}
        }
    }

    /// Parts the text from a copy of a mail that follows in it.
    fn cut_copy(&mut self) {
        let Some(place) = place_of_copy(&self.text) else { return };
        let text = self.text.split_off(place);
        if self.copy.is_none() {
            let unquoted: Vec<&str> = text.lines().map(unquoted).collect();
            // Where a copy is set in, its own continuations are set in further.
            let own_margin = text.lines().next().is_some_and(|line| line.starts_with([' ', '\t', '>']));
            let headers = if own_margin { Fields::read(&unmargined(&text)) } else { Fields::read(&text) };
            self.copy = Some(Enclosed { headers, text: unquoted.join("\n").chars().take(LONGEST_TEXT / 4).collect() });
        }
    }
}

fn add(text: &mut String, more: &str) {
    if text.len() < LONGEST_TEXT {
        text.push_str(start(more));
        text.push('\n');
    }
}

/// At most [`LONGEST_TEXT`] bytes of a text.
fn start(text: &str) -> &str {
    let end = (0..=text.len().min(LONGEST_TEXT)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    text.get(..end).unwrap_or_default()
}

fn lossy(bytes: &[u8]) -> String {
    start(&String::from_utf8_lossy(bytes.get(..LONGEST_TEXT).unwrap_or(bytes))).to_string()
}

fn headers(message: &Message) -> Fields {
    let mut fields = Fields::default();
    let Some(root) = message.parts.first() else { return fields };
    for header in &root.headers {
        let value = message.raw_message.get(header.offset_start as usize..header.offset_end as usize).unwrap_or_default();
        fields.push(header.name.as_str(), &String::from_utf8_lossy(value));
    }
    fields
}

fn body<'a>(message: &'a Message) -> &'a [u8] {
    let Some(root) = message.parts.first() else { return &[] };
    message.raw_message.get(root.offset_body as usize..).unwrap_or_default()
}

fn enclosed(inner: &Message) -> Enclosed {
    Enclosed { headers: headers(inner), text: lossy(body(inner)).chars().take(LONGEST_TEXT / 4).collect() }
}

/// The fields by which a copy of a mail is known.
const OF_A_MAIL: &[&str] =
    &["received", "return-path", "message-id", "from", "to", "date", "subject", "mime-version", "delivered-to", "content-type", "sender"];

fn looks_like_headers(text: &str) -> bool {
    let fields = Fields::read(&unmargined(&text.lines().take(200).collect::<Vec<_>>().join("\n")));
    let traces = fields.has("received")
        || fields.has("message-id")
        || fields.has("return-path")
        || fields.count(&["from", "to", "date", "subject"]) == 4;
    traces && fields.count(OF_A_MAIL) >= 3
}

/// Where in a text the headers of another mail begin, or the line that announces a copy.
fn place_of_copy(text: &str) -> Option<usize> {
    let mut place = 0;
    let mut fresh = true;
    for (number, line) in text.split_inclusive('\n').enumerate().take(3_000) {
        let plain = unquoted(line);
        let opens = field(plain).is_some_and(|(name, _)| {
            OF_A_MAIL.iter().any(|known| known.eq_ignore_ascii_case(name)) || name.to_ascii_lowercase().starts_with("x-")
        });
        if number > 0 && announces_copy(plain) || fresh && opens && looks_like_headers(text.get(place..).unwrap_or_default()) {
            return Some(place);
        }
        // Within one block only its first line is asked, so that a long one is not read for each of its lines.
        fresh = !opens || plain.is_empty();
        place += line.len();
    }
    None
}

/// `--- Below this line is a copy of the message.`: lines of dashes that name the original, in the ways of many systems.
fn announces_copy(line: &str) -> bool {
    let line = line.trim();
    if line.len() > 120 || !line.starts_with("--") && !line.ends_with("--") && !line.ends_with(':') && !line.ends_with("follows.") {
        return false;
    }
    let words = line.to_lowercase();
    const ANNOUNCEMENTS: &[&str] = &[
        "original message",
        "copy of the message",
        "copy of your message",
        "copy of the original",
        "original mail",
        "unsent message",
        "message text follows",
        "header of the original",
        "message header",
        "top 20 lines",
        "headers follow",
        "returned message",
        "mensaje original",
        "message d'origine",
        "ursprüngliche nachricht",
        "исходное сообщение",
        "вихідне повідомлення",
    ];
    // What was tried and when also follows such lines; only a copy is announced like this.
    !words.contains("received at")
        && !words.contains(" not ")
        && !words.contains("details")
        && ANNOUNCEMENTS.iter().any(|known| words.contains(known))
}

fn unquoted(line: &str) -> &str {
    line.trim_start_matches(['>', ' ', '\t']).trim_end()
}

/// The text without the margin of its first line.
fn unmargined(text: &str) -> String {
    let margin =
        text.lines().next().map_or("", |line| line.get(..line.len() - line.trim_start_matches(['>', ' ', '\t']).len()).unwrap_or_default());
    if margin.is_empty() {
        return text.to_string();
    }
    let lines: Vec<&str> = text.lines().map(|line| line.strip_prefix(margin).unwrap_or(line)).collect();
    lines.join("\n")
}
