//! Webhooks of providers: proved, read, and what they change.

mod files;
mod intake;
pub mod office;
mod samples;
mod signatures;
pub mod texts;
mod validator;

use posthaste::types::Time;
use posthaste::webhooks::{self, Kind, Locks, Refused, Request};
use serde_json::Value;

/// A request of a story, with all it borrows.
#[derive(Debug, Clone)]
pub struct Hook {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// What is found where the certificate should be.
    pub certificate: Option<String>,
}

impl Hook {
    pub fn post(url: &str, content_type: &str, body: impl Into<Vec<u8>>) -> Hook {
        let headers = vec![("content-type".to_string(), content_type.to_string())];
        Hook { method: "POST".into(), url: url.into(), headers, body: body.into(), certificate: None }
    }

    pub fn with(mut self, name: &str, value: &str) -> Hook {
        self.headers.push((name.to_string(), value.to_string()));
        self
    }

    pub fn request(&self) -> Request<'_> {
        Request { method: &self.method, url: &self.url, headers: &self.headers, body: &self.body }
    }

    pub fn verify(&self, kind: Kind, locks: &Locks, now: Time) -> Result<(), Refused> {
        webhooks::verify(kind, locks, &self.request(), None, self.certificate.as_deref(), now)
    }
}

pub fn keys(key: &str) -> Locks {
    Locks { keys: vec![key.to_string()], ..Locks::default() }
}

pub fn kind(word: &str) -> Kind {
    let word = if word == "ses-sns" { "ses" } else { word };
    Kind::from_word(word).unwrap_or_else(|| panic!("nobody is called {word}"))
}

pub fn seconds(seconds: i64) -> Time {
    Time::from_timestamp(seconds, 0).unwrap()
}

/// The lines of a file of samples; without them one line says so.
pub fn shared(name: &str) -> Vec<Value> {
    let path = format!("{}/../shared/data/webhooks/{name}", env!("CARGO_MANIFEST_DIR"));
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("the samples of webhooks are not here: {path}");
        return Vec::new();
    };
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
