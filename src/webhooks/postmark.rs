//! Postmark. Nothing is signed: a secret address, and a login where it is set.

use super::Request;
use super::bounces::bounced;
use super::fields::{Unreadable, at, instant, is_true, json, object, rows, text, texts};
use super::told::{List, Told, What};
use crate::store::responses::Scope;
use crate::store::tallies::Bounce;
use serde_json::Value;

pub(super) fn read(request: &Request<'_>) -> Result<Vec<Told>, Unreadable> {
    Ok(rows(json(request.body)?)?.iter().map(told).collect())
}

fn told(row: &Value) -> Told {
    let record = text(row, &["RecordType"]).unwrap_or_default();
    let kind = text(row, &["Type"]).unwrap_or_default();
    let details = text(row, &["Details"]);
    let what = match record.as_str() {
        "Bounce" => bounce(&kind, details.as_deref()),
        "Delivery" => What::Delivered,
        "Open" => What::Opened { machine: false },
        "Click" => What::Clicked { machine: false },
        "SpamComplaint" => What::Complained,
        "SubscriptionChange" if !is_true(row, &["SuppressSending"]) => What::Subscribed,
        "SubscriptionChange" => match text(row, &["SuppressionReason"]).as_deref() {
            Some("HardBounce") => What::Listed(List::Bounced),
            Some("SpamComplaint") => What::Listed(List::Complained),
            // What a person or somebody of the workspace has asked for.
            _ => What::Unsubscribed(Scope::Everything),
        },
        _ => What::Nothing,
    };
    let id = text(row, &["ID"]).filter(|id| id != "0");
    let reply = details.filter(|_| record == "Bounce" || record == "SpamComplaint");
    let when = ["BouncedAt", "DeliveredAt", "ReceivedAt", "ChangedAt"].iter().find_map(|name| instant(row, &[*name]));
    let word = if kind.is_empty() { record.clone() } else { format!("{record} {kind}") };
    Told::new(what, word)
        .event(id.map(|id| format!("{record}|{id}")))
        .message(text(row, &["MessageID"]))
        .person(text(row, &["Recipient"]).or_else(|| text(row, &["Email"])))
        .at(when)
        .reply(reply)
        .note(text(row, &["Description"]))
        .url(text(row, &["OriginalLink"]))
        .agent(text(row, &["UserAgent"]))
        .tags(texts(at(row, &["Tag"])))
        .variables(object(row, &["Metadata"]))
        .known_by(&[&record])
}

fn bounce(kind: &str, details: Option<&str>) -> What {
    match kind {
        "HardBounce" | "BadEmailAddress" => bounced(Bounce::Hard, details),
        "ManuallyDeactivated" => What::Listed(List::Other),
        "SpamNotification" | "Blocked" | "DMARCPolicy" | "VirusNotification" | "ChallengeVerification" => What::Bounced(Bounce::Blocked),
        "SpamComplaint" => What::Complained,
        "Unsubscribe" => What::Unsubscribed(Scope::Everything),
        "Subscribe" => What::Subscribed,
        "AutoResponder" | "AddressChange" | "OpenRelayTest" => What::Answered,
        "TemplateRenderingFailed" | "InboundError" | "SMTPApiError" => What::Failed,
        // Transient, SoftBounce, DnsError, Undeterminable, and whatever will be added.
        _ => bounced(Bounce::Soft, details),
    }
}
