//! A text part from HTML: what people read, in order, with `text: https://…` for links and without images.
//!
//! Our own reader, since block tags of handlebars must keep their places between the rows of a table, which a reader that builds a
//! page moves away. It works on hidden text ([`super::mask`]).

use super::markup::{Piece, Start, pieces};
use super::mask::Mask;

pub(super) fn from_html(html: &str, mask: &Mask) -> String {
    let mut writer = Writer::default();
    let mut skipped: Option<(String, usize)> = None;
    let mut links: Vec<(String, usize)> = Vec::new();
    let mut lists: Vec<Option<usize>> = Vec::new();
    let mut tables: Vec<bool> = Vec::new();
    for piece in pieces(html) {
        if let Some((name, depth)) = &mut skipped {
            match &piece {
                Piece::Start(start) if start.name == *name && !start.is_closed => *depth += 1,
                Piece::End { name: end, .. } if end == name => *depth -= 1,
                _ => {}
            }
            if *depth == 0 {
                skipped = None;
            }
            continue;
        }
        match piece {
            Piece::Start(start) => {
                if !start.is_closed && !is_void(&start.name) && is_hidden(&start, html) {
                    skipped = Some((start.name, 1));
                    continue;
                }
                match start.name.as_str() {
                    "br" => writer.line(),
                    "hr" => {
                        writer.paragraph();
                        writer.word("---");
                        writer.paragraph();
                    }
                    "a" => {
                        let href = start.attribute("href").and_then(|attribute| attribute.value.clone()).map(|range| decoded(&html[range]));
                        links.push((href.unwrap_or_default(), writer.mark()));
                    }
                    "ul" => lists.push(None),
                    "ol" => lists.push(Some(0)),
                    "li" => {
                        writer.line();
                        let number = lists.last_mut().and_then(Option::as_mut).map(|number| {
                            *number += 1;
                            format!("{number}. ")
                        });
                        writer.word(&number.unwrap_or_else(|| "- ".to_string()));
                        writer.glue();
                    }
                    "table" => {
                        let role = start.attribute("role").and_then(|attribute| attribute.value.clone()).map(|range| &html[range]);
                        tables.push(matches!(role, Some("presentation" | "none")));
                        writer.line();
                    }
                    "td" | "th" if tables.last() == Some(&false) => writer.cell(),
                    name if is_paragraph(name) => writer.paragraph(),
                    name if is_block(name) => writer.line(),
                    _ => {}
                }
            }
            Piece::End { name, .. } => match name.as_str() {
                "a" => {
                    if let Some((href, from)) = links.pop() {
                        writer.link(&href, from)
                    }
                }
                "ul" | "ol" => {
                    lists.pop();
                    writer.paragraph();
                }
                "table" => {
                    tables.pop();
                    writer.line();
                }
                name if is_paragraph(name) => writer.paragraph(),
                // Cells of a layout are its paragraphs, those of a table stand on one line.
                "td" | "th" if tables.last() != Some(&false) => writer.paragraph(),
                name if is_block(name) && !matches!(name, "td" | "th") => writer.line(),
                _ => {}
            },
            Piece::Text(range) => writer.text(&decoded(&html[range])),
            Piece::Comment(range) => {
                let inside = html[range].trim_start_matches("<!--").trim_end_matches("-->");
                if let Some(word) = mask.word_of_comment(inside) {
                    writer.block_tag(&word)
                }
            }
            Piece::Raw(_) | Piece::Other(_) => {}
        }
    }
    writer.finish()
}

fn decoded(text: &str) -> String {
    html_escape::decode_html_entities(text).into_owned()
}

fn is_void(name: &str) -> bool {
    matches!(name, "br" | "hr" | "img" | "meta" | "link" | "input" | "area" | "base" | "col" | "source" | "wbr")
}

fn is_hidden(start: &Start, html: &str) -> bool {
    if matches!(start.name.as_str(), "head" | "style" | "script" | "title" | "textarea" | "select" | "template" | "svg" | "map") {
        return true;
    }
    let style =
        start.attribute("style").and_then(|attribute| attribute.value.clone()).map(|range| html[range].replace(' ', "").to_lowercase());
    style.is_some_and(|style| style.contains("display:none")) || start.attribute("hidden").is_some()
}

fn is_paragraph(name: &str) -> bool {
    matches!(name, "p" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "blockquote" | "ul" | "ol" | "pre" | "section" | "article")
}

fn is_block(name: &str) -> bool {
    matches!(
        name,
        "div"
            | "tr"
            | "td"
            | "th"
            | "li"
            | "table"
            | "tbody"
            | "thead"
            | "center"
            | "body"
            | "header"
            | "footer"
            | "main"
            | "dl"
            | "dt"
            | "dd"
            | "caption"
    )
}

/// Lines under way; blanks between words are single.
#[derive(Default)]
struct Writer {
    out: String,
    /// Line ends owed before the next word.
    breaks: usize,
    space: bool,
    /// Cells owed before the next word of the row.
    cell: bool,
    /// An address ends here: no letter may follow at once.
    after_link: bool,
}

impl Writer {
    fn line(&mut self) {
        self.breaks = self.breaks.max(1);
        self.cell = false;
    }
    fn paragraph(&mut self) {
        self.breaks = self.breaks.max(2);
        self.cell = false;
    }
    fn cell(&mut self) {
        self.cell = self.breaks == 0;
    }
    fn glue(&mut self) {
        self.space = false;
    }
    fn mark(&self) -> usize {
        self.out.len()
    }
    fn text(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                // Zero-width characters only pad.
                '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}' | '\u{34f}' | '\u{ad}' => {}
                c if c.is_whitespace() => self.space = true,
                c => self.put(c.encode_utf8(&mut [0; 4])),
            }
        }
    }
    fn word(&mut self, word: &str) {
        self.put(word);
    }
    fn put(&mut self, text: &str) {
        self.space |= self.after_link && !text.starts_with(|c: char| c.is_ascii_punctuation());
        self.after_link = false;
        self.settle();
        self.out.push_str(text);
    }
    fn settle(&mut self) {
        if self.breaks > 0 {
            if !self.out.is_empty() {
                let ends = self.out.len() - self.out.trim_end_matches('\n').len();
                (ends..self.breaks).for_each(|_| self.out.push('\n'));
            }
        } else if self.cell && !self.out.ends_with('\n') {
            self.out.push_str("  ");
        } else if self.space && !self.out.is_empty() && !self.out.ends_with(['\n', ' ']) {
            self.out.push(' ');
        }
        (self.breaks, self.space, self.cell) = (0, false, false);
    }
    /// A block tag: alone on its line where a line ends anyway, else inside the line.
    fn block_tag(&mut self, word: &str) {
        if self.breaks > 0 || self.out.is_empty() || self.out.ends_with('\n') {
            let owed = self.breaks;
            self.breaks = 1;
            self.put(word);
            self.breaks = owed.max(1);
        } else {
            self.put(word);
        }
    }
    fn link(&mut self, href: &str, from: usize) {
        let from = from.min(self.out.len());
        let shown = self.out[from..].trim().to_string();
        let bare = |address: &str| address.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/').to_string();
        let plain = href.trim_start_matches("mailto:").trim_start_matches("tel:");
        if href.is_empty() || href.starts_with('#') || shown.is_empty() || bare(&shown) == bare(plain) {
            return;
        }
        self.out.truncate(self.out.trim_end_matches(' ').len());
        self.out.push_str(if shown.ends_with([':', '?', '!', '.']) { " " } else { ": " });
        self.out.push_str(plain);
        self.after_link = true;
    }
    fn finish(self) -> String {
        let mut out = self.out.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim().to_string();
        out.push('\n');
        out
    }
}

/// Three or more line ends become two: blocks that were left out leave their blank lines.
pub(super) fn closed_up(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut blank = 0;
    for line in text.lines() {
        let line = line.trim_end();
        blank = if line.is_empty() { blank + 1 } else { 0 };
        if blank < 2 && !(line.is_empty() && out.is_empty()) {
            out.push_str(line);
            out.push('\n');
        }
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(html: &str, expected: &str) {
        let mut mask = Mask::default();
        let hidden = mask.hide(html);
        assert_eq!(mask.show(&from_html(&hidden, &mask)), format!("{expected}\n"), "{html}");
    }

    #[test]
    fn people_read_the_words_the_links_and_the_lists() {
        check("<h1>Hi  there</h1><p>One<br>two &amp; three</p><p>Four</p>", "Hi there\n\nOne\ntwo & three\n\nFour");
        check("<p>See <a href='https://a.example/x'>the shop</a>, now</p>", "See the shop: https://a.example/x, now");
        check("<a href='https://a.example'>a.example</a> <a href=\"mailto:x@a.example\">x@a.example</a>", "a.example x@a.example");
        check("<a href='https://a.example'><img src=x alt=Logo></a>", "");
        check("<ul><li>a</li><li>b</li></ul><ol><li>c</li><li>d</li></ol>", "- a\n- b\n\n1. c\n2. d");
        check("<table><tr><td>Lamp</td><td>300</td></tr><tr><td>Bulb</td><td>20</td></tr></table>", "Lamp  300\nBulb  20");
        check("<table role=presentation><tr><td>Lamp</td><td>300</td></tr></table>", "Lamp\n\n300");
        check("<head><title>T</title></head><body><div style='display: none'>x<div>y</div></div><p>z</p></body>", "z");
    }

    #[test]
    fn block_tags_keep_their_places() {
        check(
            "<table>{{#each items}}<tr><td>{{title}}</td><td>{{price}}</td></tr>{{/each}}</table><p>end</p>",
            "{{#each items}}\n{{title}}  {{price}}\n{{/each}}\n\nend",
        );
        check("<p>Hi{{#if name}}, {{name}}{{/if}}!</p>", "Hi{{#if name}}, {{name}}{{/if}}!");
    }
}
