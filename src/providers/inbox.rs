//! What a provider tells over the line on which we send, and who keeps it. Providers that tell it by HTTP are none of this.

use std::future::Future;
use std::pin::Pin;

/// Something that a provider has told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// What became of a message.
    Receipt(Receipt),
    /// A person wrote.
    Text(Text),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The provider's number of the message, in the form in which [`super::Outcome::Accepted`] gave it.
    pub id: String,
    pub state: ReceiptState,
    /// The provider's own code of what went wrong.
    pub error: Option<String>,
    /// The number that the message went to.
    pub to: String,
    /// As it came.
    pub words: String,
}

/// States of SMPP 3.4 §5.2.28.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReceiptState {
    EnRoute,
    Delivered,
    Expired,
    Deleted,
    Undeliverable,
    Accepted,
    Unknown,
    Rejected,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    pub from: String,
    pub to: String,
    pub text: String,
    /// Of a text in parts: what they have in common, how many there are, and which one this is.
    pub part: Option<(u16, u8, u8)>,
}

/// `true`: it is stored for good. Otherwise the provider is asked to tell it again.
pub type Taking<'a> = Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

/// Keeps what providers tell. The same may come twice, and a receipt before the answer to the message it is about.
pub trait Inbox: Send + Sync {
    fn take<'a>(&'a self, provider: &'a str, told: Told) -> Taking<'a>;
}
