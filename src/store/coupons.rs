//! Codes of coupons: imported, made, and drawn exactly once for each message.

use super::batch::{Field, table};
use super::{Error, Store, micros};
use crate::types::Time;
use serde_json::json;
use std::collections::{HashMap, HashSet};

/// Where the codes come from that are drawn.
pub enum Draw<'a> {
    Shared(&'a str),
    /// The code of a message at its nth try: made ones may meet one that is there already.
    Made(&'a (dyn Fn(i64, u32) -> String + Send + Sync)),
    Imported,
}

/// So often a made code is tried anew before the pattern counts as used up.
const TRIES: u32 = 20;

impl Store {
    /// The codes of these messages, drawn now for those that have none yet. A message without one is not in the answer: there are no more.
    pub async fn draw_codes(&self, coupon: &str, messages: &[i64], draw: Draw<'_>, now: Time) -> Result<HashMap<i64, String>, Error> {
        let doing = "draw codes of coupons";
        let mut change = self.change(doing).await?;
        let mut connection = change.connection();
        let given = table(connection.dialect(), &[("id", Field::Long)]);
        let held = connection.pick("", "FOR UPDATE OF m");
        let rows = json!(messages.iter().map(|id| json!({ "id": id })).collect::<Vec<_>>()).to_string();
        let known: Vec<(i64, Option<String>)> = connection
            .read(
                doing,
                format!("SELECT m.id, m.code FROM {given} AS given JOIN messages m ON m.id = given.id ORDER BY m.id {held}"),
                &rows,
            )
            .await?;
        let mut codes: HashMap<i64, String> = known.iter().filter_map(|(id, code)| Some((*id, code.clone()?))).collect();
        let mut open: Vec<i64> = known.into_iter().filter(|(_, code)| code.is_none()).map(|(id, _)| id).collect();
        let mut drawn: Vec<(i64, String)> = Vec::new();
        match draw {
            Draw::Shared(code) => drawn.extend(open.iter().map(|id| (*id, code.to_string()))),
            Draw::Made(make) => {
                for nth in 0..TRIES {
                    if open.is_empty() {
                        break;
                    }
                    let rows = open.iter().map(|id| json!({ "coupon": coupon, "id": id, "code": make(*id, nth) })).collect::<Vec<_>>();
                    let given = table(connection.dialect(), &[("coupon", Field::Text), ("id", Field::Long), ("code", Field::Text)]);
                    let sql = format!(
                        "INSERT INTO coupons (coupon, code, number, message_id, drawn_at) SELECT coupon, code, 0, id, {} FROM {given} AS given WHERE true
                         ON CONFLICT (coupon, code) DO NOTHING RETURNING message_id, code",
                        micros(now)
                    );
                    let made: Vec<(i64, String)> = connection.read(doing, sql, &json!(rows).to_string()).await?;
                    let settled: HashSet<i64> = made.iter().map(|(id, _)| *id).collect();
                    open.retain(|id| !settled.contains(id));
                    drawn.extend(made);
                }
            }
            Draw::Imported => {
                let held = connection.pick("", "FOR UPDATE OF c SKIP LOCKED");
                let given = table(connection.dialect(), &[("coupon", Field::Text)]);
                let sql = format!(
                    "SELECT c.code FROM {given} AS given JOIN coupons c ON c.coupon = given.coupon WHERE c.message_id IS NULL ORDER BY c.number LIMIT {} {held}",
                    open.len()
                );
                let free: Vec<(String,)> = connection.read(doing, sql, &json!([{ "coupon": coupon }]).to_string()).await?;
                drawn.extend(open.iter().copied().zip(free.into_iter().map(|(code,)| code)));
                let rows = drawn.iter().map(|(id, code)| json!({ "coupon": coupon, "id": id, "code": code })).collect::<Vec<_>>();
                let given = table(connection.dialect(), &[("coupon", Field::Text), ("id", Field::Long), ("code", Field::Text)]);
                let sql = format!(
                    "UPDATE coupons SET message_id = given.id, drawn_at = {} FROM {given} AS given WHERE coupons.coupon = given.coupon AND coupons.code = given.code",
                    micros(now)
                );
                connection.write(doing, sql, &json!(rows).to_string()).await?;
            }
        }
        let given = table(connection.dialect(), &[("id", Field::Long), ("code", Field::Text)]);
        let rows = drawn.iter().map(|(id, code)| json!({ "id": id, "code": code })).collect::<Vec<_>>();
        let sql = format!("UPDATE messages SET code = given.code FROM {given} AS given WHERE messages.id = given.id");
        connection.write(doing, sql, &json!(rows).to_string()).await?;
        change.commit(doing).await?;
        codes.extend(drawn);
        Ok(codes)
    }

    /// Adds codes; gives how many were new.
    pub async fn import_codes(&self, coupon: &str, codes: &[String]) -> Result<u64, Error> {
        const CHUNK: usize = 2000;
        let doing = "import codes of coupons";
        let mut new = 0;
        for codes in codes.chunks(CHUNK) {
            let mut change = self.change(doing).await?;
            let mut connection = change.connection();
            let given = table(connection.dialect(), &[("coupon", Field::Text), ("code", Field::Text), ("place", Field::Long)]);
            let sql = format!(
                "INSERT INTO coupons (coupon, code, number)
                 SELECT given.coupon, given.code, given.place + COALESCE((SELECT MAX(c.number) FROM coupons c WHERE c.coupon = given.coupon), 0)
                 FROM {given} AS given WHERE true ON CONFLICT (coupon, code) DO NOTHING"
            );
            let row = |(place, code): (usize, &String)| json!({ "coupon": coupon, "code": code, "place": place + 1 });
            let rows = json!(codes.iter().enumerate().map(row).collect::<Vec<_>>()).to_string();
            new += connection.write(doing, sql, &rows).await?;
            change.commit(doing).await?;
        }
        Ok(new)
    }
}
