//! SMS.ru: a form of fields `data[0]`, `data[1]` …, each of several lines: `sms_status`, the number, the code, the time. A secret address.

use super::Request;
use super::fields::{Unreadable, form, written};
use super::told::{List, Told, What};
use crate::store::tallies::Bounce;

pub(super) fn read(request: &Request<'_>) -> Result<Vec<Told>, Unreadable> {
    let fields = form(request);
    let rows: Vec<&str> = fields.iter().filter(|(name, _)| name.starts_with("data")).map(|(_, value)| value.as_str()).collect();
    if rows.is_empty() {
        return Err(Unreadable::Shape("without `data`"));
    }
    Ok(rows.into_iter().filter_map(status).collect())
}

/// One entry; other kinds than reports (calls, tests of the address) say nothing of messages.
fn status(entry: &str) -> Option<Told> {
    let mut lines = entry.lines().map(str::trim);
    if lines.next()? != "sms_status" {
        return None;
    }
    let (id, code) = (lines.next()?, lines.next()?);
    let what = match code {
        "100" | "101" | "102" => What::Accepted,
        "103" | "110" => What::Delivered,
        "150" | "202" => What::Bounced(Bounce::Hard),
        "209" => What::Listed(List::Unsubscribed),
        "108" | "203" | "204" | "205" => What::Bounced(Bounce::Blocked),
        "104" | "105" | "106" | "107" => What::Bounced(Bounce::Soft),
        _ => What::Nothing,
    };
    let at = lines.next().and_then(written);
    Some(Told::new(what, code).event(Some(format!("{id}|{code}"))).message(Some(id.to_string())).at(at).reply(Some(code.to_string())))
}
