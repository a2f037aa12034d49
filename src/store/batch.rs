//! One statement for many rows, on either database: the rows travel as one JSON text and are read as a table.
//!
//! SQLite reads them with `json_each`, PostgreSQL with `jsonb_to_recordset`; what is written around that is one text of SQL.
//! A [`Connection`] is a transaction's connection of either kind, so that functions which write inside someone else's transaction are written once.
//!
//! PostgreSQL keeps no text with a NUL in it, and would refuse all rows for one: what somebody else wrote (a server's reply, a mail, a webhook) may hold
//! one. [`storable`] puts a replacement sign in its place, on both databases alike.

use super::{Dialect, Doing, Error, Store};
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, FromRow, PgConnection, Postgres, Sqlite, SqliteConnection, Transaction};
use std::borrow::Cow;

/// A connection of either database, usually that of a transaction: `Connection::from(&mut *transaction)`.
pub enum Connection<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
}

impl<'c> From<&'c mut SqliteConnection> for Connection<'c> {
    fn from(connection: &'c mut SqliteConnection) -> Self {
        Connection::Sqlite(connection)
    }
}

impl<'c> From<&'c mut PgConnection> for Connection<'c> {
    fn from(connection: &'c mut PgConnection) -> Self {
        Connection::Postgres(connection)
    }
}

/// A write transaction of either database; rolled back when it is dropped.
pub enum Change {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

impl Change {
    pub fn connection(&mut self) -> Connection<'_> {
        match self {
            Change::Sqlite(transaction) => Connection::Sqlite(transaction),
            Change::Postgres(transaction) => Connection::Postgres(transaction),
        }
    }

    pub async fn commit(self, doing: &'static str) -> Result<(), Error> {
        match self {
            Change::Sqlite(transaction) => transaction.commit().await,
            Change::Postgres(transaction) => transaction.commit().await,
        }
        .doing(doing)
    }
}

impl Store {
    /// Opens a write transaction. On SQLite it is the only one.
    pub async fn change(&self, doing: &'static str) -> Result<Change, Error> {
        Ok(match self {
            Store::Sqlite(sqlite) => Change::Sqlite(sqlite.write.begin_with("BEGIN IMMEDIATE").await.doing(doing)?),
            Store::Postgres(pool) => Change::Postgres(pool.begin().await.doing(doing)?),
        })
    }
}

impl Store {
    /// Reads rows outside of any transaction; `$1` is the JSON text.
    pub async fn read_batch<T: AnyRow>(&self, doing: &'static str, sql: String, rows: &str) -> Result<Vec<T>, Error> {
        let rows = storable(rows);
        crate::on_pool!(self, pool => sqlx::query_as(AssertSqlSafe(sql)).bind(&*rows).fetch_all(pool).await).doing(doing)
    }
}

/// A row struct or tuple that both drivers can fill.
pub trait AnyRow: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin {}
impl<T> AnyRow for T where T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin {}

impl Connection<'_> {
    pub fn dialect(&self) -> Dialect {
        match self {
            Connection::Sqlite(_) => Dialect::Sqlite,
            Connection::Postgres(_) => Dialect::Postgres,
        }
    }

    /// The word that differs between the databases.
    pub fn pick<T>(&self, sqlite: T, postgres: T) -> T {
        match self {
            Connection::Sqlite(_) => sqlite,
            Connection::Postgres(_) => postgres,
        }
    }

    /// Reads rows; `$1` is the JSON text.
    pub async fn read<T: AnyRow>(&mut self, doing: &'static str, sql: String, rows: &str) -> Result<Vec<T>, Error> {
        let (sql, rows) = (AssertSqlSafe(sql), storable(rows));
        match self {
            Connection::Sqlite(connection) => sqlx::query_as(sql).bind(&*rows).fetch_all(&mut **connection).await,
            Connection::Postgres(connection) => sqlx::query_as(sql).bind(&*rows).fetch_all(&mut **connection).await,
        }
        .doing(doing)
    }

    /// Changes rows; `$1` is the JSON text. Gives how many were changed.
    pub async fn write(&mut self, doing: &'static str, sql: String, rows: &str) -> Result<u64, Error> {
        let (sql, rows) = (AssertSqlSafe(sql), storable(rows));
        match self {
            Connection::Sqlite(connection) => {
                sqlx::query(sql).bind(&*rows).execute(&mut **connection).await.map(|done| done.rows_affected())
            }
            Connection::Postgres(connection) => {
                sqlx::query(sql).bind(&*rows).execute(&mut **connection).await.map(|done| done.rows_affected())
            }
        }
        .doing(doing)
    }
}

/// The type of a field of the JSON rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// BIGINT
    Long,
    /// INTEGER
    Number,
    /// SMALLINT
    Small,
    Text,
    /// Written as hexadecimal digits.
    Bytes,
    /// A JSON value inside the row.
    Json,
}

/// `(SELECT … FROM …)`: the rows of `$1`, a JSON array of objects, as a table with these columns.
pub fn table(dialect: Dialect, fields: &[(&str, Field)]) -> String {
    table_in(dialect, None, fields)
}

/// Like [`table`], of the array that stands in `$1` under this key.
pub fn table_in(dialect: Dialect, key: Option<&str>, fields: &[(&str, Field)]) -> String {
    let column = |(name, field): &(&str, Field)| match (dialect, field) {
        (Dialect::Sqlite, Field::Bytes) => format!("unhex(value ->> '{name}') AS {name}"),
        (Dialect::Sqlite, Field::Json) => format!("value -> '{name}' AS {name}"),
        (Dialect::Sqlite, _) => format!("value ->> '{name}' AS {name}"),
        (Dialect::Postgres, Field::Bytes) => format!("decode({name}, 'hex') AS {name}"),
        (Dialect::Postgres, _) => name.to_string(),
    };
    let columns = fields.iter().map(column).collect::<Vec<_>>().join(", ");
    match dialect {
        Dialect::Sqlite => {
            let path = key.map(|key| format!(", '$.{key}'")).unwrap_or_default();
            format!("(SELECT {columns} FROM json_each($1{path}))")
        }
        Dialect::Postgres => {
            let typed = |(name, field): &(&str, Field)| {
                let kind = match field {
                    Field::Long => "bigint",
                    Field::Number => "integer",
                    Field::Small => "smallint",
                    Field::Text | Field::Bytes => "text",
                    Field::Json => "jsonb",
                };
                format!("{name} {kind}")
            };
            let types = fields.iter().map(typed).collect::<Vec<_>>().join(", ");
            let path = key.map(|key| format!(" -> '{key}'")).unwrap_or_default();
            format!("(SELECT {columns} FROM jsonb_to_recordset($1::jsonb{path}) AS given({types}))")
        }
    }
}

/// JSON in which no text holds a NUL any more: each has become a replacement sign. Nearly always it is what it was.
pub fn storable(json: &str) -> Cow<'_, str> {
    const NUL: &str = "\\u0000";
    if memchr::memmem::find(json.as_bytes(), NUL.as_bytes()).is_none() {
        return Cow::Borrowed(json);
    }
    let mut kept = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        kept.push_str(before);
        if let Some(after) = escape.strip_prefix(NUL) {
            kept.push('\u{fffd}');
            rest = after;
        } else {
            // A backslash and what it escapes, which may be a backslash: the two belong together.
            let (pair, after) = escape.split_at_checked(2).unwrap_or((escape, ""));
            kept.push_str(pair);
            rest = after;
        }
    }
    kept.push_str(rest);
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_nul_becomes_a_replacement_sign_and_what_only_looks_like_one_stays() {
        for (text, expected) in [
            ("plain", "plain"),
            ("a\0b", "a\u{fffd}b"),
            ("\0", "\u{fffd}"),
            ("\\u0000", "\\u0000"),
            ("\\\0\\", "\\\u{fffd}\\"),
            ("ü\0\n\"\0", "ü\u{fffd}\n\"\u{fffd}"),
        ] {
            let written = json!([{ "text": text }]).to_string();
            let read: Value = serde_json::from_str(&storable(&written)).unwrap();
            assert_eq!(read[0]["text"], expected, "{text:?}");
        }
        assert!(matches!(storable("[\"no such thing\"]"), Cow::Borrowed(_)));
    }
}
