//! What providers told of people who were erased: it is not kept, and what was kept before is looked through.

use super::{Case, Feedback};
use crate::store::hooks::Orphan;
use crate::store::{Error, Store, from_micros};
use crate::types::{Channel, Time};
use crate::webhooks;
use serde_json::{Map, Value, json};

/// Rows looked at together.
const PAGE: i64 = 200;

/// What was found that names a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Forgotten {
    /// Webhooks that could not be read, mails, and happenings that waited for their message: dropped.
    pub dropped: u64,
    /// Webhooks that nobody has read yet. They tell of others too, so they stay until they are read, which drops them.
    pub waiting: u64,
}

impl Feedback {
    /// Those whose person was not erased: others wait for no message.
    pub(super) async fn without_erased<'c>(&self, cases: Vec<&'c Case>) -> Result<Vec<&'c Case>, Error> {
        let keys = |case: &Case| -> Vec<[u8; 16]> {
            let Some(person) = case.told.person.as_deref() else { return Vec::new() };
            let number = super::texts::international(person).map(|number| self.keys.address(Channel::Sms, &number));
            let email = person.contains('@').then(|| self.keys.address(Channel::Email, person.trim().trim_matches(['<', '>'])));
            number.into_iter().chain(email).collect()
        };
        let all: Vec<[u8; 16]> = cases.iter().flat_map(|case| keys(case)).collect();
        let erased = self.store.erased_among(&all).await?;
        Ok(cases.into_iter().filter(|case| !keys(case).iter().any(|key| erased.contains(key))).collect())
    }
}

/// Drops what is kept for people to look at, or until its message is known, and names one of these addresses.
pub async fn forget(store: &Store, addresses: &[String]) -> Result<Forgotten, Error> {
    let needles = needles(addresses);
    let names = |text: &[u8]| {
        let text = String::from_utf8_lossy(text).to_lowercase();
        needles.iter().any(|needle| text.contains(needle))
    };
    let mut forgotten = Forgotten::default();
    let mut last = 0;
    loop {
        let mails = store.kept_mail_after(last, PAGE).await?;
        let Some((end, ..)) = mails.last() else { break };
        last = *end;
        let naming: Vec<i64> = mails.iter().filter(|(_, sender, raw)| names(sender.as_bytes()) || names(raw)).map(|(id, ..)| *id).collect();
        store.drop_mail(&naming).await?;
        forgotten.dropped += naming.len() as u64;
    }
    last = 0;
    loop {
        let hooks = store.kept_hooks_after(last, PAGE).await?;
        let Some(end) = hooks.last() else { break };
        last = end.id;
        let naming = hooks.iter().filter(|hook| webhooks::unpacked(&hook.request).is_some_and(|text| names(&text)));
        let (waiting, unread): (Vec<_>, Vec<_>) = naming.partition(|hook| hook.waits != 0);
        store.drop_hooks(&unread.iter().map(|hook| hook.id).collect::<Vec<_>>()).await?;
        forgotten.dropped += unread.len() as u64;
        forgotten.waiting += waiting.len() as u64;
    }
    let orphans = store.due_orphans(Time::MAX_UTC, i64::MAX).await?;
    let naming: Vec<_> =
        orphans.into_iter().filter(|orphan| names(orphan.told.as_bytes())).map(|orphan| (orphan.provider, orphan.key)).collect();
    store.drop_orphans(&naming).await?;
    forgotten.dropped += naming.len() as u64;
    Ok(forgotten)
}

/// What providers told of one of these addresses, and waits for its message.
pub async fn told_of(store: &Store, addresses: &[String]) -> Result<Vec<Map<String, Value>>, Error> {
    let needles = needles(addresses);
    let orphans = store.due_orphans(Time::MAX_UTC, i64::MAX).await?;
    let naming = orphans.into_iter().filter(|orphan| {
        let text = orphan.told.to_lowercase();
        needles.iter().any(|needle| text.contains(needle))
    });
    let row = |orphan: Orphan| {
        let told: Value = serde_json::from_str(&orphan.told).unwrap_or_default();
        let row = json!({ "provider": orphan.provider, "received_at": from_micros(orphan.received_at), "told": told });
        row.as_object().cloned().unwrap_or_default()
    };
    Ok(naming.map(row).collect())
}

/// Addresses in lower case, and phone numbers without their plus, since providers write them so.
fn needles(addresses: &[String]) -> Vec<String> {
    addresses.iter().map(|address| address.trim_start_matches('+').to_lowercase()).filter(|needle| needle.len() > 3).collect()
}
