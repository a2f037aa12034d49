//! What the files mean once checked: every name in here exists, every unit is read.
//!
//! The shapes follow files.md §2–3. What is read but not built yet never gets this far: it is a problem of the file.

pub use super::coupons::{Coupon, Supply};
pub use super::policy::{
    Approval, CapRule, CapWindow, ConsentNeed, ConsentRule, IfReached, LONGEST_CAP_DAYS, MOST_CAPS, Narrowed, Policy, QuietDay, QuietRule,
    StopIf,
};
pub use super::timing::{Feb29, IfPast, Missed, MissedRun, Overlap, OwnDay, Schedule, Window};
pub use super::warm_up::{Ramp, WarmUp};
use crate::literals::{Duration, Money, Rate, Share, ValueType, Words};
pub use crate::segments::Catalog;
use crate::segments::Condition;
use crate::types::{Channel, Class, Time};
use chrono::{NaiveDate, NaiveDateTime};
use chrono_tz::Tz;
use std::collections::{BTreeMap, BTreeSet};

/// posthaste.yaml, checked.
#[derive(Debug, Clone)]
pub struct Workspace {
    pub key: String,
    /// Without a slash at the end.
    pub public_url: String,
    pub link_hosts: BTreeSet<String>,
    /// As written; `${NAME}` is resolved by `config`.
    pub database: Option<String>,
    /// What chance is drawn from; the workspace's key where none is written.
    pub seed: String,
    pub zone: Tz,
    pub country: Option<String>,
    pub languages: Vec<String>,
    pub fallback: BTreeMap<String, String>,
    pub currency: String,
    /// Currency → price of one unit in the workspace's currency.
    pub rates: BTreeMap<String, f64>,
    /// `None`: all names are allowed.
    pub attributes: Option<BTreeMap<String, ValueType>>,
    pub events: Option<BTreeMap<String, BTreeMap<String, ValueType>>>,
    pub catalogs: BTreeMap<String, Catalog>,
    pub coupons: BTreeMap<String, Coupon>,
    pub topics: BTreeMap<String, Topic>,
    pub forms: BTreeMap<String, Form>,
    pub identities: BTreeMap<String, Identity>,
    pub domains: BTreeMap<String, Domain>,
    pub inbound: Option<Inbound>,
    pub providers: BTreeMap<String, ProviderSettings>,
    /// By the provider's name.
    pub webhooks: BTreeMap<String, WebhookSettings>,
    /// By the provider's name.
    pub keyword_replies: BTreeMap<String, KeywordReplies>,
    pub policy: Policy,
    pub categories: BTreeSet<String>,
    pub retention: Retention,
}

impl Workspace {
    /// The domain that an identity sends email from, and its warm-up, when it has one.
    pub fn warm_up_of(&self, identity: &str) -> Option<(&str, &WarmUp)> {
        let address = &self.identities.get(identity)?.email.as_ref()?.address;
        let (domain, settings) = self.domains.get_key_value(&address.rsplit_once('@')?.1.to_lowercase())?;
        Some((domain, settings.warm_up.as_ref()?))
    }

    /// The language itself, its declared fallback (and that one's …), then the workspace's languages in order.
    pub fn language_chain(&self, language: Option<&str>) -> Vec<String> {
        let mut chain: Vec<String> = Vec::new();
        let mut next = language.map(str::to_string);
        while let Some(language) = next.filter(|language| !chain.contains(language)) {
            next = self.fallback.get(&language).cloned();
            chain.push(language);
        }
        for language in &self.languages {
            if !chain.contains(language) {
                chain.push(language.clone())
            }
        }
        chain
    }
}

/// How long history is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// `None`: for ever.
    pub events: Option<Duration>,
    /// Snapshots of what messages said.
    pub content: Duration,
}

#[derive(Debug, Clone)]
pub struct Topic {
    pub title: Words,
    pub channels: Vec<Channel>,
    pub from: Option<String>,
    pub confirm: bool,
}

/// How people sign up.
#[derive(Debug, Clone)]
pub struct Form {
    pub title: Words,
    pub intro: Option<Words>,
    pub topics: Vec<String>,
    /// Channels whose address is asked for; the first must be given.
    pub asks: Vec<Channel>,
    /// In the order of the file; nobody must fill them in.
    pub fields: Vec<FormField>,
    /// What people agree to, word for word.
    pub consent: Words,
    /// On a host of ours; our own page where there is none.
    pub thanks: Option<String>,
    /// Hosts, in lower case, whose pages may hold the form; besides our own.
    pub sites: BTreeSet<String>,
    pub remind: Option<Duration>,
    /// Posts of everybody together.
    pub rate: Rate,
}

/// A field of a form besides the addresses.
#[derive(Debug, Clone)]
pub struct FormField {
    /// An own field or attribute.
    pub name: String,
    pub label: Words,
    pub kind: ValueType,
}

/// Who we send as.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    pub postal_address: Option<Words>,
    pub email: Option<EmailIdentity>,
    /// Sender by country; the key `other` for the rest.
    pub sms: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone)]
pub struct EmailIdentity {
    pub name: Words,
    pub address: String,
    pub reply_to: Option<String>,
}

/// A sending domain.
#[derive(Debug, Clone, Default)]
pub struct Domain {
    pub bounces: Option<String>,
    pub dkim: Option<Dkim>,
    pub warm_up: Option<WarmUp>,
}

/// How mail that comes back reaches us. Texts may hold `${NAME}`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inbound {
    pub listen: Option<String>,
    /// LMTP instead of SMTP.
    pub lmtp: bool,
    pub hello: String,
    /// Files with certificate and key for STARTTLS, as written.
    pub tls: Option<(String, String)>,
    /// Besides those of `bounces`; in lower case.
    pub domains: BTreeSet<String>,
    pub mailbox: Option<Mailbox>,
    pub forward_replies_to: Option<String>,
}

/// A mailbox that is read by IMAP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    pub host: String,
    pub port: Option<u16>,
    pub user: String,
    pub password: String,
    pub folder: String,
    /// `None`: unless the host is this machine.
    pub tls: Option<bool>,
}

/// Keys as written (`${NAME}`), resolved when a provider opens.
#[derive(Debug, Clone, Default)]
pub struct Dkim {
    pub selector: String,
    pub key: Option<String>,
    pub ed25519: Option<String>,
}

/// A provider as written. Values of `settings` may hold `${NAME}`; they are resolved when the provider opens, and never stored or printed.
#[derive(Debug, Clone)]
pub struct ProviderSettings {
    pub channel: Channel,
    /// smtp, twilio, http, catcher
    pub kind: String,
    pub rate: Option<Rate>,
    /// Price of a message or an SMS part by country; key `other` for the rest.
    pub price: BTreeMap<String, Money>,
    pub countries: Option<BTreeSet<String>>,
    pub weight: u32,
    pub backup: bool,
    /// The kind's own keys, checked by its table: text, number and nested values as JSON.
    pub settings: serde_json::Map<String, serde_json::Value>,
}

/// What is sent back to words like STOP and HELP.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeywordReplies {
    pub stop: Option<Words>,
    pub help: Option<Words>,
}

/// How a provider's webhooks are checked, as written; values may hold `${NAME}`.
#[derive(Debug, Clone, Default)]
pub struct WebhookSettings {
    /// Whose form they have.
    pub of: String,
    pub keys: Vec<String>,
    pub secret: Option<String>,
    pub login: Option<String>,
    pub topics: Vec<String>,
}

/// campaigns/KEY.yaml, checked.
#[derive(Debug, Clone)]
pub struct Campaign {
    pub key: String,
    pub title: Words,
    pub owner: String,
    pub class: Class,
    pub topic: Option<String>,
    pub category: Option<String>,
    pub task: Option<String>,
    pub goal: Option<Measure>,
    /// Besides the goal.
    pub measures: Vec<Measure>,
    pub priority: u8,
    pub tags: Vec<String>,
    pub draft: bool,
    pub schedule: Schedule,
    pub audience: Audience,
    pub message: Message,
    pub arms: Arms,
    /// At most so many people get a message in a run; who is over is refused `over_audience`.
    pub limit_audience: Option<u64>,
    /// So much a run may cost (a day, with `when`), by the providers' prices; who is over is refused `over_cost`.
    pub limit_cost: Option<Money>,
    /// The campaign's own pace, over all machines.
    pub limit_rate: Option<Rate>,
    pub stop_if: StopIf,
    pub re_entry: ReEntry,
    pub if_inside: IfInside,
    pub tests: Vec<Test>,
    /// Paths of all files this campaign is made of: itself, segments, templates, partials, locales; posthaste.yaml too.
    pub reaches: BTreeSet<String>,
}

/// An event that counts for a campaign. `number` 0 is the goal, then `measures` from 1.
#[derive(Debug, Clone)]
pub struct Measure {
    pub number: i16,
    pub event: String,
    /// Property → required value (condition on the properties), as a condition over the event at hand.
    pub condition: Option<crate::segments::PropertyTests>,
    /// The property with the money.
    pub value: Option<String>,
    pub within: Duration,
}

/// Who.
#[derive(Debug, Clone)]
pub struct Audience {
    pub segment: Option<String>,
    pub condition: Option<Condition>,
    pub except: Vec<Condition>,
    pub recheck: bool,
    pub holdout: Holdout,
    pub order: Order,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Holdout {
    Share(Share),
    Attribute { path: String, value: String },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    Random,
    MostEngaged,
    Highest(String),
    Lowest(String),
}

/// What, and by which channel.
#[derive(Debug, Clone)]
pub struct Message {
    pub channel: Channel,
    /// Key of the identity; resolved from the topic when the file names none.
    pub from: String,
    pub body: MessageBody,
    pub subject: Words,
    pub preheader: Words,
    pub reply_to: Option<String>,
    /// Data for the template; words by language inside are `{"": …}`-free JSON objects marked by `content_words`.
    pub content: BTreeMap<String, Content>,
    /// From which coupon a code is drawn.
    pub coupon: Option<String>,
    pub expires: Expires,
    pub if_uncertain: IfUncertain,
    pub track: Track,
    /// Taken when this one is refused for no_address, unsupported_address, suppressed or no_consent.
    pub otherwise: Option<Box<Message>>,
}

/// A value of `content`.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    Value(serde_json::Value),
    Words(Words),
    List(Vec<Content>),
    Map(BTreeMap<String, Content>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageBody {
    /// `templates/NAME…`
    Template(String),
    /// Short words in place, for SMS.
    Text(Words),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expires {
    After(Duration),
    At(NaiveDateTime),
    AtInstant(Time),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfUncertain {
    Hold,
    Resend,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Track {
    pub opens: bool,
    pub clicks: bool,
    pub utm: bool,
}

/// The arms of the experiment.
#[derive(Debug, Clone)]
pub enum Arms {
    /// No variants: one arm, named `all`.
    Single,
    /// Each with its share and what it changes of the message.
    Variants(Vec<Variant>),
    /// The attribute whose values are the names.
    FromAttribute(String),
}

#[derive(Debug, Clone)]
pub struct Variant {
    pub name: String,
    pub weight: Share,
    pub message: Message,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReEntry {
    Always,
    Never,
    After(Duration),
}

/// Chosen again by a trigger while a message of the campaign waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfInside {
    Ignore,
    /// The waiting message is cancelled for the newest event's.
    Restart,
    /// One for each event.
    Separate,
}

/// A `tests:` entry, read and checked; run by `posthaste test` on a virtual clock.
#[derive(Debug, Clone)]
pub struct Test {
    pub name: String,
    pub span: crate::diagnostics::Span,
    pub at: NaiveDateTime,
    /// `at` when it was written with an offset.
    pub at_instant: Option<Time>,
    pub run_for: Option<Duration>,
    /// Rows as an import would give them: column → value (JSON); nested `consent` and `suppressed` kept.
    pub people: Vec<serde_json::Map<String, serde_json::Value>>,
    pub events: Vec<serde_json::Map<String, serde_json::Value>>,
    /// Catalog → rows.
    pub catalogs: BTreeMap<String, Vec<serde_json::Map<String, serde_json::Value>>>,
    /// External id → arm.
    pub arms: BTreeMap<String, String>,
    pub expect: Expect,
}

#[derive(Debug, Clone, Default)]
pub struct Expect {
    /// `selected`, and any word of the funnel → count.
    pub counts: BTreeMap<String, u64>,
    /// Refusal word → count.
    pub refused: BTreeMap<String, u64>,
    /// For segments: external ids.
    pub members: Option<Vec<String>>,
    /// External id → refusal word.
    pub not_to: BTreeMap<String, String>,
    /// External id, email or phone → what the message must be; a list where several are due.
    pub to: BTreeMap<String, Vec<ExpectMessage>>,
}

#[derive(Debug, Clone, Default)]
pub struct ExpectMessage {
    pub channel: Option<Channel>,
    pub variant: Option<String>,
    pub language: Option<String>,
    pub at: Option<Time>,
    pub at_local: Option<NaiveDateTime>,
    pub subject: Option<String>,
    pub preheader: Option<String>,
    pub contains: Vec<String>,
    pub lacks: Vec<String>,
    pub parts: Option<u16>,
}

/// campaigns/segments/KEY.yaml, checked.
#[derive(Debug, Clone)]
pub struct Segment {
    pub key: String,
    pub title: Words,
    pub condition: Condition,
    pub tests: Vec<Test>,
    pub reaches: BTreeSet<String>,
}

/// Dates of a blackout or holiday list.
pub type Dates = BTreeSet<NaiveDate>;

impl Campaign {
    /// The message, those of the variants, and what is sent otherwise.
    pub fn messages(&self) -> impl Iterator<Item = &Message> {
        let variants = match &self.arms {
            Arms::Variants(variants) => variants.as_slice(),
            Arms::Single | Arms::FromAttribute(_) => &[],
        };
        let all = std::iter::once(&self.message).chain(variants.iter().map(|variant| &variant.message));
        all.flat_map(|message| std::iter::once(message).chain(message.otherwise.as_deref()))
    }
}

impl Message {
    /// The name of its template; `None` when its words stand in place.
    pub fn template(&self) -> Option<&str> {
        match &self.body {
            MessageBody::Template(name) => Some(name),
            MessageBody::Text(_) => None,
        }
    }
}
