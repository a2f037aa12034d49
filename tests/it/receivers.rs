//! Receivers that keep what they took, for stories about crashes: each key is on the disk (fsync) before its sender gets the answer. They also kill: at a
//! chosen moment of the dialogue the sending process dies by kill -9, at once.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Instant;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// A moment of the dialogue as the receiver sees it. Over HTTP the head and the body of a request stand for the envelope and the letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The envelope is there, nothing of the body.
    AfterMail,
    /// A part of the body is there.
    MidData,
    /// All is there, and nothing is kept or answered yet.
    AfterTheDot,
    /// It is kept; the answer is not out.
    BeforeTheReply,
    /// The answer is out.
    AfterTheReply,
}

impl Moment {
    pub const ALL: [Moment; 5] = [Moment::AfterMail, Moment::MidData, Moment::AfterTheDot, Moment::BeforeTheReply, Moment::AfterTheReply];
}

/// Who is to be killed, and when.
#[derive(Default)]
struct Trap {
    armed: Mutex<Option<(Moment, Arc<Mutex<Child>>)>>,
    left: AtomicI64,
}

impl Trap {
    fn at(&self, moment: Moment) {
        let armed = self.armed.lock().unwrap();
        if let Some((wanted, child)) = &*armed
            && *wanted == moment
            && self.left.fetch_sub(1, Ordering::SeqCst) == 1
        {
            let _ = child.lock().unwrap().kill();
        }
    }
}

type Kept = (String, oneshot::Sender<()>);

/// A receiver over SMTP and one over HTTP that keep the same log.
pub struct Receivers {
    pub smtp: SocketAddr,
    pub http: SocketAddr,
    log: PathBuf,
    count: Arc<AtomicU64>,
    arrivals: Arc<Mutex<Vec<Instant>>>,
    slow: Arc<AtomicU64>,
    trap: Arc<Trap>,
    _folder: tempfile::TempDir,
}

#[derive(Clone)]
struct Desk {
    keep: mpsc::Sender<Kept>,
    /// Milliseconds that each answer takes.
    slow: Arc<AtomicU64>,
    trap: Arc<Trap>,
    arrivals: Arc<Mutex<Vec<Instant>>>,
}

impl Desk {
    /// On the disk when it returns.
    async fn keep(&self, key: String) {
        self.trap.at(Moment::AfterTheDot);
        self.arrivals.lock().unwrap().push(Instant::now());
        let (done, kept) = oneshot::channel();
        self.keep.send((key, done)).unwrap();
        kept.await.unwrap();
        let slow = self.slow.load(Ordering::SeqCst);
        if slow > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(slow)).await;
        }
        self.trap.at(Moment::BeforeTheReply);
    }
}

impl Receivers {
    pub async fn start(host: &str) -> Receivers {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let count = Arc::new(AtomicU64::new(0));
        let (keep, kept) = mpsc::channel::<Kept>();
        let desk = Desk { keep, slow: Arc::default(), trap: Arc::default(), arrivals: Arc::default() };
        std::thread::spawn({
            let (log, count) = (log.clone(), count.clone());
            move || keep_all(&log, &kept, &count)
        });
        let smtp = TcpListener::bind((host, 0)).await.unwrap();
        let http = TcpListener::bind((host, 0)).await.unwrap();
        let (smtp_at, http_at) = (smtp.local_addr().unwrap(), http.local_addr().unwrap());
        tokio::spawn({
            let desk = desk.clone();
            async move {
                loop {
                    // A connection that fails before it is taken ends nothing but itself.
                    let Ok((stream, _)) = smtp.accept().await else { continue };
                    let desk = desk.clone();
                    tokio::spawn(async move {
                        let _ = letters(stream, &desk).await;
                    });
                }
            }
        });
        tokio::spawn({
            let desk = desk.clone();
            async move {
                loop {
                    // A connection that fails before it is taken ends nothing but itself.
                    let Ok((stream, _)) = http.accept().await else { continue };
                    let desk = desk.clone();
                    tokio::spawn(async move {
                        let _ = requests(stream, &desk).await;
                    });
                }
            }
        });
        Receivers { smtp: smtp_at, http: http_at, log, count, arrivals: desk.arrivals, slow: desk.slow, trap: desk.trap, _folder: folder }
    }

    /// From now on each answer takes so many milliseconds.
    pub fn be_slow(&self, milliseconds: u64) {
        self.slow.store(milliseconds, Ordering::SeqCst);
    }

    /// So many were taken and kept.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// The next time that the moment is met for the nth time, the process is killed.
    pub fn kill_at(&self, moment: Moment, nth: i64, child: Arc<Mutex<Child>>) {
        self.trap.left.store(nth, Ordering::SeqCst);
        *self.trap.armed.lock().unwrap() = Some((moment, child));
    }

    pub fn disarm(&self) {
        *self.trap.armed.lock().unwrap() = None;
    }

    /// Keys in the order in which they came, as the disk has them.
    pub fn log(&self) -> Vec<String> {
        std::fs::read_to_string(&self.log).unwrap_or_default().lines().map(str::to_string).collect()
    }

    /// Key → how often it was taken.
    pub fn taken(&self) -> BTreeMap<String, usize> {
        let mut taken = BTreeMap::new();
        for key in self.log() {
            *taken.entry(key).or_default() += 1;
        }
        taken
    }

    /// When each arrived, in order.
    pub fn arrivals(&self) -> Vec<Instant> {
        let mut arrivals = self.arrivals.lock().unwrap().clone();
        arrivals.sort_unstable();
        arrivals
    }
}

/// Writes what waits with one fsync, and only then lets the senders have their answers.
fn keep_all(log: &Path, kept: &mpsc::Receiver<Kept>, count: &AtomicU64) {
    let mut file = std::fs::File::create(log).unwrap();
    while let Ok(first) = kept.recv() {
        let waiting: Vec<Kept> = std::iter::once(first).chain(kept.try_iter()).collect();
        let lines: String = waiting.iter().map(|(key, _)| format!("{key}\n")).collect();
        file.write_all(lines.as_bytes()).unwrap();
        file.sync_data().unwrap();
        count.fetch_add(waiting.len() as u64, Ordering::SeqCst);
        for (_, done) in waiting {
            let _ = done.send(());
        }
    }
}

async fn letters(stream: TcpStream, desk: &Desk) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    stream.get_mut().write_all(b"220 receiver\r\n").await?;
    let (mut line, mut to) = (String::new(), String::new());
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let word = line.split([' ', ':', '\r']).next().unwrap_or("").to_ascii_uppercase();
        let answer: &[u8] = match word.as_str() {
            "EHLO" => b"250-receiver\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
            "RCPT" => {
                to = line.split(['<', '>']).nth(1).unwrap_or("").to_string();
                b"250 2.1.5 Ok\r\n"
            }
            "DATA" => {
                desk.trap.at(Moment::AfterMail);
                stream.get_mut().write_all(b"354 go\r\n").await?;
                let mut first = true;
                loop {
                    line.clear();
                    if stream.read_line(&mut line).await? == 0 {
                        return Ok(());
                    }
                    if std::mem::take(&mut first) {
                        desk.trap.at(Moment::MidData);
                    }
                    if line == ".\r\n" {
                        break;
                    }
                }
                desk.keep(to.clone()).await;
                stream.get_mut().write_all(b"250 2.0.0 Ok: queued as 1\r\n").await?;
                desk.trap.at(Moment::AfterTheReply);
                continue;
            }
            "QUIT" => return Ok(()),
            _ => b"250 2.0.0 Ok\r\n",
        };
        stream.get_mut().write_all(answer).await?;
    }
}

/// Bare HTTP/1.1, so that the moments between head and body can be met; the body is `{"to": …}`.
async fn requests(stream: TcpStream, desk: &Desk) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    loop {
        let mut length = 0;
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
            if line == "\r\n" {
                break;
            }
        }
        desk.trap.at(Moment::AfterMail);
        let mut body = vec![0; length];
        let half = length / 2;
        stream.read_exact(&mut body[..half]).await?;
        desk.trap.at(Moment::MidData);
        stream.read_exact(&mut body[half..]).await?;
        let asked: serde_json::Value = serde_json::from_slice(&body).unwrap();
        desk.keep(asked["to"].as_str().unwrap().to_string()).await;
        let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{\"code\": 0}";
        stream.get_mut().write_all(answer.as_bytes()).await?;
        desk.trap.at(Moment::AfterTheReply);
    }
}
