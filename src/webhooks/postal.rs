//! Postal: RSA over the raw body, SHA-1 or (newer) SHA-256. The key is the public key of the installation's signing key, in base64.

use super::bounces::bounced;
use super::fields::{Unreadable, at, instant, json, text, texts};
use super::signing::{decoded, fits, holds};
use super::told::{Told, What};
use super::{Refused, Request};
use crate::store::tallies::Bounce;
use crate::types::Time;
use aws_lc_rs::signature::{RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY};
use serde_json::Value;

/// Postal makes keys of 1,024 bits unless it is given a longer one.
pub(super) fn verify(key: &str, request: &Request<'_>, _: Time) -> Result<(), Refused> {
    let key = decoded(key).ok_or(Refused::Signature)?;
    if let Some(given) = request.header("x-postal-signature-256") {
        return fits(holds(&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, &key, request.body, given));
    }
    let given = request.header("x-postal-signature").ok_or(Refused::Missing("X-Postal-Signature"))?;
    fits(holds(&RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY, &key, request.body, given))
}

pub(super) fn read(request: &Request<'_>) -> Result<Vec<Told>, Unreadable> {
    let body = json(request.body)?;
    let payload = at(&body, &["payload"]).cloned().unwrap_or_default();
    let (message, is_bounce) = match at(&payload, &["original_message"]) {
        Some(original) => (original.clone(), true),
        None => (at(&payload, &["message"]).cloned().unwrap_or_default(), false),
    };
    // Postal tells of mail that comes in, too.
    if text(&message, &["direction"]).as_deref() == Some("incoming") {
        return Ok(Vec::new());
    }
    let word = text(&body, &["event"]).unwrap_or_default();
    let output = text(&payload, &["output"]);
    Ok(vec![
        Told::new(what(&word, is_bounce, &payload, output.as_deref()), &word)
            .event(text(&body, &["uuid"]))
            .message(text(&message, &["id"]))
            .message(text(&message, &["message_id"]))
            .message(text(&message, &["token"]))
            .person(text(&message, &["to"]))
            .at(instant(&body, &["timestamp"]))
            .reply(output)
            .note(text(&payload, &["details"]))
            .url(text(&payload, &["url"]))
            .agent(text(&payload, &["user_agent"]))
            .tags(texts(at(&message, &["tag"])))
            .known_by(&[&word]),
    ])
}

fn what(word: &str, is_bounce: bool, payload: &Value, output: Option<&str>) -> What {
    match word {
        _ if is_bounce => bounced(Bounce::Soft, output),
        "MessageSent" => What::Delivered,
        "MessageDelayed" | "MessageHeld" => What::Deferred,
        "MessageDeliveryFailed" if text(payload, &["status"]).as_deref() == Some("HardFail") => bounced(Bounce::Hard, output),
        "MessageDeliveryFailed" => bounced(Bounce::Soft, output),
        "MessageLoaded" => What::Opened { machine: false },
        "MessageLinkClicked" => What::Clicked { machine: false },
        _ => What::Nothing,
    }
}
