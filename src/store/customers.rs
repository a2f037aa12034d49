//! Customers and their addresses: found by external id, address key or number; written in batches.
//!
//! A batch is one transaction: customers are looked up, a pure function decides what becomes of them, and that is written. Two imports
//! at once take turns (SQLite has one writer; PostgreSQL takes an advisory lock), so nobody is made twice.

use super::addresses::{AddressRow, StoredAddress};
use super::batch::{AnyRow, Connection};
use super::consents::{ConsentRow, StoredConsent};
use super::suppressions::SuppressionRow;
use super::{Doing, Error, Store};
use serde_json::{Map, Value};
use sqlx::AssertSqlSafe;
use std::collections::{HashMap, HashSet};

/// A customer as stored, with addresses and the state of consent.
#[derive(Debug, Clone, PartialEq)]
pub struct Customer {
    /// Negative for one that is not stored yet: -1, -2, … inside a batch.
    pub id: i64,
    pub external_id: Option<String>,
    /// What chance is drawn from: external id, else first address; never changed.
    pub draw_key: String,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub language: Option<String>,
    pub country: Option<String>,
    pub zone: Option<String>,
    pub attributes: Map<String, Value>,
    /// Lower-cased texts by dotted path, where they differ.
    pub folded: Option<String>,
    /// Microseconds.
    pub created_at: i64,
    pub updated_at: i64,
    pub erased_at: Option<i64>,
    pub addresses: Vec<StoredAddress>,
    pub consents: Vec<StoredConsent>,
}

/// Whom a batch asks for.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    pub external_ids: Vec<String>,
    pub keys: Vec<[u8; 16]>,
    /// Numbers already known.
    pub ids: Vec<i64>,
    pub with_consents: bool,
}

impl Wanted {
    pub fn is_empty(&self) -> bool {
        self.external_ids.is_empty() && self.keys.is_empty() && self.ids.is_empty()
    }
}

/// Who was found.
#[derive(Debug, Clone, Default)]
pub struct Found {
    pub by_external_id: HashMap<String, i64>,
    /// A key may lead to several customers.
    pub by_key: HashMap<[u8; 16], Vec<i64>>,
    pub customers: HashMap<i64, Customer>,
}

/// Numbers of customers.
#[derive(Debug, Clone, Default)]
pub struct Numbers {
    pub by_external_id: HashMap<String, i64>,
    pub by_key: HashMap<[u8; 16], Vec<i64>>,
    pub ids: HashSet<i64>,
}

/// What a batch writes. New customers have negative ids, and so do their addresses and consents.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    pub new: Vec<Customer>,
    pub changed: Vec<Customer>,
    /// Customer and channel whose addresses go (a cleared cell).
    pub cleared: Vec<(i64, i16)>,
    /// Written after that.
    pub addresses: Vec<AddressRow>,
    pub consents: Vec<ConsentRow>,
    pub suppressions: Vec<SuppressionRow>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.new.is_empty()
            && self.changed.is_empty()
            && self.cleared.is_empty()
            && self.addresses.is_empty()
            && self.consents.is_empty()
            && self.suppressions.is_empty()
    }
}

/// One number for all imports on a PostgreSQL server's database: "customers" in ASCII, cut to eight bytes.
pub(super) const IMPORT_LOCK: i64 = 0x6375_7374_6f6d_6572;

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    external_id: Option<String>,
    draw_key: String,
    first_name: Option<String>,
    last_name: Option<String>,
    language: Option<String>,
    country: Option<String>,
    zone: Option<String>,
    attributes: String,
    folded: Option<String>,
    created_at: i64,
    updated_at: i64,
    erased_at: Option<i64>,
}

const COLUMNS: &str = "id, external_id, draw_key, first_name, last_name, language, country, zone, CAST(attributes AS TEXT) AS attributes, \
                       CAST(folded AS TEXT) AS folded, created_at, updated_at, erased_at";

impl From<Row> for Customer {
    fn from(row: Row) -> Self {
        let attributes = match serde_json::from_str(&row.attributes) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        Customer {
            id: row.id,
            external_id: row.external_id,
            draw_key: row.draw_key,
            first_name: row.first_name,
            last_name: row.last_name,
            language: row.language,
            country: row.country,
            zone: row.zone,
            attributes,
            folded: row.folded,
            created_at: row.created_at,
            updated_at: row.updated_at,
            erased_at: row.erased_at,
            addresses: Vec::new(),
            consents: Vec::new(),
        }
    }
}

/// How a batch ended.
pub struct Written {
    /// Number of each new customer, in their order.
    pub new_ids: Vec<i64>,
}

impl Store {
    /// Looks up, lets `decide` say what to write, and writes it, in one transaction. With `dry`, nothing is kept.
    pub async fn upsert_customers<T>(
        &self,
        wanted: &Wanted,
        dry: bool,
        decide: impl FnOnce(Found) -> (Changes, T),
    ) -> Result<(Written, T), Error> {
        const DOING: &str = "import customers";
        let mut change = self.change(DOING).await?;
        let mut connection = change.connection();
        lock(&mut connection).await?;
        let found = find(&mut connection, wanted).await?;
        let (mut changes, result) = decide(found);
        let new_ids = if dry || changes.is_empty() { Vec::new() } else { write(&mut connection, &mut changes).await? };
        if dry {
            return Ok((Written { new_ids }, result));
        }
        change.commit(DOING).await?;
        Ok((Written { new_ids }, result))
    }

    /// Who is behind external ids, address keys and numbers.
    pub async fn find_customers(&self, wanted: &Wanted) -> Result<Found, Error> {
        const DOING: &str = "look up customers";
        match self {
            Store::Sqlite(sqlite) => {
                let mut connection = sqlite.read.acquire().await.doing(DOING)?;
                find(&mut Connection::Sqlite(&mut connection), wanted).await
            }
            Store::Postgres(pool) => {
                let mut connection = pool.acquire().await.doing(DOING)?;
                find(&mut Connection::Postgres(&mut connection), wanted).await
            }
        }
    }

    /// Only the numbers behind external ids, address keys and numbers; of these, those that exist.
    pub async fn customer_numbers(&self, wanted: &Wanted) -> Result<Numbers, Error> {
        const DOING: &str = "look up customers";
        match self {
            Store::Sqlite(sqlite) => {
                let mut connection = sqlite.read.acquire().await.doing(DOING)?;
                numbers(&mut Connection::Sqlite(&mut connection), wanted).await
            }
            Store::Postgres(pool) => {
                let mut connection = pool.acquire().await.doing(DOING)?;
                numbers(&mut Connection::Postgres(&mut connection), wanted).await
            }
        }
    }

    /// Lets PostgreSQL look at what an import has brought: without statistics it plans for a handful of people, until its own housekeeping comes by.
    pub async fn learn_statistics(&self) -> Result<(), Error> {
        let Store::Postgres(pool) = self else { return Ok(()) };
        let sql = "ANALYZE customers, addresses, consents, consent_state, suppressions, events";
        sqlx::query(sql).execute(pool).await.doing("gather the database's statistics").map(drop)
    }

    /// True while nobody is stored.
    pub async fn has_no_customers(&self) -> Result<bool, Error> {
        let any: Option<(i64,)> =
            crate::on_pool!(self, pool => sqlx::query_as("SELECT id FROM customers LIMIT 1").fetch_optional(pool).await)
                .doing("look for customers")?;
        Ok(any.is_none())
    }
}

/// Rows whose column is one of `values`; a bound array in PostgreSQL, so that its planner knows how many there are.
async fn among<T: AnyRow>(connection: &mut Connection<'_>, sql: &str, values: &[String]) -> Result<Vec<T>, Error> {
    const DOING: &str = "look up customers";
    match connection {
        Connection::Sqlite(connection) => {
            let sql = sql.replace("@", "IN (SELECT value FROM json_each($1))");
            let json = serde_json::to_string(values).unwrap_or_default();
            sqlx::query_as(AssertSqlSafe(sql)).bind(json).fetch_all(&mut **connection).await
        }
        Connection::Postgres(connection) => {
            let sql = sql.replace("@", "= ANY($1)");
            sqlx::query_as(AssertSqlSafe(sql)).bind(values).fetch_all(&mut **connection).await
        }
    }
    .doing(DOING)
}

/// The same for numbers.
pub(super) async fn among_ids<T: AnyRow>(connection: &mut Connection<'_>, sql: &str, ids: &[i64]) -> Result<Vec<T>, Error> {
    const DOING: &str = "look up customers";
    match connection {
        Connection::Sqlite(connection) => {
            let sql = sql.replace("@", "IN (SELECT value FROM json_each($1))");
            let json = serde_json::to_string(ids).unwrap_or_default();
            sqlx::query_as(AssertSqlSafe(sql)).bind(json).fetch_all(&mut **connection).await
        }
        Connection::Postgres(connection) => {
            let sql = sql.replace("@", "= ANY($1)");
            sqlx::query_as(AssertSqlSafe(sql)).bind(ids).fetch_all(&mut **connection).await
        }
    }
    .doing(DOING)
}

/// The same for keys.
async fn among_keys(connection: &mut Connection<'_>, keys: &[[u8; 16]]) -> Result<Vec<(i64, Vec<u8>)>, Error> {
    const DOING: &str = "look up customers";
    match connection {
        Connection::Sqlite(connection) => {
            let json = serde_json::to_string(&keys.iter().map(hex::encode).collect::<Vec<_>>()).unwrap_or_default();
            let sql = "SELECT customer_id, key FROM addresses WHERE key IN (SELECT unhex(value) FROM json_each($1))";
            sqlx::query_as(sql).bind(json).fetch_all(&mut **connection).await
        }
        Connection::Postgres(connection) => {
            let keys: Vec<Vec<u8>> = keys.iter().map(|key| key.to_vec()).collect();
            let sql = "SELECT customer_id, key FROM addresses WHERE key = ANY($1)";
            sqlx::query_as(sql).bind(keys).fetch_all(&mut **connection).await
        }
    }
    .doing(DOING)
}

async fn numbers(connection: &mut Connection<'_>, wanted: &Wanted) -> Result<Numbers, Error> {
    let mut numbers = Numbers::default();
    if !wanted.external_ids.is_empty() {
        let rows: Vec<(i64, String)> =
            among(connection, "SELECT id, external_id FROM customers WHERE external_id @", &wanted.external_ids).await?;
        numbers.by_external_id = rows.into_iter().map(|(id, external_id)| (external_id, id)).collect();
    }
    if !wanted.keys.is_empty() {
        for (id, key) in among_keys(connection, &wanted.keys).await? {
            let Ok(key) = <[u8; 16]>::try_from(key.as_slice()) else { continue };
            let customers = numbers.by_key.entry(key).or_default();
            if !customers.contains(&id) {
                customers.push(id);
            }
        }
    }
    if !wanted.ids.is_empty() {
        numbers.ids = super::events::existing(connection, &wanted.ids).await?.into_iter().collect();
    }
    Ok(numbers)
}

pub(super) async fn find(connection: &mut Connection<'_>, wanted: &Wanted) -> Result<Found, Error> {
    let mut found = Found::default();
    let mut ids: HashSet<i64> = wanted.ids.iter().copied().collect();
    if !wanted.external_ids.is_empty() {
        let rows: Vec<(i64, String)> =
            among(connection, "SELECT id, external_id FROM customers WHERE external_id @", &wanted.external_ids).await?;
        for (id, external_id) in rows {
            ids.insert(id);
            found.by_external_id.insert(external_id, id);
        }
    }
    if !wanted.keys.is_empty() {
        for (id, key) in among_keys(connection, &wanted.keys).await? {
            let Ok(key) = <[u8; 16]>::try_from(key.as_slice()) else { continue };
            ids.insert(id);
            let customers = found.by_key.entry(key).or_default();
            if !customers.contains(&id) {
                customers.push(id);
            }
        }
    }
    if ids.is_empty() {
        return Ok(found);
    }
    let ids: Vec<i64> = ids.into_iter().collect();
    let rows: Vec<Row> = among_ids(connection, &format!("SELECT {COLUMNS} FROM customers WHERE id @"), &ids).await?;
    found.customers = rows.into_iter().map(|row| (row.id, Customer::from(row))).collect();
    for (id, address) in super::addresses::of_customers(connection, &ids).await? {
        if let Some(customer) = found.customers.get_mut(&id) {
            customer.addresses.push(address);
        }
    }
    if wanted.with_consents {
        for (id, consent) in super::consents::of_customers(connection, &ids).await? {
            if let Some(customer) = found.customers.get_mut(&id) {
                customer.consents.push(consent);
            }
        }
    }
    // A first import that was killed may have left addresses of nobody, until the base's indexes are built.
    found.by_key.values_mut().for_each(|owners| owners.retain(|id| found.customers.contains_key(id)));
    found.by_key.retain(|_, owners| !owners.is_empty());
    Ok(found)
}

/// One at a time looks for customers and makes those that it does not find.
pub(super) async fn lock(connection: &mut Connection<'_>) -> Result<(), Error> {
    if let Connection::Postgres(connection) = connection {
        let sql = "SELECT pg_advisory_xact_lock($1)";
        sqlx::query(sql).bind(IMPORT_LOCK).execute(&mut **connection).await.doing("take turns with other imports")?;
    }
    Ok(())
}

/// Writes a batch, and takes its new customers and addresses out of it; gives the numbers of the new customers.
pub(super) async fn write(connection: &mut Connection<'_>, changes: &mut Changes) -> Result<Vec<i64>, Error> {
    let new_ids = next_ids(connection, "customers", changes.new.len()).await?;
    let real = |id: i64| if id < 0 { new_ids.get(usize::try_from(-id - 1).unwrap_or(0)).copied().unwrap_or(id) } else { id };
    for customer in &mut changes.new {
        customer.id = real(customer.id);
    }
    for (id, _) in &mut changes.cleared {
        *id = real(*id);
    }
    let mut fresh = Vec::with_capacity(changes.addresses.len());
    for address in &mut changes.addresses {
        fresh.push(address.customer < 0);
        address.customer = real(address.customer);
    }
    for consent in &mut changes.consents {
        consent.customer = real(consent.customer);
    }
    insert(connection, std::mem::take(&mut changes.new)).await?;
    update(connection, &changes.changed).await?;
    super::addresses::clear(connection, &changes.cleared).await?;
    super::addresses::write(connection, std::mem::take(&mut changes.addresses), &fresh).await?;
    super::consents::append(connection, &changes.consents).await?;
    super::suppressions::suppress(connection, &changes.suppressions).await?;
    Ok(new_ids)
}

/// Numbers for `count` new rows of a table, ascending.
pub(super) async fn next_ids(connection: &mut Connection<'_>, table: &'static str, count: usize) -> Result<Vec<i64>, Error> {
    if count == 0 {
        return Ok(Vec::new());
    }
    const DOING: &str = "number new rows";
    match connection {
        Connection::Sqlite(connection) => {
            let sql = format!("SELECT COALESCE(MAX(id), 0) FROM {table}");
            let (last,): (i64,) = sqlx::query_as(AssertSqlSafe(sql)).fetch_one(&mut **connection).await.doing(DOING)?;
            Ok((last + 1..).take(count).collect())
        }
        Connection::Postgres(connection) => {
            let sql = format!("SELECT nextval(pg_get_serial_sequence('{table}', 'id')) FROM generate_series(1, $1)");
            let rows: Vec<(i64,)> =
                sqlx::query_as(AssertSqlSafe(sql)).bind(count as i64).fetch_all(&mut **connection).await.doing(DOING)?;
            let mut ids: Vec<i64> = rows.into_iter().map(|row| row.0).collect();
            ids.sort_unstable();
            Ok(ids)
        }
    }
}

/// `(?, ?), (?, ?) …`; named parameters would make SQLite search their names.
pub(super) fn placeholders(columns: usize, rows: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(","));
    vec![row; rows].join(",")
}

/// Rows of one SQLite statement: the same size again and again, so that it is prepared once.
pub(super) const CHUNK: usize = 500;

async fn insert(connection: &mut Connection<'_>, customers: Vec<Customer>) -> Result<(), Error> {
    const DOING: &str = "store new customers";
    const INTO: &str = "INSERT INTO customers (id, external_id, draw_key, first_name, last_name, language, country, zone, attributes, folded, \
                        created_at, updated_at)";
    let attributes = |customer: &Customer| serde_json::to_string(&customer.attributes).unwrap_or_else(|_| "{}".into());
    match connection {
        Connection::Sqlite(connection) => {
            let mut rest = customers.into_iter();
            while !rest.as_slice().is_empty() {
                let count = rest.len().min(CHUNK);
                let mut query = sqlx::query(AssertSqlSafe(format!("{INTO} VALUES {}", placeholders(12, count))));
                for customer in rest.by_ref().take(count) {
                    let attributes = attributes(&customer);
                    // Texts are handed over, not copied.
                    query = query
                        .bind(customer.id)
                        .bind(customer.external_id)
                        .bind(customer.draw_key)
                        .bind(customer.first_name)
                        .bind(customer.last_name)
                        .bind(customer.language)
                        .bind(customer.country)
                        .bind(customer.zone)
                        .bind(attributes)
                        .bind(customer.folded)
                        .bind(customer.created_at)
                        .bind(customer.updated_at);
                }
                query.execute(&mut **connection).await.doing(DOING)?;
            }
        }
        Connection::Postgres(connection) => {
            if customers.is_empty() {
                return Ok(());
            }
            let sql = format!(
                "{INTO} SELECT id, external_id, draw_key, first_name, last_name, language, country, zone, attributes::jsonb, folded::jsonb, \
                 created_at, updated_at FROM UNNEST($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], \
                 $8::text[], $9::text[], $10::text[], $11::bigint[], $12::bigint[]) AS given(id, external_id, draw_key, first_name, last_name, \
                 language, country, zone, attributes, folded, created_at, updated_at)"
            );
            let texts =
                |field: fn(&Customer) -> Option<&String>| customers.iter().map(|c| field(c).cloned()).collect::<Vec<Option<String>>>();
            sqlx::query(AssertSqlSafe(sql))
                .bind(customers.iter().map(|c| c.id).collect::<Vec<_>>())
                .bind(texts(|c| c.external_id.as_ref()))
                .bind(customers.iter().map(|c| c.draw_key.clone()).collect::<Vec<_>>())
                .bind(texts(|c| c.first_name.as_ref()))
                .bind(texts(|c| c.last_name.as_ref()))
                .bind(texts(|c| c.language.as_ref()))
                .bind(texts(|c| c.country.as_ref()))
                .bind(texts(|c| c.zone.as_ref()))
                .bind(customers.iter().map(attributes).collect::<Vec<_>>())
                .bind(texts(|c| c.folded.as_ref()))
                .bind(customers.iter().map(|c| c.created_at).collect::<Vec<_>>())
                .bind(customers.iter().map(|c| c.updated_at).collect::<Vec<_>>())
                .execute(&mut **connection)
                .await
                .doing(DOING)?;
        }
    }
    Ok(())
}

async fn update(connection: &mut Connection<'_>, customers: &[Customer]) -> Result<(), Error> {
    use super::batch::{Field, table};
    if customers.is_empty() {
        return Ok(());
    }
    let rows: Vec<Value> = customers
        .iter()
        .map(|c| {
            serde_json::json!({
                "id": c.id, "external_id": c.external_id, "first_name": c.first_name, "last_name": c.last_name, "language": c.language,
                "country": c.country, "zone": c.zone, "attributes": serde_json::to_string(&c.attributes).unwrap_or_default(),
                "folded": c.folded, "created_at": c.created_at, "updated_at": c.updated_at,
            })
        })
        .collect();
    let given = table(
        connection.dialect(),
        &[
            ("id", Field::Long),
            ("external_id", Field::Text),
            ("first_name", Field::Text),
            ("last_name", Field::Text),
            ("language", Field::Text),
            ("country", Field::Text),
            ("zone", Field::Text),
            ("attributes", Field::Text),
            ("folded", Field::Text),
            ("created_at", Field::Long),
            ("updated_at", Field::Long),
        ],
    );
    let json = connection.pick("", "::jsonb");
    let sql = format!(
        "UPDATE customers SET external_id = given.external_id, first_name = given.first_name, last_name = given.last_name, \
         language = given.language, country = given.country, zone = given.zone, attributes = given.attributes{json}, \
         folded = given.folded{json}, created_at = given.created_at, updated_at = given.updated_at \
         FROM {given} AS given WHERE customers.id = given.id"
    );
    connection.write("change customers", sql, &Value::Array(rows).to_string()).await?;
    Ok(())
}
