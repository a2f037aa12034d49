//! Unisender Go: the field `auth` of the body is the MD5 of the body with the key in its place.

use super::bounces::bounced;
use super::fields::{Unreadable, at, instant, json, object, rows, text};
use super::signing::{equal, fits};
use super::told::{Told, What};
use super::{Refused, Request};
use crate::store::responses::Scope;
use crate::store::tallies::Bounce;
use crate::types::Time;
use md5::{Digest as _, Md5};
use serde_json::Value;

/// Where the 32 digits of `auth` stand in the body: the only thing that is looked at before the check.
fn auth(body: &[u8]) -> Option<std::ops::Range<usize>> {
    const NAME: &[u8] = b"\"auth\"";
    let mut from = 0;
    while let Some(found) = memchr::memmem::find(body.get(from..)?, NAME) {
        let behind = from + found + NAME.len();
        let blank = |at: usize| body.get(at..).map_or(0, |rest| rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count());
        let colon = behind + blank(behind);
        let quote = colon + 1 + blank(colon + 1);
        let digits = quote + 1..quote + 33;
        let is_hash = body.get(digits.clone()).is_some_and(|digits| digits.iter().all(|byte| byte.is_ascii_hexdigit()));
        if body.get(colon) == Some(&b':') && body.get(quote) == Some(&b'"') && is_hash && body.get(digits.end) == Some(&b'"') {
            return Some(digits);
        }
        from = behind;
    }
    None
}

pub(super) fn verify(key: &str, request: &Request<'_>, _: Time) -> Result<(), Refused> {
    let place = auth(request.body).ok_or(Refused::Missing("auth"))?;
    let (before, given, after) = (request.body.get(..place.start), request.body.get(place.clone()), request.body.get(place.end..));
    let mut hash = Md5::new();
    hash.update(before.unwrap_or_default());
    hash.update(key.as_bytes());
    hash.update(after.unwrap_or_default());
    fits(equal(hex::encode(hash.finalize()).as_bytes(), given.unwrap_or_default()))
}

pub(super) fn read(request: &Request<'_>) -> Result<Vec<Told>, Unreadable> {
    let body = json(request.body)?;
    let Some(users) = at(&body, &["events_by_user"]).and_then(Value::as_array) else {
        return Ok(rows(body)?.iter().filter(|row| is_of_mail(row)).map(told).collect());
    };
    let events = users.iter().filter_map(|user| at(user, &["events"])?.as_array()).flatten();
    Ok(events.filter(|row| is_of_mail(row)).filter_map(|row| at(row, &["event_data"])).map(told).collect())
}

/// `transactional_spam_block` and others are about the account.
fn is_of_mail(row: &Value) -> bool {
    text(row, &["event_name"]).as_deref() == Some("transactional_email_status")
}

fn told(row: &Value) -> Told {
    let word = text(row, &["status"]).unwrap_or_default();
    let reply = text(row, &["delivery_info", "destination_response"]);
    let note = text(row, &["delivery_info", "delivery_status"]);
    let what = match word.as_str() {
        "sent" => What::Accepted,
        "delivered" => What::Delivered,
        // It is tried again.
        "soft_bounced" => What::Deferred,
        "hard_bounced" => match note.as_deref() {
            Some("err_spam_rejected" | "err_blacklisted" | "err_spam_folder" | "err_domain_policy") => What::Bounced(Bounce::Blocked),
            _ => bounced(Bounce::Hard, reply.as_deref()),
        },
        "opened" => What::Opened { machine: false },
        "clicked" => What::Clicked { machine: false },
        "unsubscribed" => What::Unsubscribed(Scope::Everything),
        "subscribed" => What::Subscribed,
        "spam" => What::Complained,
        _ => What::Nothing,
    };
    Told::new(what, &word)
        .message(text(row, &["job_id"]))
        .person(text(row, &["email"]))
        .at(instant(row, &["event_time"]))
        .reply(reply)
        .note(note)
        .url(text(row, &["url"]))
        .agent(text(row, &["delivery_info", "user_agent"]))
        .variables(object(row, &["metadata"]))
        .known_by(&[&word, &text(row, &["url"]).unwrap_or_default()])
}
