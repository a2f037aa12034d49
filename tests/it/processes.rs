//! The built command as a process, and real receivers beside it.

use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What a command printed.
pub struct Output {
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON ({error}):\n{}\n{}", self.stdout, self.stderr))
    }
}

/// Runs `posthaste` in a workspace; anything but success fails the test with what it said.
pub fn posthaste(workspace: &Path, database: &str, arguments: &[&str]) -> Output {
    let output = command(workspace, database, arguments).output().unwrap();
    let said = Output { stdout: String::from_utf8_lossy(&output.stdout).into(), stderr: String::from_utf8_lossy(&output.stderr).into() };
    assert!(output.status.success(), "posthaste {}: {}\n{}\n{}", arguments.join(" "), output.status, said.stdout, said.stderr);
    said
}

/// The command, not started yet. POSTHASTE_BINARY names another build of it, for what is measured in release.
pub fn command(workspace: &Path, database: &str, arguments: &[&str]) -> Command {
    let built = std::env::var_os("POSTHASTE_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_posthaste").into());
    let mut command = Command::new(built);
    command.args(arguments).args(["--database", database]).current_dir(workspace).stdin(Stdio::null());
    command
}

/// A port of this machine that nobody listens on.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Postfix's smtp-sink, which counts and throws away.
pub struct SmtpSink {
    port: u16,
    counted: std::path::PathBuf,
    child: Child,
    _folder: tempfile::TempDir,
}

impl SmtpSink {
    pub fn start() -> SmtpSink {
        let folder = tempfile::tempdir().unwrap();
        let counted = folder.path().join("counted");
        let port = free_port();
        let sink = ["/usr/sbin/smtp-sink", "/usr/local/sbin/smtp-sink"].into_iter().find(|path| Path::new(path).exists());
        let mut command = match sink {
            Some(sink) => {
                let mut command = Command::new(sink);
                // As root it wants to become somebody else.
                if Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.starts_with(b"0")) {
                    command.args(["-u", "nobody"]);
                }
                command.args(["-c", &format!("127.0.0.1:{port}"), "1000"]);
                command
            }
            None => {
                eprintln!("Postfix's smtp-sink is not installed: our own catcher receives instead");
                let mut command = Command::new(env!("CARGO_BIN_EXE_posthaste"));
                command.args(["catcher", "--smtp", &format!("127.0.0.1:{port}"), "--count"]);
                command
            }
        };
        let output = std::fs::File::create(&counted).unwrap();
        let child = command.stdin(Stdio::null()).stdout(output).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "the receiver did not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        SmtpSink { port, counted, child, _folder: folder }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The last `mesg=N` that the sink printed.
    pub fn received(&self) -> u64 {
        let text = std::fs::read_to_string(&self.counted).unwrap_or_default();
        text.rsplit("mesg=").next().and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()).unwrap_or(0)
    }

    pub fn assert_received(&self, expected: u64, name: &str) {
        assert_eq!(self.received(), expected, "{name}: letters at the receiver");
    }
}

impl Drop for SmtpSink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
