//! Subjects that look into the past: events, messages, consent.

use super::Reader;
use super::keys::Keys;
use super::paths::Fields;
use super::tests::{looks_like_money, numbers};
use crate::diagnostics::{Span, nearest};
use crate::literals::ValueType;
use crate::segments::model::*;
use crate::types::Class;
use crate::yaml::Node;

/// The answer to a survey, which needs no declaration (files.md §2, `surveys`).
const SURVEY: &str = "survey_answered";

impl Reader<'_, '_> {
    /// What is declared of an event; `None`: everything is allowed.
    pub(super) fn fields_of_event(&self, event: &str) -> Option<Fields> {
        if event == SURVEY {
            let text = |name: &str| (name.to_string(), ValueType::Text);
            return Some(Fields::from([text("survey"), text("comment"), ("score".to_string(), ValueType::Number)]));
        }
        self.known.events.map(|events| events.get(event).cloned().unwrap_or_default())
    }

    pub(super) fn event_name(&mut self, node: &Node) -> Option<String> {
        let name = self.text(node, "the name of an event")?;
        if name.starts_with("message.") {
            self.problem(
                node.span,
                format!("`{name}` is not asked for as an event"),
                "kept by Posthaste itself",
                "write `{ message: any, was: opened }`",
            );
            return None;
        }
        if let Some(events) = self.known.events
            && !events.contains_key(&name)
            && name != SURVEY
        {
            let help = match nearest(&name, events.keys().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "declare it under `events` in posthaste.yaml".to_string(),
            };
            self.problem(node.span, format!("there is no event `{name}`"), "not declared in posthaste.yaml", help);
            return None;
        }
        Some(name)
    }

    pub(super) fn window(&mut self, keys: &mut Keys<'_>) -> Option<Window> {
        let (within, from, until) = (keys.take_entry("within"), keys.take_entry("from"), keys.take_entry("until"));
        if let (Some((_, within)), Some((other, _))) = (within, from.or(until)) {
            self.problem(
                other.span,
                format!("`within` and `{}` cannot stand together", other.text),
                "a second window",
                "keep one of the two",
            );
            self.duration(within);
            return None;
        }
        let mut window = Window::default();
        let mut fine = true;
        let entry = |reader: &mut Self, node: &Node| {
            if node.text() == Some("entry") {
                reader.later(node.span, "a window from the entry");
                return None;
            }
            reader.date(node)
        };
        if let Some((_, node)) = from {
            window.from = entry(self, node);
            fine &= window.from.is_some();
        }
        if let Some((_, node)) = until {
            window.until = entry(self, node);
            fine &= window.until.is_some();
        }
        if let Some((_, node)) = within {
            window.within = self.duration(node);
            fine &= window.within.is_some();
        }
        if let (Some(first), Some(last), Some((_, node))) = (window.from, window.until, until)
            && self.is_later(first, last)
        {
            self.problem(node.span, "the window ends before it begins", "earlier than `from`", "write the earlier date as `from`");
            fine = false;
        }
        fine.then_some(window)
    }

    pub(super) fn event(&mut self, node: &Node, keys: &mut Keys<'_>) -> Option<Condition> {
        let name = self.event_name(node);
        let fields = name.as_deref().and_then(|name| self.fields_of_event(name));
        let of = format!("event `{}`", name.as_deref().unwrap_or("?"));
        let window = self.window(keys);
        let known = name.is_some();
        let filter = match keys.take("where") {
            Some(node) if known => self.properties(node, fields.as_ref(), &of),
            _ => Some(PropertyTests::default()),
        };
        let measured = if known { self.measure(keys, name.as_deref().unwrap_or_default()) } else { self.skip_measure(keys) };
        let (measure, kind) = measured.unzip();
        let tests = self.number_tests(keys, kind.unwrap_or(Kind::Number));
        let edge = self.edge(keys, fields.as_ref().filter(|_| known), &of);
        let without = match keys.take("without") {
            Some(node) if known => self.without(node, fields.as_ref(), &of).map(Some),
            _ => Some(None),
        };
        if let Some((key, _)) = keys.take_entry("same") {
            self.problem(
                key.span,
                "`same` belongs into `without` here",
                "nothing to be the same as",
                "write `without: { event: …, same: PROPERTY }`",
            );
            return None;
        }
        let save_as = self.saved(keys)?;
        let (measure, mut tests) = (measure?, tests?);
        if tests.is_empty() {
            if measure != Measure::Count {
                self.problem(
                    node.span,
                    "nothing is asked of what is measured",
                    "how much?",
                    "add a number test: `{ event: purchase, sum: amount, at_least: 500 }`",
                );
                return None;
            }
            tests.push((Comparison::AtLeast, Operand::Number(1.0)));
        }
        if matches!(measure, Measure::Count | Measure::Distinct(_)) {
            self.counts(node.span, &tests, save_as.is_some())?;
        }
        let condition =
            EventCondition { name: name?, window: window?, filter: filter?, measure, tests, edge: edge?, without: without?, save_as };
        Some(Condition::Event(Box::new(condition)))
    }

    fn saved(&mut self, keys: &mut Keys<'_>) -> Option<Option<String>> {
        let Some(node) = keys.take("as") else { return Some(None) };
        let name = self.text(node, "a name for the template")?;
        let fine = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !fine {
            self.problem(node.span, format!("`{name}` is no name for a template"), "", "names are written in lower_case: `as: seen`");
        }
        fine.then_some(Some(name))
    }

    /// A count below zero is impossible, and a count of at least zero is no condition.
    fn counts(&mut self, span: Span, tests: &[(Comparison, Operand)], saved: bool) -> Option<()> {
        for (comparison, operand) in tests {
            let Operand::Number(number) = operand else { continue };
            let never = match comparison {
                Comparison::LessThan => *number <= 0.0,
                Comparison::AtMost => *number < 0.0,
                Comparison::Is => *number < 0.0 || number.fract() != 0.0,
                Comparison::MoreThan | Comparison::AtLeast => false,
            };
            if never {
                self.problem(span, "nobody can satisfy this: a count is a whole number, 0 or more", "", "mend the number");
                return None;
            }
            let always = match comparison {
                Comparison::AtLeast => *number <= 0.0,
                Comparison::MoreThan => *number < 0.0,
                _ => false,
            };
            if always && !saved {
                self.problem(span, "everybody satisfies this: a count is 0 or more", "", "write `at_least: 1`, or leave the condition out");
                return None;
            }
        }
        Some(())
    }

    fn measure(&mut self, keys: &mut Keys<'_>, event: &str) -> Option<(Measure, Kind)> {
        let mut found: Option<(Measure, Kind)> = None;
        let mut fine = true;
        for word in ["sum", "average", "smallest", "largest", "distinct"] {
            let Some((key, node)) = keys.take_entry(word) else { continue };
            if found.is_some() {
                self.problem(key.span, "one thing is measured at a time", "a second measure", "write two conditions in `all: [ … ]`");
                fine = false;
                continue;
            }
            let Some((path, kind)) = (if word == "distinct" { self.distinct(event, node) } else { self.measured(event, node) }) else {
                fine = false;
                continue;
            };
            // What is not declared is money when a test says so.
            let kind = match kind {
                Kind::Loose if word != "distinct" => {
                    let tests = ["is", "more_than", "less_than", "at_least", "at_most", "between"];
                    let money = tests.iter().any(|test| {
                        keys.peek(test)
                            .is_some_and(|node| node.list().map_or(looks_like_money(node), |items| items.iter().any(looks_like_money)))
                    });
                    if money { Kind::Money } else { Kind::Number }
                }
                kind => kind,
            };
            found = Some(match word {
                "sum" => (Measure::Sum(path, kind), kind),
                "average" => (Measure::Average(path, kind), kind),
                "smallest" => (Measure::Smallest(path, kind), kind),
                "largest" => (Measure::Largest(path, kind), kind),
                _ => (Measure::Distinct(path), Kind::Number),
            });
        }
        fine.then(|| found.unwrap_or((Measure::Count, Kind::Number)))
    }

    fn skip_measure(&mut self, keys: &mut Keys<'_>) -> Option<(Measure, Kind)> {
        keys.pass(&["sum", "average", "smallest", "largest", "distinct"]);
        None
    }

    /// A property that is a number or money.
    pub(super) fn measured(&mut self, event: &str, node: &Node) -> Option<(Path, Kind)> {
        let written = self.text(node, "the name of a property")?;
        let fields = self.fields_of_event(event);
        let (path, declared) = self.property_path(node.span, &written, fields.as_ref(), &format!("event `{event}`"))?;
        match declared {
            None => Some((path, Kind::Loose)),
            Some(ValueType::Number) => Some((path, Kind::Number)),
            Some(ValueType::Money) => Some((path, Kind::Money)),
            Some(other) => {
                self.problem(
                    node.span,
                    format!("`{written}` cannot be measured"),
                    format!("it is of the type {other}"),
                    "a number or money is expected",
                );
                None
            }
        }
    }

    fn distinct(&mut self, event: &str, node: &Node) -> Option<(Path, Kind)> {
        let written = self.text(node, "the name of a property")?;
        let fields = self.fields_of_event(event);
        let (path, declared) = self.property_path(node.span, &written, fields.as_ref(), &format!("event `{event}`"))?;
        if let Some(other @ (ValueType::List(_) | ValueType::Nested(_))) = declared {
            self.problem(
                node.span,
                format!("`{written}` has no single value"),
                format!("it is of the type {other}"),
                "name a property with one value",
            );
            return None;
        }
        Some((path, Kind::Number))
    }

    /// `first` or `last`.
    fn edge(&mut self, keys: &mut Keys<'_>, fields: Option<&Fields>, of: &str) -> Option<Option<Edge>> {
        let (first, last) = (keys.take_entry("first"), keys.take_entry("last"));
        if let (Some(_), Some((key, _))) = (first, last) {
            self.problem(key.span, "`first` and `last` cannot stand together", "a second one", "write two conditions in `all: [ … ]`");
            return None;
        }
        let Some((key, node)) = first.or(last) else { return Some(None) };
        let Some(entries) = node.map() else {
            self.problem(
                node.span,
                format!("`{}` wants date tests", key.text),
                format!("this is {}", node.kind()),
                format!("write `{}: {{ within: 30 days }}`", key.text),
            );
            return None;
        };
        let mut inner = Keys::of(entries);
        let dates = self.date_tests_among(&mut inner, &ValueType::DateTime);
        let filter = match inner.take("where") {
            Some(node) => self.properties(node, fields, of),
            None => Some(PropertyTests::default()),
        };
        inner.finish(self, &format!("`{}`", key.text)).then_some(())?;
        let (dates, filter) = (dates?, filter?);
        if dates.is_empty() && filter.tests.is_empty() {
            self.problem(
                node.span,
                format!("nothing is asked of the {} one", key.text),
                "empty",
                "write for example `{ within: 30 days }`",
            );
            return None;
        }
        Some(Some(Edge { last: key.text == "last", dates, filter }))
    }

    fn without(&mut self, node: &Node, own: Option<&Fields>, of: &str) -> Option<Without> {
        let Some(entries) = node.map() else {
            self.problem(
                node.span,
                "`without` wants an event",
                format!("this is {}", node.kind()),
                "write `without: { event: purchase, same: sku }`",
            );
            return None;
        };
        let mut keys = Keys::of(entries);
        let name = match keys.take("event") {
            Some(event) => self.event_name(event),
            None => {
                self.problem(node.span, "`without` wants an event", "which event?", "write `without: { event: purchase, same: sku }`");
                None
            }
        };
        let fields = name.as_deref().and_then(|name| self.fields_of_event(name));
        let other = format!("event `{}`", name.as_deref().unwrap_or("?"));
        let filter = match keys.take("where") {
            Some(node) if name.is_some() => self.properties(node, fields.as_ref(), &other),
            _ => Some(PropertyTests::default()),
        };
        let same = match keys.take("same") {
            Some(node) if name.is_some() => self.same(node, own, of, fields.as_ref(), &other).map(Some),
            _ => Some(None),
        };
        keys.finish(self, "`without`").then_some(())?;
        Some(Without { name: name?, filter: filter?, same: same? })
    }

    /// `same: ticket`, or `same: { sku: items.sku }`.
    fn same(&mut self, node: &Node, own: Option<&Fields>, of: &str, fields: Option<&Fields>, other: &str) -> Option<(Path, Path)> {
        let (own_span, own_name, other_span, other_name) = match node.map() {
            Some([(key, value)]) => (key.span, key.text.clone(), value.span, self.text(value, "the other event's property")?),
            Some(_) => {
                self.problem(
                    node.span,
                    "`same` names one property",
                    "more than one",
                    "write `same: ticket`, or `same: { sku: items.sku }`",
                );
                return None;
            }
            None => {
                let name = self.text(node, "the name of a property")?;
                (node.span, name.clone(), node.span, name)
            }
        };
        let (path, declared) = self.property_path(own_span, &own_name, own, of)?;
        if let Some(list @ (ValueType::List(_) | ValueType::Nested(_))) = declared {
            self.problem(
                own_span,
                format!("`{own_name}` has no single value"),
                format!("it is of the type {list}"),
                "name a property with one value",
            );
            return None;
        }
        Some((path, self.path_through_lists(other_span, &other_name, fields, other)?))
    }

    /// A path of the other event, where `items.sku` is the `sku` of any row of the list `items`.
    fn path_through_lists(&mut self, span: Span, written: &str, fields: Option<&Fields>, of: &str) -> Option<Path> {
        let rows = fields.map(|fields| fields.iter().map(|(name, declared)| (name.clone(), without_lists(declared))).collect::<Fields>());
        let (path, declared) = self.property_path(span, written, rows.as_ref(), of)?;
        if let Some(nested @ ValueType::Nested(_)) = declared {
            self.problem(
                span,
                format!("`{written}` has no single value"),
                format!("it is of the type {nested}"),
                "name a property with one value",
            );
            return None;
        }
        if !path.through.is_empty() {
            self.problem(span, format!("`{written}` leads through a catalog"), "", "name a property of the event itself");
            return None;
        }
        Some(path)
    }

    pub(super) fn message(&mut self, node: &Node, keys: &mut Keys<'_>) -> Option<Condition> {
        let campaigns = self.campaigns(node);
        let was = match keys.take("was") {
            Some(node) => self.each(node, |reader, node| {
                let word = reader.text(node, "what became of the message")?;
                let was = Was::from_word(&word);
                if was.is_none() {
                    let words: Vec<&str> = Was::ALL.iter().map(|(_, word)| *word).collect();
                    reader.unknown_word(node.span, &word, "word for what became of a message:", &words);
                }
                was
            }),
            None => {
                self.problem(
                    node.span,
                    "what became of the message is not said",
                    "was what?",
                    "add for example `was: opened`, or `was: accepted`",
                );
                None
            }
        };
        if let Some((key, _)) = keys.take_entry("step") {
            self.later(key.span, "`step`");
            return None;
        }
        let variant = self.several(keys, "variant", |reader, node| reader.text(node, "a variant"));
        let channel = self.several(keys, "channel", Self::channel);
        let topic = self.several(keys, "topic", Self::topic);
        let class = self.several(keys, "class", |reader, node| {
            let word = reader.text(node, "a class")?;
            let class = Class::from_word(&word);
            if class.is_none() {
                let words: Vec<&str> = Class::ALL.iter().map(|class| class.word()).collect();
                reader.unknown_word(node.span, &word, "class", &words);
            }
            class
        });
        let category = self.several(keys, "category", |reader, node| {
            let name = reader.text(node, "a category")?;
            let known = reader.known.categories;
            (known.is_empty() || reader.one_of(node.span, &name, known, "category", "categories are declared in posthaste.yaml"))
                .then_some(name)
        });
        let tag = self.several(keys, "tag", |reader, node| reader.text(node, "a tag"));
        let link = self.several(keys, "link", |reader, node| reader.text(node, "the target of a link"));
        let link_span = keys.peek("link").map(|node| node.span);
        let reason = self.several(keys, "reason", |reader, node| {
            let word = reader.text(node, "a reason")?;
            let reason = Reason::from_word(&word);
            if reason.is_none() {
                let words: Vec<&str> = crate::types::Refusal::ALL
                    .iter()
                    .map(|refusal| refusal.word())
                    .chain(crate::types::Failure::ALL.iter().map(|failure| failure.word()))
                    .collect();
                reader.unknown_word(node.span, &word, "reason", &words);
            }
            reason
        });
        let machine = match keys.take("machine") {
            Some(node) => self.boolean(node),
            None => Some(false),
        };
        let window = self.window(keys);
        let tests = self.number_tests(keys, Kind::Number);
        let (was, mut tests) = (was?, tests?);
        if tests.is_empty() {
            tests.push((Comparison::AtLeast, Operand::Number(1.0)));
        }
        self.counts(node.span, &tests, false)?;
        if let (Some(links), Some(span)) = (&link, link_span)
            && !links.is_empty()
            && was != [Was::Clicked]
        {
            self.problem(span, "only a click has a link", "", "write `was: clicked` beside it");
            return None;
        }
        let count = tests.len();
        let tests = numbers(tests);
        if tests.len() < count {
            self.problem(node.span, "a number of messages is compared with a number", "", "write for example `at_least: 3`");
            return None;
        }
        Some(Condition::Message(Box::new(MessageCondition {
            campaigns: campaigns?,
            was,
            variant: variant?,
            channel: channel?,
            topic: topic?,
            class: class?,
            category: category?,
            tag: tag?,
            link: link?,
            reason: reason?,
            window: window?,
            tests,
            machine: machine?,
        })))
    }

    /// One campaign, a list, or `any`.
    fn campaigns(&mut self, node: &Node) -> Option<Vec<String>> {
        if node.text() == Some("any") {
            return Some(Vec::new());
        }
        self.each(node, |reader, node| {
            let name = reader.text(node, "a campaign")?;
            reader
                .one_of(node.span, &name, reader.known.campaigns, "campaign", "write the name of a campaign's file, or `any`")
                .then_some(name)
        })
    }

    pub(super) fn consent(&mut self, node: &Node, keys: &mut Keys<'_>) -> Option<Condition> {
        let topic = self.topic(node);
        let words: Vec<&str> = ConsentIs::ALL.iter().map(|(_, word)| *word).collect();
        let is = match keys.take("is") {
            Some(node) => self.each(node, |reader, node| {
                let word = reader.text(node, "a state of consent")?;
                let is = ConsentIs::from_word(&word);
                if is.is_none() {
                    reader.unknown_word(node.span, &word, "state of consent", &words);
                }
                is
            }),
            None => {
                self.problem(
                    node.span,
                    "the state of consent is not said",
                    "is what?",
                    format!("add `is:` with one of: {}", words.join(", ")),
                );
                None
            }
        };
        let channel = match keys.take("channel") {
            Some(node) => self.channel(node).map(Some),
            None => Some(None),
        };
        let window_span = ["within", "from", "until"].iter().find_map(|key| keys.peek(key)).map(|node| node.span);
        let window = self.window(keys);
        let proof_missing = match keys.take("proof") {
            Some(node) if node.text() == Some("missing") => Some(true),
            Some(node) => {
                self.problem(node.span, "`proof` can only be `missing`", "", "write `proof: missing`, or leave it out");
                None
            }
            None => Some(false),
        };
        let (is, window, proof_missing) = (is?, window?, proof_missing?);
        if is.contains(&ConsentIs::None) && (!window.is_empty() || proof_missing) {
            let span = window_span.unwrap_or(node.span);
            self.problem(
                span,
                "where there is no consent, nothing changed and nothing is proved",
                "",
                "leave out `none`, or the window and the proof",
            );
            return None;
        }
        Some(Condition::Consent(ConsentCondition { topic: topic?, is, channel: channel?, window, proof_missing }))
    }
}

/// The type of an item, in place of the list.
fn without_lists(declared: &ValueType) -> ValueType {
    match declared {
        ValueType::List(item) => without_lists(item),
        ValueType::Nested(fields) => ValueType::Nested(fields.iter().map(|(name, inner)| (name.clone(), without_lists(inner))).collect()),
        other => other.clone(),
    }
}
