//! Single values held against their shape: what is wrong with one, and what was probably meant.

use super::fields::{Choice, Kind, Shape, quoted};
use super::names::Names;
use crate::diagnostics::nearest;
use crate::literals::{self, DateRange, Duration, HourRange, Money, Rate, Share, WeekdayRange, WrittenTime, codes};

/// What is wrong with a value.
#[derive(Debug, Default)]
pub struct Wrong {
    pub title: String,
    pub label: Option<String>,
    pub help: Vec<String>,
}

impl Wrong {
    fn of(title: impl Into<String>, help: impl Into<String>) -> Self {
        Wrong { title: title.into(), label: None, help: vec![help.into()] }
    }
}

/// A reader's sentence `what is wrong; what to do` in its two parts.
impl From<String> for Wrong {
    fn from(sentence: String) -> Self {
        match sentence.split_once("; ") {
            Some((title, help)) => Wrong::of(title, help),
            None => Wrong { title: sentence, ..Wrong::default() },
        }
    }
}

pub fn check(text: &str, shape: &Shape, names: &Names) -> Result<(), Wrong> {
    let currency = || names.currency.as_deref().unwrap_or("EUR");
    match shape {
        Shape::Text | Shape::Words if text.trim().is_empty() => {
            return Err(Wrong::of("the text is empty", format!("write {}", shape.example())));
        }
        Shape::Key => key(text)?,
        Shape::Name => name(text)?,
        Shape::Email => email(text)?,
        Shape::Url => web_address(text)?,
        Shape::Host => host(text)?,
        Shape::Duration => drop(Duration::read(text)?),
        Shape::DateTime => drop(WrittenTime::read(text)?),
        Shape::Date => drop(literals::date(text)?),
        Shape::DateOrDateTime => drop(if text.len() > 10 { WrittenTime::read(text).map(drop) } else { literals::date(text).map(drop) }?),
        Shape::Dates => drop(DateRange::read(text)?),
        Shape::Time => drop(literals::time(text)?),
        Shape::Share => drop(Share::read(text)?),
        Shape::Money => drop(Money::read(text, currency())?),
        // Without a currency of the workspace, which has been told, no price can be read.
        Shape::Price if names.currency.is_none() => {}
        Shape::Price => drop(literals::price(text, currency())?),
        Shape::Rate => drop(Rate::read(text)?),
        Shape::Hours => drop(HourRange::read(text)?),
        Shape::Weekdays => drop(WeekdayRange::read(text)?),
        Shape::Whole { least, most } => whole(text, *least, *most)?,
        Shape::Boolean => drop(literals::boolean(text)?),
        Shape::Language => drop(codes::language(text)?),
        Shape::Country => drop(codes::country(text)?),
        Shape::Zone => drop(codes::zone(text)?),
        Shape::Currency => drop(codes::currency(text)?),
        Shape::Secret => secret(text)?,
        Shape::Word(choice) => word(text, choice)?,
        Shape::Reference(kind) => reference(text, *kind, names)?,
        Shape::Type => value_type(text, names)?,
        Shape::OneOrList(item) => return check(text, item, names),
        _ => {}
    }
    Ok(())
}

/// Whether this value was probably meant as this shape, when none fits.
pub fn is_plausible(text: &str, shape: &Shape) -> bool {
    let digit = text.starts_with(|c: char| c.is_ascii_digit());
    match shape {
        Shape::Duration => digit && !text.contains([':', '-', '%']),
        Shape::DateTime | Shape::Date | Shape::DateOrDateTime => digit && text.contains(['-', ':', '.']),
        Shape::Share => text.contains('%') || digit,
        Shape::Word(choice) => nearest(text, choice.words.iter().chain(choice.later).copied()).is_some(),
        Shape::Boolean => matches!(text.to_lowercase().as_str(), "yes" | "no" | "on" | "off" | "true" | "false"),
        _ => false,
    }
}

fn key(text: &str) -> Result<(), Wrong> {
    let good = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-')
            && !text.contains("--")
    };
    if text.len() > 64 {
        return Err(Wrong::of(format!("`{text}` is longer than 64 letters"), "take a shorter key"));
    }
    if good(text) {
        return Ok(());
    }
    let meant = text.trim().to_lowercase().replace(['_', ' ', '.'], "-");
    let help = if good(&meant) { format!("write `{meant}`") } else { "keys are lower-case-with-hyphens, in Latin letters".to_string() };
    Err(Wrong::of(format!("`{text}` is no key"), help))
}

fn name(text: &str) -> Result<(), Wrong> {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase())
            && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    if text.len() <= 64 && text.split('.').all(part) {
        return Ok(());
    }
    let meant = text.trim().to_lowercase().replace(['-', ' '], "_");
    let help = if meant.split('.').all(part) && meant != text {
        format!("write `{meant}`")
    } else {
        "names are lower_case, in Latin letters".to_string()
    };
    Err(Wrong::of(format!("`{text}` is no name"), help))
}

fn email(text: &str) -> Result<(), Wrong> {
    let options = email_address::Options::default().without_display_text().without_domain_literal();
    match email_address::EmailAddress::parse_with_options(text, options) {
        Ok(_) => Ok(()),
        Err(_) => Err(Wrong::of(format!("`{text}` is no email address"), "write it like olena@shop.example")),
    }
}

fn web_address(text: &str) -> Result<(), Wrong> {
    let bad = |why: &str| Wrong::of(format!("`{text}` {why}"), "write it like https://go.shop.example");
    let address = url::Url::parse(text).map_err(|_| bad("is no web address"))?;
    match (address.scheme(), address.host_str()) {
        ("http" | "https", Some(_)) if !address.username().is_empty() || address.password().is_some() => {
            Err(bad("holds a user name or a password"))
        }
        ("http" | "https", Some(_)) if address.query().is_some() || address.fragment().is_some() => Err(bad("ends with more than a path")),
        ("http" | "https", Some(_)) => Ok(()),
        _ => Err(bad("is no web address")),
    }
}

fn host(text: &str) -> Result<(), Wrong> {
    let plain = !text.is_empty() && !text.contains(['/', ' ', ':', '@']) && url::Host::parse(text).is_ok();
    if plain { Ok(()) } else { Err(Wrong::of(format!("`{text}` is no host"), "write only the host, like shop.example")) }
}

fn whole(text: &str, least: u64, most: u64) -> Result<(), Wrong> {
    let range = if most == u64::MAX { format!("{least} or more") } else { format!("from {least} to {most}") };
    match literals::whole(text) {
        Ok(number) if number < least || number > most => Err(Wrong::of(format!("`{text}` is out of range"), format!("it must be {range}"))),
        Ok(_) => Ok(()),
        Err(why) => Err(Wrong::of(why, format!("write digits only, {range}"))),
    }
}

/// Whether a text is nothing but `${NAME}`.
pub fn is_secret_name(text: &str) -> bool {
    text.strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'))
        .is_some_and(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
}

fn secret(text: &str) -> Result<(), Wrong> {
    if is_secret_name(text) {
        return Ok(());
    }
    Err(Wrong {
        title: "a secret stands here in plain text".into(),
        label: Some("everyone who can read the files can read it".into()),
        help: vec![
            "write the name of a secret instead, like \"${SMTP_PASSWORD}\", and put SMTP_PASSWORD=… into .env, which stays out of git"
                .into(),
            "change this secret now if the file was ever shared".into(),
        ],
    })
}

fn word(text: &str, choice: &Choice) -> Result<(), Wrong> {
    if choice.words.contains(&text) {
        return Ok(());
    }
    let help = match nearest(text, choice.words.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("write one of {}", quoted(choice.words.iter().copied())),
    };
    Err(Wrong::of(format!("`{text}` is no {}", choice.what), help))
}

/// Whether a name is declared where the workspace declares such names.
pub fn reference(text: &str, kind: Kind, names: &Names) -> Result<(), Wrong> {
    let Some(known) = names.missing(kind, text) else { return Ok(()) };
    let help = match nearest(text, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => format!("declare it in {}", kind.home()),
        None if known.len() <= 8 => format!("known are {}; others are declared in {}", quoted(known.iter().copied()), kind.home()),
        None => format!("declare it in {}", kind.home()),
    };
    Err(Wrong { title: format!("there is no {} `{text}`", kind.word()), label: Some("used here".into()), help: vec![help] })
}

const TYPES: [&str; 6] = ["text", "number", "money", "boolean", "date", "datetime"];

fn value_type(text: &str, names: &Names) -> Result<(), Wrong> {
    if TYPES.contains(&text) || names.missing(Kind::Catalog, text).is_none() {
        return Ok(());
    }
    let common = match text {
        "string" | "str" => Some("text"),
        "int" | "integer" | "float" | "decimal" => Some("number"),
        "bool" => Some("boolean"),
        "timestamp" | "date-time" | "time" => Some("datetime"),
        _ => nearest(text, TYPES.iter().copied().chain(names.missing(Kind::Catalog, text).unwrap_or_default())),
    };
    let help = match common {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("types are {}, a catalog, [ type ] and {{ name: type }}", quoted(TYPES)),
    };
    Err(Wrong::of(format!("`{text}` is no type"), help))
}
