//! Who: the condition language of campaigns and segments (files.md §4), read into a [`Condition`].
//!
//! Pure: reading with positions, checking against what the workspace declares, and a plain evaluation in memory that the
//! databases are held against. `store::audience` compiles a condition to one bound SQL condition; both follow the rules
//! of [`values`] (what a stored value is taken for) and [`moment`] (which instants a window or a date means).

mod evaluate;
mod explain;
pub mod model;
pub mod moment;
pub mod person;
mod read;
pub mod values;
mod words;

#[cfg(test)]
mod cases;

pub use evaluate::{DEEPEST, evaluate, properties_hold, response_of};
pub use explain::{Explanation, explain, outline};
pub use model::*;
pub use moment::{Moment, Samples, ZoneInForce};
pub use person::Person;
pub use read::{check_event, read, read_date_attribute, read_properties, read_property};

use crate::experiments::{Purpose, draw};
use crate::literals::Share;

/// Whether a customer is in a sample: the same draw gives the same people everywhere.
pub fn is_drawn(seed: &str, name: &str, draw_key: &str, share: Share) -> bool {
    draw(seed, Purpose::Sample, name, None, draw_key).is_within(share)
}
