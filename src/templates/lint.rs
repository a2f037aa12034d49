//! What a message must have and should not have (standards.md §9), each with its place.
use super::expand::Expanded;
use super::expand::Form;
use super::message::{Fault, MessageTemplate};
use crate::diagnostics::Problems;
use crate::types::Class;

pub(super) fn markup(_source: &Expanded, _form: Form, _problems: &mut Problems) {}
pub(super) fn message(_message: &MessageTemplate, _class: Class) -> Vec<Fault> {
    Vec::new()
}
