//! The words of our pages, and in which language a person reads them. A language is a file in `words/` with every text.

use super::Site;
use crate::literals::Words;
use crate::types::Channel;
use axum::http::{HeaderMap, header};
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// Languages that the pages speak.
pub const LANGUAGES: [&str; 4] = ["en", "uk", "ru", "de"];

static TEXTS: LazyLock<[Value; LANGUAGES.len()]> = LazyLock::new(|| {
    [include_str!("words/en.json"), include_str!("words/uk.json"), include_str!("words/ru.json"), include_str!("words/de.json")].map(
        |text| {
            serde_json::from_str(text).unwrap_or_else(|error| {
                tracing::error!(%error, "the words of a language are broken");
                Value::Object(Map::new())
            })
        },
    )
});

/// Every text of the pages.
pub fn texts(language: &str) -> &'static Value {
    let place = LANGUAGES.iter().position(|known| *known == language).unwrap_or(0);
    TEXTS.get(place).unwrap_or(&Value::Null)
}

/// One text; empty where there is none.
pub fn text(language: &str, name: &str) -> &'static str {
    texts(language).get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The language itself, without its region: `de` of `de-AT`.
fn known(language: &str) -> Option<&'static str> {
    let language = language.split(['-', '_']).next().unwrap_or_default().trim().to_ascii_lowercase();
    LANGUAGES.into_iter().find(|known| *known == language)
}

/// The language of a page: the customer's, through the workspace's fallbacks; for who has none, the browser's, then the workspace's.
pub fn language(site: &Site, own: Option<&str>, headers: &HeaderMap) -> &'static str {
    let of_workspace = || site.languages.iter().find_map(|language| known(language)).unwrap_or("en");
    match own {
        Some(own) => known(own).or_else(|| site.fallback.get(own).and_then(|language| known(language))).unwrap_or_else(of_workspace),
        None => from_browser(headers).unwrap_or_else(of_workspace),
    }
}

/// The language of the browser's list that it likes best and that the pages speak.
pub fn from_browser(headers: &HeaderMap) -> Option<&'static str> {
    let list = headers.get(header::ACCEPT_LANGUAGE)?.to_str().ok()?;
    let mut wanted: Vec<(f32, &'static str)> = list
        .split(',')
        .take(20)
        .filter_map(|entry| {
            let mut parts = entry.split(';');
            let language = known(parts.next()?)?;
            let weight = parts.find_map(|part| part.trim().strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
            (weight > 0.0).then_some((weight, language))
        })
        .collect();
    // Of two that are liked alike, the first.
    wanted.sort_by(|a, b| b.0.total_cmp(&a.0));
    wanted.first().map(|(_, language)| *language)
}

/// Languages in which a title is looked for.
pub fn chain(site: &Site, language: &str) -> Vec<String> {
    let mut chain = vec![language.to_string()];
    chain.extend(site.fallback.get(language).cloned());
    chain.extend(site.languages.iter().cloned());
    chain
}

/// Words of the workspace for a page: the text, and its language where that is not the page's.
pub fn titled(site: &Site, words: &Words, language: &str) -> Value {
    let (written, text) = words.pick_with_language(&chain(site, language));
    // What is written once for all is written in the workspace's language.
    let written = if written == Words::ALL { site.languages.first().map_or(language, String::as_str) } else { written };
    json!({ "text": text, "lang": (written != language).then_some(written) })
}

pub fn channel(language: &str, channel: Channel) -> &'static str {
    text(language, &format!("channel_{channel}"))
}

/// What a language calls itself; its code where we do not know.
pub fn own_name(language: &str) -> &str {
    const NAMES: &[(&str, &str)] = &[
        ("ar", "العربية"),
        ("az", "Azərbaycanca"),
        ("be", "Беларуская"),
        ("bg", "Български"),
        ("cs", "Čeština"),
        ("da", "Dansk"),
        ("de", "Deutsch"),
        ("el", "Ελληνικά"),
        ("en", "English"),
        ("es", "Español"),
        ("et", "Eesti"),
        ("fa", "فارسی"),
        ("fi", "Suomi"),
        ("fr", "Français"),
        ("he", "עברית"),
        ("hi", "हिन्दी"),
        ("hr", "Hrvatski"),
        ("hu", "Magyar"),
        ("hy", "Հայերեն"),
        ("id", "Bahasa Indonesia"),
        ("it", "Italiano"),
        ("ja", "日本語"),
        ("ka", "ქართული"),
        ("kk", "Қазақша"),
        ("ko", "한국어"),
        ("lt", "Lietuvių"),
        ("lv", "Latviešu"),
        ("nb", "Norsk bokmål"),
        ("nl", "Nederlands"),
        ("pl", "Polski"),
        ("pt", "Português"),
        ("ro", "Română"),
        ("ru", "Русский"),
        ("sk", "Slovenčina"),
        ("sl", "Slovenščina"),
        ("sr", "Српски"),
        ("sv", "Svenska"),
        ("th", "ไทย"),
        ("tr", "Türkçe"),
        ("uk", "Українська"),
        ("uz", "Oʻzbekcha"),
        ("vi", "Tiếng Việt"),
        ("zh", "中文"),
    ];
    NAMES.iter().find(|(code, _)| *code == language).map_or(language, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_every_text_and_what_is_filled_in_it() {
        let texts = |language| texts(language).as_object().unwrap();
        for language in LANGUAGES {
            assert!(texts(language).keys().eq(texts("en").keys()), "{language}");
            for (name, text) in texts(language) {
                for mark in ["{days}", "{date}"] {
                    let has = |text: &Value| text.as_str().unwrap().contains(mark);
                    assert_eq!(has(text), has(&texts("en")[name]), "{language} {name} {mark}");
                }
                assert!(!text.as_str().unwrap().trim().is_empty(), "{language} {name}");
            }
        }
    }

    #[test]
    fn the_browser_s_best_liked_language_that_we_speak_is_taken() {
        for (list, expected) in [
            ("uk", Some("uk")),
            ("fr-FR, de-AT;q=0.8, en;q=0.9", Some("en")),
            ("en;q=0, ru;q=0.1", Some("ru")),
            ("UK-ua,en", Some("uk")),
            ("pl, *;q=0.5", None),
            ("\"><script>alert(1)</script>, en;q=x", Some("en")),
            ("", None),
            (";;;,,,q=", None),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT_LANGUAGE, list.parse().unwrap())]);
            assert_eq!(from_browser(&headers), expected, "{list}");
        }
    }
}
