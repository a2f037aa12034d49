//! Complaints: feedback reports (RFC 5965), and those of services that write them as plain mail.

use super::fields::Fields;
use super::letter::Letter;
use super::{Kind, Recipient, addresses, words};

pub struct Complaint {
    pub kind: String,
    /// Empty where the report hides them.
    pub recipients: Vec<Recipient>,
}

pub fn read(letter: &Letter) -> Option<Complaint> {
    let in_text = || Fields::blocks(&letter.text).into_iter().find(|block| block.has("feedback-type") && block.has("user-agent"));
    if let Some(feedback) = letter.feedback.clone().or_else(in_text) {
        let kind = feedback.get("feedback-type").map_or_else(|| "other".to_string(), |kind| kind.trim().to_ascii_lowercase());
        return Some(Complaint { kind, recipients: recipients(letter, Some(&feedback)) });
    }
    // Without a report: "complaint about message from 192.0.2.1", with the mail attached.
    let subject = letter.subject.to_lowercase();
    let plain = subject.starts_with("complaint about message") || letter.headers.has("x-hmxmroriginalrecipient");
    (plain && letter.copy.is_some()).then(|| Complaint { kind: "abuse".to_string(), recipients: recipients(letter, None) })
}

fn recipients(letter: &Letter, feedback: Option<&Fields>) -> Vec<Recipient> {
    let told = feedback
        .iter()
        .flat_map(|feedback| ["original-rcpt-to", "removal-recipient", "redacted-address"].into_iter().flat_map(|name| feedback.all(name)));
    let mut found: Vec<String> = told.flat_map(addresses::all).collect();
    if found.is_empty() {
        let copy = letter.copy.iter();
        found = copy
            .flat_map(|copy| ["x-hmxmroriginalrecipient", "to"].into_iter().flat_map(|name| copy.headers.all(name)))
            .flat_map(addresses::all)
            .collect();
    }
    found.retain(|address| !is_redacted(address));
    let of_one = |address: String| Recipient {
        address,
        original: None,
        kind: Kind::Complaint,
        status: None,
        diagnostic: String::new(),
        verdict: None,
    };
    found.into_iter().take(100).map(of_one).collect()
}

/// `redacted@example.org`, `****@example.org`.
fn is_redacted(address: &str) -> bool {
    let local = address.split('@').next().unwrap_or_default().to_lowercase();
    words::any(&local, &["redacted", "undisclosed", "**", "xxxx"]) || local.chars().all(|letter| matches!(letter, '*' | 'x' | '-' | '.'))
}
