//! A file as rows: gzip and zstd by content, UTF-8 or a detected encoding, CSV with a detected delimiter or JSON lines.
//!
//! Streams: however large the file, one row and a few buffers are in memory. A row that cannot be read is an error of that row; reading
//! goes on behind it. No bytes make it panic.

use super::encoding;
use super::sheets::unguarded;
use encoding_rs::Encoding;
use serde_json::{Map, Value};
use std::cell::Cell;
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
use std::rc::Rc;

/// Longer rows are refused: an unclosed quote would swallow the file otherwise.
pub const LONGEST_ROW: u64 = 4 << 20;
const SAMPLE: usize = 256 << 10;
/// A wider header is a mistake, or an attack.
const MOST_COLUMNS: usize = 5_000;

/// What is known of a file's encoding before it is opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EncodingHint {
    /// Overrules what would be detected.
    pub named: Option<String>,
    /// The workspace's: help to tell encodings apart.
    pub languages: Vec<String>,
}

/// What the first bytes of a file showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    /// `gzip`, `zstd` or nothing.
    pub packed: Option<&'static str>,
    /// Name by the WHATWG, `UTF-8` mostly.
    pub encoding: &'static str,
    /// `None` for JSON lines.
    pub delimiter: Option<u8>,
}

/// A row as it stood in the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Line on which it begins, from 1.
    pub line: u64,
    /// Number among the rows, from 1; the header is none.
    pub number: u64,
    pub cells: Cells,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Cells {
    /// One text a column of the header.
    Texts(csv::StringRecord),
    Object(Map<String, Value>),
    /// Could not be read as a row; as written.
    Unread(String),
}

/// Why the whole file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the file")]
    Read(#[from] std::io::Error),
    #[error("the file is empty")]
    Empty,
    #[error("the column `{0}` stands twice in the header")]
    TwiceNamed(String),
    #[error("the header has {0} columns; at most {MOST_COLUMNS} are read: is it a table of people, a row for each?")]
    Columns(usize),
    #[error("this is a workbook or an archive, not a table of text: open it in the spreadsheet and save the sheet as CSV (UTF-8)")]
    Workbook,
    #[error("this is no text: save it as CSV (UTF-8) or as JSON lines")]
    NoText,
    #[error("`{0}` is no encoding that is known; write for example windows-1251")]
    Encoding(String),
}

/// An open file.
pub struct Rows {
    pub form: Form,
    /// Names of the columns of a CSV file; empty for JSON lines.
    pub header: Vec<String>,
    reader: Reader,
    number: u64,
}

enum Reader {
    Csv {
        reader: Box<csv::Reader<Guarded>>,
        used: Rc<Cell<u64>>,
        /// The file has ended inside of a quoted value.
        ends_in_quotes: Rc<Cell<bool>>,
        record: csv::ByteRecord,
        behind: u64,
    },
    Lines {
        reader: Box<dyn BufRead>,
        line: u64,
    },
    Done,
}

impl Rows {
    /// Opens a stream of bytes.
    pub fn open(input: impl Read + 'static, encoding: &EncodingHint) -> Result<Rows, Error> {
        let (input, packed) = unpacked(Box::new(input))?;
        let mut input = BufReader::with_capacity(64 << 10, input);
        let mut sample = Vec::new();
        input.by_ref().take(SAMPLE as u64).read_to_end(&mut sample)?;
        if sample.starts_with(b"PK\x03\x04") || sample.starts_with(b"\xd0\xcf\x11\xe0") {
            return Err(Error::Workbook);
        }
        let encoding = match &encoding.named {
            Some(name) => Encoding::for_label(name.as_bytes()).ok_or_else(|| Error::Encoding(name.clone()))?,
            None => encoding::detected(&sample, sample.len() < SAMPLE, &encoding.languages),
        };
        // Every letter of UTF-16 may hold a nought; no other encoding of text does.
        if sample.contains(&0) && ![encoding_rs::UTF_16LE, encoding_rs::UTF_16BE].contains(&encoding) {
            return Err(Error::NoText);
        }
        let whole: Box<dyn Read> = Box::new(std::io::Cursor::new(sample).chain(input));
        let text: Box<dyn Read> = if encoding == encoding_rs::UTF_8 { whole } else { Box::new(Recoded::new(whole, encoding)) };
        let mut text = BufReader::with_capacity(64 << 10, text);
        if text.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
            text.consume(3);
        }
        let start = text.fill_buf()?.to_vec();
        let first = start.iter().find(|byte| !byte.is_ascii_whitespace()).ok_or(Error::Empty)?;
        if *first == b'{' {
            let form = Form { packed, encoding: encoding.name(), delimiter: None };
            return Ok(Rows { form, header: Vec::new(), reader: Reader::Lines { reader: Box::new(text), line: 0 }, number: 0 });
        }
        let delimiter = delimiter(&start);
        let form = Form { packed, encoding: encoding.name(), delimiter: Some(delimiter) };
        let used = Rc::new(Cell::new(0));
        let ends_in_quotes = Rc::new(Cell::new(false));
        let quotes = Quotes { delimiter, at: Quote::Start };
        let guarded = Guarded { input: text, used: used.clone(), quotes, ends_in_quotes: ends_in_quotes.clone() };
        let mut reader =
            csv::ReaderBuilder::new().delimiter(delimiter).has_headers(false).flexible(true).buffer_capacity(64 << 10).from_reader(guarded);
        let mut record = csv::ByteRecord::new();
        if !reader.read_byte_record(&mut record).map_err(into_io)? {
            return Err(Error::Empty);
        }
        // Behind a record the reader stands on the next line, or, where lines end in CR LF, still before the LF.
        let inner = line_ends(&record);
        let behind = u64::from(reader.position().line() > 1 + inner);
        let header: Vec<String> = record.iter().map(|name| String::from_utf8_lossy(name).trim().to_string()).collect();
        if header.len() > MOST_COLUMNS {
            return Err(Error::Columns(header.len()));
        }
        let mut seen = HashSet::new();
        if let Some(twice) = header.iter().find(|name| !name.is_empty() && !seen.insert(name.as_str())) {
            return Err(Error::TwiceNamed(twice.clone()));
        }
        Ok(Rows { form, header, reader: Reader::Csv { reader: Box::new(reader), used, ends_in_quotes, record, behind }, number: 0 })
    }

    /// The next row, or what is wrong with it (then its cells are [`Cells::Unread`]); `None` at the end. An error ends the file.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Result<(Row, Option<String>), Error>> {
        let next = match &mut self.reader {
            Reader::Done => None,
            Reader::Csv { reader, used, ends_in_quotes, record, behind } => {
                let next = next_record(reader, used, record, *behind, self.header.len());
                match next {
                    // The end was met while this row was read: all that stood behind the quote is in one value.
                    Some(Ok((line, cells, _))) if ends_in_quotes.get() => Some(Ok((
                        line,
                        cells,
                        Some("a quote is opened in this row and never closed, so the rest of the file was read as one value".into()),
                    ))),
                    next => next,
                }
            }
            Reader::Lines { reader, line } => next_line(reader, line),
        };
        match next {
            Some(Ok((line, cells, wrong))) => {
                self.number += 1;
                Some(Ok((Row { line, number: self.number, cells }, wrong)))
            }
            Some(Err(error)) => {
                self.reader = Reader::Done;
                Some(Err(error))
            }
            None => {
                self.reader = Reader::Done;
                None
            }
        }
    }
}

type Next = Option<Result<(u64, Cells, Option<String>), Error>>;

fn next_record(reader: &mut csv::Reader<Guarded>, used: &Cell<u64>, record: &mut csv::ByteRecord, behind: u64, columns: usize) -> Next {
    loop {
        used.set(0);
        match reader.read_byte_record(record) {
            Ok(false) => return None,
            Err(error) => {
                let line = reader.position().line();
                let io = into_io(error);
                let error = if io.kind() == std::io::ErrorKind::InvalidData && used.get() > LONGEST_ROW {
                    std::io::Error::new(
                        std::io::ErrorKind::InvalidData,
                        format!("the row on line {line} is longer than 4 MB: a quote is probably opened there and never closed"),
                    )
                } else {
                    io
                };
                return Some(Err(error.into()));
            }
            Ok(true) => {}
        }
        // Counted back from the end of the record: its start, as the reader gives it, lies before the empty lines above it.
        let counted = reader.position().line().saturating_sub(behind + line_ends(record));
        let line = record.position().map_or(0, csv::Position::line).max(counted);
        // A line of blanks only, or of delimiters only, is no row.
        if record.iter().all(|cell| cell.iter().all(u8::is_ascii_whitespace)) {
            continue;
        }
        let wrong_count = record.len() != columns;
        let given = record.len();
        return Some(Ok(match csv::StringRecord::from_byte_record(record.clone()) {
            Ok(texts) if wrong_count => (
                line,
                Cells::Texts(texts),
                Some(format!(
                    "the row has {given} values where the header has {columns}; a quote or a delimiter may be missing or too many"
                )),
            ),
            Ok(texts) => (line, Cells::Texts(without_guards(texts)), None),
            Err(error) => {
                let bytes = error.into_byte_record();
                let lossy: Vec<String> = bytes.iter().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect();
                (
                    line,
                    Cells::Texts(csv::StringRecord::from(lossy)),
                    Some("the row is not in UTF-8; name the file's encoding, for example --encoding windows-1251".into()),
                )
            }
        }));
    }
}

/// Without the apostrophes that keep spreadsheets from taking a cell for a formula.
fn without_guards(texts: csv::StringRecord) -> csv::StringRecord {
    match texts.iter().any(|cell| unguarded(cell).len() < cell.len()) {
        true => texts.iter().map(unguarded).collect(),
        false => texts,
    }
}

fn next_line(reader: &mut dyn BufRead, line: &mut u64) -> Next {
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        match reader.take(LONGEST_ROW).read_until(b'\n', &mut bytes) {
            Err(error) => return Some(Err(error.into())),
            Ok(0) => return None,
            Ok(_) => {}
        }
        *line += 1;
        if bytes.len() as u64 == LONGEST_ROW {
            return Some(Err(std::io::Error::new(std::io::ErrorKind::InvalidData, format!("line {line} is longer than 4 MB")).into()));
        }
        if bytes.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let unread = |why: String| (*line, Cells::Unread(String::from_utf8_lossy(&bytes).trim_end().to_string()), Some(why));
        return Some(Ok(match serde_json::from_slice::<Value>(&bytes) {
            Ok(Value::Object(fields)) => (*line, Cells::Object(fields), None),
            Ok(_) => unread("the line is no JSON object in braces".into()),
            Err(error) => unread(format!("the line is no JSON object: {error}")),
        }));
    }
}

fn line_ends(record: &csv::ByteRecord) -> u64 {
    record.as_slice().iter().filter(|byte| **byte == b'\n').count() as u64
}

fn into_io(error: csv::Error) -> std::io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => std::io::Error::new(std::io::ErrorKind::InvalidData, format!("{other:?}")),
    }
}

fn unpacked(input: Box<dyn Read>) -> Result<(Box<dyn Read>, Option<&'static str>), Error> {
    let mut input = BufReader::with_capacity(64 << 10, input);
    let start = input.fill_buf()?;
    if start.starts_with(&[0x1f, 0x8b]) {
        return Ok((Box::new(flate2::bufread::MultiGzDecoder::new(input)), Some("gzip")));
    }
    if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Ok((Box::new(zstd::stream::read::Decoder::with_buffer(input)?), Some("zstd")));
    }
    Ok((Box::new(input), None))
}

/// The one of `,` `;` tab that stands most often in the first line, outside quotes.
fn delimiter(start: &[u8]) -> u8 {
    let mut counts = [(b',', 0), (b';', 0), (b'\t', 0)];
    let mut quoted = false;
    for byte in start {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' | b'\r' if !quoted => break,
            _ if !quoted => counts.iter_mut().filter(|(sign, _)| sign == byte).for_each(|(_, count)| *count += 1),
            _ => {}
        }
    }
    let mut best = counts[0];
    for candidate in counts {
        if candidate.1 > best.1 {
            best = candidate
        }
    }
    best.0
}

/// Counts what one row takes from the input, and stops where that is too much; sees whether the end comes inside of quotes.
struct Guarded {
    input: BufReader<Box<dyn Read>>,
    used: Rc<Cell<u64>>,
    quotes: Quotes,
    ends_in_quotes: Rc<Cell<bool>>,
}

/// Where in a value the bytes read so far end, as the csv reader sees it.
struct Quotes {
    delimiter: u8,
    at: Quote,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quote {
    Start,
    Bare,
    Inside,
    /// Behind a quote inside of quotes: the second of two, or the end.
    Perhaps,
}

impl Quotes {
    fn read(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let ends = *byte == self.delimiter || matches!(byte, b'\n' | b'\r');
            self.at = match (self.at, *byte) {
                (Quote::Inside, b'"') => Quote::Perhaps,
                (Quote::Inside, _) | (Quote::Start | Quote::Perhaps, b'"') => Quote::Inside,
                _ if ends => Quote::Start,
                _ => Quote::Bare,
            };
        }
    }
}

impl Read for Guarded {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.used.get() > LONGEST_ROW {
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "a row is longer than 4 MB"));
        }
        let count = self.input.read(buffer)?;
        self.used.set(self.used.get() + count as u64);
        self.quotes.read(&buffer[..count]);
        self.ends_in_quotes.set(count == 0 && self.quotes.at == Quote::Inside);
        Ok(count)
    }
}

/// Another encoding as UTF-8; what cannot be decoded becomes U+FFFD.
struct Recoded {
    input: Box<dyn Read>,
    decoder: encoding_rs::Decoder,
    raw: Vec<u8>,
    decoded: Vec<u8>,
    given: usize,
    ended: bool,
}

impl Recoded {
    fn new(input: Box<dyn Read>, encoding: &'static Encoding) -> Self {
        Recoded {
            input,
            decoder: encoding.new_decoder_with_bom_removal(),
            raw: vec![0; 32 << 10],
            decoded: Vec::new(),
            given: 0,
            ended: false,
        }
    }
}

impl Read for Recoded {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.given == self.decoded.len() && !self.ended {
            let count = self.input.read(&mut self.raw)?;
            self.ended = count == 0;
            let most = self.decoder.max_utf8_buffer_length(count).unwrap_or(count * 3 + 16);
            self.decoded.resize(most, 0);
            let (_, _, written, _) = self.decoder.decode_to_utf8(&self.raw[..count], &mut self.decoded, self.ended);
            self.decoded.truncate(written);
            self.given = 0;
        }
        let count = buffer.len().min(self.decoded.len() - self.given);
        buffer[..count].copy_from_slice(&self.decoded[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> (Form, Vec<String>, Vec<String>) {
        let mut rows = Rows::open(std::io::Cursor::new(bytes.to_vec()), &EncodingHint::default()).unwrap();
        let mut all = Vec::new();
        while let Some(next) = rows.next() {
            let (row, wrong) = next.unwrap();
            let cells = match row.cells {
                Cells::Texts(texts) => texts.iter().collect::<Vec<_>>().join("|"),
                Cells::Object(fields) => Value::Object(fields).to_string(),
                Cells::Unread(text) => text,
            };
            all.push(format!("{}:{}:{}{}", row.line, row.number, cells, wrong.map_or(String::new(), |why| format!(" ({why})"))));
        }
        (rows.form, rows.header, all)
    }

    #[test]
    fn delimiters_quotes_marks_and_empty_lines() {
        let (form, header, rows) = read("\u{feff}a;\"b;c\"\r\n1;\"x\ny\"\r\n\r\n2;\"q\"\"q\"\r\n3\r\n".as_bytes());
        assert_eq!((form.delimiter, header.join("|").as_str()), (Some(b';'), "a|b;c"));
        assert_eq!(rows[0], "2:1:1|x\ny");
        assert_eq!(rows[1], "5:2:2|q\"q");
        assert!(rows[2].starts_with("6:3:3 (the row has 1 values where the header has 2"), "{}", rows[2]);
        assert_eq!(read(b"a\tb\n1,5\t2\n").2, ["2:1:1,5|2"]);
    }

    #[test]
    fn json_lines_are_told_by_their_first_brace() {
        let (form, _, rows) = read(b"\n{\"a\": 1}\n[1]\n{\"b\": }\n{\"c\": 2}");
        assert_eq!(form.delimiter, None);
        assert_eq!(rows[0], "2:1:{\"a\":1}");
        assert!(rows[1].contains("no JSON object in braces") && rows[2].contains("no JSON object"), "{rows:?}");
        assert_eq!(rows[3], "5:4:{\"c\":2}");
    }

    #[test]
    fn packed_and_recoded_files_read_the_same() {
        let plain = "имя,город\nАда,Київ\n".as_bytes().to_vec();
        let expected = vec!["2:1:Ада|Київ".to_string()];
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, &plain).unwrap();
        assert_eq!(read(&gzip.finish().unwrap()).2, expected);
        assert_eq!(read(&zstd::encode_all(plain.as_slice(), 1).unwrap()).2, expected);
        let utf16: Vec<u8> = "\u{feff}имя,город\nАда,Київ\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let (form, _, rows) = read(&utf16);
        assert_eq!((form.encoding, rows), ("UTF-16LE", expected.clone()));
        let (cyrillic, _, _) = encoding_rs::WINDOWS_1251.encode("имя,город\nАда,Київ\n");
        let (form, _, rows) = read(&cyrillic);
        assert_eq!((form.encoding, rows), ("windows-1251", expected));
        let hint = EncodingHint { named: None, languages: vec!["uk".into(), "en".into()] };
        let (short, _, _) = encoding_rs::KOI8_U.encode("имя,e-mail\nAda,ada@example.org\n");
        assert_eq!(Rows::open(std::io::Cursor::new(short.into_owned()), &hint).unwrap().header, ["имя", "e-mail"]);
    }

    #[test]
    fn a_quote_that_is_never_closed_does_not_fill_the_memory() {
        let mut bytes = b"a,b\n1,\"".to_vec();
        bytes.extend(std::iter::repeat_n(b'x', 6 << 20));
        let mut rows = Rows::open(std::io::Cursor::new(bytes), &EncodingHint::default()).unwrap();
        let error = std::error::Error::source(&rows.next().unwrap().unwrap_err()).unwrap().to_string();
        assert!(error.contains("line 2") && error.contains("never closed"), "{error}");
        assert!(rows.next().is_none());
    }

    #[test]
    fn a_quote_that_swallows_the_rest_of_a_small_file_rejects_its_row() {
        let (_, _, rows) = read(b"a,b\n1,\"x\"\"y\"\n2,\"open\n3,z\n4,z\n");
        assert_eq!(rows[0], "2:1:1|x\"y");
        assert!(rows[1].starts_with("3:2:2|open\n3,z\n4,z\n (a quote is opened in this row and never closed"), "{rows:?}");
        assert_eq!(rows.len(), 2);
        for closed in ["a,b\n1,\"x\"", "a,b\n1,x\"", "a,b\n1,\"\"", "a,b\n1,\"x\"\n", "a,b\n1,\"x\"\"\"\n"] {
            assert!(!read(closed.as_bytes()).2[0].contains("never closed"), "{closed}");
        }
    }

    #[test]
    fn what_is_no_table_of_text_is_refused_with_what_to_do() {
        let refused = |bytes: &[u8]| match Rows::open(std::io::Cursor::new(bytes.to_vec()), &EncodingHint::default()) {
            Err(error) => error.to_string(),
            Ok(_) => String::new(),
        };
        assert!(refused(b"PK\x03\x04\x14\0rest").contains("save the sheet as CSV"));
        assert!(refused(b"a,b\n1,\0\n").contains("this is no text"));
        let wide: String = (0..400_000).map(|number| format!("c{number},")).collect();
        let started = std::time::Instant::now();
        assert!(refused(wide.as_bytes()).contains("400001 columns"));
        assert!(started.elapsed() < std::time::Duration::from_secs(5));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_reading_panic(bytes: Vec<u8>) {
            if let Ok(mut rows) = Rows::open(std::io::Cursor::new(bytes), &EncodingHint::default()) {
                for _ in 0..1000 {
                    if rows.next().is_none() { break }
                }
            }
        }
    }
}
