//! Tests on a value: which the type allows, and their operands typed by it.

use super::Reader;
use super::keys::Keys;
use crate::diagnostics::{Span, nearest};
use crate::literals::{DateExpression, Money, ValueType};
use crate::segments::model::*;
use crate::yaml::{Node, Value};

pub(super) const NUMBER_TESTS: &[(&str, Comparison)] = &[
    ("more_than", Comparison::MoreThan),
    ("less_than", Comparison::LessThan),
    ("at_least", Comparison::AtLeast),
    ("at_most", Comparison::AtMost),
];
pub(super) const TEXT_TESTS: &[&str] = &["starts_with", "ends_with", "contains"];
pub(super) const DATE_TESTS: &[&str] = &["before", "after", "within", "within_next", "anniversary"];
pub(super) const LIST_TESTS: &[&str] = &["has", "has_any", "has_all", "size"];
pub(super) const LATER_TESTS: &[&str] = &["top", "bottom", "among"];
pub(super) const ALL_TESTS: &[&str] = &[
    "is",
    "in",
    "missing",
    "starts_with",
    "ends_with",
    "contains",
    "more_than",
    "less_than",
    "at_least",
    "at_most",
    "between",
    "before",
    "after",
    "within",
    "within_next",
    "anniversary",
    "has",
    "has_any",
    "has_all",
    "size",
    "top",
    "bottom",
    "among",
];

impl Reader<'_, '_> {
    pub(super) fn attribute(&mut self, node: &Node, keys: &mut Keys<'_>) -> Option<Condition> {
        let written = self.text(node, "the path of an attribute");
        let resolved = written.and_then(|written| self.attribute_path(node.span, &written));
        let Some((path, declared)) = resolved else {
            keys.pass(ALL_TESTS);
            return None;
        };
        let tests = self.tests(node.span, &path.written.clone(), declared.as_ref(), keys)?;
        Some(Condition::Attribute(AttributeCondition { path, tests }))
    }

    /// The tests among the keys of a mapping; at least one.
    pub(super) fn tests(&mut self, span: Span, name: &str, declared: Option<&ValueType>, keys: &mut Keys<'_>) -> Option<Vec<Test>> {
        let mut tests = Vec::new();
        let mut fine = true;
        let mut written = 0;
        for key in ALL_TESTS {
            let Some((word, node)) = keys.take_entry(key) else { continue };
            written += 1;
            if LATER_TESTS.contains(key) {
                self.later(word.span, &format!("the test `{key}`"));
                fine = false;
                continue;
            }
            if !self.fits(word.span, key, name, declared) {
                fine = false;
                continue;
            }
            if *key == "anniversary" && name == OwnField::CreatedAt.word() {
                self.problem(
                    word.span,
                    "`created_at` has no anniversary",
                    "an instant, on different days in different zones",
                    "keep the day in an attribute of the type date",
                );
                fine = false;
                continue;
            }
            match self.test(key, node, declared) {
                Some(read) => tests.extend(read),
                None => fine = false,
            }
        }
        if written == 0 {
            self.problem(span, format!("nothing is asked of `{name}`"), "which value?", format!("add a test: {}", example(name, declared)));
            return None;
        }
        if fine && tests.contains(&Test::Missing(true)) && tests.len() > 1 {
            self.problem(span, format!("nobody can satisfy this: a missing `{name}` satisfies no other test"), "", "keep one of the tests");
            return None;
        }
        if fine {
            fine = self.satisfiable(span, name, &tests);
        }
        fine.then_some(tests)
    }

    /// Whether the test belongs to the declared type.
    pub(super) fn fits(&mut self, span: Span, key: &str, name: &str, declared: Option<&ValueType>) -> bool {
        let Some(declared) = declared else { return true };
        // A type that does not exist has been told where it is declared.
        if matches!(declared, ValueType::Catalog(name) if !self.known.catalogs.contains_key(name)) {
            return true;
        }
        let allowed: Vec<&str> = tests_of(declared);
        if allowed.contains(&key) {
            return true;
        }
        let help = match declared {
            ValueType::Nested(fields) => {
                format!(
                    "ask for one of its values: {}",
                    fields.keys().map(|field| format!("`{name}.{field}`")).collect::<Vec<_>>().join(", ")
                )
            }
            ValueType::List(_) if matches!(key, "is" | "in") => {
                "an item of a list is asked for with `has`, `has_any` or `has_all`".to_string()
            }
            _ => format!("it can be asked: {}", allowed.join(", ")),
        };
        self.problem(span, format!("`{key}` cannot be asked of `{name}`"), format!("`{name}` is of the type {declared}"), help);
        false
    }

    pub(super) fn test(&mut self, key: &str, node: &Node, declared: Option<&ValueType>) -> Option<Vec<Test>> {
        let kind = declared.map_or(Kind::Loose, kind_of);
        Some(match key {
            "missing" => vec![Test::Missing(self.boolean(node)?)],
            "is" | "in" => {
                if key == "in" && node.list().is_none() {
                    self.problem(
                        node.span,
                        "`in` wants a list",
                        format!("this is {}", node.kind()),
                        "write `in: [ a, b ]`, or `is` for one value",
                    );
                    return None;
                }
                if key == "is" && node.list().is_some() {
                    self.problem(node.span, "`is` wants one value", "this is a list", "write `in: [ … ]` for one of several values");
                    return None;
                }
                vec![self.is(node, kind)?]
            }
            "starts_with" => vec![Test::StartsWith(self.part(node)?)],
            "ends_with" => vec![Test::EndsWith(self.part(node)?)],
            "contains" => vec![Test::Contains(crate::segments::values::lower_case(&self.part(node)?))],
            "between" => self.between(node, kind)?,
            "before" => vec![Test::Date(DateTest::Before(self.date_operand(node)?))],
            "after" => vec![Test::Date(DateTest::After(self.date_operand(node)?))],
            "within" => vec![Test::Date(DateTest::Within(self.duration_for(node, declared)?))],
            "within_next" => vec![Test::Date(DateTest::WithinNext(self.duration_for(node, declared)?))],
            "anniversary" => {
                let tests = self.date_tests(node, &ValueType::Date)?;
                if tests.iter().any(DateTest::needs_customer) {
                    self.problem(
                        node.span,
                        "a return is compared with dates only",
                        "takes another value of the customer",
                        "write a date, `today` or `in 7 days`",
                    );
                    return None;
                }
                vec![Test::Anniversary(tests)]
            }
            "has" => vec![Test::HasAll(vec![self.item(node, item_type(declared))?])],
            "has_any" => vec![Test::HasAny(self.each(node, |reader, node| reader.item(node, item_type(declared)))?)],
            "has_all" => vec![Test::HasAll(self.each(node, |reader, node| reader.item(node, item_type(declared)))?)],
            "size" => vec![Test::Size(self.size(node)?)],
            _ => {
                let comparison = NUMBER_TESTS.iter().find(|(word, _)| *word == key)?.1;
                vec![Test::Compare(comparison, self.operand(node, number_kind(kind, &[node]))?)]
            }
        })
    }

    /// `is` and `in`.
    pub(super) fn is(&mut self, node: &Node, kind: Kind) -> Option<Test> {
        let items = self.items(node)?;
        let dates = kind == Kind::Date || kind == Kind::Loose && items.iter().all(looks_like_date);
        if dates {
            let mut tests = self.each(node, |reader, node| reader.date_operand(node).map(DateTest::Is))?;
            return Some(if tests.len() == 1 { Test::Date(tests.remove(0)) } else { Test::AnyDate(tests) });
        }
        let kind = if kind == Kind::Loose && items.iter().all(looks_like_money) { Kind::Money } else { kind };
        Some(Test::Is(self.each(node, |reader, node| reader.operand(node, kind))?))
    }

    pub(super) fn between(&mut self, node: &Node, kind: Kind) -> Option<Vec<Test>> {
        let Some([low, high]) = node.list() else {
            self.problem(node.span, "`between` wants two values", "", "write `between: [ 10, 20 ]`; both are included");
            return None;
        };
        if kind == Kind::Date || kind == Kind::Loose && looks_like_date(low) && looks_like_date(high) {
            return Some(self.date_between(node, low, high)?.into_iter().map(Test::Date).collect());
        }
        let kind = number_kind(kind, &[low, high]);
        let (low, high) = (self.operand(low, kind), self.operand(high, kind));
        let (low, high) = (low?, high?);
        if let (Some(from), Some(to)) = (self.size_of(&low), self.size_of(&high))
            && from > to
        {
            self.problem(node.span, "nothing lies between these two", "the first is larger than the second", "write the smaller one first");
            return None;
        }
        Some(vec![Test::Compare(Comparison::AtLeast, low), Test::Compare(Comparison::AtMost, high)])
    }

    /// A value of this kind, or `{ attribute: PATH }`.
    pub(super) fn operand(&mut self, node: &Node, kind: Kind) -> Option<Operand> {
        if node.map().is_some() {
            return self.reference(node, kind);
        }
        if node.is_empty() {
            self.problem(node.span, "a value is expected", "nothing is written here", "what has no value is asked with `missing: true`");
            return None;
        }
        let Value::Scalar { text, .. } = &node.value else {
            self.problem(node.span, "one value is expected", format!("this is {}", node.kind()), "");
            return None;
        };
        match kind {
            Kind::Text => Some(Operand::Text(text.clone())),
            Kind::Loose => Some(Operand::Loose(text.clone())),
            Kind::Number => self.number(node).map(Operand::Number),
            Kind::Boolean => self.boolean(node).map(Operand::Boolean),
            Kind::Money => {
                let money = self.literal(node.span, Money::read(text, self.known.currency))?;
                if money.currency != self.known.currency && !self.known.rates.contains_key(&money.currency) {
                    self.problem(
                        node.span,
                        format!("{} has no rate", money.currency),
                        "cannot be compared",
                        format!(
                            "write the amount in {own}, or add `rates: {{ {other}: … {own} }}` to posthaste.yaml",
                            own = self.known.currency,
                            other = money.currency
                        ),
                    );
                    return None;
                }
                Some(Operand::Money(money))
            }
            // Dates are read by `date_operand`.
            Kind::Date => None,
        }
    }

    pub(super) fn number(&mut self, node: &Node) -> Option<f64> {
        let text = self.text(node, "a number")?;
        let plain = text.strip_prefix('-').unwrap_or(&text);
        let shaped = plain.starts_with(|c: char| c.is_ascii_digit())
            && plain.ends_with(|c: char| c.is_ascii_digit())
            && plain.chars().all(|c| c.is_ascii_digit() || c == '.')
            && plain.matches('.').count() <= 1;
        match text.parse::<f64>().ok().filter(|number| shaped && number.abs() <= crate::segments::values::LARGEST) {
            Some(number) => Some(number),
            None => {
                let help = match text.contains(',') {
                    true => "decimals stand behind a point: `1.5`",
                    false => "numbers are written with digits: `10`, `-2`, `1.5`",
                };
                self.problem(node.span, format!("`{text}` is no number"), "a number is expected here", help);
                None
            }
        }
    }

    /// `{ attribute: PATH }` as a value.
    pub(super) fn reference(&mut self, node: &Node, kind: Kind) -> Option<Operand> {
        let help = "a value of the customer is written `{ attribute: PATH }`";
        match node.map() {
            Some([(key, path)]) if key.text == "attribute" => {
                let written = self.text(path, "the path of an attribute")?;
                let (resolved, declared) = self.attribute_path(path.span, &written)?;
                let Some(declared) = declared else { return Some(Operand::Attribute(resolved, kind)) };
                let found = kind_of(&declared);
                let comparable = if kind == Kind::Loose { found != Kind::Date } else { kind == found };
                if matches!(declared, ValueType::List(_) | ValueType::Nested(_)) || !comparable {
                    self.problem(
                        path.span,
                        format!("`{written}` cannot be compared here"),
                        format!("it is of the type {declared}"),
                        format!("{} is expected", name_of(kind)),
                    );
                    return None;
                }
                Some(Operand::Attribute(resolved, found))
            }
            Some([(key, _)]) if key.text == "property" => {
                self.later(key.span, "a value of the event at hand");
                None
            }
            Some([(key, _), ..]) => {
                let near = nearest(&key.text, ["attribute", "property"]);
                let title = if tests_word(&key.text) {
                    "a value is expected, not tests".to_string()
                } else {
                    format!("a value cannot be `{}`", key.text)
                };
                self.problem(key.span, title, "", near.map_or(help.to_string(), |near| format!("did you mean `{near}`?")));
                None
            }
            _ => {
                self.problem(node.span, "a value is expected", "empty", help);
                None
            }
        }
    }

    /// An item of a list: a value, or tests on a row.
    pub(super) fn item(&mut self, node: &Node, item: Option<&ValueType>) -> Option<Item> {
        let reference = node.map().is_some_and(|entries| entries.len() == 1 && entries[0].0.text == "attribute");
        match (item, node.map()) {
            (Some(ValueType::Nested(fields)), Some(_)) => self.properties(node, Some(fields), "a row of the list").map(Item::Row),
            (None, Some(_)) if !reference => self.properties(node, None, "a row of the list").map(Item::Row),
            (Some(ValueType::Nested(_)), None) => {
                self.problem(
                    node.span,
                    "the rows of this list have several values",
                    "which of them?",
                    "write for example `has: { category: shoes }`",
                );
                None
            }
            (Some(ValueType::List(_)), _) => {
                self.problem(node.span, "the items of this list are lists", "", "such lists can only be asked for their `size`");
                None
            }
            (item, _) => match item.map_or(Kind::Loose, kind_of) {
                Kind::Date => {
                    self.problem(
                        node.span,
                        "items of a list of dates cannot be asked for",
                        "",
                        "declare rows: `[ { at: date } ]`, and write `has: { at: { … } }`",
                    );
                    None
                }
                kind => self.operand(node, kind).map(Item::Value),
            },
        }
    }
}

/// Number tests whose operands are plain numbers.
pub(super) fn numbers(tests: Vec<(Comparison, Operand)>) -> Vec<(Comparison, f64)> {
    tests
        .into_iter()
        .filter_map(|(comparison, operand)| match operand {
            Operand::Number(number) => Some((comparison, number)),
            _ => None,
        })
        .collect()
}

pub(super) fn kind_of(declared: &ValueType) -> Kind {
    match declared {
        ValueType::Text | ValueType::Catalog(_) => Kind::Text,
        ValueType::Number => Kind::Number,
        ValueType::Money => Kind::Money,
        ValueType::Boolean => Kind::Boolean,
        ValueType::Date | ValueType::DateTime => Kind::Date,
        ValueType::List(_) | ValueType::Nested(_) => Kind::Loose,
    }
}

pub(super) fn tests_of(declared: &ValueType) -> Vec<&'static str> {
    let mut allowed = vec!["missing"];
    match declared {
        ValueType::Text | ValueType::Catalog(_) => allowed.extend(["is", "in"].iter().chain(TEXT_TESTS)),
        ValueType::Number | ValueType::Money => {
            allowed.extend(["is", "in", "between"]);
            allowed.extend(NUMBER_TESTS.iter().map(|(word, _)| *word));
        }
        ValueType::Boolean => allowed.extend(["is", "in"]),
        ValueType::Date | ValueType::DateTime => allowed.extend(["is", "in", "between"].iter().chain(DATE_TESTS)),
        ValueType::List(_) => allowed.extend(LIST_TESTS),
        ValueType::Nested(_) => {}
    }
    allowed
}

pub(super) fn item_type(declared: Option<&ValueType>) -> Option<&ValueType> {
    match declared {
        Some(ValueType::List(item)) => Some(item),
        _ => None,
    }
}

/// For what is not declared: money when a currency is written, else numbers.
pub(super) fn number_kind(kind: Kind, nodes: &[&Node]) -> Kind {
    match kind {
        Kind::Loose if nodes.iter().any(|node| looks_like_money(node)) => Kind::Money,
        Kind::Loose => Kind::Number,
        kind => kind,
    }
}

/// `500 UAH`: with its currency.
pub(super) fn looks_like_money(node: &Node) -> bool {
    node.text().is_some_and(|text| text.contains(' ') && Money::read(text, "XXX").is_ok())
}

/// A date or date expression, not in quotes.
pub(super) fn looks_like_date(node: &Node) -> bool {
    matches!(&node.value, Value::Scalar { text, quoted: false } if DateExpression::read(text).is_ok())
}

pub(super) fn tests_word(word: &str) -> bool {
    ALL_TESTS.contains(&word)
}

pub(super) fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Loose => "a value",
        Kind::Text => "a text",
        Kind::Number => "a number",
        Kind::Money => "money",
        Kind::Boolean => "true or false",
        Kind::Date => "a date",
    }
}

pub(super) fn example(name: &str, declared: Option<&ValueType>) -> String {
    let test = match declared {
        Some(ValueType::Number) => "at_least: 10",
        Some(ValueType::Money) => "at_least: 500",
        Some(ValueType::Boolean) => "is: true",
        Some(ValueType::Date | ValueType::DateTime) => "within: 30 days",
        Some(ValueType::List(_)) => "has: …",
        _ => "is: …",
    };
    format!("`{{ attribute: {name}, {test} }}`")
}
