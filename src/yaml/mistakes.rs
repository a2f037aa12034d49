//! What an author probably did where the parser gave up: an open quote or bracket, bare text that YAML takes for something else,
//! a line that stands too deep or not deep enough. Points at the mistake, which is often above the place where the parser stopped.

use crate::diagnostics::Span;

/// The likely mistake: where, what is wrong, what to do.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    pub span: Span,
    pub title: String,
    pub label: String,
    pub help: String,
}

fn mistake(span: Span, title: &str, label: &str, help: impl Into<String>) -> Option<Mistake> {
    Some(Mistake { span, title: title.into(), label: label.into(), help: help.into() })
}

/// Finds the mistake before or at the byte `at`, where parsing stopped; `None` when nothing usual is seen.
pub fn find(text: &str, at: usize) -> Option<Mistake> {
    let lines: Vec<Line<'_>> = lines(text);
    let stopped = lines.iter().rposition(|line| line.start <= at).unwrap_or(0);
    open_quote(&lines, stopped)
        .or_else(|| bare_braces(&lines, stopped))
        .or_else(|| open_bracket(text))
        .or_else(|| bare_text(&lines, stopped))
        .or_else(|| indentation(&lines, stopped))
}

/// One line that is neither blank nor a comment.
struct Line<'a> {
    /// Byte offset of its first character.
    start: usize,
    text: &'a str,
    /// Blanks before the first word.
    indent: usize,
    /// The text with what stands in quotes, and the comment, replaced by `_`; as many bytes as `text`.
    bare: String,
    /// Whether a double quote opens and does not close on this line.
    open: bool,
}

impl Line<'_> {
    fn has_key(&self) -> bool {
        let words = self.text.trim_start_matches([' ', '-']);
        let key = words.find(|c: char| !c.is_alphanumeric() && !"-_.".contains(c)).map(|end| words.split_at(end));
        key.is_some_and(|(key, rest)| !key.is_empty() && (rest.starts_with(": ") || rest == ":"))
    }
    fn words(&self) -> Span {
        Span { start: self.start + self.indent, end: self.start + self.text.trim_end().len() }
    }
    /// The column in which its key begins: behind the dashes of a list item.
    fn key_indent(&self) -> usize {
        let mut rest = self.text.trim_start();
        let mut indent = self.indent;
        while let Some(inner) = rest.strip_prefix("- ") {
            let trimmed = inner.trim_start();
            indent += 2 + inner.len() - trimmed.len();
            rest = trimmed;
        }
        indent
    }
}

fn lines(text: &str) -> Vec<Line<'_>> {
    let mut start = 0;
    let mut all = Vec::new();
    for line in text.split_inclusive('\n') {
        let content = line.trim_end_matches(['\n', '\r']);
        let trimmed = content.trim_start_matches(' ');
        if !trimmed.is_empty() && !trimmed.starts_with('#') {
            let (bare, open) = bare(content);
            all.push(Line { start, text: content, indent: content.len() - trimmed.len(), bare, open });
        }
        start += line.len();
    }
    all
}

/// Blanks out quoted parts and the comment. A single quote opens only where a value can begin.
fn bare(line: &str) -> (String, bool) {
    let mut out = String::with_capacity(line.len());
    let mut quote: Option<char> = None;
    let (mut escaped, mut before) = (false, ' ');
    for character in line.chars() {
        let blank = |out: &mut String| (0..character.len_utf8()).for_each(|_| out.push('_'));
        match quote {
            Some(open) => {
                if escaped {
                    escaped = false;
                } else if character == '\\' && open == '"' {
                    escaped = true;
                } else if character == open {
                    quote = None;
                }
                blank(&mut out);
            }
            None if character == '"' || character == '\'' && " [{,:".contains(before) => {
                quote = Some(character);
                blank(&mut out);
            }
            None if character == '#' && before == ' ' => {
                (out.len()..line.len()).for_each(|_| out.push('_'));
                return (out, false);
            }
            None => out.push(character),
        }
        before = character;
    }
    (out, quote == Some('"'))
}

fn open_quote(lines: &[Line<'_>], stopped: usize) -> Option<Mistake> {
    let mut at = 0;
    let line = loop {
        let line = lines.get(at).filter(|_| at <= stopped)?;
        at += 1;
        if line.open {
            // A text may go on over several lines: then no key follows.
            if lines.get(at).is_none_or(Line::has_key) {
                break line;
            }
            at += lines[at..].iter().position(|line| line.text.contains('"'))? + 1;
        }
    };
    let quote = line.start + line.text.rfind('"').filter(|_| line.text.matches('"').count() == 1).or_else(|| line.text.find('"'))?;
    let span = Span { start: quote, end: line.words().end };
    mistake(span, "a quote is opened and not closed", "begins here", "put \" at the end of the text; a quote inside it is written \\\"")
}

fn bare_braces(lines: &[Line<'_>], stopped: usize) -> Option<Mistake> {
    let line = lines
        .get(stopped)
        .filter(|line| line.bare.contains("{{"))
        .or_else(|| lines[..stopped].last().filter(|line| line.bare.contains("{{")))?;
    let start = line.start + line.bare.find("{{")?;
    let title = "text with `{{` stands without quotes";
    mistake(Span { start, end: line.words().end }, title, "begins here", "put it in double quotes: \"{{first_name}}, hello\"")
}

/// A bracket that is never closed, or one that closes nothing.
fn open_bracket(text: &str) -> Option<Mistake> {
    let mut open: Vec<(usize, char)> = Vec::new();
    for line in lines(text) {
        for (at, character) in line.bare.char_indices() {
            match character {
                '{' | '[' if !open.is_empty() || opens_value(&line.bare[..at]) => open.push((line.start + at, character)),
                '}' | ']' if !open.is_empty() => {
                    let (start, opened) = open.pop()?;
                    if (opened == '{') != (character == '}') {
                        let (span, closing) = (Span { start, end: start + 1 }, if opened == '{' { '}' } else { ']' });
                        return mistake(span, "a bracket is not closed", "this one", format!("put `{closing}` where it ends"));
                    }
                }
                _ => {}
            }
        }
    }
    let (start, opened) = *open.first()?;
    let closing = if opened == '{' { '}' } else { ']' };
    mistake(Span { start, end: start + 1 }, "a bracket is not closed", "this one", format!("put `{closing}` where it ends"))
}

/// Whether a bracket behind this begins a value, and is not part of a bare text.
fn opens_value(before: &str) -> bool {
    let before = before.trim_end();
    before.is_empty() || before.ends_with([':', '-', ','])
}

/// Bare text that YAML takes for something else.
fn bare_text(lines: &[Line<'_>], stopped: usize) -> Option<Mistake> {
    let line = lines.get(stopped)?;
    let (key, value) = line.bare.split_once(": ")?;
    let start = line.start + key.len() + 2 + (value.len() - value.trim_start().len());
    let span = Span { start, end: line.words().end };
    let value = value.trim_start();
    if !value.starts_with(['{', '[', '_', '|', '>']) && value.contains(": ") {
        return mistake(span, "text with `: ` stands without quotes", "begins here", "put the whole text in double quotes");
    }
    if value.starts_with(['%', '@', '`', '*', '&', '!']) {
        let title = format!("text that begins with `{}` stands without quotes", value.chars().next()?);
        return mistake(span, &title, "begins here", "put the whole text in double quotes");
    }
    if value.starts_with('_') && !value.trim_end_matches(['_', ' ']).is_empty() && !value.trim_start_matches('_').trim().is_empty() {
        return mistake(
            span,
            "something stands behind the closing quote",
            "in this line",
            "put the whole text in one pair of double quotes; a quote inside it is written \\\"",
        );
    }
    None
}

/// A line that does not stand below its neighbours.
fn indentation(lines: &[Line<'_>], stopped: usize) -> Option<Mistake> {
    let line = lines.get(stopped)?;
    let above = lines[..stopped].last()?;
    if line.key_indent() > above.key_indent() {
        let title = "a line stands too deep";
        let help = format!("begin it with {} like the line above, or put what it belongs to before it", spaces(above.key_indent()));
        return mistake(line.words(), title, "deeper than the line above, which has its value already", help);
    }
    // The line ends a deeper block, and stands below none of the lines that are open: it or that block is off.
    let parent = lines[..stopped].iter().rposition(|other| other.indent < line.indent)?;
    let block = &lines[parent + 1..stopped];
    let first = block.first()?;
    if first.indent == line.indent {
        return None;
    }
    let beside =
        lines[stopped..].iter().take_while(|other| other.indent >= line.indent).filter(|other| other.indent == line.indent).count();
    let inside = block.iter().filter(|other| other.indent == first.indent).count();
    if inside < beside {
        let help = format!("begin it with {} like the lines below", spaces(line.indent));
        return mistake(first.words(), "a line stands too deep", "deeper than the lines below it", help);
    }
    let help = format!("begin it with {} like the lines above", spaces(first.indent));
    mistake(line.words(), "a line is not deep enough", "stands below none of the lines above", help)
}

fn spaces(count: usize) -> String {
    match count {
        0 => "no spaces".to_string(),
        1 => "1 space".to_string(),
        _ => format!("{count} spaces"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parser stopped at `stop`; the mistake is shown at `at`.
    fn check(text: &str, stop: &str, at: &str, title: &str) {
        let found = find(text, text.find(stop).unwrap()).unwrap_or_else(|| panic!("nothing found in {text}"));
        assert_eq!((&text[found.span.start..found.span.end], found.title.as_str()), (at, title), "{text}");
    }

    #[test]
    fn the_mistake_is_found_above_the_place_where_parsing_stopped() {
        let deep = "message:\n    template: x\n  subject: \"y\"\n  content: z\nrest: 1\n";
        check(deep, "subject", "template: x", "a line stands too deep");
        check("message:\n  template: x\n  track: true\n content: z\n", "content", "content: z", "a line is not deep enough");
        check("message:\n  template: x\n    subject: y\n", "subject", "subject: y", "a line stands too deep");
        check("a: \"open\nb: 1\nc: 2\n", "c", "\"open", "a quote is opened and not closed");
        check("a: \"one\n  two\"\nb: @c\n", "@", "@c", "text that begins with `@` stands without quotes");
        check("a: { b: 1\nc: 2\n", "c", "{", "a bracket is not closed");
        check("a: [ { b: 1 ]\n", "]", "{", "a bracket is not closed");
        check("a: {{x}}, hello\n", "hello", "{{x}}, hello", "text with `{{` stands without quotes");
        check("a: spring: the sale\n", "the", "spring: the sale", "text with `: ` stands without quotes");
        check("a: @home\n", "@", "@home", "text that begins with `@` stands without quotes");
        check("a: \"x\" y\n", "y", "\"x\" y", "something stands behind the closing quote");
        assert_eq!(find("", 0), None);
    }
}
