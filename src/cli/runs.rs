//! `posthaste runs`: occurrences with their sums, and the brakes of one.

use super::{Exit, Global, git, search, table};
use crate::literals::Money;
use crate::providers::Found;
use crate::store::approvals::Agreement;
use crate::store::decisions::{Open, Settlement};
use crate::store::runs::Run;
use crate::store::{Store, from_micros};
use crate::types::{Failure, MessageState, RunState};
use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Arguments of `runs`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// All runs, or those of one campaign
    List { campaign: Option<String> },
    /// One run: refusals by reason, messages by state, arms
    Show { campaign: String, number: i64 },
    /// Hand nothing of this run over any more, until it is resumed
    Pause { campaign: String, number: i64 },
    /// Go on after a pause; consent, suppression and expiry are asked again
    Resume { campaign: String, number: i64 },
    /// Agree to a run that is so large that a second person must; somebody other than the one who applied it
    Approve {
        campaign: String,
        number: i64,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// What failed for good, with the reason of each
    Failed { campaign: String, number: i64 },
    /// Try again what failed, after its cause is mended; expired messages and withdrawn consent stay out
    RetryFailed {
        campaign: String,
        number: i64,
        /// Only what failed for these reasons [default: all but addresses that do not exist]
        #[arg(long, value_name = "REASON,…", value_delimiter = ',', value_parser = reason)]
        reason: Vec<Failure>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Messages that may have arrived and may not: list them, or say what is to become of them
    Uncertain {
        campaign: String,
        number: i64,
        /// What they become: accepted, again (sent once more: some may get it twice), failed
        #[arg(long, value_enum, value_name = "WHAT")]
        settle: Option<Settle>,
        /// Ask their providers for them: those that a provider has taken are accepted
        #[arg(long, conflicts_with = "settle")]
        search: bool,
        /// Only this customer's, by external id, address or number
        #[arg(long, value_name = "CUSTOMER")]
        customer: Option<String>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Cancel what has not been handed over of this run
    Cancel {
        campaign: String,
        number: i64,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Columns of the listing.
pub const COLUMNS: [&str; 12] =
    ["campaign", "run", "state", "due", "selected", "refused", "messages", "waiting", "held", "accepted", "failed", "left_out"];

pub async fn run(global: &Global, arguments: Arguments) -> anyhow::Result<Exit> {
    let store = global.store().await?;
    match arguments.what {
        What::List { campaign } => table::print(global.format, &COLUMNS, &rows(&store, campaign.as_deref()).await?)?,
        What::Show { campaign, number } => {
            let run = named(&store, &campaign, number).await?;
            let funnel = store.funnel(&campaign, Some(number)).await?;
            let mut sums = vec![json!({ "what": "selected", "count": funnel.selected() })];
            sums.extend(funnel.refused.iter().map(|(word, count)| json!({ "what": format!("refused: {word}"), "count": count })));
            sums.extend(funnel.messages.iter().map(|(state, count)| json!({ "what": state.word(), "count": count })));
            let waiting = store.waits_of(run.id).await?.into_iter();
            sums.extend(waiting.map(|(state, why, count)| json!({ "what": format!("{}: {why}", state.word()), "count": count })));
            let arms: Vec<String> = store.arms(run.id).await?.into_iter().map(|arm| arm.name).collect();
            eprintln!("{campaign}, run {number}, due {}, {}; arms: {}", run.due_at, run.state, arms.join(", "));
            if let Some(limit) = limit_of_cost(&store, &run).await?.filter(|_| run.cost > 0) {
                let cost = Money { minor: run.cost, currency: limit.currency.clone() };
                eprintln!("its messages cost about {cost} as planned, of at most {limit}");
            }
            if let Some(approval) = &run.approval {
                match &approval.by {
                    None => eprintln!(
                        "held: {}; `posthaste runs approve {campaign} {number}` by somebody other than the one who applied it",
                        approval.why
                    ),
                    Some((who, at)) => eprintln!("{}; {who} agreed on {}", approval.why, at.format("%Y-%m-%d %H:%M UTC")),
                }
            }
            if let Some(why) = &run.held_why {
                let now = if run.is_held && run.waits_for_approval() {
                    format!("and held: {why}; once it is agreed to, `posthaste runs resume {campaign} {number}` lets it go on")
                } else if run.is_held {
                    format!("held: {why}; `posthaste runs resume {campaign} {number}` lets it go on")
                } else {
                    format!("it was held ({why}), and a person let it go on")
                };
                eprintln!("{now}");
            }
            table::print(global.format, &["what", "count"], &sums)?;
        }
        What::Pause { campaign, number } => {
            let run = named(&store, &campaign, number).await?;
            if !store.pause_run(run.id).await? {
                bail!("run {number} of {campaign} is {}: there is nothing to pause", run.state);
            }
            eprintln!("Run {number} of {campaign} is paused; `posthaste runs resume {campaign} {number}` lets it go on");
        }
        What::Resume { campaign, number } => {
            let run = named(&store, &campaign, number).await?;
            if run.waits_for_approval() && run.state == RunState::Paused {
                let why = run.approval.as_ref().map_or("", |approval| &approval.why);
                eprintln!(
                    "Run {number} of {campaign} is held, and nobody has agreed to it yet ({why}): `posthaste runs approve {campaign} {number}`"
                );
                return Ok(Exit::Refused);
            }
            if !store.resume_run(run.id).await? {
                bail!("run {number} of {campaign} is {}, not paused", run.state);
            }
            eprintln!("Run {number} of {campaign} goes on");
        }
        What::Approve { campaign, number, yes } => return approve(global, &store, &campaign, number, yes).await,
        What::Failed { campaign, number } => {
            let run = named(&store, &campaign, number).await?;
            let rows: Vec<Value> = store.open_messages(run.id, MessageState::Failed).await?.iter().map(row_of).collect();
            table::print(global.format, &OPEN, &rows)?;
        }
        What::RetryFailed { campaign, number, reason, yes } => {
            let run = resumable(named(&store, &campaign, number).await?)?;
            let wanted = |failure: Failure| match reason.is_empty() {
                true => !failure.is_of_address(),
                false => reason.contains(&failure),
            };
            let failed = store.open_messages(run.id, MessageState::Failed).await?;
            let mut counts: BTreeMap<&str, (usize, bool)> = BTreeMap::new();
            let mut chosen = Vec::new();
            for message in &failed {
                let failure = message.reason.and_then(Failure::from_code);
                let is_chosen = failure.is_some_and(wanted);
                counts.entry(failure.map_or("unknown", Failure::word)).or_insert((0, is_chosen)).0 += 1;
                chosen.extend(is_chosen.then_some(message.id));
            }
            for (word, (count, is_chosen)) in counts {
                eprintln!("  {count} {word}{}", if is_chosen { "" } else { ": left as they are" });
            }
            eprintln!("{} of {} failed messages of {campaign}, run {number}, would be tried again", chosen.len(), failed.len());
            if chosen.is_empty() || (!yes && !super::apply::agreed("Try them again?")?) {
                return Ok(if chosen.is_empty() { Exit::Done } else { Exit::Refused });
            }
            let again = store.retry_failed(run.id, &chosen, &who(global), global.clock().now()).await?;
            eprintln!("{again} are due again");
        }
        What::Uncertain { campaign, number, settle, search, customer, yes } => {
            let run = named(&store, &campaign, number).await?;
            let mut open = store.open_messages(run.id, MessageState::Uncertain).await?;
            if let Some(text) = customer {
                let customer = super::why::customer(global, &store, &text).await?;
                open.retain(|message| message.customer == customer.id);
            }
            if search {
                return searched(global, &store, &run, &open).await;
            }
            let Some(settle) = settle else {
                if !open.is_empty() {
                    eprintln!("`posthaste runs uncertain {campaign} {number} --search` asks their providers whether they have them");
                }
                table::print(global.format, &OPEN, &open.iter().map(row_of).collect::<Vec<_>>())?;
                return Ok(Exit::Done);
            };
            let run = resumable(run)?;
            let (settlement, words) = match settle {
                Settle::Accepted => (Settlement::Accepted, "be taken for accepted"),
                Settle::Again => (Settlement::Again, "be sent once more, and whoever got the first gets it twice"),
                Settle::Failed => (Settlement::Failed, "be taken for lost"),
            };
            eprintln!("{} uncertain messages of {campaign}, run {number}, would {words}", open.len());
            if open.is_empty() || (!yes && !super::apply::agreed("Decide so?")?) {
                return Ok(if open.is_empty() { Exit::Done } else { Exit::Refused });
            }
            let ids: Vec<i64> = open.iter().map(|message| message.id).collect();
            let settled = store.settle_uncertain(run.id, &ids, settlement, &who(global), global.clock().now()).await?;
            eprintln!("{settled} settled");
        }
        What::Cancel { campaign, number, yes } => {
            let run = named(&store, &campaign, number).await?;
            let waiting = store.funnel(&campaign, Some(number)).await?.waiting();
            eprintln!("{waiting} messages of {campaign}, run {number}, wait");
            if !yes && !super::apply::agreed("Cancel them?")? {
                return Ok(Exit::Refused);
            }
            let cancelled = store.cancel_run(run.id, global.clock().now()).await?;
            eprintln!("{cancelled} cancelled; what was under way is finished");
        }
    }
    store.close().await;
    Ok(Exit::Done)
}

/// Says what the providers of uncertain messages have of them; what they have is accepted.
async fn searched(global: &Global, store: &Store, run: &Run, open: &[Open]) -> anyhow::Result<Exit> {
    let found = search::search(global, store, open).await?;
    let mut columns = OPEN.to_vec();
    columns.push("found");
    let rows: Vec<Value> = open
        .iter()
        .zip(&found)
        .map(|(message, found)| {
            let mut row = row_of(message);
            row["found"] = json!(search::word(found));
            row
        })
        .collect();
    table::print(global.format, &columns, &rows)?;
    let taken = open.iter().zip(&found).filter_map(|(message, found)| match found {
        Found::Taken(number) => Some((message.id, number.clone())),
        Found::NotThere | Found::Silent(_) | Found::CannotBeAsked => None,
    });
    let settled = store.settle_found(run.id, &taken.collect::<Vec<_>>(), &who(global), global.clock().now()).await?;
    eprintln!("{settled} of {} were taken by their providers, and are accepted now", open.len());
    if found.contains(&Found::NotThere) {
        eprintln!("What is not there may come into a provider's lists some minutes late: ask again before you send it once more");
    }
    store.close().await;
    Ok(Exit::Done)
}

/// Shows what would go, and lets it go when somebody other than the one who applied it agrees.
async fn approve(global: &Global, store: &Store, campaign: &str, number: i64, yes: bool) -> anyhow::Result<Exit> {
    let run = named(store, campaign, number).await?;
    let Some(approval) = &run.approval else { bail!("run {number} of {campaign} needs nobody's agreement") };
    if let Some((by, at)) = &approval.by {
        bail!("{by} agreed to run {number} of {campaign} on {}", at.format("%Y-%m-%d %H:%M UTC"));
    }
    if run.state != RunState::Paused {
        bail!("run {number} of {campaign} is {}: there is nothing to agree to any more", run.state);
    }
    let who = who(global);
    let applied_by = store.applied_by(run.id).await?.unwrap_or_default();
    if who == applied_by {
        eprintln!("Refused: {who} applied this version of {campaign}, so somebody else must agree ({})", approval.why);
        return Ok(Exit::Refused);
    }
    let funnel = store.funnel(campaign, Some(number)).await?;
    eprintln!("{campaign}, run {number}, due {}, applied by {applied_by}: {}", run.due_at, approval.why);
    eprintln!("{} selected, {} refused, {} messages wait", funnel.selected(), funnel.refused(), funnel.in_state(MessageState::Held));
    if !yes && !super::apply::agreed("Let it go?")? {
        return Ok(Exit::Refused);
    }
    match store.approve_run(run.id, &who, global.clock().now()).await? {
        Agreement::Given => {
            eprintln!("Run {number} of {campaign} goes; consent, suppression and expiry are asked again before each message")
        }
        Agreement::StillHeld => {
            let why = run.held_why.unwrap_or_default();
            eprintln!("Agreed; it is still held ({why}), and `posthaste runs resume {campaign} {number}` lets it go on");
        }
        Agreement::Refused => bail!("run {number} of {campaign} has changed meanwhile: `posthaste runs show {campaign} {number}`"),
    }
    store.close().await;
    Ok(Exit::Done)
}

/// What an uncertain message becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Settle {
    Accepted,
    Again,
    Failed,
}

const OPEN: [&str; 7] = ["customer", "address", "reason", "detail", "provider", "attempts", "since"];

fn row_of(message: &Open) -> Value {
    let since = from_micros(message.changed_at).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    json!({
        "customer": message.external_id.clone().unwrap_or_else(|| format!("#{}", message.customer)), "address": message.address,
        "reason": message.reason.and_then(Failure::from_code).map(Failure::word), "detail": message.detail, "provider": message.provider,
        "attempts": message.attempts, "since": since,
    })
}

fn reason(word: &str) -> Result<Failure, String> {
    let words: Vec<&str> = Failure::ALL.iter().map(|failure| failure.word()).collect();
    Failure::from_word(word).ok_or_else(|| format!("`{word}` is no reason of a failure; they are {}", words.join(", ")))
}

fn who(global: &Global) -> String {
    git::who(&global.workspace().folder)
}

async fn limit_of_cost(store: &Store, run: &Run) -> anyhow::Result<Option<Money>> {
    let definitions = store.load_definitions(run.version).await?;
    Ok(definitions.campaigns.get(&run.key).and_then(|campaign| campaign.limit_cost.clone()))
}

/// A cancelled run sends nothing any more.
fn resumable(run: Run) -> anyhow::Result<Run> {
    if run.state == RunState::Cancelled {
        bail!("run {} of {} is cancelled: nothing of it is sent any more", run.number, run.key);
    }
    Ok(run)
}

async fn named(store: &Store, campaign: &str, number: i64) -> anyhow::Result<Run> {
    let found = store.runs_of(Some(campaign)).await?.into_iter().find(|run| run.number == number);
    found.with_context(|| format!("campaign `{campaign}` has no run {number}: `posthaste runs list {campaign}` shows all"))
}

fn held_because(run: &Run) -> Option<&String> {
    let approval = run.approval.as_ref().filter(|approval| approval.by.is_none()).map(|approval| &approval.why);
    approval.or(run.held_why.as_ref()).filter(|_| run.is_held)
}

/// A row for each run.
pub async fn rows(store: &Store, campaign: Option<&str>) -> anyhow::Result<Vec<Value>> {
    let mut rows = Vec::new();
    for run in store.runs_of(campaign).await? {
        let funnel = store.funnel(&run.key, Some(run.number)).await?;
        rows.push(json!({
            "campaign": run.key, "run": run.number, "state": if run.is_held { "held" } else { run.state.word() }, "due": run.due_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            "selected": funnel.selected(), "refused": funnel.refused(), "messages": funnel.all_messages(), "waiting": funnel.waiting(), "held": funnel.in_state(MessageState::Held),
            "accepted": funnel.accepted(), "failed": funnel.in_state(crate::types::MessageState::Failed),
            "left_out": run.left_out, "held_because": held_because(&run),
        }));
    }
    Ok(rows)
}
