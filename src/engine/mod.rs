//! Turns the stages until none is due, and stops them gently; on a virtual clock it is `posthaste test`.

pub mod expectations;
