//! A crowd that answers letters: for the scripts of this folder, beside which it stands.
//!
//! `cargo bench --bench crowd -- answer DATABASE COUNT AT` records COUNT opens and clicks of the accepted messages of a base as the server
//! does, in its batches, spread over four days from AT.
//! `cargo bench --bench crowd -- addresses DATABASE SIGNING CAMPAIGN` writes what the accepted letters of a campaign hold, a path a line: the
//! open pixel, then the first link.

use posthaste::store::Store;
use posthaste::store::people::MessageLine;
use posthaste::store::responses::{Accept, Counting, ResponseRow, Scope, Visit, digest};
use posthaste::tracking::{Click, Kind, Tokens, judge};
use posthaste::types::{Channel, MessageId, Response, Time, Verdict};
use std::io::Write;

/// As many as the server writes in one transaction.
const TOGETHER: usize = 200;
const BROWSER: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0.0.0 Safari/537.36";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["answer", database, count, at] => answer(database, count.parse().unwrap(), at.parse().unwrap()),
        ["addresses", database, signing, campaign] => addresses(database, signing, campaign),
        // `cargo test --benches` and `cargo bench` alone come by here.
        _ => eprintln!("crowd: answer DATABASE COUNT AT | addresses DATABASE SIGNING CAMPAIGN"),
    }
}

/// Three opens for each click, a click in one of ten links, each from a network of its own.
#[tokio::main]
async fn answer(database: &str, count: usize, at: Time) {
    let store = Store::connect(database).await.unwrap();
    let counting = Counting { zone: chrono_tz::UTC, slot: 0, judge: judge::judge };
    let messages = messages(&store, None).await;
    for batch in (0..count).collect::<Vec<_>>().chunks(TOGETHER) {
        let rows: Vec<ResponseRow> =
            batch.iter().map(|number| row(messages[(number * 7919) % messages.len()], *number, count, at)).collect();
        store.record_responses(&rows, &counting).await.unwrap();
    }
    store.close().await;
}

/// The numbers of messages that somebody got, of all campaigns or one.
async fn messages(store: &Store, campaign: Option<&str>) -> Vec<i64> {
    let mut all = Vec::new();
    let mut after = 0;
    loop {
        let page = store.messages_after(after, 10_000).await.unwrap();
        let Some(last) = page.last() else { return all };
        after = last.id;
        let is_one = |message: &&MessageLine| message.accepted_at.is_some() && campaign.is_none_or(|campaign| message.campaign == campaign);
        all.extend(page.iter().filter(is_one).map(|message| message.id));
    }
}

fn row(message: i64, number: usize, count: usize, at: Time) -> ResponseRow {
    let at = at + chrono::TimeDelta::microseconds(345_600_000_000 / count as i64 * number as i64);
    let link = if number % 4 == 3 { (number / 4 % 10 + 1) as i32 } else { 0 };
    let response = if link > 0 { Response::Clicked } else { Response::Opened };
    let network = format!("{}.{}.{}.0", number / 62_500 % 200 + 1, number / 250 % 250, number % 250);
    ResponseRow {
        message: MessageId(message),
        response,
        at,
        received_at: at,
        link,
        visit: Some(Visit { agent: BROWSER.into(), network, accept: Accept::Image, ..Visit::default() }),
        verdict: Verdict::Human,
        bounce: None,
        scope: Scope::Topic,
        source: String::new(),
        source_key: digest(&[b"crowd", &number.to_be_bytes()]),
    }
}

#[tokio::main]
async fn addresses(database: &str, signing: &str, campaign: &str) {
    let store = Store::connect(database).await.unwrap();
    let tokens = Tokens::new(signing).unwrap();
    let (version, _) = store.newest_links(100).await.unwrap().into_iter().find(|(_, links)| links.campaign == campaign).unwrap();
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for message in messages(&store, Some(campaign)).await.into_iter().map(MessageId) {
        let click = Click { message, version, link: 1, channel: Channel::Email, utm: false, target: None };
        writeln!(out, "/o/{}.gif\n/c/{}", tokens.sign(Kind::Open, message), tokens.sign_click(&click)).unwrap();
    }
    store.close().await;
}
