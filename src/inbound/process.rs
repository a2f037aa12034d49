//! Mail that was kept becomes what it says: events, suppressions, consent, a letter to a person.

use super::forward::{self, Forwarder};
use super::mail::{self, Kind, Reading, Recipient};
use super::ways::Ways;
use super::whom::{Whom, whom};
use crate::providers::email::reply::Class;
use crate::store::inbound::{Fate, StoredMail};
use crate::store::responses::{Counting, Detail, ResponseRow, Scope, Weight, digest};
use crate::store::strikes::Strike;
use crate::store::{Error, Store};
use crate::tracking::{Tokens, judge};
use crate::types::{MessageId, Response, Time, Verdict};
use chrono::TimeDelta;
use chrono_tz::Tz;
use std::sync::Arc;

/// Mails taken at once.
const BATCH: i64 = 50;
/// How long a mail is ours before another process may take it.
const LEASE: TimeDelta = TimeDelta::minutes(5);
/// After so many tries a mail is given up and kept for a person.
const TRIES: i64 = 8;
/// How long it is known which mails were read, so that none is read twice; and how long one that was given up can be looked at.
const REMEMBERED: TimeDelta = TimeDelta::days(30);
/// Characters of an answer that the history keeps.
const LONGEST_ANSWER: usize = 4_000;
/// Characters of a server's words.
const LONGEST_REPLY: usize = 500;

/// Reads what waits.
pub struct Processor {
    pub store: Store,
    pub tokens: Arc<Tokens>,
    /// The workspace's zone.
    pub zone: Tz,
    pub ways: Ways,
    /// Where people's answers go.
    pub forwarder: Option<Forwarder>,
}

/// What a mail leads to.
#[derive(Debug, Clone)]
struct Outcome {
    response: Option<(ResponseRow, Detail)>,
    fate: Fate,
}

impl Processor {
    /// Takes what is due and does it; gives how many mails that were.
    pub async fn turn(&self, now: Time) -> Result<usize, Error> {
        let mails = self.store.claim_mail(now, now + LEASE, BATCH).await?;
        let (to_forward, to_read): (Vec<StoredMail>, Vec<StoredMail>) = mails.into_iter().partition(|mail| mail.to_forward);
        let count = to_forward.len() + to_read.len();
        self.read(&to_read, now).await?;
        for mail in &to_forward {
            let fate = match &self.forwarder {
                Some(forwarder) => forwarder.forward(mail, now).await,
                // Nobody is named any more.
                None => Fate::Forwarded,
            };
            self.store.settle_mail(&[(mail.id, fate)]).await?;
        }
        Ok(count)
    }

    /// Forgets mails that were done with long ago.
    pub async fn forget(&self, now: Time) -> Result<(), Error> {
        while self.store.forget_mail(now - REMEMBERED).await? > 0 {}
        Ok(())
    }

    async fn read(&self, mails: &[StoredMail], now: Time) -> Result<(), Error> {
        let outcomes: Vec<(i64, Outcome)> = mails
            .iter()
            .map(|mail| {
                if mail.tries > TRIES {
                    let why = format!("tried {TRIES} times in vain");
                    return (mail.id, Outcome { response: None, fate: Fate::GivenUp { why } });
                }
                (mail.id, self.outcome(mail, &mail::read(&mail.raw), now))
            })
            .collect();
        let (rows, details): (Vec<ResponseRow>, Vec<Detail>) = outcomes.iter().filter_map(|(_, outcome)| outcome.response.clone()).unzip();
        self.store.record_told_responses(&rows, &details, &Counting { zone: self.zone, slot: 0, judge: judge::judge }).await?;
        let fates: Vec<(i64, Fate)> = outcomes.into_iter().map(|(id, outcome)| (id, outcome.fate)).collect();
        self.store.settle_mail(&fates).await
    }

    fn outcome(&self, mail: &StoredMail, reading: &Reading, now: Time) -> Outcome {
        let whom = whom(reading, &mail.recipients, &self.ways, &self.tokens, now);
        let kind = match whom {
            // Whatever is written to the address for leaving wants to leave; reports about that mail do not.
            Whom::Message { leaves: true, .. } if matches!(reading.kind, Kind::Reply | Kind::None | Kind::Unsubscribe) => Kind::Unsubscribe,
            _ => reading.kind,
        };
        let forwards = self.forwarder.is_some() && matches!(kind, Kind::Reply | Kind::None) && forward::may_be(mail);
        let fate = |message: Option<MessageId>, detail: String| match forwards {
            true => Fate::Forward { kind: kind.word(), message, detail, at: now },
            false => Fate::Done { kind: kind.word(), message, detail },
        };
        match whom {
            Whom::Message { message, .. } => {
                let told = told(kind, reading);
                let detail = told.as_ref().map_or_else(|| reading.kind.word().to_string(), |(response, _)| response.to_string());
                let response = told.map(|(response, detail)| (self.row(mail, message, response, reading), detail));
                Outcome { response, fate: fate(Some(message), detail) }
            }
            Whom::Nothing(why) => {
                Outcome { response: None, fate: Fate::Done { kind: kind.word(), message: None, detail: why.to_string() } }
            }
            Whom::Nobody => Outcome { response: None, fate: fate(None, "no message of ours is named".to_string()) },
        }
    }

    fn row(&self, mail: &StoredMail, message: MessageId, response: Response, reading: &Reading) -> ResponseRow {
        let recipient = meant(reading);
        let class = recipient.and_then(|recipient| recipient.verdict).map(|verdict| verdict.class);
        ResponseRow {
            message,
            response,
            at: mail.received_at,
            received_at: mail.received_at,
            link: 0,
            visit: None,
            verdict: Verdict::Human,
            bounce: (response == Response::Bounced).then(|| class.map(mail::bounce)).flatten(),
            scope: if mail::is_stop_all(&reading.text) || reading.feedback.is_some() { Scope::Everything } else { Scope::Topic },
            source: "mail".into(),
            source_key: digest(&[b"mail", &mail.digest]),
        }
    }
}

/// The recipient that a report speaks of; a message has one.
fn meant(reading: &Reading) -> Option<&Recipient> {
    reading.recipients.iter().find(|recipient| recipient.kind == reading.kind).or(reading.recipients.first())
}

/// The response that a mail is, and what more is known of it; `None` for what is only noted.
fn told(kind: Kind, reading: &Reading) -> Option<(Response, Detail)> {
    let text = |longest: usize| Some(reading.text.chars().take(longest).collect::<String>()).filter(|text| !text.is_empty());
    match kind {
        Kind::Bounce => {
            let recipient = meant(reading)?;
            let verdict = recipient.verdict?;
            let detail = Detail {
                weight: Some(weight(verdict.class, verdict.expired)),
                drops_consent: verdict.class == Class::OwnerChanged,
                status: recipient.status.clone(),
                class: recipient.class().map(str::to_string),
                text: Some(recipient.diagnostic.chars().take(LONGEST_REPLY).collect::<String>()).filter(|text| !text.is_empty()),
            };
            Some((Response::Bounced, detail))
        }
        Kind::Delayed | Kind::None => None,
        Kind::Delivered => Some((Response::Delivered, Detail::default())),
        Kind::Complaint => match reading.feedback.as_deref() {
            // The report of a filter about a forged mail, or the opposite of a complaint.
            Some("not-spam" | "auth-failure" | "dkim" | "dmarc") => None,
            Some("opt-out" | "opt-out-list") => Some((Response::Unsubscribed, Detail::default())),
            _ => Some((Response::Complained, Detail { class: reading.feedback.clone(), ..Detail::default() })),
        },
        Kind::AutoReply => Some((Response::AutoReplied, Detail { text: text(LONGEST_REPLY), ..Detail::default() })),
        Kind::Unsubscribe => Some((Response::Unsubscribed, Detail::default())),
        Kind::Reply => Some((Response::Replied, Detail { text: text(LONGEST_ANSWER), ..Detail::default() })),
    }
}

/// What a class does to the address (standards.md §1.8).
fn weight(class: Class, expired: bool) -> Weight {
    match class {
        Class::Invalid | Class::OwnerChanged => Weight::AtOnce,
        Class::Domain | Class::Inactive => Weight::Strike(Strike::Dead),
        Class::Quota | Class::Rejected => Weight::Strike(Strike::Soft),
        _ if expired => Weight::Strike(Strike::Soft),
        Class::Transient | Class::Greylisted => Weight::Strike(Strike::Soft),
        Class::Size | Class::Content | Class::Throttle | Class::Block | Class::Authentication | Class::Credentials | Class::Protocol => {
            Weight::Nothing
        }
    }
}
