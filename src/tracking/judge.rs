//! A person or a machine: the rules of standards.md §2.3–2.4, over all hits of one message, whatever their order.
//!
//! Machines are flagged, never dropped and never challenged. A click scores points; 3 and more is a machine, 1 and 2 a suspect. Not
//! asked, because we do not have it: lists of data-centre and security networks, and a hidden link in the message.

use crate::store::responses::{Accept, Hit, Letter};
use crate::types::{Channel, Response, Verdict};

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;

/// The verdict on each hit, in their order.
pub fn judge(letter: &Letter, hits: &[Hit]) -> Vec<Verdict> {
    let evidence = Evidence::of(letter, hits);
    hits.iter()
        .map(|hit| match hit.response {
            Response::Opened => open(letter, hit),
            _ => match evidence.score(letter, hit) {
                ..1 => Verdict::Human,
                1..3 => Verdict::Suspect,
                3.. => Verdict::Machine,
            },
        })
        .collect()
}

/// What kind of program a user agent names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agent {
    /// A browser or a mail program.
    Person,
    /// Apple's Mail Privacy Protection: fetches every image, read or not.
    Prefetch,
    /// A mailbox's image proxy: fetches when a person opens, some also a little before.
    Proxy,
    /// Google's: fetches when a person opens.
    GoogleProxy,
    /// A crawler, a scanner, a library.
    Robot,
}

/// Words that only robots write, in lower case, besides those who do not name a browser at all.
const ROBOTS: [&str; 40] = [
    "bot",
    "crawl",
    "spider",
    "scan",
    "slurp",
    "headless",
    "phantomjs",
    "fetch",
    "monitor",
    "checker",
    "validator",
    "archiv",
    "preview",
    "feed",
    "www.",
    "http://",
    "https://",
    "@",
    ".com",
    "research",
    "selenium",
    "playwright",
    "puppeteer",
    "google-",
    "lighthouse",
    "pagespeed",
    "pingdom",
    "uptime",
    "nmap",
    "detectify",
    "censys",
    "proxy",
    "agent",
    "auditor",
    "watch",
    "hotjar",
    "favicon",
    "client/",
    "seo",
    "analyz",
];

/// Mail programs that do not write themselves like a browser.
const MAIL_PROGRAMS: [&str; 15] = [
    "outlook",
    "microsoft office/",
    "lotus-notes",
    "the bat!",
    "emclient/",
    "em client/",
    "thunderbird",
    "airmail",
    "apple mail",
    "barca/",
    "mailbar/",
    "monazilla/",
    "spark/",
    "postbox",
    "evolution/",
];

/// What every browser has written since 1998: `Mozilla/…` and the engine's name.
fn is_browser(lower: &str) -> bool {
    (lower.starts_with("mozilla/") && ["gecko", "khtml", "trident", "msie "].iter().any(|engine| lower.contains(engine)))
        || lower.starts_with("opera/")
}

pub fn agent(name: &str) -> Agent {
    let lower = name.trim().to_ascii_lowercase();
    if lower == "mozilla/5.0" {
        return Agent::Prefetch;
    }
    if lower.contains("googleimageproxy") {
        return Agent::GoogleProxy;
    }
    if ["yahoomailproxy", "imageproxy/6.0", "seznamemailproxy", "mail.ukr.net proxy", "fastmailua"].iter().any(|word| lower.contains(word))
    {
        return Agent::Proxy;
    }
    if MAIL_PROGRAMS.iter().any(|name| lower.contains(name)) {
        return Agent::Person;
    }
    // Some browsers write `name@version` in a comment.
    let is_robot = |word: &&str| lower.contains(*word) && !(**word == *"@" && lower.contains("ecosia"));
    if is_browser(&lower) && !ROBOTS.iter().any(is_robot) { Agent::Person } else { Agent::Robot }
}

fn since_accepted(letter: &Letter, hit: &Hit) -> Option<i64> {
    letter.accepted_at.map(|accepted| hit.at - accepted)
}

fn open(letter: &Letter, hit: &Hit) -> Verdict {
    let sooner_than = |seconds: i64| since_accepted(letter, hit).is_some_and(|since| since < seconds * SECOND);
    if hit.visit.head || hit.visit.accept == Accept::Other {
        return Verdict::Machine;
    }
    match agent(&hit.visit.agent) {
        Agent::Prefetch | Agent::Robot => Verdict::Machine,
        Agent::GoogleProxy if sooner_than(10) => Verdict::Machine,
        Agent::Proxy if sooner_than(60) => Verdict::Machine,
        Agent::GoogleProxy | Agent::Proxy => Verdict::Human,
        Agent::Person if hit.visit.crowd || hit.visit.accept == Accept::Absent => Verdict::Suspect,
        Agent::Person => Verdict::Human,
    }
}

/// What the hits of a message say together.
struct Evidence<'a> {
    /// By time.
    clicks: Vec<Hit<'a>>,
    was_opened: bool,
    /// Stretches of time in which links were gone through faster than a person reads.
    storms: Vec<(i64, i64)>,
}

impl<'a> Evidence<'a> {
    fn of(letter: &Letter, hits: &[Hit<'a>]) -> Self {
        let mut clicks: Vec<Hit> = hits.iter().filter(|hit| hit.response == Response::Clicked).copied().collect();
        clicks.sort_by_key(|hit| (hit.at, hit.link));
        let mut storms = Vec::new();
        for (start, first) in clicks.iter().enumerate() {
            let mut links = vec![first.link];
            for hit in clicks[start + 1..].iter().take_while(|hit| hit.at <= first.at + 10 * SECOND) {
                if !links.contains(&hit.link) {
                    links.push(hit.link);
                    let is_fast = links.len() >= 3 && hit.at <= first.at + 3 * SECOND;
                    let is_all = links.len() >= 2 && links.len() >= letter.links;
                    if is_fast || is_all {
                        storms.push((first.at, hit.at));
                    }
                }
            }
        }
        Evidence { clicks, was_opened: hits.iter().any(|hit| hit.response == Response::Opened), storms }
    }

    fn score(&self, letter: &Letter, hit: &Hit) -> i32 {
        let mut score = 0;
        // A HEAD, and what the same program fetched around it.
        let is_same = |other: &&Hit| other.visit.network == hit.visit.network && other.visit.agent == hit.visit.agent;
        if hit.visit.head || self.clicks.iter().filter(is_same).any(|other| other.visit.head && (other.at - hit.at).abs() <= 10 * SECOND) {
            score += 3;
        }
        score += match since_accepted(letter, hit) {
            Some(since) if since < 5 * SECOND => 2,
            Some(since) if since < MINUTE => 1,
            _ => 0,
        };
        if self.storms.iter().any(|(from, until)| (*from..=*until).contains(&hit.at)) {
            score += 3;
        }
        if hit.visit.crowd {
            score += 2;
        }
        if matches!(agent(&hit.visit.agent), Agent::Robot | Agent::Prefetch) {
            score += 2;
        }
        if letter.channel == Channel::Email && !self.was_opened {
            score += 1;
        }
        let is_return = |first: &Hit| first.link == hit.link && hit.at - first.at > 30 * MINUTE && first.visit.agent != hit.visit.agent;
        if self.clicks.iter().any(is_return) {
            score -= 2;
        }
        score
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::responses::Visit;
    use std::collections::BTreeMap;

    const SAFARI: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.5 Mobile/15E148 Safari/604.1";
    const CHROME: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0.0.0 Safari/537.36";
    const GMAIL: &str = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)";

    fn visit(agent: &str) -> Visit {
        Visit { agent: agent.into(), network: "203.0.113.0".into(), accept: Accept::Image, ..Visit::default() }
    }

    /// Hits as (seconds after acceptance, link or 0 for an open, visit), and the verdicts expected; also in the opposite order.
    fn check(links: usize, hits: &[(i64, i32, Visit)], expected: &[Verdict]) {
        let letter = Letter { channel: Channel::Email, accepted_at: Some(1000 * SECOND), links };
        let mut hits: Vec<Hit> = hits
            .iter()
            .map(|(seconds, link, visit)| Hit {
                response: if *link == 0 { Response::Opened } else { Response::Clicked },
                at: (1000 + seconds) * SECOND,
                link: *link,
                visit,
            })
            .collect();
        assert_eq!(judge(&letter, &hits), expected);
        hits.reverse();
        assert_eq!(judge(&letter, &hits), expected.iter().rev().copied().collect::<Vec<_>>(), "the order changes nothing");
    }

    use Verdict::{Human, Machine, Suspect};

    #[test]
    fn opens_are_told_apart_by_who_fetches_the_image_and_when() {
        check(3, &[(7200, 0, visit("Mozilla/5.0"))], &[Machine]);
        check(3, &[(9, 0, visit(GMAIL)), (11, 0, visit(GMAIL))], &[Machine, Human]);
        let yahoo = "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html";
        check(3, &[(59, 0, visit(yahoo)), (61, 0, visit(yahoo))], &[Machine, Human]);
        check(3, &[(0, 0, visit(SAFARI)), (90, 0, visit(CHROME))], &[Human, Human]);
        check(3, &[(90, 0, Visit { head: true, ..visit(CHROME) })], &[Machine]);
        check(3, &[(90, 0, Visit { accept: Accept::Other, ..visit(CHROME) })], &[Machine]);
        check(3, &[(90, 0, Visit { accept: Accept::Absent, ..visit(CHROME) })], &[Suspect]);
        check(3, &[(90, 0, visit("")), (90, 0, visit("curl/8.5.0"))], &[Machine, Machine]);
    }

    #[test]
    fn a_person_who_opens_and_clicks_is_human() {
        check(4, &[(300, 0, visit(GMAIL)), (320, 2, visit(CHROME)), (400, 1, visit(CHROME))], &[Human, Human, Human]);
        check(4, &[(300, 2, visit(CHROME))], &[Suspect]);
    }

    #[test]
    fn scanners_with_an_ordinary_browser_string_are_found_by_their_haste() {
        check(9, &[(30, 1, visit(CHROME)), (31, 2, visit(CHROME)), (32, 3, visit(CHROME))], &[Machine; 3]);
        check(2, &[(3600, 1, visit(CHROME)), (3609, 2, visit(CHROME))], &[Machine; 2]);
        check(2, &[(3600, 0, visit(CHROME)), (3600, 1, visit(CHROME)), (3611, 2, visit(CHROME))], &[Human; 3]);
        check(9, &[(2, 1, visit(CHROME))], &[Machine]);
        check(9, &[(600, 1, Visit { head: true, ..visit(CHROME) }), (601, 1, visit(CHROME))], &[Machine; 2]);
        check(9, &[(600, 1, Visit { crowd: true, ..visit(CHROME) })], &[Machine]);
        check(9, &[(600, 1, visit("python-requests/2.32"))], &[Machine]);
    }

    #[test]
    fn a_click_long_after_the_scanner_s_from_another_browser_is_human() {
        check(9, &[(2, 1, visit(CHROME)), (3600, 1, visit(SAFARI))], &[Machine, Human]);
        check(9, &[(2, 1, visit(CHROME)), (3600, 1, visit(CHROME))], &[Machine, Suspect]);
    }

    /// kind → (taken for persons, taken for others): no browser and no mail program is taken for a machine; robots that write an ordinary
    /// browser's string pass, which is why haste counts more than names.
    #[test]
    fn the_published_user_agents_are_sorted_as_this_table_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/lists/user_agents.csv");
        let Ok(mut reader) = csv::Reader::from_path(path) else {
            eprintln!("the list of user agents is not here: {path}");
            return;
        };
        let mut table: BTreeMap<String, (u32, u32)> = BTreeMap::new();
        for record in reader.records().map(Result::unwrap) {
            let (name, kind) = (&record[0], record[2].to_string());
            let cell = table.entry(kind.clone()).or_default();
            match agent(name) {
                Agent::Person => cell.0 += 1,
                _ => cell.1 += 1,
            }
        }
        let expected = [("bot", (33, 1449)), ("browser", (492, 0)), ("mail_client", (29, 0)), ("proxy", (0, 14)), ("scanner", (1, 40))];
        assert_eq!(table, expected.into_iter().map(|(kind, cell)| (kind.to_string(), cell)).collect());
    }
}
