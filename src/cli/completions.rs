//! `posthaste completions SHELL`: what the shell needs to complete commands.

use super::{Cli, Exit};
use clap::{Args, CommandFactory};

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// Which shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

pub fn run(arguments: Completions) -> anyhow::Result<Exit> {
    clap_complete::generate(arguments.shell, &mut Cli::command(), "posthaste", &mut std::io::stdout());
    Ok(Exit::Done)
}
