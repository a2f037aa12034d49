//! `posthaste init DIR`: a workspace with the examples of this repository, its secrets, and sample people to try it on.

use super::{Exit, Global, demo};
use anyhow::{Context, bail};
use base64::Engine;
use clap::Args;
use rust_embed::RustEmbed;
use std::path::{Path, PathBuf};

/// Arguments of `init`.
#[derive(Debug, Args)]
pub struct Init {
    /// The folder to make; it must be empty or not exist
    pub folder: PathBuf,
    /// How many sample people to write to sample/
    #[arg(long, default_value_t = 300, value_name = "N")]
    pub people: u32,
}

#[derive(RustEmbed)]
#[folder = "campaigns"]
#[prefix = "campaigns/"]
struct Campaigns;

#[derive(RustEmbed)]
#[folder = "templates"]
#[prefix = "templates/"]
struct Templates;

#[derive(RustEmbed)]
#[folder = "mappings"]
#[prefix = "mappings/"]
struct Mappings;

#[derive(RustEmbed)]
#[folder = "schema"]
#[prefix = "schema/"]
struct Schema;

const WORKSPACE: &str = include_str!("../../posthaste.yaml");
const IGNORED: &str = "# What must not be in git: secrets, the database, what was printed\n.env\n*.db\n*.db-wal\n*.db-shm\n*.db-engine\n.posthaste/\nreports/\nrejects/\n";

pub async fn run(global: &Global, arguments: Init) -> anyhow::Result<Exit> {
    let folder = &arguments.folder;
    if folder.exists() && std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?.next().is_some() {
        bail!("{} is not empty: name a folder that does not exist yet", folder.display());
    }
    let written = write_workspace(folder)?;
    let people = demo::people::people(arguments.people, global.clock().now());
    write(folder, "sample/customers.csv", people.customers.as_bytes())?;
    write(folder, "sample/events.jsonl", people.events.as_bytes())?;
    println!(
        "{} now holds a workspace: {written} files, secrets in .env, and {} sample people in sample/",
        folder.display(),
        arguments.people
    );
    println!();
    println!("Try it:");
    println!("  cd {}", folder.display());
    println!("  posthaste import customers sample/customers.csv");
    println!("  posthaste import events sample/events.jsonl");
    println!("  posthaste check");
    println!("  posthaste test");
    println!("  posthaste plan");
    println!();
    println!("Then send it all to the built-in catcher, which lets nothing leave this machine:");
    println!("  posthaste apply");
    println!("  posthaste catcher                 in another window: it takes the messages, and shows them on a page");
    println!("  posthaste run                     the engine, by today's clock, until you stop it");
    println!("or, to see the spring sale at once (planned the day before, since it is at ten o'clock in each person's zone):");
    println!("  posthaste run --until-idle --now 2027-02-28T10:00:00Z");
    println!("  posthaste run --until-idle --now 2027-03-01T12:00:00Z");
    println!("  posthaste report spring-sale");
    Ok(Exit::Done)
}

/// Writes the example files and fresh secrets; returns how many files.
pub fn write_workspace(folder: &Path) -> anyhow::Result<usize> {
    let mut count = 0;
    let mut put = |path: &str, content: &[u8]| {
        count += 1;
        write(folder, path, content)
    };
    put("posthaste.yaml", WORKSPACE.as_bytes())?;
    put(".gitignore", IGNORED.as_bytes())?;
    let embedded = Campaigns::iter()
        .filter_map(|path| Some((path.clone(), Campaigns::get(&path)?)))
        .chain(Templates::iter().filter_map(|path| Some((path.clone(), Templates::get(&path)?))))
        .chain(Mappings::iter().filter_map(|path| Some((path.clone(), Mappings::get(&path)?))))
        .chain(Schema::iter().filter_map(|path| Some((path.clone(), Schema::get(&path)?))));
    for (path, file) in embedded {
        put(&path, &file.data)?;
    }
    put(".env", secrets()?.as_bytes())?;
    restrict(&folder.join(".env"))?;
    Ok(count)
}

fn secrets() -> anyhow::Result<String> {
    Ok(format!(
        "# Secrets of this workspace: keep a copy in a safe place, never in git.\n\
         # Without the pepper the list of suppressed addresses is lost; without the signing key links in sent letters die.\n\
         POSTHASTE_PEPPER={}\nPOSTHASTE_SIGNING=k1:{}\nPOSTHASTE_API_KEY={}\n",
        random()?,
        random()?,
        random()?
    ))
}

fn random() -> anyhow::Result<String> {
    let mut bytes = [0u8; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow::anyhow!("this machine gives no random numbers"))?;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))
}

pub(super) fn write(folder: &Path, path: &str, content: &[u8]) -> anyhow::Result<()> {
    let full = folder.join(path);
    if let Some(parent) = full.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    std::fs::write(&full, content).with_context(|| format!("cannot write {}", full.display()))
}

/// Only the owner may read the secrets.
fn restrict(path: &Path) -> anyhow::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
            .with_context(|| format!("cannot protect {}", path.display()))?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}
