//! Texts that went in parts: which message a part belongs to, and what became of all of them.

use super::batch::{Connection, Field, table};
use super::responses::json;
use super::{Error, Store};
use serde::Serialize;
use std::collections::HashMap;

/// What a receipt says of a part; what is worse stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PartState {
    Arrived = 1,
    Failed = 2,
}

/// A part as its provider calls it, and its message.
#[derive(Debug, Clone, PartialEq, Eq, Hash, sqlx::FromRow)]
pub struct Part {
    pub message_id: i64,
    pub provider_id: String,
}

#[derive(Serialize)]
struct Row<'a> {
    message: i64,
    id: &'a str,
    state: Option<i16>,
}

const FIELDS: [(&str, Field); 3] = [("message", Field::Long), ("id", Field::Text), ("state", Field::Small)];

impl Connection<'_> {
    /// Keeps the numbers of messages that went in parts: message, and what the provider calls its parts, with blanks between.
    pub(super) async fn keep_parts(&mut self, taken: &[(i64, &str)]) -> Result<(), Error> {
        let rows: Vec<Row> = taken
            .iter()
            .filter(|(_, ids)| ids.contains(' '))
            .flat_map(|(message, ids)| ids.split_whitespace().map(|id| Row { message: *message, id, state: None }))
            .collect();
        if rows.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "INSERT INTO message_parts (message_id, provider_id) SELECT DISTINCT message, id FROM {} AS given WHERE true ON CONFLICT DO NOTHING",
            table(self.dialect(), &FIELDS)
        );
        self.write("keep the parts of texts", sql, &json(&rows)?).await.map(drop)
    }
}

impl Store {
    /// Parts that some provider calls so.
    pub async fn parts_called(&self, ids: &[String]) -> Result<Vec<Part>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<Row> = ids.iter().map(|id| Row { message: 0, id, state: None }).collect();
        let given = table(self.dialect(), &FIELDS);
        let sql = format!(
            "SELECT message_id, provider_id FROM message_parts WHERE provider_id IN (SELECT id FROM {given} AS given) ORDER BY message_id, provider_id"
        );
        self.read_batch("find parts of texts", sql, &json(&rows)?).await
    }

    /// Notes what receipts say of parts. Gives for each of their messages how many parts it has and how many have arrived.
    pub async fn note_parts(&self, told: &[(Part, PartState)]) -> Result<HashMap<i64, (i64, i64)>, Error> {
        let doing = "note receipts of parts";
        if told.is_empty() {
            return Ok(HashMap::new());
        }
        let mut worst: HashMap<&Part, PartState> = HashMap::new();
        for (part, state) in told {
            let known = worst.entry(part).or_insert(*state);
            *known = (*known).max(*state);
        }
        let mut rows: Vec<Row> = worst
            .iter()
            .map(|(part, state)| Row { message: part.message_id, id: part.provider_id.as_str(), state: Some(*state as i16) })
            .collect();
        rows.sort_by_key(|row| (row.message, row.id));
        let rows = json(&rows)?;
        let mut change = self.change(doing).await?;
        let mut connection = change.connection();
        let given = table(connection.dialect(), &FIELDS);
        let greatest = connection.pick("MAX", "GREATEST");
        let sql = format!(
            "UPDATE message_parts SET state = {greatest}(COALESCE(message_parts.state, given.state), given.state) FROM {given} AS given
             WHERE message_parts.message_id = given.message AND message_parts.provider_id = given.id"
        );
        connection.write(doing, sql, &rows).await?;
        let sql = format!(
            "SELECT message_id, COUNT(*), COUNT(CASE WHEN state = {} THEN 1 END) FROM message_parts
             WHERE message_id IN (SELECT message FROM {given} AS given) GROUP BY message_id",
            PartState::Arrived as i16
        );
        let sums: Vec<(i64, i64, i64)> = connection.read(doing, sql, &rows).await?;
        change.commit(doing).await?;
        Ok(sums.into_iter().map(|(message, all, arrived)| (message, (all, arrived))).collect())
    }
}
