//! The command line: one file a command. Builds everything and hands it down; data to stdout, everything else to stderr.
//!
//! Exit codes (design.md §4) are [`Exit`]; a command returns one, or an error that is printed with its causes.

pub mod apply;
pub mod bounces;
pub mod check;
pub mod demo;
pub mod catcher;
pub mod customers;
pub mod dates;
pub mod doctor;
pub mod export;
pub mod forms;
pub mod import;
pub mod git;
pub mod init;
pub mod missed;
pub mod completions;
pub mod nodes;
pub mod plan;
pub mod preview;
pub mod providers;
pub mod receiving;
pub mod render;
pub mod replies;
pub mod report;
pub mod run;
pub mod schedule;
pub mod schema;
pub mod serving;
pub mod sheet;
pub mod simulate;
pub mod table;
pub mod campaigns;
pub mod runs;
mod search;
pub mod segments;
pub mod stop_all;
pub mod test;
pub mod why;

use crate::clock::Clock;
use crate::config::Workspace;
use crate::diagnostics::Problems;
use crate::store::Store;
use crate::types::Time;
use crate::yaml;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;

/// Posthaste runs marketing campaigns that are written as files: email and SMS to the right people, at the right time, with an honest account of what happened.
#[derive(Debug, Parser)]
#[command(name = "posthaste", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The folder with posthaste.yaml
    #[arg(long, global = true, default_value = ".", value_name = "DIR")]
    pub workspace: PathBuf,
    /// The database instead of the one in posthaste.yaml: sqlite:FILE or postgres://…
    #[arg(long, global = true, value_name = "URL")]
    pub database: Option<String>,
    /// Start the clock at this instant, for example 2027-03-01T10:00:00Z
    #[arg(long, global = true, value_name = "TIME", value_parser = instant)]
    pub now: Option<Time>,
    /// How listings and reports are written
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
    Csv,
    Html,
}

impl Global {
    pub fn workspace(&self) -> Workspace {
        Workspace::open(&self.workspace, self.database.clone())
    }
    /// The database: `--database`, else the one that posthaste.yaml names; the rest of the files may have problems.
    pub async fn store(&self) -> anyhow::Result<Store> {
        let workspace = self.workspace();
        let files = workspace.files();
        if self.database.is_none()
            && let Err(error) = files
        {
            return Err(error.into());
        }
        let written = files.ok().and_then(|files| {
            let root = yaml::read("posthaste.yaml", files.text("posthaste.yaml")?, &mut Problems::default())?;
            Some(root.get("database")?.text()?.to_string())
        });
        workspace.store(written.as_deref()).await
    }
    pub fn clock(&self) -> Clock {
        self.now.map_or_else(Clock::real, Clock::starting_at)
    }
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    /// Files have problems.
    Problems = 3,
    /// A plan found changes (with `--exit-code`).
    Changes = 4,
    /// Refused by policy or permission.
    Refused = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// One variant a command; its arguments and its `run(global, arguments)` stand in a file of the same name.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The whole story on sample people, with a built-in mail and SMS catcher
    Demo(demo::Demo),
    /// Make a workspace with examples and sample people
    Init(init::Init),
    /// Bring people, events, consents or suppressions in from a file
    Import(import::Import),
    /// Show, find and erase people
    Customers(customers::Customers),
    /// Write people, events or the ledger as CSV or JSON lines
    Export(export::Export),
    /// Find every problem of every file
    Check(check::Check),
    /// Write JSON Schemas of the files, for editors
    Schema(schema::Schema),
    /// Render a template with a JSON object: HTML, text, subject, size, lint
    Render(render::Arguments),
    /// Who is in a segment, and why
    Segments(segments::Arguments),
    /// What a campaign achieved, or `overview`: all campaigns in one table
    Report(report::Arguments),
    /// Why a message was or was not sent to a customer
    Why(why::Arguments),
    /// When would a schedule fire
    Schedule(schedule::Arguments),
    /// Catch mail and SMS on this machine instead of sending them, and show them on a page
    Catcher(catcher::Arguments),
    /// Run the tests that stand in campaign and segment files, on a virtual clock
    Test(test::Arguments),
    /// What would change, who would get what, and why not
    Plan(plan::Arguments),
    /// What all campaigns together would do in the coming days, on a virtual clock; nothing is sent
    Simulate(simulate::Arguments),
    /// List campaigns; show, pause, resume or cancel one
    Campaigns(campaigns::Arguments),
    /// List runs with their sums; pause, resume or cancel one; see and decide what failed or is uncertain
    Runs(runs::Arguments),
    /// Stop every message of every campaign at once
    StopAll(stop_all::StopAll),
    /// Let everything go on after stop-all
    ResumeAll(stop_all::ResumeAll),
    /// What sends, and whether it answers
    Providers(providers::Arguments),
    /// What sending depends on and nobody sees: logins, DNS, clocks, database, disk; and what to change
    Doctor(doctor::Arguments),
    /// The forms to sign up, who waits to be confirmed, and what was refused
    Forms(forms::Arguments),
    /// What a bounce, complaint or reply says
    Bounces(bounces::Arguments),
    /// Texts of people who may have meant to leave; decide what they meant
    Replies(replies::Arguments),
    /// The engines that share this database, and what they do
    Nodes(nodes::Arguments),
    /// A campaign's message as one customer would get it; nothing is sent
    Preview(preview::Preview),
    /// Make what the files say what engines do
    Apply(apply::Apply),
    /// The engine: plans what is due and sends it
    Run(run::Arguments),
    /// What your shell needs to complete commands
    Completions(completions::Completions),
    /// Bring the database's tables up to date
    Migrate,
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    end_quietly_when_nobody_reads();
    use_small_pages();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(worker_threads()).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return Exit::Failed.into();
        }
    };
    match runtime.block_on(run(cli)) {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("{}", explained(&error));
            Exit::Failed.into()
        }
    }
}

/// Memory is taken in pages of 4 KB, not of 2 MB: a dozen threads, each with a few hundred KB, hold 60 MB together otherwise.
fn use_small_pages() {
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// Threads that do the engine's work: a quarter of the processors (one of two) is left to the database, which has threads or a process of its own, and to the
/// network. With a thread for each they take turns and wake each other: on two processors sending costs a quarter more.
fn worker_threads() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    (processors - processors.div_ceil(4)).max(1)
}

async fn run(cli: Cli) -> anyhow::Result<Exit> {
    let global = cli.global;
    if global.format == Format::Html && !matches!(cli.command, Command::Report(_) | Command::Render(_) | Command::Preview(_)) {
        eprintln!("only `posthaste report`, `preview` and `render` write html; here --format is table, json or csv");
        return Ok(Exit::Usage);
    }
    match cli.command {
        Command::Demo(arguments) => demo::run(&global, arguments).await,
        Command::Init(arguments) => init::run(&global, arguments).await,
        Command::Import(arguments) => import::run(&global, arguments).await,
        Command::Customers(arguments) => customers::run(&global, arguments).await,
        Command::Export(arguments) => export::run(&global, arguments).await,
        Command::Check(arguments) => check::run(&global, arguments).await,
        Command::Schema(arguments) => schema::run(&global, arguments).await,
        Command::Render(arguments) => render::run(&global, arguments).await,
        Command::Segments(arguments) => segments::run(&global, arguments).await,
        Command::Report(arguments) => report::run(&global, arguments).await,
        Command::Why(arguments) => why::run(&global, arguments).await,
        Command::Schedule(arguments) => schedule::run(&global, arguments).await,
        Command::Catcher(arguments) => catcher::run(&global, arguments).await,

        Command::Test(arguments) => test::run(&global, arguments).await,
        Command::Simulate(arguments) => simulate::run(&global, arguments).await,
        Command::Plan(arguments) => plan::run(&global, arguments).await,
        Command::Completions(arguments) => completions::run(arguments),
        Command::Campaigns(arguments) => campaigns::run(&global, arguments).await,
        Command::Runs(arguments) => runs::run(&global, arguments).await,
        Command::StopAll(arguments) => stop_all::stop(&global, arguments).await,
        Command::ResumeAll(arguments) => stop_all::resume(&global, arguments).await,
        Command::Providers(arguments) => providers::run(&global, arguments).await,
        Command::Doctor(arguments) => doctor::run(&global, arguments).await,
        Command::Forms(arguments) => forms::run(&global, arguments).await,
        Command::Bounces(arguments) => bounces::run(&global, arguments).await,
        Command::Replies(arguments) => replies::run(&global, arguments).await,
        Command::Nodes(arguments) => nodes::run(&global, arguments).await,
        Command::Preview(arguments) => preview::run(&global, arguments).await,
        Command::Apply(arguments) => apply::run(&global, arguments).await,
        Command::Run(arguments) => run::run(&global, arguments).await,
        Command::Migrate => {
            global.store().await?.close().await;
            eprintln!("The database is up to date");
            Ok(Exit::Done)
        }
    }
}

/// `posthaste export customers | head`: who reads may stop early, and that is no fault to tell about. The standard library's `println!` panics then.
fn end_quietly_when_nobody_reads() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload_as_str().unwrap_or_default();
        if text.starts_with("failed printing to std") && text.contains("Broken pipe") {
            std::process::exit(Exit::Failed as i32);
        }
        usual(panic);
    }));
}

/// An error and its causes, each part once.
pub fn explained(error: &anyhow::Error) -> String {
    let mut out = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if out.is_empty() {
            out.push_str(&cause);
        } else if !out.contains(&cause) {
            out.push_str(": ");
            out.push_str(&cause);
        }
    }
    out
}

fn instant(text: &str) -> Result<Time, String> {
    text.parse::<Time>().map_err(|_| format!("`{text}` is no instant; write one like 2027-03-01T10:00:00Z or 2027-03-01T10:00:00+02:00"))
}
