//! Pastes partials, layouts and MJML includes into one text that remembers where each piece stands.
//!
//! Names are written out, so a circle of partials is found here, with its place, and can never run.

use super::tags::{Kind, Tag, tags};
use crate::diagnostics::{Files, Problem, Problems, Span, nearest, place};
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

/// A pasted text is at most this long.
const LONGEST: usize = 2_000_000;
const DEEPEST: usize = 32;
/// Partials that are pasted into one template at most, counting those inside of others: ten that each name the next twice are a thousand.
const PASTED: usize = 5_000;

/// What is being written: it decides which file a partial's name means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Mjml,
    Html,
    Text,
}

impl Form {
    fn endings(self) -> &'static [&'static str] {
        match self {
            Form::Mjml => &[".mjml", ".hbs"],
            Form::Html => &[".hbs"],
            Form::Text => &[".txt.hbs"],
        }
    }
}

/// The whole text of a template.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Expanded {
    pub text: String,
    /// Every file in it.
    pub files: Vec<String>,
    /// Their texts, in the same order.
    texts: Vec<Arc<str>>,
    pieces: Vec<Piece>,
}

/// From `start` of the whole text on stands what begins at `offset` of `file`; of what was written by us, the tag that it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    start: usize,
    file: usize,
    offset: usize,
    tag: Option<Range<usize>>,
}

impl Expanded {
    /// A text of one piece; `file` is empty for words of a campaign's file.
    pub fn of(file: &str, text: &str) -> Self {
        Expanded {
            text: text.to_string(),
            files: vec![file.to_string()],
            texts: vec![Arc::from(text)],
            pieces: vec![Piece { start: 0, file: 0, offset: 0, tag: None }],
        }
    }
    /// The file and the place of these bytes of the whole text.
    pub fn locate(&self, range: Range<usize>) -> (&str, Span) {
        let index = self.pieces.partition_point(|piece| piece.start <= range.start).saturating_sub(1);
        let Some(piece) = self.pieces.get(index) else { return ("", Span::default()) };
        let file = self.files[piece.file].as_str();
        match &piece.tag {
            Some(tag) => (file, Span::new(tag.clone())),
            None => {
                let last = self.pieces.get(index + 1).map_or(self.text.len(), |next| next.start);
                let start = piece.offset + (range.start - piece.start);
                (file, Span { start, end: start + range.end.min(last).saturating_sub(range.start) })
            }
        }
    }
    /// Line and column of these bytes in their file.
    pub fn line(&self, range: Range<usize>) -> (usize, usize) {
        let index = self.pieces.partition_point(|piece| piece.start <= range.start).saturating_sub(1);
        let text = self.pieces.get(index).and_then(|piece| self.texts.get(piece.file)).map_or("", |text| text);
        place(text, self.locate(range).1.start)
    }
    /// A problem at these bytes.
    pub fn problem(&self, range: Range<usize>, title: impl Into<String>) -> Problem {
        let (file, span) = self.locate(range);
        Problem::new(file, span, title)
    }
}

/// Expands the file at `path`; problems are pushed, and what has some is still as whole as can be.
pub(super) fn expand(files: &Files, path: &str, form: Form, problems: &mut Problems) -> Option<Expanded> {
    let mut work = Work { files, form, out: Expanded::default(), sources: BTreeMap::new(), problems, pasted: 0, is_full: false };
    let source = work.source(path)?;
    let whole = 0..source.text.len();
    work.paste(&source, whole, &Slots::default(), &mut vec![path.to_string()]);
    Some(work.out)
}

struct Source {
    path: String,
    text: String,
    tags: Vec<Tag>,
}

/// A piece of a file that a layout puts at its place, with the slots that were known where it is written.
#[derive(Clone)]
struct Slot {
    source: Rc<Source>,
    range: Range<usize>,
    slots: Rc<Slots>,
}

#[derive(Clone, Default)]
struct Slots(BTreeMap<String, Slot>);

struct Work<'a> {
    files: &'a Files,
    form: Form,
    out: Expanded,
    sources: BTreeMap<String, Rc<Source>>,
    problems: &'a mut Problems,
    pasted: usize,
    is_full: bool,
}

impl Work<'_> {
    fn source(&mut self, path: &str) -> Option<Rc<Source>> {
        if let Some(source) = self.sources.get(path) {
            return Some(source.clone());
        }
        let text = self.files.text(path)?.trim_start_matches('\u{feff}').to_string();
        let source = Rc::new(Source { path: path.to_string(), tags: tags(&text), text });
        self.sources.insert(path.to_string(), source.clone());
        self.out.files.push(path.to_string());
        self.out.texts.push(Arc::from(source.text.as_str()));
        Some(source)
    }

    fn write(&mut self, source: &Source, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        if self.out.text.len() + range.len() > LONGEST {
            if !self.is_full {
                self.is_full = true;
                let title = format!("with its partials this template is longer than {LONGEST} bytes");
                self.problems.push(Problem::new(&source.path, None, title).help("let it include less"));
            }
            return;
        }
        let file = self.file(source);
        self.out.pieces.push(Piece { start: self.out.text.len(), file, offset: range.start, tag: None });
        self.out.text.push_str(&source.text[range]);
    }

    /// Text of our own that stands for a tag.
    fn write_for(&mut self, source: &Source, tag: &Tag, text: &str) {
        let file = self.file(source);
        self.out.pieces.push(Piece { start: self.out.text.len(), file, offset: 0, tag: Some(tag.range.clone()) });
        self.out.text.push_str(text);
    }

    fn file(&mut self, source: &Source) -> usize {
        self.out.files.iter().position(|file| *file == source.path).unwrap_or(0)
    }

    fn problem(&mut self, source: &Source, range: Range<usize>, title: impl Into<String>) -> Problem {
        Problem::new(&source.path, Span::new(range), title)
    }

    fn paste(&mut self, source: &Rc<Source>, range: Range<usize>, slots: &Slots, path: &mut Vec<String>) {
        let mut at = range.start;
        let first = source.tags.partition_point(|tag| tag.range.start < range.start);
        let mut index = first;
        while let Some(tag) = source.tags.get(index).filter(|tag| tag.range.end <= range.end) {
            index += 1;
            match tag.kind {
                Kind::Partial => {
                    let (before, after) = alone(&source.text, tag, &range);
                    self.markup(source, at..before, path);
                    self.partial(source, tag, slots, None, path);
                    at = after.max(at);
                }
                Kind::PartialOpen => {
                    self.markup(source, at..tag.range.start, path);
                    let Some(close) = closing(source, index - 1) else { break };
                    let body = tag.range.end..source.tags[close].range.start;
                    let inside = Rc::new(slots.clone());
                    let block = Slot { source: source.clone(), range: body.clone(), slots: inside.clone() };
                    let mut given = inline(source, index, close, &inside);
                    given.insert("@partial-block".to_string(), block);
                    self.partial(source, tag, slots, Some(given), path);
                    (at, index) = (source.tags[close].range.end, close + 1);
                }
                Kind::InlineOpen => {
                    // Defined for the layout around it; at its own place nothing stands.
                    self.markup(source, at..tag.range.start, path);
                    let Some(close) = closing(source, index - 1) else { break };
                    (at, index) = (source.tags[close].range.end, close + 1);
                }
                Kind::Other => {
                    let problem = self.problem(source, tag.range.clone(), "raw blocks and decorators are not supported");
                    self.problems.push(problem.help("write `\\{{` for two braces that are text"));
                    self.markup(source, at..tag.range.start, path);
                    at = tag.range.end;
                }
                _ => {}
            }
        }
        self.markup(source, at..range.end.max(at), path);
    }

    fn partial(&mut self, source: &Rc<Source>, tag: &Tag, slots: &Slots, given: Option<BTreeMap<String, Slot>>, path: &mut Vec<String>) {
        let inner = tag.inner(&source.text);
        let words = words(inner);
        let Some(written) = words.first().map(|range| &inner[range.clone()]) else { return };
        let name = written.trim_matches(['"', '\'', '[', ']']);
        if written.starts_with('(') {
            let problem = self.problem(source, tag.inner.clone(), "the name of a partial must be written out");
            self.problems.push(problem.help("choose with `{{#if …}}{{> one}}{{else}}{{> other}}{{/if}}`"));
            return;
        }
        if path.len() > DEEPEST {
            let problem = self.problem(source, tag.inner.clone(), "partials stand too deep in each other");
            self.problems.push(problem);
            return;
        }
        self.pasted += 1;
        if self.pasted > PASTED && !self.is_full {
            self.is_full = true;
            let title = format!("this template pastes more than {PASTED} partials, which include each other again and again");
            let problem = self.problem(source, tag.inner.clone(), title);
            self.problems.push(problem.help("write each partial once where it is needed"));
        }
        if self.is_full {
            return;
        }
        let (context, hash) = arguments(inner, &words);
        if !hash.is_empty() {
            self.write_for(source, tag, &format!("{{{{#$scope {hash}}}}}"));
        }
        if let Some(context) = context {
            self.write_for(source, tag, &format!("{{{{#with {context}}}}}"));
        }
        if let Some(slot) = slots.0.get(name).cloned() {
            path.push(name.to_string());
            self.paste(&slot.source, slot.range, &slot.slots, path);
            path.pop();
        } else if name == "@partial-block" {
            let problem = self.problem(source, tag.inner.clone(), "there is no block to put here");
            self.problems.push(problem.help("use this file as a layout: `{{#> layouts/base}}…{{/layouts/base}}`"));
        } else if let Some(found) = self.find(name) {
            if let Some(start) = path.iter().position(|known| *known == found) {
                let circle = path[start..].iter().chain([&found]).map(String::as_str).collect::<Vec<_>>().join(" → ");
                let problem = self.problem(source, tag.inner.clone(), "these partials include each other without end").label(circle);
                self.problems.push(problem.help("take one of them out of the circle"));
            } else if let Some(partial) = self.source(&found) {
                let mut inside = slots.clone();
                inside.0.remove("@partial-block");
                inside.0.extend(given.unwrap_or_default());
                path.push(found);
                let end = partial.text.strip_suffix('\n').map_or(partial.text.len(), str::len);
                self.paste(&partial, 0..end, &inside, path);
                path.pop();
            }
        } else {
            self.unknown(source, tag, name);
        }
        if context.is_some() {
            self.write_for(source, tag, "{{/with}}");
        }
        if !hash.is_empty() {
            self.write_for(source, tag, "{{/$scope}}");
        }
    }

    /// `footer` is partials/footer…, `layouts/base` is layouts/base….
    fn find(&self, name: &str) -> Option<String> {
        let name = name.strip_prefix("partials/").map_or_else(
            || if name.starts_with("layouts/") { name.to_string() } else { format!("partials/{name}") },
            |rest| format!("partials/{rest}"),
        );
        self.form.endings().iter().map(|ending| format!("templates/{name}{ending}")).find(|path| self.files.text(path).is_some())
    }

    fn unknown(&mut self, source: &Source, tag: &Tag, name: &str) {
        let ending = self.form.endings()[self.form.endings().len() - 1];
        let known: Vec<String> = self
            .files
            .under("templates")
            .filter_map(|(path, _)| {
                let inside = path.strip_prefix("templates/")?;
                let stem = self.form.endings().iter().find_map(|ending| inside.strip_suffix(ending))?;
                if self.form != Form::Text && stem.ends_with(".txt") {
                    return None;
                }
                stem.strip_prefix("partials/").or_else(|| stem.starts_with("layouts/").then_some(stem)).map(str::to_string)
            })
            .collect();
        let folder = if name.contains('/') { "" } else { "partials/" };
        let mut problem = self
            .problem(source, tag.inner.start..tag.inner.start + name.len().min(tag.inner.len()), format!("there is no partial `{name}`"))
            .label("used here");
        problem = match nearest(name, known.iter().map(String::as_str)) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem.help(format!("it would be the file templates/{folder}{name}{ending}")),
        };
        self.problems.push(problem);
    }

    /// Text without partials; in MJML, `<mj-include path="…"/>` is pasted too.
    fn markup(&mut self, source: &Rc<Source>, range: Range<usize>, path: &mut Vec<String>) {
        if range.start >= range.end {
            return;
        }
        if self.form != Form::Mjml {
            return self.write(source, range);
        }
        let mut at = range.start;
        while let Some(start) = source.text[at..range.end].find("<mj-include").map(|offset| at + offset) {
            let Some(length) = source.text[start..range.end].find('>') else { break };
            let mut end = start + length + 1;
            self.write(source, at..start);
            let element = source.text[start..end].to_string();
            if !element.ends_with("/>") && source.text[end..range.end].trim_start().starts_with("</mj-include>") {
                end += source.text[end..range.end].find('>').map_or(0, |offset| offset + 1);
            }
            self.include(source, start..end, &element, path);
            at = end;
        }
        self.write(source, at..range.end);
    }

    fn include(&mut self, source: &Rc<Source>, range: Range<usize>, element: &str, path: &mut Vec<String>) {
        let value = |name: &str| {
            let rest = &element[element.find(&format!("{name}="))? + name.len() + 1..];
            let quote = rest.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
            rest[1..].split(quote).next()
        };
        let Some(written) = value("path") else {
            let problem = self.problem(source, range, "mj-include needs a `path`");
            return self.problems.push(problem);
        };
        let Some(found) = self.included(&source.path, written) else {
            let problem = self.problem(source, range, format!("there is no file `{written}` to include"));
            return self.problems.push(problem.help("paths are read from the file itself, or from templates/, and stay inside templates/"));
        };
        if path.contains(&found) || path.len() > DEEPEST {
            let circle = path.iter().chain([&found]).map(String::as_str).collect::<Vec<_>>().join(" → ");
            let problem = self.problem(source, range, "these files include each other without end").label(circle);
            return self.problems.push(problem);
        }
        let Some(included) = self.source(&found) else { return };
        let tag = Tag { kind: Kind::Partial, range: range.clone(), inner: range.clone() };
        let wrap = match value("type") {
            Some("css") => Some(("<mj-style>", "</mj-style>")),
            Some("html") => Some(("<mj-raw>", "</mj-raw>")),
            _ => None,
        };
        if wrap.is_none() && included.text.trim_start().starts_with("<mjml") {
            let problem = self.problem(source, range, "an included file holds pieces of MJML, not a whole `<mjml>`");
            return self.problems.push(problem.help("leave out `<mjml>`, `<mj-head>` and `<mj-body>` there"));
        }
        if let Some((open, _)) = wrap {
            self.write_for(source, &tag, open);
        }
        path.push(found);
        self.paste(&included, 0..included.text.len(), &Slots::default(), path);
        path.pop();
        if let Some((_, close)) = wrap {
            self.write_for(source, &tag, close);
        }
    }

    fn included(&self, from: &str, written: &str) -> Option<String> {
        let folder = from.rsplit_once('/').map_or("", |(folder, _)| folder);
        [format!("{folder}/{written}"), format!("templates/{written}")]
            .iter()
            .filter_map(|path| plain(path))
            .flat_map(|path| [path.clone(), format!("{path}.mjml")])
            .find(|path| path.starts_with("templates/") && self.files.text(path).is_some())
    }
}

/// A path without `.` and `..`; `None` when it leaves the workspace.
fn plain(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The pieces `{{#*inline "name"}}…{{/inline}}` directly inside a block of tags `from..close`.
fn inline(source: &Rc<Source>, from: usize, close: usize, slots: &Rc<Slots>) -> BTreeMap<String, Slot> {
    let mut found = BTreeMap::new();
    let mut index = from;
    while index < close {
        let tag = &source.tags[index];
        if tag.opens() {
            let Some(end) = closing(source, index) else { break };
            if tag.kind == Kind::InlineOpen {
                let name = tag.inner(&source.text).trim_start_matches("inline").trim().trim_matches(['"', '\'']).to_string();
                let range = tag.range.end..source.tags[end].range.start;
                found.insert(name, Slot { source: source.clone(), range, slots: slots.clone() });
            }
            index = end;
        }
        index += 1;
    }
    found
}

/// The tag that closes the one at `open`.
fn closing(source: &Source, open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (index, tag) in source.tags.iter().enumerate().skip(open) {
        if tag.opens() {
            depth += 1;
        } else if tag.kind == Kind::Close {
            depth = depth.checked_sub(1)?;
            if depth == 0 {
                return Some(index);
            }
        }
    }
    None
}

/// A partial alone on its line takes the line's blanks with it, as handlebars has it; its line end stays.
fn alone(text: &str, tag: &Tag, range: &Range<usize>) -> (usize, usize) {
    let before = text[range.start..tag.range.start].rfind('\n').map_or(range.start, |at| range.start + at + 1);
    let blank = |part: &str| part.chars().all(|c| c == ' ' || c == '\t');
    let after = text[tag.range.end..range.end].find('\n').map_or(range.end, |at| tag.range.end + at);
    if blank(&text[before..tag.range.start]) && blank(text[tag.range.end..after].trim_end_matches('\r')) {
        (before, after)
    } else {
        (tag.range.start, tag.range.end)
    }
}

/// The words of a tag; texts in quotes and `(…)` are one word.
pub(super) fn words(inner: &str) -> Vec<Range<usize>> {
    let (mut found, mut start, mut quote, mut depth) = (Vec::new(), None, None, 0usize);
    for (at, c) in inner.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => {
                start.get_or_insert(at);
                quote = Some(c);
            }
            None if c == '(' => {
                start.get_or_insert(at);
                depth += 1;
            }
            None if c == ')' => depth = depth.saturating_sub(1),
            None if c.is_whitespace() && depth == 0 => {
                if let Some(start) = start.take() {
                    found.push(start..at)
                }
            }
            None => {
                start.get_or_insert(at);
            }
        }
    }
    if let Some(start) = start {
        found.push(start..inner.len())
    }
    found
}

/// The context and the `key=value` pairs behind a partial's name.
fn arguments<'a>(inner: &'a str, words: &[Range<usize>]) -> (Option<&'a str>, String) {
    let rest = words.iter().skip(1).map(|range| &inner[range.clone()]);
    let is_pair = |word: &str| word.split_once('=').is_some_and(|(key, _)| !key.is_empty() && !key.contains(['"', '\'', '(']));
    let context = rest.clone().find(|word| !is_pair(word));
    (context, rest.filter(|word| is_pair(word)).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> Files {
        let mut files = Files::default();
        list.iter().for_each(|(path, text)| files.insert(format!("templates/{path}"), *text));
        files
    }

    fn check(list: &[(&str, &str)], expected: &str) {
        let mut problems = Problems::default();
        let files = files(list);
        let path = format!("templates/{}", list[0].0);
        let form = if path.ends_with(".mjml") { Form::Mjml } else { Form::Html };
        let found = expand(&files, &path, form, &mut problems).unwrap();
        assert_eq!(found.text, expected);
        assert!(problems.is_empty(), "{}", problems.render(&files, false, 100));
    }

    fn refused(list: &[(&str, &str)]) -> String {
        let mut problems = Problems::default();
        let files = files(list);
        expand(&files, &format!("templates/{}", list[0].0), Form::Html, &mut problems);
        problems.iter().map(|problem| format!("{}: {} {}", problem.file, problem.title, problem.label)).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn partials_layouts_and_slots_become_one_text() {
        check(&[("a.hbs", "x{{> b}}y"), ("partials/b.hbs", "<b>{{name}}</b>\n")], "x<b>{{name}}</b>y");
        check(&[("a.hbs", "x\n  {{> b}}\ny"), ("partials/b.hbs", "B\n")], "x\nB\ny");
        check(
            &[("a.hbs", "{{> card article size=2}}"), ("partials/card.hbs", "{{title}}")],
            "{{#$scope size=2}}{{#with article}}{{title}}{{/with}}{{/$scope}}",
        );
        check(
            &[
                ("a.hbs", "{{#> layouts/base}}{{#*inline \"side\"}}S{{/inline}}M{{> b}}{{/layouts/base}}!"),
                ("layouts/base.hbs", "<{{> @partial-block}}|{{> side}}>"),
                ("partials/b.hbs", "B"),
            ],
            "<MB|S>!",
        );
        check(
            &[("a.mjml", "<mj-head><mj-include path=\"./partials/h.mjml\" /></mj-head>"), ("partials/h.mjml", "<mj-title>T</mj-title>")],
            "<mj-head><mj-title>T</mj-title></mj-head>",
        );
    }

    #[test]
    fn circles_unknown_and_dynamic_names_are_problems() {
        let circle = refused(&[("a.hbs", "{{> x}}"), ("partials/x.hbs", "{{> y}}"), ("partials/y.hbs", "{{> x}}")]);
        assert_eq!(
            circle,
            "templates/partials/y.hbs: these partials include each other without end templates/partials/x.hbs → templates/partials/y.hbs → templates/partials/x.hbs"
        );
        assert!(refused(&[("a.hbs", "{{> nope}}")]).contains("there is no partial `nope`"));
        assert!(refused(&[("a.hbs", "{{> (lookup . 'x')}}")]).contains("must be written out"));
        assert!(refused(&[("a.hbs", "{{> @partial-block}}")]).contains("no block"));
        assert!(refused(&[("a.hbs", "{{> ../../etc/passwd}}")]).contains("there is no partial"));
        assert_eq!(plain("templates/../../etc/passwd"), None);
    }

    #[test]
    fn places_lead_back_to_the_files() {
        let files = files(&[("a.hbs", "one {{> b}} two"), ("partials/b.hbs", "{{name}}")]);
        let found = expand(&files, "templates/a.hbs", Form::Html, &mut Problems::default()).unwrap();
        let at = found.text.find("name").unwrap();
        assert_eq!(found.locate(at..at + 4), ("templates/partials/b.hbs", Span { start: 2, end: 6 }));
        let at = found.text.find("two").unwrap();
        assert_eq!(found.locate(at..at + 3), ("templates/a.hbs", Span { start: 12, end: 15 }));
    }

    #[test]
    fn partials_that_double_each_other_end_with_one_problem() {
        let mut files = Files::default();
        for number in 0..30 {
            files.insert(format!("templates/partials/p{number}.hbs"), format!("{{{{> p{0}}}}}{{{{> p{0}}}}}", number + 1));
        }
        files.insert("templates/partials/p30.hbs", "x");
        files.insert("templates/a.hbs", "{{> p0}}");
        let mut problems = Problems::default();
        expand(&files, "templates/a.hbs", Form::Html, &mut problems).unwrap();
        let titles: Vec<String> = problems.iter().map(|problem| problem.title.clone()).collect();
        assert_eq!(titles, ["this template pastes more than 5000 partials, which include each other again and again"]);
    }
}
