//! Where a value stands in SQL, and what it is taken for: text, number, truth value, list, money, date. What it is not is NULL.
//!
//! The rules are those of `segments::values`; each is written twice where the databases read JSON differently, and once otherwise.

use super::Compiler;
use crate::segments::{OwnField, Path, Start};
use crate::store::Dialect;
use crate::types::Channel;

/// A JSON document in SQL, and its lower-cased copies.
#[derive(Debug, Clone)]
pub(super) struct Document {
    /// SQL of the document, or of the value itself for an item of a list.
    pub json: String,
    /// SQL of the column with the copies, and of the beginning of the paths in it (`'items.' || r1.key || '.'`).
    pub folded: Option<(String, String)>,
}

impl Document {
    pub(super) fn customer() -> Self {
        Document { json: "c.attributes".into(), folded: Some(("c.folded".into(), "''".into())) }
    }
    pub(super) fn event(alias: &str) -> Self {
        Document { json: format!("{alias}.properties"), folded: Some((format!("{alias}.folded"), "''".into())) }
    }
}

/// One value: a row source that gives it, and SQL for what it is taken for.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// `(SELECT … ) AS v1`, to stand behind FROM.
    pub from: String,
    pub alias: String,
    pub kind: PlaceKind,
    /// The lower-cased copy, NULL where it does not differ.
    pub folded: Option<String>,
    /// The document and path of the value, for lists.
    pub names: Vec<String>,
    pub document: Document,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PlaceKind {
    /// Column `t` is a text or NULL.
    Text,
    /// The same, and capitals are folded by the database: addresses.
    Address,
    /// Column `at` holds microseconds.
    Instant,
    /// SQLite: columns `k` (JSON type) and `v`; PostgreSQL: `j`.
    Json,
}

impl Compiler<'_, '_> {
    /// The value under a path of the document.
    pub(super) fn place(&mut self, path: &Path, document: &Document) -> Place {
        let alias = self.alias('v');
        if path.through.is_empty()
            && let Start::Own(field) = &path.start
        {
            return self.own(*field, alias);
        }
        let names = match &path.start {
            Start::Own(_) => Vec::new(),
            Start::Names(names) => names.clone(),
        };
        let Some((last, before)) = path.through.split_last() else {
            let folded = document.folded.as_ref().map(|(column, prefix)| {
                let dotted = self.text(names.join("."));
                self.folded_copy(column, &format!("{prefix} || {dotted}"), prefix == "''", &dotted)
            });
            return self.json_place(alias, document.clone(), names, folded);
        };
        // The text found so far is the key of a row of the catalog.
        let start = Path { written: path.written.clone(), start: path.start.clone(), through: before.to_vec() };
        let key = self.place(&start, document);
        let row = self.alias('r');
        let catalog = self.text(last.0.as_str());
        let key_text = self.as_text(&key);
        let json = format!(
            "(SELECT {row}.\"values\" FROM catalog_rows {row} WHERE {row}.catalog = {catalog} AND {row}.key = (SELECT {key_text} FROM {from}))",
            from = key.from
        );
        self.json_place(alias, Document { json, folded: None }, last.1.clone(), None)
    }

    /// An item of a list, already joined as `row` by [`Compiler::rows`].
    pub(super) fn item_place(&mut self, row: &str) -> Place {
        let alias = self.alias('v');
        let from =
            self.pick(format!("(SELECT {row}.type AS k, {row}.value AS v) AS {alias}"), format!("(SELECT {row}.value AS j) AS {alias}"));
        let document = Document { json: format!("{row}.value"), folded: None };
        Place { from, alias, kind: PlaceKind::Json, folded: None, names: Vec::new(), document }
    }

    fn own(&mut self, field: OwnField, alias: String) -> Place {
        let document = Document::customer();
        let address = |compiler: &mut Self, channel: Channel| {
            let code = compiler.integer(channel.code());
            format!(
                "(SELECT a.address FROM addresses a WHERE a.customer_id = c.id AND a.channel = {code} AND a.is_primary = 1 ORDER BY a.address LIMIT 1)"
            )
        };
        let (column, kind) = match field {
            OwnField::CreatedAt => ("c.created_at".to_string(), PlaceKind::Instant),
            OwnField::Email => (address(self, Channel::Email), PlaceKind::Address),
            OwnField::Phone => (address(self, Channel::Sms), PlaceKind::Address),
            field => (format!("c.{}", field.word()), PlaceKind::Text),
        };
        let folded = (kind == PlaceKind::Text).then(|| {
            let name = self.text(field.word());
            self.folded_copy("c.folded", &name, true, &name)
        });
        let name = if kind == PlaceKind::Instant { "at" } else { "t" };
        Place { from: format!("(SELECT {column} AS {name}) AS {alias}"), alias, kind, folded, names: Vec::new(), document }
    }

    fn json_place(&mut self, alias: String, document: Document, names: Vec<String>, folded: Option<String>) -> Place {
        let json = &document.json;
        let from = match self.dialect {
            Dialect::Sqlite => {
                let path = self.path(&names);
                format!("(SELECT json_type({json}, {path}) AS k, json_extract({json}, {path}) AS v) AS {alias}")
            }
            // Step by step: a path as an array would be read from its text again for each person.
            Dialect::Postgres => {
                let steps: Vec<String> = names.iter().map(|name| format!(" -> CAST({} AS text)", self.text(name.as_str()))).collect();
                format!("(SELECT {json}{} AS j) AS {alias}", steps.concat())
            }
        };
        Place { from, alias, kind: PlaceKind::Json, folded, names, document }
    }

    /// Names of a path as SQLite reads it, bound. They are letters, digits, `_` and `-`; quotes would be left out.
    fn path(&mut self, names: &[String]) -> String {
        let quoted = names.iter().map(|name| format!("\"{}\"", name.replace(['"', '\\'], "")));
        self.text(std::iter::once("$".to_string()).chain(quoted).collect::<Vec<_>>().join("."))
    }

    /// The lower-cased copy under a dotted path.
    fn folded_copy(&mut self, column: &str, path: &str, simple: bool, dotted: &str) -> String {
        self.pick(
            match simple {
                true => format!("json_extract({column}, '$.\"' || {dotted} || '\"')"),
                false => format!("json_extract({column}, '$.\"' || {path} || '\"')"),
            },
            format!("({column} ->> ({path}))"),
        )
    }

    pub(super) fn is_missing(&self, place: &Place) -> String {
        let alias = &place.alias;
        match place.kind {
            PlaceKind::Text | PlaceKind::Address => format!("({alias}.t IS NULL)"),
            PlaceKind::Instant => "(1 = 0)".to_string(),
            PlaceKind::Json => self
                .pick(format!("(COALESCE({alias}.k, 'null') = 'null')"), format!("(COALESCE(jsonb_typeof({alias}.j), 'null') = 'null')")),
        }
    }

    pub(super) fn as_text(&self, place: &Place) -> String {
        let alias = &place.alias;
        match place.kind {
            PlaceKind::Text | PlaceKind::Address => format!("{alias}.t"),
            PlaceKind::Instant => "CAST(NULL AS TEXT)".to_string(),
            PlaceKind::Json => self.pick(
                format!("CASE WHEN {alias}.k = 'text' THEN {alias}.v END"),
                format!("(CASE WHEN jsonb_typeof({alias}.j) = 'string' THEN {alias}.j #>> '{{}}' END) COLLATE \"C\""),
            ),
        }
    }

    /// The text to search for lower-cased words.
    pub(super) fn as_folded(&self, place: &Place) -> String {
        let text = self.as_text(place);
        match (&place.folded, place.kind) {
            (_, PlaceKind::Address) => format!("LOWER({text})"),
            // A copy is only trusted where there is a text.
            (Some(copy), _) => format!("CASE WHEN {text} IS NOT NULL THEN COALESCE({copy}, {text}) END"),
            (None, _) => text,
        }
    }

    /// A double.
    pub(super) fn as_number(&self, place: &Place) -> String {
        let alias = &place.alias;
        match place.kind {
            PlaceKind::Json => self.pick(
                format!(
                    "CASE WHEN {alias}.k IN ('integer', 'real') THEN CASE WHEN {alias}.v = 0 OR ABS(CAST({alias}.v AS REAL)) BETWEEN 1e-300 AND 1e300 \
                     THEN CAST({alias}.v AS REAL) END END"
                ),
                format!("CAST({} AS DOUBLE PRECISION)", self.as_decimal(place)),
            ),
            _ => "CAST(NULL AS DOUBLE PRECISION)".to_string(),
        }
    }

    /// An exact number where the database has one.
    pub(super) fn as_decimal(&self, place: &Place) -> String {
        let alias = &place.alias;
        match place.kind {
            PlaceKind::Json => self.pick(
                self.as_number_sqlite(alias),
                // As it stands: written out as text and read again it takes half as long again.
                format!(
                    "CASE WHEN jsonb_typeof({alias}.j) = 'number' THEN CASE WHEN CAST({alias}.j AS NUMERIC) = 0 \
                     OR ABS(CAST({alias}.j AS NUMERIC)) BETWEEN 1e-300 AND 1e300 THEN CAST({alias}.j AS NUMERIC) END END"
                ),
            ),
            _ => "CAST(NULL AS NUMERIC)".to_string(),
        }
    }

    fn as_number_sqlite(&self, alias: &str) -> String {
        format!(
            "CASE WHEN {alias}.k IN ('integer', 'real') THEN CASE WHEN {alias}.v = 0 OR ABS(CAST({alias}.v AS REAL)) BETWEEN 1e-300 AND 1e300 \
             THEN CAST({alias}.v AS REAL) END END"
        )
    }

    /// 1, 0 or NULL.
    pub(super) fn as_boolean(&self, place: &Place) -> String {
        let alias = &place.alias;
        match place.kind {
            PlaceKind::Json => self.pick(
                format!("CASE {alias}.k WHEN 'true' THEN 1 WHEN 'false' THEN 0 END"),
                format!("CASE WHEN jsonb_typeof({alias}.j) = 'boolean' THEN CASE {alias}.j #>> '{{}}' WHEN 'true' THEN 1 ELSE 0 END END"),
            ),
            _ => "CAST(NULL AS INTEGER)".to_string(),
        }
    }

    /// The JSON of a list, or NULL.
    pub(super) fn as_list(&self, place: &Place) -> String {
        let alias = &place.alias;
        match place.kind {
            PlaceKind::Json => self.pick(
                format!("CASE WHEN {alias}.k = 'array' THEN {alias}.v END"),
                format!("CASE WHEN jsonb_typeof({alias}.j) = 'array' THEN {alias}.j END"),
            ),
            _ => self.pick("NULL".to_string(), "CAST(NULL AS jsonb)".to_string()),
        }
    }

    /// The items of a list as rows `row` with `value`, `key` (from 0) and, in SQLite, `type`.
    pub(super) fn rows(&self, list: &str, row: &str) -> String {
        self.pick(
            format!("json_each({list}) AS {row}"),
            format!(
                "(SELECT {row}e.value, {row}e.number - 1 AS key FROM jsonb_array_elements({list}) WITH ORDINALITY AS {row}e(value, number)) AS {row}"
            ),
        )
    }

    /// The document of an item that is a row of values, else NULL; with the copies of its texts.
    pub(super) fn row_document(&mut self, row: &str, list: &Place) -> Document {
        let json = self.pick(
            format!("CASE WHEN {row}.type = 'object' THEN {row}.value END"),
            format!("CASE WHEN jsonb_typeof({row}.value) = 'object' THEN {row}.value END"),
        );
        let folded = list.document.folded.as_ref().map(|(column, prefix)| {
            let dotted = self.text(format!("{}.", list.names.join(".")));
            (column.clone(), format!("{prefix} || {dotted} || {row}.key || '.'"))
        });
        Document { json, folded }
    }

    /// Money as a row source: column `minor` of the alias is in minor units of the workspace's currency, or NULL.
    pub(super) fn money(&mut self, place: &Place) -> (String, String) {
        let (text, number) = (self.as_text(place), self.as_number(place));
        let (written, amount, sized) = (self.alias('y'), self.alias('y'), self.alias('y'));
        let own = self.text(self.currencies.own.clone());
        let (mut units, mut factors) = (String::new(), String::new());
        for (code, (unit, factor)) in self.currencies.factors.clone() {
            let code = self.text(code);
            let (unit, factor) = (self.sql.hold(super::Bind::Float(unit as f64)), self.integer(factor));
            units.push_str(&format!(" WHEN {code} THEN {unit}"));
            factors.push_str(&format!(" WHEN {code} THEN {factor}"));
        }
        // OFFSET keeps both from writing the inner expressions out wherever they are used, each time anew.
        let fence = self.pick(" LIMIT 1 OFFSET 0", " OFFSET 0");
        // An amount: digits, maybe a fraction; then maybe a blank and a currency. `s` is the amount's text, `u` the same without its sign.
        let parts = self.pick(
            format!(
                "SELECT n, s, currency, CASE WHEN s GLOB '-*' THEN SUBSTR(s, 2) ELSE s END AS u FROM (SELECT n, \
                 CASE WHEN t GLOB '* [A-Z][A-Z][A-Z]' THEN SUBSTR(t, 1, LENGTH(t) - 4) ELSE t END AS s, \
                 CASE WHEN t GLOB '* [A-Z][A-Z][A-Z]' THEN SUBSTR(t, LENGTH(t) - 2) ELSE {own} END AS currency \
                 FROM (SELECT {text} AS t, {number} AS n FROM {from}{fence}){fence}){fence}",
                from = place.from
            ),
            format!(
                "SELECT n, SPLIT_PART(t, ' ', 1) AS s, CASE WHEN t LIKE '% %' THEN SPLIT_PART(t, ' ', 2) ELSE {own} END AS currency FROM (SELECT n, \
                 CASE WHEN t ~ '^-?[0-9]{{1,13}}([.][0-9]{{1,9}})?( [A-Z]{{3}})?$' THEN t END AS t \
                 FROM (SELECT {text} AS t, {number} AS n FROM {from} OFFSET 0) AS {written}i OFFSET 0) AS {written}o OFFSET 0",
                from = place.from
            ),
        );
        let read = self.pick(
            "CASE WHEN u NOT GLOB '*[^0-9.]*' AND (CASE INSTR(u, '.') WHEN 0 THEN LENGTH(u) BETWEEN 1 AND 13 ELSE INSTR(u, '.') BETWEEN 2 AND 14 \
             AND LENGTH(u) - INSTR(u, '.') BETWEEN 1 AND 9 AND INSTR(SUBSTR(u, INSTR(u, '.') + 1), '.') = 0 END) THEN CAST(s AS REAL) END",
            "CAST(s AS DOUBLE PRECISION)",
        );
        let amounts = format!(
            "SELECT CASE WHEN n IS NULL THEN {read} ELSE n END AS amount, CASE currency{units} END AS unit, CASE currency{factors} END AS factor \
             FROM ({parts}) AS {written}{fence}"
        );
        let size =
            self.pick("CAST(ABS(amount) * unit + 0.5 AS INTEGER)", "CAST(CAST(FLOOR(ABS(amount) * unit + 0.5) AS BIGINT) AS NUMERIC)");
        let scaled = self.pick("(size * factor + 500000) / 1000000", "DIV(size * factor + 500000, 1000000)");
        let from = format!(
            "(SELECT CASE WHEN amount < 0 THEN -({scaled}) ELSE {scaled} END AS minor FROM (SELECT amount, factor, CASE WHEN ABS(amount) < 1e13 THEN {size} END AS size \
             FROM ({amounts}) AS {amount}{fence}) AS {sized}) AS {sized}m"
        );
        (from, format!("{sized}m.minor"))
    }

    /// A date as a row source: columns `form` (`d` day, `l` local, `i` instant) and `at` (microseconds) of the alias; both NULL for what is none.
    pub(super) fn dated(&mut self, place: &Place) -> (String, String) {
        if place.kind == PlaceKind::Instant {
            let alias = self.alias('d');
            return (format!("(SELECT 'i' AS form, {}.at AS at FROM {}) AS {alias}", place.alias, place.from), alias);
        }
        let text = self.as_text(place);
        let (shape, alias) = (self.alias('d'), self.alias('d'));
        let is_date = self.date_shape(&format!("{shape}.t"));
        let fence = self.pick(" LIMIT 1 OFFSET 0", " OFFSET 0");
        let written = format!(
            "(SELECT CASE WHEN {is_date} THEN {shape}.t END AS s FROM (SELECT {text} AS t FROM {from}{fence}) AS {shape}{fence}) AS {shape}s",
            from = place.from
        );
        let at = self.pick(self.seconds_of_sqlite(), self.seconds_of_postgres());
        let from = self.pick(
            format!("(SELECT s, {FORM} AS form, ({at}) * 1000000 AS at FROM {written}) AS {alias}"),
            format!("(SELECT s, form, {at} * 1000000 AS at FROM (SELECT s, {FORM} AS form, {PARTS} FROM {written} OFFSET 0) AS {shape}p) AS {alias}"),
        );
        (from, alias)
    }

    /// SQLite reads these forms itself; it takes 30 February for 2 March and 24:00 for the next day, and rounds fractions: they are left out.
    fn seconds_of_sqlite(&self) -> String {
        let whole = "CASE WHEN SUBSTR(s, 20, 1) <> '.' THEN s WHEN s GLOB '*Z' THEN SUBSTR(s, 1, 19) || 'Z' \
                     WHEN SUBSTR(s, LENGTH(s) - 5, 1) IN ('+', '-') THEN SUBSTR(s, 1, 19) || SUBSTR(s, LENGTH(s) - 5) ELSE SUBSTR(s, 1, 19) END";
        format!("CASE WHEN DATE(SUBSTR(s, 1, 10)) = SUBSTR(s, 1, 10) AND SUBSTR(s, 12, 2) < '24' THEN UNIXEPOCH({whole}) END")
    }

    /// The number of a day by the calendar's rule: months are counted from March, so that the leap day is the last.
    fn seconds_of_postgres(&self) -> String {
        let (year, month) = ("(y + 4800 - (14 - m) / 12)", "(m + 12 * ((14 - m) / 12) - 3)");
        let days = format!(
            "CAST(d + (153 * {month} + 2) / 5 + 365 * {year} + {year} / 4 - {year} / 100 + {year} / 400 - 32045 - 2440588 AS BIGINT)"
        );
        let valid = "m BETWEEN 1 AND 12 AND d >= 1 AND d <= CASE WHEN m IN (4, 6, 9, 11) THEN 30 WHEN m = 2 THEN \
                     CASE WHEN y % 4 = 0 AND (y % 100 <> 0 OR y % 400 = 0) THEN 29 ELSE 28 END ELSE 31 END \
                     AND h < 24 AND mi < 60 AND sec < 60 AND oh < 15 AND om < 60";
        format!("CASE WHEN {valid} THEN {days} * 86400 + h * 3600 + mi * 60 + sec - os * (oh * 3600 + om * 60) END")
    }

    fn date_shape(&self, text: &str) -> String {
        let day = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]";
        let rest = format!("SUBSTR({text}, 17)");
        // What stands behind the minutes, without the offset.
        let seconds = format!(
            "(CASE WHEN {rest} GLOB '*Z' THEN SUBSTR({rest}, 1, LENGTH({rest}) - 1) WHEN {rest} GLOB '*[+-][0-9][0-9]:[0-9][0-9]' \
             THEN SUBSTR({rest}, 1, LENGTH({rest}) - 6) ELSE {rest} END)"
        );
        self.pick(
            format!(
                "{text} GLOB '{day}' OR ({text} GLOB '{day}[T ][0-9][0-9]:[0-9][0-9]*' AND ({seconds} = '' OR {seconds} GLOB ':[0-9][0-9]' \
                 OR ({seconds} GLOB ':[0-9][0-9].*' AND SUBSTR({seconds}, 5) NOT GLOB '*[^0-9]*' AND LENGTH({seconds}) BETWEEN 5 AND 13)))"
            ),
            format!(
                "{text} ~ '^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}([T ][0-9]{{2}}:[0-9]{{2}}(:[0-9]{{2}}([.][0-9]{{1,9}})?)?(Z|[+-][0-9]{{2}}:[0-9]{{2}})?)?$'"
            ),
        )
    }
}

/// `d` for a day, `i` for an instant, `l` for a local time; of a text `s` that has been found to be a date.
const FORM: &str = "CASE WHEN LENGTH(s) = 10 THEN 'd' WHEN SUBSTR(s, LENGTH(s), 1) = 'Z' THEN 'i' \
                    WHEN LENGTH(s) > 16 AND SUBSTR(s, LENGTH(s) - 5, 1) IN ('+', '-') THEN 'i' ELSE 'l' END";

/// Year, month, day, hour, minute, second, and the offset's hours, minutes and sign.
const PARTS: &str = "CAST(SUBSTR(s, 1, 4) AS INTEGER) AS y, CAST(SUBSTR(s, 6, 2) AS INTEGER) AS m, CAST(SUBSTR(s, 9, 2) AS INTEGER) AS d, \
    CASE WHEN LENGTH(s) > 10 THEN CAST(SUBSTR(s, 12, 2) AS INTEGER) ELSE 0 END AS h, \
    CASE WHEN LENGTH(s) > 10 THEN CAST(SUBSTR(s, 15, 2) AS INTEGER) ELSE 0 END AS mi, \
    CASE WHEN SUBSTR(s, 17, 1) = ':' THEN CAST(SUBSTR(s, 18, 2) AS INTEGER) ELSE 0 END AS sec, \
    CASE WHEN LENGTH(s) > 16 AND SUBSTR(s, LENGTH(s) - 5, 1) IN ('+', '-') THEN CAST(SUBSTR(s, LENGTH(s) - 4, 2) AS INTEGER) ELSE 0 END AS oh, \
    CASE WHEN LENGTH(s) > 16 AND SUBSTR(s, LENGTH(s) - 5, 1) IN ('+', '-') THEN CAST(SUBSTR(s, LENGTH(s) - 1, 2) AS INTEGER) ELSE 0 END AS om, \
    CASE WHEN LENGTH(s) > 16 AND SUBSTR(s, LENGTH(s) - 5, 1) = '-' THEN -1 ELSE 1 END AS os";
