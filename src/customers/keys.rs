//! Keyed hashes of addresses: what suppressions are kept under, so that they outlive an erasure without keeping the address.

use crate::types::Channel;
use aws_lc_rs::hmac;

/// Makes address keys with the workspace's pepper. Whoever has a database but not the pepper cannot guess addresses from keys.
#[derive(Clone)]
pub struct Keys(hmac::Key);

impl std::fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Keys(***)")
    }
}

impl Keys {
    /// `pepper` is the secret POSTHASTE_PEPPER; it never changes in the life of a workspace.
    pub fn new(pepper: &str) -> Self {
        Keys(hmac::Key::new(hmac::HMAC_SHA256, pepper.as_bytes()))
    }

    /// The first 16 bytes of HMAC-SHA-256(pepper, channel word, 0, address in lower case). Capitals do not matter, so that a complaint of
    /// `Ada@example.org` also stops `ada@example.org`. This form is version 1: another one may be added beside it, never in its place.
    pub fn address(&self, channel: Channel, address: &str) -> [u8; 16] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(channel.word().as_bytes());
        context.update(&[0]);
        if address.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii()) {
            context.update(address.to_lowercase().as_bytes());
        } else {
            context.update(address.as_bytes());
        }
        shortened(context)
    }

    /// The key of an external id, under which a list of erasures names who had no address: as of an address, with the word `external_id`; capitals
    /// matter, since they do in external ids.
    pub fn external_id(&self, external_id: &str) -> [u8; 16] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(b"external_id\0");
        context.update(external_id.as_bytes());
        shortened(context)
    }
}

fn shortened(context: hmac::Context) -> [u8; 16] {
    let mut key = [0; 16];
    key.copy_from_slice(&context.sign().as_ref()[..16]);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_depends_on_pepper_channel_and_address_but_not_on_capitals() {
        let keys = Keys::new("pepper");
        let key = keys.address(Channel::Email, "ada@example.org");
        assert_eq!(key, keys.address(Channel::Email, "ADA@example.org"));
        assert_ne!(key, keys.address(Channel::Sms, "ada@example.org"));
        assert_ne!(key, keys.address(Channel::Email, "bo@example.org"));
        assert_ne!(key, Keys::new("salt").address(Channel::Email, "ada@example.org"));
        // Kept in databases for years: this value must not change.
        assert_eq!(hex::encode(key), "e585569d70dd15b52917ff72ab8a7fb0");
    }
}
