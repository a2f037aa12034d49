//! In which encoding a file was written, where it does not say so: judged by what its words would look like.
//!
//! A general detector guesses from the bytes and is right for files of some length. Lists of customers are often short, and have letters
//! outside ASCII in a header or a name only; so each encoding that shops here use is tried, and the one in which the words look like
//! words wins: letters of one script in a word, capitals where capitals stand, letters as frequent as people write them. The languages of the
//! workspace break ties; they never overrule what the words say.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{
    Encoding, IBM866, ISO_8859_2, ISO_8859_5, KOI8_U, UTF_8, WINDOWS_1250, WINDOWS_1251, WINDOWS_1252, WINDOWS_1254, WINDOWS_1257,
};

/// Tried against each other; of two in which a file reads the same, the first.
const TRIED: [&Encoding; 9] =
    [WINDOWS_1251, WINDOWS_1252, WINDOWS_1250, KOI8_U, ISO_8859_5, IBM866, ISO_8859_2, WINDOWS_1257, WINDOWS_1254];
const CYRILLIC: [&Encoding; 4] = [WINDOWS_1251, KOI8_U, ISO_8859_5, IBM866];
/// Words outside ASCII that are looked at: more tell nothing new.
const WORDS: usize = 2000;
/// Below this, a letter on average, no encoding of Cyrillic or Latin letters fits where the general detector sees another script.
const FITS_CYRILLIC: f64 = 0.0;
const FITS_LATIN: f64 = -1.5;

/// The encoding of a file that begins with `sample`; `whole` when there is nothing behind it. `languages` are those of the workspace.
pub fn detected(sample: &[u8], whole: bool, languages: &[String]) -> &'static Encoding {
    if let Some((encoding, _)) = Encoding::for_bom(sample) {
        return encoding;
    }
    match std::str::from_utf8(sample) {
        Ok(_) => return UTF_8,
        // The sample may end within a letter.
        Err(error) if error.error_len().is_none() && !whole => return UTF_8,
        Err(_) => {}
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(sample, whole);
    let guessed = detector.guess(None, Utf8Detection::Deny);
    let words = words(sample);
    let expected = Expected::of(languages);
    let letters: usize = words.iter().map(|word| word.iter().filter(|byte| !byte.is_ascii()).count()).sum();
    let mut best = (guessed, f64::NEG_INFINITY);
    for encoding in TRIED {
        let likeness: f64 = words.iter().map(|word| expected.likeness(&encoding.decode_without_bom_handling(word).0)).sum();
        // What the detector says counts like a letter or two.
        let likeness = likeness + if encoding == guessed { 1.5 } else { 0.0 };
        if likeness > best.1 {
            best = (encoding, likeness);
        }
    }
    let least = if CYRILLIC.contains(&best.0) { FITS_CYRILLIC } else { FITS_LATIN };
    if !TRIED.contains(&guessed) && best.1 < least * letters as f64 { guessed } else { best.0 }
}

/// Runs of bytes between spaces and delimiters that hold something outside ASCII.
fn words(sample: &[u8]) -> Vec<&[u8]> {
    let is_part = |byte: &u8| !byte.is_ascii() || byte.is_ascii_alphabetic() || *byte == b'\'';
    sample.split(|byte| !is_part(byte)).filter(|word| !word.is_ascii()).take(WORDS).collect()
}

/// What the languages of a workspace lead one to expect.
struct Expected {
    cyrillic: bool,
    /// Letters outside ASCII of its Latin languages.
    accented: String,
    /// Those of all Latin languages known here.
    known: String,
}

impl Expected {
    fn of(languages: &[String]) -> Expected {
        let of = |code: &str| ACCENTED.iter().find(|(language, _)| *language == code).map_or("", |(_, letters)| letters);
        Expected {
            cyrillic: languages.iter().any(|code| IN_CYRILLIC.contains(&code.as_str())),
            accented: languages.iter().map(|code| of(code)).collect(),
            known: ACCENTED.iter().map(|(_, letters)| *letters).collect(),
        }
    }

    /// How much a piece of text looks like words: about 0 a letter where it does, well below where it does not.
    fn likeness(&self, text: &str) -> f64 {
        let mut likeness = 0.0;
        let mut word = String::new();
        for sign in text.chars() {
            if sign.is_alphabetic() || (sign == '\'' && !word.is_empty()) {
                word.push(sign);
                continue;
            }
            likeness += self.word(&std::mem::take(&mut word));
            likeness += match sign {
                // What typesetters use; anything else between letters is an accident of decoding.
                '’' | '‘' | '“' | '”' | '„' | '«' | '»' | '–' | '—' | '…' | '№' | '\u{a0}' | '°' | '€' | '§' | '®' | '©' => {
                    -0.5
                }
                _ => -5.0,
            };
        }
        likeness + self.word(&word)
    }

    fn word(&self, word: &str) -> f64 {
        let count = |is: fn(&char) -> bool| word.chars().filter(|sign| *sign != '\'').filter(is).count();
        let (ascii, cyrillic, all) = (count(char::is_ascii), count(|sign| is_cyrillic(*sign)), count(|_| true));
        if ascii == all {
            return 0.0;
        }
        let letters: f64 = word.chars().filter(|sign| !sign.is_ascii()).map(|sign| self.letter(sign)).sum();
        let known = if HEADERS.contains(&word.to_lowercase().as_str()) { 5.0 } else { 0.0 };
        known
            + letters
            + capitals(word)
            + match (cyrillic, ascii) {
                // No word is written in two scripts.
                (1.., _) if cyrillic < all => -6.0 * cyrillic.min(all - cyrillic) as f64,
                (1.., _) if word.starts_with(['ь', 'Ь', 'ъ', 'Ъ', 'ы', 'Ы']) => -4.0,
                (1.., _) => 0.0,
                // Latin words are mostly ASCII: one of accented letters alone is short.
                (0, 0) => -3.0 * all as f64 + 1.0,
                (0, ascii) => -2.0 * (all - ascii).saturating_sub(ascii) as f64,
            }
    }

    fn letter(&self, sign: char) -> f64 {
        let small = sign.to_lowercase().next().unwrap_or(sign);
        if is_cyrillic(sign) {
            let frequency = FREQUENCIES.iter().find(|(letter, _)| *letter == small).map_or(0.02, |(_, per_mille)| *per_mille);
            // Against letters that are all equally frequent.
            return (frequency * 0.033).ln() + if self.cyrillic { 0.2 } else { 0.0 };
        }
        match () {
            () if self.accented.contains(small) => -0.3,
            () if self.known.contains(small) => -0.8,
            () => -5.0,
        }
    }
}

/// All small, all capital, or one capital before small letters; anything else is an accident of decoding.
fn capitals(word: &str) -> f64 {
    let large: Vec<bool> = word.chars().filter(|sign| sign.is_uppercase() || sign.is_lowercase()).map(char::is_uppercase).collect();
    let turns = large.windows(2).filter(|pair| !pair[0] && pair[1]).count();
    // "ИМя": more than one capital before small ones.
    let ends = large.windows(3).filter(|three| three[0] && three[1] && !three[2]).count();
    -4.0 * turns as f64 - 2.0 * ends as f64
}

fn is_cyrillic(sign: char) -> bool {
    matches!(sign, '\u{400}'..='\u{4ff}')
}

/// Languages that are written in Cyrillic letters.
const IN_CYRILLIC: [&str; 8] = ["uk", "ru", "be", "bg", "sr", "mk", "kk", "ky"];

/// Words that stand in the headers of such lists; where a file has letters outside ASCII nowhere else, they decide.
const HEADERS: [&str; 52] = [
    "имя",
    "фамилия",
    "отчество",
    "фио",
    "почта",
    "адрес",
    "город",
    "страна",
    "область",
    "регион",
    "телефон",
    "тел",
    "дата",
    "рождения",
    "пол",
    "возраст",
    "язык",
    "код",
    "сумма",
    "товар",
    "заказ",
    "клиент",
    "название",
    "статус",
    "скидка",
    "индекс",
    "улица",
    "дом",
    "м",
    "ж",
    "ім'я",
    "прізвище",
    "піб",
    "пошта",
    "адреса",
    "місто",
    "країна",
    "народження",
    "стать",
    "вік",
    "мова",
    "сума",
    "замовлення",
    "клієнт",
    "назва",
    "знижка",
    "індекс",
    "вулиця",
    "будинок",
    "побатькові",
    "батькові",
    "ч",
];

/// Letters outside ASCII of the languages whose encodings are tried.
const ACCENTED: [(&str, &str); 22] = [
    ("de", "äöüß"),
    ("fr", "àâæçéèêëîïôœùûüÿ"),
    ("es", "áéíñóúüºª"),
    ("pt", "ãõáâàçéêíóôúºª"),
    ("it", "àèéìòùº"),
    ("nl", "éëïóöü"),
    ("sv", "åäöé"),
    ("da", "æøåé"),
    ("no", "æøåé"),
    ("fi", "äöå"),
    ("is", "áðéíóúýþæö"),
    ("pl", "ąćęłńóśźż"),
    ("cs", "áčďéěíňóřšťúůýž"),
    ("sk", "áäčďéíĺľňóôŕšťúýž"),
    ("hu", "áéíóöőúüű"),
    ("ro", "ăâîşţ"),
    ("hr", "čćđšž"),
    ("sl", "čšž"),
    ("lt", "ąčęėįšųūž"),
    ("lv", "āčēģīķļņšūž"),
    ("et", "äöüõšž"),
    ("tr", "çğıöşü"),
];

/// Per mille of the letters of Ukrainian and Russian text, the mean of both.
const FREQUENCIES: [(char, f64); 40] = [
    ('о', 100.0),
    ('а', 82.0),
    ('е', 65.0),
    ('и', 67.0),
    ('н', 68.0),
    ('т', 59.0),
    ('і', 30.0),
    ('в', 49.0),
    ('с', 48.0),
    ('р', 45.0),
    ('л', 40.0),
    ('к', 36.0),
    ('м', 31.0),
    ('д', 31.0),
    ('п', 28.0),
    ('у', 29.0),
    ('я', 20.0),
    ('з', 20.0),
    ('ь', 18.0),
    ('г', 16.0),
    ('б', 16.0),
    ('ч', 14.0),
    ('й', 13.0),
    ('х', 11.0),
    ('ы', 10.0),
    ('ж', 9.0),
    ('ш', 8.0),
    ('ю', 8.0),
    ('ц', 7.0),
    ('щ', 5.0),
    ('є', 4.0),
    ('ї', 4.0),
    ('ф', 4.0),
    ('э', 2.0),
    ('ґ', 0.3),
    ('ъ', 0.3),
    ('ё', 0.5),
    ('ў', 0.3),
    ('ј', 0.1),
    ('џ', 0.1),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, encodings: &[&'static Encoding], languages: &[&str]) {
        let languages: Vec<String> = languages.iter().map(ToString::to_string).collect();
        for encoding in encodings {
            let (bytes, _, lossy) = encoding.encode(text);
            assert!(!lossy, "{text:?} cannot be written in {}", encoding.name());
            let found = detected(&bytes, true, &languages);
            let read = found.decode_without_bom_handling(&bytes).0;
            assert_eq!(read, text, "{languages:?}: written in {}, taken for {}", encoding.name(), found.name());
        }
    }

    /// Every text is read right whatever languages the workspace has: a hint breaks ties and overrules nothing.
    #[test]
    fn short_lists_of_customers_are_read_in_the_encoding_they_were_written_in() {
        for languages in [&["uk", "en", "ru"][..], &["ru"], &["en"], &["pl", "en"], &["de"], &[]] {
            for text in [
                "Имя;E-mail\nOlya;o@example.org\n",
                "имя,город\nАда,Орёл\n",
                "email;имя\na@example.org;Anna\n",
                "E-mail;Дата рождения;Город\na@example.org;01.02.1990;Kyiv\n",
                "ФИО,ТЕЛЕФОН\nПЕТРОВ,0501234567\n",
                "Код;Адрес\n1;ул. Садовая, 5\n",
                "phone;city\n+380501112233;г. Москва\n",
                "Фамилия\tИмя\tОтчество\nИванов\tПётр\tСергеевич\n",
            ] {
                check(text, &CYRILLIC, languages);
            }
            for text in [
                "email;Ім'я;Місто\na@example.org;Їжак;Львів\n",
                "email;Ім'я\na@example.org;Olena\n",
                "ПІБ;Телефон\nOlena;1\n",
                "Прізвище,Стать\nKovalenko,ж\n",
                "email,місто\na@example.org,Київ\n",
                "phone,name\n1,Євген\n2,Юлія\n",
            ] {
                check(text, &[WINDOWS_1251, KOI8_U, ISO_8859_5], languages);
            }
            for text in [
                "email;miasto\na@example.org;Łódź\nb@example.org;Kraków\n",
                "email;imię\na@example.org;Świętosława\n",
                "jméno;město\nJiří;Plzeň\n",
            ] {
                check(text, &[WINDOWS_1250, ISO_8859_2], languages);
            }
            for text in [
                "E-Mail;Straße\na@example.org;Müllerstraße 5\n",
                "Vorname;Ort\nJürgen;Köln\n",
                "Name;Größe\nÄnne;5\n",
                "name;note\nAnna;à bientôt\n",
                "prénom;ville\nZoé;Besançon\n",
                "nombre;año\nNuñez;1990\n",
                "fornavn;by\nSøren;Århus\n",
            ] {
                check(text, &[WINDOWS_1252], languages);
            }
        }
    }

    #[test]
    fn other_scripts_are_left_to_the_general_detector() {
        let greek = "όνομα;πόλη\nΓιώργος Παπαδόπουλος;Θεσσαλονίκη\nΕλένη Νικολάου;Αθήνα\n";
        check(greek, &[encoding_rs::WINDOWS_1253], &["uk"]);
        let japanese = "名前,都市\n山田太郎,東京都千代田区\n佐藤花子,大阪府大阪市\n";
        check(japanese, &[encoding_rs::SHIFT_JIS], &["uk"]);
    }

    #[test]
    fn what_is_utf_8_or_says_what_it_is_is_taken_at_its_word() {
        assert_eq!(detected("имя".as_bytes(), true, &[]), UTF_8);
        assert_eq!(detected(&"имя".as_bytes()[..5], false, &[]), UTF_8, "the sample ends within a letter");
        assert_eq!(detected(b"\xff\xfea\0", true, &[]), encoding_rs::UTF_16LE);
        assert_eq!(detected(b"", true, &[]), UTF_8);
    }
}
