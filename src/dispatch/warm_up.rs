//! Asks for the days of a warm-up once more just before letters leave: who comes on the day that it was given goes, everyone else takes what is left of
//! today, or waits for the first day with room.

use super::Inner;
use super::compose::Sending;
use super::permits::Permit;
use crate::campaigns::Campaign;
use crate::plan::{WarmUps, message_of, moved_expiry};
use crate::policy::warm_up::{Book, Day, begin_of, why};
use crate::store::blocks::Due;
use crate::store::warm_up::{BEYOND, Given, Moved, Warming};
use crate::store::{self, from_micros, micros};
use crate::types::{Class, Time};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Puts off the letters for which today has no room, in one transaction for each domain.
pub(super) async fn ask(
    inner: &Inner,
    sending: &Sending,
    campaign: &Campaign,
    answers: &mut [(Due, Permit)],
    now: Time,
) -> Result<(), store::Error> {
    let definitions = &sending.compiled.definitions;
    let Some(warm_ups) = WarmUps::new(&inner.store, definitions, campaign, now).await? else { return Ok(()) };
    let mut domains: BTreeMap<&str, (Warming<'_>, Vec<usize>)> = BTreeMap::new();
    for (place, (due, permit)) in answers.iter().enumerate() {
        if let (Permit::Granted, Some(warming)) = (permit, warm_ups.warming(due.arm, due.channel))
            && due.warm_up_day != Some(BEYOND)
        {
            domains.entry(warming.domain).or_insert_with(|| (warming, Vec::new())).1.push(place);
        }
    }
    for (domain, (warming, places)) in domains {
        let mut change = inner.store.change("ask a warm-up again").await?;
        let mut connection = change.connection();
        let asking: Vec<&Due> = places.iter().filter_map(|place| answers.get(*place)).map(|(due, _)| due).collect();
        let sites: BTreeSet<&str> = asking.iter().map(|due| due.site.as_str()).collect();
        let messages: Vec<i64> = asking.iter().map(|due| due.id).collect();
        let mut asked = Asked {
            book: connection.open_warm_up(warming, &sites, now).await?,
            warming,
            campaign,
            known: connection.warm_up_days_of(&messages).await?,
            counts: BTreeMap::new(),
            now,
        };
        let mut moved = Vec::new();
        for place in &places {
            let Some((due, permit)) = answers.get_mut(*place) else { continue };
            let answer = asked.one(due);
            moved.extend(answer.moves.map(|(day, expires_at)| (*place, day, expires_at)));
            *permit = answer.permit;
        }
        asked.counts.retain(|_, count| *count != 0);
        let ids = if asked.counts.is_empty() { HashMap::new() } else { connection.give_days(domain, &asked.counts).await? };
        let mut rows = Vec::with_capacity(moved.len());
        for (place, to, expires_at) in moved {
            let Some((due, _)) = answers.get_mut(place) else { continue };
            due.warm_up_day = match to {
                To::Day(day) => ids.get(&(due.site.clone(), day)).copied(),
                To::Beyond => Some(BEYOND),
                To::None => None,
            };
            due.expires_at = expires_at.or(due.expires_at);
            rows.push(Moved { message: due.id, day: due.warm_up_day, expires_at });
        }
        if !rows.is_empty() {
            connection.move_warm_up(&rows).await?;
        }
        change.commit("ask a warm-up again").await?;
    }
    Ok(())
}

struct Asked<'a> {
    book: Book,
    warming: Warming<'a>,
    campaign: &'a Campaign,
    /// What the letters hold now.
    known: HashMap<i64, Given>,
    counts: BTreeMap<(String, Day), i64>,
    now: Time,
}

struct Answer {
    permit: Permit,
    /// Where its day changes: to what, and its new expiry where that changes too.
    moves: Option<(To, Option<i64>)>,
}

enum To {
    Day(Day),
    Beyond,
    None,
}

impl Asked<'_> {
    fn one(&mut self, due: &mut Due) -> Answer {
        let (site, today) = (due.site.clone(), self.book.day(self.now));
        due.day_ends = Some(begin_of(self.warming.zone, today + 1));
        let granted = |moves| Answer { permit: Permit::Granted, moves };
        match self.known.get(&due.id) {
            Some(Given::Beyond) => return granted(Some((To::Beyond, None))),
            Some(Given::Day { day, .. }) if *day == today => return granted(None),
            Some(Given::Day { day, site: held, .. }) if *day > today => {
                // It comes before its day: that one is free again.
                *self.counts.entry((held.clone(), *day)).or_default() -= 1;
            }
            _ => {}
        }
        if self.book.number(&site, today).is_none() {
            due.day_ends = None;
            return granted(Some((To::None, None)));
        }
        if self.campaign.class == Class::Transactional || self.book.has_room(&site, today) {
            self.count(&site, today);
            return granted(Some((To::Day(today), None)));
        }
        if self.warming.warm_up.beyond.is_some() {
            due.day_ends = None;
            return granted(Some((To::Beyond, None)));
        }
        let opens = |at: Time| self.campaign.schedule.open_from(at, self.campaign.schedule.zone);
        let (day, leaves) = self.book.first_with_room(&site, self.now, today, opens);
        let expires = &message_of(self.campaign, due.arm, due.channel).expires;
        let later = |until| Permit::Later { until, why: why(self.warming.domain, day) };
        match moved_expiry(expires, due.expires_at, self.now, leaves) {
            Ok(expires_at) => {
                let to = if self.book.number(&site, day).is_some() {
                    self.count(&site, day);
                    To::Day(day)
                } else {
                    To::None
                };
                Answer { permit: later(leaves), moves: Some((to, expires_at.filter(|at| Some(*at) != due.expires_at))) }
            }
            // It expires first, and takes no place from anybody.
            Err(expires_at) => Answer { permit: later(from_micros(expires_at)), moves: Some((To::None, None)) },
        }
    }

    fn count(&mut self, site: &str, day: Day) {
        self.book.count(site, day);
        *self.counts.entry((site.to_string(), day)).or_default() += 1;
    }
}

/// Whether the day on which a letter may leave is over.
pub(super) fn is_over(due: &Due, now: Time) -> bool {
    due.day_ends.is_some_and(|ends| micros(ends) <= micros(now))
}
