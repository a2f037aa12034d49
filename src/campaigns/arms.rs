//! `variants` and `variants_from`: the arms of the experiment.

use super::context::Context;
use super::message::{self, Campaigning};
use super::model::{Arms, Variant};
use super::part::Part;
use crate::literals::Share;
use std::collections::BTreeSet;

/// Names of arms that are taken: who is held out, and all who were sent to together.
const RESERVED: [&str; 2] = ["held_out", "all"];

pub fn read(context: &mut Context<'_>, campaign: Part<'_>, campaigning: Campaigning<'_>) -> Option<Arms> {
    if campaign.has("variants") && campaign.has("variants_from") {
        let help = "take `variants` to draw the arms, `variants_from` to read them from an attribute";
        context.problem(campaign.key_span("variants_from"), "`variants` and `variants_from` stand here both", "only one can hold", help);
        return None;
    }
    if let Some(attribute) = campaign.owned("variants_from") {
        return Some(Arms::FromAttribute(attribute));
    }
    if !campaign.has("variants") {
        return Some(Arms::Single);
    }
    let items = campaign.items("variants");
    let shares = weights(context, campaign);
    let mut names = BTreeSet::new();
    let mut variants = Vec::new();
    for (number, node) in items.iter().enumerate() {
        let part = Part { file: campaign.file, node };
        let Some(name) = part.text("name") else { continue };
        if RESERVED.contains(&name) {
            context.problem(
                part.span("name"),
                format!("no variant may be called `{name}`"),
                "this word has a meaning in reports",
                "take another name",
            );
        }
        if !names.insert(name.to_string()) {
            context.problem(part.span("name"), format!("two variants are called `{name}`"), "the second one", "take another name");
        }
        let Some(base) = campaign.inner("message") else { continue };
        let merged = message::overlaid(base.node, node);
        let message = message::read(context, Part { file: campaign.file, node: &merged }, campaigning);
        if let (Some(message), Some(weight)) = (message, shares.get(number)) {
            variants.push(Variant { name: name.to_string(), weight: *weight, message });
        }
    }
    (variants.len() == items.len()).then_some(Arms::Variants(variants))
}

/// Written weights make 100%; where none is written, equal parts do.
fn weights(context: &mut Context<'_>, campaign: Part<'_>) -> Vec<Share> {
    let items = campaign.items("variants");
    let written: Vec<Option<Share>> = items.iter().map(|node| Part { file: campaign.file, node }.share("weight")).collect();
    let given = items.iter().filter(|node| node.get("weight").is_some()).count();
    if items.is_empty() {
        context.problem(campaign.key_span("variants"), "there are no variants", "an empty list", "name at least two, or take the key out");
    }
    if given == 0 {
        return equal(items.len());
    }
    if given < items.len() {
        let help = "write a weight for each, or for none (then they are equal)";
        context.problem(campaign.key_span("variants"), "some variants have a weight and some have none", "weights must make 100%", help);
        return equal(items.len());
    }
    let sum: u32 = written.iter().flatten().map(|share| share.0).sum();
    if written.iter().all(Option::is_some) && sum != Share::WHOLE.0 {
        let title = format!("the weights make {}, not 100%", Share(sum));
        context.problem(
            campaign.key_span("variants"),
            title,
            "all weights together",
            "change them so that they make 100%, or leave all out for equal parts",
        );
    }
    written.into_iter().map(Option::unwrap_or_default).collect()
}

/// Equal parts in hundredths of a percent; the last take what does not divide.
fn equal(count: usize) -> Vec<Share> {
    let count = count.max(1) as u32;
    (0..count).map(|number| Share(Share::WHOLE.0 * (number + 1) / count - Share::WHOLE.0 * number / count)).collect()
}
