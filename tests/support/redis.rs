//! A real `redis-server` for one test: started on free ports in a directory of its own, stopped with the handle.
//!
//! It can be paused, resumed, killed and started again on the same port and data. What a test asks *as an operator* goes
//! over a plain connection of its own, so that it never meets the client under test.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test harness fails by panicking")]

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::started::once_it_says;

/// The user of a secured server, with the rights a vault needs and no more.
pub(crate) const USERNAME: &str = "vault";
/// The password of that user.
pub(crate) const PASSWORD: &str = "vault-pw";

/// What a vault needs, and no more. The documentation says the same.
pub(crate) const RIGHTS: &str = "~vault:* resetchannels -@all +hget +hgetall +hset +zadd +zrem +zrange +xadd +xrange +xrevrange \
                      +xinfo|stream +eval +evalsha +ping +client|tracking";

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What kind of server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RedisOptions {
    /// TLS with client certificates, and a user with few rights.
    pub(crate) secured: bool,
    /// Writes are on the disk before they are acknowledged.
    pub(crate) durable: bool,
    /// What happens when memory runs short.
    pub(crate) maxmemory_policy: &'static str,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct RedisServer {
    child: Child,
    directory: TempDir,
    options: RedisOptions,
    role: Role,
    port: u16,
    tls_port: u16,
}

/// What the program does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    KeepsData,
    WatchesOthers,
}

// === impl RedisOptions ===

impl Default for RedisOptions {
    fn default() -> Self {
        Self { secured: false, durable: false, maxmemory_policy: "noeviction" }
    }
}

// === impl RedisServer ===

impl RedisServer {
    /// Starts a server and waits until it is ready.
    pub(crate) fn start(options: RedisOptions) -> Self {
        Self::start_with(options, |_| String::new())
    }

    /// Starts a server with more lines of configuration, which may depend on a second free port.
    pub(crate) fn start_with(options: RedisOptions, more: impl Fn(u16) -> String) -> Self {
        Self::start_as(Role::KeepsData, options, more)
    }

    /// Starts a sentinel with these lines of configuration.
    pub(crate) fn start_sentinel(lines: &str) -> Self {
        Self::start_as(Role::WatchesOthers, RedisOptions::default(), |_| lines.to_owned())
    }

    fn start_as(role: Role, options: RedisOptions, more: impl Fn(u16) -> String) -> Self {
        let directory = TempDir::new().unwrap();
        if options.secured {
            make_certificates(directory.path());
        }
        // A port that was free a moment ago may be taken by now.
        for _ in 0..5 {
            let (port, tls_port) = (free_port(), free_port());
            write_configuration(directory.path(), role, options, port, tls_port, &more(tls_port));
            if let Ok(child) = launch(directory.path(), role) {
                return Self { child, directory, options, role, port, tls_port };
            }
        }
        panic!("redis-server does not start");
    }

    /// The port in the clear.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The port with TLS, of a secured server.
    pub(crate) fn tls_port(&self) -> u16 {
        assert!(self.options.secured);
        self.tls_port
    }

    /// A file made for TLS: `ca.crt`, `client.crt`, `client.key`.
    pub(crate) fn tls_file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Stops it in its tracks: connections stay open, nothing answers.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    /// Kills it (SIGKILL); what was not on the disk is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again after a kill, on the same port with the same data.
    pub(crate) fn restart(&mut self) {
        self.child = launch(self.directory.path(), self.role).unwrap();
    }

    /// Whether anybody takes connections there: nobody does where it was killed.
    pub(crate) fn is_reachable(&self) -> bool {
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok()
    }

    /// Asks as an operator with all rights; the answer as text, without its type.
    pub(crate) fn ask(&self, command: &[&[u8]]) -> String {
        self.try_ask(command).unwrap_or_else(|refusal| panic!("the operator was told `{refusal}`"))
    }

    /// Asks as an operator with all rights; `Err` is what the server refuses with.
    pub(crate) fn try_ask(&self, command: &[&[u8]]) -> Result<String, String> {
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answers = BufReader::new(connection.try_clone().unwrap());
        if self.options.secured {
            send(&mut connection, &[b"AUTH", b"admin", b"admin-pw"]);
            assert_eq!(receive(&mut answers).unwrap(), "OK");
        }
        send(&mut connection, command);
        receive(&mut answers)
    }

    /// Lets the vault's user in with these rights and no others.
    pub(crate) fn allow(&self, rights: &str) {
        let password = format!(">{PASSWORD}");
        let mut command: Vec<&[u8]> =
            vec![b"ACL", b"SETUSER", USERNAME.as_bytes(), b"reset", b"on", password.as_bytes()];
        command.extend(rights.split_whitespace().map(str::as_bytes));
        self.ask(&command);
    }

    fn signal(&self, name: &str) {
        let done = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(done.success());
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // Also ends a paused one. It may be dead already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn write_configuration(directory: &Path, role: Role, options: RedisOptions, port: u16, tls_port: u16, more: &str) {
    if role == Role::WatchesOthers {
        let lines = format!("bind 127.0.0.1\nport {port}\ndir {}\n{more}", directory.display());
        return fs::write(directory.join("redis.conf"), lines).unwrap();
    }
    let mut lines = format!(
        "bind 127.0.0.1\nport {port}\ndir {}\nsave \"\"\ndaemonize no\nmaxmemory-policy {}\n",
        directory.display(),
        options.maxmemory_policy,
    );
    if options.durable {
        lines.push_str("appendonly yes\nappendfsync always\n");
    }
    if options.secured {
        let at = directory.display();
        writeln!(lines, "tls-port {tls_port}\ntls-auth-clients yes\naclfile {at}/users.acl").unwrap();
        writeln!(lines, "tls-ca-cert-file {at}/ca.crt\ntls-cert-file {at}/server.crt").unwrap();
        writeln!(lines, "tls-key-file {at}/server.key").unwrap();
        let users =
            format!("user default off\nuser {USERNAME} on >{PASSWORD} {RIGHTS}\nuser admin on >admin-pw ~* &* +@all\n");
        fs::write(directory.join("users.acl"), users).unwrap();
    }
    lines.push_str(more);
    fs::write(directory.join("redis.conf"), lines).unwrap();
}

/// Starts the server and reads its log until it is ready. `Err` holds the log of one that ended instead.
fn launch(directory: &Path, role: Role) -> Result<Child, String> {
    let (arguments, ready): (&[&str], _) = match role {
        Role::KeepsData => (&[], "Ready to accept connections"),
        Role::WatchesOthers => (&["--sentinel"], "+monitor master"),
    };
    let mut child = Command::new("redis-server")
        .arg(directory.join("redis.conf"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let log = child.stdout.take().unwrap();
    once_it_says(ready, child, log)
}

/// An authority, and certificates of it for the server (127.0.0.1) and for a client.
fn make_certificates(directory: &Path) {
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let openssl = |arguments: &[&str]| {
        let done = Command::new("openssl").args(arguments).current_dir(directory).output().unwrap();
        assert!(done.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    openssl(
        &[
            &["req", "-x509", "-days", "2", "-subj", "/CN=test authority"],
            &key[..],
            &["-keyout", "ca.key", "-out", "ca.crt"],
        ]
        .concat(),
    );
    for (name, extensions) in [
        ("server", "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n"),
        ("client", "subjectAltName=DNS:vault\nextendedKeyUsage=clientAuth\n"),
    ] {
        let [key_file, request, certificate, extension_file] =
            ["key", "csr", "crt", "ext"].map(|ending| format!("{name}.{ending}"));
        fs::write(directory.join(&extension_file), extensions).unwrap();
        let subject = format!("/CN={name}");
        openssl(&[&["req", "-new", "-subj", &subject], &key[..], &["-keyout", &key_file, "-out", &request]].concat());
        openssl(&[
            "x509",
            "-req",
            "-days",
            "2",
            "-in",
            &request,
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-extfile",
            &extension_file,
            "-out",
            &certificate,
        ]);
    }
}

fn send(connection: &mut TcpStream, command: &[&[u8]]) {
    let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
    for part in command {
        bytes.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        bytes.extend_from_slice(part);
        bytes.extend_from_slice(b"\r\n");
    }
    connection.write_all(&bytes).unwrap();
}

/// One answer: a status, a number, an error or a string.
fn receive(answers: &mut BufReader<TcpStream>) -> Result<String, String> {
    let mut line = String::new();
    // A server that changes its role closes connections.
    answers.read_line(&mut line).map_err(|error| error.to_string())?;
    let Some((kind, rest)) = line.trim_end().split_at_checked(1) else { return Err("nothing".to_owned()) };
    match kind {
        "$" if rest != "-1" => {
            let mut text = vec![0; rest.parse::<usize>().unwrap() + 2];
            answers.read_exact(&mut text).unwrap();
            text.truncate(text.len() - 2);
            Ok(String::from_utf8(text).unwrap())
        }
        "+" | ":" => Ok(rest.to_owned()),
        _ => Err(line.trim_end().to_owned()),
    }
}
