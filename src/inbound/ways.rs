//! Which addresses are ours to take mail for. No other mail is taken: this is no relay.

use crate::campaigns::Workspace;
use crate::tracking::{Addressed, Kind, Tokens};
use crate::types::{MessageId, Time};
use std::collections::BTreeSet;

/// The domains of the applied workspace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ways {
    /// Whose addresses carry tokens.
    bounces: BTreeSet<String>,
    /// Whose mail is taken, whatever stands before the @.
    replies: BTreeSet<String>,
}

/// What an address of a mail is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// The return path of a message.
    Bounce(MessageId),
    /// The address by which a message's topic is left.
    Leave(MessageId),
    /// A token of ours that is too old to change anything.
    Expired,
    /// A token that is not ours.
    Forged,
    /// Where answers go, or the postmaster.
    Open,
    /// Nobody's at a domain of ours.
    Unknown,
    /// Not ours.
    Foreign,
}

impl Ways {
    /// Domains in lower case.
    pub fn new(bounces: BTreeSet<String>, replies: BTreeSet<String>) -> Ways {
        Ways { bounces, replies }
    }

    pub fn of(workspace: &Workspace) -> Ways {
        let bounces = workspace.domains.values().filter_map(|domain| domain.bounces.as_ref()).map(|domain| domain.to_lowercase());
        let replies = workspace.inbound.iter().flat_map(|inbound| inbound.domains.iter().cloned());
        Ways { bounces: bounces.collect(), replies: replies.collect() }
    }

    /// Reads an address of a mail.
    pub fn address(&self, address: &str, tokens: &Tokens, now: Time) -> Address {
        let Some((local, domain)) = address.rsplit_once('@') else {
            // RFC 5321 §4.5.1: the postmaster without a domain.
            return if address.eq_ignore_ascii_case("postmaster") { Address::Open } else { Address::Foreign };
        };
        let domain = domain.to_lowercase();
        let ours = self.bounces.contains(&domain);
        if ours && let Some((kind, token)) = local.split_at_checked(2) {
            let read = |kind| tokens.read_address(kind, token, now);
            let (read, made): (Addressed, fn(MessageId) -> Address) = match kind.to_ascii_lowercase().as_str() {
                "b-" => (read(Kind::Bounce), Address::Bounce),
                "u-" => (read(Kind::Leave), Address::Leave),
                _ => return self.open(local, &domain),
            };
            return match read {
                Addressed::Message(message) => made(message),
                Addressed::Expired(_) => Address::Expired,
                Addressed::Unknown if self.replies.contains(&domain) => Address::Open,
                Addressed::Unknown => Address::Forged,
            };
        }
        self.open(local, &domain)
    }

    fn open(&self, local: &str, domain: &str) -> Address {
        let is_office = ["postmaster", "abuse"].iter().any(|office| local.eq_ignore_ascii_case(office));
        if self.replies.contains(domain) || is_office && self.bounces.contains(domain) {
            Address::Open
        } else if self.bounces.contains(domain) {
            Address::Unknown
        } else {
            Address::Foreign
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_is_taken_for_our_own_addresses_and_no_others() {
        let tokens = Tokens::new("a1:0123456789abcdef0123").unwrap();
        let now: Time = "2027-03-01T10:00:00Z".parse().unwrap();
        let ways = Ways { bounces: ["b.shop.example".to_string()].into(), replies: ["answers.shop.example".to_string()].into() };
        let token = |kind| tokens.sign_address(kind, MessageId(7), now, Some(1));
        let old = tokens.sign_address(Kind::Bounce, MessageId(7), now, Some(-2));
        for (address, expected) in [
            (format!("b-{}@b.shop.example", token(Kind::Bounce)), Address::Bounce(MessageId(7))),
            (format!("B-{}@B.SHOP.example", token(Kind::Bounce).to_uppercase()), Address::Bounce(MessageId(7))),
            (format!("u-{}@b.shop.example", token(Kind::Leave)), Address::Leave(MessageId(7))),
            (format!("u-{}@b.shop.example", token(Kind::Bounce)), Address::Forged),
            (format!("b-{old}@b.shop.example"), Address::Expired),
            (format!("b-{}@b.other.example", token(Kind::Bounce)), Address::Foreign),
            ("b-abc@b.shop.example".to_string(), Address::Forged),
            ("anybody@b.shop.example".to_string(), Address::Unknown),
            ("PostMaster@b.shop.example".to_string(), Address::Open),
            ("anybody@answers.shop.example".to_string(), Address::Open),
            ("postmaster".to_string(), Address::Open),
            ("ada@example.org".to_string(), Address::Foreign),
            ("ada@example.org@b.shop.example".to_string(), Address::Unknown),
            ("".to_string(), Address::Foreign),
            ("ю@b.shop.example".to_string(), Address::Unknown),
        ] {
            assert_eq!(ways.address(&address, &tokens, now), expected, "{address}");
        }
    }
}
