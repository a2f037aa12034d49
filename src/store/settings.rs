//! Small things that the base itself must remember, by name.

use super::{Doing, Error, Store};
use crate::{on_pool, on_writer};

impl Store {
    pub async fn setting(&self, name: &str) -> Result<Option<String>, Error> {
        let row: Option<(String,)> =
            on_pool!(self, pool => sqlx::query_as("SELECT value FROM settings WHERE name = $1").bind(name).fetch_optional(pool).await)
                .doing("read a setting")?;
        Ok(row.map(|row| row.0))
    }

    pub async fn keep_setting(&self, name: &str, value: &str) -> Result<(), Error> {
        let sql = "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        on_writer!(self, pool => sqlx::query(sql).bind(name).bind(value).execute(pool).await.map(|_| ())).doing("keep a setting")
    }
}
