//! posthaste.yaml: from the tree to a [`Workspace`].

use super::fields::{Shape, Table};
use super::model::*;
use super::names::Names;
use super::part::{Part, by_country, is_word, json};
use super::shapes::Checker;
use super::tables::workspace::WORKSPACE;
use super::tables::{self, provider};
use super::{coupons, forms, inbound, policy, warm_up};
use crate::diagnostics::Problems;
use crate::literals::{self, Money, Rate, ValueType, codes};
use crate::types::Channel;
use crate::yaml::{Node, Value};
use std::collections::{BTreeMap, BTreeSet};

pub const FILE: &str = "posthaste.yaml";

/// Checks and reads posthaste.yaml. A workspace comes out even when there are problems, filled with what could be read, so that the
/// other files can be checked too.
pub fn read(node: &Node, names: Names, problems: &mut Problems) -> (Workspace, Names) {
    let part = Part { file: FILE, node };
    Checker { file: FILE, names: &names, problems }.table(node, &WORKSPACE, part.start());
    let catalogs = catalogs(part, &names, problems);
    let attributes = declared(part, "attributes", problems);
    let names = names.with_attributes(attributes.clone(), catalogs.clone());
    let languages = names.languages.clone().unwrap_or_else(|| part.texts("languages"));
    unknown_fallback(part, names.languages.as_deref().unwrap_or_default(), problems);
    let key = part.owned("workspace").unwrap_or_default();
    let currency = names.currency.clone().unwrap_or_else(|| "EUR".to_string());
    let link_hosts: BTreeSet<String> = part.texts("link_hosts").into_iter().map(|host| host.to_lowercase()).collect();
    let own_host = part.text("public_url").and_then(|url| Some(url::Url::parse(url).ok()?.host_str()?.to_lowercase()));
    let hosts = link_hosts.iter().cloned().chain(own_host).collect();
    let forms = forms::read(part, &names, attributes.as_ref(), &hosts, problems);
    let workspace = Workspace {
        public_url: part.text("public_url").unwrap_or_default().trim_end_matches('/').to_string(),
        link_hosts,
        database: database(part, problems),
        seed: part.owned("seed").unwrap_or_else(|| key.clone()),
        zone: part.text("zone").and_then(|zone| codes::zone(zone).ok()).unwrap_or(chrono_tz::UTC),
        country: part.owned("country"),
        fallback: part.get("fallback").map(by_country).unwrap_or_default(),
        rates: rates(part, names.currency.as_deref(), problems),
        attributes,
        events: events(part, problems),
        catalogs,
        coupons: coupons::read(part, problems),
        topics: topics(part, problems),
        forms,
        identities: identities(part, problems),
        domains: domains(part, problems),
        inbound: inbound::read(part, problems),
        providers: providers(part, &currency, problems),
        webhooks: webhooks(part, problems),
        keyword_replies: keyword_replies(part, problems),
        policy: policy::read(part.inner("policy"), problems),
        categories: part.texts("categories").into_iter().collect(),
        retention: Retention {
            events: part.inner("retention").and_then(|retention| retention.duration("events")),
            content: part.inner("retention").and_then(|retention| retention.duration("content")).unwrap_or(literals::Duration::days(90)),
        },
        key,
        languages,
        currency,
    };
    warm_up::beyond(part, &workspace, problems);
    (workspace, names)
}

fn database(part: Part<'_>, problems: &mut Problems) -> Option<String> {
    let url = part.text("database")?;
    let span = part.span("database");
    if url.contains("${") || url.starts_with("sqlite:") {
        return Some(url.to_string());
    }
    match url::Url::parse(url) {
        Ok(address) if matches!(address.scheme(), "postgres" | "postgresql") => {
            if address.password().is_some() {
                problems.push(
                    part.problem(span, "a secret stands here in plain text")
                        .label("this address holds a password")
                        .help("write \"${DATABASE_URL}\" and put DATABASE_URL=… into .env, which stays out of git"),
                );
            }
        }
        _ => problems.push(
            part.problem(span, format!("`{url}` is no database"))
                .label("neither SQLite nor PostgreSQL")
                .help("write sqlite:posthaste.db, or \"${DATABASE_URL}\" with a postgres:// address in .env"),
        ),
    }
    Some(url.to_string())
}

fn rates(part: Part<'_>, currency: Option<&str>, problems: &mut Problems) -> BTreeMap<String, f64> {
    let mut rates = BTreeMap::new();
    // Without a currency, which has been told, no rate can be read.
    let Some(currency) = currency else { return rates };
    for (code, span, node) in part.entries("rates") {
        if code == currency {
            problems
                .push(part.problem(span, format!("`{code}` is the workspace's own currency")).label("needs no rate").help("take it out"));
        } else if let Some(price) = node.text().and_then(|text| literals::price(text, currency).ok()) {
            rates.insert(code.to_string(), price);
        }
    }
    rates
}

fn unknown_fallback(part: Part<'_>, languages: &[String], problems: &mut Problems) {
    for (language, _, node) in part.entries("fallback") {
        let Some(target) = node.text() else { continue };
        if !languages.is_empty()
            && codes::is_language(target)
            && !languages.iter().any(|known| known == target)
            && part.node.get("fallback").and_then(|map| map.get(target)).is_none()
        {
            problems.push(
                part.problem(node.span, format!("`{target}` is no language of this workspace"))
                    .label(format!("the fallback of `{language}`"))
                    .help("take one of `languages`"),
            );
        }
    }
}

/// Names with their types; `None` where the key does not stand.
fn declared(part: Part<'_>, key: &str, problems: &mut Problems) -> Option<BTreeMap<String, ValueType>> {
    let node = part.node.get(key)?;
    if node.map().is_none() && !node.is_empty() {
        return None;
    }
    Some(fields(part, node, problems))
}

fn fields(part: Part<'_>, node: &Node, problems: &mut Problems) -> BTreeMap<String, ValueType> {
    let mut fields = BTreeMap::new();
    for (name, node) in node.map().unwrap_or_default() {
        reserved(part, &name.text, name.span, problems);
        fields.insert(name.text.clone(), value_type(node));
    }
    fields
}

/// A helper or root of templates would hide a value of its name.
pub fn reserved(part: Part<'_>, name: &str, span: crate::diagnostics::Span, problems: &mut Problems) {
    if crate::templates::reserved_names().contains(&name) {
        problems.push(
            part.problem(span, format!("`{name}` is a word of the template language"))
                .label("templates could not read this value")
                .help(format!("take another name, like `{name}_value`")),
        );
    }
}

/// The type that a node names; text where it names none (which has been reported).
fn value_type(node: &Node) -> ValueType {
    match &node.value {
        Value::Scalar { text, .. } => match text.as_str() {
            "text" => ValueType::Text,
            "number" => ValueType::Number,
            "money" => ValueType::Money,
            "boolean" => ValueType::Boolean,
            "date" => ValueType::Date,
            "datetime" => ValueType::DateTime,
            catalog => ValueType::Catalog(catalog.to_string()),
        },
        Value::List(items) => ValueType::List(Box::new(items.first().map_or(ValueType::Text, value_type))),
        Value::Map(entries) => ValueType::Nested(entries.iter().map(|(name, node)| (name.text.clone(), value_type(node))).collect()),
    }
}

fn events(part: Part<'_>, problems: &mut Problems) -> Option<BTreeMap<String, BTreeMap<String, ValueType>>> {
    part.node.get("events").filter(|node| node.map().is_some() || node.is_empty())?;
    let mut events = BTreeMap::new();
    for (event, _, node) in part.entries("events") {
        for (property, _) in node.map().unwrap_or_default() {
            if matches!(property.text.as_str(), "customer" | "event" | "at") {
                problems.push(
                    part.problem(property.span, format!("no property may be called `{}`", property.text))
                        .label(format!("a property of `{event}`"))
                        .help("this word has a meaning in every event; take another name"),
                );
            }
        }
        events.insert(
            event.to_string(),
            node.map().unwrap_or_default().iter().map(|(name, node)| (name.text.clone(), value_type(node))).collect(),
        );
    }
    Some(events)
}

fn catalogs(part: Part<'_>, names: &Names, problems: &mut Problems) -> BTreeMap<String, Catalog> {
    let mut catalogs = BTreeMap::new();
    for (name, span, node) in part.entries("catalogs") {
        let Some(entries) = node.map() else {
            problems.push(
                part.problem(node.span, format!("`{name}` cannot be {}", node.kind()))
                    .label("a catalog is a mapping")
                    .help("write it like { key: sku, title: text, price: money }"),
            );
            continue;
        };
        let mut catalog = Catalog { key: String::new(), fields: BTreeMap::new() };
        for (field, node) in entries {
            if field.text == "key" {
                catalog.key = node.text().unwrap_or_default().to_string();
            } else {
                Checker { file: FILE, names, problems }.value(node, &Shape::Type, &field.text, field.span);
                catalog.fields.insert(field.text.clone(), value_type(node));
            }
        }
        if catalog.key.is_empty() {
            problems.push(
                part.problem(span, format!("the catalog `{name}` has no `key`"))
                    .label("which field names a row?")
                    .help(format!("write {name}: {{ key: sku, title: text }}")),
            );
        } else {
            catalog.fields.entry(catalog.key.clone()).or_insert(ValueType::Text);
        }
        catalogs.insert(name.to_string(), catalog);
    }
    catalogs
}

fn channels(part: Part<'_>, key: &str) -> Vec<Channel> {
    part.items(key).iter().filter_map(Node::text).filter_map(Channel::from_word).collect()
}

fn topics(part: Part<'_>, problems: &mut Problems) -> BTreeMap<String, Topic> {
    let mut topics = BTreeMap::new();
    for (key, _, node) in part.entries("topics") {
        let topic = Part { file: FILE, node };
        let read = Topic {
            title: topic.words("title").unwrap_or_default(),
            channels: channels(topic, "channels"),
            from: topic.owned("from"),
            confirm: topic.boolean("confirm").unwrap_or(false),
        };
        if let Some(identity) = topic.text("from").and_then(|from| part.get("identities")?.get(from)) {
            for channel in &read.channels {
                if matches!(channel, Channel::Email | Channel::Sms) && identity.get(channel.word()).is_none() {
                    problems.push(
                        part.problem(
                            topic.span("from"),
                            format!("the identity `{}` has no {channel}", read.from.as_deref().unwrap_or_default()),
                        )
                        .label(format!("the topic `{key}` is sent by {channel} too"))
                        .help(format!("add `{channel}` to the identity, or take {channel} out of the topic's channels")),
                    );
                }
            }
        }
        topics.insert(key.to_string(), read);
    }
    topics
}

fn identities(part: Part<'_>, problems: &mut Problems) -> BTreeMap<String, Identity> {
    let mut identities = BTreeMap::new();
    for (key, span, node) in part.entries("identities") {
        let identity = Part { file: FILE, node };
        if node.map().is_some() && !identity.has("email") && !identity.has("sms") {
            problems.push(
                part.problem(span, format!("the identity `{key}` has no channel"))
                    .label("nothing can be sent as it")
                    .help("add email: { name: \"…\", address: … } or sms: { sender: … }"),
            );
        }
        let email = identity.inner("email").map(|email| EmailIdentity {
            name: email.words("name").unwrap_or_default(),
            address: email.owned("address").unwrap_or_default(),
            reply_to: email.owned("reply_to"),
        });
        let sms = identity.inner("sms").and_then(|sms| sms.get("sender")).map(|node| senders(part, node, problems));
        identities.insert(key.to_string(), Identity { postal_address: identity.words("postal_address"), email, sms });
    }
    identities
}

fn senders(part: Part<'_>, node: &Node, problems: &mut Problems) -> BTreeMap<String, String> {
    countries_or_other(part, node, problems);
    let senders = by_country(node);
    for sender in senders.values() {
        let number = sender.trim_start_matches('+').bytes().all(|byte| byte.is_ascii_digit());
        let name = sender.len() <= 11 && sender.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" -_.&".contains(&byte));
        if !sender.contains("${") && (number && sender.len() > 16 || !number && !name) {
            problems.push(
                part.problem(node.span, format!("`{sender}` is no sender of short messages"))
                    .label("shown on the phone")
                    .help("take at most 11 Latin letters and digits, or a number"),
            );
        }
    }
    senders
}

fn countries_or_other(part: Part<'_>, node: &Node, problems: &mut Problems) {
    for (country, _) in node.map().unwrap_or_default() {
        if country.text != "other"
            && let Err(why) = codes::country(&country.text)
        {
            let (title, help) = why.split_once("; ").unwrap_or((&why, "write a country's code, or `other` for the rest"));
            problems.push(part.problem(country.span, title).label("a country, or `other`").help(help));
        }
    }
}

fn domains(part: Part<'_>, problems: &mut Problems) -> BTreeMap<String, Domain> {
    let mut domains = BTreeMap::new();
    for (name, _, node) in part.entries("domains") {
        let domain = Part { file: FILE, node };
        let dkim = domain.inner("dkim").map(|dkim| Dkim {
            selector: dkim.owned("selector").unwrap_or_default(),
            key: dkim.owned("key"),
            ed25519: dkim.owned("ed25519"),
        });
        if let Some(dkim) = &dkim
            && !domain.inner("dkim").is_some_and(|dkim| dkim.has("key") || dkim.has("ed25519"))
        {
            problems.push(
                part.problem(domain.key_span("dkim"), format!("`dkim` of `{name}` has no key"))
                    .label(format!("nothing to sign with for selector `{}`", dkim.selector))
                    .help("add key: \"${DKIM_KEY}\" (RSA) or ed25519: \"${DKIM_ED25519}\""),
            );
        }
        let warm_up = domain.inner("warm_up").and_then(|warm_up| warm_up::read(warm_up, domain.key_span("warm_up"), name, problems));
        domains.insert(name.to_lowercase(), Domain { bounces: domain.owned("bounces"), dkim, warm_up });
    }
    domains
}

fn providers(part: Part<'_>, currency: &str, problems: &mut Problems) -> BTreeMap<String, ProviderSettings> {
    let mut providers = BTreeMap::new();
    for (name, _, node) in part.entries("providers") {
        let provider = Part { file: FILE, node };
        let Some(channel) = provider.text("channel").and_then(Channel::from_word) else { continue };
        let Some(kind) = provider.owned("kind") else { continue };
        let Some(table) = provider::of_kind(&kind) else { continue };
        if let Some(wanted) = provider::only_channel(&kind).filter(|wanted| *wanted != channel) {
            problems.push(
                part.problem(provider.span("channel"), format!("a provider of kind `{kind}` serves {wanted}"))
                    .label(format!("not {channel}"))
                    .help(format!("write channel: {wanted}")),
            );
        }
        if let Some(price) = provider.get("price") {
            countries_or_other(part, price, problems);
        }
        let price = provider.get("price").map(by_country).unwrap_or_default();
        let settings = own_settings(provider, table);
        login(provider, problems);
        secret_headers(provider, problems);
        providers.insert(
            name.to_string(),
            ProviderSettings {
                channel,
                kind,
                rate: provider.text("rate").and_then(|rate| Rate::read(rate).ok()),
                price: price.into_iter().filter_map(|(country, text)| Some((country, Money::read(&text, currency).ok()?))).collect(),
                countries: provider.has("countries").then(|| provider.texts("countries").into_iter().collect::<BTreeSet<_>>()),
                weight: provider.whole("weight").unwrap_or(1) as u32,
                backup: provider.boolean("backup").unwrap_or(false),
                settings,
            },
        );
    }
    providers
}

fn keyword_replies(part: Part<'_>, problems: &mut Problems) -> BTreeMap<String, KeywordReplies> {
    let mut replies = BTreeMap::new();
    for (name, _, node) in part.entries("providers") {
        let provider = Part { file: FILE, node };
        let Some(key) = ["stop_reply", "help_reply"].into_iter().find(|key| provider.has(key)) else { continue };
        if provider.text("channel") != Some(Channel::Sms.word()) {
            problems.push(
                provider
                    .problem(provider.key_span(key), format!("`{key}` is for short messages"))
                    .label("nobody writes STOP to this provider")
                    .help("take it away, or write it at the provider of your SMS"),
            );
        }
        replies.insert(name.to_string(), KeywordReplies { stop: provider.words("stop_reply"), help: provider.words("help_reply") });
    }
    replies
}

fn webhooks(part: Part<'_>, problems: &mut Problems) -> BTreeMap<String, WebhookSettings> {
    let mut webhooks = BTreeMap::new();
    for (name, _, node) in part.entries("providers") {
        let provider = Part { file: FILE, node };
        let (Some(kind), Some(written)) = (provider.text("kind"), provider.inner("webhooks")) else { continue };
        let is_own = is_word(&tables::webhooks::OF, kind);
        let Some(of) = written.owned("of").or_else(|| is_own.then(|| kind.to_string())) else {
            problems.push(
                provider
                    .problem(provider.key_span("webhooks"), format!("whose webhooks come for `{name}`?"))
                    .label(format!("a provider of kind `{kind}` sends none itself"))
                    .help("say whose they are: webhooks: { of: mailgun, key: \"${MAILGUN_SIGNING_KEY}\" }"),
            );
            continue;
        };
        if of == "ses" && !written.has("topics") {
            problems.push(
                provider
                    .problem(provider.key_span("webhooks"), "`topics` is missing")
                    .label("anybody can own a topic that Amazon signs for")
                    .help("name your own: topics: arn:aws:sns:eu-west-1:123456789012:mail"),
            );
        } else if !["key", "secret", "topics"].iter().any(|key| written.has(key)) && kind != "twilio" {
            problems.push(
                provider
                    .problem(provider.key_span("webhooks"), "nothing here proves that a webhook is genuine")
                    .label("neither `key` nor `secret`")
                    .help("where the provider signs, write key: \"${NAME}\"; else secret: \"${NAME}\", the last part of the address"),
            );
        }
        webhooks.insert(
            name.to_string(),
            WebhookSettings {
                of,
                keys: written.texts("key"),
                secret: written.owned("secret"),
                login: written.owned("login"),
                topics: written.texts("topics"),
            },
        );
    }
    webhooks
}

/// A kind's own keys: whole numbers and booleans typed, all else as written.
fn own_settings(provider: Part<'_>, table: &Table) -> serde_json::Map<String, serde_json::Value> {
    let own = provider.node.map().unwrap_or_default().iter();
    own.filter_map(|(key, node)| {
        let value = match &table.field(&key.text)?.shape {
            Shape::Whole { .. } => node.text().and_then(|text| text.parse::<u64>().ok()).map_or(serde_json::Value::Null, Into::into),
            Shape::Boolean => node.text().and_then(|text| text.parse::<bool>().ok()).map_or(serde_json::Value::Null, Into::into),
            _ => json(node),
        };
        (!provider::PROVIDER.keys().any(|common| common == key.text)).then(|| (key.text.clone(), value))
    })
    .collect()
}

/// A login by name is a user with a password; SMSC.ru takes a token instead, and wants one of both.
fn login(provider: Part<'_>, problems: &mut Problems) {
    let (kind, has) = (provider.text("kind").unwrap_or_default(), |key: &str| provider.has(key));
    if kind == "smsc" && has("token") == (has("user") || has("password")) {
        problems.push(
            provider
                .problem(provider.span("kind"), "smsc wants a token, or a user and a password")
                .label("it has neither, or both")
                .help("write token: \"${SMSC_TOKEN}\""),
        );
        return;
    }
    for (has, lacks) in [("user", "password"), ("password", "user")] {
        if matches!(kind, "smtp" | "smsc") && provider.has(has) && !provider.has(lacks) {
            problems.push(
                provider.problem(provider.key_span(has), format!("`{lacks}` is missing")).label(format!("`{has}` stands here alone")).help(
                    if lacks == "password" {
                        "add password: \"${PASSWORD}\", and put it into .env"
                    } else {
                        "add the user name: user: …"
                    },
                ),
            );
        }
    }
}

/// Headers that carry secrets must name them.
fn secret_headers(provider: Part<'_>, problems: &mut Problems) {
    for (name, _, node) in provider.entries("headers") {
        let lower = name.to_lowercase();
        let secret = ["authorization", "api-key", "apikey", "token", "secret", "password"].iter().any(|word| lower.contains(word));
        if secret && node.text().is_some_and(|text| !text.contains("${")) {
            problems.push(
                provider
                    .problem(node.span, "a secret stands here in plain text")
                    .label("everyone who can read the files can read it")
                    .help(format!("write the name of a secret instead, like {name}: \"Bearer ${{PROVIDER_TOKEN}}\", and put it into .env")),
            );
        }
    }
}
