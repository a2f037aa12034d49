//! One selected customer → a row of the ledger, in the order of design.md §7.

use super::arms::{ArmNames, message_for};
use super::due::Occurrence;
use super::reach::Reach;
use super::times::Times;
use super::warm_up::Seat;
use crate::campaigns::{Arms, Campaign, Expires, Holdout, IfReached, Message, Order, Policy, Workspace};
use crate::experiments::{Drawing, Purpose};
use crate::literals::Share;
use crate::policy::quiet::{Quiet, released};
use crate::policy::{Facts, Rules, Subject, allows_otherwise, decide, zones_of};
use crate::store::candidates::{Candidate, Way};
use crate::store::planning::Planned;
use crate::store::runs::{HELD_OUT, NOT_DRAWN};
use crate::types::{Channel, Class, Refusal, Time, from_micros, micros};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, LazyLock};

/// A decided row, and its rank under `limits` when it is a message: the lowest come first.
#[derive(Debug, Clone)]
pub struct Decided {
    pub row: Planned,
    pub rank: Option<Rank>,
    pub lives: Lives,
    /// Under a warm-up, who comes first: the most engaged, then by draw.
    pub engaged: (i64, u64),
    /// What the warm-up has given it, having seen everybody.
    pub seat: Option<Seat>,
    /// By another channel, for a message for which a cap has no room.
    pub otherwise: Option<Box<Planned>>,
}

/// Where a customer lives, as far as it is known.
#[derive(Debug, Clone, Default)]
pub struct Lives {
    /// The own country, else the phone's.
    pub country: Option<String>,
    pub zone: Option<String>,
    pub phone: Option<String>,
}

/// First by the campaign's order, then by draw, then by number so that no two are equal.
pub type Rank = (i64, u64, i64);

/// Everything that is the same for all customers of a run. Customers must come in the order of their numbers: of several with one address, the
/// elder keeps it.
pub struct Decider<'a> {
    workspace: &'a Workspace,
    campaign: &'a Campaign,
    /// As the candidates' ways.
    channels: &'a [Channel],
    now: Time,
    times: Times<'a>,
    /// As the channels.
    rules: Vec<Rules>,
    /// By the identity and channel of a message; few.
    reaches: Vec<((&'a str, Channel), Reach)>,
    /// Addresses that more than one customer has, as the channels.
    shared: Vec<HashSet<String>>,
    seen: HashSet<(Channel, Arc<str>)>,
    /// When a message ends that is due then: the last answer, which mostly is the next one too.
    ending: Option<Ending<'a>>,
    pub arms: ArmNames,
    weights: Vec<Share>,
    held_out_everywhere: Drawing,
    held_out: Drawing,
    variant: Drawing,
    order: Drawing,
    spread: Drawing,
    /// When it is quiet, by channel; channels that are never quiet are not in it.
    quiet: HashMap<Channel, Quiet>,
    /// Where people live is of use: to the policy, or to prices by country.
    asks_for_places: bool,
    /// A domain is being warmed up.
    asks_for_engagement: bool,
    /// Some cap sends on by another channel.
    caps_go_otherwise: bool,
    /// External id → arm, for a campaign's tests: nobody else is held out.
    forced: Option<&'a BTreeMap<String, String>>,
    /// Where in the candidate's attributes the hold-out, the arm and the order stand.
    at: Places,
}

/// Until when a message due at a time may be sent.
#[derive(Clone, Copy)]
struct Ending<'a> {
    message: &'a Message,
    due: Time,
    zone: chrono_tz::Tz,
    at: i64,
}

/// Positions among the attributes that are read for a candidate.
#[derive(Debug, Clone, Copy, Default)]
pub struct Places {
    pub holdout: Option<usize>,
    pub arm: Option<usize>,
    pub order: Option<usize>,
}

/// The attributes that decisions need, and where each stands.
pub fn attributes(campaign: &Campaign) -> (Vec<String>, Places) {
    let mut paths: Vec<String> = Vec::new();
    let mut place = |path: &String| {
        paths.push(path.clone());
        Some(paths.len() - 1)
    };
    let holdout = if let Holdout::Attribute { path, .. } = &campaign.audience.holdout { place(path) } else { None };
    let arm = if let Arms::FromAttribute(path) = &campaign.arms { place(path) } else { None };
    let order = match &campaign.audience.order {
        Order::Highest(path) | Order::Lowest(path) => place(path),
        _ => None,
    };
    (paths, Places { holdout, arm, order })
}

/// Whether the policy needs to know where people live.
pub fn asks_for_places(policy: &Policy) -> bool {
    !policy.caps.is_empty() || !policy.quiet_hours.is_empty() || !policy.blackout.is_empty()
}

/// Every message of a campaign: of all arms, with what they do otherwise.
pub fn messages(campaign: &Campaign) -> Vec<&Message> {
    let mut firsts = vec![&campaign.message];
    if let Arms::Variants(variants) = &campaign.arms {
        firsts.extend(variants.iter().map(|variant| &variant.message));
    }
    firsts.into_iter().flat_map(|first| std::iter::successors(Some(first), |message| message.otherwise.as_deref())).collect()
}

impl<'a> Decider<'a> {
    pub fn new(
        workspace: &'a Workspace,
        campaign: &'a Campaign,
        channels: &'a [Channel],
        run_number: i64,
        occurrence: Occurrence,
        now: Time,
    ) -> Self {
        let rules = channels.iter().map(|channel| Rules::new(&workspace.policy, campaign, *channel)).collect();
        let mut reaches: Vec<((&str, Channel), Reach)> = Vec::new();
        for message in messages(campaign) {
            let key = (message.from.as_str(), message.channel);
            if !reaches.iter().any(|(known, _)| *known == key) {
                reaches.push((key, Reach::of(workspace, message)));
            }
        }
        let weights = match &campaign.arms {
            Arms::Variants(variants) => variants.iter().map(|variant| variant.weight).collect(),
            _ => Vec::new(),
        };
        let seed = &workspace.seed;
        let quiet = channels.iter().map(|channel| (*channel, Quiet::new(&workspace.policy, &Subject::of(campaign, *channel))));
        Decider {
            quiet: quiet.filter(|(_, quiet)| !quiet.is_empty()).collect(),
            asks_for_places: asks_for_places(&workspace.policy),
            asks_for_engagement: false,
            caps_go_otherwise: workspace.policy.caps.iter().any(|rule| rule.if_reached == IfReached::Otherwise),
            spread: Drawing::new(seed, Purpose::Spread, &campaign.key, None),
            held_out_everywhere: Drawing::new(seed, Purpose::Holdout, "any", None),
            held_out: Drawing::new(seed, Purpose::Holdout, &campaign.key, None),
            variant: Drawing::new(seed, Purpose::Variant, &campaign.key, None),
            order: Drawing::new(seed, Purpose::Audience, &campaign.key, Some(run_number)),
            forced: None,
            workspace,
            campaign,
            channels,
            now,
            times: Times::new(&workspace.seed, campaign, occurrence, now),
            rules,
            reaches,
            shared: vec![HashSet::new(); channels.len()],
            seen: HashSet::new(),
            ending: None,
            arms: ArmNames::of(campaign),
            weights,
            at: attributes(campaign).1,
        }
    }

    /// Keeps the countries that prices ask for, even where the policy does not.
    pub fn keep_countries(&mut self) {
        self.asks_for_places = true;
    }

    /// Keeps who is more engaged, for a warm-up.
    pub fn keep_engagement(&mut self) {
        self.asks_for_engagement = true;
    }

    /// Puts these customers (by external id) into these arms, and holds out nobody else.
    pub fn force(&mut self, arms: Option<&'a BTreeMap<String, String>>) {
        self.forced = arms;
    }

    /// Names the addresses of a channel that more than one customer has.
    pub fn share(&mut self, channel: Channel, addresses: HashSet<String>) {
        if let Some(shared) = self.place_of(channel).and_then(|place| self.shared.get_mut(place)) {
            *shared = addresses;
        }
    }

    fn place_of(&self, channel: Channel) -> Option<usize> {
        self.channels.iter().position(|known| *known == channel)
    }

    /// Begins anew with the first customer, for a second pass over the same audience.
    pub fn rewind(&mut self) {
        self.seen.clear();
    }

    pub fn decide(&mut self, candidate: &Candidate) -> Decided {
        let arm = self.arm(candidate);
        let (row, rank, otherwise) = self.row(candidate, arm);
        let of_phone = || candidate.phone.as_deref().and_then(super::country_of_phone);
        let country = if self.asks_for_places { candidate.country.clone().or_else(of_phone) } else { None };
        let engaged = match self.asks_for_engagement {
            true => (last_first(candidate.engaged_at), self.order.draw(&candidate.draw_key).0),
            false => (0, 0),
        };
        let lives = Lives { country, zone: candidate.zone.clone(), phone: candidate.phone.clone() };
        let mut decided = Decided { row, rank, otherwise, lives, engaged, seat: None };
        if decided.row.refusal.is_none() {
            self.keep_quiet(&mut decided.row, &decided.lives, &candidate.draw_key);
        }
        if let Some(otherwise) = &mut decided.otherwise {
            self.keep_quiet(otherwise, &decided.lives, &candidate.draw_key);
        }
        decided
    }

    /// A message that would leave in quiet hours is deferred until they end.
    fn keep_quiet(&self, row: &mut Planned, lives: &Lives, draw_key: &str) {
        let Some(quiet) = self.quiet.get(&row.channel) else { return };
        let zones = zones_of(lives.zone.as_deref(), lives.country.as_deref(), self.workspace.zone);
        let at = from_micros(row.due_at).max(self.now);
        if let Some(wait) = quiet.at(at, lives.country.as_deref(), zones) {
            let until = micros(released(&wait, self.spread.draw(draw_key).0, self.workspace.zone));
            row.next_at = Some(row.expires_at.map_or(until, |expires| until.min(expires)));
            row.detail = Some(wait.why.to_string());
        }
    }

    /// The row, its rank when it is a message, and what it would be by the other channel.
    fn row(&mut self, candidate: &Candidate, arm: Option<i16>) -> (Planned, Option<Rank>, Option<Box<Planned>>) {
        let message = message_for(self.campaign, arm.unwrap_or(HELD_OUT + 1));
        let (message, verdict) = self.way(candidate, message);
        let when = self.times.of(&candidate.draw_key, candidate.zone.as_deref(), candidate.country.as_deref(), candidate.phone.as_deref());
        let mut row = self.blank(candidate, message.channel, when.due);
        if let Err(refusal) = verdict {
            row.refusal = Some(refusal);
            return (row, None, None);
        }
        if self.is_held_out(candidate) {
            row.arm = HELD_OUT;
            row.refusal = Some(Refusal::HeldOut);
            return (row, None, None);
        }
        let Some(arm) = arm else {
            row.refusal = Some(Refusal::MissingData);
            return (row, None, None);
        };
        row.arm = arm;
        if when.past {
            row.refusal = Some(Refusal::PastLocalTime);
            return (row, None, None);
        }
        row.expires_at = Some(self.ends(message, when.due, when.zone));
        let otherwise = message.otherwise.as_deref().filter(|_| self.caps_go_otherwise);
        let otherwise = otherwise.filter(|other| self.asked(candidate, other).is_ok()).map(|other| {
            let expires_at = Some(micros(expires(other, when.due, when.zone)));
            Box::new(Planned { arm, expires_at, ..self.blank(candidate, other.channel, when.due) })
        });
        (row, self.is_limited().then(|| self.rank(candidate)), otherwise)
    }

    fn is_limited(&self) -> bool {
        self.campaign.limit_audience.is_some() || self.campaign.limit_cost.is_some()
    }

    /// As [`expires`], worked out once for those who are due together.
    fn ends(&mut self, message: &'a Message, due: Time, zone: chrono_tz::Tz) -> i64 {
        match self.ending {
            Some(last) if std::ptr::eq(last.message, message) && last.due == due && last.zone == zone => last.at,
            _ => {
                let at = micros(expires(message, due, zone));
                self.ending = Some(Ending { message, due, zone, at });
                at
            }
        }
    }

    fn blank(&self, candidate: &Candidate, channel: Channel, due: Time) -> Planned {
        let way = self.way_of(candidate, channel);
        Planned {
            customer: candidate.id,
            entry: 0,
            channel,
            arm: NOT_DRAWN,
            refusal: None,
            detail: None,
            address: way.address.clone(),
            site: way.site.clone(),
            due_at: micros(due),
            expires_at: None,
            next_at: None,
            warm_up_day: None,
        }
    }

    /// The first message of the chain of `otherwise` that reaches the customer, or the first one with its reason.
    fn way(&mut self, candidate: &Candidate, first: &'a Message) -> (&'a Message, Result<(), Refusal>) {
        let verdict = self.asked(candidate, first);
        let mut last = verdict;
        let mut message = first;
        while let Err(refusal) = last
            && allows_otherwise(refusal)
            && let Some(other) = message.otherwise.as_deref()
        {
            message = other;
            last = self.asked(candidate, other);
        }
        if last.is_ok() { (message, last) } else { (first, verdict) }
    }

    fn asked(&mut self, candidate: &Candidate, message: &'a Message) -> Result<(), Refusal> {
        let channel = message.channel;
        let way = self.way_of(candidate, channel);
        let place = self.place_of(channel);
        let shared = place.and_then(|place| self.shared.get(place)).filter(|shared| !shared.is_empty());
        let duplicate = match &way.address {
            Some(address) if shared.is_some_and(|shared| shared.contains(&**address)) => !self.seen.insert((channel, address.clone())),
            _ => false,
        };
        let reach = self.reaches.iter().find(|(key, _)| *key == (message.from.as_str(), channel)).map(|(_, reach)| reach);
        let facts = Facts {
            address: way.address.as_deref(),
            unsupported: way.address.as_deref().is_some_and(|address| reach.is_some_and(|reach| reach.is_unsupported(address))),
            duplicate,
            suppression: way.suppression,
            consent: way.consent,
            consent_to_all: way.consent_to_all,
            country: candidate.country.as_deref(),
        };
        match place.and_then(|place| self.rules.get(place)) {
            Some(rules) => decide(&facts, rules, self.now),
            None => Err(Refusal::UnsupportedAddress),
        }
    }

    fn way_of<'c>(&self, candidate: &'c Candidate, channel: Channel) -> &'c Way {
        static NONE: LazyLock<Way> = LazyLock::new(Way::default);
        self.place_of(channel).and_then(|place| candidate.ways.get(place)).unwrap_or(&NONE)
    }

    /// Held out of this campaign, or (advertising) of all.
    fn is_held_out(&self, candidate: &Candidate) -> bool {
        if let Some(forced) = self.forced {
            return forced.get(&candidate.draw_key).is_some_and(|arm| arm == "held_out");
        }
        let everywhere = self.workspace.policy.holdout;
        let held_out_everywhere = self.campaign.class == Class::Advertising
            && everywhere > Share(0)
            && self.held_out_everywhere.draw(&candidate.draw_key).is_within(everywhere);
        held_out_everywhere
            || match &self.campaign.audience.holdout {
                Holdout::Share(share) => *share > Share(0) && self.held_out.draw(&candidate.draw_key).is_within(*share),
                Holdout::Attribute { value, .. } => {
                    self.at.holdout.and_then(|at| text_of(candidate.attributes.get(at)?.as_deref()?)).is_some_and(|found| found == *value)
                }
            }
    }

    /// The arm by weights or by attribute; `None` when the attribute names none.
    fn arm(&mut self, candidate: &Candidate) -> Option<i16> {
        if let Some(name) = self.forced.and_then(|forced| forced.get(&candidate.draw_key))
            && name != "held_out"
        {
            return self.arms.number(name);
        }
        match &self.campaign.arms {
            Arms::Single => Some(HELD_OUT + 1),
            Arms::Variants(_) => {
                let drawn = self.variant.draw(&candidate.draw_key).arm(self.weights.iter().copied());
                i16::try_from(drawn?).ok().map(|index| index + HELD_OUT + 1)
            }
            Arms::FromAttribute(_) => {
                let name = text_of(candidate.attributes.get(self.at.arm?)?.as_deref()?)?;
                // Who is held out by the same attribute makes no arm of that name.
                match &self.campaign.audience.holdout {
                    Holdout::Attribute { value, .. } if *value == name && self.at.holdout.is_some() && self.same_attribute() => {
                        Some(HELD_OUT)
                    }
                    _ => self.arms.number(&name),
                }
            }
        }
    }

    fn same_attribute(&self) -> bool {
        matches!((&self.campaign.audience.holdout, &self.campaign.arms), (Holdout::Attribute { path, .. }, Arms::FromAttribute(arm)) if path == arm)
    }

    fn rank(&self, candidate: &Candidate) -> Rank {
        let number = || self.at.order.and_then(|at| candidate.attributes.get(at)?.as_deref()?.trim_matches('"').parse::<f64>().ok());
        // Who has no value comes last.
        let first = match &self.campaign.audience.order {
            Order::Random => 0,
            Order::MostEngaged => last_first(candidate.engaged_at),
            Order::Highest(_) => number().map_or(i64::MAX, |value| ordered(-value)),
            Order::Lowest(_) => number().map_or(i64::MAX, ordered),
        };
        (first, self.order.draw(&candidate.draw_key).0, candidate.id)
    }
}

/// The last engaged come first, and who never was comes last.
fn last_first(engaged_at: Option<i64>) -> i64 {
    engaged_at.map_or(i64::MAX, |at| -at)
}

/// When a message of this kind, due then, is not sent any more.
pub fn expires(message: &Message, due: Time, zone: chrono_tz::Tz) -> Time {
    match message.expires {
        Expires::After(duration) => duration.added(due, zone),
        Expires::At(local) => crate::schedule::resolve(zone, local),
        Expires::AtInstant(instant) => instant,
    }
}

/// A whole number in the same order as the value.
fn ordered(value: f64) -> i64 {
    let bits = value.to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

/// The text of a JSON scalar; nothing for null, empty text, lists and objects.
fn text_of(json: &str) -> Option<String> {
    match serde_json::from_str(json).ok()? {
        serde_json::Value::String(text) => Some(text).filter(|text| !text.is_empty()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        serde_json::Value::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_order_as_whole_numbers() {
        let values = [f64::NEG_INFINITY, -1e300, -2.5, -1.0, -0.5, 0.0, 1e-9, 0.5, 1.0, 7.0, 1e300, f64::INFINITY];
        assert!(values.windows(2).all(|pair| ordered(pair[0]) < ordered(pair[1])));
    }

    #[test]
    fn only_a_scalar_with_something_in_it_names_an_arm() {
        for (json, expected) in
            [("\"red\"", Some("red")), ("3", Some("3")), ("true", Some("true")), ("\"\"", None), ("null", None), ("[1]", None), ("x", None)]
        {
            assert_eq!(text_of(json).as_deref(), expected, "{json}");
        }
    }
}
