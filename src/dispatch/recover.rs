//! What dead processes left behind (design.md §6).

use super::Inner;
use crate::campaigns::IfUncertain;
use crate::plan::{campaign_of, message_of};
use crate::store::{self, nodes::Orphan};
use crate::types::Time;

/// Takes over from the dead, settles what they had marked, and frees the blocks. Gives how many messages were settled and blocks freed. What fails on the way is found
/// again by the next call.
pub(super) async fn recover(inner: &Inner) -> Result<usize, store::Error> {
    let now = inner.clock.now();
    let (orphans, claims) = {
        // While this process claims, it holds what it does not know of yet.
        let _alone = inner.claiming.lock().await;
        inner.store.take_over(inner.node, &inner.holding.now(), now).await?
    };
    let mut settled = Vec::with_capacity(orphans.len());
    for orphan in &orphans {
        settled.push((orphan.message, is_resent(inner, orphan).await?));
    }
    inner.store.settle_orphans(&settled, now).await?;
    for claim in &claims {
        // As due as they were.
        inner.committer.released(*claim, Time::UNIX_EPOCH);
    }
    inner.committer.flush().await;
    if !settled.is_empty() {
        let again = settled.iter().filter(|(_, again)| *again).count();
        tracing::warn!(uncertain = settled.len() - again, again, "a process died between hand-over and answer");
    }
    Ok(settled.len() + claims.len())
}

/// What the campaign's file says; hold where it cannot be read any more.
async fn is_resent(inner: &Inner, orphan: &Orphan) -> Result<bool, store::Error> {
    let Some(run) = inner.store.run(orphan.run).await? else { return Ok(false) };
    let definitions = match inner.loaded.definitions(run.version).await {
        Ok(definitions) => definitions,
        Err(error) if error.is_temporary() => return Err(error),
        Err(_) => return Ok(false),
    };
    let Ok(campaign) = campaign_of(&definitions, &run.key) else { return Ok(false) };
    Ok(message_of(campaign, orphan.arm, orphan.channel).if_uncertain == IfUncertain::Resend)
}
