//! What providers have told us, worked off: stored webhooks are read, matched to their messages, and recorded.
//!
//! Everything here may be done twice and in any order: recording is idempotent (a happening has a key) and states go by rank, not by arrival. So a
//! crash at any point, or two processes at once, change nothing. What is told of a message that is not known (a webhook may beat our own commit, or
//! tell of somebody else's mail) is kept and looked at again for 72 hours.

pub mod answers;
mod effects;
mod forgetting;
mod line;
mod matching;
mod texts;

pub use forgetting::{Forgotten, forget, told_of};
pub use line::Line;
pub use texts::EVENT as TEXT_EVENT;

use crate::campaigns::Workspace;
use crate::customers::keys::Keys;
use crate::dispatch::References;
use crate::store::hooks::{Candidate, Hook, Orphan};
use crate::store::parts::{Part, PartState};
use crate::store::responses::{Counting, Detail, ResponseRow, digest};
use crate::store::{self, Store, from_micros, micros};
use crate::tracking::{Tokens, judge};
use crate::types::{Channel, MessageId, MessageState, Time, VersionId};
use crate::webhooks::{self, Kind, Stored, Told, What};
use chrono::TimeDelta;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// Requests of one step: what they tell is recorded in transactions of at most [`AT_ONCE`] rows.
const HOOKS: i64 = 50;
/// Rows of one transaction: none on SQLite takes longer than 50 ms.
const AT_ONCE: usize = 200;
/// Orphans looked at in one step.
const ORPHANS: i64 = 500;
/// How long an unknown message is waited for (standards.md §3.1).
const WAIT: TimeDelta = TimeDelta::hours(72);
/// Requests that were read are remembered so long, so that they are known when they come again.
const REMEMBERED: TimeDelta = TimeDelta::days(7);
/// Those that could not be read are kept so long for people.
const KEPT: TimeDelta = TimeDelta::days(30);

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Turn {
    /// Requests and orphans that were looked at.
    pub done: usize,
    /// When the next orphan is due.
    pub next: Option<Time>,
}

/// Works off what providers have told.
pub struct Feedback {
    store: Store,
    keys: Keys,
    references: References,
    tokens: Tokens,
    applied: Mutex<Option<(VersionId, Arc<Applied>)>>,
    tidied_at: Mutex<Option<Time>>,
}

/// What is needed of the applied workspace.
struct Applied {
    counting: Counting,
    workspace: Workspace,
    /// Topic → the identity that its messages come from, where they go by SMS.
    senders: BTreeMap<String, Option<String>>,
}

impl Applied {
    /// The topics whose texts come from the same sender as this one's; none where it is not known any more.
    fn of_one_sender(&self, topic: &str) -> Vec<String> {
        let Some(sender) = self.senders.get(topic) else { return Vec::new() };
        self.senders
            .iter()
            .filter(|(known, other)| known.as_str() == topic || sender.is_some() && *other == sender)
            .map(|(known, _)| known.clone())
            .collect()
    }
}

/// One happening, from a request or kept before.
struct Case {
    provider: String,
    told: Told,
    received_at: i64,
    /// The request that told it; none for one that was kept before.
    hook: Option<i64>,
}

impl Case {
    /// The same for the same happening told again.
    fn key(&self) -> [u8; 16] {
        digest(&[b"webhook", self.provider.as_bytes(), self.told.id.as_bytes()])
    }

    fn at(&self) -> Time {
        self.told.at.unwrap_or_else(|| from_micros(self.received_at))
    }
}

impl Feedback {
    pub fn new(store: Store, keys: Keys, references: References, tokens: Tokens) -> Feedback {
        Feedback { store, keys, references, tokens, applied: Mutex::default(), tidied_at: Mutex::default() }
    }

    /// Whether anything waits that came in.
    pub async fn waits(&self) -> Result<bool, store::Error> {
        self.store.hooks_wait().await
    }

    /// Reads what waits, at most so much as one step holds, and looks at the orphans that are due.
    pub async fn turn(&self, now: Time) -> Result<Turn, store::Error> {
        let hooks = self.store.waiting_hooks(HOOKS).await?;
        let orphans = self.store.due_orphans(now, ORPHANS).await?;
        let done = hooks.len() + orphans.len();
        if done > 0 {
            self.work_off(&hooks, orphans, now).await?;
        }
        self.tidy(now).await?;
        Ok(Turn { done, next: self.store.next_orphan().await? })
    }

    async fn work_off(&self, hooks: &[Hook], orphans: Vec<Orphan>, now: Time) -> Result<(), store::Error> {
        let Some(applied) = self.applied().await? else { return Ok(()) };
        let (mut read, mut unread, mut cases) = (Vec::new(), Vec::new(), Vec::new());
        for hook in hooks {
            let told = match Kind::from_word(&hook.kind) {
                Some(kind) => Stored::told(kind, &hook.request),
                None if hook.kind == webhooks::line::KIND => webhooks::unpack_told(&hook.request).map(|told| vec![told]),
                None => Err(format!("`{}` is no provider whose webhooks can be read", hook.kind)),
            };
            match told {
                Ok(told) => {
                    read.push(hook.id);
                    let case = |told| Case { provider: hook.provider.clone(), told, received_at: hook.received_at, hook: Some(hook.id) };
                    cases.extend(told.into_iter().map(case));
                }
                Err(why) => {
                    tracing::warn!(provider = hook.provider, hook = hook.id, why, "a webhook cannot be read; it is kept");
                    unread.push((hook.id, why));
                }
            }
        }
        let mut lost = Vec::new();
        for orphan in orphans {
            match serde_json::from_str(&orphan.told) {
                Ok(told) => cases.push(Case { provider: orphan.provider, told, received_at: orphan.received_at, hook: None }),
                Err(error) => {
                    tracing::error!(provider = orphan.provider, %error, "a kept happening cannot be read any more; it is dropped");
                    lost.push((orphan.provider, orphan.key));
                }
            }
        }
        self.store.drop_orphans(&lost).await?;
        for chunk in cases.chunks(AT_ONCE) {
            match self.record(chunk, &applied, now).await {
                Err(error) if !error.is_temporary() => unread.extend(self.record_each(chunk, &applied, now).await?),
                recorded => recorded?,
            }
        }
        read.retain(|id| unread.iter().all(|(broken, _)| broken != id));
        // Only now: whoever dies before reads them again.
        self.store.finish_hooks(&read, &unread).await
    }

    /// What cannot be recorded together is recorded one by one: one that nobody can record must not keep the others from it. Gives the requests with such a
    /// one, and why; they are kept for people.
    async fn record_each(&self, cases: &[Case], applied: &Applied, now: Time) -> Result<Vec<(i64, String)>, store::Error> {
        let mut broken = Vec::new();
        for case in cases {
            let Err(error) = self.record(std::slice::from_ref(case), applied, now).await else { continue };
            if error.is_temporary() {
                return Err(error);
            }
            tracing::error!(
                provider = case.provider,
                error = &error as &dyn std::error::Error,
                "what was told cannot be recorded; it is kept"
            );
            match case.hook {
                Some(hook) => broken.push((hook, error.to_string())),
                None => self.store.drop_orphans(&[(case.provider.clone(), case.key())]).await?,
            }
        }
        Ok(broken)
    }

    async fn record(&self, cases: &[Case], applied: &Applied, now: Time) -> Result<(), store::Error> {
        let found = self.find(cases, now).await?;
        let parts = self.note_parts(cases, &found).await?;
        let (mut told, mut proven, mut suppressed) = (Vec::new(), Vec::new(), Vec::new());
        let (mut settled, mut unknown) = (Vec::new(), Vec::new());
        for (case, found) in cases.iter().zip(&found) {
            let message = found.as_ref().map(|(message, _)| message);
            told.extend(self.hear(case, applied).await?);
            // What concerns the address does not wait for the message.
            suppressed.extend(self.suppressed(case, message));
            match message {
                Some(message) => {
                    let is_part = found.as_ref().is_some_and(|(_, part)| part.is_some());
                    let of_all = is_part.then(|| parts.get(&message.id)).flatten();
                    told.extend(effects::response(case, message, applied).and_then(|told| effects::of_all_parts(told, of_all)));
                    match MessageState::from_code(message.state) {
                        Some(MessageState::Uncertain) if case.told.what != What::Nothing => proven.push(MessageId(message.id)),
                        Some(MessageState::Retry | MessageState::Deferred) if effects::proves(&case.told.what) => {
                            proven.push(MessageId(message.id));
                        }
                        // A try is under way, whose answer may leave it open: then this is the proof.
                        Some(MessageState::HandingOver)
                            if effects::proves(&case.told.what) && now - from_micros(case.received_at) < WAIT =>
                        {
                            unknown.push(case);
                            continue;
                        }
                        _ => {}
                    }
                    settled.push(case);
                }
                None if effects::matters(&case.told.what) && now - from_micros(case.received_at) < WAIT => unknown.push(case),
                None => settled.push(case),
            }
        }
        self.store.keep_suppressions(&suppressed).await?;
        let (rows, details): (Vec<ResponseRow>, Vec<Detail>) = told.into_iter().unzip();
        self.store.record_told_responses(&rows, &details, &applied.counting).await?;
        self.store.settle_proven(&proven).await?;
        let unknown = self.without_erased(unknown).await?;
        let orphan = |case: &&Case| Orphan {
            provider: case.provider.clone(),
            key: case.key(),
            told: serde_json::to_string(&case.told).unwrap_or_default(),
            received_at: case.received_at,
            next_at: micros(now + again(now - from_micros(case.received_at))),
        };
        self.store.keep_orphans(&unknown.iter().map(orphan).collect::<Vec<_>>()).await?;
        let over: Vec<_> = settled.iter().filter(|case| case.hook.is_none()).map(|case| (case.provider.clone(), case.key())).collect();
        self.store.drop_orphans(&over).await
    }

    /// Notes what is told of parts; gives for each of their messages how many it has and how many have arrived.
    async fn note_parts(&self, cases: &[Case], found: &[Found]) -> Result<HashMap<i64, (i64, i64)>, store::Error> {
        let told = cases.iter().zip(found).filter_map(|(case, found)| {
            let part = found.as_ref()?.1.clone()?;
            match case.told.what {
                What::Delivered => Some((part, PartState::Arrived)),
                What::Bounced(_) | What::Listed(_) | What::Failed => Some((part, PartState::Failed)),
                _ => None,
            }
        });
        self.store.note_parts(&told.collect::<Vec<_>>()).await
    }

    async fn applied(&self) -> Result<Option<Arc<Applied>>, store::Error> {
        let Some(version) = self.store.applied_workspace_id().await? else { return Ok(None) };
        if let Some((known, applied)) = &*lock(&self.applied)
            && *known == version
        {
            return Ok(Some(applied.clone()));
        }
        let workspace = self.store.load_workspace(version).await?;
        let counting = Counting { zone: workspace.zone, slot: 0, judge: judge::judge };
        let by_sms = workspace.topics.iter().filter(|(_, topic)| topic.channels.contains(&Channel::Sms));
        let senders = by_sms.map(|(key, topic)| (key.clone(), topic.from.clone())).collect();
        let applied = Arc::new(Applied { counting, senders, workspace });
        *lock(&self.applied) = Some((version, applied.clone()));
        Ok(Some(applied))
    }

    /// Once an hour: what is old goes.
    async fn tidy(&self, now: Time) -> Result<(), store::Error> {
        if lock(&self.tidied_at).is_some_and(|at| now - at < TimeDelta::hours(1)) {
            return Ok(());
        }
        self.store.forget_hooks(now - REMEMBERED, now - KEPT).await?;
        *lock(&self.tidied_at) = Some(now);
        Ok(())
    }
}

/// Soon at first, when our own commit may be on its way; then ever later.
fn again(age: TimeDelta) -> TimeDelta {
    (age / 2).clamp(TimeDelta::seconds(2), TimeDelta::hours(6))
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A message that was found, or none; and which part of it is meant.
type Found = Option<(Candidate, Option<Part>)>;
