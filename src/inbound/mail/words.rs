//! The words by which machines and people are told apart: senders, subjects and phrases of notices, in the languages they come in.

use crate::policy::keywords::{Meaning, meaning};

/// Whether any of `known` occurs in `text`, which is in lower case.
pub fn any(text: &str, known: &[&str]) -> bool {
    known.iter().any(|words| text.contains(words))
}

/// Senders of notices about delivery, as they stand in the From header.
pub const DAEMONS: &[&str] = &[
    "mailer-daemon",
    "mailerdaemon",
    "mail-daemon",
    "mail daemon",
    "maildaemon",
    "mailer daemon",
    "postmaster",
    "post_master",
    "mail delivery",
    "mail.delivery",
    "delivery subsystem",
    "delivery system",
    "delivery-system",
    "delivery status",
    "mail administrator",
    "mail system",
    "mail server",
    "mail router",
    "mailrouter",
    "undeliver",
    "smtp gateway",
    "system administrator",
    "bounce-notification",
    "complaints@",
    "no-reply@",
    "noreply@",
    "-admin@",
    "inetgw",
    "jetmail system",
];

/// Subjects of notices that a mail did not arrive, or not yet.
pub const SUBJECTS_OF_NOTICES: &[&str] = &[
    "deliver", // delivery failure, undeliverable, could not be delivered, delivery status notification
    "returned mail",
    "returned to sender",
    "returning to sender",
    "returning message",
    "failure notice",
    "mail failed",
    "mail failure",
    "mail error",
    "mail system error",
    "error sending your mail",
    "message status",
    "non remis",
    "nondeliver",
    "user unknown",
    "unzustellbar",
    "nicht zugestellt",
    "fehlgeschlagen",
    "unable to send",
    "rejected",
    "bounce",
    "no se pudo entregar",
    "не доставлен",
    "недоставлен",
    "невозможно доставить",
    "не вдалося доставити",
    "配信",
    "不達",
    "退信",
    "undeliv",
    "non-remise",
    "not a member",
    "are not member",
    "loop alert",
    "blocked",
    "warning: message",
    "auto_reply: no such",
    "email bounce",
];

/// What the text of such a notice says.
pub const PHRASES_OF_NOTICES: &[&str] = &[
    "could not be delivered",
    "could not deliver",
    "couldn't be delivered",
    "couldn't deliver",
    "cannot be delivered",
    "can not be delivered",
    "cannot deliver",
    "not be delivered",
    "not been delivered",
    "not delivered",
    "was not delivered",
    "wasn't delivered",
    "undeliverable",
    "undelivered",
    "non-delivery",
    "not be sent",
    "unable to deliver",
    "wasn't able to deliver",
    "unable to send",
    "did not reach",
    "could not be reached",
    "not reached",
    "delivery failed",
    "delivery to the following",
    "delevery to the following",
    "delivery has failed",
    "delivery failure",
    "failed to deliver",
    "failed to send",
    "failed permanently",
    "failed recipient",
    "failed addresses",
    "delivery problem",
    "delivery error",
    "error delivering",
    "error occurred while attempting to deliver",
    "fatal error",
    "permanent error",
    "permanent delivery error",
    "trouble delivering",
    "rejected by a remote",
    "was rejected",
    "rejected recipient",
    "been rejected",
    "recipient address rejected",
    "message was refused",
    "transcript of session",
    "session transcript",
    "remote host said",
    "unsent message",
    "error message below",
    "returned to sender",
    "returned to you",
    "user unknown",
    "unknown user",
    "no such user",
    "account is disabled",
    "is not a member",
    "not a member",
    "are not member",
    "duplicated message-id",
    "mailbox full",
    "has been blocked",
    "receiver not found",
    "nicht zugestellt",
    "konnte nicht",
    "n'a pas pu",
    "no pudo ser entregado",
    "nao pode ser enviada",
    "не может быть доставлен",
    "не может\nбыть отправлено",
    "не было доставлено",
    "не доставлено",
    "не удалось доставить",
    "не вдалося доставити",
    "届きませんでした",
    "送信できませんでした",
    "配信できません",
    "送信に失敗",
];

/// What a notice says that is only a warning: the system goes on trying.
pub const PHRASES_OF_DELAY: &[&str] = &[
    "not yet been delivered",
    "has not been delivered yet",
    "attempts will continue",
    "delivery attempts will be made",
    "will continue trying",
    "will keep trying",
    "will continue to be made",
    "will be retried",
    "warning message only",
    "you do not need to resend",
    "temporary problem delivering",
    "delivery is delayed",
    "has been delayed",
    "will retry",
];

/// Subjects of answers that nobody wrote by hand.
pub const SUBJECTS_OF_AUTOMATIC: &[&str] = &[
    "out of office",
    "out of the office",
    "out-of-office",
    "automatic reply",
    "automatic response",
    "automated reply",
    "automated response",
    "auto reply",
    "auto-reply",
    "autoreply",
    "auto response",
    "auto-response",
    "autoresponse",
    "autoresponder",
    "auto:",
    "vacation",
    "on holiday",
    "away from my",
    "i am away",
    "abwesenheit",
    "automatische antwort",
    "réponse automatique",
    "absence du bureau",
    "respuesta automática",
    "fuera de la oficina",
    "risposta automatica",
    "resposta automática",
    "automatisch antwoord",
    "afwezig",
    "automatická odpověď",
    "autosvar",
    "automatiskt svar",
    "automaattinen vastaus",
    "odpowiedź automatyczna",
    "autoodpowiedź",
    "автоответ",
    "автоматический ответ",
    "автоматична відповідь",
    "автовідповідь",
    "нет на месте",
    "в отпуске",
    "у відпустці",
    "自動返信",
    "自动回复",
    "自動応答",
];

/// What people write in a mail who want no more, besides the keywords of short texts.
const WISHES: &[&str] =
    &["unsubscribe me", "please unsubscribe", "please unsubscribe me", "remove me", "please remove me", "отпишите меня", "відпишіть мене"];
/// A longer text is a letter, not a wish.
const LONGEST_WISH: usize = 200;

/// Whether the whole of a short text asks to be left out.
pub fn is_stop(text: &str) -> bool {
    if text.len() > LONGEST_WISH {
        return false;
    }
    let words: Vec<String> =
        text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect();
    matches!(meaning(text), Meaning::Stop | Meaning::StopAll) || WISHES.contains(&words.join(" ").as_str())
}

/// Whether it asks to be left out of everything.
pub fn is_stop_all(text: &str) -> bool {
    text.len() <= LONGEST_WISH && meaning(text) == Meaning::StopAll
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_asks_to_stop_is_known_however_it_is_written() {
        for text in [
            "STOP",
            " stop. ",
            "«Стоп»!",
            "CTOП",
            "Отписаться",
            "ВІДПИСКА",
            "Ні",
            "opt-out",
            "Unsubscribe me",
            "Unѕubscribe".replace('ѕ', "s").as_str(),
            "Please remove me!",
        ] {
            assert!(is_stop(text), "{text}");
        }
        for text in ["", "stop by our shop", "нет, спасибо, я подумаю", "don't stop", "продолжать", "end of the week"]
        {
            assert!(!is_stop(text), "{text}");
        }
        assert!(is_stop_all("Stop all") && is_stop_all("STOPALL") && !is_stop_all("stop"));
    }
}
