//! The public addresses over HTTP: open pixel, redirects, unsubscription, confirmation, preferences, view in browser, conversions, events, webhooks.
//!
//! Thin: tokens are read by `tracking`, everything is kept by `store`. GET and HEAD never change a consent. A response is answered when it
//! is durable. While the database is away, hits go to the journal of this machine, redirects work from the links that are kept in memory with
//! their version, and unsubscriptions are answered 503, so that mailbox providers try again: one counts when those who send can see it.

mod confirm;
mod forms;
mod hooks;
mod intake;
mod keeping;
mod limits;
mod pages;
mod preferences;
mod response;
mod unsubscribe;
mod view;
mod visitor;
mod words;

pub use forms::Forms;
pub use hooks::{Fetch, Hooks, Network};
pub use intake::{Incoming, Intake, Subject, Taken, Worth};
pub use view::{View, Viewed, unpacked};

use crate::campaigns::{Identity, Topic, Workspace};
use crate::clock::Clock;
use crate::literals::Words;
use crate::store::Store;
use crate::store::links::{Addressed, VersionLinks};
use crate::store::responses::Counting;
use crate::tracking::{Journal, Kind, Recorder, Tokens, judge};
use crate::types::{Channel, MessageId, VersionId};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use chrono_tz::Tz;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, RwLock};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

/// What the pages know of the workspace.
#[derive(Debug, Clone)]
pub struct Site {
    /// The workspace's key: `utm_source`.
    pub workspace: String,
    pub zone: Tz,
    pub currency: String,
    pub link_hosts: BTreeSet<String>,
    pub languages: Vec<String>,
    pub fallback: BTreeMap<String, String>,
    /// Key → title, channels, and whether consent must be confirmed.
    pub topics: BTreeMap<String, (Words, Vec<Channel>, bool)>,
    /// Topic → who sends it, where that is said.
    pub senders: BTreeMap<String, Sender>,
    /// Who sends the rest.
    pub sender: Option<Sender>,
}

/// Whom a page is from.
#[derive(Debug, Clone)]
pub struct Sender {
    pub name: Words,
    pub postal_address: Option<Words>,
    /// The email address to which people write.
    pub contact: Option<String>,
}

impl Sender {
    fn of(identity: &Identity) -> Option<Self> {
        let email = identity.email.as_ref()?;
        let contact = Some(email.reply_to.as_ref().unwrap_or(&email.address).clone());
        Some(Sender { name: email.name.clone(), postal_address: identity.postal_address.clone(), contact })
    }
}

impl Site {
    pub fn of(workspace: &Workspace) -> Self {
        let topics =
            workspace.topics.iter().map(|(key, topic)| (key.clone(), (topic.title.clone(), topic.channels.clone(), topic.confirm)));
        let sender_of = |topic: &Topic| Sender::of(workspace.identities.get(topic.from.as_ref()?)?);
        Site {
            workspace: workspace.key.clone(),
            zone: workspace.zone,
            currency: workspace.currency.clone(),
            link_hosts: workspace.link_hosts.clone(),
            languages: workspace.languages.clone(),
            fallback: workspace.fallback.clone(),
            topics: topics.collect(),
            senders: workspace.topics.iter().filter_map(|(key, topic)| Some((key.clone(), sender_of(topic)?))).collect(),
            sender: workspace.identities.values().find_map(Sender::of),
        }
    }
}

/// What the server is made of.
pub struct Settings {
    pub store: Store,
    pub clock: Clock,
    pub tokens: Arc<Tokens>,
    pub site: Site,
    /// This node's rows of the tallies.
    pub slot: i16,
    /// POSTHASTE_API_KEY: opens POST /events, and signs POST /conversions. Without it both are closed.
    pub api_key: Option<String>,
    /// Renders what view-in-browser shows; without it the page says that the message cannot be shown any more.
    pub view: Option<Arc<dyn View>>,
    /// Takes events from outside; without it /events and /conversions are closed.
    pub intake: Option<Arc<dyn Intake>>,
    /// Keeps hits that the database does not take in time; without it they wait for the database.
    pub journal: Option<Journal>,
}

/// Everything that handlers share; cheap to clone. Must be made on a tokio runtime: it starts the recorder's task.
#[derive(Clone)]
pub struct State(Arc<Inner>);

pub(crate) struct Inner {
    store: Store,
    clock: Clock,
    tokens: Arc<Tokens>,
    recorder: Recorder,
    counting: watch::Sender<Counting>,
    site: RwLock<Arc<Site>>,
    api_key: Option<String>,
    view: Option<Arc<dyn View>>,
    intake: Option<Arc<dyn Intake>>,
    /// Versions never change.
    links: RwLock<HashMap<i64, Arc<VersionLinks>>>,
    places: Semaphore,
    desk: hooks::Desk,
    keeping: keeping::Keeping,
    forms: forms::Desk,
}

/// Requests answered at once; who comes beyond is asked to come again.
const AT_ONCE: usize = 2048;
/// Versions whose links are kept in memory.
const VERSIONS: usize = 10_000;

impl State {
    pub fn new(settings: Settings) -> State {
        let counting = Counting { zone: settings.site.zone, slot: settings.slot, judge: judge::judge };
        let (counting, seen) = watch::channel(counting);
        let recorder = Recorder::start(settings.store.clone(), seen, settings.journal);
        let keeping = keeping::Keeping::start(settings.store.clone());
        State(Arc::new(Inner {
            store: settings.store,
            clock: settings.clock,
            tokens: settings.tokens,
            recorder,
            counting,
            site: RwLock::new(Arc::new(settings.site)),
            api_key: settings.api_key,
            view: settings.view,
            intake: settings.intake,
            links: RwLock::default(),
            places: Semaphore::new(AT_ONCE),
            desk: hooks::Desk::default(),
            keeping,
            forms: forms::Desk::default(),
        }))
    }

    /// After an apply: the workspace as it is now.
    pub fn set_site(&self, site: Site) {
        self.0.counting.send_modify(|counting| counting.zone = site.zone);
        *self.0.site.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = Arc::new(site);
    }
}

impl State {
    /// Where webhooks come in, as they are now; there are none before.
    pub fn set_hooks(&self, hooks: Hooks) {
        self.0.desk.set(hooks);
    }

    /// The forms to sign up, as they are now; there are none before.
    pub fn set_forms(&self, forms: Forms) {
        self.0.forms.set(forms);
    }

    /// What fetches Amazon's certificates; without it nothing of SES is taken.
    pub fn set_fetch(&self, fetch: Arc<dyn Fetch>) {
        self.0.desk.set_fetch(fetch);
    }

    /// Takes nothing more, and writes what waits; see [`Recorder::finish`].
    pub async fn finish(&self) {
        self.0.recorder.finish().await;
    }

    /// Writes how many webhooks and sign-ups came and were refused; to be called now and then.
    pub async fn write_counts(&self) {
        if let Err(error) = self.0.store.count_hooks(&self.0.desk.take_counts()).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "webhooks could not be counted");
        }
        if let Err(error) = self.0.store.count_forms(&self.0.forms.take_counts()).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "sign-ups could not be counted");
        }
    }

    /// Takes the links of the newest versions into memory, so that redirects work when the database is away; after a start and after an apply.
    pub async fn learn_links(&self) -> Result<(), crate::store::Error> {
        let newest = self.0.store.newest_links(VERSIONS / 10).await?;
        newest.into_iter().for_each(|(version, links)| self.0.keep(version, Arc::new(links)));
        Ok(())
    }
}

impl Inner {
    fn site(&self) -> Arc<Site> {
        self.site.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// The links of a version, from memory or the database; `None` when there is no such version.
    async fn links(&self, version: VersionId) -> Result<Option<Arc<VersionLinks>>, crate::store::Error> {
        if let Some(links) = self.links.read().unwrap_or_else(|poisoned| poisoned.into_inner()).get(&version.0) {
            return Ok(Some(links.clone()));
        }
        let Some(links) = self.store.version_links(version).await?.map(Arc::new) else { return Ok(None) };
        self.keep(version, links.clone());
        Ok(Some(links))
    }

    fn keep(&self, version: VersionId, links: Arc<VersionLinks>) {
        let mut kept = self.links.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        if kept.len() >= VERSIONS {
            kept.clear();
        }
        kept.insert(version.0, links);
    }
}

/// All addresses.
pub fn router(state: State) -> Router {
    let shared = state.0.clone();
    let pages_of_people = Router::new()
        .route("/u/{token}", any(unsubscribe::page))
        .route("/p/{token}", any(preferences::page))
        .route("/k/{token}", any(confirm::page))
        .layer(middleware::map_response(pages::guarded));
    Router::new()
        .route("/f/{form}", any(forms::page))
        .merge(pages_of_people)
        .route("/o/{token}", any(response::open))
        .route("/c/{token}", any(response::click))
        .route("/v/{token}", get(view::page))
        .route("/conversion.gif", get(intake::image))
        .route("/x/{token}", get(intake::image_of_token))
        .route("/conversions", post(intake::conversion))
        .route("/events", post(intake::events))
        .route("/hooks/{provider}", any(hooks::open))
        .route("/hooks/{provider}/{secret}", any(hooks::open_secret))
        .route("/healthz", get(health))
        .fallback(|request: Request| async move { pages::not_found(request.headers()) })
        .layer(DefaultBodyLimit::max(1 << 20))
        .layer(middleware::from_fn_with_state(shared.clone(), places))
        .layer(tower_http::catch_panic::CatchPanicLayer::custom(|panic: Box<dyn std::any::Any + Send>| {
            let what = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
            tracing::error!(what, "a request made the server panic");
            (StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong on our side; it has been written down").into_response()
        }))
        .with_state(shared)
}

/// Answers until `stop`; then takes no new requests and finishes those under way.
pub async fn serve(listener: tokio::net::TcpListener, state: State, stop: CancellationToken) -> std::io::Result<()> {
    let service = router(state).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(stop.cancelled_owned()).await
}

type Shared = axum::extract::State<Arc<Inner>>;

/// Bounds how many requests are under way, and how long one may take.
async fn places(axum::extract::State(inner): Shared, request: Request, next: Next) -> Response {
    let Ok(_place) = inner.places.try_acquire() else { return pages::busy() };
    match tokio::time::timeout(Duration::from_secs(30), next.run(request)).await {
        Ok(response) => response,
        Err(_) => pages::busy(),
    }
}

/// The message that a page with a form was opened for, or what is answered instead.
async fn opened(
    inner: &Inner,
    kind: Kind,
    token: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Result<(MessageId, Addressed), Box<Response>> {
    let Some(message) = inner.tokens.read(kind, token) else { return Err(Box::new(pages::not_found(headers))) };
    if !matches!(*method, Method::GET | Method::HEAD | Method::POST) {
        return Err(Box::new(response::not_allowed("GET, HEAD, POST")));
    }
    match inner.store.addressed(message).await {
        Ok(Some(addressed)) if addressed.erased_at.is_none() => Ok((message, addressed)),
        Ok(None) => Err(Box::new(pages::not_found(headers))),
        // Of an erased person nothing is left to choose, and nothing may be written.
        Ok(Some(addressed)) => {
            let site = inner.site();
            let language = words::language(&site, None, headers);
            let about = pages::about(&site, Some(&addressed), language);
            Err(Box::new(pages::page(StatusCode::GONE, "erased", language, &about)))
        }
        Err(_) => Err(Box::new(pages::away(headers))),
    }
}

async fn health(axum::extract::State(inner): Shared) -> Response {
    match tokio::time::timeout(Duration::from_secs(2), inner.store.ping()).await {
        Ok(Ok(())) => (StatusCode::OK, "ok\n").into_response(),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n").into_response(),
    }
}
