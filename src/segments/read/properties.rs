//! Tests of numbers that are measured, and of the properties of an event.

use super::Reader;
use super::keys::Keys;
use super::paths::Fields;
use super::tests::{LATER_TESTS, NUMBER_TESTS, kind_of, number_kind, numbers};
use crate::segments::model::*;
use crate::yaml::{Node, Value};

impl Reader<'_, '_> {
    pub(super) fn size(&mut self, node: &Node) -> Option<Vec<(Comparison, f64)>> {
        let Some(entries) = node.map() else {
            return self.number(node).map(|number| vec![(Comparison::Is, number)]);
        };
        let mut keys = Keys::of(entries);
        let tests = self.number_tests(&mut keys, Kind::Number);
        keys.finish(self, "`size`").then_some(())?;
        let tests = tests?;
        if tests.is_empty() {
            self.problem(node.span, "nothing is asked of the size", "empty", "write for example `size: { at_least: 2 }`");
            return None;
        }
        Some(numbers(tests))
    }

    /// The number tests among the keys; none is fine.
    pub(super) fn number_tests(&mut self, keys: &mut Keys<'_>, kind: Kind) -> Option<Vec<(Comparison, Operand)>> {
        let mut tests = Vec::new();
        let mut fine = true;
        for later in LATER_TESTS {
            if let Some((key, _)) = keys.take_entry(later) {
                self.later(key.span, &format!("the test `{later}`"));
                fine = false;
            }
        }
        let words = std::iter::once(("is", Comparison::Is)).chain(NUMBER_TESTS.iter().copied());
        for (word, comparison) in words {
            if let Some(node) = keys.take(word) {
                match self.operand(node, number_kind(kind, &[node])) {
                    Some(operand) => tests.push((comparison, operand)),
                    None => fine = false,
                }
            }
        }
        if let Some(node) = keys.take("between") {
            match self.between(node, if kind == Kind::Loose { Kind::Loose } else { kind }) {
                Some(read) => {
                    for test in read {
                        match test {
                            Test::Compare(comparison, operand) => tests.push((comparison, operand)),
                            _ => {
                                self.problem(node.span, "numbers are expected", "these are dates", "");
                                fine = false;
                            }
                        }
                    }
                }
                None => fine = false,
            }
        }
        fine.then_some(tests)
    }

    /// Property → value, list of values, or tests.
    pub(super) fn properties(&mut self, node: &Node, fields: Option<&Fields>, of: &str) -> Option<PropertyTests> {
        let Some(entries) = node.map().filter(|entries| !entries.is_empty()) else {
            self.problem(
                node.span,
                "properties and their values are expected",
                format!("this is {}", node.kind()),
                "write for example `{ category: shoes, price: { more_than: 100 } }`",
            );
            return None;
        };
        let mut read = PropertyTests::default();
        let mut fine = true;
        for (key, value) in entries {
            let Some((path, declared)) = self.property_path(key.span, &key.text, fields, of) else {
                fine = false;
                continue;
            };
            let tests = match &value.value {
                Value::Map(inner) if !(inner.len() == 1 && inner[0].0.text == "attribute") => {
                    let mut keys = Keys::of(inner);
                    let tests = self.tests(value.span, &key.text, declared.as_ref(), &mut keys);
                    keys.finish(self, &format!("tests of `{}`", key.text)).then_some(tests).flatten()
                }
                _ => {
                    if self.fits(value.span, "is", &key.text, declared.as_ref()) {
                        self.is(value, declared.as_ref().map_or(Kind::Loose, kind_of)).map(|test| vec![test])
                    } else {
                        None
                    }
                }
            };
            match tests {
                Some(tests) => read.tests.push((path, tests)),
                None => fine = false,
            }
        }
        fine.then_some(read)
    }
}
