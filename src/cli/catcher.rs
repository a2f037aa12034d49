//! `posthaste catcher`: the built-in receiver of mail and SMS, until it is interrupted.

use super::{Exit, Global};
use crate::catcher::Catcher;
use crate::providers::{CATCHER_HTTP, CATCHER_SMTP};
use anyhow::Context;
use std::net::SocketAddr;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where mail is taken over SMTP
    #[arg(long, value_name = "ADDRESS", default_value = CATCHER_SMTP)]
    smtp: SocketAddr,
    /// Where the inbox page, its JSON and the stand-in for Twilio are
    #[arg(long, value_name = "ADDRESS", default_value = CATCHER_HTTP)]
    http: SocketAddr,
}

pub async fn run(global: &Global, arguments: Arguments) -> anyhow::Result<Exit> {
    let Arguments { smtp, http } = arguments;
    let catcher = Catcher::start(smtp, http, global.clock())
        .await
        .with_context(|| format!("the catcher cannot listen on {smtp} and {http}; name free addresses with --smtp and --http"))?;
    eprintln!("Mail is caught at {}, SMS and the inbox page are at http://{}/", catcher.smtp(), catcher.http());
    eprintln!("Nothing leaves this machine; stop with Ctrl-C");
    tokio::signal::ctrl_c().await.context("cannot wait for Ctrl-C")?;
    eprintln!("{} messages were caught", catcher.count());
    Ok(Exit::Done)
}
