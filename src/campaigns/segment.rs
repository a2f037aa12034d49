//! campaigns/segments/KEY.yaml, and the circles that segments must not make.

use super::context::Context;
use super::model::Segment;
use super::names::EVERYONE;
use super::part::Part;
use super::tables::campaign::SEGMENT;
use super::{tests, workspace};
use crate::diagnostics::{Problem, Problems, Span};
use crate::yaml::{Node, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Checks and reads one segment; `None` when it has problems. `key` is the file's name.
pub fn read(context: &mut Context<'_>, key: &str, node: &Node) -> Option<Segment> {
    let part = Part { file: context.file, node };
    let whole = context.checker().table(node, &SEGMENT, part.start());
    let condition = part.inner("where").map(|inner| inner.node).and_then(|node| context.condition(node));
    let tests = tests::read(context, part, &Some(BTreeSet::new()));
    if key == EVERYONE {
        let help = "it holds all customers without a file: take another name";
        context.problem(part.span("segment"), "no segment may be called `everyone`", "this word is taken", help);
    }
    if !whole {
        return None;
    }
    let mut reaches = BTreeSet::from([workspace::FILE.to_string(), part.file.to_string()]);
    reaches.extend(tests::files(part));
    Some(Segment { key: key.to_string(), title: part.words("title")?, condition: condition?, tests: tests?, reaches })
}

/// Segments that name each other in a circle: one problem for each circle, shown at its first file.
pub fn circles(segments: &BTreeMap<String, Segment>, trees: &BTreeMap<String, Node>, problems: &mut Problems) {
    let edges: BTreeMap<&str, Vec<String>> =
        segments.iter().map(|(key, segment)| (key.as_str(), segment.condition.segments().into_iter().collect())).collect();
    let mut done: BTreeSet<&str> = BTreeSet::new();
    for start in edges.keys() {
        // The way so far: each with the number of its next edge.
        let mut way: Vec<(&str, usize)> = vec![(start, 0)];
        while let Some((at, number)) = way.last_mut() {
            let at: &str = at;
            let next = edges.get(at).and_then(|names| names.get(*number)).and_then(|name| edges.get_key_value(name.as_str()));
            let more = edges.get(at).is_some_and(|names| *number < names.len());
            *number += 1;
            match next {
                _ if done.contains(at) || !more => {
                    done.insert(at);
                    way.pop();
                }
                Some((next, _)) => match way.iter().position(|(name, _)| name == next) {
                    Some(first) => circle(way[first..].iter().map(|(name, _)| *name).collect(), trees, problems),
                    None if !done.contains(next) => way.push((next, 0)),
                    None => {}
                },
                None => {}
            }
        }
    }
}

fn circle(mut names: Vec<&str>, trees: &BTreeMap<String, Node>, problems: &mut Problems) {
    // Begin with the first by name, so that the same circle reads the same from wherever it was found.
    let least = names.iter().enumerate().min_by_key(|(_, name)| **name).map_or(0, |(at, _)| at);
    names.rotate_left(least);
    let Some(first) = names.first().copied() else { return };
    let second = names.get(1).copied().unwrap_or(first);
    let span = trees.get(first).and_then(|node| mention(node, second));
    let shown: Vec<&str> = names.iter().copied().chain([first]).collect();
    let title = match names.len() {
        1 => format!("the segment `{first}` names itself"),
        _ => format!("segments name each other in a circle: {}", shown.join(" → ")),
    };
    problems.push(
        Problem::new(format!("campaigns/segments/{first}.yaml"), span, title)
            .label("the circle can be entered here")
            .help("write out in one of them what is meant, without naming the next"),
    );
}

/// Where a file names a segment.
fn mention(node: &Node, segment: &str) -> Option<Span> {
    match &node.value {
        Value::Map(entries) => entries.iter().find_map(|(key, value)| match value.text() {
            Some(text) if matches!(key.text.as_str(), "segment" | "among") && text == segment && node.get("title").is_none() => {
                Some(value.span)
            }
            Some(_) => None,
            None => mention(value, segment),
        }),
        Value::List(items) => items.iter().find_map(|item| mention(item, segment)),
        Value::Scalar { .. } => None,
    }
}
