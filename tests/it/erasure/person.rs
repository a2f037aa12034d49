//! A person like no other, in a shop that writes to her in every way.

use super::scan::Needles;
use crate::databases::Database;
use crate::webhooks::office::Office;
use crate::world::{PEPPER, WORKSPACE, World, advertising};
use posthaste::customers::files::EncodingHint;
use posthaste::customers::import::{self, EventOptions, Input, Settings, Summary};
use posthaste::customers::keys::Keys;
use posthaste::providers::{Body, Outcome, Outgoing, Provider, Sending};
use posthaste::store::Store;
use posthaste::types::{Channel, Time};
use std::sync::Arc;

pub const EMAIL: &str = "Zephyrine.Oquendo@quibell-post.example";
pub const PHONE: &str = "+380671230987";
pub const EXTERNAL_ID: &str = "CRM-ZQ-77031";
pub const PEOPLE: &str = "external_id,email,phone,first_name,last_name,native_name,town,consent.offers,consent_proof\n\
    CRM-ZQ-77031,Zephyrine.Oquendo@quibell-post.example,0671230987,Zephyrine,Oquendo-Quibell,Зефірина,Vrbovsko,email sms,signed as Oquendo-Quibell\n\
    CRM-BO-1,bo@neighbour.example,0671111111,Bo,Plain,Бо,Lviv,email sms,signed as Bo\n";

pub fn needles() -> Needles {
    Needles::of(&[
        "Zephyrine",
        "Oquendo",
        "Quibell",
        "Зефірина",
        "quibell-post.example",
        "671230987",
        EXTERNAL_ID,
        "Vrbovsko",
        "periwinkle teapot",
    ])
}

pub fn keys() -> Keys {
    Keys::new(PEPPER)
}

/// Takes one letter to her, puts off another and refuses the third, and always says to whom.
pub struct Talkative {
    channel: Channel,
    world: Arc<crate::world::Outbox>,
}

impl Provider for Talkative {
    fn name(&self) -> &str {
        crate::webhooks::office::PROVIDER
    }
    fn channel(&self) -> Channel {
        self.channel
    }
    fn width(&self) -> usize {
        1
    }
    fn send<'a>(&'a self, outgoing: &'a Outgoing) -> Sending<'a> {
        Box::pin(async move {
            let (Body::Email { to, .. } | Body::Sms { to, .. } | Body::Webhook { to, .. }) = &outgoing.body;
            if !to.starts_with("Zephyrine") {
                self.world.letters.lock().unwrap().push(outgoing.clone());
                return Outcome::Accepted { id: Some(format!("id-{}", outgoing.message)), reply: "250 ok".into() };
            }
            let Body::Email { mime, .. } = &outgoing.body else { unreachable!("her number begins otherwise") };
            let mime = String::from_utf8_lossy(mime);
            if mime.contains("Subject: Again") {
                return Outcome::Later { after: None, throttled: false, reply: format!("451 4.7.1 <{to}>: come back later, Zephyrine") };
            }
            if mime.contains("Subject: At last") {
                let class = posthaste::types::Failure::Rejected;
                return Outcome::Refused { class, suppress: false, reply: format!("554 5.6.0 <{to}>: not for Oquendo") };
            }
            self.world.letters.lock().unwrap().push(outgoing.clone());
            Outcome::Accepted { id: Some(format!("id-{}", outgoing.message)), reply: format!("250 2.1.5 <{to}> ok") }
        })
    }
}

pub const COUPONS: &str = "coupons:\n  gift: { pattern: \"BD-######\", valid: 14 days }";

/// The shop with her and a neighbour in it; campaigns of all kinds are applied. Give the numbers of the two.
pub async fn shop(database: &Database) -> (World, i64, i64) {
    let mut world = World::new(database);
    let letters = Arc::new(Talkative { channel: Channel::Email, world: world.outbox.clone() });
    let texts = Arc::new(Talkative { channel: Channel::Sms, world: world.outbox.clone() });
    world.others = vec![letters, texts];
    world.only_others = true;
    let declared = WORKSPACE.replace("arm: text }", "arm: text, native_name: text, town: text }");
    world.files.insert("posthaste.yaml", format!("{declared}{COUPONS}\n"));
    world.files.insert(
        "templates/gift.hbs",
        "<p>Dear {{first_name}} {{last_name}} ({{native_name}}) of {{town}}, {{coupon.code}} <a href=\"https://shop.example/of/{{url_encode town}}\">see</a> \
         <a href=\"{{view_url}}\">view</a></p><p><a href=\"{{unsubscribe_url}}\">unsubscribe</a> {{identity.postal_address}}</p>",
    );
    let audience = "audience: { segment: everyone, holdout: 0% }\n";
    for (key, schedule, message) in [
        ("gift", "{ at: 2027-03-01 10:00 }", "{ template: gift, subject: \"For {{first_name}}\", coupon: gift }"),
        ("second", "{ at: 2027-03-01 11:00 }", "{ template: gift, subject: \"Again, {{first_name}}\", coupon: gift, expires: 30 days }"),
        ("third", "{ at: 2027-03-01 12:00 }", "{ template: gift, subject: \"At last, {{last_name}}\", coupon: gift }"),
        ("text", "{ at: 2027-03-01 13:00 }", "{ channel: sms, text: \"Hello {{native_name}}\" }"),
        // Planned 26 hours ahead.
        ("local", "{ at: 2027-03-02 13:00, zone: recipient }", "{ channel: sms, text: \"Good day {{first_name}}\" }"),
        ("later", "{ at: 2027-03-08 10:00 }", "{ template: hello, subject: \"Hello\" }"),
    ] {
        world.campaign(key, &format!("{}{audience}schedule: {schedule}\nmessage: {message}\n", advertising!()));
    }
    let summary = import_people(&world.store, world.clock.now(), PEOPLE).await;
    assert_eq!((summary.new, summary.rejected), (2, 0), "{summary:?}");
    world.apply().await;
    (world, 1, 2)
}

pub fn settings(now: Time) -> Settings {
    Settings { country: Some("UA".into()), ..Settings::plain(keys(), now) }
}

pub fn input(text: &str) -> Input {
    Input::Bytes(Box::new(std::io::Cursor::new(text.to_string())), EncodingHint::default())
}

pub async fn import_people(store: &Store, now: Time, text: &str) -> Summary {
    import::customers(store, &settings(now), input(text), &mut |_| {}).await.unwrap()
}

pub async fn import_events(office: &Office, text: &str) -> Summary {
    let (store, now) = (&office.world.store, office.world.clock.now());
    let measures = store.measures(chrono_tz::UTC, "EUR").await.unwrap();
    import::events(store, &settings(now), &EventOptions::default(), &measures, input(text), &mut |_| {}).await.unwrap()
}
