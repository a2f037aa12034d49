//! Whether a run that is due is planned at all: not while the run before still hands messages over (`overlap`), and not when it would say the
//! same once more (`if_unchanged: skip`).

use super::due::{GRACE, LEAD};
use super::{Error, Planner};
use crate::campaigns::{Campaign, Definitions, Message, MissedRun, Overlap};
use crate::store::runs::Run;
use crate::types::Time;
use std::collections::BTreeMap;

/// What becomes of a run that is due.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turnout {
    Plan,
    /// Asked again at the next turn.
    Wait,
    /// Never planned, because of this.
    LeaveOut(String),
}

impl Planner {
    pub(super) async fn turnout(&self, run: &Run, definitions: &Definitions, campaign: &Campaign, now: Time) -> Result<Turnout, Error> {
        let schedule = &campaign.schedule;
        if run.is_test {
            return Ok(Turnout::Plan);
        }
        if schedule.overlap != Overlap::Allow {
            // A run in each person's zone lasts for 26 hours by its nature, and the next is planned meanwhile.
            let began_before = if schedule.recipient { now - LEAD } else { Time::MAX_UTC };
            if let Some(before) = self.store.run_that_still_goes(run, began_before).await? {
                // Of missed occurrences that all run, each waits for the one before.
                let is_one_of_all = schedule.missed.run == MissedRun::All && run.due_at < now - GRACE;
                return Ok(match schedule.overlap {
                    Overlap::Forbid if !is_one_of_all => Turnout::LeaveOut(format!("overlap: run {before} still handed messages over")),
                    _ => Turnout::Wait,
                });
            }
        }
        if schedule.skips_unchanged
            && let Some(before) = self.store.run_before(run).await?
            && self.says_the_same(&before, run, definitions, campaign).await?
        {
            return Ok(Turnout::LeaveOut(format!("if_unchanged: template and content are those of run {}", before.number)));
        }
        Ok(Turnout::Plan)
    }

    async fn says_the_same(&self, before: &Run, run: &Run, definitions: &Definitions, campaign: &Campaign) -> Result<bool, Error> {
        if before.version == run.version {
            return Ok(true);
        }
        let earlier = self.loaded.definitions(before.version).await?;
        let Some(earlier_campaign) = earlier.campaigns.get(&run.key) else { return Ok(false) };
        if said(earlier_campaign) != said(campaign) {
            return Ok(false);
        }
        let (Some(then), Some(now)) = (self.store.version(before.version).await?, self.store.version(run.version).await?) else {
            return Ok(false);
        };
        Ok(templates(&earlier, earlier_campaign, &then.manifest) == templates(definitions, campaign, &now.manifest))
    }
}

/// What the messages of a campaign say, but for their templates.
fn said(campaign: &Campaign) -> Vec<String> {
    let words = |message: &Message| format!("{:?}", (&message.body, &message.subject, &message.preheader, &message.content));
    campaign.messages().map(words).collect()
}

/// Path → hash of all files that the templates are made of.
fn templates<'a>(definitions: &Definitions, campaign: &Campaign, manifest: &'a BTreeMap<String, String>) -> BTreeMap<String, &'a String> {
    let names = campaign.messages().filter_map(|message| message.template());
    let paths = names.flat_map(|name| definitions.templates.reaches(name));
    paths.filter_map(|path| Some((path.clone(), manifest.get(&path)?))).collect()
}
