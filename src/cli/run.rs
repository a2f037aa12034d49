//! `posthaste run`: the engine in this process.

use super::{Exit, Global};
use crate::campaigns;
use crate::config::{PEPPER, SIGNING, Secrets, Workspace};
use crate::diagnostics::Files;
use crate::dispatch::Outlets;
use crate::engine::{self, Engine, Parts};
use crate::store::Store;
use crate::tracking::Tokens;
use clap::Args;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Do all that is due now, and end
    #[arg(long)]
    pub until_idle: bool,
    /// Plan the runs that are due, hand nothing over, and end
    #[arg(long, conflicts_with = "until_idle")]
    pub plan_only: bool,
}

pub async fn run(global: &Global, arguments: Run) -> anyhow::Result<Exit> {
    log();
    let workspace = global.workspace();
    let store = open_store(&workspace).await?;
    let stop = CancellationToken::new();
    let parts =
        Parts { store: store.clone(), clock: global.clock(), open: opener(&workspace)?, arms: Default::default(), stop: stop.clone() };
    let engine = Engine::start(parts).await?;
    stop_on_signals(stop);
    if arguments.plan_only {
        let turn = engine.plan().await?;
        engine.end().await?;
        eprintln!("{} planned", turn.planned.len());
    } else if arguments.until_idle {
        engine.run_until_idle().await?;
    } else {
        eprintln!("The engine runs; stop it with ctrl-c");
        engine.run().await?;
    }
    store.close().await;
    Ok(Exit::Done)
}

/// Warnings and errors of the engine go to stderr; RUST_LOG says otherwise.
fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "posthaste=warn".into());
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}

/// The database that posthaste.yaml or the command line names.
pub async fn open_store(workspace: &Workspace) -> anyhow::Result<Store> {
    let mut top = Files::default();
    for (path, content) in workspace.files()?.0 {
        if path == "posthaste.yaml" {
            top.insert(path, content);
        }
    }
    let written = campaigns::read(&top).0.and_then(|definitions| definitions.workspace.database);
    workspace.store(written.as_deref()).await
}

/// Opens providers with the secrets of this machine; what stays closed is said, and its queue is kept.
pub fn opener(workspace: &Workspace) -> anyhow::Result<engine::Open> {
    let signing = workspace.secret(SIGNING)?.to_string();
    let pepper = workspace.secret(PEPPER)?.to_string();
    Tokens::new(&signing)?;
    let secrets: Secrets = workspace.secrets.clone();
    Ok(Arc::new(move |workspace: &campaigns::Workspace| -> Outlets {
        // It was read above; a text that can be read once can be read again.
        let Ok(tokens) = Tokens::new(&signing) else { unreachable!("the signing keys were read before") };
        let opened = engine::open(workspace, tokens, &pepper, &|text| secrets.resolve(text));
        for closed in &opened.closed {
            eprintln!("{closed}");
        }
        opened.outlets
    }))
}

/// The first signal stops gently, the second at once.
fn stop_on_signals(stop: CancellationToken) {
    tokio::spawn(async move {
        signal().await;
        eprintln!("Stopping: what is under way is finished; once more to stop at once");
        stop.cancel();
        signal().await;
        std::process::exit(130);
    });
}

async fn signal() {
    #[cfg(unix)]
    {
        let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else {
            let _ = tokio::signal::ctrl_c().await;
            return;
        };
        tokio::select! { _ = tokio::signal::ctrl_c() => {}, _ = terminate.recv() => {} }
    }
    #[cfg(not(unix))]
    {
        let _ = tokio::signal::ctrl_c().await;
    }
}
