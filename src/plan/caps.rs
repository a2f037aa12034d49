//! Caps between the pure rules and the ledger: loads what people have taken, decides, lets lower priorities give way, and says what to reserve.
//!
//! Used twice: when a run is planned, and again for a claimed block at hand-over. Both hold the customers' lock from reading until their
//! transaction ends, so no two decisions about one person cross.
//!
//! A message counts at the time for which it was planned, as long as it leaves on that day of the person's calendar, and else when it leaves: a run that
//! takes its time does not push next week's letter over a cap of one in 7 days.

use super::Error;
use crate::campaigns::{Campaign, Policy};
use crate::literals::zone_of;
use crate::policy::caps::{self, Caps, Mask, Taken, Verdict, Wish};
use crate::policy::quiet::Quiet;
use crate::policy::{Subject, has_country, zones_of};
use crate::store::batch::Change;
use crate::store::planning_right::Right;
use crate::store::reservations::{GivesWay, Reservation, Span};
use crate::store::{self, Store, from_micros, micros};
use crate::types::{CampaignId, Channel, Class, Time};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The caps that hold for one campaign, with what is needed to ask them.
pub struct Arbiter {
    caps: Caps,
    fallback: Tz,
    campaign: CampaignId,
    key: String,
    priority: u8,
    /// Rules by campaign and channel, whatever the country.
    masks: HashMap<(i64, i16), Mask>,
    keys: HashMap<i64, String>,
    quiet: HashMap<Channel, Quiet>,
    /// How far back a message looks.
    horizon: crate::literals::Duration,
    /// What lies before is of no use any more.
    forget_before: i64,
    now: Time,
}

/// A message that asks for a place.
#[derive(Debug, Clone)]
pub struct Request {
    pub customer: i64,
    /// `None` while it has no number.
    pub message: Option<i64>,
    pub channel: Channel,
    /// Microseconds.
    pub at: i64,
    pub expires_at: Option<i64>,
    pub country: Option<String>,
    pub zone: Option<String>,
    pub phone: Option<String>,
    pub is_leaving: bool,
}

/// The answer, in words where it is no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// It counts at this time if it leaves before `until`, and else when it leaves.
    Taken {
        at: i64,
        until: i64,
        /// As it has been reserved before: there is nothing to write.
        stands: bool,
    },
    Later {
        until: i64,
        detail: String,
    },
    /// Its `otherwise` may be tried.
    Otherwise(String),
    Full(String),
}

impl Arbiter {
    /// `None` when no cap can hold for this campaign.
    pub async fn new(
        store: &Store,
        policy: &Policy,
        fallback: Tz,
        campaign: &Campaign,
        id: CampaignId,
        channels: &[Channel],
        now: Time,
    ) -> Result<Option<Arbiter>, store::Error> {
        if !touches(policy, campaign, channels) {
            return Ok(None);
        }
        let caps = Caps::new(&policy.caps);
        let (mut masks, mut keys) = (HashMap::new(), HashMap::new());
        for scope in store.campaign_scopes().await? {
            let tags: Vec<String> = serde_json::from_str(&scope.tags).unwrap_or_default();
            for channel in Channel::ALL {
                let subject = Subject {
                    class: Class::from_code(scope.class).unwrap_or(Class::Advertising),
                    channel: *channel,
                    topic: scope.topic.as_deref(),
                    category: scope.category.as_deref(),
                    tags: &tags,
                };
                masks.insert((scope.id, channel.code()), caps.mask(|rule| subject.is_touched_by(&rule.narrowed)));
            }
            keys.insert(scope.id, scope.key);
        }
        // The campaign's own class and tags are those of the version at hand.
        for channel in Channel::ALL {
            let subject = Subject::of(campaign, *channel);
            masks.insert((id.0, channel.code()), caps.mask(|rule| subject.is_touched_by(&rule.narrowed)));
        }
        keys.insert(id.0, campaign.key.clone());
        let quiet = channels.iter().map(|channel| (*channel, Quiet::new(policy, &Subject::of(campaign, *channel)))).collect();
        let margin = crate::literals::Duration::days(32);
        let horizon = caps::horizon(&policy.caps);
        let forget_before = micros(margin.subtracted(horizon.subtracted(now, fallback), fallback));
        Ok(Some(Arbiter {
            caps,
            fallback,
            campaign: id,
            key: campaign.key.clone(),
            priority: campaign.priority,
            masks,
            keys,
            quiet,
            horizon,
            forget_before,
            now,
        }))
    }

    /// Decides about these messages in their order, and lets others give way. The caller reserves what is taken, in the same change.
    pub async fn settle(&mut self, change: &mut Change, requests: &[Request]) -> Result<Vec<Place>, store::Error> {
        let customers: Vec<i64> = requests.iter().map(|request| request.customer).collect();
        let mut connection = change.connection();
        connection.lock_customers(&customers).await?;
        // Those that were handed over before they could give way.
        let mut fixed: BTreeSet<i64> = BTreeSet::new();
        loop {
            let known = connection.reservations(&customers, self.span(requests)).await?;
            if known.iter().any(|one| one.at < self.forget_before) {
                connection.forget_reservations(&customers, self.forget_before).await?;
            }
            let (places, leaving) = self.decide(&known, &fixed, requests);
            if leaving.is_empty() {
                return Ok(places);
            }
            let gone: BTreeSet<i64> = connection.give_way(&leaving, self.now).await?.into_iter().collect();
            let before = fixed.len();
            fixed.extend(leaving.iter().map(|row| row.message).filter(|message| !gone.contains(message)));
            if fixed.len() == before {
                return Ok(places);
            }
            // Whoever gave way has gone from the reservations; the rest is decided anew.
        }
    }

    /// The same without a lock and without changing anything: as it would be now.
    pub async fn preview(&mut self, store: &Store, requests: &[Request]) -> Result<Vec<Place>, store::Error> {
        let customers: Vec<i64> = requests.iter().map(|request| request.customer).collect();
        let known = store.reservations_of(&customers, self.span(requests)).await?;
        Ok(self.decide(&known, &BTreeSet::new(), requests).0)
    }

    /// What to write for a message that took its place.
    pub fn reservation(&self, customer: i64, message: i64, channel: Channel, at: i64) -> Reservation {
        Reservation {
            customer_id: customer,
            message_id: message,
            campaign_id: self.campaign.0,
            channel: channel.code(),
            priority: i16::from(self.priority),
            at,
            is_handed_over: 0,
        }
    }

    fn span(&self, requests: &[Request]) -> Span {
        let earliest = requests.iter().map(|request| request.at).min().unwrap_or_else(|| micros(self.now));
        Span { from: micros(self.horizon.subtracted(from_micros(earliest), self.fallback)), forget_before: self.forget_before }
    }

    /// `known` is in the order of customers.
    fn decide(&mut self, known: &[Reservation], fixed: &BTreeSet<i64>, requests: &[Request]) -> (Vec<Place>, Vec<GivesWay>) {
        let mut customers: Vec<i64> = requests.iter().map(|request| request.customer).collect();
        customers.sort_unstable();
        // Of somebody who asks for several places each one counts for the next.
        let several: BTreeSet<i64> = customers.array_windows().filter(|[one, next]| one == next).map(|[one, _]| *one).collect();
        let mut of_several: HashMap<i64, Vec<Taken>> = HashMap::new();
        let mut of_one: Vec<Taken> = Vec::new();
        let mut leaving = Vec::new();
        let mut places = Vec::with_capacity(requests.len());
        for request in requests {
            let first = known.partition_point(|row| row.customer_id < request.customer);
            let rows = known.get(first..).unwrap_or_default().iter().take_while(|row| row.customer_id == request.customer);
            let fresh = rows.map(|row| self.taken(row, fixed));
            let taken = if several.contains(&request.customer) {
                of_several.entry(request.customer).or_insert_with(|| fresh.collect())
            } else {
                of_one.clear();
                of_one.extend(fresh);
                &mut of_one
            };
            places.push(self.one(request, taken, &mut leaving));
        }
        (places, leaving)
    }

    fn taken(&self, row: &Reservation, fixed: &BTreeSet<i64>) -> Taken {
        Taken {
            message: row.message_id,
            at: row.at,
            campaign: row.campaign_id,
            channel: row.channel,
            priority: u8::try_from(row.priority).unwrap_or(0),
            is_fixed: row.is_handed_over != 0 || fixed.contains(&row.message_id),
            rules: self.masks.get(&(row.campaign_id, row.channel)).copied().unwrap_or(0),
        }
    }

    fn one(&mut self, request: &Request, taken: &mut Vec<Taken>, leaving: &mut Vec<GivesWay>) -> Place {
        let country = request.country.as_deref();
        let zones = zones_of(request.zone.as_deref(), country, self.fallback);
        let by_country = self.caps.mask(|rule| has_country(&rule.narrowed, country));
        let rules = self.masks.get(&(self.campaign.0, request.channel.code())).copied().unwrap_or(0) & by_country;
        let zone = self.calendar(request);
        let channel = request.channel.code();
        let own = taken.iter().find(|one| Some(one.message) == request.message).map(|own| (own.at, own.channel));
        let planned =
            own.map(|(at, _)| at).filter(|own| request.is_leaving && *own <= request.at && request.at < self.caps.day_end(zone, *own));
        let at = planned.unwrap_or(request.at);
        taken.retain(|one| Some(one.message) != request.message);
        let wish = Wish { at, priority: self.priority, rules, zone, expires_at: request.expires_at, is_leaving: request.is_leaving };
        let quiet = self.quiet.get(&request.channel);
        let loud = |at: i64| quiet.and_then(|quiet| quiet.at(from_micros(at), country, zones)).map_or(at, |wait| micros(wait.until));
        let verdict = self.caps.decide(taken, &wish, loud);
        let detail = |rule: usize, by: Option<i64>| match by.and_then(|by| self.keys.get(&by)) {
            Some(by) => format!("by {by}: {}", self.caps.words(rule)),
            None => self.caps.words(rule),
        };
        let place = match verdict {
            Verdict::Fits { displaced, rule } => {
                let words = rule.map(|rule| format!("by {}: {}", self.key, self.caps.words(rule))).unwrap_or_default();
                let gone: BTreeSet<i64> = displaced.iter().filter_map(|index| taken.get(*index)).map(|one| one.message).collect();
                leaving.extend(gone.iter().map(|message| GivesWay { message: *message, detail: words.clone() }));
                taken.retain(|one| !gone.contains(&one.message));
                Place::Taken { at, until: self.caps.day_end(zone, at), stands: own == Some((at, channel)) }
            }
            Verdict::Waits { until, rule } => Place::Later { until, detail: format!("{}, and it waits for room", self.caps.words(rule)) },
            Verdict::Otherwise { rule, by } => Place::Otherwise(detail(rule, by)),
            Verdict::Full { rule, by } => Place::Full(detail(rule, by)),
        };
        // It counts for this customer's other messages among the requests.
        if let Place::Taken { at, .. } | Place::Later { until: at, .. } = place {
            taken.push(Taken {
                message: request.message.unwrap_or(i64::MAX),
                at,
                campaign: self.campaign.0,
                channel,
                priority: self.priority,
                is_fixed: true,
                rules,
            });
        }
        place
    }

    /// The zone of a person's calendar.
    fn calendar(&self, request: &Request) -> Tz {
        zone_of(request.zone.as_deref(), request.country.as_deref(), request.phone.as_deref()).unwrap_or(self.fallback)
    }
}

/// Whether some cap can hold for this campaign.
pub fn touches(policy: &Policy, campaign: &Campaign, channels: &[Channel]) -> bool {
    let touched = |channel: &Channel| {
        let subject = Subject::of(campaign, *channel);
        policy.caps.iter().any(|rule| subject.is_touched_by(&rule.narrowed))
    };
    channels.iter().any(touched)
}

/// What is reserved so far: of these classes, since so many days.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Kept {
    classes: BTreeSet<i16>,
    days: i64,
}

/// Under this name the base remembers what is reserved.
const SETTING: &str = "reserved";

/// Classes whose messages are reserved; more than the policy needs today, so that a cap that is written tomorrow knows.
pub async fn reserved_classes(store: &Store) -> Result<BTreeSet<i16>, store::Error> {
    Ok(kept(store).await?.classes)
}

async fn kept(store: &Store) -> Result<Kept, store::Error> {
    Ok(store.setting(SETTING).await?.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default())
}

/// Where caps are new, or look farther back than before, counts what was sent until now. The caller holds the right to plan.
pub async fn prepare(store: &Store, loaded: &store::definitions::Loaded, policy: &Policy, now: Time, right: Right) -> Result<(), Error> {
    if policy.caps.is_empty() {
        return Ok(());
    }
    let before = kept(store).await?;
    let mut wanted = before.clone();
    wanted.classes.extend(policy.caps.iter().flat_map(|rule| rule.narrowed.class.iter().map(|class| class.code())));
    let horizon = caps::horizon(&policy.caps);
    wanted.days = wanted.days.max(i64::from(horizon.count));
    if wanted == before {
        return Ok(());
    }
    let mut priorities: BTreeMap<i64, u8> = BTreeMap::new();
    for run in store.runs_since(horizon.subtracted(now, Tz::UTC)).await? {
        let Some(row) = store.run(run).await? else { continue };
        let priority = match priorities.get(&row.version.0) {
            Some(priority) => *priority,
            None => loaded.definitions(row.version).await?.campaigns.get(&row.key).map_or(50, |campaign| campaign.priority),
        };
        priorities.insert(row.version.0, priority);
        let mut after = 0;
        while let Some(last) = store.reserve_run(run, priority, after).await? {
            after = last;
        }
    }
    store.keep_planning_setting(SETTING, &serde_json::to_string(&wanted).unwrap_or_default(), right).await?;
    Ok(())
}
