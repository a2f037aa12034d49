//! How people name a customer: external id, email, phone, or number (`#12`).

use super::email::EmailAddress;
use super::keys::Keys;
use super::phone::PhoneNumber;
use crate::store::customers::{Numbers, Wanted};
use crate::types::Channel;

/// One name of a customer, and all that it may mean.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reference {
    pub text: String,
    pub external_id: Option<String>,
    /// Of an email address, of a phone number.
    pub keys: Vec<[u8; 16]>,
    pub number: Option<i64>,
}

impl Reference {
    /// Anything a person may be named by.
    pub fn read(text: &str, keys: &Keys, country: Option<&str>) -> Reference {
        let text = text.trim();
        let mut reference = Reference { text: text.to_string(), ..Reference::default() };
        if text.is_empty() {
            return reference;
        }
        reference.external_id = Some(text.to_string());
        reference.number = text.strip_prefix('#').and_then(|number| number.parse().ok());
        if let Ok(address) = EmailAddress::parse(text) {
            reference.keys.push(keys.address(Channel::Email, address.as_str()));
        } else if (text.starts_with(['+', '0', '8', '(']) || text.len() >= 9 && text.bytes().all(|byte| byte.is_ascii_digit()))
            && let Ok(number) = PhoneNumber::parse(text, country)
        {
            reference.keys.push(keys.address(Channel::Sms, number.as_str()));
        }
        reference
    }

    pub fn wanted<'a>(references: impl IntoIterator<Item = &'a Reference>) -> Wanted {
        let mut wanted = Wanted::default();
        for reference in references {
            wanted.external_ids.extend(reference.external_id.clone());
            wanted.keys.extend(&reference.keys);
            wanted.ids.extend(reference.number);
        }
        wanted
    }

    /// The one customer it means: by external id, then address, then number. The error is the end of a sentence.
    pub fn find(&self, numbers: &Numbers) -> Result<i64, String> {
        if let Some(id) = self.external_id.as_ref().and_then(|external_id| numbers.by_external_id.get(external_id)) {
            return Ok(*id);
        }
        if let Some(owners) = self.keys.iter().find_map(|key| numbers.by_key.get(key).filter(|owners| !owners.is_empty())) {
            return match owners.as_slice() {
                [one] => Ok(*one),
                [one, two, ..] => Err(format!("belongs to both #{one} and #{two}")),
                [] => Err("is nobody's".into()),
            };
        }
        self.number.filter(|number| numbers.ids.contains(number)).ok_or_else(|| "is no customer in the base".into())
    }
}
