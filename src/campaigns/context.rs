//! What a campaign or segment file is checked against while it is read.

use super::fields::Kind;
use super::model::Workspace;
use super::names::Names;
use super::shapes::Checker;
use crate::diagnostics::{Files, Problem, Problems, Span};
use crate::segments::{self, Condition, Known};
use crate::templates::Library;
use crate::yaml::Node;
use std::collections::BTreeSet;

/// Names that conditions may use, gathered once for all files.
pub struct Sets {
    topics: BTreeSet<String>,
    categories: BTreeSet<String>,
    segments: BTreeSet<String>,
    campaigns: BTreeSet<String>,
}

impl Sets {
    pub fn new(names: &Names) -> Sets {
        Sets {
            topics: names.all(Kind::Topic),
            categories: names.all(Kind::Category),
            segments: names.all(Kind::Segment),
            campaigns: names.all(Kind::Campaign),
        }
    }

    pub fn known<'a>(&'a self, workspace: &'a Workspace) -> Known<'a> {
        Known {
            zone: workspace.zone,
            currency: &workspace.currency,
            rates: &workspace.rates,
            attributes: workspace.attributes.as_ref(),
            events: workspace.events.as_ref(),
            catalogs: &workspace.catalogs,
            topics: &self.topics,
            categories: &self.categories,
            segments: &self.segments,
            campaigns: &self.campaigns,
        }
    }
}

/// One file under reading.
pub struct Context<'a> {
    pub file: &'a str,
    pub files: &'a Files,
    pub workspace: &'a Workspace,
    pub names: &'a Names,
    pub known: &'a Known<'a>,
    pub library: &'a Library,
    pub problems: &'a mut Problems,
}

impl Context<'_> {
    pub fn problem(&mut self, span: Span, title: impl Into<String>, label: impl Into<String>, help: impl Into<String>) {
        self.problems.push(Problem::new(self.file, span, title).label(label).help(help));
    }

    pub fn checker(&mut self) -> Checker<'_> {
        Checker { file: self.file, names: self.names, problems: self.problems }
    }

    /// A condition; `None` when it has problems.
    pub fn condition(&mut self, node: &Node) -> Option<Condition> {
        segments::read(self.file, node, self.known, self.problems)
    }
}
