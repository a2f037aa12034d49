//! Money and shares: `500 UAH`, `0.45 UAH`, `10%`.

use super::{Money, Share, codes};
use std::fmt;

/// A decimal number as digits only: its value in units of 10^-`digits`. Nothing is rounded.
///
/// # Errors
/// A sentence when it is no number, has more decimals than `digits`, or is too large.
pub fn decimal(text: &str, digits: u32) -> Result<i64, String> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(fraction) || unsigned.ends_with('.') {
        return Err(match text.contains(',') && text.replace(',', ".").parse::<f64>().is_ok() {
            true => format!("`{text}` has a comma; decimals stand behind a point"),
            false => format!("`{text}` is no number"),
        });
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > digits as usize {
        return Err(match digits {
            0 => format!("`{text}` has decimals where there are none"),
            _ => format!("`{text}` has more than {digits} decimals"),
        });
    }
    let value =
        format!("{whole}{fraction:0<width$}", width = digits as usize).parse::<i64>().map_err(|_| format!("`{text}` is too large"))?;
    Ok(if negative { -value } else { value })
}

impl Money {
    /// Reads `500 UAH`; a bare number is in `currency`.
    pub fn read(text: &str, currency: &str) -> Result<Money, String> {
        let (number, written) = match text.trim().split_once(' ') {
            Some((number, code)) => (number, codes::currency(code.trim())?),
            None => (text.trim(), currency.to_string()),
        };
        if number.starts_with(|c: char| !c.is_ascii_digit() && c != '-') || number.ends_with(|c: char| !c.is_ascii_digit()) {
            return Err(format!("`{text}` is no money; write the amount, a space and the currency, like `500 {currency}`"));
        }
        let digits = codes::minor_digits(&written).unwrap_or(2);
        Ok(Money { minor: decimal(number, digits).map_err(|why| format!("{why}; {written} has {digits}"))?, currency: written })
    }

    /// The amount in major units, for showing and for conditions.
    pub fn major(&self) -> f64 {
        self.minor as f64 / 10f64.powi(codes::minor_digits(&self.currency).unwrap_or(2) as i32)
    }
}

/// The price of one unit of a currency: `48.20 UAH`, in `currency`.
pub fn price(text: &str, currency: &str) -> Result<f64, String> {
    let number = match text.trim().split_once(' ') {
        Some((number, code)) if code.trim() == currency => number,
        Some(_) => return Err(format!("a rate is written in the workspace's currency, like `48.20 {currency}`")),
        None => text.trim(),
    };
    match decimal(number, 8)? {
        value if value <= 0 => Err(format!("`{text}` is no price")),
        value => Ok(value as f64 / 1e8),
    }
}

impl fmt::Display for Money {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = codes::minor_digits(&self.currency).unwrap_or(2);
        let unit = 10u64.pow(digits);
        let (sign, minor) = (if self.minor < 0 { "-" } else { "" }, self.minor.unsigned_abs());
        match minor % unit {
            0 => write!(formatter, "{sign}{} {}", minor / unit, self.currency),
            rest => write!(formatter, "{sign}{}.{rest:0width$} {}", minor / unit, self.currency, width = digits as usize),
        }
    }
}

impl Share {
    /// All of it.
    pub const WHOLE: Share = Share(10_000);

    /// Reads `10%` or `0.05%`: two decimals at most, no space, 0% to 100%.
    pub fn read(text: &str) -> Result<Share, String> {
        let Some(number) = text.strip_suffix('%') else {
            return Err(match decimal(text, 8) {
                // A tenth, as a spreadsheet writes it?
                Ok(value) if (1..100_000_000).contains(&value) => {
                    let percent = (value / 1000) as f64 / 1000.0;
                    format!("`{text}` has no percent sign; write `{percent}%`, or `{text}%` if so little is meant")
                }
                Ok(_) => format!("`{text}` has no percent sign; write `{text}%`"),
                Err(_) => format!("`{text}` is no percentage; write it like `10%`"),
            });
        };
        if number.ends_with(' ') {
            return Err(format!("`{text}` has a space; write `{}%`", number.trim()));
        }
        match decimal(number, 2) {
            Ok(value) if value < 0 => Err(format!("`{text}` is less than nothing")),
            Ok(value) if value > 10_000 => Err(format!("`{text}` is more than 100%")),
            Ok(value) => Ok(Share(value as u32)),
            Err(why) if why.contains("decimals") => Err(format!("`{text}` has more than two decimals")),
            Err(_) => Err(format!("`{text}` is no percentage; write it like `10%`")),
        }
    }

    /// Between 0 and 1.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

impl fmt::Display for Share {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 100, self.0 % 100);
        match (rest, rest % 10) {
            (0, _) => write!(formatter, "{whole}%"),
            (_, 0) => write!(formatter, "{whole}.{}%", rest / 10),
            _ => write!(formatter, "{whole}.{rest:02}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(text: &str, expected: Result<&str, &str>) {
        match (Money::read(text, "UAH"), expected) {
            (Ok(money), Ok(expected)) => assert_eq!(money.to_string(), expected),
            (Err(why), Err(expected)) => assert!(why.contains(expected), "{text}: {why}"),
            (read, expected) => panic!("{text}: {read:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn money_has_the_decimals_of_its_currency() {
        money("500 UAH", Ok("500 UAH"));
        money("0.45 UAH", Ok("0.45 UAH"));
        money("12.5", Ok("12.50 UAH"));
        money("1000 JPY", Ok("1000 JPY"));
        money("1.234 KWD", Ok("1.234 KWD"));
        money("-3 EUR", Ok("-3 EUR"));
        money("1.5 JPY", Err("JPY has 0"));
        money("1.005 EUR", Err("EUR has 2"));
        money("500 UHA", Err("did you mean `UAH`"));
        money("500 грн", Err("UAH"));
        money("$5", Err("no money"));
        money("1,5", Err("comma"));
        money("99999999999999999999", Err("too large"));
        assert_eq!(Money::read("0.45 UAH", "UAH").unwrap().minor, 45);
    }

    #[test]
    fn shares_are_percentages() {
        assert_eq!(Share::read("10%"), Ok(Share(1000)));
        assert_eq!(Share::read("0.05%"), Ok(Share(5)));
        assert_eq!(Share::read("33.33%").unwrap().to_string(), "33.33%");
        assert_eq!(Share::read("2.5%").unwrap().to_string(), "2.5%");
        assert!(Share::read("10 %").unwrap_err().contains("`10%`"));
        assert!(Share::read("0.005%").unwrap_err().contains("two decimals"));
        assert!(Share::read("10").unwrap_err().contains("`10%`"));
        assert!(Share::read("101%").unwrap_err().contains("more than 100%"));
        assert_eq!(price("48.20 UAH", "UAH"), Ok(48.2));
    }
}
