//! What comes in while processes die: webhooks, mail and events. What was acknowledged is there after the kill; what was not is sent again, and nothing is
//! there twice.

use crate::databases::databases;
use crate::processes::{SmtpSink, command, free_port, posthaste};
use crate::shop::{Shop, take_events, write_customers};
use posthaste::tracking::{Kind, Tokens};
use posthaste::types::MessageId;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const SECRET: &str = "only-the-provider-knows-this";
const NOW: &str = "2027-03-01T11:00:00Z";
const PEOPLE: i64 = 4;

/// Two letters sent, one of each way in opened.
struct Office {
    http: String,
    mail: String,
    tokens: Tokens,
}

impl Office {
    fn letter(&self, message: i64) -> String {
        let token = self.tokens.sign_address(Kind::Letter, MessageId(message), NOW.parse().unwrap(), None);
        format!("<{token}@mail.kill.example>")
    }

    /// Postmark's word that a mailbox is full; true when it was acknowledged.
    async fn tell(&self, client: &reqwest::Client, message: i64) -> bool {
        let event = json!({ "RecordType": "Bounce", "ID": message, "Type": "SoftBounce", "MessageID": self.letter(message), "BouncedAt": "2027-03-01T10:30:00Z" });
        let sent = client.post(format!("http://{}/hooks/sink/{SECRET}", self.http)).json(&event).send().await;
        sent.is_ok_and(|response| response.status().is_success())
    }

    async fn buy(&self, client: &reqwest::Client, number: i64) -> bool {
        let event =
            json!({ "customer": format!("K{number}"), "event": "purchase", "at": "2027-03-01T10:30:00Z", "id": format!("order-{number}") });
        let sent = client.post(format!("http://{}/events", self.http)).bearer_auth("key-for-tests").json(&event).send().await;
        sent.is_ok_and(|response| response.status().is_success())
    }

    /// An answer of a person by SMTP; true when it was acknowledged.
    async fn write(&self, message: i64) -> bool {
        let dialogue = async {
            let mut stream = BufReader::new(TcpStream::connect(&self.mail).await?);
            let mail =
                format!("From: p@kill.example\r\nSubject: Re: For you\r\nIn-Reply-To: {}\r\n\r\nThank you\r\n.\r\n", self.letter(message));
            for line in ["", "EHLO x\r\n", "MAIL FROM:<p@kill.example>\r\n", "RCPT TO:<desk@answers.kill.example>\r\n", "DATA\r\n", &mail] {
                stream.get_mut().write_all(line.as_bytes()).await?;
                loop {
                    let mut answer = String::new();
                    if stream.read_line(&mut answer).await? == 0 || !answer.starts_with(['2', '3']) {
                        return Err(std::io::ErrorKind::UnexpectedEof.into());
                    }
                    if answer.as_bytes().get(3) != Some(&b'-') {
                        break;
                    }
                }
            }
            std::io::Result::Ok(())
        };
        dialogue.await.is_ok()
    }
}

fn open(workspace: &Path, sink: u16) -> Office {
    let (http, mail) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
    let shop = Shop::letters(sink, 2);
    let providers = shop.providers.replace(" } }", ", webhooks: { of: postmark, secret: \"${HOOK_SECRET}\" } } }");
    assert_ne!(providers, shop.providers);
    Shop { providers, ..shop }.write(workspace);
    let add = |name: &str, more: &str| {
        let text = std::fs::read_to_string(workspace.join(name)).unwrap();
        std::fs::write(workspace.join(name), text + more).unwrap();
    };
    add(".env", &format!("HOOK_SECRET={SECRET}\n"));
    add("posthaste.yaml", &format!("inbound: {{ listen: {mail}, domains: [ answers.kill.example ] }}\n"));
    take_events(workspace);
    Office { http, mail, tokens: Tokens::new("k1:signing-key-for-tests-only").unwrap() }
}

fn count(lines: &str, name: &str) -> usize {
    let rows = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    rows.filter(|row| row["event"] == name || row["name"] == name).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_a_kill_and_nothing_is_there_twice() {
    for database in databases().await {
        let folder = tempfile::tempdir().unwrap();
        let workspace = folder.path();
        let sink = SmtpSink::start();
        let office = open(workspace, sink.port());
        write_customers(workspace, PEOPLE as usize);
        posthaste(workspace, &database.url, &["import", "customers", "customers.csv"]);
        posthaste(workspace, &database.url, &["apply", "--yes", "--now", "2027-02-28T10:00:00Z"]);
        posthaste(workspace, &database.url, &["run", "--until-idle", "--now", "2027-03-01T10:00:01Z"]);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let (mut acknowledged, mut deaths): (HashSet<(&str, i64)>, usize) = (HashSet::new(), 0);
        let kills: Vec<String> =
            (1..=4).flat_map(|nth| [format!("before-intake:{nth}"), format!("after-intake:{nth}")]).chain([String::new()]).collect();
        for kill in &kills {
            let mut command = command(workspace, &database.url, &["run", "--listen", &office.http, "--now", NOW]);
            let mut child = command.env("POSTHASTE_KILL_AT", kill).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let deadline = Instant::now() + Duration::from_secs(60);
            while std::net::TcpStream::connect(&office.http).is_err() || std::net::TcpStream::connect(&office.mail).is_err() {
                assert!(Instant::now() < deadline, "the process did not start");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            // Whoever got no answer sends again; what was acknowledged is never sent again.
            for number in 1..=PEOPLE {
                for way in ["hook", "mail", "event"] {
                    if acknowledged.contains(&(way, number)) || child.try_wait().unwrap().is_some() {
                        continue;
                    }
                    let is_taken = match way {
                        "hook" => office.tell(&client, number).await,
                        "mail" => office.write(number).await,
                        _ => office.buy(&client, number - 1).await,
                    };
                    if is_taken {
                        acknowledged.insert((way, number));
                    }
                }
            }
            if kill.is_empty() {
                assert_eq!(acknowledged.len(), 3 * PEOPLE as usize, "{}: {acknowledged:?}", database.name);
            } else {
                let deadline = Instant::now() + Duration::from_secs(20);
                while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                deaths += usize::from(child.try_wait().unwrap().is_some_and(|status| !status.success()));
            }
            // SIGKILL, whatever it is doing.
            let _ = child.kill();
            child.wait().unwrap();
        }
        assert!(deaths >= 6, "{}: {deaths} processes died at their point", database.name);
        // The next life reads what the dead had acknowledged.
        posthaste(workspace, &database.url, &["run", "--until-idle", "--now", "2027-03-01T12:00:00Z"]);
        let events = posthaste(workspace, &database.url, &["export", "events", "--format", "json"]).stdout;
        for name in ["message.bounced", "message.replied", "purchase"] {
            assert_eq!(count(&events, name), PEOPLE as usize, "{}: {name}\n{events}", database.name);
        }
        eprintln!("intake: {deaths} deaths on {}, {} acknowledged", database.name, acknowledged.len());
    }
}
