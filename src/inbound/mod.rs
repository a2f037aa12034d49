//! What comes back to us by other ways than our own pages: mail that is a bounce, a complaint, an answer.

pub mod mail;
