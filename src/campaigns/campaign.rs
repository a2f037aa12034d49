//! campaigns/KEY.yaml: from the tree to a [`Campaign`].

use super::context::Context;
use super::fields::quoted;
use super::message::{self, Campaigning};
use super::model::*;
use super::part::Part;
use super::shapes::lacks;
use super::tables::campaign::CAMPAIGN;
use super::{arms, audience, schedule, tests};
use crate::literals::{Duration, Money, Rate, WrittenTime};
use crate::schedule::Rule;
use crate::segments;
use crate::types::Class;
use crate::yaml::Node;
use std::collections::BTreeSet;

/// What conditions write for all campaigns.
const ANY: &str = "any";

/// Checks and reads one campaign; `None` when it has problems. `key` is the file's name.
pub fn read(context: &mut Context<'_>, key: &str, node: &Node) -> Option<Campaign> {
    let part = Part { file: context.file, node };
    let whole = context.checker().table(node, &CAMPAIGN, part.start());
    let class = part.text("class").and_then(Class::from_word)?;
    let topic = part.text("topic");
    must_be_said(context, part, class);
    if key == ANY {
        let help = "conditions write `message: any` for the messages of all campaigns: take another name";
        context.problem(part.span("campaign"), "no campaign may be called `any`", "this word is taken", help);
    }
    let goal = part.inner("goal").map(|goal| measure(context, goal, 0));
    let measures: Vec<Option<Measure>> =
        (1..).zip(part.items("measures")).map(|(number, node)| measure(context, Part { file: part.file, node }, number)).collect();
    let schedule = part.inner("schedule").and_then(|inner| schedule::read(context, inner));
    let audience = audience::read(context, part, class);
    let campaigning = Campaigning { class, topic };
    let message = part.inner("message").and_then(|inner| message::read(context, inner, campaigning));
    let arms = arms::read(context, part, campaigning);
    if let (true, Some(node)) = (part.inner("schedule").is_some_and(|inner| inner.has("when")), part.get("variants_from")) {
        let help = "write the arms out under `variants`";
        context.problem(node.span, "`variants_from` with `when` is not built yet", "known, but later work", help);
    }
    let tests = tests::read(context, part, &tests::arm_names(part));
    let (schedule, audience, message, arms, tests) = (schedule?, audience?, message?, arms?, tests?);
    late(context, part, &schedule, &message);
    countable(context, part, &message, &arms);
    if !whole {
        return None;
    }
    let mut reaches = BTreeSet::from([super::workspace::FILE.to_string(), part.file.to_string()]);
    reaches.extend(tests::files(part));
    Some(Campaign {
        key: key.to_string(),
        title: part.words("title")?,
        owner: part.owned("owner")?,
        class,
        topic: part.owned("topic"),
        category: part.owned("category"),
        task: part.owned("task"),
        goal: match goal {
            Some(goal) => Some(goal?),
            None => None,
        },
        measures: measures.into_iter().collect::<Option<_>>()?,
        priority: part.whole("priority").unwrap_or(50) as u8,
        tags: part.texts("tags"),
        draft: part.boolean("draft").unwrap_or(false),
        schedule,
        audience,
        message,
        arms,
        limit_audience: part.inner("limits").and_then(|limits| limits.whole("audience")),
        limit_cost: part.inner("limits").and_then(|limits| Money::read(limits.text("cost")?, &context.workspace.currency).ok()),
        limit_rate: part.inner("limits").and_then(|limits| Rate::read(limits.text("rate")?).ok()),
        stop_if: StopIf::read(part.inner("stop_if")),
        re_entry: match part.text("re_entry") {
            Some("never") => ReEntry::Never,
            Some(text) => Duration::read(text).map_or(ReEntry::Always, ReEntry::After),
            None => ReEntry::Always,
        },
        if_inside: match part.text("if_inside") {
            Some("restart") => IfInside::Restart,
            Some("separate") => IfInside::Separate,
            _ => IfInside::Ignore,
        },
        tests,
        reaches,
    })
}

/// Keys that the class makes necessary.
fn must_be_said(context: &mut Context<'_>, part: Part<'_>, class: Class) {
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    if class != Class::Transactional {
        wanted.push(("topic", "`topic`: what customers consented to"));
        wanted.push(("category", "`category`: access scope, one of `categories` in posthaste.yaml"));
        wanted.push(("task", "`task`: acquire, grow or retain"));
    }
    if class == Class::Advertising {
        wanted.push(("goal", "`goal`: what counts as success, like { event: purchase, value: amount, within: 7 days }"));
    }
    wanted.retain(|(key, _)| lacks(part.node, key, &CAMPAIGN));
    if !wanted.is_empty() {
        let is = if wanted.len() == 1 { "is" } else { "are" };
        let title = format!("{} {is} missing", quoted(wanted.iter().map(|(key, _)| *key)));
        let mut problem = part.problem(part.key_span("class"), title).label(format!("{class} campaigns must say it"));
        for (_, help) in wanted {
            problem = problem.help(help);
        }
        context.problems.push(problem);
    }
    if lacks(part.node, "message", &CAMPAIGN) && lacks(part.node, "steps", &CAMPAIGN) {
        let help = "add message: { template: NAME, subject: \"…\" }";
        context.problem(part.start(), "`message` is missing", "the campaign says nothing", help);
    }
}

/// What expires before it is due reaches nobody.
fn late(context: &mut Context<'_>, part: Part<'_>, schedule: &Schedule, message: &Message) {
    let due = match schedule.rule {
        Rule::At(local) => local,
        Rule::Instant(instant) => WrittenTime::Instant(instant).local(schedule.zone),
        _ => return,
    };
    let end = match message.expires {
        Expires::At(local) => local,
        Expires::AtInstant(instant) => WrittenTime::Instant(instant).local(schedule.zone),
        Expires::After(_) => return,
    };
    if let Some(written) = part.inner("message").filter(|_| end <= due) {
        let label = format!("the campaign is due at {}", due.format("%Y-%m-%d %H:%M"));
        context.problem(
            written.span("expires"),
            "the message expires before it is due",
            label,
            "write a later time, or how long it may wait: `3 days`",
        );
    }
}

/// A limit of cost counts only what is priced in its currency, or in one that has a rate.
fn countable(context: &mut Context<'_>, part: Part<'_>, message: &Message, arms: &Arms) {
    let Some(limits) = part.inner("limits") else { return };
    let workspace = context.workspace;
    let Some(limit) = limits.text("cost").and_then(|text| Money::read(text, &workspace.currency).ok()) else { return };
    let span = limits.span("cost");
    let has_rate = |currency: &str| currency == workspace.currency || workspace.rates.contains_key(currency);
    let variants = if let Arms::Variants(variants) = arms { variants.as_slice() } else { &[] };
    let all = std::iter::once(message).chain(variants.iter().map(|variant| &variant.message));
    let channels: BTreeSet<_> =
        all.flat_map(|message| [Some(message), message.otherwise.as_deref()]).flatten().map(|one| one.channel).collect();
    let of_channels = workspace.providers.iter().filter(|(_, provider)| channels.contains(&provider.channel));
    let mut prices = of_channels.flat_map(|(name, provider)| provider.price.values().map(move |price| (name, price))).peekable();
    if prices.peek().is_none() {
        let title = "nothing of this campaign has a price";
        let problem = part.problem(span, title).warning().label("so this limit refuses nobody");
        context.problems.push(problem.help("add `price` to its providers in posthaste.yaml, like price: 0.85 UAH (an SMS part, a letter)"));
        return;
    }
    let foreign = prices.find(|(_, price)| price.currency != limit.currency && !(has_rate(&price.currency) && has_rate(&limit.currency)));
    if let Some((name, price)) = foreign {
        let title = format!("the prices of `{name}` are in {}, and this limit is in {}", price.currency, limit.currency);
        let help = format!(
            "add the rate to posthaste.yaml (rates: {{ {}: … {} }}), or write both in one currency",
            price.currency, workspace.currency
        );
        context.problem(span, title, "cannot be compared without a rate", help);
    }
}

fn measure(context: &mut Context<'_>, part: Part<'_>, number: i16) -> Option<Measure> {
    let event = part.text("event")?;
    let declared = context.workspace.events.as_ref().is_none_or(|events| events.contains_key(event));
    let condition = match part.inner("where") {
        Some(tests) if declared => Some(segments::read_properties(part.file, event, tests.node, context.known, context.problems)?),
        _ => None,
    };
    if let Some(condition) = &condition
        && condition.needs_customer()
    {
        let help = "compare with a value written out";
        context.problem(part.span("where"), "a goal looks at the event alone", "a customer's attribute is named here", help);
    }
    if let Some(node) = part.get("value").filter(|_| declared) {
        segments::read_property(part.file, event, node, context.known, context.problems)?;
    }
    Some(Measure { number, event: event.to_string(), condition, value: part.owned("value"), within: part.duration("within")? })
}
