//! `schedule`: when a campaign runs.

use super::context::Context;
use super::model::{Missed, MissedRun, Schedule};
use super::part::Part;
use super::shapes::lacks;
use super::tables::campaign::SCHEDULE;
use crate::diagnostics::Problem;
use crate::literals::{self, Duration, WrittenTime, codes};
use crate::schedule::{Error, Rule};
use chrono::{NaiveDateTime, NaiveTime};
use chrono_tz::Tz;

const RULES: [&str; 3] = ["at", "every", "cron"];
/// Rules of later work: where one stands, nothing else has to.
const LATER: [&str; 4] = ["quartz", "anniversary", "date", "when"];

/// Reads what stands under `schedule`.
pub fn read(context: &mut Context<'_>, part: Part<'_>) -> Option<Schedule> {
    let zone = match part.text("zone") {
        Some(zone) => codes::zone(zone).ok()?,
        None => context.workspace.zone,
    };
    let rule = rule(context, part);
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
    Some(Schedule { rule: rule?, zone, from, until, missed: Missed { run, within } })
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
