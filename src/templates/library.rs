//! All templates, partials, layouts and locales of a workspace.

use crate::diagnostics::{Files, Problem, Problems};
use std::collections::BTreeMap;

/// The languages of a workspace: what a file's suffix may be, and who reads what when the own language is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Languages {
    /// In the order of posthaste.yaml; the first is everybody's last resort.
    pub all: Vec<String>,
    pub fallback: BTreeMap<String, String>,
}

impl Languages {
    /// The language itself, its fallback (and that one's …), then all in order.
    pub fn chain(&self, own: Option<&str>) -> Vec<String> {
        let mut chain: Vec<String> = Vec::new();
        let mut next = own.map(str::to_string);
        while let Some(language) = next.filter(|language| !chain.contains(language)) {
            next = self.fallback.get(&language).cloned();
            chain.push(language);
        }
        for language in &self.all {
            if !chain.contains(language) {
                chain.push(language.clone())
            }
        }
        chain
    }
}

/// What one file `NAME[.LANGUAGE]` says.
#[derive(Debug, Clone, Default)]
pub(super) struct Variant {
    /// Path and text of the HTML part, with `{{…}}`.
    pub html: Option<(String, String)>,
    /// Path and text of the text part, or of an SMS.
    pub text: Option<(String, String)>,
}

/// Templates by name and language (`""`: for all), ready to be compiled into messages.
#[derive(Debug, Clone, Default)]
pub struct Library {
    pub(super) templates: BTreeMap<String, BTreeMap<String, Variant>>,
}

impl Library {
    /// Reads `templates/`; problems of all files come at once, and a file with problems is left out.
    pub fn read(files: &Files, languages: &Languages, problems: &mut Problems) -> Library {
        let mut library = Library::default();
        for (path, bytes) in files.under("templates") {
            let inside = &path["templates/".len()..];
            let Some((stem, is_text)) = inside
                .strip_suffix(".txt.hbs")
                .map(|stem| (stem, true))
                .or_else(|| inside.strip_suffix(".hbs").or_else(|| inside.strip_suffix(".mjml")).map(|stem| (stem, false)))
                .filter(|(stem, _)| !["partials/", "layouts/", "locales/"].iter().any(|folder| stem.starts_with(folder)))
            else {
                continue;
            };
            let (name, language) = match stem.rsplit_once('.') {
                Some((name, language)) if languages.all.iter().any(|known| known == language) => (name, language),
                _ => (stem, ""),
            };
            let Ok(text) = std::str::from_utf8(bytes) else {
                problems.push(Problem::new(path, None, "this file is not UTF-8 text").help("save it as UTF-8"));
                continue;
            };
            let variant = library.templates.entry(name.to_string()).or_default().entry(language.to_string()).or_default();
            let part = if is_text { &mut variant.text } else { &mut variant.html };
            *part = Some((path.to_string(), text.to_string()));
        }
        library
    }

    /// Names of the templates, for `did you mean`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.templates.keys().map(String::as_str)
    }
}
