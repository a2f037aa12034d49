//! One workspace folder, its `.env`, the environment: gathered once, handed down. No other module reads the environment.
//!
//! Secrets never print: they are given out by name through [`Secrets`], whose `Debug` shows names only.

use crate::diagnostics::Files;
use crate::store::Store;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Values of `.env` and of the environment (which wins), by name.
#[derive(Clone, Default)]
pub struct Secrets(BTreeMap<String, String>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

impl Secrets {
    /// From pairs, for tests.
    pub fn of(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Secrets(pairs.into_iter().collect())
    }

    /// `.env` of the folder (lines `NAME=value`, `#` comments, optional quotes), overridden by the process's environment.
    pub fn read(folder: &Path) -> Self {
        let mut values = BTreeMap::new();
        for line in std::fs::read_to_string(folder.join(".env")).unwrap_or_default().lines() {
            let line = line.trim();
            let Some((name, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) else { continue };
            let value = value.trim();
            let value = value
                .strip_prefix('"')
                .and_then(|value| value.strip_suffix('"'))
                .or_else(|| value.strip_prefix('\'').and_then(|value| value.strip_suffix('\'')))
                .unwrap_or(value);
            values.insert(name.trim().trim_start_matches("export ").to_string(), value.to_string());
        }
        values.extend(std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))));
        Secrets(values)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Replaces every `${NAME}`; the error is the first name that has no value.
    pub fn resolve(&self, text: &str) -> Result<String, String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            let Some(length) = rest[start + 2..].find('}') else { break };
            let name = &rest[start + 2..start + 2 + length];
            out.push_str(&rest[..start]);
            out.push_str(self.get(name).ok_or_else(|| name.to_string())?);
            rest = &rest[start + 3 + length..];
        }
        out.push_str(rest);
        Ok(out)
    }
}

/// Names of the two secrets without which nothing starts (design.md §11).
pub const PEPPER: &str = "POSTHASTE_PEPPER";
pub const SIGNING: &str = "POSTHASTE_SIGNING";

/// Why the workspace cannot be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no posthaste.yaml in {}: go to a workspace folder, name one with --workspace, or make one with `posthaste init DIR`", .0.display())]
    NoWorkspace(PathBuf),
    #[error("cannot read {}", .path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the secret {0} is not set: `posthaste init` writes it to .env; copy that file here, or set it in the environment")]
    NoSecret(String),
}

/// A workspace folder on this machine.
#[derive(Debug, Clone)]
pub struct Workspace {
    pub folder: PathBuf,
    pub secrets: Secrets,
    /// `--database`, else DATABASE of the environment is not asked: posthaste.yaml decides (see [`Workspace::database_url`]).
    pub database: Option<String>,
}

impl Workspace {
    pub fn open(folder: &Path, database: Option<String>) -> Self {
        Workspace { folder: folder.to_path_buf(), secrets: Secrets::read(folder), database }
    }

    /// Every file that may belong to a definition: posthaste.yaml, campaigns/, templates/, mappings/. Hidden files and links out of the
    /// folder are left out.
    pub fn files(&self) -> Result<Files, Error> {
        let mut files = Files::default();
        let top = self.folder.join("posthaste.yaml");
        if !top.is_file() {
            return Err(Error::NoWorkspace(self.folder.clone()));
        }
        files.insert("posthaste.yaml", std::fs::read(&top).map_err(|source| Error::Read { path: top, source })?);
        for name in ["campaigns", "templates", "mappings"] {
            self.collect(name, &mut files)?;
        }
        Ok(files)
    }

    fn collect(&self, inside: &str, files: &mut Files) -> Result<(), Error> {
        let folder = self.folder.join(inside);
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(Error::Read { path: folder, source }),
        };
        for entry in entries {
            let entry = entry.map_err(|source| Error::Read { path: folder.clone(), source })?;
            let (name, kind) = (entry.file_name(), entry.file_type().map_err(|source| Error::Read { path: entry.path(), source })?);
            let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
            let path = format!("{inside}/{name}");
            if kind.is_dir() {
                self.collect(&path, files)?;
            } else if kind.is_file() {
                files.insert(path, std::fs::read(entry.path()).map_err(|source| Error::Read { path: entry.path(), source })?);
            }
        }
        Ok(())
    }

    /// `--database`, else what posthaste.yaml says (with `${NAME}` resolved), else `sqlite:posthaste.db`; relative SQLite paths are inside the folder.
    pub fn database_url(&self, written: Option<&str>) -> Result<String, Error> {
        let url = match (&self.database, written) {
            (Some(url), _) => url.clone(),
            (None, Some(written)) => self.secrets.resolve(written).map_err(Error::NoSecret)?,
            (None, None) => "sqlite:posthaste.db".to_string(),
        };
        Ok(match url.strip_prefix("sqlite:") {
            Some(path) if !path.starts_with('/') => format!("sqlite:{}", self.folder.join(path).display()),
            _ => url,
        })
    }

    pub async fn store(&self, written: Option<&str>) -> anyhow::Result<Store> {
        Ok(Store::open(&self.database_url(written)?).await?)
    }

    /// A secret that must be there.
    pub fn secret(&self, name: &str) -> Result<&str, Error> {
        self.secrets.get(name).ok_or_else(|| Error::NoSecret(name.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_and_a_missing_one_is_named() {
        let secrets = Secrets::of([("A".to_string(), "1".to_string())]);
        assert_eq!(secrets.resolve("x${A}y${A}"), Ok("x1y1".to_string()));
        assert_eq!(secrets.resolve("${B}"), Err("B".to_string()));
        assert_eq!(secrets.resolve("${open"), Ok("${open".to_string()));
    }
}
