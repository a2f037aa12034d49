//! What providers with an HTTP interface share: one client each, a request that is complete before anything is asked, and what it means
//! when no complete answer comes (standards.md §3.1).
//!
//! An [`Api`] only writes requests and reads answers; it is pure, so each is tested as a table. [`ByHttp`] makes a provider of it,
//! [`gather::Gathering`] one that takes many messages in a request.

pub(crate) mod answer;
pub(crate) mod gather;
mod pace;
pub(crate) mod request;

pub(crate) use answer::Answer;
pub(crate) use request::Request;

use super::settings::{Error, Keys};
use super::{Found, Look, Looking, Outcome, Outgoing, Provider, Searching, Sending, Sought};
use crate::types::Channel;
use pace::Pace;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::OnceCell;

/// More of an answer is not read.
const LARGEST_ANSWER: usize = 1 << 20;

/// The keys that all of them have.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Base address, without a slash at the end.
    pub url: String,
    /// Requests under way at once.
    pub connections: usize,
    /// How long a whole request may take.
    pub timeout: Duration,
}

impl Options {
    /// Reads url, connections, timeout.
    pub fn read(keys: &Keys<'_>, url: &str) -> Result<Options, Error> {
        let url = keys.text("url")?.unwrap_or_else(|| url.to_string());
        if !url.starts_with("https://") && !url.starts_with("http://") {
            return Err(keys.wrong("url", "must begin with https://"));
        }
        Ok(Options {
            url: url.trim_end_matches('/').to_string(),
            connections: keys.number("connections", 10, 1, 1000)? as usize,
            timeout: keys.wait("timeout", Duration::from_secs(60), Duration::from_secs(1), Duration::from_secs(600))?,
        })
    }

    /// A service on this machine, such as the built-in catcher.
    pub fn at(url: String) -> Options {
        Options { url, connections: 10, timeout: Duration::from_secs(60) }
    }
}

/// Asks; keeps connections open, and remembers how long the provider wants to be left alone.
pub(crate) struct Caller {
    client: reqwest::Client,
    pace: Pace,
}

impl Caller {
    /// A client that follows no redirection: the login would go with it.
    pub fn new(provider: &str, options: &Options) -> Result<Caller, Error> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(options.timeout)
            .connect_timeout(options.timeout.min(Duration::from_secs(20)))
            .pool_idle_timeout(Duration::from_secs(50))
            .tcp_nodelay(true)
            .user_agent("posthaste")
            .build()
            .map_err(|error| Error::Other { provider: provider.to_string(), why: error.to_string() })?;
        Ok(Caller { client, pace: Pace::default() })
    }

    /// Without a complete answer: `Unreachable` where no connection came about, else `Unknown`.
    pub async fn ask(&self, request: Request) -> Result<Answer, Outcome> {
        let sending = self.client.request(request.method, request.url).headers(request.headers).body(request.body);
        let mut response = sending.send().await.map_err(unanswered)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unanswered)? {
            let room = LARGEST_ANSWER - body.len();
            body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
            if body.len() == LARGEST_ANSWER {
                break;
            }
        }
        let answer = Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() };
        self.pace.heard(&answer);
        Ok(answer)
    }

    /// How long the provider wants to be left alone.
    pub fn pause(&self) -> Option<Duration> {
        self.pace.pause()
    }

    /// Asks what takes nothing; without an answer the provider is silent.
    pub async fn look(&self, request: Option<Request>, read: impl Fn(&Answer) -> Look) -> Look {
        let Some(request) = request else { return Look::fine("it cannot be asked without sending something".to_string()) };
        match self.ask(request).await {
            Ok(answer) => Look { date: answer.date(), ..read(&answer) },
            Err(Outcome::Unreachable { reply, .. } | Outcome::Unknown { reply }) => Look::silent(reply),
            Err(other) => Look::silent(format!("{other:?}")),
        }
    }
}

impl Caller {
    /// Asks for lists until one of them has what is sought; `read` gives its number, or says why a list cannot be read.
    pub async fn search(&self, requests: Vec<Request>, read: impl Fn(&Answer) -> Result<Option<String>, String>) -> Found {
        let mut found = Found::CannotBeAsked;
        for request in requests {
            found = match self.ask(request).await {
                Ok(answer) if answer.is_success() => match read(&answer) {
                    Ok(Some(number)) => return Found::Taken(number),
                    Ok(None) => Found::NotThere,
                    Err(why) => return Found::Silent(why),
                },
                Ok(answer) => return Found::Silent(answer.reply()),
                Err(Outcome::Unreachable { reply, .. } | Outcome::Unknown { reply }) => return Found::Silent(reply),
                Err(other) => return Found::Silent(format!("{other:?}")),
            };
        }
        found
    }
}

fn unanswered(error: reqwest::Error) -> Outcome {
    let before = error.is_connect() || error.is_builder();
    // Only the host: the rest of an address may hold a token.
    let host = error.url().and_then(|url| {
        let host = url.host_str()?;
        Some(url.port().map_or_else(|| host.to_string(), |port| format!("{host}:{port}")))
    });
    let host = host.unwrap_or_else(|| "the provider".to_string());
    let is_late = error.is_timeout();
    let error = error.without_url();
    let mut innermost: &dyn std::error::Error = &error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    let mut reply = match (before, is_late) {
        (true, true) => format!("cannot reach {host} in time"),
        (true, false) => format!("cannot reach {host}: {innermost}"),
        (false, true) => format!("no complete answer of {host} in time"),
        (false, false) => format!("no complete answer of {host}: {innermost}"),
    };
    reply.truncate(reply.floor_char_boundary(1024));
    match before {
        true => Outcome::Unreachable { after: None, reply },
        false => Outcome::Unknown { reply },
    }
}

/// One message, one request.
pub(crate) trait Api: Send + Sync {
    fn channel(&self) -> Channel;
    /// The request for a message; the error is why it cannot be sent.
    fn request(&self, outgoing: &Outgoing) -> Result<Request, Outcome>;
    fn read(&self, answer: &Answer) -> Outcome;
    /// A request that takes nothing and shows whether the login is right, where there is one.
    fn look(&self) -> Option<Request> {
        None
    }
    fn looked(&self, answer: &Answer) -> Look {
        Look::by_status(answer)
    }
    /// Requests for lists in which a message stands that was taken; none where there are no such lists.
    fn search(&self, _sought: &Sought) -> Vec<Request> {
        Vec::new()
    }
    /// The number of what is sought in such a list; the error says why the list cannot be read.
    fn found(&self, answer: &Answer, _sought: &Sought) -> Result<Option<String>, String> {
        Err(answer.reply())
    }
    /// The provider says in the answer to [`Api::look`] how fast it takes messages: it is asked before the first one.
    fn tells_its_rate(&self) -> bool {
        false
    }
    /// Waits before the same request is made again when it was not answered; only where the provider takes one request only once.
    fn repeats(&self) -> &'static [Duration] {
        &[]
    }
}

/// For providers that know a request again: three more tries, well within the time for which they remember it.
pub(crate) const REPEATS: &[Duration] = &[Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(15)];

/// A provider made of an [`Api`].
pub(crate) struct ByHttp<A> {
    name: String,
    api: A,
    caller: Caller,
    width: usize,
    /// Bits of the messages a second that the account allows; 0 while it is not known.
    rate: AtomicU64,
    account: OnceCell<()>,
}

impl<A: Api> ByHttp<A> {
    pub fn new(name: &str, options: &Options, api: A) -> Result<ByHttp<A>, Error> {
        let caller = Caller::new(name, options)?;
        let (rate, account) = (AtomicU64::new(0), OnceCell::new());
        Ok(ByHttp { name: name.to_string(), api, caller, width: options.connections, rate, account })
    }

    async fn deliver(&self, outgoing: &Outgoing) -> Outcome {
        let request = match self.api.request(outgoing) {
            Ok(request) => request,
            Err(outcome) => return outcome,
        };
        if self.api.tells_its_rate() {
            self.account.get_or_init(|| async { drop(self.look_at_account().await) }).await;
        }
        let mut outcome = self.once(request.clone()).await;
        for wait in self.api.repeats() {
            let Outcome::Unknown { .. } = outcome else { break };
            tokio::time::sleep(*wait).await;
            outcome = match self.once(request.clone()).await {
                // Said of the message, whichever of the requests arrived.
                said @ (Outcome::Accepted { .. } | Outcome::Refused { .. }) => said,
                // Said of this request only: the one before may have been taken.
                Outcome::Later { reply, .. }
                | Outcome::Away { reply, .. }
                | Outcome::Unreachable { reply, .. }
                | Outcome::Broken { reply }
                | Outcome::Unknown { reply } => Outcome::Unknown { reply },
            };
        }
        outcome
    }

    async fn once(&self, request: Request) -> Outcome {
        match self.caller.ask(request).await {
            Ok(answer) => self.api.read(&answer),
            Err(outcome) => outcome,
        }
    }

    async fn look_at_account(&self) -> Look {
        let look = self.caller.look(self.api.look(), |answer| self.api.looked(answer)).await;
        if let Some(rate) = look.rate {
            self.rate.store(rate.to_bits(), Ordering::Relaxed);
        }
        look
    }
}

impl<A: Api> Provider for ByHttp<A> {
    fn name(&self) -> &str {
        &self.name
    }
    fn channel(&self) -> Channel {
        self.api.channel()
    }
    fn width(&self) -> usize {
        self.width
    }
    fn send<'a>(&'a self, outgoing: &'a Outgoing) -> Sending<'a> {
        Box::pin(self.deliver(outgoing))
    }
    fn pause(&self) -> Option<Duration> {
        self.caller.pause()
    }
    fn rate(&self) -> Option<f64> {
        Some(f64::from_bits(self.rate.load(Ordering::Relaxed))).filter(|rate| *rate > 0.0)
    }
    fn look(&self) -> Looking<'_> {
        Box::pin(self.look_at_account())
    }
    fn search<'a>(&'a self, sought: &'a Sought) -> Searching<'a> {
        Box::pin(self.caller.search(self.api.search(sought), |answer| self.api.found(answer, sought)))
    }
}
