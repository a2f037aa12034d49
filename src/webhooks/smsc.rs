//! SMSC.ru: reports and texts as forms or queries, of which nothing is signed that we could check: a secret address.

use super::Request;
use super::fields::{Unreadable, form_or_json, owned, written};
use super::told::{Told, What};
use crate::store::tallies::Bounce;

pub(super) fn read(request: &Request<'_>) -> Result<Vec<Told>, Unreadable> {
    let fields = form_or_json(request);
    let first = |names: &[&str]| names.iter().find_map(|name| owned(&fields, name)).filter(|text| !text.is_empty());
    let id = first(&["id", "sms_id"]);
    if let Some(text) = first(&["mes"]).filter(|_| first(&["status"]).is_none()) {
        let what = What::Text { to: first(&["to"]).unwrap_or_default(), text, keyword: None };
        let told = Told::new(what, "received").event(id.clone()).message(id).person(first(&["phone"]));
        return Ok(vec![told.at(first(&["ts", "timestamp"]).as_deref().and_then(written)).known_by(&["received"])]);
    }
    let Some(status) = first(&["status"]) else { return Err(Unreadable::Shape("without `status` and `mes`")) };
    let error = first(&["err"]);
    let phone = first(&["phone"]);
    let what = match status.as_str() {
        "-1" | "0" => What::Accepted,
        "1" | "2" | "4" => What::Delivered,
        "22" => What::Bounced(Bounce::Hard),
        "20" | "25" => match error.as_deref() {
            // The number does not exist; it is blocked for good.
            Some("1" | "13") => What::Bounced(Bounce::Hard),
            Some("248" | "253" | "254" | "6") => What::Bounced(Bounce::Blocked),
            _ => What::Bounced(Bounce::Soft),
        },
        "23" => What::Bounced(Bounce::Blocked),
        "24" | "-2" => What::Failed,
        "3" => What::Bounced(Bounce::Soft),
        _ => What::Nothing,
    };
    // Numbers of messages are ours to choose and may come again for another phone.
    let event = id.as_ref().map(|id| format!("{id}|{}|{status}", phone.as_deref().unwrap_or_default()));
    Ok(vec![
        Told::new(what, &status)
            .event(event)
            .message(id.clone())
            .echo(id)
            .person(phone)
            .at(first(&["ts"]).as_deref().and_then(written))
            .reply(error)
            .known_by(&[&status]),
    ])
}
