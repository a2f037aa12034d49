//! `posthaste preview CAMPAIGN --customer K`: the campaign's message as one customer would get it; nothing is sent, links lead nowhere.

use super::plan::samples::{Studio, due, last_event};
use super::{Exit, Format, Global, check, why};
use crate::campaigns;
use crate::dispatch::{Composed, Composer, Unsendable};
use crate::plan::{message_for, messages};
use crate::providers::{Body, Outgoing};
use crate::store::blocks::Due;
use crate::templates::sms;
use crate::types::{Channel, Time};
use anyhow::Context;
use clap::Args;
use serde_json::json;
use std::sync::Arc;

/// Arguments of `preview`.
#[derive(Debug, Args)]
pub struct Preview {
    /// The campaign's key
    pub campaign: String,
    /// External id, email address, phone number, or the number in the base
    #[arg(long, value_name = "CUSTOMER")]
    pub customer: String,
    /// The variant to show (default: the first)
    #[arg(long, value_name = "NAME")]
    pub variant: Option<String>,
    /// The channel to show (default: the message's own)
    #[arg(long, value_name = "CHANNEL", value_parser = channel)]
    pub channel: Option<Channel>,
}

fn channel(text: &str) -> Result<Channel, String> {
    Channel::from_word(text).ok_or_else(|| format!("`{text}` is no channel; there are email, sms and webhook"))
}

pub async fn run(global: &Global, arguments: Preview) -> anyhow::Result<Exit> {
    let files = global.workspace().files()?;
    let (definitions, problems) = campaigns::read(&files);
    let Some(definitions) = definitions.map(Arc::new) else {
        check::show(&problems, &files);
        eprintln!("{}", check::summary(&files, &problems));
        return Ok(Exit::Problems);
    };
    let campaign = definitions.campaigns.get(&arguments.campaign).with_context(|| {
        let known: Vec<&str> = definitions.campaigns.keys().map(String::as_str).collect();
        format!("there is no campaign `{}`; there are: {}", arguments.campaign, known.join(", "))
    })?;
    let store = global.store().await?;
    let now = global.clock().now();
    let customer = why::customer(global, &store, &arguments.customer).await?;
    let person = store.sample_person(customer.id).await?.context("this customer was erased")?;
    let studio = Studio::with_invented_links(definitions.clone(), &arguments.campaign, now)?;
    let arm = match &arguments.variant {
        None => 1,
        Some(name) => {
            let found = studio.sending.arms.iter().find(|(_, known)| *known == name).map(|(arm, _)| *arm);
            let known: Vec<&str> = studio.sending.arms.values().map(String::as_str).filter(|known| *known != "held_out").collect();
            found.with_context(|| format!("there is no variant `{name}`; there are: {}", known.join(", ")))?
        }
    };
    let channel = arguments.channel.unwrap_or(message_for(campaign, arm).channel);
    anyhow::ensure!(messages(campaign).iter().any(|message| message.channel == channel), "this campaign sends nothing by {channel}");
    let address = match channel {
        Channel::Sms => person.phone.clone(),
        Channel::Webhook => person.external_id.clone(),
        _ => person.email.clone(),
    };
    let mut due = due(customer.id, person, channel, arm, address, now);
    due.event = last_event(&store, &definitions, &arguments.campaign, customer.id).await?;
    if channel == Channel::Webhook {
        return webhook(&studio, &due, now);
    }
    let filled = match studio.identity.fill(&studio.sending, &due, now) {
        Ok(filled) => filled,
        Err(Unsendable::Refused(refusal, detail)) => anyhow::bail!("this customer would be refused {refusal}: {detail}"),
        Err(Unsendable::Failed(failure, detail)) => anyhow::bail!("the message cannot be made ({failure}): {detail}"),
    };
    match (global.format, &filled.html) {
        (Format::Html, Some(html)) => println!("{html}"),
        (Format::Html, None) => anyhow::bail!("a message by {channel} has no HTML"),
        (Format::Json, html) => println!(
            "{:#}",
            json!({ "channel": channel, "language": filled.language, "subject": filled.subject, "preheader": filled.preheader, "html": html,
                    "text": filled.text, "parts": (channel == Channel::Sms).then(|| sms::parts(&filled.text).parts) })
        ),
        _ => {
            if channel == Channel::Email {
                println!("Subject:   {}\nPreheader: {}\nLanguage:  {}\n", filled.subject, filled.preheader, filled.language);
            }
            println!("{}", filled.text.trim_end());
            if channel == Channel::Sms {
                let parts = sms::parts(&filled.text).parts;
                eprintln!("{parts} part{}", if parts == 1 { "" } else { "s" });
            } else {
                eprintln!("This is the text part; --format html prints the letter");
            }
        }
    }
    Ok(Exit::Done)
}

/// What the system would be told.
fn webhook(studio: &Studio, due: &Due, now: Time) -> anyhow::Result<Exit> {
    match studio.identity.compose(&studio.sending, due, now) {
        Ok(Composed { outgoing: Outgoing { body: Body::Webhook { json, .. }, .. }, .. }) => {
            println!("{:#}", serde_json::from_str::<serde_json::Value>(&json)?);
            Ok(Exit::Done)
        }
        Ok(_) => anyhow::bail!("the message is none for a system"),
        Err(Unsendable::Refused(refusal, detail)) => anyhow::bail!("this customer would be refused {refusal}: {detail}"),
        Err(Unsendable::Failed(failure, detail)) => anyhow::bail!("the message cannot be made ({failure}): {detail}"),
    }
}
