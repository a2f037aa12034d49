//! Turns of several processes that write the same SQLite file.
//!
//! SQLite lets one process write at a time. Who finds it writing sleeps, longer each time, up to a tenth of a second, while the one that wrote begins again
//! at once: an import beside an engine that sends came to its turn now and then, and both processors were idle half of the time. Here whoever wants to
//! write stands at the head of a queue first (a lock of `FILE-next`), then waits for the turn (a lock of `FILE-turn`) and lets the next one step up: nobody is
//! passed by.
//!
//! Promises order, not safety: that is SQLite's own lock, which programs wait for that know nothing of turns. Who does not come to a turn within [`PATIENCE`],
//! or cannot make the files, goes on to it. The locks end with their process.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// As long as SQLite's own lock is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether a lock is free: a transaction takes as long or longer.
const LOOK: Duration = Duration::from_millis(1);

/// The queue of one file, as one process sees it. Its writers take turns among themselves before.
#[derive(Debug)]
pub(super) struct Turns {
    next: File,
    turn: File,
}

impl Turns {
    /// `None` where the files cannot be made.
    pub fn of(path: &Path) -> Option<Turns> {
        let open = |ending: &str| {
            let mut name = OsString::from(path);
            name.push(ending);
            OpenOptions::new().create(true).truncate(false).write(true).open(name).ok()
        };
        Some(Turns { next: open("-next")?, turn: open("-turn")? })
    }

    /// Waits for this process's turn.
    pub async fn take(&self) {
        let deadline = Instant::now() + PATIENCE;
        let Some(_head) = Locked::of(&self.next, deadline).await else { return };
        if let Some(turn) = Locked::of(&self.turn, deadline).await {
            turn.keep();
        }
    }

    /// Ends the turn, if there is one.
    pub fn end(&self) {
        let _ = self.turn.unlock();
    }
}

/// A lock that ends with its value, also where a wait is given up.
struct Locked<'a>(&'a File);

impl<'a> Locked<'a> {
    /// `None` where it cannot be had.
    async fn of(file: &'a File, deadline: Instant) -> Option<Self> {
        loop {
            match file.try_lock() {
                Ok(()) => return Some(Locked(file)),
                Err(std::fs::TryLockError::WouldBlock) if Instant::now() < deadline => tokio::time::sleep(LOOK).await,
                Err(_) => return None,
            }
        }
    }

    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[tokio::test]
    async fn who_waits_is_not_passed_by() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("base.db");
        let (greedy, patient) = (Turns::of(&path).unwrap(), Turns::of(&path).unwrap());
        let order = Arc::new(Mutex::new(Vec::new()));
        greedy.take().await;
        let waiting = tokio::spawn({
            let order = order.clone();
            async move {
                patient.take().await;
                order.lock().unwrap().push("patient");
                patient.end();
            }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        for _ in 0..3 {
            greedy.end();
            greedy.take().await;
            order.lock().unwrap().push("greedy");
        }
        waiting.await.unwrap();
        assert_eq!(order.lock().unwrap()[0], "patient");
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_holds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("base.db");
        let (first, second, third) = (Turns::of(&path).unwrap(), Turns::of(&path).unwrap(), Turns::of(&path).unwrap());
        first.take().await;
        assert!(tokio::time::timeout(Duration::from_millis(20), second.take()).await.is_err());
        first.end();
        tokio::time::timeout(Duration::from_secs(5), third.take()).await.unwrap();
    }
}
