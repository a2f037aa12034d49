//! What providers tell over the line on which we send: stored before it is acknowledged, and read like a webhook.

use crate::clock::Clock;
use crate::kill_points::{Point, reached};
use crate::providers::inbox::{Inbox, Taking, Told};
use crate::store::Store;
use crate::store::hooks::NewHook;
use crate::store::responses::digest;
use crate::webhooks::{line, pack_told};

/// Keeps what is told over a line.
pub struct Line {
    pub store: Store,
    pub clock: Clock,
}

impl Inbox for Line {
    fn take<'a>(&'a self, provider: &'a str, told: Told) -> Taking<'a> {
        Box::pin(async move {
            let now = self.clock.now();
            let told = line::told(told, now);
            let Ok(packed) = pack_told(&told) else { return false };
            let key = digest(&[line::KIND.as_bytes(), told.id.as_bytes()]);
            let hook = NewHook { provider: provider.to_string(), kind: line::KIND, key, received_at: now, request: packed };
            reached(Point::BeforeIntake);
            match self.store.keep_hooks(&[hook]).await {
                Ok(_) => {
                    reached(Point::AfterIntake);
                    true
                }
                Err(error) => {
                    tracing::warn!(
                        provider,
                        error = &error as &dyn std::error::Error,
                        "what was told is asked for again: it could not be stored"
                    );
                    false
                }
            }
        })
    }
}
