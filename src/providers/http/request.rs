//! A request, complete before anything is asked: it can be signed, repeated and looked at.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;

#[derive(Clone)]
pub(crate) struct Request {
    pub method: Method,
    pub url: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Request {
    pub fn new(method: Method, url: String) -> Request {
        Request { method, url, headers: HeaderMap::new(), body: Vec::new() }
    }

    pub fn get(url: String) -> Request {
        Request::new(Method::GET, url)
    }

    /// A GET with these fields in its query.
    pub fn query(url: &str, fields: &[(&str, &str)]) -> Request {
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        Request::get(format!("{url}?{query}"))
    }

    pub fn post(url: String) -> Request {
        Request::new(Method::POST, url)
    }

    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Request {
        self.headers.insert(name, value);
        self
    }

    pub fn named(self, name: &'static str, value: HeaderValue) -> Request {
        self.header(HeaderName::from_static(name), value)
    }

    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Request {
        // Values and texts always become JSON.
        let body = serde_json::to_vec(value).unwrap_or_default();
        self.named("content-type", HeaderValue::from_static("application/json")).body(body)
    }

    pub fn form(self, fields: &[(&str, &str)]) -> Request {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish().into_bytes();
        self.named("content-type", HeaderValue::from_static("application/x-www-form-urlencoded")).body(body)
    }

    pub fn body(mut self, body: Vec<u8>) -> Request {
        self.body = body;
        self
    }

    /// The whole request as text, as it would go over the wire but for what the connection adds.
    #[cfg(test)]
    pub fn written(&self) -> String {
        let mut text = format!("{} {}\n", self.method, self.url);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
        }
        text.push('\n');
        text.push_str(&String::from_utf8_lossy(&self.body));
        text
    }
}

/// A secret fit for a header, which never shows in a log. `None`: it holds what no header may hold.
pub(crate) fn secret(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// `Authorization: Basic …`
pub(crate) fn basic(user: &str, password: &str) -> Option<HeaderValue> {
    secret(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
}

/// `Authorization: Bearer …`
pub(crate) fn bearer(token: &str) -> Option<HeaderValue> {
    secret(&format!("Bearer {token}"))
}
