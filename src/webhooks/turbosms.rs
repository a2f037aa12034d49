//! TurboSMS: one event or an array of them; signed is the event's number alone (SHA-1 of secret and number), so the number is taken once.

use super::fields::{Unreadable, form_or_json, instant, json, rows, text};
use super::signing::{fits, is_hex};
use super::told::{List, Told, What};
use super::{Refused, Request};
use crate::store::tallies::Bounce;
use crate::types::Time;
use aws_lc_rs::digest;
use serde_json::{Map, Value};

/// Names under which number and signature may stand.
const NUMBER: [&str; 2] = ["event_id", "id"];
const SIGNATURE: [&str; 2] = ["signature", "sign"];

fn events(request: &Request<'_>) -> Result<Vec<Value>, Unreadable> {
    match json(request.body) {
        Ok(body) => rows(body),
        Err(_) => {
            let fields: Map<String, Value> = form_or_json(request).into_iter().map(|(name, value)| (name, Value::String(value))).collect();
            Ok(vec![Value::Object(fields)])
        }
    }
}

pub(super) fn verify(key: &str, request: &Request<'_>, _: Time) -> Result<(), Refused> {
    let missing = Refused::Missing("signature");
    let events = events(request).map_err(|_| missing)?;
    if events.is_empty() {
        return Err(missing);
    }
    let first = |event: &Value, names: [&str; 2]| names.iter().find_map(|name| text(event, &[*name]));
    for event in &events {
        let (number, given) = (first(event, NUMBER).ok_or(missing)?, first(event, SIGNATURE).ok_or(missing)?);
        let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
        context.update(key.as_bytes());
        context.update(number.as_bytes());
        fits(is_hex(context.finish().as_ref(), &given))?;
    }
    Ok(())
}

pub(super) fn read(request: &Request<'_>) -> Result<Vec<Told>, Unreadable> {
    Ok(events(request)?.iter().filter_map(told).collect())
}

fn told(event: &Value) -> Option<Told> {
    let first = |names: &[&str]| names.iter().find_map(|name| text(event, &[*name]));
    let id = first(&["message_id"])?;
    let status = first(&["status"]).unwrap_or_default();
    let note = first(&["reason", "description"]);
    let what = match status.to_ascii_uppercase().as_str() {
        "ENROUTE" | "ACCEPTD" | "ACCEPTED" | "SENT" | "QUEUED" => What::Accepted,
        "DELIVRD" | "DELIVERED" | "READ" => What::Delivered,
        "EXPIRED" | "UNDELIV" | "UNDELIVERED" | "DELETED" | "UNKNOWN" => What::Bounced(Bounce::Soft),
        "REJECTD" | "REJECTED" => match note.as_deref() {
            Some(note) if note.to_lowercase().contains("stop") => What::Listed(List::Unsubscribed),
            _ => What::Bounced(Bounce::Blocked),
        },
        _ => What::Nothing,
    };
    let number = first(&NUMBER).filter(|number| *number != id);
    Some(
        Told::new(what, &status)
            .event(number.or_else(|| Some(format!("{id}|{status}"))))
            .message(Some(id))
            .echo(first(&["sequence_id"]))
            .person(first(&["recipient", "phone"]))
            .at(["updated", "created_at", "time"].iter().find_map(|name| instant(event, &[*name])))
            .note(note),
    )
}
