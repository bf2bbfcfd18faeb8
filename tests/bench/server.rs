//! The servers that are compared: each a process of its own, pinned to one core, stopped with its handle.

use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// The vault as it ships.
const VAULT: &str = env!("CARGO_BIN_EXE_vault-engine");

/// The core the servers take turns on. The load has the other one, and shares it with the stores.
const SERVER_CORE: &str = "0";
const LOAD_CORE: &str = "1";

/// How long a server may take to be ready.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running server.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
}

/// Processor time a process has used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CpuTime(Duration);

// === impl Server ===

impl Server {
    /// This binary in one of its roles.
    pub(crate) fn echo(role: &[&str]) -> Result<Self, Box<dyn Error>> {
        let mut command = pinned(std::env::current_exe()?);
        let mut child = command.args(role).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("no standard output")?;
        Self::ready(child, output)
    }

    /// The vault, with this configuration.
    pub(crate) fn vault(data: &Path, config: &Path) -> Result<Self, Box<dyn Error>> {
        let mut command = pinned(VAULT);
        command.args(["dev", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data).arg("--config").arg(config);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let output = child.stderr.take().ok_or("no standard error")?;
        Self::ready(child, output)
    }

    /// Gives the store of a configuration its schema.
    pub(crate) fn migrate(config: &Path) -> Result<(), Box<dyn Error>> {
        let done = Command::new(VAULT).arg("migrate").arg("--config").arg(config).output()?;
        if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into()) }
    }

    /// Reads what the server says until it names its address, and on to the end, so that it is never held up.
    fn ready(child: Child, output: impl Read + Send + 'static) -> Result<Self, Box<dyn Error>> {
        let (line_seen, lines) = channel();
        thread::spawn(move || {
            BufReader::new(output).lines().map_while(Result::ok).for_each(|line| drop(line_seen.send(line)));
        });
        let mut server = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        loop {
            let line = lines.recv_timeout(PATIENCE).map_err(|_| "a server does not start")?;
            let named = line.split_once("http://").map(|(_, rest)| rest.split([',', ' ']).next().unwrap_or(rest));
            if let Some(address) = named.and_then(|address| address.parse().ok()) {
                server.address = address;
                return Ok(server);
            }
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has used of its core so far, all threads together.
    pub(crate) fn cpu_time(&self) -> Result<CpuTime, Box<dyn Error>> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The second field is the name in parentheses and may hold anything; time in user and kernel mode are the 12th
        // and 13th after it, in hundredths of a second on every Linux there is.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks = after_name.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
        Ok(CpuTime(Duration::from_millis(ticks * 10)))
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident(&self) -> Result<u64, Box<dyn Error>> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kibibytes * 1_024)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

// === impl CpuTime ===

impl CpuTime {
    pub(crate) fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Moves this process, and what it will start, to the core of the load.
pub(crate) fn move_to_the_core_of_the_load() -> Result<(), Box<dyn Error>> {
    let pid = std::process::id().to_string();
    let done = Command::new("taskset").args(["-pc", LOAD_CORE, &pid]).stdout(Stdio::null()).status()?;
    if done.success() { Ok(()) } else { Err("taskset cannot pin: this needs two cores".into()) }
}

fn pinned(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", SERVER_CORE]).arg(program);
    command
}
