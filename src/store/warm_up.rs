//! Warm-up of sending domains: which letter was given which day, and how many a site has been given.
//!
//! Who gives out days holds the lock from [`Connection::open_warm_up`] until commit, so no two give the same place: on SQLite the write transaction is
//! that lock, on PostgreSQL an advisory one. Letters that are refused, expire, fail before any try or are cancelled free their day by
//! triggers (migration 0013).

use super::batch::{Connection, Field, table};
use super::{Doing, Error, Store};
use crate::campaigns::WarmUp;
use crate::on_pool;
use crate::policy::warm_up::{Book, Day, Results};
use crate::types::{Channel, Failure, MessageState, Time};
use chrono_tz::Tz;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A domain that is being warmed up.
#[derive(Debug, Clone, Copy)]
pub struct Warming<'a> {
    pub domain: &'a str,
    pub warm_up: &'a WarmUp,
    /// The workspace's.
    pub zone: Tz,
}

impl Warming<'_> {
    pub fn book(&self) -> Book {
        Book::new(self.warm_up, self.zone)
    }
}

/// What a letter has been given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// Goes as the identity that sends what is beyond the numbers.
    Beyond,
    Day {
        id: i64,
        site: String,
        day: Day,
    },
}

/// A letter's new day (the number of its row; 0: beyond; `None`: no day any more), and its expiry if that moves with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    pub message: i64,
    pub day: Option<i64>,
    pub expires_at: Option<i64>,
}

/// Stands in a message in place of the number of a day's row: the letter goes as the identity that sends what is beyond the numbers.
pub const BEYOND: i64 = 0;

const LOCK: i64 = 0x706f_7374_7761_726d;

impl Connection<'_> {
    /// Locks what follows until the transaction ends, counts off what was freed, takes the results of earlier days into account, and enters these
    /// sites into a book, from the day of `now` on.
    pub async fn open_warm_up(&mut self, warming: Warming<'_>, sites: &BTreeSet<&str>, now: Time) -> Result<Book, Error> {
        if let Connection::Postgres(connection) = self {
            sqlx::query("SELECT pg_advisory_xact_lock($1)")
                .bind(LOCK)
                .execute(&mut **connection)
                .await
                .doing("lock the days of a warm-up")?;
        }
        self.count_off().await?;
        let mut book = warming.book();
        let today = book.day(now);
        let mut late = BTreeMap::new();
        for (site, behind, settled_on) in self.sites(warming.domain, sites).await? {
            book.enter_site(&site, behind);
            if settled_on < today {
                late.insert(site, (behind, settled_on));
            }
        }
        if !late.is_empty() {
            let results = self.results(warming.domain, &late).await?;
            for (site, (behind, _)) in &mut late {
                *behind = book.behind(*behind, results.get(site).copied().unwrap_or_default(), today);
                book.enter_site(site, *behind);
            }
            self.settle(warming.domain, &late, today).await?;
        }
        let days = self.days(warming.domain, sites, today).await?;
        for (id, site, day, given) in days {
            let mut given = u64::try_from(given).unwrap_or(0);
            // Where today's number has shrunk, the least engaged lose their day.
            if let Some(number) = book.number(&site, today).filter(|number| day == today && given > *number && late.contains_key(&site)) {
                given -= self.take_away(id, given - number).await?;
            }
            book.enter_day(&site, day, given);
        }
        Ok(book)
    }

    async fn count_off(&mut self) -> Result<(), Error> {
        let doing = "count off freed days of a warm-up";
        match self {
            Connection::Sqlite(_) => {
                let sql = "UPDATE warm_up_days SET given = given - freed.count
                           FROM (SELECT warm_up_day, COUNT(*) AS count FROM warm_up_freed GROUP BY 1) AS freed WHERE id = freed.warm_up_day AND $1 = ''";
                self.write(doing, sql.into(), "").await?;
                self.write(doing, "DELETE FROM warm_up_freed WHERE $1 = ''".into(), "").await?;
            }
            Connection::Postgres(_) => {
                let sql = "WITH gone AS (DELETE FROM warm_up_freed WHERE $1 = '' RETURNING warm_up_day)
                           UPDATE warm_up_days SET given = given - freed.count
                           FROM (SELECT warm_up_day, COUNT(*) AS count FROM gone GROUP BY 1) AS freed WHERE id = freed.warm_up_day";
                self.write(doing, sql.into(), "").await?;
            }
        }
        Ok(())
    }

    /// Each site, by how many days it is behind, and up to which day it is settled: never, for a new one.
    async fn sites(&mut self, domain: &str, sites: &BTreeSet<&str>) -> Result<Vec<(String, i64, i64)>, Error> {
        let sql = format!(
            "SELECT given.site, COALESCE(s.behind, 0), COALESCE(s.settled_on, 0) FROM {} AS given
             LEFT JOIN warm_up_sites s ON s.domain = given.domain AND s.site = given.site",
            table(self.dialect(), &[("domain", Field::Text), ("site", Field::Text)])
        );
        self.read("read the sites of a warm-up", sql, &named(domain, sites)).await
    }

    /// Number of the row, site, day and how many letters it was given, from `today` on.
    async fn days(&mut self, domain: &str, sites: &BTreeSet<&str>, today: Day) -> Result<Vec<(i64, String, i64, i64)>, Error> {
        let sql = format!(
            "SELECT d.id, d.site, d.day, d.given FROM {} AS given
             JOIN warm_up_days d ON d.domain = given.domain AND d.site = given.site AND d.day >= {today}",
            table(self.dialect(), &[("domain", Field::Text), ("site", Field::Text)])
        );
        self.read("read the days of a warm-up", sql, &named(domain, sites)).await
    }

    /// What came of the day up to which each site is settled: it is the last on which something was sent to it.
    async fn results(&mut self, domain: &str, sites: &BTreeMap<String, (i64, Day)>) -> Result<HashMap<String, Results>, Error> {
        let hard: Vec<String> = [Failure::InvalidAddress, Failure::InvalidDomain, Failure::Inactive, Failure::OwnerChanged]
            .iter()
            .map(|one| one.code().to_string())
            .collect();
        let sql = format!(
            "SELECT d.site, COUNT(*), COUNT(CASE WHEN m.bounced_at IS NOT NULL OR (m.state = {failed} AND m.reason IN ({hard})) THEN 1 END),
                    COUNT(CASE WHEN EXISTS (SELECT 1 FROM events e WHERE e.message_id = m.id AND e.name = 'message.complained') THEN 1 END)
             FROM {given} AS given JOIN warm_up_days d ON d.domain = given.domain AND d.site = given.site AND d.day = given.day
             JOIN messages m ON m.warm_up_day = d.id AND (m.state = {accepted} OR (m.state = {failed} AND m.attempts > 0))
             GROUP BY d.site",
            failed = MessageState::Failed.code(),
            accepted = MessageState::Accepted.code(),
            hard = hard.join(", "),
            given = table(self.dialect(), &[("domain", Field::Text), ("site", Field::Text), ("day", Field::Long)]),
        );
        let row = |(site, (_, day)): (&String, &(i64, Day))| json!({ "domain": domain, "site": site, "day": day });
        let rows = json!(sites.iter().map(row).collect::<Vec<_>>()).to_string();
        let found: Vec<(String, i64, i64, i64)> = self.read("add up a day of a warm-up", sql, &rows).await?;
        let count = |count: i64| u64::try_from(count).unwrap_or(0);
        let results = |(site, tried, bounced, complained)| {
            (site, Results { tried: count(tried), bounced: count(bounced), complained: count(complained) })
        };
        Ok(found.into_iter().map(results).collect())
    }

    async fn settle(&mut self, domain: &str, sites: &BTreeMap<String, (i64, Day)>, today: Day) -> Result<(), Error> {
        let sql = format!(
            "INSERT INTO warm_up_sites (domain, site, behind, settled_on) SELECT domain, site, behind, {today} FROM {} AS given WHERE true
             ON CONFLICT (domain, site) DO UPDATE SET behind = excluded.behind, settled_on = excluded.settled_on",
            table(self.dialect(), &[("domain", Field::Text), ("site", Field::Text), ("behind", Field::Long)])
        );
        let row = |(site, (behind, _)): (&String, &(i64, Day))| json!({ "domain": domain, "site": site, "behind": behind });
        self.write("settle a warm-up", sql, &json!(sites.iter().map(row).collect::<Vec<_>>()).to_string()).await?;
        Ok(())
    }

    /// Takes the day from so many of those who wait for it, the least engaged; gives how many lost it.
    async fn take_away(&mut self, id: i64, count: u64) -> Result<u64, Error> {
        let given = self.pick("($1 ->> 0)", "($1::jsonb ->> 0)::bigint");
        let sql = format!(
            "UPDATE messages SET warm_up_day = NULL WHERE id IN (
                 SELECT m.id FROM messages m LEFT JOIN addresses a ON a.customer_id = m.customer_id AND a.channel = {email} AND a.address = m.address
                 WHERE m.warm_up_day = {given} AND m.state IN ({planned}, {retry}, {deferred})
                 ORDER BY COALESCE(a.engaged_at, 0), m.id DESC LIMIT {count})",
            email = Channel::Email.code(),
            planned = MessageState::Planned.code(),
            retry = MessageState::Retry.code(),
            deferred = MessageState::Deferred.code(),
        );
        let lost = self.write("take days away", sql, &format!("[{id}]")).await?;
        let sql = format!("UPDATE warm_up_days SET given = given - {lost} WHERE id = {given}");
        self.write("take days away", sql, &format!("[{id}]")).await?;
        Ok(lost)
    }

    /// Counts letters for days of sites, or off where negative; gives the numbers of the days' rows.
    pub async fn give_days(&mut self, domain: &str, counts: &BTreeMap<(String, Day), i64>) -> Result<HashMap<(String, Day), i64>, Error> {
        let sql = format!(
            "INSERT INTO warm_up_days (domain, site, day, given) SELECT domain, site, day, count FROM {} AS given WHERE true
             ON CONFLICT (domain, site, day) DO UPDATE SET given = warm_up_days.given + excluded.given RETURNING id, site, day",
            table(self.dialect(), &[("domain", Field::Text), ("site", Field::Text), ("day", Field::Long), ("count", Field::Long)])
        );
        let row = |((site, day), count): (&(String, Day), &i64)| json!({ "domain": domain, "site": site, "day": day, "count": count });
        let rows = json!(counts.iter().map(row).collect::<Vec<_>>()).to_string();
        let ids: Vec<(i64, String, i64)> = self.read("give out days of a warm-up", sql, &rows).await?;
        Ok(ids.into_iter().map(|(id, site, day)| ((site, day), id)).collect())
    }

    /// What these letters have been given, as it stands now.
    pub async fn warm_up_days_of(&mut self, messages: &[i64]) -> Result<HashMap<i64, Given>, Error> {
        let sql = format!(
            "SELECT m.id, m.warm_up_day, d.site, d.day FROM {} AS given JOIN messages m ON m.id = given.id
             LEFT JOIN warm_up_days d ON d.id = m.warm_up_day WHERE m.warm_up_day IS NOT NULL",
            table(self.dialect(), &[("id", Field::Long)])
        );
        let rows = json!(messages.iter().map(|id| json!({ "id": id })).collect::<Vec<_>>()).to_string();
        let rows: Vec<(i64, i64, Option<String>, Option<i64>)> = self.read("read the days of letters", sql, &rows).await?;
        let given = |(message, id, site, day)| match (site, day) {
            (Some(site), Some(day)) => (message, Given::Day { id, site, day }),
            _ => (message, Given::Beyond),
        };
        Ok(rows.into_iter().map(given).collect())
    }

    /// Writes the new days of letters.
    pub async fn move_warm_up(&mut self, moved: &[Moved]) -> Result<(), Error> {
        let sql = format!(
            "UPDATE messages SET warm_up_day = given.day, expires_at = COALESCE(given.expires_at, messages.expires_at)
             FROM {} AS given WHERE messages.id = given.id",
            table(self.dialect(), &[("id", Field::Long), ("day", Field::Long), ("expires_at", Field::Long)])
        );
        let row = |one: &Moved| json!({ "id": one.message, "day": one.day, "expires_at": one.expires_at });
        self.write("give letters their days", sql, &json!(moved.iter().map(row).collect::<Vec<_>>()).to_string()).await?;
        Ok(())
    }
}

fn named(domain: &str, sites: &BTreeSet<&str>) -> String {
    json!(sites.iter().map(|site| json!({ "domain": domain, "site": site })).collect::<Vec<_>>()).to_string()
}

impl Store {
    /// All sites of a domain from the day of `now` on, without a lock: for looking ahead.
    pub async fn warm_up_book(&self, warming: Warming<'_>, now: Time) -> Result<Book, Error> {
        let doing = "read the days of a warm-up";
        let mut book = warming.book();
        let sql = "SELECT site, behind FROM warm_up_sites WHERE domain = $1";
        let sites: Vec<(String, i64)> =
            on_pool!(self, pool => sqlx::query_as(sql).bind(warming.domain).fetch_all(pool).await).doing(doing)?;
        sites.iter().for_each(|(site, behind)| book.enter_site(site, *behind));
        let sql = "SELECT d.site, d.day, d.given - (SELECT COUNT(*) FROM warm_up_freed f WHERE f.warm_up_day = d.id)
                   FROM warm_up_days d WHERE d.domain = $1 AND d.day >= $2";
        let days: Vec<(String, i64, i64)> =
            on_pool!(self, pool => sqlx::query_as(sql).bind(warming.domain).bind(book.day(now)).fetch_all(pool).await).doing(doing)?;
        days.iter().for_each(|(site, day, given)| book.enter_day(site, *day, u64::try_from(*given).unwrap_or(0)));
        Ok(book)
    }

    /// By how many days the slowest site of a domain is behind.
    pub async fn warm_up_behind(&self, domain: &str) -> Result<i64, Error> {
        let sql = "SELECT COALESCE(MAX(behind), 0) FROM warm_up_sites WHERE domain = $1";
        let (behind,): (i64,) = on_pool!(self, pool => sqlx::query_as(sql).bind(domain).fetch_one(pool).await).doing("read a warm-up")?;
        Ok(behind)
    }
}
