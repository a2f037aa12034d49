//! Occurrences of schedules that went by without a run, and why.

use super::batch::{Connection, Field, table};
use super::{Doing, Error, Store, from_micros, micros};
use crate::on_pool;
use crate::types::{CampaignId, Time};
use serde::Serialize;
use serde_json::json;

/// Occurrences that followed each other and were not run for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MissedRow {
    pub first_at: Time,
    pub last_at: Time,
    /// As their runs would be named: the instant in UTC, or the local wall time with `zone: recipient`.
    pub first: String,
    pub last: String,
    pub occurrences: i64,
    pub why: String,
    /// When the engine found that they had gone by.
    pub noticed_at: Time,
}

impl Connection<'_> {
    /// Keeps what was missed, in the transaction that notes how far the schedule was looked at.
    pub(super) async fn note_missed(&mut self, campaign: CampaignId, missed: &[MissedRow]) -> Result<(), Error> {
        if missed.is_empty() {
            return Ok(());
        }
        let fields = [
            ("first_at", Field::Long),
            ("last_at", Field::Long),
            ("first_occurrence", Field::Text),
            ("last_occurrence", Field::Text),
            ("occurrences", Field::Long),
            ("why", Field::Text),
            ("noticed_at", Field::Long),
        ];
        let columns = fields.map(|(name, _)| name).join(", ");
        let sql = format!(
            "INSERT INTO missed (campaign_id, {columns}) SELECT {}, {columns} FROM {} AS given WHERE true ON CONFLICT (campaign_id, first_at) DO NOTHING",
            campaign.0,
            table(self.dialect(), &fields)
        );
        let row = |row: &MissedRow| {
            json!({ "first_at": micros(row.first_at), "last_at": micros(row.last_at), "first_occurrence": row.first,
                                "last_occurrence": row.last, "occurrences": row.occurrences, "why": row.why, "noticed_at": micros(row.noticed_at) })
        };
        let rows = json!(missed.iter().map(row).collect::<Vec<_>>()).to_string();
        self.write("note what was missed", sql, &rows).await.map(drop)
    }
}

impl Store {
    /// What a campaign has missed since `after`, the oldest first.
    pub async fn missed_of(&self, campaign: CampaignId, after: Time) -> Result<Vec<MissedRow>, Error> {
        let sql = "SELECT first_at, last_at, first_occurrence, last_occurrence, occurrences, why, noticed_at FROM missed
                   WHERE campaign_id = $1 AND last_at > $2 ORDER BY first_at";
        let rows: Vec<(i64, i64, String, String, i64, String, i64)> =
            on_pool!(self, pool => sqlx::query_as(sql).bind(campaign.0).bind(micros(after)).fetch_all(pool).await)
                .doing("read what was missed")?;
        let missed = |(first_at, last_at, first, last, occurrences, why, noticed_at)| MissedRow {
            first_at: from_micros(first_at),
            last_at: from_micros(last_at),
            first,
            last,
            occurrences,
            why,
            noticed_at: from_micros(noticed_at),
        };
        Ok(rows.into_iter().map(missed).collect())
    }
}
