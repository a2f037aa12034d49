//! The definition files: posthaste.yaml, campaigns, segments; read with positions, checked against all they name.

pub mod model;
pub use model::*;
