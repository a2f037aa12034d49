//! Amazon SES: event publishing and feedback notifications through an SNS topic, or the same JSON without the envelope ("raw message delivery" and
//! Firehose records, which carry no signature and so are never taken for proved).
//!
//! Anybody can own a topic whose messages are signed well by Amazon: only our topics count, and only a certificate from Amazon's own host.

use super::bounces::bounced;
use super::fields::{Unreadable, at, instant, json, object, text, texts, word};
use super::signing::{decoded, is_fresh};
use super::told::{List, Told, What};
use super::{A_DAY, Locks, Refused, Request};
use crate::store::responses::Scope;
use crate::store::tallies::Bounce;
use crate::types::Time;
use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use serde_json::Value;

/// The envelope, read before the signature can be checked: nothing but its texts is looked at.
struct Envelope(Value);

impl Envelope {
    fn of(request: &Request<'_>) -> Result<Envelope, Refused> {
        let read: Value = serde_json::from_slice(request.body).map_err(|_| Refused::Missing("the body is no SNS message"))?;
        if read.is_object() { Ok(Envelope(read)) } else { Err(Refused::Missing("the body is no SNS message")) }
    }
    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }
    fn needed(&self, name: &'static str) -> Result<&str, Refused> {
        self.text(name).ok_or(Refused::Missing(name))
    }

    /// What was signed: names and values by turns, each on a line of its own.
    fn signed(&self) -> Result<String, Refused> {
        let names: &[&'static str] = match self.needed("Type")? {
            "Notification" => &["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"],
            "SubscriptionConfirmation" | "UnsubscribeConfirmation" => {
                &["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
            }
            _ => return Err(Refused::Missing("Type")),
        };
        let mut signed = String::new();
        for name in names {
            match self.text(name) {
                Some(value) => signed.extend([name, "\n", value, "\n"]),
                None if *name == "Subject" => {}
                None => return Err(Refused::Missing(name)),
            }
        }
        Ok(signed)
    }
}

/// True for an address on one of Amazon's own SNS hosts.
fn is_amazons(url: &url::Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let region =
        host.strip_prefix("sns.").and_then(|rest| rest.strip_suffix(".amazonaws.com").or_else(|| rest.strip_suffix(".amazonaws.com.cn")));
    let is_region = |region: &str| region.len() >= 3 && region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    url.scheme() == "https"
        && url.port().is_none()
        && url.username().is_empty()
        && url.password().is_none()
        && region.is_some_and(is_region)
}

/// Where the certificate of a message is fetched; only on Amazon's host, whatever the message says.
pub fn certificate_url(request: &Request<'_>) -> Result<String, Refused> {
    let envelope = Envelope::of(request)?;
    let url = url::Url::parse(envelope.needed("SigningCertURL")?).map_err(|_| Refused::Certificate)?;
    if is_amazons(&url) && url.path().ends_with(".pem") { Ok(url.into()) } else { Err(Refused::Certificate) }
}

/// Of a verified confirmation: the address that makes the subscription ours, on Amazon's host.
pub fn subscribe_url(request: &Request<'_>) -> Option<String> {
    let envelope = Envelope::of(request).ok()?;
    let url = url::Url::parse(envelope.text("SubscribeURL").filter(|_| envelope.text("Type") == Some("SubscriptionConfirmation"))?).ok()?;
    is_amazons(&url).then(|| url.into())
}

pub(super) fn message_id(request: &Request<'_>) -> Option<String> {
    Envelope::of(request).ok()?.text("MessageId").map(str::to_string)
}

/// Checks topic, host and age before the signature: all cheap, and none of them tells a stranger more than "no".
pub(super) fn verify(locks: &Locks, request: &Request<'_>, certificate: Option<&str>, now: Time) -> Result<(), Refused> {
    let envelope = Envelope::of(request)?;
    let topic = envelope.needed("TopicArn")?;
    if locks.topics.is_empty() {
        return Err(Refused::Closed);
    }
    if !locks.topics.iter().any(|known| known == topic) {
        return Err(Refused::Topic);
    }
    certificate_url(request)?;
    if request.header("x-amz-sns-message-type").is_some_and(|kind| envelope.text("Type") != Some(kind)) {
        return Err(Refused::Signature);
    }
    let algorithm: &'static dyn VerificationAlgorithm = match envelope.needed("SignatureVersion")? {
        "1" => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
        "2" => &RSA_PKCS1_2048_8192_SHA256,
        _ => return Err(Refused::Signature),
    };
    let given = decoded(envelope.needed("Signature")?).ok_or(Refused::Signature)?;
    let key = public_key(certificate.ok_or(Refused::Certificate)?).ok_or(Refused::Certificate)?;
    UnparsedPublicKey::new(algorithm, key).verify(envelope.signed()?.as_bytes(), &given).map_err(|_| Refused::Signature)?;
    let at = super::fields::written(envelope.needed("Timestamp")?).ok_or(Refused::Stale)?;
    is_fresh(&at.timestamp().to_string(), now, A_DAY)
}

/// The public key of a certificate in PEM.
fn public_key(pem: &str) -> Option<Vec<u8>> {
    let der = rustls_pki_types::CertificateDer::from(decoded(pem)?);
    let certificate = webpki::EndEntityCert::try_from(&der).ok()?;
    Some(certificate.subject_public_key_info().to_vec())
}

pub(super) fn read(request: &Request<'_>) -> Result<Vec<Told>, Unreadable> {
    let outer = json(request.body)?;
    let (event, id, told_at) = match text(&outer, &["Type"]).as_deref() {
        Some("Notification") => {
            let inner = text(&outer, &["Message"]).unwrap_or_default();
            // SES tests a topic with a plain sentence.
            let Ok(event) = serde_json::from_str::<Value>(&inner) else { return Ok(Vec::new()) };
            (event, text(&outer, &["MessageId"]), instant(&outer, &["Timestamp"]))
        }
        Some(_) => return Ok(Vec::new()),
        None => (outer, None, None),
    };
    Ok(happened(&event).into_iter().map(|told| finished(told, &event, id.as_deref(), told_at)).collect())
}

fn happened(event: &Value) -> Vec<Told> {
    let kind = text(event, &["eventType"]).or_else(|| text(event, &["notificationType"])).unwrap_or_default();
    let all =
        |what: What| everyone(event).into_iter().map(|person| Told::new(what.clone(), &kind).person(Some(person))).collect::<Vec<_>>();
    match kind.as_str() {
        "Send" => all(What::Accepted),
        "Delivery" => {
            let reply = text(event, &["delivery", "smtpResponse"]);
            let people = texts(at(event, &["delivery", "recipients"]));
            let people = if people.is_empty() { everyone(event) } else { people };
            people.into_iter().map(|person| Told::new(What::Delivered, &kind).person(Some(person)).reply(reply.clone())).collect()
        }
        "Bounce" => bounce(event, &kind),
        "Complaint" => complaint(event, &kind),
        "Reject" => {
            let note = text(event, &["reject", "reason"]);
            all(What::Failed).into_iter().map(|told| told.note(note.clone())).collect()
        }
        "Rendering Failure" => {
            let note = text(event, &["failure", "errorMessage"]);
            all(What::Failed).into_iter().map(|told| told.note(note.clone())).collect()
        }
        "DeliveryDelay" => {
            let delayed = at(event, &["deliveryDelay", "delayedRecipients"]).and_then(Value::as_array).cloned().unwrap_or_default();
            let note = text(event, &["deliveryDelay", "delayType"]);
            let person = |row: &Value| {
                let told = Told::new(What::Deferred, &kind).person(text(row, &["emailAddress"]));
                told.reply(text(row, &["diagnosticCode"])).note(note.clone())
            };
            if delayed.is_empty() { all(What::Deferred) } else { delayed.iter().map(person).collect() }
        }
        "Open" => all(What::Opened { machine: false }).into_iter().map(|told| told.agent(text(event, &["open", "userAgent"]))).collect(),
        "Click" => all(What::Clicked { machine: false })
            .into_iter()
            .map(|told| told.agent(text(event, &["click", "userAgent"])).url(text(event, &["click", "link"])))
            .collect(),
        "Subscription" => {
            let is_all = super::fields::is_true(event, &["subscription", "newTopicPreferences", "unsubscribeAll"]);
            let statuses = at(event, &["subscription", "newTopicPreferences", "topicSubscriptionStatus"]).and_then(Value::as_array);
            let is_out = |status: &Value| text(status, &["subscriptionStatus"]).as_deref() == Some("OptOut");
            let what = match (is_all, statuses.is_some_and(|all| all.iter().any(is_out))) {
                (true, _) => What::Unsubscribed(Scope::Everything),
                (false, true) => What::Unsubscribed(Scope::Topic),
                (false, false) => What::Subscribed,
            };
            all(what)
        }
        _ => all(What::Nothing),
    }
}

fn everyone(event: &Value) -> Vec<String> {
    texts(at(event, &["mail", "destination"]))
}

fn bounce(event: &Value, kind: &str) -> Vec<Told> {
    let part = |name: &str| text(event, &["bounce", name]).unwrap_or_default();
    let (class, sub) = (part("bounceType"), part("bounceSubType"));
    let people = at(event, &["bounce", "bouncedRecipients"]).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let told = |person: &Value| {
        let reply = text(person, &["diagnosticCode"]);
        let status = text(person, &["status"]);
        let spoken = reply.clone().or_else(|| status.clone());
        let what = match (class.as_str(), sub.as_str()) {
            ("Permanent", "Suppressed" | "OnAccountSuppressionList") => What::Listed(List::Bounced),
            ("Permanent", "UnsubscribedRecipient") => What::Listed(List::Unsubscribed),
            ("Permanent", _) => bounced(Bounce::Hard, spoken.as_deref()),
            ("Transient", "MessageTooLarge" | "ContentRejected" | "AttachmentRejected") => What::Failed,
            _ => bounced(Bounce::Soft, spoken.as_deref()),
        };
        Told::new(what, kind).person(text(person, &["emailAddress"])).reply(reply.or(status)).note(Some(format!("{class}: {sub}")))
    };
    people.iter().map(told).collect()
}

fn complaint(event: &Value, kind: &str) -> Vec<Told> {
    let part = |name: &str| text(event, &["complaint", name]);
    let feedback = part("complaintFeedbackType");
    let what = match (feedback.as_deref(), part("complaintSubType").as_deref()) {
        (Some("not-spam"), _) => What::Nothing,
        (_, Some("OnAccountSuppressionList")) => What::Listed(List::Complained),
        _ => What::Complained,
    };
    let people = at(event, &["complaint", "complainedRecipients"]).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let told = |person: &Value| {
        Told::new(what.clone(), kind).person(text(person, &["emailAddress"])).note(feedback.clone()).agent(part("userAgent"))
    };
    people.iter().map(told).collect()
}

/// What all events have: the message, its headers and tags, and when.
fn finished(told: Told, event: &Value, id: Option<&str>, told_at: Option<Time>) -> Told {
    let own = ["bounce", "complaint", "delivery", "open", "click", "deliveryDelay", "subscription"];
    let at =
        own.iter().find_map(|part| instant(event, &[*part, "timestamp"])).or(told_at).or_else(|| instant(event, &["mail", "timestamp"]));
    let headers = super::fields::at(event, &["mail", "headers"]).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let header = |name: &'static str| {
        let is = move |header: &&Value| text(header, &["name"]).is_some_and(|known| known.eq_ignore_ascii_case(name));
        headers.iter().filter(is).filter_map(|header| text(header, &["value"]))
    };
    let mut told = told.message(text(event, &["mail", "messageId"])).at(at).tags(header("X-Tag").collect());
    for message_id in header("Message-ID") {
        told = told.echo(Some(message_id.trim_matches(['<', '>']).to_string()));
    }
    let custom = header("X-Metadata").next().and_then(|metadata| super::fields::object_or_text(Some(&Value::String(metadata))));
    told = told.variables(custom.as_ref());
    for (name, values) in object(event, &["mail", "tags"]).into_iter().flatten().filter(|(name, _)| !name.starts_with("ses:")) {
        let value = values.as_array().and_then(|values| values.first()).and_then(word);
        told = told.echo(value.clone());
        told.variables.insert(name.clone(), Value::from(value));
    }
    // Several people of one message share the envelope's number.
    let person = told.person.clone().unwrap_or_default();
    let word = told.word.clone();
    told.event(id.map(|id| format!("{id}|{person}"))).known_by(&[&word])
}
