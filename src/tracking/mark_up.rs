//! Replaces the marks of `templates` with tracked addresses, in one pass.

use super::tokens::{Click, Kind, Tokens};
use super::utm::{self, Utm};
use crate::templates::marks;
use crate::types::{Channel, MessageId, VersionId};
use std::borrow::Cow;

/// Everything that the marks of one message become.
#[derive(Debug, Clone, Copy)]
pub struct MarkUp<'a> {
    pub tokens: &'a Tokens,
    /// Without a slash at the end.
    pub public_url: &'a str,
    pub message: MessageId,
    pub version: VersionId,
    pub channel: Channel,
    /// Literal targets of the version, link 1 first, as the author wrote them: what stands in place of a mark without click tracking.
    pub targets: &'a [String],
    /// Whether clicks are tracked; if not, marks become plain targets.
    pub clicks: bool,
    /// Whether the open pixel is there.
    pub opens: bool,
    /// Parameters to add, when the message asks for them.
    pub utm: Option<Utm<'a>>,
}

/// What kind of text carries the marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Marks stand in attributes: what is between them is escaped, and what replaces them will be.
    Html,
    Text,
}

/// The addresses of a message's literal links as far as they have been signed: text and HTML have the same.
#[derive(Debug, Default)]
pub struct Signed(Vec<Option<String>>);

impl Signed {
    fn of(&mut self, click: &Click, tokens: &Tokens) -> &str {
        let at = click.link as usize;
        if self.0.len() <= at {
            self.0.resize(at + 1, None);
        }
        match self.0.get_mut(at) {
            Some(signed) => signed.get_or_insert_with(|| tokens.sign_click(click)),
            None => "",
        }
    }
}

/// The text with every mark replaced. A mark that was cut off, or names a link that the version does not have, leaves nothing behind.
pub fn mark_up(text: &str, form: Form, with: &MarkUp, signed: &mut Signed) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8 + 256);
    let mut rest = text;
    let next = |rest: &str| memchr::memchr(marks::START as u8, rest.as_bytes());
    while let Some(start) = next(rest) {
        out.push_str(&rest[..start]);
        rest = &rest[start + 1..];
        let Some(end) = next(rest) else { return out };
        replace(&rest[..end], form, with, signed, &mut out);
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    out
}

fn replace(mark: &str, form: Form, with: &MarkUp, signed: &mut Signed, out: &mut String) {
    if mark == "P" {
        if with.opens && form == Form::Html {
            let token = with.tokens.sign(Kind::Open, with.message);
            out.push_str("<img src=\"");
            out.push_str(with.public_url);
            out.push_str("/o/");
            out.push_str(&token);
            out.push_str("\" width=\"1\" height=\"1\" alt=\"\" style=\"display:block;border:0\">");
        }
        return;
    }
    let Some(link) = mark.strip_prefix('L') else { return };
    let (number, personal) = link.split_once(marks::TARGET).map_or((link, None), |(number, target)| (number, Some(target)));
    let Ok(number) = number.parse::<u32>() else { return };
    let personal = personal.map(|target| match form {
        Form::Html => unescaped(target),
        Form::Text => Cow::Borrowed(target),
    });
    let with_utm = |target: &str| with.utm.map_or_else(|| target.to_string(), |utm| utm::added(target, &utm, number));
    if with.clicks {
        let click = Click {
            message: with.message,
            version: with.version,
            link: number,
            channel: with.channel,
            utm: with.utm.is_some(),
            target: personal.map(|target| with_utm(&target)),
        };
        out.push_str(with.public_url);
        out.push_str("/c/");
        // A number that no link of the version has is somebody's mischief: nothing is kept for it.
        if click.target.is_some() || number as usize > with.targets.len() {
            out.push_str(&with.tokens.sign_click(&click));
        } else {
            out.push_str(signed.of(&click, with.tokens));
        }
        return;
    }
    let literal = || (number as usize).checked_sub(1).and_then(|at| with.targets.get(at)).map(|target| Cow::Borrowed(target.as_str()));
    let Some(target) = personal.or_else(literal) else { return };
    let target = with_utm(&target);
    match form {
        Form::Html => push_escaped(out, &target),
        Form::Text => out.push_str(&target),
    }
}

fn push_escaped(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
}

/// The text of an HTML attribute, with the references that escaping makes resolved (five by name, all by number).
fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('&') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        match rest.find(';').filter(|end| *end <= 10).and_then(|end| Some((reference(&rest[1..end])?, end))) {
            Some((character, end)) => {
                out.push(character);
                rest = &rest[end + 1..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn reference(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => {
            let digits = name.strip_prefix('#')?;
            let code = match digits.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => digits.parse(),
            };
            char::from_u32(code.ok()?).filter(|character| !character.is_control())?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, form: Form, clicks: bool, utm: bool, expected: impl Fn(&str, &Tokens)) {
        let tokens = Tokens::new("k:0123456789abcdef").unwrap();
        let targets = ["https://shop.example/?a=1&b=2".to_string(), "https://shop.example/b".to_string()];
        let with = MarkUp {
            tokens: &tokens,
            public_url: "https://go.example",
            message: MessageId(7),
            version: VersionId(3),
            channel: Channel::Email,
            targets: &targets,
            clicks,
            opens: clicks,
            utm: utm.then_some(Utm { source: "s", medium: "email", campaign: "c" }),
        };
        expected(&mark_up(text, form, &with, &mut Signed::default()), &tokens);
    }

    #[test]
    fn without_tracking_a_mark_is_its_plain_target() {
        let html = "<a href=\"\u{1}L1\u{1}\">x</a><a href=\"\u{1}L9\u{1}\"></a><a href=\"\u{1}L2\u{2}https://p.example/?x&#x3D;1&amp;y\u{1}\"></a>\u{1}P\u{1}</body>";
        check(html, Form::Html, false, false, |out, _| {
            assert_eq!(
                out,
                "<a href=\"https://shop.example/?a=1&amp;b=2\">x</a><a href=\"\"></a><a href=\"https://p.example/?x=1&amp;y\"></a></body>"
            )
        });
        check("см. \u{1}L1\u{1} ок", Form::Text, false, false, |out, _| assert_eq!(out, "см. https://shop.example/?a=1&b=2 ок"));
        check("\u{1}L2\u{1}", Form::Text, false, true, |out, _| {
            assert_eq!(out, "https://shop.example/b?utm_source=s&utm_medium=email&utm_campaign=c&utm_content=2")
        });
    }

    #[test]
    fn with_tracking_a_mark_is_an_address_of_ours_that_says_message_version_and_link() {
        check("<a href=\"\u{1}L2\u{1}\">\u{1}P\u{1}", Form::Html, true, true, |out, tokens| {
            let address = out.split('"').nth(1).unwrap();
            let click = tokens.read_click(address.strip_prefix("https://go.example/c/").unwrap()).unwrap();
            assert_eq!((click.message, click.version, click.link, click.utm, click.target), (MessageId(7), VersionId(3), 2, true, None));
            let pixel = out.split("<img src=\"https://go.example/o/").nth(1).unwrap().split('"').next().unwrap();
            assert_eq!(tokens.read(Kind::Open, pixel), Some(MessageId(7)));
            assert!(out.ends_with("width=\"1\" height=\"1\" alt=\"\" style=\"display:block;border:0\">"));
        });
        check("\u{1}L1\u{2}https://p.example/?a&#x3D;b&amp;c=1#f\u{1}", Form::Html, true, true, |out, tokens| {
            let click = tokens.read_click(out.strip_prefix("https://go.example/c/").unwrap()).unwrap();
            assert_eq!(
                click.target.as_deref(),
                Some("https://p.example/?a=b&c=1&utm_source=s&utm_medium=email&utm_campaign=c&utm_content=1#f")
            );
        });
    }

    #[test]
    fn a_cut_or_unknown_mark_leaves_nothing_behind() {
        for text in ["a\u{1}", "a\u{1}L", "a\u{1}L1", "a\u{1}X\u{1}", "a\u{1}Lx\u{1}", "a\u{1}L0\u{1}", "a\u{1}\u{1}"] {
            check(text, Form::Html, false, false, |out, _| assert_eq!(out, "a"));
        }
    }
}
