//! The numbers, and that they add up.

pub mod model;
pub mod plots;
pub mod page;
