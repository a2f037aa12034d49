//! First names in the cases of Ukrainian and Russian, by rules.
//!
//! Rules of the Ukrainian orthography of 2019 (§ on the vocative) and of Russian school grammar, for first names and patronymics, and a
//! list of names that go their own way. What no rule fits, and every name in another alphabet or language, stays as it is: a name in
//! the nominative is never wrong enough to hurt. Surnames are left to later work.

/// A grammatical case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    Nominative,
    Genitive,
    Dative,
    Accusative,
    Instrumental,
    /// Russian prepositional, Ukrainian locative.
    Prepositional,
    Vocative,
}

impl Case {
    pub fn from_word(word: &str) -> Option<Case> {
        Some(match word {
            "nominative" => Case::Nominative,
            "genitive" => Case::Genitive,
            "dative" => Case::Dative,
            "accusative" => Case::Accusative,
            "instrumental" => Case::Instrumental,
            "prepositional" | "locative" => Case::Prepositional,
            "vocative" => Case::Vocative,
            _ => return None,
        })
    }
}

/// How a person is called in this language: `Олена` → `Олено` in Ukrainian; the name itself in others.
pub(super) fn vocative(name: &str, language: &str) -> String {
    in_case(name, Case::Vocative, language)
}

/// A name in a case, word by word and part by part (`Анна-Марія`).
pub(super) fn in_case(name: &str, case: Case, language: &str) -> String {
    let rule: fn(&str, Case) -> Option<String> = match language {
        "uk" => ukrainian,
        "ru" => russian,
        _ => return name.to_string(),
    };
    let mut out = String::with_capacity(name.len() + 4);
    for part in name.split_inclusive([' ', '-']) {
        let word = part.trim_end_matches([' ', '-']);
        out.push_str(&one(word, case, rule));
        out.push_str(&part[word.len()..]);
    }
    out
}

fn one(name: &str, case: Case, rule: fn(&str, Case) -> Option<String>) -> String {
    let is_cyrillic =
        name.chars().count() > 1 && name.chars().all(|c| ('\u{400}'..='\u{52f}').contains(&c) || matches!(c, '\'' | '’' | 'ʼ'));
    if !is_cyrillic || case == Case::Nominative {
        return name.to_string();
    }
    let lower = name.to_lowercase();
    let Some(declined) = rule(&lower, case) else { return name.to_string() };
    if name.chars().filter(|c| c.is_alphabetic()).all(char::is_uppercase) {
        declined.to_uppercase()
    } else if name.chars().next().is_some_and(char::is_uppercase) {
        super::functions::capitalized(&declined)
    } else {
        declined
    }
}

/// The stem and one ending a case: genitive, dative, accusative, instrumental, prepositional, vocative.
fn with(stem: &str, endings: [&str; 6], case: Case) -> Option<String> {
    let ending = match case {
        Case::Nominative => return None,
        Case::Genitive => endings[0],
        Case::Dative => endings[1],
        Case::Accusative => endings[2],
        Case::Instrumental => endings[3],
        Case::Prepositional => endings[4],
        Case::Vocative => endings[5],
    };
    Some(format!("{stem}{ending}"))
}

/// Names that are not declined.
const FIXED: &[&str] = &[
    "отто",
    "бруно",
    "лео",
    "гвідо",
    "марго",
    "манон",
    "ірен",
    "ирэн",
    "ніколь",
    "николь",
    "мішель",
    "мишель",
    "адель",
    "кармен",
    "елен",
    "эллен",
    "жаклін",
    "жаклин",
    "аліс",
    "гюзель",
    "айгуль",
    "асель",
    "айсель",
    "естер",
    "эстер",
    "елізабет",
    "элизабет",
    "катрін",
    "катрин",
];

fn ukrainian(name: &str, case: Case) -> Option<String> {
    if FIXED.contains(&name) {
        return None;
    }
    // Names whose stem changes.
    for (own, stem) in [
        ("яків", "яков"),
        ("федір", "федор"),
        ("антін", "антон"),
        ("сидір", "сидор"),
        ("прокіп", "прокоп"),
        ("тиміш", "тимош"),
        ("лев", "лев"),
        ("іван", "іван"),
        ("нестір", "нестор"),
        ("никифір", "никифор"),
    ] {
        if name == own {
            return with(stem, ["а", "ові", "а", "ом", "ові", "е"], case);
        }
    }
    match name {
        "любов" => return with("любов", ["і", "і", "", "ʼю", "і", "е"], case),
        "нінель" => return with("нінел", ["і", "і", "ь", "лю", "і", "е"], case),
        "рахіль" => return with("рахіл", ["і", "і", "ь", "лю", "і", "е"], case),
        "ігор" | "лазар" => return with(name, ["я", "еві", "я", "ем", "еві", "ю"], case),
        "олег" => {
            return if case == Case::Vocative {
                Some("олеже".into())
            } else {
                with(name, ["а", "ові", "а", "ом", "ові", ""], case)
            };
        }
        "ілля" => return with("ілл", ["і", "і", "ю", "ею", "і", "е"], case),
        _ => {}
    }
    if let Some(stem) = name.strip_suffix('я') {
        let vowel = stem.ends_with(|c| is_vowel(c) || matches!(c, '\'' | '’' | 'ʼ'));
        return if vowel {
            with(stem, ["ї", "ї", "ю", "єю", "ї", "є"], case)
        } else {
            with(stem, ["і", "і", "ю", "ею", "і", "ю"], case)
        };
    }
    if let Some(stem) = name.strip_suffix('а') {
        if stem.ends_with(['ж', 'ч', 'ш', 'щ']) {
            return with(stem, ["і", "і", "у", "ею", "і", "о"], case);
        }
        let before_i = soft(stem);
        return match case {
            Case::Dative | Case::Prepositional => Some(format!("{before_i}і")),
            _ => with(stem, ["и", "", "у", "ою", "", "о"], case),
        };
    }
    if let Some(stem) = name.strip_suffix('о') {
        let vocative = if stem.ends_with(['к', 'г', 'х']) { "у" } else { "е" };
        return with(stem, ["а", "ові", "а", "ом", "ові", vocative], case);
    }
    if let Some(stem) = name.strip_suffix('й') {
        return with(stem, ["я", "єві", "я", "єм", "єві", "ю"], case);
    }
    if let Some(stem) = name.strip_suffix('ь') {
        return with(stem, ["я", "еві", "я", "ем", "еві", "ю"], case);
    }
    match name.chars().last()? {
        c if is_vowel(c) => None,
        'к' | 'г' | 'х' => with(name, ["а", "ові", "а", "ом", "ові", "у"], case),
        'ч' => with(name, ["а", "еві", "а", "ем", "еві", "у"], case),
        'ж' | 'ш' | 'щ' => with(name, ["а", "еві", "а", "ем", "еві", "е"], case),
        _ => with(name, ["а", "ові", "а", "ом", "ові", "е"], case),
    }
}

/// Before `і`: к → ц, г → з, х → с (`Ольга` → `Ользі`).
fn soft(stem: &str) -> String {
    let mut characters: Vec<char> = stem.chars().collect();
    let hissing = match characters.last() {
        Some('к') => 'ц',
        Some('г') => 'з',
        Some('х') => 'с',
        _ => return stem.to_string(),
    };
    characters.pop();
    characters.push(hissing);
    characters.into_iter().collect()
}

fn russian(name: &str, case: Case) -> Option<String> {
    if FIXED.contains(&name) || case == Case::Vocative {
        return None;
    }
    match name {
        "павел" => return with("павл", ["а", "у", "а", "ом", "е", ""], case),
        "лев" => return with("льв", ["а", "у", "а", "ом", "е", ""], case),
        "пётр" | "петр" => return with("петр", ["а", "у", "а", "ом", "е", ""], case),
        "илья" => return with("иль", ["и", "е", "ю", "ёй", "е", ""], case),
        "любовь" | "нинель" | "рахиль" | "эсфирь" | "юдифь" | "руфь" => {
            return with(name.trim_end_matches('ь'), ["и", "и", "ь", "ью", "и", ""], case);
        }
        _ => {}
    }
    if let Some(stem) = name.strip_suffix("ия") {
        return with(stem, ["ии", "ии", "ию", "ией", "ии", ""], case);
    }
    if let Some(stem) = name.strip_suffix('я') {
        return with(stem, ["и", "е", "ю", "ей", "е", ""], case);
    }
    if let Some(stem) = name.strip_suffix('а') {
        let genitive = if stem.ends_with(['г', 'к', 'х', 'ж', 'ш', 'щ', 'ч']) { "и" } else { "ы" };
        let instrumental = if stem.ends_with(['ж', 'ш', 'щ', 'ч', 'ц']) { "ей" } else { "ой" };
        return with(stem, [genitive, "е", "у", instrumental, "е", ""], case);
    }
    if let Some(stem) = name.strip_suffix("ий") {
        return with(stem, ["ия", "ию", "ия", "ием", "ии", ""], case);
    }
    if let Some(stem) = name.strip_suffix(['й', 'ь']) {
        return with(stem, ["я", "ю", "я", "ем", "е", ""], case);
    }
    match name.chars().last()? {
        c if is_vowel(c) => None,
        'ж' | 'ш' | 'щ' | 'ч' | 'ц' => with(name, ["а", "у", "а", "ем", "е", ""], case),
        _ => with(name, ["а", "у", "а", "ом", "е", ""], case),
    }
}

fn is_vowel(c: char) -> bool {
    "аеєиіїоуюяёыэ".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ukrainians_are_called_in_the_vocative() {
        for (name, expected) in [
            ("Олена", "Олено"),
            ("Ольга", "Ольго"),
            ("Микола", "Миколо"),
            ("Марія", "Маріє"),
            ("Наталія", "Наталіє"),
            ("Наталя", "Наталю"),
            ("Дарʼя", "Дарʼє"),
            ("Дар'я", "Дар'є"),
            ("Зоя", "Зоє"),
            ("Оля", "Олю"),
            ("Саша", "Сашо"),
            ("Ілля", "Ілле"),
            ("Іван", "Іване"),
            ("Петро", "Петре"),
            ("Павло", "Павле"),
            ("Дмитро", "Дмитре"),
            ("Марко", "Марку"),
            ("Марк", "Марку"),
            ("Олег", "Олеже"),
            ("Олександр", "Олександре"),
            ("Андрій", "Андрію"),
            ("Василь", "Василю"),
            ("Ігор", "Ігорю"),
            ("Яків", "Якове"),
            ("Федір", "Федоре"),
            ("Лев", "Леве"),
            ("Любов", "Любове"),
            ("Ніколь", "Ніколь"),
            ("Анна-Марія", "Анно-Маріє"),
            ("Іван Петрович", "Іване Петровичу"),
            ("ОЛЕНА", "ОЛЕНО"),
            ("Тиміш", "Тимоше"),
            ("Anna", "Anna"),
            ("Олена!", "Олена!"),
            ("О", "О"),
            ("", ""),
            ("Софі", "Софі"),
            ("Назар", "Назаре"),
        ] {
            assert_eq!(vocative(name, "uk"), expected);
        }
        assert_eq!(vocative("Олена", "ru"), "Олена", "today's Russian calls people by the nominative");
        assert_eq!(vocative("Олена", "en"), "Олена");
    }

    #[test]
    fn first_names_are_declined() {
        let all = |name: &str, language: &str| {
            [Case::Genitive, Case::Dative, Case::Accusative, Case::Instrumental, Case::Prepositional]
                .map(|case| in_case(name, case, language))
        };
        assert_eq!(all("Алексей", "ru"), ["Алексея", "Алексею", "Алексея", "Алексеем", "Алексее"]);
        assert_eq!(all("Мария", "ru"), ["Марии", "Марии", "Марию", "Марией", "Марии"]);
        assert_eq!(all("Ольга", "ru"), ["Ольги", "Ольге", "Ольгу", "Ольгой", "Ольге"]);
        assert_eq!(all("Юрий", "ru"), ["Юрия", "Юрию", "Юрия", "Юрием", "Юрии"]);
        assert_eq!(all("Лев", "ru"), ["Льва", "Льву", "Льва", "Львом", "Льве"]);
        assert_eq!(all("Игорь", "ru"), ["Игоря", "Игорю", "Игоря", "Игорем", "Игоре"]);
        assert_eq!(all("Любовь", "ru"), ["Любови", "Любови", "Любовь", "Любовью", "Любови"]);
        assert_eq!(all("Олена", "uk"), ["Олени", "Олені", "Олену", "Оленою", "Олені"]);
        assert_eq!(all("Ольга", "uk"), ["Ольги", "Ользі", "Ольгу", "Ольгою", "Ользі"]);
        assert_eq!(all("Марія", "uk"), ["Марії", "Марії", "Марію", "Марією", "Марії"]);
        assert_eq!(all("Андрій", "uk"), ["Андрія", "Андрієві", "Андрія", "Андрієм", "Андрієві"]);
        assert_eq!(all("Петро", "uk"), ["Петра", "Петрові", "Петра", "Петром", "Петрові"]);
        assert_eq!(in_case("Сергеевич", Case::Dative, "ru"), "Сергеевичу");
    }
}
