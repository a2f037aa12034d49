//! One message in the air: mark, slot, socket, answer.

use super::block::{Meanwhile, Open, leave, meanwhile, stay, unsent};
use super::breaker::{Admission, Change};
use super::compose::{Composed, Unsendable};
use super::lanes::{Lane, SHORT_PAUSE};
use super::rate::Turn;
use super::{Inner, retry};
use crate::campaigns::IfUncertain;
use crate::kill_points::{Point, reached};
use crate::providers::{Outcome, masked};
use crate::store::blocks::Due;
use crate::store::consents::ConsentRow;
use crate::store::ledger::{Answer, Claim, Mark, Suppress};
use crate::store::responses::digest;
use crate::store::strikes::{Strike, StrikeRow};
use crate::store::{from_micros, micros};
use crate::types::{ConsentState, Failure, MessageState, Refusal, RunId, SuppressionReason, Time};
use chrono::TimeDelta;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::OwnedSemaphorePermit;

/// What was asked so long ago is asked again before the mark: whoever leaves is not written to a minute later.
const FRESH: TimeDelta = TimeDelta::seconds(10);
/// How long a message whose provider wants to be left alone for long waits to be offered to another.
const FOR_ANOTHER: std::time::Duration = std::time::Duration::from_secs(1);

/// A composed message on its way.
pub(super) struct Flight {
    pub due: Due,
    /// When it was asked whether it may go.
    pub checked: Time,
    pub composed: Composed,
    pub claim: Claim,
    pub run: RunId,
    pub lane: Arc<Lane>,
    pub admission: Admission,
    /// Under the campaign's and the provider's pace.
    pub turns: Vec<Turn>,
    pub if_uncertain: IfUncertain,
    /// When it was first composed.
    pub began: Time,
    pub draw: u64,
    /// It counts for caps.
    pub is_reserved: bool,
    /// Of a transactional message: it does not stand in line with the others.
    pub urgent: bool,
    /// Paid from the provider's budget, when it is tried again.
    pub paid: Option<Paid>,
    pub open: Arc<Open>,
}

/// A retry that the budget allows; dropped before it was tried, it costs nothing.
pub(super) struct Paid {
    lane: Option<Arc<Lane>>,
}

impl Paid {
    /// `None`: not now; and whether retries are under way.
    pub fn take(lane: &Arc<Lane>, now: Time) -> (Option<Paid>, bool) {
        let mut budget = lane.budget();
        (budget.take(now).then(|| Paid { lane: Some(lane.clone()) }), budget.is_waiting())
    }

    /// It was tried: its answer says what it cost.
    fn tried(mut self) {
        self.lane = None;
    }
}

impl Drop for Paid {
    fn drop(&mut self) {
        if let Some(lane) = &self.lane {
            lane.budget().not_tried();
            lane.paid_back.notify_waiters();
        }
    }
}

/// What chance decides about a message (its provider, its jitter) is drawn from its number.
pub(super) fn draw(message: i64) -> u64 {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &message.to_be_bytes());
    digest.as_ref().iter().take(8).fold(0, |draw, byte| (draw << 8) | u64::from(*byte))
}

/// Hands one message over. `composed` counts it among those that wait for a place.
pub(super) async fn fly(inner: Arc<Inner>, mut flight: Flight, composed: OwnedSemaphorePermit) {
    if let Err(error) = inner.signing.complete(&mut flight.composed).await {
        return unsent(&inner, &flight.open, flight.due.id, Unsendable::Failed(Failure::Policy, error.to_string()));
    }
    // The semaphores are never closed.
    let usual = if flight.urgent { None } else { flight.lane.usual.clone().acquire_owned().await.ok() };
    let Ok(in_flight) = flight.lane.in_flight.clone().acquire_owned().await else { return flight.open.one_done() };
    drop(composed);
    // Nothing is marked while it wants to be left alone.
    while let Some(pause) = flight.lane.provider.pause() {
        if pause > SHORT_PAUSE {
            let later = inner.clock.now() + TimeDelta::from_std(pause).unwrap_or(TimeDelta::minutes(1));
            return stay(&inner, &flight.open, &flight.due, later, Some("its provider wants to be left alone"));
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = inner.halted(flight.run) => break,
        }
    }
    if !inner.may_go(flight.run) || (flight.admission == Admission::Usual && !flight.lane.breaker().is_closed()) {
        return stay(&inner, &flight.open, &flight.due, Time::UNIX_EPOCH, None);
    }
    if inner.clock.now() - flight.checked > FRESH && !may_still_go(&inner, &flight).await {
        return;
    }
    let provider = flight.lane.provider.name().to_string();
    let attempt = flight.due.attempts + 1;
    if !inner.committer.mark(Mark { message: flight.due.id, claim: flight.claim, provider: provider.clone(), attempt }).await {
        // Paused, cancelled, expired, or not ours any more: what still waits is claimed again when it may go.
        return stay(&inner, &flight.open, &flight.due, Time::UNIX_EPOCH, None);
    }
    let mut turns = std::mem::take(&mut flight.turns);
    let slots = async {
        for turn in &mut turns {
            turn.slot(&inner.clock).await;
        }
    };
    let slotted = tokio::select! { () = slots => true, () = inner.halted(flight.run) => false };
    let now = inner.clock.now();
    if slotted && inner.may_go(flight.run) && inner.lease.holds(now) {
        inner.handed_over.fetch_add(1, Ordering::SeqCst);
        if let Some(left) = flight.due.expires_at.and_then(|at| (from_micros(at) - now).to_std().ok()) {
            flight.composed.outgoing.lasts(left);
        }
        let outcome = flight.lane.provider.send(&flight.composed.outgoing).await;
        drop((in_flight, usual));
        count(&mut flight, &outcome);
        reached(Point::AfterReply);
        settle(&inner, &flight, outcome);
    } else {
        // Certainly not sent: a brake came, or this process could not renew its lease. Where others have taken over meanwhile, they have decided.
        inner.committer.answer(Answer::not_sent((flight.due.id, flight.claim), attempt, provider, now));
    }
    flight.open.one_done();
}

/// Asks once more what forbids a message that has waited since its block was claimed; false when it was left, or put back.
async fn may_still_go(inner: &Arc<Inner>, flight: &Flight) -> bool {
    match meanwhile(inner, flight.run, flight.claim, flight.due.id).await {
        Ok(Meanwhile::MayGo) => return true,
        Ok(Meanwhile::Forbidden(state, reason, detail)) => {
            leave(inner, &flight.open, flight.due.id, state, reason.map(Refusal::code), detail)
        }
        Ok(Meanwhile::Gone) => flight.open.one_done(),
        Err(error) => {
            tracing::error!(run = flight.run.0, error = &error as &dyn std::error::Error, "cannot ask whether a message may still go");
            stay(inner, &flight.open, &flight.due, Time::UNIX_EPOCH, None);
        }
    }
    false
}

/// What the answer means for the provider's budget.
fn count(flight: &mut Flight, outcome: &Outcome) {
    match (outcome, flight.paid.take()) {
        (Outcome::Accepted { .. } | Outcome::Refused { .. }, paid) => {
            flight.lane.budget().answered(paid.is_some());
            paid.into_iter().for_each(Paid::tried);
        }
        (Outcome::Later { .. } | Outcome::Away { .. } | Outcome::Unknown { .. }, Some(paid)) => {
            flight.lane.budget().in_vain();
            paid.tried();
        }
        // Nobody was asked: a retry costs nothing.
        (Outcome::Unreachable { .. } | Outcome::Broken { .. }, paid) => drop(paid),
        (_, None) => {}
    }
    flight.lane.paid_back.notify_waiters();
}

/// A breaker has opened or closed: whoever asks `posthaste providers` sees it.
fn note(inner: &Inner, provider: &str, change: Change) {
    let state = match change {
        Change::Opened { since, why } => {
            let why = masked(&why, None).into_owned();
            tracing::error!(provider, why, "the provider does not answer: its messages take others, or wait");
            Some((since, why))
        }
        Change::Closed => {
            tracing::warn!(provider, "the provider answers again");
            None
        }
    };
    inner.committer.breaker(provider.to_string(), state);
}

/// A failure that suppresses the address only when it comes again.
fn strike(inner: &Inner, flight: &Flight, strike: Strike, at: Time) {
    if let Some(key) = flight.due.key.clone() {
        inner.committer.strike(StrikeRow { key, channel: flight.due.channel.code(), strike, at });
    }
}

/// The address is somebody else's now, who agreed to nothing.
fn nobodys(due: &Due, source: &str, now: Time) -> ConsentRow {
    ConsentRow {
        customer: due.customer,
        topic: "*".to_string(),
        channel: due.channel.code(),
        state: ConsentState::Withdrawn,
        at: micros(now),
        until: None,
        received_at: micros(now),
        source: source.to_string(),
        proof: Some(format!("message {}", due.id)),
        source_key: digest(&[b"owner changed", &due.id.to_be_bytes()]),
    }
}

/// Gives the answer to the committer.
fn settle(inner: &Inner, flight: &Flight, outcome: Outcome) {
    let now = inner.clock.now();
    let due = &flight.due;
    let attempt = due.attempts + 1;
    let mut answer = Answer {
        message: due.id,
        claim: flight.claim,
        attempt,
        provider: flight.lane.provider.name().to_string(),
        at: now,
        began: flight.began,
        state: MessageState::Accepted,
        reason: None,
        reply: None,
        provider_id: None,
        next_at: None,
        snapshot: None,
        uncounted: false,
        reserved_for: flight.is_reserved.then(|| due.counted(now)),
    };
    let changed = {
        let mut breaker = flight.lane.breaker();
        match &outcome {
            Outcome::Unreachable { reply, .. } | Outcome::Away { reply, .. } | Outcome::Unknown { reply } => {
                breaker.note(now, false, reply)
            }
            Outcome::Broken { reply } => breaker.trip(now, reply),
            _ => breaker.note(now, true, ""),
        }
    };
    if let Some(change) = changed {
        note(inner, &answer.provider, change);
    }
    let again = |asked| retry::next(due.channel, attempt, flight.draw, now, asked);
    let throttled = matches!(outcome, Outcome::Later { throttled: true, .. });
    // The provider itself wants to be left alone, whoever the message is for: that is no try, and it goes when that is over.
    let let_alone = flight.lane.provider.pause().filter(|_| throttled).map(|pause| {
        // Another provider may take it at once; where there is none, it waits until this one may be asked.
        let wait = if pause <= SHORT_PAUSE { pause } else { FOR_ANOTHER };
        now + TimeDelta::from_std(wait).unwrap_or(TimeDelta::seconds(1))
    });
    match outcome {
        Outcome::Later { reply, .. } if let_alone.is_some() => {
            answer.next_at = let_alone;
            answer.state = MessageState::Retry;
            answer.reply = Some(reply);
            answer.uncounted = true;
        }
        Outcome::Accepted { id, reply } => {
            if !due.site.is_empty() {
                inner.sites().took(&answer.provider, &due.site, now);
            }
            answer.provider_id = id;
            answer.reply = Some(reply);
            answer.snapshot = flight.composed.snapshot.clone();
        }
        Outcome::Later { after, reply, .. } | Outcome::Away { after, reply } => {
            if throttled && !due.site.is_empty() {
                inner.sites().said(&answer.provider, &due.site, &reply, true, now);
            }
            answer.reply = Some(reply);
            if retry::is_last(attempt) {
                answer.state = MessageState::Failed;
                answer.reason = Some(Failure::TriedTooOften);
                strike(inner, flight, Strike::Soft, now);
            } else {
                answer.state = MessageState::Retry;
                answer.next_at = Some(again(after));
            }
        }
        Outcome::Refused { class, suppress, reply } => {
            let source = format!("{}: {}", answer.provider, class.word());
            if class == Failure::OwnerChanged {
                inner.committer.consent(nobodys(due, &source, now));
            }
            if let Some(key) = due.key.as_ref().filter(|_| suppress) {
                // Who has left at the provider has a living number, on its list.
                let reason = if class == Failure::OptedOut { SuppressionReason::Provider } else { SuppressionReason::HardBounce };
                inner.committer.suppress(Suppress { key: key.clone(), channel: due.channel, reason, source });
            }
            match class {
                Failure::MailboxFull => strike(inner, flight, Strike::Soft, now),
                Failure::InvalidDomain | Failure::Inactive if !suppress => strike(inner, flight, Strike::Dead, now),
                _ => {}
            }
            if class == Failure::Blocked && !due.site.is_empty() {
                inner.sites().said(&answer.provider, &due.site, &reply, false, now);
            }
            answer.state = MessageState::Failed;
            answer.reason = Some(class);
            answer.reply = Some(reply);
        }
        Outcome::Unreachable { after, reply } => {
            // Another provider may take it at once; where there is none, it waits for the next probe.
            let after = after.and_then(|after| TimeDelta::from_std(after).ok()).unwrap_or_default();
            answer.next_at = Some(now + after.clamp(TimeDelta::seconds(1), TimeDelta::minutes(5)));
            answer.state = MessageState::Retry;
            answer.reply = Some(reply);
            answer.uncounted = true;
        }
        Outcome::Broken { reply } => {
            tracing::error!(provider = answer.provider, reply = &*masked(&reply, None), "the provider cannot send; its queue is kept");
            answer.next_at = Some(now + TimeDelta::seconds(1));
            answer.state = MessageState::Retry;
            answer.reply = Some(reply);
            answer.uncounted = true;
        }
        Outcome::Unknown { reply } => {
            answer.reply = Some(reply);
            match flight.if_uncertain {
                IfUncertain::Resend if retry::may_repeat(attempt) => {
                    answer.state = MessageState::Retry;
                    answer.next_at = Some(again(None));
                }
                // Each of these tries may have arrived: a person has to look.
                IfUncertain::Hold | IfUncertain::Resend => answer.state = MessageState::Uncertain,
            }
        }
    }
    answer.reply = answer.reply.map(|reply| masked(&reply, due.address.as_deref()).into_owned());
    if answer.state == MessageState::Failed {
        inner.stops.failed(flight.run);
    }
    inner.committer.answer(answer);
}
