//! The promises of the writer, with sinks that do what they are told.

use super::*;
use std::sync::mpsc;

use crate::adapters::audit::chain::Link;
use crate::adapters::system::{SystemClock, SystemRandom};
use crate::domain::audit::{AuditAction, Subject};
use crate::domain::time::Timestamp;

fn entry(id: &str) -> AuditEntry {
    AuditEntry {
        at: Timestamp::EPOCH,
        request_id: id.parse().unwrap(),
        engine: None,
        key_id: None,
        peer: None,
        spiffe_id: None,
        action: AuditAction::UnknownMethod,
        subject: Subject::default(),
        result: AuditResult::Ok,
        reason: "",
        latency: Duration::ZERO,
        record_version: None,
        items: None,
        token_fp: None,
    }
}

fn settings(path: &Path) -> Settings {
    Settings::new(Target::File(path.to_owned()), "dev".parse().unwrap())
}

fn open(path: &Path) -> Result<AuditLog, OpenError> {
    AuditLog::open(&settings(path), None, Arc::new(SystemClock), &SystemRandom)
}

fn over(stream: impl Write + Send + 'static) -> AuditLog {
    AuditLog::stream(Box::new(stream), &settings(Path::new("x")), None, Arc::new(SystemClock), &SystemRandom)
}

/// A writer that does what it is told for each write, and writes when it is told nothing.
struct Told {
    orders: mpsc::Receiver<io::Result<()>>,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Write for Told {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Ok(order) = self.orders.try_recv() {
            order?;
        }
        self.written.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

type Orders = mpsc::Sender<io::Result<()>>;

fn told() -> (AuditLog, Orders, Arc<Mutex<Vec<u8>>>) {
    let (send, orders) = mpsc::channel();
    let written = Arc::new(Mutex::new(Vec::new()));
    (over(Told { orders, written: Arc::clone(&written) }), send, written)
}

#[tokio::test]
async fn a_line_is_written_before_append_returns() {
    let (log, _orders, written) = told();
    log.append(entry("r-1")).await.unwrap();
    assert!(String::from_utf8(written.lock().unwrap().clone()).unwrap().contains("r-1"));
}

#[tokio::test]
async fn calls_that_go_on_together_share_a_write() {
    struct Counts(Arc<Mutex<Vec<usize>>>);
    impl Write for Counts {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().push(bytes.split(|byte| *byte == b'\n').count() - 1);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let writes = Arc::new(Mutex::new(Vec::new()));
    let log = over(Counts(Arc::clone(&writes)));
    let appends = (0..64).map(|n| log.append(entry(&format!("r-{n}"))));
    assert!(futures_util::future::join_all(appends).await.into_iter().all(|written| written.is_ok()));
    // The line the trail begins with, and then all of them in one go.
    assert_eq!(*writes.lock().unwrap(), [1, 64]);
}

#[tokio::test]
async fn the_line_of_a_call_that_was_given_up_is_written_like_any_other() {
    let (log, _orders, written) = told();
    let given_up = log.append(entry("r-1"));
    assert!(futures_util::future::poll_immediate(given_up).await.is_none());
    log.append(entry("r-2")).await.unwrap();
    let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
    assert!(text.contains("r-1") && text.contains("r-2"), "{text}");
}

#[tokio::test]
async fn a_failed_write_fails_the_call_and_the_next_good_one_heals_the_trail() {
    let (log, orders, _written) = told();
    orders.send(Err(io::Error::other("no space"))).unwrap();
    assert_eq!(log.append(entry("r-1")).await, Err(AuditUnavailable));
    assert!(!log.is_writable());
    log.append(entry("r-2")).await.unwrap();
    assert!(log.is_writable());
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_hangs_does_not_hang_the_call() {
    struct Hangs(mpsc::Receiver<()>);
    impl Write for Hangs {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (release, hang) = mpsc::channel();
    release.send(()).unwrap(); // for the line the trail begins with
    let log = over(Hangs(hang));
    assert_eq!(log.append(entry("r-1")).await, Err(AuditUnavailable));
    assert!(!log.is_writable());
    drop(release);
}

#[test]
fn what_was_handed_over_is_written_before_the_log_closes() {
    let (log, _orders, written) = told();
    for n in 0..100 {
        log.post(entry(&format!("r-{n}")));
    }
    drop(log);
    assert_eq!(written.lock().unwrap().split(|b| *b == b'\n').count(), 103);
}

#[test]
fn half_a_line_left_by_a_crash_stays_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    std::fs::write(&path, "{\"half\":").unwrap();
    let log = open(&path).unwrap();
    log.post(entry("r-1"));
    drop(log);
    let text = std::fs::read_to_string(path).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(text.lines().last().unwrap()).is_ok(), "{text}");
}

#[test]
fn a_directory_is_no_audit_file() {
    assert!(open(&std::env::temp_dir()).is_err());
}

#[tokio::test]
async fn lines_that_are_waited_for_on_disk_go_there_together_and_hold_up_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let settings = Settings { durable: true, ..settings(&path) };
    let log = AuditLog::open(&settings, None, Arc::new(SystemClock), &SystemRandom).unwrap();
    let release = |n: usize| AuditEntry { action: AuditAction::Refresh, ..entry(&format!("r-{n}")) };
    for _ in 0..3 {
        let appends = (0..64).map(|n| log.append(if n % 2 == 0 { release(n) } else { entry("other") }));
        assert!(futures_util::future::join_all(appends).await.into_iter().all(|written| written.is_ok()));
    }
    drop(log);
    assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 1 + 3 * 64 + 1);
}

#[tokio::test]
async fn syslog_gets_a_copy_and_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let (path, socket) = (folder.path().join("audit.jsonl"), folder.path().join("log"));
    let daemon = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    let settings = Settings { syslog: Some(socket.clone()), ..settings(&path) };
    let log = AuditLog::open(&settings, None, Arc::new(SystemClock), &SystemRandom).unwrap();
    log.append(entry("r-1")).await.unwrap();
    let mut message = [0; 4_096];
    let mut receive = || {
        let length = daemon.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    };
    assert!(receive().starts_with("<110>1 20"));
    let told = receive();
    let (head, line) = told.split_once(" audit - {").unwrap();
    assert!(head.contains("Z - vault-engine ") && line.contains("r-1"), "{told}");
    // Nobody reads any more, and then nobody is there: the file has every line all the same.
    for n in 0..2_000 {
        log.append(entry(&format!("r-{n}"))).await.unwrap();
    }
    drop(daemon);
    std::fs::remove_file(socket).unwrap();
    log.append(entry("last")).await.unwrap();
    drop(log);
    assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 1 + 1 + 2_000 + 1 + 1);
}

#[tokio::test]
async fn lines_whose_calls_were_refused_are_written_later_and_said_to_be_so() {
    let (log, orders, written) = told();
    orders.send(Err(io::Error::other("no space"))).unwrap();
    assert_eq!(log.append(entry("r-1")).await, Err(AuditUnavailable));
    log.append(entry("r-2")).await.unwrap();
    let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
    let place = |what: &str| text.find(what).unwrap();
    assert!(place("r-1") < place("\"written_late\",\"late_from\":2,\"late_to\":2"), "{text}");
    assert!(place("written_late") < place("r-2"), "{text}");
}

#[tokio::test]
async fn a_write_that_stops_half_way_is_finished_later_and_nothing_is_torn() {
    /// Takes a few bytes of the second write, refuses twice, and then takes everything.
    struct Stops(usize, Arc<Mutex<Vec<u8>>>);
    impl Write for Stops {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += 1;
            let taken = match self.0 {
                2 => bytes.len() / 3,
                3 | 4 => return Err(io::ErrorKind::StorageFull.into()),
                _ => bytes.len(),
            };
            self.1.lock().unwrap().extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let written = Arc::new(Mutex::new(Vec::new()));
    let log = over(Stops(0, Arc::clone(&written)));
    assert_eq!(log.append(entry("r-1")).await, Err(AuditUnavailable));
    assert_eq!(log.append(entry("r-2")).await, Err(AuditUnavailable));
    log.append(entry("r-3")).await.unwrap();
    drop(log);
    let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
    let links: Vec<Link<'_>> = text.lines().map(|line| Link::parse(line.as_bytes()).unwrap()).collect();
    assert!(links.windows(2).all(|pair| pair[0].head() == pair[1].prev && pair[0].seq + 1 == pair[1].seq), "{text}");
    assert!(text.contains("r-1") && text.contains("\"entries_dropped\"") && text.contains("\"dropped\":1}"), "{text}");
    assert!(!text.contains("r-2") && text.contains("r-3"), "{text}");
}
