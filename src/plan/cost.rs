//! What messages would cost by the prices of posthaste.yaml, and who is over `limits.cost`.
//!
//! A message costs the price of the dearest provider that may usually take it (its channel and country, no backup): which one takes it is drawn when it is
//! handed over. A short message costs that for each part of its text as this person gets it; one that cannot be written for the person
//! costs nothing, since it will not be sent.

use super::decide::{Decided, Rank};
use super::{add_saved, country_of_phone};
use crate::campaigns::{Campaign, Definitions, Workspace};
use crate::literals::{Money, minor_digits};
use crate::store::blocks::Due;
use crate::store::planning::Planned;
use crate::store::{self, Store};
use crate::types::{Channel, Time, from_micros};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Writes a campaign's short messages to see how many parts they need.
pub trait Parts: Send + Sync {
    /// Parts of this message; `None` when it cannot be written for this person.
    fn of(&self, due: &Due, date: Time) -> Option<u16>;
}

/// Makes [`Parts`] of a campaign: definitions, its key, the run's number, and when it is due.
pub type CountParts = Arc<dyn Fn(&Arc<Definitions>, &str, i64, Time) -> Box<dyn Parts> + Send + Sync>;

/// The prices that a campaign's messages meet.
pub struct Costs<'a> {
    store: &'a Store,
    definitions: &'a Definitions,
    campaign: &'a Campaign,
    parts: Box<dyn Parts>,
    now: Time,
}

impl<'a> Costs<'a> {
    /// `None` when no provider of these channels has a price.
    pub fn new(
        store: &'a Store,
        definitions: &'a Arc<Definitions>,
        campaign: &'a Campaign,
        channels: &[Channel],
        (parts, run_number): (&CountParts, i64),
        now: Time,
    ) -> Option<Self> {
        let mut of_channels = definitions.workspace.providers.values().filter(|provider| channels.contains(&provider.channel));
        of_channels.any(|provider| !provider.price.is_empty()).then(|| Costs {
            store,
            definitions,
            campaign,
            parts: parts(definitions, &campaign.key, run_number, now),
            now,
        })
    }

    /// What each of these costs, in their order; nothing for refusals and for what has no price.
    pub async fn of(&self, decided: &[Decided]) -> Result<Vec<Option<Money>>, store::Error> {
        let prices: Vec<Option<&Money>> = decided.iter().map(|one| self.price(one)).collect();
        let priced = decided.iter().zip(&prices).filter(|(_, price)| price.is_some()).map(|(one, _)| &one.row);
        let parts = self.parts(&priced.filter(|row| row.channel == Channel::Sms).collect::<Vec<_>>()).await?;
        let cost = |(one, price): (&Decided, Option<&Money>)| {
            let count =
                if one.row.channel == Channel::Sms { parts.get(&(one.row.customer, one.row.entry)).copied().unwrap_or(0) } else { 1 };
            price.map(|price| Money { minor: price.minor.saturating_mul(i64::from(count)), currency: price.currency.clone() })
        };
        Ok(decided.iter().zip(prices).map(cost).collect())
    }

    /// The price of one part or letter.
    pub fn price(&self, decided: &Decided) -> Option<&'a Money> {
        let row = &decided.row;
        if row.refusal.is_some() {
            return None;
        }
        match row.channel {
            Channel::Sms => {
                let country = row.address.as_deref().and_then(country_of_phone);
                price(&self.definitions.workspace, row.channel, country.as_deref())
            }
            channel => price(&self.definitions.workspace, channel, decided.lives.country.as_deref()),
        }
    }

    /// Customer and entry → parts of the short message.
    async fn parts(&self, rows: &[&Planned]) -> Result<HashMap<(i64, i64), u16>, store::Error> {
        if rows.is_empty() {
            return Ok(HashMap::new());
        }
        let customers: Vec<i64> = rows.iter().map(|row| row.customer).collect();
        let mut people = self.store.people(&customers).await?;
        add_saved(self.store, self.definitions, self.campaign, people.iter_mut().map(|(id, person)| (*id, person)).collect(), self.now)
            .await?;
        let people: HashMap<i64, _> = people.into_iter().collect();
        let trigger = self.campaign.schedule.when.as_ref().and_then(|trigger| trigger.event());
        let mut events = match trigger {
            Some(name) => self.store.trigger_events(name, &rows.iter().map(|row| (row.customer, row.entry)).collect::<Vec<_>>()).await?,
            None => HashMap::new(),
        };
        let mut parts = HashMap::with_capacity(rows.len());
        for row in rows {
            let Some(person) = people.get(&row.customer) else { continue };
            let mut due =
                Due::alone(row.channel, row.arm, row.address.as_deref().map(String::from), from_micros(row.due_at), person.clone());
            (due.customer, due.event) = (row.customer, events.remove(&(row.customer, row.entry)));
            if let Some(count) = self.parts.of(&due, from_micros(row.due_at).max(self.now)) {
                parts.insert((row.customer, row.entry), count);
            }
        }
        Ok(parts)
    }

    /// In minor units of the limit's currency, rounded up; nothing where there is no rate.
    pub fn in_currency(&self, cost: Option<&Money>, currency: &str) -> i64 {
        cost.and_then(|cost| converted(cost, currency, &self.definitions.workspace)).unwrap_or(0)
    }
}

/// The dearest among those who usually serve the country on this channel; backups only where nobody else does.
fn price<'a>(workspace: &'a Workspace, channel: Channel, country: Option<&str>) -> Option<&'a Money> {
    let serves = |backup: bool| {
        let providers = workspace.providers.values().filter(move |provider| {
            let is_of = provider.channel == channel && provider.weight > 0 && provider.backup == backup;
            is_of && provider.countries.as_ref().is_none_or(|countries| country.is_some_and(|country| countries.contains(country)))
        });
        providers.collect::<Vec<_>>()
    };
    let providers = Some(serves(false)).filter(|usual| !usual.is_empty()).unwrap_or_else(|| serves(true));
    let prices = providers
        .into_iter()
        .filter_map(|provider| country.and_then(|country| provider.price.get(country)).or_else(|| provider.price.get("other")));
    prices.max_by(|a, b| {
        let in_own = |money: &Money| converted(money, &workspace.currency, workspace).unwrap_or(money.minor);
        (in_own(a), a.minor).cmp(&(in_own(b), b.minor))
    })
}

/// By the workspace's rates, rounded up; `None` where one is missing.
fn converted(money: &Money, currency: &str, workspace: &Workspace) -> Option<i64> {
    if money.currency == currency {
        return Some(money.minor);
    }
    let rate = |code: &str| if code == workspace.currency { Some(1.0) } else { workspace.rates.get(code).copied() };
    let major = money.major() * rate(&money.currency)? / rate(currency)?;
    // A price that is exact in decimals must not be rounded up by a binary fraction.
    Some((major * 10f64.powi(minor_digits(currency).unwrap_or(2) as i32) - 1e-6).ceil() as i64)
}

/// Who still fits into a sum, in the order of their ranks: from the first who does not on, nobody who costs something does. Gives the last
/// rank that fits and the sum of all that do.
pub fn last_that_fits(mut costs: Vec<(Rank, i64)>, limit: i64) -> (Option<Rank>, i64) {
    costs.sort_unstable();
    let (mut sum, mut last) = (0_i64, None);
    for (rank, cost) in costs {
        if cost == 0 {
            continue;
        }
        match sum.checked_add(cost).filter(|sum| *sum <= limit) {
            Some(with) => (sum, last) = (with, Some(rank)),
            None => break,
        }
    }
    (last, sum)
}

/// Adds up by currency, in minor units.
pub fn add(sums: &mut BTreeMap<String, i64>, cost: Option<Money>) {
    if let Some(cost) = cost.filter(|cost| cost.minor != 0) {
        let sum = sums.entry(cost.currency).or_default();
        *sum = sum.saturating_add(cost.minor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_in_order_fit_and_what_is_free_always_does() {
        let rank = |place: i64| (place, 0, place);
        let costs = |list: &[i64]| list.iter().enumerate().map(|(place, cost)| (rank(place as i64), *cost)).rev().collect::<Vec<_>>();
        for (list, limit, expected) in [
            (vec![85, 85, 85], 170, (Some(rank(1)), 170)),
            (vec![85, 85, 85], 169, (Some(rank(0)), 85)),
            (vec![85, 0, 170, 85, 0], 180, (Some(rank(0)), 85)),
            (vec![0, 0], 0, (None, 0)),
            (vec![1], 0, (None, 0)),
            (vec![], 100, (None, 0)),
        ] {
            assert_eq!(last_that_fits(costs(&list), limit), expected, "{list:?} {limit}");
        }
    }
}
