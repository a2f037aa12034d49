//! Reads MJML or HTML into tags, texts and comments with their places. It never fails: what is no tag is text.
//!
//! The text is read with its `{{…}}` blanked out ([`blanked`]), so that places are those of the file and quotes inside expressions
//! do not end an attribute.

use super::tags::{Kind, Tag};
use std::ops::Range;

/// An element's start, `<name a="b">`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Start {
    /// In lower case.
    pub name: String,
    pub name_range: Range<usize>,
    pub range: Range<usize>,
    pub attributes: Vec<Attribute>,
    /// `<br/>`
    pub is_closed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attribute {
    /// In lower case.
    pub name: String,
    pub name_range: Range<usize>,
    /// Without quotes; `None` for an attribute without `=`.
    pub value: Option<Range<usize>>,
}

impl Start {
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Start(Start),
    End {
        name: String,
        range: Range<usize>,
    },
    Text(Range<usize>),
    /// `<!-- … -->`, with its signs.
    Comment(Range<usize>),
    /// What stands in `<style>`, `<script>`, `<title>`, `<mj-style>`, `<mj-title>`, `<mj-preview>`: read to the end tag.
    Raw(Range<usize>),
    /// `<!doctype …>`, `<![if …]>`, `<?xml …?>`
    Other(Range<usize>),
}

const RAW: &[&str] = &["style", "script", "title", "textarea", "mj-style", "mj-title", "mj-preview"];

/// The text with every `{{…}}` replaced by as many bytes: blanks for blocks and comments, letters for values.
pub(super) fn blanked(text: &str, tags: &[Tag]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for tag in tags {
        let filler = match tag.kind {
            Kind::Value | Kind::Unescaped | Kind::Escaped => b'x',
            _ => b' ',
        };
        bytes[tag.range.clone()].fill(filler);
    }
    String::from_utf8(bytes).unwrap_or_else(|_| " ".repeat(text.len()))
}

pub(super) fn pieces(text: &str) -> Vec<Piece> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let Some(start) = text[at..].find('<').map(|offset| at + offset) else {
            found.push(Piece::Text(at..text.len()));
            break;
        };
        let Some((piece, end)) = markup(text, start) else {
            // A `<` that begins nothing is text.
            let end = start + 1 + text[start + 1..].find('<').unwrap_or(text.len() - start - 1);
            found.push(Piece::Text(at..end));
            at = end;
            continue;
        };
        if start > at {
            found.push(Piece::Text(at..start));
        }
        let raw = match &piece {
            Piece::Start(start) if !start.is_closed && RAW.contains(&start.name.as_str()) => Some(start.name.clone()),
            _ => None,
        };
        found.push(piece);
        at = end;
        if let Some(name) = raw {
            let end = find_end(text, at, &name);
            if end > at {
                found.push(Piece::Raw(at..end));
            }
            at = end;
        }
    }
    found
}

fn find_end(text: &str, from: usize, name: &str) -> usize {
    let mut at = from;
    while let Some(start) = text[at..].find("</").map(|offset| at + offset) {
        let rest = &text.as_bytes()[start + 2..];
        if rest.len() >= name.len() && rest[..name.len()].eq_ignore_ascii_case(name.as_bytes()) {
            return start;
        }
        at = start + 2;
    }
    text.len()
}

/// The markup that begins with the `<` at `start`, and where it ends.
fn markup(text: &str, start: usize) -> Option<(Piece, usize)> {
    let rest = &text[start..];
    if let Some(inside) = rest.strip_prefix("<!--") {
        let end = inside.find("-->").map_or(text.len(), |at| start + 4 + at + 3);
        return Some((Piece::Comment(start..end), end));
    }
    if rest.starts_with("<!") || rest.starts_with("<?") {
        let end = start + rest.find('>')? + 1;
        return Some((Piece::Other(start..end), end));
    }
    if let Some(after) = rest.strip_prefix("</") {
        after.chars().next().filter(char::is_ascii_alphabetic)?;
        let length = after.find('>')?;
        let name = after[..length].split(|c: char| c.is_whitespace() || c == '/').next().unwrap_or("").to_ascii_lowercase();
        let end = start + 2 + length + 1;
        return Some((Piece::End { name, range: start..end }, end));
    }
    rest[1..].chars().next().filter(char::is_ascii_alphabetic)?;
    let name_end = rest.find(|c: char| c.is_whitespace() || c == '>' || c == '/').unwrap_or(rest.len());
    let name_range = start + 1..start + name_end;
    let (attributes, end, is_closed) = attributes(text, start + name_end)?;
    let name = text[name_range.clone()].to_ascii_lowercase();
    Some((Piece::Start(Start { name, name_range, range: start..end, attributes, is_closed }), end))
}

fn attributes(text: &str, from: usize) -> Option<(Vec<Attribute>, usize, bool)> {
    let bytes = text.as_bytes();
    let (mut found, mut at, mut is_closed) = (Vec::new(), from, false);
    loop {
        match *bytes.get(at)? {
            b'>' => return Some((found, at + 1, is_closed)),
            b'/' => {
                is_closed = true;
                at += 1;
            }
            byte if byte.is_ascii_whitespace() => at += 1,
            _ => {
                is_closed = false;
                let start = at;
                at += 1;
                while bytes.get(at).is_some_and(|byte| !byte.is_ascii_whitespace() && !matches!(byte, b'=' | b'>' | b'/')) {
                    at += 1;
                }
                let name_range = start..at;
                let (value, end) = value(text, at)?;
                at = end;
                found.push(Attribute { name: text.get(name_range.clone())?.to_ascii_lowercase(), name_range, value });
            }
        }
    }
}

fn value(text: &str, from: usize) -> Option<(Option<Range<usize>>, usize)> {
    let bytes = text.as_bytes();
    let skip = |mut at: usize| {
        while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
            at += 1
        }
        at
    };
    let equals = skip(from);
    if bytes.get(equals) != Some(&b'=') {
        return Some((None, from));
    }
    let start = skip(equals + 1);
    match bytes.get(start)? {
        quote @ (b'"' | b'\'') => {
            let end = start + 1 + text[start + 1..].find(char::from(*quote))?;
            Some((Some(start + 1..end), end + 1))
        }
        _ => {
            let mut end = start;
            while bytes.get(end).is_some_and(|byte| !byte.is_ascii_whitespace() && *byte != b'>') {
                end += 1
            }
            Some((Some(start..end), end))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tags::tags;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tags_attributes_and_texts_are_found_with_their_places() {
        let text = r#"<!doctype html><P class='a b' hidden data-x=1>Hi<br/><!-- <b> --></p><style>a > b{}</style>1 < 2"#;
        let found = pieces(text);
        let Piece::Start(p) = &found[1] else { panic!("{found:?}") };
        assert_eq!((p.name.as_str(), p.attributes.len()), ("p", 3));
        assert_eq!(&text[p.attributes[0].value.clone().unwrap()], "a b");
        assert!(p.attribute("hidden").unwrap().value.is_none());
        assert!(matches!(&found[3], Piece::Start(br) if br.is_closed));
        assert!(matches!(&found[4], Piece::Comment(range) if &text[range.clone()] == "<!-- <b> -->"));
        assert!(matches!(&found[7], Piece::Raw(range) if &text[range.clone()] == "a > b{}"));
        assert!(matches!(found.last(), Some(Piece::Text(_))));
    }

    #[test]
    fn expressions_do_not_disturb_the_markup() {
        let text = r#"<a href="{{default url "x"}}" {{#if y}}class="ü"{{/if}}>"#;
        let blank = blanked(text, &tags(text));
        assert_eq!(blank.len(), text.len());
        assert!(matches!(&pieces(&blank)[0], Piece::Start(a) if a.attributes.len() == 2));
    }

    proptest! {
        #[test]
        fn pieces_cover_any_text(text in "[<>/!a-c \"'=é-]{0,60}") {
            let mut at = 0;
            for piece in pieces(&text) {
                let range = match piece {
                    Piece::Start(start) => start.range,
                    Piece::End { range, .. } | Piece::Text(range) | Piece::Comment(range) | Piece::Raw(range) | Piece::Other(range) => range,
                };
                prop_assert_eq!(range.start, at);
                at = range.end;
            }
            prop_assert_eq!(at, text.len());
        }
    }
}
