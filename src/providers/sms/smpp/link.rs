//! One link to an operator: bound as a transceiver, requests answered in any order, kept alive, and what the operator tells.
//!
//! The codec is rusmpp's; the frames are cut here, so that one that nobody can read is answered and the link goes on.

use super::receipt::told;
use super::status::{OK, PERMANENT, TEMPORARY, of_bind};
use super::{Settings, Smpp};
use crate::providers::Outcome;
use crate::providers::tls::{self, Fault};
use rusmpp::pdus::{BindTransceiver, DeliverSmResp};
use rusmpp::tokio_codec::CommandCodec;
use rusmpp::types::COctetString;
use rusmpp::values::InterfaceVersion;
use rusmpp::{Command, CommandStatus, Pdu};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::bytes::{Buf, BytesMut};
use tokio_util::codec::{Decoder, Encoder};
use tokio_util::sync::CancellationToken;

const HEADER: usize = 16;
const LARGEST: usize = 64 * 1024;
/// Set in the number of a command that answers another one.
const ANSWER: u32 = 0x8000_0000;
const DELIVER_SM: u32 = 0x05;
const UNBIND: u32 = 0x06;
const ENQUIRE_LINK: u32 = 0x15;
const ALERT_NOTIFICATION: u32 = 0x102;
const GENERIC_NACK: u32 = 0x8000_0000;
/// "There is no such command."
const INVALID_COMMAND: u32 = 0x03;
/// What is told at once and waits to be stored.
const TOLD_AT_ONCE: usize = 64;
/// How long a write may take.
const WRITE: std::time::Duration = std::time::Duration::from_secs(60);
/// So often nothing is heard, then the link is dead.
const MISSES: u32 = 2;

/// The two directions of a link, under TLS or not.
type Reading = Box<dyn AsyncRead + Send + Unpin>;
type Writing = Box<dyn AsyncWrite + Send + Unpin>;

/// An answer to a request.
#[derive(Debug)]
pub struct Reply {
    pub status: u32,
    pub pdu: Option<Pdu>,
}

/// Why there is none.
#[derive(Debug)]
pub enum Silence {
    /// The request never left.
    NotSent,
    /// It left, or may have.
    NoReply(String),
}

pub struct Link {
    frames: mpsc::Sender<Vec<u8>>,
    waiting: Mutex<HashMap<u32, oneshot::Sender<Reply>>>,
    sequence: AtomicU32,
    /// The link has ended.
    pub gone: CancellationToken,
}

impl Link {
    /// Connects and binds; `closing` ends the link with an unbind.
    pub async fn open(smpp: &Weak<Smpp>, settings: &Settings, closing: &CancellationToken) -> Result<Arc<Link>, Outcome> {
        let unreachable = |why: String| Outcome::Unreachable { after: None, reply: format!("{}:{}: {why}", settings.host, settings.port) };
        let stream = timeout(settings.timeouts.bind, TcpStream::connect((settings.host.as_str(), settings.port)))
            .await
            .map_err(|_| unreachable("no connection in time".to_string()))?
            .map_err(|error| unreachable(error.to_string()))?;
        stream.set_nodelay(true).map_err(|error| unreachable(error.to_string()))?;
        let (read, write) = match &settings.tls {
            None => {
                let (read, write) = stream.into_split();
                (Box::new(read) as Reading, Box::new(write) as Writing)
            }
            Some(roots) => {
                let protected = timeout(settings.timeouts.bind, tls::connect(&settings.host, stream, roots.as_ref()))
                    .await
                    .map_err(|_| unreachable("no TLS in time".to_string()))?;
                let (read, write) = tokio::io::split(protected.map_err(|fault| match fault {
                    Fault::Refused { .. } => Outcome::Broken { reply: fault.to_string() },
                    Fault::Interrupted { ref source, .. } => unreachable(format!("{fault}: {source}")),
                })?);
                (Box::new(read) as Reading, Box::new(write) as Writing)
            }
        };
        let (frames, to_write) = mpsc::channel(settings.window + TOLD_AT_ONCE);
        let link = Arc::new(Link { frames, waiting: Mutex::default(), sequence: AtomicU32::new(1), gone: CancellationToken::new() });
        tokio::spawn(writing(write, to_write, link.gone.clone(), closing.clone()));
        tokio::spawn(reading(read, link.clone(), smpp.clone(), settings.timeouts.enquire));
        let reply = match link.request(settings.bind(), settings.timeouts.bind).await {
            Ok(reply) => reply,
            Err(silence) => {
                link.gone.cancel();
                return Err(unreachable(format!("no answer to the login: {silence:?}")));
            }
        };
        if reply.status == OK {
            return Ok(link);
        }
        link.gone.cancel();
        Err(of_bind(reply.status))
    }

    /// Asks, and waits for the answer of the same number.
    pub async fn request(&self, pdu: Pdu, limit: std::time::Duration) -> Result<Reply, Silence> {
        // From 1 to 0x7FFFFFFF, and from the beginning.
        let number = self
            .sequence
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |number| Some(if number >= 0x7fff_ffff { 1 } else { number + 1 }));
        let number = number.unwrap_or(1);
        let frame = framed(&Command::new(CommandStatus::EsmeRok, number, pdu));
        let (tell, mut answer) = oneshot::channel();
        self.waiting().insert(number, tell);
        if self.gone.is_cancelled() || self.frames.send(frame).await.is_err() {
            self.waiting().remove(&number);
            return Err(Silence::NotSent);
        }
        let lost = || Silence::NoReply("the link was lost before the answer".to_string());
        let silence = tokio::select! {
            biased;
            answer = &mut answer => return answer.map_err(|_| lost()),
            () = self.gone.cancelled() => lost(),
            () = tokio::time::sleep(limit) => Silence::NoReply(format!("no answer in {} seconds", limit.as_secs())),
        };
        self.waiting().remove(&number);
        // It may have come in the very moment.
        answer.try_recv().map_err(|_| silence)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u32, oneshot::Sender<Reply>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, status: u32, number: u32, pdu: Pdu) {
        // Where the link is gone, the operator asks again over the next one.
        let _ = self.frames.send(framed(&Command::new(CommandStatus::from(status), number, pdu))).await;
    }

    /// One whole frame. `false`: the link ends.
    async fn heard(self: &Arc<Self>, frame: BytesMut, smpp: &Weak<Smpp>, places: &Arc<Semaphore>) -> bool {
        let mut head = frame.clone();
        head.advance(4);
        let (id, status, number) = (head.get_u32(), head.get_u32(), head.get_u32());
        if id & ANSWER != 0 {
            let waiting = self.waiting().remove(&number);
            if let Some(waiting) = waiting {
                let status = if id == GENERIC_NACK && status == OK { INVALID_COMMAND } else { status };
                // With an error the rest may be missing, and says nothing.
                let pdu = if status == OK { read(frame).and_then(|command| command.pdu().cloned()) } else { None };
                let _ = waiting.send(Reply { status, pdu });
            }
            return true;
        }
        match id {
            ENQUIRE_LINK => self.answer(OK, number, Pdu::EnquireLinkResp).await,
            UNBIND => {
                self.answer(OK, number, Pdu::UnbindResp).await;
                return false;
            }
            DELIVER_SM => {
                // The semaphore is never closed.
                let Ok(place) = places.clone().acquire_owned().await else { return false };
                let (link, smpp) = (self.clone(), smpp.clone());
                tokio::spawn(async move {
                    let status = stored(frame, &smpp).await;
                    link.answer(status, number, Pdu::DeliverSmResp(DeliverSmResp::default())).await;
                    drop(place);
                });
            }
            ALERT_NOTIFICATION => {}
            _ => self.answer(INVALID_COMMAND, number, Pdu::GenericNack).await,
        }
        true
    }
}

/// What is answered to a deliver_sm: only what is stored for good was taken.
async fn stored(frame: BytesMut, smpp: &Weak<Smpp>) -> u32 {
    let Some(command) = read(frame) else { return PERMANENT };
    let (Some(Pdu::DeliverSm(deliver)), Some(smpp)) = (command.pdu(), smpp.upgrade()) else { return TEMPORARY };
    let Some(inbox) = smpp.inbox.get() else { return TEMPORARY };
    match told(deliver, smpp.settings.receipt_ids) {
        None => OK,
        Some(told) => match inbox.take(&smpp.name, told).await {
            true => OK,
            false => TEMPORARY,
        },
    }
}

pub(super) fn framed(command: &Command) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    // It writes into memory: nothing can fail.
    let _ = CommandCodec::new().encode(command, &mut bytes);
    bytes.to_vec()
}

/// `None`: nobody can read it.
fn read(mut frame: BytesMut) -> Option<Command> {
    CommandCodec::new().with_max_length(LARGEST).decode(&mut frame).ok().flatten()
}

/// The first frame of what has arrived, when it is whole. The error is a length that no frame can have.
fn cut(arrived: &mut BytesMut) -> Result<Option<BytesMut>, u32> {
    let Some(head) = arrived.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*head);
    let size = length as usize;
    if !(HEADER..=LARGEST).contains(&size) {
        return Err(length);
    }
    Ok((arrived.len() >= size).then(|| arrived.split_to(size)))
}

async fn reading(mut stream: Reading, link: Arc<Link>, smpp: Weak<Smpp>, enquire: std::time::Duration) {
    let _ended = link.gone.clone().drop_guard();
    let places = Arc::new(Semaphore::new(TOLD_AT_ONCE));
    let (mut arrived, mut misses) = (BytesMut::with_capacity(8192), 0);
    loop {
        loop {
            match cut(&mut arrived) {
                Ok(Some(frame)) => {
                    if !link.heard(frame, &smpp, &places).await {
                        return;
                    }
                }
                Ok(None) => break,
                Err(length) => {
                    tracing::warn!(length, "the operator sent a frame of an impossible length: the link is opened again");
                    return;
                }
            }
        }
        let read = tokio::select! {
            read = timeout(enquire, stream.read_buf(&mut arrived)) => read,
            () = link.gone.cancelled() => return,
        };
        match read {
            Ok(Ok(0) | Err(_)) => return,
            Ok(Ok(_)) => misses = 0,
            Err(_) if misses == MISSES => {
                tracing::warn!("the operator does not answer: the link is opened again");
                return;
            }
            Err(_) => {
                misses += 1;
                let number = link.sequence.fetch_add(1, Ordering::Relaxed) & 0x7fff_ffff;
                let frame = framed(&Command::new(CommandStatus::EsmeRok, number.max(1), Pdu::EnquireLink));
                if link.frames.try_send(frame).is_err() {
                    return;
                }
            }
        }
    }
}

async fn writing(mut stream: Writing, mut frames: mpsc::Receiver<Vec<u8>>, gone: CancellationToken, closing: CancellationToken) {
    let _ended = gone.clone().drop_guard();
    let mut out = Vec::new();
    loop {
        let frame = tokio::select! {
            frame = frames.recv() => frame,
            () = gone.cancelled() => None,
            () = closing.cancelled() => {
                let _ = stream.write_all(&framed(&Command::new(CommandStatus::EsmeRok, 0x7fff_ffff, Pdu::Unbind))).await;
                None
            }
        };
        let Some(frame) = frame else {
            // What was answered last still leaves.
            while let Ok(frame) = frames.try_recv() {
                let _ = stream.write_all(&frame).await;
            }
            let _ = stream.flush().await;
            let _ = stream.shutdown().await;
            return;
        };
        out.extend_from_slice(&frame);
        while out.len() < LARGEST
            && let Ok(frame) = frames.try_recv()
        {
            out.extend_from_slice(&frame);
        }
        // An operator that reads nothing is none.
        let written = async {
            stream.write_all(&out).await?;
            stream.flush().await
        };
        if !matches!(timeout(WRITE, written).await, Ok(Ok(()))) {
            return;
        }
        out.clear();
    }
}

impl Settings {
    fn bind(&self) -> Pdu {
        BindTransceiver::builder()
            .system_id(text(&self.system_id))
            .password(text(&self.password))
            .system_type(text(&self.system_type))
            .interface_version(InterfaceVersion::Smpp3_4)
            .build()
            .into()
    }
}

/// A text that was checked when the settings were read.
pub(super) fn text<const MOST: usize>(text: &str) -> COctetString<1, MOST> {
    COctetString::from_string(text.to_string()).unwrap_or_else(|_| COctetString::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_frame_that_keeps_a_link_alive_is_that_of_the_standard() {
        let frame = framed(&Command::new(CommandStatus::EsmeRok, 1, Pdu::EnquireLink));
        assert_eq!(hex::encode(frame), "00000010000000150000000000000001");
    }

    #[test]
    fn impossible_lengths_end_the_link() {
        for length in [0_u32, 15, 65_537, u32::MAX] {
            assert_eq!(cut(&mut BytesMut::from(&length.to_be_bytes()[..])), Err(length));
        }
        assert_eq!(cut(&mut BytesMut::from(&[0, 0, 0][..])), Ok(None));
    }

    proptest! {
        #[test]
        fn frames_are_found_wherever_the_bytes_are_torn(tears in proptest::collection::vec(1_usize..40, 1..60)) {
            let frame = |number| framed(&Command::new(CommandStatus::EsmeRok, number, Pdu::EnquireLink));
            let all: Vec<u8> = (1..=20).flat_map(frame).collect();
            let (mut arrived, mut rest, mut found) = (BytesMut::new(), all.as_slice(), Vec::new());
            for tear in tears.iter().chain(std::iter::repeat(&7)) {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*tear).min(rest.len()));
                arrived.extend_from_slice(now);
                rest = later;
                while let Some(frame) = cut(&mut arrived).unwrap() {
                    found.push(read(frame).unwrap().sequence_number());
                }
            }
            prop_assert_eq!(found, (1..=20).collect::<Vec<u32>>());
        }

        #[test]
        fn no_bytes_make_the_reader_fall(bytes in proptest::collection::vec(any::<u8>(), 0..400), id in 0_u32..0x20) {
            let mut frame = BytesMut::new();
            frame.extend_from_slice(&(16 + bytes.len() as u32).to_be_bytes());
            frame.extend_from_slice(&id.to_be_bytes());
            frame.extend_from_slice(&[0; 8]);
            frame.extend_from_slice(&bytes);
            if let Some(Pdu::DeliverSm(deliver)) = read(frame).as_ref().and_then(Command::pdu) {
                told(deliver, super::super::receipt::ReceiptIds::Same);
            }
        }
    }
}
