//! From a template's text to the HTML that is sent: MJML, styles, links, preheader, the open pixel's mark.
//!
//! Everything here works on text whose `{{…}}` are hidden ([`super::mask`]), and gives text with them back.

use super::links::Links;
use super::markup::{Piece, blanked, pieces};
use super::mask::{self, Mask};
use super::message::Track;
use super::tags::{Kind, Tag, tags};
use super::{marks, needs, text};
use crate::templates::functions::{Escape, escaped};
use lol_html::html_content::ContentType;
use lol_html::{ElementContentHandlers, RewriteStrSettings, Selector, element, rewrite_str};
use std::borrow::Cow;

/// Links that are never tracked: they are ours already.
const OURS: &[&str] = &["unsubscribe_url", "preferences_url", "view_url", "confirm_url"];

/// HTML with its styles inlined, or as it was, and why.
pub(super) struct Styled {
    pub html: String,
    pub not_inlined: Option<String>,
}

/// MJML to HTML with its styles inlined. `Err` says what MJML could not read, or which `{{…}}` it would lose.
pub(super) fn from_mjml(mjml: &str) -> Result<Styled, Lost> {
    let mut mask = Mask::default();
    // mrml 6.0 stumbles over line ends of Windows.
    let hidden = mask.hide(&mjml.replace("\r\n", "\n"));
    // Its reader of tags panics on some broken markup: that is a problem of the file, not the end of the process.
    let html = std::panic::catch_unwind(|| rendered(&hidden))
        .unwrap_or_else(|_| Err("a tag in it is broken or not closed".to_string()))
        .map_err(Lost::Unreadable)?;
    let styled = styled(outside_conditions(&html));
    if let Some(source) = mask.lost(&styled.html).first() {
        return Err(Lost::Tag(source.to_string()));
    }
    Ok(Styled { html: mask.show(&styled.html), ..styled })
}

fn rendered(hidden: &str) -> Result<String, String> {
    let parsed = mrml::parse(signs_escaped(hidden)).map_err(|error| error.to_string())?;
    parsed.element.render(&mrml::prelude::render::RenderOptions::default()).map_err(|error| error.to_string())
}

/// `далі >` would make mrml's reader of tags panic: it cuts two bytes before the first `>` of a text.
fn signs_escaped(hidden: &str) -> String {
    let mut out = String::with_capacity(hidden.len());
    let mut at = 0;
    for piece in pieces(hidden) {
        if let Piece::Text(range) = piece {
            out.push_str(&hidden[at..range.start]);
            out.push_str(&hidden[range.clone()].replace('>', "&gt;"));
            at = range.end;
        }
    }
    out.push_str(&hidden[at..]);
    out
}

/// In mj-wrapper, mrml writes what stands between sections into a comment for Outlook. A block tag there divides that comment.
fn outside_conditions(html: &str) -> String {
    const END: &str = "<![endif]-->";
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(start) = rest.find("<!--[if") {
        let Some((condition, length)) =
            rest[start..].find("]>").map(|at| &rest[start..start + at + 2]).zip(rest[start..].find(END).map(|at| at + END.len()))
        else {
            break;
        };
        let mut inside = &rest[start..start + length];
        out.push_str(&rest[..start]);
        while let Some((at, comment)) = mask::next_comment(inside) {
            out.push_str(&inside[..at]);
            out.push_str(END);
            out.push_str(comment);
            out.push_str(condition);
            inside = &inside[at + comment.len()..];
        }
        out.push_str(inside);
        rest = &rest[start + length..];
    }
    out.push_str(rest);
    out
}

/// Why MJML did not become HTML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lost {
    Unreadable(String),
    /// This tag stands where MJML keeps nothing.
    Tag(String),
}

/// HTML with its styles inlined; HTML without a style sheet stays as it is.
pub(super) fn inlined(html: &str) -> Styled {
    let mut mask = Mask::default();
    let styled = styled(mask.hide(html));
    Styled { html: mask.show(&styled.html), ..styled }
}

fn styled(hidden: String) -> Styled {
    match with_styles(&hidden) {
        Ok(html) => Styled { html, not_inlined: None },
        Err(error) => Styled { html: hidden, not_inlined: Some(error) },
    }
}

fn with_styles(hidden: &str) -> Result<String, String> {
    if !hidden.to_ascii_lowercase().contains("<style") {
        return Ok(hidden.to_string());
    }
    let inliner =
        css_inline::CSSInliner::options().keep_style_tags(true).remove_inlined_selectors(true).load_remote_stylesheets(false).build();
    let whole = bodies_written(hidden);
    // A style attribute that CSS cannot read (`color: red;;`) ends the inlining; mail programs just skip what is empty in it.
    inliner.inline(&whole).or_else(|_| inliner.inline(&styles_mended(&whole))).map_err(|error| error.to_string())
}

/// Style attributes without empty declarations.
fn styles_mended(hidden: &str) -> String {
    let mut out = String::with_capacity(hidden.len());
    let mut at = 0;
    for piece in pieces(hidden) {
        let Piece::Start(start) = piece else { continue };
        let Some(range) = start.attribute("style").and_then(|attribute| attribute.value.clone()) else { continue };
        let declarations: Vec<&str> =
            declarations(&hidden[range.clone()]).into_iter().map(str::trim).filter(|part| part.contains(':')).collect();
        out.push_str(&hidden[at..range.start]);
        out.push_str(&declarations.join("; "));
        at = range.end;
    }
    out.push_str(&hidden[at..]);
    out
}

/// Split at semicolons that stand outside of quotes, brackets and entities.
fn declarations(style: &str) -> Vec<&str> {
    let (mut found, mut start, mut quote, mut depth) = (Vec::new(), 0, None, 0usize);
    for (at, c) in style.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            (None, ';') if depth == 0 && !is_entity(&style[start..at]) => {
                found.push(&style[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(&style[start..]);
    found
}

fn is_entity(before: &str) -> bool {
    before.rfind('&').is_some_and(|at| at + 1 < before.len() && before[at + 1..].chars().all(|c| c.is_ascii_alphanumeric() || c == '#'))
}

/// Readers of HTML put a `<tbody>` before a table's first row. Where a block tag stands before that row, it must stand inside.
fn bodies_written(hidden: &str) -> String {
    let mut out = String::with_capacity(hidden.len());
    let (mut at, mut table, mut has_block) = (0, None, false);
    for piece in pieces(hidden) {
        match piece {
            Piece::Start(start) if start.name == "table" => (table, has_block) = (Some(start.range.end), false),
            Piece::Start(start) => {
                if let Some(table) = table.take().filter(|_| has_block && start.name == "tr") {
                    out.push_str(&hidden[at..table]);
                    out.push_str("<tbody>");
                    at = table;
                }
            }
            Piece::Comment(_) => has_block = true,
            Piece::Text(range) if hidden[range.clone()].trim().is_empty() => {}
            _ => table = None,
        }
    }
    out.push_str(&hidden[at..]);
    out
}

/// A message's parts as handlebars sources.
pub(super) struct Sources {
    pub html: String,
    /// Made from the HTML.
    pub text: String,
}

/// Marks links and pixel, puts the preheader first, and makes a text part.
pub(super) fn finish(html: &str, preheader: &str, track: Track, links: &mut Links) -> Result<Sources, String> {
    let mut mask = Mask::default();
    let hidden = mask.hide(html);
    let marked = links_marked(&hidden, &mut mask, track, links)?;
    let text = mask.show(&text::from_html(&marked, &mask));
    let head = if preheader.trim().is_empty() { String::new() } else { mask.word(hidden_text(preheader)) };
    let pixel = if track.opens { mask.word(marks::PIXEL) } else { String::new() };
    let whole = framed(&marked, &head, &pixel)?;
    Ok(Sources { html: mask.show(&whole), text })
}

fn settings<'h, 's>(handler: (Cow<'s, Selector>, ElementContentHandlers<'h>)) -> RewriteStrSettings<'h, 's> {
    RewriteStrSettings::new().append_element_content_handler(handler).with_strict(false)
}

fn links_marked(hidden: &str, mask: &mut Mask, track: Track, links: &mut Links) -> Result<String, String> {
    let links_of = |element: &mut lol_html::html_content::Element<'_, '_>| {
        let untracked = element.has_attribute("data-notrack");
        element.remove_attribute("data-notrack");
        let Some(written) = element.get_attribute("href") else { return Ok(()) };
        let target = html_escape::decode_html_entities(mask.show(written.trim()).as_str()).into_owned();
        let track = Track { clicks: track.clicks && !untracked, ..track };
        if let Some(source) = link_source(&target, track, links) {
            let word = mask.word(source);
            element.set_attribute("href", &word)?;
        }
        Ok(())
    };
    let marked = rewrite_str(hidden, settings(element!("a[href], area[href]", links_of))).map_err(|error| error.to_string())?;
    let sources_of = |element: &mut lol_html::html_content::Element<'_, '_>| {
        for name in ["src", "background"] {
            let Some(written) = element.get_attribute(name) else { continue };
            let target = html_escape::decode_html_entities(mask.show(written.trim()).as_str()).into_owned();
            if has_values(&target) {
                let word = mask.word(format!("{{{{#$src}}}}{target}{{{{/$src}}}}"));
                element.set_attribute(name, &word)?;
            }
        }
        Ok(())
    };
    rewrite_str(&marked, settings(element!("[src], [background]", sources_of))).map_err(|error| error.to_string())
}

/// What stands for a link's target; `None` leaves it as written.
fn link_source(target: &str, track: Track, links: &mut Links) -> Option<String> {
    let tags = tags(target);
    if tags.iter().any(|tag| needs::is_value(tag) && OURS.contains(&tag.inner(target))) {
        return None;
    }
    let lower = target.to_ascii_lowercase();
    let is_web = lower.starts_with("http://") || lower.starts_with("https://");
    if !tags.iter().any(|tag| tag.kind != Kind::Escaped) {
        let number = (track.clicks && is_web).then(|| links.number(target)).flatten()?;
        return Some(format!("{}L{number}{}", marks::START, marks::START));
    }
    let may_be_web = is_web || target.starts_with("{{");
    let number = if track.clicks && may_be_web { links.number(target).unwrap_or(0) } else { 0 };
    Some(format!("{{{{#$link {number}}}}}{target}{{{{/$link}}}}"))
}

fn has_values(text: &str) -> bool {
    tags(text).iter().any(needs::is_value)
}

/// The preheader as hidden text, with blanks behind it so that no client shows the body's first words in the list.
fn hidden_text(preheader: &str) -> String {
    let padding = "&#847;&zwnj;&nbsp;".repeat(60);
    format!(
        "<div style=\"display:none;font-size:1px;line-height:1px;max-height:0;max-width:0;opacity:0;overflow:hidden;mso-hide:all\">{}{padding}</div>",
        literal(preheader)
    )
}

/// The preheader of a rendered letter; empty when it has none.
pub fn preheader_of(html: &str) -> String {
    let Some((_, rest)) = html.split_once("mso-hide:all\">") else { return String::new() };
    let words = rest.split("&#847;").next().unwrap_or_default();
    let words = words.split('\u{34f}').next().unwrap_or_default();
    [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#x27;", "'"), ("&#39;", "'"), ("&amp;", "&")]
        .iter()
        .fold(words.to_string(), |text, (entity, letter)| text.replace(entity, letter))
}

/// Words with `{{…}}` as HTML: what stands between the tags is escaped.
fn literal(words: &str) -> String {
    let mut out = String::new();
    let mut at = 0;
    for Tag { range, .. } in tags(words) {
        out.push_str(&escaped(&words[at..range.start], Escape::Html));
        out.push_str(&words[range.clone()]);
        at = range.end;
    }
    out.push_str(&escaped(&words[at..], Escape::Html));
    out
}

fn framed(marked: &str, head: &str, pixel: &str) -> Result<String, String> {
    if head.is_empty() && pixel.is_empty() {
        return Ok(marked.to_string());
    }
    let body = |element: &mut lol_html::html_content::Element<'_, '_>| {
        if !head.is_empty() {
            element.prepend(head, ContentType::Html);
        }
        if !pixel.is_empty() {
            element.append(pixel, ContentType::Html);
        }
        Ok(())
    };
    let mut out = rewrite_str(marked, settings(element!("body", body))).map_err(|error| error.to_string())?;
    // A fragment has no body.
    if !head.is_empty() && !out.contains(head) {
        out.insert_str(0, head);
    }
    if !pixel.is_empty() && !out.contains(pixel) {
        out.push_str(pixel);
    }
    Ok(out)
}

/// A written text part with its addresses marked.
pub(super) fn text_marked(source: &str, track: Track, links: &mut Links) -> String {
    let tags = tags(source);
    let blank = blanked(source, &tags);
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while let Some(start) = next_address(&blank, at) {
        let end = address_end(&blank, &tags, start);
        out.push_str(&source[at..start]);
        let target = &source[start..end];
        match link_source(target, track, links) {
            Some(marked) => out.push_str(&marked),
            None => out.push_str(target),
        }
        at = end;
    }
    out.push_str(&source[at..]);
    out
}

fn next_address(text: &str, from: usize) -> Option<usize> {
    let rest = &text[from..];
    ["http://", "https://"].iter().filter_map(|scheme| rest.find(scheme)).min().map(|at| from + at)
}

/// Up to a blank, a bracket or a block tag, without the sentence's own sign at the end.
fn address_end(blank: &str, tags: &[Tag], start: usize) -> usize {
    let mut end = blank[start..].find(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | '"')).map_or(blank.len(), |at| start + at);
    if let Some(tag) = tags.iter().find(|tag| tag.range.start >= start && tag.range.start < end && !needs::is_value(tag)) {
        end = tag.range.start;
    }
    while let Some(sign) = blank[start..end].chars().next_back().filter(|c| matches!(c, '.' | ',' | ';' | ':' | '!' | '?' | ')' | '\'')) {
        end -= sign.len_utf8();
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Track = Track { opens: true, clicks: true };

    fn check(html: &str, expected: &str) {
        let mut links = Links::new();
        assert_eq!(finish(html, "", Track { opens: false, clicks: true }, &mut links).unwrap().html, expected);
    }

    #[test]
    fn links_of_the_web_are_marked_and_others_left() {
        check("<a href=\"https://a.example/?x=1&amp;y=2\">x</a>", "<a href=\"\u{1}L1\u{1}\">x</a>");
        check("<a href=\"https://a.example/{{sku}}\">x</a>", "<a href=\"{{#$link 1}}https://a.example/{{sku}}{{/$link}}\">x</a>");
        check(
            "<a href='{{url}}'>x</a><map><area href=\"http://b.example\"></map>",
            "<a href=\"{{#$link 1}}{{url}}{{/$link}}\">x</a><map><area href=\"\u{1}L2\u{1}\"></map>",
        );
        for same in [
            "<a href=\"mailto:a@b.example\">x</a>",
            "<a href=\"tel:+380441234567\">x</a>",
            "<a href=\"#top\">x</a>",
            "<a href=\"{{unsubscribe_url}}\">x</a>",
            "<link href=\"https://fonts.example\">",
        ] {
            check(same, same);
        }
        check("<a data-notrack href=\"https://a.example\">x</a>", "<a href=\"https://a.example\">x</a>");
        check("<a data-notrack href=\"https://a.example/{{x}}\">x</a>", "<a href=\"{{#$link 0}}https://a.example/{{x}}{{/$link}}\">x</a>");
        check("<img src=\"{{image}}\" alt=\"\">", "<img src=\"{{#$src}}{{image}}{{/$src}}\" alt=\"\">");
    }

    #[test]
    fn the_preheader_stands_first_and_the_pixel_last() {
        let found = finish("<html><body class=a><p>x</p></body></html>", "A & {{b}}", ALL, &mut Links::new()).unwrap().html;
        assert!(found.contains("<body class=a><div style=\"display:none"), "{found}");
        assert!(found.contains("A &amp; {{b}}&#847;"));
        assert!(found.ends_with("<p>x</p>\u{1}P\u{1}</body></html>"));
        let found = finish("<p>x</p>", "", ALL, &mut Links::new()).unwrap().html;
        assert_eq!(found, "<p>x</p>\u{1}P\u{1}");
    }

    #[test]
    fn addresses_in_a_text_part_are_marked() {
        let mut links = Links::new();
        let marked = text_marked(
            "See https://a.example/x. Or (https://a.example/{{sku}}?y=1), {{unsubscribe_url}}\nhttp://b.example{{#if x}}!{{/if}}",
            ALL,
            &mut links,
        );
        assert_eq!(
            marked,
            "See \u{1}L1\u{1}. Or ({{#$link 2}}https://a.example/{{sku}}?y=1{{/$link}}), {{unsubscribe_url}}\n\u{1}L3\u{1}{{#if x}}!{{/if}}"
        );
    }

    #[test]
    fn the_language_of_a_page_is_kept() {
        let styled = from_mjml(
            "<mjml lang=\"{{t 'language'}}\"><mj-head><mj-style>a{color:red}</mj-style></mj-head><mj-body><mj-section><mj-column><mj-text>x</mj-text></mj-column></mj-section></mj-body></mjml>\n",
        );
        let html = styled.map(|styled| styled.html).unwrap_or_else(|lost| panic!("{lost:?}"));
        assert!(html.contains("<html lang=\"{{t 'language'}}\""), "{html}");
    }

    #[test]
    fn blocks_between_sections_of_a_wrapper_leave_the_comments_of_outlook_whole() {
        let section = |words: &str| format!("<mj-section><mj-column><mj-text>{words}</mj-text></mj-column></mj-section>");
        let mjml = format!(
            "<mjml><mj-body><mj-wrapper>{}{{{{#each a}}}}{}{{{{/each}}}}{}</mj-wrapper></mj-body></mjml>",
            section("one"),
            section("{{b}}"),
            section("end")
        );
        let html = from_mjml(&mjml).map(|styled| styled.html).unwrap_or_else(|lost| panic!("{lost:?}"));
        assert!(
            html.contains("<![endif]-->{{#each a}}<!--[if mso | IE]>") && html.contains("<![endif]-->{{/each}}<!--[if mso | IE]>"),
            "{html}"
        );
        let comments =
            pieces(&html).into_iter().filter(|piece| matches!(piece, Piece::Comment(range) if html[range.clone()].contains("{{"))).count();
        assert_eq!(comments, 0);
    }

    #[test]
    fn an_arrow_behind_cyrillic_words_is_text() {
        let mjml = "<mjml><mj-body><mj-section><mj-column><mj-button href=\"https://a.example\">Дивитися далі ></mj-button></mj-column></mj-section></mj-body></mjml>";
        assert!(from_mjml(mjml).is_ok_and(|styled| styled.html.contains("далі &gt;")));
    }

    #[test]
    fn untidy_style_attributes_are_mended() {
        let html = "<style>p{color:red}</style><p style=\"\n  margin: 10px 0;\n  font-family: Georgia;;\n  \">x</p><p style='background:url(a;b);'>y</p>";
        let found = with_styles(html).unwrap();
        assert!(found.contains("margin: 10px 0;font-family: Georgia"), "{found}");
        assert!(found.contains("url(a;b)"), "{found}");
    }

    #[test]
    fn blocks_between_rows_stay_between_rows_when_styles_are_inlined() {
        let html = "<style>td{color:red} @media (max-width:600px){td{color:blue}}</style><table>{{#each items}}<tr><td title=\"{{default a \"b\"}}\">{{title}}</td></tr>{{/each}}</table><!--[if mso]>{{x}}<![endif]-->";
        let found = inlined(html).html;
        assert!(
            found.contains("{{#each items}}<tr><td title=\"{{default a \"b\"}}\" style=\"color: red;\">{{title}}</td></tr>{{/each}}"),
            "{found}"
        );
        assert!(found.contains("@media") && found.contains("<!--[if mso]>{{x}}<![endif]-->"));
    }
}
