//! Which letters of a run go on which day while their sending domain is being warmed up (files.md §2, `warm_up`).
//!
//! Days are given twice: first over the whole audience, so that the most engaged come first, and then window by window in the transaction that writes
//! the plan, under the lock, so that no day gets more than its number. Transactional letters are counted and never wait.

use super::arms::message_of;
use super::decide::{Decided, messages};
use crate::campaigns::{Campaign, Definitions, Expires, Workspace};
use crate::policy::warm_up::{Book, Day, why};
use crate::store::batch::Connection;
use crate::store::planning::Planned;
use crate::store::warm_up::{BEYOND, Warming};
use crate::store::{self, Store, from_micros, micros};
use crate::types::{Channel, Class, Time};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// What a letter is given when all that ask have been heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seat {
    /// No earlier than this day.
    From(Day),
    /// Sent by the identity for what is beyond the numbers.
    Beyond,
}

/// The warm-ups that a campaign's letters meet.
pub struct WarmUps<'a> {
    campaign: &'a Campaign,
    /// By identity.
    of: BTreeMap<&'a str, Warming<'a>>,
}

/// By domain.
pub type Books<'a> = BTreeMap<&'a str, Book>;

/// Whether some letter of the campaign leaves from a domain with a warm-up.
pub fn is_warming(workspace: &Workspace, campaign: &Campaign) -> bool {
    messages(campaign).into_iter().any(|message| message.channel == Channel::Email && workspace.warm_up_of(&message.from).is_some())
}

impl<'a> WarmUps<'a> {
    /// `None` when nothing is limited: no domain of this campaign has a warm-up that is not over yet.
    pub async fn new(store: &Store, definitions: &'a Definitions, campaign: &'a Campaign, now: Time) -> Result<Option<Self>, store::Error> {
        let workspace = &definitions.workspace;
        let mut of = BTreeMap::new();
        for message in messages(campaign).into_iter().filter(|message| message.channel == Channel::Email) {
            let Some((domain, warm_up)) = workspace.warm_up_of(&message.from) else { continue };
            let warming = Warming { domain, warm_up, zone: workspace.zone };
            let book = warming.book();
            let behind = store.warm_up_behind(domain).await?;
            if !book.is_over(book.day(now), behind) {
                of.insert(message.from.as_str(), warming);
            }
        }
        Ok((!of.is_empty()).then_some(WarmUps { campaign, of }))
    }

    /// The warm-up of a message's domain.
    pub fn warming(&self, arm: i16, channel: Channel) -> Option<Warming<'a>> {
        if channel != Channel::Email {
            return None;
        }
        self.of.get(message_of(self.campaign, arm, channel).from.as_str()).copied()
    }

    fn of_row(&self, row: &Planned) -> Option<Warming<'a>> {
        if row.refusal.is_some() { None } else { self.warming(row.arm, row.channel) }
    }

    /// As it stands, without a lock.
    pub async fn books(&self, store: &Store, now: Time) -> Result<Books<'a>, store::Error> {
        let mut books = BTreeMap::new();
        for warming in self.of.values() {
            if !books.contains_key(warming.domain) {
                books.insert(warming.domain, store.warm_up_book(*warming, now).await?);
            }
        }
        Ok(books)
    }

    /// Gives days to the letters of a window and counts them; the caller's transaction writes the rows.
    pub async fn give(&self, connection: &mut Connection<'_>, decided: &mut [Decided], now: Time) -> Result<(), store::Error> {
        let mut domains: BTreeMap<&str, (Warming<'a>, Vec<usize>)> = BTreeMap::new();
        for (place, one) in decided.iter().enumerate() {
            if let Some(warming) = self.of_row(&one.row) {
                domains.entry(warming.domain).or_insert_with(|| (warming, Vec::new())).1.push(place);
            }
        }
        for (domain, (warming, places)) in domains {
            let sites: BTreeSet<&str> = places.iter().filter_map(|place| decided.get(*place)).map(|one| &*one.row.site).collect();
            let mut book = connection.open_warm_up(warming, &sites, now).await?;
            let mut counts: BTreeMap<(String, Day), i64> = BTreeMap::new();
            let mut given: Vec<(usize, Day)> = Vec::new();
            for place in places {
                let Some(one) = decided.get_mut(place) else { continue };
                if let Some(day) = self.sit(&mut book, warming, one, now) {
                    *counts.entry((one.row.site.to_string(), day)).or_default() += 1;
                    given.push((place, day));
                }
            }
            if counts.is_empty() {
                continue;
            }
            let ids = connection.give_days(domain, &counts).await?;
            for (place, day) in given {
                if let Some(one) = decided.get_mut(place) {
                    one.row.warm_up_day = ids.get(&(one.row.site.to_string(), day)).copied();
                }
            }
        }
        Ok(())
    }

    /// The same without a database: as it would be.
    pub fn preview(&self, books: &mut Books<'a>, decided: &mut [Decided], now: Time) {
        for one in decided {
            if let Some(warming) = self.of_row(&one.row)
                && let Some(book) = books.get_mut(warming.domain)
            {
                self.sit(book, warming, one, now);
            }
        }
    }

    /// Gives one letter its day and changes its row accordingly; gives the day when it was counted for one.
    fn sit(&self, book: &mut Book, warming: Warming<'_>, one: &mut Decided, now: Time) -> Option<Day> {
        let row = &mut one.row;
        let at = leaves_at(row, now);
        let own = book.day(at);
        if self.campaign.class == Class::Transactional {
            return counted(book, &row.site, own);
        }
        let from = match one.seat {
            Some(Seat::Beyond) => None,
            Some(Seat::From(day)) => Some(day),
            None => Some(own),
        };
        let Some(from) = from.filter(|_| warming.warm_up.beyond.is_none() || book.has_room(&row.site, own)) else {
            row.warm_up_day = Some(BEYOND);
            return None;
        };
        let (day, leaves) = book.first_with_room(&row.site, at, from, |at| self.opens(at));
        if day != own {
            let message = message_of(self.campaign, row.arm, row.channel);
            row.detail = Some(why(warming.domain, day));
            match moved_expiry(&message.expires, row.expires_at, at, leaves) {
                Ok(expires_at) => (row.next_at, row.expires_at) = (Some(micros(leaves)), expires_at),
                Err(expires_at) => {
                    row.next_at = Some(expires_at);
                    return None;
                }
            }
        }
        counted(book, &row.site, day)
    }

    /// When the schedule's windows let a letter leave that would leave then.
    fn opens(&self, at: Time) -> Time {
        self.campaign.schedule.open_from(at, self.campaign.schedule.zone)
    }
}

fn leaves_at(row: &Planned, now: Time) -> Time {
    from_micros(row.next_at.unwrap_or(row.due_at.max(micros(now))))
}

/// Counts a letter, where its day has a number at all.
fn counted(book: &mut Book, site: &str, day: Day) -> Option<Day> {
    book.number(site, day)?;
    book.count(site, day);
    Some(day)
}

/// The expiry of a letter that leaves later than it would have: what is so long after its time moves with it, what is an instant stays. That instant, where it
/// comes before the letter could leave.
pub fn moved_expiry(expires: &Expires, expires_at: Option<i64>, at: Time, leaves: Time) -> Result<Option<i64>, i64> {
    match (expires, expires_at) {
        (Expires::After(_), Some(expires_at)) => Ok(Some(expires_at + micros(leaves) - micros(at))),
        (_, Some(expires_at)) if expires_at <= micros(leaves) => Err(expires_at),
        (_, expires_at) => Ok(expires_at),
    }
}

/// The letters of a whole audience that ask for days.
#[derive(Default)]
pub(super) struct Asking<'a> {
    rows: Vec<Row<'a>>,
    sites: Vec<Arc<str>>,
    places: HashMap<Arc<str>, u32>,
}

struct Row<'a> {
    engaged: (i64, u64),
    customer: i64,
    domain: &'a str,
    site: u32,
    at: i64,
}

impl<'a> Asking<'a> {
    /// Hears one, if it is a letter that may have to wait.
    pub fn add(&mut self, warm_ups: &WarmUps<'a>, one: &Decided, now: Time) {
        let Some(warming) = warm_ups.of_row(&one.row).filter(|_| warm_ups.campaign.class != Class::Transactional) else { return };
        let site = match self.places.get(&one.row.site) {
            Some(site) => *site,
            None => {
                let site = u32::try_from(self.sites.len()).unwrap_or(u32::MAX);
                self.sites.push(one.row.site.clone());
                self.places.insert(one.row.site.clone(), site);
                site
            }
        };
        let at = micros(leaves_at(&one.row, now));
        self.rows.push(Row { engaged: one.engaged, customer: one.row.customer, domain: warming.domain, site, at });
    }

    /// The seats of those who do not simply keep their own day, by customer.
    pub fn seats(mut self, warm_ups: &WarmUps<'a>, books: &mut Books<'a>) -> HashMap<i64, Seat> {
        self.rows.sort_unstable_by_key(|row| (row.engaged, row.customer));
        let mut seats = HashMap::new();
        let beyond: BTreeSet<&str> =
            warm_ups.of.values().filter(|warming| warming.warm_up.beyond.is_some()).map(|warming| warming.domain).collect();
        for row in &self.rows {
            let (Some(book), Some(site)) = (books.get_mut(row.domain), self.sites.get(row.site as usize)) else { continue };
            let at = from_micros(row.at);
            let own = book.day(at);
            if beyond.contains(row.domain) && !book.has_room(site, own) {
                seats.insert(row.customer, Seat::Beyond);
                continue;
            }
            let (day, _) = book.first_with_room(site, at, own, |at| warm_ups.opens(at));
            counted(book, site, day);
            if day != own {
                seats.insert(row.customer, Seat::From(day));
            }
        }
        seats
    }
}
