//! Looking at a provider without sending anything: is it there, is the login right, what does it say of our account.

use crate::types::Time;
use std::future::Future;
use std::pin::Pin;

pub type Looking<'a> = Pin<Box<dyn Future<Output = Look> + Send + 'a>>;

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    pub state: LookState,
    /// In words for a person.
    pub says: String,
    /// What its clock showed.
    pub date: Option<Time>,
    /// Messages a second that it takes from us, where it says so.
    pub rate: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookState {
    /// It would take our messages.
    Fine,
    /// It would not: something must be changed, here or there.
    Wrong,
    /// It gave no answer, or none that says anything of our login.
    Silent,
}
