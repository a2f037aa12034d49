//! A journal on this machine for hits that the database does not take in time (design.md §9).
//!
//! Promises: what [`Journal::append`] has answered survives kill -9 and a power cut. Whoever waits at the same moment shares one fsync. Files
//! are replayed later as if their hits came new; since a hit carries its `source_key`, a replay that dies half-way repeats nothing. A record has its length
//! and a checksum: one that was torn by a kill was never answered, and ends the reading of its file. A file is locked by the process that writes
//! it, so that another takes over only what dead ones left.
//!
//! Leaves to others: when to use it and when to replay ([`super::recorder`]).

use crate::store::responses::ResponseRow;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot};

/// A file never grows beyond this: some three million hits.
const LARGEST: u64 = 1 << 30;
/// Hits of one fsync at most.
const TOGETHER: usize = 4096;
/// A record is never longer; a longer length is damage.
const LONGEST: usize = 64 << 10;
const MAGIC: &[u8; 8] = b"PHHITS1\n";
const ENDING: &str = "hits";

/// Why a hit could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the journal cannot be written")]
    Write(#[from] std::io::Error),
    #[error("the journal is full")]
    Full,
    #[error("the journal was closed")]
    Closed,
}

/// A hit on its way to the database and to the journal: whichever comes second learns of the first, so that a file whose hits all came
/// to the database in the end is not replayed.
#[derive(Debug, Default)]
pub struct Ticket(Mutex<Way>);

#[derive(Debug, Default)]
enum Way {
    /// On its way to the database.
    #[default]
    Open,
    Recorded,
    /// It goes to the journal only.
    Alone,
    /// In a file that counts what the database does not have yet.
    Journaled(Arc<Counts>),
}

/// Hits of a file that the database does not have yet.
#[derive(Debug, Default)]
struct Counts {
    unrecorded: AtomicU64,
    /// Those among them that only a replay brings there.
    alone: AtomicU64,
}

impl Ticket {
    /// The database has it.
    pub fn recorded(&self) {
        let mut way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Way::Journaled(counts) = &*way {
            counts.unrecorded.fetch_sub(1, Ordering::SeqCst);
        }
        *way = Way::Recorded;
    }

    /// It is not on its way to the database any more.
    pub fn alone(&self) {
        let mut way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Way::Journaled(counts) = &*way {
            counts.alone.fetch_add(1, Ordering::SeqCst);
        }
        *way = Way::Alone;
    }

    fn journaled(&self, counts: &Arc<Counts>) {
        let mut way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *way {
            Way::Open => {
                counts.unrecorded.fetch_add(1, Ordering::SeqCst);
                *way = Way::Journaled(counts.clone());
            }
            Way::Alone => {
                counts.unrecorded.fetch_add(1, Ordering::SeqCst);
                counts.alone.fetch_add(1, Ordering::SeqCst);
            }
            Way::Recorded | Way::Journaled(_) => {}
        }
    }
}

/// Appends hits; cheap to clone. Its thread ends when all clones are gone.
#[derive(Debug, Clone)]
pub struct Journal {
    orders: mpsc::Sender<Order>,
}

#[derive(Debug)]
enum Order {
    Append(Vec<u8>, Arc<Ticket>, oneshot::Sender<Result<(), Error>>),
    Seal(oneshot::Sender<Vec<Segment>>),
}

/// A file that is not written any more, and is this process's to replay.
#[derive(Debug)]
pub struct Segment {
    pub path: PathBuf,
    /// Keeps the lock.
    _file: File,
    /// What the database does not have yet; `None` where nobody counted: another process wrote it.
    counts: Option<Arc<Counts>>,
}

impl Journal {
    /// Makes the folder where it is missing, and starts the thread that writes.
    pub fn open(folder: &Path) -> Result<Journal, Error> {
        std::fs::create_dir_all(folder)?;
        let (orders, received) = mpsc::channel(TOGETHER);
        let writer = Writer { folder: folder.to_path_buf(), open: None };
        std::thread::Builder::new().name("journal".into()).spawn(move || writer.obey(received))?;
        Ok(Journal { orders })
    }

    /// Returns when the hit is on the disk.
    pub async fn append(&self, row: &ResponseRow, ticket: Arc<Ticket>) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        let order = Order::Append(record(row)?, ticket, answer);
        self.orders.send(order).await.map_err(|_| Error::Closed)?;
        answered.await.map_err(|_| Error::Closed)?
    }

    /// Ends the file that is written, and gives it with all that dead processes left.
    pub async fn seal(&self) -> Vec<Segment> {
        let (answer, answered) = oneshot::channel();
        if self.orders.send(Order::Seal(answer)).await.is_err() {
            return Vec::new();
        }
        answered.await.unwrap_or_default()
    }
}

/// Length, checksum, JSON.
fn record(row: &ResponseRow) -> Result<Vec<u8>, Error> {
    let content = serde_json::to_vec(row).map_err(std::io::Error::from)?;
    let length = u32::try_from(content.len()).ok().filter(|length| *length as usize <= LONGEST).ok_or(Error::Full)?;
    let mut record = Vec::with_capacity(content.len() + 12);
    record.extend_from_slice(&length.to_le_bytes());
    record.extend_from_slice(&checksum(&content));
    record.extend_from_slice(&content);
    Ok(record)
}

fn checksum(content: &[u8]) -> [u8; 8] {
    let mut short = [0; 8];
    short.copy_from_slice(&aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, content).as_ref()[..8]);
    short
}

struct Writer {
    folder: PathBuf,
    open: Option<Open>,
}

struct Open {
    path: PathBuf,
    file: File,
    bytes: u64,
    counts: Arc<Counts>,
}

impl Writer {
    fn obey(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut together = Vec::new();
        while orders.blocking_recv_many(&mut together, TOGETHER) > 0 {
            let (mut bytes, mut waiting, mut seals) = (Vec::new(), Vec::new(), Vec::new());
            for order in together.drain(..) {
                match order {
                    Order::Append(record, ticket, answer) => {
                        bytes.extend_from_slice(&record);
                        waiting.push((ticket, answer));
                    }
                    Order::Seal(answer) => seals.push(answer),
                }
            }
            if !waiting.is_empty() {
                match self.write(&bytes) {
                    Ok(counts) => {
                        for (ticket, answer) in waiting {
                            ticket.journaled(&counts);
                            let _ = answer.send(Ok(()));
                        }
                    }
                    Err(error) => {
                        tracing::error!(%error, folder = %self.folder.display(), "hits cannot be kept in the journal");
                        let again = |error: &Error| match error {
                            Error::Write(cause) => Error::Write(std::io::Error::new(cause.kind(), cause.to_string())),
                            _ => Error::Full,
                        };
                        waiting.into_iter().for_each(|(_, answer)| _ = answer.send(Err(again(&error))));
                    }
                }
            }
            for answer in seals {
                // Who asked may have gone away: then its files are found again the next time.
                let _ = answer.send(self.seal());
            }
        }
    }

    /// All or nothing: after an error the file is cut back to what was durable, or given up.
    fn write(&mut self, bytes: &[u8]) -> Result<Arc<Counts>, Error> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => create(&self.folder)?,
        };
        if open.bytes + bytes.len() as u64 > LARGEST {
            self.open = Some(open);
            return Err(Error::Full);
        }
        let written = open.file.write_all(bytes).and_then(|()| open.file.sync_data());
        let counts = open.counts.clone();
        match written {
            Ok(()) => {
                open.bytes += bytes.len() as u64;
                self.open = Some(open);
                Ok(counts)
            }
            // What an fsync that failed has kept is unknown: nothing more goes to this file, what it had stays to be replayed.
            Err(error) => {
                let _ = open.file.set_len(open.bytes);
                Err(error.into())
            }
        }
    }

    fn seal(&mut self) -> Vec<Segment> {
        let own = self.open.take().map(|open| Segment { path: open.path, _file: open.file, counts: Some(open.counts) });
        let mut segments: Vec<Segment> = own.into_iter().collect();
        match orphans(&self.folder) {
            Ok(found) => segments.extend(found),
            Err(error) => tracing::warn!(%error, folder = %self.folder.display(), "the journal's folder cannot be read"),
        }
        segments
    }
}

/// A new file, locked, its name durable.
fn create(folder: &Path) -> Result<Open, Error> {
    for number in 1u32.. {
        let path = folder.join(format!("{number:06}.{ENDING}"));
        let mut file = match OpenOptions::new().append(true).read(true).create_new(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(error.into()),
        };
        match file.try_lock() {
            Ok(()) => {}
            // Another process took it for one that was left behind.
            Err(TryLockError::WouldBlock) => continue,
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        file.write_all(MAGIC)?;
        file.sync_all()?;
        #[cfg(unix)]
        File::open(folder)?.sync_all()?;
        return Ok(Open { path, file, bytes: MAGIC.len() as u64, counts: Arc::default() });
    }
    Err(Error::Full)
}

/// Files whose writers are gone.
fn orphans(folder: &Path) -> std::io::Result<Vec<Segment>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|ending| ending != ENDING) {
            continue;
        }
        let file = OpenOptions::new().read(true).append(true).open(&path)?;
        match file.try_lock() {
            Ok(()) => found.push(Segment { path, _file: file, counts: None }),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

impl Segment {
    /// Whether the database has all of it already.
    pub fn is_recorded(&self) -> bool {
        self.counts.as_ref().is_some_and(|counts| counts.unrecorded.load(Ordering::SeqCst) == 0)
    }

    /// Whether all that the database lacks is on its way there: a replay would only be in its way.
    pub fn is_on_its_way(&self) -> bool {
        self.counts.as_ref().is_some_and(|counts| counts.alone.load(Ordering::SeqCst) == 0)
    }

    pub fn hits(&self) -> std::io::Result<Hits> {
        let mut reader = BufReader::new(File::open(&self.path)?);
        let mut magic = [0; 8];
        // A file that died before its first record has nothing to give.
        let is_ours = reader.read_exact(&mut magic).is_ok() && magic == *MAGIC;
        Ok(Hits { reader: is_ours.then_some(reader), damaged: false })
    }

    /// It has been replayed.
    pub fn remove(self) -> std::io::Result<()> {
        std::fs::remove_file(&self.path)
    }

    /// Kept for people to look at, and never replayed again: something in it cannot be read, or the database refuses it.
    pub fn set_aside(self) -> std::io::Result<PathBuf> {
        let free = (1u32..).map(|number| self.path.with_extension(format!("{number}.set-aside"))).find(|path| !path.exists());
        let path = free.unwrap_or_else(|| self.path.with_extension("set-aside"));
        std::fs::rename(&self.path, &path)?;
        Ok(path)
    }
}

/// The hits of a file, up to its end or to where a kill tore it.
pub struct Hits {
    reader: Option<BufReader<File>>,
    /// A record with a wrong checksum had others behind it: that is no torn end.
    pub damaged: bool,
}

impl Iterator for Hits {
    type Item = ResponseRow;

    fn next(&mut self) -> Option<ResponseRow> {
        loop {
            let reader = self.reader.as_mut()?;
            let mut head = [0; 12];
            let (length, content) = match reader.read_exact(&mut head) {
                Err(_) => (0, None),
                Ok(()) => {
                    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
                    let mut content = vec![0; length.min(LONGEST)];
                    let whole = length <= LONGEST && reader.read_exact(&mut content).is_ok();
                    (length, whole.then_some(content))
                }
            };
            let Some(content) = content else {
                self.reader = None;
                return None;
            };
            match serde_json::from_slice(&content) {
                Ok(row) if checksum(&content) == head[4..] => return Some(row),
                _ => {
                    tracing::error!(length, "a record of the journal is damaged");
                    // The last record may be as long as it says and still not all written.
                    self.damaged |= reader.fill_buf().is_ok_and(|rest| !rest.is_empty());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::responses::{Scope, Visit};
    use crate::types::{MessageId, Response, Time, Verdict};

    fn hit(message: i64) -> ResponseRow {
        let at: Time = "2027-03-01T10:00:00Z".parse().unwrap();
        ResponseRow {
            message: MessageId(message),
            response: Response::Clicked,
            at,
            received_at: at,
            link: 3,
            visit: Some(Visit { agent: "Firefox \"Ё\"".into(), network: "192.0.2.0".into(), ..Visit::default() }),
            verdict: Verdict::Human,
            bounce: None,
            scope: Scope::Topic,
            source: String::new(),
            source_key: [message as u8; 16],
        }
    }

    fn read(segment: &Segment) -> (Vec<i64>, bool) {
        let mut hits = segment.hits().unwrap();
        let messages = hits.by_ref().map(|row| row.message.0).collect();
        (messages, hits.damaged)
    }

    async fn written(folder: &Path, messages: std::ops::Range<i64>) -> Journal {
        let journal = Journal::open(folder).unwrap();
        let appends = messages.map(|message| {
            let journal = journal.clone();
            tokio::spawn(async move { journal.append(&hit(message), Arc::default()).await.unwrap() })
        });
        for append in appends.collect::<Vec<_>>() {
            append.await.unwrap();
        }
        journal
    }

    #[tokio::test]
    async fn what_was_answered_is_read_again_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let journal = written(folder.path(), 1..200).await;
        let segments = journal.seal().await;
        assert_eq!(segments.len(), 1, "one file a process");
        let rows: Vec<ResponseRow> = segments[0].hits().unwrap().collect();
        assert_eq!(rows.len(), 199);
        assert!(rows.iter().all(|row| *row == hit(row.message.0)));
        assert!(!segments[0].is_recorded());
        for segment in segments {
            segment.remove().unwrap();
        }
        assert!(journal.seal().await.is_empty());
    }

    #[tokio::test]
    async fn a_file_is_read_up_to_where_a_kill_tore_it_wherever_that_was() {
        let folder = tempfile::tempdir().unwrap();
        let journal = written(folder.path(), 1..4).await;
        let segment = journal.seal().await.pop().unwrap();
        let whole = std::fs::read(&segment.path).unwrap();
        let first = record(&hit(1)).unwrap().len();
        for length in 0..whole.len() {
            std::fs::write(&segment.path, &whole[..length]).unwrap();
            let (messages, damaged) = read(&segment);
            let expected = length.saturating_sub(MAGIC.len()) / first;
            assert_eq!((messages.len(), damaged), (expected, false), "cut at {length}");
        }
    }

    #[tokio::test]
    async fn damage_in_the_middle_loses_one_hit_and_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let journal = written(folder.path(), 1..4).await;
        let segment = journal.seal().await.pop().unwrap();
        let whole = std::fs::read(&segment.path).unwrap();
        let first = record(&hit(1)).unwrap().len();
        let mut bytes = whole.clone();
        bytes[MAGIC.len() + first + 20] ^= 1;
        std::fs::write(&segment.path, &bytes).unwrap();
        let (messages, damaged) = read(&segment);
        assert_eq!((messages.len(), damaged), (2, true));
        let aside = segment.set_aside().unwrap();
        assert!(aside.exists() && journal.seal().await.is_empty());
    }

    #[tokio::test]
    async fn a_living_process_keeps_its_file_and_a_dead_one_leaves_it() {
        let folder = tempfile::tempdir().unwrap();
        let one = written(folder.path(), 1..3).await;
        let other = Journal::open(folder.path()).unwrap();
        assert!(other.seal().await.is_empty(), "the first process lives and writes");
        other.append(&hit(9), Arc::default()).await.unwrap();
        drop(one);
        // Its thread ends a moment after the last clone.
        let mut left = Vec::new();
        while left.len() < 2 {
            tokio::task::yield_now().await;
            left.extend(other.seal().await);
        }
        let mut messages: Vec<i64> = left.iter().flat_map(|segment| read(segment).0).collect();
        messages.sort();
        assert_eq!(messages, [1, 2, 9]);
    }

    #[tokio::test]
    async fn what_the_database_has_in_the_end_need_not_be_replayed() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        let (before, after, never) = (Arc::<Ticket>::default(), Arc::<Ticket>::default(), Arc::<Ticket>::default());
        before.recorded();
        for ticket in [&before, &after] {
            journal.append(&hit(1), ticket.clone()).await.unwrap();
        }
        let segment = journal.seal().await.pop().unwrap();
        assert!(!segment.is_recorded());
        after.recorded();
        after.recorded();
        assert!(segment.is_recorded());
        segment.remove().unwrap();
        journal.append(&hit(1), never.clone()).await.unwrap();
        let segment = journal.seal().await.pop().unwrap();
        assert!(!segment.is_recorded() && segment.is_on_its_way());
        // The database refuses it: only a replay can tell.
        never.alone();
        assert!(!segment.is_recorded() && !segment.is_on_its_way());
        segment.remove().unwrap();
        let lonely = Arc::<Ticket>::default();
        lonely.alone();
        journal.append(&hit(1), lonely).await.unwrap();
        let segment = journal.seal().await.pop().unwrap();
        assert!(!segment.is_recorded() && !segment.is_on_its_way(), "the queue was full");
    }
}
