//! The definition files: posthaste.yaml, campaigns, segments; read with positions, checked against all they name.

pub mod model;
pub use model::*;

#[derive(Debug)]
pub struct Definitions {
    pub workspace: Workspace,
    pub segments: std::collections::BTreeMap<String, Segment>,
    pub campaigns: std::collections::BTreeMap<String, Campaign>,
}
pub fn read(_: &crate::diagnostics::Files) -> (Option<Definitions>, crate::diagnostics::Problems) {
    unimplemented!()
}
