//! How often somebody may post: by visitor, by the block of addresses around them, and by form.
//!
//! Kept in this process, in tables whose size never grows: a place is found by a keyed hash, so nobody can aim at that of another, and two who share one share
//! its limit. With several processes each counts by itself; what an address may be asked is counted in the database (`customers::signup`).

use crate::literals::Rate;
use crate::tracking::Tokens;
use crate::types::{Time, micros};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

/// Places of a table.
const PLACES: usize = 1 << 16;

/// So many at once, and one more after each so many microseconds.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    pub burst: i64,
    pub each: i64,
}

/// One visitor: an IPv4 address, or the /64 of an IPv6 one.
const VISITOR: Limit = Limit { burst: 20, each: 180_000_000 };
/// The /24 around an IPv4 address, the /48 around an IPv6 one.
const BLOCK: Limit = Limit { burst: 60, each: 60_000_000 };

impl From<Rate> for Limit {
    fn from(rate: Rate) -> Self {
        let each = (1_000_000.0 / rate.per_second()).clamp(1.0, 86_400e6) as i64;
        Limit { burst: i64::from(rate.count).max(1), each }
    }
}

/// For each place the instant, in microseconds, until which what was taken is paid for.
struct Table(Mutex<Box<[i64]>>);

impl Table {
    fn takes(&self, place: usize, limit: Limit, now: i64) -> bool {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(paid) = table.get_mut(place) else { return false };
        let next = now.max(*paid).saturating_add(limit.each);
        if next.saturating_sub(now) > limit.each.saturating_mul(limit.burst) {
            return false;
        }
        *paid = next;
        true
    }
}

pub struct Limits {
    visitors: Table,
    blocks: Table,
    forms: Table,
}

impl Default for Limits {
    fn default() -> Self {
        let table = |places| Table(Mutex::new(vec![0; places].into_boxed_slice()));
        Limits { visitors: table(PLACES), blocks: table(PLACES), forms: table(PLACES) }
    }
}

impl Limits {
    /// Whether one more post is taken. Whoever is over their own limit uses nothing of the others'.
    pub fn takes(&self, tokens: &Tokens, visitor: Option<IpAddr>, form: (&str, Limit), now: Time) -> bool {
        let now = micros(now);
        let (visitor, block) = around(visitor);
        self.visitors.takes(tokens.place(&visitor, PLACES), VISITOR, now)
            && self.blocks.takes(tokens.place(&block, PLACES), BLOCK, now)
            && self.forms.takes(tokens.place(form.0.as_bytes(), PLACES), form.1, now)
    }
}

/// The visitor and the block, as bytes.
fn around(address: Option<IpAddr>) -> (Vec<u8>, Vec<u8>) {
    match address {
        None => (b"unknown".to_vec(), b"unknown".to_vec()),
        Some(IpAddr::V4(address)) => {
            let bytes = address.octets();
            (bytes.to_vec(), bytes.iter().take(3).copied().collect())
        }
        Some(IpAddr::V6(address)) => {
            let bytes = Ipv6Addr::octets(&address);
            (bytes.iter().take(8).copied().collect(), bytes.iter().take(6).copied().collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::literals::Unit;

    #[test]
    fn a_visitor_a_block_and_a_form_have_their_limits_and_get_them_back_with_time() {
        let tokens = Tokens::new("one:0123456789abcdef").unwrap();
        let limits = Limits::default();
        let mut now: Time = "2027-03-01T10:00:00Z".parse().unwrap();
        let wide = ("news", Limit::from(Rate { count: 1000, per: Unit::Hour }));
        let count = |limits: &Limits, of: &dyn Fn(usize) -> String, form, now| {
            (0..400).filter(|n| limits.takes(&tokens, Some(of(*n).parse().unwrap()), form, now)).count()
        };
        assert_eq!(count(&limits, &|_| "192.0.2.7".into(), wide, now), 20);
        assert_eq!(count(&limits, &|n| format!("192.0.2.{}", n % 200 + 20), wide, now), 40, "the rest of the block");
        assert_eq!(count(&limits, &|n| format!("2001:db8:1:2::{n:x}"), wide, now), 20, "one /64 is one visitor");
        now += chrono::TimeDelta::minutes(3);
        assert_eq!(count(&limits, &|_| "192.0.2.7".into(), wide, now), 1);
        let narrow = ("offers", Limit::from(Rate { count: 5, per: Unit::Minute }));
        assert_eq!(count(&limits, &|n| format!("198.51.{n}.1", n = n % 256), narrow, now), 5);
    }
}
