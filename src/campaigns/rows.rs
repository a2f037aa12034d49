//! People and events of a test: lists in place, or a file under campaigns/ in YAML or CSV (columns with dots are nested).

use super::context::Context;
use super::part::{Part, json_object};
use crate::diagnostics::{Problem, Span};
use crate::yaml;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// One row, and where it stands in the campaign's file.
pub struct Row {
    pub values: Map<String, Value>,
    pub span: Span,
    spans: BTreeMap<String, Span>,
}

impl Row {
    /// Where a value stands: its key, or the name of the file that holds the row.
    pub fn span_of(&self, key: &str) -> Span {
        self.spans.get(key).copied().unwrap_or(self.span)
    }
}

/// The path inside the workspace of a file that a test names.
pub fn path(written: &str) -> String {
    if written.starts_with("campaigns/") { written.to_string() } else { format!("campaigns/{written}") }
}

/// Rows under `key`; problems are collected, and what is wrong is left out.
pub fn read(context: &mut Context<'_>, test: Part<'_>, key: &str) -> Vec<Row> {
    let Some(node) = test.get(key) else { return Vec::new() };
    match node.text() {
        Some(written) => from_file(context, written, node.span),
        None => in_place(context, node.list().unwrap_or_default(), None),
    }
}

fn in_place(context: &mut Context<'_>, items: &[yaml::Node], elsewhere: Option<Span>) -> Vec<Row> {
    let mut rows = Vec::new();
    for item in items {
        let Some(entries) = item.map() else {
            let span = elsewhere.unwrap_or(item.span);
            context.problem(
                span,
                "each row is a mapping",
                format!("this is {}", item.kind()),
                "write it like { external_id: ada, email: ada@example.org }",
            );
            continue;
        };
        let mut spans = BTreeMap::new();
        for (key, value) in entries {
            spans.insert(key.text.clone(), elsewhere.unwrap_or(key.span));
            let inner = value.map().unwrap_or_default().iter();
            spans.extend(inner.map(|(inner, _)| (format!("{}.{}", key.text, inner.text), elsewhere.unwrap_or(inner.span))));
        }
        rows.push(Row {
            values: json_object(item),
            span: elsewhere.or(entries.first().map(|(key, _)| key.span)).unwrap_or(item.span),
            spans,
        });
    }
    rows
}

fn from_file(context: &mut Context<'_>, written: &str, span: Span) -> Vec<Row> {
    let path = path(written);
    let Some(bytes) = context.files.0.get(&path) else {
        let known = context.files.under("campaigns").map(|(path, _)| path).filter(|path| !path.starts_with("campaigns/segments/"));
        let near = crate::diagnostics::nearest(&path, known);
        let help = near.map_or_else(|| "write the file, or a list in place".to_string(), |near| format!("did you mean `{near}`?"));
        context.problem(span, format!("there is no file {path}"), "used here", help);
        return Vec::new();
    };
    let Ok(text) = std::str::from_utf8(bytes) else {
        context.problem(span, format!("{path} is not UTF-8 text"), "used here", "save it as UTF-8");
        return Vec::new();
    };
    if path.ends_with(".csv") {
        return from_csv(context, &path, text, span);
    }
    let mut inside = crate::diagnostics::Problems::default();
    let node = yaml::read(&path, text, &mut inside);
    context.problems.extend(inside);
    match node.as_ref().map(|node| node.list()) {
        Some(Some(items)) => in_place(context, items, Some(span)),
        Some(None) => {
            context.problems.push(Problem::new(&path, None, "this file holds no list").help("begin each row with a dash"));
            Vec::new()
        }
        None => Vec::new(),
    }
}

fn from_csv(context: &mut Context<'_>, path: &str, text: &str, span: Span) -> Vec<Row> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let Ok(columns) = reader.headers().cloned() else {
        context.problems.push(Problem::new(path, None, "this file cannot be read as CSV").help("its first line names the columns"));
        return Vec::new();
    };
    let mut rows = Vec::new();
    for (number, record) in reader.records().enumerate() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let title = format!("line {} cannot be read as CSV", error.position().map_or(number as u64 + 2, csv::Position::line));
                context.problems.push(Problem::new(path, None, title).help("each line has as many cells as the first"));
                continue;
            }
        };
        let mut values = Map::new();
        for (column, cell) in columns.iter().zip(&record).filter(|(_, cell)| !cell.is_empty()) {
            set(&mut values, column, cell);
        }
        rows.push(Row { values, span, spans: BTreeMap::new() });
    }
    rows
}

/// `consent.offers` is `offers` inside `consent`; lists of channels stand with blanks between.
fn set(values: &mut Map<String, Value>, column: &str, cell: &str) {
    let value = match column {
        "suppressed" => cell.split_whitespace().map(Value::from).collect(),
        _ if column.starts_with("consent.") => cell.split_whitespace().map(Value::from).collect(),
        _ => Value::from(cell),
    };
    let mut at = values;
    let mut steps = column.split('.').peekable();
    while let Some(step) = steps.next() {
        if steps.peek().is_none() {
            at.insert(step.to_string(), value);
            return;
        }
        let inner = at.entry(step).or_insert_with(|| Value::Object(Map::new()));
        if !inner.is_object() {
            *inner = Value::Object(Map::new());
        }
        match inner {
            Value::Object(map) => at = map,
            _ => return,
        }
    }
}
