//! What git says of the workspace: the commit that is stamped on every version.

use std::path::Path;
use std::process::Command;

/// The short commit; `dirty` when files of the workspace differ from it, or when there is no commit at all.
pub fn state(folder: &Path) -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
    };
    match (
        git(&["rev-parse", "--short=12", "HEAD"]),
        git(&["status", "--porcelain", "--", "posthaste.yaml", "campaigns", "templates", "mappings"]),
    ) {
        (Some(commit), Some(changes)) if changes.is_empty() => commit,
        _ => "dirty".to_string(),
    }
}

/// Who works here: the email of git's settings, else the name of the account.
pub fn who(folder: &Path) -> String {
    let output = Command::new("git").arg("-C").arg(folder).args(["config", "user.email"]).output();
    let email =
        output.ok().filter(|output| output.status.success()).map(|output| String::from_utf8_lossy(&output.stdout).trim().to_string());
    email.filter(|email| !email.is_empty()).or_else(|| std::env::var("USER").ok()).unwrap_or_else(|| "unknown".to_string())
}
