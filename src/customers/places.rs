//! Languages, countries and zones as they come in files, checked and in one spelling.

use chrono_tz::Tz;

/// `uk`, `en`: the first part of a language tag, in lower case. The error says what is expected.
pub fn language(text: &str) -> Result<String, &'static str> {
    let first = text.trim().split(['-', '_']).next().unwrap_or("");
    if (2..=3).contains(&first.len()) && first.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        Ok(first.to_ascii_lowercase())
    } else {
        Err("is no language code; write one of two letters, such as uk or en")
    }
}

/// `UA`: a country of ISO 3166, in capitals.
pub fn country(text: &str) -> Result<String, &'static str> {
    let capitals = text.trim().to_ascii_uppercase();
    if capitals == "UK" {
        return Err("is no country code: Britain is GB, and Ukraine UA");
    }
    match capitals.parse::<phonenumber::country::Id>() {
        Ok(_) if capitals.len() == 2 => Ok(capitals),
        _ => Err("is no country code; write one of two letters, such as UA or GB"),
    }
}

/// `Europe/Kyiv`: a zone of the time zone database, in its own spelling.
pub fn zone(text: &str) -> Result<Tz, &'static str> {
    let text = text.trim();
    let found =
        text.parse::<Tz>().ok().or_else(|| chrono_tz::TZ_VARIANTS.iter().find(|zone| zone.name().eq_ignore_ascii_case(text)).copied());
    found.ok_or("is no time zone; write one such as Europe/Kyiv")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_come_out_in_one_spelling_and_unknown_ones_are_refused() {
        assert_eq!(language("uk-UA").as_deref(), Ok("uk"));
        assert!(language("ukrainian").is_err());
        assert_eq!(country(" ua").as_deref(), Ok("UA"));
        assert!(country("UK").is_err() && country("ZZ").is_err() && country("UKR").is_err());
        assert_eq!(zone("europe/kyiv"), Ok(Tz::Europe__Kyiv));
        assert!(zone("Kyiv").is_err());
    }
}
