//! `audience`: who.

use super::context::Context;
use super::model::{Audience, Holdout, Order};
use super::names::EVERYONE;
use super::part::Part;
use super::shapes::lacks;
use super::tables::campaign::{AUDIENCE, CAMPAIGN};
use crate::literals::Share;
use crate::segments::Condition;
use crate::types::Class;
use crate::yaml::{Node, Value};

/// Reads what stands under `audience`; a transactional campaign, and an informational one that a trigger starts, may say nothing: everyone.
pub fn read(context: &mut Context<'_>, campaign: Part<'_>, class: Class) -> Option<Audience> {
    let Some(part) = campaign.inner("audience") else {
        let by_trigger = campaign.inner("schedule").is_some_and(|schedule| schedule.has("when"));
        let may_lack = class == Class::Transactional || by_trigger && class == Class::Informational;
        if !may_lack && lacks(campaign.node, "audience", &CAMPAIGN) {
            let help = "write audience: { segment: everyone, holdout: 10% } or name a segment or a condition";
            context.problem(campaign.start(), "`audience` is missing", format!("{class} campaigns must say it"), help);
        }
        return may_lack.then(|| Audience {
            segment: None,
            condition: None,
            except: Vec::new(),
            recheck: false,
            holdout: Holdout::Share(Share(0)),
            order: Order::Random,
        });
    };
    if lacks(part.node, "segment", &AUDIENCE) && lacks(part.node, "where", &AUDIENCE) {
        context.problem(
            part.start(),
            "the audience names nobody",
            "neither `segment` nor `where` stands here",
            "write `segment: everyone` if all customers are meant",
        );
    }
    if class == Class::Advertising && lacks(part.node, "holdout", &AUDIENCE) {
        context.problem(
            campaign.key_span("audience"),
            "`holdout` is missing",
            "advertising must say who is held out",
            "write `holdout: 10%`: some get nothing, so that the report shows what the campaign brings; `0%` holds out nobody",
        );
    }
    let condition = part.get("where").map(|node| context.condition(node));
    let except: Vec<Option<Condition>> = part.items("except").iter().map(|node| exception(context, node)).collect();
    Some(Audience {
        segment: part.owned("segment").filter(|segment| segment != EVERYONE),
        condition: match condition {
            Some(condition) => Some(condition?),
            None => None,
        },
        except: except.into_iter().collect::<Option<_>>()?,
        recheck: part.boolean("recheck").unwrap_or(false),
        holdout: holdout(part),
        order: order(context, campaign, part),
    })
}

fn exception(context: &mut Context<'_>, node: &Node) -> Option<Condition> {
    match &node.value {
        Value::Scalar { text, .. } if text == EVERYONE => {
            context.problem(node.span, "`everyone` is left out", "so nobody is left", "name a smaller segment");
            None
        }
        Value::Scalar { text, .. } => Some(Condition::Segment(text.clone())),
        _ => context.condition(node),
    }
}

fn holdout(part: Part<'_>) -> Holdout {
    match part.inner("holdout") {
        Some(holdout) => {
            Holdout::Attribute { path: holdout.owned("attribute").unwrap_or_default(), value: holdout.owned("is").unwrap_or_default() }
        }
        None => Holdout::Share(part.share("holdout").unwrap_or(Share(0))),
    }
}

fn order(context: &mut Context<'_>, campaign: Part<'_>, part: Part<'_>) -> Order {
    let limited = campaign.inner("limits").is_some_and(|limits| limits.has("audience"));
    if part.has("order") && !limited {
        context.problems.push(
            part.problem(part.key_span("order"), "`order` changes nothing")
                .label("nobody is left out for being late in it")
                .help("it decides who comes first under limits: { audience: 1000 }; add that, or take `order` out")
                .warning(),
        );
    }
    match part.inner("order") {
        Some(order) => match (order.owned("highest"), order.owned("lowest")) {
            (Some(path), None) => Order::Highest(path),
            (None, Some(path)) => Order::Lowest(path),
            _ => {
                let help = "write { highest: clv } or { lowest: clv }";
                context.problem(order.start(), "an order has exactly one of `highest` and `lowest`", "here", help);
                Order::Random
            }
        },
        None if part.text("order") == Some("most_engaged") => Order::MostEngaged,
        None => Order::Random,
    }
}
