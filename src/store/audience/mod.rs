//! Who: a condition as one SQL condition with bound values over the customers, under the alias `c`.
//!
//! The condition is *total*: no stored value makes it fail, since every value is taken by its JSON type first (`values`), and every leaf is
//! true or false, never unknown. Both databases give what `segments::evaluate` gives; a test over random rules and people holds them to it.
//! The text is the same for both wherever both understand it. History is asked for one customer at a time, by index, so that the same
//! condition serves a million customers when a run is planned and a block of 256 at hand-over.

mod history;
mod people;
mod places;
mod query;
mod saved;
mod tests;

pub use super::sql::{Bind, Sql};
pub use query::Member;

use super::Dialect;
use crate::literals::{COUNTRIES, LONGEST_CALLING_CODE};
use crate::segments::moment::{Here, Range};
use crate::segments::values::Currencies;
use crate::segments::{Condition, DEEPEST, Moment, ZoneInForce};
use crate::types::{Channel, ConsentState};
use chrono_tz::Tz;
use std::collections::BTreeMap;

/// Writes the condition behind what `sql` holds so far, in brackets, over the customers under the alias `c`.
///
/// Samples must have been drawn into the moment; one that was not makes the statement fail with its name.
pub fn compile(condition: &Condition, moment: &Moment<'_>, dialect: Dialect, sql: &mut Sql) {
    let mut inner = Sql::new(dialect);
    let currencies = Currencies::new(moment.currency, moment.rates);
    let text = Compiler { moment, dialect, currencies, sql: &mut inner, aliases: 0 }.condition(condition, 0);
    referenced(&text, &inner, sql);
}

/// Adds a text with the values of `inner` that it mentions; no others, since PostgreSQL refuses a value without a placeholder.
fn referenced(text: &str, inner: &Sql, sql: &mut Sql) {
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let digits = rest[at + 1..].bytes().take_while(u8::is_ascii_digit).count();
        let number = rest[at + 1..at + 1 + digits].parse::<usize>().ok().and_then(|number| inner.binds.get(number.checked_sub(1)?));
        match number {
            Some(bind) => {
                sql.push(&rest[..at]);
                let placeholder = sql.hold(bind.clone());
                sql.push(&placeholder);
            }
            None => sql.push(&rest[..at + 1 + digits]),
        }
        rest = &rest[at + 1 + digits..];
    }
    sql.push(rest);
}

struct Compiler<'a, 's> {
    moment: &'a Moment<'a>,
    dialect: Dialect,
    currencies: Currencies,
    sql: &'s mut Sql,
    aliases: usize,
}

impl Compiler<'_, '_> {
    fn condition(&mut self, condition: &Condition, depth: usize) -> String {
        match condition {
            Condition::All(parts) => self.joined(parts, " AND ", "(1 = 1)", depth),
            Condition::Any(parts) => self.joined(parts, " OR ", "(1 = 0)", depth),
            Condition::Not(part) => format!("(NOT {})", self.condition(part, depth)),
            Condition::Attribute(attribute) => self.attribute(attribute),
            Condition::Event(event) => self.event(event),
            Condition::Message(message) => self.message(message),
            Condition::Consent(consent) => self.consent(consent),
            Condition::Reachable { channel, topic } => self.reachable(*channel, topic.as_deref()),
            Condition::Suppressed { channel, reason } => {
                let suppressed = self.suppressed("a", *reason);
                let channel = self.integer(channel.code());
                format!(
                    "EXISTS (SELECT 1 FROM addresses a WHERE a.customer_id = c.id AND a.channel = {channel} AND a.is_primary = 1 AND {suppressed})"
                )
            }
            Condition::Segment(name) => match self.moment.segments.get(name) {
                Some(condition) if depth < DEEPEST => self.condition(condition, depth + 1),
                _ => "(1 = 0)".to_string(),
            },
            Condition::Sample { share, draw } => match self.moment.samples.0.get(&(draw.clone(), share.0)) {
                Some(drawn) => {
                    let list: Vec<String> = drawn.iter().map(i64::to_string).collect();
                    let (open, close) = self.pick(("[", "]"), ("{", "}"));
                    let list = self.text(format!("{open}{}{close}", list.join(",")));
                    self.pick(
                        format!("(c.id IN (SELECT value FROM json_each({list})))"),
                        format!("(c.id = ANY (CAST({list} AS bigint[])))"),
                    )
                }
                None => "(the_sample_was_not_drawn() = 1)".to_string(),
            },
        }
    }

    /// Halves are put in brackets, so that a long list does not become a deep expression.
    fn joined(&mut self, parts: &[Condition], word: &str, nothing: &str, depth: usize) -> String {
        let parts: Vec<String> = parts.iter().map(|part| self.condition(part, depth)).collect();
        balanced(&parts, word).unwrap_or_else(|| nothing.to_string())
    }

    fn pick<T>(&self, sqlite: T, postgres: T) -> T {
        match self.dialect {
            Dialect::Sqlite => sqlite,
            Dialect::Postgres => postgres,
        }
    }

    fn alias(&mut self, letter: char) -> String {
        self.aliases += 1;
        format!("{letter}{}", self.aliases)
    }

    fn text(&mut self, text: impl Into<String>) -> String {
        self.sql.hold(Bind::Text(text.into()))
    }

    fn integer(&mut self, number: impl Into<i64>) -> String {
        self.sql.hold(Bind::Integer(number.into()))
    }

    /// `IN ($1, $2)`.
    fn among<T>(&mut self, values: &[T], mut hold: impl FnMut(&mut Self, &T) -> String) -> String {
        let list: Vec<String> = values.iter().map(|value| hold(self, value)).collect();
        format!("IN ({})", list.join(", "))
    }

    fn texts(&mut self, values: &[String]) -> String {
        self.among(values, |compiler, value| compiler.text(value.as_str()))
    }

    /// A number that depends on the zone in force: one value, or each zone's own.
    fn zoned(&mut self, of: impl Fn(Here) -> Option<i64>) -> Option<String> {
        match self.moment.zone {
            ZoneInForce::Fixed(zone) => of(Here { now: self.moment.now, zone }).map(|value| self.integer(value)),
            ZoneInForce::Recipient { fallback } => {
                let usual = of(Here { now: self.moment.now, zone: fallback })?;
                let mut groups: BTreeMap<i64, Vec<&str>> = BTreeMap::new();
                for zone in chrono_tz::TZ_VARIANTS {
                    if let Some(value) = of(Here { now: self.moment.now, zone }).filter(|value| *value != usual) {
                        groups.entry(value).or_default().push(zone.name());
                    }
                }
                let usual = self.integer(usual);
                let groups = groups.into_iter().map(|(value, zones)| (zones, self.integer(value))).collect();
                Some(self.by_zone(groups, &usual))
            }
        }
    }

    /// What is said for the group of the customer's zone; `otherwise` for the fallback's group and for what is no zone.
    fn by_zone(&mut self, groups: Vec<(Vec<&str>, String)>, otherwise: &str) -> String {
        if groups.is_empty() {
            return otherwise.to_string();
        }
        let whens: Vec<String> = groups
            .into_iter()
            .map(|(zones, value)| {
                let is_one = self.lives_in(&zones);
                format!("WHEN {is_one} THEN {value}")
            })
            .collect();
        format!("(CASE {} ELSE {otherwise} END)", whens.join(" "))
    }

    /// The customer's zone is one of these: the own, else that of the country, else that of the phone (`literals::zone_of`).
    fn lives_in(&mut self, zones: &[&str]) -> String {
        let countries: Vec<_> = COUNTRIES.iter().filter(|country| zones.contains(&country.zone.name())).collect();
        let own = self.is_listed("c.zone", zones);
        if countries.is_empty() {
            return own;
        }
        let codes: Vec<&str> = countries.iter().map(|country| country.code).collect();
        let of_country = self.is_listed("c.country", &codes);
        let mut of_phone = Vec::new();
        for length in 1..=LONGEST_CALLING_CODE {
            let codes = countries.iter().flat_map(|country| country.calling_codes.iter().copied());
            let codes: Vec<&str> = codes.filter(|code| code.len() == length).collect();
            if !codes.is_empty() {
                of_phone.push(self.is_listed(&format!("SUBSTR(p.address, 2, {length})"), &codes));
            }
        }
        let phone = self.integer(Channel::Sms.code());
        let of_phone = match balanced(&of_phone, " OR ") {
            Some(one) => format!(
                " OR c.country IS NULL AND EXISTS (SELECT 1 FROM addresses p WHERE p.customer_id = c.id AND p.channel = {phone} \
                 AND p.is_primary = 1 AND SUBSTR(p.address, 1, 1) = '+' AND {one})"
            ),
            None => String::new(),
        };
        format!("({own} OR c.zone IS NULL AND ({of_country}{of_phone}))")
    }

    /// The expression is one of these words.
    fn is_listed(&mut self, expression: &str, words: &[&str]) -> String {
        let list = self.pick(serde_json::json!(words).to_string(), format!("{{{}}}", words.join(",")));
        let list = self.text(list);
        self.pick(format!("{expression} IN (SELECT value FROM json_each({list}))"), format!("{expression} = ANY (CAST({list} AS text[]))"))
    }

    /// `x >= low AND x < high`, as far as the range is closed.
    fn within(&mut self, expression: &str, range: impl Fn(Here) -> Range) -> String {
        let low = self.zoned(|here| range(here).low).map(|low| format!("{expression} >= {low}"));
        let high = self.zoned(|here| range(here).high).map(|high| format!("{expression} < {high}"));
        match (low, high) {
            (Some(low), Some(high)) => format!("({low} AND {high})"),
            (Some(one), None) | (None, Some(one)) => format!("({one})"),
            (None, None) => format!("({expression} IS NOT NULL)"),
        }
    }

    /// The zone of all customers, or the fallback.
    fn usual_zone(&self) -> Tz {
        match self.moment.zone {
            ZoneInForce::Fixed(zone) | ZoneInForce::Recipient { fallback: zone } => zone,
        }
    }

    fn reachable(&mut self, channel: Channel, topic: Option<&str>) -> String {
        let suppressed = self.suppressed("a", None);
        let code = self.integer(channel.code());
        let addressed = format!(
            "EXISTS (SELECT 1 FROM addresses a WHERE a.customer_id = c.id AND a.channel = {code} AND a.is_primary = 1 AND NOT {suppressed})"
        );
        let Some(topic) = topic else { return addressed };
        let states = self.among(&[ConsentState::Granted, ConsentState::Confirmed], |compiler, state| compiler.integer(state.code()));
        let granted = self.consent_where(topic, Some(channel), &format!("s.state {states}"));
        format!("({addressed} AND {granted})")
    }
}

fn balanced(parts: &[String], word: &str) -> Option<String> {
    match parts {
        [] => None,
        [part] => Some(part.clone()),
        _ => {
            let (first, second) = parts.split_at(parts.len() / 2);
            Some(format!("({}{word}{})", balanced(first, word)?, balanced(second, word)?))
        }
    }
}
