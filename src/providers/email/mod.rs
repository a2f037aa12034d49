//! Email: the complete message ([`mime`]), its signature ([`dkim`]), and the way out ([`smtp`]).

pub mod address;
pub mod dkim;
pub mod encode;
pub mod known;
pub mod mime;
pub mod reply;
pub mod smtp;

pub use address::Address;
