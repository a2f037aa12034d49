//! What a condition found, for the template: the newest events under an `as:` name.

use super::{Bind, Compiler, Sql, referenced};
use crate::segments::values::Currencies;
use crate::segments::{EventCondition, Moment};
use crate::store::{Error, Store, from_micros};
use chrono::SecondsFormat;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// So many events at most under a name.
pub const NEWEST: i64 = 10;

impl Store {
    /// For each of the customers, each name and the newest events that its condition counts, newest first: their properties, and `at`.
    /// A name without events is an empty list.
    pub async fn saved_events(
        &self,
        customers: &[i64],
        saved: &[(String, EventCondition)],
        moment: &Moment<'_>,
    ) -> Result<HashMap<i64, Map<String, Value>>, Error> {
        const DOING: &str = "read the events that a template shows";
        let mut found: HashMap<i64, Map<String, Value>> = HashMap::new();
        for (name, event) in saved {
            for customer in customers {
                found.entry(*customer).or_default().entry(name.clone()).or_insert_with(|| Value::Array(Vec::new()));
            }
            let mut inner = Sql::new(self.dialect());
            let currencies = Currencies::new(moment.currency, moment.rates);
            let mut compiler = Compiler { moment, dialect: self.dialect(), currencies, sql: &mut inner, aliases: 0 };
            let rows = compiler.events(event, "e");
            let list: Vec<String> = customers.iter().map(i64::to_string).collect();
            let (open, close) = self.pick(("[", "]"), ("{", "}"));
            let list = inner.hold(Bind::Text(format!("{open}{}{close}", list.join(","))));
            let ids = self.pick(format!("IN (SELECT value FROM json_each({list}))"), format!("= ANY (CAST({list} AS bigint[]))"));
            let properties = self.pick("n.properties", "CAST(n.properties AS TEXT)");
            let text = format!(
                "SELECT n.customer_id, n.occurred_at, {properties} FROM (SELECT e.customer_id, e.occurred_at, e.properties, e.id, \
                 ROW_NUMBER() OVER (PARTITION BY e.customer_id ORDER BY e.occurred_at DESC, e.id DESC) AS place \
                 FROM customers c CROSS JOIN {rows} AND c.id {ids}) AS n WHERE n.place <= {NEWEST} ORDER BY n.customer_id, n.place"
            );
            let mut sql = Sql::new(self.dialect());
            referenced(&text, &inner, &mut sql);
            let rows: Vec<(i64, i64, String)> = sql.fetch(self, DOING).await?;
            for (customer, at, properties) in rows {
                let mut event: Map<String, Value> = serde_json::from_str(&properties).unwrap_or_default();
                event.insert("at".into(), Value::String(from_micros(at).to_rfc3339_opts(SecondsFormat::AutoSi, true)));
                if let Some(Value::Array(list)) = found.get_mut(&customer).and_then(|names| names.get_mut(name)) {
                    list.push(Value::Object(event));
                }
            }
        }
        Ok(found)
    }
}
