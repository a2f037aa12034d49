//! Signs a request as Amazon wants it (Signature Version 4). Pure: the caller brings the time.

use crate::providers::http::Request;
use crate::types::Time;
use aws_lc_rs::{digest, hmac};
use reqwest::header::HeaderValue;

pub(super) struct Keys {
    pub access_key: String,
    pub secret_key: String,
    /// Of keys that are only lent for a while.
    pub session_token: Option<String>,
    pub region: String,
}

const SERVICE: &str = "ses";

impl Keys {
    /// Adds the headers that prove who asks. `path` and `host` are those of the request's address, which has no query.
    /// `None`: a key holds what no header may hold.
    pub fn sign(&self, request: Request, host: &str, path: &str, now: Time) -> Option<Request> {
        let (day, instant) = (now.format("%Y%m%d").to_string(), now.format("%Y%m%dT%H%M%SZ").to_string());
        let content_type = request.headers.get("content-type").and_then(|value| value.to_str().ok());
        let mut signed: Vec<(&str, &str)> = Vec::new();
        if let Some(content_type) = content_type {
            signed.push(("content-type", content_type));
        }
        signed.extend([("host", host), ("x-amz-date", &instant)]);
        if let Some(token) = &self.session_token {
            signed.push(("x-amz-security-token", token));
        }
        let names = signed.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let headers: String = signed.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
        let canonical = format!("{}\n{path}\n\n{headers}\n{names}\n{}", request.method, hash(&request.body));
        let scope = format!("{day}/{}/{SERVICE}/aws4_request", self.region);
        let to_sign = format!("AWS4-HMAC-SHA256\n{instant}\n{scope}\n{}", hash(canonical.as_bytes()));
        let first = format!("AWS4{}", self.secret_key).into_bytes();
        let key = [day.as_str(), &self.region, SERVICE, "aws4_request"].iter().fold(first, |key, word| mac(&key, word));
        let proof = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={}",
            self.access_key,
            hex::encode(mac(&key, &to_sign))
        );
        let mut proof = HeaderValue::from_str(&proof).ok()?;
        proof.set_sensitive(true);
        let date = HeaderValue::from_str(&instant).ok()?;
        let mut request = request.named("x-amz-date", date).named("authorization", proof);
        if let Some(token) = &self.session_token {
            let mut token = HeaderValue::from_str(token).ok()?;
            token.set_sensitive(true);
            request = request.named("x-amz-security-token", token);
        }
        Some(request)
    }
}

fn hash(data: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, data))
}

fn mac(key: &[u8], data: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data.as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_standard() {
        let keys =
            Keys { access_key: "AKIDEXAMPLE".into(), secret_key: "secret-example".into(), session_token: None, region: "eu-west-1".into() };
        let path = "/v2/email/outbound-emails";
        let request = Request::post(format!("https://email.eu-west-1.amazonaws.com{path}")).json(&serde_json::json!({}));
        let signed = keys.sign(request, "email.eu-west-1.amazonaws.com", path, "2025-01-01T00:00:00Z".parse().unwrap()).unwrap();
        let proof = signed.headers["authorization"].to_str().unwrap();
        assert!(proof.contains("SignedHeaders=content-type;host;x-amz-date, "), "{proof}");
        assert!(proof.ends_with("Signature=448631c33e3b15176b0d143c455e7f55b199776860b484a7ced2f6e1c3c8cc5b"), "{proof}");
    }
}
