//! Tests on values, in SQL.

use super::places::{Document, Place, PlaceKind};
use super::{Bind, Compiler, balanced};
use crate::segments::moment::{Here, Range, Ranges};
use crate::segments::values::spelled_number;
use crate::segments::{AttributeCondition, Comparison, DateOperand, DateTest, Item, Kind, Operand, Path, PropertyTests, Test, ZoneInForce};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn sign(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Is => "=",
        Comparison::MoreThan => ">",
        Comparison::LessThan => "<",
        Comparison::AtLeast => ">=",
        Comparison::AtMost => "<=",
    }
}

impl Compiler<'_, '_> {
    pub(super) fn attribute(&mut self, condition: &AttributeCondition) -> String {
        self.tests(&condition.path, &condition.tests, &Document::customer())
    }

    /// All tests hold for the value under the path: true or false.
    pub(super) fn tests(&mut self, path: &Path, tests: &[Test], document: &Document) -> String {
        let place = self.place(path, document);
        let tests: Vec<String> = tests.iter().map(|test| self.test(test, &place)).collect();
        let all = balanced(&tests, " AND ").unwrap_or_else(|| "(1 = 1)".to_string());
        format!("COALESCE((SELECT {all} FROM {}), (1 = 0))", place.from)
    }

    /// All properties pass: true or false.
    pub(super) fn properties(&mut self, tests: &PropertyTests, document: &Document) -> String {
        let tests: Vec<String> = tests.tests.iter().map(|(path, tests)| self.tests(path, tests, document)).collect();
        balanced(&tests, " AND ").unwrap_or_else(|| "(1 = 1)".to_string())
    }

    /// True, or false or unknown. The place's row stands in FROM.
    fn test(&mut self, test: &Test, place: &Place) -> String {
        match test {
            Test::Missing(missing) => {
                let is_missing = self.is_missing(place);
                if *missing { is_missing } else { format!("(NOT {is_missing})") }
            }
            Test::Is(operands) => self.is(operands, place),
            Test::StartsWith(part) => {
                let (text, part) = (self.as_text(place), self.text(part.as_str()));
                format!("(SUBSTR({text}, 1, LENGTH({part})) = {part})")
            }
            Test::EndsWith(part) => {
                let (text, part) = (self.as_text(place), self.text(part.as_str()));
                format!("(LENGTH({text}) >= LENGTH({part}) AND SUBSTR({text}, LENGTH({text}) - LENGTH({part}) + 1) = {part})")
            }
            Test::Contains(part) => {
                let (text, part) = (self.as_folded(place), self.text(part.as_str()));
                self.pick(format!("(INSTR({text}, {part}) > 0)"), format!("(STRPOS({text}, {part}) > 0)"))
            }
            Test::Compare(comparison, operand) => self.compare(*comparison, operand, place),
            Test::Date(test) => self.dates(std::slice::from_ref(test), place),
            Test::AnyDate(tests) => self.dates(tests, place),
            Test::Anniversary(tests) => self.anniversary(tests, place),
            Test::DayOfYear(days) => self.day_of_year(days, place),
            Test::HasAny(items) => {
                let items: Vec<String> = items.iter().map(|item| self.has(item, place)).collect();
                balanced(&items, " OR ").unwrap_or_else(|| "(1 = 0)".to_string())
            }
            Test::HasAll(items) => {
                let items: Vec<String> = items.iter().map(|item| self.has(item, place)).collect();
                balanced(&items, " AND ").unwrap_or_else(|| "(1 = 1)".to_string())
            }
            Test::Size(tests) => {
                let list = self.as_list(place);
                let length = self.pick(format!("JSON_ARRAY_LENGTH({list})"), format!("JSONB_ARRAY_LENGTH({list})"));
                let tests: Vec<String> = tests
                    .iter()
                    .map(|(comparison, number)| format!("{length} {} {}", sign(*comparison), self.sql.hold(Bind::Float(*number))))
                    .collect();
                format!("({})", tests.join(" AND "))
            }
        }
    }

    fn is(&mut self, operands: &[Operand], place: &Place) -> String {
        let mut choices = Vec::new();
        let mut texts = Vec::new();
        for operand in operands {
            match operand {
                Operand::Text(text) => texts.push(text.clone()),
                Operand::Loose(text) => {
                    texts.push(text.clone());
                    if let Some(number) = spelled_number(text) {
                        choices.push(format!("{} = {}", self.as_number(place), self.sql.hold(Bind::Float(number))));
                    }
                    if let Ok(truth) = text.parse::<bool>() {
                        choices.push(format!("{} = {}", self.as_boolean(place), i32::from(truth)));
                    }
                }
                Operand::Number(number) => choices.push(format!("{} = {}", self.as_number(place), self.sql.hold(Bind::Float(*number)))),
                Operand::Boolean(truth) => choices.push(format!("{} = {}", self.as_boolean(place), i32::from(*truth))),
                Operand::Money(_) => choices.push(self.compare(Comparison::Is, operand, place)),
                Operand::Attribute(path, kind) => {
                    let other = self.place(path, &Document::customer());
                    let mut ways = Vec::new();
                    if matches!(kind, Kind::Text | Kind::Loose) {
                        ways.push(format!("{} = {}", self.as_text(place), self.as_text(&other)));
                    }
                    if matches!(kind, Kind::Number | Kind::Loose) {
                        ways.push(format!("{} = {}", self.as_number(place), self.as_number(&other)));
                    }
                    if matches!(kind, Kind::Boolean | Kind::Loose) {
                        ways.push(format!("{} = {}", self.as_boolean(place), self.as_boolean(&other)));
                    }
                    match kind {
                        Kind::Money => choices.push(self.compare(Comparison::Is, operand, place)),
                        _ if ways.is_empty() => choices.push("(1 = 0)".to_string()),
                        _ => choices.push(format!("(SELECT ({}) FROM {})", ways.join(" OR "), other.from)),
                    }
                }
            }
        }
        if !texts.is_empty() {
            let list = if texts.len() <= 50 {
                self.texts(&texts)
            } else {
                let json = self.text(serde_json::Value::from(texts).to_string());
                self.pick(
                    format!("IN (SELECT value FROM json_each({json}))"),
                    format!("IN (SELECT value FROM jsonb_array_elements_text(CAST({json} AS jsonb)))"),
                )
            };
            choices.push(format!("{} {list}", self.as_text(place)));
        }
        balanced(&choices, " OR ").map_or_else(|| "(1 = 0)".to_string(), |choices| format!("({choices})"))
    }

    fn compare(&mut self, comparison: Comparison, operand: &Operand, place: &Place) -> String {
        let sign = sign(comparison);
        match operand {
            Operand::Number(number) => format!("({} {sign} {})", self.as_number(place), self.sql.hold(Bind::Float(*number))),
            Operand::Money(money) => {
                let Some(minor) = self.currencies.convert(money) else { return "(1 = 0)".to_string() };
                let (from, column) = self.money(place);
                format!("(SELECT {column} {sign} {} FROM {from})", self.integer(minor))
            }
            Operand::Attribute(path, Kind::Number) => {
                let other = self.place(path, &Document::customer());
                format!("(SELECT {} {sign} {} FROM {})", self.as_number(place), self.as_number(&other), other.from)
            }
            Operand::Attribute(path, Kind::Money) => {
                let other = self.place(path, &Document::customer());
                let ((from, column), (other_from, other_column)) = (self.money(place), self.money(&other));
                format!("(SELECT {column} {sign} (SELECT {other_column} FROM {other_from}) FROM {from})")
            }
            _ => "(1 = 0)".to_string(),
        }
    }

    /// One of the date tests holds.
    pub(super) fn dates(&mut self, tests: &[DateTest], place: &Place) -> String {
        let (from, alias) = self.dated(place);
        let tests: Vec<String> = tests.iter().map(|test| self.date(test, &alias)).collect();
        let any = balanced(&tests, " OR ").unwrap_or_else(|| "(1 = 0)".to_string());
        format!("(SELECT {any} FROM {from})")
    }

    /// On columns `form` and `at` of the alias.
    fn date(&mut self, test: &DateTest, alias: &str) -> String {
        let (DateTest::Is(DateOperand::Attribute(path))
        | DateTest::Before(DateOperand::Attribute(path))
        | DateTest::After(DateOperand::Attribute(path))
        | DateTest::From(DateOperand::Attribute(path))
        | DateTest::Until(DateOperand::Attribute(path))) = test
        else {
            let part = |of: fn(Ranges) -> Range| move |here: Here| here.ranges(test).map(of).unwrap_or_default();
            let at = format!("{alias}.at");
            let day = self.within(&at, part(|ranges| ranges.day));
            let local = self.within(&at, part(|ranges| ranges.local));
            let instant = self.within(&at, part(|ranges| ranges.instant));
            return format!("(CASE {alias}.form WHEN 'd' THEN {day} WHEN 'l' THEN {local} ELSE {instant} END)");
        };
        let sign = match test {
            DateTest::Before(_) => "<",
            DateTest::After(_) => ">",
            DateTest::From(_) => ">=",
            DateTest::Until(_) => "<=",
            _ => "=",
        };
        let place = self.place(path, &Document::customer());
        let (from, other) = self.dated(&place);
        // Days of negative instants round down, too.
        let day = |alias: &str| format!("(({alias}.at + 86400000000 * 1000000) / 86400000000)");
        let exact = if matches!(test, DateTest::Is(_)) { "('i')" } else { "('i', 'l')" };
        format!(
            "(SELECT CASE WHEN {alias}.form = {other}.form AND {alias}.form IN {exact} THEN {alias}.at {sign} {other}.at \
             WHEN {alias}.form = 'i' OR {other}.form = 'i' THEN (1 = 0) ELSE {} {sign} {} END FROM {from})",
            day(alias),
            day(&other)
        )
    }

    /// The date as written has one of these days, whatever the zone.
    fn day_of_year(&mut self, days: &BTreeSet<String>, place: &Place) -> String {
        if place.kind == PlaceKind::Instant {
            return "(1 = 0)".to_string();
        }
        let (from, alias) = self.dated(place);
        let days: Vec<&str> = days.iter().map(String::as_str).collect();
        let is_one = self.is_listed(&format!("SUBSTR({alias}.s, 6, 5)"), &days);
        format!("(SELECT {alias}.at IS NOT NULL AND {is_one} FROM {from})")
    }

    /// The date as written has one of the days that return in time.
    fn anniversary(&mut self, tests: &[DateTest], place: &Place) -> String {
        if place.kind == PlaceKind::Instant {
            return "(1 = 0)".to_string();
        }
        let (from, alias) = self.dated(place);
        let day = format!("SUBSTR({alias}.s, 6, 5)");
        let one_of = |compiler: &mut Self, days: &BTreeSet<String>| {
            let days: Vec<&str> = days.iter().map(String::as_str).collect();
            compiler.is_listed(&day, &days)
        };
        let now = self.moment.now;
        let usual = Here { now, zone: self.usual_zone() }.returning_days(tests);
        let found = match self.moment.zone {
            ZoneInForce::Fixed(_) => one_of(self, &usual),
            ZoneInForce::Recipient { .. } => {
                // All zones of the earth share two or three local dates.
                let mut groups: BTreeMap<BTreeSet<String>, Vec<&str>> = BTreeMap::new();
                let mut by_today = BTreeMap::new();
                for zone in chrono_tz::TZ_VARIANTS {
                    let here = Here { now, zone };
                    let days = by_today.entry(here.today()).or_insert_with(|| here.returning_days(tests));
                    if *days != usual {
                        groups.entry(days.clone()).or_default().push(zone.name());
                    }
                }
                let groups = groups.into_iter().map(|(days, zones)| (zones, one_of(self, &days))).collect();
                let otherwise = one_of(self, &usual);
                self.by_zone(groups, &otherwise)
            }
        };
        format!("(SELECT {alias}.at IS NOT NULL AND {found} FROM {from})")
    }

    fn has(&mut self, item: &Item, place: &Place) -> String {
        let row = self.alias('i');
        let list = self.as_list(place);
        let rows = self.rows(&list, &row);
        let holds = match item {
            Item::Value(operand) => {
                let value = self.item_place(&row);
                let is = self.is(std::slice::from_ref(operand), &value);
                format!("(SELECT {is} FROM {})", value.from)
            }
            Item::Row(tests) => {
                let document = self.row_document(&row, place);
                let holds = self.properties(tests, &document);
                let object = self.pick(format!("{row}.type = 'object'"), format!("jsonb_typeof({row}.value) = 'object'"));
                format!("({object} AND {holds})")
            }
        };
        format!("EXISTS (SELECT 1 FROM {rows} WHERE {holds})")
    }
}
