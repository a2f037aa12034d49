//! Codes: languages (ISO 639-1), countries (ISO 3166-1), zones (IANA) and currencies (ISO 4217, with the digits of their minor units).

use crate::diagnostics::nearest;
use chrono_tz::Tz;

const LANGUAGES: &str = "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu";

const COUNTRIES: &str = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW";

/// Currencies with two decimals; the others stand below.
const TWO: &str = "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UZS VED VES WST XCD XCG YER ZAR ZMW ZWG";
const NONE: &str = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF";
const THREE: &str = "BHD IQD JOD KWD LYD OMR TND";

/// Digits of a currency's minor unit: 2 for UAH, 0 for JPY, 3 for KWD; `None` for what is no currency.
pub fn minor_digits(currency: &str) -> Option<u32> {
    let among = |list: &str| list.split(' ').any(|code| code == currency);
    if among(TWO) {
        Some(2)
    } else if among(NONE) {
        Some(0)
    } else if among(THREE) {
        Some(3)
    } else {
        None
    }
}

/// A currency's code as ISO 4217 writes it.
pub fn currency(text: &str) -> Result<String, String> {
    if minor_digits(text).is_some() {
        return Ok(text.to_string());
    }
    let upper = text.to_uppercase();
    let meant = match upper.trim_end_matches('.') {
        "ГРН" | "ГРИВНЯ" | "₴" | "HRN" | "GRN" => Some("UAH"),
        "€" | "EURO" | "EUROS" => Some("EUR"),
        "$" | "DOLLAR" | "DOLLARS" => Some("USD"),
        "£" => Some("GBP"),
        "ZŁ" => Some("PLN"),
        code => TWO.split(' ').chain(NONE.split(' ')).chain(THREE.split(' ')).find(|known| *known == code).or_else(|| {
            let swapped = |known: &&str| text.len() == 3 && strsim::damerau_levenshtein(&upper, known) == 1;
            let common = ["UAH", "EUR", "USD", "GBP", "PLN", "CHF", "CZK", "RON", "SEK", "NOK", "DKK", "JPY"];
            common.into_iter().find(swapped)
        }),
    };
    Err(match meant {
        Some(meant) => format!("`{text}` is no currency; did you mean `{meant}`?"),
        None => format!("`{text}` is no currency; write its code of three letters, like `UAH`"),
    })
}

/// A language's code, two small letters.
pub fn language(text: &str) -> Result<String, String> {
    if is_language(text) {
        return Ok(text.to_string());
    }
    let lower = text.to_lowercase();
    let meant = match lower.as_str() {
        "ua" | "ukr" | "ukrainian" => Some("uk"),
        "eng" | "english" | "gb" | "us" => Some("en"),
        "rus" | "russian" => Some("ru"),
        "cz" => Some("cs"),
        "dk" => Some("da"),
        "gr" => Some("el"),
        "jp" => Some("ja"),
        "cn" => Some("zh"),
        "kz" => Some("kk"),
        "ger" | "deu" | "german" => Some("de"),
        other => other.split(['-', '_']).next().and_then(|first| LANGUAGES.split(' ').find(|code| *code == first)),
    };
    Err(match meant {
        Some(meant) => format!("`{text}` is no language; did you mean `{meant}`?"),
        None => format!("`{text}` is no language; write its code of two letters, like `uk` or `en`"),
    })
}

/// Whether it is a language's code of two letters.
pub fn is_language(text: &str) -> bool {
    LANGUAGES.split(' ').any(|code| code == text)
}

/// A country's code, two capital letters.
pub fn country(text: &str) -> Result<String, String> {
    if COUNTRIES.split(' ').any(|code| code == text) {
        return Ok(text.to_string());
    }
    let upper = text.to_uppercase();
    let meant = match upper.as_str() {
        "UK" | "EN" | "ENGLAND" | "BRITAIN" => Some("GB"),
        "UKR" | "UKRAINE" => Some("UA"),
        "USA" => Some("US"),
        "EL" => Some("GR"),
        "GERMANY" | "GER" | "DEU" => Some("DE"),
        "POLAND" | "POL" => Some("PL"),
        code => COUNTRIES.split(' ').find(|known| *known == code),
    };
    Err(match meant {
        Some(meant) => format!("`{text}` is no country; did you mean `{meant}`?"),
        None => format!("`{text}` is no country; write its code of two capital letters, like `UA`"),
    })
}

/// A zone of the IANA database.
pub fn zone(text: &str) -> Result<Tz, String> {
    if let Ok(zone) = text.parse::<Tz>()
        && (text.contains('/') || matches!(text, "UTC" | "GMT"))
    {
        return Ok(zone);
    }
    Err(match zone_near(text) {
        Some(meant) => format!("`{text}` is no time zone; did you mean `{meant}`?"),
        None => format!("`{text}` is no time zone; write it as continent and city, like `Europe/Kyiv`"),
    })
}

fn zone_near(text: &str) -> Option<&'static str> {
    let places = || chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()).filter(|name| name.contains('/') && !name.starts_with("Etc/"));
    let city = |name: &'static str| name.rsplit('/').next().unwrap_or(name);
    let wanted = text.replace(' ', "_").to_lowercase();
    let meant = match wanted.as_str() {
        "eet" | "eest" => Some("Europe/Kyiv"),
        "cet" | "cest" | "met" => Some("Europe/Berlin"),
        "wet" | "bst" => Some("Europe/London"),
        "est" | "edt" | "et" => Some("America/New_York"),
        "cst" | "cdt" => Some("America/Chicago"),
        "mst" | "mdt" => Some("America/Denver"),
        "pst" | "pdt" | "pt" => Some("America/Los_Angeles"),
        "z" | "utc+0" | "gmt+0" => Some("UTC"),
        _ => None,
    };
    let last = wanted.rsplit('/').next().unwrap_or(&wanted);
    meant
        .or_else(|| places().find(|name| name.to_lowercase() == wanted))
        .or_else(|| places().find(|name| city(name).to_lowercase() == last))
        .or_else(|| nearest(&wanted, places()))
        .or_else(|| {
            let near = nearest(last, places().map(city))?;
            places().find(|name| city(name) == near)
        })
        .map(|name| if name == "Europe/Kiev" { "Europe/Kyiv" } else { name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_code_is_suggested() {
        for (text, meant) in [
            ("Kiev", "Europe/Kyiv"),
            ("Europe/Kiyv", "Europe/Kyiv"),
            ("europe/kyiv", "Europe/Kyiv"),
            ("Kyiv", "Europe/Kyiv"),
            ("new york", "America/New_York"),
            ("EET", "Europe/Kyiv"),
            ("Europe/Berln", "Europe/Berlin"),
        ] {
            assert_eq!(zone(text).unwrap_err(), format!("`{text}` is no time zone; did you mean `{meant}`?"));
        }
        assert!(zone("Europe/Kyiv").is_ok() && zone("UTC").is_ok() && zone("America/Argentina/Buenos_Aires").is_ok());
        assert!(zone("").is_err());
        assert!(language("ua").unwrap_err().contains("`uk`"));
        assert!(language("en-GB").unwrap_err().contains("`en`"));
        assert!(country("UK").unwrap_err().contains("`GB`"));
        assert!(country("ua").unwrap_err().contains("`UA`"));
        assert!(currency("uah").unwrap_err().contains("`UAH`"));
    }

    #[test]
    fn lists_have_the_lengths_of_their_standards() {
        assert_eq!(COUNTRIES.split(' ').count(), 249);
        assert!(LANGUAGES.split(' ').count() >= 183);
        for code in TWO.split(' ').chain(NONE.split(' ')).chain(THREE.split(' ')) {
            assert_eq!(code.len(), 3);
        }
        assert_eq!((minor_digits("UAH"), minor_digits("JPY"), minor_digits("KWD"), minor_digits("XXX")), (Some(2), Some(0), Some(3), None));
    }
}
