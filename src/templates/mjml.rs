//! Which tags and attributes MJML 4 knows, and where they may stand. mrml accepts anything else in silence.

use super::expand::Expanded;
use super::markup::{Piece, Start, blanked, pieces};
use super::tags::tags;
use crate::diagnostics::{Problems, nearest};

/// A tag: its name, the tags inside it, its own attributes in lists with blanks between them. Tags whose inside is HTML have `HTML` there.
type Known = (&'static str, &'static [&'static str], &'static [&'static str]);

const HTML: &[&str] = &["*"];
const BODY: &[&str] = &["mj-section", "mj-wrapper", "mj-hero", "mj-raw", "mj-include"];
const CONTENT: &[&str] = &[
    "mj-text",
    "mj-button",
    "mj-image",
    "mj-divider",
    "mj-spacer",
    "mj-table",
    "mj-raw",
    "mj-social",
    "mj-navbar",
    "mj-accordion",
    "mj-carousel",
    "mj-include",
];
/// On every tag of the body.
const EVERYWHERE: &str = "css-class mj-class padding padding-top padding-right padding-bottom padding-left";
const FONT: &str =
    "color font-family font-size font-style font-weight letter-spacing line-height text-align text-decoration text-transform";

const BACKGROUND: &str =
    "background-color background-position background-position-x background-position-y background-repeat background-size background-url";
const BORDERS: &str = "border border-top border-right border-bottom border-left border-radius";
const ICONS: &str =
    "icon-align icon-height icon-position icon-unwrapped-alt icon-unwrapped-url icon-width icon-wrapped-alt icon-wrapped-url";

static KNOWN: &[Known] = &[
    ("mjml", &["mj-head", "mj-body", "mj-raw", "mj-include"], &["lang dir owa version"]),
    (
        "mj-head",
        &["mj-attributes", "mj-breakpoint", "mj-font", "mj-html-attributes", "mj-preview", "mj-style", "mj-title", "mj-raw", "mj-include"],
        &[],
    ),
    ("mj-attributes", &["mj-all", "mj-class", "mj-*"], &[]),
    ("mj-breakpoint", &[], &["width"]),
    ("mj-font", &[], &["name href"]),
    ("mj-preview", HTML, &[]),
    ("mj-style", HTML, &["inline"]),
    ("mj-title", HTML, &[]),
    ("mj-html-attributes", HTML, &[]),
    ("mj-body", BODY, &["background-color width id lang dir"]),
    ("mj-include", &[], &["path type css-inline"]),
    (
        "mj-wrapper",
        &["mj-section", "mj-hero", "mj-raw", "mj-include", "mj-wrapper"],
        &[BACKGROUND, BORDERS, "direction full-width text-align text-padding gap"],
    ),
    (
        "mj-section",
        &["mj-column", "mj-group", "mj-raw", "mj-include"],
        &[BACKGROUND, BORDERS, "direction full-width text-align text-padding"],
    ),
    ("mj-group", &["mj-column", "mj-raw", "mj-include"], &["background-color direction vertical-align width"]),
    (
        "mj-column",
        CONTENT,
        &[
            BORDERS,
            "background-color direction inner-background-color inner-border inner-border-top inner-border-right inner-border-bottom inner-border-left inner-border-radius vertical-align width",
        ],
    ),
    (
        "mj-hero",
        CONTENT,
        &[
            "background-color background-height background-position background-url background-width border-radius container-background-color height inner-background-color inner-padding inner-padding-top inner-padding-left inner-padding-right inner-padding-bottom mode vertical-align width align",
        ],
    ),
    ("mj-raw", HTML, &["position"]),
    ("mj-text", HTML, &["align background-color container-background-color height vertical-align"]),
    (
        "mj-button",
        HTML,
        &[
            BORDERS,
            "align background-color container-background-color height href inner-padding name rel target title vertical-align width",
        ],
    ),
    (
        "mj-image",
        &[],
        &[
            BORDERS,
            "align alt container-background-color fluid-on-mobile font-size full-width height href max-height name rel sizes src srcset target title usemap width",
        ],
    ),
    ("mj-divider", &[], &["align border-color border-style border-width container-background-color width"]),
    ("mj-spacer", &[], &["border border-bottom border-left border-right border-top container-background-color height width"]),
    ("mj-table", HTML, &["align border cellpadding cellspacing container-background-color role table-layout vertical-align width"]),
    (
        "mj-social",
        &["mj-social-element", "mj-raw", "mj-include"],
        &[
            "align border-radius container-background-color icon-height icon-padding icon-size inner-padding mode table-layout text-padding vertical-align icon-position",
        ],
    ),
    (
        "mj-social-element",
        HTML,
        &[
            "align alt background-color border-radius href icon-height icon-padding icon-position icon-size name rel sizes src srcset target text-padding title vertical-align",
        ],
    ),
    (
        "mj-navbar",
        &["mj-navbar-link", "mj-raw", "mj-include"],
        &[
            "align base-url hamburger ico-align ico-close ico-color ico-font-family ico-font-size ico-line-height ico-open ico-padding ico-padding-bottom ico-padding-left ico-padding-right ico-padding-top ico-text-decoration ico-text-transform",
        ],
    ),
    ("mj-navbar-link", HTML, &["href name rel target"]),
    ("mj-accordion", &["mj-accordion-element", "mj-raw", "mj-include"], &[ICONS, "border container-background-color"]),
    ("mj-accordion-element", &["mj-accordion-title", "mj-accordion-text", "mj-raw"], &[ICONS, "background-color border"]),
    ("mj-accordion-title", HTML, &["background-color"]),
    ("mj-accordion-text", HTML, &["background-color"]),
    (
        "mj-carousel",
        &["mj-carousel-image"],
        &[
            "align border-radius container-background-color icon-width left-icon right-icon tb-border tb-border-radius tb-hover-border-color tb-selected-border-color tb-width thumbnails",
        ],
    ),
    ("mj-carousel-image", &[], &["alt border-radius href rel src target tb-border tb-border-radius thumbnails-src title"]),
];

/// Tags whose words have a font.
const WITH_FONT: &[&str] = &[
    "mj-text",
    "mj-button",
    "mj-table",
    "mj-social",
    "mj-social-element",
    "mj-navbar-link",
    "mj-accordion",
    "mj-accordion-element",
    "mj-accordion-title",
    "mj-accordion-text",
];

/// Checks a whole MJML text; every problem has its place in the file it comes from.
pub(super) fn check(source: &Expanded, problems: &mut Problems) {
    let text = &source.text;
    let blank = blanked(text, &tags(text));
    let mut open: Vec<&'static Known> = Vec::new();
    // Where the innermost tag of words and HTML begins.
    let mut began = 0..0;
    // Elements of HTML that are open inside the innermost MJML tag are not looked at.
    for piece in pieces(&blank) {
        if let (Piece::Start(start), Some((name, inside, _))) = (&piece, open.last())
            && *inside == HTML
            && start.name.starts_with("mj-")
            && is_unclosed(text, name, start.range.start)
        {
            let problem = source.problem(began.clone(), format!("`<{name}>` is not closed")).label("begins here");
            problems.push(problem.help(format!("put `</{name}>` where it ends")));
            open.pop();
        }
        let around = open.last().copied();
        let is_html = around.is_some_and(|(_, inside, _)| *inside == HTML);
        match piece {
            Piece::Start(start) if start.name == "mjml" || start.name.starts_with("mj-") => {
                let known = element(source, &start, around, is_html, problems);
                if let Some(known) = known.filter(|_| !start.is_closed) {
                    began = start.name_range.clone();
                    open.push(known);
                }
            }
            Piece::Start(start) if !is_html => {
                let place = around.map_or("outside of MJML".to_string(), |(name, ..)| format!("in {name}"));
                let problem =
                    source.problem(start.range.clone(), format!("`<{}>` may not stand {place}", start.name)).label("would be lost");
                problems.push(problem.help("HTML stands in mj-text, mj-table or mj-raw"));
            }
            Piece::End { name, range } if name == "mjml" || name.starts_with("mj-") => {
                match open.iter().rposition(|(known, ..)| *known == name) {
                    Some(at) => {
                        if at + 1 < open.len() {
                            let inner = open[open.len() - 1].0;
                            problems.push(source.problem(range, format!("`<{inner}>` is not closed before `</{name}>`")));
                        }
                        open.truncate(at);
                    }
                    None if KNOWN.iter().any(|(known, ..)| *known == name) => {
                        problems.push(source.problem(range, format!("`</{name}>` closes nothing")));
                    }
                    None => {}
                }
            }
            Piece::Raw(range) if range.end == blank.len() => {
                problems.push(
                    source.problem(range.start.saturating_sub(1)..range.start, "what begins here is not closed").help("write its end tag"),
                );
            }
            Piece::Text(range) if !is_html => {
                let words = &blank[range.clone()];
                let start = range.start + (words.len() - words.trim_start().len());
                let end = range.start + words.trim_end().len();
                if start < end {
                    let place = around.map_or("outside of MJML".to_string(), |(name, ..)| format!("in {name}"));
                    let problem = source.problem(start..end, format!("words may not stand {place}")).label("would be lost");
                    problems.push(problem.help("put them into mj-text"));
                }
            }
            _ => {}
        }
    }
    if let Some((name, ..)) = open.last() {
        let at = text.rfind(&format!("<{name}")).unwrap_or(0);
        problems.push(source.problem(at..at + name.len() + 1, format!("`<{name}>` is not closed")));
    }
}

/// The tag begins again, or never ends, after `from`: its end was forgotten, and nothing stands in it by mistake.
fn is_unclosed(text: &str, name: &str, from: usize) -> bool {
    let rest = text.get(from..).unwrap_or_default();
    match (rest.find(&format!("</{name}>")), rest.find(&format!("<{name}"))) {
        (Some(end), Some(again)) => again < end,
        (end, _) => end.is_none(),
    }
}

fn element(
    source: &Expanded,
    start: &Start,
    around: Option<&'static Known>,
    is_html: bool,
    problems: &mut Problems,
) -> Option<&'static Known> {
    let name = start.name.as_str();
    let in_attributes = around.is_some_and(|(name, ..)| *name == "mj-attributes");
    if in_attributes && matches!(name, "mj-all" | "mj-class") {
        return if name == "mj-all" { Some(&ALL) } else { Some(&CLASS) }.filter(|_| !start.is_closed);
    }
    let Some(known) = KNOWN.iter().find(|(known, ..)| *known == name) else {
        let problem = source.problem(start.name_range.clone(), format!("MJML has no tag `<{name}>`")).label("not known");
        problems.push(match nearest(name, KNOWN.iter().map(|(known, ..)| *known)) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem.help("see the tags of MJML 4"),
        });
        return None;
    };
    let allowed = match around {
        None => name == "mjml",
        Some((_, inside, _)) if is_html => inside.contains(&name),
        Some((_, inside, _)) => inside.contains(&name) || in_attributes,
    };
    if !allowed {
        let place = around.map_or("outside of `<mjml>`".to_string(), |(around, ..)| format!("in {around}"));
        let parents: Vec<&str> = KNOWN.iter().filter(|(_, inside, _)| inside.contains(&name)).map(|(parent, ..)| *parent).take(4).collect();
        let mut problem = source.problem(start.name_range.clone(), format!("`<{name}>` may not stand {place}")).label("at the wrong place");
        if !parents.is_empty() {
            problem = problem.help(format!("it stands in {}", parents.join(", ")));
        }
        problems.push(problem);
    }
    for attribute in &start.attributes {
        let own = is_in(known.2, &attribute.name)
            || is_in(&[EVERYWHERE], &attribute.name) && !matches!(name, "mjml" | "mj-head" | "mj-font" | "mj-breakpoint")
            || is_in(&[FONT], &attribute.name) && WITH_FONT.contains(&name);
        // `{{#if x}}…{{/if}}` inside a tag leaves blanks, `{{x}}` letters.
        let is_blank = source.text[attribute.name_range.clone()].contains("{{");
        if !own && !is_blank {
            let problem = source
                .problem(attribute.name_range.clone(), format!("`<{name}>` has no attribute `{}`", attribute.name))
                .label("not known");
            let names = known
                .2
                .iter()
                .chain(&[EVERYWHERE])
                .chain(if WITH_FONT.contains(&name) { &[FONT][..] } else { &[] })
                .flat_map(|list| list.split(' '));
            problems.push(match nearest(&attribute.name, names) {
                Some(near) => problem.help(format!("did you mean `{near}`?")),
                None => problem.help("MJML leaves it out"),
            });
        }
    }
    Some(known)
}

/// Whether one of the lists has this name.
fn is_in(lists: &[&str], name: &str) -> bool {
    lists.iter().any(|list| list.split(' ').any(|known| known == name))
}

static ALL: Known = ("mj-all", &[], &[]);
static CLASS: Known = ("mj-class", &["mj-*"], &[]);

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let mut problems = Problems::default();
        super::check(&Expanded::of("a.mjml", text), &mut problems);
        let found: Vec<String> = problems
            .iter()
            .map(|problem| format!("{} | {}", problem.title, problem.span.map_or("", |span| &text[span.start..span.end])))
            .collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn unknown_tags_attributes_and_wrong_places_are_problems_with_their_places() {
        let page = |inside: &str| format!("<mjml><mj-body>{inside}</mj-body></mjml>");
        let column = |inside: &str| page(&format!("<mj-section><mj-column>{inside}</mj-column></mj-section>"));
        check(
            &column("<mj-text color=\"red\" padding=\"0\">Hi <b>you</b> {{name}}</mj-text>{{#if x}}<mj-spacer height=\"5px\" />{{/if}}"),
            &[],
        );
        check(&column("<mj-texte>x</mj-texte>"), &["MJML has no tag `<mj-texte>` | mj-texte", "words may not stand in mj-column | x"]);
        check(&column("<mj-text colour=\"red\">x</mj-text>"), &["`<mj-text>` has no attribute `colour` | colour"]);
        check(&page("<mj-section><mj-text>x</mj-text></mj-section>"), &["`<mj-text>` may not stand in mj-section | mj-text"]);
        check(&page("<mj-section>Hello</mj-section>"), &["words may not stand in mj-section | Hello"]);
        check(&column("<p>x</p>"), &["`<p>` may not stand in mj-column | <p>", "words may not stand in mj-column | x"]);
        check(&column("<mj-text>a<mj-text>b</mj-text><mj-button>c</mj-button>"), &["`<mj-text>` is not closed | mj-text"]);
        check(&column("<mj-text>a</mj-txt><mj-button>b</mj-button>"), &["`<mj-text>` is not closed | mj-text"]);
        check(&column("<mj-text>a<mj-button>b</mj-button></mj-text>"), &["`<mj-button>` may not stand in mj-text | mj-button"]);
        check(&page("<mj-section><mj-column></mj-section>"), &["`<mj-column>` is not closed before `</mj-section>` | </mj-section>"]);
        check(
            "<mjml><mj-head><mj-attributes><mj-all color=\"red\" /><mj-class name=\"a\" x=\"y\" /><mj-text padding=\"0\" /></mj-attributes></mj-head></mjml>",
            &[],
        );
    }
}
