//! Who: the condition language of campaigns and segments (files.md §4), read into a [`Condition`].
//!
//! Pure: reading with positions, checking against what the workspace declares, and a plain evaluation in memory that the
//! databases are held against. `store::audience` compiles a condition to one bound SQL condition.

/// A checked condition over one customer.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    All(Vec<Condition>),
}

/// Tests on the properties of one event.
#[derive(Debug, Clone, PartialEq)]
pub struct PropertyTests {}
