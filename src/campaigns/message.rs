//! `message`, `otherwise` and variants: what is sent, and as whom.

use super::context::Context;
use super::fields::quoted;
use super::model::*;
use super::part::{Part, words};
use super::shapes::lacks;
use super::tables::message::MESSAGE;
use super::workspace::reserved;
use crate::diagnostics::nearest;
use crate::literals::{Duration, Unit, Words, WrittenTime};
use crate::types::{Channel, Class};
use crate::yaml::{Key, Node, Value};
use std::collections::BTreeMap;

/// What of the campaign a message depends on.
#[derive(Clone, Copy)]
pub struct Campaigning<'a> {
    pub class: Class,
    pub topic: Option<&'a str>,
}

/// Reads a message with its `otherwise`.
pub fn read(context: &mut Context<'_>, part: Part<'_>, campaign: Campaigning<'_>) -> Option<Message> {
    let message = one(context, part, campaign);
    let otherwise = part.inner("otherwise").map(|inner| {
        if inner.has("otherwise") {
            context.problem(
                inner.key_span("otherwise"),
                "an `otherwise` inside an `otherwise` is not built yet",
                "known, but later work",
                "one other channel can be named",
            );
        }
        let other = one(context, inner, campaign)?;
        let channel = part.text("channel").and_then(Channel::from_word).unwrap_or(Channel::Email);
        if other.channel == channel {
            let title = format!("`otherwise` goes by {channel} too");
            context.problem(inner.start(), title, "it cannot reach whom the message cannot reach", "take another channel: channel: sms");
        }
        Some(other)
    });
    let mut message = message?;
    if let Some(otherwise) = otherwise {
        message.otherwise = Some(Box::new(otherwise?));
    }
    Some(message)
}

fn one(context: &mut Context<'_>, part: Part<'_>, campaign: Campaigning<'_>) -> Option<Message> {
    let channel = match part.text("channel") {
        Some(word) => Channel::from_word(word).filter(|channel| matches!(channel, Channel::Email | Channel::Sms | Channel::Webhook))?,
        None => Channel::Email,
    };
    topic_allows(context, part, channel, campaign);
    let from = sender(context, part, channel, campaign);
    let body = body(context, part, channel);
    let words_of = |key: &str| part.words(key).unwrap_or_default();
    if channel == Channel::Email {
        if lacks(part.node, "subject", &MESSAGE) {
            let help = "write subject: \"…\", or one for each language: { uk: \"…\", en: \"…\" }";
            context.problem(part.start(), "`subject` is missing", "an email must have one", help);
        }
    } else {
        for key in ["subject", "preheader", "reply_to"].into_iter().filter(|key| part.has(key)) {
            context.problem(
                part.key_span(key),
                format!("`{key}` is for email only"),
                format!("this message goes by {channel}"),
                "take it out",
            );
        }
    }
    Some(Message {
        channel,
        from: from?,
        body: body?,
        subject: words_of("subject"),
        preheader: words_of("preheader"),
        reply_to: part.owned("reply_to"),
        content: content(context, part),
        coupon: part.owned("coupon"),
        expires: expires(part, channel),
        if_uncertain: match part.text("if_uncertain") {
            Some("resend") => IfUncertain::Resend,
            Some("hold") => IfUncertain::Hold,
            _ if campaign.class == Class::Transactional => IfUncertain::Resend,
            _ => IfUncertain::Hold,
        },
        track: track(part, campaign.class),
        otherwise: None,
    })
}

fn topic_allows(context: &mut Context<'_>, part: Part<'_>, channel: Channel, campaign: Campaigning<'_>) {
    let workspace = context.workspace;
    if let Some((key, topic)) = campaign.topic.and_then(|key| Some((key, workspace.topics.get(key)?)))
        && !topic.channels.is_empty()
        && !topic.channels.contains(&channel)
    {
        let span = if part.has("channel") { part.span("channel") } else { part.start() };
        context.problem(
            span,
            format!("the topic `{key}` is not sent by {channel}"),
            format!("goes by {channel}"),
            format!(
                "its channels are {}; add {channel} to them in posthaste.yaml, or take another",
                quoted(topic.channels.iter().map(|c| c.word()))
            ),
        );
    }
}

/// The identity: written, or the topic's; it must have the channel.
fn sender(context: &mut Context<'_>, part: Part<'_>, channel: Channel, campaign: Campaigning<'_>) -> Option<String> {
    let workspace = context.workspace;
    if channel == Channel::Webhook {
        // It speaks to a system: nobody's name stands on it.
        return Some(part.owned("from").unwrap_or_default());
    }
    let of_topic = || campaign.topic.and_then(|topic| workspace.topics.get(topic)?.from.clone());
    let Some(from) = part.owned("from").or_else(of_topic) else {
        // A topic that does not exist has been reported: its identity is not missed as well.
        if campaign.topic.is_none_or(|topic| workspace.topics.contains_key(topic)) {
            let identities = quoted(workspace.identities.keys().map(String::as_str));
            context.problem(
                part.start(),
                "nobody is named who sends it",
                "`from` is missing, and the topic names none",
                format!("add from: one of {identities}"),
            );
        }
        return None;
    };
    let identity = workspace.identities.get(&from)?;
    let has = match channel {
        Channel::Email => identity.email.is_some(),
        _ => identity.sms.is_some(),
    };
    if !has {
        let (span, label) = match part.has("from") {
            true => (part.span("from"), format!("cannot send by {channel}")),
            false => (part.start(), format!("sent as `{from}`, which the topic names")),
        };
        context.problem(
            span,
            format!("the identity `{from}` has no {channel}"),
            label,
            format!("add `{channel}` to it in posthaste.yaml, or name another identity"),
        );
        return None;
    }
    Some(from)
}

fn body(context: &mut Context<'_>, part: Part<'_>, channel: Channel) -> Option<MessageBody> {
    match (part.get("template"), part.get("text")) {
        (Some(_), Some(_)) => {
            context.problem(
                part.key_span("text"),
                "a message has a `template` or a `text`, not both",
                "the second one",
                "keep one of them",
            );
            None
        }
        (None, Some(_)) if channel == Channel::Email => {
            context.problem(
                part.key_span("text"),
                "an email has no `text` in place",
                "goes by email",
                "write templates/NAME.LANGUAGE.mjml or .hbs and name it: template: NAME",
            );
            None
        }
        (None, Some(node)) => Some(MessageBody::Text(words(node))),
        (Some(node), None) => template(context, node),
        // What a webhook says may be its data alone.
        (None, None) if channel == Channel::Webhook => Some(MessageBody::Text(Words::default())),
        (None, None) => {
            if lacks(part.node, "template", &MESSAGE) && lacks(part.node, "text", &MESSAGE) {
                let help = if channel == Channel::Email { "add template: NAME" } else { "add template: NAME, or text: \"…\"" };
                context.problem(part.start(), "the message says nothing", "no `template` is named", help);
            }
            None
        }
    }
}

fn template(context: &mut Context<'_>, node: &Node) -> Option<MessageBody> {
    let name = node.text()?;
    if context.library.has(name) {
        return Some(MessageBody::Template(name.to_string()));
    }
    // A file that is there and was left out has a problem of its own.
    let prefix = format!("templates/{name}.");
    let mut files = context.files.0.range(prefix.clone()..).map(|(path, _)| path).take_while(|path| path.starts_with(&prefix));
    if files.any(|path| path.ends_with(".mjml") || path.ends_with(".hbs")) {
        return None;
    }
    let help = match nearest(name, context.library.names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("write templates/{name}.LANGUAGE.mjml (or .hbs), or templates/{name}.mjml for all languages"),
    };
    context.problem(node.span, format!("there is no template `{name}`"), "used here", help);
    None
}

fn expires(part: Part<'_>, channel: Channel) -> Expires {
    if let Some(duration) = part.duration("expires") {
        return Expires::After(duration);
    }
    match part.written_time("expires") {
        Some(WrittenTime::Local(local)) => Expires::At(local),
        Some(WrittenTime::Instant(instant)) => Expires::AtInstant(instant),
        None => Expires::After(Duration { count: if channel == Channel::Sms { 1 } else { 3 }, unit: Unit::Day }),
    }
}

fn track(part: Part<'_>, class: Class) -> Track {
    let default = class != Class::Transactional;
    if let Some(track) = part.inner("track") {
        let of = |key| track.boolean(key).unwrap_or(default);
        return Track { opens: of("opens"), clicks: of("clicks"), utm: of("utm") };
    }
    let all = part.boolean("track").unwrap_or(default);
    Track { opens: all, clicks: all, utm: all }
}

fn content(context: &mut Context<'_>, part: Part<'_>) -> BTreeMap<String, Content> {
    part.entries("content")
        .map(|(key, span, node)| {
            reserved(part, key, span, context.problems);
            (key.to_string(), value(context, part, node))
        })
        .collect()
}

fn value(context: &mut Context<'_>, part: Part<'_>, node: &Node) -> Content {
    match &node.value {
        Value::Scalar { .. } if node.is_empty() => Content::Value(serde_json::Value::Null),
        Value::Scalar { text, quoted: true } => Content::Value(text.clone().into()),
        Value::Scalar { text, .. } => Content::Value(plain(text)),
        Value::List(items) => Content::List(items.iter().map(|item| value(context, part, item)).collect()),
        Value::Map(entries) if is_words(context, entries) => Content::Words(words(node)),
        Value::Map(entries) => Content::Map(
            entries
                .iter()
                .map(|(key, node)| {
                    reserved(part, &key.text, key.span, context.problems);
                    (key.text.clone(), value(context, part, node))
                })
                .collect(),
        ),
    }
}

/// A mapping whose keys are languages is words.
fn is_words(context: &Context<'_>, entries: &[(Key, Node)]) -> bool {
    !entries.is_empty() && entries.iter().all(|(key, node)| node.text().is_some() && context.workspace.languages.contains(&key.text))
}

/// `true`, `false` and plain numbers keep their type; all else is text.
fn plain(text: &str) -> serde_json::Value {
    match text {
        "true" => true.into(),
        "false" => false.into(),
        _ => number(text).unwrap_or_else(|| text.into()),
    }
}

fn number(text: &str) -> Option<serde_json::Value> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(whole, fraction)| (whole, Some(fraction)));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(whole) || whole.len() > 1 && whole.starts_with('0') || fraction.is_some_and(|fraction| !all_digits(fraction)) {
        return None;
    }
    match fraction {
        None => text.parse::<i64>().ok().map(Into::into),
        Some(_) => text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Into::into),
    }
}

/// Message keys of a variant laid over those of the message.
pub fn overlaid(message: &Node, variant: &Node) -> Node {
    let own: Vec<(Key, Node)> =
        variant.map().unwrap_or_default().iter().filter(|(key, _)| !matches!(key.text.as_str(), "name" | "weight")).cloned().collect();
    let has = |wanted: &str| own.iter().any(|(key, _)| key.text == wanted);
    let body = has("template") || has("text");
    let kept = message
        .map()
        .unwrap_or_default()
        .iter()
        .filter(|(key, _)| !(has(&key.text) || body && matches!(key.text.as_str(), "template" | "text")));
    Node { span: variant.span, value: Value::Map(kept.cloned().chain(own.iter().cloned()).collect()) }
}
