//! A small world for stories: people in a line, files, a clock that is set, an engine turned until idle, and an outbox to look at.
//!
//! The provider obeys the address: `busy…` is told to come later twice, `refuse…` does not exist, `blocked…` is refused for our reputation,
//! `lost…` gets no answer, everyone else's mail is taken.

use crate::databases::Database;
use posthaste::campaigns;
use posthaste::clock::Clock;
use posthaste::customers::email::site;
use posthaste::customers::keys::Keys;
use posthaste::diagnostics::Files;
use posthaste::dispatch::{Identity, Lanes, Outlets};
use posthaste::engine::{Engine, Parts, Roles, applying};
use posthaste::providers::{Body, Outcome, Outgoing, Provider, Sending};
use posthaste::store::Store;
use posthaste::store::ledger::Funnel;
use posthaste::tracking::Tokens;
use posthaste::types::{Channel, ConsentState, Failure, SuppressionReason, Time};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio_util::sync::CancellationToken;

/// The keys of an advertising campaign that no story is about, and after them the lines that it is about.
macro_rules! advertising {
    ($($line:literal),* $(,)?) => {
        concat!(
            "\ncategory: retail\ntask: grow\nclass: advertising\ntopic: offers\ngoal: { event: purchase, within: 7 days }\n",
            $($line),*
        )
    };
}
pub(crate) use advertising;

pub const SIGNING: &str = "one:0123456789abcdef0123456789abcdef";
pub const PEPPER: &str = "a pepper for tests";

/// What the world's provider took, in the order of the hand-overs.
#[derive(Default)]
pub struct Outbox {
    pub letters: Mutex<Vec<Outgoing>>,
    tries: Mutex<BTreeMap<String, u32>>,
    /// Until this instant of the clock every try is answered so, and kept in `in_vain`.
    pub outage: Mutex<Option<(Clock, Time, Outcome)>>,
    pub in_vain: Mutex<Vec<String>>,
}

/// A provider that obeys the address.
pub struct Obedient {
    pub channel: Channel,
    pub outbox: Arc<Outbox>,
}

impl Provider for Obedient {
    fn name(&self) -> &str {
        "obedient"
    }
    fn channel(&self) -> Channel {
        self.channel
    }
    fn width(&self) -> usize {
        4
    }
    fn send<'a>(&'a self, outgoing: &'a Outgoing) -> Sending<'a> {
        Box::pin(async move {
            let (Body::Email { to, .. } | Body::Sms { to, .. } | Body::Webhook { to, .. }) = &outgoing.body;
            if let Some((clock, until, outcome)) = &*self.outbox.outage.lock().unwrap()
                && clock.now() < *until
            {
                self.outbox.in_vain.lock().unwrap().push(to.clone());
                return outcome.clone();
            }
            let tries = {
                let mut tries = self.outbox.tries.lock().unwrap();
                let count = tries.entry(to.clone()).or_default();
                *count += 1;
                *count
            };
            let reply = |text: &str| text.to_string();
            if to.starts_with("busy") && tries <= 2 {
                return Outcome::Later { after: None, throttled: false, reply: reply("451 4.3.0 come back later") };
            }
            if to.starts_with("refuse") {
                return Outcome::Refused { class: Failure::InvalidAddress, suppress: true, reply: reply("550 5.1.1 no such user") };
            }
            if to.starts_with("blocked") {
                return Outcome::Refused { class: Failure::Blocked, suppress: false, reply: reply("554 5.7.1 your IP is listed") };
            }
            if to.starts_with("broken") {
                return Outcome::Broken { reply: reply("535 5.7.8 bad password") };
            }
            self.outbox.letters.lock().unwrap().push(outgoing.clone());
            if to.starts_with("lost") && tries == 1 {
                return Outcome::Unknown { reply: reply("the connection was lost after the final dot") };
            }
            Outcome::Accepted { id: Some(format!("id-{to}")), reply: reply("250 2.0.0 ok") }
        })
    }
}

/// Files, people, a clock and an outbox on one database.
pub struct World {
    pub store: Store,
    pub clock: Clock,
    pub files: Files,
    pub outbox: Arc<Outbox>,
    pub arms: BTreeMap<String, BTreeMap<String, String>>,
    /// Providers beside the one that obeys the address.
    pub others: Vec<Arc<dyn Provider>>,
    /// And instead of it.
    pub only_others: bool,
    people: i64,
}

impl World {
    /// An empty world at 2027-03-01 09:00 UTC, with a workspace of a topic, an identity and a provider for each channel.
    pub fn new(database: &Database) -> World {
        // What the engine logs belongs to the output of a test that fails.
        let _ = tracing_subscriber::fmt().with_env_filter("posthaste=error").with_test_writer().try_init();
        let mut files = Files::default();
        files.insert("posthaste.yaml", WORKSPACE);
        files.insert("templates/hello.hbs", "<p>Hello {{default first_name 'friend'}}, <a href=\"https://shop.example/sale\">see</a></p><p><a href=\"{{unsubscribe_url}}\">unsubscribe</a> {{identity.postal_address}}</p>");
        files.insert("templates/needy.hbs", "<p>{{loyalty.tier}} {{unsubscribe_url}} {{identity.postal_address}}</p>");
        World {
            store: database.store.clone(),
            clock: Clock::standing_at("2027-03-01T09:00:00Z".parse().unwrap()),
            files,
            outbox: Arc::default(),
            arms: BTreeMap::new(),
            others: Vec::new(),
            only_others: false,
            people: 0,
        }
    }

    /// Adds a campaign's file; `rest` is what differs.
    pub fn campaign(&mut self, key: &str, rest: &str) {
        self.files.insert(format!("campaigns/{key}.yaml"), format!("campaign: {key}\ntitle: \"A story\"\nowner: ada@example.org\n{rest}"));
    }

    /// Adds to posthaste.yaml; what was added before is replaced.
    pub fn policy(&mut self, more: &str) {
        self.files.insert("posthaste.yaml", format!("{WORKSPACE}{more}\n"));
    }

    pub async fn live_in(&self, id: i64, zone: &str) {
        posthaste::on_writer!(&self.store, pool => { sqlx::query("UPDATE customers SET zone = $2 WHERE id = $1").bind(id).bind(zone).execute(pool).await.unwrap(); });
    }

    pub async fn live_in_country(&self, id: i64, country: &str) {
        posthaste::on_writer!(&self.store, pool => { sqlx::query("UPDATE customers SET country = $2 WHERE id = $1").bind(id).bind(country).execute(pool).await.unwrap(); });
    }

    /// So many customers with an email address, who agreed to offers and live in these zones by turns.
    pub async fn crowd(&mut self, count: i64, zones: &[&str]) {
        let numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)";
        let zones: Vec<String> =
            zones.iter().enumerate().map(|(turn, zone)| format!("WHEN i % {} = {turn} THEN '{zone}'", zones.len())).collect();
        let zone = format!("CASE {} END", zones.join(" "));
        let key = self.store.pick("CAST(printf('%016d', i) AS BLOB)", "convert_to(lpad(i::text, 16, '0'), 'UTF8')");
        let none = self.store.pick("'{}'", "'{}'::jsonb");
        let statements = [
            format!(
                "{numbers} INSERT INTO customers (id, external_id, draw_key, first_name, zone, attributes, created_at, updated_at)
                     SELECT i, 'c' || i, 'c' || i, 'Ada', {zone}, {none}, 0, 0 FROM n"
            ),
            format!(
                "{numbers} INSERT INTO addresses (customer_id, channel, address, key, site) SELECT i, 1, 'p' || i || '@example.org', {key}, 'example.org' FROM n"
            ),
            format!("{numbers} INSERT INTO consent_state (customer_id, topic, channel, state, at) SELECT i, 'offers', 1, 1, 1 FROM n"),
        ];
        for sql in statements {
            posthaste::on_writer!(&self.store, pool => { sqlx::query(sqlx::AssertSqlSafe(sql)).bind(count).execute(pool).await.unwrap(); });
        }
        self.people += count;
    }

    /// Applies all files.
    pub async fn apply(&self) {
        let (definitions, problems) = campaigns::read(&self.files);
        let definitions = definitions.unwrap_or_else(|| panic!("{}", problems.render(&self.files, false, 140)));
        self.store.apply(&applying(self.files.clone(), definitions, "dirty".into(), "ada".into(), self.clock.now())).await.unwrap();
    }

    /// A customer with this email (none when empty) who agreed to offers on both channels.
    pub async fn person(&mut self, email: &str) -> i64 {
        let id = self.stranger(email).await;
        for channel in [Channel::Email, Channel::Sms] {
            self.consent(id, channel, ConsentState::Granted).await;
        }
        id
    }

    /// A customer who agreed to nothing.
    pub async fn stranger(&mut self, email: &str) -> i64 {
        self.people += 1;
        let id = self.people;
        let name = email.split('@').next().unwrap().to_string();
        let json = self.store.pick("$4", "$4::jsonb");
        let sql = format!(
            "INSERT INTO customers (id, external_id, draw_key, first_name, attributes, created_at, updated_at) VALUES ($1, $2, $2, $3, {json}, 0, 0)"
        );
        let external = format!("c{id}");
        let attributes = if name.contains("gold") { r#"{"loyalty":{"tier":"gold"}}"# } else { "{}" };
        posthaste::on_writer!(&self.store, pool => { sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).bind(&external).bind(&name).bind(attributes).execute(pool).await.unwrap(); });
        if !email.is_empty() {
            self.address(id, Channel::Email, email).await;
        }
        id
    }

    pub async fn address(&self, id: i64, channel: Channel, address: &str) {
        let key = Keys::new(PEPPER).address(channel, address).to_vec();
        let site = address.rsplit_once('@').map_or("", |(_, domain)| site(domain)).to_string();
        let sql = "INSERT INTO addresses (customer_id, channel, address, key, site) VALUES ($1, $2, $3, $4, $5)";
        posthaste::on_writer!(&self.store, pool => { sqlx::query(sql).bind(id).bind(channel.code()).bind(address).bind(key).bind(site).execute(pool).await.unwrap(); });
    }

    pub async fn consent(&self, id: i64, channel: Channel, state: ConsentState) {
        let sql = "INSERT INTO consent_state (customer_id, topic, channel, state, at) VALUES ($1, 'offers', $2, $3, 1)
                   ON CONFLICT (customer_id, topic, channel) DO UPDATE SET state = excluded.state, at = consent_state.at + 1";
        posthaste::on_writer!(&self.store, pool => { sqlx::query(sql).bind(id).bind(channel.code()).bind(state.code()).execute(pool).await.unwrap(); });
    }

    pub async fn suppress(&self, channel: Channel, address: &str) {
        let key = Keys::new(PEPPER).address(channel, address).to_vec();
        let sql = "INSERT INTO suppressions (key, channel, reason, since) VALUES ($1, $2, $3, 0)";
        posthaste::on_writer!(&self.store, pool => { sqlx::query(sql).bind(key).bind(channel.code()).bind(SuppressionReason::Manual.code()).execute(pool).await.unwrap(); });
    }

    /// One number from one statement.
    pub async fn number(&self, sql: &'static str) -> i64 {
        posthaste::on_pool!(&self.store, pool => sqlx::query_as::<_, (i64,)>(sql).fetch_one(pool).await.unwrap().0)
    }

    pub async fn execute(&self, sql: &'static str) {
        posthaste::on_writer!(&self.store, pool => { sqlx::query(sql).execute(pool).await.unwrap(); });
    }

    pub async fn engine(&self) -> Engine {
        let (outbox, others, only_others) = (self.outbox.clone(), self.others.clone(), self.only_others);
        let open = move |_: &campaigns::Workspace| {
            let obedient = |channel| Arc::new(Obedient { channel, outbox: outbox.clone() }) as Arc<dyn Provider>;
            let lanes = Lanes::of(match only_others {
                true => others.clone(),
                false => [obedient(Channel::Email), obedient(Channel::Sms)].into_iter().chain(others.clone()).collect(),
            });
            let composer = Identity::new(Tokens::new(SIGNING).unwrap(), PEPPER, BTreeMap::new());
            Outlets { composer: Arc::new(composer), lanes: Arc::new(lanes) }
        };
        let parts = Parts {
            store: self.store.clone(),
            clock: self.clock.clone(),
            open: Arc::new(open),
            arms: self.arms.clone(),
            roles: Roles::ALL,
            stop: CancellationToken::new(),
        };
        Engine::start(parts).await.unwrap()
    }

    /// A whole engine's life until this instant.
    pub async fn run_until(&self, end: &str) {
        let engine = self.engine().await;
        engine.run_through(end.parse::<Time>().unwrap()).await.unwrap();
        engine.end().await.unwrap();
    }

    /// To whom something was handed over, sorted.
    pub fn outbox(&self) -> Vec<String> {
        let to = |outgoing: &Outgoing| match &outgoing.body {
            Body::Email { to, .. } | Body::Sms { to, .. } | Body::Webhook { to, .. } => to.clone(),
        };
        let mut all: Vec<String> = self.outbox.letters.lock().unwrap().iter().map(to).collect();
        all.sort();
        all
    }

    /// Short messages that were handed over.
    pub fn texts(&self) -> Vec<String> {
        let text = |outgoing: &Outgoing| match &outgoing.body {
            Body::Sms { text, .. } => Some(text.clone()),
            Body::Email { .. } | Body::Webhook { .. } => None,
        };
        self.outbox.letters.lock().unwrap().iter().filter_map(text).collect()
    }

    /// The funnel, after checking that the ledger holds together.
    pub async fn funnel(&self, campaign: &str) -> Funnel {
        assert_eq!(self.store.ledger_faults().await.unwrap(), Vec::<String>::new());
        self.store.funnel(campaign, None).await.unwrap()
    }

    /// `word: count` of everything that is not nought.
    pub async fn sums(&self, campaign: &str) -> String {
        let funnel = self.funnel(campaign).await;
        let mut words: Vec<String> = vec![format!("selected {}", funnel.selected())];
        words.extend(funnel.refused.iter().map(|(word, count)| format!("{word} {count}")));
        words.extend(funnel.messages.iter().map(|(state, count)| format!("{state} {count}")));
        words.join(", ")
    }
}

pub const WORKSPACE: &str = r#"
workspace: story
public_url: https://go.shop.example
zone: UTC
languages: [ en ]
currency: EUR
topics:
  offers: { title: "Offers", channels: [ email, sms ], from: news }
categories: [ retail ]
events: { purchase: { amount: money } }
attributes: { loyalty: { tier: text }, arm: text }
identities:
  news: { postal_address: "1 Garden Street", email: { name: "The Shop", address: news@mail.shop.example }, sms: { sender: SHOP } }
providers:
  relay: { channel: email, kind: catcher }
  texts: { channel: sms, kind: catcher }
"#;
