//! Whatever a provider's address is sent is read or refused. The first byte chooses the provider, the second the kind of body.
//! `cargo +nightly fuzz run webhooks_read`
#![no_main]

use libfuzzer_sys::fuzz_target;
use posthaste::webhooks::{Kind, Request, dedupe, read};

const TYPES: [&str; 3] = ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"];

fuzz_target!(|data: &[u8]| {
    let [kind, content_type, body @ ..] = data else { return };
    let kind = Kind::ALL[usize::from(*kind) % Kind::ALL.len()];
    let headers = [("content-type".to_string(), TYPES[usize::from(*content_type) % TYPES.len()].to_string())];
    let request = Request { method: "POST", url: "https://hooks.example.test/", headers: &headers, body };
    let _ = read(kind, &request);
    let _ = dedupe(kind, &request);
});
