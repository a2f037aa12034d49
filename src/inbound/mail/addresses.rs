//! Addresses as they stand in texts that machines wrote: in angle brackets, after `rfc822;`, at the start of a line.

/// The first address of a text; what wraps it (`<…>`, quotes, `rfc822;`, a full stop after it) is taken off.
pub fn first(text: &str) -> Option<String> {
    all(text).into_iter().next()
}

/// All addresses of a text, in their order, each once.
pub fn all(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let bytes = text.as_bytes();
    for (at, _) in text.match_indices('@').take(500) {
        let start = start_of_local_part(text, at);
        let length = bytes.iter().skip(at + 1).take_while(|byte| is_of_domain(**byte)).count();
        let (Some(local), Some(domain)) = (text.get(start..at), text.get(at + 1..at + 1 + length)) else { continue };
        let domain = domain.trim_end_matches(['.', '-']);
        if is_local(local) && is_domain(domain) {
            let address = format!("{local}@{domain}");
            if !found.iter().any(|known| known.eq_ignore_ascii_case(&address)) {
                found.push(address);
            }
        }
    }
    found
}

/// Where the local part before the `@` at `at` begins; a quoted one begins at its quote.
fn start_of_local_part(text: &str, at: usize) -> usize {
    let before = text.get(..at).unwrap_or_default();
    if let Some(inner) = before.strip_suffix('"') {
        return inner.char_indices().rev().take(64).find(|(_, c)| *c == '"').map_or(at, |(start, _)| start);
    }
    let mut start = at;
    for (place, letter) in before.char_indices().rev().take(80) {
        if !is_of_local(letter) {
            break;
        }
        start = place;
    }
    // `dda:SMTP=ada@…`, `'ada@…`: what stands before is no part of it.
    let local = text.get(start..at).unwrap_or_default();
    let skipped = local.len() - local.trim_start_matches(['\'', '=', '.', '*', '|', '`']).len();
    let prefix =
        ["SMTP=", "smtp=", "address=", "to="].into_iter().find(|prefix| local.get(skipped..).is_some_and(|rest| rest.starts_with(prefix)));
    start + skipped + prefix.map_or(0, str::len)
}

fn is_of_local(letter: char) -> bool {
    letter.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(letter)
}

fn is_of_domain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') || byte >= 0x80
}

fn is_local(local: &str) -> bool {
    !local.is_empty() && local.chars().count() <= 64 && (local.starts_with('"') || !local.ends_with('.') || local.len() > 1)
}

fn is_domain(domain: &str) -> bool {
    domain.len() <= 255 && domain.contains('.') && !domain.starts_with(['.', '-']) && !domain.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_whatever_wraps_it() {
        for (text, expected) in [
            ("<ada@example.org>:", "ada@example.org"),
            ("rfc822;ada@example.org", "ada@example.org"),
            ("rfc822; \"ada lovelace\"@example.org", "\"ada lovelace\"@example.org"),
            ("c=US;a= ;p=X;dda:SMTP=ada@example.org; on Fri", "ada@example.org"),
            ("'ada@example.org' on 12/1", "ada@example.org"),
            ("Delivery to ada@example.org.", "ada@example.org"),
            ("utf-8; ада@почта.example", "ада@почта.example"),
            ("ada.@example.org", "ada.@example.org"),
            ("   * ada+news@mail.example.org", "ada+news@mail.example.org"),
        ] {
            assert_eq!(first(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["@example.org", "ada@", "ada@localhost", "a @ b.example", "@", "ada@.example"] {
            assert_eq!(first(text), None, "{text}");
        }
        assert_eq!(all("a@x.example, A@X.example; <b@x.example>"), ["a@x.example", "b@x.example"]);
    }
}
