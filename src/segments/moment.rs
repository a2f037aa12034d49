//! When and for which workspace a condition is asked, and which instants its windows and dates mean then.
//!
//! A day-long expression (`90 days ago`, `2027-03-01`, `today`) means that whole day in the zone in force, and `from`, `until` and `between`
//! include it; `now`, hours and date-times mean an instant.

use super::model::{Condition, DateOperand, DateTest, Window};
use crate::literals::{DateExpression, Duration, Unit, WrittenTime, resolve, zone_of};
use crate::types::Time;
use chrono::{Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};
use chrono_tz::Tz;
use std::collections::{BTreeMap, BTreeSet};

/// When a condition is asked, where, and what the workspace says.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    pub now: Time,
    pub zone: ZoneInForce,
    /// Conditions of the segments, by key.
    pub segments: &'a BTreeMap<String, Condition>,
    pub currency: &'a str,
    /// Currency → price of one unit in the workspace's currency.
    pub rates: &'a BTreeMap<String, f64>,
    /// What samples are drawn from.
    pub seed: &'a str,
    /// Who was drawn, for conditions that are asked of a database (`Store::draw_samples`); not needed in memory.
    pub samples: &'a Samples,
}

/// Customers' numbers by draw and share (in hundredths of a percent). A database cannot draw by itself: SQLite knows no SHA-256.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Samples(pub BTreeMap<(String, u32), Vec<i64>>);

impl Samples {
    /// For conditions without a sample.
    pub const NONE: &'static Samples = &Samples(BTreeMap::new());
}

/// Whose day counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZoneInForce {
    Fixed(Tz),
    /// Each customer's own zone, else that of the country or phone.
    Recipient {
        fallback: Tz,
    },
}

impl ZoneInForce {
    /// The zone for a customer with this zone, country and phone.
    pub fn of(self, zone: Option<&str>, country: Option<&str>, phone: Option<&str>) -> Tz {
        match self {
            ZoneInForce::Fixed(zone) => zone,
            ZoneInForce::Recipient { fallback } => zone_of(zone, country, phone).unwrap_or(fallback),
        }
    }
}

/// An instant with the zone that gives days: all that windows and dates need.
#[derive(Debug, Clone, Copy)]
pub struct Here {
    pub now: Time,
    pub zone: Tz,
}

/// Microseconds since 1970 from `low` to before `high`; `None` is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Range {
    pub low: Option<i64>,
    pub high: Option<i64>,
}

impl Range {
    pub fn contains(self, at: i64) -> bool {
        self.low.is_none_or(|low| at >= low) && self.high.is_none_or(|high| at < high)
    }
}

/// A date test as ranges: for a day without a time and for a local time (both counted as if they were in UTC), and for an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ranges {
    pub day: Range,
    pub local: Range,
    pub instant: Range,
}

/// First moment and the one behind the last of what an expression means: local and as an instant.
#[derive(Debug, Clone, Copy)]
struct Meaning {
    day: NaiveDate,
    first: (NaiveDateTime, Time),
    behind: (NaiveDateTime, Time),
}

impl Here {
    fn local(self, instant: Time) -> NaiveDateTime {
        instant.with_timezone(&self.zone).naive_local()
    }

    /// The local day.
    pub fn today(self) -> NaiveDate {
        self.local(self.now).date()
    }

    fn whole_day(self, day: NaiveDate) -> Meaning {
        let (first, behind) = (midnight(day), midnight(next(day)));
        Meaning { day, first: (first, resolve(self.zone, first)), behind: (behind, resolve(self.zone, behind)) }
    }

    fn meaning(self, expression: DateExpression) -> Meaning {
        match expression {
            DateExpression::Ago(duration) | DateExpression::In(duration) if duration.unit < Unit::Day => {
                self.point(expression.instant(self.now, self.zone), 0)
            }
            DateExpression::Now => self.point(self.now, 0),
            DateExpression::Time(WrittenTime::Instant(instant)) => self.point(instant, 60),
            DateExpression::Time(WrittenTime::Local(local)) => Meaning {
                day: local.date(),
                first: (local, resolve(self.zone, local)),
                behind: (local + TimeDelta::seconds(60), resolve(self.zone, local) + TimeDelta::seconds(60)),
            },
            _ => self.whole_day(expression.day(self.now, self.zone)),
        }
    }

    /// An instant that lasts so many seconds (a written time: its minute), else a microsecond.
    fn point(self, instant: Time, seconds: i64) -> Meaning {
        let behind = instant + if seconds > 0 { TimeDelta::seconds(seconds) } else { TimeDelta::microseconds(1) };
        let (local, local_behind) = (self.local(instant), self.local(instant) + (behind - instant));
        Meaning { day: local.date(), first: (local, instant), behind: (local_behind, behind) }
    }

    /// The instants of a window. Without anything written: up to now, now included.
    pub fn window(self, window: &Window) -> Range {
        let mut range = Range { low: None, high: Some(self.now.timestamp_micros().saturating_add(1)) };
        if let Some(within) = window.within {
            range.low = Some(within.subtracted(self.now, self.zone).timestamp_micros());
            range.high = Some(self.now.timestamp_micros());
        }
        if let Some(from) = window.from {
            let low = self.meaning(from).first.1.timestamp_micros();
            range.low = Some(range.low.map_or(low, |known| known.max(low)));
        }
        if let Some(until) = window.until {
            let high = self.meaning(until).behind.1.timestamp_micros();
            range.high = Some(range.high.map_or(high, |known| known.min(high)));
        }
        range
    }

    /// The ranges of a test; `None` when it compares with another value of the customer.
    pub fn ranges(self, test: &DateTest) -> Option<Ranges> {
        let expression = |operand: &DateOperand| match operand {
            DateOperand::Expression(expression) => Some(self.meaning(*expression)),
            DateOperand::Attribute(_) => None,
        };
        Some(match test {
            DateTest::Is(operand) => {
                let meaning = expression(operand)?;
                // A day is that day; an instant on a day without a time is that day too.
                ranges(Some(meaning), Some(meaning), (meaning.day, next(meaning.day)))
            }
            DateTest::Before(operand) => {
                let meaning = expression(operand)?;
                let mut found = ranges(None, None, (NaiveDate::MIN, meaning.day));
                (found.local.high, found.instant.high) = (Some(micros(meaning.first.0)), Some(meaning.first.1.timestamp_micros()));
                found.day.low = None;
                found
            }
            DateTest::After(operand) => {
                let meaning = expression(operand)?;
                let mut found = ranges(None, None, (next(meaning.day), NaiveDate::MAX));
                (found.local.low, found.instant.low) = (Some(micros(meaning.behind.0)), Some(meaning.behind.1.timestamp_micros()));
                found.day.high = None;
                found
            }
            DateTest::From(operand) => {
                let meaning = expression(operand)?;
                let mut found = ranges(Some(meaning), None, (meaning.day, NaiveDate::MAX));
                found.day.high = None;
                found
            }
            DateTest::Until(operand) => {
                let meaning = expression(operand)?;
                let mut found = ranges(None, Some(meaning), (NaiveDate::MIN, next(meaning.day)));
                found.day.low = None;
                found
            }
            DateTest::Within(duration) => self.span(duration.subtracted(self.now, self.zone), self.now, self.last_days(*duration)),
            DateTest::WithinNext(duration) => self.span(self.now, duration.added(self.now, self.zone), self.next_days(*duration)),
        })
    }

    fn span(self, from: Time, to: Time, days: (NaiveDate, NaiveDate)) -> Ranges {
        Ranges {
            day: Range { low: Some(micros(midnight(days.0))), high: Some(micros(midnight(days.1))) },
            local: Range { low: Some(micros(self.local(from))), high: Some(micros(self.local(to))) },
            instant: Range { low: Some(from.timestamp_micros()), high: Some(to.timestamp_micros()) },
        }
    }

    /// So many days up to today, from the first to behind the last; at least today.
    fn last_days(self, duration: Duration) -> (NaiveDate, NaiveDate) {
        let today = self.today();
        let first = next(self.local(duration.subtracted(self.now, self.zone)).date());
        (first.min(today), next(today))
    }

    /// So many days from today on.
    fn next_days(self, duration: Duration) -> (NaiveDate, NaiveDate) {
        let today = self.today();
        (today, self.local(duration.added(self.now, self.zone)).date().max(next(today)))
    }

    /// Month and day (`03-01`) of all dates whose next return, today included, satisfies the tests. Who was born on 29 February has
    /// the 28th in years without one.
    pub fn returning_days(self, tests: &[DateTest]) -> BTreeSet<String> {
        let today = self.today();
        let end = Duration { count: 1, unit: Unit::Year }.after(midnight(today)).date();
        let ranges: Vec<Range> = tests.iter().filter_map(|test| self.ranges(test)).map(|ranges| ranges.day).collect();
        let mut days = BTreeSet::new();
        let mut day = today;
        while day < end && days.len() <= 366 {
            if ranges.iter().all(|range| range.contains(micros(midnight(day)))) {
                days.insert(day.format("%m-%d").to_string());
                if day.month() == 2 && day.day() == 28 && !day.leap_year() {
                    days.insert("02-29".to_string());
                }
            }
            day = next(day);
        }
        days
    }
}

fn ranges(from: Option<Meaning>, until: Option<Meaning>, days: (NaiveDate, NaiveDate)) -> Ranges {
    Ranges {
        day: Range { low: Some(micros(midnight(days.0))), high: Some(micros(midnight(days.1))) },
        local: Range { low: from.map(|from| micros(from.first.0)), high: until.map(|until| micros(until.behind.0)) },
        instant: Range {
            low: from.map(|from| from.first.1.timestamp_micros()),
            high: until.map(|until| until.behind.1.timestamp_micros()),
        },
    }
}

fn next(day: NaiveDate) -> NaiveDate {
    day.checked_add_days(Days::new(1)).unwrap_or(day)
}

fn midnight(day: NaiveDate) -> NaiveDateTime {
    day.and_time(NaiveTime::MIN)
}

/// A local time counted as if it were UTC.
fn micros(local: NaiveDateTime) -> i64 {
    local.and_utc().timestamp_micros()
}
