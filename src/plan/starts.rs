//! Campaigns that a trigger starts: what happened to customers becomes messages at once (files.md §3, `when`).
//!
//! One run takes up what happens on a day to customers of one version; each row's `entry` is the event that started it. What is too old, does not
//! fit the trigger, or happens to somebody outside of the audience, starts nothing. The rows that wait are taken out in the
//! transaction that writes the messages, so a crash neither loses nor doubles one.

use super::decide::{Decided, Decider};
use super::due::Occurrence;
use super::write::{Ledger, Sink, samples, selection};
use super::{Error, Planner};
use crate::campaigns::{Campaign, Definitions, IfInside, ReEntry, Trigger, Workspace, response};
use crate::schedule::local_time;
use crate::segments::{ConsentIs, Moment, Samples, ZoneInForce, properties_hold};
use crate::store::definitions::CampaignRow;
use crate::store::planning::{Candidate, Selection};
use crate::store::runs::Run;
use crate::store::starts::{Start, Started};
use crate::store::{self, Store, from_micros};
use crate::types::{ConsentState, Refusal, RunId, Time, VersionId};
use std::collections::{BTreeMap, HashMap, HashSet};
use tokio::sync::mpsc;

/// Taken up together.
const BATCH: i64 = 1000;

impl Planner {
    /// Takes up everything that waits to start this campaign; gives the runs that got messages.
    pub(super) async fn start(
        &self,
        row: &CampaignRow,
        version: VersionId,
        definitions: &Definitions,
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
                self.store.drop_starts(row.id, &all).await?;
                continue;
            }
            let day = local_time(campaign.schedule.zone, now).date().to_string();
            let run = self.store.run_of_triggers(row.id, version, &day, now).await?;
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
        definitions: &Definitions,
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
            let room = match campaign.limit_audience {
                Some(limit) => limit.saturating_sub(self.store.messages_of_run(run.id).await?),
                None => u64::MAX,
            };
            let decided = decide_those(&self.store, &selection, &mut decider, &these, room).await?;
            let mut ledger = Ledger::new(&self.store, definitions, run, campaign, &selection.channels, now).await?;
            let entries = if turn + 1 == turns { all.to_vec() } else { these.into_values().collect() };
            ledger.started = Some(Started { entries, arms: decider.arms.rows(), restarts: campaign.if_inside == IfInside::Restart });
            ledger.take(decided).await?;
        }
        Ok(())
    }
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
    let (windows, mut read) = mpsc::channel::<Vec<Candidate>>(4);
    let reading = snapshot.candidates(selection, windows);
    let collecting = async {
        let mut all = Vec::new();
        while let Some(window) = read.recv().await {
            all.extend(window);
        }
        all
    };
    let (result, candidates) = tokio::join!(reading, collecting);
    result?;
    for (way, channel) in selection.channels.iter().enumerate() {
        let mut seen = HashSet::new();
        let addresses = candidates.iter().filter_map(|candidate| candidate.ways.get(way)?.address.clone());
        decider.share(*channel, addresses.filter(|address| !seen.insert(address.clone())).collect());
    }
    let mut all = Vec::new();
    for candidate in candidates {
        let mut decided = decider.decide(candidate);
        let entry = entries.get(&decided.row.customer).copied().unwrap_or_default();
        for row in std::iter::once(&mut decided.row).chain(&mut decided.otherwise) {
            row.entry = entry;
        }
        match (decided.row.refusal, room) {
            (Some(_), _) => {}
            (None, 0) => (decided.row.refusal, decided.row.next_at, decided.row.detail) = (Some(Refusal::OverAudience), None, None),
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
                ConsentIs::Withdrawn => state == ConsentState::Withdrawn,
                ConsentIs::None => false,
            };
            let topic = start.topic.as_deref();
            (topic == Some(consent.topic.as_str()) || topic == Some("*"))
                && consent.channel.is_none_or(|channel| Some(channel.code()) == start.channel)
                && consent.is.iter().any(is)
        }
    }
}
