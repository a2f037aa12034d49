//! Holds a file against its field table: every wrong, missing, misplaced or unbuilt key and every value of the wrong kind becomes
//! one problem. What passes here can be taken out by the readers beside without asking again.

use super::fields::{Choice, Field, Kind, Shape, Table, quoted};
use super::names::Names;
use super::scalars;
use super::tables::provider;
use crate::diagnostics::{Problem, Problems, Span, nearest};
use crate::yaml::{Key, Node, Value};

/// One file under check.
pub struct Checker<'a> {
    pub file: &'a str,
    pub names: &'a Names,
    pub problems: &'a mut Problems,
}

impl Checker<'_> {
    /// Checks a mapping; `at` is where a missing key is shown. True when nothing was found.
    pub fn table(&mut self, node: &Node, table: &'static Table, at: Span) -> bool {
        self.tables(node, table, None, at)
    }

    /// The same, where a second table has more keys.
    fn tables(&mut self, node: &Node, table: &'static Table, more: Option<&'static Table>, at: Span) -> bool {
        let before = self.problems.count();
        let Some(entries) = node.map() else {
            self.wrong_kind(node, table.name, &Shape::Map(table).example(), at);
            return false;
        };
        let misplaced = self.misplaced(entries, table);
        for (key, value) in entries {
            match table.field(&key.text).or_else(|| more?.field(&key.text)) {
                Some(field) if field.later.is_some() => self.later(key.span, &format!("`{}`", key.text), field.later.unwrap_or_default()),
                Some(field) if misplaced.is_some_and(|parent| parent == field.key) => {}
                Some(field) => self.value(value, &field.shape, &key.text, key.span),
                None if misplaced.is_some_and(|parent| child_of(table, parent, &key.text)) => {}
                None => self.unknown(key, table, more),
            }
        }
        self.missing(entries, table, at);
        if let Some(more) = more {
            self.missing(entries, more, at);
        }
        self.problems.count() == before
    }

    /// Keys that stand beside an empty mapping to which they belong: one problem for all of them.
    fn misplaced(&mut self, entries: &[(Key, Node)], table: &'static Table) -> Option<&'static str> {
        let parent = entries.iter().filter(|(_, value)| value.is_empty()).find_map(|(key, _)| {
            let field = table.field(&key.text)?;
            entries.iter().any(|(other, _)| child_of(table, field.key, &other.text)).then_some(field)
        })?;
        let lost: Vec<&Key> = entries.iter().map(|(key, _)| key).filter(|key| child_of(table, parent.key, &key.text)).collect();
        let (first, is) = (lost.first()?, if lost.len() == 1 { "is" } else { "are" });
        self.problems.push(
            Problem::new(self.file, first.span, format!("{} {is} not indented", quoted(lost.iter().map(|key| key.text.as_str()))))
                .label(format!("belongs to `{}` above", parent.key))
                .help(format!("put two spaces before each line that belongs to `{}`", parent.key)),
        );
        Some(parent.key)
    }

    fn unknown(&mut self, key: &Key, table: &'static Table, more: Option<&'static Table>) {
        let name = more.unwrap_or(table).name;
        let keys = || table.fields.iter().chain(more.map_or(&[][..], |more| more.fields));
        let mut problem = Problem::new(self.file, key.span, format!("`{}` is no key of {name}", key.text)).label("not known here");
        let owner = table.fields.iter().find(|field| child_of(table, field.key, &key.text));
        problem = match (nearest(&key.text, keys().map(|field| field.key)), owner) {
            (Some(near), _) => problem.help(format!("did you mean `{near}`?")),
            (None, Some(owner)) => problem.help(format!("`{}` belongs under `{}`", key.text, owner.key)),
            (None, None) => {
                let built = keys().filter(|field| field.later.is_none()).map(|field| field.key);
                problem.help(format!("keys here are {}", quoted(built)))
            }
        };
        self.problems.push(problem);
    }

    fn missing(&mut self, entries: &[(Key, Node)], table: &'static Table, at: Span) {
        let written = |wanted: &str| {
            // A mistyped key has been reported already: it is not missing as well.
            entries
                .iter()
                .any(|(key, _)| key.text == wanted || table.field(&key.text).is_none() && nearest(&key.text, table.keys()) == Some(wanted))
        };
        let lacking: Vec<&Field> = table.fields.iter().filter(|field| field.required && !written(field.key)).collect();
        if lacking.is_empty() {
            return;
        }
        let is = if lacking.len() == 1 { "is" } else { "are" };
        let mut problem = Problem::new(self.file, at, format!("{} {is} missing", quoted(lacking.iter().map(|field| field.key))))
            .label(format!("{} must say it", table.name));
        for field in lacking {
            problem = problem.help(format!("`{}`: {}; write {}", field.key, lower(field.about), field.shape.example()));
        }
        self.problems.push(problem);
    }

    /// A known word or key of later work.
    pub fn later(&mut self, span: Span, what: &str, instead: &str) {
        self.problems.push(Problem::new(self.file, span, format!("{what} is not built yet")).label("known, but later work").help(instead));
    }

    /// Checks what stands under a key.
    pub fn value(&mut self, node: &Node, shape: &Shape, key: &str, at: Span) {
        if node.is_empty() && !matches!(shape, Shape::Anything) {
            self.problems.push(
                Problem::new(self.file, at, format!("`{key}` has no value"))
                    .label("nothing stands behind it")
                    .help(format!("write {}", shape.example())),
            );
            return;
        }
        match (shape, &node.value) {
            (Shape::Anything, _) => {}
            (Shape::Either(shapes), _) => self.either(node, shapes, key, at),
            (Shape::List(item), Value::List(items)) => self.items(items, item, key),
            (Shape::OneOrList(item), Value::List(items)) => self.items(items, item, key),
            (Shape::OneOrList(item), _) => self.value(node, item, key, at),
            (Shape::Map(table), Value::Map(_)) => {
                self.table(node, table, at);
            }
            (Shape::Provider, Value::Map(_)) => {
                let kind = node.get("kind").and_then(Node::text).and_then(provider::of_kind);
                match kind {
                    Some(own) => drop(self.tables(node, &provider::PROVIDER, Some(own), at)),
                    // Without a kind that is built, only the common keys can be checked.
                    None => self.common_keys(node, at),
                }
            }
            (Shape::Each(keys, values), Value::Map(entries)) => {
                for (name, value) in entries {
                    self.scalar(&name.text, name.span, keys, key);
                    self.value(value, values, &name.text, name.span);
                }
            }
            (Shape::Words, Value::Map(entries)) => self.words(entries, key),
            (Shape::Type, _) => self.value_type(node, key),
            (Shape::Condition | Shape::Properties, Value::Map(_)) => {}
            (Shape::Content, Value::Map(_)) => {}
            (_, Value::Scalar { text, .. }) if shape.is_scalar() => self.scalar(text, node.span, shape, key),
            _ => self.wrong_kind(node, &format!("`{key}`"), &shape.example(), at),
        }
    }

    fn common_keys(&mut self, node: &Node, at: Span) {
        let entries = node.map().unwrap_or_default();
        for (key, value) in entries {
            if let Some(field) = provider::PROVIDER.field(&key.text) {
                self.value(value, &field.shape, &key.text, key.span);
            }
        }
        self.missing(entries, &provider::PROVIDER, at);
    }

    fn items(&mut self, items: &[Node], shape: &Shape, key: &str) {
        for item in items {
            self.value(item, shape, key, item.span);
        }
    }

    fn either(&mut self, node: &Node, shapes: &[Shape], key: &str, at: Span) {
        let Value::Scalar { text, .. } = &node.value else {
            return match shapes.iter().find(|shape| shape.fits(node)) {
                Some(shape) => self.value(node, shape, key, at),
                None => self.wrong_kind(node, &format!("`{key}`"), &Shape::Either(&[]).either_example(shapes), at),
            };
        };
        let scalars: Vec<&Shape> = shapes.iter().filter(|shape| shape.is_scalar()).collect();
        if scalars.iter().any(|shape| scalars::check(text, shape, self.names).is_ok()) {
            return;
        }
        match scalars.iter().find(|shape| scalars::is_plausible(text, shape)).or(scalars.last()) {
            Some(shape) => self.scalar(text, node.span, shape, key),
            None => self.wrong_kind(node, &format!("`{key}`"), &Shape::Either(&[]).either_example(shapes), at),
        }
    }

    fn scalar(&mut self, text: &str, span: Span, shape: &Shape, key: &str) {
        if let Shape::Word(Choice { what, later, .. }) = shape
            && later.contains(&text)
        {
            self.later(span, &format!("the {what} `{text}`"), &later_instead(key, text));
            return;
        }
        if let Err(wrong) = scalars::check(text, shape, self.names) {
            let mut problem =
                Problem::new(self.file, span, wrong.title).label(wrong.label.unwrap_or_else(|| format!("stands under `{key}`")));
            problem.help = wrong.help;
            self.problems.push(problem);
        }
    }

    fn words(&mut self, entries: &[(Key, Node)], key: &str) {
        for (language, words) in entries {
            match &self.names.languages {
                Some(languages) if !languages.contains(&language.text) => {
                    let help = match nearest(&language.text, languages.iter().map(String::as_str)) {
                        Some(near) if crate::literals::codes::language(&language.text).is_err() => format!("did you mean `{near}`?"),
                        _ => format!(
                            "languages are {}; add it to `languages` in posthaste.yaml if it is meant",
                            quoted(languages.iter().map(String::as_str))
                        ),
                    };
                    self.problems.push(
                        Problem::new(self.file, language.span, format!("`{}` is no language of this workspace", language.text))
                            .label(format!("words of `{key}` in this language"))
                            .help(help),
                    );
                }
                _ => self.value(words, &Shape::Text, &language.text, language.span),
            }
        }
    }

    fn value_type(&mut self, node: &Node, key: &str) {
        match &node.value {
            Value::Scalar { text, .. } => self.scalar(text, node.span, &Shape::Type, key),
            Value::List(items) if items.len() == 1 => self.value(&items[0], &Shape::Type, key, node.span),
            Value::List(_) => self.problems.push(
                Problem::new(self.file, node.span, "a list has one type")
                    .label(format!("the type of `{key}`"))
                    .help("write it like [ text ]"),
            ),
            Value::Map(entries) => {
                for (name, value) in entries {
                    self.scalar(&name.text, name.span, &Shape::Name, key);
                    self.value(value, &Shape::Type, &name.text, name.span);
                }
            }
        }
    }

    fn wrong_kind(&mut self, node: &Node, what: &str, wanted: &str, at: Span) {
        let span = if node.span.start == node.span.end { at } else { node.span };
        self.problems.push(
            Problem::new(self.file, span, format!("{what} cannot be {}", node.kind())).label(format!("this is {}", node.kind())).help(
                match (&node.value, wanted.starts_with("a condition")) {
                    (Value::List(_), true) => "write `all: [ … ]` if all of them must hold, `any: [ … ]` if one is enough".to_string(),
                    _ => format!("write {wanted}"),
                },
            ),
        );
    }

    /// A name that nothing declares, found by a reader.
    pub fn no_such(&mut self, kind: Kind, name: &str, span: Span) {
        if let Err(wrong) = scalars::reference(name, kind, self.names) {
            let mut problem = Problem::new(self.file, span, wrong.title).label(wrong.label.unwrap_or_default());
            problem.help = wrong.help;
            self.problems.push(problem);
        }
    }
}

impl Shape {
    /// Whether it can be a plain value.
    fn is_scalar(&self) -> bool {
        !matches!(
            self,
            Shape::List(_)
                | Shape::Map(_)
                | Shape::Each(..)
                | Shape::Provider
                | Shape::Condition
                | Shape::Properties
                | Shape::Content
                | Shape::Either(_)
        )
    }

    fn fits(&self, node: &Node) -> bool {
        match &node.value {
            Value::Scalar { .. } => self.is_scalar(),
            Value::List(_) => matches!(self, Shape::List(_) | Shape::OneOrList(_) | Shape::Anything | Shape::Type),
            Value::Map(_) => matches!(
                self,
                Shape::Map(_)
                    | Shape::Provider
                    | Shape::Each(..)
                    | Shape::Words
                    | Shape::Condition
                    | Shape::Properties
                    | Shape::Content
                    | Shape::Anything
                    | Shape::Type
            ),
        }
    }

    fn either_example(&self, shapes: &[Shape]) -> String {
        shapes.iter().map(Shape::example).collect::<Vec<_>>().join("; or ")
    }
}

fn child_of(table: &Table, parent: &str, key: &str) -> bool {
    let Some(Field { shape: Shape::Map(inner), later: None, .. }) = table.field(parent) else { return false };
    inner.field(key).is_some() && table.field(key).is_none()
}

fn later_instead(key: &str, word: &str) -> String {
    match (key, word) {
        ("kind", _) => "take `smtp`, `twilio`, `http` (any provider with an HTTP interface) or `catcher`".into(),
        _ => "in this version messages go by `email` and `sms`".into(),
    }
}

fn lower(text: &str) -> String {
    let mut characters = text.chars();
    match (characters.next(), characters.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() => first.to_lowercase().chain(characters).collect(),
        _ => text.to_string(),
    }
}

/// Whether a key is neither there nor mistyped (which has been reported).
pub fn lacks(node: &Node, wanted: &str, table: &Table) -> bool {
    node.get(wanted).is_none() && !is_mistyped(node, wanted, table)
}

fn is_mistyped(node: &Node, wanted: &str, table: &Table) -> bool {
    let keys = node.map().unwrap_or_default().iter().map(|(key, _)| key.text.as_str());
    keys.filter(|key| table.field(key).is_none()).any(|key| nearest(key, table.keys()) == Some(wanted))
}
