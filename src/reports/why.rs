//! One exact reason why a message was or was not sent, in plain words, from the ledger's row.
//!
//! Pure: callers read the rows; times are written on the wall of the workspace's zone.

use super::model::refusal_in_words;
use crate::store::customers::Customer;
use crate::store::from_micros;
use crate::store::suppressions::SuppressionRow;
use crate::store::why::{Attempt, CameBack, LedgerRow};
use crate::types::{Channel, ConsentState, Failure, MessageState, Refusal, Time, Verdict};
use chrono_tz::Tz;
use serde::Serialize;

/// The answer for one row of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    pub run: i64,
    pub message: i64,
    pub channel: Option<Channel>,
    pub variant: Option<String>,
    pub due: Time,
    /// It was handed over to a provider, which took it.
    pub sent: bool,
    pub state: Option<MessageState>,
    /// The word of a refusal or a failure.
    pub reason: Option<&'static str>,
    /// One sentence.
    pub because: String,
    /// What is known beside it, a sentence each.
    pub more: Vec<String>,
    pub at: Time,
    pub attempts: Vec<Tried>,
}

/// A try that is on record: all but a first one that was accepted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tried {
    pub number: i64,
    pub at: Time,
    pub provider: String,
    pub outcome: String,
    pub reply: Option<String>,
}

/// What the rows are explained with.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    pub customer: &'a Customer,
    /// Of the customer's addresses.
    pub suppressions: &'a [SuppressionRow],
    /// The campaign's.
    pub topic: Option<&'a str>,
    pub attempts: &'a [Attempt],
    pub responses: &'a [CameBack],
    pub now: Time,
    pub zone: Tz,
}

pub fn answer(row: &LedgerRow, known: &Known) -> Answer {
    let state = MessageState::from_code(row.state);
    let refusal = row.reason.and_then(Refusal::from_code);
    let failure = row.reason.and_then(Failure::from_code);
    Answer {
        run: row.run,
        message: row.id,
        channel: Channel::from_code(row.channel),
        variant: row.arm_name.clone(),
        due: from_micros(row.due_at),
        sent: state == Some(MessageState::Accepted),
        state,
        reason: refusal.map(Refusal::word).or(failure.map(Failure::word)),
        because: because(row, state, refusal, failure, known),
        more: more(row, refusal, known),
        at: from_micros(row.accepted_at.unwrap_or(row.changed_at)),
        attempts: known.attempts.iter().filter(|attempt| attempt.message_id == row.id).map(tried).collect(),
    }
}

fn tried(attempt: &Attempt) -> Tried {
    Tried {
        number: attempt.number,
        at: from_micros(attempt.at),
        provider: attempt.provider.clone(),
        outcome: attempt.outcome.clone(),
        reply: attempt.reply.clone(),
    }
}

fn because(row: &LedgerRow, state: Option<MessageState>, refusal: Option<Refusal>, failure: Option<Failure>, known: &Known) -> String {
    let time = |micros: i64| wall(from_micros(micros), known.zone);
    let detail = row.detail.as_deref().filter(|detail| !detail.is_empty()).map(|detail| format!(" ({detail})")).unwrap_or_default();
    let by = row.provider.as_deref().map(|provider| format!(" by {provider}")).unwrap_or_default();
    let to = row.address.as_deref().filter(|address| !address.is_empty()).map(|address| format!(" to {address}")).unwrap_or_default();
    match state {
        Some(MessageState::Accepted) => {
            format!("Sent{to}: accepted{by} on {}", time(row.accepted_at.unwrap_or(row.changed_at)))
        }
        Some(MessageState::Refused) => {
            let word = refusal.map_or("refused", Refusal::word);
            format!("Not sent, {word}: {}{detail}", refusal.map_or("another reason", |refusal| refused(refusal, row, known)))
        }
        Some(MessageState::Planned | MessageState::Retry | MessageState::Deferred) if row.held.is_some() => {
            format!("Not sent: its run is held and waits for a person: {}", row.held.as_deref().unwrap_or_default())
        }
        Some(MessageState::Planned) if from_micros(row.due_at) > known.now => format!("Not sent yet: it is due on {}", time(row.due_at)),
        Some(MessageState::Planned) => format!("Not sent yet: it is due since {} and waits for its turn", time(row.due_at)),
        Some(MessageState::HandingOver) => format!("It is being handed over{by} since {}", time(row.changed_at)),
        Some(MessageState::Retry) => {
            let next = row.next_at.map_or("soon".to_string(), |next| format!("on {}", time(next)));
            format!("Not sent yet: the provider put it off{detail}; it is tried again {next}")
        }
        Some(MessageState::Deferred) => {
            let next = row.next_at.map(|next| format!(" until {}", time(next))).unwrap_or_default();
            format!("Not sent yet: it waits by rule{detail}{next}")
        }
        Some(MessageState::Held) => format!("Not sent: it is held and waits for a person{detail}"),
        Some(MessageState::Uncertain) => format!(
            "Perhaps sent{to}: the connection or the machine failed while it was handed over{by} on {}{detail}; nobody knows whether it arrived",
            time(row.changed_at)
        ),
        Some(MessageState::Failed) => {
            let word = failure.map_or("failed", Failure::word);
            format!("Not sent, {word}: {}{detail}, on {}", failure.map_or("it failed", failed), time(row.changed_at))
        }
        Some(MessageState::Expired) => {
            let expiry = row.expires_at.map(|expiry| format!(", {}", time(expiry))).unwrap_or_default();
            format!("Not sent: it was not handed over before its expiry{expiry}{detail}")
        }
        Some(MessageState::Cancelled) => format!("Not sent: it was cancelled on {}{detail}", time(row.changed_at)),
        None => format!("The ledger holds a state that this version does not know, {}", row.state),
    }
}

/// A refusal in words that name what was seen, where the base still knows it.
fn refused(refusal: Refusal, row: &LedgerRow, known: &Known) -> &'static str {
    let channel = Channel::from_code(row.channel);
    match (refusal, channel) {
        (Refusal::NoAddress, Some(Channel::Email)) => "there was no email address",
        (Refusal::NoAddress, Some(Channel::Sms)) => "there was no phone number",
        (Refusal::NoConsent, _) if known.topic.is_none() => "there was no consent",
        (Refusal::HeldOut, _) => "held out by chance, so that the lift can be measured",
        _ => refusal_in_words(refusal.word()),
    }
}

fn failed(failure: Failure) -> &'static str {
    match failure {
        Failure::InvalidAddress => "there is no such mailbox or number",
        Failure::InvalidDomain => "the domain takes no mail",
        Failure::Inactive => "the mailbox is disabled",
        Failure::MailboxFull => "the mailbox is full",
        Failure::Content => "the content was refused",
        Failure::Blocked => "the receiving side blocks us, which says nothing about the person",
        Failure::Policy => "our authentication or set-up was refused",
        Failure::Protocol => "the two sides did not understand each other",
        Failure::Rejected => "the provider refused it",
        Failure::UnsafeValue => "a value with control characters would have reached a header, an address or a short message",
        Failure::Render => "the template failed for this customer",
        Failure::TriedTooOften => "it was tried until the retries were used up",
        Failure::TooLarge => "it is too large for the channel",
        Failure::Unanswered => "nobody knows whether it arrived, and it was taken for lost by decision",
        Failure::OwnerChanged => "the mailbox belongs to somebody else now",
        Failure::OptedOut => "the person told the provider to send nothing more",
    }
}

/// What the base knows today about the reason, and what came back.
fn more(row: &LedgerRow, refusal: Option<Refusal>, known: &Known) -> Vec<String> {
    let mut more = Vec::new();
    match refusal {
        Some(Refusal::NoConsent) => more.extend(consent(row, known)),
        Some(Refusal::Suppressed) => more.extend(suppressions(row, known)),
        _ => {}
    }
    let time = |micros: i64| wall(from_micros(micros), known.zone);
    more.extend(row.bounced_at.map(|at| format!("It bounced on {}", time(at))));
    more.extend(row.confirmed_at.map(|at| format!("The receiving side confirmed it on {}", time(at))));
    for response in known.responses.iter().filter(|response| response.message_id == row.id) {
        let what = response.name.strip_prefix("message.").unwrap_or(&response.name);
        if matches!(what, "bounced" | "delivered") {
            continue;
        }
        let who = if response.verdict == Verdict::Machine.code() { " by a machine" } else { "" };
        let often = if response.count > 1 { format!(", {} times, first", response.count) } else { String::new() };
        more.push(format!("{what}{who}{often} on {}", time(response.first_at)));
    }
    if row.attempts > 1 {
        more.push(format!("{} attempts were made", row.attempts));
    }
    more
}

fn consent(row: &LedgerRow, known: &Known) -> Option<String> {
    let topic = known.topic?;
    let channel = Channel::from_code(row.channel)?;
    if let Some(objected) = objected_since(known.customer) {
        return Some(objection(objected, known.zone));
    }
    let states =
        known.customer.consents.iter().filter(|state| state.channel == row.channel && (state.topic == topic || state.topic == "*"));
    let last = states.max_by_key(|state| state.at);
    Some(match last {
        Some(state) => {
            let topic = if state.topic == "*" { "all topics" } else { topic };
            format!("Today consent to {topic} by {channel} is {}, since {}", state.state, wall(from_micros(state.at), known.zone))
        }
        None => format!("Nothing is known about consent to {topic} by {channel}: it was never asked for or imported"),
    })
}

/// Since when the customer objects to advertising and profiling.
pub fn objected_since(customer: &Customer) -> Option<Time> {
    let objections = customer.consents.iter().filter(|consent| consent.state == ConsentState::Objected);
    objections.map(|consent| from_micros(consent.at)).min()
}

/// An objection, in words.
pub fn objection(since: Time, zone: Tz) -> String {
    format!("The customer objected to advertising and profiling on {}: only transactional messages are sent", wall(since, zone))
}

fn suppressions(row: &LedgerRow, known: &Known) -> Vec<String> {
    let of_channel = known.suppressions.iter().filter(|suppression| suppression.channel == row.channel);
    let words = |suppression: &SuppressionRow| {
        let until = suppression.until.map(|until| format!(" until {}", wall(from_micros(until), known.zone))).unwrap_or_default();
        format!("The address is suppressed for {} since {}{until}", suppression.reason, wall(from_micros(suppression.since), known.zone))
    };
    of_channel.map(words).collect()
}

/// A time on the wall of the workspace.
pub fn wall(time: Time, zone: Tz) -> String {
    time.with_timezone(&zone).format("%Y-%m-%d %H:%M:%S").to_string()
}
