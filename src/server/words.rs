//! The words of our pages, in English, Ukrainian and Russian.

use super::Site;
use crate::types::Channel;
use axum::http::{HeaderMap, header};
use serde_json::{Value, json};

/// Languages that the pages speak.
pub const LANGUAGES: [&str; 3] = ["en", "uk", "ru"];

/// The language of a page: the customer's, through the workspace's fallbacks; for who is not known, the browser's, then the workspace's.
pub fn language(site: &Site, own: Option<&str>, headers: &HeaderMap) -> &'static str {
    let known = |language: &str| {
        let language = language.split(['-', '_', ';']).next().unwrap_or_default().trim().to_ascii_lowercase();
        LANGUAGES.into_iter().find(|known| *known == language)
    };
    if let Some(own) = own {
        return known(own)
            .or_else(|| site.fallback.get(own).and_then(|language| known(language)))
            .or_else(|| site.languages.iter().find_map(|language| known(language)))
            .unwrap_or("en");
    }
    from_browser(headers).or_else(|| site.languages.iter().find_map(|language| known(language))).unwrap_or("en")
}

/// The first language of the browser's list that the pages speak.
pub fn from_browser(headers: &HeaderMap) -> Option<&'static str> {
    let list = headers.get(header::ACCEPT_LANGUAGE)?.to_str().ok()?;
    list.split(',').take(20).find_map(|entry| {
        let language = entry.split([';', '-']).next()?.trim().to_ascii_lowercase();
        LANGUAGES.into_iter().find(|known| *known == language)
    })
}

/// Languages in which a topic's title is looked for.
pub fn chain(site: &Site, language: &str) -> Vec<String> {
    let mut chain = vec![language.to_string()];
    chain.extend(site.fallback.get(language).cloned());
    chain.extend(site.languages.iter().cloned());
    chain
}

pub fn channel(language: &str, channel: Channel) -> &'static str {
    match (language, channel) {
        ("uk", Channel::Email) => "електронною поштою",
        ("uk", Channel::Sms) => "SMS",
        ("uk", Channel::Letter) => "поштою",
        ("uk", Channel::Call) => "телефоном",
        ("ru", Channel::Email) => "по электронной почте",
        ("ru", Channel::Sms) => "по SMS",
        ("ru", Channel::Letter) => "по почте",
        ("ru", Channel::Call) => "по телефону",
        (_, Channel::Email) => "by email",
        (_, Channel::Sms) => "by SMS",
        (_, Channel::Letter) => "by post",
        (_, Channel::Call) => "by phone",
        (_, Channel::Webhook) => "webhook",
    }
}

/// Every text of the pages.
pub fn texts(language: &str) -> Value {
    match language {
        "uk" => json!({
            "unsubscribe_title": "Відписатися",
            "unsubscribe_question": "Більше не надсилати вам це?",
            "topic_label": "Розсилка",
            "address_label": "Адреса",
            "unsubscribe_button": "Відписатися",
            "unsubscribe_all_button": "Відписатися від усього",
            "choose": "Обрати, що отримувати",
            "unsubscribed_title": "Вас відписано",
            "unsubscribed_topic": "Ми більше не надсилатимемо вам цю розсилку.",
            "unsubscribed_all": "Ми більше не надсилатимемо вам реклами на цю адресу.",
            "changed_mind": "Передумали? Ви можете обрати, що отримувати.",
            "preferences_title": "Що вам надсилати",
            "preferences_intro": "Позначте те, що хочете отримувати, і збережіть.",
            "save_button": "Зберегти",
            "saved": "Збережено.",
            "confirm_title": "Підтвердження підписки",
            "confirm_question": "Надсилати вам це?",
            "confirm_button": "Так, надсилати",
            "confirmed_title": "Підписку підтверджено",
            "confirmed_text": "Дякуємо! Ми надсилатимемо вам цю розсилку.",
            "nothing": "Тут поки нема чого обирати.",
            "not_found_title": "Сторінку не знайдено",
            "not_found_text": "Посилання неповне або вже не діє. Спробуйте ще раз відкрити його з листа.",
            "gone_title": "Листа вже не можна показати",
            "gone_text": "Ми зберігаємо вміст листів обмежений час.",
        }),
        "ru" => json!({
            "unsubscribe_title": "Отписаться",
            "unsubscribe_question": "Больше не присылать вам это?",
            "topic_label": "Рассылка",
            "address_label": "Адрес",
            "unsubscribe_button": "Отписаться",
            "unsubscribe_all_button": "Отписаться от всего",
            "choose": "Выбрать, что получать",
            "unsubscribed_title": "Вы отписаны",
            "unsubscribed_topic": "Мы больше не будем присылать вам эту рассылку.",
            "unsubscribed_all": "Мы больше не будем присылать вам рекламу на этот адрес.",
            "changed_mind": "Передумали? Вы можете выбрать, что получать.",
            "preferences_title": "Что вам присылать",
            "preferences_intro": "Отметьте то, что хотите получать, и сохраните.",
            "save_button": "Сохранить",
            "saved": "Сохранено.",
            "confirm_title": "Подтверждение подписки",
            "confirm_question": "Присылать вам это?",
            "confirm_button": "Да, присылать",
            "confirmed_title": "Подписка подтверждена",
            "confirmed_text": "Спасибо! Мы будем присылать вам эту рассылку.",
            "nothing": "Здесь пока нечего выбирать.",
            "not_found_title": "Страница не найдена",
            "not_found_text": "Ссылка неполная или больше не действует. Попробуйте ещё раз открыть её из письма.",
            "gone_title": "Письмо уже нельзя показать",
            "gone_text": "Мы храним содержание писем ограниченное время.",
        }),
        _ => json!({
            "unsubscribe_title": "Unsubscribe",
            "unsubscribe_question": "Stop sending you this?",
            "topic_label": "Subscription",
            "address_label": "Address",
            "unsubscribe_button": "Unsubscribe",
            "unsubscribe_all_button": "Unsubscribe from everything",
            "choose": "Choose what to receive",
            "unsubscribed_title": "You are unsubscribed",
            "unsubscribed_topic": "We will not send you this any more.",
            "unsubscribed_all": "We will send no more advertising to this address.",
            "changed_mind": "Changed your mind? You can choose what to receive.",
            "preferences_title": "What we send you",
            "preferences_intro": "Tick what you want to receive, then save.",
            "save_button": "Save",
            "saved": "Saved.",
            "confirm_title": "Confirm your subscription",
            "confirm_question": "Shall we send you this?",
            "confirm_button": "Yes, send it",
            "confirmed_title": "Subscription confirmed",
            "confirmed_text": "Thank you! We will send you this from now on.",
            "nothing": "There is nothing to choose here yet.",
            "not_found_title": "Page not found",
            "not_found_text": "The link is incomplete or no longer valid. Please open it from the message once more.",
            "gone_title": "This message can no longer be shown",
            "gone_text": "We keep the content of messages for a limited time.",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_every_text() {
        let names = |language| texts(language).as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        for language in LANGUAGES {
            assert_eq!(names(language), names("en"));
        }
    }
}
