//! Addresses of customers.

use super::Doing;
use super::Error;
use super::batch::{Connection, Field, table};
use super::customers::{CHUNK, among_ids, placeholders};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

/// An address as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAddress {
    /// `types::Channel` as a number.
    pub channel: i16,
    pub address: String,
    pub is_primary: bool,
    pub key: [u8; 16],
    pub verified_at: Option<i64>,
    pub engaged_at: Option<i64>,
}

/// An address to write; one that is there already changes only whether it is primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressRow {
    pub customer: i64,
    pub channel: i16,
    pub address: String,
    pub is_primary: bool,
    pub key: [u8; 16],
    /// Mailbox site family; empty for a phone.
    pub site: String,
}

type Row = (i64, i16, String, i16, Vec<u8>, Option<i64>, Option<i64>);

pub(super) async fn of_customers(connection: &mut Connection<'_>, ids: &[i64]) -> Result<Vec<(i64, StoredAddress)>, Error> {
    let sql = "SELECT customer_id, channel, address, is_primary, key, verified_at, engaged_at FROM addresses WHERE customer_id @ \
               ORDER BY customer_id, channel, is_primary DESC, address";
    // SQLite gives integers of any width as asked.
    let rows: Vec<Row> = among_ids(connection, sql, ids).await?;
    Ok(rows
        .into_iter()
        .map(|(id, channel, address, is_primary, key, verified_at, engaged_at)| {
            let key = <[u8; 16]>::try_from(key.as_slice()).unwrap_or_default();
            (id, StoredAddress { channel, address, is_primary: is_primary != 0, key, verified_at, engaged_at })
        })
        .collect())
}

pub(super) async fn clear(connection: &mut Connection<'_>, cleared: &[(i64, i16)]) -> Result<(), Error> {
    if cleared.is_empty() {
        return Ok(());
    }
    let rows: Vec<Value> = cleared.iter().map(|(customer, channel)| json!({"customer": customer, "channel": channel})).collect();
    let given = table(connection.dialect(), &[("customer", Field::Long), ("channel", Field::Small)]);
    let sql = format!("DELETE FROM addresses WHERE (customer_id, channel) IN (SELECT customer, channel FROM {given} AS given)");
    connection.write("clear addresses", sql, &Value::Array(rows).to_string()).await?;
    Ok(())
}

/// `fresh`: for each address, whether its customer has none yet.
pub(super) async fn write(connection: &mut Connection<'_>, addresses: Vec<AddressRow>, fresh: &[bool]) -> Result<(), Error> {
    let (mut new, mut changed) = (Vec::with_capacity(addresses.len()), Vec::new());
    for (address, fresh) in addresses.into_iter().zip(fresh) {
        if *fresh { new.push(address) } else { changed.push(address) }
    }
    insert(connection, new, "").await?;
    insert(connection, changed, " ON CONFLICT (customer_id, channel, address) DO UPDATE SET is_primary = excluded.is_primary").await
}

async fn insert(connection: &mut Connection<'_>, addresses: Vec<AddressRow>, conflict: &str) -> Result<(), Error> {
    const DOING: &str = "store addresses";
    const INTO: &str = "INSERT INTO addresses (customer_id, channel, address, is_primary, key, site)";
    if addresses.is_empty() {
        return Ok(());
    }
    match connection {
        Connection::Sqlite(connection) => {
            let mut rest = addresses.into_iter();
            while !rest.as_slice().is_empty() {
                let count = rest.len().min(CHUNK);
                let mut query = sqlx::query(AssertSqlSafe(format!("{INTO} VALUES {}{conflict}", placeholders(6, count))));
                for address in rest.by_ref().take(count) {
                    query = query
                        .bind(address.customer)
                        .bind(address.channel)
                        .bind(address.address)
                        .bind(i16::from(address.is_primary))
                        .bind(address.key.as_slice())
                        .bind(address.site);
                }
                query.execute(&mut **connection).await.doing(DOING)?;
            }
        }
        Connection::Postgres(connection) => {
            let sql = format!(
                "{INTO} SELECT * FROM UNNEST($1::bigint[], $2::smallint[], $3::text[], $4::smallint[], $5::bytea[], $6::text[]){conflict}"
            );
            sqlx::query(AssertSqlSafe(sql))
                .bind(addresses.iter().map(|a| a.customer).collect::<Vec<_>>())
                .bind(addresses.iter().map(|a| a.channel).collect::<Vec<_>>())
                .bind(addresses.iter().map(|a| a.address.clone()).collect::<Vec<_>>())
                .bind(addresses.iter().map(|a| i16::from(a.is_primary)).collect::<Vec<_>>())
                .bind(addresses.iter().map(|a| a.key.to_vec()).collect::<Vec<_>>())
                .bind(addresses.iter().map(|a| a.site.clone()).collect::<Vec<_>>())
                .execute(&mut **connection)
                .await
                .doing(DOING)?;
        }
    }
    Ok(())
}
