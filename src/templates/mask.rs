//! Hides `{{…}}` from programs that know only HTML, and brings it back.
//!
//! HTML readers move what does not belong into a table out of it and escape quotes. So a block tag that stands as text becomes a
//! comment, which stays where it is, and an expression becomes a word of rare letters, which nobody touches.

use super::markup::{Piece, blanked, pieces};
use super::tags::{Kind, Tag, tags};

// Letters of the Vai script: mrml writes attributes of `<html>` as Rust shows texts, so that what cannot be printed would be changed.
const OPEN: char = '\u{a500}';
const CLOSE: char = '\u{a501}';
const COMMENT: &str = "<!--hbs:";

/// Texts that were hidden, by number.
#[derive(Debug, Clone, Default)]
pub(super) struct Mask {
    hidden: Vec<String>,
}

/// Whether a text already holds the characters that masks are made of.
pub(super) fn collides(text: &str) -> bool {
    text.contains([OPEN, CLOSE]) || text.contains(COMMENT)
}

/// The first comment that hides a tag, and where it stands.
pub(super) fn next_comment(html: &str) -> Option<(usize, &str)> {
    let at = html.find(COMMENT)?;
    let length = html[at..].find("-->")? + 3;
    Some((at, &html[at..at + length]))
}

impl Mask {
    /// A word that stands for `source`.
    pub fn word(&mut self, source: impl Into<String>) -> String {
        self.hidden.push(source.into());
        format!("{OPEN}{}{CLOSE}", self.hidden.len() - 1)
    }

    fn comment(&mut self, source: &str) -> String {
        self.hidden.push(source.to_string());
        format!("{COMMENT}{}-->", self.hidden.len() - 1)
    }

    /// The comment that stands for a block tag, as a word in the text part.
    pub fn word_of_comment(&self, comment: &str) -> Option<String> {
        let number: usize = comment.strip_prefix("hbs:")?.parse().ok()?;
        self.hidden.get(number)?;
        Some(format!("{OPEN}{number}{CLOSE}"))
    }

    /// Hides all `{{…}}` of a text of MJML or HTML. Comments of handlebars are dropped.
    pub fn hide(&mut self, text: &str) -> String {
        let tags = tags(text);
        let blank = blanked(text, &tags);
        let places = places(&blank);
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        for tag in &tags {
            out.push_str(&text[at..tag.range.start]);
            at = tag.range.end;
            let source = &text[tag.range.clone()];
            match (tag.kind, place(&places, tag)) {
                (Kind::Comment, _) => {}
                (_, Place::Structure) => out.push_str(&self.comment(source)),
                (_, Place::Text) if tag.is_block() => out.push_str(&self.comment(source)),
                _ => out.push_str(&self.word(source)),
            }
        }
        out.push_str(&text[at..]);
        out
    }

    /// Brings everything back. Words may hide words.
    pub fn show(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len() * 2);
        let mut rest = text;
        while let Some(start) = rest.find([OPEN, '<']) {
            out.push_str(&rest[..start]);
            rest = &rest[start..];
            let found = match rest.strip_prefix(OPEN) {
                Some(inside) => inside.split_once(CLOSE).map(|(number, after)| (number, after, true)),
                None => {
                    rest.strip_prefix(COMMENT).and_then(|inside| inside.split_once("-->")).map(|(number, after)| (number, after, false))
                }
            };
            match found.and_then(|(number, after, word)| Some((self.hidden.get(number.parse::<usize>().ok()?)?, after, word))) {
                Some((source, after, word)) => {
                    if source.contains(OPEN) {
                        out.push_str(&self.show(source))
                    } else {
                        out.push_str(source)
                    }
                    // `<td {{#if x}}…>` was read as an attribute without value and written with an empty one.
                    rest = after.strip_prefix("=\"\"").filter(|_| word && (source.starts_with("{{"))).unwrap_or(after);
                }
                None => {
                    let first = rest.chars().next().map_or(0, char::len_utf8);
                    out.push_str(&rest[..first]);
                    rest = &rest[first..];
                }
            }
        }
        out.push_str(rest);
        out
    }

    /// Sources of the hidden texts that `text` has lost.
    pub fn lost<'a>(&'a self, text: &str) -> Vec<&'a str> {
        self.hidden
            .iter()
            .enumerate()
            .filter(|(number, _)| !text.contains(&format!("{OPEN}{number}{CLOSE}")) && !text.contains(&format!("{COMMENT}{number}-->")))
            .map(|(_, source)| source.as_str())
            .collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Text,
    /// Between the parts of a table, where only comments may stand.
    Structure,
    /// Inside a tag, a comment, a style or a title.
    Inside,
}

/// Where each place begins, in order.
fn places(blank: &str) -> Vec<(usize, Place)> {
    let mut places = Vec::new();
    let mut place = Place::Text;
    for piece in pieces(blank) {
        let (start, now, after) = match piece {
            Piece::Text(range) => (range.start, place, place),
            Piece::Start(start) => {
                let after = match start.name.as_str() {
                    "table" | "tbody" | "thead" | "tfoot" | "tr" | "colgroup" | "ul" | "ol" => Place::Structure,
                    "mj-body" | "mj-wrapper" | "mj-section" | "mj-column" | "mj-group" | "mj-hero" => Place::Structure,
                    "br" | "img" | "hr" | "a" | "b" | "i" | "em" | "strong" | "span" => place,
                    name if name.starts_with("mj-") && start.is_closed => Place::Structure,
                    _ => Place::Text,
                };
                (start.range.start, Place::Inside, after)
            }
            Piece::End { name, range } => {
                let after = match name.as_str() {
                    "td" | "th" | "tr" | "tbody" | "thead" | "tfoot" | "caption" | "colgroup" | "li" => Place::Structure,
                    "a" | "b" | "i" | "em" | "strong" | "span" => place,
                    name if name.starts_with("mj-") => Place::Structure,
                    _ => Place::Text,
                };
                (range.start, Place::Inside, after)
            }
            Piece::Comment(range) | Piece::Raw(range) | Piece::Other(range) => (range.start, Place::Inside, place),
        };
        places.push((start, now));
        place = after;
    }
    places
}

fn place(places: &[(usize, Place)], tag: &Tag) -> Place {
    let index = places.partition_point(|(start, _)| *start <= tag.range.start);
    index.checked_sub(1).map_or(Place::Text, |index| places[index].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_comes_back_as_it_was() {
        for text in [
            r#"<p class="{{a "b"}}">{{#if x}}Hi {{name}}{{else}}{{{raw}}}{{/if}}</p>"#,
            "<table>{{#each items}}<tr>{{> row}}<td>{{x}}</td></tr>{{/each}}</table>",
            "<style>{{a}}</style><!-- {{b}} --><td {{#if x}}class=a{{/if}}>",
            r"\{{a}} \\{{b}}",
        ] {
            let mut mask = Mask::default();
            let hidden = mask.hide(text);
            assert!(!hidden.contains("{{"), "{hidden}");
            assert_eq!(mask.show(&hidden), text);
            assert!(mask.lost(&hidden).is_empty());
        }
    }

    #[test]
    fn block_tags_become_comments_where_they_are_text_and_words_elsewhere() {
        let mut mask = Mask::default();
        let hidden = mask.hide("<table>{{#each a}}<tr><td>{{b}}</td></tr>{{/each}}</table>{{! gone }}");
        assert_eq!(hidden, "<table><!--hbs:0--><tr><td>\u{a500}1\u{a501}</td></tr><!--hbs:2--></table>");
        assert_eq!(mask.lost("<!--hbs:0-->"), ["{{b}}", "{{/each}}"]);
    }
}
