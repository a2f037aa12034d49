//! What the base does by itself as time passes: consents that end, sign-ups that are reminded of and forgotten.

use crate::campaigns::Workspace;
use crate::customers::signup;
use crate::store::{Error, Store};
use crate::types::Time;
use chrono::TimeDelta;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What others have brought is looked for at least so often.
const LOOK: TimeDelta = TimeDelta::minutes(1);

pub(super) struct Passing(Mutex<Kept>);

struct Kept {
    workspace: Arc<Workspace>,
    /// When it was looked at, and what was due next.
    looked: Option<(Time, Option<Time>)>,
}

impl Passing {
    pub fn new(workspace: Workspace) -> Self {
        Passing(Mutex::new(Kept { workspace: Arc::new(workspace), looked: None }))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set(&self, workspace: Workspace) {
        *self.kept() = Kept { workspace: Arc::new(workspace), looked: None };
    }

    /// Does what is due, and says when something is due again.
    pub async fn turn(&self, store: &Store, now: Time) -> Result<Option<Time>, Error> {
        let workspace = {
            let kept = self.kept();
            if let Some((at, next)) = kept.looked
                && (at..at + LOOK).contains(&now)
                && next.is_none_or(|next| next > now)
            {
                return Ok(next);
            }
            kept.workspace.clone()
        };
        store.end_consents(now).await?;
        let signups = signup::tidy(store, &workspace, now).await?;
        let next = [signups, store.next_end_of_consent().await?].into_iter().flatten().min();
        self.kept().looked = Some((now, next));
        Ok(next)
    }
}
