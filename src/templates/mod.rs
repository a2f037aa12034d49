//! What it says: templates compiled once, rendered for each customer, and listed for what they need.
//!
//! Strict: a value that is missing without `default` fails that message alone. Tracked links and the open pixel leave here as
//! marks ([`marks`]) that `tracking::mark_up` replaces, so that this module knows no keys and no addresses of ours.

/// The marks that a rendered text carries until `tracking::mark_up` replaces them.
///
/// `\u{1}L` number `\u{1}` stands for the tracked address of a link whose target is literal; `\u{1}L` number `\u{2}` target
/// `\u{1}` for one whose target was filled for this person. `\u{1}P\u{1}` is the place of the open pixel. Values from data can never
/// contain `\u{1}` or `\u{2}`: control characters are refused before rendering.
pub mod marks {
    pub const START: char = '\u{1}';
    pub const TARGET: char = '\u{2}';
    pub const PIXEL: &str = "\u{1}P\u{1}";
}
