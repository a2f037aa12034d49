//! Looks at everything on which sending depends and nobody sees: providers and their logins, DNS, clocks, the database, disk space. Sends nothing.
//!
//! Each [`Finding`] says in plain English what is so, and what to change. What could not be asked is told as such and never taken for fine.

mod dns;
mod domains;
mod machine;
mod providers;

pub use dns::Dns;
pub use machine::space;

use crate::campaigns::Workspace;
use crate::clock::Clock;
use crate::config::Secrets;
use crate::store::Store;
use serde::Serialize;
use std::path::Path;

/// How it stands with one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Fine,
    /// Works, and could be better.
    Note,
    /// Could not be asked.
    Silent,
    /// Must be changed.
    Wrong,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub state: State,
    /// What was looked at: `provider relay`, `mail.shop.example SPF`.
    pub about: String,
    pub says: String,
    /// What to change.
    pub change: Option<String>,
}

impl Finding {
    fn new(state: State, about: impl Into<String>, says: impl Into<String>, change: Option<String>) -> Finding {
        Finding { state, about: about.into(), says: says.into(), change }
    }
    pub fn fine(about: impl Into<String>, says: impl Into<String>) -> Finding {
        Finding::new(State::Fine, about, says, None)
    }
    pub fn note(about: impl Into<String>, says: impl Into<String>, change: impl Into<String>) -> Finding {
        Finding::new(State::Note, about, says, Some(change.into()))
    }
    pub fn silent(about: impl Into<String>, says: impl Into<String>, change: impl Into<String>) -> Finding {
        Finding::new(State::Silent, about, says, Some(change.into()))
    }
    pub fn wrong(about: impl Into<String>, says: impl Into<String>, change: impl Into<String>) -> Finding {
        Finding::new(State::Wrong, about, says, Some(change.into()))
    }
}

/// What is looked at.
pub struct Patient<'a> {
    pub workspace: &'a Workspace,
    pub secrets: &'a Secrets,
    pub store: &'a Store,
    pub clock: &'a Clock,
    /// Where this machine keeps its files.
    pub folder: &'a Path,
    pub dns: &'a Dns,
}

impl Patient<'_> {
    /// Everything, in the order in which it is looked at.
    pub async fn examine(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        findings.extend(machine::database(self.store, self.clock).await);
        findings.push(machine::disk(self.folder));
        findings.extend(providers::all(self).await);
        findings.extend(domains::all(self).await);
        findings
    }
}
