//! Twilio: status callbacks and texts from outside, forms signed over the public address and the sorted fields.
//!
//! Twilio does not say whether it signed the address with its port; behind a proxy the port may have changed, so each way is tried.

use super::fields::{Unreadable, form, owned, pairs, value};
use super::signing::{fits, is_base64, is_hex, keyed, sha256};
use super::told::{Keyword, List, Told, What};
use super::{Refused, Request};
use crate::store::tallies::Bounce;
use crate::types::Time;
use aws_lc_rs::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY;

pub(super) fn verify(key: &str, request: &Request<'_>, _: Time) -> Result<(), Refused> {
    let given = request.header("x-twilio-signature").ok_or(Refused::Missing("X-Twilio-Signature"))?;
    let query = pairs(request.query().as_bytes());
    let is_form = request.content_type().to_ascii_lowercase().starts_with("application/x-www-form-urlencoded");
    let mut fields = Vec::new();
    match value(&query, "bodySHA256") {
        Some(hash) if !is_form => fits(is_hex(&sha256(&[request.body]), hash))?,
        // Any other body would not be covered.
        _ if !is_form && !request.body.is_empty() => return Err(Refused::Signature),
        _ => fields = pairs(request.body),
    }
    fields.sort();
    fields.dedup();
    let mut fit = false;
    for url in with_and_without_port(request.url) {
        let mut signed = url;
        fields.iter().for_each(|(name, value)| signed.extend([name.as_str(), value.as_str()]));
        fit |= is_base64(&keyed(HMAC_SHA1_FOR_LEGACY_USE_ONLY, key.as_bytes(), &[signed.as_bytes()]), given);
    }
    fits(fit)
}

/// The address as it is, without its port, and with the usual one.
fn with_and_without_port(url: &str) -> Vec<String> {
    let mut forms = vec![url.to_string()];
    let Some((scheme, rest)) = url.split_once("://") else { return forms };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let usual = if scheme.eq_ignore_ascii_case("https") { "443" } else { "80" };
    match authority.rsplit_once(':').filter(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())) {
        Some((host, _)) => forms.push(format!("{scheme}://{host}{path}")),
        None => forms.push(format!("{scheme}://{authority}:{usual}{path}")),
    }
    forms
}

pub(super) fn read(request: &Request<'_>) -> Result<Vec<Told>, Unreadable> {
    let fields = form(request);
    let first = |names: &[&str]| names.iter().find_map(|name| owned(&fields, name)).filter(|text| !text.is_empty());
    let id = first(&["MessageSid", "SmsSid", "SmsMessageSid"]);
    if id.is_none() {
        return Err(Unreadable::Shape("a form without `MessageSid`"));
    }
    let status = first(&["MessageStatus", "SmsStatus"]).unwrap_or_default();
    // Who sends to us need not write anything.
    let is_text = matches!(status.as_str(), "received" | "receiving")
        || value(&fields, "MessageStatus").is_none() && value(&fields, "Body").is_some();
    if is_text {
        let keyword = match first(&["OptOutType"]).as_deref() {
            Some("STOP") => Some(Keyword::Stop),
            Some("START") => Some(Keyword::Start),
            Some("HELP") => Some(Keyword::Help),
            _ => None,
        };
        let text = owned(&fields, "Body").unwrap_or_default();
        let what = What::Text { to: first(&["To"]).unwrap_or_default(), text, keyword };
        return Ok(vec![Told::new(what, "received").event(id.clone()).message(id).person(first(&["From"]))]);
    }
    let code = first(&["ErrorCode"]);
    let what = match status.as_str() {
        "queued" | "accepted" | "scheduled" | "sending" | "sent" => What::Accepted,
        "delivered" | "read" => What::Delivered,
        "undelivered" | "failed" => failed(code.as_deref()),
        "canceled" => What::Failed,
        _ => What::Nothing,
    };
    let event = id.as_ref().map(|id| format!("{id}|{status}"));
    Ok(vec![Told::new(what, &status).event(event).message(id).person(first(&["To"])).reply(code).note(first(&["ErrorMessage"]))])
}

/// What an error means for the number (standards.md §3.6).
fn failed(code: Option<&str>) -> What {
    match code {
        Some("21610") => What::Listed(List::Unsubscribed),
        Some("21211" | "21614" | "21635" | "30005" | "30006") => What::Bounced(Bounce::Hard),
        Some("30002" | "30004" | "30007" | "30034" | "21408" | "21606" | "21612") => What::Bounced(Bounce::Blocked),
        _ => What::Bounced(Bounce::Soft),
    }
}
