//! `warm_up` of a sending domain in posthaste.yaml: how its volume grows day by day (files.md §2).

use super::Workspace;
use super::part::Part;
use crate::diagnostics::{Problems, Span};
use crate::literals;
use crate::yaml::Node;
use chrono::NaiveDate;

/// How the volume of a new sending domain grows: so many letters a day for each mailbox site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarmUp {
    /// The first day, in the workspace's zone.
    pub from: NaiveDate,
    pub ramp: Ramp,
    /// The identity that sends what is beyond a day's number; `None`: it waits.
    pub beyond: Option<String>,
}

/// The numbers of a warm-up, a day each (definitions.md §17).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ramp {
    Conservative,
    Moderate,
    Aggressive,
    Days(Vec<u64>),
}

/// Reads the warm-up of one domain; `at` is where what is missing is shown.
pub fn read(part: Part<'_>, at: Span, domain: &str, problems: &mut Problems) -> Option<WarmUp> {
    let ramp = match (part.has("plan"), part.has("days")) {
        (true, false) => match part.text("plan")? {
            "conservative" => Ramp::Conservative,
            "aggressive" => Ramp::Aggressive,
            _ => Ramp::Moderate,
        },
        (false, true) => {
            let days: Vec<u64> = part.items("days").iter().filter_map(Node::text).filter_map(|text| literals::whole(text).ok()).collect();
            if days.is_empty() {
                problems.push(
                    part.problem(part.span("days"), "`days` is empty")
                        .label("a number for each day must stand here")
                        .help("write days: [ 50, 100, 500 ], or plan: moderate"),
                );
                return None;
            }
            Ramp::Days(days)
        }
        _ => {
            problems.push(
                part.problem(at, format!("how fast does the warm-up of `{domain}` go?"))
                    .label("exactly one of `plan` and `days` must stand here")
                    .help("write plan: conservative, moderate or aggressive; or own numbers like days: [ 50, 100, 500 ]"),
            );
            return None;
        }
    };
    let from = literals::date(part.text("from")?).ok()?;
    Some(WarmUp { from, ramp, beyond: part.owned("beyond").filter(|beyond| beyond != "wait") })
}

/// Who sends what is beyond the numbers must have an address, and one whose domain is not being warmed up itself.
pub fn beyond(part: Part<'_>, workspace: &Workspace, problems: &mut Problems) {
    for (domain, _, node) in part.entries("domains") {
        let Some(warm_up) = (Part { file: part.file, node }).inner("warm_up") else { continue };
        let Some(identity) = warm_up.text("beyond").filter(|beyond| *beyond != "wait") else { continue };
        let Some(known) = workspace.identities.get(identity) else { continue };
        let problem = if known.email.is_none() {
            Some((format!("the identity `{identity}` has no email"), "name one that has an address"))
        } else {
            let warms = workspace.warm_up_of(identity);
            warms.map(|(own, _)| {
                (
                    format!("`{identity}` sends from `{own}`, which is being warmed up itself"),
                    "name an identity of another domain, or take `wait`",
                )
            })
        };
        if let Some((title, help)) = problem {
            problems.push(
                part.problem(warm_up.span("beyond"), title).label(format!("sends what is beyond the numbers of `{domain}`")).help(help),
            );
        }
    }
}
