//! Email addresses as SMTP can carry them, and the mailbox site behind a domain.
//!
//! Accepted is what can be sent without SMTPUTF8: an ASCII local part and a domain with at least two labels, which IDNA turns into
//! A-labels. The local part keeps its capitals for sending; keys and matching ignore them (`Keys::address`).

use std::borrow::Cow;

/// An address fit for an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EmailAddress {
    text: String,
    at: usize,
}

/// Why an address cannot be sent to; printed as the end of a sentence that begins with the address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("is empty")]
    Empty,
    #[error("holds a line end or another invisible sign")]
    Control,
    #[error("has no @")]
    NoAt,
    #[error("has more than one @")]
    TwoAts,
    #[error("has nothing before the @")]
    NoLocalPart,
    #[error("has letters before the @ that are not Latin; mail servers do not take them")]
    LocalPartNotAscii,
    #[error("has {0:?} before the @, which is not allowed there")]
    LocalPartCharacter(char),
    #[error("has a dot at the start or end of the part before the @, or two dots in a row")]
    LocalPartDots,
    #[error("is longer than mail servers take (64 characters before the @, 254 in all)")]
    TooLong,
    #[error("has no domain with a dot after the @")]
    NoDomain,
    #[error("has a domain that cannot exist: {0}")]
    Domain(&'static str),
}

impl EmailAddress {
    /// Reads one address; blanks and invisible characters around it are dropped.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim_matches(is_blank);
        if text.is_empty() {
            return Err(Error::Empty);
        }
        let (local, domain) = if text.starts_with('"') { quoted(text)? } else { plain(text)? };
        let domain = domain_to_ascii(domain)?;
        if local.len() > 64 || local.len() + 1 + domain.len() > 254 {
            return Err(Error::TooLong);
        }
        let at = local.len();
        let mut text = String::with_capacity(at + 1 + domain.len());
        text.extend([&*local, "@", &*domain]);
        Ok(EmailAddress { text, at })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }
    /// In lower-case A-labels.
    pub fn domain(&self) -> &str {
        &self.text[self.at + 1..]
    }
    pub fn into_string(self) -> String {
        self.text
    }
}

impl std::fmt::Display for EmailAddress {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(&self.text)
    }
}

/// The address in a cell of somebody's table, where people leave `mailto:`, a name with angle brackets, a dot behind, or several
/// addresses, of which the first is the one. Says whether there were more.
pub fn in_cell(cell: &str) -> Result<(EmailAddress, bool), (String, Error)> {
    // Before anything is taken out of it: a second line may be an attempt to add a recipient.
    if cell.trim().chars().any(|sign| sign.is_control() && sign != '\t') {
        return Err((cell.trim().escape_debug().to_string(), Error::Control));
    }
    let whole = match (cell.rfind('<'), cell.rfind('>')) {
        (Some(start), Some(end)) if start < end && cell[start..end].contains('@') => &cell[start + 1..end],
        _ => cell,
    };
    let mut parts = whole.split([';', ',']).flat_map(|part| part.split(" / ")).map(str::trim).filter(|part| !part.is_empty());
    let written = parts.next().unwrap_or("");
    let mut bare = Cow::Borrowed(written.strip_prefix("mailto:").unwrap_or(written).trim_end_matches('.'));
    if bare.contains(" @") || bare.contains("@ ") {
        bare = bare.replace(" @", "@").replace("@ ", "@").into();
    }
    match EmailAddress::parse(&bare) {
        Ok(address) => Ok((address, parts.next().is_some())),
        Err(why) => Err((written.to_string(), why)),
    }
}

/// Blanks and invisible characters that spreadsheets and copying leave around an address; line ends are not among them.
pub(crate) fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{a0}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
}

fn plain(text: &str) -> Result<(Cow<'_, str>, &str), Error> {
    let (local, domain) = text.split_once('@').ok_or(Error::NoAt)?;
    if domain.contains('@') {
        return Err(Error::TwoAts);
    }
    if local.is_empty() {
        return Err(Error::NoLocalPart);
    }
    if let Some(wrong) = local.chars().find(|c| !is_atom(*c) && *c != '.') {
        return Err(if wrong.is_ascii() { Error::LocalPartCharacter(wrong) } else { Error::LocalPartNotAscii });
    }
    if local.starts_with('.') || local.ends_with('.') || local.contains("..") {
        return Err(Error::LocalPartDots);
    }
    Ok((local.into(), domain))
}

/// `"local part"@domain`: the quotes go where they are not needed.
fn quoted(text: &str) -> Result<(Cow<'_, str>, &str), Error> {
    let mut inner = String::new();
    let mut characters = text.char_indices().skip(1);
    let end = loop {
        match characters.next() {
            Some((at, '"')) => break at,
            Some((_, '\\')) => match characters.next() {
                Some((_, c)) if c == ' ' || c.is_ascii_graphic() => inner.push(c),
                _ => return Err(Error::LocalPartCharacter('\\')),
            },
            Some((_, c)) if c == ' ' || c.is_ascii_graphic() => inner.push(c),
            Some((_, c)) if c.is_ascii() => return Err(Error::LocalPartCharacter(c)),
            Some(_) => return Err(Error::LocalPartNotAscii),
            None => return Err(Error::LocalPartCharacter('"')),
        }
    };
    let Some(domain) = text[end + 1..].strip_prefix('@') else { return Err(Error::LocalPartCharacter('"')) };
    if domain.contains('@') {
        return Err(Error::TwoAts);
    }
    let bare = !inner.is_empty()
        && inner.chars().all(|c| is_atom(c) || c == '.')
        && !inner.starts_with('.')
        && !inner.ends_with('.')
        && !inner.contains("..");
    if bare {
        return Ok((inner.into(), domain));
    }
    Ok((format!("\"{}\"", inner.replace('\\', "\\\\").replace('"', "\\\"")).into(), domain))
}

fn is_atom(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c)
}

/// Top-level names that never lead to a mail server (RFC 6761 and others).
const NOWHERE: &[&str] = &["invalid", "localhost", "local", "arpa", "onion"];

fn domain_to_ascii(domain: &str) -> Result<Cow<'_, str>, Error> {
    if !domain.contains('.') {
        return Err(Error::NoDomain);
    }
    let plain = domain.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'.');
    if !plain && domain.split('.').any(mixes_alphabets) {
        return Err(Error::Domain("it mixes Latin letters with others that look like them"));
    }
    let unfit = Error::Domain("a label is empty, too long or has characters that are not allowed");
    let ascii = if plain && domain.len() <= 253 && domain.split('.').all(|label| (1..=63).contains(&label.len())) {
        Cow::Borrowed(domain)
    } else {
        idna::domain_to_ascii_strict(domain).map_err(|_| unfit.clone())?.into()
    };
    let Some((_, top)) = ascii.rsplit_once('.') else { return Err(Error::NoDomain) };
    if !top.starts_with("xn--") && top.bytes().any(|byte| byte.is_ascii_digit()) {
        return Err(Error::Domain("it ends in something that is no top-level domain"));
    }
    if NOWHERE.contains(&top) {
        return Err(Error::Domain("mail to such a domain leads nowhere"));
    }
    Ok(ascii)
}

/// Latin and Cyrillic, or Latin and Greek, in one label: a slip of the keyboard layout, or worse.
fn mixes_alphabets(label: &str) -> bool {
    label.chars().any(|c| c.is_ascii_alphabetic()) && label.chars().any(|c| matches!(c, '\u{370}'..='\u{52f}'))
}

/// Mail domains that share one mailbox provider, which counts and limits them together.
const FAMILIES: &[(&str, &[&str])] = &[
    ("gmail", &["gmail.com", "googlemail.com"]),
    (
        "outlook",
        &[
            "outlook.com",
            "hotmail.com",
            "live.com",
            "msn.com",
            "hotmail.co.uk",
            "hotmail.fr",
            "hotmail.de",
            "hotmail.it",
            "live.co.uk",
            "live.fr",
            "outlook.fr",
            "outlook.de",
            "outlook.es",
        ],
    ),
    (
        "yahoo",
        &[
            "yahoo.com",
            "ymail.com",
            "rocketmail.com",
            "aol.com",
            "aim.com",
            "yahoo.co.uk",
            "yahoo.fr",
            "yahoo.de",
            "yahoo.it",
            "yahoo.es",
            "yahoo.ca",
            "yahoo.com.br",
            "yahoo.co.in",
        ],
    ),
    ("icloud", &["icloud.com", "me.com", "mac.com"]),
    ("mail.ru", &["mail.ru", "bk.ru", "list.ru", "inbox.ru", "internet.ru", "xmail.ru"]),
    ("yandex", &["yandex.ru", "ya.ru", "yandex.com", "yandex.ua", "yandex.by", "yandex.kz", "yandex.com.tr"]),
    ("ukr.net", &["ukr.net"]),
    ("rambler", &["rambler.ru", "lenta.ru", "autorambler.ru", "myrambler.ru", "ro.ru", "rambler.ua"]),
    ("i.ua", &["i.ua", "ua.fm", "email.ua", "3g.ua"]),
    ("meta.ua", &["meta.ua"]),
    ("gmx", &["gmx.de", "gmx.net", "gmx.com", "gmx.at", "gmx.ch", "web.de"]),
    ("proton", &["proton.me", "protonmail.com", "pm.me"]),
    ("wp.pl", &["wp.pl", "o2.pl", "tlen.pl"]),
    ("onet", &["onet.pl", "op.pl", "poczta.onet.pl", "vp.pl"]),
    ("orange", &["orange.fr", "wanadoo.fr"]),
    ("comcast", &["comcast.net", "xfinity.com"]),
    ("qq", &["qq.com", "foxmail.com"]),
    ("netease", &["163.com", "126.com", "yeah.net"]),
];

/// The mailbox site family of a lower-case domain: a name of the table, else the domain itself.
pub fn site(domain: &str) -> &str {
    FAMILIES.iter().find(|(_, domains)| domains.contains(&domain)).map_or(domain, |(family, _)| family)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, Error>) {
        assert_eq!(EmailAddress::parse(text).map(EmailAddress::into_string), expected.map(str::to_string), "{text:?}");
    }

    #[test]
    fn what_can_be_sent_is_taken_in_its_normal_form() {
        check(" r.baklushin@gmail.com\u{200b}", Ok("r.baklushin@gmail.com"));
        check("Ada.Lovelace@EXAMPLE.Org", Ok("Ada.Lovelace@example.org"));
        check("jeff@臺網中心.tw", Ok("jeff@xn--fiqq24b10vi0d.tw"));
        check("\"de-quoted.local.part\"@example.org", Ok("de-quoted.local.part@example.org"));
        check("\"a b\"@example.org", Ok("\"a b\"@example.org"));
    }

    #[test]
    fn what_cannot_be_sent_is_refused_with_its_reason() {
        check("", Err(Error::Empty));
        check("нет", Err(Error::NoAt));
        check("zaripova80@@rambler.ru", Err(Error::TwoAts));
        check("ада@example.org", Err(Error::LocalPartNotAscii));
        check("a b@example.org", Err(Error::LocalPartCharacter(' ')));
        check("a..b@example.org", Err(Error::LocalPartDots));
        check("a@gmail", Err(Error::NoDomain));
        check("a@gmаil.com", Err(Error::Domain("it mixes Latin letters with others that look like them")));
        check("a@host.localhost", Err(Error::Domain("mail to such a domain leads nowhere")));
        check("a\r\nBcc: b@example.org", Err(Error::LocalPartCharacter('\r')));
        check(&format!("{}@example.org", "a".repeat(65)), Err(Error::TooLong));
    }

    #[test]
    fn cells_of_tables_give_their_first_address() {
        for cell in [
            "ada@example.org.",
            "mailto:ada@example.org",
            "\"Ада, графиня\" <ada@example.org>",
            "<ada@example.org>",
            "ada@ example.org",
            "ada@example.org; bo@example.org",
            "ada@example.org / bo@example.org",
            ";ada@example.org,",
        ] {
            assert_eq!(in_cell(cell).map(|(address, _)| address.into_string()).as_deref(), Ok("ada@example.org"), "{cell}");
        }
        assert!(in_cell("ada@@example.org").is_err() && in_cell("> <@").is_err());
        let two_lines = in_cell("ada@example.org\r\nRCPT TO:<eve@evil.example>").map(|(address, _)| address.into_string());
        assert_eq!(two_lines, Err(("ada@example.org\\r\\nRCPT TO:<eve@evil.example>".to_string(), Error::Control)));
    }

    #[test]
    fn a_domain_leads_to_the_family_of_its_mailboxes() {
        assert_eq!(site("googlemail.com"), "gmail");
        assert_eq!(site("ya.ru"), "yandex");
        assert_eq!(site("shop.example"), "shop.example");
    }

    #[test]
    fn collected_addresses_are_taken_and_refused_as_expected() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/customers/emails.jsonl");
        let Ok(text) = std::fs::read_to_string(path) else {
            eprintln!("the collected addresses are not here; the cases above prove the same classes");
            return;
        };
        let mut wrong = Vec::new();
        for line in text.lines() {
            let case: serde_json::Value = serde_json::from_str(line).unwrap();
            let (address, expected) = (case["address"].as_str().unwrap(), case["expected"].as_str().unwrap());
            let taken = EmailAddress::parse(address);
            // A name with the address in angle brackets stands there as valid once and as invalid three times; we refuse all.
            if expected.starts_with("valid") && !expected.contains("valid ") && taken.is_err() && !address.contains('<')
                || expected == "invalid" && taken.is_ok()
            {
                wrong.push(format!("{address:?} is {expected}: {taken:?}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
