//! A request as it is kept between its answer and its reading.

use super::{Kind, Request, Told, read};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;

/// A request as it is stored until it is read: of the address its query, of the headers those that matter for reading.
#[derive(Debug, Serialize, Deserialize)]
pub struct Stored {
    method: String,
    query: String,
    headers: Vec<(String, String)>,
    body: String,
}

/// Headers that a provider's file looks at when it reads.
const KEPT: [&str; 3] = ["content-type", "svix-id", "webhook-id"];

/// Each thread keeps its compressor: making one takes longer than a small request.
fn packed(text: &[u8]) -> Result<Vec<u8>, String> {
    thread_local! {
        static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
    }
    COMPRESSOR.with_borrow_mut(|kept| {
        let compressor = match kept {
            Some(compressor) => compressor,
            None => kept.insert(zstd::bulk::Compressor::new(1).map_err(|error| error.to_string())?),
        };
        compressor.compress(text).map_err(|error| error.to_string())
    })
}

/// What was told over a line, as it is stored.
pub fn pack_told(told: &Told) -> Result<Vec<u8>, String> {
    let text = serde_json::to_vec(told).map_err(|error| error.to_string())?;
    packed(&text)
}

/// The opposite of [`pack_told`].
pub fn unpack_told(stored: &[u8]) -> Result<Told, String> {
    let text = zstd::decode_all(stored).map_err(|error| error.to_string())?;
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}

/// All that is stored of a request or of what was told over a line, as text in which a word can be looked for.
pub fn unpacked(stored: &[u8]) -> Option<Vec<u8>> {
    let text = zstd::decode_all(stored).ok()?;
    match serde_json::from_slice::<Stored>(&text) {
        Ok(request) => {
            let query = percent_decoded(&request.query);
            let body = STANDARD.decode(&request.body).unwrap_or_default();
            let form = percent_decoded(&String::from_utf8_lossy(&body));
            Some([query.as_bytes(), &body, form.as_bytes()].join(&b'\n'))
        }
        Err(_) => Some(text),
    }
}

/// Fields of a form, one a line.
fn percent_decoded(text: &str) -> String {
    url::form_urlencoded::parse(text.as_bytes()).map(|(name, value)| format!("{name}={value}\n")).collect()
}

impl Stored {
    /// What is stored; the error says what went wrong on our side.
    pub fn pack(request: &Request<'_>) -> Result<Vec<u8>, String> {
        let headers = KEPT.iter().filter_map(|name| Some((name.to_string(), request.header(name)?.to_string()))).collect();
        let body = STANDARD.encode(request.body);
        let stored = Stored { method: request.method.to_string(), query: request.query().to_string(), headers, body };
        let text = serde_json::to_vec(&stored).map_err(|error| error.to_string())?;
        packed(&text)
    }

    /// What a stored request tells; the error says why it cannot be read.
    pub fn told(kind: Kind, stored: &[u8]) -> Result<Vec<Told>, String> {
        let text = zstd::decode_all(stored).map_err(|error| error.to_string())?;
        let stored: Stored = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
        let body = STANDARD.decode(&stored.body).map_err(|error| error.to_string())?;
        let url = format!("https://stored/?{}", stored.query);
        read(kind, &Request { method: &stored.method, url: &url, headers: &stored.headers, body: &body })
    }
}
