//! `schedule`: when a campaign runs.

use super::context::Context;
use super::fields::quoted;
use super::model::{Feb29, IfPast, Missed, MissedRun, Overlap, OwnDay, Schedule, Window};
use super::part::Part;
use super::shapes::lacks;
use super::tables::campaign::SCHEDULE;
use super::trigger;
use crate::diagnostics::Problem;
use crate::literals::{self, DateRange, Duration, HourRange, Unit, WeekdayRange, WrittenTime, codes};
use crate::schedule::{Bounds, Error, Every, Rule};
use crate::segments::read_date_attribute;
use crate::yaml::Node;
use chrono::{NaiveDateTime, NaiveTime};
use chrono_tz::Tz;
use std::collections::BTreeSet;

/// One of these says when.
const RULES: [&str; 7] = ["at", "every", "cron", "quartz", "anniversary", "date", "when"];

/// Reads what stands under `schedule`.
pub fn read(context: &mut Context<'_>, part: Part<'_>) -> Option<Schedule> {
    let recipient = part.text("zone") == Some(RECIPIENT);
    let zone = match part.text(if recipient { "fallback_zone" } else { "zone" }) {
        Some(zone) => codes::zone(zone).ok()?,
        None => context.workspace.zone,
    };
    let rule = rule(context, part);
    let own_day = own_day(context, part);
    let when = part.has("when").then(|| trigger::read(context, part));
    if when.is_some() {
        let keys = ["if_past", "if_unchanged", "overlap"];
        says_nothing(context, part, &keys, "a trigger starts one customer at a time", "take this key out");
    }
    if recipient {
        by_the_wall(context, part, rule.as_ref());
    } else {
        says_nothing(context, part, &["fallback_zone", "if_past"], "all have one zone", "write `zone: recipient`, or take this key out");
    }
    let (from, until) = (bound(part, "from", zone, NaiveTime::MIN), bound(part, "until", zone, last_moment()));
    if let (Some(from), Some(until)) = (from, until)
        && until < from
    {
        context.problem(part.span("until"), "the schedule ends before it begins", "earlier than `from`", "exchange `from` and `until`");
    }
    let blackout = part.texts("blackout").iter().filter_map(|dates| DateRange::read(dates).ok()).collect();
    Some(Schedule {
        rule: rule?,
        when: match when {
            Some(trigger) => Some(trigger?),
            None => None,
        },
        own_day: own_day?,
        zone,
        recipient,
        bounds: Bounds { from, until, blackout },
        windows: part.items("windows").iter().map(|node| window(context, Part { file: part.file, node })).collect(),
        spread: part.duration("spread"),
        missed: missed(part),
        if_past: match part.text("if_past") {
            Some("now") => IfPast::Now,
            Some("next_day") => IfPast::NextDay,
            _ => IfPast::Skip,
        },
        skips_unchanged: part.text("if_unchanged") == Some("skip"),
        overlap: match part.text("overlap") {
            Some("queue") => Overlap::Queue,
            Some("allow") => Overlap::Allow,
            _ => Overlap::Forbid,
        },
    })
}

fn missed(part: Part<'_>) -> Missed {
    let missed = part.inner("if_missed");
    let run = match missed.and_then(|missed| missed.text("run")) {
        Some("skip") => MissedRun::Skip,
        Some("all") => MissedRun::All,
        _ => MissedRun::Once,
    };
    Missed { run, within: missed.and_then(|missed| missed.duration("within")).unwrap_or(Duration::days(1)) }
}

fn window(context: &mut Context<'_>, part: Part<'_>) -> Window {
    if !part.has("days") && !part.has("hours") {
        let help = "write it like { days: monday to friday, hours: 09:00 to 18:00 }";
        context.problem(part.node.span, "this window says nothing", "neither days nor hours", help);
    }
    Window {
        days: part.texts("days").iter().filter_map(|days| WeekdayRange::read(days).ok()).collect(),
        hours: part.text("hours").and_then(|hours| HourRange::read(hours).ok()),
    }
}

/// `anniversary` and `date`; `None` when something is wrong, and nothing inside where the schedule is another.
fn own_day(context: &mut Context<'_>, part: Part<'_>) -> Option<Option<OwnDay>> {
    let key = if part.has("anniversary") { "anniversary" } else { "date" };
    let keys = ["time", "before", "after", "feb29"];
    let Some(node) = part.get(key) else {
        let help = "write `anniversary: birthday`, or take this key out";
        says_nothing(context, part, &keys, "it belongs to `anniversary` and `date`", help);
        return Some(None);
    };
    if key == "date" {
        says_nothing(context, part, &["feb29"], "a date comes once", "take this key out; it belongs to `anniversary`");
    }
    let path = read_date_attribute(part.file, node, context.known, context.problems);
    let mut offsets = BTreeSet::new();
    let mut whole = true;
    for (key, sign) in [("before", -1), ("after", 1)] {
        for node in part.items(key) {
            match days(context, key, node) {
                Some(days) => whole &= offsets.insert(sign * days),
                None => whole = false,
            }
        }
    }
    if offsets.is_empty() {
        offsets.insert(0);
    }
    let feb29 = if part.text("feb29") == Some("mar01") { Feb29::Mar01 } else { Feb29::Feb28 };
    whole.then_some(())?;
    Some(Some(OwnDay { path: path?, each_year: key == "anniversary", offsets, feb29 }))
}

/// `7`, `7 days`, `2 weeks`.
fn days(context: &mut Context<'_>, key: &str, node: &Node) -> Option<i64> {
    let text = node.text()?;
    if let Ok(days) = literals::whole(text) {
        return i64::try_from(days).ok();
    }
    // What is no duration has been reported with its shape.
    let duration = Duration::read(text).ok()?;
    match duration.unit {
        Unit::Day => Some(i64::from(duration.count)),
        Unit::Week => Some(7 * i64::from(duration.count)),
        _ => {
            context.problem(
                node.span,
                format!("`{key}` counts days"),
                "not days",
                "write a number of days, like `7`; the hour is said by `time`",
            );
            None
        }
    }
}

/// The zone that is each person's own.
const RECIPIENT: &str = "recipient";

/// What names no time of the wall clock has no meaning in each person's own zone.
fn by_the_wall(context: &mut Context<'_>, part: Part<'_>, rule: Option<&Rule>) {
    let Some(rule) = rule.filter(|rule| rule.follows_real_time()) else { return };
    let (key, label, help) = match rule {
        Rule::Instant(_) => ("at", "one instant for all", "write the local time without an offset, like `2027-03-01 10:00`"),
        Rule::Every(_) => ("every", "counts real time", "name a time of day, like `day at 10:00`, or a zone"),
        Rule::Quartz(_) => ("quartz", "its hours follow the real clock", "write the hours out, like `9,12,15`, or name a zone"),
        _ => ("cron", "its hours follow the real clock", "write the hours out, like `9,12,15`, or name a zone"),
    };
    context.problem(part.span(key), "in each person's own zone this says no time", label, help);
}

/// Keys that mean nothing beside what else is written.
fn says_nothing(context: &mut Context<'_>, part: Part<'_>, keys: &[&str], label: &str, help: &str) {
    for key in keys.iter().filter(|key| part.has(key)) {
        context.problem(part.key_span(key), format!("`{key}` says nothing here"), label, help);
    }
}

fn rule(context: &mut Context<'_>, part: Part<'_>) -> Option<Rule> {
    let written: Vec<&str> = RULES.into_iter().filter(|key| part.has(key)).collect();
    match written.as_slice() {
        [] if RULES.iter().any(|key| !lacks(part.node, key, &SCHEDULE)) => None,
        [] => {
            let help = "write at: 2027-03-01 10:00, every: day at 10:00, cron: \"0 10 * * MON\" or anniversary: birthday";
            context.problem(part.start(), "the schedule has no time", "when does it run?", help);
            None
        }
        ["when"] => Some(Rule::Never),
        [key] => {
            let text = part.text(key)?;
            let read = match *key {
                "anniversary" | "date" => {
                    let ten = NaiveTime::from_hms_opt(10, 0, 0).unwrap_or_default();
                    let time = part.text("time").map_or(Ok(ten), literals::time).ok()?;
                    return Some(Rule::Every(Every::Days { every: 1, time }));
                }
                // What is no date-time has been reported with its shape.
                "at" => return WrittenTime::read(text).ok().and_then(|_| Rule::read_at(text).ok()),
                "every" => Rule::read_every(text),
                "quartz" => Rule::read_quartz(text),
                _ => Rule::read_cron(text),
            };
            read.map_err(|error| report(context, part, key, error)).ok()
        }
        [_, second, ..] => {
            let title = format!("the schedule has both {}", quoted(written.iter().copied()));
            context.problem(part.key_span(second), title, "only one of them can hold", "keep one; make a second campaign for the other");
            None
        }
    }
}

/// The words at fault inside the expression.
fn report(context: &mut Context<'_>, part: Part<'_>, key: &str, error: Error) {
    let span = part.get(key).map_or(part.node.span, |node| super::part::inside(node, error.range.clone()));
    context.problems.push(Problem::new(context.file, span, error.message).label(format!("in `{key}`")).help(error.help));
}

fn last_moment() -> NaiveTime {
    NaiveTime::from_hms_micro_opt(23, 59, 59, 999_999).unwrap_or(NaiveTime::MIN)
}

/// A date takes `time`; what is written with an offset is seen in the schedule's zone.
fn bound(part: Part<'_>, key: &str, zone: Tz, time: NaiveTime) -> Option<NaiveDateTime> {
    let text = part.text(key)?;
    match literals::date(text) {
        Ok(day) => Some(day.and_time(time)),
        Err(_) => Some(WrittenTime::read(text).ok()?.local(zone)),
    }
}
