//! A world whose public addresses take webhooks, and whose engine reads them.

use crate::databases::Database;
use crate::world::{PEPPER, SIGNING, World};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use posthaste::campaigns;
use posthaste::customers::keys::Keys;
use posthaste::dispatch::References;
use posthaste::feedback::Feedback;
use posthaste::server::{self, Fetch, Hooks, Settings, Site, State};
use posthaste::tracking::Tokens;
use posthaste::types::Time;
use posthaste::webhooks::{Door, Kind, Locks};
use reqwest::{Client, StatusCode};
use serde_json::Value;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use tokio_util::sync::CancellationToken;

/// The name of the world's provider.
pub const PROVIDER: &str = "obedient";

/// Answers what is asked for from a list, and remembers what was asked.
#[derive(Default)]
pub struct Answers {
    pub pages: Mutex<BTreeMap<String, String>>,
    pub asked: Mutex<Vec<String>>,
}

impl Fetch for Answers {
    fn get<'a>(&'a self, url: &'a str) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + 'a>> {
        self.asked.lock().unwrap().push(url.to_string());
        let page = self.pages.lock().unwrap().get(url).cloned();
        Box::pin(async move { page.ok_or("there is nothing".to_string()) })
    }
}

pub struct Office {
    pub world: World,
    pub state: State,
    pub answers: Arc<Answers>,
    key: EcdsaKeyPair,
    pub address: String,
    client: Client,
    stop: CancellationToken,
}

impl Drop for Office {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Office {
    /// With a door for SendGrid's events under the provider's name.
    pub async fn open(world: World) -> Office {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref()).unwrap();
        let (definitions, _) = campaigns::read(&world.files);
        let site = Site::of(&definitions.unwrap().workspace);
        let state = State::new(Settings {
            store: world.store.clone(),
            clock: world.clock.clone(),
            tokens: Arc::new(Tokens::new(SIGNING).unwrap()),
            site,
            slot: 0,
            api_key: None,
            view: None,
            intake: None,
            journal: None,
        });
        let answers = Arc::<Answers>::default();
        state.set_fetch(answers.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        tokio::spawn(server::serve(listener, state.clone(), stop.clone()));
        let client = Client::builder().no_proxy().build().unwrap();
        let office = Office { world, state, answers, key, address, client, stop };
        office.admit(Kind::SendGrid, Locks { keys: vec![office.public_key()], ..Locks::default() });
        office
    }

    /// What proves SendGrid's events.
    pub fn public_key(&self) -> String {
        STANDARD.encode(self.key.public_key().as_ref())
    }

    /// A form is sent to one of our pages.
    pub async fn form(&self, path: &str, fields: &[(&str, &str)]) -> StatusCode {
        self.client.post(format!("{}{path}", self.address)).form(fields).send().await.unwrap().status()
    }

    /// From now on the provider's webhooks are these.
    pub fn admit(&self, kind: Kind, locks: Locks) {
        let doors = BTreeMap::from([(PROVIDER.to_string(), Door { kind, locks })]);
        self.state.set_hooks(Hooks { public_url: "https://go.shop.example".into(), doors });
    }

    /// Events as SendGrid sends them, signed; gives the status.
    pub async fn tell(&self, events: &Value) -> StatusCode {
        let body = events.to_string();
        let timestamp = self.world.clock.now().timestamp().to_string();
        let signature = self.key.sign(&SystemRandom::new(), format!("{timestamp}{body}").as_bytes()).unwrap();
        let headers =
            [("x-twilio-email-event-webhook-timestamp", timestamp), ("x-twilio-email-event-webhook-signature", STANDARD.encode(signature))];
        self.post("", &headers, body).await.0
    }

    /// A request as it is; gives status and answer.
    pub async fn post(&self, secret: &str, headers: &[(&str, String)], body: String) -> (StatusCode, String) {
        let mut request = self.client.post(format!("{}/hooks/{PROVIDER}{secret}", self.address)).body(body);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let response = request.send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    pub async fn ask(&self, method: reqwest::Method, path: &str) -> StatusCode {
        self.client.request(method, format!("{}{path}", self.address)).send().await.unwrap().status()
    }

    /// The engine lives until this instant, and reads what has come.
    pub async fn run_until(&self, end: &str) {
        let engine = self.world.engine().await.hearing(feedback(&self.world));
        engine.run_through(end.parse::<Time>().unwrap()).await.unwrap();
        engine.end().await.unwrap();
    }

    /// What we gave the provider to hand back with the message to this address.
    pub fn reference(&self, to: &str) -> String {
        use posthaste::providers::Body;
        let letters = self.world.outbox.letters.lock().unwrap();
        let is_to = |body: &Body| match body {
            Body::Email { to: address, .. } | Body::Sms { to: address, .. } | Body::Webhook { to: address, .. } => address == to,
        };
        let outgoing = letters.iter().find(|outgoing| is_to(&outgoing.body)).unwrap_or_else(|| panic!("nothing went to {to}"));
        format!("{}-{}", outgoing.message, &outgoing.key[..16])
    }

    /// The Message-ID of the letter to this address.
    pub fn message_id(&self, to: &str) -> String {
        use posthaste::providers::Body;
        let letters = self.world.outbox.letters.lock().unwrap();
        let mime = letters.iter().find_map(|outgoing| match &outgoing.body {
            Body::Email { to: address, mime, .. } if address == to => Some(String::from_utf8_lossy(mime).into_owned()),
            _ => None,
        });
        let mime = mime.unwrap_or_else(|| panic!("no letter went to {to}"));
        let (_, rest) = mime.split_once("Message-ID: <").unwrap();
        rest.split_once('>').unwrap().0.to_string()
    }

    /// The numbers of one row.
    pub async fn number(&self, sql: &'static str) -> i64 {
        self.world.number(sql).await
    }
}

pub fn feedback(world: &World) -> Feedback {
    Feedback::new(world.store.clone(), Keys::new(PEPPER), References::new(PEPPER), Tokens::new(SIGNING).unwrap())
}

/// A world in which a letter has gone to each of these.
pub async fn sent(database: &Database, people: &[&str]) -> Office {
    let mut world = World::new(database);
    world.campaign("sale", super::intake::SALE);
    for email in people {
        world.person(email).await;
    }
    world.apply().await;
    let office = Office::open(world).await;
    office.run_until("2027-03-01T10:01:00Z").await;
    office
}
