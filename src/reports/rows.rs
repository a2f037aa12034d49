//! The report as rows for a spreadsheet: section, name, figure, value. Every number of the JSON is a row of its own.

use super::model::Report;
use serde_json::Value;

/// `["funnel", "refused.no_consent", "12"]` …; the section is the JSON's first key, the name the path below it.
///
/// What stands in a list is named by its words (an arm, a link's target), not by its place.
pub fn rows(report: &Report) -> Vec<[String; 3]> {
    let mut rows = Vec::new();
    if let Ok(Value::Object(sections)) = serde_json::to_value(report) {
        for (section, value) in &sections {
            walk(section, "", value, &mut rows);
        }
    }
    rows
}

fn walk(section: &str, path: &str, value: &Value, rows: &mut Vec<[String; 3]>) {
    let below = |name: &str| if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
    match value {
        Value::Object(map) => {
            for (name, value) in map.iter().filter(|(name, _)| !NAMES.contains(&name.as_str())) {
                walk(section, &below(name), value, rows);
            }
        }
        Value::Array(list) if list.iter().all(|item| !item.is_object()) => {
            let list: Vec<String> = list.iter().map(plain).collect();
            rows.push([section.to_string(), path.to_string(), list.join(" ")]);
        }
        Value::Array(list) => {
            for item in list {
                walk(section, &below(&name_of(item)), item, rows);
            }
        }
        other => rows.push([section.to_string(), path.to_string(), plain(other)]),
    }
}

/// Keys whose values name an item of a list.
const NAMES: [&str; 10] = ["event", "currency", "arm", "against", "metric", "variant", "target", "site", "at", "channel"];

fn name_of(item: &Value) -> String {
    let names = NAMES.iter().filter_map(|name| item.get(name)).map(plain);
    names.collect::<Vec<_>>().join(" ")
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
