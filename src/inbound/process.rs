//! Mail that was kept becomes what it says: events, suppressions, consent, a letter to a person.

use super::forward::{self, Forwarder};
use super::mail::{self, Kind, Reading, Recipient};
use super::ways::Ways;
use super::whom::{Whom, whom};
use crate::providers::email::reply::Class;
use crate::store::inbound::{Fate, StoredMail};
use crate::store::responses::{Counting, Detail, ResponseRow, Scope, Weight, digest};
use crate::store::strikes::Strike;
use crate::store::tallies::Bounce;
use crate::store::{Error, Store};
use crate::tracking::{Tokens, judge};
use crate::types::{MessageId, Response, Time, Verdict};
use chrono::TimeDelta;
use chrono_tz::Tz;
use futures_util::future::join_all;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// Mails taken at once.
const BATCH: i64 = 50;
/// How long a mail is ours before another process may take it.
const LEASE: TimeDelta = TimeDelta::minutes(5);
/// How long passing one on may take, all at once: less than a mail is ours.
const PASSING: Duration = Duration::from_secs(240);
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
        // What could not be read together with others is read alone: one mail that nobody can read must not take the others with it.
        let (fresh, again): (Vec<StoredMail>, Vec<StoredMail>) = to_read.into_iter().partition(|mail| mail.tries <= 1);
        for mail in &again {
            match self.read(std::slice::from_ref(mail), now).await {
                Err(error) if !error.is_temporary() => {
                    tracing::error!(mail = mail.id, error = &error as &dyn std::error::Error, "a mail cannot be read; it is tried again");
                }
                read => read?,
            }
        }
        self.read(&fresh, now).await?;
        let passed = to_forward.iter().map(|mail| async move {
            let fate = match &self.forwarder {
                // Nobody else may take it while we are at it.
                Some(forwarder) => tokio::time::timeout(PASSING, forwarder.forward(mail, now))
                    .await
                    .unwrap_or_else(|_| Fate::Later { at: now + LEASE, why: "the provider did not answer in time".to_string() }),
                // Nobody is named any more.
                None => Fate::Forwarded,
            };
            self.store.settle_mail(&[(mail.id, fate)]).await
        });
        join_all(passed).await.into_iter().collect::<Result<(), Error>>()?;
        Ok(count)
    }

    /// Forgets mails that were done with long ago.
    pub async fn forget(&self, now: Time) -> Result<(), Error> {
        while self.store.forget_mail(now - REMEMBERED).await? > 0 {}
        Ok(())
    }

    async fn read(&self, mails: &[StoredMail], now: Time) -> Result<(), Error> {
        let readings: Vec<Option<(Reading, Whom)>> = mails
            .iter()
            .map(|mail| {
                let reading = (mail.tries <= TRIES).then(|| mail::read(&mail.raw))?;
                let whom = whom(&reading, &mail.recipients, &self.ways, &self.tokens, now);
                Some((reading, whom))
            })
            .collect();
        let named: BTreeSet<i64> = readings.iter().flatten().filter_map(|(_, whom)| whom.message()).map(|message| message.0).collect();
        let messages = self.store.messages_numbered(&named.into_iter().collect::<Vec<_>>()).await?;
        let addresses: HashMap<i64, String> = messages.into_iter().filter_map(|message| Some((message.id, message.address?))).collect();
        let outcomes: Vec<(i64, Outcome)> = mails
            .iter()
            .zip(&readings)
            .map(|(mail, reading)| match reading {
                Some((reading, whom)) => {
                    let address = whom.message().and_then(|message| addresses.get(&message.0));
                    (mail.id, self.outcome(mail, reading, *whom, address.map(String::as_str), now))
                }
                None => {
                    let why = format!("tried {TRIES} times in vain");
                    (mail.id, Outcome { response: None, fate: Fate::GivenUp { why } })
                }
            })
            .collect();
        let (rows, details): (Vec<ResponseRow>, Vec<Detail>) = outcomes.iter().filter_map(|(_, outcome)| outcome.response.clone()).unzip();
        self.store.record_told_responses(&rows, &details, &Counting { zone: self.zone, slot: 0, judge: judge::judge }).await?;
        let fates: Vec<(i64, Fate)> = outcomes.into_iter().map(|(id, outcome)| (id, outcome.fate)).collect();
        self.store.settle_mail(&fates).await
    }

    /// `address`: where the message that it concerns went.
    fn outcome(&self, mail: &StoredMail, reading: &Reading, whom: Whom, address: Option<&str>, now: Time) -> Outcome {
        let meant = meant(reading, address);
        let kind = match (whom, &meant) {
            // Whatever is written to the address for leaving wants to leave; reports about that mail do not.
            (Whom::Message { leaves: true, .. }, _) if matches!(reading.kind, Kind::Reply | Kind::None | Kind::Unsubscribe) => {
                Kind::Unsubscribe
            }
            // A report may speak of several: what it says of ours counts.
            (_, Some((recipient, _))) if reading.kind != Kind::Complaint => recipient.kind,
            _ => reading.kind,
        };
        let forwards = self.forwarder.is_some() && matches!(kind, Kind::Reply | Kind::None) && forward::may_be(mail);
        let fate = |message: Option<MessageId>, detail: String| match forwards {
            true => Fate::Forward { kind: kind.word(), message, detail, at: now },
            false => Fate::Done { kind: kind.word(), message, detail },
        };
        match whom {
            Whom::Message { message, .. } => {
                let told = told(kind, reading, meant);
                let detail = told.as_ref().map_or_else(|| kind.word().to_string(), |(response, ..)| response.to_string());
                let response = told.map(|(response, bounce, detail)| (self.row(mail, message, (response, bounce), reading), detail));
                Outcome { response, fate: fate(Some(message), detail) }
            }
            Whom::Nothing(why) => {
                Outcome { response: None, fate: Fate::Done { kind: kind.word(), message: None, detail: why.to_string() } }
            }
            Whom::Nobody => Outcome { response: None, fate: fate(None, "no message of ours is named".to_string()) },
        }
    }

    fn row(&self, mail: &StoredMail, message: MessageId, (response, bounce): (Response, Option<Bounce>), reading: &Reading) -> ResponseRow {
        ResponseRow {
            message,
            response,
            at: mail.received_at,
            received_at: mail.received_at,
            link: 0,
            visit: None,
            verdict: Verdict::Human,
            bounce,
            scope: if mail::is_stop_all(&reading.text) || reading.feedback.is_some() { Scope::Everything } else { Scope::Topic },
            source: "mail".into(),
            source_key: digest(&[b"mail", &mail.digest]),
        }
    }
}

/// Where a report's failed address stands to the one that the message went to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It is that address, or another name of it in the same house.
    There,
    /// Elsewhere: somebody passes their mail on, and it failed behind them. The address that we wrote to lives.
    Behind,
}

/// The recipient that a report speaks of, for a message that went to `address`: that address itself, else one under its domain, else the first that the
/// report is about.
fn meant<'a>(reading: &'a Reading, address: Option<&str>) -> Option<(&'a Recipient, Place)> {
    let first = || reading.recipients.iter().find(|recipient| recipient.kind == reading.kind).or(reading.recipients.first());
    let Some(address) = address else { return first().map(|recipient| (recipient, Place::There)) };
    let itself = reading.recipients.iter().find(|recipient| recipient.address.eq_ignore_ascii_case(address));
    let housed = || reading.recipients.iter().find(|recipient| recipient.address.is_empty() || in_one_house(&recipient.address, address));
    if let Some(recipient) = itself.or_else(housed) {
        return Some((recipient, Place::There));
    }
    let passed_on =
        reading.recipients.iter().find(|recipient| recipient.original.as_ref().is_some_and(|one| one.eq_ignore_ascii_case(address)));
    passed_on.or_else(first).map(|recipient| (recipient, Place::Behind))
}

/// Whether two addresses are under one domain, or one is under a part of the other's.
fn in_one_house(one: &str, other: &str) -> bool {
    let domain = |address: &str| address.rsplit('@').next().unwrap_or_default().trim_end_matches('.').to_lowercase();
    let (one, other) = (domain(one), domain(other));
    let is_under = |inner: &str, outer: &str| outer.contains('.') && inner.strip_suffix(outer).is_some_and(|rest| rest.ends_with('.'));
    one == other || is_under(&one, &other) || is_under(&other, &one)
}

/// The response that a mail is, how it bounced, and what more is known of it; `None` for what is only noted.
fn told(kind: Kind, reading: &Reading, meant: Option<(&Recipient, Place)>) -> Option<(Response, Option<Bounce>, Detail)> {
    let text = |longest: usize| Some(reading.text.chars().take(longest).collect::<String>()).filter(|text| !text.is_empty());
    let plain = |response: Response, detail: Detail| Some((response, None, detail));
    match kind {
        Kind::Bounce => {
            let (recipient, place) = meant?;
            let verdict = recipient.verdict?;
            let said: String = recipient.diagnostic.chars().take(LONGEST_REPLY).collect();
            let mut bounce = mail::bounce(verdict.class);
            let mut detail = Detail {
                weight: Some(weight(verdict.class, verdict.expired)),
                drops_consent: verdict.class == Class::OwnerChanged,
                status: recipient.status.clone(),
                class: recipient.class().map(str::to_string),
                text: Some(said).filter(|text| !text.is_empty()),
                ..Detail::default()
            };
            if place == Place::Behind {
                // Nothing is said of the address that we wrote to. If it goes on like this for weeks, nobody reads what is sent there.
                if bounce == Bounce::Hard {
                    bounce = Bounce::Soft;
                }
                if matches!(detail.weight, Some(Weight::AtOnce | Weight::Strike(_))) {
                    detail.weight = Some(Weight::Strike(Strike::Soft));
                }
                detail.drops_consent = false;
                detail.text = Some(format!("passed on to another address, and there: {}", detail.text.unwrap_or_default()));
            }
            Some((Response::Bounced, Some(bounce), detail))
        }
        Kind::Delayed | Kind::None => None,
        Kind::Delivered => plain(Response::Delivered, Detail::default()),
        Kind::Complaint => match reading.feedback.as_deref() {
            // The report of a filter about a forged mail, or the opposite of a complaint.
            Some("not-spam" | "auth-failure" | "dkim" | "dmarc") => None,
            Some("opt-out" | "opt-out-list") => plain(Response::Unsubscribed, Detail::default()),
            _ => plain(Response::Complained, Detail { class: reading.feedback.clone(), ..Detail::default() }),
        },
        Kind::AutoReply => plain(Response::AutoReplied, Detail { text: text(LONGEST_REPLY), ..Detail::default() }),
        Kind::Unsubscribe => plain(Response::Unsubscribed, Detail::default()),
        Kind::Reply => plain(Response::Replied, Detail { text: text(LONGEST_ANSWER), ..Detail::default() }),
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
