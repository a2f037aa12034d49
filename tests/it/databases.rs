//! Fresh databases for a test: a SQLite file, and a database on a private temporary PostgreSQL server.
//!
//! PostgreSQL is looked for on the machine (PATH, then Debian's /usr/lib/postgresql/N/bin). Where there is none, one line says so and
//! the tests run on SQLite alone, unless POSTHASTE_REQUIRE_POSTGRES is set: then it is a failure.

use posthaste::store::Store;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// An empty, migrated database; its files go when it is dropped.
pub struct Database {
    pub name: &'static str,
    pub store: Store,
    #[allow(dead_code, reason = "used by stories that start a process")]
    pub url: String,
    _folder: tempfile::TempDir,
}

/// One of each kind that this machine has.
pub async fn databases() -> Vec<Database> {
    let mut all = vec![sqlite().await];
    all.extend(postgres().await);
    all
}

pub async fn sqlite() -> Database {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("posthaste.db").display());
    Database { name: "sqlite", store: Store::open(&url).await.unwrap(), url, _folder: folder }
}

pub async fn postgres() -> Option<Database> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let server = server()?;
    let url = server.database(&format!("test_{}", NUMBER.fetch_add(1, Ordering::SeqCst))).await;
    Some(Database { name: "postgres", store: Store::open(&url).await.unwrap(), url, _folder: tempfile::tempdir().unwrap() })
}

/// The private server, started once a process.
fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER
        .get_or_init(|| {
            let started = Server::start("127.0.0.1");
            if let Err(why) = &started {
                assert!(std::env::var_os("POSTHASTE_REQUIRE_POSTGRES").is_none(), "PostgreSQL is required here: {why}");
                eprintln!("PostgreSQL is left out of the tests: {why}");
            }
            started.ok()
        })
        .as_ref()
}

/// A private temporary PostgreSQL; it stops when this process ends.
pub struct Server {
    port: u16,
}

impl Server {
    pub fn url(&self, host: &str, database: &str) -> String {
        format!("postgres://postgres@{host}:{}/{database}", self.port)
    }

    /// A new database; gives its address on this machine.
    pub async fn database(&self, name: &str) -> String {
        let Store::Postgres(admin) = Store::connect(&self.url("127.0.0.1", "postgres")).await.unwrap() else { unreachable!() };
        sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&admin).await.unwrap();
        admin.close().await;
        self.url("127.0.0.1", name)
    }
}

fn programs() -> Option<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, bin)| bin.join("initdb").exists())
        .collect();
    versions.sort();
    let on_path = std::env::var_os("PATH").and_then(|path| std::env::split_paths(&path).find(|folder| folder.join("initdb").exists()));
    versions.pop().map(|(_, bin)| bin).or(on_path)
}

impl Server {
    /// Listens at `address`; who reaches it there may come in.
    pub fn start(address: &str) -> Result<Server, String> {
        let bin = programs().ok_or("no initdb was found on PATH or under /usr/lib/postgresql")?;
        let folder = std::env::temp_dir().join(format!("posthaste-postgres-{}-{address}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        // initdb refuses root: there everything runs as the user postgres.
        let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.starts_with(b"0"));
        if root {
            run(Command::new("chown").arg("postgres").arg(&folder))?;
        }
        let data = folder.join("data");
        run(&mut as_postgres(
            root,
            &bin.join("initdb"),
            &["-D", path(&data), "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"],
        ))?;
        if address != "127.0.0.1" {
            let rules = data.join("pg_hba.conf");
            let known = std::fs::read_to_string(&rules).map_err(|error| error.to_string())?;
            std::fs::write(&rules, format!("{known}\nhost all all 10.231.0.0/16 trust\n")).map_err(|error| error.to_string())?;
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .map_err(|error| error.to_string())?
            .port();
        // The shell waits for the end of its input, which is the end of this process, and stops the server then.
        let script = format!(
            "{bin}/postgres -D {data} -k {folder} -h {address} -p {port} -c fsync=off -c max_connections=300 -c log_min_messages=fatal -c max_wal_size=1GB >{folder}/log 2>&1 & \
         server=$!; read _ignored; kill -QUIT $server; wait $server; rm -rf {folder}",
            bin = bin.display(),
            data = data.display(),
            folder = folder.display()
        );
        let mut shell = as_postgres(root, Path::new("/bin/sh"), &["-c", &script]);
        let child = shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(|error| error.to_string())?;
        std::mem::forget(child);
        for _ in 0..200 {
            if Command::new(bin.join("pg_isready"))
                .args(["-h", "127.0.0.1", "-p", &port.to_string()])
                .output()
                .is_ok_and(|output| output.status.success())
            {
                return Ok(Server { port });
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Err(format!("the server did not start: {}", std::fs::read_to_string(folder.join("log")).unwrap_or_default()))
    }
}

fn as_postgres(root: bool, program: &Path, arguments: &[&str]) -> Command {
    let mut command = if root { Command::new("setpriv") } else { Command::new(program) };
    if root {
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
    }
    command.args(arguments).current_dir("/");
    command
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

#[tokio::test]
async fn a_fresh_database_is_migrated_and_a_second_time_changes_nothing() {
    for database in databases().await {
        database.store.migrate().await.unwrap_or_else(|error| panic!("{}: {error}", database.name));
    }
}
