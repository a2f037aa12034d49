//! One customer with the history that a condition may ask for, in memory.

use crate::types::{Channel, Class, ConsentState, MessageState, Response, SuppressionReason, Time, Verdict};
use serde_json::Value;
use std::collections::BTreeMap;

/// Everything that a condition can see of one customer.
#[derive(Debug, Clone, Default)]
pub struct Person {
    /// What chance is drawn from.
    pub draw_key: String,
    pub external_id: Option<String>,
    /// The primary addresses.
    pub email: Option<String>,
    pub phone: Option<String>,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub language: Option<String>,
    pub country: Option<String>,
    pub zone: Option<String>,
    pub created_at: Time,
    /// A JSON object.
    pub attributes: Value,
    /// In the order in which they were recorded.
    pub events: Vec<PastEvent>,
    pub messages: Vec<PastMessage>,
    pub consents: Vec<PastConsent>,
    /// Primary addresses only.
    pub addresses: Vec<PastAddress>,
    /// Rows of catalogs that paths lead to: (catalog, key) → values.
    pub rows: BTreeMap<(String, String), Value>,
}

#[derive(Debug, Clone)]
pub struct PastEvent {
    pub name: String,
    pub at: Time,
    /// A JSON object.
    pub properties: Value,
}

/// A row of the ledger that is no test, and what became of it.
#[derive(Debug, Clone)]
pub struct PastMessage {
    pub campaign: String,
    pub class: Class,
    pub topic: Option<String>,
    pub category: Option<String>,
    pub tags: Vec<String>,
    pub channel: Channel,
    pub variant: Option<String>,
    pub state: MessageState,
    /// The number of a refusal or failure.
    pub reason: Option<i16>,
    pub selected_at: Time,
    /// The last change of state.
    pub changed_at: Time,
    pub accepted_at: Option<Time>,
    pub bounced_at: Option<Time>,
    pub responses: Vec<PastResponse>,
    /// When the run's goal was first reached.
    pub converted_at: Option<Time>,
}

#[derive(Debug, Clone)]
pub struct PastResponse {
    pub response: Response,
    pub at: Time,
    pub verdict: Verdict,
    /// The target of the link that was clicked, as written in the template.
    pub link: Option<String>,
}

#[derive(Debug, Clone)]
pub struct PastConsent {
    /// `*` for all topics.
    pub topic: String,
    pub channel: Channel,
    pub state: ConsentState,
    pub at: Time,
    pub has_proof: bool,
}

#[derive(Debug, Clone)]
pub struct PastAddress {
    pub channel: Channel,
    pub suppressed: Option<PastSuppression>,
}

#[derive(Debug, Clone, Copy)]
pub struct PastSuppression {
    pub reason: SuppressionReason,
    pub since: Time,
    pub until: Option<Time>,
}
