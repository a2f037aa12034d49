//! Lines that stand in every letter of a template, encoded once.
//!
//! In quoted-printable each line of text is encoded by itself, so a block of whole lines is the same bytes in every letter, wherever it stands. [`KnownLines`] keeps
//! the blocks of a template beside their encoding; [`Spans`] finds them in a letter. What is found is only copied, and whatever is not
//! found is encoded as always: the result is the same with and without.

use super::encode::{quoted_printable, specials};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Shorter blocks are encoded as fast as they are found.
const SHORTEST: usize = 48;
/// By so many bytes at its beginning a block is looked for.
const BEGINNING: usize = 16;

/// Blocks of whole lines of one part of a template.
#[derive(Debug, Default)]
pub struct KnownLines {
    blocks: Vec<Block>,
    by_beginning: HashMap<[u8; BEGINNING], Vec<usize>, BuildHasherDefault<Few>>,
}

#[derive(Debug)]
struct Block {
    /// Ends with a line end.
    text: Box<str>,
    encoded: Box<[u8]>,
    specials: usize,
}

impl KnownLines {
    /// From blocks of text that begin at the beginning of a line and end with a line end; others are left out.
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> KnownLines {
        let mut known = KnownLines::default();
        for text in texts {
            if text.len() < SHORTEST || !text.ends_with('\n') {
                continue;
            }
            let Some(beginning) = text.as_bytes().first_chunk::<BEGINNING>() else { continue };
            let mut encoded = Vec::new();
            quoted_printable(text.as_bytes(), &mut encoded);
            known.by_beginning.entry(*beginning).or_default().push(known.blocks.len());
            known.blocks.push(Block { text: text.into(), encoded: encoded.into(), specials: specials(text.as_bytes()) });
        }
        known
    }

    /// The block that stands here; `next` is where it is expected.
    fn at(&self, rest: &str, next: usize) -> Option<usize> {
        let stands = |place: &usize| self.blocks.get(*place).is_some_and(|block| rest.starts_with(&*block.text));
        if stands(&next) {
            return Some(next);
        }
        let found = self.by_beginning.get(rest.as_bytes().first_chunk::<BEGINNING>()?)?;
        found.iter().copied().find(stands)
    }
}

/// A text as known blocks and what stands between them.
#[derive(Debug)]
pub struct Spans<'a> {
    known: Option<&'a KnownLines>,
    spans: Vec<Span<'a>>,
    /// Bytes that quoted-printable writes with three.
    pub specials: usize,
}

#[derive(Debug)]
enum Span<'a> {
    Known(usize),
    Other(&'a str),
}

impl<'a> Spans<'a> {
    pub fn find(text: &'a str, known: Option<&'a KnownLines>) -> Spans<'a> {
        let known = known.filter(|known| !known.blocks.is_empty());
        let mut spans = Spans { known, spans: Vec::with_capacity(known.map_or(0, |known| known.blocks.len() * 2) + 1), specials: 0 };
        let (mut begun, mut at, mut next) = (0, 0, 0);
        while let Some(known) = known
            && at < text.len()
        {
            let rest = &text[at..];
            if let Some((place, block)) = known.at(rest, next).and_then(|place| Some((place, known.blocks.get(place)?))) {
                spans.other(&text[begun..at]);
                spans.spans.push(Span::Known(place));
                spans.specials += block.specials;
                next = place + 1;
                at += block.text.len();
                begun = at;
            } else {
                at += memchr::memchr(b'\n', rest.as_bytes()).map_or(rest.len(), |end| end + 1);
            }
        }
        spans.other(&text[begun..]);
        spans
    }

    fn other(&mut self, text: &'a str) {
        if !text.is_empty() {
            self.specials += specials(text.as_bytes());
            self.spans.push(Span::Other(text));
        }
    }

    /// Appends the whole text in quoted-printable.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for span in &self.spans {
            match span {
                Span::Known(place) => {
                    let block = self.known.and_then(|known| known.blocks.get(*place));
                    out.extend_from_slice(block.map_or(&[], |block| &block.encoded));
                }
                Span::Other(text) => quoted_printable(text.as_bytes(), out),
            }
        }
    }
}

/// A hash of sixteen bytes by two multiplications: there are few keys, all from templates.
#[derive(Debug, Default)]
struct Few(u64);

impl Hasher for Few {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let word = part.iter().rev().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
            self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
    }
    fn write_usize(&mut self, _: usize) {}
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn both(text: &str, known: &[&str]) -> (Vec<u8>, Vec<u8>) {
        let lines = KnownLines::new(known.iter().copied());
        let spans = Spans::find(text, Some(&lines));
        assert_eq!(spans.specials, specials(text.as_bytes()));
        let (mut with, mut without) = (Vec::new(), Vec::new());
        spans.encode(&mut with);
        quoted_printable(text.as_bytes(), &mut without);
        (with, without)
    }

    #[test]
    fn known_blocks_are_found_wherever_they_stand() {
        let first = "The first block of lines that everybody gets = the same.\n.and its second line\n";
        let second = "The second block, with a blank at the end of its line, or two: \n";
        for text in [
            format!("{first}{second}"),
            format!("Hello Ada\n{first}between\n{second}end"),
            format!("{second}{first}{second}{first}"),
            format!("Hello {first}{second}"),
            format!("\n\r\n{first}\r\n{second}\r\n"),
            first.trim_end().to_string(),
        ] {
            let lines = KnownLines::new([first, second]);
            let (with, without) = both(&text, &[first, second]);
            assert_eq!(with, without, "{text:?}");
            let found = Spans::find(&text, Some(&lines)).spans.iter().filter(|span| matches!(span, Span::Known(_))).count();
            assert_eq!(
                found,
                text.match_indices(first)
                    .chain(text.match_indices(second))
                    .filter(|(at, _)| *at == 0 || text[..*at].ends_with('\n'))
                    .count()
            );
        }
        assert!(KnownLines::new(["short\n", "a line without an end, however long it may be, is no block"]).blocks.is_empty());
    }

    proptest! {
        #[test]
        fn a_letter_is_encoded_the_same_with_and_without_what_is_known(
            blocks in prop::collection::vec("([a-c=. é]{0,90}\r?\n){1,3}", 0..4),
            order in prop::collection::vec((0..4_usize, "[a-c=. \r\n]{0,40}"), 0..8),
        ) {
            let text: String = order.iter().map(|(block, between)| format!("{}{between}", blocks.get(*block).map_or("", String::as_str))).collect();
            let known: Vec<&str> = blocks.iter().map(String::as_str).collect();
            let (with, without) = both(&text, &known);
            prop_assert_eq!(with, without);
        }
    }
}
