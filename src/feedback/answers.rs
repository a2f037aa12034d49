//! Sends the answers to words like STOP and HELP, where a provider is set up to (`stop_reply`, `help_reply`): standards.md §4.4 allows one confirmation, within
//! five minutes and without any advertising. They stand beside the ledger: nobody is selected for them, no consent is asked and no cap counts them.
//!
//! At most once: an answer is marked before it is handed over, and one of which nobody knows whether it was taken is not sent again.

use crate::providers::{Body, Outcome, Outgoing, Provider};
use crate::store::answers::ClaimedAnswer;
use crate::store::responses::digest;
use crate::store::{self, Store, from_micros};
use crate::templates::sms::parts;
use crate::types::{Channel, MessageId, Time};
use chrono::TimeDelta;
use std::sync::Arc;

/// Answers of one step.
const AT_ONCE: i64 = 50;
/// Between two tries of one that was certainly not taken.
const AGAIN: TimeDelta = TimeDelta::seconds(20);

/// Sends what is due; gives how many that were, and when the next is due.
pub async fn send(store: &Store, providers: &[Arc<dyn Provider>], now: Time) -> Result<super::Turn, store::Error> {
    let answers = match store.next_answer().await? {
        Some(next) if next <= now => store.claim_answers(now, AT_ONCE).await?,
        next => return Ok(super::Turn { done: 0, next }),
    };
    for answer in &answers {
        let provider = providers.iter().find(|provider| provider.name() == answer.provider && provider.channel() == Channel::Sms);
        let (detail, again) = match provider {
            Some(provider) => sent(provider.as_ref(), answer, now).await,
            None => ("its provider is closed".to_string(), None),
        };
        store.settle_answer(answer.id, &detail, again).await?;
    }
    Ok(super::Turn { done: answers.len(), next: store.next_answer().await? })
}

/// What became of it, and when it is tried again.
async fn sent(provider: &dyn Provider, answer: &ClaimedAnswer, now: Time) -> (String, Option<Time>) {
    let again = |after: Option<TimeDelta>| Some(now + after.unwrap_or_default().max(AGAIN));
    let after = |after: Option<std::time::Duration>| after.and_then(|after| TimeDelta::from_std(after).ok());
    if let Some(pause) = provider.pause() {
        return ("its provider wants to be left alone".to_string(), again(after(Some(pause))));
    }
    let key = digest(&[b"keyword answer", &answer.id.to_be_bytes(), &answer.at.to_be_bytes()]);
    let left = (from_micros(answer.until) - now).to_std().ok();
    let text = answer.text.clone();
    let count = u16::try_from(parts(&text).parts).unwrap_or(u16::MAX);
    let body = Body::Sms { sender: answer.sender.clone(), to: answer.recipient.clone(), text, parts: count, lasts: left };
    match provider.send(&Outgoing { message: MessageId(0), body, key: hex::encode(key) }).await {
        Outcome::Accepted { .. } => ("sent".to_string(), None),
        Outcome::Refused { reply, .. } | Outcome::Unknown { reply } => (reply, None),
        Outcome::Later { after: asked, reply, .. }
        | Outcome::Away { after: asked, reply }
        | Outcome::Unreachable { after: asked, reply } => (reply, again(after(asked))),
        Outcome::Broken { reply } => (reply, again(None)),
    }
}
