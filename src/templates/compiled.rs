//! One part of a message, compiled by handlebars and guarded: bounded loops, bounded size, no character that must not be there.

use super::expand::Expanded;
use super::functions::{self, Escape, FORBIDDEN, Scene, Stop, is_forbidden};
use super::library::{Locale, template};
use super::message::{Need, Part, RenderError};
use super::{marks, needs};
use handlebars::template::{HelperTemplate, Parameter, Subexpression, TemplateElement};
use handlebars::{Context, Output, RenderContext, RenderErrorReason, Renderable, Template, TemplateError};
use serde_json::{Map, Value};
use std::collections::{BTreeSet, HashMap};

/// How large a part may become, and in what its values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit {
    pub bytes: usize,
    pub escape: Escape,
}

#[derive(Debug, Clone)]
pub(super) struct Compiled {
    template: Template,
    /// Bytes of the source: a guess at the size of the result.
    size: usize,
    /// Functions to register for each rendering.
    used: Vec<&'static str>,
    pub limit: Limit,
    /// What it writes whatever the data are.
    pub always: BTreeSet<String>,
    /// The source.
    pub source: String,
}

impl Compiled {
    /// `locale`: its lines are written into the template at once.
    pub fn new(source: &str, limit: Limit, locale: &Locale) -> Result<Compiled, TemplateError> {
        let mut template = template(source)?;
        guard(&mut template, limit.escape);
        settle(&mut template, limit.escape, locale);
        let reading = needs::read(&template, &Expanded::of("", source), Part::Body, "");
        Ok(Compiled {
            template,
            size: source.len(),
            used: reading.used.into_iter().collect(),
            limit,
            always: reading.always,
            source: source.to_string(),
        })
    }

    pub fn render(&self, context: &Context, scene: &Scene<'_>, needs: &[Need]) -> Result<String, RenderError> {
        let mut out = Bounded { text: String::with_capacity(self.size + self.size / 4), limit: self.limit.bytes };
        let result = {
            let mut rendering = RenderContext::new(None);
            functions::register(&mut rendering, &self.used, scene);
            self.template.render(functions::registry(self.limit.escape), context, &mut rendering, &mut out)
        };
        result.map_err(|error| self.explained(error.reason(), context.data(), needs))?;
        if memchr::memchr(FORBIDDEN as u8, out.text.as_bytes()).is_some() {
            return Err(RenderError::Unsafe { variable: self.culprit(context.data(), needs) });
        }
        Ok(out.text)
    }

    /// Blocks of whole lines that stand in it as they will in every result, between what is filled in and what is marked.
    pub fn fixed_lines(&self) -> Vec<String> {
        let mut found = Vec::new();
        fixed_lines(&self.template, true, &mut found);
        found
    }

    fn explained(&self, reason: &RenderErrorReason, data: &Value, needs: &[Need]) -> RenderError {
        match reason {
            RenderErrorReason::MissingVariable(Some(written)) => {
                let bare = written.trim_start_matches("../").trim_start_matches("this.").trim_start_matches("@root.").replace('/', ".");
                let full = needs
                    .iter()
                    .map(|need| need.path.as_str())
                    .find(|path| path.strip_suffix(bare.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')));
                RenderError::Missing { variable: full.unwrap_or(&bare).to_string() }
            }
            // A function inside another found nothing.
            RenderErrorReason::MissingVariable(None) => {
                let missing = needs.iter().find(|need| !need.has_default && values(data, &need.path).is_empty());
                RenderError::Missing { variable: missing.map_or("a value that a helper looks for", |need| &need.path).to_string() }
            }
            RenderErrorReason::IOError(_) => RenderError::TooLarge { limit: self.limit.bytes },
            RenderErrorReason::NestedError(inside) => match inside.downcast_ref::<Stop>() {
                Some(Stop::Refused(reason)) => RenderError::Refused { reason: reason.clone() },
                _ => RenderError::Failed { message: inside.to_string() },
            },
            other => RenderError::Failed { message: other.to_string() },
        }
    }

    /// The variable that holds a character which must not be there.
    fn culprit(&self, data: &Value, needs: &[Need]) -> String {
        let found = needs.iter().find(|need| values(data, &need.path).iter().any(|value| is_unsafe(value, self.limit.escape)));
        found.map_or_else(|| "a value".to_string(), |need| need.path.clone())
    }
}

/// Counts rounds of loops, and lets no value be written without being looked at.
fn guard(template: &mut Template, escape: Escape) {
    for element in &mut template.elements {
        match element {
            TemplateElement::HelperBlock(call) => guard_block(call, escape),
            TemplateElement::HtmlExpression(call) if call.name.as_name().is_none_or(|name| name != "$raw") => {
                let value = if call.params.is_empty() && call.hash.is_empty() {
                    call.name.clone()
                } else {
                    let name = Parameter::Name(call.name.as_name().unwrap_or_default().to_string());
                    Parameter::Subexpression(Subexpression::new(name, call.params.clone(), call.hash.clone()))
                };
                if let TemplateElement::Expression(raw) = expression("$raw", vec![value]) {
                    *element = if escape == Escape::Html { TemplateElement::HtmlExpression(raw) } else { TemplateElement::Expression(raw) };
                }
            }
            _ => {}
        }
    }
}

fn guard_block(call: &mut HelperTemplate, escape: Escape) {
    let is_loop = call.name.as_name() == Some("each");
    if let Some(template) = &mut call.template {
        guard(template, escape);
        if is_loop {
            template.elements.insert(0, expression("$round", vec![Parameter::Literal(Value::Null)]));
            if let Some(first) = template.mapping.first().cloned() {
                template.mapping.insert(0, first);
            }
        }
    }
    if let Some(template) = &mut call.inverse {
        guard(template, escape);
    }
}

/// `{{t 'cart.go'}}` becomes its words: they are the same for everyone.
fn settle(template: &mut Template, escape: Escape, locale: &Locale) {
    for element in &mut template.elements {
        match element {
            TemplateElement::Expression(call) if call.name.as_name() == Some("t") && call.hash.is_empty() => {
                if let [Parameter::Literal(Value::String(key))] = call.params.as_slice()
                    && let Some(words) = locale.get(key)
                {
                    *element = TemplateElement::RawString(functions::escaped(words, escape));
                }
            }
            TemplateElement::HelperBlock(call) => {
                [&mut call.template, &mut call.inverse].into_iter().flatten().for_each(|inside| settle(inside, escape, locale));
            }
            _ => {}
        }
    }
}

/// `begins`: at the beginning of a line.
fn fixed_lines(template: &Template, mut begins: bool, found: &mut Vec<String>) {
    for element in &template.elements {
        match element {
            TemplateElement::RawString(text) => {
                let from = if begins { Some(0) } else { memchr::memchr(b'\n', text.as_bytes()).map(|end| end + 1) };
                let mut block = String::new();
                for line in from.and_then(|from| text.get(from..)).unwrap_or_default().split_inclusive('\n') {
                    let is_fixed = line.ends_with('\n') && !line.contains(marks::START);
                    if is_fixed {
                        block.push_str(line);
                    }
                    // An empty line ends a block too: of several, some may be taken out.
                    if !is_fixed || line.trim().is_empty() {
                        found.push(std::mem::take(&mut block));
                    }
                }
                found.push(block);
                begins = text.ends_with('\n');
            }
            TemplateElement::HelperBlock(call) => {
                // What a block writes may begin anywhere; where it begins a line, its text does as well.
                [&call.template, &call.inverse].into_iter().flatten().for_each(|inside| fixed_lines(inside, begins, found));
            }
            TemplateElement::Comment(_) => {}
            _ => begins = false,
        }
    }
    found.retain(|block| !block.is_empty());
}

fn expression(name: &str, parameters: Vec<Parameter>) -> TemplateElement {
    *Subexpression::new(Parameter::Name(name.to_string()), parameters, HashMap::new()).element
}

/// The data as handlebars reads it: only what is read, and nothing that is `null`, which is missing.
pub(super) fn prepared(data: &Value, roots: Option<&BTreeSet<String>>) -> Context {
    let Value::Object(map) = data else { return Context::from(Value::Object(Map::new())) };
    let kept = match roots {
        None => map.iter().filter_map(|(key, value)| Some((key.clone(), there(value)?))).collect(),
        Some(roots) => roots.iter().filter_map(|key| Some((key.clone(), there(map.get(key)?)?))).collect(),
    };
    Context::from(Value::Object(kept))
}

fn there(value: &Value) -> Option<Value> {
    Some(match value {
        Value::Null => return None,
        Value::Array(items) => items.iter().filter_map(there).collect(),
        Value::Object(map) => Value::Object(map.iter().filter_map(|(key, value)| Some((key.clone(), there(value)?))).collect()),
        other => other.clone(),
    })
}

/// All values at a path with `[]`.
fn values<'a>(data: &'a Value, path: &str) -> Vec<&'a Value> {
    let mut found = vec![data];
    for part in path.split('.') {
        let name = part.trim_end_matches("[]");
        found = found.iter().filter_map(|value| value.get(name)).collect();
        for _ in 0..part.matches("[]").count() {
            found = found.iter().filter_map(|value| value.as_array()).flatten().collect();
        }
    }
    found
}

fn is_unsafe(value: &Value, escape: Escape) -> bool {
    match value {
        Value::String(text) => text.chars().any(|c| is_forbidden(c, escape)),
        Value::Array(items) => items.iter().any(|item| is_unsafe(item, escape)),
        Value::Object(map) => map.values().any(|item| is_unsafe(item, escape)),
        _ => false,
    }
}

struct Bounded {
    text: String,
    limit: usize,
}

impl Output for Bounded {
    fn write(&mut self, piece: &str) -> Result<(), std::io::Error> {
        if self.text.len() + piece.len() > self.limit {
            return Err(std::io::Error::other("too large"));
        }
        self.text.push_str(piece);
        Ok(())
    }
}
