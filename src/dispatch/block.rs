//! One claim: a block (on a virtual clock several of one run), or messages whose time to be tried again has come. Loads it, asks again what may have
//! changed, composes, and lets each message fly.

use super::breaker::Admission;
use super::compose::{Compiled, Sending, Unsendable, zone_of_person};
use super::hand_over::{Flight, Paid, fly};
use super::lanes::Lane;
use super::permits::{self, Permit};
use super::shares::{Shares, weight};
use super::{AGAIN_LEASE, BLOCKS_OF_A_RUN, Inner};
use crate::campaigns::Campaign;
use crate::kill_points::{Point, reached};
use crate::plan::{add_saved, campaign_of, conditions, message_of, reserved_classes, samples};
use crate::policy::{Facts, Rules, decide};
use crate::store::blocks::{Again, Block, Due, Which};
use crate::store::ledger::{Claim, Left, Recorded};
use crate::store::{self, from_micros, micros};
use crate::types::{Channel, Class, Failure, MessageState, Refusal, RunId, Time};
use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// How long, for all of its messages together, a claim waits for what retries under way may give back.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was claimed.
pub(super) struct Claimed {
    run: RunId,
    which: Which,
    /// One for each block, in their order; or the one of messages that are tried again.
    claims: Vec<Claim>,
    /// Of a transactional campaign: it has a place of its own.
    pub urgent: bool,
}

impl Claimed {
    /// From now on it counts as under way.
    fn new(inner: &Inner, run: RunId, which: Which, claims: Vec<Claim>, urgent: bool) -> Claimed {
        *inner.working().entry(run).or_default() += 1;
        Claimed { run, which, claims, urgent }
    }
}

/// Blocks that are worked on together on a virtual clock, where nobody else waits for one …
const BLOCKS_TOGETHER: usize = 16;
/// … and so many times as many are claimed at once.
const TIMES: usize = 4;

/// How long it is known which runs have blocks to send.
const KNOWN: chrono::TimeDelta = chrono::TimeDelta::milliseconds(100);

/// Whose block comes next.
#[derive(Default)]
pub(super) struct Turns {
    shares: Shares,
    /// Runs that had a free block that was due, and when that was looked up.
    waiting: Option<(Vec<RunId>, Time)>,
}

/// Blocks of transactional campaigns first, where there is a place for one more; then, where there is a usual place, the block whose turn it is, and when there
/// is none, messages to try again. A virtual clock asks for what is urgent nowhere and takes what is due first: nobody waits there.
pub(super) async fn claim(inner: &Inner, now: Time, usual: bool, urgent: bool) -> Result<Vec<Claimed>, store::Error> {
    let stalled: Vec<RunId> = {
        let mut stalled = inner.stalled();
        stalled.retain(|_, until| *until > now);
        stalled.keys().copied().collect()
    };
    let claimed = |blocks: &[Block], urgent: bool| -> Vec<Claimed> {
        let of_run = |blocks: &[Block]| {
            let claims: Vec<Claim> = blocks.iter().map(|block| Claim { block: block.id, fence: block.fence }).collect();
            claims.iter().for_each(|claim| inner.holding.block(*claim));
            blocks.first().map(|first| Claimed::new(inner, first.run, Which::Blocks(blocks.to_vec()), claims, urgent))
        };
        blocks.chunk_by(|one, next| one.run == next.run).flat_map(|blocks| blocks.chunks(BLOCKS_TOGETHER)).filter_map(of_run).collect()
    };
    let _alone = inner.claiming.lock().await;
    if urgent && inner.store.has_urgent_blocks(now).await? {
        let mut others: Vec<RunId> = stalled.clone();
        others.extend(inner.working().iter().filter(|(_, blocks)| **blocks >= BLOCKS_OF_A_RUN).map(|(run, _)| *run));
        let blocks = inner.store.claim_urgent_blocks(inner.node, now, 1, &others).await?;
        if !blocks.is_empty() {
            reached(Point::AfterClaim);
            return Ok(claimed(&blocks, true));
        }
    }
    if !usual {
        return Ok(Vec::new());
    }
    let blocks = match inner.clock.is_virtual() {
        true => inner.store.claim_blocks(inner.node, now, (BLOCKS_TOGETHER * TIMES) as i64, &stalled).await?,
        false => in_turn(inner, now, &stalled).await?,
    };
    if !blocks.is_empty() {
        reached(Point::AfterClaim);
        return Ok(claimed(&blocks, false));
    }
    let lease = now + AGAIN_LEASE;
    let again = inner.store.claim_again(inner.node, now, lease, 256).await?;
    let claim = Claim { block: 0, fence: micros(lease) };
    let claimed = |(run, ids): (RunId, Vec<i64>)| {
        inner.holding.messages(&ids, claim);
        Claimed::new(inner, run, Which::Leased { ids, lease: micros(lease) }, vec![claim], false)
    };
    Ok(again.into_iter().map(claimed).collect())
}

/// One block of the run whose turn it is, if there is any.
async fn in_turn(inner: &Inner, now: Time, stalled: &[RunId]) -> Result<Vec<Block>, store::Error> {
    let mut known = inner.turns().waiting.take().filter(|(runs, at)| !runs.is_empty() && now - *at < KNOWN);
    loop {
        let is_fresh = known.is_none();
        let (mut waiting, at) = match known.take() {
            Some(known) => known,
            None => (inner.store.runs_with_blocks(now).await?, now),
        };
        waiting.retain(|run| !stalled.contains(run));
        let working = inner.working().clone();
        let mut weights = HashMap::new();
        for run in waiting.iter().chain(working.keys()) {
            weights.insert(*run, inner.weight(*run).await);
        }
        let next = inner.turns().shares.next(&weights, &waiting, &working);
        let mut gone = Vec::new();
        for run in next {
            let blocks = inner.store.claim_blocks_of(run, inner.node, now, 1).await?;
            if blocks.is_empty() {
                gone.push(run);
                continue;
            }
            waiting.retain(|run| !gone.contains(run));
            let mut turns = inner.turns();
            turns.shares.took(run, weights.get(&run).copied().unwrap_or(1));
            turns.waiting = Some((waiting, at));
            return Ok(blocks);
        }
        if is_fresh {
            return Ok(Vec::new());
        }
    }
}

/// Counts the messages of a claim that are not decided yet; when the last one is, the block is finished, or given back.
pub(super) struct Open {
    inner: Arc<Inner>,
    pub claim: Claim,
    waiting: AtomicUsize,
    /// Something stays planned: the block is claimed again later.
    stays: AtomicBool,
    /// Claimed again not before this; the block's own due time when that is later.
    due: Mutex<Time>,
}

impl Open {
    /// A message was not decided after all, and stays in its block until `due`.
    pub fn stays(&self, due: Time) {
        self.stays.store(true, Ordering::SeqCst);
        let mut at = self.due.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *at = due.max(*at);
    }

    fn one_more(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
    }

    pub fn one_done(&self) {
        if self.waiting.fetch_sub(1, Ordering::SeqCst) == 1 && self.claim.block > 0 {
            if self.stays.load(Ordering::SeqCst) {
                let due = *self.due.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                self.inner.committer.released(self.claim, due);
            } else {
                self.inner.committer.finished(self.claim);
            }
        }
    }
}

/// What is known of a claim's messages; they are read before it is their turn.
pub(super) type Loaded = Result<Vec<Due>, crate::plan::Error>;

/// Reads the messages of a claim.
pub(super) async fn load(inner: Arc<Inner>, run: RunId, which: Which) -> Loaded {
    let now = inner.clock.now();
    let sending = inner.sending(run).await?;
    let definitions = &sending.compiled.definitions;
    let campaign = campaign_of(definitions, &sending.run.key)?;
    let again = again(&inner, &sending, campaign, now);
    let mut dues = inner.store.load_due(&which, &again).await?;
    let people = dues.iter_mut().map(|due| (due.customer, &mut due.person)).collect();
    add_saved(&inner.store, definitions, campaign, people, now).await?;
    Ok(dues)
}

/// Works through claims one after another, as a virtual clock wants it: each decides by what those before it have written. Only the messages of one run,
/// which never take each other's places, are read ahead.
pub(super) async fn work_in_turn(inner: &Arc<Inner>, claims: Vec<Claimed>) {
    let loading = |claimed: &Claimed| tokio::spawn(load(inner.clone(), claimed.run, claimed.which.clone()));
    let mut claims = claims.into_iter().peekable();
    let mut ahead = None;
    while let Some(claimed) = claims.next() {
        let loaded = ahead.take().unwrap_or_else(|| loading(&claimed)).await;
        ahead = claims.peek().filter(|next| next.run == claimed.run).map(loading);
        let stopped = |error: tokio::task::JoinError| store::Error::Unexpected { doing: "read messages", what: error.to_string() };
        work_loaded(inner.clone(), claimed, loaded.unwrap_or_else(|error| Err(stopped(error).into()))).await;
        inner.committer.flush().await;
    }
}

/// Reads and works through a claim.
pub(super) async fn work(inner: Arc<Inner>, claimed: Claimed) {
    let loaded = load(inner.clone(), claimed.run, claimed.which.clone()).await;
    work_loaded(inner, claimed, loaded).await;
}

/// Works through a claim. An error is logged and gives the block back.
async fn work_loaded(inner: Arc<Inner>, claimed: Claimed, loaded: Loaded) {
    let now = inner.clock.now();
    let open = |claim: &Claim| {
        Arc::new(Open {
            inner: inner.clone(),
            claim: *claim,
            // One for this function itself, so that the block is not finished before it is read.
            waiting: AtomicUsize::new(1),
            stays: AtomicBool::new(false),
            due: Mutex::new(Time::UNIX_EPOCH),
        })
    };
    let opens = Opens(claimed.claims.iter().map(open).collect());
    if let Err(error) = through(&inner, &claimed, &opens, loaded).await {
        tracing::error!(run = claimed.run.0, error = &error as &dyn std::error::Error, "cannot work on a block");
        let later = now + chrono::TimeDelta::minutes(1);
        inner.stalled().insert(claimed.run, later);
        opens.0.iter().for_each(|open| open.stays(later));
    }
    let mut working = inner.working();
    if let Some(blocks) = working.get_mut(&claimed.run) {
        *blocks -= 1;
        if *blocks == 0 {
            working.remove(&claimed.run);
        }
    }
    drop(working);
    opens.0.iter().for_each(|open| open.one_done());
}

/// One for each block of a claim, in their order.
struct Opens(Vec<Arc<Open>>);

impl Opens {
    fn of(&self, message: i64) -> Option<&Arc<Open>> {
        let after = self.0.partition_point(|open| open.claim.block <= message);
        self.0.get(after.saturating_sub(1))
    }
}

async fn through(inner: &Arc<Inner>, claimed: &Claimed, opens: &Opens, loaded: Loaded) -> Result<(), crate::plan::Error> {
    let dues = loaded?;
    let checked = inner.clock.now();
    let sending = inner.sending(claimed.run).await?;
    let definitions = &sending.compiled.definitions;
    let campaign = campaign_of(definitions, &sending.run.key)?;
    let dues: Vec<(&Arc<Open>, Due)> = dues.into_iter().filter_map(|due| Some((opens.of(due.id)?, due))).collect();
    dues.iter().for_each(|(open, _)| open.one_more());
    let mut rules: HashMap<Channel, Rules> = HashMap::new();
    let (mut of_allowed, mut allowed) = (Vec::with_capacity(dues.len()), Vec::with_capacity(dues.len()));
    for (open, due) in dues {
        let rules = rules.entry(due.channel).or_insert_with(|| Rules::new(&definitions.workspace.policy, campaign, due.channel));
        let now = inner.clock.now();
        if let Some((state, reason, detail)) = forbidden(&due, rules, now) {
            leave(inner, open, due.id, state, reason.map(Refusal::code), detail);
            continue;
        }
        let opens_at = opens_at(&due, campaign, now);
        if opens_at > now {
            defer(inner, open, &due, opens_at, "waits for the next window of the schedule".into());
            continue;
        }
        of_allowed.push(open);
        allowed.push(due);
    }
    let claims: Vec<Claim> = of_allowed.iter().map(|open| open.claim).collect();
    let allowed = match permits::ask(inner, &sending, campaign, (allowed, claims)).await {
        Ok(allowed) => allowed,
        Err(error) => {
            // They stay as they were.
            of_allowed.iter().for_each(|open| open.one_done());
            return Err(error.into());
        }
    };
    let mut patience = PATIENCE;
    for (open, (due, permit)) in of_allowed.into_iter().zip(allowed) {
        match permit {
            Permit::Refused(why, detail) => leave(inner, open, due.id, MessageState::Refused, Some(why.code()), Some(detail)),
            Permit::Later { until, why } => defer(inner, open, &due, until, why),
            Permit::Switched => open.one_done(),
            Permit::Granted if !inner.may_go(claimed.run) => stay(inner, open, &due, Time::UNIX_EPOCH, None),
            Permit::Granted => prepare(inner, open, (&sending, campaign), (due, checked), &mut patience, inner.clock.now()).await,
        }
    }
    Ok(())
}

/// When the schedule's windows let the message leave: now, or later.
fn opens_at(due: &Due, campaign: &Campaign, now: Time) -> Time {
    let schedule = &campaign.schedule;
    let zone = if schedule.recipient { zone_of_person(&due.person).unwrap_or(schedule.zone) } else { schedule.zone };
    schedule.open_from(now, zone)
}

/// The message waits by rule, by itself.
fn defer(inner: &Inner, open: &Open, due: &Due, until: Time, why: String) {
    inner.committer.left(Left {
        message: due.id,
        claim: open.claim,
        state: MessageState::Deferred,
        reason: None,
        detail: Some(why),
        next_at: Some(until),
    });
    open.one_done();
}

/// What became of a message that has waited since it was claimed.
pub(super) enum Meanwhile {
    MayGo,
    /// The state that it ends in, and why.
    Forbidden(MessageState, Option<Refusal>, Option<String>),
    /// It waits no more.
    Gone,
}

/// Asks once more about a message that was claimed long ago: under a slow pace, or behind a slow provider, a block lasts, and people leave meanwhile.
pub(super) async fn meanwhile(inner: &Arc<Inner>, run: RunId, claim: Claim, message: i64) -> Result<Meanwhile, crate::plan::Error> {
    let which = match claim.block {
        0 => Which::Leased { ids: vec![message], lease: claim.fence },
        _ => Which::Blocks(vec![Block { id: message, run, last: message, fence: claim.fence }]),
    };
    let dues = load(inner.clone(), run, which).await?;
    let Some(due) = dues.first() else { return Ok(Meanwhile::Gone) };
    let sending = inner.sending(run).await?;
    let definitions = &sending.compiled.definitions;
    let campaign = campaign_of(definitions, &sending.run.key)?;
    let rules = Rules::new(&definitions.workspace.policy, campaign, due.channel);
    Ok(match forbidden(due, &rules, inner.clock.now()) {
        Some((state, reason, detail)) => Meanwhile::Forbidden(state, reason, detail),
        None => Meanwhile::MayGo,
    })
}

/// Composes a message and lets it fly; what forbids it was asked at `checked`.
async fn prepare(
    inner: &Arc<Inner>,
    open: &Arc<Open>,
    (sending, campaign): (&Arc<Sending>, &Campaign),
    (due, checked): (Due, Time),
    patience: &mut Duration,
    now: Time,
) {
    let draw = super::hand_over::draw(due.id);
    let country = if due.channel == Channel::Sms {
        due.address.as_deref().and_then(crate::plan::country_of_phone)
    } else {
        due.person.country.clone()
    };
    let lanes = inner.outlets().lanes;
    let Some((lane, admission)) = lanes.choose(due.channel, country.as_deref(), due.id, now) else {
        // Nobody can take it now: the block waits, and so does its run.
        let later =
            lanes.next_probe(due.channel, now).unwrap_or(now + chrono::TimeDelta::minutes(1)).max(now + chrono::TimeDelta::seconds(1));
        inner.stalled().insert(sending.run.id, later);
        stay(inner, open, &due, later, Some("no provider can take it now"));
        return;
    };
    if lane.provider.only_records() {
        return record(inner, open, sending, &lane, due, now).await;
    }
    if let Some(until) = inner.sites().wait(lane.provider.name(), &due.site, draw, now) {
        let detail = Some(format!("{} asked {} to slow down", due.site, lane.provider.name()));
        inner.committer.left(Left {
            message: due.id,
            claim: open.claim,
            state: MessageState::Deferred,
            reason: None,
            detail,
            next_at: Some(until),
        });
        return open.one_done();
    }
    let is_retry = due.attempts > 0 && admission == Admission::Usual;
    let paid = if is_retry { pay(inner, &lane, sending.run.id, patience).await } else { None };
    if is_retry && paid.is_none() {
        // Much later, and no try is counted.
        let (least, part) = if due.channel == Channel::Email { (300, 300) } else { (15, 15) };
        let later = now + chrono::TimeDelta::seconds(least + part * i64::from((draw >> 48) as u16) / 65_536);
        return stay(inner, open, &due, later, Some("too many are tried again in vain: it waits for its turn"));
    }
    let urgent = campaign.class == Class::Transactional;
    let run = sending.run.id;
    let ready = async {
        let mut turns = Vec::new();
        for rate in
            sending.rate.iter().cloned().chain(lane.pace().map(|rate| inner.rates.get(&format!("provider:{}", lane.provider.name()), rate)))
        {
            turns.push(rate.turn(&inner.clock, urgent).await);
        }
        let composed = if urgent { &lane.composed_urgent } else { &lane.composed };
        (turns, composed.clone().acquire_owned().await)
    };
    let (turns, composed) = tokio::select! {
        (turns, Ok(composed)) = ready => (turns, composed),
        () = inner.halted(run) => return stay(inner, open, &due, Time::UNIX_EPOCH, None),
    };
    if super::warm_up::is_over(&due, inner.clock.now()) {
        // It waited for its turn until midnight: the new day is asked.
        return stay(inner, open, &due, Time::UNIX_EPOCH, None);
    }
    let date = due.first_try_at.map_or(now, from_micros);
    match inner.outlets().composer.compose(sending, &due, date) {
        Ok(made) => {
            reached(Point::AfterRender);
            let if_uncertain = message_of(campaign, due.arm, due.channel).if_uncertain;
            let is_reserved = sending.is_reserved;
            let flight = Flight {
                due,
                checked,
                composed: made,
                claim: open.claim,
                run,
                lane,
                admission,
                turns,
                if_uncertain,
                began: date,
                draw,
                is_reserved,
                urgent,
                paid,
                open: open.clone(),
            };
            // In a box: the runtime's own part of a task stays small, and is had fast.
            inner.flying.spawn(Box::pin(fly(inner.clone(), flight, composed)));
        }
        Err(unsendable) => unsent(inner, open, due.id, unsendable),
    }
    tokio::task::yield_now().await;
}

/// Pays for a retry. Those under way may give something back at once: they are waited for, as far as `patience` goes.
async fn pay(inner: &Inner, lane: &Arc<Lane>, run: RunId, patience: &mut Duration) -> Option<Paid> {
    loop {
        let mut paid_back = pin!(lane.paid_back.notified());
        // From here on nothing that is given back is missed.
        paid_back.as_mut().enable();
        let (paid, is_waiting) = Paid::take(lane, inner.clock.now());
        if paid.is_some() || !is_waiting || !inner.may_go(run) {
            return paid;
        }
        let begun = Instant::now();
        let is_over = tokio::select! {
            () = paid_back => false,
            () = tokio::time::sleep(*patience) => true,
            () = inner.halted(run) => true,
        };
        *patience = patience.saturating_sub(begun.elapsed());
        if is_over {
            return None;
        }
    }
}

pub(super) fn unsent(inner: &Inner, open: &Open, message: i64, unsendable: Unsendable) {
    match unsendable {
        Unsendable::Refused(refusal, detail) => leave(inner, open, message, MessageState::Refused, Some(refusal.code()), Some(detail)),
        Unsendable::Failed(failure, detail) => leave(inner, open, message, MessageState::Failed, Some(failure.code()), Some(detail)),
    }
}

/// Gives a message to a provider that only remembers: nothing leaves, so there is no mark, no pace and nothing to wait for.
async fn record(inner: &Arc<Inner>, open: &Arc<Open>, sending: &Sending, lane: &Lane, due: Due, now: Time) {
    match inner.outlets().composer.compose(sending, &due, due.first_try_at.map_or(now, from_micros)) {
        Ok(mut composed) => {
            if let Err(error) = composed.sign() {
                return unsent(inner, open, due.id, Unsendable::Failed(Failure::Policy, error.to_string()));
            }
            lane.provider.send(&composed.outgoing).await;
            inner.handed_over.fetch_add(1, Ordering::SeqCst);
            let provider = lane.provider.name().to_string();
            let counts_at = sending.is_reserved.then(|| due.counted(now).1);
            inner.committer.recorded(Recorded { message: due.id, claim: open.claim, provider, counts_at });
            open.one_done();
        }
        Err(unsendable) => unsent(inner, open, due.id, unsendable),
    }
}

/// What forbids a hand-over now, in the order of design.md §7.
fn forbidden(due: &Due, rules: &Rules, now: Time) -> Option<(MessageState, Option<Refusal>, Option<String>)> {
    let refused = |refusal: Refusal| Some((MessageState::Refused, Some(refusal), None));
    if due.erased {
        return refused(Refusal::Erased);
    }
    if due.expires_at.is_some_and(|at| at <= micros(now)) {
        return Some((MessageState::Expired, None, None));
    }
    let facts = Facts {
        // An address that the customer has no longer is none.
        address: due.address.as_deref().filter(|_| due.key.is_some() || due.channel == Channel::Webhook),
        suppression: due.suppression,
        consent: due.consent,
        consent_to_all: due.consent_to_all,
        country: due.person.country.as_deref(),
        ..Facts::default()
    };
    if let Err(refusal) = decide(&facts, rules, now) {
        return refused(refusal);
    }
    if due.excluded {
        return refused(Refusal::Excluded);
    }
    if due.left { refused(Refusal::LeftAudience) } else { None }
}

pub(super) fn leave(inner: &Inner, open: &Open, message: i64, state: MessageState, reason: Option<i16>, detail: Option<String>) {
    inner.committer.left(Left { message, claim: open.claim, state, reason, detail, next_at: None });
    open.one_done();
}

/// The message waits: in its block, or, when it is tried again, by itself.
pub(super) fn stay(inner: &Inner, open: &Open, due: &Due, later: Time, why: Option<&str>) {
    if open.claim.block > 0 {
        open.stays(later);
    } else {
        inner.committer.left(Left {
            message: due.id,
            claim: open.claim,
            state: MessageState::Retry,
            reason: None,
            detail: why.map(str::to_string),
            next_at: Some(later.max(inner.clock.now())),
        });
    }
    open.one_done();
}

fn again(inner: &Inner, sending: &Sending, campaign: &Campaign, now: Time) -> Again {
    let definitions = &sending.compiled.definitions;
    let event = campaign.schedule.when.as_ref().is_some_and(|trigger| trigger.event().is_some());
    let unread = !inner.outlets().composer.reads_people(sending);
    let (email, phone) = (sending.compiled.reads("email"), sending.compiled.reads("phone"));
    if campaign.audience.except.is_empty() && !campaign.audience.recheck {
        return Again { except: None, audience: None, topic: campaign.topic.clone(), event, unread, email, phone };
    }
    let conditions = conditions(definitions, campaign, &sending.samples, now, inner.store.dialect());
    Again {
        except: conditions.except,
        audience: campaign.audience.recheck.then_some(conditions.audience),
        topic: campaign.topic.clone(),
        event,
        unread,
        email,
        phone,
    }
}

impl Inner {
    /// By the priority of the run's campaign; what cannot be read fails when it is worked on.
    async fn weight(&self, run: RunId) -> u64 {
        let Ok(sending) = self.sending(run).await else { return 1 };
        campaign_of(&sending.compiled.definitions, &sending.run.key).map_or(1, |campaign| weight(campaign.priority))
    }

    /// The run with its compiled version, read once and kept.
    pub(super) async fn sending(&self, run: RunId) -> Result<Arc<Sending>, crate::plan::Error> {
        if let Some(found) = self.runs().get(&run) {
            return Ok(found.clone());
        }
        let row = self
            .store
            .run(run)
            .await?
            .ok_or_else(|| store::Error::Unexpected { doing: "read a run", what: format!("run {run} is gone") })?;
        let definitions = self.loaded.definitions(row.version).await?;
        let compiled = self.versions().get(&row.version).cloned();
        let compiled = compiled.unwrap_or_else(|| Arc::new(Compiled::new(definitions, &row.key, row.version)));
        self.versions().insert(row.version, compiled.clone());
        let arms: BTreeMap<i16, String> = self.store.arms(run).await?.into_iter().map(|arm| (arm.arm, arm.name)).collect();
        let samples = match campaign_of(&compiled.definitions, &row.key) {
            Ok(campaign) => samples(&self.store, &compiled.definitions, campaign).await?,
            Err(error) => return Err(error),
        };
        let is_reserved = match campaign_of(&compiled.definitions, &row.key) {
            Ok(campaign) => !row.is_test && reserved_classes(&self.store).await?.contains(&campaign.class.code()),
            Err(error) => return Err(error),
        };
        let rate = campaign_of(&compiled.definitions, &row.key).ok().and_then(|campaign| campaign.limit_rate);
        let rate = rate.map(|rate| self.rates.get(&format!("campaign:{}", row.key), rate.per_second()));
        let sending = Arc::new(Sending { run: row, compiled, arms, samples, rate, is_reserved });
        self.runs().insert(run, sending.clone());
        Ok(sending)
    }
}
