//! The numbers, and that they add up.
//!
//! [`gather()`] reads the tables and makes one [`model::Report`]; the page, the terminal's table, JSON and CSV are made from that value
//! alone. Test runs are never counted.

pub mod model;
mod gather;
mod lifts;
pub mod plots;
pub mod page;
mod table;
mod rows;
mod overview;
pub mod selection;
pub mod why;

pub use gather::{HELD_OUT, Question, gather};
pub use lifts::ALL;
pub use overview::{overview_json, overview_table};
pub use rows::rows;
pub use table::table;
