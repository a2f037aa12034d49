//! Transfer encodings of parts and headers: everything that leaves is 7-bit, in lines of at most 76 (RFC 2045, 2047; standards.md §1.1–1.2).
//!
//! Written out here, since it is the hot path of sending: one pass over the text into the caller's buffer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;

/// How a part is made 7-bit safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    QuotedPrintable,
    Base64,
}

impl Transfer {
    /// The smaller of the two for a text of so many bytes, of which quoted-printable writes some with three: Cyrillic is base64, most English is
    /// quoted-printable.
    pub fn smaller(length: usize, specials: usize) -> Transfer {
        let quoted = length + 2 * specials;
        match quoted + quoted / 25 <= length.div_ceil(57) * 78 {
            true => Transfer::QuotedPrintable,
            false => Transfer::Base64,
        }
    }

    /// The value of Content-Transfer-Encoding.
    pub fn name(self) -> &'static str {
        match self {
            Transfer::QuotedPrintable => "quoted-printable",
            Transfer::Base64 => "base64",
        }
    }
}

/// How many bytes quoted-printable writes with three, but for blanks at the ends of lines and dots at their beginnings.
pub(super) fn specials(bytes: &[u8]) -> usize {
    // A byte for each sum, over few enough bytes that it cannot overflow: so the compiler looks at many at once.
    let special = |bytes: &[u8]| {
        let is_special = |byte: u8| u8::from((!(b' '..=b'~').contains(&byte) && byte != b'\n' && byte != b'\r') | (byte == b'='));
        usize::from(bytes.iter().fold(0_u8, |sum, byte| sum + is_special(*byte)))
    };
    bytes.chunks(255).map(special).sum()
}

/// Bare CR and bare LF become CRLF (standards.md §1.1: never sent raw).
pub fn with_crlf(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let bare = |at: usize| match bytes[at] {
        b'\n' => at == 0 || bytes[at - 1] != b'\r',
        b'\r' => bytes.get(at + 1) != Some(&b'\n'),
        _ => false,
    };
    if !(0..bytes.len()).any(bare) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + text.len() / 32);
    let mut rest = text;
    while let Some(at) = rest.find(['\r', '\n']) {
        out.push_str(&rest[..at]);
        out.push_str("\r\n");
        let end = if rest[at..].starts_with("\r\n") { at + 2 } else { at + 1 };
        rest = &rest[end..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";
/// A line of quoted-printable holds 76 characters with its soft break.
const LINE: usize = 76;

/// Bytes that stand for themselves: printable ASCII and the space, without `=`.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = b' ';
    while byte <= b'~' {
        plain[byte as usize] = byte != b'=';
        byte += 1;
    }
    plain
};

/// Appends text encoded, its line ends as CRLF whatever they were. A last line without its end stays so. Each line is encoded by itself.
pub(super) fn quoted_printable(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() + bytes.len() / 8);
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let end = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
        quoted_line(&rest[..end], out);
        if end < rest.len() {
            out.extend_from_slice(b"\r\n");
        }
        at += if rest[end..].starts_with(b"\r\n") { end + 2 } else { end + 1 };
    }
}

/// One line of text, over as many lines as it needs. A space or tab at its end is encoded, and a dot at the beginning of a line that leaves: so no such line
/// needs another dot on the wire (RFC 5321 §4.5.2).
fn quoted_line(line: &[u8], out: &mut Vec<u8>) {
    let (mut at, mut column) = (0, 0);
    while at < line.len() {
        let rest = &line[at..];
        if column == 0 && rest[0] == b'.' {
            out.extend_from_slice(b"=2E");
            (at, column) = (at + 1, 3);
            continue;
        }
        // All that is left may use the whole line; else one place is kept for the soft break.
        let ends = rest.len() <= LINE - column;
        let room = if ends { rest.len() } else { LINE - 1 - column };
        let run = plain(&rest[..room]);
        let run = if ends && run == rest.len() && rest[run - 1] == b' ' { run - 1 } else { run };
        out.extend_from_slice(&rest[..run]);
        (at, column) = (at + run, column + run);
        let Some(&next) = line.get(at) else { return };
        let last = at + 1 == line.len();
        let encoded = !PLAIN[next as usize] || last && next == b' ';
        let needs = if encoded { 3 } else { 1 };
        if column + needs > if last { LINE } else { LINE - 1 } {
            out.extend_from_slice(b"=\r\n");
            column = 0;
        }
        if encoded {
            out.extend_from_slice(&[b'=', HEX[usize::from(next >> 4)], HEX[usize::from(next & 15)]]);
            (at, column) = (at + 1, column + 3);
        }
    }
}

/// How many bytes at the beginning stand for themselves.
fn plain(bytes: &[u8]) -> usize {
    const MANY: usize = 32;
    let mut at = 0;
    // Without a way out in the middle, so that the compiler looks at all of them at once.
    while let Some(chunk) = bytes.get(at..at + MANY) {
        let all = chunk.iter().fold(true, |all, byte| all & (b' '..=b'~').contains(byte) & (*byte != b'='));
        if !all {
            break;
        }
        at += MANY;
    }
    at + bytes[at..].iter().take_while(|byte| PLAIN[**byte as usize]).count()
}

/// Appends text encoded, its line ends as CRLF.
pub(super) fn base64(text: &str, out: &mut Vec<u8>) {
    let text = with_crlf(text);
    let bytes = text.as_bytes();
    out.reserve(bytes.len().div_ceil(57) * 78);
    let mut line = [0_u8; 76];
    for (number, chunk) in bytes.chunks(57).enumerate() {
        if number > 0 {
            out.extend_from_slice(b"\r\n");
        }
        // 57 bytes always make 76 characters, so the slice is never too small.
        let length = STANDARD.encode_slice(chunk, &mut line).unwrap_or(0);
        out.extend_from_slice(&line[..length]);
    }
}

/// Appends unstructured text (a subject) after `column` characters of its line, as it is where that is safe, else as encoded words.
pub fn unstructured(text: &str, column: usize, out: &mut Vec<u8>) {
    let readable = text.is_ascii()
        && !text.contains("=?")
        && !text.starts_with(' ')
        && !text.ends_with(' ')
        && !text.contains("  ")
        && text.split(' ').all(|word| word.len() <= 60);
    match readable {
        true => folded(text, column, out),
        false => encoded_words(text, column, out),
    }
}

/// Appends a display name or the name of a list: atoms, a quoted string, or encoded words. Returns the column after it.
pub fn phrase(text: &str, column: usize, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    let atom = |byte: u8| byte.is_ascii_alphanumeric() || b" !#$%&'*+-/=?^_`{|}~".contains(&byte);
    if !text.is_ascii() || text.contains("=?") || text.len() > 50 {
        encoded_words(text, column, out);
    } else if text.bytes().all(atom) && !text.starts_with(' ') && !text.ends_with(' ') && !text.contains("  ") {
        out.extend_from_slice(text.as_bytes());
    } else {
        out.push(b'"');
        for byte in text.bytes() {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(byte);
        }
        out.push(b'"');
    }
    match out[start..].iter().rposition(|byte| *byte == b'\n') {
        Some(line) => out.len() - start - line - 1,
        None => column + out.len() - start,
    }
}

/// Words of ASCII, broken before a space where the line would pass 76.
fn folded(text: &str, mut column: usize, out: &mut Vec<u8>) {
    for (number, word) in text.split(' ').enumerate() {
        if number > 0 {
            if column + 1 + word.len() > LINE {
                out.extend_from_slice(b"\r\n");
                column = 0;
            }
            out.push(b' ');
            column += 1;
        }
        out.extend_from_slice(word.as_bytes());
        column += word.len();
    }
}

const WORD_START_B: &str = "=?utf-8?B?";
const WORD_START_Q: &str = "=?utf-8?Q?";

/// Encoded words of at most 75 characters in lines of at most 76; a character is never split between two (RFC 2047 §2, §5).
fn encoded_words(text: &str, mut column: usize, out: &mut Vec<u8>) {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"!*+-/ ".contains(&byte);
    let quoted: usize = text.bytes().map(|byte| if safe(byte) { 1 } else { 3 }).sum();
    let by_q = quoted <= text.len().div_ceil(3) * 4;
    let frame = WORD_START_B.len() + 2;
    let mut rest = text;
    while !rest.is_empty() {
        let room = 75_usize.min(LINE.saturating_sub(column)).saturating_sub(frame);
        let mut taken = 0;
        let mut size = 0;
        for c in rest.chars() {
            let next = match by_q {
                true => size + c.encode_utf8(&mut [0; 4]).bytes().map(|byte| if safe(byte) { 1 } else { 3 }).sum::<usize>(),
                false => (taken + c.len_utf8()).div_ceil(3) * 4,
            };
            if next > room {
                break;
            }
            (taken, size) = (taken + c.len_utf8(), next);
        }
        if taken == 0 {
            // Not even one character fits behind the header's name: a new line has room for several.
            out.extend_from_slice(b"\r\n ");
            column = 1;
            continue;
        }
        let (word, left) = rest.split_at(taken);
        if by_q {
            out.extend_from_slice(WORD_START_Q.as_bytes());
            for byte in word.bytes() {
                match byte {
                    b' ' => out.push(b'_'),
                    byte if safe(byte) => out.push(byte),
                    byte => out.extend_from_slice(&[b'=', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
                }
            }
        } else {
            out.extend_from_slice(WORD_START_B.as_bytes());
            out.extend_from_slice(STANDARD.encode(word).as_bytes());
        }
        out.extend_from_slice(b"?=");
        column += frame + size;
        rest = left;
        if !rest.is_empty() {
            out.extend_from_slice(b"\r\n ");
            column = 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(text: &str) -> String {
        let mut out = Vec::new();
        quoted_printable(text.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    /// By RFC 2045 §6.7, written as plainly as can be.
    fn decoded(encoded: &str) -> String {
        let mut bytes = Vec::new();
        let text = encoded.replace("=\r\n", "");
        let mut rest = text.as_bytes();
        while let [first, after @ ..] = rest {
            if *first == b'=' {
                bytes.push(u8::from_str_radix(std::str::from_utf8(&after[..2]).unwrap(), 16).unwrap());
                rest = &after[2..];
            } else {
                bytes.push(*first);
                rest = after;
            }
        }
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn quoted_printable_keeps_76_and_marks_what_transport_would_lose() {
        for (text, expected) in [
            ("", ""),
            ("a=b", "a=3Db"),
            ("ends with space \nnext", "ends with space=20\r\nnext"),
            ("ends with tab\t", "ends with tab=09"),
            (" ", "=20"),
            ("a\rb\nc\r\nd", "a\r\nb\r\nc\r\nd"),
            ("\n\n", "\r\n\r\n"),
            (".\n..\n.x", "=2E\r\n=2E.\r\n=2Ex"),
            ("é", "=C3=A9"),
        ] {
            assert_eq!(quoted(text), expected, "{text:?}");
        }
        assert_eq!(quoted(&"x".repeat(76)), "x".repeat(76));
        assert_eq!(quoted(&"x".repeat(77)), format!("{}=\r\nxx", "x".repeat(75)));
        for length in 60..240 {
            for (begin, end) in [("", ""), ("", " "), ("", "="), ("", "é"), ("", "\t"), (".", "."), ("é", "."), ("=", ".é")] {
                for filling in ["x", ".", " ", "x ", "=."] {
                    let text = format!("{begin}{}{end}", filling.repeat(length));
                    let encoded = quoted(&text);
                    let lines: Vec<&str> = encoded.split("\r\n").collect();
                    let is_good = |line: &&str| line.len() <= 76 && !line.starts_with('.') && !line.ends_with([' ', '\t']);
                    assert!(lines.iter().all(is_good), "{text:?}: {encoded}");
                    assert_eq!(decoded(&encoded), text);
                }
            }
        }
    }

    #[test]
    fn words_never_split_a_character_and_stay_within_75() {
        let text = "Знижки 👩‍👩‍👧 до 50 % — лише сьогодні, тільки у нас і тільки для вас, Олено!".repeat(4);
        for column in [0, 9, 60, 75, 76] {
            let mut out = Vec::new();
            unstructured(&text, column, &mut out);
            let out = String::from_utf8(out).unwrap();
            let mut decoded = String::new();
            for word in out.split("\r\n").map(str::trim).filter(|word| !word.is_empty()) {
                assert!(word.len() <= 75, "{word}");
                let inner = word.strip_prefix(WORD_START_B).and_then(|word| word.strip_suffix("?=")).unwrap();
                decoded.push_str(&String::from_utf8(STANDARD.decode(inner).unwrap()).unwrap());
            }
            assert_eq!(decoded, text);
        }
    }

    #[test]
    fn names_are_quoted_only_where_they_must_be() {
        for (name, expected) in [
            ("Ada Lovelace", "Ada Lovelace"),
            ("Lovelace, Ada", "\"Lovelace, Ada\""),
            ("Ada \"Countess\" \\ L.", "\"Ada \\\"Countess\\\" \\\\ L.\""),
            ("Крамниця", "=?utf-8?B?0JrRgNCw0LzQvdC40YbRjw==?="),
            ("Café au lait", "=?utf-8?Q?Caf=C3=A9_au_lait?="),
            ("Café", "=?utf-8?B?Q2Fmw6k=?="),
            ("=?utf-8?Q?x?=", "=?utf-8?B?PT91dGYtOD9RP3g/PQ==?="),
        ] {
            let mut out = Vec::new();
            phrase(name, 6, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
