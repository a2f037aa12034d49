//! How a text travels: its alphabet, its octets, its parts.

use crate::templates::sms::{Alphabet, parts, split};
use std::borrow::Cow;

/// GSM 03.38, by code.
const GSM: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\u{1b}ÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
const ESCAPE: u8 = 0x1b;
/// Its extension: a character and the code behind the escape.
const EXTENSION: [(char, u8); 10] =
    [('\u{c}', 0x0a), ('^', 0x14), ('{', 0x28), ('}', 0x29), ('\\', 0x2f), ('[', 0x3c), ('~', 0x3d), (']', 0x3e), ('|', 0x40), ('€', 0x65)];

/// What the operator takes `data_coding` 0, its own default alphabet, for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultAlphabet {
    Gsm,
    /// What fits into Latin-1 travels as `data_coding` 3.
    Latin1,
}

/// A text ready to travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    pub data_coding: u8,
    pub parts: Vec<Vec<u8>>,
}

pub fn encode(text: &str, alphabet: DefaultAlphabet) -> Encoded {
    let pieces = split(text);
    let (data_coding, octets): (u8, fn(&str) -> Vec<u8>) = match (parts(text).alphabet, alphabet) {
        (Alphabet::Ucs2, _) => (8, ucs2),
        (Alphabet::Gsm7, DefaultAlphabet::Gsm) => (0, gsm),
        (Alphabet::Gsm7, DefaultAlphabet::Latin1) if text.chars().all(|c| c <= 'ÿ') => (3, latin1),
        (Alphabet::Gsm7, DefaultAlphabet::Latin1) => {
            // Greek letters and the euro sign are in GSM and not in Latin-1.
            return Encoded { data_coding: 8, parts: in_units(text).into_iter().map(ucs2).collect() };
        }
    };
    Encoded { data_coding, parts: pieces.into_iter().map(octets).collect() }
}

fn gsm(text: &str) -> Vec<u8> {
    let mut octets = Vec::with_capacity(text.len());
    for c in text.chars() {
        if let Some(code) = GSM.chars().position(|known| known == c && known != '\u{1b}') {
            octets.push(code as u8);
        } else if let Some((_, code)) = EXTENSION.iter().find(|(known, _)| *known == c) {
            octets.extend([ESCAPE, *code]);
        }
    }
    octets
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars().filter_map(|c| u8::try_from(u32::from(c)).ok()).collect()
}

fn ucs2(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

/// Cut for UCS-2, whatever the text holds.
fn in_units(text: &str) -> Vec<&str> {
    let (single, each) = Alphabet::Ucs2.limits();
    if text.encode_utf16().count() <= single {
        return vec![text];
    }
    let (mut pieces, mut start, mut used) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        if used + c.len_utf16() > each {
            pieces.extend(text.get(start..at));
            (start, used) = (at, 0);
        }
        used += c.len_utf16();
    }
    pieces.extend(text.get(start..));
    pieces
}

/// The words in octets that came from a person; what is unknown becomes a replacement sign.
pub fn decode(octets: &[u8], data_coding: u8) -> String {
    match data_coding {
        8 => {
            let units: Vec<u16> =
                octets.chunks_exact(2).map(|pair| pair.iter().fold(0, |unit, byte| unit << 8 | u16::from(*byte))).collect();
            String::from_utf16_lossy(&units)
        }
        0 => {
            let mut text = String::new();
            let mut codes = octets.iter();
            while let Some(code) = codes.next() {
                let c = match *code {
                    ESCAPE => {
                        let next = codes.next().copied();
                        EXTENSION.iter().find(|(_, known)| Some(*known) == next).map(|(c, _)| *c)
                    }
                    code => GSM.chars().nth(usize::from(code)),
                };
                text.push(c.unwrap_or('\u{fffd}'));
            }
            text
        }
        _ => octets.iter().map(|byte| char::from(*byte)).collect(),
    }
}

/// Common number, count and place of a part, and what is left without the header that says so.
pub fn without_header(octets: &[u8], has_header: bool) -> (Option<(u16, u8, u8)>, Cow<'_, [u8]>) {
    let Some((length, rest)) = octets.split_first().filter(|_| has_header) else { return (None, Cow::Borrowed(octets)) };
    let Some((header, body)) = rest.split_at_checked(usize::from(*length)) else { return (None, Cow::Borrowed(octets)) };
    let mut elements = header;
    while let [kind, size, more @ ..] = elements {
        let Some((value, next)) = more.split_at_checked(usize::from(*size)) else { break };
        match (kind, value) {
            (0x00, [reference, count, place]) => return (Some((u16::from(*reference), *count, *place)), Cow::Borrowed(body)),
            (0x08, [high, low, count, place]) => {
                return (Some((u16::from(*high) << 8 | u16::from(*low), *count, *place)), Cow::Borrowed(body));
            }
            _ => elements = next,
        }
    }
    (None, Cow::Borrowed(body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_text_travels_in_the_alphabet_that_it_needs() {
        for (text, alphabet, data_coding, first) in [
            ("@Hi {é}", DefaultAlphabet::Gsm, 0, &[0x00, 0x48, 0x69, 0x20, 0x1b, 0x28, 0x05, 0x1b, 0x29][..]),
            ("Hi é", DefaultAlphabet::Latin1, 3, &[0x48, 0x69, 0x20, 0xe9]),
            ("5 €", DefaultAlphabet::Latin1, 8, &[0x00, 0x35, 0x00, 0x20, 0x20, 0xac]),
            ("Ї", DefaultAlphabet::Gsm, 8, &[0x04, 0x07]),
        ] {
            assert_eq!(encode(text, alphabet), Encoded { data_coding, parts: vec![first.to_vec()] }, "{text}");
        }
        let sizes = |text: &str| encode(text, DefaultAlphabet::Gsm).parts.iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(&"a".repeat(160)), [160]);
        assert_eq!(sizes(&"a".repeat(161)), [153, 8]);
        assert_eq!(sizes(&"ї".repeat(71)), [134, 8]);
        let euros = encode(&"€".repeat(100), DefaultAlphabet::Latin1);
        assert_eq!((euros.data_coding, euros.parts.iter().map(Vec::len).collect::<Vec<_>>()), (8, vec![134, 66]));
    }

    #[test]
    fn a_part_says_whose_it_is() {
        for (octets, expected) in [
            (&[5, 0, 3, 7, 2, 1, 65][..], (Some((7, 2, 1)), &[65][..])),
            (&[6, 8, 4, 1, 2, 3, 1, 65], (Some((258, 3, 1)), &[65])),
            (&[4, 36, 2, 1, 1, 65], (None, &[65])),
            (&[9, 0], (None, &[9, 0])),
            (&[], (None, &[])),
        ] {
            let (part, rest) = without_header(octets, true);
            assert_eq!((part, &*rest), expected, "{octets:?}");
        }
        assert_eq!(without_header(&[1, 2], false).1.as_ref(), [1, 2]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(text in "\\PC{1,400}") {
            for alphabet in [DefaultAlphabet::Gsm, DefaultAlphabet::Latin1] {
                let encoded = encode(&text, alphabet);
                let read: String = encoded.parts.iter().map(|part| decode(part, encoded.data_coding)).collect();
                prop_assert_eq!(&read, &text);
            }
        }

        #[test]
        fn no_octets_make_the_reader_fall(octets in proptest::collection::vec(any::<u8>(), 0..300), data_coding in any::<u8>()) {
            decode(&octets, data_coding);
            without_header(&octets, true);
        }
    }
}
