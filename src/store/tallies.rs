//! Counts of what came back, by run × step × variant × metric × link × hour × site: kept in the event's transaction, and rebuildable.
//!
//! What a message adds is a pure function of all its events ([`contribution`]): whatever order they came in, the sums are the same.
//! Writers read the events of the messages they touch, and move the tallies by the difference.

use super::batch::{Connection, Field, table};
use super::{Error, Store, from_micros};
use crate::types::{Response, RunId, Verdict};
use chrono::Offset as _;
use chrono::TimeZone as _;
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a row of `tallies` counts. The numbers are stored for years: never reused for another meaning.
///
/// *Human* is everything but `Verdict::Machine`; a suspect is counted as human and also by itself.
/// `…Unique` counts a message at most once, at its first human response; likewise unsubscribes, complaints, bounces and receipts.
/// The link is 0 except for `Clicks…`, which stand by link; `ClicksUnique` is over all links (link 0), `ClicksUniqueByLink` by link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i16)]
pub enum Metric {
    Opens = 1,
    OpensHuman = 2,
    OpensMachine = 3,
    OpensSuspect = 4,
    OpensUnique = 5,
    Clicks = 11,
    ClicksHuman = 12,
    ClicksMachine = 13,
    ClicksSuspect = 14,
    ClicksUnique = 15,
    ClicksUniqueByLink = 16,
    Unsubscribes = 21,
    Complaints = 22,
    Replies = 23,
    Views = 24,
    BouncesHard = 31,
    BouncesSoft = 32,
    BouncesBlocked = 33,
    /// Receipts: confirmed by the receiving side.
    Delivered = 34,
}

impl Metric {
    pub const fn code(self) -> i16 {
        self as i16
    }
}

/// How a message bounced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bounce {
    /// No such mailbox: the address is suppressed.
    Hard,
    /// Full, away, for now.
    Soft,
    /// A block or a policy reply about us; says nothing about the person.
    Blocked,
}

impl Bounce {
    pub const fn word(self) -> &'static str {
        match self {
            Bounce::Hard => "hard",
            Bounce::Soft => "soft",
            Bounce::Blocked => "blocked",
        }
    }

    pub fn from_word(word: &str) -> Option<Bounce> {
        [Bounce::Hard, Bounce::Soft, Bounce::Blocked].into_iter().find(|bounce| bounce.word() == word)
    }

    const fn metric(self) -> Metric {
        match self {
            Bounce::Hard => Metric::BouncesHard,
            Bounce::Soft => Metric::BouncesSoft,
            Bounce::Blocked => Metric::BouncesBlocked,
        }
    }
}

/// One event of a message, as far as counting goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    pub response: Response,
    pub link: i32,
    pub verdict: Verdict,
    /// When it happened, in microseconds.
    pub at: i64,
    pub bounce: Option<Bounce>,
}

/// Where a message stands in the tallies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub run: i64,
    pub step: i16,
    pub arm: i16,
    /// The message's mailbox site; families that are not among [`FAMILIES`] are counted as `other`.
    pub site: String,
}

/// A row's key, without the slot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Key {
    pub run: i64,
    pub step: i16,
    pub arm: i16,
    pub metric: i16,
    pub link: i32,
    pub hour: i32,
    pub site: String,
}

/// The first human response of a kind; link 0 is any link.
pub type Firsts = BTreeMap<(i16, i32), i64>;

/// Mailbox site families with columns of their own; the rest is `other`, so that a tally never has more than 41 sites.
pub const FAMILIES: [&str; 38] = [
    "gmail",
    "microsoft",
    "outlook",
    "hotmail",
    "yahoo",
    "aol",
    "apple",
    "icloud",
    "mail.ru",
    "yandex",
    "rambler",
    "ukr.net",
    "i.ua",
    "meta.ua",
    "proton",
    "gmx",
    "web.de",
    "t-online",
    "freenet",
    "orange",
    "free.fr",
    "laposte",
    "sfr",
    "libero",
    "tiscali",
    "wp.pl",
    "onet",
    "interia",
    "o2.pl",
    "seznam",
    "zoho",
    "fastmail",
    "comcast",
    "verizon",
    "att",
    "qq",
    "163",
    "naver",
];

/// The family of a mailbox site, as tallies count it.
pub fn family(site: &str) -> &str {
    if site.is_empty() || FAMILIES.contains(&site) { site } else { "other" }
}

/// Hours since 1970 of an instant (microseconds) on the clocks of a zone.
pub fn hour(at: i64, zone: Tz) -> i32 {
    let offset = zone.offset_from_utc_datetime(&from_micros(at).naive_utc()).fix().local_minus_utc();
    ((at.div_euclid(1_000_000) + i64::from(offset)).div_euclid(3600)) as i32
}

/// What one message adds to the tallies, and its firsts, from all its events in any order.
pub fn contribution(place: &Place, answers: &[Answer], zone: Tz) -> (BTreeMap<Key, i64>, Firsts) {
    let mut counts = BTreeMap::new();
    let mut add = |metric: Metric, link: i32, at: i64| {
        let site = family(&place.site).to_string();
        let key = Key { run: place.run, step: place.step, arm: place.arm, metric: metric.code(), link, hour: hour(at, zone), site };
        *counts.entry(key).or_insert(0) += 1;
    };
    let mut firsts = Firsts::new();
    let mut once: BTreeMap<Response, (i64, Option<Bounce>)> = BTreeMap::new();
    for answer in answers {
        let [all, human, machine, suspect] = match answer.response {
            Response::Opened => [Metric::Opens, Metric::OpensHuman, Metric::OpensMachine, Metric::OpensSuspect],
            Response::Clicked => [Metric::Clicks, Metric::ClicksHuman, Metric::ClicksMachine, Metric::ClicksSuspect],
            Response::Replied => {
                add(Metric::Replies, 0, answer.at);
                continue;
            }
            Response::Viewed => {
                add(Metric::Views, 0, answer.at);
                continue;
            }
            Response::AutoReplied => continue,
            other => {
                let first = once.entry(other).or_insert((answer.at, answer.bounce));
                *first = (*first).min((answer.at, answer.bounce));
                continue;
            }
        };
        add(all, answer.link, answer.at);
        if answer.verdict == Verdict::Machine {
            add(machine, answer.link, answer.at);
            continue;
        }
        add(human, answer.link, answer.at);
        if answer.verdict == Verdict::Suspect {
            add(suspect, answer.link, answer.at);
        }
        for link in if answer.link == 0 { vec![0] } else { vec![0, answer.link] } {
            let first = firsts.entry((answer.response.code(), link)).or_insert(answer.at);
            *first = (*first).min(answer.at);
        }
    }
    for (&(kind, link), &at) in &firsts {
        match Response::from_code(kind) {
            Some(Response::Opened) => add(Metric::OpensUnique, 0, at),
            Some(Response::Clicked) if link == 0 => add(Metric::ClicksUnique, 0, at),
            _ => add(Metric::ClicksUniqueByLink, link, at),
        }
    }
    for (response, (at, bounce)) in once {
        let metric = match response {
            Response::Unsubscribed => Metric::Unsubscribes,
            Response::Complained => Metric::Complaints,
            Response::Delivered => Metric::Delivered,
            _ => bounce.map_or(Metric::BouncesSoft, Bounce::metric),
        };
        add(metric, 0, at);
    }
    (counts, firsts)
}

/// Adds differences to the rows of a slot, in key order.
pub(super) async fn add(connection: &mut Connection<'_>, differences: &BTreeMap<Key, i64>, slot: i16) -> Result<(), Error> {
    #[derive(Serialize)]
    struct Row<'a> {
        #[serde(flatten)]
        key: &'a Key,
        slot: i16,
        count: i64,
    }
    let rows: Vec<Row> = differences.iter().filter(|(_, count)| **count != 0).map(|(key, &count)| Row { key, slot, count }).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let given = table(
        connection.dialect(),
        &[
            ("run", Field::Long),
            ("step", Field::Small),
            ("arm", Field::Small),
            ("metric", Field::Small),
            ("link", Field::Number),
            ("hour", Field::Number),
            ("site", Field::Text),
            ("slot", Field::Small),
            ("count", Field::Long),
        ],
    );
    let sql = format!(
        "INSERT INTO tallies (run_id, step, arm, metric, link, hour, site, slot, count)
         SELECT run, step, arm, metric, link, hour, site, slot, count FROM {given} AS given WHERE true
         ORDER BY run, step, arm, metric, link, hour, site, slot
         ON CONFLICT (run_id, step, arm, metric, link, hour, site, slot) DO UPDATE SET count = tallies.count + excluded.count"
    );
    let json = super::responses::json(&rows)?;
    connection.write("count responses", sql, &json).await?;
    Ok(())
}

/// A sum over hours, sites and slots.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Tally {
    pub run_id: i64,
    pub step: i16,
    pub arm: i16,
    pub metric: i16,
    pub link: i32,
    pub count: i64,
}

impl Store {
    /// Sums of these runs by run, step, arm, metric and link; `until` is an hour of the workspace's zone ([`hour`]), not included.
    pub async fn tallies(&self, runs: &[RunId], until: Option<i32>) -> Result<Vec<Tally>, Error> {
        let given = table(self.dialect(), &[("run", Field::Long), ("hour", Field::Number)]);
        let rows: Vec<_> = runs.iter().map(|run| serde_json::json!({ "run": run.0, "hour": until.unwrap_or(i32::MAX) })).collect();
        let sql = format!(
            "SELECT t.run_id, t.step, t.arm, t.metric, t.link, CAST(SUM(t.count) AS BIGINT) AS count
             FROM {given} AS given JOIN tallies t ON t.run_id = given.run AND t.hour < given.hour
             GROUP BY t.run_id, t.step, t.arm, t.metric, t.link HAVING SUM(t.count) <> 0
             ORDER BY t.run_id, t.step, t.arm, t.metric, t.link"
        );
        self.read_batch("read the tallies", sql, &super::responses::json(&rows)?).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn answer(response: Response, link: i32, verdict: Verdict, at: i64) -> Answer {
        Answer { response, link, verdict, at, bounce: None }
    }

    fn place() -> Place {
        Place { run: 1, step: 0, arm: 2, site: "shop.example".into() }
    }

    fn sums(answers: &[Answer]) -> BTreeMap<(i16, i32), i64> {
        let mut sums = BTreeMap::new();
        for (key, count) in contribution(&place(), answers, chrono_tz::UTC).0 {
            assert_eq!(key.site, "other");
            *sums.entry((key.metric, key.link)).or_insert(0) += count;
        }
        sums
    }

    #[test]
    fn machines_are_counted_and_never_unique() {
        use Metric::*;
        let sums = sums(&[
            answer(Response::Opened, 0, Verdict::Machine, 0),
            answer(Response::Opened, 0, Verdict::Human, 5 * SECOND),
            answer(Response::Opened, 0, Verdict::Suspect, 6 * SECOND),
            answer(Response::Clicked, 1, Verdict::Machine, SECOND),
            answer(Response::Clicked, 2, Verdict::Human, 9 * SECOND),
            answer(Response::Clicked, 2, Verdict::Human, 12 * SECOND),
            answer(Response::Unsubscribed, 0, Verdict::Human, 20 * SECOND),
            answer(Response::Unsubscribed, 0, Verdict::Human, 21 * SECOND),
        ]);
        let expected = [
            (Opens, 0, 3),
            (OpensHuman, 0, 2),
            (OpensMachine, 0, 1),
            (OpensSuspect, 0, 1),
            (OpensUnique, 0, 1),
            (Clicks, 1, 1),
            (Clicks, 2, 2),
            (ClicksHuman, 2, 2),
            (ClicksMachine, 1, 1),
            (ClicksUnique, 0, 1),
            (ClicksUniqueByLink, 2, 1),
            (Unsubscribes, 0, 1),
        ];
        assert_eq!(sums, expected.into_iter().map(|(metric, link, count)| ((metric.code(), link), count)).collect());
    }

    #[test]
    fn a_message_bounces_once_as_it_first_did() {
        let bounce = |bounce, at| Answer { bounce: Some(bounce), ..answer(Response::Bounced, 0, Verdict::Human, at) };
        let sums = sums(&[bounce(Bounce::Soft, 9), bounce(Bounce::Hard, 3), bounce(Bounce::Blocked, 12)]);
        assert_eq!(sums, BTreeMap::from([((Metric::BouncesHard.code(), 0), 1)]));
    }

    #[test]
    fn an_hour_is_one_of_the_zone_s_clocks() {
        let at = |text: &str| text.parse::<crate::types::Time>().unwrap().timestamp_micros();
        assert_eq!(hour(at("1970-01-02T00:59:59Z"), chrono_tz::UTC), 24);
        assert_eq!(hour(at("2027-03-01T10:00:00Z"), chrono_tz::Europe::Kyiv) - hour(at("2027-03-01T10:00:00Z"), chrono_tz::UTC), 2);
        assert_eq!(hour(at("2027-07-01T10:00:00Z"), chrono_tz::Europe::Kyiv) - hour(at("2027-07-01T10:00:00Z"), chrono_tz::UTC), 3);
        assert_eq!(hour(at("1969-12-31T23:30:00Z"), chrono_tz::UTC), -1);
    }
}
