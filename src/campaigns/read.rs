//! Reads all definition files at once, from a folder or from what was applied.

use super::context::{Context, Sets};
use super::mapping::{self, Mapping};
use super::model::{Campaign, Segment, Workspace};
use super::names::{Names, file_key};
use super::{campaign, forms, retention, segment, words_of_messages, workspace};
use crate::diagnostics::{Files, Problem, Problems};
use crate::schedule::Rule;
use crate::templates::{Languages, Library};
use crate::types::Time;
use crate::yaml::{self, Node};
use std::collections::{BTreeMap, BTreeSet};

/// Everything that the files define, checked.
#[derive(Debug, Clone)]
pub struct Definitions {
    pub workspace: Workspace,
    pub segments: BTreeMap<String, Segment>,
    pub campaigns: BTreeMap<String, Campaign>,
    pub mappings: BTreeMap<String, Mapping>,
    pub templates: Library,
}

/// Reads every file; all problems of all files come at once, by file and place. Definitions come out only when there is no problem
/// (warnings do not count).
pub fn read(files: &Files) -> (Option<Definitions>, Problems) {
    let mut problems = Problems::default();
    let definitions = read_all(files, Words::Checked, &mut problems);
    if let (Some(definitions), Some(top)) = (&definitions, tree(files, workspace::FILE, &mut Problems::default())) {
        forms::can_be_confirmed(&top, &definitions.workspace, &definitions.campaigns, &mut problems);
    }
    finished(definitions, problems)
}

/// Reads the files of one applied version: what it reaches, and not everything that the workspace has besides. What its messages say was compiled and
/// checked before it was applied, and is compiled again where it is sent.
pub fn read_version(files: &Files) -> (Option<Definitions>, Problems) {
    let mut problems = Problems::default();
    let definitions = read_all(files, Words::Applied, &mut problems);
    finished(definitions, problems)
}

/// Reads posthaste.yaml of one applied version, and nothing else of it.
pub fn read_workspace(files: &Files) -> (Option<Workspace>, Problems) {
    let mut problems = Problems::default();
    let top = top(files, &mut problems);
    let names = Names::first(files, top.as_ref());
    let workspace = top.map(|top| workspace::read(&top, names, &mut problems).0);
    problems.sort();
    (workspace.filter(|_| problems.count() == 0), problems)
}

/// Whether what messages say is new.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Words {
    Checked,
    Applied,
}

/// posthaste.yaml, or the problem that it is missing.
fn top(files: &Files, problems: &mut Problems) -> Option<Node> {
    if !files.0.contains_key(workspace::FILE) {
        problems.push(
            Problem::new(workspace::FILE, None, "there is no posthaste.yaml").help("`posthaste init DIR` writes a workspace with examples"),
        );
    }
    tree(files, workspace::FILE, problems)
}

fn finished(definitions: Option<Definitions>, mut problems: Problems) -> (Option<Definitions>, Problems) {
    problems.sort();
    (definitions.filter(|_| problems.count() == 0), problems)
}

fn read_all(files: &Files, words: Words, problems: &mut Problems) -> Option<Definitions> {
    let top = top(files, problems);
    let names = Names::first(files, top.as_ref());
    misplaced(files, problems);
    let segment_trees = trees(files, "campaigns/segments/", "segment", problems);
    let campaign_trees = trees(files, "campaigns/", "campaign", problems);
    let mapping_trees = trees(files, "mappings/", "mapping", problems);
    // Without posthaste.yaml nothing else can be held against anything.
    let top = top?;
    let (workspace, names) = workspace::read(&top, names, problems);
    let languages = Languages { all: workspace.languages.clone(), fallback: workspace.fallback.clone() };
    // Where a language is mistyped, every file in it would be a problem as well.
    let mut unsaid = Problems::default();
    let library = Library::read(files, &languages, if names.languages.is_some() { &mut *problems } else { &mut unsaid });
    let sets = Sets::new(&names);
    let known = sets.known(&workspace);
    let mut segments = BTreeMap::new();
    let mut campaigns = BTreeMap::new();
    for (key, node) in &segment_trees {
        let file = format!("campaigns/segments/{key}.yaml");
        let mut context = Context {
            file: &file,
            files,
            workspace: &workspace,
            names: &names,
            known: &known,
            library: &library,
            problems: &mut *problems,
        };
        segments.extend(segment::read(&mut context, key, node).map(|segment| (key.clone(), segment)));
    }
    segment::circles(&segments, &segment_trees, problems);
    for (key, node) in &campaign_trees {
        let file = format!("campaigns/{key}.yaml");
        let mut context = Context {
            file: &file,
            files,
            workspace: &workspace,
            names: &names,
            known: &known,
            library: &library,
            problems: &mut *problems,
        };
        campaigns.extend(campaign::read(&mut context, key, node).map(|campaign| (key.clone(), campaign)));
    }
    let mappings = mapping_trees
        .iter()
        .filter_map(|(key, node)| Some((key.clone(), mapping::read(&format!("mappings/{key}.yaml"), key, node, &names, problems)?)))
        .collect();
    reach(&segments, &mut campaigns, &library);
    if words == Words::Checked {
        words_of_messages::check(&workspace, &segments, &campaigns, &campaign_trees, &library, problems);
    }
    retention::check(&workspace, (&segments, &segment_trees), (&campaigns, &campaign_trees), problems);
    nothing_is_lost(&segment_trees, segments.keys(), "campaigns/segments/", problems);
    nothing_is_lost(&campaign_trees, campaigns.keys(), "campaigns/", problems);
    Some(Definitions { workspace, segments, campaigns, mappings, templates: library })
}

/// A schedule that has no time to come (`at` in the past, `until` gone by, Quartz's years over), for a campaign that is applied for the first
/// time or changed: it would never run.
pub fn in_the_past(files: &Files, campaign: &Campaign, now: Time) -> Option<Problem> {
    let schedule = &campaign.schedule;
    let is_over = |until| now.with_timezone(&schedule.zone).naive_local() > until;
    if schedule.when.is_some() && !schedule.bounds.until.is_some_and(is_over) {
        return None;
    }
    if schedule.rule.after(now, schedule.zone, &schedule.bounds).is_some() {
        return None;
    }
    let file = format!("campaigns/{}.yaml", campaign.key);
    let node = files.text(&file).and_then(|text| yaml::read(&file, text, &mut Problems::default()));
    let (key, title) = match (&schedule.rule, schedule.bounds.until) {
        (Rule::At(_) | Rule::Instant(_), None) => ("at", "the campaign's time is in the past"),
        (_, Some(_)) => ("until", "the campaign's schedule is over"),
        (Rule::Quartz(_), None) => ("quartz", "the campaign's years are over"),
        _ => ("blackout", "the campaign never starts: every one of its times lies in the blackout"),
    };
    let span = node.as_ref().and_then(|node| Some(node.get("schedule")?.get(key)?.span));
    let local = now.with_timezone(&schedule.zone).format("%Y-%m-%d %H:%M");
    Some(
        Problem::new(file, span, title)
            .label(format!("now it is {local} in {}", schedule.zone))
            .help("write a later time; what was missed is not made up for before the first apply"),
    )
}

/// A file from which nothing came out has a problem, or it would be left out silently.
fn nothing_is_lost<'a>(trees: &BTreeMap<String, Node>, read: impl Iterator<Item = &'a String>, folder: &str, problems: &mut Problems) {
    let read: BTreeSet<&String> = read.collect();
    if problems.count() > 0 {
        return;
    }
    for key in trees.keys().filter(|key| !read.contains(key)) {
        let problem = Problem::new(format!("{folder}{key}.yaml"), None, "this file could not be used, and nothing says why");
        problems.push(problem.help("this is a mistake in Posthaste: please report it with the file"));
    }
}

fn tree(files: &Files, path: &str, problems: &mut Problems) -> Option<Node> {
    let bytes = files.0.get(path)?;
    match std::str::from_utf8(bytes) {
        Ok(text) => yaml::read(path, text.strip_prefix('\u{feff}').unwrap_or(text), problems),
        Err(_) => {
            problems.push(Problem::new(path, None, "this file is not UTF-8 text").help("save it as UTF-8"));
            None
        }
    }
}

/// The trees of a folder by file name; what the file calls itself (`campaign: …`) must be that name.
fn trees(files: &Files, folder: &str, word: &str, problems: &mut Problems) -> BTreeMap<String, Node> {
    let mut trees = BTreeMap::new();
    for (path, _) in files.under(folder.trim_end_matches('/')) {
        let Some(key) = file_key(path, folder) else { continue };
        let Some(node) = tree(files, path, problems) else { continue };
        named_like_its_file(files, folder, word, key, path, &node, problems);
        trees.insert(key.to_string(), node);
    }
    trees
}

fn named_like_its_file(files: &Files, folder: &str, word: &str, key: &str, path: &str, node: &Node, problems: &mut Problems) {
    let Some(written) = node.get(word).filter(|written| !written.is_empty()) else { return };
    let Some(name) = written.text().filter(|name| *name != key) else { return };
    let other = format!("{folder}{name}.yaml");
    let problem = if files.0.contains_key(&other) {
        Problem::new(path, written.span, format!("the {word} `{name}` exists already"))
            .label(format!("{other} has this key"))
            .help(format!("a copy needs a key of its own, the name of its file: write `{word}: {key}`"))
    } else {
        Problem::new(path, written.span, format!("the file is called `{key}`, the {word} `{name}`"))
            .label("must be the name of the file")
            .help(format!("write `{word}: {key}`, or rename the file to {name}.yaml"))
    };
    problems.push(problem);
}

/// Files that look like definitions and would be read by nobody.
fn misplaced(files: &Files, problems: &mut Problems) {
    for (path, _) in files.under("campaigns").chain(files.under("mappings")) {
        let help = if path.ends_with(".yml") {
            format!("rename it to {}.yaml", path.trim_end_matches(".yml"))
        } else if path.ends_with(".yaml")
            && !path.starts_with("campaigns/fixtures/")
            && ["campaigns/segments/", "campaigns/", "mappings/"].iter().all(|folder| file_key(path, folder).is_none())
        {
            "campaigns stand in campaigns/, segments in campaigns/segments/, people and events of tests in campaigns/fixtures/".to_string()
        } else {
            continue;
        };
        problems.push(Problem::new(path, None, "this file is not read").help(help));
    }
}

/// Adds to what a campaign reaches: segments and those that they name, and templates.
fn reach(segments: &BTreeMap<String, Segment>, campaigns: &mut BTreeMap<String, Campaign>, library: &Library) {
    for campaign in campaigns.values_mut() {
        let mut open: Vec<String> = campaign.audience.segment.iter().cloned().collect();
        let conditions = campaign.audience.condition.iter().chain(&campaign.audience.except);
        open.extend(conditions.flat_map(|condition| condition.segments()));
        let mut seen = BTreeSet::new();
        while let Some(key) = open.pop() {
            let Some(segment) = segments.get(&key).filter(|_| seen.insert(key.clone())) else { continue };
            campaign.reaches.extend(segment.reaches.iter().cloned());
            open.extend(segment.condition.segments());
        }
        let templates: BTreeSet<String> = campaign.messages().filter_map(|message| message.template().map(str::to_string)).collect();
        campaign.reaches.extend(templates.iter().flat_map(|name| library.reaches(name)));
    }
}
