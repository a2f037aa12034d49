//! What a message must have and should not have (standards.md §9), each with its place.
//!
//! Problems forbid an apply, warnings do not. Structure is looked at as written, so that places are those of the files; sizes are of a
//! message as rendered.

use super::expand::{Expanded, Form};
use super::marks;
use super::markup::{Piece, Start, blanked, pieces};
use super::message::{Fault, MessageTemplate, Part, Rendered};
use super::tags::tags;
use crate::diagnostics::{Problem, Problems};
use crate::types::{Channel, Class};
use std::ops::Range;

/// Gmail shows so much of a message's HTML and hides the rest, with the link to unsubscribe.
pub const CLIPPED: usize = 102 * 1024;
const NEARLY_CLIPPED: usize = 90 * 1024;
/// Gmail drops a `<style>` that is longer.
const LONGEST_STYLE: usize = 8192;
const LONGEST_SUBJECT: usize = 60;
/// A tracked address in place of a mark.
const TRACKED: usize = 110;

/// Elements that stand in each other at most: inlining the styles calls itself for each level.
const DEEPEST: usize = 200;
/// Elements that end by themselves, so that their ends prove nothing about depth.
const UNCLOSED: &[&str] = &[
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr", "p", "li", "dt", "dd", "option",
    "tr", "td", "th", "thead", "tbody", "tfoot", "colgroup", "html", "body", "head",
];

const EMPTY_WORDS: &[&str] = &[
    "click here",
    "here",
    "click",
    "read more",
    "more",
    "link",
    "this link",
    "тут",
    "сюди",
    "натисніть тут",
    "клікніть тут",
    "за посиланням",
    "здесь",
    "сюда",
    "нажмите здесь",
    "кликните здесь",
    "по ссылке",
];

/// Lints the structure of an HTML part.
pub(super) fn markup(source: &Expanded, form: Form, problems: &mut Problems) {
    let text = &source.text;
    let blank = blanked(text, &tags(text));
    let mut link: Option<(Range<usize>, String, bool)> = None;
    let mut in_defaults = false;
    let mut depth = 0usize;
    for piece in pieces(&blank) {
        depth = match &piece {
            Piece::Start(start) if !start.is_closed && !UNCLOSED.contains(&start.name.as_str()) => depth + 1,
            Piece::End { name, .. } if !UNCLOSED.contains(&name.as_str()) => depth.saturating_sub(1),
            _ => depth,
        };
        if let Piece::Start(start) = &piece
            && depth > DEEPEST
        {
            let problem = source.problem(start.range.clone(), "elements stand too deep in each other").label("one too many");
            problems.push(problem.help("close each element where it ends; mail programs show no more than a few dozen levels"));
            return;
        }
        match piece {
            Piece::Start(start) if start.name == "mj-attributes" => in_defaults = !start.is_closed,
            Piece::End { name, .. } if name == "mj-attributes" => in_defaults = false,
            _ if in_defaults => {}
            Piece::Start(start) => {
                element(source, &start, problems);
                if matches!(start.name.as_str(), "a" | "mj-button" | "mj-navbar-link") && !start.is_closed {
                    link = Some((start.range.clone(), String::new(), false));
                } else if matches!(start.name.as_str(), "img" | "mj-image") {
                    let has_alt = value(source, &start, "alt").is_some_and(|alt| !alt.trim().is_empty());
                    if let Some((_, _, has_words)) = &mut link {
                        *has_words |= has_alt;
                    }
                }
            }
            Piece::Text(range) => {
                if let Some((_, words, _)) = &mut link {
                    words.push_str(&text[range]);
                }
            }
            Piece::End { name, .. } if matches!(name.as_str(), "a" | "mj-button" | "mj-navbar-link") => {
                if let Some((range, words, has_words)) = link.take() {
                    named(source, range, &words, has_words, problems);
                }
            }
            Piece::Raw(range) => style(source, range, form, &blank, problems),
            _ => {}
        }
    }
}

fn named(source: &Expanded, range: Range<usize>, words: &str, has_words: bool, problems: &mut Problems) {
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    let words = words.trim_matches(|c: char| c.is_ascii_punctuation() || matches!(c, '→' | '»' | '›' | ' '));
    if words.is_empty() && !has_words {
        let problem = source.problem(range, "a link without words cannot be read aloud").label("says nothing").warning();
        problems.push(problem.help("write words into it, or give its image an alt text"));
    } else if EMPTY_WORDS.contains(&words) {
        let problem = source.problem(range, format!("a link that says `{words}` does not say where it leads")).warning();
        problems.push(problem.help("name what waits behind it: `See the lamps`"));
    }
}

fn style(source: &Expanded, range: Range<usize>, form: Form, blank: &str, problems: &mut Problems) {
    let before = blank[..range.start].to_ascii_lowercase();
    let is_style = before.ends_with('>')
        && before.rfind('<').is_some_and(|at| before[at..].starts_with("<style") || before[at..].starts_with("<mj-style"));
    if is_style && form != Form::Text && range.len() > LONGEST_STYLE {
        let problem = source.problem(range.start..range.start + 1, format!("this style sheet has {} characters", range.len())).warning();
        problems.push(problem.help(format!("Gmail drops one with more than {LONGEST_STYLE}: divide it")));
    }
}

fn element(source: &Expanded, start: &Start, problems: &mut Problems) {
    let name = start.name.as_str();
    let whole = || start.range.clone();
    match name {
        "script" | "form" | "iframe" | "object" | "embed" => {
            let problem = source.problem(start.name_range.clone(), format!("mail programs do not show `<{name}>`"));
            problems.push(problem.help("leave it out; a link to a page does the same"));
        }
        "link" if value(source, start, "rel").is_some_and(|rel| rel.eq_ignore_ascii_case("stylesheet")) => {
            let problem = source.problem(whole(), "mail programs do not load style sheets").warning();
            problems.push(problem.help("write the styles into `<style>`; they are inlined"));
        }
        "img" | "mj-image" | "mj-carousel-image" => {
            if start.attribute("alt").is_none() {
                let problem = source.problem(whole(), "this image has no alt text").warning();
                problems.push(problem.help("describe it in `alt`; write `alt=\"\"` when it only decorates"));
            }
            image(source, start, "src", problems);
        }
        _ => {}
    }
    for attribute in ["background", "background-url"] {
        image(source, start, attribute, problems);
    }
    if let Some(attribute) =
        start.attributes.iter().find(|attribute| attribute.name.len() > 4 && attribute.name.starts_with("on") && !name.starts_with("mj-"))
    {
        let problem = source.problem(attribute.name_range.clone(), format!("mail programs do not run `{}`", attribute.name));
        problems.push(problem.help("leave it out"));
    }
    if matches!(name, "a" | "area" | "mj-button" | "mj-image" | "mj-navbar-link" | "mj-carousel-image" | "mj-social-element") {
        link(source, start, problems);
    }
}

fn image(source: &Expanded, start: &Start, attribute: &str, problems: &mut Problems) {
    let Some((range, address)) = found(source, start, attribute) else { return };
    let lower = address.trim().to_ascii_lowercase();
    let problem = if lower.starts_with("data:") {
        source
            .problem(range, "an image inside the message is not shown by Gmail and Outlook")
            .help("put it on a server and name its address")
    } else if lower.starts_with("http://") {
        source.problem(range, "an image without https is not shown everywhere").warning().help("write https://")
    } else if lower.is_empty() {
        source.problem(start.range.clone(), "this image has no address").warning().help("write its address into `src`")
    } else {
        return;
    };
    problems.push(problem);
}

fn link(source: &Expanded, start: &Start, problems: &mut Problems) {
    let Some((range, address)) = found(source, start, "href") else {
        if matches!(start.name.as_str(), "mj-button") {
            problems.push(source.problem(start.range.clone(), "this button leads nowhere").warning().help("give it a `href`"));
        }
        return;
    };
    let address = address.trim();
    let lower = address.to_ascii_lowercase();
    let problem = if address.is_empty() || address == "#" {
        source
            .problem(if range.is_empty() { start.range.clone() } else { range }, "this link leads nowhere")
            .warning()
            .help("write its address, https://…")
    } else if address.starts_with("{{")
        || ["http://", "https://", "mailto:", "tel:", "#", "sms:"].iter().any(|scheme| lower.starts_with(scheme))
    {
        if address.contains(' ') && !address.contains("{{") {
            source.problem(range, "an address has no blanks").warning().help("write %20 for a blank")
        } else {
            return;
        }
    } else if lower.starts_with("javascript:") || lower.starts_with("data:") || lower.starts_with("vbscript:") {
        source.problem(range, "a link leads to a page, an address or a number").help("write https://…, mailto:… or tel:…")
    } else {
        match lower.split_once("://") {
            Some((scheme, _)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                source.problem(range, format!("`{scheme}://` opens nothing")).help("write https://…")
            }
            _ => source
                .problem(range, "a message has no page that this link could start from")
                .warning()
                .help("write the whole address, https://…"),
        }
    };
    problems.push(problem);
}

/// An attribute's bytes and its value as written.
fn found<'a>(source: &'a Expanded, start: &Start, name: &str) -> Option<(Range<usize>, &'a str)> {
    let range = start.attribute(name)?.value.clone()?;
    Some((range.clone(), &source.text[range]))
}

fn value<'a>(source: &'a Expanded, start: &Start, name: &str) -> Option<&'a str> {
    found(source, start, name).map(|(_, value)| value)
}

/// What a message as a whole must have.
pub(super) fn message(message: &MessageTemplate, class: Class) -> Vec<Fault> {
    let mut faults = Vec::new();
    if message.channel != Channel::Email {
        return faults;
    }
    let mut say = |part: Part, problem: Problem| faults.push(Fault { part, language: message.language().to_string(), problem });
    if class != Class::Transactional {
        let parts = message.html.iter().map(|part| (part, "HTML part")).chain([(&message.text, "text part")]);
        for (part, name) in parts {
            for (variable, what) in
                [("unsubscribe_url", "a link to unsubscribe"), ("identity.postal_address", "the sender's postal address")]
            {
                if part.always.contains(variable) {
                    continue;
                }
                let sometimes = part.source.contains(variable);
                let title = if sometimes { format!("the {name} does not always have {what}") } else { format!("the {name} lacks {what}") };
                let problem = Problem::new(&message.file, None, title).help(if sometimes {
                    format!("write `{{{{{variable}}}}}` outside of `if`, `each` and `with`")
                } else {
                    format!("write `{{{{{variable}}}}}` into it, for example with `{{{{> footer}}}}`")
                });
                say(Part::Body, if class == Class::Advertising { problem } else { problem.warning() });
            }
        }
    }
    // A campaign's file that lacks the subject has been told so.
    if let Some(subject) = &message.subject {
        let length = blanked(&subject.source, &[]).chars().count();
        if !subject.source.contains("{{") && length > LONGEST_SUBJECT {
            let problem = Problem::new("", None, format!("the subject has {length} characters")).warning();
            say(Part::Subject, problem.help(format!("phones show about 35, most programs {LONGEST_SUBJECT}")));
        }
        if message.preheader.as_ref().is_some_and(|preheader| preheader.source.trim() == subject.source.trim()) {
            let problem = Problem::new("", None, "the preheader says the same as the subject").warning();
            say(Part::Preheader, problem.help("go on where the subject ends"));
        }
    }
    faults
}

impl Rendered {
    /// Bytes of the HTML with tracked addresses in place of their marks.
    pub fn size(&self) -> usize {
        let html = self.html.as_deref().unwrap_or("");
        html.len() + html.matches(marks::START).count() / 2 * TRACKED
    }

    /// What can be said of a message as it leaves: its size, the length of its subject. Files of the problems are empty.
    pub fn lint(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let size = self.size();
        let help = "say less, or divide it into two messages; Gmail hides what is beyond 102 KB, the link to unsubscribe too";
        if size > CLIPPED {
            found.push(Problem::new("", None, format!("the HTML part has {} KB", size.div_ceil(1024))).help(help));
        } else if size > NEARLY_CLIPPED {
            found.push(Problem::new("", None, format!("the HTML part has {} KB", size.div_ceil(1024))).warning().help(help));
        }
        let length = self.subject.chars().count();
        if length > LONGEST_SUBJECT {
            let problem = Problem::new("", None, format!("the subject has {length} characters")).warning();
            found.push(problem.help(format!("phones show about 35, most programs {LONGEST_SUBJECT}")));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(html: &str, expected: &[&str]) {
        let mut problems = Problems::default();
        markup(&Expanded::of("a.hbs", html), Form::Html, &mut problems);
        let found: Vec<String> = problems
            .iter()
            .map(|problem| format!("{} | {}", problem.title, problem.span.map_or("", |span| &html[span.start..span.end])))
            .collect();
        assert_eq!(found, expected, "{html}");
    }

    #[test]
    fn each_rule_has_a_sample_that_fails_and_one_that_passes() {
        check("<img src=\"https://a.example/x.png\" alt=\"Lamp\"><a href=\"https://a.example\">See the lamps</a>", &[]);
        check("<img src=\"https://a.example/x.png\">", &["this image has no alt text | <img src=\"https://a.example/x.png\">"]);
        check(
            "<img alt=\"\" src=\"http://a.example/x.png\">",
            &["an image without https is not shown everywhere | http://a.example/x.png"],
        );
        check(
            "<img alt=\"\" src=\"data:image/png;base64,AA\">",
            &["an image inside the message is not shown by Gmail and Outlook | data:image/png;base64,AA"],
        );
        check(
            "<a href=\"https://a.example\">Click here</a>",
            &["a link that says `click here` does not say where it leads | <a href=\"https://a.example\">"],
        );
        check("<a href=\"https://a.example\"><img alt=\"Lamp\" src=\"{{x}}\"></a>", &[]);
        check("<a href=\"https://a.example\"></a>", &["a link without words cannot be read aloud | <a href=\"https://a.example\">"]);
        check("<a href=\"\">Lamps</a>", &["this link leads nowhere | <a href=\"\">"]);
        check("<a href=\"#\">Lamps</a>", &["this link leads nowhere | #"]);
        check("<a href=\"/lamps\">Lamps</a>", &["a message has no page that this link could start from | /lamps"]);
        check("<a href=\"htps://a.example\">Lamps</a>", &["`htps://` opens nothing | htps://a.example"]);
        check(&"<div>".repeat(199), &[]);
        check(&"<div>".repeat(201), &["elements stand too deep in each other | <div>"]);
        check(&"<p>x<br>".repeat(5000), &[]);
        check("<a href=\"javascript:x\">Lamps</a>", &["a link leads to a page, an address or a number | javascript:x"]);
        check("<a href=\"{{url}}\">Lamps</a><a href=\"mailto:a@b.example\">Write</a><a name=x>Lamps</a>", &[]);
        check("<script>x</script>", &["mail programs do not show `<script>` | script"]);
        check("<p onclick=\"x\">x</p>", &["mail programs do not run `onclick` | onclick"]);
        check(&format!("<style>{}</style>", "a{}".repeat(2000)), &[]);
        check(&format!("<style>{}</style>", "a{}".repeat(3000)), &["this style sheet has 9000 characters | a"]);
        check(
            "<link rel=\"stylesheet\" href=\"https://a.example/x.css\">",
            &["mail programs do not load style sheets | <link rel=\"stylesheet\" href=\"https://a.example/x.css\">"],
        );
    }
}
