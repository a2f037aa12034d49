//! What it says: templates compiled once, rendered for each customer, and listed for what they need.
//!
//! Strict: a value that is missing without `default` fails that message alone. Values are escaped by context, and what customers
//! wrote is never evaluated. Tracked links and the open pixel leave here as marks ([`marks`]) that `tracking::mark_up` replaces, so
//! that this module knows no keys and no addresses of ours. It reads no file, no clock and no database: [`Library::read`] takes
//! [`Files`](crate::diagnostics::Files), and [`Reader`] says who reads and when.
//!
//! A template is `templates/NAME[.LANGUAGE].mjml` or `.hbs` (the HTML part of an email) and `NAME[.LANGUAGE].txt.hbs` (its text part,
//! or all of an SMS). Partials (`{{> footer}}`) and layouts (`{{#> layouts/base}}…{{/layouts/base}}`, in which `{{> @partial-block}}`
//! is the place of what stands between) are pasted in when the template is compiled, so that MJML, styles and links see one text.

mod compiled;
mod expand;
mod format;
mod functions;
mod html;
mod library;
mod links;
mod lint;
mod markup;
mod mask;
mod message;
mod mjml;
mod names;
mod needs;
pub mod sms;
mod tags;
mod text;

pub use format::long_date;
pub use html::preheader_of;
pub use library::{Languages, Library};
pub use links::{Link, Links};
pub use lint::CLIPPED;
pub use message::{Body, Fault, MessageTemplate, Need, Part, Place, Reader, RenderError, Rendered, Rows, Source, Track};

/// Names that no attribute, property or `content` key may have: a helper, or a root that templates know (files.md §5).
pub fn reserved_names() -> &'static [&'static str] {
    &[
        "default",
        "upper",
        "lower",
        "capitalize",
        "join",
        "format_date",
        "format_time",
        "format_number",
        "format_money",
        "plural",
        "days_until",
        "find",
        "unique",
        "take",
        "range",
        "url_encode",
        "survey_url",
        "vocative",
        "name_case",
        "refuse",
        "if",
        "unless",
        "each",
        "with",
        "lookup",
        "eq",
        "ne",
        "gt",
        "gte",
        "lt",
        "lte",
        "and",
        "or",
        "not",
        "len",
        "t",
        "event",
        "content",
        "coupon",
        "campaign",
        "run",
        "message",
        "identity",
        "unsubscribe_url",
        "preferences_url",
        "view_url",
        "confirm_url",
        "this",
        "else",
        "as",
        "raw",
        "log",
    ]
}

/// The marks that a rendered text carries until `tracking::mark_up` replaces them.
///
/// `\u{1}L` number `\u{1}` stands for the tracked address of a link whose target is literal; `\u{1}L` number `\u{2}` target
/// `\u{1}` for one whose target was filled for this person. The target is the plain address, not escaped for HTML: who writes it back
/// into HTML escapes it. `\u{1}P\u{1}` is the place of the open pixel. Values from data can never contain `\u{1}` or `\u{2}`:
/// control characters are refused while rendering.
pub mod marks {
    pub const START: char = '\u{1}';
    pub const TARGET: char = '\u{2}';
    pub const PIXEL: &str = "\u{1}P\u{1}";
}
