//! What sample people do with a letter or a text message: some open it, click, buy, unsubscribe or complain; some have a scanner that
//! touches every link; most do nothing. Held-out people buy a little less than those who got something.
//!
//! Pure: the same message always meets the same reaction, drawn by a keyed hash of the person. `demo` carries the actions out over
//! HTTP, as browsers and mail programs would.

use crate::types::Time;
use aws_lc_rs::digest;
use chrono::TimeDelta;

/// Something a person, or a machine in front of them, does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Fetches the open pixel.
    Open { url: String, agent: &'static str },
    /// Follows a link.
    Click { url: String, agent: &'static str },
    /// Presses the mail program's own unsubscribe button (RFC 8058).
    Unsubscribe { url: String },
    /// Buys something in the shop.
    Buy { address: String, minor: i64 },
    /// Looks around in the shop without buying.
    Visit { address: String },
    /// Marks the letter as spam.
    Complain { address: String },
}

/// An action and when it happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    pub at: Time,
    pub action: Action,
}

/// A message as the catcher got it.
pub struct Received<'a> {
    pub address: &'a str,
    /// HTML of a letter, text of an SMS.
    pub content: &'a str,
    /// The one-click address of the List-Unsubscribe header.
    pub one_click: Option<&'a str>,
    pub at: Time,
    /// Advertising makes people buy; a notice makes them visit.
    pub sells: bool,
}

const PHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148";
const DESKTOP: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0.0.0 Safari/537.36";
const GMAIL: &str = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)";
const PREFETCH: &str = "Mozilla/5.0";
const SCANNER: &str = "python-requests/2.32";

/// Everything that follows from one message; `tracker` is the address under which tracked links begin.
pub fn reaction(message: &Received<'_>, tracker: &str) -> Vec<Planned> {
    let draw = |what: &str| permille(message.address, what);
    let later = |what: &str, minutes: i64| message.at + TimeDelta::seconds(40 + i64::from(draw(what)) * minutes * 60 / 1000);
    let pixel = addresses(message.content, &format!("{tracker}/o/")).into_iter().next();
    let links = addresses(message.content, &format!("{tracker}/c/"));
    let mut actions = Vec::new();
    // One company in twenty has a gateway that follows every link at once.
    if draw("scanner") < 40 {
        for (index, url) in links.iter().enumerate() {
            let at = message.at + TimeDelta::milliseconds(900 + 150 * index as i64);
            actions.push(Planned { at, action: Action::Click { url: url.clone(), agent: SCANNER } });
        }
    }
    if let Some(url) = &pixel
        && draw("prefetch") < 120
    {
        actions.push(Planned { at: later("prefetched", 90), action: Action::Open { url: url.clone(), agent: PREFETCH } });
    }
    let opens = draw("open") < 430 || pixel.is_none();
    // Most within hours, a tail over three days.
    let opened_at = later("opened", if draw("late") < 750 { 5 * 60 } else { 3 * 24 * 60 });
    if opens && let Some(url) = pixel {
        let agent = [GMAIL, PHONE, DESKTOP][draw("agent") as usize % 3];
        actions.push(Planned { at: opened_at, action: Action::Open { url, agent } });
    }
    let clicks = opens && !links.is_empty() && draw("click") < 280;
    let clicked_at = opened_at + TimeDelta::seconds(20 + i64::from(draw("reading") / 5));
    if clicks {
        let url = links[draw("which") as usize % links.len()].clone();
        let agent = if draw("agent") % 3 == 1 { PHONE } else { DESKTOP };
        actions.push(Planned { at: clicked_at, action: Action::Click { url, agent } });
        actions.push(Planned { at: clicked_at + TimeDelta::minutes(1), action: Action::Visit { address: message.address.to_string() } });
    }
    if message.sells && draw("buy") < if clicks { 600 } else { 60 } {
        let minor = 18_000 + i64::from(draw("spend")) * 260;
        let at = clicked_at + TimeDelta::minutes(15 + i64::from(draw("hesitates")) * 3);
        actions.push(Planned { at, action: Action::Buy { address: message.address.to_string(), minor } });
    }
    if opens
        && draw("unsubscribe") < 12
        && let Some(url) = message.one_click
    {
        actions.push(Planned { at: opened_at + TimeDelta::minutes(1), action: Action::Unsubscribe { url: url.to_string() } });
    }
    if draw("complain") < 2 && message.one_click.is_some() {
        actions.push(Planned { at: opened_at + TimeDelta::minutes(2), action: Action::Complain { address: message.address.to_string() } });
    }
    actions
}

/// What someone who was held out does by themselves in the week: mostly nothing, sometimes they buy.
pub fn unprompted(address: &str, from: Time) -> Option<Planned> {
    (permille(address, "buys anyway") < 40).then(|| Planned {
        at: from + TimeDelta::minutes(30 + i64::from(permille(address, "when")) * 8),
        action: Action::Buy { address: address.to_string(), minor: 18_000 + i64::from(permille(address, "spend")) * 260 },
    })
}

/// Addresses that begin with `start`, in their order, each once.
fn addresses(content: &str, start: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for part in content.split(start).skip(1) {
        let length = part.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.~%?=&;+/".contains(c))).unwrap_or(part.len());
        let address = format!("{start}{}", &part[..length]).replace("&amp;", "&");
        if !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

/// 0–999, always the same for the same person and question.
fn permille(person: &str, what: &str) -> u32 {
    let hash = digest::digest(&digest::SHA256, format!("sample crowd\0{person}\0{what}").as_bytes());
    hash.as_ref().iter().take(4).fold(0u32, |number, byte| number << 8 | u32::from(*byte)) % 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_thousand_people_some_open_fewer_click_and_very_few_leave() {
        let at = "2027-03-01T08:00:00Z".parse().unwrap();
        let content = r#"<a href="https://t.example/c/k.aa.bb?x=1&amp;y=2">a</a><a href="https://t.example/c/k.cc.dd">b</a><img src="https://t.example/o/k.ee.ff">"#;
        let mut counts = std::collections::BTreeMap::new();
        for person in 0..1000 {
            let address = format!("p{person}@mail.example");
            let message = Received { address: &address, content, one_click: Some("https://t.example/u/x"), at, sells: true };
            for planned in reaction(&message, "https://t.example") {
                assert!(planned.at > at);
                let kind = match planned.action {
                    Action::Open { .. } => "open",
                    Action::Click { .. } => "click",
                    Action::Unsubscribe { .. } => "unsubscribe",
                    Action::Buy { .. } => "buy",
                    Action::Visit { .. } => "visit",
                    Action::Complain { .. } => "complain",
                };
                *counts.entry(kind).or_insert(0) += 1;
            }
        }
        assert!((350..700).contains(&counts["open"]), "{counts:?}");
        assert!(counts["click"] < counts["open"] && counts["buy"] < counts["click"], "{counts:?}");
        assert!((1..30).contains(&counts["unsubscribe"]), "{counts:?}");
        assert_eq!(addresses(content, "https://t.example/c/")[0], "https://t.example/c/k.aa.bb?x=1&y=2");
    }
}
