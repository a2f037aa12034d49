//! Campaigns that a trigger starts: what happened to customers becomes messages at once (files.md §3, `when`).
//!
//! One run takes up what happens on a day to customers of one version; each row's `entry` is the event that started it. What is too old, does not
//! fit the trigger, or happens to somebody outside of the audience, starts nothing. The rows that wait are taken out in the
//! transaction that writes the messages, so a crash neither loses nor doubles one.

use super::cost::{Costs, last_that_fits};
use super::decide::{Decided, Decider};
use super::due::Occurrence;
use super::limits::over_limit;
use super::write::{Ledger, Sink, samples, selection};
use super::{Error, Planner};
use crate::campaigns::{Campaign, Definitions, IfInside, ReEntry, Schedule, Trigger, Workspace, response};
use crate::literals::Money;
use crate::schedule::local_time;
use crate::segments::{ConsentIs, Moment, Samples, ZoneInForce, properties_hold};
use crate::store::candidates::{Selection, Window};
use crate::store::definitions::CampaignRow;
use crate::store::runs::Run;
use crate::store::starts::{Start, Started};
use crate::store::{self, Store, from_micros};
use crate::types::{ConsentState, Refusal, RunId, Time, VersionId};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Taken up together.
const BATCH: i64 = 1000;

impl Planner {
    /// Takes up everything that waits to start this campaign; gives the runs that got messages.
    pub(super) async fn start(
        &self,
        row: &CampaignRow,
        version: VersionId,
        definitions: &Arc<Definitions>,
        campaign: &Campaign,
        now: Time,
    ) -> Result<Vec<RunId>, Error> {
        let Some(trigger) = &campaign.schedule.when else { return Ok(Vec::new()) };
        let mut runs = Vec::new();
        loop {
            let waiting = self.store.starts(row.id, matches!(trigger, Trigger::Consent(_)), BATCH).await?;
            let Some(last) = waiting.last() else { break };
            let last = last.entry;
            let all: Vec<i64> = waiting.iter().map(|start| start.entry).collect();
            let fitting = fitting(trigger, definitions, campaign, waiting, now);
            let chosen = self.choose(row, campaign, fitting).await?;
            if chosen.is_empty() {
                self.store.drop_starts(row.id, &all, self.right()?).await?;
                continue;
            }
            let day = day_of(&campaign.schedule, now);
            let run = self.store.run_of_triggers(row.id, version, &day, now, self.right()?).await?;
            let Some(run) = self.store.run(run).await? else { break };
            self.write_started(&run, definitions, campaign, chosen, &all, now).await?;
            self.store.tell().await?;
            tracing::info!(campaign = row.key, entry = last, "started by a trigger");
            runs.push(run.id);
        }
        runs.dedup();
        Ok(runs)
    }

    /// One start for each customer, or each of them (`separate`); without those who are inside, or with what waits for them taken back.
    async fn choose(&self, row: &CampaignRow, campaign: &Campaign, starts: Vec<Start>) -> Result<Vec<Start>, Error> {
        if starts.is_empty() || campaign.if_inside == IfInside::Separate && campaign.re_entry == ReEntry::Always {
            return Ok(starts);
        }
        let customers: Vec<i64> = starts.iter().map(|start| start.customer_id).collect();
        let mut by_customer: BTreeMap<i64, Start> = BTreeMap::new();
        for start in starts {
            match campaign.if_inside {
                // The newest event counts.
                IfInside::Restart => drop(by_customer.insert(start.customer_id, start)),
                IfInside::Ignore | IfInside::Separate => drop(by_customer.entry(start.customer_id).or_insert(start)),
            }
        }
        if campaign.if_inside == IfInside::Ignore {
            for inside in self.store.inside(row.id, &customers).await? {
                by_customer.remove(&inside);
            }
        }
        let mut chosen: Vec<Start> = by_customer.into_values().collect();
        chosen.sort_by_key(|start| start.entry);
        Ok(chosen)
    }

    /// Decides the customers of these starts and writes their rows: those of several events of one customer in turns, so that each is decided in
    /// the light of the one before. `all` is what waited, whether it starts something or not.
    async fn write_started(
        &self,
        run: &Run,
        definitions: &Arc<Definitions>,
        campaign: &Campaign,
        chosen: Vec<Start>,
        all: &[i64],
        now: Time,
    ) -> Result<(), Error> {
        let samples = samples(&self.store, definitions, campaign).await?;
        let occurrence = Occurrence { recipient: false, ..Occurrence::now(&campaign.schedule, now) };
        let mut entries: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for start in chosen {
            entries.entry(start.customer_id).or_default().push(start.entry);
        }
        let turns = entries.values().map(Vec::len).max().unwrap_or(0);
        for turn in 0..turns {
            let these: HashMap<i64, i64> = entries.iter().filter_map(|(customer, all)| Some((*customer, *all.get(turn)?))).collect();
            let mut selection = selection(definitions, campaign, Some(run.campaign), &occurrence, &samples, now, self.store.dialect());
            let list: Vec<String> = these.keys().map(i64::to_string).collect();
            selection.condition.push(&format!(" AND c.id IN ({})", list.join(", ")));
            let mut decider = Decider::new(&definitions.workspace, campaign, &selection.channels, run.number, occurrence, now);
            decider.force(self.forced.get(&run.key));
            let costs = campaign.limit_cost.as_ref();
            let costs =
                costs.and_then(|_| Costs::new(&self.store, definitions, campaign, &selection.channels, (&self.parts, run.number), now));
            if costs.is_some() {
                decider.keep_countries();
            }
            let (messages, cost) = match campaign.limit_audience.is_some() || costs.is_some() {
                true => self.store.day_so_far(run.campaign, &day_of(&campaign.schedule, now)).await?,
                false => (0, 0),
            };
            let room = campaign.limit_audience.map_or(u64::MAX, |limit| limit.saturating_sub(messages));
            let mut decided = decide_those(&self.store, &selection, &mut decider, &these, room).await?;
            let mut ledger = Ledger::new(&self.store, definitions, run, campaign, &selection.channels, now, self.right()?).await?;
            let entries = if turn + 1 == turns { all.to_vec() } else { these.into_values().collect() };
            let restarts = campaign.if_inside == IfInside::Restart;
            ledger.started = Some(Started { entries, arms: decider.arms.rows(), restarts, cost: 0 });
            if let (Some(costs), Some(limit)) = (&costs, &campaign.limit_cost) {
                ledger.costs = within_cost(costs, &mut decided, limit, cost).await?;
            }
            ledger.approval = definitions.workspace.policy.approval.as_ref();
            ledger.take(decided).await?;
        }
        Ok(())
    }
}

/// Refuses who costs more than is left of the day's limit, in the order of their ranks. Gives customer and entry → cost of the rest.
async fn within_cost(
    costs: &Costs<'_>,
    decided: &mut [Decided],
    limit: &Money,
    spent: i64,
) -> Result<HashMap<(i64, i64), i64>, store::Error> {
    let each: Vec<i64> = costs.of(decided).await?.iter().map(|cost| costs.in_currency(cost.as_ref(), &limit.currency)).collect();
    let ranked = decided.iter().zip(&each).filter_map(|(one, cost)| Some((one.rank?, *cost)));
    let (last, _) = last_that_fits(ranked.collect(), limit.minor.saturating_sub(spent));
    let mut within = HashMap::new();
    for (one, cost) in decided.iter_mut().zip(each).filter(|(one, cost)| one.row.refusal.is_none() && *cost > 0) {
        if last.is_some_and(|last| one.rank.is_some_and(|rank| rank <= last)) {
            within.insert((one.row.customer, one.row.entry), cost);
        } else {
            over_limit(&mut one.row, Refusal::OverCost);
        }
    }
    Ok(within)
}

/// The day of a trigger's run.
fn day_of(schedule: &Schedule, now: Time) -> String {
    local_time(schedule.zone, now).date().to_string()
}

/// Decides the few customers of these entries; no more than `room` of them get a message.
async fn decide_those(
    store: &Store,
    selection: &Selection,
    decider: &mut Decider<'_>,
    entries: &HashMap<i64, i64>,
    mut room: u64,
) -> Result<Vec<Decided>, store::Error> {
    let mut snapshot = store.snapshot().await?;
    let (windows, mut read) = mpsc::channel::<Window>(4);
    let reading = snapshot.candidates(selection, windows);
    let collecting = async {
        let mut all = Vec::new();
        while let Some(window) = read.recv().await {
            all.extend(window.into_people());
        }
        all
    };
    let (result, candidates) = tokio::join!(reading, collecting);
    result?;
    for (way, channel) in selection.channels.iter().enumerate() {
        let mut seen = HashSet::new();
        let addresses = candidates.iter().filter_map(|candidate| candidate.ways.get(way)?.address.clone());
        decider.share(*channel, addresses.filter(|address| !seen.insert(address.clone())).map(|address| address.to_string()).collect());
    }
    let mut all = Vec::new();
    for candidate in &candidates {
        let mut decided = decider.decide(candidate);
        let entry = entries.get(&decided.row.customer).copied().unwrap_or_default();
        for row in std::iter::once(&mut decided.row).chain(decided.otherwise.as_deref_mut()) {
            row.entry = entry;
        }
        match (decided.row.refusal, room) {
            (Some(_), _) => {}
            (None, 0) => over_limit(&mut decided.row, Refusal::OverAudience),
            (None, _) => room -= 1,
        }
        all.push(decided);
    }
    Ok(all)
}

/// Those that are young enough, within the schedule's dates, and of which the trigger is true.
fn fitting(trigger: &Trigger, definitions: &Definitions, campaign: &Campaign, starts: Vec<Start>, now: Time) -> Vec<Start> {
    let schedule = &campaign.schedule;
    let oldest = schedule.missed.longest_ago().subtracted(now, schedule.zone);
    let today = local_time(schedule.zone, now);
    let bounds = &schedule.bounds;
    let is_open = bounds.from.is_none_or(|from| today >= from)
        && bounds.until.is_none_or(|until| today <= until)
        && !bounds.blackout.iter().any(|dates| dates.contains(today.date()));
    let holds = |start: &Start| from_micros(start.at) >= oldest && is_true(trigger, &definitions.workspace, start);
    if is_open { starts.into_iter().filter(holds).collect() } else { Vec::new() }
}

fn is_true(trigger: &Trigger, workspace: &Workspace, start: &Start) -> bool {
    match trigger {
        Trigger::Event { filter, .. } => {
            let moment = Moment {
                now: from_micros(start.at),
                zone: ZoneInForce::Fixed(workspace.zone),
                segments: &BTreeMap::new(),
                currency: &workspace.currency,
                rates: &workspace.rates,
                seed: &workspace.seed,
                samples: Samples::NONE,
            };
            let properties = start.properties.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
            properties_hold(filter, &properties, None, &moment)
        }
        Trigger::Message(message) => {
            let of = |list: &[String], value: &Option<String>| list.is_empty() || value.as_ref().is_some_and(|value| list.contains(value));
            let tags: Vec<String> = start.tags.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
            start.campaign.is_some()
                && of(&message.campaigns, &start.campaign)
                && of(&message.topic, &start.topic)
                && of(&message.category, &start.category)
                && of(&message.variant, &start.variant)
                && (message.tag.is_empty() || message.tag.iter().any(|tag| tags.contains(tag)))
                && (message.class.is_empty() || message.class.iter().any(|class| Some(class.code()) == start.class))
                && (message.channel.is_empty() || message.channel.iter().any(|channel| Some(channel.code()) == start.channel))
                // Only people count, unless machines are asked for; a verdict may still change.
                && (message.machine || start.verdict.unwrap_or(0) == crate::types::Verdict::Human.code())
                && message.was.iter().any(|was| response(*was).is_some())
        }
        Trigger::Consent(consent) => {
            let Some(state) = start.state.and_then(ConsentState::from_code) else { return false };
            let is = |is: &ConsentIs| match is {
                ConsentIs::Granted => matches!(state, ConsentState::Granted | ConsentState::Confirmed),
                ConsentIs::Confirmed => state == ConsentState::Confirmed,
                ConsentIs::Pending => state == ConsentState::Pending,
                ConsentIs::Withdrawn => matches!(state, ConsentState::Withdrawn | ConsentState::Objected),
                ConsentIs::None => false,
            };
            let topic = start.topic.as_deref();
            (topic == Some(consent.topic.as_str()) || topic == Some("*"))
                && consent.channel.is_none_or(|channel| Some(channel.code()) == start.channel)
                && consent.is.iter().any(is)
        }
    }
}
