//! `forms` of posthaste.yaml: how people sign up.

use super::fields::{Kind, quoted};
use super::model::{Campaign, Form, FormField, Workspace};
use super::names::Names;
use super::part::{Part, must_exist, words};
use super::trigger::Trigger;
use crate::diagnostics::Problems;
use crate::literals::{Duration, Rate, Unit, ValueType};
use crate::segments::{ConsentIs, OwnField};
use crate::types::{Channel, Class};
use crate::yaml::Node;
use std::collections::{BTreeMap, BTreeSet};

/// What a form may ask besides addresses, of a customer's own fields.
const OWN: [OwnField; 3] = [OwnField::FirstName, OwnField::LastName, OwnField::Country];

/// Posts of one form where `rate` is not written.
const RATE: Rate = Rate { count: 1000, per: Unit::Hour };

/// Names that a post uses for itself.
pub const TAKEN: [&str; 6] = ["topic", "agree", "language", "wording", "stamp", TRAP];
/// A field that people do not see, and programs fill in.
pub const TRAP: &str = "fax_number";

/// The word under `asks` for a channel's address.
pub fn asked_word(channel: Channel) -> &'static str {
    if channel == Channel::Sms { OwnField::Phone.word() } else { OwnField::Email.word() }
}

/// Reads every form; `hosts`: those of `public_url` and `link_hosts`, where people may be sent on to.
pub fn read(
    workspace: Part<'_>,
    names: &Names,
    attributes: Option<&BTreeMap<String, ValueType>>,
    hosts: &BTreeSet<String>,
    problems: &mut Problems,
) -> BTreeMap<String, Form> {
    let mut forms = BTreeMap::new();
    for (key, _, node) in workspace.entries("forms") {
        let part = Part { file: workspace.file, node };
        let asks = part.items("asks").iter().filter_map(Node::text);
        let form = Form {
            title: part.words("title").unwrap_or_default(),
            intro: part.words("intro"),
            topics: part.texts("topics"),
            asks: asks.map(|word| if word == asked_word(Channel::Sms) { Channel::Sms } else { Channel::Email }).collect(),
            fields: fields(part, names, attributes, problems),
            consent: part.words("consent").unwrap_or_default(),
            thanks: part.owned("thanks"),
            sites: part.texts("sites").into_iter().map(|host| host.to_lowercase()).collect(),
            remind: part.duration("remind"),
            rate: part.text("rate").and_then(|rate| Rate::read(rate).ok()).unwrap_or(RATE),
        };
        sent_on(part, &form, hosts, problems);
        remind(part, &form, problems);
        topics(workspace, part, &form, problems);
        forms.insert(key.to_string(), form);
    }
    forms
}

fn fields(part: Part<'_>, names: &Names, attributes: Option<&BTreeMap<String, ValueType>>, problems: &mut Problems) -> Vec<FormField> {
    let mut fields = Vec::new();
    for (name, span, node) in part.entries("fields") {
        let kind = match (OwnField::from_word(name), attributes) {
            _ if TAKEN.contains(&name) => None,
            (Some(own), _) if OWN.contains(&own) => Some(ValueType::Text),
            (Some(_), _) => None,
            (None, None) => Some(ValueType::Text),
            (None, Some(declared)) => match declared.get(name) {
                Some(kind) => Some(kind.clone()),
                None => {
                    must_exist(part.file, names, problems, Kind::Attribute, name, span);
                    continue;
                }
            },
        };
        match kind {
            Some(kind @ (ValueType::Text | ValueType::Number | ValueType::Boolean | ValueType::Date)) => {
                fields.push(FormField { name: name.to_string(), label: words(node), kind });
            }
            _ => problems.push(part.problem(span, format!("a form cannot ask for `{name}`")).label("no field of a form").help(format!(
                "take {} or an attribute that is text, number, boolean or date; addresses are asked for by `asks`",
                quoted(OWN.map(OwnField::word))
            ))),
        }
    }
    fields
}

/// A form sends people on to hosts of ours only.
fn sent_on(part: Part<'_>, form: &Form, hosts: &BTreeSet<String>, problems: &mut Problems) {
    let Some(host) = form.thanks.as_deref().and_then(|thanks| Some(url::Url::parse(thanks).ok()?.host_str()?.to_lowercase())) else {
        return;
    };
    if !hosts.contains(&host) && !form.sites.contains(&host) {
        problems.push(
            part.problem(part.span("thanks"), format!("`{host}` is no host of yours"))
                .label("people would be sent on to it")
                .help("take a page on the host of public_url, or add the host to `sites` of the form or to `link_hosts`"),
        );
    }
}

/// The link of the confirming message lives for seven days.
fn remind(part: Part<'_>, form: &Form, problems: &mut Problems) {
    let Some(after) = form.remind else { return };
    if !(3600..=6 * 86_400).contains(&exact(after).num_seconds()) {
        problems.push(
            part.problem(part.span("remind"), "a reminder comes from 1 hour to 6 days after the sign-up")
                .label(format!("`{}`", part.text("remind").unwrap_or_default()))
                .help("write 2 days"),
        );
    }
}

fn topics(workspace: Part<'_>, part: Part<'_>, form: &Form, problems: &mut Problems) {
    for item in part.items("topics") {
        let Some(topic) = item.text() else { continue };
        let Some(declared) = workspace.inner("topics").and_then(|topics| topics.inner(topic)) else { continue };
        let channels: Vec<String> = declared.texts("channels");
        if !form.asks.is_empty()
            && !channels.is_empty()
            && !form.asks.iter().any(|channel| channels.iter().any(|word| word == channel.word()))
        {
            problems.push(
                part.problem(item.span, format!("the topic `{topic}` is not sent by what this form asks for"))
                    .label(format!("goes by {}", channels.join(" and ")))
                    .help("add the address that it goes to to `asks`, or take another topic"),
            );
        }
    }
}

/// A topic with double opt-in needs a campaign that asks for the confirmation, or nobody could ever confirm; any other topic needs one for those who left.
pub fn can_be_confirmed(top: &Node, workspace: &Workspace, campaigns: &BTreeMap<String, Campaign>, problems: &mut Problems) {
    let part = Part { file: super::workspace::FILE, node: top };
    for (key, form) in &workspace.forms {
        let Some(written) = part.inner("forms").and_then(|forms| forms.inner(key)) else { continue };
        for item in written.items("topics") {
            let Some((topic, declared)) = item.text().and_then(|topic| Some((topic, workspace.topics.get(topic)?))) else { continue };
            for channel in form.asks.iter().filter(|channel| declared.channels.contains(channel)) {
                if campaigns.values().any(|campaign| asks_to_confirm(campaign, topic, *channel)) {
                    continue;
                }
                let (title, label) = match declared.confirm {
                    true => ("nobody could confirm a sign-up", "must be confirmed"),
                    false => ("who has left could not come back", "whoever left comes back by a confirmation only"),
                };
                let problem = written
                    .problem(item.span, format!("{title} with the form `{key}` by {channel}"))
                    .label(format!("the topic `{topic}`: {label}"))
                    .help(format!(
                        "add a campaign with class: transactional, topic: {topic}, schedule: {{ when: {{ consent: {topic}, is: pending, channel: {channel} }} }}, and {{{{confirm_url}}}} in its message by {channel}"
                    ));
                problems.push(if declared.confirm { problem } else { problem.warning() });
            }
        }
    }
}

/// Whether a campaign asks those who signed up for this topic to confirm.
fn asks_to_confirm(campaign: &Campaign, topic: &str, channel: Channel) -> bool {
    let Some(Trigger::Consent(consent)) = &campaign.schedule.when else { return false };
    consent.topic == topic
        && consent.is.contains(&ConsentIs::Pending)
        && consent.channel.is_none_or(|only| only == channel)
        && campaign.class == Class::Transactional
        && campaign.topic.as_deref() == Some(topic)
        && !campaign.draft
        && campaign.message.channel == channel
}

/// Without hours of the clock: `2 days` are 48 hours here.
pub fn exact(duration: Duration) -> chrono::TimeDelta {
    let start = crate::types::from_micros(0);
    duration.added(start, chrono_tz::UTC) - start
}
