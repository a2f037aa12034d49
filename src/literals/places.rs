//! Which time zone a customer lives in (files.md §3, `zone: recipient`): the own zone, else that of the country, else that of the phone's
//! country; the caller has the fallback.
//!
//! Of a country with several zones the one is taken where most of its people live; of a calling code that several countries share, the
//! largest of them. Whose own zone is known is better served: this is for the rest. The table was made from `zone.tab` of the time zone database.

use chrono_tz::Tz;
use std::collections::HashMap;
use std::sync::LazyLock;

/// A country: its zone, and the beginnings of its international numbers, of which none begins with another.
pub struct Country {
    /// ISO 3166.
    pub code: &'static str,
    pub zone: Tz,
    pub calling_codes: Vec<&'static str>,
}

/// All countries with people in them.
pub static COUNTRIES: LazyLock<Vec<Country>> = LazyLock::new(|| {
    let rows = include_str!("country_zones.csv").lines().skip(1);
    rows.filter_map(|row| {
        let mut cells = row.split(',');
        let (code, zone, codes) = (cells.next()?, cells.next()?, cells.next()?);
        Some(Country { code, zone: zone.parse().ok()?, calling_codes: codes.split_whitespace().collect() })
    })
    .collect()
});

static BY_COUNTRY: LazyLock<HashMap<&str, Tz>> = LazyLock::new(|| COUNTRIES.iter().map(|country| (country.code, country.zone)).collect());
static BY_CALLING_CODE: LazyLock<HashMap<&str, Tz>> =
    LazyLock::new(|| COUNTRIES.iter().flat_map(|country| country.calling_codes.iter().map(|code| (*code, country.zone))).collect());

/// Longest beginning of a number that names a country.
pub const LONGEST_CALLING_CODE: usize = 3;

/// The zone of a customer with this zone, country (ISO 3166) and phone number (`+380…`), as far as they are known. What stands for the zone and
/// is none, or for the country and has none, gives nothing: the next is only asked where the one before is missing.
pub fn zone_of(zone: Option<&str>, country: Option<&str>, phone: Option<&str>) -> Option<Tz> {
    match (zone, country, phone) {
        (Some(zone), _, _) => zone.parse().ok(),
        (None, Some(country), _) => BY_COUNTRY.get(country).copied(),
        (None, None, Some(phone)) => {
            let number = phone.strip_prefix('+')?;
            (1..=LONGEST_CALLING_CODE).find_map(|length| BY_CALLING_CODE.get(number.get(..length)?).copied())
        }
        (None, None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zone_is_the_own_one_else_that_of_the_country_else_that_of_the_phone() {
        let cases: &[(Option<&str>, Option<&str>, Option<&str>, Option<&str>)] = &[
            (Some("America/New_York"), Some("UA"), Some("+380671234567"), Some("America/New_York")),
            (None, Some("UA"), Some("+12125550123"), Some("Europe/Kyiv")),
            (None, Some("US"), None, Some("America/New_York")),
            (None, None, Some("+380671234567"), Some("Europe/Kyiv")),
            (None, None, Some("+12125550123"), Some("America/New_York")),
            (None, None, Some("+77011234567"), Some("Asia/Almaty")),
            (None, None, Some("+79161234567"), Some("Europe/Moscow")),
            (None, None, Some("+447911123456"), Some("Europe/London")),
            (None, None, Some("+99999"), None),
            (None, None, Some("0671234567"), None),
            (Some("Nowhere"), Some("UA"), None, None),
            (None, Some("ZZ"), Some("+380671234567"), None),
            (None, None, None, None),
        ];
        for (zone, country, phone, expected) in cases {
            assert_eq!(zone_of(*zone, *country, *phone).map(|zone| zone.name()), *expected, "{zone:?} {country:?} {phone:?}");
        }
    }

    #[test]
    fn every_row_of_the_table_is_read_and_no_calling_code_begins_with_another() {
        assert_eq!(COUNTRIES.len(), include_str!("country_zones.csv").lines().count() - 1);
        let codes: Vec<&str> = COUNTRIES.iter().flat_map(|country| country.calling_codes.iter().copied()).collect();
        for code in &codes {
            assert!((1..=LONGEST_CALLING_CODE).contains(&code.len()));
            assert_eq!(codes.iter().filter(|other| other.starts_with(code)).count(), 1, "{code}");
        }
    }

    #[test]
    fn the_calling_codes_are_those_of_the_numbering_plans() {
        for country in COUNTRIES.iter().filter(|country| !country.calling_codes.is_empty()) {
            let Ok(id) = country.code.parse::<phonenumber::country::Id>() else { panic!("{}", country.code) };
            let plan = phonenumber::metadata::DATABASE.by_id(id.as_ref());
            for code in &country.calling_codes {
                let plan = plan.unwrap_or_else(|| panic!("{} has no numbering plan", country.code));
                assert!(code.starts_with(&plan.country_code().to_string()), "{} {code} is +{}", country.code, plan.country_code());
            }
        }
    }
}
