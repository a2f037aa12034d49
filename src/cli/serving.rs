//! The public addresses inside a process that runs the engine: `server` with what it needs of later modules.
//!
//! Letters are shown again as `dispatch` composed them; events come in as `customers` imports them; both follow what is applied meanwhile, by
//! this process or another.

use crate::campaigns::Workspace as Applied;
use crate::clock::Clock;
use crate::config::{PEPPER, SIGNING, Secrets, Workspace};
use crate::customers::import::{self, EventOptions, Input, Report, Settings as ImportSettings};
use crate::customers::keys::Keys;
use crate::dispatch::{Compiled, Identity, References, Sending};
use crate::feedback::Feedback;
use crate::kill_points::{Point, reached};
use crate::literals::ValueType;
use crate::segments::Samples;
use crate::server::{self, Forms, Hooks, Incoming, Intake, Network, Site, State, Subject, Taken, View, Viewed};
use crate::store::blocks::{Due, Person};
use crate::store::conversions::Measures;
use crate::store::definitions::Loaded;
use crate::store::responses::{Counting, ResponseRow, Scope, digest};
use crate::store::{Store, micros};
use crate::tracking::{Journal, Tokens, judge};
use crate::types::{Response, Time, Verdict, VersionId};
use anyhow::Context;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Where the public addresses are served when nothing else is said.
pub const LISTEN: &str = "127.0.0.1:8080";
/// The environment's name for it.
pub const LISTEN_NAME: &str = "POSTHASTE_LISTEN";
/// Opens POST /events and signs POST /conversions.
pub const API_KEY: &str = "POSTHASTE_API_KEY";
/// How often another apply is looked for.
const LOOK: Duration = Duration::from_secs(1);

/// Where the workspace's folder keeps hits while the database is away.
pub const JOURNAL: &str = ".posthaste/hits";

/// A server that runs until its `stop` is cancelled.
pub struct Serving {
    pub address: SocketAddr,
    pub stop: CancellationToken,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
    state: State,
}

/// How long what is under way may take when the engine stops.
const LAST: Duration = Duration::from_secs(10);

impl Serving {
    /// Takes no new requests, waits for those under way, and writes what came back.
    pub async fn end(self) -> anyhow::Result<()> {
        self.stop.cancel();
        let stopped = tokio::time::timeout(LAST, self.task).await;
        if tokio::time::timeout(LAST, self.state.finish()).await.is_err() {
            tracing::warn!("the database did not take all responses in time; what was kept in the journal is recorded at the next start");
        }
        stopped.map_or(Ok(()), |ended| Ok(ended??))
    }
}

/// Serves the public addresses of what is `applied` at `listen`; port 0 takes a free one. The clock may be a virtual one.
pub async fn start(store: &Store, applied: &Applied, workspace: &Workspace, clock: Clock, listen: SocketAddr) -> anyhow::Result<Serving> {
    let (store, signing, pepper) = (store.clone(), workspace.secret(SIGNING)?, workspace.secret(PEPPER)?);
    let tokens = Arc::new(Tokens::new(signing)?);
    let listener = tokio::net::TcpListener::bind(listen).await.with_context(|| format!("cannot listen at {listen}"))?;
    let address = listener.local_addr()?;
    let letters = Letters {
        store: store.clone(),
        loaded: Loaded::new(store.clone()),
        identity: Identity::new(Tokens::new(signing)?, pepper, BTreeMap::new()),
        versions: Mutex::default(),
    };
    let door = Arc::new(Door {
        store: store.clone(),
        keys: Keys::new(pepper),
        clock: clock.clone(),
        known: tokio::sync::Mutex::new(Arc::new(Known::of(&store, applied.clone()).await?)),
    });
    let state = State::new(server::Settings {
        store: store.clone(),
        clock,
        tokens,
        site: Site::of(applied),
        slot: 0,
        api_key: workspace.secrets.get(API_KEY).map(str::to_string),
        view: Some(Arc::new(letters)),
        intake: Some(door),
        journal: journal(&workspace.folder),
    });
    let stop = CancellationToken::new();
    match Network::new() {
        Ok(network) => state.set_fetch(Arc::new(network)),
        Err(why) => tracing::warn!(why, "nothing can be fetched: webhooks of SES stay closed"),
    }
    state.set_hooks(hooks(applied, &workspace.secrets, true));
    if let Some(version) = store.applied_workspace_id().await? {
        state.set_forms(Forms { workspace: applied.clone(), keys: Keys::new(pepper), version: version.0 });
    }
    tokio::spawn(follow(store, state.clone(), workspace.secrets.clone(), Keys::new(pepper), stop.clone()));
    let task = tokio::spawn(server::serve(listener, state.clone(), stop.clone()));
    Ok(Serving { address, stop, task, state })
}

/// Hits are not refused where the folder cannot be written: they wait for the database then.
fn journal(folder: &Path) -> Option<Journal> {
    let folder = folder.join(JOURNAL);
    Journal::open(&folder)
        .inspect_err(|error| {
            let error: &dyn std::error::Error = error;
            tracing::warn!(error, folder = %folder.display(), "there is no journal here: hits wait for the database when it is away");
        })
        .ok()
}

/// Where webhooks come in; what stays closed is said where it is news.
fn hooks(applied: &Applied, secrets: &Secrets, is_news: bool) -> Hooks {
    let (doors, closed) = crate::webhooks::doors(applied, &|text| secrets.resolve(text));
    for closed in closed.iter().filter(|_| is_news) {
        eprintln!("{closed}");
    }
    Hooks { public_url: applied.public_url.trim_end_matches('/').to_string(), doors }
}

/// What reads the webhooks that were stored.
pub fn feedback(store: &Store, workspace: &Workspace) -> anyhow::Result<Feedback> {
    let pepper = workspace.secret(PEPPER)?;
    Ok(Feedback::new(store.clone(), Keys::new(pepper), References::new(pepper), Tokens::new(workspace.secret(SIGNING)?)?))
}

/// Shows pages as they are applied while the server runs.
async fn follow(store: Store, state: State, secrets: Secrets, keys: Keys, stop: CancellationToken) {
    // What was applied between reading the workspace and this moment is taken over too.
    let mut last = None;
    loop {
        if let Ok(Some(version)) = store.applied_workspace_id().await
            && last != Some(version)
        {
            match store.load_workspace(version).await {
                Ok(workspace) => {
                    state.set_site(Site::of(&workspace));
                    state.set_hooks(hooks(&workspace, &secrets, last.is_some()));
                    state.set_forms(Forms { workspace, keys: keys.clone(), version: version.0 });
                    // Tried again when it failed; a click finds its links by itself meanwhile.
                    last = state.learn_links().await.is_ok().then_some(version);
                }
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "what was applied cannot be read; pages stay as they were")
                }
            }
        }
        state.write_counts().await;
        tokio::select! { () = stop.cancelled() => return state.write_counts().await, () = tokio::time::sleep(LOOK) => {} }
    }
}

/// Shows letters again.
struct Letters {
    store: Store,
    loaded: Loaded,
    identity: Identity,
    versions: Mutex<HashMap<VersionId, Arc<Compiled>>>,
}

impl View for Letters {
    fn render<'a>(&'a self, viewed: &'a Viewed) -> Pin<Box<dyn Future<Output = Option<String>> + Send + 'a>> {
        Box::pin(async move {
            match self.letter(viewed).await {
                Ok(html) => html,
                Err(error) => {
                    tracing::warn!(message = viewed.message.0, error = &error as &dyn std::error::Error, "a letter cannot be shown");
                    None
                }
            }
        })
    }
}

impl Letters {
    async fn letter(&self, viewed: &Viewed) -> Result<Option<String>, crate::store::Error> {
        let Some(run) = self.store.run(viewed.run).await? else { return Ok(None) };
        let arms = self.store.arms(run.id).await?.into_iter().map(|arm| (arm.arm, arm.name)).collect();
        let compiled = self.compiled(viewed).await?;
        let sending = Sending { run, compiled, arms, samples: Samples::default(), rate: None, is_reserved: false };
        let filled = match self.identity.fill(&sending, &due(viewed), viewed.at) {
            Ok(filled) => filled,
            Err(why) => {
                tracing::warn!(message = viewed.message.0, ?why, "a letter cannot be rendered again");
                return Ok(None);
            }
        };
        Ok(Some(filled.html.unwrap_or_else(|| plain(&filled.text))))
    }

    async fn compiled(&self, viewed: &Viewed) -> Result<Arc<Compiled>, crate::store::Error> {
        if let Some(known) = self.versions.lock().unwrap_or_else(PoisonError::into_inner).get(&viewed.version) {
            return Ok(known.clone());
        }
        let definitions = self.loaded.definitions(viewed.version).await?;
        let compiled = Arc::new(Compiled::new(definitions, &viewed.campaign, viewed.version));
        self.versions.lock().unwrap_or_else(PoisonError::into_inner).insert(viewed.version, compiled.clone());
        Ok(compiled)
    }
}

/// The message as it was due, to the person that the snapshot remembers.
fn due(viewed: &Viewed) -> Due {
    let created_at = viewed.variables.get("created_at").and_then(Value::as_str).and_then(|at| at.parse::<Time>().ok());
    let person = Person {
        language: viewed.language.clone(),
        zone: viewed.zone.clone(),
        attributes: viewed.variables.to_string(),
        created_at: created_at.map_or(0, micros),
        ..Person::default()
    };
    let alone = Due::alone(viewed.channel, viewed.arm, viewed.address.clone(), viewed.due_at, person);
    Due { id: viewed.message.0, run: viewed.run, customer: viewed.customer, ..alone }
}

/// Records that the person at `address` complained about the last message of a campaign: what a mailbox provider's report would do.
pub async fn complaint(store: &Store, campaign: &str, address: &str, now: Time) -> anyhow::Result<()> {
    let message = store.message_to(campaign, address).await?.with_context(|| format!("no message of {campaign} went to {address}"))?;
    let zone = crate::engine::applied_workspace(store).await?.map_or(chrono_tz::UTC, |(_, applied)| applied.zone);
    let row = ResponseRow {
        message,
        response: Response::Complained,
        at: now,
        received_at: now,
        link: 0,
        visit: None,
        verdict: Verdict::Human,
        bounce: None,
        scope: Scope::Everything,
        source: "complaint".into(),
        source_key: digest(&[b"complained", &message.0.to_be_bytes()]),
    };
    store.record_responses(&[row], &Counting { zone, slot: 0, judge: judge::judge }).await?;
    Ok(())
}

/// A text as a page.
fn plain(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!(
        "<!doctype html><meta charset=\"utf-8\"><title></title><pre style=\"white-space:pre-wrap;font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:2rem auto;padding:0 1rem\">{escaped}</pre>"
    )
}

/// Takes events in, as an import does.
struct Door {
    store: Store,
    keys: Keys,
    clock: Clock,
    known: tokio::sync::Mutex<Arc<Known>>,
}

impl Door {
    /// The applied files as they are now: events that come right behind an apply count for what it measures.
    async fn known(&self) -> Result<Arc<Known>, crate::store::Error> {
        let mut known = self.known.lock().await;
        let newest = self.store.newest_version().await?;
        if known.newest != newest {
            let workspace = match self.store.applied_workspace_id().await? {
                Some(version) => self.store.load_workspace(version).await?,
                None => known.workspace.clone(),
            };
            // Read before what it names: an apply in between is noticed the next time.
            *known = Arc::new(Known { newest, ..Known::of(&self.store, workspace).await? });
        }
        Ok(known.clone())
    }
}

/// What the intake knows of the applied files.
struct Known {
    /// The newest version of anything when this was read.
    newest: Option<VersionId>,
    workspace: Applied,
    measures: Measures,
}

impl Known {
    async fn of(store: &Store, workspace: Applied) -> Result<Known, crate::store::Error> {
        let newest = None;
        let measures = store.measures(workspace.zone, &workspace.currency).await?;
        Ok(Known { newest, workspace, measures })
    }

    /// The property that holds an event's money.
    fn money(&self, event: &str) -> String {
        let declared = self.workspace.events.as_ref().and_then(|events| events.get(event));
        let is_money = |name: &str| declared.is_some_and(|properties| properties.get(name) == Some(&ValueType::Money));
        let usual = ["amount", "value", "total", "revenue", "price"].into_iter().find(|name| is_money(name)).map(str::to_string);
        let any = || declared?.iter().find(|(_, kind)| **kind == ValueType::Money).map(|(name, _)| name.clone());
        usual.or_else(any).unwrap_or_else(|| "value".into())
    }

    /// The row of an import.
    fn row(&self, incoming: &Incoming) -> Map<String, Value> {
        let mut row = incoming.properties.clone();
        if let Some(worth) = &incoming.worth {
            let written = worth.currency.as_ref().map_or_else(|| worth.amount.clone(), |currency| format!("{} {currency}", worth.amount));
            row.entry(self.money(&incoming.event)).or_insert(Value::String(written));
        }
        let (column, who) = match &incoming.subject {
            Subject::Customer(number) => ("customer", format!("#{number}")),
            Subject::ExternalId(id) => ("customer", id.clone()),
            Subject::Email(address) => ("email", address.clone()),
            Subject::Phone(number) => ("phone", number.clone()),
        };
        for (name, value) in
            [(column, who), ("event", incoming.event.clone()), ("at", incoming.at.to_rfc3339()), ("id", incoming.id.clone())]
        {
            row.insert(name.into(), Value::String(value));
        }
        row
    }
}

impl Intake for Door {
    fn take<'a>(&'a self, events: Vec<Incoming>) -> Pin<Box<dyn Future<Output = Result<Taken, String>> + Send + 'a>> {
        Box::pin(async move {
            let applied = self.known().await.map_err(|error| crate::cli::explained(&error.into()))?;
            reached(Point::BeforeIntake);
            // A source and a property with the money are those of a whole import.
            let mut groups: BTreeMap<(String, Option<String>), Vec<usize>> = BTreeMap::new();
            for (place, event) in events.iter().enumerate() {
                let money = event.worth.as_ref().map(|_| applied.money(&event.event));
                groups.entry((event.source.clone(), money)).or_default().push(place);
            }
            let mut taken = Taken::default();
            for ((source, value), places) in groups {
                let rows = places.iter().map(|place| applied.row(&events[*place])).collect();
                let settings = ImportSettings { source, ..ImportSettings::of(&applied.workspace, self.keys.clone(), self.clock.now()) };
                let options = EventOptions { value, starts: true, ..EventOptions::default() };
                let mut rejected = Vec::new();
                let mut report = |report: Report<'_>| {
                    if let Report::Rejected(row) = report {
                        let place = usize::try_from(row.row.number).ok().and_then(|number| places.get(number.checked_sub(1)?));
                        rejected.extend(place.map(|place| (*place, row.reason.clone())));
                    }
                };
                let summary = import::events(&self.store, &settings, &options, &applied.measures, Input::Rows(rows), &mut report)
                    .await
                    .map_err(|error| crate::cli::explained(&error.into()))?;
                taken.accepted += usize::try_from(summary.new).unwrap_or(0);
                taken.repeated += usize::try_from(summary.unchanged).unwrap_or(0);
                taken.rejected.extend(rejected);
            }
            reached(Point::AfterIntake);
            Ok(taken)
        })
    }
}
