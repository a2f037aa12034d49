//! How a bounce counts: the provider's own class, corrected by what the receiving side said (standards.md §1.8 and §3.3).
//!
//! Providers call many refusals permanent that are about us. A block or a policy reply never counts against a person, whatever it is called.

use super::told::What;
use crate::providers::email::reply::{Class, classify, enhanced};
use crate::store::tallies::Bounce;

/// The class of a bounce that the provider calls `said`, with the reply behind it.
pub(super) fn bounced(said: Bounce, reply: Option<&str>) -> What {
    What::Bounced(reply.and_then(|reply| class(said, reply)).map_or(said, |class| corrected(said, class)))
}

/// A reply with a code, not just words of the provider.
fn says_something(reply: &str) -> bool {
    code(reply).is_some() || enhanced(reply).is_some()
}

/// The class of what the receiving side said; `None` where it is just words of the provider.
pub fn class(said: Bounce, reply: &str) -> Option<Class> {
    says_something(reply).then(|| classify(code(reply).unwrap_or(if said == Bounce::Soft { 450 } else { 550 }), reply))
}

fn corrected(said: Bounce, class: Class) -> Bounce {
    match (class, said) {
        (Class::Block | Class::Authentication | Class::Credentials | Class::Throttle | Class::Protocol, _) => Bounce::Blocked,
        (Class::Quota | Class::Size | Class::Content | Class::Greylisted, Bounce::Hard) => Bounce::Soft,
        _ => said,
    }
}

/// The three digits of the first SMTP code.
pub(super) fn code(reply: &str) -> Option<u16> {
    reply
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '.')
        .find(|word| word.len() == 3 && word.starts_with(['4', '5']) && word.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|word| word.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_never_counts_against_a_person_and_words_alone_change_nothing() {
        for (said, reply, expected) in [
            (Bounce::Hard, "smtp; 550 5.1.1 user unknown", Bounce::Hard),
            (Bounce::Hard, "550 5.7.1 Message rejected due to spam content", Bounce::Blocked),
            (Bounce::Hard, "554 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org", Bounce::Blocked),
            (Bounce::Hard, "550 5.7.26 unauthenticated email", Bounce::Blocked),
            (Bounce::Hard, "552 5.2.2 mailbox full", Bounce::Soft),
            (Bounce::Soft, "552 5.2.2 mailbox full", Bounce::Soft),
            (Bounce::Blocked, "550 5.1.1 no such user", Bounce::Blocked),
            (Bounce::Soft, "450 4.2.0 temporarily unavailable", Bounce::Soft),
            (Bounce::Hard, "Host or domain name not found", Bounce::Hard),
            (Bounce::Soft, "421 4.7.0 [TSS04] temporarily deferred due to unexpected volume or user complaints", Bounce::Blocked),
        ] {
            assert_eq!(bounced(said, Some(reply)), What::Bounced(expected), "{reply}");
        }
        assert_eq!(bounced(Bounce::Hard, None), What::Bounced(Bounce::Hard));
    }
}
