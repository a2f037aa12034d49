//! Amazon SES by moto, a server that answers as Amazon does: a letter taken as it is, and one of an unverified sender refused.

use posthaste::campaigns::model::ProviderSettings;
use posthaste::providers::{Body, Outcome, Outgoing, Provider, open};
use posthaste::types::{Channel, MessageId};
use serde_json::{Value, json};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

struct Moto {
    process: Child,
    url: String,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Moto {
    /// `None` where it is not installed; MOTO_SERVER may name it.
    async fn start() -> Option<Moto> {
        let program = std::env::var("MOTO_SERVER").unwrap_or_else(|_| "moto_server".to_string());
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let moto = Moto { process, url: format!("http://127.0.0.1:{port}") };
        for _ in 0..300 {
            if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Some(moto);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("moto does not start");
    }

    async fn get(&self, path: &str) -> Value {
        reqwest::get(format!("{}{path}", self.url)).await.unwrap().json().await.unwrap()
    }
}

fn ses(url: &str) -> Arc<dyn Provider> {
    let values = json!({ "region": "eu-west-1", "access_key": "AKIDEXAMPLE", "secret_key": "secret", "url": url });
    let Value::Object(settings) = values else { unreachable!() };
    let settings = ProviderSettings {
        channel: Channel::Email,
        kind: "ses".into(),
        rate: None,
        price: Default::default(),
        countries: None,
        weight: 1,
        backup: false,
        settings,
    };
    open("ses", &settings, &|text| Ok(text.to_string())).unwrap()
}

fn letter(from: &str) -> Outgoing {
    let mime = format!(
        "From: {from}\r\nTo: ada@example.org\r\nSubject: Spring\r\nMessage-ID: <1@shop.example>\r\nMIME-Version: 1.0\r\n\r\nHello\r\n"
    );
    let body = Body::Email { from: from.into(), to: "ada@example.org".into(), mime: mime.into_bytes() };
    Outgoing { message: MessageId(1), body, key: "0123456789abcdef0123456789abcdef".into() }
}

#[tokio::test]
async fn a_letter_is_taken_as_it_is_and_an_unverified_sender_is_refused() {
    let Some(moto) = Moto::start().await else {
        eprintln!("left out: moto_server is not here (MOTO_SERVER may name it)");
        return;
    };
    let provider = ses(&moto.url);
    let refused = provider.send(&letter("stranger@nowhere.example")).await;
    assert!(matches!(refused, Outcome::Refused { suppress: false, .. }), "{refused:?}");
    // What the page of the account does by hand.
    let identity = json!({ "EmailIdentity": "news@shop.example" });
    let client = reqwest::Client::new();
    let signed = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20270301/eu-west-1/ses/aws4_request, SignedHeaders=host, Signature=0";
    let request = client.post(format!("{}/v2/email/identities", moto.url)).header("authorization", signed).json(&identity);
    assert!(request.send().await.unwrap().status().is_success());
    let taken = provider.send(&letter("news@shop.example")).await;
    let Outcome::Accepted { id: Some(id), .. } = &taken else { panic!("{taken:?}") };
    let kept = moto.get("/moto-api/data.json").await;
    let text = kept["ses"].to_string() + &kept["sesv2"].to_string();
    assert!(text.contains(id.as_str()) && text.contains("Message-ID: <1@shop.example>"), "{text}");
}
