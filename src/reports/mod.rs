//! The numbers, and that they add up.
