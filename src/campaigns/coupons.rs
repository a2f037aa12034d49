//! `coupons` of posthaste.yaml: codes that are drawn for messages at hand-over.

use super::part::Part;
use crate::diagnostics::Problems;
use crate::literals::Duration;
use std::collections::BTreeMap;

/// Codes of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coupon {
    pub supply: Supply,
    /// How long after its first hand-over.
    pub valid: Option<Duration>,
}

/// Where codes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Supply {
    /// The same for all.
    Shared(String),
    /// Made for each message; each `#` is a digit.
    Made(String),
    /// `posthaste import coupons NAME FILE`; each is drawn once.
    Imported,
}

/// The fewest digits of a made code: with less, somebody guesses those of others.
const FEWEST: usize = 4;

pub fn read(workspace: Part<'_>, problems: &mut Problems) -> BTreeMap<String, Coupon> {
    let mut coupons = BTreeMap::new();
    for (name, span, node) in workspace.entries("coupons") {
        let part = Part { file: workspace.file, node };
        let written: Vec<&str> = ["code", "pattern", "imported"].into_iter().filter(|key| part.has(key)).collect();
        let supply = match written.as_slice() {
            ["code"] => part.owned("code").map(Supply::Shared),
            ["pattern"] => part.owned("pattern").map(Supply::Made),
            ["imported"] => part.boolean("imported").filter(|imported| *imported).map(|_| Supply::Imported),
            _ => None,
        };
        if let Some(Supply::Made(pattern)) = &supply
            && pattern.matches('#').count() < FEWEST
        {
            problems.push(
                part.problem(part.span("pattern"), format!("the pattern of `{name}` has fewer than {FEWEST} digits"))
                    .label("each # is a digit")
                    .help("write it like \"BD-######\": six digits are a million codes"),
            );
        }
        match supply {
            Some(supply) => drop(coupons.insert(name.to_string(), Coupon { supply, valid: part.duration("valid") })),
            None if node.map().is_some() => problems.push(
                part.problem(span, format!("where do the codes of `{name}` come from?"))
                    .label("exactly one of `code`, `pattern` and `imported: true` must stand here")
                    .help("write { code: SPRING20 } for one code for all, { pattern: \"BD-######\" } for made ones, or { imported: true }"),
            ),
            None => {}
        }
    }
    coupons
}
