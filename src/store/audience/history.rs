//! Events, messages, consent and suppressions of one customer, in SQL: each by the index that begins with the customer.

use super::places::{Document, Place, PlaceKind};
use super::tests::sign;
use super::{Bind, Compiler, balanced};
use crate::segments::{
    ConsentCondition, ConsentIs, DateTest, Edge, EventCondition, Kind, Measure, MessageCondition, Operand, Path, Start, Was, Window,
    Without, response_of,
};
use crate::types::{Channel, ConsentState, MessageState, Refusal, SuppressionReason, Verdict};

impl Compiler<'_, '_> {
    fn window(&mut self, column: &str, window: &Window) -> String {
        self.within(column, |here| here.window(window))
    }

    pub(super) fn event(&mut self, event: &EventCondition) -> String {
        let alias = self.alias('e');
        let rows = self.events(event, &alias);
        if let Some(edge) = &event.edge {
            let found = self.edge(edge, &rows, &alias);
            if event.is_plain() {
                return found;
            }
            let measured = self.measured(event, &rows, &alias);
            return format!("({found} AND {measured})");
        }
        if event.is_plain() {
            return format!("EXISTS (SELECT 1 FROM {rows})");
        }
        self.measured(event, &rows, &alias)
    }

    /// `events e1 WHERE …`: the events that count.
    pub(super) fn events(&mut self, event: &EventCondition, alias: &str) -> String {
        let name = self.text(event.name.as_str());
        let window = self.window(&format!("{alias}.occurred_at"), &event.window);
        let mut sql = format!("events {alias} WHERE {alias}.name = {name} AND {alias}.customer_id = c.id AND {window}");
        if !event.filter.tests.is_empty() {
            let filter = self.properties(&event.filter, &Document::event(alias));
            sql.push_str(&format!(" AND {filter}"));
        }
        if let Some(without) = &event.without {
            let followed = self.followed(without, alias);
            sql.push_str(&format!(" AND NOT {followed}"));
        }
        sql
    }

    /// A later event of the other kind, with the same property.
    fn followed(&mut self, without: &Without, own: &str) -> String {
        let later = self.alias('f');
        let (name, now) = (self.text(without.name.as_str()), self.integer(self.moment.now.timestamp_micros()));
        let filter = self.properties(&without.filter, &Document::event(&later));
        let mut sql = format!(
            "EXISTS (SELECT 1 FROM events {later} WHERE {later}.name = {name} AND {later}.customer_id = c.id \
             AND {later}.occurred_at > {own}.occurred_at AND {later}.occurred_at <= {now} AND {filter}"
        );
        if let Some((property, other)) = &without.same {
            let place = self.place(property, &Document::event(own));
            let same = self.same(&place, other, &later);
            sql.push_str(&format!(" AND COALESCE((SELECT {same} FROM {}), (1 = 0))", place.from));
        }
        sql.push(')');
        sql
    }

    /// The value equals the one under the path, or one in any row of a list on the way.
    fn same(&mut self, place: &Place, path: &Path, event: &str) -> String {
        let Start::Names(names) = &path.start else { return "(1 = 0)".to_string() };
        let direct = self.place(path, &Document::event(event));
        let mut ways = vec![format!("(SELECT {} FROM {})", self.equal(place, &direct), direct.from)];
        for at in 1..=names.len() {
            let (before, after) = names.split_at(at);
            let inner = |names: &[String]| Path { written: names.join("."), start: Start::Names(names.to_vec()), through: Vec::new() };
            let list = self.place(&inner(before), &Document::event(event));
            let row = self.alias('i');
            let json = self.as_list(&list);
            let rows = self.rows(&json, &row);
            let value = match after {
                [] => self.item_place(&row),
                names => {
                    let document = self.row_document(&row, &list);
                    self.place(&inner(names), &document)
                }
            };
            let equal = self.equal(place, &value);
            let lateral = self.pick("", "LATERAL ");
            ways.push(format!(
                "EXISTS (SELECT 1 FROM (SELECT ({json}) AS list FROM {}) AS {row}l, {lateral}{} WHERE (SELECT {equal} FROM {}))",
                list.from,
                rows.replace(&json, &format!("{row}l.list")),
                value.from
            ));
        }
        format!("({})", ways.join(" OR "))
    }

    /// Texts equal texts, numbers numbers, truth values truth values.
    fn equal(&mut self, one: &Place, other: &Place) -> String {
        format!(
            "COALESCE({} = {}, (1 = 0)) OR COALESCE({} = {}, (1 = 0)) OR COALESCE({} = {}, (1 = 0))",
            self.as_text(one),
            self.as_text(other),
            self.as_number(one),
            self.as_number(other),
            self.as_boolean(one),
            self.as_boolean(other)
        )
    }

    /// The first or the last of the events passes.
    fn edge(&mut self, edge: &Edge, rows: &str, alias: &str) -> String {
        let found = self.alias('g');
        let order = if edge.last { "DESC" } else { "ASC" };
        let mut tests: Vec<String> = edge.dates.iter().map(|test| self.event_date(test, &found)).collect();
        if !edge.filter.tests.is_empty() {
            tests.push(self.properties(&edge.filter, &Document::event(&found)));
        }
        let tests = balanced(&tests, " AND ").unwrap_or_else(|| "(1 = 1)".to_string());
        format!(
            "EXISTS (SELECT 1 FROM (SELECT {alias}.occurred_at, {alias}.properties, {alias}.folded FROM {rows} \
             ORDER BY {alias}.occurred_at {order}, {alias}.id {order} LIMIT 1) AS {found} WHERE {tests})"
        )
    }

    fn event_date(&mut self, test: &DateTest, alias: &str) -> String {
        if test.needs_customer() {
            let place = Place {
                from: format!("(SELECT {alias}.occurred_at AS at) AS {alias}t"),
                alias: format!("{alias}t"),
                kind: PlaceKind::Instant,
                folded: None,
                names: Vec::new(),
                document: Document::event(alias),
            };
            let dates = self.dates(std::slice::from_ref(test), &place);
            return format!("COALESCE({dates}, (1 = 0))");
        }
        self.within(&format!("{alias}.occurred_at"), |here| here.ranges(test).map(|ranges| ranges.instant).unwrap_or_default())
    }

    /// Count, sum and the like of the events pass all tests.
    fn measured(&mut self, event: &EventCondition, rows: &str, alias: &str) -> String {
        // Money without a rate takes part in no comparison.
        let unknown = |operand: &Operand| matches!(operand, Operand::Money(money) if self.currencies.convert(money).is_none());
        if event.tests.iter().any(|(_, operand)| unknown(operand)) {
            return "(1 = 0)".to_string();
        }
        let document = Document::event(alias);
        let result = match &event.measure {
            Measure::Count => {
                let tests = self.measure_tests(event, "COUNT(*)", Kind::Number, false);
                format!("(SELECT {tests} FROM {rows})")
            }
            Measure::Distinct(path) => {
                let place = self.place(path, &document);
                let (text, number, truth) = (self.as_text(&place), self.as_number(&place), self.as_boolean(&place));
                let tests =
                    self.measure_tests(event, "(COUNT(DISTINCT w.t) + COUNT(DISTINCT w.n) + COUNT(DISTINCT w.b))", Kind::Number, false);
                format!(
                    "(SELECT {tests} FROM (SELECT (SELECT {text} FROM {from}) AS t, (SELECT {number} FROM {from}) AS n, (SELECT {truth} FROM {from}) AS b \
                     FROM {rows}) AS w)",
                    from = place.from
                )
            }
            Measure::Sum(path, kind) | Measure::Average(path, kind) | Measure::Smallest(path, kind) | Measure::Largest(path, kind) => {
                let place = self.place(path, &document);
                let value = if *kind == Kind::Money {
                    let (from, column) = self.money(&place);
                    // A sum of whole numbers that gets too large is an error in SQLite; of doubles it is not.
                    let column = self.pick(format!("CAST({column} AS REAL)"), column);
                    format!("(SELECT (SELECT {column} FROM {from}) FROM {})", place.from)
                } else {
                    // What is added up is exact where it can be; what is only compared is a double everywhere.
                    let added = matches!(event.measure, Measure::Sum(..) | Measure::Average(..));
                    format!("(SELECT {} FROM {})", if added { self.as_decimal(&place) } else { self.as_number(&place) }, place.from)
                };
                // PostgreSQL adds up exactly and rounds once; SQLite compensates while it adds. Either gives the nearest double.
                let (sum, total) = match kind {
                    Kind::Money => ("ROUND(COALESCE(SUM(w.x), 0), 6)", "SUM(w.x)"),
                    _ => self.pick(
                        ("ROUND(COALESCE(SUM(w.x), 0), 6)", "SUM(w.x)"),
                        ("CAST(ROUND(COALESCE(SUM(w.x), 0), 6) AS DOUBLE PRECISION)", "CAST(ROUND(SUM(w.x), 20) AS DOUBLE PRECISION)"),
                    ),
                };
                let (expression, average) = match &event.measure {
                    Measure::Sum(..) => (sum, false),
                    Measure::Average(..) => (total, true),
                    Measure::Smallest(..) => ("MIN(w.x)", false),
                    _ => ("MAX(w.x)", false),
                };
                let tests = self.measure_tests(event, expression, *kind, average);
                format!("(SELECT {tests} FROM (SELECT {value} AS x FROM {rows}) AS w)")
            }
        };
        format!("COALESCE({result}, (1 = 0))")
    }

    fn measure_tests(&mut self, event: &EventCondition, measured: &str, kind: Kind, average: bool) -> String {
        let tests: Vec<String> = event
            .tests
            .iter()
            .map(|(comparison, operand)| {
                let Some(wanted) = self.wanted(operand, kind) else { return "(1 = 0)".to_string() };
                let sign = sign(*comparison);
                // Sum and count are compared without a division.
                if average {
                    format!("ROUND(CAST({measured} - {wanted} * COUNT(w.x) AS NUMERIC), 6) {sign} 0")
                } else {
                    format!("{measured} {sign} {wanted}")
                }
            })
            .collect();
        format!("({})", tests.join(" AND "))
    }

    /// What a measure is compared with.
    fn wanted(&mut self, operand: &Operand, kind: Kind) -> Option<String> {
        Some(match operand {
            Operand::Number(number) => self.sql.hold(Bind::Float(*number)),
            Operand::Money(money) => {
                let minor = self.currencies.convert(money)?;
                self.integer(minor)
            }
            Operand::Attribute(path, _) if kind == Kind::Money => {
                let place = self.place(path, &Document::customer());
                let (from, column) = self.money(&place);
                let column = self.pick(format!("CAST({column} AS REAL)"), column);
                format!("(SELECT {column} FROM {from})")
            }
            Operand::Attribute(path, _) => {
                let place = self.place(path, &Document::customer());
                format!("(SELECT {} FROM {})", self.as_number(&place), place.from)
            }
            _ => return None,
        })
    }

    pub(super) fn message(&mut self, condition: &MessageCondition) -> String {
        let (ledger, responses): (Vec<Was>, Vec<Was>) = condition.was.iter().partition(|was| response_of(**was).is_none());
        let mut sources = Vec::new();
        if !ledger.is_empty() {
            let narrowed = self.narrowed(condition);
            let words: Vec<String> = ledger.iter().map(|was| self.became(*was, &condition.window)).collect();
            let words = balanced(&words, " OR ").unwrap_or_else(|| "(1 = 0)".to_string());
            sources.push(format!("messages m {JOINS} WHERE m.customer_id = c.id AND {narrowed} AND {words}"));
        }
        if !responses.is_empty() {
            let narrowed = self.narrowed(condition);
            let names = self.among(&responses, |compiler, was| {
                compiler.text(format!("message.{}", response_of(*was).map_or("", |response| response.word())))
            });
            let window = self.window("h.occurred_at", &condition.window);
            let mut sql = format!(
                "events h JOIN messages m ON m.id = h.message_id AND m.customer_id = h.customer_id {JOINS} \
                 WHERE h.customer_id = c.id AND h.name {names} AND {window} AND {narrowed}"
            );
            if !condition.machine {
                let human = self.integer(Verdict::Human.code());
                sql.push_str(&format!(" AND h.verdict = {human}"));
            }
            if !condition.link.is_empty() {
                let links = self.texts(&condition.link);
                sql.push_str(&format!(
                    " AND EXISTS (SELECT 1 FROM links l WHERE l.version_id = r.version_id AND l.number = h.link AND l.target {links})"
                ));
            }
            sources.push(sql);
        }
        if condition.is_plain() {
            let exist: Vec<String> = sources.iter().map(|source| format!("EXISTS (SELECT 1 FROM {source})")).collect();
            return balanced(&exist, " OR ").unwrap_or_else(|| "(1 = 0)".to_string());
        }
        let all: Vec<String> = sources.iter().map(|source| format!("SELECT m.id FROM {source}")).collect();
        let tests: Vec<String> = condition
            .tests
            .iter()
            .map(|(comparison, number)| format!("COUNT(*) {} {}", sign(*comparison), self.sql.hold(Bind::Float(*number))))
            .collect();
        format!("(SELECT {} FROM (SELECT DISTINCT u.id FROM ({}) AS u) AS n)", tests.join(" AND "), all.join(" UNION ALL "))
    }

    /// Which messages: over `m`, its run `r` and its campaign `k`.
    fn narrowed(&mut self, condition: &MessageCondition) -> String {
        let mut tests = vec!["r.is_test = 0".to_string()];
        let mut column = |compiler: &mut Self, column: &str, values: &[String]| {
            if !values.is_empty() {
                let list = compiler.texts(values);
                tests.push(format!("{column} {list}"));
            }
        };
        column(self, "k.key", &condition.campaigns);
        column(self, "k.topic", &condition.topic);
        column(self, "k.category", &condition.category);
        if !condition.class.is_empty() {
            let list = self.among(&condition.class, |compiler, class| compiler.integer(class.code()));
            tests.push(format!("k.class {list}"));
        }
        if !condition.channel.is_empty() {
            let list = self.among(&condition.channel, |compiler, channel| compiler.integer(channel.code()));
            tests.push(format!("m.channel {list}"));
        }
        if !condition.reason.is_empty() {
            let list = self.among(&condition.reason, |compiler, reason| compiler.integer(reason.code()));
            tests.push(format!("m.reason {list}"));
        }
        if !condition.variant.is_empty() {
            let list = self.texts(&condition.variant);
            tests.push(format!(
                "EXISTS (SELECT 1 FROM arms x WHERE x.run_id = m.run_id AND x.arm = m.arm AND x.held_out = 0 AND x.name {list})"
            ));
        }
        if !condition.tag.is_empty() {
            let list = self.texts(&condition.tag);
            tests.push(self.pick(
                format!("EXISTS (SELECT 1 FROM json_each(k.tags) g WHERE g.value {list})"),
                format!("EXISTS (SELECT 1 FROM jsonb_array_elements_text(CAST(k.tags AS jsonb)) AS g(value) WHERE g.value {list})"),
            ));
        }
        balanced(&tests, " AND ").unwrap_or_default()
    }

    /// A word that the ledger's row itself tells, and when it became true.
    fn became(&mut self, was: Was, window: &Window) -> String {
        let state = |compiler: &mut Self, state: MessageState| format!("m.state = {}", compiler.integer(state.code()));
        match was {
            Was::Refused => format!("({} AND {})", state(self, MessageState::Refused), self.window("m.changed_at", window)),
            Was::HeldOut => {
                let reason = self.integer(Refusal::HeldOut.code());
                format!("({} AND m.reason = {reason} AND {})", state(self, MessageState::Refused), self.window("m.changed_at", window))
            }
            Was::Failed => format!("({} AND {})", state(self, MessageState::Failed), self.window("m.changed_at", window)),
            Was::Accepted => format!("({} AND {})", state(self, MessageState::Accepted), self.window("m.accepted_at", window)),
            Was::Delivered => {
                format!("({} AND m.bounced_at IS NULL AND {})", state(self, MessageState::Accepted), self.window("m.accepted_at", window))
            }
            Was::Bounced => self.window("m.bounced_at", window),
            Was::Converted => self.window(
                "(SELECT MIN(v.first_at) FROM conversions v WHERE v.run_id = m.run_id AND v.measure = 0 AND v.customer_id = m.customer_id)",
                window,
            ),
            _ => self.window("COALESCE(r.planned_at, r.due_at)", window),
        }
    }

    pub(super) fn consent(&mut self, condition: &ConsentCondition) -> String {
        let mut ways = Vec::new();
        if condition.is.contains(&ConsentIs::None) {
            let topic = self.text(condition.topic.as_str());
            let channel = self.on_channel(condition.channel);
            ways.push(format!(
                "NOT EXISTS (SELECT 1 FROM consent_state s WHERE s.customer_id = c.id AND s.topic IN ({topic}, '*'){channel})"
            ));
        }
        let states: Vec<ConsentState> = condition
            .is
            .iter()
            .flat_map(|is| match is {
                ConsentIs::Granted => vec![ConsentState::Granted, ConsentState::Confirmed],
                ConsentIs::Confirmed => vec![ConsentState::Confirmed],
                ConsentIs::Pending => vec![ConsentState::Pending],
                ConsentIs::Withdrawn => vec![ConsentState::Withdrawn, ConsentState::Objected],
                ConsentIs::None => Vec::new(),
            })
            .collect();
        if !states.is_empty() {
            let list = self.among(&states, |compiler, state| compiler.integer(state.code()));
            let mut tests = format!("s.state {list}");
            if !condition.window.is_empty() {
                let window = self.window("s.at", &condition.window);
                tests.push_str(&format!(" AND {window}"));
            }
            if condition.proof_missing {
                tests.push_str(" AND s.has_proof = 0");
            }
            ways.push(self.consent_where(&condition.topic, condition.channel, &tests));
        }
        balanced(&ways, " OR ").unwrap_or_else(|| "(1 = 0)".to_string())
    }

    fn on_channel(&mut self, channel: Option<Channel>) -> String {
        channel.map_or(String::new(), |channel| format!(" AND s.channel = {}", self.integer(channel.code())))
    }

    /// What holds on the channel passes the tests on `s`: the later of the topic's own state and that for all topics; on a tie, withdrawn. An
    /// objection outweighs what came later.
    pub(super) fn consent_where(&mut self, topic: &str, channel: Option<Channel>, tests: &str) -> String {
        let topic = self.text(topic);
        let channel = self.on_channel(channel);
        let withdrawn = self.integer(ConsentState::Withdrawn.code());
        let objection = self.integer(ConsentState::Objected.code());
        let objected = |alias: &str| format!("(CASE WHEN {alias}.state = {objection} THEN 1 ELSE 0 END)");
        let rank = |alias: &str| {
            format!("(CASE WHEN {alias}.state = {withdrawn} THEN 2 ELSE 0 END + CASE WHEN {alias}.topic = '*' THEN 0 ELSE 1 END)")
        };
        format!(
            "EXISTS (SELECT 1 FROM consent_state s WHERE s.customer_id = c.id AND s.topic IN ({topic}, '*'){channel} AND {tests} \
             AND NOT EXISTS (SELECT 1 FROM consent_state o WHERE o.customer_id = c.id AND o.topic IN ({topic}, '*') AND o.channel = s.channel \
             AND ({o_objected} > {s_objected} OR ({o_objected} = {s_objected} AND (o.at > s.at OR (o.at = s.at AND {} > {}))))))",
            rank("o"),
            rank("s"),
            o_objected = objected("o"),
            s_objected = objected("s"),
        )
    }

    /// The address under the alias is suppressed now.
    pub(super) fn suppressed(&mut self, alias: &str, reason: Option<SuppressionReason>) -> String {
        let now = self.integer(self.moment.now.timestamp_micros());
        let reason = reason.map_or(String::new(), |reason| format!(" AND p.reason = {}", self.integer(reason.code())));
        format!("EXISTS (SELECT 1 FROM suppressions p WHERE p.key = {alias}.key AND (p.until IS NULL OR p.until > {now}){reason})")
    }
}

const JOINS: &str = "JOIN runs r ON r.id = m.run_id JOIN campaigns k ON k.id = r.campaign_id";
