//! The report for a terminal of 80 columns: lift first, then whom it reached and what they did.
//!
//! Pure: the same report gives the same text.

use super::gather::HELD_OUT;
use super::lifts::ALL;
use super::model::{Lift, MeasureReport, Report, refusal_in_words, share};
use super::page::{money, number, percent, period, points, worth};
use chrono_tz::Tz;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use std::fmt::Write as _;

/// `zone` is the workspace's: times are local there.
pub fn table(report: &Report, zone: Tz) -> String {
    let mut out = String::new();
    header(&mut out, report, zone);
    for measure in &report.measures {
        brought(&mut out, measure);
    }
    attributed(&mut out, report);
    reached(&mut out, report);
    responded(&mut out, report);
    variants(&mut out, report);
    links(&mut out, report);
    sites(&mut out, report);
    out.replace('\u{202f}', " ")
}

fn header(out: &mut String, report: &Report, zone: Tz) {
    let time = |time: crate::types::Time| time.with_timezone(&zone).format("%Y-%m-%d %H:%M").to_string();
    let _ = writeln!(out, "{}", report.title);
    let when = match (report.first_due, report.last_due) {
        (Some(first), Some(last)) if first != last => format!("{} runs, due {} to {}", report.runs.len(), time(first), time(last)),
        (Some(first), _) => format!("run {}, due {}", report.runs.first().copied().unwrap_or(1), time(first)),
        _ => "has not run yet".to_string(),
    };
    let _ = writeln!(out, "{}, {} · {when} · as of {} ({zone})", report.campaign, report.class, time(report.as_of));
}

fn brought(out: &mut String, measure: &MeasureReport) {
    let goal = if measure.goal { ", the goal" } else { "" };
    let _ = writeln!(out, "\nWHAT IT BROUGHT: {} within {}{goal}", measure.event, period(measure.within_seconds));
    let lift =
        |arm: &str, metric: &str| measure.lifts.iter().find(|lift| lift.arm == arm && lift.against == HELD_OUT && lift.metric == metric);
    let nobody = measure.arms.iter().all(|arm| arm.converted == 0);
    match lift(ALL, "rate") {
        _ if nobody => out.push_str("  Nobody has done this yet\n"),
        Some(lift) => {
            let _ = writeln!(out, "  {}", verdict(lift));
        }
        None => out.push_str("  Nobody was held out, so what the campaign itself brought cannot be told\n"),
    }
    let worth = measure.arms.iter().any(|arm| arm.value != 0.0);
    if let Some(lift) = lift(ALL, "value_per_customer").filter(|_| worth) {
        let (value, low, high) =
            (money(lift.difference, &measure.currency), money(lift.low, &measure.currency), money(lift.high, &measure.currency));
        let _ = writeln!(out, "  Worth of a customer: {value} more each ({low} to {high})");
    }
    let mut arms = columns(&["arm", "people", "did it", "rate"]);
    if worth {
        arms = columns(&["arm", "people", "did it", "rate", "worth", "a person"]);
    }
    for arm in &measure.arms {
        let mut row = vec![
            if arm.held_out { "held out".to_string() } else { arm.arm.clone() },
            number(arm.customers),
            number(arm.converted),
            percent(arm.rate, 2),
        ];
        if worth {
            row.extend([money(arm.value, &measure.currency), money(arm.value_per_customer, &measure.currency)]);
        }
        arms.add_row(row);
    }
    put(out, arms);
    if !nobody {
        compared(out, measure);
    }
    out.push_str("  Counted: everyone drawn, whether or not the message reached them. Intervals hold 95 %\n");
}

/// The comparisons beyond that of all with those held out.
fn compared(out: &mut String, measure: &MeasureReport) {
    let worth = measure.arms.iter().any(|arm| arm.value != 0.0);
    let mut seen: Vec<(&str, &str, &str)> = Vec::new();
    let mut table = columns(&["lift", "difference", "95 % interval", "relative", "p"]);
    for lift in &measure.lifts {
        let known = seen.contains(&(&lift.against, &lift.arm, &lift.metric));
        seen.push((&lift.arm, &lift.against, &lift.metric));
        let is_rate = lift.metric == "rate";
        if known || (!is_rate && !worth) {
            continue;
        }
        let shown = |value: f64| if is_rate { points(value, 2) } else { money(value, &measure.currency) };
        let name = |arm: &str| match arm {
            ALL => "all".to_string(),
            HELD_OUT => "held out".to_string(),
            other => other.to_string(),
        };
        let relative = lift.relative.map_or("–".to_string(), |relative| format!("{:+.1} %", relative * 100.0).replace('-', "−"));
        let label = format!("{} vs {}{}", name(&lift.arm), name(&lift.against), if is_rate { "" } else { ", worth" });
        table.add_row([
            label,
            shown(lift.difference),
            format!("{} to {}", shown(lift.low), shown(lift.high)),
            relative,
            p_value(lift.p_value),
        ]);
    }
    if !seen.is_empty() {
        out.push('\n');
        put(out, table);
    }
}

fn verdict(lift: &Lift) -> String {
    let (value, low, high) = (points(lift.difference, 2), points(lift.low, 2), points(lift.high, 2));
    let relative =
        lift.relative.map(|relative| format!(", {} % of what held-out people did", format!("{:+.0}", relative * 100.0).replace('-', "−")));
    let relative = relative.unwrap_or_default();
    match (lift.is_clear(), lift.difference > 0.0) {
        (true, true) => format!("It worked: {value} ({low} to {high}){relative}"),
        (true, false) => format!("It did harm: {value} ({low} to {high}){relative}"),
        (false, _) => format!("No clear effect yet: {value} ({low} to {high}); chance alone can give this"),
    }
}

fn p_value(p: f64) -> String {
    if p < 0.0001 { "< 0.0001".to_string() } else { format!("{p:.4}") }
}

fn attributed(out: &mut String, report: &Report) {
    for row in report.attributed.iter().filter(|row| row.conversions > 0) {
        let _ = writeln!(
            out,
            "\n  After a click: {} × {}{} (another figure, not to be added to the lift)",
            number(row.conversions),
            row.event,
            worth(row)
        );
    }
}

fn reached(out: &mut String, report: &Report) {
    let funnel = &report.funnel;
    out.push_str("\nWHOM IT REACHED\n");
    let mut table = columns(&["", "people", "share", "of"]);
    table.add_row(["selected".to_string(), number(funnel.selected), String::new(), String::new()]);
    let mut row = |name: &str, count: u64, whole: u64, of: &str| {
        table.add_row([name.to_string(), number(count), percent(share(count, whole), 1), of.to_string()]);
    };
    for (word, count) in &funnel.refused {
        let count = count.as_u64().unwrap_or(0);
        if count > 0 {
            row(&format!("  refused: {}", refusal_in_words(word)), count, funnel.selected, "selected");
        }
    }
    row("messages", funnel.messages, funnel.selected, "selected");
    let states = [
        ("  waiting", funnel.waiting),
        ("  held, waits for a person", funnel.held),
        ("  uncertain, may have arrived", funnel.uncertain),
        ("  failed", funnel.failed),
        ("  expired", funnel.expired),
        ("  cancelled", funnel.cancelled),
    ];
    for (name, count) in states.into_iter().filter(|(_, count)| *count > 0) {
        row(name, count, funnel.messages, "messages");
    }
    row("  accepted by the provider", funnel.accepted, funnel.messages, "messages");
    row("bounced", funnel.bounced, funnel.accepted, "accepted");
    row("delivered (accepted − bounced)", funnel.delivered, funnel.accepted, "accepted");
    if funnel.confirmed > 0 {
        row("confirmed by a receipt", funnel.confirmed, funnel.accepted, "accepted");
    }
    put(out, table);
}

fn responded(out: &mut String, report: &Report) {
    let (funnel, responses) = (&report.funnel, &report.responses);
    out.push_str("\nWHAT PEOPLE DID\n");
    let mut table = columns(&["", "messages", "of delivered", "by people", "with machines"]);
    for (name, hits) in [("opened", responses.opens), ("clicked", responses.clicks)] {
        table.add_row([
            name.to_string(),
            number(hits.unique),
            percent(share(hits.unique, funnel.delivered), 1),
            number(hits.human),
            number(hits.all),
        ]);
    }
    let bounces = responses.bounces;
    let once = [
        ("unsubscribed", responses.unsubscribes),
        ("complained", responses.complaints),
        ("replied", responses.replies),
        ("bounced: hard", bounces.hard),
        ("bounced: soft", bounces.soft),
        ("bounced: blocked", bounces.blocked),
    ];
    for (name, count) in once.into_iter().filter(|(name, count)| *count > 0 || name.len() > 10 && !name.starts_with("bounced")) {
        let of_delivered = if name.starts_with("bounced") { String::new() } else { percent(share(count, funnel.delivered), 2) };
        table.add_row([name.to_string(), number(count), of_delivered, String::new(), String::new()]);
    }
    put(out, table);
    out.push_str("  Messages: those in which a person did so at least once\n");
}

fn variants(out: &mut String, report: &Report) {
    if report.variants.len() < 2 {
        return;
    }
    out.push_str("\nVARIANTS\n");
    let mut table = columns(&["", "messages", "delivered", "opened", "clicked", "unsubscribed"]);
    for variant in &report.variants {
        table.add_row([
            variant.variant.clone(),
            number(variant.messages),
            number(variant.delivered),
            percent(share(variant.opens.unique, variant.delivered), 1),
            percent(share(variant.clicks.unique, variant.delivered), 1),
            percent(share(variant.unsubscribes, variant.delivered), 2),
        ]);
    }
    put(out, table);
}

fn links(out: &mut String, report: &Report) {
    if report.links.is_empty() {
        return;
    }
    out.push_str("\nLINKS\n");
    let mut table = columns(&["", "clicked by", "clicks by people", "all"]);
    for link in &report.links {
        let target: String =
            if link.target.chars().count() > 48 { link.target.chars().take(47).chain(['…']).collect() } else { link.target.clone() };
        table.add_row([target, number(link.clicks.unique), number(link.clicks.human), number(link.clicks.all)]);
    }
    put(out, table);
}

fn sites(out: &mut String, report: &Report) {
    if report.sites.len() < 2 {
        return;
    }
    out.push_str("\nMAILBOX SITES\n");
    let mut table = columns(&["", "messages", "delivered", "bounced", "opened", "clicked", "complained"]);
    for site in &report.sites {
        table.add_row([
            site.site.clone(),
            number(site.messages),
            number(site.delivered),
            number(site.bounced),
            percent(share(site.opens_unique, site.delivered), 1),
            percent(share(site.clicks_unique, site.delivered), 1),
            number(site.complaints),
        ]);
    }
    put(out, table);
}

/// A table without lines: the first column to the left, figures to the right.
pub(super) fn columns(names: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(names);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

pub(super) fn put(out: &mut String, table: Table) {
    for line in table.lines() {
        let _ = writeln!(out, " {}", line.trim_end());
    }
}
