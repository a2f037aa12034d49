//! Dates and times as they stand in files: ISO 8601 always, and the one pattern that a mapping names (`DD.MM.YYYY`).

use crate::types::Time;
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeZone};
use chrono_tz::Tz;

/// A pattern such as `DD.MM.YYYY HH:mm`, read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    chrono: String,
    has_time: bool,
}

impl Pattern {
    /// `YYYY`, `YY`, `MM`, `DD`, `HH`, `mm` (or `MM` behind `HH`), `ss`; everything else stands for itself.
    pub fn read(written: &str) -> Result<Self, String> {
        let (mut chrono, mut has_time) = (String::new(), false);
        let mut rest = written;
        while let Some(first) = rest.chars().next() {
            let known = [("YYYY", "%Y"), ("YY", "%y"), ("DD", "%d"), ("HH", "%H"), ("mm", "%M"), ("ss", "%S"), ("SS", "%S"), ("MM", "%m")];
            match known.iter().find(|(word, _)| rest.starts_with(word)) {
                Some((word, sign)) => {
                    chrono.push_str(if *word == "MM" && has_time { "%M" } else { sign });
                    has_time |= *word == "HH";
                    rest = &rest[word.len()..];
                }
                None if first.is_alphanumeric() => {
                    return Err(format!("`{written}` is no pattern of dates; write one like DD.MM.YYYY, or DD.MM.YYYY HH:mm"));
                }
                None => {
                    chrono.push_str(if first == '%' { "%%" } else { &rest[..first.len_utf8()] });
                    rest = &rest[first.len_utf8()..];
                }
            }
        }
        if !["%d", "%m"].iter().all(|sign| chrono.contains(sign)) || !(chrono.contains("%Y") || chrono.contains("%y")) {
            return Err(format!("`{written}` names no day, month and year; write a pattern like DD.MM.YYYY"));
        }
        Ok(Pattern { chrono, has_time })
    }
}

/// A date, a local time, or an instant, whichever was written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Moment {
    Date(NaiveDate),
    Local(NaiveDateTime),
    Instant(DateTime<chrono::FixedOffset>),
}

impl Moment {
    /// Reads `2027-03-01`, `2027-03-01 10:00[:00[.5]]` (or with `T`), with an offset or `Z`, or what the pattern says.
    pub fn read(text: &str, pattern: Option<&Pattern>) -> Option<Moment> {
        iso(text).or_else(|| by_pattern(text, pattern?))
    }
    pub fn date(self) -> NaiveDate {
        match self {
            Moment::Date(date) => date,
            Moment::Local(local) => local.date(),
            Moment::Instant(instant) => instant.date_naive(),
        }
    }
    /// The instant; what has no offset is read in `zone`: a date at its midnight, a time in a gap at the end of the gap.
    pub fn instant(self, zone: Tz) -> Time {
        let local = match self {
            Moment::Instant(instant) => return instant.to_utc(),
            Moment::Date(date) => date.and_time(NaiveTime::MIN),
            Moment::Local(local) => local,
        };
        let mut probe = local;
        for _ in 0..96 {
            if let Some(instant) = zone.from_local_datetime(&probe).earliest() {
                return instant.to_utc();
            }
            probe += chrono::TimeDelta::minutes(15);
        }
        local.and_utc()
    }
    /// As attributes keep it: `2027-03-01`, `2027-03-01T10:00:00`, `2027-03-01T10:00:00+02:00`.
    pub fn text(self) -> String {
        match self {
            Moment::Date(date) => date.to_string(),
            Moment::Local(local) => local.format("%Y-%m-%dT%H:%M:%S%.f").to_string(),
            Moment::Instant(instant) => instant.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
        }
    }
}

fn iso(text: &str) -> Option<Moment> {
    let bytes = text.as_bytes();
    if bytes.len() < 10 || bytes[4] != b'-' || !bytes[0].is_ascii_digit() || !text.is_ascii() {
        return None;
    }
    if text.len() == 10 {
        return parse_date(bytes).map(Moment::Date);
    }
    if !matches!(bytes[10], b'T' | b't' | b' ') || text.len() < 16 {
        return None;
    }
    let date = parse_date(&bytes[..10])?;
    let (time, offset) = match text[11..].find(['Z', 'z', '+', '-']) {
        Some(at) => (text[11..11 + at].trim_end(), &text[11 + at..]),
        None => (&text[11..], ""),
    };
    let time = ["%H:%M:%S%.f", "%H:%M"].iter().find_map(|form| NaiveTime::parse_from_str(time, form).ok())?;
    let local = date.and_time(time);
    if offset.is_empty() {
        return Some(Moment::Local(local));
    }
    let seconds = if offset.eq_ignore_ascii_case("z") {
        0
    } else {
        let digits: String = offset.chars().skip(1).filter(char::is_ascii_digit).collect();
        let (hours, minutes) = match digits.len() {
            2 => (digits.parse::<i32>().ok()?, 0),
            4 => (digits[..2].parse::<i32>().ok()?, digits[2..].parse::<i32>().ok()?),
            _ => return None,
        };
        (hours * 3600 + minutes * 60) * if offset.starts_with('-') { -1 } else { 1 }
    };
    chrono::FixedOffset::east_opt(seconds)?.from_local_datetime(&local).single().map(Moment::Instant)
}

fn parse_date(bytes: &[u8]) -> Option<NaiveDate> {
    let number = |range: std::ops::Range<usize>| {
        bytes[range].iter().try_fold(0u32, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u32::from(byte - b'0')))
    };
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    NaiveDate::from_ymd_opt(i32::try_from(number(0..4)?).ok()?, number(5..7)?, number(8..10)?)
}

fn by_pattern(text: &str, pattern: &Pattern) -> Option<Moment> {
    let moment = if pattern.has_time {
        Moment::Local(NaiveDateTime::parse_from_str(text, &pattern.chrono).ok()?)
    } else {
        Moment::Date(NaiveDate::parse_from_str(text, &pattern.chrono).ok()?)
    };
    use chrono::Datelike;
    // `%Y` also takes the years 1 to 99 of `04.11.80`: that is a slip, not a year.
    (1000..=9999).contains(&moment.date().year()).then_some(moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, pattern: Option<&str>, expected: Option<&str>) {
        let pattern = pattern.map(|pattern| Pattern::read(pattern).unwrap());
        assert_eq!(Moment::read(text, pattern.as_ref()).map(Moment::text).as_deref(), expected, "{text:?}");
    }

    #[test]
    fn iso_is_always_read_and_other_forms_by_pattern_only() {
        check("1970-06-08", None, Some("1970-06-08"));
        check("1970-06-08 00:00:00", None, Some("1970-06-08T00:00:00"));
        check("2024-12-05 13:00:00+03:00", None, Some("2024-12-05T13:00:00+03:00"));
        check("2021-01-28T10:00:00Z", None, Some("2021-01-28T10:00:00Z"));
        check("04.11.1980", None, None);
        check("04.11.1980", Some("DD.MM.YYYY"), Some("1980-11-04"));
        check("4.1.1980", Some("DD.MM.YYYY"), Some("1980-01-04"));
        check("04.11.80", Some("DD.MM.YYYY"), None);
        check("31.02.1980", Some("DD.MM.YYYY"), None);
        check("12/31/2020 09:05", Some("MM/DD/YYYY HH:MM"), Some("2020-12-31T09:05:00"));
        check("2020-13-01", None, None);
        check("2020-01-0é", None, None);
        assert!(Pattern::read("dd.mm").is_err() && Pattern::read("DD.MM").is_err());
    }
}
