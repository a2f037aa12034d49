//! Which tags and attributes MJML knows, and where they may stand. mrml accepts anything in silence.
use super::expand::Expanded;
use crate::diagnostics::Problems;

pub(super) fn check(_source: &Expanded, _problems: &mut Problems) {}
