//! `posthaste run`: the engine in this process.

use super::{Exit, Global, receiving, serving};
use crate::campaigns;
use crate::config::{PEPPER, SIGNING, Secrets, Workspace};
use crate::customers::keys::Keys;
use crate::dispatch::Outlets;
use crate::engine::{self, Engine, Parts, Roles};
use crate::store::runs::Run;
use crate::store::{Dialect, Store};
use crate::tracking::Tokens;
use crate::types::{RunId, RunState};
use anyhow::Context;
use clap::{Args, ValueEnum};
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Do all that is due now, and end
    #[arg(long)]
    pub until_idle: bool,
    /// Plan the runs that are due, hand nothing over, and end
    #[arg(long)]
    pub plan_only: bool,
    /// Only these parts of the engine, for several machines on one PostgreSQL: scheduler (makes and plans runs), sender (hands messages over),
    /// server (answers links, unsubscriptions and events) [default: all]
    #[arg(long, value_name = "ROLE,…", value_delimiter = ',')]
    pub only: Vec<Role>,
    /// Where tracked links, unsubscriptions and events are answered [default: POSTHASTE_LISTEN, else 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
}

/// A part of the engine's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    Scheduler,
    Sender,
    Server,
}

fn roles(only: &[Role]) -> Roles {
    if only.is_empty() {
        return Roles::ALL;
    }
    Roles { scheduler: only.contains(&Role::Scheduler), sender: only.contains(&Role::Sender), server: only.contains(&Role::Server) }
}

pub async fn run(global: &Global, arguments: Arguments) -> anyhow::Result<Exit> {
    log();
    let workspace = global.workspace();
    let store = global.store().await?;
    let stop = CancellationToken::new();
    let roles = roles(&arguments.only);
    if !arguments.only.is_empty() && store.dialect() == Dialect::Sqlite {
        anyhow::bail!("on SQLite one process does everything: leave out --only, or move to PostgreSQL for several machines");
    }
    let keys = Keys::new(workspace.secret(PEPPER)?);
    super::customers::erase::at_start(&workspace, &store, &keys, global.clock().now()).await?;
    // One clock: what is learnt of the database's time is so for every part.
    let clock = global.clock();
    let parts = Parts {
        store: store.clone(),
        clock: clock.clone(),
        open: opener(&workspace)?,
        arms: Default::default(),
        roles,
        stop: stop.clone(),
    };
    let engine = Engine::start(parts).await?.hearing(serving::feedback(&store, &workspace)?).keeping();
    stop_on_signals(stop.clone());
    let mut failed = Vec::new();
    if arguments.plan_only {
        let turn = engine.plan().await?;
        failed = turn.failed;
        engine.end().await?;
        eprintln!("{} planned", turn.planned.len());
    } else if arguments.until_idle {
        let before: BTreeSet<_> = store.runs_of(None).await?.iter().filter(|run| has_ended(run)).map(|run| run.id).collect();
        if let Some((_, applied)) = engine::applied_workspace(&store).await?.filter(|_| roles.server) {
            receiving::once(&store, &applied, &workspace, &clock).await?;
        }
        engine.run_until_idle().await?;
        failed = engine.failed();
        tell(&store, &before).await?;
    } else {
        let (_, applied) = engine::applied_workspace(&store).await?.context("nothing was applied yet: run `posthaste apply` first")?;
        let serving = match roles.server {
            true => Some(serving::start(&store, &applied, &workspace, clock.clone(), address(&workspace, arguments.listen)?).await?),
            false => None,
        };
        let receiving = match roles.server {
            true => Some(receiving::start(&store, &applied, &workspace, clock).await?),
            false => None,
        };
        if let Some(address) = receiving.as_ref().and_then(|receiving| receiving.address) {
            eprintln!("Mail that comes back is taken at {address}");
        }
        match &serving {
            Some(serving) => eprintln!("The engine runs ({roles}), and answers on http://{}; stop it with ctrl-c", serving.address),
            None => eprintln!("The engine runs ({roles}); stop it with ctrl-c"),
        }
        let result = engine.run().await;
        if let Some(serving) = serving {
            serving.end().await?;
        }
        if let Some(receiving) = receiving {
            receiving.end().await;
        }
        result?;
    }
    store.close().await;
    for failure in &failed {
        eprintln!("{failure}");
    }
    Ok(if failed.is_empty() { Exit::Done } else { Exit::Failed })
}

fn has_ended(run: &Run) -> bool {
    matches!(run.state, RunState::Done | RunState::Cancelled)
}

/// What became of the runs that had not ended before: a line each, with the ledger's sums.
async fn tell(store: &Store, ended: &BTreeSet<RunId>) -> anyhow::Result<()> {
    let runs: Vec<Run> = store.runs_of(None).await?.into_iter().filter(|run| !ended.contains(&run.id)).collect();
    let mut waiting = 0;
    for run in &runs {
        let funnel = store.funnel(&run.key, Some(run.number)).await?;
        waiting += funnel.waiting();
        let mut line =
            format!("{} run {}, {}: {} selected, {} refused", run.key, run.number, run.state, funnel.selected(), funnel.refused());
        for (state, count) in funnel.messages.iter().filter(|(_, count)| **count > 0) {
            line.push_str(&format!(", {count} {}", state.word()));
        }
        eprintln!("{line}");
    }
    if runs.is_empty() {
        eprintln!("Nothing was due");
    }
    if waiting > 0 {
        eprintln!(
            "{waiting} messages wait: the next `posthaste run` takes them up; `posthaste why CUSTOMER CAMPAIGN` tells what one waits for"
        );
    }
    Ok(())
}

/// `--listen`, else POSTHASTE_LISTEN of `.env` or the environment, else this machine's port 8080.
fn address(workspace: &Workspace, listen: Option<SocketAddr>) -> anyhow::Result<SocketAddr> {
    if let Some(listen) = listen {
        return Ok(listen);
    }
    let written = workspace.secrets.get(serving::LISTEN_NAME).unwrap_or(serving::LISTEN);
    written
        .parse()
        .with_context(|| format!("{} holds `{written}`; write an address and a port, like {}", serving::LISTEN_NAME, serving::LISTEN))
}

/// Warnings and errors of the engine go to stderr; RUST_LOG says otherwise.
fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "posthaste=warn".into());
    // Colours are for people who want them, not for files.
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).try_init();
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
