//! Mail that comes back: bounces, complaints, answers, wishes to be left out.
//!
//! ```text
//! listener   SMTP or LMTP, only for our own domains ┐
//! mailbox    IMAP, for those without an MX          ┴→ store::inbound, once and durably, then acknowledged
//! process    taken from there: mail::read → whom → store::responses, in one transaction; then settled
//! forward    what people wrote, to a person
//! ```
//!
//! A crash between two of these steps loses nothing, and doubles nothing but a forwarded letter: what a mail leads to has a key made of the
//! mail. Nothing but a token of ours (return path, Message-ID, unsubscribe link) says whom a mail concerns; without a good one it changes nothing.

pub mod forward;
pub mod listener;
pub mod mail;
pub mod mailbox;
pub mod process;
mod session;
pub mod tls;
pub mod ways;
mod whom;

pub use process::Processor;
pub use ways::Ways;
