//! Tests that together nobody can satisfy.

use super::Reader;
use crate::diagnostics::Span;
use crate::segments::model::*;

impl Reader<'_, '_> {
    /// Cheap contradictions between the number tests of one value.
    pub(super) fn satisfiable(&mut self, span: Span, name: &str, tests: &[Test]) -> bool {
        let (mut low, mut high) = (None::<(f64, bool)>, None::<(f64, bool)>);
        for test in tests {
            let Test::Compare(comparison, operand) = test else { continue };
            let Some(size) = self.size_of(operand) else { continue };
            match comparison {
                Comparison::MoreThan | Comparison::AtLeast => {
                    let open = *comparison == Comparison::MoreThan;
                    if low.is_none_or(|(known, _)| size > known) {
                        low = Some((size, open));
                    }
                }
                Comparison::LessThan | Comparison::AtMost => {
                    let open = *comparison == Comparison::LessThan;
                    if high.is_none_or(|(known, _)| size < known) {
                        high = Some((size, open));
                    }
                }
                Comparison::Is => {}
            }
        }
        if let (Some((low, low_open)), Some((high, high_open))) = (low, high)
            && (low > high || low == high && (low_open || high_open))
        {
            self.problem(
                span,
                format!("nobody can satisfy this: nothing lies between the bounds of `{name}`"),
                "the lower bound is above the upper one",
                "",
            );
            return false;
        }
        true
    }

    pub(super) fn size_of(&self, operand: &Operand) -> Option<f64> {
        match operand {
            Operand::Number(number) => Some(*number),
            Operand::Money(money) => {
                crate::segments::values::Currencies::new(self.known.currency, self.known.rates).convert(money).map(|minor| minor as f64)
            }
            _ => None,
        }
    }
}
