//! Runs the tests of campaign and segment files: the real engine, on a virtual clock and a database of its own, with providers that only
//! remember.
//!
//! Nothing leaves the process and nothing of the workspace's database is touched. People and events come in through the same import
//! as real ones; what came of them is compared by [`super::expectations`].

use super::expectations::{Names, Seen, SeenMessage, SeenRefusal, differences};
use super::{Engine, Parts, Roles, applying};
use crate::campaigns::{Definitions, Supply, Test};
use crate::clock::Clock;
use crate::customers::import::{self, EventOptions, Input, Report};
use crate::customers::keys::Keys;
use crate::diagnostics::Files;
use crate::dispatch::{Identity, Lane, Lanes, Outlets};
use crate::providers::{Body, Outcome, Outgoing, Provider, Sending};
use crate::schedule::resolve;
use crate::segments::{Condition, Moment, ZoneInForce};
use crate::store::conversions::Measures;
use crate::store::trials::TrialRow;
use crate::store::{self, Store};
use crate::templates::sms;
use crate::tracking::Tokens;
use crate::types::{Channel, MessageState, Time};
use chrono::TimeDelta;
use chrono_tz::Tz;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

/// A campaign test that could not be run at all; the campaign may be right or wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Engine(#[from] super::Error),
    #[error("the test's people or events cannot be read: {0}")]
    Data(String),
    #[error("there is no place for the test's database")]
    Folder(#[from] std::io::Error),
}

type Row = Map<String, Value>;

/// Of a segment's test; people of tests are few.
const MOST_MEMBERS: usize = 100_000;

/// Runs one test of a campaign; one sentence for each thing that is not as expected.
pub async fn campaign(files: &Files, definitions: Definitions, key: &str, test: &Test) -> Result<Vec<String>, Error> {
    let zone = definitions.campaigns.get(key).map_or(definitions.workspace.zone, |campaign| campaign.schedule.zone);
    let by_trigger = definitions.campaigns.get(key).is_some_and(|campaign| campaign.schedule.when.is_some());
    let trial = Trial::begin(&definitions, test, zone, by_trigger).await?;
    let workspace = definitions.workspace.clone();
    let mut apply = applying(files.clone(), definitions, "test".into(), "test".into(), trial.begins - TimeDelta::seconds(1));
    apply.campaigns.retain(|campaign| campaign.key == key);
    trial.store.apply(&apply).await?;
    let recorder = Recorder::new(trial.clock.clone());
    let open = {
        let recorder = recorder.clone();
        Arc::new(move |_: &crate::campaigns::Workspace| recorder.outlets())
    };
    let parts = Parts {
        store: trial.store.clone(),
        clock: trial.clock.clone(),
        open,
        arms: BTreeMap::from([(key.to_string(), test.arms.clone())]),
        roles: Roles::ALL,
        stop: CancellationToken::new(),
    };
    let engine = Engine::start(parts).await?;
    for (at, event) in trial.later.iter().filter(|(at, _)| *at <= trial.ends) {
        engine.run_through(*at).await?;
        trial.take_events(vec![event.clone()]).await?;
    }
    engine.run_through(trial.ends).await?;
    let seen = seen(&trial.store, key, &workspace, &recorder).await?;
    drop(engine);
    trial.store.close().await;
    Ok(differences(&test.expect, &seen, zone))
}

/// Runs one test of a segment.
pub async fn segment(definitions: &Definitions, key: &str, test: &Test) -> Result<Vec<String>, Error> {
    let zone = definitions.workspace.zone;
    let trial = Trial::begin(definitions, test, zone, false).await?;
    let segments: BTreeMap<String, Condition> =
        definitions.segments.iter().map(|(key, segment)| (key.clone(), segment.condition.clone())).collect();
    let condition = Condition::Segment(key.to_string());
    let samples = trial.store.draw_samples(&[&condition], &segments, &definitions.workspace.seed).await?;
    let moment = Moment {
        now: trial.begins,
        zone: ZoneInForce::Fixed(zone),
        segments: &segments,
        currency: &definitions.workspace.currency,
        rates: &definitions.workspace.rates,
        seed: &definitions.workspace.seed,
        samples: &samples,
    };
    let (members, _) = trial.store.sample_audience(&condition, &moment, MOST_MEMBERS).await?;
    let members: Vec<String> = members.into_iter().map(|member| member.external_id.unwrap_or_else(|| format!("#{}", member.id))).collect();
    trial.store.close().await;
    let seen = Seen { counts: BTreeMap::from([("selected".to_string(), members.len() as u64)]), members, ..Seen::default() };
    Ok(differences(&test.expect, &seen, zone))
}

/// A database with the test's people, and the clock at its beginning.
struct Trial {
    store: Store,
    clock: Clock,
    settings: import::Settings,
    begins: Time,
    ends: Time,
    /// Events that happen after the beginning, in their order.
    later: Vec<(Time, Row)>,
    _folder: tempfile::TempDir,
}

impl Trial {
    /// What happens at the very beginning happened before, unless it is to start the campaign (`by_trigger`).
    async fn begin(definitions: &Definitions, test: &Test, zone: Tz, by_trigger: bool) -> Result<Trial, Error> {
        let folder = tempfile::tempdir()?;
        let store = Store::open(&format!("sqlite:{}", folder.path().join("test.db").display())).await?;
        let begins = test.at_instant.unwrap_or_else(|| resolve(zone, test.at));
        let ends = test.run_for.map_or(begins, |duration| duration.added(begins, zone));
        let workspace = &definitions.workspace;
        let settings =
            import::Settings { zone, source: "test".into(), ..import::Settings::of(workspace, Keys::new("campaign tests"), begins) };
        let mut trial = Trial { store, clock: Clock::standing_at(begins), settings, begins, ends, later: Vec::new(), _folder: folder };
        trial.take_people(&test.people).await?;
        for (name, _) in workspace.coupons.iter().filter(|(_, coupon)| coupon.supply == Supply::Imported) {
            // A test has no file of codes: enough are there, and each is drawn once.
            let codes: Vec<String> = (1..=1000).map(|number| format!("TEST-{number:04}")).collect();
            trial.store.import_codes(name, &codes).await?;
        }
        let (before, after): (Vec<_>, Vec<_>) = test
            .events
            .iter()
            .map(|event| (happens(event, zone), event))
            .partition(|(at, _)| at.is_none_or(|at| at < begins || at == begins && !by_trigger));
        trial.take_events(before.into_iter().map(|(_, event)| event.clone()).collect()).await?;
        trial.later = after.into_iter().filter_map(|(at, event)| Some((at?, event.clone()))).collect();
        trial.later.sort_by_key(|(at, _)| *at);
        Ok(trial)
    }

    async fn take_people(&self, people: &[Row]) -> Result<(), Error> {
        let mut rows = Vec::new();
        let mut suppressions = Vec::new();
        for person in people {
            let mut row = Row::new();
            for (key, value) in person {
                match key.as_str() {
                    "consent" => {
                        for (topic, channels) in value.as_object().into_iter().flatten() {
                            row.insert(format!("consent.{topic}"), words(channels).join(" ").into());
                        }
                    }
                    "suppressed" => {
                        for channel in words(value) {
                            let column = if channel == "sms" { "phone" } else { "email" };
                            if let Some(address) = person.get(column) {
                                suppressions
                                    .push(Row::from_iter([(column.to_string(), address.clone()), ("reason".to_string(), "manual".into())]));
                            }
                        }
                    }
                    _ => {
                        row.insert(key.clone(), value.clone());
                    }
                }
            }
            rows.push(row);
        }
        let mut rejected = Vec::new();
        import::customers(&self.store, &self.settings, Input::Rows(rows), &mut |report| note(report, &mut rejected)).await.map_err(data)?;
        import::suppressions(&self.store, &self.settings, Input::Rows(suppressions), &mut |report| note(report, &mut rejected))
            .await
            .map_err(data)?;
        nothing(rejected)
    }

    async fn take_events(&self, events: Vec<Row>) -> Result<(), Error> {
        let mut rejected = Vec::new();
        let settings = import::Settings { now: self.clock.now(), ..self.settings.clone() };
        // What converts is no part of a test's expectations.
        let (options, measures) = (
            EventOptions { starts: true, ..EventOptions::default() },
            Measures { all: Vec::new(), zone: settings.zone, currency: settings.currency.clone() },
        );
        import::events(&self.store, &settings, &options, &measures, Input::Rows(events), &mut |report| note(report, &mut rejected))
            .await
            .map_err(data)?;
        nothing(rejected)
    }
}

fn note(report: Report<'_>, rejected: &mut Vec<String>) {
    if let Report::Rejected(one) = report {
        rejected.push(one.reason.clone());
    }
}

fn nothing(rejected: Vec<String>) -> Result<(), Error> {
    if rejected.is_empty() { Ok(()) } else { Err(Error::Data(rejected.join("; "))) }
}

fn data(error: import::Error) -> Error {
    Error::Data(error.to_string())
}

/// A word, or a list of words.
fn words(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().filter_map(Value::as_str).map(str::to_string).collect(),
        Value::String(text) => text.split_whitespace().map(str::to_string).collect(),
        _ => Vec::new(),
    }
}

/// When an event of a test happens; the files were checked, so what cannot be read happened before.
fn happens(event: &Row, zone: Tz) -> Option<Time> {
    let text = event.get("at")?.as_str()?;
    if let Ok(instant) = chrono::DateTime::parse_from_rfc3339(text) {
        return Some(instant.to_utc());
    }
    let local = ["%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]
        .iter()
        .find_map(|form| chrono::NaiveDateTime::parse_from_str(text, form).ok())
        .or_else(|| chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(|date| date.and_time(chrono::NaiveTime::MIN)))?;
    Some(resolve(zone, local))
}

async fn seen(store: &Store, key: &str, workspace: &crate::campaigns::Workspace, recorder: &Recorder) -> Result<Seen, Error> {
    let rows = store.trial_rows(key).await?;
    let mut seen = Seen::default();
    let mut count = |word: &str| *seen.counts.entry(word.to_string()).or_insert(0) += 1;
    for row in &rows {
        count("selected");
        match row.state {
            MessageState::Refused => {}
            state => {
                count("messages");
                count(if MessageState::WAITING.contains(&state) { "waiting" } else { state.word() });
                if state == MessageState::Deferred {
                    count(state.word());
                }
            }
        }
    }
    for (id, at, body) in recorder.all() {
        let Some(row) = rows.iter().find(|row| row.id == id) else { continue };
        seen.messages.push(message(row, at, &body, workspace));
    }
    for row in &rows {
        if let Some(refusal) = row.refusal {
            seen.refused.push(SeenRefusal { to: names(row), refusal, detail: row.detail.clone() });
        }
    }
    Ok(seen)
}

fn names(row: &TrialRow) -> Names {
    Names { external_id: row.external_id.clone(), email: row.email.clone(), phone: row.phone.clone() }
}

fn message(row: &TrialRow, at: Time, body: &Body, workspace: &crate::campaigns::Workspace) -> SeenMessage {
    let chain = workspace.language_chain(row.language.as_deref());
    let language = chain.into_iter().find(|language| workspace.languages.contains(language)).unwrap_or_default();
    let mut seen = SeenMessage {
        to: names(row),
        channel: body.channel(),
        variant: row.arm.clone(),
        language,
        at,
        subject: String::new(),
        preheader: String::new(),
        texts: Vec::new(),
        parts: None,
    };
    match body {
        Body::Sms { text, .. } => {
            seen.texts.push(text.clone());
            seen.parts = u16::try_from(sms::parts(text).parts).ok();
        }
        Body::Webhook { json, .. } => seen.texts.push(json.clone()),
        Body::Email { mime, .. } => {
            if let Some(letter) = mail_parser::MessageParser::default().parse(mime) {
                seen.subject = letter.subject().unwrap_or_default().to_string();
                let html = letter.body_html(0).unwrap_or_default().into_owned();
                seen.preheader = crate::templates::preheader_of(&html);
                seen.texts.push(html);
                seen.texts.push(letter.body_text(0).unwrap_or_default().into_owned());
            }
        }
    }
    seen
}

/// A message's number, when it was handed over, and what it was.
type Kept = (i64, Time, Body);

/// Providers that accept and remember.
#[derive(Clone)]
struct Recorder {
    clock: Clock,
    kept: Arc<Mutex<Vec<Kept>>>,
}

impl Recorder {
    fn new(clock: Clock) -> Self {
        Recorder { clock, kept: Arc::default() }
    }

    fn all(&self) -> Vec<Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn outlets(&self) -> Outlets {
        let lane = |channel| Lane::new(Arc::new(Remembering { channel, recorder: self.clone() }));
        // A fixed key: nothing of a test leaves, and its bytes stay the same.
        let tokens = Tokens::new("t:campaign-tests-sign-nothing-real").unwrap_or_else(|_| unreachable!("the key is well formed"));
        Outlets {
            composer: Arc::new(Identity::new(tokens, "campaign tests", BTreeMap::new())),
            lanes: Arc::new(Lanes::new(vec![lane(Channel::Email), lane(Channel::Sms), lane(Channel::Webhook)])),
        }
    }
}

struct Remembering {
    channel: Channel,
    recorder: Recorder,
}

impl Provider for Remembering {
    fn name(&self) -> &str {
        "test"
    }
    fn channel(&self) -> Channel {
        self.channel
    }
    fn width(&self) -> usize {
        1
    }
    fn send<'a>(&'a self, outgoing: &'a Outgoing) -> Sending<'a> {
        let kept = (outgoing.message.0, self.recorder.clock.now(), outgoing.body.clone());
        self.recorder.kept.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
        Box::pin(async { Outcome::Accepted { id: None, reply: "kept".into() } })
    }
}
