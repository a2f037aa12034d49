//! Cells of CSV files that are opened with a spreadsheet, which takes a cell that begins with `=`, `+`, `-` or `@` for a formula and runs it: what a stranger
//! typed into a form would run on the desk of whoever looks at an export. Such a cell gets an apostrophe before it, which spreadsheets take for "this is text";
//! an import takes it off again.

use std::borrow::Cow;

/// The cell as it may stand in a file. Numbers, and phone numbers with their plus, stay as they are: they are no formulas.
pub fn guarded(cell: &str) -> Cow<'_, str> {
    match is_formula(cell) || unguarded(cell).len() < cell.len() {
        true => Cow::Owned(format!("'{cell}")),
        false => Cow::Borrowed(cell),
    }
}

/// The cell as it was before [`guarded`].
pub fn unguarded(cell: &str) -> &str {
    let bare = cell.trim_start_matches('\'');
    match cell.strip_prefix('\'') {
        Some(rest) if is_formula(bare) => rest,
        _ => cell,
    }
}

fn is_formula(cell: &str) -> bool {
    // Blanks before it do not stop every program.
    let text = cell.trim_start_matches([' ', '\u{a0}']);
    match text.chars().next() {
        Some('=' | '@' | '\t' | '\r' | '\n' | '＝' | '＋' | '－' | '＠') => true,
        Some('+' | '-') => !is_number(text),
        _ => false,
    }
}

/// A sign and digits, with one point or comma at most; or a lone sign.
fn is_number(text: &str) -> bool {
    let digits = &text[1..];
    digits.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | ',')) && digits.chars().filter(|c| !c.is_ascii_digit()).count() <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_guarded_and_come_back_as_they_were() {
        for (cell, expected) in [
            ("=HYPERLINK(\"https://evil.example\")", "'=HYPERLINK(\"https://evil.example\")"),
            ("+1+cmd|' /C calc'!A0", "'+1+cmd|' /C calc'!A0"),
            ("-2+3", "'-2+3"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            (" =1", "' =1"),
            ("＝1", "'＝1"),
            ("+380501234567", "+380501234567"),
            ("-12.50", "-12.50"),
            ("-", "-"),
            ("Ada", "Ada"),
            ("O'Neil", "O'Neil"),
            ("'quoted'", "'quoted'"),
            ("'=1", "''=1"),
            ("''=1", "'''=1"),
            ("", ""),
        ] {
            assert_eq!(guarded(cell), expected, "{cell:?}");
            assert_eq!(unguarded(&guarded(cell)), cell, "{cell:?}");
        }
    }
}
