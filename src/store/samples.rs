//! One customer as a message sees them, for previews and samples; runs read whole blocks instead (`blocks`).

use super::blocks::Person;
use super::{Doing, Error, Store};
use crate::on_pool;

type Row = (
    Option<String>,
    String,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    String,
    i64,
    Option<String>,
    Option<String>,
);

impl Store {
    /// `None` when there is no customer with this number.
    pub async fn sample_person(&self, customer: i64) -> Result<Option<Person>, Error> {
        let attributes = self.pick("c.attributes", "c.attributes::text");
        let sql = format!(
            "SELECT c.external_id, c.draw_key, c.first_name, c.last_name, c.language, c.country, c.zone, {attributes}, c.created_at,
                (SELECT a.address FROM addresses a WHERE a.customer_id = c.id AND a.channel = 1 AND a.is_primary = 1 LIMIT 1),
                (SELECT a.address FROM addresses a WHERE a.customer_id = c.id AND a.channel = 2 AND a.is_primary = 1 LIMIT 1)
             FROM customers c WHERE c.id = $1"
        );
        let row: Option<Row> = on_pool!(self, pool => sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(customer).fetch_optional(pool).await)
            .doing("read a customer")?;
        Ok(row.map(|row| Person {
            external_id: row.0,
            draw_key: row.1,
            first_name: row.2,
            last_name: row.3,
            language: row.4,
            country: row.5,
            zone: row.6,
            attributes: row.7,
            created_at: row.8,
            email: row.9,
            phone: row.10,
        }))
    }
}
