//! The audit log: who changed what, and when.

use super::batch::Connection;
use super::{Doing, Error, Store, micros};
use crate::types::Time;

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    pub at: Time,
    pub who: String,
    /// `customers.erase`
    pub action: String,
    /// `#12`
    pub subject: String,
    pub detail: Option<String>,
}

const SQL: &str = "INSERT INTO audit (at, who, action, subject, detail) VALUES ($1, $2, $3, $4, $5)";

/// Writes a line inside somebody's transaction, so that what it tells of and the line stand or fall together.
pub async fn write(connection: &mut Connection<'_>, line: &Audit) -> Result<(), Error> {
    let at = micros(line.at);
    match connection {
        Connection::Sqlite(connection) => {
            let query = sqlx::query(SQL).bind(at).bind(&line.who).bind(&line.action).bind(&line.subject).bind(&line.detail);
            query.execute(&mut **connection).await.map(|_| ())
        }
        Connection::Postgres(connection) => {
            let query = sqlx::query(SQL).bind(at).bind(&line.who).bind(&line.action).bind(&line.subject).bind(&line.detail);
            query.execute(&mut **connection).await.map(|_| ())
        }
    }
    .doing("write the audit log")
}

impl Store {
    /// Writes a line by itself.
    pub async fn audit(&self, line: &Audit) -> Result<(), Error> {
        let mut change = self.change("write the audit log").await?;
        write(&mut change.connection(), line).await?;
        change.commit("write the audit log").await
    }
}
