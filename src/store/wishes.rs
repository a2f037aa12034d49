//! What a person asks for on a page of ours: topics, language, a pause of advertising, an objection; and what stands of it.
//!
//! All that one press of a button asks for is kept in one transaction, with proof. Only from here an objection is taken back and a pause ended,
//! since only the person may do it. A pause is a suppression of the addresses that the person has today: of advertising, until a time.

use super::batch::{Connection, Field, table};
use super::consents::{self, ConsentRow};
use super::responses::digest;
use super::{Error, Store, micros};
use crate::types::{Channel, ConsentState, SuppressionReason, Time};
use serde_json::json;
use std::collections::BTreeMap;

/// A consent as a page gives or takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// `*` for all.
    pub topic: String,
    pub channel: Channel,
    pub state: ConsentState,
}

/// What a person asks for at once; what is empty stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wishes {
    pub choices: Vec<Choice>,
    pub language: Option<String>,
    pub pause: Option<Pause>,
    pub objection: Option<Objection>,
}

/// A pause of advertising.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    Until(Time),
    /// Advertising may come again now.
    End,
}

/// An objection to advertising and profiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objection {
    Raise,
    /// It is taken back. Nothing that was agreed to before comes to life by it.
    TakeBack,
}

/// Who asks, when, and what proves it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub customer: i64,
    pub at: Time,
    /// In words: the message whose token opened the page, the page, and what it said.
    pub proof: &'a str,
}

/// What stands of a customer's wishes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// (topic, channel) → state, and since when in microseconds.
    pub consents: BTreeMap<(String, i16), (ConsentState, i64)>,
    /// Channel → primary address.
    pub addresses: BTreeMap<i16, String>,
    /// Microseconds: until then the customer's addresses are not sent advertising.
    pub paused_until: Option<i64>,
}

impl Standing {
    /// Since when the customer objects to advertising and profiling.
    pub fn objected_since(&self) -> Option<i64> {
        self.consents.values().filter(|(state, _)| *state == ConsentState::Objected).map(|(_, at)| *at).min()
    }
}

const DOING: &str = "keep what a customer chose";

impl Store {
    /// What stands of a customer's wishes.
    pub async fn standing(&self, customer: i64, now: Time) -> Result<Standing, Error> {
        let doing = "read what a customer chose";
        let given = table(self.dialect(), &[("id", Field::Long), ("now", Field::Long)]);
        let row = json!([{ "id": customer, "now": micros(now) }]).to_string();
        let consents =
            format!("SELECT s.topic, s.channel, s.state, s.at FROM {given} AS given JOIN consent_state s ON s.customer_id = given.id");
        let consents: Vec<(String, i16, i16, i64)> = self.read_batch(doing, consents, &row).await?;
        let addresses = format!(
            "SELECT a.channel, a.address, CASE WHEN s.until > given.now THEN s.until END
             FROM {given} AS given JOIN addresses a ON a.customer_id = given.id LEFT JOIN suppressions s ON s.key = a.key
             ORDER BY a.is_primary, a.address DESC"
        );
        let addresses: Vec<(i16, String, Option<i64>)> = self.read_batch(doing, addresses, &row).await?;
        Ok(Standing {
            consents: consents
                .into_iter()
                .filter_map(|(topic, channel, state, at)| Some(((topic, channel), (ConsentState::from_code(state)?, at))))
                .collect(),
            paused_until: addresses.iter().filter_map(|(.., until)| *until).max(),
            // The primary one comes last.
            addresses: addresses.into_iter().map(|(channel, address, _)| (channel, address)).collect(),
        })
    }

    /// Keeps what a customer asks for. Asking twice is asking once.
    pub async fn keep_wishes(&self, asked: &Asked<'_>, wishes: &Wishes) -> Result<(), Error> {
        if *wishes == Wishes::default() {
            return Ok(());
        }
        let mut change = self.change(DOING).await?;
        let mut connection = change.connection();
        let mut rows = Vec::new();
        match wishes.objection {
            Some(Objection::TakeBack) => rows.extend(take_back(&mut connection, asked).await?),
            Some(Objection::Raise) => {
                let everywhere = Channel::ALL.iter().map(|channel| {
                    let choice = Choice { topic: "*".into(), channel: *channel, state: ConsentState::Objected };
                    row(asked, &choice, micros(asked.at))
                });
                rows.extend(everywhere);
                forget_engagement(&mut connection, asked).await?;
            }
            None => {}
        }
        rows.extend(wishes.choices.iter().map(|choice| row(asked, choice, micros(asked.at))));
        consents::append(&mut connection, &rows).await?;
        consents::keep_starts(&mut connection, &rows).await?;
        if let Some(language) = &wishes.language {
            speak(&mut connection, asked, language).await?;
        }
        if let Some(pause) = wishes.pause {
            keep_pause(&mut connection, asked, pause).await?;
        }
        change.commit(DOING).await
    }
}

fn row(asked: &Asked<'_>, choice: &Choice, at: i64) -> ConsentRow {
    let state = choice.state.code().to_be_bytes();
    ConsentRow {
        customer: asked.customer,
        topic: choice.topic.clone(),
        channel: choice.channel.code(),
        state: choice.state,
        at,
        received_at: micros(asked.at),
        source: "preferences".into(),
        proof: Some(asked.proof.to_string()),
        until: None,
        source_key: digest(&[b"choice", choice.topic.as_bytes(), &choice.channel.code().to_be_bytes(), &state, &at.to_be_bytes()]),
    }
}

/// Turns the objection into a withdrawal of everything, a moment before whatever else is chosen now.
async fn take_back(connection: &mut Connection<'_>, asked: &Asked<'_>) -> Result<Vec<ConsentRow>, Error> {
    let at = micros(asked.at) - 1;
    let given = table(connection.dialect(), &[("id", Field::Long), ("at", Field::Long)]);
    let sql = format!(
        "UPDATE consent_state SET state = {withdrawn}, at = given.at, has_proof = 1, until = NULL FROM {given} AS given
         WHERE consent_state.customer_id = given.id AND consent_state.state = {objected}",
        withdrawn = ConsentState::Withdrawn.code(),
        objected = ConsentState::Objected.code()
    );
    let changed = connection.write(DOING, sql, &json!([{ "id": asked.customer, "at": at }]).to_string()).await?;
    let withdrawn = |channel: &Channel| {
        let choice = Choice { topic: "*".into(), channel: *channel, state: ConsentState::Withdrawn };
        row(asked, &choice, at)
    };
    Ok(if changed == 0 { Vec::new() } else { Channel::ALL.iter().map(withdrawn).collect() })
}

/// How engaged somebody is, is a score; who objected has none.
async fn forget_engagement(connection: &mut Connection<'_>, asked: &Asked<'_>) -> Result<(), Error> {
    let given = table(connection.dialect(), &[("id", Field::Long)]);
    let sql =
        format!("UPDATE addresses SET engaged_at = NULL WHERE customer_id IN (SELECT id FROM {given} AS given) AND engaged_at IS NOT NULL");
    connection.write(DOING, sql, &json!([{ "id": asked.customer }]).to_string()).await.map(drop)
}

async fn speak(connection: &mut Connection<'_>, asked: &Asked<'_>, language: &str) -> Result<(), Error> {
    let given = table(connection.dialect(), &[("id", Field::Long), ("language", Field::Text), ("at", Field::Long)]);
    // The copy in lower case is of the language before.
    let folded = connection.pick("json_remove(folded, '$.language')", "folded - 'language'");
    let sql = format!(
        "UPDATE customers SET language = given.language, folded = {folded}, updated_at = given.at
         FROM {given} AS given WHERE customers.id = given.id AND customers.erased_at IS NULL"
    );
    let row = json!([{ "id": asked.customer, "language": language, "at": micros(asked.at) }]).to_string();
    connection.write(DOING, sql, &row).await.map(drop)
}

/// A pause takes the place of the pause before. A suppression for another reason stays, and lasts as long as the pause at least.
async fn keep_pause(connection: &mut Connection<'_>, asked: &Asked<'_>, pause: Pause) -> Result<(), Error> {
    let until = match pause {
        Pause::Until(until) => Some(micros(until)),
        Pause::End => None,
    };
    let given = table(connection.dialect(), &[("id", Field::Long), ("at", Field::Long), ("until", Field::Long)]);
    let paused = SuppressionReason::Paused.code();
    let sql = match pause {
        Pause::End => format!(
            "DELETE FROM suppressions WHERE reason = {paused}
             AND key IN (SELECT a.key FROM {given} AS given JOIN addresses a ON a.customer_id = given.id)"
        ),
        // Two ways to write one address have one key.
        Pause::Until(_) => format!(
            "INSERT INTO suppressions (key, channel, reason, since, until, source)
             SELECT a.key, MIN(a.channel), {paused}, MIN(given.at), MIN(given.until), 'preferences'
             FROM {given} AS given JOIN addresses a ON a.customer_id = given.id WHERE true GROUP BY a.key ORDER BY a.key
             ON CONFLICT (key) DO UPDATE SET until = excluded.until
             WHERE suppressions.reason = {paused} OR excluded.until > suppressions.until"
        ),
    };
    let row = json!([{ "id": asked.customer, "at": micros(asked.at), "until": until }]).to_string();
    connection.write(DOING, sql, &row).await.map(drop)
}
