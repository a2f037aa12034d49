//! What a provider tells over the line on which we send (SMPP), in the words of a webhook.

use super::told::{Told, What};
use crate::providers::inbox::{self, Receipt, ReceiptState, Text};
use crate::store::tallies::Bounce;
use crate::types::Time;

/// The kind under which it is stored; no provider's webhooks are called so.
pub const KIND: &str = "line";

/// A text has no number: the same one that comes again within so many seconds is the same.
const SAME: i64 = 600;

/// What was told, known by a number that is the same when it is told again.
pub fn told(told: inbox::Told, now: Time) -> Told {
    let told = match told {
        inbox::Told::Receipt(receipt) => receipt_of(receipt),
        inbox::Told::Text(text) => text_of(text, now),
    };
    told.storable()
}

fn receipt_of(receipt: Receipt) -> Told {
    let what = match receipt.state {
        ReceiptState::Delivered => What::Delivered,
        ReceiptState::EnRoute | ReceiptState::Accepted => What::Accepted,
        // Which code means a dead number differs from operator to operator.
        ReceiptState::Expired | ReceiptState::Deleted | ReceiptState::Undeliverable => What::Bounced(Bounce::Soft),
        ReceiptState::Rejected => What::Bounced(Bounce::Blocked),
        ReceiptState::Unknown => What::Nothing,
    };
    let word = format!("{:?}", receipt.state);
    Told::new(what, word.as_str())
        .event(Some(format!("{}|{}|{word}", receipt.id, receipt.to)))
        .message(Some(receipt.id))
        .person(Some(receipt.to))
        .reply(receipt.error)
        .note(Some(receipt.words))
}

fn text_of(text: Text, now: Time) -> Told {
    let part = text.part.map_or(String::new(), |(shared, of, number)| format!("{shared}/{of}/{number}"));
    let moment = now.timestamp().div_euclid(SAME);
    let id = format!("{}|{}|{part}|{moment}|{}", text.from, text.to, text.text);
    Told::new(What::Text { to: text.to, text: text.text, keyword: None }, "received").event(Some(id)).person(Some(text.from)).at(Some(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_and_texts_are_known_when_they_come_again() {
        let now: Time = "2027-03-01T10:00:00Z".parse().unwrap();
        let receipt = |state| {
            let words = "id:7 stat:X".to_string();
            told(inbox::Told::Receipt(Receipt { id: "7".into(), state, error: Some("001".into()), to: "380501234567".into(), words }), now)
        };
        assert_eq!(receipt(ReceiptState::Delivered).what, What::Delivered);
        assert_eq!(receipt(ReceiptState::Undeliverable).what, What::Bounced(Bounce::Soft));
        assert_eq!(receipt(ReceiptState::Rejected).what, What::Bounced(Bounce::Blocked));
        assert_ne!(receipt(ReceiptState::Accepted).id, receipt(ReceiptState::Delivered).id);
        let text = |seconds| {
            let text = Text { from: "380501234567".into(), to: "7744".into(), text: "стоп".into(), part: None };
            told(inbox::Told::Text(text), now + chrono::TimeDelta::seconds(seconds)).id
        };
        assert_eq!(text(0), text(30));
        assert_ne!(text(0), text(86_400));
    }
}
