//! Vonage: receipts and texts of the SMS API (form, JSON or query, with a `sig` parameter) and of the Messages API (JSON, with a signed token).

use super::fields::{Unreadable, at, form_or_json, json, owned, pairs, text, written};
use super::signing::{fits, is_fresh, is_hex, keyed, token};
use super::told::{List, Told, What};
use super::{A_DAY, Refused, Request, signing};
use crate::store::tallies::Bounce;
use crate::types::Time;
use aws_lc_rs::hmac as strong;
use md5::{Digest as _, Md5};
use serde_json::{Map, Value};

pub(super) fn verify(key: &str, request: &Request<'_>, now: Time) -> Result<(), Refused> {
    let bearer = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    if let Some(bearer) = bearer {
        let claims = token(key, bearer)?;
        return claimed(&claims, request, now);
    }
    let mut fields = pairs(request.query().as_bytes());
    if !request.body.is_empty() {
        fields = form_or_json(request);
    }
    let given = owned(&fields, "sig").ok_or(Refused::Missing("sig, or a token in Authorization"))?;
    fields.retain(|(name, _)| name != "sig");
    let timestamp = owned(&fields, "timestamp").ok_or(Refused::Stale)?;
    fits(is_signed(key, fields, &given))?;
    let at = written(&timestamp).ok_or(Refused::Stale)?;
    is_fresh(&at.timestamp().to_string(), now, A_DAY)
}

/// `&name=value` by name; the length of the signature tells which hash the account has chosen.
fn is_signed(key: &str, mut fields: Vec<(String, String)>, given: &str) -> bool {
    fields.sort();
    let mut signed = String::new();
    for (name, value) in &fields {
        signed.extend(["&", name, "=", &value.replace(['&', '='], "_")]);
    }
    let strong = |algorithm| is_hex(&keyed(algorithm, key.as_bytes(), &[signed.as_bytes()]), given);
    match given.len() {
        // The oldest form, and HMAC-MD5.
        32 => {
            let mut plain = Md5::new();
            plain.update(signed.as_bytes());
            plain.update(key.as_bytes());
            is_hex(&plain.finalize(), given) | is_hex(&keyed_md5(key.as_bytes(), signed.as_bytes()), given)
        }
        40 => strong(strong::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
        64 => strong(strong::HMAC_SHA256),
        128 => strong(strong::HMAC_SHA512),
        _ => false,
    }
}

/// HMAC-MD5 (RFC 2104), which our library leaves out with good reason; accounts that chose it long ago still sign so.
fn keyed_md5(key: &[u8], message: &[u8]) -> [u8; 16] {
    let mut block = [0_u8; 64];
    match block.get_mut(..key.len()) {
        Some(place) => place.copy_from_slice(key),
        None => block[..16].copy_from_slice(&Md5::digest(key)),
    }
    let inner = Md5::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(message).finalize();
    Md5::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().into()
}

fn claimed(claims: &Map<String, Value>, request: &Request<'_>, now: Time) -> Result<(), Refused> {
    signing::is_in_force(claims, now, super::SKEW)?;
    let issued = claims.get("iat").and_then(Value::as_f64).ok_or(Refused::Stale)?;
    is_fresh(&issued.to_string(), now, A_DAY)?;
    // A body that the token does not name is not covered by it.
    let is_covered = match (request.body.is_empty(), claims.contains_key("payload_hash")) {
        (true, false) => true,
        _ => signing::claims_hash(claims, "payload_hash", request.body),
    };
    fits(is_covered)
}

pub(super) fn read(request: &Request<'_>) -> Result<Vec<Told>, Unreadable> {
    if let Ok(body) = json(request.body)
        && body.get("message_uuid").is_some()
    {
        return Ok(vec![messages(&body)]);
    }
    let fields = form_or_json(request);
    let first = |names: &[&str]| names.iter().find_map(|name| owned(&fields, name)).filter(|text| !text.is_empty());
    let id = first(&["messageId", "message-id"]);
    if id.is_none() {
        return Err(Unreadable::Shape("without `messageId` and `message_uuid`"));
    }
    let time = first(&["message-timestamp"]).as_deref().and_then(written);
    let Some(status) = first(&["status"]) else {
        // A long text comes in parts, each with a number of its own; each is a reply.
        let what = What::Text { to: first(&["to"]).unwrap_or_default(), text: first(&["text"]).unwrap_or_default(), keyword: None };
        return Ok(vec![Told::new(what, "received").event(id.clone()).message(id).person(first(&["msisdn"])).at(time)]);
    };
    let code = first(&["err-code"]);
    let what = match status.as_str() {
        "delivered" => What::Delivered,
        "accepted" | "buffered" | "unknown" => What::Accepted,
        "expired" | "failed" | "rejected" => failed(code.as_deref()),
        _ => What::Nothing,
    };
    let event = id.as_ref().map(|id| format!("{id}|{status}"));
    Ok(vec![Told::new(what, &status).event(event).message(id).echo(first(&["client-ref"])).person(first(&["msisdn"])).at(time).reply(code)])
}

/// What an error of a receipt means for the number (standards.md §3.6).
fn failed(code: Option<&str>) -> What {
    match code {
        Some("9") => What::Listed(List::Unsubscribed),
        Some("3" | "4") => What::Bounced(Bounce::Hard),
        Some("5" | "6" | "10" | "11" | "15" | "16" | "50" | "51" | "52" | "53" | "54") => What::Bounced(Bounce::Blocked),
        _ => What::Bounced(Bounce::Soft),
    }
}

fn messages(body: &Value) -> Told {
    let part = |path: &[&str]| text(body, path);
    let id = part(&["message_uuid"]);
    let time = super::fields::instant(body, &["timestamp"]);
    let Some(status) = part(&["status"]) else {
        let what = What::Text { to: part(&["to"]).unwrap_or_default(), text: part(&["text"]).unwrap_or_default(), keyword: None };
        return Told::new(what, "received").event(id.clone()).message(id).person(part(&["from"])).at(time);
    };
    let title = at(body, &["error"]).and_then(|error| text(error, &["title"]));
    let what = match status.as_str() {
        "submitted" => What::Accepted,
        "delivered" | "read" => What::Delivered,
        "rejected" | "undeliverable" => match title.as_deref() {
            // Of the table of the Messages API: barred, unroutable, no such number.
            Some("1120" | "1310" | "1331") => What::Bounced(Bounce::Hard),
            Some("1170") => What::Listed(List::Unsubscribed),
            Some("1000" | "1010" | "1020" | "1021" | "1022" | "1030" | "1040" | "1180" | "1200" | "1210") => What::Failed,
            _ => What::Bounced(Bounce::Soft),
        },
        _ => What::Nothing,
    };
    Told::new(what, &status)
        .event(id.as_ref().map(|id| format!("{id}|{status}")))
        .message(id)
        .echo(part(&["client_ref"]))
        .person(part(&["to"]))
        .at(time)
        .reply(title)
        .note(part(&["error", "detail"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keyed_md5_of_rfc_2202() {
        assert_eq!(hex::encode(keyed_md5(b"Jefe", b"what do ya want for nothing?")), "750c783e6ab0b503eaa86e310a5db738");
        assert_eq!(
            hex::encode(keyed_md5(&[0xaa; 80], b"Test Using Larger Than Block-Size Key - Hash Key First")),
            "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd"
        );
    }
}
