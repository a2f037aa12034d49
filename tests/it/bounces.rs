//! Mail that comes back is understood: in its standard form, and in the words of the systems that have their own.

use assert_cmd::Command;
use posthaste::inbound::mail::{self, Kind, Reading};
use posthaste::providers::email::reply::Class;
use posthaste::store::tallies::Bounce;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A mail of lines, as it comes over the wire.
fn letter(lines: &[&str]) -> Vec<u8> {
    lines.join("\r\n").into_bytes()
}

/// The delivery report about one recipient.
fn report(recipient: &str, fields: &[&str]) -> Vec<u8> {
    let mut lines = vec![
        "Return-Path: <>",
        "From: Mail Delivery System <MAILER-DAEMON@mx.example>",
        "To: b-token@bounce.shop.example",
        "Subject: Undelivered Mail Returned to Sender",
        "MIME-Version: 1.0",
        "Content-Type: multipart/report; report-type=delivery-status; boundary=\"edge\"",
        "",
        "--edge",
        "Content-Type: text/plain; charset=us-ascii",
        "",
        "Your mail could not be delivered.",
        "",
        "--edge",
        "Content-Type: message/delivery-status",
        "",
        "Reporting-MTA: dns; mx.example",
        "",
        recipient,
    ];
    lines.extend(fields);
    lines.extend([
        "",
        "--edge",
        "Content-Type: text/rfc822-headers",
        "",
        "From: Shop <news@shop.example>",
        "Message-ID: <one.two@shop.example>",
        "Subject: Spring",
        "",
        "--edge--",
        "",
    ]);
    letter(&lines)
}

/// Kind, address, class, status of the first recipient.
fn said(raw: &[u8]) -> (Kind, String, String, String) {
    let reading = mail::read(raw);
    let Some(first) = reading.recipients.first() else { return (reading.kind, String::new(), String::new(), String::new()) };
    (reading.kind, first.address.clone(), first.class().unwrap_or_default().to_string(), first.status.clone().unwrap_or_default())
}

fn check(raw: &[u8], expected: (Kind, &str, &str, &str)) {
    let said = said(raw);
    assert_eq!((said.0, said.1.as_str(), said.2.as_str(), said.3.as_str()), expected, "{}", String::from_utf8_lossy(raw));
}

#[test]
fn a_delivery_report_says_whom_it_is_about_and_why() {
    let final_recipient = "Final-Recipient: rfc822; ada@example.org";
    for (fields, expected) in [
        (
            &[
                "Action: failed",
                "Status: 5.1.1",
                "Diagnostic-Code: smtp; 550 5.1.1 <ada@example.org>: Recipient address rejected: User unknown",
            ][..],
            (Kind::Bounce, "hard:invalid", "5.1.1"),
        ),
        (&["Action: failed", "Status: 5.2.2", "Diagnostic-Code: smtp; 552 5.2.2 Mailbox", " full"], (Kind::Bounce, "soft:quota", "5.2.2")),
        (&["Action: delayed", "Status: 4.4.1", "Diagnostic-Code: smtp; connection timed out"], (Kind::Delayed, "transient", "4.4.1")),
        (&["Action: failed", "Status: 4.4.7", "Diagnostic-Code: smtp; delivery time expired"], (Kind::Bounce, "expired", "4.4.7")),
        (
            &["Action: failed", "Status: 5.7.1", "Diagnostic-Code: smtp; 554 5.7.1 Client host [192.0.2.1] blocked using zen.spamhaus.org"],
            (Kind::Bounce, "block:ip", "5.7.1"),
        ),
        (
            &["Action: failed", "Status: 5.7.26", "Diagnostic-Code: smtp; 550 5.7.26 This mail is unauthenticated"],
            (Kind::Bounce, "policy:auth", "5.7.26"),
        ),
        (
            &["Action: failed", "Status: 5.3.4", "Diagnostic-Code: smtp; 552 5.3.4 Message size exceeds fixed limit"],
            (Kind::Bounce, "soft:message", "5.3.4"),
        ),
        (
            &["Action: failed", "Status: 5.7.17", "Diagnostic-Code: smtp; 550 5.7.17 Mailbox owner has changed"],
            (Kind::Bounce, "hard:owner_changed", "5.7.17"),
        ),
        (&["Action: failed", "Status: 5.1.10 (host/domain does not accept mail)"], (Kind::Bounce, "hard:domain", "5.1.10")),
        (&["Action: relayed", "Status: 2.0.0"], (Kind::Delivered, "", "2.0.0")),
        (&["Action: delivered", "Status: 2.1.5"], (Kind::Delivered, "", "2.1.5")),
    ] {
        let raw = report(final_recipient, fields);
        check(&raw, (expected.0, "ada@example.org", expected.1, expected.2));
        assert_eq!(mail::read(&raw).about, ["one.two@shop.example"]);
    }
    // Addresses in UTF-8 (RFC 6533), and the address before it was forwarded.
    check(
        &report("Final-Recipient: utf-8; \\x{430}\\x{434}\\x{430}@example.org", &["Action: failed", "Status: 5.1.1"]),
        (Kind::Bounce, "ада@example.org", "hard:invalid", "5.1.1"),
    );
    let raw = report(
        "Original-Recipient: rfc822;ada@old.example\r\nFinal-Recipient: rfc822;ada@new.example",
        &["Action: failed", "Status: 5.1.1"],
    );
    let recipient = mail::read(&raw).recipients.remove(0);
    assert_eq!((recipient.address.as_str(), recipient.original.as_deref()), ("ada@new.example", Some("ada@old.example")));
}

#[test]
fn a_report_in_base64_and_one_of_several_recipients_are_read_too() {
    use base64::Engine as _;
    let status = "Reporting-MTA: dns; mx.example\r\n\r\nFinal-Recipient: rfc822; ada@example.org\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\nFinal-Recipient: rfc822; grace@example.org\r\nAction: delayed\r\nStatus: 4.2.2\r\nDiagnostic-Code: smtp; 452 4.2.2 over quota\r\n";
    let encoded = base64::engine::general_purpose::STANDARD.encode(status);
    let raw = letter(&[
        "From: postmaster@mx.example",
        "Subject: Delivery Status Notification",
        "Content-Type: multipart/report; report-type=delivery-status; boundary=x",
        "",
        "--x",
        "Content-Type: message/global-delivery-status",
        "Content-Transfer-Encoding: base64",
        "",
        &encoded,
        "--x--",
    ]);
    let reading = mail::read(&raw);
    let told: Vec<_> = reading.recipients.iter().map(|one| (one.address.as_str(), one.kind, one.class().unwrap_or_default())).collect();
    assert_eq!(told, [("ada@example.org", Kind::Bounce, "hard:invalid"), ("grace@example.org", Kind::Delayed, "soft:quota")]);
}

#[test]
fn systems_with_words_of_their_own_are_understood() {
    let daemon = |from: &str, subject: &str, text: &[&str]| {
        let (from, subject) = (format!("From: {from}"), format!("Subject: {subject}"));
        let mut lines = vec![from.as_str(), "To: b-token@bounce.shop.example", subject.as_str(), ""];
        lines.extend(text);
        lines.extend([
            "",
            "Received: from shop.example by mx.example",
            "Message-ID: <a.b@shop.example>",
            "From: news@shop.example",
            "To: ada@example.org",
            "Subject: Spring",
            "",
            "Spring is here",
        ]);
        letter(&lines)
    };
    for (from, subject, text, expected) in [
        (
            "MAILER-DAEMON@mx.example",
            "failure notice",
            &[
                "Hi. This is the mail program.",
                "I'm afraid I wasn't able to deliver your message to the following addresses.",
                "",
                "<ada@example.org>:",
                "Remote host said: 550 5.1.1 no such user",
            ][..],
            "hard:invalid",
        ),
        (
            "Mail Delivery System <mailer-daemon@mx.example>",
            "Mail delivery failed",
            &[
                "A message that you sent could not be delivered to one or more of its",
                "recipients.",
                "",
                "  ada@example.org",
                "    mailbox is full: retry timeout exceeded",
            ],
            "soft:quota",
        ),
        (
            "postmaster@mx.example",
            "Unzustellbar: Frühling",
            &["Ihre Nachricht an <ada@example.org> konnte nicht zugestellt werden.", "550 mailbox does not exist"],
            "hard:invalid",
        ),
        (
            "mailer-daemon@mx.example",
            "Недоставленное сообщение",
            &["Ваше письмо не может быть доставлено:", "ada@example.org: 550 user not found"],
            "hard:invalid",
        ),
        (
            "MAILER-DAEMON@mx.example",
            "Returned mail",
            &["554 <ada@example.org>... 550 Host unknown (Authoritative answer from name server)"],
            "hard:domain",
        ),
        (
            "MAILER-DAEMON@mx.example",
            "Undeliverable",
            &["Delivery to the following recipient failed permanently:", "", "     ada@example.org", "", "554 5.7.1 spam message rejected"],
            "block:content",
        ),
        // The server took the name and refused after the text: no proof that the name is wrong.
        (
            "MAILER-DAEMON@mx.example",
            "failure notice",
            &["could not be delivered:", "<ada@example.org>: host mx.example said: 550 User unknown (in reply to end of DATA command)"],
            "rejected",
        ),
    ] {
        check(&daemon(from, subject, text), (Kind::Bounce, "ada@example.org", expected, said(&daemon(from, subject, text)).3.as_str()));
        assert_eq!(mail::read(&daemon(from, subject, text)).about, ["a.b@shop.example"]);
    }
    let warning = daemon(
        "MAILER-DAEMON@mx.example",
        "Warning: message delayed 24 hours",
        &["A message that you sent has not yet been delivered to:", "  ada@example.org", "Delivery attempts will continue for some time."],
    );
    assert_eq!(said(&warning).0, Kind::Delayed);
}

#[test]
fn complaints_name_whom_they_can() {
    let complaint = |kind: &str, to: &str| {
        let (kind, to) = (format!("Feedback-Type: {kind}"), format!("Original-Rcpt-To: {to}"));
        letter(&[
            "From: feedback@provider.example",
            "Subject: FW: Spring",
            "Content-Type: multipart/report; report-type=feedback-report; boundary=x",
            "",
            "--x",
            "Content-Type: text/plain",
            "",
            "This is an email abuse report.",
            "--x",
            "Content-Type: message/feedback-report",
            "",
            &kind,
            "User-Agent: SomeGenerator/1.0",
            "Version: 1",
            &to,
            "--x",
            "Content-Type: message/rfc822",
            "",
            "From: news@shop.example",
            "Message-ID: <a.b@shop.example>",
            "To: undisclosed",
            "",
            "https://shop.example/u/TOKEN",
            "--x--",
        ])
    };
    let reading = mail::read(&complaint("abuse", "<ada@example.org>"));
    assert_eq!(
        (reading.kind, reading.feedback.as_deref(), reading.recipients[0].address.as_str()),
        (Kind::Complaint, Some("abuse"), "ada@example.org")
    );
    let redacted = mail::read(&complaint("not-spam", "<redacted@example.org>"));
    assert_eq!((redacted.kind, redacted.feedback.as_deref(), redacted.recipients.len()), (Kind::Complaint, Some("not-spam"), 0));
    assert_eq!(redacted.about, ["a.b@shop.example"]);
    assert!(redacted.copy.contains("/u/TOKEN"));
}

#[test]
fn answers_of_people_machines_and_those_who_want_no_more_are_told_apart() {
    let answer = |headers: &[&str], text: &str| {
        let mut lines = vec!["From: Ada <ada@example.org>", "To: news@shop.example"];
        lines.extend(headers);
        lines.extend(["", text]);
        mail::read(&letter(&lines))
    };
    for (headers, text, expected) in [
        (
            &["Subject: Re: Spring", "In-Reply-To: <a.b@shop.example>"][..],
            "Do you have it in red?\r\n\r\nOn Monday Shop wrote:\r\n> Spring",
            Kind::Reply,
        ),
        (&["Subject: Re: Spring", "In-Reply-To: <a.b@shop.example>"], "STOP.\r\n\r\n> Spring", Kind::Unsubscribe),
        (&["Subject: Re: Весна", "References: <a.b@shop.example>"], "Отпишите меня", Kind::Unsubscribe),
        (&["Subject: unsubscribe"], "", Kind::Unsubscribe),
        (&["Subject: Automatic reply: Spring"], "I am away", Kind::AutoReply),
        (&["Subject: Spring", "Auto-Submitted: auto-replied"], "I am away", Kind::AutoReply),
        (&["Subject: Re: Spring", "X-Autoreply: yes", "In-Reply-To: <a.b@shop.example>"], "STOP", Kind::AutoReply),
        (&["Subject: Автоответ: Весна"], "Я в отпуске", Kind::AutoReply),
        (&["Subject: Re: Spring", "Return-Path: <>", "In-Reply-To: <a.b@shop.example>"], "Gone fishing", Kind::AutoReply),
        (&["Subject: A question", "Auto-Submitted: no"], "Where is your shop?", Kind::None),
    ] {
        assert_eq!(answer(headers, text).kind, expected, "{headers:?}");
    }
    let reply = answer(
        &["Subject: Re: Spring", "In-Reply-To: <a.b@shop.example>"],
        "Do you have it in red?\r\n\r\nOn Monday Shop wrote:\r\n> Spring",
    );
    assert_eq!((reply.text.as_str(), reply.about), ("Do you have it in red?", vec!["a.b@shop.example".to_string()]));
}

#[test]
fn what_is_no_mail_at_all_is_read_without_harm() {
    for raw in
        [&b""[..], b"\0", b"\r\n\r\n\r\n", b"\xff\xfe\xfd", b"Content-Type: multipart/report; boundary=\r\n\r\n--\r\n", b"From: <>\r\n"]
    {
        let _ = mail::read(raw);
    }
    assert_eq!(mail::read(&vec![b'@'; 300_000]).kind, Kind::None);
    assert_eq!(mail::read("a: b\r\n ".repeat(100_000).as_bytes()).kind, Kind::None);
}

#[test]
fn the_command_explains_files_and_says_which_it_cannot_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bounce.eml");
    std::fs::write(
        &file,
        report(
            "Final-Recipient: rfc822; ada@example.org",
            &["Action: failed", "Status: 5.1.1", "Diagnostic-Code: smtp; 550 5.1.1 User unknown"],
        ),
    )
    .unwrap();
    let output = Command::cargo_bin("posthaste")
        .unwrap()
        .args(["bounces", "explain", "--format", "json", "missing.eml"])
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("missing.eml cannot be read: "));
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        rows,
        [serde_json::json!({
            "file": file.display().to_string(), "kind": "bounce", "recipient": "ada@example.org", "class": "hard:invalid",
            "reason": "no such mailbox", "hard": true, "status": "5.1.1", "said": "550 5.1.1 User unknown",
        })]
    );
    let piped = Command::cargo_bin("posthaste")
        .unwrap()
        .args(["bounces", "explain", "--format", "csv", "-"])
        .write_stdin("Subject: hello\r\n\r\nhello")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&piped.stdout), "file,kind,recipient,class,reason,hard,status,said\n-,none,,,,false,,\n");
}

fn samples() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/bounces");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("no sample bounces in ../shared/data/bounces: left out");
    None
}

/// Which of our classes is right for a reason of the samples' labels.
fn classes(reason: &str) -> &'static [Class] {
    use Class::*;
    match reason {
        "userunknown" | "hasmoved" => &[Invalid],
        "hostunknown" | "notaccept" => &[Domain],
        "suspend" => &[Inactive],
        "mailboxfull" => &[Quota],
        "systemfull" => &[Quota, Transient],
        "mesgtoobig" | "exceedlimit" => &[Size, Content],
        "expired" | "networkerror" | "systemerror" | "mailererror" | "failedstarttls" => &[Transient, Greylisted, Throttle, Rejected],
        "toomanyconn" | "speeding" => &[Throttle],
        "blocked" | "badreputation" | "spamdetected" | "policyviolation" | "virusdetected" => &[Block],
        "authfailure" | "requireptr" => &[Authentication],
        "norelaying" => &[Credentials],
        "securityerror" => &[Block, Authentication, Credentials],
        // Our sender is refused.
        "rejected" => &[Block, Authentication, Rejected],
        // By a filter after DATA, for no stated reason or with words about the mailbox.
        "filtered" => &[Block, Rejected, Inactive, Invalid],
        "syntaxerror" | "notcompliantrfc" | "contenterror" => &[Protocol, Content],
        "onhold" | "undefined" => &[Rejected, Transient],
        _ => &[],
    }
}

/// Reasons that are about us: none of them may ever suppress a person.
const ABOUT_US: &[&str] = &[
    "blocked",
    "badreputation",
    "policyviolation",
    "spamdetected",
    "virusdetected",
    "authfailure",
    "requireptr",
    "securityerror",
    "norelaying",
    "speeding",
    "toomanyconn",
    "notcompliantrfc",
    "contenterror",
    "syntaxerror",
    "rejected",
];

#[derive(Default)]
struct Share {
    right: usize,
    all: usize,
}

impl Share {
    fn count(&mut self, right: bool) {
        self.all += 1;
        self.right += usize::from(right);
    }
    fn is_at_least(&self, percent: usize, what: &str) {
        println!("{what}: {} of {}", self.right, self.all);
        assert!(self.right * 100 >= percent * self.all, "{what}: {} of {}", self.right, self.all);
    }
}

#[test]
fn real_bounces_of_sixty_mail_systems_are_understood() {
    let Some(folder) = samples() else { return };
    let mut readings: BTreeMap<String, Reading> = BTreeMap::new();
    let (mut kinds, mut recipients, mut hardness, mut reasons) = (Share::default(), Share::default(), Share::default(), Share::default());
    for row in csv::Reader::from_path(folder.join("expected.csv")).unwrap().deserialize::<BTreeMap<String, String>>() {
        let row = row.unwrap();
        let of = |name: &str| row[name].as_str();
        let file = format!("{}/{}", of("set"), of("file"));
        let reading = readings.entry(file.clone()).or_insert_with(|| mail::read(&std::fs::read(folder.join(&file)).unwrap()));
        let found = reading.recipients.iter().find(|one| one.address.eq_ignore_ascii_case(of("recipient")));
        let kind = found.map_or(reading.kind, |one| one.kind);
        kinds.count(match of("kind") {
            "bounce" | "unrecognised" => matches!(kind, Kind::Bounce | Kind::Delayed),
            // A mail program's wish to be left out, which the labels call a complaint.
            "complaint" => kind == Kind::Complaint || of("feedback_type") == "opt-out" && kind == Kind::Unsubscribe,
            "autoreply" => kind == Kind::AutoReply,
            "delivered" => kind == Kind::Delivered,
            _ => kind == Kind::None,
        });
        if of("kind") != "bounce" {
            continue;
        }
        if !of("recipient").is_empty() {
            recipients.count(found.is_some());
        }
        let class = found.or(reading.recipients.first()).and_then(|one| one.verdict).map(|verdict| verdict.class);
        if !of("hardbounce").is_empty() {
            let hard = match of("set") {
                // These labels say "for good" or "for now" only.
                "flufl" => kind == Kind::Bounce,
                _ => class.map(mail::bounce) == Some(Bounce::Hard),
            };
            hardness.count(hard == (of("hardbounce") == "true"));
        }
        if !of("reason").is_empty() {
            let fits = |reason: &str| class.is_some_and(|class| classes(reason).contains(&class));
            reasons.count(fits(of("reason")) || fits(of("reason_alt")));
            let suppresses = matches!(class, Some(Class::Invalid | Class::OwnerChanged));
            assert!(!(suppresses && ABOUT_US.contains(&of("reason"))), "{file} would suppress {} for {}", of("recipient"), of("reason"));
        }
    }
    kinds.is_at_least(98, "kind");
    recipients.is_at_least(95, "recipient");
    hardness.is_at_least(93, "hard or soft");
    reasons.is_at_least(85, "reason");
}

/// Mails with bytes changed, cut, doubled, and joined to others: always the same ones.
fn mutated(rounds: u64, seed: u64) {
    let mut letters = vec![
        report(
            "Final-Recipient: rfc822; ada@example.org",
            &["Action: failed", "Status: 5.1.1", "Diagnostic-Code: smtp; 550 5.1.1 unknown"],
        ),
        letter(&[
            "From: mailer-daemon@mx.example",
            "Subject: failure notice",
            "",
            "<ada@example.org>:",
            "550 no such user",
            "",
            "Received: by mx",
            "From: a@b.example",
            "To: c@d.example",
        ]),
    ];
    for set in samples().iter().flat_map(|folder| ["arf", "bounce_email", "flufl", "mail", "sisimai"].map(|set| folder.join(set))) {
        let mut files: Vec<PathBuf> = std::fs::read_dir(set).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        letters.extend(files.iter().map(|file| std::fs::read(file).unwrap()).filter(|raw| raw.len() < 12_000));
    }
    // Never nought, from which it would not move.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ seed << 1;
    let mut chance = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    for _ in 0..rounds {
        let mut raw = letters[chance(letters.len())].clone();
        for _ in 0..=chance(8) {
            let at = chance(raw.len());
            if raw.is_empty() {
                break;
            }
            match chance(7) {
                0 => raw[at] = chance(256) as u8,
                1 => drop(raw.remove(at)),
                2 => raw.truncate(at),
                3 => {
                    let piece = raw[at..(at + chance(200)).min(raw.len())].to_vec();
                    let place = chance(raw.len());
                    raw.splice(place..place, piece);
                }
                4 => drop(raw.drain(at..(at + chance(100)).min(raw.len()))),
                5 => raw.insert(at, b"\n\r:@<>=;\"\x80\xff\0"[chance(12)]),
                _ => {
                    let other = &letters[chance(letters.len())];
                    raw.truncate(at);
                    raw.extend_from_slice(&other[chance(other.len())..]);
                }
            }
        }
        for recipient in mail::read(&raw).recipients {
            assert!(recipient.diagnostic.len() <= 1_024 && recipient.class().is_none_or(|class| !class.is_empty()));
        }
    }
}

#[test]
fn no_damage_to_a_mail_does_damage() {
    mutated(3_000, 0);
}

#[test]
#[ignore = "a million mails: minutes; POSTHASTE_MUTATIONS and POSTHASTE_SEED do it in pieces"]
fn no_damage_to_a_million_mails_does_damage() {
    let number = |name: &str, usual: usize| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let (rounds, seed) = (number("POSTHASTE_MUTATIONS", 1_000_000), number("POSTHASTE_SEED", 0));
    let begun = std::time::Instant::now();
    mutated(rounds as u64, seed as u64);
    eprintln!("{rounds} damaged mails from seed {seed} in {:.0?}", begun.elapsed());
}
