//! Tokens that travel inside addresses: the return path `b-TOKEN@…` (VERP), `u-TOKEN@…` for leaving by mail, and the Message-ID
//! (standards.md §1.4).
//!
//! Mail systems change the case of a local part, and 64 characters are all it may have: so lower-case base32, of the message's number, the last
//! day it is good for, and ten bytes of a MAC. The key's name is left out; every key is tried.

use super::tokens::{Kind, Tokens, read_number, write_number};
use crate::types::{MessageId, Time};
use aws_lc_rs::constant_time;
use chrono::TimeDelta;

/// 80 bits.
const MAC_LENGTH: usize = 10;
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// What a token of an address says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressed {
    Message(MessageId),
    /// Ours, but too old to change anything.
    Expired(MessageId),
    /// Not ours, damaged, or of another kind.
    Unknown,
}

impl Tokens {
    /// A token that is good for `days` days from `now` on (for ever where there are none).
    pub fn sign_address(&self, kind: Kind, message: MessageId, now: Time, days: Option<i64>) -> String {
        let mut payload = Vec::with_capacity(24);
        write_number(&mut payload, message.0 as u64);
        write_number(&mut payload, days.map_or(0, |days| day(now + TimeDelta::days(days)) + 1));
        let mac = self.first().mac(kind, &[IN_ADDRESS, &payload]);
        payload.extend(mac.iter().take(MAC_LENGTH));
        base32(&payload)
    }

    /// Reads a token, whatever became of its case on the way.
    pub fn read_address(&self, kind: Kind, token: &str, now: Time) -> Addressed {
        let Some(bytes) = (token.len() <= 64).then(|| from_base32(token)).flatten() else { return Addressed::Unknown };
        let Some((payload, mac)) = bytes.len().checked_sub(MAC_LENGTH).and_then(|at| bytes.split_at_checked(at)) else {
            return Addressed::Unknown;
        };
        let ours = self.all().any(|key| {
            let expected = key.mac(kind, &[IN_ADDRESS, payload]);
            expected.get(..MAC_LENGTH).is_some_and(|expected| constant_time::verify_slices_are_equal(expected, mac).is_ok())
        });
        let mut rest = payload;
        match (ours, read_number(&mut rest), read_number(&mut rest)) {
            (true, Some(message), Some(until)) if rest.is_empty() => {
                let message = MessageId(message as i64);
                if until == 0 || day(now) < until { Addressed::Message(message) } else { Addressed::Expired(message) }
            }
            _ => Addressed::Unknown,
        }
    }
}

/// Goes into the MAC: no such token is one of a link.
const IN_ADDRESS: &[u8] = b"\0address\0";

/// Days since 1970.
fn day(time: Time) -> u64 {
    u64::try_from(time.timestamp().div_euclid(86_400)).unwrap_or(0)
}

fn base32(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 8 / 5 + 1);
    let (mut held, mut bits) = (0u32, 0u32);
    let mut put = |five: u32| out.push(char::from(LETTERS[(five & 31) as usize]));
    for byte in bytes {
        held = held << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            put(held >> bits);
        }
        held &= (1 << bits) - 1;
    }
    if bits > 0 {
        put(held << (5 - bits));
    }
    out
}

/// The bytes; `None` for what [`base32`] does not write.
fn from_base32(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() * 5 / 8);
    let (mut held, mut bits) = (0u32, 0u32);
    for letter in text.bytes() {
        let five = match letter.to_ascii_lowercase() {
            letter @ b'a'..=b'z' => letter - b'a',
            digit @ b'2'..=b'7' => digit - b'2' + 26,
            _ => return None,
        };
        held = held << 5 | u32::from(five);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            out.push((held >> bits) as u8);
            held &= (1 << bits) - 1;
        }
    }
    // What is left over is nothing but padding.
    (bits < 5 && held == 0).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Tokens {
        Tokens::new("a1:0123456789abcdef0123, old:fedcba9876543210fedc").unwrap()
    }

    fn at(text: &str) -> Time {
        text.parse().unwrap()
    }

    #[test]
    fn a_token_says_its_message_until_its_day_is_over_in_any_case() {
        let (tokens, now) = (tokens(), at("2027-03-01T10:00:00Z"));
        for message in [0, 1, 300, 1 << 40, i64::MAX] {
            let token = tokens.sign_address(Kind::Bounce, MessageId(message), now, Some(30));
            assert!(token.len() + 2 <= 64 && token.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()), "{token}");
            let read = |token: &str, day: &str| tokens.read_address(Kind::Bounce, token, at(day));
            assert_eq!(read(&token, "2027-03-31T23:59:59Z"), Addressed::Message(MessageId(message)));
            assert_eq!(read(&token.to_uppercase(), "2027-03-02T00:00:00Z"), Addressed::Message(MessageId(message)));
            assert_eq!(read(&token, "2027-04-01T00:00:00Z"), Addressed::Expired(MessageId(message)));
            assert_eq!(tokens.read_address(Kind::Letter, &token, now), Addressed::Unknown);
            let forever = tokens.sign_address(Kind::Letter, MessageId(message), now, None);
            assert_eq!(tokens.read_address(Kind::Letter, &forever, at("2099-01-01T00:00:00Z")), Addressed::Message(MessageId(message)));
        }
        let old = Tokens::new("old:fedcba9876543210fedc").unwrap();
        let token = old.sign_address(Kind::Bounce, MessageId(7), now, Some(30));
        assert_eq!(tokens.read_address(Kind::Bounce, &token, now), Addressed::Message(MessageId(7)));
    }

    #[test]
    fn whatever_is_changed_in_a_token_makes_it_worthless() {
        let (tokens, now) = (tokens(), at("2027-03-01T10:00:00Z"));
        let token = tokens.sign_address(Kind::Bounce, MessageId(4711), now, Some(30));
        for place in 0..token.len() {
            for letter in LETTERS {
                let mut changed = token.clone().into_bytes();
                changed[place] = *letter;
                let changed = String::from_utf8(changed).unwrap();
                let read = tokens.read_address(Kind::Bounce, &changed, now);
                assert_eq!(read == Addressed::Unknown, changed != token, "{changed}");
            }
            assert_eq!(tokens.read_address(Kind::Bounce, &token[..place], now), Addressed::Unknown);
        }
        for text in ["", "a", "b-", &"a".repeat(64), &"a".repeat(65), "ä", "0189", tokens.sign(Kind::Bounce, MessageId(1)).as_str()] {
            assert_eq!(tokens.read_address(Kind::Bounce, text, now), Addressed::Unknown, "{text}");
        }
    }
}
