//! What providers tell us by webhooks: each request is proved to be theirs, then read into words of ours. Pure: no database, no network, no clock.
//!
//! [`verify`] looks at the raw body before anything in it is read (SNS, Mailgun, Unisender Go and Vonage put the signature itself into the body; of those nothing else
//! is looked at), compares in constant time, and refuses what is too old. [`read`] gives what the request tells, one [`Told`] for each person and
//! happening, in the provider's order; a request that tells nothing (a ping, a confirmation) gives none. What a `Told` changes is up to `feedback`.
//!
//! One file a provider: `verify` where it signs, `read` always. Adding one: its file, and a line in each table below.

mod bird;
mod bounces;
mod brevo;
mod fields;
pub mod line;
mod locks;
mod mailersend;
mod mailgun;
mod mailjet;
mod mailomat;
mod mailtrap;
mod mandrill;
mod plivo;
mod postal;
mod postmark;
mod resend;
mod sendgrid;
pub mod ses;
mod signing;
mod sms_ru;
mod smsc;
mod sparkpost;
mod stored;
mod sweego;
mod told;
mod turbosms;
mod twilio;
mod unisender_go;
mod vonage;

pub use bounces::class;
pub use locks::{Door, doors};
pub use stored::{Stored, pack_told, unpack_told, unpacked};
pub use told::{Keyword, List, Told, What};

use crate::types::Time;
use chrono::TimeDelta;
use fields::Unreadable;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident $word:literal $module:ident),* $(,)?) => {
        /// Whose webhooks they are.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind { $($(#[$doc])* $name),* }
        impl Kind {
            pub const ALL: &'static [Kind] = &[$(Kind::$name),*];
            /// The word in posthaste.yaml.
            pub const fn word(self) -> &'static str { match self { $(Kind::$name => $word),* } }
            pub fn from_word(word: &str) -> Option<Kind> { match word { $($word => Some(Kind::$name),)* _ => None } }
            fn read_request(self, request: &Request<'_>) -> Result<Vec<Told>, Unreadable> { match self { $(Kind::$name => $module::read(request)),* } }
        }
    };
}

kinds! {
    /// Amazon SES, through an SNS topic.
    Ses "ses" ses,
    SendGrid "sendgrid" sendgrid,
    Mailgun "mailgun" mailgun,
    Postmark "postmark" postmark,
    SparkPost "sparkpost" sparkpost,
    Brevo "brevo" brevo,
    MailerSend "mailersend" mailersend,
    Mailjet "mailjet" mailjet,
    Mailtrap "mailtrap" mailtrap,
    /// Mailchimp Transactional.
    Mandrill "mandrill" mandrill,
    Postal "postal" postal,
    Resend "resend" resend,
    UnisenderGo "unisender-go" unisender_go,
    Mailomat "mailomat" mailomat,
    Sweego "sweego" sweego,
    Twilio "twilio" twilio,
    Vonage "vonage" vonage,
    MessageBird "messagebird" bird,
    Bird "bird" bird,
    Plivo "plivo" plivo,
    Smsc "smsc" smsc,
    SmsRu "smsru" sms_ru,
    TurboSms "turbosms" turbosms,
}

/// A request as it came, of which nothing has been read yet.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub method: &'a str,
    /// The whole public address that the provider was given and called, with its query.
    pub url: &'a str,
    /// Names in lower case.
    pub headers: &'a [(String, String)],
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// The first header of this name (in lower case).
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// What follows the question mark.
    pub fn query(&self) -> &'a str {
        self.url.split_once('?').map_or("", |(_, query)| query.split('#').next().unwrap_or_default())
    }

    fn content_type(&self) -> &'a str {
        self.header("content-type").unwrap_or_default()
    }
}

/// What a provider's requests are checked with, from posthaste.yaml.
#[derive(Clone, Default)]
pub struct Locks {
    /// Signing keys; several while they are exchanged.
    pub keys: Vec<String>,
    /// `user:password` of the Basic authentication.
    pub login: Option<String>,
    /// The last part of the address, which only the provider knows.
    pub secret: Option<String>,
    /// SNS topics that are ours.
    pub topics: Vec<String>,
}

impl std::fmt::Debug for Locks {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys = (self.keys.len(), self.login.is_some(), self.secret.is_some());
        formatter.debug_struct("Locks").field("keys, login, secret", &keys).field("topics", &self.topics).finish()
    }
}

/// Characters of a secret address at least: 128 bits as base64url or more.
pub const SHORTEST_SECRET: usize = 22;

/// Why a request is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("this address is closed: give the provider a `webhook_key` or a `webhook_secret` in posthaste.yaml")]
    Closed,
    #[error("the last part of the address is not the secret one")]
    Secret,
    #[error("the login is missing or wrong")]
    Login,
    #[error("the signature is missing: {0}")]
    Missing(&'static str),
    #[error("the signature does not fit the request")]
    Signature,
    #[error("the signature's time is missing, unreadable, or too far from now")]
    Stale,
    #[error("the topic is none of `webhook_topics`")]
    Topic,
    #[error("the certificate is not from Amazon's own host, or cannot be read")]
    Certificate,
}

impl Refused {
    /// Somebody may come with the right credentials; else nothing helps.
    pub fn is_about_login(self) -> bool {
        matches!(self, Refused::Login | Refused::Missing(_))
    }
}

/// Proves that a request comes from the provider. `secret` is the last part of the address as it was called; `certificate` the PEM text found at
/// [`ses::certificate_url`], for SES only.
///
/// Who signs needs a key. Who does not, or whose key is not set, needs a secret address; a login is asked for wherever one is set.
pub fn verify(
    kind: Kind,
    locks: &Locks,
    request: &Request<'_>,
    secret: Option<&str>,
    certificate: Option<&str>,
    now: Time,
) -> Result<(), Refused> {
    knock(locks, request, secret)?;
    if kind == Kind::Ses {
        return ses::verify(locks, request, certificate, now);
    }
    let is_secret = locks.secret.as_ref().is_some_and(|secret| secret.len() >= SHORTEST_SECRET);
    let Some(check) = signature_of(kind).filter(|_| !locks.keys.is_empty()) else {
        return is_secret.then_some(()).ok_or(Refused::Closed);
    };
    // Of several keys, the last one's reason is told; the first that fits ends it.
    let mut reason = Refused::Signature;
    for key in &locks.keys {
        match check(key, request, now) {
            Ok(()) => return Ok(()),
            Err(why) => reason = why,
        }
    }
    Err(reason)
}

/// What can be asked before the body is read: the secret address and the login, where they are set. The body of `request` is not looked at.
pub fn knock(locks: &Locks, request: &Request<'_>, secret: Option<&str>) -> Result<(), Refused> {
    if let Some(known) = &locks.secret {
        signing::equal(known.as_bytes(), secret.unwrap_or_default().as_bytes()).then_some(()).ok_or(Refused::Secret)?;
    }
    match &locks.login {
        Some(login) => signing::basic(login, request),
        None => Ok(()),
    }
}

type Check = fn(&str, &Request<'_>, Time) -> Result<(), Refused>;

/// Who signs, and how; SES does, too, in its own way.
fn signature_of(kind: Kind) -> Option<Check> {
    Some(match kind {
        Kind::SendGrid => sendgrid::verify,
        Kind::Mailgun => mailgun::verify,
        Kind::MailerSend => mailersend::verify,
        Kind::Mailtrap => mailtrap::verify,
        Kind::Mandrill => mandrill::verify,
        Kind::Postal => postal::verify,
        Kind::Resend => resend::verify,
        Kind::UnisenderGo => unisender_go::verify,
        Kind::Mailomat => mailomat::verify,
        Kind::Sweego => sweego::verify,
        Kind::Twilio => twilio::verify,
        Kind::Vonage => vonage::verify,
        Kind::MessageBird => bird::verify_message_bird,
        Kind::Bird => bird::verify,
        Kind::Plivo => plivo::verify,
        Kind::TurboSms => turbosms::verify,
        Kind::Ses | Kind::Postmark | Kind::SparkPost | Kind::Brevo | Kind::Mailjet | Kind::Smsc | Kind::SmsRu => return None,
    })
}

/// True for those who sign their requests.
pub fn signs(kind: Kind) -> bool {
    kind == Kind::Ses || signature_of(kind).is_some()
}

/// What a request tells. The error is for the log and for who looks at what could not be read.
pub fn read(kind: Kind, request: &Request<'_>) -> Result<Vec<Told>, String> {
    let mut told = kind.read_request(request).map_err(|why| why.to_string())?;
    // Some hand nothing back but the address that they were given.
    let query = fields::pairs(request.query().as_bytes());
    if let (Some(reference), [only]) = (fields::owned(&query, REFERENCE), told.as_mut_slice()) {
        only.echoes.push(reference);
    }
    Ok(told.into_iter().map(Told::storable).collect())
}

/// The parameter of a callback's address that holds a message's reference.
const REFERENCE: &str = "posthaste_message";

/// Bytes that are the same when the provider sends the same request again, and differ otherwise: what it is stored once under.
pub fn dedupe(kind: Kind, request: &Request<'_>) -> Vec<u8> {
    let own = match kind {
        Kind::Ses => ses::message_id(request),
        Kind::Mailgun => mailgun::token(request),
        Kind::Resend => request.header("svix-id").or(request.header("webhook-id")).map(str::to_string),
        Kind::Mailomat => request.header("x-mom-webhook-id").map(str::to_string),
        Kind::Sweego => request.header("webhook-id").map(str::to_string),
        _ => None,
    };
    match own {
        Some(own) => own.into_bytes(),
        // Providers send the same bytes again; where a method changes, the query is all there is.
        None => signing::sha256(&[request.query().as_bytes(), b"\n", request.body]).to_vec(),
    }
}

/// What the provider wants to read as the answer to a request that was taken.
pub fn answer(kind: Kind) -> &'static str {
    match kind {
        // It counts a request as delivered only when the answer begins with this.
        Kind::SmsRu => "100",
        // Anything else but an empty TwiML would be sent to the person as a reply.
        Kind::Twilio => "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response/>",
        _ => "ok",
    }
}

/// How far a provider's clock may be off.
const SKEW: TimeDelta = TimeDelta::minutes(5);
/// For those whose repetitions keep the first one's time.
const A_DAY: TimeDelta = TimeDelta::hours(25);

#[cfg(test)]
mod tests;
