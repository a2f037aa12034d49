//! Looks for a person everywhere: byte by byte in files, and in every column of every table, in all the forms in which text travels.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use posthaste::store::Store;
use std::collections::BTreeSet;
use std::path::Path;

/// A piece of text that belongs to one person only, in its forms.
struct Needle {
    text: &'static str,
    /// In lower case: as it is, in hexadecimal digits, percent-encoded, quoted-printable, escaped as in JSON.
    forms: Vec<Vec<u8>>,
    /// Base64 keeps its capitals: the middle of the three alignments, for the text as it is and in lower case.
    exact: Vec<Vec<u8>>,
}

impl Needle {
    fn of(text: &'static str) -> Needle {
        let lower = text.to_lowercase();
        let encoded = |sign: &str, bytes: &[u8]| bytes.iter().map(|byte| format!("{sign}{byte:02x}")).collect::<String>();
        let special = |sign: &str| -> String {
            lower
                .bytes()
                .map(|byte| {
                    if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) {
                        (byte as char).to_string()
                    } else {
                        format!("{sign}{byte:02x}")
                    }
                })
                .collect()
        };
        let escaped: String =
            lower.chars().map(|c| if c.is_ascii() { c.to_string() } else { format!("\\u{:04x}", u32::from(c)) }).collect();
        let upper: String =
            text.chars().map(|c| if c.is_ascii() { c.to_lowercase().to_string() } else { format!("\\u{:04x}", u32::from(c)) }).collect();
        let forms = [
            lower.clone(),
            encoded("", lower.as_bytes()),
            encoded("", text.as_bytes()),
            encoded("%", lower.as_bytes()),
            special("%"),
            special("="),
            // The text with its own capitals where they are not of ASCII.
            text.bytes().map(|byte| if byte.is_ascii() { byte.to_ascii_lowercase() as char } else { ' ' }).collect::<String>(),
            text.bytes().fold(String::new(), |out, byte| {
                if byte.is_ascii_alphanumeric() {
                    out + &(byte.to_ascii_lowercase() as char).to_string()
                } else {
                    out + &format!("={byte:02x}")
                }
            }),
            text.bytes().fold(String::new(), |out, byte| {
                if byte.is_ascii_alphanumeric() {
                    out + &(byte.to_ascii_lowercase() as char).to_string()
                } else {
                    out + &format!("%{byte:02x}")
                }
            }),
            escaped,
            upper,
        ];
        let forms: BTreeSet<Vec<u8>> =
            forms.into_iter().filter(|form| !form.contains(' ') || text.contains(' ')).map(String::into_bytes).collect();
        let exact = [text.to_string(), lower]
            .iter()
            .flat_map(|text| (0..3).map(|shift| aligned(text.as_bytes(), shift)).collect::<Vec<_>>())
            .collect();
        Needle { text, forms: forms.into_iter().collect(), exact }
    }

    fn is_in(&self, exact: &[u8], lower: &[u8]) -> bool {
        self.forms.iter().any(|form| memchr::memmem::find(lower, form).is_some())
            || self.exact.iter().any(|form| memchr::memmem::find(exact, form).is_some())
    }
}

/// What stands in the middle of a base64 text in which these bytes begin so many bytes after a border.
fn aligned(bytes: &[u8], shift: usize) -> Vec<u8> {
    let mut padded = vec![0; shift];
    padded.extend_from_slice(bytes);
    let text = STANDARD.encode(&padded);
    // The first and last group depend on the neighbours.
    let from = if shift == 0 { 0 } else { 4 };
    let to = padded.len() / 3 * 4;
    text.as_bytes()[from..to].to_vec()
}

/// One person's needles.
pub struct Needles(Vec<Needle>);

impl Needles {
    pub fn of(texts: &[&'static str]) -> Needles {
        let needles: Vec<Needle> = texts.iter().map(|text| Needle::of(text)).collect();
        assert!(needles.iter().all(|needle| needle.exact.iter().all(|form| form.len() >= 4)), "a needle is too short");
        Needles(needles)
    }

    /// Which needles are in these bytes, or in what is packed in them.
    pub fn found_in(&self, bytes: &[u8]) -> BTreeSet<&'static str> {
        let mut found = BTreeSet::new();
        // Soft line ends of quoted-printable, and the line ends of base64.
        let joined = replaced(&replaced(bytes, b"=\r\n"), b"=\n");
        let unbroken = replaced(&replaced(bytes, b"\r\n"), b"\n");
        for hay in [bytes, &joined, &unbroken] {
            let lower = String::from_utf8_lossy(hay).to_lowercase();
            found.extend(self.0.iter().filter(|needle| needle.is_in(hay, lower.as_bytes())).map(|needle| needle.text));
        }
        // The magic number of Zstandard, anywhere.
        for at in memchr::memmem::find_iter(bytes, &[0x28, 0xb5, 0x2f, 0xfd]) {
            let mut text = Vec::new();
            if let Ok(decoder) = zstd::stream::read::Decoder::new(&bytes[at..]) {
                let _ = std::io::Read::read_to_end(&mut std::io::Read::take(decoder.single_frame(), 1 << 22), &mut text);
            }
            if !text.is_empty() && text.len() < 1 << 22 {
                found.extend(self.found_in(&text));
            }
        }
        found
    }

    /// `PLACE: NEEDLE` for every table and column in which one is found.
    pub async fn found_in_tables(&self, store: &Store) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let columns: Vec<(String, String, String)> = match store {
            Store::Sqlite(sqlite) => sqlx::query_as(
                "SELECT m.name, p.name, p.type FROM sqlite_master m JOIN pragma_table_info(m.name) p WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'",
            )
            .fetch_all(&sqlite.read)
            .await
            .unwrap(),
            Store::Postgres(pool) => sqlx::query_as(
                "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT), CAST(data_type AS TEXT) FROM information_schema.columns
                 WHERE table_schema NOT IN ('pg_catalog', 'information_schema')",
            )
            .fetch_all(pool)
            .await
            .unwrap(),
        };
        assert!(columns.len() > 100, "the catalogue was not read");
        for (table, column, kind) in columns {
            let is_bytes = matches!(kind.to_uppercase().as_str(), "BLOB" | "BYTEA");
            let sql = match is_bytes {
                true => format!("SELECT \"{column}\" FROM \"{table}\" WHERE \"{column}\" IS NOT NULL"),
                false => format!("SELECT CAST(\"{column}\" AS TEXT) FROM \"{table}\" WHERE \"{column}\" IS NOT NULL"),
            };
            let sql = sqlx::AssertSqlSafe(sql);
            let values: Vec<Vec<u8>> = if is_bytes {
                let rows: Vec<(Vec<u8>,)> = posthaste::on_pool!(store, pool => sqlx::query_as(sql).fetch_all(pool).await.unwrap());
                rows.into_iter().map(|row| row.0).collect()
            } else {
                let rows: Vec<(String,)> = posthaste::on_pool!(store, pool => sqlx::query_as(sql).fetch_all(pool).await.unwrap());
                rows.into_iter().map(|row| row.0.into_bytes()).collect()
            };
            for value in values {
                found.extend(self.found_in(&value).into_iter().map(|needle| format!("{table}.{column}: {needle}")));
            }
        }
        found
    }

    /// `FILE: NEEDLE` for every file under a folder.
    pub fn found_in_files(&self, folder: &Path) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut folders = vec![folder.to_path_buf()];
        while let Some(inside) = folders.pop() {
            for entry in std::fs::read_dir(&inside).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                let content = std::fs::read(&path).unwrap();
                found.extend(self.found_in(name.as_bytes()).union(&self.found_in(&content)).map(|needle| format!("{name}: {needle}")));
            }
        }
        found
    }
}

fn replaced(bytes: &[u8], what: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut from = 0;
    for at in memchr::memmem::find_iter(bytes, what) {
        out.extend_from_slice(&bytes[from..at]);
        from = at + what.len();
    }
    out.extend_from_slice(&bytes[from..]);
    out
}

#[test]
fn a_needle_is_found_in_whatever_form_it_comes() {
    let needles = Needles::of(&["Zephyrine", "Зефірина"]);
    let both = |bytes: &[u8]| needles.found_in(bytes).len();
    assert_eq!(both("to zEPHYRINE and ЗЕФІРИНА".as_bytes()), 2);
    assert_eq!(both(hex::encode("xZephyrinex Зефірина").as_bytes()), 2);
    assert_eq!(both(hex::encode_upper("xzephyrinex зефірина").as_bytes()), 2);
    for shift in 0..3 {
        assert_eq!(both(STANDARD.encode(format!("{}Zephyrine, Зефірина!", "x".repeat(shift))).as_bytes()), 2, "{shift}");
    }
    let base64 = STANDARD.encode("Dear Zephyrine, dear Зефірина!");
    assert_eq!(both(format!("{}\r\n{}", &base64[..9], &base64[9..]).as_bytes()), 2);
    assert_eq!(both(b"Zephy=\r\nrine =D0=97=D0=B5=D1=84=D1=96=D1=80=D0=B8=D0=BD=D0=B0"), 2);
    assert_eq!(both(b"q=zephyrine&n=%D0%97%D0%B5%D1%84%D1%96%D1%80%D0%B8%D0%BD%D0%B0"), 2);
    assert_eq!(both(br#"{"a":"Zephyrine","b":"\u0417\u0435\u0444\u0456\u0440\u0438\u043d\u0430"}"#), 2);
    assert_eq!(both(&[b"some".to_vec(), zstd::encode_all("Zephyrine Зефірина".as_bytes(), 1).unwrap()].concat()), 2);
    assert_eq!(both(b"Zephyr and his friends"), 0);
}
