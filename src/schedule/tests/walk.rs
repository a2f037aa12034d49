//! Every random expression, in twelve zones, over five years, minute by minute: the walker looks at each real minute, and reads nothing of
//! what the engine reads (the fields are drawn as numbers and written out for it).

use super::*;
use chrono::TimeDelta;

/// Each with the first of its five years: those in which its clocks did something.
const PLACES: [(&str, i32); 12] = [
    ("Europe/Kyiv", 2021),
    ("Europe/Berlin", 2021),
    ("America/New_York", 2021),
    ("Africa/Cairo", 2021),
    ("Australia/Lord_Howe", 2021),
    ("America/Sao_Paulo", 2015),
    ("Africa/Casablanca", 2021),
    ("Asia/Kathmandu", 2021),
    ("Pacific/Apia", 2009),
    ("Asia/Almaty", 2021),
    ("America/Havana", 2021),
    ("Asia/Beirut", 2021),
];

const DAY: i64 = 24 * 60;

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
    fn to(&mut self, low: u32, high: u32) -> u32 {
        low + (self.next() % u64::from(high - low + 1)) as u32
    }
}

/// A field as drawn: its text, the values that it means, and whether it begins with a star or repeats.
struct Drawn {
    text: String,
    values: Vec<u32>,
    star: bool,
    repeats: bool,
}

fn draw(numbers: &mut Numbers, low: u32, high: u32, stars: u32, names: &[&str]) -> Drawn {
    let drawn = |text: String, values: Vec<u32>| Drawn { star: text.starts_with('*'), repeats: text.contains(['*', '/']), text, values };
    let one = numbers.to(low, high);
    let (a, b) = (numbers.to(low, high), numbers.to(low, high));
    let (a, b) = (a.min(b), a.max(b));
    let step = numbers.to(2, (high - low).max(3) / 2 + 1);
    let by = |low: u32, high: u32, step: u32| (low..=high).step_by(step as usize).collect::<Vec<u32>>();
    let choice = numbers.to(0, 99);
    if choice < stars {
        return drawn("*".into(), by(low, high, 1));
    }
    match numbers.to(0, 9) {
        0..=4 => match names.get(one as usize - low as usize) {
            Some(name) if numbers.to(0, 2) == 0 => drawn(name.to_string(), vec![one]),
            _ => drawn(one.to_string(), vec![one]),
        },
        5 => drawn(format!("{a},{b},{one}"), vec![a, b, one]),
        6 => drawn(format!("{a}-{b}"), by(a, b, 1)),
        7 => drawn(format!("*/{step}"), by(low, high, step)),
        8 => drawn(format!("{a}-{b}/{step}"), by(a, b, step)),
        _ => drawn(format!("{one}/{step}"), by(one, high, step)),
    }
}

struct Expression {
    text: String,
    /// Of a day.
    minutes: Vec<bool>,
    days: Drawn,
    months: Drawn,
    weekdays: Drawn,
    follows: bool,
}

impl Expression {
    fn draw(numbers: &mut Numbers) -> Self {
        let minute = draw(numbers, 0, 59, 3, &[]);
        let hour = draw(numbers, 0, 23, 15, &[]);
        let days = draw(numbers, 1, 31, 60, &[]);
        let months = draw(numbers, 1, 12, 60, &["jan", "FEB", "Mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "DEC"]);
        let weekdays = draw(numbers, 0, 7, 60, &["sun", "MON", "tue", "wed", "Thu", "fri", "sat", "7"]);
        let mut minutes = vec![false; DAY as usize];
        for hour in &hour.values {
            for minute in &minute.values {
                minutes[(hour * 60 + minute) as usize] = true;
            }
        }
        let text = format!("{} {} {} {} {}", minute.text, hour.text, days.text, months.text, weekdays.text);
        Expression { text, minutes, days, months, weekdays, follows: hour.repeats }
    }

    fn is_on(&self, date: NaiveDate) -> bool {
        use chrono::Datelike;
        let day = self.days.values.contains(&date.day());
        let number = date.weekday().num_days_from_sunday();
        let weekday = self.weekdays.values.iter().any(|value| value % 7 == number);
        let both = self.days.star || self.weekdays.star;
        self.months.values.contains(&date.month()) && if both { day && weekday } else { day || weekday }
    }
}

/// The real minutes of some years in one zone: for each stretch of one offset, its first minute and what must be added for the wall's.
struct Stretches {
    zone: Tz,
    first: Time,
    minutes: i64,
    /// From which real minute on, and by how much the wall is ahead.
    offsets: Vec<(i64, i64)>,
}

impl Stretches {
    fn of(zone: Tz, year: i32, years: i32) -> Self {
        let midnight = |year: i32| NaiveDate::from_ymd_opt(year, 1, 1).unwrap().and_time(NaiveTime::MIN).and_utc();
        let (first, end) = (midnight(year), midnight(year + years));
        let minutes = (end - first).num_minutes();
        let ahead = |minute: i64| {
            let instant = first + TimeDelta::minutes(minute);
            (local_time(zone, instant) - instant.naive_utc()).num_minutes()
        };
        let mut offsets = vec![(0, ahead(0))];
        for quarter in (0..minutes).step_by(15) {
            // Within a quarter of an hour minutes are asked one by one only when its ends differ.
            if ahead(quarter + 15) != offsets[offsets.len() - 1].1 || ahead(quarter) != offsets[offsets.len() - 1].1 {
                for minute in quarter..=quarter + 15 {
                    if ahead(minute) != offsets[offsets.len() - 1].1 {
                        offsets.push((minute, ahead(minute)));
                    }
                }
            }
        }
        Stretches { zone, first, minutes, offsets }
    }

    /// The minutes at which the expression fires, by the rule as it is written.
    fn walk(&self, expression: &Expression) -> Vec<i64> {
        let first_date = self.first.date_naive() - TimeDelta::days(2);
        // A bit for each minute of the wall's calendar.
        let days = self.minutes / DAY + 5;
        let mut wall = vec![false; (days * DAY) as usize];
        for (day, date) in first_date.iter_days().take(days as usize).enumerate() {
            if expression.is_on(date) {
                wall[day * DAY as usize..(day + 1) * DAY as usize].copy_from_slice(&expression.minutes);
            }
        }
        let mut found = Vec::new();
        let mut shown = i64::MIN;
        for (index, (begin, ahead)) in self.offsets.iter().enumerate() {
            let end = self.offsets.get(index + 1).map_or(self.minutes, |next| next.0.min(self.minutes));
            for minute in *begin..end {
                let on_the_wall = minute + ahead + 2 * DAY;
                let mut fires = wall[on_the_wall as usize];
                if !expression.follows {
                    fires &= on_the_wall > shown;
                    // The first minute after a gap stands for those that were skipped, unless a whole part of a day is missing.
                    if minute == *begin && index > 0 && on_the_wall - shown > 1 && on_the_wall - shown - 1 <= 180 {
                        fires |= (shown + 1..on_the_wall).any(|skipped| wall[skipped as usize]);
                    }
                }
                if fires {
                    found.push(minute);
                }
                shown = shown.max(on_the_wall);
            }
        }
        found
    }

    /// What differs from the engine, if something does.
    fn difference(&self, expression: &Expression) -> Option<String> {
        let rule = match Rule::read_cron(&expression.text) {
            Ok(rule) => rule,
            // Eight years may lie between two of its dates: it is refused, though some of them may lie in these five.
            Err(error) if error.message == "this date comes too rarely" => return None,
            Err(error) => {
                let fires = !self.walk(expression).is_empty() || error.message != "this date never comes";
                return fires.then(|| format!("`{}`: {error}", expression.text));
            }
        };
        let (mut last, bounds) = (self.first - TimeDelta::seconds(1), Bounds::default());
        let wanted = self.walk(expression);
        for minute in wanted.iter().copied() {
            let wanted = self.first + TimeDelta::minutes(minute);
            match rule.after(last, self.zone, &bounds) {
                Some(found) if found.instant == wanted => last = wanted,
                found => return Some(format!("`{}` in {} after {last}: {found:?} instead of {wanted}", expression.text, self.zone)),
            }
        }
        // Nothing more before the end, but a year's first minutes may have been skipped on the wall of the old year.
        let end = self.first + TimeDelta::minutes(self.minutes);
        let more = rule.after(last, self.zone, &bounds).filter(|found| found.instant < end);
        more.map(|found| format!("`{}` in {} also fires at {}", expression.text, self.zone, found.instant))
    }
}

fn compare(expressions: usize, years: i32) {
    let places: Vec<Stretches> = PLACES.iter().map(|(name, year)| Stretches::of(zone(name), *year, years)).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let places = &places;
            scope.spawn(move || {
                for number in (thread..expressions).step_by(threads) {
                    let expression = Expression::draw(&mut Numbers(number as u64));
                    for place in places {
                        assert_eq!(place.difference(&expression), None);
                    }
                }
            });
        }
    });
}

#[test]
fn some_random_expressions_fire_on_the_minutes_of_a_walk_through_two_years() {
    compare(12, 2);
}

/// Ten thousand expressions × 12 zones × 5 years, in half an hour on two cores:
///
/// ```sh
/// CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo test --target-dir target/walk --lib ten_thousand -- --ignored
/// ```
///
/// `POSTHASTE_WALK=500` before it takes fewer expressions.
#[test]
#[ignore = "seven minutes on two cores: see its command"]
fn ten_thousand_random_expressions_fire_on_the_minutes_of_a_walk_through_five_years() {
    compare(std::env::var("POSTHASTE_WALK").ok().and_then(|count| count.parse().ok()).unwrap_or(10_000), 5);
}
