//! Email: the message as bytes, and the providers that take it.
//!
//! A message is a complete MIME, whoever takes it: it is what is signed, shown and kept. Providers that take MIME get it as it is; those that
//! want fields get them from our own MIME (`parts`), so that a relay pays nothing for them, and no second way of writing a letter can
//! say something else than the first.

pub mod address;
pub mod brevo;
pub mod dkim;
pub mod encode;
pub mod known;
pub mod mailgun;
pub mod mime;
mod parts;
pub mod postmark;
pub mod phrases;
pub mod reply;
pub mod sendgrid;
pub mod ses;
mod sigv4;
pub mod smtp;
pub mod sparkpost;

pub use address::Address;

use super::{Body, Outcome, Outgoing};
use crate::types::{Channel, Failure};

/// A letter on its way to a provider's HTTP interface.
struct Parcel<'a> {
    /// Where bounces go.
    from: &'a str,
    to: Address,
    mime: &'a [u8],
}

impl<'a> Parcel<'a> {
    fn of(outgoing: &'a Outgoing) -> Result<Parcel<'a>, Outcome> {
        let Body::Email { from, to, mime } = &outgoing.body else { return Err(outgoing.body.strange(Channel::Email)) };
        let to = Address::read("the customer's address", to).map_err(|error| refused(Failure::UnsafeValue, error.to_string()))?;
        Ok(Parcel { from, to, mime })
    }
}

fn refused(class: Failure, reply: String) -> Outcome {
    Outcome::Refused { class, suppress: false, reply }
}
