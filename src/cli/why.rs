//! `posthaste why CUSTOMER CAMPAIGN`: one exact reason why a message was or was not sent.

use super::report::{measures, unknown};
use super::sheet::Sheet;
use super::{Exit, Format, Global, missed};
use crate::campaigns::{Campaign, ReEntry};
use crate::config::PEPPER;
use crate::customers::email;
use crate::customers::keys::Keys;
use crate::customers::phone;
use crate::reports::selection;
use crate::reports::why::{self, Answer, Known, wall};
use crate::segments::{Condition, Moment};
use crate::store::customers::{Customer, Wanted};
use crate::store::missed::MissedRow;
use crate::store::reports::CountedCampaign;
use crate::store::why::LedgerRow;
use crate::store::{Store, from_micros};
use crate::types::{CampaignId, Channel, Class, MessageState, Refusal, RunState, Time, VersionId};
use anyhow::Context;
use chrono_tz::Tz;
use clap::Args;
use serde_json::json;

#[derive(Debug, Args)]
pub struct Arguments {
    /// External id, email address, phone number, or the number in the base
    customer: String,
    /// The campaign's key
    campaign: String,
    /// The run with this number (default: the last in which the customer has a row, else the last)
    #[arg(long, value_name = "N")]
    run: Option<i64>,
}

pub async fn run(global: &Global, arguments: Arguments) -> anyhow::Result<Exit> {
    let store = global.store().await?;
    let zone = measures(global, &store).await?.zone;
    let customer = customer(global, &store, &arguments.customer).await?;
    let found = store.counted_campaigns(Some(&arguments.campaign)).await?;
    let Some(campaign) = found.first() else { anyhow::bail!(unknown(&store, &arguments.campaign).await?) };
    let answers = answers(global, &store, campaign, &customer, arguments.run, zone).await?;
    if answers.is_empty() {
        return not_selected(global, &store, campaign, &customer, arguments.run, zone).await;
    }
    let gone_by = match arguments.run {
        Some(_) => Vec::new(),
        None => gone_by(&store, campaign).await?,
    };
    print(global.format, campaign, &customer, (&answers, &gone_by), zone)?;
    Ok(Exit::Done)
}

/// The customer behind an external id, an address or a number, asked in this order.
pub async fn customer(global: &Global, store: &Store, text: &str) -> anyhow::Result<Customer> {
    let text = text.trim();
    let mut wanted = Wanted { external_ids: vec![text.to_string()], with_consents: true, ..Wanted::default() };
    let workspace = global.workspace();
    if let Ok(pepper) = workspace.secret(PEPPER) {
        let keys = Keys::new(pepper);
        let email = email::in_cell(text).ok().map(|(email, _)| keys.address(Channel::Email, email.as_str()));
        let phone = phone::PhoneNumber::parse(text, None).ok().map(|phone| keys.address(Channel::Sms, phone.as_str()));
        wanted.keys.extend(email.into_iter().chain(phone));
    }
    wanted.ids.extend(text.parse::<i64>());
    let mut found = store.find_customers(&wanted).await?;
    let by_external_id = found.by_external_id.get(text).copied();
    let mut by_address: Vec<i64> = wanted.keys.iter().filter_map(|key| found.by_key.get(key)).flatten().copied().collect();
    by_address.sort_unstable();
    by_address.dedup();
    if by_external_id.is_none() && by_address.len() > 1 {
        let numbers: Vec<String> = by_address.iter().map(ToString::to_string).collect();
        anyhow::bail!("`{text}` belongs to several customers; name one by number: {}", numbers.join(", "));
    }
    let number = by_external_id.or(by_address.first().copied()).or(text.parse().ok());
    number
        .and_then(|number| found.customers.remove(&number))
        .with_context(|| format!("nobody is known by `{text}`: no external id, email address, phone number or number in the base"))
}

/// An answer for each row of the run that was asked for, else of the last run with a row.
async fn answers(
    global: &Global,
    store: &Store,
    campaign: &CountedCampaign,
    customer: &Customer,
    run: Option<i64>,
    zone: Tz,
) -> anyhow::Result<Vec<Answer>> {
    let mut rows = store.rows_of_customer(campaign.id, customer.id).await?;
    let run = run.or(rows.first().map(|row| row.run));
    rows.retain(|row| Some(row.run) == run);
    let messages: Vec<i64> = rows.iter().map(|row| row.id).collect();
    let attempts = store.attempts_of(&messages).await?;
    let responses = store.responses_of(&messages).await?;
    let keys: Vec<[u8; 16]> = customer.addresses.iter().map(|address| address.key).collect();
    let suppressions = store.suppressions(&keys).await?;
    let known = Known {
        customer,
        suppressions: &suppressions,
        topic: campaign.topic.as_deref(),
        attempts: &attempts,
        responses: &responses,
        now: global.clock().now(),
        zone,
    };
    Ok(rows.iter().map(|row| why::answer(row, &known)).collect())
}

/// What the campaign has missed since its last run.
async fn gone_by(store: &Store, campaign: &CountedCampaign) -> anyhow::Result<Vec<MissedRow>> {
    let runs = store.past_runs(campaign.id).await?;
    let last = runs.iter().filter(|past| past.is_test == 0).map(|past| from_micros(past.due_at)).max();
    Ok(store.missed_of(CampaignId(campaign.id), last.unwrap_or(Time::UNIX_EPOCH)).await?)
}

/// Nobody decided anything about this customer: the campaign has not run, or the customer was not in its audience.
async fn not_selected(
    global: &Global,
    store: &Store,
    campaign: &CountedCampaign,
    customer: &Customer,
    run: Option<i64>,
    zone: Tz,
) -> anyhow::Result<Exit> {
    let runs = store.past_runs(campaign.id).await?;
    let past = match run {
        Some(number) => {
            let past = runs.iter().find(|past| past.number == number);
            Some(past.with_context(|| format!("`{}` has no run {number}; `posthaste runs list` shows its runs", campaign.key))?)
        }
        None => runs.iter().find(|past| past.is_test == 0),
    };
    let gone_by = if run.is_none() { gone_by(store, campaign).await? } else { Vec::new() };
    let because = match past {
        None => never_ran(global, store, campaign, customer, gone_by.last().map(|one| missed::line(one, zone))).await?,
        Some(past) if past.planned_at.is_none() => {
            let state = RunState::from_code(past.state).map_or("not planned", RunState::word);
            format!("Not sent: run {} is {state}: nobody is selected for it yet", past.number)
        }
        Some(past) => {
            let planned = from_micros(past.planned_at.unwrap_or(past.due_at));
            let due = Some(from_micros(past.due_at));
            let decided = decided(store, campaign, customer, VersionId(past.version_id), Some(past.number), planned, due).await?;
            format!("Not sent: not selected for run {}, planned on {}: {decided}", past.number, wall(planned, zone))
        }
    };
    match global.format {
        Format::Json => {
            let value = json!({ "customer": named(customer), "campaign": campaign.key, "run": past.map(|past| past.number), "selected": false,
                                "because": because, "answers": [], "missed": gone_by });
            println!("{value:#}");
        }
        Format::Csv => csv(&[("", past.map(|past| past.number), "not_selected", "", because.as_str(), String::new())])?,
        _ => {
            println!("{} · {}\n\n{because}", title(customer), campaign.key);
            // Of a campaign that never ran the last one stands in the sentence.
            let said = usize::from(past.is_none());
            gone_by.iter().rev().skip(said).for_each(|one| println!("  missed: {}", missed::line(one, zone)));
        }
    }
    Ok(Exit::Done)
}

/// No run yet: what is known today says who would be in.
async fn never_ran(
    global: &Global,
    store: &Store,
    campaign: &CountedCampaign,
    customer: &Customer,
    missed: Option<String>,
) -> anyhow::Result<String> {
    let not_yet = match missed {
        None => format!("Not sent: {} has not run yet", campaign.key),
        Some(missed) => format!("Not sent: {} was due {missed}", campaign.key),
    };
    let Some(row) = store.campaign(&campaign.key).await? else { return Ok(not_yet) };
    let Some(version) = row.version else { return Ok(format!("Not sent: {} was retired before it ran", campaign.key)) };
    let paused = if row.paused_at.is_some() { ", and is paused" } else { "" };
    let now = global.clock().now();
    let decided = decided(store, campaign, customer, version, None, now, None).await?;
    Ok(format!("{not_yet}{paused}; if it were planned now: {decided}"))
}

/// Which condition of the version's audience leaves the customer out, asked as of the time of planning of what is known today.
#[allow(clippy::too_many_arguments, reason = "one private question")]
async fn decided(
    store: &Store,
    campaign: &CountedCampaign,
    customer: &Customer,
    version: VersionId,
    run: Option<i64>,
    planned: Time,
    due: Option<Time>,
) -> anyhow::Result<String> {
    let born = from_micros(customer.created_at);
    if born > planned {
        return Ok("the customer was not in the base yet".into());
    }
    if let Some(erased) = customer.erased_at.map(from_micros) {
        return Ok(format!("the customer was erased on {}", erased.format("%Y-%m-%d")));
    }
    let unknown = "the customer was not in the audience";
    let Ok(definitions) = store.load_definitions(version).await else { return Ok(unknown.into()) };
    let (Some(definition), Some(person)) = (definitions.campaigns.get(&campaign.key), store.person(customer.id).await?) else {
        return Ok(unknown.into());
    };
    // What came first decides: nobody who objects is looked at for anything else.
    if let Some(since) = why::objected_since(customer).filter(|since| definition.class != Class::Transactional && *since <= planned) {
        return Ok(why::objection(since, definition.schedule.zone));
    }
    let samples = crate::plan::samples(store, &definitions, definition).await?;
    let segments = definitions.segments.iter().map(|(key, segment)| (key.clone(), segment.condition.clone())).collect();
    let moment = Moment {
        now: planned,
        zone: definition.schedule.zone_in_force(),
        segments: &segments,
        currency: &definitions.workspace.currency,
        rates: &definitions.workspace.rates,
        seed: &definitions.workspace.seed,
        samples: &samples,
    };
    let mut audience = definition.audience.clone();
    // Whose day it is, goes by the day of the run; before the first one nobody knows which that will be.
    if let (Some(own_day), Some(due)) = (&definition.schedule.own_day, due) {
        let day = own_day.condition(due.with_timezone(&definition.schedule.zone).date_naive());
        audience.condition = Some(Condition::All(std::iter::once(day).chain(audience.condition).collect()));
    }
    Ok(match selection::left_out(&audience, &person, &moment) {
        Some(reason) => reason,
        None => match (kept_out(store, campaign, customer, definition, run, planned).await?, run) {
            (Some(reason), _) => reason,
            (None, Some(_)) => format!("{unknown} then, and would be by what is known today: data or consent came in since"),
            (None, None) => "the customer would be in the audience".into(),
        },
    })
}

/// The message of an earlier run after which `re_entry` keeps the customer out.
async fn kept_out(
    store: &Store,
    campaign: &CountedCampaign,
    customer: &Customer,
    definition: &Campaign,
    run: Option<i64>,
    planned: Time,
) -> anyhow::Result<Option<String>> {
    let since = match definition.re_entry {
        ReEntry::Always => return Ok(None),
        ReEntry::Never => None,
        ReEntry::After(duration) => Some(duration.subtracted(planned, definition.schedule.zone)),
    };
    let counts = |row: &LedgerRow| {
        let is_held_out = row.reason == Some(Refusal::HeldOut.code());
        let state = MessageState::from_code(row.state);
        let nothing = [MessageState::Refused, MessageState::Failed, MessageState::Expired, MessageState::Cancelled];
        is_held_out || state.is_some_and(|state| !nothing.contains(&state))
    };
    let rows = store.rows_of_customer(campaign.id, customer.id).await?;
    let at = |row: &LedgerRow| from_micros(row.accepted_at.unwrap_or(row.due_at));
    let earlier = rows.iter().find(|row| run.is_none_or(|run| row.run < run) && counts(row) && since.is_none_or(|since| at(row) >= since));
    Ok(earlier.map(|row| {
        let word = match definition.re_entry {
            ReEntry::After(duration) => format!("`re_entry: {duration}`"),
            _ => "`re_entry: never`".into(),
        };
        format!("{word} keeps the customer out: run {} counts, of {}", row.run, wall(at(row), definition.schedule.zone))
    }))
}

fn print(
    format: Format,
    campaign: &CountedCampaign,
    customer: &Customer,
    (answers, gone_by): (&[Answer], &[MissedRow]),
    zone: Tz,
) -> anyhow::Result<()> {
    match format {
        Format::Json => {
            let run = answers.first().map(|answer| answer.run);
            let value = json!({ "customer": named(customer), "campaign": campaign.key, "run": run, "selected": true, "answers": answers,
                                "missed": gone_by });
            println!("{value:#}");
        }
        Format::Csv => {
            let rows: Vec<_> = answers
                .iter()
                .map(|answer| {
                    let state = answer.state.map_or("", |state| state.word());
                    (
                        campaign.key.as_str(),
                        Some(answer.run),
                        state,
                        answer.reason.unwrap_or(""),
                        answer.because.as_str(),
                        wall(answer.at, zone),
                    )
                })
                .collect();
            csv(&rows)?;
        }
        _ => {
            println!("{} · {} · times in {zone}", title(customer), campaign.key);
            for answer in answers {
                let variant = answer.variant.as_deref().map(|name| format!(", arm {name}")).unwrap_or_default();
                let channel = answer.channel.map_or("", |channel| channel.word());
                println!("\n{}", answer.because);
                println!("  run {}, {channel} due {}{variant}; decided {}", answer.run, wall(answer.due, zone), wall(answer.at, zone));
                for line in &answer.more {
                    println!("  {line}");
                }
                for attempt in &answer.attempts {
                    let reply = attempt.reply.as_deref().unwrap_or("no reply");
                    println!(
                        "  attempt {} on {} by {}: {}, {reply}",
                        attempt.number,
                        wall(attempt.at, zone),
                        attempt.provider,
                        attempt.outcome
                    );
                }
            }
            gone_by.iter().rev().for_each(|one| println!("\nMissed since: {}", missed::line(one, zone)));
        }
    }
    Ok(())
}

type CsvRow<'a> = (&'a str, Option<i64>, &'a str, &'a str, &'a str, String);

fn csv(rows: &[CsvRow]) -> anyhow::Result<()> {
    let mut sheet = Sheet::new(std::io::stdout(), ["campaign", "run", "state", "reason", "because", "at"])?;
    for (campaign, run, state, reason, because, at) in rows {
        let run = run.map(|run| run.to_string()).unwrap_or_default();
        sheet.row([*campaign, run.as_str(), *state, *reason, *because, at.as_str()])?;
    }
    sheet.flush()?;
    Ok(())
}

fn named(customer: &Customer) -> serde_json::Value {
    json!({ "number": customer.id, "external_id": customer.external_id })
}

fn title(customer: &Customer) -> String {
    let names: Vec<&str> = [&customer.first_name, &customer.last_name].into_iter().filter_map(|name| name.as_deref()).collect();
    let known = customer.external_id.as_deref();
    match (names.is_empty(), known) {
        (true, Some(id)) => format!("Customer {id} (number {})", customer.id),
        (true, None) => format!("Customer number {}", customer.id),
        (false, Some(id)) => format!("{} (external id {id}, number {})", names.join(" "), customer.id),
        (false, None) => format!("{} (number {})", names.join(" "), customer.id),
    }
}
