//! Finds the `{{…}}` tags of a text, with their places. What handlebars accepts, this finds in the same way.

use std::ops::Range;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `{{name}}`, `{{helper …}}`
    Value,
    /// `{{{name}}}`, `{{&name}}`
    Unescaped,
    /// `{{#helper …}}`
    Open,
    /// `{{else}}`, `{{else if …}}`, `{{^}}`
    Else,
    /// `{{/helper}}`
    Close,
    /// `{{> name …}}`
    Partial,
    /// `{{#> name …}}`
    PartialOpen,
    /// `{{#*inline "name"}}`
    InlineOpen,
    /// `{{* …}}` and `{{{{raw}}}}`: not supported
    Other,
    Comment,
    /// `\{{`: two braces that are text
    Escaped,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tag {
    pub kind: Kind,
    /// With its braces.
    pub range: Range<usize>,
    /// What stands inside, without signs and blanks around it.
    pub inner: Range<usize>,
}

impl Tag {
    /// Opens, divides or closes a block.
    pub fn is_block(&self) -> bool {
        matches!(self.kind, Kind::Open | Kind::Else | Kind::Close | Kind::PartialOpen | Kind::InlineOpen)
    }
    pub fn opens(&self) -> bool {
        matches!(self.kind, Kind::Open | Kind::PartialOpen | Kind::InlineOpen)
    }
    pub fn inner<'a>(&self, text: &'a str) -> &'a str {
        &text[self.inner.clone()]
    }
    /// The first word inside.
    pub fn name<'a>(&self, text: &'a str) -> &'a str {
        self.inner(text).split_whitespace().next().unwrap_or("")
    }
}

/// All tags in their order. What is not closed ends the search (handlebars reports it).
/// Blocks, chains of `else if` and brackets that stand in each other at most: whatever reads templates calls itself for each level.
const DEEPEST: usize = 100;

/// The first tag that stands deeper in others than can be read.
pub(super) fn too_deep(text: &str) -> Option<Tag> {
    // Of each open block: how many levels it and its chain of `else` make.
    let mut open: Vec<usize> = Vec::new();
    let mut depth = 0;
    for tag in tags(text) {
        let (mut brackets, mut deepest) = (0usize, 0);
        for sign in tag.inner(text).bytes() {
            match sign {
                b'(' => brackets += 1,
                b')' => brackets = brackets.saturating_sub(1),
                _ => {}
            }
            deepest = deepest.max(brackets);
        }
        if tag.opens() {
            open.push(1);
            depth += 1;
        } else if tag.kind == Kind::Close {
            depth -= open.pop().unwrap_or(0);
        } else if tag.kind == Kind::Else
            && let Some(levels) = open.last_mut()
        {
            *levels += 1;
            depth += 1;
        }
        if depth + deepest > DEEPEST {
            return Some(tag);
        }
    }
    None
}

pub(super) fn tags(text: &str) -> Vec<Tag> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = text[at..].find("{{").map(|offset| at + offset) {
        let backslashes = bytes[at..start].iter().rev().take_while(|byte| **byte == b'\\').count();
        if backslashes == 1 {
            found.push(Tag { kind: Kind::Escaped, range: start - 1..start + 2, inner: start..start + 2 });
            at = start + 2;
            continue;
        }
        let Some(tag) = tag(text, start) else { break };
        at = tag.range.end;
        found.push(tag);
    }
    found
}

fn tag(text: &str, start: usize) -> Option<Tag> {
    let rest = &text[start..];
    for (open, close) in [("{{!--", "--}}"), ("{{!", "}}"), ("{{~!--", "--}}"), ("{{~!", "}}")] {
        if let Some(inside) = rest.strip_prefix(open) {
            let end = start + open.len() + inside.find(close)? + close.len();
            return Some(Tag { kind: Kind::Comment, range: start..end, inner: start + open.len()..end - close.len() });
        }
    }
    if rest.starts_with("{{{{") {
        let end = start + rest.find("}}}}")? + 4;
        return Some(Tag { kind: Kind::Other, range: start..end, inner: start + 4..end - 4 });
    }
    let mut from = start + 2;
    let bytes = text.as_bytes();
    if bytes.get(from) == Some(&b'~') {
        from += 1;
    }
    let unescaped = bytes.get(from) == Some(&b'{');
    if unescaped {
        from += 1;
    }
    let close = end_of(text, from)?;
    let mut end = close;
    let mut to = close;
    if unescaped {
        // `}}}`, `}~}}` : the braces of the inner pair come first
        let rest = &text[close..];
        end = close
            + if rest.starts_with("}}}") {
                3
            } else if rest.starts_with("}~}}") {
                4
            } else {
                return None;
            };
    } else {
        end += 2;
        if to > from && bytes[to - 1] == b'~' {
            to -= 1;
        }
    }
    let inner = trimmed(text, from..to);
    let (kind, signs) = match &text[inner.clone()] {
        _ if unescaped => (Kind::Unescaped, 0),
        inside if inside.starts_with("#>") => (Kind::PartialOpen, 2),
        inside if inside.starts_with('#') && inside[1..].trim_start().starts_with('*') => (Kind::InlineOpen, 2),
        inside if inside.starts_with('#') => (Kind::Open, 1),
        inside if inside.starts_with('/') => (Kind::Close, 1),
        inside if inside.starts_with('>') => (Kind::Partial, 1),
        inside if inside.starts_with('&') => (Kind::Unescaped, 1),
        inside if inside.starts_with('*') => (Kind::Other, 1),
        inside if inside.starts_with('^') => (Kind::Else, 1),
        inside if inside == "else" || inside.strip_prefix("else").is_some_and(|rest| rest.starts_with(char::is_whitespace)) => {
            (Kind::Else, 4)
        }
        _ => (Kind::Value, 0),
    };
    let signs = signs.min(inner.len());
    Some(Tag { kind, range: start..end, inner: trimmed(text, inner.start + signs..inner.end) })
}

/// Where the closing braces begin (for `{{{`: the first of the three), past texts in quotes and `[…]`.
fn end_of(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut quote) = (from, None);
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (Some(_), b'\\') => at += 1,
            (Some(open), byte) if byte == open => quote = None,
            (Some(_), _) => {}
            (None, byte @ (b'"' | b'\'')) => quote = Some(byte),
            (None, b'}') if bytes.get(at + 1) == Some(&b'}') || text[at..].starts_with("}~}}") => return Some(at),
            (None, b'{') if bytes.get(at + 1) == Some(&b'{') => return None,
            _ => {}
        }
        at += 1;
    }
    None
}

fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let inside = &text[range.clone()];
    let start = range.start + (inside.len() - inside.trim_start().len());
    start..(range.end - (inside.len() - inside.trim_end().len())).max(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(Kind, &str)]) {
        let found: Vec<_> = tags(text).iter().map(|tag| (tag.kind, tag.inner(text).to_string())).collect();
        assert_eq!(found, expected.iter().map(|(kind, inner)| (*kind, inner.to_string())).collect::<Vec<_>>(), "{text}");
    }

    #[test]
    fn every_kind_of_tag_is_found() {
        check("a {{ b }} {{~c~}}", &[(Kind::Value, "b"), (Kind::Value, "c")]);
        check("{{{raw}}}{{~{raw}~}}{{& raw}}", &[(Kind::Unescaped, "raw"), (Kind::Unescaped, "raw"), (Kind::Unescaped, "raw")]);
        check(
            "{{#if a}}x{{else if b}}y{{else}}z{{/if}}",
            &[(Kind::Open, "if a"), (Kind::Else, "if b"), (Kind::Else, ""), (Kind::Close, "if")],
        );
        check(
            "{{#> layouts/base x=1}}{{> @partial-block}}{{/layouts/base}}",
            &[(Kind::PartialOpen, "layouts/base x=1"), (Kind::Partial, "@partial-block"), (Kind::Close, "layouts/base")],
        );
        check("{{#*inline \"x\"}}{{/inline}}", &[(Kind::InlineOpen, "inline \"x\""), (Kind::Close, "inline")]);
        check("{{! a }}b{{!-- {{c}} --}}", &[(Kind::Comment, " a "), (Kind::Comment, " {{c}} ")]);
        check(r#"{{default x '}} "'}}"#, &[(Kind::Value, r#"default x '}} "'"#)]);
        check(r"\{{a}} \\{{b}}", &[(Kind::Escaped, "{{"), (Kind::Value, "b")]);
        check("{{elsewhere}}", &[(Kind::Value, "elsewhere")]);
        check("{{open", &[]);
    }
}
