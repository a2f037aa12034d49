//! Signatures hold before other verifiers, and break when somebody adds a header on the way.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail_auth::common::parse::TxtRecordParser;
use mail_auth::common::verify::DomainKey;
use mail_auth::{AuthenticatedMessage, DkimResult, MessageAuthenticator, Parameters, ResolverCache, Txt};
use posthaste::providers::email::dkim::Signer;
use posthaste::types::Time;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// The seed of RFC 8463 appendix A.2.
const SEED: &str = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";

fn now() -> Time {
    "2024-03-05T10:00:00Z".parse().unwrap()
}

/// Both kinds of keys, as a domain may have them.
fn signer(domain: &str) -> Signer {
    let key = aws_lc_rs::signature::RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = key.as_der().unwrap();
    let pem = format!("-----BEGIN PRIVATE KEY-----\\n{}\\n-----END PRIVATE KEY-----\\n", STANDARD.encode(der.as_ref()));
    Signer::new(domain).with_key("ph1", &pem).unwrap().with_key("ph1-ed25519", SEED).unwrap()
}

/// TXT answers by name; everything else is not asked.
struct Answers(HashMap<Box<str>, Txt>);

impl ResolverCache<Box<str>, Txt> for Answers {
    fn get<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.get(name).cloned()
    }
    fn remove<Q>(&self, _: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }
    fn insert(&self, _: Box<str>, _: Txt, _: std::time::Instant) {}
}

/// Whether each signature holds, in order, as mail-auth judges.
async fn verified(message: &[u8], records: &[(String, String)]) -> Vec<bool> {
    let answers = records.iter().map(|(name, value)| {
        let key = DomainKey::parse(value.as_bytes()).unwrap();
        (format!("{name}.").into_boxed_str(), Txt::DomainKey(Arc::new(key)))
    });
    let answers = Answers(answers.collect());
    let parsed = AuthenticatedMessage::parse(message).unwrap();
    let verifier = MessageAuthenticator::new_cloudflare().unwrap();
    let results = verifier.verify_dkim(Parameters::new(&parsed).with_txt_cache(&answers)).await;
    results.iter().map(|result| result.result() == &DkimResult::Pass).collect()
}

const MESSAGE: &str = "From: =?utf-8?B?0JrRgNCw0LzQvdC40YbRjw==?= <news@mail.shop.example>\r\nTo: ada@example.org\r\nSubject: Spring  is\r\n here\r\n\
    Date: Tue, 05 Mar 2024 10:00:00 +0000\r\nMessage-ID: <k7d@mail.shop.example>\r\nMIME-Version: 1.0\r\n\
    List-Unsubscribe: <https://go.shop.example/u/T>,\r\n <mailto:u+T@go.shop.example>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n\
    Feedback-ID: 1:2:3:posthaste\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
    Hello,   Ada \t\r\n.\r\n\r\nSpring =E2=80=94 at last.\r\n\r\n\r\n";

#[tokio::test]
async fn both_signatures_hold_before_another_verifier_and_break_when_a_header_is_added_or_the_body_changed() {
    let signer = signer("mail.shop.example");
    let mut signed = MESSAGE.as_bytes().to_vec();
    signer.sign(&mut signed, now()).unwrap();
    let signed = String::from_utf8(signed).unwrap();
    assert!(signed.ends_with(MESSAGE) && signed.split("\r\n").all(|line| line.len() <= 78), "{signed}");
    let records = signer.records();
    let both = async |message: String| verified(message.as_bytes(), &records).await;

    assert_eq!(both(signed.clone()).await, [true, true]);
    assert_eq!(both(signed.replace("Spring  is\r\n here", "Spring is here")).await, [true, true], "relaxed: folds and spaces may change");
    for added in [
        "From: eve@example.org",
        "Subject: Eve's",
        "To: eve@example.org",
        "Reply-To: eve@example.org",
        "List-Unsubscribe: <https://eve.example/>",
        "Content-Type: text/html",
    ] {
        for changed in [
            signed.replace("From: =?", &format!("{added}\r\nFrom: =?")),
            signed.replace("quoted-printable\r\n\r\n", &format!("quoted-printable\r\n{added}\r\n\r\n")),
        ] {
            assert_ne!(changed, signed);
            assert_eq!(both(changed).await, [false, false], "{added}");
        }
    }
    for (from, to) in [("at last", "at LAST"), ("Ada", "Eve"), ("One-Click", "Two-Clicks")] {
        assert_eq!(both(signed.replace(from, to)).await, [false, false]);
    }
}

#[tokio::test]
async fn the_sample_of_rfc_8463_is_signed_with_its_own_key() {
    let sample = "From: Joe SixPack <joe@football.example.com>\r\nTo: Suzie Q <suzie@shopping.example.net>\r\nSubject: Is dinner ready?\r\n\
        Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\nMessage-ID: <20030712040037.46341.5F8J@football.example.com>\r\n\r\nHi.\r\n\r\n\
        We lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n";
    let signer = Signer::new("football.example.com").with_key("brisbane", SEED).unwrap();
    let mut signed = sample.as_bytes().to_vec();
    signer.sign(&mut signed, now()).unwrap();
    assert!(String::from_utf8_lossy(&signed).contains("bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="), "the body hash of the RFC");
    // The public key as the RFC prints it, not as we derive it.
    let records = [(
        "brisbane._domainkey.football.example.com".to_string(),
        "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=".to_string(),
    )];
    assert_eq!(verified(&signed, &records).await, [true]);
}

#[test]
fn body_hashes_equal_those_of_dkimpy_for_messages_of_others() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/mail_auth/dkim/sign");
    let Ok(expected) = std::fs::read_to_string(format!("{folder}/sign_expected.json")) else {
        eprintln!("left out: the sample messages of mail_auth are not on this machine");
        return;
    };
    let expected: serde_json::Value = serde_json::from_str(&expected).unwrap();
    let signer = Signer::new("example.com").with_key("sel", SEED).unwrap();
    let mut checked = 0;
    for vector in expected["vectors"].as_array().unwrap() {
        if !vector["canonicalization"].as_str().unwrap().ends_with("/relaxed") {
            continue;
        }
        let message = std::fs::read(format!("{folder}/{}", vector["message"].as_str().unwrap())).unwrap();
        let signature = String::from_utf8(signer.signatures(&message, now()).unwrap()).unwrap();
        assert!(signature.contains(&format!("bh={};", vector["body_hash"].as_str().unwrap())), "{}: {signature}", vector["id"]);
        checked += 1;
    }
    assert!(checked >= 4, "{checked}");
}

#[test]
fn dkimpy_agrees_where_it_is_installed() {
    let script = "import sys, json, dkim\n\
        records = json.loads(sys.argv[1])\n\
        message = sys.stdin.buffer.read()\n\
        answer = lambda name, timeout=5: records[name.decode().rstrip('.')].encode()\n\
        d = dkim.DKIM(message)\n\
        print(' '.join(str(d.verify(idx=i, dnsfunc=answer)) for i in range(2)))\n";
    let available =
        Command::new("python3").args(["-c", "import dkim, nacl"]).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !available {
        eprintln!("left out: python3 with dkimpy and PyNaCl is not on this machine");
        return;
    }
    let signer = signer("mail.shop.example");
    let mut signed = MESSAGE.as_bytes().to_vec();
    signer.sign(&mut signed, now()).unwrap();
    let records: HashMap<String, String> = signer.records().into_iter().collect();
    let mut python = Command::new("python3")
        .args(["-c", script, &serde_json::to_string(&records).unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(&signed).unwrap();
    let output = python.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "True True");
}
