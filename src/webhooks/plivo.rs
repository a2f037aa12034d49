//! Plivo: reports and texts as forms or queries, signed in version 3 over address, sorted query and sorted fields.

use super::fields::{Unreadable, form_or_json, owned, pairs, value, written};
use super::signing::{fits, is_base64, keyed};
use super::told::{List, Told, What};
use super::{Refused, Request};
use crate::store::tallies::Bounce;
use crate::types::Time;
use aws_lc_rs::hmac::HMAC_SHA256;

pub(super) fn verify(key: &str, request: &Request<'_>, _: Time) -> Result<(), Refused> {
    let given = request.header("x-plivo-signature-v3").ok_or(Refused::Missing("X-Plivo-Signature-V3"))?;
    let nonce = request.header("x-plivo-signature-v3-nonce").ok_or(Refused::Missing("X-Plivo-Signature-V3-Nonce"))?;
    let expected = keyed(HMAC_SHA256, key.as_bytes(), &[signed(request).as_bytes(), b".", nonce.as_bytes()]);
    // Each of the account's keys signs; they stand with commas between.
    let mut fit = false;
    for given in given.split(',') {
        fit |= is_base64(&expected, given.trim());
    }
    fits(fit)
}

fn signed(request: &Request<'_>) -> String {
    let mut query = pairs(request.query().as_bytes());
    query.sort();
    let query: Vec<String> = query.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    let query = query.join("&");
    let mut fields = if request.method == "GET" || request.body.is_empty() { Vec::new() } else { form_or_json(request) };
    fields.sort();
    let fields: String = fields.into_iter().flat_map(|(name, value)| [name, value]).collect();
    let base = request.url.split(['?', '#']).next().unwrap_or_default();
    match (query.is_empty(), fields.is_empty()) {
        (true, true) => base.to_string(),
        (false, true) => format!("{base}?{query}"),
        (true, false) => format!("{base}?{fields}"),
        (false, false) => format!("{base}?{query}.{fields}"),
    }
}

pub(super) fn read(request: &Request<'_>) -> Result<Vec<Told>, Unreadable> {
    let fields = form_or_json(request);
    let first = |names: &[&str]| names.iter().find_map(|name| owned(&fields, name)).filter(|text| !text.is_empty());
    let id = first(&["MessageUUID"]);
    if id.is_none() {
        return Err(Unreadable::Shape("without `MessageUUID`"));
    }
    let Some(status) = first(&["Status"]) else {
        let text = value(&fields, "Text").unwrap_or_default().to_string();
        let what = What::Text { to: first(&["To"]).unwrap_or_default(), text, keyword: None };
        return Ok(vec![Told::new(what, "received").event(id.clone()).message(id).person(first(&["From"]))]);
    };
    let code = first(&["ErrorCode"]);
    let what = match status.as_str() {
        "queued" | "sent" => What::Accepted,
        "delivered" | "read" => What::Delivered,
        "undelivered" | "failed" | "rejected" => failed(code.as_deref()),
        _ => What::Nothing,
    };
    // Each part of a long text has a number; `ParentMessageUUID` is what the message was accepted as.
    Ok(vec![
        Told::new(what, &status)
            .event(id.as_ref().map(|id| format!("{id}|{status}")))
            .message(first(&["ParentMessageUUID"]))
            .message(id)
            .person(first(&["To"]))
            .at(first(&["DeliveryReportTime", "SentTime"]).as_deref().and_then(written))
            .reply(code),
    ])
}

/// What an error means for the number (standards.md §3.6).
fn failed(code: Option<&str>) -> What {
    match code {
        Some("50" | "70") => What::Bounced(Bounce::Hard),
        Some("200") => What::Listed(List::Unsubscribed),
        Some("10" | "30" | "40" | "60" | "90" | "100" | "110" | "900" | "910") => What::Bounced(Bounce::Blocked),
        _ => What::Bounced(Bounce::Soft),
    }
}
