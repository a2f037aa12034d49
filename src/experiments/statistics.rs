//! Verdicts from counts: lifts with their intervals, the check of the sample ratio, and what lift a hold-out can show.
//!
//! Formulas are those of definitions.md §3, §4 and §6. Nothing here rounds. What cannot be computed (nobody in an arm, nothing
//! to compare with) is `None`, never a zero that looks like a result.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};
use statrs::function::{beta::beta_reg, erf::erfc, gamma::gamma_ur};

/// Customers of an arm, and those who did what is measured at least once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub customers: u64,
    pub converted: u64,
}

impl Counts {
    pub fn rate(self) -> f64 {
        if self.customers == 0 { 0.0 } else { self.converted as f64 / self.customers as f64 }
    }
}

/// Values of an arm, one a customer (0 for who bought nothing): how many, their sum, the sum of their squares.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sums {
    pub customers: u64,
    pub sum: f64,
    pub squares: f64,
}

impl Sums {
    pub fn mean(self) -> f64 {
        if self.customers == 0 { 0.0 } else { self.sum / self.customers as f64 }
    }
    /// The variance of the mean, from the sample's variance with n − 1.
    fn variance_of_mean(self) -> f64 {
        let n = self.customers as f64;
        ((self.squares - self.sum * self.sum / n) / (n - 1.0)).max(0.0) / n
    }
}

/// How an arm differs from the one it is compared with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lift {
    pub difference: f64,
    pub low: f64,
    pub high: f64,
    /// `None` when one of the two is 0, so that there is no ratio.
    pub relative: Option<Relative>,
    /// Two-sided.
    pub p_value: f64,
}

/// The ratio less 1, with its interval: 0.25 is a quarter more.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Relative {
    pub change: f64,
    pub low: f64,
    pub high: f64,
}

impl Relative {
    fn of(ratio: f64, deviation: f64, z: f64) -> Self {
        let factor = (z * deviation).exp();
        Relative { change: ratio - 1.0, low: ratio / factor - 1.0, high: ratio * factor - 1.0 }
    }
}

/// The standard normal quantile of a two-sided confidence: 0.95 → 1.959964.
pub fn two_sided(confidence: f64) -> f64 {
    Normal::standard().inverse_cdf(1.0 - (1.0 - confidence.clamp(0.0, 0.999_999)) / 2.0)
}

/// Wilson's score interval of a proportion.
pub fn wilson(counts: Counts, z: f64) -> (f64, f64) {
    let n = counts.customers as f64;
    if n == 0.0 {
        return (0.0, 1.0);
    }
    let p = counts.rate();
    let middle = p + z * z / (2.0 * n);
    let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    let whole = 1.0 + z * z / n;
    (((middle - half) / whole).max(0.0), ((middle + half) / whole).min(1.0))
}

/// Lift of rates: Newcombe's hybrid score interval, pooled z, p = erfc(|z|/√2); relative by the log ratio.
pub fn lift_of_rates(treated: Counts, control: Counts, confidence: f64) -> Option<Lift> {
    if treated.customers == 0 || control.customers == 0 {
        return None;
    }
    let z = two_sided(confidence);
    let (p1, p0) = (treated.rate(), control.rate());
    let ((low1, high1), (low0, high0)) = (wilson(treated, z), wilson(control, z));
    let difference = p1 - p0;
    Some(Lift {
        difference,
        low: difference - ((p1 - low1).powi(2) + (high0 - p0).powi(2)).sqrt(),
        high: difference + ((high1 - p1).powi(2) + (p0 - low0).powi(2)).sqrt(),
        relative: relative_of_rates(treated, control, z),
        p_value: erfc(pooled_z(treated, control).abs() / std::f64::consts::SQRT_2),
    })
}

fn relative_of_rates(treated: Counts, control: Counts, z: f64) -> Option<Relative> {
    if treated.converted == 0 || control.converted == 0 {
        return None;
    }
    let inverse = |count: u64| 1.0 / count as f64;
    let variance = inverse(treated.converted) - inverse(treated.customers) + inverse(control.converted) - inverse(control.customers);
    Some(Relative::of(treated.rate() / control.rate(), variance.max(0.0).sqrt(), z))
}

/// The z of two proportions with pooled variance; 0 when nobody or everybody converted.
pub fn pooled_z(treated: Counts, control: Counts) -> f64 {
    let (n1, n0) = (treated.customers as f64, control.customers as f64);
    let p = (treated.converted + control.converted) as f64 / (n1 + n0);
    let deviation = (p * (1.0 - p) * (1.0 / n1 + 1.0 / n0)).sqrt();
    if deviation > 0.0 { (treated.rate() - control.rate()) / deviation } else { 0.0 }
}

/// Lift of means by Welch: unequal variances, the quantile of t. Values are taken as they are, not winsorised.
pub fn lift_of_means(treated: Sums, control: Sums, confidence: f64) -> Option<Lift> {
    if treated.customers < 2 || control.customers < 2 {
        return None;
    }
    let (m1, m0) = (treated.mean(), control.mean());
    let (v1, v0) = (treated.variance_of_mean(), control.variance_of_mean());
    let difference = m1 - m0;
    let deviation = (v1 + v0).sqrt();
    let relative = (m1 > 0.0 && m0 > 0.0).then(|| Relative::of(m1 / m0, (v1 / (m1 * m1) + v0 / (m0 * m0)).sqrt(), two_sided(confidence)));
    if deviation == 0.0 {
        let p_value = if difference == 0.0 { 1.0 } else { 0.0 };
        return Some(Lift { difference, low: difference, high: difference, relative, p_value });
    }
    let freedom = (v1 + v0).powi(2) / (v1 * v1 / (treated.customers - 1) as f64 + v0 * v0 / (control.customers - 1) as f64);
    let t = difference / deviation;
    let half = StudentsT::new(0.0, 1.0, freedom).ok()?.inverse_cdf(1.0 - (1.0 - confidence) / 2.0) * deviation;
    let p_value = beta_reg(freedom / 2.0, 0.5, (freedom / (freedom + t * t)).clamp(0.0, 1.0));
    Some(Lift { difference, low: difference - half, high: difference + half, relative, p_value })
}

/// Whether the arms have the sizes that were asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleRatio {
    pub chi_square: f64,
    pub p_value: f64,
}

impl SampleRatio {
    /// Below this the arms are not what the file says, and no lift can be believed.
    pub const ALARM: f64 = 0.001;
    pub fn is_off(self) -> bool {
        self.p_value < Self::ALARM
    }
}

/// Pearson's chi-square of the sizes of the arms against their weights.
pub fn sample_ratio(sizes: &[u64], weights: &[f64]) -> Option<SampleRatio> {
    let people: u64 = sizes.iter().sum();
    let whole: f64 = weights.iter().sum();
    if sizes.len() != weights.len() || sizes.len() < 2 || people == 0 || weights.iter().any(|weight| *weight <= 0.0) {
        return None;
    }
    let expected = weights.iter().map(|weight| weight / whole * people as f64);
    let chi_square = sizes.iter().zip(expected).map(|(size, expected)| (*size as f64 - expected).powi(2) / expected).sum::<f64>();
    let p_value = if chi_square > 0.0 { gamma_ur((sizes.len() - 1) as f64 / 2.0, chi_square / 2.0) } else { 1.0 };
    Some(SampleRatio { chi_square, p_value })
}

/// What an experiment must be able to do: two-sided significance level, and the chance to see what is there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demands {
    pub significance: f64,
    pub power: f64,
}

impl Default for Demands {
    fn default() -> Self {
        Demands { significance: 0.05, power: 0.8 }
    }
}

/// How many customers who are sent to it takes to see `rate` against `baseline`, when `ratio` are held out for each of them.
pub fn customers_needed(rate: f64, baseline: f64, ratio: f64, demands: Demands) -> f64 {
    let normal = Normal::standard();
    let (z_significance, z_power) = (normal.inverse_cdf(1.0 - demands.significance / 2.0), normal.inverse_cdf(demands.power));
    let pooled = (rate + ratio * baseline) / (1.0 + ratio);
    let under_none = (pooled * (1.0 - pooled) * (1.0 + 1.0 / ratio)).sqrt();
    let under_lift = (rate * (1.0 - rate) + baseline * (1.0 - baseline) / ratio).sqrt();
    (z_significance * under_none + z_power * under_lift).powi(2) / (rate - baseline).powi(2)
}

/// The smallest rise over `baseline` (as a share of all customers, 0.002 is 0.2 points) that so many can show; `None` when they are
/// too few to show any.
pub fn smallest_lift(sent_to: u64, held_out: u64, baseline: f64, demands: Demands) -> Option<f64> {
    if sent_to == 0 || held_out == 0 || !(0.0..1.0).contains(&baseline) {
        return None;
    }
    let ratio = held_out as f64 / sent_to as f64;
    let shows = |rate: f64| customers_needed(rate, baseline, ratio, demands) <= sent_to as f64;
    let (mut hidden, mut shown) = (baseline, 1.0);
    if !shows(shown) {
        return None;
    }
    for _ in 0..60 {
        let middle = (hidden + shown) / 2.0;
        if shows(middle) { shown = middle } else { hidden = middle }
    }
    Some(shown - baseline)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64, tolerance: f64) {
        assert!((found - expected).abs() <= tolerance * expected.abs().max(1e-12), "{found} is not {expected}");
    }

    fn counts(converted: u64, customers: u64) -> Counts {
        Counts { customers, converted }
    }

    #[test]
    fn rates_against_published_vectors() {
        let (treated, control) = (counts(2520, 90_000), counts(220, 10_000));
        let lift = lift_of_rates(treated, control, 0.95).unwrap();
        near(lift.difference, 0.006, 1e-9);
        near(lift.low, 0.00275873, 1e-5);
        near(lift.high, 0.00891170, 1e-5);
        near(pooled_z(treated, control), 3.486825, 1e-6);
        near(lift.p_value, 0.000489, 1e-3);
        let relative = lift.relative.unwrap();
        near(relative.change, 0.2727, 1e-3);
        near(relative.low, 0.1106, 1e-3);
        near(relative.high, 0.4585, 1e-3);

        let lift = lift_of_rates(counts(250, 1000), counts(200, 1000), 0.95).unwrap();
        near(lift.low, 0.0133960, 1e-5);
        near(lift.high, 0.0864510, 1e-5);
        near(lift.relative.unwrap().low, 0.060946, 1e-5);
        near(lift.relative.unwrap().high, 0.472742, 1e-5);
        near(pooled_z(counts(250, 1000), counts(200, 1000)), 2.677398, 1e-6);
        near(lift.p_value, 0.007420, 1e-4);
        let (low, high) = wilson(counts(0, 100), two_sided(0.95));
        assert_eq!(low, 0.0);
        near(high, 0.0369935, 1e-5);
    }

    #[test]
    fn what_cannot_be_compared_is_not_a_zero() {
        assert_eq!(lift_of_rates(counts(0, 0), counts(1, 10), 0.95), None);
        let lift = lift_of_rates(counts(0, 10), counts(0, 10), 0.95).unwrap();
        assert_eq!((lift.difference, lift.relative, lift.p_value), (0.0, None, 1.0));
        assert_eq!(lift_of_means(Sums { customers: 1, sum: 5.0, squares: 25.0 }, Sums::default(), 0.95), None);
        let same = Sums { customers: 3, sum: 6.0, squares: 12.0 };
        assert_eq!(lift_of_means(same, same, 0.95).unwrap().p_value, 1.0);
    }

    #[test]
    fn sample_ratios_against_published_vectors() {
        for (sizes, weights, chi_square, p_value) in [
            ([90_310, 9690], [0.9, 0.1], 10.678, 0.00108),
            ([90_120, 9880], [0.9, 0.1], 1.6, 0.206),
            ([45_000, 55_000], [0.5, 0.5], 1000.0, 1.796e-219),
        ] {
            let found = sample_ratio(&sizes, &weights).unwrap();
            near(found.chi_square, chi_square, 1e-3);
            near(found.p_value, p_value, 1e-2);
        }
        assert!(sample_ratio(&[45_000, 55_000], &[50.0, 50.0]).unwrap().is_off());
        near(sample_ratio(&[21_307, 21_387, 21_306], &[1.0; 3]).unwrap().p_value, 0.904, 1e-3);
        assert_eq!(sample_ratio(&[5], &[1.0]), None);
    }

    #[test]
    fn sizes_against_published_vectors() {
        for (rate, baseline, at_80, at_90) in [
            (0.28, 0.25, 3397.0, 4546.0),
            (0.22, 0.20, 6510.0, 8714.0),
            (0.05, 0.04, 6745.0, 9030.0),
            (0.022, 0.02, 80_682.0, 108_009.0),
            (0.024, 0.02, 21_109.0, 28_258.0),
            (0.006, 0.005, 85_862.0, 114_944.0),
        ] {
            let needed = |power| customers_needed(rate, baseline, 1.0, Demands { significance: 0.05, power }).ceil();
            assert_eq!((needed(0.8), needed(0.9)), (at_80, at_90), "{baseline} to {rate}");
        }
        for (rate, baseline, sent_to, held_out) in
            [(0.022, 0.02, 409_284, 45_476), (0.024, 0.02, 108_417, 12_047), (0.055, 0.05, 158_360, 17_596)]
        {
            let needed = customers_needed(rate, baseline, 1.0 / 9.0, Demands::default());
            assert!((needed - f64::from(sent_to)).abs() < 10.0, "{needed}");
            let lift = smallest_lift(u64::from(sent_to as u32), held_out, baseline, Demands::default()).unwrap();
            near(lift, rate - baseline, 1e-3);
        }
        assert_eq!(smallest_lift(2, 1, 0.02, Demands::default()), None);
    }

    /// An arm of the sample: rows, and count, sum and sum of squares of a column.
    fn arm(rows: &[(String, [f64; 3])], names: &[&str], column: usize) -> Sums {
        let values = rows.iter().filter(|(arm, _)| names.contains(&arm.as_str())).map(|(_, values)| values[column]);
        values.fold(Sums::default(), |sums, value| Sums {
            customers: sums.customers + 1,
            sum: sums.sum + value,
            squares: sums.squares + value * value,
        })
    }

    #[test]
    fn lifts_of_a_real_experiment_with_64_000_customers() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/hillstrom");
        let Ok(packed) = std::fs::File::open(format!("{folder}/hillstrom.csv.gz")) else {
            eprintln!("{folder} is not here: left out");
            return;
        };
        let mut table = csv::Reader::from_reader(flate2::read::GzDecoder::new(packed));
        let headers = table.headers().unwrap().clone();
        let column = |name: &str| headers.iter().position(|header| header == name).unwrap();
        let (segment, measured) = (column("segment"), ["visit", "conversion", "spend"].map(column));
        let rows: Vec<(String, [f64; 3])> = table
            .records()
            .map(Result::unwrap)
            .map(|row| (row[segment].to_string(), measured.map(|column| row[column].parse().unwrap())))
            .collect();
        let mut expected = csv::Reader::from_path(format!("{folder}/expected_lifts.csv")).unwrap();
        let headers = expected.headers().unwrap().clone();
        for row in expected.records().map(Result::unwrap) {
            let cell = |name: &str| row[headers.iter().position(|header| header == name).unwrap()].to_string();
            let number = |name: &str| cell(name).parse::<f64>().unwrap();
            let names = |name: &str| {
                if name == "Any E-Mail" { vec!["Mens E-Mail", "Womens E-Mail"] } else { vec![name] }
                    .into_iter()
                    .map(str::to_string)
                    .collect::<Vec<_>>()
            };
            let sums = |arm_name: String, column| {
                let names = names(&arm_name);
                arm(&rows, &names.iter().map(String::as_str).collect::<Vec<_>>(), column)
            };
            let column = ["visit", "conversion", "spend"].iter().position(|name| *name == cell("metric")).unwrap();
            let (treated, control) = (sums(cell("treatment_arm"), column), sums(cell("control_arm"), column));
            let lift = if column == 2 {
                let lift = lift_of_means(treated, control, 0.95).unwrap();
                near(lift.low, number("wald_lo"), 1e-6);
                near(lift.high, number("wald_hi"), 1e-6);
                lift
            } else {
                let count = |sums: Sums| counts(sums.sum as u64, sums.customers);
                let lift = lift_of_rates(count(treated), count(control), 0.95).unwrap();
                near(lift.low, number("newcombe_lo"), 1e-6);
                near(lift.high, number("newcombe_hi"), 1e-6);
                near(pooled_z(count(treated), count(control)), number("z_pooled"), 1e-6);
                lift
            };
            near(lift.difference, number("diff"), 1e-6);
            near(lift.p_value, number("p_value"), 1e-5);
            let relative = lift.relative.unwrap();
            near(relative.change, number("rel_lift"), 1e-6);
            near(relative.low, number("rel_lo"), 1e-5);
            near(relative.high, number("rel_hi"), 1e-5);
        }
    }
}
