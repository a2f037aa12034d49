//! What messages say, compiled as the engine will compile it: faults of templates and words, variables that nobody has,
//! and what advertising must carry.

use super::message::overlaid;
use super::model::*;
use super::part::inside;
use super::trigger::Trigger;
use super::variables::Variables;
use crate::diagnostics::{Problem, Problems, Severity, Span};
use crate::segments::ConsentIs;
use crate::templates::{Library, Links, MessageTemplate, Need, Part, Source};
use crate::types::{Channel, Class};
use crate::yaml::Node;
use std::collections::BTreeMap;

/// Compiles each message of each campaign for each language.
pub fn check(
    workspace: &Workspace,
    segments: &BTreeMap<String, Segment>,
    campaigns: &BTreeMap<String, Campaign>,
    trees: &BTreeMap<String, Node>,
    library: &Library,
    problems: &mut Problems,
) {
    for (key, campaign) in campaigns {
        let Some(tree) = trees.get(key) else { continue };
        let file = format!("campaigns/{key}.yaml");
        let mut links = Links::new();
        let mut checked = Checked { workspace, segments, campaign, library, file: &file, links: &mut links, problems };
        for (message, node) in messages(campaign, tree) {
            checked.message(message, &node);
        }
    }
}

/// The messages of a campaign with what stands in the file about them.
fn messages<'a>(campaign: &'a Campaign, tree: &Node) -> Vec<(&'a Message, Node)> {
    let Some(base) = tree.get("message") else { return Vec::new() };
    let mut all: Vec<(&Message, Node)> = vec![(&campaign.message, base.clone())];
    if let Arms::Variants(variants) = &campaign.arms {
        let nodes = tree.get("variants").and_then(Node::list).unwrap_or_default();
        all.extend(variants.iter().zip(nodes).map(|(variant, node)| (&variant.message, overlaid(base, node))));
    }
    if let (Some(otherwise), Some(node)) = (&campaign.message.otherwise, base.get("otherwise")) {
        all.push((otherwise, node.clone()));
    }
    all
}

struct Checked<'a> {
    workspace: &'a Workspace,
    segments: &'a BTreeMap<String, Segment>,
    campaign: &'a Campaign,
    library: &'a Library,
    file: &'a str,
    links: &'a mut Links,
    problems: &'a mut Problems,
}

impl Checked<'_> {
    fn message(&mut self, message: &Message, node: &Node) {
        let variables = Variables::new(self.workspace, self.segments, self.campaign, message);
        for language in &self.workspace.languages {
            let chain = self.workspace.language_chain(Some(language));
            match MessageTemplate::compile(self.library, &source(message), &chain, track(message), self.links) {
                Ok(compiled) => {
                    for need in compiled.needs() {
                        if let Err(unknown) = variables.check(&need.path) {
                            let mut problem = Problem::new("", None, unknown.title).label(unknown.label);
                            problem.help = unknown.help;
                            self.at(need, node, problem);
                        }
                    }
                    self.must_ask(node, &compiled);
                    let lacking = self.must_carry(message, node, &compiled);
                    // What a whole message lacks is said once, not for each of its parts.
                    for fault in compiled.lint(self.campaign.class).into_iter().filter(|fault| !(lacking && fault.part == Part::Body)) {
                        let span = words_span(node, fault.part, &fault.language);
                        self.problems.push(fault.at(self.file, span));
                    }
                }
                Err(faults) => {
                    // What is wrong in a template's own files has been told there.
                    let told = self.is_told(message);
                    for fault in faults.into_iter().filter(|fault| !(told && fault.part == Part::Body)) {
                        let span = words_span(node, fault.part, &fault.language);
                        self.problems.push(fault.at(self.file, span));
                    }
                }
            }
        }
    }

    /// Whether the files of the message's template have problems.
    fn is_told(&self, message: &Message) -> bool {
        let MessageBody::Template(name) = &message.body else { return false };
        let files = self.library.reaches(name);
        self.library.has(name) && self.problems.iter().any(|problem| problem.severity == Severity::Problem && files.contains(&problem.file))
    }

    fn at(&mut self, need: &Need, node: &Node, mut problem: Problem) {
        if need.place.file.is_empty() {
            let whole = words_span(node, need.place.part, &need.place.language);
            problem.file = self.file.to_string();
            problem.span = whole.map(|whole| whole.part(need.place.span.start..need.place.span.end));
        } else {
            problem.file = need.place.file.clone();
            problem.span = Some(need.place.span);
        }
        self.problems.push(problem);
    }

    /// A message that asks to confirm has the link by which that is done.
    fn must_ask(&mut self, node: &Node, compiled: &MessageTemplate) {
        let Some(Trigger::Consent(consent)) = &self.campaign.schedule.when else { return };
        let asks = self.campaign.class == Class::Transactional && consent.is == [ConsentIs::Pending];
        if asks && !compiled.needs().iter().any(|need| need.path == "confirm_url") {
            let span = node.get("template").or_else(|| node.get("text")).map(|words| words.span);
            self.problems.push(
                Problem::new(self.file, span, "the link to confirm is missing")
                    .label("asks those whose consent is pending")
                    .help("put <a href=\"{{confirm_url}}\">…</a> into the template, or {{confirm_url}} into the text"),
            );
        }
    }

    /// Email that may be declined says how, and advertising says who sends it. True when something lacks.
    fn must_carry(&mut self, message: &Message, node: &Node, compiled: &MessageTemplate) -> bool {
        if message.channel != Channel::Email || self.campaign.class == Class::Transactional {
            return false;
        }
        let mut lacking = false;
        let reads = |names: &[&str]| compiled.needs().iter().any(|need| names.contains(&need.path.as_str()));
        let (file, span) = (self.file.to_string(), node.get("template").map(|template| template.span));
        if !reads(&["unsubscribe_url", "preferences_url"]) {
            lacking = true;
            let is_advertising = self.campaign.class == Class::Advertising;
            let problem = Problem::new(file.clone(), span, "the unsubscribe link is missing")
                .label(format!("{} email {} have one", self.campaign.class, if is_advertising { "must" } else { "should" }))
                .help(
                    "put <a href=\"{{unsubscribe_url}}\">…</a> into the template, or into a footer that all templates share: {{> footer}}",
                );
            self.problems.push(if is_advertising { problem } else { problem.warning() });
        }
        if self.campaign.class == Class::Advertising {
            let has = self.workspace.identities.get(&message.from).is_some_and(|identity| identity.postal_address.is_some());
            if !has {
                self.problems.push(
                    Problem::new(
                        self.file,
                        node.get("from").map(|from| from.span).or(node.get("template").map(|from| from.span)),
                        "the postal address is missing",
                    )
                    .label(format!("sent as `{}`, which has no `postal_address`", message.from))
                    .help(format!("advertising email must show it: add postal_address to identities.{} in posthaste.yaml", message.from)),
                );
            } else if !reads(&["identity.postal_address"]) {
                lacking = true;
                self.problems.push(
                    Problem::new(file, span, "the postal address is missing")
                        .label("advertising email must show it")
                        .help("put {{identity.postal_address}} into the template, or into a footer that all templates share: {{> footer}}"),
                );
            }
        }
        lacking
    }
}

fn source(message: &Message) -> Source<'_> {
    let body = match &message.body {
        MessageBody::Template(name) => crate::templates::Body::Template(name),
        MessageBody::Text(words) => crate::templates::Body::Text(words),
    };
    Source { channel: message.channel, body, subject: &message.subject, preheader: &message.preheader }
}

fn track(message: &Message) -> crate::templates::Track {
    crate::templates::Track { opens: message.track.opens, clicks: message.track.clicks }
}

/// Where the words of a part stand in the campaign's file, without their quotes.
fn words_span(node: &Node, part: Part, language: &str) -> Option<Span> {
    let key = match part {
        Part::Body => "template",
        Part::Text => "text",
        Part::Subject => "subject",
        Part::Preheader => "preheader",
    };
    let words = node.get(key)?;
    let words = words.get(language).unwrap_or(words);
    Some(inside(words, 0..words.text().map_or(0, str::len)))
}
