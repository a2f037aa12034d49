//! `posthaste plan`: what an apply would change, and what each campaign would do: whom it selects and refuses and why, when, at what cost,
//! and how it reads for three real customers. Nothing is written.

pub mod samples;
pub mod view;

use super::{Exit, Format, Global, check, dates, git};
use crate::campaigns::{self, Campaign, Definitions, Holdout};
use crate::diagnostics::{Files, Severity};
use crate::experiments::statistics::{Demands, smallest_lift};
use crate::plan::{self as planning, Foreseen, Preview};
use crate::policy::stops;
use crate::store::Store;
use crate::store::definitions::{Version, manifest, manifest_hash};
use crate::store::people_once::PeopleOnce;
use crate::types::{CampaignId, Class, Time};
use clap::Args;
use futures_util::StreamExt;
use std::collections::BTreeMap;
use std::sync::Arc;
use view::{ArmPlan, AudiencePlan, CampaignPlan, Changed, FileChange, Plan};

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only these campaigns
    pub campaigns: Vec<String>,
    /// End with 4 when there are changes
    #[arg(long)]
    pub exit_code: bool,
}

pub async fn run(global: &Global, arguments: Arguments) -> anyhow::Result<Exit> {
    let workspace = global.workspace();
    let files = workspace.files()?;
    let (definitions, problems) = campaigns::read(&files);
    let Some(definitions) = definitions.map(Arc::new) else {
        check::show(&problems, &files);
        eprintln!("{}", check::summary(&files, &problems));
        return Ok(Exit::Problems);
    };
    for key in &arguments.campaigns {
        anyhow::ensure!(definitions.campaigns.contains_key(key), "there is no campaign `{key}` in campaigns/");
    }
    let store = workspace.store(definitions.workspace.database.as_deref()).await?;
    let now = global.clock().now();
    let applied = store.applied_versions().await?;
    let ids: BTreeMap<String, CampaignId> = store.campaigns().await?.into_iter().map(|row| (row.key, row.id)).collect();
    let mut plan = Plan {
        as_of: now,
        workspace: changed_workspace(&store, &files).await?,
        campaigns: Vec::new(),
        commit: git::state(&workspace.folder),
    };
    let known = Arc::new(Known { store: store.clone(), files: files.clone(), definitions: definitions.clone(), once: Arc::default(), now });
    let asked = definitions.campaigns.keys().filter(|key| arguments.campaigns.is_empty() || arguments.campaigns.contains(key));
    let asked: Vec<(String, Option<CampaignId>)> = asked.map(|key| (key.clone(), ids.get(key).copied())).collect();
    // Twice as many side by side as there are processors: while some are decided, the database looks for the people of others.
    let at_once = (2 * std::thread::available_parallelism().map_or(1, usize::from)).min(MOST_AT_ONCE);
    let mut previews = futures_util::stream::iter(asked.chunks(TOGETHER).map(<[_]>::to_vec))
        .map(|campaigns| {
            let foreseen = tokio::spawn(foreseen(known.clone(), campaigns));
            async { foreseen.await? }
        })
        // While some are looked at, it is found out whom the next ones select.
        .buffered(2)
        .flat_map(|campaigns: anyhow::Result<Vec<_>>| {
            futures_util::stream::iter(match campaigns {
                Ok(campaigns) => campaigns.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            })
        })
        .map(|one| {
            let (known, one) = (known.clone(), one.map(|(key, foreseen)| (applied.get(&key).cloned(), key, foreseen)));
            let plan = tokio::spawn(async move {
                let (before, key, foreseen) = one?;
                let campaign = planning::campaign_of(&known.definitions, &key)?;
                one_campaign(&known, campaign, before.as_ref(), foreseen).await.map(|plan| (key, plan))
            });
            async { plan.await? }
        })
        .buffered(at_once);
    while let Some(one) = previews.next().await {
        let (key, mut one) = one?;
        let path = format!("campaigns/{key}.yaml");
        one.warnings.extend(
            problems
                .iter()
                .filter(|problem| problem.severity == Severity::Warning && problem.file == path)
                .map(|problem| problem.title.clone()),
        );
        plan.campaigns.push(one);
    }
    if arguments.campaigns.is_empty() {
        plan.campaigns.extend(applied.values().filter(|version| !definitions.campaigns.contains_key(&version.key)).map(retired));
    }
    match global.format {
        Format::Json => println!("{}", serde_json::to_string_pretty(&plan)?),
        _ => print!("{}", plan.text()),
    }
    store.close().await;
    Ok(if arguments.exit_code && plan.has_changes() { Exit::Changes } else { Exit::Done })
}

async fn changed_workspace(store: &Store, files: &Files) -> anyhow::Result<Changed> {
    let path = "posthaste.yaml".to_string();
    let here = manifest(files, [&path]);
    Ok(match store.applied_workspace().await? {
        None => Changed::Added,
        Some(version) if version.manifest.get(&path) == here.get(&path) => Changed::Unchanged,
        Some(_) => Changed::Changed,
    })
}

/// Each preview holds a connection and may ask for a second; SQLite's readers are eight.
const MOST_AT_ONCE: usize = 4;

/// Campaigns of which it is found out together whom they select.
const TOGETHER: usize = 16;

/// Whom these campaigns select.
async fn foreseen(known: Arc<Known>, campaigns: Vec<(String, Option<CampaignId>)>) -> anyhow::Result<Vec<(String, Foreseen)>> {
    let mut all = Vec::with_capacity(campaigns.len());
    for (key, id) in campaigns {
        let campaign = planning::campaign_of(&known.definitions, &key)?;
        all.push((key, planning::foresee(&known.store, &known.definitions, campaign, id, &known.once, known.now).await?));
    }
    planning::look_together(&known.store, &all.iter().map(|(_, foreseen)| foreseen).collect::<Vec<_>>(), &known.once).await?;
    Ok(all)
}

/// What the previews of all campaigns have in common.
struct Known {
    store: Store,
    files: Files,
    definitions: Arc<Definitions>,
    once: Arc<PeopleOnce>,
    now: Time,
}

async fn one_campaign(known: &Known, campaign: &Campaign, before: Option<&Version>, foreseen: Foreseen) -> anyhow::Result<CampaignPlan> {
    let Known { store, files, definitions, now, .. } = known;
    let now = *now;
    let here = manifest(files, &campaign.reaches);
    let change = match before {
        _ if campaign.draft => Changed::Draft,
        None => Changed::Added,
        Some(version) if version.hash == manifest_hash(&here) => Changed::Unchanged,
        Some(_) => Changed::Changed,
    };
    let preview = planning::preview(store, definitions, campaign, foreseen, &crate::dispatch::count_parts(), now).await?;
    let samples = samples::rendered(store, definitions, &campaign.key, &preview, now).await?;
    let mut audience = audience(campaign, &preview);
    let parts: Vec<u16> = samples.iter().filter_map(|sample| sample.parts).collect();
    audience.sms_parts = parts.iter().min().copied().zip(parts.iter().max().copied());
    audience.cost = preview.cost.iter().map(|(currency, minor)| (currency.clone(), major(*minor, currency))).collect();
    audience.approval = stops::approval(definitions.workspace.policy.approval.as_ref(), campaign.class, audience.messages);
    let next = dates::next(&campaign.schedule, now);
    let mut warnings = Vec::new();
    if next.is_empty() && campaign.schedule.when.is_none() {
        warnings.push("its schedule has no date to come: nothing will be sent".to_string());
    }
    if preview.selected == 0 {
        warnings.push("as of now it selects nobody".to_string());
    }
    if campaign.class == Class::Advertising && audience.messages > 0 && campaign.audience.holdout == Holdout::Share(Default::default()) {
        warnings.push("nobody is held out, so its lift cannot be measured".to_string());
    }
    Ok(CampaignPlan {
        campaign: campaign.key.clone(),
        title: campaign.title.pick(&definitions.workspace.language_chain(None)).to_string(),
        change,
        version: before.map(|version| version.version),
        files: match before {
            Some(version) if change == Changed::Changed => file_changes(store, files, &here, version).await?,
            _ => Vec::new(),
        },
        audience: Some(audience),
        starts_when: campaign.schedule.when.as_ref().map(|trigger| trigger.words()),
        next,
        samples,
        warnings,
    })
}

fn retired(version: &Version) -> CampaignPlan {
    CampaignPlan {
        campaign: version.key.clone(),
        title: String::new(),
        change: Changed::Retire,
        version: Some(version.version),
        files: Vec::new(),
        audience: None,
        starts_when: None,
        next: Vec::new(),
        samples: Vec::new(),
        warnings: Vec::new(),
    }
}

async fn file_changes(store: &Store, files: &Files, here: &BTreeMap<String, String>, before: &Version) -> anyhow::Result<Vec<FileChange>> {
    let applied = store.files_of(&before.manifest).await?;
    let mut paths: Vec<&String> = here.keys().chain(before.manifest.keys()).collect();
    paths.sort();
    paths.dedup();
    Ok(paths
        .into_iter()
        .filter(|path| here.get(*path) != before.manifest.get(*path))
        .map(|path| FileChange {
            path: path.clone(),
            difference: view::difference(applied.text(path).unwrap_or(""), files.text(path).unwrap_or("")),
        })
        .collect())
}

fn audience(campaign: &Campaign, preview: &Preview) -> AudiencePlan {
    let refused: BTreeMap<String, u64> = preview.refused.iter().map(|(refusal, count)| (refusal.word().to_string(), *count)).collect();
    let mut by_channel: BTreeMap<String, u64> = BTreeMap::new();
    let mut by_arm: BTreeMap<i16, u64> = BTreeMap::new();
    for ((arm, channel), count) in &preview.messages {
        *by_channel.entry(channel.to_string()).or_default() += count;
        *by_arm.entry(*arm).or_default() += count;
    }
    let held_out = refused.get("held_out").copied().unwrap_or(0);
    let messages = preview.messages.values().sum();
    let arms = preview
        .arms
        .iter()
        .map(|arm| ArmPlan {
            arm: arm.name.clone(),
            held_out: arm.held_out,
            customers: if arm.held_out { held_out } else { by_arm.get(&arm.arm).copied().unwrap_or(0) },
        })
        .filter(|arm| !arm.held_out || arm.customers > 0)
        .collect();
    AudiencePlan {
        selected: preview.selected,
        refused,
        messages,
        deferred: preview.deferred.clone(),
        beyond: preview.beyond,
        by_channel,
        arms,
        sms_parts: None,
        cost: BTreeMap::new(),
        approval: None,
        lift: (campaign.goal.is_some() && held_out > 0).then(|| lift(messages, held_out)),
    }
}

/// What a hold-out of this size can show, if two in a hundred did it by themselves (definitions.md §6: significance 0.05, power 0.8).
fn lift(messages: u64, held_out: u64) -> String {
    const BASELINE: f64 = 0.02;
    match smallest_lift(messages, held_out, BASELINE, Demands { significance: 0.05, power: 0.8 }) {
        Some(points) => format!(
            "{held_out} held out: if 2 in 100 would do it anyway, a lift of {:.1} points or more shows in four of five such campaigns",
            points * 100.0
        ),
        None => format!("{held_out} held out: too few to show any lift"),
    }
}

fn major(minor: i64, currency: &str) -> f64 {
    crate::literals::Money { minor, currency: currency.to_string() }.major()
}
