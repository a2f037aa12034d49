//! The preferences page: topics by channel, a pause, the language, the way out, and the objection of GDPR 21. Opened by a token, without a login.
//!
//! The token in the address is the secret: a page of somebody else's does not know it, so that no cookie and no second token is needed. GET and
//! HEAD change nothing. A POST keeps what one button asks for and shows what is stored then; the same POST again changes nothing more.

use super::visitor::Visitor;
use super::{Shared, Site, pages, unsubscribe, words};
use crate::policy::{self, Consent};
use crate::store::from_micros;
use crate::store::links::Addressed;
use crate::store::responses::{Scope, digest};
use crate::store::wishes::{Asked, Choice, Objection, Pause, Standing, Wishes};
use crate::templates::long_date;
use crate::tracking::Kind;
use crate::types::{Channel, ConsentState, MessageId, Time};
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use chrono::TimeDelta;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// How many days a pause may last.
const BREAKS: [i64; 3] = [30, 60, 90];

pub async fn page(
    axum::extract::State(inner): Shared,
    method: Method,
    Path(token): Path<String>,
    headers: HeaderMap,
    visitor: Visitor,
    body: Bytes,
) -> Response {
    let (message, mut addressed) = match super::opened(&inner, Kind::Preferences, &token, &method, &headers).await {
        Ok(opened) => opened,
        Err(answer) => return *answer,
    };
    let now = inner.clock.now();
    let Ok(mut standing) = inner.store.standing(addressed.customer_id, now).await else { return pages::away(&headers) };
    let mut outcome = Outcome::default();
    if method == Method::POST {
        let site = inner.site();
        let desk = Desk { site: &site, addressed: &addressed, standing: &standing, headers: &headers, now };
        let form = unsubscribe::form(&headers, &body);
        outcome = desk.read(&form);
        let proof = proof(message, "preferences page", desk.language(), &visitor);
        let asked = Asked { customer: addressed.customer_id, at: now, proof: &proof };
        let is_leaving = matches!(outcome.said, Some("stopped" | "objected"));
        if is_leaving && !unsubscribe::record(&inner, message, Scope::Everything, "page").await
            || inner.store.keep_wishes(&asked, &outcome.wishes).await.is_err()
        {
            return pages::away(&headers);
        }
        if let Some(language) = outcome.wishes.language.clone() {
            addressed.language = Some(language);
        }
        match inner.store.standing(addressed.customer_id, now).await {
            Ok(kept) => standing = kept,
            Err(_) => return pages::away(&headers),
        }
    }
    let site = inner.site();
    Desk { site: &site, addressed: &addressed, standing: &standing, headers: &headers, now }.show(&outcome)
}

/// What a choice on our pages is proved with: the message whose token opened the page, the page's words, and from where it came.
pub(super) fn proof(message: MessageId, page: &str, language: &str, visitor: &Visitor) -> String {
    let wording = digest(&[words::texts(language).to_string().as_bytes()]);
    let network = if visitor.visit.network.is_empty() { "unknown" } else { &visitor.visit.network };
    let wording = hex::encode(wording.get(..4).unwrap_or_default());
    format!("message {message}, {page} in {language}, wording {wording}, network {network}")
}

type Consents = BTreeMap<(String, i16), (ConsentState, i64)>;

/// Whether a person is told to have a topic on a channel, as `policy` reads it.
pub(super) fn has(consents: &Consents, topic: &str, channel: i16) -> bool {
    let of = |topic: &str| consents.get(&(topic.to_string(), channel)).map(|(state, at)| Consent { state: *state, at: *at });
    matches!(policy::state(of(topic), of("*")), Some(ConsentState::Granted | ConsentState::Confirmed))
}

/// What a POST comes to.
#[derive(Debug, Default)]
struct Outcome {
    wishes: Wishes,
    /// The text that says what was done.
    said: Option<&'static str>,
    /// Fields with a value that the page does not offer; nothing is kept then.
    wrong: BTreeSet<&'static str>,
}

/// What the page is about.
struct Desk<'a> {
    site: &'a Site,
    addressed: &'a Addressed,
    standing: &'a Standing,
    headers: &'a HeaderMap,
    now: Time,
}

impl<'a> Desk<'a> {
    /// The language of the page.
    fn language(&self) -> &'static str {
        words::language(self.site, self.addressed.language.as_deref(), self.headers)
    }

    /// The language of the messages, among those of the workspace.
    fn spoken(&self) -> Option<&'a str> {
        let own = self.addressed.language.as_deref();
        let fallback = own.and_then(|own| self.site.fallback.get(own)).map(String::as_str);
        let is_spoken = |language: &&str| self.site.languages.iter().any(|known| known == language);
        own.filter(is_spoken).or(fallback.filter(is_spoken)).or(self.site.languages.first().map(String::as_str))
    }

    /// The switches of the page: every channel that a topic is sent on and on which we know an address, if it needs one. A topic that must be
    /// confirmed can only be switched on here for the channel on which the page's token came, since that proves the address. Who objects
    /// has none.
    fn switches(&self) -> Vec<(&'a str, Channel, bool)> {
        let mut switches = Vec::new();
        if self.standing.objected_since().is_some() {
            return switches;
        }
        for (topic, (_, channels, confirm)) in &self.site.topics {
            for way in channels {
                let is_on = has(&self.standing.consents, topic, way.code());
                let is_known = !matches!(way, Channel::Email | Channel::Sms) || self.standing.addresses.contains_key(&way.code());
                if is_on || is_known && (!confirm || way.code() == self.addressed.channel) {
                    switches.push((topic.as_str(), *way, is_on));
                }
            }
        }
        switches
    }

    /// What the form asks for. What is not on the page is not touched.
    fn read(&self, form: &[(String, String)]) -> Outcome {
        let value = |wanted: &str| form.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        let everywhere = |state| Channel::ALL.iter().map(|channel| Choice { topic: "*".into(), channel: *channel, state }).collect();
        let objects = self.standing.objected_since().is_some();
        let (wishes, said) = match (value("save"), value("stop"), value("objection")) {
            (Some(_), ..) => return self.read_settings(form),
            (_, Some("all"), _) => (Wishes { choices: everywhere(ConsentState::Withdrawn), ..Wishes::default() }, "stopped"),
            (.., Some("raise")) if objects => (Wishes::default(), "objected"),
            (.., Some("raise")) => (Wishes { objection: Some(Objection::Raise), ..Wishes::default() }, "objected"),
            (.., Some("take_back")) => (Wishes { objection: Some(Objection::TakeBack), ..Wishes::default() }, "taken_back"),
            _ => return Outcome::default(),
        };
        Outcome { wishes, said: Some(said), wrong: BTreeSet::new() }
    }

    fn read_settings(&self, form: &[(String, String)]) -> Outcome {
        let value = |wanted: &str| form.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        let (mut wishes, mut wrong) = (Wishes::default(), BTreeSet::new());
        for (topic, channel, is_on) in self.switches() {
            let wanted = value(&format!("{topic}/{channel}")).is_some();
            if wanted == is_on {
                continue;
            }
            let state = match (wanted, channel.code() == self.addressed.channel) {
                (false, _) => ConsentState::Withdrawn,
                // The token came to that very address.
                (true, true) => ConsentState::Confirmed,
                (true, false) => ConsentState::Granted,
            };
            wishes.choices.push(Choice { topic: topic.to_string(), channel, state });
        }
        wishes.choices.sort_by(|a, b| (&a.topic, a.channel).cmp(&(&b.topic, b.channel)));
        match value("language") {
            Some(language) if self.site.languages.iter().any(|known| known == language) => {
                wishes.language = (self.spoken() != Some(language)).then(|| language.to_string());
            }
            Some(_) => _ = wrong.insert("language"),
            None => {}
        }
        match value("pause").filter(|_| self.standing.objected_since().is_none()) {
            None | Some("keep") => {}
            Some("none") => wishes.pause = self.standing.paused_until.map(|_| Pause::End),
            Some(days) => match days.parse().ok().filter(|days| BREAKS.contains(days)) {
                Some(days) => wishes.pause = Some(Pause::Until(self.now + TimeDelta::days(days))),
                None => _ = wrong.insert("pause"),
            },
        }
        match wrong.is_empty() {
            true => Outcome { wishes, said: Some("saved"), wrong },
            false => Outcome { wrong, ..Outcome::default() },
        }
    }

    /// The page as things stand.
    fn show(&self, outcome: &Outcome) -> Response {
        let language = self.language();
        let day = |micros: i64| long_date(from_micros(micros), language, self.site.zone);
        let dated = |name: &str, micros: i64| words::text(language, name).replace("{date}", &day(micros));
        let wrong: BTreeMap<_, _> = outcome.wrong.iter().map(|field| (field, true)).collect();
        let more = json!({
            "announce": outcome.said.map(|said| words::text(language, said)),
            "errors": (!wrong.is_empty()).then_some(wrong),
            "objected": self.standing.objected_since().map(|at| dated("objected_notice", at)),
            "paused": self.standing.paused_until.map(|until| dated("paused_notice", until)),
            "topics": self.topics(language),
            "breaks": self.breaks(language, self.standing.paused_until.map(|until| dated("break_keep", until))),
            "languages": self.languages(),
        });
        let about = pages::with(pages::about(self.site, Some(self.addressed), language), more);
        let status = if outcome.wrong.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
        pages::page(status, "preferences", language, &about)
    }

    fn topics(&self, language: &str) -> Vec<Value> {
        let switches = self.switches();
        let groups = switches.chunk_by(|one, other| one.0 == other.0);
        let channel = |(topic, way, is_on): &(&str, Channel, bool)| {
            let address = self.standing.addresses.get(&way.code()).filter(|_| matches!(way, Channel::Email | Channel::Sms));
            json!({ "field": format!("{topic}/{way}"), "channel": words::channel(language, *way), "on": is_on,
                    "address": address.map(|address| pages::masked(address)) })
        };
        groups
            .filter_map(|group| {
                let (title, ..) = self.site.topics.get(group.first()?.0)?;
                Some(json!({ "title": words::titled(self.site, title, language), "channels": group.iter().map(channel).collect::<Vec<_>>() }))
            })
            .collect()
    }

    fn breaks(&self, language: &str, kept: Option<String>) -> Vec<Value> {
        let (is_paused, none) = (kept.is_some(), if kept.is_some() { "break_end" } else { "break_none" });
        let kept = kept.map(|text| json!({ "value": "keep", "text": text, "on": true }));
        let none = json!({ "value": "none", "text": words::text(language, none), "on": !is_paused });
        let days = BREAKS.map(|days| {
            let text = words::text(language, "break_days").replace("{days}", &days.to_string());
            json!({ "value": days.to_string(), "text": text, "on": false })
        });
        kept.into_iter().chain([none]).chain(days).collect()
    }

    /// None where there is nothing to choose.
    fn languages(&self) -> Vec<Value> {
        let spoken = self.spoken();
        let language = |code: &String| json!({ "code": code, "name": words::own_name(code), "on": spoken == Some(code) });
        if self.site.languages.len() < 2 { Vec::new() } else { self.site.languages.iter().map(language).collect() }
    }
}
