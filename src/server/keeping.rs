//! Group commit of webhooks: requests that come at the same time are stored in one transaction. A lone one is as fast as the disk.
//!
//! An answer means: it is durable. How many may wait is bounded by those who wait for their answers.

use crate::store::Store;
use crate::store::hooks::NewHook;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Requests of one transaction at most; one may have a megabyte.
const TOGETHER: usize = 64;

type Answer = Result<bool, Arc<crate::store::Error>>;

/// Stores webhooks. Its task ends with it.
pub(super) struct Keeping {
    queue: mpsc::UnboundedSender<(NewHook, oneshot::Sender<Answer>)>,
}

impl Keeping {
    /// Starts the task on the current runtime.
    pub fn start(store: Store) -> Self {
        let (queue, waiting) = mpsc::unbounded_channel();
        tokio::spawn(write_all(store, waiting));
        Keeping { queue }
    }

    /// Stores a request; false when it is there already. The error says why it is not stored.
    pub async fn keep(&self, hook: NewHook) -> Result<bool, String> {
        let (answer, answered) = oneshot::channel();
        let _ = self.queue.send((hook, answer));
        answered.await.map_err(|_| "the process ends".to_string())?.map_err(|error| error.to_string())
    }
}

async fn write_all(store: Store, mut waiting: mpsc::UnboundedReceiver<(NewHook, oneshot::Sender<Answer>)>) {
    let mut batch = Vec::new();
    while waiting.recv_many(&mut batch, TOGETHER).await > 0 {
        let (hooks, answers): (Vec<NewHook>, Vec<_>) = batch.drain(..).unzip();
        match store.keep_hooks(&hooks).await {
            Ok(new) => answers.into_iter().zip(new).for_each(|(answer, is_new)| {
                let _ = answer.send(Ok(is_new));
            }),
            Err(error) => {
                let error = Arc::new(error);
                answers.into_iter().for_each(|answer| {
                    let _ = answer.send(Err(error.clone()));
                });
            }
        }
    }
}
