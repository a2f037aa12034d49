//! A person is erased: nothing names them any more, and they are not written to again. What is kept for a time only goes in time.

mod export;
mod hand_over;
mod keeping;
mod list;
mod person;
mod processes;
mod scan;
mod story;
