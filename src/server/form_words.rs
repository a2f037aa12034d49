//! The words of the sign-up pages, in the languages of `words`.

use crate::customers::signup::Fault;
use serde_json::{Value, json};

/// Texts by name; every language has all of them.
pub fn texts(language: &str) -> Value {
    match language {
        "uk" => json!({
            "email": "Електронна пошта",
            "phone": "Телефон",
            "optional": "(необов’язково)",
            "choose": "Що вам надсилати?",
            "button": "Підписатися",
            "leave_empty": "Не заповнюйте це поле",
            "faulty": "Щось не так: подивіться на позначені поля.",
            "once_more": "Перевірте, чи все правильно, і натисніть кнопку ще раз.",
            "changed": "Текст згоди змінився. Прочитайте його і натисніть кнопку ще раз.",
            "taken_title": "Майже готово",
            "taken_confirm": "Дякуємо! Ми надіслали вам повідомлення: підтвердьте в ньому підписку. Немає листа? Подивіться в папці «Спам» або спробуйте ще раз за десять хвилин.",
            "taken": "Дякуємо! Ми отримали вашу підписку.",
            "too_many_title": "Забагато спроб",
            "too_many": "Звідси щойно підписувалися дуже часто. Спробуйте ще раз за кілька хвилин.",
            "foreign_title": "Так підписатися не можна",
            "foreign": "Цю форму надіслано зі сторінки, якій ми не довіряємо. Відкрийте форму в нас.",
        }),
        "ru" => json!({
            "email": "Электронная почта",
            "phone": "Телефон",
            "optional": "(необязательно)",
            "choose": "Что вам присылать?",
            "button": "Подписаться",
            "leave_empty": "Не заполняйте это поле",
            "faulty": "Что-то не так: посмотрите на отмеченные поля.",
            "once_more": "Проверьте, всё ли верно, и нажмите кнопку ещё раз.",
            "changed": "Текст согласия изменился. Прочитайте его и нажмите кнопку ещё раз.",
            "taken_title": "Почти готово",
            "taken_confirm": "Спасибо! Мы отправили вам сообщение: подтвердите в нём подписку. Письма нет? Посмотрите в папке «Спам» или попробуйте ещё раз через десять минут.",
            "taken": "Спасибо! Мы получили вашу подписку.",
            "too_many_title": "Слишком много попыток",
            "too_many": "Отсюда только что подписывались очень часто. Попробуйте ещё раз через несколько минут.",
            "foreign_title": "Так подписаться нельзя",
            "foreign": "Эта форма отправлена со страницы, которой мы не доверяем. Откройте форму у нас.",
        }),
        "de" => json!({
            "email": "E-Mail-Adresse",
            "phone": "Telefonnummer",
            "optional": "(freiwillig)",
            "choose": "Was dürfen wir Ihnen senden?",
            "button": "Anmelden",
            "leave_empty": "Lassen Sie dieses Feld leer",
            "faulty": "Etwas fehlt noch: Bitte sehen Sie sich die markierten Felder an.",
            "once_more": "Bitte prüfen Sie, ob alles stimmt, und drücken Sie noch einmal auf den Knopf.",
            "changed": "Der Text, dem Sie zustimmen, hat sich geändert. Bitte lesen Sie ihn und drücken Sie noch einmal auf den Knopf.",
            "taken_title": "Fast fertig",
            "taken_confirm": "Vielen Dank! Wir haben Ihnen eine Nachricht gesendet: Bitte bestätigen Sie darin Ihre Anmeldung. Nichts angekommen? Sehen Sie im Spam-Ordner nach, oder versuchen Sie es in zehn Minuten noch einmal.",
            "taken": "Vielen Dank! Wir haben Ihre Anmeldung.",
            "too_many_title": "Zu viele Versuche",
            "too_many": "Von hier kamen gerade sehr viele Anmeldungen. Bitte versuchen Sie es in einigen Minuten noch einmal.",
            "foreign_title": "So geht es nicht",
            "foreign": "Das Formular wurde von einer Seite gesendet, die wir nicht kennen. Bitte öffnen Sie es bei uns.",
        }),
        _ => json!({
            "email": "Email address",
            "phone": "Phone number",
            "optional": "(optional)",
            "choose": "What shall we send you?",
            "button": "Sign up",
            "leave_empty": "Leave this field empty",
            "faulty": "Something is missing: please look at the marked fields.",
            "once_more": "Please check that everything is right, and press the button once more.",
            "changed": "The text that you agree to has changed. Please read it, and press the button once more.",
            "taken_title": "Almost done",
            "taken_confirm": "Thank you! We have sent you a message: please confirm in it that you want this. Nothing there? Look into your spam folder, or try once more in ten minutes.",
            "taken": "Thank you! We have your subscription.",
            "too_many_title": "Too many tries",
            "too_many": "There were very many sign-ups from where you are. Please try again in a few minutes.",
            "foreign_title": "This does not work here",
            "foreign": "The form was sent from a page that we do not know. Please open our own page of it.",
        }),
    }
}

/// What is said beside a field.
pub fn fault(language: &str, fault: Fault) -> &'static str {
    match (language, fault) {
        ("uk", Fault::Missing) => "Це поле треба заповнити.",
        ("uk", Fault::Email) => "Це не схоже на адресу пошти. Напишіть її так: ada@example.org",
        ("uk", Fault::Phone) => "Це не схоже на номер телефону. Напишіть його з кодом країни: +380 50 123 45 67",
        ("uk", Fault::NotAgreed) => "Поставте позначку, якщо згодні.",
        ("uk", Fault::NoTopic) => "Виберіть принаймні щось одне.",
        ("uk", Fault::TooLong) => "Це задовго.",
        ("uk", Fault::Unreadable) => "Цього не можна прочитати. Перевірте, будь ласка.",
        ("ru", Fault::Missing) => "Это поле нужно заполнить.",
        ("ru", Fault::Email) => "Это не похоже на адрес почты. Напишите его так: ada@example.org",
        ("ru", Fault::Phone) => "Это не похоже на номер телефона. Напишите его с кодом страны: +380 50 123 45 67",
        ("ru", Fault::NotAgreed) => "Поставьте отметку, если согласны.",
        ("ru", Fault::NoTopic) => "Выберите хотя бы что-то одно.",
        ("ru", Fault::TooLong) => "Это слишком длинно.",
        ("ru", Fault::Unreadable) => "Это нельзя прочитать. Проверьте, пожалуйста.",
        ("de", Fault::Missing) => "Bitte füllen Sie dieses Feld aus.",
        ("de", Fault::Email) => "Das sieht nicht wie eine E-Mail-Adresse aus. Schreiben Sie sie so: ada@example.org",
        ("de", Fault::Phone) => "Das sieht nicht wie eine Telefonnummer aus. Schreiben Sie sie mit Landesvorwahl: +49 30 12345678",
        ("de", Fault::NotAgreed) => "Bitte setzen Sie das Häkchen, wenn Sie zustimmen.",
        ("de", Fault::NoTopic) => "Bitte wählen Sie mindestens eines aus.",
        ("de", Fault::TooLong) => "Das ist zu lang.",
        ("de", Fault::Unreadable) => "Das lässt sich nicht lesen. Bitte prüfen Sie es.",
        (_, Fault::Missing) => "Please fill this in.",
        (_, Fault::Email) => "This does not look like an email address. Write it like ada@example.org",
        (_, Fault::Phone) => "This does not look like a phone number. Write it with its country code, like +380 50 123 45 67",
        (_, Fault::NotAgreed) => "Please tick the box if you agree.",
        (_, Fault::NoTopic) => "Please choose at least one.",
        (_, Fault::TooLong) => "This is too long.",
        (_, Fault::Unreadable) => "This cannot be read. Please check it.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::words::LANGUAGES;

    #[test]
    fn every_language_has_every_text() {
        let names = |language| texts(language).as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        for language in LANGUAGES {
            assert_eq!(names(language), names("en"));
        }
    }
}
