//! Signed tokens of tracked addresses: `{kid}.{payload}.{mac}`, base64url without padding (standards.md §6).
//!
//! The MAC is HMAC-SHA-256 cut to 16 bytes over the key's name, the kind and the payload, so that a token of one kind is refused for
//! another. The target of a personal link travels inside, encrypted with the MAC as its IV (the SIV construction): one
//! input always makes one token, and whoever sees the address does not read what was filled in for the person.
//! Message 0 is nobody's (previews, tests of a letter): its links work and nothing is counted.

use crate::types::{Channel, MessageId, VersionId};
use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// What a token may be used for. The byte goes into the MAC and is never reused for another meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Click = b'c' as isize,
    Open = b'o' as isize,
    Unsubscribe = b'u' as isize,
    View = b'v' as isize,
    Preferences = b'p' as isize,
    Confirm = b'k' as isize,
    Conversion = b'x' as isize,
    /// The return path: what bounces.
    Bounce = b'b' as isize,
    /// Leaving by mail.
    Leave = b'l' as isize,
    /// The Message-ID: what is answered.
    Letter = b'm' as isize,
    /// When a form was opened.
    Form = b'f' as isize,
}

/// What a click token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Click {
    pub message: MessageId,
    pub version: VersionId,
    /// The link's number in its version, from 1.
    pub link: u32,
    /// On which channel the link was sent: what `utm_medium` says.
    pub channel: Channel,
    /// Whether utm parameters are added to a literal target on the way.
    pub utm: bool,
    /// The whole target of a personal link.
    pub target: Option<String>,
}

/// Why `POSTHASTE_SIGNING` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSigning {
    #[error("POSTHASTE_SIGNING is empty; write one or more `name:key`, separated by commas")]
    Empty,
    #[error("key {0} of POSTHASTE_SIGNING has no name; write `name:key`, the name from 1 to 8 letters and digits")]
    NoName(usize),
    #[error("the key `{0}` of POSTHASTE_SIGNING is shorter than 16 characters")]
    Short(String),
    #[error("POSTHASTE_SIGNING names `{0}` twice")]
    Twice(String),
}

/// The keys: the first signs, all verify.
pub struct Tokens {
    keys: Vec<Key>,
}

pub(super) struct Key {
    name: String,
    mac: hmac::Key,
    seal: EncryptingKey,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.keys.iter().map(|key| &key.name)).finish()
    }
}

impl Tokens {
    /// Reads `name:key,name2:key2`.
    pub fn new(written: &str) -> Result<Tokens, BadSigning> {
        let mut keys: Vec<Key> = Vec::new();
        for (place, pair) in written.split(',').map(str::trim).filter(|pair| !pair.is_empty()).enumerate() {
            let Some((name, secret)) = pair.split_once(':').filter(|(name, _)| is_name(name)) else {
                return Err(BadSigning::NoName(place + 1));
            };
            if secret.len() < 16 {
                return Err(BadSigning::Short(name.to_string()));
            }
            if keys.iter().any(|key| key.name == name) {
                return Err(BadSigning::Twice(name.to_string()));
            }
            keys.push(Key::new(name, secret).ok_or_else(|| BadSigning::Short(name.to_string()))?);
        }
        if keys.is_empty() { Err(BadSigning::Empty) } else { Ok(Tokens { keys }) }
    }

    /// A token for a message, for anything but a click.
    pub fn sign(&self, kind: Kind, message: MessageId) -> String {
        let mut payload = Vec::with_capacity(10);
        write_number(&mut payload, message.0 as u64);
        let key = &self.keys[0];
        let mac = key.mac(kind, &[&payload]);
        written(&key.name, &payload, &mac)
    }

    /// The message of a token of this kind; `None` when it is not ours, damaged, or of another kind.
    pub fn read(&self, kind: Kind, token: &str) -> Option<MessageId> {
        let (key, payload, mac) = self.parts(token)?;
        constant_time::verify_slices_are_equal(&key.mac(kind, &[&payload]), &mac).ok()?;
        let mut rest = payload.as_slice();
        let message = read_number(&mut rest)?;
        rest.is_empty().then_some(MessageId(message as i64))
    }

    /// A token for a tracked link.
    pub fn sign_click(&self, click: &Click) -> String {
        let mut payload = Vec::with_capacity(24 + click.target.as_ref().map_or(0, String::len));
        write_number(&mut payload, click.message.0 as u64);
        write_number(&mut payload, click.version.0 as u64);
        write_number(&mut payload, u64::from(click.link));
        payload.push(click.channel.code() as u8 | u8::from(click.utm) << 4 | u8::from(click.target.is_some()) << 5);
        let key = &self.keys[0];
        let target = click.target.as_deref().unwrap_or_default().as_bytes();
        let mac = key.mac(Kind::Click, &[&payload, target]);
        let start = payload.len();
        payload.extend_from_slice(target);
        key.encrypt(&mac, &mut payload[start..]);
        written(&key.name, &payload, &mac)
    }

    /// What a click token says; `None` when it is not ours, damaged, or of another kind.
    pub fn read_click(&self, token: &str) -> Option<Click> {
        let (key, mut payload, mac) = self.parts(token)?;
        let mut rest = payload.as_slice();
        let (message, version, link) = (read_number(&mut rest)?, read_number(&mut rest)?, read_number(&mut rest)?);
        let (&flags, sealed) = rest.split_first()?;
        let start = payload.len() - sealed.len();
        key.decrypt(&mac, &mut payload[start..])?;
        constant_time::verify_slices_are_equal(&key.mac(Kind::Click, &[&payload]), &mac).ok()?;
        let target = match flags & 0b10_0000 {
            0 if start == payload.len() => None,
            0 => return None,
            _ => Some(String::from_utf8(payload.split_off(start)).ok()?),
        };
        Some(Click {
            message: MessageId(message as i64),
            version: VersionId(version as i64),
            link: u32::try_from(link).ok()?,
            channel: Channel::from_code(i16::from(flags & 0b1111))?,
            utm: flags & 0b1_0000 != 0,
            target,
        })
    }

    pub(super) fn first(&self) -> &Key {
        &self.keys[0]
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter()
    }

    pub(super) fn parts(&self, token: &str) -> Option<(&Key, Vec<u8>, Vec<u8>)> {
        let mut parts = token.splitn(3, '.');
        let (name, payload, mac) = (parts.next()?, parts.next()?, parts.next()?);
        let key = self.keys.iter().find(|key| key.name == name)?;
        let mac = URL_SAFE_NO_PAD.decode(mac).ok().filter(|mac| mac.len() == MAC_LENGTH)?;
        Some((key, URL_SAFE_NO_PAD.decode(payload).ok()?, mac))
    }
}

const MAC_LENGTH: usize = 16;

impl Key {
    fn new(name: &str, secret: &str) -> Option<Key> {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let seal = UnboundCipherKey::new(&AES_256, hmac::sign(&secret, b"posthaste: seals targets").as_ref()).ok()?;
        Some(Key {
            name: name.to_string(),
            mac: hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&secret, b"posthaste: signs tokens").as_ref()),
            seal: EncryptingKey::ctr(seal).ok()?,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn mac(&self, kind: Kind, payload: &[&[u8]]) -> [u8; MAC_LENGTH] {
        let mut context = hmac::Context::with_key(&self.mac);
        context.update(self.name.as_bytes());
        context.update(&[0, kind as u8]);
        payload.iter().for_each(|part| context.update(part));
        let mut mac = [0; MAC_LENGTH];
        mac.copy_from_slice(&context.sign().as_ref()[..MAC_LENGTH]);
        mac
    }

    /// Counter mode: to encrypt and to decrypt are the same. False when the library refuses, which it does for no length that occurs.
    fn encrypt(&self, mac: &[u8; MAC_LENGTH], data: &mut [u8]) -> bool {
        data.is_empty() || self.seal.less_safe_encrypt(data, EncryptionContext::Iv128(FixedLength::from(mac))).is_ok()
    }

    fn decrypt(&self, mac: &[u8], data: &mut [u8]) -> Option<()> {
        let mac: &[u8; MAC_LENGTH] = mac.try_into().ok()?;
        self.encrypt(mac, data).then_some(())
    }
}

fn is_name(name: &str) -> bool {
    (1..=8).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

pub(super) fn written(name: &str, payload: &[u8], mac: &[u8]) -> String {
    let mut token = String::with_capacity(name.len() + 2 + (payload.len() + mac.len()) * 4 / 3 + 4);
    token.push_str(name);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(payload, &mut token);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(mac, &mut token);
    token
}

/// Seven bits a byte, the lowest first.
pub(super) fn write_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(super) fn read_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 7] = [Kind::Click, Kind::Open, Kind::Unsubscribe, Kind::View, Kind::Preferences, Kind::Confirm, Kind::Conversion];

    fn tokens() -> Tokens {
        Tokens::new("a1:0123456789abcdef0123, old:fedcba9876543210fedc").unwrap()
    }

    fn click(target: Option<&str>) -> Click {
        Click {
            message: MessageId(i64::MAX),
            version: VersionId(1 << 40),
            link: 65_535,
            channel: Channel::Email,
            utm: true,
            target: target.map(str::to_string),
        }
    }

    #[test]
    fn a_token_says_what_was_signed_and_only_as_its_kind() {
        let tokens = tokens();
        for kind in KINDS {
            let token = tokens.sign(kind, MessageId(4711));
            for other in KINDS {
                assert_eq!(tokens.read(other, &token), (kind == other).then_some(MessageId(4711)));
            }
            assert_eq!(tokens.read_click(&token), None);
        }
        for target in [None, Some("https://shop.example/ada?code=Ю"), Some("")] {
            let token = tokens.sign_click(&click(target));
            assert_eq!(tokens.read_click(&token), Some(click(target)));
            assert!(KINDS.iter().all(|kind| tokens.read(*kind, &token).is_none()));
            assert_eq!(token, tokens.sign_click(&click(target)), "one input, one token");
        }
    }

    #[test]
    fn a_literal_link_fits_into_120_characters_and_a_personal_one_is_not_readable() {
        let tokens = tokens();
        assert!(tokens.sign_click(&click(None)).len() <= 80);
        let token = tokens.sign_click(&click(Some("https://shop.example/?email=ada@example.org")));
        let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        assert!(!String::from_utf8_lossy(&payload).contains("ada"));
    }

    #[test]
    fn any_changed_bit_and_any_cut_makes_a_token_worthless() {
        let tokens = tokens();
        for token in [tokens.sign_click(&click(None)), tokens.sign_click(&click(Some("https://a.example/x")))] {
            for at in 0..token.len() {
                for bit in 0..8 {
                    let mut bytes = token.clone().into_bytes();
                    bytes[at] ^= 1 << bit;
                    if let Ok(changed) = String::from_utf8(bytes) {
                        assert_eq!(tokens.read_click(&changed), None, "{changed}");
                    }
                }
                assert_eq!(tokens.read_click(&token[..at]), None);
            }
            assert_eq!(tokens.read_click(&format!("{token}A")), None);
        }
    }

    #[test]
    fn the_first_key_signs_and_all_verify() {
        let old = Tokens::new("old:fedcba9876543210fedc").unwrap();
        let token = old.sign(Kind::Unsubscribe, MessageId(1));
        assert_eq!(tokens().read(Kind::Unsubscribe, &token), Some(MessageId(1)));
        assert_eq!(old.read(Kind::Unsubscribe, &tokens().sign(Kind::Unsubscribe, MessageId(1))), None);
        let namesake = Tokens::new("old:another-secret-of-that-name").unwrap();
        assert_eq!(namesake.read(Kind::Unsubscribe, &token), None);
    }

    #[test]
    fn a_list_of_keys_that_cannot_be_used_is_named() {
        let check = |written: &str, expected: BadSigning| assert_eq!(Tokens::new(written).unwrap_err(), expected);
        check(" , ", BadSigning::Empty);
        check("0123456789abcdef", BadSigning::NoName(1));
        check("a:0123456789abcdef,b.c:0123456789abcdef", BadSigning::NoName(2));
        check("a:short", BadSigning::Short("a".into()));
        check("a:0123456789abcdef,a:0123456789abcdef", BadSigning::Twice("a".into()));
    }
}
