//! What our public addresses need: the links of a version, and the little that pages say about a message and its reader.

use super::consents::ConsentRow;
use super::responses::digest;
use super::{Doing, Error, Store, micros};
use crate::types::{Channel, ConsentState, MessageId, Time, VersionId};
use std::collections::{BTreeMap, BTreeSet};

/// The tracked links of an applied version. Versions never change, so this may be kept for good.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VersionLinks {
    /// The campaign's key.
    pub campaign: String,
    /// By number, from 1: the target as written, and whether a part of it is filled for each person.
    pub targets: BTreeMap<u32, (String, bool)>,
    /// Hosts that are literal in the targets.
    pub hosts: BTreeSet<String>,
}

impl VersionLinks {
    pub fn of(campaign: String, targets: impl IntoIterator<Item = (u32, String, bool)>) -> Self {
        let mut links = VersionLinks { campaign, ..VersionLinks::default() };
        for (number, target, personal) in targets {
            links.hosts.extend(literal_host(&target));
            links.targets.insert(number, (target, personal));
        }
        links
    }

    /// The target of a literal link.
    pub fn literal(&self, number: u32) -> Option<&str> {
        self.targets.get(&number).filter(|(_, personal)| !personal).map(|(target, _)| target.as_str())
    }

    /// Whether a personal link may lead to this address: http or https, to a host that is literal in the version's targets or one of `more`.
    pub fn allows(&self, target: &str, more: &BTreeSet<String>) -> bool {
        let Ok(url) = url::Url::parse(target) else { return false };
        let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
        matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.password().is_none()
            && (self.hosts.contains(&host) || more.iter().any(|allowed| allowed.eq_ignore_ascii_case(&host)))
    }
}

/// The host of an http(s) address, where no part of it is filled in.
fn literal_host(target: &str) -> Option<String> {
    let lower = target.to_ascii_lowercase();
    let rest = lower.strip_prefix("https://").or_else(|| lower.strip_prefix("http://"))?;
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    if authority.contains(['{', '}', '@', '\\']) {
        return None;
    }
    // As `url` writes it: in ASCII, without the scheme's own port.
    url::Url::parse(&format!("https://{authority}/")).ok()?.host_str().map(str::to_string)
}

/// A message, for the page that its reader opens.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Addressed {
    pub message_id: i64,
    pub run_id: i64,
    pub version_id: i64,
    pub customer_id: i64,
    pub channel: i16,
    pub address: Option<String>,
    pub campaign: String,
    pub topic: Option<String>,
    pub language: Option<String>,
    pub zone: Option<String>,
    pub arm: i16,
    pub due_at: i64,
    pub is_test: i16,
    /// When the message was handed over, else planned.
    pub at: i64,
    pub snapshot: Option<Vec<u8>>,
    pub erased_at: Option<i64>,
}

/// A consent as a page gives or takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    pub topic: String,
    pub channel: Channel,
    pub state: ConsentState,
}

impl Store {
    /// The links of a version; `None` when there is no such version.
    pub async fn version_links(&self, version: VersionId) -> Result<Option<VersionLinks>, Error> {
        let doing = "read the links of a version";
        let campaign = "SELECT key FROM definitions WHERE id = $1";
        let campaign: Option<(String,)> =
            crate::on_pool!(self, pool => sqlx::query_as(campaign).bind(version.0).fetch_optional(pool).await).doing(doing)?;
        let Some((campaign,)) = campaign else { return Ok(None) };
        let links = "SELECT number, target, personal FROM links WHERE version_id = $1";
        let links: Vec<(i32, String, i16)> =
            crate::on_pool!(self, pool => sqlx::query_as(links).bind(version.0).fetch_all(pool).await).doing(doing)?;
        let target = |(number, target, personal)| Some((u32::try_from(number).ok()?, target, personal != 0i16));
        Ok(Some(VersionLinks::of(campaign, links.into_iter().filter_map(target))))
    }

    /// The links of the newest versions of campaigns, of as many.
    pub async fn newest_links(&self, most: usize) -> Result<Vec<(VersionId, VersionLinks)>, Error> {
        let sql = "SELECT d.id, d.key, l.number, l.target, l.personal
                   FROM (SELECT id, key FROM definitions WHERE kind = 'campaign' ORDER BY id DESC LIMIT $1) AS d JOIN links l ON l.version_id = d.id
                   ORDER BY d.id";
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows: Vec<(i64, String, i32, String, i16)> =
            crate::on_pool!(self, pool => sqlx::query_as(sql).bind(most).fetch_all(pool).await).doing("read the links of versions")?;
        let links = |rows: &[(i64, String, i32, String, i16)]| {
            let (version, campaign, ..) = rows.first()?;
            let targets = rows.iter().filter_map(|row| Some((u32::try_from(row.2).ok()?, row.3.clone(), row.4 != 0)));
            Some((VersionId(*version), VersionLinks::of(campaign.clone(), targets)))
        };
        Ok(rows.chunk_by(|one, other| one.0 == other.0).filter_map(links).collect())
    }

    /// A message and its reader; `None` when there is no such message.
    pub async fn addressed(&self, message: MessageId) -> Result<Option<Addressed>, Error> {
        let sql = "SELECT m.id AS message_id, m.run_id, r.version_id, m.customer_id, m.channel, m.address, c.key AS campaign, c.topic,
                          u.language, u.zone, m.arm, m.due_at, r.is_test, COALESCE(m.accepted_at, m.due_at) AS at, m.snapshot, u.erased_at
                   FROM messages m JOIN runs r ON r.id = m.run_id JOIN campaigns c ON c.id = r.campaign_id
                   LEFT JOIN customers u ON u.id = m.customer_id
                   WHERE m.id = $1";
        crate::on_pool!(self, pool => sqlx::query_as(sql).bind(message.0).fetch_optional(pool).await).doing("read a message")
    }

    /// The last message of a campaign that went to this address. Looks at all messages of the campaign.
    pub async fn message_to(&self, campaign: &str, address: &str) -> Result<Option<MessageId>, Error> {
        let sql = "SELECT m.id FROM campaigns c JOIN runs r ON r.campaign_id = c.id JOIN messages m ON m.run_id = r.id
                   WHERE c.key = $1 AND m.address = $2 AND m.accepted_at IS NOT NULL ORDER BY m.id DESC LIMIT 1";
        let found: Option<(i64,)> =
            crate::on_pool!(self, pool => sqlx::query_as(sql).bind(campaign).bind(address).fetch_optional(pool).await)
                .doing("find a message")?;
        Ok(found.map(|(id,)| MessageId(id)))
    }

    /// What a customer agreed to: (topic, channel) → state, and since when in microseconds.
    pub async fn consents_of(&self, customer: i64) -> Result<BTreeMap<(String, i16), (ConsentState, i64)>, Error> {
        let sql = "SELECT topic, channel, state, at FROM consent_state WHERE customer_id = $1";
        let rows: Vec<(String, i16, i16, i64)> =
            crate::on_pool!(self, pool => sqlx::query_as(sql).bind(customer).fetch_all(pool).await).doing("read consents")?;
        Ok(rows
            .into_iter()
            .filter_map(|(topic, channel, state, at)| Some(((topic, channel), (ConsentState::from_code(state)?, at))))
            .collect())
    }

    /// Records what a customer chose on a page of ours, with the message whose token opened it as proof. A later choice wins.
    pub async fn record_choices(&self, customer: i64, choices: &[Choice], at: Time, message: MessageId) -> Result<(), Error> {
        if choices.is_empty() {
            return Ok(());
        }
        let at = micros(at);
        let row = |choice: &Choice| ConsentRow {
            customer,
            topic: choice.topic.clone(),
            channel: choice.channel.code(),
            state: choice.state,
            at,
            received_at: at,
            source: "preferences".into(),
            proof: Some(format!("message {message}")),
            source_key: digest(&[b"choice", choice.topic.as_bytes(), &choice.channel.code().to_be_bytes(), &at.to_be_bytes()]),
        };
        self.append_consents(&choices.iter().map(row).collect::<Vec<_>>(), true).await.map(drop)
    }

    /// Answers within the pool's patience when the database is there.
    pub async fn ping(&self) -> Result<(), Error> {
        let sql = "SELECT 1";
        crate::on_pool!(self, pool => sqlx::query(sql).execute(pool).await.map(drop)).doing("reach the database")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_personal_link_leads_to_literal_hosts_and_named_ones_only() {
        let targets =
            ["https://Shop.example/{{path}}?a={{b}}", "https://{{host}}/x", "https://крамниця.укр/", "https://p.example:8443/{{x}}"];
        let links = VersionLinks::of("c".into(), targets.iter().zip(1..).map(|(target, number)| (number, target.to_string(), true)));
        let more = BTreeSet::from(["pay.example".to_string()]);
        for (target, allowed) in [
            ("https://shop.example/ada", true),
            ("http://SHOP.example/ada?x#y", true),
            ("https://pay.example/1", true),
            ("https://крамниця.укр/2", true),
            ("https://p.example/", true),
            ("https://evil.example/", false),
            ("https://shop.example.evil.example/", false),
            ("https://shop.example@evil.example/", false),
            ("https://user@shop.example/", false),
            ("javascript://shop.example/%0aalert(1)", false),
            ("//shop.example/", false),
            ("https://evil.example\\@shop.example/", false),
        ] {
            assert_eq!(links.allows(target, &more), allowed, "{target}");
        }
    }
}
