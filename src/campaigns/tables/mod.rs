//! The field tables of files.md: one for each kind of mapping.

pub mod campaign;
pub mod condition;
pub mod mapping;
pub mod message;
pub mod policy;
pub mod provider;
pub mod test;
pub mod webhooks;
pub mod workspace;

use super::fields::{Choice, Shape};

pub(super) const ANY_NUMBER: Shape = Shape::Whole { least: 0, most: u64::MAX };

pub static CHANNEL: Choice = Choice { what: "channel", words: &["email", "sms", "webhook"], later: &["letter", "call"] };
pub static CLASS: Choice = Choice { what: "class", words: &["advertising", "informational", "transactional"], later: &[] };
