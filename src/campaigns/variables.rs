//! What a template of a campaign may read (files.md §5), and what was probably meant by what it may not.

use super::fields::quoted;
use super::model::*;
use crate::diagnostics::nearest;
use crate::literals::ValueType;
use crate::segments::OwnField;
use std::collections::{BTreeMap, BTreeSet};

/// A variable that nobody has.
pub struct Unknown {
    pub title: String,
    pub label: String,
    pub help: Vec<String>,
}

/// The roots of one message's templates.
pub struct Variables<'a> {
    workspace: &'a Workspace,
    content: &'a BTreeMap<String, Content>,
    coupon: Option<&'a str>,
    file: String,
    /// Names given by `as:` in the audience and its segments.
    saved: BTreeSet<String>,
    /// The event that starts the campaign.
    event: Option<String>,
}

const SYSTEM: [(&str, &[&str]); 4] = [
    ("campaign", &["key", "title"]),
    ("run", &["date", "number"]),
    ("message", &["step", "variant", "channel"]),
    ("identity", &["postal_address"]),
];
const ADDRESSES: [&str; 4] = ["unsubscribe_url", "preferences_url", "view_url", "confirm_url"];

impl<'a> Variables<'a> {
    pub fn new(workspace: &'a Workspace, segments: &BTreeMap<String, Segment>, campaign: &Campaign, message: &'a Message) -> Self {
        Variables {
            workspace,
            content: &message.content,
            coupon: message.coupon.as_deref(),
            file: format!("campaigns/{}.yaml", campaign.key),
            saved: saved(segments, campaign),
            event: campaign.schedule.when.as_ref().and_then(|trigger| trigger.event().map(str::to_string)),
        }
    }

    /// Whether a path (as `templates::Need` writes it) can be read.
    pub fn check(&self, path: &str) -> Result<(), Unknown> {
        let steps: Vec<&str> = path.split('.').flat_map(|step| step.split_inclusive("[]")).flat_map(list_step).collect();
        let Some((root, rest)) = steps.split_first() else { return Ok(()) };
        if let Some(catalog) = root.strip_prefix("find:") {
            return self.of_catalog(path, catalog, rest);
        }
        if ADDRESSES.contains(root) || self.saved.contains(*root) || OwnField::from_word(root).is_some() {
            return Ok(());
        }
        if *root == "content" {
            return self.of_content(path, rest);
        }
        if *root == "event" {
            return self.of_event(path, rest);
        }
        if *root == "coupon" {
            let Some(coupon) = self.coupon.as_ref().and_then(|coupon| self.workspace.coupons.get(*coupon)) else {
                let help = "name one in the message: coupon: NAME, from `coupons` of posthaste.yaml";
                return Err(self.unknown(path, "this message draws no coupon", help));
            };
            return match rest.first() {
                Some(&"code") => Ok(()),
                Some(&"valid_until") if coupon.valid.is_some() => Ok(()),
                Some(&"valid_until") => {
                    Err(self.unknown(path, "this coupon is valid for ever", "add `valid: 14 days` to it in posthaste.yaml"))
                }
                _ => Err(self.unknown(path, "not known here", "`coupon` has `code` and `valid_until`")),
            };
        }
        if let Some((_, fields)) = SYSTEM.iter().find(|(name, _)| name == root) {
            return match rest.first() {
                Some(field) if !fields.contains(field) => {
                    Err(self.unknown(path, "not known here", &format!("`{root}` has {}", quoted(fields.iter().copied()))))
                }
                _ => Ok(()),
            };
        }
        self.of_customer(path, root, rest)
    }

    fn of_event(&self, path: &str, rest: &[&str]) -> Result<(), Unknown> {
        let Some(event) = &self.event else {
            let help = "an event starts a campaign with `schedule: { when: { event: NAME } }`";
            return Err(self.unknown(path, "only a campaign that starts by an event has one", help));
        };
        let Some(properties) = self.workspace.events.as_ref().and_then(|events| events.get(event)) else { return Ok(()) };
        let Some((first, rest)) = rest.split_first().filter(|(first, _)| **first != "at") else { return Ok(()) };
        let found = field(properties, first).and_then(|of_first| self.walk(of_first, rest));
        found.map_err(|near| Unknown {
            title: format!("the event `{event}` has no `{}`", shown(path.trim_start_matches("event."))),
            label: "read here".into(),
            help: vec![match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("its properties are {}", quoted(properties.keys().map(String::as_str))),
            }],
        })
    }

    fn of_customer(&self, path: &str, root: &str, rest: &[&str]) -> Result<(), Unknown> {
        let Some(attributes) = &self.workspace.attributes else { return Ok(()) };
        let found = attributes.get(root).map(|of_root| self.walk(of_root, rest));
        let own = OwnField::ALL.iter().map(|(_, word)| *word);
        let nearest = match found {
            Some(Ok(())) => return Ok(()),
            Some(Err(near)) => near,
            None if self.content.contains_key(root) => Some(format!("content.{root}")),
            None => nearest(root, attributes.keys().map(String::as_str).chain(own).chain(ADDRESSES)).map(str::to_string),
        };
        let mut unknown = Unknown { title: format!("no customer has `{}`", shown(path)), label: "read here".into(), help: Vec::new() };
        unknown.help.push(match nearest {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("declare it in `attributes` of posthaste.yaml, or give it under `content` of {}", self.file),
        });
        Err(unknown)
    }

    /// `Err`: what was probably meant, if anything.
    fn walk(&self, mut at: &'a ValueType, steps: &[&str]) -> Result<(), Option<String>> {
        for step in steps {
            at = match at {
                ValueType::List(item) if *step == "[]" || step.bytes().all(|byte| byte.is_ascii_digit()) => item,
                ValueType::Nested(fields) => field(fields, step)?,
                ValueType::Catalog(name) => match self.workspace.catalogs.get(name) {
                    Some(catalog) => field(&catalog.fields, step)?,
                    None => return Ok(()),
                },
                // Going through the items of what may be no list is left to the rendering.
                _ if *step == "[]" => return Ok(()),
                _ => return Err(None),
            };
        }
        Ok(())
    }

    fn of_catalog(&self, path: &str, catalog: &str, rest: &[&str]) -> Result<(), Unknown> {
        match self.workspace.catalogs.get(catalog) {
            None => {
                let help = match nearest(catalog, self.workspace.catalogs.keys().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "declare it in `catalogs` of posthaste.yaml".to_string(),
                };
                Err(Unknown { title: format!("there is no catalog `{catalog}`"), label: "used here".into(), help: vec![help] })
            }
            Some(known) => match rest.first() {
                Some(step) if !known.fields.contains_key(*step) => {
                    let help = match nearest(step, known.fields.keys().map(String::as_str)) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("its fields are {}", quoted(known.fields.keys().map(String::as_str))),
                    };
                    Err(Unknown { title: format!("the catalog `{catalog}` has no `{step}`"), label: "read here".into(), help: vec![help] })
                }
                _ => Ok(()),
            },
        }
        .map_err(|unknown| Unknown { label: if unknown.label.is_empty() { path.to_string() } else { unknown.label }, ..unknown })
    }

    fn of_content(&self, path: &str, rest: &[&str]) -> Result<(), Unknown> {
        let Some((first, rest)) = rest.split_first() else { return Ok(()) };
        let found = match self.content.get(*first) {
            Some(content) => inside_content(content, rest),
            None => Err(nearest(first, self.content.keys().map(String::as_str)).map(|near| format!("content.{near}"))),
        };
        found.map_err(|near| Unknown {
            title: format!("`{}` is not given", shown(path)),
            label: format!("{} has no such content", self.file),
            help: vec![match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("add it under `content` of the message, like content: {{ {first}: … }}"),
            }],
        })
    }

    fn unknown(&self, path: &str, label: &str, help: &str) -> Unknown {
        Unknown { title: format!("`{}` cannot be read here", shown(path)), label: label.into(), help: vec![help.into()] }
    }
}

/// `items[]` is the two steps `items` and `[]`.
fn list_step(step: &str) -> impl Iterator<Item = &str> {
    match step.strip_suffix("[]") {
        Some("") | None => vec![step],
        Some(name) => vec![name, "[]"],
    }
    .into_iter()
}

fn shown(path: &str) -> String {
    path.replace("[]", "")
}

fn field<'t>(fields: &'t BTreeMap<String, ValueType>, step: &str) -> Result<&'t ValueType, Option<String>> {
    fields.get(step).ok_or_else(|| nearest(step, fields.keys().map(String::as_str)).map(str::to_string))
}

fn inside_content(content: &Content, steps: &[&str]) -> Result<(), Option<String>> {
    let Some((step, rest)) = steps.split_first() else { return Ok(()) };
    match content {
        Content::List(items) if *step == "[]" => items.iter().try_for_each(|item| inside_content(item, rest)),
        Content::List(items) => step.parse().ok().and_then(|at: usize| items.get(at)).map_or(Err(None), |item| inside_content(item, rest)),
        Content::Map(fields) if *step == "[]" => fields.values().try_for_each(|field| inside_content(field, rest)),
        Content::Map(fields) => match fields.get(*step) {
            Some(field) => inside_content(field, rest),
            None => Err(nearest(step, fields.keys().map(String::as_str)).map(str::to_string)),
        },
        Content::Value(_) | Content::Words(_) => Err(None),
    }
}

fn saved(segments: &BTreeMap<String, Segment>, campaign: &Campaign) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut open: Vec<&str> = campaign.audience.segment.iter().map(String::as_str).collect();
    let mut conditions: Vec<&crate::segments::Condition> = campaign.audience.condition.iter().collect();
    loop {
        while let Some(condition) = conditions.pop() {
            names.extend(condition.saved().into_iter().map(|(name, _)| name.to_string()));
            open.extend(condition.segments().iter().filter_map(|name| Some(segments.get_key_value(name)?.0.as_str())));
        }
        let Some(key) = open.pop() else { return names };
        if let Some((key, segment)) = segments.get_key_value(key)
            && seen.insert(key.as_str())
        {
            conditions.push(&segment.condition);
        }
    }
}
