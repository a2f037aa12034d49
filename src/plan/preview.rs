//! What a run would be if it were planned now: whom it selects and refuses, when and at what cost. Nothing is written.

use super::caps::{Arbiter, Request};
use super::cost::{self, Costs, CountParts};
use super::decide::{Decided, Decider};
use super::due::Occurrence;
use super::limits::{Ahead, walk};
use super::warm_up::{Books, WarmUps};
use super::write::{Sink, answered, arbiter, request, requests, samples, selection};
use crate::campaigns::{Campaign, Definitions};
use crate::store::candidates::Selection;
use crate::store::people_once::PeopleOnce;
use crate::store::planning::Planned;
use crate::store::runs::Arm;
use crate::store::warm_up::BEYOND;
use crate::store::{self, Store, micros};
use crate::types::{CampaignId, Channel, Refusal, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a run would be, without writing anything.
#[derive(Debug, Clone, Default)]
pub struct Preview {
    pub selected: u64,
    pub refused: BTreeMap<Refusal, u64>,
    /// Messages that would wait by rule, by what they wait for.
    pub deferred: BTreeMap<String, u64>,
    /// Letters that would go as the identity that sends what a warm-up has no room for.
    pub beyond: u64,
    /// Messages by arm and channel.
    pub messages: BTreeMap<(i16, Channel), u64>,
    pub arms: Vec<Arm>,
    /// What the messages cost, by currency in minor units.
    pub cost: BTreeMap<String, i64>,
    /// Up to `SAMPLES` of the messages, of different arms and channels where there are some.
    pub samples: Vec<Planned>,
}

/// How many messages of a preview are kept to be shown.
pub const SAMPLES: usize = 3;

/// A campaign before its preview: on which date it would be planned, and whom it would select then.
#[derive(Debug)]
pub struct Foreseen {
    /// `None`: it was never applied.
    id: Option<CampaignId>,
    occurrence: Occurrence,
    selection: Selection,
}

/// As it would be on the next date: each person's own time is to come then, and it is somebody's day. `once` keeps what the previews of other campaigns
/// read too.
pub async fn foresee(
    store: &Store,
    definitions: &Definitions,
    campaign: &Campaign,
    id: Option<CampaignId>,
    once: &Arc<PeopleOnce>,
    now: Time,
) -> Result<Foreseen, store::Error> {
    let samples = samples(store, definitions, campaign).await?;
    let occurrence = Occurrence::next(&campaign.schedule, now).unwrap_or_else(|| Occurrence::now(&campaign.schedule, now));
    let mut selection = selection(definitions, campaign, id, &occurrence, &samples, now, store.dialect());
    selection.once = Some(once.clone());
    Ok(Foreseen { id, occurrence, selection })
}

/// Finds out for several campaigns together whom they select, before their previews.
pub async fn look_together(store: &Store, campaigns: &[&Foreseen], once: &PeopleOnce) -> Result<(), store::Error> {
    let selections: Vec<&Selection> = campaigns.iter().map(|campaign| &campaign.selection).collect();
    store.snapshot().await?.learn(once, &selections).await
}

/// Counts what a run would be if it were planned now.
pub async fn preview(
    store: &Store,
    definitions: &Arc<Definitions>,
    campaign: &Campaign,
    foreseen: Foreseen,
    parts: &CountParts,
    now: Time,
) -> Result<Preview, store::Error> {
    let Foreseen { id: campaign_id, occurrence, selection } = foreseen;
    // Who comes first under limits is drawn for each run anew: for the next one here.
    let number = match campaign_id {
        Some(campaign) => store.next_run_number(campaign).await?,
        None => 1,
    };
    let mut decider = Decider::new(&definitions.workspace, campaign, &selection.channels, number, occurrence, now);
    // One that was never applied has sent nothing yet.
    let id = campaign_id.unwrap_or(CampaignId(0));
    let caps = arbiter(store, definitions, campaign, id, &selection.channels, now).await?;
    let mut limits = arbiter(store, definitions, campaign, id, &selection.channels, now).await?;
    let costs = Costs::new(store, definitions, campaign, &selection.channels, (parts, number), now);
    let limited = costs.as_ref().filter(|_| campaign.limit_cost.is_some());
    let warm_ups = WarmUps::new(store, definitions, campaign, now).await?;
    let books = match &warm_ups {
        Some(warm_ups) => Some((warm_ups, warm_ups.books(store, now).await?)),
        None => None,
    };
    let mut counting = Counting { store, caps, costs: costs.as_ref(), books, now, preview: Preview::default() };
    if counting.costs.is_some() {
        decider.keep_countries();
    }
    let ahead = Ahead { limits: limits.as_mut(), costs: limited, warm_ups: warm_ups.as_ref() };
    walk(store, campaign, &selection, &mut decider, ahead, &mut counting, now).await?;
    let mut preview = counting.preview;
    preview.arms = decider.arms.rows();
    let mut kinds = BTreeSet::new();
    preview.samples.sort_by_key(|row| !kinds.insert((row.arm, row.channel)));
    preview.samples.truncate(SAMPLES);
    Ok(preview)
}

/// Only counts.
struct Counting<'a> {
    store: &'a Store,
    caps: Option<Arbiter>,
    costs: Option<&'a Costs<'a>>,
    books: Option<(&'a WarmUps<'a>, Books<'a>)>,
    now: Time,
    preview: Preview,
}

impl Sink for Counting<'_> {
    async fn take(&mut self, mut decided: Vec<Decided>) -> Result<(), store::Error> {
        if let Some(caps) = &mut self.caps {
            let (places, requests) = requests(&decided, micros(self.now));
            let answers = caps.preview(self.store, &requests).await?;
            let again = answered(&mut decided, &places, answers);
            if !again.is_empty() {
                let requests: Vec<Request> =
                    again.iter().filter_map(|place| Some(request(decided.get(*place)?, micros(self.now)))).collect();
                let answers = caps.preview(self.store, &requests).await?;
                answered(&mut decided, &again, answers);
            }
        }
        if let Some((warm_ups, books)) = &mut self.books {
            warm_ups.preview(books, &mut decided, self.now);
        }
        let preview = &mut self.preview;
        if let Some(costs) = self.costs {
            costs.of(&decided).await?.into_iter().for_each(|cost| cost::add(&mut preview.cost, cost));
        }
        preview.selected += decided.len() as u64;
        for Decided { row, .. } in decided {
            match row.refusal {
                Some(refusal) => *preview.refused.entry(refusal).or_default() += 1,
                None => {
                    if row.warm_up_day == Some(BEYOND) {
                        preview.beyond += 1;
                    }
                    if row.next_at.is_some() {
                        *preview.deferred.entry(row.detail.clone().unwrap_or_default()).or_default() += 1;
                    }
                    let count = preview.messages.entry((row.arm, row.channel)).or_default();
                    *count += 1;
                    if *count == 1 || preview.samples.len() < SAMPLES {
                        preview.samples.push(row);
                    }
                }
            }
        }
        Ok(())
    }
}
