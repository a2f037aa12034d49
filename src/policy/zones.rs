//! Which time zones a person may live in: the own one, else those of the country. What must be quiet for somebody whose zone is not known must
//! be quiet in all of them; a calendar needs just one, which is `literals::zone_of`'s.

use chrono_tz::Tz;
use std::collections::HashMap;
use std::sync::OnceLock;

/// The zones of a country by its ISO 3166 code; none where the code is unknown.
pub fn zones_of_country(country: &str) -> &'static [Tz] {
    static ALL: OnceLock<HashMap<&'static str, Vec<Tz>>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let lines = include_str!("country_zones.txt").lines().filter(|line| !line.starts_with('#'));
        let country = |line: &'static str| {
            let (country, zones) = line.split_once(' ')?;
            Some((country, zones.split(' ').filter_map(|zone| zone.parse().ok()).collect()))
        };
        lines.filter_map(country).collect()
    });
    all.get(country).map_or(&[], Vec::as_slice)
}

/// Where a person may live: one zone, or all zones of a country.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zones {
    One([Tz; 1]),
    Any(&'static [Tz]),
}

impl Zones {
    pub fn all(&self) -> &[Tz] {
        match self {
            Zones::One(one) => one,
            Zones::Any(all) => all,
        }
    }
}

/// The own zone, else that of the country (several where it has several), else `fallback`.
pub fn zones_of(own: Option<&str>, country: Option<&str>, fallback: Tz) -> Zones {
    if let Some(zone) = own.and_then(|zone| zone.parse().ok()) {
        return Zones::One([zone]);
    }
    match country.map_or(&[][..], zones_of_country) {
        [] => Zones::One([fallback]),
        [one] => Zones::One([*one]),
        all => Zones::Any(all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_lives_in_the_own_zone_else_in_those_of_the_country_else_in_the_fallback() {
        let kyiv = Tz::Europe__Kyiv;
        assert_eq!(zones_of(Some("America/Denver"), Some("UA"), kyiv), Zones::One([Tz::America__Denver]));
        assert_eq!(zones_of(Some("nowhere"), Some("PL"), kyiv), Zones::One([Tz::Europe__Warsaw]));
        assert_eq!(zones_of(None, None, kyiv), Zones::One([kyiv]));
        let states = zones_of(None, Some("US"), kyiv);
        assert!(states.all().contains(&Tz::America__New_York) && states.all().contains(&Tz::Pacific__Honolulu));
    }

    #[test]
    fn every_zone_of_the_list_is_known() {
        let lines = include_str!("country_zones.txt").lines().filter(|line| !line.starts_with('#'));
        for zone in lines.flat_map(|line| line.split(' ').skip(1)) {
            assert!(zone.parse::<Tz>().is_ok(), "{zone}");
        }
    }
}
