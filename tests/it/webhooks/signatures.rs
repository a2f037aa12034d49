//! Signatures: every published vector is taken or refused as it says, and no altered byte is taken.

use super::{Hook, keys, kind, seconds, shared};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use posthaste::types::Time;
use posthaste::webhooks::{Kind, Locks, Refused};
use serde_json::Value;
use url::form_urlencoded::Serializer;

/// What a vector says, as a request.
struct Vector {
    id: String,
    kind: Kind,
    locks: Locks,
    hook: Hook,
    now: Time,
    is_valid: bool,
    /// What the signature covers: bytes of these may not change.
    covers_body: bool,
}

const FORM: &str = "application/x-www-form-urlencoded";
const HERE: &str = "https://hooks.example.test/";

fn text<'a>(vector: &'a Value, name: &str) -> &'a str {
    vector[name].as_str().unwrap_or_default()
}

fn encoded(fields: &Value) -> String {
    let mut out = Serializer::new(String::new());
    for (name, value) in fields.as_object().into_iter().flatten() {
        match value {
            Value::Array(values) => values.iter().for_each(|value| {
                out.append_pair(name, value.as_str().unwrap());
            }),
            value => {
                out.append_pair(name, value.as_str().unwrap());
            }
        }
    }
    out.finish()
}

fn vector(vector: &Value) -> Vector {
    let (provider, id) = (text(vector, "provider"), text(vector, "id"));
    let mut locks = keys(text(vector, "key"));
    let mut now = seconds(1_700_000_000);
    let mut covers_body = true;
    let hook = match provider {
        "twilio" => {
            let body = vector["body"].as_str();
            let hook = match body {
                Some(body) => Hook::post(text(vector, "url"), "application/json", body),
                None => Hook::post(text(vector, "url"), FORM, encoded(&vector["params"])),
            };
            hook.with("x-twilio-signature", text(vector, "signature"))
        }
        "sendgrid" => {
            locks = keys(text(vector, "public_key"));
            now = seconds(1_600_112_502);
            Hook::post(HERE, "application/json", text(vector, "body"))
                .with("x-twilio-email-event-webhook-signature", text(vector, "signature"))
                .with("x-twilio-email-event-webhook-timestamp", text(vector, "timestamp"))
        }
        "mailgun" => {
            now = seconds(text(vector, "timestamp").parse().unwrap());
            // Only timestamp, token and signature stand in it.
            covers_body = false;
            let signature = ["timestamp", "token", "signature"].map(|name| (name.to_string(), vector[name].clone()));
            let body = serde_json::json!({ "signature": serde_json::Map::from_iter(signature), "event-data": {} });
            Hook::post(HERE, "application/json", body.to_string())
        }
        "messagebird" if vector["token"].is_string() => {
            locks = keys(text(vector, "secret"));
            now = text(vector, "timestamp").parse().unwrap();
            let hook = Hook::post(text(vector, "url"), "text/plain", text(vector, "payload"));
            Hook { method: text(vector, "method").into(), ..hook }.with("messagebird-signature-jwt", text(vector, "token"))
        }
        "messagebird" => {
            let timestamp = vector["timestamp"].as_i64().unwrap();
            now = seconds(timestamp);
            Hook::post(&format!("{HERE}?{}", encoded(&vector["query"])), "application/json", text(vector, "body"))
                .with("messagebird-signature", text(vector, "signature"))
                .with("messagebird-request-timestamp", &timestamp.to_string())
        }
        "vonage" if vector["token"].is_string() => {
            now = seconds(1_697_634_680);
            Hook::post(HERE, "", "").with("authorization", &format!("Bearer {}", text(vector, "token")))
        }
        "vonage" => {
            now = seconds(vector["params"]["timestamp"].as_str().unwrap().parse().unwrap());
            let mut params = vector["params"].clone();
            params["sig"] = vector["signature"].clone();
            Hook::post(HERE, FORM, encoded(&params))
        }
        "ses-sns" => {
            locks = Locks { topics: vec!["arn:aws:sns:us-east-1:123456789012:ses-events".into()], ..Locks::default() };
            now = "2024-05-01T10:00:00Z".parse().unwrap();
            let certificate = Some(text(vector, "certificate").to_string());
            Hook { certificate, ..Hook::post(HERE, "text/plain; charset=UTF-8", text(vector, "body")) }
        }
        other => panic!("{id}: {other} is not known here"),
    };
    Vector { id: id.into(), kind: kind(provider), locks, hook, now, is_valid: vector["valid"].as_bool().unwrap(), covers_body }
}

#[test]
fn every_published_vector_is_taken_or_refused_as_it_says() {
    for row in shared("signatures.jsonl") {
        let vector = vector(&row);
        let verified = vector.hook.verify(vector.kind, &vector.locks, vector.now);
        assert_eq!(verified.is_ok(), vector.is_valid, "{}: {verified:?}", vector.id);
    }
}

#[test]
fn no_byte_of_a_published_vector_can_be_changed() {
    for row in shared("signatures.jsonl") {
        let vector = vector(&row);
        if vector.is_valid {
            alter(&vector.id, vector.kind, &vector.locks, &vector.hook, vector.now, vector.covers_body);
        }
    }
}

/// Every bit of the headers that prove something, and of a body that is covered: none of the changed requests is taken.
fn alter(id: &str, kind: Kind, locks: &Locks, hook: &Hook, now: Time, covers_body: bool) {
    assert_eq!(hook.verify(kind, locks, now), Ok(()), "{id}");
    for (place, (name, value)) in hook.headers.iter().enumerate() {
        if name == "content-type" || name == "user-agent" {
            continue;
        }
        for at in 0..value.len() {
            for bit in [1_u8, 2, 16, 32] {
                let mut changed = value.clone().into_bytes();
                changed[at] ^= bit;
                let Ok(changed) = String::from_utf8(changed) else { continue };
                // `Bearer ` is not part of the proof.
                if name == "authorization" && at < 7 {
                    continue;
                }
                let mut altered = hook.clone();
                altered.headers[place].1 = changed;
                assert!(altered.verify(kind, locks, now).is_err(), "{id}: {name} with byte {at} changed is taken");
            }
        }
        let mut without = hook.clone();
        without.headers.remove(place);
        assert!(without.verify(kind, locks, now).is_err(), "{id}: taken without {name}");
    }
    if !covers_body {
        return;
    }
    for at in 0..hook.body.len() {
        for bit in [1_u8, 4, 32] {
            let mut altered = hook.clone();
            altered.body[at] ^= bit;
            if says_the_same(kind, hook, &altered) {
                continue;
            }
            assert!(altered.verify(kind, locks, now).is_err(), "{id}: {} at {at} is taken", String::from_utf8_lossy(&altered.body));
        }
    }
    for more in [&b" "[..], b"&a=1", b"x"] {
        let mut altered = hook.clone();
        altered.body.extend_from_slice(more);
        if !says_the_same(kind, hook, &altered) {
            assert!(altered.verify(kind, locks, now).is_err(), "{id}: taken with {more:?} added");
        }
    }
}

/// Where fields are signed and not bytes, other bytes may mean the same fields.
fn says_the_same(kind: Kind, one: &Hook, other: &Hook) -> bool {
    let fields = |hook: &Hook| {
        let mut fields: Vec<(String, String)> = url::form_urlencoded::parse(&hook.body).into_owned().collect();
        fields.sort();
        fields.dedup();
        fields
    };
    // What is signed of an SNS message are these texts and none of what else may stand beside them.
    let texts = |hook: &Hook| -> Option<Vec<Value>> {
        let body: Value = serde_json::from_slice(&hook.body).ok()?;
        let names =
            ["Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type", "SignatureVersion", "Signature"];
        Some(names.iter().map(|name| body[name].clone()).collect())
    };
    match kind {
        Kind::Twilio | Kind::Plivo | Kind::Mandrill | Kind::Vonage => {
            // The name of one field and the value of another run together; Twilio's scheme has no marks between them.
            let run = |hook: &Hook| fields(hook).into_iter().flat_map(|(name, value)| [name, value]).collect::<String>();
            let signed =
                |hook: &Hook| fields(hook).into_iter().map(|(name, value)| (name, value.replace(['&', '='], "_"))).collect::<Vec<_>>();
            match kind {
                Kind::Vonage => signed(one) == signed(other),
                _ => run(one) == run(other),
            }
        }
        Kind::Ses => texts(one).is_some() && texts(one) == texts(other),
        _ => false,
    }
}

// Vectors of our own, one for each scheme: they prove the same where the published ones are not at hand.

struct Own {
    kind: Kind,
    key: &'static str,
    hook: Hook,
    now: i64,
    covers_body: bool,
}

fn own() -> Vec<Own> {
    let own = |kind, key, now, hook| Own { kind, key, hook, now, covers_body: true };
    let mac = |algorithm: aws_lc_rs::hmac::Algorithm, key: &[u8], text: &[u8]| {
        aws_lc_rs::hmac::sign(&aws_lc_rs::hmac::Key::new(algorithm, key), text).as_ref().to_vec()
    };
    let sha256 = aws_lc_rs::hmac::HMAC_SHA256;
    let json = "application/json";
    let svix = mac(sha256, b"a key of forty characters and a few more", br#"m1.1700000000.{"type":"email.sent"}"#);
    let svix_key: &str = Box::leak(format!("whsec_{}", STANDARD.encode("a key of forty characters and a few more")).into_boxed_str());
    let mandrill = mac(aws_lc_rs::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"mandrill", b"https://hooks.example.test/hooks/mmandrill_events[]");
    let bodied = br#"{"a":1}"#;
    vec![
        own(
            Kind::Twilio,
            "test-token-1",
            0,
            Hook::post(
                "https://hooks.example.test/twilio/status?run=7",
                FORM,
                "MessageSid=SM0001&MessageStatus=delivered&To=%2B15005550006",
            )
            .with("x-twilio-signature", "29TnvXaRovKqp6qds5YXcsrKPWg="),
        ),
        own(
            Kind::Twilio,
            "test-token-1",
            0,
            Hook::post(
                "https://hooks.example.test/twilio/json?bodySHA256=015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862",
                json,
                r#"{"a":1}"#,
            )
            .with("x-twilio-signature", "en1wYt9wXzozWeLJfxeZT5gHiso="),
        ),
        Own {
            covers_body: false,
            ..own(
                Kind::Mailgun,
                "test-signing-key",
                1_700_000_000,
                Hook::post(
                    HERE,
                    json,
                    r#"{"signature":{"timestamp":"1700000000","token":"0123456789abcdef0123456789abcdef0123456789abcdef01","signature":"c275f7e86b6d2eadffd03949cf3901424761c7792b511c091d96823cf5d5949c"},"event-data":{"event":"delivered"}}"#,
                ),
            )
        },
        own(
            Kind::Bird,
            "test-key",
            1_700_000_000,
            Hook::post("https://hooks.example.test/bird", json, r#"{"a":1}"#)
                .with("messagebird-signature", "+hbfeTr9pT4qV9ev7NInhbfukK2DwkdBe4wqopxQtgw=")
                .with("messagebird-request-timestamp", "1700000000"),
        ),
        own(
            Kind::Vonage,
            "test-secret",
            1_700_000_000,
            Hook::post(
                HERE,
                FORM,
                "messageId=0A&msisdn=447700900000&nonce=n1&status=delivered&timestamp=1700000000&sig=a78ebf21610b1f8e4c07add1bce9e1b9b04907c701c459c09b501a4e4ef2b9a9",
            ),
        ),
        own(
            Kind::Plivo,
            "test-token-1",
            0,
            Hook::post("https://hooks.example.test/plivo", FORM, "MessageUUID=u1&Status=delivered")
                .with("x-plivo-signature-v3", "7Wogc+0yuysNwtW+nEbacqPQUu+krvTWi9ZNVlZgX+Y=")
                .with("x-plivo-signature-v3-nonce", "12345"),
        ),
        Own {
            covers_body: false,
            ..own(
                Kind::TurboSms,
                "test-secret",
                0,
                Hook::post(HERE, json, r#"{"event_id":"evt-1","signature":"1743b0eb54c4d3ab793ca161e5429bb276d19091","message_id":"m"}"#),
            )
        },
        own(
            Kind::Resend,
            svix_key,
            1_700_000_000,
            Hook::post(HERE, json, r#"{"type":"email.sent"}"#)
                .with("svix-id", "m1")
                .with("svix-timestamp", "1700000000")
                .with("svix-signature", &format!("v1,{}", STANDARD.encode(&svix))),
        ),
        own(
            Kind::Sweego,
            svix_key,
            1_700_000_000,
            Hook::post(HERE, json, r#"{"type":"email.sent"}"#)
                .with("webhook-id", "m1")
                .with("webhook-timestamp", "1700000000")
                .with("webhook-signature", &STANDARD.encode(&svix)),
        ),
        own(Kind::MailerSend, "secret", 0, Hook::post(HERE, json, bodied).with("signature", &hex::encode(mac(sha256, b"secret", bodied)))),
        own(
            Kind::Mailtrap,
            "secret",
            0,
            Hook::post(HERE, json, bodied).with("mailtrap-signature", &hex::encode(mac(sha256, b"secret", bodied))),
        ),
        Own {
            covers_body: false,
            ..own(
                Kind::Mailomat,
                "secret",
                1_700_000_000,
                Hook::post(HERE, json, bodied)
                    .with("x-mom-webhook-id", "e1")
                    .with("x-mom-webhook-event", "delivered")
                    .with("x-mom-webhook-timestamp", "1700000000")
                    .with(
                        "x-mom-webhook-signature",
                        &format!("sha256={}", hex::encode(mac(sha256, b"secret", b"e1.delivered.1700000000"))),
                    ),
            )
        },
        own(
            Kind::Mandrill,
            "mandrill",
            0,
            Hook::post("https://hooks.example.test/hooks/m", FORM, "mandrill_events=%5B%5D")
                .with("x-mandrill-signature", &STANDARD.encode(mandrill)),
        ),
        own(
            Kind::UnisenderGo,
            "key",
            0,
            Hook::post(
                HERE,
                json,
                format!(r#"{{"event_name":"x","auth":"{}"}}"#, hex::encode(md5_of(br#"{"event_name":"x","auth":"key"}"#))),
            ),
        ),
        message_bird(),
    ]
}

fn md5_of(text: &[u8]) -> [u8; 16] {
    use md5::Digest as _;
    md5::Md5::digest(text).into()
}

fn message_bird() -> Own {
    let hash = |text: &str| hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()));
    let claims = serde_json::json!({ "iss": "MessageBird", "nbf": 1_700_000_000, "exp": 1_700_000_060, "jti": "1", "url_hash": hash(HERE), "payload_hash": hash("hello") });
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS512"}"#), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let tag = aws_lc_rs::hmac::sign(&aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA512, b"secret"), signed.as_bytes());
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag));
    let hook = Hook::post(HERE, "text/plain", "hello").with("messagebird-signature-jwt", &token);
    Own { kind: Kind::MessageBird, key: "secret", hook, now: 1_700_000_030, covers_body: true }
}

#[test]
fn own_vectors_hold_and_no_byte_of_them_can_be_changed() {
    for own in own() {
        alter(own.kind.word(), own.kind, &keys(own.key), &own.hook, seconds(own.now), own.covers_body);
        assert!(own.hook.verify(own.kind, &keys("another key, as long as any"), seconds(own.now)).is_err(), "{:?}", own.kind);
        let both = Locks { keys: vec!["whsec_b2xkIGtleQ==".into(), own.key.into()], ..Locks::default() };
        assert_eq!(own.hook.verify(own.kind, &both, seconds(own.now)), Ok(()), "{:?}: while keys are exchanged either counts", own.kind);
        assert_eq!(
            own.hook.verify(own.kind, &Locks::default(), seconds(own.now)),
            Err(Refused::Closed),
            "{:?}: no key, no secret",
            own.kind
        );
        if own.now > 0 {
            for off in [-7200, 120_000] {
                let verified = own.hook.verify(own.kind, &keys(own.key), seconds(own.now + off));
                assert_eq!(verified, Err(Refused::Stale), "{:?}: {off} seconds later", own.kind);
            }
        }
    }
}

#[test]
fn another_address_does_not_fit_where_the_address_is_signed() {
    for own in own() {
        if matches!(own.kind, Kind::Twilio | Kind::Plivo | Kind::Mandrill | Kind::Bird | Kind::MessageBird) {
            for url in [
                own.hook.url.replace("example.test", "example.test.evil.example"),
                own.hook.url.replacen("https", "http", 1),
                format!("{}1", own.hook.url),
            ] {
                let moved = Hook { url, ..own.hook.clone() };
                assert!(moved.verify(own.kind, &keys(own.key), seconds(own.now)).is_err(), "{:?} at {}", own.kind, moved.url);
            }
        }
    }
}

/// A topic's message signed by a key of our own.
pub struct Topic {
    key: aws_lc_rs::rsa::KeyPair,
    pub certificate: String,
}

impl Topic {
    pub fn new() -> Topic {
        let pair = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["sns.example.com".into()]).unwrap().self_signed(&pair).unwrap();
        Topic { key: aws_lc_rs::rsa::KeyPair::from_pkcs8(&pair.serialize_der()).unwrap(), certificate: certificate.pem() }
    }

    pub fn says(&self, version: &str, changes: &[(&str, &str)]) -> Hook {
        let mut body = serde_json::json!({
            "Type": "Notification", "MessageId": "m1", "TopicArn": "arn:ours", "Message": "{}", "Timestamp": "2027-03-01T10:00:00.000Z",
            "SignatureVersion": version, "SigningCertURL": "https://sns.eu-west-1.amazonaws.com/x.pem",
        });
        for (name, value) in changes {
            body[*name] = Value::from(*value);
        }
        let signed: String = ["Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
            .iter()
            .filter_map(|name| Some(format!("{name}\n{}\n", body[*name].as_str()?)))
            .collect();
        let mut signature = vec![0; self.key.public_modulus_len()];
        let how: &dyn aws_lc_rs::signature::RsaEncoding = &aws_lc_rs::signature::RSA_PKCS1_SHA256;
        self.key.sign(how, &aws_lc_rs::rand::SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
        body["Signature"] = Value::from(STANDARD.encode(signature));
        Hook { certificate: Some(self.certificate.clone()), ..Hook::post(HERE, "text/plain", body.to_string()) }
    }
}

#[test]
fn only_our_topic_from_amazon_s_own_host_in_time_is_taken() {
    let topic = Topic::new();
    let now: Time = "2027-03-01T10:05:00Z".parse().unwrap();
    let ours = Locks { topics: vec!["arn:ours".into()], ..Locks::default() };
    let check = |hook: &Hook, expected: Result<(), Refused>| {
        assert_eq!(hook.verify(Kind::Ses, &ours, now), expected, "{}", String::from_utf8_lossy(&hook.body));
    };
    check(&topic.says("2", &[]), Ok(()));
    check(&topic.says("2", &[("Subject", "hello")]), Ok(()));
    check(&topic.says("1", &[]), Err(Refused::Signature));
    check(&topic.says("3", &[]), Err(Refused::Signature));
    check(&topic.says("2", &[("TopicArn", "arn:theirs")]), Err(Refused::Topic));
    check(&topic.says("2", &[("Timestamp", "2027-02-20T10:00:00.000Z")]), Err(Refused::Stale));
    check(&topic.says("2", &[]).with("x-amz-sns-message-type", "SubscriptionConfirmation"), Err(Refused::Signature));
    check(&Hook { certificate: None, ..topic.says("2", &[]) }, Err(Refused::Certificate));
    check(&Hook { certificate: Some("no certificate".into()), ..topic.says("2", &[]) }, Err(Refused::Certificate));
    for url in [
        "https://sns.evil.com/x.pem",
        "https://sns.us-east-1.amazonaws.com.evil.com/x.pem",
        "https://evil.example/sns.us-east-1.amazonaws.com/x.pem",
        "http://sns.us-east-1.amazonaws.com/x.pem",
        "https://sns.us-east-1.amazonaws.com:8443/x.pem",
        "https://user@sns.us-east-1.amazonaws.com/x.pem",
        "https://sns.us-east-1.amazonaws.com/x.txt",
        "https://s3.us-east-1.amazonaws.com/x.pem",
        "https://sns.a.b.amazonaws.com/x.pem",
    ] {
        check(&topic.says("2", &[("SigningCertURL", url)]), Err(Refused::Certificate));
    }
    assert_eq!(topic.says("2", &[]).verify(Kind::Ses, &Locks::default(), now), Err(Refused::Closed));
}

#[test]
fn who_does_not_sign_needs_a_secret_address_and_the_login_that_is_set() {
    use posthaste::webhooks::verify;
    let hook = Hook::post(HERE, "application/json", "[]");
    let secret = "0123456789abcdef0123456789abcdef";
    let now = seconds(0);
    let with = |locks: &Locks, hook: &Hook, given: Option<&str>| verify(Kind::Postmark, locks, &hook.request(), given, None, now);
    let locks = Locks { secret: Some(secret.into()), ..Locks::default() };
    assert_eq!(with(&locks, &hook, Some(secret)), Ok(()));
    assert_eq!(with(&locks, &hook, Some("0123456789abcdef0123456789abcdee")), Err(Refused::Secret));
    assert_eq!(with(&locks, &hook, None), Err(Refused::Secret));
    let short = Locks { secret: Some("short".into()), ..Locks::default() };
    assert_eq!(with(&short, &hook, Some("short")), Err(Refused::Closed));
    let both = Locks { login: Some("user:pass".into()), ..locks };
    assert_eq!(with(&both, &hook, Some(secret)), Err(Refused::Login));
    assert_eq!(with(&both, &hook.clone().with("authorization", "Basic dXNlcjpwYXNz"), Some(secret)), Ok(()));
    assert_eq!(with(&both, &hook.with("authorization", "Basic dXNlcjpwYXNt"), Some(secret)), Err(Refused::Login));
    assert_eq!(with(&Locks::default(), &Hook::post(HERE, "", ""), None), Err(Refused::Closed));
}
