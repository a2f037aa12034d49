//! The attribute catalogue: every attribute ever seen, with its type.

use super::batch::{Field, table};
use super::{Doing, Error, Store, micros};
use crate::types::Time;
use serde_json::{Value, json};

impl Store {
    /// Path and type (as `customers::values` writes it) of every attribute, by path.
    pub async fn attribute_types(&self) -> Result<Vec<(String, String)>, Error> {
        crate::on_pool!(self, pool => sqlx::query_as("SELECT path, type FROM attributes ORDER BY path").fetch_all(pool).await)
            .doing("read the attribute catalogue")
    }

    /// Adds attributes that are not known yet; a known one keeps its type, unless it is declared now.
    pub async fn keep_attribute_types(&self, types: &[(String, String, bool)], now: Time) -> Result<(), Error> {
        if types.is_empty() {
            return Ok(());
        }
        const DOING: &str = "keep the attribute catalogue";
        let rows: Vec<Value> = types
            .iter()
            .map(|(path, kind, declared)| json!({"path": path, "type": kind, "declared": i16::from(*declared), "at": micros(now)}))
            .collect();
        let mut change = self.change(DOING).await?;
        let mut connection = change.connection();
        let given =
            table(connection.dialect(), &[("path", Field::Text), ("type", Field::Text), ("declared", Field::Small), ("at", Field::Long)]);
        let sql = format!(
            "INSERT INTO attributes (path, type, declared, first_seen_at) SELECT path, type, declared, at FROM {given} AS given WHERE true \
             ON CONFLICT (path) DO UPDATE SET type = excluded.type, declared = 1 WHERE excluded.declared = 1"
        );
        connection.write(DOING, sql, &Value::Array(rows).to_string()).await?;
        change.commit(DOING).await
    }
}
