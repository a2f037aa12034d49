//! Plots as SVG text: bars, a curve over hours, dots with whiskers. No script, no outside font; colours come from the page's style.
//!
//! Pure: the same figures give the same bytes. Every plot has a title and a description for screen readers.

use std::fmt::Write as _;

/// A bar with its words on the left and its figure on the right.
pub struct Bar {
    pub label: String,
    pub value: f64,
    pub shown: String,
    /// A class of the style sheet: `main`, `quiet`, `warn`.
    pub class: &'static str,
}

/// Horizontal bars on one scale, `width` in SVG units. Nothing to show gives an empty text.
pub fn bars(title: &str, bars: &[Bar]) -> String {
    if bars.is_empty() {
        return String::new();
    }
    const W: f64 = 720.0;
    const ROW: f64 = 34.0;
    const LEFT: f64 = 250.0;
    const RIGHT: f64 = 110.0;
    let largest = bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
    let height = ROW * bars.len() as f64 + 6.0;
    let mut svg = open(title, W, height, &bars.iter().map(|bar| format!("{}: {}", bar.label, bar.shown)).collect::<Vec<_>>().join("; "));
    for (index, bar) in bars.iter().enumerate() {
        let y = index as f64 * ROW + 4.0;
        let length =
            if largest > 0.0 { (bar.value / largest * (W - LEFT - RIGHT)).max(if bar.value > 0.0 { 2.0 } else { 0.0 }) } else { 0.0 };
        let _ = write!(
            svg,
            r#"<text class="label" x="{:.0}" y="{:.1}" text-anchor="end">{}</text><rect class="bar {}" x="{LEFT}" y="{y:.1}" width="{length:.1}" height="{:.0}" rx="3"/><text class="figure" x="{:.1}" y="{:.1}">{}</text>"#,
            LEFT - 12.0,
            y + ROW * 0.6,
            escape(&shortened(&bar.label, 34)),
            bar.class,
            ROW - 10.0,
            LEFT + length + 8.0,
            y + ROW * 0.6,
            escape(&bar.shown),
        );
    }
    svg.push_str("</svg>");
    svg
}

/// One estimate with its interval.
pub struct Whisker {
    pub label: String,
    pub value: f64,
    pub low: f64,
    pub high: f64,
    pub shown: String,
    /// The interval does not touch zero.
    pub clear: bool,
}

/// Dots with whiskers on one scale, and a line at zero. `tick` writes a value of the scale.
pub fn whiskers(title: &str, rows: &[Whisker], tick: impl Fn(f64) -> String) -> String {
    if rows.is_empty() {
        return String::new();
    }
    const W: f64 = 720.0;
    const ROW: f64 = 46.0;
    const LEFT: f64 = 230.0;
    const RIGHT: f64 = 24.0;
    let low = rows.iter().map(|row| row.low).fold(0.0, f64::min);
    let high = rows.iter().map(|row| row.high).fold(0.0, f64::max);
    let span = if high > low { high - low } else { 1.0 };
    let (low, span) = (low - span * 0.06, span * 1.12);
    let x = |value: f64| LEFT + (value - low) / span * (W - LEFT - RIGHT);
    let bottom = ROW * rows.len() as f64 + 6.0;
    let mut svg =
        open(title, W, bottom + 28.0, &rows.iter().map(|row| format!("{}: {}", row.label, row.shown)).collect::<Vec<_>>().join("; "));
    for step in ticks(low, low + span, 5) {
        let at = x(step);
        let class = if step.abs() < span * 1e-9 { "zero" } else { "grid" };
        let _ = write!(
            svg,
            r#"<line class="{class}" x1="{at:.1}" y1="0" x2="{at:.1}" y2="{bottom:.1}"/><text class="tick" x="{at:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
            bottom + 18.0,
            escape(&tick(step))
        );
    }
    for (index, row) in rows.iter().enumerate() {
        let y = index as f64 * ROW + ROW * 0.55;
        let class = if row.clear { "main" } else { "quiet" };
        let _ = write!(
            svg,
            r#"<text class="label" x="{:.0}" y="{:.1}" text-anchor="end">{}</text><line class="whisker {class}" x1="{:.1}" y1="{y:.1}" x2="{:.1}" y2="{y:.1}"/><circle class="dot {class}" cx="{:.1}" cy="{y:.1}" r="7"/><text class="figure" x="{:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
            LEFT - 14.0,
            y + 5.0,
            escape(&shortened(&row.label, 30)),
            x(row.low),
            x(row.high),
            x(row.value),
            x(row.value).clamp(LEFT + 70.0, W - RIGHT - 80.0),
            y - 12.0,
            escape(&row.shown)
        );
    }
    svg.push_str("</svg>");
    svg
}

/// Two areas over the same hours; `labels` are written under the first, middle and last.
pub fn curve(title: &str, series: [(&str, &[u64]); 2], labels: [&str; 3]) -> String {
    let count = series[0].1.len();
    if count < 2 {
        return String::new();
    }
    const W: f64 = 720.0;
    const H: f64 = 220.0;
    const LEFT: f64 = 46.0;
    const TOP: f64 = 26.0;
    const BOTTOM: f64 = 30.0;
    let largest = series.iter().flat_map(|(_, values)| values.iter()).copied().max().unwrap_or(0).max(1) as f64;
    let x = |index: usize| LEFT + index as f64 / (count - 1) as f64 * (W - LEFT - 10.0);
    let y = |value: f64| H - BOTTOM - value / largest * (H - TOP - BOTTOM);
    let mut svg = open(title, W, H, &format!("highest hour: {largest}"));
    for step in ticks(0.0, largest, 3) {
        let _ = write!(
            svg,
            r#"<line class="grid" x1="{LEFT}" y1="{0:.1}" x2="{W}" y2="{0:.1}"/><text class="tick" x="{1:.1}" y="{2:.1}" text-anchor="end">{3:.0}</text>"#,
            y(step),
            LEFT - 8.0,
            y(step) + 4.0,
            step
        );
    }
    for (index, (name, values)) in series.iter().enumerate() {
        let mut path = format!("M{:.1} {:.1}", x(0), y(0.0));
        for (at, value) in values.iter().enumerate() {
            let _ = write!(path, " L{:.1} {:.1}", x(at), y(*value as f64));
        }
        let _ = write!(path, " L{:.1} {:.1} Z", x(count - 1), y(0.0));
        let class = if index == 0 { "quiet" } else { "main" };
        let _ = write!(
            svg,
            r#"<path class="area {class}" d="{path}"/><rect class="bar {class}" x="{0:.0}" y="2" width="12" height="12" rx="2"/><text class="tick" x="{1:.0}" y="13">{2}</text>"#,
            LEFT + index as f64 * 110.0,
            LEFT + 18.0 + index as f64 * 110.0,
            escape(name)
        );
    }
    for (label, (at, anchor)) in labels.iter().zip([(x(0), "start"), (x(count / 2), "middle"), (x(count - 1), "end")]) {
        let _ = write!(svg, r#"<text class="tick" x="{at:.1}" y="{:.1}" text-anchor="{anchor}">{}</text>"#, H - 8.0, escape(label));
    }
    svg.push_str("</svg>");
    svg
}

/// About `count` round values from `low` to `high`, zero among them where it lies between.
fn ticks(low: f64, high: f64, count: u32) -> Vec<f64> {
    let rough = (high - low) / f64::from(count);
    if !(rough.is_finite() && rough > 0.0) {
        return Vec::new();
    }
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= rough).unwrap_or(power * 10.0);
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    (first..=last).take(50).map(|index| index as f64 * step).collect()
}

fn open(title: &str, width: f64, height: f64, description: &str) -> String {
    format!(
        r#"<svg viewBox="0 0 {width:.0} {height:.0}" role="img" xmlns="http://www.w3.org/2000/svg"><title>{}</title><desc>{}</desc>"#,
        escape(title),
        escape(description)
    )
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most { text.to_string() } else { format!("{}…", text.chars().take(most - 1).collect::<String>()) }
}

/// Text that is safe inside HTML and SVG, also in attributes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_values_hold_zero() {
        assert_eq!(ticks(-0.011, 0.034, 5), [-0.01, 0.0, 0.01, 0.02, 0.03]);
        assert_eq!(ticks(0.0, 0.0, 5), Vec::<f64>::new());
        assert_eq!(ticks(0.0, f64::NAN, 5), Vec::<f64>::new());
    }

    #[test]
    fn nothing_gives_no_plot_and_odd_figures_no_crash() {
        assert_eq!(bars("x", &[]), "");
        assert_eq!(curve("x", [("a", &[]), ("b", &[])], ["", "", ""]), "");
        let row = |low, value, high| Whisker { label: "<b>".into(), value, low, high, shown: "&".into(), clear: false };
        let svg = whiskers("x", &[row(f64::NAN, 0.0, f64::INFINITY), row(0.0, 0.0, 0.0)], |value| value.to_string());
        assert!(svg.contains("&lt;b&gt;") && svg.ends_with("</svg>"));
    }
}
