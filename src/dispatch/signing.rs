//! Signatures that take a processor long (RSA: a quarter of a millisecond), made beside the engine's own threads, on every processor.
//!
//! A letter is signed before it is marked. Ed25519 is signed where the letter is composed: handing it to another thread would cost as much.

use super::compose::Composed;
use crate::providers::Body;
use crate::providers::email::dkim::{self, Signer};
use crate::types::Time;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::sync::oneshot;

/// Who signs a letter that is not signed yet, and the time it bears.
#[derive(Debug, Clone)]
pub struct Unsigned {
    pub signer: Arc<Signer>,
    pub date: Time,
}

struct Job {
    letter: Vec<u8>,
    unsigned: Unsigned,
    done: oneshot::Sender<(Vec<u8>, Result<Vec<u8>, dkim::Error>)>,
}

/// Threads that sign, one a processor, from the first letter that needs them until this is dropped.
#[derive(Default)]
pub(super) struct Signing {
    jobs: OnceLock<Sender<Job>>,
}

impl Signing {
    /// Puts the signatures that a letter lacks before it.
    pub async fn complete(&self, composed: &mut Composed) -> Result<(), dkim::Error> {
        let Some(unsigned) = composed.unsigned.take() else { return Ok(()) };
        let Body::Email { mime, .. } = &mut composed.outgoing.body else { return Ok(()) };
        let (done, signed) = oneshot::channel();
        let job = Job { letter: std::mem::take(mime), unsigned, done };
        self.jobs.get_or_init(start).send(job).map_err(|_| dkim::Error::Failed)?;
        let (letter, signatures) = signed.await.map_err(|_| dkim::Error::Failed)?;
        *mime = letter;
        mime.splice(..0, signatures?);
        Ok(())
    }
}

impl Composed {
    /// Signs what is not signed yet, here.
    pub fn sign(&mut self) -> Result<(), dkim::Error> {
        match (self.unsigned.take(), &mut self.outgoing.body) {
            (Some(unsigned), Body::Email { mime, .. }) => unsigned.signer.sign(mime, unsigned.date),
            _ => Ok(()),
        }
    }
}

fn start() -> Sender<Job> {
    let (jobs, received) = channel();
    let received = Arc::new(Mutex::new(received));
    for number in 0..std::thread::available_parallelism().map_or(1, usize::from) {
        let received = received.clone();
        let thread = std::thread::Builder::new().name(format!("signing-{number}")).spawn(move || run(&received));
        if let Err(error) = thread {
            tracing::error!(error = &error as &dyn std::error::Error, "a thread that signs letters cannot be started");
        }
    }
    jobs
}

fn run(received: &Mutex<Receiver<Job>>) {
    loop {
        // Whoever holds the lock waits for the next letter; the others wait for the lock.
        let job = received.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { letter, unsigned, done }) = job else { return };
        let signatures = unsigned.signer.signatures(&letter, unsigned.date);
        let _ = done.send((letter, signatures));
    }
}
