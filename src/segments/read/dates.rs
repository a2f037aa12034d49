//! Tests of dates: `before`, `within`, `anniversary` …, and the dates that they compare with.

use super::Reader;
use super::keys::Keys;
use crate::literals::{DateExpression, Unit, ValueType};
use crate::segments::model::*;
use crate::yaml::Node;
use chrono::Utc;

impl Reader<'_, '_> {
    pub(super) fn date_between(&mut self, node: &Node, low: &Node, high: &Node) -> Option<Vec<DateTest>> {
        let (from, until) = (self.date_operand(low), self.date_operand(high));
        let (from, until) = (from?, until?);
        if let (DateOperand::Expression(first), DateOperand::Expression(last)) = (&from, &until)
            && self.is_later(*first, *last)
        {
            self.problem(node.span, "nothing lies between these two", "the first is later than the second", "write the earlier one first");
            return None;
        }
        Some(vec![DateTest::From(from), DateTest::Until(until)])
    }

    /// Whether `first` is later than `last` on any day: both relative to today, or both fixed.
    pub(super) fn is_later(&self, first: DateExpression, last: DateExpression) -> bool {
        let relative = |expression| !matches!(expression, DateExpression::Date(_) | DateExpression::Time(_));
        let now = chrono::DateTime::<Utc>::UNIX_EPOCH + chrono::TimeDelta::days(20_000);
        relative(first) == relative(last) && first.day(now, self.known.zone) > last.day(now, self.known.zone)
    }

    /// A mapping of date tests: of `anniversary`, `first`, `last`.
    pub(super) fn date_tests(&mut self, node: &Node, declared: &ValueType) -> Option<Vec<DateTest>> {
        let Some(entries) = node.map() else {
            self.problem(
                node.span,
                "date tests are expected",
                format!("this is {}", node.kind()),
                "write for example `{ within_next: 7 days }`",
            );
            return None;
        };
        let mut keys = Keys::of(entries);
        let tests = self.date_tests_among(&mut keys, declared);
        let clean = keys.finish(self, "date tests");
        let tests = tests?;
        if tests.is_empty() && clean {
            self.problem(node.span, "nothing is asked of the date", "empty", "write for example `{ within: 7 days }`");
        }
        (clean && !tests.is_empty()).then_some(tests)
    }

    pub(super) fn date_tests_among(&mut self, keys: &mut Keys<'_>, declared: &ValueType) -> Option<Vec<DateTest>> {
        let mut tests = Vec::new();
        let mut fine = true;
        for key in ["is", "before", "after", "between", "within", "within_next"] {
            let Some(node) = keys.take(key) else { continue };
            let read = match key {
                "is" => self.date_operand(node).map(|operand| vec![DateTest::Is(operand)]),
                "before" => self.date_operand(node).map(|operand| vec![DateTest::Before(operand)]),
                "after" => self.date_operand(node).map(|operand| vec![DateTest::After(operand)]),
                "within" => self.duration_for(node, Some(declared)).map(|duration| vec![DateTest::Within(duration)]),
                "within_next" => self.duration_for(node, Some(declared)).map(|duration| vec![DateTest::WithinNext(duration)]),
                _ => match node.list() {
                    Some([low, high]) => self.date_between(node, low, high),
                    _ => {
                        self.problem(
                            node.span,
                            "`between` wants two dates",
                            "",
                            "write `between: [ 180 days ago, 90 days ago ]`; both are included",
                        );
                        None
                    }
                },
            };
            match read {
                Some(read) => tests.extend(read),
                None => fine = false,
            }
        }
        fine.then_some(tests)
    }

    /// A duration beside a date: a day has no hours.
    pub(super) fn duration_for(&mut self, node: &Node, declared: Option<&ValueType>) -> Option<crate::literals::Duration> {
        let duration = self.duration(node)?;
        if declared == Some(&ValueType::Date) && duration.unit < Unit::Day {
            self.problem(
                node.span,
                "a date has no hours",
                "shorter than a day",
                "write days or longer, or declare the attribute as datetime",
            );
            return None;
        }
        Some(duration)
    }

    pub(super) fn date_operand(&mut self, node: &Node) -> Option<DateOperand> {
        if node.map().is_some() {
            return match self.reference(node, Kind::Date)? {
                Operand::Attribute(path, _) => Some(DateOperand::Attribute(path)),
                _ => None,
            };
        }
        self.date(node).map(DateOperand::Expression)
    }

    /// A text to look for: not empty.
    pub(super) fn part(&mut self, node: &Node) -> Option<String> {
        let text = self.text(node, "a text")?;
        if text.is_empty() {
            self.problem(node.span, "every text has this", "empty", "write at least one letter");
            return None;
        }
        Some(text)
    }
}
