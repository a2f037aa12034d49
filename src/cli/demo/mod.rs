//! `posthaste demo`: the whole story on sample people, with the built-in catcher.

pub mod crowd;
pub mod people;
