//! `posthaste demo`: the whole story on sample people, with the built-in catcher: a workspace, an import, checks, tests, four campaigns
//! over nine virtual days, responses over real HTTP, a report.
//!
//! Letters and text messages go through the same providers, ledger and server as real ones; only the clock is virtual and the receiver is
//! ours. The same number of people gives the same figures, but for what depends on the order in which parallel answers come in.

pub mod crowd;
mod days;
pub mod people;

use super::{Exit, Global, init, serving};
use crate::campaigns;
use crate::catcher::Catcher;
use crate::clock::Clock;
use crate::config::{PEPPER, Workspace};
use crate::customers::files::EncodingHint;
use crate::customers::import::{self, EventOptions, Input, Settings};
use crate::customers::keys::Keys;
use crate::engine::{Engine, Parts, Roles, applying, trials};
use crate::reports::{self, Question};
use crate::store::Store;
use crate::store::conversions::Measures;
use crate::types::Time;
use anyhow::{Context, bail};
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tokio_util::sync::CancellationToken;

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Where the demo's workspace is made; one of an earlier demo is replaced
    #[arg(default_value = "posthaste-demo")]
    pub folder: PathBuf,
    /// How many sample people
    #[arg(long, default_value_t = 3000, value_name = "N")]
    pub people: u32,
    /// Stay, and show the catcher's inbox
    #[arg(long)]
    pub serve: bool,
}

/// The evening before the sale, in Kyiv.
const BEGINS: &str = "2027-02-28T16:00:00Z";
const DAYS: i64 = 9;
/// Tells our own folders from others.
const MARK: &str = ".posthaste-demo";

pub async fn run(_global: &Global, arguments: Demo) -> anyhow::Result<Exit> {
    let started = Instant::now();
    let begins: Time = BEGINS.parse().context("the demo's first day")?;
    let clock = Clock::standing_at(begins);
    let catcher = Catcher::anywhere(clock.clone()).await.context("cannot open the catcher's ports")?;
    let address = free_address()?;
    let folder = &arguments.folder;
    make_workspace(folder, &catcher, &format!("http://{address}"))?;
    let sample = people::people(arguments.people, begins);
    init::write(folder, "sample/customers.csv", sample.customers.as_bytes())?;
    init::write(folder, "sample/events.jsonl", sample.events.as_bytes())?;

    let workspace = Workspace::open(folder, None);
    let files = workspace.files()?;
    let (definitions, problems) = campaigns::read(&files);
    let Some(definitions) = definitions else { bail!("the examples have problems:\n{}", problems.render(&files, false, 120)) };
    let store = workspace.store(definitions.workspace.database.as_deref()).await?;
    step(
        "A workspace",
        &format!(
            "{} with {} campaigns and {} segments, checked",
            folder.display(),
            definitions.campaigns.len(),
            definitions.segments.len()
        ),
    );

    let imported = take_people(&store, &workspace, &definitions.workspace, folder, begins).await?;
    step("Customers", &imported);
    step("Campaign tests", &run_tests(&files).await?);

    let apply =
        applying(files.clone(), campaigns::read(&files).0.context("the examples were read before")?, "dirty".into(), "demo".into(), begins);
    let changes = store.apply(&apply).await?;
    step("Applied", &format!("{} campaigns", changes.len()));

    let served = serving::start(&store, &definitions.workspace, &workspace, clock.clone(), address).await?;
    let parts = Parts {
        store: store.clone(),
        clock: clock.clone(),
        open: super::run::opener(&workspace)?,
        arms: Default::default(),
        roles: Roles::ALL,
        stop: CancellationToken::new(),
    };
    let engine = Engine::start(parts).await?.hearing(serving::feedback(&store, &workspace)?);
    let key = workspace.secret("POSTHASTE_API_KEY")?.to_string();
    let told = days::pass(days::Days {
        engine: &engine,
        store: &store,
        clock: &clock,
        catcher: &catcher,
        tracker: format!("http://{address}"),
        key,
        ends: begins + chrono::TimeDelta::days(DAYS),
    })
    .await?;
    step("Nine days passed", &told);

    let now = clock.now();
    println!();
    let measures = store.measures(definitions.workspace.zone, &definitions.workspace.currency).await?;
    let question = Question { run: None, as_of: None, now, measures: &measures };
    let mut all = Vec::new();
    for campaign in store.counted_campaigns(None).await? {
        all.push(reports::gather(&store, &campaign, &question).await?);
    }
    print!("{}", reports::overview_table(&all));
    println!();
    let sale = all.iter().find(|report| report.campaign == "spring-sale").context("the sale has no report")?;
    print!("{}", reports::table(sale, definitions.workspace.zone));
    init::write(folder, "reports/spring-sale.html", reports::page::page(sale, definitions.workspace.zone).as_bytes())?;
    println!();
    println!("The report as a page:  {}", folder.join("reports/spring-sale.html").display());
    println!("Done in {:.1} seconds. Try next:", started.elapsed().as_secs_f64());
    next_steps(folder);
    if arguments.serve {
        println!();
        println!("The catcher's inbox:   http://{}/", catcher.http());
        println!("Tracked links:         http://{address}/  (stop with ctrl-c)");
        tokio::signal::ctrl_c().await.context("cannot wait for ctrl-c")?;
    }
    drop(engine);
    served.end().await?;
    store.close().await;
    Ok(Exit::Done)
}

fn step(name: &str, what: &str) {
    println!("{name:<18} {what}");
}

fn next_steps(folder: &Path) {
    let folder = folder.display();
    println!("  cd {folder}");
    println!("  posthaste why K00042 spring-sale --now 2027-03-09T16:00:00Z     one exact reason, for any customer");
    println!("  posthaste customers show K00042                                 one person's card and history");
    println!("  posthaste report spring-sale --format json                      every figure");
    println!("  posthaste segments count active-buyers");
    println!("  edit campaigns/spring-sale.yaml, then: posthaste check, posthaste test, posthaste plan --now 2027-03-09T16:00:00Z");
    println!("  posthaste demo --serve                                          the letters themselves, in the catcher's inbox");
}

/// A free port of this machine.
fn free_address() -> anyhow::Result<std::net::SocketAddr> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("cannot open a port on this machine")?;
    Ok(listener.local_addr()?)
}

/// The example workspace, with its providers and public address on this machine.
fn make_workspace(folder: &Path, catcher: &Catcher, tracker: &str) -> anyhow::Result<()> {
    if folder.exists() {
        let empty = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?.next().is_none();
        if !empty && !folder.join(MARK).exists() {
            bail!("{} is there already and is no demo: name another folder", folder.display());
        }
        std::fs::remove_dir_all(folder).with_context(|| format!("cannot replace {}", folder.display()))?;
    }
    init::write_workspace(folder)?;
    init::write(folder, MARK, b"Made by posthaste demo; the next demo replaces this folder\n")?;
    let path = folder.join("posthaste.yaml");
    let text = std::fs::read_to_string(&path)?;
    let letters = format!("letters: {{ channel: email, kind: smtp, host: 127.0.0.1, port: {}, security: none }}", catcher.smtp().port());
    let texts = format!(
        "texts: {{ channel: sms, kind: twilio, url: \"http://{}\", account: demo, token: \"${{POSTHASTE_API_KEY}}\", price: 0.85 UAH }}",
        catcher.http()
    );
    let text = text
        .replace("public_url: https://go.shop.example", &format!("public_url: {tracker}"))
        .replace("letters: { channel: email, kind: catcher }", &letters)
        .replace("texts: { channel: sms, kind: catcher, price: 0.85 UAH }", &texts);
    std::fs::write(&path, text)?;
    Ok(())
}

async fn take_people(
    store: &Store,
    workspace: &Workspace,
    written: &campaigns::Workspace,
    folder: &Path,
    now: Time,
) -> anyhow::Result<String> {
    let settings = Settings { source: "sample".into(), ..Settings::of(written, Keys::new(workspace.secret(PEPPER)?), now) };
    let measures = Measures { all: Vec::new(), zone: written.zone, currency: written.currency.clone() };
    let open = |path: &str| -> anyhow::Result<Input> {
        Ok(Input::Bytes(Box::new(std::fs::File::open(folder.join(path))?), EncodingHint::default()))
    };
    let customers = import::customers(store, &settings, open("sample/customers.csv")?, &mut |_| {}).await?;
    let events = import::events(store, &settings, &EventOptions::default(), &measures, open("sample/events.jsonl")?, &mut |_| {}).await?;
    if customers.rejected + events.rejected > 0 {
        bail!("{} sample people and {} of their events were rejected", customers.rejected, events.rejected);
    }
    Ok(format!("{} people imported with {} events of their history", customers.new, events.new))
}

async fn run_tests(files: &crate::diagnostics::Files) -> anyhow::Result<String> {
    let definitions = campaigns::read(files).0.context("the examples were read before")?;
    let (mut passed, mut failed) = (0, Vec::new());
    let tests = definitions.campaigns.iter().flat_map(|(key, campaign)| campaign.tests.iter().map(move |test| (key, test)));
    for (key, test) in tests {
        let own = campaigns::read(files).0.context("the examples were read before")?;
        match trials::campaign(files, own, key, test).await? {
            differences if differences.is_empty() => passed += 1,
            differences => failed.push(format!("{key}: {}: {}", test.name, differences.join("; "))),
        }
    }
    if !failed.is_empty() {
        bail!("campaign tests failed: {}", failed.join("; "));
    }
    Ok(format!("{passed} passed on a virtual clock"))
}
