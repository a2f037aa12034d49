//! New customers on their way into PostgreSQL by COPY, several times as fast as statements with values: in its text format
//! (<https://www.postgresql.org/docs/current/sql-copy.html>, "Text Format").
//!
//! Many at once: the driver sends the end of the rows by itself, and where the network waits for an answer before it sends something small (Nagle's
//! algorithm), each COPY takes 40 ms longer than its rows.

use super::consents::latest;
use super::customers::Changes;
use super::{Doing, Error};
use sqlx::{Connection, PgConnection};
use std::collections::HashSet;

/// New customers with their addresses and consents.
#[derive(Default)]
pub(super) struct Newcomers {
    customers: Rows,
    addresses: Rows,
    consents: Rows,
    states: Rows,
    /// How many customers, and the number of the last one.
    pub count: usize,
    last: i64,
}

impl Newcomers {
    /// Takes a batch of nobody but new customers, who are numbered from the one after `before`; gives back any other batch.
    pub fn take(&mut self, changes: Box<Changes>, before: i64) -> Result<(), Box<Changes>> {
        let only_new = changes.changed.is_empty()
            && changes.cleared.is_empty()
            && changes.suppressions.is_empty()
            && changes.addresses.iter().all(|address| address.customer < 0)
            && changes.consents.iter().all(|consent| consent.customer < 0);
        if !only_new {
            return Err(changes);
        }
        for (number, customer) in (before + 1..).zip(&changes.new) {
            let attributes = serde_json::to_string(&customer.attributes).unwrap_or_else(|_| "{}".into());
            self.customers
                .number(number)
                .maybe_text(customer.external_id.as_deref())
                .text(&customer.draw_key)
                .maybe_text(customer.first_name.as_deref())
                .maybe_text(customer.last_name.as_deref())
                .maybe_text(customer.language.as_deref())
                .maybe_text(customer.country.as_deref())
                .maybe_text(customer.zone.as_deref())
                .text(&attributes)
                .maybe_text(customer.folded.as_deref())
                .number(customer.created_at)
                .number(customer.updated_at)
                .end();
        }
        for address in &changes.addresses {
            let row = self.addresses.number(before - address.customer).number(address.channel).text(&address.address);
            row.number(i16::from(address.is_primary)).bytes(&address.key).text(&address.site).end();
        }
        let mut known = HashSet::with_capacity(changes.consents.len());
        for consent in changes.consents.iter().filter(|consent| known.insert((consent.customer, consent.source_key))) {
            let row =
                self.consents.number(before - consent.customer).text(&consent.topic).number(consent.channel).number(consent.state.code());
            let row = row.number(consent.at).number(consent.received_at).text(&consent.source).maybe_text(consent.proof.as_deref());
            row.bytes(&consent.source_key).maybe_number(consent.until).end();
        }
        // In the order of their numbers, which are negative and count down.
        for consent in latest(&changes.consents).into_iter().rev() {
            let row =
                self.states.number(before - consent.customer).text(&consent.topic).number(consent.channel).number(consent.state.code());
            row.number(consent.at).number(i16::from(consent.proof.is_some())).maybe_number(consent.until).end();
        }
        self.count += changes.new.len();
        self.last = before + changes.new.len() as i64;
        Ok(())
    }

    /// Stores all that were taken, in a transaction of each connection at the same time; the customers are committed last. Whoever comes after them gets the
    /// next number.
    pub async fn store(self, alone: &mut PgConnection, beside: &mut PgConnection, doing: &'static str) -> Result<(), Error> {
        if self.count == 0 {
            return Ok(());
        }
        let mut people = alone.begin().await.doing(doing)?;
        let mut theirs = beside.begin().await.doing(doing)?;
        // One may wait long for the other.
        for transaction in [&mut people, &mut theirs] {
            let sql = "SET LOCAL idle_in_transaction_session_timeout = 0";
            sqlx::query(sql).execute(&mut **transaction).await.doing(doing)?;
        }
        let send_people = async {
            let into = "customers (id, external_id, draw_key, first_name, last_name, language, country, zone, attributes, folded, created_at, updated_at)";
            self.customers.send(&mut people, into, doing).await?;
            let sql = "SELECT setval(pg_get_serial_sequence('customers', 'id'), $1)";
            sqlx::query(sql).bind(self.last).execute(&mut *people).await.doing(doing)
        };
        let send_theirs = async {
            let columns = [
                "(customer_id, channel, address, is_primary, key, site)",
                "(customer_id, topic, channel, state, at, received_at, source, proof, source_key, until)",
                "(customer_id, topic, channel, state, at, has_proof, until)",
            ];
            for ((rows, table), columns) in [self.addresses, self.consents, self.states].into_iter().zip(COPIED_FIRST).zip(columns) {
                rows.send(&mut theirs, &format!("{table} {columns}"), doing).await?;
            }
            Ok(())
        };
        let (sent_people, sent_theirs) = tokio::join!(send_people, send_theirs);
        sent_people?;
        sent_theirs?;
        theirs.commit().await.doing(doing)?;
        people.commit().await.doing(doing)
    }
}

/// Tables whose rows are committed before their customers are.
pub(super) const COPIED_FIRST: [&str; 3] = ["addresses", "consents", "consent_state"];

/// Bytes that are sent at once.
const PIECE: usize = 256 << 10;

/// Rows of one table.
#[derive(Default)]
struct Rows {
    text: String,
    /// A row is open.
    is_open: bool,
}

impl Rows {
    fn next(&mut self) {
        if self.is_open {
            self.text.push('\t');
        }
        self.is_open = true;
    }

    fn number(&mut self, number: impl Into<i64>) -> &mut Self {
        use std::fmt::Write;
        self.next();
        let number: i64 = number.into();
        let _ = write!(self.text, "{number}");
        self
    }

    fn maybe_number(&mut self, number: Option<i64>) -> &mut Self {
        match number {
            Some(number) => self.number(number),
            None => self.nothing(),
        }
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.next();
        let mut rest = text;
        while let Some(at) = rest.find(['\\', '\t', '\n', '\r']) {
            let (before, after) = rest.split_at(at);
            self.text.push_str(before);
            self.text.push_str(match after.as_bytes()[0] {
                b'\t' => "\\t",
                b'\n' => "\\n",
                b'\r' => "\\r",
                _ => "\\\\",
            });
            rest = &after[1..];
        }
        self.text.push_str(rest);
        self
    }

    fn maybe_text(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.text(text),
            None => self.nothing(),
        }
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.next();
        self.text.push_str("\\\\x");
        self.text.push_str(&hex::encode(bytes));
        self
    }

    fn nothing(&mut self) -> &mut Self {
        self.next();
        self.text.push_str("\\N");
        self
    }

    fn end(&mut self) {
        self.text.push('\n');
        self.is_open = false;
    }

    /// `into`: the table and its columns.
    async fn send(self, connection: &mut PgConnection, into: &str, doing: &'static str) -> Result<(), Error> {
        if self.text.is_empty() {
            return Ok(());
        }
        let mut copy = connection.copy_in_raw(&format!("COPY {into} FROM STDIN")).await.doing(doing)?;
        // In pieces: the driver keeps a copy of what it sends.
        for piece in self.text.as_bytes().chunks(PIECE) {
            if let Err(error) = copy.send(piece).await {
                let _ = copy.abort("the rows could not be sent").await;
                return Err(error).doing(doing);
            }
        }
        copy.finish().await.doing(doing).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_to_copy_is_escaped() {
        let mut rows = Rows::default();
        rows.number(7_i64).text("a\tb\\N\r\n").maybe_text(None).bytes(&[0, 255]).maybe_number(Some(-1)).end();
        rows.text("").maybe_number(None).end();
        assert_eq!(rows.text, "7\ta\\tb\\\\N\\r\\n\t\\N\t\\\\x00ff\t-1\n\t\\N\n");
    }
}
