//! Stamps of forms: when a form was opened, signed, so that what is posted too soon for a person, or much later, is known.

use super::tokens::{Kind, Tokens, read_number, write_number, written};
use crate::types::{Time, from_micros, micros};
use aws_lc_rs::constant_time;

impl Tokens {
    /// A stamp of a form that was opened at this instant.
    pub fn stamp(&self, form: &str, at: Time) -> String {
        let mut payload = Vec::with_capacity(10);
        write_number(&mut payload, micros(at) as u64);
        let key = self.first();
        written(key.name(), &payload, &key.mac(Kind::Form, &[&payload, form.as_bytes()]))
    }

    /// When the form was opened; `None` where the stamp is not ours, damaged, or of another form.
    pub fn read_stamp(&self, form: &str, stamp: &str) -> Option<Time> {
        let (key, payload, mac) = self.parts(stamp)?;
        constant_time::verify_slices_are_equal(&key.mac(Kind::Form, &[&payload, form.as_bytes()]), &mac).ok()?;
        let mut rest = payload.as_slice();
        let at = read_number(&mut rest)?;
        rest.is_empty().then(|| from_micros(at as i64))
    }

    /// A place in a table of so many that nobody outside can aim at.
    pub fn place(&self, what: &[u8], places: usize) -> usize {
        let [a, b, c, d, e, f, g, h, ..] = self.first().mac(Kind::Form, &[PLACE, what]);
        (u64::from_be_bytes([a, b, c, d, e, f, g, h]) % places.max(1) as u64) as usize
    }
}

/// Goes into the MAC: no place is a stamp.
const PLACE: &[u8] = b"\0place\0";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_good_for_its_form_and_nothing_else() {
        let tokens = Tokens::new("new:0123456789abcdef,old:fedcba9876543210").unwrap();
        let at: Time = "2027-03-01T10:00:00.123456Z".parse().unwrap();
        let stamp = tokens.stamp("news", at);
        assert_eq!(tokens.read_stamp("news", &stamp), Some(at));
        assert_eq!(tokens.read_stamp("offers", &stamp), None);
        assert_eq!(tokens.read(Kind::Form, &stamp), None);
        let old = Tokens::new("old:fedcba9876543210").unwrap().stamp("news", at);
        assert_eq!(tokens.read_stamp("news", &old), Some(at), "keys are kept for a while");
        for place in 0..stamp.len() {
            let mut damaged = stamp.clone().into_bytes();
            damaged[place] ^= 1;
            assert_eq!(tokens.read_stamp("news", &String::from_utf8_lossy(&damaged)), None, "{place}");
        }
    }
}
