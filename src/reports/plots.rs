//! Plots as SVG text: bars, columns by hour, dots with whiskers. No script, no outside font; colours come from the page's style.
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

/// The two drawings that each plot has; the page's style shows the one that fits, so that words stay readable on a phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drawing {
    Wide,
    Phone,
}

impl Drawing {
    const fn width(self) -> f64 {
        match self {
            Drawing::Wide => 720.0,
            Drawing::Phone => 330.0,
        }
    }
    const fn class(self) -> &'static str {
        match self {
            Drawing::Wide => "wide",
            Drawing::Phone => "phone",
        }
    }
}

fn both(draw: impl Fn(Drawing) -> String) -> String {
    draw(Drawing::Wide) + &draw(Drawing::Phone)
}

/// Horizontal bars on one scale. Nothing to show gives an empty text.
pub fn bars(title: &str, bars: &[Bar]) -> String {
    if bars.is_empty() {
        return String::new();
    }
    both(|drawing| bars_as(title, bars, drawing))
}

/// Words stand left of the bars; on a phone above them.
fn bars_as(title: &str, bars: &[Bar], drawing: Drawing) -> String {
    const RIGHT: f64 = 112.0;
    let (left, row, high) = match drawing {
        Drawing::Wide => (250.0, 34.0, 24.0),
        Drawing::Phone => (0.0, 48.0, 18.0),
    };
    let largest = bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
    let description = bars.iter().map(|bar| format!("{}: {}", bar.label, bar.shown)).collect::<Vec<_>>().join("; ");
    let mut svg = open(title, drawing, row * bars.len() as f64 + 6.0, &description);
    for (index, bar) in bars.iter().enumerate() {
        let top = index as f64 * row + 4.0;
        let part = if largest > 0.0 { bar.value / largest * (drawing.width() - left - RIGHT) } else { 0.0 };
        let length = if bar.value > 0.0 { part.max(2.0) } else { 0.0 };
        let (words_x, words_y, anchor, most, y) = match drawing {
            Drawing::Wide => (left - 12.0, top + high * 0.7, "end", 34, top),
            Drawing::Phone => (0.0, top + 14.0, "start", 44, top + 20.0),
        };
        let _ = write!(
            svg,
            r#"<text class="label" x="{words_x:.0}" y="{words_y:.1}" text-anchor="{anchor}">{}</text><rect class="bar {}" x="{left:.0}" y="{y:.1}" width="{length:.1}" height="{high:.0}" rx="3"/><text class="figure" x="{:.1}" y="{:.1}">{}</text>"#,
            escape(&shortened(&bar.label, most)),
            bar.class,
            left + length + 8.0,
            y + high * 0.72,
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
    both(|drawing| whiskers_as(title, rows, &tick, drawing))
}

fn whiskers_as(title: &str, rows: &[Whisker], tick: &impl Fn(f64) -> String, drawing: Drawing) -> String {
    // Words stand left of the scale and figures right of it; on a phone both stand above, where no line of the scale goes.
    let (left, right, row, steps) = match drawing {
        Drawing::Wide => (186.0, 236.0, 38.0, 4),
        Drawing::Phone => (16.0, 16.0, 72.0, 3),
    };
    const REACH: f64 = 13.0;
    let low = rows.iter().map(|row| row.low).fold(0.0, f64::min);
    let high = rows.iter().map(|row| row.high).fold(0.0, f64::max);
    let span = if high > low { high - low } else { 1.0 };
    let (low, span) = (low - span * 0.06, span * 1.12);
    let x = |value: f64| left + (value - low) / span * (drawing.width() - left - right);
    let bottom = row * rows.len() as f64 + 6.0;
    let description = rows.iter().map(|row| format!("{}: {}", row.label, row.shown)).collect::<Vec<_>>().join("; ");
    let mut svg = open(title, drawing, bottom + 28.0, &description);
    let line = |index: usize| index as f64 * row + row * if drawing == Drawing::Wide { 0.5 } else { 0.74 };
    for step in ticks(low, low + span, steps) {
        let at = x(step);
        let class = if step.abs() < span * 1e-9 { "zero" } else { "grid" };
        for y in (0..rows.len()).map(line) {
            let (from, to) = if drawing == Drawing::Wide { (y - row / 2.0, y + row / 2.0) } else { (y - REACH, y + REACH) };
            let _ = write!(svg, r#"<line class="{class}" x1="{at:.1}" y1="{from:.1}" x2="{at:.1}" y2="{to:.1}"/>"#);
        }
        let _ =
            write!(svg, r#"<text class="tick" x="{at:.1}" y="{:.1}" text-anchor="middle">{}</text>"#, bottom + 16.0, escape(&tick(step)));
    }
    for (index, whisker) in rows.iter().enumerate() {
        let class = if whisker.clear { "main" } else { "quiet" };
        let (top, y) = (index as f64 * row, line(index));
        let ((words_x, words_y, anchor, most), (figure_x, figure_y)) = match drawing {
            Drawing::Wide => ((left - 14.0, y + 5.0, "end", 26), (drawing.width() - right + 14.0, y + 5.0)),
            Drawing::Phone => ((0.0, top + 16.0, "start", 44), (0.0, top + 34.0)),
        };
        let _ = write!(
            svg,
            r#"<text class="label" x="{words_x:.0}" y="{words_y:.1}" text-anchor="{anchor}">{}</text><text class="figure" x="{figure_x:.0}" y="{figure_y:.1}">{}</text><line class="whisker {class}" x1="{:.1}" y1="{y:.1}" x2="{:.1}" y2="{y:.1}"/><circle class="dot {class}" cx="{:.1}" cy="{y:.1}" r="7"/>"#,
            escape(&shortened(&whisker.label, most)),
            escape(&whisker.shown),
            x(whisker.low),
            x(whisker.high),
            x(whisker.value),
        );
    }
    svg.push_str("</svg>");
    svg
}

/// Two columns an hour, the second before the first; `label` is written under some of them.
pub fn columns(title: &str, series: [(&str, &[u64]); 2], label: impl Fn(usize) -> String) -> String {
    if series[0].1.is_empty() || series.iter().all(|(_, values)| values.iter().all(|value| *value == 0)) {
        return String::new();
    }
    both(|drawing| columns_as(title, series, &label, drawing))
}

fn columns_as(title: &str, series: [(&str, &[u64]); 2], label: &impl Fn(usize) -> String, drawing: Drawing) -> String {
    const TOP: f64 = 28.0;
    const BOTTOM: f64 = 30.0;
    const LEFT: f64 = 46.0;
    let height = if drawing == Drawing::Wide { 230.0 } else { 210.0 };
    let count = series[0].1.len();
    let largest = series.iter().flat_map(|(_, values)| values.iter()).copied().max().unwrap_or(0).max(1) as f64;
    let each = (drawing.width() - LEFT - 4.0) / count as f64;
    let x = |index: usize| LEFT + index as f64 * each;
    let y = |value: f64| height - BOTTOM - value / largest * (height - TOP - BOTTOM);
    let mut svg = open(title, drawing, height, &format!("{count} hours, the highest with {largest}"));
    for step in ticks(0.0, largest, 3).into_iter().filter(|step| step.fract() == 0.0) {
        let _ = write!(
            svg,
            r#"<line class="grid" x1="{LEFT}" y1="{0:.1}" x2="{3:.0}" y2="{0:.1}"/><text class="tick" x="{1:.1}" y="{2:.1}" text-anchor="end">{step:.0}</text>"#,
            y(step),
            LEFT - 8.0,
            y(step) + 4.0,
            drawing.width()
        );
    }
    let gap = if each > 8.0 { 2.0 } else { each * 0.15 };
    let wide = (each - gap).min(60.0);
    for (index, (name, values)) in series.iter().enumerate() {
        let class = if index == 0 { "quiet" } else { "main" };
        let mut path = String::new();
        let inset = if index == 0 { 0.0 } else { wide * 0.18 };
        for (at, value) in values.iter().enumerate().filter(|(_, value)| **value > 0) {
            let (from, to) = (x(at) + (each - wide) / 2.0 + inset, x(at) + (each + wide) / 2.0 - inset);
            let _ = write!(path, "M{from:.1} {0:.1}V{1:.1}H{to:.1}V{0:.1}Z", y(0.0), y(*value as f64));
        }
        let _ = write!(
            svg,
            r#"<path class="bar {class}" d="{path}"/><rect class="bar {class}" x="{0:.0}" y="2" width="12" height="12" rx="2"/><text class="tick" x="{1:.0}" y="13">{2}</text>"#,
            LEFT + index as f64 * 90.0,
            LEFT + 18.0 + index as f64 * 90.0,
            escape(name)
        );
    }
    let shown: Vec<usize> = if count < 4 { vec![0] } else { vec![0, count / 2, count - 1] };
    for (place, index) in shown.iter().enumerate() {
        let anchor = ["start", "middle", "end"][place.min(2)];
        let at = [x(*index), x(*index) + each / 2.0, x(*index) + each][place.min(2)];
        if drawing == Drawing::Phone && place == 1 {
            continue;
        }
        let _ = write!(
            svg,
            r#"<text class="tick" x="{at:.1}" y="{:.1}" text-anchor="{anchor}">{}</text>"#,
            height - 8.0,
            escape(&label(*index))
        );
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

fn open(title: &str, drawing: Drawing, height: f64, description: &str) -> String {
    format!(
        r#"<svg class="{}" viewBox="0 0 {:.0} {height:.0}" role="img" xmlns="http://www.w3.org/2000/svg"><title>{}</title><desc>{}</desc>"#,
        drawing.class(),
        drawing.width(),
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
        assert_eq!(columns("x", [("a", &[]), ("b", &[])], |_| String::new()), "");
        assert_eq!(columns("x", [("a", &[0]), ("b", &[0])], |_| String::new()), "");
        let row = |low, value, high| Whisker { label: "<b>".into(), value, low, high, shown: "&".into(), clear: false };
        let svg = whiskers("x", &[row(f64::NAN, 0.0, f64::INFINITY), row(0.0, 0.0, 0.0)], |value| value.to_string());
        assert!(svg.contains("&lt;b&gt;") && svg.ends_with("</svg>"));
    }
}
