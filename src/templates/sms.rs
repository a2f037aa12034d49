//! How many parts a short message needs (3GPP TS 23.038 and 23.040; standards.md §4.1, definitions.md §20).
//!
//! Counted on the text as rendered for one person, since one character of a name may change the alphabet. A character that takes
//! two units (GSM escape, surrogate pair) is never split between parts.

use serde::Serialize;

/// In what a message travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Alphabet {
    #[serde(rename = "gsm-7")]
    Gsm7,
    #[serde(rename = "ucs-2")]
    Ucs2,
}

impl Alphabet {
    /// Units that fit into a message of one part, and into each part of a longer one (8-bit reference).
    pub const fn limits(self) -> (usize, usize) {
        match self {
            Alphabet::Gsm7 => (160, 153),
            Alphabet::Ucs2 => (70, 67),
        }
    }
}

/// The cost of a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Parts {
    pub alphabet: Alphabet,
    /// Septets of GSM-7 (extension characters count twice), or UTF-16 units.
    pub units: usize,
    /// Parts to pay for; 0 for an empty text.
    pub parts: usize,
    /// The first character that made it UCS-2.
    pub because: Option<char>,
}

/// Counts the parts of a text.
pub fn parts(text: &str) -> Parts {
    let (alphabet, because) = alphabet(text);
    let units = text.chars().map(|c| width(alphabet, c)).sum();
    Parts { alphabet, units, parts: split(text).len(), because }
}

/// The text cut as it travels; joined, the pieces are the text again.
pub fn split(text: &str) -> Vec<&str> {
    let (alphabet, _) = alphabet(text);
    let (single, each) = alphabet.limits();
    let units: usize = text.chars().map(|c| width(alphabet, c)).sum();
    if text.is_empty() {
        return Vec::new();
    }
    if units <= single {
        return vec![text];
    }
    let mut pieces = Vec::new();
    let (mut start, mut used) = (0, 0);
    for (at, c) in text.char_indices() {
        let width = width(alphabet, c);
        if used + width > each {
            pieces.push(&text[start..at]);
            (start, used) = (at, 0);
        }
        used += width;
    }
    pieces.push(&text[start..]);
    pieces
}

fn alphabet(text: &str) -> (Alphabet, Option<char>) {
    match text.chars().find(|c| septets(*c).is_none()) {
        None => (Alphabet::Gsm7, None),
        because => (Alphabet::Ucs2, because),
    }
}

fn width(alphabet: Alphabet, c: char) -> usize {
    match alphabet {
        Alphabet::Gsm7 => septets(c).unwrap_or(2),
        Alphabet::Ucs2 => c.len_utf16(),
    }
}

/// Septets of a character of GSM-7: 1, 2 for the extension table, none outside.
fn septets(c: char) -> Option<usize> {
    match c {
        '\n' | '\r' | ' '..='#' | '%'..='?' | 'A'..='Z' | 'a'..='z' => Some(1),
        '@' | '£' | '$' | '¥' | 'è' | 'é' | 'ù' | 'ì' | 'ò' | 'Ç' | 'Ø' | 'ø' | 'Å' | 'å' | 'Δ' | '_' | 'Φ' | 'Γ' | 'Λ' | 'Ω' | 'Π'
        | 'Ψ' | 'Σ' | 'Θ' | 'Ξ' | 'Æ' | 'æ' | 'ß' | 'É' | '¤' | '¡' | 'Ä' | 'Ö' | 'Ñ' | 'Ü' | '§' | '¿' | 'ä' | 'ö' | 'ñ' | 'ü' | 'à' => {
            Some(1)
        }
        '\u{c}' | '^' | '{' | '}' | '\\' | '[' | '~' | ']' | '|' | '€' => Some(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, alphabet: Alphabet, units: usize, expected: usize) {
        let found = parts(text);
        assert_eq!((found.alphabet, found.units, found.parts), (alphabet, units, expected), "{text}");
    }

    #[test]
    fn parts_are_counted_as_gateways_count_them() {
        for (count, expected) in [(0, 0), (1, 1), (70, 1), (71, 2), (134, 2), (135, 3), (201, 3), (202, 4)] {
            check(&"ж".repeat(count), if count == 0 { Alphabet::Gsm7 } else { Alphabet::Ucs2 }, count, expected);
        }
        for (count, expected) in [(160, 1), (161, 2), (306, 2), (307, 3)] {
            check(&"a".repeat(count), Alphabet::Gsm7, count, expected);
        }
        check(&"€".repeat(80), Alphabet::Gsm7, 160, 1);
        check(&"€".repeat(81), Alphabet::Gsm7, 162, 2);
        check(&format!("{}€", "a".repeat(159)), Alphabet::Gsm7, 161, 2);
        check(&format!("{}😀", "ж".repeat(69)), Alphabet::Ucs2, 71, 2);
        check(&format!("{}😀{}", "ж".repeat(66), "ж".repeat(66)), Alphabet::Ucs2, 134, 3);
        // An escape pair that would stand across the border moves whole: 152 + pair + 152 is three parts.
        check(&format!("{}€{}", "a".repeat(152), "a".repeat(152)), Alphabet::Gsm7, 306, 3);
    }

    #[test]
    fn the_character_that_made_it_long_is_named() {
        assert_eq!(parts("20% off — today").because, Some('—'));
        assert_eq!(parts("it’s").because, Some('’'));
        assert_eq!(parts("ç").alphabet, Alphabet::Ucs2, "the capital is in GSM-7, the small letter is not");
        assert_eq!(parts("`").alphabet, Alphabet::Ucs2);
        assert_eq!(parts("\t").alphabet, Alphabet::Ucs2);
        let basic = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
        check(basic, Alphabet::Gsm7, 127, 1);
        check("^{}\\[~]|€\u{c}", Alphabet::Gsm7, 20, 1);
    }

    proptest! {
        #[test]
        fn joined_parts_are_the_text_and_none_is_too_long(text in "(?s)[a-zжє€{😀\\n]{0,400}|\\PC{0,300}") {
            let found = parts(&text);
            let pieces = split(&text);
            prop_assert_eq!(pieces.concat(), text.clone());
            prop_assert_eq!(pieces.len(), found.parts);
            let (single, each) = found.alphabet.limits();
            for piece in &pieces {
                let units: usize = piece.chars().map(|c| width(found.alphabet, c)).sum();
                let limit = if pieces.len() == 1 { single } else { each };
                prop_assert!(units <= limit);
                prop_assert!(!piece.is_empty());
            }
        }
    }
}
