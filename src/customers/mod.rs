//! People: how their addresses are read, and how files of people, events, consents and suppressions come in.
//!
//! What is read from outside is checked here once, into types that cannot be wrong ([`email::EmailAddress`], [`phone::PhoneNumber`]).
//! Writing is left to `store`; whether a customer may be written to is decided by `policy`.

pub mod email;
mod encoding;
pub mod files;
pub mod keys;
pub mod phone;
pub mod reference;
pub mod sheets;
pub mod places;
pub mod dates;
pub mod mapping;
pub mod values;
pub mod import;
pub mod signup;
