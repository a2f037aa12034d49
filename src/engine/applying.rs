//! What an apply stores, gathered from checked files.

use crate::campaigns::{Campaign, Definitions, Measure, Trigger};
use crate::diagnostics::Files;
use crate::dispatch::Compiled;
use crate::segments::Condition;
use crate::store::definitions::{Applied, Apply, MeasureRow};
use crate::types::{Time, VersionId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Everything of `files` that is applied: all campaigns but drafts. `commit` is the folder's, or `dirty`.
pub fn applying(files: Files, definitions: Definitions, commit: String, who: String, now: Time) -> Apply {
    let definitions = Arc::new(definitions);
    let campaigns =
        definitions.campaigns.values().filter(|campaign| !campaign.draft).map(|campaign| applied(&definitions, campaign)).collect();
    Apply { files, campaigns, commit, who, now }
}

fn applied(definitions: &Arc<Definitions>, campaign: &Campaign) -> Applied {
    let compiled = Compiled::new(Arc::clone(definitions), &campaign.key, VersionId(0));
    Applied {
        key: campaign.key.clone(),
        title: campaign.title.pick(&definitions.workspace.languages).to_string(),
        class: campaign.class,
        topic: campaign.topic.clone(),
        category: campaign.category.clone(),
        tags: campaign.tags.clone(),
        reaches: campaign.reaches.clone(),
        needs: needs(definitions, campaign),
        links: compiled.links.iter().map(|link| (link.target.clone(), !link.literal)).collect(),
        measures: campaign.goal.iter().chain(&campaign.measures).map(measure).collect(),
        schedule: format!("{:?}", campaign.schedule),
        triggers: campaign.schedule.when.as_ref().map(Trigger::names).unwrap_or_default(),
    }
}

fn measure(measure: &Measure) -> MeasureRow {
    MeasureRow {
        number: measure.number,
        event: measure.event.clone(),
        value: measure.value.clone(),
        within: measure.within.to_string(),
        conditional: measure.condition.is_some(),
    }
}

/// All paths without which the version could not be read again: also of campaigns that its conditions name, and what those need.
fn needs(definitions: &Definitions, campaign: &Campaign) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    let mut seen: BTreeMap<&str, &Campaign> = BTreeMap::from([(campaign.key.as_str(), campaign)]);
    let mut open = vec![campaign];
    while let Some(campaign) = open.pop() {
        paths.extend(campaign.reaches.iter().cloned());
        for named in named_campaigns(definitions, campaign) {
            if let Some((key, other)) = definitions.campaigns.get_key_value(&named)
                && seen.insert(key, other).is_none()
            {
                open.push(other);
            }
        }
    }
    paths
}

/// Campaigns that the audience or the trigger names, through segments too.
fn named_campaigns(definitions: &Definitions, campaign: &Campaign) -> BTreeSet<String> {
    let audience = &campaign.audience;
    let mut conditions: Vec<&Condition> = audience.condition.iter().chain(&audience.except).collect();
    let mut segments: Vec<String> = audience.segment.iter().cloned().collect();
    let (mut named, mut seen) = (BTreeSet::new(), BTreeSet::new());
    if let Some(Trigger::Message(message)) = &campaign.schedule.when {
        named.extend(message.campaigns.iter().cloned());
    }
    loop {
        for condition in conditions.drain(..) {
            named.extend(condition.campaigns());
            segments.extend(condition.segments());
        }
        let Some(key) = segments.pop() else { return named };
        if seen.insert(key.clone())
            && let Some(segment) = definitions.segments.get(&key)
        {
            conditions.push(&segment.condition);
        }
    }
}
