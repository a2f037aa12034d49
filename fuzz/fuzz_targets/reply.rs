//! Any text is a reply of a mail server: `cargo +nightly fuzz run reply`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use posthaste::providers::email::reply;

fuzz_target!(|reply: (u16, &str)| {
    let (code, text) = reply;
    let _ = reply::classify(code, text);
});
