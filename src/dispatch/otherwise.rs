//! Another channel (`otherwise`) for a message for which a cap has no room when its time has come, as planning does it: the customer must be
//! reachable there, and the caps must have room there; then the message waits on that channel and is taken up at once, or when it is no longer quiet.
//!
//! It stays refused where the other channel cannot be had without harm: where `limits.cost` was reckoned with the channels that were planned, and where an
//! earlier try may have arrived after all (`if_uncertain: resend`).

use super::Inner;
use super::compose::{Sending, zone_of_person};
use crate::campaigns::{Campaign, IfUncertain, Message};
use crate::plan::{Arbiter, Place, Reach, Request, expires, message_of};
use crate::policy::quiet::{Quiet, released};
use crate::policy::{Facts, Rules, Subject, decide, zones_of};
use crate::store::batch::Change;
use crate::store::blocks::Due;
use crate::store::ledger::Claim;
use crate::store::switches::{Asked, Switch};
use crate::store::{self, from_micros, micros};
use crate::types::{Channel, Time};
use std::collections::{BTreeMap, BTreeSet};

/// A message without room on its channel.
pub(super) struct Full<'a> {
    /// Among those of the claim.
    pub place: usize,
    pub due: &'a Due,
    pub claim: Claim,
    pub country: Option<&'a str>,
}

/// What came of it.
pub(super) enum Way {
    /// It goes on by itself, on the other channel.
    Switched,
    /// There is no room on the other channel either, in words.
    Full(String),
}

/// The message of a due one's arm that is sent otherwise.
pub(super) fn other<'a>(campaign: &'a Campaign, due: &Due) -> Option<&'a Message> {
    message_of(campaign, due.arm, due.channel).otherwise.as_deref()
}

/// Sends these another way as far as they have one, in the change in which the caps were asked. Gives the places of those whose answer differs.
pub(super) async fn switch(
    inner: &Inner,
    (sending, campaign): (&Sending, &Campaign),
    caps: &mut Arbiter,
    change: &mut Change,
    full: Vec<Full<'_>>,
    now: Time,
) -> Result<Vec<(usize, Way)>, store::Error> {
    if campaign.limit_cost.is_some() {
        return Ok(Vec::new());
    }
    let may_have_arrived = |due: &Due| due.attempts > 0 && message_of(campaign, due.arm, due.channel).if_uncertain == IfUncertain::Resend;
    let wanted: Vec<(Full<'_>, &Message)> = full
        .into_iter()
        .filter(|one| !may_have_arrived(one.due))
        .filter_map(|one| {
            let message = other(campaign, one.due)?;
            Some((one, message))
        })
        .collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let asked: Vec<Asked> =
        wanted.iter().map(|(one, message)| Asked { message: one.due.id, customer: one.due.customer, channel: message.channel }).collect();
    let mut ways = change.connection().other_ways(sending.run.id, campaign.topic.as_deref(), &asked).await?;
    let workspace = &sending.compiled.definitions.workspace;
    let schedule = &campaign.schedule;
    let mut rules: BTreeMap<Channel, (Rules, Quiet)> = BTreeMap::new();
    let mut taken: BTreeSet<(Channel, String)> = BTreeSet::new();
    let (mut requests, mut switches, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for (one, message) in wanted {
        let (due, channel) = (one.due, message.channel);
        let Some(found) = ways.remove(&due.id) else { continue };
        let Some(address) = found.way.address.as_deref().map(String::from) else { continue };
        let (rules, quiet) = rules.entry(channel).or_insert_with(|| {
            (Rules::new(&workspace.policy, campaign, channel), Quiet::new(&workspace.policy, &Subject::of(campaign, channel)))
        });
        let facts = Facts {
            address: Some(&address),
            unsupported: Reach::of(workspace, message).is_unsupported(&address),
            duplicate: found.is_duplicate || taken.contains(&(channel, address.clone())),
            suppression: found.way.suppression,
            consent: found.way.consent,
            consent_to_all: found.way.consent_to_all,
            country: due.person.country.as_deref(),
        };
        let zone = if schedule.recipient { zone_of_person(&due.person).unwrap_or(schedule.zone) } else { schedule.zone };
        let expires_at = micros(expires(message, from_micros(due.due_at), zone));
        if decide(&facts, rules, now).is_err() || expires_at <= micros(now) {
            continue;
        }
        let wait = quiet.at(now, one.country, zones_of(due.person.zone.as_deref(), one.country, workspace.zone));
        let next_at = match &wait {
            Some(wait) => micros(released(wait, super::hand_over::draw(due.id), workspace.zone)).min(expires_at),
            None => micros(now),
        };
        taken.insert((channel, address.clone()));
        requests.push(Request {
            customer: due.customer,
            message: Some(due.id),
            channel,
            at: next_at,
            expires_at: Some(expires_at),
            country: one.country.map(str::to_string),
            zone: due.person.zone.clone(),
            phone: due.person.phone.clone(),
            is_leaving: false,
        });
        let detail = wait.map_or_else(|| format!("goes by {channel} instead"), |wait| wait.why.to_string());
        places.push(one.place);
        switches.push(Switch {
            message: due.id,
            claim: one.claim,
            channel,
            address,
            site: found.way.site.to_string(),
            expires_at,
            next_at,
            detail,
        });
    }
    let answers = if requests.is_empty() { Vec::new() } else { caps.settle(change, &requests).await? };
    let (mut ways, mut going, mut reserved) = (Vec::new(), Vec::new(), Vec::new());
    for (((place, request), mut switch), answer) in places.into_iter().zip(&requests).zip(switches).zip(answers) {
        let at = match answer {
            Place::Taken { at, .. } => at,
            Place::Later { until, detail } => {
                (switch.next_at, switch.detail) = (until, detail);
                until
            }
            Place::Otherwise(detail) | Place::Full(detail) => {
                ways.push((place, Way::Full(detail)));
                continue;
            }
        };
        ways.push((place, Way::Switched));
        reserved.push(caps.reservation(request.customer, switch.message, switch.channel, at));
        going.push(switch);
    }
    if !going.is_empty() {
        let mut connection = change.connection();
        let gone = connection.switch_channels(inner.node, &going, now).await?;
        inner.holding.let_go(&gone);
        let gone: BTreeSet<i64> = gone.into_iter().collect();
        // What is not ours any more is decided by others.
        reserved.retain(|one| gone.contains(&one.message_id));
        connection.reserve_again(&reserved).await?;
    }
    Ok(ways)
}
