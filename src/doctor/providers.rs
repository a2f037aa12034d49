//! Providers: whether each opens with the secrets of this machine, takes our login, and shows the same time as we do.

use super::machine::offset_of;
use super::{Finding, Patient};
use crate::providers::{LookState, open};
use futures_util::future::join_all;
use std::time::Duration;

/// A provider that has not said anything by then is silent.
const PATIENCE: Duration = Duration::from_secs(30);
/// A date of HTTP has whole seconds: less is no difference.
const COARSE: chrono::TimeDelta = chrono::TimeDelta::seconds(2);

pub async fn all(patient: &Patient<'_>) -> Vec<Finding> {
    if patient.workspace.providers.is_empty() {
        return vec![Finding::wrong("providers", "there are none", "describe one under `providers` of posthaste.yaml")];
    }
    let looks = patient.workspace.providers.iter().map(|(name, settings)| async move {
        let about = format!("provider {name}");
        let provider = match open(name, settings, &|text| patient.secrets.resolve(text)) {
            Ok(provider) => provider,
            Err(error) => {
                let change = "set what it names in .env or the environment, or change posthaste.yaml";
                return vec![Finding::wrong(about, error.to_string(), change)];
            }
        };
        let asked = patient.clock.now();
        let Ok(look) = tokio::time::timeout(PATIENCE, provider.look()).await else {
            let says = format!("no answer in {} seconds", PATIENCE.as_secs());
            return vec![Finding::silent(about, says, "see whether this machine reaches it (firewall, proxy, address)")];
        };
        let middle = asked + (patient.clock.now() - asked) / 2;
        let mut findings = vec![match look.state {
            LookState::Fine => Finding::fine(&about, look.says),
            LookState::Wrong => Finding::wrong(&about, look.says, "see its login and its account, then `posthaste doctor` again"),
            LookState::Silent if settings.kind == "catcher" => Finding::silent(&about, look.says, "start the catcher: `posthaste catcher`"),
            LookState::Silent => Finding::silent(&about, look.says, "see whether this machine reaches it (firewall, proxy, address)"),
        }];
        if let Some(date) = look.date {
            let offset = date - middle;
            let offset = if offset.abs() <= COARSE { chrono::TimeDelta::zero() } else { offset };
            findings.push(offset_of(format!("clock, by {name}"), offset));
        }
        findings
    });
    join_all(looks).await.into_iter().flatten().collect()
}
