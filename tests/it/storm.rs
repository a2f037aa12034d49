//! A storm of scanners: every link of every message is fetched three times by GET and by HEAD. All redirects are served, and nobody has clicked, left or agreed.
//!
//! With ten thousand messages: `POSTHASTE_STORM=10000 cargo test --test it storm`.

use crate::respond::{measures, tallies};
use crate::serve::worlds_of;
use futures_util::{StreamExt as _, stream};
use posthaste::store::tallies::Metric;
use posthaste::tracking::Kind;
use reqwest::{Method, StatusCode};
use std::time::Instant;

/// Scanners that say what they are, that say nothing, and that look like a person's browser.
const AGENTS: [&str; 4] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.5 Mobile/15E148 Safari/604.1",
    "Barracuda Sentinel (EE)",
    "",
];

/// Orders in which a message's links are fetched.
const ORDERS: [[(bool, u32); 6]; 3] = [
    // HEAD, then GET, link by link.
    [(true, 1), (false, 1), (true, 2), (false, 2), (true, 3), (false, 3)],
    // All by HEAD, then all by GET.
    [(true, 1), (true, 2), (true, 3), (false, 1), (false, 2), (false, 3)],
    // GET first.
    [(false, 3), (true, 3), (false, 1), (true, 1), (false, 2), (true, 2)],
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_link_is_served_and_nobody_has_clicked_left_or_agreed() {
    let people: i64 = std::env::var("POSTHASTE_STORM").ok().and_then(|count| count.parse().ok()).unwrap_or(300);
    for world in worlds_of(people).await {
        let _ = measures(&world.store).await;
        let begun = Instant::now();
        let fetched = stream::iter(1..=people)
            .map(|message| {
                let world = &world;
                async move {
                    let agent = AGENTS[(message % 4) as usize];
                    let from = format!("198.51.{}.{}", message / 250 % 250, message % 250 + 1);
                    let mut served = 0_u64;
                    for round in 0..3 {
                        for (is_head, link) in ORDERS[((message + round) % 3) as usize] {
                            let method = if is_head { Method::HEAD } else { Method::GET };
                            let status = world.visit(method, &world.link(message, link, false, None), agent, &from).await;
                            assert_eq!(status, StatusCode::FOUND, "{}: message {message}, link {link}", world.name);
                            served += 1;
                        }
                    }
                    for (letter, kind) in [('u', Kind::Unsubscribe), ('p', Kind::Preferences), ('k', Kind::Confirm)] {
                        for method in [Method::GET, Method::HEAD] {
                            let status = world.visit(method, &world.path(letter, kind, message), agent, &from).await;
                            assert!(status.is_success(), "{}: /{letter}/ of message {message}: {status}", world.name);
                        }
                    }
                    served
                }
            })
            .buffer_unordered(64)
            .fold(0, |sum, served| std::future::ready(sum + served))
            .await;
        assert_eq!(fetched, people as u64 * 18);
        let tallies = tallies(&world.store).await;
        let count = |metric: Metric| tallies.iter().filter(|((known, _), _)| *known == metric.code()).map(|(_, count)| *count).sum::<i64>();
        let (all, machine) = (count(Metric::Clicks), count(Metric::ClicksMachine));
        eprintln!("{}: {fetched} fetches of {people} messages' links in {:.1?}, {all} counted", world.name, begun.elapsed());
        assert!(all >= people * 6 && machine == all, "{}: {machine} of {all} clicks are a machine's", world.name);
        for metric in [Metric::ClicksHuman, Metric::ClicksSuspect, Metric::ClicksUnique, Metric::Unsubscribes] {
            assert_eq!(count(metric), 0, "{}: {metric:?}", world.name);
        }
        assert_eq!(world.consents().await, [], "{}", world.name);
    }
}
