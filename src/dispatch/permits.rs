//! Asks the policy again for the messages of a claim, just before they leave: quiet hours, caps under the customers' lock, days of a warm-up, all in one
//! transaction each for the whole claim.

use super::Inner;
use super::compose::Sending;
use super::otherwise::{self, Full, Way};
use super::warm_up;
use crate::campaigns::{Campaign, Supply};
use crate::plan::{Arbiter, Place, Request, country_of_phone, message_of};
use crate::policy::quiet::{Quiet, released};
use crate::policy::{Subject, zones_of};
use crate::store::blocks::Due;
use crate::store::coupons::Draw;
use crate::store::ledger::Claim;
use crate::store::{self, from_micros, micros};
use crate::types::{Channel, Refusal, Time};
use std::collections::{BTreeMap, HashMap};

/// May it leave now?
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Permit {
    Granted,
    Later {
        until: Time,
        why: String,
    },
    /// A cap has no room, or a coupon no code.
    Refused(Refusal, String),
    /// It goes by another channel, and waits there already.
    Switched,
}

/// The answers for a claim's messages, in their order; `claims` is by what right each is ours.
pub(super) async fn ask(
    inner: &Inner,
    sending: &Sending,
    campaign: &Campaign,
    (dues, claims): (Vec<Due>, Vec<Claim>),
) -> Result<Vec<(Due, Permit)>, store::Error> {
    let workspace = &sending.compiled.definitions.workspace;
    let policy = &workspace.policy;
    let now = inner.clock.now();
    let goes_by = |due: &Due, channel: Channel| {
        due.channel == channel || otherwise::other(campaign, due).is_some_and(|message| message.channel == channel)
    };
    let channels: Vec<Channel> = Channel::ALL.iter().copied().filter(|channel| dues.iter().any(|due| goes_by(due, *channel))).collect();
    let quiet: HashMap<Channel, Quiet> =
        channels.iter().map(|channel| (*channel, Quiet::new(policy, &Subject::of(campaign, *channel)))).collect();
    let countries: Vec<Option<String>> = if policy.caps.is_empty() && quiet.values().all(Quiet::is_empty) {
        vec![None; dues.len()]
    } else {
        dues.iter().map(|due| due.person.country.clone().or_else(|| country_of_phone(due.person.phone.as_deref()?))).collect()
    };
    let mut answers: Vec<(Due, Permit)> = Vec::with_capacity(dues.len());
    for (due, country) in dues.into_iter().zip(&countries) {
        let zones = zones_of(due.person.zone.as_deref(), country.as_deref(), workspace.zone);
        let wait = quiet.get(&due.channel).and_then(|quiet| quiet.at(now, country.as_deref(), zones));
        let permit = wait.map_or(Permit::Granted, |wait| {
            let until = released(&wait, super::hand_over::draw(due.id), workspace.zone);
            let until = due.expires_at.map_or(until, |expires| until.min(from_micros(expires)));
            Permit::Later { until, why: wait.why.to_string() }
        });
        answers.push((due, permit));
    }
    if !sending.run.is_test && !answers.is_empty() {
        let arbiter = Arbiter::new(&inner.store, policy, workspace.zone, campaign, sending.run.campaign, &channels, now).await?;
        if let Some(mut caps) = arbiter {
            ask_caps(inner, (sending, campaign), &mut caps, &mut answers, (&countries, &claims), now).await?;
        }
        warm_up::ask(inner, sending, campaign, &mut answers, now).await?;
    }
    draw_coupons(inner, sending, campaign, &mut answers, now).await?;
    Ok(answers)
}

/// A code for each message that may leave and has none yet.
async fn draw_coupons(
    inner: &Inner,
    sending: &Sending,
    campaign: &Campaign,
    answers: &mut [(Due, Permit)],
    now: Time,
) -> Result<(), store::Error> {
    let mut wanted: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, (due, permit)) in answers.iter().enumerate() {
        if let (Permit::Granted, Some(coupon)) = (permit, message_of(campaign, due.arm, due.channel).coupon.as_deref()) {
            wanted.entry(coupon).or_default().push(place);
        }
    }
    let coupons = &sending.compiled.definitions.workspace.coupons;
    for (name, places) in wanted {
        let Some(coupon) = coupons.get(name) else { continue };
        let messages: Vec<i64> = places.iter().filter_map(|place| answers.get(*place)).map(|(due, _)| due.id).collect();
        let composer = inner.outlets().composer;
        let make = |message: i64, nth: u32| match &coupon.supply {
            Supply::Made(pattern) => made(pattern, composer.secret(message, nth)),
            _ => String::new(),
        };
        let draw = match &coupon.supply {
            Supply::Shared(code) => Draw::Shared(code),
            Supply::Made(_) => Draw::Made(&make),
            Supply::Imported => Draw::Imported,
        };
        let mut codes = inner.store.draw_codes(name, &messages, draw, now).await?;
        for place in places {
            let Some((due, permit)) = answers.get_mut(place) else { continue };
            match codes.remove(&due.id) {
                Some(code) => due.code = Some(code),
                None => *permit = Permit::Refused(Refusal::NoCoupon, format!("`{name}` has no codes left")),
            }
        }
    }
    Ok(())
}

/// The pattern with a digit for each `#`.
fn made(pattern: &str, mut secret: u128) -> String {
    let mut digit = || {
        let digit = char::from(b'0' + u8::try_from(secret % 10).unwrap_or(0));
        secret /= 10;
        digit
    };
    pattern.chars().map(|one| if one == '#' { digit() } else { one }).collect()
}

async fn ask_caps(
    inner: &Inner,
    (sending, campaign): (&Sending, &Campaign),
    caps: &mut Arbiter,
    answers: &mut [(Due, Permit)],
    (countries, claims): (&[Option<String>], &[Claim]),
    now: Time,
) -> Result<(), store::Error> {
    let requests: Vec<Request> = answers
        .iter()
        .zip(countries)
        .map(|((due, permit), country)| Request {
            customer: due.customer,
            message: Some(due.id),
            channel: due.channel,
            at: match permit {
                Permit::Later { until, .. } => micros(*until),
                _ => micros(now),
            },
            expires_at: due.expires_at,
            country: country.clone(),
            zone: due.person.zone.clone(),
            phone: due.person.phone.clone(),
            is_leaving: *permit == Permit::Granted,
        })
        .collect();
    let mut change = inner.store.change("ask the caps again").await?;
    let places = caps.settle(&mut change, &requests).await?;
    let mut reserved = Vec::with_capacity(places.len());
    let mut full = Vec::new();
    for (index, ((due, permit), place)) in answers.iter_mut().zip(places).enumerate() {
        match place {
            Place::Taken { at, until, stands } => {
                if !stands {
                    reserved.push(caps.reservation(due.customer, due.id, due.channel, at));
                }
                due.counts = Some((at, until));
            }
            Place::Later { until, detail } => {
                reserved.push(caps.reservation(due.customer, due.id, due.channel, until));
                *permit = Permit::Later { until: from_micros(until), why: detail };
            }
            Place::Otherwise(detail) => {
                *permit = Permit::Refused(Refusal::Capped, detail);
                full.push(index);
            }
            Place::Full(detail) => *permit = Permit::Refused(Refusal::Capped, detail),
        }
    }
    if !full.is_empty() {
        let full = full.into_iter().filter_map(|place| {
            let (due, _) = answers.get(place)?;
            Some(Full { place, due, claim: *claims.get(place)?, country: countries.get(place)?.as_deref() })
        });
        for (place, way) in otherwise::switch(inner, (sending, campaign), caps, &mut change, full.collect(), now).await? {
            let Some((_, permit)) = answers.get_mut(place) else { continue };
            *permit = match way {
                Way::Switched => Permit::Switched,
                Way::Full(detail) => Permit::Refused(Refusal::Capped, detail),
            };
        }
    }
    change.connection().reserve_again(&reserved).await?;
    change.commit("ask the caps again").await
}
