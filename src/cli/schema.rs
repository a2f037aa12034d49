//! `posthaste schema`: JSON Schemas of the definition files, for editors.

use super::{Exit, Global};
use crate::campaigns;
use anyhow::Context;
use clap::Args;

/// Arguments of `schema`.
#[derive(Debug, Args)]
pub struct Schema {}

pub async fn run(global: &Global, _arguments: Schema) -> anyhow::Result<Exit> {
    let folder = global.workspace.join("schema");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (name, text) in campaigns::schemas() {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(Exit::Done)
}
