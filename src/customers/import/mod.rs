//! Files of customers, events, consents and suppressions → the database.
//!
//! One thread reads and checks rows, another part writes them in batches; between them stands a short queue, so memory does not grow with
//! the file. A bad row is given out with its line and reason while the rest goes in, and the sums always add up. A batch is written whole
//! or not at all, and what a file has brought once changes nothing when it comes again: a killed import is completed by running it again.

pub mod catalogue;
mod columns;
pub mod consents;
pub mod events;
mod first;
pub mod merging;
pub mod people;
pub mod suppressions;

use super::files::{Cells, EncodingHint, Error as FileError, Form, Row, Rows};
use super::keys::Keys;
use super::mapping::Mapping;
use super::values::Reading;
use crate::campaigns;
use crate::literals::ValueType;
use crate::store::conversions::Measures;
use crate::store::{self, Store};
use crate::types::{Channel, Time};
use chrono_tz::Tz;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::atomic::Ordering;

/// What an import must know besides the file; most of it stands in posthaste.yaml.
#[derive(Debug, Clone)]
pub struct Settings {
    pub keys: Keys,
    /// Of phone numbers without a prefix.
    pub country: Option<String>,
    /// Of dates and times without an offset.
    pub zone: Tz,
    /// Of money without one.
    pub currency: String,
    /// Declared types; `None`: every name is allowed and its type is inferred.
    pub attributes: Option<BTreeMap<String, ValueType>>,
    pub events: Option<BTreeMap<String, BTreeMap<String, ValueType>>>,
    /// Topic → its channels.
    pub topics: BTreeMap<String, Vec<Channel>>,
    pub mapping: Mapping,
    /// Where the data comes from; a part of the identity of events and consents.
    pub source: String,
    /// Gives external ids PREFIX1, PREFIX2 … by row number to a file that has none.
    pub number_rows: Option<String>,
    pub dry_run: bool,
    pub now: Time,
}

impl Settings {
    /// Without declarations, for `now`.
    pub fn plain(keys: Keys, now: Time) -> Self {
        Settings {
            keys,
            country: None,
            zone: Tz::UTC,
            currency: "EUR".into(),
            attributes: None,
            events: None,
            topics: BTreeMap::new(),
            mapping: Mapping::default(),
            source: "import".into(),
            number_rows: None,
            dry_run: false,
            now,
        }
    }

    /// As posthaste.yaml says it.
    pub fn of(workspace: &campaigns::Workspace, keys: Keys, now: Time) -> Self {
        Settings {
            country: workspace.country.clone(),
            zone: workspace.zone,
            currency: workspace.currency.clone(),
            attributes: workspace.attributes.clone(),
            events: workspace.events.clone(),
            topics: workspace.topics.iter().map(|(key, topic)| (key.clone(), topic.channels.clone())).collect(),
            ..Settings::plain(keys, now)
        }
    }

    fn reading(&self) -> Reading {
        Reading { dates: self.mapping.dates.clone(), true_is: self.mapping.true_is.clone(), currency: self.currency.clone() }
    }
}

/// Where rows come from.
pub enum Input {
    /// A file, and what is known of its encoding.
    Bytes(Box<dyn Read + Send>, EncodingHint),
    /// Rows in memory: column → value.
    Rows(Vec<Map<String, Value>>),
}

/// Why an import cannot begin, or not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    File(#[from] FileError),
    /// Something about the columns, said for a marketer.
    #[error("{0}")]
    Columns(String),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("reading the file stopped unexpectedly")]
    Stopped,
}

/// What became of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    New,
    Changed,
    Unchanged,
    Rejected(String),
}

/// A row that did not go in.
#[derive(Debug, Clone, PartialEq)]
pub struct Rejected {
    pub row: Row,
    pub reason: String,
}

/// read = new + changed + unchanged + rejected.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    pub read: u64,
    pub new: u64,
    pub changed: u64,
    pub unchanged: u64,
    pub rejected: u64,
    /// Things to know that rejected nothing.
    pub notes: Vec<String>,
}

/// Told while an import goes on.
pub enum Report<'a> {
    /// The file is open: what it is, and its columns.
    Opened(&'a Form, &'a [String]),
    Rejected(&'a Rejected),
    /// Rows done so far.
    Rows(u64),
}

/// Reads rows; lives on the reading thread.
pub(crate) trait Intake: Send + 'static {
    type Item: Send + 'static;
    /// Looks at the columns of a CSV file.
    fn columns(&mut self, header: &[String]) -> Result<(), String>;
    /// Looks at the first rows before any is read.
    fn sample(&mut self, _rows: &[Row]) -> Result<(), String> {
        Ok(())
    }
    fn read(&mut self, row: &Row) -> Result<Self::Item, String>;
    fn notes(&mut self) -> Vec<String> {
        Vec::new()
    }
}

/// Writes what was read, a batch at a time.
pub(crate) trait Sink {
    type Item: Send + 'static;
    /// One outcome for each item, in their order.
    fn write(&mut self, items: Vec<Self::Item>) -> impl Future<Output = Result<Vec<Outcome>, store::Error>> + Send;
    /// Called once, at the end, also after an error.
    fn finish(&mut self) -> impl Future<Output = Result<Vec<String>, store::Error>> + Send;
}

enum Piece<T> {
    Opened(Form, Vec<String>),
    Batch(Vec<(Row, Result<T, String>)>),
    Ended(Vec<String>),
    Failed(Error),
}

/// Rows that are looked at before the first is read.
const SAMPLE_ROWS: usize = 1000;
/// Rows a batch: a SQLite transaction of well under 50 ms.
const BATCH_ROWS: usize = 2000;
/// Of a first import, whose transactions hold many batches: several wait on the way, and memory is for them.
const FIRST_BATCH_ROWS: usize = 1000;
/// Of events in a base in which nobody else works: what many rows touch is written once.
const LONE_BATCH_ROWS: usize = 20_000;

/// Reads everything and writes it.
pub(crate) async fn run<I, S>(
    input: Input,
    mut intake: I,
    mut sink: S,
    batch_rows: usize,
    report: &mut (dyn FnMut(Report<'_>) + Send),
) -> Result<Summary, Error>
where
    I: Intake,
    S: Sink<Item = I::Item>,
{
    let (sender, mut pieces) = tokio::sync::mpsc::channel(2);
    let reading = tokio::task::spawn_blocking(move || {
        let send = |piece| sender.blocking_send(piece).is_ok();
        let end = match read_all(input, &mut intake, batch_rows, &send) {
            Ok(()) => Piece::Ended(intake.notes()),
            Err(error) => Piece::Failed(error),
        };
        send(end);
    });
    let mut summary = Summary::default();
    let result = loop {
        match pieces.recv().await {
            None => break Err(Error::Stopped),
            Some(Piece::Failed(error)) => break Err(error),
            Some(Piece::Ended(notes)) => {
                summary.notes.extend(notes);
                break Ok(());
            }
            Some(Piece::Opened(form, header)) => report(Report::Opened(&form, &header)),
            Some(Piece::Batch(rows)) => {
                if let Err(error) = write(rows, &mut sink, &mut summary, report).await {
                    break Err(error.into());
                }
                report(Report::Rows(summary.read));
            }
        }
    };
    // The queue is closed before the reader is waited for, else it could wait for room for ever.
    drop(pieces);
    let _ = reading.await;
    // What went wrong first is what is told, not what it led to.
    let finished = sink.finish().await;
    result?;
    summary.notes.extend(finished?);
    Ok(summary)
}

async fn write<S: Sink>(
    rows: Vec<(Row, Result<S::Item, String>)>,
    sink: &mut S,
    summary: &mut Summary,
    report: &mut (dyn FnMut(Report<'_>) + Send),
) -> Result<(), store::Error> {
    let mut items = Vec::with_capacity(rows.len());
    let mut waiting = Vec::with_capacity(rows.len());
    for (row, item) in rows {
        match item {
            Ok(item) => {
                items.push(item);
                waiting.push((row, None));
            }
            Err(reason) => waiting.push((row, Some(reason))),
        }
    }
    let mut outcomes = if items.is_empty() { Vec::new() } else { sink.write(items).await? }.into_iter();
    for (row, wrong) in waiting {
        summary.read += 1;
        let outcome = match wrong {
            Some(reason) => Outcome::Rejected(reason),
            None => outcomes.next().unwrap_or(Outcome::Unchanged),
        };
        match outcome {
            Outcome::New => summary.new += 1,
            Outcome::Changed => summary.changed += 1,
            Outcome::Unchanged => summary.unchanged += 1,
            Outcome::Rejected(reason) => {
                summary.rejected += 1;
                report(Report::Rejected(&Rejected { row, reason }));
            }
        }
    }
    Ok(())
}

/// Runs on the reading thread; ends early when nobody takes the pieces any more.
fn read_all<I: Intake>(input: Input, intake: &mut I, batch_rows: usize, send: &dyn Fn(Piece<I::Item>) -> bool) -> Result<(), Error> {
    let mut rows: Box<dyn Iterator<Item = Result<(Row, Option<String>), FileError>>> = match input {
        Input::Rows(rows) => Box::new(rows.into_iter().enumerate().map(|(at, fields)| {
            let number = at as u64 + 1;
            Ok((Row { line: number, number, cells: Cells::Object(fields) }, None))
        })),
        Input::Bytes(bytes, encoding) => {
            let mut rows = Rows::open(bytes, &encoding)?;
            if !rows.header.is_empty() {
                intake.columns(&rows.header).map_err(Error::Columns)?;
            }
            if !send(Piece::Opened(rows.form.clone(), rows.header.clone())) {
                return Ok(());
            }
            Box::new(std::iter::from_fn(move || rows.next()))
        }
    };
    let mut first = Vec::new();
    let mut stop = None;
    for next in rows.by_ref().take(SAMPLE_ROWS) {
        match next {
            Ok(row) => first.push(row),
            Err(error) => stop = Some(error),
        }
    }
    let sample: Vec<Row> = first.iter().filter(|(_, wrong)| wrong.is_none()).map(|(row, _)| row.clone()).collect();
    intake.sample(&sample).map_err(Error::Columns)?;
    drop(sample);
    let mut batch = Vec::with_capacity(batch_rows);
    for next in first.into_iter().map(Ok).chain(stop.into_iter().map(Err)).chain(rows) {
        let (row, wrong) = match next {
            Ok(row) => row,
            Err(error) => {
                send(Piece::Batch(batch));
                return Err(error.into());
            }
        };
        let item = match wrong {
            Some(reason) => Err(reason),
            None => intake.read(&row),
        };
        batch.push((row, item));
        if batch.len() == batch_rows && !send(Piece::Batch(std::mem::replace(&mut batch, Vec::with_capacity(batch_rows)))) {
            return Ok(());
        }
    }
    send(Piece::Batch(batch));
    Ok(())
}

/// Imports customers.
pub async fn customers(
    store: &Store,
    settings: &Settings,
    input: Input,
    report: &mut (dyn FnMut(Report<'_>) + Send),
) -> Result<Summary, Error> {
    let catalogue = catalogue::Catalogue::new(store.attribute_types().await?, settings);
    let intake = people::People::new(settings.clone(), catalogue);
    // They are missing when a first import was killed.
    if store.dialect() == store::Dialect::Sqlite {
        store.build_customer_indexes().await?;
    }
    let sink = merging::Writer::new(store.clone(), settings);
    run(input, intake, sink, BATCH_ROWS, report).await
}

/// Imports customers into a base in which nobody else works: where it is empty, its indexes are built at the end, which is several times
/// faster. Elsewhere the same as [`customers`].
pub async fn first_customers(
    store: &Store,
    settings: &Settings,
    input: Input,
    report: &mut (dyn FnMut(Report<'_>) + Send),
) -> Result<Summary, Error> {
    if settings.dry_run || !store.has_no_customers().await? {
        return customers(store, settings, input, report).await;
    }
    let catalogue = catalogue::Catalogue::new(store.attribute_types().await?, settings);
    let intake = people::People::new(settings.clone(), catalogue);
    let mut sink = merging::Writer::new(store.clone(), settings);
    let batch_rows = if sink.first_import().await? { FIRST_BATCH_ROWS } else { BATCH_ROWS };
    run(input, intake, sink, batch_rows, report).await
}

/// What a file of events may leave to the command line.
#[derive(Debug, Clone, Default)]
pub struct EventOptions {
    /// The name of all events of the file.
    pub event: Option<String>,
    /// The property with the money.
    pub value: Option<String>,
    /// When all of it happened.
    pub at: Option<Time>,
    /// Whether the events may start campaigns.
    pub starts: bool,
    /// Nobody else works in the base: where nothing has happened yet the indexes are built at the end, elsewhere transactions are longer than a living
    /// engine could bear.
    pub alone: bool,
}

/// Imports events of customers who are there; what they convert is kept in the same transactions.
pub async fn events(
    store: &Store,
    settings: &Settings,
    options: &EventOptions,
    measures: &Measures,
    input: Input,
    report: &mut (dyn FnMut(Report<'_>) + Send),
) -> Result<Summary, Error> {
    let intake = events::Events::new(settings.clone(), options.clone());
    let mut sink = events::Writer::new(store.clone(), settings, measures.clone(), options.starts);
    if !options.alone {
        return run(input, intake, sink, BATCH_ROWS, report).await;
    }
    if settings.dry_run || options.starts || !store.can_fill_events().await? {
        return run(input, intake, sink, LONE_BATCH_ROWS, report).await;
    }
    let repeated = sink.first_import().await?;
    let mut summary = run(input, intake, sink, BATCH_ROWS, report).await?;
    let repeated = repeated.load(Ordering::Relaxed);
    (summary.new, summary.unchanged) = (summary.new - repeated, summary.unchanged + repeated);
    Ok(summary)
}

/// Imports changes of consent. A later withdrawal stays; what has no date never lifts one.
pub async fn consents(
    store: &Store,
    settings: &Settings,
    input: Input,
    report: &mut (dyn FnMut(Report<'_>) + Send),
) -> Result<Summary, Error> {
    run(input, consents::Consents::new(settings.clone()), consents::Writer::new(store.clone(), settings), BATCH_ROWS, report).await
}

/// Imports suppressions. None that is there is lifted or shortened.
pub async fn suppressions(
    store: &Store,
    settings: &Settings,
    input: Input,
    report: &mut (dyn FnMut(Report<'_>) + Send),
) -> Result<Summary, Error> {
    let sink = suppressions::Writer::new(store.clone(), settings);
    run(input, suppressions::Suppressions::new(settings.clone()), sink, BATCH_ROWS, report).await
}
