//! A problem in a file that someone wrote: where it is, what is wrong, what to do.
//!
//! Readers collect problems instead of stopping at the first, so that all problems of all files come at once. How they
//! look (underlined words, colours) is decided here, for the terminal and for JSON; where they are shown is `cli`'s choice.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::Range;

/// The files of a workspace: path inside it (with `/`) → content. Read from a folder, or from what was applied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files(pub BTreeMap<String, Vec<u8>>);

impl Files {
    /// The text of a file; `None` when there is no such file or it is not UTF-8.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.0.get(path).and_then(|bytes| std::str::from_utf8(bytes).ok())
    }
    /// Adds or replaces a file.
    pub fn insert(&mut self, path: impl Into<String>, content: impl Into<Vec<u8>>) {
        self.0.insert(path.into(), content.into());
    }
    /// Paths that begin with `folder/`, in byte order.
    pub fn under<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.0
            .iter()
            .filter(move |(path, _)| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')))
            .map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
    }
}

/// Bytes `start..end` of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord, Hash)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    pub fn new(range: Range<usize>) -> Self {
        Span { start: range.start, end: range.end }
    }
    /// A part of this span, as byte offsets inside it (for words inside a scalar).
    pub fn part(self, range: Range<usize>) -> Self {
        let start = (self.start + range.start).min(self.end);
        Span { start, end: (self.start + range.end).clamp(start, self.end) }
    }
}

/// Whether the files can be applied in spite of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Problem,
    Warning,
}

/// One thing to mend. Words are for a marketer: what is wrong (`title`), what stands at the place (`label`), what to do (`help`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub severity: Severity,
    /// Path inside the workspace.
    pub file: String,
    /// The words at fault; `None` for a problem of the file as a whole.
    pub span: Option<Span>,
    pub title: String,
    pub label: String,
    pub help: Vec<String>,
}

impl Problem {
    pub fn new(file: impl Into<String>, span: impl Into<Option<Span>>, title: impl Into<String>) -> Self {
        Problem {
            severity: Severity::Problem,
            file: file.into(),
            span: span.into(),
            title: title.into(),
            label: String::new(),
            help: Vec::new(),
        }
    }
    pub fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }
    /// Said right under the underlined words.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }
    /// What to do; may be called several times.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }
}

/// Problems of any number of files, collected in the order found.
#[derive(Debug, Clone, Default)]
pub struct Problems {
    list: Vec<Problem>,
}

impl Problems {
    pub fn push(&mut self, problem: Problem) {
        if !self.list.contains(&problem) {
            self.list.push(problem)
        }
    }
    pub fn extend(&mut self, other: Problems) {
        other.list.into_iter().for_each(|problem| self.push(problem))
    }
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
    /// Problems that forbid an apply; warnings are not among them.
    pub fn count(&self) -> usize {
        self.list.iter().filter(|problem| problem.severity == Severity::Problem).count()
    }
    pub fn warnings(&self) -> usize {
        self.list.len() - self.count()
    }
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }
    /// By file, then place.
    pub fn sort(&mut self) {
        self.list.sort_by(|a, b| (&a.file, a.span, a.severity).cmp(&(&b.file, b.span, b.severity)))
    }

    /// As a person reads them, with the words underlined; `color` for terminals. `width` in columns.
    pub fn render(&self, files: &Files, color: bool, width: usize) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() }.decor_style(DecorStyle::Unicode).term_width(width);
        let mut out = String::new();
        for problem in &self.list {
            let level = match problem.severity {
                Severity::Problem => Level::ERROR.with_name("problem"),
                Severity::Warning => Level::WARNING,
            };
            let mut group: Group<'_> = Group::with_title(level.primary_title(problem.title.as_str()));
            let text = files.text(&problem.file).unwrap_or("");
            match problem.span {
                Some(span) if span.start <= text.len() => {
                    let span = on_characters(text, span);
                    let annotation = AnnotationKind::Primary.span(span.start..span.end).label(problem.label.as_str());
                    group = group.element(Snippet::source(text).path(problem.file.as_str()).annotation(annotation));
                }
                _ => group = group.element(annotate_snippets::Origin::path(problem.file.as_str())),
            }
            for help in &problem.help {
                group = group.element(Level::HELP.message(help.as_str()))
            }
            out.push_str(&renderer.render(&[group]).to_string());
            out.push_str("\n\n");
        }
        out
    }

    /// Stable JSON: an array of `{severity, file, line, column, end_line, end_column, message, label, help}`; lines and columns from 1,
    /// columns in characters.
    pub fn to_json(&self, files: &Files) -> serde_json::Value {
        self.list
            .iter()
            .map(|problem| {
                let text = files.text(&problem.file).unwrap_or("");
                let (start, end) = match problem.span {
                    Some(span) => (Some(place(text, span.start)), Some(place(text, span.end))),
                    None => (None, None),
                };
                serde_json::json!({
                    "severity": problem.severity, "file": problem.file,
                    "line": start.map(|place| place.0), "column": start.map(|place| place.1),
                    "end_line": end.map(|place| place.0), "end_column": end.map(|place| place.1),
                    "message": problem.title, "label": problem.label, "help": problem.help,
                })
            })
            .collect()
    }
}

/// Line and column from 1 of a byte offset; columns in characters.
pub fn place(text: &str, offset: usize) -> (usize, usize) {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1
    }
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The word of `known` that was probably meant by `written`, if one is near enough.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = written.to_lowercase();
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&lower, &word.to_lowercase()), word))
        .filter(|(distance, word)| {
            *distance <= (word.chars().count().max(lower.chars().count()) / 3).max(1) && *distance < lower.chars().count().max(2)
        })
        .min_by_key(|(distance, word)| (*distance, *word))
        .map(|(_, word)| word)
}

fn on_characters(text: &str, span: Span) -> Span {
    let mut start = span.start.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1
    }
    let mut end = span.end.clamp(start, text.len());
    while !text.is_char_boundary(end) {
        end += 1
    }
    Span { start, end }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_near() {
        assert_eq!(nearest("chanel", ["channel", "class"]), Some("channel"));
        assert_eq!(nearest("Topic", ["topic"]), Some("topic"));
        assert_eq!(nearest("zzz", ["channel", "class"]), None);
    }

    #[test]
    fn places_count_characters_from_one() {
        assert_eq!(place("а: б\nв: г", "а: б\nв: ".len()), (2, 4));
    }
}
