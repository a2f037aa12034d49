//! Words of providers without other people's addresses: a reply to one message may name the recipient of another, or of all in one request, and it goes
//! into the log, to whoever asks why a provider does not answer, and into the history of that one message.

use std::borrow::Cow;

/// What stands for an address.
const MASK: &str = "…";
/// Digits of a phone number, at least.
const DIGITS: usize = 9;

/// The text with every email address and phone number replaced, save the message's own.
pub fn masked<'t>(text: &'t str, own: Option<&str>) -> Cow<'t, str> {
    let mut out = String::new();
    let (mut kept, mut from) = (0, 0);
    while let Some((start, end)) = next(text, from) {
        let found = &text[start..end];
        let is_own =
            own.is_some_and(|own| found.to_lowercase() == own.to_lowercase() || digits(found) == digits(own) && !found.contains('@'));
        if !is_own {
            out.push_str(&text[kept..start]);
            out.push_str(MASK);
            kept = end;
        }
        from = end;
    }
    match kept {
        0 => Cow::Borrowed(text),
        _ => {
            out.push_str(&text[kept..]);
            Cow::Owned(out)
        }
    }
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

/// The first address or number from here on.
fn next(text: &str, from: usize) -> Option<(usize, usize)> {
    let rest = text.get(from..)?;
    let local = |c: char| c.is_alphanumeric() || ".!#$%&'*+/=?^_`{|}~-".contains(c);
    let host = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-');
    let email = rest.match_indices('@').find_map(|(at, _)| {
        let start = rest[..at].char_indices().rev().take_while(|(_, c)| local(*c)).last()?.0;
        let length = rest[at + 1..].find(|c| !host(c)).unwrap_or(rest.len() - at - 1);
        let end = at + 1 + rest[at + 1..at + 1 + length].trim_end_matches(['.', '-']).len();
        rest[at + 1..end].contains(['.']).then_some((from + start, from + end))
    });
    let number = runs(rest).find(|(_, length)| *length >= DIGITS).map(|(start, length)| (from + start, from + start + length));
    match (email, number) {
        (Some(email), Some(number)) if number.0 < email.0 && number.1 <= email.0 => Some(number),
        (Some(email), _) => Some(email),
        (None, number) => number,
    }
}

/// Where digits stand together, which are no part of a longer word: a queue's number is none that could be called.
fn runs(text: &str) -> impl Iterator<Item = (usize, usize)> + '_ {
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            let start = from + text.get(from..)?.find(|c: char| c.is_ascii_digit())?;
            let length = text[start..].find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len() - start);
            from = start + length;
            let is_word = |c: char| c.is_alphabetic() || matches!(c, '_' | '-');
            if !text[..start].ends_with(is_word) && !text[from..].starts_with(is_word) {
                return Some((start, length));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_others_go_and_the_own_one_stays() {
        let check = |text: &str, own: Option<&str>, expected: &str| assert_eq!(masked(text, own), expected, "{text}");
        check("550 5.1.1 <Ada.B@Example.org>: no such user", None, "550 5.1.1 <…>: no such user");
        check("550 5.1.1 <Ada.B@Example.org>: no such user", Some("ada.b@example.org"), "550 5.1.1 <Ada.B@Example.org>: no such user");
        check("bo@x.example, ada@y.example.", Some("ada@y.example"), "…, ada@y.example.");
        check("{\"to\":\"380501234567\"}", None, "{\"to\":\"…\"}");
        check("+380501234567 is blocked", Some("+380501234567"), "+380501234567 is blocked");
        check("+380501234567 is blocked", None, "+… is blocked");
        check("250 2.0.0 ok 1699999999 d2e1a72fcca58-6c", None, "250 2.0.0 ok … d2e1a72fcca58-6c");
        check("451 4.3.0 at 12:00 on 2027-03-01", None, "451 4.3.0 at 12:00 on 2027-03-01");
        check("@ nobody@ @x.example a@b", None, "@ nobody@ @x.example a@b");
        check("ада@крамниця.укр не існує", None, "… не існує");
        check("", None, "");
    }
}
