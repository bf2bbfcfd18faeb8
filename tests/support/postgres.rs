//! A real PostgreSQL: one server for all tests of a process, with a database for each, or one of a test's own.
//!
//! A server of its own can be paused, resumed, killed and started again on the same port and data. What a test asks *as an
//! operator* goes through `psql`, so that it never meets the client under test. Servers listen on 127.0.0.1 only, on free
//! ports and no socket, and end with their handle; that of all tests ends with the process, however that ends: a shell
//! that waits for it cleans up.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test harness fails by panicking")]

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::started::once_it_says;

/// The role a vault logs in as: it owns its databases and may do nothing else.
pub(crate) const USERNAME: &str = "vault";
/// Its password.
pub(crate) const PASSWORD: &str = "vault-pw";
/// A role that owns nothing, for tests that grant it something.
pub(crate) const STRANGER: &str = "stranger";

const OPERATOR: &str = "operator";
const OPERATOR_PASSWORD: &str = "operator-pw";

/// What ends a server whose test process is gone, and removes its directory: `$0`.
const JANITOR: &str = r#"
trap '' INT TERM HUP
read -r _
for server in $(head -n 1 "$0/data/postmaster.pid" 2>/dev/null); do
    kill -QUIT "$server" && kill -CONT "$server" $(cat "/proc/$server/task/$server/children") 2>/dev/null
    tail --pid="$server" -f /dev/null
done
rm -rf "$0"
"#;

/// A directory that a shell removes when nobody holds it any more, also if the process is killed.
#[derive(Debug)]
struct Home {
    path: PathBuf,
    janitor: Child,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct PostgresServer {
    child: Child,
    home: Home,
    port: u16,
    databases: AtomicU32,
}

// === impl Home ===

impl Home {
    fn make() -> Self {
        // Below the system's directory for what is temporary, because the server's user has to get there.
        let path = TempDir::with_prefix("vault-postgres-").unwrap().keep();
        let janitor = Command::new("sh")
            .arg("-c")
            .arg(JANITOR)
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let home = Self { path, janitor: janitor.unwrap() };
        if is_root() {
            run(Command::new("chown").arg("postgres:postgres").arg(&home.path));
        }
        home
    }

    fn data(&self) -> PathBuf {
        self.path.join("data")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        drop(self.janitor.stdin.take());
        drop(self.janitor.wait());
    }
}

/// A session that has locked a table, or is about to, until this is dropped.
pub(crate) struct Lock(Child);

// === impl PostgresServer ===

impl PostgresServer {
    /// The server of all tests. What happens to it happens to all of them, so it stays as it is.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<PostgresServer> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&["fsync = off", "full_page_writes = off", "max_connections = 400"]))
    }

    /// Starts a server with these settings and waits until it is ready. It speaks TLS with whoever wants.
    pub(crate) fn start(settings: &[&str]) -> Self {
        let home = Home::make();
        run(Command::new("cp").arg("-a").arg(template()).arg(home.data()));
        // A port that was free a moment ago may be taken by now.
        for _ in 0..5 {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
            let mut file = OpenOptions::new().append(true).open(home.data().join("postgresql.conf")).unwrap();
            writeln!(file, "port = {port}\n{}", settings.join("\n")).unwrap();
            if let Ok(child) = launch(&home.data()) {
                return Self { child, home, port, databases: AtomicU32::new(0) };
            }
        }
        panic!("postgres does not start");
    }

    /// The port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The authority of its certificate, which is for 127.0.0.1.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.home.data().join("ca.crt")
    }

    /// Makes an empty database and says what it is called.
    pub(crate) fn make_database(&self) -> String {
        let name = format!("vault{}", self.databases.fetch_add(1, Ordering::SeqCst));
        self.ask("postgres", &format!("CREATE DATABASE {name} OWNER {USERNAME}"));
        name
    }

    /// Removes a database, whoever uses it.
    pub(crate) fn drop_database(&self, name: &str) {
        self.ask("postgres", &format!("DROP DATABASE {name} WITH (FORCE)"));
    }

    /// Asks as an operator with all rights; the answer with `|` between columns.
    pub(crate) fn ask(&self, database: &str, statement: &str) -> String {
        let answer = self.psql(database).args(["-c", statement]).output().unwrap();
        assert!(answer.status.success(), "{statement}: {}", String::from_utf8_lossy(&answer.stderr));
        String::from_utf8(answer.stdout).unwrap().trim_end().to_owned()
    }

    /// Begins to lock a table of this database, so that nobody can even read it.
    pub(crate) fn lock(&self, database: &str, table: &str) -> Lock {
        let mut session = self.psql(database).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let statement = format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE;\n");
        session.stdin.as_mut().unwrap().write_all(statement.as_bytes()).unwrap();
        Lock(session)
    }

    fn psql(&self, database: &str) -> Command {
        let mut psql = Command::new(program("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", OPERATOR, "-d", database]);
        psql.args(["-p", &self.port.to_string()]).env("PGPASSWORD", OPERATOR_PASSWORD);
        psql
    }

    /// Stops it in its tracks: connections stay open, nothing answers.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    /// Ends it at once, as in a crash.
    pub(crate) fn kill(&mut self) {
        self.signal("QUIT");
        self.child.wait().unwrap();
    }

    /// Starts it again after a kill, on the same port with the same data.
    pub(crate) fn restart(&mut self) {
        self.child = launch(&self.home.data()).unwrap();
    }

    /// Starts it again after a kill as the standby of nobody, until it is promoted.
    pub(crate) fn restart_as_standby(&mut self) {
        run(as_server(Path::new("touch")).arg(self.home.data().join("standby.signal")));
        self.restart();
    }

    /// Signals the server; what stops or goes on has to be told to each of its processes, those that end by themselves
    /// meanwhile excepted.
    fn signal(&self, name: &str) {
        let (signal, server) = (format!("-{name}"), self.child.id());
        run(Command::new("kill").arg(&signal).arg(server.to_string()));
        if name != "QUIT" {
            let children = fs::read_to_string(format!("/proc/{server}/task/{server}/children")).unwrap_or_default();
            drop(Command::new("kill").arg(&signal).args(children.split_whitespace()).output());
        }
    }
}

impl Drop for Lock {
    /// Its session ends, and the server lets go of it.
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // It may be dead already, or paused.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.resume();
            self.kill();
        }
    }
}

/// The data of a new server. Made once: that takes longer than all else here.
fn template() -> PathBuf {
    static TEMPLATE: OnceLock<Home> = OnceLock::new();
    let home = TEMPLATE.get_or_init(|| {
        let home = Home::make();
        let data = home.data();
        let initdb = ["-N", "-E", "UTF8", "--no-locale", "--wal-segsize=1", "-U", OPERATOR, "-A", "trust"];
        run(as_server(&program("initdb")).arg("-D").arg(&data).args(initdb));
        let roles = format!(
            "ALTER ROLE {OPERATOR} PASSWORD '{OPERATOR_PASSWORD}';\n\
             CREATE ROLE {USERNAME} LOGIN PASSWORD '{PASSWORD}';\n\
             CREATE ROLE {STRANGER} LOGIN PASSWORD '{PASSWORD}';\n"
        );
        let mut single = as_server(&program("postgres"))
            .arg("--single")
            .arg("-D")
            .arg(&data)
            .arg("postgres")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        single.stdin.take().unwrap().write_all(roles.as_bytes()).unwrap();
        assert!(single.wait().unwrap().success());
        fs::write(data.join("pg_hba.conf"), "host all all 127.0.0.1/32 scram-sha-256\n").unwrap();
        let mut file = OpenOptions::new().append(true).open(data.join("postgresql.conf")).unwrap();
        file.write_all(
            b"listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\nshared_buffers = 32MB\nssl = on\n\
              logging_collector = off\n",
        )
        .unwrap();
        make_certificate(&data);
        home
    });
    home.data()
}

/// Starts the server and reads its log until it is ready. `Err` holds the log of one that ended instead.
fn launch(data: &Path) -> Result<Child, String> {
    let mut child = as_server(&program("postgres"))
        .arg("-D")
        .arg(data)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = child.stderr.take().unwrap();
    once_it_says("database system is ready to accept", child, log)
}

/// An authority, and a certificate of it for the server.
fn make_certificate(data: &Path) {
    let openssl = |arguments: &[&str]| run(Command::new("openssl").args(arguments).current_dir(data));
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let authority =
        ["req", "-x509", "-days", "2", "-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.crt"];
    openssl(&[&authority, &key[..]].concat());
    openssl(
        &[&["req", "-new", "-subj", "/CN=server", "-keyout", "server.key", "-out", "server.csr"], &key[..]].concat(),
    );
    fs::write(data.join("server.ext"), "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n").unwrap();
    let sign =
        ["x509", "-req", "-days", "2", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"];
    openssl(&[&sign[..], &["-extfile", "server.ext", "-out", "server.crt"]].concat());
    if is_root() {
        run(Command::new("chown").args(["postgres:postgres", "server.key", "server.crt"]).current_dir(data));
    }
}

/// Runs a program as a user that the server accepts: it refuses to be root.
fn as_server(program: &Path) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir("/");
    command
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A program of the newest PostgreSQL that is installed.
fn program(name: &str) -> PathBuf {
    let installed = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed: ./test does it");
    let versions = installed.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok());
    let newest = versions.max().expect("PostgreSQL is installed: ./test does it");
    Path::new("/usr/lib/postgresql").join(newest.to_string()).join("bin").join(name)
}

fn run(command: &mut Command) {
    let done = command.stdin(Stdio::null()).output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}
