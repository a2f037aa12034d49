//! Whether an address is of a kind that our providers and senders reach.

use crate::campaigns::{Message, Workspace};
use crate::policy::country_of;
use crate::types::Channel;
use std::collections::BTreeSet;

/// What a message can reach on its channel.
#[derive(Debug, Clone)]
pub struct Reach {
    channel: Channel,
    /// Countries of the providers; `None` when one of them takes all.
    providers: Option<BTreeSet<String>>,
    /// Countries of the identity's senders; `None` when there is one for the rest.
    senders: Option<BTreeSet<String>>,
}

impl Reach {
    pub fn of(workspace: &Workspace, message: &Message) -> Self {
        let providers: Vec<_> = workspace.providers.values().filter(|provider| provider.channel == message.channel).collect();
        let providers = if providers.iter().all(|provider| provider.countries.is_some()) && !providers.is_empty() {
            Some(providers.iter().filter_map(|provider| provider.countries.as_ref()).flatten().cloned().collect())
        } else {
            None
        };
        let senders = match workspace.identities.get(&message.from).and_then(|identity| identity.sms.as_ref()) {
            Some(senders) if message.channel == Channel::Sms && !senders.contains_key("other") => Some(senders.keys().cloned().collect()),
            _ => None,
        };
        Reach { channel: message.channel, providers, senders }
    }

    /// An email address outside of ASCII; a number that takes no short messages, or of a country without provider or sender.
    pub fn is_unsupported(&self, address: &str) -> bool {
        match self.channel {
            Channel::Email => !address.is_ascii(),
            Channel::Sms => self.is_unsupported_number(address),
            _ => false,
        }
    }

    fn is_unsupported_number(&self, address: &str) -> bool {
        let Ok(number) = phonenumber::parse(None, address) else { return true };
        use phonenumber::Type;
        let kind = number.number_type(&phonenumber::metadata::DATABASE);
        if matches!(
            kind,
            Type::FixedLine | Type::TollFree | Type::PremiumRate | Type::SharedCost | Type::Uan | Type::Voicemail | Type::Pager
        ) {
            return true;
        }
        let country = country_of(&number);
        let is_outside = |countries: &Option<BTreeSet<String>>| {
            countries.as_ref().is_some_and(|countries| !country.as_ref().is_some_and(|country| countries.contains(country)))
        };
        is_outside(&self.providers) || is_outside(&self.senders)
    }
}
