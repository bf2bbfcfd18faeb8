//! Processes of the binary under test. Each ends with its handle; none sees the environment of whoever runs the tests.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test harness fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "tests have no lifecycle to be drained")]

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::eventually::eventually;

/// No command may take longer, and no process longer to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A command line, not yet run.
pub(crate) struct CommandLine {
    command: Command,
    input: String,
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A process that goes on until it is stopped.
pub(crate) struct Running {
    child: Child,
    stdout: Output,
    stderr: Output,
}

/// What a process has written so far.
struct Output {
    lines: Arc<Mutex<Vec<String>>>,
    reader: JoinHandle<()>,
}

/// `vault-engine` with these arguments.
pub(crate) fn vault_engine<S: AsRef<str>>(arguments: impl IntoIterator<Item = S>) -> CommandLine {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vault-engine"));
    command.env_clear();
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.args(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    CommandLine { command, input: String::new() }
}

// === impl CommandLine ===

impl CommandLine {
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.command.env(name, value.as_ref());
        self
    }

    pub(crate) fn current_dir(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// What it reads from its standard input.
    pub(crate) fn input(mut self, text: impl Into<String>) -> Self {
        self.input = text.into();
        self
    }

    /// Runs it to its end.
    pub(crate) async fn run(self) -> Ended {
        let mut running = self.start().await;
        let code = running.ended().await;
        let (stdout, stderr) = (running.stdout.until_the_end().await, running.stderr.until_the_end().await);
        Ended { code, stdout, stderr }
    }

    /// Starts it and lets it run.
    pub(crate) async fn start(mut self) -> Running {
        let mut child = self.command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A command that does not read its input may end before it is written.
        let _ = stdin.write_all(self.input.as_bytes()).await;
        drop(stdin);
        let (stdout, stderr) = (Output::of(child.stdout.take().unwrap()), Output::of(child.stderr.take().unwrap()));
        Running { child, stdout, stderr }
    }

    /// Starts it and waits until it serves; where, is the second part.
    pub(crate) async fn serving(self) -> (Running, String) {
        self.serving_or_ended().await.unwrap_or_else(|said| panic!("{said}"))
    }

    /// The same; what it said if it ended instead.
    pub(crate) async fn serving_or_ended(self) -> Result<(Running, String), String> {
        let mut vault = self.start().await;
        let address = eventually("the vault serves or ends", async || {
            let ended = vault.child.try_wait().unwrap();
            let serving = vault.logged("serving").map(|line| line["address"].as_str().unwrap().to_owned());
            serving.map(Ok).or(ended.map(Err))
        });
        let address = address.await.map_err(|status| format!("{status}\n{}", vault.stderr()))?;
        Ok((vault, format!("http://{address}")))
    }
}

// === impl Running ===

impl Running {
    /// What it wrote to its standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// The first line of the log with this message, if there is one yet.
    pub(crate) fn logged(&self, message: &str) -> Option<Value> {
        let lines = self.stderr.lines.lock().unwrap();
        let mut entries = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        entries.find(|entry| entry["message"] == message)
    }

    /// Stops reading its log, as a collector does that dies.
    pub(crate) async fn stop_listening(&mut self) {
        self.stderr.reader.abort();
        let gone = (&mut self.stderr.reader).await;
        assert!(gone.is_err_and(|error| error.is_cancelled()));
    }

    /// Asks it to end.
    pub(crate) async fn terminate(&self) {
        self.signal("-TERM").await;
    }

    /// Stops it in its tracks: its connections stay open, nothing answers.
    pub(crate) async fn pause(&self) {
        self.signal("-STOP").await;
    }

    /// Lets it go on.
    pub(crate) async fn resume(&self) {
        self.signal("-CONT").await;
    }

    async fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args([name, &id]).status().await.unwrap().success());
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Resident memory in mebibytes; `None`: it has ended.
    pub(crate) fn resident_mebibytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kibibytes| kibibytes / 1_024)
    }

    /// Lets it open as many files as it has open now, and no more.
    pub(crate) async fn open_no_more_files(&self) {
        let open = fs::read_dir(format!("/proc/{}/fd", self.child.id().unwrap())).unwrap();
        // The lowest number that is free is the next one.
        let taken: Vec<usize> = open.map(|fd| fd.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
        let free = (0..=taken.len()).find(|number| !taken.contains(number)).unwrap();
        self.limit_files(&format!("{free}:")).await;
    }

    /// Lets it open files again.
    pub(crate) async fn open_files_again(&self) {
        self.limit_files("1024:").await;
    }

    async fn limit_files(&self, limit: &str) {
        let id = self.child.id().unwrap().to_string();
        let limit = format!("--nofile={limit}");
        assert!(Command::new("prlimit").args(["--pid", &id, &limit]).status().await.unwrap().success());
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Ends it as a power cut would.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Ends it as a power cut would, and tells all it wrote to its standard error before.
    pub(crate) async fn last_words(&mut self) -> String {
        self.kill().await;
        self.stderr.until_the_end().await
    }

    /// Waits for its end. `None`: a signal ended it.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("it does not end\n{}", self.stderr())).unwrap().code()
    }
}

// === impl Output ===

impl Output {
    fn of(pipe: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        let reader = tokio::spawn(async move {
            let mut pipe = BufReader::new(pipe).lines();
            while let Ok(Some(line)) = pipe.next_line().await {
                kept.lock().unwrap().push(line);
            }
        });
        Self { lines, reader }
    }

    fn text(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    async fn until_the_end(&mut self) -> String {
        tokio::time::timeout(PATIENCE, &mut self.reader).await.unwrap().unwrap();
        self.lines.lock().unwrap().join("\n")
    }
}

// === impl Ended ===

impl Ended {
    /// What it wrote, if it went well.
    #[track_caller]
    pub(crate) fn succeeded(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.stdout
    }

    /// What it said was wrong, if it did not.
    #[track_caller]
    pub(crate) fn failed(self) -> String {
        assert_eq!(self.code, Some(1), "{}{}", self.stdout, self.stderr);
        self.stderr
    }
}
