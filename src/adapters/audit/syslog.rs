//! The trail once more, to a syslog daemon on this machine (RFC 5424, one datagram per line). It is a copy: whatever
//! becomes of it, no call waits for it, and the trail is the file.

use std::io::{self, Write as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use super::chain::Link;

/// The way to the daemon.
pub(super) struct Syslog {
    path: PathBuf,
    socket: UnixDatagram,
    connected: bool,
    process: u32,
    /// Lines it did not take since it last took one.
    lost: u64,
    message: Vec<u8>,
}

/// Facility `log audit` (13), severity `informational` (6).
const PRIORITY: u8 = 13 * 8 + 6;

// === impl Syslog ===

impl Syslog {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        let process = std::process::id();
        Ok(Self { path: path.to_owned(), socket, connected: false, process, lost: 0, message: Vec::new() })
    }

    /// Sends lines, as far as the daemon takes them at once.
    pub(super) fn send_all(&mut self, lines: &[u8]) {
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match self.send(line) {
                Ok(()) if self.lost > 0 => {
                    tracing::warn!(lines = self.lost, "syslog takes audit lines again; it lacks some");
                    self.lost = 0;
                }
                Ok(()) => {}
                Err(error) => {
                    if self.lost == 0 {
                        tracing::error!(alarm = "audit_syslog", %error, "syslog does not take audit lines");
                    }
                    self.lost = self.lost.saturating_add(1);
                }
            }
        }
    }

    fn send(&mut self, line: &[u8]) -> io::Result<()> {
        let timestamp = Link::parse(line).map_or("-", |link| link.timestamp);
        self.message.clear();
        write!(self.message, "<{PRIORITY}>1 {timestamp} - vault-engine {} audit - ", self.process)?;
        self.message.extend_from_slice(line);
        if !self.connected {
            self.socket.connect(&self.path)?;
            self.connected = true;
        }
        match self.socket.send(&self.message) {
            Ok(_) => Ok(()),
            // Full, not gone.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            Err(_) => {
                // The daemon was started anew: its socket is another one now.
                self.connected = false;
                self.socket.connect(&self.path)?;
                self.connected = true;
                self.socket.send(&self.message).map(drop)
            }
        }
    }
}
