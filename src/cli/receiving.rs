//! Mail that comes back, inside a process that runs the engine: `inbound` with what it needs of the workspace. Follows what is applied.

use crate::campaigns::{Mailbox, Workspace as Applied};
use crate::clock::Clock;
use crate::config::{SIGNING, Workspace};
use crate::inbound::forward::Forwarder;
use crate::inbound::listener::{self, Door, Settings};
use crate::inbound::tls::ServerTls;
use crate::inbound::{Processor, Ways, mailbox};
use crate::providers::{self, Provider};
use crate::store::Store;
use crate::tracking::Tokens;
use crate::types::{Channel, VersionId};
use anyhow::Context;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often mail that waits, and another apply, are looked for.
const LOOK: Duration = Duration::from_secs(1);
/// How often old mail is forgotten.
const TIDY: Duration = Duration::from_secs(3_600);

/// What takes and reads mail until it is ended.
pub struct Receiving {
    /// Where the listener is.
    pub address: Option<SocketAddr>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Receiving {
    /// Takes no more mail; what is kept is read by the next process.
    pub async fn end(self) {
        self.stop.cancel();
        let _ = tokio::time::timeout(Duration::from_secs(15), self.task).await;
    }
}

/// Opens what `inbound` of the applied workspace names, and reads what comes. Mail that an earlier process kept is read in any case.
pub async fn start(store: &Store, applied: &Applied, workspace: &Workspace, clock: Clock) -> anyhow::Result<Receiving> {
    let tokens = Arc::new(Tokens::new(workspace.secret(SIGNING)?)?);
    let stop = CancellationToken::new();
    let mut reader = Reader { store: store.clone(), workspace: workspace.clone(), tokens, clock, listening: None };
    reader.listen(applied, &stop).await?;
    let address = reader.listening.as_ref().map(|listening| listening.address);
    let task = tokio::spawn(reader.run(applied.clone(), stop.clone()));
    Ok(Receiving { address, stop, task })
}

/// Looks into the mailbox once, and reads all that waits.
pub async fn once(store: &Store, applied: &Applied, workspace: &Workspace, clock: &Clock) -> anyhow::Result<()> {
    let tokens = Arc::new(Tokens::new(workspace.secret(SIGNING)?)?);
    if let Some(mailbox) = applied.inbound.as_ref().and_then(|inbound| inbound.mailbox.as_ref()) {
        let secrets = workspace.secrets.clone();
        if let Err(error) = mailbox::visit(store, clock, mailbox, &move |text| secrets.resolve(text)).await {
            eprintln!("{}", super::explained(&error.into()));
        }
    }
    let reader = Reader { store: store.clone(), workspace: workspace.clone(), tokens, clock: clock.clone(), listening: None };
    let processor = reader.processor(applied);
    while processor.turn(clock.now()).await? > 0 {}
    Ok(())
}

fn unset(key: &str, name: &str) -> anyhow::Error {
    anyhow::anyhow!("`inbound.{key}` names {name}, which is not set: write it to .env or the environment")
}

struct Reader {
    store: Store,
    workspace: Workspace,
    tokens: Arc<Tokens>,
    clock: Clock,
    listening: Option<Listening>,
}

/// A listener, and what it was opened with: another address, protocol or name makes another one.
struct Listening {
    with: (String, bool, String),
    address: SocketAddr,
    door: Arc<Door>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Listening {
    /// Takes no new mail; what is under way comes to its end.
    async fn end(self) {
        self.stop.cancel();
        let _ = tokio::time::timeout(Duration::from_secs(12), self.task).await;
    }
}

impl Reader {
    /// Listens as `inbound` of what is applied says: opens, changes or closes the listener. Where the new address cannot be had, it stays as it was.
    async fn listen(&mut self, applied: &Applied, stop: &CancellationToken) -> anyhow::Result<()> {
        let inbound = applied.inbound.clone().unwrap_or_default();
        let Some(listen) = &inbound.listen else {
            if let Some(listening) = self.listening.take() {
                eprintln!("Takes no mail at {} any more", listening.address);
                listening.end().await;
            }
            return Ok(());
        };
        let listen = self.workspace.secrets.resolve(listen).map_err(|name| unset("listen", &name))?;
        // Read before anything changes: a certificate that cannot be read closes nothing.
        let tls = self.tls(applied)?;
        let with = (listen.clone(), inbound.lmtp, inbound.hello.clone());
        if let Some(listening) = self.listening.as_ref().filter(|listening| listening.with == with) {
            listening.door.set_ways(Ways::of(applied));
            listening.door.set_tls(tls);
            return Ok(());
        }
        let is_same_place = self.listening.as_ref().is_some_and(|listening| listening.with.0 == listen);
        if is_same_place && let Some(listening) = self.listening.take() {
            listening.end().await;
        }
        let listener = tokio::net::TcpListener::bind(listen.as_str())
            .await
            .with_context(|| format!("cannot take mail at {listen} (`inbound.listen`)"))?;
        let address = listener.local_addr()?;
        let settings = Settings::new(&inbound.hello, inbound.lmtp);
        let door = Door::new(self.store.clone(), self.clock.clone(), self.tokens.clone(), settings, Ways::of(applied));
        door.set_tls(tls);
        let stop = stop.child_token();
        let task = tokio::spawn(listener::serve(listener, door.clone(), stop.clone()));
        if let Some(before) = self.listening.replace(Listening { with, address, door, stop, task }) {
            eprintln!("Takes mail at {address} now, and at {} no more", before.address);
            before.end().await;
        }
        Ok(())
    }

    /// The listener's certificate, where `inbound` names one.
    fn tls(&self, applied: &Applied) -> anyhow::Result<Option<ServerTls>> {
        let Some((certificate, key)) = applied.inbound.as_ref().and_then(|inbound| inbound.tls.as_ref()) else { return Ok(None) };
        let certificate = self.workspace.secrets.resolve(certificate).map_err(|name| unset("certificate", &name))?;
        let key = self.workspace.secrets.resolve(key).map_err(|name| unset("key", &name))?;
        Ok(Some(ServerTls::read(&certificate, &key, &self.workspace.folder)?))
    }

    /// Follows what was applied; what cannot be had is told, and mail is taken as before.
    async fn relisten(&mut self, applied: &Applied, stop: &CancellationToken) {
        if let Err(error) = self.listen(applied, stop).await {
            tracing::error!("{}; mail is taken as before", super::explained(&error));
        }
    }

    async fn run(mut self, mut applied: Applied, stop: CancellationToken) {
        let mut processor = self.processor(&applied);
        let mut version: Option<VersionId> = None;
        let (mut visited, mut tidied): (Option<Instant>, Option<Instant>) = (None, None);
        // A slow mailbox keeps nobody from reading what has come in.
        let mut visiting: Option<JoinHandle<()>> = None;
        while !stop.is_cancelled() {
            if let Some((newer, workspace)) = self.newer(version).await {
                processor = self.processor(&workspace);
                self.relisten(&workspace, &stop).await;
                (version, applied) = (Some(newer), workspace);
            }
            if let Some(mailbox) = applied.inbound.as_ref().and_then(|inbound| inbound.mailbox.as_ref())
                && visited.is_none_or(|at| at.elapsed() >= mailbox::EACH)
                && visiting.as_ref().is_none_or(JoinHandle::is_finished)
            {
                visited = Some(Instant::now());
                visiting = Some(tokio::spawn(self.visit(mailbox.clone(), stop.clone())));
            }
            if tidied.is_none_or(|at| at.elapsed() >= TIDY) {
                tidied = Some(Instant::now());
                // A certificate is renewed in its file.
                if applied.inbound.as_ref().is_some_and(|inbound| inbound.tls.is_some()) {
                    self.relisten(&applied, &stop).await;
                }
                if let Err(error) = processor.forget(self.clock.now()).await {
                    tracing::warn!(error = &error as &dyn std::error::Error, "old mail is forgotten later");
                }
            }
            if !self.turn(&processor).await {
                tokio::select! { () = tokio::time::sleep(LOOK) => {}, () = stop.cancelled() => {} }
            }
        }
        if let Some(visiting) = visiting {
            let _ = visiting.await;
        }
        if let Some(listening) = self.listening.take() {
            listening.end().await;
        }
    }

    /// Looks into the mailbox, until told to stop.
    fn visit(&self, mailbox: Mailbox, stop: CancellationToken) -> impl Future<Output = ()> + Send + use<> {
        let (store, clock, secrets) = (self.store.clone(), self.clock.clone(), self.workspace.secrets.clone());
        async move {
            let resolve = move |text: &str| secrets.resolve(text);
            let visit = mailbox::visit(&store, &clock, &mailbox, &resolve);
            let visit = tokio::select! { visit = visit => visit, () = stop.cancelled() => return };
            if let Err(error) = visit {
                tracing::error!(error = &error as &dyn std::error::Error, "the mailbox could not be read");
            }
        }
    }

    /// Reads what is due; false when there was nothing, or it could not be done now.
    async fn turn(&self, processor: &Processor) -> bool {
        let done = async {
            let now = self.clock.now();
            match self.store.next_mail().await? {
                Some(next) if next <= now => processor.turn(now).await,
                _ => Ok(0),
            }
        };
        match done.await {
            Ok(count) => count > 0,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "mail that came in cannot be read now; it is tried again");
                false
            }
        }
    }

    async fn newer(&self, known: Option<VersionId>) -> Option<(VersionId, Applied)> {
        let version = self.store.applied_workspace_id().await.ok().flatten().filter(|version| known != Some(*version))?;
        match self.store.load_workspace(version).await {
            Ok(workspace) => Some((version, workspace)),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "what was applied cannot be read; mail is taken as before");
                None
            }
        }
    }

    fn processor(&self, applied: &Applied) -> Processor {
        let forwards = applied.inbound.as_ref().is_some_and(|inbound| inbound.forward_replies_to.is_some());
        let providers = if forwards { self.providers(applied) } else { Vec::new() };
        Processor {
            store: self.store.clone(),
            tokens: self.tokens.clone(),
            zone: applied.zone,
            ways: Ways::of(applied),
            forwarder: Forwarder::of(applied, &providers),
        }
    }

    /// By which answers are passed on.
    fn providers(&self, applied: &Applied) -> Vec<Arc<dyn Provider>> {
        let resolve = |text: &str| self.workspace.secrets.resolve(text);
        let email = applied.providers.iter().filter(|(_, settings)| settings.channel == Channel::Email);
        email.filter_map(|(name, settings)| providers::open(name, settings, &resolve).ok()).collect()
    }
}
