//! Customers as a message sees them without a message, for previews, samples and costs; runs read whole blocks instead (`blocks`).

use super::batch::{Field, table};
use super::blocks::Person;
use super::{Doing, Error, Store};
use crate::on_pool;
use serde_json::json;
use std::collections::HashMap;

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

    /// These customers, each with the number.
    pub async fn people(&self, customers: &[i64]) -> Result<Vec<(i64, Person)>, Error> {
        let attributes = self.pick("c.attributes", "c.attributes::text AS attributes");
        let sql = format!(
            "SELECT c.id, c.external_id, c.draw_key, c.first_name, c.last_name, c.language, c.country, c.zone, {attributes}, c.created_at,
                (SELECT a.address FROM addresses a WHERE a.customer_id = c.id AND a.channel = 1 AND a.is_primary = 1 LIMIT 1) AS email,
                (SELECT a.address FROM addresses a WHERE a.customer_id = c.id AND a.channel = 2 AND a.is_primary = 1 LIMIT 1) AS phone
             FROM {} AS given JOIN customers c ON c.id = given.id",
            table(self.dialect(), &[("id", Field::Long)])
        );
        let ids = json!(customers.iter().map(|id| json!({ "id": id })).collect::<Vec<_>>()).to_string();
        let rows: Vec<Numbered> = self.read_batch("read customers", sql, &ids).await?;
        Ok(rows.into_iter().map(|row| (row.id, row.person)).collect())
    }

    /// Properties as JSON text and time of the events that start messages, by customer and entry; entry 0 stands for the customer's last one of
    /// this name.
    pub async fn trigger_events(&self, name: &str, entries: &[(i64, i64)]) -> Result<HashMap<(i64, i64), (String, i64)>, Error> {
        let properties = self.pick("e.properties", "e.properties::text");
        let sql = format!(
            "SELECT given.customer, given.entry, {properties}, e.occurred_at FROM {} AS given
             JOIN events e ON e.id = CASE WHEN given.entry > 0 THEN given.entry ELSE (
                 SELECT l.id FROM events l WHERE l.customer_id = given.customer AND l.name = given.name ORDER BY l.occurred_at DESC, l.id DESC LIMIT 1) END",
            table(self.dialect(), &[("customer", Field::Long), ("entry", Field::Long), ("name", Field::Text)])
        );
        let row = |(customer, entry): &(i64, i64)| json!({ "customer": customer, "entry": entry, "name": name });
        let given = json!(entries.iter().map(row).collect::<Vec<_>>()).to_string();
        let rows: Vec<(i64, i64, String, i64)> = self.read_batch("read what starts messages", sql, &given).await?;
        Ok(rows.into_iter().map(|(customer, entry, properties, at)| ((customer, entry), (properties, at))).collect())
    }
}

#[derive(sqlx::FromRow)]
struct Numbered {
    id: i64,
    #[sqlx(flatten)]
    person: Person,
}
