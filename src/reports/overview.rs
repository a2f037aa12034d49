//! All campaigns in one table.

use super::gather::HELD_OUT;
use super::lifts::ALL;
use super::model::{Lift, Report, share};
use super::page::{number, percent, points};
use super::table::{columns, put};
use serde_json::{Value, json};

/// The lift of the goal's rate, of everyone sent to against those held out.
fn goal_lift(report: &Report) -> Option<&Lift> {
    let goal = report.measures.iter().find(|measure| measure.goal)?;
    goal.lifts.iter().find(|lift| lift.arm == ALL && lift.against == HELD_OUT && lift.metric == "rate")
}

pub fn overview_table(reports: &[Report]) -> String {
    let mut table = columns(&["campaign", "runs", "selected", "delivered", "opened", "clicked", "lift of the goal"]);
    for report in reports {
        let (delivered, responses) = (report.funnel.delivered, &report.responses);
        let lift = goal_lift(report).map_or("–".to_string(), |lift| {
            let word = if lift.is_clear() { "" } else { " unclear" };
            format!("{}{word}", points(lift.difference, 2))
        });
        table.add_row([
            report.campaign.clone(),
            number(report.runs.len() as u64),
            number(report.funnel.selected),
            number(delivered),
            percent(share(responses.opens.unique, delivered), 1),
            percent(share(responses.clicks.unique, delivered), 1),
            lift,
        ]);
    }
    let mut out = String::new();
    put(&mut out, table);
    out.push_str("  Opened and clicked: by people, of delivered. Lift: everyone sent to against those held out\n");
    out.replace('\u{202f}', " ")
}

/// One object a campaign.
pub fn overview_json(reports: &[Report]) -> Value {
    let row = |report: &Report| {
        json!({
            "campaign": report.campaign,
            "title": report.title,
            "class": report.class,
            "runs": report.runs.len(),
            "last_due": report.last_due,
            "funnel": report.funnel,
            "responses": report.responses,
            "goal_lift": goal_lift(report),
        })
    };
    Value::Array(reports.iter().map(row).collect())
}
