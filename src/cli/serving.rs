//! What the server of `posthaste run` is made of.

use super::Global;
use crate::config::{PEPPER, SIGNING, Workspace};
use crate::dispatch::{Compiled, Identity, Sending};
use crate::segments::Samples;
use crate::server::{Settings, Site, State, View, Viewed};
use crate::store::Store;
use crate::store::blocks::{Due, Person};
use crate::store::definitions::Loaded;
use crate::tracking::Tokens;
use anyhow::Context;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The name of the key that opens the intake of events.
const API_KEY: &str = "POSTHASTE_API_KEY";

/// The server's state as of the applied workspace.
pub async fn state(global: &Global, store: &Store, workspace: &Workspace) -> anyhow::Result<State> {
    let signing = workspace.secret(SIGNING)?;
    let (_, applied) = crate::engine::applied_workspace(store).await?.context("nothing was applied yet: run `posthaste apply` first")?;
    let identity = Identity::new(Tokens::new(signing)?, workspace.secret(PEPPER)?, BTreeMap::new());
    Ok(State::new(Settings {
        store: store.clone(),
        clock: global.clock(),
        tokens: Arc::new(Tokens::new(signing)?),
        site: Site::of(&applied),
        slot: 0,
        api_key: workspace.secrets.get(API_KEY).map(str::to_string),
        view: Some(Arc::new(Again { loaded: Loaded::new(store.clone()), store: store.clone(), identity })),
        intake: None,
    }))
}

/// Follows applies: topics, languages and link hosts are those of the applied workspace.
pub async fn follow(store: Store, state: State, stop: CancellationToken) {
    let mut last = store.applied_workspace_id().await.ok().flatten();
    while !stop.is_cancelled() {
        tokio::select! { () = tokio::time::sleep(Duration::from_secs(1)) => {}, () = stop.cancelled() => break }
        match store.applied_workspace_id().await {
            Ok(version) if version != last => {
                if let Ok(Some((_, workspace))) = crate::engine::applied_workspace(&store).await {
                    state.set_site(Site::of(&workspace));
                    last = version;
                }
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "cannot look for another applied workspace"),
        }
    }
}

/// Renders a message again, from its version and the variables that were kept.
struct Again {
    loaded: Loaded,
    store: Store,
    identity: Identity,
}

impl View for Again {
    fn render<'a>(&'a self, viewed: &'a Viewed) -> Pin<Box<dyn Future<Output = Option<String>> + Send + 'a>> {
        Box::pin(async move {
            let definitions = self.loaded.definitions(viewed.version).await.ok()?;
            let run = self.store.run(viewed.run).await.ok()??;
            let arms: BTreeMap<i16, String> = self.store.arms(viewed.run).await.ok()?.into_iter().map(|arm| (arm.arm, arm.name)).collect();
            let arm = arms.iter().find(|(_, name)| Some(name.as_str()) == viewed.arm.as_deref()).map_or(1, |(arm, _)| *arm);
            let person = Person {
                language: viewed.language.clone(),
                zone: viewed.zone.clone(),
                attributes: viewed.variables.to_string(),
                ..Person::default()
            };
            let due = Due { id: viewed.message.0, ..Due::alone(viewed.channel, arm, None, run.due_at, person) };
            let compiled = Arc::new(Compiled::new(definitions, &viewed.campaign, viewed.version));
            let sending = Sending { run, compiled, arms, samples: Samples::default() };
            self.identity.fill(&sending, &due, viewed.at).ok()?.html
        })
    }
}
