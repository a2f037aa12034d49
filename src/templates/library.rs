//! All templates, partials, layouts and locales of a workspace, read once.

use super::expand::{Expanded, Form, expand};
use super::html::{Lost, Styled, from_mjml, inlined};
use super::message::Part;
use super::needs::{self, Reading};
use super::{lint, mask, mjml, tags};
use crate::diagnostics::{Files, Problem, Problems, Span, nearest};
use crate::yaml::{self, Node, Value};
use handlebars::{Template, TemplateError, TemplateErrorReason};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The languages of a workspace: what a file's suffix may be, and who reads what when the own language is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Languages {
    /// In the order of posthaste.yaml; the first is everybody's last resort.
    pub all: Vec<String>,
    pub fallback: BTreeMap<String, String>,
}

impl Languages {
    /// The language itself, its fallback (and that one's …), then all in order.
    pub fn chain(&self, own: Option<&str>) -> Vec<String> {
        let mut chain: Vec<String> = Vec::new();
        let mut next = own.map(str::to_string);
        while let Some(language) = next.filter(|language| !chain.contains(language)) {
            next = self.fallback.get(&language).cloned();
            chain.push(language);
        }
        for language in &self.all {
            if !chain.contains(language) {
                chain.push(language.clone())
            }
        }
        chain
    }
}

/// Lines of the locales by key, `cart.go`.
pub(super) type Locale = BTreeMap<String, String>;

/// The HTML part of a template.
#[derive(Debug, Clone)]
pub(super) struct Html {
    /// As written, with its partials; places lead back to the files.
    pub source: Arc<Expanded>,
    pub form: Form,
    /// MJML turned into HTML, styles inlined, `{{…}}` in their places.
    pub compiled: Arc<str>,
}

/// What the files `NAME[.LANGUAGE]` say.
#[derive(Debug, Clone, Default)]
pub(super) struct Variant {
    pub html: Option<Html>,
    /// The text part, or all of an SMS.
    pub text: Option<Arc<Expanded>>,
}

/// Templates by name and language (`""`: for all), ready to be compiled into messages.
#[derive(Debug, Clone, Default)]
pub struct Library {
    pub(super) templates: BTreeMap<String, BTreeMap<String, Variant>>,
    pub(super) locales: BTreeMap<String, Locale>,
    languages: Languages,
    /// The files of each template, also of one with problems.
    reaches: BTreeMap<String, BTreeSet<String>>,
}

const FOLDERS: [&str; 3] = ["partials/", "layouts/", "locales/"];

impl Library {
    /// Reads `templates/`; problems of all files come at once, and a file with problems is left out.
    ///
    /// What [`Library::compiled`] gave is taken from `compiled/templates/…` where it is there, instead of being made again.
    pub fn read(files: &Files, languages: &Languages, problems: &mut Problems) -> Library {
        let mut library = Library { languages: languages.clone(), ..Library::default() };
        let broken = syntax(files, problems);
        library.read_locales(files, problems);
        for (path, _) in files.under("templates") {
            let inside = &path["templates/".len()..];
            if FOLDERS.iter().any(|folder| inside.starts_with(folder)) {
                continue;
            }
            let Some((stem, form)) = stem(inside) else { continue };
            let (name, language) = library.named(path, stem, problems);
            if broken.contains(path) {
                continue;
            }
            let Some(source) = expand(files, path, form, problems) else { continue };
            library.reaches.entry(name.clone()).or_default().extend(source.files.iter().cloned());
            if source.files.iter().any(|file| broken.contains(file)) {
                continue;
            }
            library.add(files, path, &name, &language, source, form, problems);
        }
        library
    }

    /// Names of the templates, for `did you mean`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.templates.keys().map(String::as_str)
    }

    /// Whether there is a template of this name.
    pub fn has(&self, name: &str) -> bool {
        self.templates.contains_key(name)
    }

    /// Whether a template has an HTML part: then it is an email.
    pub fn is_email(&self, name: &str) -> bool {
        self.templates.get(name).is_some_and(|variants| variants.values().any(|variant| variant.html.is_some()))
    }

    /// Every file that a template is made of, in all its languages: itself, partials, layouts, locales.
    pub fn reaches(&self, name: &str) -> BTreeSet<String> {
        let mut found = self.reaches.get(name).cloned().unwrap_or_default();
        found.extend(self.locales.keys().map(|language| format!("templates/locales/{language}.yaml")));
        found
    }

    /// HTML made of MJML, to be stored with an applied version: `compiled/templates/NAME.LANGUAGE.html`.
    pub fn compiled(&self) -> Files {
        let mut files = Files::default();
        for (name, variants) in &self.templates {
            for (language, variant) in variants {
                if let Some(html) = variant.html.as_ref().filter(|html| html.form == Form::Mjml) {
                    files.insert(compiled_path(name, language), html.compiled.as_bytes());
                }
            }
        }
        files
    }

    /// The language whose file is taken for people with this chain: the own and its fallbacks, then the file for all, then the
    /// workspace's languages in order.
    pub(super) fn choose<'a>(&'a self, name: &str, chain: &[String], fits: impl Fn(&Variant) -> bool) -> Option<(&'a str, &'a Variant)> {
        let variants = self.templates.get(name)?;
        let get = |language: &str| variants.get_key_value(language).filter(|(_, variant)| fits(variant));
        chain
            .iter()
            .filter(|language| self.is_near(chain, language))
            .find_map(|language| get(language))
            .or_else(|| get(""))
            .or_else(|| chain.iter().find_map(|language| get(language)))
            .or_else(|| variants.iter().find(|(_, variant)| fits(variant)))
            .map(|(language, variant)| (language.as_str(), variant))
    }

    /// Whether a language is the reader's own or one of its fallbacks.
    fn is_near(&self, chain: &[String], language: &str) -> bool {
        let mut next = chain.first();
        let mut seen = BTreeSet::new();
        while let Some(own) = next.filter(|own| seen.insert(own.as_str())) {
            if own == language {
                return true;
            }
            next = self.languages.fallback.get(own);
        }
        false
    }

    /// Lines for people with this chain; what the first language lacks comes from the next.
    pub(super) fn locale(&self, chain: &[String]) -> Locale {
        let mut all = Locale::new();
        for language in chain.iter().rev().filter_map(|language| self.locales.get(language)) {
            all.extend(language.iter().map(|(key, words)| (key.clone(), words.clone())));
        }
        all
    }

    /// Name and language of a file `NAME[.LANGUAGE]`.
    fn named(&self, path: &str, stem: &str, problems: &mut Problems) -> (String, String) {
        let Some((name, suffix)) = stem.rsplit_once('.') else { return (stem.to_string(), String::new()) };
        if self.languages.all.iter().any(|known| known == suffix) {
            return (name.to_string(), suffix.to_string());
        }
        let problem = Problem::new(path, None, format!("`{suffix}` is no language of this workspace"))
            .help(format!("languages in posthaste.yaml are {}; names of templates have no dot", self.languages.all.join(", ")));
        problems.push(problem);
        (name.to_string(), suffix.to_string())
    }

    #[allow(clippy::too_many_arguments)]
    fn add(&mut self, files: &Files, path: &str, name: &str, language: &str, source: Expanded, form: Form, problems: &mut Problems) {
        let before = problems.count();
        if mask::collides(&source.text) {
            problems.push(Problem::new(path, None, "this file holds the letters `ꔀ` or `ꔁ`, which Posthaste uses itself"));
        }
        let Some(template) = parsed(&source, problems) else { return };
        self.check(&needs::read(&template, &source, Part::Body, language), &source, problems);
        let source = Arc::new(source);
        let variant = self.templates.entry(name.to_string()).or_default().entry(language.to_string()).or_default();
        if form == Form::Text {
            variant.text = Some(source);
            return;
        }
        if form == Form::Mjml {
            mjml::check(&source, problems);
        }
        lint::markup(&source, form, problems);
        if problems.count() > before {
            return;
        }
        let compiled = match (form, files.text(&compiled_path(name, language))) {
            (Form::Mjml, Some(compiled)) => Styled { html: compiled.to_string(), not_inlined: None },
            (Form::Mjml, None) => match from_mjml(&source.text) {
                Ok(styled) => styled,
                Err(lost) => return problems.push(unmade(path, &source, lost)),
            },
            _ => inlined(&source.text),
        };
        if let Some(error) = compiled.not_inlined {
            let problem = Problem::new(path, None, "the styles cannot be inlined, some mail programs will not see them").warning();
            problems.push(problem.label(error.clone()).help(format!("mend the CSS: {error}")));
        }
        variant.html = Some(Html { source, form, compiled: Arc::from(compiled.html) });
    }

    /// Helpers, lines of locales.
    pub(super) fn check(&self, reading: &Reading, source: &Expanded, problems: &mut Problems) {
        reading.problems.iter().for_each(|problem| problems.push(problem.clone()));
        for (key, range) in &reading.lines {
            let having: Vec<&str> =
                self.locales.iter().filter(|(_, locale)| locale.contains_key(key)).map(|(name, _)| name.as_str()).collect();
            if having.is_empty() {
                let problem = source.problem(range.clone(), format!("no locale has the line `{key}`"));
                let known = self.locales.values().flat_map(|locale| locale.keys().map(String::as_str));
                problems.push(match nearest(key, known) {
                    Some(near) => problem.help(format!("did you mean `{near}`?")),
                    None => problem.help("write it into templates/locales/LANGUAGE.yaml"),
                });
            } else if let Some(lacking) = self.languages.all.iter().find(|language| !having.contains(&language.as_str())) {
                let file = format!("templates/locales/{lacking}.yaml");
                problems.push(
                    Problem::new(file, None, format!("the line `{key}` is missing in this language"))
                        .warning()
                        .help(format!("people who read `{lacking}` get the words of `{}`", having[0])),
                );
            }
        }
    }

    fn read_locales(&mut self, files: &Files, problems: &mut Problems) {
        for (path, _) in files.under("templates/locales") {
            let Some(language) = path.strip_prefix("templates/locales/").and_then(|name| name.strip_suffix(".yaml")) else { continue };
            if !self.languages.all.iter().any(|known| known == language) {
                let problem = Problem::new(path, None, format!("`{language}` is no language of this workspace"));
                problems.push(problem.help(format!("languages in posthaste.yaml are {}", self.languages.all.join(", "))));
            }
            let Some(text) = files.text(path) else { continue };
            let mut lines = Locale::new();
            if let Some(node) = yaml::read(path, text, problems) {
                flatten(path, "", &node, &mut lines, problems);
            }
            self.locales.insert(language.to_string(), lines);
        }
    }
}

fn unmade(path: &str, source: &Expanded, lost: Lost) -> Problem {
    match lost {
        Lost::Unreadable(message) => Problem::new(path, None, format!("MJML cannot read this: {message}")),
        Lost::Tag(tag) => {
            let at = source.text.find(&tag).unwrap_or(0);
            let problem = source.problem(at..at + tag.len(), "MJML keeps nothing at this place");
            problem.label("would be lost").help("put it into mj-text, between sections or columns, or into mj-raw")
        }
    }
}

fn compiled_path(name: &str, language: &str) -> String {
    let language = if language.is_empty() { String::new() } else { format!(".{language}") };
    format!("compiled/templates/{name}{language}.html")
}

fn stem(inside: &str) -> Option<(&str, Form)> {
    [(".txt.hbs", Form::Text), (".hbs", Form::Html), (".mjml", Form::Mjml)]
        .iter()
        .find_map(|(ending, form)| inside.strip_suffix(ending).map(|stem| (stem, *form)))
}

fn flatten(file: &str, key: &str, node: &Node, lines: &mut Locale, problems: &mut Problems) {
    match &node.value {
        Value::Scalar { text, .. } if !key.is_empty() => {
            lines.insert(key.to_string(), text.clone());
        }
        Value::Map(entries) => {
            for (name, inside) in entries {
                let key = if key.is_empty() { name.text.clone() } else { format!("{key}.{}", name.text) };
                flatten(file, &key, inside, lines, problems);
            }
        }
        _ => problems.push(
            Problem::new(file, node.span, "a locale holds texts under keys")
                .help("write `cart: { go: \"Go to the cart\" }` for {{t 'cart.go'}}"),
        ),
    }
}

/// Files that are no text, or whose tags handlebars cannot read.
fn syntax(files: &Files, problems: &mut Problems) -> BTreeSet<String> {
    let mut broken = BTreeSet::new();
    for (path, bytes) in files.under("templates") {
        if stem(path).is_none() {
            continue;
        }
        match std::str::from_utf8(bytes) {
            Err(_) => {
                problems.push(Problem::new(path, None, "this file is not UTF-8 text").help("save it as UTF-8"));
                broken.insert(path.to_string());
            }
            Ok(text) => {
                if let Err(error) = template(text) {
                    problems.push(unreadable(path, text, &error));
                    broken.insert(path.to_string());
                }
            }
        }
    }
    broken
}

/// Reads a template that is not nested deeper than can be read.
pub(super) fn template(text: &str) -> Result<Template, TemplateError> {
    match tags::too_deep(text) {
        None => Template::compile(text),
        Some(_) => Err(TemplateError::of(TemplateErrorReason::InvalidSyntax("too deep".into()))),
    }
}

const TOO_DEEP: &str = "blocks stand too deep in each other";
const LESS_DEEP: &str = "write some of them one after the other; at most a hundred levels are read";

/// The tree of a whole text; its problem is pushed.
fn parsed(source: &Expanded, problems: &mut Problems) -> Option<Template> {
    match template(&source.text) {
        Ok(template) => Some(template),
        Err(error) => {
            if let Some(tag) = tags::too_deep(&source.text) {
                problems.push(source.problem(tag.range, TOO_DEEP).help(LESS_DEEP));
                return None;
            }
            let (line, column) = error.pos().unwrap_or((1, 1));
            let at = offset(&source.text, line, column);
            problems.push(source.problem(at..at, reason(&error)));
            None
        }
    }
}

/// What handlebars could not read, in words for a marketer.
pub(super) fn unreadable(file: &str, text: &str, error: &TemplateError) -> Problem {
    if let Some(tag) = tags::too_deep(text) {
        return Problem::new(file, Span::new(tag.range), TOO_DEEP).label("one too many").help(LESS_DEEP);
    }
    if let Some(problem) = unbalanced(file, text) {
        return problem;
    }
    let (line, column) = error.pos().unwrap_or((1, 1));
    let at = offset(text, line, column);
    let start = text[..at].rfind("{{").filter(|start| !text[*start..at].contains("}}") || at == text.len()).unwrap_or(at);
    let end = text[start..].find(['\n', '}']).map_or(text.len(), |length| start + length).max(start);
    let end = if text[end..].starts_with("}}") { end + 2 } else { end };
    Problem::new(file, Span { start, end }, reason(error))
        .label("not understood")
        .help("every `{{#if …}}`, `{{#each …}}` … ends with its `{{/if}}`, `{{/each}}`; texts stand in single quotes: `{{default name 'friend'}}`")
}

/// A block that is never closed, or a close without its block: handlebars reports both far from where they are.
fn unbalanced(file: &str, text: &str) -> Option<Problem> {
    let mut open: Vec<tags::Tag> = Vec::new();
    let problem = |tag: &tags::Tag, title: String| Problem::new(file, Span::new(tag.range.clone()), title);
    for tag in tags::tags(text) {
        if tag.opens() {
            open.push(tag);
        } else if tag.kind == tags::Kind::Close {
            let name = tag.name(text);
            let Some(opened) = open.pop() else {
                return Some(
                    problem(&tag, format!("`{{{{/{name}}}}}` closes nothing"))
                        .label("no block is open here")
                        .help("take it out, or open the block before it"),
                );
            };
            if block_name(&opened, text) != name {
                let opened_name = block_name(&opened, text);
                let title = format!("`{{{{#{opened_name}}}}}` is not closed");
                return Some(
                    problem(&opened, title)
                        .label("opened here")
                        .help(format!("write `{{{{/{opened_name}}}}}` where it ends, before `{{{{/{name}}}}}`")),
                );
            }
        }
    }
    let opened = open.pop()?;
    let name = block_name(&opened, text);
    let title = format!("`{{{{#{name}}}}}` is not closed");
    Some(problem(&opened, title).label("opened here").help(format!("write `{{{{/{name}}}}}` where it ends")))
}

/// The word that the closing tag repeats.
fn block_name<'a>(tag: &tags::Tag, text: &'a str) -> &'a str {
    match tag.kind {
        tags::Kind::InlineOpen => "inline",
        _ => tag.name(text).trim_matches(['"', '\'']),
    }
}

fn reason(error: &TemplateError) -> String {
    match error.reason() {
        TemplateErrorReason::MismatchingClosedHelper(opened, closed) => format!("`{{{{#{opened}}}}}` is closed by `{{{{/{closed}}}}}`"),
        _ => "this `{{…}}` cannot be read".to_string(),
    }
}

fn offset(text: &str, line: usize, column: usize) -> usize {
    let start = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).nth(line.saturating_sub(1)).unwrap_or(text.len());
    text[start..].char_indices().nth(column.saturating_sub(1)).map_or(text.len(), |(at, _)| start + at)
}
