//! A complete message from its parts: headers, multipart/alternative, 7-bit safe, CRLF everywhere (standards.md §1.1–1.3).
//!
//! The same [`Letter`] gives the same bytes: date, Message-ID and boundary come from the caller, who derives them from the message's key,
//! so a second attempt is the same message. The order is build → sign ([`super::dkim`]) → dot-stuff ([`super::smtp`]).

use super::address::{Address, UnsafeValue, checked, token};
use super::encode::{Transfer, base64, phrase, unstructured};
use super::known::{KnownLines, Spans};
use crate::types::{Class, Time};

/// Who a message is from or to; the name may be empty.
#[derive(Debug, Clone, Copy)]
pub struct Mailbox<'a> {
    pub name: &'a str,
    pub address: &'a str,
}

/// How a reader leaves a list (RFC 2369, RFC 8058). The address behind `https` must unsubscribe on a POST, without a page in between.
#[derive(Debug, Clone, Copy)]
pub struct ListUnsubscribe<'a> {
    pub https: &'a str,
    /// `mailto:…`
    pub mailto: Option<&'a str>,
}

/// One email to one person, rendered.
#[derive(Debug, Clone)]
pub struct Letter<'a> {
    pub class: Class,
    pub from: Mailbox<'a>,
    pub to: Mailbox<'a>,
    pub reply_to: Option<&'a str>,
    pub subject: &'a str,
    pub text: &'a str,
    pub html: Option<&'a str>,
    /// Lines of the text that other letters have as well, if anybody knows; they change nothing but the time it takes.
    pub known_text: Option<&'a KnownLines>,
    pub known_html: Option<&'a KnownLines>,
    /// Stays the same over all attempts.
    pub date: Time,
    /// `token@sending-domain`, without angle brackets; the same on every attempt.
    pub message_id: &'a str,
    /// Letters and digits drawn from the message's key (at most 60); what the boundary is made of.
    pub boundary: &'a str,
    pub list_unsubscribe: Option<ListUnsubscribe<'a>>,
    /// Name and `topic.sending-domain`.
    pub list_id: Option<(&'a str, &'a str)>,
    /// `run:topic:channel:sender`
    pub feedback_id: Option<&'a str>,
    /// Sent because of something that the customer did: answering machines keep silent (RFC 3834).
    pub auto_submitted: bool,
    /// More headers, for example the one that providers echo.
    pub headers: &'a [(&'a str, &'a str)],
}

/// Builds the message into a fresh buffer.
pub fn build(letter: &Letter<'_>) -> Result<Vec<u8>, UnsafeValue> {
    let mut out = Vec::with_capacity(1536 + letter.text.len() * 3 / 2 + letter.html.map_or(0, |html| html.len() * 3 / 2));
    build_into(letter, &mut out)?;
    Ok(out)
}

/// Appends the message to `out`. After an error what was appended is of no use.
pub fn build_into(letter: &Letter<'_>, out: &mut Vec<u8>) -> Result<(), UnsafeValue> {
    headers(letter, out)?;
    let Some(html) = letter.html else {
        part("text/plain", letter.text, letter.known_text, out);
        if !out.ends_with(b"\r\n") {
            out.extend_from_slice(b"\r\n");
        }
        return Ok(());
    };
    let boundary = letter.boundary;
    if boundary.is_empty() || boundary.len() > 60 || !boundary.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(UnsafeValue::new("the boundary", "must be 1 to 60 letters and digits"));
    }
    // `=_` cannot stand in quoted-printable, where = is followed by hexadecimal digits or a line end, nor in base64, which has no _:
    // so the boundary is absent from every part by construction.
    push(out, &["Content-Type: multipart/alternative;\r\n boundary=\"=_", boundary, "\"\r\n\r\n--=_", boundary, "\r\n"]);
    part("text/plain", letter.text, letter.known_text, out);
    push(out, &["\r\n--=_", boundary, "\r\n"]);
    part("text/html", html, letter.known_html, out);
    push(out, &["\r\n--=_", boundary, "--\r\n"]);
    Ok(())
}

fn part(kind: &str, text: &str, known: Option<&KnownLines>, out: &mut Vec<u8>) {
    let spans = Spans::find(text, known);
    let transfer = Transfer::smaller(text.len(), spans.specials);
    push(out, &["Content-Type: ", kind, "; charset=utf-8\r\nContent-Transfer-Encoding: ", transfer.name(), "\r\n\r\n"]);
    match transfer {
        Transfer::QuotedPrintable => spans.encode(out),
        Transfer::Base64 => base64(text, out),
    }
}

fn headers(letter: &Letter<'_>, out: &mut Vec<u8>) -> Result<(), UnsafeValue> {
    mailbox("From", letter.from, out)?;
    mailbox("To", letter.to, out)?;
    if let Some(address) = letter.reply_to {
        mailbox("Reply-To", Mailbox { name: "", address }, out)?;
    }
    push(out, &["Subject: "]);
    unstructured(checked("the subject", letter.subject)?, 9, out);
    push(out, &["\r\nDate: ", &letter.date.format("%a, %d %b %Y %H:%M:%S +0000").to_string()]);
    if letter.message_id.len() > 250 {
        return Err(UnsafeValue::new("the Message-ID", "is longer than 250 characters"));
    }
    push(out, &["\r\nMessage-ID: <", token("the Message-ID", letter.message_id)?, ">\r\nMIME-Version: 1.0\r\n"]);
    list_headers(letter, out)?;
    if letter.class != Class::Transactional {
        push(out, &["Precedence: bulk\r\n"]);
    }
    if letter.auto_submitted || letter.class == Class::Transactional {
        push(out, &["Auto-Submitted: auto-generated\r\n"]);
    }
    push(out, &["X-Auto-Response-Suppress: OOF, AutoReply\r\n"]);
    for (name, value) in letter.headers {
        let what = format!("the header {}", name.escape_debug());
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(UnsafeValue::new(&what, "has no valid name"));
        }
        push(out, &[name, ": "]);
        unstructured(checked(&what, value)?, name.len() + 2, out);
        push(out, &["\r\n"]);
    }
    Ok(())
}

fn list_headers(letter: &Letter<'_>, out: &mut Vec<u8>) -> Result<(), UnsafeValue> {
    if let Some(list) = letter.list_unsubscribe {
        let https = token("the address of List-Unsubscribe", list.https)?;
        if !https.starts_with("https://") && !https.starts_with("http://") || https.len() > 900 || https.contains(',') {
            return Err(UnsafeValue::new("the address of List-Unsubscribe", "must be one https address of at most 900 characters"));
        }
        // A URI is never folded inside, and the https one stands first (standards.md §1.3).
        push(out, &["List-Unsubscribe: <", https, ">"]);
        if let Some(mailto) = list.mailto {
            push(out, &[",\r\n <", token("the mailto of List-Unsubscribe", mailto)?, ">"]);
        }
        push(out, &["\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"]);
    }
    if let Some((name, id)) = letter.list_id {
        push(out, &["List-Id: "]);
        angle("the List-Id", name, token("the List-Id", id)?, 9, out)?;
    }
    if let Some(feedback) = letter.feedback_id {
        push(out, &["Feedback-ID: ", token("the Feedback-ID", feedback)?, "\r\n"]);
    }
    Ok(())
}

fn mailbox(header: &str, mailbox: Mailbox<'_>, out: &mut Vec<u8>) -> Result<(), UnsafeValue> {
    let what = format!("the address of {header}");
    let address = Address::read(&what, mailbox.address)?;
    push(out, &[header, ": "]);
    if mailbox.name.is_empty() {
        push(out, &[address.as_str(), "\r\n"]);
        return Ok(());
    }
    angle(&format!("the name of {header}"), mailbox.name, address.as_str(), header.len() + 2, out)
}

/// `name <inner>` and the line's end, folded before the angle where the line would pass 76.
fn angle(what: &str, name: &str, inner: &str, column: usize, out: &mut Vec<u8>) -> Result<(), UnsafeValue> {
    let mut column = column;
    if !name.is_empty() {
        column = phrase(checked(what, name)?, column, out);
        push(out, &[if column + inner.len() + 3 > 76 { "\r\n " } else { " " }]);
    }
    let _ = column;
    push(out, &["<", inner, ">\r\n"]);
    Ok(())
}

fn push(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter<'a>() -> Letter<'a> {
        Letter {
            class: Class::Advertising,
            from: Mailbox { name: "Крамниця", address: "news@mail.shop.example" },
            to: Mailbox { name: "", address: "ada@example.org" },
            reply_to: None,
            subject: "Spring is here",
            text: "Hello",
            html: Some("<p>Hello</p>"),
            known_text: None,
            known_html: None,
            date: "2027-03-01T10:00:00Z".parse().unwrap(),
            message_id: "k7d@mail.shop.example",
            boundary: "k7d",
            list_unsubscribe: Some(ListUnsubscribe { https: "https://go.shop.example/u/T", mailto: Some("mailto:u+T@go.shop.example") }),
            list_id: Some(("Offers", "offers.mail.shop.example")),
            feedback_id: Some("12:offers:email:posthaste"),
            auto_submitted: false,
            headers: &[],
        }
    }

    #[test]
    fn a_letter_is_complete_and_the_same_twice() {
        let built = build(&letter()).unwrap();
        assert_eq!(built, build(&letter()).unwrap());
        let expected = "From: =?utf-8?B?0JrRgNCw0LzQvdC40YbRjw==?= <news@mail.shop.example>\r\n\
            To: ada@example.org\r\n\
            Subject: Spring is here\r\n\
            Date: Mon, 01 Mar 2027 10:00:00 +0000\r\n\
            Message-ID: <k7d@mail.shop.example>\r\n\
            MIME-Version: 1.0\r\n\
            List-Unsubscribe: <https://go.shop.example/u/T>,\r\n <mailto:u+T@go.shop.example>\r\n\
            List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n\
            List-Id: Offers <offers.mail.shop.example>\r\n\
            Feedback-ID: 12:offers:email:posthaste\r\n\
            Precedence: bulk\r\n\
            X-Auto-Response-Suppress: OOF, AutoReply\r\n\
            Content-Type: multipart/alternative;\r\n boundary=\"=_k7d\"\r\n\r\n\
            --=_k7d\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nHello\r\n\
            --=_k7d\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p>Hello</p>\r\n\
            --=_k7d--\r\n";
        assert_eq!(String::from_utf8(built).unwrap(), expected);
    }

    #[test]
    fn a_control_character_in_any_value_refuses_the_letter() {
        for bad in ["a\r\nBcc: eve@example.org", "a\nb", "a\rb", "a\0b", "a\tb", "a\u{1b}b", "a\u{2028}b", "a\u{2029}b", "a\u{85}b"] {
            let headers = [("X-Token", bad)];
            let cases: Vec<Letter<'_>> = vec![
                Letter { subject: bad, ..letter() },
                Letter { from: Mailbox { name: bad, address: "a@b.example" }, ..letter() },
                Letter { to: Mailbox { name: bad, address: "a@b.example" }, ..letter() },
                Letter { to: Mailbox { name: "", address: bad }, ..letter() },
                Letter { reply_to: Some(bad), ..letter() },
                Letter { message_id: bad, ..letter() },
                Letter { list_id: Some((bad, "x.example")), ..letter() },
                Letter { list_id: Some(("x", bad)), ..letter() },
                Letter { feedback_id: Some(bad), ..letter() },
                Letter { boundary: bad, ..letter() },
                Letter { list_unsubscribe: Some(ListUnsubscribe { https: bad, mailto: None }), ..letter() },
                Letter { list_unsubscribe: Some(ListUnsubscribe { https: "https://x.example", mailto: Some(bad) }), ..letter() },
                Letter { headers: &headers, ..letter() },
            ];
            for (number, case) in cases.iter().enumerate() {
                assert!(build(case).is_err(), "{bad:?} in case {number}");
            }
        }
    }
}
