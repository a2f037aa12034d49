//! Lists what a template reads and calls, by walking its tree with scopes.

use super::expand::Expanded;
use super::functions::{LATER, LENIENT, is_function, known, registered};
use super::message::{Need, Part, Place};
use super::tags::{Kind, Tag, tags};
use crate::diagnostics::{Problem, nearest};
use handlebars::template::{BlockParam, HelperTemplate, Parameter, TemplateElement};
use handlebars::{JsonRender, Template};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// What a walk finds.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub needs: Vec<Need>,
    pub problems: Vec<Problem>,
    /// Keys of `{{t '…'}}`, with their places in the whole text.
    pub lines: Vec<(String, Range<usize>)>,
    /// Functions that must be registered.
    pub used: BTreeSet<&'static str>,
    /// Variables that are written at every rendering, outside of any block.
    pub always: BTreeSet<String>,
    /// Something reads the whole data (`this`, `@root`).
    pub reads_all: bool,
}

/// Walks a compiled template; `text` is what it was compiled from.
pub(super) fn read(template: &Template, text: &Expanded, part: Part, language: &str) -> Reading {
    let lines = std::iter::once(0).chain(text.text.match_indices('\n').map(|(at, _)| at + 1)).collect();
    let mut walk = Walk {
        text,
        part,
        language,
        lines,
        tags: tags(&text.text),
        scopes: Vec::new(),
        guards: Vec::new(),
        depth: 0,
        at: 0..0,
        found: Reading::default(),
    };
    walk.template(template);
    walk.found
}

/// What a name means inside a block.
struct Scope {
    /// The path that `this` stands for; `None` when it is not known (a value made by a function).
    base: Option<String>,
    /// `as |item|`, and the pairs of a partial.
    names: BTreeMap<String, Option<String>>,
}

struct Walk<'a> {
    text: &'a Expanded,
    part: Part,
    language: &'a str,
    lines: Vec<usize>,
    tags: Vec<Tag>,
    scopes: Vec<Scope>,
    /// Paths that are known to be there, since an `if` asked.
    guards: Vec<String>,
    /// Blocks around.
    depth: usize,
    /// The tag that is looked at.
    at: Range<usize>,
    found: Reading,
}

impl Walk<'_> {
    fn template(&mut self, template: &Template) {
        for (index, element) in template.elements.iter().enumerate() {
            if let Some(mapping) = template.mapping.get(index) {
                self.at = self.tag_at(mapping.0, mapping.1);
            }
            match element {
                TemplateElement::Expression(call) | TemplateElement::HtmlExpression(call) => self.expression(call),
                TemplateElement::HelperBlock(call) => self.block(call),
                TemplateElement::RawString(_) | TemplateElement::Comment(_) => {}
                _ => {
                    let problem = self.text.problem(self.at.clone(), "this kind of tag is not supported");
                    self.found.problems.push(problem);
                }
            }
        }
    }

    /// The tag that begins at this line and column (from 1, in characters).
    fn tag_at(&self, line: usize, column: usize) -> Range<usize> {
        let Some(start) = self.lines.get(line.saturating_sub(1)).copied() else { return 0..0 };
        let rest = &self.text.text[start..];
        let offset = rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |(at, _)| at);
        let at = start + offset;
        let index = self.tags.partition_point(|tag| tag.range.end <= at);
        match self.tags.get(index) {
            Some(tag) if tag.range.start <= at + 4 => tag.range.clone(),
            _ => at..at,
        }
    }

    fn expression(&mut self, call: &HelperTemplate) {
        if call.params.is_empty() && call.hash.is_empty() {
            let Some(name) = call.name.as_name() else { return self.parameter(&call.name, false) };
            if is_function(name) {
                return self.call(name, call, false);
            }
            if self.depth == 0
                && let Some(path) = self.resolve(name)
            {
                self.found.always.insert(path);
            }
            return self.parameter(&Parameter::Name(name.to_string()), false);
        }
        let name = call.name.as_name().unwrap_or_default().to_string();
        self.call(&name, call, false);
    }

    /// A function with its parameters; `lenient` when what is around it minds nothing missing.
    fn call(&mut self, name: &str, call: &HelperTemplate, lenient: bool) {
        self.name(name);
        if name == "t" {
            match call.params.first() {
                Some(Parameter::Literal(key)) => self.found.lines.push((key.render(), self.at.clone())),
                _ => {
                    let problem = self.text.problem(self.at.clone(), "`t` needs the key of a line of the locales, written out");
                    self.found.problems.push(problem.help("for example {{t 'cart.go'}}"));
                }
            }
        }
        let lenient = lenient || LENIENT.contains(&name);
        for parameter in &call.params {
            self.parameter(parameter, lenient);
        }
        for parameter in call.hash.values() {
            self.parameter(parameter, lenient);
        }
        // `{{unique seen 'sku'}}` reads that field of each row.
        if let ("unique", [Parameter::Path(_) | Parameter::Name(_), Parameter::Literal(field)]) = (name, call.params.as_slice())
            && let Some(path) = self.value(&call.params[0])
        {
            self.need(format!("{path}[].{}", field.render()), true, &field.render());
        }
    }

    fn name(&mut self, name: &str) {
        if let Some(name) = registered(name) {
            self.found.used.insert(name);
        }
        if name.starts_with('$') || is_function(name) {
            return;
        }
        let range = self.word(name);
        let problem = if LATER.contains(&name) {
            self.text.problem(range, format!("`{name}` is not built yet")).help("leave it out for now")
        } else {
            let problem = self.text.problem(range, format!("there is no helper `{name}`")).label("called here");
            match nearest(name, known()) {
                Some(near) => problem.help(format!("did you mean `{near}`?")),
                None => {
                    problem.help(format!("a variable takes no words behind it; helpers are: {}", known().collect::<Vec<_>>().join(", ")))
                }
            }
        };
        self.found.problems.push(problem);
    }

    fn block(&mut self, call: &HelperTemplate) {
        let name = call.name.as_name().unwrap_or_default().to_string();
        self.name(&name);
        let has_else = call.inverse.is_some();
        let lenient = matches!(name.as_str(), "if" | "unless") || (matches!(name.as_str(), "each" | "with") && has_else);
        for parameter in call.params.iter().chain(call.hash.values()) {
            self.parameter(parameter, lenient);
        }
        let at = self.at.clone();
        let guards = self.guards.len();
        let is_link = matches!(name.as_str(), "$link" | "$src" | "$scope");
        self.depth += usize::from(!is_link);
        match name.as_str() {
            "if" => {
                let asked = call.params.iter().flat_map(|parameter| self.asked(parameter)).collect::<Vec<_>>();
                self.guards.extend(asked);
            }
            "each" | "with" => {
                let value = call.params.first().and_then(|parameter| self.value(parameter));
                self.guards.extend(value.clone());
                let base = value.map(|path| if name == "each" { format!("{path}[]") } else { path });
                let mut names = BTreeMap::new();
                match &call.block_param {
                    Some(BlockParam::Single(Parameter::Name(item))) => {
                        names.insert(item.clone(), base.clone());
                    }
                    Some(BlockParam::Pair((Parameter::Name(item), Parameter::Name(key)))) => {
                        names.insert(item.clone(), base.clone());
                        names.insert(key.clone(), None);
                    }
                    _ => {}
                }
                self.scopes.push(Scope { base, names });
            }
            "$scope" => {
                let names = call.hash.iter().map(|(name, parameter)| (name.clone(), self.value(parameter))).collect();
                let base = self.scopes.last().map_or(Some(String::new()), |scope| scope.base.clone());
                self.scopes.push(Scope { base, names });
            }
            _ => {}
        }
        if let Some(template) = &call.template {
            self.template(template);
        }
        if matches!(name.as_str(), "each" | "with" | "$scope") {
            self.scopes.pop();
        }
        self.guards.truncate(guards);
        if name == "unless" {
            let asked = call.params.iter().flat_map(|parameter| self.asked(parameter)).collect::<Vec<_>>();
            self.guards.extend(asked);
        }
        if let Some(template) = &call.inverse {
            self.template(template);
        }
        self.guards.truncate(guards);
        self.depth -= usize::from(!is_link);
        self.at = at;
    }

    fn parameter(&mut self, parameter: &Parameter, lenient: bool) {
        match parameter {
            Parameter::Literal(_) => {}
            Parameter::Subexpression(inside) => {
                if let TemplateElement::Expression(call) = inside.as_element() {
                    if call.params.is_empty() && call.hash.is_empty() && !call.name.as_name().is_some_and(is_function) {
                        self.parameter(&call.name, lenient);
                    } else {
                        self.call(call.name.as_name().unwrap_or_default(), call, lenient);
                    }
                }
            }
            other => {
                let Some(raw) = other.as_name().map(str::to_string) else { return };
                if let Some(path) = self.resolve(&raw) {
                    self.need(path, lenient, &raw);
                }
            }
        }
    }

    fn need(&mut self, path: String, lenient: bool, raw: &str) {
        if path.is_empty() {
            self.found.reads_all = true;
            return;
        }
        let has_default = lenient || self.guards.contains(&path);
        let range = self.word(raw);
        let (file, span) = self.text.locate(range.clone());
        let file = file.to_string();
        let (line, column) = self.text.line(range);
        let place = Place { part: self.part, language: self.language.to_string(), file, span, line, column };
        self.found.needs.push(Need { path, has_default, place });
    }

    /// The bytes of a word in the tag that is looked at.
    fn word(&self, word: &str) -> Range<usize> {
        let inside = self.text.text.get(self.at.clone()).unwrap_or("");
        let is_edge = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '$' | '@' | '/'));
        inside
            .match_indices(word)
            .find(|(at, _)| is_edge(inside[..*at].chars().next_back()) && is_edge(inside[at + word.len()..].chars().next()))
            .map_or(self.at.clone(), |(at, _)| self.at.start + at..self.at.start + at + word.len())
    }

    /// The full path of a name as written; `None` for `@index` and what a function made.
    fn resolve(&self, raw: &str) -> Option<String> {
        let mut rest = raw;
        if let Some(after) = rest.strip_prefix("@root") {
            return Some(joined("", after.trim_start_matches(['.', '/'])));
        }
        if rest.starts_with('@') {
            return None;
        }
        let mut up = 0;
        loop {
            if let Some(after) = rest.strip_prefix("../").or_else(|| (rest == "..").then_some("")) {
                up += 1;
                rest = after;
            } else if let Some(after) = rest.strip_prefix("./") {
                rest = after;
            } else {
                break;
            }
        }
        rest = match rest.strip_prefix("this") {
            Some("") => "",
            Some(after) if after.starts_with(['.', '/']) => &after[1..],
            _ => rest,
        };
        if rest.starts_with('@') {
            return None;
        }
        let level = self.scopes.len().saturating_sub(up);
        let first = rest.split(['.', '/']).next().unwrap_or("");
        for scope in self.scopes[..level].iter().rev() {
            if let Some(base) = scope.names.get(first) {
                return base.as_ref().map(|base| joined(base, rest[first.len()..].trim_start_matches(['.', '/'])));
            }
        }
        match self.scopes[..level].last() {
            None => Some(joined("", rest)),
            Some(scope) => scope.base.as_ref().map(|base| joined(base, rest)),
        }
    }

    /// The path that a parameter's value comes from.
    fn value(&self, parameter: &Parameter) -> Option<String> {
        match parameter {
            Parameter::Subexpression(inside) => match inside.name() {
                "take" | "unique" | "default" => inside.params()?.first().and_then(|parameter| self.value(parameter)),
                "find" => match inside.params()?.first()? {
                    Parameter::Literal(catalog) => Some(format!("find:{}", catalog.render())),
                    _ => None,
                },
                name if !is_function(name) => self.resolve(name),
                _ => None,
            },
            other => self.resolve(other.as_name()?),
        }
    }

    /// Paths that are there when this condition holds.
    fn asked(&self, parameter: &Parameter) -> Vec<String> {
        match parameter {
            Parameter::Subexpression(inside) => match inside.name() {
                "and" | "eq" | "gt" | "gte" | "lt" | "lte" | "len" => {
                    inside.params().into_iter().flatten().flat_map(|parameter| self.asked(parameter)).collect()
                }
                name if !is_function(name) => self.resolve(name).into_iter().collect(),
                _ => Vec::new(),
            },
            Parameter::Literal(_) => Vec::new(),
            other => other.as_name().and_then(|raw| self.resolve(raw)).into_iter().collect(),
        }
    }
}

fn joined(base: &str, rest: &str) -> String {
    let mut out = base.to_string();
    for part in rest.split(['.', '/']).filter(|part| !part.is_empty() && *part != "this") {
        let part = part.trim_matches(['[', ']']);
        if !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) {
            out.push_str("[]");
        } else {
            if !out.is_empty() {
                out.push('.');
            }
            out.push_str(part);
        }
    }
    out
}

/// Whether a tag writes a value.
pub(super) fn is_value(tag: &Tag) -> bool {
    matches!(tag.kind, Kind::Value | Kind::Unescaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let template = Template::compile(text).unwrap();
        let found = read(&template, &Expanded::of("a.hbs", text), Part::Body, "");
        let needs: Vec<String> = found
            .needs
            .iter()
            .map(|need| {
                format!("{}{} {}", need.path, if need.has_default { "?" } else { "" }, &text[need.place.span.start..need.place.span.end])
            })
            .collect();
        assert_eq!(needs, expected, "{text}");
        assert_eq!(found.problems, []);
    }

    #[test]
    fn every_variable_is_found_with_its_scope_and_its_place() {
        check("{{first_name}} {{default last_name 'x'}}", &["first_name first_name", "last_name? last_name"]);
        check(
            "{{#each event.items}}{{title}} {{../currency}} {{this.price}} {{@index}} {{@root.shop.name}}{{/each}}",
            &[
                "event.items event.items",
                "event.items[].title title",
                "currency ../currency",
                "event.items[].price this.price",
                "shop.name @root.shop.name",
            ],
        );
        check("{{#if city}}{{city}}{{else}}{{town}}{{/if}}", &["city? city", "city? city", "town town"]);
        check("{{#unless city}}x{{else}}{{city}}{{/unless}}", &["city? city", "city? city"]);
        check("{{#if (and a (eq b 'x'))}}{{a}}{{b}}{{/if}}", &["a? a", "b? b", "a? a", "b? b"]);
        check("{{#each items as |item|}}{{item.name}}{{/each}}", &["items items", "items[].name item.name"]);
        check("{{#with address}}{{city}}{{/with}}", &["address address", "address.city city"]);
        check(
            "{{upper (default name 'x')}} {{plural (days_until event.at) one='#' other=label}}",
            &["name? name", "event.at event.at", "label label"],
        );
        check("{{default (vocative first_name) 'x'}}", &["first_name? first_name"]);
        check("{{event.items.0.title}}", &["event.items[].title event.items.0.title"]);
        check(
            "{{#each (take (unique seen 'sku') 3)}}{{#with (find 'products' sku)}}{{title}}{{/with}}{{/each}}",
            &["seen seen", "seen[].sku? sku", "seen[].sku sku", "find:products.title title"],
        );
        check("{{#$scope big=title}}{{big}}{{other}}{{/$scope}}", &["title title", "title big", "other other"]);
    }

    #[test]
    fn unknown_and_later_helpers_are_problems() {
        let text = "{{uper name}} {{survey_url 'nps'}} {{lookup a b}}";
        let found = read(&Template::compile(text).unwrap(), &Expanded::of("a.hbs", text), Part::Body, "");
        assert_eq!(found.problems[0].title, "there is no helper `uper`");
        assert_eq!(found.problems[0].help, ["did you mean `upper`?"]);
        assert_eq!(found.problems[0].span.map(|span| &text[span.start..span.end]), Some("uper"));
        assert_eq!(found.problems[1].title, "`survey_url` is not built yet");
        assert_eq!(found.problems.len(), 2);
    }
}
