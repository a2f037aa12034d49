//! Quartz's own days, its numbers, and its seconds.

use super::*;

fn dates(expression: &str, after: &str, count: usize) -> Vec<String> {
    let rule = Rule::read_quartz(expression).unwrap_or_else(|error| panic!("`{expression}`: {error}"));
    fires(&rule, "UTC", after, count).into_iter().map(|at| at[..10].to_string()).collect()
}

#[test]
fn days_of_quartz_are_counted_as_it_counts_them() {
    let cases: &[(&str, &str, &[&str])] = &[
        // The last day through a leap year.
        ("0 0 10 L * ?", "2028-01-01T00:00:00Z", &["2028-01-31", "2028-02-29", "2028-03-31", "2028-04-30"]),
        ("0 0 10 L-3 * ?", "2028-01-01T00:00:00Z", &["2028-01-28", "2028-02-26", "2028-03-28", "2028-04-27"]),
        ("0 0 10 L-29 * ?", "2027-01-01T00:00:00Z", &["2027-01-02", "2027-03-02", "2027-04-01"]),
        // 31 January 2027 is a Sunday, 28 February too.
        ("0 0 10 LW * ?", "2027-01-01T00:00:00Z", &["2027-01-29", "2027-02-26", "2027-03-31", "2027-04-30", "2027-05-31"]),
        ("0 0 10 15W * ?", "2027-05-01T00:00:00Z", &["2027-05-14", "2027-06-15", "2027-07-15", "2027-08-16"]),
        // 1 May 2027 is a Saturday, and the 30th of April is another month.
        ("0 0 10 1W 5 ?", "2027-01-01T00:00:00Z", &["2027-05-03", "2028-05-01"]),
        // 31 October 2027 is a Sunday.
        ("0 0 10 31W * ?", "2027-08-01T00:00:00Z", &["2027-08-31", "2027-10-29", "2027-12-31"]),
        ("0 0 10 ? * 6L", "2027-03-01T00:00:00Z", &["2027-03-26", "2027-04-30"]),
        ("0 0 10 ? * FRIL", "2027-03-01T00:00:00Z", &["2027-03-26", "2027-04-30"]),
        ("0 0 10 ? * 6#3", "2027-03-01T00:00:00Z", &["2027-03-19", "2027-04-16"]),
        ("0 0 10 ? * MON#1", "2027-03-02T00:00:00Z", &["2027-04-05", "2027-05-03"]),
        ("0 0 10 ? * 2#5", "2027-03-30T00:00:00Z", &["2027-05-31", "2027-08-30"]),
        // 1 is Sunday, 7 and L are Saturday.
        ("0 0 10 ? * 1", "2027-03-01T00:00:00Z", &["2027-03-07", "2027-03-14"]),
        ("0 0 10 ? * L", "2027-03-01T00:00:00Z", &["2027-03-06", "2027-03-13"]),
        ("0 0 10 ? * FRI-MON", "2027-03-02T00:00:00Z", &["2027-03-05", "2027-03-06", "2027-03-07", "2027-03-08", "2027-03-12"]),
        ("0 0 10 28-2/2 * ?", "2027-04-01T11:00:00Z", &["2027-04-28", "2027-04-30", "2027-05-01", "2027-05-28"]),
        ("0 0 10 1 NOV-FEB ?", "2027-02-02T00:00:00Z", &["2027-11-01", "2027-12-01", "2028-01-01", "2028-02-01"]),
        ("0 0 10 29 2 ?", "2027-01-01T00:00:00Z", &["2028-02-29", "2032-02-29"]),
        ("0 0 10 1 1 ? 2028-2032/2", "2027-01-01T00:00:00Z", &["2028-01-01", "2030-01-01", "2032-01-01"]),
        ("0 0 10 1 1 ? 2199", "2027-01-01T00:00:00Z", &["2199-01-01"]),
        ("0 0 10 1,15,LW 3 ?", "2027-01-01T00:00:00Z", &["2027-03-01", "2027-03-15", "2027-03-31"]),
    ];
    for (expression, after, expected) in cases {
        assert_eq!(dates(expression, after, expected.len()), *expected, "`{expression}`");
    }
}

#[test]
fn after_its_last_year_nothing_fires() {
    let rule = Rule::read_quartz("0 0 10 1 1 ? 2028").unwrap();
    assert_eq!(rule.after(instant("2028-01-01T10:00:00Z"), zone("UTC"), &Bounds::default()), None);
}

#[test]
fn seconds_and_hours_round_midnight() {
    let rule = Rule::read_quartz("*/20 59 23-1/2 * * ?").unwrap();
    let expected = ["2027-03-01T23:59:00Z", "2027-03-01T23:59:20Z", "2027-03-01T23:59:40Z", "2027-03-02T01:59:00Z"];
    assert_eq!(fires(&rule, "UTC", "2027-03-01T02:00:00Z", 4), expected);
    // Fixed times of a skipped hour are one, after the gap; a repeated hour fires in its first pass.
    let fixed = Rule::read_quartz("0,30 30 3 * * ?").unwrap();
    assert_eq!(fires(&fixed, "Europe/Kyiv", "2027-03-27T12:00:00Z", 2), ["2027-03-28T01:00:00Z", "2027-03-29T00:30:00Z"]);
    let twice = Rule::read_quartz("0 30 * ? * *").unwrap();
    assert_eq!(fires(&twice, "Europe/Kyiv", "2027-10-30T23:45:00Z", 2), ["2027-10-31T00:30:00Z", "2027-10-31T01:30:00Z"]);
}

#[test]
fn errors_of_quartz_show_the_place() {
    let cases: &[(&str, &str, &str)] = &[
        ("0 10 * * MON", "0 10 * * MON", "5 of six or seven fields"),
        ("0 0 10 * * *", "* * *", "both day fields say something"),
        ("0 0 10 ? * ?", "? * ?", "both day fields are `?`"),
        ("0 0 ? 1 * ?", "?", "`?` is no hour"),
        ("0 0 10 ? * 8", "8", "`8` is no day of the week"),
        ("0 0 10 ? * 0", "0", "`0` is no day of the week"),
        ("0 0 10 ? * MON#6", "6", "`6` is no count here"),
        ("0 0 10 L-31 * ?", "L-31", "`L-31` is no day of the month"),
        ("0 0 10 32W * ?", "32", "`32` is no day of the month"),
        ("0 60 10 1 * ?", "60", "`60` is no minute"),
        ("0 */0 10 1 * ?", "0", "`0` is no step here"),
        ("0 0 10 30 2 ?", "30 2 ?", "this date never comes"),
        ("0 0 10 29 2 ? 2027", "29 2 ? 2027", "this date never comes"),
        ("0 0 10 ? 2 SUN#5", "? 2 SUN#5", "this date comes too rarely"),
        ("0 0 10 1 1 ? 1969", "1969", "`1969` is no year"),
        ("0 0 10 1 1 ? 2030-2028", "2030-2028", "the range `2030-2028` goes backwards"),
        ("0 0 10 1 1 ? 2027 9", "9", "one field too many"),
    ];
    for (expression, place, message) in cases {
        let error = Rule::read_quartz(expression).expect_err(expression);
        assert_eq!((&expression[error.range.clone()], error.message.as_str()), (*place, *message), "`{expression}`");
    }
}
