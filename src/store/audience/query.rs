//! Asks the database with a compiled condition: how many, who, and who is drawn into samples.

use super::{Bind, Sql, compile};
use crate::segments::{Condition, DEEPEST, Moment, Samples, is_drawn};
use crate::store::batch::AnyRow;
use crate::store::{Doing, Error, Store};
use sqlx::AssertSqlSafe;
use std::collections::{BTreeMap, BTreeSet};

/// One of the people of an audience, as a listing shows them.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Member {
    pub id: i64,
    pub external_id: Option<String>,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub email: Option<String>,
    pub phone: Option<String>,
}

const MEMBER: &str = "SELECT c.id, c.external_id, c.first_name, c.last_name, \
    (SELECT a.address FROM addresses a WHERE a.customer_id = c.id AND a.channel = 1 AND a.is_primary = 1 ORDER BY a.address LIMIT 1) AS email, \
    (SELECT a.address FROM addresses a WHERE a.customer_id = c.id AND a.channel = 2 AND a.is_primary = 1 ORDER BY a.address LIMIT 1) AS phone \
    FROM customers c ";

impl Sql {
    /// Runs the text on a reading connection.
    pub async fn fetch<T: AnyRow>(&self, store: &Store, doing: &'static str) -> Result<Vec<T>, Error> {
        crate::on_pool!(store, pool => {
            let mut query = sqlx::query_as(AssertSqlSafe(self.text.clone()));
            for bind in &self.binds {
                query = match bind {
                    Bind::Text(text) => query.bind(text.clone()),
                    Bind::Integer(number) => query.bind(*number),
                    Bind::Float(number) => query.bind(*number),
                };
            }
            query.fetch_all(pool).await
        })
        .doing(doing)
    }
}

impl Store {
    /// How many customers the condition holds for; erased ones are not counted.
    pub async fn count_audience(&self, condition: &Condition, moment: &Moment<'_>) -> Result<i64, Error> {
        let mut sql = Sql::new(self.dialect());
        sql.push("SELECT COUNT(*) FROM customers c WHERE c.erased_at IS NULL AND ");
        compile(condition, moment, self.dialect(), &mut sql);
        let rows: Vec<(i64,)> = sql.fetch(self, "count an audience").await?;
        Ok(rows.first().map_or(0, |(count,)| *count))
    }

    /// The numbers of all customers the condition holds for, in their order.
    pub async fn audience(&self, condition: &Condition, moment: &Moment<'_>) -> Result<Vec<i64>, Error> {
        let mut sql = Sql::new(self.dialect());
        sql.push("SELECT c.id FROM customers c WHERE c.erased_at IS NULL AND ");
        compile(condition, moment, self.dialect(), &mut sql);
        sql.push(" ORDER BY c.id");
        let rows: Vec<(i64,)> = sql.fetch(self, "select an audience").await?;
        Ok(rows.into_iter().map(|(id,)| id).collect())
    }

    /// Some of the customers the condition holds for, and how many there are in all. Who is shown is drawn, and stays the same as
    /// long as the audience does.
    pub async fn sample_audience(&self, condition: &Condition, moment: &Moment<'_>, count: usize) -> Result<(Vec<Member>, usize), Error> {
        let mut ids = self.audience(condition, moment).await?;
        let all = ids.len();
        // A stride over the list shows old and new customers alike.
        if all > count {
            ids = (0..count).filter_map(|number| ids.get(number * all / count).copied()).collect();
        }
        let list = serde_json::json!(ids).to_string();
        let sql = self.pick(
            format!("{MEMBER} WHERE c.id IN (SELECT value FROM json_each($1)) ORDER BY c.id"),
            format!(
                "{MEMBER} WHERE c.id IN (SELECT CAST(value AS BIGINT) FROM jsonb_array_elements_text(CAST($1 AS jsonb))) ORDER BY c.id"
            ),
        );
        Ok((self.read_batch("show an audience", sql, &list).await?, all))
    }

    /// Draws for all samples that the conditions ask for, through their segments. One pass over the customers; none when there is no sample.
    pub async fn draw_samples(
        &self,
        conditions: &[&Condition],
        segments: &BTreeMap<String, Condition>,
        seed: &str,
    ) -> Result<Samples, Error> {
        let mut wanted = BTreeSet::new();
        for condition in conditions {
            samples_of(condition, segments, &mut wanted, 0);
        }
        let mut samples = Samples::default();
        if wanted.is_empty() {
            return Ok(samples);
        }
        for sample in &wanted {
            samples.0.insert(sample.clone(), Vec::new());
        }
        let mut last = 0_i64;
        loop {
            let rows: Vec<(i64, String)> = crate::on_pool!(self, pool => sqlx::query_as(
                "SELECT id, draw_key FROM customers WHERE id > $1 AND erased_at IS NULL ORDER BY id LIMIT 20000"
            ).bind(last).fetch_all(pool).await)
            .doing("draw a sample")?;
            let Some((id, _)) = rows.last() else { return Ok(samples) };
            last = *id;
            for (id, key) in &rows {
                for ((draw, share), drawn) in &mut samples.0 {
                    if is_drawn(seed, draw, key, crate::literals::Share(*share)) {
                        drawn.push(*id);
                    }
                }
            }
        }
    }
}

fn samples_of(condition: &Condition, segments: &BTreeMap<String, Condition>, wanted: &mut BTreeSet<(String, u32)>, depth: usize) {
    let mut inner = Vec::new();
    condition.walk(&mut |condition| match condition {
        Condition::Sample { share, draw } => drop(wanted.insert((draw.clone(), share.0))),
        Condition::Segment(name) => inner.extend(segments.get(name)),
        _ => {}
    });
    if depth < DEEPEST {
        inner.into_iter().for_each(|segment| samples_of(segment, segments, wanted, depth + 1));
    }
}
