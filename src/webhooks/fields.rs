//! Reading what stands in a request: JSON by path, forms, times as providers write them. Nothing here fails on what is missing.

use super::Request;
use crate::types::Time;
use chrono::NaiveDateTime;
use serde_json::{Map, Value};

/// A request that is theirs and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("the body is no JSON: {0}")]
    Json(String),
    #[error("the body is {0}")]
    Shape(&'static str),
}

/// Events of one request at most; a provider's largest batch has a thousand.
const MOST: usize = 10_000;

pub(super) fn json(body: &[u8]) -> Result<Value, Unreadable> {
    serde_json::from_slice(body).map_err(|error| Unreadable::Json(error.to_string()))
}

/// The events of an array, or of one event alone.
pub(super) fn rows(value: Value) -> Result<Vec<Value>, Unreadable> {
    match value {
        Value::Array(rows) if rows.len() > MOST => Err(Unreadable::Shape("an array of more than 10,000 events")),
        Value::Array(rows) => Ok(rows),
        row @ Value::Object(_) => Ok(vec![row]),
        _ => Err(Unreadable::Shape("neither an object nor an array")),
    }
}

/// What stands at this path.
pub(super) fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, name| value.get(name)).filter(|value| !value.is_null())
}

/// A text, or a number as text.
pub(super) fn text(value: &Value, path: &[&str]) -> Option<String> {
    word(at(value, path)?)
}

pub(super) fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

/// Texts of a list, of a list written as text, or a text alone; lists in lists are taken apart.
pub(super) fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Array(items)) => items.iter().take(100).flat_map(|item| texts(Some(item))).collect(),
        Some(Value::String(text)) if text.starts_with('[') => match serde_json::from_str::<Vec<String>>(text) {
            Ok(items) => items,
            Err(_) => vec![text.clone()],
        },
        Some(value) => word(value).into_iter().collect(),
        None => Vec::new(),
    }
}

pub(super) fn object<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Map<String, Value>> {
    at(value, path)?.as_object()
}

/// An object, or one that is written as text.
pub(super) fn object_or_text(value: Option<&Value>) -> Option<Map<String, Value>> {
    match value? {
        Value::Object(fields) => Some(fields.clone()),
        Value::String(text) => serde_json::from_str(text).ok(),
        _ => None,
    }
}

pub(super) fn is_true(value: &Value, path: &[&str]) -> bool {
    match at(value, path) {
        Some(Value::Bool(is)) => *is,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true") || text == "1",
        Some(Value::Number(number)) => number.as_i64() == Some(1),
        _ => false,
    }
}

pub(super) fn instant(value: &Value, path: &[&str]) -> Option<Time> {
    match at(value, path)? {
        Value::Number(number) => number.as_f64().and_then(of_seconds),
        Value::String(text) => written(text),
        _ => None,
    }
}

/// Seconds or milliseconds since 1970, RFC 3339, or a date and a time in UTC.
pub(super) fn written(text: &str) -> Option<Time> {
    let text = text.trim();
    if text.bytes().next().is_some_and(|first| first.is_ascii_digit()) && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return text.parse().ok().and_then(of_seconds);
    }
    let plain = || ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"].iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    let offset = || chrono::DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f %z").ok();
    let read = chrono::DateTime::parse_from_rfc3339(text).ok().or_else(offset);
    read.map(|at| at.to_utc())
        .or_else(|| plain().map(|at| at.and_utc()))
        .or_else(|| chrono::DateTime::parse_from_rfc2822(text).ok().map(|at| at.to_utc()))
}

/// Numbers of more than eleven digits are milliseconds.
fn of_seconds(number: f64) -> Option<Time> {
    let seconds = if number.abs() >= 1e11 { number / 1000.0 } else { number };
    // An f64 holds microseconds of our times exactly enough; what is out of range is no time.
    let micros = (seconds * 1e6).round();
    if micros.is_finite() && micros.abs() < 9e15 { Time::from_timestamp_micros(micros as i64) } else { None }
}

/// Names and values of a form or of the query, in their order. A multipart form's files are not kept.
pub(super) fn form(request: &Request<'_>) -> Vec<(String, String)> {
    if request.body.is_empty() {
        return pairs(request.query().as_bytes());
    }
    let kind = request.content_type().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        "multipart/form-data" => multipart(request).unwrap_or_default(),
        _ => pairs(request.body),
    }
}

pub(super) fn pairs(text: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(text).into_owned().take(1000).collect()
}

/// The first value of this name.
pub(super) fn value<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

pub(super) fn owned(pairs: &[(String, String)], name: &str) -> Option<String> {
    value(pairs, name).map(str::to_string)
}

/// The fields of a form or of a JSON object, whichever came.
pub(super) fn form_or_json(request: &Request<'_>) -> Vec<(String, String)> {
    let is_json = request.body.iter().find(|byte| !byte.is_ascii_whitespace()).is_some_and(|first| *first == b'{');
    if !is_json {
        return form(request);
    }
    let read: Option<Map<String, Value>> = serde_json::from_slice(request.body).ok();
    read.into_iter().flatten().filter_map(|(name, value)| Some((name, word(&value)?))).collect()
}

fn multipart(request: &Request<'_>) -> Option<Vec<(String, String)>> {
    let boundary = request.content_type().split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
    })?;
    let text = String::from_utf8_lossy(request.body);
    let mut fields = Vec::new();
    for part in text.split(&format!("--{boundary}")).skip(1).take(1000) {
        let Some((head, value)) = part.split_once("\r\n\r\n").or_else(|| part.split_once("\n\n")) else { continue };
        let Some((_, name)) = head.split_once("name=\"") else { continue };
        let name = name.split('"').next().unwrap_or_default();
        let value = value.strip_suffix("\r\n").or_else(|| value.strip_suffix('\n')).unwrap_or(value);
        fields.push((name.to_string(), value.to_string()));
    }
    Some(fields)
}
