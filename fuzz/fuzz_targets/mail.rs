//! Any bytes are a mail: `cargo +nightly fuzz run --release mail` (the parser's debug assertions are off in a release, as in the product).
#![no_main]

use libfuzzer_sys::fuzz_target;
use posthaste::inbound::mail;

fuzz_target!(|raw: &[u8]| {
    for recipient in mail::read(raw).recipients {
        assert!(recipient.diagnostic.len() <= 1_024);
        let _ = recipient.class();
    }
});
