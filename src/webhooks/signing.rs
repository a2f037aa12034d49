//! Proofs that several providers share: keyed hashes, signatures, logins, tokens, and how old they may be. All comparisons take constant time.

use super::{Refused, Request, SKEW};
use crate::types::Time;
use aws_lc_rs::{constant_time, digest, hmac, signature};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use serde_json::{Map, Value};

pub(super) fn equal(a: &[u8], b: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(a, b).is_ok()
}

pub(super) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// The keyed hash of parts one behind the other.
pub(super) fn keyed(algorithm: hmac::Algorithm, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut context = hmac::Context::with_key(&hmac::Key::new(algorithm, key));
    parts.iter().for_each(|part| context.update(part));
    context.sign().as_ref().to_vec()
}

/// Whether `given` is `expected` in hexadecimal digits, small or capital but not mixed.
pub(super) fn is_hex(expected: &[u8], given: &str) -> bool {
    let small = hex::encode(expected);
    let capital = small.to_ascii_uppercase();
    equal(small.as_bytes(), given.as_bytes()) | equal(capital.as_bytes(), given.as_bytes())
}

/// Whether `given` is `expected` in base64.
pub(super) fn is_base64(expected: &[u8], given: &str) -> bool {
    equal(STANDARD.encode(expected).as_bytes(), given.as_bytes())
}

pub(super) fn fits(fits: bool) -> Result<(), Refused> {
    if fits { Ok(()) } else { Err(Refused::Signature) }
}

/// A key that is written in base64, with or without padding, line ends and PEM's frame.
pub(super) fn decoded(key: &str) -> Option<Vec<u8>> {
    let bare: String = key.lines().filter(|line| !line.starts_with("-----")).flat_map(str::chars).filter(|c| !c.is_whitespace()).collect();
    let bare = bare.replace("\\n", "");
    STANDARD.decode(&bare).or_else(|_| STANDARD_NO_PAD.decode(&bare)).ok()
}

/// A signature in base64 under a public key in DER (SubjectPublicKeyInfo).
pub(super) fn holds(algorithm: &'static dyn signature::VerificationAlgorithm, key: &[u8], message: &[u8], given: &str) -> bool {
    let Ok(given) = STANDARD.decode(given) else { return false };
    signature::UnparsedPublicKey::new(algorithm, key).verify(message, &given).is_ok()
}

/// Seconds since 1970, whole or with a fraction, not further than `most` before now and a little after.
pub(super) fn is_fresh(seconds: &str, now: Time, most: TimeDelta) -> Result<(), Refused> {
    let seconds: f64 = seconds.trim().parse().map_err(|_| Refused::Stale)?;
    // NaN and infinite numbers are in no range.
    let age = now.timestamp() as f64 - seconds;
    let range = -(SKEW.num_seconds() as f64)..=(most.max(SKEW).num_seconds() as f64 + 1.0);
    if range.contains(&age) { Ok(()) } else { Err(Refused::Stale) }
}

/// `Authorization: Basic`.
pub(super) fn basic(login: &str, request: &Request<'_>) -> Result<(), Refused> {
    let given =
        request.header("authorization").and_then(|value| value.split_once(' ')).filter(|(kind, _)| kind.eq_ignore_ascii_case("basic"));
    let given = given.and_then(|(_, value)| STANDARD.decode(value.trim()).ok()).unwrap_or_default();
    if equal(login.as_bytes(), &given) { Ok(()) } else { Err(Refused::Login) }
}

/// The claims of a JSON web token under HS256, HS384 or HS512; anything else (`none` above all) is refused.
pub(super) fn token(key: &str, token: &str) -> Result<Map<String, Value>, Refused> {
    let mut parts = token.split('.');
    let (Some(head), Some(claims), Some(given), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(Refused::Signature);
    };
    let read = |part: &str| -> Option<Map<String, Value>> { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok() };
    let algorithm = match read(head).as_ref().and_then(|head| head.get("alg")?.as_str()) {
        Some("HS256") => hmac::HMAC_SHA256,
        Some("HS384") => hmac::HMAC_SHA384,
        Some("HS512") => hmac::HMAC_SHA512,
        _ => return Err(Refused::Signature),
    };
    let expected = URL_SAFE_NO_PAD.encode(keyed(algorithm, key.as_bytes(), &[head.as_bytes(), b".", claims.as_bytes()]));
    fits(equal(expected.as_bytes(), given.as_bytes()))?;
    read(claims).ok_or(Refused::Signature)
}

/// Whether a token with `nbf` and `exp` counts now, give or take `leeway`.
pub(super) fn is_in_force(claims: &Map<String, Value>, now: Time, leeway: TimeDelta) -> Result<(), Refused> {
    let number = |name: &str| claims.get(name).and_then(Value::as_f64);
    let (now, leeway) = (now.timestamp() as f64, leeway.num_seconds() as f64);
    let begun = number("nbf").is_none_or(|from| now >= from - leeway);
    let lasts = number("exp").is_none_or(|until| now <= until + leeway);
    if begun && lasts { Ok(()) } else { Err(Refused::Stale) }
}

/// Whether a claim is the SHA-256 of `bytes` in hexadecimal digits.
pub(super) fn claims_hash(claims: &Map<String, Value>, name: &str, bytes: &[u8]) -> bool {
    claims.get(name).and_then(Value::as_str).is_some_and(|given| is_hex(&sha256(&[bytes]), given))
}

/// The scheme of Standard Webhooks: `v1,` and the base64 of HMAC-SHA-256 over `id.timestamp.body`; several signatures stand with blanks between.
/// `key` is base64, with `whsec_` before it or not.
pub(super) fn standard(key: &str, request: &Request<'_>, names: [&'static str; 3], version: &str, now: Time) -> Result<(), Refused> {
    let [id, timestamp, given] = names.map(|name| request.header(name).ok_or(Refused::Missing(name)));
    let (id, timestamp, given) = (id?, timestamp?, given?);
    let key = decoded(key.strip_prefix("whsec_").unwrap_or(key)).ok_or(Refused::Signature)?;
    // Svix's own libraries sign whole seconds, also where they write a fraction of one.
    let whole = timestamp.split('.').next().unwrap_or_default();
    let expected = keyed(hmac::HMAC_SHA256, &key, &[id.as_bytes(), b".", whole.as_bytes(), b".", request.body]);
    let mut found = false;
    for given in given.split(' ').filter_map(|given| given.strip_prefix(version)) {
        found |= is_base64(&expected, given);
    }
    fits(found)?;
    is_fresh(timestamp, now, SKEW)
}
