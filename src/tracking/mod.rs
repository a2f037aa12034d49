//! Marks up a message with addresses that lead back to us, and reads what comes back.
//!
//! [`Tokens`] sign those addresses, each bound to its kind; [`mark_up()`] puts them in the place of `templates::marks`;
//! [`judge`] says whether a person or a machine came. `store::responses` keeps what comes back; [`Journal`] keeps hits on this machine while
//! the database is away.

pub mod journal;
mod in_addresses;
pub mod judge;
mod mark_up;
pub mod recorder;
mod stamps;
mod tokens;
pub mod utm;

pub use in_addresses::Addressed;
pub use journal::Journal;
pub use mark_up::{Form, MarkUp, Signed, mark_up};
pub use recorder::Recorder;
pub use tokens::{BadSigning, Click, Kind, Tokens};
pub use utm::Utm;
