//! May this person be sent this, on this channel, now; if not, why.
//!
//! Pure: callers load [`Facts`] and act on the answer. It is asked twice, by `plan` when a row of the ledger is made and by
//! `dispatch` just before a message leaves, because people unsubscribe in between. Here are the personal rules, in the order of
//! design.md §7; hold-out and limits concern the run and are drawn by `plan`. When it may be sent is in [`quiet`], how often in [`caps`]; how much from a
//! new domain in [`warm_up`]; by which words people leave in [`keywords`].

pub mod caps;
pub mod keywords;
pub mod quiet;
pub mod stops;
pub mod warm_up;
mod zones;

pub use zones::{Zones, zones_of};

use crate::campaigns::{Campaign, ConsentNeed, Narrowed, Policy};
use crate::types::{Channel, Class, ConsentState, Refusal, SuppressionReason, Time};

/// A state of consent and when it changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consent {
    pub state: ConsentState,
    pub at: i64,
}

/// What is known of one customer on one channel.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts<'a> {
    pub address: Option<&'a str>,
    /// The address is of a kind that no provider or sender of ours reaches.
    pub unsupported: bool,
    /// Someone of this run was planned with the same address before.
    pub duplicate: bool,
    /// Why the address is suppressed, and the microsecond when that ends.
    pub suppression: Option<(SuppressionReason, Option<i64>)>,
    /// For the topic on the channel.
    pub consent: Option<Consent>,
    /// For the topic `*`.
    pub consent_to_all: Option<Consent>,
    /// ISO 3166, as the customer's own field says; where it says nothing, a phone number's own country counts for rules of consent.
    pub country: Option<&'a str>,
}

/// The campaign's side of the question, gathered once for a run.
#[derive(Debug, Clone)]
pub struct Rules {
    class: Class,
    topic: Option<String>,
    rules: Vec<(Narrowed, ConsentNeed)>,
}

impl Rules {
    /// The rules of `policy` that can touch this campaign on this channel; only the country is left to ask.
    pub fn new(policy: &Policy, campaign: &Campaign, channel: Channel) -> Self {
        let subject = Subject::of(campaign, channel);
        let touching = policy.consent.iter().filter(|rule| subject.is_touched_by(&rule.narrowed));
        let rules = touching.map(|rule| (rule.narrowed.clone(), rule.needs)).collect();
        Rules { class: campaign.class, topic: campaign.topic.clone(), rules }
    }

    fn names_countries(&self) -> bool {
        self.rules.iter().any(|(rule, _)| !rule.country.is_empty())
    }

    /// The strictest need among the rules that match; none where no rule matches, or where there is no topic to consent to.
    fn need(&self, country: Option<&str>) -> ConsentNeed {
        if self.topic.is_none() {
            return ConsentNeed::None;
        }
        self.rules.iter().filter(|(rule, _)| has_country(rule, country)).map(|(_, need)| *need).max().unwrap_or(ConsentNeed::None)
    }
}

/// What a rule can be narrowed to, but for the person's country: a campaign's messages on a channel.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    pub class: Class,
    pub channel: Channel,
    pub topic: Option<&'a str>,
    pub category: Option<&'a str>,
    pub tags: &'a [String],
}

impl<'a> Subject<'a> {
    pub fn of(campaign: &'a Campaign, channel: Channel) -> Self {
        let (topic, category) = (campaign.topic.as_deref(), campaign.category.as_deref());
        Subject { class: campaign.class, channel, topic, category, tags: &campaign.tags }
    }

    /// Whether a rule narrowed like this holds for these messages, in some country at least.
    pub fn is_touched_by(&self, rule: &Narrowed) -> bool {
        let has = |list: &[String], one: Option<&str>| list.is_empty() || one.is_some_and(|one| list.iter().any(|word| word == one));
        (rule.class.is_empty() || rule.class.contains(&self.class))
            && (rule.channel.is_empty() || rule.channel.contains(&self.channel))
            && has(&rule.topic, self.topic)
            && has(&rule.category, self.category)
            && (rule.tag.is_empty() || self.tags.iter().any(|tag| rule.tag.contains(tag)))
    }
}

/// Whether a rule holds in this country; one that names countries does not hold where the country is unknown.
pub fn has_country(rule: &Narrowed, country: Option<&str>) -> bool {
    rule.country.is_empty() || country.is_some_and(|country| rule.country.iter().any(|one| one == country))
}

/// ISO 3166 of a number in international form, if it has one.
pub fn country_of_phone(address: &str) -> Option<String> {
    if !address.starts_with('+') {
        return None;
    }
    country_of(&phonenumber::parse(None, address).ok()?)
}

/// ISO 3166 of a number.
pub fn country_of(number: &phonenumber::PhoneNumber) -> Option<String> {
    number.country().id().map(|id| format!("{id:?}"))
}

/// The first no is the reason: no_address, unsupported_address, duplicate_address, suppressed, no_consent.
pub fn decide(facts: &Facts<'_>, rules: &Rules, now: Time) -> Result<(), Refusal> {
    if facts.address.is_none_or(str::is_empty) {
        return Err(Refusal::NoAddress);
    }
    if facts.unsupported {
        return Err(Refusal::UnsupportedAddress);
    }
    if facts.duplicate {
        return Err(Refusal::DuplicateAddress);
    }
    if facts
        .suppression
        .is_some_and(|(reason, until)| until.is_none_or(|until| until > now.timestamp_micros()) && stops(reason, rules.class))
    {
        return Err(Refusal::Suppressed);
    }
    let of_number = if rules.names_countries() && facts.country.is_none() { facts.address.and_then(country_of_phone) } else { None };
    let state = state(facts.consent, facts.consent_to_all);
    // Whatever the policy needs: an objection stops all but transactional messages.
    if state == Some(ConsentState::Objected) && rules.class != Class::Transactional {
        return Err(Refusal::NoConsent);
    }
    match rules.need(facts.country.or(of_number.as_deref())).is_met_by(state) {
        true => Ok(()),
        false => Err(Refusal::NoConsent),
    }
}

/// Whether another channel may be tried after this refusal (`otherwise`).
pub fn allows_otherwise(refusal: Refusal) -> bool {
    matches!(refusal, Refusal::NoAddress | Refusal::UnsupportedAddress | Refusal::Suppressed | Refusal::NoConsent)
}

/// A dead address, a complaint and erasure stop everything; a pause stops advertising; all other suppressions spare transactional messages.
fn stops(reason: SuppressionReason, class: Class) -> bool {
    use SuppressionReason::*;
    match reason {
        HardBounce | SoftBounces | Complaint | Erased => true,
        Paused => class == Class::Advertising,
        Unsubscribe | Manual | Import | Provider => class != Class::Transactional,
    }
}

/// The later of the two wins; on a tie, withdrawn. An objection outweighs what came later.
pub fn state(topic: Option<Consent>, all: Option<Consent>) -> Option<ConsentState> {
    let is_objection = |consent: Option<Consent>| consent.is_some_and(|consent| consent.state == ConsentState::Objected);
    match (topic, all) {
        _ if is_objection(topic) || is_objection(all) => Some(ConsentState::Objected),
        (Some(topic), Some(all)) if topic.at == all.at => {
            Some(if topic.state == ConsentState::Withdrawn || all.state == ConsentState::Withdrawn {
                ConsentState::Withdrawn
            } else {
                topic.state
            })
        }
        (Some(topic), Some(all)) => Some(if all.at > topic.at { all.state } else { topic.state }),
        (one, other) => one.or(other).map(|consent| consent.state),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ConsentState::*;

    fn rules(class: Class, needs: &[(ConsentNeed, &[&str])]) -> Rules {
        let narrowed =
            |countries: &[&str]| Narrowed { country: countries.iter().map(ToString::to_string).collect(), ..Narrowed::default() };
        Rules { class, topic: Some("offers".into()), rules: needs.iter().map(|(need, countries)| (narrowed(countries), *need)).collect() }
    }

    fn noon() -> Time {
        "2027-03-01T12:00:00Z".parse().unwrap()
    }

    fn consent(state: ConsentState, at: i64) -> Option<Consent> {
        Some(Consent { state, at })
    }

    #[test]
    fn the_first_no_is_the_reason() {
        let rules = rules(Class::Advertising, &[(ConsentNeed::Granted, &[])]);
        let mut facts =
            Facts { unsupported: true, duplicate: true, suppression: Some((SuppressionReason::Manual, None)), ..Facts::default() };
        let mut reasons = Vec::new();
        reasons.push(decide(&facts, &rules, noon()));
        facts.address = Some("ada@example.org");
        reasons.push(decide(&facts, &rules, noon()));
        facts.unsupported = false;
        reasons.push(decide(&facts, &rules, noon()));
        facts.duplicate = false;
        reasons.push(decide(&facts, &rules, noon()));
        facts.suppression = None;
        reasons.push(decide(&facts, &rules, noon()));
        facts.consent = consent(Granted, 1);
        reasons.push(decide(&facts, &rules, noon()));
        use Refusal::*;
        assert_eq!(reasons, [Err(NoAddress), Err(UnsupportedAddress), Err(DuplicateAddress), Err(Suppressed), Err(NoConsent), Ok(())]);
    }

    #[test]
    fn the_later_consent_wins_and_on_a_tie_the_withdrawal() {
        for (topic, all, expected) in [
            (consent(Granted, 2), consent(Withdrawn, 1), Some(Granted)),
            (consent(Granted, 1), consent(Withdrawn, 2), Some(Withdrawn)),
            (consent(Granted, 1), consent(Withdrawn, 1), Some(Withdrawn)),
            (consent(Withdrawn, 1), consent(Granted, 1), Some(Withdrawn)),
            (None, consent(Granted, 1), Some(Granted)),
            (consent(Confirmed, 9), consent(Objected, 1), Some(Objected)),
            (None, None, None),
        ] {
            assert_eq!(state(topic, all), expected);
        }
    }

    #[test]
    fn the_strictest_matching_rule_wins_whatever_their_order() {
        let both = rules(Class::Advertising, &[(ConsentNeed::Confirmed, &["DE"]), (ConsentNeed::Granted, &[])]);
        let facts = Facts { address: Some("a@b.example"), consent: consent(Granted, 1), ..Facts::default() };
        assert_eq!(decide(&Facts { country: Some("DE"), ..facts }, &both, noon()), Err(Refusal::NoConsent));
        assert_eq!(decide(&Facts { country: Some("FR"), ..facts }, &both, noon()), Ok(()));
        assert_eq!(decide(&facts, &both, noon()), Ok(()));
    }

    #[test]
    fn a_transactional_message_is_stopped_only_by_a_dead_address_a_complaint_or_erasure() {
        let rules = rules(Class::Transactional, &[(ConsentNeed::None, &[])]);
        for reason in SuppressionReason::ALL {
            let facts = Facts { address: Some("a@b.example"), suppression: Some((*reason, None)), ..Facts::default() };
            let stopped = matches!(reason.word(), "hard_bounce" | "soft_bounces" | "complaint" | "erased");
            assert_eq!(decide(&facts, &rules, noon()).is_err(), stopped, "{reason}");
        }
    }

    #[test]
    fn an_objection_stops_all_but_transactional_messages_and_a_pause_only_advertising() {
        let facts = Facts { address: Some("a@b.example"), consent: consent(Granted, 9), ..Facts::default() };
        let objected = Facts { consent_to_all: consent(Objected, 1), ..facts };
        let paused = Facts { suppression: Some((SuppressionReason::Paused, None)), ..facts };
        for (class, objection, pause) in [
            (Class::Advertising, Err(Refusal::NoConsent), Err(Refusal::Suppressed)),
            (Class::Informational, Err(Refusal::NoConsent), Ok(())),
            (Class::Transactional, Ok(()), Ok(())),
        ] {
            // Even where the policy needs nothing.
            let rules = rules(class, &[(ConsentNeed::None, &[])]);
            assert_eq!(decide(&objected, &rules, noon()), objection, "{class}");
            assert_eq!(decide(&paused, &rules, noon()), pause, "{class}");
        }
    }

    #[test]
    fn a_suppression_ends_at_its_time() {
        let rules = rules(Class::Advertising, &[]);
        let at = |until: i64| Facts {
            address: Some("a@b.example"),
            suppression: Some((SuppressionReason::Manual, Some(until))),
            ..Facts::default()
        };
        assert_eq!(decide(&at(noon().timestamp_micros()), &rules, noon()), Ok(()));
        assert_eq!(decide(&at(noon().timestamp_micros() + 1), &rules, noon()), Err(Refusal::Suppressed));
    }
}
