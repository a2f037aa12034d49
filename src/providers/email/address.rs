//! Addresses and other values that reach a header or the SMTP dialogue: refused rather than repaired.
//!
//! Source of the rules: standards.md §1.1 and §1.6. A value with a control character would let a customer's field write headers, so
//! that one message fails as `unsafe_value` and the rest of the campaign goes on.

/// A value that must not reach a header, an address or the dialogue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {why}")]
pub struct UnsafeValue {
    /// Which value: `the subject`, `the address of From` …
    pub what: String,
    pub why: &'static str,
}

impl UnsafeValue {
    pub(crate) fn new(what: &str, why: &'static str) -> Self {
        UnsafeValue { what: what.to_string(), why }
    }
}

/// Refuses control characters (C0, DEL, C1) and Unicode's line and paragraph separators; tabs and line breaks too.
pub fn checked<'a>(what: &str, value: &'a str) -> Result<&'a str, UnsafeValue> {
    if value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Ok(value);
    }
    match value.chars().any(|c| c.is_control() || c == '\u{2028}' || c == '\u{2029}') {
        true => Err(UnsafeValue::new(what, "holds a control character or a line break")),
        false => Ok(value),
    }
}

/// As [`checked`], and nothing outside printable ASCII without spaces: URIs, Message-IDs, identifiers.
pub fn token<'a>(what: &str, value: &'a str) -> Result<&'a str, UnsafeValue> {
    checked(what, value)?;
    match !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'<' && byte != b'>') {
        true => Ok(value),
        false => Err(UnsafeValue::new(what, "must be printable ASCII without spaces and angle brackets")),
    }
}

/// One addr-spec fit for an envelope and a header: local part as given, domain in its ASCII form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    text: String,
    at: usize,
}

impl Address {
    /// Reads exactly one address. Quoted local parts and address literals, which no mailbox of a customer has, are refused.
    pub fn read(what: &str, text: &str) -> Result<Address, UnsafeValue> {
        let text = checked(what, text.trim_matches(' '))?;
        let (local, domain) = text.rsplit_once('@').ok_or_else(|| UnsafeValue::new(what, "is no address: it has no @"))?;
        let special = |c: char| matches!(c, '(' | ')' | '<' | '>' | '[' | ']' | ':' | ';' | '@' | '\\' | ',' | '"') || c.is_whitespace();
        if local.is_empty() || domain.is_empty() || local.contains(special) || domain.contains(special) {
            return Err(UnsafeValue::new(what, "is not exactly one address"));
        }
        if local.starts_with('.') || local.ends_with('.') || local.contains("..") {
            return Err(UnsafeValue::new(what, "is no address: a dot stands at an end of the part before @, or twice"));
        }
        let domain = match domain.is_ascii() {
            true => domain.to_string(),
            false => idna::domain_to_ascii(domain).map_err(|_| UnsafeValue::new(what, "has a domain that cannot be written in ASCII"))?,
        };
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if domain.starts_with('.') || domain.ends_with('.') || domain.contains("..") || !domain.bytes().all(known) {
            return Err(UnsafeValue::new(what, "has no valid domain"));
        }
        if local.len() > 64 || domain.len() > 253 {
            return Err(UnsafeValue::new(what, "is too long: 64 octets before @ and 253 behind it are allowed"));
        }
        Ok(Address { text: format!("{local}@{domain}"), at: local.len() })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }
    pub fn local(&self) -> &str {
        &self.text[..self.at]
    }
    pub fn domain(&self) -> &str {
        &self.text[self.at + 1..]
    }
    /// Whether the server must offer SMTPUTF8: the part before @ is not ASCII.
    pub fn needs_utf8(&self) -> bool {
        !self.text.is_ascii()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_addr_spec_and_nothing_else() {
        for (text, expected) in [
            ("ada@example.org", Some("ada@example.org")),
            ("Ada.L+news@Example.org", Some("Ada.L+news@Example.org")),
            ("o'brien@example.org", Some("o'brien@example.org")),
            ("ada@пошта.укр", Some("ada@xn--80a1acn3a.xn--j1amh")),
            ("юзер@example.org", Some("юзер@example.org")),
            ("ada@example.org, eve@example.org", None),
            ("ada@example.org\r\nBcc: eve@example.org", None),
            ("Ada <ada@example.org>", None),
            ("ada@eve@example.org", None),
            ("ada@example..org", None),
            ("ada.@example.org", None),
            ("@example.org", None),
            ("ada@", None),
            ("ada", None),
            ("ada@exa mple.org", None),
            ("ada\u{2028}@example.org", None),
            ("ada\0@example.org", None),
        ] {
            assert_eq!(Address::read("the address", text).ok().as_ref().map(Address::as_str), expected, "{text:?}");
        }
    }
}
