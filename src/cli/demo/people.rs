//! Believable sample people: names, cities, consents and purchases in Ukrainian, English and Russian. Nobody in here exists.
//!
//! The same number of people gives the same files to the byte: every choice is a keyed hash of the person's number and of what is chosen.
//! Addresses are under example domains; phone numbers are of the right form and invented: send nothing to them.

use crate::types::Time;
use aws_lc_rs::digest;
use chrono::{Datelike, Days, NaiveDate, NaiveTime, TimeDelta};
use serde_json::json;
use std::fmt::Write as _;

/// Two files as an import takes them: customers as CSV, their history as JSON lines.
pub struct People {
    pub customers: String,
    pub events: String,
}

struct Place {
    language: &'static str,
    country: &'static str,
    zone: &'static str,
    cities: &'static [&'static str],
    women: &'static [&'static str],
    men: &'static [&'static str],
    /// Surname for a woman and for a man.
    surnames: &'static [(&'static str, &'static str)],
    domains: &'static [&'static str],
    /// Prefix of the phone number, and how many digits follow.
    phone: (&'static str, u32),
}

const PLACES: &[Place] = &[
    Place {
        language: "uk",
        country: "UA",
        zone: "Europe/Kyiv",
        cities: &["Київ", "Львів", "Одеса", "Харків", "Дніпро", "Полтава", "Чернівці", "Ужгород", "Вінниця", "Луцьк"],
        women: &["Олена", "Оксана", "Марія", "Софія", "Соломія", "Ірина", "Наталія", "Дарина", "Ганна", "Юлія", "Катерина", "Злата"],
        men: &["Тарас", "Андрій", "Богдан", "Максим", "Дмитро", "Олександр", "Іван", "Назар", "Остап", "Юрій", "Микола", "Петро"],
        surnames: &[
            ("Коваленко", "Коваленко"),
            ("Шевчук", "Шевчук"),
            ("Бондаренко", "Бондаренко"),
            ("Лисенко", "Лисенко"),
            ("Мельник", "Мельник"),
            ("Сковородська", "Сковородський"),
            ("Гнатюк", "Гнатюк"),
            ("Савчук", "Савчук"),
            ("Левицька", "Левицький"),
            ("Кравець", "Кравець"),
        ],
        domains: &["poshta.example", "kyiv.example", "mail.example", "lystuvannia.example"],
        phone: ("+38050", 7),
    },
    Place {
        language: "en",
        country: "GB",
        zone: "Europe/London",
        cities: &["London", "Leeds", "Bristol", "Edinburgh", "Cardiff", "York", "Bath", "Norwich"],
        women: &["Ada", "Grace", "Emily", "Olivia", "Charlotte", "Amelia", "Isla", "Freya", "Alice", "Florence"],
        men: &["Oliver", "George", "Arthur", "Noah", "Leo", "Theodore", "Henry", "Oscar", "Edward", "Finley"],
        surnames: &[
            ("Bennett", "Bennett"),
            ("Hughes", "Hughes"),
            ("Carter", "Carter"),
            ("Fletcher", "Fletcher"),
            ("Walsh", "Walsh"),
            ("Ward", "Ward"),
            ("O'Neill", "O'Neill"),
            ("Marsh", "Marsh"),
        ],
        domains: &["post.example", "letters.example", "mail.example"],
        phone: ("+447400", 6),
    },
    Place {
        language: "ru",
        country: "KZ",
        zone: "Asia/Almaty",
        cities: &["Алматы", "Астана", "Шымкент", "Караганда", "Павлодар", "Костанай"],
        women: &["Анна", "Мария", "Елена", "Ольга", "Татьяна", "Айгуль", "Дина", "Светлана", "Ксения", "Вера"],
        men: &["Алексей", "Сергей", "Михаил", "Тимур", "Николай", "Павел", "Арман", "Виктор", "Глеб", "Даниил"],
        surnames: &[
            ("Иванова", "Иванов"),
            ("Смирнова", "Смирнов"),
            ("Волкова", "Волков"),
            ("Ким", "Ким"),
            ("Ахметова", "Ахметов"),
            ("Орлова", "Орлов"),
            ("Соколова", "Соколов"),
            ("Лебедева", "Лебедев"),
        ],
        domains: &["pochta.example", "mail.example", "almaty.example"],
        phone: ("+7701", 7),
    },
];

const SKUS: &[(&str, &str, i64)] = &[
    ("LAMP-1", "lighting", 890),
    ("RUG-2", "textiles", 1450),
    ("CUP-3", "kitchen", 240),
    ("CHAIR-4", "furniture", 2690),
    ("VASE-5", "decor", 560),
    ("PLAID-6", "textiles", 1190),
    ("SHELF-7", "furniture", 1780),
    ("CANDLE-8", "decor", 180),
];

/// `count` people as they stand at `now`; some have no consent, some no email, some a complaint that is still open.
pub fn people(count: u32, now: Time) -> People {
    let today = now.date_naive();
    let mut customers = String::from(
        "external_id,email,phone,first_name,last_name,language,country,zone,city,gender,birthday,loyalty.tier,loyalty.points,next_visit,consent.offers,consent.news,consent.visits\n",
    );
    let mut events = String::new();
    for number in 1..=count {
        let draw = Draw(number);
        // Two thirds Ukrainian, the rest shared.
        let place = &PLACES[match draw.below("place", 12) {
            0..8 => 0,
            8..10 => 1,
            _ => 2,
        }];
        let woman = draw.below("gender", 100) < 57;
        let first = draw.one("first", if woman { place.women } else { place.men });
        let surnames = draw.one_of("last", place.surnames);
        let last = if woman { surnames.0 } else { surnames.1 };
        let id = format!("K{number:05}");
        let email = if draw.below("email", 100) < 93 {
            format!("{}.{number}@{}", latin(first).to_lowercase(), draw.one("domain", place.domains))
        } else {
            String::new()
        };
        let phone = if draw.below("phone", 100) < 62 || email.is_empty() {
            let digits = place.phone.1;
            // Short blocks hold fewer numbers than there are people: then only the first of them has the number.
            if digits < 7 && number > 10u32.pow(digits) {
                String::new()
            } else {
                format!("{}{:0width$}", place.phone.0, number, width = digits as usize)
            }
        } else {
            String::new()
        };
        let birthday = if draw.below("birthday", 100) < 80 { birthday(draw, today).to_string() } else { String::new() };
        let orders = match draw.below("orders", 100) {
            0..30 => 0,
            30..60 => 1,
            60..85 => 2,
            _ => 3 + draw.below("more", 6),
        };
        let tier = match orders {
            0..2 => "",
            2 => "silver",
            _ => "gold",
        };
        let next_visit = if draw.below("visit", 100) < 6 {
            let day = today + Days::new(1 + u64::from(draw.below("visit day", 9)));
            day.and_time(NaiveTime::from_hms_opt(9 + draw.below("hour", 9), 30 * draw.below("half", 2), 0).unwrap_or_default())
                .format("%Y-%m-%d %H:%M")
                .to_string()
        } else {
            String::new()
        };
        let agrees =
            |topic: &str, percent: u32, channels: &str| if draw.below(topic, 100) < percent { channels.to_string() } else { String::new() };
        let offers = agrees("offers", 78, "email sms");
        let news = agrees("news", 70, "email");
        let visits = agrees("visits", 90, "sms email");
        let gender = if woman { "f" } else { "m" };
        let city = draw.one("city", place.cities);
        let points = orders * 35;
        let _ = writeln!(
            customers,
            "{id},{email},{phone},{first},{last},{},{},{},{city},{gender},{birthday},{tier},{points},{next_visit},{offers},{news},{visits}",
            place.language, place.country, place.zone
        );
        history(&mut events, draw, &id, orders, now);
    }
    People { customers, events }
}

fn birthday(draw: Draw, today: NaiveDate) -> NaiveDate {
    let year = 1950 + draw.below("year", 56) as i32;
    // Some are born in the coming days, so that the birthday campaign has somebody to greet.
    let day = if draw.below("soon", 100) < 4 {
        today + Days::new(u64::from(draw.below("soon day", 10)))
    } else {
        today + Days::new(u64::from(draw.below("day", 365)))
    };
    NaiveDate::from_ymd_opt(year, day.month(), day.day()).or_else(|| NaiveDate::from_ymd_opt(year, 2, 28)).unwrap_or(today)
}

fn history(events: &mut String, draw: Draw, id: &str, orders: u32, now: Time) {
    for order in 0..orders {
        let draw = Draw(draw.0.wrapping_mul(31).wrapping_add(order));
        let at = now - TimeDelta::minutes(i64::from(1440 + draw.below("when", 500 * 1440)));
        let (sku, category, price) = draw.one_of("sku", SKUS);
        let event = json!({
            "customer": id, "event": "purchase", "at": at.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "order_id": format!("{id}-{order}"), "amount": price.to_string(), "items": [ { "sku": sku, "category": category } ],
        });
        let _ = writeln!(events, "{event}");
    }
    if draw.below("browses", 100) < 25 {
        let at = now - TimeDelta::minutes(i64::from(60 + draw.below("browsed", 60 * 1440)));
        let event = json!({ "customer": id, "event": "visit", "at": at.format("%Y-%m-%dT%H:%M:%SZ").to_string(), "page": "/new" });
        let _ = writeln!(events, "{event}");
    }
    if draw.below("complains", 100) < 2 {
        let at = now - TimeDelta::days(i64::from(1 + draw.below("complained", 40)));
        let event = json!({ "customer": id, "event": "ticket_opened", "at": at.format("%Y-%m-%dT%H:%M:%SZ").to_string(), "ticket": format!("T-{id}"), "subject": "delivery" });
        let _ = writeln!(events, "{event}");
    }
}

/// Choices of one person.
#[derive(Clone, Copy)]
struct Draw(u32);

impl Draw {
    fn below(self, what: &str, limit: u32) -> u32 {
        let mut input = b"sample people".to_vec();
        input.extend(self.0.to_be_bytes());
        input.extend(what.as_bytes());
        let hash = digest::digest(&digest::SHA256, &input);
        let number = hash.as_ref().iter().take(4).fold(0u32, |number, byte| number << 8 | u32::from(*byte));
        ((u64::from(number) * u64::from(limit)) >> 32) as u32
    }
    fn one<'a>(self, what: &str, from: &[&'a str]) -> &'a str {
        from[self.below(what, from.len() as u32) as usize]
    }
    fn one_of<T: Copy>(self, what: &str, from: &[T]) -> T {
        from[self.below(what, from.len() as u32) as usize]
    }
}

/// A name in Latin letters, for an email address.
fn latin(name: &str) -> String {
    name.chars()
        .map(|letter| {
            match letter.to_lowercase().next().unwrap_or(letter) {
                'а' => "a",
                'б' => "b",
                'в' => "v",
                'г' => "h",
                'ґ' => "g",
                'д' => "d",
                'е' | 'є' | 'э' => "e",
                'ё' => "e",
                'ж' => "zh",
                'з' => "z",
                'и' | 'і' | 'ї' | 'й' | 'ы' => "i",
                'к' => "k",
                'л' => "l",
                'м' => "m",
                'н' => "n",
                'о' => "o",
                'п' => "p",
                'р' => "r",
                'с' => "s",
                'т' => "t",
                'у' => "u",
                'ф' => "f",
                'х' => "kh",
                'ц' => "ts",
                'ч' => "ch",
                'ш' => "sh",
                'щ' => "shch",
                'ю' => "iu",
                'я' => "ia",
                'ь' | 'ъ' | '\'' => "",
                other if other.is_ascii_alphabetic() => return other.to_string(),
                _ => "",
            }
            .to_string()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_people_come_every_time_and_all_three_languages_are_among_them() {
        let now = "2027-02-28T16:00:00Z".parse().unwrap();
        let people_once = people(300, now);
        assert_eq!(people_once.customers, people(300, now).customers);
        assert_eq!(people_once.customers.lines().count(), 301);
        for language in [",uk,", ",en,", ",ru,"] {
            assert!(people_once.customers.lines().filter(|line| line.contains(language)).count() > 20, "{language}");
        }
        assert!(people_once.events.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
        let fields = people_once.customers.lines().next().unwrap().split(',').count();
        assert!(people_once.customers.lines().all(|line| line.split(',').count() == fields));
    }
}
