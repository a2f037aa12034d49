//! Nothing that is made up is taken for proved. The first byte chooses the provider; what stands before the first line end is its signature.
//! `cargo +nightly fuzz run webhooks_verify`
#![no_main]

use libfuzzer_sys::fuzz_target;
use posthaste::webhooks::{Kind, Locks, Request, verify};

/// Every header that some provider puts its proof into.
const HEADERS: [&str; 16] = [
    "x-twilio-email-event-webhook-signature",
    "x-twilio-signature",
    "signature",
    "mailtrap-signature",
    "x-mandrill-signature",
    "x-postal-signature",
    "x-postal-signature-256",
    "svix-signature",
    "webhook-signature",
    "x-mom-webhook-signature",
    "authorization",
    "messagebird-signature-jwt",
    "messagebird-signature",
    "x-plivo-signature-v3",
    "svix-id",
    "svix-timestamp",
];

fuzz_target!(|data: &[u8]| {
    let [kind, rest @ ..] = data else { return };
    let kind = Kind::ALL[usize::from(*kind) % Kind::ALL.len()];
    let mut parts = rest.splitn(2, |byte| *byte == b'\n');
    let (given, body) = (String::from_utf8_lossy(parts.next().unwrap_or_default()), parts.next().unwrap_or_default());
    let headers: Vec<(String, String)> = HEADERS.iter().map(|name| (name.to_string(), given.to_string())).collect();
    let request = Request { method: "POST", url: "https://hooks.example.test/?a=1", headers: &headers, body };
    let locks = Locks { keys: vec!["bm9ib2R5IGtub3dzIHRoaXMga2V5".into()], topics: vec!["arn:ours".into()], ..Locks::default() };
    let now = chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap_or_default();
    assert!(verify(kind, &locks, &request, None, Some(&given), now).is_err());
});
