//! The report as one HTML page that stands alone: no script, no outside file; light and dark, wide and on a phone, printable.
//!
//! Lift first; under every figure, how it is counted. Pure: the same report gives the same bytes.

use super::model::{Arm, Attributed, Lift, MeasureReport, Report, SiteReport, VariantReport, refusal_in_words, share};
use super::plots::{Bar, Whisker, bars, columns, escape, whiskers};
use chrono_tz::Tz;
use std::fmt::Write as _;

/// `zone` is the workspace's: times on the page are local there.
pub fn page(report: &Report, zone: Tz) -> String {
    let mut html = String::with_capacity(32 * 1024);
    let title = escape(&report.title);
    let _ = write!(
        html,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{title}</title><style>{}</style></head><body><main>",
        include_str!("page.css")
    );
    header(&mut html, report, zone);
    brought(&mut html, report);
    reached(&mut html, report);
    responded(&mut html, report, zone);
    compared(&mut html, report);
    counted(&mut html);
    html.push_str("</main></body></html>\n");
    html
}

fn header(html: &mut String, report: &Report, zone: Tz) {
    let time = |time: crate::types::Time| time.with_timezone(&zone).format("%-d %B %Y, %H:%M").to_string();
    let when = match (report.first_due, report.last_due) {
        (Some(first), Some(last)) if first != last => format!("{} runs from {} to {}", report.runs.len(), time(first), time(last)),
        (Some(first), _) => format!("Sent on {}", time(first)),
        _ => "Has not run yet".to_string(),
    };
    let _ = write!(
        html,
        "<header><h1>{}</h1><p>{} · campaign <code>{}</code>, {} · as of {} ({})</p></header>",
        escape(&report.title),
        escape(&when),
        escape(&report.campaign),
        report.class,
        escape(&time(report.as_of)),
        escape(zone.name())
    );
}

fn brought(html: &mut String, report: &Report) {
    html.push_str("<section><h2>What it brought</h2>");
    if report.measures.is_empty() {
        html.push_str("<p class=\"lead\">This campaign has no goal, so nothing is measured.</p>");
    }
    for measure in &report.measures {
        one_measure(html, measure);
    }
    for attributed in report.attributed.iter().filter(|attributed| attributed.conversions > 0) {
        let _ = write!(
            html,
            "<p class=\"note\">Another figure, not to be added: {} × {} came after a click within the window{}. A click does not prove that the message was the cause; the lift does.</p>",
            number(attributed.conversions),
            escape(&attributed.event),
            escape(&worth(attributed))
        );
    }
    html.push_str("</section>");
}

fn one_measure(html: &mut String, measure: &MeasureReport) {
    let event = escape(&measure.event);
    let _ = write!(html, "<h3>{} within {}{}</h3>", event, period(measure.within_seconds), if measure.goal { " — the goal" } else { "" });
    let rate = measure.lifts.iter().find(|lift| lift.arm == "all" && lift.against == "held_out" && lift.metric == "rate");
    let value = measure.lifts.iter().find(|lift| lift.arm == "all" && lift.against == "held_out" && lift.metric == "value_per_customer");
    if measure.arms.iter().all(|arm| arm.converted == 0) {
        html.push_str("<p class=\"lead\">Nobody has done this yet.</p>");
        return;
    }
    match rate {
        Some(lift) => {
            let _ = write!(html, "<p class=\"lead\">{}</p>", verdict(lift, &event));
            if let (Some(change), Some(low), Some(high)) = (lift.relative, lift.relative_low, lift.relative_high) {
                let shown = |value: f64| format!("{:+.0} %", value * 100.0).replace('-', "−");
                let _ = write!(
                    html,
                    "<p class=\"note\">Against those held out, that is {} ({} to {}); p = {:.4}.</p>",
                    shown(change),
                    shown(low),
                    shown(high),
                    lift.p_value
                );
            }
        }
        None => html.push_str("<p class=\"lead\">Nobody was held out, so what the campaign itself brought cannot be told from what would have happened anyway.</p>"),
    }
    if let Some(lift) = value.filter(|_| measure.arms.iter().any(|arm| arm.value != 0.0)) {
        let _ = write!(
            html,
            "<p class=\"note\">Worth of a customer: {} more each ({} to {}).</p>",
            escape(&money(lift.difference, &measure.currency)),
            escape(&money(lift.low, &measure.currency)),
            escape(&money(lift.high, &measure.currency))
        );
    }
    let rates = measure.lifts.iter().filter(|lift| lift.metric == "rate");
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    // Variants are compared both ways round; one way is enough to see.
    let rows: Vec<Whisker> = rates
        .filter(|lift| {
            let known = pairs.contains(&(&lift.against, &lift.arm));
            pairs.push((&lift.arm, &lift.against));
            !known
        })
        .map(whisker)
        .collect();
    html.push_str(&whiskers(&format!("Lift in {}", measure.event), &rows, |value| points(value, 1)));
    arms(html, measure);
}

fn verdict(lift: &Lift, event: &str) -> String {
    let thousand = lift.difference * 1000.0;
    let range = format!("{:.0} to {:.0}", lift.low * 1000.0, lift.high * 1000.0).replace('-', "−");
    if lift.is_clear() {
        let word = if lift.difference > 0.0 { "more" } else { "fewer" };
        format!(
            "Of every thousand people, the campaign made <strong>{:.0} {word}</strong> do this ({event}; between {range} with 95 % confidence).",
            thousand.abs()
        )
    } else {
        format!(
            "<span class=\"unclear\">No clear effect yet</span>: {} of every thousand people ({event}), and anything from {range} fits the figures. Chance alone can give this.",
            format!("{thousand:+.0}").replace('-', "−")
        )
    }
}

fn whisker(lift: &Lift) -> Whisker {
    let against = if lift.against == "held_out" { "held out" } else { &lift.against };
    let arm = if lift.arm == "all" { "all sent to" } else { &lift.arm };
    Whisker {
        label: format!("{arm} vs {against}"),
        value: lift.difference,
        low: lift.low,
        high: lift.high,
        shown: format!(
            "{} ({} to {})",
            points(lift.difference, 2),
            points(lift.low, 2).trim_end_matches(" pt"),
            points(lift.high, 2).trim_end_matches(" pt")
        ),
        clear: lift.is_clear(),
    }
}

fn arms(html: &mut String, measure: &MeasureReport) {
    let worth = measure.arms.iter().any(|arm| arm.value != 0.0);
    let heads: &[&str] =
        if worth { &["Arm", "People", "Did it", "Rate", "Worth", "A person"] } else { &["Arm", "People", "Did it", "Rate"] };
    let row = |arm: &Arm| {
        let name = if arm.held_out { "held out (nothing sent)" } else { &arm.arm };
        let mut row = vec![name.to_string(), number(arm.customers), number(arm.converted), percent(arm.rate, 2)];
        if worth {
            row.extend([money(arm.value, &measure.currency), money(arm.value_per_customer, &measure.currency)]);
        }
        row
    };
    table(html, heads, measure.arms.iter().map(row));
    html.push_str("<p class=\"note\">Everyone who was drawn is counted in their arm, whether or not the message reached them.</p>");
}

/// Columns on a wide page; on a phone each row stands by itself, with the heads beside its figures.
fn table(html: &mut String, heads: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    html.push_str("<table><thead><tr>");
    for head in heads {
        let _ = write!(html, "<th scope=\"col\">{}</th>", escape(head));
    }
    html.push_str("</tr></thead><tbody>");
    for row in rows {
        html.push_str("<tr>");
        for (head, cell) in heads.iter().zip(row) {
            let _ = write!(html, "<td data-head=\"{}\">{}</td>", escape(head), escape(&cell));
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table>");
}

fn reached(html: &mut String, report: &Report) {
    let funnel = &report.funnel;
    html.push_str("<section><h2>Whom it reached</h2>");
    let bar = |label: &str, value: u64, of: u64, class| Bar {
        label: label.into(),
        value: value as f64,
        shown: if of == 0 || value == of { number(value) } else { format!("{} · {}", number(value), percent(share(value, of), 1)) },
        class,
    };
    html.push_str(&bars(
        "From selected to clicked",
        &[
            bar("Selected", funnel.selected, funnel.selected, "quiet"),
            bar("Messages", funnel.messages, funnel.selected, "quiet"),
            bar("Accepted by the provider", funnel.accepted, funnel.messages, "quiet"),
            bar("Delivered", funnel.delivered, funnel.accepted, "main"),
            bar("Opened by a person", report.responses.opens.unique, funnel.delivered, "main"),
            bar("Clicked by a person", report.responses.clicks.unique, funnel.delivered, "main"),
        ],
    ));
    let mut states = vec![format!("{} accepted", number(funnel.accepted))];
    for (word, count) in [
        ("waiting", funnel.waiting),
        ("held", funnel.held),
        ("uncertain", funnel.uncertain),
        ("failed", funnel.failed),
        ("expired", funnel.expired),
        ("cancelled", funnel.cancelled),
    ] {
        if count > 0 {
            states.push(format!("{} {word}", number(count)));
        }
    }
    let _ = write!(
        html,
        "<p class=\"note\">{} selected = {} refused + {} messages; messages = {}. Each percentage is a share of the line above it; opened and clicked, of delivered.</p>",
        number(funnel.selected),
        number(funnel.refused_in_all()),
        number(funnel.messages),
        states.join(" + ")
    );
    if funnel.uncertain > 0 {
        let _ = write!(
            html,
            "<p class=\"note\">{} uncertain: the connection or the machine failed while these were handed over. They may have arrived and are not sent again.</p>",
            number(funnel.uncertain)
        );
    }
    let refused: Vec<Bar> = funnel
        .refused
        .iter()
        .filter_map(|(word, count)| Some((word, count.as_u64().filter(|count| *count > 0)?)))
        .map(|(word, count)| bar(refusal_in_words(word), count, funnel.selected, if word == "held_out" { "main" } else { "quiet" }))
        .collect();
    if !refused.is_empty() {
        html.push_str("<h3>Why some got nothing</h3>");
        html.push_str(&bars("Refusals by reason", &refused));
        html.push_str("<p class=\"note\">The first reason that holds is the one counted; percentages are of everyone selected.</p>");
    }
    html.push_str("</section>");
}

fn responded(html: &mut String, report: &Report, zone: Tz) {
    let (funnel, responses) = (&report.funnel, &report.responses);
    html.push_str("<section><h2>What people did</h2><div class=\"tiles\">");
    let mut tile = |figure: String, words: &str| {
        let _ = write!(html, "<div class=\"tile\"><b>{figure}</b><span>{}</span></div>", escape(words));
    };
    tile(percent(share(responses.opens.unique, funnel.delivered), 1), "opened, of delivered");
    tile(percent(share(responses.clicks.unique, funnel.delivered), 1), "clicked, of delivered");
    tile(percent(share(responses.unsubscribes, funnel.delivered), 2), "unsubscribed");
    tile(percent(share(responses.complaints, funnel.delivered), 2), "complained of spam");
    tile(percent(share(funnel.bounced, funnel.accepted), 2), "bounced, of accepted");
    let _ = write!(
        html,
        "</div><p class=\"note\">Opens: {} in all, {} of them by people, {} messages opened at least once. Clicks: {}, {}, {}. Machines (scanners, mail programs that load pictures ahead) are kept and counted apart.</p>",
        number(responses.opens.all),
        number(responses.opens.human),
        number(responses.opens.unique),
        number(responses.clicks.all),
        number(responses.clicks.human),
        number(responses.clicks.unique)
    );
    hours(html, report, zone);
    if !report.links.is_empty() {
        html.push_str("<h3>Which links</h3>");
        let links: Vec<Bar> = report
            .links
            .iter()
            .map(|link| Bar {
                label: link.target.trim_start_matches("https://").trim_start_matches("http://").to_string(),
                value: link.clicks.unique as f64,
                shown: number(link.clicks.unique),
                class: "main",
            })
            .collect();
        html.push_str(&bars("People who clicked, by link", &links));
        html.push_str("<p class=\"note\">Messages in which a person clicked the link at least once.</p>");
    }
    html.push_str("</section>");
}

fn hours(html: &mut String, report: &Report, zone: Tz) {
    let (Some(first), Some(last)) = (report.hours.first(), report.hours.last()) else { return };
    // At most a week and a day of hours is readable.
    let count = ((last.at - first.at).num_hours() + 1).clamp(0, 192) as usize;
    let mut opens = vec![0; count];
    let mut clicks = vec![0; count];
    for hour in &report.hours {
        let index = (hour.at - first.at).num_hours() as usize;
        if let (Some(open), Some(click)) = (opens.get_mut(index), clicks.get_mut(index)) {
            *open += hour.opens;
            *click += hour.clicks;
        }
    }
    let label = |index: usize| (first.at + chrono::TimeDelta::hours(index as i64)).with_timezone(&zone).format("%-d %b, %H:00").to_string();
    let plot = columns("Opens and clicks by hour", [("opens", &opens), ("clicks", &clicks)], label);
    if !plot.is_empty() {
        html.push_str("<h3>When</h3>");
        html.push_str(&plot);
        let _ = write!(html, "<p class=\"note\">Opens and clicks by people, by hour in {}.</p>", escape(zone.name()));
    }
}

fn compared(html: &mut String, report: &Report) {
    if report.variants.len() > 1 {
        html.push_str("<section><h2>Variants</h2>");
        let row = |variant: &VariantReport| {
            vec![
                variant.variant.clone(),
                number(variant.messages),
                number(variant.delivered),
                percent(share(variant.opens.unique, variant.delivered), 1),
                percent(share(variant.clicks.unique, variant.delivered), 1),
                percent(share(variant.unsubscribes, variant.delivered), 2),
            ]
        };
        table(html, &["Variant", "Messages", "Delivered", "Opened", "Clicked", "Unsubscribed"], report.variants.iter().map(row));
        html.push_str("<p class=\"note\">Opened and clicked: messages with at least one by a person, of those delivered. Which variant sold more stands above, under what it brought.</p></section>");
    }
    if report.sites.len() > 1 {
        html.push_str("<section><h2>By mailbox site</h2>");
        let row = |site: &SiteReport| {
            vec![
                site.site.clone(),
                number(site.messages),
                number(site.delivered),
                number(site.bounced),
                percent(share(site.opens_unique, site.delivered), 1),
                percent(share(site.clicks_unique, site.delivered), 1),
                number(site.complaints),
            ]
        };
        table(html, &["Site", "Messages", "Delivered", "Bounced", "Opened", "Clicked", "Complaints"], report.sites.iter().map(row));
        html.push_str("</section>");
    }
}

fn counted(html: &mut String) {
    html.push_str(
        "<footer><p>Lift: the difference between everyone drawn to get the campaign and everyone held out by chance, within the window from the due time. \
         Intervals hold 95 %: Newcombe's for rates, Welch's for money. Delivered: accepted by the provider and not bounced. \
         A unique open or click is a message with at least one by a person.</p><p>Made by Posthaste.</p></footer>",
    );
}

pub(super) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// `, worth 25.00 EUR`, or nothing where there is no money.
pub(super) fn worth(attributed: &Attributed) -> String {
    let currency = attributed.currency.as_deref().filter(|_| attributed.value != 0.0);
    currency.map(|currency| format!(", worth {}", money(attributed.value, currency))).unwrap_or_default()
}

pub(super) fn money(value: f64, currency: &str) -> String {
    let whole = value.abs().trunc() as u64;
    let cents = ((value.abs() - value.abs().trunc()) * 100.0).round() as u64;
    let (whole, cents) = if cents == 100 { (whole + 1, 0) } else { (whole, cents) };
    let sign = if value < 0.0 && (whole, cents) != (0, 0) { "−" } else { "" };
    if whole >= 10_000 { format!("{sign}{} {currency}", number(whole)) } else { format!("{sign}{}.{cents:02} {currency}", number(whole)) }
}

pub(super) fn percent(value: f64, decimals: usize) -> String {
    format!("{:.decimals$} %", value * 100.0)
}

/// A difference of rates, in percentage points.
pub(super) fn points(value: f64, decimals: usize) -> String {
    let text = format!("{:+.decimals$} pt", value * 100.0);
    if text.trim_start_matches(['+', '-']).chars().all(|c| "0. pt".contains(c)) {
        text.trim_start_matches(['+', '-']).to_string()
    } else {
        text.replace('-', "−")
    }
}

pub(super) fn period(seconds: i64) -> String {
    let (count, unit) = match seconds {
        s if s % 86_400 == 0 => (s / 86_400, "day"),
        s if s % 3_600 == 0 => (s / 3_600, "hour"),
        s => (s / 60, "minute"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_for_people() {
        assert_eq!(number(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(money(-0.0001, "USD"), "0.00 USD");
        assert_eq!(money(999.999, "USD"), "1\u{202f}000.00 USD");
        assert_eq!(points(-0.00671, 2), "−0.67 pt");
        assert_eq!(points(-0.00001, 2), "0.00 pt");
        assert_eq!(period(604_800), "7 days");
    }
}
