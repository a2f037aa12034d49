//! The definition files: posthaste.yaml, campaigns, segments; read with positions, checked against all they name.
//!
//! [`read()`] takes the files of a folder or of an applied version, and gives either [`Definitions`] in which every name exists and
//! every unit is read, or all problems of all files. The keys stand in field tables (`tables`), from which [`schemas`] come too.

mod arms;
mod audience;
mod campaign;
mod context;
mod coupons;
mod fields;
pub mod forms;
mod inbound;
mod mapping;
mod message;
pub mod model;
mod names;
mod part;
mod policy;
mod read;
mod retention;
mod rows;
mod scalars;
mod schedule;
mod schema;
mod segment;
mod shapes;
mod tables;
mod tests;
mod timing;
mod trigger;
mod variables;
mod warm_up;
mod words_of_messages;
mod workspace;

pub use mapping::Mapping;
pub use model::*;
pub use read::{Definitions, in_the_past, read, read_version, read_workspace};
pub use schema::schemas;
pub use tables::provider::is_kind;
pub use trigger::{Trigger, response};
