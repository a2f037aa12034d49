//! `posthaste doctor`, with a DNS server and a provider of its own.

use assert_cmd::Command;
use axum::Router;
use posthaste::doctor::{State, space};
use posthaste::providers::email::dkim::Signer;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use tokio::net::{TcpListener, UdpSocket};

const KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
const OTHER_KEY: &str = "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXphYmNkZWY=";

const WORKSPACE: &str = r#"
workspace: shop
public_url: https://go.shop.example
zone: UTC
languages: [ en ]
currency: EUR
topics:
  offers: { title: "Offers", channels: [ email ], from: news }
identities:
  news: { postal_address: "1 Garden Street", email: { name: "The Shop", address: news@well.example } }
  old: { postal_address: "1 Garden Street", email: { name: "The Shop", address: old@ill.example } }
domains:
  well.example: { bounces: bounces.well.example, dkim: { selector: s1, ed25519: "${DKIM}" } }
  ill.example: { dkim: { selector: s1, ed25519: "${DKIM}" } }
providers:
  relay: { channel: email, kind: smtp, host: 127.0.0.1, port: 1, hello: mail.well.example }
  world: { channel: sms, kind: twilio, account: AC1, token: "${TWILIO}", url: "URL" }
  closed: { channel: sms, kind: turbosms, token: "${NOBODY_SET_THIS}" }
"#;

/// Answers from a table of name, kind (1 A, 12 PTR, 15 MX, 16 TXT) and values; what is not in it does not exist. The name `broken` gets no good answer.
async fn dns(table: Vec<(String, u16, String)>) -> SocketAddr {
    let mut answers: HashMap<(String, u16), Vec<String>> = HashMap::new();
    for (name, kind, value) in table {
        answers.entry((name, kind)).or_default().push(value);
    }
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let labels = |name: &str| {
        let mut out = Vec::new();
        for label in name.split('.').filter(|label| !label.is_empty()) {
            out.push(label.len() as u8);
            out.extend_from_slice(label.as_bytes());
        }
        out.push(0);
        out
    };
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let Ok((length, from)) = socket.recv_from(&mut buffer).await else { return };
            let question = &buffer[..length];
            let (mut at, mut name) = (12, String::new());
            while question[at] != 0 {
                let size = question[at] as usize;
                name.push_str(&String::from_utf8_lossy(&question[at + 1..at + 1 + size]).to_lowercase());
                name.push('.');
                at += size + 1;
            }
            let name = name.trim_end_matches('.').to_string();
            let kind = u16::from_be_bytes([question[at + 1], question[at + 2]]);
            let found = answers.get(&(name.clone(), kind)).cloned().unwrap_or_default();
            let exists = answers.keys().any(|(known, _)| *known == name || known.ends_with(&format!(".{name}")));
            let code = if name.contains("broken") {
                2
            } else if exists {
                0
            } else {
                3
            };
            let mut out = question[..2].to_vec();
            out.extend_from_slice(&[0x81, 0x80 | code, 0, 1]);
            out.extend_from_slice(&(found.len() as u16).to_be_bytes());
            out.extend_from_slice(&[0, 0, 0, 0]);
            out.extend_from_slice(&question[12..at + 5]);
            for value in found {
                let data = match kind {
                    1 => value.parse::<std::net::Ipv4Addr>().unwrap().octets().to_vec(),
                    12 => labels(&value),
                    15 => [&[0, 10][..], &labels(&value)].concat(),
                    _ => value.as_bytes().chunks(255).flat_map(|part| [&[part.len() as u8][..], part].concat()).collect(),
                };
                out.extend_from_slice(&[0xc0, 12]);
                out.extend_from_slice(&kind.to_be_bytes());
                out.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
                out.extend_from_slice(&(data.len() as u16).to_be_bytes());
                out.extend_from_slice(&data);
            }
            let _ = socket.send_to(&out, from).await;
        }
    });
    address
}

fn record(key: &str) -> String {
    Signer::new("well.example").with_key("s1", key).unwrap().records()[0].1.clone()
}

fn doctor(folder: &Path, resolver: SocketAddr, format: &str) -> (i32, String) {
    let output = Command::cargo_bin("posthaste")
        .unwrap()
        .args(["doctor", "--workspace", folder.to_str().unwrap(), "--resolver", &resolver.to_string(), "--format", format])
        .output()
        .unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_says_what_is_wrong_and_what_to_change() {
    let twilio = Router::new().fallback(|| async { r#"{"status": "active"}"# });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, twilio).await });
    let reverse = |address: &str| {
        let IpAddr::V4(address) = address.parse().unwrap() else { unreachable!() };
        let [a, b, c, d] = address.octets();
        format!("{d}.{c}.{b}.{a}.in-addr.arpa")
    };
    let (txt, mx, ptr, a) = (16, 15, 12, 1);
    let row = |name: &str, kind: u16, value: &str| (name.to_string(), kind, value.to_string());
    let mut table = vec![
        row("bounces.well.example", txt, "v=spf1 include:relay.example ~all"),
        row("bounces.well.example", txt, "some-verification=1"),
        row("relay.example", txt, "v=spf1 ip4:192.0.2.0/24 a:one.relay.example -all"),
        row("bounces.well.example", mx, "mx.well.example"),
        row("well.example", mx, "mx.well.example"),
        row("s1._domainkey.well.example", txt, &record(KEY)),
        row("_dmarc.well.example", txt, "v=DMARC1; p=quarantine; rua=mailto:dmarc@well.example"),
        row("mail.well.example", a, "192.0.2.7"),
        (reverse("192.0.2.7"), ptr, "host7.cloud.example".to_string()),
        row("ill.example", txt, "v=spf1 +all"),
        row("s1._domainkey.ill.example", txt, &record(OTHER_KEY)),
    ];
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("posthaste.yaml", &WORKSPACE.replace("URL", &url));
    write(".env", &format!("DKIM={KEY}\nTWILIO=t\nPOSTHASTE_PEPPER=pepper\nPOSTHASTE_SIGNING=one:0123456789abcdef0123456789abcdef\n"));
    let (code, said) = doctor(folder.path(), dns(table.clone()).await, "table");
    assert_eq!(code, 1);
    insta::assert_snapshot!(without_figures(&said));

    // Everything in order.
    let ok = |name: &str| !name.contains("ill.example") && name != reverse("192.0.2.7");
    table.retain(|(name, _, _)| ok(name));
    table.push((reverse("192.0.2.7"), ptr, "mail.well.example".to_string()));
    let healthy = WORKSPACE
        .replace("URL", &url)
        .lines()
        .filter(|line| !line.contains("ill.example") && !line.contains("closed:"))
        .map(|line| match line.contains("relay:") {
            true => format!("  relay: {{ channel: email, kind: sendgrid, token: \"${{TWILIO}}\", url: \"{url}\" }}"),
            false => line.to_string(),
        })
        .collect::<Vec<_>>()
        .join("\n");
    write("posthaste.yaml", &healthy);
    let (code, said) = doctor(folder.path(), dns(table.clone()).await, "json");
    let findings: Vec<serde_json::Value> = serde_json::from_str(&said).unwrap();
    assert!(findings.iter().all(|one| one["state"] == "fine" || one["about"] == "disk"), "{said}");
    assert!(findings.iter().any(|one| one["about"] == "clock, by world"), "{said}");
    assert_eq!(code, i32::from(findings.iter().any(|one| one["state"] == "wrong")));

    // Nothing leaves this machine: whatever DNS says of example domains is nobody's trouble yet.
    let catching = WORKSPACE
        .lines()
        .filter(|line| !["closed:", "relay:", "world:"].iter().any(|name| line.contains(name)))
        .collect::<Vec<_>>()
        .join("\n")
        + "\n  sink: { channel: email, kind: catcher, address: \"127.0.0.1:1\" }\n";
    write("posthaste.yaml", &catching);
    let (_, said) = doctor(folder.path(), dns(Vec::new()).await, "json");
    let findings: Vec<serde_json::Value> = serde_json::from_str(&said).unwrap();
    assert!(findings.iter().all(|one| one["state"] != "wrong" || one["about"] == "disk"), "{said}");
    assert!(findings.iter().any(|one| one["about"] == "domains" && one["state"] == "note"), "{said}");
    write("posthaste.yaml", &healthy);

    // Nobody could be asked: that is not the same as fine.
    let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (code, said) = doctor(folder.path(), nobody, "json");
    assert!(code == 1 && said.contains(r#""state": "silent""#), "{said}");
}

/// The figures of this machine's disk are its own.
fn without_figures(said: &str) -> String {
    let line = |line: &str| match line.contains("MB are free") {
        true => "(the disk)".to_string(),
        false => line.trim_end().to_string(),
    };
    said.lines().filter(|line| !line.contains("make room")).map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_disk_that_is_nearly_full_is_told_before_it_is() {
    const GIBIBYTE: u64 = 1 << 30;
    for (free, all, expected) in
        [(50, 100, State::Fine), (9, 100, State::Note), (0, 100, State::Wrong), (2, 4, State::Fine), (0, 0, State::Wrong)]
    {
        assert_eq!(space(free * GIBIBYTE, all * GIBIBYTE).state, expected, "{free} of {all}");
    }
}
