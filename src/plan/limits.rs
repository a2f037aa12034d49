//! Goes through an audience and hands it on decided, a window at a time; with `limits` it goes through it twice, first to see who is within them.

use super::caps::Arbiter;
use super::cost::{self, Costs};
use super::decide::{Decided, Decider, Rank};
use super::warm_up::{Asking, Seat, WarmUps};
use super::write::{Sink, answered, requests};
use crate::campaigns::Campaign;
use crate::store::candidates::{Candidate, Selection, Snapshot, Window};
use crate::store::planning::Planned;
use crate::store::{self, Store, micros};
use crate::types::{Refusal, Time};
use std::collections::{BinaryHeap, HashMap};
use tokio::sync::mpsc;

/// What is asked before anything is written, to see who is within the limits.
pub(super) struct Ahead<'a, 'c> {
    pub limits: Option<&'a mut Arbiter>,
    pub costs: Option<&'a Costs<'c>>,
    pub warm_ups: Option<&'a WarmUps<'c>>,
}

/// Who is within the limits: everyone up to a rank, `None` where that is nobody.
#[derive(Debug, Clone, Copy, Default)]
struct Within {
    audience: Option<Option<Rank>>,
    /// Of those who cost something.
    cost: Option<Option<Rank>>,
    /// What they cost, in minor units of the limit's currency.
    sum: i64,
}

impl Within {
    /// The row of who is beyond a limit becomes a refusal.
    fn limited(&self, mut decided: Decided, costs: Option<&Costs<'_>>) -> Decided {
        let is_over =
            |last: Option<Option<Rank>>| last.is_some_and(|last| last.is_none_or(|last| decided.rank.is_some_and(|rank| rank > last)));
        let over = if decided.row.refusal.is_some() {
            None
        } else if is_over(self.audience) {
            Some(Refusal::OverAudience)
        } else {
            let is_over = is_over(self.cost) && costs.is_some_and(|costs| costs.price(&decided).is_some_and(|price| price.minor > 0));
            is_over.then_some(Refusal::OverCost)
        };
        if let Some(over) = over {
            over_limit(&mut decided.row, over);
        }
        decided
    }
}

/// One snapshot: with limits the audience is read once more before, to see who is within them, and with a warm-up to see who is more engaged than whom.
/// Gives what those within a limit of cost will cost.
pub(super) async fn walk<S: Sink>(
    store: &Store,
    campaign: &Campaign,
    selection: &Selection,
    decider: &mut Decider<'_>,
    mut ahead: Ahead<'_, '_>,
    sink: &mut S,
    now: Time,
) -> Result<i64, store::Error> {
    let mut snapshot = store.snapshot().await?;
    for channel in &selection.channels {
        let shared = snapshot.shared_addresses(*channel, selection.once.as_deref()).await?;
        decider.share(*channel, shared);
    }
    let (costs, warm_ups) = (ahead.costs, ahead.warm_ups);
    if costs.is_some() {
        decider.keep_countries();
    }
    if warm_ups.is_some() {
        decider.keep_engagement();
    }
    let within = match (campaign.limit_audience, costs) {
        (None, None) => Within::default(),
        _ => within(store, campaign, &mut snapshot, selection, decider, &mut ahead, now).await?,
    };
    let seats = match warm_ups {
        Some(warm_ups) => seats(store, warm_ups, &mut snapshot, selection, decider, (&mut ahead, &within), now).await?,
        None => HashMap::new(),
    };
    let (windows, mut read) = mpsc::channel::<Window>(4);
    // A task of its own: rows are read and unpacked on one processor while the other decides and writes.
    let reading = tokio::spawn({
        let selection = selection.clone();
        async move { snapshot.candidates(&selection, windows).await }
    });
    let mut decide = |candidate: &Candidate| {
        let mut decided = within.limited(decider.decide(candidate), costs);
        decided.seat = seats.get(&decided.row.customer).copied();
        decided
    };
    let mut next_window = async || -> Option<Vec<Decided>> {
        let window = read.recv().await?;
        let mut decided = Vec::with_capacity(window.len());
        for candidate in window.iter() {
            decided.push(decide(candidate));
            // In small pieces, so that the database does not wait for its next statement.
            if decided.len() % 64 == 0 {
                tokio::task::yield_now().await;
            }
        }
        Some(decided)
    };
    let writing = async {
        let mut next = next_window().await;
        while let Some(decided) = next {
            // While one window is written, the next is decided.
            let (taken, window) = tokio::join!(sink.take(decided), next_window());
            taken?;
            next = window;
        }
        Ok(())
    };
    let written: Result<(), store::Error> = writing.await;
    drop(read);
    let stopped = |error: tokio::task::JoinError| store::Error::Unexpected { doing: "read the audience", what: error.to_string() };
    let read_result = reading.await.unwrap_or_else(|error| Err(stopped(error)));
    written.and(read_result)?;
    Ok(within.sum)
}

/// A message that would have been, and is one too many.
pub(super) fn over_limit(row: &mut Planned, refusal: Refusal) {
    (row.refusal, row.next_at, row.detail) = (Some(refusal), None, None);
}

/// Goes through the audience once to see who is within the limits; whom a cap keeps from it takes nobody's place.
async fn within(
    store: &Store,
    campaign: &Campaign,
    snapshot: &mut Snapshot,
    selection: &Selection,
    decider: &mut Decider<'_>,
    ahead: &mut Ahead<'_, '_>,
    now: Time,
) -> Result<Within, store::Error> {
    let most = campaign.limit_audience.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let currency = campaign.limit_cost.as_ref().map_or("", |limit| &limit.currency);
    let mut first: BinaryHeap<(Rank, i64)> = BinaryHeap::new();
    let (windows, read) = mpsc::channel::<Window>(4);
    let reading = snapshot.candidates(selection, windows);
    let counting = async {
        // Ends with this block, also by an error: then nobody reads on.
        let mut read = read;
        while let Some(window) = read.recv().await {
            let mut decided: Vec<Decided> = window.iter().map(|candidate| decider.decide(candidate)).collect();
            if let Some(caps) = &mut ahead.limits {
                let (places, requests) = requests(&decided, micros(now));
                let answers = caps.preview(store, &requests).await?;
                answered(&mut decided, &places, answers);
            }
            let costs = match ahead.costs {
                Some(costs) => costs.of(&decided).await?.iter().map(|cost| costs.in_currency(cost.as_ref(), currency)).collect(),
                None => vec![0; decided.len()],
            };
            for (one, cost) in decided.into_iter().zip(costs).filter(|(one, _)| one.row.refusal.is_none()) {
                first.extend(one.rank.map(|rank| (rank, cost)));
                if first.len() > most {
                    first.pop();
                }
            }
        }
        Ok::<_, store::Error>(())
    };
    let (result, counted) = tokio::join!(reading, counting);
    counted.and(result)?;
    decider.rewind();
    let mut within = Within { audience: campaign.limit_audience.map(|_| first.peek().map(|(rank, _)| *rank)), ..Within::default() };
    if let (Some(_), Some(limit)) = (ahead.costs, &campaign.limit_cost) {
        let (last, sum) = cost::last_that_fits(first.into_vec(), limit.minor);
        (within.cost, within.sum) = (Some(last), sum);
    }
    Ok(within)
}

/// Goes through the audience once to see on which day of a warm-up each letter goes: by customer, the most engaged first.
async fn seats(
    store: &Store,
    warm_ups: &WarmUps<'_>,
    snapshot: &mut Snapshot,
    selection: &Selection,
    decider: &mut Decider<'_>,
    (ahead, within): (&mut Ahead<'_, '_>, &Within),
    now: Time,
) -> Result<HashMap<i64, Seat>, store::Error> {
    let mut asking = Asking::default();
    let (windows, read) = mpsc::channel::<Window>(4);
    let reading = snapshot.candidates(selection, windows);
    let gathering = async {
        let mut read = read;
        while let Some(window) = read.recv().await {
            let mut decided: Vec<Decided> = window.iter().map(|candidate| within.limited(decider.decide(candidate), ahead.costs)).collect();
            if let Some(caps) = &mut ahead.limits {
                let (places, requests) = requests(&decided, micros(now));
                let answers = caps.preview(store, &requests).await?;
                answered(&mut decided, &places, answers);
            }
            decided.iter().for_each(|one| asking.add(warm_ups, one, now));
        }
        Ok::<_, store::Error>(())
    };
    let (result, gathered) = tokio::join!(reading, gathering);
    gathered.and(result)?;
    decider.rewind();
    Ok(asking.seats(warm_ups, &mut warm_ups.books(store, now).await?))
}
