//! SMPP 3.4 straight to an operator (standards.md §3.8).
//!
//! One link, bound as a transceiver, under TLS where `security: tls` says so; at most `window` submits are unanswered at once. What was not answered when the
//! link was lost, or in time, is `Unknown`. A long text travels in parts, and each asks for a receipt: the message has arrived when all of them have. Where a
//! later part is not taken the person may have half of a text: that is `Unknown` too.
//!
//! What the operator tells (receipts, texts of people) goes to the [`Inbox`], and is answered only when that has stored it.

mod link;
mod receipt;
mod status;
mod text;

use super::Text;
use crate::providers::inbox::Inbox;
use crate::providers::settings::{Error, Keys};
use crate::providers::tls;
use crate::providers::{Look, Looking, Outcome, Outgoing, Provider, Sending};
use crate::types::{Channel, Failure};
use link::{Link, Silence};
use receipt::{ReceiptIds, canonical};
use rusmpp::Pdu;
use rusmpp::pdus::SubmitSm;
use rusmpp::tlvs::MessageSubmissionRequestTlvValue as More;
use rusmpp::types::{AnyOctetString, EmptyOrFullCOctetString, OctetString};
use rusmpp::values::{DataCoding, EsmClass, MessagePayload, Npi, RegisteredDelivery, ServiceType, Ton};
use status::Pace;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;
use text::{DefaultAlphabet, Encoded, encode};
use tokio::sync::{Mutex as AsyncMutex, Semaphore};
use tokio::time::Instant;
use tokio_rustls::rustls::RootCertStore;
use tokio_util::sync::CancellationToken;

/// Between two tries to connect: at first, and at most.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

pub(super) struct Settings {
    host: String,
    port: u16,
    /// Under TLS, with these certificates trusted; `None` inside: those of the machine.
    tls: Option<Option<Arc<RootCertStore>>>,
    system_id: String,
    password: String,
    system_type: String,
    window: usize,
    long: Long,
    alphabet: DefaultAlphabet,
    receipt_ids: ReceiptIds,
    timeouts: Timeouts,
}

/// How the parts of a long text are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Long {
    /// By a header before each text.
    Header,
    /// By fields of their own.
    Sar,
    /// There are none: the operator cuts.
    Payload,
}

struct Timeouts {
    /// Connect, and login.
    bind: Duration,
    /// An answer to a submit.
    answer: Duration,
    /// Without a word the operator is asked whether it is there.
    enquire: Duration,
}

/// Reads host, port, security, trust, user, password, system_type, window, long, alphabet, receipt_ids, timeout, enquire.
pub(crate) fn open(name: &str, keys: &Keys<'_>) -> Result<Arc<dyn Provider>, Error> {
    let smpp = Arc::new(Smpp::new(name, read(keys)?));
    Ok(Arc::new(Bound { smpp }))
}

fn read(keys: &Keys<'_>) -> Result<Settings, Error> {
    let fitting =
        |key: &'static str, text: String, most: usize| match text.len() <= most && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok(text),
            false => Err(keys.wrong(key, &format!("may have {most} characters at most, ASCII without blanks"))),
        };
    let second = Duration::from_secs(1);
    let is_protected = keys.word("security", &["none", "tls"])? == "tls";
    let trusted = match keys.text("trust")? {
        Some(_) if !is_protected => return Err(keys.wrong("trust", "says nothing without `security: tls`")),
        Some(trust) => Some(roots_of(&trust).map_err(|why| keys.wrong("trust", &why))?),
        None => None,
    };
    Ok(Settings {
        host: keys.needed("host")?,
        port: keys.number("port", if is_protected { 3550 } else { 2775 }, 1, 65535)? as u16,
        tls: is_protected.then_some(trusted),
        system_id: fitting("user", keys.needed("user")?, 15)?,
        password: fitting("password", keys.needed("password")?, 8)?,
        system_type: fitting("system_type", keys.text("system_type")?.unwrap_or_default(), 12)?,
        window: keys.number("window", 10, 1, 1000)? as usize,
        long: match keys.word("long", &["header", "sar", "payload"])? {
            "sar" => Long::Sar,
            "payload" => Long::Payload,
            _ => Long::Header,
        },
        alphabet: match keys.word("alphabet", &["gsm", "latin1"])? {
            "latin1" => DefaultAlphabet::Latin1,
            _ => DefaultAlphabet::Gsm,
        },
        receipt_ids: match keys.word("receipt_ids", &["same", "decimal", "hexadecimal"])? {
            "decimal" => ReceiptIds::Decimal,
            "hexadecimal" => ReceiptIds::Hexadecimal,
            _ => ReceiptIds::Same,
        },
        timeouts: Timeouts {
            bind: second * 20,
            answer: keys.wait("timeout", second * 30, second, second * 600)?,
            enquire: keys.wait("enquire", second * 30, second, second * 600)?,
        },
    })
}

/// Certificates in PEM, or in a file.
fn roots_of(trust: &str) -> Result<Arc<RootCertStore>, String> {
    let pem = match trust.trim_start().starts_with("-----BEGIN") {
        true => trust.to_string(),
        false => std::fs::read_to_string(trust).map_err(|error| format!("names the file {trust}, which cannot be read: {error}"))?,
    };
    tls::roots(&pem).map_err(|why| format!("holds no certificates in PEM: {why}"))
}

pub(super) struct Smpp {
    name: String,
    settings: Settings,
    state: AsyncMutex<State>,
    window: Semaphore,
    pace: Mutex<Pace>,
    inbox: OnceLock<Arc<dyn Inbox>>,
    closing: CancellationToken,
}

#[derive(Default)]
struct State {
    link: Option<Arc<Link>>,
    /// Nobody connects before; and how long the last wait was.
    again: Option<(Instant, Duration)>,
}

impl Smpp {
    fn new(name: &str, settings: Settings) -> Smpp {
        Smpp {
            name: name.to_string(),
            state: AsyncMutex::default(),
            window: Semaphore::new(settings.window),
            pace: Mutex::default(),
            inbox: OnceLock::new(),
            closing: CancellationToken::new(),
            settings,
        }
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The link, opened when there is none; or what to tell about a message that nothing was done for.
    async fn link(self: &Arc<Self>) -> Result<Arc<Link>, Outcome> {
        let mut state = self.state.lock().await;
        if let Some(link) = state.link.as_ref().filter(|link| !link.gone.is_cancelled()) {
            return Ok(link.clone());
        }
        state.link = None;
        let now = Instant::now();
        if let Some((until, _)) = state.again.filter(|(until, _)| *until > now) {
            let reply = format!("{} could not be reached a moment ago", self.settings.host);
            return Err(Outcome::Unreachable { after: Some(until - now), reply });
        }
        match Link::open(&Arc::downgrade(self), &self.settings, &self.closing).await {
            Ok(link) => {
                // One that is lost at once is not opened without end.
                state.again = Some((Instant::now() + FIRST_WAIT, FIRST_WAIT));
                state.link = Some(link.clone());
                Ok(link)
            }
            Err(outcome) => {
                let wait = state.again.map_or(FIRST_WAIT, |(_, wait)| (wait * 2).min(LONGEST_WAIT));
                state.again = Some((Instant::now() + wait, wait));
                Err(match outcome {
                    Outcome::Unreachable { reply, .. } => Outcome::Unreachable { after: Some(wait), reply },
                    other => other,
                })
            }
        }
    }

    async fn deliver(self: &Arc<Self>, outgoing: &Outgoing) -> Outcome {
        let message = match Text::of(outgoing) {
            Ok(message) => message,
            Err(refused) => return refused,
        };
        let submits = match self.settings.submits(&message, &outgoing.key) {
            Ok(submits) => submits,
            Err(refused) => return refused,
        };
        // The semaphore is never closed.
        let Ok(_place) = self.window.acquire().await else {
            return Outcome::Unreachable { after: None, reply: "the provider is closed".to_string() };
        };
        let link = match self.link().await {
            Ok(link) => link,
            Err(outcome) => return outcome,
        };
        let count = submits.len();
        let mut taken = Outcome::Unknown { reply: String::new() };
        let mut ids: Vec<String> = Vec::new();
        for (place, submit) in submits.into_iter().enumerate() {
            let outcome = self.submit(&link, submit).await;
            match outcome {
                Outcome::Accepted { id, reply } => {
                    ids.extend(id);
                    taken = Outcome::Accepted { id: Some(ids.join(" ")).filter(|ids| !ids.is_empty()), reply };
                }
                first if place == 0 => return first,
                other => {
                    let reply = format!("{place} of {count} parts were taken, and then: {other:?}");
                    return Outcome::Unknown { reply };
                }
            }
        }
        taken
    }

    async fn submit(&self, link: &Link, submit: SubmitSm) -> Outcome {
        match link.request(submit.into(), self.settings.timeouts.answer).await {
            Ok(reply) if reply.status == status::OK => {
                self.pace().taken(Instant::now());
                let id = match reply.pdu {
                    Some(Pdu::SubmitSmResp(answer)) => {
                        Some(canonical(answer.message_id().as_str())).filter(|id| !id.is_empty() && !id.contains(' '))
                    }
                    _ => None,
                };
                Outcome::Accepted { id, reply: "SMPP status 0".to_string() }
            }
            Ok(reply) => {
                let outcome = status::outcome(reply.status);
                if let Outcome::Later { throttled: true, .. } = outcome {
                    self.pace().slower(Instant::now());
                }
                outcome
            }
            Err(Silence::NotSent) => Outcome::Unreachable { after: None, reply: "the link was lost".to_string() },
            Err(Silence::NoReply(reply)) => Outcome::Unknown { reply },
        }
    }
}

impl Settings {
    /// One for each part, in their order.
    fn submits(&self, message: &Text<'_>, key: &str) -> Result<Vec<SubmitSm>, Outcome> {
        let refused = |class, what: &str| Outcome::Refused { class, suppress: false, reply: what.to_string() };
        let to = message.digits();
        if to.is_empty() || to.len() > 20 || !to.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(refused(Failure::UnsafeValue, "the phone number is none"));
        }
        let (ton, npi, from) =
            sender(message.sender).ok_or_else(|| refused(Failure::Policy, "the sender is neither a number nor 11 letters"))?;
        let Encoded { data_coding, parts } = encode(message.text, self.alphabet);
        let count = u8::try_from(parts.len()).map_err(|_| refused(Failure::TooLarge, "the text has more than 255 parts"))?;
        let period: EmptyOrFullCOctetString<17> = message.lasts.and_then(|left| validity(left).parse().ok()).unwrap_or_default();
        let whole = || {
            SubmitSm::builder()
                .service_type(ServiceType::default())
                .source_addr_ton(ton)
                .source_addr_npi(npi)
                .source_addr(link::text(from))
                .dest_addr_ton(Ton::International)
                .dest_addr_npi(Npi::Isdn)
                .destination_addr(link::text(to))
                // Nothing special: the crate's own default asks for an acknowledgement by the handset's user.
                .esm_class(EsmClass::from(0))
                .data_coding(DataCoding::from(data_coding))
                .validity_period(period.clone())
                .registered_delivery(RegisteredDelivery::from(1))
        };
        let octets = |octets: Vec<u8>| OctetString::from_vec(octets).map_err(|_| refused(Failure::TooLarge, "a part is too long"));
        if count == 1 || self.long == Long::Payload {
            let all = parts.concat();
            let submit = match count {
                1 => whole().short_message(octets(all)?),
                _ => whole().push_tlv(More::MessagePayload(MessagePayload::new(AnyOctetString::from_vec(all)))),
            };
            return Ok(vec![submit.build()]);
        }
        // The same on every attempt, and hardly ever that of another text to the same person.
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.as_bytes());
        let reference = digest.as_ref().iter().take(2).fold(0_u16, |bits, byte| bits << 8 | u16::from(*byte));
        let one = |(place, part): (u8, Vec<u8>)| {
            let submit = whole();
            Ok(match self.long {
                Long::Sar => submit
                    .short_message(octets(part)?)
                    .push_tlv(More::SarMsgRefNum(reference))
                    .push_tlv(More::SarTotalSegments(count))
                    .push_tlv(More::SarSegmentSeqnum(place)),
                Long::Header | Long::Payload => {
                    let header = [5, 0, 3, reference as u8, count, place];
                    submit.esm_class(EsmClass::from(0x40)).short_message(octets([&header[..], &part].concat())?)
                }
            }
            .build())
        };
        (1..=count).zip(parts).map(one).collect()
    }
}

/// How long an operator may try, as it counts from its own clock: days, hours, minutes and seconds, `YYMMDDhhmmss000R`. From a minute to a month.
fn validity(left: Duration) -> String {
    let seconds = left.as_secs().clamp(60, 30 * 86_400);
    format!("0000{:02}{:02}{:02}{:02}000R", seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

/// Type of number, plan and address: an international number, a short one, or letters.
fn sender(sender: &str) -> Option<(Ton, Npi, &str)> {
    let digits = sender.trim_start_matches('+');
    match digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.is_empty() {
        true if digits.len() <= 6 => Some((Ton::NetworkSpecific, Npi::Unknown, digits)),
        true if digits.len() <= 15 => Some((Ton::International, Npi::Isdn, digits)),
        false if !sender.is_empty() && sender.len() <= 11 && sender.is_ascii() => Some((Ton::Alphanumeric, Npi::Unknown, sender)),
        _ => None,
    }
}

/// The provider; dropped, it says goodbye.
struct Bound {
    smpp: Arc<Smpp>,
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.smpp.closing.cancel();
    }
}

impl Provider for Bound {
    fn name(&self) -> &str {
        &self.smpp.name
    }
    fn channel(&self) -> Channel {
        Channel::Sms
    }
    fn width(&self) -> usize {
        self.smpp.settings.window
    }
    fn send<'a>(&'a self, outgoing: &'a Outgoing) -> Sending<'a> {
        Box::pin(self.smpp.deliver(outgoing))
    }
    fn pause(&self) -> Option<Duration> {
        self.smpp.pace().pause(Instant::now())
    }
    fn rate(&self) -> Option<f64> {
        self.smpp.pace().rate()
    }
    fn look(&self) -> Looking<'_> {
        Box::pin(async {
            match self.smpp.link().await {
                Ok(_) => Look::fine(format!("{}:{} takes our login", self.smpp.settings.host, self.smpp.settings.port)),
                Err(Outcome::Broken { reply }) => Look::wrong(reply),
                Err(Outcome::Unreachable { reply, .. }) => Look::silent(reply),
                Err(other) => Look::silent(format!("{other:?}")),
            }
        })
    }
    fn listen(&self, inbox: Arc<dyn Inbox>) {
        // A second one is not listened to: the first keeps what is told.
        if self.smpp.inbox.set(inbox).is_ok() {
            tokio::spawn(keep_bound(Arc::downgrade(&self.smpp)));
        }
    }
}

/// Keeps a link open for what the operator tells, whether something is sent or not, until the provider is dropped.
async fn keep_bound(smpp: Weak<Smpp>) {
    loop {
        let Some(strong) = smpp.upgrade() else { return };
        let (link, closing) = (strong.link().await, strong.closing.clone());
        drop(strong);
        let next = async {
            match link {
                Ok(link) => link.gone.cancelled().await,
                Err(Outcome::Unreachable { after: Some(after), .. }) => tokio::time::sleep(after).await,
                Err(_) => tokio::time::sleep(LONGEST_WAIT).await,
            }
        };
        tokio::select! {
            () = next => {}
            () = closing.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::outgoing;
    use super::*;
    use crate::providers::tests::keys;
    use serde_json::{Value, json};

    fn settings(more: Value) -> Result<Settings, Error> {
        let mut values = json!({ "host": "smsc.example", "user": "shop", "password": "s3cret" });
        values.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        keys(values, read)
    }

    #[test]
    fn every_way_of_a_long_text_is_a_row_of_frames() {
        let mut written = String::new();
        for (name, more, text) in [
            ("one part", json!({}), "Hi {Ada}".to_string()),
            ("header", json!({}), "ї".repeat(71)),
            ("sar", json!({ "long": "sar" }), "a".repeat(161)),
            ("payload", json!({ "long": "payload" }), "ї".repeat(71)),
        ] {
            let outgoing = outgoing("+380501112233", &text);
            let message = Text::of(&outgoing).unwrap_or_else(|_| unreachable!());
            let submits = settings(more).unwrap().submits(&message, &outgoing.key).unwrap_or_else(|_| unreachable!());
            for submit in submits {
                let frame = link::framed(&rusmpp::Command::new(rusmpp::CommandStatus::EsmeRok, 1, submit));
                written.push_str(&format!("{name}: {}\n", hex::encode(frame)));
            }
        }
        insta::assert_snapshot!(written);
    }

    #[test]
    fn senders_and_numbers_are_what_the_operator_takes() {
        for (from, expected) in [
            ("SHOP", Some((Ton::Alphanumeric, Npi::Unknown, "SHOP"))),
            ("+380501112233", Some((Ton::International, Npi::Isdn, "380501112233"))),
            ("7744", Some((Ton::NetworkSpecific, Npi::Unknown, "7744"))),
            ("A very long name", None),
            ("ЇЖАК", None),
            ("", None),
        ] {
            assert_eq!(sender(from), expected, "{from}");
        }
        for (more, what) in [
            (json!({ "password": "longer than eight" }), "password"),
            (json!({ "user": "longer-than-fifteen" }), "user"),
            (json!({ "long": "short" }), "long"),
            (json!({ "window": 0 }), "window"),
        ] {
            let error = settings(more).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(what), "{what}: {error}");
        }
        let many = outgoing("+380501112233", &"ї".repeat(67 * 256));
        let message = Text::of(&many).unwrap_or_else(|_| unreachable!());
        let refused = settings(json!({})).unwrap().submits(&message, &many.key).map(drop);
        assert!(matches!(refused, Err(Outcome::Refused { class: Failure::TooLarge, .. })));
    }
}
