//! The coming days of all campaigns together: the real engine on a virtual clock, in a copy of the base, with providers that only remember.
//!
//! Nothing leaves and nothing of the base is touched. Nobody answers in a simulation: what people will do is not foretold. The same base, files
//! and first instant give the same bytes. Letters whose template must render for everybody are rendered once and then only counted; every other
//! message is rendered, so that what would be refused for missing data is refused here too.

use super::{Engine, Parts, Roles, applied_workspace};
use crate::campaigns::Workspace;
use crate::clock::Clock;
use crate::dispatch::{Composed, Composer, Identity, Lane, Lanes, Outlets, Sending, Unsendable};
use crate::literals::minor_digits;
use crate::providers::{Body, Outcome, Outgoing, Provider, Sending as Handing};
use crate::store::blocks::Due;
use crate::store::definitions::Apply;
use crate::store::{self, Store};
use crate::tracking::Tokens;
use crate::types::{Channel, MessageId, MessageState, Refusal, Time, VersionId};
use chrono::{Datelike, NaiveDate, Timelike};
use chrono_tz::Tz;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

/// From so many campaigns in one week on, a customer is pointed out.
pub const MANY: usize = 5;
/// Customers that are named for each week.
const NAMED: usize = 3;

/// Why the coming days cannot be simulated.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Engine(#[from] super::Error),
    #[error("there is no place for the copy of the base")]
    Folder(#[from] std::io::Error),
    #[error("`{0}` cannot be planned in the simulation: {1}")]
    Plan(String, String),
}

/// What the coming days would bring.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Simulation {
    pub from: Time,
    pub until: Time,
    /// Days and hours are those of the workspace's zone.
    pub zone: String,
    pub days: Vec<Day>,
    pub providers: Vec<Peak>,
    pub weeks: Vec<Week>,
    /// What the engine could not do, in words.
    pub failed: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Day {
    pub date: NaiveDate,
    pub campaigns: Vec<CampaignDay>,
}

/// One campaign on one day: runs that are due that day, and what leaves that day, of whatever run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CampaignDay {
    pub campaign: String,
    pub runs: Vec<i64>,
    pub selected: u64,
    pub refused: BTreeMap<String, u64>,
    pub messages: u64,
    pub sent: Vec<Hour>,
    /// Of those sent: by why they had to wait (quiet hours, a cap …).
    pub waited: BTreeMap<String, u64>,
    /// Of the day's runs, at the end of the simulation: waiting, held, failed, expired, cancelled, uncertain.
    pub other: BTreeMap<String, u64>,
    /// Currency → major units, by the providers' prices.
    pub cost: BTreeMap<String, f64>,
}

impl CampaignDay {
    pub fn sent(&self) -> u64 {
        self.sent.iter().map(|hour| hour.messages).sum()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hour {
    pub hour: u32,
    pub channel: &'static str,
    pub messages: u64,
}

/// The fullest quarter of an hour of a provider.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Peak {
    pub provider: String,
    pub messages: u64,
    pub at: Time,
    pub due: u64,
    /// As posthaste.yaml has it; `None`: as fast as it takes them.
    pub rate_per_second: Option<f64>,
    /// How long what is due in that quarter takes at this rate.
    pub minutes: Option<f64>,
}

/// A week, from Monday on, in which customers hear from many campaigns.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Week {
    pub begins: NaiveDate,
    /// How many campaigns → how many customers hear from so many.
    pub customers_by_campaigns: BTreeMap<usize, u64>,
    /// Customers who hear from [`MANY`] campaigns or more.
    pub crowded: u64,
    pub examples: Vec<Crowded>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Crowded {
    pub customer: String,
    pub campaigns: Vec<String>,
    pub messages: u64,
}

/// Looks ahead `days` days from `from` on. `apply`: the files to go by; without them the applied ones.
pub async fn simulate(base: &Store, apply: Option<Apply>, from: Time, days: u32) -> Result<Simulation, Error> {
    let folder = tempfile::tempdir()?;
    let copy = base.copied_to(&folder.path().join("simulation.db")).await?;
    let result = in_copy(&copy, apply, from, days).await;
    copy.close().await;
    result
}

async fn in_copy(copy: &Store, apply: Option<Apply>, from: Time, days: u32) -> Result<Simulation, Error> {
    if let Some(apply) = &apply {
        copy.apply(apply).await?;
    }
    let (_, workspace) = applied_workspace(copy).await?.ok_or(super::Error::NothingApplied)?;
    let zone = workspace.zone;
    let first = from.with_timezone(&zone).date_naive();
    let until = crate::schedule::resolve(zone, (first + chrono::Days::new(u64::from(days))).and_time(chrono::NaiveTime::MIN));
    let last_run = copy.last_run().await?;
    let clock = Clock::standing_at(from);
    let seen = Arc::new(Mutex::new(Seen::new(zone)));
    let open = {
        let (clock, seen) = (clock.clone(), seen.clone());
        Arc::new(move |workspace: &Workspace| outlets(workspace, &clock, &seen))
    };
    let parts =
        Parts { store: copy.clone(), clock: clock.clone(), open, arms: BTreeMap::new(), roles: Roles::ALL, stop: CancellationToken::new() };
    let engine = Engine::start(parts).await?;
    // What falls due at the last midnight belongs to the next day.
    engine.run_through(until - chrono::TimeDelta::microseconds(1)).await?;
    let failed: BTreeSet<String> = engine.failed().into_iter().collect();
    engine.end().await?;
    drop(engine);
    let seen = std::mem::replace(&mut *lock(&seen), Seen::new(zone));
    gather(copy, &workspace, seen, from, until, last_run, failed).await
}

fn outlets(workspace: &Workspace, clock: &Clock, seen: &Arc<Mutex<Seen>>) -> Outlets {
    let lanes = workspace.providers.iter().map(|(name, settings)| {
        let mut lane = Lane::new(Arc::new(Remembering {
            name: name.clone(),
            channel: settings.channel,
            prices: settings.price.iter().map(|(country, price)| (country.clone(), (price.minor, price.currency.clone()))).collect(),
            clock: clock.clone(),
            seen: seen.clone(),
        }));
        lane.weight = settings.weight;
        lane.backup = settings.backup;
        lane.countries = settings.countries.clone();
        lane
    });
    // A fixed key: nothing of a simulation leaves, and its bytes stay the same.
    let tokens = Tokens::new("s:simulations-sign-nothing-real").unwrap_or_else(|_| unreachable!("the key is well formed"));
    let identity = Identity::new(tokens, "simulation", BTreeMap::new());
    Outlets {
        composer: Arc::new(Sketching { identity, seen: seen.clone(), rendered: Mutex::default() }),
        lanes: Arc::new(Lanes::new(lanes.collect())),
    }
}

/// Renders what may fail, and only counts the rest.
struct Sketching {
    identity: Identity,
    seen: Arc<Mutex<Seen>>,
    rendered: Mutex<HashMap<(VersionId, i16, Channel), Rendered>>,
}

/// The letters of an arm.
struct Rendered {
    for_all: bool,
    /// The languages in which one has been rendered.
    languages: HashSet<Option<String>>,
}

impl Composer for Sketching {
    fn secret(&self, message: i64, nth: u32) -> u128 {
        self.identity.secret(message, nth)
    }

    fn reads_people(&self, sending: &Sending) -> bool {
        !sending.compiled.all_render_for_all()
    }

    fn compose(&self, sending: &Sending, due: &Due, date: Time) -> Result<Composed, Unsendable> {
        let is_sure = {
            let mut rendered = lock(&self.rendered);
            let of_arm = rendered.entry((sending.compiled.version, due.arm, due.channel)).or_insert_with(|| Rendered {
                for_all: due.channel == Channel::Email && sending.compiled.renders_for_all(due.arm, due.channel),
                languages: HashSet::new(),
            });
            of_arm.for_all && of_arm.languages.contains(&due.person.language)
        };
        let composed = if is_sure {
            let body = Body::Email { from: String::new(), to: String::new(), mime: Vec::new() };
            Composed {
                outgoing: Outgoing { message: MessageId(due.id), body, key: String::new() },
                snapshot: None,
                language: String::new(),
                unsigned: None,
            }
        } else {
            let composed = self.identity.compose(sending, due, date)?;
            if let Some(of_arm) = lock(&self.rendered).get_mut(&(sending.compiled.version, due.arm, due.channel)) {
                of_arm.languages.insert(due.person.language.clone());
            }
            composed
        };
        let mut seen = lock(&self.seen);
        let campaign = seen.campaign(&sending.run.key);
        let country = match due.channel {
            Channel::Sms => due.address.as_deref().and_then(crate::plan::country_of_phone),
            _ => due.person.country.clone(),
        };
        seen.now = Some(Handed { message: due.id, customer: due.customer, campaign, country });
        Ok(composed)
    }
}

/// Accepts and counts.
struct Remembering {
    name: String,
    channel: Channel,
    /// Country → minor units and currency; `other` for the rest.
    prices: BTreeMap<String, (i64, String)>,
    clock: Clock,
    seen: Arc<Mutex<Seen>>,
}

impl Provider for Remembering {
    fn name(&self) -> &str {
        &self.name
    }
    fn channel(&self) -> Channel {
        self.channel
    }
    fn width(&self) -> usize {
        1
    }
    fn only_records(&self) -> bool {
        true
    }
    fn send<'a>(&'a self, outgoing: &'a Outgoing) -> Handing<'a> {
        lock(&self.seen).take(self, outgoing);
        Box::pin(std::future::ready(Outcome::Accepted { id: None, reply: String::new() }))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A message between composing and its provider.
struct Handed {
    message: i64,
    customer: i64,
    campaign: usize,
    country: Option<String>,
}

/// Quarters of an hour since 1970.
type Quarter = i64;
const QUARTER: i64 = 900_000_000;

/// What was handed over.
struct Seen {
    zone: Tz,
    campaigns: Vec<String>,
    numbers: HashMap<String, usize>,
    now: Option<Handed>,
    sent: BTreeMap<(usize, Quarter, Channel), u64>,
    by_provider: BTreeMap<(String, Quarter), u64>,
    cost: BTreeMap<(usize, Quarter, String), i64>,
    /// Monday → customer → campaigns (a set of bits) and messages.
    weeks: BTreeMap<NaiveDate, HashMap<i64, (Bits, u32)>>,
    /// The Monday of a quarter: asked for every message.
    monday: (Quarter, NaiveDate),
}

/// A small set of numbers.
#[derive(Debug, Clone, Default)]
struct Bits(u128, Vec<usize>);

impl Bits {
    fn insert(&mut self, number: usize) {
        match number {
            0..128 => self.0 |= 1 << number,
            _ if !self.1.contains(&number) => self.1.push(number),
            _ => {}
        }
    }
    fn len(&self) -> usize {
        self.0.count_ones() as usize + self.1.len()
    }
    fn numbers(&self) -> impl Iterator<Item = usize> + '_ {
        (0..128).filter(|number| self.0 >> number & 1 == 1).chain(self.1.iter().copied())
    }
}

impl Seen {
    fn new(zone: Tz) -> Self {
        Seen {
            zone,
            campaigns: Vec::new(),
            numbers: HashMap::new(),
            now: None,
            sent: BTreeMap::new(),
            by_provider: BTreeMap::new(),
            cost: BTreeMap::new(),
            weeks: BTreeMap::new(),
            monday: (Quarter::MIN, NaiveDate::MIN),
        }
    }

    fn campaign(&mut self, key: &str) -> usize {
        if let Some(number) = self.numbers.get(key) {
            return *number;
        }
        self.campaigns.push(key.to_string());
        self.numbers.insert(key.to_string(), self.campaigns.len() - 1);
        self.campaigns.len() - 1
    }

    fn take(&mut self, provider: &Remembering, outgoing: &Outgoing) {
        let Some(handed) = self.now.take().filter(|handed| handed.message == outgoing.message.0) else { return };
        let quarter = provider.clock.now().timestamp_micros().div_euclid(QUARTER);
        *self.sent.entry((handed.campaign, quarter, provider.channel)).or_default() += 1;
        match self.by_provider.get_mut(&(provider.name.clone(), quarter)) {
            Some(count) => *count += 1,
            None => {
                self.by_provider.insert((provider.name.clone(), quarter), 1);
            }
        }
        if !provider.prices.is_empty() {
            let price = handed.country.as_ref().and_then(|country| provider.prices.get(country)).or_else(|| provider.prices.get("other"));
            let parts = match &outgoing.body {
                Body::Sms { parts, .. } => i64::from(*parts),
                Body::Email { .. } | Body::Webhook { .. } => 1,
            };
            if let Some((minor, currency)) = price {
                *self.cost.entry((handed.campaign, quarter, currency.clone())).or_default() += minor * parts;
            }
        }
        if self.monday.0 != quarter {
            let date = local(quarter, self.zone).date_naive();
            self.monday = (quarter, date - chrono::Days::new(u64::from(date.weekday().num_days_from_monday())));
        }
        let place = self.weeks.entry(self.monday.1).or_default().entry(handed.customer).or_default();
        place.0.insert(handed.campaign);
        place.1 += 1;
    }
}

fn local(quarter: Quarter, zone: Tz) -> chrono::DateTime<Tz> {
    store::from_micros(quarter * QUARTER).with_timezone(&zone)
}

async fn gather(
    copy: &Store,
    workspace: &Workspace,
    seen: Seen,
    from: Time,
    until: Time,
    last_run: i64,
    failed: BTreeSet<String>,
) -> Result<Simulation, Error> {
    let zone = workspace.zone;
    let mut days: BTreeMap<NaiveDate, BTreeMap<String, CampaignDay>> = BTreeMap::new();
    let mut of = |date: NaiveDate, campaign: &str, change: &mut dyn FnMut(&mut CampaignDay)| {
        let day = days.entry(date).or_default().entry(campaign.to_string()).or_default();
        if day.campaign.is_empty() {
            day.campaign = campaign.to_string();
        }
        change(day);
    };
    for run in copy.simulated_runs(last_run).await? {
        let date = run.due_at.with_timezone(&zone).date_naive();
        of(date, &run.campaign, &mut |day| {
            day.runs.push(run.number);
            for (state, reason, count) in &run.states {
                day.selected += count;
                match MessageState::from_code(*state) {
                    Some(MessageState::Refused) => {
                        let word = reason.and_then(Refusal::from_code).map_or("unknown", Refusal::word);
                        *day.refused.entry(word.to_string()).or_default() += count;
                    }
                    Some(state) => {
                        day.messages += count;
                        if state != MessageState::Accepted {
                            *day.other.entry(state.word().to_string()).or_default() += count;
                        }
                    }
                    None => {}
                }
            }
        });
    }
    for (campaign, quarter, why, count) in copy.simulated_waits(from).await? {
        of(local(quarter, zone).date_naive(), &campaign, &mut |day| *day.waited.entry(why.clone()).or_default() += count);
    }
    let name = |number: usize| seen.campaigns.get(number).map_or("", String::as_str);
    let mut hours: BTreeMap<(NaiveDate, &str, u32, &'static str), u64> = BTreeMap::new();
    for ((campaign, quarter, channel), count) in &seen.sent {
        let at = local(*quarter, zone);
        *hours.entry((at.date_naive(), name(*campaign), at.hour(), channel.word())).or_default() += count;
    }
    for ((date, campaign, hour, channel), messages) in hours {
        of(date, campaign, &mut |day| day.sent.push(Hour { hour, channel, messages }));
    }
    let mut cost: BTreeMap<(NaiveDate, &str, &str), i64> = BTreeMap::new();
    for ((campaign, quarter, currency), minor) in &seen.cost {
        *cost.entry((local(*quarter, zone).date_naive(), name(*campaign), currency)).or_default() += minor;
    }
    for ((date, campaign, currency), minor) in cost {
        let digits = minor_digits(currency).unwrap_or(2);
        let major = minor as f64 / 10f64.powi(digits as i32);
        of(date, campaign, &mut |day| {
            day.cost.insert(currency.to_string(), major);
        });
    }
    Ok(Simulation {
        from,
        until,
        zone: zone.name().to_string(),
        days: days.into_iter().map(|(date, campaigns)| Day { date, campaigns: campaigns.into_values().collect() }).collect(),
        providers: peaks(workspace, &seen),
        weeks: weeks(copy, &seen).await?,
        failed: failed.into_iter().collect(),
    })
}

fn peaks(workspace: &Workspace, seen: &Seen) -> Vec<Peak> {
    let mut peaks: BTreeMap<&str, Peak> = BTreeMap::new();
    for ((provider, quarter), due) in &seen.by_provider {
        let peak = peaks.entry(provider).or_insert_with(|| Peak {
            provider: provider.clone(),
            messages: 0,
            at: store::from_micros(quarter * QUARTER),
            due: 0,
            rate_per_second: None,
            minutes: None,
        });
        peak.messages += due;
        if *due > peak.due {
            (peak.due, peak.at) = (*due, store::from_micros(quarter * QUARTER));
        }
    }
    peaks
        .into_values()
        .map(|mut peak| {
            peak.rate_per_second = workspace.providers.get(&peak.provider).and_then(|settings| settings.rate).map(|rate| rate.per_second());
            peak.minutes = peak.rate_per_second.map(|rate| (peak.due as f64 / rate / 60.0 * 10.0).ceil() / 10.0);
            peak
        })
        .collect()
}

async fn weeks(copy: &Store, seen: &Seen) -> Result<Vec<Week>, Error> {
    let mut weeks = Vec::new();
    for (begins, customers) in &seen.weeks {
        let mut by_campaigns: BTreeMap<usize, u64> = BTreeMap::new();
        let mut crowded: Vec<(usize, i64)> = Vec::new();
        for (customer, (campaigns, _)) in customers {
            *by_campaigns.entry(campaigns.len()).or_default() += 1;
            if campaigns.len() >= MANY {
                crowded.push((campaigns.len(), *customer));
            }
        }
        // Most campaigns first, then by number.
        crowded.sort_by_key(|(campaigns, customer)| (std::cmp::Reverse(*campaigns), *customer));
        let named: Vec<i64> = crowded.iter().take(NAMED).map(|(_, customer)| *customer).collect();
        let names = copy.names_of(&named).await?;
        let examples = named
            .iter()
            .filter_map(|customer| {
                let (campaigns, messages) = customers.get(customer)?;
                let mut keys: Vec<String> = campaigns.numbers().filter_map(|number| seen.campaigns.get(number).cloned()).collect();
                keys.sort();
                let name = names.get(customer).cloned().unwrap_or_else(|| format!("#{customer}"));
                Some(Crowded { customer: name, campaigns: keys, messages: u64::from(*messages) })
            })
            .collect();
        weeks.push(Week { begins: *begins, customers_by_campaigns: by_campaigns, crowded: crowded.len() as u64, examples });
    }
    Ok(weeks)
}
