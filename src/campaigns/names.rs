//! What the workspace declares: the names that files may use. What could not be read is unknown, and nothing is held against it.

use super::fields::Kind;
use crate::diagnostics::Files;
use crate::literals::ValueType;
use crate::literals::codes::is_language;
use crate::segments::{Catalog, OwnField};
use crate::yaml::Node;
use std::collections::{BTreeMap, BTreeSet};

/// Declared names by kind.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// `None`: unknown.
    pub languages: Option<Vec<String>>,
    pub currency: Option<String>,
    /// A kind that is not here is unknown, or everything is allowed.
    sets: BTreeMap<Kind, BTreeSet<String>>,
    attributes: Option<BTreeMap<String, ValueType>>,
    catalogs: BTreeMap<String, Catalog>,
}

/// The segment that needs no file.
pub const EVERYONE: &str = "everyone";

impl Names {
    /// What posthaste.yaml says at first sight, before its values are checked, and the names of the other files.
    pub fn first(files: &Files, workspace: Option<&Node>) -> Names {
        let mut names = Names::default();
        let segments = files.under("campaigns/segments").filter_map(|(path, _)| file_key(path, "campaigns/segments/"));
        names.sets.insert(Kind::Segment, segments.chain([EVERYONE]).map(str::to_string).collect());
        let campaigns = files.under("campaigns").filter_map(|(path, _)| file_key(path, "campaigns/"));
        names.sets.insert(Kind::Campaign, campaigns.map(str::to_string).collect());
        let Some(node) = workspace else { return names };
        names.languages =
            node.get("languages").and_then(Node::list).map(texts).filter(|all| !all.is_empty() && all.iter().all(|code| is_language(code)));
        names.currency =
            node.get("currency").and_then(Node::text).filter(|code| crate::literals::minor_digits(code).is_some()).map(str::to_string);
        let declaring = [
            (Kind::Topic, "topics"),
            (Kind::Identity, "identities"),
            (Kind::Catalog, "catalogs"),
            (Kind::Coupon, "coupons"),
            (Kind::Event, "events"),
        ];
        for (kind, key) in declaring {
            match node.get(key) {
                Some(value) => {
                    drop(value.map().map(|entries| names.sets.insert(kind, entries.iter().map(|(key, _)| key.text.clone()).collect())))
                }
                // Catalogs and coupons that nobody declares are none; events are then all allowed; the others are missing, which is said already.
                None if matches!(kind, Kind::Catalog | Kind::Coupon) => drop(names.sets.insert(kind, BTreeSet::new())),
                None => {}
            }
        }
        let categories = node.get("categories");
        names.sets.insert(Kind::Category, categories.and_then(Node::list).map(texts).unwrap_or_default().into_iter().collect());
        if categories.is_some_and(|node| node.list().is_none()) {
            names.sets.remove(&Kind::Category);
        }
        names
    }

    /// The types of attributes and catalogs, once they are read. `None`: all names are allowed.
    pub fn with_attributes(mut self, attributes: Option<BTreeMap<String, ValueType>>, catalogs: BTreeMap<String, Catalog>) -> Names {
        self.attributes = attributes;
        self.catalogs = catalogs;
        self
    }

    /// All names of a kind that are known.
    pub fn all(&self, kind: Kind) -> BTreeSet<String> {
        self.sets.get(&kind).cloned().unwrap_or_default()
    }

    /// The known names where `name` is none of them; `None` when it is, or when nothing can be said.
    pub fn missing(&self, kind: Kind, name: &str) -> Option<Vec<&str>> {
        if kind == Kind::Attribute {
            return self.missing_attribute(name);
        }
        let known = self.sets.get(&kind)?;
        if known.contains(name) { None } else { Some(known.iter().map(String::as_str).collect()) }
    }

    fn missing_attribute(&self, path: &str) -> Option<Vec<&str>> {
        let declared = self.attributes.as_ref()?;
        let own = OwnField::ALL.iter().map(|(_, word)| *word);
        let mut steps = path.split('.');
        let first = steps.next().unwrap_or_default();
        if own.clone().any(|word| word == path) {
            return None;
        }
        let Some(mut at) = declared.get(first) else { return Some(declared.keys().map(String::as_str).chain(own).collect()) };
        for step in steps {
            let fields = match at {
                ValueType::Nested(fields) => fields,
                ValueType::Catalog(name) => &self.catalogs.get(name)?.fields,
                _ => return Some(Vec::new()),
            };
            match fields.get(step) {
                Some(next) => at = next,
                None => return Some(fields.keys().map(String::as_str).collect()),
            }
        }
        None
    }
}

fn texts(items: &[Node]) -> Vec<String> {
    items.iter().filter_map(Node::text).map(str::to_string).collect()
}

/// `campaigns/spring-sale.yaml` → `spring-sale`; `None` for what is deeper or no YAML.
pub fn file_key<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    path.strip_prefix(folder)?.strip_suffix(".yaml").filter(|key| !key.contains('/'))
}
