//! What a message of 14 KB costs: building, signing, and all of it from a person to the bytes that leave; a token; a rule as SQL.  `cargo bench --bench email`

use aws_lc_rs::encoding::AsDer;
use base64::Engine;
use criterion::{Criterion, criterion_group, criterion_main};
use posthaste::campaigns;
use posthaste::diagnostics::Files;
use posthaste::dispatch::{Composer, Identity, Sending};
use posthaste::plan::conditions;
use posthaste::providers::Body;
use posthaste::providers::email::dkim::Signer;
use posthaste::providers::email::mime::{Letter, Mailbox, build};
use posthaste::segments::Samples;
use posthaste::store::Dialect;
use posthaste::store::blocks::{Due, Person};
use posthaste::tracking::{Kind, Tokens};
use posthaste::types::{Channel, Class, MessageId, Time};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

fn letter<'a>(subject: &'a str, text: &'a str, html: &'a str) -> Letter<'a> {
    Letter {
        class: Class::Advertising,
        from: Mailbox { name: "Крамниця", address: "news@mail.shop.example" },
        to: Mailbox { name: "", address: "ada@example.org" },
        reply_to: None,
        subject,
        text,
        html: Some(html),
        known_text: None,
        known_html: None,
        date: "2027-03-01T10:00:00Z".parse().unwrap_or_default(),
        message_id: "k7d@mail.shop.example",
        boundary: "k7d",
        list_unsubscribe: None,
        list_id: None,
        feedback_id: None,
        auto_submitted: false,
        headers: &[],
    }
}

/// About 12 KB of HTML and 2 KB of text.
fn content(sentence: &str) -> (String, String) {
    let html: String = (0..)
        .map(|row| format!("<tr><td style=\"padding:0 12px\" class=\"c{row}\">{sentence}</td></tr>\n"))
        .scan(0, |size, line| {
            *size += line.len();
            (*size < 12_000).then_some(line)
        })
        .collect();
    (format!("{sentence}\n").repeat(2_000 / sentence.len()), html)
}

fn email(criterion: &mut Criterion) {
    for (name, sentence) in [
        ("english", "Twenty in a hundred off all lamps, today only."),
        ("ukrainian", "Двадцять відсотків знижки на всі лампи, лише сьогодні."),
    ] {
        let (text, html) = content(sentence);
        let letter = letter("Spring is here", &text, &html);
        criterion.bench_function(&format!("build {name}"), |bencher| bencher.iter(|| build(black_box(&letter))));
        let Ok(message) = build(&letter) else { return };
        let key = aws_lc_rs::signature::RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).ok();
        let der: Option<aws_lc_rs::encoding::Pkcs8V1Der<'_>> = key.as_ref().and_then(|key| key.as_der().ok());
        let rsa = der.map(|der| base64::engine::general_purpose::STANDARD.encode(der.as_ref())).unwrap_or_default();
        for (kind, key) in [("rsa", rsa.as_str()), ("ed25519", "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")] {
            let Ok(signer) = Signer::new("mail.shop.example").with_key("ph1", key) else { continue };
            criterion.bench_function(&format!("sign {kind} {name}"), |bencher| {
                bencher.iter(|| signer.signatures(black_box(&message), letter.date))
            });
        }
    }
}

const WORKSPACE: &str = r#"
workspace: bench
public_url: https://go.bench.example
zone: UTC
languages: [ en ]
currency: EUR
categories: [ retail ]
topics: { offers: { title: "Offers", channels: [ email ], from: shop } }
identities: { shop: { postal_address: "1 Main Street", email: { name: "The Shop", address: news@mail.bench.example } } }
providers: { sink: { channel: email, kind: catcher } }
"#;

const LETTER: &str = r#"
campaign: letter
title: "A letter"
owner: ada@bench.example
class: advertising
topic: offers
task: grow
category: retail
goal: { event: purchase, within: 7 days }
audience: { segment: everyone, holdout: 0% }
schedule: { at: 2027-03-01 10:00 }
message: { template: letter, subject: "{{first_name}}, something for you" }
"#;

/// The letter of `benches/line.sh`: ten tracked links among paragraphs.
fn template() -> String {
    let paragraph = "A paragraph about a thing that stands for what a shop writes of its lamps, rugs, cups and chairs, long enough to weigh what letters weigh.\n";
    let thing = |number: u32| {
        let text = paragraph.repeat(6);
        format!(
            "<h2>Thing {number}</h2><p style=\"font-size:16px\">\n{text}</p><p><a href=\"https://shop.bench.example/thing/{number}\">See it</a></p>\n"
        )
    };
    let things: String = (1..=10).map(thing).collect();
    format!(
        "<!doctype html><html lang=\"en\"><body><h1>Hello {{{{first_name}}}} of {{{{city}}}}</h1>\n{things}<p>You have {{{{points}}}} points. \
         {{{{identity.postal_address}}}} · <a href=\"{{{{unsubscribe_url}}}}\">Unsubscribe</a></p></body></html>\n"
    )
}

fn whole(criterion: &mut Criterion) {
    let mut files = Files::default();
    files.insert("posthaste.yaml", WORKSPACE);
    files.insert("campaigns/letter.yaml", LETTER);
    files.insert("templates/letter.hbs", template());
    let (definitions, problems) = campaigns::read(&files);
    let Some(definitions) = definitions else { panic!("{}", problems.render(&files, false, 140)) };
    let now: Time = "2027-03-01T10:00:00Z".parse().unwrap_or_default();
    let sending = Sending::alone(Arc::new(definitions), "letter", now);
    let Ok(tokens) = Tokens::new("k1:bench-signing-key-of-32-characters") else { return };
    let identity = Identity::new(tokens, "bench", BTreeMap::new());
    let attributes = r#"{"city":"Springfield","points":120,"tier":"gold","segment":"s1","visits":7,"birthday":"1990-01-01"}"#;
    let person = Person { draw_key: "1".into(), first_name: Some("Ada".into()), attributes: attributes.into(), ..Person::default() };
    let mut due = Due::alone(Channel::Email, 1, Some("ada@example.org".into()), now, person);
    criterion.bench_function("compose a whole letter", |bencher| {
        bencher.iter(|| {
            due.id += 1;
            identity.compose(black_box(&sending), &due, now)
        });
    });
    let Ok(made) = identity.compose(&sending, &due, now) else { return };
    if let Body::Email { mime, .. } = made.outgoing.body {
        println!("a letter has {} bytes", mime.len());
    }
}

/// A rule of what marketers write, over a workspace of its own.
const RULE: &str = r#"
segment: good
title: "Good customers"
where:
  all:
    - { attribute: points, at_least: 10 }
    - any: [ { attribute: tier, in: [ gold, silver ] }, { attribute: city, starts_with: Spring } ]
    - { event: purchase, within: 90 days, sum: amount, at_least: 100 }
    - not: { message: any, was: opened, within: 30 days }
"#;

fn pieces(criterion: &mut Criterion) {
    let Ok(tokens) = Tokens::new("k1:bench-signing-key-of-32-characters") else { return };
    let mut message = 0;
    criterion.bench_function("sign a token", |bencher| {
        bencher.iter(|| {
            message += 1;
            tokens.sign(Kind::Open, MessageId(black_box(message)))
        });
    });
    let token = tokens.sign(Kind::Open, MessageId(1_234_567));
    criterion.bench_function("read a token", |bencher| bencher.iter(|| tokens.read(Kind::Open, black_box(&token))));

    let mut files = Files::default();
    files.insert("posthaste.yaml", WORKSPACE);
    files.insert("campaigns/letter.yaml", LETTER.replace("segment: everyone", "segment: good"));
    files.insert("campaigns/segments/good.yaml", RULE);
    files.insert("templates/letter.hbs", template());
    criterion.bench_function("read and check four files", |bencher| bencher.iter(|| campaigns::read(black_box(&files))));
    let (definitions, problems) = campaigns::read(&files);
    let Some(definitions) = definitions else { panic!("{}", problems.render(&files, false, 140)) };
    let Some(campaign) = definitions.campaigns.get("letter") else { return };
    let now: Time = "2027-03-01T10:00:00Z".parse().unwrap_or_default();
    for (name, dialect) in [("SQLite", Dialect::Sqlite), ("PostgreSQL", Dialect::Postgres)] {
        criterion.bench_function(&format!("compile a rule for {name}"), |bencher| {
            bencher.iter(|| conditions(black_box(&definitions), campaign, Samples::NONE, now, dialect))
        });
    }
}

criterion_group!(benches, email, whole, pieces);
criterion_main!(benches);
