//! Postfix as the relay, with our listener as the target of its bounces: what it refuses at once, what it takes and brings back, and what it
//! tries again by itself.

use crate::databases::{Database, databases};
use crate::world::{PEPPER, SIGNING, World, advertising};
use posthaste::dispatch::{Identity, Lanes, Outlets};
use posthaste::engine::{Engine, Parts, Roles};
use posthaste::inbound::listener::{Door, Settings, serve};
use posthaste::inbound::{Processor, Ways};
use posthaste::providers::Provider;
use posthaste::providers::email::smtp::{Settings as Relay, Smtp};
use posthaste::tracking::Tokens;
use posthaste::types::{Failure, MessageState};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// A Postfix with a directory of its own; stopped when it is dropped.
struct Postfix {
    folder: tempfile::TempDir,
    port: u16,
}

/// `None`, and a line that says why, where Postfix cannot run.
fn can_run() -> bool {
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    if !Path::new("/usr/sbin/postfix").exists() || !root {
        eprintln!("no Postfix here, or not run as root: left out");
        return false;
    }
    true
}

const SERVICES: &str = "\
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
";

impl Postfix {
    fn start(remote: SocketAddr, ours: SocketAddr) -> Postfix {
        let folder = tempfile::Builder::new().prefix("posthaste-postfix").tempdir_in("/tmp").unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let path = folder.path();
        for name in ["etc", "queue", "data"] {
            std::fs::create_dir(path.join(name)).unwrap();
        }
        // The daemons are not root.
        for (mode, name) in [("755", ""), ("755", "queue"), ("700", "data")] {
            assert!(Command::new("chmod").arg(mode).arg(path.join(name)).status().unwrap().success());
        }
        assert!(Command::new("chown").arg("postfix").arg(path.join("data")).status().unwrap().success());
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {0}/queue\ndata_directory = {0}/data\nmail_owner = postfix\nsetgid_group = postdrop\n\
             maillog_file = {0}/log\nmaillog_file_prefixes = /tmp\ninet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmyhostname = relay.example\nmydestination =\n\
             local_recipient_maps =\nalias_maps =\nmynetworks = 127.0.0.0/8\nsmtp_host_lookup = native\nsmtpd_client_restrictions =\n\
             smtpd_recipient_restrictions = check_recipient_access texthash:{0}/etc/access, permit_mynetworks, reject\nsmtpd_peername_lookup = no\n\
             transport_maps = inline:{{ {{ remote.example = smtp:[127.0.0.1]:{1} }}, {{ b.shop.example = smtp:[127.0.0.1]:{2} }}, {{ direct.example = discard: }} }}\n\
             message_size_limit = 30000\nminimal_backoff_time = 1s\nmaximal_backoff_time = 2s\nqueue_run_delay = 1s\nsmtp_tls_security_level = none\nsmtpd_tls_security_level = none\n\
             default_destination_concurrency_failed_cohort_limit = 0\nsmtp_destination_recipient_limit = 1\nsmtpd_error_sleep_time = 0\n",
            path.display(),
            remote.port(),
            ours.port(),
        );
        std::fs::write(path.join("etc/main.cf"), main).unwrap();
        std::fs::write(path.join("etc/master.cf"), format!("127.0.0.1:{port} inet n - n - - smtpd\n{SERVICES}")).unwrap();
        std::fs::write(path.join("etc/access"), ACCESS).unwrap();
        let postfix = Postfix { folder, port };
        postfix.command("start");
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(20), "Postfix does not listen: {}", postfix.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        postfix
    }

    fn command(&self, what: &str) {
        let output = Command::new("/usr/sbin/postfix").arg("-c").arg(self.path("etc")).arg(what).output().unwrap();
        assert!(output.status.success(), "postfix {what}: {} {}", String::from_utf8_lossy(&output.stderr), self.log());
    }

    /// What it says to these recipients from now on.
    fn say(&self, access: &str) {
        std::fs::write(self.path("etc/access"), access).unwrap();
        self.command("reload");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        let _ = Command::new("/usr/sbin/postfix").arg("-c").arg(self.path("etc")).arg("stop").output();
    }
}

/// What the relay says at once.
const ACCESS: &str = "\
unknown@direct.example 550 5.1.1 User unknown in virtual mailbox table
full@direct.example 452 4.2.2 Mailbox full
grey@direct.example 450 4.7.1 Greylisted, come back in five minutes
storm@direct.example 421 4.3.2 Service shutting down
";

/// The mail server behind the relay: `unknown`, `full` and `size` are refused for good, `grey` is told to come back once, `storm` meets
/// a server that hangs up three times.
#[derive(Default)]
struct Remote {
    tries: Mutex<BTreeMap<String, u32>>,
    taken: Mutex<Vec<String>>,
}

impl Remote {
    async fn serve(self: Arc<Self>, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let remote = self.clone();
            tokio::spawn(async move {
                let _ = remote.session(stream).await;
            });
        }
    }

    async fn session(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        stream.get_mut().write_all(b"220 remote.example ESMTP\r\n").await?;
        let mut to = String::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let upper = line.to_ascii_uppercase();
            let answer = if upper.starts_with("RCPT") {
                to = line.split(['<', '>']).nth(1).unwrap_or_default().to_string();
                let tries = {
                    let mut tries = self.tries.lock().unwrap();
                    let count = tries.entry(to.clone()).or_default();
                    *count += 1;
                    *count
                };
                match (to.split('@').next().unwrap_or_default(), tries) {
                    ("unknown", _) => "550 5.1.1 no such user here",
                    ("full", _) => "552 5.2.2 mailbox full",
                    ("grey", 1) => "450 4.2.0 greylisted, try again later",
                    ("storm", 1..=3) => {
                        stream.get_mut().write_all(b"421 4.3.2 going down\r\n").await?;
                        return Ok(());
                    }
                    _ => "250 2.1.5 ok",
                }
            } else if upper.starts_with("DATA") {
                stream.get_mut().write_all(b"354 go\r\n").await?;
                let mut line = String::new();
                while line != ".\r\n" {
                    line.clear();
                    if stream.read_line(&mut line).await? == 0 {
                        return Ok(());
                    }
                }
                if to.starts_with("size") {
                    "552 5.3.4 message size exceeds fixed limit"
                } else {
                    self.taken.lock().unwrap().push(to.clone());
                    "250 2.0.0 ok"
                }
            } else if upper.starts_with("QUIT") {
                stream.get_mut().write_all(b"221 bye\r\n").await?;
                return Ok(());
            } else {
                "250 ok"
            };
            stream.get_mut().write_all(format!("{answer}\r\n").as_bytes()).await?;
        }
    }
}

async fn engine(world: &World, port: u16) -> Engine {
    let open = move |_: &posthaste::campaigns::Workspace| {
        let relay: Arc<dyn Provider> = Arc::new(Smtp::new("relay", Relay::plain("127.0.0.1", port)));
        let composer = Identity::new(Tokens::new(SIGNING).unwrap(), PEPPER, BTreeMap::new());
        Outlets { composer: Arc::new(composer), lanes: Arc::new(Lanes::of([relay])) }
    };
    let parts = Parts {
        store: world.store.clone(),
        clock: world.clock.clone(),
        open: Arc::new(open),
        arms: BTreeMap::new(),
        roles: Roles::ALL,
        stop: CancellationToken::new(),
    };
    Engine::start(parts).await.unwrap()
}

/// State, reason and attempts of the one message to an address.
async fn message(world: &World, address: &str) -> (MessageState, Option<Failure>, i64) {
    let sql = format!(
        "SELECT CAST(state AS BIGINT), CAST(COALESCE(reason, 0) AS BIGINT), CAST(attempts AS BIGINT) FROM messages WHERE address = '{address}'"
    );
    let rows = crate::respond::read(&world.store, &sql).await;
    let [(state, reason, attempts)] = rows.as_slice() else { panic!("{} messages to {address}", rows.len()) };
    (MessageState::from_code(*state as i16).unwrap(), Failure::from_code(*reason as i16), *attempts)
}

/// When the message is tried again, in seconds from now.
async fn waits(world: &World, address: &str) -> i64 {
    let sql = format!("SELECT next_at, CAST(0 AS BIGINT), CAST(0 AS BIGINT) FROM messages WHERE address = '{address}'");
    (crate::respond::read(&world.store, &sql).await[0].0 - world.clock.now().timestamp_micros()) / 1_000_000
}

async fn suppressed(world: &World) -> Vec<String> {
    let sql = "SELECT a.address FROM suppressions s JOIN addresses a ON a.key = s.key ORDER BY a.address -- $1";
    let rows: Vec<(String,)> = world.store.read_batch("read", sql.to_string(), "").await.unwrap();
    rows.into_iter().map(|(address,)| address).collect()
}

async fn bounced(world: &World) -> Vec<(String, String)> {
    let sql = "SELECT m.address, e.properties ->> 'bounce' FROM events e JOIN messages m ON m.id = e.message_id WHERE e.name = 'message.bounced' ORDER BY m.address -- $1";
    world.store.read_batch("read", sql.to_string(), "").await.unwrap()
}

async fn story(database: &Database) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = listener.local_addr().unwrap();
    let remote_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let postfix = Postfix::start(remote_listener.local_addr().unwrap(), ours);
    let remote = Arc::new(Remote::default());
    tokio::spawn(remote.clone().serve(remote_listener));

    let mut world = World::new(database);
    world.policy("domains: { mail.shop.example: { bounces: b.shop.example } }");
    let long = "long ".repeat(10_000);
    world.files.insert(
        "templates/long.hbs",
        format!("<p>{long} <a href=\"{{{{unsubscribe_url}}}}\">unsubscribe</a> {{{{identity.postal_address}}}}</p>"),
    );
    for (key, people, template) in [
        ("one", "segment: everyone, except: [ { attribute: arm, is: long } ], holdout: 0%", "hello"),
        ("long", "where: { attribute: arm, is: long }, holdout: 0%", "long"),
    ] {
        world.campaign(
            key,
            &format!(
                "{}audience: {{ {people} }}\nschedule: {{ at: 2027-03-01 10:00 }}\nmessage: {{ template: {template}, subject: Hello }}\n",
                advertising!("")
            ),
        );
    }
    let names = ["unknown", "full", "grey", "storm"];
    for domain in ["direct", "remote"] {
        for name in names.iter().chain(&["fine"]) {
            world.person(&format!("{name}@{domain}.example")).await;
        }
    }
    world.person("size@remote.example").await;
    let large = world.person("large@direct.example").await;
    let sql = world.store.pick(
        "UPDATE customers SET attributes = '{\"arm\":\"long\"}' WHERE id = $1",
        "UPDATE customers SET attributes = '{\"arm\":\"long\"}'::jsonb WHERE id = $1",
    );
    posthaste::on_writer!(&world.store, pool => { sqlx::query(sql).bind(large).execute(pool).await.unwrap(); });
    world.apply().await;

    let (tokens, stop) = (Arc::new(Tokens::new(SIGNING).unwrap()), CancellationToken::new());
    let ways = Ways::new(["b.shop.example".to_string()].into(), Default::default());
    let door = Door::new(world.store.clone(), world.clock.clone(), tokens.clone(), Settings::new("in.shop.example", false), ways.clone());
    tokio::spawn(serve(listener, door, stop.clone()));
    let processor = Processor { store: world.store.clone(), tokens, zone: chrono_tz::UTC, ways, forwarder: None };

    let engine = engine(&world, postfix.port).await;
    engine.run_through("2027-03-01T10:00:30Z".parse().unwrap()).await.unwrap();
    // What the relay said at once.
    assert_eq!(
        message(&world, "unknown@direct.example").await,
        (MessageState::Failed, Some(Failure::InvalidAddress), 1),
        "{}",
        database.name
    );
    assert_eq!(message(&world, "large@direct.example").await, (MessageState::Failed, Some(Failure::TooLarge), 1));
    for name in ["full", "grey", "storm"] {
        let (state, _, attempts) = message(&world, &format!("{name}@direct.example")).await;
        assert_eq!((state, attempts), (MessageState::Retry, 1), "{name}: {}", postfix.log());
        let wait = waits(&world, &format!("{name}@direct.example")).await;
        // Greylisting is lifted after five minutes, not before; nobody is asked again at once.
        assert!(wait > 240 && wait < 1_300, "{name} waits {wait} s");
    }
    for name in ["unknown", "full", "grey", "storm", "size", "fine"] {
        assert_eq!(message(&world, &format!("{name}@remote.example")).await.0, MessageState::Accepted, "{name}: {}", postfix.log());
    }
    // What it brings back, and what it tries again by itself.
    let began = Instant::now();
    while bounced(&world).await.len() < 3 || remote.taken.lock().unwrap().len() < 3 {
        processor.turn(world.clock.now()).await.unwrap();
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "{:?} {:?} {}",
            bounced(&world).await,
            remote.taken.lock().unwrap(),
            postfix.log()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let told = |address: &str, bounce: &str| (address.to_string(), bounce.to_string());
    let expected = [told("full@remote.example", "soft"), told("size@remote.example", "soft"), told("unknown@remote.example", "hard")];
    assert_eq!(bounced(&world).await, expected, "{}", database.name);
    let mut taken = remote.taken.lock().unwrap().clone();
    taken.sort();
    assert_eq!(taken, ["fine@remote.example", "grey@remote.example", "storm@remote.example"]);
    assert_eq!(suppressed(&world).await, ["unknown@direct.example", "unknown@remote.example"], "{}", database.name);
    // A full mailbox counts, a letter that is too large does not.
    let sql = "SELECT COUNT(*) FROM strikes s JOIN addresses a ON a.key = s.key WHERE a.address IN ('full@remote.example', 'size@remote.example')";
    assert_eq!(world.number(sql).await, 1);
    // The storm is over, and the greylist knows us.
    postfix.say("full@direct.example 452 4.2.2 Mailbox full\n");
    engine.run_through("2027-03-01T12:00:00Z".parse().unwrap()).await.unwrap();
    for name in ["grey", "storm"] {
        assert_eq!(message(&world, &format!("{name}@direct.example")).await.0, MessageState::Accepted, "{name}: {}", postfix.log());
    }
    let (state, _, attempts) = message(&world, "full@direct.example").await;
    assert!(state == MessageState::Retry && attempts > 1, "{state} after {attempts}");
    assert_eq!(suppressed(&world).await.len(), 2);
    engine.end().await.unwrap();
    assert_eq!(world.store.ledger_faults().await.unwrap(), Vec::<String>::new());
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postfix_relays_and_what_it_refuses_brings_back_or_tries_again_ends_rightly() {
    if !can_run() {
        return;
    }
    for database in databases().await {
        story(&database).await;
    }
}
