//! Which column of a file is which field: saved mappings (mappings/NAME.yaml, files.md §2) and `--map` on the command line.

use super::dates::Pattern;
use crate::diagnostics::{Problem, Problems, nearest};
use crate::yaml::Node;
use std::collections::BTreeMap;

/// What a file of an import holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Customers,
    Events,
    Consents,
    Suppressions,
}

impl Kind {
    pub const ALL: &'static [Kind] = &[Kind::Customers, Kind::Events, Kind::Consents, Kind::Suppressions];
    pub const fn word(self) -> &'static str {
        match self {
            Kind::Customers => "customers",
            Kind::Events => "events",
            Kind::Consents => "consents",
            Kind::Suppressions => "suppressions",
        }
    }
    pub fn from_word(word: &str) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|kind| kind.word() == word)
    }
}

/// How the columns of a file are read.
#[derive(Debug, Clone, Default)]
pub struct Mapping {
    /// Column as written in the file → field; an empty field leaves the column out.
    pub columns: BTreeMap<String, String>,
    /// True for saved mappings: columns that are not named are left out. Else they keep their own names.
    pub only_named: bool,
    /// The pattern of dates besides ISO 8601.
    pub dates: Option<Pattern>,
    /// What means true, besides `true`, `yes` and `1`; anything else means false where true and false are wanted.
    pub true_is: Vec<String>,
    /// Field → value for what the file lacks.
    pub set: BTreeMap<String, String>,
}

impl Mapping {
    /// Adds `Column=field` of `--map`; an empty field leaves the column out.
    pub fn add(&mut self, written: &str) -> Result<(), String> {
        let (column, field) = written.rsplit_once('=').ok_or_else(|| {
            format!("`--map {written}` is neither a saved mapping nor Column=field; write for example --map \"E-mail=email\"")
        })?;
        self.columns.insert(column.trim().to_string(), field.trim().to_string());
        Ok(())
    }

    /// Reads the tree of mappings/NAME.yaml; `None` when it has problems.
    pub fn read(file: &str, node: &Node, problems: &mut Problems) -> Option<(Kind, Mapping)> {
        const KEYS: &[&str] = &["mapping", "for", "columns", "dates", "true_is", "set"];
        let before = problems.count();
        let Some(entries) = node.map() else {
            problems.push(
                Problem::new(file, node.span, "a mapping file holds keys").help("write `mapping: NAME`, `for: customers` and `columns:`"),
            );
            return None;
        };
        let mut mapping = Mapping { only_named: true, ..Mapping::default() };
        let mut kind = None;
        for (key, value) in entries {
            match key.text.as_str() {
                "mapping" => named_like_file(file, value, problems),
                "for" => {
                    kind = value.text().and_then(Kind::from_word);
                    if kind.is_none() {
                        problems.push(
                            Problem::new(file, value.span, "`for` says what the files hold")
                                .label("is none of customers, events, consents, suppressions"),
                        );
                    }
                }
                "columns" => mapping.columns = texts(file, "columns", value, problems),
                "set" => mapping.set = texts(file, "set", value, problems),
                "dates" => match Pattern::read(value.text().unwrap_or("")) {
                    Ok(pattern) => mapping.dates = Some(pattern),
                    Err(why) => problems.push(Problem::new(file, value.span, why)),
                },
                "true_is" => match value.list() {
                    Some(list) => mapping.true_is = list.iter().filter_map(Node::text).map(str::to_lowercase).collect(),
                    None => problems.push(Problem::new(file, value.span, "`true_is` is a list, for example [ \"yes\", \"1\" ]")),
                },
                other => {
                    let mut problem = Problem::new(file, key.span, format!("`{other}` is no key of a mapping"));
                    if let Some(near) = nearest(other, KEYS.iter().copied()) {
                        problem = problem.help(format!("did you mean `{near}`?"));
                    }
                    problems.push(problem);
                }
            }
        }
        for needed in ["mapping", "for", "columns"] {
            if node.get(needed).is_none() {
                problems.push(Problem::new(file, None, format!("the key `{needed}` is missing")));
            }
        }
        (problems.count() == before).then_some((kind?, mapping))
    }
}

fn named_like_file(file: &str, value: &Node, problems: &mut Problems) {
    let stem = file.rsplit('/').next().and_then(|name| name.strip_suffix(".yaml"));
    if value.text() != stem {
        problems.push(
            Problem::new(file, value.span, "a mapping has the name of its file").label(format!("the file says `{}`", stem.unwrap_or(file))),
        );
    }
}

fn texts(file: &str, key: &str, node: &Node, problems: &mut Problems) -> BTreeMap<String, String> {
    let Some(entries) = node.map() else {
        problems.push(Problem::new(file, node.span, format!("`{key}` is a mapping, for example {{ \"E-mail\": email }}")));
        return BTreeMap::new();
    };
    let mut all = BTreeMap::new();
    for (name, value) in entries {
        match value.text() {
            Some(text) => drop(all.insert(name.text.clone(), text.to_string())),
            None => problems.push(Problem::new(file, value.span, format!("`{}` needs one plain value", name.text))),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_mapping_is_read_and_its_mistakes_are_shown_together() {
        let mut problems = Problems::default();
        let text = "mapping: crm\nfor: customers\ncolumns: { \"E-mail\": email, \"Дата рождения\": birthday }\ndates: \"DD.MM.YYYY\"\ntrue_is: [ \"да\", \"+\" ]\nset: { country: UA }\n";
        let node = crate::yaml::read("mappings/crm.yaml", text, &mut problems).unwrap();
        let (kind, mapping) = Mapping::read("mappings/crm.yaml", &node, &mut problems).unwrap();
        assert_eq!((kind, mapping.columns["E-mail"].as_str(), mapping.set["country"].as_str()), (Kind::Customers, "email", "UA"));
        assert!(mapping.only_named && problems.is_empty());

        let node =
            crate::yaml::read("mappings/crm.yaml", "mapping: other\nfor: people\ncolumn: { a: b }\ndates: soon\n", &mut problems).unwrap();
        assert!(Mapping::read("mappings/crm.yaml", &node, &mut problems).is_none());
        assert_eq!(problems.count(), 5);
    }
}
