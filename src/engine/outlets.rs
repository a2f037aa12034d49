//! What sends, made from the workspace's file: providers with their rates, sender keys.

use crate::campaigns::Workspace;
use crate::dispatch::{Identity, Lane, Lanes, Outlets};
use crate::providers;
use crate::providers::email::dkim::Signer;
use crate::tracking::Tokens;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What could be opened, and what could not, in words for the log: a provider that cannot be opened stays closed, and its queue is kept.
pub struct Opened {
    pub outlets: Outlets,
    pub closed: Vec<String>,
}

/// Opens every provider. `resolve` gives the value of `${NAME}`; `secret` keys Message-IDs and boundaries.
pub fn open(workspace: &Workspace, tokens: Tokens, secret: &str, resolve: &dyn Fn(&str) -> Result<String, String>) -> Opened {
    let mut closed = Vec::new();
    let mut lanes = Vec::new();
    for (name, settings) in &workspace.providers {
        match providers::open(name, settings, resolve) {
            Ok(provider) => {
                let mut lane = Lane::new(provider);
                lane.rate = settings.rate.map(|rate| rate.per_second());
                lane.weight = settings.weight;
                lane.backup = settings.backup;
                lane.countries = settings.countries.clone();
                lanes.push(lane);
            }
            Err(error) => closed.push(format!("provider `{name}` stays closed: {error}")),
        }
    }
    let mut signers = BTreeMap::new();
    for (domain, settings) in &workspace.domains {
        let Some(dkim) = &settings.dkim else { continue };
        match Signer::open(domain, dkim, resolve) {
            Ok(Some(signer)) => {
                signers.insert(domain.clone(), signer);
            }
            Ok(None) => {}
            Err(error) => closed.push(format!("mail from {domain} is not signed: {error}")),
        }
    }
    let composer = Arc::new(Identity::new(tokens, secret, signers));
    Opened { outlets: Outlets { composer, lanes: Arc::new(Lanes::new(lanes)) }, closed }
}
