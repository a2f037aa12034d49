//! Looking at a provider without sending anything: is it there, is the login right, what does it say of our account, and has it taken a message of which
//! nobody heard the answer.

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

/// A message that a provider may have taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sought {
    /// What it was given to hand back ([`super::Outgoing::reference`]).
    pub reference: String,
    pub to: String,
    /// It was handed over in this time.
    pub from: Time,
    pub until: Time,
    /// Numbers that the provider gave other messages to this person.
    pub known: Vec<String>,
}

/// What a provider says of a message that is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It has it, under this number.
    Taken(String),
    /// It knows nothing of it, so far: its own lists may be some minutes behind.
    NotThere,
    /// It gave no answer, or none that says it.
    Silent(String),
    /// It has no list that can be searched.
    CannotBeAsked,
}

pub type Searching<'a> = Pin<Box<dyn Future<Output = Found> + Send + 'a>>;
