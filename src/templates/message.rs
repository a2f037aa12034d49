//! One message of a campaign in one language: compiled once, rendered for each person.

use super::{Languages, Library, Links};
use crate::diagnostics::{Problem, Span};
use crate::literals::Words;
use crate::types::{Channel, Failure, Refusal, Time};
use chrono_tz::Tz;
use handlebars::{Context, Handlebars, RenderContext, RenderErrorReason, Renderable, Template};
use serde_json::Value;
use std::sync::LazyLock;

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
    subject: Option<Template>,
    preheader: Option<Template>,
    html: Option<Template>,
    text: Template,
    needs: Vec<Need>,
    language: String,
}

impl MessageTemplate {
    /// Compiles a message for people whose languages are `chain` (the own, its fallback …, see `Languages::chain`).
    pub fn compile(
        library: &Library,
        source: &Source<'_>,
        chain: &[String],
        track: Track,
        links: &mut Links,
    ) -> Result<MessageTemplate, Vec<Fault>> {
        let _ = (track, links, Languages::default());
        let variant = match source.body {
            Body::Template(name) => {
                let Some(variants) = library.templates.get(name) else {
                    let problem = Problem::new("", None, format!("there is no template `{name}`"));
                    return Err(vec![Fault { part: Part::Body, language: String::new(), problem }]);
                };
                let language = chain.iter().find(|language| variants.contains_key(*language)).cloned().unwrap_or_default();
                variants.get(&language).or_else(|| variants.values().next()).cloned().unwrap_or_default()
            }
            Body::Text(words) => super::library::Variant { html: None, text: Some((String::new(), words.pick(chain).to_string())) },
        };
        let compile = |text: &str, part: Part| {
            Template::compile(text)
                .map_err(|error| vec![Fault { part, language: String::new(), problem: Problem::new("", None, error.reason().to_string()) }])
        };
        Ok(MessageTemplate {
            subject: Some(compile(source.subject.pick(chain), Part::Subject)?),
            preheader: Some(compile(source.preheader.pick(chain), Part::Preheader)?),
            html: variant.html.as_ref().map(|(_, text)| compile(text, Part::Body)).transpose()?,
            text: compile(variant.text.as_ref().map_or("", |(_, text)| text), Part::Body)?,
            needs: Vec::new(),
            language: chain.first().cloned().unwrap_or_default(),
        })
    }

    /// Renders for one person. `data` is an object with the root of files.md §5.
    pub fn render(&self, data: &Value, reader: &Reader<'_>) -> Result<Rendered, RenderError> {
        let _ = reader.now;
        let context = Context::from(data.clone());
        let fill = |template: &Option<Template>, registry: &Handlebars<'static>| match template {
            None => Ok(String::new()),
            Some(template) => template.renders(registry, &context, &mut RenderContext::new(None)).map_err(|error| match error.reason() {
                RenderErrorReason::MissingVariable(path) => RenderError::Missing { variable: path.clone().unwrap_or_default() },
                other => RenderError::Failed { message: other.to_string() },
            }),
        };
        Ok(Rendered {
            subject: fill(&self.subject, &TEXT)?,
            preheader: fill(&self.preheader, &TEXT)?,
            html: if self.html.is_some() { Some(fill(&self.html, &HTML)?) } else { None },
            text: fill(&Some(self.text.clone()), &TEXT)?,
        })
    }

    /// Every variable that it reads, with the place where it stands.
    pub fn needs(&self) -> &[Need] {
        &self.needs
    }

    /// The language of the template that was chosen.
    pub fn language(&self) -> &str {
        &self.language
    }
}

static HTML: LazyLock<Handlebars<'static>> = LazyLock::new(|| strict(false));
static TEXT: LazyLock<Handlebars<'static>> = LazyLock::new(|| strict(true));

fn strict(plain: bool) -> Handlebars<'static> {
    let mut registry = Handlebars::new();
    registry.set_strict_mode(true);
    if plain {
        registry.register_escape_fn(handlebars::no_escape);
    }
    registry
}
