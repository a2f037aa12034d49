//! A YAML file as a tree that keeps every position and every value as written.
//!
//! Values are not typed here: `NO` stays `NO` and `01001` stays `01001`; the key or the attribute gives the type later
//! (files.md §1). What YAML allows and a marketer should not meet (anchors, tabs, several documents, doubled keys) is a problem.

mod mistakes;

use crate::diagnostics::{Problem, Problems, Span};
use saphyr_parser::{Event, Parser, ScalarStyle};

/// One place in the tree.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// From the first to behind the last byte of the value (of quoted text: with its quotes).
    pub span: Span,
    pub value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A text as written, and whether it stood in quotes or in a block.
    Scalar {
        text: String,
        quoted: bool,
    },
    List(Vec<Node>),
    /// Keys in their order, each once.
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    pub text: String,
    pub span: Span,
}

impl Node {
    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }
    /// True for nothing at all, `~` and `null`, unquoted.
    pub fn is_empty(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, quoted: false } if matches!(text.as_str(), "" | "~" | "null"))
    }
    pub fn list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }
    pub fn map(&self) -> Option<&[(Key, Node)]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }
    /// The value under a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.map()?.iter().find(|(k, _)| k.text == key).map(|(_, node)| node)
    }
    /// What it is, in a marketer's words.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar { .. } => "a value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

const DEEPEST: usize = 48;
/// Keys under which words that people read stand (files.md §1: in double quotes).
const WORDS: [&str; 5] = ["title", "subject", "preheader", "text", "question"];

/// Reads one document. `None` when nothing usable is there; `problems` says why.
pub fn read(file: &str, text: &str, problems: &mut Problems) -> Option<Node> {
    let offsets = Offsets::new(text);
    if let Some(tab) = indentation_tab(text) {
        problems.push(
            Problem::new(file, Span { start: tab, end: tab + 1 }, "a tab is used for indentation")
                .label("this is a tab")
                .help("indent with two spaces"),
        );
        return None;
    }
    let mut reader = Reader { file, text, offsets, parser: Parser::new_from_str(text), problems, last: Span::default() };
    match reader.document() {
        Ok(node) => node,
        Err(problem) => {
            reader.problems.push(*problem);
            None
        }
    }
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    offsets: Offsets,
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    problems: &'a mut Problems,
    last: Span,
}

type Stop = Box<Problem>;

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Stop> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                let span = Span { start: self.offsets.byte(span.start.index()), end: self.offsets.byte(span.end.index()) };
                self.last = span;
                Ok((event, span))
            }
            Some(Err(error)) => Err(Box::new(self.syntax_problem(error.marker().index(), error.info()))),
            None => Ok((Event::StreamEnd, Span { start: self.text.len(), end: self.text.len() })),
        }
    }

    fn document(&mut self) -> Result<Option<Node>, Stop> {
        loop {
            match self.next()? {
                (Event::StreamStart | Event::DocumentStart(_) | Event::Nothing, _) => {}
                (Event::StreamEnd | Event::DocumentEnd, _) => {
                    self.problems.push(Problem::new(self.file, None, "the file is empty"));
                    return Ok(None);
                }
                (event, span) => {
                    let node = self.node(event, span, 0)?;
                    loop {
                        match self.next()? {
                            (Event::StreamEnd, _) => return Ok(Some(node)),
                            (Event::DocumentStart(_), span) => {
                                self.problems.push(
                                    Problem::new(self.file, span, "the file holds a second document")
                                        .label("it begins here")
                                        .help("write one file for each campaign or segment, without `---`"),
                                );
                                return Ok(Some(node));
                            }
                            _ => {}
                        }
                    }
                }
            }
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Stop> {
        if depth > DEEPEST {
            return Err(Box::new(
                Problem::new(self.file, span, "this is nested too deeply").label("here").help(format!("at most {DEEPEST} levels are read")),
            ));
        }
        match event {
            Event::Scalar(text, style, anchor, _) => {
                self.no_anchor(anchor, span);
                Ok(Node { span: self.trimmed(span), value: Value::Scalar { text: text.into_owned(), quoted: style != ScalarStyle::Plain } })
            }
            Event::SequenceStart(anchor, _) => {
                self.no_anchor(anchor, span);
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, end) => {
                            return Ok(Node {
                                span: self.closed(span, end, items.last().map(|node: &Node| node.span)),
                                value: Value::List(items),
                            });
                        }
                        (event, span) => items.push(self.node(event, span, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(anchor, _) => {
                self.no_anchor(anchor, span);
                let mut entries: Vec<(Key, Node)> = Vec::new();
                loop {
                    let (event, key_span) = self.next()?;
                    if matches!(event, Event::MappingEnd) {
                        return Ok(Node {
                            span: self.closed(span, key_span, entries.last().map(|(_, node)| node.span)),
                            value: Value::Map(entries),
                        });
                    }
                    let key = self.node(event, key_span, depth + 1)?;
                    let (event, value_span) = self.next()?;
                    let value = self.node(event, value_span, depth + 1)?;
                    self.not_cut(&key, &value);
                    let Value::Scalar { text, .. } = key.value else {
                        // Most often a bare `{{first_name}}`: what follows makes no sense either.
                        let problem = Problem::new(self.file, key.span, "text with `{{` stands without quotes").label("begins here");
                        return Err(Box::new(problem.help("put it in double quotes: \"{{first_name}}, hello\"")));
                    };
                    if entries.iter().any(|(known, _)| known.text == text) {
                        self.problems.push(
                            Problem::new(self.file, key.span, format!("the key `{text}` stands here twice"))
                                .label("already written above")
                                .help("keep one of the two"),
                        );
                        continue;
                    }
                    entries.push((Key { text, span: key.span }, value));
                }
            }
            Event::Alias(_) => {
                self.problems.push(
                    Problem::new(self.file, span, "anchors and aliases are not used in these files")
                        .label("an alias")
                        .help("write the value out"),
                );
                Ok(Node { span, value: Value::Scalar { text: String::new(), quoted: false } })
            }
            _ => Err(Box::new(Problem::new(self.file, span, "the file ends too early").label("something is missing here"))),
        }
    }

    /// Words that people read, bare and followed by ` #`: the rest of the line is lost without a sign.
    fn not_cut(&mut self, key: &Node, value: &Node) {
        let Value::Scalar { quoted: false, .. } = value.value else { return };
        if !key.text().is_some_and(|key| WORDS.contains(&key)) {
            return;
        }
        let rest = self.text[value.span.end..].split('\n').next().unwrap_or_default();
        let words = rest.trim_start();
        if words.starts_with('#') && words.len() < rest.len() {
            let start = value.span.end + rest.len() - words.len();
            self.problems.push(
                Problem::new(
                    self.file,
                    Span { start, end: start + words.trim_end().len() },
                    "` #` begins a comment, so the text ends before it",
                )
                .label("would be lost")
                .help("put the whole text in double quotes; a comment behind it stands outside of them"),
            );
        }
    }

    fn no_anchor(&mut self, anchor: usize, span: Span) {
        if anchor > 0 {
            self.problems.push(
                Problem::new(self.file, span, "anchors and aliases are not used in these files")
                    .label("has an anchor (`&name`)")
                    .help("write the value out where it is needed"),
            );
        }
    }

    /// Block scalars and bare words may carry trailing blanks and line ends in their span.
    fn trimmed(&self, span: Span) -> Span {
        let text = self.text.get(span.start..span.end).unwrap_or("");
        Span { start: span.start, end: span.start + text.trim_end().len() }
    }

    fn closed(&self, start: Span, end: Span, last: Option<Span>) -> Span {
        let flow = matches!(self.text.as_bytes().get(start.start), Some(b'{' | b'['));
        self.trimmed(Span {
            start: start.start,
            end: if flow { end.end } else { last.map_or(start.end, |last| last.end) }.max(start.start),
        })
    }

    fn syntax_problem(&self, index: usize, info: &str) -> Problem {
        let mut at = self.offsets.byte(index).min(self.text.len());
        // The parser often stops at the start of the next line: point at the last words before it.
        if self.text[at..].is_empty() || at > 0 && self.text.as_bytes()[at - 1] == b'\n' && self.text[at..].trim_start().is_empty() {
            at = self.text[..at].trim_end().len();
        }
        if let Some(found) = mistakes::find(self.text, at) {
            return Problem::new(self.file, found.span, found.title).label(found.label).help(found.help);
        }
        let line_end = self.text[at..].find('\n').map_or(self.text.len(), |length| at + length);
        let end = if line_end > at { line_end } else { (at + 1).min(self.text.len()) };
        Problem::new(self.file, Span { start: at, end }, "this cannot be read as YAML").label(plain_words(info)).help(
            "compare the indentation with the lines above: keys of one mapping stand exactly below each other, two spaces deeper than what they belong to",
        )
    }
}

/// The parser's own words, made readable.
fn plain_words(info: &str) -> String {
    match info {
        _ if info.contains("did not find expected key")
            || info.contains("mapping values are not allowed")
            || info.contains("simple key") =>
        {
            "a key is expected here, or the indentation is off".into()
        }
        _ if info.contains("block end") || info.contains("<block end>") => "the indentation is off here".into(),
        _ => info.to_string(),
    }
}

fn indentation_tab(text: &str) -> Option<usize> {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let blank = line.len() - line.trim_start_matches([' ', '\t']).len();
        if !line.trim().is_empty()
            && let Some(tab) = line[..blank].find('\t')
        {
            return Some(start + tab);
        }
        start += line.len();
    }
    None
}

/// Character index → byte offset.
struct Offsets(Option<Vec<u32>>);

impl Offsets {
    fn new(text: &str) -> Self {
        if text.is_ascii() {
            return Offsets(None);
        }
        let mut bytes: Vec<u32> = text.char_indices().map(|(at, _)| at as u32).collect();
        bytes.push(text.len() as u32);
        Offsets(Some(bytes))
    }
    fn byte(&self, index: usize) -> usize {
        match &self.0 {
            None => index,
            Some(bytes) => bytes[index.min(bytes.len() - 1)] as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> (Option<Node>, Vec<String>) {
        let mut problems = Problems::default();
        let node = read("x.yaml", text, &mut problems);
        (
            node,
            problems
                .iter()
                .map(|problem| {
                    format!("{}: {}", problem.title, problem.span.map_or("", |span| text.get(span.start..span.end).unwrap_or("?")))
                })
                .collect(),
        )
    }

    #[test]
    fn values_stay_as_written_and_positions_are_bytes() {
        let text = "ключ: NO\ncode: 01001\nlist: [ a, \"б\" ]\nwhen: 10:00\n";
        let (node, problems) = check(text);
        assert_eq!(problems, Vec::<String>::new());
        let node = node.unwrap();
        assert_eq!(node.get("ключ").unwrap().text(), Some("NO"));
        assert_eq!(node.get("code").unwrap().text(), Some("01001"));
        assert_eq!(node.get("when").unwrap().text(), Some("10:00"));
        let list = node.get("list").unwrap();
        assert_eq!(&text[list.span.start..list.span.end], "[ a, \"б\" ]");
        let quoted = &list.list().unwrap()[1];
        assert_eq!(&text[quoted.span.start..quoted.span.end], "\"б\"");
    }

    #[test]
    fn what_should_not_be_there_is_a_problem() {
        assert_eq!(check("a: 1\na: 2\n").1, ["the key `a` stands here twice: a"]);
        assert_eq!(check("a:\n\tb: 1\n").1, ["a tab is used for indentation: \t"]);
        assert!(check("a: &x 1\nb: *x\n").1[0].starts_with("anchors"));
        assert!(check("subject: {{first_name}}, hello\n").1[0].starts_with("text with `{{` stands without quotes"));
        assert!(check("a: \"open\nb: 1\n").1[0].starts_with("a quote is opened and not closed"));
    }

    #[test]
    fn deep_nesting_stops_without_a_crash() {
        assert!(!check(&"[".repeat(100_000)).1.is_empty());
    }
}
