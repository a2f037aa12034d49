//! What `posthaste plan` says: one value for the terminal and for JSON.

use crate::cli::dates::NextDate;
use crate::types::Time;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The whole plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    pub as_of: Time,
    /// Whether posthaste.yaml differs from what is applied.
    pub workspace: Changed,
    pub campaigns: Vec<CampaignPlan>,
    pub commit: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Changed {
    Added,
    Changed,
    Unchanged,
    /// Its file has gone.
    Retire,
    /// A draft is checked, never applied.
    Draft,
}

impl Changed {
    fn sign(self) -> char {
        match self {
            Changed::Added => '+',
            Changed::Changed => '~',
            Changed::Unchanged => '=',
            Changed::Retire => '-',
            Changed::Draft => '.',
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CampaignPlan {
    pub campaign: String,
    pub title: String,
    pub change: Changed,
    /// The version in force, before an apply.
    pub version: Option<i64>,
    /// Files that differ, each with the difference as lines beginning with + and −.
    pub files: Vec<FileChange>,
    /// Nothing below is worked out for one that is retired.
    pub audience: Option<AudiencePlan>,
    /// What starts it, where it is not the clock.
    pub starts_when: Option<String>,
    pub next: Vec<NextDate>,
    pub samples: Vec<Sample>,
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileChange {
    pub path: String,
    pub difference: Vec<String>,
}

/// As it would be if the run were planned now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AudiencePlan {
    pub selected: u64,
    pub refused: BTreeMap<String, u64>,
    pub messages: u64,
    /// Those among the messages that would wait by rule, by what they wait for.
    pub deferred: BTreeMap<String, u64>,
    /// Those among the messages that go as the identity for what a warm-up has no room for.
    pub beyond: u64,
    pub by_channel: BTreeMap<String, u64>,
    pub arms: Vec<ArmPlan>,
    /// SMS parts over the samples that were rendered: least and most.
    pub sms_parts: Option<(u16, u16)>,
    /// By currency, in major units; from the providers' prices.
    pub cost: BTreeMap<String, f64>,
    /// Why somebody other than the one who applies must agree before it goes.
    pub approval: Option<String>,
    /// What lift the hold-out's size can show.
    pub lift: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ArmPlan {
    pub arm: String,
    pub held_out: bool,
    pub customers: u64,
}

/// A message as one real customer would get it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sample {
    pub customer: String,
    pub channel: String,
    pub arm: String,
    pub language: String,
    pub subject: Option<String>,
    /// The beginning of the text.
    pub text: String,
    /// Of the HTML.
    pub bytes: Option<usize>,
    pub parts: Option<u16>,
    /// Why there is no message, when it cannot be rendered.
    pub failed: Option<String>,
}

impl Plan {
    pub fn has_changes(&self) -> bool {
        self.workspace != Changed::Unchanged
            || self.campaigns.iter().any(|campaign| !matches!(campaign.change, Changed::Unchanged | Changed::Draft))
    }

    /// The last line: how many of each.
    pub fn summary(&self) -> String {
        let count = |change| self.campaigns.iter().filter(|campaign| campaign.change == change).count();
        let drafts = count(Changed::Draft);
        let mut out = format!(
            "{} to add, {} to change, {} to retire, {} unchanged",
            count(Changed::Added),
            count(Changed::Changed),
            count(Changed::Retire),
            count(Changed::Unchanged)
        );
        if drafts > 0 {
            let _ = write!(out, ", {drafts} draft{}", if drafts == 1 { "" } else { "s" });
        }
        out
    }

    /// As a person reads it.
    pub fn text(&self) -> String {
        let mut out = String::new();
        if self.workspace != Changed::Unchanged {
            let _ = writeln!(out, "{} posthaste.yaml\n", self.workspace.sign());
        }
        for campaign in &self.campaigns {
            one_campaign(&mut out, campaign);
        }
        let _ = writeln!(out, "Plan: {} ({})", self.summary(), self.commit);
        out
    }
}

fn one_campaign(out: &mut String, campaign: &CampaignPlan) {
    let state = match (campaign.change, campaign.version) {
        (Changed::Added, _) => "new".to_string(),
        (Changed::Changed, Some(version)) => format!("version {version} becomes {}", version + 1),
        (Changed::Changed, None) => "changed".to_string(),
        (Changed::Unchanged, Some(version)) => format!("version {version}, unchanged"),
        (Changed::Unchanged, None) => "unchanged".to_string(),
        (Changed::Retire, _) => "its file has gone: will be retired".to_string(),
        (Changed::Draft, _) => "a draft: checked, not applied".to_string(),
    };
    let _ = writeln!(out, "{} {}  {} ({state})", campaign.change.sign(), campaign.campaign, campaign.title);
    for file in &campaign.files {
        let _ = writeln!(out, "    {}", file.path);
        for line in &file.difference {
            let _ = writeln!(out, "      {line}");
        }
    }
    if let Some(when) = &campaign.starts_when {
        let _ = writeln!(out, "    starts    when {when}");
    }
    for (index, next) in campaign.next.iter().enumerate() {
        let _ = writeln!(out, "    {:<9} {}", if index == 0 { "next" } else { "" }, next.line());
    }
    if let Some(audience) = &campaign.audience {
        self::audience(out, audience);
    }
    for sample in &campaign.samples {
        self::sample(out, sample);
    }
    for warning in &campaign.warnings {
        let _ = writeln!(out, "    warning   {warning}");
    }
    out.push('\n');
}

fn audience(out: &mut String, audience: &AudiencePlan) {
    let refused: u64 = audience.refused.values().sum();
    let _ = writeln!(out, "    selected  {} = {refused} refused + {} messages", audience.selected, audience.messages);
    if !audience.refused.is_empty() {
        let _ = writeln!(out, "    refused   {}", listed(audience.refused.iter().map(|(word, count)| format!("{word} {count}"))));
    }
    if audience.messages > 0 {
        let _ = writeln!(out, "    messages  {}", listed(audience.by_channel.iter().map(|(channel, count)| format!("{channel} {count}"))));
    }
    for (index, (why, count)) in audience.deferred.iter().enumerate() {
        let _ = writeln!(out, "    {:<9} {count} wait: {why}", if index == 0 { "deferred" } else { "" });
    }
    if audience.beyond > 0 {
        let _ = writeln!(out, "    beyond    {} go as another identity: the warm-up has no room for them that day", audience.beyond);
    }
    if let Some((least, most)) = audience.sms_parts {
        let parts = if least == most { format!("{least}") } else { format!("{least} to {most}") };
        let _ = writeln!(out, "    sms parts {parts} a message, in the samples");
    }
    if audience.arms.len() > 1 {
        let _ = writeln!(out, "    arms      {}", listed(audience.arms.iter().map(|arm| format!("{} {}", arm.arm, arm.customers))));
    }
    for (currency, cost) in &audience.cost {
        let _ = writeln!(out, "    cost      about {cost:.2} {currency}");
    }
    if let Some(approval) = &audience.approval {
        let _ = writeln!(out, "    approval  {approval}; its messages are held until `posthaste runs approve`");
    }
    if let Some(lift) = &audience.lift {
        let _ = writeln!(out, "    lift      {lift}");
    }
}

fn sample(out: &mut String, sample: &Sample) {
    let head = format!("{} · {} · {} · {}", sample.customer, sample.channel, sample.arm, sample.language);
    if let Some(failed) = &sample.failed {
        let _ = writeln!(out, "    sample    {head}\n              no message: {failed}");
        return;
    }
    let size = match (sample.bytes, sample.parts) {
        (Some(bytes), _) => format!(" ({:.1} KB)", bytes as f64 / 1024.0),
        (None, Some(parts)) => format!(" ({parts} part{})", if parts == 1 { "" } else { "s" }),
        (None, None) => String::new(),
    };
    let _ = writeln!(out, "    sample    {head}{size}");
    if let Some(subject) = &sample.subject {
        let _ = writeln!(out, "              \"{subject}\"");
    }
    let _ = writeln!(out, "              {}", sample.text);
}

fn listed(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

/// The lines that differ, with a line of context; long runs are cut.
pub fn difference(before: &str, after: &str) -> Vec<String> {
    const MOST: usize = 40;
    let diff = similar::TextDiff::from_lines(before, after);
    let mut lines = Vec::new();
    for (index, group) in diff.grouped_ops(1).iter().enumerate() {
        if index > 0 {
            lines.push("…".to_string());
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let sign = match change.tag() {
                similar::ChangeTag::Delete => '-',
                similar::ChangeTag::Insert => '+',
                similar::ChangeTag::Equal => ' ',
            };
            lines.push(format!("{sign} {}", change.value().trim_end()));
        }
    }
    if lines.len() > MOST {
        let more = lines.len() - MOST;
        lines.truncate(MOST);
        lines.push(format!("… {more} more lines"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_reads_like_a_letter_to_the_one_who_applies_it() {
        let at = "2027-03-01T08:00:00Z".parse().unwrap();
        let plan = Plan {
            as_of: at,
            workspace: Changed::Unchanged,
            commit: "commit 1a2b3c4".into(),
            campaigns: vec![CampaignPlan {
                campaign: "spring-sale".into(),
                title: "Spring sale".into(),
                change: Changed::Changed,
                version: Some(3),
                files: vec![FileChange { path: "campaigns/spring-sale.yaml".into(), difference: difference("a\nb\nc\n", "a\nB\nc\n") }],
                audience: Some(AudiencePlan {
                    selected: 120,
                    refused: BTreeMap::from([("held_out".into(), 12), ("no_consent".into(), 8)]),
                    messages: 100,
                    deferred: BTreeMap::from([("quiet hours".into(), 10)]),
                    beyond: 0,
                    by_channel: BTreeMap::from([("email".into(), 90), ("sms".into(), 10)]),
                    arms: vec![
                        ArmPlan { arm: "plain".into(), held_out: false, customers: 54 },
                        ArmPlan { arm: "held_out".into(), held_out: true, customers: 12 },
                    ],
                    sms_parts: Some((1, 2)),
                    cost: BTreeMap::from([("UAH".into(), 12.75)]),
                    approval: Some("a second person must agree: 100 messages, more than 50".into()),
                    lift: Some("shows a lift of 9.1 points or more".into()),
                }),
                starts_when: None,
                next: vec![NextDate { local: "Mon 1 Mar 2027 10:00 EET".into(), at, recipient: false, note: None }],
                samples: vec![Sample {
                    customer: "Ada (K1)".into(),
                    channel: "email".into(),
                    arm: "plain".into(),
                    language: "en".into(),
                    subject: Some("Ada, spring is here".into()),
                    text: "20% off until 7 March".into(),
                    bytes: Some(14_540),
                    parts: None,
                    failed: None,
                }],
                warnings: vec!["the letter is near the size at which Gmail cuts".into()],
            }],
        };
        insta::assert_snapshot!(plan.text());
        assert!(plan.has_changes());
    }
}
