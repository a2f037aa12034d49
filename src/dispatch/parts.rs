//! Counts the parts of short messages before there is anything to send: the text is written as for sending, with links of the same form that lead nowhere.

use super::compose::{Identity, Sending};
use crate::plan::{CountParts, Parts};
use crate::store::blocks::Due;
use crate::templates::sms;
use crate::tracking::Tokens;
use crate::types::Time;
use std::collections::BTreeMap;
use std::sync::Arc;

/// For `plan`'s limits of cost.
pub fn count_parts() -> CountParts {
    Arc::new(|definitions, key, number, due| {
        let mut sending = Sending::alone(definitions.clone(), key, due);
        sending.run.number = number;
        // A fixed key: nothing of this leaves.
        let tokens = Tokens::new("p:previews-sign-nothing-real").unwrap_or_else(|_| unreachable!("the key is well formed"));
        Box::new(Writing { identity: Identity::new(tokens, "preview", BTreeMap::new()), sending })
    })
}

struct Writing {
    identity: Identity,
    sending: Sending,
}

impl Parts for Writing {
    fn of(&self, due: &Due, date: Time) -> Option<u16> {
        let filled = self.identity.fill(&self.sending, due, date).ok()?;
        Some(u16::try_from(sms::parts(&filled.text).parts).unwrap_or(u16::MAX))
    }
}
