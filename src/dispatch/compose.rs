//! One due message of one customer → what leaves: the template filled, marked up, and built into a MIME message or an SMS.
//!
//! Pure for a given message: the same customer, version and date give the same bytes, so a second attempt is the same message.

use super::rate::Rate;
use super::references::{KEY, mark};
use super::signing::Unsigned;
use crate::campaigns::{Campaign, Content, Coupon, Definitions, Message, MessageBody, Supply, Workspace};
use crate::literals::zone_of;
use crate::plan::{ArmNames, campaign_of, country_of_phone, message_of, messages};
use crate::providers::email::dkim::Signer;
use crate::providers::email::known::KnownLines;
use crate::providers::email::mime::{self, Letter, ListUnsubscribe, Mailbox};
use crate::providers::{Body, Outgoing};
use crate::segments::Samples;
use crate::store::blocks::{Due, Person};
use crate::store::from_micros;
use crate::store::runs::Run;
use crate::store::warm_up::BEYOND;
use crate::templates::{self, Links, MessageTemplate, Reader, Source};
use crate::tracking::{Form, Kind, MarkUp, Signed, Tokens, Utm, mark_up};
use crate::types::{CampaignId, Channel, Class, Failure, MessageId, Refusal, RunId, RunState, Time, VersionId};
use aws_lc_rs::hmac;
use chrono_tz::Tz;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// So few values become no smaller by compressing, and it takes longer than all the rest of a snapshot.
const NOT_COMPRESSED: usize = 160;
/// A snapshot larger than this is not kept.
const LARGEST_SNAPSHOT: usize = 1024;

/// Days for which what comes back to the return path counts: relays give up after at most a week, complaints come for months.
const BOUNCE_DAYS: i64 = 120;
/// Days for which a letter may be left by mail.
const LEAVE_DAYS: i64 = 730;

/// Why a message cannot leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsendable {
    Refused(Refusal, String),
    Failed(Failure, String),
}

/// What leaves, and what is kept of it.
#[derive(Debug, Clone)]
pub struct Composed {
    pub outgoing: Outgoing,
    /// Compressed variables that the template read.
    pub snapshot: Option<Vec<u8>>,
    pub language: String,
    /// A letter whose signature takes long, and is made by others.
    pub unsigned: Option<Unsigned>,
}

/// What all messages of a run share.
pub struct Sending {
    pub run: Run,
    pub compiled: Arc<Compiled>,
    /// Arm → name.
    pub arms: BTreeMap<i16, String>,
    /// Who is drawn into the samples that the audience's conditions ask for.
    pub samples: Samples,
    /// The campaign's own pace.
    pub rate: Option<Arc<Rate>>,
    /// Its messages count for caps.
    pub is_reserved: bool,
}

impl Sending {
    /// For looking at a campaign's messages without a run: its next one would be number 1, due at `due`.
    pub fn alone(definitions: Arc<Definitions>, key: &str, due: Time) -> Self {
        let arms = definitions.campaigns.get(key).map(|campaign| ArmNames::of(campaign).rows()).unwrap_or_default();
        let run = Run {
            id: RunId(0),
            campaign: CampaignId(0),
            key: key.to_string(),
            number: 1,
            version: VersionId(0),
            occurrence: String::new(),
            is_test: true,
            due_at: due,
            state: RunState::Planning,
            planned_at: None,
            finished_at: None,
            left_out: None,
            held_why: None,
            is_held: false,
            approval: None,
            cost: 0,
        };
        let arms = arms.into_iter().map(|arm| (arm.arm, arm.name)).collect();
        let compiled = Arc::new(Compiled::new(definitions, key, VersionId(0)));
        Sending { run, compiled, arms, samples: Samples::default(), rate: None, is_reserved: false }
    }
}

/// Makes messages; a trait so that tests may look at what is handed over without a template.
pub trait Composer: Send + Sync {
    /// `date` stays the same over all attempts.
    fn compose(&self, sending: &Sending, due: &Due, date: Time) -> Result<Composed, Unsendable>;
    /// A number that only we can say of this message: what its coupon's code is made of at the nth try.
    fn secret(&self, message: i64, nth: u32) -> u128;
    /// Whether it reads more of the people than where they live and their language.
    fn reads_people(&self, _sending: &Sending) -> bool {
        true
    }
}

/// The templates of one version, compiled for every language of the workspace.
pub struct Compiled {
    pub definitions: Arc<Definitions>,
    pub key: String,
    pub version: VersionId,
    /// By the message's place in `plan::messages` and language.
    templates: HashMap<(usize, String), Result<MessageTemplate, String>>,
    contents: HashMap<(usize, String), Value>,
    /// Of text and HTML.
    known: HashMap<(usize, String), [KnownLines; 2]>,
    pub links: Links,
    targets: Vec<String>,
}

impl Compiled {
    /// Compiles in the one order that gives links their numbers: messages as `plan::messages` lists them, each in the workspace's languages.
    pub fn new(definitions: Arc<Definitions>, key: &str, version: VersionId) -> Self {
        let (mut templates, mut contents, mut known, mut links) = (HashMap::new(), HashMap::new(), HashMap::new(), Links::new());
        if let Some(campaign) = definitions.campaigns.get(key) {
            for (index, message) in messages(campaign).into_iter().enumerate() {
                for language in &definitions.workspace.languages {
                    let chain = definitions.workspace.language_chain(Some(language));
                    let source = Source {
                        channel: message.channel,
                        body: match &message.body {
                            MessageBody::Template(name) => templates::Body::Template(name),
                            MessageBody::Text(words) => templates::Body::Text(words),
                        },
                        subject: &message.subject,
                        preheader: &message.preheader,
                    };
                    let track = templates::Track { opens: message.track.opens, clicks: message.track.clicks };
                    let compiled = MessageTemplate::compile(&definitions.templates, &source, &chain, track, &mut links)
                        .map_err(|faults| faults.first().map_or_else(String::new, |fault| fault.problem.title.clone()));
                    if message.channel == Channel::Email
                        && let Ok(compiled) = &compiled
                    {
                        let (text, html) = compiled.fixed_lines();
                        let lines = [text, html].map(|lines| KnownLines::new(lines.iter().map(String::as_str)));
                        known.insert((index, language.clone()), lines);
                    }
                    templates.insert((index, language.clone()), compiled);
                    let content: Map<String, Value> =
                        message.content.iter().map(|(name, content)| (name.clone(), value_of(content, &chain))).collect();
                    contents.insert((index, language.clone()), Value::Object(content));
                }
            }
        }
        let targets = links.iter().map(|link| link.target.clone()).collect();
        Compiled { definitions, key: key.to_string(), version, templates, contents, known, links, targets }
    }

    /// Whether the message of this arm and channel renders for everybody, in every language, when it renders for one.
    pub fn renders_for_all(&self, arm: i16, channel: Channel) -> bool {
        let Some(campaign) = self.campaign() else { return false };
        let message = message_of(campaign, arm, channel);
        let place = messages(campaign).iter().position(|known| std::ptr::eq(*known, message)).unwrap_or(0);
        let mut languages = self.templates.iter().filter(|((one, _), _)| *one == place);
        languages.all(|(_, template)| template.as_ref().is_ok_and(MessageTemplate::renders_for_all))
    }

    /// Whether some message of the campaign reads a value under this name.
    pub fn reads(&self, root: &str) -> bool {
        self.templates.values().any(|template| template.as_ref().is_ok_and(|template| template.reads(root)))
    }

    /// Whether every message of the campaign is an email that renders for everybody when it renders for one.
    pub fn all_render_for_all(&self) -> bool {
        let Some(campaign) = self.campaign() else { return false };
        messages(campaign).iter().all(|message| message.channel == Channel::Email)
            && self.templates.values().all(|template| template.as_ref().is_ok_and(MessageTemplate::renders_for_all))
    }

    pub fn campaign(&self) -> Option<&Campaign> {
        campaign_of(&self.definitions, &self.key).ok()
    }
}

fn value_of(content: &Content, chain: &[String]) -> Value {
    match content {
        Content::Value(value) => value.clone(),
        Content::Words(words) => Value::String(words.pick(chain).to_string()),
        Content::List(items) => Value::Array(items.iter().map(|item| value_of(item, chain)).collect()),
        Content::Map(entries) => Value::Object(entries.iter().map(|(key, item)| (key.clone(), value_of(item, chain))).collect()),
    }
}

/// Who we are towards receivers: keys for tokens, Message-IDs and signatures.
pub struct Identity {
    pub tokens: Tokens,
    key: hmac::Key,
    signers: BTreeMap<String, Arc<Signer>>,
}

impl Identity {
    /// `secret` keys Message-IDs and boundaries; `signers` go by sending domain.
    pub fn new(tokens: Tokens, secret: &str, signers: BTreeMap<String, Signer>) -> Self {
        let signers = signers.into_iter().map(|(domain, signer)| (domain, Arc::new(signer))).collect();
        Identity { tokens, key: hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), signers }
    }

    /// 32 letters and digits that only we can say of this message.
    fn mark(&self, purpose: &str, message: i64) -> String {
        mark(&self.key, purpose, message)
    }
}

/// A message as its reader sees it, marked up, and what it was filled with.
#[derive(Debug, Clone)]
pub struct Filled {
    pub subject: String,
    pub preheader: String,
    pub html: Option<String>,
    pub text: String,
    pub language: String,
    /// The message of the campaign's file.
    place: usize,
    attributes: Map<String, Value>,
    unsubscribe_url: String,
}

impl Composer for Identity {
    fn secret(&self, message: i64, nth: u32) -> u128 {
        let tag = hmac::sign(&self.key, format!("coupon\0{message}\0{nth}").as_bytes());
        tag.as_ref().iter().take(16).fold(0, |number, byte| (number << 8) | u128::from(*byte))
    }

    fn compose(&self, sending: &Sending, due: &Due, date: Time) -> Result<Composed, Unsendable> {
        let filled = self.fill(sending, due, date)?;
        let workspace = &sending.compiled.definitions.workspace;
        let broken = |why: &str| Unsendable::Failed(Failure::Render, why.to_string());
        let campaign = sending.compiled.campaign().ok_or_else(|| broken("the version does not hold the campaign"))?;
        let message = message_of(campaign, due.arm, due.channel);
        let (body, unsigned) = match due.channel {
            Channel::Email => self.email(sending, campaign, message, due, &filled, date)?,
            Channel::Webhook => (webhook(sending, campaign, due, &filled, date), None),
            Channel::Sms => (sms(workspace, message, filled.text.clone(), due.address.clone().unwrap_or_default())?, None),
            other => return Err(broken(&format!("nothing sends {other} yet"))),
        };
        let snapshot = match sending.compiled.templates.get(&(filled.place, filled.language.clone())) {
            Some(Ok(template)) => snapshot(template, &filled.attributes),
            _ => None,
        };
        Ok(Composed {
            outgoing: Outgoing { message: MessageId(due.id), body, key: self.mark(KEY, due.id) },
            snapshot,
            language: filled.language,
            unsigned,
        })
    }
}

impl Identity {
    /// Fills the template and marks it up; message 0 is nobody's, and nothing of it is counted.
    pub fn fill(&self, sending: &Sending, due: &Due, date: Time) -> Result<Filled, Unsendable> {
        let compiled = &sending.compiled;
        let workspace = &compiled.definitions.workspace;
        let broken = |why: &str| Unsendable::Failed(Failure::Render, why.to_string());
        let campaign = compiled.campaign().ok_or_else(|| broken("the version does not hold the campaign"))?;
        let message = message_of(campaign, due.arm, due.channel);
        let place = messages(campaign).iter().position(|known| std::ptr::eq(*known, message)).unwrap_or(0);
        let chain = workspace.language_chain(due.person.language.as_deref());
        let language = chain.iter().find(|language| workspace.languages.contains(language)).cloned().unwrap_or_default();
        let template = match compiled.templates.get(&(place, language.clone())) {
            Some(Ok(template)) => template,
            Some(Err(why)) => return Err(broken(why)),
            None => return Err(broken("the template is missing")),
        };
        let zone = zone_of_person(&due.person).unwrap_or(campaign.schedule.zone);
        let urls = Urls { tokens: &self.tokens, public_url: &workspace.public_url, message: MessageId(due.id) };
        let mut attributes = root(&due.person, template)?;
        if let Some(coupon) = message.coupon.as_ref().and_then(|coupon| workspace.coupons.get(coupon)) {
            // What is rendered again for a browser finds it among what was kept.
            attributes.entry("coupon").or_insert_with(|| coupon_of(coupon, due, date, zone));
        }
        if let Some((properties, at)) = &due.event {
            // Among what a snapshot keeps, so that the message can be seen again.
            let mut event: Map<String, Value> = serde_json::from_str(properties).unwrap_or_default();
            event.insert("at".into(), Value::String(from_micros(*at).to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)));
            attributes.insert("event".into(), Value::Object(event));
        }
        let mut data = attributes.clone();
        if template.reads("content") {
            data.insert("content".into(), compiled.contents.get(&(place, language.clone())).cloned().unwrap_or_default());
        }
        let unsubscribe_url = urls.signed("u", Kind::Unsubscribe);
        if template.reads("unsubscribe_url") {
            data.insert("unsubscribe_url".into(), Value::String(unsubscribe_url.clone()));
        }
        add_context(&mut data, template, sending, campaign, message, due, &urls);
        let reader = Reader { language: &language, zone, currency: &workspace.currency, now: date, rows: None };
        let rendered = template.render(&Value::Object(data), &reader).map_err(|error| match (error.refusal(), error.failure()) {
            (Some(refusal), _) => Unsendable::Refused(refusal, error.to_string()),
            (None, failure) => Unsendable::Failed(failure.unwrap_or(Failure::Render), error.to_string()),
        })?;
        let with = MarkUp {
            tokens: &self.tokens,
            public_url: &workspace.public_url,
            message: MessageId(due.id),
            version: compiled.version,
            channel: due.channel,
            targets: &compiled.targets,
            clicks: message.track.clicks,
            opens: message.track.opens,
            utm: message.track.utm.then_some(Utm { source: &workspace.key, medium: due.channel.word(), campaign: &campaign.key }),
        };
        let mut signed = Signed::default();
        let text = mark_up(&rendered.text, Form::Text, &with, &mut signed);
        let html = rendered.html.as_deref().map(|html| mark_up(html, Form::Html, &with, &mut signed));
        Ok(Filled { subject: rendered.subject, preheader: rendered.preheader, html, text, language, place, attributes, unsubscribe_url })
    }
}

impl Identity {
    fn email(
        &self,
        sending: &Sending,
        campaign: &Campaign,
        message: &Message,
        due: &Due,
        filled: &Filled,
        date: Time,
    ) -> Result<(Body, Option<Unsigned>), Unsendable> {
        let workspace = &sending.compiled.definitions.workspace;
        let chain = workspace.language_chain(Some(&filled.language));
        let to = due.address.clone().unwrap_or_default();
        let failed = |failure, why: String| Unsendable::Failed(failure, why);
        let from = sender(workspace, message, due);
        let identity = workspace
            .identities
            .get(from)
            .and_then(|identity| identity.email.as_ref())
            .ok_or_else(|| failed(Failure::Policy, format!("the identity `{from}` has no email address")))?;
        let domain = identity.address.rsplit('@').next().unwrap_or_default();
        // What answers names it (`inbound` reads it); the same at every attempt.
        let message_id = format!("{}@{domain}", self.tokens.sign_address(Kind::Letter, MessageId(due.id), date, None));
        let bounces = workspace.domains.get(domain).and_then(|domain| domain.bounces.as_deref());
        let leave = bounces.map(|bounces| {
            format!("mailto:u-{}@{bounces}", self.tokens.sign_address(Kind::Leave, MessageId(due.id), date, Some(LEAVE_DAYS)))
        });
        let topic = campaign.topic.as_deref().and_then(|key| Some((key, workspace.topics.get(key)?)));
        let list_id = topic.map(|(key, topic)| (topic.title.pick(&chain).to_string(), format!("{key}.{domain}")));
        let feedback_id =
            format!("{}-{}:{}:email:{}", campaign.key, sending.run.number, campaign.topic.as_deref().unwrap_or("none"), workspace.key);
        let listed = campaign.class != Class::Transactional;
        let known = sending.compiled.known.get(&(filled.place, filled.language.clone()));
        let letter = Letter {
            class: campaign.class,
            from: Mailbox { name: identity.name.pick(&chain), address: &identity.address },
            to: Mailbox { name: "", address: &to },
            reply_to: message.reply_to.as_deref().or(identity.reply_to.as_deref()),
            subject: &filled.subject,
            text: &filled.text,
            html: filled.html.as_deref(),
            known_text: known.map(|[text, _]| text),
            known_html: known.map(|[_, html]| html),
            date,
            message_id: &message_id,
            boundary: &self.mark("boundary", due.id),
            list_unsubscribe: listed.then_some(ListUnsubscribe { https: &filled.unsubscribe_url, mailto: leave.as_deref() }),
            list_id: list_id.as_ref().filter(|_| listed).map(|(name, id)| (name.as_str(), id.as_str())),
            feedback_id: listed.then_some(feedback_id.as_str()),
            auto_submitted: campaign.class == Class::Transactional,
            headers: &[],
        };
        let mut mime = mime::build(&letter).map_err(|error| failed(Failure::UnsafeValue, error.to_string()))?;
        let signer = self.signers.get(domain);
        let unsigned = signer.filter(|signer| signer.is_slow()).map(|signer| Unsigned { signer: signer.clone(), date });
        if let Some(signer) = signer.filter(|_| unsigned.is_none()) {
            signer.sign(&mut mime, date).map_err(|error| failed(Failure::Policy, error.to_string()))?;
        }
        let from = bounces.map_or_else(
            || identity.address.clone(),
            |bounces| format!("b-{}@{bounces}", self.tokens.sign_address(Kind::Bounce, MessageId(due.id), date, Some(BOUNCE_DAYS))),
        );
        Ok((Body::Email { from, to, mime }, unsigned))
    }
}

/// The identity that sends it: the message's own, or that for what a warm-up has no room for.
fn sender<'a>(workspace: &'a Workspace, message: &'a Message, due: &Due) -> &'a str {
    let beyond = workspace.warm_up_of(&message.from).and_then(|(_, warm_up)| warm_up.beyond.as_deref());
    beyond.filter(|_| due.warm_up_day == Some(BEYOND)).unwrap_or(&message.from)
}

fn sms(workspace: &Workspace, message: &Message, text: String, to: String) -> Result<Body, Unsendable> {
    let senders = workspace.identities.get(&message.from).and_then(|identity| identity.sms.as_ref());
    let country = country_of_phone(&to);
    let sender = senders.and_then(|senders| country.and_then(|country| senders.get(&country)).or_else(|| senders.get("other")));
    let Some(sender) = sender else {
        return Err(Unsendable::Refused(
            Refusal::UnsupportedAddress,
            format!("the identity `{}` has no sender for this number", message.from),
        ));
    };
    let parts = u16::try_from(templates::sms::parts(&text).parts).unwrap_or(u16::MAX);
    Ok(Body::Sms { sender: sender.clone(), to, text, parts, lasts: None })
}

/// What a system is told of one customer; the same over all attempts.
fn webhook(sending: &Sending, campaign: &Campaign, due: &Due, filled: &Filled, date: Time) -> Body {
    let mut data = serde_json::json!({
        "message": due.id,
        "campaign": campaign.key,
        "run": sending.run.number,
        "test": sending.run.is_test,
        "variant": sending.arms.get(&due.arm),
        "class": campaign.class,
        "topic": campaign.topic,
        "customer": { "id": due.customer, "external_id": due.person.external_id, "language": filled.language },
        "text": filled.text,
        "content": sending.compiled.contents.get(&(filled.place, filled.language.clone())),
    });
    if let (Some(fields), Some(event)) = (data.as_object_mut(), filled.attributes.get("event")) {
        fields.insert("event".into(), event.clone());
    }
    if let (Some(fields), Some(code)) = (data.as_object_mut(), &due.code) {
        fields.insert("coupon".into(), Value::String(code.clone()));
    }
    let timestamp = date.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
    let json = serde_json::json!({ "type": "message", "timestamp": timestamp, "data": data }).to_string();
    Body::Webhook { to: due.address.clone().unwrap_or_default(), json }
}

/// Addresses that lead back to us.
struct Urls<'a> {
    tokens: &'a Tokens,
    public_url: &'a str,
    message: MessageId,
}

impl Urls<'_> {
    fn signed(&self, path: &str, kind: Kind) -> String {
        format!("{}/{path}/{}", self.public_url, self.tokens.sign(kind, self.message))
    }
}

/// The customer's attributes and own fields, as far as the template reads them.
fn root(person: &Person, template: &MessageTemplate) -> Result<Map<String, Value>, Unsendable> {
    let mut json = serde_json::Deserializer::from_str(&person.attributes);
    let mut data = Only(template)
        .deserialize(&mut json)
        .and_then(|data| json.end().map(|()| data))
        .map_err(|_| Unsendable::Failed(Failure::Render, "the customer's attributes cannot be read".to_string()))?;
    let own = [
        ("external_id", &person.external_id),
        ("first_name", &person.first_name),
        ("last_name", &person.last_name),
        ("language", &person.language),
        ("country", &person.country),
        ("zone", &person.zone),
        ("email", &person.email),
        ("phone", &person.phone),
    ];
    for (name, value) in own {
        if let Some(value) = value.as_ref().filter(|_| template.reads(name)) {
            data.insert(name.to_string(), Value::String(value.clone()));
        }
    }
    if template.reads("created_at") {
        data.insert("created_at".into(), Value::String(from_micros(person.created_at).to_rfc3339()));
    }
    Ok(data)
}

/// Reads of an object's fields those that a template reads, and passes over the others.
struct Only<'a>(&'a MessageTemplate);

impl<'de> DeserializeSeed<'de> for Only<'_> {
    type Value = Map<String, Value>;
    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Only<'_> {
    type Value = Map<String, Value>;
    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut kept = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            if self.0.reads(&name) {
                kept.insert(name, fields.next_value()?);
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        Ok(kept)
    }
}

/// Where the customer lives, as far as it is known.
pub(super) fn zone_of_person(person: &Person) -> Option<Tz> {
    zone_of(person.zone.as_deref(), person.country.as_deref(), person.phone.as_deref())
}

/// Puts the context of the message beside the person's values, as far as the template reads it.
fn add_context(
    data: &mut Map<String, Value>,
    template: &MessageTemplate,
    sending: &Sending,
    campaign: &Campaign,
    message: &Message,
    due: &Due,
    urls: &Urls<'_>,
) {
    let workspace = &sending.compiled.definitions.workspace;
    let chain = || workspace.language_chain(due.person.language.as_deref());
    if template.reads("campaign") {
        data.insert("campaign".into(), serde_json::json!({ "key": campaign.key, "title": campaign.title.pick(&chain()) }));
    }
    if template.reads("run") {
        let schedule = &campaign.schedule;
        let zone = if schedule.recipient { zone_of_person(&due.person).unwrap_or(schedule.zone) } else { schedule.zone };
        let date = from_micros(due.due_at).with_timezone(&zone).date_naive();
        data.insert("run".into(), serde_json::json!({ "date": date.to_string(), "number": sending.run.number }));
    }
    if template.reads("message") {
        let arm = sending.arms.get(&due.arm).map_or("", String::as_str);
        data.insert("message".into(), serde_json::json!({ "step": 0, "variant": arm, "channel": due.channel.word() }));
    }
    if template.reads("identity") {
        let postal = workspace.identities.get(sender(workspace, message, due)).and_then(|identity| identity.postal_address.as_ref());
        let identity = postal.map_or_else(|| serde_json::json!({}), |words| serde_json::json!({ "postal_address": words.pick(&chain()) }));
        data.insert("identity".into(), identity);
    }
    for (name, path, kind) in
        [("preferences_url", "p", Kind::Preferences), ("view_url", "v", Kind::View), ("confirm_url", "k", Kind::Confirm)]
    {
        if template.reads(name) {
            data.insert(name.into(), Value::String(urls.signed(path, kind)));
        }
    }
}

/// `coupon.code` and `coupon.valid_until`; a made-up code where none is drawn, for looking at.
fn coupon_of(coupon: &Coupon, due: &Due, date: Time, zone: Tz) -> Value {
    let code = due.code.clone().unwrap_or_else(|| match &coupon.supply {
        Supply::Shared(code) => code.clone(),
        Supply::Made(pattern) => pattern.replace('#', "0"),
        Supply::Imported => "SAMPLE".to_string(),
    });
    let mut value = serde_json::json!({ "code": code });
    if let (Some(valid), Value::Object(fields)) = (coupon.valid, &mut value) {
        fields.insert("valid_until".into(), valid.added(date, zone).with_timezone(&zone).to_rfc3339().into());
    }
    value
}

thread_local! {
    static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
}

/// The customer's values that the template reads, as JSON, compressed where that helps; `None` when they are too many.
fn snapshot(template: &MessageTemplate, attributes: &Map<String, Value>) -> Option<Vec<u8>> {
    let mut kept = Map::new();
    for need in template.needs() {
        let name = need.path.split(['.', '[']).next().unwrap_or_default();
        if let Some(value) = attributes.get(name) {
            kept.insert(name.to_string(), value.clone());
        }
    }
    let json = serde_json::to_vec(&kept).ok()?;
    if json.len() <= NOT_COMPRESSED {
        return Some(json);
    }
    COMPRESSOR.with_borrow_mut(|compressor| {
        if compressor.is_none() {
            *compressor = zstd::bulk::Compressor::new(1).ok();
        }
        compressor.as_mut()?.compress(&json).ok().filter(|bytes| bytes.len() <= LARGEST_SNAPSHOT)
    })
}
