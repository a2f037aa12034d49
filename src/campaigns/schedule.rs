//! `schedule`: when a campaign runs.

use super::context::Context;
use super::model::{IfPast, Missed, MissedRun, Schedule};
use super::part::Part;
use super::shapes::lacks;
use super::tables::campaign::SCHEDULE;
use crate::diagnostics::Problem;
use crate::literals::{self, DateRange, Duration, WrittenTime, codes};
use crate::schedule::{Bounds, Error, Rule};
use chrono::{NaiveDateTime, NaiveTime};
use chrono_tz::Tz;

const RULES: [&str; 4] = ["at", "every", "cron", "quartz"];
/// Rules of later work: where one stands, nothing else has to.
const LATER: [&str; 3] = ["anniversary", "date", "when"];

/// Reads what stands under `schedule`.
pub fn read(context: &mut Context<'_>, part: Part<'_>) -> Option<Schedule> {
    let recipient = part.text("zone") == Some(RECIPIENT);
    let zone = match part.text(if recipient { "fallback_zone" } else { "zone" }) {
        Some(zone) => codes::zone(zone).ok()?,
        None => context.workspace.zone,
    };
    let rule = rule(context, part);
    if recipient {
        by_the_wall(context, part, rule.as_ref());
    } else {
        without_recipient(context, part);
    }
    let (from, until) = (bound(part, "from", zone, NaiveTime::MIN), bound(part, "until", zone, last_moment()));
    if let (Some(from), Some(until)) = (from, until)
        && until < from
    {
        context.problem(part.span("until"), "the schedule ends before it begins", "earlier than `from`", "exchange `from` and `until`");
    }
    let missed = part.inner("if_missed");
    let run = match missed.and_then(|missed| missed.text("run")) {
        Some("skip") => MissedRun::Skip,
        Some("all") => MissedRun::All,
        _ => MissedRun::Once,
    };
    let within = missed.and_then(|missed| missed.duration("within")).unwrap_or(Duration::days(1));
    let blackout = part.texts("blackout").iter().filter_map(|dates| DateRange::read(dates).ok()).collect();
    let if_past = match part.text("if_past") {
        Some("now") => IfPast::Now,
        Some("next_day") => IfPast::NextDay,
        _ => IfPast::Skip,
    };
    let missed = Missed { run, within };
    Some(Schedule { rule: rule?, zone, recipient, bounds: Bounds { from, until, blackout }, missed, if_past })
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

fn without_recipient(context: &mut Context<'_>, part: Part<'_>) {
    for key in ["fallback_zone", "if_past"].into_iter().filter(|key| part.has(key)) {
        let title = format!("`{key}` says nothing here");
        context.problem(part.key_span(key), title, "all have one zone", "write `zone: recipient`, or take this key out");
    }
}

fn rule(context: &mut Context<'_>, part: Part<'_>) -> Option<Rule> {
    let written: Vec<&str> = RULES.into_iter().filter(|key| part.has(key)).collect();
    let later = LATER.iter().any(|key| part.has(key));
    match written.as_slice() {
        [] if later || RULES.iter().any(|key| !lacks(part.node, key, &SCHEDULE)) => None,
        [] => {
            let help = "write at: 2027-03-01 10:00, every: day at 10:00 or cron: \"0 10 * * MON\"";
            context.problem(part.start(), "the schedule has no time", "when does it run?", help);
            None
        }
        [key] => {
            let text = part.text(key)?;
            let read = match *key {
                // What is no date-time has been reported with its shape.
                "at" => return WrittenTime::read(text).ok().and_then(|_| Rule::read_at(text).ok()),
                "every" => Rule::read_every(text),
                "quartz" => Rule::read_quartz(text),
                _ => Rule::read_cron(text),
            };
            read.map_err(|error| report(context, part, key, error)).ok()
        }
        [_, second, ..] => {
            let title = format!("the schedule has both {}", super::fields::quoted(written.iter().copied()));
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
