//! Erased in the middle of a hand-over: what is at the socket is finished, nothing else leaves, and no answer brings anything of the person back.

use super::person::{EMAIL, import_people, keys, needles};
use crate::databases::databases;
use crate::world::{World, advertising};
use posthaste::engine::erasing::erase;
use posthaste::providers::{Body, Outcome, Outgoing, Provider, Sending};
use posthaste::types::{Channel, Time};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Holds every message until it is let go, and puts it off then, saying whose it was; or takes it.
struct Gate {
    begun: AtomicU32,
    open: Semaphore,
    takes: bool,
}

impl Provider for Gate {
    fn name(&self) -> &str {
        "gate"
    }
    fn channel(&self) -> Channel {
        Channel::Email
    }
    fn width(&self) -> usize {
        1
    }
    fn send<'a>(&'a self, outgoing: &'a Outgoing) -> Sending<'a> {
        Box::pin(async move {
            let (Body::Email { to, .. } | Body::Sms { to, .. } | Body::Webhook { to, .. }) = &outgoing.body;
            self.begun.fetch_add(1, Ordering::SeqCst);
            self.open.acquire().await.unwrap().forget();
            match self.takes {
                true => Outcome::Accepted { id: Some("id-1".into()), reply: format!("250 <{to}>") },
                false => Outcome::Later { after: None, throttled: false, reply: format!("451 <{to}> later, Zephyrine") },
            }
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_at_the_socket_is_finished_and_nothing_else_leaves() {
    for (database, takes) in databases().await.into_iter().zip([false, false]).chain(databases().await.into_iter().zip([true, true])) {
        let mut world = World::new(&database);
        let gate = Arc::new(Gate { begun: AtomicU32::new(0), open: Semaphore::new(0), takes });
        world.others = vec![gate.clone()];
        world.only_others = true;
        for key in ["one", "two", "three"] {
            let rest = "audience: { segment: everyone, holdout: 0% }\nschedule: { at: 2027-03-01 10:00 }\nmessage: { template: hello, subject: \"Hello {{first_name}}\", expires: 30 days }\n";
            world.campaign(key, &format!("{}{rest}", advertising!()));
        }
        let people =
            format!("external_id,email,first_name,last_name,consent.offers\nCRM-ZQ-77031,{EMAIL},Zephyrine,Oquendo-Quibell,email\n");
        import_people(&world.store, world.clock.now(), &people).await;
        world.apply().await;
        let engine = world.engine().await;
        let running = tokio::spawn(async move {
            engine.run_through("2027-03-05T00:00:00Z".parse::<Time>().unwrap()).await.unwrap();
            engine.end().await.unwrap();
        });
        while gate.begun.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Others are composed, and wait for the place at the socket.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let customer = world.store.customer(1).await.unwrap().unwrap();
        let folder = tempfile::tempdir().unwrap();
        erase(&world.store, &keys(), &folder.path().join("erased"), &customer, "tester", world.clock.now()).await.unwrap();
        // As many as a provider may have marked and unanswered; the rest is refused at once.
        let marked = world.number("SELECT COUNT(*) FROM messages WHERE state = 2").await;
        assert!((1..=2).contains(&marked), "{}: {marked}", database.name);
        assert_eq!(world.number("SELECT COUNT(*) FROM messages WHERE state = 0 AND reason = 16").await, 3 - marked, "{}", database.name);
        gate.open.add_permits(100);
        tokio::time::timeout(Duration::from_secs(60), running).await.unwrap().unwrap();
        assert_eq!(i64::from(gate.begun.load(Ordering::SeqCst)), marked, "{}: only what was at the socket", database.name);
        let (refused, accepted) = if takes { (3 - marked, marked) } else { (3, 0) };
        assert_eq!(world.number("SELECT COUNT(*) FROM messages WHERE state = 0 AND reason = 16").await, refused, "{}", database.name);
        assert_eq!(world.number("SELECT COUNT(*) FROM messages WHERE state = 7").await, accepted, "{}", database.name);
        for key in ["one", "two", "three"] {
            assert_eq!(world.funnel(key).await.selected(), 1, "{}", database.name);
        }
        assert_eq!(world.number("SELECT COUNT(*) FROM blocks").await, 0, "{}: no block is left behind", database.name);
        assert_eq!(needles().found_in_tables(&world.store).await, BTreeSet::new(), "{}", database.name);
    }
}
