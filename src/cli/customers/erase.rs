//! `posthaste customers erase` and `erase-again`.

use crate::cli::{Exit, Global};
use crate::config::Workspace;
use crate::customers::keys::Keys;
use crate::engine::erasing::{self, LIST};
use crate::store::customers::Customer;
use crate::store::{Dialect, Store};
use anyhow::Context;
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

/// Files of the workspace that are named at most.
const NAMED: usize = 20;
/// Larger files are not looked through.
const LARGEST: u64 = 256 << 20;

pub async fn erase(global: &Global, store: &Store, keys: &Keys, customer: &Customer, yes: bool) -> anyhow::Result<Exit> {
    let workspace = global.workspace();
    let touched = store.erasure(customer.id).await?;
    let name = customer.external_id.as_deref().map_or_else(String::new, |external_id| format!(" `{external_id}`"));
    eprintln!(
        "Erasing the customer #{}{name}: {} addresses, {} attributes, properties of {} events, addresses of {} messages, proofs of {} consents. \
         This cannot be undone",
        customer.id,
        touched.addresses,
        customer.attributes.len(),
        touched.events,
        touched.messages,
        touched.consents
    );
    for other in store.sharing_with(customer.id).await? {
        eprintln!(
            "The customer #{other} has one of these addresses too: that customer stays, and nothing is sent to this address any more"
        );
    }
    if !yes && !confirmed("Erase? Write yes: ")? {
        eprintln!("Nothing was erased");
        return Ok(Exit::Refused);
    }
    let list = workspace.folder.join(LIST);
    let done = erasing::erase(store, keys, &list, customer, &who(&workspace), global.clock().now()).await?;
    eprintln!("The customer #{} is erased", customer.id);
    if done.forgotten.waiting > 0 {
        eprintln!(
            "{} webhooks that nobody has read yet name the person: `posthaste run` reads them, and drops that",
            done.forgotten.waiting
        );
    }
    match (store.dialect(), done.is_scoured) {
        (Dialect::Sqlite, true) => {}
        (Dialect::Sqlite, false) => eprintln!(
            "Something reads the database just now, so its log (the file ending in -wal) still holds what was erased: it goes when the log is next emptied; \
             erase-again tries it"
        ),
        (Dialect::Postgres, true) => eprintln!(
            "PostgreSQL was told to free the space (VACUUM). Bytes of it may stay in its files until they are written over (VACUUM FULL does that at once, \
             and keeps everybody out meanwhile), and in archived WAL"
        ),
        (Dialect::Postgres, false) => {
            eprintln!("PostgreSQL did not let us free the space: let the owner of the tables run VACUUM, or leave it to autovacuum")
        }
    }
    let (files, large) = files_naming(&workspace.folder, customer);
    if !files.is_empty() {
        eprintln!("These files are yours and still name the person; delete them, or take the person out:");
        files.iter().take(NAMED).for_each(|path| eprintln!("  {}", path.display()));
        if files.len() > NAMED {
            eprintln!("  and {} more", files.len() - NAMED);
        }
    }
    large.iter().for_each(|path| eprintln!("{} is too large to be looked through", path.display()));
    eprintln!(
        "Backups from before name the person until they run out; whoever restores one keeps {}: the engine erases again when it starts",
        list.display()
    );
    Ok(Exit::Done)
}

/// Erases whom the list names, in a database that was restored from an older backup.
pub async fn again(global: &Global, store: &Store, keys: &Keys, list: Option<&Path>) -> anyhow::Result<Exit> {
    let workspace = global.workspace();
    let own = workspace.folder.join(LIST);
    let now = global.clock().now();
    if let Some(list) = list.filter(|list| **list != own) {
        anyhow::ensure!(list.exists(), "there is no list of erasures {}", list.display());
        let found = erasing::again(store, keys, list, &who(&workspace), now).await?;
        tell(list, &found);
    }
    let found = erasing::again(store, keys, &own, &who(&workspace), now).await?;
    tell(&own, &found);
    if !store.scour().await? {
        eprintln!("What was erased may still be in the files of the database: something reads it just now, or we may not free its space");
    }
    Ok(Exit::Done)
}

/// Says what the list has led to, where it is anything.
pub fn tell(list: &Path, again: &erasing::Again) {
    if again.new_keys > 0 {
        eprintln!(
            "{} names {} addresses and external ids that this database did not know as erased: {} people were erased again",
            list.display(),
            again.new_keys,
            again.people
        );
    }
}

/// What a start of the engine does with the list of its workspace.
pub async fn at_start(workspace: &Workspace, store: &Store, keys: &Keys, now: crate::types::Time) -> anyhow::Result<()> {
    let list = workspace.folder.join(LIST);
    let found = erasing::again(store, keys, &list, "posthaste", now).await.context("the list of erasures could not be followed")?;
    tell(&list, &found);
    Ok(())
}

fn who(workspace: &Workspace) -> String {
    workspace.secrets.get("USER").unwrap_or("command line").to_string()
}

/// Asks on the terminal; without one the answer is no.
fn confirmed(question: &str) -> std::io::Result<bool> {
    if !std::io::stdin().is_terminal() {
        eprintln!("Nobody is there to ask: add --yes");
        return Ok(false);
    }
    eprint!("{question}");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("yes"))
}

/// Files of the workspace in which an address or the external id of the person stands (imports, rejected rows, exports), and those too large to look
/// through. The database and what belongs to git are left out.
fn files_naming(folder: &Path, customer: &Customer) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let needles = Needles::of(customer);
    let (mut found, mut large) = (Vec::new(), Vec::new());
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && name != ".git" {
                folders.push(path);
            } else if kind.is_file() && !is_database(&path) {
                match entry.metadata().is_ok_and(|about| about.len() > LARGEST) {
                    true => large.push(path),
                    false if std::fs::read(&path).is_ok_and(|content| needles.are_in(&content)) => found.push(path),
                    false => {}
                }
            }
        }
    }
    found.sort();
    (found, large)
}

fn is_database(path: &Path) -> bool {
    let name = path.to_string_lossy();
    let is_sqlite = || {
        let mut start = [0; 16];
        std::fs::File::open(path).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut start)).is_ok()
            && start == *b"SQLite format 3\0"
    };
    name.ends_with("-wal") || name.ends_with("-shm") || is_sqlite()
}

/// What the person is called in files.
struct Needles {
    /// In lower case.
    words: Vec<String>,
    /// The last nine digits, however they are set apart.
    numbers: Vec<String>,
}

impl Needles {
    fn of(customer: &Customer) -> Needles {
        let mut needles = Needles { words: Vec::new(), numbers: Vec::new() };
        for address in &customer.addresses {
            match address.address.strip_prefix('+') {
                Some(digits) if digits.len() > 9 => needles.numbers.extend(digits.get(digits.len() - 9..).map(str::to_string)),
                _ => needles.words.push(address.address.to_lowercase()),
            }
        }
        // A short one stands in any file.
        needles.words.extend(customer.external_id.as_deref().filter(|id| id.len() >= 8).map(str::to_lowercase));
        needles
    }

    fn are_in(&self, content: &[u8]) -> bool {
        let text = String::from_utf8_lossy(content).to_lowercase();
        if self.words.iter().any(|word| text.contains(word)) {
            return true;
        }
        let together: String = text.chars().filter(|c| !matches!(c, ' ' | '-' | '(' | ')' | '\u{a0}')).collect();
        self.numbers.iter().any(|number| together.contains(number))
    }
}
