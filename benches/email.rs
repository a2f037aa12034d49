//! What a message of 14 KB costs: building, signing.  `cargo bench --bench email`

use aws_lc_rs::encoding::AsDer;
use base64::Engine;
use criterion::{Criterion, criterion_group, criterion_main};
use posthaste::providers::email::dkim::Signer;
use posthaste::providers::email::mime::{Letter, Mailbox, build};
use posthaste::types::Class;
use std::hint::black_box;

fn letter<'a>(subject: &'a str, text: &'a str, html: &'a str) -> Letter<'a> {
    Letter {
        class: Class::Advertising,
        from: Mailbox { name: "Крамниця", address: "news@mail.shop.example" },
        to: Mailbox { name: "", address: "ada@example.org" },
        reply_to: None,
        subject,
        text,
        html: Some(html),
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

criterion_group!(benches, email);
criterion_main!(benches);
