//! Dates, times, numbers, money and plurals as each language writes them (CLDR, by hand for the languages below).
//!
//! A language without a table here gets forms that nobody misreads: `2027-03-07`, `10:00`, `1 234.50`, `300 UAH`.

use chrono::{DateTime, Datelike, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, Timelike, Utc};
use chrono_tz::Tz;

/// What is known of a language.
#[derive(Debug, Clone, Copy)]
pub(super) struct Language<'a> {
    code: &'a str,
    known: Option<&'static Known>,
}

#[derive(Debug)]
struct Known {
    code: &'static str,
    /// The twelve, with blanks between them, as they stand with a day: `7 березня`.
    months: &'static str,
    short_months: &'static str,
    /// From Monday.
    weekdays: &'static str,
    /// `{d}` day, `{m}` month's name, `{y}` year, `{w}` weekday.
    day: &'static str,
    medium: &'static str,
    long: &'static str,
    full: &'static str,
    /// `{D}` and `{M}` with two digits.
    short: &'static str,
    half_days: bool,
    group: char,
    decimal: char,
    /// Money: the sign stands before the amount.
    sign_first: bool,
}

impl<'a> Language<'a> {
    /// `uk`, or `uk-UA`.
    pub fn of(code: &'a str) -> Self {
        let base = code.split(['-', '_']).next().unwrap_or(code);
        Language { code: base, known: KNOWN.iter().find(|known| known.code == base) }
    }
    pub fn code(self) -> &'a str {
        self.code
    }
}

const SPACE: char = '\u{a0}';
const NARROW: char = '\u{202f}';

const ENGLISH: Known = Known {
    code: "en",
    months: "January February March April May June July August September October November December",
    short_months: "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec",
    weekdays: "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    day: "{m} {d}",
    medium: "{s} {d}, {y}",
    long: "{m} {d}, {y}",
    full: "{w}, {m} {d}, {y}",
    // Written with the month's name: 3/7 is March in one country and July in another.
    short: "{s} {d}, {y}",
    half_days: true,
    group: ',',
    decimal: '.',
    sign_first: true,
};

const UKRAINIAN: Known = Known {
    code: "uk",
    months: "січня лютого березня квітня травня червня липня серпня вересня жовтня листопада грудня",
    short_months: "січ. лют. бер. квіт. трав. черв. лип. серп. вер. жовт. лист. груд.",
    weekdays: "понеділок вівторок середа четвер пʼятниця субота неділя",
    day: "{d} {m}",
    medium: "{d} {s} {y} р.",
    long: "{d} {m} {y} р.",
    full: "{w}, {d} {m} {y} р.",
    short: "{D}.{M}.{y}",
    half_days: false,
    group: SPACE,
    decimal: ',',
    sign_first: false,
};

const RUSSIAN: Known = Known {
    code: "ru",
    months: "января февраля марта апреля мая июня июля августа сентября октября ноября декабря",
    short_months: "янв. февр. мар. апр. мая июн. июл. авг. сент. окт. нояб. дек.",
    weekdays: "понедельник вторник среда четверг пятница суббота воскресенье",
    day: "{d} {m}",
    medium: "{d} {s} {y} г.",
    long: "{d} {m} {y} г.",
    full: "{w}, {d} {m} {y} г.",
    short: "{D}.{M}.{y}",
    half_days: false,
    group: SPACE,
    decimal: ',',
    sign_first: false,
};

/// A word of a list, from 0.
fn nth(words: &'static str, number: usize) -> &'static str {
    words.split(' ').nth(number).unwrap_or_default()
}

static KNOWN: &[Known] = &[
    ENGLISH,
    UKRAINIAN,
    RUSSIAN,
    Known {
        code: "be",
        months: "студзеня лютага сакавіка красавіка мая чэрвеня ліпеня жніўня верасня кастрычніка лістапада снежня",
        short_months: "сту лют сак кра мая чэр ліп жні вер кас ліс сне",
        weekdays: "панядзелак аўторак серада чацвер пятніца субота нядзеля",
        ..RUSSIAN
    },
    Known {
        code: "pl",
        months: "stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października listopada grudnia",
        short_months: "sty lut mar kwi maj cze lip sie wrz paź lis gru",
        weekdays: "poniedziałek wtorek środa czwartek piątek sobota niedziela",
        medium: "{d} {s} {y}",
        long: "{d} {m} {y}",
        full: "{w}, {d} {m} {y}",
        ..UKRAINIAN
    },
    Known {
        code: "cs",
        months: "ledna února března dubna května června července srpna září října listopadu prosince",
        short_months: "led úno bře dub kvě čvn čvc srp zář říj lis pro",
        weekdays: "pondělí úterý středa čtvrtek pátek sobota neděle",
        day: "{d}. {m}",
        medium: "{d}. {m} {y}",
        long: "{d}. {m} {y}",
        full: "{w} {d}. {m} {y}",
        ..UKRAINIAN
    },
    Known {
        code: "de",
        months: "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
        short_months: "Jan. Feb. März Apr. Mai Juni Juli Aug. Sept. Okt. Nov. Dez.",
        weekdays: "Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag",
        day: "{d}. {m}",
        medium: "{d}. {s} {y}",
        long: "{d}. {m} {y}",
        full: "{w}, {d}. {m} {y}",
        group: '.',
        ..UKRAINIAN
    },
    Known {
        code: "fr",
        months: "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
        short_months: "janv. févr. mars avr. mai juin juil. août sept. oct. nov. déc.",
        weekdays: "lundi mardi mercredi jeudi vendredi samedi dimanche",
        medium: "{d} {s} {y}",
        long: "{d} {m} {y}",
        full: "{w} {d} {m} {y}",
        short: "{D}/{M}/{y}",
        group: NARROW,
        ..UKRAINIAN
    },
    Known {
        code: "es",
        months: "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
        short_months: "ene feb mar abr may jun jul ago sept oct nov dic",
        weekdays: "lunes martes miércoles jueves viernes sábado domingo",
        day: "{d} de {m}",
        medium: "{d} {s} {y}",
        long: "{d} de {m} de {y}",
        full: "{w}, {d} de {m} de {y}",
        short: "{D}/{M}/{y}",
        group: '.',
        ..UKRAINIAN
    },
    Known {
        code: "pt",
        months: "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
        short_months: "jan. fev. mar. abr. mai. jun. jul. ago. set. out. nov. dez.",
        weekdays: "segunda-feira terça-feira quarta-feira quinta-feira sexta-feira sábado domingo",
        day: "{d} de {m}",
        medium: "{d} de {s} de {y}",
        long: "{d} de {m} de {y}",
        full: "{w}, {d} de {m} de {y}",
        short: "{D}/{M}/{y}",
        group: '.',
        ..UKRAINIAN
    },
    Known {
        code: "it",
        months: "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
        short_months: "gen feb mar apr mag giu lug ago set ott nov dic",
        weekdays: "lunedì martedì mercoledì giovedì venerdì sabato domenica",
        medium: "{d} {s} {y}",
        long: "{d} {m} {y}",
        full: "{w} {d} {m} {y}",
        short: "{D}/{M}/{y}",
        group: '.',
        ..UKRAINIAN
    },
];

/// `2027-03-07`, `2027-03-07 10:00`, or an instant with its offset, which is told in `zone`.
fn moment(text: &str, zone: Tz) -> Option<(NaiveDate, Option<NaiveTime>)> {
    let text = text.trim();
    if let Ok(date) = text.parse::<NaiveDate>() {
        return Some((date, None));
    }
    if let Ok(instant) = text.parse::<DateTime<FixedOffset>>() {
        let local = instant.with_timezone(&zone).naive_local();
        return Some((local.date(), Some(local.time())));
    }
    ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
        .map(|local| (local.date(), Some(local.time())))
}

/// The day on which something is, for a person in `zone`.
pub(super) fn day(text: &str, zone: Tz) -> Option<NaiveDate> {
    moment(text, zone).map(|(date, _)| date)
}

/// Styles: `short` 07.03.2027, `medium` 7 бер. 2027 р., `long` 7 березня 2027 р., `full` with the weekday, `day` 7 березня, `weekday` неділя.
pub(super) fn date(text: &str, style: &str, language: Language<'_>, zone: Tz) -> Option<String> {
    let date = day(text, zone)?;
    let Some(known) = language.known else {
        return match style {
            "weekday" => None,
            "short" | "medium" | "long" | "full" | "day" => Some(date.format("%Y-%m-%d").to_string()),
            _ => None,
        };
    };
    let form = match style {
        "short" => known.short,
        "medium" => known.medium,
        "long" => known.long,
        "full" => known.full,
        "day" => known.day,
        "weekday" => "{w}",
        _ => return None,
    };
    let month = date.month0() as usize;
    Some(
        form.replace("{d}", &date.day().to_string())
            .replace("{D}", &format!("{:02}", date.day()))
            .replace("{M}", &format!("{:02}", date.month()))
            .replace("{m}", nth(known.months, month))
            .replace("{s}", nth(known.short_months, month))
            .replace("{w}", nth(known.weekdays, date.weekday().num_days_from_monday() as usize))
            .replace("{y}", &date.year().to_string()),
    )
}

/// The day of an instant for a person in `zone`, as `date` with the style `long`.
pub fn long_date(instant: DateTime<Utc>, language: &str, zone: Tz) -> String {
    date(&instant.to_rfc3339(), "long", Language::of(language), zone).unwrap_or_default()
}

/// The time of day; also of a bare `10:00`.
pub(super) fn time(text: &str, language: Language<'_>, zone: Tz) -> Option<String> {
    let time = match moment(text, zone) {
        Some((_, time)) => time?,
        None => ["%H:%M", "%H:%M:%S"].iter().find_map(|form| NaiveTime::parse_from_str(text.trim(), form).ok())?,
    };
    Some(if language.known.is_some_and(|known| known.half_days) {
        let (afternoon, hour) = time.hour12();
        format!("{hour}:{:02} {}", time.minute(), if afternoon { "PM" } else { "AM" })
    } else {
        time.format("%H:%M").to_string()
    })
}

/// Groups of three digits, the language's signs. Without `decimals`: as many as written. `plain`: only characters of every SMS alphabet.
pub(super) fn number(text: &str, decimals: Option<usize>, language: Language<'_>, plain: bool) -> Option<String> {
    let text = text.trim();
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let value: f64 = digits.parse().ok().filter(|value: &f64| value.is_finite())?;
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let written = match decimals {
        Some(decimals) => format!("{value:.decimals$}"),
        None if is_plain => digits.to_string(),
        None => format!("{value}"),
    };
    let (whole, part) = written.split_once('.').unwrap_or((&written, ""));
    let whole = whole.trim_start_matches('0');
    let (group, decimal) = language.known.map_or((SPACE, '.'), |known| (known.group, known.decimal));
    let group = if plain && !group.is_ascii() { ' ' } else { group };
    let mut out = String::from(if whole.is_empty() && part.bytes().all(|byte| byte == b'0') { "" } else { sign });
    // Four digits stand together where the group is a blank: 1234, 12 345. Everywhere else 1,234.
    let grouped = whole.len() > 4 || (whole.len() == 4 && group.is_ascii_punctuation());
    for (at, digit) in whole.char_indices() {
        if at > 0 && (whole.len() - at) % 3 == 0 && (grouped || language.known.is_none()) {
            out.push(group);
        }
        out.push(digit);
    }
    if whole.is_empty() {
        out.push('0');
    }
    if !part.is_empty() {
        out.push(decimal);
        out.push_str(part);
    }
    Some(out)
}

/// An amount in major units with its currency. Without `decimals`: none for whole amounts, else the currency's.
pub(super) fn money(text: &str, currency: &str, decimals: Option<usize>, language: Language<'_>, plain: bool) -> Option<String> {
    let value: f64 = text.trim().parse().ok().filter(|value: &f64| value.is_finite())?;
    let currency = currency.to_uppercase();
    let digits = match currency.as_str() {
        "JPY" | "KRW" | "CLP" | "VND" | "ISK" | "XAF" | "XOF" | "PYG" | "UGX" => 0,
        "BHD" | "KWD" | "OMR" | "JOD" | "TND" | "IQD" | "LYD" => 3,
        _ => 2,
    };
    let rounded = format!("{value:.digits$}");
    let is_whole = rounded.split_once('.').is_none_or(|(_, part)| part.bytes().all(|byte| byte == b'0'));
    let amount = number(&rounded, Some(decimals.unwrap_or(if is_whole { 0 } else { digits })), language, plain)?;
    let sign = match (currency.as_str(), plain) {
        ("USD", _) => Some("$"),
        ("EUR", _) => Some("€"),
        ("GBP", _) => Some("£"),
        ("JPY", _) => Some("¥"),
        ("UAH", false) => Some("₴"),
        ("UAH", true) if language.code == "uk" || language.code == "ru" => Some("грн"),
        ("RUB", false) => Some("₽"),
        ("RUB", true) if language.code == "ru" => Some("руб."),
        ("KZT", false) => Some("₸"),
        ("PLN", false) if language.code == "pl" => Some("zł"),
        ("CZK", false) if language.code == "cs" => Some("Kč"),
        _ => None,
    };
    let space = if plain { ' ' } else { SPACE };
    Some(match (sign, language.known.is_some_and(|known| known.sign_first)) {
        (Some(sign), true) => match amount.strip_prefix('-') {
            Some(amount) => format!("-{sign}{amount}"),
            None => format!("{sign}{amount}"),
        },
        (Some(sign), false) => format!("{amount}{space}{sign}"),
        (None, true) => format!("{currency}{space}{amount}"),
        (None, false) => format!("{amount}{space}{currency}"),
    })
}

/// The plural category of a number as written (CLDR 46): one, few, many or other.
pub(super) fn plural(text: &str, language: Language<'_>) -> &'static str {
    let text = text.trim().trim_start_matches('-');
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_whole = part.is_empty();
    let last = |digits: usize| whole.get(whole.len().saturating_sub(digits)..).and_then(|end| end.parse::<u32>().ok()).unwrap_or(0);
    let (ten, hundred) = (last(1), last(2));
    let is = |number: &str| whole.trim_start_matches('0') == number || (number == "0" && whole.trim_start_matches('0').is_empty());
    match language.code {
        "uk" | "ru" | "be" | "sr" | "hr" | "bs" => match (is_whole, ten, hundred) {
            (false, ..) => "other",
            (_, 1, hundred) if hundred != 11 => "one",
            (_, 2..=4, hundred) if !(12..=14).contains(&hundred) => "few",
            _ => "many",
        },
        "pl" => match (is_whole, ten, hundred) {
            (false, ..) => "other",
            _ if is("1") => "one",
            (_, 2..=4, hundred) if !(12..=14).contains(&hundred) => "few",
            _ => "many",
        },
        "cs" | "sk" => match () {
            _ if !is_whole => "many",
            _ if is("1") => "one",
            _ if is("2") || is("3") || is("4") => "few",
            _ => "other",
        },
        "lt" => match (is_whole, ten, hundred) {
            (false, ..) => "many",
            (_, 1, hundred) if !(11..=19).contains(&hundred) => "one",
            (_, 2..=9, hundred) if !(11..=19).contains(&hundred) => "few",
            _ => "other",
        },
        "ro" => match () {
            _ if is_whole && is("1") => "one",
            _ if !is_whole || is("0") || (1..=19).contains(&hundred) => "few",
            _ => "other",
        },
        "fr" | "pt" if is("0") || is("1") => "one",
        "ja" | "zh" | "ko" | "vi" | "th" | "id" | "ms" => "other",
        _ if is_whole && is("1") => "one",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KYIV: Tz = chrono_tz::Europe::Kyiv;

    #[test]
    fn plurals_follow_the_rules_of_each_language() {
        let forms =
            |code: &str, numbers: &[&str]| -> Vec<&str> { numbers.iter().map(|number| plural(number, Language::of(code))).collect() };
        let numbers = ["1", "2", "5", "11", "21", "22", "25", "111"];
        for code in ["uk", "ru", "be"] {
            assert_eq!(forms(code, &numbers), ["one", "few", "many", "many", "one", "few", "many", "many"]);
        }
        assert_eq!(forms("pl", &numbers), ["one", "few", "many", "many", "many", "few", "many", "many"]);
        assert_eq!(forms("en", &["0", "1", "2", "1.5", "21"]), ["other", "one", "other", "other", "other"]);
        assert_eq!(forms("fr", &["0", "1", "1.5", "2"]), ["one", "one", "one", "other"]);
        assert_eq!(forms("de", &["1", "2"]), ["one", "other"]);
        assert_eq!(forms("uk", &["0", "1.5", "-1", "112", "1002"]), ["many", "other", "one", "many", "few"]);
        assert_eq!(forms("cs", &["1", "3", "5", "1.5"]), ["one", "few", "other", "many"]);
    }

    #[test]
    fn dates_and_times_are_told_in_the_persons_language_and_zone() {
        for (code, style, expected) in [
            ("uk", "short", "07.03.2027"),
            ("uk", "medium", "7 бер. 2027 р."),
            ("uk", "long", "7 березня 2027 р."),
            ("uk", "full", "неділя, 7 березня 2027 р."),
            ("uk", "day", "7 березня"),
            ("ru", "long", "7 марта 2027 г."),
            ("en", "short", "Mar 7, 2027"),
            ("en", "long", "March 7, 2027"),
            ("en-GB", "day", "March 7"),
            ("de", "long", "7. März 2027"),
            ("fr", "full", "dimanche 7 mars 2027"),
            ("pl", "long", "7 marca 2027"),
            ("ka", "long", "2027-03-07"),
        ] {
            assert_eq!(date("2027-03-07", style, Language::of(code), KYIV).as_deref(), Some(expected), "{code} {style}");
        }
        // Half past ten in the evening in London is the next day in Kyiv.
        assert_eq!(date("2027-03-06T22:30:00Z", "day", Language::of("uk"), KYIV).as_deref(), Some("7 березня"));
        assert_eq!(time("2027-03-06T22:30:00Z", Language::of("uk"), KYIV).as_deref(), Some("00:30"));
        assert_eq!(time("2027-03-07 14:05", Language::of("en"), KYIV).as_deref(), Some("2:05 PM"));
        assert_eq!(time("10:00", Language::of("de"), KYIV).as_deref(), Some("10:00"));
        assert_eq!(date("soon", "long", Language::of("en"), KYIV), None);
        assert_eq!(date("2027-03-07", "huge", Language::of("en"), KYIV), None);
        assert_eq!(time("2027-03-07", Language::of("en"), KYIV), None);
    }

    #[test]
    fn numbers_and_money_are_written_as_the_language_writes_them() {
        for (text, decimals, code, expected) in [
            ("1234567.5", None, "en", "1,234,567.5"),
            ("1234567.5", None, "uk", "1\u{a0}234\u{a0}567,5"),
            ("1234", None, "uk", "1234"),
            ("1234", None, "en", "1,234"),
            ("12345", None, "de", "12.345"),
            ("0.5", Some(0), "en", "0"),
            ("-0.004", Some(2), "en", "0.00"),
            ("-12345.678", Some(2), "fr", "-12\u{202f}345,68"),
            ("007", None, "en", "7"),
            ("0", None, "en", "0"),
        ] {
            assert_eq!(number(text, decimals, Language::of(code), false).as_deref(), Some(expected), "{text} {code}");
        }
        for (text, currency, code, expected) in [
            ("300", "UAH", "uk", "300\u{a0}₴"),
            ("300.5", "UAH", "uk", "300,50\u{a0}₴"),
            ("1299.99", "USD", "en", "$1,299.99"),
            ("-5", "USD", "en", "-$5"),
            ("300", "UAH", "en", "₴300"),
            ("300", "PLN", "en", "PLN\u{a0}300"),
            ("300", "EUR", "de", "300\u{a0}€"),
            ("1500", "JPY", "ja", "1\u{a0}500\u{a0}¥"),
        ] {
            assert_eq!(money(text, currency, None, Language::of(code), false).as_deref(), Some(expected), "{text} {currency} {code}");
        }
        assert_eq!(money("300", "UAH", None, Language::of("en"), true).as_deref(), Some("UAH 300"), "an SMS keeps its alphabet");
        assert_eq!(money("1e999", "UAH", None, Language::of("en"), true), None);
        assert_eq!(number("NaN", None, Language::of("en"), false), None);
    }
}
