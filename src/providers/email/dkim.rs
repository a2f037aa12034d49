//! DKIM signatures: rsa-sha256 and ed25519-sha256, relaxed/relaxed (RFC 6376, 8301, 8463; standards.md §1.5).
//!
//! Written on aws-lc-rs, which signs four times as fast as what mail libraries bring. Both algorithms are deterministic: the same
//! message at the same time has the same signature. The message must be complete and in CRLF; dot-stuffing comes after.

use crate::types::Time;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Headers that are signed where present, in this order (standards.md §1.5).
const SIGNED: &[&str] = &[
    "from",
    "sender",
    "reply-to",
    "to",
    "cc",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "list-id",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "feedback-id",
    "auto-submitted",
];

/// Named once more than they occur, so that a copy that somebody adds on the way breaks the signature.
const OVERSIGNED: &[&str] = &[
    "from",
    "sender",
    "reply-to",
    "to",
    "cc",
    "subject",
    "date",
    "message-id",
    "content-type",
    "list-unsubscribe",
    "list-unsubscribe-post",
];

/// Why a key cannot be used, or a message not be signed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the DKIM key of {domain} cannot be read: {why}")]
    Key { domain: String, why: String },
    #[error("the message has no end of its headers")]
    NoHeaders,
    #[error("signing failed")]
    Failed,
}

/// Signs for one sending domain, with one key or with both kinds.
pub struct Signer {
    domain: String,
    keys: Vec<(String, Key)>,
}

enum Key {
    Rsa(Box<RsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Signer").field("domain", &self.domain).field("keys", &self.keys.len()).finish()
    }
}

impl Signer {
    /// A signer without keys: it signs nothing until one is added.
    pub fn new(domain: &str) -> Signer {
        Signer { domain: domain.to_ascii_lowercase(), keys: Vec::new() }
    }

    /// Reads the keys of a domain of posthaste.yaml; `resolve` replaces `${NAME}`. `None` where the domain has no DKIM.
    /// The ed25519 key is published under the selector with `-ed25519` behind it, since one DNS name holds one key.
    pub fn open(
        domain: &str,
        settings: &crate::campaigns::model::Dkim,
        resolve: &dyn Fn(&str) -> Result<String, String>,
    ) -> Result<Option<Signer>, Error> {
        let mut signer = Signer::new(domain);
        let text = |written: &str| resolve(written).map_err(|why| Error::Key { domain: domain.to_string(), why });
        if let Some(key) = &settings.key {
            signer = signer.with_key(&settings.selector, &text(key)?)?;
        }
        if let Some(key) = &settings.ed25519 {
            let selector = if settings.key.is_some() { format!("{}-ed25519", settings.selector) } else { settings.selector.clone() };
            signer = signer.with_key(&selector, &text(key)?)?;
        }
        Ok(if signer.keys.is_empty() { None } else { Some(signer) })
    }

    /// Adds a key: PEM (PKCS#8 or PKCS#1; line ends may be written as `\n`), base64 of the same, or base64 of a 32-byte Ed25519 seed.
    pub fn with_key(mut self, selector: &str, text: &str) -> Result<Signer, Error> {
        let key = Key::read(text).map_err(|why| Error::Key { domain: self.domain.clone(), why: why.to_string() })?;
        self.keys.push((selector.to_ascii_lowercase(), key));
        Ok(self)
    }

    /// Whether a signature takes hundreds of microseconds (RSA), not tens (Ed25519).
    pub fn is_slow(&self) -> bool {
        self.keys.iter().any(|(_, key)| matches!(key, Key::Rsa(_)))
    }

    /// What DNS must answer for each key: name and TXT value.
    pub fn records(&self) -> Vec<(String, String)> {
        let name = |selector: &str| format!("{selector}._domainkey.{}", self.domain);
        self.keys.iter().map(|(selector, key)| (name(selector), key.record())).collect()
    }

    /// Puts one DKIM-Signature for each key before the message.
    pub fn sign(&self, message: &mut Vec<u8>, now: Time) -> Result<(), Error> {
        if self.keys.is_empty() {
            return Ok(());
        }
        let signatures = self.signatures(message, now)?;
        message.splice(..0, signatures);
        Ok(())
    }

    /// The DKIM-Signature headers alone, each with its CRLF.
    pub fn signatures(&self, message: &[u8], now: Time) -> Result<Vec<u8>, Error> {
        let (headers, body) = split(message).ok_or(Error::NoHeaders)?;
        let hash = STANDARD.encode(body_hash(body));
        let (names, mut signed) = selected(&headers);
        let length = signed.len();
        let mut out = Vec::with_capacity(1024 * self.keys.len());
        for (selector, key) in &self.keys {
            signed.truncate(length);
            let start = out.len();
            out.extend_from_slice(
                format!(
                    "DKIM-Signature: v=1; a={}; c=relaxed/relaxed; d={};\r\n s={selector}; t={};\r\n h={names};\r\n bh={hash};\r\n b=",
                    key.algorithm(),
                    self.domain,
                    now.timestamp()
                )
                .as_bytes(),
            );
            signed.extend_from_slice(b"dkim-signature:");
            relaxed_value(&out[start + "DKIM-Signature:".len()..], &mut signed);
            let signature = STANDARD.encode(key.sign(&signed)?);
            for (number, line) in signature.as_bytes().chunks(72).enumerate() {
                if number > 0 {
                    out.extend_from_slice(b"\r\n ");
                }
                out.extend_from_slice(line);
            }
            out.extend_from_slice(b"\r\n");
        }
        Ok(out)
    }
}

impl Key {
    fn read(text: &str) -> Result<Key, &'static str> {
        let text = text.replace("\\n", "\n");
        let body: String = text.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect();
        let der = STANDARD.decode(body).map_err(|_| "it is neither PEM nor base64")?;
        if der.len() == 32 {
            return Ed25519KeyPair::from_seed_unchecked(&der).map(|key| Key::Ed25519(Box::new(key))).map_err(|_| "it is no Ed25519 seed");
        }
        if let Ok(key) = RsaKeyPair::from_pkcs8(&der).or_else(|_| RsaKeyPair::from_der(&der)) {
            return match key.public_modulus_len() >= 128 {
                true => Ok(Key::Rsa(Box::new(key))),
                false => Err("an RSA key needs 1024 bits at least, and should have 2048"),
            };
        }
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der)
            .map(|key| Key::Ed25519(Box::new(key)))
            .map_err(|_| "it is neither an RSA key of 2048 bits or more nor an Ed25519 key")
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Key::Rsa(_) => "rsa-sha256",
            Key::Ed25519(_) => "ed25519-sha256",
        }
    }

    fn record(&self) -> String {
        use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
        match self {
            Key::Rsa(key) => {
                let der: Result<PublicKeyX509Der<'_>, _> = key.public_key().as_der();
                format!("v=DKIM1; k=rsa; p={}", der.map(|der| STANDARD.encode(der.as_ref())).unwrap_or_default())
            }
            Key::Ed25519(key) => format!("v=DKIM1; k=ed25519; p={}", STANDARD.encode(key.public_key().as_ref())),
        }
    }

    fn sign(&self, signed: &[u8]) -> Result<Vec<u8>, Error> {
        match self {
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed, &mut signature).map_err(|_| Error::Failed)?;
                Ok(signature)
            }
            // RFC 8463 §3: the SHA-256 of the headers is what is signed.
            Key::Ed25519(key) => Ok(key.sign(digest(&SHA256, signed).as_ref()).as_ref().to_vec()),
        }
    }
}

/// Header lines (name, value with its folds) and the body.
type Parts<'a> = (Vec<(&'a [u8], &'a [u8])>, &'a [u8]);

fn split(message: &[u8]) -> Option<Parts<'_>> {
    let mut headers: Vec<(&[u8], &[u8])> = Vec::with_capacity(20);
    let mut at = 0;
    loop {
        let rest = &message[at..];
        if let Some(body) = rest.strip_prefix(b"\r\n") {
            return Some((headers, body));
        }
        // A header ends at the first CRLF that no white space follows.
        let mut end = 0;
        loop {
            end += rest[end..].windows(2).position(|pair| pair == b"\r\n")?;
            match rest.get(end + 2) {
                Some(b' ' | b'\t') => end += 2,
                _ => break,
            }
        }
        let colon = rest[..end].iter().position(|byte| *byte == b':')?;
        headers.push((&rest[..colon], &rest[colon + 1..end]));
        at += end + 2;
    }
}

/// The value of `h=` and the canonical form of the headers it names. Repeated names are taken from the bottom up.
fn selected(headers: &[(&[u8], &[u8])]) -> (String, Vec<u8>) {
    let mut names = String::with_capacity(400);
    let mut signed = Vec::with_capacity(1024);
    let mut column = 3;
    let mut add = |name: &str| {
        if !names.is_empty() {
            names.push(':');
            column += 1;
        }
        if column + name.len() > 74 {
            names.push_str("\r\n  ");
            column = 2;
        }
        names.push_str(name);
        column += name.len();
    };
    for name in SIGNED {
        for (_, value) in headers.iter().rev().filter(|(header, _)| header.trim_ascii().eq_ignore_ascii_case(name.as_bytes())) {
            add(name);
            signed.extend_from_slice(name.as_bytes());
            signed.push(b':');
            relaxed_value(value, &mut signed);
            signed.extend_from_slice(b"\r\n");
        }
        if OVERSIGNED.contains(name) {
            add(name);
        }
    }
    (names, signed)
}

/// Unfolded, runs of white space as one space, none at the ends (RFC 6376 §3.4.2).
fn relaxed_value(value: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let mut gap = false;
    for byte in value {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => gap = true,
            byte => {
                if gap && out.len() > start {
                    out.push(b' ');
                }
                gap = false;
                out.push(*byte);
            }
        }
    }
}

/// SHA-256 of the body in relaxed form (RFC 6376 §3.4.4): an empty body is the empty string.
fn body_hash(body: &[u8]) -> [u8; 32] {
    match canonical_as_it_is(body) {
        Some(canonical) => sha256(canonical),
        None => sha256(&canonical(body)),
    }
}

fn canonical(body: &[u8]) -> Vec<u8> {
    let mut canonical: Vec<u8> = Vec::with_capacity(body.len() + 2);
    let mut at = 0;
    // CRLFs of empty lines wait until a line with something in it follows: at the end they are dropped.
    let mut empty_lines = 0;
    while at < body.len() {
        let end = body[at..].iter().position(|byte| *byte == b'\n').map_or(body.len(), |length| at + length);
        let line = &body[at..end];
        let line = trimmed(line.strip_suffix(b"\r").unwrap_or(line));
        at = end + 1;
        if line.is_empty() {
            empty_lines += 1;
            continue;
        }
        for _ in 0..empty_lines {
            canonical.extend_from_slice(b"\r\n");
        }
        empty_lines = 0;
        squeezed(line, &mut canonical);
        canonical.extend_from_slice(b"\r\n");
    }
    canonical
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// The body without empty lines at its end, where nothing else of it has to be changed: most letters, since what is encoded has no white space in a row.
fn canonical_as_it_is(body: &[u8]) -> Option<&[u8]> {
    let mut end = body.len();
    while body[..end].ends_with(b"\r\n\r\n") {
        end -= 2;
    }
    let body = &body[..end];
    let is_canonical = body.ends_with(b"\r\n")
        && body != b"\r\n"
        && memchr::memchr(b'\t', body).is_none()
        && memchr::memmem::find(body, b"  ").is_none()
        && memchr::memchr_iter(b'\n', body).all(|at| at > 0 && body[at - 1] == b'\r' && (at < 2 || body[at - 2] != b' '));
    is_canonical.then_some(body)
}

/// Without spaces and tabs at the end.
fn trimmed(mut line: &[u8]) -> &[u8] {
    while let [head @ .., b' ' | b'\t'] = line {
        line = head;
    }
    line
}

fn squeezed(line: &[u8], out: &mut Vec<u8>) {
    let white = |byte: u8| byte == b' ' || byte == b'\t';
    if !line.contains(&b'\t') && !line.windows(2).any(|pair| pair == b"  ") {
        out.extend_from_slice(line);
        return;
    }
    let mut before = false;
    for byte in line {
        if !white(*byte) {
            out.push(*byte);
        } else if !before {
            out.push(b' ');
        }
        before = white(*byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &str = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";

    fn at(seconds: i64) -> Time {
        Time::from_timestamp(seconds, 0).unwrap()
    }

    fn hash(body: &str) -> String {
        STANDARD.encode(body_hash(body.as_bytes()))
    }

    #[test]
    fn the_body_is_hashed_in_relaxed_form() {
        // RFC 6376 §3.4.4: the hash of an empty body under relaxed is that of the empty string.
        let empty = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        // RFC 8463 appendix A.
        let sample = "Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n";
        for (body, expected) in [
            ("", empty),
            ("\r\n\r\n", empty),
            (" \t\r\n", empty),
            (sample, "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="),
            (&format!("{sample}\r\n\r\n"), "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="),
            (&sample.replace("  Are", " \t Are").replace("Joe.", "Joe. \t"), "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="),
        ] {
            assert_eq!(hash(body), expected, "{body:?}");
        }
    }

    proptest::proptest! {
        /// What need not be changed is what changing it gives.
        #[test]
        fn a_canonical_body_is_known_as_such(body in "[a \\t\\r\\n]{0,12}", lines in proptest::collection::vec("[ab]{0,3}( [ab]{1,3}){0,2}", 0..6)) {
            for body in [body, lines.join("\r\n"), lines.join("\r\n") + "\r\n"] {
                if let Some(same) = canonical_as_it_is(body.as_bytes()) {
                    proptest::prop_assert_eq!(same, canonical(body.as_bytes()));
                }
            }
        }
    }

    #[test]
    fn most_letters_are_hashed_as_they_are() {
        for body in ["Hi.\r\n", "\r\nHi there.\r\n\r\nJoe.\r\n\r\n\r\n"] {
            assert!(canonical_as_it_is(body.as_bytes()).is_some(), "{body:?}");
        }
        for body in ["", "\r\n", "Hi", "a  b\r\n", "a\tb\r\n", "a \r\nb\r\n", "a\nb\r\n", " \r\n"] {
            assert!(canonical_as_it_is(body.as_bytes()).is_none(), "{body:?}");
        }
    }

    #[test]
    fn a_second_copy_of_a_header_is_named_once_more_than_it_occurs() {
        let message = b"From: a@b.example\r\nSubject: x\r\nX-Other: y\r\nTo: c@d.example\r\n\r\nHi\r\n".to_vec();
        let signature = Signer::new("b.example").with_key("s", SEED).unwrap().signatures(&message, at(1_700_000_000)).unwrap();
        let text = String::from_utf8(signature).unwrap().replace("\r\n ", "").replace(' ', "");
        let names = text.split("h=").nth(1).unwrap().split(';').next().unwrap();
        assert_eq!(
            names,
            "from:from:sender:reply-to:to:to:cc:subject:subject:date:message-id:content-type:list-unsubscribe:list-unsubscribe-post"
        );
    }

    #[test]
    fn a_key_is_read_in_every_form_and_nonsense_is_refused() {
        assert!(Signer::new("b.example").with_key("s", "no key").is_err());
        assert!(Signer::new("b.example").with_key("s", "AAAA").is_err());
        let signer = Signer::new("b.example").with_key("S1", SEED).unwrap();
        // The public key of RFC 8463 appendix A.
        assert_eq!(
            signer.records(),
            [("s1._domainkey.b.example".to_string(), "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=".to_string())]
        );
    }
}
