//! How many letters a new sending domain may send a day to each mailbox site, and on which day each of them goes (definitions.md §17).
//!
//! Steps go by the calendar of the workspace's zone from the first day on. A site that answered a day with too many bounces or complaints stays
//! behind: its step is held, or goes one back. Who asks in the order of engagement gives the first days to the most engaged.
//!
//! Pure: `store::warm_up` keeps the counts, and the lock under which they are asked.

use crate::campaigns::{Ramp, WarmUp};
use crate::schedule::{local_time, resolve};
use crate::types::Time;
use chrono::{Datelike, Days, NaiveDate};
use chrono_tz::Tz;
use std::collections::{BTreeMap, HashMap};

/// A day of the workspace's calendar, counted from 1970-01-01.
pub type Day = i64;

const CONSERVATIVE: &[u64] = &[50, 100, 500, 1_000, 2_000, 4_000, 8_000];
/// Days that a conservative warm-up stays on a number.
const STAYS: i64 = 3;
const MODERATE: &[u64] = &[
    50, 100, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 25_000, 35_000, 50_000, 75_000, 100_000, 150_000, 200_000, 275_000, 375_000, 500_000,
    650_000, 825_000, 1_000_000,
];
const AGGRESSIVE: &[u64] = &[
    50, 100, 500, 1_000, 5_000, 10_000, 20_000, 40_000, 70_000, 100_000, 150_000, 250_000, 400_000, 600_000, 1_000_000, 2_000_000,
    4_000_000,
];
/// From here on nothing is limited: nobody has so many customers.
const MOST: u64 = 1_000_000_000;
/// No day lies farther ahead: a plan that is longer has grown past every base.
const HORIZON: i64 = 3_660;

/// The number of a step, from 0 on; `None` where the plan is over and nothing is limited.
fn number(ramp: &Ramp, step: i64) -> Option<u64> {
    let at = |numbers: &[u64], step: i64| usize::try_from(step).ok().and_then(|step| numbers.get(step).copied());
    let doubled = |numbers: &[u64], step: i64| {
        let last = numbers.last().copied().unwrap_or(0);
        let times = u32::try_from(step + 1 - numbers.len() as i64).unwrap_or(u32::MAX).min(40);
        last.saturating_mul(1 << times)
    };
    let number = match ramp {
        Ramp::Conservative => Some(at(CONSERVATIVE, step / STAYS).unwrap_or_else(|| doubled(CONSERVATIVE, step / STAYS))),
        Ramp::Moderate => at(MODERATE, step),
        Ramp::Aggressive => Some(at(AGGRESSIVE, step).unwrap_or_else(|| doubled(AGGRESSIVE, step))),
        Ramp::Days(days) => at(days, step),
    };
    number.filter(|number| *number <= MOST)
}

/// The day of an instant in a zone.
pub fn day_of(zone: Tz, instant: Time) -> Day {
    i64::from(local_time(zone, instant).date().num_days_from_ce()) - EPOCH
}

/// The date of a day.
pub fn date_of(day: Day) -> NaiveDate {
    i32::try_from(day + EPOCH).ok().and_then(NaiveDate::from_num_days_from_ce_opt).unwrap_or(NaiveDate::MAX)
}

/// When a day begins there.
pub fn begin_of(zone: Tz, day: Day) -> Time {
    resolve(zone, date_of(day).and_hms_opt(0, 0, 0).unwrap_or_default())
}

/// 1970-01-01 in days of the common era.
const EPOCH: i64 = 719_163;

/// What came of the letters of one day to one site.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Results {
    /// Accepted or refused for good.
    pub tried: u64,
    pub bounced: u64,
    pub complained: u64,
}

/// By how many days a site falls behind after a day like this (definitions.md §17): none, one (the step is held), or two (the step before).
pub fn falls_behind(results: Results) -> i64 {
    // In parts of 10,000, so that nothing is rounded.
    let is_over = |count: u64, parts: u64| count.saturating_mul(10_000) > results.tried.saturating_mul(parts);
    match results {
        Results { tried: 0, .. } => 0,
        _ if is_over(results.complained, 30) => 2,
        _ if is_over(results.complained, 8) || is_over(results.bounced, 300) => 1,
        _ => 0,
    }
}

/// The letters that a domain has given days to, of the sites that are asked about.
#[derive(Debug, Clone)]
pub struct Book {
    zone: Tz,
    first: Day,
    ramp: Ramp,
    sites: HashMap<String, Site>,
}

#[derive(Debug, Clone, Default)]
struct Site {
    behind: i64,
    given: BTreeMap<Day, u64>,
}

impl Book {
    pub fn new(warm_up: &WarmUp, zone: Tz) -> Self {
        let first = i64::from(warm_up.from.num_days_from_ce()) - EPOCH;
        Book { zone, first, ramp: warm_up.ramp.clone(), sites: HashMap::new() }
    }

    /// Enters by how many days a site is behind the calendar.
    pub fn enter_site(&mut self, site: &str, behind: i64) {
        self.sites.entry(site.to_string()).or_default().behind = behind;
    }

    /// Enters what a site has been given of a day.
    pub fn enter_day(&mut self, site: &str, day: Day, given: u64) {
        self.sites.entry(site.to_string()).or_default().given.insert(day, given);
    }

    /// How many letters the site may get on that day; `None`: any number.
    pub fn number(&self, site: &str, day: Day) -> Option<u64> {
        let behind = self.sites.get(site).map_or(0, |site| site.behind);
        (day >= self.first).then(|| number(&self.ramp, (day - self.first - behind).max(0))).flatten()
    }

    /// By how many days a site that was so far behind is behind on `day`, after what came of its last one; never behind the first step.
    pub fn behind(&self, behind: i64, last: Results, day: Day) -> i64 {
        (behind + falls_behind(last)).clamp(0, (day - self.first).max(0))
    }

    /// Whether nothing is limited any more on that day, however far behind a site is, up to `behind`.
    pub fn is_over(&self, day: Day, behind: i64) -> bool {
        day >= self.first && number(&self.ramp, (day - self.first - behind).max(0)).is_none()
    }

    pub fn given(&self, site: &str, day: Day) -> u64 {
        self.sites.get(site).and_then(|site| site.given.get(&day)).copied().unwrap_or(0)
    }

    pub fn has_room(&self, site: &str, day: Day) -> bool {
        self.number(site, day).is_none_or(|number| self.given(site, day) < number)
    }

    /// Counts one letter more, whether there is room or not.
    pub fn count(&mut self, site: &str, day: Day) {
        match self.sites.get_mut(site) {
            Some(known) => *known.given.entry(day).or_default() += 1,
            None => self.enter_day(site, day, 1),
        }
    }

    /// The day of an instant in the calendar of this book.
    pub fn day(&self, instant: Time) -> Day {
        day_of(self.zone, instant)
    }

    /// The first day with room from `from` on, and when a letter that would leave at `at` leaves then: at the same time of the day, or when `opens`
    /// lets it. `from` is `at`'s own day or a later one.
    pub fn first_with_room(&self, site: &str, at: Time, from: Day, opens: impl Fn(Time) -> Time) -> (Day, Time) {
        let own = self.day(at);
        let mut day = from.max(own);
        while day < own + HORIZON {
            if !self.has_room(site, day) {
                day += 1;
                continue;
            }
            let leaves = if day == own { at } else { opens(self.days_later(at, day - own)) };
            let lands = self.day(leaves);
            if lands <= day {
                return (day, leaves);
            }
            day = lands;
            if self.has_room(site, day) {
                return (day, leaves);
            }
        }
        (day, self.days_later(at, day - own))
    }

    /// The same time of the day so many days later.
    fn days_later(&self, at: Time, days: i64) -> Time {
        let wall = local_time(self.zone, at);
        wall.checked_add_days(Days::new(u64::try_from(days).unwrap_or(0))).map_or(at, |wall| resolve(self.zone, wall))
    }
}

/// Why a letter waits, for people.
pub fn why(domain: &str, day: Day) -> String {
    format!("warm-up of {domain}: its day is {}", date_of(day))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(ramp: Ramp) -> Book {
        Book::new(&WarmUp { from: "2027-03-01".parse().unwrap(), ramp, beyond: None }, Tz::Europe__Kyiv)
    }

    fn day(text: &str) -> Day {
        i64::from(text.parse::<NaiveDate>().unwrap().num_days_from_ce()) - EPOCH
    }

    #[test]
    fn the_numbers_are_those_of_the_plan() {
        let cases: &[(Ramp, &str, Option<u64>)] = &[
            (Ramp::Moderate, "2027-02-28", None),
            (Ramp::Moderate, "2027-03-01", Some(50)),
            (Ramp::Moderate, "2027-03-09", Some(25_000)),
            (Ramp::Moderate, "2027-03-21", Some(1_000_000)),
            (Ramp::Moderate, "2027-03-22", None),
            (Ramp::Conservative, "2027-03-03", Some(50)),
            (Ramp::Conservative, "2027-03-04", Some(100)),
            (Ramp::Conservative, "2027-03-21", Some(8_000)),
            (Ramp::Conservative, "2027-03-22", Some(16_000)),
            (Ramp::Conservative, "2027-03-25", Some(32_000)),
            (Ramp::Conservative, "2027-05-27", None),
            (Ramp::Aggressive, "2027-03-17", Some(4_000_000)),
            (Ramp::Aggressive, "2027-03-18", Some(8_000_000)),
            (Ramp::Days(vec![10, 20]), "2027-03-02", Some(20)),
            (Ramp::Days(vec![10, 20]), "2027-03-03", None),
        ];
        for (ramp, date, expected) in cases {
            assert_eq!(book(ramp.clone()).number("gmail.com", day(date)), *expected, "{ramp:?} {date}");
        }
    }

    #[test]
    fn a_bad_day_holds_the_step_and_a_very_bad_one_takes_it_back() {
        let cases = [
            ((0, 0, 0), 0),
            ((10_000, 300, 8), 0),
            ((10_000, 301, 0), 1),
            ((10_000, 0, 9), 1),
            ((10_000, 301, 30), 1),
            ((10_000, 0, 31), 2),
            ((50, 0, 1), 2),
            ((50, 2, 0), 1),
            ((50, 1, 0), 0),
        ];
        for ((tried, bounced, complained), expected) in cases {
            assert_eq!(falls_behind(Results { tried, bounced, complained }), expected, "{tried} {bounced} {complained}");
        }
        let mut behind = book(Ramp::Moderate);
        behind.enter_site("gmail.com", 2);
        assert_eq!(behind.number("gmail.com", day("2027-03-04")), Some(100));
        // Nobody falls back behind the first step.
        assert_eq!(behind.number("gmail.com", day("2027-03-01")), Some(50));
        assert_eq!(behind.number("yahoo.com", day("2027-03-04")), Some(1_000));
    }

    #[test]
    fn a_letter_goes_on_the_first_day_with_room_at_the_same_time_of_the_day() {
        let mut book = book(Ramp::Days(vec![1, 1, 2]));
        // The clocks of Kyiv go forward on 2027-03-28; here nothing changes. Ten in Kyiv is eight in UTC.
        let at: Time = "2027-03-01T08:00:00Z".parse().unwrap();
        let always = |at: Time| at;
        let mut gone = Vec::new();
        for _ in 0..6 {
            let (day, leaves) = book.first_with_room("gmail.com", at, book.day(at), always);
            book.count("gmail.com", day);
            gone.push(leaves.to_rfc3339());
        }
        let on = |day: u32| format!("2027-03-0{day}T08:00:00+00:00");
        assert_eq!(gone, [on(1), on(2), on(3), on(3), on(4), on(4)]);
        assert_eq!(book.first_with_room("yahoo.com", at, book.day(at), always).1, at, "each site by itself");
        // The third of March is closed, and the day after it limits nothing.
        let opens = |at: Time| if day_of(Tz::Europe__Kyiv, at) == day("2027-03-03") { at + chrono::TimeDelta::days(1) } else { at };
        book.enter_day("web.de", day("2027-03-01"), 1);
        book.enter_day("web.de", day("2027-03-02"), 1);
        assert_eq!(book.first_with_room("web.de", at, book.day(at), opens).1.to_rfc3339(), on(4));
        assert_eq!(why("mail.shop.example", day("2027-03-04")), "warm-up of mail.shop.example: its day is 2027-03-04");
    }

    #[test]
    fn days_are_those_of_the_calendar_of_the_zone() {
        for (instant, zone, date) in [
            ("2027-03-01T22:30:00Z", Tz::Europe__Kyiv, "2027-03-02"),
            ("2027-03-01T02:00:00Z", Tz::America__New_York, "2027-02-28"),
            ("1970-01-01T00:00:00Z", Tz::UTC, "1970-01-01"),
        ] {
            let found = day_of(zone, instant.parse().unwrap());
            assert_eq!((date_of(found).to_string(), found), (date.to_string(), day(date)));
        }
        assert_eq!(begin_of(Tz::Europe__Kyiv, day("2027-03-02")).to_rfc3339(), "2027-03-01T22:00:00+00:00");
    }
}
