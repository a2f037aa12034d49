//! Applied versions: what engines read instead of files.
//!
//! Files are content-addressed; a version of a campaign names every file it reaches, so that it can be read again exactly as it was
//! applied (`Definitions` come from the same `campaigns::read` that reads the folder). One apply is one transaction.

use super::{Doing, Error, Store, from_micros, micros};
use crate::campaigns::{Definitions, Workspace};
use crate::diagnostics::{Files, Problems};
use crate::types::{CampaignId, Class, Time, VersionId};
use crate::{in_transaction, on_pool};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

/// The kind of a definition's row.
pub const CAMPAIGN: &str = "campaign";
pub const WORKSPACE: &str = "workspace";

/// Path in the workspace → SHA-256 of the content, in hex.
pub type Manifest = BTreeMap<String, String>;

/// One campaign of an apply.
#[derive(Debug, Clone)]
pub struct Applied {
    pub key: String,
    pub title: String,
    pub class: Class,
    pub topic: Option<String>,
    pub category: Option<String>,
    pub tags: Vec<String>,
    /// Every path it is made of: when one changes, there is a new version.
    pub reaches: BTreeSet<String>,
    /// Those, and every path that reading it again asks for.
    pub needs: BTreeSet<String>,
    /// In the order of their numbers, from 1: target, and whether a part of it is personal.
    pub links: Vec<(String, bool)>,
    pub measures: Vec<MeasureRow>,
    /// The schedule as it is compared: when it changes, occurrences before the apply are not missed ones.
    pub schedule: String,
    /// What starts it: names of events, `message.RESPONSE`, `consent.TOPIC`.
    pub triggers: Vec<String>,
}

/// A measure of a version, for the ingest of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeasureRow {
    pub number: i16,
    pub event: String,
    pub value: Option<String>,
    pub within: String,
    /// Whether the event must fit a condition too; it stands in the version's file.
    pub conditional: bool,
}

/// Who applies what, and when.
#[derive(Debug, Clone)]
pub struct Apply {
    pub files: Files,
    pub campaigns: Vec<Applied>,
    /// The commit of the folder, or `dirty`.
    pub commit: String,
    pub who: String,
    pub now: Time,
}

/// What an apply did to one campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub key: String,
    pub change: ChangeKind,
    /// The version now in force; of a retired campaign, the last one.
    pub version: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    Added,
    Changed,
    Unchanged,
    Retired,
}

/// A version as it stands in the database.
#[derive(Debug, Clone)]
pub struct Version {
    pub id: VersionId,
    pub key: String,
    pub version: i64,
    pub hash: String,
    pub manifest: Manifest,
    pub state: String,
    pub commit: String,
    pub who: String,
    pub at: Time,
}

type VersionRow = (i64, String, i64, String, String, String, String, String, i64);

fn version_of(row: VersionRow) -> Result<Version, Error> {
    let manifest =
        serde_json::from_str(&row.4).map_err(|error| Error::Unexpected { doing: "read applied versions", what: error.to_string() })?;
    Ok(Version {
        id: VersionId(row.0),
        key: row.1,
        version: row.2,
        hash: row.3,
        manifest,
        state: row.5,
        commit: row.6,
        who: row.7,
        at: from_micros(row.8),
    })
}

/// SHA-256 in hex.
pub fn hash(content: &[u8]) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, content))
}

/// The paths with the hashes of their contents; a path without a file is left out.
pub fn manifest<'a>(files: &Files, paths: impl IntoIterator<Item = &'a String>) -> Manifest {
    paths.into_iter().filter_map(|path| Some((path.clone(), hash(files.0.get(path)?)))).collect()
}

/// The hash over everything a version reaches.
pub fn manifest_hash(manifest: &Manifest) -> String {
    let mut text = String::new();
    for (path, hash) in manifest {
        text.push_str(path);
        text.push('\0');
        text.push_str(hash);
        text.push('\n');
    }
    hash(text.as_bytes())
}

impl Store {
    /// Stores what was read from a folder, in one transaction: files, a version for each changed campaign and for the workspace, campaigns that
    /// are gone retired. Changes come in the order of keys.
    pub async fn apply(&self, apply: &Apply) -> Result<Vec<Change>, Error> {
        Ok(in_transaction!(self, "apply the files", transaction => {
            let mut changes = Vec::new();
            let all = manifest(&apply.files, apply.files.0.keys());
            for (path, hash) in &all {
                let content = apply.files.0.get(path).map(Vec::as_slice).unwrap_or_default();
                sqlx::query("INSERT INTO files (hash, content) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING")
                    .bind(hex::decode(hash).unwrap_or_default()).bind(content)
                    .execute(&mut *transaction).await.doing("store the files")?;
            }
            let manifest_cast = self.pick("$5", "$5::jsonb");
            let insert = format!(
                "INSERT INTO definitions (kind, key, version, hash, manifest, state, git_commit, applied_by, applied_at)
                 VALUES ($1, $2, $3, $4, {manifest_cast}, 'active', $6, $7, $8) RETURNING id");
            let newest = "SELECT id, CAST(version AS BIGINT), hash, state FROM definitions WHERE kind = $1 AND key = $2 ORDER BY version DESC LIMIT 1";
            // The workspace itself.
            let workspace_hash = manifest_hash(&all);
            let last: Option<(i64, i64, String, String)> = sqlx::query_as(newest).bind(WORKSPACE).bind("")
                .fetch_optional(&mut *transaction).await.doing("read the last version")?;
            if last.as_ref().is_none_or(|last| last.2 != workspace_hash) {
                let version = last.map_or(1, |last| last.1 + 1);
                sqlx::query("UPDATE definitions SET state = 'retired' WHERE kind = $1 AND state = 'active'").bind(WORKSPACE)
                    .execute(&mut *transaction).await.doing("retire the last version")?;
                sqlx::query(sqlx::AssertSqlSafe(insert.clone())).bind(WORKSPACE).bind("").bind(version).bind(&workspace_hash).bind(json(&all))
                    .bind(&apply.commit).bind(&apply.who).bind(micros(apply.now))
                    .execute(&mut *transaction).await.doing("store a version")?;
            }
            for campaign in &apply.campaigns {
                let hash = manifest_hash(&manifest(&apply.files, &campaign.reaches));
                let manifest = manifest(&apply.files, &campaign.needs);
                let last: Option<(i64, i64, String, String)> = sqlx::query_as(newest).bind(CAMPAIGN).bind(&campaign.key)
                    .fetch_optional(&mut *transaction).await.doing("read the last version")?;
                if let Some((_, version, last_hash, state)) = &last
                    && *last_hash == hash && state == "active"
                {
                    changes.push(Change { key: campaign.key.clone(), change: ChangeKind::Unchanged, version: *version });
                    continue;
                }
                let was_active = last.as_ref().is_some_and(|last| last.3 == "active");
                let version = last.as_ref().map_or(1, |last| last.1 + 1);
                sqlx::query("UPDATE definitions SET state = 'retired' WHERE kind = $1 AND key = $2 AND state = 'active'")
                    .bind(CAMPAIGN).bind(&campaign.key).execute(&mut *transaction).await.doing("retire the last version")?;
                let (id,): (i64,) = sqlx::query_as(sqlx::AssertSqlSafe(insert.clone())).bind(CAMPAIGN).bind(&campaign.key).bind(version).bind(&hash)
                    .bind(json(&manifest)).bind(&apply.commit).bind(&apply.who).bind(micros(apply.now))
                    .fetch_one(&mut *transaction).await.doing("store a version")?;
                // Occurrences before the first apply, or of another schedule, were never missed.
                sqlx::query(
                    "INSERT INTO campaigns (key, title, class, topic, category, tags, version_id, first_applied_at, scheduled_until, schedule)
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9)
                     ON CONFLICT (key) DO UPDATE SET title = excluded.title, class = excluded.class, topic = excluded.topic, category = excluded.category,
                        tags = excluded.tags, version_id = excluded.version_id, schedule = excluded.schedule,
                        scheduled_until = CASE WHEN campaigns.version_id IS NULL OR campaigns.schedule <> excluded.schedule
                                               THEN excluded.scheduled_until ELSE campaigns.scheduled_until END")
                    .bind(&campaign.key).bind(&campaign.title).bind(campaign.class.code()).bind(campaign.topic.as_deref())
                    .bind(campaign.category.as_deref()).bind(serde_json::to_string(&campaign.tags).unwrap_or_default())
                    .bind(id).bind(micros(apply.now)).bind(&campaign.schedule)
                    .execute(&mut *transaction).await.doing("store a campaign")?;
                let this = "SELECT id FROM campaigns WHERE key = $1";
                sqlx::query(sqlx::AssertSqlSafe(format!("DELETE FROM triggers WHERE campaign_id = ({this})"))).bind(&campaign.key)
                    .execute(&mut *transaction).await.doing("store what starts a campaign")?;
                for name in &campaign.triggers {
                    // What happened before the first apply, or before the schedule changed, was never missed.
                    sqlx::query("INSERT INTO triggers (name, campaign_id, since) SELECT $2, id, scheduled_until FROM campaigns WHERE key = $1")
                        .bind(&campaign.key).bind(name).execute(&mut *transaction).await.doing("store what starts a campaign")?;
                }
                for (number, (target, personal)) in campaign.links.iter().enumerate() {
                    sqlx::query("INSERT INTO links (version_id, number, target, personal) VALUES ($1, $2, $3, $4)")
                        .bind(id).bind(i32::try_from(number + 1).unwrap_or(i32::MAX)).bind(target).bind(i16::from(*personal))
                        .execute(&mut *transaction).await.doing("store the links of a version")?;
                }
                for measure in &campaign.measures {
                    sqlx::query("INSERT INTO measures (version_id, number, event, value, within, conditional) VALUES ($1, $2, $3, $4, $5, $6)")
                        .bind(id).bind(measure.number).bind(&measure.event).bind(measure.value.as_deref()).bind(&measure.within).bind(i16::from(measure.conditional))
                        .execute(&mut *transaction).await.doing("store the measures of a version")?;
                }
                let change = if was_active { ChangeKind::Changed } else { ChangeKind::Added };
                changes.push(Change { key: campaign.key.clone(), change, version });
            }
            let active: Vec<(String, i64)> = sqlx::query_as("SELECT key, CAST(version AS BIGINT) FROM definitions WHERE kind = $1 AND state = 'active' ORDER BY key")
                .bind(CAMPAIGN).fetch_all(&mut *transaction).await.doing("read applied versions")?;
            for (key, version) in active {
                if apply.campaigns.iter().any(|campaign| campaign.key == key) {
                    continue;
                }
                sqlx::query("UPDATE definitions SET state = 'retired' WHERE kind = $1 AND key = $2").bind(CAMPAIGN).bind(&key)
                    .execute(&mut *transaction).await.doing("retire a campaign")?;
                sqlx::query("UPDATE campaigns SET version_id = NULL WHERE key = $1").bind(&key)
                    .execute(&mut *transaction).await.doing("retire a campaign")?;
                for table in ["triggers", "starts"] {
                    sqlx::query(sqlx::AssertSqlSafe(format!("DELETE FROM {table} WHERE campaign_id = (SELECT id FROM campaigns WHERE key = $1)")))
                        .bind(&key).execute(&mut *transaction).await.doing("retire a campaign")?;
                }
                changes.push(Change { key, change: ChangeKind::Retired, version });
            }
            changes.sort_by(|a, b| a.key.cmp(&b.key));
            if changes.iter().any(|change| change.change != ChangeKind::Unchanged) {
                let subject: Vec<&str> = changes.iter().filter(|change| change.change != ChangeKind::Unchanged).map(|change| change.key.as_str()).collect();
                sqlx::query("INSERT INTO audit (at, who, action, subject, detail) VALUES ($1, $2, 'apply', $3, $4)")
                    .bind(micros(apply.now)).bind(&apply.who).bind(subject.join(" ")).bind(&apply.commit)
                    .execute(&mut *transaction).await.doing("write the audit log")?;
            }
            changes
        }))
    }

    /// The versions in force, by campaign key; what `plan` compares the folder with.
    pub async fn applied_versions(&self) -> Result<BTreeMap<String, Version>, Error> {
        let rows = self.versions("kind = 'campaign' AND state = 'active'").await?;
        Ok(rows.into_iter().map(|version| (version.key.clone(), version)).collect())
    }

    /// The applied workspace: every file as it was last applied; `None` before the first apply.
    pub async fn applied_workspace(&self) -> Result<Option<Version>, Error> {
        Ok(self.versions("kind = 'workspace' AND state = 'active'").await?.pop())
    }

    /// The number of the applied workspace's version, to see whether it has changed.
    pub async fn applied_workspace_id(&self) -> Result<Option<VersionId>, Error> {
        let sql = "SELECT id FROM definitions WHERE kind = 'workspace' AND state = 'active' ORDER BY id DESC LIMIT 1";
        let row: Option<(i64,)> =
            on_pool!(self, pool => sqlx::query_as(sql).fetch_optional(pool).await).doing("read the applied workspace")?;
        Ok(row.map(|(id,)| VersionId(id)))
    }

    /// The newest version of anything: every apply that changes something has a higher one.
    pub async fn newest_version(&self) -> Result<Option<VersionId>, Error> {
        let (newest,): (Option<i64>,) =
            on_pool!(self, pool => sqlx::query_as("SELECT MAX(id) FROM definitions").fetch_one(pool).await).doing("look for an apply")?;
        Ok(newest.map(VersionId))
    }

    async fn versions(&self, condition: &'static str) -> Result<Vec<Version>, Error> {
        let manifest = self.pick("manifest", "manifest::text");
        let sql = format!(
            "SELECT id, key, CAST(version AS BIGINT), hash, {manifest}, state, git_commit, applied_by, applied_at FROM definitions WHERE {condition} ORDER BY key, version"
        );
        let rows: Vec<VersionRow> =
            on_pool!(self, pool => sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(pool).await).doing("read applied versions")?;
        rows.into_iter().map(version_of).collect()
    }

    /// One version by its number.
    pub async fn version(&self, id: VersionId) -> Result<Option<Version>, Error> {
        let manifest = self.pick("manifest", "manifest::text");
        let sql = format!(
            "SELECT id, key, CAST(version AS BIGINT), hash, {manifest}, state, git_commit, applied_by, applied_at FROM definitions WHERE id = $1"
        );
        let row: Option<VersionRow> =
            on_pool!(self, pool => sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(id.0).fetch_optional(pool).await)
                .doing("read an applied version")?;
        row.map(version_of).transpose()
    }

    /// The files of a manifest, as they were applied.
    pub async fn files_of(&self, manifest: &Manifest) -> Result<Files, Error> {
        let hashes: BTreeSet<&str> = manifest.values().map(String::as_str).collect();
        let list = serde_json::to_string(&hashes).unwrap_or_default();
        let sql = self.pick(
            "SELECT f.hash, f.content FROM json_each($1) e JOIN files f ON f.hash = unhex(e.value)",
            "SELECT f.hash, f.content FROM jsonb_array_elements_text($1::jsonb) AS e(value) JOIN files f ON f.hash = decode(e.value, 'hex')",
        );
        let rows: Vec<(Vec<u8>, Vec<u8>)> =
            on_pool!(self, pool => sqlx::query_as(sql).bind(list).fetch_all(pool).await).doing("read applied files")?;
        let contents: HashMap<String, Vec<u8>> = rows.into_iter().map(|(hash, content)| (hex::encode(hash), content)).collect();
        let mut files = Files::default();
        for (path, hash) in manifest {
            let content = contents
                .get(hash)
                .ok_or_else(|| Error::Unexpected { doing: "read applied files", what: format!("the content of {path} is missing") })?;
            files.insert(path.clone(), content.clone());
        }
        Ok(files)
    }

    /// Reads a version again, with the code that reads the folder.
    pub async fn load_definitions(&self, version: VersionId) -> Result<Definitions, Error> {
        self.load(version, crate::campaigns::read_version).await
    }

    /// Reads only posthaste.yaml of a version again.
    pub async fn load_workspace(&self, version: VersionId) -> Result<Workspace, Error> {
        self.load(version, crate::campaigns::read_workspace).await
    }

    async fn load<T>(&self, version: VersionId, read: fn(&Files) -> (Option<T>, Problems)) -> Result<T, Error> {
        let doing = "read an applied version";
        let found =
            self.version(version).await?.ok_or_else(|| Error::Unexpected { doing, what: format!("version {version} does not exist") })?;
        let files = self.files_of(&found.manifest).await?;
        let (found, problems) = read(&files);
        found.ok_or_else(|| Error::Unexpected { doing, what: problems.render(&files, false, 120) })
    }
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Versions that were read once and are kept; a version never changes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Loaded {
    store: Store,
    versions: Arc<Mutex<HashMap<VersionId, Arc<Definitions>>>>,
}

impl Loaded {
    pub fn new(store: Store) -> Self {
        Loaded { store, versions: Arc::default() }
    }

    pub async fn definitions(&self, version: VersionId) -> Result<Arc<Definitions>, Error> {
        if let Some(found) = self.kept().get(&version) {
            return Ok(found.clone());
        }
        let read = Arc::new(self.store.load_definitions(version).await?);
        self.kept().insert(version, read.clone());
        Ok(read)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, HashMap<VersionId, Arc<Definitions>>> {
        self.versions.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A campaign as the engine sees it between two turns.
#[derive(Debug, Clone)]
pub struct CampaignRow {
    pub id: CampaignId,
    pub key: String,
    pub title: String,
    pub class: Class,
    pub version: Option<VersionId>,
    pub first_applied_at: Time,
    pub paused_at: Option<Time>,
    pub scheduled_until: Time,
}

type CampaignTuple = (i64, String, String, i16, Option<i64>, i64, Option<i64>, i64);

impl Store {
    /// All campaigns that were ever applied, by key.
    pub async fn campaigns(&self) -> Result<Vec<CampaignRow>, Error> {
        let sql = "SELECT id, key, title, class, version_id, first_applied_at, paused_at, scheduled_until FROM campaigns ORDER BY key";
        let rows: Vec<CampaignTuple> = on_pool!(self, pool => sqlx::query_as(sql).fetch_all(pool).await).doing("read the campaigns")?;
        Ok(rows
            .into_iter()
            .map(|row| CampaignRow {
                id: CampaignId(row.0),
                key: row.1,
                title: row.2,
                class: Class::from_code(row.3).unwrap_or(Class::Advertising),
                version: row.4.map(VersionId),
                first_applied_at: from_micros(row.5),
                paused_at: row.6.map(from_micros),
                scheduled_until: from_micros(row.7),
            })
            .collect())
    }

    pub async fn campaign(&self, key: &str) -> Result<Option<CampaignRow>, Error> {
        Ok(self.campaigns().await?.into_iter().find(|campaign| campaign.key == key))
    }
}
