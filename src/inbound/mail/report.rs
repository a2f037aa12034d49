//! Delivery status notifications (RFC 3464, and RFC 6533 with addresses in UTF-8).

use super::class::{self, Evidence};
use super::fields::Fields;
use super::letter::Letter;
use super::{Kind, Recipient, addresses, notice, short};

/// The recipients of a report's blocks; none where there is no report.
pub fn read(letter: &Letter) -> Vec<Recipient> {
    let in_text: Vec<Fields>;
    let blocks = if letter.status.is_empty() {
        // Sent as text, by systems that do not keep to the form.
        in_text = Fields::blocks(&letter.text)
            .into_iter()
            .filter(|block| has_recipient(block) && (block.has("action") || block.has("status")))
            .collect();
        &in_text
    } else {
        &letter.status
    };
    let others: Vec<String> = blocks.iter().filter_map(named).collect();
    let mut recipients: Vec<Recipient> = Vec::new();
    let mut rest: Option<&Fields> = None;
    for block in blocks {
        if has_recipient(block) {
            if let Some(recipient) = recipient(block, letter, &others)
                && !recipients.iter().any(|known| known.address.eq_ignore_ascii_case(&recipient.address))
            {
                recipients.push(recipient);
            }
        } else if block.has("action") || block.has("status") {
            rest = rest.or(Some(block));
        }
    }
    // A report without recipients, or with words in their places: the text says who, the report how.
    let nobody = recipients.iter().all(|recipient| recipient.address.is_empty());
    if nobody && let Some(block) = rest.or_else(|| blocks.iter().find(|block| has_recipient(block))) {
        let found = notice::find(letter);
        if !found.is_empty() {
            return found.iter().filter_map(|address| made(block, letter, address.clone(), None, &found)).collect();
        }
    }
    recipients
}

const RECIPIENTS: &[&str] = &["final-recipient", "original-recipient", "x-actual-recipient", "x-original-to", "x-failed-recipient"];

fn has_recipient(block: &Fields) -> bool {
    block.has("final-recipient") || block.has("original-recipient") || block.has("x-actual-recipient")
}

fn recipient(block: &Fields, letter: &Letter, others: &[String]) -> Option<Recipient> {
    let of = |name: &str| block.get(name).and_then(|value| addresses::first(&decoded(value)));
    let address = named(block).unwrap_or_default();
    let original = of("original-recipient").filter(|original| !original.eq_ignore_ascii_case(&address));
    made(block, letter, address, original, others)
}

/// The address of a block.
fn named(block: &Fields) -> Option<String> {
    RECIPIENTS.iter().find_map(|name| block.get(name).and_then(|value| addresses::first(&decoded(value))))
}

/// xtext and the `utf-8` address type write letters as `+2B` and `\x{…}`.
fn decoded(value: &str) -> String {
    let mut decoded = String::with_capacity(value.len());
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("\\x{") {
        decoded.push_str(before);
        match after.split_once('}').and_then(|(digits, tail)| Some((u32::from_str_radix(digits, 16).ok().and_then(char::from_u32)?, tail)))
        {
            Some((letter, tail)) => {
                decoded.push(letter);
                rest = tail;
            }
            None => {
                decoded.push_str("\\x{");
                rest = after;
            }
        }
    }
    decoded.push_str(rest);
    decoded
}

fn made(block: &Fields, letter: &Letter, address: String, original: Option<String>, others: &[String]) -> Option<Recipient> {
    let told = block.get("status").unwrap_or_default();
    let status = class::status(told);
    let action = block.get("action").unwrap_or_default().trim().to_ascii_lowercase();
    let word = action.split(|letter: char| !letter.is_ascii_alphabetic()).next().unwrap_or_default();
    let kind = match (word, status) {
        ("failed" | "fail" | "failure" | "undeliverable", _) => Kind::Bounce,
        ("delayed" | "delay", _) => Kind::Delayed,
        ("delivered" | "relayed" | "expanded" | "deliverable" | "success", _) => Kind::Delivered,
        (_, Some((2, _, _))) => Kind::Delivered,
        (_, Some((4, _, _))) if super::words::any(&letter.text.to_lowercase(), super::words::PHRASES_OF_DELAY) => Kind::Delayed,
        // A receipt that a person read or deleted a message is none of ours.
        ("displayed" | "deleted" | "processed" | "dispatched", _) => return None,
        _ => Kind::Bounce,
    };
    let said = block
        .get("diagnostic-code")
        .map(|said| said.split_once(';').filter(|(kind, _)| is_kind(kind)).map_or(said, |(_, said)| said))
        .unwrap_or_default();
    // `5.1.10 (host/domain does not accept mail)`: where nothing else is told, the comment tells.
    let said =
        if said.trim().is_empty() { told.split_once('(').map_or("", |(_, comment)| comment.trim_end_matches([' ', ')'])) } else { said };
    let (near, whole) = notice::told(&letter.text, &letter.subject, &address, others);
    let evidence = Evidence { diagnostic: said.trim(), status, near: &near, whole: &whole, delayed: kind == Kind::Delayed };
    let verdict = matches!(kind, Kind::Bounce | Kind::Delayed).then(|| class::judge(&evidence));
    let diagnostic = if said.trim().is_empty() { short(&near) } else { short(said) };
    Some(Recipient {
        address,
        original,
        kind,
        status: status.map(|(class, subject, detail)| format!("{class}.{subject}.{detail}")),
        diagnostic,
        verdict,
    })
}

fn is_kind(text: &str) -> bool {
    text.len() <= 30 && text.trim().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}
