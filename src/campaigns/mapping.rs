//! mappings/NAME.yaml: how the columns of a file are read by `import --map NAME`.

use super::fields::Kind;
use super::names::Names;
use super::part::{Part, by_country};
use super::shapes::Checker;
use super::tables::mapping::MAPPING;
use crate::diagnostics::{Problems, nearest};
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
    if !whole || !targets(part, names, problems) {
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

/// Fields that are not attributes or properties, by what the file holds.
fn fields(kind: &str) -> &'static [&'static str] {
    match kind {
        "customers" => &[
            "external_id",
            "email",
            "phone",
            "first_name",
            "last_name",
            "language",
            "country",
            "zone",
            "created_at",
            "consent",
            "suppressed",
        ],
        "events" => &["customer", "external_id", "email", "phone", "event", "at", "id"],
        "consents" => &["customer", "external_id", "email", "phone", "topic", "channel", "state", "at", "source", "proof", "id"],
        _ => &["address", "email", "phone", "channel", "reason", "since", "until", "source"],
    }
}

/// Whether all columns become something that there is; an empty field leaves a column out.
fn targets(part: Part<'_>, names: &Names, problems: &mut Problems) -> bool {
    let kind = part.text("for").unwrap_or_default();
    let mut fine = true;
    let columns =
        part.entries("columns").map(|(column, _, node)| (node.text().unwrap_or_default(), node.span, format!("the column `{column}`")));
    let set = part.entries("set").map(|(field, span, _)| (field, span, "stands under `set`".to_string()));
    for (field, span, label) in columns.chain(set) {
        let first = field.split('.').next().unwrap_or_default();
        let is_name = field.split('.').all(|step| {
            step.starts_with(|first: char| first.is_ascii_lowercase())
                && step.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-'))
        });
        let known = fields(kind);
        let (wrong, near): (bool, Vec<&str>) = match kind {
            _ if field.is_empty() || known.contains(&first) => (false, Vec::new()),
            "customers" => match names.missing(Kind::Attribute, field) {
                Some(declared) => (true, declared),
                None => (!is_name || field.contains('-'), Vec::new()),
            },
            "events" => (!is_name || field.contains('-'), Vec::new()),
            _ => (true, Vec::new()),
        };
        if !wrong {
            continue;
        }
        fine = false;
        let help = match nearest(field, known.iter().copied().chain(near)) {
            Some(near) => format!("did you mean `{near}`?"),
            None if matches!(kind, "customers" | "events") => {
                "write a field or an attribute in lower_case, Latin letters; an attribute that is new stands under `attributes` in posthaste.yaml".into()
            }
            None => format!("fields are {}", known.join(", ")),
        };
        let problem = part.problem(span, format!("there is no field `{field}` for {kind}"));
        problems.push(problem.label(label).help(help));
    }
    fine
}
