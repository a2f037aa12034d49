//! `posthaste import customers|events|consents|suppressions FILE`, and codes: `posthaste import coupons NAME FILE`.

use super::sheet::Sheet;
use super::{Exit, Format, Global};
use crate::campaigns::{self, Definitions};
use crate::config::PEPPER;
use crate::customers::files::{Cells, EncodingHint};
use crate::customers::import::{self, EventOptions, Input, Rejected, Report, Settings, Summary};
use crate::customers::keys::Keys;
use crate::customers::mapping::{Kind, Mapping};
use crate::diagnostics::Files;
use crate::store::Store;
use crate::types::Time;
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// New rows after which the database has to learn what is in it.
const MANY: u64 = 1000;

#[derive(Debug, Args)]
pub struct Import {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// People, with their addresses, attributes and consents (columns external_id, email, phone, first_name …, consent.TOPIC; others are attributes)
    Customers(Common),
    /// What happened to people (columns customer, event, at, id; others are properties)
    Events(EventArguments),
    /// What people agreed to (columns customer, topic, channel, state, at, until, source, proof)
    Consents(Common),
    /// Addresses that must not be sent to (columns address, reason, since, until)
    Suppressions(Common),
    /// Codes of a coupon of posthaste.yaml, one a line
    Coupons {
        /// The coupon, with `imported: true`
        name: String,
        /// One code a line; of a CSV the first column; - reads the standard input
        file: PathBuf,
    },
}

/// Options of every import.
#[derive(Debug, Args)]
struct Common {
    /// CSV or JSON lines, also packed with gzip or zstd; - reads the standard input
    file: PathBuf,
    /// A saved mapping (mappings/NAME.yaml), or one column: "E-mail=email"; an empty field leaves the column out
    #[arg(long, value_name = "NAME|COLUMN=FIELD")]
    map: Vec<String>,
    /// The country of phone numbers without a prefix (default: that of posthaste.yaml)
    #[arg(long, value_name = "CODE")]
    country: Option<String>,
    /// Read and check everything, write nothing
    #[arg(long)]
    dry_run: bool,
    /// Where rejected rows go (default: FILE.rejected beside the file)
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// Where the data comes from; a part of the identity of events and consents
    #[arg(long, value_name = "NAME", default_value = "import")]
    source: String,
    /// The encoding, where it is not detected: windows-1251, utf-16le …
    #[arg(long, value_name = "NAME")]
    encoding: Option<String>,
    /// Give external ids PREFIX1, PREFIX2 … by row number to a file that has none
    #[arg(long, value_name = "PREFIX")]
    number_rows: Option<String>,
}

#[derive(Debug, Args)]
struct EventArguments {
    #[command(flatten)]
    common: Common,
    /// The name of all events of the file, where it has no column `event`
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
    /// The property with the money, where posthaste.yaml declares none
    #[arg(long, value_name = "PROPERTY")]
    value: Option<String>,
    /// When all of it happened, where the file has no column `at`
    #[arg(long, value_name = "TIME")]
    at: Option<Time>,
    /// Let the events start campaigns that a trigger starts (`when`); without it nothing of the file starts any
    #[arg(long)]
    start: bool,
}

pub async fn run(global: &Global, arguments: Import) -> anyhow::Result<Exit> {
    match &arguments.what {
        What::Customers(common) => go(global, Kind::Customers, common, None).await,
        What::Consents(common) => go(global, Kind::Consents, common, None).await,
        What::Suppressions(common) => go(global, Kind::Suppressions, common, None).await,
        What::Coupons { name, file } => coupons(global, name, file).await,
        What::Events(events) => go(global, Kind::Events, &events.common, Some(events)).await,
    }
}

/// Reads codes and adds those that are new.
async fn coupons(global: &Global, name: &str, file: &PathBuf) -> anyhow::Result<Exit> {
    let workspace = global.workspace();
    let Some(definitions) = definitions(&workspace.files()?) else { return Ok(Exit::Problems) };
    let Some(coupon) = definitions.workspace.coupons.get(name) else {
        bail!("posthaste.yaml has no coupon `{name}`: write coupons: {{ {name}: {{ imported: true }} }}");
    };
    if coupon.supply != campaigns::Supply::Imported {
        bail!("the codes of `{name}` are not imported: write {name}: {{ imported: true }} in posthaste.yaml if they are to be");
    }
    let mut text = String::new();
    let read = if file.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text))
    };
    read.with_context(|| format!("cannot read {}", file.display()))?;
    let (mut codes, mut rejected) = (Vec::new(), 0_u64);
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let code = line.split([',', ';', '\t']).next().unwrap_or_default().trim().trim_matches('"');
        match code {
            "" => {}
            _ if number == 0 && code.eq_ignore_ascii_case("code") => {}
            _ if code.chars().count() > 64 || code.chars().any(char::is_control) => {
                eprintln!("line {}: `{}` is no code: at most 64 characters", number + 1, code.chars().take(80).collect::<String>());
                rejected += 1;
            }
            _ => codes.push(code.to_string()),
        }
    }
    let store = workspace.store(definitions.workspace.database.as_deref()).await?;
    let new = store.import_codes(name, &codes).await?;
    store.close().await;
    eprintln!("{new} new codes of {name}, {} known already, {rejected} rejected", codes.len() as u64 - new);
    Ok(Exit::Done)
}

async fn go(global: &Global, kind: Kind, common: &Common, events: Option<&EventArguments>) -> anyhow::Result<Exit> {
    let workspace = global.workspace();
    let Some(definitions) = definitions(&workspace.files()?) else { return Ok(Exit::Problems) };
    let keys = Keys::new(workspace.secret(PEPPER)?);
    let now = global.clock().now();
    let mut settings = Settings::of(&definitions.workspace, keys, now);
    settings.mapping = match mapping(&definitions, kind, &common.map) {
        Ok(mapping) => mapping,
        Err(why) => {
            eprintln!("{why}");
            return Ok(Exit::Usage);
        }
    };
    if let Some(country) = &common.country {
        settings.country = Some(crate::customers::places::country(country).map_err(|why| anyhow::anyhow!("--country: `{country}` {why}"))?);
    }
    settings.source.clone_from(&common.source);
    settings.number_rows.clone_from(&common.number_rows);
    settings.dry_run = common.dry_run;
    let store = workspace.store(definitions.workspace.database.as_deref()).await?;
    // While no engine works in the base, and none can start, an empty one is filled without its indexes.
    let alone = match &store {
        Store::Sqlite(_) if matches!(kind, Kind::Customers | Kind::Events) => store.lock_engine().await.ok(),
        _ => None,
    };
    let read = Arc::new(AtomicU64::new(0));
    let (input, size) = open(common, &definitions.workspace.languages, read.clone())?;
    let mut watch = Watch::new(common, size, read);
    let summary = {
        let report = &mut |report: Report<'_>| watch.report(report);
        match kind {
            Kind::Customers => match (&store, &alone) {
                (Store::Sqlite(_), None) => import::customers(&store, &settings, input, report).await,
                _ => import::first_customers(&store, &settings, input, report).await,
            },
            Kind::Events => {
                let options = events.map(|events| EventOptions {
                    event: events.event.clone(),
                    value: events.value.clone(),
                    at: events.at,
                    starts: events.start,
                    alone: alone.is_some(),
                });
                // What applied campaigns measure, so that imported events count as conversions.
                let measures = store.measures(settings.zone, &settings.currency).await?;
                import::events(&store, &settings, &options.unwrap_or_default(), &measures, input, report).await
            }
            Kind::Consents => import::consents(&store, &settings, input, report).await,
            Kind::Suppressions => import::suppressions(&store, &settings, input, report).await,
        }
    };
    if summary.as_ref().is_ok_and(|summary| summary.new >= MANY) {
        store.learn_statistics().await?;
    }
    let rejects = watch.finish();
    drop(alone);
    store.close().await;
    let summary = match summary {
        Ok(summary) => summary,
        Err(import::Error::Columns(why)) => {
            eprintln!("{why}");
            return Ok(Exit::Usage);
        }
        Err(error) => {
            if matches!(&error, import::Error::Store(cause) if cause.is_temporary()) {
                eprintln!("What was stored before stays; run the same import again to complete it: nobody is made twice");
            }
            return Err(error).with_context(|| format!("cannot import {}", common.file.display()));
        }
    };
    show(global.format, kind, common, &summary, rejects?)?;
    Ok(Exit::Done)
}

/// posthaste.yaml and the mappings; a campaign that is just being written stops no import. Problems are shown.
pub fn definitions(files: &Files) -> Option<Definitions> {
    let needed = |path: &str| path == "posthaste.yaml" || path.starts_with("mappings/");
    let files = Files(files.0.iter().filter(|(path, _)| needed(path)).map(|(path, content)| (path.clone(), content.clone())).collect());
    let (definitions, problems) = campaigns::read(&files);
    if definitions.is_none() {
        eprint!("{}", problems.render(&files, std::io::stderr().is_terminal(), 120));
    }
    definitions
}

fn mapping(definitions: &Definitions, kind: Kind, written: &[String]) -> Result<Mapping, String> {
    let mut mapping = Mapping::default();
    for map in written {
        if map.contains('=') {
            mapping.add(map)?;
            continue;
        }
        let Some(saved) = definitions.mappings.get(map) else {
            let near = crate::diagnostics::nearest(map, definitions.mappings.keys().map(String::as_str));
            let hint =
                near.map_or_else(|| "write one, or name columns: --map \"E-mail=email\"".into(), |near| format!("did you mean `{near}`?"));
            return Err(format!("there is no mappings/{map}.yaml; {hint}"));
        };
        let (its_kind, saved) = Mapping::of(saved)?;
        if its_kind != kind {
            return Err(format!("the mapping `{map}` is for {}, this file is to hold {}", its_kind.word(), kind.word()));
        }
        let named = std::mem::take(&mut mapping.columns);
        mapping = saved;
        mapping.columns.extend(named);
    }
    Ok(mapping)
}

fn open(common: &Common, languages: &[String], read: Arc<AtomicU64>) -> anyhow::Result<(Input, Option<u64>)> {
    let (bytes, size): (Box<dyn Read + Send>, Option<u64>) = if common.file.as_os_str() == "-" {
        (Box::new(std::io::stdin()), None)
    } else {
        let file = std::fs::File::open(&common.file).with_context(|| format!("cannot open {}", common.file.display()))?;
        let about = file.metadata()?;
        if about.is_dir() {
            bail!("{} is a folder, not a file", common.file.display());
        }
        (Box::new(file), Some(about.len()))
    };
    let encoding = EncodingHint { named: common.encoding.clone(), languages: languages.to_vec() };
    Ok((Input::Bytes(Box::new(Counted { bytes, read }), encoding), size))
}

/// Counts the bytes that were read, for the progress bar.
struct Counted {
    bytes: Box<dyn Read + Send>,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.bytes.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Shows progress, says what the file is, and writes rejected rows.
struct Watch {
    bar: ProgressBar,
    read: Arc<AtomicU64>,
    path: PathBuf,
    header: Vec<String>,
    rejects: Option<Result<Rejects, std::io::Error>>,
}

enum Rejects {
    Csv(Box<Sheet<std::io::BufWriter<std::fs::File>>>),
    Lines(std::io::BufWriter<std::fs::File>),
}

impl Watch {
    fn new(common: &Common, size: Option<u64>, read: Arc<AtomicU64>) -> Self {
        let bar = match (std::io::stderr().is_terminal(), size) {
            (false, _) => ProgressBar::hidden(),
            (true, None) => ProgressBar::new_spinner(),
            (true, Some(size)) => {
                let style = ProgressStyle::with_template("{bar:40} {percent:>3} %  {msg}  {eta} left")
                    .unwrap_or_else(|_| ProgressStyle::default_bar());
                ProgressBar::new(size).with_style(style)
            }
        };
        let path = common.rejects.clone().unwrap_or_else(|| match common.file.as_os_str() == "-" {
            true => PathBuf::from("import.rejected"),
            false => PathBuf::from(format!("{}.rejected", common.file.display())),
        });
        Watch { bar, read, path, header: Vec::new(), rejects: None }
    }

    fn report(&mut self, report: Report<'_>) {
        match report {
            Report::Opened(form, header) => {
                self.header = header.to_vec();
                if form.encoding != "UTF-8" {
                    let line =
                        format!("The file is read as {}; if letters come out wrong, name its encoding with --encoding", form.encoding);
                    self.bar.suspend(|| eprintln!("{line}"));
                }
            }
            Report::Rows(rows) => {
                self.bar.set_position(self.read.load(Ordering::Relaxed));
                self.bar.set_message(format!("{rows} rows"));
            }
            Report::Rejected(rejected) => {
                let header = &self.header;
                let path = &self.path;
                let rejects = self.rejects.get_or_insert_with(|| Rejects::open(path, header));
                if let Ok(open) = rejects
                    && let Err(error) = open.write(rejected)
                {
                    *rejects = Err(error);
                }
            }
        }
    }

    /// Where rejected rows went, if there were any.
    fn finish(self) -> anyhow::Result<Option<PathBuf>> {
        self.bar.finish_and_clear();
        let cannot = || format!("cannot write the rejected rows to {}", self.path.display());
        match self.rejects {
            None => Ok(None),
            Some(Err(error)) => Err(error).with_context(cannot),
            Some(Ok(mut rejects)) => {
                rejects.flush().with_context(cannot)?;
                Ok(Some(self.path))
            }
        }
    }
}

impl Rejects {
    fn open(path: &std::path::Path, header: &[String]) -> std::io::Result<Rejects> {
        let file = std::io::BufWriter::new(std::fs::File::create(path)?);
        if header.is_empty() {
            return Ok(Rejects::Lines(file));
        }
        let added = ["rejected_line", "rejected_reason"].into_iter();
        // A file of rejected rows that is imported again has these columns already.
        let columns = added.chain(header.iter().map(String::as_str).filter(|name| !name.starts_with("rejected_")));
        Ok(Rejects::Csv(Box::new(Sheet::new(file, columns)?)))
    }

    fn write(&mut self, rejected: &Rejected) -> std::io::Result<()> {
        let line = rejected.row.line.to_string();
        match (self, &rejected.row.cells) {
            (Rejects::Csv(sheet), Cells::Texts(cells)) => {
                sheet.row([line.as_str(), rejected.reason.as_str()].into_iter().chain(cells))?;
            }
            (Rejects::Lines(file), cells) => {
                let mut row = serde_json::Map::new();
                row.insert("rejected_line".into(), rejected.row.line.into());
                row.insert("rejected_reason".into(), rejected.reason.clone().into());
                match cells {
                    Cells::Object(fields) => row.extend(fields.clone()),
                    Cells::Unread(text) => drop(row.insert("row".into(), text.clone().into())),
                    Cells::Texts(_) => {}
                }
                writeln!(file, "{}", serde_json::Value::Object(row))?;
            }
            (Rejects::Csv(sheet), _) => sheet.row([line.as_str(), rejected.reason.as_str()])?,
        }
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Rejects::Csv(sheet) => sheet.flush(),
            Rejects::Lines(file) => file.flush(),
        }
    }
}

fn show(format: Format, kind: Kind, common: &Common, summary: &Summary, rejects: Option<PathBuf>) -> anyhow::Result<()> {
    for note in &summary.notes {
        eprintln!("{note}");
    }
    if let Some(path) = &rejects {
        eprintln!("Rejected rows are in {}, each with its line and reason: mend them there and import that file", path.display());
    }
    if common.dry_run {
        eprintln!("Nothing was written: this was a dry run");
    }
    match format {
        Format::Json => {
            let mut value = serde_json::json!({
                "import": kind.word(), "file": common.file.display().to_string(), "dry_run": common.dry_run, "read": summary.read, "new": summary.new,
                "changed": summary.changed, "unchanged": summary.unchanged, "rejected": summary.rejected, "notes": summary.notes,
            });
            value["rejects"] = rejects.map(|path| path.display().to_string()).into();
            println!("{value:#}");
        }
        Format::Csv => println!(
            "read,new,changed,unchanged,rejected\n{},{},{},{},{}",
            summary.read, summary.new, summary.changed, summary.unchanged, summary.rejected
        ),
        Format::Table | Format::Html => {
            println!(
                "{} rows of {} read: {} new, {} changed, {} unchanged, {} rejected",
                summary.read,
                kind.word(),
                summary.new,
                summary.changed,
                summary.unchanged,
                summary.rejected
            );
        }
    }
    Ok(())
}
