//! The doors of the applied workspace: whose webhooks come for which provider, and what they are checked with.

use super::{Kind, Locks, SHORTEST_SECRET, signs};
use crate::campaigns::Workspace;
use crate::providers::settings::Resolve;
use std::collections::BTreeMap;

/// Where one provider's webhooks come in.
#[derive(Debug, Clone)]
pub struct Door {
    pub kind: Kind,
    pub locks: Locks,
}

/// Doors by the provider's name, and those that stay closed, in words for the log. `resolve` replaces `${NAME}`.
pub fn doors(workspace: &Workspace, resolve: Resolve<'_>) -> (BTreeMap<String, Door>, Vec<String>) {
    let (mut doors, mut closed) = (BTreeMap::new(), Vec::new());
    for name in workspace.webhooks.keys() {
        match door(workspace, name, resolve) {
            Ok(door) => drop(doors.insert(name.clone(), door)),
            Err(why) => closed.push(format!("the webhooks of `{name}` stay closed: {why}")),
        }
    }
    (doors, closed)
}

fn door(workspace: &Workspace, name: &str, resolve: Resolve<'_>) -> Result<Door, String> {
    let secret_missing = |name: String| format!("the secret {name} is not set: write it to .env or the environment");
    let resolved = |text: &String| resolve(text).map_err(secret_missing);
    let settings = workspace.webhooks.get(name).ok_or("they are not set up")?;
    let kind = Kind::from_word(&settings.of).ok_or_else(|| format!("`{}` sends none that can be read", settings.of))?;
    let mut keys: Vec<String> = settings.keys.iter().map(resolved).collect::<Result<_, _>>()?;
    // Twilio signs with the account's token, which we have where we log in with it.
    if let (Kind::Twilio, true, Some(provider)) = (kind, keys.is_empty(), workspace.providers.get(name))
        && !provider.settings.contains_key("api_key")
        && let Some(token) = provider.settings.get("token").and_then(serde_json::Value::as_str)
    {
        keys.push(resolved(&token.to_string())?);
    }
    let locks = Locks {
        keys,
        login: settings.login.as_ref().map(resolved).transpose()?,
        secret: settings.secret.as_ref().map(resolved).transpose()?,
        topics: settings.topics.clone(),
    };
    if locks.secret.as_ref().is_some_and(|secret| secret.len() < SHORTEST_SECRET) {
        return Err(format!("`secret` is shorter than {SHORTEST_SECRET} characters"));
    }
    if locks.secret.as_ref().is_some_and(|secret| !secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte))) {
        return Err("`secret` may hold letters, digits and -_.~ only: it is a part of an address".into());
    }
    if kind == Kind::Ses && locks.topics.is_empty() {
        return Err("`topics` names no SNS topic".into());
    }
    let is_open = kind == Kind::Ses || locks.secret.is_some() || signs(kind) && !locks.keys.is_empty();
    if !is_open && signs(kind) {
        return Err("neither `key` nor `secret` is set".into());
    }
    if !is_open {
        return Err(format!("{} signs nothing, so `secret` must be set", kind.word()));
    }
    Ok(Door { kind, locks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_webhooks_can_be_read_is_what_the_files_may_name() {
        let words: Vec<&str> = Kind::ALL.iter().map(|kind| kind.word()).collect();
        let schema = crate::campaigns::schemas().into_iter().find(|(name, _)| *name == "posthaste.schema.json").map(|(_, text)| text);
        let schema = schema.unwrap_or_default();
        for word in words {
            assert!(schema.contains(&format!("\"{word}\"")), "{word} is missing in the table of files");
        }
    }
}
