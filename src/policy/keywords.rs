//! What a text from outside means: words by which people leave, come back or ask, in English, Russian and Ukrainian (standards.md §4.4).
//!
//! A keyword is the whole text, whatever its capitals, quotes, signs and emoji; letters of the other alphabet that look alike count as the same
//! (`CTOП`). A text that holds a word of leaving among others is doubtful: a person decides, and until then nothing is sent.

/// What a text asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// Nothing more from this sender.
    Stop,
    /// Nothing more at all.
    StopAll,
    /// Back to what a keyword had ended.
    Start,
    Help,
    /// It holds a word of leaving, and more.
    Doubtful,
    /// An answer like any other.
    Answer,
}

impl Meaning {
    pub const fn word(self) -> &'static str {
        match self {
            Meaning::Stop => "stop",
            Meaning::StopAll => "stop_all",
            Meaning::Start => "start",
            Meaning::Help => "help",
            Meaning::Doubtful => "doubtful",
            Meaning::Answer => "answer",
        }
    }
}

const STOP: &[&str] = &[
    "STOP",
    "UNSUBSCRIBE",
    "CANCEL",
    "END",
    "QUIT",
    "REVOKE",
    "OPTOUT",
    "REMOVE",
    "ARRET",
    "СТОП",
    "ОТПИСКА",
    "ОТПИСАТЬСЯ",
    "ОТКАЗ",
    "ОТМЕНА",
    "НЕТ",
    "ВІДПИСКА",
    "ВІДПИСАТИСЯ",
    "ВІДМОВА",
    "СКАСУВАТИ",
    "НІ",
];
const STOP_ALL: &[&str] = &["STOPALL", "СТОПВСЕ", "СТОПУСЕ", "СТОПУСІ"];
const START: &[&str] = &["START", "UNSTOP", "YES", "СТАРТ", "ПОДПИСКА", "ПІДПИСКА"];
const HELP: &[&str] = &["HELP", "INFO", "ПОМОЩЬ", "СПРАВКА", "ДОПОМОГА", "ІНФО"];

/// Letters that look alike, Latin and Cyrillic. Small ones have pairs of their own: `Н` looks like `H`, and `н` not like `h`.
const ALIKE: &[(char, char)] = &[
    ('A', 'А'),
    ('B', 'В'),
    ('C', 'С'),
    ('E', 'Е'),
    ('H', 'Н'),
    ('I', 'І'),
    ('K', 'К'),
    ('M', 'М'),
    ('O', 'О'),
    ('P', 'Р'),
    ('T', 'Т'),
    ('X', 'Х'),
    ('Y', 'У'),
    ('a', 'а'),
    ('c', 'с'),
    ('e', 'е'),
    ('i', 'і'),
    ('k', 'к'),
    ('o', 'о'),
    ('p', 'р'),
    ('x', 'х'),
    ('y', 'у'),
];

/// A word in capitals, all its look-alikes of one alphabet; `Ё` is `Е`.
fn folded(word: &str, to_latin: bool) -> String {
    let one = |letter: char| {
        let pair = ALIKE.iter().find(|(latin, cyrillic)| if to_latin { letter == *cyrillic } else { letter == *latin });
        let letter = pair.map_or(letter, |(latin, cyrillic)| if to_latin { *latin } else { *cyrillic });
        let letter = if matches!(letter, 'ё' | 'Ё') { 'Е' } else { letter };
        letter.to_uppercase().collect::<String>()
    };
    let capital: String = word.chars().map(one).collect();
    // A letter may have become one with a double only as a capital.
    capital
        .chars()
        .map(|letter| {
            ALIKE
                .iter()
                .find(|(latin, cyrillic)| letter == if to_latin { *cyrillic } else { *latin })
                .map_or(letter, |(latin, cyrillic)| if to_latin { *latin } else { *cyrillic })
        })
        .collect()
}

fn is_one_of(word: &str, keywords: &[&str]) -> bool {
    let plain = word.to_uppercase().replace('Ё', "Е");
    if keywords.contains(&plain.as_str()) {
        return true;
    }
    // Short words of one alphabet mean what they say: `Hi` is no `НІ`, and `het` no `НЕТ`.
    let is_latin = |letter: char| letter.is_ascii_alphabetic();
    let is_mixed = word.chars().any(is_latin) && word.chars().any(|letter| letter.is_alphabetic() && !is_latin(letter));
    if !is_mixed && word.chars().count() <= 3 {
        return false;
    }
    let (latin, cyrillic) = (folded(word, true), folded(word, false));
    keywords.iter().any(|keyword| latin == folded(keyword, true) || cyrillic == folded(keyword, false))
}

/// What the text means.
pub fn meaning(text: &str) -> Meaning {
    // An apostrophe belongs to its word: `don't` is no keyword, and neither is what stands around it.
    let words: Vec<String> = text
        .split(|c: char| !c.is_alphanumeric() && !matches!(c, '\'' | '\u{2019}' | '\u{2bc}'))
        .map(|word| word.trim_matches(['\'', '\u{2019}', '\u{2bc}']).to_string())
        .filter(|word| !word.is_empty())
        .collect();
    let whole = words.concat();
    if is_one_of(&whole, STOP_ALL) {
        return Meaning::StopAll;
    }
    if is_one_of(&whole, STOP) {
        return Meaning::Stop;
    }
    if is_one_of(&whole, START) {
        return Meaning::Start;
    }
    if is_one_of(&whole, HELP) {
        return Meaning::Help;
    }
    let pairs = words.windows(2).map(|pair| pair.concat());
    let holds = words.iter().cloned().chain(pairs).any(|word| is_one_of(&word, STOP) || is_one_of(&word, STOP_ALL));
    if holds { Meaning::Doubtful } else { Meaning::Answer }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Meaning::{Answer, Doubtful, Help, Start, Stop, StopAll};

    #[test]
    fn texts_mean_what_people_mean() {
        for (text, expected) in [
            ("STOP", Stop),
            ("stop", Stop),
            (" Stop! ", Stop),
            ("\"stop\"", Stop),
            ("STOP.", Stop),
            ("🛑 stop 🛑", Stop),
            ("s-t-o-p", Stop),
            ("unsubscribe", Stop),
            ("opt out", Stop),
            ("OPT-OUT", Stop),
            ("Optout", Stop),
            ("end", Stop),
            ("Quit", Stop),
            ("revoke", Stop),
            ("remove", Stop),
            ("Arrêt", Answer),
            ("arret", Stop),
            ("Стоп!", Stop),
            ("стоп", Stop),
            ("CTOП", Stop),
            ("cтoп", Stop),
            ("SТОР", Stop),
            ("отписаться", Stop),
            ("ОТПИСКА", Stop),
            ("Отмена", Stop),
            ("нет", Stop),
            ("HET", Answer),
            ("відписка", Stop),
            ("ВІДМОВА", Stop),
            ("Скасувати", Stop),
            ("ні", Stop),
            ("Hi", Answer),
            ("STOPALL", StopAll),
            ("stop all", StopAll),
            ("Стоп всё", StopAll),
            ("START", Start),
            ("Старт", Start),
            ("unstop", Start),
            ("yes", Start),
            ("👍 yes", Start),
            ("Підписка", Start),
            ("подписка", Start),
            ("help", Help),
            ("INFO", Help),
            ("помощь?", Help),
            ("Допомога", Help),
            ("інфо", Help),
            ("don't stop", Doubtful),
            ("UNSUBSCRIBE please", Doubtful),
            ("please opt out of this", Doubtful),
            ("не пишите мне, стоп", Doubtful),
            ("Вiдписка будь ласка", Doubtful),
            ("why stop now", Doubtful),
            ("Hello & thanks = ok?", Answer),
            ("yes please", Answer),
            ("stopped", Answer),
            ("nonstop", Answer),
            ("", Answer),
            ("👍", Answer),
            ("спасибо", Answer),
            ("Weekend", Answer),
        ] {
            assert_eq!(meaning(text), expected, "{text}");
        }
    }
}
