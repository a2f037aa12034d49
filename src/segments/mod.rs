//! Who: the condition language of campaigns and segments (files.md §4), read into a [`Condition`].
//!
//! Pure: reading with positions, checking against what the workspace declares, and a plain evaluation in memory that the
//! databases are held against. `store::audience` compiles a condition to one bound SQL condition; both follow the rules
//! of [`values`] (what a stored value is taken for) and [`moment`] (which instants a window or a date means).

pub mod model;
pub mod moment;
pub mod person;
mod read;
pub mod values;

pub use model::*;
pub use moment::{Moment, ZoneInForce};
pub use person::Person;
pub use read::{check_event, read, read_properties, read_property};
