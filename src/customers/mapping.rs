//! Which column of a file is which field: saved mappings (mappings/NAME.yaml, files.md §2) and `--map` on the command line.

use super::dates::Pattern;
use crate::campaigns;
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

    /// A saved and checked mapping; the error says what cannot be used.
    pub fn of(saved: &campaigns::Mapping) -> Result<(Kind, Mapping), String> {
        let kind = Kind::from_word(&saved.kind)
            .ok_or_else(|| format!("mapping `{}` is for `{}`, which is not imported", saved.key, saved.kind))?;
        let dates = saved.dates.as_deref().map(Pattern::read).transpose()?;
        let true_is = saved.true_is.iter().map(|text| text.to_lowercase()).collect();
        Ok((kind, Mapping { columns: saved.columns.clone(), only_named: true, dates, true_is, set: saved.set.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_the_command_line_may_hold_equals_signs_and_leave_out() {
        let mut mapping = Mapping::default();
        mapping.add("a=b=email").unwrap();
        mapping.add("Комментарий=").unwrap();
        assert!(mapping.add("crm").is_err());
        assert_eq!((mapping.columns["a=b"].as_str(), mapping.columns["Комментарий"].as_str()), ("email", ""));
    }
}
