mod quartz;
mod walk;

use super::zones::Place;
use super::*;
use chrono::{TimeDelta, Utc};
use proptest::prelude::*;
use serde_json::Value;

fn zone(name: &str) -> Tz {
    name.parse().unwrap()
}

fn instant(text: &str) -> Time {
    text.parse().unwrap()
}

fn local(text: &str) -> NaiveDateTime {
    text.parse().unwrap_or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap())
}

fn fires(rule: &Rule, zone_name: &str, after: &str, count: usize) -> Vec<String> {
    let mut after = instant(after);
    let mut found = Vec::new();
    while found.len() < count {
        let Some(occurrence) = rule.after(after, zone(zone_name), &Bounds::default()) else { break };
        assert!(occurrence.instant > after, "strictly later");
        after = occurrence.instant;
        found.push(after.format("%Y-%m-%dT%H:%M:%SZ").to_string());
    }
    found
}

fn sample(name: &str) -> Option<String> {
    let path = format!(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/schedules/{}"), name);
    let found = std::fs::read_to_string(&path).ok();
    if found.is_none() {
        eprintln!("{path} is not here: left out");
    }
    found
}

#[test]
fn clock_changes_neither_lose_nor_double_a_fixed_time() {
    let cases: &[(&str, &str, &str, &[&str])] = &[
        ("Europe/Berlin", "30 2 * * *", "2025-03-29T12:00:00Z", &["2025-03-30T01:00:00Z", "2025-03-31T00:30:00Z"]),
        ("Europe/Berlin", "30 2 * * *", "2025-10-25T12:00:00Z", &["2025-10-26T00:30:00Z", "2025-10-27T01:30:00Z"]),
        ("Europe/Kyiv", "30 3 * * *", "2025-03-29T12:00:00Z", &["2025-03-30T01:00:00Z", "2025-03-31T00:30:00Z"]),
        ("Europe/Kyiv", "30 3 * * *", "2025-10-25T12:00:00Z", &["2025-10-26T00:30:00Z", "2025-10-27T01:30:00Z"]),
        ("America/New_York", "30 2 * * *", "2025-03-08T12:00:00Z", &["2025-03-09T07:00:00Z", "2025-03-10T06:30:00Z"]),
        ("America/New_York", "30 1 * * *", "2025-11-01T12:00:00Z", &["2025-11-02T05:30:00Z", "2025-11-03T06:30:00Z"]),
        ("Africa/Cairo", "30 0 * * *", "2025-04-23T23:00:00Z", &["2025-04-24T22:00:00Z", "2025-04-25T21:30:00Z"]),
        ("Africa/Cairo", "30 23 * * *", "2025-10-30T12:00:00Z", &["2025-10-30T20:30:00Z", "2025-10-31T21:30:00Z"]),
        ("Australia/Lord_Howe", "15 2 * * *", "2025-10-04T12:00:00Z", &["2025-10-04T15:30:00Z", "2025-10-05T15:15:00Z"]),
        ("Australia/Lord_Howe", "45 1 * * *", "2025-04-05T12:00:00Z", &["2025-04-05T14:45:00Z", "2025-04-06T15:15:00Z"]),
        ("Pacific/Apia", "0 10 * * *", "2011-12-29T00:00:00Z", &["2011-12-29T20:00:00Z", "2011-12-30T20:00:00Z"]),
        ("Europe/Kyiv", "0 */2 * * *", "2026-10-24T23:00:00Z", &["2026-10-25T02:00:00Z", "2026-10-25T04:00:00Z"]),
        ("Europe/Kyiv", "*/30 3 * * *", "2026-10-24T23:00:00Z", &["2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:00:00Z"]),
        ("Europe/Kyiv", "30 * * * *", "2026-10-24T23:50:00Z", &["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"]),
        (
            "Europe/Kyiv",
            "*/20 2-4 * * *",
            "2026-03-29T00:30:00Z",
            &["2026-03-29T00:40:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:20:00Z"],
        ),
    ];
    for (zone, expression, after, expected) in cases {
        let rule = Rule::read_cron(expression).unwrap();
        assert_eq!(fires(&rule, zone, after, expected.len()), *expected, "`{expression}` in {zone}");
    }
}

#[test]
fn notes_say_what_a_clock_change_did() {
    let next = |expression: &str, name: &str, after: &str| {
        Rule::read_cron(expression).unwrap().after(instant(after), zone(name), &Bounds::default()).unwrap()
    };
    let gap = next("30 3 * * *", "Europe/Kyiv", "2026-03-28T12:00:00Z");
    assert_eq!((gap.local, gap.note), (local("2026-03-29 04:00"), Some(Note::Gap { wanted: local("2026-03-29 03:30") })));
    assert_eq!(next("30 3 * * *", "Europe/Kyiv", "2026-10-24T12:00:00Z").note, Some(Note::Overlap { second: false }));
    assert_eq!(next("30 * * * *", "Europe/Kyiv", "2026-10-25T00:30:00Z").note, Some(Note::Overlap { second: true }));
    let skipped = next("0 10 * * *", "Pacific/Apia", "2011-12-29T21:00:00Z");
    assert_eq!((skipped.local, skipped.note), (local("2011-12-31 10:00"), Some(Note::Skipped { wanted: local("2011-12-30 10:00") })));
}

#[test]
fn words_repeat_as_they_say() {
    let cases: &[(&str, &str, &[&str])] = &[
        ("15 minutes", "2027-03-01T10:01:00Z", &["2027-03-01T10:15:00Z", "2027-03-01T10:30:00Z"]),
        ("6 hours", "2027-03-01T10:01:00Z", &["2027-03-01T16:00:00Z", "2027-03-01T22:00:00Z"]),
        ("day at 10:00", "2027-03-01T09:00:00Z", &["2027-03-02T08:00:00Z", "2027-03-03T08:00:00Z"]),
        ("weekday at 09:00", "2027-03-05T06:00:00Z", &["2027-03-05T07:00:00Z", "2027-03-08T07:00:00Z"]),
        ("monday and thursday at 10:00", "2027-03-01T08:00:00Z", &["2027-03-04T08:00:00Z", "2027-03-08T08:00:00Z"]),
        ("monday to wednesday, friday at 10:00", "2027-03-02T08:00:00Z", &["2027-03-03T08:00:00Z", "2027-03-05T08:00:00Z"]),
        ("2 weeks on monday at 10:00", "2027-03-01T09:00:00Z", &["2027-03-08T08:00:00Z", "2027-03-22T08:00:00Z"]),
        ("month on 15 at 10:00", "2027-03-15T08:00:00Z", &["2027-04-15T07:00:00Z", "2027-05-15T07:00:00Z"]),
        ("month on 31 at 10:00", "2027-02-15T08:00:00Z", &["2027-02-28T08:00:00Z", "2027-03-31T07:00:00Z"]),
        ("month on last day at 18:00", "2028-02-15T08:00:00Z", &["2028-02-29T16:00:00Z", "2028-03-31T15:00:00Z"]),
        ("month on first monday at 10:00", "2027-03-01T08:00:00Z", &["2027-04-05T07:00:00Z", "2027-05-03T07:00:00Z"]),
        ("month on last friday at 10:00", "2027-03-01T08:00:00Z", &["2027-03-26T08:00:00Z", "2027-04-30T07:00:00Z"]),
        ("month on fifth monday at 10:00", "2027-03-30T08:00:00Z", &["2027-05-31T07:00:00Z", "2027-08-30T07:00:00Z"]),
        (
            "3 months on 1 and 15 at 10:00",
            "2027-03-01T08:00:00Z",
            &["2027-04-01T07:00:00Z", "2027-04-15T07:00:00Z", "2027-07-01T07:00:00Z"],
        ),
        ("year on 12-24 at 10:00", "2027-03-01T08:00:00Z", &["2027-12-24T08:00:00Z", "2028-12-24T08:00:00Z"]),
        ("year on 02-29 at 10:00", "2027-03-01T08:00:00Z", &["2028-02-29T08:00:00Z", "2029-02-28T08:00:00Z"]),
    ];
    for (words, after, expected) in cases {
        let rule = Rule::read_every(words).unwrap_or_else(|error| panic!("`{words}`: {error}"));
        assert_eq!(fires(&rule, "Europe/Kyiv", after, expected.len()), *expected, "`{words}`");
    }
}

#[test]
fn from_and_until_are_included_and_counts_begin_at_from() {
    let (from, until) = (local("2027-03-08 10:00"), local("2027-04-05 10:00"));
    let bounds = Bounds { from: Some(from), until: Some(until), blackout: Vec::new() };
    let rule = Rule::read_every("2 weeks on monday at 10:00").unwrap();
    let mut after = instant("2027-01-01T00:00:00Z");
    let mut found = Vec::new();
    while let Some(occurrence) = rule.after(after, zone("Europe/Kyiv"), &bounds) {
        after = occurrence.instant;
        found.push(occurrence.local);
    }
    assert_eq!(found, [local("2027-03-08 10:00"), local("2027-03-22 10:00"), local("2027-04-05 10:00")]);
    let rule = Rule::read_every("6 hours").unwrap();
    let first = rule.after(instant("2027-01-01T00:00:00Z"), zone("Europe/Kyiv"), &Bounds { until: None, ..bounds }).unwrap();
    assert_eq!(first.instant, instant("2027-03-08T08:00:00Z"));
}

#[test]
fn one_time_is_once() {
    let kyiv = zone("Europe/Kyiv");
    let at = Rule::read_at("2027-03-01 10:00").unwrap();
    assert_eq!(at.after(instant("2027-03-01T07:59:59Z"), kyiv, &Bounds::default()).unwrap().instant, instant("2027-03-01T08:00:00Z"));
    assert_eq!(at.after(instant("2027-03-01T08:00:00Z"), kyiv, &Bounds::default()), None);
    let fixed = Rule::read_at("2027-03-01T10:00:00+05:00").unwrap();
    assert_eq!(fixed.after(instant("2026-03-01T00:00:00Z"), kyiv, &Bounds::default()).unwrap().local, local("2027-03-01 07:00"));
}

#[test]
fn errors_show_the_place_and_what_to_do() {
    let cron: &[(&str, &str, &str)] = &[
        ("0 10 * * MUN", "MUN", "`MUN` is no day of the week"),
        ("0 25 * * *", "25", "`25` is no hour"),
        ("0 10 * *", "0 10 * *", "4 of five fields"),
        ("0 0 10 * * MON", "MON", "one field too many"),
        ("*/0 * * * *", "0", "`0` is no step here"),
        ("0 22-2 * * *", "22-2", "the range `22-2` goes backwards"),
        ("0 10 L * *", "L", "`L` is no day of the month"),
        ("0 10 30 2 *", "30 2 *", "this date never comes"),
        ("0 10 29 2 */7", "29 2 */7", "this date comes too rarely"),
        ("@reboot", "@reboot", "@reboot is no time"),
        ("@dayly", "@dayly", "`@dayly` is unknown"),
        ("1,,2 * * * *", "", "`` is no minute"),
        ("0 +5 * * *", "+5", "`+5` is no hour"),
    ];
    for (expression, place, message) in cron {
        let error = Rule::read_cron(expression).unwrap_err();
        assert_eq!((&expression[error.range.clone()], error.message.as_str()), (*place, *message), "`{expression}`");
    }
    let every: &[(&str, &str, &str, &str)] = &[
        ("munday at 10:00", "munday", "`munday` is not understood here", "did you mean `monday`?"),
        ("day at 9", "9", "`9` is no time", "write 24 hours with two digits each, like `09:00` or `18:30`"),
        ("day", "", "`at` is missing at the end", "write it like `day at 10:00`"),
        ("41 years on 12-24 at 10:00", "41 years", "that is too long", "write at most 40 years"),
        ("0 hours", "0", "`0` is no count", "write a whole number from 1 to 9999, a blank, and the unit"),
        (
            "month on 32 at 10:00",
            "32",
            "no month has a day `32`",
            "write a number from 1 to 31, `last day`, or a weekday like `first monday`",
        ),
        ("year on 13-01 at 10:00", "13-01", "`13-01` is no date of the year", "write month and day with two digits each, like `12-24`"),
    ];
    for (expression, place, message, help) in every {
        let error = Rule::read_every(expression).unwrap_err();
        let found = (&expression[error.range.clone()], error.message.as_str(), error.help.as_str());
        assert_eq!(found, (*place, *message, *help), "`{expression}`");
    }
    assert!(Rule::read_at("tomorrow").is_err());
}

#[test]
fn sample_of_minutes_that_fire() {
    let Some(text) = sample("cron_fires_at.csv") else { return };
    for row in csv::Reader::from_reader(text.as_bytes()).records().map(Result::unwrap) {
        let Rule::Cron(cron) = Rule::read_cron(&row[1]).unwrap_or_else(|error| panic!("{}: {error}", &row[1])) else { unreachable!() };
        let at = local(&row[0]);
        let found = cron.fires_on(at.date(), at.date()) && cron.time_from(at.time()) == Some(at.time());
        assert_eq!(found, &row[2] == "true", "{row:?}");
    }
}

#[test]
fn sample_of_local_times() {
    let Some(text) = sample("local_times.csv") else { return };
    for row in csv::Reader::from_reader(text.as_bytes()).records().map(Result::unwrap) {
        let Ok(zone) = row[0].parse::<Tz>() else { panic!("{} is unknown", &row[0]) };
        let (wanted, before, after) = (local(&row[1]), instant(&row[3]), instant(&row[4]));
        match (&row[2], zones::place(zone, wanted)) {
            ("normal", Place::Once(found)) => assert_eq!(found, before, "{row:?}"),
            ("fold", Place::Twice(first, second)) => assert_eq!((first, second), (before, after), "{row:?}"),
            ("gap", Place::Gap { end, missing }) => {
                assert!(after <= end && end <= before, "{row:?}");
                assert_eq!(missing, before - after, "{row:?}");
                assert!(local_time(zone, end) > wanted && local_time(zone, end - TimeDelta::seconds(1)) < wanted, "{row:?}");
            }
            found => panic!("{row:?}: {found:?}"),
        }
    }
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_string()).collect()
}

#[test]
fn sample_of_next_times() {
    let Some(text) = sample("cron_next_5_fields.jsonl") else { return };
    let mut differing = Vec::new();
    for line in text.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let expression = row["expression"].as_str().unwrap();
        let rule = Rule::read_cron(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
        if fires(&rule, row["time_zone"].as_str().unwrap(), row["after"].as_str().unwrap(), 6) != texts(&row["next_utc"]) {
            differing.push(format!("{row} {:?}", fires(&rule, row["time_zone"].as_str().unwrap(), row["after"].as_str().unwrap(), 6)));
        }
    }
    // The clocks of São Paulo skipped that midnight, and hours written as a step follow the real clock.
    let contradicting = r#""expression":"0 */3 * * *","time_zone":"America/Sao_Paulo","after":"2018-11-03T23:00:00Z""#;
    assert_eq!(differing.len(), 1, "{}", differing.join("\n"));
    assert!(differing[0].contains(contradicting), "{}", differing[0]);
}

/// Cron with a field of seconds before the five, which no file can hold. The library that the samples come from takes `*/5` of a day field for days that
/// are named, where cronie, and we, take whatever begins with a star for one that is open: so the days are written out for it.
fn with_seconds(expression: &str) -> Rule {
    let (seconds, rest) = expression.split_once(' ').unwrap();
    let fields: Vec<&str> = rest.split(' ').collect();
    let days = fields[2].replace("*/", "1-31/");
    let rest = [fields[0], fields[1], &days, fields[3], fields[4]].join(" ");
    let mut cron = Cron::read(&rest).unwrap_or_else(|error| panic!("{expression}: {error}"));
    cron.times.seconds = fields::field(error::Token { text: seconds, start: 0 }, &cron::SECOND).unwrap();
    Rule::Cron(cron)
}

#[test]
fn sample_of_next_times_with_seconds() {
    let Some(text) = sample("cron_next_6_fields.csv") else { return };
    let rows: Vec<_> = csv::Reader::from_reader(text.as_bytes()).records().map(Result::unwrap).filter(|row| &row[1] == "UTC").collect();
    assert_eq!(rows.len(), 12);
    for row in rows {
        let found = fires(&with_seconds(&row[0]), "UTC", &format!("{}Z", &row[2]), 1);
        assert_eq!(found, [format!("{}Z", &row[3])], "{row:?}");
    }
}

#[test]
fn blackouts_leave_dates_out_and_say_so() {
    let blackout = ["2027-12-24 to 2027-12-26", "2027-12-28"].iter().map(|dates| DateRange::read(dates).unwrap()).collect();
    let bounds = Bounds { blackout, ..Bounds::default() };
    let rule = Rule::read_every("day at 10:00").unwrap();
    let (mut after, mut found) = (instant("2027-12-23T00:00:00Z"), Vec::new());
    while found.len() < 3 {
        let next = rule.after(after, zone("Europe/Kyiv"), &bounds).unwrap();
        after = next.instant;
        found.push((next.local, next.note));
    }
    let left_out = |wanted| Some(Note::Blackout { wanted: local(wanted) });
    let expected = [
        (local("2027-12-23 10:00"), None),
        (local("2027-12-27 10:00"), left_out("2027-12-24 10:00")),
        (local("2027-12-29 10:00"), left_out("2027-12-28 10:00")),
    ];
    assert_eq!(found, expected);
    // A rule that fires each minute gets past it at once; one that only fires inside it never fires.
    let each_minute = Rule::read_every("1 minute").unwrap();
    assert_eq!(each_minute.after(instant("2027-12-24T12:00:00Z"), zone("Europe/Kyiv"), &bounds).unwrap().local, local("2027-12-27 00:00"));
    let inside = Rule::read_at("2027-12-25 10:00").unwrap();
    assert_eq!(inside.after(instant("2027-12-01T00:00:00Z"), zone("Europe/Kyiv"), &bounds), None);
}

#[test]
fn sample_where_libraries_differ_no_daily_job_is_lost_or_doubled() {
    let Some(text) = sample("cron_next_differing.jsonl") else { return };
    for line in text.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let expression = row["expression"].as_str().unwrap();
        let rule = Rule::read_cron(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
        let name = row["time_zone"].as_str().unwrap();
        let found = fires(&rule, name, row["after"].as_str().unwrap(), 6);
        assert_eq!(found.len(), 6, "{row}");
        let daily = expression.ends_with(" * * *") && expression.split(' ').take(2).all(|field| field.parse::<u32>().is_ok());
        if daily {
            let dates: Vec<NaiveDate> = found.iter().map(|text| local_time(zone(name), instant(text)).date()).collect();
            for pair in dates.windows(2) {
                let missing = name == "Pacific/Apia" && pair[0].to_string() == "2011-12-29";
                assert_eq!((pair[1] - pair[0]).num_days(), 1 + i64::from(missing), "{row}: {found:?}");
            }
        }
    }
}

/// What the rule says, minute by minute, without any of the cleverness above.
fn walk(cron: &Cron, zone: Tz, after: Time, minutes: i64) -> Vec<Time> {
    let matches = |at: NaiveDateTime| cron.fires_on(at.date(), at.date()) && cron.time_from(at.time()) == Some(at.time());
    let start = instant_of_minute(after);
    let mut shown = std::collections::HashSet::new();
    let mut found = Vec::new();
    for minute in -26 * 60..=minutes {
        let now = start + TimeDelta::minutes(minute);
        let (before, wall) = (local_time(zone, now - TimeDelta::minutes(1)), local_time(zone, now));
        let first_time = shown.insert(wall);
        let fires = if cron.follows_the_clock() {
            matches(wall)
        } else {
            let missing = (wall - before).num_minutes() - 1;
            let skipped = (1..=missing).filter(|_| missing <= 180).any(|back| matches(wall - TimeDelta::minutes(back)));
            first_time && (matches(wall) || skipped)
        };
        if fires && now > after {
            found.push(now);
        }
    }
    found
}

fn instant_of_minute(time: Time) -> Time {
    Time::from_timestamp(time.timestamp().div_euclid(60) * 60, 0).unwrap()
}

const ZONES: [&str; 12] = [
    "Europe/Kyiv",
    "Europe/Berlin",
    "America/New_York",
    "Africa/Cairo",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "Africa/Casablanca",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "Asia/Almaty",
    "America/Havana",
    "Asia/Beirut",
];

/// Days around which clocks change in the zones above, and quiet ones.
const DAYS: [&str; 14] = [
    "2025-03-29",
    "2025-10-25",
    "2025-03-08",
    "2025-11-01",
    "2025-04-24",
    "2025-10-30",
    "2025-04-05",
    "2025-10-04",
    "2018-11-03",
    "2018-02-17",
    "2011-12-29",
    "2024-02-29",
    "2025-02-22",
    "2025-07-14",
];

fn part(low: u32, high: u32) -> BoxedStrategy<String> {
    prop_oneof![
        Just("*".to_string()),
        (low..=high).prop_map(|value| value.to_string()),
        (low..=high, low..=high).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        (1..=(high - low)).prop_map(|step| format!("*/{step}")),
        (low..=high, low..=high, 1..=(high - low)).prop_map(|(a, b, step)| format!("{}-{}/{step}", a.min(b), a.max(b))),
        (low..=high, low..=high).prop_map(|(a, b)| format!("{a},{b}")),
    ]
    .boxed()
}

fn expression() -> impl Strategy<Value = String> {
    (part(0, 59), part(0, 23), part(1, 31), part(1, 12), part(0, 7))
        .prop_map(|(minute, hour, day, month, weekday)| format!("{minute} {hour} {day} {month} {weekday}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_next_times_are_those_that_a_walk_minute_by_minute_finds(
        fields in (part(0, 59), part(0, 23)), wide in any::<bool>(), full in expression(), zone_name in prop::sample::select(&ZONES[..]),
        day in prop::sample::select(&DAYS[..]), second in 0i64..86_400,
    ) {
        // Most cases fire often enough for the change of the clocks to matter.
        let expression = if wide { format!("{} {} * * *", fields.0, fields.1) } else { full };
        let Ok(Rule::Cron(cron)) = Rule::read_cron(&expression) else { return Ok(()) };
        let rule = Rule::Cron(cron.clone());
        let after = instant(&format!("{day}T00:00:00Z")) + TimeDelta::seconds(second - 43_200);
        let expected = walk(&cron, zone(zone_name), after, 3 * 24 * 60);
        let end = instant_of_minute(after) + TimeDelta::minutes(3 * 24 * 60);
        let (mut found, mut last) = (Vec::new(), after);
        while let Some(occurrence) = rule.after(last, zone(zone_name), &Bounds::default()).filter(|occurrence| occurrence.instant <= end) {
            last = occurrence.instant;
            found.push(last);
        }
        prop_assert_eq!(found, expected, "`{}` in {} after {}", expression, zone_name, after);
    }

    #[test]
    fn another_library_agrees_where_no_clock_changes(expression in expression(), second in 0i64..400_000_000) {
        let Ok(rule) = Rule::read_cron(&expression) else { return Ok(()) };
        let parser = croner::parser::CronParser::builder().build();
        let Ok(other) = parser.parse(&expression) else { return Ok(()) };
        // Its `*/2` in a day field counts as restricted; in ours, as in cronie, it does not.
        if expression.split(' ').skip(2).any(|field| field.starts_with("*/")) {
            return Ok(());
        }
        let after = instant("2020-01-01T00:00:00Z") + TimeDelta::seconds(second);
        let Ok(expected) = other.find_next_occurrence(&after, false) else { return Ok(()) };
        let found = rule.after(after, zone("UTC"), &Bounds::default()).map(|occurrence| occurrence.instant);
        prop_assert_eq!(found, Some(expected.with_timezone(&Utc)), "`{}` after {}", expression, after);
    }

    #[test]
    fn no_text_makes_the_readers_panic(text in "[ -~é]{0,40}", mixed in "(\\*|[0-9]{1,3}|mon|last|,|-|#|L|W|\\?|/|at| |day|month|on|10:00){0,14}") {
        for text in [text, mixed] {
            for result in [Rule::read_cron(&text), Rule::read_quartz(&text), Rule::read_every(&text), Rule::read_at(&text)] {
                if let Err(error) = result {
                    prop_assert!(text.get(error.range.clone()).is_some(), "{:?} in `{}`", error.range, text);
                }
            }
        }
    }
}
