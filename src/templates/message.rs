//! One message of a campaign in one language: compiled once, rendered for each person.

use super::compiled::{Compiled, Limit, prepared};
use super::expand::Expanded;
use super::format::Language;
use super::functions::{Escape, Scene};
use super::library::{Locale, template, unreadable};
use super::{Library, Links, html, lint, needs, text};
use crate::diagnostics::{Problem, Problems, Span, nearest};
use crate::literals::Words;
use crate::types::{Channel, Class, Failure, Refusal, Time};
use chrono_tz::Tz;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::atomic::AtomicU32;

/// What a message is made of.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    pub channel: Channel,
    pub body: Body<'a>,
    pub subject: &'a Words,
    pub preheader: &'a Words,
}

#[derive(Debug, Clone, Copy)]
pub enum Body<'a> {
    /// `templates/NAME…`
    Template(&'a str),
    /// Short words in place, for SMS and calls.
    Text(&'a Words),
}

/// What is marked for tracking. SMS links are not tracked: they stay as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Track {
    pub opens: bool,
    pub clicks: bool,
}

/// Rows of catalogs, for `{{find 'products' sku}}`.
pub trait Rows: Send + Sync {
    /// The row of this catalog with this key, as a JSON object.
    fn row(&self, catalog: &str, key: &str) -> Option<Value>;
}

/// Who reads it, and when.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    pub language: &'a str,
    pub zone: Tz,
    /// Currency of money that names none.
    pub currency: &'a str,
    pub now: Time,
    pub rows: Option<&'a dyn Rows>,
}

/// A message for one person. Links and the pixel are still marks ([`super::marks`]).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rendered {
    pub subject: String,
    pub preheader: String,
    pub html: Option<String>,
    /// The text part, or all of an SMS.
    pub text: String,
}

/// Why a message cannot be rendered for a person. The person is left out with a reason; the campaign goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    #[error("`{variable}` is missing and has no default")]
    Missing { variable: String },
    #[error("the template refused: {reason}")]
    Refused { reason: String },
    #[error("`{variable}` holds a control character")]
    Unsafe { variable: String },
    #[error("the message is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("{message}")]
    Failed { message: String },
}

impl RenderError {
    /// The refusal that the ledger keeps, if it is one.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            RenderError::Missing { .. } => Some(Refusal::MissingData),
            RenderError::Refused { .. } => Some(Refusal::ByTemplate),
            _ => None,
        }
    }
    /// The failure that the ledger keeps, if it is no refusal.
    pub fn failure(&self) -> Option<Failure> {
        match self {
            RenderError::Unsafe { .. } => Some(Failure::UnsafeValue),
            RenderError::TooLarge { .. } => Some(Failure::TooLarge),
            RenderError::Failed { .. } => Some(Failure::Render),
            _ => None,
        }
    }
}

/// A part of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// The template file (HTML part, text part, or SMS).
    Body,
    /// `text:` of the campaign's file.
    Text,
    Subject,
    Preheader,
}

/// Where something stands. For words of a campaign's file (`part` is not `Body`) `file` is empty and `span` counts inside these words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub part: Part,
    /// The language of the words, for words of a campaign's file; `""` when they are for all.
    pub language: String,
    pub file: String,
    pub span: Span,
    /// From 1; columns in characters.
    pub line: usize,
    pub column: usize,
}

/// A problem of a message. [`Fault::at`] moves it into the campaign's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub part: Part,
    pub language: String,
    pub problem: Problem,
}

impl Fault {
    /// The problem as one of the campaign's file, where the words at fault stand at `span`; problems of template files stay there.
    pub fn at(mut self, file: &str, span: impl Into<Option<Span>>) -> Problem {
        if self.problem.file.is_empty() {
            self.problem.file = file.to_string();
            let span = span.into();
            self.problem.span = match (span, self.problem.span) {
                (Some(whole), Some(inside)) => Some(whole.part(inside.start..inside.end)),
                (whole, _) => whole,
            };
        }
        self.problem
    }
}

/// A variable that a message reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// From the root, with `[]` for the items of a list: `event.items[].price`. What stands in a row that `find` gives begins with
    /// the catalog: `find:products.title`.
    pub path: String,
    /// It may be missing: `default` covers it, or it is only asked for (`if`, `eq` …), or it stands behind an `if` of itself.
    pub has_default: bool,
    pub place: Place,
}

/// Compiled; shared by all threads.
#[derive(Debug, Clone)]
pub struct MessageTemplate {
    pub(super) channel: Channel,
    pub(super) subject: Option<Compiled>,
    pub(super) preheader: Option<Compiled>,
    pub(super) html: Option<Compiled>,
    pub(super) text: Compiled,
    text_is_made: bool,
    needs: Vec<Need>,
    /// Functions that it calls.
    functions: BTreeSet<&'static str>,
    /// First names of all paths read; `None`: everything is read.
    roots: Option<BTreeSet<String>>,
    locale: Locale,
    language: String,
    /// The template's file that problems of the whole are told at; empty for `text:`.
    pub(super) file: String,
    track: Track,
}

impl MessageTemplate {
    /// Compiles a message for people whose languages are `chain` (the own, its fallback …, see `Languages::chain`).
    ///
    /// Numbers of links go on in `links`: compile all messages of a version in one order, and the numbers are the same everywhere.
    /// `Err` lists what is wrong with the words of the campaign's file, or that there is no such template. Problems of template files
    /// were reported when the library was read.
    pub fn compile(
        library: &Library,
        source: &Source<'_>,
        chain: &[String],
        track: Track,
        links: &mut Links,
    ) -> Result<MessageTemplate, Vec<Fault>> {
        let mut work =
            Work { library, locale: Locale::new(), faults: Vec::new(), needs: Vec::new(), functions: BTreeSet::new(), reads_all: false };
        let chosen = work.choose(source, chain)?;
        let language = chosen.language;
        let mut own_chain = chain.to_vec();
        if !language.is_empty() {
            own_chain.retain(|other| *other != language);
            own_chain.insert(0, language.clone());
        }
        work.locale = library.locale(&own_chain);
        let track = if source.channel == Channel::Email { track } else { Track::default() };
        let line = Limit { bytes: 4_000, escape: Escape::Line };
        let (mut subject, mut preheader, mut preheader_words) = (None, None, String::new());
        if source.channel == Channel::Email {
            subject = work.words(source.subject, &own_chain, Part::Subject, line);
            preheader = work.words(source.preheader, &own_chain, Part::Preheader, line);
            if preheader.is_some() {
                preheader_words = source.preheader.pick(&own_chain).trim().to_string();
            }
        }
        let mut made = None;
        let mut html_part = None;
        if let Some(html) = &chosen.html {
            work.read(&html.source, Part::Body, &language);
            match html::finish(&html.compiled, &preheader_words, track, links) {
                Ok(sources) => {
                    html_part = work.body(&sources.html, &chosen.file, Limit { bytes: 2_000_000, escape: Escape::Html });
                    made = Some(sources.text);
                }
                Err(message) => work.fault(Part::Body, "", Problem::new(&chosen.file, None, message)),
            }
        }
        let body = match source.channel {
            Channel::Email => Limit { bytes: 1_000_000, escape: Escape::Text },
            // An SMS of 255 parts, the most there can be.
            Channel::Sms => Limit { bytes: 160_000, escape: Escape::Line },
            _ => Limit { bytes: 1_000_000, escape: Escape::Text },
        };
        let text_is_made = chosen.text.is_none();
        let text = match (&chosen.text, &made) {
            (Some((written, part)), _) => {
                work.read(written, *part, &language);
                let marked = html::text_marked(&written.text, track, links);
                if work.faults.is_empty() { work.body(&marked, &chosen.file, body) } else { None }
            }
            (None, Some(made)) => work.body(made, &chosen.file, body),
            (None, None) => work.body("", &chosen.file, body),
        };
        let Some(text) = text.filter(|_| work.faults.is_empty()) else { return Err(work.faults) };
        let roots = (!work.reads_all).then(|| work.needs.iter().map(|need| root(&need.path).to_string()).collect());
        Ok(MessageTemplate {
            channel: source.channel,
            subject,
            preheader,
            html: html_part,
            text,
            text_is_made,
            needs: work.needs,
            functions: work.functions,
            roots,
            locale: work.locale,
            language,
            file: chosen.file,
            track,
        })
    }

    /// Renders for one person. `data` is an object with the root of files.md §5.
    pub fn render(&self, data: &Value, reader: &Reader<'_>) -> Result<Rendered, RenderError> {
        let context = prepared(data, self.roots.as_ref());
        // Words, dates and numbers agree with the template's language; a template for all follows the person.
        let language = if self.language.is_empty() { reader.language } else { self.language.as_str() };
        let fill = |part: &Compiled| {
            let scene = Scene {
                reader,
                locale: &self.locale,
                language: Language::of(language),
                escape: part.limit.escape,
                is_sms: self.channel == Channel::Sms,
                track: self.track,
                rounds: AtomicU32::new(0),
            };
            part.render(&context, &scene, &self.needs)
        };
        let line = |part: &Option<Compiled>| part.as_ref().map_or(Ok(String::new()), |part| fill(part).map(|line| line.trim().to_string()));
        let written = fill(&self.text)?;
        Ok(Rendered {
            subject: line(&self.subject)?,
            preheader: line(&self.preheader)?,
            html: self.html.as_ref().map(&fill).transpose()?,
            text: match (self.channel, self.text_is_made) {
                (Channel::Email, true) => text::closed_up(&written),
                (Channel::Email, false) => written,
                _ => written.trim().to_string(),
            },
        })
    }

    /// Blocks of whole lines that stand in the text and in the HTML of every message: what need not be made anew for each.
    pub fn fixed_lines(&self) -> (Vec<String>, Vec<String>) {
        (self.text.fixed_lines(), self.html.as_ref().map(Compiled::fixed_lines).unwrap_or_default())
    }

    /// Every variable that it reads, with the place where it stands.
    pub fn needs(&self) -> &[Need] {
        &self.needs
    }

    /// Whether a value under this name can be of any use to it.
    pub fn reads(&self, root: &str) -> bool {
        self.roots.as_ref().is_none_or(|roots| roots.contains(root))
    }

    /// Whether every person's message renders when one person's does: nothing personal is read that may be missing, and nothing is called that
    /// refuses or minds what kind of value it gets.
    pub fn renders_for_all(&self) -> bool {
        const SAFE: [&str; 14] =
            ["default", "upper", "lower", "capitalize", "url_encode", "t", "if", "unless", "eq", "ne", "and", "or", "not", "lookup"];
        const ALWAYS: [&str; 5] = ["campaign", "run", "message", "identity", "content"];
        let is_there = |need: &Need| need.has_default || root(&need.path).ends_with("_url") || ALWAYS.contains(&root(&need.path));
        self.roots.is_some()
            && self.needs.iter().all(is_there)
            && self.functions.iter().all(|function| function.starts_with('$') || SAFE.contains(function))
    }

    /// The language of the template that was chosen; `""` for one that is for all.
    pub fn language(&self) -> &str {
        &self.language
    }

    /// What can be said before any data: links to unsubscribe and the postal address, subject, text part. Problems forbid an apply.
    pub fn lint(&self, class: Class) -> Vec<Fault> {
        lint::message(self, class)
    }
}

fn root(path: &str) -> &str {
    path.split(['.', '[']).next().unwrap_or(path)
}

struct Chosen {
    language: String,
    file: String,
    html: Option<super::library::Html>,
    text: Option<(std::sync::Arc<Expanded>, Part)>,
}

struct Work<'a> {
    library: &'a Library,
    locale: Locale,
    faults: Vec<Fault>,
    needs: Vec<Need>,
    functions: BTreeSet<&'static str>,
    reads_all: bool,
}

impl Work<'_> {
    fn choose(&self, source: &Source<'_>, chain: &[String]) -> Result<Chosen, Vec<Fault>> {
        let name = match source.body {
            Body::Template(name) => name,
            Body::Text(words) => {
                let language = chain.iter().find(|language| words.0.contains_key(*language)).cloned().unwrap_or_default();
                let source = Expanded::of("", words.pick(chain));
                return Ok(Chosen { language, file: String::new(), html: None, text: Some((source.into(), Part::Text)) });
            }
        };
        let wants_html = source.channel == Channel::Email;
        let Some((language, variant)) =
            self.library.choose(name, chain, |variant| variant.text.is_some() || wants_html && variant.html.is_some())
        else {
            return Err(vec![Fault { part: Part::Body, language: String::new(), problem: self.unknown(name, source.channel) }]);
        };
        let html = variant.html.clone().filter(|_| wants_html);
        let everyones = || self.library.templates.get(name).and_then(|variants| variants.get("")).and_then(|variant| variant.text.clone());
        let text = variant.text.clone().or_else(everyones);
        let first = html.as_ref().map(|html| &html.source).or(text.as_ref());
        let file = first.and_then(|source| source.files.first()).cloned().unwrap_or_default();
        Ok(Chosen { language: language.to_string(), file, html, text: text.map(|text| (text, Part::Body)) })
    }

    fn unknown(&self, name: &str, channel: Channel) -> Problem {
        if self.library.has(name) {
            let kind = if channel == Channel::Email { "mjml" } else { "txt.hbs" };
            return Problem::new("", None, format!("the template `{name}` has nothing for the channel {channel}"))
                .help(format!("write templates/{name}.{kind}, or see to its problems first"));
        }
        let problem = Problem::new("", None, format!("there is no template `{name}`")).label("used here");
        match nearest(name, self.library.names()) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem.help(format!("it would be the file templates/{name}.LANGUAGE.mjml, .hbs or .txt.hbs")),
        }
    }

    /// Subject and preheader.
    fn words(&mut self, words: &Words, chain: &[String], part: Part, limit: Limit) -> Option<Compiled> {
        let written = words.pick(chain);
        if written.trim().is_empty() {
            return None;
        }
        let language = words.0.iter().find(|(_, text)| text.as_str() == written).map_or("", |(language, _)| language.as_str());
        let expanded = Expanded::of("", written);
        self.read(&expanded, part, language);
        if written.trim().chars().any(char::is_control) {
            self.fault(part, language, Problem::new("", Span { start: 0, end: written.len() }, "this must be one line"));
        }
        Compiled::new(written, limit, &self.locale).inspect_err(|error| self.fault(part, language, unreadable("", written, error))).ok()
    }

    /// Finds needs and problems of a source as it was written.
    fn read(&mut self, source: &Expanded, part: Part, language: &str) {
        let Ok(template) = template(&source.text) else {
            if part == Part::Text
                && let Err(error) = template(&source.text)
            {
                self.fault(part, language, unreadable("", &source.text, &error));
            }
            return;
        };
        let reading = needs::read(&template, source, part, language);
        let mut problems = Problems::default();
        self.library.check(&reading, source, &mut problems);
        if part != Part::Body {
            // Problems of files were told when the library was read.
            for problem in problems.iter().filter(|problem| problem.file.is_empty()) {
                self.fault(part, language, problem.clone());
            }
            if let Some(tag) = super::tags::tags(&source.text)
                .iter()
                .find(|tag| matches!(tag.kind, super::tags::Kind::Partial | super::tags::Kind::PartialOpen))
            {
                self.fault(part, language, source.problem(tag.range.clone(), "partials stand in template files, not in words"));
            }
        }
        self.reads_all |= reading.reads_all;
        self.needs.extend(reading.needs);
        self.functions.extend(reading.used);
    }

    fn body(&mut self, source: &str, file: &str, limit: Limit) -> Option<Compiled> {
        let failed = |error: &handlebars::TemplateError| {
            Problem::new(file, None, format!("compiled, this template cannot be read: {}", error.reason()))
        };
        Compiled::new(source, limit, &self.locale).inspect_err(|error| self.fault(Part::Body, "", failed(error))).ok()
    }

    fn fault(&mut self, part: Part, language: &str, problem: Problem) {
        self.faults.push(Fault { part, language: language.to_string(), problem });
    }
}
