//! Which message a happening belongs to: by the reference that we gave the provider or the letter's own Message-ID, which only we can say, else by the
//! provider's own number and the address.

use super::{Case, Feedback, Found};
use crate::store::Error;
use crate::store::hooks::Candidate;
use crate::store::parts::Part;
use crate::tracking::{Addressed, Kind};
use crate::types::{Channel, MessageId, Time};
use std::collections::{BTreeSet, HashMap};

impl Feedback {
    /// For each case its message, in their order, and the part of it that is meant where it went in parts.
    pub(super) async fn find(&self, cases: &[Case], now: Time) -> Result<Vec<Found>, Error> {
        let references: Vec<Option<MessageId>> = cases.iter().map(|case| self.reference(case, now)).collect();
        let names: BTreeSet<String> = cases.iter().flat_map(|case| case.told.ids.iter().cloned()).collect();
        let parts = self.store.parts_called(&names.into_iter().collect::<Vec<_>>()).await?;
        let mut numbers: BTreeSet<i64> = references.iter().flatten().map(|message| message.0).collect();
        numbers.extend(parts.iter().map(|part| part.message_id));
        let numbered = self.store.messages_numbered(&numbers.into_iter().collect::<Vec<_>>()).await?;
        let numbered: HashMap<i64, Candidate> = numbered.into_iter().map(|candidate| (candidate.id, candidate)).collect();
        let unnamed = cases.iter().zip(&references).filter(|(_, reference)| reference.is_none());
        let names: BTreeSet<String> = unnamed.flat_map(|(case, _)| case.told.ids.iter().cloned()).collect();
        let called = self.store.messages_called(&names.into_iter().collect::<Vec<_>>()).await?;
        let found = |(case, reference): (&Case, &Option<MessageId>)| {
            let of_case = |part: &&Part| {
                case.told.ids.contains(&part.provider_id)
                    && numbered.get(&part.message_id).is_some_and(|message| is_of(case, message))
                    && reference.is_none_or(|reference| reference.0 == part.message_id)
            };
            let part = parts.iter().find(of_case).cloned();
            let message = match (reference, &part) {
                (Some(message), _) => numbered.get(&message.0).cloned(),
                (None, Some(part)) => numbered.get(&part.message_id).cloned(),
                (None, None) => named(case, &called),
            };
            message.map(|message| (message, part))
        };
        Ok(cases.iter().zip(&references).map(found).collect())
    }

    /// By the reference, else by a Message-ID of ours.
    fn reference(&self, case: &Case, now: Time) -> Option<MessageId> {
        let echoes = || case.told.echoes.iter();
        let letter = |echo: &String| {
            let (token, _) = echo.trim_matches(['<', '>']).split_once('@')?;
            match self.tokens.read_address(Kind::Letter, token, now) {
                Addressed::Message(message) => Some(message),
                Addressed::Expired(_) | Addressed::Unknown => None,
            }
        };
        echoes().find_map(|echo| self.references.read(echo)).or_else(|| echoes().find_map(letter))
    }
}

/// The one message that this provider calls so and that went to this address. A batch may have one number for all its messages, so a number alone is
/// not enough where the provider says to whom.
fn named(case: &Case, called: &[Candidate]) -> Option<Candidate> {
    let is_called_so = |candidate: &&Candidate| {
        candidate.provider.as_deref() == Some(case.provider.as_str())
            && candidate.provider_id.as_ref().is_some_and(|id| case.told.ids.contains(id))
    };
    let mut candidates: Vec<&Candidate> = called.iter().filter(is_called_so).collect();
    if let Some(person) = &case.told.person {
        let went_there: Vec<&Candidate> = candidates.iter().copied().filter(|candidate| is_same(candidate, person)).collect();
        // A message without address is that of an erased person, or not to an address at all.
        candidates.retain(|candidate| if went_there.is_empty() { candidate.address.is_none() } else { is_same(candidate, person) });
    }
    // Two messages to one address in one batch cannot be told apart.
    match candidates.as_slice() {
        [only] => Some((*only).clone()),
        _ => None,
    }
}

/// It went by that provider, and to whom it says; a message without address is that of an erased person, or not to an address at all.
fn is_of(case: &Case, candidate: &Candidate) -> bool {
    candidate.provider.as_deref() == Some(case.provider.as_str())
        && case.told.person.as_ref().is_none_or(|person| candidate.address.is_none() || is_same(candidate, person))
}

fn is_same(candidate: &Candidate, person: &str) -> bool {
    let Some(address) = candidate.address.as_deref() else { return false };
    if candidate.channel == Channel::Sms.code() {
        let digits = |text: &str| text.bytes().filter(u8::is_ascii_digit).collect::<Vec<_>>();
        return digits(address) == digits(person);
    }
    address.eq_ignore_ascii_case(person.trim_matches(['<', '>'])) || address.to_lowercase() == person.to_lowercase()
}
