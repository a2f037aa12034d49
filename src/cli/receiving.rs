//! Mail that comes back, inside a process that runs the engine: `inbound` with what it needs of the workspace. Follows what is applied.

use crate::campaigns::Workspace as Applied;
use crate::clock::Clock;
use crate::config::{SIGNING, Workspace};
use crate::inbound::forward::Forwarder;
use crate::inbound::listener::{self, Door, Settings};
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
    tasks: Vec<JoinHandle<()>>,
}

impl Receiving {
    /// Takes no more mail; what is kept is read by the next process.
    pub async fn end(self) {
        self.stop.cancel();
        for task in self.tasks {
            let _ = tokio::time::timeout(Duration::from_secs(15), task).await;
        }
    }
}

/// Opens what `inbound` of the applied workspace names, and reads what comes. Mail that an earlier process kept is read in any case.
pub async fn start(store: &Store, applied: &Applied, workspace: &Workspace, clock: Clock) -> anyhow::Result<Receiving> {
    let tokens = Arc::new(Tokens::new(workspace.secret(SIGNING)?)?);
    let stop = CancellationToken::new();
    let mut tasks = Vec::new();
    let (mut address, mut door) = (None, None);
    let inbound = applied.inbound.clone().unwrap_or_default();
    if let Some(listen) = &inbound.listen {
        let listen = workspace
            .secrets
            .resolve(listen)
            .map_err(|name| anyhow::anyhow!("`inbound.listen` names {name}, which is not set: write it to .env or the environment"))?;
        let listener = tokio::net::TcpListener::bind(listen.as_str())
            .await
            .with_context(|| format!("cannot take mail at {listen} (`inbound.listen`)"))?;
        address = Some(listener.local_addr()?);
        let opened =
            Door::new(store.clone(), clock.clone(), tokens.clone(), Settings::new(&inbound.hello, inbound.lmtp), Ways::of(applied));
        tasks.push(tokio::spawn(listener::serve(listener, opened.clone(), stop.clone())));
        door = Some(opened);
    }
    let reader = Reader { store: store.clone(), workspace: workspace.clone(), tokens, clock, door };
    tasks.push(tokio::spawn(reader.run(applied.clone(), stop.clone())));
    Ok(Receiving { address, stop, tasks })
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
    let reader = Reader { store: store.clone(), workspace: workspace.clone(), tokens, clock: clock.clone(), door: None };
    let processor = reader.processor(applied);
    while processor.turn(clock.now()).await? > 0 {}
    Ok(())
}

struct Reader {
    store: Store,
    workspace: Workspace,
    tokens: Arc<Tokens>,
    clock: Clock,
    door: Option<Arc<Door>>,
}

impl Reader {
    async fn run(self, mut applied: Applied, stop: CancellationToken) {
        let mut processor = self.processor(&applied);
        let mut version: Option<VersionId> = None;
        let (mut visited, mut tidied): (Option<Instant>, Option<Instant>) = (None, None);
        while !stop.is_cancelled() {
            if let Some((newer, workspace)) = self.newer(version).await {
                processor = self.processor(&workspace);
                if let Some(door) = &self.door {
                    door.set_ways(Ways::of(&workspace));
                }
                (version, applied) = (Some(newer), workspace);
            }
            if let Some(mailbox) = applied.inbound.as_ref().and_then(|inbound| inbound.mailbox.as_ref())
                && visited.is_none_or(|at| at.elapsed() >= mailbox::EACH)
            {
                visited = Some(Instant::now());
                let secrets = self.workspace.secrets.clone();
                let resolve = move |text: &str| secrets.resolve(text);
                let visit = mailbox::visit(&self.store, &self.clock, mailbox, &resolve);
                let visit = tokio::select! { visit = visit => visit, () = stop.cancelled() => return };
                if let Err(error) = visit {
                    tracing::error!(error = &error as &dyn std::error::Error, "the mailbox could not be read");
                }
            }
            if tidied.is_none_or(|at| at.elapsed() >= TIDY) {
                tidied = Some(Instant::now());
                if let Err(error) = processor.forget(self.clock.now()).await {
                    tracing::warn!(error = &error as &dyn std::error::Error, "old mail is forgotten later");
                }
            }
            if !self.turn(&processor).await {
                tokio::select! { () = tokio::time::sleep(LOOK) => {}, () = stop.cancelled() => {} }
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
        match self.store.load_definitions(version).await {
            Ok(definitions) => Some((version, definitions.workspace)),
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
