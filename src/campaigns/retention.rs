//! Rules that look back further than events are kept (`retention.events`): events stay longer then, and whoever wrote a retention should know.

use super::model::{Campaign, Segment, Workspace};
use crate::diagnostics::{Problem, Problems};
use crate::literals::Duration;
use crate::yaml::Node;
use std::collections::BTreeMap;

pub fn check(
    workspace: &Workspace,
    (segments, segment_trees): (&BTreeMap<String, Segment>, &BTreeMap<String, Node>),
    (campaigns, campaign_trees): (&BTreeMap<String, Campaign>, &BTreeMap<String, Node>),
    problems: &mut Problems,
) {
    let Some(kept) = workspace.retention.events else { return };
    for (key, segment) in segments {
        let span = segment_trees.get(key).and_then(|node| Some(node.get("where")?.span));
        let file = format!("campaigns/segments/{key}.yaml");
        if let Some((title, help)) = longest(segment.condition.windows(), kept) {
            problems.push(Problem::new(file, span, title).warning().help(help));
        }
    }
    for (key, campaign) in campaigns {
        let span = campaign_trees.get(key).and_then(|node| Some(node.get("audience")?.span));
        let conditions = campaign.audience.condition.iter().chain(&campaign.audience.except);
        let file = format!("campaigns/{key}.yaml");
        if let Some((title, help)) = longest(conditions.flat_map(|condition| condition.windows()), kept) {
            problems.push(Problem::new(file, span, title).warning().help(help));
        }
    }
}

/// A warning about the longest window, where events are kept for less.
fn longest(windows: impl IntoIterator<Item = Duration>, kept: Duration) -> Option<(String, String)> {
    let longest = windows.into_iter().max_by_key(|window| window.seconds()).filter(|longest| longest.seconds() > kept.seconds())?;
    let title = format!("this looks back {longest}, and `retention` keeps events for {kept}");
    let help =
        format!("while this is applied, events are kept for {longest}; look back less, or write `retention: {{ events: {longest} }}`");
    Some((title, help))
}
