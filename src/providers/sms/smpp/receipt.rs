//! What a deliver_sm says: a receipt, or the text of a person (standards.md §3.8).

use super::text::{decode, without_header};
use crate::providers::inbox::{Receipt, ReceiptState, Text, Told};
use rusmpp::pdus::DeliverSm;
use rusmpp::tlvs::{Tlv, TlvTag, TlvValue};

/// How an operator writes a message's number in receipts, beside how it wrote it in its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptIds {
    Same,
    /// Decimal where the answer was hexadecimal.
    Decimal,
    /// Hexadecimal where the answer was decimal.
    Hexadecimal,
}

/// One form for every way to write the same number: lower case, no zeros before it.
pub fn canonical(id: &str) -> String {
    let id = id.trim().to_ascii_lowercase();
    match id.trim_start_matches('0') {
        "" if id.is_empty() => String::new(),
        "" => "0".to_string(),
        bare => bare.to_string(),
    }
}

impl ReceiptIds {
    /// The number of a receipt in the form of the answer.
    fn as_answered(self, id: &str) -> String {
        let id = canonical(id);
        match self {
            ReceiptIds::Same => id,
            ReceiptIds::Decimal => id.parse::<u128>().map_or(id, |number| format!("{number:x}")),
            ReceiptIds::Hexadecimal => u128::from_str_radix(&id, 16).map_or(id, |number| number.to_string()),
        }
    }
}

pub fn told(deliver: &DeliverSm, ids: ReceiptIds) -> Option<Told> {
    let esm_class = u8::from(deliver.esm_class);
    let data_coding = u8::from(deliver.data_coding);
    let payload = deliver.tlvs().iter().find_map(|tlv| match tlv.value() {
        Some(TlvValue::MessagePayload(payload)) => Some(payload.value.clone().into_vec()),
        _ => None,
    });
    let octets = payload.unwrap_or_else(|| deliver.short_message().clone().into_vec());
    let (from, to) = (deliver.source_addr.as_str().to_string(), deliver.destination_addr.as_str().to_string());
    match esm_class & 0x3c {
        0x04 => {
            // Whatever they are called, these words are ASCII.
            let words = if data_coding == 8 { decode(&octets, 8) } else { String::from_utf8_lossy(&octets).into_owned() };
            receipt(&words, deliver.tlvs(), ids, from).map(Told::Receipt)
        }
        0x00 => {
            let (part, rest) = without_header(&octets, esm_class & 0x40 != 0);
            Some(Told::Text(Text { from, to, text: decode(&rest, data_coding), part }))
        }
        // Acknowledgements of a handset's user, and notes on the way: nobody asked for them.
        _ => None,
    }
}

fn receipt(words: &str, tlvs: &[Tlv], ids: ReceiptIds, to: String) -> Option<Receipt> {
    let of_tlv = tlvs.iter().find_map(|tlv| match (tlv.tag(), tlv.value()) {
        (TlvTag::ReceiptedMessageId, Some(TlvValue::ReceiptedMessageId(id))) => Some(id.as_str().to_string()),
        _ => None,
    });
    let state_of_tlv = tlvs.iter().find_map(|tlv| match tlv.value() {
        Some(TlvValue::MessageState(state)) => state_by_number(u8::from(*state)),
        _ => None,
    });
    let id = of_tlv.filter(|id| !id.is_empty()).or_else(|| field(words, "id:"))?;
    let state = state_of_tlv.or_else(|| field(words, "stat:").map(|word| state_by_word(&word))).unwrap_or(ReceiptState::Unknown);
    let error = field(words, "err:").filter(|error| error.chars().any(|c| c != '0'));
    Some(Receipt { id: ids.as_answered(&id), state, error, to, words: words.to_string() })
}

/// What stands behind a name up to the next blank, in any case of letters.
fn field(words: &str, name: &str) -> Option<String> {
    let lower = words.to_ascii_lowercase();
    let starts = lower.match_indices(name).map(|(at, _)| at);
    // `id:` is no end of another name.
    let at = starts.into_iter().find(|at| *at == 0 || lower.as_bytes().get(at - 1).is_some_and(u8::is_ascii_whitespace))?;
    let value = words.get(at + name.len()..)?.split_whitespace().next()?;
    Some(value.to_string())
}

fn state_by_number(number: u8) -> Option<ReceiptState> {
    Some(match number {
        1 => ReceiptState::EnRoute,
        2 => ReceiptState::Delivered,
        3 => ReceiptState::Expired,
        4 => ReceiptState::Deleted,
        5 => ReceiptState::Undeliverable,
        6 => ReceiptState::Accepted,
        7 => ReceiptState::Unknown,
        8 => ReceiptState::Rejected,
        _ => return None,
    })
}

fn state_by_word(word: &str) -> ReceiptState {
    match word.to_ascii_uppercase().as_str() {
        "ENROUTE" => ReceiptState::EnRoute,
        "DELIVRD" | "DELIVERED" => ReceiptState::Delivered,
        "EXPIRED" => ReceiptState::Expired,
        "DELETED" => ReceiptState::Deleted,
        "UNDELIV" | "UNDELIVERABLE" => ReceiptState::Undeliverable,
        "ACCEPTD" | "ACCEPTED" => ReceiptState::Accepted,
        "REJECTD" | "REJECTED" => ReceiptState::Rejected,
        _ => ReceiptState::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_the_same_however_it_is_written() {
        for (answered, receipt, ids) in [
            ("0A1B", "a1b", ReceiptIds::Same),
            ("0000012345", "12345", ReceiptIds::Same),
            ("0A1B", "0002587", ReceiptIds::Decimal),
            ("2587", "0A1B", ReceiptIds::Hexadecimal),
            ("b0f3c9e2-77", "B0F3C9E2-77", ReceiptIds::Decimal),
            ("0", "000", ReceiptIds::Same),
        ] {
            assert_eq!(ids.as_answered(receipt), canonical(answered), "{answered} {receipt}");
        }
        assert_ne!(ReceiptIds::Same.as_answered("10"), canonical("16"), "nothing is guessed");
    }

    #[test]
    fn receipts_are_read_as_operators_write_them() {
        let read = |words: &str| {
            receipt(words, &[], ReceiptIds::Same, "380501112233".into()).map(|receipt| (receipt.id, receipt.state, receipt.error))
        };
        let some = |id: &str, state, error: Option<&str>| Some((id.to_string(), state, error.map(str::to_string)));
        for (words, expected) in [
            (
                "id:0A1B sub:001 dlvrd:001 submit date:2703011000 done date:2703011001 stat:DELIVRD err:000 text:Hi id:7",
                some("a1b", ReceiptState::Delivered, None),
            ),
            ("ID:7 STAT:Undeliv ERR:0D2", some("7", ReceiptState::Undeliverable, Some("0D2"))),
            ("sub:001 id:8 stat:EXPIRED", some("8", ReceiptState::Expired, None)),
            ("id:9", some("9", ReceiptState::Unknown, None)),
            ("id:9 stat:BUFFERED err:", some("9", ReceiptState::Unknown, None)),
            ("stat:DELIVRD", None),
            ("", None),
        ] {
            assert_eq!(read(words), expected, "{words}");
        }
    }
}
