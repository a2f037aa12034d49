//! mappings/NAME.yaml: how the columns of a file are read by `import --map NAME`.

use super::names::Names;
use super::part::{Part, by_country};
use super::shapes::Checker;
use super::tables::mapping::MAPPING;
use crate::diagnostics::Problems;
use crate::yaml::Node;
use std::collections::BTreeMap;

/// A saved column mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    pub key: String,
    /// customers, events, consents or suppressions
    pub kind: String,
    /// Column of the file → what it is.
    pub columns: BTreeMap<String, String>,
    /// How dates are written, like `DD.MM.YYYY`.
    pub dates: Option<String>,
    /// What means yes.
    pub true_is: Vec<String>,
    /// Values for what the file lacks.
    pub set: BTreeMap<String, String>,
}

/// Checks and reads one mapping; `None` when it has problems. `key` is the file's name.
pub fn read(file: &str, key: &str, node: &Node, names: &Names, problems: &mut Problems) -> Option<Mapping> {
    let part = Part { file, node };
    let whole = Checker { file, names, problems }.table(node, &MAPPING, part.start());
    if let Some(dates) = part.text("dates")
        && !["DD", "MM", "YY"].iter().all(|piece| dates.contains(piece))
    {
        problems.push(
            part.problem(part.span("dates"), format!("`{dates}` does not say how dates are written"))
                .label("lacks a day, a month or a year")
                .help("write it like \"DD.MM.YYYY\", \"YYYY-MM-DD\" or \"MM/DD/YY\""),
        );
        return None;
    }
    if !whole {
        return None;
    }
    Some(Mapping {
        key: key.to_string(),
        kind: part.owned("for")?,
        columns: part.get("columns").map(by_country).unwrap_or_default(),
        dates: part.owned("dates"),
        true_is: part.texts("true_is"),
        set: part.get("set").map(by_country).unwrap_or_default(),
    })
}
