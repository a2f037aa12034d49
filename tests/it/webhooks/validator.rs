//! Twilio's own library and ours agree on the same requests: on what it has signed, and on what it has not.

use super::{Hook, keys, seconds};
use posthaste::webhooks::Kind;
use serde_json::{Value, json};
use std::io::Write as _;
use std::process::{Command, Stdio};

const SCRIPT: &str = "
import json, sys
from twilio.request_validator import RequestValidator
class Fields(dict):
    def getlist(self, name):
        return self[name] if isinstance(self[name], list) else [self[name]]
answers = []
for case in json.load(sys.stdin):
    validator = RequestValidator(case['token'])
    params = case['body'] if case['body'] is not None else Fields(case['params'])
    signature = case['signature'] or validator.compute_signature(case['sign'], {} if case['body'] is not None else params)
    answers.append([signature, validator.validate(case['url'], params, signature)])
json.dump(answers, sys.stdout)
";

/// The answers of Twilio's library; `None` where it is not installed.
fn theirs(cases: &Value) -> Option<Vec<(String, bool)>> {
    let python = std::env::var("POSTHASTE_TWILIO_PYTHON").unwrap_or_else(|_| "python3".into());
    let mut child =
        Command::new(python).args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    child.stdin.take()?.write_all(cases.to_string().as_bytes()).ok()?;
    serde_json::from_slice(&child.wait_with_output().ok()?.stdout).ok()
}

fn case(url: &str, sign: &str, params: &[(&str, Value)], body: Option<&str>, signature: Option<&str>) -> Value {
    let params: serde_json::Map<String, Value> = params.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
    json!({ "token": "a token", "url": url, "sign": sign, "params": params, "body": body, "signature": signature })
}

fn cases() -> Vec<Value> {
    let plain = [("MessageSid", json!("SM1")), ("MessageStatus", json!("delivered")), ("To", json!("+15005550006"))];
    let unicode = [("Body", json!("Стоп 👍 & =+%")), ("From", json!("+380501234567")), ("Empty", json!(""))];
    let repeated = [("Media", json!(["b", "a", "a"])), ("Media2", json!(["x"]))];
    let https = "https://hooks.example.test/twilio";
    let mut cases = Vec::new();
    for params in [&plain[..], &unicode[..], &repeated[..], &[]] {
        for (url, sign) in [
            (https, https),
            ("https://hooks.example.test:443/twilio", https),
            (https, "https://hooks.example.test:443/twilio"),
            ("https://hooks.example.test:8443/twilio?a=1&b=%20", "https://hooks.example.test/twilio?a=1&b=%20"),
            ("http://hooks.example.test/twilio", "http://hooks.example.test:80/twilio"),
            ("http://hooks.example.test/twilio", "https://hooks.example.test/twilio"),
            (https, "https://hooks.example.test/twilio/"),
            ("https://hooks.example.test/twilio?a=1", "https://hooks.example.test/twilio?a=2"),
        ] {
            cases.push(case(url, sign, params, None, None));
            cases.push(case(url, sign, params, None, Some("AAAAAAAAAAAAAAAAAAAAAAAAAAA=")));
        }
    }
    for (body, hash) in [
        (r#"{"a":1}"#, "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"),
        (r#"{"a":2}"#, "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"),
    ] {
        let url = format!("{https}?bodySHA256={hash}&run=7");
        cases.push(case(&url, &url, &[], Some(body), None));
    }
    cases
}

fn hook(case: &Value, signature: &str) -> Hook {
    let url = case["url"].as_str().unwrap();
    let hook = match case["body"].as_str() {
        Some(body) => Hook::post(url, "application/json", body),
        None => {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            for (name, value) in case["params"].as_object().unwrap() {
                match value {
                    Value::Array(values) => drop(form.extend_pairs(values.iter().map(|value| (name, value.as_str().unwrap())))),
                    value => drop(form.append_pair(name, value.as_str().unwrap())),
                }
            }
            Hook::post(url, "application/x-www-form-urlencoded", form.finish())
        }
    };
    hook.with("x-twilio-signature", signature)
}

#[test]
fn twilio_s_own_validator_and_ours_agree() {
    let cases = cases();
    let Some(theirs) = theirs(&Value::Array(cases.clone())) else {
        eprintln!("Twilio's library is not here: `pip install twilio`, or POSTHASTE_TWILIO_PYTHON names a Python that has it");
        return;
    };
    assert_eq!(theirs.len(), cases.len());
    let mut taken = 0;
    for (case, (signature, is_valid)) in cases.iter().zip(&theirs) {
        let ours = hook(case, signature).verify(Kind::Twilio, &keys("a token"), seconds(0));
        assert_eq!(ours.is_ok(), *is_valid, "{case} with {signature}: {ours:?}");
        taken += usize::from(*is_valid);
    }
    assert!(taken >= 20 && taken < cases.len(), "{taken} of {} are valid", cases.len());
}
