//! Reads an audience window by window, decides, writes.

use super::caps::{Arbiter, Place, Request, reserved_classes};
use super::cost::{Costs, CountParts};
use super::decide::{Decided, Decider, asks_for_places, attributes, messages};
use super::due::Occurrence;
use super::limits::{Ahead, walk};
use super::warm_up::{self, WarmUps};
use crate::campaigns::{Approval, Campaign, Definitions, Order, ReEntry};
use crate::kill_points::{Point, reached};
use crate::policy::stops;
use crate::segments::{Condition, EventCondition, Moment, Samples};
use crate::store::audience::{Sql, compile};
use crate::store::batch::Connection;
use crate::store::blocks::Person;
use crate::store::candidates::{self, Selection};
use crate::store::consents::leave_out_objected;
use crate::store::planning::Planned;
use crate::store::planning_right::Right;
use crate::store::runs::{Arm, Run};
use crate::store::starts::Started;
use crate::store::{self, Dialect, Store, micros};
use crate::types::{CampaignId, Channel, Class, Refusal, Time};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// The reserved name of the segment without a rule (files.md §1).
const EVERYONE: &str = "everyone";

/// The conditions of an audience, compiled for the database.
pub struct Conditions {
    /// Segment and where.
    pub audience: Sql,
    pub except: Option<Sql>,
}

/// Who is drawn into the samples that the campaign's conditions ask for.
pub async fn samples(store: &Store, definitions: &Definitions, campaign: &Campaign) -> Result<Samples, store::Error> {
    let segments: BTreeMap<String, Condition> =
        definitions.segments.iter().map(|(key, segment)| (key.clone(), segment.condition.clone())).collect();
    let asked = campaign.audience.segment.iter().filter_map(|key| segments.get(key));
    let asked: Vec<&Condition> = asked.chain(&campaign.audience.condition).chain(&campaign.audience.except).collect();
    store.draw_samples(&asked, &segments, &definitions.workspace.seed).await
}

/// Adds to the people, by their customers' numbers, what the audience's conditions keep for the template under `as:` names.
pub async fn add_saved(
    store: &Store,
    definitions: &Definitions,
    campaign: &Campaign,
    people: Vec<(i64, &mut Person)>,
    now: Time,
) -> Result<(), store::Error> {
    let mut saved: Vec<(String, EventCondition)> = Vec::new();
    let mut asked: Vec<&Condition> = campaign.audience.condition.iter().collect();
    let mut open: Vec<String> = campaign.audience.segment.iter().cloned().collect();
    let mut seen = BTreeSet::new();
    loop {
        while let Some(condition) = asked.pop() {
            saved.extend(condition.saved().into_iter().map(|(name, event)| (name.to_string(), event.clone())));
            open.extend(condition.segments());
        }
        let Some(key) = open.pop() else { break };
        if let Some(segment) = definitions.segments.get(&key).filter(|_| seen.insert(key)) {
            asked.push(&segment.condition);
        }
    }
    if saved.is_empty() || people.is_empty() {
        return Ok(());
    }
    let segments = BTreeMap::new();
    let moment = moment(definitions, campaign, &segments, Samples::NONE, now);
    let customers: Vec<i64> = people.iter().map(|(customer, _)| *customer).collect();
    let mut found = store.saved_events(&customers, &saved, &moment).await?;
    for (customer, person) in people {
        if let (Ok(serde_json::Value::Object(mut attributes)), Some(names)) =
            (serde_json::from_str(&person.attributes), found.remove(&customer))
        {
            attributes.extend(names);
            person.attributes = serde_json::Value::Object(attributes).to_string();
        }
    }
    Ok(())
}

/// When and for which workspace the campaign's conditions are asked.
fn moment<'a>(
    definitions: &'a Definitions,
    campaign: &Campaign,
    segments: &'a BTreeMap<String, Condition>,
    samples: &'a Samples,
    now: Time,
) -> Moment<'a> {
    let workspace = &definitions.workspace;
    Moment {
        now,
        zone: campaign.schedule.zone_in_force(),
        segments,
        currency: &workspace.currency,
        rates: &workspace.rates,
        seed: &workspace.seed,
        samples,
    }
}

/// Compiles segment and where, and except, as of `now` in the campaign's zone.
pub fn conditions(definitions: &Definitions, campaign: &Campaign, samples: &Samples, now: Time, dialect: Dialect) -> Conditions {
    let segments: BTreeMap<String, Condition> =
        definitions.segments.iter().map(|(key, segment)| (key.clone(), segment.condition.clone())).collect();
    let moment = moment(definitions, campaign, &segments, samples, now);
    let mut all: Vec<Condition> =
        campaign.audience.segment.iter().filter(|key| *key != EVERYONE).map(|key| Condition::Segment(key.clone())).collect();
    all.extend(campaign.audience.condition.clone());
    let mut audience = Sql::new(dialect);
    compile(&Condition::All(all), &moment, dialect, &mut audience);
    let except = (!campaign.audience.except.is_empty()).then(|| {
        let mut sql = Sql::new(dialect);
        compile(&Condition::Any(campaign.audience.except.clone()), &moment, dialect, &mut sql);
        sql
    });
    Conditions { audience, except }
}

/// What is read for a plan. `campaign_id` is that of the campaign's row; without one nothing was ever sent.
pub fn selection(
    definitions: &Definitions,
    campaign: &Campaign,
    campaign_id: Option<CampaignId>,
    occurrence: &Occurrence,
    samples: &Samples,
    now: Time,
    dialect: Dialect,
) -> Selection {
    let Conditions { audience, except } = conditions(definitions, campaign, samples, now, dialect);
    let mut condition = Sql::new(dialect);
    condition.push("(");
    condition.append(&audience);
    condition.push(")");
    if let Some(own_day) = &campaign.schedule.own_day {
        let segments = BTreeMap::new();
        condition.push(" AND (");
        compile(
            &own_day.condition(occurrence.wall.date()),
            &moment(definitions, campaign, &segments, samples, now),
            dialect,
            &mut condition,
        );
        condition.push(")");
    }
    if let Some(except) = except {
        condition.push(" AND NOT (");
        condition.append(&except);
        condition.push(")");
    }
    // Nothing of theirs is looked at for advertising: no rule is asked about them, and no row of the ledger is made.
    if campaign.class != Class::Transactional {
        leave_out_objected(&mut condition);
    }
    let mut channels: Vec<Channel> = Vec::new();
    for message in messages(campaign) {
        if !channels.contains(&message.channel) {
            channels.push(message.channel);
        }
    }
    let since = match campaign.re_entry {
        ReEntry::Always => None,
        ReEntry::Never => Some(None),
        // Counted from the occurrence: a run in each person's zone is planned a day before.
        ReEntry::After(duration) => Some(Some(duration.subtracted(occurrence.at.max(now), campaign.schedule.zone))),
    };
    let engagement = match warm_up::is_warming(&definitions.workspace, campaign) {
        true => channels.iter().position(|channel| *channel == Channel::Email),
        false => (campaign.audience.order == Order::MostEngaged).then_some(0),
    };
    Selection {
        condition,
        topic: campaign.topic.clone(),
        channels,
        attributes: attributes(campaign).0,
        re_entry: campaign_id.zip(since).map(|(campaign, since)| candidates::ReEntry { campaign, since }),
        engagement,
        // Windows are of the person's zone only where the schedule is.
        places: campaign.schedule.recipient || asks_for_places(&definitions.workspace.policy),
        once: None,
    }
}

/// What planning a run came to.
pub struct Written {
    pub arms: Vec<Arm>,
    pub selected: u64,
    pub messages: u64,
    /// Under `limits.cost`, in minor units of its currency.
    pub cost: i64,
}

/// Plans a run that has no rows yet.
pub async fn plan(
    store: &Store,
    definitions: &Arc<Definitions>,
    campaign: &Campaign,
    run: &Run,
    forced: Option<&BTreeMap<String, String>>,
    (parts, right): (&CountParts, Right),
    now: Time,
) -> Result<Written, store::Error> {
    let samples = samples(store, definitions, campaign).await?;
    let occurrence = Occurrence::of(run, &campaign.schedule);
    let selection = selection(definitions, campaign, Some(run.campaign), &occurrence, &samples, now, store.dialect());
    let mut decider = Decider::new(&definitions.workspace, campaign, &selection.channels, run.number, occurrence, now);
    decider.force(forced);
    let mut limits = match run.is_test {
        true => None,
        false => arbiter(store, definitions, campaign, run.campaign, &selection.channels, now).await?,
    };
    let warm_ups = match run.is_test {
        true => None,
        false => WarmUps::new(store, definitions, campaign, now).await?,
    };
    let costs = campaign.limit_cost.as_ref().filter(|_| !run.is_test);
    let costs = costs.and_then(|_| Costs::new(store, definitions, campaign, &selection.channels, (parts, run.number), now));
    let mut ledger = Ledger::new(store, definitions, run, campaign, &selection.channels, now, right).await?;
    let ahead = Ahead { limits: limits.as_mut(), costs: costs.as_ref(), warm_ups: warm_ups.as_ref() };
    let cost = walk(store, campaign, &selection, &mut decider, ahead, &mut ledger, now).await?;
    Ok(Written { arms: decider.arms.rows(), selected: ledger.selected, messages: ledger.messages, cost })
}

pub(super) async fn arbiter(
    store: &Store,
    definitions: &Definitions,
    campaign: &Campaign,
    id: CampaignId,
    channels: &[Channel],
    now: Time,
) -> Result<Option<Arbiter>, store::Error> {
    let workspace = &definitions.workspace;
    Arbiter::new(store, &workspace.policy, workspace.zone, campaign, id, channels, now).await
}

/// Takes what was decided, a window at a time.
pub(super) trait Sink {
    async fn take(&mut self, decided: Vec<Decided>) -> Result<(), store::Error>;
}

/// Writes into the ledger.
pub(super) struct Ledger<'a> {
    store: &'a Store,
    run: &'a Run,
    campaign: &'a Campaign,
    caps: Option<Arbiter>,
    /// Messages of this class count for caps, today's or tomorrow's.
    is_reserved: bool,
    selected: u64,
    messages: u64,
    warm_ups: Option<WarmUps<'a>>,
    now: Time,
    right: Right,
    /// What a trigger started, taken out in the same transaction.
    pub started: Option<Started>,
    /// Customer and entry → cost, of what a trigger started.
    pub costs: HashMap<(i64, i64), i64>,
    /// From how many messages on a second person must agree to what a trigger started.
    pub approval: Option<&'a Approval>,
}

impl<'a> Ledger<'a> {
    pub async fn new(
        store: &'a Store,
        definitions: &'a Definitions,
        run: &'a Run,
        campaign: &'a Campaign,
        channels: &[Channel],
        now: Time,
        right: Right,
    ) -> Result<Self, store::Error> {
        let (mut caps, mut is_reserved, mut warm_ups) = (None, false, None);
        if !run.is_test {
            warm_ups = WarmUps::new(store, definitions, campaign, now).await?;
            caps = arbiter(store, definitions, campaign, run.campaign, channels, now).await?;
            is_reserved = reserved_classes(store).await?.contains(&campaign.class.code());
        }
        Ok(Ledger {
            store,
            run,
            campaign,
            caps,
            is_reserved,
            selected: 0,
            messages: 0,
            warm_ups,
            now,
            right,
            started: None,
            costs: HashMap::new(),
            approval: None,
        })
    }
}

/// Rows of one transaction where caps or a warm-up are asked in it: each may make another message give way, and an engine that is sending waits for all of them.
/// A window of rows that are only written stays below 50 ms as a whole.
const PART: usize = 1024;

impl Sink for Ledger<'_> {
    async fn take(&mut self, mut decided: Vec<Decided>) -> Result<(), store::Error> {
        // What a trigger started is few, and is taken out with its rows.
        if self.caps.is_none() && self.warm_ups.is_none() || self.started.is_some() {
            return self.write(decided).await;
        }
        // Those due together stay together, so that blocks are full.
        decided.sort_by_key(|one| one.row.due_at);
        let mut rest = decided.into_iter().peekable();
        while rest.peek().is_some() {
            self.write(rest.by_ref().take(PART).collect()).await?;
        }
        Ok(())
    }
}

impl Ledger<'_> {
    /// One transaction.
    async fn write(&mut self, mut decided: Vec<Decided>) -> Result<(), store::Error> {
        let mut change = self.store.change("write a plan").await?;
        change.connection().still_plans(self.right).await?;
        let now = micros(self.now);
        if self.started.as_ref().is_some_and(|started| started.restarts) {
            // First, so that what waits takes no place under a cap.
            let customers: Vec<i64> = decided.iter().map(|decided| decided.row.customer).collect();
            change.connection().restart(self.run.campaign, &customers, self.now).await?;
        }
        if let Some(caps) = &mut self.caps {
            let (places, requests) = requests(&decided, now);
            let answers = caps.settle(&mut change, &requests).await?;
            let again = answered(&mut decided, &places, answers);
            if !again.is_empty() {
                let requests: Vec<Request> = again.iter().filter_map(|place| Some(request(decided.get(*place)?, now))).collect();
                let answers = caps.settle(&mut change, &requests).await?;
                answered(&mut decided, &again, answers);
            }
        }
        if let Some(warm_ups) = &self.warm_ups {
            warm_ups.give(&mut change.connection(), &mut decided, self.now).await?;
        }
        self.selected += decided.len() as u64;
        let rows = in_order(decided);
        self.messages += rows.iter().filter(|row| row.refusal.is_none()).count() as u64;
        let mut connection = change.connection();
        if let Some(started) = &mut self.started {
            let stands = rows.iter().filter(|row| row.refusal.is_none());
            started.cost = stands.filter_map(|row| self.costs.get(&(row.customer, row.entry))).sum();
            connection.take_starts(self.run, started).await?;
        }
        let first = connection.write_plan(self.run.id, &rows, self.now).await?;
        if self.is_reserved {
            let last = first + i64::try_from(rows.len()).unwrap_or(0) - 1;
            connection.reserve_planned((first, last), self.run.campaign, self.campaign.priority, self.now).await?;
        }
        let asked = match self.approval.filter(|_| self.run.approval.is_none()) {
            Some(rule) => ask_approval(&mut connection, rule, self.run, self.campaign, self.now).await?,
            None => None,
        };
        change.commit("write a plan").await?;
        if let Some(why) = asked {
            tracing::error!(campaign = self.run.key, run = self.run.number, owner = self.campaign.owner, why, "held: a person has to look");
        }
        reached(Point::MidPlan);
        Ok(())
    }
}

/// Holds a run of triggers with more messages than may go without a second person's agreement; why, when it does.
async fn ask_approval(
    connection: &mut Connection<'_>,
    rule: &Approval,
    run: &Run,
    campaign: &Campaign,
    now: Time,
) -> Result<Option<String>, store::Error> {
    // Counted no further than the question wants: more are counted once, for the words.
    let enough = connection.messages_of_run(run.id, rule.above.saturating_add(1)).await?;
    if stops::approval(Some(rule), campaign.class, enough).is_none() {
        return Ok(None);
    }
    let messages = connection.messages_of_run(run.id, u64::MAX).await?;
    let Some(why) = stops::approval(Some(rule), campaign.class, messages) else { return Ok(None) };
    Ok(connection.ask_approval(run.id, &why, now).await?.then_some(why))
}

/// The places of the messages among what was decided, and what they ask of the caps.
pub(super) fn requests(decided: &[Decided], now: i64) -> (Vec<usize>, Vec<Request>) {
    let messages = decided.iter().enumerate().filter(|(_, one)| one.row.refusal.is_none());
    messages.map(|(place, one)| (place, request(one, now))).unzip()
}

pub(super) fn request(decided: &Decided, now: i64) -> Request {
    let Decided { row, lives, .. } = decided;
    Request {
        customer: row.customer,
        message: None,
        channel: row.channel,
        at: row.next_at.unwrap_or(row.due_at.max(now)),
        expires_at: row.expires_at,
        country: lives.country.clone(),
        zone: lives.zone.clone(),
        phone: lives.phone.clone(),
        is_leaving: false,
    }
}

/// Puts the answers into the rows; gives the places of those that now go by another channel and have to be asked for there.
pub(super) fn answered(decided: &mut [Decided], places: &[usize], answers: Vec<Place>) -> Vec<usize> {
    let mut again = Vec::new();
    for (place, answer) in places.iter().zip(answers) {
        let Some(one) = decided.get_mut(*place) else { continue };
        match answer {
            Place::Taken { .. } => {}
            Place::Later { until, detail } => (one.row.next_at, one.row.detail) = (Some(until), Some(detail)),
            Place::Otherwise(detail) => match one.otherwise.take() {
                Some(otherwise) => {
                    one.row = *otherwise;
                    again.push(*place);
                }
                None => refuse(&mut one.row, detail),
            },
            Place::Full(detail) => refuse(&mut one.row, detail),
        }
    }
    again
}

fn refuse(row: &mut Planned, detail: String) {
    (row.refusal, row.detail, row.next_at) = (Some(Refusal::Capped), Some(detail), None);
}

/// Messages in blocks first, so that blocks are full, then those that wait, then refusals; by due time and mailbox site.
fn in_order(decided: Vec<Decided>) -> Vec<Planned> {
    let key = |row: &Planned| (row.refusal.is_some(), row.next_at.is_some(), row.due_at);
    let compare = |a: &Planned, b: &Planned| key(a).cmp(&key(b)).then_with(|| (&a.site, a.customer).cmp(&(&b.site, b.customer)));
    // Places are put in order and each row is moved once: rows are large.
    let mut places: Vec<usize> = (0..decided.len()).collect();
    places.sort_by(|a, b| compare(&decided[*a].row, &decided[*b].row));
    let mut rows: Vec<Option<Planned>> = decided.into_iter().map(|decided| Some(decided.row)).collect();
    places.into_iter().filter_map(|place| rows.get_mut(place)?.take()).collect()
}
