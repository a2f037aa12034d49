//! All rows of one customer, found through the database's own catalogue: a table that is added later is in without anybody's doing.

use super::{Dialect, Doing, Error, Store};
use crate::on_pool;
use serde_json::{Map, Value};
use sqlx::AssertSqlSafe;
use std::collections::BTreeMap;

const DOING: &str = "read all that is known of a customer";

/// Rows by table, as they are stored: times in microseconds, bytes in hexadecimal digits.
pub type Portrait = BTreeMap<String, Vec<Map<String, Value>>>;

/// Tables whose rows belong to an address, by its key.
const BY_KEY: [&str; 2] = ["suppressions", "strikes"];
/// Only what no person is in.
const LEFT_OUT: [&str; 2] = ["_sqlx_migrations", "erasures"];

struct Column {
    name: String,
    is_bytes: bool,
}

impl Store {
    /// Rows of the customer's own, of the customer's messages, of the customer's addresses, and lines of the audit log about the customer. Tables without
    /// any are left out.
    pub async fn portrait(&self, customer: i64) -> Result<Portrait, Error> {
        let mut portrait = Portrait::new();
        for (table, columns) in self.tables().await? {
            let has = |name: &str| columns.iter().any(|column| column.name == name);
            let of_customer = match table.as_str() {
                "customers" => "t.id = $1",
                "audit" => "t.subject = '#' || $1",
                table if LEFT_OUT.contains(&table) => continue,
                table if BY_KEY.contains(&table) => "t.key IN (SELECT a.key FROM addresses a WHERE a.customer_id = $1)",
                _ if has("customer_id") => "t.customer_id = $1",
                _ if has("message_id") => "t.message_id IN (SELECT m.id FROM messages m WHERE m.customer_id = $1)",
                _ => continue,
            };
            let rows = self.rows_as_json(&table, &columns, of_customer, customer).await?;
            if !rows.is_empty() {
                portrait.insert(table, rows);
            }
        }
        Ok(portrait)
    }

    async fn rows_as_json(
        &self,
        table: &str,
        columns: &[Column],
        of_customer: &str,
        customer: i64,
    ) -> Result<Vec<Map<String, Value>>, Error> {
        let value = |column: &Column| match (self.dialect(), column.is_bytes) {
            (_, false) => format!("'{0}', t.\"{0}\"", column.name),
            (Dialect::Sqlite, true) => format!("'{0}', lower(hex(t.\"{0}\"))", column.name),
            (Dialect::Postgres, true) => format!("'{0}', encode(t.\"{0}\", 'hex')", column.name),
        };
        let object = self.pick("json_object", "json_build_object");
        let values = columns.iter().map(value).collect::<Vec<_>>().join(", ");
        let of_customer = match self.dialect() {
            Dialect::Postgres if table == "audit" => of_customer.replace("$1", "CAST(CAST($1 AS BIGINT) AS TEXT)"),
            _ => of_customer.to_string(),
        };
        let sql = format!("SELECT CAST({object}({values}) AS TEXT) FROM \"{table}\" t WHERE {of_customer}");
        let rows: Vec<(String,)> =
            on_pool!(self, pool => sqlx::query_as(AssertSqlSafe(sql)).bind(customer).fetch_all(pool).await).doing(DOING)?;
        let row = |(text,): (String,)| match serde_json::from_str(&text) {
            Ok(Value::Object(row)) => Ok(row),
            _ => Err(Error::Unexpected { doing: DOING, what: format!("a row of {table} that is no JSON") }),
        };
        let mut rows: Vec<Map<String, Value>> = rows.into_iter().map(row).collect::<Result<_, _>>()?;
        let order = |row: &Map<String, Value>| ["id", "at", "first_at", "drawn_at"].iter().find_map(|name| row.get(*name)?.as_i64());
        rows.sort_by_key(order);
        Ok(rows)
    }

    /// Every table with its columns.
    async fn tables(&self) -> Result<BTreeMap<String, Vec<Column>>, Error> {
        let sql = match self.dialect() {
            Dialect::Sqlite => {
                "SELECT m.name, p.name, p.type FROM sqlite_master m JOIN pragma_table_info(m.name) p
                 WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' ORDER BY m.name, p.cid"
            }
            Dialect::Postgres => {
                "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT), CAST(data_type AS TEXT) FROM information_schema.columns
                 WHERE table_schema = current_schema() ORDER BY table_name, ordinal_position"
            }
        };
        let columns: Vec<(String, String, String)> = on_pool!(self, pool => sqlx::query_as(sql).fetch_all(pool).await).doing(DOING)?;
        let mut tables: BTreeMap<String, Vec<Column>> = BTreeMap::new();
        for (table, name, kind) in columns {
            let is_bytes = matches!(kind.to_ascii_uppercase().as_str(), "BLOB" | "BYTEA");
            tables.entry(table).or_default().push(Column { name, is_bytes });
        }
        Ok(tables)
    }
}
